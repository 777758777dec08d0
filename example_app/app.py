"""The shop's pages, and the places where they report to Bridge what happened."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path
from typing import Any, get_args

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

from bridge import (
    Bridge,
    BridgeMiddleware,
    InvalidTokenError,
    Visitor,
    current_visitor,
    identify,
    logout,
    track,
)
from bridge.browser.words import ConsentChoice
from example_app import provider
from example_app.cart import MAX_QUANTITY, Cart, Line
from example_app.catalog import CATALOG, Product
from example_app.forms import (
    read_choice,
    read_country,
    read_email,
    read_form,
    read_product,
    read_quantity,
    read_text,
)
from example_app.provider import SIGNATURE_HEADER, Payment
from example_app.settings import Settings

HERE = Path(__file__).parent
KEPT_ORDERS = 3  # a cookie is small


def read_cart(request: Request) -> Cart:
    """Return what is in this visitor's cart."""
    return Cart.of(request.session.get("cart", {}))


def read_page_context(request: Request) -> dict[str, Any]:
    """Return what the frame of every page shows."""
    return {
        "cart": read_cart(request),
        "customer": request.session.get("customer"),
        "notice": request.session.pop("notice", None),
        "bridge": request.app.state.bridge,
        "sandbox_url": request.app.state.settings.sandbox_url,
        "max_quantity": MAX_QUANTITY,
        "asks_consent": current_visitor().consent == "pending",
    }


templates = Jinja2Templates(HERE / "templates", context_processors=[read_page_context])
templates.env.filters["euro"] = lambda amount: f"€{amount:.2f}"


def set_quantity(request: Request, product: Product, quantity: int) -> None:
    """Put ``quantity`` of a product into the cart, in place of those it held."""
    quantities = {**request.session.get("cart", {}), product.id: min(quantity, MAX_QUANTITY)}
    request.session["cart"] = {id_: n for id_, n in quantities.items() if n}


def add_to_cart(request: Request, product: Product, quantity: int) -> None:
    """Put ``quantity`` more of a product into the cart."""
    set_quantity(request, product, request.session.get("cart", {}).get(product.id, 0) + quantity)


def go_to(path: str) -> Response:
    """Answer a form: the browser opens ``path``; a reload does not send the form again."""
    return RedirectResponse(path, status_code=303)


def go_back(request: Request) -> Response:
    """Answer a form that is on every page: the browser stays on its page."""
    page = request.headers.get("referer", "")
    return go_to(page if page.startswith(str(request.base_url)) else "/")


async def home(request: Request) -> Response:
    """Show the shelf."""
    return templates.TemplateResponse(request, "home.html", {"products": CATALOG.values()})


async def show_product(request: Request) -> Response:
    """Show one product; the page itself reports ``ViewContent``."""
    product = CATALOG.get(request.path_params["product_id"])
    if product is None:
        raise HTTPException(404, "We do not sell that, at least not yet.")
    properties = Cart((Line(product, 1),)).properties
    context = {"product": product, "properties": properties}
    return templates.TemplateResponse(request, "product.html", context)


async def show_cart(request: Request) -> Response:
    """Show the cart."""
    return templates.TemplateResponse(request, "cart.html")


async def add_from_page(request: Request) -> Response:
    """Take the product page's form; ``shop.js`` reported ``AddToCart`` when it was sent."""
    form = await read_form(request)
    add_to_cart(request, read_product(form), read_quantity(form))
    return go_to("/cart")


async def quick_add(request: Request) -> Response:
    """Take an "Add" button, from a script or a plain form, and report ``AddToCart``."""
    product = read_product(await read_form(request))
    add_to_cart(request, product, 1)
    await track("AddToCart", Cart((Line(product, 1),)).properties)
    if wants_json(request):
        return JSONResponse({"product_id": product.id, "count": read_cart(request).count})
    return go_to("/cart")


async def change_line(request: Request) -> Response:
    """Set how many of a product the cart holds; 0 takes it out."""
    form = await read_form(request)
    set_quantity(request, read_product(form), read_quantity(form, least=0))
    return go_to("/cart")


async def checkout(request: Request) -> Response:
    """Show the order form; the page itself reports ``InitiateCheckout``.

    The order gets its id here, so that a form sent twice makes one order.
    """
    cart = read_cart(request)
    if not cart.lines:
        return go_to("/cart")
    order_id = request.session.setdefault("checkout", f"A-{secrets.token_hex(4).upper()}")
    properties = {**cart.properties, "num_items": cart.count}
    context = {"order_id": order_id, "properties": properties}
    return templates.TemplateResponse(request, "checkout.html", context)


async def place_order(request: Request) -> Response:
    """Take an order, and report ``Purchase`` under the order's own id.

    An order paid by card is a purchase only when the provider says so: see ``take_payment``.
    """
    form = await read_form(request)
    order_id = read_text(form, "order_id")
    orders = request.session.get("orders", {})
    if order_id in orders:
        return go_to(f"/orders/{order_id}")
    cart = read_cart(request)
    if order_id != request.session.get("checkout") or not cart.lines:
        return go_to("/checkout")

    paid_by = read_choice(form, "payment", ("delivery", "card"))
    first_name, _, last_name = read_text(form, "name").partition(" ")
    identify(
        email=read_email(form),
        first_name=first_name,
        last_name=last_name,
        city=read_text(form, "city"),
        zip=read_text(form, "zip"),
        country=read_country(form),
    )
    if paid_by == "card":
        page = start_payment(request, order_id, cart)
    else:
        await track_purchase(order_id, cart)
        page = f"/orders/{order_id}"

    kept = list({**orders, order_id: request.session["cart"]}.items())[-KEPT_ORDERS:]
    request.session.update(orders=dict(kept), cart={})
    del request.session["checkout"]
    return go_to(page)


async def track_purchase(order_id: str, cart: Cart, visitor: Visitor | None = None) -> None:
    """Report the ``Purchase`` of ``visitor``, or of the current one."""
    properties = {**cart.properties, "num_items": cart.count, "order_id": order_id}
    await track("Purchase", properties, event_id=order_id, visitor=visitor)


def start_payment(request: Request, order_id: str, cart: Cart) -> str:
    """Start the payment of an order, and return the provider's page for it.

    The provider's webhook comes without the visitor's cookies, so the payment carries the visitor.
    """
    metadata = {
        "order_id": order_id,
        "cart": msgspec.json.encode(cart.quantities).decode(),
        "visitor": current_visitor().seal(),
    }
    payment: Payment = request.app.state.fake_pay.start(
        cart.total, metadata=metadata, return_url=f"/orders/{order_id}"
    )
    return payment.url


async def take_payment(request: Request) -> Response:
    """Take the provider's notice that an order is paid, and report its visitor's ``Purchase``.

    A second call changes nothing: the event has the order's id.
    """
    body = await request.body()
    signature = request.headers.get(SIGNATURE_HEADER, "")
    if not request.app.state.fake_pay.is_signed(body, signature):
        return JSONResponse({"error": "not signed by the provider"}, status_code=401)
    metadata = msgspec.json.decode(body)["metadata"]
    try:
        visitor = request.app.state.bridge.unseal(metadata.get("visitor"))
    except InvalidTokenError as error:
        return JSONResponse({"error": str(error)}, status_code=400)
    cart = Cart.of(msgspec.json.decode(metadata["cart"]))
    await track_purchase(metadata["order_id"], cart, visitor)
    return JSONResponse({"tracked": visitor.skip_reason is None})


async def show_order(request: Request) -> Response:
    """Say thank you, once there is nothing left to pay.

    The script fires the browser's copy of the ``Purchase`` on this page by itself.
    """
    order_id = request.path_params["order_id"]
    quantities = request.session.get("orders", {}).get(order_id)
    if quantities is None:
        raise HTTPException(404, "We know no such order, at least not in this browser.")
    payment: Payment | None = request.app.state.fake_pay.find_of_order(order_id)
    if payment is not None and not payment.is_paid:
        return go_to(payment.url)
    context = {"order_id": order_id, "order": Cart.of(quantities)}
    return templates.TemplateResponse(request, "order.html", context)


async def show_login(request: Request) -> Response:
    """Show the login form."""
    return templates.TemplateResponse(request, "login.html")


async def log_in(request: Request) -> Response:
    """Log a customer in: from here on, every event carries the customer's id."""
    email = read_email(await read_form(request))
    customer = f"customer-{hashlib.sha256(email.lower().encode()).hexdigest()[:8]}"
    identify(customer, email=email)
    request.session.update(customer=customer, notice="Welcome back. Good to see you again.")
    return go_to("/")


async def log_out(request: Request) -> Response:
    """Log the customer out: the next visitor of this browser is somebody else."""
    logout()
    request.session.pop("customer", None)
    request.session["notice"] = "You are logged out."
    return go_to("/")


async def subscribe(request: Request) -> Response:
    """Take a newsletter subscription, and report ``Lead``."""
    identify(email=read_email(await read_form(request)))
    await track("Lead", {"content_name": "Newsletter"})
    request.session["notice"] = "Thank you. The next letter is yours."
    return go_back(request)


async def choose_privacy(request: Request) -> Response:
    """Keep a visitor's choice; ``shop.js`` does the same without leaving the page."""
    form = await read_form(request)
    current_visitor().set_consent(read_choice(form, "choice", get_args(ConsentChoice)))
    return go_back(request)


def wants_json(request: Request) -> bool:
    """Return whether the request comes from a script, not from a browser that opens a page."""
    return "application/json" in request.headers.get("accept", "")


async def show_error(request: Request, error: Exception) -> Response:
    """Show what went wrong, as a page or as JSON."""
    if not isinstance(error, HTTPException):
        raise error
    status, headers = error.status_code, error.headers
    if wants_json(request):
        return JSONResponse({"error": error.detail}, status_code=status, headers=headers)
    context = {"status": status, "detail": error.detail}
    return templates.TemplateResponse(request, "error.html", context, status, headers)


routes = [
    Route("/", home),
    Route("/products/{product_id}", show_product),
    Route("/cart", show_cart),
    Route("/cart", add_from_page, methods=["POST"]),
    Route("/cart/items", quick_add, methods=["POST"]),
    Route("/cart/lines", change_line, methods=["POST"]),
    Route("/checkout", checkout),
    Route("/orders", place_order, methods=["POST"]),
    Route("/orders/{order_id}", show_order),
    Route("/login", show_login),
    Route("/login", log_in, methods=["POST"]),
    Route("/logout", log_out, methods=["POST"]),
    Route("/newsletter", subscribe, methods=["POST"]),
    Route("/privacy", choose_privacy, methods=["POST"]),
    Route("/webhooks/payment", take_payment, methods=["POST"]),
    *provider.routes,
    Mount("/static", StaticFiles(directory=HERE / "static")),
]


def create_app(settings: Settings) -> Starlette:
    """Return the shop, with Bridge in front of it."""
    bridge = Bridge.from_env(settings.bridge)
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(BridgeMiddleware, bridge=bridge),
            Middleware(
                SessionMiddleware,
                secret_key=settings.bridge["BRIDGE_SECRET_KEY"],
                session_cookie="shop",
            ),
        ],
        exception_handlers={HTTPException: show_error},
    )
    app.state.bridge = bridge
    app.state.settings = settings
    app.state.fake_pay = provider.FakePay()
    return app
