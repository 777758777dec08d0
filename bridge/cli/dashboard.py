"""``pixel-bridge dashboard``: how well it works, and what waits or failed, as a page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated

import typer
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from bridge.cli.origin import App, OutboxURL, find_outbox, load_bridge
from bridge.cli.serving import GRACE, listen, serve
from bridge.dashboard import LocalGuard, QualityDesk, create_app
from bridge.destinations import Destination
from bridge.errors import ConfigError
from bridge.outbox import Outbox

HOST = "127.0.0.1"  # never another: whoever reaches the page may see and delete all


def run_dashboard(
    app: App = None,
    outbox: OutboxURL = None,
    port: Annotated[
        int,
        typer.Option(min=0, max=65535, metavar="PORT", help="Where to listen; 0 picks a free one."),
    ] = 8002,
) -> None:
    """Serve a page of figures, visible on this machine only."""
    store = find_outbox(app, outbox)
    destinations = _find_destinations(app, outbox)
    listener = listen(HOST, port)
    print(
        f"Dashboard of {store}: http://{HOST}:{listener.getsockname()[1]}  (stop with Ctrl-C)",
        flush=True,
    )
    config = uvicorn.Config(
        build_app(store, destinations),
        log_level="warning",
        access_log=False,
        ws="none",
        timeout_graceful_shutdown=GRACE,
    )
    serve(config, listener)


def build_app(store: Outbox, destinations: Sequence[Destination]) -> Starlette:
    """Return the dashboard, which closes the outbox when it ends."""

    @asynccontextmanager
    async def close(_: Starlette) -> AsyncIterator[None]:
        yield
        await store.close()

    names = [each.name for each in destinations]
    page = create_app(store, names, ask_quality=QualityDesk.of(store, destinations))
    return Starlette(routes=[Mount("/", LocalGuard(page))], lifespan=close)


def _find_destinations(app: str | None, outbox: str | None) -> list[Destination]:
    """Return the configured destinations; none if they are not known."""
    if app is None and outbox is not None:
        return []
    try:
        return list(load_bridge(app).destinations)
    except ConfigError:
        return []
