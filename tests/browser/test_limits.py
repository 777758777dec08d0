from __future__ import annotations

import bridge.browser.limits
from bridge.browser.limits import Buckets, Limits

IP = "93.184.216.34"


def test_bucket_empties_and_fills_again() -> None:
    buckets = Buckets(rate=2, capacity=10)
    assert buckets.find_wait("a", 10, now=0) == 0
    buckets.take("a", 10, now=0)
    assert buckets.find_wait("a", 4, now=0) == 2
    assert buckets.find_wait("a", 4, now=1) == 1
    assert buckets.find_wait("a", 4, now=2) == 0
    assert buckets.find_wait("a", 10, now=1000) == 0
    assert buckets.find_wait("b", 10, now=0) == 0


def test_cost_beyond_the_bucket_waits_for_a_full_one() -> None:
    buckets = Buckets(rate=1, capacity=10)
    assert buckets.find_wait("a", 50, now=0) == 0
    buckets.take("a", 50, now=0)
    assert buckets.find_wait("a", 50, now=0) == 10


def test_clock_that_goes_back_gives_nothing() -> None:
    buckets = Buckets(rate=1, capacity=10)
    buckets.take("a", 10, now=100)
    assert buckets.find_wait("a", 1, now=50) == 1


def test_keys_are_bounded_and_the_oldest_goes_first() -> None:
    buckets = Buckets(rate=1, capacity=10)
    for i in range(bridge.browser.limits.MAX_BUCKETS + 5):
        buckets.take(str(i), 10, now=0)
    assert len(buckets) == bridge.browser.limits.MAX_BUCKETS
    assert buckets.find_wait("4", 10, now=0) == 0
    assert buckets.find_wait("5", 10, now=0) == 10


def test_session_is_limited_before_its_address() -> None:
    limits = Limits(60)
    assert limits.take("s", IP, 120, now=0) == 0
    assert limits.take("s", IP, 1, now=0) == 1
    assert limits.take("other", IP, 120, now=0) == 0
    assert limits.take("s", IP, 1, now=1) == 0


def test_address_is_limited_whatever_the_sessions() -> None:
    limits = Limits(60)
    taken = [limits.take(f"s{i}", IP, 120, now=0) for i in range(11)]
    assert taken == [0] * 10 + [12]
    assert limits.take(None, IP, 1, now=0) > 0
    assert limits.take("s", "93.184.216.35", 1, now=0) == 0


def test_refused_request_takes_from_neither() -> None:
    limits = Limits(60)
    limits.take("s", IP, 120, now=0)
    for _ in range(100):
        assert limits.take("s", IP, 120, now=0) == 120
    assert limits.take("other", IP, 120, now=0) == 0


def test_network_of_an_ipv6_address_counts() -> None:
    limits = Limits(60)
    for i in range(10):
        assert limits.take(f"s{i}", f"2606:2800:220:{i}::1", 120, now=0) == 0
    assert limits.take("other", "2606:2800:220:ffff::1", 120, now=0) > 0
    assert limits.take("other", "2606:2800:221::1", 120, now=0) == 0


def test_everybody_without_a_session_is_limited_together() -> None:
    limits = Limits(60)
    taken = [limits.take(None, None, 120, now=0) for _ in range(21)]
    assert taken == [0] * 20 + [6]
    # Addresses that change with each request do not help.
    assert limits.take(None, "8.8.8.8", 120, now=0) > 0
    assert limits.take("s", "8.8.4.4", 120, now=0) == 0


def test_everybody_is_limited_together() -> None:
    limits = Limits(60)
    taken = [limits.take(f"s{i}", f"8.{i}.8.8", 120, now=0) for i in range(201)]
    assert taken == [0] * 200 + [0.6]


def test_zero_limits_nobody() -> None:
    assert [Limits(0).take("s", IP, 1000, now=0) for _ in range(3)] == [0] * 3
