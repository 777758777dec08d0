"""An app that says which address an event of its visitor would carry."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from bridge import Bridge, BridgeMiddleware, enrich


async def show(request: Request) -> JSONResponse:
    return JSONResponse(enrich({"event_name": "Lead"}))


app = BridgeMiddleware(Starlette(routes=[Route("/", show)]), Bridge.from_env())
