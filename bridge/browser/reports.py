"""What the script reports: the bodies of collect and consent, read from JSON and bounded.

Nothing that stands in them is an identifier: keys that are not expected are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar

import msgspec

from bridge.browser.words import ConsentChoice, CopyState
from bridge.errors import ConfigError, InvalidEventError
from bridge.events.event import STANDARD_EVENTS, is_event_name
from bridge.events.properties import check_properties, copy_plain, read_numbers

MAX_BODY = 65_536  # bytes; what browsers allow all keepalive requests in flight together
MAX_EVENTS = 50  # of one request, and as many acknowledgements
MAX_AGE_MS = 48 * 3600 * 1000  # how long the script keeps an event it could not send
MAX_NUMBER = 2**53  # beyond it JavaScript itself is not exact
EVERY_NAME = "*"

# An escape of JSON; in a group by itself half a surrogate pair.
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)

_Body = TypeVar("_Body")


class BrowserEvent(msgspec.Struct, forbid_unknown_fields=True):
    """An event born in the browser; its browser copy is fired already.

    Attributes:
        age_ms: Since it happened, by the browser's clock; its time of day is not trusted.
        state: What became of the browser copy.
    """

    event_name: str
    event_id: str
    custom_data: dict[str, Any] = {}
    url: str | None = None
    referrer: str | None = None
    age_ms: int = 0
    state: CopyState | None = None


class Ack(msgspec.Struct, forbid_unknown_fields=True):
    """What became of the browser copy of a server-born event."""

    event_name: str
    event_id: str
    state: CopyState


class Chosen(msgspec.Struct, forbid_unknown_fields=True):
    """The body of consent: the visitor's choice, and where the visitor landed before it."""

    state: ConsentChoice
    url: str | None = None
    referrer: str | None = None


class Report(msgspec.Struct, forbid_unknown_fields=True):
    """The body of collect."""

    events: list[msgspec.Raw] = []
    acks: list[Ack] = []


class Refusal(NamedTuple):
    """An event that is not stored, whatever happens; the script may forget it."""

    event_id: str
    reason: str


class _Named(msgspec.Struct):
    event_id: str = ""


class EventNames:
    """The names that a browser may report.

    Args:
        custom: Beside Meta's standard events; ``*`` for every name that can be one.

    Raises:
        ConfigError: One of them can be no event's name.
    """

    def __init__(self, custom: str | Iterable[str]) -> None:
        listed = [custom] if isinstance(custom, str) else list(custom)
        for name in listed:
            if not is_event_name(name):
                raise ConfigError(f"custom_events must be names of 1 to 100 characters: {name!r}")
        self._is_open = EVERY_NAME in listed
        self._known = STANDARD_EVENTS.union(listed)

    def check(self, name: str) -> None:
        """Refuse a name that is neither standard nor configured.

        Raises:
            InvalidEventError: It is neither.
        """
        if not self._is_open and name not in self._known:
            raise InvalidEventError(
                "event_name", "neither a standard event nor one of the server's custom_events"
            )


def decode_body(body: bytes, kind: type[_Body]) -> _Body:
    """Return ``body`` as ``kind``.

    A text that a page cut amid an emoji ends in half a surrogate pair, which JavaScript writes as
    an escape and msgspec refuses, with the whole body: it becomes U+FFFD.

    Raises:
        msgspec.MsgspecError, RecursionError: It is none.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        mended = _ESCAPE.sub(lambda found: rb"\ufffd" if found[1] else found[0], body)
        return msgspec.json.decode(mended, type=kind)


def decode_events(raws: list[msgspec.Raw]) -> tuple[list[BrowserEvent], list[Refusal]]:
    """Return the events, and why others are none: one malformed event costs no other."""
    events: list[BrowserEvent] = []
    refusals: list[Refusal] = []
    for raw in raws:
        try:
            event = msgspec.json.decode(raw, type=BrowserEvent)
            _check_numbers(event.custom_data)
        except InvalidEventError as error:
            refusals.append(Refusal(_read_id(raw), str(error)))
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            refusals.append(Refusal(_read_id(raw), str(error)[:200]))
        else:
            events.append(event)
    return events, refusals


def _read_id(raw: msgspec.Raw) -> str:
    """Return the id of a malformed event, whole: the script knows by it which one it was."""
    try:
        return msgspec.json.decode(raw, type=_Named).event_id
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return ""


def _check_numbers(value: object, path: str = "custom_data") -> None:
    """Refuse numbers no page means: Meta would add them up."""
    if isinstance(value, int | float) and not -MAX_NUMBER <= value <= MAX_NUMBER:
        raise InvalidEventError(path, "expected a number up to 2^53")
    if isinstance(value, dict):
        for key, item in value.items():
            _check_numbers(item, f"{path}.{key[:40]}")
    elif isinstance(value, list):
        for item in value:
            _check_numbers(item, path)


def fit_properties(given: dict[str, Any], *, is_purchase: bool) -> dict[str, Any]:
    """Return what Meta's API takes of properties that a page wrote for the pixel, which takes all.

    A number as text becomes one. What is of a wrong kind, and a value without a currency, is left
    out: the server copy without it is better than none. A purchase has none without its value.

    Raises:
        InvalidEventError: What is wrong with a purchase's value.

    Source: Meta answers 2804023 to a ``value`` without ``currency``, and refuses the whole batch.
    """
    fitted: dict[str, Any] = {}
    for key, told in given.items():
        beside = {"currency": given.get("currency")} if key == "value" else {}
        try:
            one = copy_plain({**beside, key: told}, "custom_data")
            read_numbers(one, "custom_data", is_spec=False)
            check_properties(one, is_purchase=False)
        except InvalidEventError:
            if is_purchase and key == "value":
                raise
            continue
        fitted[key] = one[key]
    return fitted
