"""What the script reads: settings and twins, as the values of cookies that JavaScript sees.

Nothing in them is trusted when it comes back.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec

from bridge.consent import State
from bridge.cookies import TWIN_COOKIE_PREFIX, encode_base64url
from bridge.events import Event

TWIN_MAX_AGE = 3600  # seconds; a page without the script may stand in between, a payment's say
MAX_TWIN_LENGTH = 1000  # characters of one twin's cookie value
TWIN_FRAME = 25  # characters of a twin's cookie beside its value
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
    consent: State = msgspec.field(name="c", default="granted")


class Twin(msgspec.Struct, frozen=True):
    """The browser copy of a server-born event, on its way to the script.

    Attributes:
        event_name: As in the server copy.
        event_id: As in the server copy.
        custom_data: The server copy's, or what of it is short enough to travel.
    """

    event_name: str = msgspec.field(name="n")
    event_id: str = msgspec.field(name="i")
    custom_data: dict[str, Any] = msgspec.field(name="d")

    @property
    def cookie(self) -> str:
        """A cookie name of its own: responses in flight together never overwrite each other."""
        key = f"{self.event_name} {self.event_id}"
        return TWIN_COOKIE_PREFIX.decode() + hashlib.sha256(key.encode()).hexdigest()[:12]


def is_twin_cookie(name: bytes) -> bool:
    """Return whether ``name`` is one that we give to twins' cookies."""
    return _TWIN_COOKIE.fullmatch(name) is not None


def build_twin(event: Event) -> Twin | None:
    """Return the twin of ``event``, or ``None`` if not even its value fits a cookie."""
    short = {key: v for key, v in event.custom_data.items() if key != "contents"}
    money = {key: v for key, v in short.items() if key in ("value", "currency")}
    for custom_data in (event.custom_data, short, money):
        twin = Twin(event.event_name, event.event_id, custom_data)
        if len(encode_readable(twin)) <= MAX_TWIN_LENGTH:
            return twin
    return None


def encode_readable(value: Twin | PageSettings) -> str:
    """Return ``value`` as URL-safe base64 of its JSON."""
    return encode_base64url(msgspec.json.encode(value)).decode()
