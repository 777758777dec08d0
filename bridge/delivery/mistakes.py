"""Mistakes: what becomes of a ``track`` that Meta would refuse, and of a mistyped event name."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable
from dataclasses import replace

from bridge.browser.limits import Buckets
from bridge.errors import InvalidEventError, OutboxError
from bridge.events.catalog import Catalog
from bridge.events.event import (
    DAY,
    STANDARD_EVENTS,
    Event,
    escape_unprintable,
    is_event_id,
    is_event_name,
)
from bridge.events.personal_values import find_personal_id
from bridge.outbox.base import Delivery, Outbox
from bridge.randomness import new_uuid

AN_HOUR = 1000  # dead letters of events that were never valid
MAX_NAMES = 1000  # event names that are looked at once

logger = logging.getLogger("bridge.delivery")


class NearMisses:
    """Warns once of a custom event's name that looks like a mistyped standard one.

    Args:
        catalog: Its names are no mistakes.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._known = set(STANDARD_EVENTS)

    def note(self, name: object) -> None:
        """Log a warning if ``name`` is a near miss."""
        if type(name) is not str or name in self._known or self._catalog.find(name) is not None:
            return
        if len(self._known) < MAX_NAMES:
            self._known.add(name)
        if close := difflib.get_close_matches(name[:50], STANDARD_EVENTS, n=1, cutoff=0.85):
            shown = escape_unprintable(name[:50])
            logger.warning("track(%r): a custom event; did you mean %s?", shown, close[0])


def build_placeholder(
    name: object, event_id: object, error: InvalidEventError, *, now: float
) -> Event:
    """Return what stands for a mistaken event: its name and id if they may be shown, no more."""
    is_named = is_event_name(name) and not find_personal_id(str(name))
    has_id = is_event_id(event_id) and not find_personal_id(str(event_id))
    event = Event(
        event_name=str(name) if is_named else "invalid",
        event_time=int(now),
        event_id=str(event_id) if has_id else new_uuid(),
        action_source="other",
    )
    event.settle("invalid", str(error))
    return event


class Mistakes:
    """Keeps mistaken events as dead letters, and logs each: a number an hour, and no more."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._budget = Buckets(AN_HOUR / 3600, AN_HOUR)

    async def bury(self, event: Event, deliveries: Iterable[Delivery], now: float) -> bool:
        """Keep the deliveries of a placeholder as dead letters; return whether they are kept.

        They have expired: nobody can send them again as they are.
        """
        shown = escape_unprintable(event.event_name)
        logger.error("%s is not sent: %s", shown, event.skip_reason)
        if self._budget.find_wait("all", 1, now):
            return False  # one on every page must not fill the outbox
        self._budget.take("all", 1, now)
        dead = [replace(each, due=now + DAY, expires=now) for each in deliveries]
        try:
            # What is known under the same id is right, or dead already, and stays.
            names = [each.destination for each in dead]
            key = event.event_name, event.event_id
            if not await self._outbox.has(*key, now, destinations=names):
                await self._outbox.put(dead, now)
                await self._outbox.bury(dead, f"invalid: {event.skip_reason}", now)
                return True
        except OutboxError as failure:
            logger.error("%s: the dead letter is not kept: %s", shown, failure)
        return False
