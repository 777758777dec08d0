"""Segment's track message, completed with the visitor's identifiers.

The envelope is portable: Segment's own Meta destinations look for the click and browser id in
different places, so they stand in ``properties`` and in ``context``. The event's shared id is
``properties.event_id``; ``messageId`` is another thing, an idempotency key that Segment drops when
it comes twice within 24 hours, worldwide.

Source: Segment, "Spec: Common fields", "Spec: Track", "Handling duplicate data"; Facebook
Conversions API destinations, read 2026-11-23.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from bridge.errors import InvalidEventError
from bridge.events import MAX_NAME_LENGTH, UserData, new_event_id
from bridge.identity import Identity

_KEYS = frozenset(
    {
        "anonymousId",
        "context",
        "event",
        "integrations",
        "messageId",
        "properties",
        "sentAt",
        "timestamp",
        "type",
        "userId",
    }
)

# Where RudderStack and Segment's classic destination look for it.
_LIMITED_DATA_USE: dict[str, Any] = {"dataProcessingOptions": [["LDU"], 0, 0]}


def build_message(
    given: Mapping[str, Any],
    identity: Identity,
    user_data: UserData,
    page_url: str | None,
    *,
    limited: bool,
    now: float,
) -> dict[str, Any]:
    """Return the track message ``given``, with all that is known laid under what it says.

    Args:
        given: A track message; ``event`` is its name.
        identity: Whose ids it carries.
        user_data: The visitor's identifiers.
        page_url: The page it happened on.
        limited: Meta's Limited Data Use applies.
        now: Unix seconds.

    Raises:
        InvalidEventError: A key is unknown, or one has the wrong type.
    """
    fields = {key: value for key, value in given.items() if value is not None}
    for key in fields:
        if key not in _KEYS:
            raise InvalidEventError(key, "Segment knows no such key; your own go into properties")
    name = fields.get("event")
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_LENGTH:
        raise InvalidEventError("event", f"expected 1 to {MAX_NAME_LENGTH} characters")
    known = {"anonymousId": identity.anonymous_id, "userId": identity.user_id}
    ids = {key: value for key, value in known.items() if value}
    return {
        "type": "track",
        "messageId": str(uuid.uuid4()),
        "timestamp": datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds"),
        **ids,
        **fields,
        "properties": {
            "event_id": new_event_id(),
            "action_source": "website",
            **_browser_ids(user_data),
            **_object(fields, "properties"),
        },
        "context": (_LIMITED_DATA_USE if limited else {})
        | _build_context(_object(fields, "context"), user_data, page_url),
    }


def _build_context(
    given: dict[str, Any], user_data: UserData, page_url: str | None
) -> dict[str, Any]:
    known = {
        "channel": "server",
        "ip": user_data.client_ip_address,
        "userAgent": user_data.client_user_agent,
        **_browser_ids(user_data),
    }
    context = {key: value for key, value in known.items() if value is not None} | given
    if page_url is not None:
        parts = urlsplit(page_url)
        search = f"?{parts.query}" if parts.query else ""
        page = {"url": page_url, "path": parts.path or "/", "search": search}
        context["page"] = page | _object(given, "page")
    return context


def _browser_ids(user_data: UserData) -> dict[str, str]:
    known = {"fbp": user_data.fbp, "fbc": user_data.fbc}
    return {key: value for key, value in known.items() if value is not None}


def _object(fields: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = fields.get(key, {})
    if not isinstance(value, Mapping):
        raise InvalidEventError(key, f"expected an object, got {type(value).__name__}")
    return {name: item for name, item in value.items() if item is not None}
