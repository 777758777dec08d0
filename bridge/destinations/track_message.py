"""A track message that an app writes itself: completed for Segment's own library. Pure.

What Segment would drop silently is refused here: it answers 200 to a message without an id, with a
number as id, or over its size limit.

Source: Segment, "Spec: Common fields" and "Spec: Track", read 2026-11-25; its library for Python,
segmentio/analytics-python 2.4, ``Client.track``.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any, get_args

from bridge.destinations.messages import (
    DataUse,
    build_browser_ids,
    build_context,
    build_ids,
    complete_page,
    encode_message,
    format_time,
)
from bridge.errors import InvalidEventError
from bridge.events.event import (
    ActionSource,
    UserData,
    check_not_ahead,
    is_event_name,
    read_event_id,
)
from bridge.events.properties import copy_plain
from bridge.randomness import new_uuid
from bridge.visitor.identity import Identity

MAX_NUMBER = 10**99  # of an id; Python writes no number of more than 4300 digits
FIRST_YEAR = 1971  # of a time; earlier ones come of a zero
MAX_ID = 99  # characters of a message id; the documents say fewer than 100

# The keys of a message as arguments of ``track`` in Segment's library for Python.
_ARGUMENTS = {
    "anonymousId": "anonymous_id",
    "context": "context",
    "event": "event",
    "integrations": "integrations",
    "messageId": "message_id",
    "properties": "properties",
    "userId": "user_id",
}
_KEYS = {*_ARGUMENTS, "sentAt", "timestamp", "type"}


def complete_message(
    given: Mapping[str, Any],
    identity: Identity,
    user_data: UserData,
    page_url: str | None,
    *,
    referrer_url: str | None,
    data_use: DataUse | None,
    switches: Mapping[str, Any],
    now: float,
) -> dict[str, Any]:
    """Return the track message ``given``, completed; what it says itself stays.

    Raises:
        InvalidEventError: A key is unknown, has the wrong type, or it is larger than Segment takes.
    """
    fields = {key: value for key, value in given.items() if value is not None}
    for key in fields:
        if key not in _KEYS:
            raise InvalidEventError(key, "not a key of Segment's; your own go into properties")
    if fields.get("type", "track") != "track":
        raise InvalidEventError("type", "expected track; other calls have no event")
    for key in ("anonymousId", "messageId", "userId"):
        if key in fields:
            fields[key] = _read_id(fields[key], key)
    for key in ("sentAt", "timestamp"):
        if key in fields:
            fields[key] = _read_time(fields[key], key, now)
    message_id = new_uuid()
    context = build_context(user_data, page_url, referrer_url, data_use)
    own = _object(fields, "context")
    ids = _read_browser_ids(own, _object(fields, "properties"))
    if "page" in own:
        own["page"] = complete_page(_object(own, "page"), context.get("page", {}))
    if "traits" in own and "traits" in context:
        own["traits"] = {**context["traits"], **_object(own, "traits")}
    integrations = {**switches, **_object(fields, "integrations")}
    properties = {
        "event_id": new_uuid(),
        # Meta refuses a website event without its page.
        "action_source": "website" if page_url else "other",
        **build_browser_ids(user_data),
        **_object(fields, "properties"),
        **ids,
    }
    properties["event_id"] = read_event_id(properties["event_id"], "properties.event_id")
    if properties["action_source"] not in get_args(ActionSource):
        sources = ", ".join(get_args(ActionSource))
        raise InvalidEventError("properties.action_source", f"expected one of {sources}")
    message = {
        "type": "track",
        "messageId": message_id,
        "timestamp": format_time(now),
        **build_ids(identity, user_data, message_id),
        # An empty id would count as one, and the external id would be lost.
        **{key: value for key, value in fields.items() if value != ""},
        "properties": properties,
        "context": {**context, **own, **ids},
    }
    if integrations:
        message["integrations"] = integrations
    encode_message(message)
    return message


def to_arguments(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a track message as the arguments of ``track`` in Segment's own library for Python.

    ``analytics.track(**to_arguments(enrich({"event": "Order Completed", ...})))``

    Raises:
        InvalidEventError: It is not a track message.
    """
    if not is_event_name(message.get("event")):
        raise InvalidEventError("event", "expected a track message, as enrich returns one")
    arguments = {ours: message[key] for key, ours in _ARGUMENTS.items() if key in message}
    if (timestamp := message.get("timestamp")) is not None:
        arguments["timestamp"] = datetime.fromisoformat(_read_time(timestamp, "timestamp"))
    # The library writes its own name into it.
    arguments["context"] = {**read_object(message, "context")}
    return arguments


def read_object(message: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the object at ``key``; an empty one if there is none.

    Raises:
        InvalidEventError: It is something else.
    """
    value = message.get(key)
    if not isinstance(value, Mapping | None):
        raise InvalidEventError(key, f"expected an object, got {type(value).__name__}")
    return value or {}


def _read_browser_ids(context: dict[str, Any], properties: dict[str, Any]) -> dict[str, Any]:
    """Return the caller's ``fbp`` and ``fbc``: the same ones in both places, or copies differ."""
    given = {key: properties.get(key) or context.get(key) for key in ("fbp", "fbc")}
    return {key: value for key, value in given.items() if value}


def _object(fields: Mapping[str, Any], key: str) -> dict[str, Any]:
    plain = copy_plain(fields.get(key, {}), key)
    return {name: item for name, item in plain.items() if item is not None}


def _read_id(value: object, key: str) -> str:
    is_number = isinstance(value, int) and not isinstance(value, bool) and abs(value) < MAX_NUMBER
    if is_number or isinstance(value, uuid.UUID):
        value = str(value)
    if not isinstance(value, str):
        raise InvalidEventError(key, f"expected text, got {type(value).__name__}")
    if key == "messageId" and len(value) > MAX_ID:
        raise InvalidEventError(key, f"expected at most {MAX_ID} characters, got {len(value)}")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise InvalidEventError(key, "holds half a surrogate pair")
    return str.__str__(value)


def _read_time(value: object, key: str, now: float | None = None) -> str:
    """Return a time as ISO 8601; without a zone it would be misread.

    Raises:
        InvalidEventError: It is none, has no zone, or is after ``now``.
    """
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else value
        if not isinstance(time, datetime) or time.tzinfo is None or time.year < FIRST_YEAR:
            raise ValueError
        seconds = time.timestamp()
        text = str.__str__(value) if isinstance(value, str) else format_time(seconds)
    except (ValueError, OverflowError):
        words = f"expected ISO 8601 with a zone, or a datetime with one, from {FIRST_YEAR} on"
        raise InvalidEventError(key, words) from None
    if now is not None:
        check_not_ahead(seconds, now, key)
    return text
