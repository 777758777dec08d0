"""Where a command gets its bridge or outbox from: an app, an option, or the environment."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Coroutine
from functools import reduce
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from bridge.cli.process import run
from bridge.core import Bridge
from bridge.errors import ConfigError, UsageError
from bridge.middleware import BridgeMiddleware
from bridge.outbox import Outbox, SQLiteOutbox, open_outbox
from bridge.shops import Shops
from bridge.site import Site

DEFAULT_OUTBOX = "sqlite:///bridge.db"

_Result = TypeVar("_Result")

App = Annotated[
    str | None,
    typer.Option(
        "--app",
        metavar="MODULE:NAME",
        help="Your Bridge, such as shop:bridge; by default, the BRIDGE_ variables.",
    ),
]
ShopName = Annotated[
    str | None,
    typer.Option("--shop", metavar="NAME", help="Which shop, where --app is an app with many."),
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
    bridge: Bridge = Bridge.from_env() if app is None else _import(app, (Bridge,), "Bridge")
    return bridge


def load_site(app: str | None, shop: str | None) -> Site:
    """Return the bridge of ``app`` or of the environment, or one shop of an app with many.

    Raises:
        ConfigError: As ``load_bridge``; or ``shop`` is missing, unknown, or given for an app with
            one.
    """
    if app is None and shop is not None:
        raise ConfigError("--shop needs --app: the Shops of an app with many, such as shop:shops")
    runs = load_bridge(None) if app is None else load_runs(app)
    if isinstance(runs, Bridge):
        if shop is not None:
            raise ConfigError("--shop is for an app with many shops: give its Shops with --app")
        return runs
    if shop is None:
        raise ConfigError("--shop is missing: this app has many, see docs/shops.md")
    try:
        return run(runs.get(shop))
    except UsageError as error:
        raise ConfigError(f"--shop: {error}") from None


def load_runs(app: str) -> Bridge | Shops:
    """Return the bridge or the shops of ``app``; raises as ``load_bridge``."""
    runs: Bridge | Shops = _import(app, (Bridge, Shops), "Bridge or Shops")
    return runs


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

    async def work_and_close() -> _Result:
        try:
            return await work
        finally:
            await store.close()

    return run(work_and_close())


def _import(app: str, kinds: tuple[type, ...], wanted: str) -> Any:
    """Return what ``app`` names, such as ``shop:bridge``, if it is of one of ``kinds``."""
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
    if isinstance(found, BridgeMiddleware):  # as Django's asgi.py ends
        found = found.bridge
    if not isinstance(found, kinds):
        got = type(found).__name__
        raise ConfigError(f"--app: {app} must be a {wanted}, got {got}")
    return found
