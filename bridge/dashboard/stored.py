"""What is stored: events that wait and dead letters, found, and one of them as it is.

Delivered events keep no body in the outbox, so there is nothing to list of them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

import msgspec

from bridge.dashboard.dead import PAGE, SCANNED, read_dead
from bridge.dashboard.shown import (
    list_identifiers,
    read_day,
    read_payload,
    read_source,
    read_time,
    read_value,
    shorten_payload,
    shorten_text,
)
from bridge.events.event import DAY, STANDARD_EVENTS
from bridge.outbox.base import FIGURE_DAYS, DeadLetter, Delivery, Outbox

OVERDUE = 60.0  # seconds past its due time after which a waiting event is a problem
MAX_NAMES = 60  # event names under which a delivered event is looked for

State = Literal["", "waiting", "held", "dead"]


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody looks for; an empty field is everything.

    Attributes:
        name: Event name.
        destination: Name of a destination.
        source: Action source.
        state: ``held`` for its browser copy or scheduled, ``waiting``, ``dead``.
        problems: Only dead ones, those that failed before, and those that nobody sends.
        q: A part of the event id.
        since, until: Days on which it happened, as ``2026-11-29``; both included. What does not say
            when it happened is of no day.
    """

    name: str = ""
    destination: str = ""
    source: str = ""
    state: State = ""
    problems: bool = False
    q: str = ""
    since: str = ""
    until: str = ""


async def list_stored(
    outbox: Outbox, search: Search, *, limit: int, offset: int = 0
) -> dict[str, Any]:
    """Return a page of what is stored: dead letters first, newest first; then what is due next.

    Raises:
        OutboxError: The outbox cannot be read.
    """
    now = time.time()
    found: list[dict[str, Any]] = []
    looked_at_all = True
    for pages in _choose_pages(outbox, search):
        seen = 0
        async for page in pages:
            seen += len(page)
            # Large bodies take their time, which no visitor of this process shall wait.
            found += await asyncio.to_thread(_choose, page, search, now)
            if seen >= SCANNED:
                looked_at_all = False
                break
    return {
        "events": found[offset : offset + limit],
        "total": len(found),
        "is_all": looked_at_all,
        "scanned": SCANNED,
        "sources": sorted({each["source"] for each in found} - {""}),
        "now": now,
    }


async def find_event(outbox: Outbox, event_id: str) -> dict[str, Any]:
    """Return all that is stored of an event id, with its payloads as they may be shown.

    Raises:
        OutboxError: The outbox cannot be read.
    """
    now = time.time()
    names = await _list_names(outbox, int(now // DAY))
    waiting = await outbox.find(event_id, names)
    dead = await outbox.find_dead(event_id)
    describe = _describe_at(now)
    every: list[DeadLetter | Delivery] = [*dead, *waiting]
    stored = [{**describe(each), **_open(each)} for each in every]
    delivered = []
    if not stored:
        delivered = [name for name in names[:MAX_NAMES] if await outbox.has(name, event_id, now)]
    return {"event_id": event_id, "events": stored, "delivered_as": delivered, "now": now}


async def _list_names(outbox: Outbox, today: int) -> list[str]:
    """Return the names that events have had, the most frequent first, and Meta's standard ones."""
    seen: dict[str, int] = {}
    for figure in await outbox.figures(today - FIGURE_DAYS, today):
        if figure.kind == "stored":
            seen[figure.event_name] = seen.get(figure.event_name, 0) + figure.number
    return list(dict.fromkeys([*sorted(seen, key=lambda name: -seen[name]), *STANDARD_EVENTS]))


def _choose_pages(
    outbox: Outbox, search: Search
) -> Iterator[AsyncIterator[Sequence[DeadLetter | Delivery]]]:
    if search.state in ("", "dead"):
        yield read_dead(outbox, search.destination)
    if search.state != "dead":
        yield _read_waiting(outbox, search.destination)


async def _read_waiting(outbox: Outbox, destination: str) -> AsyncIterator[Sequence[Delivery]]:
    offset = 0
    while page := await outbox.list_waiting(
        destination=destination or None, limit=PAGE, offset=offset
    ):
        yield page
        offset += len(page)


def _describe_at(now: float) -> Callable[[DeadLetter | Delivery], dict[str, Any]]:
    def describe(stored: DeadLetter | Delivery) -> dict[str, Any]:
        """Return one stored event without its payload."""
        letter = stored if isinstance(stored, DeadLetter) else None
        delivery = stored if isinstance(stored, Delivery) else stored.delivery
        payload = read_payload(delivery.body)
        happened = read_time(payload)
        value = read_value(payload)
        is_held = letter is None and not delivery.attempts and delivery.due > now
        return {
            "destination": delivery.destination,
            "event_name": delivery.event_name,
            "event_id": delivery.event_id,
            "from_browser": bool(delivery.from_browser),
            "state": "dead" if letter else "held" if is_held else "waiting",
            "reason": shorten_text(letter.reason) if letter else "",
            "buried_at": letter.buried_at if letter else None,
            "due": None if letter else delivery.due,
            "expires": delivery.expires,
            "attempts": delivery.attempts,
            "source": read_source(payload),
            "happened_at": happened,
            "day": read_day(payload),
            "value": value[0] if value else None,
            "currency": value[1] if value else "",
            "identifiers": list_identifiers(payload),
            "is_problem": letter is not None
            or delivery.attempts > 0
            or delivery.due < now - OVERDUE,
        }

    return describe


def _choose(
    page: Sequence[DeadLetter | Delivery], search: Search, now: float
) -> list[dict[str, Any]]:
    return [each for each in map(_describe_at(now), page) if _matches(each, search)]


def _open(stored: DeadLetter | Delivery) -> dict[str, Any]:
    delivery = stored if isinstance(stored, Delivery) else stored.delivery
    payload = read_payload(delivery.body)
    return {"payload": shorten_payload(payload), "bytes": len(delivery.body)}


def _matches(event: dict[str, Any], search: Search) -> bool:
    fields: Iterable[tuple[str, str]] = (
        (search.name, event["event_name"]),
        (search.source, event["source"]),
        (search.state, event["state"]),
    )
    return (
        all(wanted in ("", found) for wanted, found in fields)
        and (event["is_problem"] or not search.problems)
        and search.q.strip().lower() in event["event_id"].lower()
        and (not search.since or search.since <= event["day"])
        and (not search.until or "" < event["day"] <= search.until)
    )
