"""Figures: what an app does, counted by day, destination and event name."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bridge import Bridge, BridgeMiddleware, OutboxError, identify, track
from bridge.destinations import Segment
from bridge.events.event import DAY, Event, UserData
from bridge.figures import counter as counting
from bridge.figures.counter import MAX_NAMES, FigureCounter
from bridge.figures.summary import Summary, summarize, summarize_days
from bridge.figures.words import IDENTIFIERS, OTHER
from bridge.outbox import Figure, SQLiteOutbox
from tests.factories import NAVIGATION, NOW, make_bridge, make_client, make_meta
from tests.servers import Sandbox

META = "meta:1234567890123456"
MONEY = {"value": 19.9, "currency": "EUR", "order_id": "A-1"}
TODAY = int(NOW // DAY)
SCRIPT = {"sec-fetch-mode": "cors", "sec-fetch-dest": "empty", "sec-fetch-site": "same-origin"}


async def buy(request: Request) -> Response:
    identify(email="ada@example.com")
    await track("Purchase", MONEY, event_id=request.query_params.get("id", "A-1"))
    return Response()


def make_event(name: str = "Lead", **changes: Any) -> Event:
    values = {"event_time": int(NOW), "event_id": "1", "action_source": "website", **changes}
    return Event(event_name=name, **values)


async def read(outbox: SQLiteOutbox) -> dict[tuple[str, str], Summary]:
    today = int(time.time() // DAY)
    summaries = summarize(await outbox.figures(today - 1, today))
    return {(each.destination, each.event_name): each for each in summaries}


@pytest.fixture
async def bridge(outbox: SQLiteOutbox, sandbox: Sandbox) -> AsyncIterator[Bridge]:
    bridge = make_bridge(outbox, destinations=[make_meta(graph_url=sandbox.url)])
    yield bridge
    await bridge.stop(deadline=0)


def open_shop(bridge: Bridge) -> httpx.AsyncClient:
    app = Starlette(routes=[Route("/buy", buy)])
    return make_client(BridgeMiddleware(app, bridge=bridge))


@pytest.fixture
def client(bridge: Bridge) -> httpx.AsyncClient:
    return open_shop(bridge)


async def test_life_of_an_order_is_counted(
    client: httpx.AsyncClient, bridge: Bridge, outbox: SQLiteOutbox
) -> None:
    for event_id in ("A-1", "A-1", "A-2", "A-3"):
        await client.get(f"/buy?id={event_id}", headers=NAVIGATION)
    acks = [
        {"event_name": "Purchase", "event_id": event_id, "state": state}
        for event_id, state in [("A-1", "sent"), ("A-1", "sent"), ("A-2", "blocked"), ("B", "sent")]
    ]
    await client.post("/_bridge/collect", json={"acks": acks}, headers=SCRIPT)
    await bridge.stop(deadline=9)
    found = (await read(outbox))[META, "Purchase"]
    assert (found.stored, found.duplicates, found.expected) == (3, 1, 3)
    assert found.copies == {"sent": 1, "blocked": 1}
    assert (found.delivered, found.dead, found.lost) == (2, 0, 0)  # the third is still held
    assert found.value == {"EUR": Decimal("59.7")}
    everywhere = ("em", "external_id", "fbp", "client_ip_address", "client_user_agent")
    assert found.coverage == dict.fromkeys(everywhere, 3)
    assert found.read_coverage("em") == 1
    assert sum(found.delays) == 2
    assert (found.read_delay(0.95) or math.inf) <= 30


async def test_reported_event_has_its_copy(
    client: httpx.AsyncClient, bridge: Bridge, outbox: SQLiteOutbox
) -> None:
    await client.get("/buy", headers=NAVIGATION)
    events = [
        {"event_name": "Lead", "event_id": "1", "state": "unknown"},
        {"event_name": "Lead", "event_id": "1", "state": "unknown"},
        {"event_name": "Lead", "event_id": "2"},
    ]
    for event in events:
        await client.post("/_bridge/collect", json={"events": [event]}, headers=SCRIPT)
    await bridge.stop(deadline=9)
    found = (await read(outbox))[META, "Lead"]
    assert (found.stored, found.duplicates, found.expected, found.copies) == (
        2,
        0,
        1,
        {"unknown": 1},
    )


async def test_skipped_and_lost_are_counted(
    client: httpx.AsyncClient,
    bridge: Bridge,
    outbox: SQLiteOutbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    robot = {**NAVIGATION, "user-agent": "Googlebot/2.1 (+http://www.google.com/bot.html)"}
    await client.get("/buy", headers=robot)

    async def put(*args: object, **options: object) -> list[bool]:
        raise OutboxError("the disk is gone")

    with monkeypatch.context() as broken:
        broken.setattr(outbox, "put", put)
        await client.get("/buy", headers=NAVIGATION)
    await bridge.stop(deadline=0)
    found = await read(outbox)
    assert found["", "Purchase"].skipped == {"bot": 1}
    assert found[META, "Purchase"].lost == 1


async def test_refused_event_is_counted_as_dead(
    client: httpx.AsyncClient, bridge: Bridge, outbox: SQLiteOutbox, sandbox: Sandbox
) -> None:
    bridge._on_invalid = "log"
    app_event = {"value": 5}  # a Purchase without currency
    visitor = bridge.person("42")
    await bridge.track("Purchase", app_event, visitor=visitor)
    await bridge.stop(deadline=9)
    assert (await read(outbox))[META, "Purchase"].dead == 1


async def test_processes_add_up(outbox: SQLiteOutbox, tmp_path: Path) -> None:
    path = tmp_path / "shared.db"
    for _ in range(2):
        counter = FigureCounter(SQLiteOutbox(path))
        counter.note(META, "Lead", "delivered", time.time(), 3)
        await counter.stop()
        await counter.stop()  # nothing is written twice
    shared = SQLiteOutbox(path)
    assert (await read(shared))[META, "Lead"].delivered == 6
    await shared.close()


async def test_figures_wait_while_the_outbox_is_broken(
    outbox: SQLiteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = FigureCounter(outbox)
    counter.note(META, "Lead", "delivered", time.time())

    async def fail(*args: object) -> None:
        raise OutboxError("locked")

    with monkeypatch.context() as broken:
        broken.setattr(outbox, "add_figures", fail)
        await counter.flush()
    counter.note(META, "Lead", "delivered", time.time())
    await counter.flush()
    assert (await read(outbox))[META, "Lead"].delivered == 2


async def test_figures_are_of_the_day_on_which_they_were_counted(outbox: SQLiteOutbox) -> None:
    counter = FigureCounter(outbox)
    for at in (TODAY * DAY - 1, TODAY * DAY):
        counter.note_stored(META, make_event(), at, has_copy=False)
    await counter.flush()
    days = summarize_days(await outbox.figures(TODAY - 1, TODAY))
    assert {day: each.stored for day, [each] in days.items()} == {TODAY - 1: 1, TODAY: 1}


async def test_names_of_browsers_do_not_fill_the_outbox(outbox: SQLiteOutbox) -> None:
    counter = FigureCounter(outbox)
    for number in range(MAX_NAMES + 50):
        counter.note_stored(META, make_event(f"E{number}"), NOW, has_copy=False)
        counter.note_skipped("E0", f"reason {number}", NOW)
    await counter.flush()
    found = summarize(await outbox.figures(TODAY, TODAY))
    assert len([each for each in found if each.destination]) == MAX_NAMES + 1
    assert next(each.stored for each in found if each.event_name == OTHER) == 50
    [skipped] = [each.skipped for each in found if not each.destination]
    assert (len(skipped), skipped[OTHER]) == (MAX_NAMES + 1, 50)
    assert sum(sum(each.skipped.values()) for each in found) == MAX_NAMES + 50


@pytest.mark.parametrize(
    ("custom_data", "value"),
    [
        ({"value": 12.345678, "currency": "USD"}, {"USD": Decimal("12.3457")}),
        ({"value": -5, "currency": "EUR"}, {"EUR": Decimal(-5)}),
        ({"value": 1e300, "currency": "EUR"}, {}),
        ({"value": math.inf, "currency": "EUR"}, {}),
        ({"value": "5", "currency": "EUR"}, {}),
        ({"value": 5, "currency": "<script>"}, {}),
        ({"value": 5, "currency": ["EUR"]}, {}),
        ({"value": 5}, {}),
    ],
)
async def test_value_is_added_up_where_it_is_one(
    outbox: SQLiteOutbox, custom_data: dict[str, Any], value: dict[str, Decimal]
) -> None:
    counter = FigureCounter(outbox)
    counter.note_stored(META, make_event(custom_data=custom_data), NOW, has_copy=False)
    await counter.flush()
    [found] = summarize(await outbox.figures(TODAY, TODAY))
    assert found.value == value


async def test_ipv6_is_told_apart(outbox: SQLiteOutbox) -> None:
    counter = FigureCounter(outbox)
    for ip in ("2001:db8::1", "93.184.216.34"):
        event = make_event(user_data=UserData(client_ip_address=ip))
        counter.note_stored(META, event, NOW, has_copy=False)
    await counter.flush()
    [found] = summarize(await outbox.figures(TODAY, TODAY))
    assert found.coverage == {"client_ip_address": 2, "ipv6": 1}


async def test_each_identifier_is_counted_by_its_name(outbox: SQLiteOutbox) -> None:
    given: dict[str, Any] = {key: ["a"] for key in IDENTIFIERS if key != "ipv6"}
    given["client_ip_address"] = "93.184.216.34"
    counter = FigureCounter(outbox)
    for key, value in given.items():
        event = make_event(key, user_data=UserData(**{key: value}))
        counter.note_stored(META, event, NOW, has_copy=False)
    await counter.flush()
    found = {each.event_name: each for each in summarize(await outbox.figures(TODAY, TODAY))}
    assert {name: each.coverage for name, each in found.items()} == {key: {key: 1} for key in given}


def test_delay_is_a_buckets_end() -> None:
    summary = Summary(destination=META, event_name="Lead")
    assert summary.read_delay(0.5) is None
    for bucket, number in ((0, 50), (3, 45), (16, 5)):
        summary.add(f"delay.{bucket}", number)
    assert [summary.read_delay(share) for share in (0.5, 0.95, 1)] == [0.5, 3.0, math.inf]


def test_kind_of_a_later_release_is_ignored() -> None:
    odd = [Figure(1, META, "Lead", kind, 1) for kind in ("new", "delay.99", "delay.x", "x.y", "")]
    assert summarize(odd) == [Summary(destination=META, event_name="Lead")]


class _SlowOutbox(SQLiteOutbox):
    """An outbox that writes figures when it is told to, or never."""

    go: asyncio.Event | None = None

    async def add_figures(self, figures: Sequence[Figure]) -> None:
        if self.go is not None:
            await self.go.wait()
        await super().add_figures(figures)


async def test_shutdown_does_not_wait_for_an_outbox_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "STOP_DEADLINE", 0.05)
    outbox = _SlowOutbox(tmp_path / "bridge.db")
    outbox.go = asyncio.Event()  # never set
    counter = FigureCounter(outbox)
    counter.start()
    counter.note(META, "Lead", "delivered", time.time())
    await counter.stop()
    await outbox.close()


async def test_stop_during_a_write_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "EVERY", 0.01)
    outbox = _SlowOutbox(tmp_path / "bridge.db")
    outbox.go = asyncio.Event()
    counter = FigureCounter(outbox)
    counter.start()
    counter.note(META, "Lead", "delivered", time.time(), 1000)
    await asyncio.sleep(0.1)  # the write is under way
    counter.note(META, "Lead", "delivered", time.time())
    stopping = asyncio.create_task(counter.stop())
    await asyncio.sleep(0.01)
    outbox.go.set()
    await stopping
    assert (await read(outbox))[META, "Lead"].delivered == 1001
    await outbox.close()


async def test_names_of_browsers_do_not_crowd_out_metas(outbox: SQLiteOutbox) -> None:
    counter = FigureCounter(outbox)
    for number in range(MAX_NAMES):
        counter.note(META, f"E{number}", "delivered", NOW)
    counter.note(META, "Purchase", "delivered", NOW)
    counter.note(META, "One too many", "delivered", NOW)
    await counter.flush()
    names = {each.event_name for each in summarize(await outbox.figures(TODAY, TODAY))}
    assert {"Purchase", OTHER} <= names
    assert "One too many" not in names


async def test_clock_that_is_wrong_deletes_nothing(outbox: SQLiteOutbox) -> None:
    today = int(time.time() // DAY)
    await outbox.add_figures([Figure(today, META, "Lead", "stored", 1)])
    counter = FigureCounter(outbox)
    counter.note(META, "Lead", "stored", (today + 400) * DAY)
    counter.note(META, "Lead", "stored", time.time())  # it was set right again
    await counter.flush()
    assert (await read(outbox))[META, "Lead"].stored == 2


async def test_figures_without_an_answer_are_not_written_twice(
    outbox: SQLiteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = FigureCounter(outbox)
    counter.note(META, "Lead", "delivered", time.time())
    add = outbox.add_figures

    async def store_without_answer(figures: Sequence[Figure]) -> None:
        await add(figures)
        raise OutboxError("no answer within 5 s") from TimeoutError()

    with monkeypatch.context() as slow:
        slow.setattr(outbox, "add_figures", store_without_answer)
        await counter.flush()
    await counter.flush()
    assert (await read(outbox))[META, "Lead"].delivered == 1


@pytest.mark.parametrize("hold", [0.0, 0.01])
async def test_acknowledgement_after_the_hold_is_counted_once(
    outbox: SQLiteOutbox, sandbox: Sandbox, hold: float
) -> None:
    pixel = make_meta(graph_url=sandbox.url)
    built = make_bridge(outbox, destinations=[pixel], browser_hold=hold)
    client = open_shop(built)
    await client.get("/buy", headers=NAVIGATION)
    await asyncio.sleep(2 * hold)
    ack = {"event_name": "Purchase", "event_id": "A-1", "state": "sent"}
    unknown = {**ack, "event_id": "B-1"}
    for _ in range(2):
        await client.post("/_bridge/collect", json={"acks": [ack, unknown]}, headers=SCRIPT)
    await built.stop(deadline=9)
    assert (await read(outbox))[META, "Purchase"].copies == {"sent": 1}


async def test_reason_of_the_apps_own_holds_nothing_of_a_person(outbox: SQLiteOutbox) -> None:
    reasons: Iterator[Any] = iter(
        ["who ada@example.com", "+49 170 1234567", "internal tool", 7, ["x"]]
    )
    built = make_bridge(outbox, ignore=lambda _: next(reasons))
    client = open_shop(built)
    for _ in range(5):
        await client.get("/buy", headers=NAVIGATION)
    await built.stop(deadline=0)
    skipped = (await read(outbox))["", "Purchase"].skipped
    assert skipped == {"ignored": 4, "internal tool": 1}


async def test_identity_messages_are_no_events(outbox: SQLiteOutbox, sandbox: Sandbox) -> None:
    built = make_bridge(outbox, destinations=[Segment("sandbox-write-key", url=sandbox.url)])
    await open_shop(built).get("/buy", headers=NAVIGATION)
    await built.stop(deadline=9)
    assert {name for _, name in await read(outbox)} == {"Purchase"}


async def test_a_script_without_an_app_writes_its_figures(tmp_path: Path) -> None:
    bridge = make_bridge(SQLiteOutbox(tmp_path / "bridge.db"))
    visitor = bridge.person("42")
    await asyncio.gather(*(bridge.track("Lead", visitor=visitor) for _ in range(20)))
    found = await read(SQLiteOutbox(tmp_path / "bridge.db"))
    assert found[META, "Lead"].stored == 20
    await bridge.outbox.close()
