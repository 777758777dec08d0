"""Messages of Segment's tracking API: track, page, identify and alias. Pure.

The envelope is portable: Segment's own Meta destinations, and those of systems that speak its
language, look for the click and the browser id in different places, so they stand in ``properties``
and in ``context``. The event's shared id is ``properties.event_id``; ``messageId`` is another
thing, an idempotency key that Segment drops when it comes twice within 24 hours, worldwide.

Traits are hashed, without exception: Segment's Meta destination passes on what is SHA-256 already.

Source: Segment, "Spec: Common fields", "Spec: Track", "Spec: Page", "Spec: Identify", "Spec:
Alias", "Handling duplicate data"; Facebook Conversions API destinations, read 2026-11-25.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from bridge.errors import InvalidEventError
from bridge.events import Event, UserData, is_event_name, new_event_id
from bridge.identity import Identity

PAGE_VIEW = "PageView"

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

# Both spellings where Segment's destinations differ: the cloud's and the browser's.
_TRAITS: dict[str, tuple[str, ...]] = {
    "em": ("email",),
    "ph": ("phone",),
    "fn": ("firstName", "first_name"),
    "ln": ("lastName", "last_name"),
    "db": ("birthday",),
    "ge": ("gender",),
}
_ADDRESS: dict[str, tuple[str, ...]] = {
    "ct": ("city",),
    "st": ("state",),
    "zp": ("postalCode", "postal_code"),
    "country": ("country",),
}

# A person's, and nothing that Meta's rules make a digest of.
_UNHASHED = frozenset({"age", "avatar", "name", "username"})

# Where RudderStack and Segment's classic destination look for it.
_LIMITED_DATA_USE: dict[str, Any] = {"dataProcessingOptions": [["LDU"], 0, 0]}


def format_time(seconds: float) -> str:
    """Return Unix seconds as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def build_ids(identity: Identity | None, user_data: UserData, fallback: str) -> dict[str, str]:
    """Return ``anonymousId`` and ``userId``, of which a message needs one.

    What is not empty only: an empty ``userId`` counts as one at Segment's Meta destination.

    Args:
        identity: Whose they are.
        user_data: Of the event; its external id stands in where there is no identity.
        fallback: For an event that is nobody's.
    """
    if identity is None or not identity.anonymous_id:
        return {"anonymousId": next(iter(user_data.external_id), fallback)}
    known = {"anonymousId": identity.anonymous_id, "userId": identity.user_id}
    return {key: value for key, value in known.items() if value}


def build_traits(user_data: UserData) -> dict[str, Any]:
    """Return what is known of a person, each value a SHA-256 digest."""
    traits = _spell(user_data, _TRAITS)
    if address := _spell(user_data, _ADDRESS):
        traits["address"] = address
    return traits


def read_traits(traits: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what ``traits`` say of a person, under Meta's keys, and the others.

    What is personal and cannot be hashed is in neither.
    """
    told = {key: value for key, value in traits.items() if key not in _UNHASHED}
    address = told.pop("address", None)
    parts = dict(address) if isinstance(address, Mapping) else {}
    person: dict[str, Any] = {}
    for names, source in ((_TRAITS, told), (_ADDRESS, parts)):
        for key, theirs in names.items():
            for name in theirs:
                if (value := source.pop(name, None)) is not None:
                    person[key] = value
    return person, told


def _spell(user_data: UserData, names: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    spelled: dict[str, Any] = {}
    for key, theirs in names.items():
        if digests := getattr(user_data, key):
            spelled |= dict.fromkeys(theirs, digests[0])
    return spelled


def build_context(
    user_data: UserData, page_url: str | None, referrer_url: str | None, *, limited: bool
) -> dict[str, Any]:
    """Return ``context``: where an event happened, and the identifiers of the browser.

    Never ``direct``: with it Segment takes the address of its caller, which is this server.
    """
    known: dict[str, Any] = {
        "channel": "server",
        "ip": user_data.client_ip_address,
        "userAgent": user_data.client_user_agent,
        **_browser_ids(user_data),
        "page": _build_page(page_url, referrer_url),
        "traits": build_traits(user_data),
    }
    if limited:
        known |= _LIMITED_DATA_USE
    return {key: value for key, value in known.items() if value}


def _build_page(page_url: str | None, referrer_url: str | None) -> dict[str, str]:
    if page_url is None:
        return {}
    parts = urlsplit(page_url)
    search = f"?{parts.query}" if parts.query else ""
    page = {"url": page_url, "path": parts.path or "/", "search": search}
    return page | ({"referrer": referrer_url} if referrer_url else {})


def _browser_ids(user_data: UserData) -> dict[str, str]:
    known = {"fbp": user_data.fbp, "fbc": user_data.fbc}
    return {key: value for key, value in known.items() if value is not None}


def build_message(
    event: Event,
    name: str,
    properties: Mapping[str, Any],
    identity: Identity | None,
    message_id: str,
) -> dict[str, Any]:
    """Return ``event`` as a track message, or as a page message if it is a view of one.

    Args:
        event: In Meta's words, complete.
        name: In Segment's.
        properties: In Segment's.
        identity: Whose it is.
        message_id: Distinct from the event's id: Segment drops what repeats one.
    """
    user_data = event.user_data
    context = build_context(
        user_data,
        event.event_source_url,
        event.referrer_url,
        limited=bool(event.data_processing_options),
    )
    message: dict[str, Any] = {
        "type": "track",
        "event": name,
        "messageId": message_id,
        "timestamp": format_time(event.event_time),
        **build_ids(identity, user_data, message_id),
        "properties": {
            **properties,
            "event_id": event.event_id,
            "action_source": event.action_source,
            **_browser_ids(user_data),
        },
        "context": context,
    }
    if event.event_name == PAGE_VIEW:
        del message["event"]
        message["type"] = "page"
        message["properties"] = {**context.get("page", {}), **message["properties"]}
    return message


def build_identify(
    identity: Identity, user_data: UserData, message_id: str, now: float
) -> dict[str, Any]:
    """Return what joins the anonymous id, the user id and hashed traits."""
    return {
        "type": "identify",
        "messageId": message_id,
        "timestamp": format_time(now),
        **build_ids(identity, user_data, message_id),
        "traits": build_traits(user_data),
        "context": build_context(user_data, identity.page_url, None, limited=False),
    }


def build_alias(identity: Identity, message_id: str, now: float) -> dict[str, Any]:
    """Return what tells that a user was known by an anonymous id until now."""
    return {
        "type": "alias",
        "messageId": message_id,
        "timestamp": format_time(now),
        "previousId": identity.anonymous_id,
        "userId": identity.user_id,
        "context": {"channel": "server"},
    }


def complete_message(
    given: Mapping[str, Any],
    identity: Identity,
    user_data: UserData,
    page_url: str | None,
    *,
    referrer_url: str | None,
    limited: bool,
    now: float,
) -> dict[str, Any]:
    """Return the track message ``given``, with all that is known laid under what it says.

    Args:
        given: A track message; ``event`` is its name.
        identity: Whose ids it carries.
        user_data: The visitor's identifiers.
        page_url: The page it happened on.
        referrer_url: The page before that one.
        limited: Meta's Limited Data Use applies.
        now: Unix seconds.

    Raises:
        InvalidEventError: A key is unknown, or one has the wrong type.
    """
    fields = {key: value for key, value in given.items() if value is not None}
    for key in fields:
        if key not in _KEYS:
            raise InvalidEventError(key, "Segment knows no such key; your own go into properties")
    if not is_event_name(fields.get("event")):
        raise InvalidEventError("event", "expected 1 to 100 characters, none of them control")
    message_id = str(uuid.uuid4())
    context = build_context(user_data, page_url, referrer_url, limited=limited)
    told = _object(fields, "context")
    for key in ("page", "traits"):
        if key in told and key in context:
            told[key] = {**context[key], **_object(told, key)}
    return {
        "type": "track",
        "messageId": message_id,
        "timestamp": format_time(now),
        **build_ids(identity, user_data, message_id),
        **fields,
        "properties": {
            "event_id": new_event_id(),
            "action_source": "website",
            **_browser_ids(user_data),
            **_object(fields, "properties"),
        },
        "context": {**context, **told},
    }


def _object(fields: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = fields.get(key, {})
    if not isinstance(value, Mapping):
        raise InvalidEventError(key, f"expected an object, got {type(value).__name__}")
    return {name: item for name, item in value.items() if item is not None}
