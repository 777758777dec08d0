"""The intake: an event into the outbox, as one delivery per destination, and what is counted."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from bridge.delivery.metrics import Metrics
from bridge.destinations.base import Destination, Told
from bridge.errors import OutboxError
from bridge.events.event import MAX_AGE, Event, escape_unprintable
from bridge.outbox.base import Delivery, Outbox
from bridge.visitor.identity import Identity

logger = logging.getLogger("bridge.delivery")


def build_deliveries(
    destinations: Sequence[Destination], event: Event, told: Told, *, due: float
) -> list[Delivery]:
    """Return one delivery of ``event`` for each destination.

    Raises:
        InvalidEventError: One of them would refuse it.
    """
    return [
        Delivery(
            destination=destination.name,
            event_name=event.event_name,
            event_id=event.event_id,
            body=destination.encode(event, told),
            due=due,
            expires=event.expires,
        )
        for destination in destinations
    ]


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

    async def put(self, event: Event, told: Told, *, hold: float, connection: Any = None) -> bool:
        """Store ``event``; whether it is new to any destination.

        Args:
            event: Complete.
            told: How it was told.
            hold: Seconds until it may be sent.
            connection: The caller's own, in whose transaction it is stored.

        Raises:
            InvalidEventError: A destination would refuse it.
            OutboxError: It could not be stored.
        """
        now = time.time()
        deliveries = build_deliveries(self._destinations, event, told, due=now + hold)
        return await self._put(deliveries, now, connection)

    async def _put(self, deliveries: list[Delivery], now: float, connection: Any) -> bool:
        stored = await self._outbox.put(deliveries, now, connection=connection)
        for delivery, is_new in zip(deliveries, stored, strict=True):
            kind = "stored" if is_new else "duplicates"
            self._counters[kind] += 1
            self._metrics.counters[delivery.destination][kind] += 1
        return any(stored)

    async def put_or_lose(self, event: Event, told: Told, *, hold: float) -> bool | None:
        """Store ``event``; ``None`` if the outbox is broken, which no page must fail for.

        The loss is logged and counted; the browser's copy is then all that is left.
        """
        try:
            return await self.put(event, told, hold=hold)
        except OutboxError as error:
            names = [destination.name for destination in self._destinations]
            self._lose(event.event_name, event.event_id, names, error)
            return None

    async def introduce(self, known: Identity, before: Identity, *, connection: Any) -> None:
        """Store what tells destinations who a visitor is; lost, as an event, if that fails.

        In the transaction of ``connection`` a failure is the caller's to know.

        The same words again are refused as an event is that repeats an id.
        """
        now = time.time()
        deliveries = [
            Delivery(
                destination=destination.name,
                event_name=f"${each.kind}",
                event_id=each.fact,
                body=each.body,
                due=now,
                expires=now + MAX_AGE,
            )
            for destination in self._destinations
            for each in destination.introduce(known, before, now)
        ]
        if not deliveries:
            return
        try:
            await self._put(deliveries, now, connection)
        except OutboxError as error:
            if connection is not None:
                raise
            first, names = deliveries[0], [each.destination for each in deliveries]
            self._lose(first.event_name, first.event_id, names, error)

    def _lose(
        self, event_name: str, event_id: str, destinations: Iterable[str], error: OutboxError
    ) -> None:
        self._counters["lost"] += 1
        for name in destinations:
            self._metrics.counters[name]["lost"] += 1
        shown = map(escape_unprintable, (event_name, event_id))
        logger.error("%s %s is lost: %s", *shown, error)
