"""The figures, as OpenTelemetry's own SDK reads them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from opentelemetry import metrics as api
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

import bridge.delivery.metrics
from bridge import BridgeMiddleware, OutboxError
from bridge.delivery.metrics import (
    COUNTERS,
    GAUGES,
    INSTRUMENTS,
    LATENCY,
    MAX_LABELS,
    Metrics,
)
from bridge.figures.words import OTHER, STORED
from bridge.outbox import Circuit, Counts, Delivery, SQLiteOutbox
from tests.factories import (
    NAVIGATION,
    NOW,
    make_bridge,
    make_client,
    make_meta,
    make_scope,
    make_visitor,
    unix_now,
)
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


ATTRIBUTES = {each.name: set(each.attributes) for each in INSTRUMENTS}


def collect_all(reader: InMemoryMetricReader) -> dict[str, list[Any]]:
    """All data points by instrument; each has the attributes that its instrument promises."""
    data: Any = reader.get_metrics_data()
    points: dict[str, list[Any]] = {}
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics if scope.scope.name == "bridge" else ():
                points[metric.name] = list(metric.data.data_points)
                for point in metric.data.data_points:
                    assert set(point.attributes) == ATTRIBUTES[metric.name], metric.name
    return points


def is_zero(point: Any) -> bool:
    """Whether it only says that nothing of this name has happened yet."""
    return "event_name" in point.attributes and point.value == 0


def collect(reader: InMemoryMetricReader, destination: str) -> dict[str, Any]:
    """The one data point of ``destination`` by instrument, where it has one besides zeros."""
    found = {
        name: [
            each
            for each in points
            if each.attributes.get("destination") == destination and not is_zero(each)
        ]
        for name, points in collect_all(reader).items()
    }
    return {name: points[0] for name, points in found.items() if len(points) == 1}


def read(reader: InMemoryMetricReader, name: str, *attributes: str) -> dict[Any, float]:
    """The values of one instrument besides zeros, by some of its attributes."""
    points = [each for each in collect_all(reader)[name] if not is_zero(each)]
    return {tuple(p.attributes[each] for each in attributes): p.value for p in points}


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
    assert "bridge.events.lost" not in points
    requests = points["bridge.requests.sent"].value
    assert requests >= 2
    assert points[LATENCY.name].count >= requests
    assert points[LATENCY.name].explicit_bounds[-1] == 20.0
    assert built.counters["stored"] == 2


async def test_depth_and_age_are_read_from_the_outbox(reader: InMemoryMetricReader) -> None:
    metrics = Metrics(["meta:depth"])
    metrics.publish()
    metrics.publish()
    counts = Counts(waiting=5, held=2, delivered=7, dead=1, oldest=NOW - 30)
    metrics.set_depths({"meta:depth": counts, "meta:foreign": counts}, {}, NOW)
    points = collect(reader, "meta:depth")
    values = {name: points[name].value for name in GAUGES}
    assert values == {
        "bridge.outbox.waiting": 5,
        "bridge.outbox.held": 2,
        "bridge.outbox.dead": 1,
        "bridge.outbox.oldest_age": 30.0,
    }
    assert {each.name for each in COUNTERS.values()} <= set(points)
    assert points["bridge.circuit.state"].value == 0
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
        metrics.add({("meta:shared", "Lead", STORED): 3})
        metrics.counters["meta:shared"]["retried"] += 2
    points = collect(reader, "meta:shared")
    assert points["bridge.events.stored"].value == 6
    assert points["bridge.events.retried"].value == 4


async def test_series_begin_with_zero(reader: InMemoryMetricReader) -> None:
    """Prometheus does not see the first value of a series as an increase."""
    metrics = Metrics(["meta:new"])
    metrics.publish()

    def read_all(name: str) -> dict[str, float]:
        return {p.attributes["event_name"]: p.value for p in collect_all(reader)[name]}

    names = [f"bridge.events.{each}" for each in ("stored", "delivered", "buried", "lost")]
    assert [read_all(name) for name in names] == [{"Purchase": 0}] * 4
    metrics.add({("meta:new", "Lead", STORED): 3, ("", "Search", "skipped.bot"): 1})
    assert read_all("bridge.events.stored") == {"Purchase": 0, "Lead": 3}
    assert read_all("bridge.events.buried") == {"Purchase": 0, "Lead": 0}


class _BrokenOutbox(SQLiteOutbox):
    async def put(self, *args: Any, **options: Any) -> list[bool]:
        raise OutboxError("no disk")

    async def count(self, now: float, *, with_delivered: bool = False) -> Any:
        raise OutboxError("no disk")


async def test_lost_event_is_counted_for_each_destination(tmp_path: Any) -> None:
    destinations = [make_meta(), make_meta(pixel_id="2")]
    built = make_bridge(_BrokenOutbox(tmp_path / "broken.db"), destinations=destinations)
    await built.track("Lead", visitor=make_visitor(built, make_scope("/", headers=NAVIGATION)))
    assert built.counters["lost"] == 1
    assert [counters["lost"] for counters in built._pipeline.metrics.counters.values()] == [1, 1]
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
    built._pipeline.sender.wake([delivery.destination])

    async def paused() -> bool:
        return built.counters["paused"] == 1

    await poll(paused, "the refusal")
    await built.stop(deadline=0)
    assert collect(reader, "meta:5")["bridge.events.paused"].value == 1


async def test_events_are_told_apart_by_name_reason_identifier_and_state(
    outbox: SQLiteOutbox, reader: InMemoryMetricReader
) -> None:
    built = make_bridge(outbox, destinations=[make_meta(pixel_id="8")], run_sender=False)
    app = Starlette(routes=[Route("/", lambda request: Response())])
    built.start()
    client = make_client(BridgeMiddleware(app, bridge=built))
    robot = make_visitor(built, make_scope("/", headers={"user-agent": "Googlebot/2.1"}))
    visitor = make_visitor(built, make_scope("/", headers=NAVIGATION))
    await built.track("Lead", visitor=robot)
    for name in ("Lead", "Lead", "Rare"):
        await built.track(name, visitor=visitor)
    event = {"event_name": "Lead", "event_id": "b", "state": "blocked"}
    await client.get("/")
    await client.post("/_bridge/collect", json={"events": [event]})
    await built.stop(deadline=0)
    stored = read(reader, "bridge.events.stored", "event_name")
    assert stored == {("Lead",): 3, ("Rare",): 1}
    assert read(reader, "bridge.events.skipped", "event_name", "reason") == {("Lead", "bot"): 1}
    assert read(reader, "bridge.requests.ignored", "reason") == {("bot",): 1}
    identified = read(reader, "bridge.events.identified", "event_name", "identifier")
    assert identified["Lead", "client_ip_address"] == 3
    assert ("Lead", "em") not in identified
    copies = read(reader, "bridge.browser.copies", "destination", "event_name", "state")
    assert copies == {("meta:8", "Lead", "blocked"): 1}


async def test_names_and_reasons_are_bounded(reader: InMemoryMetricReader) -> None:
    metrics = Metrics(["meta:names"])
    metrics.publish()
    for i in range(2000):
        metrics.add({("meta:names", f"Custom{i}", STORED): 1, ("", "Lead", f"skipped.why{i}"): 1})
        metrics.totals[f"ignored_requests.because{i}"] += 1
    metrics.add({("meta:names", "Purchase", STORED): 7})
    stored = read(reader, "bridge.events.stored", "event_name")
    assert len(stored) == MAX_LABELS + 2
    assert stored[("Purchase",)] == 7
    assert stored[("(other)",)] == 2000 - MAX_LABELS
    assert len(read(reader, "bridge.events.skipped", "reason")) == MAX_LABELS + 1
    assert list(read(reader, "bridge.requests.ignored", "reason")) == [("(other)",)]


@pytest.mark.parametrize(("state", "value"), [("open", 2), ("half_open", 1), ("closed", 0)])
async def test_circuit_is_shown_as_the_outbox_has_it(
    outbox: SQLiteOutbox, reader: InMemoryMetricReader, state: Any, value: int
) -> None:
    await outbox.save_circuit(
        Circuit(destination="meta:79", state=state, since=1.0, until=unix_now() + 900)
    )
    built = make_bridge(outbox, destinations=[make_meta(pixel_id="79")])
    built.start()

    async def measured() -> bool:
        return bool(built._pipeline.metrics.depths)

    await poll(measured, "the first look")
    await built.stop(deadline=0)
    assert collect(reader, "meta:79")["bridge.circuit.state"].value == value


def test_nothing_happens_where_opentelemetry_is_not_installed() -> None:
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from bridge.delivery.metrics import INSTRUMENTS, MAX_LABELS, Metrics\n"
        "metrics = Metrics(['a']); metrics.publish(); metrics.record_latency('a', 1.0)\n"
        "metrics.counters['a']['stored'] += 1\n"
        "print(metrics.is_published, metrics.counters['a']['stored'])"
    )
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert printed.split() == ["False", "1"]


async def test_thousands_of_destinations_are_fifty_series_and_one() -> None:
    metrics = Metrics([], is_open=True)
    names = [f"shop{number}/meta:1" for number in range(MAX_LABELS + 10)]
    for name in names:
        metrics.count(name, "requests")
    counts = {name: Counts(waiting=2, oldest=NOW - place) for place, name in enumerate(names)}
    refusing = Circuit(destination=names[-2], state="open", since=NOW)
    working = Circuit(destination=names[-1], state="closed", since=NOW)
    metrics.set_depths(counts, {each.destination: each for each in (refusing, working)}, NOW)
    assert len(metrics.counters) == MAX_LABELS + 1
    assert metrics.totals["requests"] == MAX_LABELS + 10
    assert metrics.counters[names[0]]["requests"] == 1
    assert metrics.counters[OTHER]["requests"] == 10
    depths = {name: each for name, _, each in metrics.depths}
    assert depths[names[0]] == Counts(waiting=2, oldest=NOW)
    assert depths[OTHER] == Counts(waiting=20, oldest=NOW - len(names) + 1)
    assert metrics.circuits[OTHER].state == "open"
