from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from bridge import BridgeMiddleware
from tests.frameworks import shop


async def landing(request: Request) -> Response:
    return HTMLResponse(await shop.show_landing())


async def cart(request: Request) -> Response:
    await shop.add_to_cart()
    return Response()


async def login(request: Request) -> Response:
    shop.log_in()
    return RedirectResponse("/", 303)


async def orders(request: Request) -> Response:
    await shop.place_order()
    return RedirectResponse("/thanks", 303)


async def thanks(request: Request) -> Response:
    return HTMLResponse(shop.build_page("Thanks"))


async def webhook(request: Request) -> Response:
    await shop.note_payment()
    return Response()


app = Starlette(
    routes=[
        Route("/", landing),
        Route("/cart", cart, methods=["POST"]),
        Route("/login", login, methods=["POST"]),
        Route("/orders", orders, methods=["POST"]),
        Route("/thanks", thanks),
        Route("/webhook", webhook, methods=["POST"]),
    ]
)
app.add_middleware(BridgeMiddleware, bridge=shop.bridge)
app.add_middleware(shop.Turns)
