"""The script translates Segment's names as the server does, by the server's own table."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import BrowserContext

from bridge.browser.script import Script
from bridge.events.catalog import Catalog, EventMapping
from bridge.events.properties import copy_properties, read_numbers
from bridge.events.standard import ENVELOPE
from tests.goldens import CASES

SAID = {name: case for name, case in CASES.items() if case.get("said")}


async def translate(
    context: BrowserContext, calls: list[tuple[str, Any]], catalog: Catalog
) -> list[list[Any]]:
    """Calls that a page made before the script loaded, as the script translates them."""
    page = await context.new_page()
    script = Script("/_bridge", table=catalog.to_json()).content.decode()
    # Only catalog.js: the rest needs a server.
    part = script.partition("\n")[0]
    await page.evaluate(
        "(calls) => { window.bridge = calls.map((call) => ['track', ...call]) }", calls
    )
    await page.evaluate(part)
    found: list[list[Any]] = await page.evaluate("window.bridge.map((call) => call.slice(1))")
    await page.close()
    return found


async def test_goldens_said_in_segments_words(context: BrowserContext) -> None:
    calls = [(case["said"]["event"], case["said"].get("properties", {})) for case in SAID.values()]
    found = await translate(context, calls, Catalog())
    assert len(SAID) > 20
    for (name, case), [event_name, custom_data] in zip(SAID.items(), found, strict=True):
        meta = case["meta"]
        assert [event_name, custom_data] == [meta["event_name"], meta["custom_data"]], name


@pytest.mark.parametrize(
    ("name", "properties", "catalog"),
    [
        ("completed_order", {"revenue": "$1,234.50", "currency": " usd "}, Catalog()),
        ("Product Viewed", {"product_id": "", "sku": 7, "price": "5.50"}, Catalog()),
        ("Product Viewed", {"id": 1, "price": 5, "currency": None}, Catalog()),
        ("Product Added", {"value": None, "price": 5, "currency": "EUR", "sku": "a"}, Catalog()),
        ("Product List Viewed", {"category": ""}, Catalog()),
        ("Product List Viewed", {"products": None, "category": "Cups"}, Catalog()),
        ("Checkout Started", {"products": [{"sku": "a", "quantity": "2"}]}, Catalog()),
        ("Checkout Started", {"contents": [{"id": "a"}], "products": []}, Catalog()),
        ("Signed Up", {"fbp": "x", "event_id": "y", "method": "mail"}, Catalog()),
        ("Signed Up", {**dict.fromkeys(ENVELOPE, "x"), "name": "", "revenue": 5}, Catalog()),
        ("Products Searched", {"query": "fern", "sku": "a", "name": "Fern"}, Catalog()),
        ("Order Completed", {"products": [{"sku": "a"}, {"id": 3, "quantity": 4}]},
         Catalog(num_items="lines", product_id=["id", "sku"])),
        ("Membership Bought", {"fee": "5.50", "plan": "gold", "currency": "EUR"},
         Catalog([EventMapping("Membership Bought", "Subscribe", value=("fee",),
                               rename={"plan": "content_name"})])),
        ("Quiz", {"a": 1}, Catalog()),
        ("Purchase", {"value": 1, "currency": "EUR"}, Catalog()),
    ],
)  # fmt: skip
async def test_script_and_server_agree(
    context: BrowserContext, name: str, properties: dict[str, Any], catalog: Catalog
) -> None:
    plain = copy_properties(properties, "properties")
    row = catalog.find(name)
    read_numbers(plain, "properties", is_spec=row is not None, also=row.value if row else ())
    expected = catalog.to_meta(name, plain)
    assert await translate(context, [(name, properties)], catalog) == [list(expected)]
