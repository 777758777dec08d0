"""PostgreSQL beside one old transaction, such as a dump or a long report.

While it is open, the server keeps every version of every row, and a search meets them all. The same
work is done without it and beside it: deliveries are put, claimed and acknowledged, and after each
round a lane looks once more and finds nothing. The last rounds are compared.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator

from benchmarks.engines import POSTGRES, run_server
from benchmarks.purchase import build_deliveries
from benchmarks.report import divide, judge, print_table, show, summarize
from bridge.delivery.lane import LEASE, POLL
from bridge.outbox.base import Outbox
from bridge.outbox.engines import open_outbox

ROUNDS = 100
COMPARED = 20  # the last of them
SIZE = 1000  # deliveries of a round
BUDGET = 3.0  # times what it costs without the old transaction, at most
ALONE, BESIDE = "alone", "beside an old transaction"

Times = dict[str, list[float]]


@contextlib.asynccontextmanager
async def _hold_snapshot(url: str) -> AsyncIterator[None]:
    """Keep a transaction open that has read something."""
    import psycopg

    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        await connection.execute("SELECT count(*) FROM pg_class")
        yield


async def _measure(outbox: Outbox, times: Times) -> None:
    """Note the milliseconds of a claim of ``SIZE``, of its ack, and of a look at nothing."""
    deliveries = build_deliveries(SIZE)
    name = deliveries[0].destination
    await outbox.put(deliveries, time.time())
    start = time.perf_counter()
    claimed = await outbox.claim(name, SIZE, now=time.time(), lease=LEASE)
    times["claim"].append(1000 * (time.perf_counter() - start))
    if len(claimed) != SIZE:
        raise SystemExit(f"{outbox!r}: claimed {len(claimed)}, expected {SIZE}")
    start = time.perf_counter()
    await outbox.ack(claimed, time.time())
    times["ack"].append(1000 * (time.perf_counter() - start))
    start = time.perf_counter()
    await outbox.claim(name, SIZE, now=time.time(), lease=LEASE)
    await outbox.next_due(name, time.time() + POLL)
    times["empty look"].append(1000 * (time.perf_counter() - start))


async def _compare() -> dict[str, Times]:
    """Return the last times of both cases, which take turns, each on a server of its own."""
    async with contextlib.AsyncExitStack() as stack:
        outboxes = {}
        for case in (ALONE, BESIDE):
            url = stack.enter_context(run_server(POSTGRES))
            outboxes[case] = open_outbox(url)
            stack.push_async_callback(outboxes[case].close)
            await outboxes[case].probe()  # makes the tables
            if case == BESIDE:
                await stack.enter_async_context(_hold_snapshot(url))
        found: dict[str, Times] = {case: defaultdict(list) for case in outboxes}
        for _ in range(ROUNDS):
            for case, outbox in outboxes.items():
                await _measure(outbox, found[case])
    return {
        case: {what: took[-COMPARED:] for what, took in times.items()}
        for case, times in found.items()
    }


def run(runner: asyncio.Runner) -> None:
    """Measure and print."""
    found = runner.run(_compare())
    rows = []
    for what, alone in found[ALONE].items():
        beside = found[BESIDE][what]
        ratio = divide(beside, alone)
        rows.append(
            (
                what,
                show(summarize(alone), ".1f"),
                show(summarize(beside), ".1f"),
                show(ratio),
                judge(ratio.median, BUDGET, at_most=True),
            )
        )
    head = (f"PostgreSQL, of {SIZE}", f"ms {ALONE}", f"ms {BESIDE}", "÷", "Budget")
    print_table(f"Beside an old transaction, after {ROUNDS * SIZE:,} deliveries", head, rows)
