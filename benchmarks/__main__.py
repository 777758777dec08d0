"""Run everything and print one Markdown table: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import logging
import os
import platform
import statistics
import sys
from importlib.metadata import version

from benchmarks import in_process, over_http
from benchmarks.peers import BARE, BRIDGE, CASES, SESSION, Case

_HEAD = (
    "| Request | With | µs over the bare route | ÷ `SessionMiddleware` "
    "| Requests/s ÷ bare | Bridge's budget |\n|---|---|--:|--:|--:|---|"
)


def _judge(value: float, limit: float, *, at_most: bool) -> str:
    passed = value <= limit if at_most else value >= limit
    return f"{'≤' if at_most else '≥'} {limit:.2f} {'PASS' if passed else '**MISS**'}"


def _rows(
    case: Case,
    costs: dict[str, in_process.Cost],
    rates: dict[str, list[float]] | None,
) -> list[str]:
    shares = over_http.summarize(rates) if rates else {}
    rows = []
    for peer, cost in costs.items():
        if peer == BARE:
            continue
        ratio = cost.median / costs[SESSION].median
        budgets = []
        if peer == BRIDGE:
            in_process_budget, share_budget = case.budgets
            if in_process_budget is not None:
                budgets.append(_judge(ratio, in_process_budget, at_most=True))
            if share_budget is not None and shares:
                budgets.append(_judge(shares[peer][0], share_budget, at_most=False))
        share = "{:.2f} ({:.2f} to {:.2f})".format(*shares[peer]) if shares else ""
        rows.append(
            f"| {case.title if peer == SESSION else ''} | {peer} "
            f"| {cost.median:.1f} ({cost.low:.1f} to {cost.high:.1f}) | {ratio:.2f} "
            f"| {share} | {', '.join(budgets)} |"
        )
    return rows


def _describe(costs: dict[str, dict[str, in_process.Cost]], rates: dict[str, object]) -> str:
    first = CASES[0].title
    lines = [
        f"Python {platform.python_version()}, starlette {version('starlette')}, capi_param_builder"
        f" {version('capi_param_builder_python')}, {os.cpu_count()} processors;"
        f" the bare route takes {costs[first][BARE].median:.1f} µs in process"
    ]
    bare = rates.get(first)
    if isinstance(bare, dict):
        lines.append(f" and serves {statistics.median(bare[BARE]):,.0f} requests/s")
    return "".join(lines) + ". In brackets: quartiles; for requests/s least and most."


def main(argv: list[str] | None = None) -> int:
    """Run the benchmarks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=in_process.ROUNDS, help="in process")
    parser.add_argument("--http-rounds", type=int, default=over_http.ROUNDS, help="0: none")
    options = parser.parse_args(argv)
    # As in production: what is logged below WARNING costs a comparison.
    logging.basicConfig(level=logging.WARNING)
    if options.serve:
        over_http.serve(*options.serve)
        return 0
    try:
        new_loop = importlib.import_module("uvloop").new_event_loop
    except ImportError:
        print("uvloop is missing: asyncio's own loop is used in process", file=sys.stderr)
        new_loop = asyncio.new_event_loop
    with asyncio.Runner(loop_factory=new_loop) as runner:
        costs = runner.run(in_process.run(options.rounds))
    rates = over_http.run(options.http_rounds) if options.http_rounds else {}
    print(_HEAD)
    for case in CASES:
        print("\n".join(_rows(case, costs[case.title], rates.get(case.title))))
    print()
    print(_describe(costs, dict(rates)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
