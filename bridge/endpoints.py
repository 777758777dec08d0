"""The paths below the prefix: script, settings, consent, collect, twins, health, dashboard, image.

No request body holds an identifier: the visitor is read from the signed session alone. Caches may
keep no answer but the script.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from bridge.browser.limits import Recent
from bridge.browser.origins import PREFLIGHT_MAX_AGE
from bridge.browser.reports import (
    MAX_AGE_MS,
    MAX_BODY,
    MAX_EVENTS,
    Ack,
    BrowserEvent,
    Choice,
    Refusal,
    Report,
    decode_body,
    decode_events,
)
from bridge.browser.words import CopyState
from bridge.dashboard import Gate, QualityDesk, create_app
from bridge.delivery.health import Health
from bridge.destinations.group import read_browser
from bridge.errors import InvalidEventError, OutboxError
from bridge.events.reader import BROWSER_REPORT
from bridge.randomness import new_uuid
from bridge.site import Site
from bridge.visitor.reported import build_own_data, find_sender
from bridge.visitor.visitor import Visitor

DASHBOARD = "/dashboard"
MAX_ACKNOWLEDGED = 10_000  # acknowledgements by which repeated ones are known
MAX_ON_LOOP = 2048  # bytes of an event that is read on the event loop
# A transparent GIF. Source: CompuServe, "Graphics Interchange Format, Version 89a".
ONE_PIXEL = bytes.fromhex(
    "47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b"
)
SCRIPT_MAX_AGE = 300  # seconds, for the address that stays the same when the script changes
VERSION_MAX_AGE = 31_536_000  # seconds, for the address with the script's hash

logger = logging.getLogger("bridge.endpoints")

_VERSION = re.compile(r"[0-9a-f]{16}")

_Body = TypeVar("_Body", Choice, Report)


class Endpoints:
    """The paths below the prefix, as one ASGI app.

    Args:
        site: The site that these endpoints serve.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        pipeline, names = site._pipeline, site.destinations.names
        self._health = Health(
            pipeline.outbox,
            names,
            lambda: pipeline.delivers,
            pipeline.spool,
            is_alone=not site.destinations.shop,
            snapshot=pipeline.snapshot if site.destinations.shop else None,
        )
        self._app = Starlette(
            routes=[
                Route("/bridge.js", self._serve_script),
                Route("/bridge.{version}.js", self._serve_script),
                Route("/health", self._show_health),
                Route("/view.gif", self._count_view),
                self._share(Route("/identity", self._show_identity)),
                self._share(Route("/twin", self._check_twin)),
                self._share(Route("/consent", self._choose, methods=["POST"])),
                self._share(Route("/collect", self._collect, methods=["POST"])),
            ],
            exception_handlers={HTTPException: _show_error},
        )
        self._app.router.redirect_slashes = False
        self._acknowledged = Recent(MAX_ACKNOWLEDGED)
        self._dashboard: Gate | None = None
        if site._allow_dashboard is not None:
            desk = QualityDesk.of(site.outbox, site.destinations)
            page = create_app(site.outbox, names, metrics=pipeline.metrics, ask_quality=desk)
            self._dashboard = Gate(page, site._allow_dashboard)

    def _share(self, route: Route) -> Route:
        """Return ``route`` as pages of allowed origins may use it, with cookies (CORS)."""
        if not self._site._origins:
            return route
        cors = CORSMiddleware(
            route,
            allow_origins=self._site._origins,
            allow_methods=sorted(route.methods or ()),
            allow_credentials=True,
            expose_headers=["Retry-After"],
            max_age=PREFLIGHT_MAX_AGE,
        )
        return Route(route.path, cors)

    async def __call__(self, scope: Scope, receive: Receive, send: Send, path: str) -> None:
        """Answer the request for ``path``, which is relative to the prefix."""
        if self._dashboard is not None and f"{path}/".startswith(f"{DASHBOARD}/"):
            await self._dashboard(scope, receive, send, path.removeprefix(DASHBOARD))
            return
        # A copy: Starlette writes into its scope, and this one belongs to the app around us.
        await self._app({**scope, "path": path, "root_path": ""}, receive, send)

    # Reading

    async def _serve_script(self, request: Request) -> Response:
        script = self._site._script
        version = request.path_params.get("version")
        if version is not None and not _VERSION.fullmatch(version):
            raise HTTPException(404)
        zipped = _accepts_gzip(request.headers.get("accept-encoding", ""))
        etag = f'"{script.version}{"-gzip" if zipped else ""}"'
        caching = f"public, max-age={SCRIPT_MAX_AGE}"
        if version == script.version:
            caching = f"public, max-age={VERSION_MAX_AGE}, immutable"
        headers = {
            "etag": etag,
            "cache-control": caching,
            "vary": "Accept-Encoding",
            "x-content-type-options": "nosniff",
            "access-control-allow-origin": "*",
            "cross-origin-resource-policy": "cross-origin",
        }
        if _matches(etag, request.headers.get("if-none-match", "")):
            return Response(status_code=304, headers=headers)
        if zipped:
            headers["content-encoding"] = "gzip"
        content = script.zipped if zipped else script.content
        return Response(content, media_type="text/javascript", headers=headers)

    async def _show_identity(self, request: Request) -> Response:
        """Answer what the readable cookie says, for pages that came from a shared cache."""
        return _answer(request.scope["bridge"].page_settings)

    async def _check_twin(self, request: Request) -> Response:
        """Answer 204 if the event of a twin is stored, 404 if not.

        The script asks this for a twin whose event was stored in the app's own transaction, which
        may have been rolled back. The question came with the twin and is signed: nobody can try
        which orders exist.
        """
        visitor: Visitor = request.scope["bridge"]
        self._refuse_other_sites(request)
        self._limit(visitor, 1)
        asked = visitor.visits.questions.read(request.query_params.get("u", ""))
        if asked is None:
            raise HTTPException(400, "expected ?u= as it stands in the twin's cookie")
        try:
            is_stored = await self._site._has(*asked)
        except OutboxError as error:
            logger.error("twin: %s", error)
            raise HTTPException(503, "cannot read now, try again later") from error
        if not is_stored:
            raise HTTPException(404, "no such event is stored")
        return Response(status_code=204, headers={"cache-control": "no-store"})

    async def _show_health(self, request: Request) -> Response:
        """Answer a readiness probe: 200, or 503 if the outbox cannot be read."""
        report = await self._health.read()
        return _answer(report, 503 if report.status == "failing" else 200)

    # Writing

    async def _choose(self, request: Request) -> Response:
        """Keep the visitor's consent, and answer as identity does."""
        visitor: Visitor = request.scope["bridge"]
        choice = await self._read_body(request, Choice)
        if choice.url:
            visitor.capture.land(choice.url.encode("utf-8", "replace"))
        if choice.state == "revoked":
            visitor.revoke()
        else:
            visitor.set_consent(choice.state)
        await self._site._withdraw(visitor)
        return await self._show_identity(request)

    async def _count_view(self, request: Request) -> Response:
        """Store the PageView of a visitor without JavaScript; answer with an image of one pixel."""
        visitor: Visitor = request.scope["bridge"]
        self._refuse_other_sites(request)
        self._limit(visitor, 1)
        if visitor.page_url is not None:
            view = BrowserEvent("PageView", new_uuid(), url=visitor.page_url)
            try:
                await self._store_one(view, visitor)
            except (InvalidEventError, OutboxError) as error:
                logger.error("view.gif: %s", error)
        return Response(ONE_PIXEL, headers={"cache-control": "no-store"}, media_type="image/gif")

    async def _collect(self, request: Request) -> Response:
        """Store events born in the browser, and release those whose browser copy was fired."""
        visitor: Visitor = request.scope["bridge"]
        report = await self._read_body(request, Report)
        if len(report.events) > MAX_EVENTS or len(report.acks) > MAX_EVENTS:
            raise HTTPException(400, f"expected at most {MAX_EVENTS} events and {MAX_EVENTS} acks")
        self._limit(visitor, len(report.events) + len(report.acks))
        events, refusals = decode_events(report.events)
        try:
            stored = await self._store(events, refusals, visitor)
            await self._release(report.acks, visitor)
        except OutboxError as error:
            logger.error("collect: %s", error)
            raise HTTPException(503, "cannot store now, try again later") from error
        refused = [refusal._asdict() for refusal in refusals]
        return _answer({"stored": stored, "refused": refused})

    async def _store(
        self, events: list[BrowserEvent], refusals: list[Refusal], visitor: Visitor
    ) -> list[str]:
        """Return the ids of the events now stored; add the others to ``refusals``."""
        stored: list[str] = []
        for event in events:
            try:
                self._site._event_names.check(event.event_name)
                await self._store_one(event, visitor)
            except InvalidEventError as error:
                refusals.append(Refusal(event.event_id, str(error)))
            else:
                stored.append(event.event_id)
        return stored

    async def _store_one(self, reported: BrowserEvent, visitor: Visitor) -> None:
        """Store an event whose browser copy was already fired.

        What became of the browser copy is counted once, however often it is reported.

        Raises:
            InvalidEventError: Meta would refuse it.
            OutboxError: It could not be stored; the script keeps it and tries again.
        """
        site = self._site
        sender = find_sender(reported, visitor)
        fields = _build_fields(reported, visitor)
        if reported.external_id or reported.user_data:
            fields["user_data"] = build_own_data(
                reported, sender, takes_matching=site._takes_matching
            )
        destinations = site.destinations.pick_pixel(reported.pixel_id)
        complete = partial(
            site._enricher.complete, fields, sender, now=time.time(), entrance=BROWSER_REPORT
        )
        is_long = len(msgspec.json.encode(fields)) > MAX_ON_LOOP
        # A hostile text costs about a millisecond a kilobyte, which no other visitor shall wait.
        event, context = await asyncio.to_thread(complete) if is_long else complete()
        if await site._skips(event, visitor):
            return
        now = time.time()
        context = msgspec.structs.replace(context, from_browser=True)
        deliveries = destinations.build_deliveries(event, context, due=now)
        names = destinations.pixel_names if reported.state else ()
        outcome = await site._pipeline.intake.put(deliveries, now, event=event, copied=names)
        if outcome != "duplicate" and reported.state:
            self._count_copy(names, event.event_name, reported.state)

    async def _release(self, acks: list[Ack], visitor: Visitor) -> None:
        """Let held server copies of this browser go: theirs was fired, or could not be.

        A visitor of whom nothing may be known releases nothing.
        """
        site = self._site
        browser = site.destinations.build_subjects(read_browser(visitor.identity), ())
        for ack in acks:
            key = ack.event_name, ack.event_id
            is_released = await site._release(*key, browser)
            # What was not held any more, or never, is counted if it is known; each once.
            is_first = visitor.skip_reason is None and self._acknowledged.add(key)
            if is_first and (is_released or await site._has(*key)):
                names = site.destinations.pixel_names
                site._pipeline.figures.note_copy(names, ack.event_name, ack.state)
            if visitor.skip_reason is None:
                self._count_copy((), ack.event_name, ack.state)

    def _count_copy(self, destinations: Iterable[str], event_name: str, state: CopyState) -> None:
        self._site.counters[f"browser.{state}"] += 1
        self._site._pipeline.figures.note_copy(destinations, event_name, state)

    # Guards

    def _refuse_other_sites(self, request: Request) -> None:
        """Refuse the page of another site, unless its origin is allowed."""
        visitor: Visitor = request.scope["bridge"]
        allowed = request.headers.get("origin") in self._site._origins
        if visitor.capture.is_cross_site and not allowed:
            raise HTTPException(403, "requests from other sites are refused")

    def _limit(self, visitor: Visitor, cost: int) -> None:
        """Refuse a session, or an address, that asks too often."""
        session = visitor.identity.anonymous_id if visitor.has_session else None
        address = visitor.capture.client_ip
        wait = self._site._limits.take(session, address, cost, time.monotonic())
        if wait:
            self._site.counters["limited_requests"] += 1
            headers = {"retry-after": str(math.ceil(wait))}
            raise HTTPException(429, "too many events, try again later", headers)

    async def _read_body(self, request: Request, kind: type[_Body]) -> _Body:
        """Return the body as ``kind``: JSON of at most 64 KiB, from a page of our own site."""
        self._refuse_other_sites(request)
        self._limit(request.scope["bridge"], 1)
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise HTTPException(415, "expected Content-Type: application/json")
        body = await _read_bytes(request)
        if body is None:
            raise HTTPException(413, f"expected at most {MAX_BODY} bytes")
        try:
            return decode_body(body, kind)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise HTTPException(400, str(error)[:200]) from error


def _build_fields(event: BrowserEvent, visitor: Visitor) -> dict[str, Any]:
    """Return the fields of the server event, with the page's addresses checked."""
    capture = visitor.capture
    fields = {
        "event_name": event.event_name,
        "event_id": event.event_id,
        "event_time": int(time.time() - min(max(event.age_ms, 0), MAX_AGE_MS) / 1000),
        "custom_data": event.custom_data,
        "event_source_url": capture.clean_own_url((event.url or "").encode("utf-8", "replace")),
        "referrer_url": capture.clean_url((event.referrer or "").encode("utf-8", "replace")),
    }
    if event.data_processing_options is not None:
        option, country, state = event.data_processing_options
        fields["data_processing_options"] = [option]
        fields["data_processing_options_country"] = country
        fields["data_processing_options_state"] = state
    return fields


async def _read_bytes(request: Request) -> bytes | None:
    """Return the body, or ``None`` as soon as its length, announced or read, is over 64 KiB."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and (len(announced) > 9 or int(announced) > MAX_BODY):
        return None
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                return None
    except ClientDisconnect:
        return None  # the refusal reaches nobody
    return bytes(body)


def _accepts_gzip(header: str) -> bool:
    """Return whether ``Accept-Encoding`` names gzip, and does not exclude it by ``q=0``."""
    for item in header.lower().split(","):
        coding, _, quality = item.replace(" ", "").partition(";q=")
        if coding == "gzip":
            return quality.strip("0.") != "" or not quality
    return False


def _matches(etag: str, header: str) -> bool:
    """Return whether ``If-None-Match`` names ``etag``."""
    names = (item.strip().removeprefix("W/") for item in header.split(","))
    return header.strip() == "*" or etag in names


def _answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return ``value`` as JSON that no cache keeps."""
    return Response(
        msgspec.json.encode(value),
        status,
        media_type="application/json",
        headers={
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
            **(headers or {}),
        },
    )


async def _show_error(request: Request, error: Any) -> Response:
    """Answer an ``HTTPException``, ours or the router's, as JSON."""
    return _answer({"error": error.detail}, error.status_code, error.headers)
