"""A million events through an hour's outage, in minutes: the size counts; no request is served.

One process tracks them and runs the sender, as a shop's does. For the first third of the hour Meta
refuses connections, then it answers 503; then it works, and everything drains.

How the hour passes: ``time.time`` is replaced by a clock that each tracked event moves by its
share of 3,600 seconds, so that event times, back-off and leases are those of an hour, however
fast this machine is. When Meta works again the clock runs as the world's does, and runs ahead only
while nothing is due: through the last back-off before the sender asks again, and through that of
the few events which it had asked with.

Exit code 1: something was lost or came twice, or memory, latency or claims were not flat.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from bridge import Bridge
from bridge.outbox import Delivery, SQLiteOutbox
from bridge.visitor.visitor import Visitor
from tests.factories import NAVIGATION, make_bridge, make_meta, make_scope, make_visitor
from tests.kills.processes import Process
from tests.servers import find_free_port
from tests.soak.report import judge, pick, say

HOUR = 3600.0  # seconds
SLICES = 10
CONCURRENCY = 64  # requests that track at the same time
VISITORS = 100
STALL = 1.0  # seconds without a delivery after which the clock runs ahead
STEP = 0.1  # seconds between looks at the drain
PAGE = 4096  # bytes


class Clock:
    """Unix seconds: moved by hand, or running."""

    def __init__(self, start: float) -> None:
        self._moved = start
        self._since: float | None = None

    def read(self) -> float:
        running = 0.0 if self._since is None else time.monotonic() - self._since
        return self._moved + running

    def move(self, seconds: float) -> None:
        self._moved += seconds

    def run(self) -> None:
        self._since = time.monotonic()


class TimedOutbox(SQLiteOutbox):
    """Notes how long each claim of a full batch took, in seconds."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.claims: list[float] = []

    async def claim(self, *args: Any, **options: Any) -> list[Delivery]:
        began = time.perf_counter()
        deliveries = await super().claim(*args, **options)
        if len(deliveries) > 1:
            self.claims.append(time.perf_counter() - began)
        return deliveries


@dataclass
class Slice:
    """A tenth of the events.

    Attributes:
        rate: Events a second, as the world's clock counts.
        memory: Resident bytes of this process at its end.
        times: What was measured, in seconds, sorted.
    """

    rate: float
    memory: int
    times: Sequence[float]

    def quantile(self, share: float) -> float:
        """Milliseconds; 0 if nothing was measured."""
        return 1000 * pick(self.times, share)


class Soak:
    """The outage and its end, on one bridge.

    Args:
        bridge: Its outbox is a ``TimedOutbox``.
        clock: What ``time.time`` reads.
        events: How many; the slices divide them.
        stand_in: Meta's process; started after a third.
    """

    def __init__(self, bridge: Bridge, clock: Clock, events: int, stand_in: Process) -> None:
        self.bridge = bridge
        self.clock = clock
        self.events = events
        self.stand_in = stand_in
        self.visitors = [_make_visitor(bridge, number) for number in range(VISITORS)]

    async def track_all(self) -> list[Slice]:
        """Store all events while Meta is down."""
        slices: list[Slice] = []
        size = self.events // SLICES
        for first in range(0, self.events, size):
            if first <= self.events / 3 < first + size:
                await asyncio.to_thread(self.stand_in.start)
            times = array("d")
            numbers = iter(range(first, first + size))
            began = time.perf_counter()
            await asyncio.gather(*(self._track(numbers, times) for _ in range(CONCURRENCY)))
            rate = size / (time.perf_counter() - began)
            # One of a hundred, the longest among them: what measures must not grow itself.
            sample = array("d", sorted(times)[::-100][::-1])
            slices.append(Slice(rate, read_memory(), sample))
        return slices

    async def _track(self, numbers: Iterator[int], times: array[float]) -> None:
        for number in numbers:
            self.clock.move(HOUR / self.events)
            began = time.perf_counter()
            await self.bridge.track(
                "Purchase",
                {"value": 59.9, "currency": "EUR", "order_id": str(number)},
                event_id=f"soak-{number}",
                visitor=self.visitors[number % VISITORS],
            )
            times.append(time.perf_counter() - began)

    async def drain(self) -> tuple[list[Slice], float]:
        """Deliver all; by tenths, and how many seconds the clock ran ahead."""
        slices: list[Slice] = []
        ahead, size = 0.0, self.events // SLICES
        began = changed = time.perf_counter()
        last, claims = 0, self._claims
        claims.clear()
        while len(slices) < SLICES:
            await asyncio.sleep(STEP)
            now, delivered = time.perf_counter(), self.bridge.counters["delivered"]
            if delivered > last:
                last, changed = delivered, now
            elif now - changed > STALL:
                ahead += 1
                self.clock.move(1)
            if not slices and delivered < 1000:
                began = now  # not under way yet
            if delivered >= size * (len(slices) + 1) or delivered == self.events:
                done = delivered - size * len(slices)
                slices.append(Slice(done / (now - began), read_memory(), sorted(claims)))
                claims.clear()
                began = now
        return slices, ahead

    @property
    def _claims(self) -> list[float]:
        assert isinstance(self.bridge.outbox, TimedOutbox)
        return self.bridge.outbox.claims


def read_memory() -> int:
    """Resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def _make_visitor(bridge: Bridge, number: int) -> Visitor:
    """A visitor as in a webhook: with a session, and without a response."""
    scope = make_scope(f"/plants/{number}", headers=NAVIGATION)
    return bridge.unseal(make_visitor(bridge, scope).seal())


async def soak(events: int, folder: Path) -> int:
    """Run it all, print the tables, and return the exit code."""
    events = events // SLICES * SLICES
    port = find_free_port()
    url = f"http://127.0.0.1:{port}"
    args = ["uvicorn", "tests.soak.stand_in:build_app", "--factory", "--port", str(port)]
    quiet = ["--log-level", "warning", "--no-access-log"]
    environ = {"SOAK_EVENTS": str(events)}
    stand_in = Process([*args, *quiet], folder / "stand_in.log", environ, port)
    world, clock = time.time, Clock(time.time() - HOUR)
    time.time = clock.read
    try:
        outbox = TimedOutbox(folder / "bridge.db")
        bridge = make_bridge(outbox, destinations=[make_meta(graph_url=url)])
        async with bridge, httpx.AsyncClient(base_url=url, timeout=60) as client:
            run = Soak(bridge, clock, events, stand_in)
            tracked = await run.track_all()
            full = measure_file(folder)
            asked = bridge.counters["requests"]
            await client.post("/up")
            clock.run()
            drained, ahead = await run.drain()
            tally = (await client.get("/tally")).json()
            counts = [*(await bridge.outbox.count(clock.read(), with_delivered=True)).values()]
    finally:
        time.time = world
        stand_in.kill()
    print_slices(tracked, drained)
    say(f"Requests during the outage: {asked}, of them {tally['refused']} answered 503.")
    say(f"The clock ran ahead for {ahead:.0f} s in the drain. Outbox at the end: {counts}.")
    say(f"File: {full / 1e6:.0f} MB full, {measure_file(folder) / 1e6:.0f} MB drained.")
    say(f"Received once {tally['once']}, more often {tally['more']}, never {tally['missing']}.")
    lost = tally["once"] != events or any(each.waiting or each.dead for each in counts)
    return int(not judge(_compare(tracked, drained)) or lost)


def measure_file(folder: Path) -> int:
    """Bytes of the outbox's files."""
    return sum(path.stat().st_size for path in folder.glob("bridge.db*"))


def print_slices(tracked: Sequence[Slice], drained: Sequence[Slice]) -> None:
    """One row for each tenth."""
    say("| Tenth | Tracked/s | p50 ms | p99 ms | max ms | RSS MB |", end="")
    say(" Drained/s | claim p50 ms | claim max ms | RSS MB |")
    say("|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    for number, (up, down) in enumerate(zip(tracked, drained, strict=True), 1):
        row = [f"{up.rate:.0f}", *(f"{up.quantile(share):.1f}" for share in (0.5, 0.99, 1))]
        row += [f"{up.memory / 1e6:.0f}", f"{down.rate:.0f}"]
        row += [*(f"{down.quantile(share):.1f}" for share in (0.5, 1)), f"{down.memory / 1e6:.0f}"]
        say(f"| {number} | {' | '.join(row)} |")
    say("")


def _compare(tracked: Sequence[Slice], drained: Sequence[Slice]) -> list[tuple[str, str, float]]:
    """Return the ratios that must be flat."""
    middle = tracked[SLICES // 2 - 1].memory
    first, last = tracked[0], tracked[-1]
    full, empty = (
        statistics.median(claim for each in part for claim in each.times)
        for part in (drained[:3], drained[-3:])
    )
    return [
        ("memory", "memory, end of the outage ÷ its middle", last.memory / middle),
        ("memory", "memory, end of the drain ÷ middle of the outage", drained[-1].memory / middle),
        ("latency", "p50, last tenth ÷ first", last.quantile(0.5) / first.quantile(0.5)),
        ("tail", "p99, last tenth ÷ first", last.quantile(0.99) / first.quantile(0.99)),
        ("claim", "claim, full ÷ nearly empty", full / empty),
    ]
