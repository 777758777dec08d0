"""Remarks on one event and its two ways to Meta: refusals, losses, differences. Pure.

One function for each subject, listed in the table at the end. None quotes a personal value.

Source: Segment, "Facebook Conversions API (Actions)", "Facebook Conversions API", "Spec: Common
fields", "Handling duplicate data"; segmentio/action-destinations, read 2026-11-25.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from bridge.destinations.messages import MAX_MESSAGE
from bridge.events.event import STANDARD_EVENTS
from bridge.sandbox.segment_actions import DESTINATION, TRACK, is_on
from bridge.sandbox.segment_fields import Declined

Level = Literal["error", "warning", "info"]

MAX_CLASSIC_NAME = 50  # characters of a custom event's name, Segment's classic destination
MIN_MESSAGE_ID = 32  # characters; another customer of Segment's may have used a shorter one

# What to know where nothing goes through Segment.
OF_META = frozenset({
    "birthday_ambiguous", "converted", "currency_case", "envelope_key", "example_visitor",
    "external_id_missing", "fbc_missing", "fbp_missing", "ip_missing", "not_sent",
    "personal_removed", "phone_without_country", "too_old", "user_agent_missing",
    "user_data_dropped",
})  # fmt: skip

_LEVELS: tuple[Level, ...] = ("error", "warning", "info")
# What it reads from one property, and the catalog from several.
_READ = {
    "revenue": "the value from revenue alone",
    "price": "the value from price alone",
    "product_id": "the id from product_id alone",
}
_SEPARATORS = dict.fromkeys(map(ord, " _-"))


class Remark(NamedTuple):
    """One thing to know.

    Attributes:
        level: ``error`` if something does not arrive, ``warning`` if it arrives other than meant,
            ``info`` for the rest.
        code: What it is, for programs.
        path: The field it is about; ``""`` if it is about the whole event.
        words: For people.
    """

    level: Level
    code: str
    path: str
    words: str


class Facts(NamedTuple):
    """One event in all its shapes.

    Attributes:
        given: The properties as the app gave them in Segment's words, without personal data; empty
            if it used Meta's.
        meta: What we send to Meta.
        message: What Segment gets.
        actions: What Segment's Meta destination makes of it.
        size: Bytes of the message.
    """

    given: Mapping[str, Any]
    meta: Mapping[str, Any]
    message: Mapping[str, Any]
    actions: dict[str, Any] | Declined
    size: int

    @property
    def properties(self) -> Mapping[str, Any]:
        """The message's."""
        return read_object(self.message, "properties")

    @property
    def context(self) -> Mapping[str, Any]:
        """The message's."""
        return read_object(self.message, "context")

    @property
    def payload(self) -> Mapping[str, Any]:
        """What Segment's Meta destination sends; empty if it refuses."""
        return {} if isinstance(self.actions, Declined) else self.actions


def find_remarks(facts: Facts) -> list[Remark]:
    """Return the remarks on one event."""
    return [remark for check in _CHECKS for remark in check(facts)]


def sort_remarks(remarks: list[Remark]) -> tuple[Remark, ...]:
    """Return ``remarks``, the worst first."""
    return tuple(sorted(remarks, key=lambda remark: _LEVELS.index(remark.level)))


def read_object(fields: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the object at ``key``; an empty one if there is none."""
    value = fields.get(key)
    return value if isinstance(value, Mapping) else {}


# Whether it arrives


def _check_refusal(facts: Facts) -> Iterator[Remark]:
    if not isinstance(facts.actions, Declined):
        return
    code, path, reason = facts.actions
    name = facts.message.get("event")
    if code == "no_trigger":
        yield Remark("error", "no_trigger", path, _explain_trigger(str(name), facts.meta))
    elif code == "currency":
        words = "Segment's destination compares with its own list, upper case: it refuses this one"
        yield Remark("error", "currency_refused", path, words)
    elif code == "contents" and name == "Products Searched":
        words = (
            "Segment's destination makes contents of the search itself and refuses it without"
            " product_id: clear contents in its mapping"
        )
        yield Remark("error", "search_without_product", path, words)
    elif code == "contents":
        words = f"Segment's destination: {reason}, which it reads from product_id alone"
        yield Remark("error", "product_without_id", path, words)
    else:
        yield Remark("error", f"refused_{code}", path, f"Segment's destination: {reason}")


def _explain_trigger(name: str, meta: Mapping[str, Any]) -> str:
    close = [each for each in TRACK if _fold(each) == _fold(name)]
    if close:
        return f"Segment's default mappings compare names exactly: {close[0]}"
    kind = meta["event_name"] if meta["event_name"] in STANDARD_EVENTS else "Custom Event"
    return f"no default mapping of Segment's has this event; add one, for Meta's {kind}"


def _check_switch(facts: Facts) -> Iterator[Remark]:
    if not is_on(read_object(facts.message, "integrations")):
        words = (
            "the message switches Segment's Meta destinations off: Meta gets the event from us, or"
            " the app wants it so; shown is what they would send"
        )
        yield Remark("info", "switched_off", f"integrations.{DESTINATION}", words)


def _check_length(facts: Facts) -> Iterator[Remark]:
    if facts.size > MAX_MESSAGE:
        words = f"{facts.size:,} bytes as Segment's message, which takes {MAX_MESSAGE:,}"
        yield Remark("error", "message_too_large", "", words)
    name = str(facts.message.get("event", ""))
    if len(name) > MAX_CLASSIC_NAME:
        words = (
            f"{len(name)} characters; Segment's classic destination takes {MAX_CLASSIC_NAME} in the"
            " name of a custom event"
        )
        yield Remark("warning", "name_too_long", "event", words)


def _check_message_id(facts: Facts) -> Iterator[Remark]:
    given = facts.message.get("messageId")
    message_id = given if isinstance(given, str) else ""
    if len(message_id) < MIN_MESSAGE_ID:
        words = (
            "Segment drops a message id that any customer used within 24 hours: leave it out, or"
            " derive a UUID"
        )
        yield Remark("warning", "message_id_short", "messageId", words)
    if message_id and message_id == facts.properties.get("event_id"):
        words = (
            "the same as event_id: if two copies go through Segment, the second is dropped before"
            " any destination sees it"
        )
        yield Remark("warning", "message_id_shared", "messageId", words)


# Whether copies match


def _check_event(facts: Facts) -> Iterator[Remark]:
    if not facts.payload:
        return
    if facts.payload.get("event_id") != facts.meta["event_id"]:
        words = (
            "Segment's destination sends messageId by default, so this copy and the pixel's are"
            " counted twice: map event_id to properties.event_id"
        )
        yield Remark("warning", "event_id_not_shared", "event_id", words)
    ours, theirs = facts.meta["event_name"], facts.payload.get("event_name")
    if ours != theirs:
        words = f"{theirs} through Segment, {ours} from us: the copies never match"
        yield Remark("warning", "event_name_differs", "event_name", words)


def _check_external_id(facts: Facts) -> Iterator[Remark]:
    ours = read_object(facts.meta, "user_data").get("external_id", [])
    if not ours:
        words = "no external id: a copy without event id is matched by this or by fbp"
        yield Remark("warning", "external_id_missing", "user_data.external_id", words)
    theirs = read_object(facts.payload, "user_data").get("external_id", [])
    if facts.payload and set(ours) != set(theirs):
        words = "Segment's destination sends userId, else anonymousId; we send all ids"
        yield Remark("warning", "external_id_differs", "user_data.external_id", words)


def _check_browser(facts: Facts) -> Iterator[Remark]:
    user_data = read_object(facts.meta, "user_data")
    is_website = facts.meta.get("action_source") == "website"
    if is_website and "client_user_agent" not in user_data:
        words = "Meta wants it for a website"
        yield Remark("error", "user_agent_missing", "user_data.client_user_agent", words)
    if "client_ip_address" not in user_data:
        words = "no IP address of the visitor: Meta can match fewer events to a person"
        yield Remark("info", "ip_missing", "user_data.client_ip_address", words)
    if "fbp" not in user_data:
        words = "no browser id: copies without event id cannot be matched by it"
        yield Remark("warning", "fbp_missing", "user_data.fbp", words)
    if "fbc" not in user_data:
        words = "no click id; a visitor has one after clicking an ad"
        yield Remark("info", "fbc_missing", "user_data.fbc", words)
    if facts.context.get("direct") is True:
        words = "makes Segment take the address of its caller, which is this server"
        yield Remark("warning", "context_direct", "context.direct", words)


# What arrives changed


def _check_value(facts: Facts) -> Iterator[Remark]:
    theirs = read_object(facts.payload, "custom_data")
    ours = read_object(facts.meta, "custom_data")
    mine, other = ours.get("value"), theirs.get("value")
    if None not in (mine, other) and mine != other:
        words = f"{other} through Segment, which reads the price of one; {mine} from us"
        if facts.message.get("event") in ("Order Completed", "Checkout Started"):
            words = f"{other} through Segment, which reads revenue; {mine} from us"
        yield Remark("warning", "value_differs", "custom_data.value", words)
    if other is not None and not theirs.get("currency"):
        words = "Segment's destination sends a value without currency, which Meta refuses"
        yield Remark("warning", "value_without_currency", "properties.currency", words)


def _check_added(facts: Facts) -> Iterator[Remark]:
    """Yield what Bridge adds to the message."""
    action = TRACK.get(str(facts.message.get("event")))
    if action is None:
        return
    for path in _list_added(facts.given, facts.properties, "properties"):
        key = path.rpartition(".")[2]
        words = f"missing: Bridge adds it, since Segment's destination reads {_READ[key]}"
        if key == "product_id" or "value" in action.required:
            words += ", and refuses an event without it"
        yield Remark("info", "property_added", path, words)


def _list_added(given: object, ours: object, path: str) -> Iterator[str]:
    """Yield the paths of what is in ``ours`` and not in ``given``, as Segment would read it."""
    if isinstance(given, Mapping) and given and isinstance(ours, Mapping):
        for key in _READ:
            if given.get(key) is None and ours.get(key) is not None:
                yield f"{path}.{key}"
        yield from _list_added(given.get("products"), ours.get("products"), f"{path}.products")
    elif isinstance(given, list) and isinstance(ours, list):
        for i, (line, completed) in enumerate(zip(given, ours, strict=False)):
            yield from _list_added(line, completed, f"{path}[{i}]")


def _check_lost(facts: Facts) -> Iterator[Remark]:
    if not facts.payload:
        return
    for part, code in (("custom_data", "parameters_lost"), ("user_data", "user_data_lost")):
        ours, theirs = read_object(facts.meta, part), read_object(facts.payload, part)
        # external_id has remarks of its own.
        lost = [key for key in ours if key not in theirs and key != "external_id"]
        if "contents" in theirs:
            lost += sorted(_list_line_keys(ours) - _list_line_keys(theirs))
        if lost:
            words = f"no default mapping carries {', '.join(map(_show, lost))}"
            yield Remark("info", code, part, words)


def _list_line_keys(custom_data: Mapping[str, Any]) -> set[str]:
    lines = custom_data.get("contents") or []
    return {f"contents[].{key}" for line in lines if isinstance(line, Mapping) for key in line}


def _check_defaults(facts: Facts) -> Iterator[Remark]:
    if not facts.payload:
        return
    words = "has no default in Segment's destination: map it to properties.action_source"
    yield Remark("info", "action_source_unmapped", "action_source", words)
    if facts.meta.get("data_processing_options"):
        words = (
            "Limited Data Use is not mapped by default and would be lost through Segment: Bridge"
            " switches that way off; map Data Processing Options and set Segment(maps_limits=True)"
        )
        yield Remark("warning", "limited_unmapped", "data_processing_options", words)


def _fold(name: str) -> str:
    return name.lower().translate(_SEPARATORS)


def _show(key: object) -> str:
    return str(key)[:50]


_CHECKS: tuple[Callable[[Facts], Iterator[Remark]], ...] = (
    _check_refusal,
    _check_switch,
    _check_length,
    _check_message_id,
    _check_event,
    _check_external_id,
    _check_browser,
    _check_value,
    _check_added,
    _check_lost,
    _check_defaults,
)
