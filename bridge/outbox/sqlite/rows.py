"""The rows of the outbox's file: each SQL statement, and the function that runs it.

Every function runs within a transaction that its caller began.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from bridge.errors import OutboxFullError
from bridge.outbox.base import (
    FORGET_AT_ONCE,
    REMEMBERED_SECONDS,
    Circuit,
    Counts,
    DeadLetter,
    Delivery,
    Key,
    read_circuits,
)
from bridge.outbox.sqlite.disk import CLAIMED_ROW_BYTES
from bridge.outbox.sqlite.file import OutboxFile

Row = tuple[tuple[str, str, str, float, float, float], bytes]  # what _INSERT takes, and the body
ClaimedRow = tuple[str, str, str, bytes, float, int, int]  # what _CLAIM gives

_INSERT = """
INSERT INTO deliveries (destination, event_name, event_id, due, expires, stored_at)
VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""
_INSERT_BODY = "INSERT OR REPLACE INTO bodies (id, body) VALUES (?, ?)"

_REPLACE = """
UPDATE deliveries
SET due = :due, expires = :expires, stored_at = :now, attempts = 0,
    settled_at = NULL, reason = NULL
WHERE event_id = :event_id AND event_name = :event_name AND destination = :destination
"""
_REPLACE_FORGOTTEN = f"{_REPLACE} AND settled_at < :forgotten AND reason IS NULL"
_REPLACE_DEAD = f"{_REPLACE} AND reason IS NOT NULL"
_REPLACE_BODY = """
INSERT OR REPLACE INTO bodies (id, body) SELECT id, :body FROM deliveries
WHERE event_id = :event_id AND event_name = :event_name AND destination = :destination
"""

_SELECT = "SELECT destination, event_name, event_id, body, expires, attempts"
_DELIVERIES = "FROM deliveries CROSS JOIN bodies USING (id)"  # CROSS: read in this order

_CLAIM = f"""
{_SELECT}, id {_DELIVERIES} WHERE destination = ? AND due <= ? ORDER BY due LIMIT ?
"""

_LEASE = "UPDATE deliveries SET due = ?, attempts = attempts + 1 WHERE id = ?"

# A settled row stays settled, even if a worker whose lease ran out reports on it again.
_BY_KEY = "WHERE event_id = ? AND event_name = ? AND destination = ? AND due IS NOT NULL"
# The plus makes SQLite go to the id and not search for the key. If another row has taken that id
# meanwhile, the key does not match.
_BY_PLACE = (
    "WHERE +event_id = ? AND +event_name = ? AND +destination = ? AND due IS NOT NULL AND id = ?"
)

_ACK = "UPDATE deliveries SET due = NULL, settled_at = ?"

# Only of what is delivered: a late worker may ack what is dead.
_DROP_BODY = """
DELETE FROM bodies WHERE id = (
    SELECT id FROM deliveries {} AND settled_at IS NOT NULL AND reason IS NULL
)
"""
_DROP_BODY_BY_PLACE = _DROP_BODY.format("WHERE id = ?")
_DROP_BODY_BY_KEY = _DROP_BODY.format("WHERE event_id = ? AND event_name = ? AND destination = ?")

_RETRY = "UPDATE deliveries SET due = ?"
_BURY = "UPDATE deliveries SET due = NULL, settled_at = ?, reason = ?"

_FORGET = """
DELETE FROM deliveries WHERE id IN (
    SELECT id FROM deliveries WHERE settled_at < ? AND settled_at IS NOT NULL AND reason IS NULL
    LIMIT ?
)
"""

_RELEASE = """
UPDATE deliveries SET due = :now
WHERE event_id = :event_id AND event_name = :event_name AND due > :now AND attempts = 0
"""

_HAS = "SELECT EXISTS (SELECT 1 FROM deliveries WHERE event_id = ? AND event_name = ?)"

_NEXT_DUE = "SELECT min(due) FROM deliveries WHERE destination = ? AND due IS NOT NULL"

_COUNT_WAITING = """
SELECT destination, count(*), sum(attempts = 0 AND due > :now), min(stored_at)
FROM deliveries WHERE due IS NOT NULL GROUP BY destination
"""

_COUNT_DELIVERED = """
SELECT destination, count(*) FROM deliveries
WHERE settled_at >= ? AND settled_at IS NOT NULL AND reason IS NULL GROUP BY destination
"""

_COUNT_DEAD = """
SELECT destination, count(*) FROM deliveries WHERE reason IS NOT NULL GROUP BY destination
"""

# In the index's own order: nothing has to be sorted, and each page starts where the last one ended.
_LIST_DEAD = f"""
{_SELECT}, reason, settled_at {_DELIVERIES}
WHERE reason IS NOT NULL AND (:destination IS NULL OR destination = :destination)
ORDER BY settled_at DESC, destination DESC, reason DESC, id DESC LIMIT :limit OFFSET :offset
"""

_FIND_DEAD = f"""
{_SELECT}, reason, settled_at {_DELIVERIES} WHERE event_id = ? AND reason IS NOT NULL
ORDER BY settled_at DESC, id DESC
"""

_REVIVE = """
UPDATE deliveries SET due = :now, attempts = 0, settled_at = NULL, reason = NULL
WHERE event_id = :event_id AND event_name = :event_name AND destination = :destination
  AND reason IS NOT NULL
"""

_DROP = """
DELETE FROM deliveries
WHERE event_id = :event_id AND event_name = :event_name AND destination = :destination
  AND reason IS NOT NULL
"""

_DROP_DEAD_BODY = """
DELETE FROM bodies WHERE id = (
    SELECT id FROM deliveries
    WHERE event_id = :event_id AND event_name = :event_name AND destination = :destination
      AND reason IS NOT NULL
)
"""

_SAVE_CIRCUIT = "INSERT OR REPLACE INTO circuits VALUES (?, ?, ?, ?, ?)"
_CIRCUITS = "SELECT destination, state, reason, since, until FROM circuits"


def build_rows(deliveries: Sequence[Delivery], now: float) -> list[Row]:
    """Return ``deliveries`` as ``store_all`` takes them."""
    return [((*each.key, each.due, each.expires, now), each.body) for each in deliveries]


def store_all(file: OutboxFile, rows: Sequence[Row], capacity: int) -> list[bool]:
    """Store ``rows``; return for each whether its key is new.

    Raises:
        OutboxFullError: The capacity is reached or the disk is full; nothing is stored.
    """
    before = file.count_held()
    room = file.find_room()
    has_disk = room.take(len(rows), sum(len(body) for _, body in rows))
    if has_disk and before + len(rows) <= capacity:
        return [_store(file, row) for row in rows]
    # Keys that are stored already need no room. How many are new shows only when all are stored.
    file.execute("SAVEPOINT put")
    stored = [_store(file, row) for row in rows]
    has_disk = has_disk or not any(stored)
    fits = has_disk and (file.held <= capacity or file.held == before)
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
        raise OutboxFullError(
            f"outbox {file.path} is full, it holds {file.held} of {capacity} deliveries: see why"
            " they are not delivered, drop dead letters, or give it a larger capacity"
        )
    return stored


def _store(file: OutboxFile, row: Row) -> bool:
    fields, body = row
    if file.storing.execute(_INSERT, fields).rowcount == 1:
        file.storing.execute(_INSERT_BODY, (file.storing.lastrowid, body))
        file.held += 1
        return True
    return _replace(file, row)


def _replace(file: OutboxFile, row: Row) -> bool:
    """Store ``row`` in place of a dead or forgotten one; return false if its key has neither."""
    (destination, event_name, event_id, due, expires, now), body = row
    key = _name((destination, event_name, event_id))
    values = {
        **key,
        "due": due,
        "expires": expires,
        "now": now,
        "forgotten": now - REMEMBERED_SECONDS,
    }
    if file.execute(_REPLACE_FORGOTTEN, values).rowcount == 1:
        file.held += 1
    elif file.execute(_REPLACE_DEAD, values).rowcount != 1:
        return False
    file.execute(_REPLACE_BODY, {**key, "body": body})
    return True


def claim_due(
    file: OutboxFile, destination: str, limit: int, now: float, lease: float
) -> list[ClaimedRow]:
    """Take what is due, oldest first, and make it due again after ``lease``.

    On a nearly full disk it takes fewer, but at least one, so that their ack can be written too.

    Raises:
        OutboxFullError: The disk is so full that no ack could be written.
    """
    room = file.find_room()
    if room.free < 0:
        raise OutboxFullError(f"outbox {file.path}: its disk is full; make room on its disk")
    rows, size = [], 0
    with closing(file.execute(_CLAIM, (destination, now, max(0, limit)))) as found:
        for row in found:
            rows.append(row)
            size += len(row[3]) + CLAIMED_ROW_BYTES
            if size > room.claim_size:
                break
    file.executemany(_LEASE, [(now + lease, row[6]) for row in rows])
    return rows


def read_claimed(rows: Sequence[ClaimedRow], due: float) -> list[Delivery]:
    """Return the rows of ``claim_due`` as deliveries, due again at ``due``."""
    return [_read_delivery(row, due=due, attempts=row[5] + 1, place=row[6]) for row in rows]


def ack_all(file: OutboxFile, deliveries: Sequence[Delivery], now: float) -> None:
    """Mark as delivered, without their bodies; forget some of the keys older than 48 hours."""
    is_tight = file.find_room().is_tight
    file.held -= _change(file, _ACK, (now,), deliveries)
    places = [(each.place,) for each in deliveries]
    if file.executemany(_DROP_BODY_BY_PLACE, places).rowcount < len(places):
        file.executemany(_DROP_BODY_BY_KEY, [_list_key(each) for each in deliveries])
    # Each forgotten key may be on a page of its own, and that page is written.
    most = 2 * len(deliveries) if is_tight else FORGET_AT_ONCE
    file.execute(_FORGET, (now - REMEMBERED_SECONDS, most))


def retry_all(file: OutboxFile, deliveries: Sequence[Delivery], due: float) -> None:
    """Make due at ``due``."""
    _change(file, _RETRY, (due,), deliveries)


def bury_all(file: OutboxFile, deliveries: Sequence[Delivery], reason: str, now: float) -> None:
    """Make dead letters."""
    _change(file, _BURY, (now, reason), deliveries)


def _change(
    file: OutboxFile, change: str, values: tuple[Any, ...], deliveries: Sequence[Delivery]
) -> int:
    """Run the statement ``change`` with ``values`` on those that wait; return how many did.

    Each row is looked for at its place first, which takes half the time of searching for its key.
    If any is not there, all are searched for by key.
    """
    names = [_list_key(each) for each in deliveries]
    places = [(*values, *name, each.place) for name, each in zip(names, deliveries, strict=True)]
    changed = file.executemany(f"{change} {_BY_PLACE}", places).rowcount
    if changed < len(places):
        changed += file.executemany(
            f"{change} {_BY_KEY}", [(*values, *name) for name in names]
        ).rowcount
    return changed


def release_held(file: OutboxFile, event_name: str, event_id: str, now: float) -> int:
    """Make due what was never claimed; return how many there were."""
    row = {"event_name": event_name, "event_id": event_id, "now": now}
    return file.execute(_RELEASE, row).rowcount


def has_event(file: OutboxFile, event_name: str, event_id: str) -> bool:
    """Return whether there is a row of the event."""
    [found] = file.execute(_HAS, (event_id, event_name)).fetchone()
    return bool(found)


def read_next_due(file: OutboxFile, destination: str) -> float | None:
    """Return the earliest ``due``, or ``None`` if nothing waits."""
    due: float | None = file.execute(_NEXT_DUE, (destination,)).fetchone()[0]
    return due


def count_all(file: OutboxFile, now: float) -> dict[str, Counts]:
    """Count by destination, from indexes alone."""
    waiting = {row[0]: row[1:] for row in file.execute(_COUNT_WAITING, {"now": now})}
    delivered = dict(file.execute(_COUNT_DELIVERED, (now - REMEMBERED_SECONDS,)).fetchall())
    dead = dict(file.execute(_COUNT_DEAD).fetchall())
    counts = {}
    for name in waiting.keys() | delivered.keys() | dead.keys():
        number, held, oldest = waiting.get(name, (0, 0, None))
        counts[name] = Counts(
            waiting=number,
            held=held,
            delivered=delivered.get(name, 0),
            dead=dead.get(name, 0),
            oldest=oldest,
        )
    return counts


def list_dead(
    file: OutboxFile, destination: str | None, limit: int, offset: int
) -> list[DeadLetter]:
    """Return a page of dead letters, newest first."""
    page = {"destination": destination, "limit": max(0, limit), "offset": max(0, offset)}
    return _read_dead(file.execute(_LIST_DEAD, page))


def find_dead(file: OutboxFile, event_id: str) -> list[DeadLetter]:
    """Return the dead letters of one event."""
    return _read_dead(file.execute(_FIND_DEAD, (event_id,)))


def revive_all(file: OutboxFile, keys: Sequence[Key], now: float) -> int:
    """Make dead letters due; return how many there were."""
    return file.executemany(_REVIVE, [{**_name(key), "now": now} for key in keys]).rowcount


def drop_all(file: OutboxFile, keys: Sequence[Key]) -> int:
    """Delete dead letters; return how many there were."""
    names = [_name(key) for key in keys]
    file.executemany(_DROP_DEAD_BODY, names)
    dropped = file.executemany(_DROP, names).rowcount
    file.held -= dropped
    return dropped


def save_circuit(file: OutboxFile, circuit: Circuit) -> None:
    """Store ``circuit`` in place of the destination's last one."""
    file.execute(
        _SAVE_CIRCUIT,
        (circuit.destination, circuit.state, circuit.reason, circuit.since, circuit.until),
    )


def load_circuits(file: OutboxFile) -> dict[str, Circuit]:
    """Return the stored circuits by destination."""
    return read_circuits(file.execute(_CIRCUITS))


def _list_key(delivery: Delivery) -> tuple[str, str, str]:
    """Return the key of ``delivery`` in the order of the index."""
    return (delivery.event_id, delivery.event_name, delivery.destination)


def _name(key: Key) -> dict[str, Any]:
    """Return ``key`` as named parameters of a statement."""
    return {"destination": key[0], "event_name": key[1], "event_id": key[2]}


def _read_delivery(
    row: Sequence[Any], *, due: float, attempts: int, place: int | None = None
) -> Delivery:
    return Delivery(
        destination=row[0],
        event_name=row[1],
        event_id=row[2],
        body=row[3],
        due=due,
        expires=row[4],
        attempts=attempts,
        place=place,
    )


def _read_dead(rows: sqlite3.Cursor) -> list[DeadLetter]:
    """Return rows of ``_SELECT``, reason and time as dead letters."""
    return [
        DeadLetter(
            delivery=_read_delivery(row, due=row[7], attempts=row[5]),
            reason=row[6],
            buried_at=row[7],
        )
        for row in rows
    ]
