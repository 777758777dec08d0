"""The sender: one lane per destination, all on one HTTP client.

The client has as many connections as all lanes together may use, so that an outage of one
destination delays no other. Where there are thousands of destinations, a lane lives only while
something waits for its own, and the lanes take turns for the connections, first come, first served:
whoever has a huge import asks for a few at a time, and queues up again behind the others.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial

import httpx

from bridge.delivery.exchange import TIMEOUT, hide_requests, refuse_cookies
from bridge.delivery.lane import Lane
from bridge.delivery.metrics import Metrics
from bridge.delivery.orphans import EXPLANATION, bury_orphans, describe_orphans, find_orphans
from bridge.destinations.base import Destination
from bridge.errors import ConfigError, OutboxError
from bridge.figures.counter import FigureCounter
from bridge.figures.words import DEAD
from bridge.outbox.base import Circuit, Outbox

CONCURRENCY = 4  # requests in flight to one destination
MAX_CONCURRENCY = 64
KEEPALIVE = 30.0  # seconds an idle connection is kept
REFRESH = 10.0  # seconds between counts of the outbox, if somebody may read the gauges
START_PAUSE = 10.0  # seconds until a client that could not start is tried again
MAX_PLACES = 64  # requests in flight to all destinations that are found when needed
ANY = "*"  # among the names that a process leads: whatever else is found
LAST_LOOK = 2.0  # seconds that a stop may take to open lanes
COUNT_SHARE = 20  # times as long as a count took passes until the next one
LANE_REFRESH = 15.0  # seconds between looks for other settings of lanes that live
LOOK = 1.0  # seconds between looks for destinations that have no lane yet
SWEEP = 600.0  # seconds between searches for orphans and old dead letters
DEAD_LETTER_DAYS = 30.0  # days after which a dead letter is deleted
DROP_AT_ONCE = 1000  # dead letters

# What httpx raises for proxies of the environment: a package is missing, or an address is wrong.
_UNUSABLE = (ImportError, ValueError, TypeError, OSError, httpx.InvalidURL)

FindDestination = Callable[[str], Awaitable[Destination | None]]
"""Returns the destination of a name, or ``None`` if there is none; may raise."""

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
        self._names = names if find is None else [*names, ANY]
        self._places = MAX_PLACES if find is not None else concurrency * len(names)
        self._slots = asyncio.Semaphore(self._places)
        self.metrics = Metrics(names) if metrics is None else metrics
        self.figures = FigureCounter(outbox) if figures is None else figures
        self._outbox = outbox
        self._destinations = tuple(destinations)
        self._concurrency = concurrency
        self._dead_letter_age = dead_letter_days * 86_400
        self._find = find
        self._lanes: dict[str, Lane] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._wanted: set[str] = set()  # names that need a lane
        self._unknown: set[str] = set()  # names that were not found
        self._opening: dict[str, asyncio.Task[None]] = {}  # lanes that are being opened
        self._look = asyncio.Event()
        self._count_at = self._refresh_at = 0.0  # monotonic seconds: not before
        self._failed: set[str] = set()  # names that were logged
        self._circuits: Mapping[str, Circuit] | None = None  # read once for all lanes
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
        if self._find is not None:
            watches.append(self._repeat(self._look_for_work, "look for work", 0.0))
        self._watching = [
            asyncio.create_task(each, context=contextvars.Context()) for each in watches
        ]

    @property
    def is_delivering(self) -> bool:
        """Whether its lanes live; false before ``start``, too."""
        if self._find is not None:
            return self._client is not None
        return bool(self._tasks) and not all(task.done() for task in self._tasks.values())

    async def lead(self) -> bool:
        """Return whether this process is the one that delivers."""
        return await self._outbox.lead(self._names)

    def _start_lanes(self) -> bool:
        """Open the client and start the lanes; return whether that worked."""
        places = self._places
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
        self._slots = asyncio.Semaphore(places)
        self._look = asyncio.Event()
        self._look.set()
        # Those of another event loop, if one ended without a stop, are no use here.
        self._lanes, self._tasks, self._opening = {}, {}, {}
        for each in self._destinations:
            self._start_lane(client, each)
        return True

    def _start_lane(self, client: httpx.AsyncClient, destination: Destination) -> None:
        lane = Lane(
            self._outbox,
            destination,
            self.metrics,
            self.figures,
            self._concurrency,
            self._names,
            slots=self._slots,
            ends_when_idle=self._find is not None,
            circuits=self._circuits,
        )
        # An empty context: a request may be what starts the sender, and its visitor must not be
        # that of a task that outlives it.
        task = asyncio.create_task(lane.run(client), context=contextvars.Context())
        self._lanes[destination.name], self._tasks[destination.name] = lane, task

    async def _look_for_work(self) -> None:
        """Open lanes for what waits: when something is stored here, and once a second."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK):
                await self._look.wait()
        self._look.clear()
        if self._client is not None and await self.lead():
            await self._open_lanes()

    async def _open_lanes(self) -> None:
        """Begin to open a lane for each name that something waits for, and that has none."""
        for name in [name for name, task in self._tasks.items() if task.done()]:
            del self._lanes[name], self._tasks[name]
        wanted, self._wanted = self._wanted, set()
        began = time.monotonic()
        if began >= self._count_at:  # what another process stored is counted
            self._circuits = await self._outbox.circuits()
            counts = await self._outbox.count(time.time())
            waiting = {name for name, each in counts.items() if each.waiting}
            self._unknown &= waiting
            wanted |= waiting
            # Counting takes as long as much waits: it must not be all that is done.
            self._count_at = began + max(LOOK, COUNT_SHARE * (time.monotonic() - began))
        if began >= self._refresh_at:  # a lane that lives gets a new token, too
            self._refresh_at = began + LANE_REFRESH
            wanted |= self._tasks.keys()
        else:
            wanted -= self._tasks.keys()
        for name in sorted(wanted - self._opening.keys()):
            # Each in a task of its own: one shop that is slow to load delays no other.
            opening = asyncio.create_task(self._open_lane(name), context=contextvars.Context())
            self._opening[name] = opening
            opening.add_done_callback(partial(self._end_opening, name))

    def _end_opening(self, name: str, task: asyncio.Task[None]) -> None:
        if self._opening.get(name) is task:
            del self._opening[name]

    async def _open_lane(self, name: str) -> None:
        assert self._find is not None  # noqa: S101
        try:
            found = await self._find(name)
            task = self._tasks.get(name)
            if found is None:
                self._unknown.add(name)
            elif task is not None and not task.done():
                self._lanes[name].adopt(found)
            elif self._client is not None:
                self._unknown.discard(name)
                hide_requests([found.build_request([], 0.0).url])
                self._start_lane(self._client, found)
        except Exception:
            # An app's own code, asked again each second: one line is enough.
            level = logging.DEBUG if name in self._failed else logging.ERROR
            logger.log(level, "sender: no lane for %.200s, trying again", name, exc_info=True)
            self._failed.add(name)
        else:
            self._failed.discard(name)

    def replace(self, destinations: Iterable[Destination]) -> None:
        """Take up other settings of destinations, such as a new token."""
        for each in destinations:
            if each.name in self._lanes:
                self._lanes[each.name].adopt(each)

    async def _start_later(self) -> None:
        while True:
            await asyncio.sleep(START_PAUSE)
            if self._start_lanes():
                logger.warning("sender: delivers now")
                return

    def wake(self, names: Iterable[str] | None = None) -> None:
        """Look at the outbox now, for all or some: something was stored or released."""
        for name in self._lanes if names is None else names:
            task = self._tasks.get(name)
            if task is not None and not task.done():
                self._lanes[name].woken.set()
            elif self._find is not None and self._client is not None:
                self._wanted.add(name)
                self._look.set()

    async def stop(self, deadline: float) -> None:
        """Deliver what is due, for at most ``deadline`` seconds; the rest stays in the outbox.

        What is claimed and not settled by then becomes due at once, for the next process.
        """
        end = time.monotonic() + deadline
        if self._find is not None and self._client is not None:
            await self._open_last(min(deadline, LAST_LOOK))
        for lane in self._lanes.values():
            lane.is_stopping = True
        self.wake()
        tasks = list(self._tasks.values())
        watching, self._watching = self._watching, []
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=max(0.0, end - time.monotonic()))
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._lanes, self._tasks = {}, {}
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _open_last(self, seconds: float) -> None:
        """Open lanes for what was stored a moment ago."""
        with suppress(OutboxError, TimeoutError):
            async with asyncio.timeout(seconds):
                if await self.lead():
                    await self._open_lanes()
                    await asyncio.gather(*self._opening.values(), return_exceptions=True)
        for task in list(self._opening.values()):
            task.cancel()

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
        if self._find is not None:
            counts = {name: each for name, each in counts.items() if name in self._unknown}
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
