"""The log of what Segment was sent: which messages, and what became of each.

Pure: takes the time as an argument. Bounded: full bodies of the newest messages only, and message
ids of many more, so that a repeated message is still recognised.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from typing import Any

import msgspec

from bridge.sandbox.segment_messages import Message

DEDUPLICATION = 24 * 3600  # seconds; "at least 24 hours", across all sources
MAX_MESSAGES = 2000  # kept with their bodies
MAX_IDS = 200_000  # message ids kept beyond that
MAX_REFUSALS = 200  # refused requests kept


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """What Segment's destination for Meta made of a message.

    Attributes:
        outcome: ``"delivered"``; ``"refused"`` by the destination, or ``"refused_by_meta"``;
            ``"off"`` by the message's ``integrations``; ``"none"`` without a mapping for it.
        reason: Why it was refused.
        event_name, event_id: Of the event that Meta was sent.
        warnings: What is lost on the way.
    """

    outcome: str
    reason: str | None = None
    event_name: str | None = None
    event_id: str | None = None
    warnings: list[str] = []


class MessageLog:
    """What arrived at ``/v1`` since the sandbox started or was reset."""

    def __init__(self) -> None:
        self._entries: deque[dict[str, Any]] = deque(maxlen=MAX_MESSAGES)
        self._refusals: deque[dict[str, Any]] = deque(maxlen=MAX_REFUSALS)
        self._ids: OrderedDict[str, float] = OrderedDict()
        self._counters: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._outcomes: Counter[str] = Counter()

    def refuse(self, path: str, reason: str, now: float) -> None:
        """Record a request that was answered with 400."""
        self._counters["refused_requests"] += 1
        self._refusals.appendleft(
            {"received_at_ms": int(now * 1000), "path": path, "status": 400, "message": reason}
        )

    def is_repeat(self, message_id: str, now: float) -> bool:
        """Return whether this id came within the last 24 hours, and note that it has now.

        Source: Segment, "Handling Duplicate Data": on ``messageId``, not on the content.
        """
        before = self._ids.get(message_id)
        if before is not None and now - before <= DEDUPLICATION:
            return True
        self._ids[message_id] = now
        self._ids.move_to_end(message_id)
        if len(self._ids) > MAX_IDS:
            self._ids.popitem(last=False)
        return False

    def add(self, message: Message, delivery: Delivery | None, now: float) -> None:
        """Record a message, and what its destination made of it if it was not dropped."""
        self._counters["entries"] += 1
        self._counters["received"] += message.count
        if message.dropped is not None:
            self._reasons[message.dropped] += message.count
        if delivery is not None:
            self._outcomes[delivery.outcome] += 1
        content = message.content if isinstance(message.content, dict) else {}
        self._entries.appendleft(
            {
                "number": self._counters["entries"],
                "received_at_ms": int(now * 1000),
                "type": content.get("type"),
                "event": content.get("event"),
                "message_id": content.get("messageId"),
                "anonymous_id": content.get("anonymousId"),
                "user_id": content.get("userId"),
                "verdict": "accepted" if message.dropped is None else "dropped",
                "reason": message.dropped,
                "destination": delivery,
                "warnings": message.warnings,
                "message": message.content,
            }
        )

    def report(self, limit: int = MAX_MESSAGES) -> dict[str, Any]:
        """Return what is kept, newest first; the counters cover more than ``limit`` messages."""
        return {
            "messages": list(self._entries)[:limit],
            "refused": list(self._refusals),
            "counters": {
                "received": self._counters["received"],
                "accepted": self._counters["received"] - self._reasons.total(),
                "dropped": self._reasons.total(),
                "dropped_by": dict(self._reasons),
                "destination": dict(self._outcomes),
                "refused_requests": self._counters["refused_requests"],
            },
        }
