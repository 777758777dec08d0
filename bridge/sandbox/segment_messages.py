"""The rules of one message to Segment: what is dropped after the 200, and what is completed.

Segment's own names for reasons are used where it has some ("Delivery Overview", table Failed on
Ingest): ``project_not_found``, ``no_user_anon_id``, ``event_not_defined``, ``event_not_string``,
``properties_not_object``, ``traits_not_object``, ``name_not_string``, ``category_not_string``. The
other reasons are documented rules without a name; the names are ours.

Source: Segment, "Spec: Common Fields", "Spec: Track", "Spec: Identify", "Spec: Page", "Spec:
Screen", "Spec: Group", "Spec: Alias", "HTTP API Source" (Errors), read 2026-11-25.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from bridge.sandbox.segment import TYPES, Call, walk
from bridge.sandbox.user_data import is_hashed

MAX_MESSAGE_ID = 99  # characters: "fewer than 100"
MAX_SKEW = 60.0  # seconds between sentAt and arrival that need no warning
STRINGS = {
    "userId": "user_id_not_string",
    "anonymousId": "anonymous_id_not_string",
    "messageId": "message_id_not_string",
    "groupId": "group_id_not_string",
    "previousId": "previous_id_not_string",
}
OBJECTS = {
    "context": "context_not_object",
    "integrations": "integrations_not_object",
    "properties": "properties_not_object",
    "traits": "traits_not_object",
}
TIMES = {"timestamp": "timestamp_not_iso_8601", "sentAt": "sent_at_not_iso_8601"}
NAMES = {"name": "name_not_string", "category": "category_not_string"}
PERSONAL = re.compile(
    r"(email|phone|name|first_?name|last_?name|username|birthday|gender)|address(\..*)?",
    re.IGNORECASE,
)
"""Reserved traits that are a person's own data. Source: "Spec: Identify", Traits."""

_ISO = re.compile(
    r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}(:?\d{2})?)", re.ASCII
)
_EMAIL = re.compile(r"[^\s@/?&=]{1,64}(@|%40)[^\s@/?&=]{1,255}\.[A-Za-z]{2}")


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message, and what becomes of it.

    Attributes:
        content: As Segment would pass it on if nothing was wrong; as it was sent otherwise.
        dropped: Why Segment drops it after all, ``None`` if it does not.
        warnings: What Segment accepts, but should not have been sent.
        count: How many messages this stands for: a batch that is dropped whole is one of these.
    """

    content: Any
    dropped: str | None = None
    warnings: list[str] = []
    count: int = 1


def judge_messages(call: Call, write_key: str, now: float) -> list[Message]:
    """Return what becomes of each message in ``call``.

    A repeated message is not noticed here: see the message log.
    """
    if call.drop is not None:
        whole = {"type": "batch", "batch": f"{len(call.items)} messages"}
        return [Message(content=whole, dropped=call.drop, count=len(call.items))]
    if call.write_key != write_key:
        items = [_name_type(item, call) for item in call.items]
        return [Message(content=item, dropped="project_not_found") for item in items]
    return [_judge(_name_type(item, call), call, now) for item in call.items]


def _name_type(item: Any, call: Call) -> Any:
    """Return the message without its write key, and with the type from the path, if any."""
    if not isinstance(item, dict):
        return item
    content = {key: value for key, value in item.items() if key != "writeKey"}
    return content if call.type is None else content | {"type": call.type}


def _judge(item: Any, call: Call, now: float) -> Message:
    if not isinstance(item, dict):
        return Message(content=item, dropped="message_not_object")
    given = {key: value for key, value in item.items() if value is not None}
    shared, clashes = _merge_shared(given, call.shared)
    given |= shared
    dropped = next(_find_reasons(given), None)
    if dropped is not None:
        return Message(content=item, dropped=dropped)
    try:
        content = _complete(given, now)
    except (ValueError, OverflowError):
        return Message(content=item, dropped=TIMES["timestamp"])
    return Message(content=content, warnings=[*clashes, *_find_warnings(content, now)])


def _merge_shared(
    given: Mapping[str, Any], shared: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Return what a batch adds to a message, and where both say something.

    Source: "HTTP API Source", Batch: "it will be merged with any context inside each of the items".
    Which one wins is not documented: here the message's own does, key by key, with a warning.
    """
    merged: dict[str, Any] = {}
    clashes = []
    for key in ("context", "integrations"):
        of_batch, own = shared.get(key), given.get(key, {})
        if of_batch is None:
            continue
        if not isinstance(of_batch, dict) or not isinstance(own, dict):
            merged[key] = own if isinstance(of_batch, dict) else of_batch
            continue
        merged[key] = of_batch | own
        clashes += [
            f"{key}.{name} is in the batch and in the message: which one wins is not documented"
            for name in sorted(of_batch.keys() & own.keys())
            if of_batch[name] != own[name]
        ]
    if "sentAt" not in given and shared.get("sentAt") is not None:
        merged["sentAt"] = shared["sentAt"]
    return merged, clashes


def _find_reasons(given: Mapping[str, Any]) -> Iterator[str]:
    """Yield why a message is dropped; the first reason is the one that is shown."""
    kind = given.get("type")
    if not isinstance(kind, str) or kind not in TYPES:
        yield "unknown_type"
    for names, holds in ((STRINGS, str), (OBJECTS, dict)):
        for key, reason in names.items():
            if key in given and not isinstance(given[key], holds):
                yield reason
    if not given.get("userId") and not given.get("anonymousId"):
        yield "no_user_anon_id"
    if len(given.get("messageId", "")) > MAX_MESSAGE_ID:
        yield "message_id_too_long"
    yield from _find_reasons_of_type(given)
    for key, reason in TIMES.items():
        if key in given and parse_time(given[key]) is None:
            yield reason


def _find_reasons_of_type(given: Mapping[str, Any]) -> Iterator[str]:
    kind = given["type"]
    event = given.get("event")
    if kind == "track" and event in (None, ""):
        yield "event_not_defined"
    if kind == "track" and not isinstance(event, str):
        yield "event_not_string"
    if kind in ("page", "screen"):
        for key, reason in NAMES.items():
            value = given.get(key, "x")
            if not isinstance(value, str) or not value:
                yield reason
    if kind == "group" and not given.get("groupId"):
        yield "group_id_missing"
    if kind == "alias" and not given.get("previousId"):
        yield "previous_id_missing"
    if kind == "alias" and not given.get("userId"):
        yield "user_id_missing"


def parse_time(value: Any) -> float | None:
    """Return an ISO 8601 date and time with its zone as Unix seconds, else ``None``.

    ``"2026-11-25T10:00:00.123Z"``. Source: "Spec: Common Fields", Timestamps.
    """
    if not isinstance(value, str) or not _ISO.fullmatch(value):
        return None
    try:
        return datetime.fromisoformat(value).timestamp()
    except (ValueError, OverflowError):
        return None


def _complete(given: dict[str, Any], now: float) -> dict[str, Any]:
    """Return the message with what Segment adds.

    Source: "Spec: Common Fields", Timestamps: ``timestamp`` = ``receivedAt`` - (``sentAt`` -
    ``originalTimestamp``); without a timestamp it is the server's time. "Handling Duplicate Data":
    a message without ``messageId`` is given one.
    """
    original = parse_time(given.get("timestamp"))
    sent = parse_time(given.get("sentAt"))
    moment = now if original is None else original
    if original is not None and sent is not None:
        moment = now - (sent - original)
    completed = {**given, "timestamp": _format_time(moment), "receivedAt": _format_time(now)}
    if original is not None:
        completed["originalTimestamp"] = given["timestamp"]
    if not given.get("messageId"):
        completed["messageId"] = f"api-{uuid.uuid4()}"
    return completed


def _format_time(moment: float) -> str:
    text = datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _find_warnings(content: Mapping[str, Any], now: float) -> Iterator[str]:
    """Yield what should not have been sent: a wrong clock, raw personal data.

    The last is not a rule of Segment's, which wants raw traits. It is ours: only digests may leave.

    Source: "HTTP API Source", Collecting IP Address, for ``context.direct``.
    """
    sent = parse_time(content.get("sentAt"))
    if sent is not None and abs(now - sent) > MAX_SKEW and "originalTimestamp" in content:
        yield f"sentAt is {now - sent:.0f} s off: the event's time is moved by as much"
    context = content.get("context", {})
    if context.get("direct"):
        yield "context.direct: Segment takes the caller's address, on a server the server's own"
    groups = {"context.traits": context.get("traits")}
    if content["type"] != "group":  # a group's name and address are a company's
        groups["traits"] = content.get("traits")
    for at, traits in groups.items():
        for path, value in walk(traits):
            if PERSONAL.fullmatch(path) and value is not None and not _is_digest(value):
                yield f"{at}.{path} is raw personal data: only SHA-256 digests may leave"
    for path, value in walk(dict(content)):
        if isinstance(value, str) and ("@" in value or "%40" in value) and _EMAIL.search(value):
            yield f"{path} holds what looks like an e-mail address"


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and is_hashed(value)
