"""How much more an outbox may store, without counting at each put."""

from __future__ import annotations

RECOUNT = 2.0  # seconds between counts while it is rather full; what others changed is seen then
RECOUNT_FAR = 60.0  # seconds between counts while less than half is held
RECOUNT_SHARE = 10  # times as long as a count took is the least until the next


class Room:
    """What is held of a capacity: counted now and then, and by our own changes in between.

    Attributes:
        capacity: Deliveries that wait or are dead, at most.
        held: How many do, as far as is known.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.held = 0
        self._reserved = 0
        self._counted_at: float | None = None
        self._took = 0.0

    @property
    def is_known(self) -> bool:
        """Whether it was counted at all."""
        return self._counted_at is not None

    def is_stale(self, now: float) -> bool:
        """Return whether it must be counted again at ``now``, the event loop's time."""
        if self._counted_at is None:
            return True
        wait = RECOUNT_FAR if self.held < self.capacity / 2 else RECOUNT
        return now >= self._counted_at + max(wait, self._took * RECOUNT_SHARE)

    def counted(self, held: int, began: float, ended: float) -> None:
        """Take ``held``, counted from ``began`` to ``ended`` by the event loop's time."""
        self.held = held
        self._counted_at = ended
        self._took = ended - began

    def fits(self, number: int) -> bool:
        """Return whether ``number`` more can be stored beside what is being stored now."""
        return self.held + self._reserved + number <= self.capacity

    def reserve(self, number: int) -> None:
        """Keep room for ``number`` that are being stored."""
        self._reserved += number

    def settle(self, reserved: int, stored: int) -> None:
        """Give back what was reserved, and keep what was ``stored`` of it."""
        self._reserved -= reserved
        self.held += stored
