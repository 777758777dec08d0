"""The keys of one slot of the Redis outbox, and what its scripts take besides.

With TAG being ``{bridge}`` for the only slot, else ``{bridge:0}`` and so on:

    TAG:deliveries          hash  digest → record, of each waiting or dead one; the capacity
                                  limits its length
    TAG:attempts            hash  digest → how often it was claimed; missing if never
    TAG:reasons             hash  digest → why it is dead
    TAG:unreadable          hash  digest → record that could not be read, for a person to see
    TAG:destinations        set   the names that ever had a delivery
    TAG:dead                zset  digest by when it was buried, of all destinations
    TAG:dead_ids            zset  event digest + digest, sorted by their bytes
    TAG:subjects            zset  subjects + digest of what waits or is dead, sorted by their
                                  bytes: those of one browser are next to each other
    TAG:due:NAME            zset  digest by due, of all that wait for one destination
    TAG:held:NAME           zset  digest by due, of those stored for later and never claimed
    TAG:stored:NAME         zset  digest by when it was stored, of those that wait
    TAG:dead:NAME           zset  digest by when it was buried
    TAG:delivered:DAY       hash  digest → when it was accepted that day, 6 bytes of milliseconds
    TAG:given:FORTNIGHT     hash  the same, of those whose id the app gave
    TAG:counts:DAY          hash  destination → how many were accepted that day
    TAG:remembered          set   the names of the last three kinds, as far as they exist
"""

from __future__ import annotations

from collections.abc import Iterable

from bridge.outbox.redis.link import RedisLink

# The keys of a script, in the order in which it takes them: shared ones, and of each destination.
_SHARED = (
    "deliveries", "attempts", "reasons", "unreadable",
    "destinations", "dead", "dead_ids", "subjects",
)  # fmt: skip
_PARTS = ("due", "held", "stored", "dead")


class SlotKeys:
    """The keys of one slot.

    Args:
        link: The server or cluster that has them.
        tag: What they begin with, in braces.
    """

    def __init__(self, link: RedisLink, tag: str) -> None:
        self.tag = tag
        self._link = link

    def list_all(self, destinations: Iterable[str]) -> list[bytes]:
        """Return the keys of a script: the shared ones, then those of each destination."""
        return [
            *(self.build(name) for name in _SHARED),
            *(self.build(f"{part}:{name}") for name in destinations for part in _PARTS),
        ]

    def build(self, name: str) -> bytes:
        """Return the key of one ``name``, such as ``due:meta:1``."""
        return f"{self.tag}:{name}".encode(errors="surrogatepass")

    async def read_destinations(self) -> list[str]:
        """Return the names that ever had a delivery here."""
        found = await self._link.execute("SMEMBERS", self.build("destinations"))
        return sorted(name.decode(errors="replace") for name in found)


def number_names(names: Iterable[str]) -> dict[str, int]:
    """Return each different name with its position, counted from 1 as in Lua."""
    return {name: place for place, name in enumerate(dict.fromkeys(names), 1)}


def format_score(at: float) -> str:
    """Return a time as text that Redis reads back exactly.

    Raises:
        ValueError: It is not a number; a script would notice that only after its first write.
    """
    score = float(at)
    if score != score:
        raise ValueError("a time must be a number, got nan")
    return repr(score)
