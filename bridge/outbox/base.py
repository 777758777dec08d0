"""What an outbox is: deliveries, each with the time it is due.

``due`` alone is schedule, hold, lease and back-off. A claim moves it ahead by the lease; a crash
therefore makes the claimed rows due again, and nothing has to be unlocked by hand.

A delivery is waiting, delivered or dead. Of a delivered one only the key is kept, for 48 hours, so
that the same event tracked again is refused. A dead one is replaced when the same event is tracked
again: whoever fixed the cause gets another try.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from bridge.errors import ConfigError, OutboxFullError

REMEMBERED_SECONDS = 48 * 3600  # of a delivered key; Meta's own window for telling duplicates
FORGET_AT_ONCE = 2000  # delivered keys that one ack deletes at most
CAPACITY = 2_000_000  # deliveries that wait or are dead, unless the outbox is given another limit

Key = tuple[str, str, str]  # destination, event name, event id
CircuitState = Literal["closed", "open", "half_open"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One server copy on its way to one destination.

    Attributes:
        destination: The destination's name, such as ``meta:1234567890``.
        event_name: With ``event_id``, also the name of its twin in the browser.
        event_id: The id that both twins share.
        body: The event as the destination encoded it; retries send the same bytes.
        due: When it may be claimed, Unix seconds.
        expires: When the destination stops accepting it, Unix seconds.
        attempts: How often it was claimed.
        place: Where the engine that returned it keeps it. A hint that saves a search; it may be
            wrong or missing.
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
        """What tells it from every other delivery."""
        return (self.destination, self.event_name, self.event_id)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A delivery that was refused for good.

    Attributes:
        delivery: As it was last claimed, with its body, so that it can be sent again by hand; its
            ``due`` is when it was buried.
        reason: The destination's own words.
        buried_at: Unix seconds.
    """

    delivery: Delivery
    reason: str
    buried_at: float


@dataclass(frozen=True, slots=True)
class Counts:
    """How many deliveries to one destination are in each state.

    Attributes:
        waiting: Stored and not settled; includes those that are held or claimed.
        held: Of the waiting ones, those that are not due yet and were never claimed.
        delivered: Accepted in the last 48 hours.
        dead: Buried with a reason.
        oldest: When the oldest waiting one was stored, Unix seconds; ``None`` if none waits.
    """

    waiting: int = 0
    held: int = 0
    delivered: int = 0
    dead: int = 0
    oldest: float | None = None

    def read_age(self, now: float) -> float:
        """Return for how many seconds the oldest waiting one has waited; 0 if none waits."""
        return 0.0 if self.oldest is None else max(0.0, now - self.oldest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Circuit:
    """Whether a destination accepts our requests at all, as the last sender found.

    Attributes:
        destination: The destination's name.
        state: ``closed``: it works. ``open``: it refuses us, so nothing is sent. ``half_open``: one
            request is on its way to find out whether it works again.
        reason: The destination's own words; empty when closed.
        since: When this state began, Unix seconds.
        until: When the destination is tried again, Unix seconds; 0 when closed.
    """

    destination: str
    state: CircuitState
    reason: str = ""
    since: float
    until: float = 0.0


class Outbox(Protocol):
    """Where deliveries wait. Every method may wait and raises ``OutboxError`` if the engine fails.

    Times are Unix seconds and come from the caller. Keys that the outbox does not hold, or that are
    settled already, are ignored.
    """

    async def put(
        self, deliveries: Sequence[Delivery], now: float, *, connection: Any = None
    ) -> list[bool]:
        """Store ``deliveries`` durably, all or none; return for each whether its key is new.

        Args:
            deliveries: What to store.
            now: When it is stored.
            connection: The caller's own database connection. The deliveries are stored in its
                transaction: durable when the caller commits, gone if the caller rolls back.

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
        """Move to the dead letters; the bodies are kept."""
        ...

    async def release(self, event_name: str, event_id: str, now: float) -> int:
        """End the hold of an event's deliveries that were never claimed; return how many."""
        ...

    async def has(self, event_name: str, event_id: str) -> bool:
        """Return whether the event is stored: a delivery of it waits, is dead, or was delivered.

        An event put in a caller's transaction is stored once that is committed. An event that was
        delivered more than 48 hours ago may be forgotten.
        """
        ...

    async def next_due(self, destination: str) -> float | None:
        """Return when the next waiting delivery is due, or ``None`` if none waits."""
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
        """Return the dead letters with this event id, whatever their event name or destination."""
        ...

    async def revive(self, keys: Sequence[Key], now: float) -> int:
        """Make dead letters due at ``now``, as if never claimed; return how many there were."""
        ...

    async def drop(self, keys: Sequence[Key]) -> int:
        """Delete dead letters and their keys; return how many there were."""
        ...

    async def save_circuit(self, circuit: Circuit) -> None:
        """Store the circuit of a destination, for other processes to see."""
        ...

    async def circuits(self) -> Mapping[str, Circuit]:
        """Return the stored circuits by destination."""
        ...

    async def close(self) -> None:
        """Close the engine's connections; the next call opens them again. Nothing is deleted."""
        ...


# What the engines share


def check_capacity(capacity: int) -> int:
    """Return ``capacity``; raise ``ConfigError`` if it is below 1."""
    if capacity < 1:
        raise ConfigError(f"capacity must be at least 1, got {capacity}")
    return capacity


def build_full_error(name: str, held: int, capacity: int) -> OutboxFullError:
    """Return what a put raises that would exceed the capacity of the outbox ``name``."""
    return OutboxFullError(
        f"outbox {name} is full, it holds {held} of {capacity} deliveries: see why they are not"
        " delivered, drop dead letters, or give it a larger capacity"
    )


def refuse_connection(engine: str, connection: object) -> None:
    """Raise ``ConfigError`` if ``put`` was given a connection."""
    if connection is not None:
        raise ConfigError(
            f"{engine} cannot take part in your transaction: leave connection= out, or use"
            " PostgresOutbox with a connection to its database"
        )


def digest_texts(texts: Iterable[str], size: int) -> bytes:
    """Return ``size`` bytes that stand for ``texts``: an index entry of fixed length.

    A lone surrogate, which no engine can store, has a digest too: asking for it finds nothing.
    """
    hasher = hashlib.blake2b(digest_size=size)
    for text in texts:
        # The length in front keeps ("ab", "c") apart from ("a", "bc").
        encoded = text.encode(errors="surrogatepass")
        hasher.update(len(encoded).to_bytes(8) + encoded)
    return hasher.digest()


def read_circuits(rows: Iterable[Sequence[Any]]) -> dict[str, Circuit]:
    """Return rows of destination, state, reason, since and until as circuits by destination."""
    return {
        row[0]: Circuit(destination=row[0], state=row[1], reason=row[2], since=row[3], until=row[4])
        for row in rows
    }


def read_dead(rows: Iterable[Sequence[Any]]) -> list[DeadLetter]:
    """Return rows of the first seven fields of a delivery, reason and time as dead letters."""
    return [DeadLetter(Delivery(*row[:7]), *row[7:]) for row in rows]
