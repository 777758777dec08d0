"""The delivered keys of one slot of the Redis outbox, of which millions are remembered.

A hash takes 65 to 85 bytes for a digest and its time, a sorted set 130. But a hash cannot give up
its oldest fields. So there is one for each day, of given ids one for each fortnight, which is
dropped whole once its last key is old enough; until then the times tell which of its keys count.

Source: measured on Redis 7.0 (tests/outbox/test_redis.py, the bytes of a remembered key).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from bridge.outbox.base import Memory
from bridge.outbox.redis import scripts
from bridge.outbox.redis.keys import SlotKeys
from bridge.outbox.redis.link import Argument, RedisLink

_DAY = 86_400
_FORTNIGHT = 14 * _DAY
_FORGET_PAUSE = 600.0  # seconds between looks for hashes that are old enough
_FORGOTTEN_AT_ONCE = 10_000  # keys, when the server's memory lacks


class _Kind(NamedTuple):
    """Hashes of keys that are remembered equally long.

    Attributes:
        name: What the names of the hashes begin with.
        span: For how many seconds a key is remembered.
        width: How many seconds of deliveries one hash takes.
    """

    name: str
    span: float
    width: int

    def build_name(self, at: float) -> str:
        """Return the name of the hash that takes what is delivered at ``at``."""
        return f"{self.name}:{int(at // self.width)}"

    def list_names(self, now: float) -> list[str]:
        """Return the hashes with keys that count, and the next: clocks may differ a little."""
        first, last = int((now - self.span) // self.width), int(now // self.width) + 1
        return [f"{self.name}:{number}" for number in range(first, last + 1)]

    def has(self, name: str) -> bool:
        """Return whether this is the name of such a hash."""
        return name.startswith(f"{self.name}:")

    def is_old(self, name: str, now: float) -> bool:
        """Return whether no key of this hash counts any more."""
        number = int(name.rpartition(":")[2])
        return (number + 1) * self.width < now - self.span


class DeliveredKeys:
    """What is remembered of delivered events.

    Args:
        link: The server or cluster.
        keys: The keys of the slot.
        memory: For how long each is remembered.
    """

    def __init__(self, link: RedisLink, keys: SlotKeys, memory: Memory) -> None:
        self._link = link
        self._keys = keys
        self._random = _Kind("delivered", memory.random, _DAY)
        self._given = _Kind("given", memory.given, _FORTNIGHT)
        self._counts = _Kind("counts", memory.random, _DAY)
        self._looked = 0.0  # when old hashes were last looked for

    def list_hashes(self, times: Iterable[float]) -> tuple[list[bytes], list[bytes]]:
        """Return the hashes with keys that count at one of ``times``: random ids, given ids."""
        random: set[str] = set()
        given: set[str] = set()
        for now in set(times):
            random.update(self._random.list_names(now))
            given.update(self._given.list_names(now))
        return [*map(self._keys.build, random)], [*map(self._keys.build, given)]

    def list_horizons(self, now: float, within: float = math.inf) -> tuple[int, int]:
        """Return since when keys count, in milliseconds: of random ids, and of given ones.

        That is ``within`` seconds ago at most.
        """
        random, given = min(self._random.span, within), min(self._given.span, within)
        return to_milliseconds(now - random), to_milliseconds(now - given)

    def list_current(self, now: float) -> list[str]:
        """Return the names that take what is delivered now: random ids, given ids, counts."""
        given = self._given if self._given.span > self._random.span else self._random
        return [each.build_name(now) for each in (self._random, given, self._counts)]

    async def count(self, now: float) -> dict[str, int]:
        """Return how many were delivered in the last two or three days, by destination."""
        counts: dict[str, int] = {}
        for name in self._counts.list_names(now):
            found = await self._link.execute("HGETALL", self._keys.build(name))
            for destination, number in found.items():
                text = destination.decode(errors="replace")
                counts[text] = counts.get(text, 0) + int(number)
        return counts

    async def forget(self, now: float) -> None:
        """Drop the hashes that are old enough; looks for them every ten minutes."""
        if self._looked <= now < self._looked + _FORGET_PAUSE:
            return
        self._looked = now
        kinds = (self._random, self._given, self._counts)
        old = [
            name
            for name in await self._list_names()
            if any(kind.has(name) and kind.is_old(name, now) for kind in kinds)
        ]
        if old:
            # UNLINK: a large hash is freed beside the server's work.
            await self._link.execute("UNLINK", *map(self._keys.build, old))
            await self._link.execute("SREM", self._keys.build("remembered"), *old)

    async def forget_oldest(self) -> bool:
        """Forget some keys of the oldest hash, of given ids last; return whether there were any."""
        names = await self._list_names()
        hashes = [
            self._keys.build(name)
            for kind in (self._random, self._given)
            for name in sorted(filter(kind.has, names), key=lambda name: (len(name), name))
        ]
        args: list[Argument] = [_FORGOTTEN_AT_ONCE]
        return bool(hashes) and await self._link.run(scripts.FORGET_OLDEST, hashes, args) > 0

    async def _list_names(self) -> list[str]:
        found = await self._link.execute("SMEMBERS", self._keys.build("remembered"))
        return [name.decode() for name in found]


def to_milliseconds(at: float) -> int:
    """Return Unix seconds as the whole milliseconds that hashes hold."""
    return int(1000 * at)
