"""Fields of a Segment destination: values from a message, as the fields' kinds want them.

Source: segmentio/action-destinations, ``core/src/mapping-kit``, ``core/src/schema-validation``
(coercion) and ``facebook-conversions-api/shared/functions`` (hashing), read 2026-11-25.
"""

from __future__ import annotations

import hashlib
import math
import re
from typing import Any

_HASH = re.compile(r"[0-9a-f]{64}", re.IGNORECASE)
_SPACE = re.compile(r"[\s\ufeff]")


class FieldError(Exception):
    """A field refuses its value; the text says which and why."""


def get(value: Any, path: str) -> Any:
    """Return what is at ``path``, such as ``"context.page.url"``, or ``None``."""
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def hash_text(value: Any, name: str) -> str | None:
    """Return SHA-256 of the lower-cased text without white space; a digest as it is."""
    text = _SPACE.sub("", as_text(value, name) or "").lower()
    if not text or _HASH.fullmatch(text):
        return text or None
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def hash_phone(value: Any, name: str) -> str | None:
    """Return SHA-256 of the digits; a text with a digest in it as it is."""
    text = as_text(value, name) or ""
    return text if _HASH.search(text) else hash_text(re.sub(r"[^0-9]", "", text), name)


def as_text(value: Any, name: str) -> str | None:
    """Return a string, or a number or boolean as one, or raise ``FieldError``."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (int, float)):
        return str(value)
    raise FieldError(f"{name} must be a string")


def as_number(value: Any, name: str) -> float | None:
    """Return a finite number, or a numeric string as one, or raise ``FieldError``."""
    if value is None:
        return None
    try:
        number = float(value) if isinstance(value, (int, float, str)) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise FieldError(f"{name} must be a number")
    return int(number) if number.is_integer() else number


def as_integer(value: Any, name: str) -> int | None:
    """Return a whole number, or raise ``FieldError``."""
    number = as_number(value, name)
    if number is not None and number != int(number):
        raise FieldError(f"{name} must be an integer")
    return None if number is None else int(number)
