from __future__ import annotations

import math
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import Event, InvalidEventError, UserData
from bridge.events.event import DAY, escape_unprintable, parse_event
from bridge.events.properties import copy_plain
from bridge.events.reader import SERVER_EVENT, EventReader
from tests.factories import NOW

PURCHASE: dict[str, Any] = {
    "event_name": "Purchase",
    "event_id": "A-1",
    "event_time": int(NOW),
    "action_source": "website",
    "event_source_url": "https://shop.example.com/thanks",
    "custom_data": {"value": 12.5, "currency": "EUR"},
}


def parse(**changes: Any) -> Event:
    return read({**PURCHASE, **changes}, UserData(fbp="fb.1.1.2"))


def read(fields: dict[str, Any], user_data: UserData) -> Event:
    """The event of ``fields``, its properties read as for ``track``."""
    name, given = fields.get("event_name"), fields.get("custom_data")
    reading = EventReader().read(name, given, SERVER_EVENT, lambda *found: None)
    return parse_event({**fields, "custom_data": reading.custom_data}, user_data, now=NOW)


def test_event_is_written_with_metas_keys() -> None:
    assert msgspec.json.decode(msgspec.json.encode(parse())) == {
        **PURCHASE,
        "user_data": {"fbp": "fb.1.1.2"},
    }


ODD: list[Any] = [
    None, "", "a\nb", "A-2", "Purchase", "purchase", "website", "physical_store", "a@b.de",
    "+49 170 1234567", "\ud800", "https://a b", "ftp://a", "https://a.b/é", True, 5, 5.5, [], {},
    int(NOW) - 7 * DAY, int(NOW) - 7 * DAY - 1, int(NOW) + 60, int(NOW) + 61, 2**63, -5, NOW * 1000,
]  # fmt: skip


@given(st.dictionaries(st.sampled_from([*PURCHASE, "referrer_url"]), st.sampled_from(ODD)))
def test_usual_event_is_read_as_any_other(changes: dict[str, Any]) -> None:
    def outcome(**more: None) -> Any:
        fields = {**PURCHASE, **changes, "custom_data": {}, **more}
        try:
            event = parse_event(fields, UserData(fbp="fb.1.1.2"), now=NOW)
        except InvalidEventError as error:
            return str(error)
        assert event.encoded == msgspec.json.encode(event)
        return event

    assert outcome() == outcome(opt_out=None)  # a key that usual events lack


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        pytest.param({"evnt_id": "1"}, "evnt_id", id="unknown key"),
        pytest.param({"value": 1}, "value", id="custom data at the top"),
        pytest.param({"event_name": None}, "event_name", id="no name"),
        pytest.param({"event_name": ""}, "event_name", id="empty name"),
        pytest.param({"event_name": "a\nb"}, "event_name", id="control character"),
        pytest.param({"event_id": ""}, "event_id", id="empty id"),
        pytest.param({"event_id": True}, "event_id", id="id of another type"),
        pytest.param({"event_id": "\ud800"}, "event_id", id="half a surrogate"),
        pytest.param({"action_source": "web"}, "action_source", id="unknown action source"),
        pytest.param({"event_source_url": "shop"}, "event_source_url", id="no URL"),
        pytest.param(
            {"event_source_url": "https://a/\ud800"}, "event_source_url", id="half in a URL"
        ),
        pytest.param(
            {"customer_segmentation": "\ud800"}, "customer_segmentation", id="half in another text"
        ),
        pytest.param({"\ud800": 1}, "event", id="half in a key"),
        pytest.param({"opt_out": "yes"}, "opt_out", id="wrong type"),
        pytest.param({"event_time": "now"}, "event_time", id="time as text"),
        pytest.param({"event_time": int(NOW * 1000)}, "event_time", id="milliseconds"),
        pytest.param({"event_time": int(NOW) + 120}, "event_time", id="future"),
        pytest.param({"event_time": int(NOW) - 8 * DAY}, "event_time", id="over seven days"),
        pytest.param({"event_time": -1}, "event_time", id="before 1970"),
        pytest.param({"event_time": datetime(2026, 11, 18)}, "event_time", id="naive datetime"),  # noqa: DTZ001
        pytest.param({"custom_data": [1]}, "custom_data", id="custom data is a list"),
        pytest.param({"custom_data": {"currency": "EUR"}}, "custom_data.value", id="no value"),
        pytest.param({"custom_data": {"value": 1}}, "custom_data.currency", id="no currency"),
        pytest.param(
            {"custom_data": {"value": "1,000", "currency": "EUR"}}, "custom_data.value", id="text"
        ),
        pytest.param(
            {"custom_data": {"value": -1, "currency": "EUR"}}, "custom_data.value", id="negative"
        ),
        pytest.param(
            {"custom_data": {"value": math.nan, "currency": "EUR"}}, "custom_data.value", id="NaN"
        ),
        pytest.param(
            {"custom_data": {"value": True, "currency": "EUR"}}, "custom_data.value", id="bool"
        ),
        pytest.param(
            {"custom_data": {"value": 1, "currency": "€"}}, "custom_data.currency", id="symbol"
        ),
        pytest.param(
            {"custom_data": {**PURCHASE["custom_data"], "contents": [{"quantity": 1}]}},
            "custom_data.contents[0].id",
            id="contents without id",
        ),
        pytest.param({"event_name": "purchase"}, "event_name", id="standard name in lower case"),
        *(
            pytest.param(
                {"custom_data": {**PURCHASE["custom_data"], key: value}},
                f"custom_data.{field}",
                id=f"{key} as {value!r}",
            )
            for key, value, field in [
                ("content_ids", "fern", "content_ids"),
                ("content_ids", [1.5], "content_ids[0]"),
                ("contents", {"id": "a"}, "contents"),
                ("num_items", 1.5, "num_items"),
                ("num_items", True, "num_items"),
                ("predicted_ltv", "x", "predicted_ltv"),
                ("content_name", 5, "content_name"),
                ("content_category", ["a"], "content_category"),
                ("search_string", 1, "search_string"),
                ("delivery_category", "drone", "delivery_category"),
                ("currency", "EURO", "currency"),
                ("currency", "XXY", "currency"),
                ("contents", [], "contents"),
                ("value", -1, "value"),
                ("value", "-1", "value"),
            ]
        ),
        pytest.param(
            {"custom_data": {**PURCHASE["custom_data"], "x": object()}},
            "custom_data.x",
            id="no JSON value",
        ),
    ],
)
def test_event_is_refused_and_the_field_named(changes: dict[str, Any], field: str) -> None:
    fields = {key: v for key, v in {**PURCHASE, **changes}.items() if v is not None}
    with pytest.raises(InvalidEventError) as caught:
        read(fields, UserData())
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")


def test_event_nested_too_deep_is_refused() -> None:
    deep: dict[str, Any] = {}
    deep["x"] = deep
    with pytest.raises(InvalidEventError, match="nested deeper"):
        parse(custom_data={**PURCHASE["custom_data"], "x": deep})


def test_event_that_is_too_large_is_refused_with_its_size() -> None:
    texts = {f"text_{i}": "x" * 4000 for i in range(64)}
    parse(custom_data={**PURCHASE["custom_data"], **texts})
    with pytest.raises(InvalidEventError, match="at most 262,144 bytes as JSON, got 2"):
        parse(
            custom_data={**PURCHASE["custom_data"], **texts, "one": "x" * 4000, "more": "x" * 4000}
        )


def test_half_surrogate_pairs_become_question_marks() -> None:
    given = {"k\ud800": "v\udc00", "deep": [{"é\udfff": 1}]}
    event = parse(event_name="Lead", custom_data=given)
    assert event.custom_data == {"k?": "v?", "deep": [{"é?": 1}]}
    assert msgspec.json.encode(event)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [("A-1 é 漢", "A-1 é 漢"), ("a\u202eb", "a\\u202eb"), ("\x85\u2028\n", "\\x85\\u2028\\n")],
)
def test_what_cannot_be_seen_is_escaped_for_the_log(text: str, escaped: str) -> None:
    assert escape_unprintable(text) == escaped


def test_physical_store_may_be_62_days_late() -> None:
    late = parse(action_source="physical_store", event_time=int(NOW) - 61 * DAY)
    assert late.expires == late.event_time + 62 * DAY


@pytest.mark.parametrize(
    "event_id", ["01701234-5678-4000-8000-123456789012", "A-10001", "20261130001", "order_7"]
)
def test_ids_that_are_nobodys_whatever_their_digits_are_kept(event_id: str) -> None:
    assert parse(event_id=event_id).event_id == event_id


def test_python_values_become_json() -> None:
    event = parse(
        event_id=UUID(int=7),
        event_time=datetime.fromtimestamp(NOW, UTC),
        custom_data={
            "value": Decimal("19.99"),
            "currency": "EUR",
            "day": date(2026, 11, 23),
            "ids": (1, "b"),
        },
    )
    assert event.event_id == str(UUID(int=7))
    assert event.event_time == int(NOW)
    assert event.custom_data == {
        "value": 19.99,
        "currency": "EUR",
        "day": "2026-11-23",
        "ids": [1, "b"],
    }


def test_number_as_order_id_becomes_text() -> None:
    event = parse(custom_data={**PURCHASE["custom_data"], "order_id": 1001})
    assert event.custom_data["order_id"] == "1001"


def test_event_keeps_a_copy_of_what_it_was_given() -> None:
    custom_data = {"value": 1, "currency": "EUR", "contents": [{"id": "a"}]}
    event = parse(custom_data=custom_data)
    custom_data["contents"][0]["id"] = "b"  # type: ignore[index]
    assert event.custom_data["contents"] == [{"id": "a"}]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=20), JSON, max_size=6))
def test_any_json_as_custom_data_is_encoded_whole_or_refused(custom_data: dict[str, Any]) -> None:
    try:
        plain = copy_plain(custom_data, "custom_data")
    except InvalidEventError:
        return
    assert msgspec.json.decode(msgspec.json.encode(plain)) == plain
    assert plain.keys() == custom_data.keys()


def test_user_data_is_laid_over_what_is_known() -> None:
    over = UserData(em=["b"], fbp="x").over(UserData(em=["a"], ph=["p"], fbp="y", fbc="c"))
    assert over == UserData(em=["b"], ph=["p"], fbp="x", fbc="c")


def test_repr_names_keys_only() -> None:
    assert repr(UserData(em=["secret"], client_ip_address="8.8.8.8")) == (
        "UserData(em, client_ip_address)"
    )
    assert "12.5" not in repr(parse())
