"""Floors: below which due nothing waits for a destination, as far as this process has seen.

Strategy: what was claimed or settled leaves an entry at its old place in the index, and as long as
one old transaction is open, such as a dump, no entry can be removed. A look that began at the
lowest due would pass a hundred thousand of them, each second and in each process. So it begins at
the floor: shortly before what the last look found, or before its own time if it found nothing more.

What is stored below the floor must be found all the same. This process lowers the floor when it
stores such a thing. Other processes store what is due at once or later, so that ``SLACK`` covers
the rest between their clocks, and the time a statement takes. What remains, such as a transaction
of an app's own that stays open for longer, is found by a full look, which is made now and then.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

SLACK = 1.0  # seconds by which a floor is below what was seen
FULL_LOOK = 10.0  # seconds between full looks at most, unless they are slow
FULL_LOOK_FACTOR = 20  # the next one is at least so many times later than one took


@dataclass(slots=True, eq=False)
class Look:
    """A claim that is under way.

    Attributes:
        floor: The lowest due that it looks at, Unix seconds by the server's clock.
        began: Monotonic seconds.
        lowest: What was stored meanwhile, and it may not have seen.
    """

    floor: float
    began: float
    lowest: float = math.inf


@dataclass(slots=True, eq=False)
class _Lane:
    floor: float = -math.inf
    seen: float = -math.inf  # what the last look found nothing below; the floor is lower by SLACK
    next_full: float = 0.0  # monotonic seconds
    looks: list[Look] = field(default_factory=list)


class Floors:
    """The floor of each destination."""

    def __init__(self) -> None:
        self._lanes: dict[str, _Lane] = {}

    def read(self, destination: str) -> float:
        """Return below which due the last claim for ``destination`` found nothing.

        For a look between two claims; what the next one may find below, it need not find.
        """
        lane = self._lanes.get(destination)
        return lane.seen if lane else -math.inf

    def begin(self, destination: str, now: float) -> Look:
        """Begin a claim of what is due at ``now``; ``finish`` must follow, after ``end``."""
        lane, clock = self._lanes.setdefault(destination, _Lane()), time.monotonic()
        is_full = clock >= lane.next_full or now < lane.floor
        look = Look(-math.inf if is_full else lane.floor, clock)
        lane.looks.append(look)
        return look

    def end(self, destination: str, look: Look, seen: float) -> None:
        """Note that ``look`` found nothing below ``seen``."""
        lane = self._lanes[destination]
        lane.floor, lane.seen = min(seen - SLACK, look.lowest), min(seen, look.lowest)
        if look.floor == -math.inf:
            clock = time.monotonic()
            pause = max(FULL_LOOK, FULL_LOOK_FACTOR * (clock - look.began))
            lane.next_full = clock + pause

    def finish(self, destination: str, look: Look) -> None:
        """Note that ``look`` is over, whether or not it failed."""
        self._lanes[destination].looks.remove(look)

    def lower(self, due: float, destinations: Iterable[str] | None = None) -> None:
        """Note that something may have been stored with this ``due``; by default, anywhere.

        Called once the statement has ended: a claim that began before may not have seen it.
        """
        for name in self._lanes if destinations is None else destinations:
            lane = self._lanes.get(name)
            if lane is not None:
                lane.floor, lane.seen = min(lane.floor, due), min(lane.seen, due)
                for look in lane.looks:
                    look.lowest = min(look.lowest, due)
