"""What an app's own tests are given."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from bridge import Bridge, BridgeMiddleware, UsageError, identify, track, track_sync
from bridge.destinations import Segment
from bridge.testing import RecordedEvents, recorded
from tests.factories import SECRET, make_client, make_meta

with warnings.catch_warnings(action="ignore"):  # it wants httpx2, which is no dependency of ours
    from starlette.testclient import TestClient

KEY = "sandbox-write-key"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[FastAPI, Bridge]:
    monkeypatch.chdir(tmp_path)
    bridge = Bridge(SECRET, [make_meta(), Segment(KEY)])
    app = FastAPI()
    app.add_middleware(BridgeMiddleware, bridge=bridge)

    @app.post("/orders/{order}")
    async def place(order: str, total: float) -> dict[str, Any]:
        identify("42", email="ada@example.com")
        given = {"value": total, "currency": "EUR"}
        return {"outcome": (await track("Purchase", given, event_id=order)).outcome}

    @app.post("/leads")
    def sign_up() -> dict[str, Any]:
        return {"outcome": track_sync("Lead").outcome}

    return app, bridge


@pytest.fixture
def events(shop: tuple[FastAPI, Bridge]) -> Iterator[RecordedEvents]:
    with recorded(shop[1]) as events:
        yield events


def test_events_are_what_would_go_out(
    shop: tuple[FastAPI, Bridge], events: RecordedEvents, tmp_path: Path
) -> None:
    with TestClient(shop[0]) as client:
        assert client.post("/orders/A-1?total=59").json() == {"outcome": "stored"}
        assert client.post("/orders/A-1?total=59").json() == {"outcome": "duplicate"}
        assert client.post("/leads").json() == {"outcome": "stored"}
    event = events.assert_tracked("Purchase", value=59, event_id="A-1", times=1)
    assert event.user_data["em"] == [hashlib.sha256(b"ada@example.com").hexdigest()]
    assert event.payload["action_source"] == "website"
    meta, segment = event.payloads.values()
    assert meta["event_id"] == segment["properties"]["event_id"] == "A-1"
    assert segment["event"] == "Order Completed"
    names = [each.name for each in events]
    assert names[-1] == "Lead"
    assert events[-1].name == "Lead"
    events.clear()
    events.assert_not_tracked()
    assert os.listdir(tmp_path) == []


def test_failure_says_what_was_tracked_instead(
    shop: tuple[FastAPI, Bridge], events: RecordedEvents
) -> None:
    with TestClient(shop[0], headers={"user-agent": "Googlebot/2.1"}) as robot:
        robot.post("/leads")
    events.assert_not_tracked("Lead")
    with TestClient(shop[0]) as client:
        client.post("/orders/A-1?total=59")
    with pytest.raises(AssertionError) as failure:
        events.assert_tracked("Purchase", value=60)
    words = str(failure.value)
    assert words.startswith("expected Purchase, value=60; tracked: ")
    assert "Purchase {'value': 59.0, 'currency': 'EUR'}" in words
    assert words.endswith("; 1 skipped: bot")
    with pytest.raises(AssertionError, match="expected 2 times Purchase; tracked: "):
        events.assert_tracked("Purchase", times=2)
    with pytest.raises(AssertionError, match="expected no Purchase; tracked: "):
        events.assert_not_tracked("Purchase")


async def test_recording_works_in_async_tests_and_ends(shop: tuple[FastAPI, Bridge]) -> None:
    app, bridge = shop
    before = bridge.outbox
    async with recorded(bridge) as events:
        client = make_client(app)
        await client.post("/orders/A-1?total=59")
        events.assert_tracked("Purchase")
        with pytest.raises(UsageError, match="recorded already"), recorded(bridge):
            pass
        await client.post("/_bridge/consent", json={"state": "denied"})
        events.assert_not_tracked("Purchase")  # a denial takes back what waits
        assert (await client.post("/leads")).json() == {"outcome": "skipped"}
        await bridge.stop()
    assert bridge.outbox is before
