"""The ledger: what arrived, which copies Meta would count as one, and how much of everything.

Pure: takes the time as an argument. Bounded: full bodies of the newest actions only, and keys of
many more, so that a repeated copy is still recognised.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Sequence
from typing import Any

from bridge.sandbox.copies import OTHER, Copy
from bridge.sandbox.message_log import Delivery, MessageLog
from bridge.sandbox.pairing import WINDOW, Action, match_person
from bridge.sandbox.refusal import Refusal
from bridge.sandbox.remedies import find_blamed, find_remedy
from bridge.sandbox.report import Search, browse
from bridge.sandbox.segment_messages import Message

MAX_ACTIONS = 2000  # actions kept with full bodies
MAX_KEYS = 200_000  # event ids kept beyond that
MAX_COPIES = 20  # copies kept per action and side
MAX_NAMES = 500  # event names counted by themselves; the rest together
MAX_REQUESTS = 200  # requests to Graph kept in the log
MAX_BLAMED = 20  # of them those that keep the event they were refused for

_Person = tuple[str, str, str, str]  # pixel id, event name, "external_id" or "fbp", value


class Ledger:
    """What the sandbox has received since it started or was reset.

    Attributes:
        version: Grows with every change, so that one can be waited for.
        messages: What arrived for Segment.
    """

    def __init__(self) -> None:
        self.version = 0
        self._clear()

    def reset(self) -> None:
        """Delete everything; the version keeps growing."""
        self._clear()
        self.version += 1

    def _clear(self) -> None:
        self.messages = MessageLog()
        self._actions: deque[Action] = deque()
        self._by_id: OrderedDict[tuple[str, str, str], Action] = OrderedDict()
        self._by_person: defaultdict[_Person, list[Action]] = defaultdict(list)
        self._requests: deque[dict[str, Any]] = deque(maxlen=MAX_REQUESTS)
        self._blamed: deque[dict[str, Any]] = deque()
        self._counters: Counter[str] = Counter()
        self._names: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def add(self, copy: Copy, *, known: bool = True) -> Action:
        """Record a copy and return the action it belongs to; copies come in order of their time.

        Those of a pixel that is not ``known`` do not count.
        """
        self.version += 1
        self._counters[copy.side] += 1
        name = copy.event_name if len(self._names) < MAX_NAMES else "(other)"
        name = copy.event_name if copy.event_name in self._names else name
        self._names[name][copy.side] += 1
        action, key = self._find(copy)
        if action is None:
            action = self._open(copy, known)
        elif not action.counts[copy.side]:
            self._counters["merged"] += 1
            self._counters[f"{OTHER[copy.side]}_only"] -= 1
            action.merged_by = key
        else:
            self._counters["repeats"] += 1
        self._attach(action, copy)
        return action

    def add_request(
        self, pixel_id: str, events: Sequence[Any], refusal: Refusal | None, now: float
    ) -> None:
        """Record a request to Graph; of a refused one also the event to blame."""
        self.version += 1
        self._counters["requests"] += 1
        if refusal:
            self._counters["refused_requests"] += 1
            self._counters["refused_events"] += len(events)
        request = {
            "number": self._counters["requests"],
            "received_at_ms": int(now * 1000),
            "pixel_id": pixel_id,
            "status": refusal.status if refusal else 200,
            "events": len(events),
            "code": refusal and refusal.code,
            "subcode": refusal and refusal.subcode,
            "message": refusal and refusal.message,
            "field": refusal and refusal.field,
            "remedy": refusal and find_remedy(refusal),
            "event": refusal and find_blamed(refusal, events),
        }
        self._requests.appendleft(request)
        if request["event"] is not None:
            self._blamed.append(request)
            if len(self._blamed) > MAX_BLAMED:
                self._blamed.popleft()["event"] = None

    def add_message(self, message: Message, delivery: Delivery | None, now: float) -> None:
        """Record a message to Segment, and what its destination made of it."""
        self.version += 1
        self.messages.add(message, delivery, now)

    def refuse_message(self, path: str, reason: str, now: float) -> None:
        """Record a call to Segment that was answered with 400."""
        self.version += 1
        self.messages.refuse(path, reason, now)

    def count(self, name: str) -> None:
        """Add one to a plain counter, such as ``"malformed_hits"``."""
        self.version += 1
        self._counters[name] += 1

    def list_actions(self) -> list[Action]:
        """Return the actions that are kept with their bodies, oldest first."""
        return list(self._actions)

    def touch(self) -> None:
        """Note a change that is not the ledger's own."""
        self.version += 1

    def report(
        self, limit: int = MAX_ACTIONS, *, offset: int = 0, search: Search | None = None
    ) -> dict[str, Any]:
        """Return what is kept, newest first, as the API and the events page show it.

        ``limit`` is of actions, and of messages; ``offset`` and ``search`` are of actions. The
        counters always cover all, the summary by name all actions that are kept.
        """
        return {
            **browse(tuple(self._actions), search or Search(), limit=limit, offset=offset),
            "counters": self._count_all(),
            "requests": list(self._requests),
            "segment": self.messages.report(limit),
        }

    def _count_all(self) -> dict[str, Any]:
        names = (
            *("actions", "merged", "browser_only", "server_only", "browser", "server", "repeats"),
            *("requests", "refused_requests", "refused_events", "unknown_pixel", "malformed_hits"),
        )
        counters: dict[str, Any] = {name: self._counters[name] for name in names}
        counters["by_name"] = {
            name: {"browser": counts["browser"], "server": counts["server"]}
            for name, counts in self._names.items()
        }
        return counters

    def _find(self, copy: Copy) -> tuple[Action | None, str | None]:
        if copy.event_id:
            action = self._by_id.get((copy.pixel_id, copy.event_name, copy.event_id))
            if action and copy.received_at - action.first_at <= WINDOW:
                return action, "event_id"
        if copy.side == "browser":
            return None, None
        found: list[tuple[bool, float, str, Action]] = []
        for person in _persons(copy):
            for action in self._by_person.get(person, ()):
                key = match_person(action.browser_keys, copy) if action.browser_keys else None
                if key:
                    waiting = not action.counts["server"]
                    found.append((waiting, action.first_at, key, action))
        if not found:
            return None, None
        _, _, key, action = max(found, key=lambda match: match[:2])
        return action, key

    def _open(self, copy: Copy, known: bool) -> Action:
        action = Action(
            pixel_id=copy.pixel_id,
            event_name=copy.event_name,
            event_id=copy.event_id,
            first_at=copy.received_at,
            known=known,
        )
        self._actions.append(action)
        self._counters["actions"] += 1
        self._counters[f"{copy.side}_only"] += 1
        self._counters["unknown_pixel"] += not known
        if len(self._actions) > MAX_ACTIONS:
            self._forget(self._actions.popleft())
        return action

    def _attach(self, action: Action, copy: Copy) -> None:
        action.counts[copy.side] += 1
        kept = action.copies[copy.side]
        if len(kept) < MAX_COPIES:
            kept.append(copy)
        if copy.side == "browser" and action.browser_keys is None:
            action.browser_keys = copy
            for person in _persons(copy):
                self._by_person[person].append(action)
        if copy.event_id:
            action.event_id = action.event_id or copy.event_id
            self._by_id[copy.pixel_id, copy.event_name, copy.event_id] = action
            if len(self._by_id) > MAX_KEYS:
                self._by_id.popitem(last=False)

    def _forget(self, action: Action) -> None:
        """Drop the bodies of an action, but not its event id."""
        if action.browser_keys is not None:
            for person in _persons(action.browser_keys):
                self._by_person[person].remove(action)
                if not self._by_person[person]:
                    del self._by_person[person]
        action.browser_keys = None
        action.copies = {"browser": [], "server": []}


def _persons(copy: Copy) -> list[_Person]:
    name = (copy.pixel_id, copy.event_name)
    persons: list[_Person] = [(*name, "external_id", value) for value in copy.external_ids]
    if copy.fbp:
        persons.append((*name, "fbp", copy.fbp))
    return persons
