"""A light stand-in for Meta: down until switched on, then it counts how often each event came.

The sandbox is strict and remembers every event; a million of them need one byte each here.
"""

from __future__ import annotations

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
    """How often each came, by the number after the dash of its event id."""

    def __init__(self, size: int) -> None:
        self.is_up = False
        self.refused = 0  # requests answered with 503
        self.requests = 0  # accepted
        self.times = bytearray(size)

    async def receive_events(self, request: Request) -> Response:
        content = await request.body()
        if not self.is_up:
            self.refused += 1
            return Response("down", status_code=503)
        events = msgspec.json.decode(content, type=_Content).data
        for event in events:
            number = int(event.event_id.partition("-")[2])
            self.times[number] = min(255, self.times[number] + 1)
        self.requests += 1
        return JSONResponse({"events_received": len(events)})

    async def raise_up(self, request: Request) -> Response:
        self.is_up = True
        return JSONResponse({})

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
    """The stand-in as an ASGI application, for as many events as ``SOAK_EVENTS`` says."""
    stand_in = StandIn(int(os.environ["SOAK_EVENTS"]))
    return Starlette(
        routes=[
            Route("/{version}/{pixel_id}/events", stand_in.receive_events, methods=["POST"]),
            Route("/up", stand_in.raise_up, methods=["POST"]),
            Route("/tally", stand_in.tally),
        ]
    )
