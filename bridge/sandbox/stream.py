"""The stream of Server-Sent Events that tells the events page when something arrived."""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from bridge.sandbox.faults import skip_body, wait_until_closed
from bridge.sandbox.ledger import Ledger

INTERVAL = 0.2  # seconds between looks at the ledger
KEEP_ALIVE = 15.0  # seconds without a change before a comment is sent
MAX_AGE = 600.0  # seconds; the page connects again by itself

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class VersionStream(Response):
    """An answer that sends ``{"version": n}`` at once and at each change, until the client leaves.

    It ends by itself when uvicorn wants to stop, which would otherwise wait for it.
    """

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self._ledger = ledger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the client leaves."""
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        await _send_text(send, "retry: 1000\n\n")
        await skip_body(receive)
        sent, quiet, age = -1, 0.0, 0.0
        closed = False
        while not closed and age < MAX_AGE:
            if self._ledger.version != sent:
                sent, quiet = self._ledger.version, 0.0
                await _send_text(send, f'data: {{"version": {sent}}}\n\n')
            elif quiet >= KEEP_ALIVE:
                quiet = 0.0
                await _send_text(send, ": still here\n\n")
            closed = await wait_until_closed(receive, INTERVAL)
            quiet += INTERVAL
            age += INTERVAL
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _send_text(send: Send, text: str) -> None:
    await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
