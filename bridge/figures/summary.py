"""Figures as people ask for them: one summary for a destination and an event name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from bridge.figures.words import (
    COPY,
    DEAD,
    DELAY,
    DELAY_BUCKETS,
    DELIVERED,
    DUPLICATE,
    EXPECTED,
    LOST,
    SKIPPED,
    STORED,
    VALUE,
    VALUE_UNIT,
    WITH,
)
from bridge.outbox.base import Figure


@dataclass(slots=True, kw_only=True)
class Summary:
    """What happened to the events of one name for one destination, over some days.

    Attributes:
        destination: Its name; ``""`` for what reached none.
        event_name: Meta's, or a custom event's.
        stored, duplicates, delivered, dead, lost: Server copies.
        skipped: How many were not stored, by reason.
        expected: Of the stored ones, those with a browser copy.
        copies: What the script saw of the browser copies: ``sent``, ``blocked``, ``unknown``.
        coverage: How many of the stored ones carried each identifier.
        value: By currency.
        delays: How many were accepted within each of ``DELAY_BUCKETS``, and later.
    """

    destination: str
    event_name: str
    stored: int = 0
    duplicates: int = 0
    delivered: int = 0
    dead: int = 0
    lost: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    expected: int = 0
    copies: dict[str, int] = field(default_factory=dict)
    coverage: dict[str, int] = field(default_factory=dict)
    value: dict[str, Decimal] = field(default_factory=dict)
    delays: list[int] = field(default_factory=lambda: [0] * (len(DELAY_BUCKETS) + 1))

    def read_coverage(self, identifier: str) -> float | None:
        """Return the share of stored server copies with ``identifier``, 0 to 1."""
        return self.coverage.get(identifier, 0) / self.stored if self.stored else None

    def read_delay(self, share: float) -> float | None:
        """Return within how many seconds ``share`` of them were accepted: a bucket's upper end.

        ``None`` if none was accepted; infinite if it took longer than a day.
        """
        total, seen = sum(self.delays), 0
        if not total:
            return None
        for number, end in zip(self.delays, (*DELAY_BUCKETS, float("inf")), strict=True):
            seen += number
            if seen >= share * total:
                return end
        return float("inf")

    def add(self, kind: str, number: int) -> None:
        """Add one figure; a kind of a later release is ignored."""
        name = {STORED: "stored", DUPLICATE: "duplicates", EXPECTED: "expected"}.get(kind, kind)
        if name in (DELIVERED, DEAD, LOST, "stored", "duplicates", "expected"):
            setattr(self, name, getattr(self, name) + number)
            return
        head, _, rest = kind.partition(".")
        counts = {COPY: self.copies, SKIPPED: self.skipped, WITH: self.coverage}.get(f"{head}.")
        if counts is not None:
            counts[rest] = counts.get(rest, 0) + number
        elif f"{head}." == VALUE:
            self.value[rest] = self.value.get(rest, Decimal(0)) + Decimal(number) / VALUE_UNIT
        elif f"{head}." == DELAY and rest.isdigit() and int(rest) < len(self.delays):
            self.delays[int(rest)] += number


def summarize(figures: Iterable[Figure]) -> list[Summary]:
    """Return one summary for each destination and event name, the most frequent first."""
    found: dict[tuple[str, str], Summary] = {}
    for figure in figures:
        key = figure.destination, figure.event_name
        summary = found.get(key)
        if summary is None:
            summary = found[key] = Summary(destination=key[0], event_name=key[1])
        summary.add(figure.kind, figure.number)
    return sorted(
        found.values(), key=lambda each: (-each.stored, each.destination, each.event_name)
    )


def summarize_days(figures: Iterable[Figure]) -> dict[int, list[Summary]]:
    """Return the summaries of each day, by days since 1970, oldest first."""
    days: dict[int, list[Figure]] = defaultdict(list)
    for figure in figures:
        days[figure.day].append(figure)
    return {day: summarize(days[day]) for day in sorted(days)}
