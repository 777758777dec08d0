"""The embedded outbox: one SQLite file, shared by the processes of one machine.

Two threads a process, each with a connection of its own: one writes, whatever queued up in one
transaction; one reads for whoever looks at the outbox, so that counting a million deliveries holds
up nobody who stores one.

A visitor's request waits for another process's transaction for ``REQUEST_PATIENCE`` at most; the
sender, which has time, for ``PATIENCE``. The file keeps its size when it empties, and fills up
again from within. The last 64 MiB of its disk, or an eighth of a small one, are kept for delivering
what waits.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from bridge.errors import ConfigError
from bridge.outbox.base import CAPACITY, Circuit, Counts, DeadLetter, Delivery, Key
from bridge.outbox.sqlite import rows
from bridge.outbox.sqlite.file import OutboxFile, build_error
from bridge.outbox.sqlite.thread import FileThread, How, Job, build_job

REQUEST_PATIENCE = 5.0  # seconds that put and release wait for a locked file, and a request too
PATIENCE = 15.0  # seconds that everything else waits

Result = TypeVar("Result")


class SQLiteOutbox:
    """Deliveries in one SQLite file.

    Args:
        path: The file; made when missing. Its folder must exist.
        capacity: Deliveries that wait or are dead, at most. What other processes put is seen two
            seconds late: together they may pass it by what they put meanwhile.

    Raises:
        ConfigError: The capacity is below 1.
    """

    def __init__(self, path: str | Path, *, capacity: int = CAPACITY) -> None:
        if capacity < 1:
            raise ConfigError(f"capacity must be at least 1, got {capacity}")
        self._path = str(path)
        self._capacity = capacity
        # What this turn of an event loop has asked for: handed over together when the turn ends.
        self._asked: dict[tuple[asyncio.AbstractEventLoop, int, How], list[Job]] = {}
        # By process too: threads do not survive a fork, and a child that uses or closes what its
        # parent opened may damage the file. It stays here, untouched.
        # Source: sqlite3-ruby, adr/2024-09-fork-safety.md, read 2026-11-24.
        self._threads: dict[tuple[int, How], FileThread] = {}

    async def put(
        self, deliveries: Sequence[Delivery], now: float, *, connection: Any = None
    ) -> list[bool]:
        """Store ``deliveries`` durably, all or none; for each, whether its key is new.

        Raises:
            OutboxFullError: The capacity is reached, or the disk is full.
            ConfigError: A connection was given: only PostgresOutbox can use one.
        """
        if connection is not None:
            raise ConfigError(
                "SQLiteOutbox cannot take part in your transaction: leave connection= out, or use"
                " PostgresOutbox with a connection to its database"
            )
        built = rows.build_rows(deliveries, now)
        return await self._run(
            lambda file: rows.store_all(file, built, self._capacity),
            patience=REQUEST_PATIENCE,
        )

    async def claim(
        self, destination: str, limit: int, *, now: float, lease: float
    ) -> list[Delivery]:
        """Take up to ``limit`` due deliveries, oldest due first; due again after ``lease``."""
        claimed = await self._run(lambda file: rows.claim_due(file, destination, limit, now, lease))
        return rows.read_claimed(claimed, now + lease)

    async def ack(self, deliveries: Sequence[Delivery], now: float) -> None:
        """Mark as delivered, drop the bodies, and forget keys older than 48 hours."""
        await self._run(lambda file: rows.ack_all(file, deliveries, now))

    async def retry(self, deliveries: Sequence[Delivery], due: float) -> None:
        """Make claimed deliveries due at ``due``."""
        await self._run(lambda file: rows.retry_all(file, deliveries, due))

    async def bury(self, deliveries: Sequence[Delivery], reason: str, now: float) -> None:
        """Move to the dead letters."""
        await self._run(lambda file: rows.bury_all(file, deliveries, reason, now))

    async def release(self, event_name: str, event_id: str, now: float) -> int:
        """End the hold of an event's deliveries never claimed yet; how many there were."""
        return await self._run(
            lambda file: rows.release_held(file, event_name, event_id, now),
            patience=REQUEST_PATIENCE,
        )

    async def find(self, event_name: str, event_id: str) -> Delivery | None:
        """Return a waiting delivery of one event; of several destinations', the first by name."""
        return await self._read(
            lambda file: rows.find_waiting(file, event_name, event_id),
            patience=REQUEST_PATIENCE,
        )

    async def next_due(self, destination: str) -> float | None:
        """When the next waiting delivery is due, or ``None`` if none waits."""
        # By the writer: the sender asks between two claims, and must not wait behind a count.
        return await self._run(lambda file: rows.read_next_due(file, destination))

    async def count(self, now: float) -> Mapping[str, Counts]:
        """Count by destination; one without deliveries is missing.

        It reads indexes alone (0.2 s for a million deliveries), beside those who write.
        """
        return await self._read(lambda file: rows.count_all(file, now))

    async def list_dead(
        self, *, destination: str | None = None, limit: int = 100, offset: int = 0
    ) -> list[DeadLetter]:
        """Return dead letters, newest first; each delivery's ``due`` is when it was buried."""
        return await self._read(lambda file: rows.list_dead(file, destination, limit, offset))

    async def find_dead(self, event_id: str) -> list[DeadLetter]:
        """Return the dead letters of one event, one for each name and destination."""
        return await self._read(lambda file: rows.find_dead(file, event_id))

    async def revive(self, keys: Sequence[Key], now: float) -> int:
        """Make dead letters due at ``now``, as if never claimed; how many there were."""
        return await self._run(lambda file: rows.revive_all(file, keys, now))

    async def drop(self, keys: Sequence[Key]) -> int:
        """Delete dead letters and their keys; how many there were."""
        return await self._run(lambda file: rows.drop_all(file, keys))

    async def save_circuit(self, circuit: Circuit) -> None:
        """Keep the circuit of a destination, for other processes to see."""
        await self._run(lambda file: rows.save_circuit(file, circuit))

    async def circuits(self) -> Mapping[str, Circuit]:
        """Return the circuits kept, by destination."""
        return await self._read(rows.read_circuits)

    async def close(self) -> None:
        """Let both threads finish what is queued and close; a later call opens the file again."""
        loop = asyncio.get_running_loop()
        for key in [key for key in self._asked if key[0] is loop]:
            self._hand_over(key)
        mine = [
            self._threads.pop(key, None) for key in list(self._threads) if key[0] == os.getpid()
        ]
        await asyncio.gather(*(asyncio.to_thread(thread.stop) for thread in mine if thread))

    async def _run(
        self, work: Callable[[OutboxFile], Result], *, patience: float = PATIENCE
    ) -> Result:
        """Have ``work`` done by the writing thread, and wait for its commit."""
        return await self._submit("IMMEDIATE", work, patience)

    async def _read(
        self, work: Callable[[OutboxFile], Result], *, patience: float = PATIENCE
    ) -> Result:
        """Have ``work`` done by the reading thread."""
        # Each connection to :memory: has a database of its own.
        how: How = "IMMEDIATE" if self._path == ":memory:" else "DEFERRED"
        return await self._submit(how, work, patience)

    def _submit(
        self, how: How, work: Callable[[OutboxFile], Result], patience: float
    ) -> asyncio.Future[Result]:
        """Have ``work`` done by a thread, together with all that this turn of the loop asks for.

        Were each handed over at once, the thread would commit the first while the others are still
        on their way, and stop at every statement for the interpreter, which the loop holds.
        """
        job = build_job(work, patience)
        key = (job.loop, os.getpid(), how)
        asked = self._asked.get(key)
        if asked is None:
            self._asked[key] = [job]
            job.loop.call_soon(self._hand_over, key)
        else:
            asked.append(job)
        return job.future

    def _hand_over(self, key: tuple[asyncio.AbstractEventLoop, int, How]) -> None:
        """Give what was asked for to its thread."""
        jobs = self._asked.pop(key, [])
        try:
            # A thread that close() has just stopped takes nothing more; the next one does.
            while jobs and not self._find_thread(key[1:]).submit(*jobs):
                pass
        except RuntimeError as error:  # no more threads can be started
            for job in jobs:
                job.error = build_error(self._path, error)
                job.settle()

    def _find_thread(self, key: tuple[int, How]) -> FileThread:
        found = self._threads.get(key)
        # Two event loops may come here at once: setdefault gives both the same.
        return found or self._threads.setdefault(key, FileThread(self._path, key[1]))

    def __repr__(self) -> str:
        return f"SQLiteOutbox({self._path!r})"
