"""Health: what a readiness probe may see of the outbox and the destinations.

All of it comes from the outbox, so that each process of each machine says the same, but for what
only the process knows that met damage in the outbox.

Anybody may ask, so the answer has nothing that a competitor or an attacker could use: no totals of
what was delivered, and none of Meta's words, which may quote a token. Pixel ids are public: each
page contains them.

The app must not be taken out of service because Meta is down, nor because much waits: only an
outbox in which nothing can be stored is a failure. One that is full is none, for no other instance
of the app could store more.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Literal, get_args

import msgspec

from bridge.browser.words import CopyState
from bridge.delivery.orphans import find_orphans
from bridge.delivery.spool import Spool
from bridge.destinations.base import FAULTS
from bridge.errors import OutboxError, OutboxFullError
from bridge.events.event import DAY
from bridge.figures.words import COPY
from bridge.outbox.base import Circuit, CircuitState, Counts, Figure, Outbox, Troubled

CACHE_SECONDS = 1.5  # for which an answer is given again, however often somebody asks
SHARES_SECONDS = 10.0  # for which shares are kept: figures are written as often
DEADLINE = 2.0  # seconds that an answer may take
PROBING = 0.8  # seconds of them that an outbox may take to say whether it can store
COUNTING = 0.8  # seconds of them that counting may take
LATE = 3600.0  # seconds of waiting; Meta, "Using the API": events are best within an hour

logger = logging.getLogger("bridge.delivery")


class DestinationHealth(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The state of one destination.

    Attributes:
        circuit: Whether it accepts our requests, as the last sender found.
        reason: If it does not, what is wrong: ``token``, ``permission``, ``account`` and so on.
        waiting: Deliveries stored and not settled.
        oldest_seconds: Since the oldest of them was stored.
        dead: Dead letters.
    """

    circuit: CircuitState
    reason: str | None = None
    waiting: int
    oldest_seconds: int
    dead: int

    @property
    def is_well(self) -> bool:
        """Whether it accepts our requests, and none has waited for more than an hour."""
        return self.circuit == "closed" and self.oldest_seconds < LATE


class Unconfigured(msgspec.Struct, frozen=True, kw_only=True):
    """What waits for destinations that are not configured here, all together."""

    waiting: int
    oldest_seconds: int


class OutboxHealth(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether events can be stored.

    Attributes:
        works: Whether the outbox takes them.
        is_full: Whether it has no room for more.
        is_slow: Whether it could not be counted in time, so that what waits is not known.
        troubles: What else is wrong with it, in sentences, as this process knows.
        is_spooled: Whether it takes none, and the spool on this machine does.
    """

    works: bool
    is_full: bool = False
    is_slow: bool = False
    troubles: list[str] = []
    is_spooled: bool = False


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a probe.

    Attributes:
        status: ``degraded`` if a destination is not well, the outbox is full, slow or in trouble,
            only the spool takes events, nothing is delivered from here though it should be, or
            something has waited for an hour for a destination that is not configured (another app
            may share the outbox); ``failing`` if nothing can be stored.
        sender: ``stopped`` if this process should deliver, and does not.
        unconfigured: What waits for destinations that were removed or renamed, if anything.
        browser: Shares of the browser copies of today and yesterday (UTC), 0 to 1: ``sent``,
            ``blocked``, ``unknown``; ``None`` if scripts reported none.
    """

    status: Literal["ok", "degraded", "failing"]
    outbox: OutboxHealth
    destinations: dict[str, DestinationHealth]
    browser: dict[str, float] | None = None
    unconfigured: Unconfigured | msgspec.UnsetType = msgspec.UNSET
    sender: Literal["stopped"] | msgspec.UnsetType = msgspec.UNSET


FAILING = Report(status="failing", outbox=OutboxHealth(False), destinations={})


class Snapshot:
    """The counts and circuits of an outbox, kept for ``seconds`` for all who ask."""

    def __init__(self, outbox: Outbox, seconds: float = CACHE_SECONDS) -> None:
        self._outbox = outbox
        self._seconds = seconds
        self._until = 0.0
        self._counts: Mapping[str, Counts] = {}
        self._circuits: Mapping[str, Circuit] = {}

    async def read(self, now: float) -> tuple[Mapping[str, Counts], Mapping[str, Circuit]]:
        """Return both; raises ``OutboxError`` as an outbox."""
        if time.monotonic() >= self._until:
            self._counts = await self._outbox.count(now)
            self._circuits = await self._outbox.circuits()
            self._until = time.monotonic() + self._seconds
        return self._counts, self._circuits


class Health:
    """Reads the outbox for probes: once at a time, and at most every 1.5 seconds."""

    def __init__(
        self,
        outbox: Outbox,
        destinations: Sequence[str],
        is_delivering: Callable[[], bool] = lambda: True,
        spool: Spool | None = None,
        *,
        is_alone: bool = True,
        snapshot: Snapshot | None = None,
    ) -> None:
        # Shared by the shops of an app; a single one keeps its whole report.
        self._snapshot = snapshot or Snapshot(outbox, 0.0)
        self._is_alone = is_alone  # whether nobody else is meant to use the outbox
        self._outbox = outbox
        self._spool = spool
        self._is_delivering = is_delivering
        self._destinations = tuple(destinations)
        self._reading: asyncio.Task[Report] | None = None
        self._asked_at = 0.0
        self._shares: dict[str, float] | None = None
        self._shares_until = 0.0

    async def read(self) -> Report:
        """Return the report within two seconds, however slow the outbox is."""
        task, since = self._reading, time.monotonic() - self._asked_at
        is_ours = task is not None and task.get_loop() is asyncio.get_running_loop()
        if task is None or not is_ours or (since > CACHE_SECONDS and task.done()):
            task, since = asyncio.create_task(self._build()), 0.0
            self._reading, self._asked_at = task, time.monotonic()
        # If the outbox hangs, all who ask wait until the same moment.
        await asyncio.wait({task}, timeout=max(0.0, DEADLINE - since))
        return task.result() if task.done() and not task.cancelled() else FAILING

    async def _build(self) -> Report:
        now, is_full = time.time(), False
        try:
            async with asyncio.timeout(PROBING):
                await self._outbox.probe()
        except OutboxFullError as error:
            logger.error("health: %s", error)
            is_full = True
        except (OutboxError, TimeoutError) as error:
            logger.error("health: %s", str(error) or "the outbox does not answer")
            return await self._report_failure()
        except Exception:
            # Whatever it is, a probe is answered.
            logger.exception("health: unexpected error")
            return FAILING
        is_slow = False
        counts: Mapping[str, Counts] = {}
        circuits: Mapping[str, Circuit] = {}
        try:
            async with asyncio.timeout(COUNTING):
                counts, circuits = await self._snapshot.read(now)
                with suppress(OutboxError):  # without them nothing is wrong with the events
                    if self._is_alone:
                        await self._read_shares(now)
        except (OutboxError, TimeoutError) as error:
            logger.warning("health: the outbox cannot be counted: %s", str(error) or "it is slow")
            is_slow = True
        except Exception:
            logger.exception("health: unexpected error")
            is_slow = True
        troubles = await self._find_troubles()
        destinations = {
            name: _describe(counts.get(name, Counts()), circuits.get(name), now)
            for name in self._destinations
        }
        orphans = find_orphans(counts, self._destinations) if self._is_alone else {}
        age = max((int(each.read_age(now)) for each in orphans.values()), default=0)
        well = all(each.is_well for each in destinations.values()) and age < LATE
        waiting = sum(each.waiting for each in orphans.values())
        delivers = self._is_delivering()
        is_ok = well and delivers and not (is_full or is_slow or troubles)
        return Report(
            status="ok" if is_ok else "degraded",
            outbox=OutboxHealth(True, is_full, is_slow, troubles),
            destinations=destinations,
            browser=self._shares,
            unconfigured=Unconfigured(waiting=waiting, oldest_seconds=age)
            if waiting
            else msgspec.UNSET,
            sender=msgspec.UNSET if delivers else "stopped",
        )

    async def _report_failure(self) -> Report:
        """Return the report of an outbox that takes nothing; with a spool the app still works."""
        if self._spool is None:
            return FAILING
        try:
            await self._spool.probe()
        except OutboxError as error:
            logger.error("health: %s", error)
            return FAILING
        return msgspec.structs.replace(
            FAILING, status="degraded", outbox=OutboxHealth(False, is_spooled=True)
        )

    async def _find_troubles(self) -> list[str]:
        """Return what is wrong with the outbox, or the spool, though it works."""
        found = [self._spool.trouble] if self._spool is not None and self._spool.trouble else []
        if isinstance(self._outbox, Troubled):
            with suppress(OutboxError):
                found += [each.text for each in await self._outbox.find_troubles()]
        return found

    async def _read_shares(self, now: float) -> None:
        """Read what became of the browser copies, of all processes."""
        if time.monotonic() >= self._shares_until:
            today = int(now // DAY)
            self._shares = _compute_shares(await self._outbox.figures(today - 1, today))
            self._shares_until = time.monotonic() + SHARES_SECONDS


def _compute_shares(figures: Iterable[Figure]) -> dict[str, float] | None:
    """Return the share of each state of browser copies; ``None`` if there are none."""
    copies: Counter[str] = Counter()
    for figure in figures:
        copies[figure.kind] += figure.number
    states: tuple[CopyState, ...] = get_args(CopyState)
    total = sum(copies[COPY + state] for state in states)
    return {state: round(copies[COPY + state] / total, 3) for state in states} if total else None


def _describe(counts: Counts, circuit: Circuit | None, now: float) -> DestinationHealth:
    fault = None
    if circuit is not None and circuit.state != "closed":
        fault = circuit.reason.partition(":")[0]
        fault = fault if fault in FAULTS else "unknown"
    return DestinationHealth(
        circuit=circuit.state if circuit else "closed",
        reason=fault,
        waiting=counts.waiting,
        oldest_seconds=int(counts.read_age(now)),
        dead=counts.dead,
    )
