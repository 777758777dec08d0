"""``python -m tests.fuzz``: hostile inputs for as long as one likes.

python -m tests.fuzz --seconds 600            both fuzzers, ten minutes each
python -m tests.fuzz requests --count 5000000 --seed 7
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import tempfile
import time
from types import ModuleType

from tests.fuzz import calls, requests

FUZZERS: dict[str, ModuleType] = {"requests": requests, "calls": calls}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fuzzers", nargs="*", choices=[*FUZZERS, []], default=[*FUZZERS])
    parser.add_argument("--seconds", type=float, default=60.0, help="of each fuzzer")
    parser.add_argument("--count", type=int, default=10**12, help="inputs of each fuzzer")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    for name in options.fuzzers:
        with tempfile.TemporaryDirectory() as folder:
            url = f"sqlite:///{folder}/bridge.db"
            run = FUZZERS[name].run(options.seed, options.seconds, options.count, url, print)
            asyncio.run(run)


if __name__ == "__main__":
    main()
