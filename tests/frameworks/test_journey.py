"""One journey in each framework, on a real server, in a real browser: every pair merges.

MATRIX=all .venv/bin/python -m pytest tests/frameworks    each framework on each server
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser

from bridge.sandbox import DEFAULT_ACCESS_TOKEN, DEFAULT_PIXEL_ID
from tests.factories import SECRET
from tests.pages.scenes import assert_pair
from tests.pages.visits import HOST, LONG_HOLD, Visit, open_context
from tests.servers import Sandbox, find_free_port, open_client, running

APPS = [
    "starlette_shop:app",
    "fastapi_shop:app",
    "litestar_shop:app",
    "quart_shop:app",
    "django_shop:app",
    "flask_shop:app",
    "flask_shop:asgiref_app",
]
SERVERS = {
    "uvicorn": ["uvicorn", "--log-level", "error", "--port"],
    "hypercorn": ["hypercorn", "--log-level", "error", "--bind"],
    "granian": ["granian", "--interface", "asgi", "--log-level", "error", "--port"],
}
# One server a framework, each server once; all of them by the command above.
USUAL = [*((app, "uvicorn") for app in APPS), *(("starlette_shop:app", each) for each in SERVERS)]
ALL = [(app, server) for app in APPS for server in SERVERS]
RUNS = ALL if os.environ.get("MATRIX") == "all" else list(dict.fromkeys(USUAL))


# What uvicorn needs to serve asgiref's adapter for WSGI, with Bridge or without it: a response that
# a thread ends leaves its context to the next request of the connection.
OWN_CONTEXTS = {("flask_shop:asgiref_app", "uvicorn"): ["--reset-contextvars"]}


@contextmanager
def serving(app: str, server: str, folder: Path, sandbox: Sandbox) -> Iterator[str]:
    port = find_free_port()
    address = f"127.0.0.1:{port}" if server == "hypercorn" else str(port)
    environ = {
        "BRIDGE_PIXEL_ID": DEFAULT_PIXEL_ID,
        "BRIDGE_ACCESS_TOKEN": DEFAULT_ACCESS_TOKEN,
        "BRIDGE_SECRET_KEY": SECRET,
        "BRIDGE_GRAPH_URL": sandbox.url,
        "BRIDGE_PIXEL_SCRIPT_URL": f"{sandbox.url}/en_US/fbevents.js",
        "BRIDGE_OUTBOX_URL": f"sqlite:///{folder}/bridge.db",
        "BRIDGE_BROWSER_HOLD": LONG_HOLD,
        "BRIDGE_EXCLUDE_PATHS": "/webhook",
    }
    options = OWN_CONTEXTS.get((app, server), [])
    command = [*SERVERS[server], address, *options, f"tests.frameworks.{app}"]
    with running(command, port, environ):
        yield f"http://{HOST}:{port}"


@pytest.mark.parametrize(("app", "server"), RUNS)
async def test_every_pair_merges(
    app: str, server: str, tmp_path: Path, browser: Browser, sandbox: Sandbox
) -> None:
    with serving(app, server, tmp_path, sandbox) as url:
        async with await open_context(browser) as context:
            visit = Visit(await context.new_page(), sandbox, url)
            await visit.open("/?fbclid=IwAR0")
            await visit.counted(PageView=1, ViewContent=1)
            await visit.page.click("#add")
            await visit.counted(PageView=1, ViewContent=1, AddToCart=1)
            await visit.page.click("#log-in")
            await visit.counted(PageView=2, ViewContent=2, AddToCart=1)
            await visit.page.click("#buy")
            await visit.page.wait_for_url("**/thanks")
            actions = await visit.counted(PageView=3, ViewContent=2, AddToCart=1, Purchase=1)
            for action in actions:
                assert_pair(action)
            assert visit.errors == []
            async with open_client(url.replace(HOST, "127.0.0.1")) as provider:
                assert (await provider.post("/webhook")).is_success
            [*_, payment] = await sandbox.wait_for_server_copies(len(actions) + 1)
            [purchase] = [a["server"][0]["event"] for a in actions if a["event_name"] == "Purchase"]
            assert payment["event_name"] == "Subscribe"
            for key in ("external_id", "em", "fbp", "fbc", "client_user_agent"):
                assert payment["user_data"][key] == purchase["user_data"][key]
