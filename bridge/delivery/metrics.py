"""Metrics: what happened to the events, counted by destination, shown through OpenTelemetry.

Only OpenTelemetry's API is used, and only if the app has it installed; the app chooses the exporter
that reads the figures, such as Prometheus. Without it there are only the counters.

Source: OpenTelemetry Python, "opentelemetry.metrics package", read 2026-11-24.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, get_args
from weakref import WeakSet

from bridge.browser.words import CopyState
from bridge.outbox.base import Counts

try:
    from opentelemetry import metrics as api

    is_installed = True
except ImportError:
    is_installed = False

# Kind in the counters → instrument, unit, meaning. Their only attribute is ``destination``, with as
# many values as the app configured; that of ``BROWSER`` is ``state``.
COUNTERS = {
    "stored": ("bridge.events.stored", "{event}", "Server copies stored for delivery."),
    "duplicates": ("bridge.events.duplicates", "{event}", "Events tracked again, so not stored."),
    "lost": ("bridge.events.lost", "{event}", "Events lost because the outbox was broken."),
    "delivered": ("bridge.events.delivered", "{event}", "Server copies that were accepted."),
    "unconfirmed": (
        "bridge.events.unconfirmed",
        "{event}",
        "Accepted events that the answer did not report.",
    ),
    "retried": ("bridge.events.retried", "{event}", "Server copies to be sent again."),
    "buried": ("bridge.events.buried", "{event}", "Server copies that became dead letters."),
    "paused": ("bridge.events.paused", "{event}", "Server copies put back by an open circuit."),
    "requests": ("bridge.requests.sent", "{request}", "Requests to the destination."),
    "split": ("bridge.requests.split", "{request}", "Refused batches that were split."),
}


ReadGauge = Callable[[Counts, float], float]


# Every sending process reports the whole outbox: take the maximum over processes, not the sum.
GAUGES: dict[str, tuple[str, str, ReadGauge]] = {
    "bridge.outbox.waiting": ("{event}", "Stored and not settled.", lambda c, _: c.waiting),
    "bridge.outbox.held": ("{event}", "Held for their browser copy.", lambda c, _: c.held),
    "bridge.outbox.dead": ("{event}", "Dead letters.", lambda c, _: c.dead),
    "bridge.outbox.oldest_age": ("s", "Age of the oldest one waiting.", Counts.read_age),
}
LATENCY = "bridge.request.duration"
LATENCY_BUCKETS = (0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 20.0)  # seconds

BROWSER = ("bridge.browser.copies", "{event}", "Browser copies, by what the script saw of them.")
RECENT_COPIES = 1000  # browser copies of this process that the shares are computed from

_published: WeakSet[Metrics] = WeakSet()


class BrowserCopies:
    """What became of the browser copies that scripts reported.

    Attributes:
        counters: How many of each state.
    """

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self._recent: deque[str] = deque(maxlen=RECENT_COPIES)

    def note(self, state: CopyState) -> None:
        """Count one."""
        self.counters[state] += 1
        self._recent.append(state)

    def read_shares(self) -> dict[str, float] | None:
        """Return the share of each state in the last 1000, 0 to 1; ``None`` before the first."""
        if not self._recent:
            return None
        counts = Counter(self._recent)
        return {state: round(counts[state] / len(self._recent), 3) for state in get_args(CopyState)}


class Metrics:
    """The figures of one bridge, for the names of its destinations; others are not counted.

    Attributes:
        counters: By destination, then by kind: a key of ``COUNTERS``.
        totals: The same of all destinations together.
        browser: What became of the browser copies.
        is_published: Whether OpenTelemetry can read the figures.
        depths: What the outbox counted last: destination, Unix seconds, counts.
    """

    def __init__(self, destinations: Sequence[str], totals: Counter[str] | None = None) -> None:
        self.totals: Counter[str] = Counter() if totals is None else totals
        self.counters: dict[str, Counter[str]] = {name: Counter() for name in destinations}
        self.browser = BrowserCopies()
        self.is_published = False
        self.depths: list[tuple[str, float, Counts]] = []
        self._latency: Any = None

    def count(self, destination: str, kind: str, number: int = 1) -> None:
        """Count ``number`` of ``kind``, a key of ``COUNTERS``."""
        self.totals[kind] += number
        self.counters[destination][kind] += number

    def set_depths(self, counts: Mapping[str, Counts], now: float) -> None:
        """Remember what the outbox counted at ``now``, Unix seconds."""
        self.depths = [(name, now, counts.get(name, Counts())) for name in self.counters]

    def record_latency(self, destination: str, seconds: float) -> None:
        """Record how long one request to ``destination`` took."""
        if self._latency is not None:
            self._latency.record(seconds, {"destination": destination})

    def publish(self) -> None:
        """Show the figures to OpenTelemetry, if it is installed; calling it again is harmless."""
        if self.is_published or not is_installed:
            return
        self._latency = _create_instruments()
        _published.add(self)
        self.is_published = True


@cache
def _create_instruments() -> Any:
    """Create the instruments, once a process, and return the histogram of latencies."""
    meter = api.get_meter("bridge")
    for kind, (name, unit, meaning) in COUNTERS.items():
        meter.create_observable_counter(name, [_observe_counter(kind)], unit, meaning)
    name, unit, meaning = BROWSER
    meter.create_observable_counter(name, [_observe_browser], unit, meaning)
    for name, (unit, meaning, read) in GAUGES.items():
        meter.create_observable_gauge(name, [_observe_gauge(read)], unit, meaning)
    return meter.create_histogram(
        LATENCY,
        "s",
        "How long a request to the destination took.",
        explicit_bucket_boundaries_advisory=LATENCY_BUCKETS,
    )


def _observe_counter(kind: str) -> Callable[[Any], Iterable[Any]]:
    def observe(options: Any) -> Iterator[Any]:
        totals: Counter[str] = Counter()
        for metrics in tuple(_published):
            for destination, counters in metrics.counters.items():
                totals[destination] += counters[kind]
        for destination, total in totals.items():
            yield api.Observation(total, {"destination": destination})

    return observe


def _observe_browser(options: Any) -> Iterator[Any]:
    totals: Counter[str] = Counter()
    for metrics in tuple(_published):
        totals.update(metrics.browser.counters)
    for state, total in totals.items():
        yield api.Observation(total, {"state": state})


def _observe_gauge(read: ReadGauge) -> Callable[[Any], Iterable[Any]]:
    def observe(options: Any) -> Iterator[Any]:
        for metrics in tuple(_published):
            for destination, now, counts in metrics.depths:
                yield api.Observation(read(counts, now), {"destination": destination})

    return observe
