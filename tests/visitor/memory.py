"""``python -m tests.visitor.memory``: many visitors with the longest headers; prints memory in MB.

Each request differs from all others in each header, so that every cache fills.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import Any

from starlette.types import Message

from bridge import Bridge, BridgeMiddleware, enrich
from tests.factories import SECRET, make_meta

PAGE = 4096  # bytes


def read_memory() -> float:
    """Resident megabytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 1e6


def make_scope(number: int) -> dict[str, Any]:
    mark = f"{number:08d}"
    host = f"{mark}.{'a' * 60}.{'b' * 60}.{'c' * 60}.example.com:8000"
    session = f"_bridge={mark}{'x' * 3700}"
    ids = f"_fbp=fb.1.1795000000000.{mark}; _fbc=fb.1.1795000000000.{mark}{'y' * 480}"
    cookie = f"{session}; {ids}; _bridge_p=https://{host}/{'z' * 900}; ga={mark}{'g' * 500}"
    if number % 200 == 0:  # longer than is ever looked at
        host, cookie = f"{mark}{'h' * 500_000}", f"{mark}{'k' * 300_000}"
    return {
        "type": "http",
        "method": "GET",
        "scheme": "https",
        "path": f"/{mark}/{'p' * 900}",
        "raw_path": f"/{mark}/{'p' * 900}".encode(),
        "query_string": f"q{mark}={'q' * 900}&fbclid={mark}{'f' * 480}".encode(),
        "client": (f"8.{number % 250}.{number // 250 % 250}.{number // 62500 % 250}", 1),
        "headers": [
            (b"host", host.encode()),
            (b"x-forwarded-host", host.encode()),
            (b"x-forwarded-for", f"9.9.9.9, {mark}".encode()),
            (b"cookie", cookie.encode()),
            (b"user-agent", f"Mozilla/5.0 {mark} {'u' * 490}".encode()),
            (b"referer", f"https://shop.example.com/{mark}/{'r' * 1900}".encode()),
            (b"sec-fetch-mode", b"navigate"),
            (b"sec-fetch-dest", b"document"),
        ],
    }


async def drive(count: int) -> None:
    bridge = Bridge(SECRET, [make_meta()], outbox="sqlite:////dev/null/never", run_sender=False)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"][7] == "0":  # an event for each tenth
            enrich({"event_name": "Lead"})
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        pass

    middleware = BridgeMiddleware(app, bridge=bridge)
    for number in range(count):
        if number == count * 2 // 5:
            print(f"{read_memory():.0f}")  # noqa: T201 - what the test reads
        await middleware(make_scope(number), receive, send)
    print(f"{read_memory():.0f}")  # noqa: T201 - what the test reads


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    asyncio.run(drive(int(sys.argv[1])))
