"""What is shown of a stored event: enough to see what is wrong, too little to find a person. Pure.

Hashes lose all but 8 characters, which tells two people apart; addresses and user agents are cut.
Of a URL's parameters the names are shown, for a click id among them finds a person as ``fbc`` does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from bridge.figures.words import IDENTIFIERS

HASH_SHOWN = 8  # characters of a hash
TEXT_SHOWN = 4  # characters of what else is somebody's own, and never more than half
UA_SHOWN = 16  # characters of a user agent: its product, not its device
MAX_DEPTH = 20  # of a payload; what lies deeper is left out
MAX_TEXT = 500  # characters of a value
PARAMETER_SHOWN = 12  # characters of a URL's parameter; a longer value is cut to TEXT_SHOWN

_END_OF_TIME = 1e11  # Unix seconds; what is later is a mistake, and has no date
_HASH = re.compile(r"[0-9a-fA-F]{32,}")
_META_ID = re.compile(r"(fb\.\d\.)\d+\..*", re.DOTALL)
_ADDRESS = re.compile(
    r"(?<![\w.:])(?:(\d{1,3}\.\d{1,3})\.\d{1,3}\.\d{1,3}|([0-9a-f]{1,4}:[0-9a-f]{0,4}):[0-9a-f:.]+)(?![\w.:])",
    re.IGNORECASE,
)
# A parameter of a URL, also of one that is itself a parameter; and what follows an old-style "#".
_PARAMETER = re.compile(
    r"(?P<start>^|[?&;#]|%3F|%26|%23)"
    r"(?P<name>(?:[^=&;?#\s%]|%(?!3D|26|3F|23)[0-9A-F]{2}){1,100})(?P<equals>=|%3D)"
    r"(?P<value>(?:(?!%26|%23|%3F)[^&;#?\s])+)",
    re.IGNORECASE,
)
# What platforms call their click ids.
_CLICK_ID = re.compile(r".*clk?id|[gw]braid|.*click_?id|_?fb[cp]|rdt_cid", re.IGNORECASE)
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
        if key in _IDS or _CLICK_ID.fullmatch(key):
            return shorten_personal(value)
    return shorten_payload(value, is_personal=is_personal or key in _PERSONAL, depth=depth)


def shorten_text(text: str) -> str:
    """Return a text of an event without hashes, addresses and Meta's ids."""
    text = _META_ID.sub(r"\1…", text) if text.startswith("fb.") else text
    text = _PARAMETER.sub(_shorten_parameter, text)
    text = _HASH.sub(lambda found: cut(found[0], HASH_SHOWN), text)
    text = _ADDRESS.sub(lambda found: f"{found[1]}.…" if found[1] else f"{found[2]}:…", text)
    return cut(text, MAX_TEXT)


def _shorten_parameter(found: re.Match[str]) -> str:
    """Return a URL's parameter; of a click id, and of what is long, little is left."""
    value = found["value"]
    if not found["start"] and not _CLICK_ID.fullmatch(found["name"]):
        return found[0]  # any text with an equals sign
    if _CLICK_ID.fullmatch(found["name"]):
        value = cut(value, min(TEXT_SHOWN, len(value) // 2))
    elif len(value) > PARAMETER_SHOWN:
        value = cut(value, TEXT_SHOWN)
    return f"{found['start']}{found['name']}{found['equals']}{value}"


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
    """Return when an event happened, Unix seconds; ``None`` if it does not say."""
    moment = _read(payload, "event_time")
    if not isinstance(moment, int) or isinstance(moment, bool):
        moment = _read_timestamp(_read_text(payload, "timestamp"))
    return float(moment) if moment is not None and 0 < moment < _END_OF_TIME else None


def read_day(payload: Any) -> str:
    """Return the day on which an event happened, such as ``2026-11-29``; empty without."""
    happened = read_time(payload)
    return "" if happened is None else datetime.fromtimestamp(happened, UTC).date().isoformat()


def read_value(payload: Any) -> tuple[float, str] | None:
    """Return an event's value and currency; ``None`` without. Segment also knows ``revenue``."""
    data = _read(payload, "custom_data") or _read(payload, "properties")
    for key in ("value", "revenue", "total"):
        value = _read_number(_read(data, key))
        if value is not None:
            return value, _read_text(data, "currency")[:3]
    return None


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


def _read_timestamp(text: str) -> float | None:
    """Return Segment's ``timestamp`` as Unix seconds; without a zone it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _read_number(value: Any) -> float | None:
    """Return a finite number, also one that is written as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _read_text(value: Any, key: str) -> str:
    found = _read(value, key)
    return found[:60] if isinstance(found, str) else ""
