"""The outbox protocol in plain dictionaries: what every engine is compared with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bridge.outbox import Counts, Delivery
from bridge.outbox.base import (
    LASTING_SECONDS,
    REMEMBERED_SECONDS,
    Erased,
    Key,
    split_subjects,
)


@dataclass
class Row:
    delivery: Delivery
    state: Literal["waiting", "delivered", "dead"] = "waiting"
    settled_at: float = 0.0
    reason: str = ""


class Model:
    def __init__(self) -> None:
        self.rows: dict[Key, Row] = {}

    def waiting(self, destination: str | None = None) -> list[Delivery]:
        return [
            row.delivery
            for row in self.rows.values()
            if row.state == "waiting" and destination in (None, row.delivery.destination)
        ]

    def put(self, deliveries: Sequence[Delivery], now: float) -> list[bool]:
        return [self._put(delivery, now) for delivery in deliveries]

    def _put(self, delivery: Delivery, now: float) -> bool:
        own = delivery.key._replace(from_browser=False)
        new = not any(self._knows(key, now) for key in (delivery.key, own))
        if new:
            self.rows[delivery.key] = Row(delivery)
        return new

    def _knows(self, key: Key, now: float) -> bool:
        row = self.rows.get(key)
        if row is None or row.state == "dead":
            return False
        span = LASTING_SECONDS if row.delivery.has_given_id else REMEMBERED_SECONDS
        return row.state == "waiting" or row.settled_at >= now - span

    def due(self, destination: str, now: float) -> list[float]:
        """When what may be claimed became due, oldest first."""
        return sorted(each.due for each in self.waiting(destination) if each.due <= now)

    def claim(self, keys: Iterable[Key], due: float) -> list[Delivery]:
        """Lease what the engine chose; which it takes of those due at one moment is its own."""
        claimed = []
        for key in keys:
            row = self.rows[key]
            row.delivery = replace(row.delivery, due=due, attempts=row.delivery.attempts + 1)
            claimed.append(row.delivery)
        return claimed

    def settle(
        self, keys: Iterable[Key], state: Literal["delivered", "dead"], reason: str, now: float
    ) -> None:
        for key in keys:
            row = self.rows.get(key)
            if row is not None and row.state == "waiting":
                row.state, row.reason, row.settled_at = state, reason, now

    def retry(self, keys: Iterable[Key], due: float) -> int:
        rows = [self.rows[key] for key in keys if key in self.rows]
        waiting = [row for row in rows if row.state == "waiting"]
        for row in waiting:
            row.delivery = replace(row.delivery, due=due)
        return len(waiting)

    def release(self, event_name: str, event_id: str, subject: bytes, now: float) -> int:
        held = [
            each.key
            for each in self.waiting()
            if each.key[1:] == (event_name, event_id, False)
            and each.due > now
            and each.attempts == 0
            and each.subjects.startswith(subject)
        ]
        self.retry(held, now)
        return len(held)

    def revive(self, keys: Iterable[Key], now: float) -> int:
        dead = [key for key in keys if key in self.dead()]
        for key in dead:
            delivery = replace(self.rows[key].delivery, due=now, attempts=0)
            self.rows[key] = Row(delivery)
        return len(dead)

    def drop(self, keys: Iterable[Key]) -> int:
        dead = [key for key in keys if key in self.dead()]
        for key in dead:
            del self.rows[key]
        return len(dead)

    def withdraw(self, subject: bytes) -> int:
        keys = [
            key
            for key, row in self.rows.items()
            if row.state != "delivered" and row.delivery.subjects.startswith(subject)
        ]
        for key in keys:
            del self.rows[key]
        return len(keys)

    def erase(self, subject: bytes) -> Erased:
        erased = [
            row
            for row in self.rows.values()
            if row.state != "delivered" and subject in split_subjects(row.delivery.subjects)
        ]
        for row in erased:
            del self.rows[row.delivery.key]
        waiting = sum(row.state == "waiting" for row in erased)
        return Erased(waiting, len(erased) - waiting)

    def drop_old(self, before: float) -> int:
        return self.drop([key for key, row in self.dead().items() if row.settled_at < before])

    def dead(self) -> dict[Key, Row]:
        return {key: row for key, row in self.rows.items() if row.state == "dead"}

    def count(self, destination: str, now: float) -> Counts:
        """All but the oldest."""
        rows = [row for row in self.rows.values() if row.delivery.destination == destination]
        waiting = self.waiting(destination)
        return Counts(
            waiting=len(waiting),
            held=sum(each.attempts == 0 and each.due > now for each in waiting),
            delivered=sum(
                row.state == "delivered" and row.settled_at >= now - REMEMBERED_SECONDS
                for row in rows
            ),
            dead=sum(row.state == "dead" for row in rows),
        )
