"""The shared outbox in PostgreSQL, for many machines; it can store in the caller's transaction.

It is as durable as the server's commits: ``synchronous_commit`` must not be ``off``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from bridge.errors import ConfigError, OutboxFullError
from bridge.outbox.base import CAPACITY, REMEMBERED, Circuit, Counts, DeadLetter, Delivery, Key
from bridge.outbox.postgres import sql
from bridge.outbox.postgres.caller import run_inside
from bridge.outbox.postgres.database import Database
from bridge.outbox.postgres.puts import Rows
from bridge.outbox.postgres.room import Room
from bridge.outbox.postgres.rows import (
    build_circuit,
    build_columns,
    build_keys,
    clean_text,
    read_circuits,
    read_counts,
    read_dead,
    read_delivery,
)
from bridge.outbox.postgres.sql import digest_key

TIMEOUT = 5.0  # seconds for what a visitor's request may wait for
COUNT_TIMEOUT = 2.0  # seconds of these that counting may take, now and then
MAX_CONNECTIONS = 5  # by default, of one process


class PostgresOutbox:
    """Deliveries in two tables of a PostgreSQL database, 13 or newer; tested on 15.

    Made on first use; where the role may not create tables, an administrator runs
    ``bridge.outbox.postgres_sql.SCHEMA``. They live in the first schema of the search path, which
    the URL may set: ``?options=-csearch_path%3Dshop``.

    Args:
        url: Such as ``postgresql://user:password@host:5432/database``; all that libpq knows may
            follow, as in ``?sslmode=require``. Special characters of a password are
            percent-encoded.
        capacity: Deliveries that wait or are dead, at most. What other processes put is seen two
            seconds late, or a minute while less than half is held: together they may pass it by
            what they put meanwhile.
        max_connections: Connections of this process, at most.

    Raises:
        ConfigError: The URL cannot be read, or a number is below 1.
    """

    def __init__(
        self, url: str, *, capacity: int = CAPACITY, max_connections: int = MAX_CONNECTIONS
    ) -> None:
        for name, number in (("capacity", capacity), ("max_connections", max_connections)):
            if number < 1:
                raise ConfigError(f"{name} must be at least 1, got {number}")
        self._database = Database(url, max_connections)
        self._room = Room(capacity)

    # Put

    async def put(
        self, deliveries: Sequence[Delivery], now: float, *, connection: Any = None
    ) -> list[bool]:
        """Store ``deliveries`` durably, all or none; for each, whether its key is new.

        Args:
            deliveries: What to store.
            now: When it is stored, Unix seconds.
            connection: The caller's own, in whose transaction they are stored: psycopg's
                ``AsyncConnection`` or ``Connection``, SQLAlchemy's ``AsyncSession``,
                ``AsyncConnection``, ``Session`` or ``Connection``. It needs INSERT, SELECT and
                UPDATE on ``bridge_deliveries`` in the outbox's own database.

        Raises:
            OutboxError: Nothing is stored; the caller's transaction is as it was before.
            OutboxFullError: The capacity is reached, or the disk is full.
            ConfigError: The connection is of another kind, or has no transaction open.
        """
        if not deliveries:
            return []
        async with self._database.limited(TIMEOUT) as limit:
            keys = [digest_key(each.key) for each in deliveries]
            first: dict[bytes, tuple[Delivery, float]] = {}
            for key, delivery in zip(keys, deliveries, strict=True):
                first.setdefault(key, (delivery, now))
            new = await self._store(first, connection, limit)
        answers = []
        for key in keys:
            answers.append(key in new)
            new.discard(key)
        return answers

    async def _store(self, rows: Rows, connection: Any, limit: asyncio.Timeout) -> set[bytes]:
        """Return the keys of ``rows`` that are new."""
        reserved = await self._reserve(list(rows))
        stored = 0
        try:
            if connection is None:
                deadline = limit.when() or _loop_time()
                new = await self._database.find_puts().store(rows, deadline)
            else:
                new = await self._store_inside(rows, connection, limit)
            stored = min(reserved, len(new))
        finally:
            self._room.settle(reserved, stored)
        return new

    async def _store_inside(
        self, rows: Rows, connection: Any, limit: asyncio.Timeout
    ) -> set[bytes]:
        """Store ``rows`` in the caller's transaction."""
        # Their search path may lead elsewhere.
        table = f"{await self._database.find_schema()}.bridge_deliveries"
        statement = sql.PUT.replace("bridge_deliveries", table)
        # From here on it is the caller's connection: a statement of theirs cut short would spoil
        # their transaction, and how long it may take is theirs to say.
        limit.reschedule(None)
        found = await run_inside(connection, statement, build_columns(rows))
        return {bytes(row[0]) for row in found}

    async def _reserve(self, keys: Sequence[bytes]) -> int:
        """Keep room for those of ``keys`` that are new, at least; how much.

        Raises:
            OutboxFullError: There is too little.
        """
        room = self._room
        lock = self._database.find_lock()
        # One counts; the others need not wait for it, but for the first time.
        if room.is_stale(_loop_time()) and not (room.is_known and lock.locked()):
            async with lock:
                if room.is_stale(_loop_time()):
                    await self._recount()
        number = len(keys)
        if not room.fits(number):
            [[number]] = await self._database.fetch(sql.COUNT_NEW, {"keys": keys})
        if number and not room.fits(number):
            raise OutboxFullError(
                f"outbox {self._database} holds {room.held} of {room.capacity} deliveries: see why"
                " they are not delivered, drop dead letters, or give it a larger capacity"
            )
        room.reserve(number)
        return number

    async def _recount(self) -> None:
        began, held = _loop_time(), self._room.held
        # Better a capacity that is passed than an event that is lost to counting.
        with suppress(TimeoutError):
            async with asyncio.timeout(COUNT_TIMEOUT):
                [[held]] = await self._database.fetch_from_index(sql.COUNT_HELD, {})
        self._room.counted(held, began, _loop_time())

    # The sender's work

    async def claim(
        self, destination: str, limit: int, *, now: float, lease: float
    ) -> list[Delivery]:
        """Take up to ``limit`` due deliveries, oldest due first; due again after ``lease``."""
        values = {"destination": destination, "now": now, "until": now + lease}
        async with self._database.limited():
            rows = await self._database.fetch(sql.CLAIM, {**values, "limit": max(0, limit)})
        return [read_delivery(row) for row in rows]

    async def ack(self, deliveries: Sequence[Delivery], now: float) -> None:
        """Mark as delivered, drop the bodies, and forget keys older than 48 hours."""
        values = {"now": now, "forgotten": now - REMEMBERED, "limit": sql.FORGET_AT_ONCE}
        acked = await self._change(sql.ACK, build_keys(deliveries), **values)
        self._room.settle(0, -acked)

    async def retry(self, deliveries: Sequence[Delivery], due: float) -> None:
        """Make claimed deliveries due at ``due``."""
        await self._change(sql.RETRY, build_keys(deliveries), due=due)

    async def bury(self, deliveries: Sequence[Delivery], reason: str, now: float) -> None:
        """Move to the dead letters."""
        await self._change(sql.BURY, build_keys(deliveries), reason=clean_text(reason), now=now)

    async def release(self, event_name: str, event_id: str, now: float) -> int:
        """End the hold of an event's deliveries never claimed yet; how many there were."""
        values = {"event_name": event_name, "event_id": event_id, "now": now}
        async with self._database.limited(TIMEOUT):
            return await self._database.execute(sql.RELEASE, values)

    async def find(self, event_name: str, event_id: str) -> Delivery | None:
        """Return a waiting delivery of one event; of several destinations', the first by name."""
        async with self._database.limited(TIMEOUT):
            names = await self._database.fetch_from_index(sql.DESTINATIONS, {})
            keys = [digest_key((name, event_name, event_id)) for [name] in names]
            rows = await self._database.fetch(sql.FIND, {"keys": keys}) if keys else []
        return read_delivery(rows[0]) if rows else None

    async def next_due(self, destination: str) -> float | None:
        """When the next waiting delivery is due, or ``None`` if none waits."""
        async with self._database.limited():
            rows = await self._database.fetch(sql.NEXT_DUE, {"destination": destination})
        return rows[0][0] if rows else None

    # Looking at it

    async def count(self, now: float) -> Mapping[str, Counts]:
        """Count by destination, from indexes alone."""
        async with self._database.limited():
            began = _loop_time()
            rows = await self._database.fetch_from_index(
                sql.COUNT, {"now": now, "forgotten": now - REMEMBERED}
            )
        counts = read_counts(rows)
        held = sum(each.waiting + each.dead for each in counts.values())
        self._room.counted(held, began, _loop_time())
        return counts

    async def list_dead(
        self, *, destination: str | None = None, limit: int = 100, offset: int = 0
    ) -> list[DeadLetter]:
        """Return dead letters, newest first."""
        page = {"destination": destination, "limit": max(0, limit), "offset": max(0, offset)}
        async with self._database.limited():
            return [read_dead(row) for row in await self._database.fetch(sql.LIST_DEAD, page)]

    async def find_dead(self, event_id: str) -> list[DeadLetter]:
        """Return the dead letters of one event, one for each name and destination."""
        async with self._database.limited():
            rows = await self._database.fetch(sql.FIND_DEAD, {"event_id": event_id})
        return [read_dead(row) for row in rows]

    async def revive(self, keys: Sequence[Key], now: float) -> int:
        """Make dead letters due at ``now``, as if never claimed; how many there were."""
        return await self._change(sql.REVIVE, sorted(map(digest_key, keys)), now=now)

    async def drop(self, keys: Sequence[Key]) -> int:
        """Delete dead letters and their keys; how many there were."""
        dropped = await self._change(sql.DROP, sorted(map(digest_key, keys)))
        self._room.settle(0, -dropped)
        return dropped

    async def save_circuit(self, circuit: Circuit) -> None:
        """Keep the circuit of a destination, for other processes to see."""
        async with self._database.limited():
            await self._database.execute(sql.SAVE_CIRCUIT, build_circuit(circuit))

    async def circuits(self) -> Mapping[str, Circuit]:
        """Return the circuits kept, by destination."""
        async with self._database.limited():
            return read_circuits(await self._database.fetch(sql.CIRCUITS, {}))

    async def _change(self, statement: str, keys: Sequence[bytes], **values: Any) -> int:
        """Return how many of the rows of ``keys`` the statement changed."""
        if not keys:
            return 0
        async with self._database.limited():
            return await self._database.execute(statement, {"keys": keys, **values})

    async def close(self) -> None:
        """Close this event loop's connections; whatever was put stays. A later call opens anew."""
        await self._database.close()

    def __repr__(self) -> str:
        return f"PostgresOutbox({str(self._database)!r})"


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
