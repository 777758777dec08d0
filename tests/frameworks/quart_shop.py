from __future__ import annotations

from quart import Quart, redirect
from werkzeug.wrappers import Response

from bridge import BridgeMiddleware
from tests.frameworks import shop

quart = Quart(__name__)


@quart.get("/")
async def landing() -> str:
    return await shop.show_landing()


@quart.post("/cart")
async def cart() -> str:
    await shop.add_to_cart()
    return ""


@quart.post("/login")
async def login() -> Response:
    shop.log_in()
    return redirect("/", 303)


@quart.post("/orders")
def orders() -> Response:
    shop.place_order_sync()
    return redirect("/thanks", 303)


@quart.get("/thanks")
async def thanks() -> str:
    return shop.build_page("Thanks")


@quart.post("/webhook")
async def webhook() -> str:
    await shop.note_payment()
    return ""


app = shop.Turns(BridgeMiddleware(quart, bridge=shop.bridge))
