"""One kill run: orders come in, processes die, and at the end every order must be somewhere.

Order by order. Clients place orders side by side; what is answered 200 is accepted. An order that
got no answer is placed again under the same id, or given up, by chance. At random moments one or
several processes are killed with SIGKILL and started again, and the database server too where there
is one. Then the orders stop, the leases of the dead run out, and what was accepted is looked for
among what the sandbox received and among the dead letters.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

import httpx

from bridge import OutboxError
from bridge.outbox import open_outbox
from tests.factories import NAVIGATION
from tests.kills.processes import Site
from tests.kills.recorder import Arrival
from tests.servers import DEADLINE, poll

CLIENTS = 8
MAX_PAUSE = 0.06  # seconds between two orders of one client
LATE = 0.05  # share of orders that are almost too old
AGAIN = 0.6  # share of unanswered orders that are placed once more
LIFE = (0.1, 1.0)  # seconds from when all run until the next kill
QUIET = 20  # orders accepted before the first kill
SERVER_EVERY = 3  # rounds, in the first of which the database server is killed, if there is one
DRAIN_DEADLINE = 300.0  # seconds; the lease is 30


class Killable(Protocol):
    """A process, or a database server with all of its own."""

    def kill(self) -> None: ...
    def start(self) -> None: ...


@dataclass
class Result:
    """What became of the orders of one run.

    Attributes:
        seed: The seed of its random choices.
        kills: SIGKILLs, of whatever process.
        server_kills: Of these, the database server's.
        accepted: Ids answered with 200.
        placed: Orders placed, however often each.
        refused: Placings answered with 503, or not answered.
        dead: Ids among the dead letters.
        arrivals: By id, each time the sandbox accepted it.
        quiet: Ids accepted and settled before the first kill.
    """

    seed: int
    kills: int = 0
    server_kills: int = 0
    placed: int = 0
    refused: int = 0
    accepted: set[str] = field(default_factory=set)
    dead: set[str] = field(default_factory=set)
    arrivals: dict[str, list[Arrival]] = field(default_factory=dict)
    quiet: set[str] = field(default_factory=set)

    @property
    def missing(self) -> set[str]:
        """Accepted, and neither received nor dead: lost."""
        return self.accepted - self.arrivals.keys() - self.dead

    @property
    def twice(self) -> set[str]:
        """Received more than once."""
        return {each for each, arrivals in self.arrivals.items() if len(arrivals) > 1}

    @property
    def changed(self) -> set[str]:
        """Received more than once with different bytes."""
        return {
            order
            for order, arrivals in self.arrivals.items()
            if len({arrival.digest for arrival in arrivals}) > 1
        }


class Customers:
    """Clients that place orders side by side, until stopped.

    Args:
        site: Where.
        dice: Decides what each does next.
        result: Where it is noted.
        late: Share of orders so old that they may end as dead letters.
    """

    def __init__(
        self, site: Site, dice: random.Random, result: Result, *, late: float = 0.0
    ) -> None:
        self._late = late
        self._site = site
        self._dice = dice
        self._result = result
        self._closed = asyncio.Event()

    async def run(self) -> None:
        limits = httpx.Limits(max_keepalive_connections=CLIENTS)
        async with httpx.AsyncClient(
            base_url=self._site.url, headers=NAVIGATION, timeout=DEADLINE, limits=limits
        ) as client:
            await asyncio.gather(*(self._shop(client) for _ in range(CLIENTS)))

    def stop(self) -> None:
        self._closed.set()

    async def _shop(self, client: httpx.AsyncClient) -> None:
        while not self._closed.is_set():
            self._result.placed += 1
            kind = "late" if self._dice.random() < self._late else "new"
            await self._insist(client, f"{kind}-{self._result.seed}-{self._result.placed}")
            client.cookies.clear()
            await asyncio.sleep(self._dice.uniform(0, MAX_PAUSE))

    async def _insist(self, client: httpx.AsyncClient, order: str) -> None:
        """Place ``order`` until it is accepted, or given up."""
        while not await self._place(client, order):
            if self._dice.random() > AGAIN:
                return
            await asyncio.sleep(0.05)

    async def _place(self, client: httpx.AsyncClient, order: str) -> bool:
        try:
            answer = await client.post(f"/orders/{order}")
        except httpx.HTTPError:
            self._result.refused += 1
            return False
        if answer.status_code != 200:
            assert answer.status_code == 503, answer.text
            self._result.refused += 1
            return False
        self._result.accepted.add(order)
        return True


async def run_kills(
    site: Site,
    *,
    rounds: int,
    seed: int,
    server: Killable | None = None,
) -> Result:
    """Return what became of the orders of ``rounds`` kills; the processes of ``site`` run."""
    dice = random.Random(seed)
    result = Result(seed)

    async def enough() -> bool:
        return len(result.accepted) >= QUIET

    async with taking_orders(site, result, late=LATE):
        await poll(enough, f"{QUIET} orders")
    result.quiet |= result.accepted
    async with taking_orders(site, result, late=LATE):
        for number, chosen in enumerate(islice(_choose_victims(site, dice), rounds)):
            await asyncio.sleep(dice.uniform(*LIFE))
            if server is not None and number % SERVER_EVERY == 0:
                result.server_kills += 1
                await _kill([server, *dice.choice([chosen, []])], dice, result)
            else:
                await _kill(chosen, dice, result)
    return result


@asynccontextmanager
async def taking_orders(site: Site, result: Result, *, late: float = 0.0) -> AsyncIterator[None]:
    """Orders come in; at the end nothing waits any more, and ``result`` is complete."""
    customers = Customers(site, random.Random(result.seed), result, late=late)
    task = asyncio.create_task(customers.run())
    try:
        yield
    finally:
        customers.stop()
        await task
    await _drain(site, result)


def _choose_victims(site: Site, dice: random.Random) -> Iterator[list[Killable]]:
    """Each process and all of them together, in an order of chance, again and again."""
    processes: list[Killable] = [*site.processes.values()]
    choices = [[process] for process in processes]
    if len(processes) > 1:
        choices.append(processes)
    while True:
        yield from dice.sample(choices, len(choices))


async def _kill(victims: Sequence[Killable], dice: random.Random, result: Result) -> None:
    """Kill ``victims`` at the same moment, and start them again."""
    for victim in victims:
        victim.kill()
    result.kills += len(victims)
    await asyncio.sleep(dice.uniform(0, 0.3))
    await asyncio.gather(*(asyncio.to_thread(victim.start) for victim in victims))


async def _drain(site: Site, result: Result) -> None:
    """Wait until nothing waits in the outbox, and read what became of everything."""
    outbox = open_outbox(site.outbox_url)

    async def empty() -> bool:
        try:
            counts = await outbox.count(time.time(), with_delivered=True)
        except OutboxError:
            return False
        return not any(count.waiting for count in counts.values())

    try:
        await poll(empty, "an empty outbox", seconds=DRAIN_DEADLINE)
        dead: set[str] = set()
        while page := await outbox.list_dead(limit=1000, offset=len(dead)):
            dead |= {letter.delivery.event_id for letter in page}
    finally:
        await outbox.close()
    result.dead = dead
    notebook = await site.recorder.read()
    result.arrivals = {
        order: arrivals
        for order, arrivals in notebook.arrivals.items()
        if f"-{result.seed}-" in order
    }
