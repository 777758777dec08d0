"""Messages of Segment's tracking API: track, page, identify and alias. Pure.

The envelope is portable. Segment's own Meta destinations, and those of systems with the same API,
look for the click id and the browser id in different places, so both are in ``properties`` and in
``context``. The id that both copies share is ``properties.event_id``. ``messageId`` is something
else, an idempotency key: Segment drops a message if any customer used its id within 24 hours.

All traits are hashed: Segment's Meta destination passes SHA-256 digests on as they are.

Source: Segment, "Spec: Common fields", "Spec: Track", "Spec: Page", "Spec: Identify", "Spec:
Alias", "Handling duplicate data"; Facebook Conversions API destinations, read 2026-11-25.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from bridge.errors import InvalidEventError
from bridge.events.event import Event, UserData
from bridge.visitor.identity import Identity

MAX_MESSAGE = 32_000  # bytes; "32 KB" in the documents, by the strictest reading
PAGE_VIEW = "PageView"
_TIMESTAMP = re.compile(rb'"timestamp":"([0-9T:.+Z-]{10,40})"')

# Both spellings where Segment's cloud and browser destinations differ.
TRAITS: dict[str, tuple[str, ...]] = {
    "em": ("email",),
    "ph": ("phone",),
    "fn": ("firstName", "first_name"),
    "ln": ("lastName", "last_name"),
    "db": ("birthday",),
    "ge": ("gender",),
}
ADDRESS: dict[str, tuple[str, ...]] = {
    "ct": ("city",),
    "st": ("state",),
    "zp": ("postalCode", "postal_code"),
    "country": ("country",),
}

# Other spellings that are read, and never written.
_READ_TRAITS = {"db": ("birthday", "dateOfBirth", "date_of_birth")}
_READ_ADDRESS = {"zp": ("zip", "zipCode", "zip_code", "postcode", "postal_code", "postalCode")}

# Personal, and of no kind that Meta takes as a digest.
_UNHASHED = frozenset({"age", "avatar", "name", "username"})

# Segment's two Meta destinations that a server's message reaches. Names are case-sensitive.
META_INTEGRATIONS = ("Facebook Conversions API (Actions)", "Facebook Conversions API")

# Meta's options, country and state; zeros let Meta locate the visitor.
DataUse = tuple[list[str], int, int]
LIMITED: DataUse = (["LDU"], 0, 0)


def read_data_use(event: Event) -> DataUse | None:
    """Return the limits on how Meta may use the data; ``None`` for no limits."""
    if not event.data_processing_options:
        return None
    country, state = event.data_processing_options_country, event.data_processing_options_state
    return event.data_processing_options, country or 0, state or 0


def build_data_use(data_use: DataUse | None, *, is_mapped: bool = False) -> dict[str, Any]:
    """Return the switches of Segment's Meta destinations for data whose use is limited.

    The classic one takes the limits from its switch. The other reads them from nowhere by default:
    the event would reach Meta without its limits, so it is switched off. With ``is_mapped`` it was
    set up to read ``context.dataProcessingOptions``.
    """
    if not data_use:
        return {}
    actions, classic = META_INTEGRATIONS
    switches = {classic: {"dataProcessingOptions": [*data_use]}}
    return switches if is_mapped else {actions: False, **switches}


def format_time(seconds: float) -> str:
    """Return Unix seconds as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def read_timestamp(body: bytes) -> float | None:
    """Return the ``timestamp`` of an encoded message, Unix seconds; ``None`` without one."""
    found = _TIMESTAMP.search(body)
    try:
        return datetime.fromisoformat(found[1].decode()).timestamp() if found else None
    except ValueError:
        return None


def build_ids(identity: Identity | None, user_data: UserData, fallback: str) -> dict[str, str]:
    """Return ``anonymousId`` and ``userId``, of which a message needs one.

    An empty one is left out: Segment's Meta destination would take an empty ``userId`` as an id.
    Without an identity the anonymous id is the external id of ``user_data``, else ``fallback``.
    """
    if identity is None or not (identity.anonymous_id or identity.user_id):
        return {"anonymousId": next(iter(user_data.external_id), fallback)}
    known = {"anonymousId": identity.anonymous_id, "userId": identity.user_id}
    return {key: value for key, value in known.items() if value}


def build_traits(user_data: UserData) -> dict[str, Any]:
    """Return the person's traits, each value a SHA-256 digest."""
    traits = _spell(user_data, TRAITS)
    if address := _spell(user_data, ADDRESS):
        traits["address"] = address
    return traits


def read_traits(
    traits: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Return the personal ``traits`` under Meta's keys, the others, and what is in neither.

    The last are the names of personal traits that Meta takes no digest of.
    """
    rest = dict(traits)
    left_out = [key for key in traits if key in _UNHASHED and traits[key] not in (None, "")]
    for key in _UNHASHED:
        rest.pop(key, None)
    address = rest.pop("address", None)
    parts = dict(address) if isinstance(address, Mapping) else {}
    person: dict[str, Any] = {}
    for names, source in ((TRAITS | _READ_TRAITS, rest), (ADDRESS | _READ_ADDRESS, parts)):
        for key, spellings in names.items():
            for name in spellings:
                if (value := source.pop(name, None)) not in (None, ""):
                    person[key] = value
    left_out += [_name_part(key) for key in parts if parts[key] not in (None, "")]
    if address not in (None, "") and not isinstance(address, Mapping):
        left_out.append("address")
    return person, rest, left_out


def _name_part(key: object) -> str:
    # A key may itself be somebody's data.
    return f"address.{key}" if isinstance(key, str) and key.isidentifier() else "address.<key>"


def _spell(user_data: UserData, names: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    spelled: dict[str, Any] = {}
    for key, theirs in names.items():
        if digests := getattr(user_data, key):
            spelled |= dict.fromkeys(theirs, digests[0])
    return spelled


def build_context(
    user_data: UserData,
    page_url: str | None,
    referrer_url: str | None = None,
    data_use: DataUse | None = None,
) -> dict[str, Any]:
    """Return ``context``: where an event happened, and the identifiers of the browser.

    ``direct`` is never set: with it Segment takes the address of its caller, which is this server.
    """
    known: dict[str, Any] = {
        "channel": "server",
        "ip": user_data.client_ip_address,
        "userAgent": user_data.client_user_agent,
        **build_browser_ids(user_data),
        "page": _build_page(page_url, referrer_url),
        "traits": build_traits(user_data),
        # Where RudderStack looks for it.
        "dataProcessingOptions": data_use and [*data_use],
    }
    return {key: value for key, value in known.items() if value}


def complete_page(given: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``context.page`` of a message that has one, completed from the ``known`` page.

    Only if it is the same page; another one is completed from its own address.
    """
    if (url := given.get("url", known.get("url"))) == known.get("url"):
        return {**known, **given}
    return {**(_split_page(url) if isinstance(url, str) else {}), **given}


def _build_page(page_url: str | None, referrer_url: str | None) -> dict[str, str]:
    if page_url is None:
        return {}
    return _split_page(page_url) | ({"referrer": referrer_url} if referrer_url else {})


def _split_page(url: str) -> dict[str, str]:
    address, _, query = url.partition("#")[0].partition("?")
    path = address.partition("://")[2].partition("/")[2]
    return {"url": url, "path": f"/{path}", "search": f"?{query}" if query else ""}


def build_browser_ids(user_data: UserData) -> dict[str, str]:
    """Return the browser id and the click id, if there are any."""
    known = {"fbp": user_data.fbp, "fbc": user_data.fbc}
    return {key: value for key, value in known.items() if value is not None}


def build_message(
    event: Event,
    name: str,
    properties: Mapping[str, Any],
    identity: Identity | None,
    message_id: str,
) -> dict[str, Any]:
    """Return ``event`` as a track message, or as a page message if it is a PageView.

    ``name`` and ``properties`` are Segment's words for it. ``message_id`` differs from the event's
    id: Segment drops a message that repeats one.
    """
    user_data = event.user_data
    context = build_context(
        user_data, event.event_source_url, event.referrer_url, read_data_use(event)
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
            **build_browser_ids(user_data),
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
    """Return a message that joins the anonymous id, the user id and hashed traits."""
    seen = UserData(
        client_ip_address=identity.client_ip,
        client_user_agent=identity.user_agent,
        fbp=identity.fbp,
        fbc=identity.fbc,
    )
    return {
        "type": "identify",
        "messageId": message_id,
        "timestamp": format_time(now),
        **build_ids(identity, user_data, message_id),
        "traits": build_traits(user_data),
        "context": build_context(user_data.over(seen), None),
    }


def build_alias(identity: Identity, message_id: str, now: float) -> dict[str, Any]:
    """Return a message that joins a user id with the anonymous id used until now."""
    return {
        "type": "alias",
        "messageId": message_id,
        "timestamp": format_time(now),
        "previousId": identity.anonymous_id,
        "userId": identity.user_id,
        "context": {"channel": "server"},
    }


def encode_message(message: Mapping[str, Any]) -> bytes:
    """Return ``message`` as JSON.

    Raises:
        InvalidEventError: It is larger than Segment takes.
    """
    body = msgspec.json.encode(message)
    if len(body) > MAX_MESSAGE:
        raise InvalidEventError(
            "event",
            f"expected at most {MAX_MESSAGE:,} bytes as Segment's message, got {len(body):,};"
            " shorten its texts or lists",
        )
    return body
