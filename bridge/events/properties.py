"""An event's properties: a copy that JSON carries unchanged, its numbers read, checked as by Meta.

Strategy: nearly all properties are right, and msgspec finds that out at C speed. Only what it
refuses is looked at again, value by value, to convert it or to say what is wrong with which.
"""

from __future__ import annotations

import dataclasses
import enum
import math
import numbers
import re
import sys
import uuid
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Annotated, Any

import msgspec

from bridge.errors import InvalidEventError
from bridge.events.money import CURRENCIES, check_currency, read_amount
from bridge.events.standard import (
    AMOUNT,
    AMOUNTS,
    COUNTS,
    ENVELOPE,
    ID,
    LINE,
    PROPERTIES,
    STORE,
    Kind,
)

MAX_DEPTH = 8  # levels of objects and lists
MAX_KEYS = 200  # keys of one object
MAX_ITEMS = 1000  # items of one list
MAX_TEXT = 5000  # characters of one text
MAX_WHOLE = 2**63 - 1  # few programs read back as it was what has more than 64 bits

_SPEC_AMOUNTS = (*AMOUNTS, "revenue", "total", "price")
_SPEC_COUNTS = (*COUNTS, "quantity")
_LINES = (("contents", "item_price"), ("contents", "price"))
_SPEC_LINES = (*_LINES, ("products", "price"))
_COUNT = re.compile(r"([0-9]{1,9})(?:\.0+)?")
_LISTS = ("content_ids", "contents", "products")

_Key = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
# An empty text and ``None`` are looked at closely: they count as not given.
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT)]
_Finite = Annotated[float, msgspec.Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
_Whole = Annotated[int, msgspec.Meta(ge=-MAX_WHOLE - 1, le=MAX_WHOLE)]


def _build_plain_type(depth: int) -> Any:
    """Return the type of plain JSON with at most ``depth`` more levels of objects and lists."""
    scalar = _Text | _Whole | _Finite | bool
    if depth == 0:
        return scalar
    inner = _build_plain_type(depth - 1)
    items: Any = Annotated[list[inner], msgspec.Meta(max_length=MAX_ITEMS)]  # type: ignore[valid-type]
    fields: Any = Annotated[dict[_Key, inner], msgspec.Meta(max_length=MAX_KEYS)]  # type: ignore[valid-type]
    return scalar | items | fields


_Fields: Any = Annotated[
    dict[_Key, _build_plain_type(MAX_DEPTH - 1)],  # type: ignore[misc]
    msgspec.Meta(max_length=MAX_KEYS),
]
# In a struct, whose type msgspec looks through only once.
_Plain: Any = msgspec.defstruct("_Plain", [("properties", _Fields)])

_Line = msgspec.defstruct(
    "_Line",
    [
        (key, kind.schema) if key == "id" else (key, kind.schema, msgspec.UNSET)
        for key, kind in LINE.items()
    ],
)
_Standard: Any = msgspec.defstruct(
    "_Standard",
    [
        (key, (list[_Line] if key == "contents" else kind.schema) | None, None)  # type: ignore[valid-type]
        for key, kind in PROPERTIES.items()
    ]
    # No value is right here: these take a closer look.
    + [(key, msgspec.UnsetType, msgspec.UNSET) for key in sorted(ENVELOPE)],
)


def copy_plain(value: object, path: str) -> dict[str, Any]:
    """Return a deep copy of the object ``value`` that JSON can carry unchanged.

    A dataclass or a pydantic model counts as an object. A ``Decimal`` or a NumPy number becomes a
    number, a date or UUID its text, an ``order_id`` that is a number text.

    Raises:
        InvalidEventError: It is no object, too large or deep, or holds what JSON cannot.
    """
    return _copy(value, path)[0]


def copy_properties(value: object, path: str) -> dict[str, Any]:
    """Return what ``copy_plain`` returns, without ``None`` and empty texts: they are not given.

    Source: Meta's Python SDK 26 leaves ``None`` out; Graph refuses ``null`` with the whole batch.
    """
    plain, is_filled = _copy(value, path)
    if not is_filled:
        plain = _keep_given(plain)
    return plain


def read_lists(properties: dict[str, Any], path: str) -> bool:
    """Replace lists of products that are JSON in a text; return whether there was one.

    A plain copy is changed in place. A text that is no list stays: it is refused by name later.
    """
    found = False
    for key in _LISTS:
        if isinstance(text := properties.get(key), str):
            properties[key] = read = _read_list(text, f"{path}.{key}")
            found = found or isinstance(read, list)
    return found


def _copy(value: object, path: str) -> tuple[dict[str, Any], bool]:
    """Return a plain copy of the object ``value``, and whether all in it is surely given."""
    try:
        plain: dict[str, Any] = msgspec.convert({"properties": value}, _Plain).properties
        msgspec.json.encode(plain)
        is_filled = True
    except (ValueError, TypeError, AttributeError):  # msgspec asks NumPy's numbers for keys
        fields = _read_fields(value)
        if fields is None:
            kind = type(value).__name__
            raise InvalidEventError(path, f"expected an object, got {kind}") from None
        plain = _plain_object(fields, path, MAX_DEPTH)
        is_filled = False
    order_id = plain.get("order_id")
    if isinstance(order_id, int) and not isinstance(order_id, bool):
        plain["order_id"] = str(order_id)
    return plain, is_filled


def _keep_given(value: Any, *, is_line: bool = False) -> Any:
    """Return ``value`` without the keys that hold nothing, and without such items of products."""
    if isinstance(value, dict):
        return {
            key: _keep_given(each, is_line=key in _LISTS)
            for key, each in value.items()
            if each is not None and each != ""
        }
    if isinstance(value, list):
        # Elsewhere a list may count by places.
        return [_keep_given(each) for each in value if not is_line or each not in (None, "")]
    return value


def _read_list(text: str, path: str) -> Any:
    """Return the list that ``text`` is as JSON; the text itself if it is none."""
    try:
        items = msgspec.json.decode(text) if text.lstrip()[:1] == "[" else text
        return _keep_given(_plain(items, path, MAX_DEPTH - 1), is_line=True)
    except (msgspec.DecodeError, InvalidEventError, RecursionError):
        return text


def read_numbers(
    properties: dict[str, Any], path: str, *, is_spec: bool, also: tuple[str, ...] = ()
) -> None:
    """Turn amounts and counts that are text into numbers, and the currency into upper case.

    A plain copy is changed in place. ``is_spec`` if it is in Segment's words rather than in Meta's;
    ``also`` are further keys of amounts, an app's own.

    Raises:
        InvalidEventError: A text is no amount, or could be two; there is no such currency.
    """
    currency = properties.get("currency")
    if isinstance(currency, str):
        properties["currency"] = currency = check_currency(currency.strip(), f"{path}.currency")
    for key in (*_SPEC_AMOUNTS, *also) if is_spec else AMOUNTS:
        if isinstance(given := properties.get(key), str):
            properties[key] = read_amount(given, f"{path}.{key}", currency)
    _read_counts(properties, path, _SPEC_COUNTS if is_spec else COUNTS)
    for key, price in _SPEC_LINES if is_spec else _LINES:
        lines = properties.get(key)
        for i, line in enumerate(lines) if isinstance(lines, list) else ():
            if not isinstance(line, dict):
                continue
            _read_counts(line, f"{path}.{key}[{i}]", ("quantity",))
            if isinstance(given := line.get(price), str):
                line[price] = read_amount(given, f"{path}.{key}[{i}].{price}", currency)


def _read_counts(properties: dict[str, Any], path: str, keys: tuple[str, ...]) -> None:
    for key in keys:
        count = properties.get(key)
        if isinstance(count, str):
            if (match := _COUNT.fullmatch(count.strip())) is None:
                raise InvalidEventError(f"{path}.{key}", "expected a whole number")
            properties[key] = int(match[1])
        elif isinstance(count, float) and count.is_integer():
            properties[key] = int(count)


def are_right(properties: dict[str, Any], *, is_purchase: bool) -> bool:
    """Return whether Meta takes ``properties`` as they are; ``False`` asks for a closer look."""
    try:
        standard = msgspec.convert(properties, _Standard)
    except msgspec.ValidationError:
        return False
    if standard.store_data is not None:
        return False
    for text in (
        standard.order_id,
        standard.content_type,
        standard.event_source,
        standard.lead_event_source,
    ):
        if text is not None and text.isspace():
            return False
    for item in standard.content_ids or ():
        if type(item) is str and item.isspace():
            return False
    for line in standard.contents or ():
        if type(line.id) is str and line.id.isspace():
            return False
    if standard.currency is not None and standard.currency not in CURRENCIES:
        return False
    if standard.value is None:
        return not is_purchase
    is_about_something = standard.contents != [] or bool(standard.content_ids)
    return standard.currency is not None and (is_about_something or not is_purchase)


def check_properties(properties: dict[str, Any], *, is_purchase: bool) -> None:
    """Check ``custom_data``: one property that Meta refuses refuses the whole batch.

    Raises:
        InvalidEventError: The message names the property.
    """
    if are_right(properties, is_purchase=is_purchase):
        return
    path = "custom_data"
    if (value := properties.get("value")) is None:
        if is_purchase:
            raise InvalidEventError(f"{path}.value", "required for Purchase, is missing")
    elif not AMOUNT.holds(value):
        raise InvalidEventError(f"{path}.value", f"expected {AMOUNT.words}")
    elif properties.get("currency") is None:
        words = "required beside value, is missing; such as EUR"
        raise InvalidEventError(f"{path}.currency", words)
    contents, ids = properties.get("contents"), properties.get("content_ids")
    # The lines first: the number of items may be their sum.
    for i, item in enumerate(contents if isinstance(contents, list) else ()):
        if not isinstance(item, dict) or item.get("id") in (None, ""):
            raise InvalidEventError(f"{path}.contents[{i}].id", "required, is missing")
        check_kinds(item, LINE, f"{path}.contents[{i}]")
    check_kinds(properties, PROPERTIES, path, skip_nulls=True)
    check_kinds(properties.get("store_data") or {}, STORE, f"{path}.store_data")
    for i, item in enumerate(ids or ()):
        if not ID.holds(item):
            reason = f"expected {ID.words}, got {type(item).__name__}"
            raise InvalidEventError(f"{path}.content_ids[{i}]", reason)
    if is_purchase and contents == [] and not ids:
        raise InvalidEventError(f"{path}.contents", "is empty: of what is it a purchase?")


def check_kinds(
    values: Mapping[str, Any], kinds: Mapping[str, Kind], path: str, *, skip_nulls: bool = False
) -> None:
    """Check each of ``values`` that is listed in ``kinds``; the others may be anything.

    Raises:
        InvalidEventError: One is of another kind; the message names it, without its value.
    """
    for key, value in values.items():
        kind = kinds.get(key)
        if kind is None or (value is None and skip_nulls) or kind.holds(value):
            continue
        raise InvalidEventError(
            f"{path}.{key}", f"expected {kind.words}, got {type(value).__name__}"
        )


def _plain(value: object, path: str, depth: int) -> Any:
    """Return a copy of ``value`` that JSON can carry unchanged.

    msgspec would write NaN as ``null`` and a ``Decimal`` as text: both silently wrong as money.
    """
    if type(value) is dict and depth > 0:
        return _plain_object(value, path, depth)
    if isinstance(value, enum.Enum):
        value = value.value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        if len(value) > MAX_TEXT:
            raise InvalidEventError(path, f"expected at most {MAX_TEXT} characters")
        return _whole_text(value)
    if isinstance(value, numbers.Integral):
        return _plain_whole(int(value), path)
    if isinstance(value, numbers.Real | Decimal):
        return _plain_float(value, path)
    if isinstance(value, date):
        # Another library's date that is none equals nothing.
        return value.isoformat() if value == value else None
    if isinstance(value, uuid.UUID):
        return str(value)
    if depth == 0:
        raise InvalidEventError(path, f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, list | tuple):
        if len(value) > MAX_ITEMS:
            raise InvalidEventError(path, f"expected at most {MAX_ITEMS} items, got {len(value)}")
        return [
            item if _is_plain(item) else _plain(item, f"{path}[{i}]", depth - 1)
            for i, item in enumerate(value)
        ]
    if (fields := _read_fields(value)) is not None:
        return _plain_object(fields, path, depth)
    # An array or a flag of NumPy's, and of those that follow it.
    if (items := _list_items(value)) is not value:
        return _plain(items, path, depth)
    raise InvalidEventError(path, f"expected a JSON value, got {type(value).__name__}")


def _plain_whole(value: int, path: str) -> int:
    if not -MAX_WHOLE - 1 <= value <= MAX_WHOLE:
        raise InvalidEventError(path, "expected a number of at most 64 bits")
    return value


def _plain_float(value: Any, path: str) -> float:
    try:
        number = float(value)
    except (ArithmeticError, ValueError):  # a signalling NaN, or a fraction that is too large
        number = math.nan
    if not math.isfinite(number):
        raise InvalidEventError(path, "expected a finite number")
    return number


def _read_fields(value: object) -> Mapping[Any, object] | None:
    """Return the fields of an object: a mapping, a dataclass, a model; ``None`` if it is none."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, type):
        return None
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, msgspec.Struct):
        return {key: getattr(value, key) for key in value.__struct_fields__}
    for name in ("model_dump", "_asdict"):  # pydantic's, and a named tuple's
        if callable(dump := getattr(value, name, None)) and isinstance(found := dump(), Mapping):
            return found
    return None


def _list_items(value: object) -> object:
    """Return what an array holds as plain Python; ``value`` itself if it does not say."""
    to_list = getattr(value, "tolist", None)
    items = to_list() if callable(to_list) and not isinstance(value, type) else value
    return items if isinstance(items, list | str | int | float | date) else value


def _whole_text(text: str) -> str:
    """Return ``text`` as plain text, with a question mark for each half surrogate pair."""
    plain = str.__str__(text)  # of a template's own kind of text, or of an enum: its characters
    return plain if plain.isascii() else plain.encode("utf-8", "replace").decode()


def _is_plain(value: Any) -> bool:
    """Whether ``value`` is what most properties are, which needs neither a copy nor its path."""
    kind = type(value)
    if kind is str:
        return len(value) <= MAX_TEXT and value.isascii()
    return (kind is int and -MAX_WHOLE <= value <= MAX_WHOLE) or (
        kind is float and math.isfinite(value)
    )


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
