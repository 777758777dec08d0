"""HTTP for destinations: base addresses, ``Retry-After``, messages that are safe to show. Pure.

Servers quote what they were sent: whole, percent-encoded, or only its beginning.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from bridge.errors import ConfigError

SCHEMES = ("http", "https")
MAX_RETRY_AFTER = 3600.0  # seconds
MIN_SECRET = 12  # characters of a secret's beginning that already count as the secret
MASK = "[access token]"
MAX_SHOWN = 24  # characters of a mistaken value

_BASE_URL = re.compile(r"(?!.*[?#\\])[!-~]{1,2048}")


def describe(text: str) -> str:
    """Return a mistaken value for a message: whole if it is short, for a long one may be a secret.

    A token or a key in the wrong place has 32 characters or more.
    """
    return repr(text) if len(text) <= MAX_SHOWN else f"{len(text)} characters"


def check_base_url(url: str, argument: str, expected: str) -> None:
    """Refuse a base address that no request can be sent to, without showing a password in it.

    Raises:
        ConfigError: It is not a usable address.
    """
    if "@" in url:
        raise ConfigError(
            f"{argument} must not hold a user name or password, which logs would show"
        )
    shown = repr(url.partition("?")[0][:200]) if "://" in url else describe(url)
    try:
        parts = urlsplit(url)
        # Reading a port over 65535 raises.
        is_address = bool(parts.hostname) and parts.port != 0 and parts.scheme in SCHEMES
    except ValueError:
        is_address = False
    if not is_address or not _BASE_URL.fullmatch(url):
        raise ConfigError(f"{argument} must be {expected}, got {shown}")


def read_retry_after(headers: Mapping[str, str], *others: str) -> float | None:
    """Return ``Retry-After`` in seconds, at most an hour; else the first of ``others`` given.

    A date is compared with the answer's own ``Date``, so that our clock does not matter; without
    one it is ignored.

    Source: RFC 9110, 10.2.3 Retry-After and 6.6.1 Date, read 2026-11-24.
    """
    value = headers.get("retry-after", "").strip()
    for text in (value, *(headers.get(name, "").strip() for name in others)):
        if text.isascii() and text.isdigit():
            return min(float(text[:9]), MAX_RETRY_AFTER)
    try:
        wait = parsedate_to_datetime(value) - parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(max(wait.total_seconds(), 0.0), MAX_RETRY_AFTER)


def clean_words(text: str, limit: int, *, secret: str) -> str:
    """Return at most ``limit`` characters of ``text`` on one line, with ``secret`` masked."""
    # Masked first: a cut could leave a part of the secret that is not recognised.
    masked = mask(text, secret)[:limit]
    return "".join(letter if letter.isprintable() else " " for letter in masked)


def mask(text: str, secret: str) -> str:
    """Return ``text`` with ``secret`` masked, and its beginning of 12 characters or more.

    Any character may be percent-encoded: ``"AB|C"`` is found in ``"token=AB%7cC"`` too.
    """
    if not secret:
        return text
    head = re.compile("".join(map(_build_pattern, secret[:MIN_SECRET])))
    tail = [re.compile(_build_pattern(letter)) for letter in secret[MIN_SECRET:]]
    pieces, start = list[str](), 0
    while found := head.search(text, start):
        pieces += [text[start : found.start()], MASK]
        start = _find_end(text, found.end(), tail)
    return "".join([*pieces, text[start:]])


def _find_end(text: str, at: int, letters: list[re.Pattern[str]]) -> int:
    """Return where the ``letters`` found at ``at`` end."""
    for letter in letters:
        found = letter.match(text, at)
        if found is None:
            break
        at = found.end()
    return at


def _build_pattern(letter: str) -> str:
    encoded = "".join(f"%{byte:02x}" for byte in letter.encode("utf-8", "surrogatepass"))
    return f"(?:{re.escape(letter)}|(?i:{encoded}))"
