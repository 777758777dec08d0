"""Meta's ``custom_data``: a copy that JSON carries unchanged, checked as Meta checks it.

Strategy: nearly all properties are right, and msgspec finds that out at C speed. Only what it
refuses is looked at again, value by value, to mend it or to say what is wrong with which.

Source: Meta, "Standard Parameters" and "Pixel Reference", Object properties, read 2026-11-23.
"""

from __future__ import annotations

import math
import re
import sys
import uuid
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec

from bridge.errors import InvalidEventError
from bridge.events.money import CURRENCIES, check_currency, read_amount

MAX_DEPTH = 8  # nesting of custom_data
MAX_KEYS = 200  # keys of one object in custom_data
MAX_ITEMS = 1000  # items of one list in custom_data
MAX_TEXT = 5000  # characters of one text in custom_data

DELIVERY_CATEGORIES = ("in_store", "curbside", "home_delivery")

# Keys of people, not of purchases: they would be stored and sent in the clear.
PERSONAL_KEYS = frozenset(
    {
        *("address", "birthdate", "birthday", "date_of_birth", "dob", "e_mail", "em", "email"),
        *("email_address", "first_name", "firstname", "fn", "full_name", "gender", "last_name"),
        *("lastname", "ln", "mobile", "ph", "phone", "phone_number", "street"),
    }
)

_TEXT = (str, "text")
_NUMBER = ((int, float), "a number")
_LIST = (list, "a list")

# Source: Meta, "Standard Parameters" and "Pixel Reference", Object properties, read 2026-11-23.
_PROPERTY_TYPES: dict[str, tuple[Any, str]] = {
    "content_category": _TEXT,
    "content_ids": _LIST,
    "content_name": _TEXT,
    "content_type": _TEXT,
    "contents": _LIST,
    "delivery_category": _TEXT,
    "net_revenue": _NUMBER,
    "num_items": (int, "a whole number"),
    "order_id": _TEXT,
    "predicted_ltv": _NUMBER,
    "search_string": _TEXT,
}

_AMOUNTS = ("value", "net_revenue", "predicted_ltv")
_SPEC_AMOUNTS = (*_AMOUNTS, "revenue", "total", "price")
_COUNTS = ("num_items",)
_SPEC_COUNTS = (*_COUNTS, "quantity")
_LINES = (("contents", "item_price"),)
_SPEC_LINES = (*_LINES, ("products", "price"))
_COUNT = re.compile(r"[0-9]{1,9}")


_Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
_Finite = Annotated[float, msgspec.Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
_Amount = Annotated[float, msgspec.Meta(ge=0)]


def _build_plain_type(depth: int) -> Any:
    """Return the type of plain JSON with at most ``depth`` more levels of objects and lists."""
    scalar = _Text | int | _Finite | bool | None
    if depth == 0:
        return scalar
    inner = _build_plain_type(depth - 1)
    items: Any = Annotated[list[inner], msgspec.Meta(max_length=MAX_ITEMS)]  # type: ignore[valid-type]
    fields: Any = Annotated[dict[_Text, inner], msgspec.Meta(max_length=MAX_KEYS)]  # type: ignore[valid-type]
    return scalar | items | fields


_Fields: Any = Annotated[
    dict[_Text, _build_plain_type(MAX_DEPTH - 1)],  # type: ignore[misc]
    msgspec.Meta(max_length=MAX_KEYS),
]
# In a struct, whose type msgspec looks through only once.
_Plain: Any = msgspec.defstruct("_Plain", [("properties", _Fields)])


class _Line(msgspec.Struct):
    id: Annotated[str, msgspec.Meta(min_length=1)] | int
    quantity: Annotated[int, msgspec.Meta(ge=0)] = 1
    item_price: _Amount = 0.0


class _Standard(msgspec.Struct):
    """Meta's standard properties; others are not looked at."""

    value: _Amount | None = None
    currency: str | None = None
    content_category: str | None = None
    content_ids: list[str | int] | None = None
    content_name: str | None = None
    content_type: str | None = None
    contents: list[_Line] | None = None
    delivery_category: Literal["in_store", "curbside", "home_delivery"] | None = None
    net_revenue: float | None = None
    num_items: int | None = None
    order_id: str | None = None
    predicted_ltv: float | None = None
    search_string: str | None = None


def copy_plain(value: object, path: str) -> dict[str, Any]:
    """Return a deep copy of the object ``value`` that JSON can carry unchanged.

    A ``Decimal`` becomes a number, a date or UUID its text, an ``order_id`` that is a number text.

    Raises:
        InvalidEventError: It is no object, too large or deep, or holds what JSON cannot.
    """
    try:
        plain: dict[str, Any] = msgspec.convert({"properties": value}, _Plain).properties
        msgspec.json.encode(plain)
    except (msgspec.ValidationError, UnicodeEncodeError):
        if not isinstance(value, Mapping):
            kind = type(value).__name__
            raise InvalidEventError(path, f"expected an object, got {kind}") from None
        plain = _plain_object(value, path, MAX_DEPTH)
    order_id = plain.get("order_id")
    if isinstance(order_id, int) and not isinstance(order_id, bool):
        plain["order_id"] = str(order_id)
    return plain


def read_numbers(
    properties: dict[str, Any], path: str, *, is_spec: bool, also: tuple[str, ...] = ()
) -> None:
    """Turn amounts and counts that are text into numbers, and the currency into upper case.

    Args:
        properties: A plain copy; changed in place.
        path: What they are called, for the message.
        is_spec: They are in Segment's words rather than in Meta's.
        also: Further keys of amounts, an app's own.

    Raises:
        InvalidEventError: A text is no amount, or could be two; there is no such currency.
    """
    if not is_spec and _read_standard(properties) is not None:
        return
    currency = properties.get("currency")
    if isinstance(currency, str):
        properties["currency"] = currency = check_currency(currency.strip(), f"{path}.currency")
    for key in (*_SPEC_AMOUNTS, *also) if is_spec else _AMOUNTS:
        if isinstance(told := properties.get(key), str):
            properties[key] = read_amount(told, f"{path}.{key}", currency)
    _read_counts(properties, path, _SPEC_COUNTS if is_spec else _COUNTS)
    for key, price in _SPEC_LINES if is_spec else _LINES:
        lines = properties.get(key)
        for i, line in enumerate(lines) if isinstance(lines, list) else ():
            if not isinstance(line, dict):
                continue
            _read_counts(line, f"{path}.{key}[{i}]", ("quantity",))
            if isinstance(told := line.get(price), str):
                line[price] = read_amount(told, f"{path}.{key}[{i}].{price}", currency)


def _read_standard(properties: dict[str, Any]) -> _Standard | None:
    """Return the standard properties, if each is of its kind and the currency is one."""
    try:
        standard = msgspec.convert(properties, _Standard)
    except msgspec.ValidationError:
        return None
    return standard if standard.currency is None or standard.currency in CURRENCIES else None


def _read_counts(told: dict[str, Any], path: str, keys: tuple[str, ...]) -> None:
    for key in keys:
        count = told.get(key)
        if isinstance(count, str):
            if not _COUNT.fullmatch(count.strip()):
                raise InvalidEventError(f"{path}.{key}", "expected a whole number")
            told[key] = int(count)
        elif isinstance(count, float) and count.is_integer():
            told[key] = int(count)


def check_properties(properties: dict[str, Any], *, is_purchase: bool) -> None:
    """Check ``custom_data``: one property that Meta refuses refuses the whole batch.

    Raises:
        InvalidEventError: The message names the property.
    """
    standard = _read_standard(properties)
    if standard is not None and _is_complete(standard, is_purchase=is_purchase):
        return
    _check_kinds(properties)
    _check_money(properties, is_purchase=is_purchase)
    contents = properties.get("contents")
    for i, item in enumerate(contents or ()):
        if not isinstance(item, dict) or item.get("id") in (None, ""):
            raise InvalidEventError(f"custom_data.contents[{i}].id", "required, is missing")
        _check_item(item, f"custom_data.contents[{i}]")
    if is_purchase and contents == [] and not properties.get("content_ids"):
        raise InvalidEventError("custom_data.contents", "is empty: of what is it a purchase?")


def _is_complete(standard: _Standard, *, is_purchase: bool) -> bool:
    """Return whether properties that are each right are so together."""
    if standard.value is None:
        return not is_purchase
    is_about_something = standard.contents != [] or bool(standard.content_ids)
    return standard.currency is not None and (is_about_something or not is_purchase)


def _check_item(item: dict[str, Any], path: str) -> None:
    quantity, price = item.get("quantity", 1), item.get("item_price", 0)
    if not _is_number(quantity, int) or quantity < 0:
        raise InvalidEventError(f"{path}.quantity", "expected a whole number of 0 or more")
    if not _is_number(price, int | float) or price < 0:
        raise InvalidEventError(f"{path}.item_price", "expected a number of 0 or more")


def _is_number(value: object, kinds: Any) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


def _plain(value: object, path: str, depth: int) -> Any:
    """Return a copy of ``value`` that JSON can carry unchanged.

    msgspec would write NaN as ``null`` and a ``Decimal`` as text: both silently wrong as money.
    """
    if type(value) is dict and depth > 0:
        return _plain_object(value, path, depth)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        if len(value) > MAX_TEXT:
            raise InvalidEventError(path, f"expected at most {MAX_TEXT} characters")
        return _whole_text(value)
    if isinstance(value, float | Decimal):
        if not math.isfinite(value):
            raise InvalidEventError(path, "expected a finite number")
        return float(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    if depth == 0:
        raise InvalidEventError(path, f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        return _plain_object(value, path, depth)
    if isinstance(value, list | tuple):
        if len(value) > MAX_ITEMS:
            raise InvalidEventError(path, f"expected at most {MAX_ITEMS} items, got {len(value)}")
        return [
            item if _is_plain(item) else _plain(item, f"{path}[{i}]", depth - 1)
            for i, item in enumerate(value)
        ]
    raise InvalidEventError(path, f"expected a JSON value, got {type(value).__name__}")


def _whole_text(text: str) -> str:
    """Return ``text`` with a question mark for half a surrogate pair, which UTF-8 cannot hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _is_plain(value: Any) -> bool:
    """Whether ``value`` is what most properties are, which needs neither a copy nor its path."""
    kind = type(value)
    if kind is str:
        return len(value) <= MAX_TEXT and value.isascii()
    return kind is int or (kind is float and math.isfinite(value))


def _plain_object(value: Mapping[Any, object], path: str, depth: int) -> dict[str, Any]:
    if len(value) > MAX_KEYS:
        raise InvalidEventError(path, f"expected at most {MAX_KEYS} keys, got {len(value)}")
    plain = {}
    for key, item in value.items():
        if not isinstance(key, str) or len(key) > MAX_TEXT:
            raise InvalidEventError(path, f"expected short text as keys, got {type(key).__name__}")
        plain[_whole_text(key)] = (
            item if _is_plain(item) else _plain(item, f"{path}.{key}", depth - 1)
        )
    return plain


def _check_kinds(properties: dict[str, Any]) -> None:
    """Check the standard properties: one of a wrong type refuses the whole batch at Meta."""
    for key, value in properties.items():
        expected = _PROPERTY_TYPES.get(key)
        if expected is None or value is None:
            continue
        kinds, words = expected
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise InvalidEventError(
                f"custom_data.{key}", f"expected {words}, got {type(value).__name__}"
            )
    for i, item in enumerate(properties.get("content_ids") or []):
        if isinstance(item, bool) or not isinstance(item, str | int):
            raise InvalidEventError(
                f"custom_data.content_ids[{i}]", f"expected text, got {type(item).__name__}"
            )
    category = properties.get("delivery_category")
    if category is not None and category not in DELIVERY_CATEGORIES:
        raise InvalidEventError(
            "custom_data.delivery_category", f"expected {', '.join(DELIVERY_CATEGORIES)}"
        )


def _check_money(properties: dict[str, Any], *, is_purchase: bool) -> None:
    value, currency = properties.get("value"), properties.get("currency")
    if is_purchase and value is None:
        raise InvalidEventError("custom_data.value", "required for Purchase, is missing")
    if value is not None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            kind = type(value).__name__
            raise InvalidEventError(
                "custom_data.value", f"expected a number of 0 or more, got {kind}"
            )
        if value < 0:
            raise InvalidEventError("custom_data.value", "expected a number of 0 or more")
        if currency is None:
            raise InvalidEventError(
                "custom_data.currency", "required beside value, is missing; such as EUR"
            )
    if currency is not None and not isinstance(currency, str):
        raise InvalidEventError(
            "custom_data.currency", f"expected text, got {type(currency).__name__}"
        )
