"""The cost of one event in process: built, normalised, hashed and encoded for Meta.

What counts is this thread's processor time. The floor is the least code that gives the same bytes:
hashlib and msgspec, nothing checked.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from time import thread_time_ns
from typing import Any

import msgspec

from benchmarks.peers import build_bridge
from benchmarks.purchase import (
    BUYER,
    EVENT_ID,
    EVENT_TIME,
    IDENTITY,
    PAGE_URL,
    PROPERTIES,
    build_sdk_event,
    build_visitor,
)
from benchmarks.report import divide, judge, print_table, show, summarize
from benchmarks.turns import take_turns

ROUNDS = 60
EVENTS = 200  # of one slice

BRIDGE, SDK, FLOOR = "Bridge", "`facebook_business`", "floor: hashlib and msgspec"
BUDGETS = (1.6, 3.3)  # at most this multiple of the floor, at least this many times the SDK's speed

_Encode = Callable[[], bytes]


def encode_by_bridge(directory: str) -> _Encode:
    """Return Bridge's way, from raw user data to the bytes that are stored."""
    bridge = build_bridge(directory)
    visitor, [destination] = build_visitor(bridge), bridge.destinations
    given = {
        "event_name": "Purchase",
        "event_id": EVENT_ID,
        "event_time": EVENT_TIME,
        "custom_data": PROPERTIES,
        "user_data": BUYER,
    }
    # What track() does before it stores.
    return lambda: destination.encode(*bridge._enricher.complete(given, visitor, now=time.time()))


def encode_by_sdk() -> bytes:
    """Meta's own Python SDK, as ``EventRequest`` does it."""
    return json.dumps(build_sdk_event().normalize()).encode()


def _hash(text: str) -> list[str]:
    return [hashlib.sha256(text.encode()).hexdigest()]


def hash_plainly(buyer: Mapping[str, str]) -> dict[str, Any]:
    """Return raw user data normalised and hashed, by the rules that these values need."""
    return {
        "em": _hash(buyer["email"].strip().lower()),
        "ph": _hash("".join(filter(str.isdigit, buyer["phone"]))),
        "fn": _hash(buyer["first_name"].strip().lower()),
        "ln": _hash(buyer["last_name"].strip().lower()),
        "ct": _hash(buyer["city"].lower().replace(" ", "")),
        "zp": _hash(buyer["zip"].strip().lower()),
        "country": _hash(buyer["country"].strip().lower()),
        "db": _hash(buyer["date_of_birth"]),
    }


def encode_plainly() -> bytes:
    """Do the same with the least code: nothing checked, nothing unusual allowed for."""
    user_data = {
        **hash_plainly(BUYER),
        "external_id": [IDENTITY.external_id],
        "client_ip_address": IDENTITY.client_ip,
        "client_user_agent": IDENTITY.user_agent,
        "fbc": IDENTITY.fbc,
        "fbp": IDENTITY.fbp,
    }
    return msgspec.json.encode(
        {
            "event_name": "Purchase",
            "event_time": EVENT_TIME,
            "event_id": EVENT_ID,
            "action_source": "website",
            "user_data": user_data,
            "custom_data": PROPERTIES,
            "event_source_url": PAGE_URL,
        }
    )


def _read(content: bytes) -> Any:
    """Return ``content`` decoded; the SDK alone writes currencies in lower case."""
    read = msgspec.json.decode(content)
    read["custom_data"]["currency"] = read["custom_data"]["currency"].upper()
    return read


def _check(encoders: dict[str, _Encode]) -> None:
    """Stop unless all of them say the same."""
    wanted = _read(encoders[FLOOR]())
    for name, encode in encoders.items():
        if (got := _read(encode())) != wanted:
            raise SystemExit(f"{name} encodes {got}, expected {wanted}")


def _time(encode: _Encode) -> float:
    """Return microseconds of processor time an event."""
    start = thread_time_ns()
    for _ in range(EVENTS):
        encode()
    return (thread_time_ns() - start) / EVENTS / 1000


def run(directory: str, rounds: int = ROUNDS) -> None:
    """Measure and print."""
    encoders = {BRIDGE: encode_by_bridge(directory), SDK: encode_by_sdk, FLOOR: encode_plainly}
    _check(encoders)
    slices = {name: lambda encode=encode: _time(encode) for name, encode in encoders.items()}
    times = take_turns(slices, rounds, warm_up=5)
    over_floor = divide(times[BRIDGE], times[FLOOR])
    faster = divide(times[SDK], times[BRIDGE])
    budgets = (
        f"{judge(over_floor.median, BUDGETS[0], at_most=True)} of the floor,"
        f" {judge(faster.median, BUDGETS[1], at_most=False)} times the SDK"
    )
    print_table(
        "One event built, normalised, hashed and encoded",
        ("With", "µs", "÷ floor", "SDK ÷ it", "Bridge's budget"),
        [
            (
                name,
                show(summarize(took), ".1f"),
                show(divide(took, times[FLOOR])),
                show(divide(times[SDK], took)),
                budgets if name == BRIDGE else "",
            )
            for name, took in times.items()
        ],
    )
