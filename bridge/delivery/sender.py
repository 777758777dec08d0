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

from bridge.delivery.exchange import TIMEOUT
from bridge.delivery.lane import LEASE, Lane
from bridge.delivery.metrics import Metrics
from bridge.delivery.orphans import EXPLANATION, bury_orphans, describe_orphans, find_orphans
from bridge.destinations.base import Destination
from bridge.errors import ConfigError, OutboxError
from bridge.outbox.base import Outbox

CONCURRENCY = 4  # requests in flight to one destination
MAX_CONCURRENCY = 64
KEEPALIVE = 30.0  # seconds an idle connection is kept
REFRESH = 10.0  # seconds between counts of the outbox, while somebody may read them
SWEEP = 600.0  # seconds between looks for deliveries that nobody here delivers

__all__ = ["CONCURRENCY", "LEASE", "Sender"]

logger = logging.getLogger("bridge.delivery")


@cache
def _read_certificates() -> ssl.SSLContext:
    """Return the system's trust; read when a bridge is built, not on the event loop."""
    return httpx.create_ssl_context()


class Sender:
    """Delivers what stands in an outbox.

    Args:
        outbox: Where deliveries wait.
        destinations: Where they go; deliveries of other names are told of once in the log, and
            buried when they are too old.
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
        self._watching: list[asyncio.Task[None]] = []
        self._orphans: set[str] = set()  # names told of
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
        watches = [self._sweep()]
        if self.metrics.is_published:
            watches.append(self._gauge())
        self._watching = [
            asyncio.create_task(each, context=contextvars.Context()) for each in watches
        ]

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
        watching, self._watching = self._watching, []
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
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

    async def _sweep(self) -> None:
        """Look now and then for deliveries whose destination is not configured."""
        while True:
            try:
                await self._tell_orphans()
            except OutboxError as error:
                logger.debug("cannot look for orphans: %s", error)
            except Exception:
                logger.exception("cannot look for orphans")
            await asyncio.sleep(SWEEP)

    async def _tell_orphans(self) -> None:
        """Log which names are new among the orphans, and bury what is too old."""
        now = time.time()
        names = [destination.name for destination in self._destinations]
        orphans = find_orphans(await self._outbox.count(now), names)
        if told := {name: orphans[name] for name in orphans if name not in self._orphans}:
            logger.warning(
                "sender: events wait, %s, and %s here; configure it again, or they become dead"
                " letters when they are too old",
                describe_orphans(told),
                EXPLANATION,
            )
        self._orphans = set(orphans)
        buried = await bury_orphans(self._outbox, orphans, now)
        if buried:
            logger.error("sender: %d are dead letters: too old, %s", buried, EXPLANATION)
