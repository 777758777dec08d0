"""What an outbox is: deliveries, each with the time it is due.

``due`` alone is schedule, hold, lease and back-off. A claim moves it ahead by the lease; a crash
therefore makes the claimed rows due again, and nothing has to be unlocked by hand.

A delivery is waiting, delivered or dead. A delivered one is remembered by its key alone, for 48
hours, so that the same event tracked again is refused. A dead one is replaced when the same event
is tracked again: whoever mended the cause gets another try.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

REMEMBERED = 48 * 3600  # seconds; Meta's own window for telling duplicates
CAPACITY = 2_000_000  # deliveries that wait or are dead, unless the outbox is built with another

Key = tuple[str, str, str]  # destination, event name, event id


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One server copy on its way to one destination.

    Attributes:
        destination: The destination's name, such as ``meta:1234567890``.
        event_name: With ``event_id``, what its twin is called too.
        event_id: The twins' shared id.
        body: The event as the destination encoded it; retries send the same bytes.
        due: When it may be claimed, Unix seconds.
        expires: When the destination stops accepting it, Unix seconds.
        attempts: How often it was claimed.
        place: Where the engine that gave it out keeps it, which spares a search; a hint, no more.
    """

    destination: str
    event_name: str
    event_id: str
    body: bytes = field(repr=False)
    due: float
    expires: float
    attempts: int = 0
    place: int | None = field(default=None, repr=False, compare=False)

    @property
    def key(self) -> Key:
        """What makes it this delivery and no other."""
        return (self.destination, self.event_name, self.event_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A delivery that was refused for good.

    Attributes:
        delivery: As it was last claimed; its body is kept, for another try by hand.
        reason: The destination's own words.
        buried_at: Unix seconds.
    """

    delivery: Delivery
    reason: str
    buried_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many deliveries to one destination stand where.

    Attributes:
        waiting: Stored and not settled; held and claimed ones included.
        held: Of these, never claimed and not due yet.
        delivered: Accepted in the last 48 hours.
        dead: Buried with a reason.
        oldest: When the oldest waiting one was stored, Unix seconds; ``None`` if none waits.
    """

    waiting: int = 0
    held: int = 0
    delivered: int = 0
    dead: int = 0
    oldest: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Circuit:
    """Whether a destination takes our requests at all, as the last sender found.

    Attributes:
        destination: The destination's name.
        state: ``closed`` works; ``open`` refuses us; ``half_open`` is being asked again.
        reason: The destination's own words; empty when closed.
        since: When this state began, Unix seconds.
        until: When the destination is asked again, Unix seconds; 0 when closed.
    """

    destination: str
    state: Literal["closed", "open", "half_open"]
    reason: str = ""
    since: float
    until: float = 0.0


class Outbox(Protocol):
    """Where deliveries wait. Every method may wait and raises ``OutboxError`` if the engine fails.

    Times are Unix seconds and come from the caller. Work on keys the outbox does not hold, or that
    are settled already, changes nothing.
    """

    async def put(
        self, deliveries: Sequence[Delivery], now: float, *, connection: Any = None
    ) -> list[bool]:
        """Store ``deliveries`` durably, all or none; for each, whether its key is new.

        Args:
            deliveries: What to store.
            now: When it is stored.
            connection: The caller's own, in whose transaction they are stored: they are durable
                when the caller commits, and were never there if the caller rolls back.

        Raises:
            OutboxFullError: The capacity is reached, or the disk is full.
            ConfigError: This engine cannot take part in the caller's transaction.
        """
        ...

    async def claim(
        self, destination: str, limit: int, *, now: float, lease: float
    ) -> list[Delivery]:
        """Take up to ``limit`` due deliveries, oldest due first; due again after ``lease``."""
        ...

    async def ack(self, deliveries: Sequence[Delivery], now: float) -> None:
        """Mark as delivered, drop the bodies, and forget keys older than 48 hours."""
        ...

    async def retry(self, deliveries: Sequence[Delivery], due: float) -> None:
        """Make claimed deliveries due at ``due``."""
        ...

    async def bury(self, deliveries: Sequence[Delivery], reason: str, now: float) -> None:
        """Move to the dead letters."""
        ...

    async def release(self, event_name: str, event_id: str, now: float) -> int:
        """End the hold of an event's deliveries never claimed yet; how many there were."""
        ...

    async def find(self, event_name: str, event_id: str) -> Delivery | None:
        """Return a waiting delivery of one event; of several destinations', the first by name."""
        ...

    async def next_due(self, destination: str) -> float | None:
        """When the next waiting delivery is due, or ``None`` if none waits."""
        ...

    async def count(self, now: float) -> Mapping[str, Counts]:
        """Count by destination; one without deliveries may be missing."""
        ...

    async def list_dead(
        self, *, destination: str | None = None, limit: int = 100, offset: int = 0
    ) -> list[DeadLetter]:
        """Return dead letters, newest first."""
        ...

    async def find_dead(self, event_id: str) -> list[DeadLetter]:
        """Return the dead letters of one event, one for each name and destination."""
        ...

    async def revive(self, keys: Sequence[Key], now: float) -> int:
        """Make dead letters due at ``now``, as if never claimed; how many there were."""
        ...

    async def drop(self, keys: Sequence[Key]) -> int:
        """Delete dead letters and their keys; how many there were."""
        ...

    async def save_circuit(self, circuit: Circuit) -> None:
        """Keep the circuit of a destination, for other processes to see."""
        ...

    async def circuits(self) -> Mapping[str, Circuit]:
        """Return the circuits kept, by destination."""
        ...

    async def close(self) -> None:
        """Let go of the engine; whatever was put stays. A later call opens it again."""
        ...
