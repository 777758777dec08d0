from __future__ import annotations

import pytest

import bridge.delivery.breaker
from bridge.delivery.breaker import Breaker, compute_backoff
from bridge.outbox import Circuit
from tests.factories import NOW

CLOCK = 5000.0  # monotonic seconds


def test_backoff_grows_to_a_cap_and_adds_what_was_asked_for() -> None:
    assert all(compute_backoff(1, None) <= 2 for _ in range(100))
    assert all(compute_backoff(60, None) <= 300 for _ in range(100))
    assert max(compute_backoff(60, None) for _ in range(100)) > 150
    assert all(30 <= compute_backoff(0, 30.0) <= 31 for _ in range(100))
    assert all(3600 <= compute_backoff(0, 1e12) <= 3601 for _ in range(100))


def test_refusals_open_the_circuit_for_ever_longer() -> None:
    breaker, clock, pauses, states = Breaker("meta:1", CLOCK), CLOCK, [], []
    for _ in range(7):
        assert breaker.refuse(clock, clock, "token: bad")
        states.append(breaker.state)
        pauses.append(breaker.compute_pause(clock))
        clock = breaker.until
        assert breaker.compute_pause(clock) == 0
        assert breaker.probe(clock)
        states.append(breaker.state)
        assert breaker.reason == "token: bad"
        assert not breaker.probe(clock)
    assert states == ["open", "half_open"] * 7
    assert pauses == [60, 120, 240, 480, 900, 900, 900]
    assert breaker.accept(clock, clock + 1)
    assert (breaker.state, breaker.reason) == ("closed", "")
    assert breaker.refuse(clock + 2, clock + 2, "token: bad")
    assert breaker.until == clock + 2 + 60


def test_circuit_is_shown_in_the_walls_time() -> None:
    breaker = Breaker("meta:1", CLOCK)
    breaker.refuse(CLOCK, CLOCK, "token: bad")
    assert breaker.build_circuit(CLOCK + 5, NOW) == Circuit(
        destination="meta:1", state="open", reason="token: bad", since=NOW - 5, until=NOW + 55
    )
    breaker.probe(CLOCK + 60)
    breaker.accept(CLOCK + 60, CLOCK + 61)
    # An hour back meanwhile.
    assert breaker.build_circuit(CLOCK + 61, NOW - 3600) == Circuit(
        destination="meta:1", state="closed", since=NOW - 3600
    )


def test_answers_to_requests_before_a_change_change_nothing() -> None:
    breaker = Breaker("meta:1", CLOCK)
    assert breaker.refuse(CLOCK, CLOCK + 1, "token: bad")
    assert not breaker.refuse(CLOCK, CLOCK + 2, "token: bad")
    assert not breaker.accept(CLOCK, CLOCK + 2)
    assert breaker.is_open
    assert breaker.until == CLOCK + 61


def test_requests_that_fail_together_count_as_one_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        bridge.delivery.breaker, "compute_backoff", lambda failures, after: failures * 10
    )
    breaker = Breaker("meta:1", CLOCK)
    for _ in range(4):
        breaker.fail(CLOCK, CLOCK + 1, None)
    assert breaker.until == CLOCK + 11
    breaker.fail(CLOCK + 11, CLOCK + 12, None)
    assert breaker.until == CLOCK + 32
    assert breaker.is_careful
    assert not breaker.accept(CLOCK + 32, CLOCK + 33)  # no circuit was open
    assert not breaker.is_careful


def test_success_near_the_limit_slows_down() -> None:
    breaker = Breaker("meta:1", CLOCK)
    breaker.accept(CLOCK, CLOCK, after=30.0)
    assert breaker.until == CLOCK + 30
    breaker.accept(CLOCK, CLOCK, after=1e9)
    assert breaker.until == CLOCK + 3600


def test_open_circuit_of_an_earlier_process_is_tried_at_once_with_care() -> None:
    saved = Circuit(destination="meta:1", state="open", reason="token: x", since=1, until=NOW + 500)
    breaker = Breaker("meta:1", CLOCK, saved)
    assert breaker.until <= CLOCK
    assert breaker.is_careful
    assert breaker.probe(CLOCK)
    assert breaker.accept(CLOCK, CLOCK)
    assert not Breaker("meta:1", CLOCK, breaker.build_circuit(CLOCK, NOW)).is_careful
