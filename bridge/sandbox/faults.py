"""Faults on demand, for tests: the ways a network, a proxy or Meta itself can fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bridge.sandbox.refusal import Refusal

POLL = 0.1  # seconds between looks at whether the client or the server is leaving
MAX_PAD = 64 * 1024 * 1024  # bytes
DEFAULT_BODIES = {
    "events": b'{"error":{"message":"Service temporarily unavailable","type":"OAuthException",'
    b'"code":2,"is_transient":true,"fbtrace_id":"sandbox-fault"}}',
    "segment": b'{"success":false}',
}
# Graph's words by its codes.
_CODES = {
    4: "Application request limit reached",
    10: "Application does not have permission for this action",
    190: "Error validating access token: The session is invalid because it was changed",
    200: "Permissions error",
}
DEFAULT_BODIES["quality"] = DEFAULT_BODIES["events"]


class Fault(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A failure of the next requests.

    Attributes:
        path: Which requests: the Graph endpoint, its figures of quality, the pixel's hits, the
            library, its configuration, Segment's calls.
        times: How many requests fail; ``None`` until cleared.
        status, headers, body: The answer instead of the real one; 500 if no other field is set.
        delay: Seconds to wait before anything else.
        drop: Cut the connection without an answer.
        hang: Never answer, until the client leaves.
        truncate: Bytes left of the real answer's body.
        pad: Bytes of white space after the real answer's body.
        trickle: Seconds between the bytes of the real answer's body.
        add_headers: Headers added to those of the real answer.
        refuse: The event that Graph refuses the batch for, by index or by event id.
        code: Graph's error code in the answer instead of the real one, such as 10, 190 or 200.
        unknown: Fields of quality that the dataset does not know.
        without: Blocks that the figures of quality lack.
        as_text: Whether numbers of quality come as text.
        lasting: Refuse that event again, whenever it is sent, until the faults are cleared.
        after: Do the work first, then fail: the answer is lost, not the request.
    """

    path: Literal["events", "quality", "tr", "fbevents", "config", "segment"]
    times: Annotated[int, Meta(ge=1)] | None = 1
    status: Annotated[int, Meta(ge=200, le=599)] | None = None
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    body: str | None = None
    delay: Annotated[float, Meta(ge=0)] = 0.0
    drop: bool = False
    hang: bool = False
    truncate: Annotated[int, Meta(ge=0)] | None = None
    pad: Annotated[int, Meta(ge=0, le=MAX_PAD)] = 0
    trickle: Annotated[float, Meta(ge=0)] = 0.0
    add_headers: dict[str, str] = msgspec.field(default_factory=dict)
    refuse: int | str | None = None
    lasting: bool = False
    code: int | None = None
    unknown: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    as_text: bool = False
    after: bool = False

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for fields that do not go together."""
        if self.refuse is not None and self.path != "events":
            raise ValueError(f"refuse is for the path events, got {self.path}")
        if self.code is not None and self.path not in ("events", "quality"):
            raise ValueError(f"code is for the paths events and quality, got {self.path}")
        if self.falls_short and self.path != "quality":
            raise ValueError(f"unknown, without and as_text are for quality, got {self.path}")

    @property
    def answers(self) -> bool:
        """Whether it gives an answer of its own instead of the real one."""
        others = self.delay or self.changes or self.refuse is not None or self.falls_short
        own = (self.status, self.body, self.code)
        return any(each is not None for each in own) or not others

    @property
    def falls_short(self) -> bool:
        """Whether the answer says less than it could."""
        return bool(self.unknown or self.without or self.as_text)

    @property
    def changes(self) -> bool:
        """Whether it changes the real answer."""
        return bool(self.truncate is not None or self.pad or self.trickle or self.add_headers)


class Faults:
    """The faults that wait, oldest first.

    Args:
        changed: Called whenever they have changed.
    """

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        self._waiting: list[Fault] = []
        self._changed = changed

    def add(self, fault: Fault) -> None:
        """Queue a fault behind those for the same path."""
        self._waiting.append(fault)
        self._changed()

    def clear(self) -> None:
        """Delete all faults."""
        self._waiting.clear()
        self._changed()

    def list(self) -> list[Fault]:
        """Return the faults that wait, with the times left."""
        return [*self._waiting]

    def find(self, path: str) -> Fault | None:
        """Return the fault for the next request to ``path``, and leave it there."""
        return next((fault for fault in self._waiting if fault.path == path), None)

    def use(self, fault: Fault) -> None:
        """Use a fault once, and remove it after the last time."""
        if fault.times is None or fault not in self._waiting:
            return
        fault.times -= 1
        if not fault.times:
            self._waiting = [other for other in self._waiting if other is not fault]
        self._changed()


class FaultMiddleware:
    """Applies to each request the first fault that waits for its path."""

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self.app = app
        self.faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the fault says, or as the application does."""
        fault = self.faults.find(name_path(scope)) if scope["type"] == "http" else None
        if fault is None:
            await self.app(scope, receive, send)
            return
        if fault.refuse is not None:
            scope["sandbox.refuse"] = fault
        else:
            scope["sandbox.fault"] = fault
            self.faults.use(fault)
        if fault.delay:
            await asyncio.sleep(fault.delay)
        if fault.drop or fault.hang or fault.answers:
            await self._fail(fault, scope, receive, send)
        elif fault.changes:
            await self.app(scope, receive, _change(send, fault))
        else:
            await self.app(scope, receive, send)

    async def _fail(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        if fault.after:
            await self.app(scope, receive, _discard)
        else:
            await skip_body(receive)
        if fault.hang:
            await wait_until_closed(receive)
        if fault.drop or fault.hang:
            await drop_connection(receive, send)
        else:
            await _build_answer(fault)(scope, receive, send)


def name_path(scope: Scope) -> str:
    """Return which of a fault's paths a request is for, ``""`` for none."""
    path = scope["path"]
    if path.endswith("/events") and path.startswith("/v"):
        return "events"
    if path.endswith("/dataset_quality"):
        return "quality"
    if path in ("/tr", "/tr/"):
        return "tr"
    if path.endswith("/fbevents.js"):
        return "fbevents"
    if path.startswith("/v1/"):
        return "segment"
    return "config" if path.startswith("/signals/config/") else ""


async def wait_until_closed(receive: Receive, seconds: float | None = None) -> bool:
    """Return ``True`` once the client has left or uvicorn wants to stop, ``False`` after a time.

    uvicorn waits for open requests before it stops, without telling them; but it marks the
    connection of each as not to be kept, which is what is looked at here. The body must have been
    read to its end.
    """
    waited = 0.0
    connection = getattr(receive, "__self__", None)
    message = asyncio.ensure_future(receive())
    try:
        while seconds is None or waited < seconds:
            done, _ = await asyncio.wait([message], timeout=POLL)
            waited += POLL
            if done or getattr(connection, "keep_alive", True) is False:
                return True
        return False
    finally:
        message.cancel()


async def drop_connection(receive: Receive, send: Send) -> None:
    """Cut the TCP connection without an answer.

    ASGI has no word for this. Under uvicorn ``receive`` is a method of the object that holds the
    transport; under another server an answer that stops short has to do.
    """
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    if transport is None:
        head = [(b"content-length", b"1000")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})
        return
    transport.abort()
    await receive()


async def skip_body(receive: Receive) -> None:
    """Read a request's body to its end."""
    while (await receive()).get("more_body"):
        pass


async def _discard(message: Message) -> None:
    """Take a message and send nothing."""


def _build_answer(fault: Fault) -> Response:
    status = fault.status or (200 if fault.body is not None else 500)
    default = DEFAULT_BODIES.get(fault.path, b"")
    if fault.code is not None:
        refusal = Refusal(code=fault.code, message=_CODES.get(fault.code, "Refused on demand"))
        status = fault.status or refusal.status
        default = msgspec.json.encode(refusal.to_json("sandbox-fault"))
    body = default if fault.body is None else fault.body.encode()
    headers = {
        "content-type": "application/json" if default else "text/plain",
        "access-control-allow-origin": "*",
        **{name.lower(): value for name, value in fault.headers.items()},
    }
    return Response(body, status, headers)


def _change(send: Send, fault: Fault) -> Send:
    """Return a ``send`` that passes an answer as ``fault`` changes it, with the right length."""
    start: Message = {}
    body = bytearray()

    async def change(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
            return
        body.extend(message.get("body", b""))
        if message.get("more_body"):
            return
        changed = bytes(body[: fault.truncate]) + b" " * fault.pad
        start["headers"] = [
            (name, str(len(changed)).encode() if name.lower() == b"content-length" else value)
            for name, value in start["headers"]
        ] + [
            (k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in fault.add_headers.items()
        ]
        await send(start)
        await _send_body(send, changed, fault.trickle)

    return change


async def _send_body(send: Send, body: bytes, trickle: float) -> None:
    """Send ``body``, at once or one byte every ``trickle`` seconds; a client that left ends it."""
    if trickle:
        for byte in body:
            await send({"type": "http.response.body", "body": bytes([byte]), "more_body": True})
            await asyncio.sleep(trickle)
        body = b""
    await send({"type": "http.response.body", "body": body})
