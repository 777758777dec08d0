"""Meta's figures beside our own, one row an event name. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from bridge.figures.summary import Summary
from bridge.figures.words import NOBODY
from bridge.quality.answer import EventQuality
from bridge.quality.question import Quality, Unanswered


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """The events of one name.

    Attributes:
        event_name: Meta's, or a custom event's.
        ours: What we sent to this destination; empty if nothing.
        copies: What scripts saw of the browser copies: ``sent``, ``blocked``, ``unknown``.
        skipped: How many were not stored for any destination, by reason.
        meta: What Meta says; ``None`` if nothing.
    """

    event_name: str
    ours: Summary
    copies: dict[str, int]
    skipped: dict[str, int]
    meta: EventQuality | None = None

    def read_coverage(self, identifier: str) -> float | None:
        """Return the per cent of our server copies with ``identifier``."""
        share = self.ours.read_coverage(identifier)
        return None if share is None else 100 * share


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """One destination's rows, the most frequent first.

    Attributes:
        destination: Its name, such as ``meta:1234567890``.
        answer: Meta's, or why there is none; ``None`` where Meta is not asked.
        rows: By event name.
        names: Of all events with figures, also those that are not among the rows.
        has_ours: Whether there is any figure of ours.
    """

    destination: str
    answer: Quality | Unanswered | None
    rows: tuple[Row, ...]
    names: tuple[str, ...] = ()
    has_ours: bool = False


def compare(
    destination: str,
    summaries: Iterable[Summary],
    answer: Quality | Unanswered | None,
    *,
    only: Collection[str] = (),
) -> Comparison:
    """Return both sides' figures on ``destination``, of the event names in ``only`` or of all."""
    ours: dict[str, Summary] = {}
    nobodys: dict[str, Summary] = {}
    for summary in summaries:
        if summary.destination == destination:
            ours[summary.event_name] = summary
        elif summary.destination == NOBODY:
            nobodys[summary.event_name] = summary
    events = answer.events if isinstance(answer, Quality) else ()
    metas = {each.event_name: each for each in events}
    # Skipped events have no destination, and would be rows of every one: they only add to rows.
    names = tuple(dict.fromkeys((*ours, *metas)))
    rows = []
    for name in names:
        if only and name not in only:
            continue
        empty = Summary(destination=destination, event_name=name)
        own, nobody = ours.get(name, empty), nobodys.get(name, empty)
        rows.append(
            Row(
                event_name=name,
                ours=own,
                copies=own.copies or nobody.copies,
                skipped=nobody.skipped,
                meta=metas.get(name),
            )
        )
    return Comparison(
        destination=destination,
        answer=answer,
        rows=tuple(rows),
        names=names,
        has_ours=bool(ours),
    )
