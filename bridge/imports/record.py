"""One line's fields → an ``Event``, read and checked as everywhere else. Pure.

What a line says in user data that cannot be right is left out, and personal data among properties
is removed, as for ``track``; both are counted. Everything else that Meta would refuse rejects the
line.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from typing import Any

import msgspec

from bridge.errors import InvalidEventError
from bridge.events.event import Event, UserData, parse_event, read_day
from bridge.events.reader import SERVER_EVENT, EventReader, OnRemoved, Reading
from bridge.events.user_data import OnDropped
from bridge.imports.action_sources import check_source
from bridge.imports.lines import MAX_LINE, Line
from bridge.imports.table import Table

_OBJECTS = ("custom_data", "user_data", "app_data", "original_event_data", "attribution_data")


@dataclass(frozen=True, slots=True)
class RecordReader:
    """Reads the lines of one source.

    Attributes:
        reader: Reads the app's events.
        table: The columns, if the source is CSV; JSON otherwise.
        on_removed: Called if personal data was removed.
        on_dropped: Called if user data was left out.
        action_source: Where events happened, if their line does not say.
        series: What distinguishes the lines from those of other files, in event ids.
    """

    reader: EventReader
    table: Table | None
    on_removed: OnRemoved
    on_dropped: OnDropped
    action_source: str | None = None
    series: str = ""

    def read(self, line: Line, now: float) -> tuple[Event, Reading, bool]:
        """Return the event that ``line`` holds, how it was read, and whether it has its own id.

        Raises:
            InvalidEventError: Meta would refuse it.
        """
        if line.content is None:
            raise InvalidEventError("line", f"longer than {MAX_LINE >> 20} MiB")
        given = self.table.parse(line.content) if self.table else _parse_json(line.content)
        for key in _OBJECTS:
            if isinstance(given.get(key), dict):
                given[key] = {k: each for k, each in given[key].items() if each is not None}
        fields, user_data, reading = self.reader.read_event(
            given,
            SERVER_EVENT,
            self.on_removed,
            on_dropped=self.on_dropped,
            today=read_day(now),
        )
        has_id = "event_id" in fields
        if not has_id:
            fields["event_id"] = _build_event_id(line.number, line.content, self.series)
        if self.action_source is not None:
            fields.setdefault("action_source", self.action_source)
        event = parse_event(fields, UserData(**user_data), now=now)
        check_source(event)
        return event, reading, has_id


def _build_event_id(number: int, content: bytes, series: str) -> str:
    """Return an event id for a line without one: the same each time the file is read.

    Built of the line's text, its number and the file's ``series``: the same line twice in one file,
    or in two files, is two events; the same file imported again adds none.
    """
    digest = hashlib.sha256(b"%s:%d:%s" % (series.encode(), number, content)).digest()
    return str(uuid.UUID(bytes=digest[:16], version=5))


def _parse_json(content: bytes) -> dict[str, Any]:
    try:
        fields = msgspec.json.decode(content.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidEventError("line", "expected one JSON object") from None
    if not isinstance(fields, dict):
        raise InvalidEventError("line", f"expected a JSON object, got {type(fields).__name__}")
    return fields
