"""``track()`` until the event is on disk, by 64 tasks at once.

The visitor is known (its hashes are in the session), the event has three articles. The floor is a
group commit of its own: ready rows, one queue, one writing thread, one transaction for whatever
has queued up, on the same disk and as durable.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import statistics
import threading
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.peers import SECRET
from benchmarks.purchase import BUYER, PIXEL_ID, PROPERTIES, build_deliveries, build_visitor
from benchmarks.report import divide, judge, print_table, show, summarize
from benchmarks.turns import take_turns
from bridge import Bridge
from bridge.destinations import Meta
from bridge.events.event import UserData
from bridge.events.user_data import read_user_data
from bridge.outbox.base import Delivery, Outbox
from bridge.outbox.engines import open_outbox

ROUNDS = 5
TASKS = 64
EVENTS = 50  # of one task, in one slice

BRIDGE, FLOOR = "Bridge, SQLite", "floor: raw SQLite group commit"
BUDGET = 0.5  # of the floor's events a second, at least

TABLES = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY, destination TEXT, event_name TEXT, event_id TEXT, body BLOB, due REAL,
    expires REAL, attempts INTEGER, UNIQUE (event_id, event_name, destination)
);
CREATE INDEX due ON deliveries (destination, due)
"""
INSERT = "INSERT INTO deliveries VALUES (NULL, ?, ?, ?, ?, ?, ?, 0) ON CONFLICT DO NOTHING"

_Row = tuple[str, str, str, bytes, float, float]
_Work = Callable[[], Awaitable[object]]


class Slice(NamedTuple):
    """What one slice measured.

    Attributes:
        rate: Events a second.
        p50, p99: Milliseconds from the call until it is on disk.
    """

    rate: float
    p50: float
    p99: float


class GroupCommit:
    """The floor: rows go to a thread, which commits whatever has queued up."""

    def __init__(self, path: Path, delivery: Delivery) -> None:
        self._path = path
        self._delivery = delivery
        self._jobs: queue.SimpleQueue[tuple[_Row, asyncio.Future[None]] | None]
        self._jobs = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    async def put(self) -> None:
        """Store the row under a new id; done when it is on disk."""
        future = self._loop.create_future()
        ready = self._delivery
        key = (ready.destination, ready.event_name, str(uuid.uuid4()))
        self._jobs.put(((*key, ready.body, ready.due, ready.expires), future))
        await future

    def _run(self) -> None:
        file = sqlite3.connect(self._path, isolation_level=None)
        file.executescript(TABLES)
        while (job := self._jobs.get()) is not None:
            jobs = [job]
            while not self._jobs.empty() and (more := self._jobs.get()) is not None:
                jobs.append(more)
            file.execute("BEGIN IMMEDIATE")
            file.executemany(INSERT, [row for row, _ in jobs])
            file.execute("COMMIT")
            self._loop.call_soon_threadsafe(_settle, [future for _, future in jobs])
        file.close()

    async def close(self) -> None:
        """End the thread."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)


def _settle(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        future.set_result(None)


def build_tracking(outbox: Outbox) -> _Work:
    """Return what tracks one purchase into ``outbox``; nothing is sent from there."""
    bridge = Bridge(SECRET, [Meta(PIXEL_ID, "none")], outbox=outbox, run_sender=False)
    visitor = build_visitor(bridge, UserData(**read_user_data(BUYER)))

    async def track() -> None:
        await bridge.track("Purchase", PROPERTIES, visitor=visitor)
        if bridge.counters["lost"]:
            raise SystemExit(f"{outbox!r} lost an event")

    return track


async def press(work: _Work) -> Slice:
    """Have ``work`` done by many tasks at once, each time after time."""
    latencies: list[float] = []

    async def repeat() -> None:
        for _ in range(EVENTS):
            start = time.perf_counter()
            await work()
            latencies.append(1000 * (time.perf_counter() - start))

    start = time.perf_counter()
    await asyncio.gather(*(repeat() for _ in range(TASKS)))
    took = time.perf_counter() - start
    latencies.sort()
    return Slice(
        len(latencies) / took, statistics.median(latencies), latencies[-len(latencies) // 100]
    )


def run(runner: asyncio.Runner, directory: str, urls: dict[str, str], rounds: int = ROUNDS) -> None:
    """Measure and print."""
    ours = {BRIDGE: f"sqlite:///{directory}/track.db"}
    ours |= {f"Bridge, {engine}": url for engine, url in urls.items()}
    outboxes = {name: open_outbox(url) for name, url in ours.items()}
    [ready] = build_deliveries(1)

    async def build_floor() -> GroupCommit:
        return GroupCommit(Path(directory, "floor.db"), ready)

    floor = runner.run(build_floor())
    works: dict[str, _Work] = {FLOOR: floor.put}
    works |= {name: build_tracking(outbox) for name, outbox in outboxes.items()}
    slices = {name: lambda work=work: runner.run(press(work)) for name, work in works.items()}
    try:
        measured = take_turns(slices, rounds)
    finally:
        runner.run(floor.close())
        for outbox in outboxes.values():
            runner.run(outbox.close())
    _print(measured)


def _print(measured: dict[str, list[Slice]]) -> None:
    rates = {name: [each.rate for each in slices] for name, slices in measured.items()}
    share = divide(rates[BRIDGE], rates[FLOOR])
    print_table(
        f"`track()` until it is on disk, {TASKS} at once",
        ("With", "Events/s", "÷ floor", "÷ Bridge on SQLite", "p50 ms", "p99 ms", "Budget"),
        [
            (
                name,
                show(summarize(rates[name]), ",.0f"),
                show(divide(rates[name], rates[FLOOR])),
                show(divide(rates[name], rates[BRIDGE])),
                f"{statistics.median(each.p50 for each in slices):.1f}",
                f"{statistics.median(each.p99 for each in slices):.1f}",
                judge(share.median, BUDGET, at_most=False) if name == BRIDGE else "",
            )
            for name, slices in measured.items()
        ],
    )
