"""One kill run: orders come in, processes die, and at the end every order must be somewhere.

Order by order. Clients place orders side by side; what is answered 200 is accepted. An order that
got no answer is placed again under the same id, or given up, by chance. At random moments one or
several processes are killed with SIGKILL and started again, and the database server too where there
is one. Then the orders stop, the leases of the dead run out, and what was accepted is looked for
among what the sandbox received and among the dead letters.

``run_outages`` does so around a spool: the server is away for longer than ``track()`` tries, and
the processes die while the spool holds orders, and again while it moves them back.
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
from bridge.delivery.spool import Spool
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
HELD = (100, 300)  # orders that the spool gets before processes are killed; it moves 100 at once
SPOOL_DEADLINE = 60.0  # seconds until orders are spooled, or move back
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
        quiet: Ids that no kill can have doubled: settled before the first one, or spooled in an
            outage through which no process was killed.
        spooled: Ids that were accepted because the spool took them.
        held: Kills that left orders in the spool while the server was away.
        moving: Kills that left orders in the spool when it had begun to move them back.
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
    spooled: set[str] = field(default_factory=set)
    held: int = 0
    moving: int = 0

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
        if answer.json()["outcome"] == "spooled":
            self._result.spooled.add(order)
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


async def run_outages(site: Site, *, rounds: int, seed: int, server: Killable) -> Result:
    """Return what became of the orders of ``rounds`` outages, after one without a process's death.

    The processes of ``site`` run, and their spool is empty.
    """
    dice = random.Random(seed)
    result = Result(seed)
    spool = Spool(site.spool, open_outbox(site.outbox_url))
    victims = _choose_victims(site, dice)
    try:
        async with taking_orders(site, result), _outage(server, result):
            await _fill(spool, dice, "a spool that holds orders")
        result.quiet |= result.spooled
        async with taking_orders(site, result, late=LATE):
            for chosen in islice(victims, rounds):
                async with _outage(server, result):
                    await _fill(spool, dice, "a spool that holds orders")
                    result.held += await _kill_beside(spool, chosen, dice, result)
                    held = await _fill(spool, dice, "a spool that holds more")

                async def moves(most: int = held) -> bool:
                    return await spool.count() < most

                await poll(moves, "a spool that moves", seconds=SPOOL_DEADLINE)
                result.moving += await _kill_beside(spool, chosen, dice, result)
    finally:
        await spool.close()
    return result


@asynccontextmanager
async def _outage(server: Killable, result: Result) -> AsyncIterator[None]:
    """The server is killed, and started again afterwards."""
    server.kill()
    result.kills += 1
    result.server_kills += 1
    try:
        yield
    finally:
        await asyncio.to_thread(server.start)


async def _fill(spool: Spool, dice: random.Random, what: str) -> int:
    """Wait until some more orders are in the spool; return how many are."""
    wanted = await spool.count() + dice.randint(*HELD)

    async def is_full() -> bool:
        return await spool.count() >= wanted

    await poll(is_full, what, seconds=SPOOL_DEADLINE)
    return await spool.count()


async def _kill_beside(
    spool: Spool, victims: Sequence[Killable], dice: random.Random, result: Result
) -> int:
    """Kill ``victims``; return how many kills left orders in the spool."""
    for victim in victims:
        victim.kill()
    result.kills += len(victims)
    left = await spool.count()
    await _start_again(victims, dice)
    return len(victims) if left else 0


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
    await _start_again(victims, dice)


async def _start_again(victims: Sequence[Killable], dice: random.Random) -> None:
    await asyncio.sleep(dice.uniform(0, 0.3))
    await asyncio.gather(*(asyncio.to_thread(victim.start) for victim in victims))


async def _drain(site: Site, result: Result) -> None:
    """Wait until nothing waits in spool and outbox, and read what became of everything."""
    outbox = open_outbox(site.outbox_url)
    spool = Spool(site.spool, outbox)

    async def empty() -> bool:
        try:
            # The spool first: what leaves it is in the outbox by then.
            waiting = await spool.count()
            counts = await outbox.count(time.time(), with_delivered=True)
        except OutboxError:
            return False
        return not (waiting or any(count.waiting for count in counts.values()))

    try:
        await poll(empty, "an empty outbox", seconds=DRAIN_DEADLINE)
        dead: set[str] = set()
        while page := await outbox.list_dead(limit=1000, offset=len(dead)):
            dead |= {letter.delivery.event_id for letter in page}
    finally:
        await spool.close()
        await outbox.close()
    result.dead = dead
    notebook = await site.recorder.read()
    result.arrivals = {
        order: arrivals
        for order, arrivals in notebook.arrivals.items()
        if f"-{result.seed}-" in order
    }
