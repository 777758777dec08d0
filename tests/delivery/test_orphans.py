from __future__ import annotations

from bridge.delivery.orphans import PROBE, bury_orphans, describe_orphans, find_orphans
from bridge.events.event import DAY
from bridge.outbox import Counts, SQLiteOutbox
from tests.factories import NOW, make_delivery

WEEK = 7 * DAY


def test_orphans_wait_for_a_name_that_is_not_configured() -> None:
    waiting, dead = Counts(waiting=3, oldest=NOW), Counts(dead=1, delivered=2)
    counts = {"meta:2": waiting, "meta:1": waiting, "meta:3": dead, PROBE: waiting}
    assert find_orphans(counts, ["meta:1"]) == {"meta:2": waiting}


def test_orphans_are_described_in_one_bounded_line() -> None:
    orphans = {f"meta:{i}\n\u202e": Counts(waiting=1000 + i) for i in range(9)}
    text = describe_orphans(orphans)
    assert text.startswith("1,000 for meta:0\\n\\u202e, 1,001 for meta:1")
    assert text.endswith(", 4 more names")
    assert text.isprintable()


async def test_only_what_nobody_delivered_for_a_week_and_is_too_old_is_buried(
    outbox: SQLiteOutbox,
) -> None:
    old = {"due": NOW - WEEK - 1, "expires": NOW - 1}
    gone = [make_delivery(f"gone-{i}", **old) for i in range(250)]
    kept = [
        make_delivery("store", due=NOW - WEEK - 2, expires=NOW + DAY),
        make_delivery("another's", due=NOW - 10, expires=NOW - 1),
        make_delivery("held", due=NOW + 10),
        make_delivery("configured", **{**old, "destination": "meta:2"}),
    ]
    await outbox.put([*gone, *kept], NOW - WEEK - 2)
    assert await bury_orphans(outbox, ["meta:1"], NOW) == {("meta:1", "Purchase"): 250}
    assert await bury_orphans(outbox, ["meta:1"], NOW) == {}
    letters = await outbox.list_dead(limit=1000)
    assert {letter.delivery.event_id for letter in letters} == {each.event_id for each in gone}
    assert {letter.reason for letter in letters} == {
        "too old: no destination of this name is configured"
    }
    claimed = await outbox.claim("meta:1", 100, now=NOW, lease=30)
    # Whoever has a destination of this name gets it at once.
    assert {each.event_id: each.attempts for each in claimed} == {"another's": 1, "store": 2}
