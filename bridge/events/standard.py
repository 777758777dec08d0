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
    """A kind of value, in ``words`` for a message, as a test of a plain value, and for msgspec.

    Of what is in a list or an object, the ``schema`` may accept anything.
    """

    words: str
    holds: Callable[[Any], bool]
    schema: Any = Any


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_filled(value: Any) -> bool:
    return isinstance(value, str) and value.strip() != ""


def one_of(*allowed: str) -> Kind:
    """Return the kind of which ``allowed`` are the only members."""
    words = f"one of {', '.join(sorted(allowed))}"
    return Kind(words, lambda value: isinstance(value, str) and value in allowed, Literal[allowed])


_Filled = Annotated[str, msgspec.Meta(min_length=1)]  # a pattern costs four times as much
_Id = _Filled | int

TEXT = Kind("text", lambda value: isinstance(value, str), str)
FILLED = Kind("text that is not blank", _is_filled, _Filled)
NUMBER = Kind("a number", _is_number, float)
AMOUNT = Kind(
    "a number of 0 or more",
    lambda value: _is_number(value) and value >= 0,
    Annotated[float, msgspec.Meta(ge=0)],
)
COUNT = Kind(
    "a whole number of 0 or more",
    lambda value: _is_whole(value) and 0 <= value < MAX_COUNT,
    Annotated[int, msgspec.Meta(ge=0, lt=MAX_COUNT)],
)
WHOLE = Kind("a whole number", _is_whole, int)
ID = Kind("text or a whole number", lambda value: _is_filled(value) or _is_whole(value), _Id)
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


def _list_kinds(*rows: tuple[Kind, str]) -> dict[str, Kind]:
    """Return the kind of each key: a row is a kind and the keys of that kind."""
    return {key: kind for kind, keys in rows for key in keys.split()}


PROPERTIES = _list_kinds(
    (AMOUNT, "value"),
    (TEXT, "currency content_category content_name search_string"),
    (FILLED, "content_type event_source lead_event_source order_id"),
    (NUMBER, "net_revenue predicted_ltv"),
    (COUNT, "num_items"),
    (ID, "item_number"),
    (IDS, "content_ids"),
    (LIST, "contents"),
    (WORD, "status"),
    (OBJECT, "store_data"),
    (SEGMENT, "customer_segmentation"),
    (DELIVERY, "delivery_category"),
)
LINE = _list_kinds(  # of contents
    (ID, "id"),
    (COUNT, "quantity"),
    (AMOUNT, "item_price"),
    (NUMBER, "price"),
    (DELIVERY, "delivery_category"),
    (TEXT, "title description brand category"),
)
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
# Not of what an event is about but of the event itself; Segment has no other place for them.
ENVELOPE = frozenset(
    """
    action_source client_ip_address client_user_agent custom_data data_processing_options
    data_processing_options_country data_processing_options_state event_id event_name
    event_source_url event_time external_id fbc fbp opt_out referrer_url test_event_code user_data
    """.split()
)
AMOUNTS = ("value", "net_revenue", "predicted_ltv")
COUNTS = ("num_items",)

# The other objects of a server event, whose keys are closed.

APP_DATA = _list_kinds(
    (
        FLAG,
        "advertiser_tracking_enabled application_tracking_enabled consider_views"
        " include_dwell_data include_video_data",
    ),
    (LIST, "extinfo url_schemes"),
    (TEXT, "install_referrer installer_package vendor_id windows_attribution_id receipt_data"),
    (ANYTHING, "campaign_ids"),
)
ORIGINAL_EVENT = _list_kinds((FILLED, "event_name order_id event_id"), (WHOLE, "event_time"))
ATTRIBUTION_REQUIRED = _list_kinds(
    (ID, "ad_id touchpoint_ts"), (NUMBER, "attribution_share attribution_value")
)
ATTRIBUTION = ATTRIBUTION_REQUIRED | _list_kinds(
    (
        ANYTHING,
        "scope visit_time adset_id campaign_id attribution_model attr_window attribution_source"
        " touchpoint_type attribution_method decline_reason auditing_token linkage_key"
        " touchpoint_id attribution_setting total_credit partner_client_id",
    )
)
DETAILS: dict[str, dict[str, Kind]] = {
    "app_data": APP_DATA,
    "original_event_data": ORIGINAL_EVENT,
    "attribution_data": ATTRIBUTION,
}
