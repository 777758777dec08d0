"""Stripe's recipes as docs/webhooks.md has them; Django is set up as docs/frameworks.md says."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import django
import httpx
import pytest
from django.test import override_settings

from bridge import Bridge
from bridge.browser.script_cookies import TWIN_COOKIE_PREFIX
from bridge.testing import RecordedEvents, recorded
from tests.factories import CLIENT, SECRET, make_client
from tests.frameworks.stripe_stand_in import Stripe, sign
from tests.servers import ROOT

MODULES = ["stripe", "orders", "shop", "shop.asgi", "shop.orders", "shop.tracking", "shop.urls"]
SIGNING = "whsec_of_the_tests"
TOKEN = {"cookie": f"csrftoken={'a' * 32}", "x-csrftoken": "a" * 32}
ORDER = SimpleNamespace(id="A-1", total=59, stripe_price="price_1")


class Shop(NamedTuple):
    app: Any
    bridge: Bridge
    stripe: Stripe


def find_block(page: str, words: str) -> str:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)
    [block] = [block for block in blocks if words in block]
    return str(block)


def run(name: str, code: str) -> ModuleType:
    """Run ``code`` as the module ``name``, which others can import."""
    sys.modules[name] = module = ModuleType(name)
    exec(compile(code, name, "exec", dont_inherit=True), vars(module))
    return module


@contextmanager
def running_fastapi(stripe: Stripe) -> Iterator[Shop]:
    async def create_order(request: Any) -> Any:
        return ORDER

    async def find_order(order_id: str) -> Any:
        return {ORDER.id: ORDER}[order_id]

    orders = run("orders", "def render_thanks(paid): return bridge.script_tag()")
    orders.create_order, orders.find_order = create_order, find_order  # type: ignore[attr-defined]
    shop = run("shop", find_block("webhooks.md", "from fastapi"))
    orders.bridge = shop.bridge  # type: ignore[attr-defined]
    yield Shop(shop.app, shop.bridge, stripe)


@contextmanager
def running_django(stripe: Stripe) -> Iterator[Shop]:
    loader = "django.template.loaders.locmem.Loader"
    templates = {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "OPTIONS": {
            "loaders": [(loader, {"thanks.html": "{{ bridge_tag }}"})],
            "context_processors": ["shop.tracking.bridge_tag"],
        },
    }
    django.setup()
    with override_settings(
        ROOT_URLCONF="shop.urls",
        MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
        TEMPLATES=[templates],
    ):
        run("shop", "")
        tracking = run("shop.tracking", find_block("frameworks.md", "def bridge_tag"))
        orders = run("shop.orders", "")
        orders.create_order = lambda request: ORDER  # type: ignore[attr-defined]
        orders.find_order = {ORDER.id: ORDER}.__getitem__  # type: ignore[attr-defined]
        asgi = run("shop.asgi", find_block("frameworks.md", "get_asgi_application()"))
        run("shop.urls", find_block("webhooks.md", "from django"))
        yield Shop(asgi.application, tracking.bridge, stripe)


@pytest.fixture(params=[running_fastapi, running_django], ids=["fastapi", "django"])
def shop(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shop]:
    for name, value in {
        "BRIDGE_PIXEL_ID": "1234567890123456",
        "BRIDGE_ACCESS_TOKEN": "token",
        "BRIDGE_SECRET_KEY": SECRET,
        "BRIDGE_OUTBOX_URL": f"sqlite:///{tmp_path}/bridge.db",
        "BRIDGE_EXCLUDE_PATHS": "/stripe/webhook",
        "STRIPE_API_KEY": "sk_test",
        "STRIPE_WEBHOOK_SECRET": SIGNING,
        "DJANGO_SETTINGS_MODULE": "tests.frameworks.django_settings",
    }.items():
        monkeypatch.setenv(name, value)
    for name in MODULES:  # afterwards there is none
        monkeypatch.delitem(sys.modules, name, raising=False)
    sys.modules["stripe"] = stripe = Stripe()
    with request.param(stripe) as shop:
        yield shop


@pytest.fixture
def events(shop: Shop) -> Iterator[RecordedEvents]:
    with recorded(shop.bridge) as events:
        yield events


async def start_payment(buyer: httpx.AsyncClient, shop: Shop) -> str:
    """The number of the session, which is paid as soon as the buyer is away."""
    response = await buyer.post("/checkout", headers=TOKEN)
    assert response.is_redirect, response.text
    number = response.headers["location"].rpartition("/")[2]
    shop.stripe.sessions[number] |= {
        "payment_status": "paid",
        "customer_details": {"email": "ada@example.com"},
    }
    return str(number)


async def call_webhook(shop: Shop, number: str, secret: str = SIGNING) -> int:
    session = shop.stripe.sessions[number]
    event = {"type": "checkout.session.completed", "data": {"object": session}}
    body = json.dumps(event).encode()
    transport = httpx.ASGITransport(shop.app, client=("3.18.12.63", 443))
    async with httpx.AsyncClient(transport=transport, base_url="http://shop.example.com") as stripe:
        headers = {"stripe-signature": sign(body, secret)}
        return (await stripe.post("/stripe/webhook", content=body, headers=headers)).status_code


async def open_thanks(buyer: httpx.AsyncClient, number: str) -> httpx.Response:
    response = await buyer.get("/thanks", params={"session": number})
    assert response.status_code == 200, response.text
    assert "/_bridge/bridge." in response.text
    return response


@pytest.mark.parametrize("first", ["webhook", "page"])
async def test_order_is_sent_once_and_has_a_browser_copy(
    shop: Shop, events: RecordedEvents, first: str
) -> None:
    async with make_client(shop.app) as buyer:
        number = await start_payment(buyer, shop)
        if first == "webhook":
            assert await call_webhook(shop, number) == 200
            events.assert_tracked("Purchase", event_id="A-1")
            thanks = await open_thanks(buyer, number)
        else:
            thanks = await open_thanks(buyer, number)
            assert await call_webhook(shop, number) == 200
    event = events.assert_tracked("Purchase", event_id="A-1", times=1, value=59)
    assert event.user_data["client_ip_address"] == CLIENT[0]
    assert event.user_data["em"]
    assert [each for each in thanks.cookies if each.startswith(TWIN_COOKIE_PREFIX.decode())]


async def test_webhook_that_stripe_did_not_sign_is_refused(
    shop: Shop, events: RecordedEvents
) -> None:
    async with make_client(shop.app) as buyer:
        number = await start_payment(buyer, shop)
        assert await call_webhook(shop, number, secret="another") == 400
    events.assert_not_tracked()


async def test_webhook_with_a_token_of_other_keys_tracks_nothing(
    shop: Shop, events: RecordedEvents
) -> None:
    async with make_client(shop.app) as buyer:
        number = await start_payment(buyer, shop)
        shop.stripe.sessions[number]["metadata"]["visitor"] += "x"
        assert await call_webhook(shop, number) == 200
    events.assert_not_tracked()


async def test_thank_you_page_of_no_payment_is_not_found(shop: Shop) -> None:
    async with make_client(shop.app) as buyer:
        assert (await buyer.get("/thanks", params={"session": "cs_9"})).status_code == 404
