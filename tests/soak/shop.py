"""The shop of the hour: pages, a fetch, a cart and orders, served by uvicorn as a real one is."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from bridge import Bridge, BridgeMiddleware, identify, track

shop_bridge = Bridge.from_env()

PRICE: dict[str, Any] = {"value": 59.9, "currency": "EUR"}


def show(content: str, status: int = 200) -> Response:
    """Return a page with our script's tag."""
    tag = shop_bridge.script_tag()
    return HTMLResponse(f"<!doctype html><head>{tag}</head><h1>{content}</h1>", status)


async def show_page(request: Request) -> Response:
    return show("Fern & Clay")


async def show_plant(request: Request) -> Response:
    """A page that tracks a ViewContent; 503 if it is lost."""
    return show("A fern", await _track("ViewContent", request))


async def show_stock(request: Request) -> Response:
    return JSONResponse({"left": 7})


async def add(request: Request) -> Response:
    return JSONResponse({}, await _track("AddToCart", request))


async def order(request: Request) -> Response:
    number = request.path_params["number"]
    identify(f"customer-{number}", email=f"ada-{number}@example.com", city="Berlin")
    return show("Thank you", await _track("Purchase", request))


async def _track(name: str, request: Request) -> int:
    """Track the event of the path's number; return the answer's status: 503 if it is lost."""
    number = request.path_params["number"]
    properties = {**PRICE, "content_ids": [f"plant-{number % 50}"], "content_type": "product"}
    event = await track(name, properties, event_id=f"soak-{number}")
    return 200 if event.outcome in ("stored", "spooled") else 503


app = BridgeMiddleware(
    Starlette(
        routes=[
            Route("/", show_page),
            Route("/checkout", show_page),
            Route("/stock", show_stock),
            Route("/plants/{number:int}", show_plant),
            Route("/cart/{number:int}", add, methods=["POST"]),
            Route("/orders/{number:int}", order, methods=["POST"]),
        ]
    ),
    bridge=shop_bridge,
)
