from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import bridge.delivery.intake
from bridge.delivery.intake import Intake
from bridge.delivery.metrics import Metrics
from bridge.destinations.base import EncodingContext
from bridge.destinations.group import Destinations
from bridge.errors import OutboxBusyError
from bridge.events.catalog import Catalog
from bridge.events.event import UserData, parse_event
from bridge.figures.counter import FigureCounter
from bridge.outbox import SQLiteOutbox
from tests.factories import make_delivery, make_meta, unix_now


async def test_event_that_is_lost_cannot_rearrange_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outbox, counters = SQLiteOutbox(tmp_path), Counter[str]()  # a directory
    destinations = Destinations([make_meta()])
    intake = Intake(outbox, Metrics(destinations.names, counters), FigureCounter(outbox))
    fields = {"event_name": "A\u202eB", "event_id": "a\u2028b", "action_source": "other"}
    event = parse_event({**fields, "event_time": unix_now()}, UserData(), now=unix_now())
    context = EncodingContext(Catalog())
    deliveries = destinations.build_deliveries(event, context, due=unix_now())
    assert await intake.put(deliveries, unix_now(), may_lose=True) == "lost"
    await outbox.close()
    assert counters["lost"] == 1
    assert "A\\u202eB a\\u2028b is lost: " in caplog.text


async def test_losses_are_told_in_a_line_a_second_with_their_number(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = SQLiteOutbox(tmp_path)  # a directory
    intake, counters = make_intake(outbox)
    for number in range(50):
        await intake.put([make_delivery(str(number))], unix_now(), may_lose=True)
    intake._next_line = 0.0
    await intake.put([make_delivery("last")], unix_now(), may_lose=True)
    await outbox.close()
    first, last = [each.message for each in caplog.records]
    assert counters["lost"] == 51
    assert first.startswith("Purchase 0 is lost: ")
    assert last.startswith("Purchase last is lost (49 more since the last such line): ")


class _BusyOutbox(SQLiteOutbox):
    """An outbox whose server restarts for some puts."""

    busy = 0

    async def put(self, *args: Any, **options: Any) -> list[bool]:
        if self.busy:
            self.busy -= 1
            raise OutboxBusyError("the database system is starting up")
        return await super().put(*args, **options)


def make_intake(outbox: SQLiteOutbox) -> tuple[Intake, Counter[str]]:
    counters = Counter[str]()
    return Intake(outbox, Metrics(["meta:1"], counters), FigureCounter(outbox)), counters


async def test_put_is_tried_again_while_a_server_restarts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.delivery.intake, "FIRST_PAUSE", 0.001)
    outbox = _BusyOutbox(tmp_path / "bridge.db")
    intake, counters = make_intake(outbox)
    outbox.busy = 3
    assert await intake.put([make_delivery()], unix_now(), may_lose=True) == "stored"
    monkeypatch.setattr(bridge.delivery.intake, "PATIENCE", 0.05)
    outbox.busy = 10**6
    assert await intake.put([make_delivery("2")], unix_now(), may_lose=True) == "lost"
    assert counters == {"stored": 1, "lost": 1}
    outbox.busy = 1
    with pytest.raises(OutboxBusyError):  # the caller's transaction is over
        await intake.put([make_delivery("3")], unix_now(), connection=object())
    await outbox.close()
