"""Meta's answer on a dataset's quality, read from JSON that may be anything. Pure.

Blocks may be missing, numbers may come as text, identifiers may be new: what cannot be read is left
out, and the rest is read. Lists and texts are cut at a length that no real answer has.

Source: Meta, "Dataset Quality API", read 2026-11-29.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from bridge.destinations.http import clean_words

MAX_EVENTS = 500  # event names read of one answer
MAX_ITEMS = 60  # entries read of one list in it
MAX_WORDS = 600  # characters kept of a description
MAX_NAME = 100  # characters kept of a name
MAX_NUMBER = 1e12

PLAIN_FIELDS = "web{event_name,event_match_quality,event_coverage,data_freshness}"
FIELDS = (
    "web{event_name,"
    "event_match_quality{composite_score,"
    "match_key_feedback{identifier,coverage{percentage},"
    "potential_aly_acr_increase{percentage,description}},"
    "diagnostics{name,description,solution,percentage,affected_event_count,total_event_count}},"
    "event_coverage{percentage,goal_percentage,description},"
    "dedupe_key_feedback{dedupe_key,browser_events_with_dedupe_key{percentage,description},"
    "server_events_with_dedupe_key{percentage,description},"
    "overall_browser_coverage_from_dedupe_key{percentage,description}},"
    "data_freshness{upload_frequency,description},"
    "acr{percentage,description},"
    "event_potential_aly_acr_increase{percentage,description}}"
)

# Meta's word for an identifier → its key in ``user_data``. Of the later ones Meta's page shows no
# example, so that each spelling is known here.
IDENTIFIERS = {
    "email": "em",
    "phone": "ph",
    "phone_number": "ph",
    "external_id": "external_id",
    "fbc": "fbc",
    "click_id": "fbc",
    "fbp": "fbp",
    "browser_id": "fbp",
    "ip_address": "client_ip_address",
    "user_agent": "client_user_agent",
    "first_name": "fn",
    "last_name": "ln",
    "date_of_birth": "db",
    "birthdate": "db",
    "gender": "ge",
    "city": "ct",
    "state": "st",
    "zip": "zp",
    "zip_code": "zp",
    "country": "country",
}


class Identifier(msgspec.Struct, frozen=True, kw_only=True):
    """How many server copies carry one identifier.

    Attributes:
        name: Its key in ``user_data``; Meta's own word if that is unknown here.
        coverage: Per cent of the server copies.
        gain: What similar advertisers gained by sending it, in Meta's words.
    """

    name: str
    coverage: float | None = None
    gain: str = ""


class Diagnostic(msgspec.Struct, frozen=True, kw_only=True):
    """Something that Meta found wrong.

    Attributes:
        name, description, solution: Meta's words.
        percentage: Per cent of the server copies that it concerns.
        affected, total: How many it concerns, and of how many.
    """

    name: str
    description: str = ""
    solution: str = ""
    percentage: float | None = None
    affected: int | None = None
    total: int | None = None


class DedupeKey(msgspec.Struct, frozen=True, kw_only=True):
    """How two copies of one event are merged by one key, in per cent.

    Attributes:
        name: ``event_id``, ``external_id`` or ``fbp``.
        browser: Browser events that carry it.
        server: Server events that carry it.
        merged: Browser events merged by it and by none of the keys before it.
    """

    name: str
    browser: float | None = None
    server: float | None = None
    merged: float | None = None


class EventQuality(msgspec.Struct, frozen=True, kw_only=True):
    """What Meta says of the events of one name; what it did not say is missing.

    Attributes:
        event_name: Meta's, or a custom event's.
        score: Event match quality, 0 to 10.
        identifiers: By Meta's order.
        diagnostics: What Meta found wrong.
        coverage: Per cent of browser events that the server covers.
        goal: What Meta wants that to be.
        keys: How copies are merged.
        freshness: ``real_time``, ``hourly``, ``daily`` and so on.
        more_conversions: Per cent more conversions reported than without the Conversions API.
    """

    event_name: str
    score: float | None = None
    identifiers: tuple[Identifier, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    coverage: float | None = None
    goal: float | None = None
    keys: tuple[DedupeKey, ...] = ()
    freshness: str = ""
    more_conversions: float | None = None

    @property
    def merged(self) -> float | None:
        """Per cent of browser events that were merged with a server event, by any key."""
        parts = [key.merged for key in self.keys if key.merged is not None]
        return min(100.0, sum(parts)) if parts else None

    def read_coverage(self, identifier: str) -> float | None:
        """Return the per cent of server copies with ``identifier``; 0 if Meta lists others only."""
        for each in self.identifiers:
            if each.name == identifier:
                return each.coverage
        return 0.0 if self.identifiers else None


def parse_answer(content: bytes) -> tuple[EventQuality, ...] | None:
    """Return what Meta says of each event name; ``None`` if this is no such answer."""
    try:
        answer = json.loads(content.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    web = answer.get("web", []) if isinstance(answer, dict) else None
    if not isinstance(web, list):
        return None
    found: dict[str, EventQuality] = {}
    for raw in web[:MAX_EVENTS]:
        name = _text(_object(raw).get("event_name"), MAX_NAME)
        if name:
            found.setdefault(name, _read_event(name, raw))
    return tuple(found.values())


def _read_event(name: str, raw: Mapping[str, Any]) -> EventQuality:
    match, coverage = _object(raw.get("event_match_quality")), _object(raw.get("event_coverage"))
    return EventQuality(
        event_name=name,
        score=_number(match.get("composite_score"), most=10.0),
        identifiers=tuple(_read_identifiers(_objects(match.get("match_key_feedback")))),
        diagnostics=tuple(_read_diagnostics(_objects(match.get("diagnostics")))),
        coverage=_number(coverage.get("percentage")),
        goal=_number(coverage.get("goal_percentage")),
        keys=tuple(_read_keys(_objects(raw.get("dedupe_key_feedback")))),
        freshness=_text(_object(raw.get("data_freshness")).get("upload_frequency"), MAX_NAME),
        more_conversions=_percentage(raw.get("acr")),
    )


def _read_identifiers(items: Iterable[Mapping[str, Any]]) -> Iterable[Identifier]:
    for item in items:
        word = _text(item.get("identifier"), MAX_NAME).lower()
        if word:
            gain = _object(item.get("potential_aly_acr_increase")).get("description")
            yield Identifier(
                name=IDENTIFIERS.get(word, word),
                coverage=_percentage(item.get("coverage")),
                gain=_text(gain, MAX_WORDS),
            )


def _read_diagnostics(items: Iterable[Mapping[str, Any]]) -> Iterable[Diagnostic]:
    for item in items:
        name = _text(item.get("name"), MAX_WORDS)
        if name:
            affected, total = (
                _number(item.get(f"{each}_event_count")) for each in ("affected", "total")
            )
            yield Diagnostic(
                name=name,
                description=_text(item.get("description"), MAX_WORDS),
                solution=_text(item.get("solution"), MAX_WORDS),
                percentage=_number(item.get("percentage")),
                affected=None if affected is None else int(affected),
                total=None if total is None else int(total),
            )


def _read_keys(items: Iterable[Mapping[str, Any]]) -> Iterable[DedupeKey]:
    for item in items:
        name = _text(item.get("dedupe_key"), MAX_NAME).lower()
        if name:
            yield DedupeKey(
                name=name,
                browser=_percentage(item.get("browser_events_with_dedupe_key")),
                server=_percentage(item.get("server_events_with_dedupe_key")),
                merged=_percentage(item.get("overall_browser_coverage_from_dedupe_key")),
            )


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: Any) -> list[Mapping[str, Any]]:
    listed = value[:MAX_ITEMS] if isinstance(value, list) else []
    return [each for each in listed if isinstance(each, dict)]


def _percentage(value: Any) -> float | None:
    return _number(_object(value).get("percentage"))


def _number(value: Any, *, most: float = MAX_NUMBER) -> float | None:
    """Return a number of at least 0, which may come as text; ``None`` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and len(value) > 40:
        return None
    try:
        number = float(value.strip().removesuffix("%") if isinstance(value, str) else value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and 0 <= number <= most else None


def _text(value: Any, limit: int) -> str:
    """Return a text on one line, cut at ``limit``; empty for anything else."""
    return clean_words(value, limit, secret="").strip() if isinstance(value, str) else ""
