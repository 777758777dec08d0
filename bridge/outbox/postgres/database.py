"""The database of an outbox: runs statements on our own connections and explains what fails."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import NamedTuple, TypeVar

import psycopg

from bridge.errors import BridgeError, OutboxError, OutboxFullError
from bridge.outbox.postgres import sql
from bridge.outbox.postgres.pool import Connection, Pool, Work
from bridge.outbox.postgres.puts import PutQueue
from bridge.outbox.postgres.rows import Row, Values
from bridge.outbox.postgres.url import PostgresURL

PATIENCE = 25.0  # seconds that the sender waits; less than its lease
ATTEMPTS = 3  # at a statement that PostgreSQL aborted in favour of another one

DISK_FULL = "53100"  # SQLSTATE disk_full
DEADLOCK = ("40P01", "40001")  # SQLSTATE deadlock_detected, serialization_failure
FORBIDDEN = "42501"  # SQLSTATE insufficient_privilege
MISSING = ("42P01", "3F000")  # SQLSTATE undefined_table, invalid_schema_name

Result = TypeVar("Result")


class Place(NamedTuple):
    """What belongs to one event loop: its connections, and the puts that wait for them."""

    pool: Pool
    puts: PutQueue


class Database:
    """Runs each statement in a transaction of its own. Its ``str`` is its address.

    Args:
        url: See ``PostgresURL``.
        max_connections: How many connections each event loop may open.
    """

    def __init__(self, url: str, max_connections: int) -> None:
        self._url = PostgresURL(url)
        self._max_connections = max_connections
        # By process too: a child must neither use nor close its parent's connections. They stay
        # here, untouched.
        self._places: dict[tuple[int, asyncio.AbstractEventLoop], Place] = {}

    async def fetch(self, statement: str, values: Values) -> list[Row]:
        """Return the rows of ``statement``."""
        return await self._fetch_from(self._find_place().pool, statement, values)

    async def _fetch_from(self, pool: Pool, statement: str, values: Values) -> list[Row]:
        async def work(connection: Connection) -> list[Row]:
            cursor = connection.cursor(binary=True)
            await cursor.execute(statement.encode(), values)
            return [*await cursor.fetchall()]

        return await _run(pool, work)

    async def fetch_from_index(self, statement: str, values: Values) -> list[Row]:
        """Return the rows of ``statement``, which must read whole indexes and not the table."""

        async def work(connection: Connection) -> list[Row]:
            async with connection.transaction():
                await connection.execute(sql.INDEX_ONLY)
                return [*await (await connection.execute(statement.encode(), values)).fetchall()]

        return await _run(self._find_place().pool, work)

    async def execute(self, statement: str, values: Values) -> int:
        """Run ``statement``; return how many rows it changed."""

        async def work(connection: Connection) -> int:
            return (await connection.execute(statement.encode(), values)).rowcount

        return await _run(self._find_place().pool, work)

    async def find_schema(self) -> str:
        """Return where the tables are, quoted."""
        pool = self._find_place().pool
        if not pool.schema:
            await _run(pool, _do_nothing)
        return pool.schema

    def find_lock(self) -> asyncio.Lock:
        """Return the lock that is held while one caller counts and the others wait."""
        return self._find_place().pool.counting

    def find_puts(self) -> PutQueue:
        """Return the queue that stores the puts of this event loop."""
        return self._find_place().puts

    async def close(self) -> None:
        """Close this event loop's connections; a later call opens new ones."""
        place = self._places.pop((os.getpid(), asyncio.get_running_loop()), None)
        if place is not None:
            await place.puts.finish()
            await place.pool.close()

    def _find_place(self) -> Place:
        """Return what belongs to this process and event loop; create it if it is missing."""
        here = (os.getpid(), asyncio.get_running_loop())
        place = self._places.get(here)
        if place is None:
            for pid, loop in list(self._places):
                if pid == os.getpid() and loop.is_closed():
                    self._places.pop((pid, loop)).pool.drop_idle()
            place = self._places[here] = self._build_place()
        return place

    def _build_place(self) -> Place:
        pool = Pool(self._url.settings, self._max_connections)
        fetch = partial(self._fetch_from, pool)
        return Place(pool, PutQueue(str(self), fetch, self.limited, self._max_connections))

    @asynccontextmanager
    async def limited(self, patience: float = PATIENCE) -> AsyncIterator[asyncio.Timeout]:
        """Give up after ``patience`` seconds; raise ``OutboxError`` for whatever fails."""
        try:
            async with asyncio.timeout(patience) as limit:
                yield limit
        except BridgeError:
            raise
        except TimeoutError as error:
            raise OutboxError(f"outbox {self}: no answer within {patience:.0f} s") from error
        except Exception as error:
            raise self._explain(error) from error

    def _explain(self, error: Exception) -> OutboxError:
        state = getattr(error, "sqlstate", None)
        if state == DISK_FULL:
            return OutboxFullError(f"outbox {self}: {_read_reason(error)}")
        if state in MISSING:
            for place in list(self._places.values()):
                place.pool.schema = ""  # the next call looks again
        hint = ""
        if state in (FORBIDDEN, *MISSING):
            hint = (
                f"; {' and '.join(sql.TABLES)} must exist with SELECT, INSERT, UPDATE, DELETE"
                " for this role, or it must be allowed to create them: see"
                " bridge.outbox.postgres.sql.SCHEMA"
            )
        return OutboxError(f"outbox {self}: {_read_reason(error)}{hint}")

    def __str__(self) -> str:
        return str(self._url)


def _read_reason(error: Exception) -> str:
    """Return the first line of the message, without the rows that PostgreSQL adds as a detail."""
    diagnosis = getattr(error, "diag", None)
    primary = getattr(diagnosis, "message_primary", None)
    text = primary or str(error).strip().partition("\n")[0] or type(error).__name__
    return str(text)[:500]


async def _run(pool: Pool, work: Work[Result]) -> Result:
    """Run ``work``; run it again if PostgreSQL aborted it in favour of another transaction."""
    for _ in range(ATTEMPTS - 1):
        try:
            return await pool.run(work)
        except psycopg.Error as error:
            if error.sqlstate not in DEADLOCK:
                raise
    return await pool.run(work)


async def _do_nothing(connection: Connection) -> None:
    """Need nothing but a connection, for which the pool looks for the tables."""
