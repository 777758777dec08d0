"""How much more an outbox may store, without counting at every put."""

from __future__ import annotations

RECOUNT = 2.0  # seconds between counts, which show what other processes changed
RECOUNT_FAR = 60.0  # seconds between counts while the outbox is less than half full
RECOUNT_FACTOR = 10  # the next count is at least so many times later than a count took


class Room:
    """How much of the capacity is used: counted now and then, and adjusted by our own changes."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.held = 0
        self._reserved = 0
        self._counted_at: float | None = None
        self._took = 0.0

    @property
    def is_known(self) -> bool:
        """Whether anything was counted yet."""
        return self._counted_at is not None

    def is_stale(self, now: float) -> bool:
        """Return whether it must be counted again at ``now``, the event loop's time."""
        if self._counted_at is None:
            return True
        wait = RECOUNT_FAR if self.held < self.capacity / 2 else RECOUNT
        return now >= self._counted_at + max(wait, self._took * RECOUNT_FACTOR)

    def counted(self, held: int, began: float, ended: float) -> None:
        """Note the result of a count that ran from ``began`` to ``ended``, event loop time."""
        self.held = held
        self._counted_at = ended
        self._took = ended - began

    def fits(self, number: int, limit: int) -> bool:
        """Return whether ``number`` more fit below ``limit``, besides what is being stored now."""
        return self.held + self._reserved + number <= limit

    def reserve(self, number: int) -> None:
        """Reserve room for ``number`` that are being stored."""
        self._reserved += number

    def settle(self, reserved: int, stored: int) -> None:
        """Give back ``reserved`` room, and note how many of it were ``stored``."""
        self._reserved -= reserved
        self.held += stored
