"""One contract, for each engine: what the docstrings of ``bridge.outbox.base`` promise."""

from __future__ import annotations

import asyncio
import math
import random
import string
import time
from dataclasses import replace
from itertools import count as count_up
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge import ConfigError, OutboxFullError
from bridge.outbox import Circuit, Counts, Delivery, Outbox
from bridge.outbox.base import (
    LASTING_SECONDS,
    REMEMBERED_SECONDS,
    Erased,
    Figure,
    Key,
    build_subjects,
)
from tests.factories import BROWSER, NOW, make_delivery
from tests.outbox.conftest import MakeOutbox
from tests.outbox.model import Model

LEASE = 60.0
EACH_BYTE = bytes(range(256))


@pytest.fixture
def outbox(make_outbox: MakeOutbox) -> Outbox:
    return make_outbox()


async def claim(
    outbox: Outbox, now: float = NOW, limit: int = 5000, destination: str = "meta:1"
) -> list[Delivery]:
    return await outbox.claim(destination, limit, now=now, lease=LEASE)


async def claim_ids(outbox: Outbox, now: float = NOW, limit: int = 5000) -> list[str]:
    return [delivery.event_id for delivery in await claim(outbox, now, limit)]


async def bury(outbox: Outbox, *event_ids: str, at: float = NOW, **changes: Any) -> None:
    """Put and claim deliveries, and have them refused."""
    await outbox.put([make_delivery(event_id, **changes) for event_id in event_ids], NOW)
    destination = changes.get("destination", "meta:1")
    claimed = await claim(outbox, destination=destination)
    assert sorted(delivery.event_id for delivery in claimed) == sorted(event_ids)
    await outbox.bury(claimed, "100/2804003: refused", at)


async def count(outbox: Outbox, now: float = NOW, destination: str = "meta:1") -> Counts:
    return (await outbox.count(now, with_delivered=True)).get(destination, Counts())


# Put and keys


@pytest.mark.parametrize(
    "body",
    [b"", EACH_BYTE, b'{"x":"\xc3\xa9"}', b"\x00" * 3, EACH_BYTE * 4096],
    ids=["empty", "each byte", "JSON", "NUL", "1 MiB"],
)
async def test_put_delivery_is_claimed_as_it_was_put(outbox: Outbox, body: bytes) -> None:
    delivery = make_delivery(body=body, due=NOW - 0.25, expires=NOW + 604_800.5)
    assert await outbox.put([delivery], NOW) == [True]
    assert await claim(outbox) == [replace(delivery, due=NOW + LEASE, attempts=1)]


async def test_key_is_refused_while_it_waits(outbox: Outbox) -> None:
    delivery = make_delivery()
    assert await outbox.put([delivery, delivery], NOW) == [True, False]
    assert await outbox.put([replace(delivery, body=b"other")], NOW) == [False]
    [claimed] = await claim(outbox)
    assert await outbox.put([delivery], NOW + 10 * REMEMBERED_SECONDS) == [False]
    assert claimed.body == delivery.body


async def test_key_is_refused_for_48_hours_after_delivery(outbox: Outbox) -> None:
    delivery = make_delivery()
    await outbox.put([delivery], NOW - 100)
    await outbox.ack(await claim(outbox), NOW)
    assert await outbox.put([delivery], NOW + REMEMBERED_SECONDS - 1) == [False]
    again = replace(delivery, body=b"again", due=NOW + REMEMBERED_SECONDS + 1)
    assert await outbox.put([again], NOW + REMEMBERED_SECONDS + 1) == [True]
    [claimed] = await claim(outbox, NOW + REMEMBERED_SECONDS + 1)
    assert (claimed.body, claimed.attempts) == (b"again", 1)


async def test_ack_forgets_old_keys_and_no_others(outbox: Outbox) -> None:
    for event_id, at in (("old", NOW), ("young", NOW + 10)):
        await outbox.put([make_delivery(event_id)], NOW)
        await outbox.ack(await claim(outbox), at)
    later = NOW + REMEMBERED_SECONDS + 5
    await outbox.put([make_delivery("last")], later)
    await outbox.ack(await claim(outbox, later), later)
    assert (await count(outbox, later)).delivered in {2, 3}  # Redis counts whole days
    assert [await outbox.has("Purchase", each, later) for each in ("young", "old")] == [True, False]
    assert await outbox.put([make_delivery("young")], later) == [False]
    assert await outbox.put([make_delivery("old")], later) == [True]


async def test_key_differs_by_destination_and_name_and_id(outbox: Outbox) -> None:
    deliveries = [
        make_delivery(),
        make_delivery(event_name="Lead"),
        make_delivery(destination="meta:2"),
        make_delivery("2"),
    ]
    assert await outbox.put(deliveries, NOW) == [True] * 4
    assert await outbox.put(deliveries, NOW) == [False] * 4


RANDOM = random.Random(4)
TEXTS = {
    "unicode": "Größe 漢字 🛒",
    "not normalised": "e\u0301",
    "separators": "a:b|c\x1fd/e,f;g",
    "control characters": "\x01\t\r\n\x7f",
    "quotes": "'\"`\\%s{}$1?",
    "patterns": "*?[a-z]_%{tag}",
    "spaces": "  a  ",
    "number": "007",
    "thousand": "".join(RANDOM.choices(string.ascii_letters + string.digits, k=1000)),
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
async def test_any_text_may_stand_in_a_key(outbox: Outbox, text: str) -> None:
    delivery = make_delivery(text, destination=text, event_name=text, due=NOW + 10)
    assert await outbox.put([delivery], NOW) == [True]
    assert await outbox.next_due(text) == NOW + 10
    assert await outbox.has(text, text, NOW)
    assert await outbox.release(text, text, BROWSER, NOW) == 1
    [claimed] = await claim(outbox, destination=text)
    await outbox.bury([claimed], f"Meta: {text}", NOW)
    [dead] = await outbox.list_dead(destination=text)
    assert (dead.delivery.key, dead.reason) == (delivery.key, f"Meta: {text}")
    assert await outbox.find_dead(text) == [dead]
    assert await outbox.revive([delivery.key], NOW) == 1
    await outbox.ack(await claim(outbox, destination=text), NOW)
    assert await count(outbox, destination=text) == Counts(delivered=1)


@pytest.mark.parametrize("separator", [":", "|", "\x1f", "/", ",", " "])
async def test_keys_that_read_alike_when_joined_are_different(
    outbox: Outbox, separator: str
) -> None:
    s = separator
    keys = [
        Key("a", f"b{s}c", "d"),
        Key(f"a{s}b", "c", "d"),
        Key("a", "b", f"c{s}d"),
        Key("A", f"b{s}c", "d"),
    ]
    deliveries = [
        make_delivery(event_id, destination=destination, event_name=name)
        for destination, name, event_id, _ in keys
    ]
    assert await outbox.put(deliveries, NOW) == [True] * 4
    assert [each.key for each in await claim(outbox, destination="A")] == [keys[3]]
    assert {each.key for each in await claim(outbox, destination="a")} == {keys[0], keys[2]}


async def test_two_thousand_deliveries_go_in_one_put(outbox: Outbox) -> None:
    deliveries = [make_delivery(str(i), due=NOW + i / 1024, body=b"x" * 500) for i in range(2000)]
    assert await outbox.put(deliveries, NOW) == [True] * 2000
    assert await outbox.put(deliveries, NOW) == [False] * 2000
    first = await claim_ids(outbox, NOW + 2, limit=1000)
    assert first == [str(i) for i in range(1000)]
    second = await claim(outbox, NOW + 2)
    assert [each.event_id for each in second] == [str(i) for i in range(1000, 2000)]
    await outbox.ack(second, NOW + 2)
    assert await count(outbox, NOW + 2) == Counts(waiting=1000, delivered=1000, oldest=NOW)


async def test_nothing_changes_nothing(outbox: Outbox) -> None:
    assert await outbox.put([], NOW) == []
    assert await claim(outbox) == []
    assert await outbox.claim("meta:1", 0, now=NOW, lease=LEASE) == []
    await outbox.ack([], NOW)
    await outbox.bury([], "reason", NOW)
    assert await outbox.retry([], NOW) == await outbox.revive([], NOW) == await outbox.drop([]) == 0
    assert await outbox.next_due("meta:1") is None
    assert not await outbox.has("Purchase", "1", NOW)
    assert await outbox.list_dead() == await outbox.find_dead("1") == []
    assert await outbox.circuits() == {}
    assert await count(outbox) == Counts()


async def test_work_on_keys_that_are_not_held_changes_nothing(outbox: Outbox) -> None:
    strange = make_delivery("strange")
    await outbox.ack([strange], NOW)
    assert await outbox.retry([strange], NOW) == 0
    await outbox.bury([strange], "reason", NOW)
    assert await outbox.release("Purchase", "strange", BROWSER, NOW) == 0
    assert await outbox.revive([strange.key], NOW) == await outbox.drop([strange.key]) == 0
    assert await count(outbox) == Counts()
    assert await outbox.put([strange], NOW) == [True]


async def test_connection_is_refused_where_it_cannot_be_used(outbox: Outbox) -> None:
    with pytest.raises(ConfigError, match=r"connection|transaction"):
        await outbox.put([make_delivery()], NOW, connection=object())
    assert await count(outbox) == Counts()


# Claim, lease, retry


async def test_claim_takes_what_is_due_oldest_first(outbox: Outbox) -> None:
    due = {"a": NOW + 1, "b": NOW - 1, "c": NOW - 2, "d": NOW}
    await outbox.put([make_delivery(key, due=at) for key, at in due.items()], NOW)
    assert await claim_ids(outbox, limit=0) == []
    assert await claim_ids(outbox, limit=2) == ["c", "b"]
    assert await claim_ids(outbox) == ["d"]
    assert await claim_ids(outbox) == []
    assert await claim_ids(outbox, NOW + 1) == ["a"]


async def test_claim_leaves_other_destinations_alone(outbox: Outbox) -> None:
    await outbox.put([make_delivery(destination="meta:2"), make_delivery()], NOW)
    assert [each.destination for each in await claim(outbox)] == ["meta:1"]
    assert await claim(outbox, destination="meta") == []
    assert [each.destination for each in await claim(outbox, destination="meta:2")] == ["meta:2"]


async def test_claimed_delivery_is_due_again_after_its_lease(outbox: Outbox) -> None:
    await outbox.put([make_delivery()], NOW)
    [first] = await claim(outbox)
    assert await claim(outbox, NOW + LEASE - 1) == []
    [again] = await claim(outbox, NOW + LEASE)
    assert again == replace(first, due=NOW + 2 * LEASE, attempts=2)


async def test_retry_sets_when_it_is_due(outbox: Outbox) -> None:
    await outbox.put([make_delivery()], NOW)
    assert await outbox.retry(await claim(outbox), NOW + 7.5) == 1
    assert await outbox.next_due("meta:1") == NOW + 7.5
    assert await claim(outbox, NOW + 7) == []
    [again] = await claim(outbox, NOW + 7.5)
    assert again.attempts == 2


async def test_next_due_is_the_first_of_its_destination(outbox: Outbox) -> None:
    await outbox.put(
        [
            make_delivery("late", due=NOW + 20.25),
            make_delivery("soon", due=NOW + 10.5),
            make_delivery("other", due=NOW, destination="meta:2"),
        ],
        NOW,
    )
    assert await outbox.next_due("meta:1") == NOW + 10.5
    assert await outbox.next_due("meta:1", NOW + 10.5) == NOW + 10.5
    assert await outbox.next_due("meta:1", NOW + 10) is None
    await outbox.ack(await claim(outbox, NOW + 11), NOW + 11)
    assert await outbox.next_due("meta:1") == NOW + 20.25
    await outbox.bury(await claim(outbox, NOW + 21), "reason", NOW + 21)
    assert await outbox.next_due("meta:1") is None


async def test_concurrent_puts_of_one_key_store_it_once(make_outbox: MakeOutbox) -> None:
    boxes = [make_outbox(), make_outbox()]
    answers = await asyncio.gather(*(box.put([make_delivery()], NOW) for box in boxes * 25))
    assert sorted(answer for [answer] in answers) == [False] * 49 + [True]


async def test_concurrent_puts_of_many_keys_in_any_order_store_each_once(
    make_outbox: MakeOutbox,
) -> None:
    boxes = [make_outbox(), make_outbox()]
    deliveries = [make_delivery(str(i)) for i in range(40)]
    orders = [random.Random(i).sample(deliveries, 40) for i in range(10)]
    answers = await asyncio.gather(
        *(boxes[i % 2].put(order, NOW) for i, order in enumerate(orders))
    )
    assert sum(map(sum, answers)) == 40
    assert await count(boxes[0]) == Counts(waiting=40, oldest=NOW)


async def test_concurrent_claims_share_without_overlap(make_outbox: MakeOutbox) -> None:
    boxes = [make_outbox(), make_outbox()]
    await boxes[0].put([make_delivery(str(i)) for i in range(200)], NOW)
    claims = await asyncio.gather(*(claim_ids(box, limit=15) for box in boxes * 10))
    # One that looks while others hold their rows may find less than its limit.
    claims.append(await claim_ids(boxes[1]))
    ids = [event_id for claimed in claims for event_id in claimed]
    assert len(ids) == len(set(ids)) == 200


# Settled


async def test_delivered_stays_delivered_whatever_a_late_worker_says(outbox: Outbox) -> None:
    await outbox.put([make_delivery()], NOW)
    late = await claim(outbox)
    await outbox.ack(await claim(outbox, NOW + LEASE), NOW + LEASE)
    await outbox.retry(late, NOW)
    await outbox.bury(late, "late", NOW)
    await outbox.ack(late, NOW + REMEMBERED_SECONDS)
    assert await outbox.revive([late[0].key], NOW) == await outbox.drop([late[0].key]) == 0
    assert await count(outbox, NOW + LEASE) == Counts(delivered=1)
    assert await claim(outbox, NOW + 1000) == []
    assert await outbox.put([make_delivery()], NOW + LEASE + REMEMBERED_SECONDS + 1) == [True]


async def test_dead_stays_dead_whatever_a_late_worker_says(outbox: Outbox) -> None:
    await outbox.put([make_delivery()], NOW)
    late = await claim(outbox)
    await outbox.bury(await claim(outbox, NOW + LEASE), "first", NOW + LEASE)
    await outbox.retry(late, NOW)
    await outbox.ack(late, NOW)
    await outbox.bury(late, "second", NOW + 2 * LEASE)
    assert await outbox.release("Purchase", "1", BROWSER, NOW) == 0
    [dead] = await outbox.list_dead()
    assert (dead.reason, dead.buried_at) == ("first", NOW + LEASE)
    assert await count(outbox) == Counts(dead=1)
    assert await claim(outbox, NOW + 1000) == []


async def test_dead_is_replaced_when_it_is_put_again(outbox: Outbox) -> None:
    await bury(outbox, "1", "2")
    mended = make_delivery(body=b"mended", due=NOW + 5, expires=NOW + 5000)
    assert await outbox.put([mended, mended, make_delivery("3")], NOW + 5) == [True, False, True]
    assert [each.delivery.event_id for each in await outbox.list_dead()] == ["2"]
    assert await outbox.find_dead("1") == []
    counts = await count(outbox, NOW + 5)
    assert (counts.waiting, counts.dead, counts.oldest) == (2, 1, NOW + 5)
    [claimed] = [each for each in await claim(outbox, NOW + 5) if each.event_id == "1"]
    assert claimed == replace(mended, due=NOW + 5 + LEASE, attempts=1)


# Release


async def test_release_ends_a_hold_at_every_destination(make_outbox: MakeOutbox) -> None:
    here, there = make_outbox(), make_outbox()
    held = [make_delivery(destination=name, due=NOW + 10) for name in ("meta:1", "meta:2")]
    others = [make_delivery("2", due=NOW + 10), make_delivery(event_name="Lead", due=NOW + 10)]
    await here.put([*held, *others], NOW)
    assert await there.release("Purchase", "1", BROWSER, NOW + 1) == 2
    assert await there.next_due("meta:1") == NOW + 1
    assert await claim_ids(here, NOW + 1) == ["1"]
    assert len(await claim(here, NOW + 1, destination="meta:2")) == 1


async def test_release_is_of_the_destinations_that_are_named(outbox: Outbox) -> None:
    await outbox.put(
        [make_delivery(destination=name, due=NOW + 10) for name in ("meta:1", "meta:2")], NOW
    )
    assert await outbox.release("Purchase", "1", BROWSER, NOW + 1, destinations=["other"]) == 0
    assert await outbox.release("Purchase", "1", BROWSER, NOW + 1, destinations=["meta:2"]) == 1
    assert await outbox.next_due("meta:1") == NOW + 10
    assert await outbox.next_due("meta:2") == NOW + 1


async def test_release_leaves_what_another_browser_did_alone(outbox: Outbox) -> None:
    held = make_delivery(subjects=ADA, due=NOW + 10)
    await outbox.put([held, make_delivery("nobody's", subjects=b"", due=NOW + 10)], NOW)
    for stranger in (BOB, ADA[8:], ADA_ELSEWHERE[:8], b""):
        assert await outbox.release("Purchase", "1", stranger, NOW + 1) == 0
        assert await outbox.release("Purchase", "nobody's", stranger, NOW + 1) == 0
    assert await outbox.next_due("meta:1") == NOW + 10
    assert await outbox.release("Purchase", "1", BOB[:8] + ADA[:8], NOW + 1) == 1


async def test_release_leaves_what_was_claimed_alone(make_outbox: MakeOutbox) -> None:
    here, there = make_outbox(), make_outbox()
    await here.put([make_delivery(due=NOW + 10)], NOW)
    claimed = await claim(here, NOW + 10)
    assert await there.release("Purchase", "1", BROWSER, NOW + 11) == 0
    assert await claim(there, NOW + 11) == []
    await here.retry(claimed, NOW + 300)
    assert await there.release("Purchase", "1", BROWSER, NOW + 11) == 0
    assert await claim(there, NOW + 299) == []


async def test_release_of_what_is_due_or_unknown_finds_nothing(outbox: Outbox) -> None:
    await outbox.put([make_delivery(due=NOW)], NOW)
    assert await outbox.release("Purchase", "1", BROWSER, NOW) == 0
    assert await outbox.release("Purchase", "2", BROWSER, NOW) == 0
    assert await outbox.next_due("meta:1") == NOW


# Has


async def test_event_is_stored_until_it_is_dropped_or_forgotten(make_outbox: MakeOutbox) -> None:
    here, there = make_outbox(), make_outbox()
    assert not await there.has("Purchase", "1", NOW)
    await here.put([make_delivery(due=NOW + 10), make_delivery("dead"), make_delivery("2")], NOW)
    assert await there.has("Purchase", "1", NOW)
    await here.release("Purchase", "1", BROWSER, NOW)
    claimed = {each.event_id: each for each in await claim(here)}
    assert await there.has("Purchase", "1", NOW)
    await here.retry([claimed["1"]], NOW + 300)
    assert await there.has("Purchase", "1", NOW)
    await here.ack([claimed["1"], claimed["2"]], NOW)
    await here.bury([claimed["dead"]], "reason", NOW)
    assert await there.has("Purchase", "1", NOW)
    assert await there.has("Purchase", "dead", NOW)
    await here.revive([claimed["dead"].key], NOW)
    assert await there.has("Purchase", "dead", NOW)
    await here.bury([claimed["dead"]], "reason", NOW)
    await here.drop([claimed["dead"].key])
    assert not await there.has("Purchase", "dead", NOW)


async def test_event_of_another_name_or_id_is_not_this_one(outbox: Outbox) -> None:
    await outbox.put([make_delivery("2"), make_delivery(event_name="Lead")], NOW)
    assert await outbox.has("Purchase", "2", NOW)
    assert await outbox.has("Lead", "1", NOW)
    assert not await outbox.has("Purchase", "1", NOW)
    assert not await outbox.has("Lead", "2", NOW)
    assert not await outbox.has("", "", NOW)
    assert await outbox.has("Purchase", "2", NOW, destinations=["meta:1", "other"])
    assert not await outbox.has("Purchase", "2", NOW, destinations=["other"])
    assert not await outbox.has("Purchase", "2", NOW, destinations=[])


@pytest.mark.parametrize("state", ["waiting", "delivered", "dead"])
async def test_event_is_found_whatever_its_destination(outbox: Outbox, state: str) -> None:
    await outbox.put([make_delivery("other", destination="meta:2")], NOW)
    await outbox.put([make_delivery(destination="b")], NOW)
    claimed = await claim(outbox, destination="b")
    if state == "delivered":
        await outbox.ack(claimed, NOW)
    if state == "dead":
        await outbox.bury(claimed, "reason", NOW)
    assert await outbox.has("Purchase", "1", NOW)


# Counts


async def test_counts_by_destination(outbox: Outbox) -> None:
    await outbox.put([make_delivery(str(i)) for i in range(6)], NOW - 50)
    claimed = await claim(outbox, limit=4)
    await outbox.ack(claimed[:2], NOW)
    await outbox.bury(claimed[2:3], "reason", NOW)
    await outbox.put([make_delivery("held", due=NOW + 10)], NOW)
    await outbox.put([make_delivery(destination="meta:2", due=NOW + 10)], NOW - 7.5)
    counts = await outbox.count(NOW, with_delivered=True)
    assert {name: each for name, each in counts.items() if each != Counts()} == {
        "meta:1": Counts(waiting=4, held=1, delivered=2, dead=1, oldest=NOW - 50),
        "meta:2": Counts(waiting=1, held=1, oldest=NOW - 7.5),
    }
    later = await outbox.count(NOW + 10, with_delivered=True)
    assert (later["meta:1"].held, later["meta:2"].held) == (0, 0)


async def test_counts_forget_what_was_delivered_48_hours_ago(outbox: Outbox) -> None:
    await outbox.put([make_delivery()], NOW)
    await outbox.ack(await claim(outbox), NOW)
    assert (await count(outbox, NOW + REMEMBERED_SECONDS - 1)).delivered == 1
    # Redis counts whole days.
    assert (await count(outbox, NOW + REMEMBERED_SECONDS + 86_400)).delivered == 0


async def test_back_off_is_no_hold(outbox: Outbox) -> None:
    await outbox.put([make_delivery()], NOW)
    await outbox.retry(await claim(outbox), NOW + 300)
    assert await count(outbox) == Counts(waiting=1, held=0, oldest=NOW)


# Dead letters


async def test_dead_letter_keeps_delivery_and_reason(outbox: Outbox) -> None:
    reason = "100/2804003: Meta's own words, 漢字 and 'quotes'\nin lines"
    delivery = make_delivery(body=EACH_BYTE)
    await outbox.put([delivery], NOW)
    await claim(outbox)
    await outbox.bury(await claim(outbox, NOW + LEASE), reason, NOW + LEASE + 0.5)
    [dead] = await outbox.list_dead()
    assert (dead.reason, dead.buried_at) == (reason, NOW + LEASE + 0.5)
    assert replace(dead.delivery, due=NOW) == replace(delivery, attempts=2)
    assert EACH_BYTE.decode("latin-1") not in repr(dead)


async def test_empty_reason_is_a_reason(outbox: Outbox) -> None:
    await outbox.put([make_delivery()], NOW)
    await outbox.bury(await claim(outbox), "", NOW)
    [dead] = await outbox.list_dead()
    assert dead.reason == ""
    assert await count(outbox) == Counts(dead=1)


async def test_dead_letters_are_listed_newest_first_page_by_page(outbox: Outbox) -> None:
    for i in range(5):
        await bury(outbox, str(i), at=NOW + (i * 3) % 5)
    await bury(outbox, "other", destination="meta:2", at=NOW + 2.5)
    listed = [each.delivery.event_id for each in await outbox.list_dead()]
    assert listed == ["3", "1", "other", "4", "2", "0"]
    page = await outbox.list_dead(limit=2, offset=1)
    assert [each.delivery.event_id for each in page] == ["1", "other"]
    page = await outbox.list_dead(destination="meta:1", limit=2, offset=1)
    assert [each.delivery.event_id for each in page] == ["1", "4"]
    assert await outbox.list_dead(offset=6) == []
    assert await outbox.list_dead(limit=0) == []
    assert await outbox.list_dead(destination="meta:3") == []


async def test_pages_of_what_was_buried_at_once_do_not_overlap(outbox: Outbox) -> None:
    await bury(outbox, *(str(i) for i in range(30)))
    pages = [await outbox.list_dead(limit=7, offset=offset) for offset in range(0, 35, 7)]
    ids = [each.delivery.event_id for page in pages for each in page]
    assert sorted(ids, key=int) == [str(i) for i in range(30)]


async def test_dead_letters_are_found_by_event_id(outbox: Outbox) -> None:
    await bury(outbox, "1", "2")
    await bury(outbox, "1", event_name="Lead")
    await bury(outbox, "1", destination="meta:2")
    await outbox.put([make_delivery("1", event_name="Contact")], NOW)
    found = {each.delivery.key for each in await outbox.find_dead("1")}
    assert found == {
        Key("meta:1", "Purchase", "1"),
        Key("meta:1", "Lead", "1"),
        Key("meta:2", "Purchase", "1"),
    }
    assert await outbox.find_dead("3") == []


async def test_revived_letter_is_claimed_as_if_never_before(outbox: Outbox) -> None:
    await bury(outbox, "1", "2", expires=NOW + 777)
    keys = [Key("meta:1", "Purchase", "1"), Key("meta:1", "Purchase", "none")]
    assert await outbox.revive(keys, NOW + 5) == 1
    assert await outbox.revive(keys, NOW + 5) == 0
    assert await outbox.next_due("meta:1") == NOW + 5
    [claimed] = await claim(outbox, NOW + 5)
    assert claimed == make_delivery(due=NOW + 5 + LEASE, expires=NOW + 777, attempts=1)
    assert await count(outbox, NOW + 5) == Counts(waiting=1, dead=1, oldest=NOW)
    await outbox.ack([claimed], NOW + 6)
    assert await count(outbox, NOW + 6) == Counts(delivered=1, dead=1)


async def test_dropped_letter_is_forgotten(outbox: Outbox) -> None:
    await bury(outbox, "1", "2")
    keys = [Key("meta:1", "Purchase", "1"), Key("meta:1", "Purchase", "none")]
    assert await outbox.drop(keys) == 1
    assert await outbox.drop(keys) == 0
    assert [each.delivery.event_id for each in await outbox.list_dead()] == ["2"]
    assert await outbox.put([make_delivery()], NOW) == [True]


async def test_what_waits_is_neither_revived_nor_dropped(outbox: Outbox) -> None:
    delivery = make_delivery(due=NOW + 50)
    await outbox.put([delivery], NOW)
    assert await outbox.revive([delivery.key], NOW) == await outbox.drop([delivery.key]) == 0
    assert await outbox.next_due("meta:1") == NOW + 50


async def test_old_letters_are_dropped_and_no_others(outbox: Outbox) -> None:
    for i, at in enumerate((NOW, NOW + 10, NOW + 20, NOW + 30)):
        await bury(outbox, str(i), at=at, destination=f"meta:{i % 2}", subjects=ADA)
    await outbox.put([make_delivery("waits")], NOW)
    assert await outbox.drop_old(NOW, 10) == 0
    assert await outbox.drop_old(NOW + 25, 2) == 2
    assert await outbox.drop_old(NOW + 25, 2) == 1
    assert [each.delivery.event_id for each in await outbox.list_dead()] == ["3"]
    assert await count(outbox) == Counts(waiting=1, dead=1, oldest=NOW)
    assert await outbox.erase(ADA) == Erased(dead=1)


# Where an event was born


async def test_what_a_browser_said_does_not_keep_out_what_the_server_says(outbox: Outbox) -> None:
    claimed_by_a_stranger = [
        make_delivery(str(i), body=b"browser", from_browser=True) for i in range(100)
    ]
    assert await outbox.put(claimed_by_a_stranger, NOW) == [True] * 100
    own = [make_delivery(str(i), body=b"server") for i in range(100)]
    assert await outbox.put(own, NOW) == [True] * 100
    assert await outbox.put(own, NOW) == [False] * 100
    assert await outbox.put(claimed_by_a_stranger, NOW) == [False] * 100
    await outbox.ack(await claim(outbox), NOW)
    assert await count(outbox) == Counts(delivered=200)
    assert await outbox.put(own, NOW + 1) == [False] * 100
    assert await outbox.put(claimed_by_a_stranger, NOW + 1) == [False] * 100


async def test_browser_report_of_what_the_server_stored_is_a_duplicate(outbox: Outbox) -> None:
    report = make_delivery(from_browser=True)
    await outbox.put([make_delivery()], NOW)
    assert await outbox.put([report], NOW) == [False]
    assert await outbox.put([replace(report, destination="meta:2")], NOW) == [True]
    await outbox.ack(await claim(outbox), NOW)
    assert await outbox.put([report], NOW + REMEMBERED_SECONDS - 1) == [False]
    assert await outbox.put([report], NOW + REMEMBERED_SECONDS + 1) == [True]


async def test_browser_report_replaces_no_dead_letter_of_the_server(outbox: Outbox) -> None:
    await bury(outbox, "1")
    report = make_delivery(body=b"browser", from_browser=True)
    assert await outbox.put([report], NOW) == [True]
    assert await claim(outbox) == [replace(report, due=NOW + LEASE, attempts=1)]
    assert (await outbox.find_dead("1"))[0].delivery.from_browser == False  # noqa: E712 - 0 too


async def test_only_the_servers_own_event_is_held_and_asked_for(outbox: Outbox) -> None:
    await outbox.put([make_delivery(from_browser=True, due=NOW + 10)], NOW)
    assert not await outbox.has("Purchase", "1", NOW)
    assert await outbox.release("Purchase", "1", BROWSER, NOW + 1) == 0
    await outbox.put([make_delivery(due=NOW + 10)], NOW)
    assert await outbox.has("Purchase", "1", NOW)
    assert await outbox.release("Purchase", "1", BROWSER, NOW + 1) == 1


async def test_dead_letters_of_both_births_are_told_apart(outbox: Outbox) -> None:
    await bury(outbox, "1", from_browser=True)
    await bury(outbox, "1")
    letters = await outbox.find_dead("1")
    assert {bool(each.delivery.from_browser) for each in letters} == {True, False}
    reported, own = sorted((each.delivery.key for each in letters), key=lambda key: not key[3])
    assert await outbox.drop([reported]) == 1
    assert await outbox.revive([reported, own], NOW) == 1
    [claimed] = await claim(outbox)
    assert claimed.key == own


# How long it is remembered


@pytest.mark.parametrize("from_browser", [False, True], ids=["server", "browser"])
async def test_given_id_is_refused_for_90_days(outbox: Outbox, from_browser: bool) -> None:
    delivery = make_delivery(has_given_id=True, from_browser=from_browser)
    await outbox.put([delivery, make_delivery("random")], NOW)
    await outbox.ack(await claim(outbox), NOW)
    week = NOW + 7 * 86_400
    again = [replace(delivery, has_given_id=False), make_delivery("random")]
    assert await outbox.put(again, week) == [False, True]
    await outbox.ack(await claim(outbox, week), week)
    assert await outbox.put([delivery], NOW + LASTING_SECONDS - 1) == [False]
    late = NOW + LASTING_SECONDS + 1
    assert await outbox.put([delivery], late) == [True]
    assert await outbox.put([delivery], late + LASTING_SECONDS) == [False]


@pytest.mark.parametrize(("days", "random_days"), [(1, 1), (30, 2)])
async def test_keys_are_remembered_for_as_long_as_the_app_wants(
    make_outbox: MakeOutbox, days: float, random_days: float
) -> None:
    outbox = make_outbox(remember_days=days)
    given, random = make_delivery("given", has_given_id=True), make_delivery("random")
    await outbox.put([given, random], NOW)
    await outbox.ack(await claim(outbox), NOW)
    for delivery, span in ((random, random_days * 86_400), (given, days * 86_400)):
        name = delivery.event_name, delivery.event_id
        assert await outbox.has(*name, NOW + span - 1)
        assert await outbox.put([delivery], NOW + span - 1) == [False]
        assert not await outbox.has(*name, NOW + span + 1)
        assert await outbox.put([delivery], NOW + span + 1) == [True]


@pytest.mark.parametrize("days", [0, -1, math.inf, math.nan])
async def test_remember_days_must_be_a_number_above_0(make_outbox: MakeOutbox, days: float) -> None:
    with pytest.raises(ConfigError, match="remember_days must be above 0"):
        make_outbox(remember_days=days)


async def test_what_was_delivered_or_stored_lately_is_told_from_the_rest(outbox: Outbox) -> None:
    await outbox.put([make_delivery(each, has_given_id=True) for each in "ab"], NOW)
    [delivered] = await claim(outbox, limit=1)
    await outbox.ack([delivered], NOW + 50)
    await bury(outbox, "dead", destination="meta:2")
    [waits] = {"a", "b"} - {delivered.event_id}
    for now, event_id, is_lately in (
        (NOW + 149, delivered.event_id, True),
        (NOW + 151, delivered.event_id, False),
        (NOW + 99, waits, True),
        (NOW + 101, waits, False),
        (NOW + 99, "dead", True),
        (NOW + 101, "dead", False),
    ):
        assert await outbox.has("Purchase", event_id, now)
        assert await outbox.has("Purchase", event_id, now, within=100) is is_lately


async def test_ack_forgets_given_ids_when_they_are_old_enough(outbox: Outbox) -> None:
    for event_id, at in (("old", NOW), ("young", NOW + 10)):
        await outbox.put([make_delivery(event_id, has_given_id=True)], NOW)
        await outbox.ack(await claim(outbox), at)
    assert await count(outbox, NOW + REMEMBERED_SECONDS + 86_400) == Counts()
    later = NOW + LASTING_SECONDS + 5
    await outbox.put([make_delivery("last", has_given_id=True)], later)
    await outbox.ack(await claim(outbox, later), later)
    assert await count(outbox, later) == Counts(delivered=1)
    assert await outbox.has("Purchase", "young", later)
    assert not await outbox.has("Purchase", "old", later)


# Whose it is

ADA = build_subjects("ada's browser", ["ada", "ada's e-mail"])
ADA_ELSEWHERE = build_subjects("ada's telephone", ["ada"])
BOB = build_subjects("bob's browser", ["bob"])
STRANGER = build_subjects("a browser", [])


def test_subjects_are_short_and_hold_nothing_readable() -> None:
    assert len(ADA) == 24
    assert b"ada" not in ADA
    assert build_subjects(None, ["x"]) == build_subjects("x", ["x"])
    assert len(build_subjects("b", map(str, range(100)))) == 248


async def test_delivery_is_claimed_and_buried_with_its_subjects(outbox: Outbox) -> None:
    await bury(outbox, "1", subjects=ADA, has_given_id=True)
    [dead] = await outbox.list_dead()
    assert (dead.delivery.subjects, dead.delivery.has_given_id) == (ADA, True)
    await outbox.revive([dead.delivery.key], NOW)
    assert [each.subjects for each in await claim(outbox)] == [ADA]


async def test_what_waits_for_a_browser_is_withdrawn(make_outbox: MakeOutbox) -> None:
    here, there = make_outbox(), make_outbox()
    waiting = [
        make_delivery("held", subjects=ADA, due=NOW + 10),
        make_delivery("due", subjects=ADA, destination="meta:2"),
        make_delivery("reported", subjects=ADA, from_browser=True, due=NOW + 10),
        make_delivery("elsewhere", subjects=ADA_ELSEWHERE, due=NOW + 10),
        make_delivery("bob's", subjects=BOB, due=NOW + 10),
        make_delivery("nobody's", due=NOW + 10),
    ]
    await bury(here, "dead", subjects=ADA)
    await here.put([make_delivery("delivered", subjects=ADA)], NOW)
    await here.ack(await claim(here), NOW)
    await here.put([make_delivery("tried", subjects=ADA)], NOW)
    await here.retry(await claim(here), NOW + 100)
    await here.put(waiting, NOW)
    assert await there.withdraw(STRANGER) == await there.withdraw(b"") == 0
    assert await there.withdraw(ADA[:8]) == 5
    assert await there.withdraw(ADA[:8]) == 0
    assert await there.release("Purchase", "held", BROWSER, NOW) == 0
    assert sorted(await claim_ids(here, NOW + 500)) == ["bob's", "elsewhere", "nobody's"]
    assert await claim(here, NOW + 500, destination="meta:2") == []
    assert await count(here) == Counts(waiting=3, delivered=1, oldest=NOW)
    assert await here.put([make_delivery("delivered")], NOW) == [False]


async def test_several_browsers_are_withdrawn_at_once(outbox: Outbox) -> None:
    people = (ADA, BOB, ADA_ELSEWHERE, STRANGER)
    await outbox.put([make_delivery(str(i), subjects=who) for i, who in enumerate(people)], NOW)
    assert await outbox.withdraw(ADA[:8] + BOB[:8] + ADA[:8]) == 2
    assert sorted(await claim_ids(outbox)) == ["2", "3"]


async def test_withdrawn_while_claimed_is_not_sent_again(outbox: Outbox) -> None:
    await outbox.put([make_delivery(str(i), subjects=ADA) for i in range(3)], NOW)
    claimed = await claim(outbox)
    assert await outbox.withdraw(ADA[:8]) == 3
    await outbox.ack(claimed[:1], NOW)
    await outbox.retry(claimed[1:2], NOW)
    await outbox.bury(claimed[2:], "refused", NOW)
    assert await count(outbox) == Counts()
    assert await outbox.put([make_delivery("0", subjects=ADA)], NOW) == [True]


async def test_everything_of_a_person_is_erased(make_outbox: MakeOutbox) -> None:
    here, there = make_outbox(), make_outbox()
    await bury(here, "dead", subjects=ADA)
    await bury(here, "bob's", subjects=BOB)
    await here.put([make_delivery("delivered", subjects=ADA)], NOW)
    await here.ack(await claim(here), NOW)
    waiting = [
        make_delivery("held", subjects=ADA, due=NOW + 10),
        make_delivery("elsewhere", subjects=ADA_ELSEWHERE, destination="meta:2"),
        make_delivery("bob's other", subjects=BOB),
        make_delivery("nobody's"),
    ]
    await here.put(waiting, NOW)
    assert await there.erase(build_subjects(None, ["eve"])) == await there.erase(b"") == Erased()
    assert await there.erase(build_subjects(None, ["ada"])) == Erased(waiting=2, dead=1)
    assert await there.erase(build_subjects(None, ["ada"])) == Erased()
    assert await here.find_dead("dead") == []
    assert sorted(await claim_ids(here, NOW + 50)) == ["bob's other", "nobody's"]
    assert await here.put([make_delivery("delivered")], NOW) == [False]
    assert await here.put([make_delivery("dead")], NOW) == [True]
    either = build_subjects(None, ["nobody", "bob"])
    assert await there.erase(either) == Erased(waiting=1, dead=1)


async def test_erasing_makes_room(make_outbox: MakeOutbox) -> None:
    outbox = make_outbox(capacity=2)
    await bury(outbox, "dead", subjects=ADA)
    await outbox.put([make_delivery("1", subjects=BOB)], NOW)
    assert await outbox.erase(ADA) == Erased(dead=1)
    assert await outbox.withdraw(BOB[:8]) == 1
    assert await outbox.put([make_delivery("2"), make_delivery("3")], NOW) == [True, True]


async def test_thousands_of_one_person_are_erased(outbox: Outbox) -> None:
    many = [make_delivery(str(i), subjects=(ADA, BOB)[i % 2]) for i in range(3000)]
    await outbox.put(many, NOW)
    assert await outbox.erase(ADA[8:16]) == Erased(waiting=1500)
    assert await outbox.withdraw(BOB[:8]) == 1500


async def test_replaced_letter_belongs_to_whom_it_says_now(outbox: Outbox) -> None:
    await bury(outbox, "1", subjects=ADA)
    await outbox.put([make_delivery(subjects=BOB)], NOW)
    assert await outbox.erase(ADA) == Erased()
    assert await outbox.withdraw(BOB[:8]) == 1


# Capacity


async def test_full_outbox_refuses_what_is_new_and_says_what_to_do(
    make_outbox: MakeOutbox,
) -> None:
    outbox = make_outbox(capacity=3)
    await bury(outbox, "dead")
    await outbox.put([make_delivery("1"), make_delivery("2")], NOW)
    with pytest.raises(OutboxFullError, match="3 of 3"):
        await outbox.put([make_delivery("3")], NOW)
    assert await outbox.put([make_delivery("1"), make_delivery("2")], NOW) == [False, False]
    assert await outbox.put([make_delivery("dead")], NOW) == [True]
    assert await count(outbox) == Counts(waiting=3, oldest=NOW)


async def test_last_tenth_of_the_room_is_not_for_page_views(make_outbox: MakeOutbox) -> None:
    outbox = make_outbox(capacity=10)
    views = [make_delivery(str(number), event_name="PageView") for number in range(12)]
    for view in views[:9]:
        assert await outbox.put([view], NOW) == [True]
    with pytest.raises(OutboxFullError, match=r"9 of 10 .* keeps the rest for"):
        await outbox.put([views[9]], NOW)
    assert await outbox.put([views[0]], NOW) == [False]
    assert await outbox.put([make_delivery("A-1")], NOW) == [True]
    with pytest.raises(OutboxFullError, match="10 of 10 deliveries: see why"):
        await outbox.put([make_delivery("A-2")], NOW)


async def test_put_without_room_for_all_stores_none(make_outbox: MakeOutbox) -> None:
    outbox = make_outbox(capacity=3)
    await outbox.put([make_delivery("1")], NOW)
    wanted = [make_delivery("2", destination=f"meta:{i}") for i in range(3)]
    with pytest.raises(OutboxFullError, match="1 of 3"):
        await outbox.put(wanted, NOW)
    assert (await outbox.count(NOW, with_delivered=True)).keys() == {"meta:1"}
    assert await outbox.put(wanted[:2], NOW) == [True, True]


async def test_room_comes_back_with_what_is_delivered_or_dropped(make_outbox: MakeOutbox) -> None:
    outbox = make_outbox(capacity=2)
    await bury(outbox, "dead")
    await outbox.put([make_delivery("1")], NOW)
    await outbox.ack(await claim(outbox), NOW)
    assert await outbox.put([make_delivery("2")], NOW) == [True]
    with pytest.raises(OutboxFullError):
        await outbox.put([make_delivery("3")], NOW)
    await outbox.drop([Key("meta:1", "Purchase", "dead")])
    assert await outbox.put([make_delivery("3")], NOW) == [True]


async def test_concurrent_puts_do_not_pass_the_capacity(make_outbox: MakeOutbox) -> None:
    outbox = make_outbox(capacity=20)
    answers = await asyncio.gather(
        *(outbox.put([make_delivery(str(i))], NOW) for i in range(50)), return_exceptions=True
    )
    assert sum(answer == [True] for answer in answers) == 20
    assert sum(isinstance(answer, OutboxFullError) for answer in answers) == 30
    assert await count(outbox) == Counts(waiting=20, oldest=NOW)


async def test_what_is_stored_at_the_start_counts_against_the_capacity(
    make_outbox: MakeOutbox,
) -> None:
    await bury(make_outbox(), "dead")
    await make_outbox().put([make_delivery("1")], NOW)
    with pytest.raises(OutboxFullError, match="2 of 2"):
        await make_outbox(capacity=2).put([make_delivery("2")], NOW)
    known = [make_delivery("dead"), make_delivery("1")]
    assert await make_outbox(capacity=1).put(known, NOW) == [True, False]


async def test_capacity_below_one_is_refused(make_outbox: MakeOutbox) -> None:
    with pytest.raises(ConfigError, match="capacity must be at least 1, got 0"):
        make_outbox(capacity=0)


# Circuits, reopening


async def test_circuit_is_read_by_another_outbox_and_overwritten(make_outbox: MakeOutbox) -> None:
    here, there = make_outbox(), make_outbox()
    reason = "190/463: Error validating access token 漢字"
    opened = Circuit(
        destination="meta:1", state="open", reason=reason, since=NOW + 0.5, until=NOW + 60.25
    )
    other = Circuit(destination="a:b|c", state="closed", since=NOW)
    await here.save_circuit(opened)
    await there.save_circuit(other)
    assert await there.circuits() == {"meta:1": opened, "a:b|c": other}
    half = replace(opened, state="half_open", until=0.0)
    await there.save_circuit(half)
    assert await here.circuits() == {"meta:1": half, "a:b|c": other}


async def test_closed_outbox_is_opened_again_by_the_next_call(make_outbox: MakeOutbox) -> None:
    outbox = make_outbox()
    await outbox.close()
    await outbox.put([make_delivery()], NOW)
    await outbox.close()
    await outbox.close()
    assert await claim_ids(outbox) == ["1"]


async def test_delivery_is_there_for_whoever_opens_the_store(make_outbox: MakeOutbox) -> None:
    first = make_outbox()
    await first.put([make_delivery()], NOW)
    await first.close()
    assert await claim_ids(make_outbox()) == ["1"]


async def test_repr_names_the_engine_and_no_secret(outbox: Outbox) -> None:
    assert repr(outbox).startswith(type(outbox).__name__)
    assert str(outbox).startswith(("SQLite, ", "PostgreSQL, postgresql://", "Redis, "))


# Any sequence of steps

RUNS = count_up()
INDEX = st.integers(0, 5)
INDEXES = st.lists(INDEX, min_size=1, max_size=4)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), INDEXES, st.sampled_from([-1, 0, 10])),
        st.tuples(st.just("claim"), st.integers(1, 5), st.sampled_from([5, 60])),
        st.tuples(st.sampled_from(["ack", "bury", "release", "revive", "drop"]), INDEXES),
        st.tuples(st.sampled_from(["withdraw", "erase"]), INDEX),
        st.tuples(st.just("drop_old"), st.sampled_from([0, 50])),
        st.tuples(st.just("retry"), INDEXES, st.sampled_from([0, 7, 300])),
        st.tuples(st.just("pass"), st.sampled_from([1, 11, 61, 49 * 3600, 60 * 86_400])),
    ),
    max_size=25,
)


class Comparison:
    """The same steps on an engine and on the model, at a destination of their own."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self.model = Model()
        self.now = NOW
        self.destination = f"run:{next(RUNS)}"

    def deliveries(self, indexes: list[int], due: float = 0) -> list[Delivery]:
        return [
            make_delivery(
                f"{self.destination}/{index % 4}",
                destination=self.destination,
                body=b"%d at %d" % (index, self.now),
                due=self.now + due,
                from_browser=index > 3,
                has_given_id=index % 2 == 1,
                subjects=self.subjects(index),
            )
            for index in indexes
        ]

    def subjects(self, index: int) -> bytes:
        """Two browsers of each of two people."""
        people = [f"{self.destination}/{index % 2}"] * (index != 3)
        return build_subjects(f"{self.destination}/browser/{index % 3}", people)

    def keys(self, indexes: list[int]) -> list[Key]:
        return [each.key for each in self.deliveries(list(dict.fromkeys(indexes)))]

    async def put(self, indexes: list[int], due: float) -> None:
        deliveries = self.deliveries(indexes, due)
        for born in (False, True):
            of_it = [each for each in deliveries if each.from_browser == born]
            assert await self.outbox.put(of_it, self.now) == self.model.put(of_it, self.now)

    async def claim(self, limit: int, lease: float) -> None:
        due = self.model.due(self.destination, self.now)
        before = {each.key: each.due for each in self.model.waiting()}
        claimed = await self.outbox.claim(self.destination, limit, now=self.now, lease=lease)
        assert [before[each.key] for each in claimed] == due[:limit]
        assert claimed == self.model.claim([each.key for each in claimed], self.now + lease)

    async def retry(self, indexes: list[int], delay: float) -> None:
        indexes = sorted(set(indexes))  # a claim names each delivery once
        retried = await self.outbox.retry(self.deliveries(indexes), self.now + delay)
        assert retried == self.model.retry(self.keys(indexes), self.now + delay)

    async def ack(self, indexes: list[int]) -> None:
        await self.outbox.ack(self.deliveries(indexes), self.now)
        self.model.settle(self.keys(indexes), "delivered", "", self.now)

    async def bury(self, indexes: list[int]) -> None:
        await self.outbox.bury(self.deliveries(indexes), f"at {self.now}", self.now)
        self.model.settle(self.keys(indexes), "dead", f"at {self.now}", self.now)

    async def release(self, indexes: list[int]) -> None:
        [_, name, event_id, _] = self.keys(indexes)[0]
        subject = self.subjects(indexes[-1])[:8]
        released = await self.outbox.release(name, event_id, subject, self.now)
        assert released == self.model.release(name, event_id, subject, self.now)

    async def revive(self, indexes: list[int]) -> None:
        keys = self.keys(indexes)
        assert await self.outbox.revive(keys, self.now) == self.model.revive(keys, self.now)

    async def drop(self, indexes: list[int]) -> None:
        keys = self.keys(indexes)
        assert await self.outbox.drop(keys) == self.model.drop(keys)

    async def withdraw(self, index: int) -> None:
        subject = self.subjects(index)[:8]
        assert await self.outbox.withdraw(subject) == self.model.withdraw(subject)

    async def erase(self, index: int) -> None:
        subject = self.subjects(index)[8:16]
        if subject:
            assert await self.outbox.erase(subject) == self.model.erase(subject)

    async def drop_old(self, age: float) -> None:
        before = self.now - age
        assert await self.outbox.drop_old(before, 1000) == self.model.drop_old(before)

    async def check(self) -> None:
        counts = (await self.outbox.count(self.now, with_delivered=True)).get(
            self.destination, Counts()
        )
        assert replace(counts, oldest=None) == self.model.count(self.destination, self.now)
        assert (counts.oldest is None) == (counts.waiting == 0)
        waiting = self.model.waiting()
        first = min((each.due for each in waiting), default=None)
        assert await self.outbox.next_due(self.destination) == first
        dead = await self.outbox.list_dead(destination=self.destination)
        assert {each.delivery.key: (each.delivery.body, each.reason) for each in dead} == {
            key: (row.delivery.body, row.reason) for key, row in self.model.dead().items()
        }


@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=STEPS)
async def test_any_steps_end_as_in_the_model(outbox: Outbox, steps: list[Any]) -> None:
    comparison = Comparison(outbox)
    for name, *arguments in steps:
        if name == "pass":
            comparison.now += arguments[0]
        else:
            await getattr(comparison, name)(*arguments)
    await comparison.check()


# What a dashboard reads


async def test_waiting_ones_are_listed_the_next_due_first(outbox: Outbox) -> None:
    await outbox.put([make_delivery("late", due=NOW + 30)], NOW)
    await outbox.put([make_delivery("next"), make_delivery("far", destination="meta:2")], NOW)
    await bury(outbox, "dead", destination="meta:3")
    [claimed] = await claim(outbox)
    listed = await outbox.list_waiting()
    assert [each.event_id for each in listed] == ["far", "late", "next"]
    assert listed[1:] == [make_delivery("late", due=NOW + 30), claimed]
    assert [each.event_id for each in await outbox.list_waiting(limit=1, offset=1)] == ["late"]
    assert await outbox.list_waiting(limit=0) == []
    [far] = await outbox.list_waiting(destination="meta:2")
    assert far.destination == "meta:2"
    await outbox.ack([claimed], NOW)
    assert len(await outbox.list_waiting()) == 2


async def test_waiting_ones_of_many_destinations_are_listed_page_by_page(outbox: Outbox) -> None:
    await outbox.put(
        [
            make_delivery(f"e{number}", destination=f"meta:{number % 3}", due=NOW + number * 7 % 11)
            for number in range(30)
        ],
        NOW,
    )
    pages = [await outbox.list_waiting(limit=7, offset=offset) for offset in range(0, 42, 7)]
    listed = [each for page in pages for each in page]
    assert len({each.key for each in listed}) == len(listed) == 30
    assert [each.due for each in listed] == sorted(each.due for each in listed)
    assert listed == await outbox.list_waiting()
    assert pages[5] == []


async def test_waiting_one_is_found_by_its_event_id(outbox: Outbox) -> None:
    own, reported = make_delivery("a"), make_delivery("a", destination="meta:2", from_browser=True)
    await outbox.put([own, reported, make_delivery("b")], NOW)
    names = [own.event_name, "Lead", own.event_name]
    assert sorted(each.destination for each in await outbox.find("a", names)) == [
        "meta:1",
        "meta:2",
    ]
    assert own in await outbox.find("a", names)
    assert await outbox.find("a", ["Lead"]) == await outbox.find("c", names) == []
    await outbox.ack(await claim(outbox), NOW)
    assert [each.destination for each in await outbox.find("a", names)] == ["meta:2"]


async def test_figures_are_added_up_by_day(outbox: Outbox) -> None:
    today = int(time.time() // 86_400)
    stored = Figure(today - 1, "meta:1", "Purchase", "stored", 2)
    value = Figure(today - 1, "meta:1", "Größe \u2028'", "value.EUR", 10**15)
    other_day = Figure(today, "", "Purchase", "skipped.bot", 1)
    await outbox.add_figures([])
    await asyncio.gather(
        outbox.add_figures([stored, value, other_day]),
        outbox.add_figures([value, stored]),
    )
    doubled = {stored._replace(number=4), value._replace(number=2 * 10**15)}
    assert set(await outbox.figures(today - 1, today - 1)) == doubled
    assert set(await outbox.figures(today - 9, today + 9)) == doubled | {other_day}
    assert await outbox.figures(today + 1, today + 9) == []


async def test_figures_of_more_than_90_days_before_are_forgotten(outbox: Outbox) -> None:
    today = int(time.time() // 86_400)
    days = (today - 92, today - 90, today)
    for _ in range(2):
        await outbox.add_figures([Figure(day, "meta:1", "Lead", "dead", 1) for day in days])
    await outbox.add_figures([])
    assert {each.day for each in await outbox.figures(today - 99, today)} == set(days[1:])


async def test_probe_finds_whether_there_is_room(make_outbox: MakeOutbox) -> None:
    outbox = make_outbox(capacity=2)
    await outbox.probe()
    await outbox.put([make_delivery("1")], NOW)
    await outbox.probe()
    await outbox.put([make_delivery("2")], NOW)
    with pytest.raises(OutboxFullError):
        await outbox.probe()
    assert (await count(outbox)).waiting == 2
