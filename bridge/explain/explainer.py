"""One event as it would go out: to Meta, to Segment, and from Segment to Meta. Pure.

Nothing is stored, sent, counted or logged. An event is completed and encoded by the same code as in
``track`` and ``enrich``. Added are what Segment's own Meta destination makes of the message by
default, and remarks.

``{"event_name": ..., "custom_data": ...}`` is explained as ``track`` stores it for both
destinations. ``{"event": ..., "properties": ...}`` is explained as ``enrich`` returns it, for an
app that uses Segment's library; Meta's side is then the same message in Meta's words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from bridge.destinations.group import Destinations
from bridge.destinations.messages import PAGE_VIEW, read_traits
from bridge.destinations.segment import Segment
from bridge.enrichment import Enricher
from bridge.errors import InvalidEventError
from bridge.events.event import read_day
from bridge.events.reader import SERVER_EVENT, TRACK_MESSAGE, EventReader
from bridge.events.standard import ENVELOPE
from bridge.explain.drafts import Draft
from bridge.explain.remarks import OF_META, Facts, Remark, find_remarks, read_object, sort_remarks
from bridge.sandbox.segment_actions import build_event
from bridge.sandbox.segment_fields import Declined
from bridge.visitor.identity import Identity
from bridge.visitor.seal import Sealed
from bridge.visitor.visitor import Visitor

# Made up: addresses and names that are reserved for documentation.
EXAMPLE = Sealed(
    Identity(
        anonymous_id="00000000-0000-4000-8000-000000000000",
        renewed_at=0,
        fbp="fb.1.1795000000000.1234567890",
        fbc="fb.1.1795000000000.ExampleClickId",
        client_ip="2001:db8::1",
        user_agent="Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    ),
    page_url="https://shop.example.com/",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One event as it would go out.

    Attributes:
        meta: What Meta's Conversions API gets from us: one object of ``data``.
        segment: The message that Segment gets.
        actions: What Segment's "Facebook Conversions API (Actions)" sends to Meta for that message
            by its default mapping, or why it sends nothing.
        warnings: Remarks, the worst first.
    """

    meta: dict[str, Any]
    segment: dict[str, Any]
    actions: dict[str, Any] | Declined
    warnings: tuple[Remark, ...]

    def only_meta(self) -> dict[str, Any]:
        """Return what Meta gets and the remarks on that as plain JSON, silent about Segment."""
        warnings = [remark._asdict() for remark in self.warnings if remark.code in OF_META]
        return {"meta": self.meta, "warnings": warnings}

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON; ``actions`` has a ``payload`` or a ``refusal``."""
        refused = isinstance(self.actions, Declined)
        actions = self.actions._asdict() if isinstance(self.actions, Declined) else self.actions
        return {
            "meta": self.meta,
            "segment": self.segment,
            "actions": {"refusal" if refused else "payload": actions},
            "warnings": [remark._asdict() for remark in self.warnings],
        }


class Explainer:
    """Explains events.

    Args:
        reader: Reads the app's events.
        destinations: The app's; without a Segment source an example stands in for it.
    """

    def __init__(self, reader: EventReader, destinations: Destinations) -> None:
        self._segment = destinations.segment or Segment("example")
        self._reader = reader
        self._enricher = Enricher(reader, destinations, counters=Counter())

    def explain(self, event: Mapping[str, Any], visitor: Visitor, *, now: float) -> Explanation:
        """Return a server event of Meta's or a track message of Segment's as it would go out.

        Raises:
            InvalidEventError: It would be refused; the message names the field.
        """
        if not isinstance(event, Mapping):
            raise InvalidEventError("event", f"expected an object, got {type(event).__name__}")
        today = read_day(now)
        if "event_name" in event:
            draft = Draft(self._reader, event, "event_name", SERVER_EVENT, today=today)
            meta, message = self._follow_event(draft, visitor, now)
        elif "event" in event:
            draft = Draft(self._reader, event, "event", TRACK_MESSAGE, today=today)
            meta, message = self._follow_message(draft, visitor, now)
        else:
            raise InvalidEventError("event", "expected event_name (Meta) or event (Segment)")
        try:
            encoded = msgspec.json.encode(message)
        except (TypeError, ValueError, RecursionError):
            raise InvalidEventError("event", "expected what JSON can carry") from None
        # As Segment gets it: a time is text.
        message = msgspec.json.decode(encoded)
        actions = build_event(message)
        facts = Facts(draft.given, meta, message, actions, len(encoded))
        remarks = [*_describe_visitor(visitor), *draft.remarks, *find_remarks(facts)]
        return Explanation(
            meta=meta, segment=message, actions=actions, warnings=sort_remarks(remarks)
        )

    def _follow_event(
        self, draft: Draft, visitor: Visitor, now: float
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        event, context = self._enricher.complete(draft.fields, visitor, now=now)
        return msgspec.to_builtins(event), self._segment.build(event, context)

    def _follow_message(
        self, draft: Draft, visitor: Visitor, now: float
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        message = self._enricher.complete_any(draft.fields, visitor, now=now)
        properties = read_object(draft.fields, "properties")
        envelope = message["properties"]
        page = read_object(read_object(message, "context"), "page")
        given = {
            "event_name": PAGE_VIEW if message["type"] == "page" else message["event"],
            "event_id": envelope.get("event_id"),
            "event_time": datetime.fromisoformat(message["timestamp"]),
            "action_source": envelope.get("action_source"),
            "event_source_url": page.get("url"),
            "referrer_url": page.get("referrer"),
            "custom_data": {key: properties[key] for key in properties if key not in ENVELOPE},
            "user_data": self._read_person(draft),
        }
        # Segment takes an older one as well.
        told = given["event_time"].timestamp()
        event, _ = self._enricher.complete(given, visitor, now=min(now, told))
        if event.expires < now:
            words = "older than the days that Meta accepts: Meta refuses it"
            draft.remarks.append(Remark("error", "too_old", "timestamp", words))
        return msgspec.to_builtins(event), message

    def _read_person(self, draft: Draft) -> dict[str, Any]:
        """Return the user data in a message, hashed; the visitor's own is added later."""
        context = read_object(draft.fields, "context")
        properties = read_object(draft.fields, "properties")
        person, _, _ = read_traits(read_object(context, "traits"))
        id_key = "userId" if draft.fields.get("userId") else "anonymousId"
        given = {
            **{key: _find_id(key, properties, context) for key in ("fbp", "fbc")},
            "client_ip_address": ("context.ip", context.get("ip")),
            "client_user_agent": ("context.userAgent", context.get("userAgent")),
            "external_id": (id_key, draft.fields.get(id_key)),
        }
        raw = {key: value for key, (_, value) in given.items() if value is not None}
        places = {key: place for key, (place, _) in given.items()}
        return person | draft.hash(raw, places)


def _find_id(
    key: str, properties: Mapping[str, Any], context: Mapping[str, Any]
) -> tuple[str, Any]:
    """Return the place and the value of a browser's id in a message."""
    if not properties.get(key) and context.get(key):
        return f"context.{key}", context[key]
    return f"properties.{key}", properties.get(key)


def _describe_visitor(visitor: Visitor) -> Iterator[Remark]:
    if visitor.identity is EXAMPLE.identity:
        words = "no visitor is given: addresses and ids are made up"
        yield Remark("info", "example_visitor", "", words)
    if visitor.skip_reason is not None:
        words = f"no events of this visitor are sent: {visitor.skip_reason}"
        yield Remark("error", "not_sent", "", words)
