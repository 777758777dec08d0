from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.quality.answer import (
    MAX_EVENTS,
    MAX_WORDS,
    DedupeKey,
    Identifier,
    parse_answer,
)

# The examples of Meta's page "Dataset Quality API", read 2026-11-29, as one answer.
EXAMPLE = {
    "event_name": "Purchase",
    "event_match_quality": {
        "composite_score": 6.2,
        "match_key_feedback": [
            {
                "identifier": "email",
                "coverage": {"percentage": 100},
                "potential_aly_acr_increase": {"percentage": 58.96, "description": "Similar ..."},
            },
            {"identifier": "ip_address", "coverage": {"percentage": 99.9}},
        ],
        "diagnostics": [
            {
                "name": "Server sending mismatched IP addresses",
                "description": "Your server is sending ...",
                "solution": "In your server payload ...",
                "percentage": 61.5,
                "affected_event_count": 19567,
                "total_event_count": 31830,
            }
        ],
    },
    "event_coverage": {"percentage": 34.1, "goal_percentage": 75, "description": "..."},
    "dedupe_key_feedback": [
        {
            "dedupe_key": key,
            "browser_events_with_dedupe_key": {"percentage": 100},
            "server_events_with_dedupe_key": {"percentage": 100},
            "overall_browser_coverage_from_dedupe_key": {"percentage": merged},
        }
        for key, merged in (("event_id", 14.8), ("external_id", 15.96), ("fbp", 0))
    ],
    "data_freshness": {"upload_frequency": "real_time", "description": "..."},
    "acr": {"percentage": 37.9, "description": "..."},
}


def parse(*events: Any) -> Any:
    return parse_answer(json.dumps({"web": list(events)}).encode())


def as_text(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: as_text(each) for key, each in value.items()}
    if isinstance(value, list):
        return [as_text(each) for each in value]
    return str(value) if isinstance(value, int | float) else value


@pytest.mark.parametrize("shape", [lambda value: value, as_text], ids=["numbers", "text"])
def test_example_of_metas_page_is_read(shape: Any) -> None:
    [event] = parse(shape(EXAMPLE))
    assert (event.event_name, event.score, event.coverage, event.goal) == (
        "Purchase",
        6.2,
        34.1,
        75,
    )
    assert event.identifiers[0] == Identifier(name="em", coverage=100, gain="Similar ...")
    assert event.read_coverage("client_ip_address") == 99.9
    assert event.read_coverage("ph") == 0
    assert event.keys[0] == DedupeKey(name="event_id", browser=100, server=100, merged=14.8)
    assert event.merged == pytest.approx(30.76)
    [diagnostic] = event.diagnostics
    assert (diagnostic.affected, diagnostic.total, diagnostic.percentage) == (19567, 31830, 61.5)
    assert (event.freshness, event.more_conversions) == ("real_time", 37.9)


@pytest.mark.parametrize("block", [key for key in EXAMPLE if key != "event_name"])
@pytest.mark.parametrize(
    "value", [None, [], {}, "x", 3, [None, 1, {}], {"percentage": "n/a"}], ids=repr
)
def test_block_that_is_missing_or_odd_costs_only_itself(block: str, value: Any) -> None:
    [event] = parse({**EXAMPLE, block: value})
    whole = parse(EXAMPLE)[0]
    same = [
        name
        for name in ("score", "coverage", "keys", "freshness", "more_conversions")
        if getattr(event, name) == getattr(whole, name)
    ]
    assert len(same) >= 4


def test_what_is_not_known_is_not_zero() -> None:
    [event] = parse({"event_name": "Lead"})
    assert (event.score, event.coverage, event.merged) == (None, None, None)
    assert event.read_coverage("em") is None


def test_new_identifier_keeps_metas_word() -> None:
    feedback = [{"identifier": "Passport", "coverage": {"percentage": 1}}]
    [event] = parse({"event_name": "Lead", "event_match_quality": {"match_key_feedback": feedback}})
    assert event.read_coverage("passport") == 1


@pytest.mark.parametrize(
    "number",
    [-1, 11, "NaN", "inf", True, "1" * 50, [], "", "six", pytest.param(10**400, id="huge")],
)
def test_number_that_is_none_is_left_out(number: Any) -> None:
    content = json.dumps(
        {"web": [{"event_name": "Lead", "event_match_quality": {"composite_score": number}}]}
    )
    events = parse_answer(content.encode())
    assert events is not None
    assert events[0].score is None


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"web": {}}', b'{"web": "x"}', b"<html>", b"[" * 99_999],
)
def test_what_is_no_answer_is_none(content: bytes) -> None:
    assert parse_answer(content) is None


def test_answer_without_events_is_one() -> None:
    assert parse_answer(b"{}") == parse_answer(b'{"web": []}') == ()


def test_answer_is_bounded() -> None:
    assert len(parse(*({"event_name": str(i)} for i in range(600)))) == MAX_EVENTS
    long = {"name": "x" * 700, "solution": "y\x1b[2J\n" * 700}
    [event] = parse({"event_name": "Lead", "event_match_quality": {"diagnostics": [long] * 99}})
    assert len(event.diagnostics) == 60
    first = event.diagnostics[0]
    assert len(first.name) == MAX_WORDS
    assert first.solution.isprintable()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [*EXAMPLE, *EXAMPLE["event_match_quality"], "identifier", "coverage", "percentage"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_any_json_is_read(value: Any) -> None:
    parse_answer(json.dumps(value).encode())
    parse(value, {"event_name": "Lead", **(value if isinstance(value, dict) else {})})
