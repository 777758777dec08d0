"""What Segment's own Meta destination makes of a message, as it is set up by default. Pure.

"Facebook Conversions API (Actions)" reads fixed places of a message, checks what it found, and
sends one event. Nothing here is sent: it shows what arrives at Meta when a message goes that way,
or why nothing does. One field has no default, so that whoever sets the destination up must choose:
the action source, which is read where Segment's own guide puts it, in ``properties``.

An empty text and ``null`` count as not told, but for the lines of ``contents``: there ``null`` is 0
as a number, and an empty text is none.

Source: segmentio/action-destinations, ``facebook-conversions-api`` (``shared/fields.ts``,
``shared/functions.ts``, ``shared/constants.ts``) and ``packages/core`` (mapping, type coercion),
read 2026-11-25, and compared with what the published package makes of thousands of messages
(@segment/action-destinations 3.497.0 of 2026-09-16).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from bridge.events.money import CURRENCIES
from bridge.events.normalizers import SHA256
from bridge.events.places import US_STATES

ACTION_SOURCES = (
    "email",
    "website",
    "app",
    "phone_call",
    "chat",
    "physical_store",
    "system_generated",
    "other",
)

# Where its own list of currencies differs from the one in use.
_NOT_LISTED = frozenset(("SLE", "VED", "XCG", "ZWG", "ZWL"))
_ALSO_LISTED = frozenset(
    re.findall(
        "[A-Z]{3}",
        """
        BOV CHE CHW COU MXV USN UYI UYW XAG XAU XBA XBB XBC XBD XDR XPD XPT XSU XTS XUA XXX ZWC
        """,
    )
)
_LISTED = (CURRENCIES | _ALSO_LISTED) - _NOT_LISTED

# Of the names that Meta knows it has the fifty states' only.
_STATES = {
    name: code
    for name, code in US_STATES.items()
    if code not in ("as", "dc", "gu", "mp", "pr", "vi")
}

_NOT_DIGIT = re.compile(r"[^0-9]")
_HASHED_INSIDE = re.compile(r"[0-9a-fA-F]{64}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")

# Not gender and not country: these have no default.
_PERSON: dict[str, str] = {
    "em": "context.traits.email",
    "db": "context.traits.birthday",
    "ln": "context.traits.lastName",
    "fn": "context.traits.firstName",
    "ct": "context.traits.address.city",
    "zp": "context.traits.address.postalCode",
}
_BROWSER: dict[str, str] = {
    "client_ip_address": "context.ip",
    "client_user_agent": "context.userAgent",
    "fbc": "properties.fbc",
    "fbp": "properties.fbp",
}


class Refusal(NamedTuple):
    """Why nothing reaches Meta.

    Attributes:
        code: ``no_trigger``, ``missing``, ``type``, ``currency``, ``contents`` or ``user_agent``.
        path: What in the message is at fault, such as ``properties.currency``.
        reason: What it asks for.
    """

    code: Literal["no_trigger", "missing", "type", "currency", "contents", "user_agent"]
    path: str
    reason: str


class Action(NamedTuple):
    """One default mapping.

    Attributes:
        event_name: Meta's.
        value: The property that is the value; ``""`` if none is.
        lines: What ``contents`` are made of: the list ``products``, or the properties themselves.
        texts: Further parameters, each the text of a property.
        ids: The property that becomes ``content_ids``.
        required: Parameters without which an event is refused.
    """

    event_name: str
    value: str = ""
    lines: Literal["", "products", "self"] = ""
    texts: Mapping[str, str] = {}
    ids: str = ""
    required: tuple[str, ...] = ()


PAGE = Action("PageView")
TRACK: dict[str, Action] = {
    "Order Completed": Action("Purchase", "revenue", "products", required=("currency", "value")),
    "Checkout Started": Action("InitiateCheckout", "revenue", "products"),
    "Product Added": Action("AddToCart", "price", "self"),
    "Product Viewed": Action("ViewContent", "price", "self", ids="product_id"),
    "Products Searched": Action("Search", lines="self", texts={"search_string": "query"}),
}
"""The default mapping of each track message that has one; the name must match exactly."""


class _RefusedError(Exception):
    def __init__(
        self,
        code: Literal["no_trigger", "missing", "type", "currency", "contents", "user_agent"],
        path: str,
        reason: str,
    ) -> None:
        super().__init__(reason)
        self.refusal = Refusal(code, path, reason)


def build_default(message: Mapping[str, Any]) -> dict[str, Any] | Refusal:
    """Return the event that Meta gets of ``message``, one object of ``data``; or why it gets none.

    Personal values that are no SHA-256 digests yet are hashed as that destination does it, which
    is not always as Meta asks: a birthday is not read as a date, a phone keeps leading zeros.

    Args:
        message: A track or page message, complete.
    """
    action = PAGE if message.get("type") == "page" else TRACK.get(str(message.get("event")))
    if action is None or message.get("type", "track") not in ("track", "page"):
        names = ", ".join(TRACK)
        return Refusal(
            "no_trigger", "event", f"no default mapping matches; they match {names} exactly"
        )
    try:
        return _build(action, message)
    except _RefusedError as error:
        return error.refusal


def _build(action: Action, message: Mapping[str, Any]) -> dict[str, Any]:
    event_time = _read_text(message, "timestamp")
    action_source = _read_text(message, "properties.action_source")
    for path, told in (("timestamp", event_time), ("properties.action_source", action_source)):
        if told is None:
            raise _RefusedError("missing", path, "required, is missing")
    if action_source not in ACTION_SOURCES:
        expected = ", ".join(ACTION_SOURCES)
        raise _RefusedError("type", "properties.action_source", f"expected one of {expected}")
    # All types are checked before anything else is.
    custom_data = _read_custom_data(action, message)
    user_data = _read_user_data(message)
    if action is not PAGE:
        _check_custom_data(action, custom_data)
    if action_source == "website" and _dig(message, "context.userAgent") is None:
        raise _RefusedError(
            "user_agent", "context.userAgent", "required for website events, is missing"
        )
    built: dict[str, Any] = {
        "event_name": action.event_name,
        "event_time": event_time,
        "event_source_url": _read_text(message, "context.page.url"),
        "event_id": _read_text(message, "messageId"),
        "action_source": action_source,
        "user_data": user_data,
    }
    if action is not PAGE:
        built["custom_data"] = custom_data
    return {key: told for key, told in built.items() if told not in (None, "")}


def _read_custom_data(action: Action, message: Mapping[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "currency": _read_text(message, "properties.currency") or None,
        "value": _read_number(message, f"properties.{action.value}") if action.value else None,
        "content_ids": None,
        "contents": _read_contents(action, message),
    }
    if action.ids and (known := _read_text(message, f"properties.{action.ids}")) is not None:
        told["content_ids"] = [known]
    for key, name in action.texts.items():
        told[key] = _read_text(message, f"properties.{name}") or None
    return {key: item for key, item in told.items() if item is not None}


def _read_contents(action: Action, message: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    if not action.lines:
        return None
    path = "properties.products" if action.lines == "products" else "properties"
    root = _dig(message, path)
    if root is None:
        return None
    contents: list[dict[str, Any]] = []
    items: list[Any] = root if isinstance(root, list) else [root]
    for i, item in enumerate(items):
        if not isinstance(item, Mapping):
            raise _RefusedError("type", f"{path}[{i}]", "expected an object")
        place = f"{path}[{i}]" if action.lines == "products" else path
        line: dict[str, Any] = {
            "id": _text(item.get("product_id"), f"{place}.product_id"),
            "quantity": _whole(_fill(item, "quantity"), f"{place}.quantity"),
            "item_price": _number(_fill(item, "price"), f"{place}.price"),
        }
        contents.append({key: told for key, told in line.items() if told is not None})
    return contents


def _fill(item: Mapping[str, Any], key: str) -> Any:
    """Return a number of a line, which is 0 where it is ``null``."""
    return 0 if key in item and item[key] is None else item.get(key)


def _check_custom_data(action: Action, custom_data: Mapping[str, Any]) -> None:
    for key in action.required:
        if key not in custom_data:
            name = action.value if key == "value" else key
            raise _RefusedError("missing", f"properties.{name}", "required, is missing")
    currency = custom_data.get("currency")
    if currency and currency not in _LISTED:
        raise _RefusedError(
            "currency", "properties.currency", "expected an ISO 4217 code that it knows, upper case"
        )
    for i, line in enumerate(custom_data.get("contents", ())):
        if not line.get("id"):
            path = "properties" if action.lines == "self" else f"properties.products[{i}]"
            raise _RefusedError(
                "contents", f"{path}.product_id", f"contents[{i}] must include an 'id'"
            )


def _read_user_data(message: Mapping[str, Any]) -> dict[str, Any]:
    user_id = message.get("userId")
    known = message.get("anonymousId") if user_id is None else user_id
    ids = [_text(each, "userId") for each in (known if isinstance(known, list) else [known])]
    digests = [digest for each in ids if (digest := _clean_and_hash(each))]
    user_data: dict[str, Any] = {
        key: _clean_and_hash(_read_text(message, path)) for key, path in _PERSON.items()
    }
    user_data["ph"] = _hash_phone(_read_text(message, "context.traits.phone"))
    state = _clean(_read_text(message, "context.traits.address.state"))
    user_data["st"] = _hash(_STATES.get(state, state))
    user_data["external_id"] = digests
    user_data |= {key: _read_text(message, path) for key, path in _BROWSER.items()}
    return {key: told for key, told in user_data.items() if told}


def _dig(message: Mapping[str, Any], path: str) -> Any:
    told: Any = message
    for key in path.split("."):
        told = told.get(key) if isinstance(told, Mapping) else None
    return told


def _read_text(message: Mapping[str, Any], path: str) -> str | None:
    return _text(_dig(message, path), path)


def _read_number(message: Mapping[str, Any], path: str) -> int | float | None:
    told = _dig(message, path)
    return None if told == "" else _number(told, path)


# Values become the type that is asked for where they can, as its JSON schema has it.


def _text(told: object, path: str) -> str | None:
    if told is None or isinstance(told, str):
        return told
    if isinstance(told, bool):
        return str(told).lower()
    if isinstance(told, float) and told.is_integer():
        return str(int(told))
    if isinstance(told, int | float):
        return str(told)
    raise _RefusedError("type", path, "expected text")


def _number(told: object, path: str) -> int | float | None:
    if told is None:
        return None
    if isinstance(told, bool):
        return int(told)
    if isinstance(told, int | float):
        return told
    if isinstance(told, str) and _NUMBER.fullmatch(told.strip()):
        number = float(told)
        return int(number) if number.is_integer() else number
    raise _RefusedError("type", path, "expected a number")


def _whole(told: object, path: str) -> int | float | None:
    number = _number(told, path)
    if isinstance(number, float) and not number.is_integer():
        raise _RefusedError("type", path, "expected a whole number")
    return number


def _clean(text: str | None) -> str:
    return "".join((text or "").split()).lower()


def _clean_and_hash(text: str | None) -> str:
    return _hash(_clean(text))


def _hash(text: str) -> str:
    if not text or SHA256.fullmatch(text):
        return text
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _hash_phone(text: str | None) -> str:
    if not text or _HASHED_INSIDE.search(text):
        return text or ""
    return _hash(_NOT_DIGIT.sub("", text))
