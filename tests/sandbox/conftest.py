"""A real server for the sandbox and for a shop's pages, and a Chromium to look at them."""

from __future__ import annotations

import asyncio
import html
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest
import uvicorn
from playwright.async_api import Browser, BrowserContext, Page
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route

from bridge.sandbox import DEFAULT_PIXEL_ID, create_app
from tests.servers import DEADLINE

OTHER_PIXEL_ID = "9876543210987654"

STUB = """
!function(f,b,e,v,n,t,s){if(f.fbq)return;n=f.fbq=function(){n.callMethod?
n.callMethod.apply(n,arguments):n.queue.push(arguments)};if(!f._fbq)f._fbq=n;
n.push=n;n.loaded=!0;n.version='2.0';n.queue=[];t=b.createElement(e);t.async=!0;
t.src=v;s=b.getElementsByTagName(e)[0];s.parentNode.insertBefore(t,s)}
(window,document,'script','LIBRARY');
"""


async def show_page(request: Request) -> Response:
    """Answer with a page whose script is in the query; ``headers`` is a JSON list of pairs."""
    query = dict(parse_qsl(request.url.query))
    library = query.get("library", f"http://pixel.test:{request.url.port}/en_US/fbevents.js")
    stub = "" if query.get("stub") == "no" else STUB.replace("LIBRARY", library)
    body = f"<!doctype html><title>Shop</title><script>{stub}{query.get('script', '')}</script>"
    response = HTMLResponse(body + html.escape(request.url.path))
    for name, value in json.loads(query.get("headers", "[]")):
        response.headers.append(name, value)
    return response


@pytest.fixture(scope="session")
def port() -> Iterator[int]:
    """The port of one server for everything: the sandbox, and ``/shop/...`` with a shop's pages."""
    pixel_ids = (DEFAULT_PIXEL_ID, OTHER_PIXEL_ID)
    sandbox = create_app(pixel_ids=pixel_ids, hosts=["pixel.test"])
    app = Starlette(routes=[Route("/shop/{path:path}", show_page), Mount("/", sandbox)])
    config = uvicorn.Config(app, log_level="error", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join(DEADLINE)


class Stage:
    """A browser window on a shop's pages, and what the sandbox got from it."""

    def __init__(self, context: BrowserContext, page: Page, port: int) -> None:
        self.context = context
        self.page = page
        self.port = port
        self.console: list[str] = []
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False)
        page.on("console", lambda message: self.console.append(message.text))

    def address(self, script: str, *, host: str, query: str, **fields: str) -> str:
        page = httpx.URL(f"http://{host}:{self.port}/shop/page")
        return f"{page.copy_with(params={'script': script, **fields})}{query}"

    async def open(
        self, script: str, *, host: str = "www.shop.example.com", query: str = "", **fields: str
    ) -> None:
        await self.page.goto(self.address(script, host=host, query=query, **fields))

    async def hits(self, *names: str) -> list[dict[str, str]]:
        """Return the hits' parameters, oldest first, once there are as many as names."""
        deadline = time.monotonic() + DEADLINE
        hits: list[dict[str, str]] = []
        while time.monotonic() < deadline:
            actions = (await self.client.get("/api/events")).json()["actions"]
            copies = [copy for action in actions for copy in action["browser"]]
            copies.sort(key=lambda copy: (int(copy["params"]["ts"]), int(copy["params"]["ec"])))
            hits = [copy["params"] for copy in copies]
            if len(hits) >= len(names):
                break
            await asyncio.sleep(0.02)
        assert [hit["ev"] for hit in hits] == list(names), self.console
        return hits

    async def cookies(self) -> dict[str, Any]:
        return {cookie["name"]: cookie for cookie in await self.context.cookies()}


@pytest.fixture(scope="session")
async def window(browser: Browser, port: int) -> AsyncIterator[Stage]:
    async with await browser.new_context() as context:
        context.set_default_timeout(DEADLINE * 1000)
        stage = Stage(context, await context.new_page(), port)
        yield stage
        await stage.client.aclose()


@pytest.fixture
async def stage(window: Stage) -> Stage:
    """The one window, with nothing left of the test before; a new one each would be slow."""
    await window.page.goto("about:blank")
    await window.context.clear_cookies()
    await window.client.delete("/api/events")
    window.console.clear()
    return window
