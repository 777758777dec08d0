"""A few connections to PostgreSQL, for one event loop.

Strategy: a visitor's request may be waiting, so a server that is down must be reported at once, and
one that hangs must be given up. psycopg's own pool connects in the background: while the server
refuses connections, a call waits its whole timeout and gets no reason; after an outage the pool may
wait minutes before it tries again. Here a call that finds no idle connection opens one, and notices
without a round trip if the server has closed an idle one.

Sources: psycopg issues 218 (a pool waits where a connection would fail), 1315 (a pool stuck after
an outage) and 1371 (cancelling waits for a server that hangs), read 2026-11-24.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple, TypeVar

import psycopg
from psycopg.pq import TransactionStatus

from bridge.errors import BridgeError, OutboxBusyError, OutboxError, OutboxFullError
from bridge.outbox.base import Memory
from bridge.outbox.clock import Clock
from bridge.outbox.postgres import sql
from bridge.outbox.postgres.puts import PutQueue
from bridge.outbox.postgres.rows import Row, Values
from bridge.outbox.postgres.url import build_name, sets_commit

PATIENCE = 25.0  # seconds that the sender waits; less than its lease
ATTEMPTS = 3  # at a statement that PostgreSQL aborted in favour of another one
MAX_AGE = 1800.0  # seconds after which a connection is replaced: a name may get a new host
MAX_IDLE = 20.0  # seconds after which all but the one used last are closed
CANCEL_GRACE = 5.0  # seconds for a cancelled statement to end before its connection is closed
CLOSE_POLL = 0.1  # seconds between attempts to end such statements when the pool is closed

DISK_FULL = "53100"  # SQLSTATE disk_full
DEADLOCK = ("40P01", "40001")  # SQLSTATE deadlock_detected, serialization_failure
FORBIDDEN = "42501"  # SQLSTATE insufficient_privilege
MISSING = ("42P01", "3F000")  # SQLSTATE undefined_table, invalid_schema_name

Connection = psycopg.AsyncConnection[tuple[Any, ...]]
Work = Callable[[Connection], Awaitable["Result"]]
Result = TypeVar("Result")


logger = logging.getLogger("bridge.outbox")


class _Idle(NamedTuple):
    """A connection that nobody uses; times are the event loop's."""

    connection: Connection
    made_at: float
    used_at: float


class Pool:
    """Connections of the running event loop: opened when needed, kept while idle.

    Each statement is a transaction of its own. It ends within ``patience`` seconds, and raises
    ``OutboxError`` for whatever fails.

    Attributes:
        name: The address of the database, for messages.
        memory: For how long delivered keys are remembered.
        puts: Stores what is put on this event loop.
        schema: Where the tables are, quoted; empty until they were looked for.
        counting: Held while one caller counts and the others wait for the result.
        clock: How far the server's clock is ahead of ours.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        size: int,
        memory: Memory,
        wall: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._slots = asyncio.Semaphore(size)
        self._idle: list[_Idle] = []  # the one used last stands last, and is taken first
        self._tasks: set[asyncio.Task[Any]] = set()
        self._given_up: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._preparing = asyncio.Lock()
        self._sets_commit = sets_commit(settings)
        self.name = build_name(settings)
        self.memory = memory
        self.puts = PutQueue(self.name, self.fetch, self.limited, size, memory)
        self.schema = ""
        self.counting = asyncio.Lock()
        self.clock = Clock(self._ask_time, wall)

    async def fetch(self, statement: str, values: Values | None = None) -> list[Row]:
        """Return the rows of ``statement``."""

        async def work(connection: Connection) -> list[Row]:
            cursor = connection.cursor(binary=True)
            await cursor.execute(self.complete(statement).encode(), values)
            return [*await cursor.fetchall()]

        return await self._run(work, PATIENCE)

    async def fetch_from_index(self, statement: str, values: Values | None = None) -> list[Row]:
        """Return the rows of ``statement``, which must read whole indexes and not the table."""

        async def work(connection: Connection) -> list[Row]:
            async with connection.transaction():
                await connection.execute(sql.INDEX_ONLY)
                return [*await (await connection.execute(statement.encode(), values)).fetchall()]

        return await self._run(work, PATIENCE)

    async def execute(self, statement: str, values: Values, patience: float = PATIENCE) -> int:
        """Run ``statement``; return how many rows it changed."""

        async def work(connection: Connection) -> int:
            return (await connection.execute(self.complete(statement).encode(), values)).rowcount

        return await self._run(work, patience)

    def complete(self, statement: str) -> str:
        """Return ``statement``, which waits for the disk or not, unless the URL says for all."""
        if not self._sets_commit:
            return statement
        return statement.replace(sql.DURABLY, "true").replace(sql.LAZILY, "true")

    async def find_weaknesses(self) -> list[str]:
        """Return the settings that are off with which a commit is not on disk."""
        return self._choose_weak(await self.fetch(sql.DURABILITY))

    def _choose_weak(self, rows: Sequence[Row]) -> list[str]:
        # Our statements wait for the disk all the same, unless the URL forbids it.
        return [row[0] for row in rows if row[0] != "synchronous_commit" or self._sets_commit]

    async def _ask_time(self) -> float:
        [[now]] = await self.fetch(sql.TIME)
        return float(now)

    async def find_schema(self) -> str:
        """Return where the tables are, quoted."""
        if not self.schema:
            await self.fetch("SELECT 1")  # any statement looks for the tables first
        return self.schema

    @asynccontextmanager
    async def limited(self, patience: float) -> AsyncIterator[asyncio.Timeout]:
        """Give up after ``patience`` seconds; raise ``OutboxError`` for whatever fails."""
        try:
            async with asyncio.timeout(patience) as limit:
                yield limit
        except BridgeError:
            raise
        except TimeoutError as error:
            raise OutboxError(f"outbox {self.name}: no answer within {patience:.0f} s") from error
        except Exception as error:
            raise self._explain(error) from error

    def _explain(self, error: Exception) -> OutboxError:
        state = getattr(error, "sqlstate", None)
        text = f"outbox {self.name}: {_read_reason(error)}"
        if state == DISK_FULL:
            return OutboxFullError(text)
        if state in MISSING:
            self.schema = ""  # the next call looks again
        if state in (FORBIDDEN, *MISSING):
            text += (
                f"; {' and '.join(sql.TABLES)} must exist with SELECT, INSERT, UPDATE, DELETE"
                " for this role, or it must be allowed to create them: see"
                " bridge.outbox.postgres.sql.SCHEMA"
            )
        return OutboxBusyError(text) if _is_passing(error, state) else OutboxError(text)

    async def _run(self, work: Work[Result], patience: float) -> Result:
        """Run ``work``; run it again if PostgreSQL aborted it in favour of another transaction."""
        async with self.limited(patience):
            for _ in range(ATTEMPTS - 1):
                try:
                    return await self._run_once(work)
                except psycopg.Error as error:
                    if error.sqlstate not in DEADLOCK:
                        raise
            return await self._run_once(work)

    async def _run_once(self, work: Work[Result]) -> Result:
        """Call ``work`` with a connection in autocommit mode, once the tables exist.

        Cancelling this call takes no time, whatever the server does: the statement is cancelled in
        the background.
        """
        task = asyncio.ensure_future(self._use(work))
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        try:
            await asyncio.wait({task})
        finally:
            # Without waiting for its end: psycopg asks the server, which may hang, to cancel.
            if not task.done():
                self._given_up.add(task)
                task.cancel()
                self._loop.call_later(CANCEL_GRACE, task.cancel)
        return task.result()

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        self._given_up.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as read: the caller may be gone

    async def _use(self, work: Work[Result]) -> Result:
        async with self._slots:
            connection, made_at = await self._take()
            try:
                await self._prepare(connection)
                result = await work(connection)
            except BaseException:
                # Errors are rare, and the next connection may reach a server that works.
                await connection.close()
                raise
            await self._give_back(connection, made_at)
            return result

    async def _take(self) -> tuple[Connection, float]:
        while self._idle:
            connection, made_at, _ = self._idle.pop()
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
            self._idle.append(_Idle(connection, made_at, self._loop.time()))
        else:
            await connection.close()
        while len(self._idle) > 1 and self._loop.time() - self._idle[0].used_at > MAX_IDLE:
            await self._idle.pop(0).connection.close()

    async def _prepare(self, connection: Connection) -> None:
        """Find the tables, or create them."""
        if self.schema:
            return
        async with self._preparing:
            row = await (await connection.execute(sql.FIND_TABLES)).fetchone()
            if row is None:
                await connection.execute(sql.SCHEMA)
                row = await (await connection.execute(sql.FIND_TABLES)).fetchone()
            else:
                # A role that may not create tables stores events without it.
                with suppress(psycopg.errors.InsufficientPrivilege):
                    await connection.execute(sql.FIGURES_TABLE)
            rows = await (await connection.execute(sql.DURABILITY)).fetchall()
            self.schema = row[0] if row else ""
            if weak := self._choose_weak(rows):
                logger.warning(
                    "outbox %s may lose accepted events in a crash of its machine: %s off; set it"
                    " on, for the server or in the URL",
                    self.name,
                    " and ".join(f"{name} is" for name in weak),
                )

    async def close(self) -> None:
        """Close all connections once the running work is done."""
        await self.puts.finish()
        self._closed = True
        self.drop_idle()
        while self._given_up:
            # More than once: after the first, psycopg asks the server to cancel and waits for it.
            for task in self._given_up:
                task.cancel()
            await asyncio.wait(self._given_up, timeout=CLOSE_POLL)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def drop_idle(self) -> None:
        """Close idle connections; may be called from outside their event loop."""
        while self._idle:
            connection = self._idle.pop().connection  # psycopg warns if it is deleted before
            connection.pgconn.finish()


def _is_open(connection: Connection) -> bool:
    """Return whether an idle connection is still open, as far as is known without a round trip."""
    try:
        # Twice: the first may read only the server's last message, the second then finds the end.
        connection.pgconn.consume_input()
        connection.pgconn.consume_input()
    except psycopg.Error:
        return False
    return not connection.closed


def _is_passing(error: Exception, state: str | None) -> bool:
    """Return whether the server may answer in a moment: it restarts, is full, or gave way.

    Source: PostgreSQL 15, Appendix A, "PostgreSQL Error Codes", read 2026-11-29.
    """
    if state is None:  # nobody answered, or the connection broke
        return isinstance(error, psycopg.OperationalError | OSError)
    return state[:2] in ("08", "40") or state in ("53300", "57P01", "57P02", "57P03", "57P05")


def _read_reason(error: Exception) -> str:
    """Return the first line of the message, without the rows that PostgreSQL adds as a detail."""
    diagnosis = getattr(error, "diag", None)
    primary = getattr(diagnosis, "message_primary", None)
    text = primary or str(error).strip().partition("\n")[0] or type(error).__name__
    return str(text)[:500]
