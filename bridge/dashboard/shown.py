"""What is shown of a stored event: enough to see what is wrong, too little to find a person. Pure.

Hashes lose all but 8 characters, which tells two people apart; addresses and user agents are cut.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from bridge.figures.words import IDENTIFIERS

HASH_SHOWN = 8  # characters of a hash
TEXT_SHOWN = 4  # characters of what else is somebody's own, and never more than half
UA_SHOWN = 16  # characters of a user agent: its product, not its device
MAX_DEPTH = 20  # of a payload; what lies deeper is left out
MAX_TEXT = 500  # characters of a value

_HASH = re.compile(r"[0-9a-fA-F]{32,}")
_META_ID = re.compile(r"(fb\.\d\.)\d+\..*", re.DOTALL)
_ADDRESS = re.compile(
    r"(?<![\w.:])(?:(\d{1,3}\.\d{1,3})\.\d{1,3}\.\d{1,3}|([0-9a-f]{1,4}:[0-9a-f]{0,4}):[0-9a-f:.]+)(?![\w.:])",
    re.IGNORECASE,
)
# Keys below which everything is somebody's own, in Meta's words and in Segment's.
_PERSONAL = frozenset({"user_data", "traits", "externalIds"})
_IDS = frozenset({"userId", "anonymousId", "previousId", "user_id", "anonymous_id"})
_USER_AGENTS = frozenset({"client_user_agent", "userAgent"})


def read_payload(body: bytes) -> Any:
    """Return a stored body as decoded JSON, ``None`` if it is none."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def shorten_payload(payload: Any, *, is_personal: bool = False, depth: int = 0) -> Any:
    """Return a payload as it may be shown; below ``user_data`` and ``traits`` every text is cut."""
    if depth > MAX_DEPTH:
        return "…"
    if isinstance(payload, dict):
        return {
            shorten_text(str(key)): _shorten_field(
                str(key), value, is_personal=is_personal, depth=depth + 1
            )
            for key, value in payload.items()
        }
    if isinstance(payload, list):
        return [shorten_payload(item, is_personal=is_personal, depth=depth + 1) for item in payload]
    if is_personal and payload is not None:
        return shorten_personal(str(payload))
    return shorten_text(payload) if isinstance(payload, str) else payload


def _shorten_field(key: str, value: Any, *, is_personal: bool, depth: int) -> Any:
    if isinstance(value, str):
        if key in _USER_AGENTS:
            return cut(value, UA_SHOWN)
        if key in _IDS:
            return shorten_personal(value)
    return shorten_payload(value, is_personal=is_personal or key in _PERSONAL, depth=depth)


def shorten_text(text: str) -> str:
    """Return a text of an event without hashes, addresses and Meta's ids."""
    text = _META_ID.sub(r"\1…", text) if text.startswith("fb.") else text
    text = _HASH.sub(lambda found: cut(found[0], HASH_SHOWN), text)
    text = _ADDRESS.sub(lambda found: f"{found[1]}.…" if found[1] else f"{found[2]}:…", text)
    return cut(text, MAX_TEXT)


def shorten_personal(text: str) -> str:
    """Return a text of which little may be shown, whatever it is."""
    short = shorten_text(text)
    return short if short != text else cut(text, min(TEXT_SHOWN, len(text) // 2))


def cut(text: str, length: int) -> str:
    """Return the first ``length`` characters, with an ellipsis if that is not all."""
    return text if len(text) <= length else f"{text[:length]}…"


def read_source(payload: Any) -> str:
    """Return an event's action source; empty if it has none."""
    return _read_text(payload, "action_source") or _read_text(
        _read(payload, "properties"), "action_source"
    )


def read_time(payload: Any) -> float | None:
    """Return when an event happened, Unix seconds; ``None`` if it is not in Meta's words."""
    moment = _read(payload, "event_time")
    return float(moment) if isinstance(moment, int) and not isinstance(moment, bool) else None


def read_value(payload: Any) -> tuple[float, str] | None:
    """Return an event's value and currency; ``None`` without."""
    data = _read(payload, "custom_data") or _read(payload, "properties")
    value = _read(data, "value")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value), _read_text(data, "currency")[:3]


def list_identifiers(payload: Any) -> list[str] | None:
    """Return which identifiers a payload carries; ``None`` if it is not in Meta's words."""
    user_data = _read(payload, "user_data")
    if not isinstance(user_data, dict):
        return None
    ip = user_data.get("client_ip_address")
    is_long = isinstance(ip, str) and ":" in ip
    return [key for key in IDENTIFIERS if user_data.get(key) or (key == "ipv6" and is_long)]


def _read(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, Mapping) else None


def _read_text(value: Any, key: str) -> str:
    found = _read(value, key)
    return found[:60] if isinstance(found, str) else ""
