"""One line's fields → an ``Event``: hashed, checked as Meta checks it, with nothing personal in it.

Pure: takes the time as an argument.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, get_args

import msgspec

from bridge.errors import InvalidEventError
from bridge.events.event import ActionSource, Event, parse_event
from bridge.events.properties import PERSONAL_KEYS
from bridge.events.urls import PRIVATE_PARAMETERS, clean_url
from bridge.events.user_data import build_user_data, looks_like_email
from bridge.imports.action_sources import check_source
from bridge.imports.lines import MAX_LINE, Line
from bridge.imports.table import Table, read_number

ACTION_SOURCES: tuple[str, ...] = get_args(ActionSource)

_OBJECTS = ("custom_data", "user_data", "app_data", "original_event_data", "attribution_data")
_MONEY = ("value", "net_revenue", "predicted_ltv")
_UNIX = re.compile(r"[0-9]{1,15}(?:\.0*)?")
_NAME = re.compile(r"[\w.\[\]-]{1,100}")
_LONG_NUMBER = re.compile(r"[0-9][0-9 ()./-]{5,}[0-9]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What holds for lines that do not say.

    Attributes:
        action_source: Where the events happened.
        phone_region: ISO 3166-1 alpha-2 country of phone numbers without a country code.
        private_parameters: Query parameters that never leave with a URL, normalised.
        series: What tells the lines from those of other files, in event ids.
    """

    action_source: str | None = None
    phone_region: str | None = None
    private_parameters: frozenset[str] = PRIVATE_PARAMETERS
    series: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A line that is not imported.

    Attributes:
        line: Its number, from 1.
        field: The field at fault.
        reason: What was expected there; never the value.
    """

    line: int
    field: str
    reason: str


def read_event(line: Line, table: Table | None, defaults: Defaults, now: float) -> Event:
    """Return the event that ``line`` holds.

    Args:
        line: One line.
        table: The columns, if the file is CSV; JSON otherwise.
        defaults: What holds where the line is silent.
        now: Unix seconds.

    Raises:
        InvalidEventError: Meta would refuse it, or something personal would leave in the clear.
    """
    if line.content is None:
        raise InvalidEventError("line", f"longer than {MAX_LINE >> 20} MiB")
    fields = table.parse(line.content) if table else _parse_json(line.content)
    return _build_event(fields, line, defaults, now)


def build_rejection(line: Line, error: InvalidEventError) -> Rejection:
    """Return why ``line`` is not imported, in words that hold nothing of the line but names.

    A key may be personal too, when a cell slipped into the header's place or a map has people as
    its keys; and a number in a reason may be a phone number in the wrong column.
    """
    named = _NAME.fullmatch(error.field) and not _LONG_NUMBER.search(error.field)
    reason = _LONG_NUMBER.sub("(a number)", error.reason)
    return Rejection(line=line.number, field=error.field if named else "(a key)", reason=reason)


def build_event_id(line: Line, series: str) -> str:
    """Return an event id for a line that has none: the same each time the file is read.

    From the line's text, its number and the file's ``series``: the same line twice in a file is two
    events, and so it is in two files; the same file imported again is none.
    """
    content = line.content or b""
    digest = hashlib.sha256(b"%s:%d:%s" % (series.encode(), line.number, content)).digest()
    return str(uuid.UUID(bytes=digest[:16], version=5))


def _parse_json(content: bytes) -> dict[str, Any]:
    try:
        fields = msgspec.json.decode(content.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidEventError("line", "expected one JSON object") from None
    if not isinstance(fields, dict):
        raise InvalidEventError("line", f"expected a JSON object, got {type(fields).__name__}")
    return fields


def _build_event(given: Mapping[str, Any], line: Line, defaults: Defaults, now: float) -> Event:
    fields = _without_nulls(given)
    for key in _OBJECTS:
        if isinstance(fields.get(key), dict):
            fields[key] = _without_nulls(fields[key])
    fields.setdefault("event_id", build_event_id(line, defaults.series))
    fields["event_time"] = _read_time(fields.get("event_time"))
    fields["action_source"] = _read_source(fields.get("action_source", defaults.action_source))
    for key in ("event_source_url", "referrer_url"):
        if key in fields:
            fields[key] = _read_url(key, fields[key], defaults.private_parameters)
    _read_money(fields.get("custom_data"))
    raw = fields.pop("user_data", {})
    today = datetime.fromtimestamp(now, UTC).date()
    user_data = build_user_data(raw, default_region=defaults.phone_region, today=today)
    event = parse_event(fields, user_data, now=now)
    _refuse_unfit(fields)
    check_source(event)
    return event


def _without_nulls(given: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in given.items() if value is not None}


def _read_time(value: object) -> object:
    """Return Unix seconds or an aware time from a number or a text."""
    if value is None:
        raise InvalidEventError("event_time", "required, is missing")
    if not isinstance(value, str):
        return value
    if _UNIX.fullmatch(value):
        return int(value.partition(".")[0])
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        parsed = None
    if parsed is None or parsed.tzinfo is None:
        raise InvalidEventError(
            "event_time", "expected Unix seconds, or ISO 8601 with an offset such as +01:00 or Z"
        )
    return parsed


def _read_source(value: object) -> str:
    if value not in ACTION_SOURCES:
        state = "missing" if value is None else "another"
        raise InvalidEventError(
            "action_source", f"expected one of {', '.join(ACTION_SOURCES)}; is {state}"
        )
    return str(value)


def _read_url(key: str, value: object, private: frozenset[str]) -> str:
    """Return ``value`` without private parts, as a page's URL leaves everywhere else."""
    text = value.strip() if isinstance(value, str) else ""
    url = clean_url(text.encode(), private) if text.isascii() else None
    if url is None:
        raise InvalidEventError(key, "expected an http(s) URL of at most 2048 ASCII characters")
    return url


def _read_money(properties: object) -> None:
    """Turn amounts written as text into numbers; databases export decimals so."""
    if not isinstance(properties, dict):
        return
    for key in _MONEY:
        value = properties.get(key)
        if isinstance(value, str):
            try:
                properties[key] = read_number(value.strip())
            except ValueError as error:
                raise InvalidEventError(f"custom_data.{key}", str(error)) from None


def _refuse_unfit(value: object, path: str = "") -> None:
    """Refuse an e-mail address anywhere, keys of people at any depth, and numbers JSON can't hold.

    Of numbers that is what has more than 64 bits: few programs read them back as they were.
    """
    if isinstance(value, str):
        if ("@" in value or "%40" in value) and looks_like_email(value):
            raise InvalidEventError(path, "holds an e-mail address, which would be sent in clear")
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise InvalidEventError(path, "expected a number of at most 64 bits")
    elif isinstance(value, dict):
        for key, item in value.items():
            at = f"{path}.{key}" if path else key
            if path and key.lower().replace("-", "_") in PERSONAL_KEYS:
                raise InvalidEventError(at, "is personal; it belongs into user_data, hashed")
            _refuse_unfit(key, at)
            _refuse_unfit(item, at)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            _refuse_unfit(item, f"{path}[{i}]")
