"""What an outbox is: deliveries, each with the time it is due.

``due`` alone is schedule, hold, lease and back-off. A claim moves it ahead by the lease; a crash
therefore makes the claimed rows due again, and nothing has to be unlocked by hand.

A delivery is waiting, delivered or dead. A delivered one is remembered by its key alone, for 48
hours, so that the same event tracked again is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

REMEMBERED = 48 * 3600  # seconds; Meta's own window for telling duplicates


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
    """

    destination: str
    event_name: str
    event_id: str
    body: bytes = field(repr=False)
    due: float
    expires: float
    attempts: int = 0

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes it this delivery and no other."""
        return (self.destination, self.event_name, self.event_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many deliveries stand where.

    Attributes:
        waiting: Stored and not settled; held and claimed ones included.
        delivered: Accepted in the last 48 hours.
        dead: Buried with a reason.
    """

    waiting: int
    delivered: int
    dead: int


class Outbox(Protocol):
    """Where deliveries wait. Every method may wait and raises ``OutboxError`` if the engine fails.

    Times are Unix seconds and come from the caller.
    """

    async def put(self, deliveries: Sequence[Delivery], now: float) -> list[bool]:
        """Store ``deliveries`` durably; for each, whether its key is new."""
        ...

    async def claim(
        self, destination: str, limit: int, *, now: float, lease: float
    ) -> list[Delivery]:
        """Take up to ``limit`` due deliveries, oldest first; they are due again after ``lease``."""
        ...

    async def ack(self, deliveries: Sequence[Delivery], now: float) -> None:
        """Mark as delivered and drop the bodies."""
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

    async def next_due(self, destination: str) -> float | None:
        """When the next waiting delivery is due, or ``None`` if none waits."""
        ...

    async def count(self) -> Counts:
        """Count all."""
        ...

    async def close(self) -> None:
        """Let go of the engine; whatever was put stays."""
        ...
