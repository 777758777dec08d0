"""Pairing: when two copies are one event, and what to say when they are not.

Source: Meta, "Handling Duplicate Pixel and Conversions API Events" and "External ID", read
2026-11-23: method 1 is event name + event id, either side first; method 2 is event name +
``external_id`` and/or ``fbp``, and drops a server copy only if the browser copy came before it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from bridge.sandbox.copies import OTHER, Copy, Side

WINDOW = 48 * 3600  # seconds, from the first copy
NEIGHBOURS = 20  # actions looked at before and after one, for the closest
SAME_VISIT = 1800  # seconds within which two actions of a visitor are of one visit

Expected = Literal["yes", "no", "unclear"]
UNCLEAR = (
    "no browser copy: a webhook's event has none; that of a page's request is fired by the page"
    " that follows, if it is opened and carries the script"
)


class Action(msgspec.Struct, kw_only=True):
    """What happened once: the copies that Meta would count together.

    Attributes:
        pixel_id, event_name, event_id, first_at: Of the copy that came first; Unix seconds.
        known: Whether the pixel exists.
        merged_by: ``"event_id"``, ``"external_id"`` or ``"fbp"`` once both sides are here.
        browser_keys: The browser copy that method 2 compares with, if there is one.
        counts: Copies received per side, also those not kept.
        copies: Kept copies per side, oldest first.
    """

    pixel_id: str
    event_name: str
    event_id: str | None
    first_at: float
    known: bool
    merged_by: str | None = None
    browser_keys: Copy | None = None
    counts: dict[Side, int] = msgspec.field(default_factory=lambda: {"browser": 0, "server": 0})
    copies: dict[Side, list[Copy]] = msgspec.field(
        default_factory=lambda: {"browser": [], "server": []}
    )

    @property
    def side(self) -> Side | None:
        """The only side that sent a copy, ``None`` if both did."""
        if self.counts["browser"] and self.counts["server"]:
            return None
        return "browser" if self.counts["browser"] else "server"

    @property
    def repeats(self) -> int:
        """How many copies came from a side that had sent one already."""
        return sum(max(count - 1, 0) for count in self.counts.values())


def match_person(browser: Copy, server: Copy) -> str | None:
    """Return the key by which method 2 takes two copies for one event, ``None`` if it does not.

    The caller makes sure that the browser copy came first.

    Different event ids mean different events. Different external ids mean different people, even in
    the same browser ("external_id wins when both are present").
    """
    if browser.event_id and server.event_id:
        return None
    if server.received_at - browser.received_at > WINDOW:
        return None
    if browser.external_ids and server.external_ids:
        return "external_id" if browser.external_ids & server.external_ids else None
    return "fbp" if browser.fbp and browser.fbp == server.fbp else None


def find_mismatches(browser: Copy, server: Copy) -> list[str]:
    """Return the names of the keys that both copies have with different values.

    Of ``fbc`` only the click id is compared, since the time may differ for one click. URLs are
    compared without query and fragment, from which either side may have removed something.
    """
    pairs: list[tuple[str, Any, Any]] = [
        ("fbp", browser.fbp.split(".")[:4], server.fbp.split(".")[:4]),
        ("fbc", _read_click_id(browser.fbc), _read_click_id(server.fbc)),
        ("url", urlsplit(browser.url)[1:3], urlsplit(server.url)[1:3]),
    ]
    names = [name for name, left, right in pairs if any(left) and any(right) and left != right]
    if browser.external_ids and server.external_ids:
        shared = browser.external_ids & server.external_ids
        return names if shared else ["external_id", *names]
    return names


def list_persons(action: Action) -> set[str]:
    """Return the external ids and fbps of an action's visitor."""
    persons: set[str] = set()
    for copies in action.copies.values():
        for copy in copies:
            persons |= copy.external_ids | ({copy.fbp} if copy.fbp else set())
    return persons


class Explainer:
    """Explains why an action is not merged, by looking at the others."""

    def __init__(self, actions: Iterable[Action]) -> None:
        self._by_event_id: defaultdict[str, list[Action]] = defaultdict(list)
        self._alone: defaultdict[tuple[str, Side], list[Action]] = defaultdict(list)
        self._visits: defaultdict[str, list[Action]] = defaultdict(list)
        for action in sorted(actions, key=lambda action: action.first_at):
            if action.event_id:
                self._by_event_id[action.event_id].append(action)
            if action.side:
                self._alone[action.event_name, action.side].append(action)
            for person in list_persons(action):
                self._visits[person].append(action)

    def expects_browser(self, action: Action) -> Expected:
        """Return whether an action has a browser copy, or lacks one that it could have.

        None can come for what did not happen on a website. Nor is one expected if what the same
        visitor did just before and just after has one: no blocker is at work, so this event was not
        born in a browser's request; a webhook's is an example. If the visitor has not been back, it
        is unclear: the page that would have fired the copy may not have been opened. But a page was
        viewed in a browser, and a browser copy of the same visitor and name that is alone, too, is
        rather its twin with another id.
        """
        if action.side != "server" or not action.copies["server"]:
            return "yes"
        event = action.copies["server"][0].detail["event"]
        if event.get("action_source", "website") != "website":
            return "no"
        if action.event_name == "PageView":
            return "yes"
        persons = list_persons(action)
        alone = self._alone.get((action.event_name, "browser"), ())
        if any(
            persons & list_persons(lone)
            for lone in self._list_near(action, alone)
            if abs(lone.first_at - action.first_at) <= SAME_VISIT
        ):
            return "yes"
        found = {_look_around(action, self._visits[person]) for person in persons}
        return "no" if "no" in found else "unclear" if "unclear" in found else "yes"

    def explain(self, action: Action) -> str | None:
        """Return the reason in plain words, ``None`` if the action is merged."""
        side = action.side
        if side is None:
            return None
        if not action.known:
            return f"unknown pixel id {action.pixel_id}: Meta would count nothing"
        other = OTHER[side]
        for twin in self._by_event_id.get(action.event_id or "", ()):
            if twin is not action and twin.counts[other]:
                return _explain_same_id(action, twin, other)
        closest = self._find_closest(action, self._alone.get((action.event_name, other), ()))
        expected = self.expects_browser(action)
        if expected == "no":
            return _explain_none(action)
        if expected == "unclear":
            return UNCLEAR
        if closest is None:
            return f"no {other} copy"
        return _explain_other_id(action, closest, other)

    def _list_near(self, action: Action, others: Sequence[Action]) -> Sequence[Action]:
        here = bisect_left(others, action.first_at, key=lambda other: other.first_at)
        return others[max(here - NEIGHBOURS, 0) : here + NEIGHBOURS]

    def _find_closest(self, action: Action, others: Sequence[Action]) -> Action | None:
        return min(
            self._list_near(action, others),
            key=lambda other: (
                other.pixel_id != action.pixel_id,
                abs(other.first_at - action.first_at),
            ),
            default=None,
        )


def _explain_same_id(action: Action, twin: Action, other: Side) -> str:
    if twin.event_name != action.event_name:
        return f"different event name: {other} copy with this event id is {twin.event_name}"
    if twin.pixel_id != action.pixel_id:
        return f"different pixel: {other} copy with this event id went to pixel {twin.pixel_id}"
    hours = abs(twin.first_at - action.first_at) / 3600
    return f"{other} copy with this event id came {hours:.0f} h apart: Meta merges within 48 h"


def _explain_none(action: Action) -> str:
    source = action.copies["server"][0].detail["event"].get("action_source", "website")
    if source != "website":
        return f"none expected: {source} has no browser"
    return "none expected: tracked by a webhook, it seems, since this visitor's pixel works"


def _look_around(action: Action, actions: Sequence[Action]) -> Expected:
    """Return what a visitor's other ``actions`` say of a browser copy that did not come.

    Of those without one only a page view tells of the browser; the others may be a webhook's, too.
    """
    here = bisect_left(actions, action.first_at, key=lambda other: other.first_at)
    while actions[here] is not action:
        here += 1
    before = actions[max(here - NEIGHBOURS, 0) : here]
    after = [
        each
        for each in actions[here + 1 : here + 1 + NEIGHBOURS]
        if each.first_at - action.first_at <= SAME_VISIT
    ]
    earlier = next((each for each in reversed(before) if _tells_of_browser(each)), None)
    later = next(filter(_tells_of_browser, after), None)
    if earlier is None or not earlier.counts["browser"]:
        return "yes"
    if later is None:
        return "unclear"
    if not later.counts["browser"]:
        return "yes"
    return "no" if earlier is before[-1] and later is after[0] else "unclear"


def _tells_of_browser(action: Action) -> bool:
    return bool(action.counts["browser"]) or action.event_name == "PageView"


def _explain_other_id(action: Action, closest: Action, other: Side) -> str:
    if closest.pixel_id != action.pixel_id:
        return (
            f"different pixel: closest {other} copy of the same name went to pixel "
            f"{closest.pixel_id}"
        )
    if action.event_id and closest.event_id:
        return (
            f"no {other} copy with event id {action.event_id}: closest {other} copy of the same "
            f"name has id {closest.event_id}"
        )
    browser, server = (closest, action) if other == "browser" else (action, closest)
    without = [side for side, one in (("browser", browser), ("server", server)) if not one.event_id]
    start = f"{without[0]} copy has no event id" if len(without) == 1 else "no event ids"
    if not browser.copies["browser"] or not server.copies["server"]:
        return start
    left, right = browser.copies["browser"][0], server.copies["server"][0]
    if left.external_ids and right.external_ids and not left.external_ids & right.external_ids:
        return f"{start} and different external_id"
    if not left.external_ids & right.external_ids and (not left.fbp or left.fbp != right.fbp):
        return f"{start} and neither external_id nor fbp is shared"
    if right.received_at < left.received_at:
        return f"{start} and server came first"
    return f"{start} and the copies came more than 48 h apart"


def _read_click_id(fbc: str) -> str:
    parts = fbc.split(".")
    return parts[3].replace("__DOT__", ".") if len(parts) > 3 else fbc
