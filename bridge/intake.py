"""The intake: an event into the outbox, as one delivery per destination, and what is counted."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from bridge.destinations.base import Destination
from bridge.errors import OutboxError
from bridge.events import Event, escape_unprintable
from bridge.metrics import Metrics
from bridge.outbox.base import Delivery, Outbox

logger = logging.getLogger("bridge.intake")


class Intake:
    """Stores events.

    Args:
        outbox: Where deliveries wait.
        destinations: Each gets one of every event, encoded here and now: a mistake shows at the
            call, and tries again send the same bytes.
        counters: Where ``stored``, ``duplicates`` and ``lost`` are counted.
        metrics: Where they are, by destination.
    """

    def __init__(
        self,
        outbox: Outbox,
        destinations: Sequence[Destination],
        counters: Counter[str],
        metrics: Metrics,
    ) -> None:
        self._outbox = outbox
        self._destinations = tuple(destinations)
        self._counters = counters
        self._metrics = metrics

    async def put(self, event: Event, *, hold: float, connection: Any = None) -> bool:
        """Store ``event``; whether it is new to any destination.

        Args:
            event: Complete.
            hold: Seconds until it may be sent.
            connection: The caller's own, in whose transaction it is stored.

        Raises:
            OutboxError: It could not be stored.
        """
        now = time.time()
        deliveries = [
            Delivery(
                destination=destination.name,
                event_name=event.event_name,
                event_id=event.event_id,
                body=destination.encode(event),
                due=now + hold,
                expires=event.expires,
            )
            for destination in self._destinations
        ]
        stored = await self._outbox.put(deliveries, now, connection=connection)
        for delivery, is_new in zip(deliveries, stored, strict=True):
            kind = "stored" if is_new else "duplicates"
            self._counters[kind] += 1
            self._metrics.counters[delivery.destination][kind] += 1
        return any(stored)

    async def put_or_lose(self, event: Event, *, hold: float) -> bool | None:
        """Store ``event``; ``None`` if the outbox is broken, which no page must fail for.

        The loss is logged and counted; the browser's copy is then all that is left.
        """
        try:
            return await self.put(event, hold=hold)
        except OutboxError as error:
            self._counters["lost"] += 1
            for destination in self._destinations:
                self._metrics.counters[destination.name]["lost"] += 1
            name, event_id = map(escape_unprintable, (event.event_name, event.event_id))
            logger.error("%s %s is lost: %s", name, event_id, error)
            return None
