"""Any object in any place of a public call: an answer or an ``InvalidEventError``, nothing else."""

from __future__ import annotations

import functools
import math
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from markupsafe import Markup

from bridge import Bridge, InvalidEventError, Visitor
from bridge.destinations import Segment
from bridge.destinations.track_message import to_arguments
from bridge.events.event import DAY
from bridge.events.user_data import USER_DATA_KEYS
from bridge.outbox import SQLiteOutbox
from tests.factories import make_bridge, make_meta, make_scope, make_visitor


class Greedy:
    """Answers to any name, and to any call, with itself."""

    def __getattr__(self, name: str) -> Any:
        return self

    def __call__(self, *given: object) -> Any:
        return self


FIRST, LAST = datetime.min, datetime.max  # noqa: DTZ901
EAST, WEST = timezone(timedelta(hours=14)), timezone(timedelta(hours=-14))
VALUES: list[Any] = [
    *(None, "", " ", 0, 1, -1, True, 2**63, 10**5000, -(10**5000), 5.0, 1e308, math.nan, math.inf),
    *(Decimal("sNaN"), Decimal("NaN"), Decimal("1e400"), Decimal("1.5"), Fraction(1, 3)),
    *(LAST, FIRST, date.max, uuid.UUID(int=5)),
    *(each.replace(tzinfo=zone) for each in (LAST, FIRST) for zone in (EAST, WEST)),
    *("9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "1e400", "1" * 5000, "9" * 15),
    *(Markup("x"), b"x", [], {}, [1], {"a": 1}, {1: 2}, object(), Greedy(), Greedy, set(), ("a",)),
    *("\ud800", "x\x00", "x" * 6000, "[", "[[1]]", "-1", "٣", [None], [""], [[]], [{}], {"": ""}),
    *({"\ud800": 1}, [Markup("LDU")], {"a": Markup("x")}, {"a": {"b": [Decimal("sNaN")]}}),
]
META = """event_name event_time event_id action_source user_data custom_data event_source_url
    opt_out referrer_url data_processing_options data_processing_options_country messaging_channel
    app_data data_processing_options_state original_event_data attribution_data unknown
    customer_segmentation advanced_measurement_table""".split()
SEGMENT = """event properties context anonymousId userId messageId timestamp sentAt type
    integrations unknown""".split()
CONTEXT = "traits page fbp fbc ip userAgent mine campaign".split()
PROPERTIES = """value currency content_ids contents num_items products revenue price order_id fbp
    store_data customer_segmentation event_id name category external_id mine""".split()
ORDER = {"revenue": 1, "currency": "EUR"}


@pytest.fixture
async def bridge(outbox: SQLiteOutbox) -> Bridge:
    return make_bridge(outbox, destinations=[make_meta(), Segment("key")], run_sender=False)


def _identify(bridge: Bridge, visitor: Visitor, user_data: Any) -> None:
    bridge.identify(visitor=visitor, **user_data)


def list_calls(bridge: Bridge, value: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    visitor = make_visitor(bridge, make_scope("/"))

    def ask(event: dict[str, Any], place: str) -> Iterator[tuple[str, Callable[[], Any]]]:
        yield f"enrich {place}", lambda: bridge.enrich(event, visitor=visitor)
        yield f"explain {place}", lambda: bridge.explain(event, visitor=visitor).to_dict()

    for key in META:
        yield from ask({"event_name": "Lead", key: value}, key)
    for key in SEGMENT:
        message = {"event": "Order Completed", "properties": ORDER, key: value}
        yield from ask(message, key)
        yield f"to_arguments {key}", functools.partial(to_arguments, message)
    for key in CONTEXT:
        yield from ask({"event": "Lead", "context": {key: value}}, f"context.{key}")
        traits = {key: value, "phone": value, "birthday": value, "address": value}
        yield from ask({"event": "Lead", "context": {"traits": traits}}, f"traits.{key}")
    page = dict.fromkeys(("url", "path", "search", "referrer"), value)
    yield from ask({"event": "Lead", "context": {"page": page}}, "context.page")
    for name in ("Purchase", "Order Completed", "Products Searched", "Product Viewed", "Quiz"):
        for key in PROPERTIES:
            for given in (value, [{"id": "a", "quantity": value, "price": value}]):
                properties = {"value": 1, "currency": "EUR", key: given}
                yield from ask({"event_name": name, "custom_data": properties}, f"{name} {key}")
                yield from ask({"event": name, "properties": properties}, f"{name} {key}")
    for key in USER_DATA_KEYS:
        for given in (value, [value, value]):
            user_data = {"country": value, key: given}
            yield from ask({"event_name": "Lead", "user_data": user_data}, f"user_data.{key}")
        yield f"identify {key}", functools.partial(_identify, bridge, visitor, {key: value})
    yield "identify", lambda: bridge.identify(value, visitor=visitor)


@pytest.mark.parametrize("index", range(len(VALUES)))
async def test_any_value_anywhere_is_answered_or_an_invalid_event(
    bridge: Bridge, index: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")
    for place, call in list_calls(bridge, VALUES[index]):
        try:
            answer = call()
        except InvalidEventError:
            continue
        if not place.startswith("to_arguments"):
            msgspec.json.encode(answer)


@pytest.mark.parametrize("index", range(len(VALUES)))
async def test_any_value_tracked_is_stored_or_an_invalid_event(bridge: Bridge, index: int) -> None:
    value = VALUES[index]
    visitor = make_visitor(bridge, make_scope("/"))
    given: list[dict[str, Any]] = [{"name": value}, {"name": "Lead", "properties": value}]
    given += [{"name": "Lead", key: value} for key in ("event_id", "event_time", "user_data")]
    for arguments in given:
        try:
            event = await bridge.track(**arguments, visitor=visitor)
        except InvalidEventError:
            continue
        assert event.outcome in ("stored", "duplicate")


@pytest.mark.parametrize(
    ("key", "value", "written"),
    [
        ("event_name", Markup("Quiz"), "Quiz"),
        ("event_id", Markup("A-1"), "A-1"),
        ("event_source_url", Markup("https://shop.example.com/"), "https://shop.example.com/"),
        ("action_source", Markup("other"), "other"),
        ("customer_segmentation", Markup("new"), "new"),
        ("data_processing_options", [Markup("LDU")], ["LDU"]),
    ],
)
async def test_text_of_a_frameworks_own_kind_is_a_text(
    bridge: Bridge, key: str, value: Any, written: Any
) -> None:
    event = {"event_name": "Lead", key: value}
    complete = bridge.enrich(event, visitor=make_visitor(bridge, make_scope("/")))
    assert msgspec.json.decode(msgspec.json.encode(complete))[key] == written


TIMES: list[tuple[str, Any, bool]] = [
    ("now", datetime.now(UTC), True),
    ("eight days ago", datetime.now(UTC) - timedelta(days=8), True),  # not for Meta
    ("as text", datetime.now(UTC).isoformat(), True),
    ("zero", datetime.fromtimestamp(0, UTC), False),
    ("before 1970", datetime(1900, 1, 1, tzinfo=UTC), False),
    ("tomorrow", datetime.now(UTC) + timedelta(days=1), False),
    ("tomorrow as text", (datetime.now(UTC) + timedelta(days=1)).isoformat(), False),
    ("no zone", datetime(2026, 11, 18), False),  # noqa: DTZ001
    ("the last", datetime.max.replace(tzinfo=UTC), False),
    ("beyond the last", datetime.max.replace(tzinfo=WEST), False),
    ("before the first", datetime.min.replace(tzinfo=EAST), False),
    ("number", int(time.time()), False),
    ("milliseconds", int(time.time() * 1000), False),
    ("word", "yesterday", False),
    ("list", [], False),
]


@pytest.mark.parametrize(
    ("value", "is_right"), [row[1:] for row in TIMES], ids=[t[0] for t in TIMES]
)
async def test_enrich_and_explain_refuse_the_same_times(
    bridge: Bridge, value: Any, is_right: bool
) -> None:
    visitor = make_visitor(bridge, make_scope("/"))
    for ask in (bridge.enrich, bridge.explain):
        for key in ("timestamp", "sentAt"):
            event = {"event": "Quiz Done", key: value}
            if is_right:
                assert ask(event, visitor=visitor)
                continue
            with pytest.raises(InvalidEventError) as caught:
                ask(event, visitor=visitor)
            assert caught.value.field == key


@pytest.mark.parametrize(
    "value",
    [
        *(int(time.time()), int(time.time()) - 8 * DAY, int(time.time()) + DAY, "x", -1, 10**5000),
        *(datetime.max, datetime.max.replace(tzinfo=WEST)),  # noqa: DTZ901
    ],
    ids=range(8),
)
async def test_enrich_and_explain_refuse_the_same_times_of_metas_events(
    bridge: Bridge, value: Any
) -> None:
    refused = []
    visitor = make_visitor(bridge, make_scope("/"))
    for ask in (bridge.enrich, bridge.explain):
        try:
            ask(
                {"event_name": "Lead", "event_time": value},
                visitor=visitor,
            )
        except InvalidEventError as error:
            refused.append(error.field)
    assert refused in ([], ["event_time", "event_time"])
