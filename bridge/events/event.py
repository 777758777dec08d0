"""An event: what happened, as Meta's server event, decoded and validated.

Meta's model is the one all others are mapped from: ``Event`` has exactly the keys of one object in
the Conversions API's ``data`` list, so that what is validated here is what is sent.

Source: Meta, "Server Event Parameters", "Customer Information Parameters" and "Standard
Parameters", read 2026-11-23.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any, Literal, get_args

import msgspec

from bridge.errors import InvalidEventError
from bridge.events.personal_values import NONE, PARTS, find_personal_id
from bridge.lazy import frozen_lazy

DAY = 86_400  # seconds
MAX_AGE = 7 * DAY  # "event_time can be up to 7 days before you send an event"
MAX_AGE_PHYSICAL_STORE = 62 * DAY
MAX_AHEAD = 60  # seconds; Meta refuses the future and publishes no tolerance
MAX_NAME_LENGTH = 100  # characters; Meta publishes no limit
MAX_NUMBER = 10**200  # of an id; Python writes no number of more than 4300 digits
MAX_BYTES = 262_144  # of an event as JSON; Meta publishes no limit, a thousand travel together

ActionSource = Literal[
    "email",
    "website",
    "app",
    "phone_call",
    "chat",
    "physical_store",
    "system_generated",
    "business_messaging",
    "other",
]

ACTION_SOURCES: tuple[str, ...] = get_args(ActionSource)

STANDARD_EVENTS = frozenset(
    """
    AddPaymentInfo AddToCart AddToWishlist CompleteRegistration Contact CustomizeProduct Donate
    FindLocation InitiateCheckout Lead PageView Purchase Schedule Search StartTrial
    SubmitApplication Subscribe ViewContent
    """.split()
)

URL_KEYS = ("event_source_url", "referrer_url")

Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]

Outcome = Literal["stored", "spooled", "duplicate", "skipped", "lost", "invalid"]

_encode = msgspec.json.Encoder().encode
_SOURCES = frozenset(ACTION_SOURCES)
_STANDARD_LOWER = {name.lower(): name for name in STANDARD_EVENTS}

_NAME = re.compile(rf"[^\x00-\x1f\x7f\ud800-\udfff]{{1,{MAX_NAME_LENGTH}}}")
_ID = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,200}")
# What most ids are like, and nobody's whatever their digits: UUIDs, and numbers of up to 11 digits,
# also with letters before them.
_PLAIN_ID = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    r"|(?:[A-Za-z][A-Za-z_-]{0,20})?[1-9][0-9]{0,10}"
)
_UNIX = re.compile(r"[0-9]{1,15}(?:\.0*)?")
_WORDS = re.compile(r"[^\W\d_]{2,}[,;.]?[ \t\xa0]+[^\W\d_]{2,}")  # two, as no id has them
_URL = re.compile(r"https?://[^\x00-\x20\x7f\ud800-\udfff]{1,4096}")


class UserData(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """Who did it: Meta's ``user_data``, with every personal value already hashed.

    Attributes:
        em, ph, fn, ln, db, ge, ct, st, zp, country: SHA-256 hex digests of the normalised value.
        external_id: SHA-256 hex digests of the site's own ids, the pixel's first.
        client_ip_address: One public IPv4 or IPv6 address, as text.
        client_user_agent: The ``User-Agent`` header.
        fbc, fbp: Cookie values, byte for byte.
        f5first, f5last, fi, dobd, dobm, doby: Digests of parts of names and birth dates.

    Source: Meta, "Customer Information Parameters"; key list in its Python SDK's ``UserData``.
    """

    em: list[str] = []
    ph: list[str] = []
    fn: list[str] = []
    ln: list[str] = []
    db: list[str] = []
    ge: list[str] = []
    ct: list[str] = []
    st: list[str] = []
    zp: list[str] = []
    country: list[str] = []
    external_id: list[str] = []
    f5first: list[str] = []
    f5last: list[str] = []
    fi: list[str] = []
    dobd: list[str] = []
    dobm: list[str] = []
    doby: list[str] = []
    client_ip_address: str | None = None
    client_user_agent: str | None = None
    fbc: str | None = None
    fbp: str | None = None
    subscription_id: str | None = None
    fb_login_id: int | str | None = None
    lead_id: int | str | None = None
    anon_id: str | None = None
    madid: str | None = None
    page_id: str | None = None
    page_scoped_user_id: str | None = None
    ctwa_clid: str | None = None
    ig_account_id: str | None = None
    ig_sid: str | None = None
    whatsapp_business_account_id: str | None = None

    def over(self, base: UserData) -> UserData:
        """Return these values, with ``base`` for every key not set here."""
        return UserData(**{**base.to_dict(), **self.to_dict()})

    def to_dict(self) -> dict[str, Any]:
        """Return what is set, by key."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return values

    def __repr__(self) -> str:
        keys = [key for key in self.__struct_fields__ if getattr(self, key)]
        return f"UserData({', '.join(keys)})"


class Event(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    dict=True,
):
    """What happened: one object of the Conversions API's ``data`` list.

    Attributes:
        event_name: A standard event's name or a custom one.
        event_time: When it happened, Unix seconds.
        event_id: The id that both copies share.
        action_source: Where it happened.
        user_data: Who did it.
        custom_data: What it was about: value, currency, contents and the like.
        event_source_url: The page it happened on.
        referrer_url: The page before that one.

    Source: Meta, "Server Event Parameters", read 2026-11-23.
    """

    event_name: str
    event_time: Whole
    event_id: str
    action_source: ActionSource
    user_data: UserData = UserData()
    custom_data: dict[str, Any] = {}
    event_source_url: str | None = None
    referrer_url: str | None = None
    opt_out: bool | None = None
    data_processing_options: list[str] | None = None
    data_processing_options_country: Whole | None = None
    data_processing_options_state: Whole | None = None
    app_data: dict[str, Any] | None = None
    messaging_channel: str | None = None
    original_event_data: dict[str, Any] | None = None
    attribution_data: dict[str, Any] | None = None
    customer_segmentation: str | None = None
    advanced_measurement_table: str | None = None

    @frozen_lazy
    def encoded(self) -> bytes:
        """The event as Meta takes it, as JSON: what is measured here is what is stored."""
        return _encode(self)

    @property
    def outcome(self) -> Outcome | None:
        """What ``track`` did with it; ``None`` for an event that was not tracked."""
        outcome: Outcome | None = self.__dict__.get("outcome")
        return outcome

    @property
    def skip_reason(self) -> str | None:
        """Why it was skipped, as in ``Visitor.skip_reason``, or what is invalid; else ``None``."""
        reason: str | None = self.__dict__.get("skip_reason")
        return reason

    def settle(self, outcome: Outcome, skip_reason: str | None = None) -> None:
        """Note what became of the event; this is not sent."""
        self.__dict__.update(outcome=outcome, skip_reason=skip_reason)

    @property
    def expires(self) -> int:
        """When Meta stops accepting it, Unix seconds."""
        store = self.action_source == "physical_store"
        return self.event_time + (MAX_AGE_PHYSICAL_STORE if store else MAX_AGE)

    def __repr__(self) -> str:
        return f"Event({self.event_name!r}, event_id={self.event_id!r})"


def is_event_name(name: object) -> bool:
    """Return whether ``name`` can name an event: 1 to 100 characters, no control characters."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def is_event_id(event_id: object) -> bool:
    """Return whether ``event_id`` can be an id: 1 to 200 characters, no control characters."""
    return isinstance(event_id, str) and _ID.fullmatch(event_id) is not None


def escape_unprintable(text: str) -> str:
    """Return ``text`` for a log, with escapes for what is invisible or reverses a line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def parse_event(fields: Mapping[str, Any], user_data: UserData, *, now: float) -> Event:
    """Return the event that ``fields`` describe, checked as Meta checks it.

    They are what ``EventReader`` has read; for ``event_time`` see ``read_time``.

    Raises:
        InvalidEventError: Meta would refuse it; the message names the field.
    """
    event = _build_usual(fields, user_data, now)
    if event is not None:
        return event
    checked = {**fields, "user_data": user_data}
    if type(checked.get("event_time", 0)) is not int:
        checked["event_time"] = read_time(checked["event_time"])
    if "event_id" in checked:
        checked["event_id"] = read_event_id(checked["event_id"])
    try:
        event = msgspec.convert(checked, Event)
    except msgspec.ValidationError as error:
        raise _invalid(error) from None
    except UnicodeEncodeError:  # in a key that Meta does not define
        raise InvalidEventError("event", "a key holds half a surrogate pair") from None
    try:
        _check(event, now)
    except TypeError:  # a text of a framework's own kind, such as Markup, is not encoded
        event = msgspec.convert({key: _to_plain_text(checked[key]) for key in checked}, Event)
        _check(event, now)
    return event


def _build_usual(fields: Mapping[str, Any], user_data: UserData, now: float) -> Event | None:
    """Return the event of ``fields`` if nothing in it needs a closer look, as in most events.

    All that is checked elsewhere holds for it.
    """
    try:
        name, event_time = fields["event_name"], fields["event_time"]
        event_id, source = fields["event_id"], fields["action_source"]
        page_url, referrer_url = fields.get("event_source_url"), fields.get("referrer_url")
        if not (
            len(fields) == 5 + (page_url is not None) + (referrer_url is not None)
            and type(name) is str
            and name in STANDARD_EVENTS
            and type(event_time) is int
            and now - MAX_AGE <= event_time <= now
            and type(event_id) is str
            and _PLAIN_ID.fullmatch(event_id)
            and type(source) is str
            and source in _SOURCES
            and (page_url is None or (type(page_url) is str and _URL.fullmatch(page_url)))
            and (
                referrer_url is None or (type(referrer_url) is str and _URL.fullmatch(referrer_url))
            )
        ):
            return None
        event = Event(
            event_name=name,
            event_time=event_time,
            event_id=event_id,
            action_source=source,  # type: ignore[arg-type]
            user_data=user_data,
            custom_data=fields["custom_data"],
            event_source_url=page_url,
            referrer_url=referrer_url,
        )
        event.__dict__["encoded"] = encoded = _encode(event)
    except (KeyError, TypeError, UnicodeEncodeError):
        return None
    return event if len(encoded) <= MAX_BYTES else None


def _to_plain_text(value: object) -> object:
    if isinstance(value, list | tuple):
        return [_to_plain_text(each) for each in value]
    return str.__str__(value) if isinstance(value, str) else value


def _invalid(error: msgspec.ValidationError) -> InvalidEventError:
    """Return msgspec's complaint with the path of the field in front."""
    reason, _, path = str(error).partition(" - at `$")
    field = path.strip("`.")
    if reason.startswith("Object contains unknown field"):
        key = reason.split("`")[1]
        field = f"{field}.{key}" if field else key
        reason = "Meta has no such key here; put your own into custom_data"
    elif reason.startswith("Object missing required field"):
        field, reason = reason.split("`")[1], "required, is missing"
    elif reason.startswith("Invalid enum value"):  # msgspec's words hold the value
        reason = f"expected one of {', '.join(ACTION_SOURCES)}"
    return InvalidEventError(field or "event", reason)


def read_time(value: object, path: str = "event_time") -> object:
    """Return a time as Unix seconds; what is neither a number, a text nor a time stays as it is.

    It may be Unix seconds, also as text, an aware datetime, or ISO 8601 with an offset.

    Raises:
        InvalidEventError: It has no zone, or is other text.
    """
    if isinstance(value, str):
        if _UNIX.fullmatch(value):
            return int(value.partition(".")[0])
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            value = datetime.min  # noqa: DTZ901 - without a zone, and refused for that
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidEventError(
                path, "expected Unix seconds, or a time with a zone such as 2026-11-23T10:00:00Z"
            )
        return int(value.timestamp())
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def read_day(now: float) -> date:
    """Return the day of ``now``, Unix seconds, in UTC: the last on which somebody was born."""
    return _count_days(int(now // DAY))


@lru_cache(2)
def _count_days(days: int) -> date:
    return date(1970, 1, 1) + timedelta(days)


def read_event_id(value: object, path: str = "event_id") -> str:
    """Return an event's id as text; an order's may be a number.

    Raises:
        InvalidEventError: It is no id, or is personal data.
    """
    if type(value) is str and _PLAIN_ID.fullmatch(value):
        return value
    text = value if type(value) is str else _spell(value)
    if isinstance(value, bool) or not is_event_id(text):
        raise InvalidEventError(
            path, "expected 1 to 200 characters of text or a number, no control characters"
        )
    refuse_personal_id(text, path)
    return text


def read_user_id(value: object, path: str = "user_id") -> str:
    """Return the app's own id of a person as text: a text, a whole number or a UUID.

    Any other object would be kept as whatever its ``str()`` is, such as a name with an address.

    Raises:
        InvalidEventError: It is no id, or is personal data.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | uuid.UUID):
        raise InvalidEventError(
            path, f"expected text, a whole number or a UUID, got {type(value).__name__}"
        )
    text = _spell(value).strip()
    if not is_event_id(text):
        raise InvalidEventError(path, "expected 1 to 200 characters, no control characters")
    if kind := find_personal_id(text) or (_WORDS.search(text) and "a name or an address"):
        raise InvalidEventError(path, f"is {kind}; pass your own id, and this as email= or phone=")
    return text


def _spell(value: object) -> str:
    """Return an id as plain text; ``""`` if it is none."""
    if isinstance(value, str):
        return str.__str__(value)
    is_short = isinstance(value, int) and abs(value) < MAX_NUMBER
    return str(value) if is_short or isinstance(value, uuid.UUID) else ""


def refuse_personal_id(text: str, path: str) -> None:
    """Refuse ``text``, a name or an id, if it holds an e-mail address, a phone number or a card."""
    if kind := find_personal_id(text, PARTS if path.endswith("_id") else NONE):
        raise InvalidEventError(path, f"is {kind}, which would be sent in the clear")


def _check(event: Event, now: float) -> None:
    name = event.event_name
    if name not in STANDARD_EVENTS:
        if not is_event_name(name):
            words = "expected 1 to 100 characters, no control characters"
            raise InvalidEventError("event_name", words)
        refuse_personal_id(name, "event_name")
        if standard := _STANDARD_LOWER.get(name.lower()):
            raise InvalidEventError("event_name", f"Meta's names are case-sensitive: {standard}?")
    _check_time(event, now)
    for key in URL_KEYS:
        url = getattr(event, key)
        if url is not None and not _URL.fullmatch(url):
            raise InvalidEventError(key, "expected an http(s) URL of at most 4096 characters")
    if event.advanced_measurement_table is not None:
        refuse_personal_id(event.advanced_measurement_table, "advanced_measurement_table")
    _check_size(event)


def _check_size(event: Event) -> None:
    """Refuse what is too large to travel with others, and what is no text at all."""
    try:
        size = len(event.encoded)
    except UnicodeEncodeError:
        raise InvalidEventError(_find_unencodable(event), "holds half a surrogate pair") from None
    if size > MAX_BYTES:
        words = f"expected at most {MAX_BYTES:,} bytes as JSON, got {size:,}; shorten its texts"
        raise InvalidEventError("event", words)


def _find_unencodable(event: Event) -> str:
    for key in event.__struct_fields__:
        try:
            msgspec.json.encode(getattr(event, key))
        except UnicodeEncodeError:
            return key
    return "event"


def check_not_ahead(seconds: float, now: float, path: str) -> None:
    """Refuse a time after ``now``, both Unix seconds.

    Raises:
        InvalidEventError: It is later, by more than clocks differ.
    """
    if seconds > now + MAX_AHEAD:
        ahead = int(seconds - now)
        raise InvalidEventError(path, f"{ahead} seconds in the future; Meta refuses it")


def _check_time(event: Event, now: float) -> None:
    if event.event_time > 100 * now:
        raise InvalidEventError(
            "event_time", f"expected Unix seconds, got {event.event_time}: milliseconds?"
        )
    check_not_ahead(event.event_time, now, "event_time")
    if event.expires < now:
        days = (event.expires - event.event_time) // DAY
        raise InvalidEventError(
            "event_time", f"older than the {days} days Meta accepts for {event.action_source}"
        )
