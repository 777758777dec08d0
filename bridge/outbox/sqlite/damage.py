"""A damaged file: what can be read goes on, what cannot is set aside, or left where it is.

Strategy: nothing here runs while the file is sound. Once SQLite meets a damaged page, the whole
transaction can only be undone. So what is learned about the damage is remembered, and the
transaction is done again without touching that place, as often as something new is learned. A
delivery whose row can be read and its body cannot becomes a dead letter. A row that cannot be read
or changed stays where it is, and this process goes around it.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from bridge.outbox.sqlite.file import OutboxFile

LOST = "damaged file: its body cannot be read"  # how a reason begins; the body is left alone
GARBLED = "damaged file: it cannot be read"
REMEDY = "'sqlite3 FILE .recover' reads what is left into a new file, while nothing runs"

# In the order of what a claim returns, without its due time.
_TYPES = (str, str, str, bytes, float, int, int, int, bytes, int)

_DUE = "destination = ? AND due IS NOT NULL AND due <= ?"
_INDEX = "deliveries_due"
_BY_INDEX = f"SELECT id FROM deliveries INDEXED BY {_INDEX} WHERE {_DUE} ORDER BY due"  # noqa: S608
_BY_TABLE = f"SELECT id FROM deliveries NOT INDEXED WHERE {_DUE}"  # noqa: S608 - of constants
_SET_ASIDE = """
UPDATE deliveries SET due = NULL, settled_at = ?, reason = ?, event_name = ?, event_id = ?,
    expires = CASE typeof(expires) WHEN 'real' THEN expires ELSE 0.0 END,
    attempts = CASE typeof(attempts) WHEN 'integer' THEN attempts ELSE 0 END,
    from_browser = CASE typeof(from_browser) WHEN 'integer' THEN from_browser ELSE 0 END,
    has_given_id = CASE typeof(has_given_id) WHEN 'integer' THEN has_given_id ELSE 0 END,
    subjects = CASE typeof(subjects) WHEN 'blob' THEN subjects END
WHERE id = ?
"""
_NAMES = "SELECT CAST(event_name AS BLOB), CAST(event_id AS BLOB) FROM deliveries WHERE id = ?"

Result = TypeVar("Result")

logger = logging.getLogger("bridge.outbox")


@dataclass(slots=True)
class Damage:
    """What one process knows of the damage to its file.

    Attributes:
        reason: SQLite's words; empty while none was met.
        lost: Ids of rows whose bodies cannot be read, and SQLite's words.
        skipped: Ids of rows that cannot be read or changed.
        kept: Ids of bodies that cannot be deleted.
        blocked: Names of works that cannot be done.
        told: Ids of dead letters that were logged.
        has_news: Whether something was learned since ``take_news``.
    """

    reason: str = ""
    lost: dict[int, str] = field(default_factory=dict)
    skipped: set[int] = field(default_factory=set)
    kept: set[int] = field(default_factory=set)
    blocked: set[str] = field(default_factory=set)
    told: set[int] = field(default_factory=set)
    has_news: bool = False
    _file: tuple[int, int] | None = None

    def belong_to(self, file: tuple[int, int] | None) -> None:
        """Forget all if ``file``, its device and inode, is another one than before."""
        if file != self._file:
            self.reason, self.has_news, self._file = "", False, file
            for each in (self.lost, self.skipped, self.kept, self.blocked, self.told):
                each.clear()

    def note(self, path: str, error: Exception) -> None:
        """Remember ``error``; log the first one."""
        if not self.reason:
            self.reason, self.has_news = str(error) or type(error).__name__, True
            logger.error(
                "outbox %s: the file is damaged (%s); what can be read is delivered; %s",
                path,
                self.reason,
                REMEDY,
            )

    def take_news(self) -> bool:
        """Return whether something was learned since the last call."""
        had_news, self.has_news = self.has_news, False
        return had_news

    def describe(self) -> str:
        """Return what is so, in a sentence; empty if no damage was met."""
        if not self.reason:
            return ""
        rows = f"; events that cannot be read: {len(self.skipped)}" if self.skipped else ""
        return f"the outbox's file is damaged ({self.reason}){rows}"


def is_damage(error: Exception) -> bool:
    """Return whether ``error`` says that something stored cannot be read."""
    if not isinstance(error, sqlite3.DatabaseError):
        return False
    # The driver's own error has no code: a text is no UTF-8.
    return _read_code(error) == sqlite3.SQLITE_CORRUPT or "Could not decode to UTF-8" in str(error)


def is_sound(row: Sequence[Any]) -> bool:
    """Return whether all fields of a claimed row have their types."""
    return (*map(type, row[:4]), *map(type, row[5:])) == _TYPES


def guard(file: OutboxFile, name: str, work: Callable[[], Result]) -> Result | None:
    """Return what ``work`` returns; ``None``, without doing it, if damage prevented it before."""
    if name in file.damage.blocked:
        return None
    try:
        return work()
    except sqlite3.Error as error:
        if is_damage(error):
            file.damage.blocked.add(name)
            file.damage.has_news = True
        raise


def attempt(
    file: OutboxFile, statement: str, values: Any, place: int | None, failed: set[int]
) -> int:
    """Run ``statement`` on the row at ``place``; return how many rows changed.

    If that fails, the place is added to those that ``failed``, and left out from then on.
    """
    if place in failed:
        return 0
    try:
        return file.execute(statement, values).rowcount
    except sqlite3.Error as error:
        if is_damage(error) and place is not None:
            failed.add(place)
            file.damage.has_news = True
        raise


def find_due(file: OutboxFile, destination: str, limit: int, now: float) -> list[int]:
    """Return ids of what is due and not skipped; make the index anew if it is damaged."""
    for name in ("the index", "the new index"):
        if name in file.damage.blocked:
            guard(file, f"{name} made anew", partial(_renew_index, file))
            continue
        found = guard(file, name, lambda: _find(file, _BY_INDEX, destination, limit, now))
        return found or []
    return _find(file, _BY_TABLE, destination, limit, now)


def _renew_index(file: OutboxFile) -> None:
    """Forget the index of due times, whose pages can be neither read nor freed, and make it anew.

    Source: sqlite.org, "PRAGMA writable_schema", read 2026-11-30; tried with 3.40.
    """
    [create] = file.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (_INDEX,)).fetchone()
    file.execute("PRAGMA writable_schema = ON")
    try:
        file.execute("DELETE FROM sqlite_schema WHERE name = ?", (_INDEX,))
    finally:
        file.execute("PRAGMA writable_schema = RESET")
    file.execute(create)


def _find(file: OutboxFile, query: str, destination: str, limit: int, now: float) -> list[int]:
    with closing(file.execute(query, (destination, now))) as rows:
        found = (place for [place] in rows if place not in file.damage.skipped)
        return list(islice(found, limit))


def claim_around(
    file: OutboxFile, query: str, lease: str, place: int, due: float, now: float
) -> tuple[Any, ...] | None:
    """Claim the row at ``place``; if it cannot be read, set it aside and return ``None``.

    Args:
        file: Within a transaction.
        query: Selects the row by its due time and its place.
        lease: Makes it due again at a time, by its place.
        place: Its id.
        due: When it is due again.
        now: Unix seconds.
    """
    if place in file.damage.lost:
        _set_aside(file, place, f"{LOST}: {file.damage.lost[place]}", now)
        return None
    try:
        row: tuple[Any, ...] | None = file.execute(query, (due, place)).fetchone()
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
        if _read_code(error):
            file.damage.lost[place] = str(error)
            file.damage.has_news = True
            raise
        row = None  # text that is no UTF-8
    if row is not None and is_sound(row):
        return row if attempt(file, lease, (due, place), place, file.damage.skipped) else None
    reason = GARBLED
    if row is not None and type(row[3]) is not bytes:
        reason = f"{LOST}: it is {'missing' if row[3] is None else 'no blob'}"
    _set_aside(file, place, reason, now)
    return None


def _set_aside(file: OutboxFile, place: int, reason: str, now: float) -> None:
    """Make the row at ``place`` a dead letter, with names that can be read."""
    try:
        found = file.execute(_NAMES, (place,)).fetchone()
    except sqlite3.Error as error:
        if is_damage(error):
            file.damage.skipped.add(place)
            file.damage.has_news = True
        raise
    name, event_id = ((each or b"").decode(errors="replace") or "unreadable" for each in found)
    skipped = file.damage.skipped
    try:
        done = attempt(file, _SET_ASIDE, (now, reason, name, event_id, place), place, skipped)
    except sqlite3.IntegrityError:  # what is left of its key is another's
        event_id = f"{event_id} (row {place})"
        done = attempt(file, _SET_ASIDE, (now, reason, name, event_id, place), place, skipped)
    if done and place not in file.damage.told:
        file.damage.told.add(place)
        logger.error("outbox %s: row %d is a dead letter: %s", file.path, place, reason)


def _read_code(error: Exception) -> int:
    """Return SQLite's primary result code; 0 if the error is the driver's own."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
