"""Segment's destination "Facebook Conversions API (Actions)": from a message to Meta's event.

Pure. With the mappings it comes with, and three things that its user must set, as README says:
``event_id`` is ``properties.event_id`` where there is one (``messageId`` otherwise, as it comes);
``action_source``, required and without a default, is ``properties.action_source``; and a mapping
"Custom Event" is on for each event name that no other mapping is for, so that Meta's own names,
such as ``Lead``, go out under that name. It carries no properties, as it comes: a ``Purchase`` sent
that way has no value, and Meta refuses it.

Names of states and countries are not turned into codes: what is not hashed is warned of anyway.

Source: segmentio/action-destinations, ``facebook-conversions-api/shared`` (fields, functions,
constants), ``core/src/mapping-kit`` and ``schema-validation``, read 2026-11-25.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from bridge.sandbox.segment_fields import (
    FieldError,
    as_integer,
    as_number,
    as_text,
    get,
    hash_phone,
    hash_text,
)
from bridge.sandbox.segment_messages import parse_time

DESTINATION = "Facebook Conversions API (Actions)"
TRIGGERS = {
    "Order Completed": "Purchase",
    "Product Added": "AddToCart",
    "Products Searched": "Search",
    "Product Viewed": "ViewContent",
    "Checkout Started": "InitiateCheckout",
}
"""Names of track messages, compared as they are, to Meta's."""
ACTION_SOURCES = (
    *("email", "website", "app", "phone_call", "chat", "physical_store"),
    *("system_generated", "other"),
)
IDENTIFIERS = frozenset({"event_id", "action_source", "fbp", "fbc"})
"""Properties that do not go into ``custom_data``."""
_CODES = """
    AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BOV BRL BSD BTN
    BWP BYN BZD CAD CDF CHE CHF CHW CLF CLP CNY COP COU CRC CUC CUP CVE CZK DJF DKK DOP DZD EGP
    ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HRK HTG HUF IDR ILS INR IQD IRR
    ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD
    MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR
    PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLL SOS SRD SSP STN SVC SYP SZL THB
    TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD USN UYI UYU UYW UZS VES VND VUV WST XAF XAG XAU
    XBA XBB XBC XBD XCD XDR XOF XPD XPF XPT XSU XTS XUA XXX YER ZAR ZMW ZWC
"""
CURRENCIES = frozenset(_CODES.split())


class MetaEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What the destination sends: a server event, and what its user should know about it."""

    event: dict[str, Any]
    warnings: list[str]


class Declined(msgspec.Struct, frozen=True, kw_only=True):
    """Why the destination sends nothing.

    Attributes:
        outcome: ``"off"``, ``"none"`` or ``"refused"``, see ``Delivery``.
        reason: In plain words; the destination's own where it has some.
    """

    outcome: str
    reason: str | None = None


def build_meta_event(message: Mapping[str, Any]) -> MetaEvent | Declined:
    """Return the server event for Meta in a message that Segment took.

    Args:
        message: As Segment passes it on, with its computed ``timestamp``.
    """
    integrations = message.get("integrations", {})
    if not _is_on(integrations):
        return Declined(outcome="off")
    kind = message["type"]
    if kind not in ("track", "page"):
        return Declined(outcome="none", reason=f"no mapping is for {kind}")
    name = "PageView" if kind == "page" else TRIGGERS.get(message["event"], message["event"])
    custom = kind == "track" and message["event"] not in TRIGGERS
    properties = message.get("properties", {})
    try:
        event = _build_base(message, name)
        build = _CUSTOM_DATA.get(name)
        if build is not None and not custom:
            event["custom_data"] = _leave_out_none(build(properties))
            _check_money(event["custom_data"], name)
        if not custom:
            _check_user_agent(event)
    except FieldError as error:
        return Declined(outcome="refused", reason=str(error))
    return MetaEvent(event=event, warnings=list(_find_warnings(message, custom)))


def _is_on(integrations: Mapping[str, Any]) -> bool:
    """Source: "Spec: Common Fields", Integrations; names are case-sensitive ("HTTP API Source")."""
    own = integrations.get(DESTINATION)
    return bool(own) if own is not None else integrations.get("All") is not False


def _find_warnings(message: Mapping[str, Any], custom: bool) -> Iterator[str]:
    for name in message.get("integrations", {}):
        if name.lower() == DESTINATION.lower() and name != DESTINATION:
            yield f"integrations.{name} has no effect: the name is {DESTINATION}, case and all"
    if "dataProcessingOptions" in message.get("context", {}):
        yield "context.dataProcessingOptions is in no mapping: Meta is not told of it"
    if custom and message.get("properties", {}).keys() - IDENTIFIERS:
        yield "properties are not in the mapping Custom Event: Meta gets none of them"


def _build_base(message: Mapping[str, Any], name: str) -> dict[str, Any]:
    properties = message.get("properties", {})
    action_source = as_text(properties.get("action_source"), "action_source")
    if action_source is None:
        raise FieldError("missing the required field 'action_source'")
    if action_source not in ACTION_SOURCES:
        raise FieldError(f"action_source must be one of {', '.join(ACTION_SOURCES)}")
    event_id = properties.get("event_id")
    moment = parse_time(message["timestamp"]) or 0.0
    base = {
        "event_name": name,
        "event_time": int(moment),  # sent as text: "Facebook will automatically convert ISO 8601"
        "action_source": action_source,
        "event_source_url": as_text(get(message, "context.page.url"), "event_source_url") or None,
        "event_id": as_text(message["messageId"] if event_id is None else event_id, "event_id")
        or None,
        "user_data": _build_user_data(message),
    }
    return _leave_out_none(base)


def _build_user_data(message: Mapping[str, Any]) -> dict[str, Any]:
    """An empty ``userId`` counts as one, so there is no external id then."""
    user_id = message.get("userId")
    external_id = hash_text(
        message.get("anonymousId") if user_id is None else user_id, "externalId"
    )
    user_data: dict[str, Any] = {"external_id": [external_id] if external_id else None}
    for key, (path, clean) in _USER_DATA.items():
        user_data[key] = clean(get(message, path), path.rpartition(".")[2]) or None
    return _leave_out_none(user_data)


def _build_contents(root: Any) -> list[dict[str, Any]] | None:
    """Return ``contents`` from products, or from the one product that an event is.

    An object counts as an array of one; each needs a product id.
    """
    if root is None:
        return None
    contents = []
    for index, item in enumerate(root if isinstance(root, list) else [root]):
        if not isinstance(item, dict):
            raise FieldError(f"contents[{index}] must be an object")
        content = {
            "id": as_text(item.get("product_id"), "id"),
            "quantity": as_integer(item.get("quantity"), "quantity"),
            "item_price": as_number(item.get("price"), "item_price"),
        }
        if not content["id"]:
            raise FieldError(f"contents[{index}] must include an 'id' parameter.")
        contents.append(_leave_out_none(content))
    return contents


def _build_purchase(properties: Mapping[str, Any]) -> dict[str, Any]:
    for field, name in (("currency", "currency"), ("value", "revenue")):
        if properties.get(name) is None:
            raise FieldError(f"missing the required field '{field}'")
    return _build_checkout(properties)


def _build_checkout(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "currency": as_text(properties.get("currency"), "currency"),
        "value": as_number(properties.get("revenue"), "value"),
        "contents": _build_contents(properties.get("products")),
    }


def _build_product(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "currency": as_text(properties.get("currency"), "currency"),
        "value": as_number(properties.get("price"), "value"),
        "contents": _build_contents(properties),
    }


def _build_view(properties: Mapping[str, Any]) -> dict[str, Any]:
    product = _build_product(properties)
    return {**product, "content_ids": [item["id"] for item in product["contents"]]}


def _build_search(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "currency": as_text(properties.get("currency"), "currency"),
        "contents": _build_contents(properties),
        "search_string": as_text(properties.get("query"), "search_string") or None,
    }


def _check_money(custom_data: Mapping[str, Any], name: str) -> None:
    currency = custom_data.get("currency")
    if name == "Purchase" and not currency:
        raise FieldError("Must include a currency for Purchase events")
    if currency and currency not in CURRENCIES:
        raise FieldError(f"{currency} is not a valid currency code.")


def _check_user_agent(event: Mapping[str, Any]) -> None:
    if event["action_source"] == "website" and "client_user_agent" not in event["user_data"]:
        raise FieldError('If action source is "Website" then client_user_agent must be defined')


def _leave_out_none(value: Mapping[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in value.items() if item is not None}


_USER_DATA: dict[str, tuple[str, Callable[[Any, str], str | None]]] = {
    "em": ("context.traits.email", hash_text),
    "ph": ("context.traits.phone", hash_phone),
    "db": ("context.traits.birthday", hash_text),
    "ln": ("context.traits.lastName", hash_text),
    "fn": ("context.traits.firstName", hash_text),
    "ct": ("context.traits.address.city", hash_text),
    "st": ("context.traits.address.state", hash_text),
    "zp": ("context.traits.address.postalCode", hash_text),
    "client_ip_address": ("context.ip", as_text),
    "client_user_agent": ("context.userAgent", as_text),
    "fbc": ("properties.fbc", as_text),
    "fbp": ("properties.fbp", as_text),
}
_CUSTOM_DATA: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "Purchase": _build_purchase,
    "InitiateCheckout": _build_checkout,
    "AddToCart": _build_product,
    "ViewContent": _build_view,
    "Search": _build_search,
}
