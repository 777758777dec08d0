"""An outbox as a shop leaves it: figures of two days, events that wait, and dead letters."""

from __future__ import annotations

import json
import time
from typing import Any

from bridge.outbox import Delivery, Outbox
from bridge.outbox.base import Figure

DEST = "meta:1234567890123456"
MARKUP = "<img src=x onerror='document.title=1'>"
HASH = "a" * 8 + "b" * 56
CURRENCY = "Param data[0][custom_data][currency] must be three letters (code 100)"
DAY = 86_400


def today() -> int:
    return int(time.time() // DAY)


def make_delivery(event_id: str, name: str = "Purchase", **changes: Any) -> Delivery:
    now = time.time()
    source = changes.pop("source", "website")
    event = {
        "event_name": name,
        "event_time": int(now),
        "event_id": event_id,
        "action_source": source,
        "user_data": {
            "em": [HASH],
            "client_ip_address": "93.184.216.34",
            "client_user_agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0",
        },
        "custom_data": {"value": 5, "currency": "EUR"},
    }
    values = {
        "destination": DEST,
        "event_name": name,
        "event_id": event_id,
        "body": json.dumps(event).encode(),
        "due": now - 1,
        "expires": now + 6 * DAY,
        **changes,
    }
    return Delivery(**values)


async def bury(outbox: Outbox, reason: str, *deliveries: Delivery) -> None:
    now = time.time()
    await outbox.put(deliveries, now)
    claimed = await outbox.claim(deliveries[0].destination, 100, now=now, lease=60)
    keys = {each.key for each in deliveries}
    await outbox.bury([each for each in claimed if each.key in keys], reason, now)
    await outbox.retry([each for each in claimed if each.key not in keys], now)


async def fill(outbox: Outbox) -> None:
    """Put 12 Purchases, 4 events of a name that is markup, 3 dead letters and 2 waiting events."""
    day = today()
    figures = [
        ("Purchase", "stored", 10), ("Purchase", "delivered", 7), ("Purchase", "dead", 3),
        ("Purchase", "copy.expected", 8), ("Purchase", "copy.sent", 6),
        ("Purchase", "copy.blocked", 1), ("Purchase", "with.em", 5), ("Purchase", "with.fbp", 10),
        ("Purchase", "value.EUR", 595_000), ("Purchase", "delay.6", 7),
        (MARKUP, "stored", 4), (MARKUP, "delivered", 4),
    ]  # fmt: skip
    await outbox.add_figures(
        [
            *(Figure(day, DEST, *each) for each in figures),
            Figure(day - 1, DEST, "Purchase", "stored", 2),
            Figure(day - 40, DEST, "Lead", "stored", 9),
            Figure(day, "", "PageView", "skipped.consent_denied", 11),
        ]
    )
    await bury(outbox, CURRENCY, make_delivery("A-1"), make_delivery("A-2"))
    await bury(outbox, "The token is bad (code 190)", make_delivery("L-1", "Lead"))
    held = make_delivery("=V-1", "ViewContent", due=time.time() + 500, source="app")
    await outbox.put([held, make_delivery("V-2", MARKUP)], time.time())
