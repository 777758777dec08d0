"""The intake: deliveries into the outbox, and what is counted of them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Coroutine, Iterable
from typing import Any

from bridge.delivery.metrics import Metrics
from bridge.delivery.shares import Shares
from bridge.delivery.spool import Spool
from bridge.errors import OutboxBusyError, OutboxError
from bridge.events.event import Event, Outcome, escape_unprintable
from bridge.figures.counter import FigureCounter
from bridge.figures.words import DUPLICATE, LOST
from bridge.outbox.base import Delivery, Outbox

PATIENCE = 5.0  # seconds that a put may take in all
FIRST_PAUSE = 0.05  # seconds; doubles
LONGEST_PAUSE = 0.5
LINE_PAUSE = 1.0  # seconds between lines about lost events

logger = logging.getLogger("bridge.delivery")


class Intake:
    """Stores deliveries, and counts ``stored``, ``spooled``, ``duplicates`` and ``lost``.

    Args:
        outbox: Where they are stored.
        metrics: Where it counts.
        figures: The same by day and event name.
        spool: What takes what the outbox does not, if there is one.
        shares: How much of the outbox each destination may fill, where many share it.
        on_stored: Called with the destinations of what was stored.
    """

    def __init__(
        self,
        outbox: Outbox,
        metrics: Metrics,
        figures: FigureCounter,
        spool: Spool | None = None,
        shares: Shares | None = None,
        *,
        on_stored: Callable[[Iterable[str]], None] = lambda names: None,
    ) -> None:
        self._outbox = outbox
        self._metrics = metrics
        self._figures = figures
        self._spool = spool
        self._shares = shares
        self._on_stored = on_stored
        self._storing = 0  # events that are being stored
        self._untold = 0  # lost events without a line
        self._next_line = 0.0  # monotonic seconds: no line before

    async def put(
        self,
        deliveries: list[Delivery],
        now: float,
        *,
        connection: Any = None,
        may_lose: bool = False,
        event: Event | None = None,
        copied: Collection[str] = (),
    ) -> Outcome:
        """Store the deliveries of one event; return what became of it.

        What the outbox does not take goes to the spool, if there is one. Where that fails, too,
        ``may_lose`` makes it cost the event, logged and counted, and not the page that tracks it.
        The browser copy is then all that is left.

        Args:
            deliveries: Of one event.
            now: Unix seconds.
            connection: As for ``Outbox.put``.
            may_lose: Whether a broken outbox raises nothing.
            event: What they carry, if it is one of the app's own; it is counted by its name.
            copied: The destinations that a browser copy reaches, too.

        Raises:
            OutboxError: They could not be stored, and may not be lost.
        """
        is_spooled = False
        self._storing += 1
        try:
            if self._shares is not None:
                deliveries = await self._refuse_excess(self._shares, deliveries, now)
            if connection is None:
                work = self._store(deliveries, now)
                stored, is_spooled = await (
                    work if self._spool is None else self._finish(work, deliveries)
                )
            else:
                stored = await self._outbox.put(deliveries, now, connection=connection)
        except OutboxError as error:
            if not may_lose:
                raise
            self._lose(deliveries, error, now)
            return "lost"
        finally:
            self._storing -= 1
        if event is not None and connection is not None:
            new = [each.destination for each, yes in zip(deliveries, stored, strict=True) if yes]
            copies = set(copied)
            for has_copy in (True, False):
                names = [name for name in new if (name in copies) == has_copy]
                if names:
                    self._figures.note_unsure(event, names, has_copy=has_copy)
            event = None  # counted once it is committed
        for delivery, is_new in zip(deliveries, stored, strict=True):
            destination = delivery.destination
            self._metrics.count(destination, "stored" if is_new else "duplicates")
            if is_new and is_spooled:
                self._metrics.count(destination, "spooled")
            if event is None:
                continue
            if is_new:
                self._figures.note_stored(destination, event, now, has_copy=destination in copied)
            elif not delivery.from_browser:  # scripts repeat what was not confirmed
                self._figures.note(destination, event.event_name, DUPLICATE, now)
        if not (self._figures.is_running or self._storing):
            await self._figures.flush()  # of a script, where nobody else writes them
        self._on_stored([each.destination for each in deliveries])
        if not any(stored):
            return "duplicate"
        return "spooled" if is_spooled else "stored"

    async def _refuse_excess(
        self, shares: Shares, deliveries: list[Delivery], now: float
    ) -> list[Delivery]:
        """Return what has room, or needs none since it is known; the rest is lost.

        Raises:
            OutboxFullError: Nothing has.
        """
        kept, lost = [], []
        for each in deliveries:
            error = shares.find_excess(each)
            key = each.event_name, each.event_id
            if error and not await self._outbox.has(*key, now, destinations=[each.destination]):
                lost.append((each, error))
            else:
                kept.append(each)
        if lost and not kept:
            raise lost[0][1]
        if lost:
            self._lose([each for each, _ in lost], lost[0][1], now)
        return kept

    async def _finish(
        self, work: Coroutine[Any, Any, tuple[list[bool], bool]], deliveries: list[Delivery]
    ) -> tuple[list[bool], bool]:
        """Return what ``work`` returns; it ends even if the request that waits is cancelled."""
        task = asyncio.ensure_future(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(lambda done: self._note_end(done, deliveries))
            raise

    def _note_end(
        self, task: asyncio.Task[tuple[list[bool], bool]], deliveries: list[Delivery]
    ) -> None:
        """Count what nobody waits for any more, if it is lost."""
        error = None if task.cancelled() else task.exception()
        if isinstance(error, OutboxError):
            self._lose(deliveries, error, time.time())

    async def _store(self, deliveries: list[Delivery], now: float) -> tuple[list[bool], bool]:
        """Store in the outbox or the spool; return which are new, and whether it is the spool."""
        spool = self._spool
        if spool is not None and spool.is_in_use:
            # Whoever asks the outbox now may wait for seconds.
            try:
                return await spool.put(deliveries, now), True
            except OutboxError as error:
                logger.warning("spool: %s", error)
            return await self._outbox.put(deliveries, now), False
        try:
            return await self._insist(deliveries, now), False
        except OutboxError as error:
            if spool is None:
                raise
            try:
                return await spool.put(deliveries, now, error), True
            except OutboxError as failure:
                logger.warning("spool: %s", failure)
            raise

    async def _insist(self, deliveries: list[Delivery], now: float) -> list[bool]:
        """Store; try again, for some seconds, while the outbox's server starts or restarts."""
        end, pause = time.monotonic() + PATIENCE, FIRST_PAUSE
        while True:
            try:
                return await self._outbox.put(deliveries, now)
            except OutboxBusyError:
                if time.monotonic() + pause > end:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _lose(self, deliveries: list[Delivery], error: OutboxError, now: float) -> None:
        self._metrics.totals["lost"] += 1  # the event, however many copies it has
        for delivery in deliveries:
            self._metrics.count_alone(delivery.destination, "lost")
            self._figures.note(delivery.destination, delivery.event_name, LOST, now)
        self._untold += 1
        clock = time.monotonic()
        if clock < self._next_line:
            return  # an outage of the outbox is not to fill the disk with lines, too
        untold, self._untold, self._next_line = self._untold - 1, 0, clock + LINE_PAUSE
        shown = map(escape_unprintable, (deliveries[0].event_name, deliveries[0].event_id))
        more = f" ({untold} more since the last such line)" if untold else ""
        logger.error("%s %s is lost%s: %s", *shown, more, error)
