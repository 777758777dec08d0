"""The sender: one lane per destination, all on one HTTP client.

Each lane has connections of its own within the client's limit, so that one's outage holds up no
other.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import ssl
import time
from collections import Counter
from collections.abc import Sequence
from functools import cache

import httpx

from bridge.destinations.base import Destination
from bridge.errors import ConfigError, OutboxError
from bridge.exchange import TIMEOUT
from bridge.lanes import LEASE, Lane
from bridge.metrics import Metrics
from bridge.outbox.base import Outbox

CONCURRENCY = 4  # requests in flight to one destination
MAX_CONCURRENCY = 64
KEEPALIVE = 30.0  # seconds an idle connection is kept
REFRESH = 10.0  # seconds between counts of the outbox, while somebody may read them

__all__ = ["CONCURRENCY", "LEASE", "Sender"]

logger = logging.getLogger("bridge.sender")


@cache
def _read_certificates() -> ssl.SSLContext:
    """Return the system's trust; read when a bridge is built, not on the event loop."""
    return httpx.create_ssl_context()


class Sender:
    """Delivers what stands in an outbox.

    Args:
        outbox: Where deliveries wait.
        destinations: Where they go; deliveries of other names are left alone.
        metrics: Where it is counted; its own by default.
        concurrency: Requests in flight to one destination at most.

    Raises:
        ConfigError: ``concurrency`` is not 1 to 64.
    """

    def __init__(
        self,
        outbox: Outbox,
        destinations: Sequence[Destination],
        *,
        metrics: Metrics | None = None,
        concurrency: int = CONCURRENCY,
    ) -> None:
        if not 1 <= concurrency <= MAX_CONCURRENCY:
            raise ConfigError(f"concurrency must be 1 to {MAX_CONCURRENCY}, got {concurrency}")
        names = [destination.name for destination in destinations]
        self.metrics = Metrics(names) if metrics is None else metrics
        self._outbox = outbox
        self._destinations = tuple(destinations)
        self._concurrency = concurrency
        self._lanes: list[Lane] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._gauging: asyncio.Task[None] | None = None
        self._client: httpx.AsyncClient | None = None
        self._certificates = _read_certificates()

    @property
    def counters(self) -> Counter[str]:
        """What was counted over all destinations, by kind: a key of ``metrics.COUNTERS``."""
        return self.metrics.total()

    def start(self) -> None:
        """Begin to deliver, on the running event loop."""
        self._lanes = [
            Lane(self._outbox, each, self.metrics, self._concurrency) for each in self._destinations
        ]
        places = self._concurrency * len(self._lanes)
        limits = httpx.Limits(
            max_connections=places,
            max_keepalive_connections=places,
            keepalive_expiry=KEEPALIVE,
        )
        client = self._client = httpx.AsyncClient(
            timeout=TIMEOUT, limits=limits, follow_redirects=False, verify=self._certificates
        )
        # A context of its own: the first request may be what starts the sender.
        self._tasks = [
            asyncio.create_task(lane.run(client), context=contextvars.Context())
            for lane in self._lanes
        ]
        self.metrics.publish()
        if self.metrics.is_published:
            self._gauging = asyncio.create_task(self._gauge(), context=contextvars.Context())

    def wake(self) -> None:
        """Look at the outbox now: something was stored or released."""
        for lane in self._lanes:
            lane.woken.set()

    async def stop(self, deadline: float) -> None:
        """Deliver what is due, for at most ``deadline`` seconds; the rest stays in the outbox.

        What was claimed and not settled by then is due at once, for the next process.
        """
        for lane in self._lanes:
            lane.is_stopping = True
        self.wake()
        tasks, self._tasks = self._tasks, []
        if self._gauging is not None:
            self._gauging.cancel()
            await asyncio.gather(self._gauging, return_exceptions=True)
            self._gauging = None
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=deadline)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._lanes = []
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _gauge(self) -> None:
        """Count the outbox now and then, for the gauges."""
        while True:
            now = time.time()
            try:
                self.metrics.set_depths(await self._outbox.count(now), now)
            except OutboxError as error:
                logger.debug("cannot count the outbox: %s", error)
            except Exception:
                logger.exception("cannot count the outbox")
            await asyncio.sleep(REFRESH)
