"""The shop that each framework serves: its pages, and what happens in it.

A framework's module has the routes and nothing else; those of a synchronous one call ``*_sync``.
"""

from __future__ import annotations

from bridge import Bridge, current_visitor, identify, track, track_sync

bridge = Bridge.from_env()
MONEY = {"value": 24, "currency": "EUR"}
FERN = {"content_ids": ["fern"], "content_type": "product", **MONEY}
tokens: list[str] = []  # sealed visitors of orders, as a payment provider would keep them

LANDING = """
<button id="add" onclick="fetch('/cart', {method: 'POST'})">Add to cart</button>
<form method="post" action="/login"><button id="log-in">Log in</button></form>
<form method="post" action="/orders"><button id="buy">Buy</button></form>
"""


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


async def place_order() -> None:
    tokens.append(current_visitor().seal())
    await track("Purchase", {**FERN, "order_id": "A-1"}, event_id="A-1")


def place_order_sync() -> None:
    tokens.append(current_visitor().seal())
    track_sync("Purchase", {**FERN, "order_id": "A-1"}, event_id="A-1")


async def note_payment() -> None:
    """What a payment provider's webhook leads to."""
    visitor = bridge.unseal(tokens[-1])
    await track("Subscribe", MONEY, event_id="S-1", visitor=visitor)


def note_payment_sync() -> None:
    visitor = bridge.unseal(tokens[-1])
    track_sync("Subscribe", MONEY, event_id="S-1", visitor=visitor)
