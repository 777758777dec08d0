"""Meta's standard properties: each with the kind of value that Meta takes. One table for all.

A property of another kind refuses the whole batch that it travels in. Each kind is given twice: as
a type for msgspec, which looks through nearly all events at C speed, and as a test with words for
the value that was refused.

Source: Meta, "Standard Parameters", "Pixel Reference", Object properties, and "Offline Events",
read 2026-11-23.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

MAX_COUNT = 10**15


class Kind(NamedTuple):
    """A kind of value.

    Attributes:
        words: What was expected, for a message.
        holds: Whether a plain value is of this kind.
        schema: The same for msgspec; of what is in a list or an object it may accept anything.
    """

    words: str
    holds: Callable[[Any], bool]
    schema: Any = Any


def is_number(value: Any) -> bool:
    """Return whether ``value`` is a number; ``True`` is not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_whole(value: Any) -> bool:
    """Return whether ``value`` is a whole number; neither ``True`` nor ``1.0`` is."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_filled(value: Any) -> bool:
    """Return whether ``value`` is text other than white space."""
    return isinstance(value, str) and value.strip() != ""


def one_of(*allowed: str) -> Kind:
    """Return the kind of which ``allowed`` are the only members."""
    words = f"one of {', '.join(sorted(allowed))}"
    return Kind(words, lambda value: isinstance(value, str) and value in allowed, Literal[allowed])


def _is_id(value: Any) -> bool:
    return is_filled(value) or is_whole(value)


_Filled = Annotated[str, msgspec.Meta(min_length=1)]  # a pattern costs four times as much
_Id = _Filled | int

TEXT = Kind("text", lambda value: isinstance(value, str), str)
FILLED = Kind("text that is not blank", is_filled, _Filled)
NUMBER = Kind("a number", is_number, float)
AMOUNT = Kind(
    "a number of 0 or more",
    lambda value: is_number(value) and value >= 0,
    Annotated[float, msgspec.Meta(ge=0)],
)
COUNT = Kind(
    "a whole number of 0 or more",
    lambda value: is_whole(value) and 0 <= value < MAX_COUNT,
    Annotated[int, msgspec.Meta(ge=0, lt=MAX_COUNT)],
)
WHOLE = Kind("a whole number", is_whole, int)
ID = Kind("text or a whole number", _is_id, _Id)
LIST = Kind("a list", lambda value: isinstance(value, list), list[Any])
IDS = LIST._replace(schema=list[_Id])  # what is in it is checked one by one
OBJECT = Kind("an object", lambda value: isinstance(value, dict), dict[str, Any])
FLAG = Kind("0 or 1", lambda value: isinstance(value, bool | int) and value in (0, 1))
WORD = Kind("text or true or false", lambda value: isinstance(value, str | bool), str | bool)
ANYTHING = Kind("any value", lambda value: True)
DELIVERY = one_of("in_store", "curbside", "home_delivery")
SEGMENT = one_of(
    *(
        f"{side}_customer_to_{part}"
        for side in ("new", "existing")
        for part in ("business", "business_line", "product_area", "medium")
    ),
    "customer_in_loyalty_program",
)

PROPERTIES: dict[str, Kind] = {
    "value": AMOUNT,
    "currency": TEXT,
    "content_category": TEXT,
    "content_ids": IDS,
    "content_name": TEXT,
    "content_type": FILLED,
    "contents": LIST,
    "customer_segmentation": SEGMENT,
    "delivery_category": DELIVERY,
    "event_source": FILLED,
    "item_number": ID,
    "lead_event_source": FILLED,
    "net_revenue": NUMBER,
    "num_items": COUNT,
    "order_id": FILLED,
    "predicted_ltv": NUMBER,
    "search_string": TEXT,
    "status": WORD,
    "store_data": OBJECT,
}
LINE: dict[str, Kind] = {  # of contents
    "id": ID,
    "quantity": COUNT,
    "item_price": AMOUNT,
    "price": NUMBER,
    "delivery_category": DELIVERY,
    "title": TEXT,
    "description": TEXT,
    "brand": TEXT,
    "category": TEXT,
}
STORE: dict[str, Kind] = {  # of store_data
    "store_page_id": ID,
    "brand_page_id": ID,
    "store_code": Kind(
        "1 to 64 letters and digits",
        lambda value: (
            isinstance(value, str) and value.isascii() and value.isalnum() and len(value) <= 64
        ),
    ),
}
AMOUNTS = ("value", "net_revenue", "predicted_ltv")
COUNTS = ("num_items",)

# The other objects of a server event, whose keys are closed.

APP_DATA: dict[str, Kind] = {
    "advertiser_tracking_enabled": FLAG,
    "application_tracking_enabled": FLAG,
    "extinfo": LIST,
    "campaign_ids": ANYTHING,
    "install_referrer": TEXT,
    "installer_package": TEXT,
    "url_schemes": LIST,
    "vendor_id": TEXT,
    "windows_attribution_id": TEXT,
    "consider_views": FLAG,
    "include_dwell_data": FLAG,
    "include_video_data": FLAG,
    "receipt_data": TEXT,
}
ORIGINAL_EVENT: dict[str, Kind] = {
    "event_name": FILLED,
    "event_time": WHOLE,
    "order_id": FILLED,
    "event_id": FILLED,
}
ATTRIBUTION_REQUIRED: dict[str, Kind] = {
    "ad_id": ID,
    "touchpoint_ts": ID,
    "attribution_share": NUMBER,
    "attribution_value": NUMBER,
}
ATTRIBUTION: dict[str, Kind] = {
    **ATTRIBUTION_REQUIRED,
    **dict.fromkeys(
        (
            *("scope", "visit_time", "adset_id", "campaign_id", "attribution_model", "attr_window"),
            *("attribution_source", "touchpoint_type", "attribution_method", "decline_reason"),
            *("auditing_token", "linkage_key", "touchpoint_id", "attribution_setting"),
            *("total_credit", "partner_client_id"),
        ),
        ANYTHING,
    ),
}
DETAILS: dict[str, dict[str, Kind]] = {
    "app_data": APP_DATA,
    "original_event_data": ORIGINAL_EVENT,
    "attribution_data": ATTRIBUTION,
}
