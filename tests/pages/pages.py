"""A shop's pages for one scenario each. Run by uvicorn.

The HTML of ``?page=NAME`` was put to ``/shelf/NAME``; a short one stands in the query, as ``html``.
``/faults`` makes collect fail, ``/reports`` lists the reports that collect got, and its answers.
"""

from __future__ import annotations

import os
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bridge import Bridge, BridgeMiddleware, current_visitor, identify, logout, track
from bridge.destinations import Meta
from bridge.visitor.consent import Consent
from tests.servers import ROOT

PIXELS = os.environ["PAGES_PIXELS"].split(",")
SANDBOX = os.environ["PAGES_SANDBOX"]

faults: list[dict[str, Any]] = []
reports: list[dict[str, Any]] = []
shelf: dict[str, str] = {}

bridge = Bridge(
    "a key of thirty-two characters or more",
    [Meta(pixel_id, "sandbox-token", graph_url=SANDBOX) for pixel_id in PIXELS],
    pixel_script_url=os.environ.get("PAGES_LIBRARY", f"{SANDBOX}/en_US/fbevents.js"),
    allowed_origins=os.environ.get("PAGES_ORIGINS", "").split(),
    outbox=os.environ["PAGES_OUTBOX"],
    consent=Consent(
        default="pending" if "PAGES_ASKS" in os.environ else "granted",
        cookie=os.environ.get("PAGES_BANNER"),
    ),
    advanced_matching="PAGES_MATCHING" in os.environ,
    browser_hold=float(os.environ["PAGES_HOLD"]),
    custom_events="*",
    follow_segment=True,
)


async def put_page(request: Request) -> Response:
    shelf[request.path_params["name"]] = (await request.body()).decode()
    return Response(status_code=204)


async def show_page(request: Request) -> Response:
    query = request.query_params
    headers = msgspec.json.decode(query.get("headers", "{}"))
    html = shelf[query["page"]] if "page" in query else query.get("html", "")
    return HTMLResponse(html, headers=headers)


async def take_order(request: Request) -> Response:
    """Track what the query says: by itself, or on each of ``hops`` redirects.

    ``uncertain`` sends the twin as if the event's transaction might be rolled back.
    """
    query = request.query_params
    hops = int(query.get("hops", "0"))
    properties = {"value": 5, "currency": "EUR", **msgspec.json.decode(query.get("data", "{}"))}
    await track("Purchase", properties, event_id=f"{query['id']}-{hops}")
    if "uncertain" in query:
        visitor = current_visitor()
        visitor.twins[:] = [
            msgspec.structs.replace(
                twin, question=visitor.visits.questions.sign(twin.event_name, twin.event_id)
            )
            for twin in visitor.twins
        ]
    if "hops" not in query:
        return JSONResponse({"ok": True})
    to = query["to"] if not hops else str(request.url.include_query_params(hops=hops - 1))
    return RedirectResponse(to, 303)


async def pay(request: Request) -> Response:
    """What a payment provider's webhook leads to, before the buyer returns."""
    visitor = bridge.unseal(current_visitor().seal())
    properties = {"value": 5, "currency": "EUR"}
    await track("Purchase", properties, event_id=request.query_params["id"], visitor=visitor)
    return Response(status_code=204)


async def log_in(request: Request) -> Response:
    identify(request.query_params["user"])
    return HTMLResponse("hello")


async def log_out(_: Request) -> Response:
    logout()
    return HTMLResponse("bye")


async def add_fault(request: Request) -> Response:
    faults[:] = await request.json()
    return Response(status_code=204)


async def list_reports(request: Request) -> Response:
    return JSONResponse(reports)


async def give_htmx(request: Request) -> Response:
    return FileResponse(ROOT / "node_modules/htmx.org/dist/htmx.min.js")


async def give_analytics(request: Request) -> Response:
    folder = ROOT / "node_modules/@segment/analytics-next/dist/umd"
    return FileResponse(folder / request.path_params["file"])


class Collect:
    """Makes collect fail on demand, and keeps the reports it gets."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/_bridge/collect":
            return await self.app(scope, receive, send)
        body = b""
        status = 0

        async def hear() -> Message:
            nonlocal body
            message = await receive()
            body += message.get("body", b"")
            return message

        async def tell(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        if faults:
            await Request(scope, hear).body()
            await Response(**faults.pop(0))(scope, hear, tell)
        else:
            await self.app(scope, hear, tell)
        reports.append({"status": status, **msgspec.json.decode(body)})
        return None


pages = Starlette(
    routes=[
        Route("/pay", pay),
        Route("/order", take_order, methods=["GET", "POST"]),
        Route("/shelf/{name}", put_page, methods=["PUT"]),
        Route("/log-in", log_in),
        Route("/log-out", log_out),
        Route("/faults", add_fault, methods=["PUT"]),
        Route("/reports", list_reports),
        Route("/htmx.js", give_htmx),
        Route("/ajs/{file}", give_analytics),
        Route("/{path:path}", show_page),
    ]
)
app = Collect(BridgeMiddleware(pages, bridge=bridge))
