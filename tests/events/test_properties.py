"""What apps give as properties: of any type that says a JSON value, and with gaps."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
from collections import namedtuple
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import numpy
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from bridge import InvalidEventError
from bridge.events.properties import MAX_DEPTH, copy_properties
from bridge.events.reader import BROWSER_REPORT, SERVER_EVENT, TRACK_MESSAGE, Entrance, EventReader
from bridge.outbox import SQLiteOutbox
from tests.factories import NOW, make_bridge, make_scope, make_visitor

PAID = {"value": 59, "currency": "EUR"}
ENTRANCES = [SERVER_EVENT, TRACK_MESSAGE, BROWSER_REPORT]


def read(name: str, properties: object, entrance: Entrance = SERVER_EVENT) -> dict[str, Any]:
    return EventReader().read(name, properties, entrance, lambda *found: None).custom_data


async def track(outbox: SQLiteOutbox, name: str, properties: Any) -> Any:
    """What is stored for Meta."""
    bridge = make_bridge(outbox, run_sender=False, browser_hold=0)
    event = await bridge.track(name, properties, visitor=make_visitor(bridge, make_scope("/")))
    assert event.outcome == "stored"
    [stored] = await outbox.claim(bridge.destinations.names[0], 9, now=NOW * 2, lease=0)
    return json.loads(stored.body)["custom_data"]


@pytest.mark.parametrize("nothing", [None, ""], ids=repr)
@pytest.mark.parametrize(
    "key",
    """content_category content_name content_type content_ids contents num_items order_id
    search_string predicted_ltv net_revenue status delivery_category store_data mine
    customer_segmentation item_number""".split(),
)
async def test_property_that_holds_nothing_is_not_sent(
    outbox: SQLiteOutbox, key: str, nothing: object
) -> None:
    assert await track(outbox, "Purchase", {**PAID, key: nothing}) == PAID


@pytest.mark.parametrize("entrance", ENTRANCES, ids=lambda each: each.path + str(each.drops))
@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (
            {"contents": [{"id": "a", "quantity": None, "title": "", "delivery_category": None}]},
            {"contents": [{"id": "a"}]},
        ),
        ({"contents": [None, {"id": "a"}]}, {"contents": [{"id": "a"}]}),
        ({"content_ids": ["a", None, ""]}, {"content_ids": ["a"]}),
        ({"store": {"branch": None, "town": "", "desk": 5}}, {"store": {"desk": 5}}),
        ({"points": [1, None, ""]}, {"points": [1, None, ""]}),  # whose places may count
    ],
    ids=str,
)  # fmt: skip
def test_what_is_nested_and_holds_nothing_is_not_sent(
    given: dict[str, Any], kept: dict[str, Any], entrance: Entrance
) -> None:
    assert read("Lead", {**given, "mine": 1}, entrance) == {**kept, "mine": 1}


def test_what_holds_nothing_is_not_sent_in_segments_words() -> None:
    products = [{"product_id": "a", "price": None, "quantity": None, "brand": ""}, None]
    given = {"revenue": 59, "currency": "EUR", "coupon": None, "products": products}
    reading = EventReader().read("Order Completed", given, SERVER_EVENT, lambda *found: None)
    assert reading.properties == {
        "revenue": 59,
        "currency": "EUR",
        "products": [{"product_id": "a"}],
    }
    assert reading.custom_data["contents"] == [{"id": "a", "quantity": 1}]
    assert None not in reading.custom_data.values()


@pytest.mark.parametrize(
    ("properties", "field"),
    [
        ({**PAID, "value": None}, "value"),
        ({**PAID, "value": ""}, "value"),
        ({**PAID, "currency": None}, "currency"),
        ({**PAID, "contents": [{"id": ""}]}, "contents[0].id"),
        ({**PAID, "contents": [{"id": None}]}, "contents[0].id"),
    ],
)
def test_nothing_in_the_place_of_something_required_is_refused(
    properties: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidEventError) as caught:
        read("Purchase", properties)
    assert caught.value.field == f"custom_data.{field}"


class Text(str):
    """A text of a framework's own kind, such as Django's ``SafeString``."""

    __slots__ = ()

    def __str__(self) -> str:
        return f"<b>{self}</b>"


class Size(enum.StrEnum):
    LARGE = "large"


class Step(enum.IntEnum):
    TWO = 2


class Colour(enum.Enum):
    RED = "red"


class Point(NamedTuple):
    x: int


@dataclasses.dataclass
class Line:
    id: str
    quantity: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    value: Decimal
    currency: str
    contents: list[Line]


class LineModel(pydantic.BaseModel):
    id: str
    quantity: int | None = None


class OrderModel(pydantic.BaseModel):
    value: Decimal
    currency: str
    contents: list[LineModel]


class OrderStruct(msgspec.Struct):
    value: Decimal
    currency: str
    contents: list[Line]


OrderTuple = namedtuple("OrderTuple", "value currency contents")


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        (Markup("<b>Café</b>"), "<b>Café</b>"),
        (Text("fern"), "fern"),
        (Size.LARGE, "large"),
        (Step.TWO, 2),
        (Colour.RED, "red"),
        (Decimal("59.90"), 59.9),
        (Fraction(1, 2), 0.5),
        (date(2026, 11, 23), "2026-11-23"),
        (datetime(2026, 11, 23, tzinfo=UTC), "2026-11-23T00:00:00+00:00"),
        (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (("a", Text("b")), ["a", "b"]),
        ({Text("a"): {Markup("b"): 1}}, {"a": {"b": 1}}),
        (Line("a", 2), {"id": "a", "quantity": 2}),
        (Line("a"), {"id": "a"}),
        (LineModel(id="a"), {"id": "a"}),
        (Point(5), [5]),
    ],
    ids=lambda each: f"{type(each).__name__} {each!r:.30}",
)
async def test_value_of_another_type_goes_as_json(
    outbox: SQLiteOutbox, given: object, plain: object
) -> None:
    properties = {"mine": given, "list": [given], "deep": {"er": given}}
    assert await track(outbox, "Quiz Done", properties) == {
        "mine": plain,
        "list": [plain],
        "deep": {"er": plain},
    }


@pytest.mark.parametrize(
    "order",
    [
        Order(Decimal("59.90"), Markup("EUR"), [Line("a", 2), Line("b")]),
        OrderModel(value=Decimal("59.90"), currency="EUR",
                   contents=[LineModel(id="a", quantity=2), LineModel(id="b")]),
        OrderStruct(Decimal("59.90"), "EUR", [Line("a", 2), Line("b")]),
        OrderTuple(59.9, Text("EUR"), [Line("a", 2), Line("b")]),
    ],
    ids=lambda order: type(order).__name__,
)  # fmt: skip
async def test_object_may_be_the_properties(outbox: SQLiteOutbox, order: Any) -> None:
    assert await track(outbox, "Purchase", order) == {
        "value": 59.9,
        "currency": "EUR",
        "contents": [{"id": "a", "quantity": 2}, {"id": "b"}],
    }


def test_numpys_values_go_as_json() -> None:
    given = {
        "value": numpy.float32(0.5),
        "currency": numpy.str_("EUR"),
        "num_items": numpy.int64(3),
        "content_ids": numpy.array(["a", "b"]),
        "gift": numpy.bool_(True),
        "day": numpy.datetime64("2026-11-23"),
    }
    assert read("Purchase", given) == {
        "value": 0.5,
        "currency": "EUR",
        "num_items": 3,
        "content_ids": ["a", "b"],
        "gift": True,
        "day": "2026-11-23",
    }
    with pytest.raises(InvalidEventError, match="finite"):
        read("Lead", {"a": numpy.float64("nan")})


class Greedy:
    """Answers to any name with itself."""

    def __getattr__(self, name: str) -> Any:
        return self

    def __call__(self) -> Any:
        return self


BAD: dict[str, object] = {
    "signalling NaN": Decimal("sNaN"),
    "NaN of Decimal": Decimal("NaN"),
    "infinity": Decimal("Infinity"),
    "Decimal too large for a float": Decimal("1e400"),
    "fraction too large for a float": Fraction(10**400),
    "NaN": math.nan,
    "5,000 digits": 10**5000,
    "5,000 digits below zero": -(10**5000),
    "65 bits": 2**63,
    "object": object(),
    "object that answers to any name": Greedy(),
    "class": Line,
    "class of a model": OrderModel,
    "keys of another type": {5: 1},
    "key None": {None: 1},
    "bytes": b"bytes",
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("key", ["value", "mine"])
def test_value_that_json_cannot_carry_is_an_invalid_event(bad: str, key: str) -> None:
    for properties in ({**PAID, key: BAD[bad]}, {**PAID, "deep": {key: [BAD[bad]]}}):
        with pytest.raises(InvalidEventError, match=rf"^custom_data(\.deep)?\.{key}"):
            read("Purchase", properties)


@pytest.mark.parametrize("bad", [each for each in BAD if not each.startswith("key")])
def test_properties_that_are_no_object_are_an_invalid_event(bad: str) -> None:
    with pytest.raises(InvalidEventError, match=r"^custom_data: expected an object"):
        read("Lead", BAD[bad])


def test_object_of_objects_is_bounded_as_well() -> None:
    line: Any = Line("a")
    for _ in range(MAX_DEPTH + 1):
        line = Line(line)
    with pytest.raises(InvalidEventError, match="nested deeper"):
        read("Lead", line)


@pytest.mark.parametrize("entrance", [SERVER_EVENT, BROWSER_REPORT], ids=["server", "page"])
@pytest.mark.parametrize(
    ("given", "read_as"),
    [
        ({"content_ids": '["a", 2, null]'}, {"content_ids": ["a", 2]}),
        ({"content_ids": ' ["a"]\n'}, {"content_ids": ["a"]}),
        ({"contents": '[{"id": "a", "title": "b"}]'}, {"contents": [{"id": "a", "title": "b"}]}),
    ],
    ids=str,
)  # fmt: skip
def test_list_of_products_may_be_json_in_a_text(
    given: dict[str, Any], read_as: dict[str, Any], entrance: Entrance
) -> None:
    assert read("AddToCart", given, entrance) == read_as


@pytest.mark.parametrize("entrance", [SERVER_EVENT, TRACK_MESSAGE], ids=["event", "message"])
def test_delivery_category_of_a_line_is_checked(entrance: Entrance) -> None:
    given = {"contents": [{"id": "a"}, {"id": "b", "delivery_category": "drone"}]}
    with pytest.raises(InvalidEventError) as caught:
        read("Lead", given, entrance)
    assert caught.value.field == "custom_data.contents[1].delivery_category"
    given["contents"][1]["delivery_category"] = "curbside"
    assert read("Lead", given, entrance) == given
    with pytest.raises(InvalidEventError) as caught:
        read("Product List Viewed", {"products": [{"sku": "a", "delivery_category": "drone"}]})
    assert caught.value.field == "custom_data.contents[0].delivery_category"


@pytest.mark.parametrize(("text", "amount"), [("12,50", 12.5), ("1.208,44", 1208.44)])
def test_amounts_are_read_wherever_meta_wants_one(text: str, amount: float) -> None:
    given = {
        **dict.fromkeys(("value", "net_revenue", "predicted_ltv"), text),
        "currency": "EUR",
        "contents": [{"id": "a", "item_price": text, "price": text, "quantity": "2.0"}],
        "num_items": "2",
    }
    assert read("Purchase", given) == {
        **dict.fromkeys(("value", "net_revenue", "predicted_ltv"), amount),
        "currency": "EUR",
        "contents": [{"id": "a", "item_price": amount, "price": amount, "quantity": 2}],
        "num_items": 2,
    }


def test_list_of_segments_products_may_be_json_in_a_text() -> None:
    found = read("Product List Viewed", {"products": '[{"sku": "a", "price": "5.50"}]'})
    assert found["contents"] == [{"id": "a", "quantity": 1, "item_price": 5.5}]


def test_personal_data_in_a_list_that_is_a_text_is_removed() -> None:
    removed: list[str] = []
    given = {"contents": '[{"id": "a", "first_name": "Marilou"}]', "mine": 1}
    found = EventReader().read("Lead", given, SERVER_EVENT, lambda n, p, f: removed.append(p))
    assert "Marilou" not in str(found)
    assert removed


@pytest.mark.parametrize("text", ["fern", "[", '["a"', "{}", "[[[[[[[[[[[[1]]]]]]]]]]]]"])
def test_text_that_is_no_list_is_refused_from_the_app(text: str) -> None:
    with pytest.raises(InvalidEventError, match=r"^custom_data\.content_ids: expected a list"):
        read("Lead", {"content_ids": text})
    assert read("Lead", {"content_ids": text}, BROWSER_REPORT) == {}


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.decimals()
    | st.fractions() | st.datetimes() | st.uuids() | st.text().map(Markup) | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
    | inner.map(Line),
    max_leaves=20,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["value", "currency", "contents", "x"]) | st.text(), PLAIN))
def test_any_properties_become_json_or_an_invalid_event(properties: dict[str, Any]) -> None:
    try:
        plain = copy_properties(properties, "custom_data")
    except InvalidEventError:
        return
    encoded = msgspec.json.encode(plain)
    assert msgspec.json.decode(encoded) == plain
    assert not {None, ""} & {each for each in plain.values() if isinstance(each, str | None)}
    assert copy_properties(plain, "custom_data") == plain
