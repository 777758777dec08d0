"""``BridgeMiddleware``: gives each request its visitor, sets our cookies, serves our paths.

It also runs the sender for the life of the app: from the lifespan's startup where the server
offers one, else from the first request.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bridge.browser import Endpoints
from bridge.core import Bridge
from bridge.visitor import VISITOR, Visitor

# Directives that keep a response out of shared caches; ``private="field"`` is none.
_UNSHARED = frozenset({b"private", b"no-store"})
_CACHE_HEADERS = frozenset({b"cache-control", b"cdn-cache-control", b"surrogate-control"})

logger = logging.getLogger("bridge.middleware")


class BridgeMiddleware:
    """ASGI middleware in front of any app.

    Args:
        app: The app.
        bridge: The bridge that handlers reach through ``enrich``, ``track`` and ``identify``.
    """

    def __init__(self, app: ASGIApp, bridge: Bridge) -> None:
        self.app = app
        self.bridge = bridge
        self._endpoints = Endpoints(bridge)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle HTTP and lifespan; pass everything else, WebSockets too."""
        if scope["type"] == "lifespan":
            await _Lifespan(self.app, self.bridge, receive, send).run(scope)
        elif scope["type"] == "http":
            await self._handle(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        outer = scope.get("bridge")
        if isinstance(outer, Visitor) and outer.bridge is self.bridge:
            await self.app(scope, receive, send)  # added twice: one visitor is enough
            return
        self.bridge.start()
        visitor = self.bridge.visit(scope)
        scope["bridge"] = visitor

        async def send_with_cookies(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add_cookies(visitor, message)
            await send(message)

        token = VISITOR.set(visitor)
        try:
            path = visitor.capture.path
            if path.startswith(self.bridge.prefix + "/"):
                path = path.removeprefix(self.bridge.prefix)
                await self._endpoints(scope, receive, send_with_cookies, path)
            else:
                await self.app(scope, receive, send_with_cookies)
        finally:
            VISITOR.reset(token)
            # The visitor knows its scope: left in it, each request would wait for the collector.
            scope.pop("bridge", None)

    def _add_cookies(self, visitor: Visitor, message: MutableMapping[str, Any]) -> None:
        """Add what the visitor must keep; a response that others may be shown gets nothing."""
        lines = visitor.start_response(self.bridge.signer)
        if not lines:
            return
        headers = list(message.get("headers", ()))
        message["headers"] = headers
        directives = _read_directives(headers, b"cache-control")
        shared = message["status"] == 304 or any(
            directive == b"public" or directive.startswith(b"s-maxage") for directive in directives
        )
        # A CDN prefers these to Cache-Control.
        for name in (b"cdn-cache-control", b"surrogate-control"):
            own = _read_directives(headers, name)
            shared = shared or bool(own and not own & _UNSHARED)
        if visitor.has_chosen:
            # A choice must not get lost; the response is this visitor's alone.
            headers[:] = [(k, v) for k, v in headers if k.lower() not in _CACHE_HEADERS]
            headers.append((b"cache-control", b"private, no-store"))
        elif shared:
            return
        elif not directives & _UNSHARED:
            headers.append((b"cache-control", b"private"))
        headers.extend((b"set-cookie", line) for line in lines)


def _read_directives(headers: list[tuple[bytes, bytes]], name: bytes) -> set[bytes]:
    """Return the directives of a caching header, lower-case."""
    text = b",".join(value for key, value in headers if key.lower() == name).lower()
    return {directive.strip() for directive in text.split(b",")} - {b""}


class _Lifespan:
    """One lifespan: the app's own, with the bridge started before and stopped after it.

    An app without lifespan raises, or returns at once; the server is then answered in its place.
    """

    def __init__(self, app: ASGIApp, bridge: Bridge, receive: Receive, send: Send) -> None:
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
        """Pass the app's word on: the bridge is up before startup is complete, and down after."""
        kind = message["type"]
        if kind == "lifespan.startup.complete":
            self._bridge.start()
        elif kind.startswith("lifespan.shutdown."):
            await self._bridge.stop()
        self._unanswered = None
        self._answered.add(kind)
        await self._send(message)

    async def _stand_in(self) -> None:
        """Answer what the app left unanswered."""
        last_words = {
            "lifespan.startup.failed",
            "lifespan.shutdown.complete",
            "lifespan.shutdown.failed",
        }
        while not self._answered & last_words:
            if self._unanswered is None:
                await self._listen()
            await self._relay({"type": f"{self._unanswered}.complete"})
