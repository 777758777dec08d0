"""The rows of the outbox's file: its SQL statements, and what takes more than one of them.

Every function runs within a transaction that its caller began.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from contextlib import closing
from functools import partial
from heapq import merge
from itertools import islice
from typing import Any

from bridge.errors import OutboxFullError
from bridge.outbox.base import (
    FIGURE_DAYS,
    FORGET_AT_ONCE,
    SUBJECT_BYTES,
    Delivery,
    Erased,
    Figure,
    Key,
    Memory,
    build_full_error,
    follow_prefix,
    split_subjects,
)
from bridge.outbox.sqlite.damage import (
    LOST,
    attempt,
    claim_around,
    find_due,
    guard,
    is_damage,
    is_sound,
)
from bridge.outbox.sqlite.disk import CLAIMED_ROW_BYTES
from bridge.outbox.sqlite.file import OutboxFile

FORGET = 4  # delivered keys that an ack deletes at most for each delivery

# What _INSERT takes, and the body.
Row = tuple[tuple[str, str, str, bool, float, float, bool, bytes | None, float], bytes]

_INSERT = """
INSERT INTO deliveries
    (destination, event_name, event_id, from_browser, due, expires, has_given_id, subjects,
     stored_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""
_INSERT_BODY = "INSERT OR REPLACE INTO bodies (id, body) VALUES (?, ?)"

_IS_EVENT = "event_id = :event_id AND event_name = :event_name AND destination = :destination"
_HAS_KEY = f"{_IS_EVENT} AND from_browser = :from_browser"
_FORGOTTEN = "CASE WHEN has_given_id THEN :forgotten_given ELSE :forgotten END"

# Whether the server's own is known, beside which a browser's report is a duplicate.
_KNOWS_OWN = f"""
SELECT 1 FROM deliveries
WHERE {_IS_EVENT} AND from_browser = 0
  AND (due IS NOT NULL OR (reason IS NULL AND settled_at >= {_FORGOTTEN}))
"""  # noqa: S608 - of constants

_REPLACE = f"""
UPDATE deliveries
SET due = :due, expires = :expires, stored_at = :now, attempts = 0,
    settled_at = NULL, reason = NULL, has_given_id = :has_given_id, subjects = :subjects
WHERE {_HAS_KEY}
"""  # noqa: S608 - of constants
_REPLACE_FORGOTTEN = f"{_REPLACE} AND settled_at < {_FORGOTTEN} AND reason IS NULL"
_REPLACE_DEAD = f"{_REPLACE} AND reason IS NOT NULL"
_REPLACE_BODY = f"""
INSERT OR REPLACE INTO bodies (id, body) SELECT id, :body FROM deliveries WHERE {_HAS_KEY}
"""  # noqa: S608 - of constants

# In the order of a Delivery's fields. LEFT: read in this order, and without a body too.
_CLAIM = """
SELECT destination, event_name, event_id, body, ?, expires, attempts + 1,
       from_browser, has_given_id, coalesce(subjects, x''), deliveries.id
FROM deliveries LEFT JOIN bodies ON bodies.id = deliveries.id
"""
CLAIM = f"{_CLAIM} WHERE destination = ? AND due <= ? ORDER BY due LIMIT ?"
_CLAIM_ONE = f"{_CLAIM} WHERE deliveries.id = ?"

_LEASE = "UPDATE deliveries SET due = ?, attempts = attempts + 1 WHERE id = ?"

# A settled row stays settled, even if a worker whose lease ran out reports on it again.
_KEY_IS = "event_id = ? AND event_name = ? AND destination = ? AND from_browser = ?"
BY_KEY = f"WHERE {_KEY_IS} AND due IS NOT NULL"
# The plus makes SQLite go to the id and not search for the key. If another row has taken that id
# meanwhile, the key does not match.
BY_PLACE = (
    "WHERE +event_id = ? AND +event_name = ? AND +destination = ? AND +from_browser = ?"
    " AND due IS NOT NULL AND id = ?"
)

ACK = "UPDATE deliveries SET due = NULL, subjects = NULL, settled_at = ?"
RETRY = "UPDATE deliveries SET due = ?"
BURY = "UPDATE deliveries SET due = NULL, settled_at = ?, reason = ?"

# Only of what is delivered: a late worker may ack what is dead.
_DROP_BODY = """
DELETE FROM bodies WHERE id = (
    SELECT id FROM deliveries {} AND settled_at IS NOT NULL AND reason IS NULL
)
"""
DROP_BODY_BY_PLACE = _DROP_BODY.format("WHERE id = ?")
_DROP_BODY_BY_KEY = _DROP_BODY.format(f"WHERE {_KEY_IS}")

_DROP_BODY_AT = "DELETE FROM bodies WHERE id = ?"

_FORGET = """
DELETE FROM deliveries WHERE id IN (
    SELECT id FROM deliveries
    WHERE has_given_id = ? AND settled_at < ? AND settled_at IS NOT NULL AND reason IS NULL
    LIMIT ?
)
"""

RELEASE = """
UPDATE deliveries SET due = :now
WHERE event_id = :event_id AND event_name = :event_name AND from_browser = 0
  AND due > :now AND attempts = 0 AND substr(subjects, 1, :size) = :subject
  AND (:names IS NULL OR destination IN (SELECT value FROM json_each(:names)))
"""

HAS = f"""
SELECT EXISTS (
    SELECT 1 FROM deliveries
    WHERE event_id = :event_id AND event_name = :event_name AND from_browser = 0
      AND (:names IS NULL OR destination IN (SELECT value FROM json_each(:names)))
      AND CASE
          WHEN settled_at IS NULL OR reason IS NOT NULL THEN stored_at >= :since
          ELSE settled_at >= {_FORGOTTEN}
      END
)
"""  # noqa: S608 - of constants

NEXT_DUE = "SELECT min(due) FROM deliveries WHERE destination = ? AND due IS NOT NULL"

_COUNT_BODILESS = """
SELECT count(*) FROM deliveries
WHERE due IS NOT NULL AND NOT EXISTS (SELECT 1 FROM bodies WHERE bodies.id = deliveries.id)
"""

# A row has the destination, then the fields of Counts. Each part reads one index.
_COUNT = """
SELECT destination, sum(waiting), sum(held), sum(delivered), sum(dead), min(oldest) FROM (
    SELECT destination, count(*) AS waiting, sum(attempts = 0 AND due > :now) AS held,
           0 AS delivered, 0 AS dead, min(stored_at) AS oldest
    FROM deliveries WHERE due IS NOT NULL GROUP BY destination
    UNION ALL
    SELECT destination, 0, 0, 0, count(*), NULL FROM deliveries
    WHERE reason IS NOT NULL GROUP BY destination
    {delivered}
) GROUP BY destination
"""
_DELIVERED = """
UNION ALL
SELECT destination, 0, 0, count(*), 0, NULL FROM deliveries
WHERE has_given_id IN (0, 1) AND settled_at >= :forgotten
  AND settled_at IS NOT NULL AND reason IS NULL
GROUP BY destination
"""
COUNT, COUNT_WITH_DELIVERED = (_COUNT.format(delivered=each) for each in ("", _DELIVERED))

# The fields of a Delivery, then the others of a DeadLetter. A lost body is not looked for.
_DEAD = f"""
SELECT destination, event_name, event_id, coalesce(body, x''), settled_at, expires, attempts,
       from_browser, has_given_id, coalesce(subjects, x''), reason, settled_at
FROM deliveries LEFT JOIN bodies
    ON bodies.id = CASE WHEN substr(reason, 1, {len(LOST)}) <> '{LOST}' THEN deliveries.id END
WHERE reason IS NOT NULL
"""  # noqa: S608 - of constants

# In the index's own order: nothing has to be sorted, and each page starts where the last one ended.
LIST_DEAD = f"""
{_DEAD} AND (:destination IS NULL OR destination = :destination)
ORDER BY settled_at DESC, destination DESC, reason DESC, deliveries.id DESC
LIMIT :limit OFFSET :offset
"""

FIND_DEAD = f"{_DEAD} AND event_id = ? ORDER BY settled_at DESC, deliveries.id DESC"

REVIVE = f"""
UPDATE deliveries SET due = :now, attempts = 0, settled_at = NULL, reason = NULL
WHERE {_HAS_KEY} AND reason IS NOT NULL
"""  # noqa: S608 - of constants

_IS_DEAD = f"FROM deliveries WHERE {_HAS_KEY} AND reason IS NOT NULL"
_PLACE_OF_DEAD = f"SELECT id {_IS_DEAD}"
_DROP_LOST = f"DELETE {_IS_DEAD} AND substr(reason, 1, {len(LOST)}) = '{LOST}'"
_DROP = f"DELETE {_IS_DEAD}"

OLD = """
SELECT id, reason FROM deliveries WHERE reason IS NOT NULL AND settled_at < ?
ORDER BY settled_at LIMIT ?
"""
OF_BROWSER = """
SELECT id, reason FROM deliveries WHERE subjects >= ? AND subjects <= ?
"""
OF_PERSON = "SELECT id, reason FROM deliveries WHERE subjects = ?"

# Reads one index from its beginning to its end.
FIND_SUBJECTS = "SELECT DISTINCT subjects FROM deliveries WHERE subjects IS NOT NULL AND {}"

# In the order of a Delivery's fields.
_WAITING = """
SELECT destination, event_name, event_id, body, due, expires, attempts,
       from_browser, has_given_id, coalesce(subjects, x''), id
FROM deliveries CROSS JOIN bodies USING (id) WHERE due IS NOT NULL
"""
# Each destination's are in the order of ``deliveries_due``, so that only a page of them is read.
_WAITED_FOR = """
WITH RECURSIVE stepped (destination) AS (
    SELECT min(destination) FROM deliveries WHERE due IS NOT NULL
    UNION ALL
    SELECT (
        SELECT min(following.destination) FROM deliveries AS following
        WHERE following.due IS NOT NULL AND following.destination > stepped.destination
    ) FROM stepped WHERE stepped.destination IS NOT NULL
)
SELECT destination FROM stepped WHERE destination IS NOT NULL
"""
_NEXT_DUE = """
SELECT due, id FROM deliveries INDEXED BY deliveries_due
WHERE destination = ? AND due IS NOT NULL ORDER BY due, id LIMIT ?
"""
_OF_IDS = f"""
{_WAITING} AND id IN (SELECT value FROM json_each(?)) ORDER BY due, id
"""  # noqa: S608 - of constants
FIND_WAITING = f"""
{_WAITING} AND event_id = ? AND event_name IN (SELECT value FROM json_each(?))
ORDER BY due, id
"""  # noqa: S608 - of constants

_ADD_FIGURE = """
INSERT INTO figures VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET number = number + excluded.number
"""
_FORGET_FIGURES = "DELETE FROM figures WHERE day < strftime('%s', 'now') / 86400 - ?"
FIGURES = "SELECT * FROM figures WHERE day BETWEEN ? AND ? ORDER BY day, destination, event_name"

SAVE_CIRCUIT = "INSERT OR REPLACE INTO circuits VALUES (?, ?, ?, ?, ?)"
CIRCUITS = "SELECT destination, state, reason, since, until FROM circuits"


def build_rows(deliveries: Sequence[Delivery], now: float) -> list[Row]:
    """Return ``deliveries`` as ``store_all`` takes them."""
    return [
        (
            (
                each.destination,
                each.event_name,
                each.event_id,
                each.from_browser,
                each.due,
                each.expires,
                each.has_given_id,
                each.subjects or None,
                now,
            ),
            each.body,
        )
        for each in deliveries
    ]


def store_all(
    file: OutboxFile, rows: Sequence[Row], capacity: int, limit: int, memory: Memory
) -> list[bool]:
    """Store ``rows``; return for each whether its key is new.

    Raises:
        OutboxFullError: The ``limit``, of the capacity, is reached or the disk is full; nothing is
            stored.
    """
    before = file.count_held()
    room = file.find_room()
    has_disk = room.take(len(rows), sum(len(body) for _, body in rows))
    if has_disk and before + len(rows) <= limit:
        return [_store(file, row, memory) for row in rows]
    # Keys that are stored already need no room. How many are new shows only when all are stored.
    file.execute("SAVEPOINT put")
    stored = [_store(file, row, memory) for row in rows]
    has_disk = has_disk or not any(stored)
    fits = has_disk and (file.held <= limit or file.held == before)
    if not fits:
        file.execute("ROLLBACK TO put")
        file.held = before
    file.execute("RELEASE put")
    if not has_disk:
        raise OutboxFullError(
            f"outbox {file.path}: its disk is full; make room on its disk: the last"
            f" {max(0, room.free) / 1e6:.0f} MB are reserved for delivering what waits"
        )
    if not fits:
        raise build_full_error(file.path, file.held, capacity, limit)
    return stored


def _store(file: OutboxFile, row: Row, memory: Memory) -> bool:
    fields, body = row
    if fields[3] and file.execute(_KNOWS_OWN, _name_row(row, memory)).fetchone():
        return False
    if file.storing.execute(_INSERT, fields).rowcount == 1:
        file.storing.execute(_INSERT_BODY, (file.storing.lastrowid, body))
        file.held += 1
        return True
    return _replace(file, row, memory)


def _replace(file: OutboxFile, row: Row, memory: Memory) -> bool:
    """Store ``row`` in place of a dead or forgotten one; return false if its key has neither."""
    values = _name_row(row, memory)
    if file.execute(_DROP_LOST, values).rowcount == 1:
        file.held -= 1
        return _store(file, row, memory)  # at another place: the page of its body may be damaged
    if file.execute(_REPLACE_FORGOTTEN, values).rowcount == 1:
        file.held += 1
    elif file.execute(_REPLACE_DEAD, values).rowcount != 1:
        return False
    file.execute(_REPLACE_BODY, values)
    return True


def _name_row(row: Row, memory: Memory) -> dict[str, Any]:
    """Return ``row`` as named parameters of a statement."""
    fields, body = row
    key, (due, expires, has_given_id, subjects, now) = Key(*fields[:4]), fields[4:]
    return {
        **key._asdict(),
        "due": due,
        "expires": expires,
        "has_given_id": has_given_id,
        "subjects": subjects,
        "now": now,
        "body": body,
        **list_horizons(memory, now),
    }


def list_horizons(memory: Memory, now: float) -> dict[str, float]:
    """Return as named parameters before when a delivered key is forgotten."""
    return {"forgotten": now - memory.random, "forgotten_given": now - memory.given}


def look_for_damage(file: OutboxFile) -> None:
    """Read the whole file; note the first damage, or the first body that is missing."""
    if file.damage.reason:
        return
    try:
        [found] = file.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            file.damage.note(file.path, sqlite3.DatabaseError(found))
        elif missing := file.execute(_COUNT_BODILESS).fetchone()[0]:
            text = f"{missing} bodies are missing"
            file.damage.note(file.path, sqlite3.DatabaseError(text))
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
        file.damage.note(file.path, error)


def check_room(file: OutboxFile, capacity: int) -> None:
    """Raise ``OutboxFullError`` if one more delivery has no room."""
    if not file.find_room().take(1, 0):
        raise OutboxFullError(f"outbox {file.path}: its disk is full; make room on its disk")
    if file.count_held() >= capacity:
        raise build_full_error(file.path, file.held, capacity, capacity)


def claim_due(
    file: OutboxFile, destination: str, limit: int, now: float, lease: float
) -> list[tuple[Any, ...]]:
    """Take what is due, oldest first, and make it due again after ``lease``; return the rows.

    On a nearly full disk it takes fewer, but at least one, so that their ack can be written too.

    Raises:
        OutboxFullError: The disk is so full that no ack could be written.
    """
    room = file.find_room()
    if room.free < 0:
        raise OutboxFullError(f"outbox {file.path}: its disk is full; make room on its disk")
    if file.damage.reason:
        return _claim_around(file, destination, limit, now, now + lease)
    rows, size, has_damage = [], 0, False
    with closing(file.execute(CLAIM, (now + lease, destination, now, max(0, limit)))) as found:
        for row in found:
            if has_damage := not is_sound(row):
                break
            rows.append(row)
            size += len(row[3]) + CLAIMED_ROW_BYTES
            if size > room.claim_size:
                break
    if has_damage:
        return _claim_around(file, destination, limit, now, now + lease)
    file.executemany(_LEASE, [(now + lease, row[-1]) for row in rows])
    return rows


def _claim_around(
    file: OutboxFile, destination: str, limit: int, now: float, due: float
) -> list[tuple[Any, ...]]:
    """Claim what can be read of the next ones that are due; set the others aside."""
    found = find_due(file, destination, limit, now)
    rows = [claim_around(file, _CLAIM_ONE, _LEASE, each, due, now) for each in found]
    return [row for row in rows if row is not None]


def read_next_due(file: OutboxFile, destination: str) -> float | None:
    """Return when the next one is due; ``None`` also while some that cannot be read are due."""
    found = guard(file, NEXT_DUE, lambda: file.execute(NEXT_DUE, (destination,)).fetchone())
    due: float | None = None if found is None else found[0]
    return None if file.damage.skipped else due


def ack_all(file: OutboxFile, deliveries: Sequence[Delivery], now: float, memory: Memory) -> None:
    """Mark as delivered, without their bodies; forget some of the keys that are old enough."""
    is_tight = file.find_room().is_tight
    file.held -= change(file, ACK, (now,), deliveries)
    places = [(each.place,) for each in deliveries]
    ids = [each.place for each in deliveries]
    if _run_each(file, DROP_BODY_BY_PLACE, places, ids, of_bodies=True) < len(places):
        names = [_list_key(each) for each in deliveries]
        _run_each(file, _DROP_BODY_BY_KEY, names, ids, of_bodies=True)
    # Each forgotten key may be on a page of its own, and that page is written.
    most = min(FORGET_AT_ONCE, 2 * len(deliveries) if is_tight else FORGET * len(deliveries))
    left = most - _run_each(file, _FORGET, [(False, now - memory.random, most)])
    _run_each(file, _FORGET, [(True, now - memory.given, left)])


def _run_each(
    file: OutboxFile,
    statement: str,
    values: Sequence[Any],
    places: Sequence[int | None] = (),
    *,
    of_bodies: bool = False,
) -> int:
    """Run ``statement`` with each of ``values``; return how many rows changed.

    Of a damaged file, rows are left out that cannot be changed, if their ``places`` are known.
    """
    if not file.damage.reason:
        return file.executemany(statement, values).rowcount
    if not places:
        works = [guard(file, statement, partial(_run, file, statement, each)) for each in values]
        return sum(each or 0 for each in works)
    pairs = zip(values, places, strict=True)
    failed = file.damage.kept if of_bodies else file.damage.skipped
    return sum(attempt(file, statement, each, place, failed) for each, place in pairs)


def _run(file: OutboxFile, statement: str, values: Any) -> int:
    return file.execute(statement, values).rowcount


def change(
    file: OutboxFile, update: str, values: tuple[Any, ...], deliveries: Sequence[Delivery]
) -> int:
    """Settle those that wait by the statement ``update`` with ``values``; return how many did."""
    return sum(_update(file, update, values, deliveries))


def retry(file: OutboxFile, deliveries: Sequence[Delivery], due: float) -> int:
    """Make those that wait due at ``due``; return how many did."""
    return _update(file, RETRY, (due,), deliveries)[-1]  # who was found before is found again


def _update(
    file: OutboxFile, update: str, values: tuple[Any, ...], deliveries: Sequence[Delivery]
) -> list[int]:
    """Run the statement ``update`` with ``values`` on those that wait; return how many each time.

    Each row is looked for at its place first, which takes half the time of searching for its key.
    If any is not there, all are searched for by key.
    """
    names = [_list_key(each) for each in deliveries]
    places = [(*values, *name, each.place) for name, each in zip(names, deliveries, strict=True)]
    ids = [each.place for each in deliveries]
    # A row that cannot be changed is skipped from then on, or it would be sent every half minute.
    changed = [_run_each(file, f"{update} {BY_PLACE}", places, ids)]
    if changed[0] < len(places):
        rest = [(*values, *name) for name in names]
        changed.append(_run_each(file, f"{update} {BY_KEY}", rest, ids))
    return changed


def list_waiting(
    file: OutboxFile, destination: str | None, limit: int, offset: int
) -> list[tuple[Any, ...]]:
    """Return the rows of what waits, the next due first, from ``offset`` on."""
    names = file.execute(_WAITED_FOR) if destination is None else [(destination,)]
    lanes = [file.execute(_NEXT_DUE, (name, offset + limit)).fetchall() for [name] in names]
    page = islice(merge(*lanes), offset, offset + limit)
    return file.execute(_OF_IDS, (json.dumps([place for _, place in page]),)).fetchall()


def list_names(destinations: Collection[str] | None) -> str | None:
    """Return names as a statement takes them, JSON; ``None`` for any."""
    return None if destinations is None else json.dumps(list(destinations))


def release(
    file: OutboxFile,
    event_name: str,
    event_id: str,
    subjects: bytes,
    now: float,
    destinations: Collection[str] | None,
) -> int:
    """End the hold of an event's deliveries with one of ``subjects`` as first; return how many."""
    named = {
        "event_name": event_name,
        "event_id": event_id,
        "now": now,
        "size": SUBJECT_BYTES,
        "names": list_names(destinations),
    }
    values = [{**named, "subject": each} for each in split_subjects(subjects)]
    return file.executemany(RELEASE, values).rowcount if values else 0


def add_figures(file: OutboxFile, figures: Sequence[Figure]) -> None:
    """Add to the stored numbers; forget old ones."""
    file.executemany(_ADD_FIGURE, figures)
    file.execute(_FORGET_FIGURES, (FIGURE_DAYS,))


def drop_all(file: OutboxFile, keys: Sequence[Key]) -> int:
    """Delete dead letters; return how many there were."""
    names = [Key(*key)._asdict() for key in keys]
    dropped = file.executemany(_DROP_LOST, names).rowcount
    places = [row for name in names for row in file.execute(_PLACE_OF_DEAD, name)]
    _run_each(file, _DROP_BODY_AT, places, [place for [place] in places], of_bodies=True)
    dropped += file.executemany(_DROP, names).rowcount
    file.held -= dropped
    return dropped


def drop_old(file: OutboxFile, before: float, limit: int) -> int:
    """Delete up to ``limit`` dead letters buried before ``before``; return how many."""
    return _remove(file, OLD, (before, limit)).dead


def withdraw(file: OutboxFile, subjects: bytes) -> int:
    """Delete what waits or is dead and has one of ``subjects`` as its first; return how many."""
    ranges = [(each, follow_prefix(each)) for each in split_subjects(subjects)]
    return sum(sum(_remove(file, OF_BROWSER, each)) for each in ranges)


def find_subjects(file: OutboxFile, subjects: bytes) -> list[bytes]:
    """Return the subjects of deliveries that have any of ``subjects``."""
    parts = split_subjects(subjects)
    test = " OR ".join(["instr(subjects, ?)"] * len(parts))
    query = FIND_SUBJECTS.format(f"({test})")
    return [found for [found] in file.execute(query, parts)] if parts else []


def erase(file: OutboxFile, found: Sequence[bytes]) -> Erased:
    """Delete what waits or is dead and has exactly the subjects that were ``found``; for good."""
    file.overwrite()
    removed = [_remove(file, OF_PERSON, (each,)) for each in found]
    return Erased(sum(each.waiting for each in removed), sum(each.dead for each in removed))


def _remove(file: OutboxFile, query: str, values: tuple[Any, ...]) -> Erased:
    """Delete the rows whose ids and reasons ``query`` returns."""
    found = file.execute(query, values).fetchall()
    ids = [(row[0],) for row in found]
    places = [place for [place] in ids]
    _run_each(file, _DROP_BODY_AT, ids, places, of_bodies=True)
    _run_each(file, "DELETE FROM deliveries WHERE id = ?", ids, places)
    file.held -= len(ids)
    dead = sum(reason is not None for _, reason in found)
    return Erased(len(found) - dead, dead)


def _list_key(delivery: Delivery) -> tuple[str, str, str, bool]:
    """Return the key of ``delivery`` in the order of the index."""
    return (
        delivery.event_id,
        delivery.event_name,
        delivery.destination,
        delivery.from_browser,
    )
