"""CSV: a header row, then one event a row, each cell read by its column.

Columns are the keys of Meta's server event, its standard properties, and user data by Meta's names
or readable ones (``email``, ``first_name``); one of your own is ``custom_data.mine``. An empty cell
is not given. A row is one line: a quoted cell that goes on in the next line is refused.
"""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from bridge.errors import ConfigError, InvalidEventError
from bridge.events.properties import PERSONAL_KEYS
from bridge.events.user_data import USER_DATA_KEYS

DELIMITERS = ",;\t"

_NUMBER = re.compile(r"[+-]?[0-9]{1,15}(?:\.[0-9]{1,15})?")
_FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_OBJECTS = ("custom_data", "user_data", "app_data", "original_event_data", "attribution_data")

_Read = Callable[[str], Any]  # raises ValueError with what was expected


def read_number(text: str) -> float:
    """Return the number in ``text``, ``"12.50"``.

    Raises:
        ValueError: It is none; the message says what was expected.
    """
    if not _NUMBER.fullmatch(text):
        raise ValueError("expected a number such as 12.50")
    return float(text)


def _read_whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise ValueError("expected a whole number")
    return int(text)


def _read_flag(text: str) -> bool:
    try:
        return _FLAGS[text.lower()]
    except KeyError:
        raise ValueError("expected true or false") from None


def _read_json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise ValueError("expected JSON") from None


def _read_ids(text: str) -> Any:
    if text.startswith("["):
        return _read_json(text)
    return [item.strip() for item in text.split(",") if item.strip()]


def _read_loose(text: str) -> Any:
    """Return a list, an object or a number, if ``text`` is one, else the text."""
    try:
        return _read_json(text) if text[0] in '[{"' else read_number(text)
    except ValueError:
        return text


def _read_whole_or_text(text: str) -> Any:
    return _read_whole(text) if text.isascii() and text.isdigit() else text


_EVENT: dict[str, _Read] = {
    "event_name": str,
    "event_time": str,
    "event_id": str,
    "action_source": str,
    "event_source_url": str,
    "referrer_url": str,
    "opt_out": _read_flag,
    "data_processing_options": lambda text: [] if text == "[]" else [text],
    "data_processing_options_country": _read_whole,
    "data_processing_options_state": _read_whole,
    "messaging_channel": str,
    "customer_segmentation": str,
    "advanced_measurement_table": str,
}
_PROPERTIES: dict[str, _Read] = {
    "value": read_number,
    "currency": str,
    "order_id": str,
    "content_category": str,
    "content_ids": _read_ids,
    "content_name": str,
    "content_type": str,
    "contents": _read_json,
    "delivery_category": str,
    "event_source": str,
    "item_number": str,
    "lead_event_source": str,
    "net_revenue": read_number,
    "num_items": _read_whole,
    "predicted_ltv": read_number,
    "search_string": str,
    "status": str,
    "store_data": _read_json,
}
_OTHERS: dict[str, dict[str, _Read]] = {
    "user_data": dict.fromkeys(USER_DATA_KEYS, str),
    "custom_data": _PROPERTIES,
    "app_data": {
        "advertiser_tracking_enabled": _read_flag,
        "application_tracking_enabled": _read_flag,
        "consider_views": _read_flag,
        "extinfo": _read_json,
        "include_dwell_data": _read_flag,
        "include_video_data": _read_flag,
        "install_referrer": str,
        "installer_package": str,
        "receipt_data": str,
        "url_schemes": _read_json,
        "vendor_id": str,
        "windows_attribution_id": str,
    },
    "original_event_data": {"event_time": _read_whole},
    "attribution_data": {
        "ad_id": _read_whole_or_text,
        "touchpoint_ts": _read_whole_or_text,
        "attribution_share": read_number,
        "attribution_value": read_number,
    },
}
_PLAIN: dict[str, tuple[str, str]] = {
    **{name: ("", name) for name in _EVENT},
    **{name: ("custom_data", name) for name in _PROPERTIES},
    **{name: ("user_data", name) for name in USER_DATA_KEYS},
}


class _Column(NamedTuple):
    """One column: the object it goes into, ``""`` for the event itself, its key, its reader."""

    place: str
    key: str
    read: _Read

    @property
    def path(self) -> str:
        return f"{self.place}.{self.key}" if self.place else self.key


class Table:
    """The columns of a CSV file.

    Args:
        header: The first row, as bytes without the line's end.
        ignore_columns: Whether columns that are none of an event's are left out; refused otherwise.

    Raises:
        ConfigError: The header cannot be read, or a column is unknown or comes twice.
    """

    def __init__(self, header: bytes, *, ignore_columns: bool) -> None:
        text = _decode(header).removeprefix("\ufeff")
        self._delimiter = max(DELIMITERS, key=text.count)
        names = [name.strip() for name in _split(text, self._delimiter)]
        self._columns = [_find_column(name) for name in names]
        self.ignored = [
            name for name, column in zip(names, self._columns, strict=True) if column is None
        ]
        if self.ignored and not ignore_columns:
            raise ConfigError(_describe_unknown(self.ignored))
        self._refuse_repeats()

    def _refuse_repeats(self) -> None:
        paths = [column.path for column in self._columns if column]
        for path in paths:
            if paths.count(path) > 1:
                raise ConfigError(f"the header names {path} twice")
        for path in ("event_name", "event_time"):
            if path not in paths:
                raise ConfigError(f"the header has no column {path}; is its first row the header?")

    def parse(self, content: bytes) -> dict[str, Any]:
        """Return the keys of a server event that the row ``content`` holds.

        Raises:
            InvalidEventError: The row does not fit the header, or a cell its column.
        """
        try:
            cells = _split(_decode(content), self._delimiter)
        except ConfigError as error:
            raise InvalidEventError("line", str(error)) from None
        if len(cells) != len(self._columns):
            raise InvalidEventError(
                "line", f"expected {len(self._columns)} cells as in the header, got {len(cells)}"
            )
        fields: dict[str, Any] = {}
        for column, cell in zip(self._columns, cells, strict=True):
            text = cell.strip()
            if column is not None and text:
                place = fields.setdefault(column.place, {}) if column.place else fields
                place[column.key] = _read_cell(column, text)
        return fields


def _read_cell(column: _Column, text: str) -> Any:
    try:
        return column.read(text)
    except ValueError as error:
        raise InvalidEventError(column.path, str(error)) from None


def _decode(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise ConfigError("not UTF-8; save the file as UTF-8") from None


def _split(text: str, delimiter: str) -> list[str]:
    try:
        [cells] = csv.reader([text], delimiter=delimiter, strict=True)
    except (csv.Error, ValueError):
        raise ConfigError(
            "not one row of CSV: an open quote, or a cell that is too long; one line is one event"
        ) from None
    return cells


def _find_column(name: str) -> _Column | None:
    """Return what ``name`` stands for; known names in any case, with spaces or dashes."""
    known = name.lower().replace(" ", "_").replace("-", "_")
    place, key = _PLAIN.get(known, ("", ""))
    if not key:
        place, _, key = name.partition(".")
        if place not in _OBJECTS or not key or (place == "user_data" and key not in USER_DATA_KEYS):
            return None
    if place == "custom_data" and key.lower().replace("-", "_") in PERSONAL_KEYS:
        raise ConfigError(f"column {name[:50]!r} is personal: name it {key[:40]} or user_data.…")
    if not place:
        return _Column(place, key, _EVENT[key])
    otherwise = _read_loose if place in ("app_data", "attribution_data") else str
    return _Column(place, key, _OTHERS[place].get(key, otherwise))


def _describe_unknown(names: list[str]) -> str:
    shown = ", ".join(repr(name[:50]) for name in names[:5])
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    close = difflib.get_close_matches(names[0].lower(), _PLAIN, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]}? " if close else ""
    return (
        f"unknown column {shown}{more}: {hint}Your own are written custom_data.name;"
        " --ignore-columns leaves them out"
    )
