"""What counting costs: ``track()`` on SQLite with its figures, and without.

Strategy: the two take turns in short slices of the same bridge, so that whatever else the machine
does meets both, and a slice is compared with the other's of the same turn. What counts is the
processor time of the process: that of the thread that writes the file, too.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import Any

from bridge import Bridge
from bridge.figures.counter import FigureCounter
from bridge.visitor.visitor import Visitor

ROUNDS = 150
AT_ONCE = 64
SLICE = 10 * AT_ONCE  # events
BUDGET = 0.02


def _ignore(*_: Any, **__: Any) -> None:
    """Count nothing."""


async def _track(bridge: Bridge, visitor: Visitor, start: int) -> float:
    """Track a slice; return seconds of processor time."""

    async def track(number: int) -> None:
        properties = {"value": 59.9, "currency": "EUR", "order_id": f"A-{number}"}
        await bridge.track("Purchase", properties, event_id=f"A-{number}", visitor=visitor)

    began = time.process_time()
    for at in range(start, start + SLICE, AT_ONCE):
        await asyncio.gather(*(track(number) for number in range(at, at + AT_ONCE)))
    return time.process_time() - began


async def run(bridge: Bridge) -> tuple[float, float]:
    """Return the share that counting adds, and microseconds of one event without it."""
    visitor = bridge.person("42", email="ada@example.com", phone="+49 170 1234567")
    bridge._pipeline.figures.start()  # as in an app
    counted, shares, plain = FigureCounter.note_stored, [], []
    try:
        for turn in range(ROUNDS):
            times = {}
            for name in ("with", "without") if turn % 2 else ("without", "with"):
                counting: Any = counted if name == "with" else _ignore
                FigureCounter.note_stored = counting  # type: ignore[method-assign]
                start = 2 * turn * SLICE + (SLICE if name == "with" else 0)
                times[name] = await _track(bridge, visitor, start)
            shares.append(times["with"] / times["without"] - 1)
            plain.append(times["without"] / SLICE * 1e6)
    finally:
        FigureCounter.note_stored = counted  # type: ignore[method-assign]
    return statistics.median(shares), statistics.median(plain)
