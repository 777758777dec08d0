"""A destination of the app's own, with its own server: nothing outside the class knows of it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec
import pytest
from fastapi import FastAPI

import bridge.delivery.breaker
from bridge import Bridge, BridgeMiddleware, Event, identify, track
from bridge.destinations import (
    Accepted,
    Check,
    Destination,
    EncodingContext,
    Limits,
    Paused,
    Rejected,
    Request,
    Retry,
    Verdict,
)
from bridge.outbox import SQLiteOutbox
from tests.factories import SECRET, make_bridge, make_client, make_meta
from tests.servers import ROOT, Sandbox, poll


class Webhook(Destination):
    """A collector of the shop's own, which takes a few events at a time as a JSON list."""

    limits = Limits(batch_size=2)

    def __init__(self, url: str, name: str = "webhook:shop") -> None:
        self.name = name
        self._url = url

    def encode(self, event: Event, context: EncodingContext) -> bytes:
        name, properties = context.translate(event)
        user_id = context.identity.user_id if context.identity else None
        said = {"name": name, "id": event.event_id, "user": user_id, "properties": properties}
        return msgspec.json.encode(said)

    def build_request(self, bodies: Sequence[bytes], now: float) -> Request:
        return Request(
            url=f"{self._url}/collect",
            content=b"[" + b",".join(bodies) + b"]",
            headers={"content-type": "application/json"},
        )

    def read_response(self, status: int, headers: Mapping[str, str], content: bytes) -> Verdict:
        if status == 200:
            return Accepted()
        if status == 401:
            return Paused("HTTP 401", "token", "ask the collector's owner for a key")
        return Rejected("HTTP 422") if status == 422 else Retry(f"HTTP {status}")


class TestedWebhook(Webhook):
    """The same with a test for ``pixel-bridge check``."""

    __test__ = False

    def build_check(self, now: float, test_event_code: str | None) -> Check:
        return Check(request=self.build_request([], now), passed="collects")


class Collector(ThreadingHTTPServer):
    """The server: the lists it accepted, and what it answers before that."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.lists: list[list[dict[str, Any]]] = []
        self.answers: list[int] = []

    async def wait_for(self, count: int) -> list[dict[str, Any]]:
        async def check() -> list[dict[str, Any]] | None:
            events = [event for each in self.lists for event in each]
            return events if len(events) >= count else None

        events: list[dict[str, Any]] = await poll(check, f"{count} events")
        return events


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["content-length"]))
        status = self.server.answers.pop(0) if self.server.answers else 200
        if status == 200:
            self.server.lists.append(json.loads(content))
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    monkeypatch.setattr(bridge.delivery.breaker, "BACKOFF_CAP", 0.02)
    monkeypatch.setattr(bridge.delivery.breaker, "PAUSE", 0.05)
    with Collector() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def make_app(bridge: Bridge) -> FastAPI:
    app = FastAPI()
    app.add_middleware(BridgeMiddleware, bridge=bridge)

    @app.get("/order/{order_id}")
    async def order(order_id: str) -> str:
        identify("42", email="ada@example.com")
        return (
            await track("Purchase", {"value": 5, "currency": "EUR"}, event_id=order_id)
        ).event_id

    return app


async def test_event_reaches_its_server_past_an_outage(
    outbox: SQLiteOutbox, collector: Collector
) -> None:
    collector.answers = [503, 503]
    destinations = [Webhook(collector.url)]
    async with (
        make_bridge(outbox, destinations=destinations) as shop,
        make_client(make_app(shop)) as client,
    ):
        assert (await client.get("/order/1001")).status_code == 200
        [event] = await collector.wait_for(1)
    assert event == {
        "name": "Order Completed",
        "id": "1001",
        "user": "42",
        "properties": {"revenue": 5, "total": 5, "currency": "EUR"},
    }
    counted = shop._pipeline.metrics.counters["webhook:shop"]
    assert (counted["stored"], counted["delivered"], counted["retried"]) == (1, 1, 2)


async def test_limits_are_its_own(tmp_path: Path, collector: Collector) -> None:
    url = f"sqlite:///{tmp_path}/bridge.db"
    async with (
        make_bridge(url, destinations=[Webhook(collector.url)], run_sender=False) as shop,
        make_client(make_app(shop)) as client,
    ):
        for number in range(5):
            await client.get(f"/order/{number}")
    async with make_bridge(url, destinations=[Webhook(collector.url)]):
        await collector.wait_for(5)
    assert max(map(len, collector.lists)) == 2


async def test_it_goes_beside_meta_and_holds_up_nothing(
    outbox: SQLiteOutbox, collector: Collector, sandbox: Sandbox
) -> None:
    collector.answers = [401] * 1000
    destinations = [make_meta(graph_url=sandbox.url), Webhook(collector.url)]
    async with (
        make_bridge(outbox, destinations=destinations, browser_hold=0) as shop,
        make_client(make_app(shop)) as client,
    ):
        assert [each.name for each in shop.destinations] == [
            "meta:1234567890123456",
            "webhook:shop",
        ]
        await client.get("/order/1001")
        await sandbox.wait_for_server_copies(1)

        async def read_fault() -> Any:
            health = (await client.get("/_bridge/health")).json()
            return health["destinations"]["webhook:shop"].get("reason")

        assert await poll(read_fault, "the fault in health") == "token"
        explained = shop.explain(
            {"event_name": "Purchase", "custom_data": {"value": 1, "currency": "EUR"}}
        )
        assert explained.segment["event"] == "Order Completed"
        assert shop._pipeline.metrics.counters["webhook:shop"]["delivered"] == 0


@pytest.mark.parametrize(
    ("kind", "answers", "code", "line"),
    [
        ("Webhook", [], 0, "- webhook:shop: not tested; it has no test request"),
        ("TestedWebhook", [], 0, "✓ webhook:shop: collects"),
        ("TestedWebhook", [422], 1, "✗ webhook:shop: refused the test: HTTP 422"),
        (
            "TestedWebhook",
            [401],
            1,
            "✗ webhook:shop: refuses us: HTTP 401; ask the collector's owner for a key",
        ),
    ],
)
async def test_check_tests_it_if_it_says_how(
    tmp_path: Path, collector: Collector, kind: str, answers: list[int], code: int, line: str
) -> None:
    collector.answers = answers
    (tmp_path / "shop.py").write_text(
        textwrap.dedent(f"""
        from bridge import Bridge
        from tests.destinations.test_third import {kind}

        bridge = Bridge("{SECRET}", [{kind}("{collector.url}")], outbox="sqlite:///shop.db")
        """)
    )
    said = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "bridge", "check", "--app", "shop:bridge"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (said.returncode, said.stdout.splitlines()[-1]) == (code, line)
