from __future__ import annotations

from typing import Any

import pytest

from bridge.figures.summary import Summary
from bridge.quality.advice import Advice, advise
from bridge.quality.answer import DedupeKey, Diagnostic, EventQuality, Identifier
from bridge.quality.comparison import Comparison, compare
from bridge.quality.question import Quality, Unanswered
from bridge.quality.thresholds import Thresholds, find_crossed, find_unjudged, is_undecided

META = "meta:1"
WELL = {
    "em": 100, "ph": 100, "external_id": 100, "fbp": 100, "fbc": 50,
    "client_ip_address": 100, "client_user_agent": 100,
}  # fmt: skip


def make_ours(name: str = "Purchase", stored: int = 100, **changes: Any) -> Summary:
    values: dict[str, Any] = {"coverage": dict(WELL), "delivered": stored, **changes}
    return Summary(destination=META, event_name=name, stored=stored, **values)


def make_meta_event(name: str = "Purchase", **changes: Any) -> EventQuality:
    return EventQuality(event_name=name, **changes)


def diagnosed(name: str, **changes: Any) -> EventQuality:
    return make_meta_event(diagnostics=(Diagnostic(name=name, **changes),))


def look(ours: Summary | None = None, meta: EventQuality | None = None) -> Comparison:
    answer = Quality(events=() if meta is None else (meta,))
    return compare(META, [] if ours is None else [ours], answer)


def told(ours: Summary | None = None, meta: EventQuality | None = None) -> list[str]:
    return [each.text for each in advise(look(ours, meta))]


def key(browser: float, server: float, merged: float) -> tuple[DedupeKey, ...]:
    return (DedupeKey(name="event_id", browser=browser, server=server, merged=merged),)


def test_nothing_is_advised_where_all_is_well() -> None:
    meta = make_meta_event(
        score=9.3, coverage=98, goal=75, keys=key(100, 100, 97), freshness="real_time"
    )
    assert told(make_ours(), meta) == []


@pytest.mark.parametrize(
    ("ours", "meta", "words"),
    [
        (make_ours(lost=3), None, "3 events were lost"),
        (make_ours(lost=1), None, "1 event was lost"),
        (make_ours(dead=1), None, "1 event became a dead letter"),
        (make_ours(dead=2), None, "2 events became dead letters"),
        (make_ours(dead=2), None, "pixel-bridge dead list"),
        (make_ours(coverage={**WELL, "em": 31}), None, "known for 31 %: call identify(email=...)"),
        (make_ours(coverage={**WELL, "client_ip_address": 12}), None, "12 %: behind a proxy set"),
        (make_ours(coverage={**WELL, "external_id": 40}), None, "bridge.unseal(token)"),
        (make_ours(coverage={**WELL, "fbp": 40}), None, "visitor.seal()"),
        (make_ours(coverage={**WELL, "ph": 0}), None, "identify(phone=...)"),
        (make_ours(expected=100, copies={"sent": 40}), None, "60 of 100 browser copies"),
        (make_ours(delays=[0] * 16 + [100]), None, "more than an hour"),
        (None, make_meta_event(freshness="daily"), "Meta calls these daily"),
        (None, make_meta_event(identifiers=(Identifier(name="em", coverage=29),)), "29 %"),
        (
            make_ours(),
            diagnosed("Server sending mismatched IP", percentage=61.5),
            "the IP differs from the pixel's in 62 %",
        ),
        (
            make_ours(),
            diagnosed("Update your IPv4 to IPv6", percentage=59),
            "AAAA record",
        ),
        (
            make_ours(),
            diagnosed("Missing fields", solution="Send more"),
            "Meta says: Missing fields (some); Send more",
        ),
        (make_ours(), make_meta_event(keys=key(100, 100, 40), coverage=90), "the order's id"),
        (make_ours(), make_meta_event(keys=key(30, 100, 25)), "bridge.js ahead of"),
        (make_ours(), make_meta_event(keys=key(100, 60, 50)), "another integration"),
        (make_ours(), make_meta_event(keys=key(100, 100, 40), coverage=40), "bridge.script_tag()"),
        (make_ours(), make_meta_event(coverage=40, goal=75), "40 % of browser events, goal 75 %"),
        (
            make_ours(),
            make_meta_event(identifiers=(Identifier(name="em", coverage=60),)),
            "we delivered em with 100 % and Meta sees 60 %",
        ),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)  # fmt: skip
def test_advice_is_in_words_of_this_project(
    ours: Summary | None, meta: EventQuality | None, words: str
) -> None:
    [text] = told(ours, meta)
    assert words in text


def test_address_of_ones_own_machine_is_no_fault() -> None:
    [text] = told(make_ours(coverage={**WELL, "client_ip_address": 0}))
    assert "your own address is this machine's or a private one, which is never sent" in text


OTHERS = make_meta_event(identifiers=(Identifier(name="em", coverage=60),))


@pytest.mark.parametrize(
    ("ours", "is_told"),
    [
        (make_ours(stored=60, coverage={**WELL, "em": 60}), True),
        (make_ours(stored=49, coverage={**WELL, "em": 49}), False),
        # 40 of 100 are dead, and all of these may have carried the address.
        (make_ours(delivered=60, coverage={**WELL, "em": 75}), False),
        (make_ours(delivered=60, coverage={**WELL, "em": 95}), True),
    ],
)
def test_other_senders_are_seen_by_what_was_delivered(ours: Summary, is_told: bool) -> None:
    assert any("another integration" in text for text in told(ours, OTHERS)) == is_told


def test_few_delivered_events_accuse_no_other_sender() -> None:
    meta = make_meta_event(keys=key(100, 60, 50))
    assert told(make_ours(stored=49, coverage=dict.fromkeys(WELL, 49)), meta) == []


def test_page_views_need_no_email() -> None:
    assert told(make_ours("PageView", coverage={**WELL, "em": 0, "ph": 0})) == []


def test_few_events_say_nothing_by_their_shares() -> None:
    assert told(make_ours(stored=4, coverage={})) == []


def test_what_was_skipped_explains_coverage() -> None:
    nobody = Summary(destination="", event_name="Purchase", skipped={"consent_denied": 300})
    answer = Quality(events=(make_meta_event(coverage=25, goal=75),))
    [advice] = advise(compare(META, [make_ours(), nobody], answer))
    assert "we skipped 300 of them (consent_denied 300)" in advice.text


def test_most_useful_comes_first() -> None:
    first = make_ours("Purchase", coverage={**WELL, "em": 10}, dead=4)
    second = make_ours("Lead", lost=1)
    advice = advise(compare(META, [first, second], None))
    assert [(each.event_names, each.text[:6]) for each in advice] == [
        (("Lead",), "1 even"),
        (("Purchase",), "4 even"),
        (("Purchase",), "the e-"),
    ]
    assert str(advice[0]).startswith("meta:1 Lead: 1 event was lost")


def test_events_with_one_remedy_share_a_line() -> None:
    weak = {**WELL, "client_ip_address": 0}
    names = ("PageView", "Search")
    [same] = advise(compare(META, [make_ours(name, coverage=weak) for name in names], None))
    assert str(same).startswith("meta:1 PageView, Search: the visitor's address is known for 0 %: ")
    better = make_ours("Lead", stored=50, coverage={**WELL, "client_ip_address": 20})
    [each] = advise(compare(META, [make_ours("PageView", coverage=weak), better], None))
    assert "known for 0 % (PageView); " in each.text
    assert "known for 40 % (Lead): behind a proxy" in each.text


def test_missing_figures_are_the_first_advice() -> None:
    answer = Unanswered(kind="token", reason="190: expired", remedy="make a new one")
    [advice] = advise(compare(META, [make_ours()], answer))
    assert advice == Advice(
        destination=META, text="Meta's figures are missing: 190: expired; make a new one"
    )


def test_rows_are_ours_then_those_that_only_meta_knows() -> None:
    answer = Quality(events=(make_meta_event("Search"), make_meta_event("Lead")))
    summaries = [
        make_ours("Purchase"),
        make_ours("Lead", stored=3),
        Summary(destination="meta:2", event_name="Contact", stored=9),
        Summary(destination="", event_name="Contact", skipped={"bot": 2}),
    ]
    rows = compare(META, summaries, answer).rows
    assert [(row.event_name, row.meta is not None) for row in rows] == [
        ("Purchase", False),
        ("Lead", True),
        ("Search", True),
    ]
    [only] = compare(META, summaries, answer, only=["Search"]).rows
    assert only.event_name == "Search"


BAD = make_meta_event(score=4.2, coverage=40, goal=75, keys=key(100, 100, 30))


@pytest.mark.parametrize(
    ("thresholds", "crossed"),
    [
        (Thresholds(), []),
        (Thresholds(min_emq=6), ["EMQ 4.2 is below 6"]),
        (Thresholds(min_emq=4), []),
        (Thresholds(min_coverage=75), ["event coverage 40 % is below 75 %"]),
        (Thresholds(min_dedup=31), ["merged 30 % is below 31 %"]),
        (Thresholds(max_dead=5), ["10.0 % dead letters; the limit is 5 %"]),
        (Thresholds(max_dead=10), []),
    ],
)
def test_thresholds(thresholds: Thresholds, crossed: list[str]) -> None:
    found = find_crossed(look(make_ours(delivered=90, dead=10), BAD), thresholds)
    assert found == [f"meta:1 Purchase: {words}" for words in crossed]


def test_what_nobody_knows_crosses_nothing_but_is_undecided() -> None:
    all_of_meta = Thresholds(min_emq=10, min_coverage=100, min_dedup=100)
    assert find_crossed(look(make_ours(), make_meta_event()), all_of_meta) == []
    silent = compare(META, [], Unanswered(kind="unreachable", reason="", remedy=""))
    assert is_undecided(silent, all_of_meta)
    assert not is_undecided(silent, Thresholds(max_dead=1))
    assert not is_undecided(compare("segment:1", [], None), all_of_meta)


@pytest.mark.parametrize(
    ("thresholds", "only", "unjudged"),
    [
        (Thresholds(), ["Nothing"], []),
        (Thresholds(min_emq=1, max_dead=99), [], []),
        (Thresholds(min_emq=1), ["Nothing"], ["meta:1 Nothing: no figures to check --min-emq"]),
        (
            Thresholds(min_emq=1, max_dead=99),
            ["Purchase", "Nothing"],
            ["meta:1 Nothing: no figures to check --min-emq and --max-dead"],
        ),
    ],
)
def test_what_there_are_no_figures_for_is_not_judged(
    thresholds: Thresholds, only: list[str], unjudged: list[str]
) -> None:
    comparison = compare(META, [make_ours()], Quality(events=(BAD,)), only=only)
    assert comparison.names == ("Purchase",)
    assert find_unjudged(comparison, thresholds, only) == [f"{each} with" for each in unjudged]


def test_metas_thresholds_are_for_those_whom_meta_answered() -> None:
    nobody = compare("segment:1", [], None)
    assert find_unjudged(nobody, Thresholds(min_emq=1)) == []
    assert len(find_unjudged(nobody, Thresholds(max_dead=1))) == 1
