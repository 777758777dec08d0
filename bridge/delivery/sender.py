"""The sender: one lane per destination, all on one HTTP client.

The client has as many connections as all lanes together may use, so that an outage of one
destination delays no other.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import cache

import httpx

from bridge.delivery.exchange import TIMEOUT, hide_requests, refuse_cookies
from bridge.delivery.lane import Lane
from bridge.delivery.metrics import Metrics
from bridge.delivery.orphans import EXPLANATION, bury_orphans, describe_orphans, find_orphans
from bridge.destinations.base import Destination
from bridge.errors import ConfigError, OutboxError
from bridge.figures.counter import FigureCounter
from bridge.figures.words import DEAD
from bridge.outbox.base import Outbox

CONCURRENCY = 4  # requests in flight to one destination
MAX_CONCURRENCY = 64
KEEPALIVE = 30.0  # seconds an idle connection is kept
REFRESH = 10.0  # seconds between counts of the outbox, if somebody may read the gauges
START_PAUSE = 10.0  # seconds until a client that could not start is tried again
SWEEP = 600.0  # seconds between searches for orphans and old dead letters
DEAD_LETTER_DAYS = 30.0  # days after which a dead letter is deleted
DROP_AT_ONCE = 1000  # dead letters

# What httpx raises for proxies of the environment: a package is missing, or an address is wrong.
_UNUSABLE = (ImportError, ValueError, TypeError, OSError, httpx.InvalidURL)

logger = logging.getLogger("bridge.delivery")


@cache
def _read_certificates() -> ssl.SSLContext:
    """Return the system's certificates; read when a bridge is built, not on the event loop."""
    return httpx.create_ssl_context()


class Sender:
    """Delivers what waits in an outbox.

    Args:
        outbox: Where deliveries wait.
        destinations: Where they go. Deliveries to other names are logged once, and buried when they
            are too old.
        metrics: Where it counts what becomes of deliveries. New ones by default.
        figures: The same by day and event name. A new one by default.
        concurrency: How many requests to one destination may be in flight.
        dead_letter_days: After how many days a dead letter is deleted.

    Raises:
        ConfigError: ``concurrency`` is not 1 to 64, or ``dead_letter_days`` not above 0.
    """

    def __init__(
        self,
        outbox: Outbox,
        destinations: Sequence[Destination],
        *,
        metrics: Metrics | None = None,
        figures: FigureCounter | None = None,
        concurrency: int = CONCURRENCY,
        dead_letter_days: float = DEAD_LETTER_DAYS,
    ) -> None:
        if not dead_letter_days > 0:
            raise ConfigError(f"dead_letter_days must be above 0, got {dead_letter_days}")
        if not 1 <= concurrency <= MAX_CONCURRENCY:
            raise ConfigError(f"concurrency must be 1 to {MAX_CONCURRENCY}, got {concurrency}")
        names = [destination.name for destination in destinations]
        self.metrics = Metrics(names) if metrics is None else metrics
        self.figures = FigureCounter(outbox) if figures is None else figures
        self._outbox = outbox
        self._destinations = tuple(destinations)
        self._concurrency = concurrency
        self._dead_letter_age = dead_letter_days * 86_400
        self._lanes: list[Lane] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._watching: list[asyncio.Task[None]] = []
        self._orphans: set[str] = set()  # names that were logged
        self._client: httpx.AsyncClient | None = None
        self._certificates = _read_certificates()

    def start(self) -> None:
        """Start to deliver, on the running event loop.

        If that fails, it is logged and tried again until it works: an app never fails for it.
        """
        self.metrics.publish()
        watches = [
            self._repeat(self._sweep, "look for orphans", SWEEP),
            self._repeat(self._drop_old, "delete old dead letters", SWEEP),
        ]
        if not self._start_lanes():
            watches.append(self._start_later())
        if self.metrics.is_published:
            watches.append(self._repeat(self._measure, "count the outbox", REFRESH))
        self._watching = [
            asyncio.create_task(each, context=contextvars.Context()) for each in watches
        ]

    @property
    def is_delivering(self) -> bool:
        """Whether its lanes live; false before ``start``, too."""
        return bool(self._tasks) and not all(task.done() for task in self._tasks)

    def _start_lanes(self) -> bool:
        """Open the client and start the lanes; return whether that worked."""
        places = self._concurrency * len(self._destinations)
        limits = httpx.Limits(
            max_connections=places,
            max_keepalive_connections=places,
            keepalive_expiry=KEEPALIVE,
        )
        try:
            client = httpx.AsyncClient(
                timeout=TIMEOUT,
                limits=limits,
                follow_redirects=False,
                verify=self._certificates,
                cookies=refuse_cookies(),
            )
        except _UNUSABLE as error:
            # The environment's proxies are read here: ALL_PROXY=socks5://... needs a package.
            logger.error(
                "sender: nothing is delivered, since its HTTP client cannot start: %s; trying again"
                " every %g s, and events wait in the outbox; see ALL_PROXY, HTTP_PROXY and"
                " HTTPS_PROXY",
                error,
                START_PAUSE,
            )
            return False
        self._client = client
        hide_requests(each.build_request([], 0.0).url for each in self._destinations)
        names = [each.name for each in self._destinations]
        self._lanes = [
            Lane(self._outbox, each, self.metrics, self.figures, self._concurrency, names)
            for each in self._destinations
        ]
        # Each task has an empty context: a request may be what starts the sender, and its visitor
        # must not be that of a task that outlives it.
        self._tasks = [
            asyncio.create_task(lane.run(client), context=contextvars.Context())
            for lane in self._lanes
        ]
        return True

    async def _start_later(self) -> None:
        while True:
            await asyncio.sleep(START_PAUSE)
            if self._start_lanes():
                logger.warning("sender: delivers now")
                return

    def wake(self) -> None:
        """Look at the outbox now, because something was stored or released."""
        for lane in self._lanes:
            lane.woken.set()

    async def stop(self, deadline: float) -> None:
        """Deliver what is due, for at most ``deadline`` seconds; the rest stays in the outbox.

        What is claimed and not settled by then becomes due at once, for the next process.
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

    async def _repeat(self, work: Callable[[], Awaitable[None]], what: str, seconds: float) -> None:
        """Do ``work`` now and every ``seconds`` from now on, whatever fails."""
        while True:
            try:
                await work()
            except OutboxError as error:
                logger.debug("sender: cannot %s: %s", what, error)
            except Exception:
                logger.exception("sender: cannot %s", what)
            await asyncio.sleep(seconds)

    async def _measure(self) -> None:
        """Count the outbox, for the gauges."""
        now = time.time()
        counts = await self._outbox.count(now)
        self.metrics.set_depths(counts, await self._outbox.circuits(), now)

    async def _drop_old(self) -> None:
        """Delete dead letters that nobody revived in time."""
        before, dropped = time.time() - self._dead_letter_age, 0
        while found := await self._outbox.drop_old(before, DROP_AT_ONCE):
            dropped += found
        if dropped:
            days = self._dead_letter_age / 86_400
            logger.warning("sender: deleted %d dead letters after %g days", dropped, days)

    async def _sweep(self) -> None:
        """Log orphans of a name that is new among them, and bury orphans that are too old."""
        now = time.time()
        names = [destination.name for destination in self._destinations]
        orphans = find_orphans(await self._outbox.count(now), names)
        if unseen := {name: orphans[name] for name in orphans if name not in self._orphans}:
            logger.warning(
                "sender: events wait, %s, and %s here; configure it again, or they become dead"
                " letters when they are too old",
                describe_orphans(unseen),
                EXPLANATION,
            )
        self._orphans = set(orphans)
        buried = await bury_orphans(self._outbox, orphans, now)
        for (destination, event_name), number in buried.items():
            self.figures.note(destination, event_name, DEAD, now, number)
        if buried:
            logger.error("sender: %d are dead letters: too old, %s", buried.total(), EXPLANATION)
