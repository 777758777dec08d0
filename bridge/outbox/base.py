"""What an outbox is: deliveries, each with the time it is due.

``due`` alone is schedule, hold, lease and back-off. A claim moves it ahead by the lease; a crash
therefore makes the claimed rows due again, and nothing has to be unlocked by hand.

A delivery is waiting, delivered or dead. Of a delivered one only the key is kept, so that the same
event tracked again is refused: for 90 days if the app gave its id (an order's: the page that says
thanks may be opened again weeks later), else for 48 hours. A dead one is replaced when the same
event is tracked again: whoever fixed the cause gets another try.

The key says where the event was born: what a browser reported never makes the server's own event of
that id a duplicate, for a browser may say anything. The other way round it does.

Whose event it is stands beside it as ``subjects``, so that what waits for somebody who objects can
be taken back, and what is stored of a person can be erased, whatever a destination's bodies hold.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from bridge.errors import ConfigError, OutboxFullError

REMEMBERED_SECONDS = 48 * 3600  # of a delivered key; Meta's own window for telling duplicates
REMEMBER_DAYS = 90.0  # of a delivered key whose id the app gave
LASTING_SECONDS = REMEMBER_DAYS * 86_400
SUBJECT_BYTES = 8  # of one subject
MAX_SUBJECTS = 31  # of one delivery; their length fits into a byte
FORGET_AT_ONCE = 2000  # delivered keys that one ack deletes at most
FIGURE_DAYS = 90  # for which figures are kept
CAPACITY = 2_000_000  # deliveries that wait or are dead, unless the outbox is given another limit

CircuitState = Literal["closed", "open", "half_open"]


class Key(NamedTuple):
    """What tells one delivery from every other."""

    destination: str
    event_name: str
    event_id: str
    from_browser: bool = False


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
        from_browser: Whether a browser reported it; the server's own has another key.
        has_given_id: Whether the app gave the id, which is remembered longer.
        subjects: Whose it is, as ``build_subjects`` returns it. The first subject is the browser's,
            if there was one.
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
    from_browser: bool = False
    has_given_id: bool = False
    subjects: bytes = field(default=b"", repr=False)
    place: int | None = field(default=None, repr=False, compare=False)

    @property
    def key(self) -> Key:
        """What tells it from every other delivery."""
        return Key(self.destination, self.event_name, self.event_id, self.from_browser)


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
        delivered: Accepted in the last 48 hours; 0 if they were not to be counted.
        dead: Buried with a reason.
        oldest: When the oldest waiting one was stored, Unix seconds; ``None`` if none waits.
    """

    waiting: int = 0
    held: int = 0
    delivered: int = 0
    dead: int = 0
    oldest: float | None = None

    def add(self, other: Counts) -> Counts:
        """Return the counts of both together."""
        times = [each.oldest for each in (self, other) if each.oldest is not None]
        return Counts(
            self.waiting + other.waiting,
            self.held + other.held,
            self.delivered + other.delivered,
            self.dead + other.dead,
            min(times, default=None),
        )

    def read_age(self, now: float) -> float:
        """Return for how many seconds the oldest waiting one has waited; 0 if none waits."""
        return 0.0 if self.oldest is None else max(0.0, now - self.oldest)


class Erased(NamedTuple):
    """How many deliveries were erased.

    Attributes:
        waiting: Those that waited; held and claimed ones too.
        dead: Dead letters.
    """

    waiting: int = 0
    dead: int = 0


class Figure(NamedTuple):
    """A number of one day, summed over all processes that share the outbox.

    Attributes:
        day: Days since 1970-01-01, UTC.
        destination: Its name; ``""`` for what reached none.
        event_name: Whose number it is.
        kind: What was counted.
        number: How many; some kinds have a unit of their own.
    """

    day: int
    destination: str
    event_name: str
    kind: str
    number: int


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

    Times are Unix seconds of the caller's clock, which ``now`` reads, whatever that clock says. An
    engine that machines share stores them by its server's clock, and returns them by the caller's
    again: a machine whose clock is wrong neither takes what another has leased, nor waits longer,
    nor finds what it claims too old. In SQLite, whose processes have one clock, they are stored as
    they come.

    Keys that the outbox does not hold, or that are
    settled already, are ignored. ``str`` of one is what people read: the engine, and where it is.
    """

    async def put(
        self, deliveries: Sequence[Delivery], now: float, *, connection: Any = None
    ) -> list[bool]:
        """Store ``deliveries`` durably, all or none; return for each whether its key is new.

        One from a browser is not new either while the server's own waits or is remembered.

        Args:
            deliveries: What to store.
            now: When it is stored.
            connection: The caller's own database connection. The deliveries are stored in its
                transaction: durable when the caller commits, gone if the caller rolls back.

        Raises:
            OutboxFullError: The capacity is reached (by page views, nine tenths of it), or the
                disk is full.
            ConfigError: This engine cannot take part in the caller's transaction.
        """
        ...

    async def lead(self, destinations: Iterable[str]) -> bool:
        """Return whether this process is to deliver to ``destinations``, until ``close``.

        Where one process delivers better than many, the others are told no, and ask again every
        second: one of them takes over when it ends.
        """
        return True

    async def claim(
        self, destination: str, limit: int, *, now: float, lease: float
    ) -> list[Delivery]:
        """Take up to ``limit`` due deliveries, oldest due first; due again after ``lease``."""
        ...

    async def ack(self, deliveries: Sequence[Delivery], now: float) -> None:
        """Mark as delivered, drop bodies and subjects, and forget keys that are old enough."""
        ...

    async def retry(self, deliveries: Sequence[Delivery], due: float) -> int:
        """Make claimed deliveries due at ``due``; return how many still wait."""
        ...

    async def bury(self, deliveries: Sequence[Delivery], reason: str, now: float) -> None:
        """Move to the dead letters; the bodies are kept."""
        ...

    async def release(
        self,
        event_name: str,
        event_id: str,
        subjects: bytes,
        now: float,
        *,
        destinations: Collection[str] | None = None,
    ) -> int:
        """End the hold of an event's deliveries that were never claimed; return how many.

        Only deliveries to ``destinations``; to any by default.

        These are the server's own, what a browser reports is never held; and they have one of
        ``subjects`` as their first: nobody else may end a hold by guessing an order's id.
        """
        ...

    async def has(
        self,
        event_name: str,
        event_id: str,
        now: float,
        *,
        destinations: Collection[str] | None = None,
        within: float = math.inf,
    ) -> bool:
        """Return whether the event is stored: a delivery of it waits, is dead, or was delivered.

        Only deliveries to ``destinations`` count; to any by default. What a browser reported does
        not count, nor what was delivered so long ago that it is forgotten. An event put in a
        caller's transaction is stored once that is committed.

        Of deliveries that were delivered, or stored and not delivered yet, more than ``within``
        seconds ago, none counts.
        """
        ...

    async def next_due(self, destination: str, until: float = math.inf) -> float | None:
        """Return when the next waiting delivery is due, ``None`` if none is by ``until``."""
        ...

    async def count(self, now: float, *, with_delivered: bool = False) -> Mapping[str, Counts]:
        """Count by destination; one without deliveries may be missing.

        Delivered ones are remembered for weeks, and counting them takes as long as there are many:
        how many were delivered on a day, ``figures`` says at once.

        Args:
            now: Unix seconds.
            with_delivered: Whether to count them all the same.
        """
        ...

    async def probe(self) -> None:
        """Find out whether deliveries can be stored now; nothing is.

        Raises:
            OutboxFullError: There is no room.
            OutboxError: They cannot.
        """
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

    async def drop_old(self, before: float, limit: int) -> int:
        """Delete up to ``limit`` dead letters buried before ``before``; return how many."""
        ...

    async def withdraw(self, subjects: bytes) -> int:
        """Delete what waits or is dead and has one of ``subjects`` as its first; return how many.

        A claimed one may be on its way. Nothing keeps the key.
        """
        ...

    async def erase(self, subjects: bytes) -> Erased:
        """Delete what waits or is dead and has any of ``subjects``.

        Reads the subjects of all that is stored, and no bodies.
        """
        ...

    async def list_waiting(
        self, *, destination: str | None = None, limit: int = 100, offset: int = 0
    ) -> list[Delivery]:
        """Return what waits, the next due first, with its bodies; held and claimed ones too."""
        ...

    async def find(self, event_id: str, event_names: Iterable[str]) -> list[Delivery]:
        """Return what waits with this event id and one of these names, for any destination."""
        ...

    async def add_figures(self, figures: Sequence[Figure]) -> None:
        """Add to the stored numbers, all or none of a day; forget those older than 90 days.

        The engine's own clock says what is old: the caller's may be wrong.
        """
        ...

    async def figures(self, since: int, until: int) -> list[Figure]:
        """Return the numbers of the days from ``since`` to ``until``, both included."""
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


class Weakness(NamedTuple):
    """A setting with which an engine loses what was stored, or shows it to others.

    Attributes:
        text: What is so.
        remedy: What to change.
        is_serious: Whether the outbox's promise is broken; else it may be meant so.
    """

    text: str
    remedy: str
    is_serious: bool


@runtime_checkable
class Inspected(Protocol):
    """An outbox that knows whether its engine is set up to keep what is stored."""

    async def find_weaknesses(self) -> list[Weakness]:
        """Return what is weak, where that can be known; raises ``OutboxError`` as an outbox."""
        ...


class Trouble(NamedTuple):
    """Something that is wrong with an engine now, though it works.

    Attributes:
        text: What is so; anybody may read it.
        remedy: What to do.
    """

    text: str
    remedy: str


@runtime_checkable
class Troubled(Protocol):
    """An outbox that knows of troubles which its methods do not raise."""

    async def find_troubles(self, *, thorough: bool = False) -> list[Trouble]:
        """Return what is wrong; quick unless it is ``thorough``. Raises ``OutboxError``."""
        ...


# What the engines share


class Memory(NamedTuple):
    """For how many seconds the key of a delivered event is remembered.

    Attributes:
        random: If Bridge made its id.
        given: If the app gave its id.
    """

    random: float
    given: float

    def cut(self, most: float) -> Memory:
        """Return a memory of ``most`` seconds at most."""
        return Memory(min(self.random, most), min(self.given, most))


def build_memory(remember_days: float) -> Memory:
    """Return for how long keys are remembered; raise ``ConfigError`` if it is not above 0."""
    if not 0 < remember_days < math.inf:
        raise ConfigError(f"remember_days must be above 0, got {remember_days}")
    given = remember_days * 86_400
    return Memory(min(REMEMBERED_SECONDS, given), given)


def check_capacity(capacity: int) -> int:
    """Return ``capacity``; raise ``ConfigError`` if it is below 1."""
    if capacity < 1:
        raise ConfigError(f"capacity must be at least 1, got {capacity}")
    return capacity


def read_limit(capacity: int, deliveries: Iterable[Delivery]) -> int:
    """Return how many may be held once ``deliveries`` are stored.

    The last tenth of the capacity is not for page views: purchases are worth more.
    """
    is_spare = all(each.event_name == "PageView" for each in deliveries)
    return capacity - capacity // 10 if is_spare else capacity


def build_full_error(name: str, held: int, capacity: int, limit: int) -> OutboxFullError:
    """Return what a put raises that would exceed the ``limit`` of the outbox ``name``."""
    kept = "" if limit == capacity else ", and keeps the rest for more than page views"
    return OutboxFullError(
        f"outbox {name} is full, it holds {held} of {capacity} deliveries{kept}: see why they are"
        " not delivered, drop dead letters, or give it a larger capacity"
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
    parts = [text.encode(errors="surrogatepass") for text in texts]
    # The length in front keeps ("ab", "c") apart from ("a", "bc").
    content = b"".join([len(part).to_bytes(8) + part for part in parts])
    return hashlib.blake2b(content, digest_size=size).digest()


def digest_key(key: Key, size: int) -> bytes:
    """Return ``size`` bytes that stand for ``key``."""
    return digest_texts((*key[:3], "browser") if key.from_browser else key[:3], size)


def list_keys(event_id: str, event_names: Iterable[str], destinations: Iterable[str]) -> list[Key]:
    """Return every key that an event of one id and some names may have."""
    pairs = product(destinations, dict.fromkeys(event_names), (False, True))
    return [Key(name, event, event_id, from_browser) for name, event, from_browser in pairs]


def build_subjects(browser: str | None, people: Iterable[str], *, shop: str = "") -> bytes:
    """Return subjects: the first 8 bytes of each hash, of 31 at most.

    Args:
        browser: The external id of the visitor's browser, which comes first; ``None`` without one.
        people: External ids and hashes of e-mail addresses.
        shop: Whose customers they are, where several share an outbox: two shops may each have a
            user 42.
    """
    texts = dict.fromkeys(people if browser is None else (browser, *people))
    return b"".join([_build_subject(text, shop) for text in list(texts)[:MAX_SUBJECTS]])


def _build_subject(text: str, shop: str) -> bytes:
    if shop:
        return digest_texts([shop, text], SUBJECT_BYTES)
    try:
        subject = bytes.fromhex(text[: 2 * SUBJECT_BYTES])
    except ValueError:
        subject = b""
    # An app's own destination may put anything into user data.
    return subject if len(subject) == SUBJECT_BYTES else digest_texts([text], SUBJECT_BYTES)


def split_subjects(subjects: bytes) -> list[bytes]:
    """Return each subject once."""
    size = SUBJECT_BYTES
    parts = (subjects[at : at + size] for at in range(0, len(subjects), size))
    return list(dict.fromkeys(parts))


def follow_prefix(prefix: bytes) -> bytes:
    """Return what comes after all that begins with ``prefix``, in the order of bytes."""
    return prefix + b"\xff" * (SUBJECT_BYTES * MAX_SUBJECTS + 1)


def read_circuits(rows: Iterable[Sequence[Any]]) -> dict[str, Circuit]:
    """Return rows of destination, state, reason, since and until as circuits by destination."""
    return {
        row[0]: Circuit(destination=row[0], state=row[1], reason=row[2], since=row[3], until=row[4])
        for row in rows
    }


def read_dead(rows: Iterable[Sequence[Any]]) -> list[DeadLetter]:
    """Return rows of all fields of a delivery but its place, reason and time as dead letters."""
    return [DeadLetter(read_delivery(row[:-2]), *row[-2:]) for row in rows]


def read_delivery(row: Sequence[Any]) -> Delivery:
    """Return a row of a delivery's fields as one; SQLite has numbers for truth."""
    fields = list(row)
    fields[7:9] = map(bool, fields[7:9])
    return Delivery(*fields)
