"""A shop of one handler, run by processes that are killed; its worker is ``--app …:bridge``."""

from __future__ import annotations

import os
import time

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import bridge.delivery.breaker
import bridge.delivery.exchange
import bridge.delivery.lane
from bridge import Bridge, BridgeMiddleware, track

WEEK = 7 * 86_400  # seconds
# Pauses of the sender that a test may shorten, in seconds: time compressed.
PAUSES = {
    "KILLS_LEASE": (bridge.delivery.lane, "LEASE"),
    "KILLS_BACKOFF_CAP": (bridge.delivery.breaker, "BACKOFF_CAP"),
    "KILLS_PAUSE": (bridge.delivery.breaker, "PAUSE"),
    "KILLS_PAUSE_CAP": (bridge.delivery.breaker, "PAUSE_CAP"),
    "KILLS_TIMEOUT": (bridge.delivery.exchange, "TOTAL_TIMEOUT"),
}

for _variable, (_module, _name) in PAUSES.items():
    if _variable in os.environ:
        setattr(_module, _name, float(os.environ[_variable]))

shop_bridge = Bridge.from_env()


async def create_order(request: Request) -> Response:
    """Track the order of the path and answer 200, or 503 if neither outbox nor spool took it.

    One whose id begins with "late" happened almost a week ago: Meta takes it for two more seconds.
    """
    order_id = request.path_params["order_id"]
    event = await track(
        "Purchase",
        {"value": 59, "currency": "EUR", "order_id": order_id},
        event_id=order_id,
        event_time=int(time.time()) - WEEK + 2 if order_id.startswith("late") else None,
    )
    answer = {"id": order_id, "outcome": event.outcome}
    return JSONResponse(answer, status_code=503 if event.outcome == "lost" else 200)


app = BridgeMiddleware(
    Starlette(routes=[Route("/orders/{order_id}", create_order, methods=["POST"])]),
    bridge=shop_bridge,
)
