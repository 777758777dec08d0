"""Hostile values: Python objects into the public calls.

Each call either returns or raises one of our own errors; what is returned is JSON.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any

import msgspec

from bridge import Bridge, InvalidEventError, UsageError
from bridge.destinations import Segment
from tests.factories import NAVIGATION, SECRET, make_meta, make_scope, make_visitor

SLOW = 1.0  # seconds of processor time


class Text(str):
    """As template engines have."""

    __slots__ = ()


class Broken:
    """An object whose every use fails."""

    def __str__(self) -> str:
        raise RuntimeError

    def __repr__(self) -> str:
        return "Broken()"


class Colour(Enum):
    RED = "red"


KEYS = [
    *(
        "value",
        "currency",
        "content_ids",
        "contents",
        "content_type",
        "order_id",
        "num_items",
        "em",
    ),
    *(
        "products",
        "revenue",
        "total",
        "price",
        "quantity",
        "id",
        "product_id",
        "item_price",
        "email",
    ),
    *("customer", "name", "note", "url", "delivery_category", "status", "predicted_ltv", "", "a.b"),
    *("event_name", "event", "event_id", "event_time", "action_source", "user_data", "custom_data"),
    *(
        "properties",
        "context",
        "traits",
        "ip",
        "userAgent",
        "page",
        "address",
        "phone",
        "db",
        "zip",
    ),
    *("event_source_url", "opt_out", "app_data", "external_id", "fbp", "fbc", "country", "\ud800"),
]
SCALARS: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        59,
        2**63,
        10**400,
        0.0,
        -0.5,
        1e308,
        float("nan"),
        float("inf"),
    ),
    *(
        "",
        " ",
        "EUR",
        "eur",
        "12,50",
        "$1,234.50",
        "1e5",
        "Purchase",
        "Order Completed",
        "Lead",
        "\ud800",
    ),
    *(
        "ada@example.com",
        "a" * 6000,
        "%/" * 900,
        "\x00",
        "\u200b",
        "[]",
        '["a"]',
        "{}",
        "2026-11-29",
    ),
    *("https://shop.example.com/?token=x", "+49 170 1234567", "31121990", "XK", "9" * 5000, "nan"),
    *(
        b"bytes",
        Decimal("59.90"),
        Decimal("sNaN"),
        Decimal("1e999999"),
        uuid.UUID(int=4),
        Colour.RED,
    ),
    *(
        datetime(2026, 11, 29, tzinfo=UTC),
        datetime.max,  # noqa: DTZ901 - what people pass
        datetime.min,  # noqa: DTZ901
        date.max,
        timedelta(1),
        Text("x"),
    ),
    *(Broken(), object(), int, lambda: None, {1, 2}, frozenset(), range(3), (1, 2), 1j, ...),
]


def make_value(dice: random.Random, depth: int) -> Any:
    roll = dice.random()
    if depth and roll < 0.3:
        size = 300 if depth == 1 and dice.random() < 0.02 else dice.randrange(4)
        return {make_key(dice): make_value(dice, depth - 1) for _ in range(size)}
    if depth and roll < 0.5:
        length = 1200 if depth == 1 and dice.random() < 0.02 else dice.randrange(4)
        return [make_value(dice, depth - 1) for _ in range(length)]
    return dice.choice(SCALARS)


def make_key(dice: random.Random) -> Any:
    return dice.choice(SCALARS[:34]) if dice.random() < 0.05 else dice.choice(KEYS)


def make_object(dice: random.Random, depth: int = 3) -> dict[Any, Any]:
    return {dice.choice(KEYS): make_value(dice, depth) for _ in range(dice.randrange(8))}


async def run(
    seed: int, seconds: float, count: int, outbox: str, tell: Callable[[str], None]
) -> int:
    """Call until time or count is up; return how often. A finding raises."""
    dice = random.Random(seed)
    bridge = Bridge(SECRET, [make_meta(), Segment("key")], outbox=outbox, run_sender=False)
    end, done, slowest = time.monotonic() + seconds, 0, 0.0
    while done < count and time.monotonic() < end:
        visitor = make_visitor(bridge, make_scope(headers=NAVIGATION))
        given, name, value = make_object(dice), dice.choice(SCALARS), make_value(dice, 3)
        kind = dice.randrange(6)
        shown = (seed, done, kind, name)
        start = time.thread_time()
        try:
            if kind == 0:
                shape = {dice.choice(["event_name", "event"]): name, **given}
                msgspec.json.encode(bridge.enrich(shape, visitor=visitor))
            elif kind == 1:
                shape = {dice.choice(["event_name", "event"]): name, **given}
                msgspec.json.encode(bridge.explain(shape, visitor=visitor).to_dict())
            elif kind == 2:
                bridge.identify(value, visitor=visitor, **_as_keywords(given))
                visitor.start_response()
            elif kind == 3:
                bridge.person(name, **_as_keywords(given))
            else:
                await bridge.track(
                    name,
                    value,
                    event_id=dice.choice([None, None, *SCALARS]),
                    event_time=dice.choice([None, None, *SCALARS]),
                    user_data=dice.choice([None, given, *SCALARS]),
                    visitor=visitor,
                )
                visitor.start_response()
        except (InvalidEventError, UsageError) as error:
            _check_message(str(error), shown)
        except Exception as error:
            raise AssertionError(f"{error!r} of {shown}") from error
        took = time.thread_time() - start
        slowest = max(slowest, took)
        assert took < SLOW, f"{took:.3f} s for {shown}"
        done += 1
    await bridge.stop(0)
    tell(f"calls: {done:,} from seed {seed}, the slowest {slowest * 1000:.1f} ms")
    return done


def _check_message(message: str, shown: object) -> None:
    assert len(message) < 1000, shown
    assert "ada@example.com" not in message, shown


def _as_keywords(given: dict[Any, Any]) -> dict[str, Any]:
    return {key: value for key, value in given.items() if key.isidentifier() and key != "visitor"}
