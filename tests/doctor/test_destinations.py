from __future__ import annotations

import pytest

from bridge.doctor.destinations import compare_clocks

DATE = {"date": "Thu, 01 Jan 2026 00:00:00 GMT"}
THEN = 1_767_225_600.0


@pytest.mark.parametrize(
    ("ours", "level", "words"),
    [
        (THEN, "good", "agree"),
        (THEN + 4, "good", "agree"),
        (THEN + 30, "warning", "30 s ahead of Meta's"),
        (THEN + 90, "bad", "90 s ahead of Meta's"),
        (THEN - 900, "bad", "900 s behind Meta's"),
    ],
)
def test_clocks_are_compared(ours: float, level: str, words: str) -> None:
    [found] = compare_clocks("Meta's", DATE, ours)
    assert found.level == level
    assert words in found.text
    assert ("timedatectl" in found.fix) == (level != "good")


@pytest.mark.parametrize("date", ["", "yesterday", "Thu, 01 Jan 99999 00:00:00 GMT", "\x00"])
def test_date_that_cannot_be_read_says_nothing(date: str) -> None:
    assert compare_clocks("Meta's", {"date": date}, THEN) == []
