"""Dead letters: grouped by reason, and a reason's tried again or deleted, a bounded number a press.

They are read page by page, and each page is sorted out in a thread: a shop may have hundreds of
thousands, and neither its visitors nor its outbox shall wait because somebody presses a button.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any

import msgspec

from bridge.dashboard.shown import read_day, read_payload, shorten_text
from bridge.outbox.base import DeadLetter, Key, Outbox

SCANNED = 2000  # how many are looked at, whatever is found
PAGE = 200  # read at once, and changed by one call of the outbox
MOST = 2000  # that one press changes
PRESS_SECONDS = 10.0  # after which a press stops
MAX_NAMES = 10  # event names told of a group

_NUMBER = re.compile(r"\d+")
_TRACE = re.compile(r" *\(fbtrace_id [^()]{0,80}\)?")  # Meta's own, another for each request

Change = Callable[[Sequence[Key]], Awaitable[int]]
"""Revives or drops dead letters; returns how many there were."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which dead letters are grouped; an empty field is everything.

    Attributes:
        destination: Its name.
        name: Event name.
        day: On which it happened, as ``2026-11-29``.
    """

    destination: str = ""
    name: str = ""
    day: str = ""

    def has(self, letter: DeadLetter) -> bool:
        """Return whether ``letter`` is wanted."""
        delivery = letter.delivery
        return (
            self.destination in ("", delivery.destination)
            and self.name in ("", delivery.event_name)
            # Last: a body may be large.
            and (not self.day or self.day == read_day(read_payload(delivery.body)))
        )


class Chosen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Dead letters that somebody chose: one event's, or those of a reason that were shown.

    Attributes:
        destination: Its name.
        event_id: That of one event, with ``event_name``.
        event_name: Its name.
        group: A reason, as ``name_group`` names it.
        name, day: As in ``Wanted``: what the reasons were filtered by.
        most: No more than so many, as the button said.
        until: When the newest that was shown was buried, Unix seconds.
    """

    destination: str
    event_id: str = ""
    event_name: str = ""
    group: str = ""
    name: str = ""
    day: str = ""
    most: int = MOST
    until: float | None = None

    def __post_init__(self) -> None:
        """Raise ``ValueError`` unless one event or one reason is named."""
        if bool(self.event_id and self.event_name) == bool(self.group):
            raise ValueError("expected event_id and event_name, or group")
        if not 1 <= self.most <= MOST:
            raise ValueError(f"most must be 1 to {MOST}, got {self.most}")


class _Press:
    """One press of a button: changes the chosen dead letters, page by page.

    Args:
        chosen: Which ones.
        change: What is done to them.
        can_change: Which of them it can be done to.
    """

    def __init__(
        self, chosen: Chosen, change: Change, can_change: Callable[[DeadLetter], bool]
    ) -> None:
        self._chosen = chosen
        self._change = change
        self._can_change = can_change
        self.changed = 0
        self.refused = 0
        self.left = 0
        self.saw_all = True

    async def run(self, outbox: Outbox) -> None:
        """Change them, then count some of those that are left."""
        begun = time.time()
        stop, offset, tried, counted = time.monotonic() + PRESS_SECONDS, 0, 0, 0
        until = begun if self._chosen.until is None else self._chosen.until
        while page := await _list_page(outbox, self._chosen.destination, offset):
            if time.monotonic() >= stop or counted >= SCANNED:
                self.saw_all = False
                return
            counted += len(page) if tried >= self._chosen.most else 0
            ready, refused = await asyncio.to_thread(self._sort_out, page, until)
            now, later = ready[: self._chosen.most - tried], ready[self._chosen.most - tried :]
            changed = await self._change(now) if now else 0
            self.changed += changed
            self.refused += refused
            self.left += len(later)
            tried += len(now)
            offset += PAGE - changed

    def _sort_out(self, page: Sequence[DeadLetter], until: float) -> tuple[list[Key], int]:
        """Return the keys of those that can be changed, and how many cannot."""
        wanted = Wanted(name=self._chosen.name, day=self._chosen.day)
        found = [
            each
            for each in page
            if each.buried_at <= until
            and name_group(each.reason) == self._chosen.group
            and wanted.has(each)
        ]
        keys = [each.delivery.key for each in found if self._can_change(each)]
        return keys, len(found) - len(keys)


async def group_dead(outbox: Outbox, wanted: Wanted) -> dict[str, Any]:
    """Return dead letters by destination and reason, the most frequent first.

    Raises:
        OutboxError: The outbox cannot be read.
    """
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    seen = 0
    async for page in read_dead(outbox, wanted.destination):
        await asyncio.to_thread(_add_to_groups, groups, page, wanted)
        seen += len(page)
        if seen >= SCANNED:
            break
    rows = sorted(groups.values(), key=lambda each: -each["count"])
    return {"groups": rows, "is_all": seen < SCANNED, "scanned": SCANNED}


async def revive(outbox: Outbox, chosen: Chosen) -> dict[str, Any]:
    """Make dead letters due again; return how many, how many are too old for that, and are left.

    Raises:
        OutboxError: The outbox failed.
    """
    now = time.time()

    async def change(keys: Sequence[Key]) -> int:
        return await outbox.revive(keys, time.time())

    def is_young(letter: DeadLetter) -> bool:
        return letter.delivery.expires > now

    press = await _press(outbox, chosen, change, is_young)
    return {"revived": press.changed, "too_old": press.refused, **_tell_left(press)}


async def drop(outbox: Outbox, chosen: Chosen) -> dict[str, Any]:
    """Delete dead letters; return how many, and how many are left.

    Raises:
        OutboxError: The outbox failed.
    """
    press = await _press(outbox, chosen, outbox.drop, lambda _: True)
    return {"deleted": press.changed, **_tell_left(press)}


async def read_dead(outbox: Outbox, destination: str) -> AsyncIterator[Sequence[DeadLetter]]:
    """Yield the dead letters, newest first, page by page."""
    offset = 0
    while page := await _list_page(outbox, destination, offset):
        yield page
        offset += PAGE


def name_group(reason: str) -> str:
    """Return what the reasons of one mistake have in common: numbers differ from event to event."""
    return _NUMBER.sub("#", _TRACE.sub("", shorten_text(reason)))


async def _list_page(outbox: Outbox, destination: str, offset: int) -> Sequence[DeadLetter]:
    return await outbox.list_dead(destination=destination or None, limit=PAGE, offset=offset)


async def _press(
    outbox: Outbox, chosen: Chosen, change: Change, can_change: Callable[[DeadLetter], bool]
) -> _Press:
    press = _Press(chosen, change, can_change)
    if not chosen.event_id:
        await press.run(outbox)
        return press
    found = [
        each
        for each in await outbox.find_dead(chosen.event_id)
        if each.delivery.destination == chosen.destination
        and each.delivery.event_name == chosen.event_name
    ]
    keys = [each.delivery.key for each in found if can_change(each)]
    press.changed, press.refused = await change(keys), len(found) - len(keys)
    return press


def _tell_left(press: _Press) -> dict[str, Any]:
    return {"left": press.left, "is_all": press.saw_all}


def _add_to_groups(
    groups: dict[tuple[str, str], dict[str, Any]], page: Iterable[DeadLetter], wanted: Wanted
) -> None:
    for letter in page:
        if not wanted.has(letter):
            continue
        key = letter.delivery.destination, name_group(letter.reason)
        group = groups.setdefault(
            key,
            {
                "destination": key[0],
                "group": key[1],
                "reason": _TRACE.sub("", shorten_text(letter.reason)),
                "count": 0,
                "names": [],
                "newest": letter.buried_at,
            },
        )
        group["count"] += 1
        group["oldest"] = letter.buried_at
        if letter.delivery.event_name not in group["names"] and len(group["names"]) < MAX_NAMES:
            group["names"].append(letter.delivery.event_name)
