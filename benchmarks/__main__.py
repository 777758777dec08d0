"""Run everything and print Markdown tables: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version

from benchmarks import (
    backlog,
    beside,
    browse,
    browse_over_http,
    ceilings,
    claiming,
    counting,
    delivery,
    events,
    importing,
    in_process,
    over_http,
    shops,
    storing,
)
from benchmarks.engines import SQLITE, run_servers
from benchmarks.loop import new_loop
from benchmarks.peers import BARE, BRIDGE, CASES, SESSION, Case, build_bridge
from benchmarks.report import judge, print_table, show, summarize

_HEAD = (
    "| Request | With | µs over the bare route | ÷ `SessionMiddleware` "
    "| Requests/s ÷ bare | by processor time | Bridge's budget |\n|---|---|--:|--:|--:|--:|---|"
)


def _rows(
    case: Case,
    costs: dict[str, in_process.Cost],
    turns: dict[str, list[over_http.Turn]] | None,
) -> list[str]:
    rows = []
    for peer, cost in costs.items():
        if peer == BARE:
            continue
        shares = over_http.summarize(turns, peer) if turns else []
        ratio = cost.median / costs[SESSION].median
        budgets = []
        if peer == BRIDGE:
            in_process_budget, share_budget = case.budgets
            if in_process_budget is not None:
                budgets.append(judge(ratio, in_process_budget, at_most=True))
            if share_budget is not None and shares:
                budgets.append(judge(shares[-1].median, share_budget, at_most=False))
        shown = [*map(show, shares), "", ""]
        rows.append(
            f"| {case.title if peer == SESSION else ''} | {peer} "
            f"| {cost.median:.1f} ({cost.low:.1f} to {cost.high:.1f}) | {ratio:.2f} "
            f"| {shown[0]} | {shown[1]} | {', '.join(budgets)} |"
        )
    return rows


def _describe(
    costs: dict[str, dict[str, in_process.Cost]], turns: dict[str, dict[str, list[over_http.Turn]]]
) -> str:
    first = CASES[0].title
    lines = [
        f"Python {platform.python_version()}, starlette {version('starlette')}, capi_param_builder"
        f" {version('capi_param_builder_python')}, {os.cpu_count()} processors;"
        f" the bare route takes {costs[first][BARE].median:.1f} µs in process"
    ]
    if bare := turns.get(first):
        lines.append(f" and serves {statistics.median(t.rate for t in bare[BARE]):,.0f} requests/s")
    return "".join(lines) + ". In brackets: quartiles."


def _compare_requests(options: argparse.Namespace, directory: str) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        costs = runner.run(in_process.run(options.rounds))
    turns = over_http.run(options.http_rounds) if options.http_rounds else {}
    print(_HEAD)
    for case in CASES:
        print("\n".join(_rows(case, costs[case.title], turns.get(case.title))))
    print(f"\n{_describe(costs, turns)}", flush=True)


def _compare_browsing(options: argparse.Namespace, directory: str) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        found = runner.run(browse.run())
    print(
        "| Page | With | µs over the bare route | ÷ `SessionMiddleware` | Bridge's budget |"
        "\n|---|---|--:|--:|---|"
    )
    for title, costs in found.items():
        for peer, cost in costs.items():
            if peer == BARE:
                continue
            ratio = cost.median / costs[SESSION].median
            budget = judge(ratio, browse.BUDGETS[title], at_most=True) if peer == BRIDGE else ""
            spread = f"{cost.median:.1f} ({cost.low:.1f} to {cost.high:.1f})"
            name = title if peer == SESSION else ""
            print(f"| {name} | {peer} | {spread} | {ratio:.2f} | {budget} |")
    print(f"\n{browse.VISITORS:,} visitors in random order. In brackets: quartiles.", flush=True)
    if options.http_rounds:
        _show_browse_over_http(browse_over_http.run(options.http_rounds))


def _show_browse_over_http(turns: dict[str, list[over_http.Turn]]) -> None:
    rows = []
    for peer in turns:
        shares = over_http.summarize(turns, peer)
        budget = browse_over_http.BUDGET
        judged = judge(shares[-1].median, budget, at_most=False) if peer == BRIDGE else ""
        rate = show(summarize([turn.rate for turn in turns[peer]]), ",.0f")
        rows.append((peer, rate, *map(show, shares), judged))
    print_table(
        "The same browse through uvicorn",
        (
            "With",
            "Requests/s",
            "Share of the bare app's",
            "Of processor time",
            "Bridge's budget",
        ),
        rows,
    )


def _compare_counting(options: argparse.Namespace, directory: str) -> None:
    async def measure() -> tuple[float, float]:
        bridge = build_bridge(directory)
        try:
            return await counting.run(bridge)
        finally:
            await bridge.stop()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        share, plain = runner.run(measure())
    budget = judge(share, counting.BUDGET, at_most=True)
    print(f"`track()` on SQLite, {counting.AT_ONCE} at once: {plain:.0f} µs of processor time")
    print(f"What counting adds: {100 * share:.1f} % ({budget})", flush=True)


def _compare_events(options: argparse.Namespace, directory: str) -> None:
    events.run(directory)


def _compare_storing(options: argparse.Namespace, directory: str) -> None:
    with run_servers() as urls, asyncio.Runner(loop_factory=new_loop) as runner:
        storing.run(runner, directory, urls)


def _compare_delivery(options: argparse.Namespace, directory: str) -> None:
    delivery.run(directory)


def _compare_claims(options: argparse.Namespace, directory: str) -> None:
    with run_servers() as urls:
        engines = list(urls)
    with asyncio.Runner() as runner:
        claiming.run(runner, directory, [SQLITE, *engines], million=options.million)
        if options.delivered:
            claiming.run_after(runner, options.delivered)


def _compare_beside(options: argparse.Namespace, directory: str) -> None:
    with asyncio.Runner() as runner:
        beside.run(runner)


def _compare_import(options: argparse.Namespace, directory: str) -> None:
    importing.run(directory, million=options.million)


def _compare_backlog(options: argparse.Namespace, directory: str) -> None:
    backlog.run(directory, options.backlog)


def _compare_ceilings(options: argparse.Namespace, directory: str) -> None:
    ceilings.run(directory)


def _compare_shops(options: argparse.Namespace, directory: str) -> None:
    with asyncio.Runner() as runner:
        shops.run(runner, directory)


PARTS: dict[str, Callable[[argparse.Namespace, str], None]] = {
    "browse": _compare_browsing,
    "requests": _compare_requests,
    "counting": _compare_counting,
    "events": _compare_events,
    "storing": _compare_storing,
    "delivery": _compare_delivery,
    "claiming": _compare_claims,
    "backlog": _compare_backlog,
    "ceilings": _compare_ceilings,
    "shops": _compare_shops,
    "beside": _compare_beside,
    "import": _compare_import,
}


def main(argv: list[str] | None = None) -> int:
    """Run the benchmarks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; by default all")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=in_process.ROUNDS, help="in process")
    parser.add_argument("--http-rounds", type=int, default=over_http.ROUNDS, help="0: none")
    parser.add_argument(
        "--million", action="store_true", help="a million lines, and waiting on every engine"
    )
    parser.add_argument(
        "--delivered", type=int, default=0, help="events that PostgreSQL remembers beside claims"
    )
    parser.add_argument(
        "--backlog", type=int, default=backlog.WAITING, help="events that wait beside orders"
    )
    options = parser.parse_args(argv)
    if unknown := set(options.parts) - PARTS.keys():
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    # As in production: what is logged below WARNING costs a comparison.
    logging.basicConfig(level=logging.WARNING)
    if options.serve:
        over_http.serve(*options.serve)
        return 0
    for part in options.parts or PARTS:
        with tempfile.TemporaryDirectory(prefix="bridge-benchmark-") as directory:
            PARTS[part](options, directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
