"""The dashboard below an app's prefix: off by default, and behind the app's own check."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from bridge import BridgeMiddleware
from bridge.errors import ConfigError
from bridge.outbox import SQLiteOutbox
from tests.factories import make_bridge, make_client

PAGE = "/_bridge/dashboard/"


def make_app(outbox: SQLiteOutbox, **options: Any) -> Starlette:
    async def log_in(request: Request) -> Response:
        request.session["role"] = request.path_params["role"]
        return PlainTextResponse("hello")

    bridge = make_bridge(outbox, run_sender=False, **options)
    return Starlette(
        routes=[Route("/login/{role}", log_in)],
        middleware=[
            Middleware(SessionMiddleware, secret_key="k" * 32),
            Middleware(BridgeMiddleware, bridge=bridge),
        ],
    )


async def see(outbox: SQLiteOutbox, path: str = PAGE, **options: Any) -> int:
    async with make_client(make_app(outbox, **options)) as client:
        return (await client.get(path)).status_code


@pytest.mark.parametrize("path", [PAGE, PAGE[:-1], f"{PAGE}api/overview", f"{PAGE}event?id=x"])
async def test_dashboard_is_off_by_default(outbox: SQLiteOutbox, path: str) -> None:
    assert await see(outbox, path) == 404


async def test_app_decides_who_may_see_it(outbox: SQLiteOutbox) -> None:
    async def allow(connection: HTTPConnection) -> bool:
        await asyncio.sleep(0)
        return connection.session.get("role") == "admin"

    async with make_client(make_app(outbox, dashboard=allow)) as client:
        for role, status in (("customer", 403), ("admin", 200)):
            await client.get(f"/login/{role}")
            for path in ("", "page/page.js", "api/overview", "event?id=x"):
                assert (await client.get(PAGE + path)).status_code == status
        headers = {"sec-fetch-site": "cross-site", "origin": "https://evil.example"}
        chosen = {"destination": "x", "group": "y"}
        answer = await client.post(f"{PAGE}api/dead/delete", json=chosen, headers=headers)
        assert answer.status_code == 403
        own = {"sec-fetch-site": "same-origin"}
        answer = await client.post(f"{PAGE}api/dead/delete", json=chosen, headers=own)
        assert answer.json() == {"deleted": 0, "left": 0, "is_all": True}


@pytest.mark.parametrize(
    ("allow", "status"),
    [
        (lambda connection: True, 200),
        (lambda connection: False, 403),
        (lambda connection: "yes", 403),
        (lambda connection: None, 403),
        (lambda connection: connection.session["missing"], 403),
        (lambda connection: connection.url.path == PAGE, 200),
    ],
    ids=["true", "false", "text", "nothing", "error", "by-path"],
)
async def test_nothing_but_true_lets_anybody_in(
    outbox: SQLiteOutbox, allow: Any, status: int
) -> None:
    assert await see(outbox, dashboard=allow) == status


async def test_address_without_its_slash_leads_there_under_any_mount(outbox: SQLiteOutbox) -> None:
    app = make_app(outbox, dashboard=lambda connection: True)
    async with make_client(Starlette(routes=[Mount("/shop", app)])) as client:
        answer = await client.get("/shop/_bridge/dashboard", follow_redirects=True)
        assert answer.status_code == 200
        assert answer.url.path == "/shop/_bridge/dashboard/"
        assert "<title>Bridge</title>" in answer.text


async def test_who_looks_is_no_visitor(outbox: SQLiteOutbox) -> None:
    async with make_client(make_app(outbox, dashboard=lambda connection: True)) as client:
        answer = await client.get(PAGE)
        assert answer.status_code == 200
        assert "set-cookie" not in answer.headers


async def test_check_must_be_a_function(outbox: SQLiteOutbox) -> None:
    with pytest.raises(ConfigError, match="dashboard must be a function"):
        make_bridge(outbox, dashboard=True)
