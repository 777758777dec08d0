"""Thresholds: what an app's people do not want to fall below. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

import msgspec

from bridge.quality.answer import EventQuality
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
        return any(each.is_metas for each in _list_checks(self))


class _Check(NamedTuple):
    """One threshold that is set.

    Attributes:
        option: Of the command.
        is_metas: Whether it is about Meta's figures.
        read: Returns a row's value; ``None`` if it is not known.
        judge: Returns in words that a value crosses it; empty if it does not.
    """

    option: str
    is_metas: bool
    read: Callable[[Row], float | None]
    judge: Callable[[float], str]


def find_crossed(comparison: Comparison, thresholds: Thresholds) -> list[str]:
    """Return in words which thresholds were crossed; what nobody knows crosses none."""
    return [
        f"{comparison.destination} {row.event_name}: {words}"
        for row in comparison.rows
        for check in _list_checks(thresholds)
        if (value := check.read(row)) is not None and (words := check.judge(value))
    ]


def is_undecided(comparison: Comparison, thresholds: Thresholds) -> bool:
    """Return whether Meta was asked in vain for figures that a threshold is about."""
    asked = comparison.answer is not None
    return asked and thresholds.need_meta and not isinstance(comparison.answer, Quality)


def find_unjudged(
    comparison: Comparison, thresholds: Thresholds, only: Collection[str] = ()
) -> list[str]:
    """Return in words which thresholds no row has a figure for: none of each name in ``only``."""
    unjudged = []
    for name in only or ("",):
        rows = [row for row in comparison.rows if name in ("", row.event_name)]
        options = [
            check.option
            for check in _list_checks(thresholds)
            if isinstance(comparison.answer, Quality) or not check.is_metas
            if all(check.read(row) is None for row in rows)
        ]
        if options:
            about = f"{comparison.destination} {name}".rstrip()
            unjudged.append(f"{about}: no figures to check {' and '.join(options)} with")
    return unjudged


def _list_checks(thresholds: Thresholds) -> Iterator[_Check]:
    if (emq := thresholds.min_emq) is not None:
        yield _check_least("--min-emq", "EMQ", lambda meta: meta.score, emq)
    if (coverage := thresholds.min_coverage) is not None:
        yield _check_least(
            "--min-coverage", "event coverage", lambda meta: meta.coverage, coverage, " %"
        )
    if (dedup := thresholds.min_dedup) is not None:
        yield _check_least("--min-dedup", "merged", lambda meta: meta.merged, dedup, " %")
    if (most := thresholds.max_dead) is not None:
        yield _Check("--max-dead", False, _read_dead, lambda share: _judge_dead(share, most))


def _check_least(
    option: str,
    what: str,
    read: Callable[[EventQuality], float | None],
    least: float,
    unit: str = "",
) -> _Check:
    """Return the check that one of Meta's figures is at least ``least``."""

    def judge(value: float) -> str:
        return f"{what} {value:g}{unit} is below {least:g}{unit}" if value < least else ""

    return _Check(option, True, lambda row: None if row.meta is None else read(row.meta), judge)


def _judge_dead(share: float, most: float) -> str:
    return f"{share:.1f} % dead letters; the limit is {most:g} %" if share > most else ""


def _read_dead(row: Row) -> float | None:
    """Return the per cent of our server copies that became dead letters."""
    ended = row.ours.delivered + row.ours.dead
    return 100 * row.ours.dead / ended if ended else None
