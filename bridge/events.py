"""An event: what happened, as Meta's server event, decoded and validated.

Meta's model is the one all others are mapped from: ``Event`` has exactly the keys of one object in
the Conversions API's ``data`` list, so that what is validated here is what is sent.

Source: Meta, "Server Event Parameters", "Customer Information Parameters" and "Standard
Parameters", read 2026-11-23.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec

from bridge.errors import InvalidEventError

DAY = 86_400  # seconds
MAX_AGE = 7 * DAY  # "event_time can be up to 7 days before you send an event"
MAX_AGE_PHYSICAL_STORE = 62 * DAY
MAX_AHEAD = 60  # seconds; Meta refuses the future and publishes no tolerance
MAX_NAME_LENGTH = 100  # characters; Meta publishes no limit
MAX_DEPTH = 8  # nesting of custom_data
MAX_KEYS = 200  # keys of one object in custom_data
MAX_ITEMS = 1000  # items of one list in custom_data
MAX_TEXT = 5000  # characters of one text in custom_data

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

STANDARD_EVENTS = frozenset(
    {
        "AddPaymentInfo",
        "AddToCart",
        "AddToWishlist",
        "CompleteRegistration",
        "Contact",
        "CustomizeProduct",
        "Donate",
        "FindLocation",
        "InitiateCheckout",
        "Lead",
        "PageView",
        "Purchase",
        "Schedule",
        "Search",
        "StartTrial",
        "SubmitApplication",
        "Subscribe",
        "ViewContent",
    }
)

_STANDARD_LOWER = {name.lower(): name for name in STANDARD_EVENTS}

DELIVERY_CATEGORIES = ("in_store", "curbside", "home_delivery")

# Keys of people, not of purchases: they would be stored and sent in the clear.
PERSONAL_KEYS = frozenset(
    {
        *("address", "birthdate", "birthday", "date_of_birth", "dob", "e_mail", "em", "email"),
        *("email_address", "first_name", "firstname", "fn", "full_name", "gender", "last_name"),
        *("lastname", "ln", "mobile", "ph", "phone", "phone_number", "street"),
    }
)

_TEXT = (str, "text")
_NUMBER = ((int, float), "a number")
_LIST = (list, "a list")

# Source: Meta, "Standard Parameters" and "Pixel Reference", Object properties, read 2026-11-23.
_PROPERTY_TYPES: dict[str, tuple[Any, str]] = {
    "content_category": _TEXT,
    "content_ids": _LIST,
    "content_name": _TEXT,
    "content_type": _TEXT,
    "contents": _LIST,
    "delivery_category": _TEXT,
    "net_revenue": _NUMBER,
    "num_items": (int, "a whole number"),
    "order_id": _TEXT,
    "predicted_ltv": _NUMBER,
    "search_string": _TEXT,
}

_NAME = re.compile(rf"[^\x00-\x1f\x7f\ud800-\udfff]{{1,{MAX_NAME_LENGTH}}}")
_ID = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,200}")
_EMAIL = re.compile(r"[^\s@]{1,64}(?:@|%40)[^\s@]{1,190}\.[^\s@]")
_CURRENCY = re.compile(r"[A-Za-z]{3}")
_URL = re.compile(r"https?://[^\x00-\x20\x7f]{1,4096}")


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
        missing = {
            key: theirs
            for key in self.__struct_fields__
            if not getattr(self, key) and (theirs := getattr(base, key))
        }
        return msgspec.structs.replace(self, **missing) if missing else self

    def __repr__(self) -> str:
        known = [key for key in self.__struct_fields__ if getattr(self, key)]
        return f"UserData({', '.join(known)})"


class Event(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """What happened: one object of the Conversions API's ``data`` list.

    Attributes:
        event_name: A standard event's name or a custom one.
        event_time: When it happened, Unix seconds.
        event_id: The twins' shared id.
        action_source: Where it happened.
        user_data: Who did it.
        custom_data: What it was about: value, currency, contents and the like.
        event_source_url: The page it happened on.
        referrer_url: The page before that one.

    Source: Meta, "Server Event Parameters", read 2026-11-23.
    """

    event_name: str
    event_time: int
    event_id: str
    action_source: ActionSource
    user_data: UserData = UserData()
    custom_data: dict[str, Any] = {}
    event_source_url: str | None = None
    referrer_url: str | None = None
    opt_out: bool | None = None
    data_processing_options: list[str] | None = None
    data_processing_options_country: int | None = None
    data_processing_options_state: int | None = None
    app_data: dict[str, Any] | None = None
    messaging_channel: str | None = None
    original_event_data: dict[str, Any] | None = None
    attribution_data: dict[str, Any] | None = None
    customer_segmentation: str | None = None
    advanced_measurement_table: str | None = None

    @property
    def expires(self) -> int:
        """When Meta stops accepting it, Unix seconds."""
        store = self.action_source == "physical_store"
        return self.event_time + (MAX_AGE_PHYSICAL_STORE if store else MAX_AGE)

    def __repr__(self) -> str:
        return f"Event({self.event_name!r}, event_id={self.event_id!r})"


def new_event_id() -> str:
    """Return a random event id, a UUID with dashes."""
    return str(uuid.uuid4())


def parse_event(fields: Mapping[str, Any], user_data: UserData, *, now: float) -> Event:
    """Return the event that ``fields`` describe, checked as Meta checks it.

    Args:
        fields: Keys of a server event, without ``user_data``. ``event_time`` may be Unix seconds
            or an aware datetime; a ``Decimal`` in ``custom_data`` becomes a number.
        user_data: Who did it, already hashed.
        now: Unix seconds.

    Raises:
        InvalidEventError: Meta would refuse it; the message names the field.
    """
    checked = {**fields, "event_time": _event_time(fields.get("event_time"))}
    if "event_id" in checked:
        checked["event_id"] = _event_id(checked["event_id"])
    for key in ("custom_data", "app_data", "original_event_data", "attribution_data"):
        if key in checked:
            if not isinstance(checked[key], Mapping):
                raise InvalidEventError(
                    key, f"expected an object, got {type(checked[key]).__name__}"
                )
            checked[key] = _plain(checked[key], key, MAX_DEPTH)
    order_id = checked.get("custom_data", {}).get("order_id")
    if isinstance(order_id, int) and not isinstance(order_id, bool):
        checked["custom_data"]["order_id"] = str(order_id)
    try:
        event = msgspec.convert(checked, Event)
    except msgspec.ValidationError as error:
        raise _invalid(error) from None
    event = msgspec.structs.replace(event, user_data=user_data)
    _check(event, now)
    return event


def _invalid(error: msgspec.ValidationError) -> InvalidEventError:
    """Return msgspec's complaint with the path of the field in front."""
    reason, _, path = str(error).partition(" - at `$")
    field = path.strip("`.")
    if reason.startswith("Object contains unknown field"):
        key = reason.split("`")[1]
        field = f"{field}.{key}" if field else key
        reason = "Meta knows no such key here; your own go into custom_data"
    elif reason.startswith("Object missing required field"):
        field, reason = reason.split("`")[1], "required, is missing"
    return InvalidEventError(field or "event", reason)


def _event_time(value: object) -> object:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidEventError("event_time", "expected Unix seconds or a datetime with a zone")
        return int(value.timestamp())
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _event_id(value: object) -> str:
    text = str(value) if isinstance(value, int | uuid.UUID) else value
    if not isinstance(text, str) or isinstance(value, bool) or not _ID.fullmatch(text):
        raise InvalidEventError(
            "event_id", "expected 1 to 200 characters of text or a number, no control characters"
        )
    return text


def _plain(value: object, path: str, depth: int) -> Any:
    """Return a copy of ``value`` that JSON can carry unchanged.

    msgspec would write NaN as ``null`` and a ``Decimal`` as text: both silently wrong as money.
    """
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        if len(value) > MAX_TEXT:
            raise InvalidEventError(path, f"expected at most {MAX_TEXT} characters")
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, float | Decimal):
        if not math.isfinite(value):
            raise InvalidEventError(path, "expected a finite number")
        return float(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    if depth == 0:
        raise InvalidEventError(path, f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        return _plain_object(value, path, depth)
    if isinstance(value, list | tuple):
        if len(value) > MAX_ITEMS:
            raise InvalidEventError(path, f"expected at most {MAX_ITEMS} items, got {len(value)}")
        return [_plain(item, f"{path}[{i}]", depth - 1) for i, item in enumerate(value)]
    raise InvalidEventError(path, f"expected a JSON value, got {type(value).__name__}")


def _plain_object(value: Mapping[Any, object], path: str, depth: int) -> dict[str, Any]:
    if len(value) > MAX_KEYS:
        raise InvalidEventError(path, f"expected at most {MAX_KEYS} keys, got {len(value)}")
    plain = {}
    for key, item in value.items():
        if not isinstance(key, str) or len(key) > MAX_TEXT:
            raise InvalidEventError(path, f"expected short text as keys, got {type(key).__name__}")
        plain[key] = _plain(item, f"{path}.{key}", depth - 1)
    return plain


def _check(event: Event, now: float) -> None:
    if not _NAME.fullmatch(event.event_name):
        raise InvalidEventError("event_name", "expected 1 to 100 characters, none of them control")
    for key in ("event_name", "event_id"):
        if _EMAIL.search(getattr(event, key)):
            raise InvalidEventError(
                key, "holds an e-mail address, which would be sent in the clear"
            )
    standard = _STANDARD_LOWER.get(event.event_name.lower(), event.event_name)
    if standard != event.event_name:
        raise InvalidEventError("event_name", f"Meta's names are case-sensitive: {standard}?")
    _check_time(event, now)
    for key in ("event_source_url", "referrer_url"):
        url = getattr(event, key)
        if url is not None and not _URL.fullmatch(url):
            raise InvalidEventError(key, "expected an http(s) URL of at most 4096 characters")
    _check_custom_data(event)
    _check_money(event)
    for i, item in enumerate(event.custom_data.get("contents") or []):
        if not isinstance(item, dict) or item.get("id") in (None, ""):
            raise InvalidEventError(f"custom_data.contents[{i}].id", "required, is missing")


def _check_time(event: Event, now: float) -> None:
    if event.event_time > 100 * now:
        raise InvalidEventError(
            "event_time", f"expected Unix seconds, got {event.event_time}: milliseconds?"
        )
    if event.event_time > now + MAX_AHEAD:
        ahead = int(event.event_time - now)
        raise InvalidEventError("event_time", f"{ahead} seconds in the future; Meta refuses it")
    if event.expires < now:
        days = (event.expires - event.event_time) // DAY
        raise InvalidEventError(
            "event_time", f"older than the {days} days Meta accepts for {event.action_source}"
        )


def _check_custom_data(event: Event) -> None:
    """Check the standard properties: one of a wrong type refuses the whole batch at Meta."""
    for key, value in event.custom_data.items():
        if key.lower().replace("-", "_") in PERSONAL_KEYS:
            raise InvalidEventError(
                f"custom_data.{key}", "is personal; pass it to identify() or as user_data, hashed"
            )
        expected = _PROPERTY_TYPES.get(key)
        if expected is None or value is None:
            continue
        kinds, words = expected
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise InvalidEventError(
                f"custom_data.{key}", f"expected {words}, got {type(value).__name__}"
            )
    for i, item in enumerate(event.custom_data.get("content_ids") or []):
        if isinstance(item, bool) or not isinstance(item, str | int):
            raise InvalidEventError(
                f"custom_data.content_ids[{i}]", f"expected text, got {type(item).__name__}"
            )
    category = event.custom_data.get("delivery_category")
    if category is not None and category not in DELIVERY_CATEGORIES:
        raise InvalidEventError(
            "custom_data.delivery_category", f"expected {', '.join(DELIVERY_CATEGORIES)}"
        )


def _check_money(event: Event) -> None:
    value, currency = event.custom_data.get("value"), event.custom_data.get("currency")
    if event.event_name == "Purchase" and value is None:
        raise InvalidEventError("custom_data.value", "required for Purchase, is missing")
    if value is not None:
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise InvalidEventError(
                "custom_data.value",
                f"expected a number of 0 or more, got {type(value).__name__}"
                if not isinstance(value, int | float)
                else "expected a number of 0 or more",
            )
        if currency is None:
            raise InvalidEventError(
                "custom_data.currency", "required beside value, is missing; such as EUR"
            )
    if currency is not None and not (isinstance(currency, str) and _CURRENCY.fullmatch(currency)):
        raise InvalidEventError(
            "custom_data.currency", "expected three letters of ISO 4217, such as EUR"
        )
