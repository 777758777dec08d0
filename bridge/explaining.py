"""One event as it would go out: to Meta, to Segment, and from Segment to Meta. Pure.

Nothing is stored, sent, counted or logged. The same code completes and encodes an event as for
``track`` and ``enrich``; beside it stands what Segment's own Meta destination makes of the message
by default, and what there is to know.

``{"event_name": …, "custom_data": …}`` is explained as ``track`` stores it for both destinations.
``{"event": …, "properties": …}`` is explained as ``enrich`` returns it, for an app that sends its
messages with Segment's library; Meta's side is then what the same message says in Meta's words.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from bridge.catalog import Catalog
from bridge.destinations.actions import Refusal, build_default
from bridge.destinations.messages import PAGE_VIEW
from bridge.destinations.segment import Segment
from bridge.enrichment import Enricher
from bridge.errors import InvalidEventError
from bridge.events import UserData
from bridge.identity import Identity
from bridge.normalize import looks_like_email, read_user_data, sift_user_data
from bridge.properties import copy_plain, read_numbers
from bridge.remarks import (
    Facts,
    Remark,
    find_remarks,
    is_clear,
    read_object,
    sort_remarks,
)
from bridge.tripwire import Tripwire
from bridge.visitor import Visitor

NOT_SHOWN = "[not shown]"

# Nobody's: addresses and names that are reserved for documentation.
EXAMPLE = Identity(
    anonymous_id="00000000-0000-4000-8000-000000000000",
    renewed_at=0,
    fbp="fb.1.1795000000000.1234567890",
    fbc="fb.1.1795000000000.ExampleClickId",
    client_ip="2001:db8::1",
    user_agent="Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    page_url="https://shop.example.com/",
)

_ENVELOPE = ("event_id", "action_source", "fbp", "fbc")
_TRAITS = {
    "email": "em",
    "phone": "ph",
    "firstName": "fn",
    "first_name": "fn",
    "lastName": "ln",
    "last_name": "ln",
    "birthday": "db",
    "gender": "ge",
}
_ADDRESS = {
    "city": "ct",
    "state": "st",
    "postalCode": "zp",
    "postal_code": "zp",
    "country": "country",
}
_DAY_OR_MONTH = re.compile(r"\s*([0-9]{1,2})[./ -]([0-9]{1,2})[./ -][0-9]{4}\s*")
_NATIONAL = re.compile(r"[\s(]*0(?!0)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One event as it would go out.

    Attributes:
        meta: What Meta's Conversions API gets from us: one object of ``data``.
        segment: The message that Segment gets; traits in the clear are not shown.
        actions: What Segment's "Facebook Conversions API (Actions)" sends to Meta of that message
            by its default mapping, or why it sends nothing.
        warnings: What there is to know, the worst first.
    """

    meta: dict[str, Any]
    segment: dict[str, Any]
    actions: dict[str, Any] | Refusal
    warnings: tuple[Remark, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON; ``actions`` has a ``payload`` or a ``refusal``."""
        refused = isinstance(self.actions, Refusal)
        told = self.actions._asdict() if isinstance(self.actions, Refusal) else self.actions
        return {
            "meta": self.meta,
            "segment": self.segment,
            "actions": {"refusal" if refused else "payload": told},
            "warnings": [remark._asdict() for remark in self.warnings],
        }


class _Read(msgspec.Struct):
    """An event as it was told, made safe: no personal data, user data hashed."""

    fields: dict[str, Any]
    properties: dict[str, Any]
    remarks: list[Remark]


class Explainer:
    """Explains events.

    Args:
        catalog: Segment's names and Meta's.
        tripwire: Finds personal data where none belongs.
        phone_region: ISO 3166-1 alpha-2 country of phone numbers without a country code.
        is_direct: Whether Meta gets the events from us.
        segment: The app's; an example where it has none.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        tripwire: Tripwire,
        phone_region: str | None,
        is_direct: bool,
        segment: Segment | None,
    ) -> None:
        self._catalog = catalog
        self._tripwire = tripwire
        self._phone_region = phone_region
        self._segment = segment or Segment("example")
        self._enricher = Enricher(
            catalog=catalog,
            tripwire=tripwire,
            phone_region=phone_region,
            is_direct=is_direct,
            counters=Counter(),
        )

    def explain(self, event: Mapping[str, Any], visitor: Visitor, *, now: float) -> Explanation:
        """Return ``event`` as it would go out.

        Args:
            event: A server event of Meta's or a track message of Segment's, as for ``enrich``.
            visitor: Whose event it is.
            now: Unix seconds.

        Raises:
            InvalidEventError: It would be refused; the message names the field.
        """
        if not isinstance(event, Mapping):
            raise InvalidEventError("event", f"expected an object, got {type(event).__name__}")
        if "event_name" in event:
            read = self._read(event, "event_name", "custom_data")
            meta, message = self._follow_event(read, visitor, now)
        elif "event" in event:
            read = self._read(event, "event", "properties")
            meta, message = self._follow_message(read, visitor, now)
        else:
            raise InvalidEventError("event", "expected event_name (Meta) or event (Segment)")
        try:
            encoded = msgspec.json.encode(message)
        except (TypeError, ValueError, RecursionError):
            raise InvalidEventError("event", "expected what JSON can carry") from None
        # As Segment has it: a time as text.
        message = msgspec.json.decode(encoded)
        actions = build_default(message)
        facts = Facts(read.properties, meta, message, actions, len(encoded))
        remarks = [*_describe_visitor(visitor), *read.remarks, *find_remarks(facts)]
        return Explanation(
            meta=meta, segment=_hide(message), actions=actions, warnings=sort_remarks(remarks)
        )

    # As it was told

    def _read(self, event: Mapping[str, Any], name_key: str, properties_key: str) -> _Read:
        fields = {key: value for key, value in event.items() if value is not None}
        read = _Read(fields, {}, [])
        if (told := fields.get(properties_key)) is not None:
            plain = copy_plain(told, properties_key)
            for found in self._tripwire.clean(plain):
                words = f"looks personal ({found.kind}) and is removed"
                place = f"{properties_key}.{found.path}"
                read.remarks.append(Remark("warning", "personal_removed", place, words))
            read.properties = deepcopy(plain)
            name = fields.get(name_key)
            is_spec = isinstance(name, str) and self._catalog.find(name) is not None
            read_numbers(plain, properties_key, is_spec=is_spec)
            read.remarks += _compare(read.properties, plain, properties_key)
            fields[properties_key] = plain
        if isinstance(fields.get("user_data"), Mapping):
            fields["user_data"] = self._hash(fields["user_data"], "user_data", read.remarks)
        return read

    def _hash(self, raw: Mapping[str, Any], path: str, remarks: list[Remark]) -> dict[str, Any]:
        """Return user data hashed, and tell of what is left out or may be read wrongly."""
        taken, refused = sift_user_data(raw, default_region=self._phone_region)
        for key, reason in refused.items():
            remarks.append(Remark("warning", "user_data_dropped", f"{path}.{key}", reason))
        for key, told in taken.items():
            for text in told if isinstance(told, list) else [told]:
                remarks.extend(self._check_format(key, str(text), f"{path}.{key}"))
        return read_user_data(taken, default_region=self._phone_region)

    def _check_format(self, key: str, text: str, path: str) -> Iterator[Remark]:
        if key in ("ph", "phone") and self._phone_region is None and _NATIONAL.match(text):
            words = "has no country code, and matches nobody: set phone_region, or write it with +"
            yield Remark("warning", "phone_without_country", path, words)
        if key in ("db", "birthday", "date_of_birth") and (match := _DAY_OR_MONTH.fullmatch(text)):
            first, second = int(match[1]), int(match[2])
            if first != second and max(first, second) <= 12:
                words = "is read with the month first; write YYYY-MM-DD to be sure"
                yield Remark("warning", "birthday_ambiguous", path, words)

    # As it goes out

    def _follow_event(
        self, read: _Read, visitor: Visitor, now: float
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        event, told = self._enricher.complete(read.fields, visitor, now=now)
        return msgspec.to_builtins(event), self._segment.build(event, told)

    def _follow_message(
        self, read: _Read, visitor: Visitor, now: float
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        message = self._enricher.complete_any(read.fields, visitor, now=now)
        properties = dict(message["properties"])
        envelope = {key: properties.pop(key) for key in _ENVELOPE if key in properties}
        page = read_object(read_object(message, "context"), "page")
        given = {
            "event_name": PAGE_VIEW if message["type"] == "page" else message["event"],
            "event_id": envelope.get("event_id"),
            "event_time": _read_time(message["timestamp"]),
            "action_source": envelope.get("action_source"),
            "event_source_url": page.get("url"),
            "referrer_url": page.get("referrer"),
            "custom_data": properties,
            "user_data": self._read_person(read, visitor.user_data),
        }
        return msgspec.to_builtins(self._enricher.complete(given, visitor, now=now).event), message

    def _read_person(self, read: _Read, known: UserData) -> dict[str, Any]:
        """Return what a message says of its person, beside what is known of the visitor."""
        properties = read_object(read.fields, "properties")
        context = read_object(read.fields, "context")
        traits = read_object(context, "traits")
        address = read_object(traits, "address")
        told: dict[str, Any] = {
            **{key: traits.get(name) for name, key in _TRAITS.items()},
            **{key: address.get(name) for name, key in _ADDRESS.items() if name in address},
            "fbp": properties.get("fbp"),
            "fbc": properties.get("fbc"),
            "client_ip_address": context.get("ip"),
            "client_user_agent": context.get("userAgent"),
            "external_id": read.fields.get("userId") or read.fields.get("anonymousId"),
        }
        raw = {
            key: value
            for key, value in told.items()
            if value is not None and value != getattr(known, key)
        }
        return self._hash(raw, "context", read.remarks)


def _describe_visitor(visitor: Visitor) -> Iterator[Remark]:
    if visitor.identity is EXAMPLE:
        words = "no visitor is given: addresses and ids are made up"
        yield Remark("info", "example_visitor", "", words)
    if visitor.silence is not None:
        words = f"nothing is sent of this visitor: {visitor.silence}"
        yield Remark("error", "not_sent", "", words)


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


def _read_time(told: object) -> datetime:
    try:
        read = told if isinstance(told, datetime) else datetime.fromisoformat(str(told))
    except ValueError:
        raise InvalidEventError("timestamp", "expected ISO 8601 with a zone") from None
    if read.tzinfo is None:
        raise InvalidEventError("timestamp", "expected ISO 8601 with a zone")
    return read


def _hide(message: dict[str, Any]) -> dict[str, Any]:
    """Return ``message`` for eyes: of a person only digests."""
    shown = dict(message)
    context = read_object(message, "context")
    if "traits" in context:
        shown["context"] = {**context, "traits": _hide_clear(context["traits"])}
    for key in ("userId", "anonymousId", "messageId"):
        if looks_like_email(str(shown.get(key, ""))):
            shown[key] = NOT_SHOWN
    return shown


def _hide_clear(told: Any) -> Any:
    if isinstance(told, dict):
        return {key: _hide_clear(item) for key, item in told.items()}
    return NOT_SHOWN if is_clear(told) else told
