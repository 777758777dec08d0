"""Raw user data → ``UserData``: normalised by Meta's rules and hashed at once.

Each key has one reader, in the tables at the end: it takes a value as a person or a program wrote
it and returns what Meta is to get, ``None`` if the value is blank, or refuses it with a reason. A
refused value costs its field and one line in the log, never the event; neither the line nor an
exception ever holds the value.

Nothing is cached here: a cache would keep raw personal data in memory.

Source: Meta, "Customer Information Parameters", read 2026-11-23. Where it is silent, Meta's own
Python SDK 26 and parameter builder decide, the latter first because the pixel agrees with it.
"""

from __future__ import annotations

import difflib
import hashlib
import ipaddress
import logging
import re
import string
import unicodedata
from collections.abc import Callable, Mapping
from datetime import date
from types import ModuleType
from typing import Any, NamedTuple
from uuid import UUID

from bridge.errors import ConfigError, InvalidEventError
from bridge.events import UserData
from bridge.places import COUNTRIES, US_STATES

MAX_TEXT = 1000  # characters; nothing longer is an e-mail address, a name or an id
MAX_ITEMS = 20  # values of one key
MAX_USER_AGENT = 1024  # characters; the rest is cut off

_log = logging.getLogger("bridge.normalize")

# What JavaScript calls white space, so that both twins drop the same characters: Python's ``\s``
# also has \x1c to \x1f and \x85, and lacks U+FEFF.
_SPACE = (
    "\t\n\v\f\r \xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)
_CONTROL = "".join(map(chr, range(32))) + "\x7f"
_NO_SPACE = dict.fromkeys(map(ord, _SPACE))
_NO_PHONE_SIGNS = dict.fromkeys(map(ord, _SPACE + "+()-./"))
_NO_SPACE_OR_CONTROL = dict.fromkeys(map(ord, _SPACE + _CONTROL))
# Only ASCII punctuation goes: U+2019 and U+2011 stay in a name, as in all of Meta's own code.
_ONLY_LETTERS_AND_DIGITS = dict.fromkeys(map(ord, string.punctuation + _SPACE + _CONTROL))
_ONLY_LETTERS = dict.fromkeys(map(ord, string.punctuation + string.digits + _SPACE + _CONTROL))

_HAS_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SHA256 = re.compile(r"[0-9A-Fa-f]{64}")
# Meta's parameter builder puts a mark behind what it hashed, and behind an IP address.
_MARK = re.compile(r"\.(?:AQ|Ag|Aw|BA|BQ|Bg|[A-Za-z0-9_-]{8})\Z")
_MD5 = re.compile(r"[0-9A-Fa-f]{32}")
_SHA256_OF_NOTHING = hashlib.sha256(b"").hexdigest()

_ATOM = r"[^\s\x00-\x1f\x7f@.,:;<>()\[\]\"\\]+"
_LABEL = r"[a-z0-9\u0080-\U0010ffff](?:[a-z0-9\u0080-\U0010ffff-]*[a-z0-9\u0080-\U0010ffff])?"
_EMAIL = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}\.)+{_LABEL}")
_EMAIL_INSIDE = re.compile(r"[^\s@](?:@|%40)[^\s@%]+\.[^\s@%]")
_NOT_DIGIT = re.compile(r"[^0-9]+")
_EXTENSION = re.compile(r"(?:;|(?<=[0-9 .,])(?:ext|x|#)).*", re.DOTALL)
_EIGHT_DIGITS = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})")
_DATE = re.compile(
    r"([0-9]{1,4})[^0-9a-z]{1,3}([0-9]{1,2})[^0-9a-z]{1,3}([0-9]{1,4})(?:[^0-9].*)?", re.DOTALL
)
_NOT_LATIN = re.compile(r"[^a-z0-9]+")
_NOT_A_TO_Z = re.compile(r"[^a-z]+")
_LEAD_ID = re.compile(r"[1-9][0-9]{14,16}")
_LOGIN_ID = re.compile(r"[1-9][0-9]{0,18}")

_GENDERS = {
    "m": ("male", "man", "boy", "gentleman", "sir", "mister", "mr", "he", "him", "his"),
    "f": ("female", "woman", "girl", "lady", "madam", "miss", "mrs", "ms", "she", "her", "hers"),
}
_GENDER_OF = {word: gender for gender, words in _GENDERS.items() for word in (gender, *words)}


class _Refused(Exception):  # noqa: N818 - never leaves this module
    """A value that cannot be used; the text says why, without the value."""


class _Options(NamedTuple):
    """What a rule may depend on beside the text.

    Attributes:
        region: ISO 3166-1 alpha-2; where numbers without a country code are from.
        today: The last possible birth date's year is this one's.
    """

    region: str | None
    today: date | None


_Normalise = Callable[[str, _Options], str]
_Read = Callable[[object, _Options], str | int | None]


class _Field(NamedTuple):
    """What to do with a key of the raw data.

    Attributes:
        key: Meta's.
        read: Takes a value, returns what is sent: ``None`` if the value is blank.
        many: Whether the value may be a list, and is sent as one.
    """

    key: str
    read: _Read
    many: bool


_LISTS = (list, tuple)


def build_user_data(
    raw: Mapping[str, object], *, default_region: str | None = None, today: date | None = None
) -> UserData:
    """Return ``raw`` as Meta's ``user_data``: normalised, hashed, bad values left out.

    ``{"email": " Mary@Example.com ", "zip": 94035}`` becomes ``em`` and ``zp``, one digest each.

    Args:
        raw: Meta's keys (``em``, ``ph``, …) or readable ones (``email``, ``phone``, …). A hashed
            key takes a text or a list of at most 20, also a number for ``ph``, ``zp``, ``db`` and
            ``external_id``, a date for ``db``. Values already hashed pass, in lower case. ``None``
            and blank text count as not given.
        default_region: ISO 3166-1 alpha-2 code of the country that phone numbers without a
            country code are from. Needs ``phonenumbers``: see ``check_phone_support``. Without
            it, Meta's rule alone applies: digits, leading zeros dropped.
        today: Refuse birth dates of a later year than this date's.

    Raises:
        InvalidEventError: A key that Meta does not know; the message names the closest one.
        ConfigError: ``default_region`` is set and cannot be used.

    Source: Meta, "Customer Information Parameters", read 2026-11-23.
    """
    if not isinstance(raw, Mapping):
        raise InvalidEventError("user_data", f"expected an object, got {type(raw).__name__}")
    options = _Options(default_region, today)
    values: dict[str, Any] = {}
    for name, value in raw.items():
        field = _FIELDS.get(name)
        if field is None:
            raise _unknown(name)
        if not (results := _read(name, field, value, options)):
            continue
        key = field.key
        if not field.many:
            values[key] = results[0]
        elif key in values:
            values[key] = list(dict.fromkeys(values[key] + results))[:MAX_ITEMS]
        else:
            values[key] = results
    return UserData(**values)


def hash_external_id(value: str) -> str:
    """Return ``value`` as the pixel hashes an ``external_id``: 64 lower-case hex digits.

    64 hex digits are taken as already hashed and only lower-cased. Anything else loses JavaScript's
    white space, is lower-cased and hashed: ``"User 42"`` gives the SHA-256 of ``"user42"``. Two
    things to know:

    - The pixel also passes 32 hex digits (``uuid4().hex``), unhashed. They are hashed here: give
      the pixel this function's result, never the raw id, and both twins carry the same bytes.
    - ``""`` gives ``""``, for nothing would be sent; the digest of nothing would join strangers.

    Source: measured with fbevents.js 2.9.184 to 2.9.325.
    """
    if not value or _SHA256.fullmatch(value):
        return value.lower()
    text = value.translate(_NO_SPACE).lower() or value
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def looks_like_email(text: str) -> bool:
    """Return whether ``text`` is or contains an e-mail address, ``@`` possibly as ``%40``.

    Meant for refusing personal data where an id is expected, so it errs on the side of yes:
    ``"auth0|mary@example.com"`` counts, ``"@mary"`` and ``"mary@localhost"`` do not.
    """
    return _EMAIL_INSIDE.search(text) is not None


def check_phone_support(region: str) -> str:
    """Return ``region`` in upper case, sure that phone numbers can be read with it.

    Call it where the setting is read. It also loads the numbering plans of all countries (50 ms),
    so that no request waits for the disk.

    Raises:
        ConfigError: ``phonenumbers`` is not installed or does not know the region.
    """
    _phonenumbers(region.upper()).PhoneMetadata.load_all()
    return region.upper()


def _unknown(name: object) -> InvalidEventError:
    if not isinstance(name, str):
        return InvalidEventError("user_data", f"expected text as keys, got {type(name).__name__}")
    name = "".join(character if character.isprintable() else "?" for character in name[:50])
    close = difflib.get_close_matches(name.lower(), _FIELDS, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else "your own keys go into custom_data"
    return InvalidEventError(f"user_data.{name}", f"Meta knows no such key; {hint}")


def _read(name: str, field: _Field, value: object, options: _Options) -> list[str | int]:
    """Return what is to be sent for ``value``, without duplicates; log once what is not."""
    items = value if field.many and isinstance(value, _LISTS) else (value,)
    results: list[str | int] = []
    refusal, dropped = "", 0
    for item in items[:MAX_ITEMS]:
        try:
            result = field.read(item, options)
        except _Refused as refused:
            refusal, dropped = str(refused), dropped + 1
        else:
            if result is not None and result not in results:
                results.append(result)
    if len(items) > MAX_ITEMS:
        refusal, dropped = f"more than {MAX_ITEMS}", dropped + len(items) - MAX_ITEMS
    if dropped:
        _log.warning("user_data.%s: dropped %d of %d: %s", name, dropped, len(items), refusal)
    return results


# Readers: a value → what is sent.


def _text(value: object, also: tuple[type, ...], longest: int = MAX_TEXT) -> str:
    """Return ``value`` as text of bounded length, or refuse its type."""
    if isinstance(value, str):
        text = str.__str__(value)  # an enum's value, not its name
    elif value is None:
        return ""
    elif isinstance(value, bool) or not isinstance(value, also):
        raise _Refused(f"expected text, got {type(value).__name__}")
    elif isinstance(value, int):
        if not 0 <= value < 10**40:
            raise _Refused("expected a number of 0 or more, at most 40 digits")
        text = str(int(value))
    else:
        text = str(value)
    if len(text) > longest:
        raise _Refused(f"longer than {longest} characters")
    return text


def _sha256(text: str) -> str:
    if not text:
        raise _Refused("nothing is left after removing punctuation and spaces")
    try:
        return hashlib.sha256(text.encode()).hexdigest()
    except UnicodeEncodeError:
        raise _Refused("not valid Unicode") from None


def _hashed(normalise: _Normalise, *also: type) -> _Read:
    """Return a reader of text, or of types in ``also``, that normalises and hashes."""

    def read(value: object, options: _Options) -> str | None:
        text = _text(value, also).strip(_SPACE)
        if not text:
            return None
        if len(text) >= 32 and (digest := _digest(text)):
            return digest
        return _sha256(normalise(text.lower(), options))

    return read


def _digest(text: str) -> str | None:
    """Return the digest that ``text`` is, if it is one, without the parameter builder's mark."""
    if _MD5.fullmatch(text):
        raise _Refused("an MD5 digest; Meta takes SHA-256 only")
    text = _MARK.sub("", text)
    if not _SHA256.fullmatch(text):
        return None
    if text.lower() == _SHA256_OF_NOTHING:
        raise _Refused("the digest of an empty text")
    return text.lower()


def _read_external_id(value: object, _: _Options) -> str | None:
    text = _text(value, (int, UUID))
    if not text.strip(_SPACE):
        return None
    digest = hash_external_id(_valid_unicode(text))
    if digest == _SHA256_OF_NOTHING:
        raise _Refused("the digest of an empty text")
    return digest


def _valid_unicode(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _Refused("not valid Unicode") from None
    return text


def _plain(*also: type) -> _Read:
    """Return a reader of text, or of types in ``also``, that changes nothing."""

    def read(value: object, _: _Options) -> str | None:
        text = _valid_unicode(_text(value, also))
        if _HAS_CONTROL.search(text):
            raise _Refused("contains control characters")
        if looks_like_email(text):
            raise _Refused("looks like an e-mail address, and this key is sent unhashed")
        return text if text.strip(_SPACE) else None

    return read


def _integer(pattern: re.Pattern[str], expected: str) -> _Read:
    """Return a reader of whole numbers, written as text or not."""

    def read(value: object, _: _Options) -> int | None:
        text = _text(value, (int,)).strip(_SPACE)
        if text and not pattern.fullmatch(text):
            raise _Refused(f"expected {expected}")
        return int(text) if text else None

    return read


def _read_ip(value: object, _: _Options) -> str | None:
    text = _text(value, (ipaddress.IPv4Address, ipaddress.IPv6Address)).strip(_SPACE)
    if not text:
        return None
    try:
        address = ipaddress.ip_address(_MARK.sub("", text))
    except ValueError:
        raise _Refused("expected one IPv4 or IPv6 address") from None
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    if not address.is_global or address.is_multicast or address.is_reserved or "%" in text:
        raise _Refused("not a public address")
    return str(address)


def _read_user_agent(value: object, _: _Options) -> str | None:
    text = _text(value[:MAX_USER_AGENT] if isinstance(value, str) else value, (), MAX_USER_AGENT)
    if _HAS_CONTROL.search(text):
        raise _Refused("contains control characters")
    return _valid_unicode(text).strip(_SPACE) or None


# Normalisers: trimmed lower-case text → what is hashed. Each takes the options for the table's
# sake.


def _email(text: str, _: _Options) -> str:
    """Return ``text``: Meta wants e-mail addresses trimmed and in lower case, no more.

    Dots and ``+tags`` stay. Source: Meta, "Customer Information Parameters", Email.
    """
    if not _EMAIL.fullmatch(text):
        raise _Refused("expected an e-mail address")
    return text


def _phone(text: str, options: _Options) -> str:
    """Return ``text`` as Meta wants phone numbers: digits only, country code first.

    ``"+1 (650) 555-0100"`` becomes ``"16505550100"``. An extension is not part of it.

    Source: Meta, "Customer Information Parameters", Phone number; 7 to 15 digits: Meta's Python
    SDK's lower bound and E.164's upper one.
    """
    if options.region is not None:
        return _phone_in_region(text, options.region.upper())
    return _phone_digits(text)


def _phone_digits(text: str) -> str:
    digits = text.translate(_NO_PHONE_SIGNS)
    if not (digits.isdigit() and digits.isascii()):
        if not text.isascii():
            text = "".join(str(unicodedata.decimal(character, character)) for character in text)
        digits = _NOT_DIGIT.sub("", _EXTENSION.sub("", text))
    digits = digits.lstrip("0")
    if not 7 <= len(digits) <= 15:
        raise _Refused("expected a phone number of 7 to 15 digits, country code first")
    return digits


def _phone_in_region(text: str, region: str) -> str:
    """Return the number's E.164 digits; a number without country code is from ``region``.

    Sites also store numbers as Meta wants them, without ``+``: a number that begins with the
    region's country code or is not valid there is read as international, if that is valid.
    """
    phonenumbers = _phonenumbers(region)
    as_abroad = "+" + _phone_digits(text)
    attempts = [(text, True), (as_abroad, True), (text, False)]
    if text.startswith(str(phonenumbers.country_code_for_region(region))):
        attempts.insert(0, (as_abroad, True))
    for attempt, valid in attempts:
        if number := _e164(phonenumbers, attempt, region, valid=valid):
            return number
    raise _Refused("expected a phone number")


def _e164(phonenumbers: ModuleType, text: str, region: str, *, valid: bool) -> str | None:
    """Return the digits of the number in ``text``, or ``None``.

    It must be valid (given out to somebody) or, if not ``valid``, at least of the right length.
    """
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    possible = phonenumbers.ValidationResult.IS_POSSIBLE  # and not only within a town
    if valid and not phonenumbers.is_valid_number(number):
        return None
    if phonenumbers.is_possible_number_with_reason(number) != possible:
        return None
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return _phone_digits(e164)


def _phonenumbers(region: str) -> ModuleType:
    """Return the ``phonenumbers`` package, which is optional, if it knows ``region``."""
    try:
        import phonenumbers
    except ImportError:
        raise ConfigError(
            "a phone region needs the phonenumbers package: pip install 'pixel-bridge[phone]'"
        ) from None
    if region not in phonenumbers.SUPPORTED_REGIONS:
        raise ConfigError(
            f"phone region must be an ISO 3166-1 alpha-2 code such as 'DE', got {region!r}"
        )
    return phonenumbers


def _name(text: str, _: _Options) -> str:
    """Return ``text`` without ASCII punctuation and white space; accents stay.

    Source: Meta, "Customer Information Parameters", First and last name: "no punctuation"; inner
    spaces go too, as in Meta's parameter builder and the pixel.
    """
    return text if text.isalpha() else text.translate(_ONLY_LETTERS_AND_DIGITS)


def _name_start(length: int) -> _Normalise:
    """Return a normaliser for the first ``length`` letters of a name."""
    return lambda text, options: _name(text, options)[:length]


def _birth_date(text: str, options: _Options) -> str:
    """Return ``text`` as YYYYMMDD; month first where it could be either.

    ``"2/16/1997"``, ``"16.02.1997"`` and ``"1997-02-16T00:00:00Z"`` become ``"19970216"``.

    Source: Meta, "Customer Information Parameters", Date of birth: year 1900 to now.
    """
    if match := _EIGHT_DIGITS.fullmatch(text):
        year, month, day = map(int, match.groups())
    elif match := _DATE.fullmatch(text):
        first, second, third = map(int, match.groups())
        year, month, day = (first, second, third) if first > 31 else (third, first, second)
        if month > 12:
            month, day = day, month
    else:
        raise _Refused("expected a date such as 1997-02-16")
    if not 1 <= month <= 12 or not 1 <= day <= 31:
        raise _Refused("expected a date such as 1997-02-16")
    return f"{_checked_year(year, options)}{month:02}{day:02}"


def _birth_year(text: str, options: _Options) -> str:
    return str(_checked_year(int(_part(text, 1, 9999, 4)), options))


def _checked_year(year: int, options: _Options) -> int:
    last = options.today.year if options.today else 9999
    if not 1900 <= year <= last:
        raise _Refused("expected a year of birth from 1900 to now")
    return year


def _birth_part(low: int, high: int) -> _Normalise:
    """Return a normaliser for a day or a month, to two digits."""
    return lambda text, _: _part(text, low, high, 2)


def _part(text: str, low: int, high: int, digits: int) -> str:
    if not (text.isascii() and text.isdigit() and len(text) <= digits):
        raise _Refused(f"expected a number of at most {digits} digits")
    if not low <= int(text) <= high:
        raise _Refused(f"expected a number from {low} to {high}")
    return text.zfill(digits)


def _gender(text: str, _: _Options) -> str:
    """Return ``m`` or ``f``, which is all Meta has.

    Source: Meta, "Customer Information Parameters", Gender; words as in its parameter builder.
    """
    try:
        return _GENDER_OF[text.rstrip(".")]
    except KeyError:
        raise _Refused("Meta has m and f only") from None


def _city(text: str, _: _Options) -> str:
    """Return ``text``, of it only ``a`` to ``z`` and digits if it has Latin letters.

    ``"São Paulo"`` becomes ``"sopaulo"``, as in the pixel and the parameter builder, and ``"東京"``
    stays ``"東京"``.

    Source: Meta, "Customer Information Parameters", City, which allows UTF-8 and says no more.
    """
    latin = _NOT_LATIN.sub("", text)
    if latin[:1].isalpha():
        return latin
    other = text.translate(_ONLY_LETTERS_AND_DIGITS)
    if (latin and not latin.isdigit()) or other.isascii():
        raise _Refused("expected a city's name, beginning with a letter")
    return other


def _state(text: str, _: _Options) -> str:
    """Return a US state's two letters, or another region's name without spaces and digits.

    ``"California"`` becomes ``"ca"``, ``"Bayern"`` ``"bayern"``.

    Source: Meta, "Customer Information Parameters", State: two letters in the US, elsewhere "no
    punctuation, no special characters, and no spaces".
    """
    name = text.translate(_ONLY_LETTERS)
    return US_STATES.get(name, name)


def _zip(text: str, _: _Options) -> str:
    """Return ``text`` up to its dash, without spaces, at least two characters.

    ``"94035-1234"`` becomes ``"94035"``, ``"M1 1AE"`` ``"m11ae"``.

    Source: Meta, "Customer Information Parameters", Zip; two characters: its parameter builder.
    """
    code = text.partition("-")[0].translate(_NO_SPACE_OR_CONTROL)
    if len(code) < 2:
        raise _Refused("expected two characters or more before a dash")
    return code


def _country(text: str, _: _Options) -> str:
    """Return the ISO 3166-1 alpha-2 code for a code or a name, in lower case.

    ``"Côte d'Ivoire"`` becomes ``"ci"``, ``"UK"`` and ``"England"`` ``"gb"``.

    Source: Meta, "Customer Information Parameters", Country.
    """
    if code := COUNTRIES.get(text):
        return code
    name = _NOT_A_TO_Z.sub("", unicodedata.normalize("NFKD", text))
    try:
        return COUNTRIES[name]
    except KeyError:
        raise _Refused("expected a country's ISO 3166-1 code or its name") from None


_HASHED: dict[str, _Read] = {
    "em": _hashed(_email),
    "ph": _hashed(_phone, int),
    "fn": _hashed(_name),
    "ln": _hashed(_name),
    "db": _hashed(_birth_date, int, date),
    "ge": _hashed(_gender),
    "ct": _hashed(_city),
    "st": _hashed(_state),
    "zp": _hashed(_zip, int),
    "country": _hashed(_country),
    "external_id": _read_external_id,
    "f5first": _hashed(_name_start(5)),
    "f5last": _hashed(_name_start(5)),
    "fi": _hashed(_name_start(1)),
    "dobd": _hashed(_birth_part(1, 31), int),
    "dobm": _hashed(_birth_part(1, 12), int),
    "doby": _hashed(_birth_year, int),
}
_PLAIN: dict[str, _Read] = {
    "client_ip_address": _read_ip,
    "client_user_agent": _read_user_agent,
    "fbc": _plain(),
    "fbp": _plain(),
    "subscription_id": _plain(int, UUID),
    "fb_login_id": _integer(_LOGIN_ID, "a whole number of at most 19 digits"),
    "lead_id": _integer(_LEAD_ID, "a whole number of 15 to 17 digits"),
    "anon_id": _plain(UUID),
    "madid": _plain(UUID),
    "page_id": _plain(int),
    "page_scoped_user_id": _plain(int),
    "ctwa_clid": _plain(),
    "ig_account_id": _plain(int),
    "ig_sid": _plain(int),
    "whatsapp_business_account_id": _plain(int),
}
_READABLE = {
    "email": "em",
    "phone": "ph",
    "first_name": "fn",
    "last_name": "ln",
    "date_of_birth": "db",
    "birthday": "db",
    "gender": "ge",
    "city": "ct",
    "state": "st",
    "zip": "zp",
    "zip_code": "zp",
    "postal_code": "zp",
}
_FIELDS = {key: _Field(key, read, key in _HASHED) for key, read in (_HASHED | _PLAIN).items()}
_FIELDS |= {name: _FIELDS[key] for name, key in _READABLE.items()}
