"""What the script reads: settings and twins, as the values of cookies that JavaScript sees.

The server trusts none of it when it comes back.
"""

from __future__ import annotations

import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from bridge.browser.words import ConsentState
from bridge.events.event import Event

TWIN_COOKIE_PREFIX = b"_bridge_t_"
TWIN_MAX_AGE = 3600  # seconds; a page without the script, such as a payment's, may come in between
TWIN_FRAME = 25  # characters of a twin's cookie beside its value
MAX_TWIN_LENGTH = 1200  # characters of one twin's cookie value
MAX_TWINS_LENGTH = 2500  # characters of all twins in one browser: servers limit headers to 8 KB

# As in static/bridge.js, where the reasons are.
HIT_ROOM = 800  # URL-encoded characters
KEPT_FIRST = ("value", "currency", "content_ids", "content_type", "order_id")

_TWIN_COOKIE = re.compile(rb"%b[0-9a-f]{12}" % TWIN_COOKIE_PREFIX)
# What JavaScript's encodeURIComponent leaves as it is.
_UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.!~*'()"


class PageSettings(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the script must know, in the readable cookie or from the identity endpoint.

    Attributes:
        external_id: SHA-256 hex for the pixel's init; ``None`` without consent.
        domain: Domain of our cookies, for the script to delete a twin's; ``None`` if host-only.
        consent: What may be done; the script does nothing while it is pending or denied.
    """

    external_id: str | None = msgspec.field(name="x", default=None)
    domain: str | None = msgspec.field(name="d", default=None)
    consent: ConsentState = msgspec.field(name="c", default="granted")


def encode_settings(external_id: str, domain: str | None, consent: ConsentState) -> bytes:
    """Return a visitor's settings as the readable cookie's value."""
    settings = PageSettings(external_id=external_id, domain=domain, consent=consent)
    return encode_readable(settings).encode()


class Twin(msgspec.Struct, frozen=True, omit_defaults=True):
    """The browser copy of a server-born event, on its way to the script.

    Attributes:
        event_name: As in the server copy.
        event_id: As in the server copy.
        custom_data: The server copy's, trimmed to what fits one hit of the pixel.
        question: If the event may not be stored in the end, what the script asks before it fires;
            signed, so that nobody else can ask.
    """

    event_name: str = msgspec.field(name="n")
    event_id: str = msgspec.field(name="i")
    custom_data: dict[str, Any] = msgspec.field(name="d", default_factory=dict)
    question: str = msgspec.field(name="u", default="")

    @property
    def cookie(self) -> str:
        """A cookie name of its own: simultaneous responses never overwrite each other's twins."""
        key = f"{self.event_name} {self.event_id}"
        return TWIN_COOKIE_PREFIX.decode() + hashlib.sha256(key.encode()).hexdigest()[:12]


def is_twin_cookie(name: bytes) -> bool:
    """Return whether ``name`` is one that we give to twins' cookies."""
    return _TWIN_COOKIE.fullmatch(name) is not None


def build_twin(event: Event, room: int, question: str = "") -> Twin | None:
    """Return the twin of ``event``, or ``None`` if not even its name and id fit a cookie.

    Args:
        event: The server copy.
        room: Characters that are left for the cookie's value in this browser.
        question: As in ``Twin``.
    """
    room = min(room, MAX_TWIN_LENGTH)
    bare = Twin(event.event_name, event.event_id, question=question)
    # Four characters of base64 hold three of JSON; a key takes fewer there than in a hit.
    data_room = room * 3 // 4 - len(_encode_ascii(bare)) - len(',"d":{}')
    trimmed = trim(event.custom_data, min(data_room, HIT_ROOM))
    twin = msgspec.structs.replace(bare, custom_data=trimmed)
    return twin if len(encode_readable(twin)) <= room else None


def trim(custom_data: Mapping[str, Any], room: int) -> dict[str, Any]:
    """Return what fits into ``room`` URL-encoded characters, the most useful first.

    This is ``trim`` of static/bridge.js, which trims once more to the room that the addresses of
    the page leave; a test compares the two.
    """
    kept: dict[str, Any] = {}
    for key in dict.fromkeys((*KEPT_FIRST, *custom_data)):
        value = custom_data.get(key)
        if value is None:
            continue
        text = f"&cd[{key}]=".encode() + msgspec.json.encode(_shorten_numbers(value))
        length = len(text) + 2 * len(text.translate(None, _UNRESERVED))
        if length <= room:
            kept[key] = value
            room -= length
    return kept


def _shorten_numbers(value: Any) -> Any:
    """Return ``value`` with 5.0 as 5: so JavaScript writes it."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _shorten_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_shorten_numbers(item) for item in value]
    return value


def encode_readable(value: Twin | PageSettings) -> str:
    """Return ``value`` as base64, without padding, of its JSON in ASCII: what ``atob`` reads."""
    return binascii.b2a_base64(_encode_ascii(value), newline=False).rstrip(b"=").decode()


def _encode_ascii(value: Twin | PageSettings) -> bytes:
    text = msgspec.json.encode(value)
    if text.isascii():
        return text
    return json.dumps(msgspec.json.decode(text), separators=(",", ":")).encode()
