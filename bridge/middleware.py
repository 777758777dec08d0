"""``BridgeMiddleware``: a visitor for each request, cookies on its response, and our paths.

It also runs the sender for the life of the app: from the lifespan's startup where the server
offers one, else from the first request.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from functools import lru_cache
from itertools import repeat
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from bridge.core import Bridge
from bridge.delivery.pipeline import Runs
from bridge.endpoints import Endpoints
from bridge.shops import Shops
from bridge.visitor.bots import load_parser
from bridge.visitor.capture import Capture
from bridge.visitor.cookies import load_suffixes
from bridge.visitor.visitor import VISITOR, Visitor

# Directives that keep a response out of shared caches; ``private="field"`` does not.
_UNSHARED = frozenset({b"private", b"no-store"})
_BYPASSED = frozenset({b"private", b"no-store", b"no-cache", b"bypass-cache", b"0", b"max-age=0"})
# What caches and CDNs read instead of Cache-Control.
# Source: RFC 9213, "Targeted HTTP Cache Control"; nginx, ngx_http_proxy_module
# (X-Accel-Expires: 0 disables caching); Akamai, "Edge-Control", read 2026-11-29.
_CACHE_HEADERS = (b"cache-control", b"surrogate-control", b"edge-control", b"x-accel-expires")

# Every framework has types of its own for the same three arguments: only ``Any`` fits around all.
ASGIApp = Callable[[Any, Any, Any], Awaitable[Any]]

logger = logging.getLogger("bridge.middleware")


class BridgeMiddleware:
    """ASGI middleware in front of any app.

    Args:
        app: The app.
        bridge: The bridge, or the shops, that handlers reach through ``enrich``, ``track`` and
            ``identify``.
    """

    def __init__(self, app: ASGIApp, bridge: Bridge | Shops) -> None:
        self.app = app
        self.bridge = bridge
        self._has_warned = False
        # What commands and scripts may not need: it is loaded before a visitor waits for it.
        load_parser()
        load_suffixes()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle HTTP and lifespan; pass on everything else, WebSockets too."""
        if scope["type"] == "lifespan":
            await _Lifespan(self.app, self.bridge, receive, send).run(scope)
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        outer, bridge = scope.get("bridge"), self.bridge
        bridge.start()
        site = bridge if isinstance(bridge, Bridge) else await bridge.find_site(scope)
        if isinstance(outer, Visitor) and outer.visits is site._visits:
            await self.app(scope, receive, send)  # added twice: one visitor is enough
            return
        capture = Capture(scope, site._visits.rules)
        visitor = Visitor(site._visits, capture)
        scope["bridge"] = visitor

        # A coroutine function: asgiref, and others that run it in a thread, look for that.
        async def send_with_cookies(message: Message) -> None:
            if message["type"] == "http.response.start":
                lines = visitor.start_response()
                is_carried = lines and _add_cookies(message, lines, is_choice=visitor.has_choice)
                if visitor.twins and not is_carried:
                    self._warn_of_cache()
            await send(message)

        token = VISITOR.set(visitor)
        try:
            if capture.path.startswith(site._inside):
                path = capture.path.removeprefix(site._prefix)
                if site._endpoints is None:
                    site._endpoints = Endpoints(site)
                await site._endpoints(scope, receive, send_with_cookies, path)
            else:
                await self.app(scope, receive, send_with_cookies)
        finally:
            VISITOR.reset(token)
            # The visitor knows its scope: left in it, each request would wait for the collector.
            scope.pop("bridge", None)
            # Whatever became of the handler: the session has its new identity already.
            if visitor.has_changed:
                await site._settle(visitor)

    def _warn_of_cache(self) -> None:
        """Log once that an event was tracked on a response that has no room for its twin."""
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "track() was called for a response that caches may show to others: its browser copy"
                " cannot travel, and visitors served by the cache are not counted; track from the"
                " page with bridge.track(), or send Cache-Control: private"
            )


def _add_cookies(message: MutableMapping[str, Any], lines: list[bytes], *, is_choice: bool) -> bool:
    """Add cookies to a response, unless others may be shown it too; return whether they were.

    Args:
        message: The response's start.
        lines: Values of ``Set-Cookie``.
        is_choice: Whether they hold a choice of the visitor's, which must not get lost.
    """
    headers = message["headers"] = list(message.get("headers", ()))
    caching = [pair for pair in headers if _is_for_caches(pair[0])]
    if is_choice:
        # The response is this visitor's alone.
        headers[:] = [pair for pair in headers if pair not in caching]
        headers.append((b"cache-control", b"private, no-store"))
    elif message["status"] == 304 or (caching and _is_shared(caching)):
        return False
    elif not caching or not _UNSHARED & _read_directives(caching, b"cache-control"):
        headers.append((b"cache-control", b"private"))
    headers += zip(repeat(b"set-cookie"), lines)
    return True


@lru_cache(maxsize=256)
def _is_for_caches(name: bytes) -> bool:
    """Return whether caches read this header; every CDN has a ``...-Cache-Control`` of its own."""
    return name.lower().endswith(_CACHE_HEADERS)


def _is_shared(caching: list[tuple[bytes, bytes]]) -> bool:
    """Return whether a shared cache may keep the response; a CDN prefers headers of its own."""
    names = {name.lower() for name, _ in caching} - {b"cache-control"}
    own = [_read_directives(caching, name) for name in names]
    return any(each and not each & _BYPASSED for each in own) or any(
        directive == b"public" or directive.startswith(b"s-maxage")
        for directive in _read_directives(caching, b"cache-control")
    )


def _read_directives(headers: list[tuple[bytes, bytes]], name: bytes) -> set[bytes]:
    """Return the directives of a caching header, lower-case."""
    text = b",".join(value for key, value in headers if key.lower() == name).lower()
    return {directive.strip() for directive in text.split(b",")} - {b""}


class _Lifespan:
    """The app's lifespan, with the bridge started before and stopped after it.

    An app without lifespan raises, or returns at once; the server then gets its answer from here.
    """

    def __init__(self, app: ASGIApp, bridge: Runs, receive: Receive, send: Send) -> None:
        self._app = app
        self._bridge = bridge
        self._receive = receive
        self._send = send
        self._unanswered: str | None = None
        self._answered: set[str] = set()

    async def run(self, scope: Scope) -> None:
        try:
            await self._app(scope, self._listen, self._relay)
        except Exception:
            if self._answered:
                raise
            logger.debug("the app has no lifespan; the bridge runs without it", exc_info=True)
        await self._stand_in()

    async def _listen(self) -> Message:
        message = await self._receive()
        self._unanswered = message["type"]
        return message

    async def _relay(self, message: Message) -> None:
        """Pass the app's message on: the bridge starts before the app is up, and stops after it."""
        kind = message["type"]
        if kind == "lifespan.startup.complete":
            self._bridge.start()
        elif kind.startswith("lifespan.shutdown."):
            await self._bridge.stop()
        self._unanswered = None
        self._answered.add(kind)
        await self._send(message)

    async def _stand_in(self) -> None:
        """Answer the server where the app did not."""
        last_words = {
            "lifespan.startup.failed",
            "lifespan.shutdown.complete",
            "lifespan.shutdown.failed",
        }
        while not self._answered & last_words:
            if self._unanswered is None:
                await self._listen()
            await self._relay({"type": f"{self._unanswered}.complete"})
