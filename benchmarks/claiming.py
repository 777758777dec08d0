"""Claiming 1000 deliveries while few or many more wait, or many are remembered as delivered.

Each claim is made later than the last one's lease, so that as many are due every time. A claim is
timed whole, its commit included.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence

from benchmarks.engines import POSTGRES, SQLITE, run_server
from benchmarks.purchase import build_deliveries
from benchmarks.report import divide, judge, print_table, show, summarize
from benchmarks.turns import take_turns
from bridge.delivery.lane import LEASE
from bridge.outbox.base import Outbox
from bridge.outbox.engines import open_outbox

ROUNDS = 15
CLAIMED = 1000
CLAIMS = 4  # of one slice
BATCH = 5000  # deliveries put at once
FEW, MANY = 1_000, 100_000
MILLION = 1_000_000
BUDGET = 1.3  # times what it costs among few, at most
BUDGET_AFTER = 3.0  # the same after many were delivered

# Each delivered in the last hour.
_REMEMBER = """
INSERT INTO bridge_deliveries
    (key, destination, event_name, event_id, expires, attempts, stored_at, settled_at, has_given_id)
SELECT sha256(i::text::bytea), 'meta:1234567890123456', 'Purchase', 'order-' || i, 2e9, 1,
       extract(epoch FROM now()) - i %% 3600, extract(epoch FROM now()) - i %% 3600, true
FROM generate_series(1, %s) AS i
"""


class Waiting:
    """An outbox in which ``count`` deliveries wait.

    Args:
        outbox: An empty one.
        count: How many.
    """

    def __init__(self, outbox: Outbox, count: int) -> None:
        self.outbox = outbox
        self._count = count
        self._now = 0.0
        self._destination = ""

    async def fill(self) -> None:
        """Store them."""
        for _ in range(0, self._count, BATCH):
            deliveries = build_deliveries(min(BATCH, self._count))
            await self.outbox.put(deliveries, deliveries[0].due)
            self._destination = deliveries[0].destination
        self._now = time.time()

    async def claim(self) -> float:
        """Claim ``CLAIMS`` times; return the milliseconds of one claim."""
        start = time.perf_counter()
        for _ in range(CLAIMS):
            self._now += 2 * LEASE
            claimed = await self.outbox.claim(
                self._destination, CLAIMED, now=self._now, lease=LEASE
            )
            if len(claimed) != CLAIMED:
                raise SystemExit(f"{self.outbox!r}: claimed {len(claimed)}, expected {CLAIMED}")
        return 1000 * (time.perf_counter() - start) / CLAIMS

    def build_slice(self, runner: asyncio.Runner) -> Callable[[], float]:
        """Return what claims on the loop of ``runner``."""
        return lambda: runner.run(self.claim())


def _measure(
    runner: asyncio.Runner, outboxes: dict[int, Outbox], rounds: int
) -> dict[str, list[float]]:
    waiting = {count: Waiting(outbox, count) for count, outbox in outboxes.items()}
    try:
        for each in waiting.values():
            runner.run(each.fill())
        slices = {f"{count:,}": each.build_slice(runner) for count, each in waiting.items()}
        return take_turns(slices, rounds, warm_up=2)
    finally:
        for outbox in outboxes.values():
            runner.run(outbox.close())


def _open(engine: str, directory: str, count: int, stack: contextlib.ExitStack) -> Outbox:
    """Return an empty outbox; on a server engine, with a server of its own."""
    if engine == SQLITE:
        return open_outbox(f"sqlite:///{directory}/claim-{count}.db")
    return open_outbox(stack.enter_context(run_server(engine)))


def run(
    runner: asyncio.Runner, directory: str, engines: Sequence[str], *, million: bool = False
) -> None:
    """Measure and print; among a million on SQLite, elsewhere only if wanted."""
    rows = []
    for engine in engines:
        counts = (FEW, MANY, MILLION) if million or engine == SQLITE else (FEW, MANY)
        with contextlib.ExitStack() as stack:
            outboxes = {count: _open(engine, directory, count, stack) for count in counts}
            times = _measure(runner, outboxes, ROUNDS)
        rows += _describe(engine, times)
    head = ("Outbox", "Waiting", "ms a claim", f"÷ among {FEW:,}", "Budget")
    print_table(f"Claiming {CLAIMED}", head, rows)


def run_after(runner: asyncio.Runner, delivered: int) -> None:
    """Measure and print claims of PostgreSQL after so many deliveries: there they are rows, too."""
    import psycopg

    with contextlib.ExitStack() as stack:
        urls = [stack.enter_context(run_server(POSTGRES)) for _ in range(2)]
        outboxes: dict[int, Outbox] = dict(zip((0, delivered), map(open_outbox, urls), strict=True))
        for outbox in outboxes.values():
            runner.run(outbox.probe())  # makes the tables
        with psycopg.connect(urls[1]) as connection:
            connection.execute(_REMEMBER, [delivered])
        waiting = {count: Waiting(outbox, FEW) for count, outbox in outboxes.items()}
        try:
            for each in waiting.values():
                runner.run(each.fill())
            slices = {f"{count:,}": each.build_slice(runner) for count, each in waiting.items()}
            times = take_turns(slices, ROUNDS, warm_up=2)
        finally:
            for outbox in outboxes.values():
                runner.run(outbox.close())
    before, after = times.values()
    ratio = divide(after, before)
    head = ("Delivered before", "ms a claim", "÷", "Budget")
    rows = [
        ("0", show(summarize(before), ".1f"), "1.00", ""),
        (
            f"{delivered:,}",
            show(summarize(after), ".1f"),
            show(ratio),
            judge(ratio.median, BUDGET_AFTER, at_most=True),
        ),
    ]
    print_table(f"PostgreSQL: claiming {CLAIMED} of {FEW:,} that wait", head, rows)


def _describe(engine: str, times: dict[str, list[float]]) -> list[tuple[str, ...]]:
    few = times[f"{FEW:,}"]
    return [
        (
            engine,
            count,
            show(summarize(took), ".1f"),
            show(divide(took, few)),
            judge(divide(took, few).median, BUDGET, at_most=True) if took is not few else "",
        )
        for count, took in times.items()
    ]
