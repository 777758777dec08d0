"""Who may look: whom the app allows, or whoever sits at this machine; never another site's page.

The page shows what a shop sells and lets dead letters be deleted. A site that is open in the same
browser must neither read it nor press its buttons, so ``Host``, ``Origin`` and ``Sec-Fetch-Site``
are looked at.

Source: Fetch Metadata Request Headers, W3C, read 2026-11-29.
"""

from __future__ import annotations

import inspect
import ipaddress
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

Allow = Callable[[HTTPConnection], bool | Awaitable[bool]]
"""Says whether the one who asks may see the dashboard."""

SAFE = ("GET", "HEAD")

logger = logging.getLogger("bridge.dashboard")


class Gate:
    """Lets in whom the app allows.

    Args:
        app: The dashboard.
        allow: The app's own check; a plain function runs in a thread. Nothing but ``True`` lets
            anybody in, an error does not.
    """

    def __init__(self, app: ASGIApp, allow: Allow) -> None:
        self._app = app
        self._allow = allow

    async def __call__(self, scope: Scope, receive: Receive, send: Send, path: str) -> None:
        """Answer the request for ``path``, which is relative to the dashboard; or answer 403."""
        if not await self.allows(HTTPConnection(scope)):
            answer: ASGIApp = refuse("the app does not allow this: see its dashboard= check")
        elif path:
            answer = self._app
        else:
            # The page's own addresses are relative, so that they hold behind any proxy and mount.
            last = scope["path"].rpartition("/")[2]
            answer = RedirectResponse(f"{last}/", headers={"cache-control": "no-store"})
        # A copy: Starlette writes into its scope, and this one belongs to the app around us.
        await answer({**scope, "path": path, "root_path": ""}, receive, send)

    async def allows(self, connection: HTTPConnection) -> bool:
        """Return whether the app's check says ``True``."""
        allow: Callable[[HTTPConnection], Any] = self._allow
        try:
            if inspect.iscoroutinefunction(allow):
                answer = await allow(connection)
            else:
                answer = await run_in_threadpool(allow, connection)
                answer = await answer if inspect.isawaitable(answer) else answer
        except Exception:
            logger.exception("dashboard: the app's check failed, so nobody is let in")
            return False
        if not isinstance(answer, bool):
            kind = type(answer).__name__
            logger.warning("dashboard: the check must return True or False, got %s: refused", kind)
        return answer is True


class LocalGuard:
    """Lets in whoever uses an address of this very machine; no site can have that as its name."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 403."""
        is_local = scope["type"] != "http" or is_loopback(_read_host(Headers(scope=scope)))
        answer: ASGIApp = (
            self._app if is_local else refuse("this dashboard is at 127.0.0.1 and localhost")
        )
        await answer(scope, receive, send)


class SameOrigin:
    """Refuses what another site's page asks for, but for a link that leads here."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 403."""
        refused = scope["type"] == "http" and not _is_same_origin(scope)
        reason = "this must come from the dashboard's own page"
        answer: ASGIApp = refuse(reason) if refused else self._app
        await answer(scope, receive, send)


def _is_same_origin(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if scope["method"] in SAFE:
        is_navigation = headers.get("sec-fetch-mode") == "navigate"
        return site in (None, "same-origin", "none") or is_navigation
    if site is not None:
        return site == "same-origin"
    # An older browser: it sends the origin with every POST.
    return origin is not None and _read_netloc(origin) == headers.get("host", "").lower()


def is_loopback(host: str) -> bool:
    """Return whether a host name is this machine's alone."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refuse(reason: str) -> Response:
    """Return the answer to somebody who may not look."""
    return Response(
        msgspec.json.encode({"error": reason}),
        403,
        {"cache-control": "no-store", "x-content-type-options": "nosniff"},
        "application/json",
    )


def _read_host(headers: Headers) -> str:
    try:
        return (urlsplit(f"http://{headers.get('host', '')}").hostname or "").removesuffix(".")
    except ValueError:
        return ""


def _read_netloc(url: str) -> str:
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""
