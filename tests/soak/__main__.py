"""Hours of traffic and of outage: ``python -m tests.soak hour`` or ``million``."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path

from tests.soak import hour, million


def main() -> int:
    """Parse the options and run."""
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    real = kinds.add_parser("hour", help=hour.__doc__.splitlines()[0])
    real.add_argument("--minutes", type=float, default=60)
    real.add_argument("--rate", type=float, default=300, help="requests a second")
    real.add_argument("--outbox", choices=("sqlite", "postgres", "redis"), default="sqlite")
    real.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    fast = kinds.add_parser("million", help=million.__doc__.splitlines()[0])
    fast.add_argument("--events", type=int, default=1_000_000, help="a multiple of ten")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bridge-soak-") as name:
        folder = Path(name)
        if options.kind == "million":
            return asyncio.run(million.soak(options.events, folder))
        sys.stderr.write(f"seed {options.seed}\n")
        given = options.minutes, options.rate, options.outbox, options.seed
        return asyncio.run(hour.soak(*given, folder))


if __name__ == "__main__":
    sys.exit(main())
