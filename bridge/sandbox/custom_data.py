"""The rules of ``custom_data``: money, products and the other standard parameters.

Source: Meta, "Standard Parameters" and "Meta Pixel reference: object properties", read 2026-11-23.
"""

from __future__ import annotations

import re
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
    Kind,
    check_object,
    one_of,
    parse_number,
)
from bridge.sandbox.refusal import Finding, Refusal

_CURRENCY = re.compile(r"[A-Za-z]{3}")
_STORE_CODE = re.compile(r"[A-Za-z0-9]{1,64}")
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
    "value": NUMBER,
    "currency": Kind(
        "three letters (ISO 4217)",
        lambda value: isinstance(value, str) and bool(_CURRENCY.fullmatch(value)),
    ),
    "content_ids": IDS,
    "contents": OBJECTS,
    "content_type": TEXT,
    "content_name": STRING,
    "content_category": STRING,
    "status": SCALAR,
    "num_items": COUNT,
    "order_id": ID,
    "item_number": ID,
    "predicted_ltv": NUMBER,
    "net_revenue": NUMBER,
    "search_string": STRING,
    "delivery_category": DELIVERY,
    "lead_event_source": TEXT,
    "event_source": TEXT,
    "store_data": OBJECT,
    "customer_segmentation": SEGMENTATION,
}
ITEM_KINDS = {
    "quantity": COUNT,
    "item_price": NUMBER,
    "price": NUMBER,
    "delivery_category": DELIVERY,
    "title": STRING,
    "description": STRING,
    "brand": STRING,
    "category": STRING,
}
STORE_KINDS = {
    "store_page_id": ID,
    "brand_page_id": ID,
    "store_code": Kind(
        "1 to 64 letters and digits",
        lambda value: isinstance(value, str) and bool(_STORE_CODE.fullmatch(value)),
    ),
}


def check_custom_data(
    custom_data: Mapping[str, Any], event_name: str, at: str
) -> Iterator[Finding]:
    """Yield what is wrong with ``custom_data``, refusals and warnings.

    Keys outside Meta's tables are custom properties and may hold anything.

    Args:
        custom_data: The decoded object, empty if the event has none.
        event_name: Of the event; ``Purchase`` asks for more.
        at: Path in the request, such as ``"data[0][custom_data]"``.
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
    if event_name == "Purchase" and "value" not in custom_data:
        yield Refusal(
            subcode=2804009,
            message="A Purchase event needs a value in custom_data",
            field=f"{at}[value]",
        )
    if "value" not in custom_data:
        return
    if "currency" not in custom_data:
        yield Refusal(
            subcode=2804023,
            message="An event with a value needs a currency in custom_data",
            field=f"{at}[currency]",
        )
    if (parse_number(custom_data["value"]) or 0) < 0:
        yield "value is negative"


def _check_item(item: Mapping[str, Any], at: str) -> Iterator[Finding]:
    if not ID.holds(item.get("id")):
        yield Refusal(
            subcode=2804008, message=f"Param {at} needs a product id in id", field=f"{at}[id]"
        )
    yield from check_object(item, ITEM_KINDS, at, closed=False)
    if "quantity" not in item:
        yield "an item of contents has no quantity"
