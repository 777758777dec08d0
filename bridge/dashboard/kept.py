"""Answers that are kept for some seconds, for all who look at the page at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable

SECONDS = 2.0  # that an answer is kept at least; the page asks every five
SHARE = 10  # times as long as it took to find, so that no page takes more than a tenth of a process
LONGEST = 60.0  # seconds
MOST = 16  # answers, each of other filters


class Kept:
    """Finds one answer at a time and keeps it, longer if it took long."""

    def __init__(self) -> None:
        self._finding = asyncio.Lock()
        self._answers: dict[Hashable, tuple[float, bytes]] = {}

    async def get(self, question: Hashable, find: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return the answer to ``question``: a kept one, or what ``find`` returns."""
        async with self._finding:
            begun = time.monotonic()
            until, answer = self._answers.pop(question, (0.0, b""))
            if begun >= until:
                answer = await find()
                now = time.monotonic()
                until = now + min(LONGEST, max(SECONDS, SHARE * (now - begun)))
            self._answers[question] = until, answer
            while len(self._answers) > MOST:
                del self._answers[next(iter(self._answers))]
            return answer

    def forget(self) -> None:
        """Forget all answers: something was changed."""
        self._answers.clear()
