"""What is printed: Markdown tables, and whether a budget is met."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Spread(NamedTuple):
    """Some measurements of one thing.

    Attributes:
        median: Of all turns.
        low, high: The quartiles; of fewer than four turns the least and the most.
    """

    median: float
    low: float
    high: float


def summarize(values: Sequence[float]) -> Spread:
    """Return the median and the quartiles of ``values``."""
    if len(values) < 4:
        return Spread(statistics.median(values), min(values), max(values))
    low, median, high = statistics.quantiles(values, n=4)
    return Spread(median, low, high)


def divide(values: Sequence[float], others: Sequence[float]) -> Spread:
    """Return ``values`` as shares of ``others``, turn by turn."""
    return summarize([mine / its for mine, its in zip(values, others, strict=True)])


def show(spread: Spread, form: str = ".2f") -> str:
    """Return ``spread`` as a table shows it."""
    return f"{spread.median:{form}} ({spread.low:{form}} to {spread.high:{form}})"


def judge(value: float, limit: float, *, at_most: bool) -> str:
    """Return the budget, and whether ``value`` is within it."""
    passed = value <= limit if at_most else value >= limit
    return f"{'≤' if at_most else '≥'} {limit:.2f} {'PASS' if passed else '**MISS**'}"


def print_table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print one table; the first column is text, the others are figures."""
    print(f"\n**{title}**\n")
    print(f"| {' | '.join(head)} |\n|---|{'--:|' * (len(head) - 1)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print(flush=True)
