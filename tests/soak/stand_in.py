"""A light stand-in for Meta: down until switched on; it counts how often each event came.

The sandbox is strict and remembers every event; a million of them need one byte each here.
"""

from __future__ import annotations

import asyncio
import os

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


class _Event(msgspec.Struct):
    event_id: str


class _Content(msgspec.Struct):
    data: list[_Event]


class StandIn:
    """How often each came, by the number after the dash of its event id.

    Args:
        size: How many numbers there are.
        delay: Seconds after which it answers.
    """

    def __init__(self, size: int, delay: float) -> None:
        self.delay = delay
        self.is_up = False
        self.refused = 0  # requests answered with 503
        self.requests = 0  # accepted
        self.times = bytearray(size)

    async def receive_events(self, request: Request) -> Response:
        content = await request.body()
        await asyncio.sleep(self.delay)
        if not self.is_up:
            self.refused += 1
            return Response("down", status_code=503)
        events = msgspec.json.decode(content, type=_Content).data
        for event in events:
            number = int(event.event_id.partition("-")[2])
            self.times[number] = min(255, self.times[number] + 1)
        self.requests += 1
        return JSONResponse({"events_received": len(events)})

    async def switch(self, request: Request) -> Response:
        self.is_up = request.url.path == "/up"
        return JSONResponse({})

    async def list_times(self, request: Request) -> Response:
        return Response(bytes(self.times))

    async def tally(self, request: Request) -> Response:
        once, missing = self.times.count(1), self.times.count(0)
        return JSONResponse(
            {
                "refused": self.refused,
                "requests": self.requests,
                "once": once,
                "missing": missing,
                "more": len(self.times) - once - missing,
            }
        )


def build_app() -> Starlette:
    """The stand-in for ``SOAK_EVENTS`` events, which answers after ``SOAK_DELAY`` seconds."""
    stand_in = StandIn(int(os.environ["SOAK_EVENTS"]), float(os.environ.get("SOAK_DELAY", "0")))
    return Starlette(
        routes=[
            Route("/{version}/{pixel_id}/events", stand_in.receive_events, methods=["POST"]),
            Route("/up", stand_in.switch, methods=["POST"]),
            Route("/down", stand_in.switch, methods=["POST"]),
            Route("/times", stand_in.list_times),
            Route("/tally", stand_in.tally),
        ]
    )
