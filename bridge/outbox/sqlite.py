"""The embedded outbox: one SQLite file, shared by the processes of one machine.

Strategy: group commit. One thread per process owns the connection and runs whatever has queued up
since its last commit as one transaction, so that a hundred concurrent requests wait for one disk
flush instead of a hundred, and the event loop never waits for a disk at all. WAL keeps readers and
the writer apart; ``synchronous=FULL`` makes a commit survive a power cut.

Source: SQLite, "Write-Ahead Logging" and "PRAGMA synchronous", read 2026-11-23.
"""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from bridge.errors import OutboxError
from bridge.outbox.base import REMEMBERED, Counts, Delivery

BUSY_TIMEOUT = 2.0  # seconds to wait for another process's transaction; a page waits as long
MAX_GROUP = 2000  # jobs of one commit
FORGET_AT_ONCE = 2000  # delivered keys that one ack forgets at most

# due: NULL once settled. settled_at with reason NULL: delivered; with a reason: dead.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS deliveries (
    id INTEGER PRIMARY KEY,
    destination TEXT NOT NULL,
    event_name TEXT NOT NULL,
    event_id TEXT NOT NULL,
    body BLOB,
    due REAL,
    expires REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    settled_at REAL,
    reason TEXT,
    UNIQUE (event_id, event_name, destination)
) STRICT;
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (destination, due) WHERE due IS NOT NULL;
CREATE INDEX IF NOT EXISTS deliveries_delivered ON deliveries (settled_at)
    WHERE settled_at IS NOT NULL AND reason IS NULL;
"""

_PUT = """
INSERT INTO deliveries (destination, event_name, event_id, body, due, expires)
VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (event_id, event_name, destination) DO UPDATE
SET body = excluded.body, due = excluded.due, expires = excluded.expires, attempts = 0,
    settled_at = NULL
WHERE settled_at < ? AND reason IS NULL
"""

_CLAIM = """
UPDATE deliveries SET due = ?, attempts = attempts + 1
WHERE id IN (
    SELECT id FROM deliveries WHERE destination = ? AND due <= ? ORDER BY due LIMIT ?
)
RETURNING destination, event_name, event_id, body, due, expires, attempts
"""

# A settled row stays settled, whatever a worker whose lease ran out still says of it.
_ACK = """
UPDATE deliveries SET due = NULL, body = NULL, settled_at = ?
WHERE event_id = ? AND event_name = ? AND destination = ? AND due IS NOT NULL
"""

_RETRY = """
UPDATE deliveries SET due = ?
WHERE event_id = ? AND event_name = ? AND destination = ? AND due IS NOT NULL
"""

_BURY = """
UPDATE deliveries SET due = NULL, settled_at = ?, reason = ?
WHERE event_id = ? AND event_name = ? AND destination = ? AND due IS NOT NULL
"""

_FORGET = """
DELETE FROM deliveries WHERE id IN (
    SELECT id FROM deliveries WHERE settled_at < ? AND reason IS NULL AND settled_at IS NOT NULL
    LIMIT ?
)
"""

_COUNT = """
SELECT count(*) FILTER (WHERE due IS NOT NULL),
       count(*) FILTER (WHERE due IS NULL AND reason IS NULL),
       count(*) FILTER (WHERE reason IS NOT NULL)
FROM deliveries
"""

Result = TypeVar("Result")
_Work = Callable[[sqlite3.Connection], Any]


@dataclass(slots=True)
class _Job:
    """One piece of work and the future that waits for it."""

    work: _Work
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None

    def settle(self) -> None:
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


@dataclass(slots=True)
class _Writer:
    """The thread that owns the connection."""

    path: str
    jobs: queue.SimpleQueue[_Job | None] = field(default_factory=queue.SimpleQueue)
    connection: sqlite3.Connection | None = None

    def run(self) -> None:
        stopping = False
        while not stopping:
            group = [self.jobs.get()]
            while len(group) < MAX_GROUP and not self.jobs.empty():
                group.append(self.jobs.get())
            stopping = None in group
            self._commit([job for job in group if job is not None])
        if self.connection is not None:
            self.connection.close()

    def _commit(self, jobs: list[_Job]) -> None:
        """Run ``jobs`` in one transaction; if one of them fails, each in its own."""
        if jobs and not self._try(jobs):
            for job in jobs:
                self._try([job])
        for loop in {job.loop for job in jobs}:
            settled = [job for job in jobs if job.loop is loop]
            try:
                loop.call_soon_threadsafe(_settle, settled)
            except RuntimeError:
                continue  # that loop is closed: nobody waits any more

    def _try(self, jobs: list[_Job]) -> bool:
        """Return whether ``jobs`` are done with; false if one of them failed the others."""
        begun = False
        try:
            if self.connection is None:
                self.connection = _connect(self.path)
            self.connection.execute("BEGIN IMMEDIATE")
            begun = True
            try:
                for job in jobs:
                    job.result, job.error = job.work(self.connection), None
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise
        except Exception as error:  # noqa: BLE001 - the thread must outlive any job
            for job in jobs:
                hint = "; does its folder exist?" if "unable to open" in str(error) else ""
                job.error = OutboxError(f"outbox {self.path}: {error}{hint}")
                job.error.__cause__ = error
            # Without a transaction none of them is at fault: one by one they would wait in vain.
            return not begun
        return True


def _settle(jobs: list[_Job]) -> None:
    for job in jobs:
        job.settle()


def _connect(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(_SCHEMA)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


class SQLiteOutbox:
    """Deliveries in one SQLite file.

    Args:
        path: The file; made when missing. Its folder must exist.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = str(path)
        self._writer: _Writer | None = None
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    async def _run(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Have ``work`` run by the writer thread, and wait for its commit."""
        if self._writer is None or self._pid != os.getpid():
            # The first use, or a fork: a thread and a connection do not survive it.
            self._pid = os.getpid()
            self._writer = _Writer(self._path)
            self._thread = threading.Thread(
                target=self._writer.run, name="bridge-outbox", daemon=True
            )
            self._thread.start()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._writer.jobs.put(_Job(work, loop, future))
        return await future

    async def put(self, deliveries: Sequence[Delivery], now: float) -> list[bool]:
        """Store ``deliveries`` durably; for each, whether its key is new."""

        def work(connection: sqlite3.Connection) -> list[bool]:
            return [
                connection.execute(
                    _PUT,
                    (
                        d.destination,
                        d.event_name,
                        d.event_id,
                        d.body,
                        d.due,
                        d.expires,
                        now - REMEMBERED,
                    ),
                ).rowcount
                == 1
                for d in deliveries
            ]

        return await self._run(work)

    async def claim(
        self, destination: str, limit: int, *, now: float, lease: float
    ) -> list[Delivery]:
        """Take up to ``limit`` due deliveries, oldest first; they are due again after ``lease``."""

        def work(connection: sqlite3.Connection) -> list[Delivery]:
            rows = connection.execute(_CLAIM, (now + lease, destination, now, limit)).fetchall()
            return [
                Delivery(
                    destination=row[0],
                    event_name=row[1],
                    event_id=row[2],
                    body=row[3],
                    due=row[4],
                    expires=row[5],
                    attempts=row[6],
                )
                for row in rows
            ]

        return await self._run(work)

    async def ack(self, deliveries: Sequence[Delivery], now: float) -> None:
        """Mark as delivered and drop the bodies; forget keys older than 48 hours."""

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(_ACK, [(now, *_key(d)) for d in deliveries])
            connection.execute(_FORGET, (now - REMEMBERED, FORGET_AT_ONCE))

        await self._run(work)

    async def retry(self, deliveries: Sequence[Delivery], due: float) -> None:
        """Make claimed deliveries due at ``due``."""

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(_RETRY, [(due, *_key(d)) for d in deliveries])

        await self._run(work)

    async def bury(self, deliveries: Sequence[Delivery], reason: str, now: float) -> None:
        """Move to the dead letters; the bodies stay, for a later retry by hand."""

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(_BURY, [(now, reason, *_key(d)) for d in deliveries])

        await self._run(work)

    async def release(self, event_name: str, event_id: str, now: float) -> int:
        """End the hold of an event's deliveries never claimed yet; how many there were."""

        def work(connection: sqlite3.Connection) -> int:
            return connection.execute(
                "UPDATE deliveries SET due = ?"
                " WHERE event_id = ? AND event_name = ? AND due > ? AND attempts = 0",
                (now, event_id, event_name, now),
            ).rowcount

        return await self._run(work)

    async def next_due(self, destination: str) -> float | None:
        """When the next waiting delivery is due, or ``None`` if none waits."""

        def work(connection: sqlite3.Connection) -> float | None:
            row = connection.execute(
                "SELECT min(due) FROM deliveries WHERE destination = ? AND due IS NOT NULL",
                (destination,),
            ).fetchone()
            due: float | None = row[0]
            return due

        return await self._run(work)

    async def count(self) -> Counts:
        """Count all."""

        def work(connection: sqlite3.Connection) -> Counts:
            waiting, delivered, dead = connection.execute(_COUNT).fetchone()
            return Counts(waiting=waiting, delivered=delivered, dead=dead)

        return await self._run(work)

    async def close(self) -> None:
        """Let the writer finish what is queued and close the file; a later call opens it again."""
        writer, thread = self._writer, self._thread
        self._writer = self._thread = None
        if writer is not None and thread is not None:
            writer.jobs.put(None)
            await asyncio.to_thread(thread.join)

    def __repr__(self) -> str:
        return f"SQLiteOutbox({self._path!r})"


def _key(delivery: Delivery) -> tuple[str, str, str]:
    return (delivery.event_id, delivery.event_name, delivery.destination)
