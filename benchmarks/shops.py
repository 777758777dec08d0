"""Many shops in one app: what an event costs when each is another shop's, and that all arrive.

One process serves page and purchase of shops in random order, and delivers them to a stand-in that
answers after 100 ms. Most of ten thousand shops are not loaded when somebody visits them.
"""

from __future__ import annotations

import asyncio
import random
import resource
import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks.in_process import receive
from benchmarks.peers import SECRET, build_navigation
from benchmarks.report import print_table
from benchmarks.stand_in import StandIn, run_stand_in
from bridge import BridgeMiddleware, Shop, Shops, track
from bridge.destinations import Meta

SHOPS = (1, 100, 10_000)
VISITS = 20_000  # each of another visitor: one request that tracks a purchase
AT_ONCE = 32
ANSWER = 0.1  # seconds
DEADLINE = 300.0  # seconds until all have arrived
SEED = 20261130


async def _buy(scope: Any, receive: Any, send: Any) -> None:
    await track("Purchase", {"value": 59.9, "currency": "EUR"})
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


def _build_scope(host: str) -> dict[str, Any]:
    headers = build_navigation(f"https://{host}/") | {"host": host}
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("81.2.69.142", 50_000),
        "scheme": "https",
        "method": "POST",
        "root_path": "",
        "path": "/orders",
        "raw_path": b"/orders",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "state": {},
    }


async def _measure(number: int, outbox: str, stand_in: StandIn) -> tuple[str, ...]:
    luck = random.Random(SEED)

    def load(name: str) -> Shop:
        return Shop(
            [Meta(str(10**9 + int(name.split(".")[0][1:])), "none", graph_url=stand_in.url)]
        )

    shops = Shops(SECRET, load, outbox=outbox)
    app = BridgeMiddleware(_buy, bridge=shops)
    hosts = [f"s{luck.randrange(number)}.example.com" for _ in range(VISITS)]
    names, times = iter(hosts), []

    async def send(message: Any) -> None:
        pass

    async def visit() -> None:
        for host in names:
            began = time.perf_counter()
            await app(_build_scope(host), receive, send)
            times.append(time.perf_counter() - began)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    shops.start()
    began = time.perf_counter()
    await asyncio.gather(*(visit() for _ in range(AT_ONCE)))
    tracked = time.perf_counter() - began
    while shops._pipeline.counters["delivered"] < VISITS:
        if time.perf_counter() - began > DEADLINE:
            raise SystemExit(f"{shops._pipeline.counters} after {DEADLINE:.0f} s")
        await asyncio.sleep(0.1)
    took = time.perf_counter() - began
    await shops.stop()
    stand_in.take(VISITS)
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    p50, p99 = statistics.median(times), statistics.quantiles(times, n=100)[-1]
    return (
        f"{number:,}",
        f"{VISITS / tracked:,.0f}",
        f"{1000 * p50:.1f}",
        f"{1000 * p99:.1f}",
        f"{took:.1f}",
        f"{more / 1024:.0f}",
    )


async def _measure_all(directory: str, stand_in: StandIn) -> list[tuple[str, ...]]:
    return [
        await _measure(number, f"sqlite:///{Path(directory, f'{number}.db')}", stand_in)
        for number in SHOPS
    ]


def run(runner: asyncio.Runner, directory: str) -> None:
    """Measure and print."""
    with run_stand_in(ANSWER) as stand_in:
        rows = runner.run(_measure_all(directory, stand_in))
    print_table(
        f"{VISITS:,} purchases of visitors of random shops, {AT_ONCE} at once, SQLite",
        ("Shops", "Requests/s", "p50 ms", "p99 ms", "s until all arrived", "more RSS, MB"),
        rows,
    )
