"""What the script reads: settings and twins, as the values of cookies that JavaScript sees.

Nothing in them is trusted when it comes back.
"""

from __future__ import annotations

import binascii
import hashlib
import json
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import msgspec

from bridge.browser.words import ConsentState
from bridge.destinations.base import ServerCopy
from bridge.events.event import Event

TWIN_COOKIE_PREFIX = b"_bridge_t_"
REMEMBERED = 4096  # visitors whose settings are not encoded anew
TWIN_MAX_AGE = 3600  # seconds; a page without the script may stand in between, a payment's say
MAX_TWIN_LENGTH = 1000  # characters of one twin's cookie value
TWIN_FRAME = 25  # characters of a twin's cookie beside its value
MAX_HIT_LENGTH = 2048  # characters; a longer one dies when the visitor leaves the page
MAX_ASKED_LENGTH = 16_384  # bytes of custom data that the script is given when it asks
MAX_TWINS_LENGTH = 2500  # characters of all that wait in one browser: servers limit headers to 8 KB

_TWIN_COOKIE = re.compile(rb"%b[0-9a-f]{12}" % TWIN_COOKIE_PREFIX)


class PageSettings(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the script must know, in the readable cookie or from the identity endpoint.

    Attributes:
        external_id: SHA-256 hex the pixel is initialised with; none without consent.
        pixel_ids: The pixels to initialise.
        domain: Domain of our cookies, so that the script can delete a twin's; none if host-only.
        consent: What may be done; the script does nothing while it is pending or denied.
    """

    external_id: str | None = msgspec.field(name="x", default=None)
    pixel_ids: tuple[str, ...] = msgspec.field(name="p", default=())
    domain: str | None = msgspec.field(name="d", default=None)
    consent: ConsentState = msgspec.field(name="c", default="granted")


class SettingsWriter:
    """Writes what the script must know of a known visitor's pages.

    A session changes with each page, this rarely: so it is encoded once for each visitor.

    Args:
        pixel_ids: The pixels to initialise.
    """

    def __init__(self, pixel_ids: tuple[str, ...]) -> None:
        self._pixel_ids = pixel_ids
        self._encoded = lru_cache(REMEMBERED)(self._encode)

    def build(self, external_id: str, domain: str | None, consent: ConsentState) -> PageSettings:
        """Return it, for the identity endpoint."""
        return PageSettings(
            external_id=external_id, pixel_ids=self._pixel_ids, domain=domain, consent=consent
        )

    def encode(self, external_id: str, domain: str | None, consent: ConsentState) -> bytes:
        """Return it as the readable cookie's value."""
        return self._encoded(external_id, domain, consent)

    def _encode(self, external_id: str, domain: str | None, consent: ConsentState) -> bytes:
        return encode_readable(self.build(external_id, domain, consent)).encode()


class Twin(msgspec.Struct, frozen=True, omit_defaults=True):
    """The browser copy of a server-born event, on its way to the script.

    Attributes:
        event_name: As in the server copy.
        event_id: As in the server copy.
        custom_data: The server copy's; missing if too large to travel: the script asks for it.
    """

    event_name: str = msgspec.field(name="n")
    event_id: str = msgspec.field(name="i")
    custom_data: dict[str, Any] | None = msgspec.field(name="d", default=None)

    @property
    def cookie(self) -> str:
        """A cookie name of its own: responses in flight together never overwrite each other."""
        key = f"{self.event_name} {self.event_id}"
        return TWIN_COOKIE_PREFIX.decode() + hashlib.sha256(key.encode()).hexdigest()[:12]


def is_twin_cookie(name: bytes) -> bool:
    """Return whether ``name`` is one that we give to twins' cookies."""
    return _TWIN_COOKIE.fullmatch(name) is not None


def build_twins(event: Event) -> list[Twin]:
    """Return the twin of ``event`` as it may travel, the complete one first.

    The other leaves the custom data behind; one that is too long for a cookie is missing.
    """
    name, event_id = event.event_name, event.event_id
    twins = [Twin(name, event_id, event.custom_data), Twin(name, event_id)]
    return [twin for twin in twins if len(encode_readable(twin)) <= MAX_TWIN_LENGTH]


def read_twin(copy: ServerCopy, external_ids: Iterable[str]) -> Twin | None:
    """Return the twin of a server copy, or ``None`` if that is somebody else's.

    Args:
        copy: What is stored.
        external_ids: The visitor's; one of them must stand in it.
    """
    if set(external_ids).isdisjoint(copy.external_ids):
        return None
    return Twin(copy.event_name, copy.event_id, _shorten(copy.custom_data))


def _shorten(custom_data: dict[str, Any]) -> dict[str, Any]:
    """Return what of ``custom_data`` a hit may hold: no single value longer than a whole hit."""
    kept, room = {}, MAX_ASKED_LENGTH
    for key, value in custom_data.items():
        length = len(key) + len(msgspec.json.encode(value))
        if length <= min(room, MAX_HIT_LENGTH):
            kept[key] = value
            room -= length
    return kept


def encode_readable(value: Twin | PageSettings) -> str:
    """Return ``value`` as base64, without padding, of its JSON in ASCII: what ``atob`` reads."""
    text = msgspec.json.encode(value)
    if not text.isascii():
        text = json.dumps(msgspec.json.decode(text), separators=(",", ":")).encode()
    return binascii.b2a_base64(text, newline=False).rstrip(b"=").decode()
