from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from bridge.delivery.intake import Intake
from bridge.delivery.metrics import Metrics
from bridge.destinations.base import EncodingContext
from bridge.destinations.group import Destinations
from bridge.events.catalog import Catalog
from bridge.events.event import UserData, parse_event
from bridge.figures.counter import FigureCounter
from bridge.outbox import SQLiteOutbox
from tests.factories import make_meta, unix_now


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
    assert await intake.put(deliveries, unix_now(), may_lose=True) is None
    await outbox.close()
    assert counters["lost"] == 1
    assert "A\\u202eB a\\u2028b is lost: " in caplog.text
