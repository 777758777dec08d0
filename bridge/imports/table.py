"""CSV: a header row, then one event a row, each cell read by its column.

Columns are the keys of Meta's server event, its standard properties, and user data by Meta's names
or readable ones (``email``, ``first_name``); one of your own is ``custom_data.mine``. An empty cell
means not given. A row is one line: a quoted cell that goes on in the next line is refused.
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from bridge.errors import ConfigError, InvalidEventError
from bridge.events.money import read_amount
from bridge.events.personal_keys import NOTHING, judge_key
from bridge.events.standard import (
    ANYTHING,
    DETAILS,
    FLAG,
    ID,
    IDS,
    LIST,
    NUMBER,
    OBJECT,
    PROPERTIES,
    WHOLE,
    Kind,
)
from bridge.events.user_data import USER_DATA_KEYS

DELIMITERS = ",;\t"

_FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

_Read = Callable[[str, str], Any]  # from a cell and its path; raises InvalidEventError


def _keep(text: str, path: str) -> str:
    return text


def _read_whole(text: str, path: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise InvalidEventError(path, "expected a whole number")
    return int(text)


def _read_flag(text: str, path: str) -> bool:
    if (flag := _FLAGS.get(text.lower())) is None:
        raise InvalidEventError(path, "expected true or false")
    return flag


def _read_json(text: str, path: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise InvalidEventError(path, "expected JSON") from None


def _read_ids(text: str, path: str) -> Any:
    if text.startswith("["):
        return _read_json(text, path)
    return [item.strip() for item in text.split(",") if item.strip()]


def _read_loose(text: str, path: str) -> Any:
    """Return a list, an object or a number, if ``text`` is one, else the text."""
    try:
        value = _read_json(text, path)
    except InvalidEventError:
        return text
    return text if value is None or isinstance(value, bool) else value


def _read_id(text: str, path: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else text


# Amounts and counts in custom_data stay text here: EventReader reads them.
_PROPERTY_READERS: dict[Kind, _Read] = {IDS: _read_ids, LIST: _read_json, OBJECT: _read_json}
_DETAIL_READERS: dict[Kind, _Read] = {
    ANYTHING: _read_loose,
    FLAG: _read_flag,
    ID: _read_id,
    LIST: _read_json,
    NUMBER: read_amount,
    WHOLE: _read_whole,
}
_EVENT: dict[str, _Read] = {
    **dict.fromkeys(
        "event_name event_time event_id action_source event_source_url referrer_url"
        " messaging_channel customer_segmentation advanced_measurement_table".split(),
        _keep,
    ),
    "opt_out": _read_flag,
    "data_processing_options": lambda text, path: [] if text == "[]" else [text],
    "data_processing_options_country": _read_whole,
    "data_processing_options_state": _read_whole,
}
_OTHERS: dict[str, dict[str, _Read]] = {
    "user_data": dict.fromkeys(USER_DATA_KEYS, _keep),
    "custom_data": {key: _PROPERTY_READERS.get(kind, _keep) for key, kind in PROPERTIES.items()},
    **{
        place: {key: _DETAIL_READERS.get(kind, _keep) for key, kind in kinds.items()}
        for place, kinds in DETAILS.items()
    },
}
_PLAIN: dict[str, tuple[str, str]] = {
    **{name: ("custom_data", name) for name in PROPERTIES},
    **{name: ("user_data", name) for name in USER_DATA_KEYS},
    **{name: ("", name) for name in _EVENT},
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
        ignore_columns: Whether unknown columns are left out; they are refused otherwise.

    Raises:
        ConfigError: The header cannot be read, or a column is unknown or comes twice.
    """

    def __init__(self, header: bytes, *, ignore_columns: bool) -> None:
        text = _decode(header).removeprefix("\ufeff")
        self._delimiter = max(DELIMITERS, key=text.count)
        names = [name.strip() for name in _split(text, self._delimiter)]
        self._columns = [_find_column(name) for name in names]
        unknown = [name for name, column in zip(names, self._columns, strict=True) if not column]
        if unknown and not ignore_columns:
            raise ConfigError(_describe_unknown(unknown))
        paths = [column.path for column in self._columns if column]
        for path in paths:
            if paths.count(path) > 1:
                raise ConfigError(f"the header has {path} twice")
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
                place[column.key] = column.read(text, column.path)
        return fields


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
    """Return the column that ``name`` means; known names in any case, with spaces or dashes."""
    known = name.lower().replace(" ", "_").replace("-", "_")
    place, key = _PLAIN.get(known, ("", ""))
    if not key:
        place, _, key = name.partition(".")
        if place not in _OTHERS or not key or (place == "user_data" and key not in USER_DATA_KEYS):
            return None
    if place == "custom_data" and key in USER_DATA_KEYS and judge_key(key, NOTHING).personal:
        raise ConfigError(f"column {name[:50]!r} is personal: name it {key} or user_data.{key}")
    if not place:
        return _Column(place, key, _EVENT[key])
    return _Column(place, key, _OTHERS[place].get(key, _keep))


def _describe_unknown(names: list[str]) -> str:
    shown = ", ".join(repr(name[:50]) for name in names[:5])
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    close = difflib.get_close_matches(names[0].lower(), _PLAIN, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]}? " if close else ""
    return (
        f"unknown column {shown}{more}: {hint}Write your own as custom_data.name;"
        " --ignore-columns leaves them out"
    )
