"""The outbox in PostgreSQL, shared by many machines; it can store in the caller's transaction.

It is as durable as the server's disk: what stores or deletes an event waits for it, whatever
``synchronous_commit`` says. Only the URL can say otherwise:
``?options=-csynchronous_commit%3Doff``.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from bridge.errors import ConfigError, OutboxError
from bridge.outbox.base import (
    CAPACITY,
    FIGURE_DAYS,
    FORGET_AT_ONCE,
    REMEMBER_DAYS,
    SUBJECT_BYTES,
    Circuit,
    Counts,
    DeadLetter,
    Delivery,
    Erased,
    Figure,
    Key,
    Outbox,
    Weakness,
    build_full_error,
    build_memory,
    check_capacity,
    follow_prefix,
    list_keys,
    read_circuits,
    read_dead,
    read_limit,
    split_subjects,
)
from bridge.outbox.clock import shift_circuit, shift_counts, shift_delivery, shift_letter
from bridge.outbox.postgres import sql
from bridge.outbox.postgres.caller import run_inside
from bridge.outbox.postgres.damage import MISSING, claim_singly, is_damage
from bridge.outbox.postgres.floors import Floors
from bridge.outbox.postgres.pool import Pool
from bridge.outbox.postgres.puts import Rows
from bridge.outbox.postgres.room import Room
from bridge.outbox.postgres.rows import (
    build_columns,
    build_keys,
    clean_text,
    digest_key,
    name_memory,
)
from bridge.outbox.postgres.url import build_name, parse_url

_log = logging.getLogger("bridge.outbox")

TIMEOUT = 5.0  # seconds for what a visitor's request waits for: put, release and has
COUNT_TIMEOUT = 2.0  # seconds of these that a put may spend on counting
FORGET_PAUSE = 1.0  # seconds between looks for keys that are old enough
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
        remember_days: As for ``Bridge``.
        max_connections: How many connections each event loop may open.

    Raises:
        ConfigError: The URL cannot be read, or a number is below 1.
    """

    def __init__(
        self,
        url: str,
        *,
        capacity: int = CAPACITY,
        remember_days: float = REMEMBER_DAYS,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        if max_connections < 1:
            raise ConfigError(f"max_connections must be at least 1, got {max_connections}")
        self._settings = parse_url(url)
        self._memory = build_memory(remember_days)
        self._max_connections = max_connections
        self._wall = time.time
        # By process too: a child must neither use nor close its parent's connections. They stay
        # here, untouched.
        self._pools: dict[tuple[int, asyncio.AbstractEventLoop], Pool] = {}
        self._room = Room(check_capacity(capacity))
        self._floors = Floors()
        # By whether the id was given: keys that were delivered before this time are forgotten.
        self._forgotten = {False: -math.inf, True: -math.inf}

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
        pool = self._find_pool()
        async with pool.limited(TIMEOUT) as limit:
            ahead = await pool.clock.read()
            keys = [digest_key(each.key) for each in deliveries]
            rows: dict[bytes, tuple[Delivery, float]] = {}
            for key, delivery in zip(keys, deliveries, strict=True):
                rows.setdefault(key, (shift_delivery(delivery, ahead), now + ahead))
            most = read_limit(self._room.capacity, deliveries)
            reserved = await self._reserve(pool, list(rows), most)
            new: set[bytes] = set()
            try:
                if connection is None:
                    new = await pool.puts.store(rows, limit.when() or _loop_time())
                else:
                    new = await _store_inside(connection, pool, rows, limit)
            finally:
                self._room.settle(reserved, min(reserved, len(new)))
                for delivery, _ in rows.values():
                    self._floors.lower(delivery.due, [delivery.destination])
        answers = []
        for key in keys:
            answers.append(key in new)
            new.discard(key)
        return answers

    async def _reserve(self, pool: Pool, keys: Sequence[bytes], limit: int) -> int:
        """Reserve room below ``limit`` for those of ``keys`` that are new; return how much.

        Raises:
            OutboxFullError: There is too little room.
        """
        room = self._room
        # One caller counts. The others wait for it only if nothing was counted before.
        if room.is_stale(_loop_time()) and not (room.is_known and pool.counting.locked()):
            async with pool.counting:
                if room.is_stale(_loop_time()):
                    await self._recount(pool)
        number = len(keys)
        if not room.fits(number, limit):
            [[number]] = await pool.fetch(sql.COUNT_NEW, {"keys": keys})
        if number and not room.fits(number, limit):
            raise build_full_error(pool.name, room.held, room.capacity, limit)
        room.reserve(number)
        return number

    async def _recount(self, pool: Pool) -> None:
        began, held = _loop_time(), self._room.held
        # Better to exceed the capacity than to lose an event because counting is slow.
        with suppress(TimeoutError):
            async with asyncio.timeout(COUNT_TIMEOUT):
                [[held]] = await pool.fetch_from_index(sql.COUNT_HELD)
        self._room.counted(held, began, _loop_time())

    async def claim(
        self, destination: str, limit: int, *, now: float, lease: float
    ) -> list[Delivery]:
        if limit < 1:
            return []
        pool = self._find_pool()
        ahead = await pool.clock.read()
        now += ahead
        look = self._floors.begin(destination, now)
        values = {"destination": destination, "floor": look.floor, "now": now, "until": now + lease}
        values["limit"] = limit
        try:
            rows = await pool.fetch(sql.CLAIM, values)
            self._floors.end(destination, look, rows[0][-1] if len(rows) == limit else now)
        except OutboxError as error:
            if not is_damage(error):
                raise
            rows = await claim_singly(pool.fetch, pool.name, values)
        finally:
            self._floors.finish(destination, look)
        claimed = [
            shift_delivery(Delivery(*row[:-1]), -ahead) for row in rows if row[3] is not None
        ]
        if len(claimed) < len(rows):
            lost = [Delivery(*row[:-1]) for row in rows if row[3] is None]
            await self._change(sql.BURY, build_keys(lost), reason=MISSING, now=now)
            _log.error("outbox %s: %d deliveries: %s", pool.name, len(lost), MISSING)
        return claimed

    async def ack(self, deliveries: Sequence[Delivery], now: float) -> None:
        now += await self._find_pool().clock.read()
        acked = await self._change(sql.ACK, build_keys(deliveries), now=now)
        self._room.settle(0, -acked)
        with suppress(OutboxError):  # what was to be marked is marked; the next ack forgets
            await self._forget(False, now - self._memory.random)
            await self._forget(True, now - self._memory.given)

    async def _forget(self, given: bool, before: float) -> None:
        """Forget keys that were delivered before ``before``; of given ids, or of random ones."""
        floor = self._forgotten[given]
        if floor <= before < floor + FORGET_PAUSE:
            return
        values = {"given": given, "before": before, "limit": FORGET_AT_ONCE}
        values["floor"] = floor if floor <= before else -math.inf  # the clock went back
        if await self._find_pool().execute(sql.FORGET, values) < FORGET_AT_ONCE:
            self._forgotten[given] = before

    async def retry(self, deliveries: Sequence[Delivery], due: float) -> int:
        due += await self._find_pool().clock.read()
        try:
            return await self._change(sql.RETRY, build_keys(deliveries), due=due)
        finally:
            self._floors.lower(due, {each.destination for each in deliveries})

    async def bury(self, deliveries: Sequence[Delivery], reason: str, now: float) -> None:
        now += await self._find_pool().clock.read()
        await self._change(sql.BURY, build_keys(deliveries), reason=clean_text(reason), now=now)

    async def release(
        self,
        event_name: str,
        event_id: str,
        subjects: bytes,
        now: float,
        *,
        destinations: Collection[str] | None = None,
    ) -> int:
        pool = self._find_pool()
        async with pool.limited(TIMEOUT):
            now += await pool.clock.read()
            values = {
                "event_name": event_name,
                "event_id": event_id,
                "subjects": split_subjects(subjects),
                "size": SUBJECT_BYTES,
                "now": now,
                "names": None if destinations is None else list(destinations),
            }
            try:
                return await pool.execute(sql.RELEASE, values)
            finally:
                self._floors.lower(now)

    async def has(
        self,
        event_name: str,
        event_id: str,
        now: float,
        *,
        destinations: Collection[str] | None = None,
        within: float = math.inf,
    ) -> bool:
        pool = self._find_pool()
        async with pool.limited(TIMEOUT):
            now += await pool.clock.read()
            names = destinations
            if names is None:
                names = [name for [name] in await pool.fetch_from_index(sql.DESTINATIONS)]
            values = {
                "keys": [digest_key(Key(name, event_name, event_id)) for name in names],
                "event_name": event_name,
                "event_id": event_id,
                "names": None if destinations is None else list(destinations),
                "now": now,
                "since": now - within,
                **name_memory(self._memory.cut(within)),
            }
            [[found]] = await pool.fetch(sql.HAS, values)
        return bool(found)

    async def next_due(self, destination: str, until: float = math.inf) -> float | None:
        pool = self._find_pool()
        ahead = await pool.clock.read()
        floor = self._floors.read(destination)
        values = {"destination": destination, "floor": floor, "until": until + ahead}
        rows = await pool.fetch(sql.NEXT_DUE, values)
        return rows[0][0] - ahead if rows else None

    async def probe(self) -> None:
        pool = self._find_pool()
        async with pool.limited(TIMEOUT):
            [[can_write]] = await pool.fetch(sql.CAN_WRITE)
        if not can_write:
            raise OutboxError(f"outbox {pool.name}: the server, or this role, may only read")
        room = self._room
        if room.is_known and not room.fits(1, room.capacity):
            raise build_full_error(pool.name, room.held, room.capacity, room.capacity)

    async def count(self, now: float, *, with_delivered: bool = False) -> Mapping[str, Counts]:
        pool = self._find_pool()
        ahead = await pool.clock.read()
        began, now = _loop_time(), now + ahead
        values = {"now": now, "forgotten": now - self._memory.random}
        query = sql.COUNT_WITH_DELIVERED if with_delivered else sql.COUNT
        rows = await pool.fetch_from_index(query, values)
        counts = {row[0]: shift_counts(Counts(*row[1:]), -ahead) for row in rows}
        held = sum(each.waiting + each.dead for each in counts.values())
        self._room.counted(held, began, _loop_time())
        return counts

    async def list_dead(
        self, *, destination: str | None = None, limit: int = 100, offset: int = 0
    ) -> list[DeadLetter]:
        page = {"destination": destination, "limit": max(0, limit), "offset": max(0, offset)}
        return await self._read_dead(sql.LIST_DEAD, page)

    async def find_dead(self, event_id: str) -> list[DeadLetter]:
        return await self._read_dead(sql.FIND_DEAD, {"event_id": event_id})

    async def _read_dead(self, query: str, values: Mapping[str, Any]) -> list[DeadLetter]:
        pool = self._find_pool()
        ahead = await pool.clock.read()
        letters = read_dead(await pool.fetch(query, values))
        return [shift_letter(each, -ahead) for each in letters]

    async def revive(self, keys: Sequence[Key], now: float) -> int:
        now += await self._find_pool().clock.read()
        try:
            return await self._change(sql.REVIVE, sorted(map(digest_key, keys)), now=now)
        finally:
            self._floors.lower(now, {key[0] for key in keys})

    async def drop(self, keys: Sequence[Key]) -> int:
        dropped = await self._change(sql.DROP, sorted(map(digest_key, keys)))
        self._room.settle(0, -dropped)
        return dropped

    async def drop_old(self, before: float, limit: int) -> int:
        pool = self._find_pool()
        values = {"before": before + await pool.clock.read(), "limit": limit}
        dropped = await pool.execute(sql.DROP_OLD, values)
        self._room.settle(0, -dropped)
        return dropped

    async def withdraw(self, subjects: bytes) -> int:
        withdrawn = 0
        for each in split_subjects(subjects):
            values = {"first": each, "last": follow_prefix(each)}
            withdrawn += await self._find_pool().execute(sql.WITHDRAW, values, TIMEOUT)
        self._room.settle(0, -withdrawn)
        return withdrawn

    async def erase(self, subjects: bytes) -> Erased:
        pool, parts = self._find_pool(), split_subjects(subjects)
        if not parts:
            return Erased()
        rows = await pool.fetch_from_index(sql.FIND_SUBJECTS, {"parts": parts})
        found = {"found": [row[0] for row in rows]}
        waiting, dead = [
            await pool.execute(statement, found) if rows else 0
            for statement in (sql.ERASE_WAITING, sql.ERASE_DEAD)
        ]
        self._room.settle(0, -waiting - dead)
        return Erased(waiting, dead)

    async def list_waiting(
        self, *, destination: str | None = None, limit: int = 100, offset: int = 0
    ) -> list[Delivery]:
        page = {"destination": destination, "limit": max(0, limit), "offset": max(0, offset)}
        return await self._read_waiting(sql.LIST_WAITING, page)

    async def _read_waiting(self, query: str, values: Mapping[str, Any]) -> list[Delivery]:
        pool = self._find_pool()
        ahead = await pool.clock.read()
        rows = await pool.fetch(query, values)
        return [shift_delivery(Delivery(*row), -ahead) for row in rows]

    async def find(self, event_id: str, event_names: Iterable[str]) -> list[Delivery]:
        pool = self._find_pool()
        destinations = [name for [name] in await pool.fetch_from_index(sql.DESTINATIONS)]
        keys = list_keys(event_id, event_names, destinations)
        values = {"keys": [digest_key(each) for each in keys]}
        return await self._read_waiting(sql.FIND_WAITING, values)

    async def add_figures(self, figures: Sequence[Figure]) -> None:
        days, destinations, names, kinds, numbers = (
            zip(*figures, strict=True) if figures else [()] * 5
        )
        values = {
            "days": list(days),
            "destinations": list(destinations),
            "names": [clean_text(name) for name in names],
            "kinds": list(kinds),
            "numbers": list(numbers),
            "kept": FIGURE_DAYS,
        }
        await self._find_pool().execute(sql.ADD_FIGURES, values)

    async def figures(self, since: int, until: int) -> list[Figure]:
        values = {"since": since, "until": until}
        return [Figure(*row) for row in await self._find_pool().fetch(sql.FIGURES, values)]

    async def save_circuit(self, circuit: Circuit) -> None:
        pool = self._find_pool()
        circuit = shift_circuit(circuit, await pool.clock.read())
        values = {**asdict(circuit), "reason": clean_text(circuit.reason)}
        await pool.execute(sql.SAVE_CIRCUIT, values)

    async def circuits(self) -> Mapping[str, Circuit]:
        pool = self._find_pool()
        ahead = await pool.clock.read()
        circuits = read_circuits(await pool.fetch(sql.CIRCUITS))
        return {name: shift_circuit(each, -ahead) for name, each in circuits.items()}

    async def find_weaknesses(self) -> list[Weakness]:
        pool = self._find_pool()
        return [
            Weakness(
                f"{pool.name}: {name} is off: a crash of its machine loses committed events"
                f"{' and may break the tables' if name != 'synchronous_commit' else ''}",
                f"ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf();"
                if name != "synchronous_commit"
                else "take synchronous_commit out of the outbox URL",
                True,
            )
            for name in await pool.find_weaknesses()
        ]

    async def close(self) -> None:
        pool = self._pools.pop((os.getpid(), asyncio.get_running_loop()), None)
        if pool is not None:
            await pool.close()

    async def _change(self, statement: str, keys: Sequence[bytes], **values: Any) -> int:
        """Run ``statement`` on the rows of ``keys``; return how many it changed."""
        if not keys:
            return 0
        return await self._find_pool().execute(statement, {"keys": keys, **values})

    def _find_pool(self) -> Pool:
        """Return the pool of this process and event loop; create it if it is missing."""
        here = (os.getpid(), asyncio.get_running_loop())
        pool = self._pools.get(here)
        if pool is None:
            for pid, loop in list(self._pools):
                if pid == os.getpid() and loop.is_closed():
                    self._pools.pop((pid, loop)).drop_idle()
            pool = self._pools[here] = Pool(
                self._settings, self._max_connections, self._memory, self._wall
            )
        return pool

    def __str__(self) -> str:
        return f"PostgreSQL, {build_name(self._settings)}"

    def __repr__(self) -> str:
        return f"PostgresOutbox({build_name(self._settings)!r})"


async def _store_inside(
    connection: Any, pool: Pool, rows: Rows, limit: asyncio.Timeout
) -> set[bytes]:
    """Store ``rows`` in the caller's transaction; return the keys that are new."""
    # Their search path may lead elsewhere.
    table = f"{await pool.find_schema()}.bridge_deliveries"
    statement = pool.complete(sql.PUT).replace("bridge_deliveries", table)
    # From here on it is the caller's connection: cutting a statement short would break their
    # transaction, and how long it may take is for them to decide.
    limit.reschedule(None)
    found = await run_inside(connection, statement, build_columns(rows, pool.memory))
    return {bytes(row[0]) for row in found}


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
