"""An event as the app gave it: made safe to explain, with remarks on what Bridge changes. Pure.

The remarks say what Segment, or its own Meta destination, would have made of what stands there:
what became of it is for ``explaining`` to show. None quotes a personal value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

import msgspec

from bridge.destinations.messages import read_traits
from bridge.event_rules import EventRules
from bridge.events.normalizers import SHA256
from bridge.events.properties import copy_plain, read_numbers
from bridge.events.user_data import read_user_data
from bridge.explain.remarks import Remark, read_object

_DAY_OR_MONTH = re.compile(r"\s*([0-9]{1,2})[./ -]([0-9]{1,2})[./ -][0-9]{4}\s*")
_EIGHT_DIGITS = re.compile(r"[0-9]{8}")
_NATIONAL = re.compile(r"[\s(]*0(?!0)")


class Draft(msgspec.Struct):
    """An event as it was told, made safe.

    Attributes:
        fields: Its keys: no personal data in its properties, user data and traits hashed.
        given: Its properties before numbers were read, if they are in Segment's words.
        remarks: What was done to it.
    """

    fields: dict[str, Any]
    given: dict[str, Any]
    remarks: list[Remark]


class DraftReader:
    """Reads events as ``Enricher`` does, and tells what it would do, instead of logging it.

    Args:
        rules: How the app's events are read.
    """

    def __init__(self, rules: EventRules) -> None:
        self._catalog = rules.catalog
        self._tripwire = rules.tripwire
        self._phone_region = rules.phone_region

    def read(self, event: Mapping[str, Any], name_key: str, properties_key: str) -> Draft:
        """Return ``event`` as a draft.

        Args:
            event: A server event of Meta's or a track message of Segment's.
            name_key: Where its name stands.
            properties_key: Where its properties stand.

        Raises:
            InvalidEventError: What it holds is no JSON, no amount, or no user data.
        """
        fields = {key: value for key, value in event.items() if value is not None}
        draft = Draft(fields, {}, [])
        if fields.get("userId") == "":
            words = (
                "an empty userId counts as one: Segment's destination would not fall back to"
                " anonymousId, and send no external id; Bridge leaves it out"
            )
            draft.remarks.append(Remark("info", "user_id_empty", "userId", words))
        if (told := fields.get(properties_key)) is not None:
            plain = copy_plain(told, properties_key)
            self._clean(plain, properties_key, draft.remarks)
            given = deepcopy(plain)
            name = fields.get(name_key)
            is_spec = isinstance(name, str) and self._catalog.find(name) is not None
            read_numbers(plain, properties_key, is_spec=is_spec)
            draft.remarks += _compare(given, plain, properties_key)
            draft.given = given if is_spec else {}
            fields[properties_key] = plain
        if isinstance(raw := fields.get("user_data"), Mapping):
            places = {key: f"user_data.{key}" for key in raw}
            fields["user_data"] = self.hash(raw, places, draft.remarks)
        context = read_object(fields, "context")
        if (told := context.get("traits")) is not None:
            traits = copy_plain(told, "context.traits")
            self._hash_traits(traits, draft.remarks)
            fields["context"] = {**context, "traits": traits}
        return draft

    def hash(
        self, raw: Mapping[str, Any], places: Mapping[str, str], remarks: list[Remark]
    ) -> dict[str, Any]:
        """Return user data hashed, and tell of what is left out or may be read wrongly.

        Args:
            raw: As ``read_user_data`` takes it.
            places: Where in the event each key stands.
            remarks: Where it is told.
        """

        def tell(key: str, dropped: int, given: int, reason: str) -> None:
            remarks.append(Remark("warning", "user_data_dropped", places[key], reason))

        hashed = read_user_data(raw, default_region=self._phone_region, tell=tell)
        for key, told in raw.items():
            for text in told if isinstance(told, list) else [told]:
                remarks.extend(self._check_format(key, str(text), places[key]))
        return hashed

    def _check_format(self, key: str, text: str, path: str) -> Iterator[Remark]:
        if key in ("ph", "phone") and self._phone_region is None and _NATIONAL.match(text):
            words = "has no country code, and matches nobody: set phone_region, or write it with +"
            yield Remark("warning", "phone_without_country", path, words)
        if key in ("db", "birthday", "date_of_birth") and (match := _DAY_OR_MONTH.fullmatch(text)):
            first, second = int(match[1]), int(match[2])
            if first != second and max(first, second) <= 12:
                words = "is read with the month first; write YYYY-MM-DD to be sure"
                yield Remark("warning", "birthday_ambiguous", path, words)

    def _clean(self, plain: dict[str, Any], path: str, remarks: list[Remark]) -> None:
        for found in self._tripwire.clean(plain):
            words = f"looks personal ({found.kind}) and is removed"
            remarks.append(Remark("warning", "personal_removed", f"{path}.{found.path}", words))

    def _hash_traits(self, traits: dict[str, Any], remarks: list[Remark]) -> None:
        """Put digests where ``traits`` tell of a person, and tell what becomes of each."""
        address = traits.get("address")
        parts = address if isinstance(address, dict) else {}
        for name in [*traits]:
            if traits[name] is not parts:
                self._hash_trait(traits, name, {name: traits[name]}, name, remarks)
        for part in [*parts]:
            shown = part[:50] if part.isidentifier() else "<key>"
            alone = {"address": {part: parts[part]}}
            self._hash_trait(parts, part, alone, f"address.{shown}", remarks)
        self._clean(read_traits(traits)[1], "context.traits", remarks)

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
            owner: What it stands in.
            name: Its name there.
            alone: Traits of which it is the only one.
            path: Where it stands among the traits.
            remarks: Where it is told what becomes of it.
        """
        if owner[name] is None:
            return
        path = f"context.traits.{path}"
        person, rest = read_traits(alone)
        for key, told in person.items():
            hashed = self.hash({key: told}, {key: path}, remarks)
            owner[name] = hashed.get(key)
            if key in hashed:
                remarks.extend(_check_trait(key, told, path))
        if not person and not rest:
            words = "is personal and nothing that Meta takes as a digest: it is removed"
            remarks.append(Remark("warning", "personal_removed", path, words))


def _compare(before: Any, after: Any, path: str) -> Iterator[Remark]:
    """Yield what reading numbers has changed."""
    if isinstance(before, dict):
        for key, told in before.items():
            yield from _compare(told, after[key], f"{path}.{key}")
    elif isinstance(before, list):
        for i, told in enumerate(before):
            yield from _compare(told, after[i], f"{path}[{i}]")
    elif before != after or type(before) is not type(after):
        if path.endswith(".currency"):
            words = f"{before!r} becomes {after!r}: Segment's destination refuses other than that"
            yield Remark("info", "currency_case", path, words)
        else:
            yield Remark("info", "converted", path, f"{before!r} becomes {after!r}")


def _check_trait(key: str, told: object, path: str) -> Iterator[Remark]:
    """Yield what would become of a trait that Segment got as it is.

    Args:
        key: Meta's name of it.
        told: What stands there.
        path: Where.
    """
    texts = [str(each).strip() for each in (told if isinstance(told, list) else [told])]
    clear = [text for text in texts if text and not SHA256.fullmatch(text)]
    if not clear:
        return
    words = "in the clear, every destination of Segment's could read it: Bridge hashes it"
    yield Remark("info", "trait_in_clear", path, words)
    if key == "db" and not all(map(_EIGHT_DIGITS.fullmatch, clear)):
        words = (
            "Segment's destination reads no date and hashes the text as it stands: Bridge hashes"
            " it as YYYYMMDD"
        )
        yield Remark("info", "birthday_format", path, words)
    if key == "ph" and any(re.sub(r"[^0-9]", "", text).startswith("0") for text in clear):
        words = "Segment's destination keeps leading zeros and matches nobody: Bridge drops them"
        yield Remark("info", "phone_format", path, words)
