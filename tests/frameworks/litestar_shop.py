from __future__ import annotations

from litestar import Litestar, MediaType, get, post
from litestar.response import Redirect

from bridge import BridgeMiddleware
from tests.frameworks import shop


@get("/", media_type=MediaType.HTML)
async def landing() -> str:
    return await shop.show_landing()


@post("/cart")
async def cart() -> None:
    await shop.add_to_cart()


@post("/login")
async def login() -> Redirect:
    shop.log_in()
    return Redirect("/", status_code=303)


@post("/orders", sync_to_thread=True)
def orders() -> Redirect:
    shop.place_order_sync()
    return Redirect("/thanks", status_code=303)


@get("/thanks", media_type=MediaType.HTML)
async def thanks() -> str:
    return shop.build_page("Thanks")


@post("/webhook")
async def webhook() -> None:
    await shop.note_payment()


handlers = [landing, cart, login, orders, thanks, webhook]
app = shop.Turns(BridgeMiddleware(Litestar(handlers), bridge=shop.bridge))
