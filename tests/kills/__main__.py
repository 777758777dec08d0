"""The full number of rounds, and one Markdown table: ``python -m tests.kills``."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path

from tests.kills.engines import running_engine
from tests.kills.processes import Site, running_site
from tests.kills.run import Result, run_kills, run_outages

ROUNDS = {"sqlite": 100, "postgres": 20, "redis": 20}
OUTAGES = {"postgres": 6, "redis": 6}  # rounds in which the server is away, and orders are spooled
NAMES = {"sqlite": "SQLite", "postgres": "PostgreSQL", "redis": "Redis"}
MAX_DELAY = 0.05  # seconds that a request is held up, twice, at most
HEAD = (
    "| Outbox | Sender | Rounds | Kills | of the server | beside a full spool | one that moves"
    " | Accepted | Spooled | Received | Dead | Missing | Received twice | with other bytes"
    " | twice without a kill |\n"
    "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/kills", description=__doc__)
    for engine, rounds in ROUNDS.items():
        parser.add_argument(f"--{engine}", type=int, default=rounds, metavar="ROUNDS")
    for engine, rounds in OUTAGES.items():
        name = f"--{engine}-outages"
        parser.add_argument(name, type=int, default=rounds, metavar="ROUNDS")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    options = parser.parse_args()
    sys.stderr.write(f"seed {options.seed}\n")
    plan = [(engine, getattr(options, engine), False) for engine in ROUNDS]
    plan += [(engine, getattr(options, f"{engine}_outages"), True) for engine in OUTAGES]
    rows: list[str] = []
    failed = False
    for engine, rounds, spools in plan:
        for has_worker, share in ((True, rounds - rounds // 2), (False, rounds // 2)):
            if share:
                seed = options.seed + 10 * len(rows)
                result = _run(engine, share, seed, has_worker=has_worker, spools=spools)
                rows.append(_describe(engine, share, result, has_worker=has_worker, spools=spools))
                sys.stderr.write(rows[-1])
                failed |= bool(result.missing or result.changed or result.quiet & result.twice)
                if spools and not (result.quiet and result.held and result.moving):
                    sys.stderr.write(
                        "too few rounds: no kill came while the spool held and moved\n"
                    )
                    failed = True
    sys.stdout.write(HEAD + "".join(rows))
    return int(failed)


def _run(engine: str, rounds: int, seed: int, *, has_worker: bool, spools: bool) -> Result:
    with (
        tempfile.TemporaryDirectory(prefix="bridge-kills-") as folder,
        running_engine(engine, Path(folder)) as (url, server),
        running_site(Site(Path(folder), url, has_worker=has_worker, max_delay=MAX_DELAY)) as site,
    ):
        if spools:
            assert server
            work = run_outages(site, rounds=rounds, seed=seed, server=server)
        else:
            work = run_kills(site, rounds=rounds, seed=seed, server=server)
        result = asyncio.run(work)
        for order in sorted(result.missing | result.changed | result.quiet & result.twice):
            sys.stderr.write(f"{order}: {result.arrivals.get(order, 'missing')}\n")
        return result


def _describe(engine: str, rounds: int, result: Result, *, has_worker: bool, spools: bool) -> str:
    cells = [
        NAMES[engine] + (", away" if spools else ""),
        "worker" if has_worker else "in the app",
        rounds,
        *(result.kills, result.server_kills, result.held, result.moving),
        *map(len, (result.accepted, result.spooled, result.arrivals, result.dead, result.missing)),
        *map(len, (result.twice, result.changed, result.quiet & result.twice)),
    ]
    return f"| {' | '.join(map(str, cells))} |\n"


if __name__ == "__main__":
    sys.exit(main())
