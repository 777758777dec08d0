"""Meta's rules for one text value: trimmed lower-case text → what is hashed, or a refusal.

An external id alone is taken as it comes and hashed here, since the session holds it too. Every
rule takes the options so that one table can hold them all. Nothing is cached: a cache would
keep raw personal data in memory.

Source: Meta, "Customer Information Parameters", read 2026-11-23. Where it does not say, Meta's own
Python SDK 26 and parameter builder decide, the latter first because the pixel agrees with it.
"""

from __future__ import annotations

import hashlib
import re
import string
import unicodedata
from collections.abc import Callable
from datetime import date
from types import ModuleType
from typing import NamedTuple

from bridge.errors import ConfigError
from bridge.events.places import COUNTRIES, US_STATES

# What JavaScript calls white space, so that both twins drop the same characters: Python's ``\s``
# also has \x1c to \x1f and \x85, and lacks U+FEFF.
SPACE = (
    "\t\n\v\f\r \xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)
_CONTROL = "".join(map(chr, range(32))) + "\x7f"
_NO_SPACE = dict.fromkeys(map(ord, SPACE))
_NO_PHONE_SIGNS = dict.fromkeys(map(ord, SPACE + "+()-./"))
_NO_SPACE_OR_CONTROL = dict.fromkeys(map(ord, SPACE + _CONTROL))
# Only ASCII punctuation goes: U+2019 and U+2011 stay in a name, as in all of Meta's own code.
_ONLY_LETTERS_AND_DIGITS = dict.fromkeys(map(ord, string.punctuation + SPACE + _CONTROL))
_ONLY_LETTERS = dict.fromkeys(map(ord, string.punctuation + string.digits + SPACE + _CONTROL))

SHA256 = re.compile(r"[0-9A-Fa-f]{64}")
# What most addresses are like: a look that costs half as much.
_PLAIN_EMAIL = re.compile(r"[a-z0-9_+-]+(?:\.[a-z0-9_+-]+)*@(?:[a-z0-9]+\.)+[a-z]+")
_ATOM = r"[^\s\x00-\x1f\x7f@.,:;<>()\[\]\"\\]+"
_LABEL = r"[a-z0-9\u0080-\U0010ffff](?:[a-z0-9\u0080-\U0010ffff-]*[a-z0-9\u0080-\U0010ffff])?"
_EMAIL = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}\.)+{_LABEL}")
_NOT_DIGIT = re.compile(r"[^0-9]+")
_EXTENSION = re.compile(r"(?:;|(?<=[0-9 .,])(?:ext|x|#)).*", re.DOTALL)
# What most birth dates are like, day and month and year possible.
_PLAIN_DATE = re.compile(r"(?:19|[2-9][0-9])[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])")
_EIGHT_DIGITS = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})")
_DATE = re.compile(
    r"([0-9]{1,4})[^0-9a-z]{1,3}([0-9]{1,2})[^0-9a-z]{1,3}([0-9]{1,4})(?:[^0-9].*)?", re.DOTALL
)
_NOT_LATIN = re.compile(r"[^a-z0-9]+")
_NOT_A_TO_Z = re.compile(r"[^a-z]+")

_GENDERS = {
    "m": ("male", "man", "boy", "gentleman", "sir", "mister", "mr", "he", "him", "his"),
    "f": ("female", "woman", "girl", "lady", "madam", "miss", "mrs", "ms", "she", "her", "hers"),
}
_GENDER_OF = {word: gender for gender, words in _GENDERS.items() for word in (gender, *words)}


class RefusedError(Exception):
    """A value that cannot be used; the text says why, without the value.

    ``read_user_data`` catches it: it never leaves the package.
    """


class Options(NamedTuple):
    """What a rule may depend on other than the text."""

    region: str | None  # ISO 3166-1 alpha-2; where numbers without a country code are from
    today: date | None  # the last possible birth date's year is this one's


_PLAIN_ID = re.compile(r"[a-z0-9_-]+")
Rule = Callable[[str, Options], str]  # raises RefusedError


def hash_external_id(value: str) -> str:
    """Return ``value`` as the pixel hashes an ``external_id``: 64 lower-case hex digits.

    64 hex digits are taken as already hashed and only lower-cased. Anything else loses JavaScript's
    white space, is lower-cased and hashed: ``"User 42"`` gives the SHA-256 of ``"user42"``. Note:

    - The pixel also passes 32 hex digits (``uuid4().hex``), unhashed. They are hashed here: give
      the pixel this function's result, never the raw id, and both twins carry the same bytes.
    - ``""`` gives ``""``, and nothing is sent: the digest of nothing would be shared by strangers.

    Source: measured with fbevents.js 2.9.184 to 2.9.364.
    """
    if not value or (len(value) == 64 and SHA256.fullmatch(value)):
        return value.lower()
    # Most ids are plain, and a table costs more than the hash.
    plain = _PLAIN_ID.fullmatch(value) is not None
    text = value if plain else value.translate(_NO_SPACE).lower() or value
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def normalize_email(text: str, _: Options) -> str:
    """Return ``text``: Meta wants e-mail addresses trimmed and in lower case, no more.

    Dots and ``+tags`` stay. Source: Meta, "Customer Information Parameters", Email.
    """
    if not _PLAIN_EMAIL.fullmatch(text) and not _EMAIL.fullmatch(text):
        raise RefusedError("expected an e-mail address")
    return text


def normalize_phone(text: str, options: Options) -> str:
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
        raise RefusedError("expected a phone number of 7 to 15 digits, country code first")
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
    raise RefusedError("expected a phone number")


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
    """Return the ``phonenumbers`` package, which is optional, if it supports ``region``."""
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


def normalize_name(text: str, _: Options) -> str:
    """Return ``text`` without ASCII punctuation and white space; accents stay.

    Source: Meta, "Customer Information Parameters", First and last name: "no punctuation"; inner
    spaces go too, as in Meta's parameter builder and the pixel.
    """
    return text if text.isalpha() else text.translate(_ONLY_LETTERS_AND_DIGITS)


def build_name_start(length: int) -> Rule:
    """Return a rule for the first ``length`` letters of a name."""
    return lambda text, options: normalize_name(text, options)[:length]


def normalize_birth_date(text: str, options: Options) -> str:
    """Return ``text`` as YYYYMMDD; month first where it could be either.

    ``"2/16/1997"``, ``"16.02.1997"`` and ``"1997-02-16T00:00:00Z"`` become ``"19970216"``.

    Source: Meta, "Customer Information Parameters", Date of birth: year 1900 to now.
    """
    if options.today is None and _PLAIN_DATE.fullmatch(text):
        return text
    if match := _EIGHT_DIGITS.fullmatch(text):
        year, month, day = map(int, match.groups())
    elif match := _DATE.fullmatch(text):
        first, second, third = map(int, match.groups())
        year, month, day = (first, second, third) if first > 31 else (third, first, second)
        if month > 12:
            month, day = day, month
    else:
        raise RefusedError("expected a date such as 1997-02-16")
    if not 1 <= month <= 12 or not 1 <= day <= 31:
        raise RefusedError("expected a date such as 1997-02-16")
    return f"{_checked_year(year, options)}{month:02}{day:02}"


def normalize_birth_year(text: str, options: Options) -> str:
    """Return a year of birth as YYYY."""
    return str(_checked_year(int(_part(text, 1, 9999, 4)), options))


def _checked_year(year: int, options: Options) -> int:
    last = options.today.year if options.today else 9999
    if not 1900 <= year <= last:
        raise RefusedError("expected a year of birth from 1900 to now")
    return year


def build_birth_part(low: int, high: int) -> Rule:
    """Return a rule for a day or a month, to two digits."""
    return lambda text, _: _part(text, low, high, 2)


def _part(text: str, low: int, high: int, digits: int) -> str:
    if not (text.isascii() and text.isdigit() and len(text) <= digits):
        raise RefusedError(f"expected a number of at most {digits} digits")
    if not low <= int(text) <= high:
        raise RefusedError(f"expected a number from {low} to {high}")
    return text.zfill(digits)


def normalize_gender(text: str, _: Options) -> str:
    """Return ``m`` or ``f``, which is all Meta has.

    Source: Meta, "Customer Information Parameters", Gender; words as in its parameter builder.
    """
    if gender := _GENDER_OF.get(text.rstrip(".")):
        return gender
    raise RefusedError("Meta has m and f only")


def normalize_city(text: str, _: Options) -> str:
    """Return ``text``, of it only ``a`` to ``z`` and digits if it has Latin letters.

    ``"São Paulo"`` becomes ``"sopaulo"``, as in the pixel and the parameter builder, and ``"東京"``
    stays ``"東京"``.

    Source: Meta, "Customer Information Parameters", City, which allows UTF-8 and says no more.
    """
    latin = text.replace(" ", "")
    if not (latin.isalpha() and latin.isascii()):
        latin = _NOT_LATIN.sub("", text)
    if latin[:1].isalpha():
        return latin
    other = text.translate(_ONLY_LETTERS_AND_DIGITS)
    if (latin and not latin.isdigit()) or other.isascii():
        raise RefusedError("expected a city's name, beginning with a letter")
    return other


def normalize_state(text: str, _: Options) -> str:
    """Return a US state's two letters, or another region's name without spaces and digits.

    ``"California"`` becomes ``"ca"``, ``"Bayern"`` ``"bayern"``.

    Source: Meta, "Customer Information Parameters", State: two letters in the US, elsewhere "no
    punctuation, no special characters, and no spaces".
    """
    name = text.translate(_ONLY_LETTERS)
    return US_STATES.get(name, name)


def normalize_zip(text: str, _: Options) -> str:
    """Return ``text`` up to its dash, without spaces, at least two characters.

    ``"94035-1234"`` becomes ``"94035"``, ``"M1 1AE"`` ``"m11ae"``.

    Source: Meta, "Customer Information Parameters", Zip; two characters: its parameter builder.
    """
    code = text.partition("-")[0]
    if not (code.isalnum() and code.isascii()):
        code = code.translate(_NO_SPACE_OR_CONTROL)
    if len(code) < 2:
        raise RefusedError("expected two characters or more before a dash")
    return code


def normalize_country(text: str, _: Options) -> str:
    """Return the ISO 3166-1 alpha-2 code for a code or a name, in lower case.

    ``"Côte d'Ivoire"`` becomes ``"ci"``, ``"UK"`` and ``"England"`` ``"gb"``.

    Source: Meta, "Customer Information Parameters", Country.
    """
    name = text if text in COUNTRIES else _NOT_A_TO_Z.sub("", unicodedata.normalize("NFKD", text))
    if code := COUNTRIES.get(name):
        return code
    raise RefusedError("expected a country's ISO 3166-1 code or its name")


def check_phone_support(region: str) -> str:
    """Return ``region`` in upper case, sure that phone numbers can be read with it.

    Call it where the setting is read. It also loads the numbering plans of all countries (50 ms),
    so that no request waits for the disk.

    Raises:
        ConfigError: ``phonenumbers`` is not installed or does not support the region.
    """
    _phonenumbers(region.upper()).PhoneMetadata.load_all()
    return region.upper()
