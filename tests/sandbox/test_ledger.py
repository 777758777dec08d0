"""Which copies are one event: Meta's two methods, and what is said when neither holds."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from bridge.sandbox.copies import Copy, Side, build_server_copy, hash_external_ids, parse_hit
from bridge.sandbox.ledger import MAX_ACTIONS, MAX_BLAMED, Ledger
from bridge.sandbox.refusal import Refusal

HOUR = 3600.0
FBP = "fb.1.1790000000000.12"


def make_copy(side: Side, at: float = 0.0, /, **changes: Any) -> Copy:
    values: dict[str, Any] = {
        "side": side,
        "received_at": at,
        "pixel_id": "1",
        "event_name": "Lead",
        "event_id": None,
        "external_ids": frozenset(),
        "fbp": "",
        "fbc": "",
        "url": "",
        "detail": {"event": {"user_data": {}}, "warnings": []} if side == "server" else {"cd": {}},
    }
    ids = changes.pop("external_ids", ())
    return Copy(**{**values, **changes, "external_ids": hash_external_ids(ids)})


def count_copies() -> int:
    return sum(type(thing) is Copy for thing in gc.get_objects())


def record(*copies: Copy) -> list[dict[str, Any]]:
    ledger = Ledger()
    for copy in copies:
        ledger.add(copy)
    actions: list[dict[str, Any]] = ledger.report()["actions"]
    return actions


ID = {"event_id": "x"}
MARIA = {"external_ids": ["maria"]}
JONAS = {"external_ids": ["jonas"]}


@pytest.mark.parametrize(
    ("first", "second", "key"),
    [
        (make_copy("browser", 0, **ID), make_copy("server", 1, **ID), "event_id"),
        (make_copy("server", 0, **ID), make_copy("browser", 1, **ID), "event_id"),
        (make_copy("browser", 0, **ID), make_copy("server", 48 * HOUR, **ID), "event_id"),
        (make_copy("browser", 0, **MARIA), make_copy("server", 1, **MARIA), "external_id"),
        (
            make_copy("browser", 0, **MARIA),
            make_copy("server", 1, external_ids=["anon", "maria"]),
            "external_id",
        ),
        (make_copy("browser", 0, fbp=FBP), make_copy("server", 48 * HOUR, fbp=FBP), "fbp"),
        (make_copy("browser", 0, fbp=FBP), make_copy("server", 1, fbp=FBP, **ID), "fbp"),
        (make_copy("browser", 0, fbp=FBP, **MARIA), make_copy("server", 1, fbp=FBP), "fbp"),
    ],
)
def test_copies_are_merged(first: Copy, second: Copy, key: str) -> None:
    [action] = record(first, second)
    assert (action["merged"], action["merged_by"], action["counted"]) == (True, key, 1)
    assert (action["why_not"], action["repeats"]) == (None, 0)


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        (
            make_copy("browser", 0, event_id="x"),
            make_copy("server", 1, event_id="y"),
            "no server copy with event id x: closest server copy of the same name has id y",
        ),
        (
            make_copy("browser", 0, event_id="x", fbp=FBP, **MARIA),
            make_copy("server", 1, event_id="y", fbp=FBP, **MARIA),
            "no server copy with event id x: closest server copy of the same name has id y",
        ),
        (
            make_copy("browser", 0, **ID),
            make_copy("server", 48 * HOUR + 1, **ID),
            "server copy with this event id came 48 h apart: Meta merges within 48 h",
        ),
        (
            make_copy("browser", 0, **ID),
            make_copy("server", 1, pixel_id="2", **ID),
            "different pixel: server copy with this event id went to pixel 2",
        ),
        (
            make_copy("browser", 0, **ID),
            make_copy("server", 1, event_name="Purchase", **ID),
            "different event name: server copy with this event id is Purchase",
        ),
        (
            make_copy("server", 0, **MARIA),
            make_copy("browser", 1, **MARIA),
            "no event ids and server came first",
        ),
        (
            make_copy("server", 0, fbp=FBP, **ID),
            make_copy("browser", 1, fbp=FBP),
            "browser copy has no event id and server came first",
        ),
        (
            make_copy("browser", 0, fbp=FBP, **MARIA),
            make_copy("server", 1, fbp=FBP, **JONAS),
            "no event ids and different external_id",
        ),
        (
            make_copy("browser", 0, **MARIA),
            make_copy("server", 1, fbp=FBP, **ID),
            "browser copy has no event id and neither external_id nor fbp is shared",
        ),
        (
            make_copy("browser", 0, fbp=FBP),
            make_copy("server", 48 * HOUR + 1, fbp=FBP),
            "no event ids and the copies came more than 48 h apart",
        ),
        (
            make_copy("browser", 0, fbp=FBP),
            make_copy("server", 1, fbp=FBP, pixel_id="2"),
            "different pixel: closest server copy of the same name went to pixel 2",
        ),
        (make_copy("browser", 0, **ID), None, "no server copy"),
        (make_copy("server", 0, **ID), None, "no browser copy"),
    ],
)
def test_copies_are_not_merged(first: Copy, second: Copy | None, why: str) -> None:
    actions = record(first, second) if second else record(first)
    assert [action["merged"] for action in actions] == [False] * len(actions)
    assert actions[-1]["why_not"] == why


def test_later_copies_with_the_same_id_are_repeats() -> None:
    browser, server = make_copy("browser", 0, **ID), make_copy("server", 1, **ID)
    [action] = record(browser, browser, server, server, server)
    assert (action["repeats"], action["counted"]) == (3, 1)
    assert (len(action["browser"]), len(action["server"])) == (2, 3)


def test_server_copies_take_one_browser_copy_each() -> None:
    browser, server = make_copy("browser", 0, fbp=FBP), make_copy("server", 1, fbp=FBP)
    actions = record(browser, browser, server, server)
    assert [(action["merged"], action["repeats"]) for action in actions] == [(True, 0)] * 2


def test_copy_of_unknown_pixel_counts_as_nothing() -> None:
    ledger = Ledger()
    ledger.add(make_copy("browser", 0, **ID), known=False)
    [action] = ledger.report()["actions"]
    assert action["counted"] == 0
    assert "unknown pixel id 1" in action["why_not"]
    assert ledger.report()["counters"]["unknown_pixel"] == 1


@pytest.mark.parametrize(
    ("browser", "server", "mismatches"),
    [
        ({"external_ids": ["a"]}, {"external_ids": ["b"]}, ["external_id"]),
        ({"external_ids": ["a"]}, {"external_ids": ["b", "a"]}, []),
        ({"external_ids": ["User 1"]}, {"external_ids": ["user1"]}, []),
        ({"fbp": "fb.1.1.2"}, {"fbp": "fb.1.1.3"}, ["fbp"]),
        ({"fbp": "fb.1.1.2"}, {"fbp": "fb.1.1.2.AQICAQMC"}, []),
        ({"fbp": "fb.1.1.2"}, {}, []),
        ({"fbc": "fb.1.1.A"}, {"fbc": "fb.1.1.B"}, ["fbc"]),
        ({"fbc": "fb.1.1.a__DOT__b"}, {"fbc": "fb.1.2.a__DOT__b"}, []),
        ({"url": "https://a.com/x?y#z"}, {"url": "https://a.com/x"}, []),
        ({"url": "https://a.com/x"}, {"url": "https://a.com/y"}, ["url"]),
    ],
)
def test_differences_between_copies_are_named(
    browser: dict[str, Any], server: dict[str, Any], mismatches: list[str]
) -> None:
    [action] = record(make_copy("browser", 0, **ID, **browser), make_copy("server", **ID, **server))
    assert action["mismatches"] == mismatches


def test_actions_are_listed_newest_first_and_limited() -> None:
    ledger = Ledger()
    for number in range(5):
        ledger.add(make_copy("browser", number, event_id=str(number)))
    ids = [action["event_id"] for action in ledger.report(2)["actions"]]
    assert ids == ["4", "3"]
    assert ledger.report(0)["actions"] == []


def test_memory_is_bounded_but_repeats_are_still_told() -> None:
    gc.collect()
    before = count_copies()
    ledger = Ledger()
    for number in range(MAX_ACTIONS + 10):
        ledger.add(make_copy("browser", number, event_id=str(number), fbp=FBP))
    ledger.add(make_copy("browser", number, event_id="0", fbp=FBP))
    report = ledger.report(limit=2 * MAX_ACTIONS)
    assert len(report["actions"]) == MAX_ACTIONS
    assert count_copies() - before <= MAX_ACTIONS + 1
    assert report["counters"]["actions"] == MAX_ACTIONS + 10
    assert report["counters"]["repeats"] == 1


def test_counters_follow_the_actions() -> None:
    ledger = Ledger()
    ledger.add(make_copy("browser", 0, **ID))
    ledger.add(make_copy("server", 0, event_id="y"))
    counters = ledger.report()["counters"]
    assert (counters["merged"], counters["browser_only"], counters["server_only"]) == (0, 1, 1)
    ledger.add(make_copy("server", 1, **ID))
    counters = ledger.report()["counters"]
    assert (counters["merged"], counters["browser_only"], counters["server_only"]) == (1, 0, 1)
    assert counters["by_name"] == {"Lead": {"browser": 1, "server": 2}}
    version = ledger.version
    ledger.reset()
    assert ledger.report()["counters"]["actions"] == 0
    assert ledger.version > version


def test_event_names_are_counted_up_to_a_bound() -> None:
    ledger = Ledger()
    for number in range(600):
        ledger.add(make_copy("browser", 0, event_name=f"Custom{number}", event_id="x"))
    assert len(ledger.report()["counters"]["by_name"]) == 501


def test_refused_request_is_logged_and_counted() -> None:
    ledger = Ledger()
    old = Refusal(subcode=2804003, message="old", field="data[1][event_time]")
    ledger.add_request("1", [{}, {"event_id": "x"}, {}], old, 1.5)
    ledger.add_request("1", [{}, {}], None, 2.0)
    report = ledger.report()
    assert [request["status"] for request in report["requests"]] == [200, 400]
    assert report["requests"][1].pop("remedy").startswith("Send an event within 7 days")
    assert report["requests"][1] == {
        "number": 1,
        "received_at_ms": 1500,
        "pixel_id": "1",
        "status": 400,
        "events": 3,
        "code": 100,
        "subcode": 2804003,
        "message": "old",
        "field": "data[1][event_time]",
        "event": {"event_id": "x"},
    }
    assert report["counters"]["refused_events"] == 3


def test_only_the_newest_refusals_keep_their_event() -> None:
    ledger = Ledger()
    for number in range(MAX_BLAMED + 2):
        ledger.add_request("1", [{"event_id": str(number)}], Refusal(message="no"), 1.5)
    events = [request["event"] for request in ledger.report()["requests"]]
    assert events[MAX_BLAMED - 1 :] == [{"event_id": "2"}, None, None]


def test_hit_becomes_a_copy() -> None:
    params = {"id": "1", "ev": "Lead", "eid": "x", "cd[a]": "1", "ud[external_id]": "id"}
    copy = parse_hit({**params, "dpo": "LDU", "fbp": FBP}, "GET", {"user-agent": "UA"}, 1.5)
    assert copy is not None
    assert (copy.event_id, copy.fbp, copy.url) == ("x", FBP, "")
    assert copy.external_ids == hash_external_ids(["id"])
    assert copy.detail["cd"] == {"a": "1"}
    assert copy.detail["ud"] == {"external_id": "id"}
    assert (copy.detail["dpo"], copy.detail["user_agent"]) == ("LDU", "UA")
    assert copy.detail["received_at_ms"] == 1500


@pytest.mark.parametrize("params", [{}, {"id": "1"}, {"ev": "Lead"}, {"id": "", "ev": "Lead"}])
def test_hit_without_pixel_or_name_is_none(params: dict[str, str]) -> None:
    assert parse_hit(params, "GET", {}, 0) is None


def test_server_event_becomes_a_copy() -> None:
    event = {
        "event_name": "Lead",
        "event_source_url": "https://a.com/",
        "user_data": {"external_id": ["A b", "c"]},
    }
    copy = build_server_copy("1", event, ["careful"], 1.0)
    assert copy.external_ids == hash_external_ids(["ab", "c"])
    assert (copy.event_id, copy.url, copy.detail["warnings"]) == (
        None,
        "https://a.com/",
        ["careful"],
    )
