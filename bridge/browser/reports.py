"""What the script reports: the bodies of collect and consent, read from JSON and bounded.

They name nobody whom the server would take for its visitor: that is read from the signed session
alone. What they say of a pixel's own ids goes into that event, and no further.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec

from bridge.browser.words import ConsentChoice, CopyState
from bridge.errors import ConfigError, InvalidEventError
from bridge.events.event import STANDARD_EVENTS, is_event_name

MAX_BODY = 65_536  # bytes; browsers allow as much in all keepalive requests together
MAX_EVENTS = 50  # in one request, and as many acknowledgements
MAX_AGE_MS = 48 * 3600 * 1000  # the script keeps an unsent event this long
EVERY_NAME = "*"

# An escape in JSON; the group holds half a surrogate pair that stands alone.
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)

_Body = TypeVar("_Body")


class BrowserEvent(msgspec.Struct, forbid_unknown_fields=True):
    """An event born in the browser, whose browser copy was already fired.

    Attributes:
        age_ms: Milliseconds since it happened. A browser's time of day may be wrong.
        state: What became of the browser copy.
        pixel_id: The one pixel that got it, of several.
        external_id: Ours, as the pixel had it: after a login or a logout it is another.
        user_data: The pixel's advanced matching, if the page gave it any: hashed by Meta's keys.
        data_processing_options: What the page told the pixel: the option, country and state.
        no_cookies: Whether the page told the pixel to use none.
    """

    event_name: str
    event_id: str
    custom_data: dict[str, Any] = {}
    url: str | None = None
    referrer: str | None = None
    age_ms: int = 0
    state: CopyState | None = None
    pixel_id: str | None = None
    external_id: str | None = None
    user_data: dict[str, Any] = {}
    data_processing_options: tuple[Literal["LDU"], Literal[0, 1], Literal[0, 1000]] | None = None
    no_cookies: bool = False


class Ack(msgspec.Struct, forbid_unknown_fields=True):
    """What became of the browser copy of a server-born event."""

    event_name: str
    event_id: str
    state: CopyState


class Choice(msgspec.Struct, forbid_unknown_fields=True):
    """The body of consent: the visitor's choice, and the page on which the visit began.

    ``revoked`` is no choice: the page told the pixel so, and may grant it again.
    """

    state: ConsentChoice | Literal["revoked"]
    url: str | None = None
    referrer: str | None = None


class Report(msgspec.Struct, forbid_unknown_fields=True):
    """The body of collect."""

    events: list[msgspec.Raw] = []
    acks: list[Ack] = []


class Refusal(NamedTuple):
    """An event that will never be stored; the script may forget it."""

    event_id: str
    reason: str


class _EventId(msgspec.Struct):
    event_id: str = ""


class EventNames:
    """The names that a browser may report.

    Args:
        custom: Names beside Meta's standard events; ``*`` for all names.

    Raises:
        ConfigError: One of them cannot be the name of an event.
    """

    def __init__(self, custom: str | Iterable[str]) -> None:
        listed = [custom] if isinstance(custom, str) else list(custom)
        for name in listed:
            if not is_event_name(name):
                raise ConfigError(
                    f"custom_events must be names of 1 to 100 characters, got {name!r}"
                )
        self._allows_all = EVERY_NAME in listed
        self._known = STANDARD_EVENTS.union(listed)

    def check(self, name: str) -> None:
        """Check that a name is standard or configured.

        Raises:
            InvalidEventError: It is neither.
        """
        if not self._allows_all and name not in self._known:
            raise InvalidEventError(
                "event_name", "neither a standard event nor one of the server's custom_events"
            )


def decode_body(body: bytes, kind: type[_Body]) -> _Body:
    """Return ``body`` as ``kind``.

    A text that a page cut in the middle of an emoji ends in half a surrogate pair. JavaScript
    writes that as an escape, for which msgspec refuses the whole body: it becomes U+FFFD.

    Raises:
        msgspec.MsgspecError, RecursionError: It is malformed.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        repaired = _ESCAPE.sub(lambda found: rb"\ufffd" if found[1] else found[0], body)
        return msgspec.json.decode(repaired, type=kind)


def decode_events(raws: list[msgspec.Raw]) -> tuple[list[BrowserEvent], list[Refusal]]:
    """Return the well-formed events, and refusals of the others."""
    events: list[BrowserEvent] = []
    refusals: list[Refusal] = []
    for raw in raws:
        try:
            event = msgspec.json.decode(raw, type=BrowserEvent)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            refusals.append(Refusal(_read_id(raw), str(error)[:200]))
        else:
            events.append(event)
    return events, refusals


def _read_id(raw: msgspec.Raw) -> str:
    """Return the id of a malformed event, uncut, so that the script can find the event."""
    try:
        return msgspec.json.decode(raw, type=_EventId).event_id
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return ""
