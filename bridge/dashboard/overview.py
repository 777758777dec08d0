"""The overview: days of figures by event name, what waits for whom, and what was skipped."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from bridge.delivery.metrics import Metrics
from bridge.figures.summary import Summary, summarize, summarize_days
from bridge.figures.words import DELIVERED, NOBODY
from bridge.outbox.base import Circuit, Counts, Figure, Outbox

DAY = 86_400  # seconds
CHART_DAYS = 30  # that the line shows at least
DAYS_AT_ONCE = 7  # of figures that are read by one call; an engine may make them on the loop
LONGEST = float(DAY + 1)  # seconds; in place of "longer than a day"


async def read_overview(
    outbox: Outbox,
    names: Collection[str],
    *,
    since: int,
    until: int,
    event_name: str = "",
    destination: str = "",
    chart_days: int = CHART_DAYS,
    metrics: Metrics | None = None,
) -> dict[str, Any]:
    """Return what the page shows at a glance.

    Args:
        outbox: Keeps the figures of all processes.
        names: Those of the destinations that the app has; empty if they are not known.
        since: Days since 1970, UTC: the first of those that are summed up.
        until: The last one.
        event_name: Only this one; empty for all.
        destination: Only this one; empty for all.
        chart_days: How many days until today the chart shows, if more than ``CHART_DAYS``.
        metrics: Those of this process.

    Raises:
        OutboxError: The outbox cannot be read.
    """
    now = time.time()
    today = int(now // DAY)
    first = today - max(CHART_DAYS, chart_days) + 1
    sums = _Sums(since, until, first, today, event_name, destination)
    await sums.read(outbox, first, today)
    # A day before the chart's is read by itself, not with all that lie between.
    await sums.read(outbox, since, min(until, first - 1))
    counts, circuits = await outbox.count(now), await outbox.circuits()
    return {
        "now": now,
        "days": [write_day(since), write_day(until)],
        **sums.describe(),
        "destinations": _describe_all(names, counts, circuits, sums.delivered, now, metrics),
    }


class _Sums:
    """Adds figures up, some days at a time: there may be hundreds of thousands.

    It does so in a thread, so that no visitor of this process waits.
    """

    def __init__(
        self, since: int, until: int, first: int, today: int, event_name: str, destination: str
    ) -> None:
        self._asked = range(since, until + 1)
        self._charted = range(first, today + 1)
        self._recent = range(today - 1, today + 1)
        self._event_name = event_name
        self._destination = destination
        self._every: Counter[tuple[str, str, str]] = Counter()
        self._points: dict[int, dict[str, Any]] = {}
        self.delivered: Counter[str] = Counter()

    async def read(self, outbox: Outbox, since: int, until: int) -> None:
        """Read and add the figures of some days."""
        for day in range(since, until + 1, DAYS_AT_ONCE):
            figures = await outbox.figures(day, min(day + DAYS_AT_ONCE - 1, until))
            await asyncio.to_thread(self._add, figures)

    def _add(self, figures: Sequence[Figure]) -> None:
        for figure in figures:
            if figure.day in self._asked:
                self._every[figure[1:4]] += figure.number
        for day, summaries in summarize_days(self._choose(figures)).items():
            if day in self._charted:
                self._points[day] = _add_up([each for each in summaries if each.destination])
        self.delivered += _count_delivered(each for each in figures if each.day in self._recent)

    def describe(self) -> dict[str, Any]:
        """Return what the figures say: those of the days asked for, and a point for each day."""
        every = [Figure(0, *key, number) for key, number in self._every.items()]
        rows = [each for each in summarize(self._choose(every)) if each.destination != NOBODY]
        return {
            "rows": [describe(each) for each in rows],
            "total": _add_up(rows),
            "series": [
                {"day": write_day(day), **self._points.get(day, _add_up(()))}
                for day in self._charted
            ],
            "skipped": _count_skipped(self._choose(every, destination="")),
            "event_names": sorted({each.event_name for each in every}),
        }

    def _choose(self, figures: Iterable[Figure], destination: str | None = None) -> list[Figure]:
        name = self._event_name
        wanted = self._destination if destination is None else destination
        return [
            each
            for each in figures
            if name in ("", each.event_name) and wanted in ("", each.destination)
        ]


def write_day(day: int) -> str:
    """Return a day as ``2026-11-29``."""
    return datetime.fromtimestamp(day * DAY, UTC).date().isoformat()


def describe(summary: Summary) -> dict[str, Any]:
    """Return one row: an event name at one destination."""
    return {
        "destination": summary.destination,
        "event_name": summary.event_name,
        "stored": summary.stored,
        "duplicates": summary.duplicates,
        "delivered": summary.delivered,
        "dead": summary.dead,
        "lost": summary.lost,
        "expected": summary.expected,
        "copies": summary.copies,
        "coverage": summary.coverage,
        "value": {currency: float(value) for currency, value in sorted(summary.value.items())},
        "median_delay": _limit(summary.read_delay(0.5)),
        "late_delay": _limit(summary.read_delay(0.95)),
    }


def _limit(delay: float | None) -> float | None:
    return None if delay is None else min(delay, LONGEST)


def _add_up(rows: Sequence[Summary]) -> dict[str, Any]:
    copies: Counter[str] = Counter()
    value: Counter[str] = Counter()
    for row in rows:
        copies.update(row.copies)
        for currency, amount in row.value.items():
            value[currency] += amount  # type: ignore[assignment] # Decimals
    return {
        "stored": sum(row.stored for row in rows),
        "delivered": sum(row.delivered for row in rows),
        "dead": sum(row.dead for row in rows),
        "lost": sum(row.lost for row in rows),
        "expected": sum(row.expected for row in rows),
        "sent": copies["sent"],
        "value": {currency: float(amount) for currency, amount in sorted(value.items())},
    }


def _count_skipped(figures: Iterable[Figure]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for summary in summarize(figures):
        total.update(summary.skipped)
    return dict(total.most_common())


def _count_delivered(figures: Iterable[Figure]) -> Counter[str]:
    """Return how many were delivered, by destination."""
    delivered: Counter[str] = Counter()
    for figure in figures:
        if figure.kind == DELIVERED:
            delivered[figure.destination] += figure.number
    return delivered


def _describe_all(
    names: Collection[str],
    counts: Any,
    circuits: Any,
    delivered: Mapping[str, int],
    now: float,
    metrics: Metrics | None,
) -> list[dict[str, Any]]:
    """Return the state of each destination, also of those that are no longer configured."""
    return [
        {
            **_describe_one(name, counts.get(name, Counts()), circuits.get(name), now),
            "delivered": delivered.get(name, 0),
            "is_configured": not names or name in names,
            "here": dict(metrics.counters.get(name, {})) if metrics else {},
        }
        for name in dict.fromkeys([*names, *sorted(counts)])
        if name in names or counts[name].waiting or counts[name].dead or not names
    ]


def _describe_one(name: str, count: Counts, circuit: Circuit | None, now: float) -> dict[str, Any]:
    return {
        "name": name,
        "waiting": count.waiting,
        "held": count.held,
        "dead": count.dead,
        "oldest": count.read_age(now) if count.waiting else None,
        "circuit": circuit.state if circuit else "closed",
        "reason": circuit.reason if circuit and circuit.state != "closed" else "",
        "since": circuit.since if circuit else None,
        "until": circuit.until if circuit and circuit.state != "closed" else None,
    }
