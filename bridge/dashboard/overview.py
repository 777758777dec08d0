"""The overview: days of figures by event name, what waits for whom, and what was skipped."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from bridge.delivery.metrics import Metrics
from bridge.figures.summary import Summary, summarize, summarize_days
from bridge.figures.words import DELIVERED, NOBODY
from bridge.outbox.base import FIGURE_DAYS, Circuit, Counts, Figure, Outbox

DAY = 86_400  # seconds
CHART_DAYS = 30  # that the line shows at least
LONGEST = float(DAY + 1)  # seconds; in place of "longer than a day"


async def read_overview(
    outbox: Outbox,
    names: Collection[str],
    *,
    since: int,
    until: int,
    event_name: str = "",
    destination: str = "",
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
        metrics: Those of this process.

    Raises:
        OutboxError: The outbox cannot be read.
    """
    now = time.time()
    today = int(now // DAY)
    first = max(min(since, today - CHART_DAYS + 1), today - FIGURE_DAYS)
    figures = await outbox.figures(first, today)
    every = [each for each in figures if since <= each.day <= until]
    wanted = list(_choose(every, event_name, destination))
    rows = [each for each in summarize(wanted) if each.destination != NOBODY]
    return {
        "now": now,
        "days": [write_day(since), write_day(until)],
        "rows": [describe(each) for each in rows],
        "total": _add_up(rows),
        "series": _build_series(_choose(figures, event_name, destination), first, today),
        "skipped": _count_skipped(_choose(every, event_name, "")),
        "event_names": sorted({each.event_name for each in every}),
        "destinations": _describe_all(
            names,
            await outbox.count(now),
            await outbox.circuits(),
            _count_delivered(each for each in figures if each.day >= today - 1),
            now,
            metrics,
        ),
    }


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


def _choose(figures: Iterable[Figure], event_name: str, destination: str) -> Iterable[Figure]:
    return [
        each
        for each in figures
        if event_name in ("", each.event_name) and destination in ("", each.destination)
    ]


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


def _build_series(figures: Iterable[Figure], first: int, last: int) -> list[dict[str, Any]]:
    """Return a point for each day, also for those without a figure."""
    days = summarize_days(figures)
    return [
        {"day": write_day(day), **_add_up([s for s in days.get(day, ()) if s.destination])}
        for day in range(first, last + 1)
    ]


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
