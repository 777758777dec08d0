"""Demand: opens a lane when something waits for a destination that has none.

Where there are thousands of destinations, a lane lives only while something waits for its own. What
is stored here is known at once, and what another process stored is seen in the counts.

Strategy: names wait in one queue, first come, first served. Only so many lanes work at the same
time; when others wait, one that has worked for a while makes room and queues up again, and one that
has nothing due makes room at once, until something is. Lanes that leave their destination alone
take no room, and are not ended, for they know for how long: ten thousand dead tokens hold up
nobody. Settings are looked up a few at a time, so that the requests of visitors, who need them too,
never wait behind the sender.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from bridge.delivery.lane import Lane
from bridge.delivery.lanes import Lanes
from bridge.destinations.base import Destination
from bridge.errors import OutboxError
from bridge.outbox.base import Circuit, Outbox

LOOK = 1.0  # seconds between looks at what waits
COUNT_SHARE = 20  # times as long as a count took passes until the next one
LANE_REFRESH = 15.0  # seconds between looks for other settings of lanes that live
MAX_WORKING = 256  # lanes that work at the same time
TURN = 5.0  # seconds that a lane may work while others wait
AT_ONCE = 8  # names whose settings are looked up at the same time
ROOM_PAUSE = 0.1  # seconds between looks for room
RESTING = 1.0  # seconds without work after which a lane makes room
LOOKUPS = 16  # a second, of other settings of lanes that live, where these are many

FindDestination = Callable[[str], Awaitable[Destination | None]]
"""Returns the destination of a name, or ``None`` if there is none; may raise."""

logger = logging.getLogger("bridge.delivery")


class Demand:
    """Opens lanes for destinations that are found by name.

    Args:
        outbox: Where deliveries wait.
        find: Finds a destination.
        lanes: Where lanes are started.
        lead: Says whether this process is the one that delivers.

    Attributes:
        unknown: Names that something waits for, and that were not found.
    """

    def __init__(
        self,
        outbox: Outbox,
        find: FindDestination,
        lanes: Lanes,
        lead: Callable[[], Awaitable[bool]],
    ) -> None:
        self.unknown: set[str] = set()
        self._outbox = outbox
        self._find = find
        self._lanes = lanes
        self._lead = lead
        self._queue: dict[str, None] = {}  # names without a lane, the next one first
        self._stale: dict[str, None] = {}  # names of lanes whose settings may be old
        self._resting: dict[str, float] = {}  # names by when something may be due, monotonic
        self._failed: set[str] = set()  # names that were logged
        self._opening: dict[str, asyncio.Task[None]] = {}
        self._circuits: Mapping[str, Circuit] | None = None  # read once for all lanes
        self._count_at = self._refresh_at = self._room_at = 0.0  # monotonic seconds: not before
        self._room = 0  # lanes that may be opened before the next look for room
        self._noted = asyncio.Event()

    def begin(self) -> None:
        """Begin anew, on the running event loop."""
        self._noted = asyncio.Event()
        self._noted.set()
        self._opening = {}

    def note(self, names: Iterable[str]) -> None:
        """Note that something waits for ``names``, which have no lane."""
        for name in names:
            self._resting.pop(name, None)
            self._queue.setdefault(name)
            self._noted.set()

    async def look(self) -> None:
        """Open lanes when something is noted, after a second, or when there may be room."""
        with suppress(TimeoutError):
            async with asyncio.timeout(ROOM_PAUSE if self._queue else LOOK):
                await self._noted.wait()
        self._noted.clear()
        if not self._lanes.is_open:
            return
        if not await self._lead():
            self._queue.clear()  # another process delivers; counts tell if that changes
            return
        now = time.monotonic()
        if now >= self._refresh_at:
            living = self._lanes.list_living()
            self._refresh_at = now + max(LANE_REFRESH, len(living) / LOOKUPS)
            self._stale.update(dict.fromkeys(living))
            self.note(self.unknown)  # there may be one by now
        if now >= self._count_at:
            self._count_at = now + LOOK
            self.note(await self._count())
            # Counting takes as long as much waits: it must not be all that is done.
            self._count_at = now + max(LOOK, COUNT_SHARE * (time.monotonic() - now))
        self.note([name for name, until in self._resting.items() if now >= until])
        self._open_next()

    async def look_last(self, seconds: float) -> None:
        """Open lanes for what was stored a moment ago, within ``seconds``; then no more."""
        with suppress(OutboxError, TimeoutError):
            async with asyncio.timeout(seconds):
                self._count_at = 0.0
                self._noted.set()
                await self.look()
                while self._opening:
                    await asyncio.wait(self._opening.values(), return_when=asyncio.FIRST_COMPLETED)
        self._queue.clear()
        for task in list(self._opening.values()):
            task.cancel()

    def _open_next(self) -> None:
        """Begin to open lanes for the next names, as far as there is room."""
        for _ in range(len(self._queue)):
            if len(self._opening) >= AT_ONCE or not self._has_room():
                break
            name = next(iter(self._queue))
            del self._queue[name]
            lane = self._lanes.find(name)
            if lane is not None and lane.is_retiring:
                self._queue[name] = None  # as soon as it has ended
            elif lane is None and name not in self._opening:
                self._begin(name)
        while self._stale and len(self._opening) < AT_ONCE:
            name = next(iter(self._stale))
            del self._stale[name]
            if name not in self._opening:
                self._begin(name)

    def _has_room(self) -> bool:
        """Return whether one more lane may work; if not, have those make room that had a turn."""
        if len(self._opening) + self._lanes.count() < MAX_WORKING:
            return True
        now = time.monotonic()
        if now >= self._room_at:
            self._room_at = now + ROOM_PAUSE
            working = [lane for lane in self._lanes.list_living().values() if not lane.is_paused]
            self._room = MAX_WORKING - len(self._opening) - len(working)
            if self._room <= 0:
                self._retire(working, now)
        self._room -= 1
        return self._room >= 0

    def _retire(self, working: Sequence[Lane], now: float) -> None:
        """Have as many lanes make room as names wait.

        First those that have nothing to do for a while, then the oldest that had a turn.
        """
        wanted = len(self._queue) - sum(lane.is_retiring for lane in working)
        resting = [lane for lane in working if lane.rests_until > now + RESTING]
        served = [lane for lane in working if lane.began <= now - TURN and lane not in resting]
        for lane in [*resting, *served]:
            if wanted <= 0:
                break
            if lane.is_retiring:
                continue
            wanted -= 1
            if lane.rests_until > now + RESTING:
                # Looked at before, for what another process stores meanwhile.
                self._resting[lane.name] = min(lane.rests_until, now + LANE_REFRESH)
            else:
                self._queue[lane.name] = None
            lane.retire()

    def _begin(self, name: str) -> None:
        # Each in a task of its own: one shop that is slow to load delays no other.
        opening = asyncio.create_task(self._open(name), context=contextvars.Context())
        self._opening[name] = opening
        opening.add_done_callback(partial(self._end_opening, name))

    async def _count(self) -> list[str]:
        """Return the names that something waits for, but for the unknown ones."""
        self._circuits = await self._outbox.circuits()
        counts = await self._outbox.count(time.time())
        waiting = [name for name, each in counts.items() if each.waiting]
        self.unknown.intersection_update(waiting)
        return [
            name
            for name in waiting
            if name not in self.unknown
            and name not in self._resting
            and self._lanes.find(name) is None
        ]

    def _end_opening(self, name: str, task: asyncio.Task[None]) -> None:
        if self._opening.get(name) is task:
            del self._opening[name]
        if self._queue or self._stale:
            self._open_next()

    async def _open(self, name: str) -> None:
        """Open the lane of ``name``, or give the one that lives its destination's settings."""
        try:
            found = await self._find(name)
            if found is None:
                self.unknown.add(name)
                return
            self.unknown.discard(name)
            if self._lanes.find(name) is None:
                self._lanes.start(found, self._circuits)
            else:
                self._lanes.adopt([found])
        except Exception:
            # An app's own code, asked again each second: one line is enough.
            level = logging.DEBUG if name in self._failed else logging.ERROR
            logger.log(level, "sender: no lane for %.200s, trying again", name, exc_info=True)
            self._failed.add(name)
        else:
            self._failed.discard(name)
