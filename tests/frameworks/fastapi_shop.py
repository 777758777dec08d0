"""FastAPI with handlers that are no coroutines: they run in threads."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, RedirectResponse

from bridge import BridgeMiddleware
from tests.frameworks import shop

app = FastAPI()
app.add_middleware(BridgeMiddleware, bridge=shop.bridge)
app.add_middleware(shop.Turns)


@app.get("/", response_class=HTMLResponse)
def landing() -> str:
    return shop.show_landing_sync()


@app.post("/cart")
def cart() -> None:
    shop.add_to_cart_sync()


@app.post("/login")
def login() -> RedirectResponse:
    shop.log_in()
    return RedirectResponse("/", 303)


@app.post("/orders")
def orders() -> RedirectResponse:
    shop.place_order_sync()
    return RedirectResponse("/thanks", 303)


@app.get("/thanks", response_class=HTMLResponse)
def thanks() -> str:
    return shop.build_page("Thanks")


@app.post("/webhook")
def webhook() -> None:
    shop.note_payment_sync()
