"""What a destination is: pure, it never sends.

An event is encoded once, before it is stored; a request joins ready bytes; an answer becomes a
verdict over the whole request. The sender does the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from bridge.events.catalog import NOTHING, Catalog, Translated
from bridge.events.event import Event
from bridge.visitor.identity import Identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP POST, ready to send.

    Attributes:
        url: Where to; holds no secret.
        content: The body. It may hold the access token, so it is never shown.
        headers: Header names, lower-case, and values.
    """

    url: str
    content: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


class Told(NamedTuple):
    """How an event was told: what a destination of another language than Meta's needs beside it.

    Attributes:
        catalog: Translates.
        identity: Whose it is, with the site's own ids; ``None`` if no visitor's.
        name: What the app called it, if in Segment's words.
        properties: What it said with that name, without personal data.
        is_direct: Whether Meta gets the event from us as well.
    """

    catalog: Catalog
    identity: Identity | None = None
    name: str = ""
    properties: Mapping[str, Any] = NOTHING
    is_direct: bool = False

    def spell(self, event: Event) -> Translated:
        """Return ``event`` in Segment's words, as the app said it where it did so."""
        return self.catalog.to_spec(
            event.event_name, event.custom_data, said=self.name, properties=self.properties
        )


class Introduction(NamedTuple):
    """A message that tells who a visitor is.

    Attributes:
        kind: ``identify`` or ``alias``.
        fact: The same for the same visitor and the same words.
        body: As ``encode`` returns one.
    """

    kind: str
    fact: str
    body: bytes


class ServerCopy(NamedTuple):
    """What an encoded event tells of its browser copy.

    Attributes:
        event_name: As both copies carry it.
        event_id: As both copies carry it.
        external_ids: Whose it is, SHA-256 hex.
        custom_data: In Meta's words.
    """

    event_name: str
    event_id: str
    external_ids: Sequence[str]
    custom_data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Accepted:
    """Every event of the request is accepted.

    Attributes:
        after: Seconds to leave the destination alone, since its limit is near; 0 for none.
        received: How many events the destination says it received; ``None`` if it says nothing.
    """

    after: float = 0.0
    received: int | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """Nothing was accepted, and the same request may pass later.

    Attributes:
        reason: For the log.
        after: Seconds the destination asked to wait, or ``None``.
    """

    reason: str
    after: float | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """The request was refused for an event in it; alone, that event would be refused again.

    Attributes:
        reason: The destination's own words.
        blamed: Places in the request of the events that it names, from 0; a hint, which may be
            wrong, out of range or empty.
    """

    reason: str
    blamed: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Paused:
    """The destination refuses us, whatever the events: a bad token, a missing permission.

    Attributes:
        reason: The destination's own words, for one loud log line.
        fault: What is at fault, one of ``FAULTS``; unlike the words it may be shown to anyone.
        advice: What the people who run the app can do.
    """

    reason: str
    fault: str = "unknown"
    advice: str = ""


FAULTS = frozenset({"token", "permission", "account", "version", "parameter", "unknown"})
Verdict = Accepted | Retry | Rejected | Paused


class Destination(Protocol):
    """One place server copies go to."""

    @property
    def name(self) -> str:
        """Kind and account, such as ``meta:1234567890``; part of the outbox's key."""
        ...

    @property
    def batch_size(self) -> int:
        """Events of one request at most."""
        ...

    @property
    def max_content(self) -> int | None:
        """Bytes of one request's content at most, before compression; ``None`` without limit."""
        ...

    @property
    def accepts_gzip(self) -> bool:
        """Whether it is documented to take requests with ``Content-Encoding: gzip``."""
        ...

    @property
    def pixel_id(self) -> str | None:
        """The pixel whose hits are the browser copies of what goes here, if there is one."""
        ...

    def encode(self, event: Event, told: Told) -> bytes:
        """Return ``event`` as one JSON object of a request's body.

        Raises:
            InvalidEventError: The destination would refuse it, whatever Meta says.
        """
        ...

    def introduce(self, known: Identity, before: Identity, now: float) -> Sequence[Introduction]:
        """Return what tells who a visitor is; nothing where the events themselves do.

        Args:
            known: Who the visitor is now.
            before: Who it was.
            now: Unix seconds.
        """
        ...

    def read_copy(self, body: bytes, catalog: Catalog) -> ServerCopy | None:
        """Return what ``body``, made by ``encode``, tells of its browser copy.

        Args:
            body: As it was stored.
            catalog: As it was when the event was encoded.
        """
        ...

    def build_request(self, bodies: Sequence[bytes], now: float) -> Request:
        """Return the request that carries ``bodies``, each made by ``encode``.

        Args:
            bodies: At most ``batch_size``.
            now: Unix seconds.
        """
        ...

    def read_response(self, status: int, headers: Mapping[str, str], content: bytes) -> Verdict:
        """Return what the answer means for the whole request; never raises."""
        ...
