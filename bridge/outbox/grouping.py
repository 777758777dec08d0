"""Group commit: puts that wait at the same moment become one call of the engine's server.

A server takes about as long for a hundred events as for one: a round trip, a statement or script,
and a commit. So puts that arrive while a call is running wait for the next one. Each put gets its
own answer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from bridge.errors import OutboxError

MAX_ROWS = 1000  # of one group; the last put may exceed it
MAX_BYTES = 4 * 1024 * 1024  # of its bodies; the last put may exceed it

Content = TypeVar("Content")
Answer = TypeVar("Answer")


class Put(Generic[Content, Answer]):
    """What one caller stores.

    Attributes:
        content: As the engine takes it.
        rows: How many deliveries it has.
        size: Bytes of their bodies.
        deadline: When its caller gives up, by the event loop's time.
        answer: What its caller waits for.
    """

    def __init__(self, content: Content, rows: int, size: int, deadline: float) -> None:
        self.content = content
        self.rows = rows
        self.size = size
        self.deadline = deadline
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def settle(self, answer: Answer) -> None:
        """Answer its caller, who may be gone."""
        if not self.answer.done():
            self.answer.set_result(answer)

    def fail(self, error: OutboxError) -> None:
        """Raise a copy of ``error`` at its caller; others get the same error."""
        if not self.answer.done():
            own = type(error)(*error.args)
            own.__cause__ = error.__cause__
            self.answer.set_exception(own)


class Groups(Generic[Content, Answer]):
    """Hands puts to ``store`` in groups, of which ``places`` are under way at the same time.

    ``store`` settles or fails each put of its group, and raises nothing.
    """

    def __init__(
        self, store: Callable[[Sequence[Put[Content, Answer]]], Awaitable[None]], places: int
    ) -> None:
        self._store = store
        self._places = places
        self._waiting: deque[Put[Content, Answer]] = deque()
        self._under_way: set[asyncio.Task[None]] = set()

    def add(self, put: Put[Content, Answer]) -> None:
        """Store ``put`` soon."""
        self._waiting.append(put)
        self._start()

    @property
    def tasks(self) -> set[asyncio.Task[None]]:
        """What is under way."""
        return set(self._under_way)

    def _start(self) -> None:
        if self._waiting and len(self._under_way) < self._places:
            task = asyncio.create_task(self._store_group())
            self._under_way.add(task)
            task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._start()

    async def _store_group(self) -> None:
        if group := self._take():
            await self._store(group)

    def _take(self) -> list[Put[Content, Answer]]:
        """Return the puts of the next group, without those whose callers are gone."""
        group: list[Put[Content, Answer]] = []
        rows = size = 0
        while self._waiting and rows < MAX_ROWS and size < MAX_BYTES:
            put = self._waiting.popleft()
            if not put.answer.done():
                group.append(put)
                rows += put.rows
                size += put.size
        return group
