"""What this process counts, added to the outbox's figures every ten seconds.

A count costs a dictionary entry, nothing per person is kept, and a crash costs ten seconds of it.
Names come from browsers, too: past a number a day they are counted together.
"""

from __future__ import annotations

import asyncio
import logging
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from contextvars import Context
from typing import Any

from bridge.errors import OutboxError
from bridge.events.event import DAY, Event
from bridge.events.money import CURRENCIES
from bridge.figures.words import (
    COPY,
    DELAY,
    DELAY_BUCKETS,
    EXPECTED,
    NOBODY,
    OTHER,
    SKIPPED,
    STORED,
    VALUE,
    VALUE_UNIT,
    WITH,
    list_identifiers,
)
from bridge.outbox.base import Figure, Outbox

EVERY = 10.0  # seconds between writes
MAX_NAMES = 200  # event names, and reasons, of one day and process
MAX_REASON = 60  # characters
MAX_VALUE = 10**10  # of one event; a higher one is a mistake that would hide all others

logger = logging.getLogger("bridge.figures")

# Destination, event name, and the kind; or of a stored one its identifiers, and whether it has a
# browser copy.
_Counted = tuple[str, str, str]
_Stored = tuple[str, str, tuple[str, ...], bool]


class FigureCounter:
    """Counts what happens in this process.

    Args:
        outbox: Keeps the figures of all processes.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._task: asyncio.Task[None] | None = None
        self._day = 0
        self._names: set[str] = set()
        self._reasons: set[str] = set()
        self._counted: Counter[_Counted] = Counter()
        self._stored: Counter[_Stored] = Counter()
        self._waiting: Counter[tuple[int, _Counted]] = Counter()  # of days before, or not written

    def note(
        self, destination: str, event_name: str, kind: str, now: float, number: int = 1
    ) -> None:
        """Count ``number`` of ``kind``, one of ``bridge.figures.words``."""
        self._turn(now)
        self._counted[destination, _limit(self._names, event_name), kind] += number

    def note_stored(self, destination: str, event: Event, now: float, *, has_copy: bool) -> None:
        """Count a server copy that was stored.

        Args:
            destination: Where it goes.
            event: Complete.
            now: Unix seconds.
            has_copy: Whether there is a browser copy, fired or still to be fired.
        """
        self._turn(now)
        name = _limit(self._names, event.event_name)
        self._stored[destination, name, list_identifiers(event.user_data), has_copy] += 1
        units, currency = _read_value(event.custom_data)
        if units:
            self._counted[destination, name, VALUE + currency] += units

    def note_skipped(self, event_name: str, reason: str, now: float) -> None:
        """Count an event that nobody may be told of."""
        kind = SKIPPED + _limit(self._reasons, reason[:MAX_REASON])
        self.note(NOBODY, event_name, kind, now)

    def note_copy(self, destinations: Iterable[str], event_name: str, state: str) -> None:
        """Count what a script saw of a browser copy."""
        now = time.time()
        for each in destinations:
            self.note(each, event_name, COPY + state, now)

    def note_delay(self, destination: str, event_name: str, seconds: float, now: float) -> None:
        """Count how long it took from an event to its acceptance."""
        bucket = bisect_left(DELAY_BUCKETS, max(0.0, seconds))
        self.note(destination, event_name, f"{DELAY}{bucket}", now)

    def start(self) -> None:
        """Write every ten seconds, on the running event loop; again is harmless."""
        loop = asyncio.get_running_loop()
        if self._task is None or self._task.get_loop() is not loop:
            # An empty context: a request may be what starts it.
            self._task = loop.create_task(self._run(), context=Context())

    async def stop(self) -> None:
        """Write what is left."""
        task, self._task = self._task, None
        if task is not None and task.get_loop() is asyncio.get_running_loop():
            task.cancel()
        await self.flush()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            await self.flush()

    async def flush(self) -> None:
        """Write what was counted; if the outbox is broken, keep it for the next time."""
        self._fold()
        taken, self._waiting = self._waiting, Counter()
        if not taken:
            return
        figures = [Figure(day, *key, number) for (day, key), number in taken.items()]
        try:
            await self._outbox.add_figures(figures, int(time.time() // DAY))
        except OutboxError as error:
            logger.debug("figures: %s", error)
            self._waiting.update(taken)
        except Exception:
            logger.exception("figures: unexpected error")

    def _turn(self, now: float) -> None:
        """Begin a new day."""
        day = int(now // DAY)
        if day != self._day:
            self._fold()
            self._names.clear()
            self._reasons.clear()
            self._day = day

    def _fold(self) -> None:
        """Put what was counted today to what is to be written."""
        counted, self._counted = self._counted, Counter()
        stored, self._stored = self._stored, Counter()
        for (destination, name, identifiers, has_copy), number in stored.items():
            kinds = [STORED, *(WITH + each for each in identifiers), *([EXPECTED] * has_copy)]
            for kind in kinds:
                counted[destination, name, kind] += number
        for key, number in counted.items():
            self._waiting[self._day, key] += number


def _limit(known: set[str], name: str) -> str:
    """Return ``name``, or what stands for all that come after the first ones of a day."""
    if name not in known:
        if len(known) >= MAX_NAMES:
            return OTHER
        known.add(name)
    return name


def _read_value(custom_data: dict[str, Any]) -> tuple[int, str]:
    """Return an event's value in ten-thousandths and its currency; 0 if it has none."""
    value, currency = custom_data.get("value"), custom_data.get("currency")
    if not isinstance(value, int | float) or not isinstance(currency, str):
        return 0, ""
    is_right = currency in CURRENCIES and abs(value) < MAX_VALUE
    return (round(value * VALUE_UNIT), currency) if is_right else (0, "")
