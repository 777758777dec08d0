"""An event as the app gave it: made safe to explain, with remarks on what Bridge changes. Pure.

The remarks say what Segment, or its own Meta destination, would have made of what was given:
``explainer`` shows what became of it. None quotes a personal value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from bridge.destinations.messages import read_traits
from bridge.events.normalizers import SHA256
from bridge.events.properties import copy_plain
from bridge.events.reader import SERVER_EVENT, Entrance, EventReader
from bridge.events.standard import ENVELOPE
from bridge.events.tripwire import Found
from bridge.explain.remarks import Remark, read_object

_DAY_OR_MONTH = re.compile(r"\s*([0-9]{1,2})/([0-9]{1,2})/[0-9]{4}\s*")
_EIGHT_DIGITS = re.compile(r"[0-9]{8}")
_NATIONAL = re.compile(r"[\s(]*0(?!0)")


class Draft:
    """An event as it was given, made safe: read as ``Enricher`` does, with remarks for a log.

    Args:
        reader: Reads the app's events.
        event: A server event of Meta's or a track message of Segment's.
        name_key: The key of its name.
        entrance: Which of the two it is.
        today: Later birth dates are left out.

    Attributes:
        fields: Its keys: no personal data in its properties, user data and traits hashed.
        given: Its properties before numbers were read, if they are in Segment's words.
        remarks: What was done to it.

    Raises:
        InvalidEventError: It would be refused; the message names the field.
    """

    def __init__(
        self,
        reader: EventReader,
        event: Mapping[str, Any],
        name_key: str,
        entrance: Entrance,
        *,
        today: date,
    ) -> None:
        self._reader = reader
        self._today = today
        self._country: object = None  # of the person whose traits are read
        self.fields = fields = {key: value for key, value in event.items() if value is not None}
        self.given: dict[str, Any] = {}
        self.remarks: list[Remark] = []
        if fields.get("userId") == "":
            words = (
                "an empty userId counts as one: Segment's destination would not fall back to"
                " anonymousId, and send no external id; Bridge leaves it out"
            )
            self.remarks.append(Remark("info", "user_id_empty", "userId", words))
        name, path = fields.get(name_key), entrance.path
        if (raw := fields.get(path)) is not None:
            given = reader.copy(name, raw, path, self._note_removed)
            if entrance is SERVER_EVENT:
                self._leave_envelope(given)
            reading = reader.read(name, given, entrance, self._note_removed)
            self.remarks += _compare(given, reading.properties, path)
            self.given = given if reading.spec_name else {}
            fields[path] = reading.properties
        reader.read_details(fields, self._note_removed)
        if isinstance(raw := fields.get("user_data"), Mapping):
            fields["user_data"] = self.hash(raw, {key: f"user_data.{key}" for key in raw})
        context = read_object(fields, "context")
        if (raw := context.get("traits")) is not None:
            traits = copy_plain(raw, "context.traits")
            self._hash_traits(traits)
            fields["context"] = {**context, "traits": traits}

    def _leave_envelope(self, given: dict[str, Any]) -> None:
        """Remove from properties what belongs to the event itself."""
        for key in sorted(ENVELOPE.intersection(given)):
            del given[key]
            words = "belongs to the event itself, and is left out: pass it beside its properties"
            self.remarks.append(Remark("warning", "envelope_key", f"custom_data.{key}", words))

    def _note_removed(self, name: object, path: str, found: Sequence[Found]) -> None:
        for each in found:
            words = f"looks personal ({each.kind}) and is removed"
            self.remarks.append(Remark("warning", "personal_removed", f"{path}.{each.path}", words))

    def hash(
        self, raw: Mapping[str, Any], places: Mapping[str, str], country: object = None
    ) -> dict[str, Any]:
        """Return user data hashed, with remarks on what is left out or may be read wrongly.

        ``places`` says where in the event each key of ``raw`` is; ``country`` is the one beside.
        """
        beside = {"country": country} if country and "country" not in raw else {}

        def note_dropped(key: str, dropped: int, given: int, reason: str) -> None:
            if key in places:
                self.remarks.append(Remark("warning", "user_data_dropped", places[key], reason))

        hashed = self._reader.read_user_data(
            {**raw, **beside}, on_dropped=note_dropped, today=self._today
        )
        if beside:
            hashed.pop("country", None)
        has_country = bool(self._reader.phone_region or country or raw.get("country"))
        for key, value in raw.items():
            for text in value if isinstance(value, list) else [value]:
                if not has_country and isinstance(text, str):
                    self.remarks.extend(_check_format(key, text, places[key]))
        return hashed

    def _hash_traits(self, traits: dict[str, Any]) -> None:
        """Put digests in the place of personal ``traits``, with remarks on what becomes of each."""
        address = traits.get("address")
        parts = address if isinstance(address, dict) else {}
        self._country = read_traits(traits)[0].get("country")
        for name in [*traits]:
            if traits[name] is not parts:
                self._hash_trait(traits, name, {name: traits[name]}, name)
        for part in [*parts]:
            shown = part[:50] if part.isidentifier() else "<key>"
            alone = {"address": {part: parts[part]}}
            self._hash_trait(parts, part, alone, f"address.{shown}")
        self._reader.clean(None, read_traits(traits)[1], "context.traits", self._note_removed)

    def _hash_trait(
        self, owner: dict[str, Any], name: str, alone: dict[str, Any], path: str
    ) -> None:
        """Hash one trait, the key ``name`` of ``owner``; ``alone`` are traits with no other."""
        if owner[name] is None:
            return
        path = f"context.traits.{path}"
        person, _, left_out = read_traits(alone)
        for key, value in person.items():
            hashed = self.hash({key: value}, {key: path}, self._country)
            owner[name] = hashed.get(key)
            if key in hashed:
                self.remarks.extend(_check_trait(key, value, path))
        if left_out:
            del owner[name]
            words = "is personal, and Meta takes no digest of it: it is removed"
            self.remarks.append(Remark("warning", "personal_removed", path, words))


def _check_format(key: str, text: str, path: str) -> Iterator[Remark]:
    """Yield what may be read wrongly where nothing says which country it is from."""
    if key in ("ph", "phone") and _NATIONAL.match(text):
        words = "has no country code, and matches nobody: set phone_region, or write it with +"
        yield Remark("warning", "phone_without_country", path, words)
    if key in ("db", "birthday", "date_of_birth") and (match := _DAY_OR_MONTH.fullmatch(text)):
        first, second = int(match[1]), int(match[2])
        if first != second and max(first, second) <= 12:
            words = "is read with the month first; write YYYY-MM-DD to be sure"
            yield Remark("warning", "birthday_ambiguous", path, words)


def _compare(before: Any, after: Any, path: str) -> Iterator[Remark]:
    """Yield a remark for each value that reading numbers changed."""
    if isinstance(before, dict):
        for key, value in before.items():
            yield from _compare(value, after[key], f"{path}.{key}")
    elif isinstance(before, list):
        for i, value in enumerate(before):
            yield from _compare(value, after[i], f"{path}[{i}]")
    elif isinstance(before, str) and isinstance(after, list):
        yield Remark("info", "converted", path, "a text of JSON becomes the list that it is")
    elif before != after or type(before) is not type(after):
        if path.endswith(".currency"):
            words = f"{before!r} becomes {after!r}, as ISO 4217 writes it"
            yield Remark("info", "currency_case", path, words)
        else:
            yield Remark("info", "converted", path, f"{before!r} becomes {after!r}")


def _check_trait(key: str, value: object, path: str) -> Iterator[Remark]:
    """Yield what would become of a trait if Segment got it as it is; ``key`` is Meta's."""
    texts = [str(each).strip() for each in (value if isinstance(value, list) else [value])]
    clear = [text for text in texts if text and not SHA256.fullmatch(text)]
    if not clear:
        return
    words = "in the clear, every destination of Segment's could read it: Bridge hashes it"
    yield Remark("info", "trait_in_clear", path, words)
    if key == "db" and not all(map(_EIGHT_DIGITS.fullmatch, clear)):
        words = (
            "Segment's destination reads no date and hashes the text as it is: Bridge hashes"
            " it as YYYYMMDD"
        )
        yield Remark("info", "birthday_format", path, words)
    if key == "ph" and any(re.sub(r"[^0-9]", "", text).startswith("0") for text in clear):
        words = "Segment's destination keeps leading zeros and matches nobody: Bridge drops them"
        yield Remark("info", "phone_format", path, words)
