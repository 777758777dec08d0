"""The sender: what runs beside the app, from its start to its end.

It opens the HTTP clients and the lanes, and looks at the outbox now and then: for what waits for
nobody, for dead letters that are old, and for the gauges.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import cache

import httpx

from bridge.delivery.demand import Demand, FindDestination
from bridge.delivery.exchange import TIMEOUT, refuse_cookies
from bridge.delivery.lanes import Lanes
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
MAX_PLACES = 64  # requests in flight to all destinations that are found when needed
# Among which these share the connections: for each request, httpcore 1.0 looks at every idle one,
# for each of them at all others.
CLIENTS = 8
ANY = "*"  # among the names that a process leads: whatever else is found
LAST_LOOK = 2.0  # seconds that a stop may take to open lanes
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
        find: Finds further destinations by name, when something waits for them.
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
        find: FindDestination | None = None,
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
        self._names = names if find is None else [*names, ANY]
        self._places = concurrency * len(names) if find is None else MAX_PLACES
        self._dead_letter_age = dead_letter_days * 86_400
        self._lanes = Lanes(
            outbox,
            self.metrics,
            self.figures,
            concurrency=concurrency,
            names=self._names,
            places=self._places,
            end_when_idle=find is not None,
        )
        self._demand = None if find is None else Demand(outbox, find, self._lanes, self.lead)
        self._watching: list[asyncio.Task[None]] = []
        self._orphans: set[str] = set()  # names that were logged
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
        if self._demand is not None:
            watches.append(self._repeat(self._demand.look, "look for work", 0.0))
        self._watching = [
            asyncio.create_task(each, context=contextvars.Context()) for each in watches
        ]

    @property
    def is_delivering(self) -> bool:
        """Whether its lanes live, or are opened when needed; false before ``start``, too."""
        return self._lanes.is_open if self._demand else bool(self._lanes.list_living())

    async def lead(self) -> bool:
        """Return whether this process is the one that delivers."""
        return await self._outbox.lead(self._names)

    def _start_lanes(self) -> bool:
        """Open the clients and start the lanes; return whether that worked."""
        limits = httpx.Limits(
            max_connections=self._places,
            max_keepalive_connections=self._places,
            keepalive_expiry=KEEPALIVE,
        )
        try:
            clients = [
                httpx.AsyncClient(
                    timeout=TIMEOUT,
                    limits=limits,
                    follow_redirects=False,
                    verify=self._certificates,
                    cookies=refuse_cookies(),
                )
                for _ in range(1 if self._demand is None else CLIENTS)
            ]
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
        self._lanes.open(clients)
        if self._demand is not None:
            self._demand.begin()
        for each in self._destinations:
            self._lanes.start(each)
        return True

    def replace(self, destinations: Iterable[Destination]) -> None:
        """Take up other settings of destinations, such as a new token."""
        self._lanes.adopt(destinations)

    async def _start_later(self) -> None:
        while True:
            await asyncio.sleep(START_PAUSE)
            if self._start_lanes():
                logger.warning("sender: delivers now")
                return

    def wake(self, names: Iterable[str]) -> None:
        """Look at the outbox now for ``names``: something was stored or released."""
        without = []
        for name in names:
            lane = self._lanes.find(name)
            if lane is None or lane.is_retiring:
                without.append(name)
            else:
                lane.woken.set()
        if self._demand is not None:
            self._demand.note(without)

    async def stop(self, deadline: float) -> None:
        """Deliver what is due, for at most ``deadline`` seconds; the rest stays in the outbox.

        What is claimed and not settled by then becomes due at once, for the next process.
        """
        end = time.monotonic() + deadline
        watching, self._watching = self._watching, []
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        if self._demand is not None:
            await self._demand.look_last(min(deadline, LAST_LOOK))
        await self._lanes.stop(end - time.monotonic())

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
        counts = await self._outbox.count(now)
        if self._demand is not None:
            unknown = self._demand.unknown
            counts = {name: each for name, each in counts.items() if name in unknown}
        names = [destination.name for destination in self._destinations]
        orphans = find_orphans(counts, names)
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
