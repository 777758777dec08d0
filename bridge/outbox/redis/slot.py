"""One slot of the Redis outbox: what is done to the deliveries whose events belong to it.

Every change is one Lua script, so deliveries are never half stored or half settled. A delivery is
stored under a digest of its key; ``keys.py`` lists where. Those that wait are sorted by ``due``, so
a claim reads only what it takes. All times are Unix seconds by the server's clock.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from bridge.outbox.base import (
    Counts,
    DeadLetter,
    Delivery,
    Erased,
    Key,
    Memory,
    follow_prefix,
    split_subjects,
)
from bridge.outbox.redis import scripts
from bridge.outbox.redis.keys import SlotKeys, format_score, number_names
from bridge.outbox.redis.link import Argument, RedisLink
from bridge.outbox.redis.memory import DeliveredKeys, to_milliseconds
from bridge.outbox.redis.puts import SlotPuts
from bridge.outbox.redis.records import (
    DIGEST_BYTES,
    build_digest,
    build_event_digest,
    parse_record,
)

_log = logging.getLogger("bridge.outbox")

_PAGE = 1000  # entries that are read at once


class Slot:
    """The deliveries whose events belong to one slot.

    Args:
        link: The server or cluster.
        tag: What all its keys begin with, in braces.
        capacity: How many deliveries may wait or be dead.
        memory: For how long delivered keys are remembered.
    """

    def __init__(self, link: RedisLink, tag: str, capacity: int, memory: Memory) -> None:
        self._link = link
        self._keys = SlotKeys(link, tag)
        self._delivered = DeliveredKeys(link, self._keys, memory)
        self._puts = SlotPuts(link, self._keys, self._delivered, capacity)
        self.put = self._puts.put
        self.probe = self._puts.probe
        self.read_destinations = self._keys.read_destinations

    @property
    def keys(self) -> list[bytes]:
        """The keys of a script that looks at no destination."""
        return self._keys.list_all([])

    async def claim(self, destination: str, limit: int, now: float, due: float) -> list[Delivery]:
        """Take up to ``limit`` that are due, oldest first; due again at ``due``.

        A claim whose answer was lost is repeated, and what the first one took is due again then; so
        is what it took if the records cannot be fetched afterwards.
        """
        args: list[Argument] = [format_score(now), format_score(due), limit]
        answer = await self._link.run(scripts.CLAIM, self._keys.list_all([destination]), args)
        digests, attempts = answer[::2], answer[1::2]
        records = await self._read_records(digests)
        claimed, unreadable = [], {}
        for digest, record, count in zip(digests, records, attempts, strict=True):
            try:
                claimed.append(parse_record(digest, record or b"", due=due, attempts=count))
            except ValueError:
                unreadable[digest] = record or b""
        if unreadable:
            await self._set_aside(destination, unreadable)
        return claimed

    async def ack(self, deliveries: Sequence[Delivery], now: float) -> None:
        """As ``Outbox.ack``."""
        lanes = number_names(each.destination for each in deliveries)
        hashes = self._delivered.list_current(now)
        args: list[Argument] = [to_milliseconds(now).to_bytes(6), *hashes]
        args += (name.encode() for name in lanes)
        for each in deliveries:
            args += (
                lanes[each.destination],
                build_digest(each.key),
                each.subjects,
                int(each.has_given_id),
            )
        keys = [*self._keys.list_all(lanes), *map(self._keys.build, [*hashes, "remembered"])]
        await self._link.run(scripts.ACK, keys, args)
        await self._delivered.forget(now)

    async def retry(self, keys: Sequence[Key], due: float) -> int:
        """As ``Outbox.retry``."""
        return await self._change(scripts.RETRY, keys, [format_score(due)])

    async def bury(self, keys: Sequence[Key], reason: str, now: float) -> None:
        """As ``Outbox.bury``."""
        args = [format_score(now), reason.encode(errors="replace")]
        await self._change(scripts.BURY, keys, args, of_dead=True)

    async def release(
        self,
        event_name: str,
        event_id: str,
        subjects: bytes,
        now: float,
        destinations: Collection[str] | None,
    ) -> int:
        """As ``Outbox.release``, for the destinations that had deliveries when it was called."""
        names = await self._find_names(destinations)
        if not names:
            return 0
        digests = [build_digest(Key(name, event_name, event_id)) for name in names]
        args: list[Argument] = [format_score(now), *digests, *split_subjects(subjects)]
        released: int = await self._link.run(scripts.RELEASE, self._keys.list_all(names), args)
        return released

    async def has(
        self,
        event_name: str,
        event_id: str,
        now: float,
        destinations: Collection[str] | None,
        within: float,
    ) -> bool:
        """As ``Outbox.has``."""
        names = await self._find_names(destinations)
        random, given = self._delivered.list_hashes([now])
        args: list[Argument] = [
            len(random),
            len(given),
            *self._delivered.list_horizons(now, within),
            format_score(now - within),
        ]
        args += (build_digest(Key(name, event_name, event_id)) for name in names)
        keys = [*self._keys.list_all([]), *random, *given]
        return bool(await self._link.run(scripts.HAS, keys, args))

    async def _find_names(self, destinations: Collection[str] | None) -> list[str]:
        """Return the names that are asked for; by default all that ever had deliveries."""
        return await self.read_destinations() if destinations is None else list(destinations)

    async def read_due(self, destination: str) -> float | None:
        """Return when the next waiting delivery is due."""
        key = self._keys.build(f"due:{destination}")
        return _read_score(await self._link.execute("ZRANGE", key, 0, 0, "WITHSCORES"))

    async def count(self, now: float, *, with_delivered: bool) -> dict[str, Counts]:
        """As ``Outbox.count``; also forgets keys that are old enough."""
        names = await self.read_destinations()
        keys = self._keys.list_all(names)
        rows = await self._link.run(scripts.COUNT, keys, [format_score(now)])
        delivered = await self._delivered.count(now) if with_delivered else {}
        await self._delivered.forget(now)
        return {
            name: Counts(waiting, held, delivered.get(name, 0), dead, _read_score(oldest))
            for name, (waiting, held, dead, oldest) in zip(names, rows, strict=True)
        }

    async def list_dead(self, destination: str | None, offset: int, limit: int) -> list[DeadLetter]:
        """As ``Outbox.list_dead``; those that cannot be read are left out."""
        keys = self._keys.list_all([] if destination is None else [destination])
        rows = await self._link.run(scripts.LIST_DEAD, keys, [offset, offset + limit - 1])
        return self._parse_dead(rows)

    async def find_dead(self, event_id: str) -> list[DeadLetter]:
        """As ``Outbox.find_dead``."""
        first = build_event_digest(event_id)
        args = [first, first + b"\xff" * (len(first) + 1)]
        return self._parse_dead(
            await self._link.run(scripts.FIND_DEAD, self._keys.list_all([]), args)
        )

    async def revive(self, keys: Sequence[Key], now: float) -> int:
        """As ``Outbox.revive``."""
        args = [format_score(now)]
        return await self._change(scripts.REVIVE, keys, args, of_dead=True, repeatable=False)

    async def drop(self, keys: Sequence[Key]) -> int:
        """As ``Outbox.drop``."""
        return await self._change(scripts.DROP, keys, [], of_dead=True, repeatable=False)

    async def drop_old(self, before: float, limit: int) -> int:
        """As ``Outbox.drop_old``."""
        end = f"({format_score(before)}"
        digests = await self._link.execute(
            "ZRANGE", self._keys.build("dead"), "-inf", end, "BYSCORE", "LIMIT", 0, limit
        )
        return await self.drop(await self._find_keys(digests))

    async def withdraw(self, subjects: bytes) -> int:
        """As ``Outbox.withdraw``."""
        withdrawn = 0
        for each in split_subjects(subjects):
            digests = [member[-DIGEST_BYTES:] for member in await self._list_subjects(each)]
            withdrawn += sum(await self._erase(digests))
        return withdrawn

    async def erase(self, subjects: bytes) -> Erased:
        """As ``Outbox.erase``; reads a thousand subjects at once."""
        parts, waiting, dead = split_subjects(subjects), 0, 0
        start = b"-"
        while members := await self._list_page(start, b"+"):
            found = [
                member[-DIGEST_BYTES:]
                for member in members
                if any(part in member[:-DIGEST_BYTES] for part in parts)
            ]
            erased = await self._erase(found)
            waiting, dead = waiting + erased.waiting, dead + erased.dead
            start = b"(" + members[-1]
        return Erased(waiting, dead)

    async def _list_subjects(self, prefix: bytes) -> list[bytes]:
        """Return the entries of ``subjects`` that begin with ``prefix``."""
        listed: list[bytes] = []
        start, end = b"[" + prefix, b"[" + follow_prefix(prefix)
        while members := await self._list_page(start, end):
            listed += members
            start = b"(" + members[-1]
        return listed

    async def _list_page(self, start: bytes, end: bytes) -> list[bytes]:
        members: list[bytes] = await self._link.execute(
            "ZRANGE", self._keys.build("subjects"), start, end, "BYLEX", "LIMIT", 0, _PAGE
        )
        return members

    async def _erase(self, digests: Sequence[bytes]) -> Erased:
        waiting, dead = 0, 0
        for at in range(0, len(digests), _PAGE):
            keys = await self._find_keys(digests[at : at + _PAGE])
            if keys:
                lanes = number_names(key.destination for key in keys)
                args: list[Argument] = []
                for key in keys:
                    args += (
                        lanes[key.destination],
                        build_digest(key),
                        build_event_digest(key.event_id),
                    )
                found = await self._link.run(scripts.ERASE, self._keys.list_all(lanes), args)
                waiting, dead = waiting + found[0], dead + found[1]
        return Erased(waiting, dead)

    async def _find_keys(self, digests: Sequence[bytes]) -> list[Key]:
        """Return the keys of what is stored; those that cannot be read are left out."""
        keys = []
        records = await self._read_records(digests)
        for digest, record in zip(digests, records, strict=True):
            with suppress(ValueError):
                keys.append(parse_record(digest, record or b"", due=0.0, attempts=0).key)
        return keys

    async def list_waiting(self, destination: str | None, end: int) -> list[tuple[float, bytes]]:
        """Return due and digest of the next ``end`` that wait, the next due first."""
        names = await self.read_destinations() if destination is None else [destination]
        found: list[tuple[float, bytes]] = []
        for name in names:
            key = self._keys.build(f"due:{name}")
            flat = await self._link.execute("ZRANGE", key, 0, end - 1, "WITHSCORES")
            found += zip(map(float, flat[1::2]), flat[::2], strict=True)
        return sorted(found)[:end]

    async def find(self, keys: Sequence[Key]) -> list[tuple[float, bytes]]:
        """Return due and digest of those that wait."""
        found: list[tuple[float, bytes]] = []
        digests = [build_digest(key) for key in keys]
        records = await self._read_records(digests)
        for key, digest, record in zip(keys, digests, records, strict=True):
            if record is not None:
                lane = self._keys.build(f"due:{key.destination}")
                due = await self._link.execute("ZSCORE", lane, digest)
                found += [] if due is None else [(float(due), digest)]
        return found

    async def read_waiting(self, found: Sequence[tuple[float, bytes]]) -> dict[bytes, Delivery]:
        """Return the deliveries with these dues, by digest; what cannot be read is left out."""
        digests = [digest for _, digest in found]
        records = await self._read_records(digests)
        counts = await self._link.execute("HMGET", self._keys.build("attempts"), *digests)
        waiting = {}
        for (due, digest), record, count in zip(found, records, counts, strict=True):
            with suppress(ValueError):
                attempts = int(count or 0)
                waiting[digest] = parse_record(digest, record or b"", due=due, attempts=attempts)
        return waiting

    async def _change(
        self,
        script: scripts.Script,
        keys: Sequence[Key],
        args: list[Any],
        *,
        of_dead: bool = False,
        repeatable: bool = True,
    ) -> int:
        """Run ``script`` on ``keys``; return how many it changed, if it counts that.

        A script that changes the dead letters takes the digest of each event too.
        """
        if not keys:
            return 0
        lanes = number_names(key[0] for key in keys)
        for key in keys:
            args += (lanes[key[0]], build_digest(key))
            if of_dead:
                args.append(build_event_digest(key[2]))
        changed = await self._link.run(
            script, self._keys.list_all(lanes), args, repeatable=repeatable
        )
        return int(changed or 0)

    async def _read_records(self, digests: Sequence[bytes]) -> Sequence[bytes | None]:
        """Return the record of each; ``None`` if there is none."""
        if not digests:
            return []
        found: list[bytes | None]
        found = await self._link.execute("HMGET", self._keys.build("deliveries"), *digests)
        return found

    async def _set_aside(self, destination: str, records: Mapping[bytes, bytes]) -> None:
        """Take ``records`` out of the lane; an empty one is missing, and there is none to keep."""
        if kept := sum(map(bool, records.values())):
            _log.error(
                "outbox %s: what cannot be read is moved to %s:unreadable; deliveries to %s: %s",
                self._link.name, self._keys.tag, destination, kept,
            )  # fmt: skip
        args = [each for pair in records.items() for each in pair]
        await self._link.run(scripts.SET_ASIDE, self._keys.list_all([destination]), args)

    def _parse_dead(self, rows: Iterable[Sequence[Any]]) -> list[DeadLetter]:
        letters = []
        for digest, record, attempts, reason, buried_at in rows:
            try:
                at = float(buried_at or 0)
                delivery = parse_record(digest, record or b"", due=at, attempts=int(attempts or 0))
            except ValueError:
                _log.warning("outbox %s: a dead letter cannot be read", self._link.name)
            else:
                text = (reason or b"").decode(errors="replace")
                letters.append(DeadLetter(delivery, text, at))
        return letters


def _read_score(found: Sequence[bytes]) -> float | None:
    """Return the score in the answer of ZRANGE for one member; ``None`` if there is none."""
    return float(found[1]) if found else None
