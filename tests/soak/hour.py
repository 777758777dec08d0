"""An hour of a shop's requests at real speed, with Meta away for its middle third.

The shop is a uvicorn process with its outbox and sender; Meta's stand-in is another and answers
after 100 ms. From a third of the time on it answers 503, then refuses connections, then answers
503 again, and works from two thirds on. Of its twelve slices the first warms the shop up, the next
three are what the outage's and the last three are compared with.

"Late" is how late this process itself was: as late as everything that others keep from running.

Exit code 1: memory, descriptors or latency were not flat; a request failed; or something that the
shop had accepted did not arrive once, and is no dead letter.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import time
from array import array
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import httpx

from bridge import OutboxError
from bridge.outbox import open_outbox
from bridge.outbox.base import Outbox
from tests.factories import SECRET
from tests.kills.engines import running_engine
from tests.kills.processes import PIXEL_ID, Process
from tests.servers import find_free_port, poll
from tests.soak.report import judge, pick, say
from tests.soak.traffic import VISIT_SECONDS, Traffic

SLICES = 12
DOWN, UP = 4, 8  # slices in which Meta goes away, and comes back
STEADY, OUTAGE, LAST = slice(1, DOWN), slice(DOWN, UP), slice(SLICES - 3, SLICES)
DELAY = 0.1  # seconds after which Meta answers
SAMPLES = 30  # of a slice
DRAIN_DEADLINE = 300.0  # seconds for what waits when the traffic ends
SETTLE = 2.0  # seconds after which Meta's stand-in has answered what was under way
QUIET = ["--log-level", "warning", "--no-access-log"]
HEAD = (
    "| Slice | Meta | Requests | p50 ms | p99 ms | max ms | late p99 ms | RSS MB | Descriptors"
    " | CPU % | Waiting | Outbox MB |\n|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
)


class Sample(NamedTuple):
    """The shop's process at one moment.

    Attributes:
        memory: Resident bytes.
        descriptors: Open ones.
        seconds: Of processor time since its start.
        waiting: Deliveries in the outbox; -1 if it could not be read.
    """

    memory: int
    descriptors: int
    seconds: float
    waiting: int


@dataclass
class Slice:
    """A twelfth of the time.

    Attributes:
        times: Seconds from the moment planned to the answer, of each request.
        late: How many of them passed before it was sent.
        samples: In the order of time.
        stored_bytes: Of the outbox's files at its end.
    """

    times: array[float] = field(default_factory=lambda: array("d"))
    late: array[float] = field(default_factory=lambda: array("d"))
    samples: list[Sample] = field(default_factory=list)
    stored_bytes: int = 0

    def find_ms(self, share: float) -> float:
        return 1000 * pick(sorted(self.times), share)

    def find_memory(self) -> float:
        return statistics.median(each.memory for each in self.samples)

    def find_descriptors(self) -> float:
        return statistics.median(each.descriptors for each in self.samples)


class Meta:
    """Meta's stand-in, in trouble when told; ``times`` says how often each event came."""

    def __init__(self, folder: Path, events: int) -> None:
        port = find_free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.times = bytearray(events)
        self.refused = 0  # requests answered with 503
        args = ["uvicorn", "tests.soak.stand_in:build_app", "--factory", "--port", str(port)]
        environ = {"SOAK_EVENTS": str(events), "SOAK_DELAY": str(DELAY)}
        self._process = Process([*args, *QUIET], folder / "meta.log", environ, port)

    async def start(self) -> None:
        """Listen, and answer 503."""
        await asyncio.to_thread(self._process.start)

    async def switch(self, state: str) -> None:
        """Be ``up``, or ``down``: answer 503."""
        async with httpx.AsyncClient(base_url=self.url) as client:
            await client.post(f"/{state}")

    async def stop(self) -> None:
        """Note what came, and refuse connections; nothing may be under way."""
        async with httpx.AsyncClient(base_url=self.url, timeout=60) as client:
            came = (await client.get("/times")).content
            self.refused += (await client.get("/tally")).json()["refused"]
        self.times = bytearray(map(sum, zip(self.times, came, strict=True)))
        self._process.kill()

    def kill(self) -> None:
        self._process.kill()


class Hour:
    """The run.

    Args:
        shop: The shop's process.
        meta: Where it sends to.
        outbox: The shop's, read from here.
        folder: Where the outbox's file is, if it is one.
        seconds: How long it takes.
    """

    def __init__(
        self, shop: Process, meta: Meta, outbox: Outbox, folder: Path, seconds: float
    ) -> None:
        self.slices = [Slice() for _ in range(SLICES)]
        self.length = seconds / SLICES  # seconds of one slice
        self.begin = asyncio.get_running_loop().time() + VISIT_SECONDS
        self._shop, self._meta, self._outbox, self._folder = shop, meta, outbox, folder

    def note(self, due: float, took: float, late: float) -> None:
        """Note a request that was due at ``due``; before and after the hour none counts."""
        place = int((due - self.begin) // self.length)
        if 0 <= place < SLICES:
            self.slices[place].times.append(took)
            self.slices[place].late.append(late)

    async def watch(self) -> None:
        """Sample the shop until the end, and print each slice."""
        loop = asyncio.get_running_loop()
        say(HEAD)
        for number, part in enumerate(self.slices):
            for step in range(SAMPLES):
                due = self.begin + (number + (step + 1) / SAMPLES) * self.length
                await asyncio.sleep(due - loop.time())
                part.samples.append(await self._sample())
            files = self._folder.glob("bridge.db*")
            part.stored_bytes = sum(path.stat().st_size for path in files)
            self._print(number, part)

    async def _sample(self) -> Sample:
        process = Path(f"/proc/{self._shop.pid}")
        ran = (process / "stat").read_text().rpartition(")")[2].split()
        return Sample(
            int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
            len(os.listdir(process / "fd")),
            (int(ran[11]) + int(ran[12])) / os.sysconf("SC_CLK_TCK"),
            await self.count_waiting(),
        )

    async def count_waiting(self) -> int:
        try:
            counts = await self._outbox.count(time.time())
        except OutboxError:
            return -1
        return sum(each.waiting for each in counts.values())

    async def trouble(self) -> None:
        """Take Meta away for the middle third: half of it connections are refused."""
        loop = asyncio.get_running_loop()
        for place, act in (
            (DOWN, self._fall),
            ((DOWN + UP) / 2, self._meta.start),
            (UP, self._rise),
        ):
            await asyncio.sleep(self.begin + place * self.length - loop.time())
            await act()

    async def _fall(self) -> None:
        await self._meta.switch("down")
        await asyncio.sleep(SETTLE)
        await self._meta.stop()

    async def _rise(self) -> None:
        await self._meta.switch("up")

    async def drain(self) -> float:
        """Return the seconds until nothing waits any more; the deadline's if something does."""
        began = time.monotonic()
        with suppress(AssertionError):  # what is missing is told by number
            await poll(self._is_empty, seconds=DRAIN_DEADLINE)
        return time.monotonic() - began

    async def _is_empty(self) -> bool:
        return await self.count_waiting() == 0

    async def list_dead(self) -> set[str]:
        dead: set[str] = set()
        while page := await self._outbox.list_dead(limit=1000, offset=len(dead)):
            dead |= {letter.delivery.event_id for letter in page}
        return dead

    def _print(self, number: int, part: Slice) -> None:
        before = self.slices[number - 1].samples[-1] if number else part.samples[0]
        share = (part.samples[-1].seconds - before.seconds) / self.length
        cells = [
            str(number + 1),
            "works" if not DOWN <= number < UP else ("refuses", "503")[number >= (DOWN + UP) // 2],
            str(len(part.times)),
            *(f"{part.find_ms(quantile):.1f}" for quantile in (0.5, 0.99, 1)),
            f"{1000 * pick(sorted(part.late), 0.99):.1f}",
            f"{part.find_memory() / 1e6:.1f}",
            f"{part.find_descriptors():.0f}",
            f"{100 * share:.0f}",
            str(max(each.waiting for each in part.samples)),
            f"{part.stored_bytes / 1e6:.0f}",
        ]
        say(f"| {' | '.join(cells)} |")

    def compare(self) -> list[tuple[str, str, float]]:
        """Return the ratios that must be flat: outage and end against the beginning."""
        measures: dict[str, Callable[[Slice], float]] = {
            "memory": Slice.find_memory,
            "descriptors": Slice.find_descriptors,
            "latency": lambda part: part.find_ms(0.5),
            "tail": lambda part: part.find_ms(0.99),
        }
        names = {"latency": "p50", "tail": "p99"}
        ratios = []
        for kind, measure in measures.items():
            steady, outage, last = (
                statistics.median(map(measure, self.slices[part]))
                for part in (STEADY, OUTAGE, LAST)
            )
            name = names.get(kind, kind)
            ratios.append((kind, f"{name}, outage ÷ before", outage / steady))
            ratios.append((kind, f"{name}, last three ÷ before", last / steady))
        return ratios


async def soak(minutes: float, rate: float, engine: str, seed: int, folder: Path) -> int:
    """Run it, print the table, and return the exit code."""
    seconds = 60 * minutes
    events = int(rate * (seconds + 3 * VISIT_SECONDS))
    meta = Meta(folder, events)
    with running_engine(engine, folder) as (url, _):
        port = find_free_port()
        settings = {
            "BRIDGE_PIXEL_ID": PIXEL_ID,
            "BRIDGE_ACCESS_TOKEN": "sandbox-token",
            "BRIDGE_SECRET_KEY": SECRET,
            "BRIDGE_GRAPH_URL": meta.url,
            "BRIDGE_OUTBOX_URL": url,
            "BRIDGE_SPOOL": str(folder / "spool.db"),
        }
        # Kept alive as behind a proxy; uvicorn's own five seconds would end in a visitor's pauses.
        web = ["uvicorn", "tests.soak.shop:app", "--port", str(port), "--timeout-keep-alive", "60"]
        shop = Process([*web, *QUIET], folder / "shop.log", settings, port)
        outbox = open_outbox(url)
        try:
            await meta.start()
            await meta.switch("up")
            await asyncio.to_thread(shop.start)
            hour = Hour(shop, meta, outbox, folder, seconds)
            traffic = Traffic(port, rate, events, hour.note, random.Random(seed))
            loop = asyncio.get_running_loop()
            async with asyncio.TaskGroup() as group:
                group.create_task(traffic.run(loop.time(), hour.begin + seconds))
                group.create_task(hour.watch())
                group.create_task(hour.trouble())
            drained = await hour.drain()
            dead = await hour.list_dead()
            await meta.stop()
        finally:
            shop.kill()
            meta.kill()
            await outbox.close()
    return int(not _conclude(hour, traffic, meta, dead, drained, shop.log.read_text()))


def _conclude(
    hour: Hour, traffic: Traffic, meta: Meta, dead: set[str], drained: float, log: str
) -> bool:
    """Print what became of everything; return whether all is well."""
    came, accepted = meta.times, traffic.accepted
    missing = sum(
        had and not times and f"soak-{number}" not in dead
        for number, (had, times) in enumerate(zip(accepted, came, strict=True))
    )
    twice = sum(times > 1 for times in came)
    backlog = max(each.waiting for part in hour.slices for each in part.samples)
    say(
        f"\nAccepted {sum(accepted)}, received {len(came) - came.count(0)}, dead {len(dead)},"
        f" missing {missing}, received twice {twice}. Most that waited: {backlog};"
        f" answered 503 by Meta: {meta.refused}. Empty {drained:.0f} s after the traffic."
    )
    say(f"Requests that failed: {traffic.failures or 'none'}.")
    say(f"Lines of the shop's log: {len(log.splitlines())}; the last: {_cut(log.splitlines())}\n")
    is_flat = judge(hour.compare())
    # A soak without traffic, or without an outage, would find nothing.
    was_hard = sum(accepted) > len(accepted) / 4 and backlog > 1000 and meta.refused > 0
    if not was_hard:
        say("NOT A SOAK: too few events, or no outage")
    return is_flat and was_hard and not (missing or twice or traffic.failures)


def _cut(lines: Sequence[str]) -> str:
    return lines[-1][:200] if lines else "none"
