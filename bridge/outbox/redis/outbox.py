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

What waits is kept in one slot, or in several: an event's name and id say in which, so that all its
deliveries are together, and are stored all or none. In a cluster there are 16 unless the URL says
otherwise, ``?slots=32``, so that all its masters share the work; ``slot.py`` lists the keys of one.
A slot takes its share of the capacity. A put of several events stores those of each slot all or
none, and is to be tried again if it fails. Claims take from the slots in turn, from each the oldest
due first. How many there are is written down by the first put, and holds from then on, whatever
later URLs say: otherwise what waits would be looked for in the wrong slots.

    {bridge}:slots               how many slots there are
    {bridge}:circuits            hash  destination → its circuit, JSON
    {bridge}:figures:DAY         hash  destination, event name and kind, JSON → number; for 90 days

Source: Google Cloud, "ClusterPersistenceConfig.AOFConfig.AppendFsync" and "Supported instance
configurations", Maxmemory policies, read 2026-11-24.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
import os
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from bridge.errors import ConfigError, OutboxError
from bridge.outbox.base import (
    CAPACITY,
    FIGURE_DAYS,
    REMEMBER_DAYS,
    Circuit,
    Counts,
    DeadLetter,
    Delivery,
    Erased,
    Figure,
    Key,
    Outbox,
    Weakness,
    build_memory,
    check_capacity,
    digest_texts,
    list_keys,
    refuse_connection,
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
from bridge.outbox.redis.records import TOKEN_BYTES
from bridge.outbox.redis.slot import Slot

_log = logging.getLogger("bridge.outbox")

_SLOTS_A_CLAIM = 4  # more would mean many small claims and acks while little waits
_MAX_UNCONFIRMED = 10_000  # puts that failed, and that may be tried again

# What each setting loses, if it is not as it should be.
_FORGOTTEN = {
    "appendonly": "a restart of the server loses what was stored since its last snapshot",
    "appendfsync": "a power cut loses the last second, or more",
    "maxmemory-policy": "a full memory deletes waiting events",
}


Result = TypeVar("Result")
Item = TypeVar("Item", Delivery, Key)


class RedisOutbox(Outbox):
    """Deliveries on a Redis server or cluster that many machines share.

    Args:
        url: ``redis://[user:password@]host[:port][/db]``, ``rediss://`` with TLS, ``unix://`` and
            the socket's path, ``redis+sentinel://host:26379,host2:26379/mymaster[/db]`` for the
            server that sentinels choose; ``?cluster=true`` for a cluster, ``?slots=32``,
            ``?replicas=1`` and ``?allow_eviction=true`` as above.
        prefix: What all keys begin with. Apps with different prefixes share a server independently.
        capacity: How many deliveries may wait or be dead; all are in the server's memory.
        remember_days: As for ``Bridge``. Of delivered keys, those of a whole day are forgotten at
            once, and those of given ids of two weeks; until then they take memory.

    Raises:
        ConfigError: The URL, the prefix or a number is wrong.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "bridge",
        capacity: int = CAPACITY,
        remember_days: float = REMEMBER_DAYS,
    ) -> None:
        if not prefix or set(prefix) & set("{}"):
            raise ConfigError(f"prefix must be text without braces, got {prefix!r}")
        self._link = RedisLink(url)
        self._prefix = prefix
        self._capacity = check_capacity(capacity)
        self._memory = build_memory(remember_days)
        self._slots = self._build_slots(self._link.slots)
        self._is_settled = False  # whether their number is known to be the stored one
        self._turn = 0  # the slot at which the next claim begins
        self._unconfirmed: dict[tuple[Any, ...], bytes] = {}  # tokens, by when and what was put
        self._wall = time.time
        self._clock = Clock(self._ask_time, self._wall)

    def _build_slots(self, number: int) -> list[Slot]:
        names = [self._prefix] if number == 1 else [f"{self._prefix}:{n}" for n in range(number)]
        share = -(-self._capacity // number)
        return [Slot(self._link, f"{{{name}}}", share, self._memory) for name in names]

    async def _find_slots(self, *, is_put: bool = False) -> list[Slot]:
        """Return the slots that the server has; a put writes their number down if none did."""
        if self._is_settled:
            return self._slots
        key, ours = self._build_key("slots"), len(self._slots)
        if is_put:
            stored = await self._link.run(scripts.SETTLE_SLOTS, [key], [ours])
        else:
            stored = await self._link.execute("GET", key)
        if stored is not None:
            number = int(stored)
            if number != ours:
                self._slots = self._build_slots(number)
                _log.warning(
                    "outbox %s: its events are in %d slots, not %d: to change that, deliver all,"
                    " stop its processes, and delete %s",
                    self._link.name, number, ours, key.decode(errors="replace"),
                )  # fmt: skip
            self._is_settled = True
        return self._slots

    async def _find_slot(self, event_name: str, event_id: str) -> Slot:
        slots = await self._find_slots()
        return slots[_place(event_name, event_id, len(slots))]

    async def _sort(self, items: Sequence[Item]) -> list[tuple[Slot, list[Item]]]:
        """Return deliveries or keys by slot."""
        slots = await self._find_slots()
        found: dict[int, list[Item]] = {}
        for item in items:
            place = _place(item.event_name, item.event_id, len(slots))
            found.setdefault(place, []).append(item)
        return [(slots[place], own) for place, own in found.items()]

    async def _ask_all(self, work: Callable[[Slot], Awaitable[Result]]) -> list[Result]:
        """Return what ``work`` returns for each slot, all asked at the same time."""
        return await _gather(work(slot) for slot in await self._find_slots())

    async def _ask_time(self) -> float:
        # Of one server for all slots: a cluster's nodes have clocks of their own.
        seconds, microseconds = await self._link.run(scripts.TIME, [self._build_key("slots")], [])
        return int(seconds) + int(microseconds) / 1e6

    async def put(
        self, deliveries: Sequence[Delivery], now: float, *, connection: Any = None
    ) -> list[bool]:
        """As ``Outbox.put``; of several slots, what is in each is stored all or none.

        Raises:
            OutboxError: The server failed, or did not answer within 5 seconds. It may have stored
                the deliveries all the same; then they are delivered.
            OutboxFullError: The capacity or the server's memory is used up.
            ConfigError: ``connection`` was given: Redis cannot take part in a transaction.
        """
        refuse_connection("RedisOutbox", connection)
        if not deliveries:
            return []
        await self._link.refuse_eviction(slot.keys for slot in self._slots)
        slots = await self._find_slots(is_put=True)
        ahead = await self._clock.read()
        places: dict[int, list[int]] = {}
        for n, each in enumerate(deliveries):
            place = _place(each.event_name, each.event_id, len(slots))
            places.setdefault(place, []).append(n)
        call = (now, *(each.key for each in deliveries))
        unconfirmed = self._unconfirmed.pop(call, None)
        token = unconfirmed or os.urandom(TOKEN_BYTES)

        async def store(place: int, own: Sequence[int]) -> list[bool]:
            shifted = [shift_delivery(deliveries[n], ahead) for n in own]
            is_repeat = unconfirmed is not None
            return await slots[place].put(shifted, now + ahead, token, is_repeat=is_repeat)

        try:
            answers = await _gather(store(place, own) for place, own in places.items())
        except OutboxError as error:
            # What is stored may be put again: then it is ours, and new.
            if isinstance(error, UnconfirmedError) or len(places) > 1:
                if len(self._unconfirmed) >= _MAX_UNCONFIRMED:
                    self._unconfirmed.clear()
                self._unconfirmed[call] = token
            raise
        new = [False] * len(deliveries)
        for own, answer in zip(places.values(), answers, strict=True):
            for n, is_new in zip(own, answer, strict=True):
                new[n] = is_new
        return new

    async def claim(
        self, destination: str, limit: int, *, now: float, lease: float
    ) -> list[Delivery]:
        """As ``Outbox.claim``; of several slots, each in turn is the first."""
        if limit < 1:
            return []
        ahead = await self._clock.read()
        now += ahead
        slots = await self._find_slots()
        if len(slots) == 1:
            claimed = await slots[0].claim(destination, limit, now, now + lease)
        else:
            claimed = await self._claim_in_turn(slots, destination, limit, now, now + lease)
        return [shift_delivery(each, -ahead) for each in claimed]

    async def _claim_in_turn(
        self, slots: Sequence[Slot], destination: str, limit: int, now: float, due: float
    ) -> list[Delivery]:
        step = min(_SLOTS_A_CLAIM, len(slots), limit)
        for _ in range(0, len(slots), step):
            turn = [slots[(self._turn + n) % len(slots)] for n in range(step)]
            self._turn += step
            works = [slot.claim(destination, limit // step, now, due) for slot in turn]
            if claimed := [each for own in await _gather(works, keeps_some=True) for each in own]:
                return claimed
        return []

    async def ack(self, deliveries: Sequence[Delivery], now: float) -> None:
        now += await self._clock.read()
        await _gather(slot.ack(own, now) for slot, own in await self._sort(deliveries))

    async def retry(self, deliveries: Sequence[Delivery], due: float) -> int:
        due += await self._clock.read()
        keys = await self._sort([each.key for each in deliveries])
        return sum(await _gather(slot.retry(own, due) for slot, own in keys))

    async def bury(self, deliveries: Sequence[Delivery], reason: str, now: float) -> None:
        now += await self._clock.read()
        keys = await self._sort([each.key for each in deliveries])
        await _gather(slot.bury(own, reason, now) for slot, own in keys)

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
        now += await self._clock.read()
        slot = await self._find_slot(event_name, event_id)
        return await slot.release(event_name, event_id, subjects, now, destinations)

    async def has(
        self,
        event_name: str,
        event_id: str,
        now: float,
        *,
        destinations: Collection[str] | None = None,
        within: float = math.inf,
    ) -> bool:
        now += await self._clock.read()
        slot = await self._find_slot(event_name, event_id)
        return await slot.has(event_name, event_id, now, destinations, within)

    async def next_due(self, destination: str, until: float = math.inf) -> float | None:
        ahead = await self._clock.read()
        found = await self._ask_all(lambda slot: slot.read_due(destination))
        due = min((each - ahead for each in found if each is not None), default=math.inf)
        return None if due > until or due == math.inf else due

    async def probe(self) -> None:
        await self._link.refuse_eviction(slot.keys for slot in self._slots)
        await self._ask_all(lambda slot: slot.probe())

    async def count(self, now: float, *, with_delivered: bool = False) -> Mapping[str, Counts]:
        """As ``Outbox.count``; also forgets keys that are old enough.

        ``ack`` does that too, but not for a destination to which nothing is delivered any more.
        """
        ahead = await self._clock.read()
        found = await self._ask_all(
            lambda slot: slot.count(now + ahead, with_delivered=with_delivered)
        )
        counts: dict[str, Counts] = {}
        for each in found:
            for name, own in each.items():
                counts[name] = counts.get(name, Counts()).add(own)
        return {name: shift_counts(own, -ahead) for name, own in counts.items() if own != Counts()}

    async def list_dead(
        self, *, destination: str | None = None, limit: int = 100, offset: int = 0
    ) -> list[DeadLetter]:
        """As ``Outbox.list_dead``; those that cannot be read are left out."""
        if limit < 1:
            return []
        ahead, slots = await self._clock.read(), await self._find_slots()
        if len(slots) == 1:
            letters = await slots[0].list_dead(destination, offset, limit)
        else:
            end = offset + limit
            found = await self._ask_all(lambda slot: slot.list_dead(destination, 0, end))
            letters = _merge_dead(found)[offset:end]
        return [shift_letter(each, -ahead) for each in letters]

    async def find_dead(self, event_id: str) -> list[DeadLetter]:
        ahead = await self._clock.read()
        found = await self._ask_all(lambda slot: slot.find_dead(event_id))
        return [shift_letter(each, -ahead) for each in _merge_dead(found)]

    async def revive(self, keys: Sequence[Key], now: float) -> int:
        now += await self._clock.read()
        sorted_keys = await self._sort([Key(*key) for key in keys])
        return sum(await _gather(slot.revive(own, now) for slot, own in sorted_keys))

    async def drop(self, keys: Sequence[Key]) -> int:
        sorted_keys = await self._sort([Key(*key) for key in keys])
        return sum(await _gather(slot.drop(own) for slot, own in sorted_keys))

    async def drop_old(self, before: float, limit: int) -> int:
        before += await self._clock.read()
        dropped = 0
        for slot in await self._find_slots():
            if dropped < limit:
                dropped += await slot.drop_old(before, limit - dropped)
        return dropped

    async def withdraw(self, subjects: bytes) -> int:
        return sum(await self._ask_all(lambda slot: slot.withdraw(subjects)))

    async def erase(self, subjects: bytes) -> Erased:
        """As ``Outbox.erase``; reads a million subjects in 4 s, in pieces of a thousand."""
        found = await self._ask_all(lambda slot: slot.erase(subjects))
        return Erased(sum(each.waiting for each in found), sum(each.dead for each in found))

    async def list_waiting(
        self, *, destination: str | None = None, limit: int = 100, offset: int = 0
    ) -> list[Delivery]:
        """As ``Outbox.list_waiting``; those that cannot be read are left out."""
        start, end = max(0, offset), max(0, offset) + max(0, limit)
        if end <= start:
            return []
        found = await self._ask_all(lambda slot: slot.list_waiting(destination, end))
        entries = [
            (*entry, slot) for slot, own in zip(self._slots, found, strict=True) for entry in own
        ]
        entries.sort(key=lambda entry: entry[:2])
        return await self._read_waiting(entries[start:end])

    async def find(self, event_id: str, event_names: Iterable[str]) -> list[Delivery]:
        entries: list[tuple[float, bytes, Slot]] = []
        for name in dict.fromkeys(event_names):
            slot = await self._find_slot(name, event_id)
            keys = list_keys(event_id, [name], await slot.read_destinations())
            entries += [(*entry, slot) for entry in await slot.find(keys)]
        return await self._read_waiting(sorted(entries, key=lambda entry: entry[:2]))

    async def _read_waiting(self, entries: Sequence[tuple[float, bytes, Slot]]) -> list[Delivery]:
        """Return the deliveries with these dues and digests, in the slots that have them."""
        ahead, found = await self._clock.read(), dict[bytes, Delivery]()
        by_slot: dict[Slot, list[tuple[float, bytes]]] = {}
        for due, digest, slot in entries:
            by_slot.setdefault(slot, []).append((due, digest))
        for slot, own in by_slot.items():
            found |= await slot.read_waiting(own)
        return [
            shift_delivery(found[digest], -ahead) for _, digest, _ in entries if digest in found
        ]

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
        await self._link.run(scripts.SAVE_CIRCUIT, [self._build_key("circuits")], args)

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

    def _build_key(self, name: str) -> bytes:
        return f"{{{self._prefix}}}:{name}".encode(errors="surrogatepass")


def _place(event_name: str, event_id: str, slots: int) -> int:
    """Return the slot of an event, whatever its destinations."""
    if slots == 1:
        return 0
    return int.from_bytes(digest_texts([event_name, event_id], 8)) % slots


async def _gather(works: Iterable[Awaitable[Result]], *, keeps_some: bool = False) -> list[Result]:
    """Return the results of ``works``, once all have ended.

    Raises the first ``OutboxError`` of them; if it ``keeps_some``, only if no result is true.
    """
    every = list(works)
    if len(every) == 1:
        return [await every[0]]
    ended = await asyncio.gather(*every, return_exceptions=True)
    errors = [each for each in ended if isinstance(each, BaseException)]
    results = [each for each in ended if not isinstance(each, BaseException)]
    if errors and not (keeps_some and any(results)):
        raise errors[0]
    return results


def _merge_dead(found: Iterable[Iterable[DeadLetter]]) -> list[DeadLetter]:
    """Return the dead letters of all slots, newest first."""
    return [*heapq.merge(*found, key=lambda letter: letter.buried_at, reverse=True)]
