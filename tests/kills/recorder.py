"""The sandbox with a notebook: each event it accepted, by the digest of its bytes.

The sandbox keeps full events of the newest actions only; here every arrival counts, for as long as
the process runs. One half stands before the sandbox's routes and notes what was accepted; the
other in front of its faults, and notes whether that answer left as it was given.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bridge.sandbox import create_app

MAX_DELAY = float(os.environ.get("KILLS_MAX_DELAY", "0"))  # seconds before and after the work


class Arrival(msgspec.Struct):
    """One event in one request that the sandbox accepted.

    Attributes:
        digest: Of its bytes, SHA-256.
        request: The request's number.
    """

    digest: str
    request: int


class Notebook(msgspec.Struct):
    """What was noted about all requests.

    Attributes:
        arrivals: By event id.
        unanswered: Numbers of the accepted requests whose answer did not leave whole.
        statuses: How many answers left, by status.
    """

    arrivals: dict[str, list[Arrival]] = msgspec.field(default_factory=dict)
    unanswered: set[int] = msgspec.field(default_factory=set)
    statuses: dict[int, int] = msgspec.field(default_factory=dict)


class _Event(msgspec.Struct):
    event_id: str


class _Content(msgspec.Struct):
    data: list[msgspec.Raw]


class Accepting:
    """Notes the events of each request that the routes behind it answer with 200."""

    def __init__(self, app: ASGIApp, notebook: Notebook) -> None:
        self.app = app
        self.notebook = notebook
        self.requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _is_delivery(scope):
            await self.app(scope, receive, send)
            return
        content, answer = bytearray(), _Answer()

        async def read() -> Message:
            message = await receive()
            content.extend(message.get("body", b""))
            return message

        async def note(message: Message) -> None:
            # Before it is passed on: a dead connection must not keep it from the notebook.
            answer.add(message)
            if answer.is_complete and answer.status == 200:
                self._accept(scope, bytes(content), bytes(answer.body))
            await send(message)

        await self.app(scope, read, note)

    def _accept(self, scope: Scope, content: bytes, answer: bytes) -> None:
        self.requests += 1
        for raw in msgspec.json.decode(content, type=_Content).data:
            event = msgspec.json.decode(raw, type=_Event)
            arrival = Arrival(hashlib.sha256(raw).hexdigest(), self.requests)
            self.notebook.arrivals.setdefault(event.event_id, []).append(arrival)
        scope["recorder.accepted"] = (self.requests, answer)


class Answering:
    """Notes which answers leave, and keeps requests a random moment longer under way."""

    def __init__(self, app: ASGIApp, notebook: Notebook) -> None:
        self.app = app
        self.notebook = notebook

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/recorder":
            await Response(msgspec.json.encode(self.notebook))(scope, receive, send)
        elif _is_delivery(scope):
            await asyncio.sleep(random.uniform(0, MAX_DELAY))
            await self._pass(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = _Answer()

        async def note(message: Message) -> None:
            answer.add(message)
            if message["type"] == "http.response.start":
                await asyncio.sleep(random.uniform(0, MAX_DELAY))
            await send(message)

        await self.app(scope, receive, note)
        if answer.status:
            statuses = self.notebook.statuses
            statuses[answer.status] = statuses.get(answer.status, 0) + 1
        number, given = scope.get("recorder.accepted", (0, b""))
        # uvicorn says nothing of a client that has left; the object behind ``receive`` knows.
        has_left = getattr(getattr(receive, "__self__", None), "disconnected", False)
        if number and (answer.body != given or has_left):
            self.notebook.unanswered.add(number)


class _Answer:
    """An answer, put together from its messages."""

    def __init__(self) -> None:
        self.status = 0
        self.body = bytearray()
        self.is_complete = False

    def add(self, message: Message) -> None:
        self.status = message.get("status", self.status)
        self.body += message.get("body", b"")
        self.is_complete = message["type"] == "http.response.body" and not message.get("more_body")


def _is_delivery(scope: Scope) -> bool:
    asked = (scope["type"], scope.get("method"), str(scope.get("path"))[-7:])
    return asked == ("http", "POST", "/events")


def build_app() -> Any:
    """The sandbox as an ASGI application, between the two halves."""
    notebook = Notebook()
    app = create_app()
    halves: Sequence[Any] = (Accepting, Answering)
    inner, outer = (Middleware(half, notebook=notebook) for half in halves)
    app.user_middleware = [outer, *app.user_middleware, inner]
    return app
