"""Flask, which is WSGI, behind either bridge to ASGI."""

from __future__ import annotations

from typing import Any

from a2wsgi import WSGIMiddleware
from asgiref.wsgi import WsgiToAsgi
from flask import Flask, redirect
from werkzeug.wrappers import Response

from bridge import BridgeMiddleware
from tests.frameworks import shop

flask = Flask(__name__)


@flask.get("/")
def landing() -> str:
    return shop.show_landing_sync()


@flask.post("/cart")
def cart() -> str:
    shop.add_to_cart_sync()
    return ""


@flask.post("/login")
def login() -> Response:
    shop.log_in()
    return redirect("/", 303)


@flask.post("/orders")
def orders() -> Response:
    shop.place_order_sync()
    return redirect("/thanks", 303)


@flask.get("/thanks")
def thanks() -> str:
    return shop.build_page("Thanks")


@flask.post("/webhook")
def webhook() -> str:
    shop.note_payment_sync()
    return ""


wsgi: Any = flask  # the two types of an environ differ
app = shop.Turns(BridgeMiddleware(WSGIMiddleware(wsgi), bridge=shop.bridge))
asgiref_app = shop.Turns(BridgeMiddleware(WsgiToAsgi(wsgi), bridge=shop.bridge))  # type: ignore[no-untyped-call]
