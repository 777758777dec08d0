"""Meta's own figures for the page: asked at most every quarter of an hour, beside our advice."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from typing import Any

from bridge.destinations.base import Destination
from bridge.destinations.meta import CHECK_EVENT, Meta
from bridge.errors import OutboxError
from bridge.events.event import DAY
from bridge.figures.summary import summarize
from bridge.outbox.base import Outbox
from bridge.quality.advice import Advice, advise
from bridge.quality.comparison import Comparison, compare
from bridge.quality.question import Unanswered, ask_all

KEPT = 900.0  # seconds that an answer is shown
KEPT_FAILURE = 60.0  # seconds that a failure is shown
DAYS = 7  # of our figures; Meta's are of as many


logger = logging.getLogger("bridge.dashboard")


class QualityDesk:
    """Asks Meta about pixels, for all who look at the page at once.

    Args:
        outbox: Where our figures are kept.
        pixels: Who is asked about.
    """

    def __init__(self, outbox: Outbox, pixels: Iterable[Meta]) -> None:
        self._outbox = outbox
        self._pixels = list(pixels)
        self._asking = asyncio.Lock()
        self._answer: dict[str, Any] = {}
        self._kept_until = 0.0

    @classmethod
    def of(cls, outbox: Outbox, destinations: Iterable[Destination]) -> QualityDesk | None:
        """Return one for the pixels among ``destinations``; ``None`` if there is none."""
        pixels = [each for each in destinations if isinstance(each, Meta)]
        return cls(outbox, pixels) if pixels else None

    async def __call__(self) -> dict[str, Any]:
        """Return the page's quality: when it was asked, and rows or an error."""
        async with self._asking:
            if time.monotonic() >= self._kept_until:
                self._answer = await self._find_answer()
                failed = "error" in self._answer
                self._kept_until = time.monotonic() + (KEPT_FAILURE if failed else KEPT)
            return self._answer

    async def _find_answer(self) -> dict[str, Any]:
        now = time.time()
        today = int(now // DAY)
        try:
            # First: if they cannot be read, Meta is not asked for nothing.
            figures = await self._outbox.figures(today - DAYS + 1, today)
        except OutboxError as error:
            logger.error("dashboard: %s", error)
            return {"at": int(now), "rows": [], "error": f"the outbox cannot be read: {error}"}
        summaries = await asyncio.to_thread(summarize, figures)
        try:
            for pixel in self._pixels:
                if pixel.is_renewable:
                    await asyncio.to_thread(pixel.renew)
            answers = await ask_all(self._pixels)
        except Exception:
            logger.exception("dashboard: Meta's quality")
            text = "Meta could not be asked; the log says why"
            return {"at": int(now), "rows": [], "error": text}
        comparisons = [
            compare(each.name, summaries, answers.get(each.name)) for each in self._pixels
        ]
        return _show(comparisons, time.time())


def _show(comparisons: list[Comparison], now: float) -> dict[str, Any]:
    rows, errors = [], []
    for comparison in comparisons:
        if isinstance(comparison.answer, Unanswered):
            errors.append(
                f"{comparison.destination}: {comparison.answer.reason}; {comparison.answer.remedy}"
            )
        else:
            rows += _list_rows(comparison, with_pixel=len(comparisons) > 1)
    shown: dict[str, Any] = {"at": int(now), "rows": rows}
    if errors:
        shown["error"] = ". ".join(errors)
    return shown


def _list_rows(comparison: Comparison, *, with_pixel: bool) -> list[dict[str, Any]]:
    advice = advise(comparison)
    return [
        {
            "event_name": f"{row.event_name}, {comparison.destination}"
            if with_pixel
            else row.event_name,
            "score": row.meta.score,
            "merged": row.meta.merged,
            "coverage": row.meta.coverage,
            "coverage_goal": row.meta.goal,
            "freshness": row.meta.freshness.replace("_", " "),
            "advice": [each.text for each in advice if _is_about(each, row.event_name)],
        }
        for row in comparison.rows
        if row.meta is not None and row.event_name != CHECK_EVENT
    ]


def _is_about(advice: Advice, event_name: str) -> bool:
    """Return whether ``advice`` is told beside this event: that of several, beside the first."""
    return advice.event_names[:1] == (event_name,)
