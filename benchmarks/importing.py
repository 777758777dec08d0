"""``pixel-bridge import --no-send``: lines a second, and the memory of its process.

A run of few lines is mostly Python's own start, so the rate is that of the lines by which a long
file exceeds a short one. The floor reads, hashes, encodes and stores the same lines, 1000 a
transaction, with the least code.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import msgspec

from benchmarks.events import hash_plainly
from benchmarks.peers import SECRET
from benchmarks.purchase import BUYER, EVENT_TIME, PAGE_URL, PIXEL_ID, PROPERTIES
from benchmarks.report import judge, print_table
from benchmarks.storing import INSERT, TABLES

SHORT, LONG, MILLION = 10_000, 50_000, 1_000_000  # lines
BATCH = 1000
MEMORY_BUDGET = 1.3  # times the short file's, at most: "constant memory at a million lines"

# The command, which prints at its end what Linux says of its memory. What wait4() says would do for
# no child of a large process: it counts the parent's memory, of which the child begins as a copy.
_COMMAND = """
import atexit, sys
from bridge.cli import main
atexit.register(lambda: print(open("/proc/self/status").read()))
sys.exit(main())
"""


class Run(NamedTuple):
    """One import.

    Attributes:
        seconds: From its start to its end.
        peak: The most memory that its process held, MiB.
    """

    seconds: float
    peak: float


def write_lines(path: Path, count: int) -> None:
    """Write ``count`` purchases as JSON lines."""
    event = {
        "event_name": "Purchase",
        "event_time": EVENT_TIME,
        "action_source": "website",
        "event_source_url": PAGE_URL,
        "user_data": BUYER,
        "custom_data": PROPERTIES,
    }
    tail = json.dumps(event)[1:]
    with path.open("w") as file:
        file.writelines(f'{{"event_id": "order-{n:09}", {tail}\n' for n in range(count))


def import_lines(path: Path) -> Run:
    """Run the command."""
    environ = {
        **os.environ,
        "BRIDGE_PIXEL_ID": PIXEL_ID,
        "BRIDGE_ACCESS_TOKEN": "none",
        "BRIDGE_SECRET_KEY": SECRET,
        "BRIDGE_OUTBOX_URL": f"sqlite:///{path}.db",
    }
    command = [sys.executable, "-c", _COMMAND, "import", str(path), "--no-send"]
    start = time.perf_counter()
    said = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, check=True)
    took = time.perf_counter() - start
    peak = re.search(r"VmHWM:\s+([0-9]+) kB", said.stdout)
    return Run(took, int(peak[1]) / 1024 if peak else float("nan"))


def import_plainly(path: Path) -> float:
    """Do the same with the least code; return lines a second."""
    start = time.perf_counter()
    file = sqlite3.connect(f"{path}.floor.db", isolation_level=None)
    file.executescript(TABLES)
    rows, number = [], 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):  # noqa: B007 - returned
            event = msgspec.json.decode(line)
            event["user_data"] = hash_plainly(event["user_data"])
            body = msgspec.json.encode(event)
            rows.append(("meta", event["event_name"], event["event_id"], body, start, start))
            if len(rows) == BATCH:
                file.execute("BEGIN IMMEDIATE")
                file.executemany(INSERT, rows)
                file.execute("COMMIT")
                rows.clear()
    file.close()
    return number / (time.perf_counter() - start)


def run(directory: str, *, million: bool = False) -> None:
    """Measure and print."""
    runs: dict[int, Run] = {}
    for count in (SHORT, LONG, *([MILLION] if million else [])):
        path = Path(directory, f"{count}.jsonl")
        write_lines(path, count)
        runs[count] = import_lines(path)
    floor = import_plainly(Path(directory, f"{LONG}.jsonl"))
    short = runs[SHORT]
    rows = []
    for count, each in runs.items():
        rate = (count - SHORT) / (each.seconds - short.seconds) if count > SHORT else 0.0
        rows.append(
            (
                f"{count:,} lines",
                f"{each.seconds:.1f}",
                f"{rate:,.0f}" if rate else "",
                f"{rate / floor:.2f}" if rate else "",
                f"{each.peak:.0f}",
                judge(each.peak / short.peak, MEMORY_BUDGET, at_most=True) if rate else "",
            )
        )
    rows.append(("floor: the least code", "", f"{floor:,.0f}", "1.00", "", ""))
    head = ("Import", "Seconds", "Lines/s", "÷ floor", "Peak MiB", "÷ short file's memory")
    print_table("`pixel-bridge import --no-send` into SQLite", head, rows)
