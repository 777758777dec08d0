"""Our paths: the script itself, the identity of a visitor, consent, collect and twins, and health.

Nothing that stands in a request body is an identifier: who the visitor is comes from the signed
session alone. No answer but the script's may be kept by a cache.
"""

from __future__ import annotations

import logging
import math
import re
import time
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from bridge.browser.reports import (
    MAX_AGE_MS,
    MAX_BODY,
    MAX_EVENTS,
    Ack,
    BrowserEvent,
    Chosen,
    Refusal,
    Report,
    decode_body,
    decode_events,
    fit_properties,
)
from bridge.browser.script_cookies import Twin, read_twin
from bridge.browser.words import CopyState
from bridge.core import Bridge
from bridge.delivery.health import Health
from bridge.errors import InvalidEventError, OutboxError
from bridge.events.event import is_event_id, is_event_name
from bridge.visitor.visitor import Visitor

SCRIPT_MAX_AGE = 300  # seconds, of an address that does not change with the script
VERSION_MAX_AGE = 31_536_000  # seconds, of one that does

_VERSIONED = re.compile(r"/bridge\.([0-9a-f]{16})\.js")
_METHODS = {
    "/bridge.js": "GET, HEAD",
    "/identity": "GET, HEAD",
    "/twin": "GET, HEAD",
    "/health": "GET, HEAD",
    "/collect": "POST",
    "/consent": "POST",
}
_SHARED = frozenset({"/identity", "/twin", "/collect", "/consent"})  # with allowed origins

logger = logging.getLogger("bridge.endpoints")

_Body = TypeVar("_Body", Chosen, Report)


class Endpoints:
    """The paths below the prefix, as one ASGI app.

    Args:
        bridge: Whose endpoints they are.
    """

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        names = [each.name for each in bridge.destinations]
        self._health = Health(bridge.outbox, names, bridge._metrics.browser)

    async def __call__(self, scope: Scope, receive: Receive, send: Send, path: str) -> None:
        """Answer the request for ``path``, which is relative to the prefix."""
        request = Request(scope, receive)
        response = await self._answer(request, path)
        if path in _SHARED and request.method != "OPTIONS":
            origin = request.headers.get("origin")
            response.headers.update(self._bridge._origins.build_headers(origin))
        if request.method == "HEAD":
            response.body = b""  # its length stays told
        await response(scope, receive, send)

    async def _answer(self, request: Request, path: str) -> Response:
        versioned = _VERSIONED.fullmatch(path)
        methods = _METHODS["/bridge.js"] if versioned else _METHODS.get(path)
        if methods is None:
            return _refuse(404, "no such path")
        if request.method == "OPTIONS":
            return self._allow(request, path, methods)
        if request.method not in methods.split(", "):
            return _refuse(405, f"{request.method} is not for this path", allow=methods)
        match path:
            case "/identity":
                return self._tell_identity(request)
            case "/twin":
                return await self._tell_twin(request)
            case "/health":
                return await self._tell_health()
            case "/collect":
                return await self._collect(request)
            case "/consent":
                return await self._choose(request)
            case _:
                return self._serve_script(request, versioned.group(1) if versioned else None)

    def _allow(self, request: Request, path: str, methods: str) -> Response:
        """Answer a browser that asks whether it may, and anybody who asks what there is."""
        headers = {"allow": methods, "cache-control": "no-store"}
        if path in _SHARED and "access-control-request-method" in request.headers:
            origin = request.headers.get("origin")
            allowed = self._bridge._origins.build_preflight(origin, methods)
            if not allowed:
                return _refuse(403, "this origin is not among allowed_origins")
            headers |= allowed
        return Response(status_code=204, headers=headers)

    # What is told

    def _serve_script(self, request: Request, version: str | None) -> Response:
        script = self._bridge._script
        zipped = _accepts_gzip(request.headers.get("accept-encoding", ""))
        etag = f'"{script.version}{"-gzip" if zipped else ""}"'
        kept = f"public, max-age={SCRIPT_MAX_AGE}"
        if version == script.version:
            kept = f"public, max-age={VERSION_MAX_AGE}, immutable"
        headers = {
            "etag": etag,
            "cache-control": kept,
            "vary": "Accept-Encoding",
            "x-content-type-options": "nosniff",
            "access-control-allow-origin": "*",
            "cross-origin-resource-policy": "cross-origin",
        }
        if _is_known(etag, request.headers.get("if-none-match", "")):
            return Response(status_code=304, headers=headers)
        if zipped:
            headers["content-encoding"] = "gzip"
        content = script.zipped if zipped else script.content
        return Response(content, media_type="text/javascript", headers=headers)

    def _tell_identity(self, request: Request) -> Response:
        """Answer what the readable cookie would say, for pages that came from a shared cache."""
        return _tell(request.scope["bridge"].page_settings)

    async def _tell_twin(self, request: Request) -> Response:
        """Answer a twin that was too large for its cookie, to its own visitor alone."""
        visitor: Visitor = request.scope["bridge"]
        refused = self._refuse_others(request) or self._limit(visitor, 1)
        if refused is not None:
            return refused
        name, event_id = (request.query_params.get(key, "") for key in ("n", "i"))
        if not is_event_name(name) or not is_event_id(event_id):
            return _refuse(400, "expected ?n= with an event's name and &i= with its id")
        try:
            twin = await self._find_twin(name, event_id, visitor)
        except OutboxError as error:
            logger.error("twin: %s", error)
            return _refuse(503, "cannot read now, try again later")
        return _refuse(404, "no such event waits") if twin is None else _tell(twin)

    async def _find_twin(self, name: str, event_id: str, visitor: Visitor) -> Twin | None:
        bridge = self._bridge
        if visitor.skip_reason is not None:
            return None
        delivery = await bridge.outbox.find(name, event_id)
        if delivery is None:
            return None
        by_name = {destination.name: destination for destination in bridge.destinations}
        destination = by_name.get(delivery.destination)
        catalog = bridge._enricher._catalog
        copy = destination.read_copy(delivery.body, catalog) if destination else None
        return read_twin(copy, visitor.identity.external_ids) if copy else None

    async def _tell_health(self) -> Response:
        """Answer a readiness probe: 200, or 503 if the outbox cannot be read."""
        report = await self._health.read()
        return _tell(report, 503 if report.status == "failing" else 200)

    # What is taken

    async def _choose(self, request: Request) -> Response:
        """Keep the visitor's choice, and answer as identity does."""
        visitor: Visitor = request.scope["bridge"]
        chosen = await self._read_json(request, Chosen)
        if isinstance(chosen, Response):
            return chosen
        if chosen.url:
            visitor.capture.land(chosen.url.encode("utf-8", "replace"))
        visitor.set_consent(chosen.state)
        return self._tell_identity(request)

    async def _collect(self, request: Request) -> Response:
        """Store events born in the browser, release the ones it acknowledges."""
        visitor: Visitor = request.scope["bridge"]
        report = await self._read_json(request, Report)
        if isinstance(report, Response):
            return report
        if len(report.events) > MAX_EVENTS or len(report.acks) > MAX_EVENTS:
            return _refuse(400, f"expected at most {MAX_EVENTS} events and {MAX_EVENTS} acks")
        limited = self._limit(visitor, len(report.events) + len(report.acks))
        if limited is not None:
            return limited
        events, refusals = decode_events(report.events)
        try:
            stored = await self._store(events, refusals, visitor)
            await self._release(report.acks, visitor)
        except OutboxError as error:
            logger.error("collect: %s", error)
            return _refuse(503, "cannot store now, try again later")
        refused = [refusal._asdict() for refusal in refusals]
        return _tell({"stored": stored, "refused": refused})

    async def _store(
        self, events: list[BrowserEvent], refusals: list[Refusal], visitor: Visitor
    ) -> list[str]:
        """Return the ids of what is stored; the others are added to ``refusals``."""
        stored: list[str] = []
        for event in events:
            try:
                self._bridge._event_names.check(event.event_name)
                fields = _build_fields(event, visitor)
                await self._take(fields, visitor, event.state)
            except InvalidEventError as error:
                refusals.append(Refusal(event.event_id, str(error)))
            else:
                stored.append(event.event_id)
        return stored

    async def _release(self, acks: list[Ack], visitor: Visitor) -> None:
        for ack in acks:
            outbox = self._bridge.outbox
            if await outbox.release(ack.event_name, ack.event_id, time.time()):
                self._bridge._sender.wake()
            if visitor.skip_reason is None:
                self._count_copy(ack.state)

    async def _take(
        self, fields: dict[str, Any], visitor: Visitor, state: CopyState | None
    ) -> None:
        """Store an event whose browser copy the script has fired already.

        Args:
            fields: Keys of a server event, none of them an identifier of the visitor.
            visitor: Who caused it.
            state: What became of the browser copy; counted once, however often it is reported.

        Raises:
            InvalidEventError: Meta would refuse it.
            OutboxError: It could not be stored; the script keeps it and tries again.
        """
        bridge = self._bridge
        event, told = bridge._enricher.complete(fields, visitor, now=time.time(), is_fired=True)
        if bridge._skips(event, visitor):
            return
        if await bridge._intake.put(event, told, hold=0.0) and state:
            self._count_copy(state)
        bridge._sender.wake()

    def _count_copy(self, state: CopyState) -> None:
        """Count what became of one browser copy."""
        self._bridge.counters[f"browser.{state}"] += 1
        self._bridge._metrics.browser.note(state)

    # Who may

    def _refuse_others(self, request: Request) -> Response | None:
        """Return the refusal of another site's page, unless its origin is allowed."""
        visitor: Visitor = request.scope["bridge"]
        if not visitor.capture.is_cross_site:
            return None
        if request.headers.get("origin") in self._bridge._origins:
            return None
        return _refuse(403, "requests from other sites are refused")

    def _limit(self, visitor: Visitor, cost: int) -> Response | None:
        """Return the refusal of a visitor, or of an address, that asks too much."""
        session = visitor.identity.anonymous_id if visitor.has_session else None
        address = visitor.capture.connection.client_ip
        wait = self._bridge._limits.take(session, address, cost, time.monotonic())
        if not wait:
            return None
        self._bridge.counters["limited_requests"] += 1
        refusal = _refuse(429, "too many events, try again later")
        refusal.headers["retry-after"] = str(math.ceil(wait))
        return refusal

    async def _read_json(self, request: Request, kind: type[_Body]) -> _Body | Response:
        """Return the body as ``kind``, or the refusal: of our own pages' scripts, JSON, 64 KiB."""
        refused = self._refuse_others(request) or self._limit(request.scope["bridge"], 1)
        if refused is not None:
            return refused
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            return _refuse(415, "expected Content-Type: application/json")
        body = await _read_body(request)
        if body is None:
            return _refuse(413, f"expected at most {MAX_BODY} bytes")
        try:
            return decode_body(body, kind)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            return _refuse(400, str(error)[:200])


def _build_fields(event: BrowserEvent, visitor: Visitor) -> dict[str, Any]:
    """Return the server event's fields; what the browser says of the page is checked first."""
    capture = visitor.capture
    return {
        "event_name": event.event_name,
        "event_id": event.event_id,
        "event_time": int(time.time() - min(max(event.age_ms, 0), MAX_AGE_MS) / 1000),
        "custom_data": fit_properties(
            event.custom_data, is_purchase=event.event_name == "Purchase"
        ),
        "event_source_url": capture.clean_own_url((event.url or "").encode("utf-8", "replace")),
        "referrer_url": capture.clean_url((event.referrer or "").encode("utf-8", "replace")),
    }


async def _read_body(request: Request) -> bytes | None:
    """Return the body, or ``None`` as soon as it is, or says to be, over 64 KiB."""
    told = request.headers.get("content-length", "")
    if told.isdecimal() and (len(told) > 9 or int(told) > MAX_BODY):
        return None
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                return None
    except ClientDisconnect:
        return None  # nobody hears the refusal
    return body


def _accepts_gzip(header: str) -> bool:
    """Return whether ``Accept-Encoding`` has gzip, and not as what must not come (``q=0``)."""
    for item in header.lower().split(","):
        coding, _, quality = item.replace(" ", "").partition(";q=")
        if coding == "gzip":
            return quality.strip("0.") != "" or not quality
    return False


def _is_known(etag: str, header: str) -> bool:
    """Return whether ``If-None-Match`` names ``etag``."""
    known = (item.strip().removeprefix("W/") for item in header.split(","))
    return header.strip() == "*" or etag in known


def _tell(value: object, status: int = 200) -> Response:
    """Return ``value`` as JSON that nobody keeps."""
    return Response(
        msgspec.json.encode(value),
        status,
        media_type="application/json",
        headers={"cache-control": "no-store", "x-content-type-options": "nosniff"},
    )


def _refuse(status: int, reason: str, *, allow: str | None = None) -> Response:
    response = _tell({"error": reason}, status)
    if allow is not None:
        response.headers["allow"] = allow
    return response
