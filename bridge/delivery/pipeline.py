"""The pipeline: all that stands between a tracked event and its destination, built once a process.

An app with one shop has one, and so has an app with ten thousand: outbox, spool, figures and sender
are shared by all that track in this process.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Sequence
from typing import Self

from bridge.delivery.demand import FindDestination
from bridge.delivery.health import Snapshot
from bridge.delivery.intake import Intake
from bridge.delivery.metrics import Metrics
from bridge.delivery.mistakes import Mistakes
from bridge.delivery.sender import DEAD_LETTER_DAYS, Sender
from bridge.delivery.shares import Shares
from bridge.delivery.spool import SPOOL, Spool
from bridge.destinations.base import Destination
from bridge.errors import ConfigError, OutboxError, UsageError
from bridge.figures.counter import FigureCounter
from bridge.outbox.base import REMEMBER_DAYS, Erased, Outbox
from bridge.outbox.engines import open_outbox
from bridge.outbox.sqlite.outbox import SQLiteOutbox

DRAIN_DEADLINE = 5.0  # seconds that a shutdown waits for what is due
TELLING = 1.0  # seconds that counting what waits may take at the end

logger = logging.getLogger("bridge.delivery")


class Pipeline:
    """Outbox, spool, intake, figures and sender of one process.

    Args:
        outbox: A URL such as ``sqlite:///bridge.db``, or an outbox.
        destinations: Those that are known from the start.
        find: Finds further ones by name, when something waits for them.
        spool: As for ``Bridge``.
        run_sender: Whether this process delivers.
        dead_letter_days: Days after which the sender deletes a dead letter.
        remember_days: As for ``Bridge``.
        capacity: How many deliveries of one destination may wait or be dead; any number by default.
        counters: Where it counts what happens; new ones by default.

    Attributes:
        outbox: Where deliveries wait.
        counters: What happened in this process.
        metrics, figures, sender, snapshot, mistakes, spool, shares, intake: Its parts.
        runs_sender: Whether this process delivers.
        loop: The event loop that it runs on; ``None`` while it does not run.

    Raises:
        ConfigError: A value is wrong; the message says which and why.
    """

    def __init__(
        self,
        outbox: str | Outbox,
        destinations: Sequence[Destination] = (),
        *,
        find: FindDestination | None = None,
        spool: str | None = SPOOL,
        run_sender: bool = True,
        dead_letter_days: float = DEAD_LETTER_DAYS,
        remember_days: float = REMEMBER_DAYS,
        capacity: int | None = None,
        counters: Counter[str] | None = None,
    ) -> None:
        if isinstance(outbox, str):
            self.outbox = open_outbox(outbox, remember_days=remember_days)
        elif remember_days == REMEMBER_DAYS:
            self.outbox = outbox
        else:
            raise ConfigError("remember_days is for an outbox by URL: give it to your own instead")
        self.counters: Counter[str] = Counter() if counters is None else counters
        self.metrics = Metrics(
            [each.name for each in destinations], self.counters, is_open=find is not None
        )
        self.figures = FigureCounter(self.outbox, self.metrics.add)
        self.sender = Sender(
            self.outbox,
            destinations,
            find=find,
            metrics=self.metrics,
            figures=self.figures,
            dead_letter_days=dead_letter_days,
        )
        self.snapshot = Snapshot(self.outbox)
        self.mistakes = Mistakes(self.outbox)
        is_file = isinstance(self.outbox, SQLiteOutbox)
        self.spool = None if spool is None or is_file else Spool(spool, self.outbox)
        self.shares = None if capacity is None else Shares(self.outbox, capacity)
        self.runs_sender = run_sender
        self.loop: asyncio.AbstractEventLoop | None = None
        self.intake = Intake(
            self.outbox,
            self.metrics,
            self.figures,
            self.spool,
            self.shares,
            on_stored=self.sender.wake,
        )

    # Its life

    def start(self) -> None:
        """Start the sender, if it is to run here, on the running event loop; again is harmless."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise UsageError(
                "Bridge runs on asyncio, and this app does not: serve it with uvicorn, granian, or"
                " hypercorn with --worker-class asyncio"
            ) from None
        if self.loop is loop:
            return
        # A sender on a loop that lives, in another thread, delivers for this one, too.
        if self.loop is None or not self.loop.is_running():
            self.loop = loop
            self.metrics.publish()
            self.start_parts(sends=self.runs_sender)

    def start_parts(self, *, sends: bool) -> None:
        """Start the parts, the sender if it ``sends``, whatever the settings say."""
        self.figures.start()
        if self.spool is not None:
            self.spool.start()
        if self.shares is not None:
            self.shares.start()
        if sends:
            self.sender.start()

    async def stop(self, deadline: float = DRAIN_DEADLINE) -> None:
        """Deliver what is due, for at most ``deadline`` seconds, and close the outbox."""
        await self.stop_parts(deadline)
        if self.loop is not None and self.runs_sender:
            await self._tell_what_waits()
        await self.outbox.close()
        self.loop = None

    async def stop_parts(self, deadline: float) -> None:
        """Deliver what is due, for at most ``deadline`` seconds; the outbox stays open."""
        end = time.monotonic() + deadline
        if self.shares is not None:
            await self.shares.stop()
        if self.spool is not None:
            await self.spool.stop(deadline)
        await self.sender.stop(max(0.0, end - time.monotonic()))
        await self.figures.stop()

    async def _tell_what_waits(self) -> None:
        """Log how many events are left: where the outbox goes with a container, they are lost."""
        try:
            async with asyncio.timeout(TELLING):
                if not await self.sender.lead():
                    return  # another process delivers it
                counts = await self.outbox.count(time.time())
        except (OutboxError, TimeoutError):
            return
        if waiting := sum(each.waiting for each in counts.values()):
            logger.warning(
                "stopped; waiting in %r for the next process that uses it: %d",
                self.outbox,
                waiting,
            )

    @property
    def delivers(self) -> bool:
        """Whether this process delivers, or need not."""
        return not self.runs_sender or self.loop is None or self.sender.is_delivering

    # An event's way

    async def release(
        self, event_name: str, event_id: str, subjects: bytes, destinations: Sequence[str]
    ) -> bool:
        """End the hold of an event of one of ``subjects``; return whether it was held."""
        now, spooled = time.time(), 0
        if self.spool is not None:
            spooled = await self.spool.release(
                event_name, event_id, subjects, now, destinations=destinations
            )
        stored = await self.outbox.release(
            event_name, event_id, subjects, now, destinations=destinations
        )
        if stored + spooled:
            self.sender.wake(destinations)
        return stored + spooled > 0

    async def withdraw(self, subjects: bytes) -> bool:
        """Take back what waits of a browser; return whether that is done, or will be."""
        if self.spool is not None:
            self.counters["withdrawn"] += await self.spool.withdraw(subjects)
        try:
            self.counters["withdrawn"] += await self.outbox.withdraw(subjects)
        except OutboxError as error:
            if self.spool is not None and await self.spool.keep_withdrawal(subjects, time.time()):
                return True  # it is done once the outbox works
            logger.error("what waits for a visitor who denied cannot be taken back: %s", error)
            return False
        return True

    async def erase(self, subjects: bytes) -> Erased:
        """Delete what waits or is dead and has any of ``subjects``; raises as ``Outbox.erase``."""
        spooled = Erased() if self.spool is None else await self.spool.erase(subjects)
        stored = await self.outbox.erase(subjects)
        return Erased(spooled.waiting + stored.waiting, spooled.dead + stored.dead)


class Runs:
    """Something that starts and stops with its pipeline: a ``Bridge``, or ``Shops``."""

    _pipeline: Pipeline

    @property
    def outbox(self) -> Outbox:
        """Where deliveries wait."""
        return self._pipeline.outbox

    async def __aenter__(self) -> Self:
        """Run the sender, for a script that has no app around it."""
        self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        """Deliver what is due, and close the outbox."""
        await self.stop()

    def start(self) -> None:
        """Start the sender, if it is to run here, on the running event loop; again is harmless."""
        self._pipeline.start()

    async def stop(self, deadline: float = DRAIN_DEADLINE) -> None:
        """Deliver what is due, for at most ``deadline`` seconds, and close the outbox."""
        await self._pipeline.stop(deadline)
