"""The shop that each framework serves: its pages, and what happens in it.

A framework's module has the routes and nothing else; those of a synchronous one call ``*_sync``.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from bridge import Bridge, Visitor, current_visitor, identify, track, track_sync

bridge = Bridge.from_env()
MONEY = {"value": 24, "currency": "EUR"}
FERN = {"content_ids": ["fern"], "content_type": "product", **MONEY}
FOLDER = Path(os.environ["SHOP_FOLDER"])  # what the workers share

LANDING = """
<button id="add" onclick="fetch('/cart', {method: 'POST'})">Add to cart</button>
<form method="post" action="/login"><button id="log-in">Log in</button></form>
<form method="post" action="/orders"><button id="buy">Buy</button></form>
"""


class Turns:
    """Of several workers none answers twice in a row: it sends the browser to the others.

    Left to themselves all requests of a journey stay with one worker, on one connection.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            (FOLDER / f"{os.getpid()}.worker").touch()
        elif os.environ.get("SHOP_TURNS") and not take_turn():
            time.sleep(0.05)  # noqa: ASYNC251 - another worker is to accept the next connection
            query = scope["query_string"].decode()
            location = scope["path"] + (f"?{query}" if query else "")
            headers = [(b"location", location.encode()), (b"connection", b"close")]
            await send({"type": "http.response.start", "status": 307, "headers": headers})
            await send({"type": "http.response.body"})
            return
        await self.app(scope, receive, send)


def take_turn() -> bool:
    """Return whether another worker had the last turn; the next one is ours then."""
    last, me = FOLDER / "last", str(os.getpid())
    if last.exists() and last.read_text() == me:
        return False
    last.write_text(me)
    return True


def build_page(title: str, body: str = "") -> str:
    """Return a page with the script tag."""
    return f"<!doctype html><title>{title}</title>{bridge.script_tag()}<h1>{title}</h1>{body}"


async def show_landing() -> str:
    await track("ViewContent", FERN)
    return build_page("Shop", LANDING)


def show_landing_sync() -> str:
    track_sync("ViewContent", FERN)
    return build_page("Shop", LANDING)


async def add_to_cart() -> None:
    await track("AddToCart", FERN)


def add_to_cart_sync() -> None:
    track_sync("AddToCart", FERN)


def log_in() -> None:
    identify("customer-42", email="ada@example.com")


def keep_token() -> None:
    """Keep the visitor until the payment provider calls."""
    (FOLDER / "token").write_text(current_visitor().seal())


async def place_order() -> None:
    keep_token()
    await track("Purchase", {**FERN, "order_id": "A-1"}, event_id="A-1")


def place_order_sync() -> None:
    keep_token()
    track_sync("Purchase", {**FERN, "order_id": "A-1"}, event_id="A-1")


def find_buyer() -> Visitor:
    return bridge.unseal((FOLDER / "token").read_text())


async def note_payment() -> None:
    """What a payment provider's webhook leads to."""
    await track("Subscribe", MONEY, event_id="S-1", visitor=find_buyer())


def note_payment_sync() -> None:
    track_sync("Subscribe", MONEY, event_id="S-1", visitor=find_buyer())
