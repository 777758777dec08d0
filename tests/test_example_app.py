"""The example shop, page by page and form by form, without its sender."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from blockbuster import BlockBuster
from starlette.applications import Starlette

from bridge import Bridge, ConfigError
from example_app.app import create_app
from example_app.catalog import CATALOG
from example_app.provider import MAX_METADATA, SIGNATURE_HEADER, FakePay, Payment
from example_app.settings import read_settings

ADDRESS = {
    "email": "ada@example.com",
    "name": "Ada Lovelace",
    "zip": "10115",
    "city": "Berlin",
    "country": "DE",
    "payment": "delivery",
}
CARD = {**ADDRESS, "payment": "card"}
JSON = {"accept": "application/json"}


def make_environ(tmp_path: Path, **changes: str) -> dict[str, str]:
    return {
        "BRIDGE_OUTBOX_URL": f"sqlite:///{tmp_path}/bridge.db",
        "BRIDGE_GRAPH_URL": "http://127.0.0.1:9",
        # Nothing answers there, and nothing is held: events are due in the order they came.
        "BRIDGE_RUN_SENDER": "false",
        "BRIDGE_BROWSER_HOLD": "0",
        **changes,
    }


@pytest.fixture(autouse=True)
def files_of_the_app_may_be_read(blockbuster: BlockBuster) -> None:
    """Let Starlette and Jinja read the app's own files on the event loop, as they do."""
    for function in blockbuster.functions.values():
        function.can_block_in("jinja2/loaders.py", {"get_source", "uptodate"})
        function.can_block_in("mimetypes.py", "init")


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Starlette]:
    app = create_app(read_settings(make_environ(tmp_path)))
    yield app
    await app.state.bridge.stop(0)


def open_browser(app: Starlette) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, client=("198.51.100.7", 50000))
    headers = {"user-agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"}
    return httpx.AsyncClient(transport=transport, base_url="http://shop.example", headers=headers)


@pytest.fixture
async def browser(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    async with open_browser(app) as client:
        yield client


@pytest.fixture
async def asking_app(tmp_path: Path) -> AsyncIterator[Starlette]:
    """The shop that keeps and sends nothing about visitors before they consent."""
    app = create_app(read_settings(make_environ(tmp_path, SHOP_CONSENT="ask")))
    yield app
    await app.state.bridge.stop(0)


@pytest.fixture
async def asked(asking_app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    """A browser in front of the shop that asks."""
    async with open_browser(asking_app) as client:
        yield client


async def read_events(app: Starlette) -> list[dict[str, Any]]:
    """Return the stored events, in the order they came, held ones too."""
    bridge: Bridge = app.state.bridge
    in_an_hour = time.time() + 3600
    (meta,) = bridge.destinations
    deliveries = await bridge.outbox.claim(meta.name, 100, now=in_an_hour, lease=1)
    return [msgspec.json.decode(delivery.body) for delivery in deliveries]


async def read_names(app: Starlette) -> list[str]:
    """Return the names of the stored events, in the order they came."""
    return [event["event_name"] for event in await read_events(app)]


async def open_checkout(browser: httpx.AsyncClient) -> str:
    """Put a fern in the cart, go to the checkout, return the order's id."""
    await browser.post("/cart/items", data={"product_id": "boston-fern"}, headers=JSON)
    page = await browser.get("/checkout")
    found = re.search(r'name="order_id" value="(A-[0-9A-F]{8})"', page.text)
    assert found
    return found[1]


async def start_payment(app: Starlette, browser: httpx.AsyncClient) -> Payment:
    """Order a fern by card, return the payment at the provider."""
    order_id = await open_checkout(browser)
    answer = await browser.post("/orders", data={"order_id": order_id, **CARD})
    payment: Payment | None = app.state.fake_pay.find_of_order(order_id)
    assert payment is not None
    assert (answer.status_code, answer.headers["location"]) == (303, f"/provider/{payment.id}")
    return payment


async def call_webhook(
    app: Starlette, metadata: dict[str, str], signature: bytes | None = None
) -> httpx.Response:
    """Call the shop as the provider does: no cookies, from a machine of its own."""
    body = msgspec.json.encode({"payment_id": "pay_1", "metadata": metadata})
    headers = {SIGNATURE_HEADER.encode(): signature or app.state.fake_pay.sign(body).encode()}
    transport = httpx.ASGITransport(app, client=("203.0.113.9", 443))
    async with httpx.AsyncClient(transport=transport, base_url="http://shop.example") as provider:
        return await provider.post("/webhooks/payment", content=body, headers=headers)


def is_shown(page: httpx.Response, id_: str) -> bool:
    found = re.search(rf'<section[^>]*id="{id_}"[^>]*>', page.text)
    assert found
    return "hidden" not in found[0]


@pytest.mark.parametrize("path", ["/", "/cart", "/login", "/products/monstera"])
async def test_page_opens_and_loads_the_script(
    app: Starlette, browser: httpx.AsyncClient, path: str
) -> None:
    page = await browser.get(path)
    assert page.status_code == 200
    assert str(app.state.bridge.script_tag()) in page.text
    assert "http://127.0.0.1:9" in page.text  # the note that leads to the sandbox


async def test_pages_hold_no_inline_script_or_style(browser: httpx.AsyncClient) -> None:
    await open_checkout(browser)
    for path in ("/", "/products/monstera", "/cart", "/checkout", "/login", "/nowhere"):
        page = (await browser.get(path)).text
        assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=", page)


@pytest.mark.parametrize("product_id", CATALOG)
async def test_product_page_says_what_the_browser_reports(
    browser: httpx.AsyncClient, product_id: str
) -> None:
    page = await browser.get(f"/products/{product_id}")
    assert CATALOG[product_id].name in page.text
    found = re.search(r"data-track=\"ViewContent\" data-properties='([^']+)'", page.text)
    assert found
    price = float(CATALOG[product_id].price)
    assert msgspec.json.decode(found[1]) == {
        "value": price,
        "currency": "EUR",
        "content_type": "product",
        "content_ids": [product_id],
        "contents": [{"id": product_id, "quantity": 1, "item_price": price}],
    }
    picture = await browser.get(f"/static/products/{product_id}.svg")
    assert picture.headers["content-type"] == "image/svg+xml"


async def test_product_form_fills_the_cart_and_leaves_the_event_to_the_browser(
    app: Starlette, browser: httpx.AsyncClient
) -> None:
    answer = await browser.post("/cart", data={"product_id": "monstera", "quantity": "2"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/cart")
    assert "€76.00" in (await browser.get("/cart")).text
    assert await read_events(app) == []


async def test_quick_add_answers_json_and_tracks(
    app: Starlette, browser: httpx.AsyncClient
) -> None:
    for count in (1, 2):
        answer = await browser.post("/cart/items", data={"product_id": "monstera"}, headers=JSON)
        assert answer.json() == {"product_id": "monstera", "count": count}
    first, second = await read_events(app)
    assert first["event_name"] == "AddToCart"
    assert first["custom_data"]["value"] == 38.0
    assert first["custom_data"]["content_ids"] == ["monstera"]
    assert first["event_id"] != second["event_id"]


async def test_quick_add_opens_the_cart_without_javascript(browser: httpx.AsyncClient) -> None:
    answer = await browser.post("/cart/items", data={"product_id": "monstera"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/cart")


async def test_cart_holds_ten_of_a_product_at_most(browser: httpx.AsyncClient) -> None:
    for _ in range(3):
        await browser.post("/cart", data={"product_id": "monstera", "quantity": "5"})
    assert "€380.00" in (await browser.get("/cart")).text


async def test_cart_line_changes_and_goes(browser: httpx.AsyncClient) -> None:
    await browser.post("/cart", data={"product_id": "monstera", "quantity": "2"})
    await browser.post("/cart/lines", data={"product_id": "monstera", "quantity": "3"})
    assert "€114.00" in (await browser.get("/cart")).text
    await browser.post("/cart/lines", data={"product_id": "monstera", "quantity": "0"})
    assert "nothing in it yet" in (await browser.get("/cart")).text


async def test_checkout_leads_to_the_cart_when_there_is_nothing_to_buy(
    browser: httpx.AsyncClient,
) -> None:
    assert (await browser.get("/checkout")).headers["location"] == "/cart"


async def test_order_is_tracked_under_its_own_id(
    app: Starlette, browser: httpx.AsyncClient
) -> None:
    order_id = await open_checkout(browser)
    answer = await browser.post("/orders", data={"order_id": order_id, **ADDRESS})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/orders/{order_id}")

    _, purchase = await read_events(app)
    assert (purchase["event_name"], purchase["event_id"]) == ("Purchase", order_id)
    assert purchase["custom_data"] == {
        "value": 24.0,
        "currency": "EUR",
        "content_type": "product",
        "content_ids": ["boston-fern"],
        "contents": [{"id": "boston-fern", "quantity": 1, "item_price": 24.0}],
        "num_items": 1,
        "order_id": order_id,
    }
    assert {"em", "fn", "ln", "ct", "zp", "country"} <= purchase["user_data"].keys()


async def test_thank_you_page_shows_the_order_and_tracks_nothing(
    app: Starlette, browser: httpx.AsyncClient
) -> None:
    order_id = await open_checkout(browser)
    await browser.post("/orders", data={"order_id": order_id, **ADDRESS})
    for _ in range(2):
        page = await browser.get(f"/orders/{order_id}")
        assert order_id in page.text
        assert "€24.00" in page.text
        assert "data-track" not in page.text
    assert len(await read_events(app)) == 2
    assert "nothing in it yet" in (await browser.get("/cart")).text


async def test_order_form_sent_again_is_the_same_order(
    app: Starlette, browser: httpx.AsyncClient
) -> None:
    order_id = await open_checkout(browser)
    assert order_id == await open_checkout(browser)
    before = dict(browser.cookies)
    form = {"order_id": order_id, **ADDRESS}
    first = await browser.post("/orders", data=form)
    again = await browser.post("/orders", data=form)
    browser.cookies.update(before)  # the second click of a double click has the same cookies
    at_once = await browser.post("/orders", data=form)
    places = {answer.headers["location"] for answer in (first, again, at_once)}
    assert places == {f"/orders/{order_id}"}
    assert (await read_names(app)).count("Purchase") == 1


async def test_order_needs_the_id_of_its_own_checkout(
    app: Starlette, browser: httpx.AsyncClient
) -> None:
    await open_checkout(browser)
    answer = await browser.post("/orders", data={"order_id": "A-00000000", **ADDRESS})
    assert answer.headers["location"] == "/checkout"
    assert await read_names(app) == ["AddToCart"]


async def test_order_of_somebody_else_is_not_shown(
    app: Starlette, browser: httpx.AsyncClient
) -> None:
    order_id = await open_checkout(browser)
    await browser.post("/orders", data={"order_id": order_id, **ADDRESS})
    browser.cookies.clear()
    assert (await browser.get(f"/orders/{order_id}")).status_code == 404


async def test_card_payment_tracks_at_the_webhook_for_the_visitor_who_ordered(
    app: Starlette, browser: httpx.AsyncClient
) -> None:
    payment = await start_payment(app, browser)
    visitor = browser.cookies["_fbp"]

    async with open_browser(app) as elsewhere:  # the browser that pays may be another one
        answer = await elsewhere.post(payment.url)
    assert (answer.status_code, answer.headers["location"]) == (303, payment.return_url)

    _, purchase = await read_events(app)
    assert (purchase["event_name"], purchase["event_id"]) == (
        "Purchase",
        payment.metadata["order_id"],
    )
    assert purchase["custom_data"] == {
        "value": 24.0,
        "currency": "EUR",
        "content_type": "product",
        "content_ids": ["boston-fern"],
        "contents": [{"id": "boston-fern", "quantity": 1, "item_price": 24.0}],
        "num_items": 1,
        "order_id": payment.metadata["order_id"],
    }
    assert purchase["user_data"]["fbp"] == visitor
    assert "Firefox" in purchase["user_data"]["client_user_agent"]
    assert {"em", "fn", "ln"} <= purchase["user_data"].keys()
    assert purchase["event_source_url"].startswith("http://shop.example/")
    assert "Thank you" in (await browser.get(payment.return_url)).text


async def test_providers_page_has_neither_script_nor_cookies_of_the_shop(
    app: Starlette, browser: httpx.AsyncClient
) -> None:
    payment = await start_payment(app, browser)
    page = await browser.get(payment.url)
    assert 'id="pay"' in page.text
    assert "24.00" in page.text
    assert "<script" not in page.text
    paid = await browser.post(payment.url)
    assert "set-cookie" not in page.headers
    assert "set-cookie" not in paid.headers


async def test_order_to_be_paid_leads_to_its_payment_until_it_is_paid(
    app: Starlette, browser: httpx.AsyncClient
) -> None:
    payment = await start_payment(app, browser)
    again = await browser.post("/orders", data={"order_id": payment.metadata["order_id"], **CARD})
    assert again.headers["location"] == payment.return_url
    assert (await browser.get(payment.return_url)).headers["location"] == payment.url
    assert await read_names(app) == ["AddToCart"]
    await browser.post(payment.url)
    assert (await browser.get(payment.return_url)).status_code == 200
    assert (await browser.get(payment.url)).headers["location"] == payment.return_url


async def test_double_click_on_a_card_order_is_one_payment(
    app: Starlette, browser: httpx.AsyncClient
) -> None:
    order_id = await open_checkout(browser)
    before = dict(browser.cookies)
    first = await browser.post("/orders", data={"order_id": order_id, **CARD})
    browser.cookies.update(before)
    second = await browser.post("/orders", data={"order_id": order_id, **CARD})
    assert first.headers["location"] == second.headers["location"]


async def test_payment_called_again_is_one_purchase(
    app: Starlette, browser: httpx.AsyncClient
) -> None:
    payment = await start_payment(app, browser)
    for _ in range(2):
        await browser.post(payment.url)
    answer = await call_webhook(app, dict(payment.metadata))
    assert (answer.status_code, answer.json()) == (200, {"tracked": True})
    assert await read_names(app) == ["AddToCart", "Purchase"]


@pytest.mark.parametrize("signature", [b"nonsense", b"\xff", b"A" * 43])
async def test_webhook_believes_only_the_provider(
    app: Starlette, browser: httpx.AsyncClient, signature: bytes
) -> None:
    payment = await start_payment(app, browser)
    answer = await call_webhook(app, dict(payment.metadata), signature)
    assert (answer.status_code, answer.json()) == (401, {"error": "not signed by the provider"})
    assert await read_names(app) == ["AddToCart"]


async def test_webhook_refuses_a_visitor_it_cannot_open(
    app: Starlette, browser: httpx.AsyncClient
) -> None:
    payment = await start_payment(app, browser)
    visitor = "x" + payment.metadata["visitor"]
    answer = await call_webhook(app, {**payment.metadata, "visitor": visitor})
    assert answer.status_code == 400
    assert "signature does not match" in answer.json()["error"]
    assert await read_names(app) == ["AddToCart"]


async def test_webhook_tracks_nothing_of_nobody(
    asking_app: Starlette, asked: httpx.AsyncClient
) -> None:
    payment = await start_payment(asking_app, asked)
    assert (await call_webhook(asking_app, dict(payment.metadata))).json() == {"tracked": False}
    assert (await asked.post(payment.url)).headers["location"] == payment.return_url
    assert await read_names(asking_app) == []


async def test_payment_that_the_shop_refuses_is_logged(
    app: Starlette, browser: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    metadata = {"order_id": "A-1", "cart": "{}", "visitor": "torn"}
    payment = app.state.fake_pay.start(Decimal(1), metadata=metadata, return_url="/orders/A-1")
    assert (await browser.post(payment.url)).status_code == 303
    assert "the shop answered 400" in caplog.text


async def test_unknown_payment_is_not_found(browser: httpx.AsyncClient) -> None:
    for answer in (await browser.get("/provider/pay_0"), await browser.post("/provider/pay_0")):
        assert (answer.status_code, answer.text) == (404, "Fake Pay knows no such payment.")


def test_provider_takes_short_metadata_only() -> None:
    metadata = {"order_id": "A-1", "visitor": "x" * (MAX_METADATA + 1)}
    with pytest.raises(ValueError, match="at most 500 characters"):
        FakePay().start(Decimal(1), metadata=metadata, return_url="/")


async def test_shop_asks_until_the_visitor_chooses(asked: httpx.AsyncClient) -> None:
    page = await asked.get("/")
    assert is_shown(page, "consent")
    assert not asked.cookies
    referer = "http://shop.example/products/monstera"
    answer = await asked.post("/privacy", data={"choice": "denied"}, headers={"referer": referer})
    assert (answer.status_code, answer.headers["location"]) == (303, referer)
    page = await asked.get("/")
    assert not is_shown(page, "consent")
    assert 'id="privacy"' in page.text


@pytest.mark.parametrize(
    ("choice", "names"),
    [("granted", ["Lead"]), ("limited", ["Lead"]), ("denied", [])],
)
async def test_choice_decides_what_is_tracked(
    asking_app: Starlette, asked: httpx.AsyncClient, choice: str, names: list[str]
) -> None:
    await asked.post("/newsletter", data={"email": "ada@example.com"})
    assert await read_names(asking_app) == []
    await asked.post("/privacy", data={"choice": choice})
    assert asked.cookies["_bridge_c"] == choice
    await asked.post("/newsletter", data={"email": "ada@example.com"})
    events = await read_events(asking_app)
    assert [event["event_name"] for event in events] == names
    assert all(("LDU" in str(event)) == (choice == "limited") for event in events)


async def test_shop_that_does_not_ask_lets_visitors_choose_all_the_same(
    browser: httpx.AsyncClient,
) -> None:
    page = await browser.get("/")
    assert not is_shown(page, "consent")
    assert 'id="privacy"' in page.text
    assert "_bridge" in browser.cookies
    await browser.post("/privacy", data={"choice": "denied"})
    assert set(browser.cookies) == {"_bridge_c"}


async def test_log_in_gives_events_the_customers_id(
    app: Starlette, browser: httpx.AsyncClient
) -> None:
    await browser.post("/newsletter", data={"email": "ada@example.com"})
    answer = await browser.post("/login", data={"email": "Ada@Example.com"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "Log out" in (await browser.get("/")).text
    await browser.post("/newsletter", data={"email": "ada@example.com"})
    guest, customer = await read_events(app)
    assert guest["user_data"]["em"] == customer["user_data"]["em"]
    assert guest["user_data"]["external_id"] != customer["user_data"]["external_id"]


async def test_log_out_ends_the_identity(app: Starlette, browser: httpx.AsyncClient) -> None:
    await browser.post("/login", data={"email": "ada@example.com"})
    await browser.post("/newsletter", data={"email": "ada@example.com"})
    await browser.post("/logout")
    assert set(browser.cookies) == {"shop"}
    page = await browser.get("/")
    await browser.post("/cart/items", data={"product_id": "monstera"})
    customer, stranger = (event["user_data"] for event in await read_events(app))
    assert "em" not in stranger
    assert stranger["fbp"] != customer["fbp"]
    assert not set(stranger["external_id"]) & set(customer["external_id"])
    assert "You are logged out." in page.text
    assert "Log in" in page.text


async def test_newsletter_tracks_a_lead_and_returns_to_its_page(
    app: Starlette, browser: httpx.AsyncClient
) -> None:
    page = "http://shop.example/products/monstera"
    answer = await browser.post(
        "/newsletter", data={"email": "ada@example.com"}, headers={"referer": page}
    )
    assert (answer.status_code, answer.headers["location"]) == (303, page)
    (lead,) = await read_events(app)
    assert (lead["event_name"], lead["event_source_url"]) == ("Lead", page)
    assert "The next letter is yours" in (await browser.get("/products/monstera")).text
    assert "The next letter is yours" not in (await browser.get("/products/monstera")).text


@pytest.mark.parametrize(
    "referer", ["http://evil.example/", "//evil.example", "http://shop.example"]
)
async def test_newsletter_leads_to_no_other_site(browser: httpx.AsyncClient, referer: str) -> None:
    answer = await browser.post(
        "/newsletter", data={"email": "ada@example.com"}, headers={"referer": referer}
    )
    assert answer.headers["location"] == "/"


@pytest.mark.parametrize(
    ("path", "data", "status"),
    [
        ("/cart", {"product_id": "monstera"}, 400),
        ("/cart", {"product_id": "monstera", "quantity": "0"}, 400),
        ("/cart", {"product_id": "monstera", "quantity": "11"}, 400),
        ("/cart", {"product_id": "monstera", "quantity": "-1"}, 400),
        ("/cart", {"product_id": "monstera", "quantity": "²"}, 400),
        ("/cart", {"product_id": "monstera", "quantity": "9" * 5000}, 400),
        ("/cart", {"product_id": "dandelion", "quantity": "1"}, 404),
        ("/cart/lines", {"product_id": "monstera", "quantity": "1e1"}, 400),
        ("/cart/items", {}, 400),
        ("/cart/items", {"product_id": "\x00"}, 404),
        ("/orders", {}, 400),
        ("/login", {"email": "ada"}, 400),
        ("/login", {"email": "a" * 300 + "@example.com"}, 400),
        ("/newsletter", {"email": "ada@example.com, bob@example.com"}, 400),
        ("/privacy", {}, 400),
        ("/privacy", {"choice": "pending"}, 400),
        ("/", {}, 405),
        ("/nowhere", {}, 404),
    ],
)
async def test_bad_form_gets_a_page_that_says_so(
    app: Starlette, browser: httpx.AsyncClient, path: str, data: dict[str, str], status: int
) -> None:
    page = await browser.post(path, data=data)
    assert page.status_code == status
    assert f"Error {status}" in page.text
    assert await read_events(app) == []


@pytest.mark.parametrize("field", ADDRESS)
@pytest.mark.parametrize("value", ["", "  ", "x" * 201])
async def test_bad_address_gets_a_page_that_says_so(
    app: Starlette, browser: httpx.AsyncClient, field: str, value: str
) -> None:
    order_id = await open_checkout(browser)
    form = {"order_id": order_id, **ADDRESS, field: value}
    page = await browser.post("/orders", data=form)
    assert page.status_code == 400
    assert await read_names(app) == ["AddToCart"]


async def test_file_in_place_of_text_is_refused(browser: httpx.AsyncClient) -> None:
    answer = await browser.post("/login", files={"email": ("ada@example.com", b"hello")})
    assert answer.status_code == 400


async def test_broken_multipart_is_refused(browser: httpx.AsyncClient) -> None:
    headers = {"content-type": "multipart/form-data"}
    assert (await browser.post("/login", content=b"--", headers=headers)).status_code == 400


async def test_error_is_json_for_scripts(browser: httpx.AsyncClient) -> None:
    answer = await browser.post("/cart/items", data={"product_id": "dandelion"}, headers=JSON)
    assert answer.status_code == 404
    assert answer.json() == {"error": "We do not sell that, at least not yet."}


async def test_cart_survives_a_restart(
    app: Starlette, browser: httpx.AsyncClient, tmp_path: Path
) -> None:
    await browser.post("/cart", data={"product_id": "monstera", "quantity": "2"})
    await app.state.bridge.stop(0)
    restarted = create_app(read_settings(make_environ(tmp_path)))
    transport = httpx.ASGITransport(restarted)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://shop.example", cookies=browser.cookies
    ) as same_browser:
        assert "€76.00" in (await same_browser.get("/cart")).text
    await restarted.state.bridge.stop(0)


def test_settings_are_the_sandboxs_without_a_token() -> None:
    settings = read_settings({"BRIDGE_ACCESS_TOKEN": "", "BRIDGE_PREFIX": "/_b"}, sandbox_port=9000)
    assert settings.sandbox_url == "http://127.0.0.1:9000"
    assert settings.bridge["BRIDGE_PIXEL_SCRIPT_URL"] == "http://127.0.0.1:9000/en_US/fbevents.js"
    assert settings.bridge["BRIDGE_PREFIX"] == "/_b"


def test_settings_are_metas_with_a_token() -> None:
    environ = {"BRIDGE_PIXEL_ID": "1234567890123456", "BRIDGE_ACCESS_TOKEN": "token"}
    settings = read_settings(environ)
    assert settings.sandbox_url is None
    assert settings.bridge == {**environ, "BRIDGE_EXCLUDE_PATHS": "/static,/provider,/webhooks"}
    with pytest.raises(ConfigError, match="BRIDGE_SECRET_KEY"):
        create_app(settings)


def test_settings_hold_everything_back_when_the_shop_asks() -> None:
    assert "BRIDGE_CONSENT" not in read_settings({}).bridge
    assert read_settings({"SHOP_CONSENT": "ask"}).bridge["BRIDGE_CONSENT"] == "pending"


async def test_shop_of_meta_shows_no_note(tmp_path: Path) -> None:
    environ = make_environ(
        tmp_path,
        BRIDGE_PIXEL_ID="1234567890123456",
        BRIDGE_ACCESS_TOKEN="token",
        BRIDGE_SECRET_KEY="k" * 32,
    )
    app = create_app(read_settings(environ))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop.example") as browser:
        assert "demo-note" not in (await browser.get("/")).text
    await app.state.bridge.stop(0)
