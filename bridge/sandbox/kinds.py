"""The kinds of value in Meta's parameter tables, and the check of an object against a table."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from bridge.sandbox.refusal import Refusal, refuse

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


class Kind(NamedTuple):
    """A kind of value: its name in plain words, and whether a decoded JSON value is one."""

    name: str
    holds: Callable[[Any], bool]


def is_text(value: Any) -> bool:
    """Return whether ``value`` is a string with something other than space in it."""
    return isinstance(value, str) and bool(value.strip())


def is_integer(value: Any) -> bool:
    """Return whether ``value`` is an integer; ``true`` and ``1.0`` are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def parse_number(value: Any) -> float | None:
    """Return a finite number from a JSON number or numeric string, else ``None``.

    Source: Meta, "Standard Parameters", ``value``: a number; samples on the same site show strings.
    """
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _is_list_of(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(holds(item) for item in value)


def _is_id(value: Any) -> bool:
    return is_text(value) or is_integer(value)


def one_of(*values: str | int) -> Kind:
    """Return the kind of which ``values`` are the only members."""
    return Kind(
        "one of " + ", ".join(map(str, values)),
        lambda value: type(value) in (str, int) and value in values,
    )


def matching(name: str, pattern: str) -> Kind:
    """Return the kind of strings that ``pattern`` matches from end to end."""
    compiled = re.compile(pattern)
    return Kind(name, lambda value: isinstance(value, str) and bool(compiled.fullmatch(value)))


def digits(least: int, most: int) -> Kind:
    """Return the kind of integers, or strings of digits, with ``least`` to ``most`` digits."""
    text = matching(f"an integer of {least} to {most} digits", rf"[0-9]{{{least},{most}}}")
    return Kind(text.name, lambda v: text.holds(str(v) if is_integer(v) else v))


def all_of(kind: Kind, *keys: str) -> dict[str, Kind]:
    """Return the part of a table that has these ``keys``, all of one kind."""
    return dict.fromkeys(keys, kind)


ANY = Kind("any value", lambda value: True)
TEXT = Kind("a non-empty string", is_text)
STRING = Kind("a string", lambda value: isinstance(value, str))
INTEGER = Kind("an integer", is_integer)
UNSIGNED = Kind("a non-negative integer", lambda value: is_integer(value) and value >= 0)
COUNT = Kind("a non-negative integer", lambda value: digits(1, 15).holds(value))
NUMBER = Kind("a finite number", lambda value: parse_number(value) is not None)
BOOLEAN = Kind("true or false", lambda value: isinstance(value, bool))
FLAG = Kind("0 or 1", lambda value: isinstance(value, (bool, int)) and value in (0, 1))
ID = Kind("a non-empty string or an integer", _is_id)
IDS = Kind("an array of strings or integers", _is_list_of(_is_id))
STRINGS = Kind("an array of strings", _is_list_of(lambda value: isinstance(value, str)))
TEXTS = Kind(
    "a non-empty string or an array of them",
    lambda value: is_text(value) or _is_list_of(is_text)(value),
)
OBJECT = Kind("an object", lambda value: isinstance(value, dict))
OBJECTS = Kind("an array of objects", _is_list_of(lambda value: isinstance(value, dict)))
LIST = Kind("an array", lambda value: isinstance(value, list))
SCALAR = Kind("a string or a boolean", lambda value: isinstance(value, (str, bool)))
URL = matching("a URL that starts with http:// or https://", r"https?://[^\s/?#]+[^\s]*")


def check_object(
    value: Mapping[str, Any], kinds: Mapping[str, Kind], at: str, *, closed: bool = True
) -> Iterator[Refusal]:
    """Yield a refusal for each key of ``value`` that is not of its kind, or not in a closed table.

    ``at`` is the path of ``value`` in the request, such as ``"data[0][user_data]"``.

    Source: Meta's answer "unexpected key", as in facebook-nodejs-business-sdk, issue 258.
    """
    for key, item in value.items():
        kind = kinds.get(key)
        if kind is None:
            if closed:
                yield Refusal(message=f'Unexpected key "{key}" on param {at}', field=f"{at}[{key}]")
        elif not kind.holds(item):
            yield refuse(at, key, f"must be {kind.name}")


def check_required(value: Mapping[str, Any], keys: Iterable[str], at: str) -> Iterator[Refusal]:
    """Yield a refusal for each of ``keys`` that ``value`` does not have."""
    for key in keys:
        if key not in value:
            yield refuse(at, key, "is required")
