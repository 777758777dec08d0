"""The ceiling of each engine: events a second that a machine tracks and delivers, end to end.

App processes share one outbox, each with a sender of its own, as the machines of a fleet do. They
track as fast as they can and hold back while too many events wait, so that what is tracked is
delivered: a steady state, not a growing backlog. The stand-in of Meta answers after 100 ms. All of
it, the engine's server too, shares this machine's processors.

``python -m benchmarks.ceilings OUTBOX META BOARD PLACE`` is one of the processes. It prints a line
when it is ready, begins when it reads one, and ends when its input ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import mmap
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.engines import CLUSTER, POSTGRES, REDIS, SQLITE, run_server
from benchmarks.loop import new_loop
from benchmarks.report import divide, print_table, show, summarize
from benchmarks.stand_in import run_stand_in
from benchmarks.turns import take_turns
from bridge.errors import ConfigError

ENGINES = (SQLITE, POSTGRES, REDIS, CLUSTER)
PROCESSES = (1, 2, 4, 8)
ROUNDS = 3
ANSWER = 0.1  # seconds after which Meta's stand-in answers
TASKS = 64  # of one process, each of which tracks one event after the other
WAITING = 10_000  # events of all processes, tracked and not delivered, beyond which they hold back
WARM_UP, WINDOW = 4.0, 6.0  # seconds
HOLD = 0.005  # seconds


class Tally(NamedTuple):
    """What one process has done since it began, or all of them.

    Attributes:
        tracked, delivered: Events.
        lost: Events that no outbox took.
        busy: Seconds of processor time.
    """

    tracked: float = 0.0
    delivered: float = 0.0
    lost: float = 0.0
    busy: float = 0.0


class Board:
    """A file in which each process notes its tally, and reads those of all.

    Args:
        path: The file.
        places: How many processes there are, if the file is to be made anew.
    """

    _ROW = struct.Struct("4d")

    def __init__(self, path: Path, places: int = 0) -> None:
        if places:
            path.write_bytes(bytes(self._ROW.size * places))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)

    def note(self, place: int, tally: Tally) -> None:
        """Replace the tally at ``place``."""
        self._ROW.pack_into(self._map, place * self._ROW.size, *tally)

    def read(self) -> Tally:
        """Return the sums over all processes."""
        return Tally(*map(sum, zip(*self._ROW.iter_unpack(self._map), strict=True)))


class Run(NamedTuple):
    """What was measured of some processes.

    Attributes:
        tracked, delivered: Events a second.
        cost: Microseconds of the app processes' processor time for an event.
    """

    tracked: float
    delivered: float
    cost: float


async def _track(outbox: str, meta: str, board: Board, place: int) -> None:
    """Be one of the processes."""
    from benchmarks.peers import SECRET
    from benchmarks.purchase import BUYER, PIXEL_ID, PROPERTIES, build_visitor
    from bridge import Bridge
    from bridge.destinations import Meta
    from bridge.events.event import UserData
    from bridge.events.user_data import read_user_data

    destination = Meta(PIXEL_ID, "none", graph_url=meta)
    bridge = Bridge(SECRET, [destination], outbox=outbox, spool=None)
    visitor = build_visitor(bridge, UserData(**read_user_data(BUYER)))
    bridge.start()
    await bridge.track("Purchase", PROPERTIES, visitor=visitor)  # whatever is made on first use
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    ended = asyncio.ensure_future(asyncio.to_thread(sys.stdin.readline))
    done = 0

    async def repeat() -> None:
        nonlocal done
        while not ended.done():
            if is_full:
                await asyncio.sleep(HOLD)
                continue
            await bridge.track("Purchase", PROPERTIES, visitor=visitor)
            done += 1

    is_full = False
    tasks = [asyncio.create_task(repeat()) for _ in range(TASKS)]
    while not ended.done():
        totals = bridge.counters
        board.note(place, Tally(done, totals["delivered"], totals["lost"], time.process_time()))
        now = board.read()
        is_full = now.tracked - now.delivered > WAITING
        await asyncio.wait({ended}, timeout=HOLD)
    await asyncio.gather(*tasks)
    await bridge.stop(deadline=0)


@contextlib.contextmanager
def _open(engine: str, directory: str, name: str) -> Iterator[str]:
    """An empty outbox; on a server engine, with a server of its own."""
    if engine == SQLITE:
        yield f"sqlite:///{directory}/{name}.db"
    else:
        with run_server(engine) as url:
            yield url


def measure(outbox: str, meta: str, board_path: Path, processes: int) -> Run:
    """Have ``processes`` track into ``outbox``, an URL, and deliver to ``meta``."""
    board = Board(board_path, processes)
    command = [sys.executable, "-m", "benchmarks.ceilings", outbox, meta, str(board_path)]
    with contextlib.ExitStack() as stack:
        children = []
        for place in range(processes):
            child = subprocess.Popen(
                [*command, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            stack.callback(child.kill)
            children.append(child)
            assert child.stdout
            if not child.stdout.readline():
                raise SystemExit("a process ended before it was ready")
        for child in children:
            assert child.stdin
            child.stdin.write("go\n")
            child.stdin.flush()
        time.sleep(WARM_UP)
        before, began = board.read(), time.monotonic()
        time.sleep(WINDOW)
        after, took = board.read(), time.monotonic() - began
        for child in children:
            child.communicate()
    if after.lost:
        raise SystemExit(f"{outbox.partition(':')[0]}: {after.lost:.0f} events were lost")
    tracked, delivered = after.tracked - before.tracked, after.delivered - before.delivered
    cost = 1e6 * (after.busy - before.busy) / max(1.0, delivered)
    return Run(tracked / took, delivered / took, cost)


def _find_engines() -> list[str]:
    """Return the engines that can be measured here."""
    found = [SQLITE]
    for engine in ENGINES[1:]:
        try:
            with run_server(engine):
                found.append(engine)
        except (ConfigError, ImportError, RuntimeError) as error:
            print(f"{engine} is left out: {error}; see scripts/install", file=sys.stderr)
    return found


def run(directory: str, rounds: int = ROUNDS) -> None:
    """Measure and print."""
    engines, names = _find_engines(), itertools.count()
    rows = []
    with run_stand_in(ANSWER) as stand_in:

        def work(engine: str, processes: int) -> Run:
            name = str(next(names))
            with _open(engine, directory, name) as url:
                return measure(url, stand_in.url, Path(directory, f"{name}.board"), processes)

        for processes in PROCESSES:
            slices = {each: lambda each=each: work(each, processes) for each in engines}  # noqa: B023
            runs = take_turns(slices, rounds, warm_up=0)
            rows += _describe(processes, runs)
    print_table(
        f"Tracked and delivered, a steady state; Meta answers after {1000 * ANSWER:.0f} ms",
        ("Outbox", "Processes", "Tracked/s", "Delivered/s", "÷ SQLite", "app µs an event"),
        rows,
    )


def _describe(processes: int, runs: dict[str, list[Run]]) -> list[tuple[str, ...]]:
    rates = {engine: [each.delivered for each in found] for engine, found in runs.items()}
    return [
        (
            engine,
            str(processes),
            f"{statistics.median(each.tracked for each in found):,.0f}",
            show(summarize(rates[engine]), ",.0f"),
            show(divide(rates[engine], rates[SQLITE])),
            f"{statistics.median(each.cost for each in found):,.0f}",
        )
        for engine, found in runs.items()
    ]


if __name__ == "__main__":
    _, outbox, meta, path, place = sys.argv
    logging.basicConfig(level=logging.ERROR)  # that deliveries are left at the end is no news
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(_track(outbox, meta, Board(Path(path)), int(place)))
