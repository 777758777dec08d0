"""Where a command gets its bridge or outbox from: an app, an option, or the environment."""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from collections.abc import Coroutine
from functools import reduce
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from bridge.core import Bridge
from bridge.delivery.pipeline import Runs
from bridge.errors import ConfigError
from bridge.outbox import Outbox, SQLiteOutbox, open_outbox

DEFAULT_OUTBOX = "sqlite:///bridge.db"

_Result = TypeVar("_Result")
_Kind = TypeVar("_Kind")

App = Annotated[
    str | None,
    typer.Option(
        "--app",
        metavar="MODULE:NAME",
        help="Your Bridge, such as shop:bridge; by default, the BRIDGE_ variables.",
    ),
]
OutboxURL = Annotated[
    str | None,
    typer.Option(
        "--outbox",
        metavar="URL",
        help=f"The outbox; by default the app's, BRIDGE_OUTBOX_URL or {DEFAULT_OUTBOX}.",
    ),
]


def load_bridge(app: str | None) -> Bridge:
    """Return the bridge of ``app``, such as ``shop:bridge``, or of the environment.

    Raises:
        ConfigError: A variable or name is missing or wrong; the message says which.
    """
    return Bridge.from_env() if app is None else _import(app, Bridge, "Bridge")


def load_runs(app: str) -> Runs:
    """Return the bridge or the shops of ``app``; raises as ``load_bridge``."""
    return _import(app, Runs, "Bridge or Shops")


def find_outbox(app: str | None, url: str | None) -> Outbox:
    """Return the outbox of ``url``, of ``app``, or of the environment; needs no access token.

    Raises:
        ConfigError: There is none. A SQLite file that is missing is not created.
    """
    if url is None and app is not None:
        store = load_runs(app).outbox
    else:
        url = url or os.environ.get("BRIDGE_OUTBOX_URL", "").strip() or DEFAULT_OUTBOX
        store = open_outbox(url)
    if isinstance(store, SQLiteOutbox) and store.is_missing():
        raise ConfigError(
            f"{store} does not exist: nothing was stored yet, or it is elsewhere; give --outbox"
        )
    return store


def would_create(store: Outbox) -> bool:
    """Return whether ``store`` is a file that its first use would create."""
    return isinstance(store, SQLiteOutbox) and store.is_missing() and store.has_folder()


def run_on(store: Outbox, work: Coroutine[Any, Any, _Result]) -> _Result:
    """Return the result of ``work`` on ``store``, and close it."""

    async def run() -> _Result:
        try:
            return await work
        finally:
            await store.close()

    return asyncio.run(run())


def _import(app: str, kind: type[_Kind], wanted: str) -> _Kind:
    """Return what ``app`` names, such as ``shop:bridge``, if it is of ``kind``."""
    module_name, _, path = app.partition(":")
    if not path or not all(module_name.split(".")):
        raise ConfigError(f"--app must be like shop:bridge, got {app[:100]!r}")
    sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise ConfigError(f"--app: no module {error.name!r} here or installed") from None
    try:
        found: object = reduce(getattr, path.split("."), module)
    except AttributeError:
        raise ConfigError(f"--app: {module_name} has no {path!r}") from None
    if not isinstance(found, kind):
        got = type(found).__name__
        raise ConfigError(f"--app: {app} must be a {wanted}, got {got}")
    return found
