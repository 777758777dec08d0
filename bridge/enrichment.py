"""Enrichment: an event laid over what is known of its visitor. Pure but for the id it may make.

What the caller set is never overwritten.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from bridge.destinations.segment import build_message
from bridge.errors import InvalidEventError
from bridge.events import Event, new_event_id, parse_event
from bridge.normalize import build_user_data
from bridge.visitor import Visitor

LIMITED_DATA_USE = {
    "data_processing_options": ["LDU"],
    "data_processing_options_country": 0,
    "data_processing_options_state": 0,
}


def complete_any(
    event: Mapping[str, Any], visitor: Visitor, *, phone_region: str | None, now: float
) -> dict[str, Any]:
    """Return ``event`` complete for the API that its shape names.

    Args:
        event: With ``event_name`` a server event of Meta's, with ``event`` a track message of
            Segment's.
        visitor: Whose event it is.
        phone_region: ISO 3166-1 alpha-2 country of phone numbers without a country code.
        now: Unix seconds.

    Raises:
        InvalidEventError: It is neither, or its API would refuse it.
    """
    if "event_name" in event:
        complete = complete_event(event, visitor, phone_region=phone_region, now=now)
        built: dict[str, Any] = msgspec.to_builtins(complete)
        return built
    if "event" in event:
        return build_message(
            event,
            visitor.identity,
            visitor.user_data,
            visitor.page_url,
            limited=visitor.consent == "limited",
            now=now,
        )
    raise InvalidEventError(
        "event", "expected event_name (Meta) or event (Segment) among its keys, got neither"
    )


def complete_event(
    given: Mapping[str, Any], visitor: Visitor, *, phone_region: str | None, now: float
) -> Event:
    """Return the server event of ``given``, as ``complete_any``; keys with ``None`` are not set."""
    fields = {key: value for key, value in given.items() if value is not None}
    raw = fields.pop("user_data", {})
    if not isinstance(raw, Mapping):
        raise InvalidEventError("user_data", f"expected an object, got {type(raw).__name__}")
    user_data = build_user_data(raw, default_region=phone_region).over(visitor.user_data)
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
    return parse_event({**known, **fields}, user_data, now=now)
