"""One slot of the Redis outbox: the keys that are together on one server, and what is done to them.

Every change is one Lua script, so deliveries are never half stored or half settled. A delivery is
stored under a digest of its key. Those that wait are sorted by ``due``, so a claim reads only what
it takes. With TAG being ``{bridge}`` for the only slot, else ``{bridge:0}`` and so on:

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
    TAG:delivered:NAME      zset  digest by when it was accepted, for 48 hours
    TAG:given:NAME          zset  the same, for 90 days, of those whose id the app gave
    TAG:dead:NAME           zset  digest by when it was buried

All times are Unix seconds by the server's clock.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from redis.exceptions import OutOfMemoryError

from bridge.errors import OutboxError, OutboxFullError
from bridge.outbox.base import (
    FORGET_AT_ONCE,
    LASTING_SECONDS,
    REMEMBERED_SECONDS,
    Counts,
    DeadLetter,
    Delivery,
    Erased,
    Key,
    build_full_error,
    follow_prefix,
    read_limit,
    split_subjects,
)
from bridge.outbox.grouping import Groups, Put
from bridge.outbox.redis import link, scripts
from bridge.outbox.redis.link import Argument, RedisLink
from bridge.outbox.redis.records import (
    DIGEST_BYTES,
    build_digest,
    build_event_digest,
    build_own_digest,
    build_record,
    parse_record,
)

_log = logging.getLogger("bridge.outbox")

# The keys of a script, in the order in which it takes them: shared ones, and of each destination.
_SHARED = (
    "deliveries", "attempts", "reasons", "unreadable",
    "destinations", "dead", "dead_ids", "subjects",
)  # fmt: skip
_PARTS = ("due", "held", "stored", "delivered", "given", "dead")
_PAGE = 1000  # entries that are read at once
_FORGOTTEN_AT_ONCE = 10_000  # delivered keys of each destination, when memory lacks
_MAX_SCRIPTS = 1  # that store, of one slot and event loop; what waits for it goes together

Row = tuple[str, Sequence[Argument]]  # of what is put: the destination, and the rest for the script


class _Content(NamedTuple):
    """What one put stores.

    Attributes:
        head: What the script takes for the whole put.
        rows: What it takes for each delivery.
        limit: How many may be held afterwards.
        is_repeat: Whether it was put before, and failed.
    """

    head: Sequence[Argument]
    rows: Sequence[Row]
    limit: int
    is_repeat: bool


_Stored = Put[_Content, list[bool]]


class Slot:
    """The deliveries whose events belong to one slot.

    Args:
        link: The server or cluster.
        tag: What all its keys begin with, in braces.
        capacity: How many deliveries may wait or be dead.
    """

    def __init__(self, link: RedisLink, tag: str, capacity: int) -> None:
        self._link = link
        self._tag = tag
        self._capacity = capacity
        self._name = f"{link.name}, {tag}"
        self._groups: dict[asyncio.AbstractEventLoop, Groups[_Content, list[bool]]] = {}
        self._is_short = False  # whether a lack of memory was logged

    @property
    def keys(self) -> list[bytes]:
        """The keys of a script that looks at no destination."""
        return self._list_keys([])

    async def put(
        self, deliveries: Sequence[Delivery], now: float, token: bytes, *, is_repeat: bool
    ) -> list[bool]:
        """Store ``deliveries``, all or none, together with what others put; which are new.

        Raises:
            OutboxFullError: The capacity or the server's memory is used up.
            OutboxError: The server failed, or did not answer in time.
        """
        try:
            rows: list[Row] = [
                (
                    each.destination,
                    (
                        build_digest(each.key),
                        build_event_digest(each.event_id),
                        format_score(each.due),
                        build_record(each, token, now),
                        build_own_digest(each.key),
                    ),
                )
                for each in deliveries
            ]
            for name, _ in rows:
                name.encode()
            limit = read_limit(self._capacity, deliveries)
            head: list[Argument] = [format_score(now), *_horizons(now), limit, len(rows)]
        except (TypeError, ValueError) as error:
            raise OutboxError(f"outbox {self._link.name}: {error}") from error
        deadline = asyncio.get_running_loop().time() + link.TIMEOUT
        size = sum(len(each.body) for each in deliveries)
        put: _Stored = Put(_Content(head, rows, limit, is_repeat), len(rows), size, deadline)
        self._find_groups().add(put)
        try:
            async with asyncio.timeout_at(deadline):
                return await put.answer
        except TimeoutError as error:
            text = f"outbox {self._link.name}: no answer within {link.TIMEOUT:g} s"
            raise OutboxError(text) from error

    def _find_groups(self) -> Groups[_Content, list[bool]]:
        loop = asyncio.get_running_loop()
        groups = self._groups.get(loop)
        if groups is None:
            self._groups = {own: kept for own, kept in self._groups.items() if not own.is_closed()}
            groups = self._groups[loop] = Groups(self._store, _MAX_SCRIPTS)
        return groups

    async def _store(self, group: Sequence[_Stored]) -> None:
        """Store ``group`` and answer its puts; if one makes it fail, each is stored alone."""
        try:
            answers = await self._make_room(lambda: self._run_put([each.content for each in group]))
        except OutboxError as error:
            # Of another kind is what would concern each of them in the same way.
            if len(group) > 1 and type(error) is OutboxError:
                for put in group:
                    if not put.answer.done():
                        await self._store([put])
                return
            for put in group:
                put.fail(error)
            return
        for put, answer in zip(group, answers, strict=True):
            if isinstance(answer, int):
                limit = put.content.limit
                put.fail(build_full_error(self._name, answer, self._capacity, limit))
            else:
                put.settle([new == 1 for new in answer])

    async def _run_put(self, contents: Sequence[_Content]) -> Any:
        lanes = _number(name for each in contents for name, _ in each.rows)
        args: list[Argument] = [len(lanes), *(name.encode() for name in lanes)]
        for each in contents:
            args += (int(each.is_repeat), *each.head)
            for name, rest in each.rows:
                args += (lanes[name], *rest)
        return await self._link.run(scripts.PUT, self._list_keys(lanes), args, is_put=True)

    async def _make_room(self, store: Callable[[], Awaitable[Any]]) -> Any:
        """Return the answer of ``store``; while memory lacks, forget the oldest delivered keys.

        Raises:
            OutboxFullError: Memory lacks, and no delivered key is left.
        """
        while True:
            try:
                return await store()
            except OutboxFullError as error:
                if not isinstance(error.__cause__, OutOfMemoryError):
                    raise
                keys = self._list_keys(await self.read_destinations())
                if not await self._link.run(scripts.FORGET_OLDEST, keys, [_FORGOTTEN_AT_ONCE]):
                    raise
                if not self._is_short:
                    self._is_short = True
                    _log.warning(
                        "outbox %s: the memory is full, so the oldest delivered keys are forgotten;"
                        " an event of one may be sent again: raise maxmemory",
                        self._name,
                    )

    async def probe(self) -> None:
        """As ``Outbox.probe``."""
        held = await self._make_room(lambda: self._link.run(scripts.PROBE, self.keys, []))
        if held >= self._capacity:
            raise build_full_error(self._name, held, self._capacity, self._capacity)

    async def claim(self, destination: str, limit: int, now: float, due: float) -> list[Delivery]:
        """Take up to ``limit`` that are due, oldest first; due again at ``due``.

        A claim whose answer was lost is repeated, and what the first one took is due again then; so
        is what it took if the records cannot be fetched afterwards.
        """
        args: list[Argument] = [format_score(now), format_score(due), limit]
        answer = await self._link.run(scripts.CLAIM, self._list_keys([destination]), args)
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
        lanes = _number(each.destination for each in deliveries)
        args: list[Argument] = [format_score(now), *_horizons(now), FORGET_AT_ONCE]
        for each in deliveries:
            args += (
                lanes[each.destination],
                build_digest(each.key),
                each.subjects,
                int(each.has_given_id),
            )
        await self._link.run(scripts.ACK, self._list_keys(lanes), args)

    async def retry(self, keys: Sequence[Key], due: float) -> int:
        """As ``Outbox.retry``."""
        return await self._change(scripts.RETRY, keys, [format_score(due)])

    async def bury(self, keys: Sequence[Key], reason: str, now: float) -> None:
        """As ``Outbox.bury``."""
        args = [format_score(now), reason.encode(errors="replace")]
        await self._change(scripts.BURY, keys, args, of_dead=True)

    async def release(self, event_name: str, event_id: str, subjects: bytes, now: float) -> int:
        """As ``Outbox.release``, for the destinations that had deliveries when it was called."""
        names = await self.read_destinations()
        if not names:
            return 0
        digests = [build_digest(Key(name, event_name, event_id)) for name in names]
        args: list[Argument] = [format_score(now), *digests, *split_subjects(subjects)]
        released: int = await self._link.run(scripts.RELEASE, self._list_keys(names), args)
        return released

    async def has(self, event_name: str, event_id: str) -> bool:
        """As ``Outbox.has``."""
        names = await self.read_destinations()
        digests = [build_digest(Key(name, event_name, event_id)) for name in names]
        return bool(await self._link.run(scripts.HAS, self._list_keys(names), digests))

    async def read_due(self, destination: str) -> float | None:
        """Return when the next waiting delivery is due."""
        key = self._build_key(f"due:{destination}")
        return _read_score(await self._link.execute("ZRANGE", key, 0, 0, "WITHSCORES"))

    async def count(self, now: float, *, with_delivered: bool) -> dict[str, Counts]:
        """As ``Outbox.count``; also forgets keys that are old enough."""
        names = await self.read_destinations()
        args: list[Argument] = [format_score(now), *_horizons(now)]
        rows = await self._link.run(scripts.COUNT, self._list_keys(names), args)
        counts, old = {}, []
        for name, row in zip(names, rows, strict=True):
            waiting, held, delivered, dead, oldest, forgettable = row
            accepted = delivered if with_delivered else 0
            counts[name] = Counts(waiting, held, accepted, dead, _read_score(oldest))
            if forgettable:
                old.append(name)
        if old:
            args = [*_horizons(now), FORGET_AT_ONCE]
            await self._link.run(scripts.FORGET, self._list_keys(old), args)
        return counts

    async def list_dead(self, destination: str | None, offset: int, limit: int) -> list[DeadLetter]:
        """As ``Outbox.list_dead``; those that cannot be read are left out."""
        keys = self._list_keys([] if destination is None else [destination])
        rows = await self._link.run(scripts.LIST_DEAD, keys, [offset, offset + limit - 1])
        return self._parse_dead(rows)

    async def find_dead(self, event_id: str) -> list[DeadLetter]:
        """As ``Outbox.find_dead``."""
        first = build_event_digest(event_id)
        args = [first, first + b"\xff" * (len(first) + 1)]
        return self._parse_dead(await self._link.run(scripts.FIND_DEAD, self.keys, args))

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
            "ZRANGE", self._build_key("dead"), "-inf", end, "BYSCORE", "LIMIT", 0, limit
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
            "ZRANGE", self._build_key("subjects"), start, end, "BYLEX", "LIMIT", 0, _PAGE
        )
        return members

    async def _erase(self, digests: Sequence[bytes]) -> Erased:
        waiting, dead = 0, 0
        for at in range(0, len(digests), _PAGE):
            keys = await self._find_keys(digests[at : at + _PAGE])
            if keys:
                lanes = _number(key.destination for key in keys)
                args: list[Argument] = []
                for key in keys:
                    args += (
                        lanes[key.destination],
                        build_digest(key),
                        build_event_digest(key.event_id),
                    )
                found = await self._link.run(scripts.ERASE, self._list_keys(lanes), args)
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
            key = self._build_key(f"due:{name}")
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
                lane = self._build_key(f"due:{key.destination}")
                due = await self._link.execute("ZSCORE", lane, digest)
                found += [] if due is None else [(float(due), digest)]
        return found

    async def read_waiting(self, found: Sequence[tuple[float, bytes]]) -> dict[bytes, Delivery]:
        """Return the deliveries with these dues, by digest; what cannot be read is left out."""
        digests = [digest for _, digest in found]
        records = await self._read_records(digests)
        counts = await self._link.execute("HMGET", self._build_key("attempts"), *digests)
        waiting = {}
        for (due, digest), record, count in zip(found, records, counts, strict=True):
            with suppress(ValueError):
                attempts = int(count or 0)
                waiting[digest] = parse_record(digest, record or b"", due=due, attempts=attempts)
        return waiting

    async def read_destinations(self) -> list[str]:
        """Return the names that ever had a delivery here."""
        found = await self._link.execute("SMEMBERS", self._build_key("destinations"))
        return sorted(name.decode(errors="replace") for name in found)

    def _list_keys(self, destinations: Iterable[str]) -> list[bytes]:
        """Return the keys of a script: the shared ones, then those of each destination."""
        return [
            *(self._build_key(name) for name in _SHARED),
            *(self._build_key(f"{part}:{name}") for name in destinations for part in _PARTS),
        ]

    def _build_key(self, name: str) -> bytes:
        return f"{self._tag}:{name}".encode(errors="surrogatepass")

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
        lanes = _number(key[0] for key in keys)
        for key in keys:
            args += (lanes[key[0]], build_digest(key))
            if of_dead:
                args.append(build_event_digest(key[2]))
        changed = await self._link.run(script, self._list_keys(lanes), args, repeatable=repeatable)
        return int(changed or 0)

    async def _read_records(self, digests: Sequence[bytes]) -> Sequence[bytes | None]:
        """Return the record of each; ``None`` if there is none."""
        if not digests:
            return []
        found: list[bytes | None]
        found = await self._link.execute("HMGET", self._build_key("deliveries"), *digests)
        return found

    async def _set_aside(self, destination: str, records: Mapping[bytes, bytes]) -> None:
        """Take ``records`` out of the lane; an empty one is missing, and there is none to keep."""
        if kept := sum(map(bool, records.values())):
            _log.error(
                "outbox %s: %s deliveries to %s cannot be read; they are moved to %s:unreadable",
                self._link.name, kept, destination, self._tag,
            )  # fmt: skip
        args = [each for pair in records.items() for each in pair]
        await self._link.run(scripts.SET_ASIDE, self._list_keys([destination]), args)

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


def _number(names: Iterable[str]) -> dict[str, int]:
    """Return each different name with its position, counted from 1 as in Lua."""
    return {name: place for place, name in enumerate(dict.fromkeys(names), 1)}


def _read_score(found: Sequence[bytes]) -> float | None:
    """Return the score in the answer of ZRANGE for one member; ``None`` if there is none."""
    return float(found[1]) if found else None


def _horizons(now: float) -> tuple[str, str]:
    """Return since when keys are remembered: those of random ids, and of given ones."""
    return format_score(now - REMEMBERED_SECONDS), format_score(now - LASTING_SECONDS)


def format_score(at: float) -> str:
    """Return a time as text that Redis reads back exactly.

    Raises:
        ValueError: It is not a number; a script would notice that only after its first write.
    """
    score = float(at)
    if score != score:
        raise ValueError("a time must be a number, got nan")
    return repr(score)
