"""Random values of user data, and why ours may differ from what Meta's Python SDK makes of one."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from hashlib import sha256

from bridge.events.places import COUNTRIES, STATES

KEYS = ("em", "ph", "fn", "ln", "db", "ge", "ct", "st", "zp", "country")

# The rows of the table in docs/values.md: code → what we do.
DIFFERENCES = {
    "already MD5": "dropped: Graph takes SHA-256 only",
    "e-mail of no address": "dropped: it can be nobody's",
    "e-mail with what nobody sees": "cleaned: the address is what people see",
    "phone as written": "digits only, also with dots, letters or an extension",
    "phone of other digits": "digits of all alphabets are digits",
    "phone without country code": "dropped, unless its country is beside it",
    "phone with a trunk zero": "the zero that is dialled only within the country goes",
    "phone too short or long": "dropped: E.164 has 7 to 15 digits",
    "name with punctuation": "ASCII punctuation and spaces go, as in the builder and the pixel",
    "name of nothing": "dropped: nothing is left",
    "date as written": "YYYYMMDD, as documented",
    "date of no day": "dropped: no date, or it could be two",
    "gender as a word": "m or f, as documented",
    "gender of neither": "dropped: Meta has no other",
    "city as in the pixel": "only letters and digits, as in the builder and the pixel",
    "city of no name": "dropped: it begins with no letter",
    "state by its code": "two letters in the US and Canada, as in the builder and the pixel",
    "state with punctuation": "letters only, as documented",
    "state of no letters": "dropped: the SDK hashes the empty text",
    "zip too short": "dropped: two characters are needed, as in the builder",
    "zip of nine digits": "the first five, as documented for the US",
    "zip with what is no text": "control characters and a float's zero go",
    "country by its name": "its code, as documented",
    "country of no name": "dropped: without its accented letters it is another's code",
}

_NINE = re.compile(r"\d{9}")
_SPACES = " \t\n\x85\xa0\u200b\ufeff"
_WORDS = {
    "em": "mary john.smith +promo o'neil müller @ example .com .co.uk bücher .. < >".split(),
    "ph": "+ 00 0 (0) 49 1 650 555-0100 170 1234567 . / ext.5 tel: ( ) 44 (0)20 7946 0018".split(),
    "fn": "Mary mary-jane O'Neil 정 Valéry İpek Jr. van der 2 , !".split(),
    "ln": "Smith Müller St. John O'Brien van 李 -Jones ; ...".split(),
    "db": "1997 02 16 2 3 / . - 19970216 16.02.1997 2/16/1997 31121990 T00:00 Feb".split(),
    "ge": "f m F M male Female woman mr. mrs diverse x 1 .".split(),
    "ct": "Paris São Paulo Zürich 東京 St. Louis 's-Hertogenbosch 10001 - ( )".split(),
    "st": "CA California New York Ontario Québec Bayern NSW D.C. 06 - Île-de-France".split(),
    "zp": "94035 -1234 940351234 M1 1AE SW1A K1A 0B1 1 2 .0 100-0001".split(),
    "country": "US us DE Germany United States UK XK Côte d'Ivoire xx U.S. Deutschland 1".split(),
}


def make_value(key: str, chance: random.Random) -> str:
    """A value as people and programs write one, right or wrong."""
    words = _WORDS[key]
    text = "".join(
        chance.choice(words) + (chance.choice(_SPACES) if chance.random() < 0.2 else "")
        for _ in range(chance.randint(1, 5))
    )
    if key == "em" and chance.random() < 0.6:
        text = f"{chance.choice(words)}{chance.choice(words)}@{chance.choice(words)}.com"
    if chance.random() < 0.05:
        text = "".join(chr(chance.choice([*range(32, 127), 0xE9, 0x665, 0x200B])) for _ in range(9))
    return text


def hash_as_sdk(key: str, text: str) -> str | None:
    """The digest that Meta's Python SDK 26 sends, by its rules; ``None`` where it raises.

    ``tests.events.differential`` compares it with the SDK itself.
    """
    if not text:
        return None
    text = text.lower().strip()
    if re.fullmatch("[a-f0-9]{32}|[a-f0-9]{64}", text):
        return text
    if key == "em" and not re.match(r".+@.+\..+", text):
        return None
    if key in ("ct", "st"):
        text = re.sub(r"[0-9.\s\-()]", "", text)
    if key == "zp":
        text = re.sub(r"\s", "", text).split("-")[0]
    if key == "country":
        text = re.sub("[^a-z]", "", text)
        if text not in COUNTRIES.values() or text == "xk":
            return None
    if key == "ph":
        text = re.sub(r"[\s\-()]", "", text)
        for _ in range(2):
            text = re.sub(r"^\+?0{0,2}", "", text)
        if text.startswith("0") or not re.match(r"\d{1,4}\(?\d{2,3}\)?\d{4,}$", text):
            return None
    return sha256(text.encode()).hexdigest()


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)


def _is_phones_length(text: str) -> bool:
    digits = _digits(re.sub(r"(?:;|ext|x|#).*", "", text)).lstrip("0")
    has_trunk_zero = "(0" in re.sub(r"\s", "", text)
    return 7 + has_trunk_zero <= len(digits) <= 15


_CODES = {sha256(code.encode()).hexdigest() for code in STATES.values()}
_Fits = Callable[[str, "str | None", list[str]], bool]
_REASONS: dict[str, tuple[tuple[str, _Fits], ...]] = {
    "em": (
        ("e-mail with what nobody sees", lambda t, s, o: bool(o) and not t.isascii()),
        ("e-mail of no address", lambda t, s, o: not o),
    ),
    "ph": (
        ("phone too short or long", lambda t, s, o: not o and not _is_phones_length(t)),
        ("phone without country code", lambda t, s, o: not o and _digits(t)[:1] == "0"),
        ("phone of other digits", lambda t, s, o: bool(o) and not t.isascii()),
        ("phone with a trunk zero", lambda t, s, o: bool(o) and "(0" in re.sub(r"\s", "", t)),
        ("phone as written", lambda t, s, o: bool(o)),
    ),
    "fn": (
        ("name with punctuation", lambda t, s, o: bool(o)),
        ("name of nothing", lambda t, s, o: not re.search(r"\w", t.replace("_", ""))),
    ),
    "db": (
        ("date as written", lambda t, s, o: bool(o)),
        ("date of no day", lambda t, s, o: not o),
    ),
    "ge": (
        ("gender as a word", lambda t, s, o: bool(o)),
        ("gender of neither", lambda t, s, o: not o),
    ),
    "ct": (
        ("city as in the pixel", lambda t, s, o: bool(o)),
        ("city of no name", lambda t, s, o: not o),
    ),
    "st": (
        ("state of no letters", lambda t, s, o: not o),
        ("state by its code", lambda t, s, o: not _CODES.isdisjoint(o)),
        ("state with punctuation", lambda t, s, o: bool(o)),
    ),
    "zp": (
        ("zip too short", lambda t, s, o: not o),
        ("zip of nine digits", lambda t, s, o: bool(_NINE.search(re.sub(r"\s", "", t)))),
        ("zip with what is no text", lambda t, s, o: "." in t or not re.fullmatch("[ -~]*", t)),
    ),
    "country": (
        ("country by its name", lambda t, s, o: bool(o) and s is None),
        ("country of no name", lambda t, s, o: not o and not t.isascii()),
    ),
}  # fmt: skip
_REASONS["ln"] = _REASONS["fn"]


def explain_difference(key: str, text: str, theirs: str | None, ours: list[str]) -> str | None:
    """Return which row of the table a difference is; ``None`` if it is none of them.

    Args:
        key: Meta's.
        text: What was given.
        theirs: The SDK's digest; ``None`` if it refuses the value.
        ours: Our digests.
    """
    if not ours and re.fullmatch(r"\s*[0-9a-f]{32}\s*", text.lower()):
        return "already MD5"
    fits = (code for code, fit in _REASONS[key] if fit(text, theirs, ours))
    return next(fits, None)
