from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

import bridge.delivery.health
import bridge.outbox.sqlite.file
from bridge import BridgeMiddleware, OutboxError
from bridge.outbox import Circuit, Counts, Figure, SQLiteOutbox
from tests.damage import deliver_all, fill_file, zero_page
from tests.factories import NAVIGATION, make_bridge, make_client, make_delivery, make_meta, unix_now

HEALTH = "/_bridge/health"
META = "meta:1234567890123456"
WELL = {"circuit": "closed", "waiting": 0, "oldest_seconds": 0, "dead": 0}


class _WatchedOutbox(SQLiteOutbox):
    """An outbox that counts how often it is counted, and may fail or hang.

    ``error`` and ``hangs`` are of storing; counting has its own.
    """

    counted = summed = probed = 0
    error: Exception | None = None
    hangs = False
    count_error: Exception | None = None
    count_hangs = False

    async def probe(self) -> None:
        self.probed += 1
        if self.error is not None:
            raise self.error
        if self.hangs:
            await asyncio.Event().wait()
        await super().probe()

    async def count(self, now: float, *, with_delivered: bool = False) -> Mapping[str, Counts]:
        self.counted += 1
        if self.count_error is not None:
            raise self.count_error
        if self.count_hangs:
            await asyncio.Event().wait()
        return await super().count(now, with_delivered=with_delivered)

    async def figures(self, since: int, until: int) -> list[Figure]:
        self.summed += 1
        return await super().figures(since, until)


@pytest.fixture
async def outbox(tmp_path: Path) -> Any:
    outbox = _WatchedOutbox(tmp_path / "bridge.db")
    yield outbox
    await outbox.close()


@pytest.fixture
async def client(outbox: _WatchedOutbox) -> Any:
    """A probe in front of an app whose sender runs elsewhere."""
    bridge = make_bridge(outbox, run_sender=False)
    yield make_client(BridgeMiddleware(Starlette(), bridge=bridge))
    await bridge.stop(deadline=0)


@pytest.fixture(autouse=True)
def _forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer is cached, unless a test asks for that."""
    monkeypatch.setattr(bridge.delivery.health, "CACHE_SECONDS", -1.0)
    monkeypatch.setattr(bridge.delivery.health, "SHARES_SECONDS", -1.0)


async def test_health_of_a_fresh_bridge(client: httpx.AsyncClient) -> None:
    response = await client.get(HEALTH)
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "status": "ok",
        "outbox": {"works": True},
        "destinations": {META: WELL},
        "browser": None,
    }


async def test_health_reports_what_waits_and_what_is_dead(
    client: httpx.AsyncClient, outbox: _WatchedOutbox
) -> None:
    deliveries = [make_delivery(str(i), destination=META, due=0) for i in range(3)]
    await outbox.put(deliveries, unix_now() - 60)
    await outbox.bury(deliveries[:1], "100/1: bad value of secret-token", unix_now())
    await outbox.put([make_delivery("9", destination="meta:other")], unix_now())
    report = (await client.get(HEALTH)).json()
    assert report["status"] == "ok"
    [(name, told)] = report["destinations"].items()
    assert name == META
    assert 58 <= told.pop("oldest_seconds") <= 70
    assert told == {"circuit": "closed", "waiting": 2, "dead": 1}
    assert report["unconfigured"]["waiting"] == 1
    assert report["unconfigured"]["oldest_seconds"] <= 10


async def test_events_that_wait_for_no_destination_degrade_and_are_not_named(
    client: httpx.AsyncClient, outbox: _WatchedOutbox
) -> None:
    await outbox.put([make_delivery("1", destination="meta:old")], unix_now() - 7200)
    await outbox.put([make_delivery("2", destination="meta:older")], unix_now())
    response = await client.get(HEALTH)
    assert response.status_code == 200
    assert response.json()["status"] == "degraded"
    assert response.json()["destinations"] == {META: WELL}
    assert response.json()["unconfigured"]["waiting"] == 2
    assert 7190 <= response.json()["unconfigured"]["oldest_seconds"] <= 7300
    assert "meta:old" not in response.text


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("token: 190/463: expired, secret-token", "token"),
        ("permission: 200: no", "permission"),
        ("secret-token is bad", "unknown"),
        ("", "unknown"),
    ],
)
async def test_open_circuit_degrades_and_quotes_no_reason(
    client: httpx.AsyncClient, outbox: _WatchedOutbox, reason: str, told: str
) -> None:
    circuit = Circuit(destination=META, state="open", reason=reason, since=1.0, until=2.0)
    await outbox.save_circuit(circuit)
    response = await client.get(HEALTH)
    assert response.status_code == 200
    expected = {"circuit": "open", "reason": told, "waiting": 0, "oldest_seconds": 0, "dead": 0}
    assert response.json()["destinations"] == {META: expected}
    assert response.json()["status"] == "degraded"
    assert "secret" not in response.text


async def test_backlog_of_hours_degrades(client: httpx.AsyncClient, outbox: _WatchedOutbox) -> None:
    await outbox.put([make_delivery(destination=META)], unix_now() - 7200)
    response = await client.get(HEALTH)
    assert (response.status_code, response.json()["status"]) == (200, "degraded")


@pytest.mark.parametrize("error", [OutboxError("broken at 10.0.0.1"), RuntimeError("what")])
async def test_broken_outbox_fails(
    client: httpx.AsyncClient, outbox: _WatchedOutbox, error: Exception
) -> None:
    outbox.error = error
    response = await client.get(HEALTH)
    assert response.status_code == 503
    assert response.json() == {
        "status": "failing",
        "outbox": {"works": False},
        "destinations": {},
        "browser": None,
    }
    outbox.error = None
    assert (await client.get(HEALTH)).status_code == 200


async def test_every_process_says_the_same_of_browser_copies(tmp_path: Path) -> None:
    """Two workers on one file: what scripts told the one, the other knows."""
    workers = [
        make_bridge(SQLiteOutbox(tmp_path / "shared.db"), run_sender=False) for _ in range(2)
    ]
    for state in ("sent", "sent", "blocked"):
        workers[0]._pipeline.figures.note_copy([META], "Purchase", state)
    workers[1]._pipeline.figures.note_copy([META], "Lead", "unknown")
    for each in workers:
        await each._pipeline.figures.flush()
    answers = [
        (await make_client(BridgeMiddleware(Starlette(), bridge=each)).get(HEALTH)).json()
        for each in workers
    ]
    assert answers[0] == answers[1]
    assert answers[0]["browser"] == {"sent": 0.5, "blocked": 0.25, "unknown": 0.25}
    for each in workers:
        await each.stop(deadline=0)


async def test_hanging_outbox_fails_and_is_asked_once(
    client: httpx.AsyncClient, outbox: _WatchedOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.delivery.health, "DEADLINE", 0.1)
    outbox.hangs = True
    responses = await asyncio.gather(*(client.get(HEALTH) for _ in range(20)))
    again = await client.get(HEALTH)
    assert {response.status_code for response in [*responses, again]} == {503}
    assert outbox.probed == 1


@pytest.mark.parametrize("trouble", ["error", "hangs"])
async def test_outbox_that_cannot_be_counted_takes_no_app_out_of_service(
    client: httpx.AsyncClient,
    outbox: _WatchedOutbox,
    monkeypatch: pytest.MonkeyPatch,
    trouble: str,
) -> None:
    monkeypatch.setattr(bridge.delivery.health, "COUNTING", 0.05)
    outbox.count_hangs = trouble == "hangs"
    outbox.count_error = OutboxError("an index is damaged") if trouble == "error" else None
    response = await client.get(HEALTH)
    assert (response.status_code, response.json()["status"]) == (200, "degraded")
    assert response.json()["outbox"] == {"works": True, "is_slow": True}


async def test_full_outbox_degrades(tmp_path: Path) -> None:
    outbox = SQLiteOutbox(tmp_path / "full.db", capacity=2)
    await outbox.put([make_delivery(str(n), destination=META) for n in range(2)], unix_now())
    built = make_bridge(outbox, run_sender=False)
    response = await make_client(BridgeMiddleware(Starlette(), bridge=built)).get(HEALTH)
    assert (response.status_code, response.json()["status"]) == (200, "degraded")
    assert response.json()["outbox"] == {"works": True, "is_full": True}
    await built.stop(deadline=0)


async def test_damaged_file_degrades_and_is_told(tmp_path: Path) -> None:
    path = tmp_path / "damaged.db"
    await fill_file(path)
    zero_page(path, 13, b"body-0200")
    outbox = SQLiteOutbox(path)
    built = make_bridge(outbox, run_sender=False)
    client = make_client(BridgeMiddleware(Starlette(), bridge=built))
    assert "troubles" not in (await client.get(HEALTH)).json()["outbox"]
    await deliver_all(outbox)
    response = await client.get(HEALTH)
    assert (response.status_code, response.json()["status"]) == (200, "degraded")
    assert response.json()["outbox"]["troubles"] == [
        "the outbox's file is damaged (database disk image is malformed)"
    ]
    await built.stop(deadline=0)


async def test_somebody_who_reads_for_long_degrades_and_is_told(
    client: httpx.AsyncClient, outbox: _WatchedOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.outbox.sqlite.file, "LARGE_WAL", 1_000_000)
    await outbox.put([make_delivery("1", destination="meta:2")], unix_now())
    with closing(sqlite3.connect(outbox._path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM deliveries").fetchone()
        body = bytes(1_500_000)
        await outbox.put([make_delivery("2", destination="meta:2", body=body)], unix_now())
        response = await client.get(HEALTH)
    assert (response.status_code, response.json()["status"]) == (200, "degraded")
    [trouble] = response.json()["outbox"]["troubles"]
    assert "-wal file has 1 MB and grows, since somebody reads" in trouble


async def test_what_was_delivered_costs_health_nothing(
    client: httpx.AsyncClient, outbox: _WatchedOutbox
) -> None:
    deliveries = [make_delivery(str(n), destination=META) for n in range(3)]
    await outbox.put(deliveries, unix_now())
    await outbox.ack(await outbox.claim(META, 9, now=unix_now(), lease=9), unix_now())
    assert (await outbox.count(unix_now())).get(META, Counts()).delivered == 0
    assert (await outbox.count(unix_now(), with_delivered=True))[META].delivered == 3


async def test_sender_that_does_not_deliver_degrades(
    outbox: _WatchedOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")  # its package is not installed
    built = make_bridge(outbox)
    response = await make_client(BridgeMiddleware(Starlette(), bridge=built)).get(HEALTH)
    assert (response.status_code, response.json()["status"]) == (200, "degraded")
    assert response.json()["sender"] == "stopped"
    await built.stop(deadline=0)


async def test_answer_is_remembered_under_hammering(
    client: httpx.AsyncClient, outbox: _WatchedOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.delivery.health, "CACHE_SECONDS", 60.0)
    responses = await asyncio.gather(*(client.get(HEALTH) for _ in range(50)))
    responses += [await client.get(HEALTH) for _ in range(3)]
    assert {response.status_code for response in responses} == {200}
    assert outbox.counted == 1


async def test_figures_are_read_every_ten_seconds(
    client: httpx.AsyncClient, outbox: _WatchedOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are written as often, and may be many."""
    monkeypatch.setattr(bridge.delivery.health, "SHARES_SECONDS", 60.0)
    for _ in range(3):
        assert (await client.get(HEALTH)).status_code == 200
    assert (outbox.counted, outbox.summed) == (3, 1)


async def test_probe_is_no_visitor_and_gets_no_cookie(client: httpx.AsyncClient) -> None:
    client.headers.update(NAVIGATION)
    response = await client.get(HEALTH)
    assert "set-cookie" not in response.headers
    await client.get("/")
    session = dict(client.cookies)
    again = await client.get(HEALTH)
    assert "set-cookie" not in again.headers
    assert dict(client.cookies) == session


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("HEAD", HEALTH, 200), ("POST", HEALTH, 405), ("GET", f"{HEALTH}/", 404)],
)
async def test_other_requests(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    assert (await client.request(method, path)).status_code == status


async def test_health_of_several_destinations(outbox: _WatchedOutbox) -> None:
    destinations = [make_meta(), make_meta(pixel_id="2")]
    bridge = make_bridge(outbox, destinations=destinations, run_sender=False, prefix="/x")
    await outbox.save_circuit(Circuit(destination="meta:2", state="half_open", since=1.0))
    report = (
        await make_client(BridgeMiddleware(Starlette(), bridge=bridge)).get("/x/health")
    ).json()
    assert report["status"] == "degraded"
    assert report["destinations"][META]["circuit"] == "closed"
    assert report["destinations"]["meta:2"]["circuit"] == "half_open"
    await bridge.stop(deadline=0)
