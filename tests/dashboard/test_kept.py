"""Answers kept for all who look: asked for once, never for long, and not after a failure."""

from __future__ import annotations

import asyncio

import pytest

from bridge.dashboard import kept
from bridge.dashboard.kept import Kept


class Question:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self) -> bytes:
        self.asked += 1
        await asyncio.sleep(0.01)
        return b"%d" % self.asked


async def test_all_who_ask_at_once_get_one_answer() -> None:
    store, question = Kept(), Question()
    assert await asyncio.gather(*(store.get("a", question) for _ in range(5))) == [b"1"] * 5
    assert await store.get("b", question) == b"2"
    assert await store.get("a", question) == b"1"


async def test_answer_is_found_again_after_a_while_and_after_a_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, question = Kept(), Question()
    await store.get("a", question)
    store.forget()
    assert await store.get("a", question) == b"2"
    monkeypatch.setattr(kept, "SECONDS", 0.0)
    monkeypatch.setattr(kept, "SHARE", 0)
    store.forget()
    await store.get("a", question)
    assert await store.get("a", question) == b"4"


async def test_answer_that_took_long_is_kept_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "SECONDS", 0.0)
    store, question = Kept(), Question()
    await store.get("a", question)
    await asyncio.sleep(0.02)
    assert await store.get("a", question) == b"1"


async def test_failure_is_not_kept() -> None:
    async def fail() -> bytes:
        raise ConnectionError

    store, question = Kept(), Question()
    with pytest.raises(ConnectionError):
        await store.get("a", fail)
    assert await store.get("a", question) == b"1"


async def test_few_answers_are_kept() -> None:
    store, question = Kept(), Question()
    for number in range(kept.MOST + 1):
        await store.get(number, question)
    assert await store.get(1, question) == b"2"
    assert await store.get(0, question) == b"%d" % (kept.MOST + 2)
