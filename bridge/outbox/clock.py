"""How far a server's clock is ahead of this machine's, as times from callers are translated.

Strategy: the server is asked now and then, and whenever this machine's clock was set. Its answer
shows the difference between the two clocks only within the time that the answer took. So clocks
that may agree, or differ as far as they did before, are left alone: machines that keep time are
never translated, and what they store is exact. Half a minute of lease absorbs the rest.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from bridge.outbox.base import Circuit, Counts, DeadLetter, Delivery

INTERVAL = 30.0  # seconds between questions
TOLERANCE = 0.25  # seconds by which two clocks may differ and count as equal
STEP = 1.0  # seconds by which a clock must be set for that to be noticed at once


class Clock:
    """The difference between two clocks.

    Args:
        ask: Returns the server's time, Unix seconds.
        wall: Returns this machine's.
    """

    def __init__(self, ask: Callable[[], Awaitable[float]], wall: Callable[[], float]) -> None:
        self._ask = ask
        self._wall = wall
        self._ahead = 0.0
        self._offset: float | None = None  # of the wall clock to the monotonic one, when asked
        self._next = 0.0  # monotonic seconds: the time of the next question

    async def read(self) -> float:
        """Return by how many seconds the server is ahead; raises what ``ask`` raises."""
        now = time.monotonic()
        offset = self._wall() - now
        was_set = self._offset is None or abs(offset - self._offset) > STEP
        if was_set or now >= self._next:
            self._next = now + INTERVAL  # at once: others need not ask meanwhile
            before = self._wall()
            server = await self._ask()
            after = self._wall()
            if not server - after - TOLERANCE <= self._ahead <= server - before + TOLERANCE:
                self._ahead = server - (before + after) / 2
            self._offset = offset
        return self._ahead


def shift_delivery(delivery: Delivery, seconds: float) -> Delivery:
    """Return ``delivery`` with its times moved."""
    if not seconds:
        return delivery
    return replace(delivery, due=delivery.due + seconds, expires=delivery.expires + seconds)


def shift_letter(letter: DeadLetter, seconds: float) -> DeadLetter:
    """Return ``letter`` with its times moved."""
    delivery = shift_delivery(letter.delivery, seconds)
    return DeadLetter(delivery, letter.reason, letter.buried_at + seconds)


def shift_counts(counts: Counts, seconds: float) -> Counts:
    """Return ``counts`` with the time of the oldest moved."""
    return counts if counts.oldest is None else replace(counts, oldest=counts.oldest + seconds)


def shift_circuit(circuit: Circuit, seconds: float) -> Circuit:
    """Return ``circuit`` with its times moved; ``until`` stays 0 when there is none."""
    until = circuit.until and circuit.until + seconds
    return replace(circuit, since=circuit.since + seconds, until=until)
