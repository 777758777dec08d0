"""The rules of ``custom_data``: money, products and the other standard parameters.

Source: Meta, "Standard Parameters" and "Meta Pixel reference: object properties", read 2026-11-23.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bridge.sandbox.kinds import (
    COUNT,
    ID,
    IDS,
    NUMBER,
    OBJECT,
    OBJECTS,
    SCALAR,
    STRING,
    TEXT,
    all_of,
    check_object,
    matching,
    one_of,
    parse_number,
)
from bridge.sandbox.refusal import Finding, refuse

DELIVERY = one_of("in_store", "curbside", "home_delivery")
SEGMENTATION = one_of(
    *(
        f"{side}_customer_to_{part}"
        for side in ("new", "existing")
        for part in ("business", "business_line", "product_area", "medium")
    ),
    "customer_in_loyalty_program",
)
KINDS = {
    **all_of(NUMBER, "value", "predicted_ltv", "net_revenue"),
    **all_of(STRING, "content_name", "content_category", "search_string"),
    **all_of(TEXT, "content_type", "lead_event_source", "event_source"),
    **all_of(ID, "order_id", "item_number"),
    "currency": matching("three letters (ISO 4217)", r"[A-Za-z]{3}"),
    "content_ids": IDS,
    "contents": OBJECTS,
    "status": SCALAR,
    "num_items": COUNT,
    "delivery_category": DELIVERY,
    "store_data": OBJECT,
    "customer_segmentation": SEGMENTATION,
}
ITEM_KINDS = {
    **all_of(NUMBER, "item_price", "price"),
    **all_of(STRING, "title", "description", "brand", "category"),
    "quantity": COUNT,
    "delivery_category": DELIVERY,
}
STORE_KINDS = {
    **all_of(ID, "store_page_id", "brand_page_id"),
    "store_code": matching("1 to 64 letters and digits", r"[A-Za-z0-9]{1,64}"),
}


def check_custom_data(
    custom_data: Mapping[str, Any], event_name: str, at: str
) -> Iterator[Finding]:
    """Yield what is wrong with ``custom_data``, refusals and warnings.

    Keys outside Meta's tables are custom properties and may hold anything.
    """
    yield from check_object(custom_data, KINDS, at, closed=False)
    yield from _check_money(custom_data, event_name, at)
    for index, item in enumerate(custom_data.get("contents", [])):
        yield from _check_item(item, f"{at}[contents][{index}]")
    yield from check_object(custom_data.get("store_data", {}), STORE_KINDS, f"{at}[store_data]")
    if custom_data.get("event_source") == "crm" and "lead_event_source" not in custom_data:
        yield "event_source is crm, but lead_event_source is missing"
    if custom_data.get("content_type", "product") not in ("product", "product_group"):
        yield "content_type should be product or product_group"
    if "event_id" in custom_data or "eventID" in custom_data:
        yield "event_id belongs on the event, not in custom_data: it is not used to merge copies"


def _check_money(custom_data: Mapping[str, Any], event_name: str, at: str) -> Iterator[Finding]:
    if "value" not in custom_data:
        if event_name == "Purchase":
            yield refuse(at, "value", "is required for Purchase", subcode=2804009)
        return
    if "currency" not in custom_data:
        yield refuse(at, "currency", "is required with a value", subcode=2804023)
    if (parse_number(custom_data["value"]) or 0) < 0:
        yield "value is negative"


def _check_item(item: Mapping[str, Any], at: str) -> Iterator[Finding]:
    if not ID.holds(item.get("id")):
        yield refuse(at, "id", "must be a product id", subcode=2804008)
    yield from check_object(item, ITEM_KINDS, at, closed=False)
    if "quantity" not in item:
        yield "an item of contents has no quantity"
