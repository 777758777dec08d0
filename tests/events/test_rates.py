from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.events.payloads import Personal, make_ordinary, make_personal
from tests.events.rates import ORDINARY, find_false_alarms, find_misses

PRIVACY = Path(__file__).parents[2] / "docs" / "privacy.md"


def test_ordinary_payloads_lose_nothing() -> None:
    alarms = [lost for lost, _ in find_false_alarms(make_ordinary(3_000))]
    assert len(alarms) < 3, alarms[:10]  # 0.1 %


def test_other_ordinary_payloads_lose_nothing_either() -> None:
    alarms = [lost for lost, _ in find_false_alarms(make_ordinary(1_000, seed=4711))]
    assert len(alarms) < 1, alarms[:10]


def test_nothing_personal_is_left() -> None:
    assert [*find_misses(make_personal())] == []


def test_misses_and_alarms_are_seen() -> None:
    assert [*find_misses([Personal("a word", {"note": "Ada"}, "Ada")])]
    assert [*find_false_alarms([{"note": "ada@example.com"}])]


@pytest.mark.parametrize("words", ["ordinary", "personal"])
def test_the_docs_say_how_much_was_measured(words: str) -> None:
    count = ORDINARY if words == "ordinary" else len([*make_personal()])
    assert re.search(rf"{count:,} {words} payloads", PRIVACY.read_text())
