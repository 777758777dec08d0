"""The delivered keys of the file, of which millions are remembered.

Of each there is a digest, the second of its delivery, and whether the app gave its id: 40 bytes,
with what the pages of a tree leave free. An index of the times would take as much again, and each
key that it found would be on a page of its own. Instead every ack looks at a few further keys, in
the order of the tree, and begins anew at its end: those that are old enough go.

Every function runs within a transaction that its caller began.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from bridge.outbox.base import FORGET_AT_ONCE, REMEMBERED_SECONDS, Key, Memory, digest_texts
from bridge.outbox.sqlite.damage import guard

if TYPE_CHECKING:
    from bridge.outbox.sqlite.file import OutboxFile

EVENT_BYTES, DESTINATION_BYTES = 11, 4  # of a digest, behind the byte for whose copy it is
LOOKED_AT = 4  # keys that an ack looks at for each delivery
HOUR = 3600  # seconds

_COUNTS = "settled_at >= CASE WHEN has_given_id THEN ? ELSE ? END"
IS_REMEMBERED = f"SELECT 1 FROM delivered WHERE key = ? AND {_COUNTS}"  # noqa: S608 - of constants
IS_ANY_REMEMBERED = f"""
SELECT 1 FROM delivered WHERE key BETWEEN ? AND ? AND {_COUNTS} LIMIT 1
"""  # noqa: S608 - of constants
LOOK_AHEAD = "SELECT key FROM delivered WHERE key > ? ORDER BY key LIMIT 1 OFFSET ?"
FORGET = f"DELETE FROM delivered WHERE key > ? AND key <= ? AND NOT {_COUNTS}"  # noqa: S608
_COUNT_ON = """
INSERT INTO delivered_counts VALUES (?, ?, ?)
ON CONFLICT DO UPDATE SET number = number + excluded.number
"""
_FORGET_COUNTS = "DELETE FROM delivered_counts WHERE hour < ?"

# Formatted with where the delivery is. What was forgotten and came again is there already.
REMEMBER = """
INSERT INTO delivered (key, settled_at, has_given_id) SELECT ?, ?, has_given_id FROM deliveries {}
ON CONFLICT DO UPDATE SET settled_at = excluded.settled_at, has_given_id = excluded.has_given_id
"""

_FIRST, _LAST = b"", b"\xff" * 17  # below and above all digests


def digest_key(key: Key) -> bytes:
    """Return 16 bytes that stand for ``key``; one event's copies are next to each other."""
    return _begin(key.event_name, key.event_id, key.from_browser) + _digest_name(key.destination)


def _begin(event_name: str, event_id: str, from_browser: bool) -> bytes:
    hasher = _begin_name(event_name)()
    hasher.update(event_id.encode(errors="surrogatepass"))
    return (b"\1" if from_browser else b"\0") + hasher.digest()


@lru_cache(maxsize=256)
def _begin_name(event_name: str) -> Callable[[], blake2b]:
    """Return what copies a hasher that has read a name; the name's length is in front of it."""
    name = event_name.encode(errors="surrogatepass")
    return blake2b(len(name).to_bytes(8) + name, digest_size=EVENT_BYTES).copy


@lru_cache(maxsize=1024)
def _digest_name(destination: str) -> bytes:
    return digest_texts((destination,), DESTINATION_BYTES)


def is_remembered(file: OutboxFile, digest: bytes, memory: Memory, now: float) -> bool:
    """Return whether the key of ``digest`` was delivered so lately that it counts."""
    values = (digest, *list_horizons(memory, now))
    return _finds(file, IS_REMEMBERED, values)


def is_event_remembered(
    file: OutboxFile,
    event_name: str,
    event_id: str,
    destinations: Collection[str] | None,
    memory: Memory,
    now: float,
) -> bool:
    """Return whether the server's copy was delivered lately, to one of ``destinations`` or any."""
    begin = _begin(event_name, event_id, False)
    if destinations is not None:
        digests = [begin + _digest_name(each) for each in destinations]
        return any(is_remembered(file, digest, memory, now) for digest in digests)
    ends = begin, begin + b"\xff" * DESTINATION_BYTES
    values = (*ends, *list_horizons(memory, now))
    return _finds(file, IS_ANY_REMEMBERED, values)


def _finds(file: OutboxFile, query: str, values: tuple[Any, ...]) -> bool:
    """Return whether ``query`` finds a key; false where the file is damaged: twice beats never."""
    found = guard(file, query, lambda: file.execute(query, values).fetchone())
    return found is not None


def list_horizons(memory: Memory, now: float) -> tuple[float, float]:
    """Return since when keys count, in whole seconds: given ids, and random ones."""
    return math.floor(now - memory.given), math.floor(now - memory.random)


def count_on(file: OutboxFile, destination: str, number: int, now: float) -> None:
    """Add to what was delivered in this hour."""
    file.execute(_COUNT_ON, (int(now // HOUR), destination, number))
    file.execute(_FORGET_COUNTS, (find_first_hour(now),))


def find_first_hour(now: float) -> int:
    """Return the first hour of those that are counted."""
    return int((now - REMEMBERED_SECONDS) // HOUR)


def forget(file: OutboxFile, added: int, memory: Memory, now: float) -> None:
    """Look at some further keys, as many as those ``added`` are worth; forget the old ones."""
    most = min(FORGET_AT_ONCE, LOOKED_AT * added)
    found = file.execute(LOOK_AHEAD, (file.looked_at, most)).fetchone()
    end = found[0] if found else _LAST
    file.execute(FORGET, (file.looked_at, end, *list_horizons(memory, now)))
    file.looked_at = end if found else _FIRST
