"""Enrichment: an event, completed with what is known of its visitor. Pure, but for new ids.

What the caller set is never overwritten. ``bridge.events.reader`` reads it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from bridge.destinations.base import EncodingContext
from bridge.destinations.group import Destinations
from bridge.destinations.messages import LIMITED, read_traits
from bridge.destinations.track_message import complete_message
from bridge.errors import InvalidEventError
from bridge.events.event import (
    Event,
    escape_unprintable,
    is_event_name,
    parse_event,
    read_day,
    refuse_personal_id,
)
from bridge.events.properties import copy_plain
from bridge.events.reader import SERVER_EVENT, TRACK_MESSAGE, Entrance, EventReader
from bridge.events.tripwire import Found
from bridge.randomness import new_uuid
from bridge.visitor.visitor import Visitor

LIMITED_DATA_USE = {
    "data_processing_options": ["LDU"],
    "data_processing_options_country": 0,
    "data_processing_options_state": 0,
}

_IDS = ("event", "userId", "anonymousId", "messageId")

# What Segment defines in ``context`` of a person and a device: an app that writes it means it. All
# else is searched for personal data like properties.
_CONTEXT_KEYS = frozenset(
    """
    consent dataProcessingOptions device fbc fbp ip location page protocols traits userAgent
    userAgentData
    """.split()
)

logger = logging.getLogger("bridge.enrichment")


@dataclass(frozen=True, slots=True)
class Enricher:
    """Completes events.

    Attributes:
        reader: Reads the app's events.
        destinations: The app's, whose switches its own messages to Segment get too.
        counters: Where ``removed_properties`` is counted.
    """

    reader: EventReader
    destinations: Destinations
    counters: Counter[str]

    def complete_any(
        self, event: Mapping[str, Any], visitor: Visitor, *, now: float
    ) -> dict[str, Any]:
        """Return ``event`` complete for the API that its shape names.

        With ``event_name`` it is a server event of Meta's, with ``event`` a track message of
        Segment's.

        Raises:
            InvalidEventError: It is neither, or its API would refuse it.
        """
        if "event_name" in event:
            complete, _ = self.complete(event, visitor, now=now)
            built: dict[str, Any] = msgspec.to_builtins(complete)
            return built
        if "event" in event:
            return self._complete_message(event, visitor, now)
        raise InvalidEventError(
            "event", "expected event_name (Meta) or event (Segment) among its keys, got neither"
        )

    def complete(
        self,
        given: Mapping[str, Any],
        visitor: Visitor,
        *,
        now: float,
        entrance: Entrance = SERVER_EVENT,
    ) -> tuple[Event, EncodingContext]:
        """Return the event of ``given``, complete, and what destinations need beside it.

        ``given`` is what ``EventReader.read_event`` takes.

        Raises:
            InvalidEventError: Meta would refuse it; the message names the field.
        """
        today = read_day(now) if given.get("user_data") else None
        fields, own, reading = self.reader.read_event(given, entrance, self._report, today=today)
        if "event_id" not in fields:
            fields["event_id"] = new_uuid()
        if "event_time" not in fields:
            fields["event_time"] = int(now)
        page_url, referrer_url = visitor.page_url, visitor.referrer_url
        # Meta refuses a website event without its page, and with it the whole batch.
        if "action_source" not in fields:
            fields["action_source"] = "website" if page_url else "other"
        if page_url is not None and "event_source_url" not in fields:
            fields["event_source_url"] = page_url
        if referrer_url is not None:
            fields.setdefault("referrer_url", referrer_url)
        if visitor.consent == "limited" and "data_processing_options" not in fields:
            fields = LIMITED_DATA_USE | fields
        event = parse_event(fields, visitor.complete_user_data(own), now=now)
        context = EncodingContext(
            self.reader.catalog,
            visitor.identity,
            reading.spec_name,
            reading.properties,
            self.destinations.reach_meta,
        )
        return event, context

    def _complete_message(
        self, message: Mapping[str, Any], visitor: Visitor, now: float
    ) -> dict[str, Any]:
        """Return a track message complete, with what Segment's Meta destinations insist on."""
        given = dict(message)
        if not is_event_name(given["event"]):
            words = "expected 1 to 100 characters, no control characters"
            raise InvalidEventError("event", words)
        given["event"] = name = str.__str__(given["event"])
        _refuse_personal_ids(given)
        reading = self.reader.read(name, given.get("properties"), TRACK_MESSAGE, self._report)
        given["properties"] = reading.properties
        if reading.spec_name:
            given["properties"] = self.reader.catalog.to_spec(
                reading.name, reading.custom_data, said=name, properties=reading.properties
            ).properties
        own = self._read_context(name, given, now)
        if visitor.skip_reason is not None:
            given["integrations"] = {"All": False}  # if it is sent all the same, it ends at Segment
        data_use = LIMITED if visitor.consent == "limited" else None
        return complete_message(
            given,
            visitor.identity,
            visitor.complete_user_data(own),
            visitor.page_url,
            referrer_url=visitor.referrer_url,
            data_use=data_use,
            switches=self.destinations.build_switches(data_use),
            now=now,
        )

    def _read_context(self, name: str, message: dict[str, Any], now: float) -> dict[str, Any]:
        """Return a person's traits as Meta's user data, hashed, taken out of ``message``.

        Other personal data in its context is removed.
        """
        if not isinstance(message.get("context"), Mapping):
            return {}
        reader, path = self.reader, "context"
        context = copy_plain(message[path], path)
        own = {key: context.pop(key) for key in list(context) if key not in _CONTEXT_KEYS}
        reader.clean(name, own, path, self._report)
        if isinstance(page := context.get("page"), Mapping):
            context["page"] = self._clean_page(page)
        traits = context.pop("traits", None)
        person: dict[str, Any] = {}
        if traits is not None:
            person, rest, left_out = read_traits(copy_plain(traits, "context.traits"))
            if left_out:
                shown = ", ".join(each[:60] for each in left_out[:10])
                words = "%s: left out of its context.traits, since Meta takes no digest of it: %s"
                logger.warning(words, escape_unprintable(name[:50]), shown)
            reader.clean(name, rest, "context.traits", self._report)
            context["traits"] = rest
        message[path] = context | own
        return reader.read_user_data(person, today=read_day(now))

    def _clean_page(self, page: Mapping[str, Any]) -> dict[str, Any]:
        """Return a message's ``context.page`` without the private parts of its addresses."""
        cleaned = dict(page)
        clean_url = self.reader.clean_url
        for key in ("url", "referrer"):
            if isinstance(page.get(key), str):
                cleaned[key] = clean_url(page[key])  # None, which is left out, if it is no URL
        path, search = (page.get(key) or "" for key in ("path", "search"))
        if isinstance(path, str) and isinstance(search, str):
            # Read as parts of some address: what cannot be in one is no part of a page.
            query = f"?{search.removeprefix('?')}" if search else ""
            address = clean_url(f"https://x/{path.removeprefix('/')}{query}") or ""
            path, _, search = address.removeprefix("https://x").partition("?")
            found = {"path": path, "search": search and f"?{search}"}
            cleaned |= {key: found[key] for key in found if page.get(key)}
        return cleaned

    def _report(self, name: object, path: str, found: Sequence[Found]) -> None:
        """Count personal data that was removed, and log once where it was."""
        self.counters["removed_properties"] += len(found)
        shown = escape_unprintable(name[:50]) if isinstance(name, str) else "an event"
        paths = ", ".join(f"{each.path} ({each.kind})" for each in found)
        logger.warning("%s: removed personal data from its %s: %s", shown, path, paths)


def _refuse_personal_ids(message: Mapping[str, Any]) -> None:
    """Refuse a track message with personal data for an id: it would be sent in the clear."""
    ids = {key: message.get(key) for key in _IDS}
    for key, id_key in (("properties", "event_id"), ("context", "groupId")):
        if isinstance(inside := message.get(key), Mapping):
            ids[f"{key}.{id_key}"] = inside.get(id_key)
    for path, value in ids.items():
        if isinstance(value, str):
            refuse_personal_id(value, path)
