"""A few connections to PostgreSQL, of one event loop.

Strategy: whoever waits here may be a visitor's request, so a server that is down must say so at
once, and one that hangs must be given up. psycopg's own pool connects in the background: a call
waits its whole timeout while the server refuses connections, and gets no reason; after an outage
the pool may wait minutes before it tries again. Here a call that finds no idle connection makes
one, and an idle one that the server closed meanwhile is noticed without a round trip.

Sources: psycopg issues 218 (a pool waits where a connection would fail), 1315 (a pool stuck after
an outage) and 1371 (cancelling waits for a server that hangs), read 2026-11-24.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import psycopg
from psycopg.pq import TransactionStatus

from bridge.outbox.postgres.sql import FIND_TABLES, SCHEMA

MAX_AGE = 1800.0  # seconds after which a connection is replaced: hosts behind a name change
CANCEL_GRACE = 5.0  # seconds that a cancelled statement has to end, before its connection is closed
CLOSE_POLL = 0.1  # seconds between attempts to end it when all is closed

Connection = psycopg.AsyncConnection[tuple[Any, ...]]
Work = Callable[[Connection], Awaitable["Result"]]
Result = TypeVar("Result")


class Pool:
    """Connections of the running event loop; made when needed, kept while idle.

    Args:
        settings: What libpq takes, by its own names.
        size: Connections at most.

    Attributes:
        schema: Where the tables are, quoted; empty until somebody looked.
        counting: Held by whoever counts, while the others wait for the number.
    """

    def __init__(self, settings: Mapping[str, Any], size: int) -> None:
        self._settings = settings
        self._slots = asyncio.Semaphore(size)
        self._idle: list[tuple[Connection, float]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._given_up: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self.schema = ""
        self.counting = asyncio.Lock()
        self._preparing = asyncio.Lock()

    async def run(self, work: Work[Result]) -> Result:
        """Return what ``work`` returns, given a connection in autocommit mode, tables there.

        Cancelling it takes no time, whatever the server does: the statement is cancelled behind the
        caller's back.

        Raises:
            psycopg.Error: As psycopg raises it.
        """
        task = asyncio.ensure_future(self._use(work))
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        try:
            await asyncio.wait({task})
        finally:
            self._cancel(task)
        return task.result()

    def _cancel(self, task: asyncio.Task[Any]) -> None:
        """End ``task`` without waiting: psycopg asks the server, which may hang, to cancel."""
        if not task.done():
            self._given_up.add(task)
            task.cancel()
            self._loop.call_later(CANCEL_GRACE, task.cancel)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        self._given_up.discard(task)
        if not task.cancelled():
            task.exception()  # read, as nobody else may: the caller can be gone

    async def _use(self, work: Work[Result]) -> Result:
        async with self._slots:
            connection, made_at = await self._take()
            try:
                await self._prepare(connection)
                result = await work(connection)
            except BaseException:
                # Errors are rare, and the next connection may find a server that has none.
                await connection.close()
                raise
            await self._give_back(connection, made_at)
            return result

    async def _take(self) -> tuple[Connection, float]:
        while self._idle:
            connection, made_at = self._idle.pop()
            if self._loop.time() - made_at < MAX_AGE and _is_open(connection):
                return connection, made_at
            await connection.close()
        # No prepared statements: a pooler such as PgBouncer may give each call another session.
        connection = await psycopg.AsyncConnection.connect(
            **self._settings, autocommit=True, prepare_threshold=None
        )
        return connection, self._loop.time()

    async def _give_back(self, connection: Connection, made_at: float) -> None:
        idle = connection.info.transaction_status == TransactionStatus.IDLE
        if idle and not self._closed:
            self._idle.append((connection, made_at))
        else:
            await connection.close()

    async def _prepare(self, connection: Connection) -> None:
        """Find the tables, or create them."""
        if self.schema:
            return
        async with self._preparing:
            row = await (await connection.execute(FIND_TABLES)).fetchone()
            if row is None:
                await connection.execute(SCHEMA)
                row = await (await connection.execute(FIND_TABLES)).fetchone()
            self.schema = row[0] if row else ""

    async def close(self) -> None:
        """Close all connections, when the work under way is done."""
        self._closed = True
        self.drop_idle()
        while self._given_up:
            # More than once: the first has psycopg ask the server to cancel, and wait for that.
            for task in self._given_up:
                task.cancel()
            await asyncio.wait(self._given_up, timeout=CLOSE_POLL)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def drop_idle(self) -> None:
        """Close idle connections, from outside of their event loop if need be."""
        while self._idle:
            connection, _ = self._idle.pop()
            connection.pgconn.finish()


def _is_open(connection: Connection) -> bool:
    """Return whether the server has not closed an idle connection, as far as can be read here."""
    try:
        # Twice: the first may read the server's farewell only, the second then finds the end.
        connection.pgconn.consume_input()
        connection.pgconn.consume_input()
    except psycopg.Error:
        return False
    return not connection.closed
