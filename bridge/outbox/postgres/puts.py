"""The puts of one event loop: those that wait at the same moment become one statement.

Each put is stored completely or not at all: of two with the same key, the first one has stored it.
If one put makes its group fail, each is stored alone.

Another transaction may have stored the same key and be still open. PostgreSQL would make the put,
and its group, wait for the end of that transaction on a connection of ours. So such a put gives up
after a moment, lets the others go ahead, and tries again at intervals, holding no connection in
between. Further puts of the same keys wait with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

import psycopg

from bridge.errors import OutboxError
from bridge.outbox.base import Delivery, Memory
from bridge.outbox.grouping import Groups, Put
from bridge.outbox.postgres import sql
from bridge.outbox.postgres.rows import Row, Values, build_columns

LOCK_TIMEOUT = 0.05  # seconds that one statement waits for another transaction
STALLED = 2.0  # seconds that a put waits for it in all
STALLED_POLL = 0.1  # seconds between the attempts of such a put
MAX_STATEMENTS = 2  # running at the same time
KEPT_FREE = 2  # connections that are left to the sender and to health

Rows = Mapping[bytes, tuple[Delivery, float]]  # by digest: what is stored, and when
Fetch = Callable[[str, Values], Awaitable[Sequence[Row]]]
Limited = Callable[[float], AbstractAsyncContextManager[object]]


Stored = Put[Rows, set[bytes]]  # answered with the keys that are new


class PutQueue:
    """Stores what callers put, over few connections.

    ``limited`` ends what takes longer than the given seconds, and raises ``OutboxError`` for
    whatever fails. Keys are new once they are older than ``memory`` says.
    """

    def __init__(
        self, name: str, fetch: Fetch, limited: Limited, connections: int, memory: Memory
    ) -> None:
        self._name = name
        self._fetch = fetch
        self._limited = limited
        self._memory = memory
        places = max(1, min(MAX_STATEMENTS, connections - KEPT_FREE))
        self._groups = Groups(self._store_group, places)
        self._stalled: dict[frozenset[bytes], list[Stored]] = {}
        self._insisting: set[asyncio.Task[None]] = set()
        self._insists = asyncio.Lock()  # all that is stalled shares one connection
        self._loop = asyncio.get_running_loop()

    async def store(self, rows: Rows, deadline: float) -> set[bytes]:
        """Store ``rows``, all or none; return the keys that are new.

        Raises:
            OutboxError: Nothing is stored, unless only the server's answer was lost.
        """
        size = sum(len(delivery.body) for delivery, _ in rows.values())
        put: Stored = Put(rows, len(rows), size, deadline)
        if not self._join(put):
            self._groups.add(put)
        return await put.answer

    async def finish(self) -> None:
        """Wait until every put is answered."""
        while tasks := self._groups.tasks | self._insisting:
            await asyncio.wait(tasks)

    async def _store_group(self, group: Sequence[Stored]) -> None:
        if len(group) > 1:
            try:
                if await self._try(group):
                    return
            except OutboxError as error:
                if _concerns_all(error):
                    for put in group:
                        put.fail(error)
                    return
        for put in group:
            await self._store_alone(put)

    async def _store_alone(self, put: Stored) -> None:
        if put.answer.done() or self._join(put):
            return
        try:
            if not await self._try([put]):
                keys = frozenset(put.content)
                self._stalled[keys] = [put]
                task = asyncio.create_task(self._insist(keys))
                self._insisting.add(task)
                task.add_done_callback(self._insisting.discard)
        except OutboxError as error:
            put.fail(error)

    async def _try(self, puts: Sequence[Stored]) -> bool:
        """Store ``puts`` and answer them; return false if another transaction is in the way."""
        patience = max(put.deadline for put in puts) - self._loop.time()
        lock_timeout = f"{LOCK_TIMEOUT * 1000:.0f}ms"
        try:
            async with self._limited(patience):
                values = {**build_columns(_merge(puts), self._memory), "lock_timeout": lock_timeout}
                found = await self._fetch(sql.PUT_OR_GIVE_UP, values)
        except OutboxError as error:
            if isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
                return False
            raise
        new = {bytes(row[0]) for row in found}
        for put in puts:
            own = new & put.content.keys()
            new -= own
            put.settle(own)
        return True

    def _join(self, put: Stored) -> bool:
        """Let ``put`` wait with stalled puts of the same keys; return false if there are none."""
        others = self._stalled.get(frozenset(put.content))
        if others is None:
            return False
        others.append(put)
        return True

    async def _insist(self, keys: frozenset[bytes]) -> None:
        """Try to store the stalled puts of ``keys``, for ``STALLED`` seconds at most."""
        puts, end = self._stalled[keys], self._loop.time() + STALLED
        try:
            while True:
                await asyncio.sleep(STALLED_POLL)
                async with self._insists:
                    if await self._try(puts):
                        return
                if self._loop.time() >= end:
                    raise OutboxError(
                        f"outbox {self._name}: another transaction has stored this event, or locked"
                        f" the table, and did not end within {STALLED:g} s; if it is rolled back,"
                        " the event is not stored"
                    )
        except OutboxError as error:
            for put in puts:
                put.fail(error)
        finally:
            del self._stalled[keys]


def _merge(puts: Sequence[Stored]) -> Rows:
    """Return the rows of ``puts``; if several have the same key, that of the first."""
    rows: dict[bytes, tuple[Delivery, float]] = {}
    for put in puts:
        for key, row in put.content.items():
            rows.setdefault(key, row)
    return rows


def _concerns_all(error: OutboxError) -> bool:
    """Return whether every put would fail in the same way: no server, no rights, no room."""
    cause = error.__cause__
    state = getattr(cause, "sqlstate", None) or ""
    # SQLSTATE classes 42 and 3F: rights, tables and schemas.
    return state[:2] in ("42", "3F") or isinstance(
        cause, psycopg.OperationalError | TimeoutError | OSError
    )
