"""Properties as most of them are: copied, and known to be right and harmless, by one look.

Strategy: each standard property has a type here, of the values that Meta takes as they are and in
which nobody's data can be. It is made of the property's kind (``bridge.events.standard``) and of
what its key says to the tripwire (``bridge.events.personal_keys``). msgspec copies by these types
at C speed; it refuses or leaves out what is not of them, and then all is read step by step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, Required, TypedDict, get_origin

import msgspec

from bridge.events.money import CURRENCIES
from bridge.events.personal_keys import KEPT, NOTHING, judge_key
from bridge.events.personal_values import MIN_CARD, MIN_SECRET
from bridge.events.properties import MAX_ITEMS, MAX_KEYS, MAX_TEXT
from bridge.events.standard import (
    AMOUNT,
    COUNT,
    ENVELOPE,
    FILLED,
    ID,
    LINE,
    NUMBER,
    PROPERTIES,
    TEXT,
    Kind,
)

_Meta = msgspec.Meta
# No shape of personal data is in short words and at most five digits: see ``find_shape``.
_HARMLESS = (
    r"\A(?!(?:[^0-9]*[0-9]){6})"
    rf"[A-Za-z0-9'.,!?:/+-]{{1,{MIN_SECRET - 1}}}(?: [A-Za-z0-9'.,!?:/+-]{{1,{MIN_SECRET - 1}}})*\Z"
)
_Harmless = Annotated[str, _Meta(max_length=200, pattern=_HARMLESS)]
_Kept = Annotated[str, _Meta(min_length=1, max_length=MAX_TEXT)]
MAX_EXACT = 2**53  # a whole number that every program reads as it is
# No number is one: beside it msgspec makes no whole number of a float.
_NoFloat = Annotated[float, _Meta(ge=1, le=0)]
_Price = Annotated[int, _Meta(ge=0, lt=MIN_CARD)] | Annotated[float, _Meta(ge=0, lt=MIN_CARD)]
_TYPES: dict[Kind, Any] = {
    AMOUNT: _Price,
    NUMBER: _Price,
    COUNT: Annotated[int, _Meta(ge=0, lt=MIN_CARD)] | _NoFloat,
    ID: _Kept | Annotated[int, _Meta(ge=0, le=MAX_EXACT)] | _NoFloat,
}


def _list_types(kinds: dict[str, Kind], about: int) -> dict[str, Any]:
    """Return the type of each property that has one, in an object about ``about``."""
    types: dict[str, Any] = {}
    for key, kind in kinds.items():
        verdict = judge_key(key, about)
        if verdict.personal or verdict.is_public:
            continue
        if kind in (TEXT, FILLED):
            types[key] = _Kept if verdict is KEPT else _Harmless
        elif kind == ID and verdict is not KEPT:
            continue
        elif kind in _TYPES or get_origin(kind.schema) is Literal:
            types[key] = _TYPES.get(kind, kind.schema)
    return types


_line = _list_types(LINE, judge_key("contents", NOTHING).opens or NOTHING)
# Of its texts only the id is looked at.
_line = {key: each for key, each in _line.items() if each is not _Harmless}
_lines = {**_line, "id": Required[_TYPES[ID]]}
_Line: Any = TypedDict("_Line", _lines, total=False)  # type: ignore[misc]
_properties = {
    **_list_types(PROPERTIES, NOTHING),
    # A choice costs less than a look at the text.
    "currency": Literal[tuple(sorted(CURRENCIES))],
    "content_type": Literal["product", "product_group"],
    "content_ids": Annotated[list[_TYPES[ID]], _Meta(max_length=MAX_ITEMS)],  # type: ignore[valid-type]
    "contents": Annotated[list[_Line], _Meta(max_length=MAX_ITEMS)],
}
_KNOWN = ENVELOPE.union(PROPERTIES)
_Properties: Any = TypedDict("_Properties", _properties, total=False)  # type: ignore[misc]
# In a struct, whose type msgspec looks through only once.
_Given: Any = msgspec.defstruct("_Given", [("properties", _Properties)])


def copy_plain_properties(
    given: object, *, is_purchase: bool, copy_own: Callable[[dict[str, Any]], dict[str, Any] | None]
) -> dict[str, Any] | None:
    """Return a copy of properties that are right and harmless as they are.

    ``None`` asks for a closer look: nothing is known of them.

    Args:
        given: The properties of an event.
        is_purchase: Whether it is a purchase.
        copy_own: Does the same for those properties that Meta does not define.
    """
    if type(given) is not dict:
        return None
    try:
        plain: dict[str, Any] = msgspec.convert({"properties": given}, _Given).properties
    except (ValueError, TypeError, AttributeError):
        return None
    own = None
    if plain != given:  # a property without a type was left out
        own = {key: value for key, value in given.items() if key not in plain}
        is_known = not _KNOWN.isdisjoint(own) or {**plain, **own} != given
        if is_known or len(given) > MAX_KEYS or (own := copy_own(own)) is None:
            return None
    if "value" not in plain:
        if is_purchase:
            return None
    elif "currency" not in plain:
        return None
    if is_purchase and plain.get("contents") == [] and not plain.get("content_ids"):
        return None
    for value in plain.values():
        kind = type(value)
        if kind is str:
            if value.isspace() or not value.isascii():
                return None
        elif kind is list:
            for each in value:
                text = each["id"] if type(each) is dict else each
                if type(text) is str:
                    if text.isspace() or not text.isascii():
                        return None
                elif type(text) is not int:
                    return None
        elif kind is not float and kind is not int:
            return None  # a text of a framework's own kind
    if own is None:
        return plain
    copied = plain | own
    return {key: copied[key] for key in given if key in copied}
