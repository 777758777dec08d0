"""The figures, as OpenTelemetry's own SDK reads them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from opentelemetry import metrics as api
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import bridge.delivery.metrics
from bridge import OutboxError
from bridge.delivery.metrics import BROWSER, COUNTERS, GAUGES, LATENCY, Metrics
from bridge.outbox import Counts, Delivery, SQLiteOutbox
from tests.factories import NAVIGATION, NOW, make_bridge, make_meta, make_scope, make_visitor
from tests.servers import ROOT, Sandbox, poll

META = "meta:1234567890123456"


@pytest.fixture(scope="session")
def only_reader() -> InMemoryMetricReader:
    """The one reader of the process: OpenTelemetry's provider can be set only once."""
    reader = InMemoryMetricReader()
    api.set_meter_provider(MeterProvider([reader]))
    return reader


@pytest.fixture
def reader(only_reader: InMemoryMetricReader) -> InMemoryMetricReader:
    """The reader, with nothing left of the bridges of other tests."""
    bridge.delivery.metrics._published.clear()
    only_reader.get_metrics_data()
    return only_reader


def collect(reader: InMemoryMetricReader, destination: str) -> dict[str, Any]:
    """The data points of ``destination`` by instrument; each has that one attribute."""
    data: Any = reader.get_metrics_data()
    points = {}
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            if scope.scope.name != "bridge":
                continue
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    assert set(point.attributes) == {"destination"}
                    if point.attributes["destination"] == destination:
                        points[metric.name] = point
    return points


async def test_events_are_counted_from_the_call_to_the_answer(
    outbox: SQLiteOutbox, sandbox: Sandbox, reader: InMemoryMetricReader
) -> None:
    built = make_bridge(outbox, destinations=[make_meta(graph_url=sandbox.url)], browser_hold=0)
    visitor = make_visitor(built, make_scope("/", headers=NAVIGATION))
    await sandbox.fault("events", status=500)
    built.start()
    for event_id in ("1", "1", "2"):
        await built.track("Lead", event_id=event_id, visitor=visitor)

    async def delivered() -> bool:
        return built.counters["delivered"] == 2

    await poll(delivered, "both")
    await built.stop()
    points = collect(reader, META)
    assert points["bridge.events.stored"].value == 2
    assert points["bridge.events.duplicates"].value == 1
    assert points["bridge.events.delivered"].value == 2
    assert points["bridge.events.retried"].value >= 1
    assert points["bridge.events.lost"].value == 0
    requests = points["bridge.requests.sent"].value
    assert requests >= 2
    assert points[LATENCY].count >= requests
    assert points[LATENCY].explicit_bounds[-1] == 20.0
    assert built.counters["stored"] == 2


async def test_depth_and_age_are_read_from_the_outbox(reader: InMemoryMetricReader) -> None:
    metrics = Metrics(["meta:depth"])
    metrics.publish()
    metrics.publish()
    counts = Counts(waiting=5, held=2, delivered=7, dead=1, oldest=NOW - 30)
    metrics.set_depths({"meta:depth": counts, "meta:foreign": counts}, NOW)
    points = collect(reader, "meta:depth")
    values = {name: points[name].value for name in GAUGES}
    assert values == {
        "bridge.outbox.waiting": 5,
        "bridge.outbox.held": 2,
        "bridge.outbox.dead": 1,
        "bridge.outbox.oldest_age": 30.0,
    }
    assert {name for name, _, _ in COUNTERS.values()} <= set(points)
    assert collect(reader, "meta:foreign") == {}


async def test_running_sender_refreshes_the_depth(
    outbox: SQLiteOutbox, reader: InMemoryMetricReader
) -> None:
    built = make_bridge(outbox, destinations=[make_meta(pixel_id="77")])
    visitor = make_visitor(built, make_scope("/", headers=NAVIGATION))
    await built.track("Lead", visitor=visitor)
    built.start()

    async def refreshed() -> bool:
        point = collect(reader, "meta:77").get("bridge.outbox.waiting")
        return point is not None and point.value == 1

    await poll(refreshed, "the gauge")
    await built.stop(deadline=0)


async def test_two_bridges_of_one_destination_are_counted_together(
    reader: InMemoryMetricReader,
) -> None:
    both = [Metrics(["meta:shared"]), Metrics(["meta:shared"])]
    for metrics in both:
        metrics.publish()
        metrics.counters["meta:shared"]["stored"] += 3
    assert collect(reader, "meta:shared")["bridge.events.stored"].value == 6


class _BrokenOutbox(SQLiteOutbox):
    async def put(self, *args: Any, **options: Any) -> list[bool]:
        raise OutboxError("no disk")

    async def count(self, now: float) -> Any:
        raise OutboxError("no disk")


async def test_lost_event_is_counted_for_each_destination(tmp_path: Any) -> None:
    destinations = [make_meta(), make_meta(pixel_id="2")]
    built = make_bridge(_BrokenOutbox(tmp_path / "broken.db"), destinations=destinations)
    await built.track("Lead", visitor=make_visitor(built, make_scope("/", headers=NAVIGATION)))
    assert built.counters["lost"] == 1
    assert [counters["lost"] for counters in built._metrics.counters.values()] == [1, 1]
    await built.stop(deadline=0)


async def test_open_circuit_and_split_are_counted(
    outbox: SQLiteOutbox, sandbox: Sandbox, reader: InMemoryMetricReader
) -> None:
    built = make_bridge(outbox, destinations=[make_meta(pixel_id="5", graph_url=sandbox.url)])
    built.start()
    delivery = Delivery(
        destination="meta:5",
        event_name="Lead",
        event_id="1",
        body=b"{}",
        due=0,
        expires=4e9,
    )
    await outbox.put([delivery], NOW)
    built._sender.wake()

    async def paused() -> bool:
        return built.counters["paused"] == 1

    await poll(paused, "the refusal")
    await built.stop(deadline=0)
    assert collect(reader, "meta:5")["bridge.events.paused"].value == 1


async def test_browser_copies_are_shown_by_state(reader: InMemoryMetricReader) -> None:
    both = [Metrics(["meta:browser"]), Metrics(["meta:browser"])]
    for metrics in both:
        metrics.publish()
        metrics.browser.note("sent")
    both[0].browser.note("blocked")
    data: Any = reader.get_metrics_data()
    [found] = [
        metric
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == BROWSER[0]
    ]
    points = {point.attributes["state"]: point.value for point in found.data.data_points}
    assert points == {"sent": 2, "blocked": 1}


def test_shares_are_of_the_last_thousand() -> None:
    copies = Metrics([]).browser
    assert copies.read_shares() is None
    for state in ("blocked",) * 500 + ("sent",) * 999 + ("unknown",):
        copies.note(state)
    assert copies.read_shares() == {"sent": 0.999, "blocked": 0.0, "unknown": 0.001}
    assert copies.counters["blocked"] == 500


def test_nothing_happens_where_opentelemetry_is_not_installed() -> None:
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from bridge.delivery.metrics import Metrics\n"
        "metrics = Metrics(['a']); metrics.publish(); metrics.record_latency('a', 1.0)\n"
        "metrics.counters['a']['stored'] += 1\n"
        "print(metrics.is_published, metrics.counters['a']['stored'])"
    )
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert printed.split() == ["False", "1"]
