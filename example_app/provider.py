"""Fake Pay: a payment provider for the demo, which stands for a company of its own.

Its pages have neither the shop's script nor its cookies. It knows the shop's webhook, and about the
visitor only what the shop put into a payment's metadata.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import httpx
import msgspec
from itsdangerous import Signer
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.templating import Jinja2Templates

MAX_METADATA = 500  # characters of one value, as with real providers
KEPT_PAYMENTS = 1000
SIGNATURE_HEADER = "Fake-Pay-Signature"

logger = logging.getLogger("example_app.provider")
templates = Jinja2Templates(Path(__file__).parent / "templates")


@dataclass(slots=True, kw_only=True)
class Payment:
    """One payment.

    Attributes:
        amount: In euros.
        metadata: The shop's own data, such as the order's id; the webhook returns it.
        return_url: Where the visitor goes afterwards.
    """

    id: str
    amount: Decimal
    metadata: Mapping[str, str]
    return_url: str
    is_paid: bool = False

    @property
    def url(self) -> str:
        """Where the visitor pays."""
        return f"/provider/{self.id}"


class FakePay:
    """The provider's side: it starts payments and signs its calls to the shop."""

    def __init__(self) -> None:
        self._signer = Signer(secrets.token_hex(), "fake-pay", digest_method=hashlib.sha256)
        self._payments: dict[str, Payment] = {}

    def start(self, amount: Decimal, *, metadata: Mapping[str, str], return_url: str) -> Payment:
        """Return the payment of an order; a second start returns the same payment."""
        if any(len(value) > MAX_METADATA for value in metadata.values()):
            raise ValueError(f"metadata: expected at most {MAX_METADATA} characters a value")
        known = self.find_of_order(metadata["order_id"])
        if known is not None:
            return known
        id_ = f"pay_{secrets.token_hex(8)}"
        payment = Payment(id=id_, amount=amount, metadata=metadata, return_url=return_url)
        self._payments[id_] = payment
        if len(self._payments) > KEPT_PAYMENTS:
            del self._payments[next(iter(self._payments))]
        return payment

    def find(self, payment_id: str) -> Payment | None:
        """Return a payment by its id."""
        return self._payments.get(payment_id)

    def find_of_order(self, order_id: str) -> Payment | None:
        """Return the payment of an order, if it has one."""
        found = (p for p in self._payments.values() if p.metadata["order_id"] == order_id)
        return next(found, None)

    def sign(self, body: bytes) -> str:
        """Return the signature of a webhook's body."""
        return self._signer.get_signature(body).decode()

    def is_signed(self, body: bytes, signature: str) -> bool:
        """Return whether the provider signed ``body``; a real shop uses the secret they share."""
        return self._signer.verify_signature(body, signature)


async def show_payment(request: Request) -> Response:
    """Show what there is to pay."""
    payment = request.app.state.fake_pay.find(request.path_params["payment_id"])
    if payment is None:
        return PlainTextResponse("Fake Pay knows no such payment.", 404)
    if payment.is_paid:
        return RedirectResponse(payment.return_url, 303)
    return templates.TemplateResponse(request, "fake_pay.html", {"payment": payment})


async def pay(request: Request) -> Response:
    """Take the money, and send the visitor back; the shop gets its webhook in any case."""
    payment = request.app.state.fake_pay.find(request.path_params["payment_id"])
    if payment is None:
        return PlainTextResponse("Fake Pay knows no such payment.", 404)
    payment.is_paid = True
    call = BackgroundTask(call_webhook, request.app, payment)
    return RedirectResponse(payment.return_url, 303, background=call)


async def call_webhook(shop: Starlette, payment: Payment) -> None:
    """Call the shop's webhook for a paid payment, within this process."""
    fake_pay: FakePay = shop.state.fake_pay
    body = msgspec.json.encode({"payment_id": payment.id, "metadata": payment.metadata})
    headers = {"content-type": "application/json", SIGNATURE_HEADER: fake_pay.sign(body)}
    transport = httpx.ASGITransport(shop)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        answer = await client.post("/webhooks/payment", content=body, headers=headers)
    if not answer.is_success:  # a real provider would call again, for days
        logger.error("webhook of %s: the shop answered %s", payment.id, answer.status_code)


routes = [
    Route("/provider/{payment_id}", show_payment),
    Route("/provider/{payment_id}", pay, methods=["POST"]),
]
