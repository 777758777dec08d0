"""The lanes of one sender: each with the task that runs it, all with the same HTTP clients.

A client has as many connections as all lanes together may use, so that an outage of one destination
delays no other. Where lanes share fewer places than they could use, they take turns,
first come, first served: whoever has a huge import asks for a few at a time, and queues up again
behind the others.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import cycle

import httpx

from bridge.delivery.exchange import hide_requests
from bridge.delivery.lane import Lane
from bridge.delivery.metrics import Metrics
from bridge.destinations.base import Destination
from bridge.figures.counter import FigureCounter
from bridge.outbox.base import Circuit, Outbox


class Lanes:
    """Runs lanes by the names of their destinations.

    Args:
        outbox: Where deliveries wait.
        metrics: Where lanes count what becomes of deliveries.
        figures: The same by day and event name.
        concurrency: How many requests to one destination may be in flight.
        names: All that this process leads.
        places: How many requests of all lanes together may be in flight.
        end_when_idle: Whether a lane ends when nothing waits for its destination any more.

    Attributes:
        slots: The places; each is taken by one claim.
    """

    def __init__(
        self,
        outbox: Outbox,
        metrics: Metrics,
        figures: FigureCounter,
        *,
        concurrency: int,
        names: Sequence[str],
        places: int,
        end_when_idle: bool,
    ) -> None:
        self._outbox = outbox
        self._metrics = metrics
        self._figures = figures
        self._concurrency = concurrency
        self._names = names
        self._places = places
        self._end_when_idle = end_when_idle
        self._running: dict[str, tuple[Lane, asyncio.Task[None]]] = {}
        self._clients: Sequence[httpx.AsyncClient] = ()
        self._turns: Iterator[httpx.AsyncClient] = iter(())
        self.slots = asyncio.Semaphore(places)

    @property
    def is_open(self) -> bool:
        """Whether lanes can be started."""
        return bool(self._clients)

    def open(self, clients: Sequence[httpx.AsyncClient]) -> None:
        """Use ``clients`` from now on, on the running event loop, each for some of the lanes."""
        # Lanes of another loop, if one ended without a stop, are no use here.
        self._running, self._clients, self._turns = {}, clients, cycle(clients)
        self.slots = asyncio.Semaphore(self._places)

    def start(
        self, destination: Destination, circuits: Mapping[str, Circuit] | None = None
    ) -> None:
        """Start the lane of ``destination``; nothing while they are not open.

        Args:
            destination: Where it delivers.
            circuits: The saved circuits, if they were read already.
        """
        if not self._clients:
            return
        hide_requests([destination.build_request([], 0.0).url])
        lane = Lane(
            self._outbox,
            destination,
            self._metrics,
            self._figures,
            self._concurrency,
            self._names,
            slots=self.slots,
            ends_when_idle=self._end_when_idle,
            circuits=circuits,
        )
        # An empty context: a request may be what starts the sender, and its visitor must not be
        # that of a task that outlives it.
        task = asyncio.create_task(lane.run(next(self._turns)), context=contextvars.Context())
        self._running[destination.name] = lane, task
        task.add_done_callback(lambda done: self._forget(destination.name, done))

    def _forget(self, name: str, task: asyncio.Task[None]) -> None:
        if self._running.get(name, (None, None))[1] is task:
            del self._running[name]

    def count(self) -> int:
        """Return how many lanes there are."""
        return len(self._running)

    def list_living(self) -> dict[str, Lane]:
        """Return the lanes that have not ended, by name, the oldest first."""
        return {name: lane for name, (lane, task) in self._running.items() if not task.done()}

    def find(self, name: str) -> Lane | None:
        """Return the lane of ``name``, if there is one that has not ended."""
        lane, task = self._running.get(name, (None, None))
        return None if task is None or task.done() else lane

    def adopt(self, destinations: Iterable[Destination]) -> None:
        """Take up other settings of destinations, such as a new token."""
        for each in destinations:
            if lane := self.find(each.name):
                lane.adopt(each)

    async def stop(self, deadline: float) -> None:
        """Have each lane deliver what is due, for at most ``deadline`` seconds, and end all."""
        tasks = [task for _, task in self._running.values()]
        for lane, _ in self._running.values():
            lane.is_stopping = True
            lane.woken.set()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=max(0.0, deadline))
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._running = {}
        clients, self._clients = self._clients, ()
        for client in clients:
            await client.aclose()
