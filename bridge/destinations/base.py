"""What a destination is: pure, it never sends.

An event is encoded once, before it is stored; a request joins ready bytes; an answer becomes a
verdict over the whole request. The sender does the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from bridge.events import Event


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

    def encode(self, event: Event) -> bytes:
        """Return ``event`` as one JSON object of a request's body."""
        ...

    def build_request(self, bodies: Sequence[bytes]) -> Request:
        """Return the request that carries ``bodies``, each made by ``encode``."""
        ...

    def read_response(self, status: int, headers: Mapping[str, str], content: bytes) -> Verdict:
        """Return what the answer means for the whole request; never raises."""
        ...
