from __future__ import annotations

from datetime import date
from itertools import combinations
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.events.plain_user_data import FORMS, MAX_SHAPES, PlainUserData
from bridge.events.user_data import PersonalData, read_user_data

KEYS = sorted(FORMS)
NAMES = {key: key for key in PersonalData.__annotations__} | {"email": "em", "city": "ct"}

# Nearly plain, each in a way of its own.
NEARLY = st.sampled_from(
    [
        "",
        " ",
        "\u3000mary",
        "\x1fmary",
        "zoë",
        "müller",
        "ÖZIL",
        "Łukasz",
        "Ǆ",
        "ß×÷",
        "\xa0zoë",
        "zo\x85ë",
        "İ",
        "ΟΔΟΣ",
        "é" * 31,
        "é" * 32,
        "ſ",
        "K",
        "a\0b",
        "\ud800",
        "o'neil",
        "abcdef" * 5 + "ab",
        "ab" * 16,
        "ab" * 32,
        "mary@example",
        "a" * 999 + "@b.de",
        "+49 (0)170 1234567",
        "+49 ( 170 1234567",
        "+1 23",
        "+1234567890123456",
        "+1650555010\u0660",
        "19970230",
        "20991231",
        "1234 56789",
        "12345 6789",
        "uk",
        "zz",
        "st. louis",
        "a" * 20 + " " + "a" * 20,
    ]
)


def _write(text: str, capitals: bool, before: int, after: int) -> str:
    return " " * before + (text.upper() if capitals else text) + " " * after


def _any_of(key: str) -> st.SearchStrategy[str]:
    plain = st.from_regex(FORMS[key].pattern, fullmatch=True)
    written = st.builds(_write, plain, st.booleans(), st.integers(0, 2), st.integers(0, 2))
    return st.one_of(written, written, written, NEARLY)


PEOPLE = st.lists(st.sampled_from(KEYS), unique=True, min_size=1, max_size=4).flatmap(
    lambda keys: st.fixed_dictionaries({key: _any_of(key) for key in keys})
)


@given(PEOPLE)
def test_what_is_plain_is_read_as_its_rules_read_it(raw: dict[str, str]) -> None:
    today = date(2026, 11, 30)
    if (read := PlainUserData(NAMES).read(raw, None, today)) is not None:
        # No dictionary: it is read by the rules.
        assert read == read_user_data(MappingProxyType(raw), today=today)
        assert list(read) == list(raw)


@pytest.mark.parametrize("key", KEYS)
def test_each_key_has_a_plain_form(key: str) -> None:
    plain = {
        "em": " Mary@Example.com ",
        "ph": "+1 (650) 555-0100",
        "db": "19970216",
        "ge": "F",
        "ct": "Menlo Park",
        "st": "CA",
        "zp": "SW1A 1AA",
        "country": "US",
    }
    raw = {key: plain.get(key, "Mary")}
    assert PlainUserData(NAMES).read(raw, None, None) == read_user_data(MappingProxyType(raw))


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"em": "mary@example.com", "email": "ada@example.com"},  # twice
        {"em": None},
        {"em": ["mary@example.com"]},
        {"zp": 94025},
        {"fbp": "fb.1.1.2"},  # without a form
        {"surname": "Miller"},  # unknown
        {5: "Miller"},
    ],
    ids=str,
)
def test_the_rest_is_left_to_the_rules(raw: dict[Any, Any]) -> None:
    assert PlainUserData(NAMES).read(raw, None, None) is None


def test_what_is_not_given_is_no_reason_for_a_closer_look() -> None:
    raw = {"email": "mary@example.com", "city": None, "fn": "Mary", "ph": None}
    digests = PlainUserData(NAMES).read(raw, None, None)
    assert digests == read_user_data(MappingProxyType(raw))
    assert [*digests] == ["em", "fn"]


def test_name_may_have_accents() -> None:
    raw = {"fn": "Zoë", "ln": "MÜLLER"}
    assert PlainUserData(NAMES).read(raw, None, None) == read_user_data(MappingProxyType(raw))


def test_phone_region_leaves_all_to_the_rules() -> None:
    assert PlainUserData(NAMES).read({"ph": "+49 170 1234567"}, "DE", None) is None


def test_birth_date_that_may_be_ahead_is_left_to_the_rules() -> None:
    reader = PlainUserData(NAMES)
    assert reader.read({"db": "20150101"}, None, date(2014, 1, 1)) is None
    assert reader.read({"db": "20200101"}, None, date(2026, 1, 1)) is None


def test_patterns_are_few_and_none_is_kept_of_unknown_keys() -> None:
    reader = PlainUserData({f"name{i}": "fn" for i in range(2 * MAX_SHAPES)})
    for i in range(2 * MAX_SHAPES):
        assert reader.read({f"other{i}": "Mary"}, None, None) is None
    assert not reader._shapes
    for i in range(2 * MAX_SHAPES):
        reader.read({f"name{i}": "Mary"}, None, None)
    assert len(reader._shapes) == MAX_SHAPES
    assert reader.read({"name0": "Mary"}, None, None) is not None


def test_what_browsers_report_takes_no_room_from_the_apps_own_keys() -> None:
    # Lists of digests, of any keys that a browser chooses: POST /_bridge/collect.
    reader = PlainUserData({key: key for key in FORMS})
    for keys in [each for size in (1, 2, 3) for each in combinations(FORMS, size)]:
        reader.read({key: ["a" * 64] for key in keys}, None, None)
    assert reader.read({"em": "mary@example.com", "fn": "Mary", "ln": "Miller"}, None, None)
