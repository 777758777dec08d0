"""The breaker: whether a destination may be asked now, and how much. Pure, except for its jitter.

Strategy: there are two kinds of trouble. A destination that fails (time-outs, 500s, rate limits) is
asked again after a back-off. One that refuses us (a bad token) opens the circuit, and is asked
again after a pause that doubles each time. Either way the first request afterwards carries one
event alone, so that lasting trouble costs one event's attempt and not a thousand.

Requests overlap, so the answer to a request that began before the last change of state is ignored.

Times are of a monotonic clock. Wall time, which may be set back by an hour in the middle of a
pause, is used only for what is saved and shown.
"""

from __future__ import annotations

import random

from bridge.outbox.base import Circuit, CircuitState

BACKOFF_BASE = 1.0  # seconds
BACKOFF_CAP = 300.0  # seconds
MAX_AFTER = 3600.0  # seconds; the longest wait that a destination may ask for
PAUSE = 60.0  # seconds until a destination that refused us is asked again; doubles
PAUSE_CAP = 900.0  # seconds
PROBE_SIZE = 1  # deliveries of the first request after trouble


def compute_backoff(attempts: int, after: float | None) -> float:
    """Return the seconds to wait after failed attempt number ``attempts``.

    Full jitter: uniform between zero and a doubling cap, so that many workers do not return at
    the same moment. It is added to ``after``, the seconds that the destination asked for, if any;
    of these an hour at most.

    Source: AWS Architecture Blog, "Exponential Backoff And Jitter", read 2026-11-23.
    """
    cap = min(BACKOFF_CAP, BACKOFF_BASE * 2 ** min(attempts, 20))
    asked = min(max(after or 0.0, 0.0), MAX_AFTER)
    return asked + random.uniform(0, cap)  # noqa: S311 - jitter, not a secret


class Breaker:
    """What one sender knows about one destination.

    Args:
        destination: The destination's name.
        clock: Now, monotonic seconds; so are ``clock`` in its methods, when an answer came, and
            ``began``, when its request was sent.
        saved: The circuit that another process, or this one before a restart, saved last. If it is
            open, the destination is asked at once but carefully: we may have been restarted because
            the cause is fixed.

    Attributes:
        state: The state of the circuit, as in ``Circuit``.
        reason: Why it is not closed.
        until: Nothing may be sent before this time, monotonic seconds.
    """

    def __init__(self, destination: str, clock: float, saved: Circuit | None = None) -> None:
        self.state: CircuitState = "closed"
        self.reason = ""
        self.until = clock
        if saved is not None and saved.state != "closed":
            self.state, self.reason = saved.state, saved.reason
        self._destination = destination
        self._changed_at = clock
        self._failures = 0
        self._refusals = 0

    @property
    def is_open(self) -> bool:
        """Whether the destination refused us when last asked."""
        return self.state != "closed"

    @property
    def is_careful(self) -> bool:
        """Whether only one request may be in flight, and a small one."""
        return self.is_open or self._failures > 0

    def probe(self, clock: float) -> bool:
        """Note that an open circuit is tried again; return whether that changed its state."""
        if self.state != "open":
            return False
        self._change("half_open", clock, self.reason)
        return True

    def accept(self, began: float, clock: float, after: float = 0.0) -> bool:
        """Note that the destination works; return whether that closed the circuit.

        ``after`` are seconds to leave the destination alone, an hour at most.
        """
        self.until = max(self.until, clock + min(after, MAX_AFTER)) if after else self.until
        if began < self._changed_at:
            return False
        self._failures = 0
        if not self.is_open:
            return False
        self._refusals = 0
        self._change("closed", clock)
        return True

    def fail(self, began: float, clock: float, after: float | None) -> None:
        """Note that a request failed and may pass later."""
        if began >= self._changed_at:
            self._failures += 1
            self._changed_at = clock
            self.until = max(self.until, clock + compute_backoff(self._failures, after))
        elif after:
            self.until = max(self.until, clock + min(after, MAX_AFTER))

    def refuse(self, began: float, clock: float, reason: str) -> bool:
        """Note that the destination refuses us; return whether that opened the circuit.

        False if the request was in flight when the state last changed.
        """
        if began < self._changed_at:
            return False
        pause = min(PAUSE_CAP, PAUSE * 2 ** min(self._refusals, 20))
        self._refusals += 1
        self._failures = 0
        self.until = clock + pause
        self._change("open", clock, reason)
        return True

    def hurry(self, clock: float) -> None:
        """Note that the cause may be gone: the destination is asked now, and carefully."""
        self.until = clock
        self._refusals = 0

    def compute_pause(self, clock: float) -> float:
        """Return for how many seconds nothing may be sent; 0 if something may be sent now."""
        return max(0.0, self.until - clock)

    def build_circuit(self, clock: float, now: float) -> Circuit:
        """Return the circuit to be saved and shown; ``now`` is ``clock`` in Unix seconds."""
        return Circuit(
            destination=self._destination,
            state=self.state,
            reason=self.reason,
            since=now - (clock - self._changed_at),
            until=now + self.until - clock if self.state == "open" else 0.0,
        )

    def _change(self, state: CircuitState, clock: float, reason: str = "") -> None:
        self._changed_at = clock
        self.state, self.reason = state, reason
