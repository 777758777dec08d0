"""Dead letters by reason: filtered as the page is, and changed in small pieces."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from bridge.dashboard import dead
from bridge.dashboard.dead import Chosen, Wanted, drop, group_dead, name_group, revive
from bridge.outbox import Delivery, SQLiteOutbox
from bridge.outbox.base import Key
from tests.dashboard.shelf import CURRENCY, DEST, bury, make_delivery

GROUP = name_group(CURRENCY)


async def bury_many(outbox: SQLiteOutbox, count: int, *, name: str = "Purchase") -> None:
    for start in range(0, count, 100):
        ids = range(start, min(start + 100, count))
        await bury(outbox, CURRENCY, *(make_delivery(f"{name}-{each}", name) for each in ids))


async def count_dead(outbox: SQLiteOutbox) -> int:
    return len(await outbox.list_dead(limit=10_000))


def make_message(event_id: str, day: str) -> Delivery:
    body = {"event": "Lead", "timestamp": f"{day}T12:00:00.000Z", "properties": {}}
    return make_delivery(event_id, "Lead", body=json.dumps(body).encode())


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many keys each call of the outbox got."""
    found: list[int] = []
    put_revive, put_drop = SQLiteOutbox.revive, SQLiteOutbox.drop

    async def count_revive(self: SQLiteOutbox, keys: Sequence[Key], now: float) -> int:
        found.append(len(keys))
        return await put_revive(self, keys, now)

    async def count_drop(self: SQLiteOutbox, keys: Sequence[Key]) -> int:
        found.append(len(keys))
        return await put_drop(self, keys)

    monkeypatch.setattr(SQLiteOutbox, "revive", count_revive)
    monkeypatch.setattr(SQLiteOutbox, "drop", count_drop)
    return found


async def test_one_press_is_many_small_calls(outbox: SQLiteOutbox, sizes: list[int]) -> None:
    await bury_many(outbox, 650)
    said = await drop(outbox, Chosen(destination=DEST, group=GROUP))
    assert said == {"deleted": 650, "left": 0, "is_all": True}
    assert sizes == [200, 200, 200, 50]
    assert await count_dead(outbox) == 0


async def test_one_press_changes_no_more_than_its_button_says(
    outbox: SQLiteOutbox, sizes: list[int]
) -> None:
    await bury_many(outbox, 450)
    said = await drop(outbox, Chosen(destination=DEST, group=GROUP, most=250))
    assert said == {"deleted": 250, "left": 200, "is_all": True}
    assert sizes == [200, 50]
    said = await revive(outbox, Chosen(destination=DEST, group=GROUP, most=150))
    assert said == {"revived": 150, "too_old": 0, "left": 50, "is_all": True}
    assert await count_dead(outbox) == 50


async def test_what_is_left_is_counted_among_the_next_ones(
    outbox: SQLiteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead, "SCANNED", 200)
    await bury_many(outbox, 900)
    said = await drop(outbox, Chosen(destination=DEST, group=GROUP, most=100))
    assert (said["deleted"], said["is_all"]) == (100, False)
    assert 100 <= said["left"] < 800


async def test_press_ends_after_some_seconds(
    outbox: SQLiteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead, "PRESS_SECONDS", 0.0)
    await bury_many(outbox, 5)
    said = await drop(outbox, Chosen(destination=DEST, group=GROUP))
    assert said == {"deleted": 0, "left": 0, "is_all": False}


async def test_those_too_old_are_passed_over(outbox: SQLiteOutbox) -> None:
    old = [make_delivery(f"old-{each}", expires=1.0) for each in range(90)]
    await bury(outbox, CURRENCY, *old)
    await bury_many(outbox, 300)
    await bury(outbox, CURRENCY, *(make_delivery(f"late-{each}", expires=1.0) for each in range(9)))
    said = await revive(outbox, Chosen(destination=DEST, group=GROUP))
    assert said == {"revived": 300, "too_old": 99, "left": 0, "is_all": True}


async def test_what_is_buried_after_the_page_was_shown_stays(outbox: SQLiteOutbox) -> None:
    await bury_many(outbox, 3)
    [group] = (await group_dead(outbox, Wanted()))["groups"]
    await bury(outbox, CURRENCY, make_delivery("later"))
    await drop(outbox, Chosen(destination=DEST, group=GROUP, most=3, until=group["newest"]))
    assert [each.delivery.event_id for each in await outbox.list_dead()] == ["later"]


async def test_filters_of_the_page_hold_for_its_buttons(outbox: SQLiteOutbox) -> None:
    await bury_many(outbox, 3)
    await bury_many(outbox, 2, name="Lead")
    [group] = (await group_dead(outbox, Wanted(name="Lead")))["groups"]
    assert (group["count"], group["names"]) == (2, ["Lead"])
    said = await drop(outbox, Chosen(destination=DEST, group=GROUP, name="Lead"))
    assert said["deleted"] == 2
    assert {each.delivery.event_name for each in await outbox.list_dead()} == {"Purchase"}


async def test_day_is_a_filter_too(outbox: SQLiteOutbox) -> None:
    first, second = make_message("M-1", "2026-11-01"), make_message("M-2", "2026-11-02")
    await bury(outbox, CURRENCY, first, second, make_delivery("no-day", body=b"{}"))
    [group] = (await group_dead(outbox, Wanted(day="2026-11-02")))["groups"]
    assert group["count"] == 1
    await drop(outbox, Chosen(destination=DEST, group=GROUP, day="2026-11-02"))
    assert {each.delivery.event_id for each in await outbox.list_dead()} == {"M-1", "no-day"}


@pytest.mark.parametrize("most", [0, -1, dead.MOST + 1])
def test_press_is_bounded(most: int) -> None:
    with pytest.raises(ValueError, match="most must be 1 to"):
        Chosen(destination=DEST, group=GROUP, most=most)
