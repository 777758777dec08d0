from __future__ import annotations

import enum
from collections import OrderedDict
from decimal import Decimal
from typing import Any, Literal, get_args, get_origin

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import InvalidEventError
from bridge.events.personal_values import find_shape
from bridge.events.plain_properties import copy_plain_properties
from bridge.events.reader import BROWSER_REPORT, SERVER_EVENT, TRACK_MESSAGE, EventReader
from bridge.events.standard import LINE, PROPERTIES

PURCHASE: dict[str, Any] = {
    "value": 149.9,
    "currency": "EUR",
    "order_id": "A-10001",
    "content_type": "product",
    "content_name": "Blue shoe, size 42",
    "contents": [{"id": "SKU-1", "quantity": 1, "item_price": 19.9}, {"id": 42, "quantity": 2}],
    "content_ids": ["4006381333931", 42],
}


def copy_plain(given: object) -> dict[str, Any] | None:
    """The copy of a purchase's properties, those of the app's own as they are."""
    return copy_plain_properties(given, is_purchase=True, copy_own=dict)


class Text(str):
    """A text of a framework's own kind, such as a template's."""


class Code(enum.StrEnum):
    EUR = "EUR"


class Count(enum.IntEnum):
    TWO = 2


VALUES = st.sampled_from(
    [
        149.9, 0, -1, 2.0, 10**14, 378282246310005, 4111111111111111, 2**53 + 2, 2**64, 1e300,
        float("nan"), float("inf"), True, None, Decimal("2.5"), Decimal("0.1"), Count.TWO,
        "A-10001", "EUR", "eur", "product", "product_group", "hotel", "in_store", "", "  ", "\x1c",
        "\u3000", "é", "\ud800", "a" * 15, "a" * 16, "a" * 5001, Text("product"), Text("EUR"),
        Text("A-1"), Code.EUR, "Blue shoe, size 42", "mary@example.com", "mary (at) example.com",
        "call +49 170 1234567", "(650) 555-1212", "4111 1111 1111 1111", "12345", "1 2 3 4 5 6",
        "email=x", "[1]", "{}", "AKIAABCDEFGHIJKLMNOP", "a b\n", "12.50", [], [1], {},
        {"email": "x"},
    ]
)  # fmt: skip
LINES = st.lists(
    st.dictionaries(st.sampled_from([*LINE, "email", "note"]), VALUES, max_size=3).flatmap(
        lambda line: st.sampled_from([line, {"id": "SKU-1", "quantity": 1} | line])
    ),
    max_size=3,
)
SOME = st.fixed_dictionaries(
    {"value": st.just(5), "currency": st.just("EUR")},
    optional={
        "contents": LINES,
        "content_ids": st.lists(VALUES, max_size=2),
        "order_id": VALUES,
        "content_type": VALUES,
    },
).flatmap(
    lambda given: st.dictionaries(
        st.sampled_from([*PROPERTIES, "email", "coupon", "note", "event_id", "products"]),
        VALUES,
        max_size=2,
    ).map(lambda others: {**others, **given} if len(given) % 2 else {**given, **others})
)


def _read(name: str, given: object, entrance: Any) -> tuple[Any, ...]:
    """Return everything that reading gives."""
    removed: list[object] = []
    try:
        reading = EventReader().read(name, given, entrance, lambda *found: removed.append(found))
    except InvalidEventError as error:
        return str(error), removed
    return (
        reading.name,
        msgspec.json.encode([reading.custom_data, reading.properties]),
        reading.spec_name,
        removed,
    )


@given(
    given_=SOME,
    name=st.sampled_from(["Purchase", "AddToCart", "Order Completed", "Mine"]),
    entrance=st.sampled_from([SERVER_EVENT, BROWSER_REPORT, TRACK_MESSAGE]),
)
def test_properties_are_read_as_step_by_step(given_: Any, name: str, entrance: Any) -> None:
    # Of another kind of dictionary: they are read step by step.
    assert _read(name, given_, entrance) == _read(name, OrderedDict(given_), entrance)


def test_usual_properties_need_no_closer_look() -> None:
    copied = copy_plain(PURCHASE)
    assert copied == PURCHASE
    assert list(copied) == list(PURCHASE)
    copied["contents"][0]["id"] = "SKU-2"
    assert PURCHASE["contents"][0]["id"] == "SKU-1"


@pytest.mark.parametrize(
    "change",
    [
        {"value": "149.90"},
        {"value": -1},
        {"currency": "eur"},
        {"order_id": 5},
        {"order_id": Text("A-1")},
        {"content_name": "call +49 170 1234567"},
        {"content_name": Text("shoe")},
        {"content_ids": ["  "]},
        {"content_ids": [2.0]},
        {"contents": [{"id": "SKU-1", "note": "for Ada Lovelace"}]},
        {"contents": [{"id": "SKU-1", "title": Text("shoe")}]},
        {"contents": [{"quantity": 1}]},
        {"contents": [{"id": "\ud800"}]},
        {"contents": [{"id": "SKU-1", "quantity": 1.0}]},
        {"num_items": 4111111111111111},
        {"status": "new"},
        {"event_id": "1"},
    ],
    ids=str,
)
def test_all_else_needs_one(change: dict[str, Any]) -> None:
    assert copy_plain(PURCHASE | change) is None


def test_properties_of_the_apps_own_stay_where_they_are() -> None:
    given = {"coupon": "SUMMER", **PURCHASE, "gift": True}
    copied = copy_plain(given)
    assert copied == given
    assert [*copied] == [*given]
    asked: list[dict[str, Any]] = []
    assert copy_plain_properties(given, is_purchase=True, copy_own=asked.append) is None
    assert asked == [{"coupon": "SUMMER", "gift": True}]


@pytest.mark.parametrize("missing", ["value", "currency"])
def test_purchase_without_its_value_needs_one(missing: str) -> None:
    given = {key: value for key, value in PURCHASE.items() if key != missing}
    assert copy_plain(given) is None


def test_words_of_metas_own_lists_look_like_nobodys_data() -> None:
    kinds = [*PROPERTIES.values(), *LINE.values()]
    words = [
        word
        for kind in kinds
        if get_origin(kind.schema) is Literal
        for word in get_args(kind.schema)
    ]
    assert len(words) > 10
    assert [word for word in words if find_shape(word)] == []
