"""Names of people's data: what a key says about its value, whatever the value is.

A key is read as words, so that ``userEmail``, ``user_email`` and ``USER-EMAIL`` are one, and judged
by its last ones: ``billing_phone`` is a telephone number, ``phone_model`` is not. The names of the
parameters of a URL are judged by the same table. Three groups:

- Always a person's: ``email``, ``first_name``, ``ssn``, ``password``.
- A person's unless a thing has it: ``gender``, ``address``, ``zip``, ``phone``, ``birthday``; not
  in ``product_gender``, ``store.phone``, ``pet.birthday``, ``contents[0].gender``.
- A thing's unless a person has it: ``name``, ``city``, ``postal_code``; but ``customer_name``,
  ``billing.city``, ``traveler.postal_code``.

Some words need a value that fits: ``ip: "IP68"`` is a water protection, ``token: "BTC"`` a coin,
and under ``customer`` and ``shipping_name`` a text counts if it is written like a full name.

Segment blocks ``city``, ``country``, ``state`` and ``zip`` wherever they are. Meta lists ``city``,
``country``, ``region`` and ``postal_code`` as standard parameters ("the location from user intent")
and recommends them for cars and travel. So a place is personal only where it is the place of a
person, and a country or state, which thousands of people share, never is.

Sources: Meta, "Standard Parameters" and "Automotive Ads - Events", read 2026-11-25; Meta Business
Tools Terms 1.a (contact information is for matching and hashed) and 1.h (no health, financial or
other sensitive data); Segment, Facebook Pixel destination, default blocked properties.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field

from bridge.events import personal_words as words_of

MAX_KEY = 100  # characters; a longer one is no name
MAX_FULL_NAME = 60  # characters

# What an object is about, as bits: it decides what its keys mean.
NOTHING = 0
PERSON = 1  # customer, user: who has a name and lives somewhere
PLACE = 2  # billing, shipping: where a person lives
THING = 4  # a product, a shop, a pet
PAGE = 8  # the parameters in the address of a page, which forms may have written
VENUE = 16  # of things, those that people call and visit: a shop, a hotel
ABOUT = (NOTHING, PERSON, PLACE, THING, PAGE, THING | VENUE)

# What is expected under a key, so that it is nobody's.
ANYTHING = 0
PARTS = 1
NUMBERS = 2


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """What a key says; ``PLAIN``, ``KEPT`` and ``NUMERIC`` are compared by identity.

    Attributes:
        personal: Whether a text under it is a person's.
        numbers: Whether a number is too. ``tokens: 5`` is a count.
        fits: It counts only with such a text: ``phone: "iPhone 15"`` is no telephone number.
        only: What the enclosing object must be about for that, as bits; 0 for anything.
        unless: What it must not be about, as bits.
        instead: The verdict in an object about that.
        opens: What an object under it is about, as bits, if the key says so.
        expected: The numbers that a text under it holds, which are nobody's: ``NUMBERS`` of ids,
            ``PARTS`` of the names of things, or ``ANYTHING``.
        is_public: Whether telephone numbers under it are everybody's: a shop's.
        of_url: What the parameters of a URL under it are about.
        is_simple: Whether nothing but the shape of a text under it counts.
        of_words: Whether a text counts only if it is a full name, of several words.
    """

    personal: bool = False
    numbers: bool = False
    fits: Callable[[str], bool] | None = None
    only: int = 0
    unless: int = 0
    instead: Verdict | None = None
    opens: int | None = None
    expected: int = ANYTHING
    is_public: bool = False
    of_url: int = THING
    is_simple: bool = field(init=False)
    of_words: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_simple", not (self.personal or self.is_public))
        object.__setattr__(self, "of_words", self.fits in (is_full_name, is_any_full_name))

    def holds(self, text: str) -> bool:
        """Return whether ``text`` is a person's by this key: given, and what the key means."""
        return self.personal and text != "" and (self.fits is None or self.fits(text))


def has_digits(count: int) -> Callable[[str], bool]:
    """Return a test of texts: whether one has at least ``count`` digits, of any script."""
    return lambda text: sum(map(str.isdecimal, text)) >= count


def is_full_name(text: str) -> bool:
    """Return whether ``text`` is written like a person's full name: two to five capitalised words.

    ``"Ada Lovelace"`` and ``"Lovelace, Ada"`` are, ``"DHL Express"`` is not.
    """
    if " " not in text and text.isascii():
        return False
    words = _read_name(text)
    return words is not None and all(
        word[0].isupper() or not word.islower() or word in words_of.PARTICLES for word in words
    )


def is_any_full_name(text: str) -> bool:
    """Return whether ``text`` is a full name in letters of any size: ``"ada lovelace"``."""
    return _read_name(text) is not None


def _read_name(text: str) -> list[str] | None:
    if len(text) > MAX_FULL_NAME:
        return None
    words = [word for word in _NAME_PARTS.split(text) if word]
    if len(words) == 1 and _CJK_NAME.fullmatch(words[0]):
        return None if words_of.CJK_NO_NAMES.intersection(words[0]) else words
    if not 2 <= len(words) <= 5 or not all(map(_NAME_WORD.fullmatch, words)):
        return None
    plain = {_drop_accents(word).lower() for word in words}
    return words if plain.isdisjoint(_NO_NAMES) else None


def _is_ip(text: str) -> bool:
    return ":" in text or has_digits(4)(text)  # not ``IP68``


def _is_token(text: str) -> bool:
    return not (text.isalpha() and len(text) <= 12)  # not ``BTC``, ``bitcoin``


def _is_destination(text: str) -> bool:
    return is_any_full_name(text) or (" " in text and has_digits(1)(text))


PLAIN = Verdict()
KEPT = Verdict(opens=THING, expected=NUMBERS)  # texts and numbers under it are never touched
# A number that is no person's is expected: an id, a date, a price.
NUMERIC = Verdict(expected=NUMBERS)
LABEL = Verdict(expected=PARTS)  # the name of a thing
_NAME_OF_ANY = Verdict(expected=PARTS, opens=PERSON)  # ``name: {"first": …}``
PUBLIC = Verdict(expected=NUMBERS, is_public=True)
_PAGE = Verdict(opens=THING, of_url=PAGE)

_TEXT = Verdict(personal=True)
_ANY = Verdict(personal=True, numbers=True)
_PHONE = Verdict(personal=True, numbers=True, fits=has_digits(6), unless=VENUE, instead=PUBLIC)
_CARD = Verdict(personal=True, numbers=True, fits=has_digits(6))
_BIRTH = Verdict(personal=True, numbers=True, unless=THING)
_HOME = Verdict(personal=True, numbers=True, unless=THING)
_SEX = Verdict(personal=True, numbers=True, unless=THING | PAGE)
_ZIP = Verdict(personal=True, numbers=True, fits=has_digits(2), unless=THING)
_FULL_NAME = Verdict(personal=True, fits=is_full_name)
_NAME = Verdict(personal=True, only=PERSON | PLACE | PAGE, expected=PARTS)
_PART = Verdict(personal=True, only=PERSON | PLACE)
_OF_PLACE = Verdict(personal=True, numbers=True, only=PERSON | PLACE)
_OPENS = {about: Verdict(opens=about) for about in ABOUT}
_OPENS[PERSON] = Verdict(personal=True, fits=is_full_name, opens=PERSON)
_OPENS_DESK = Verdict(opens=THING | VENUE, expected=NUMBERS, is_public=True)
_OPENS_NAMED = Verdict(personal=True, fits=is_any_full_name, opens=PERSON)
_OPENS_DESTINATION = Verdict(personal=True, fits=_is_destination, opens=PLACE)

_NAMES: dict[str, Verdict] = {
    name: verdict
    for names, verdict in (
        (words_of.TEXT_NAMES, _TEXT),
        (words_of.ANY_NAMES, _ANY),
        (words_of.BIRTH_NAMES, _BIRTH),
        (words_of.PHONE_NAMES, _PHONE),
        (words_of.CARD_NAMES, _CARD),
        (words_of.HOME_NAMES, _HOME),
        (words_of.SEX_NAMES, _SEX),
        (words_of.ZIP_NAMES, _ZIP),
        (words_of.PERSON_NAMES, _NAME),
        (words_of.PART_NAMES, _PART),
        (words_of.PLACE_NAMES, _OF_PLACE),
        ({"ip"}, Verdict(personal=True, fits=_is_ip)),
        ({"token"}, Verdict(personal=True, fits=_is_token, unless=PAGE, instead=_TEXT)),
    )
    for name in names
}

# Names only if they are the whole key: Meta's own of ``user_data``, and what is short.
_WHOLE = {"em": _TEXT, "fn": _TEXT, "ln": _TEXT, "ph": _PHONE, "mail": _TEXT, "userdata": _TEXT}
_WHOLE |= dict.fromkeys(("line1", "line2", "line3"), _OF_PLACE)

_SUBJECTS = (
    dict.fromkeys(words_of.PEOPLE, PERSON)
    | dict.fromkeys(words_of.PLACES, PLACE)
    | dict.fromkeys(words_of.THINGS, THING)
    | dict.fromkeys(words_of.VENUES | words_of.DESKS, THING | VENUE)
)
_NO_NAMES = words_of.NO_NAMES | words_of.PEOPLE
_TO = frozenset({"bill", "deliver", "ship", "sold"})  # ``ship_to``

# ``has_email``, ``opt_in_sms``, ``num_phones`` are about the data, not the data.
_ASIDES = frozenset(
    """
    accept accepts allow allows by can count has is no num number opt optin requires send should
    total use uses valid via verified wants was with without
    """.split()
)
_DIGEST_WORDS = frozenset("encrypted hash hashed md sha".split())
_DETAIL_WORDS = frozenset("data detail details info information person traits".split())

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_A-Za-z]+")
_LETTERS = str.maketrans(
    {"ß": "ss", "ł": "l", "Ł": "L", "ø": "o", "Ø": "O", "đ": "d", "\u0131": "i"}
)
_NAME_PARTS = re.compile(r"[\s,]+")
_NAME_WORD = re.compile(r"(?:[^\W\d_]{1,30}[.'\u2019-]?){1,4}+")
_CJK_NAME = re.compile("[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7a3]{2,6}")


def split_words(key: str) -> list[str]:
    """Return the words of ``key`` in lower case: ``["user", "email"]`` for ``"userEmail"``.

    Accents are dropped; what is neither letter nor digit parts words.
    """
    return [word.lower() for word in _WORD.findall(key if key.isascii() else _drop_accents(key))]


def _drop_accents(text: str) -> str:
    if text.isascii():
        return text
    plain = unicodedata.normalize("NFKD", text.translate(_LETTERS))
    return unicodedata.normalize("NFC", "".join(c for c in plain if not _is_accent(c)))


def _is_accent(sign: str) -> bool:
    return "\u0300" <= sign <= "\u036f"  # not those of Japanese


def judge_key(key: str, about: int) -> Verdict:
    """Return what ``key`` says about the value under it, in an object about ``about``."""
    verdict = _judge(key, about) if len(key) <= MAX_KEY else PLAIN
    if about & verdict.unless:
        return verdict.instead or PLAIN
    if verdict.only and not about & verdict.only:
        if verdict is _NAME and about == NOTHING:
            return _NAME_OF_ANY
        return LABEL if verdict.expected == PARTS else PLAIN
    if verdict is _NAME and about & PLACE:
        return _FULL_NAME  # ``shipping.name`` may be "Express"
    return verdict


def _judge(key: str, about: int) -> Verdict:
    words = split_words(key)
    whole = "".join(words)
    if whole in words_of.KEPT:
        return KEPT
    if whole == "id":
        return KEPT if about & THING else NUMERIC
    if whole in _WHOLE:
        return _WHOLE[whole]
    if words[-2:-1] == ["line"] and words[-1].isdigit() and _about(words[:-2]) & (PERSON | PLACE):
        return _HOME
    while words and (words[-1].isdigit() or words[-1] in _DIGEST_WORDS):
        words.pop()
    if not words:
        return PLAIN
    verdict = None if words[0] in _ASIDES else _judge_name(_order(words))
    return verdict or _judge_subject(words, whole, about)


def _order(words: list[str]) -> list[str]:
    """Return ``words`` with a person first: ``telefono_cliente`` is ``cliente_telefono``."""
    if len(words) == 1:
        for prefix in words_of.PREFIXES:
            if words[0].startswith(prefix) and words[0][len(prefix) :] in _NAMES:
                return [prefix, words[0][len(prefix) :]]
        return words
    if words[-1] not in words_of.NAMED_LAST:
        return words
    return [words[-1], *(word for word in words[:-1] if word not in words_of.PARTICLES)]


def _judge_name(words: list[str]) -> Verdict | None:
    """Return the verdict of the longest ending of ``words`` that is a name of personal data."""
    for start in range(len(words)):
        ending = "".join(words[start:])
        verdict = _NAMES.get(ending) or _NAMES.get(ending.removesuffix("s"))
        if verdict is None:
            continue
        about = _about(words[:start])
        if about & verdict.unless:
            return verdict.instead
        if about & verdict.only:
            if verdict is _NAME and about & PLACE and words[start - 1] == "shipping":
                return _FULL_NAME
            return Verdict(personal=True, numbers=verdict.numbers, fits=verdict.fits)
        if verdict.only and start > 0:  # ``product_name``, ``event_name``
            return (
                Verdict(personal=True, only=verdict.only & ~PAGE, expected=verdict.expected)
                if about == NOTHING
                else None
            )
        if about & (PERSON | PLACE):
            return Verdict(personal=True, numbers=verdict.numbers, fits=verdict.fits)
        return verdict
    return None


def _judge_subject(words: list[str], whole: str, about: int) -> Verdict:
    if whole in words_of.PAGES:
        return _OPENS[THING] if about & THING else _PAGE
    if words[-1] in words_of.NUMERIC:
        return NUMERIC
    while len(words) > 1 and words[-1] in _DETAIL_WORDS:
        words = words[:-1]
    if words[-1] == "to" and len(words) > 1 and words[-2] in _TO:
        return _OPENS_DESTINATION
    subject = _about(words[-1:])
    if subject & PERSON:
        return _OPENS_NAMED if words_of.ALWAYS_NAMED & {words[-1], whole} else _OPENS[PERSON]
    if words[-1] in words_of.DESKS:
        return _OPENS_DESK
    if subject:
        return _OPENS[subject]
    return LABEL if words[-1] in words_of.LABELS else PLAIN


def _about(words: list[str]) -> int:
    """Return what the last of ``words`` that says so is about."""
    for i in range(len(words) - 1, -1, -1):
        word = words[i]
        if about := _SUBJECTS.get(word) or _SUBJECTS.get(word.removesuffix("s"), 0):
            return about
        if word == "to" and i and words[i - 1] in _TO:
            return PLACE
    return NOTHING
