"""Enrichment: an event laid over what is known of its visitor. Pure but for the id it may make.

What the caller set is never overwritten. Personal data among an event's properties is taken out,
and what is in Segment's words is put into Meta's.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from bridge.catalog import NOTHING, Catalog
from bridge.destinations.base import Told
from bridge.destinations.messages import read_traits
from bridge.destinations.track_message import complete_message
from bridge.errors import InvalidEventError
from bridge.events import STANDARD_EVENTS, Event, escape_unprintable, new_event_id, parse_event
from bridge.normalize import looks_like_email, read_user_data
from bridge.properties import check_properties, copy_plain, read_numbers
from bridge.tripwire import Tripwire
from bridge.visitor import Visitor

LIMITED_DATA_USE = {
    "data_processing_options": ["LDU"],
    "data_processing_options_country": 0,
    "data_processing_options_state": 0,
}

_IDS = ("userId", "anonymousId", "messageId")

logger = logging.getLogger("bridge.enrichment")


class Completed(NamedTuple):
    """An event, and how it was told.

    Attributes:
        event: In Meta's words, complete.
        told: What other destinations need beside it.
    """

    event: Event
    told: Told


class Enricher:
    """Completes events.

    Args:
        catalog: Segment's names and Meta's.
        tripwire: Finds personal data where none belongs.
        phone_region: ISO 3166-1 alpha-2 country of phone numbers without a country code.
        is_direct: Whether Meta gets the events from us, whoever else does.
        counters: Where ``removed_properties`` is counted.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        tripwire: Tripwire,
        phone_region: str | None,
        is_direct: bool,
        counters: Counter[str],
    ) -> None:
        self._catalog = catalog
        self._tripwire = tripwire
        self._phone_region = phone_region
        self._is_direct = is_direct
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
        _refuse_email_ids(given)
        if given.get("properties") is not None:
            given["properties"] = self._complete_properties(name, given["properties"])
        elif name == "Purchase" or self._is_spec(name):
            given["properties"] = self._complete_properties(name, {})
        own = self._hash_traits(name, given)
        if visitor.silence is not None:
            given["integrations"] = {"All": False}  # what is sent all the same ends at Segment
        return complete_message(
            given,
            visitor.identity,
            visitor.complete_user_data(own),
            visitor.page_url,
            referrer_url=visitor.referrer_url,
            limited=visitor.consent == "limited",
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

    def _hash_traits(self, name: str, message: dict[str, Any]) -> dict[str, Any]:
        """Return a person's traits as Meta's user data, hashed, taken out of ``message``."""
        context = message.get("context")
        traits = context.get("traits") if isinstance(context, Mapping) else None
        if not isinstance(context, Mapping) or traits is None:
            return {}
        person, rest = read_traits(copy_plain(traits, "context.traits"))
        self._clean(name, rest)
        message["context"] = {**context, "traits": rest}
        return read_user_data(person, default_region=self._phone_region)

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
        page_url = visitor.page_url
        known: dict[str, Any] = {
            "event_id": None if "event_id" in fields else new_event_id(),
            "event_time": int(now),
            # Meta refuses a website event without its page, and with it the whole batch.
            "action_source": "website" if page_url else "other",
            "event_source_url": page_url,
            "referrer_url": visitor.referrer_url,
        }
        if visitor.consent == "limited" and "data_processing_options" not in fields:
            known |= LIMITED_DATA_USE
        known = {key: value for key, value in known.items() if value is not None}
        user_data = visitor.complete_user_data(own)
        event = parse_event({**known, **fields}, user_data, now=now, custom_data=custom_data)
        told = Told(self._catalog, visitor.identity, said, properties, self._is_direct)
        return Completed(event, told)

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


def _refuse_email_ids(message: Mapping[str, Any]) -> None:
    """Refuse a track message with an e-mail address as an id: it would be sent in the clear.

    Raises:
        InvalidEventError: It has one.
    """
    properties = message.get("properties")
    told = properties.get("event_id") if isinstance(properties, Mapping) else None
    ids = {
        "event": message.get("event"),
        "properties.event_id": told,
        **{key: message.get(key) for key in _IDS},
    }
    for path, value in ids.items():
        if isinstance(value, str) and looks_like_email(value):
            raise InvalidEventError(path, "is an e-mail address, which would be sent in the clear")
