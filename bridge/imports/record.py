"""One line's fields → an ``Event``, read and checked as everywhere else. Pure.

What a line says in user data that cannot be right is left out, and personal data among properties
is removed, as for ``track``; both are counted. Everything else that Meta would refuse rejects the
line.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from bridge.errors import InvalidEventError
from bridge.events.event import Event, UserData, parse_event
from bridge.events.reader import SERVER_EVENT, EventReader, OnRemoved, Reading
from bridge.events.user_data import OnDropped
from bridge.imports.action_sources import check_source
from bridge.imports.lines import MAX_LINE, Line
from bridge.imports.table import Table

_OBJECTS = ("custom_data", "user_data", "app_data", "original_event_data", "attribution_data")


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What holds for lines that do not say.

    Attributes:
        action_source: Where the events happened.
        series: What distinguishes the lines from those of other files, in event ids.
    """

    action_source: str | None = None
    series: str = ""


class RecordReader:
    """Reads the lines of one source.

    Args:
        reader: Reads the app's events.
        table: The columns, if the source is CSV; JSON otherwise.
        defaults: What holds where a line does not say.
        on_removed: Called if personal data was removed.
        on_dropped: Called if user data was left out.
    """

    def __init__(
        self,
        reader: EventReader,
        table: Table | None,
        defaults: Defaults,
        *,
        on_removed: OnRemoved,
        on_dropped: OnDropped,
    ) -> None:
        self._reader = reader
        self._table = table
        self._defaults = defaults
        self._on_removed = on_removed
        self._on_dropped = on_dropped

    def read(self, line: Line, now: float) -> tuple[Event, Reading]:
        """Return the event that ``line`` holds, and how its name and properties were read.

        Args:
            line: One line.
            now: Unix seconds.

        Raises:
            InvalidEventError: Meta would refuse it.
        """
        if line.content is None:
            raise InvalidEventError("line", f"longer than {MAX_LINE >> 20} MiB")
        given = self._table.parse(line.content) if self._table else _parse_json(line.content)
        for key in _OBJECTS:
            if isinstance(given.get(key), dict):
                given[key] = _without_nulls(given[key])
        fields, user_data, reading = self._reader.read_event(
            given,
            SERVER_EVENT,
            self._on_removed,
            on_dropped=self._on_dropped,
            today=datetime.fromtimestamp(now, UTC).date(),
        )
        if "event_id" not in fields:
            fields["event_id"] = build_event_id(line, self._defaults.series)
        if self._defaults.action_source is not None:
            fields.setdefault("action_source", self._defaults.action_source)
        event = parse_event(fields, UserData(**user_data), now=now)
        check_source(event)
        return event, reading


def build_event_id(line: Line, series: str) -> str:
    """Return an event id for a line without one: the same each time the file is read.

    Built of the line's text, its number and the file's ``series``: the same line twice in one file,
    or in two files, is two events; the same file imported again adds none.
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


def _without_nulls(given: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in given.items() if value is not None}
