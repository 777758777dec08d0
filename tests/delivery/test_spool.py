from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

import bridge.delivery.intake
from bridge import Bridge, BridgeMiddleware, OutboxError
from bridge.delivery.spool import Spool
from bridge.events.event import Event
from bridge.outbox import PostgresOutbox, RedisOutbox, SQLiteOutbox
from bridge.outbox.base import build_subjects
from tests.factories import BROWSER, make_bridge, make_client, make_delivery, make_meta, unix_now
from tests.outbox.conftest import empty_postgres, postgres_url
from tests.redis_server import RedisServer, running_redis_server
from tests.servers import Sandbox, poll

ADA, BOB = build_subjects("ada1" * 8, ()), build_subjects("b0b1" * 8, ())
HEALTH = "/_bridge/health"
__all__ = ["postgres_url"]


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge.delivery.intake, "PATIENCE", 0.2)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with running_redis_server() as server:
        yield server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.db"


class _AskedOutbox(RedisOutbox):
    """An outbox that counts how often it was asked to store."""

    asked = 0

    async def put(self, *args: Any, **options: Any) -> list[bool]:
        self.asked += 1
        return await super().put(*args, **options)


@asynccontextmanager
async def opened(server: RedisServer, path: Path) -> AsyncIterator[tuple[Spool, _AskedOutbox]]:
    outbox = _AskedOutbox(server.url)
    spool = Spool(path, outbox)
    yield spool, outbox
    await spool.stop(deadline=0)
    await outbox.close()


async def is_moved(spool: Spool) -> bool:
    return not spool.is_in_use and await spool.count() == 0


async def track(built: Bridge, order: str) -> Event:
    given = {"value": 5, "currency": "EUR"}
    return await built.track("Purchase", given, event_id=order, visitor=built.person("42"))


async def test_an_outage_of_the_outbox_costs_no_event(
    server: RedisServer, path: Path, sandbox: Sandbox
) -> None:
    meta = make_meta(graph_url=sandbox.url)
    async with make_bridge(server.url, destinations=[meta], spool=str(path)) as built:
        assert (await track(built, "A-1")).outcome == "stored"
        await sandbox.wait_for_server_copies(1)  # else it waits for its lease to end
        server.kill()
        assert (await track(built, "A-2")).outcome == "spooled"
        assert (await track(built, "A-2")).outcome == "duplicate"
        assert (await track(built, "A-3")).outcome == "spooled"
        assert built.counters["lost"] == 0
        server.start()
        events = await sandbox.wait_for_server_copies(3)
        assert {event["event_id"] for event in events} == {"A-1", "A-2", "A-3"}

        async def is_back() -> bool:
            return (await track(built, "A-4")).outcome in ("stored", "duplicate")

        await poll(is_back, "an outbox that is asked again")
        assert (await track(built, "A-2")).outcome == "duplicate"


async def test_an_outbox_that_is_away_is_not_asked_again_for_each_event(
    server: RedisServer, path: Path
) -> None:
    server.kill()
    async with opened(server, path) as (spool, outbox):
        built = make_bridge(outbox, spool=str(path), run_sender=False)
        assert (await track(built, "A-0")).outcome == "spooled"
        asked = outbox.asked
        for number in range(1, 20):
            assert (await track(built, f"A-{number}")).outcome == "spooled"
        assert outbox.asked == asked
        assert await spool.count() == 20
        await built.stop(deadline=0)


async def test_an_outbox_that_is_away_from_the_start_makes_nobody_wait(
    server: RedisServer, path: Path
) -> None:
    server.kill()
    async with opened(server, path) as (_, outbox):
        built = make_bridge(outbox, spool=str(path), run_sender=False)
        built.start()
        spool = built._pipeline.spool
        assert spool is not None

        async def is_known() -> bool:
            return spool.is_in_use

        await poll(is_known, "the outbox is known to be away")
        assert (await track(built, "A-1")).outcome == "spooled"
        assert outbox.asked == 0
        await built.stop(deadline=0)


async def test_what_another_process_left_is_moved(server: RedisServer, path: Path) -> None:
    async with opened(server, path) as (left, _):
        now = unix_now()
        for number in range(250):
            await left.put([make_delivery(str(number), due=now, expires=now + 1000)], now)
    async with opened(server, path) as (spool, outbox):
        spool.start()
        await poll(lambda: is_moved(spool), "an empty spool")
        counts = await outbox.count(now)
        assert counts["meta:1"].waiting == 250


async def test_a_spooled_event_waits_for_its_hold_or_its_release(
    server: RedisServer, path: Path
) -> None:
    now = unix_now()
    held = [
        make_delivery(each, due=now + 600, expires=now + 1000, subjects=ADA) for each in ("1", "2")
    ]
    async with opened(server, path) as (spool, outbox):
        await spool.put(held, now)
        assert await spool.release("Purchase", "1", BOB, now) == 0
        assert await spool.release("Purchase", "1", ADA, now) == 1
        spool.start()

        async def is_claimed() -> bool:
            claimed = await outbox.claim("meta:1", 10, now=unix_now(), lease=30)
            return [each.event_id for each in claimed] == ["1"]

        await poll(is_claimed, "the one that was released")
        assert await spool.count() == 1
        assert await spool.release("Purchase", "2", ADA, now) == 1
        await poll(lambda: is_moved(spool), "an empty spool")


@pytest.mark.parametrize("way", ["withdraw", "erase"])
async def test_what_is_spooled_can_be_taken_back(server: RedisServer, path: Path, way: str) -> None:
    now = unix_now()
    async with opened(server, path) as (spool, outbox):
        assert await getattr(spool, way)(ADA) in (0, (0, 0))
        assert await spool.count() == 0
        await spool.put([make_delivery("1", subjects=ADA)], now)
        await spool.put([make_delivery("2", due=now, expires=now + 1000)], now)
        assert await getattr(spool, way)(ADA) in (1, (1, 0))
        spool.start()
        await poll(lambda: is_moved(spool), "an empty spool")
        [left] = await outbox.list_waiting()
        assert left.event_id == "2"


async def test_a_visitor_who_denies_takes_back_what_is_spooled(
    server: RedisServer, path: Path
) -> None:
    async with opened(server, path) as (spool, outbox):
        built = make_bridge(outbox, spool=str(path), run_sender=False)
        server.kill()
        person = built.person("42", email="ada@example.com")
        event = await built.track("Lead", visitor=person)
        assert event.outcome == "spooled"
        server.start()
        assert (await built.erase(user_id="42")).waiting == 1
        assert await spool.count() == 0
        await built.stop(deadline=0)


async def test_what_neither_takes_is_lost_and_told(
    server: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.kill()
    async with make_bridge(server.url, spool=str(tmp_path / "none" / "spool.db")) as built:
        assert (await track(built, "A-1")).outcome == "lost"
    [warning] = [each.message for each in caplog.records if "no spool" in each.message]
    assert "none does not exist" in warning
    assert any("A-1 is lost" in each.message for each in caplog.records)


async def test_a_callers_transaction_is_never_spooled(server: RedisServer, path: Path) -> None:
    server.kill()
    async with opened(server, path) as (spool, outbox):
        built = make_bridge(outbox, spool=str(path))
        with pytest.raises((OutboxError, ValueError)):
            await built.track("Lead", connection=object(), visitor=built.person("42"))
        assert await spool.count() == 0


@pytest.mark.parametrize("how", ["kill", "freeze"])
async def test_health_is_degraded_while_only_the_spool_takes_events(
    server: RedisServer, path: Path, how: str
) -> None:
    async with opened(server, path) as (_, outbox):
        built = make_bridge(outbox, spool=str(path), run_sender=False)
        client = make_client(BridgeMiddleware(Starlette(), bridge=built))
        getattr(server, how)()
        answer = await client.get(HEALTH)
        assert answer.status_code == 200
        assert answer.json()["status"] == "degraded"
        assert answer.json()["outbox"] == {"works": False, "is_spooled": True}
        await built.stop(deadline=0)


async def test_an_outbox_in_a_file_has_no_spool(tmp_path: Path) -> None:
    built = make_bridge(f"sqlite:///{tmp_path}/bridge.db", spool=str(tmp_path / "spool.db"))
    assert built._pipeline.spool is None
    await built.stop(deadline=0)


async def test_every_engine_takes_what_was_spooled(
    postgres_url: str, path: Path, tmp_path: Path
) -> None:
    empty_postgres(postgres_url)
    now = unix_now()
    for outbox in (PostgresOutbox(postgres_url), SQLiteOutbox(tmp_path / "other.db")):
        spool = Spool(path, outbox)
        given = [
            make_delivery("1", due=now, expires=now + 60, has_given_id=True),
            make_delivery("2", due=now, expires=now + 60, from_browser=True),
        ]
        await spool.put(given, now)
        await spool._empty()
        moved = await outbox.list_waiting()
        assert sorted(moved, key=lambda each: each.event_id) == [
            replace(each, due=moved[0].due, attempts=0) for each in given
        ]
        await spool.stop(deadline=0)
        await outbox.close()


async def test_what_leaves_the_spool_is_no_duplicate_afterwards(
    server: RedisServer, path: Path
) -> None:
    now = unix_now()
    async with opened(server, path) as (spool, outbox):
        for _ in range(2):
            assert await spool.put([make_delivery("1", due=now, expires=now + 60)], now) == [True]
            await spool._empty()
            assert await outbox.withdraw(BROWSER) == 1


async def test_a_denial_while_the_outbox_is_away_is_done_later(
    server: RedisServer, path: Path
) -> None:
    async with opened(server, path) as (_, outbox):
        built = make_bridge(outbox, spool=str(path), run_sender=False)
        client = make_client(BridgeMiddleware(Starlette(), bridge=built))
        built._browser_hold = 600.0
        await client.get("/")
        now = unix_now()
        await client.post("/_bridge/consent", json={"state": "granted"})
        external_id = (await client.get("/_bridge/identity")).json()["x"]
        subjects = build_subjects(external_id, ())
        await outbox.put([make_delivery("1", subjects=subjects, due=now, expires=now + 60)], now)
        server.kill()
        assert (await client.post("/_bridge/consent", json={"state": "denied"})).is_success
        server.start()
        built.start()

        async def is_withdrawn() -> bool:
            return await outbox.list_waiting() == []

        await poll(is_withdrawn, "the withdrawal")
        await built.stop(deadline=0)


async def test_a_broken_spool_breaks_nothing_but_itself(
    server: RedisServer, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(server, path) as (_, outbox):
        built = make_bridge(outbox, spool=str(path), run_sender=False)
        assert built._pipeline.spool is not None
        await asyncio.to_thread(Path(built._pipeline.spool.path).write_text, "no database" * 500)
        now = unix_now()
        ours = {"destination": "meta:1234567890123456", "due": now + 60, "expires": now + 90}
        await outbox.put([make_delivery("1", subjects=ADA, **ours)], now)
        assert await built._release("Purchase", "1", ADA)
        assert (await track(built, "A-1")).outcome == "stored"
        client = make_client(BridgeMiddleware(Starlette(), bridge=built))
        built.start()

        async def is_told() -> bool:
            status: str = (await client.get(HEALTH)).json()["status"]
            return status == "degraded"

        await poll(is_told, "a word of the broken spool")
        assert "the spool cannot be used" in caplog.text
        await built.stop(deadline=0)


async def test_two_outboxes_have_two_spools(server: RedisServer, path: Path) -> None:
    async with opened(server, path) as (one, _):
        other = Spool(path, RedisOutbox(server.url.replace("/0", "/1")))
        assert one.path != other.path
        now = unix_now()
        await one.put([make_delivery("1", due=now, expires=now + 60)], now)
        assert (await one.count(), await other.count()) == (1, 0)
        await other.close()


async def test_a_request_that_is_cancelled_loses_nothing(server: RedisServer, path: Path) -> None:
    server.kill()
    async with opened(server, path) as (spool, outbox):
        built = make_bridge(outbox, spool=str(path), run_sender=False)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await track(built, "A-1")

        async def is_spooled() -> bool:
            return await spool.count() == 1

        await poll(is_spooled, "the event")
        await built.stop(deadline=0)


async def test_a_withdrawal_waits_for_a_move(server: RedisServer, path: Path) -> None:
    """Whoever denies while another process moves: else it would come to the outbox afterwards."""
    now = unix_now()
    async with opened(server, path) as (mover, outbox), opened(server, path) as (other, _):
        await mover.put([make_delivery("1", subjects=ADA, due=now, expires=now + 60)], now)
        server.freeze()
        moving = asyncio.create_task(mover._move())
        await asyncio.sleep(0.2)
        denying = asyncio.create_task(other.withdraw(ADA))
        server.thaw()
        await asyncio.gather(moving, return_exceptions=True)
        taken = await denying + await outbox.withdraw(ADA)
        assert taken >= 1
        assert await outbox.list_waiting() == []
        assert await mover.count() == 0


async def test_a_kept_withdrawal_takes_nothing_that_was_tracked_after_it(
    server: RedisServer, path: Path
) -> None:
    now = unix_now()
    async with opened(server, path) as (spool, outbox):
        before = make_delivery("before", subjects=ADA, due=now + 60, expires=now + 90)
        await outbox.put([before], now)
        assert await spool.keep_withdrawal(ADA, now)
        await spool.put([make_delivery("after", subjects=ADA, due=now, expires=now + 90)], now)
        await spool._empty()
        assert [each.event_id for each in await outbox.list_waiting()] == ["after"]
