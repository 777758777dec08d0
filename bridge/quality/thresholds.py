"""Thresholds: what an app's people do not want to fall below. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from bridge.quality.comparison import Comparison, Row
from bridge.quality.question import Quality


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """The least that is good enough; ``None`` for anything.

    Attributes:
        min_emq: Of Meta's event match quality, 0 to 10.
        min_coverage: Of Meta's event coverage, in per cent.
        min_dedup: Of the browser events that Meta merged, in per cent.
        max_dead: Of our server copies that became dead letters, in per cent.
    """

    min_emq: float | None = None
    min_coverage: float | None = None
    min_dedup: float | None = None
    max_dead: float | None = None

    @property
    def need_meta(self) -> bool:
        """Whether any of them is about Meta's figures."""
        return any(each is not None for each in (self.min_emq, self.min_coverage, self.min_dedup))


def find_crossed(comparison: Comparison, thresholds: Thresholds) -> list[str]:
    """Return in words which thresholds were crossed; what nobody knows crosses none."""
    return [
        f"{comparison.destination} {row.event_name}: {words}"
        for row in comparison.rows
        for words in _find_crossed(row, thresholds)
    ]


def is_undecided(comparison: Comparison, thresholds: Thresholds) -> bool:
    """Return whether Meta was asked in vain for figures that a threshold is about."""
    asked = comparison.answer is not None
    return asked and thresholds.need_meta and not isinstance(comparison.answer, Quality)


def _find_crossed(row: Row, thresholds: Thresholds) -> Iterator[str]:
    meta = row.meta
    if meta is not None:
        checks = (
            ("EMQ", meta.score, thresholds.min_emq, ""),
            ("event coverage", meta.coverage, thresholds.min_coverage, " %"),
            ("merged", meta.merged, thresholds.min_dedup, " %"),
        )
        for what, value, least, unit in checks:
            if value is not None and least is not None and value < least:
                yield f"{what} is {value:g}{unit}, and {least:g}{unit} is the least"
    ended = row.ours.delivered + row.ours.dead
    if thresholds.max_dead is not None and ended:
        share = 100 * row.ours.dead / ended
        if share > thresholds.max_dead:
            yield f"dead letters are {share:.1f} %, and {thresholds.max_dead:g} % is the most"
