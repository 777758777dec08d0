"""What is put into one slot of the Redis outbox: together with what others put at the moment."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from redis.exceptions import OutOfMemoryError

from bridge.errors import OutboxError, OutboxFullError
from bridge.outbox.base import Delivery, build_full_error, read_limit
from bridge.outbox.grouping import Groups, Put
from bridge.outbox.redis import link, scripts
from bridge.outbox.redis.keys import SlotKeys, format_score, number_names
from bridge.outbox.redis.link import Argument, RedisLink
from bridge.outbox.redis.memory import DeliveredKeys, to_milliseconds
from bridge.outbox.redis.records import (
    build_digest,
    build_event_digest,
    build_own_digest,
    build_record,
)

_log = logging.getLogger("bridge.outbox")

_MAX_SCRIPTS = 1  # that store, of one slot and event loop; what waits for it goes together

Row = tuple[str, Sequence[Argument]]  # of what is put: the destination, and the rest for the script


class _Content(NamedTuple):
    """What one put stores.

    Attributes:
        now: When it is stored.
        head: What the script takes for the whole put.
        rows: What it takes for each delivery.
        limit: How many may be held afterwards.
        is_repeat: Whether it was put before, and failed.
    """

    now: float
    head: Sequence[Argument]
    rows: Sequence[Row]
    limit: int
    is_repeat: bool


_Stored = Put[_Content, list[bool]]


class SlotPuts:
    """Stores what callers put into one slot.

    Args:
        link: The server or cluster.
        keys: The keys of the slot.
        delivered: What is remembered of those that were delivered.
        capacity: How many deliveries may wait or be dead.
    """

    def __init__(
        self, link: RedisLink, keys: SlotKeys, delivered: DeliveredKeys, capacity: int
    ) -> None:
        self._link = link
        self._keys = keys
        self._delivered = delivered
        self._capacity = capacity
        self._name = f"{link.name}, {keys.tag}"
        self._groups: dict[asyncio.AbstractEventLoop, Groups[_Content, list[bool]]] = {}
        self._is_short = False  # whether a lack of memory was logged

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
            head: list[Argument] = [
                format_score(now),
                to_milliseconds(now),
                *self._delivered.list_horizons(now),
                limit,
                len(rows),
            ]
        except (TypeError, ValueError) as error:
            raise OutboxError(f"outbox {self._link.name}: {error}") from error
        deadline = asyncio.get_running_loop().time() + link.TIMEOUT
        size = sum(len(each.body) for each in deliveries)
        content = _Content(now, head, rows, limit, is_repeat)
        put: _Stored = Put(content, len(rows), size, deadline)
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
        lanes = number_names(name for each in contents for name, _ in each.rows)
        random, given = self._delivered.list_hashes(each.now for each in contents)
        args: list[Argument] = [len(random), len(given), len(lanes)]
        args += (name.encode() for name in lanes)
        for each in contents:
            args += (int(each.is_repeat), *each.head)
            for name, rest in each.rows:
                args += (lanes[name], *rest)
        keys = [*self._keys.list_all(lanes), *random, *given]
        return await self._link.run(scripts.PUT, keys, args, is_put=True)

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
                if not await self._delivered.forget_oldest():
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
        held = await self._make_room(
            lambda: self._link.run(scripts.PROBE, self._keys.list_all([]), [])
        )
        if held >= self._capacity:
            raise build_full_error(self._name, held, self._capacity, self._capacity)
