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
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from contextvars import Context
from typing import Any, NamedTuple

from bridge.errors import OutboxError
from bridge.events.event import DAY, STANDARD_EVENTS, Event
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
    list_present,
)
from bridge.outbox.base import Figure, Outbox

EVERY = 10.0  # seconds between writes
STOP_DEADLINE = 2.0  # seconds that the last write may take
MAX_NAMES = 200  # event names besides Meta's own, and reasons, of one day and process
MAX_UNSURE = 1000  # events whose transactions are still open
UNSURE_SECONDS = 120.0  # after which a transaction counts as rolled back
MAX_REASON = 60  # characters
MAX_VALUE = 10**10  # of one event; a higher one is a mistake that would hide all others

logger = logging.getLogger("bridge.figures")

_Counted = tuple[str, str, str]  # destination, event name, kind


# What stored server copies have in common, so that each costs one look: destination, event name,
# whether it has a browser copy, currency (empty for none, or what is no currency), and for each of
# ``IDENTIFIERS`` whether it is missing.
_Stored = tuple[str, str, bool, Any, *tuple[bool, ...]]


class _Unsure(NamedTuple):
    """An event that was tracked in a transaction of the app's."""

    event: Event
    destinations: tuple[str, ...]
    has_copy: bool
    since: float


class FigureCounter:
    """Counts what happens in this process.

    Args:
        outbox: Keeps the figures of all processes.
        tell: Called with what was counted, every ten seconds.
    """

    def __init__(
        self, outbox: Outbox, tell: Callable[[Mapping[_Counted, int]], None] | None = None
    ) -> None:
        self._outbox = outbox
        self._tell = tell
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._trouble = ""  # the failure that was logged last
        self._unsure: list[_Unsure] = []
        self._day = self._day_begins = self._day_ends = 0
        self._names = set(STANDARD_EVENTS)
        self._reasons: set[str] = set()
        self._counted: Counter[_Counted] = Counter()
        self._stored: dict[_Stored, list[float]] = {}  # how many, and their value
        self._waiting: Counter[tuple[int, _Counted]] = Counter()  # of days before, or not written

    def note(
        self, destination: str, event_name: str, kind: str, now: float, number: int = 1
    ) -> None:
        """Count ``number`` of ``kind``, one of ``bridge.figures.words``."""
        if not self._day_begins <= now < self._day_ends:
            self._turn(now)
        self._counted[destination, self._limit(event_name), kind] += number

    def note_stored(self, destination: str, event: Event, now: float, *, has_copy: bool) -> None:
        """Count a server copy that was stored.

        Args:
            destination: Where it goes.
            event: Complete.
            now: Unix seconds.
            has_copy: Whether there is a browser copy, fired or still to be fired.
        """
        if not self._day_begins <= now < self._day_ends:
            self._turn(now)
        # Written out, and in one plain tuple: every ``track()`` pays for it.
        custom_data, known = event.custom_data, event.user_data
        value, ip = custom_data.get("value"), known.client_ip_address
        key = (
            destination, event.event_name, has_copy, custom_data.get("currency", ""),
            not known.em, not known.ph, not known.external_id, not known.fbc, not known.fbp,
            not ip, not ip or ":" not in ip, not known.client_user_agent,
            not known.fn, not known.ln, not known.db, not known.ge,
            not known.ct, not known.st, not known.zp, not known.country,
        )  # fmt: skip
        try:
            entry = self._stored.get(key)
        except TypeError:
            entry = None  # a currency that is a list
        if entry is None:
            entry = self._begin_entry(key)
        entry[0] += 1
        if (type(value) is float or type(value) is int) and abs(value) < MAX_VALUE:
            entry[1] += value

    def _begin_entry(self, key: _Stored) -> list[float]:
        """Return the entry of ``key``, its name and currency being known ones."""
        destination, name, has_copy, currency, *missing = key
        currency = currency if str(currency) in CURRENCIES else ""
        return self._stored.setdefault(
            (destination, self._limit(name), has_copy, currency, *missing), [0, 0]
        )

    def note_skipped(self, event_name: str, reason: str, now: float) -> None:
        """Count an event that nobody may be told of."""
        kind = SKIPPED + _limit(self._reasons, reason[:MAX_REASON], MAX_NAMES)
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

    def note_unsure(self, event: Event, destinations: Sequence[str], *, has_copy: bool) -> None:
        """Count ``event`` as stored once it is: the caller's transaction may still roll back."""
        if len(self._unsure) < MAX_UNSURE:
            self._unsure.append(_Unsure(event, tuple(destinations), has_copy, time.monotonic()))

    def start(self) -> None:
        """Write every ten seconds, on the running event loop; again is harmless."""
        loop = asyncio.get_running_loop()
        if self.is_running:
            return
        self._stopping = asyncio.Event()
        # An empty context: a request may be what starts it.
        self._task = loop.create_task(self._run(self._stopping), context=Context())

    async def stop(self) -> None:
        """Write what is left, within two seconds: a broken outbox must not hold up a shutdown."""
        task, self._task = self._task, None
        is_ours = task is not None and task.get_loop() is asyncio.get_running_loop()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_DEADLINE):
                if task is not None and is_ours:
                    self._stopping.set()
                    await asyncio.wait({task})  # a write that is under way ends
                await self.flush()
        if task is not None and is_ours:
            task.cancel()

    @property
    def is_running(self) -> bool:
        """Whether what is counted is written every ten seconds."""
        task = self._task
        return task is not None and not task.done() and task.get_loop().is_running()

    def cancel(self) -> None:
        """End without writing what is left; from any thread."""
        task, self._task = self._task, None
        if task is not None and not task.done() and task.get_loop().is_running():
            task.get_loop().call_soon_threadsafe(task.cancel)

    async def _run(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY):
                    await stopping.wait()
            if not stopping.is_set():
                await self.flush()

    async def flush(self) -> None:
        """Write what was counted; if the outbox is broken, keep it for the next time."""
        await self._look_at_unsure()
        self._fold()
        days = sorted({day for day, _ in self._waiting})
        for day in days:
            taken = {key: n for key, n in self._waiting.items() if key[0] == day}
            figures = [Figure(day, *named, number) for (_, named), number in taken.items()]
            for key in taken:
                del self._waiting[key]
            try:
                await self._outbox.add_figures(figures)
            except OutboxError as error:
                # Without an answer it may be stored: rather ten seconds too few than twice.
                if not isinstance(error.__cause__, TimeoutError):
                    self._waiting.update(taken)
                self._report(error)
                return
            except Exception:
                logger.exception("figures: unexpected error")
                return
            self._trouble = ""

    async def _look_at_unsure(self) -> None:
        """Count what was tracked in a transaction, once it is committed."""
        left = []
        for each in self._unsure:
            try:
                is_stored = await self._outbox.has(
                    each.event.event_name,
                    each.event.event_id,
                    time.time(),
                    destinations=each.destinations,
                )
            except OutboxError:
                is_stored = False
            if is_stored:
                for destination in each.destinations:
                    self.note_stored(destination, each.event, time.time(), has_copy=each.has_copy)
            elif time.monotonic() - each.since < UNSURE_SECONDS:
                left.append(each)
        self._unsure = left

    def _report(self, error: OutboxError) -> None:
        """Log the first of several failures of one kind."""
        kind = str(error)[:200]
        if kind != self._trouble:
            self._trouble = kind
            logger.warning("figures cannot be written: %s", error)

    def _limit(self, event_name: str) -> str:
        return _limit(self._names, event_name, MAX_NAMES + len(STANDARD_EVENTS))

    def _turn(self, now: float) -> None:
        """Begin a new day."""
        self._fold()
        self._names = set(STANDARD_EVENTS)
        self._reasons = set()
        self._day = int(now // DAY)
        self._day_begins, self._day_ends = self._day * DAY, (self._day + 1) * DAY

    def _fold(self) -> None:
        """Put what was counted today to what is to be written."""
        counted, self._counted = self._counted, Counter()
        stored, self._stored = self._stored, {}
        for key, (number, value) in stored.items():
            destination, name, has_copy, currency, *missing = key
            carried = [WITH + each for each in list_present(missing)]
            for kind in (STORED, *carried, *([EXPECTED] * has_copy)):
                counted[destination, name, kind] += int(number)
            if currency and (units := round(value * VALUE_UNIT)):
                counted[destination, name, VALUE + currency] += units
        if self._tell is not None and counted:
            self._tell(counted)
        for named, total in counted.items():
            self._waiting[self._day, named] += total


def _limit(known: set[str], name: str, most: int) -> str:
    """Return ``name``, or what stands for all that come after the first ones of a day."""
    if name not in known:
        if len(known) >= most:
            return OTHER
        known.add(name)
    return name
