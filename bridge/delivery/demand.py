"""Demand: opens a lane when something waits for a destination that has none.

Where there are thousands of destinations, a lane lives only while something waits for its own. What
is stored here is known at once, and what another process stored is seen in the counts.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial

from bridge.delivery.lanes import Lanes
from bridge.destinations.base import Destination
from bridge.errors import OutboxError
from bridge.outbox.base import Circuit, Outbox

LOOK = 1.0  # seconds between looks at what waits
COUNT_SHARE = 20  # times as long as a count took passes until the next one
LANE_REFRESH = 15.0  # seconds between looks for other settings of lanes that live

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
        self._wanted: set[str] = set()  # names that something was stored for here
        self._failed: set[str] = set()  # names that were logged
        self._opening: dict[str, asyncio.Task[None]] = {}
        self._circuits: Mapping[str, Circuit] | None = None  # read once for all lanes
        self._count_at = self._refresh_at = 0.0  # monotonic seconds: not before
        self._noted = asyncio.Event()

    def begin(self) -> None:
        """Begin anew, on the running event loop."""
        self._noted = asyncio.Event()
        self._noted.set()
        self._opening = {}

    def note(self, names: Iterable[str]) -> None:
        """Note that something waits for ``names``, which have no lane."""
        self._wanted.update(names)
        if self._wanted:
            self._noted.set()

    async def look(self) -> None:
        """Open lanes when something is noted, or after a second."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK):
                await self._noted.wait()
        self._noted.clear()
        await self._open_all()

    async def look_last(self, seconds: float) -> None:
        """Open lanes for what was stored a moment ago, within ``seconds``; then no more."""
        with suppress(OutboxError, TimeoutError):
            async with asyncio.timeout(seconds):
                await self._open_all()
                await asyncio.gather(*self._opening.values(), return_exceptions=True)
        for task in list(self._opening.values()):
            task.cancel()

    async def _open_all(self) -> None:
        """Begin to open a lane for each name that something waits for, and that has none."""
        if not self._lanes.is_open or not await self._lead():
            return
        wanted, self._wanted = self._wanted, set()
        began = time.monotonic()
        if began >= self._count_at:
            wanted |= await self._count()
            # Counting takes as long as much waits: it must not be all that is done.
            self._count_at = began + max(LOOK, COUNT_SHARE * (time.monotonic() - began))
        living = self._lanes.list_living().keys()
        if began >= self._refresh_at:
            self._refresh_at = began + LANE_REFRESH
            wanted |= living
        else:
            wanted -= living
        for name in sorted(wanted - self._opening.keys()):
            # Each in a task of its own: one shop that is slow to load delays no other.
            opening = asyncio.create_task(self._open(name), context=contextvars.Context())
            self._opening[name] = opening
            opening.add_done_callback(partial(self._end_opening, name))

    async def _count(self) -> set[str]:
        """Return the names that something waits for."""
        self._circuits = await self._outbox.circuits()
        counts = await self._outbox.count(time.time())
        waiting = {name for name, each in counts.items() if each.waiting}
        self.unknown &= waiting
        return waiting

    def _end_opening(self, name: str, task: asyncio.Task[None]) -> None:
        if self._opening.get(name) is task:
            del self._opening[name]

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
