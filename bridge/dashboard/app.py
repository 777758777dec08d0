"""The dashboard as an ASGI application: its page, what that asks for, and two buttons.

Nothing here decides who may look: put ``Gate`` or ``LocalGuard`` in front of it.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from bridge.dashboard import dead, stored
from bridge.dashboard.guard import SameOrigin
from bridge.dashboard.kept import Kept
from bridge.dashboard.overview import DAY, read_overview, write_day
from bridge.delivery.metrics import Metrics
from bridge.errors import OutboxError
from bridge.outbox.base import FIGURE_DAYS, Outbox

MAX_BODY = 8 * 1024  # bytes
SHOWN = 50  # events on a page
MAX_SHOWN = 4000  # events of one answer, for a file of all that was found

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self';"
    " base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)

AskQuality = Callable[[], Awaitable[dict[str, Any]]]
"""Returns what Meta says of the pixels' quality; see ``docs/dashboard.md``."""

Press = Callable[[Outbox, dead.Chosen], Awaitable[dict[str, Any]]]
"""What a button does to the dead letters that somebody chose."""

logger = logging.getLogger("bridge.dashboard")

# A wheel carries ``static`` as ``bridge/static``; an editable install, next to ``bridge``.
_PACKAGE = Path(__file__).resolve().parent.parent
_WHEEL = _PACKAGE / "static"
_STATIC = _WHEEL if _WHEEL.exists() else _PACKAGE.parent / "static"
_SCRIPTS = ("page", "event", "chart", "overview", "list", "dead", "quality", "server")  # its own
_PARTS = ("elements", "filters", "files", "identifiers", "json", "live")  # the sandbox's, too
_FILES = {
    "/": ("dashboard/index.html", "text/html"),
    "/event": ("dashboard/event.html", "text/html"),
    "/parts/page.css": ("parts/page.css", "text/css"),
    "/parts/icon.svg": ("parts/icon.svg", "image/svg+xml"),
    **{f"/page/{name}.js": (f"dashboard/{name}.js", "text/javascript") for name in _SCRIPTS},
    **{f"/parts/{name}.js": (f"parts/{name}.js", "text/javascript") for name in _PARTS},
}

_Body = TypeVar("_Body")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")

_HEADERS = {
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "same-origin",
}


class _File:
    """An ASGI app that answers with one of the page's files, read from disk at each call."""

    def __init__(self, name: str, media_type: str) -> None:
        self._name = name
        self._media_type = media_type

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await run_in_threadpool((_STATIC / self._name).read_bytes)
        headers = {**_HEADERS, "cache-control": "no-cache"}
        if self._media_type == "text/html":
            headers |= {"content-security-policy": POLICY, "x-frame-options": "DENY"}
        answer = Response(body, media_type=self._media_type, headers=headers)
        await answer(scope, receive, send)


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """Which figures are asked for.

    Attributes:
        days: How many days until today, 1 to 90.
        day: One day instead, as ``2026-11-29``, UTC.
        name: Only this event name.
        destination: Only this destination.
    """

    days: int = 7
    day: str = ""
    name: str = ""
    destination: str = ""


class Dashboard:
    """What the page asks for."""

    def __init__(
        self,
        outbox: Outbox,
        names: Collection[str],
        metrics: Metrics | None,
        ask_quality: AskQuality | None,
    ) -> None:
        self._outbox = outbox
        self._names = tuple(names)
        self._metrics = metrics
        self._ask_quality = ask_quality
        # One each: what is slow delays only its like.
        self._overviews, self._lists, self._groups = Kept(), Kept(), Kept()

    async def show_overview(self, request: Request) -> Response:
        """Answer with figures and states."""
        period = _read_query(request, Period)
        since, until = _read_days(period, int(time.time() // DAY))
        days = period.days if 1 <= period.days <= FIGURE_DAYS else 1

        async def find() -> bytes:
            overview = await read_overview(
                self._outbox,
                self._names,
                since=since,
                until=until,
                event_name=period.name,
                destination=period.destination,
                chart_days=days,
                metrics=self._metrics,
            )
            return msgspec.json.encode(overview)

        question = since, until, period.name, period.destination, days
        return _answer_with(await self._overviews.get(question, find))

    async def list_events(self, request: Request) -> Response:
        """Answer with a page of what waits and of dead letters."""
        period = _read_query(request, Period)
        since, until = _read_days(period, int(time.time() // DAY))
        search = _read_query(request, stored.Search)
        if period.day or request.query_params.get("days"):
            search = msgspec.structs.replace(search, since=write_day(since), until=write_day(until))
        limit = min(_read_number(request, "limit", SHOWN), MAX_SHOWN)
        offset = _read_number(request, "offset", 0)

        async def find() -> bytes:
            page = await stored.list_stored(self._outbox, search, limit=limit, offset=offset)
            return await asyncio.to_thread(msgspec.json.encode, page)

        return _answer_with(await self._lists.get((search, limit, offset), find))

    async def show_event(self, request: Request) -> Response:
        """Answer with all that is stored of one event id."""
        event_id = _read_texts(request).get("id", "")
        if not event_id:
            raise HTTPException(400, "expected ?id= with an event id")
        return _answer(await stored.find_event(self._outbox, event_id))

    async def group_dead(self, request: Request) -> Response:
        """Answer with the dead letters' reasons."""
        wanted = _read_query(request, dead.Wanted)

        async def find() -> bytes:
            return msgspec.json.encode(await dead.group_dead(self._outbox, wanted))

        return _answer_with(await self._groups.get(wanted, find))

    async def retry(self, request: Request) -> Response:
        """Make chosen dead letters due again."""
        return await self._press(request, dead.revive)

    async def delete(self, request: Request) -> Response:
        """Delete chosen dead letters."""
        return await self._press(request, dead.drop)

    async def _press(self, request: Request, act: Press) -> Response:
        chosen = await _read_body(request, dead.Chosen)
        _check_texts([chosen.destination, chosen.event_id, chosen.event_name])
        try:
            return _answer(await act(self._outbox, chosen))
        finally:
            for kept in (self._overviews, self._lists, self._groups):
                kept.forget()

    async def show_quality(self, request: Request) -> Response:
        """Answer with what Meta says, if somebody asks it."""
        if self._ask_quality is None:
            return _answer({"asked": False})
        try:
            return _answer({"asked": True, **await self._ask_quality()})
        except Exception:
            logger.exception("dashboard: Meta's quality")
            return _answer({"asked": True, "error": "Meta could not be asked; the log says why"})


def create_app(
    outbox: Outbox,
    destinations: Collection[str] = (),
    *,
    metrics: Metrics | None = None,
    ask_quality: AskQuality | None = None,
) -> Starlette:
    """Return the dashboard of an outbox; whoever reaches it may see and do all.

    Args:
        outbox: Where deliveries wait and figures are kept.
        destinations: Names of those that the app has; by default, all in the outbox.
        metrics: Those of this process, if it delivers.
        ask_quality: Asks Meta; keep its answer for a while, for the page asks at each load.
    """
    page = Dashboard(outbox, destinations, metrics, ask_quality)
    app = Starlette(
        routes=[
            *(Route(path, _File(*file)) for path, file in _FILES.items()),
            Route("/api/overview", page.show_overview),
            Route("/api/events", page.list_events),
            Route("/api/event", page.show_event),
            Route("/api/dead", page.group_dead),
            Route("/api/dead/retry", page.retry, methods=["POST"]),
            Route("/api/dead/delete", page.delete, methods=["POST"]),
            Route("/api/quality", page.show_quality),
        ],
        middleware=[Middleware(SameOrigin)],
        exception_handlers={HTTPException: _show_error, OutboxError: _show_broken},
    )
    app.router.redirect_slashes = False
    return app


def _read_days(period: Period, today: int) -> tuple[int, int]:
    """Return the first and the last day that is asked for, since 1970."""
    if not period.day:
        if not 1 <= period.days <= FIGURE_DAYS:
            raise HTTPException(400, f"days must be 1 to {FIGURE_DAYS}, got {period.days}")
        return today - period.days + 1, today
    try:
        day = (date.fromisoformat(period.day) - date(1970, 1, 1)).days
    except ValueError:
        raise HTTPException(400, "day must be like 2026-11-29") from None
    if not today - FIGURE_DAYS <= day <= today:
        raise HTTPException(400, f"day must be one of the last {FIGURE_DAYS}")
    return day, day


def _read_query(request: Request, kind: type[_Body]) -> _Body:
    try:
        return msgspec.convert(_read_texts(request), kind, strict=False)
    except msgspec.ValidationError as error:
        raise HTTPException(400, str(error)) from None


def _read_texts(request: Request) -> dict[str, str]:
    """Return the query's parameters."""
    texts = dict(request.query_params)
    _check_texts(texts.values())
    return texts


def _check_texts(texts: Iterable[str]) -> None:
    """Refuse control characters: no name or id has one, and PostgreSQL cannot be asked for NUL."""
    if any(_CONTROL.search(text) for text in texts):
        raise HTTPException(400, "expected no control characters")


def _read_number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, "")
    return int(text) if text.isdecimal() and len(text) < 6 else default


async def _read_body(request: Request, kind: type[_Body]) -> _Body:
    """Return a small JSON body; a form, which any site may send, has another media type."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise HTTPException(415, "expected Content-Type: application/json")
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                raise HTTPException(413, f"expected at most {MAX_BODY} bytes")
    except ClientDisconnect:
        raise HTTPException(400, "the body ended early") from None
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise HTTPException(400, str(error)[:200]) from None


def _answer(value: object, status: int = 200) -> Response:
    return _answer_with(msgspec.json.encode(value), status)


def _answer_with(body: bytes, status: int = 200) -> Response:
    return Response(
        body,
        status,
        {**_HEADERS, "cache-control": "no-store"},
        "application/json",
    )


async def _show_error(request: Request, error: Any) -> Response:
    return _answer({"error": error.detail}, error.status_code)


async def _show_broken(request: Request, error: Exception) -> Response:
    logger.error("dashboard: %s", error)
    return _answer({"error": f"the outbox cannot be read: {error}"}, 503)
