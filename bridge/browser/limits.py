"""How much one session, and one address, may report from the browser.

These are token buckets in the memory of one process: several processes together allow that many
times more. And what came last, by which repeated reports are known.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict

RATE_LIMIT = 300  # events a minute of one session, by default
BURST_SECONDS = 120.0  # a full bucket holds what flows in during this time
PER_ADDRESS = 10  # times a session's rate: offices and mobile networks share one address
WITHOUT_SESSION = 20  # sessions' worth of everybody without one: a page's visitors have one
IN_ALL = 200  # sessions' worth of one process, whoever reports
MAX_BUCKETS = 20_000  # of each kind; the least recently used is dropped first


class Buckets:
    """One bucket for each key.

    Args:
        rate: Tokens that flow into each bucket, per second.
        capacity: Tokens that a bucket holds.
    """

    def __init__(self, rate: float, capacity: float) -> None:
        self._rate = rate
        self._capacity = capacity
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()  # level, at

    def find_wait(self, key: str, cost: float, now: float) -> float:
        """Return the seconds until ``cost`` can be taken, 0 for now; take nothing yet."""
        missing = min(cost, self._capacity) - self._read_level(key, now)
        return max(0.0, missing / self._rate)

    def take(self, key: str, cost: float, now: float) -> None:
        """Take ``cost``, or what is left if that is less."""
        self._levels[key] = (max(0.0, self._read_level(key, now) - cost), now)
        self._levels.move_to_end(key)
        if len(self._levels) > MAX_BUCKETS:
            self._levels.popitem(last=False)

    def _read_level(self, key: str, now: float) -> float:
        level, at = self._levels.get(key, (self._capacity, now))
        return min(self._capacity, level + max(0.0, now - at) * self._rate)

    def __len__(self) -> int:
        return len(self._levels)


class Limits:
    """Buckets for sessions, addresses, everybody without a session, and everybody.

    Sessions cost nothing to make, and an address may be unknown, or one of very many: the last
    bucket bounds what all of them can do.

    Args:
        rate: Events a minute of one session, and so many times that of the others; 0 for no limit.
    """

    def __init__(self, rate: float) -> None:
        self._buckets = [
            Buckets(each / 60, each / 60 * BURST_SECONDS)
            for each in (rate, rate * PER_ADDRESS, rate * WITHOUT_SESSION, rate * IN_ALL)
            if rate
        ]

    def take(self, session: str | None, address: str | None, cost: float, now: float) -> float:
        """Take ``cost`` from all that apply, or nothing.

        Args:
            session: The visitor's, if the browser sent one.
            address: The visitor's, if known.
            cost: Tokens.
            now: Seconds, by a monotonic clock.

        Returns:
            0 if it was taken, else the seconds until it can be.
        """
        keys = (session, _find_network(address), None if session else "anybody", "all")
        known = [pair for pair in zip(self._buckets, keys, strict=False) if pair[1]]
        wait = max(
            (buckets.find_wait(key, cost, now) for buckets, key in known if key), default=0.0
        )
        if not wait:
            for buckets, key in known:
                buckets.take(key or "", cost, now)
        return wait


def _find_network(address: str | None) -> str | None:
    """Return the network of ``address``, in which one customer may use any address.

    Source: RIPE-690, "Best Current Operational Practice for Operators: IPv6 prefix assignment",
    section 4.2: a /48 or a /56 for each end site.
    """
    if address is None or ":" not in address:
        return address
    return str(ipaddress.ip_network((address, 48), strict=False))


class Recent:
    """The last keys that came."""

    def __init__(self, most: int) -> None:
        self._keys: dict[object, None] = {}
        self._most = most

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def add(self, key: object) -> bool:
        """Return whether ``key`` is new among them."""
        if key in self._keys:
            return False
        self._keys[key] = None
        if len(self._keys) > self._most:
            del self._keys[next(iter(self._keys))]
        return True
