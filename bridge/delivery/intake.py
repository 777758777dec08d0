"""The intake: deliveries into the outbox, and what is counted of them."""

from __future__ import annotations

import logging
from typing import Any

from bridge.delivery.metrics import Metrics
from bridge.errors import OutboxError
from bridge.events.event import escape_unprintable
from bridge.outbox.base import Delivery, Outbox

logger = logging.getLogger("bridge.delivery")


class Intake:
    """Stores deliveries, and counts ``stored``, ``duplicates`` and ``lost``."""

    def __init__(self, outbox: Outbox, metrics: Metrics) -> None:
        self._outbox = outbox
        self._metrics = metrics

    async def put(
        self,
        deliveries: list[Delivery],
        now: float,
        *,
        connection: Any = None,
        may_lose: bool = False,
    ) -> bool | None:
        """Store the deliveries of one event; whether any is new, ``None`` if they are lost.

        With ``may_lose`` a broken outbox costs the event, logged and counted, and not the page
        that tracks it. The browser copy is then all that is left.

        Raises:
            OutboxError: They could not be stored, and may not be lost.
        """
        try:
            stored = await self._outbox.put(deliveries, now, connection=connection)
        except OutboxError as error:
            if not may_lose:
                raise
            self._lose(deliveries, error)
            return None
        for delivery, is_new in zip(deliveries, stored, strict=True):
            self._metrics.count(delivery.destination, "stored" if is_new else "duplicates")
        return any(stored)

    def _lose(self, deliveries: list[Delivery], error: OutboxError) -> None:
        self._metrics.totals["lost"] += 1  # the event, however many copies it has
        for delivery in deliveries:
            self._metrics.counters[delivery.destination]["lost"] += 1
        shown = map(escape_unprintable, (deliveries[0].event_name, deliveries[0].event_id))
        logger.error("%s %s is lost: %s", *shown, error)
