"""What the script talks to: the script itself, the identity of a visitor, consent, and collect.

Nothing that stands in a request body is an identifier: who the visitor is comes from the signed
session alone.
"""

from __future__ import annotations

import hashlib
import logging
import time
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from bridge.consent import Choice
from bridge.core import PIXEL_SCRIPT_URL, Bridge
from bridge.errors import InvalidEventError, OutboxError
from bridge.visitor import Visitor

MAX_BODY = 65_536  # bytes; what browsers allow all keepalive requests in flight together
MAX_EVENTS = 50  # of one request, and as many acknowledgements
MAX_AGE_MS = 48 * 3600 * 1000  # how long the script keeps an event it could not send
SCRIPT_MAX_AGE = 600  # seconds

logger = logging.getLogger("bridge.browser")


class _BrowserEvent(msgspec.Struct, forbid_unknown_fields=True):
    """An event born in the browser; its browser copy is fired already."""

    event_name: str
    event_id: str
    custom_data: dict[str, Any] = {}
    url: str | None = None
    referrer: str | None = None
    age_ms: int = 0  # since it happened, by the browser's clock; its time of day is not trusted


class _Ack(msgspec.Struct, forbid_unknown_fields=True):
    """What became of the browser copy of a server-born event."""

    event_name: str
    event_id: str
    state: Literal["sent", "blocked", "unknown"]


class _Chosen(msgspec.Struct, forbid_unknown_fields=True):
    """The body of consent: the visitor's choice, and where the visitor landed before it."""

    state: Choice
    url: str | None = None
    referrer: str | None = None


class _Report(msgspec.Struct, forbid_unknown_fields=True):
    """The body of collect."""

    events: list[msgspec.Raw] = []
    acks: list[_Ack] = []


_Body = TypeVar("_Body", "_Chosen", "_Report")


def _read_script() -> bytes:
    """Return ``bridge.js``, from the wheel or from the source tree."""
    package = Path(__file__).parent
    shipped = package / "static" / "bridge.js"
    return (shipped if shipped.exists() else package.parent / "static" / "bridge.js").read_bytes()


# Read from disk here, since the first use is on the event loop.
SCRIPT = _read_script()


class Endpoints:
    """The paths below the prefix, as one ASGI app.

    Args:
        bridge: Whose endpoints they are.
    """

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        # Written into the script: a cookie could be set by any subdomain, and would name a script.
        self._script = SCRIPT.replace(PIXEL_SCRIPT_URL.encode(), bridge.pixel_script_url.encode())
        self._etag = f'"{hashlib.sha256(self._script).hexdigest()[:16]}"'

    async def __call__(self, scope: Scope, receive: Receive, send: Send, path: str) -> None:
        """Answer the request for ``path``, which is relative to the prefix."""
        request = Request(scope, receive)
        reading = request.method in ("GET", "HEAD")
        match path:
            case "/bridge.js" if reading:
                response = self._serve_script(request)
            case "/identity" if reading:
                response = self._tell_identity(request)
            case "/collect" if request.method == "POST":
                response = await self._collect(request)
            case "/consent" if request.method == "POST":
                response = await self._choose(request)
            case "/bridge.js" | "/identity" | "/collect" | "/consent":
                response = _refuse(405, f"{request.method} is not for this path")
            case _:
                response = _refuse(404, "no such path")
        await response(scope, receive, send)

    def _serve_script(self, request: Request) -> Response:
        headers = {
            "etag": self._etag,
            "cache-control": f"public, max-age={SCRIPT_MAX_AGE}",
            "x-content-type-options": "nosniff",
        }
        if self._etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(self._script, media_type="text/javascript", headers=headers)

    def _tell_identity(self, request: Request) -> Response:
        """Answer what the readable cookie would say, for pages that came from a shared cache."""
        settings = self._bridge.build_page_settings(request.scope["bridge"])
        return Response(
            msgspec.json.encode(settings),
            media_type="application/json",
            headers={"cache-control": "no-store"},
        )

    async def _choose(self, request: Request) -> Response:
        """Keep the visitor's choice, and answer as identity does."""
        visitor: Visitor = request.scope["bridge"]
        chosen = await _read_json(request, _Chosen)
        if isinstance(chosen, Response):
            return chosen
        if chosen.url:
            visitor.capture.land(chosen.url.encode("utf-8", "replace"))
        visitor.set_consent(chosen.state)
        return self._tell_identity(request)

    async def _collect(self, request: Request) -> Response:
        """Store events born in the browser, release the ones it acknowledges."""
        report = await _read_json(request, _Report)
        if isinstance(report, Response):
            return report
        if len(report.events) > MAX_EVENTS or len(report.acks) > MAX_EVENTS:
            return _refuse(400, f"expected at most {MAX_EVENTS} events and {MAX_EVENTS} acks")
        events, malformed = _decode_events(report.events)
        if malformed and not events:
            return _refuse(400, malformed[0])
        try:
            return await self._take(events, malformed, report.acks, request.scope["bridge"])
        except OutboxError as error:
            logger.error("collect: %s", error)
            return _refuse(503, "cannot store now, try again later")

    async def _take(
        self,
        events: list[_BrowserEvent],
        malformed: list[str],
        acks: list[_Ack],
        visitor: Visitor,
    ) -> Response:
        stored: list[str] = []
        refused = [{"event_id": "", "reason": reason} for reason in malformed]
        for event in events:
            try:
                await self._bridge.collect(_build_fields(event, visitor), visitor)
            except InvalidEventError as error:
                refused.append({"event_id": event.event_id, "reason": str(error)})
            else:
                stored.append(event.event_id)
        for ack in acks:
            await self._bridge.release(ack.event_name, ack.event_id)
        return JSONResponse(
            {"stored": stored, "refused": refused}, headers={"cache-control": "no-store"}
        )


def _decode_events(raws: list[msgspec.Raw]) -> tuple[list[_BrowserEvent], list[str]]:
    """Return the events, and why others are none: one malformed event costs no other."""
    events: list[_BrowserEvent] = []
    malformed: list[str] = []
    for raw in raws:
        try:
            events.append(msgspec.json.decode(raw, type=_BrowserEvent))
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            malformed.append(str(error)[:200])
    return events, malformed


def _build_fields(event: _BrowserEvent, visitor: Visitor) -> dict[str, Any]:
    """Return the server event's fields; what the browser says of the page is checked first."""
    capture = visitor.capture
    return {
        "event_name": event.event_name,
        "event_id": event.event_id,
        "event_time": int(time.time() - min(max(event.age_ms, 0), MAX_AGE_MS) / 1000),
        "custom_data": event.custom_data,
        "event_source_url": capture.clean_own_url((event.url or "").encode("utf-8", "replace")),
        "referrer_url": capture.clean_url((event.referrer or "").encode("utf-8", "replace")),
    }


async def _read_json(request: Request, kind: type[_Body]) -> _Body | Response:
    """Return the body as ``kind``, or the refusal: of our own pages' scripts, JSON, 64 KiB."""
    visitor: Visitor = request.scope["bridge"]
    if visitor.capture.is_cross_site:
        return _refuse(403, "requests from other sites are refused")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        return _refuse(415, "expected Content-Type: application/json")
    body = await _read_body(request)
    if body is None:
        return _refuse(413, f"expected at most {MAX_BODY} bytes")
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return _refuse(400, str(error)[:200])


async def _read_body(request: Request) -> bytes | None:
    """Return the body, or ``None`` as soon as it is over 64 KiB."""
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                return None
    except ClientDisconnect:
        return None  # nobody hears the refusal
    return body


def _refuse(status: int, reason: str) -> Response:
    return JSONResponse({"error": reason}, status, headers={"cache-control": "no-store"})
