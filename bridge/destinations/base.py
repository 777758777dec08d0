"""What a destination is: pure, it never sends.

An event is encoded once, before it is stored. A request joins the stored bytes, and the answer
becomes a verdict on the whole request. The sender does the rest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import msgspec

from bridge.events.catalog import NOTHING, Catalog, Translated
from bridge.events.event import Event
from bridge.visitor.identity import Identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request, ready to send.

    Attributes:
        url: Holds no secret.
        content: The body. It may hold the access token, so it is never shown.
        headers: Values by lower-case name; never shown either.
        method: ``POST`` for what sends events.
    """

    url: str
    content: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    method: Literal["GET", "POST"] = "POST"


class EncodingContext(msgspec.Struct, frozen=True):
    """What a destination may need, besides an event, to encode it.

    Attributes:
        catalog: Translates between Meta's names and Segment's.
        identity: The visitor's, with the site's own ids; ``None`` if the event has no visitor.
        name: The event's name as the app gave it, if in Segment's words.
        properties: The properties given with that name, without personal data.
        reaches_meta: Whether Meta gets the event from us as well.
        from_browser: Whether a browser reported it.
        test_event_code: Shows this event under "Test events" in Events Manager.
    """

    catalog: Catalog
    identity: Identity | None = None
    name: str = ""
    properties: Mapping[str, Any] = NOTHING
    reaches_meta: bool = False
    from_browser: bool = False
    test_event_code: str | None = None

    def translate(self, event: Event) -> Translated:
        """Return ``event`` in Segment's words: the app's own where it used them."""
        return self.catalog.to_spec(
            event.event_name, event.custom_data, said=self.name, properties=self.properties
        )


class IdentityMessage(NamedTuple):
    """A message that says who a visitor is.

    Attributes:
        kind: ``identify`` or ``alias``.
        key: The same for the same visitor and content: it is stored and sent once.
        body: As ``encode`` returns one.
    """

    kind: str
    key: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """How ``pixel-bridge check`` tests a destination.

    Attributes:
        request: Shows whether we may send, and adds no event that counts; ``None`` for no test.
        passed: What to show when the request is accepted.
        skipped: Why there is no request.
        allows_rejected: Whether ``Rejected`` passes too: the answer is proof enough.
    """

    request: Request | None = None
    passed: str = "accepts our requests"
    skipped: str = "not tested; it has no test request"
    allows_rejected: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a destination takes in one request.

    Attributes:
        batch_size: Events at most.
        max_content: Bytes at most, before compression; ``None`` for no limit.
        accepts_gzip: Whether it is documented to take ``Content-Encoding: gzip``.
    """

    batch_size: int = 100
    max_content: int | None = None
    accepts_gzip: bool = False


@dataclass(frozen=True, slots=True)
class Accepted:
    """Every event of the request is accepted.

    Attributes:
        after: Seconds to pause because the destination's limit is near; 0 for no pause.
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
        blamed: Positions in the request of the events it names, from 0; a hint that may be wrong,
            out of range or empty.
    """

    reason: str
    blamed: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Paused:
    """The destination refuses us, and any event: a bad token, a missing permission.

    Attributes:
        reason: The destination's own words, for one loud log line.
        fault: What is at fault, one of ``FAULTS``; unlike the reason it may be shown to anyone.
        advice: What the people who run the app can do.
    """

    reason: str
    fault: str = "unknown"
    advice: str = ""


FAULTS = frozenset({"token", "permission", "account", "version", "parameter", "unknown"})
Verdict = Accepted | Retry | Rejected | Paused


class Destination(ABC):
    """One place server copies go to.

    A new one sets ``name`` and writes ``encode``, ``build_request`` and ``read_response``; the rest
    has defaults.

    Attributes:
        name: Kind and account, such as ``meta:1234567890``; part of the outbox's key.
        limits: Of one request.
        pixel_id: The pixel that pages fire, whose hits are the browser copies of what goes here.
        reaches_meta: Whether events reach Meta by it directly, so that no other way may lead there.
        is_renewable: Whether ``renew`` may find something new.
    """

    name: str
    limits: Limits = Limits()
    pixel_id: str | None = None
    reaches_meta: bool = False
    is_renewable: bool = False

    @abstractmethod
    def encode(self, event: Event, context: EncodingContext) -> bytes:
        """Return ``event`` as one JSON object of a request's body.

        Raises:
            InvalidEventError: The destination would refuse it, even if Meta would not.
        """

    @abstractmethod
    def build_request(self, bodies: Sequence[bytes], now: float) -> Request:
        """Return the request that carries ``bodies``, each made by ``encode``.

        There are at most ``limits.batch_size``; ``now`` is in Unix seconds.
        """

    @abstractmethod
    def read_response(self, status: int, headers: Mapping[str, str], content: bytes) -> Verdict:
        """Return what the answer means for the whole request; never raises."""

    def renew(self) -> bool:
        """Read again what can be replaced while the app runs; return whether it was. May block."""
        return False

    def group(self, body: bytes) -> bytes:
        """Return the group of ``body``: bodies of different groups never share a request."""
        return b""

    def read_time(self, body: bytes) -> float | None:
        """Return when the event in ``body`` happened, Unix seconds; ``None`` if it does not say."""
        return None

    def encode_identity(
        self, known: Identity, before: Identity, now: float
    ) -> Sequence[IdentityMessage]:
        """Return messages that say who a visitor is; none if the events themselves do.

        ``known`` is who the visitor is now (``now`` in Unix seconds), ``before`` who it was.
        """
        return ()

    def build_check(self, now: float, test_event_code: str | None) -> Check:
        """Return the test for ``pixel-bridge check``; the test event code is Meta's, if given."""
        return Check()
