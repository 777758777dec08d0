"""As much of Stripe's library as the recipes of ``docs/webhooks.md`` use.

Objects are no dictionaries, as in ``stripe`` 15 and later, and signatures are checked.

Source: docs.stripe.com/webhooks, "Verify webhook signatures manually", and stripe-python 16.1.0,
``_stripe_object.py``; read 2026-11-30.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from types import ModuleType, SimpleNamespace
from typing import Any


class SignatureVerificationError(Exception):
    """The body is not signed with the secret."""


class InvalidRequestError(Exception):
    """There is no such object."""


class StripeObject:
    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def __getattr__(self, name: str) -> Any:
        if name not in self._values:
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> Any:
        value = self._values[name]
        return StripeObject(value) if isinstance(value, dict) else value

    def __contains__(self, name: str) -> bool:
        return name in self._values


def sign(body: bytes, secret: str) -> str:
    """The header that Stripe sends with ``body``."""
    at = str(int(time.time()))
    code = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256)
    return f"t={at},v1={code.hexdigest()}"


def construct_event(body: bytes, header: str | None, secret: str) -> StripeObject:
    parts = dict(part.split("=") for part in (header or "t=0").split(","))
    code = hmac.new(secret.encode(), f"{parts['t']}.".encode() + body, hashlib.sha256)
    if not hmac.compare_digest(code.hexdigest(), parts.get("v1", "")):
        raise SignatureVerificationError
    return StripeObject(json.loads(body))


class Stripe(ModuleType):
    """The module; and, as ``sessions``, what Stripe's servers keep."""

    def __init__(self) -> None:
        super().__init__("stripe")
        self.SignatureVerificationError = SignatureVerificationError
        self.InvalidRequestError = InvalidRequestError
        self.Webhook = SimpleNamespace(construct_event=construct_event)
        self.checkout = SimpleNamespace(Session=self)
        self.sessions: dict[str, dict[str, Any]] = {}

    def create(self, *, metadata: dict[str, str], **options: Any) -> StripeObject:
        if [len(value) for value in metadata.values() if len(value) > 500]:
            raise InvalidRequestError("metadata: 500 characters at most")
        number = f"cs_{len(self.sessions)}"
        url = f"https://checkout.stripe.com/c/pay/{number}"
        session = {"id": number, "url": url, "payment_status": "unpaid", "metadata": metadata}
        self.sessions[number] = session
        return StripeObject(session)

    def retrieve(self, number: str) -> StripeObject:
        if number not in self.sessions:
            raise InvalidRequestError(number)
        return StripeObject(self.sessions[number])

    async def create_async(self, **options: Any) -> StripeObject:
        return self.create(**options)

    async def retrieve_async(self, number: str) -> StripeObject:
        return self.retrieve(number)
