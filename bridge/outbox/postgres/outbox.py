"""The outbox in PostgreSQL, shared by many machines; it can store in the caller's transaction.

It is as durable as the server's commits: ``synchronous_commit`` must not be ``off``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from bridge.errors import ConfigError, OutboxFullError
from bridge.outbox.base import (
    CAPACITY,
    FORGET_AT_ONCE,
    REMEMBERED_SECONDS,
    Circuit,
    Counts,
    DeadLetter,
    Delivery,
    Key,
    Outbox,
    check_capacity,
    read_circuits,
)
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
    read_counts,
    read_dead,
    read_delivery,
)
from bridge.outbox.postgres.sql import digest_key

TIMEOUT = 5.0  # seconds for what a visitor's request waits for: put, release and has
COUNT_TIMEOUT = 2.0  # seconds of these that a put may spend on counting
MAX_CONNECTIONS = 5  # of one event loop, by default


class PostgresOutbox(Outbox):
    """Deliveries in two tables of a PostgreSQL database, 13 or newer; tested on 15.

    The tables are created on first use. If the role may not create tables, an administrator runs
    ``bridge.outbox.postgres.sql.SCHEMA``. They are in the first schema of the search path, which
    the URL may set: ``?options=-csearch_path%3Dshop``.

    Args:
        url: Such as ``postgresql://user:password@host:5432/database``; any option of libpq may
            follow, as in ``?sslmode=require``. Special characters of a password must be
            percent-encoded.
        capacity: How many deliveries may wait or be dead. Puts of other processes are noticed up to
            two seconds late (a minute while the outbox is less than half full), so several
            processes together may exceed it by what they put in that time.
        max_connections: How many connections each event loop may open.

    Raises:
        ConfigError: The URL cannot be read, or a number is below 1.
    """

    def __init__(
        self, url: str, *, capacity: int = CAPACITY, max_connections: int = MAX_CONNECTIONS
    ) -> None:
        if max_connections < 1:
            raise ConfigError(f"max_connections must be at least 1, got {max_connections}")
        self._database = Database(url, max_connections)
        self._room = Room(check_capacity(capacity))

    async def put(
        self, deliveries: Sequence[Delivery], now: float, *, connection: Any = None
    ) -> list[bool]:
        """As ``Outbox.put``, also in the caller's transaction.

        Args:
            deliveries: What to store.
            now: When it is stored.
            connection: psycopg's ``AsyncConnection`` or ``Connection``, or SQLAlchemy's
                ``AsyncSession``, ``AsyncConnection``, ``Session`` or ``Connection``, to the
                database of the outbox. Its role needs INSERT, SELECT and UPDATE on
                ``bridge_deliveries``.

        Raises:
            OutboxError: Nothing is stored; the caller's transaction is as it was before.
            OutboxFullError: The capacity is reached, or the disk is full.
            ConfigError: ``connection`` is of another kind, or has no transaction open.
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
        # From here on it is the caller's connection: cutting a statement short would break their
        # transaction, and how long it may take is for them to decide.
        limit.reschedule(None)
        found = await run_inside(connection, statement, build_columns(rows))
        return {bytes(row[0]) for row in found}

    async def _reserve(self, keys: Sequence[bytes]) -> int:
        """Reserve room for at least those of ``keys`` that are new; return how much.

        Raises:
            OutboxFullError: There is too little room.
        """
        room = self._room
        lock = self._database.find_lock()
        # One caller counts. The others wait for it only if nothing was counted before.
        if room.is_stale(_loop_time()) and not (room.is_known and lock.locked()):
            async with lock:
                if room.is_stale(_loop_time()):
                    await self._recount()
        number = len(keys)
        if not room.fits(number):
            [[number]] = await self._database.fetch(sql.COUNT_NEW, {"keys": keys})
        if number and not room.fits(number):
            raise OutboxFullError(
                f"outbox {self._database} is full, it holds {room.held} of {room.capacity}"
                " deliveries: see why they are not delivered, drop dead letters, or give it a"
                " larger capacity"
            )
        room.reserve(number)
        return number

    async def _recount(self) -> None:
        began, held = _loop_time(), self._room.held
        # Better to exceed the capacity than to lose an event because counting is slow.
        with suppress(TimeoutError):
            async with asyncio.timeout(COUNT_TIMEOUT):
                [[held]] = await self._database.fetch_from_index(sql.COUNT_HELD, {})
        self._room.counted(held, began, _loop_time())

    async def claim(
        self, destination: str, limit: int, *, now: float, lease: float
    ) -> list[Delivery]:
        values = {"destination": destination, "now": now, "until": now + lease}
        async with self._database.limited():
            rows = await self._database.fetch(sql.CLAIM, {**values, "limit": max(0, limit)})
        return [read_delivery(row) for row in rows]

    async def ack(self, deliveries: Sequence[Delivery], now: float) -> None:
        values = {"now": now, "forgotten": now - REMEMBERED_SECONDS, "limit": FORGET_AT_ONCE}
        acked = await self._change(sql.ACK, build_keys(deliveries), **values)
        self._room.settle(0, -acked)

    async def retry(self, deliveries: Sequence[Delivery], due: float) -> None:
        await self._change(sql.RETRY, build_keys(deliveries), due=due)

    async def bury(self, deliveries: Sequence[Delivery], reason: str, now: float) -> None:
        await self._change(sql.BURY, build_keys(deliveries), reason=clean_text(reason), now=now)

    async def release(self, event_name: str, event_id: str, now: float) -> int:
        values = {"event_name": event_name, "event_id": event_id, "now": now}
        async with self._database.limited(TIMEOUT):
            return await self._database.execute(sql.RELEASE, values)

    async def has(self, event_name: str, event_id: str) -> bool:
        async with self._database.limited(TIMEOUT):
            names = await self._database.fetch_from_index(sql.DESTINATIONS, {})
            keys = [digest_key((name, event_name, event_id)) for [name] in names]
            values = {"keys": keys, "event_name": event_name, "event_id": event_id}
            [[found]] = await self._database.fetch(sql.HAS, values)
        return bool(found)

    async def next_due(self, destination: str) -> float | None:
        async with self._database.limited():
            rows = await self._database.fetch(sql.NEXT_DUE, {"destination": destination})
        return rows[0][0] if rows else None

    async def count(self, now: float) -> Mapping[str, Counts]:
        async with self._database.limited():
            began = _loop_time()
            rows = await self._database.fetch_from_index(
                sql.COUNT, {"now": now, "forgotten": now - REMEMBERED_SECONDS}
            )
        counts = read_counts(rows)
        held = sum(each.waiting + each.dead for each in counts.values())
        self._room.counted(held, began, _loop_time())
        return counts

    async def list_dead(
        self, *, destination: str | None = None, limit: int = 100, offset: int = 0
    ) -> list[DeadLetter]:
        page = {"destination": destination, "limit": max(0, limit), "offset": max(0, offset)}
        async with self._database.limited():
            return [read_dead(row) for row in await self._database.fetch(sql.LIST_DEAD, page)]

    async def find_dead(self, event_id: str) -> list[DeadLetter]:
        async with self._database.limited():
            rows = await self._database.fetch(sql.FIND_DEAD, {"event_id": event_id})
        return [read_dead(row) for row in rows]

    async def revive(self, keys: Sequence[Key], now: float) -> int:
        return await self._change(sql.REVIVE, sorted(map(digest_key, keys)), now=now)

    async def drop(self, keys: Sequence[Key]) -> int:
        dropped = await self._change(sql.DROP, sorted(map(digest_key, keys)))
        self._room.settle(0, -dropped)
        return dropped

    async def save_circuit(self, circuit: Circuit) -> None:
        async with self._database.limited():
            await self._database.execute(sql.SAVE_CIRCUIT, build_circuit(circuit))

    async def circuits(self) -> Mapping[str, Circuit]:
        async with self._database.limited():
            return read_circuits(await self._database.fetch(sql.CIRCUITS, {}))

    async def _change(self, statement: str, keys: Sequence[bytes], **values: Any) -> int:
        """Run ``statement`` on the rows of ``keys``; return how many it changed."""
        if not keys:
            return 0
        async with self._database.limited():
            return await self._database.execute(statement, {"keys": keys, **values})

    async def close(self) -> None:
        await self._database.close()

    def __repr__(self) -> str:
        return f"PostgresOutbox({str(self._database)!r})"


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
