"""One journey in each framework, on a real server, in a real browser: every pair merges.

scripts/matrix    each framework on each server, with one worker and with four
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path

import pytest
from playwright.async_api import Browser

from bridge.sandbox import DEFAULT_ACCESS_TOKEN, DEFAULT_PIXEL_ID
from tests.factories import SECRET
from tests.pages.scenes import assert_pair
from tests.pages.visits import HOST, LONG_HOLD, Visit, open_context
from tests.servers import Sandbox, find_free_port, open_client, poll, running

APPS = [
    "starlette_shop:app",
    "fastapi_shop:app",
    "litestar_shop:app",
    "quart_shop:app",
    "django_shop:app",
    "flask_shop:app",
    "flask_shop:asgiref_app",
]
GUNICORN = (
    "gunicorn --no-control-socket --log-level error"
    " -k {worker} --bind 127.0.0.1:{port} --workers {workers} {app}"
)
SERVERS = {
    "uvicorn": "uvicorn --log-level error --port {port} --workers {workers} {app}",
    "hypercorn": "hypercorn --log-level error --bind 127.0.0.1:{port} --workers {workers} {app}",
    "granian": "granian --interface asgi --log-level error --port {port} --workers {workers} {app}",
    "gunicorn": GUNICORN,
    "gunicorn-preload": f"{GUNICORN} --preload",
}
# Django's own, which serves ASGI with daphne among INSTALLED_APPS.
DJANGO = "django runserver --noreload --settings tests.frameworks.django_settings {port}"
RUNSERVER = ("django_shop:app", "runserver", 1)
# One server a framework, each server once; all of them by the command above.
USUAL = [
    *((app, "uvicorn", 1) for app in APPS),
    ("starlette_shop:app", "hypercorn", 1),
    ("starlette_shop:app", "granian", 1),
    ("starlette_shop:app", "gunicorn-preload", 4),
    RUNSERVER,
]
ALL = [*product(APPS, SERVERS, (1, 4)), RUNSERVER]


def build_command(app: str, server: str, workers: int, port: int) -> list[str]:
    worker, options = "uvicorn_worker.UvicornWorker", []
    if app == "flask_shop:asgiref_app":
        # What uvicorn needs to serve asgiref's adapter for WSGI, with Bridge or without it: a
        # response that a thread ends leaves its context to the connection's next request.
        worker = "tests.frameworks.own_contexts.OwnContextsWorker"
        options = ["--reset-contextvars"] if server == "uvicorn" else []
    line = SERVERS.get(server, DJANGO).format(
        app=f"tests.frameworks.{app}", port=port, worker=worker, workers=workers
    )
    return [*line.split(), *options]


def count_workers(folder: Path) -> int:
    return len(list(folder.glob("*.worker")))


@asynccontextmanager
async def serving(
    app: str, server: str, workers: int, folder: Path, sandbox: Sandbox
) -> AsyncIterator[str]:
    port = find_free_port()
    environ = {
        "BRIDGE_PIXEL_ID": DEFAULT_PIXEL_ID,
        "BRIDGE_ACCESS_TOKEN": DEFAULT_ACCESS_TOKEN,
        "BRIDGE_SECRET_KEY": SECRET,
        "BRIDGE_GRAPH_URL": sandbox.url,
        "BRIDGE_PIXEL_SCRIPT_URL": f"{sandbox.url}/en_US/fbevents.js",
        "BRIDGE_OUTBOX_URL": f"sqlite:///{folder}/bridge.db",
        "BRIDGE_BROWSER_HOLD": LONG_HOLD,
        "BRIDGE_EXCLUDE_PATHS": "/webhook",
        "SHOP_FOLDER": str(folder),
        "SHOP_TURNS": "1" if workers > 1 else "",
    }
    # As systemd and containers stop a server. By Ctrl-C gunicorn waits 30 seconds for uvicorn's
    # worker and kills it: https://github.com/Kludex/uvicorn-worker/issues/2
    command = build_command(app, server, workers, port)
    with running(command, port, environ, stop=signal.SIGTERM):

        async def are_up() -> bool:
            return workers == 1 or count_workers(folder) == workers

        await poll(are_up, f"{workers} workers")
        yield f"http://{HOST}:{port}"


@pytest.mark.parametrize(
    ("app", "server", "workers"), ALL if os.environ.get("MATRIX") == "all" else USUAL
)
async def test_every_pair_merges(
    app: str, server: str, workers: int, tmp_path: Path, browser: Browser, sandbox: Sandbox
) -> None:
    async with (
        serving(app, server, workers, tmp_path, sandbox) as url,
        await open_context(browser) as context,
    ):
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
        async with open_client(url.replace(HOST, "127.0.0.1"), follow_redirects=True) as provider:
            assert (await provider.post("/webhook")).is_success
        [*_, payment] = await sandbox.wait_for_server_copies(len(actions) + 1)
        [purchase] = [a["server"][0]["event"] for a in actions if a["event_name"] == "Purchase"]
        assert payment["event_name"] == "Subscribe"
        for key in ("external_id", "em", "fbp", "fbc", "client_user_agent"):
            assert payment["user_data"][key] == purchase["user_data"][key]
