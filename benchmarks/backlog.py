"""``track()`` beside a backlog: what an order waits while many older events are drained.

Several app processes share one SQLite file, each with a sender of its own, and track orders at a
modest fixed rate. The backlog lies in the file from the beginning, and becomes due later: what is
tracked before is idle, and what is tracked while it is drained is compared with that.

``python -m benchmarks.backlog PATH URL PAUSE`` is one of the processes. It prints a line when it is
ready, begins when it reads one, ends when its input ends, and prints what it measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.report import judge, print_table
from benchmarks.stand_in import run_stand_in

PROCESSES = (1, 4, 12)
RATE = 50  # orders a second, of all processes together
IDLE = 8.0  # seconds
WAITING = 150_000
BATCH = 2500  # deliveries put at once
FILL_RATE = 6000  # deliveries a second that are stored at least
DEADLINE = 600.0  # seconds until a backlog must be drained
P50_BUDGET, P99_BUDGET = 1.5, 3.0  # times idle, at most

Sample = tuple[float, float]  # when it was tracked, Unix seconds, and for how many milliseconds


class Share(NamedTuple):
    """What all processes measured of one phase.

    Attributes:
        count: Orders.
        p50, p99, worst: Milliseconds of ``track()``.
    """

    count: int
    p50: float
    p99: float
    worst: float


def summarize(samples: list[Sample], since: float, until: float) -> Share:
    """Return what was measured from ``since`` to ``until``."""
    took = sorted(ms for at, ms in samples if since <= at < until)
    if len(took) < 100:
        raise SystemExit(f"{len(took)} orders were tracked in {until - since:.1f} s: too few")
    return Share(len(took), statistics.median(took), took[-max(1, len(took) // 100)], took[-1])


async def _track(path: str, url: str, pause: float) -> None:
    """Be one of the processes: an order every ``pause`` seconds."""
    from benchmarks.peers import SECRET
    from benchmarks.purchase import BUYER, PIXEL_ID, PROPERTIES, build_visitor
    from bridge import Bridge
    from bridge.destinations import Meta
    from bridge.events.event import UserData
    from bridge.events.user_data import read_user_data

    loop = asyncio.get_running_loop()
    bridge = Bridge(SECRET, [Meta(PIXEL_ID, "none", graph_url=url)], outbox=f"sqlite:///{path}")
    visitor = build_visitor(bridge, UserData(**read_user_data(BUYER)))
    samples: list[Sample] = []

    async def order() -> None:
        at, start = time.time(), time.perf_counter()
        await bridge.track("Purchase", PROPERTIES, visitor=visitor)
        samples.append((at, 1000 * (time.perf_counter() - start)))

    bridge.start()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    ended = asyncio.ensure_future(asyncio.to_thread(sys.stdin.readline))
    tasks, due = set(), loop.time()
    while not ended.done():
        task = asyncio.create_task(order())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        due += pause
        await asyncio.wait({ended}, timeout=max(0.0, due - loop.time()))
    await asyncio.gather(*tasks)
    counters = bridge.counters
    print(json.dumps({"samples": samples, "lost": counters["lost"]}), flush=True)
    await bridge.stop(deadline=5)


async def _fill(path: str, waiting: int, due: float) -> str:
    """Store the backlog, due at ``due``; return its destination."""
    from dataclasses import replace

    from benchmarks.purchase import build_deliveries
    from bridge.outbox import SQLiteOutbox

    outbox, name = SQLiteOutbox(path), ""
    for _ in range(0, waiting, BATCH):
        deliveries = [replace(each, due=due) for each in build_deliveries(min(BATCH, waiting))]
        await outbox.put(deliveries, time.time())
        name = deliveries[0].destination
    await outbox.close()
    return name


async def _drained(path: str, destination: str, due: float) -> float:
    """Return when nothing of the backlog is left."""
    from bridge.outbox import Counts, SQLiteOutbox

    outbox, end = SQLiteOutbox(path), time.time() + DEADLINE
    try:
        while time.time() < end:
            # What is tracked meanwhile waits for a moment, too.
            counts = await outbox.count(time.time())
            if counts.get(destination, Counts()).waiting < 2 * RATE:
                return time.time()
            await asyncio.sleep(0.25)
    finally:
        await outbox.close()
    raise SystemExit(f"the backlog is not drained {DEADLINE:.0f} s after {due:.0f}")


class Run(NamedTuple):
    """What one number of processes measured; ``lost`` of ``tracked`` orders."""

    idle: Share
    busy: Share
    rate: float
    lost: int
    tracked: int


def measure(path: Path, url: str, processes: int, waiting: int) -> Run:
    """Have ``processes`` track orders into ``path`` while ``waiting`` older events are drained."""
    command = [sys.executable, "-m", "benchmarks.backlog"]
    arguments = [str(path), url, str(processes / RATE)]
    with contextlib.ExitStack() as stack:
        children = [
            subprocess.Popen(
                [*command, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(processes)
        ]
        for child in children:
            stack.callback(child.kill)
            assert child.stdout
            child.stdout.readline()
        due = time.time() + waiting / FILL_RATE + IDLE
        name = asyncio.run(_fill(str(path), waiting, due))
        if (left := due - IDLE - time.time()) < 0:
            raise SystemExit(f"storing {waiting:,} events took {-left:.1f} s too long")
        time.sleep(left)
        begun = time.time()
        for child in children:
            assert child.stdin
            child.stdin.write("go\n")
            child.stdin.flush()
        time.sleep(max(0.0, due - time.time()))
        ended = asyncio.run(_drained(str(path), name, due))
        answers = [json.loads(child.communicate()[0]) for child in children]
    samples = [(at, ms) for each in answers for at, ms in each["samples"]]
    return Run(
        idle=summarize(samples, begun + 1, due),
        busy=summarize(samples, due, ended),
        rate=waiting / (ended - due),
        lost=sum(each["lost"] for each in answers),
        tracked=len(samples),
    )


def run(directory: str, waiting: int = WAITING) -> None:
    """Measure and print."""
    rows = []
    with run_stand_in() as stand_in:
        for processes in PROCESSES:
            path = Path(directory, f"backlog-{processes}.db")
            rows.append(_describe(processes, measure(path, stand_in.url, processes, waiting)))
    print_table(
        f"`track()` on one SQLite file while {waiting:,} older events are drained",
        (
            "Processes",
            "p50 ms, idle",
            "p99 ms, idle",
            "p50 ms",
            "p99 ms",
            "worst ms",
            "p50 ÷ idle",
            "p99 ÷ idle",
            "drained/s",
            "lost",
        ),
        rows,
    )


def _describe(processes: int, found: Run) -> tuple[str, ...]:
    idle, busy = found.idle, found.busy
    p50, p99 = busy.p50 / idle.p50, busy.p99 / idle.p99
    return (
        str(processes),
        f"{idle.p50:.1f}",
        f"{idle.p99:.1f}",
        f"{busy.p50:.1f}",
        f"{busy.p99:.1f}",
        f"{busy.worst:.0f}",
        f"{p50:.2f} ({judge(p50, P50_BUDGET, at_most=True)})",
        f"{p99:.2f} ({judge(p99, P99_BUDGET, at_most=True)})",
        f"{found.rate:,.0f}",
        f"{found.lost} of {found.tracked:,}",
    )


if __name__ == "__main__":
    asyncio.run(_track(sys.argv[1], sys.argv[2], float(sys.argv[3])))
