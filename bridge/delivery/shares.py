"""Shares: how much of an outbox one destination may fill, where many have it together.

Without that, one shop whose token is dead for days fills it, and the events of all others are lost.

Strategy: what each holds is counted now and then, not at each put, so a share may be exceeded by
what comes in some seconds. As with the outbox itself, the last tenth is not for page views.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time

from bridge.errors import OutboxError, OutboxFullError
from bridge.outbox.base import Delivery, Outbox, check_capacity, read_limit

LOOK = 5.0  # seconds between counts
COUNT_SHARE = 20  # times as long as a count took passes until the next one

logger = logging.getLogger("bridge.delivery")


class Shares:
    """Knows what each destination holds.

    Args:
        outbox: What they share.
        capacity: How many deliveries of one destination may wait or be dead.

    Raises:
        ConfigError: The capacity is below 1.
    """

    def __init__(self, outbox: Outbox, capacity: int) -> None:
        self._outbox = outbox
        self._capacity = check_capacity(capacity)
        self._held: dict[str, int] = {}  # by destination, of those near their share
        self._looking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to count, on the running event loop."""
        self._looking = asyncio.create_task(self._look(), context=contextvars.Context())

    async def stop(self) -> None:
        """Count no more."""
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    def find_excess(self, delivery: Delivery) -> OutboxFullError | None:
        """Return why ``delivery`` has no room; ``None`` if it has."""
        held = self._held.get(delivery.destination)
        if held is None or held < read_limit(self._capacity, [delivery]):
            return None
        return OutboxFullError(
            f"{delivery.destination} has {held} deliveries that wait or are dead, and one"
            f" destination may have {self._capacity}, since others share the outbox: see why they"
            " are not delivered, drop dead letters, or raise shop_capacity"
        )

    async def look(self) -> None:
        """Count what each destination holds."""
        near = self._capacity - self._capacity // 10
        counts = await self._outbox.count(time.time())
        self._held = {
            name: each.waiting + each.dead
            for name, each in counts.items()
            if each.waiting + each.dead >= near
        }

    async def _look(self) -> None:
        while True:
            began = time.monotonic()
            try:
                await self.look()
            except OutboxError as error:
                logger.debug("shares: %s", error)
            except Exception:
                logger.exception("shares: unexpected error")
            took = time.monotonic() - began
            await asyncio.sleep(max(LOOK, COUNT_SHARE * took))
