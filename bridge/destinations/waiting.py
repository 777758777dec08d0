"""How long a destination asks to be left alone. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime

MAX_RETRY_AFTER = 3600.0  # seconds


def read_retry_after(headers: Mapping[str, str], *others: str) -> float | None:
    """Return ``Retry-After`` in seconds, at most an hour; else the first of ``others`` told.

    A date is measured against the answer's own ``Date``, so that our clock does not matter; without
    one it counts for nothing.

    Source: RFC 9110, 10.2.3 Retry-After and 6.6.1 Date, read 2026-11-24.
    """
    value = headers.get("retry-after", "").strip()
    for told in (value, *(headers.get(name, "").strip() for name in others)):
        if told.isascii() and told.isdigit():
            return min(float(told[:9]), MAX_RETRY_AFTER)
    try:
        wait = parsedate_to_datetime(value) - parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(max(wait.total_seconds(), 0.0), MAX_RETRY_AFTER)
