"""Meta's rules for one text value: trimmed lower-case text → what is hashed, or a refusal.

An external id alone is taken as it comes and hashed here, since the session holds it too. Every
rule takes the options so that one table can hold them all. Nothing is cached: a cache would
keep raw personal data in memory.

Source: Meta, "Customer Information Parameters", read 2026-11-23. Where it does not say, Meta's own
Python SDK 26 and parameter builder decide, the latter first because the pixel agrees with it.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import string
import unicodedata
from collections.abc import Callable, Mapping
from datetime import date
from types import ModuleType
from typing import Any

import msgspec

from bridge.errors import ConfigError
from bridge.events.places import COUNTRIES, MONTH_FIRST, STATES, UNDECIDED

# What JavaScript calls white space, so that both twins drop the same characters: Python's ``\s``
# also has \x1c to \x1f, and lacks U+FEFF. And the line end of mainframes, which nobody types.
SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)
_NEXT_LINE = "\x85"
_CONTROL = "".join(map(chr, range(32))) + "\x7f"
_NO_SPACE = dict.fromkeys(map(ord, SPACE))
_NO_PHONE_SIGNS = dict.fromkeys(map(ord, SPACE + "+()-./"))
_NO_SPACE_OR_CONTROL = dict.fromkeys(map(ord, SPACE + _CONTROL))
# Only ASCII punctuation goes: U+2019 and U+2011 stay in a name, as in all of Meta's own code.
_ONLY_LETTERS_AND_DIGITS = dict.fromkeys(map(ord, string.punctuation + SPACE + _CONTROL))
_ONLY_LETTERS = dict.fromkeys(map(ord, string.punctuation + string.digits + SPACE + _CONTROL))

MAX_COUNTRY = 100  # characters of a country's name

SHA256 = re.compile(r"[0-9A-Fa-f]{64}")
# Meta's parameter builder puts a mark behind what it hashed, and behind an IP address.
MARK = re.compile(r"\.(?:AQ|Ag|Aw|BA|BQ|Bg|[A-Za-z0-9_-]{8})\Z")
# What most addresses are like: a look that costs half as much.
PLAIN_EMAIL = r"[a-z0-9_+-]++(?:\.[a-z0-9_+-]++)*+@(?:[a-z0-9]++\.)++[a-z]++"
_is_plain_email = re.compile(PLAIN_EMAIL).fullmatch
_ATOM = r"[^\s\x00-\x1f\x7f-\x9f@.,:;<>()\[\]\"\\]+"
_LETTER = r"\s\x00-/:-`{-\x9f"  # what no label of a domain holds; a hyphen only inside
_LABEL = rf"[^{_LETTER}](?:(?:-|[^{_LETTER}])*[^{_LETTER}])?"
_EMAIL = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}\.)+{_LABEL}")
# Of no width, or only for the direction of writing: they come with what is copied from a page.
_INVISIBLE = re.compile(
    "[\x80-\x9f\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]"
)
_DECIMAL_ZERO = re.compile(r"(\+?[0-9]+)\.0+")  # a whole number that a table kept as a float
# A country code, and behind it in brackets the zero that is dialled only within the country.
_TRUNK_ZERO = re.compile(r"\(\s*0")
# Where the zero is part of the number: Italy and its neighbours, Gabon, Congo, Ivory Coast.
_KEEPS_ZERO = frozenset({"39", "378", "379", "225", "241", "242"})
_NOT_DIGIT = re.compile(r"[^0-9]+")
_EXTENSION = re.compile(r"(?:;|(?<=[0-9 .,])(?:ext|x|#)).*", re.DOTALL)
# What most birth dates are like, day and month and year possible.
_PLAIN_DATE = re.compile(r"(?:19|[2-9][0-9])[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])")
_EIGHT_DIGITS = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})")
_NO_YEAR_FIRST = re.compile(r"([0-9]{2})([0-9]{2})([0-9]{4})")
_DATE = re.compile(
    r"([0-9]{1,4})([^0-9a-z]{1,3})([0-9]{1,2})[^0-9a-z]{1,3}([0-9]{1,4})(?:[^0-9].*)?", re.DOTALL
)
_NOT_IN_CITY = re.compile(r"[0-9.\s\x00-\x1f\x7f\ufeff()-]")
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


class Options(msgspec.Struct, frozen=True, gc=False):
    """What a rule may depend on other than the text."""

    region: str | None = None  # ISO 3166-1 alpha-2: where the app's customers are from
    today: date | None = None  # the last possible birth date
    beside: Mapping[Any, object] = {}  # the data that the text is from

    @property
    def country(self) -> str:
        """The country that the data names, else the app's, upper case; ``""`` if neither does."""
        given = self.beside.get("country")
        given = given[0] if isinstance(given, list | tuple) and given else given
        named = ""
        if isinstance(given, str) and len(given) <= MAX_COUNTRY:
            with contextlib.suppress(RefusedError):
                named = normalize_country(given.strip(SPACE).lower(), self)
        return (named or self.region or "").upper()


_PLAIN_ID = re.compile(r"[a-z0-9_-]+")
Rule = Callable[[str, Options], str]  # raises RefusedError


def hash_external_id(value: str) -> str:
    """Return ``value`` as the pixel hashes an ``external_id``: 64 lower-case hex digits.

    64 hex digits are taken as already hashed and only lower-cased, without the mark of Meta's
    parameter builder and white space around them. Anything else loses JavaScript's white space, is
    lower-cased and hashed: ``"User 42"`` gives the SHA-256 of ``"user42"``. Note:

    - The pixel also passes 32 hex digits (``uuid4().hex``), unhashed. They are hashed here: give
      the pixel this function's result, never the raw id, and both twins carry the same bytes.
    - ``""`` gives ``""``, and nothing is sent: the digest of nothing would be shared by strangers.

    Source: measured with fbevents.js 2.9.184 to 2.9.364.
    """
    if not value:
        return ""
    if len(value) >= 64 and (digest := read_digest(value)):
        return digest
    # Most ids are plain, and a table costs more than the hash.
    plain = _PLAIN_ID.fullmatch(value) is not None
    text = value if plain else value.translate(_NO_SPACE).lower() or value
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def read_digest(text: str) -> str | None:
    """Return the SHA-256 digest that ``text`` is, in lower case; ``None`` if it is none."""
    bare = MARK.sub("", text.strip(SPACE))
    return bare.lower() if SHA256.fullmatch(bare) else None


def normalize_email(text: str, _: Options) -> str:
    """Return ``text``: Meta wants e-mail addresses trimmed and in lower case, no more.

    Dots and ``+tags`` stay; what nobody sees goes. Source: Meta, "Customer Information Parameters",
    Email.
    """
    if _is_plain_email(text):
        return text
    text = _INVISIBLE.sub("", text).strip(SPACE)
    if not _EMAIL.fullmatch(text):
        raise RefusedError("expected an e-mail address")
    return text


def normalize_phone(text: str, options: Options) -> str:
    """Return ``text`` as Meta wants phone numbers: digits only, country code first.

    ``"+1 (650) 555-0100"`` becomes ``"16505550100"``, ``"+49 (0)170 1234567"``
    ``"491701234567"``. An extension is not part of it. A number without a country code is from the
    country beside it, else from the app's region; without either one that begins with a zero is
    refused: its digits would match nobody, or a stranger.

    Source: Meta, "Customer Information Parameters", Phone number; 7 to 15 digits: Meta's Python
    SDK's lower bound and E.164's upper one.
    """
    if text[:1] == "+" and options.region is None and "(0" not in text and "( " not in text:
        return _phone_digits(text)
    if match := _DECIMAL_ZERO.fullmatch(text):
        text = match[1]
    text = _drop_trunk_zero(_to_ascii_digits(text))
    digits = _NOT_DIGIT.sub("", text)
    is_abroad = "+" in text[: text.find(digits[:1])] or digits.startswith("00")
    if is_abroad and options.region is None:
        return _phone_digits(text)
    if country := options.country:
        return _phone_from(country, text, options, is_national=digits.startswith("0"))
    if digits.startswith("0"):
        raise RefusedError("no country code: write it with +, or give its country beside it")
    return _phone_digits(text)


def _to_ascii_digits(text: str) -> str:
    if text.isascii():
        return text
    return "".join(str(unicodedata.decimal(character, character)) for character in text)


def _drop_trunk_zero(text: str) -> str:
    if (match := _TRUNK_ZERO.search(text)) is None:
        return text
    before = text[: match.start()]
    code = _NOT_DIGIT.sub("", before).lstrip("0")
    is_trunk = 1 <= len(code) <= 3 and code not in _KEEPS_ZERO
    return f"{before} {text[match.end() :]}" if is_trunk else text


def _phone_from(country: str, text: str, options: Options, *, is_national: bool) -> str:
    """Return the digits of a number that ``country`` is known of, if the package can read it."""
    regions = [country] if options.region in (None, country) else [country, options.region.upper()]
    for region in regions:
        try:
            return _phone_in_region(text, region)
        except ConfigError as error:
            # The app's own region was checked; a country beside a number is only data.
            if options.region is not None:
                raise
            if is_national:
                raise RefusedError(str(error)) from None
            return _phone_digits(text)
        except RefusedError:
            continue
    raise RefusedError("expected a phone number of its country, or one with + and its code")


def _phone_digits(text: str) -> str:
    digits = text.translate(_NO_PHONE_SIGNS)
    if not (digits.isdigit() and digits.isascii()):
        digits = _NOT_DIGIT.sub("", _EXTENSION.sub("", _to_ascii_digits(text)))
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
    """Return ``text`` as YYYYMMDD.

    ``"2/16/1997"``, ``"16.02.1997"``, ``"16021997"`` and ``"1997-02-16T00:00:00Z"`` become
    ``"19970216"``. Which number is the month, the country says, else the other number if it is
    over 12, else a slash: Meta's own example is ``2/16/1997``. ``"3.4.1997"`` alone is refused.

    Source: Meta, "Customer Information Parameters", Date of birth: year 1900 to now.
    """
    if not _PLAIN_DATE.fullmatch(text):
        text = _read_date(text, options)
    today = options.today
    if today is not None and int(text[:4]) >= today.year and text > f"{today:%Y%m%d}":
        raise RefusedError("a birth date in the future")
    return text


def _read_date(text: str, options: Options) -> str:
    text = text.replace(_NEXT_LINE, "")
    if match := _DECIMAL_ZERO.fullmatch(text):
        text = match[1]
    separator = ""
    if match := _DATE.fullmatch(text):
        first, separator, second, third = match[1], match[2], match[3], match[4]
    else:
        match = _EIGHT_DIGITS.fullmatch(text)
        if match is None or not _is_day(match[2], match[3], match[1]):
            match = _NO_YEAR_FIRST.fullmatch(text)
        if match is None:
            raise RefusedError("expected a date such as 1997-02-16")
        first, second, third = match.groups()
    if int(first) > 31:
        year, month, day = first, second, third
        if int(month) > 12:
            month, day = day, month
    else:
        year, month, day = third, first, second
        if int(month) > 12 or (
            int(day) <= 12 and int(day) != int(month) and _is_day_first(separator, options)
        ):
            month, day = day, month
    if not _is_day(month, day, year):
        raise RefusedError("expected a date such as 1997-02-16, from 1900 on")
    return f"{int(year):04}{int(month):02}{int(day):02}"


def _is_day(month: str, day: str, year: str) -> bool:
    return 1 <= int(month) <= 12 and 1 <= int(day) <= 31 and int(year) >= 1900


def _is_day_first(separator: str, options: Options) -> bool:
    """Return whether the day of a date that could be two comes first where it is from."""
    country = options.country.lower()
    if country and country not in UNDECIDED:
        return country not in MONTH_FIRST
    if "/" not in separator:
        raise RefusedError("day or month first? write it as 1997-02-16")
    return False


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
    text = text.replace(_NEXT_LINE, "")
    if not (text.isascii() and text.isdigit() and len(text) <= digits):
        raise RefusedError(f"expected a number of at most {digits} digits")
    if not low <= int(text) <= high:
        raise RefusedError(f"expected a number from {low} to {high}")
    return text.zfill(digits)


def normalize_gender(text: str, _: Options) -> str:
    """Return ``m`` or ``f``, which is all Meta has.

    Source: Meta, "Customer Information Parameters", Gender; words as in its parameter builder.
    """
    if gender := _GENDER_OF.get(text.replace(_NEXT_LINE, "").rstrip(".")):
        return gender
    raise RefusedError("Meta has m and f only")


def normalize_city(text: str, _: Options) -> str:
    """Return ``text``, of it only ``a`` to ``z`` and digits if it has Latin letters.

    ``"São Paulo"`` becomes ``"sopaulo"``, as in the pixel and the parameter builder, and ``"東京"``
    stays ``"東京"``. See ``spell_city``.

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


def spell_city(text: str) -> str:
    """Return ``text`` as Meta's Python SDK has a city: letters of all alphabets stay.

    Which of the two forms Meta compares with is not published: a city with accents is sent in both.

    Source: ``facebook_business`` 26, ``serverside/normalize.py``, ``location_excluded_chars``.
    """
    return _NOT_IN_CITY.sub("", text)


def normalize_state(text: str, _: Options) -> str:
    """Return a US state's or a Canadian province's two letters, or another region's name.

    ``"California"`` becomes ``"ca"``, ``"Québec"`` ``"qc"``, ``"Bayern"`` ``"bayern"``.

    Source: Meta, "Customer Information Parameters", State: two letters in the US, elsewhere "no
    punctuation, no special characters, and no spaces"; Canada: its parameter builder and the pixel.
    """
    name = text.translate(_ONLY_LETTERS)
    plain = name if name.isascii() else _to_a_z(name)
    return STATES.get(plain, name)


def normalize_zip(text: str, _: Options) -> str:
    """Return ``text`` up to its dash, without spaces, at least two characters.

    ``"94035-1234"`` and ``"940351234"`` become ``"94035"``, ``"M1 1AE"`` ``"m11ae"``.

    Source: Meta, "Customer Information Parameters", Zip; two characters: its parameter builder.
    """
    code = text.partition("-")[0]
    if not (code.isalnum() and code.isascii()):
        if match := _DECIMAL_ZERO.fullmatch(code):
            code = match[1]
        code = code.translate(_NO_SPACE_OR_CONTROL)
    if len(code) == 9 and code.isascii() and code.isdigit():  # no other country has nine digits
        code = code[:5]
    if len(code) < 2:
        raise RefusedError("expected two characters or more before a dash")
    return code


def normalize_country(text: str, _: Options) -> str:
    """Return the ISO 3166-1 alpha-2 code for a code or a name, in lower case.

    ``"Côte d'Ivoire"`` becomes ``"ci"``, ``"UK"`` and ``"England"`` ``"gb"``.

    Source: Meta, "Customer Information Parameters", Country.
    """
    name = text if text in COUNTRIES else _to_a_z(text)
    if code := COUNTRIES.get(name):
        return code
    raise RefusedError("expected a country's ISO 3166-1 code or its name")


def _to_a_z(text: str) -> str:
    return _NOT_A_TO_Z.sub("", unicodedata.normalize("NFKD", text))


def check_phone_support(region: str) -> str:
    """Return ``region`` in upper case, sure that phone numbers can be read with it.

    Call it where the setting is read. It also loads the numbering plans of all countries (50 ms),
    so that no request waits for the disk.

    Raises:
        ConfigError: ``phonenumbers`` is not installed or does not support the region.
    """
    _phonenumbers(region.upper()).PhoneMetadata.load_all()
    return region.upper()
