"""From stored to acknowledged by a stand-in, by one sender process.

Bridge's sender drains its SQLite outbox, as ``pixel-bridge worker`` does. The peers have no store:
their events are built beforehand and wait in memory. The floor posts ready bytes.

What Bridge does before an event is stored, Meta's SDK does on the way: it normalises and encodes.
The last column therefore adds to Bridge's time what building the event costs (processor time,
measured in the same turns).
"""

from __future__ import annotations

import asyncio
import logging
import queue
import statistics
import time
from collections.abc import Callable
from time import thread_time
from typing import Any

import httpx
from facebook_business.adobjects.serverside.event_request import EventRequest
from facebook_business.api import FacebookAdsApi
from segment.analytics.client import Client
from segment.analytics.consumer import Consumer

from benchmarks.events import encode_by_bridge
from benchmarks.purchase import (
    IDENTITY,
    PIXEL_ID,
    PROPERTIES,
    build_deliveries,
    build_sdk_event,
)
from benchmarks.report import divide, judge, print_table, show, summarize
from benchmarks.stand_in import StandIn, run_stand_in
from benchmarks.turns import take_turns
from bridge.delivery.sender import CONCURRENCY, Sender
from bridge.destinations import Meta
from bridge.outbox import SQLiteOutbox
from bridge.outbox.sqlite.thread import BUSY, QUIET

ROUNDS = 3
WAITING = 100_000  # events in Bridge's outbox at the beginning of each of its slices
BATCH = 1000  # events of one request
SDK_CALLS = 5  # of 1000 events each
SDK_SINGLES = 500  # calls of one event each
SEGMENT_EVENTS = 5000
FLOOR_REQUESTS = 100
DEADLINE = 120.0  # seconds

BRIDGE, FLOOR = "Bridge", "floor: httpx, ready bytes, 1000 a call"
SDK, SDK_ONE = "`facebook_business`, 1000 a call", "`facebook_business`, one a call"
SEGMENT = "`segment-analytics-python`, its batches of 100"
BUDGET = 4.0  # times the SDK's batches, at least


class _Fleet:
    """What each peer needs, kept between its slices; a slice returns events a second."""

    def __init__(self, directory: str, runner: asyncio.Runner, stand_in: StandIn) -> None:
        self._runner = runner
        self._stand_in = stand_in
        self._meta = Meta(PIXEL_ID, "none", graph_url=stand_in.url)
        self.outbox = SQLiteOutbox(f"{directory}/delivery.db")
        self._encode = encode_by_bridge(directory)
        self._sdk_events = [build_sdk_event(str(n)) for n in range(BATCH)]
        api = FacebookAdsApi.init(access_token="none", crash_log=False)
        api._session.GRAPH = stand_in.url
        self._client = Client("key", send=False)

    def _time(self, work: Callable[[], object], events: int) -> float:
        start = time.perf_counter()
        work()
        took = time.perf_counter() - start
        self._stand_in.take(events)
        return events / took

    def drain(self) -> float:
        """Bridge's sender, from its start until the outbox is empty."""
        self._runner.run(self._fill())
        return self._time(lambda: self._runner.run(self._drain()), WAITING)

    async def _fill(self) -> None:
        deliveries = build_deliveries(WAITING)
        for start in range(0, WAITING, BATCH):
            await self.outbox.put(deliveries[start : start + BATCH], time.time())
        # Beside requests the sender holds back: that is measured by the backlog's part.
        await asyncio.sleep(BUSY + QUIET + 0.1)

    async def _drain(self) -> None:
        sender = Sender(self.outbox, [self._meta])
        sender.start()
        # When stopped, it delivers what is due and then ends.
        await sender.stop(DEADLINE)
        if sender.metrics.totals["delivered"] != WAITING:
            raise SystemExit(f"Bridge delivered {dict(sender.metrics.totals)}")

    def post_batches(self) -> float:
        """Meta's SDK, 1000 events a call."""
        requests = [EventRequest(PIXEL_ID, events=self._sdk_events) for _ in range(SDK_CALLS)]
        return self._time(lambda: [each.execute() for each in requests], SDK_CALLS * BATCH)

    def post_singles(self) -> float:
        """Meta's SDK, one event a call, as its examples have it."""
        requests = [EventRequest(PIXEL_ID, events=[e]) for e in self._sdk_events[:SDK_SINGLES]]
        return self._time(lambda: [each.execute() for each in requests], SDK_SINGLES)

    def consume(self) -> float:
        """Segment's client: one thread works off its queue."""
        waiting: queue.Queue[Any] = queue.Queue()
        for _ in range(SEGMENT_EVENTS):
            properties = dict(PROPERTIES)
            _, message = self._client.track(IDENTITY.user_id, "Order Completed", properties)
            waiting.put(message)
        consumer = Consumer(waiting, "key", host=self._stand_in.url)

        def work() -> None:
            consumer.start()
            waiting.join()

        rate = self._time(work, SEGMENT_EVENTS)
        consumer.pause()
        consumer.join()
        return rate

    def post_ready(self) -> float:
        """The floor: as many requests at a time as Bridge, of bytes that are ready."""
        bodies = [delivery.body for delivery in build_deliveries(BATCH)]
        content = self._meta.build_request(bodies).content
        events = FLOOR_REQUESTS * BATCH
        return self._time(lambda: self._runner.run(self._post_ready(content)), events)

    async def _post_ready(self, content: bytes) -> None:
        async with httpx.AsyncClient() as client:

            async def post() -> None:
                for _ in range(FLOOR_REQUESTS // CONCURRENCY):
                    (await client.post(f"{self._stand_in.url}/events", content=content)).json()

            await asyncio.gather(*(post() for _ in range(CONCURRENCY)))

    def build(self) -> float:
        """What Bridge did before it stored: events built a second of processor time."""
        start = thread_time()
        for _ in range(BATCH):
            self._encode()
        return BATCH / (thread_time() - start)


_BUILD = "built"


def run(directory: str, rounds: int = ROUNDS) -> None:
    """Measure and print."""
    # As on a worker, which has no uvloop. httpx's log line per request is off, as by default.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with run_stand_in() as stand_in, asyncio.Runner() as runner:
        fleet = _Fleet(directory, runner, stand_in)
        slices = {
            BRIDGE: fleet.drain,
            SDK: fleet.post_batches,
            SDK_ONE: fleet.post_singles,
            SEGMENT: fleet.consume,
            FLOOR: fleet.post_ready,
            _BUILD: fleet.build,
        }
        try:
            rates = take_turns(slices, rounds)
        finally:
            runner.run(fleet.outbox.close())
    _print(rates)


def _print(rates: dict[str, list[float]]) -> None:
    built = rates.pop(_BUILD)
    whole = [1 / (1 / sent + 1 / made) for sent, made in zip(rates[BRIDGE], built, strict=True)]
    share = divide(rates[BRIDGE], rates[SDK])
    print_table(
        f"Stored until acknowledged, one sender process, {WAITING:,} wait",
        ("With", "Events/s", "÷ SDK, 1000 a call", "÷ floor", "Budget", "Building included"),
        [
            (
                name,
                show(summarize(rate), ",.0f"),
                show(divide(rate, rates[SDK])),
                show(divide(rate, rates[FLOOR])),
                judge(share.median, BUDGET, at_most=False) if name == BRIDGE else "",
                _describe(whole, rates[SDK]) if name == BRIDGE else "",
            )
            for name, rate in rates.items()
        ],
    )


def _describe(whole: list[float], sdk: list[float]) -> str:
    times = divide(whole, sdk).median
    return f"{statistics.median(whole):,.0f} events/s, {times:.2f} times the SDK's batches"
