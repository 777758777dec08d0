"""One contract, for each engine."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

import bridge.outbox.sqlite
from bridge import ConfigError, OutboxError
from bridge.outbox import Counts, Outbox, SQLiteOutbox, open_outbox
from bridge.outbox.base import REMEMBERED
from tests.factories import NOW, make_delivery

LEASE = 60.0


async def claim(outbox: Outbox, now: float = NOW, limit: int = 1000) -> list[str]:
    claimed = await outbox.claim("meta:1", limit, now=now, lease=LEASE)
    return [delivery.event_id for delivery in claimed]


async def test_put_delivery_is_claimed_as_it_was_put(outbox: Outbox) -> None:
    delivery = make_delivery(body=b'{"x":"\xc3\xa9"}')
    assert await outbox.put([delivery], NOW) == [True]
    [claimed] = await outbox.claim("meta:1", 10, now=NOW, lease=LEASE)
    assert (claimed.key, claimed.body, claimed.expires) == (
        delivery.key,
        delivery.body,
        delivery.expires,
    )
    assert claimed.attempts == 1


async def test_key_is_refused_while_it_waits_and_48_hours_after_delivery(outbox: Outbox) -> None:
    delivery = make_delivery()
    assert await outbox.put([delivery, delivery], NOW) == [True, False]
    claimed = await outbox.claim("meta:1", 10, now=NOW, lease=LEASE)
    await outbox.ack(claimed, NOW)
    assert await outbox.put([delivery], NOW + REMEMBERED - 1) == [False]
    assert await outbox.put([delivery], NOW + REMEMBERED + 1) == [True]


async def test_key_differs_by_destination_and_name(outbox: Outbox) -> None:
    deliveries = [
        make_delivery(),
        make_delivery(event_name="Lead"),
        make_delivery(destination="meta:2"),
    ]
    assert await outbox.put(deliveries, NOW) == [True, True, True]


async def test_claim_takes_what_is_due_oldest_first(outbox: Outbox) -> None:
    due = {"a": NOW + 1, "b": NOW - 1, "c": NOW - 2, "d": NOW}
    await outbox.put([make_delivery(key, due=at) for key, at in due.items()], NOW)
    assert sorted(await claim(outbox, limit=2)) == ["b", "c"]
    assert await claim(outbox) == ["d"]
    assert await claim(outbox) == []
    assert await claim(outbox, NOW + 1) == ["a"]


async def test_claim_leaves_other_destinations_alone(outbox: Outbox) -> None:
    await outbox.put([make_delivery(destination="meta:2")], NOW)
    assert await claim(outbox) == []


async def test_claimed_delivery_is_due_again_after_its_lease(outbox: Outbox) -> None:
    await outbox.put([make_delivery()], NOW)
    assert await claim(outbox) == ["1"]
    assert await claim(outbox, NOW + LEASE - 1) == []
    [again] = await outbox.claim("meta:1", 1, now=NOW + LEASE, lease=LEASE)
    assert again.attempts == 2


async def test_retry_sets_when_it_is_due(outbox: Outbox) -> None:
    await outbox.put([make_delivery()], NOW)
    claimed = await outbox.claim("meta:1", 1, now=NOW, lease=LEASE)
    await outbox.retry(claimed, NOW + 7)
    assert await outbox.next_due("meta:1") == NOW + 7
    assert await claim(outbox, NOW + 6) == []
    assert await claim(outbox, NOW + 7) == ["1"]


async def test_settled_delivery_stays_settled_whatever_a_late_worker_says(outbox: Outbox) -> None:
    await outbox.put([make_delivery()], NOW)
    claimed = await outbox.claim("meta:1", 1, now=NOW, lease=LEASE)
    await outbox.ack(claimed, NOW)
    await outbox.retry(claimed, NOW)
    await outbox.bury(claimed, "late", NOW)
    assert await outbox.count() == Counts(waiting=0, delivered=1, dead=0)
    assert await claim(outbox, NOW + 1000) == []


async def test_buried_delivery_is_never_claimed_and_not_stored_again(outbox: Outbox) -> None:
    await outbox.put([make_delivery()], NOW)
    claimed = await outbox.claim("meta:1", 1, now=NOW, lease=LEASE)
    await outbox.bury(claimed, "100/2804003: too old", NOW)
    assert await outbox.count() == Counts(waiting=0, delivered=0, dead=1)
    assert await claim(outbox, NOW + 1000) == []
    assert await outbox.put([make_delivery()], NOW + REMEMBERED + 1) == [False]


async def test_release_ends_a_hold(outbox: Outbox) -> None:
    held = [make_delivery(destination=name, due=NOW + 10) for name in ("meta:1", "meta:2")]
    await outbox.put([*held, make_delivery("2", due=NOW + 10)], NOW)
    assert await outbox.release("Purchase", "1", NOW) == 2
    assert await claim(outbox) == ["1"]


async def test_release_leaves_a_back_off_alone(outbox: Outbox) -> None:
    await outbox.put([make_delivery()], NOW)
    claimed = await outbox.claim("meta:1", 1, now=NOW, lease=LEASE)
    await outbox.retry(claimed, NOW + 300)
    assert await outbox.release("Purchase", "1", NOW) == 0
    assert await claim(outbox, NOW + 299) == []


async def test_concurrent_puts_of_one_key_store_it_once(outbox: Outbox) -> None:
    answers = await asyncio.gather(*(outbox.put([make_delivery()], NOW) for _ in range(50)))
    assert sorted(answer for [answer] in answers) == [False] * 49 + [True]


async def test_concurrent_claims_share_without_overlap(outbox: Outbox) -> None:
    await outbox.put([make_delivery(str(i)) for i in range(200)], NOW)
    claims = await asyncio.gather(*(claim(outbox, limit=15) for _ in range(20)))
    ids = [event_id for claimed in claims for event_id in claimed]
    assert len(ids) == len(set(ids)) == 200


async def test_delivery_survives_reopening(tmp_path: Path) -> None:
    outbox = SQLiteOutbox(tmp_path / "bridge.db")
    await outbox.put([make_delivery()], NOW)
    await outbox.close()
    assert await claim(outbox) == ["1"]
    await outbox.close()


async def test_two_outboxes_share_one_file(tmp_path: Path) -> None:
    first, second = (SQLiteOutbox(tmp_path / "bridge.db") for _ in range(2))
    await asyncio.gather(
        *(first.put([make_delivery(f"a{i}")], NOW) for i in range(50)),
        *(second.put([make_delivery(f"b{i}")], NOW) for i in range(50)),
    )
    claims = await asyncio.gather(*(claim(box, limit=9) for box in (first, second) * 10))
    ids = [event_id for claimed in claims for event_id in claimed]
    assert len(ids) == len(set(ids)) == 100
    await first.close()
    await second.close()


async def test_sqlite_commits_to_the_disk_before_it_answers(outbox: SQLiteOutbox) -> None:
    modes = await outbox._run(
        lambda connection: [
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous")
        ]
    )
    assert modes == ["wal", 2]


async def test_sqlite_failure_is_an_outbox_error_and_passes(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    outbox = SQLiteOutbox(folder / "bridge.db")
    with pytest.raises(OutboxError, match="unable to open") as caught:
        await outbox.put([make_delivery()], NOW)
    assert isinstance(caught.value.__cause__, sqlite3.Error)
    folder.mkdir()
    assert await outbox.put([make_delivery()], NOW) == [True]
    await outbox.close()


async def test_locked_database_fails_all_at_once_and_soon(
    outbox: SQLiteOutbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.outbox.sqlite, "BUSY_TIMEOUT", 0.1)
    await outbox.put([make_delivery("before")], NOW)
    await outbox._run(lambda connection: connection.execute("PRAGMA busy_timeout = 100"))
    locker = sqlite3.connect(tmp_path / "bridge.db", isolation_level=None)
    locker.execute("BEGIN EXCLUSIVE")
    async with asyncio.timeout(2):
        answers = await asyncio.gather(
            *(outbox.put([make_delivery(str(i))], NOW) for i in range(40)), return_exceptions=True
        )
    assert all(isinstance(answer, OutboxError) for answer in answers)
    locker.execute("ROLLBACK")
    locker.close()
    assert await outbox.put([make_delivery("after")], NOW) == [True]


async def test_one_bad_job_of_a_group_does_not_fail_the_others(outbox: SQLiteOutbox) -> None:
    bad = make_delivery("bad", due="soon")
    answers = await asyncio.gather(
        *(
            outbox.put([delivery], NOW)
            for delivery in (make_delivery("1"), bad, make_delivery("2"))
        ),
        return_exceptions=True,
    )
    assert answers[0] == answers[2] == [True]
    assert isinstance(answers[1], OutboxError)


@pytest.mark.parametrize("url", ["bridge.db", "mysql://x", "sqlite:///", ""])
def test_url_without_engine_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="outbox must be like sqlite:///"):
        open_outbox(url)


async def test_url_names_a_file(tmp_path: Path) -> None:
    outbox = open_outbox(f"sqlite:///{tmp_path}/a.db")
    await outbox.put([make_delivery()], NOW)
    await outbox.close()
    assert (tmp_path / "a.db").exists()
