"""Raw user data → ``UserData``: normalised by Meta's rules and hashed at once.

Each key has one reader, in the tables at the end: it takes a value as a person or a program wrote
it and returns what Meta is to get, ``None`` if the value is blank, or refuses it with a reason. A
refused value costs its field and one line in the log, never the event; neither the line nor an
exception ever holds the value. What a text becomes is decided in ``bridge.events.normalizers``.

Source: Meta, "Customer Information Parameters", read 2026-11-23.
"""

from __future__ import annotations

import difflib
import ipaddress
import logging
import numbers
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from hashlib import sha256
from typing import Any, NamedTuple, TypedDict
from uuid import UUID

from bridge.errors import InvalidEventError
from bridge.events.normalizers import (
    MARK,
    SPACE,
    Options,
    RefusedError,
    Rule,
    build_birth_part,
    build_name_start,
    hash_external_id,
    normalize_birth_date,
    normalize_birth_year,
    normalize_city,
    normalize_country,
    normalize_email,
    normalize_gender,
    normalize_name,
    normalize_phone,
    normalize_state,
    normalize_zip,
    read_digest,
    spell_city,
)
from bridge.events.personal_values import holds_email
from bridge.events.plain_user_data import PlainUserData

MAX_TEXT = 1000  # characters; nothing longer is an e-mail address, a name or an id
MAX_ITEMS = 20  # values of one key
MAX_FLOAT = 2**53  # beyond, a float is perhaps not the number that was written
MAX_USER_AGENT = 1024  # characters; the rest is cut off

_log = logging.getLogger("bridge.events")

_HAS_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MD5 = re.compile(r"[0-9A-Fa-f]{32}")
_SHA256_OF_NOTHING = sha256(b"").hexdigest()
_LEAD_ID = re.compile(r"[1-9][0-9]{14,16}")
_LOGIN_ID = re.compile(r"[1-9][0-9]{0,18}")

_Read = Callable[[object, Options], str | int | None]
OnDropped = Callable[[str, int, int, str], None]

Given = str | int | list[str] | list[int] | tuple[str | int, ...]  # one value, or at most 20


class PersonalData(TypedDict, total=False):
    """What ``identify`` takes: readable names, or Meta's own; raw values, or their SHA-256.

    Source: Meta, "Customer Information Parameters", read 2026-11-23.
    """

    email: Given | None
    phone: Given | None
    first_name: Given | None
    last_name: Given | None
    date_of_birth: Given | date | None
    birthday: Given | date | None
    gender: Given | None
    city: Given | None
    state: Given | None
    zip: Given | None
    zip_code: Given | None
    postal_code: Given | None
    country: Given | None
    em: Given | None
    ph: Given | None
    fn: Given | None
    ln: Given | None
    db: Given | date | None
    ge: Given | None
    ct: Given | None
    st: Given | None
    zp: Given | None
    external_id: Given | UUID | None
    f5first: Given | None
    f5last: Given | None
    fi: Given | None
    dobd: Given | None
    dobm: Given | None
    doby: Given | None
    client_ip_address: str | None
    client_user_agent: str | None
    fbc: str | None
    fbp: str | None
    subscription_id: str | int | UUID | None
    fb_login_id: str | int | None
    lead_id: str | int | None
    anon_id: str | UUID | None
    madid: str | UUID | None
    page_id: str | int | None
    page_scoped_user_id: str | int | None
    ctwa_clid: str | None
    ig_account_id: str | int | None
    ig_sid: str | None
    whatsapp_business_account_id: str | int | None


class _Field(NamedTuple):
    """What to do with a key of the raw data."""

    key: str  # Meta's
    read: _Read  # returns what is sent: ``None`` if the value is blank
    many: bool  # whether the value may be a list, and is sent as one
    rule: Rule | None = None  # what a text becomes before it is hashed, if it is


_LISTS = (list, tuple)
_NO_OPTIONS = Options()
_NOT_UNICODE = "not valid Unicode"
_NOTHING_LEFT = "nothing is left after removing punctuation and spaces"
_SHORTEST_DIGEST = 32  # characters: MD5's, which is refused


def log_dropped(key: str, dropped: int, given: int, reason: str) -> None:
    """Log that values of ``key`` are left out; the reason does not hold them."""
    _log.warning("user_data.%s: dropped %d of %d: %s", key, dropped, given, reason)


def read_user_data(
    raw: object,
    *,
    default_region: str | None = None,
    today: date | None = None,
    on_dropped: OnDropped = log_dropped,
) -> dict[str, Any]:
    """Return ``raw`` under Meta's keys: normalised, hashed, bad values left out.

    ``{"email": " Mary@Example.com ", "zip": 94035}`` becomes ``em`` and ``zp``, one digest each.

    Args:
        raw: Meta's keys (``em``, ``ph``, …) or readable ones (``email``, ``phone``, …). A hashed
            key takes a text or a list of at most 20, also a number for ``ph``, ``zp``, ``db`` and
            ``external_id``, a date for ``db``. Values already hashed pass, in lower case. ``None``
            and blank text count as not given.
        default_region: ISO 3166-1 alpha-2 code of the country that phone numbers without a
            country code are from, where ``raw`` names no country. Needs ``phonenumbers``: see
            ``check_phone_support``.
        today: Refuse later birth dates.
        on_dropped: Called for each key of which values are left out, with its name, how many of how
            many, and the reason, which does not hold them. Logs by default.

    Raises:
        InvalidEventError: A key that Meta does not define; the message names the closest one.
        ConfigError: ``default_region`` is set and cannot be used.

    Source: Meta, "Customer Information Parameters", read 2026-11-23.
    """
    if type(raw) is dict and (plain := _PLAIN_DATA.read(raw, default_region, today)):
        return plain
    if not isinstance(raw, Mapping):
        raise InvalidEventError("user_data", f"expected an object, got {type(raw).__name__}")
    options = _NO_OPTIONS
    if default_region or today or "country" in raw:
        options = Options(default_region, today, raw)
    values: dict[str, Any] = {}
    for name, value in raw.items():
        field = _FIELDS.get(name)
        if field is None:
            raise _unknown(name)
        key, read, many, rule = field
        results: list[str | int]
        try:
            if rule is not None and type(value) is str and len(value) < _SHORTEST_DIGEST:
                # What nearly all values are; the same as ``read`` does, in fewer steps.
                text = value.strip(SPACE)
                if not text:
                    continue
                normal = rule(text.lower(), options)
                if not normal:
                    raise RefusedError(_NOTHING_LEFT)
                results = [sha256(normal.encode()).hexdigest()]
            elif many and isinstance(value, _LISTS):
                results = _read_list(name, field, value, options, on_dropped)
            else:
                result = read(value, options)
                results = [] if result is None else [result]
        except RefusedError as refused:
            on_dropped(name, 1, 1, str(refused))
            continue
        except UnicodeEncodeError:
            on_dropped(name, 1, 1, _NOT_UNICODE)
            continue
        if not results:
            continue
        if not many:
            values[key] = results[0]
        elif key in values:
            values[key] = list(dict.fromkeys(values[key] + results))[:MAX_ITEMS]
        else:
            values[key] = results
    if "ct" in values:
        for name in ("ct", "city"):
            city = raw.get(name)
            if city is not None and not (type(city) is str and city.isascii()):
                values["ct"] = _add_spelled(city, values["ct"])
    return values


def _unknown(name: object) -> InvalidEventError:
    if not isinstance(name, str):
        return InvalidEventError("user_data", f"expected text as keys, got {type(name).__name__}")
    name = "".join(character if character.isprintable() else "?" for character in name[:50])
    close = _suggest(name)
    hint = f"did you mean {close!r}?" if close else "your own keys go into custom_data"
    return InvalidEventError(f"user_data.{name}", f"Meta has no such key; {hint}")


def _suggest(name: str) -> str | None:
    """Return the key that somebody who wrote ``name`` may mean."""
    words = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()).strip("_")
    for shorter in (words, words.removeprefix("user_").removeprefix("customer_")):
        if close := _MEANT.get(shorter.replace("_", "")):
            return close
    close_ones = difflib.get_close_matches(words, _FIELDS, n=1, cutoff=0.75)
    if close_ones:
        return close_ones[0]
    # Else a key that is a part of it: what is longest says most.
    parts = [key for key in _FIELDS if len(key) > 2 and f"_{key}_" in f"_{words}_"]
    if parts:
        return max(parts, key=len)
    return next(iter(difflib.get_close_matches(words, _FIELDS, n=1, cutoff=0.5)), None)


def _read_list(
    name: str, field: _Field, items: Sequence[object], options: Options, on_dropped: OnDropped
) -> list[str | int]:
    """Return what is to be sent for ``items``, without duplicates; report once what is left out."""
    results: list[str | int] = []
    refusal, dropped = "", 0
    for item in items[:MAX_ITEMS]:
        try:
            result = field.read(item, options)
        except RefusedError as refused:
            refusal, dropped = str(refused), dropped + 1
        else:
            if result is not None and result not in results:
                results.append(result)
    if len(items) > MAX_ITEMS:
        refusal, dropped = f"more than {MAX_ITEMS}", dropped + len(items) - MAX_ITEMS
    if dropped:
        on_dropped(name, dropped, len(items), refusal)
    return results


def _add_spelled(cities: object, digests: list[str]) -> list[str]:
    """Return ``digests`` and those of the other form of ``cities`` that are not ASCII.

    See ``spell_city``.
    """
    given = cities if isinstance(cities, _LISTS) else [cities]
    texts = [str.__str__(each) for each in given[:MAX_ITEMS] if isinstance(each, str)]
    foreign = [text for text in texts if not text.isascii() and len(text) <= MAX_TEXT]
    spelled = [spell_city(text.lower()) for text in foreign if _is_unicode(text)]
    added = [_sha256(text) for text in spelled if text]
    return list(dict.fromkeys(digests + added))[:MAX_ITEMS]


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


# Readers: a value → what is sent.


def _text(value: object, also: tuple[type, ...], longest: int = MAX_TEXT) -> str:
    """Return ``value`` as text of bounded length, or refuse its type."""
    if isinstance(value, str):
        text = str.__str__(value)  # an enum's value, not its name
        if "\x85" in text:  # a line end of mainframes, which no field holds
            text = text.replace("\x85", "")
    elif value is None or _is_missing(value):
        return ""
    elif int in also and (number := _whole(value)) is not None:
        if not 0 <= number < 10**40:
            raise RefusedError("expected a number of 0 or more, at most 40 digits")
        text = str(number)
    elif isinstance(value, bool | int) or not isinstance(value, also):
        raise RefusedError(f"expected text, got {type(value).__name__}")
    else:
        text = str(value)
    if len(text) > longest:
        raise RefusedError(f"longer than {longest} characters")
    return text


def _is_missing(value: object) -> bool:
    """Return whether ``value`` is what a table of pandas has where it has nothing."""
    return isinstance(value, float | date) and value != value


def _whole(value: object) -> int | None:
    """Return the whole number that ``value`` is, of any type; ``None`` if it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, Decimal):
        is_whole = (
            value.is_finite() and value.adjusted() <= 40 and value == value.to_integral_value()
        )
        return int(value) if is_whole else None
    if not isinstance(value, numbers.Real) or not abs(number := float(value)) <= MAX_FLOAT:
        return None
    return int(number) if number.is_integer() else None


def _sha256(text: str) -> str:
    if not text:
        raise RefusedError(_NOTHING_LEFT)
    try:
        return sha256(text.encode()).hexdigest()
    except UnicodeEncodeError:
        raise RefusedError(_NOT_UNICODE) from None


def _refuse_half_pairs(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RefusedError(_NOT_UNICODE) from None


def _hashed(rule: Rule, also: tuple[type, ...]) -> _Read:
    """Return a reader of text, or of types in ``also``, that applies ``rule`` and hashes."""

    def read(value: object, options: Options) -> str | None:
        text = _text(value, also).strip(SPACE)
        if not text:
            return None
        if len(text) >= _SHORTEST_DIGEST and (digest := _digest(text)):
            return digest
        return _sha256(rule(text.lower(), options))

    return read


def _digest(text: str) -> str | None:
    """Return the digest that ``text`` is, if it is one, without the parameter builder's mark."""
    if _MD5.fullmatch(text):
        raise RefusedError("an MD5 digest; Meta takes SHA-256 only")
    digest = read_digest(text)
    if digest == _SHA256_OF_NOTHING:
        raise RefusedError("the digest of an empty text")
    return digest


def _read_external_id(value: object, _: Options) -> str | None:
    text = _text(value, (int, UUID))
    if not text.strip(SPACE):
        return None
    _refuse_half_pairs(text)
    digest = hash_external_id(text)
    if digest == _SHA256_OF_NOTHING:
        raise RefusedError("the digest of an empty text")
    return digest


def _plain(*also: type) -> _Read:
    """Return a reader of text, or of types in ``also``, that changes nothing."""

    def read(value: object, _: Options) -> str | None:
        text = _text(value, also)
        _refuse_signs(text)
        if holds_email(text):
            raise RefusedError("looks like an e-mail address, and this key is sent unhashed")
        return text if text.strip(SPACE) else None

    return read


def _integer(pattern: re.Pattern[str], expected: str) -> _Read:
    """Return a reader of whole numbers, written as text or not."""

    def read(value: object, _: Options) -> int | None:
        text = _text(value, (int,)).strip(SPACE)
        if text and not pattern.fullmatch(text):
            raise RefusedError(f"expected {expected}")
        return int(text) if text else None

    return read


def _read_ip(value: object, _: Options) -> str | None:
    text = _text(value, (ipaddress.IPv4Address, ipaddress.IPv6Address)).strip(SPACE)
    if not text:
        return None
    try:
        address = ipaddress.ip_address(MARK.sub("", text))
    except ValueError:
        raise RefusedError("expected one IPv4 or IPv6 address") from None
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    if not address.is_global or address.is_multicast or address.is_reserved or "%" in text:
        raise RefusedError("not a public address")
    return str(address)


def _read_user_agent(value: object, _: Options) -> str | None:
    text = _text(value[:MAX_USER_AGENT] if isinstance(value, str) else value, (), MAX_USER_AGENT)
    _refuse_signs(text)
    return text.strip(SPACE) or None


def _refuse_signs(text: str) -> None:
    """Refuse what is sent as it is if it holds control characters or half a surrogate pair."""
    _refuse_half_pairs(text)
    if _HAS_CONTROL.search(text):
        raise RefusedError("contains control characters")


# What is hashed: its keys, Meta's first, its rule, and the types that it takes other than text.
_HASHED: tuple[tuple[str, Rule, tuple[type, ...]], ...] = (
    ("em email", normalize_email, ()),
    ("ph phone", normalize_phone, (int,)),
    ("fn first_name", normalize_name, ()),
    ("ln last_name", normalize_name, ()),
    ("db date_of_birth birthday", normalize_birth_date, (int, date)),
    ("ge gender", normalize_gender, ()),
    ("ct city", normalize_city, ()),
    ("st state", normalize_state, ()),
    ("zp zip zip_code postal_code", normalize_zip, (int,)),
    ("country", normalize_country, ()),
    ("f5first", build_name_start(5), ()),
    ("f5last", build_name_start(5), ()),
    ("fi", build_name_start(1), ()),
    ("dobd", build_birth_part(1, 31), (int,)),
    ("dobm", build_birth_part(1, 12), (int,)),
    ("doby", normalize_birth_year, (int,)),
)
_PLAIN: tuple[tuple[str, _Read], ...] = (
    ("client_ip_address", _read_ip),
    ("client_user_agent", _read_user_agent),
    ("fbc fbp ctwa_clid", _plain()),
    ("subscription_id", _plain(int, UUID)),
    ("anon_id madid", _plain(UUID)),
    (
        "page_id page_scoped_user_id ig_account_id ig_sid whatsapp_business_account_id",
        _plain(int),
    ),
    ("fb_login_id", _integer(_LOGIN_ID, "a whole number of at most 19 digits")),
    ("lead_id", _integer(_LEAD_ID, "a whole number of 15 to 17 digits")),
)
_FIELDS = {"external_id": _Field("external_id", _read_external_id, many=True)}
for _keys, _rule, _also in _HASHED:
    _field = _Field(_keys.split()[0], _hashed(_rule, _also), many=True, rule=_rule)
    _FIELDS |= dict.fromkeys(_keys.split(), _field)
_FIELDS |= {key: _Field(key, read, many=False) for keys, read in _PLAIN for key in keys.split()}
_PLAIN_DATA = PlainUserData({name: field.key for name, field in _FIELDS.items()})
# What others call it, without what separates words.
_MEANT = {
    word: key
    for key, words in {
        "email": "mail emailaddress mailaddress useremail emails",
        "phone": "tel telephone phonenumber mobile mobilephone mobilenumber cell cellphone msisdn",
        "first_name": "givenname forename fname name firstnames",
        "last_name": "familyname surname lname",
        "date_of_birth": "dob birthdate bday born",
        "gender": "sex",
        "city": "town locality",
        "state": "province region county",
        "zip": "postcode plz",
        "country": "countrycode nation",
        "external_id": "id userid customerid uid clientid",
        "client_ip_address": "ip ipaddress clientip userip remoteaddr",
        "client_user_agent": "useragent ua browser",
        "fbc": "fbclid clickid",
        "fbp": "browserid",
    }.items()
    for word in words.split()
}
USER_DATA_KEYS = frozenset(_FIELDS)
"""Every key that ``read_user_data`` takes: Meta's and the readable ones."""
