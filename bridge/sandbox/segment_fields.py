"""Fields of a Segment destination: values of a message, as each field wants them.

A value becomes the type that is asked for where it can. An empty text and ``null`` count as
missing.

Source: segmentio/action-destinations, ``core/src/mapping-kit``, ``core/src/schema-validation``
(coercion) and ``facebook-conversions-api/shared/functions`` (hashing), read 2026-11-25.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from bridge.sandbox.copies import SPACE

_HASH = re.compile(r"[0-9a-f]{64}", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")

# Of the names that Meta knows the destination has the fifty states' only.
_NAMES = """
    alabama AL alaska AK arizona AZ arkansas AR california CA colorado CO connecticut CT delaware DE
    florida FL georgia GA hawaii HI idaho ID illinois IL indiana IN iowa IA kansas KS kentucky KY
    louisiana LA maine ME maryland MD massachusetts MA michigan MI minnesota MN mississippi MS
    missouri MO montana MT nebraska NE nevada NV newhampshire NH newjersey NJ newmexico NM
    newyork NY northcarolina NC northdakota ND ohio OH oklahoma OK oregon OR pennsylvania PA
    rhodeisland RI southcarolina SC southdakota SD tennessee TN texas TX utah UT vermont VT
    virginia VA washington WA westvirginia WV wisconsin WI wyoming WY
""".lower().split()
STATES = dict(zip(_NAMES[::2], _NAMES[1::2], strict=True))

Code = Literal["no_trigger", "missing", "type", "currency", "contents", "user_agent"]


class Declined(NamedTuple):
    """Why a destination sends nothing to Meta.

    Attributes:
        code: What kind of reason it is.
        path: The part of the message at fault, such as ``properties.currency``.
        reason: What is wrong with it.
    """

    code: Code
    path: str
    reason: str


class DeclinedError(Exception):
    """A field refuses its value."""

    def __init__(self, code: Code, path: str, reason: str) -> None:
        super().__init__(reason)
        self.declined = Declined(code, path, reason)


def get(message: Mapping[str, Any], path: str) -> Any:
    """Return what is at ``path``, such as ``"context.page.url"``, or ``None``."""
    value: Any = message
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def read_text(message: Mapping[str, Any], path: str) -> str | None:
    """Return what is at ``path`` as text, or raise ``DeclinedError``."""
    return as_text(get(message, path), path)


def read_number(message: Mapping[str, Any], path: str) -> int | float | None:
    """Return what is at ``path`` as a number, or raise ``DeclinedError``."""
    value = get(message, path)
    return None if value == "" else as_number(value, path)


def as_text(value: object, path: str) -> str | None:
    """Return a text, or a number or boolean as one, or raise ``DeclinedError``."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, int | float):
        return str(value)
    raise DeclinedError("type", path, "must be a string")


def as_number(value: object, path: str) -> int | float | None:
    """Return a finite number, or a text or boolean as one, or raise ``DeclinedError``."""
    if value is None:
        return None
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, int | float):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return int(value) if number.is_integer() else number
    raise DeclinedError("type", path, "must be a number")


def as_integer(value: object, path: str) -> int | None:
    """Return a whole number, or raise ``DeclinedError``."""
    number = as_number(value, path)
    if isinstance(number, float):
        raise DeclinedError("type", path, "must be an integer")
    return number


def hash_text(text: str | None) -> str:
    """Return SHA-256 of the lower-cased text without white space; a digest in lower case."""
    cleaned = _clean(text)
    if not cleaned or _HASH.fullmatch(cleaned):
        return cleaned
    return hashlib.sha256(cleaned.encode("utf-8", "replace")).hexdigest()


def hash_state(text: str | None) -> str:
    """Return the hash of a state, a US one's of its two letters."""
    cleaned = _clean(text)
    return hash_text(STATES.get(cleaned, cleaned))


def hash_phone(text: str | None) -> str:
    """Return SHA-256 of the digits, leading zeros too; a text with a digest in it as it is."""
    if not text or _HASH.search(text):
        return text or ""
    return hash_text(re.sub(r"[^0-9]", "", text))


def _clean(text: str | None) -> str:
    return SPACE.sub("", text or "").lower()
