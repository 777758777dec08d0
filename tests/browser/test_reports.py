from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import InvalidEventError
from bridge.browser.reports import BrowserEvent, EventNames, decode_events

KEYS = st.sampled_from([*BrowserEvent.__struct_fields__, "fbp", ""]) | st.text(max_size=5)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


@given(st.lists(VALUES, max_size=4))
def test_each_event_is_decoded_or_refused_with_a_reason(values: list[Any]) -> None:
    events, refusals = decode_events([raw(value) for value in values])
    assert len(events) + len(refusals) == len(values)
    assert all(refusal.reason for refusal in refusals)


def test_deep_event_is_refused() -> None:
    deep = b'{"event_name":"Lead","event_id":"1","custom_data":{"a":%b1%b}}'
    for depth in (500, 900, 5000):
        events, refusals = decode_events([msgspec.Raw(deep % (b"[" * depth, b"]" * depth))])
        assert len(events) + len(refusals) == 1


def test_id_of_a_refusal_is_whole() -> None:
    [refusal] = decode_events([raw({"event_id": "x" * 1000})])[1]
    assert refusal.event_id == "x" * 1000


def test_standard_names_always_pass() -> None:
    for names in (EventNames(()), EventNames(["Quiz"]), EventNames("*")):
        names.check("PageView")
    with pytest.raises(InvalidEventError, match="event_name: neither"):
        EventNames(["Quiz"]).check("quiz")
