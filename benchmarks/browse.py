"""Traffic as a shop has it: thousands of visitors in random order, each on a walk of its own.

No request is like the one before: another visitor, another page, other cookies of other tools, and
every browser keeps what it is given. So a cache helps only as far as it helps a shop.

Strategy: as in ``in_process``, the peers take turns in short slices. A slice is prepared, and what
its answers set is kept, outside of what is measured. Each slice pays for collecting what it made:
left to itself, the collector would begin in the slice of whoever comes last.
"""

from __future__ import annotations

import asyncio
import gc
import random
import tempfile
from time import thread_time_ns
from typing import Any

from starlette.types import ASGIApp

from benchmarks.in_process import Cost, receive, summarize
from benchmarks.peers import (
    BRIDGE,
    BUILDER,
    HOST,
    LANDING,
    PAGE,
    QUIET_PAGE,
    SESSION,
    build_bridge,
    build_landing,
    build_navigation,
    build_peers,
)

VISITORS = 3000
STEPS = 6  # pages of a walk: the landing and those after it
SLICE = 100  # requests
SEED = 20261129

LANDING_TITLE = "Landing of a new visitor"
PAGE_TITLE = "Next page, which asks who it is"
QUIET_TITLE = "Next page, where nobody asks"
# At most this share of what SessionMiddleware costs.
BUDGETS = {LANDING_TITLE: 0.6, PAGE_TITLE: 0.5, QUIET_TITLE: 0.5}

# Cookies that each peer must have set by the end of a walk.
KEPT = {
    SESSION: {"session"},
    BUILDER: {"_fbp", "_fbc"},
    BRIDGE: {"_bridge", "_bridge_p", "_bridge_x", "_fbp", "_fbc"},
}


class Visitor:
    """A browser on its walk.

    Args:
        number: Tells it from the others.
        luck: What it draws from.
    """

    def __init__(self, number: int, luck: random.Random) -> None:
        self.client = (
            f"{luck.choice((81, 93, 185))}.{luck.randrange(1, 250)}.{number % 250}.7",
            50_000,
        )
        version = luck.randrange(120, 146)
        self.agent = (
            f"Mozilla/5.0 ({luck.choice(('Windows NT 10.0; Win64; x64', 'X11; Linux x86_64'))})"
            f" AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{version}.0.0.0 Safari/537.36"
        )
        self.cookies = {
            "_ga": f"GA1.1.{luck.randrange(10**9)}.1795000000",
            "_ga_ABCDEF1234": f"GS2.1.s{luck.randrange(10**9)}$o3$g1$t1795000123$j60$l0$h0",
            "CookieConsent": "accepted",
        }
        click = "".join(luck.choices("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", k=60))
        # One page in two asks.
        pages = [f"{(PAGE, QUIET_PAGE)[n % 2]}?id={luck.randrange(20_000)}" for n in range(STEPS)]
        self.walk = [f"{LANDING}?utm_source=ig&fbclid={click}", *pages]
        self.step = 0

    def build_scope(self) -> dict[str, Any]:
        """Return the request of the next page."""
        path, _, query = self.walk[self.step].partition("?")
        if self.step:
            headers = build_navigation(f"https://{HOST}{self.walk[self.step - 1]}")
        else:
            headers = build_landing()
        headers |= {"host": HOST, "user-agent": self.agent}
        headers["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        self.step += 1
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "server": ("127.0.0.1", 8000),
            "client": self.client,
            "scheme": "https",
            "method": "GET",
            "root_path": "",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "state": {},
        }

    def keep(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Keep the cookies of an answer."""
        for name, value in headers:
            if name.lower() == b"set-cookie":
                key, _, content = value.decode().partition(";")[0].partition("=")
                self.cookies[key] = content


def _plan(visitors: int) -> list[tuple[str, list[int]]]:
    """Return slices of visitors who take their next step: everybody lands, then all walk.

    Each visitor takes each step once, in an order of its own; those of one slice are of one kind.
    """
    luck = random.Random(SEED)
    slices = []
    for step in range(STEPS):
        numbers = list(range(visitors))
        luck.shuffle(numbers)
        title = (PAGE_TITLE, QUIET_TITLE)[(step - 1) % 2] if step else LANDING_TITLE
        slices += [(title, numbers[at : at + SLICE]) for at in range(0, visitors, SLICE)]
    return slices


async def _walk(app: ASGIApp, visitors: list[Visitor]) -> float:
    """Let each visitor take a step; return microseconds of processor time a request."""
    scopes = [visitor.build_scope() for visitor in visitors]
    answers: list[Any] = []

    async def keep(message: Any) -> None:
        answers.append(message)

    gc.collect(1)  # what was prepared is nobody's cost
    start = thread_time_ns()
    for scope in scopes:
        await app(scope, receive, keep)
    gc.collect(0)
    took = thread_time_ns() - start
    for visitor, answer in zip(visitors, answers[::2], strict=True):
        if answer["status"] != 200:
            raise SystemExit(f"browse: expected 200, got {answer['status']}")
        visitor.keep(answer["headers"])
    return took / len(visitors) / 1000


async def run(visitors: int = VISITORS) -> dict[str, dict[str, Cost]]:
    """Return every peer's cost by case."""
    with tempfile.TemporaryDirectory() as directory:
        bridge = build_bridge(directory)
        peers = build_peers(bridge)
        people = {
            peer: [Visitor(n, random.Random(SEED + n)) for n in range(visitors)] for peer in peers
        }
        times: dict[str, dict[str, list[float]]] = {
            title: {peer: [] for peer in peers}
            for title in (LANDING_TITLE, PAGE_TITLE, QUIET_TITLE)
        }
        names = list(peers)
        gc.collect()
        gc.freeze()
        try:
            for turn, (title, numbers) in enumerate(_plan(visitors)):
                for n in range(len(names)):
                    peer = names[(turn + n) % len(names)]
                    await asyncio.sleep(0)
                    took = await _walk(peers[peer], [people[peer][n] for n in numbers])
                    times[title][peer].append(took)
        finally:
            gc.unfreeze()
            await bridge.stop()
        for peer, kept in KEPT.items():
            if any(not kept <= each.cookies.keys() for each in people[peer]):
                raise SystemExit(f"browse: {peer} has not set {kept} for everybody")
        return {title: summarize(found) for title, found in times.items()}
