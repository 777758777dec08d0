"""The example shop, page by page and form by form, without its sender."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
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
from example_app.settings import read_settings

ADDRESS = {
    "email": "ada@example.com",
    "name": "Ada Lovelace",
    "zip": "10115",
    "city": "Berlin",
    "country": "DE",
}
JSON = {"accept": "application/json"}


def make_environ(tmp_path: Path, **changes: str) -> dict[str, str]:
    return {
        "BRIDGE_OUTBOX_URL": f"sqlite:///{tmp_path}/bridge.db",
        "BRIDGE_GRAPH_URL": "http://127.0.0.1:9",
        **changes,
    }


@pytest.fixture(autouse=True)
def files_of_the_app_may_be_read(blockbuster: BlockBuster) -> None:
    """Let Starlette and Jinja read the app's own files on the event loop, as they do."""
    for function in blockbuster.functions.values():
        function.can_block_in("jinja2/loaders.py", {"get_source", "uptodate"})
        function.can_block_in("mimetypes.py", "init")
        function.can_block_in("bridge/browser.py", "read_script")


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Starlette]:
    app = create_app(read_settings(make_environ(tmp_path)))
    yield app
    await app.state.bridge.stop(0)


@pytest.fixture
async def browser(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, client=("198.51.100.7", 50000))
    headers = {"user-agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://shop.example", headers=headers
    ) as client:
        yield client


async def read_events(app: Starlette) -> list[dict[str, Any]]:
    """Return the stored events, in the order they came, held ones too."""
    bridge: Bridge = app.state.bridge
    in_an_hour = time.time() + 3600
    (meta,) = bridge.destinations
    deliveries = await bridge.outbox.claim(meta.name, 100, now=in_an_hour, lease=1)
    return [msgspec.json.decode(delivery.body) for delivery in deliveries]


async def open_checkout(browser: httpx.AsyncClient) -> str:
    """Put a fern in the cart, go to the checkout, return the order's id."""
    await browser.post("/cart/items", data={"product_id": "boston-fern"}, headers=JSON)
    page = await browser.get("/checkout")
    found = re.search(r'name="order_id" value="(A-[0-9A-F]{8})"', page.text)
    assert found
    return found[1]


@pytest.mark.parametrize("path", ["/", "/cart", "/login", "/products/monstera"])
async def test_page_opens_and_loads_the_script(browser: httpx.AsyncClient, path: str) -> None:
    page = await browser.get(path)
    assert page.status_code == 200
    assert '<script src="/_bridge/bridge.js" async></script>' in page.text
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
    browser.cookies.update(before)  # the second of a double click knows nothing of the first
    at_once = await browser.post("/orders", data=form)
    places = {answer.headers["location"] for answer in (first, again, at_once)}
    assert places == {f"/orders/{order_id}"}
    names = [event["event_name"] for event in await read_events(app)]
    assert names.count("Purchase") == 1


async def test_order_needs_the_id_of_its_own_checkout(
    app: Starlette, browser: httpx.AsyncClient
) -> None:
    await open_checkout(browser)
    answer = await browser.post("/orders", data={"order_id": "A-00000000", **ADDRESS})
    assert answer.headers["location"] == "/checkout"
    assert [event["event_name"] for event in await read_events(app)] == ["AddToCart"]


async def test_order_of_somebody_else_is_not_shown(
    app: Starlette, browser: httpx.AsyncClient
) -> None:
    order_id = await open_checkout(browser)
    await browser.post("/orders", data={"order_id": order_id, **ADDRESS})
    browser.cookies.clear()
    assert (await browser.get(f"/orders/{order_id}")).status_code == 404


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


async def test_log_out(browser: httpx.AsyncClient) -> None:
    await browser.post("/login", data={"email": "ada@example.com"})
    await browser.post("/logout")
    page = await browser.get("/")
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
    assert [event["event_name"] for event in await read_events(app)] == ["AddToCart"]


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
    assert settings.bridge == environ
    with pytest.raises(ConfigError, match="BRIDGE_SECRET_KEY"):
        create_app(settings)


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
