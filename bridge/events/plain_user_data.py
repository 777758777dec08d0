"""User data as most of it is written: normalised with one pattern for all of it.

Strategy: a form describes texts of which the rule in ``bridge.events.normalizers`` changes nothing,
white space, capitals and a few signs aside. The forms of all keys that an app gives together are
one pattern, so that an event's user data is read in one match. It proves and decides nothing: what
it does not match, the rules read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date
from hashlib import sha256
from typing import Any, NamedTuple

from bridge.events.normalizers import PLAIN_EMAIL
from bridge.events.places import COUNTRIES

MAX_SHAPES = 64  # sets of keys for which a pattern is kept, some kilobytes each
MAX_LENGTH = 1000  # characters of all values; no rule looks at one that is longer
SINCE = date(2020, 1, 1)  # every birth date of the form is before it

_PARTS = "\0"  # no form matches it


class Form(NamedTuple):
    """The plain form of a key.

    Attributes:
        pattern: Of lower-case UTF-8; its one group is what is hashed, but for the ``signs``. No
            text of 32 characters or more could be a digest.
        signs: Characters that the rule removes.
        lengths: The least and the most characters that may be left.
    """

    pattern: str
    signs: bytes = b""
    lengths: tuple[int, int] = (1, 31)


def _list_codes() -> str:
    """Return the pattern of all codes of countries."""
    letters: dict[str, str] = {}
    for code in sorted(set(COUNTRIES.values())):
        letters[code[0]] = letters.get(code[0], "") + code[1]
    return "|".join(f"{first}[{second}]" for first, second in letters.items())


# Letters of Latin alphabets have two bytes, from U+00C0 to U+024F.
_NAME = r"([a-z]{1,31}+|(?:[a-z]|[\xc3-\xc9][\x80-\xbf]){1,31}+)"
# Other ways of writing these are for the rules to read, and so are all other keys.
FORMS = {
    "em": Form(f"({PLAIN_EMAIL})"),
    # With its country code, and no bracket around a zero or a space.
    "ph": Form(r"(\+[1-9][0-9 ./-]*+(?:\([1-9][0-9 )./-]*+)?+)", b" +()-./", (7, 15)),
    "fn": Form(_NAME),
    "ln": Form(_NAME),
    "db": Form("((?:19[0-9]|20[01])[0-9](?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01]))"),
    "ge": Form("([fm])"),
    "ct": Form("([a-z][a-z ]*+)", b" "),
    "st": Form("([a-z][a-z])"),
    # Nine digits are two parts, of which Meta wants the first.
    "zp": Form("([a-z0-9]{2,8}+|[a-z0-9]{1,4}+ [a-z0-9]{2,4}+)", b" "),
    "country": Form(f"({_list_codes()})"),
    "external_id": Form("([a-z0-9_-]{1,63}+)"),
}


class _Shape(NamedTuple):
    """How user data of certain keys is read at once."""

    match: Callable[[bytes], re.Match[bytes] | None]
    keys: tuple[str, ...]  # Meta's
    signed: tuple[tuple[int, bytes, int, int], ...]  # a place, its signs, its lengths


class PlainUserData:
    """Reads user data in plain form.

    Args:
        keys: Meta's key for each name that user data may have.
    """

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._keys = keys
        # The first ones that an app uses are nearly all that it uses. None is dropped for another,
        # since a pattern costs as much to build as forty events to read.
        self._shapes: dict[tuple[str, ...], _Shape | None] = {}

    def read(
        self, raw: Mapping[str, Any], region: str | None, today: date | None
    ) -> dict[str, list[str]] | None:
        """Return digests by Meta's keys; ``None`` if ``raw`` is not all plain.

        The arguments are those of ``user_data.read_user_data``.
        """
        if region is not None or (today is not None and today < SINCE):
            return None
        try:
            joined = _PARTS.join(raw.values())
        except TypeError:
            present = {name: value for name, value in raw.items() if value is not None}
            return self.read(present, region, today) if len(present) < len(raw) else None
        names = tuple(raw)
        try:
            shape = self._shapes[names]
        except KeyError:
            shape = self._learn(names)
        if shape is None or len(joined) > MAX_LENGTH:
            return None
        match, keys, signed = shape
        try:
            found = match(joined.lower().encode())
        except UnicodeEncodeError:
            return None
        if found is None:
            return None
        texts = [*found.groups()]
        for i, signs, least, most in signed:
            texts[i] = bare = texts[i].translate(None, signs)
            if not least <= len(bare) <= most:
                return None
        digests = [[sha256(text).hexdigest()] for text in texts]
        return dict(zip(keys, digests))  # noqa: B905 - one of each; the check costs a hash

    def _learn(self, names: tuple[str, ...]) -> _Shape | None:
        """Return the shape of ``names``, and keep it while there is room."""
        if len(self._shapes) >= MAX_SHAPES or not all(name in self._keys for name in names):
            return None
        shape = self._shapes[names] = self._build(tuple(self._keys[name] for name in names))
        return shape

    def _build(self, keys: tuple[str, ...]) -> _Shape | None:
        """Return how ``keys`` are read; ``None`` if one has no form, or is there twice."""
        if not keys or not FORMS.keys() >= set(keys) or len(set(keys)) < len(keys):
            return None
        forms = [FORMS[key] for key in keys]
        pattern = _PARTS.join(f" *+{form.pattern} *+" for form in forms)
        signed = [(i, form.signs, *form.lengths) for i, form in enumerate(forms) if form.signs]
        return _Shape(re.compile(pattern.encode()).fullmatch, keys, tuple(signed))
