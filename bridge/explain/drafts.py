"""An event as the app gave it: made safe to explain, with remarks on what Bridge changes. Pure.

The remarks say what Segment, or its own Meta destination, would have made of what was given:
``explainer`` shows what became of it. None quotes a personal value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

import msgspec

from bridge.destinations.messages import read_traits
from bridge.events.normalizers import SHA256
from bridge.events.properties import copy_plain
from bridge.events.reader import Entrance, EventReader
from bridge.events.tripwire import Found
from bridge.explain.remarks import Remark, read_object

_DAY_OR_MONTH = re.compile(r"\s*([0-9]{1,2})[./ -]([0-9]{1,2})[./ -][0-9]{4}\s*")
_EIGHT_DIGITS = re.compile(r"[0-9]{8}")
_NATIONAL = re.compile(r"[\s(]*0(?!0)")


class Draft(msgspec.Struct):
    """An event as it was given, made safe.

    Attributes:
        fields: Its keys: no personal data in its properties, user data and traits hashed.
        given: Its properties before numbers were read, if they are in Segment's words.
        remarks: What was done to it.
    """

    fields: dict[str, Any]
    given: dict[str, Any]
    remarks: list[Remark]

    def note_removed(self, name: object, path: str, found: Sequence[Found]) -> None:
        """Add a remark for everything personal that was removed from the object at ``path``."""
        for each in found:
            words = f"looks personal ({each.kind}) and is removed"
            self.remarks.append(Remark("warning", "personal_removed", f"{path}.{each.path}", words))


class DraftReader:
    """Reads events as ``Enricher`` does, and remarks on what that changes, instead of logging it.

    Args:
        reader: Reads the app's events.
    """

    def __init__(self, reader: EventReader) -> None:
        self._reader = reader

    def read(self, event: Mapping[str, Any], name_key: str, entrance: Entrance) -> Draft:
        """Return ``event`` as a draft.

        Args:
            event: A server event of Meta's or a track message of Segment's.
            name_key: The key of its name.
            entrance: Which of the two it is.

        Raises:
            InvalidEventError: It would be refused; the message names the field.
        """
        fields = {key: value for key, value in event.items() if value is not None}
        draft = Draft(fields, {}, [])
        if fields.get("userId") == "":
            words = (
                "an empty userId counts as one: Segment's destination would not fall back to"
                " anonymousId, and send no external id; Bridge leaves it out"
            )
            draft.remarks.append(Remark("info", "user_id_empty", "userId", words))
        path = entrance.path
        if (raw := fields.get(path)) is not None:
            plain = self._reader.copy(fields.get(name_key), raw, path, draft.note_removed)
            given = deepcopy(plain)
            reading = self._reader.read(fields.get(name_key), plain, entrance, draft.note_removed)
            draft.remarks += _compare(given, reading.properties, path)
            draft.given = given if reading.spec_name else {}
            fields[path] = reading.properties
        self._reader.read_details(fields, draft.note_removed)
        if isinstance(raw := fields.get("user_data"), Mapping):
            places = {key: f"user_data.{key}" for key in raw}
            fields["user_data"] = self.hash(raw, places, draft.remarks)
        context = read_object(fields, "context")
        if (raw := context.get("traits")) is not None:
            traits = copy_plain(raw, "context.traits")
            self._hash_traits(traits, draft)
            fields["context"] = {**context, "traits": traits}
        return draft

    def hash(
        self, raw: Mapping[str, Any], places: Mapping[str, str], remarks: list[Remark]
    ) -> dict[str, Any]:
        """Return user data hashed, with remarks on what is left out or may be read wrongly.

        Args:
            raw: As ``read_user_data`` takes it.
            places: Where in the event each key is.
            remarks: Where to add them.
        """

        def note_dropped(key: str, dropped: int, given: int, reason: str) -> None:
            remarks.append(Remark("warning", "user_data_dropped", places[key], reason))

        hashed = self._reader.read_user_data(raw, on_dropped=note_dropped)
        for key, value in raw.items():
            for text in value if isinstance(value, list) else [value]:
                remarks.extend(self._check_format(key, str(text), places[key]))
        return hashed

    def _check_format(self, key: str, text: str, path: str) -> Iterator[Remark]:
        if key in ("ph", "phone") and self._reader.phone_region is None and _NATIONAL.match(text):
            words = "has no country code, and matches nobody: set phone_region, or write it with +"
            yield Remark("warning", "phone_without_country", path, words)
        if key in ("db", "birthday", "date_of_birth") and (match := _DAY_OR_MONTH.fullmatch(text)):
            first, second = int(match[1]), int(match[2])
            if first != second and max(first, second) <= 12:
                words = "is read with the month first; write YYYY-MM-DD to be sure"
                yield Remark("warning", "birthday_ambiguous", path, words)

    def _hash_traits(self, traits: dict[str, Any], draft: Draft) -> None:
        """Put digests in the place of personal ``traits``, with remarks on what becomes of each."""
        address = traits.get("address")
        parts = address if isinstance(address, dict) else {}
        for name in [*traits]:
            if traits[name] is not parts:
                self._hash_trait(traits, name, {name: traits[name]}, name, draft.remarks)
        for part in [*parts]:
            shown = part[:50] if part.isidentifier() else "<key>"
            alone = {"address": {part: parts[part]}}
            self._hash_trait(parts, part, alone, f"address.{shown}", draft.remarks)
        self._reader.clean(None, read_traits(traits)[1], "context.traits", draft.note_removed)

    def _hash_trait(
        self,
        owner: dict[str, Any],
        name: str,
        alone: dict[str, Any],
        path: str,
        remarks: list[Remark],
    ) -> None:
        """Hash one trait.

        Args:
            owner: The object that holds it.
            name: Its key there.
            alone: Traits of which it is the only one.
            path: Where it is among the traits.
            remarks: Where to add what becomes of it.
        """
        if owner[name] is None:
            return
        path = f"context.traits.{path}"
        person, rest = read_traits(alone)
        for key, value in person.items():
            hashed = self.hash({key: value}, {key: path}, remarks)
            owner[name] = hashed.get(key)
            if key in hashed:
                remarks.extend(_check_trait(key, value, path))
        if not person and not rest:
            words = "is personal, and Meta takes no digest of it: it is removed"
            remarks.append(Remark("warning", "personal_removed", path, words))


def _compare(before: Any, after: Any, path: str) -> Iterator[Remark]:
    """Yield a remark for each value that reading numbers changed."""
    if isinstance(before, dict):
        for key, value in before.items():
            yield from _compare(value, after[key], f"{path}.{key}")
    elif isinstance(before, list):
        for i, value in enumerate(before):
            yield from _compare(value, after[i], f"{path}[{i}]")
    elif before != after or type(before) is not type(after):
        if path.endswith(".currency"):
            words = f"{before!r} becomes {after!r}: Segment's destination takes no other spelling"
            yield Remark("info", "currency_case", path, words)
        else:
            yield Remark("info", "converted", path, f"{before!r} becomes {after!r}")


def _check_trait(key: str, value: object, path: str) -> Iterator[Remark]:
    """Yield what would become of a trait if Segment got it as it is.

    Args:
        key: Meta's name for it.
        value: What was given.
        path: Where it is.
    """
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
