"""Litestar's own test client, around the wrapped application and around Litestar itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar, post
from litestar.middleware import DefineMiddleware
from litestar.testing import TestClient

from bridge import Bridge, BridgeMiddleware, identify, track, track_sync
from bridge.testing import recorded
from tests.factories import SECRET, make_meta

WORTH = {"value": 59, "currency": "EUR"}


@post("/orders", sync_to_thread=True)
def order() -> str | None:
    identify("42", email="ada@example.com")
    return track_sync("Purchase", WORTH, event_id="A-1").outcome


@post("/leads")
async def lead() -> str | None:
    return (await track("Lead")).outcome


@pytest.mark.parametrize("is_wrapped", [True, False])
def test_events_are_recorded(tmp_path: Path, is_wrapped: bool) -> None:
    bridge = Bridge(SECRET, [make_meta()], outbox=f"sqlite:///{tmp_path}/bridge.db")
    if is_wrapped:
        app: Any = BridgeMiddleware(Litestar([order, lead]), bridge=bridge)
    else:
        inside = DefineMiddleware(BridgeMiddleware, bridge=bridge)
        app = Litestar([order, lead], middleware=[inside])
    with recorded(bridge) as events, TestClient(app) as client:
        assert [client.post("/orders").text, client.post("/orders").text] == ["stored", "duplicate"]
        assert client.post("/leads").text == "stored"
    event = events.assert_tracked("Purchase", value=59, times=1)
    assert event.user_data["em"]
    assert "_bridge" in client.cookies
    assert not (tmp_path / "bridge.db").exists()
