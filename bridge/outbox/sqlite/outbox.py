"""The embedded outbox: one SQLite file, shared by the processes of one machine.

Each process has two threads, each with a connection of its own. One writes: all that has queued up
is one transaction. The other reads, so that counting a million deliveries delays no put.

A visitor's request waits at most ``REQUEST_PATIENCE`` for another process's transaction, or for a
disk that hangs; the sender, which has time, waits ``PATIENCE`` for a transaction. A file that
empties keeps its size and fills up again from within. The last 64 MiB of its disk, or an eighth of
a small disk, are reserved for delivering what waits.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from bridge.errors import OutboxBusyError, OutboxError
from bridge.outbox.base import (
    CAPACITY,
    REMEMBER_DAYS,
    Circuit,
    Counts,
    DeadLetter,
    Delivery,
    Erased,
    Figure,
    Key,
    Outbox,
    Trouble,
    Weakness,
    build_memory,
    check_capacity,
    digest_texts,
    read_circuits,
    read_dead,
    read_delivery,
    read_limit,
    refuse_connection,
)
from bridge.outbox.sqlite import rows
from bridge.outbox.sqlite.damage import REMEDY, Damage
from bridge.outbox.sqlite.disk import MAX_CLAIM_BYTES
from bridge.outbox.sqlite.file import MEMORY, OutboxFile, build_error, measure_large_wal
from bridge.outbox.sqlite.locks import FileLock
from bridge.outbox.sqlite.place import inspect_file
from bridge.outbox.sqlite.thread import FileThread, How, Job, build_job

REQUEST_PATIENCE = 5.0  # seconds that put, release and has wait for a locked file
PATIENCE = 15.0  # seconds that everything else waits
LONG_STEP = 1000  # the same while nobody has stored anything for some seconds
STEP = 100  # deliveries that one transaction of the sender changes at most
GRACE = 0.25  # seconds more, in which the thread itself says what it waits for
LOOK_THROUGH = 600.0  # seconds that reading the whole file may take
READER_REMEDY = "end what reads it: a backup, or a shell; 'fuser -v FILE' names the processes"
LOOK = 1.0  # seconds between looks whether the process that delivers has ended

Result = TypeVar("Result")
Work = Callable[[OutboxFile], Result]


@dataclass(slots=True)
class _Lead:
    """Whether this process delivers; looked at again at ``look_at``, on the monotonic clock."""

    lock: FileLock
    is_ours: bool = False
    look_at: float = 0.0


class SQLiteOutbox(Outbox):
    """Deliveries in one SQLite file.

    Args:
        path: The file; created if it is missing. Its folder must exist.
        capacity: How many deliveries may wait or be dead. Puts of other processes are noticed up to
            two seconds late, so several processes together may exceed it by what they put in that
            time.
        remember_days: As for ``Bridge``.

    Raises:
        ConfigError: The capacity is below 1, or ``remember_days`` not above 0.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        capacity: int = CAPACITY,
        remember_days: float = REMEMBER_DAYS,
    ) -> None:
        self._path = str(path)
        self._capacity = check_capacity(capacity)
        self._memory = build_memory(remember_days)
        # Jobs submitted during this turn of an event loop: handed over together when it ends.
        self._submitted: dict[tuple[asyncio.AbstractEventLoop, int, How], list[Job]] = {}
        # By process too: threads do not survive a fork, and a child that uses or closes what its
        # parent opened may damage the file. So the parent's entries stay here, untouched.
        # Source: sqlite3-ruby, adr/2024-09-fork-safety.md, read 2026-11-24.
        self._threads: dict[tuple[int, How], FileThread] = {}
        self._damage = Damage()
        self._leads: dict[tuple[int, str], _Lead] = {}  # by process and destinations

    async def put(
        self, deliveries: Sequence[Delivery], now: float, *, connection: Any = None
    ) -> list[bool]:
        refuse_connection("SQLiteOutbox", connection)
        built = rows.build_rows(deliveries, now)
        limit = read_limit(self._capacity, deliveries)
        return await self._run(
            lambda file: rows.store_all(file, built, self._capacity, limit, self._memory)
        )

    async def lead(self, destinations: Iterable[str]) -> bool:
        """As ``Outbox.lead``: one process of those with the same destinations, by a lock."""
        if self._path == MEMORY:
            return True
        names = sorted(destinations)
        key = (os.getpid(), digest_texts(names, 4).hex())
        lead = self._leads.get(key)
        if lead is None:
            path = await asyncio.to_thread(os.path.realpath, self._path)
            lead = self._leads.setdefault(key, _Lead(FileLock(f"{path}-sender-{key[1]}")))
        if not lead.lock.is_held and time.monotonic() >= lead.look_at:
            lead.look_at = time.monotonic() + LOOK
            try:
                lead.is_ours = await asyncio.to_thread(lead.lock.take)
            except asyncio.CancelledError:
                lead.look_at = 0.0  # its thread may take it yet: whoever asks next has to look
                raise
        # Whoever took it may have been cancelled before it heard so.
        return lead.is_ours or lead.lock.is_held

    async def claim(
        self, destination: str, limit: int, *, now: float, lease: float
    ) -> list[Delivery]:
        claimed: list[Delivery] = []
        size = 0
        while len(claimed) < limit and size < MAX_CLAIM_BYTES:
            most = min(self._read_step(), limit - len(claimed))
            try:
                found = await self._run_later(
                    partial(
                        rows.claim_due,
                        destination=destination,
                        limit=most,
                        now=now,
                        lease=lease,
                    )
                )
            except OutboxError:
                if not claimed:
                    raise
                break
            claimed += [read_delivery(row) for row in found]
            if len(found) < most:
                break
            size += sum([len(row[3]) for row in found])
        return claimed

    async def ack(self, deliveries: Sequence[Delivery], now: float) -> None:
        for part in self._cut(deliveries):
            await self._run_later(
                partial(rows.ack_all, deliveries=part, now=now, memory=self._memory)
            )

    async def retry(self, deliveries: Sequence[Delivery], due: float) -> int:
        counts = [
            await self._run_later(partial(rows.retry, deliveries=part, due=due))
            for part in self._cut(deliveries)
        ]
        return sum(counts)

    async def bury(self, deliveries: Sequence[Delivery], reason: str, now: float) -> None:
        for part in self._cut(deliveries):
            await self._run_later(
                partial(rows.change, update=rows.BURY, values=(now, reason), deliveries=part)
            )

    async def release(
        self,
        event_name: str,
        event_id: str,
        subjects: bytes,
        now: float,
        *,
        destinations: Collection[str] | None = None,
    ) -> int:
        return await self._run(
            lambda file: rows.release(file, event_name, event_id, subjects, now, destinations)
        )

    async def has(
        self,
        event_name: str,
        event_id: str,
        now: float,
        *,
        destinations: Collection[str] | None = None,
        within: float = math.inf,
    ) -> bool:
        values = {
            "event_id": event_id,
            "event_name": event_name,
            "names": rows.list_names(destinations),
            "since": now - within,
            **rows.list_horizons(self._memory.cut(within), now),
        }
        [[found]] = await self._fetch(rows.HAS, values, REQUEST_PATIENCE)
        return bool(found)

    async def next_due(self, destination: str, until: float = math.inf) -> float | None:
        # On the writing thread: the sender asks between two claims and must not wait for a count.
        due: float | None
        due = await self._run_later(partial(rows.read_next_due, destination=destination))
        return None if due is None or due > until else due

    async def count(self, now: float, *, with_delivered: bool = False) -> Mapping[str, Counts]:
        """As ``Outbox.count``; takes 0.2 s for a million deliveries, without delaying writers."""
        values = {"now": now, "forgotten": now - self._memory.random}
        query = rows.COUNT_WITH_DELIVERED if with_delivered else rows.COUNT
        return {row[0]: Counts(*row[1:]) for row in await self._fetch(query, values)}

    async def probe(self) -> None:
        await self._run(lambda file: rows.check_room(file, self._capacity))

    async def list_dead(
        self, *, destination: str | None = None, limit: int = 100, offset: int = 0
    ) -> list[DeadLetter]:
        page = {"destination": destination, "limit": max(0, limit), "offset": max(0, offset)}
        return read_dead(await self._fetch(rows.LIST_DEAD, page))

    async def find_dead(self, event_id: str) -> list[DeadLetter]:
        return read_dead(await self._fetch(rows.FIND_DEAD, (event_id,)))

    async def revive(self, keys: Sequence[Key], now: float) -> int:
        values = [{**Key(*key)._asdict(), "now": now} for key in keys]
        return await self._run(
            lambda file: file.executemany(rows.REVIVE, values).rowcount, PATIENCE
        )

    async def drop(self, keys: Sequence[Key]) -> int:
        return await self._run(lambda file: rows.drop_all(file, keys), PATIENCE)

    async def drop_old(self, before: float, limit: int) -> int:
        return await self._run_later(lambda file: rows.drop_old(file, before, min(limit, STEP)))

    async def withdraw(self, subjects: bytes) -> int:
        return await self._run(lambda file: rows.withdraw(file, subjects))

    async def erase(self, subjects: bytes) -> Erased:
        """As ``Outbox.erase``; reads a million subjects in 0.2 s, without delaying writers."""
        found = await self._read(lambda file: rows.find_subjects(file, subjects), LOOK_THROUGH)
        return await self._run(lambda file: rows.erase(file, found), LOOK_THROUGH)

    async def list_waiting(
        self, *, destination: str | None = None, limit: int = 100, offset: int = 0
    ) -> list[Delivery]:
        found = await self._read(
            lambda file: rows.list_waiting(file, destination, max(0, limit), max(0, offset))
        )
        return [read_delivery(row) for row in found]

    async def find(self, event_id: str, event_names: Iterable[str]) -> list[Delivery]:
        names = json.dumps(list(event_names))
        return [
            read_delivery(row) for row in await self._fetch(rows.FIND_WAITING, (event_id, names))
        ]

    async def add_figures(self, figures: Sequence[Figure]) -> None:
        await self._run_later(lambda file: rows.add_figures(file, figures))

    async def figures(self, since: int, until: int) -> list[Figure]:
        # Made in the thread: there may be hundreds of thousands.
        return await self._read(
            lambda file: [Figure(*row) for row in file.execute(rows.FIGURES, (since, until))]
        )

    async def save_circuit(self, circuit: Circuit) -> None:
        row = (circuit.destination, circuit.state, circuit.reason, circuit.since, circuit.until)
        await self._run_later(lambda file: file.execute(rows.SAVE_CIRCUIT, row))

    async def circuits(self) -> Mapping[str, Circuit]:
        return read_circuits(await self._fetch(rows.CIRCUITS))

    async def find_weaknesses(self) -> list[Weakness]:
        if self._path == MEMORY:
            text = "the outbox is in memory: the end of the process loses what waits"
            return [Weakness(text, "set BRIDGE_OUTBOX_URL=sqlite:///bridge.db", True)]
        try:
            return await asyncio.to_thread(inspect_file, self._path)
        except OSError as error:
            raise OutboxError(f"outbox {self._path}: {error.strerror}") from error

    async def find_troubles(self, *, thorough: bool = False) -> list[Trouble]:
        """As ``Troubled.find_troubles``; a ``thorough`` look reads the whole file."""
        if thorough:
            await self._read(rows.look_for_damage, LOOK_THROUGH)
        troubles = []
        if damage := self._damage.describe():
            troubles.append(Trouble(damage, REMEDY))
        if size := await asyncio.to_thread(measure_large_wal, self._path):
            text = (
                f"the outbox's -wal file has {size // 1_000_000} MB and grows, since somebody reads"
                " the file for long, in one transaction"
            )
            troubles.append(Trouble(text, READER_REMEDY))
        return troubles

    async def close(self) -> None:
        """As ``Outbox.close``; both threads finish what is queued before."""
        loop = asyncio.get_running_loop()
        for key in [key for key in self._submitted if key[0] is loop]:
            self._hand_over(key)
        mine = [
            self._threads.pop(key, None) for key in list(self._threads) if key[0] == os.getpid()
        ]
        await asyncio.gather(*(asyncio.to_thread(thread.stop) for thread in mine if thread))
        for lead in [lead for lead in self._leads if lead[0] == os.getpid()]:
            self._leads.pop(lead).lock.close()

    async def _fetch(
        self, query: str, values: Any = (), patience: float = PATIENCE
    ) -> list[tuple[Any, ...]]:
        """Have the reading thread run ``query``; return its rows."""
        return await self._read(lambda file: file.execute(query, values).fetchall(), patience)

    async def _read(self, work: Work[Result], patience: float = PATIENCE) -> Result:
        """Have the reading thread do ``work``."""
        # Each connection to :memory: has its own database, so both threads would see another one.
        how: How = "IMMEDIATE" if self._path == MEMORY else "DEFERRED"
        result: Result = await self._submit(build_job(work, patience), how)
        return result

    async def _run(self, work: Work[Result], patience: float | None = None) -> Result:
        """Have the writing thread do ``work``, for which somebody waits; durable when it returns.

        It goes before all that ``_run_later`` does. It fails after ``patience`` seconds,
        ``REQUEST_PATIENCE`` by default.
        """
        patience = REQUEST_PATIENCE if patience is None else patience
        result: Result = await self._submit(build_job(work, patience))
        return result

    async def _run_later(self, work: Work[Result]) -> Result:
        """Have the writing thread do a short ``work`` of the sender's."""
        result: Result = await self._submit(build_job(work, PATIENCE, is_urgent=False))
        return result

    async def _submit(self, job: Job, how: How = "IMMEDIATE") -> Any:
        """Have a thread do ``job``, together with all else of this turn of the loop.

        If each job were handed over at once, the thread would commit the first one while the others
        are still being submitted, and would wait at every statement for the interpreter, which the
        loop holds.
        """
        key = (job.loop, os.getpid(), how)
        jobs = self._submitted.get(key)
        if jobs is None:
            self._submitted[key] = [job]
            job.loop.call_soon(self._hand_over, key)
        else:
            jobs.append(job)
        return await job.future

    def _hand_over(self, key: tuple[asyncio.AbstractEventLoop, int, How]) -> None:
        """Give the submitted jobs to their thread."""
        jobs = self._submitted.pop(key, [])
        try:
            # A thread that close() has just stopped refuses; the next one accepts.
            # Two event loops may come here at once: setdefault gives both the same thread.
            while jobs and not self._threads.setdefault(
                key[1:], FileThread(self._path, key[2], self._let_go_readers, self._damage)
            ).submit(*jobs):
                pass
        except RuntimeError as error:  # no more threads can be started
            for job in jobs:
                job.error = build_error(self._path, error)
                job.settle()
            return
        for patience in {job.patience for job in jobs if job.is_urgent}:
            # Not the jobs: what they hold is let go as soon as it is stored.
            futures = [job.future for job in jobs if job.is_urgent and job.patience == patience]
            key[0].call_later(patience + GRACE, self._give_up, futures, patience)

    def _give_up(self, futures: Sequence[asyncio.Future[Any]], patience: float) -> None:
        """Fail what has no answer yet: the thread hangs in a call that only the disk can end.

        Once it ends, the work is done all the same: a put that is repeated finds its own key.
        """
        for future in futures:
            if not future.done():
                future.set_exception(
                    OutboxBusyError(
                        f"outbox {self._path}: its disk has not answered for {patience:g} s; what"
                        " waits for it is stored when it does"
                    )
                )

    def _let_go_readers(self) -> None:
        """Have the reading thread close the file until it reads again."""
        reader = self._threads.get((os.getpid(), "DEFERRED"))
        if reader is not None:
            reader.let_go()

    def _read_step(self) -> int:
        """Return how many deliveries one transaction of the sender may change."""
        writer = self._threads.get((os.getpid(), "IMMEDIATE"))
        return LONG_STEP if writer is not None and writer.is_quiet else STEP

    def _cut(self, deliveries: Sequence[Delivery]) -> list[Sequence[Delivery]]:
        """Return ``deliveries`` as parts of one short transaction each."""
        step = self._read_step()
        return [deliveries[at : at + step] for at in range(0, len(deliveries), step)]

    def is_missing(self) -> bool:
        """Return whether there is no file yet; blocks."""
        return self._path != MEMORY and not os.path.exists(self._path)

    def has_folder(self) -> bool:
        """Return whether the folder of the file exists; blocks."""
        return os.path.isdir(os.path.dirname(os.path.abspath(self._path)))

    def __str__(self) -> str:
        """Return the engine and the absolute path; blocks if it was given a relative one."""
        is_whole = self._path == MEMORY or os.path.isabs(self._path)
        return f"SQLite, {self._path if is_whole else os.path.abspath(self._path)}"

    def __repr__(self) -> str:
        return f"SQLiteOutbox({self._path!r})"
