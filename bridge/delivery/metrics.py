"""Metrics: what happened to the events, counted and shown through OpenTelemetry.

Only OpenTelemetry's API is used, and only if the app has it installed; the app chooses the exporter
that reads the figures, such as Prometheus. Without it there are only the counters.

What is counted by event name comes from the figures, which are added up here every ten seconds.
Names are chosen by apps and browsers, and each makes a series that is kept for ever: besides Meta's
standard events 50 are told apart, and 50 reasons.

Prometheus counts no series' first value as an increase. So each destination begins with zeros for
Purchase, and each event name, when it is first seen, with zeros of what did not happen to it.

Source: OpenTelemetry Python, "opentelemetry.metrics package", read 2026-11-24.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from weakref import WeakSet

from bridge.events.event import STANDARD_EVENTS
from bridge.figures.words import (
    COPY,
    DEAD,
    DELIVERED,
    DUPLICATE,
    EXPECTED,
    LOST,
    OTHER,
    SKIPPED,
    STORED,
    WITH,
)
from bridge.outbox.base import Circuit, Counts

try:
    from opentelemetry import metrics as api

    is_installed = True
except ImportError:
    is_installed = False

FROM_ZERO = "Purchase"  # shown before the first one comes
MAX_LABELS = 50  # values of one attribute that are told apart, besides standard events
IGNORED = "ignored_requests."  # and the reason: a key of the bridge's counters


@dataclass(frozen=True, slots=True)
class Instrument:
    """One instrument of OpenTelemetry.

    Attributes:
        name: As an exporter shows it; Prometheus writes ``_`` for ``.``.
        kind: ``counter``, ``gauge`` or ``histogram``.
        unit: Braces mark what is counted.
        meaning: One sentence.
        attributes: What its series differ by.
    """

    name: str
    kind: str
    unit: str
    meaning: str
    attributes: tuple[str, ...] = ("destination",)


_NAMED = ("destination", "event_name")

# What is counted by event name: by the kind of the figure.
FIGURES = {
    STORED: Instrument(
        "bridge.events.stored", "counter", "{event}", "Server copies stored for delivery.", _NAMED
    ),
    DUPLICATE: Instrument(
        "bridge.events.duplicates", "counter", "{event}", "Tracked again, so not stored.", _NAMED
    ),
    LOST: Instrument(
        "bridge.events.lost", "counter", "{event}", "Lost: the outbox was broken.", _NAMED
    ),
    DELIVERED: Instrument(
        "bridge.events.delivered", "counter", "{event}", "Server copies accepted.", _NAMED
    ),
    DEAD: Instrument(
        "bridge.events.buried", "counter", "{event}", "Server copies that became dead letters.",
        _NAMED,
    ),
}  # fmt: skip

# The same where a kind goes on with a word, which becomes one more attribute.
WORDED = {
    SKIPPED: Instrument(
        "bridge.events.skipped", "counter", "{event}", "Events not stored, by reason.",
        ("event_name", "reason"),
    ),
    WITH: Instrument(
        "bridge.events.identified", "counter", "{event}",
        "Server copies stored with an identifier, by identifier.", (*_NAMED, "identifier"),
    ),
    COPY: Instrument(
        "bridge.browser.copies", "counter", "{event}",
        "Browser copies, by what the script saw of them: sent, blocked, unknown.",
        (*_NAMED, "state"),
    ),
}  # fmt: skip

# Kind in the counters, whose only attribute is the destination.
COUNTERS = {
    "spooled": Instrument(
        "bridge.events.spooled",
        "counter",
        "{event}",
        "Of those stored, the ones that the outbox did not take: they waited in the spool.",
    ),
    "unconfirmed": Instrument(
        "bridge.events.unconfirmed", "counter", "{event}", "Accepted, and not reported as received."
    ),
    "retried": Instrument(
        "bridge.events.retried", "counter", "{event}", "Server copies to be sent again."
    ),
    "paused": Instrument(
        "bridge.events.paused", "counter", "{event}", "Put back by an open circuit."
    ),
    "requests": Instrument(
        "bridge.requests.sent", "counter", "{request}", "Requests to the destination."
    ),
    "split": Instrument(
        "bridge.requests.split", "counter", "{request}", "Refused batches that were split."
    ),
}
IGNORED_REQUESTS = Instrument(
    "bridge.requests.ignored", "counter", "{request}",
    "Requests of nobody: robots, prefetches, excluded paths.", ("reason",),
)  # fmt: skip

ReadGauge = Callable[[Counts, float], float]

# Every sending process reports the whole outbox: take the maximum over processes, not the sum.
GAUGES: dict[str, tuple[Instrument, ReadGauge]] = {
    name: (Instrument(name, "gauge", unit, meaning), read)
    for name, unit, meaning, read in (
        ("bridge.outbox.waiting", "{event}", "Stored and not settled.", lambda c, _: c.waiting),
        ("bridge.outbox.held", "{event}", "Held for their browser copy.", lambda c, _: c.held),
        ("bridge.outbox.dead", "{event}", "Dead letters.", lambda c, _: c.dead),
        ("bridge.outbox.oldest_age", "s", "Age of the oldest one waiting.", Counts.read_age),
    )
}
CIRCUIT = Instrument(
    "bridge.circuit.state", "gauge", "1", "Whether it refuses us: 0 no, 1 being tried, 2 yes."
)
CIRCUIT_STATES = {"closed": 0, "half_open": 1, "open": 2}
LATENCY = Instrument(
    "bridge.request.duration", "histogram", "s", "How long a request to the destination took."
)
LATENCY_BUCKETS = (0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 20.0)  # seconds

INSTRUMENTS = (
    *FIGURES.values(),
    *WORDED.values(),
    *COUNTERS.values(),
    IGNORED_REQUESTS,
    *(instrument for instrument, _ in GAUGES.values()),
    CIRCUIT,
    LATENCY,
)

_Key = tuple[str, str, str]  # destination, event name, kind; as the figures count

_published: WeakSet[Metrics] = WeakSet()


class Metrics:
    """The figures of one bridge, for the names of its destinations.

    Args:
        destinations: Their names.
        totals: Where all of them together are counted.
        is_open: Whether further names may come: the first 50 are told apart, the others are counted
            together. The outbox's figures know each.

    Attributes:
        counters: By destination, then by kind: a key of ``COUNTERS``, and others for tests.
        totals: The same of all destinations together, and the bridge's other counters.
        named: What was counted by event name since the process began, by destination, bounded name
            and kind. Replaced, never changed: an exporter reads it from a thread of its own.
        is_published: Whether OpenTelemetry can read the figures.
        depths: What the outbox counted last: destination, Unix seconds, counts.
        circuits: The circuits when it was counted, by destination.
        reasons: Why events were skipped and requests ignored; an app's own words among them.
    """

    def __init__(
        self,
        destinations: Sequence[str],
        totals: Counter[str] | None = None,
        *,
        is_open: bool = False,
    ) -> None:
        self._is_open = is_open
        self._known = Labels(destinations)
        self.totals: Counter[str] = Counter() if totals is None else totals
        self.counters: dict[str, Counter[str]] = {name: Counter() for name in destinations}
        self.named: dict[_Key, int] = {
            (name, FROM_ZERO, kind): 0 for name in destinations for kind in FIGURES
        }
        self.is_published = False
        self.depths: list[tuple[str, float, Counts]] = []
        self.circuits: Mapping[str, Circuit] = {}
        self.reasons = Labels()
        self._names = Labels(STANDARD_EVENTS)
        self._latency: Any = None

    def count(self, destination: str, kind: str, number: int = 1) -> None:
        """Count ``number`` of ``kind``."""
        self.totals[kind] += number
        self.count_alone(destination, kind, number)

    def count_alone(self, destination: str, kind: str, number: int = 1) -> None:
        """Count ``number`` of ``kind`` for a destination, and not among the totals."""
        name = self._limit(destination)
        counters = self.counters.get(name)
        if counters is None and self._is_open:
            counters = self.counters[name] = Counter()
        if counters is not None:
            counters[kind] += number

    def _limit(self, destination: str) -> str:
        """Return a destination's name, or what stands for all that came later."""
        return self._known.limit(destination) if self._is_open and destination else destination

    def add(self, counted: Mapping[_Key, int]) -> None:
        """Add what the figures counted."""
        named = dict(self.named)
        for (destination, event_name, kind), number in counted.items():
            instrument, word = _find_instrument(kind)
            if instrument is WORDED[SKIPPED]:
                kind = SKIPPED + self.reasons.limit(word)  # noqa: PLW2901
            if instrument is not None:
                destination = self._limit(destination)  # noqa: PLW2901
                name = self._names.limit(event_name)
                if destination in self.counters:
                    for each in FIGURES:
                        named.setdefault((destination, name, each), 0)
                key = destination, name, kind
                named[key] = named.get(key, 0) + number
        self.named = named

    def set_depths(
        self, counts: Mapping[str, Counts], circuits: Mapping[str, Circuit], now: float
    ) -> None:
        """Remember what the outbox counted at ``now``, Unix seconds, and the circuits."""
        if self._is_open:
            counts, circuits = self._gather(counts), self._find_worst(circuits)
        names = dict.fromkeys((*self.counters, *(counts if self._is_open else ())))
        self.depths = [(name, now, counts.get(name, Counts())) for name in names]
        self.circuits = circuits

    def _gather(self, counts: Mapping[str, Counts]) -> Mapping[str, Counts]:
        """Return the counts with those of names that are not told apart as one."""
        gathered: dict[str, Counts] = {}
        for destination, each in counts.items():
            name = self._limit(destination)
            gathered[name] = gathered[name].add(each) if name in gathered else each
        return gathered

    def _find_worst(self, circuits: Mapping[str, Circuit]) -> Mapping[str, Circuit]:
        """Return the circuits; of names that are not told apart, the worst."""
        worst: dict[str, Circuit] = {}
        for destination, each in circuits.items():
            name = self._limit(destination)
            before = worst.get(name, each)
            worst[name] = max(before, each, key=lambda circuit: CIRCUIT_STATES[circuit.state])
        return worst

    def record_latency(self, destination: str, seconds: float) -> None:
        """Record how long one request to ``destination`` took."""
        if self._latency is not None:
            self._latency.record(seconds, {"destination": self._limit(destination)})

    def publish(self) -> None:
        """Show the figures to OpenTelemetry, if it is installed; calling it again is harmless."""
        if self.is_published or not is_installed:
            return
        self._latency = _create_instruments()
        _published.add(self)
        self.is_published = True


class Labels:
    """Values of an attribute: the first 50 that come, besides those that are ``known``."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._known = set(known)
        self._room = MAX_LABELS

    def limit(self, value: str) -> str:
        """Return ``value``, or what stands for all that come later."""
        if value not in self._known:
            if not self._room:
                return OTHER
            self._room -= 1
            self._known.add(value)
        return value


def _find_instrument(kind: str) -> tuple[Instrument | None, str]:
    """Return the instrument of a kind, and the word it goes on with."""
    if kind in FIGURES or kind == EXPECTED:
        return FIGURES.get(kind), ""
    head, dot, word = kind.partition(".")
    return WORDED.get(head + dot), word


@cache
def _create_instruments() -> Any:
    """Create the instruments, once a process, and return the histogram of latencies."""
    meter = api.get_meter("bridge")
    for each in (*FIGURES.values(), *WORDED.values()):
        _count_with(meter, each, _observe_named(each))
    for kind, each in COUNTERS.items():
        _count_with(meter, each, _observe_counter(kind))
    _count_with(meter, IGNORED_REQUESTS, _observe_ignored)
    for each, read in GAUGES.values():
        meter.create_observable_gauge(each.name, [_observe_gauge(read)], each.unit, each.meaning)
    meter.create_observable_gauge(CIRCUIT.name, [_observe_circuits], CIRCUIT.unit, CIRCUIT.meaning)
    return meter.create_histogram(
        LATENCY.name,
        LATENCY.unit,
        LATENCY.meaning,
        explicit_bucket_boundaries_advisory=LATENCY_BUCKETS,
    )


def _count_with(meter: Any, each: Instrument, observe: Callable[[Any], Iterable[Any]]) -> None:
    meter.create_observable_counter(each.name, [observe], each.unit, each.meaning)


def _observe_named(instrument: Instrument) -> Callable[[Any], Iterable[Any]]:
    names = instrument.attributes

    def observe(options: Any) -> Iterator[Any]:
        totals: Counter[tuple[str, ...]] = Counter()
        for metrics in tuple(_published):
            for (destination, event_name, kind), number in metrics.named.items():
                found, word = _find_instrument(kind)
                if found is instrument:
                    values = {names[-1]: word, "event_name": event_name, "destination": destination}
                    totals[tuple(values[name] for name in names)] += number
        for series, total in totals.items():
            yield api.Observation(total, dict(zip(names, series, strict=True)))

    return observe


def _observe_counter(kind: str) -> Callable[[Any], Iterable[Any]]:
    def observe(options: Any) -> Iterator[Any]:
        totals: Counter[str] = Counter()
        for metrics in tuple(_published):
            for destination, counters in metrics.counters.items():
                totals[destination] += counters[kind]
        for destination, total in totals.items():
            yield api.Observation(total, {"destination": destination})

    return observe


def _observe_ignored(options: Any) -> Iterator[Any]:
    totals: Counter[str] = Counter()
    for metrics in tuple(_published):
        for kind, number in metrics.totals.copy().items():
            if kind.startswith(IGNORED):
                totals[metrics.reasons.limit(kind.removeprefix(IGNORED))] += number
    for reason, total in totals.items():
        yield api.Observation(total, {"reason": reason})


def _observe_circuits(options: Any) -> Iterator[Any]:
    for metrics in tuple(_published):
        for name in metrics.counters:
            circuit = metrics.circuits.get(name)
            state = CIRCUIT_STATES[circuit.state if circuit else "closed"]
            yield api.Observation(state, {"destination": name})


def _observe_gauge(read: ReadGauge) -> Callable[[Any], Iterable[Any]]:
    def observe(options: Any) -> Iterator[Any]:
        for metrics in tuple(_published):
            for destination, now, counts in metrics.depths:
                yield api.Observation(read(counts, now), {"destination": destination})

    return observe
