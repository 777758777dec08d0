from __future__ import annotations

import pytest

import bridge.breaker
from bridge.breaker import Breaker, compute_backoff
from bridge.outbox import Circuit
from tests.factories import NOW


def test_backoff_grows_to_a_cap_and_adds_what_was_asked_for() -> None:
    assert all(compute_backoff(1, None) <= 2 for _ in range(100))
    assert all(compute_backoff(60, None) <= 300 for _ in range(100))
    assert max(compute_backoff(60, None) for _ in range(100)) > 150
    assert all(30 <= compute_backoff(0, 30.0) <= 31 for _ in range(100))
    assert all(3600 <= compute_backoff(0, 1e12) <= 3601 for _ in range(100))


def test_refusals_open_the_circuit_for_ever_longer() -> None:
    breaker, now, pauses, states = Breaker("meta:1", NOW), NOW, [], []
    for _ in range(7):
        assert breaker.refuse(now, now, "token: bad")
        states.append(breaker.circuit.state)
        assert breaker.circuit.until == breaker.until
        pauses.append(breaker.until - now)
        now = breaker.until
        assert breaker.probe(now)
        states.append(breaker.circuit.state)
        assert breaker.circuit.reason == "token: bad"
        assert not breaker.probe(now)
    assert states == ["open", "half_open"] * 7
    assert pauses == [60, 120, 240, 480, 900, 900, 900]
    assert breaker.accept(now, now + 1)
    assert breaker.circuit == Circuit(destination="meta:1", state="closed", since=now + 1)
    assert breaker.refuse(now + 2, now + 2, "token: bad")
    assert breaker.until == now + 2 + 60


def test_answers_to_requests_before_a_change_change_nothing() -> None:
    breaker = Breaker("meta:1", NOW)
    assert breaker.refuse(NOW, NOW + 1, "token: bad")
    assert not breaker.refuse(NOW, NOW + 2, "token: bad")
    assert not breaker.accept(NOW, NOW + 2)
    assert breaker.is_open
    assert breaker.until == NOW + 61


def test_requests_that_fail_together_count_as_one_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge.breaker, "compute_backoff", lambda failures, after: failures * 10)
    breaker = Breaker("meta:1", NOW)
    for _ in range(4):
        breaker.fail(NOW, NOW + 1, None)
    assert breaker.until == NOW + 11
    breaker.fail(NOW + 11, NOW + 12, None)
    assert breaker.until == NOW + 32
    assert breaker.is_careful
    assert not breaker.accept(NOW + 32, NOW + 33)  # no circuit was open
    assert not breaker.is_careful


def test_success_near_the_limit_slows_down() -> None:
    breaker = Breaker("meta:1", NOW)
    breaker.accept(NOW, NOW, after=30.0)
    assert breaker.until == NOW + 30
    breaker.accept(NOW, NOW, after=1e9)
    assert breaker.until == NOW + 3600


def test_open_circuit_of_an_earlier_process_is_tried_at_once_with_care() -> None:
    saved = Circuit(destination="meta:1", state="open", reason="token: x", since=1, until=NOW + 500)
    breaker = Breaker("meta:1", NOW, saved)
    assert breaker.until <= NOW
    assert breaker.is_careful
    assert breaker.probe(NOW)
    assert breaker.accept(NOW, NOW)
    assert not Breaker("meta:1", NOW, breaker.circuit).is_careful
