"""The cost of one request in process: the shops are called directly, no socket in between.

Strategy: the peers take turns in short slices, so that whatever else the machine does meets all of
them, and a slice is compared with the bare app's slice of the same turn. The garbage collector
stays on, as in production: collecting a peer's garbage is part of its cost. What counts is this
thread's processor time, so that a busy machine does not count.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import tempfile
from collections.abc import Callable
from time import thread_time_ns
from typing import Any, NamedTuple

from starlette.types import ASGIApp, Message

from benchmarks.peers import (
    BARE,
    BRIDGE,
    CASES,
    HISTORY,
    HOST,
    Browser,
    Case,
    build_bridge,
    build_peers,
    check,
)
from bridge.visitor.identity import CACHE_SIZE

ROUNDS = 120
WARM_UP = 10  # rounds
REQUESTS = 100  # of one slice


class Cost(NamedTuple):
    """What a middleware adds to the bare route, in microseconds.

    Attributes:
        median: Of all rounds.
        low, high: The quartiles.
    """

    median: float
    low: float
    high: float


def make_scope(case: Case, cookie: str) -> dict[str, Any]:
    """Return the request as an ASGI server gives it to an app."""
    headers = {"host": HOST, **case.headers, **({"cookie": cookie} if cookie else {})}
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("93.184.216.34", 50_000),
        "scheme": "https",
        "method": "GET",
        "root_path": "",
        "path": case.path,
        "raw_path": case.path.encode(),
        "query_string": case.query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "state": {},
    }


async def receive() -> Message:
    """Return an empty body."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def _drop(message: Any) -> None:
    pass


async def request(app: ASGIApp, case: Case, browser: Browser) -> tuple[int, set[str], str]:
    """Make one request; return its status, the cookies it wrote and the page."""
    seen: list[Any] = []

    async def keep(message: Any) -> None:
        seen.append(message)

    await app(make_scope(case, browser.cookie_header), receive, keep)
    start, body = seen
    lines = [v.decode() for name, v in start["headers"] if name.lower() == b"set-cookie"]
    return start["status"], browser.keep(lines), body["body"].decode()


async def meet(app: ASGIApp, peer: str) -> tuple[Browser, str]:
    """Return a browser that has been at ``app``, and what its pages said of it."""
    browser = Browser()
    browser.forget()
    known = ""
    for case in HISTORY:
        status, written, page = await request(app, case, browser)
        if not case.returning:
            check(case, peer, status, written, page, known)
        known = page
    found = Browser()
    found.keep(f"{name}={value}" for name, value in browser.cookies.items())
    return found, known


async def prepare(app: ASGIApp, peer: str, case: Case) -> Callable[[int], list[dict[str, Any]]]:
    """Return what makes the next requests of ``case``, once its answer is found right."""
    if not case.returning:
        browser = Browser()
        browser.forget()
        check(case, peer, *await request(app, case, browser), "")
        cookies = [""]
    elif case.unremembered and peer == BRIDGE:
        # More visitors than the cache holds, in turn, so that each one has left it when it returns.
        cookies = [(await meet(app, peer))[0].cookie_header for _ in range(CACHE_SIZE + REQUESTS)]
    else:
        browser, known = await meet(app, peer)
        cookies = [browser.cookie_header]
        check(case, peer, *await request(app, case, browser), known)
    position = 0

    def take(count: int) -> list[dict[str, Any]]:
        nonlocal position
        position += count
        return [make_scope(case, cookies[(position + n) % len(cookies)]) for n in range(count)]

    return take


async def _time(app: ASGIApp, scopes: list[dict[str, Any]]) -> float:
    """Return microseconds of processor time a request."""
    gc.collect()
    start = thread_time_ns()
    for scope in scopes:
        await app(scope, receive, _drop)
    return (thread_time_ns() - start) / len(scopes) / 1000


async def measure(case: Case, peers: dict[str, ASGIApp], rounds: int) -> dict[str, list[float]]:
    """Return microseconds a request of each peer in each round."""
    takes = {peer: await prepare(app, peer, case) for peer, app in peers.items()}
    gc.collect()
    gc.freeze()
    times: dict[str, list[float]] = {peer: [] for peer in peers}
    names = list(peers)
    for turn in range(WARM_UP + rounds):
        for n in range(len(names)):
            peer = names[(turn + n) % len(names)]
            await asyncio.sleep(0)
            took = await _time(peers[peer], takes[peer](REQUESTS))
            if turn >= WARM_UP:
                times[peer].append(took)
    gc.unfreeze()
    return times


def summarize(times: dict[str, list[float]]) -> dict[str, Cost]:
    """Return each peer's cost over the bare app's, turn by turn; of the bare app its own."""
    costs = {}
    for peer, took in times.items():
        bare = [0.0] * len(took) if peer == BARE else times[BARE]
        low, median, high = statistics.quantiles(
            (mine - least for mine, least in zip(took, bare, strict=True)), n=4
        )
        costs[peer] = Cost(median, low, high)
    return costs


async def run(rounds: int = ROUNDS) -> dict[str, dict[str, Cost]]:
    """Return every peer's cost by case."""
    with tempfile.TemporaryDirectory() as directory:
        bridge = build_bridge(directory)
        peers = build_peers(bridge)
        try:
            return {case.title: summarize(await measure(case, peers, rounds)) for case in CASES}
        finally:
            await bridge.stop()
