"""The outbox on Redis or Valkey, 7 or newer: shared by the processes of many machines.

``track()`` is as durable as the server's settings. With ``appendonly yes`` and ``appendfsync
always`` a crash loses nothing, with ``everysec`` the last second, with the server's defaults
everything since the last snapshot; a server with weaker settings is logged once.
``maxmemory-policy`` must be ``noeviction``, or one that begins with ``volatile-``: these spare keys
without a time to live, as all keys here are but those of figures. On a server with a ``maxmemory``
and another policy nothing is stored, unless the URL insists: ``?allow_eviction=true``.

A replica that takes over may lack the newest deliveries, unless the URL says how many replicas must
have an event before it counts as stored: ``?replicas=1``. A put that they do not confirm within a
second is an ``OutboxBusyError``; it may be stored all the same.

A full memory forgets the oldest delivered keys before it refuses what is new.

Every change is one Lua script, so deliveries are never half stored or half settled. A delivery is
stored under a digest of its key. Those that wait are sorted by ``due``, so a claim reads only what
it takes.

    {bridge}:deliveries          hash  digest → record, of each waiting or dead one; the capacity
                                       limits its length
    {bridge}:attempts            hash  digest → how often it was claimed; missing if never
    {bridge}:reasons             hash  digest → why it is dead
    {bridge}:unreadable          hash  digest → record that could not be read, for a person to see
    {bridge}:destinations        set   the names that ever had a delivery
    {bridge}:dead                zset  digest by when it was buried, of all destinations
    {bridge}:dead_ids            zset  event digest + digest, sorted by their bytes
    {bridge}:subjects            zset  subjects + digest of what waits or is dead, sorted by their
                                       bytes: those of one browser are next to each other
    {bridge}:due:NAME            zset  digest by due, of all that wait for one destination
    {bridge}:held:NAME           zset  digest by due, of those stored for later and never claimed
    {bridge}:stored:NAME         zset  digest by when it was stored, of those that wait
    {bridge}:delivered:NAME      zset  digest by when it was accepted, for 48 hours
    {bridge}:given:NAME          zset  the same, for 90 days, of those whose id the app gave
    {bridge}:dead:NAME           zset  digest by when it was buried
    {bridge}:circuits            hash  destination → its circuit, JSON
    {bridge}:figures:DAY         hash  destination, event name and kind, JSON → number; for 90 days

The braces keep all keys in one slot of a cluster.

Source: Google Cloud, "ClusterPersistenceConfig.AOFConfig.AppendFsync" and "Supported instance
configurations", Maxmemory policies, read 2026-11-24.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from redis.exceptions import OutOfMemoryError

from bridge.errors import ConfigError, OutboxError, OutboxFullError
from bridge.outbox.base import (
    CAPACITY,
    FIGURE_DAYS,
    FORGET_AT_ONCE,
    LASTING_SECONDS,
    REMEMBERED_SECONDS,
    Circuit,
    Counts,
    DeadLetter,
    Delivery,
    Erased,
    Figure,
    Key,
    Outbox,
    Weakness,
    build_full_error,
    check_capacity,
    follow_prefix,
    list_keys,
    read_limit,
    refuse_connection,
    split_subjects,
)
from bridge.outbox.clock import (
    Clock,
    shift_circuit,
    shift_counts,
    shift_delivery,
    shift_letter,
)
from bridge.outbox.redis import scripts
from bridge.outbox.redis.link import Argument, RedisLink, UnconfirmedError
from bridge.outbox.redis.records import (
    DIGEST_BYTES,
    TOKEN_BYTES,
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
    "destinations", "dead", "dead_ids", "circuits", "subjects",
)  # fmt: skip
_PARTS = ("due", "held", "stored", "delivered", "given", "dead")
_PAGE = 1000  # entries that are read at once
_FORGOTTEN_AT_ONCE = 10_000  # delivered keys of each destination, when memory lacks
_MAX_UNCONFIRMED = 10_000  # puts that replicas did not confirm, and that may be tried again


# What each setting loses, if it is not as it should be.
_FORGOTTEN = {
    "appendonly": "a restart of the server loses what was stored since its last snapshot",
    "appendfsync": "a power cut loses the last second, or more",
    "maxmemory-policy": "a full memory deletes waiting events",
}


class RedisOutbox(Outbox):
    """Deliveries on a Redis server or cluster that many machines share.

    Args:
        url: ``redis://[user:password@]host[:port][/db]``, ``rediss://`` with TLS, ``unix://`` and
            the socket's path; ``?cluster=true`` for a cluster, ``?replicas=1`` and
            ``?allow_eviction=true`` as above.
        prefix: What all keys begin with. Apps with different prefixes share a server independently.
        capacity: How many deliveries may wait or be dead; all are in the server's memory.

    Raises:
        ConfigError: The URL, the prefix or the capacity is wrong.
    """

    def __init__(self, url: str, *, prefix: str = "bridge", capacity: int = CAPACITY) -> None:
        if not prefix or set(prefix) & set("{}"):
            raise ConfigError(f"prefix must be text without braces, got {prefix!r}")
        self._link = RedisLink(url)
        self._prefix = prefix
        self._capacity = check_capacity(capacity)
        self._unconfirmed: dict[tuple[Any, ...], bytes] = {}  # tokens, by when and what was put
        self._is_short = False  # whether a lack of memory was logged
        self._wall = time.time
        self._clock = Clock(self._ask_time, self._wall)

    async def _ask_time(self) -> float:
        seconds, microseconds = await self._link.run(scripts.TIME, self._list_keys([]), [])
        return int(seconds) + int(microseconds) / 1e6

    async def put(
        self, deliveries: Sequence[Delivery], now: float, *, connection: Any = None
    ) -> list[bool]:
        """As ``Outbox.put``.

        Raises:
            OutboxError: The server failed, or did not answer within 5 seconds. It may have stored
                the deliveries all the same; then they are delivered.
            OutboxFullError: The capacity or the server's memory is used up.
            ConfigError: ``connection`` was given: Redis cannot take part in a transaction.
        """
        refuse_connection("RedisOutbox", connection)
        if not deliveries:
            return []
        await self._link.refuse_eviction(self._list_keys([]))
        lanes = _number(delivery.destination for delivery in deliveries)
        ahead = await self._clock.read()
        call = (now, *(each.key for each in deliveries))
        unconfirmed = self._unconfirmed.pop(call, None)
        token = unconfirmed or os.urandom(TOKEN_BYTES)
        try:
            shifted = [shift_delivery(each, ahead) for each in deliveries]
            args = self._build_put(shifted, lanes, now + ahead, token)
        except (TypeError, ValueError) as error:
            raise OutboxError(f"outbox {self._link.name}: {error}") from error
        try:
            answer = await self._make_room(
                lambda: self._link.run(
                    scripts.PUT,
                    self._list_keys(lanes),
                    args,
                    is_repeat=unconfirmed is not None,
                    is_put=True,
                )
            )
        except UnconfirmedError:
            # Whoever tries again stores nothing else, and is to hear whether it was new.
            if len(self._unconfirmed) >= _MAX_UNCONFIRMED:
                self._unconfirmed.clear()
            self._unconfirmed[call] = token
            raise
        if isinstance(answer, int):
            limit = read_limit(self._capacity, deliveries)
            raise build_full_error(self._link.name, answer, self._capacity, limit)
        return [new == 1 for new in answer]

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
                keys = self._list_keys(await self._read_destinations())
                if not await self._link.run(scripts.FORGET_OLDEST, keys, [_FORGOTTEN_AT_ONCE]):
                    raise
                if not self._is_short:
                    self._is_short = True
                    _log.warning(
                        "outbox %s: the memory is full, so the oldest delivered keys are forgotten;"
                        " an event of one may be sent again: raise maxmemory",
                        self._link.name,
                    )

    async def claim(
        self, destination: str, limit: int, *, now: float, lease: float
    ) -> list[Delivery]:
        """As ``Outbox.claim``.

        A claim whose answer was lost is repeated, and what the first one took is due again after
        the lease; so is what it took if the records cannot be fetched afterwards.
        """
        if limit < 1:
            return []
        ahead = await self._clock.read()
        now += ahead
        due = now + lease
        args: list[Argument] = [_score(now), _score(due), limit]
        answer = await self._link.run(scripts.CLAIM, self._list_keys([destination]), args)
        digests, attempts = answer[::2], answer[1::2]
        records = await self._read_records(digests)
        claimed, unreadable = [], {}
        for digest, record, count in zip(digests, records, attempts, strict=True):
            try:
                delivery = parse_record(digest, record or b"", due=due, attempts=count)
                claimed.append(shift_delivery(delivery, -ahead))
            except ValueError:
                unreadable[digest] = record or b""
        if unreadable:
            await self._set_aside(destination, unreadable)
        return claimed

    async def ack(self, deliveries: Sequence[Delivery], now: float) -> None:
        if not deliveries:
            return
        now += await self._clock.read()
        lanes = _number(each.destination for each in deliveries)
        args: list[Argument] = [_score(now), *_horizons(now), FORGET_AT_ONCE]
        for each in deliveries:
            args += (
                lanes[each.destination],
                build_digest(each.key),
                each.subjects,
                int(each.has_given_id),
            )
        await self._link.run(scripts.ACK, self._list_keys(lanes), args)

    async def retry(self, deliveries: Sequence[Delivery], due: float) -> int:
        due += await self._clock.read()
        keys = [each.key for each in deliveries]
        return await self._change(scripts.RETRY, keys, [_score(due)])

    async def bury(self, deliveries: Sequence[Delivery], reason: str, now: float) -> None:
        now += await self._clock.read()
        args = [_score(now), reason.encode(errors="replace")]
        keys = [each.key for each in deliveries]
        await self._change(scripts.BURY, keys, args, of_dead=True)

    async def release(
        self,
        event_name: str,
        event_id: str,
        subjects: bytes,
        now: float,
        *,
        destinations: Collection[str] | None = None,
    ) -> int:
        """As ``Outbox.release``, for the destinations that had deliveries when it was called."""
        names = await self._find_names(destinations)
        if not names:
            return 0
        now += await self._clock.read()
        digests = [build_digest(Key(name, event_name, event_id)) for name in names]
        args: list[Argument] = [_score(now), *digests, *split_subjects(subjects)]
        released: int = await self._link.run(scripts.RELEASE, self._list_keys(names), args)
        return released

    async def has(
        self, event_name: str, event_id: str, destinations: Collection[str] | None = None
    ) -> bool:
        names = await self._find_names(destinations)
        digests = [build_digest(Key(name, event_name, event_id)) for name in names]
        return bool(await self._link.run(scripts.HAS, self._list_keys(names), digests))

    async def _find_names(self, destinations: Collection[str] | None) -> list[str]:
        """Return the names that are asked for; by default all that ever had deliveries."""
        return await self._read_destinations() if destinations is None else list(destinations)

    async def next_due(self, destination: str, until: float = math.inf) -> float | None:
        key = self._build_key(f"due:{destination}")
        ahead = await self._clock.read()
        due = _read_score(await self._link.execute("ZRANGE", key, 0, 0, "WITHSCORES"))
        return None if due is None or due - ahead > until else due - ahead

    async def probe(self) -> None:
        keys = self._list_keys([])
        await self._link.refuse_eviction(keys)
        held = await self._make_room(lambda: self._link.run(scripts.PROBE, keys, []))
        if held >= self._capacity:
            raise build_full_error(self._link.name, held, self._capacity, self._capacity)

    async def count(self, now: float, *, with_delivered: bool = False) -> Mapping[str, Counts]:
        """As ``Outbox.count``; also forgets keys that are old enough.

        ``ack`` does that too, but not for a destination to which nothing is delivered any more.
        """
        names = await self._read_destinations()
        ahead = await self._clock.read()
        now += ahead
        args: list[Argument] = [_score(now), *_horizons(now)]
        rows = await self._link.run(scripts.COUNT, self._list_keys(names), args)
        counts, old = {}, []
        for name, row in zip(names, rows, strict=True):
            waiting, held, delivered, dead, oldest, forgettable = row
            accepted = delivered if with_delivered else 0
            stored = Counts(waiting, held, accepted, dead, _read_score(oldest))
            counts[name] = shift_counts(stored, -ahead)
            if forgettable:
                old.append(name)
        if old:
            args = [*_horizons(now), FORGET_AT_ONCE]
            await self._link.run(scripts.FORGET, self._list_keys(old), args)
        return {name: each for name, each in counts.items() if each != Counts()}

    async def list_dead(
        self, *, destination: str | None = None, limit: int = 100, offset: int = 0
    ) -> list[DeadLetter]:
        """As ``Outbox.list_dead``; those that cannot be read are left out."""
        if limit < 1:
            return []
        keys = self._list_keys([] if destination is None else [destination])
        rows = await self._link.run(scripts.LIST_DEAD, keys, [offset, offset + limit - 1])
        return await self._parse_dead(rows)

    async def find_dead(self, event_id: str) -> list[DeadLetter]:
        first = build_event_digest(event_id)
        args = [first, first + b"\xff" * (len(first) + 1)]
        rows = await self._link.run(scripts.FIND_DEAD, self._list_keys([]), args)
        return await self._parse_dead(rows)

    async def revive(self, keys: Sequence[Key], now: float) -> int:
        now += await self._clock.read()
        return await self._change(
            scripts.REVIVE, keys, [_score(now)], of_dead=True, repeatable=False
        )

    async def drop(self, keys: Sequence[Key]) -> int:
        return await self._change(scripts.DROP, keys, [], of_dead=True, repeatable=False)

    async def drop_old(self, before: float, limit: int) -> int:
        end = f"({_score(before + await self._clock.read())}"
        digests = await self._link.execute(
            "ZRANGE", self._build_key("dead"), "-inf", end, "BYSCORE", "LIMIT", 0, limit
        )
        return await self.drop(await self._find_keys(digests))

    async def withdraw(self, subjects: bytes) -> int:
        withdrawn = 0
        for each in split_subjects(subjects):
            digests = [member[-DIGEST_BYTES:] for member in await self._list_subjects(each)]
            withdrawn += sum(await self._erase(digests))
        return withdrawn

    async def erase(self, subjects: bytes) -> Erased:
        """As ``Outbox.erase``; reads a million subjects in 4 s, in pieces of a thousand."""
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

    async def list_waiting(
        self, *, destination: str | None = None, limit: int = 100, offset: int = 0
    ) -> list[Delivery]:
        """As ``Outbox.list_waiting``; those that cannot be read are left out."""
        names = await self._read_destinations() if destination is None else [destination]
        start, end = max(0, offset), max(0, offset) + max(0, limit)
        found: list[tuple[float, bytes]] = []
        for name in names if end > start else []:
            key = self._build_key(f"due:{name}")
            flat = await self._link.execute("ZRANGE", key, 0, end - 1, "WITHSCORES")
            found += zip(map(float, flat[1::2]), flat[::2], strict=True)
        return await self._read_waiting(sorted(found)[start:end])

    async def find(self, event_id: str, event_names: Iterable[str]) -> list[Delivery]:
        found: list[tuple[float, bytes]] = []
        keys = list_keys(event_id, event_names, await self._read_destinations())
        digests = [build_digest(key) for key in keys]
        records = await self._read_records(digests)
        for key, digest, record in zip(keys, digests, records, strict=True):
            if record is not None:
                lane = self._build_key(f"due:{key.destination}")
                due = await self._link.execute("ZSCORE", lane, digest)
                found += [] if due is None else [(float(due), digest)]
        return await self._read_waiting(sorted(found))

    async def _read_waiting(self, found: Sequence[tuple[float, bytes]]) -> list[Delivery]:
        """Return the deliveries with these dues and digests."""
        digests = [digest for _, digest in found]
        if not digests:
            return []
        ahead = await self._clock.read()
        records = await self._read_records(digests)
        counts = await self._link.execute("HMGET", self._build_key("attempts"), *digests)
        waiting = []
        for (due, digest), record, count in zip(found, records, counts, strict=True):
            with suppress(ValueError):
                attempts = int(count or 0)
                delivery = parse_record(digest, record or b"", due=due, attempts=attempts)
                waiting.append(shift_delivery(delivery, -ahead))
        return waiting

    async def add_figures(self, figures: Sequence[Figure]) -> None:
        """As ``Outbox.add_figures``; all or none of one day."""
        days: dict[int, list[Argument]] = {}
        for day, *names, number in figures:
            days.setdefault(day, []).extend((msgspec.json.encode(names), number))
        for day, pairs in days.items():
            end = (day + FIGURE_DAYS + 1) * 86_400
            args = [os.urandom(TOKEN_BYTES), end, *pairs]
            await self._link.run(scripts.ADD_FIGURES, [self._build_day(day)], args)

    async def figures(self, since: int, until: int) -> list[Figure]:
        figures = []
        for day in range(since, until + 1):
            found = await self._link.execute("HGETALL", self._build_day(day))
            found.pop(scripts.TOKEN_FIELD, None)
            for field, number in found.items():
                names = msgspec.json.decode(field, type=tuple[str, str, str])
                figures.append(Figure(day, *names, int(number)))
        return sorted(figures)

    def _build_day(self, day: int) -> bytes:
        return self._build_key(f"figures:{day}")

    async def save_circuit(self, circuit: Circuit) -> None:
        circuit = shift_circuit(circuit, await self._clock.read())
        args = [circuit.destination.encode(), msgspec.json.encode(circuit)]
        await self._link.run(scripts.SAVE_CIRCUIT, self._list_keys([]), args)

    async def circuits(self) -> Mapping[str, Circuit]:
        """As ``Outbox.circuits``; one that cannot be read is left out."""
        ahead = await self._clock.read()
        found = await self._link.execute("HVALS", self._build_key("circuits"))
        circuits = {}
        for text in found:
            try:
                circuit = msgspec.json.decode(text, type=Circuit)
            except (msgspec.DecodeError, UnicodeDecodeError):
                _log.warning("outbox %s: a circuit cannot be read", self._link.name)
            else:
                circuits[circuit.destination] = shift_circuit(circuit, -ahead)
        return circuits

    async def find_weaknesses(self) -> list[Weakness]:
        return [
            Weakness(
                f"{self._link.name}: {key} is {value}: {_FORGOTTEN[key]}",
                f"CONFIG SET {key} {wanted}, and in redis.conf: {key} {wanted}",
                # With everysec a power cut costs the last second, which may be meant so.
                value != "everysec",
            )
            for key, value, wanted in await self._link.find_weak_settings()
        ]

    async def close(self) -> None:
        await self._link.close()

    def __str__(self) -> str:
        return f"Redis, {self._link.name}, prefix {self._prefix}"

    def __repr__(self) -> str:
        return f"RedisOutbox({self._link.name!r}, prefix={self._prefix!r})"

    def _list_keys(self, destinations: Iterable[str]) -> list[bytes]:
        """Return the keys of a script: the shared ones, then those of each destination."""
        return [
            *(self._build_key(name) for name in _SHARED),
            *(self._build_key(f"{part}:{name}") for name in destinations for part in _PARTS),
        ]

    def _build_key(self, name: str) -> bytes:
        return f"{{{self._prefix}}}:{name}".encode(errors="surrogatepass")

    def _build_put(
        self,
        deliveries: Sequence[Delivery],
        lanes: Mapping[str, int],
        now: float,
        token: bytes,
    ) -> list[Argument]:
        args: list[Argument] = [
            _score(now), *_horizons(now), read_limit(self._capacity, deliveries), len(lanes),
            *(name.encode() for name in lanes),
        ]  # fmt: skip
        for delivery in deliveries:
            args += (
                lanes[delivery.destination],
                build_digest(delivery.key),
                build_event_digest(delivery.event_id),
                _score(delivery.due),
                build_record(delivery, token, now),
                build_own_digest(delivery.key),
            )
        return args

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
                "outbox %s: what cannot be read is moved to %s:unreadable; deliveries to %s: %s",
                self._link.name, f"{{{self._prefix}}}", destination, kept,
            )  # fmt: skip
        args = [each for pair in records.items() for each in pair]
        await self._link.run(scripts.SET_ASIDE, self._list_keys([destination]), args)

    async def _read_destinations(self) -> list[str]:
        found = await self._link.execute("SMEMBERS", self._build_key("destinations"))
        return sorted(name.decode(errors="replace") for name in found)

    async def _parse_dead(self, rows: Iterable[Sequence[Any]]) -> list[DeadLetter]:
        letters, ahead = [], await self._clock.read()
        for digest, record, attempts, reason, buried_at in rows:
            try:
                at = float(buried_at or 0)
                delivery = parse_record(digest, record or b"", due=at, attempts=int(attempts or 0))
            except ValueError:
                _log.warning("outbox %s: a dead letter cannot be read", self._link.name)
            else:
                text = (reason or b"").decode(errors="replace")
                letters.append(shift_letter(DeadLetter(delivery, text, at), -ahead))
        return letters


def _number(names: Iterable[str]) -> dict[str, int]:
    """Return each different name with its position, counted from 1 as in Lua."""
    return {name: place for place, name in enumerate(dict.fromkeys(names), 1)}


def _read_score(found: Sequence[bytes]) -> float | None:
    """Return the score in the answer of ZRANGE for one member; ``None`` if there is none."""
    return float(found[1]) if found else None


def _horizons(now: float) -> tuple[str, str]:
    """Return since when keys are remembered: those of random ids, and of given ones."""
    return _score(now - REMEMBERED_SECONDS), _score(now - LASTING_SECONDS)


def _score(at: float) -> str:
    """Return a time as text that Redis reads back exactly.

    Raises:
        ValueError: It is not a number; a script would notice that only after its first write.
    """
    score = float(at)
    if score != score:
        raise ValueError("a time must be a number, got nan")
    return repr(score)
