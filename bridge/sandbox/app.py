"""The sandbox as an ASGI application: Meta's and Segment's addresses, and an events page."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bridge.sandbox.bodies import parse_form
from bridge.sandbox.copies import build_server_copy, parse_hit
from bridge.sandbox.faults import Fault, FaultMiddleware, Faults
from bridge.sandbox.graph import MAX_BODY_BYTES, Accepted, judge, parse_body
from bridge.sandbox.guard import GuardMiddleware
from bridge.sandbox.ledger import MAX_ACTIONS, Ledger
from bridge.sandbox.quality import Shortfall, answer_quality
from bridge.sandbox.refusal import Refusal
from bridge.sandbox.report import Search
from bridge.sandbox.segment import BATCHES, MAX_BATCH_BYTES, TYPES
from bridge.sandbox.segment_source import Source
from bridge.sandbox.stream import VersionStream

DEFAULT_PIXEL_ID = "1234567890123456"
DEFAULT_ACCESS_TOKEN = "sandbox-token"  # noqa: S105  (not a secret: it only opens the sandbox)
DEFAULT_WRITE_KEY = "sandbox-write-key"
MAX_HIT_BYTES = 1024 * 1024  # of a hit's body

_GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")


class Sandbox:
    """The state behind the routes: who may send, what arrived, what has to fail."""

    def __init__(
        self, pixel_ids: Sequence[str], access_token: str, write_key: str, shop: str = ""
    ) -> None:
        self.shop = shop
        self.pixel_ids = tuple(pixel_ids)
        self.access_token = access_token
        self.ledger = Ledger()
        self.source = Source(write_key, self.pixel_ids, self.ledger)
        self.faults = Faults(self.ledger.touch)
        self.refused_ids: set[Any] = set()  # on demand

    async def receive_events(self, request: Request) -> Response:
        """Accept or refuse a batch of server events, as Meta's Graph API does."""
        now = time.time()
        params = parse_body(
            request.headers.get("content-type", ""),
            request.headers.get("content-encoding", ""),
            await _read_body(request, MAX_BODY_BYTES),
        )
        pixel_id = request.path_params["pixel_id"]
        verdict = self._refuse_on_demand(request, self._judge(request, params, now))
        trace_id = "A" + secrets.token_urlsafe(16)
        if isinstance(verdict, Refusal):
            events = params.get("data") if isinstance(params, dict) else None
            refused = events if isinstance(events, list) else []
            self.ledger.add_request(pixel_id, refused, verdict, now)
            return _json(verdict.to_json(trace_id), verdict.status)
        for event, warnings in zip(verdict.events, verdict.warnings, strict=True):
            self.ledger.add(build_server_copy(pixel_id, event, warnings, now))
        self.ledger.add_request(pixel_id, verdict.events, None, now)
        return _json(
            {"events_received": len(verdict.events), "messages": [], "fbtrace_id": trace_id}
        )

    def _judge(
        self, request: Request, params: dict[str, Any] | Refusal, now: float
    ) -> Accepted | Refusal:
        if isinstance(params, Refusal):
            return params
        query = request.query_params
        proof = {key: query[key] for key in ("appsecret_proof",) if key in query}
        return judge(
            request.path_params["version"],
            request.path_params["pixel_id"],
            {**proof, **params},
            _read_token(request, params),
            pixel_ids=self.pixel_ids,
            access_token=self.access_token,
            now=now,
        )

    def _refuse_on_demand(
        self, request: Request, verdict: Accepted | Refusal
    ) -> Accepted | Refusal:
        fault: Fault | None = request.scope.get("sandbox.refuse")
        if isinstance(verdict, Refusal):
            return verdict
        for index, event in enumerate(verdict.events):
            event_id = event.get("event_id")
            is_asked = fault is not None and fault.refuse in (index, event_id)
            if is_asked or (event_id is not None and event_id in self.refused_ids):
                if fault is not None and is_asked:
                    self.faults.use(fault)
                    if fault.lasting:  # a batch is split until the event stands alone
                        self.refused_ids.add(event_id)
                field = f"data[{index}]"
                return Refusal(message=f"Param {field} is refused on demand", field=field)
        return verdict

    async def show_quality(self, request: Request) -> Response:
        """Answer with the figures of a dataset, as Meta's Dataset Quality API does."""
        fault: Fault | None = request.scope.get("sandbox.fault")
        shortfall = Shortfall()
        if fault is not None:
            shortfall = Shortfall(
                unknown=frozenset(fault.unknown),
                without=frozenset(fault.without),
                as_text=fault.as_text,
            )
        answer = answer_quality(
            request.path_params["version"],
            request.query_params,
            _read_token(request, {}),
            self.ledger.list_actions(),
            pixel_ids=self.pixel_ids,
            access_token=self.access_token,
            shortfall=shortfall,
        )
        if isinstance(answer, Refusal):
            return _json(answer.to_json("A" + secrets.token_urlsafe(16)), answer.status)
        return _json(answer)

    async def receive_messages(self, request: Request) -> Response:
        """Accept one message or a batch of them, as Segment's HTTP Tracking API does."""
        body = await _read_body(request, MAX_BATCH_BYTES)
        path = request.url.path.rpartition("/")[2]
        refusal = self.source.receive(path, request.headers, body, time.time())
        if refusal is not None:
            return _json({"success": False, "code": "bad_request", "message": refusal}, 400)
        return _json({"success": True})

    async def receive_hit(self, request: Request) -> Response:
        """Record a pixel's hit and always answer with an image."""
        params = dict(request.query_params)
        if request.method == "POST":
            body = await _read_body(request, MAX_HIT_BYTES)
            try:
                params |= parse_form(request.headers.get("content-type", ""), body)
            except ValueError:
                self.ledger.count("malformed_hits")
        if request.method in ("GET", "POST") and params:
            client_ip = request.client.host if request.client else None
            copy = parse_hit(
                params, request.method, request.headers, time.time(), client_ip=client_ip
            )
            if copy is None:
                self.ledger.count("malformed_hits")
            else:
                self.ledger.add(copy, known=copy.pixel_id in self.pixel_ids)
        origin = request.headers.get("origin", "*")
        headers = {
            "cache-control": "no-store, no-cache, must-revalidate",
            "access-control-allow-origin": origin,
            "access-control-allow-credentials": "true",
            "access-control-allow-headers": "content-type",
            "cross-origin-resource-policy": "cross-origin",
            "vary": "origin",
        }
        return Response(_GIF, media_type="image/gif", headers=headers)

    async def send_file(self, request: Request) -> Response:
        """Answer with one of the sandbox's own files, read from disk at each call."""
        name, media_type = _FILES.get(request.url.path, _CONFIG)
        body = await run_in_threadpool((_STATIC / name).read_bytes)
        headers = {
            "cache-control": "no-cache",
            "cross-origin-resource-policy": "cross-origin",
            "x-content-type-options": "nosniff",
        }
        if media_type == "text/html":
            headers["content-security-policy"] = _POLICY
        return Response(body, media_type=media_type, headers=headers)

    async def list_events(self, request: Request) -> Response:
        """Answer with what arrived and is searched for, newest first."""
        try:
            search = msgspec.convert(dict(request.query_params), Search, strict=False)
        except msgspec.ValidationError as error:
            return _json({"error": str(error)}, 400)
        report = self.ledger.report(
            _read_number(request, "limit", MAX_ACTIONS),
            offset=_read_number(request, "offset", 0),
            search=search,
        )
        known_token = DEFAULT_ACCESS_TOKEN if self.access_token == DEFAULT_ACCESS_TOKEN else None
        return _json(
            {
                **report,
                "pixel_ids": self.pixel_ids,
                "access_token": known_token,  # another one may be somebody's real one
                "faults": self.faults.list(),
                "shop": self.shop,
            }
        )

    async def reset(self, request: Request) -> Response:
        """Delete what arrived, and all faults."""
        self.ledger.reset()
        self._clear_faults()
        return _json({"ok": True})

    def _clear_faults(self) -> None:
        self.faults.clear()
        self.refused_ids.clear()

    async def stream(self, request: Request) -> Response:
        """Answer with a stream that announces each change."""
        return VersionStream(self.ledger)

    async def change_faults(self, request: Request) -> Response:
        """Queue a fault, or delete all; answer with those that wait."""
        if request.method == "DELETE":
            self._clear_faults()
        if request.method == "POST":
            try:
                fault = msgspec.json.decode(await _read_body(request, MAX_HIT_BYTES), type=Fault)
            except msgspec.DecodeError as error:
                return _json({"error": str(error)}, 400)
            self.faults.add(fault)
        return _json({"faults": self.faults.list()}, 201 if request.method == "POST" else 200)


# A wheel carries ``static`` as ``bridge/static``; an editable install, next to ``bridge``.
_PACKAGE = Path(__file__).resolve().parent.parent
_WHEEL = _PACKAGE / "static"
_STATIC = _WHEEL if _WHEEL.exists() else _PACKAGE.parent / "static"
_SCRIPTS = ("page", "rows", "refused", "segment", "faults", "tour")  # the page's own
_PARTS = ("elements", "filters", "files", "identifiers", "json", "live")  # both pages'
_FILES = {
    "/": ("sandbox/index.html", "text/html"),
    "/parts/page.css": ("parts/page.css", "text/css"),
    "/parts/icon.svg": ("parts/icon.svg", "image/svg+xml"),
    **{f"/page/{name}.js": (f"sandbox/{name}.js", "text/javascript") for name in _SCRIPTS},
    **{f"/parts/{name}.js": (f"parts/{name}.js", "text/javascript") for name in _PARTS},
    "/en_US/fbevents.js": ("sandbox/fbevents.js", "text/javascript"),
}
_CONFIG = ("sandbox/config.js", "text/javascript")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def create_app(
    *,
    pixel_ids: Sequence[str] = (DEFAULT_PIXEL_ID,),
    access_token: str = DEFAULT_ACCESS_TOKEN,
    write_key: str = DEFAULT_WRITE_KEY,
    hosts: Sequence[str] = (),
    shop: str = "",
) -> Starlette:
    """Return the sandbox as an ASGI application.

    Args:
        pixel_ids: The pixels that exist in it, one or more; Segment's messages go to the first.
        access_token: The token that may write to them.
        write_key: The write key of the only Segment source.
        hosts: Names of its machine that ``Host`` may have; see ``GuardMiddleware``.
        shop: Where the app is whose events these are, for the page's tour.
    """
    sandbox = Sandbox(pixel_ids, access_token, write_key, shop)
    calls = [f"/v1/{call}" for call in (*TYPES, *BATCHES)]
    return Starlette(
        routes=[
            *(Route(path, sandbox.send_file) for path in _FILES),
            Route("/signals/config/{pixel_id}", sandbox.send_file),
            Route("/tr", sandbox.receive_hit, methods=["GET", "POST", "OPTIONS"]),
            Route("/tr/", sandbox.receive_hit, methods=["GET", "POST", "OPTIONS"]),
            Route("/api/events", sandbox.list_events, methods=["GET"]),
            Route("/api/events", sandbox.reset, methods=["DELETE"]),
            Route("/api/stream", sandbox.stream),
            Route("/api/faults", sandbox.change_faults, methods=["GET", "POST", "DELETE"]),
            *(Route(path, sandbox.receive_messages, methods=["POST"]) for path in calls),
            Route("/{version}/dataset_quality", sandbox.show_quality, methods=["GET"]),
            Route("/{version}/{pixel_id}/events", sandbox.receive_events, methods=["POST"]),
        ],
        middleware=[
            Middleware(GuardMiddleware, hosts=hosts),
            Middleware(FaultMiddleware, faults=sandbox.faults),
        ],
    )


def _read_number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, "")
    return int(text) if text.isdecimal() and len(text) < 6 else default


async def _read_body(request: Request, limit: int) -> bytes:
    """Return the body; empty if it is longer than ``limit`` bytes."""
    body = bytearray()
    async for chunk in request.stream():
        if len(body) <= limit:
            body += chunk
    return bytes(body) if len(body) <= limit else b""


def _read_token(request: Request, params: dict[str, Any]) -> str | None:
    """Return the caller's token: from query, body or header, whichever has one.

    Source: Meta, "Using the API" for query and form field; JSON body and Bearer header worked live.
    """
    token = request.query_params.get("access_token") or params.get("access_token")
    if isinstance(token, str):
        return token
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" else None


def _json(content: Any, status: int = 200) -> Response:
    return Response(
        msgspec.json.encode(content),
        status_code=status,
        media_type="application/json",
        headers={"cache-control": "no-store"},
    )
