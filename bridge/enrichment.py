"""Enrichment: an event laid over what is known of its visitor. Pure but for the id it may make.

What the caller set is never overwritten. Personal data among an event's properties is taken out,
and what is in Segment's words is put into Meta's.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from bridge.destinations.base import EncodingContext
from bridge.destinations.group import Destinations
from bridge.destinations.messages import LIMITED, read_traits
from bridge.destinations.track_message import complete_message
from bridge.errors import InvalidEventError
from bridge.event_rules import EventRules
from bridge.events.catalog import NOTHING
from bridge.events.event import (
    STANDARD_EVENTS,
    Event,
    escape_unprintable,
    new_event_id,
    parse_event,
)
from bridge.events.properties import check_properties, copy_plain, read_numbers
from bridge.events.urls import clean_url
from bridge.events.user_data import find_personal_id, read_user_data
from bridge.visitor.visitor import Visitor

LIMITED_DATA_USE = {
    "data_processing_options": ["LDU"],
    "data_processing_options_country": 0,
    "data_processing_options_state": 0,
}

_IDS = ("userId", "anonymousId", "messageId")
_URL_KEYS = ("event_source_url", "referrer_url")
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))

# What Segment documents for ``context``, but for the ids: an app that writes it means it. Its own
# keys are looked at like properties.
_CONTEXT_KEYS = frozenset(
    {
        "active",
        "app",
        "campaign",
        "channel",
        "consent",
        "dataProcessingOptions",
        "device",
        "fbc",
        "fbp",
        "ip",
        "library",
        "locale",
        "location",
        "network",
        "os",
        "page",
        "protocols",
        "referrer",
        "screen",
        "timezone",
        "traits",
        "userAgent",
        "userAgentData",
    }
)

logger = logging.getLogger("bridge.enrichment")


class Completed(NamedTuple):
    """An event, and how it was told.

    Attributes:
        event: In Meta's words, complete.
        context: What destinations need beside it.
    """

    event: Event
    context: EncodingContext


class Enricher:
    """Completes events.

    Args:
        rules: How the app's events are read.
        destinations: The app's, whose switches its own messages to Segment get too.
        counters: Where ``removed_properties`` is counted.
    """

    def __init__(
        self,
        rules: EventRules,
        destinations: Destinations,
        *,
        counters: Counter[str],
    ) -> None:
        self._catalog = rules.catalog
        self._tripwire = rules.tripwire
        self._phone_region = rules.phone_region
        self._private = rules.private_parameters
        self._destinations = destinations
        self._counters = counters

    def complete_any(
        self, event: Mapping[str, Any], visitor: Visitor, *, now: float
    ) -> dict[str, Any]:
        """Return ``event`` complete for the API that its shape names.

        Args:
            event: With ``event_name`` a server event of Meta's, with ``event`` a track message of
                Segment's.
            visitor: Whose event it is.
            now: Unix seconds.

        Raises:
            InvalidEventError: It is neither, or its API would refuse it.
        """
        if "event_name" in event:
            completed = self.complete(event, visitor, now=now)
            built: dict[str, Any] = msgspec.to_builtins(completed.event)
            return built
        if "event" not in event:
            raise InvalidEventError(
                "event", "expected event_name (Meta) or event (Segment) among its keys, got neither"
            )
        given = dict(event)
        name = str(given["event"])
        self._catalog.check(name)
        _refuse_personal_ids(given)
        if given.get("properties") is not None:
            given["properties"] = self._complete_properties(name, given["properties"])
        elif name == "Purchase" or self._is_spec(name):
            given["properties"] = self._complete_properties(name, {})
        own = self._read_context(name, given)
        if visitor.skip_reason is not None:
            given["integrations"] = {"All": False}  # what is sent all the same ends at Segment
        data_use = LIMITED if visitor.consent == "limited" else None
        return complete_message(
            given,
            visitor.identity,
            visitor.complete_user_data(own),
            visitor.page_url,
            referrer_url=visitor.referrer_url,
            data_use=data_use,
            switches=self._destinations.build_switches(data_use),
            now=now,
        )

    def _complete_properties(self, name: str, told: object) -> dict[str, Any]:
        """Return a track message's properties, with what Segment's Meta destinations insist on.

        Raises:
            InvalidEventError: Meta would refuse the event at the end of Segment's way.
        """
        properties, is_spec = self._read_properties(name, told, "properties")
        if not is_spec and name not in STANDARD_EVENTS:
            return properties
        meta = self._catalog.to_meta(name, properties)
        check_properties(meta.properties, is_purchase=meta.name == "Purchase")
        if not is_spec:
            return properties
        return self._catalog.to_spec(*meta, said=name, properties=properties).properties

    def _read_context(self, name: str, message: dict[str, Any]) -> dict[str, Any]:
        """Return a person's traits as Meta's user data, hashed, taken out of ``message``.

        What else its context tells of people goes too.
        """
        if not isinstance(message.get("context"), Mapping):
            return {}
        context = copy_plain(message["context"], "context")
        own = {key: context.pop(key) for key in list(context) if key not in _CONTEXT_KEYS}
        self._clean(name, own)
        if isinstance(page := context.get("page"), Mapping):
            context["page"] = self._clean_page(page)
        traits = context.pop("traits", None)
        person: dict[str, Any] = {}
        if traits is not None:
            person, rest = read_traits(copy_plain(traits, "context.traits"))
            self._clean(name, rest)
            context["traits"] = rest
        message["context"] = context | own
        return read_user_data(person, default_region=self._phone_region)

    def _clean_page(self, page: Mapping[str, Any]) -> dict[str, Any]:
        """Return a message's ``context.page`` without what URLs hold of people."""
        cleaned = dict(page)
        for key in ("url", "referrer"):
            if isinstance(page.get(key), str):
                cleaned[key] = self._clean_url(page[key])  # None, which is left out, if it is none
        path, search = (page.get(key) or "" for key in ("path", "search"))
        if isinstance(path, str) and isinstance(search, str):
            # As parts of some address: what cannot stand in one is not of a page.
            query = f"?{search.removeprefix('?')}" if search else ""
            address = self._clean_url(f"https://x/{path.removeprefix('/')}{query}") or ""
            path, _, search = address.removeprefix("https://x").partition("?")
            found = {"path": path, "search": search and f"?{search}"}
            cleaned |= {key: found[key] for key in found if page.get(key)}
        return cleaned

    def _clean_url(self, url: str) -> str | None:
        """Return a URL of the app's as those that we saw: without private parts."""
        encoded = quote(url, safe=_PRINTABLE, errors="replace").encode()
        return clean_url(encoded, self._private, max_length=len(encoded))

    def complete(
        self, given: Mapping[str, Any], visitor: Visitor, *, now: float, is_fired: bool = False
    ) -> Completed:
        """Return the event of ``given``; keys with ``None`` are not set.

        Args:
            given: Keys of a server event; its name and ``custom_data`` may be in Segment's words.
            visitor: Whose event it is.
            now: Unix seconds.
            is_fired: Its browser copy is out under this very name.

        Raises:
            InvalidEventError: Meta would refuse it; the message names the field.
        """
        fields = {key: value for key, value in given.items() if value is not None}
        raw = fields.pop("user_data", {})
        if not isinstance(raw, Mapping):
            raise InvalidEventError("user_data", f"expected an object, got {type(raw).__name__}")
        own = read_user_data(raw, default_region=self._phone_region)
        for key in _URL_KEYS:
            if isinstance(fields.get(key), str):
                fields[key] = self._clean_url(fields[key]) or ""  # which is refused by name
        said, properties = "", NOTHING
        custom_data: dict[str, Any] = {}
        name = fields.get("event_name")
        if "custom_data" in fields:
            custom_data, is_spec = self._read_properties(name, fields["custom_data"], "custom_data")
        else:
            is_spec = self._is_spec(name)
        if isinstance(name, str) and not is_fired:
            self._catalog.check(name)
            if is_spec:
                said, properties = name, custom_data
                fields["event_name"], custom_data = self._catalog.to_meta(name, custom_data)
        if "event_id" not in fields:
            fields["event_id"] = new_event_id()
        fields.setdefault("event_time", int(now))
        page_url, referrer_url = visitor.page_url, visitor.referrer_url
        # Meta refuses a website event without its page, and with it the whole batch.
        fields.setdefault("action_source", "website" if page_url else "other")
        if page_url is not None:
            fields.setdefault("event_source_url", page_url)
        if referrer_url is not None:
            fields.setdefault("referrer_url", referrer_url)
        if visitor.consent == "limited" and "data_processing_options" not in fields:
            fields = LIMITED_DATA_USE | fields
        user_data = visitor.complete_user_data(own)
        event = parse_event(fields, user_data, now=now, custom_data=custom_data)
        context = EncodingContext(
            self._catalog, visitor.identity, said, properties, self._destinations.reach_meta
        )
        return Completed(event, context)

    def _is_spec(self, name: object) -> bool:
        return isinstance(name, str) and self._catalog.find(name) is not None

    def _read_properties(
        self, name: object, told: object, path: str
    ) -> tuple[dict[str, Any], bool]:
        """Return a plain copy without personal data, and whether it is in Segment's words."""
        properties = copy_plain(told, path)
        self._clean(name, properties)
        row = self._catalog.find(name) if isinstance(name, str) else None
        read_numbers(properties, path, is_spec=row is not None, also=row.value if row else ())
        return properties, row is not None

    def _clean(self, name: object, told: dict[str, Any]) -> None:
        """Take personal data out of ``told``, and say once where it was."""
        if found := self._tripwire.clean(told):
            self._counters["removed_properties"] += len(found)
            shown = escape_unprintable(name[:50]) if isinstance(name, str) else "an event"
            paths = ", ".join(f"{each.path} ({each.kind})" for each in found)
            logger.warning("%s: personal data is removed from its properties: %s", shown, paths)


def _refuse_personal_ids(message: Mapping[str, Any]) -> None:
    """Refuse a track message whose id is personal data: it would be sent in the clear.

    Raises:
        InvalidEventError: It has one.
    """
    properties, context = message.get("properties"), message.get("context")
    told = properties.get("event_id") if isinstance(properties, Mapping) else None
    ids = {
        "event": message.get("event"),
        "properties.event_id": told,
        "context.groupId": context.get("groupId") if isinstance(context, Mapping) else None,
        **{key: message.get(key) for key in _IDS},
    }
    for path, value in ids.items():
        if isinstance(value, str) and (kind := find_personal_id(value)):
            raise InvalidEventError(path, f"is {kind}, which would be sent in the clear")
