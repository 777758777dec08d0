"""Segment's destination "Facebook Conversions API (Actions)": from a message to Meta's event. Pure.

It reads fixed places of a message, checks what it found, and sends one event. With the mappings it
comes with, the event id is ``messageId``, and names without a mapping go nowhere. The action source
has no default: it is read where Segment's own guide puts it, in ``properties``.

``is_set_up`` stands for what docs/segment.md asks its user to set: ``event_id`` is
``properties.event_id`` where there is one, and a mapping "Custom Event" is on for each other name,
so that Meta's own, such as ``Lead``, go out under that name. That mapping carries no properties: a
``Purchase`` sent that way has no value, and Meta refuses it.

Source: segmentio/action-destinations, ``facebook-conversions-api`` (``shared/fields.ts``,
``shared/functions.ts``, ``shared/constants.ts``) and ``packages/core`` (mapping, type coercion),
read 2026-11-25, and compared with what the published package makes of thousands of messages
(@segment/action-destinations 3.497.0 of 2026-09-16).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from bridge.sandbox.segment_fields import (
    Declined,
    DeclinedError,
    as_integer,
    as_number,
    as_text,
    get,
    hash_phone,
    hash_state,
    hash_text,
    read_number,
    read_text,
)

DESTINATION = "Facebook Conversions API (Actions)"
ACTION_SOURCES = (
    *("email", "website", "app", "phone_call", "chat", "physical_store"),
    *("system_generated", "other"),
)
IDENTIFIERS = frozenset({"event_id", "action_source", "fbp", "fbc"})
"""Properties that are not meant for ``custom_data``."""
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

# Not gender and not country: these have no default.
_PERSON: dict[str, tuple[str, Callable[[str | None], str]]] = {
    "em": ("context.traits.email", hash_text),
    "ph": ("context.traits.phone", hash_phone),
    "db": ("context.traits.birthday", hash_text),
    "ln": ("context.traits.lastName", hash_text),
    "fn": ("context.traits.firstName", hash_text),
    "ct": ("context.traits.address.city", hash_text),
    "st": ("context.traits.address.state", hash_state),
    "zp": ("context.traits.address.postalCode", hash_text),
}
_BROWSER: dict[str, str] = {
    "client_ip_address": "context.ip",
    "client_user_agent": "context.userAgent",
    "fbc": "properties.fbc",
    "fbp": "properties.fbp",
}


class Action(NamedTuple):
    """One mapping.

    Attributes:
        event_name: Meta's.
        value: The property that is the value; ``""`` for none.
        lines: What ``contents`` are made of: the list ``products``, or the properties themselves.
        texts: Further parameters, each the text of a property.
        ids: The property that becomes ``content_ids``.
        required: Parameters without which an event is refused.
        has_parameters: Whether it carries ``custom_data``.
        needs_user_agent: Whether it refuses a website event without one.
    """

    event_name: str
    value: str = ""
    lines: Literal["", "products", "self"] = ""
    texts: Mapping[str, str] = {}
    ids: str = ""
    required: tuple[str, ...] = ()
    has_parameters: bool = True
    needs_user_agent: bool = True


PAGE = Action("PageView", has_parameters=False)
TRACK: dict[str, Action] = {
    "Order Completed": Action("Purchase", "revenue", "products", required=("currency", "value")),
    "Checkout Started": Action("InitiateCheckout", "revenue", "products"),
    "Product Added": Action("AddToCart", "price", "self"),
    "Product Viewed": Action("ViewContent", "price", "self", ids="product_id"),
    "Products Searched": Action("Search", lines="self", texts={"search_string": "query"}),
}
"""The default mapping of each track message that has one; the name must match exactly."""


def build_event(
    message: Mapping[str, Any], *, is_set_up: bool = False
) -> dict[str, Any] | Declined:
    """Return the event that Meta gets of ``message``, one object of ``data``; or why it gets none.

    ``event_time`` is text: "Facebook will automatically convert ISO 8601". Personal values that are
    not SHA-256 digests yet are hashed as that destination does it, not always as Meta asks: a
    birthday is not read as a date, a phone number keeps leading zeros.
    """
    kind, name = message.get("type", "track"), str(message.get("event"))
    if kind not in ("track", "page"):
        return Declined("no_trigger", "type", f"no mapping takes {kind} messages")
    action = PAGE if kind == "page" else TRACK.get(name)
    if action is None:
        if not is_set_up:
            reason = f"no default mapping matches; they match {', '.join(TRACK)} exactly"
            return Declined("no_trigger", "event", reason)
        action = Action(name, has_parameters=False, needs_user_agent=False)
    has_id = is_set_up and get(message, "properties.event_id") is not None
    try:
        return _build(action, message, "properties.event_id" if has_id else "messageId")
    except DeclinedError as error:
        return error.declined


def is_on(integrations: Mapping[str, Any]) -> bool:
    """Return whether a message's ``integrations`` let it through.

    Source: "Spec: Common Fields", Integrations; names are case-sensitive ("HTTP API Source").
    """
    own = integrations.get(DESTINATION)
    return bool(own) if own is not None else integrations.get("All") is not False


def find_losses(message: Mapping[str, Any]) -> Iterator[str]:
    """Yield what of ``message`` has no effect or does not reach Meta, in plain words."""
    for name in message.get("integrations", {}):
        if name.lower() == DESTINATION.lower() and name != DESTINATION:
            yield f"integrations.{name} has no effect: the name is {DESTINATION}, case and all"
    if "dataProcessingOptions" in message.get("context", {}):
        yield "context.dataProcessingOptions is in no mapping: Meta does not get it"
    is_custom = message["type"] == "track" and message["event"] not in TRACK
    if is_custom and message.get("properties", {}).keys() - IDENTIFIERS:
        yield "properties are not in the mapping Custom Event: Meta gets none of them"


def _build(action: Action, message: Mapping[str, Any], id_path: str) -> dict[str, Any]:
    event_time = read_text(message, "timestamp")
    action_source = read_text(message, "properties.action_source")
    for path, value in (("timestamp", event_time), ("properties.action_source", action_source)):
        if not value:
            raise DeclinedError("missing", path, "required, but missing")
    if action_source not in ACTION_SOURCES:
        expected = ", ".join(ACTION_SOURCES)
        raise DeclinedError("type", "properties.action_source", f"must be one of {expected}")
    # All types are checked before anything else is.
    custom_data = _read_custom_data(action, message) if action.has_parameters else None
    user_data = _read_user_data(message)
    event = {
        "event_name": action.event_name,
        "event_time": event_time,
        "event_source_url": read_text(message, "context.page.url"),
        "event_id": read_text(message, id_path),
        "action_source": action_source,
        "user_data": user_data,
        "custom_data": custom_data,
    }
    if custom_data is not None:
        _check_custom_data(action, custom_data)
    has_user_agent = get(message, "context.userAgent") is not None
    if action.needs_user_agent and action_source == "website" and not has_user_agent:
        reason = "required for website events, but missing"
        raise DeclinedError("user_agent", "context.userAgent", reason)
    return {key: value for key, value in event.items() if value not in (None, "")}


def _read_custom_data(action: Action, message: Mapping[str, Any]) -> dict[str, Any]:
    custom_data: dict[str, Any] = {
        "currency": read_text(message, "properties.currency") or None,
        "value": read_number(message, f"properties.{action.value}") if action.value else None,
        "contents": _read_contents(action, message),
    }
    if action.ids and (product_id := read_text(message, f"properties.{action.ids}")) is not None:
        custom_data["content_ids"] = [product_id]
    for key, name in action.texts.items():
        custom_data[key] = read_text(message, f"properties.{name}") or None
    return {key: value for key, value in custom_data.items() if value is not None}


def _read_contents(action: Action, message: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Return ``contents`` from products, or from the one product that an event is.

    An object counts as a list of one.
    """
    if not action.lines:
        return None
    path = "properties.products" if action.lines == "products" else "properties"
    root = get(message, path)
    if root is None:
        return None
    contents: list[dict[str, Any]] = []
    items: list[Any] = root if isinstance(root, list) else [root]
    for i, item in enumerate(items):
        place = f"{path}[{i}]" if action.lines == "products" else path
        if not isinstance(item, Mapping):
            raise DeclinedError("type", place, "must be an object")
        line: dict[str, Any] = {
            "id": as_text(item.get("product_id"), f"{place}.product_id"),
            "quantity": as_integer(_fill(item, "quantity"), f"{place}.quantity"),
            "item_price": as_number(_fill(item, "price"), f"{place}.price"),
        }
        contents.append({key: value for key, value in line.items() if value is not None})
    return contents


def _fill(item: Mapping[str, Any], key: str) -> Any:
    """Return a number of a line, which is 0 where it is ``null``."""
    return 0 if key in item and item[key] is None else item.get(key)


def _check_custom_data(action: Action, custom_data: Mapping[str, Any]) -> None:
    for key in action.required:
        if key not in custom_data:
            name = action.value if key == "value" else key
            raise DeclinedError("missing", f"properties.{name}", "required, but missing")
    currency = custom_data.get("currency")
    if currency and currency not in CURRENCIES:
        reason = "must be an ISO 4217 code that it knows, in upper case"
        raise DeclinedError("currency", "properties.currency", reason)
    for i, line in enumerate(custom_data.get("contents", ())):
        if not line.get("id"):
            path = "properties" if action.lines == "self" else f"properties.products[{i}]"
            reason = f"contents[{i}] must include an 'id'"
            raise DeclinedError("contents", f"{path}.product_id", reason)


def _read_user_data(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``user_data``; an empty ``userId`` counts as one: there is no external id then."""
    user_id = message.get("userId")
    given = message.get("anonymousId") if user_id is None else user_id
    ids = [as_text(each, "userId") for each in (given if isinstance(given, list) else [given])]
    user_data: dict[str, Any] = {
        key: clean(read_text(message, path)) for key, (path, clean) in _PERSON.items()
    }
    user_data["external_id"] = [digest for each in ids if (digest := hash_text(each))]
    user_data |= {key: read_text(message, path) for key, path in _BROWSER.items()}
    return {key: value for key, value in user_data.items() if value}
