"""What an event must carry for where it happened: its page, its app, its chat, and a person.

``parse_event`` checks what holds for every event. What stands here depends on ``action_source`` and
is asked of events that no visitor's request completes: those from a shop's till, a CRM, an app.

Source: Meta, "Server Event Parameters", "App Events", "Conversions API for Business Messaging",
"AppendAttribution event parameters", "Data Processing Options for US Users" and, for the person,
"Best Practices - Conversions API", read 2026-11-23.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bridge.errors import InvalidEventError
from bridge.events.event import Event, UserData
from bridge.events.properties import DELIVERY_CATEGORIES

EXTINFO_LENGTH = 16
PLATFORMS = ("a2", "i2")  # Android, iOS: the first place of extinfo
CHANNELS = ("whatsapp", "messenger", "instagram")
SEGMENTS = frozenset(
    {
        *(
            f"{side}_customer_to_{part}"
            for side in ("new", "existing")
            for part in ("business", "business_line", "product_area", "medium")
        ),
        "customer_in_loyalty_program",
    }
)
MESSAGING_EVENTS = frozenset(
    {
        *("AddToCart", "CartAbandoned", "InitiateCheckout", "LeadSubmitted", "OrderCanceled"),
        *("OrderCreated", "OrderDelivered", "OrderReturned", "OrderShipped", "Purchase"),
        *("QualifiedLead", "RatingProvided", "ReviewProvided", "ViewContent"),
    }
)
# An event whose user_data has no key outside one of these is refused: too many people share it.
_TOO_BROAD = (
    frozenset({"ct", "country", "st", "zp", "ge", "client_user_agent"}),
    frozenset({"db", "client_user_agent"}),
    frozenset({"fn", "ge"}),
    frozenset({"ln", "ge"}),
)
_LDU_STATES = frozenset({0, *range(1000, 1014)})

_Kind = tuple[Callable[[Any], bool], str]
_ANY: _Kind = (lambda value: True, "any value")
_TEXT: _Kind = (lambda value: isinstance(value, str), "text")
_LIST: _Kind = (lambda value: isinstance(value, list), "a list")
_FLAG: _Kind = (lambda value: isinstance(value, bool | int) and value in (0, 1), "0 or 1")
_NUMBER: _Kind = (
    lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "a number",
)
_WHOLE: _Kind = (
    lambda value: isinstance(value, int) and not isinstance(value, bool),
    "a whole number",
)
_FILLED: _Kind = (
    lambda value: isinstance(value, str) and bool(value.strip()),
    "text that is not blank",
)
_COUNT: _Kind = (lambda value: _WHOLE[0](value) and 0 <= value < 10**15, "a count")
_ID: _Kind = (
    lambda value: _WHOLE[0](value) or _FILLED[0](value),
    "text or a whole number",
)

_APP_DATA: dict[str, _Kind] = {
    "advertiser_tracking_enabled": _FLAG,
    "application_tracking_enabled": _FLAG,
    "extinfo": _LIST,
    "campaign_ids": _ANY,
    "install_referrer": _TEXT,
    "installer_package": _TEXT,
    "url_schemes": _LIST,
    "vendor_id": _TEXT,
    "windows_attribution_id": _TEXT,
    "consider_views": _FLAG,
    "include_dwell_data": _FLAG,
    "include_video_data": _FLAG,
    "receipt_data": _TEXT,
}
_ORIGINAL_EVENT: dict[str, _Kind] = {
    "event_name": _FILLED,
    "event_time": _WHOLE,
    "order_id": _FILLED,
    "event_id": _FILLED,
}
# Of custom_data, what tills and CRMs send; keys of your own may hold anything.
_PROPERTIES: dict[str, _Kind] = {
    "content_ids": (
        lambda value: isinstance(value, list) and all(map(_ID[0], value)),
        "a list of ids",
    ),
    "content_type": _FILLED,
    "event_source": _FILLED,
    "item_number": _ID,
    "lead_event_source": _FILLED,
    "num_items": _COUNT,
    "order_id": _FILLED,
    "status": (lambda value: isinstance(value, str | bool), "text or true or false"),
    "store_data": (lambda value: isinstance(value, dict), "an object"),
}
_STORE: dict[str, _Kind] = {
    "store_page_id": _ID,
    "brand_page_id": _ID,
    "store_code": (
        lambda value: (
            isinstance(value, str) and value.isascii() and value.isalnum() and len(value) <= 64
        ),
        "1 to 64 letters and digits",
    ),
}
_ITEM: dict[str, _Kind] = {
    "quantity": _COUNT,
    "item_price": _NUMBER,
    "price": _NUMBER,
    "delivery_category": (lambda value: value in DELIVERY_CATEGORIES, "a way of delivery"),
    "title": _TEXT,
    "description": _TEXT,
    "brand": _TEXT,
    "category": _TEXT,
}
_ATTRIBUTION_REQUIRED: dict[str, _Kind] = {
    "ad_id": _ID,
    "touchpoint_ts": _ID,
    "attribution_share": _NUMBER,
    "attribution_value": _NUMBER,
}
_ATTRIBUTION: dict[str, _Kind] = {
    **_ATTRIBUTION_REQUIRED,
    **dict.fromkeys(
        (
            *("scope", "visit_time", "adset_id", "campaign_id", "attribution_model", "attr_window"),
            *("attribution_source", "touchpoint_type", "attribution_method", "decline_reason"),
            *("auditing_token", "linkage_key", "touchpoint_id", "attribution_setting"),
            *("total_credit", "partner_client_id"),
        ),
        _ANY,
    ),
}
# Of each channel: the ids of which one is needed, group by group.
_CHANNEL_IDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "messenger": (("page_id",),),
    "instagram": (("ig_account_id",),),
    "whatsapp": (("page_id", "whatsapp_business_account_id"), ("ctwa_clid",)),
}


def check_source(event: Event) -> None:
    """Check that ``event`` carries what Meta asks of its ``action_source``, and tells of whom.

    Raises:
        InvalidEventError: Meta would refuse it, and with it the whole batch; names the field.
    """
    check_person(event.user_data)
    for name, kinds in (
        ("app_data", _APP_DATA),
        ("original_event_data", _ORIGINAL_EVENT),
        ("attribution_data", _ATTRIBUTION),
    ):
        _check_object(getattr(event, name) or {}, kinds, name)
    _check_properties(event.custom_data)
    _check_choices(event)
    _check_data_processing(event)
    if check := _CHECKS.get(event.action_source):
        check(event)
    if event.event_name == "AppendAttribution":
        _check_attribution(event.attribution_data or {})


def check_person(user_data: UserData) -> None:
    """Check that ``user_data`` tells of whom.

    Raises:
        InvalidEventError: It is empty, or holds only what too many people share.
    """
    given = {key for key in user_data.__struct_fields__ if getattr(user_data, key)}
    if not any(given <= broad for broad in _TOO_BROAD):
        return
    found = f"only {', '.join(sorted(given))}" if given else "nothing usable"
    raise InvalidEventError(
        "user_data", f"Meta could match nobody: {found}; add an e-mail address, phone or own id"
    )


def _check_object(
    value: Mapping[str, Any], kinds: Mapping[str, _Kind], path: str, *, closed: bool = True
) -> None:
    """Check each item by its kind; a key without one is refused if ``closed``."""
    for key, item in value.items():
        if key not in kinds:
            if closed:
                raise InvalidEventError(f"{path}.{key}", "Meta knows no such key here")
            continue
        holds, words = kinds[key]
        if not holds(item):
            raise InvalidEventError(f"{path}.{key}", f"expected {words}, got {type(item).__name__}")


def _check_properties(properties: Mapping[str, Any]) -> None:
    path = "custom_data"
    _check_object(properties, _PROPERTIES, path, closed=False)
    _check_object(properties.get("store_data", {}), _STORE, f"{path}.store_data")
    for i, item in enumerate(properties.get("contents") or []):
        _check_object(item, _ITEM, f"{path}.contents[{i}]", closed=False)
    segment = properties.get("customer_segmentation")
    if segment is not None and not (isinstance(segment, str) and segment in SEGMENTS):
        raise InvalidEventError(f"{path}.customer_segmentation", _one_of(SEGMENTS))


def _one_of(allowed: Iterable[str]) -> str:
    return f"expected one of {', '.join(sorted(allowed))}"


def _require(value: Mapping[str, Any], keys: tuple[str, ...], path: str) -> None:
    for key in keys:
        if key not in value:
            raise InvalidEventError(f"{path}.{key}", "required, is missing")


def _check_choices(event: Event) -> None:
    for key, allowed in (("messaging_channel", CHANNELS), ("customer_segmentation", SEGMENTS)):
        value = getattr(event, key)
        if value is not None and value not in allowed:
            raise InvalidEventError(key, _one_of(allowed))


def _check_data_processing(event: Event) -> None:
    """Check Limited Data Use: a country with it, and a state with a country."""
    options, prefix = event.data_processing_options, "data_processing_options"
    country, state = event.data_processing_options_country, event.data_processing_options_state
    if options not in (None, [], ["LDU"]):
        raise InvalidEventError(prefix, 'expected ["LDU"] or []')
    if country not in (None, 0, 1):
        raise InvalidEventError(f"{prefix}_country", "expected 1 (US) or 0 (Meta locates)")
    if state is not None and state not in _LDU_STATES:
        raise InvalidEventError(f"{prefix}_state", "expected 0 or one of 1000 to 1013")
    if options and country is None:
        raise InvalidEventError(f"{prefix}_country", "required with LDU, is missing; 0 locates")
    if country is not None and state is None:
        raise InvalidEventError(f"{prefix}_state", "required with a country, is missing")


def _check_website(event: Event) -> None:
    if event.event_source_url is None:
        raise InvalidEventError("event_source_url", "required for website, is missing")


def _check_app(event: Event) -> None:
    """Check ``app_data``: 16 places of ``extinfo``, of which the first and the fifth count."""
    app_data = event.app_data or {}
    _require(app_data, ("advertiser_tracking_enabled", "extinfo"), "app_data")
    extinfo = app_data["extinfo"]
    if len(extinfo) != EXTINFO_LENGTH or extinfo[0] not in PLATFORMS:
        raise InvalidEventError(
            "app_data.extinfo", f"expected {EXTINFO_LENGTH} places, the first of them a2 or i2"
        )
    if not isinstance(extinfo[4], str) or not extinfo[4].strip():
        raise InvalidEventError("app_data.extinfo[4]", "expected the system's version as text")


def _check_messaging(event: Event) -> None:
    if event.messaging_channel is None:
        raise InvalidEventError("messaging_channel", f"required: one of {', '.join(CHANNELS)}")
    if event.event_name not in MESSAGING_EVENTS:
        raise InvalidEventError(
            "event_name", f"business_messaging takes only {', '.join(sorted(MESSAGING_EVENTS))}"
        )
    for group in _CHANNEL_IDS[event.messaging_channel]:
        if not any(getattr(event.user_data, key) for key in group):
            raise InvalidEventError(
                f"user_data.{group[0]}",
                f"required for {event.messaging_channel}"
                + (f", or {group[1]}" if len(group) > 1 else ""),
            )


def _check_attribution(attribution: Mapping[str, Any]) -> None:
    _require(attribution, tuple(_ATTRIBUTION_REQUIRED), "attribution_data")
    if not 0 <= attribution["attribution_share"] <= 1:
        raise InvalidEventError("attribution_data.attribution_share", "expected 0 to 1")


_CHECKS: dict[str, Callable[[Event], None]] = {
    "website": _check_website,
    "app": _check_app,
    "business_messaging": _check_messaging,
}
