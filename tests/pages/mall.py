"""Two shops in one app, on hosts of one domain and below paths of one host."""

from __future__ import annotations

import os

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from bridge import BridgeMiddleware, Shop, Shops, track
from bridge.destinations import Meta
from bridge.sandbox import DEFAULT_ACCESS_TOKEN

SANDBOX = os.environ["SANDBOX"]
PIXELS = {"a": "1234567890123456", "b": "9876543210987654"}
MONEY = {"value": 24, "currency": "EUR"}


def find_shop(connection: HTTPConnection) -> str | None:
    host, path = connection.url.hostname or "", connection.url.path
    if host.startswith("mall."):
        name = path.split("/")[1]
        return f"mall-{name}" if name in PIXELS else None
    return host.partition(".")[0]


def load_shop(name: str) -> Shop | None:
    place, _, letter = name.rpartition("-")
    if letter not in PIXELS:
        return None
    meta = Meta(PIXELS[letter], DEFAULT_ACCESS_TOKEN, graph_url=SANDBOX)
    return Shop([meta], path=f"/{letter}") if place else Shop([meta])


shops = Shops(
    "a secret key of the tests, 32 bytes long",
    load_shop,
    find=find_shop,
    outbox=os.environ["OUTBOX"],
    browser_hold=600,
    pixel_script_url=f"{SANDBOX}/en_US/fbevents.js",
)


async def show(request: Request) -> Response:
    buy = '<form method="post"><button id="buy">Buy</button></form>'
    return HTMLResponse(f"<!doctype html><title>Shop</title>{shops.script_tag()}{buy}")


async def buy(request: Request) -> Response:
    await track("Purchase", MONEY, event_id="order-1")  # each shop has an order of this number
    return RedirectResponse(request.url.path, 303)


PATHS = ("/", "/a/", "/b/")
routes = [Route(path, each, methods=[method]) for path in PATHS for each, method in
          ((show, "GET"), (buy, "POST"))]  # fmt: skip
app = BridgeMiddleware(Starlette(routes=routes), bridge=shops)
