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
from bridge.dashboard import LocalGuard, create_app
from bridge.errors import ConfigError
from bridge.outbox import Outbox

HOST = "127.0.0.1"  # never another: whoever reaches the page may see and delete all


def run_dashboard(
    app: App = None,
    outbox: OutboxURL = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 8002,
) -> None:
    """Show figures, what waits and what failed, on a page for this machine only."""
    store = find_outbox(app, outbox)
    names = _find_names(app, outbox)
    listener = listen(HOST, port)
    print(
        f"Dashboard of {store!r}: http://{HOST}:{listener.getsockname()[1]}  (stop with Ctrl-C)",
        flush=True,
    )
    config = uvicorn.Config(
        build_app(store, names),
        log_level="warning",
        access_log=False,
        ws="none",
        timeout_graceful_shutdown=GRACE,
    )
    serve(config, listener)


def build_app(store: Outbox, names: Sequence[str]) -> Starlette:
    """Return the dashboard, which closes the outbox when it ends."""

    @asynccontextmanager
    async def close(_: Starlette) -> AsyncIterator[None]:
        yield
        await store.close()

    return Starlette(routes=[Mount("/", LocalGuard(create_app(store, names)))], lifespan=close)


def _find_names(app: str | None, outbox: str | None) -> list[str]:
    """Return the names of the configured destinations; none if they are not known."""
    if app is None and outbox is not None:
        return []
    try:
        return [destination.name for destination in load_bridge(app).destinations]
    except ConfigError:
        return []
