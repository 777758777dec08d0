"""The spool: a file on this machine for what a shared outbox could not store.

An event that the outbox does not take within its patience goes to a SQLite file, and from there to
the outbox as soon as that works. While it does not, events go to the file at once: no visitor waits
for an outbox that is known to be away.

The file keeps the outbox's promises: what ``put`` stored is on disk, a key is stored once, and what
waits for a visitor who denies can be taken back. Processes may share it, and each of them empties
it: a delivery that is moved twice is one, by its key.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from contextvars import Context
from itertools import groupby
from pathlib import Path

from bridge.errors import OutboxError
from bridge.outbox.base import Delivery, Erased, Outbox
from bridge.outbox.sqlite.outbox import SQLiteOutbox

SPOOL = "bridge-spool.db"  # the file, relative to the process
AT_ONCE = 100  # deliveries that are moved together
LOOK = 2.0  # seconds that the outbox may take to answer at the start
POLL = 1.0  # seconds between looks at the file, and between attempts to empty it

logger = logging.getLogger("bridge.delivery")


class Spool:
    """Takes what ``outbox`` could not store, and moves it there later.

    Args:
        path: The file; created when it is first needed.
        outbox: Where everything belongs.

    Attributes:
        is_in_use: Whether the outbox failed a moment ago, so that events come here first.
    """

    def __init__(self, path: str | Path, outbox: Outbox) -> None:
        self.is_in_use = False
        self._path = str(path)
        self._store = SQLiteOutbox(self._path)
        self._outbox = outbox
        self._moving = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._stored = asyncio.Event()

    def find_obstacle(self) -> str | None:
        """Return why nothing could be stored here, or ``None``; blocks."""
        path = os.path.abspath(self._path)
        folder = os.path.dirname(path)
        if not os.path.isdir(folder):
            return f"the folder {folder} does not exist"
        place = path if os.path.exists(path) else folder
        return None if os.access(place, os.W_OK) else f"{place} may not be written"

    def start(self) -> None:
        """Empty the file from now on, on the running event loop; again is harmless."""
        loop = asyncio.get_running_loop()
        if self._task is not None and not self._task.done() and self._task.get_loop().is_running():
            return
        self._moving, self._stored = asyncio.Lock(), asyncio.Event()
        # An empty context: a request may be what starts it.
        self._task = loop.create_task(self._run(), context=Context())

    async def stop(self, deadline: float) -> None:
        """Move what is left, for at most ``deadline`` seconds; the rest stays in the file."""
        task, self._task = self._task, None
        if task is not None and task.get_loop() is asyncio.get_running_loop():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            with suppress(TimeoutError, OutboxError):
                async with asyncio.timeout(deadline):
                    if await self._has_file():
                        await self._empty()
            with suppress(OutboxError):
                if left := await self.count():
                    logger.warning("stopped, and %d deliveries wait in %s", left, self._path)
        await self._store.close()

    async def put(
        self, deliveries: Sequence[Delivery], now: float, error: OutboxError | None = None
    ) -> list[bool]:
        """Store ``deliveries`` in the file, durably; return for each whether its key is new here.

        Args:
            deliveries: What the outbox did not take.
            now: Unix seconds.
            error: Why it did not, if it was asked.

        Raises:
            OutboxError: The file does not take them either.
        """
        stored = await self._store.put(deliveries, now)
        if error is not None and not self.is_in_use:
            self.is_in_use = True
            logger.error(
                "the outbox does not take events, which wait in %s until it does: %s",
                await asyncio.to_thread(str, self),
                error,
            )
        self._stored.set()
        return stored

    async def release(self, event_name: str, event_id: str, subjects: bytes, now: float) -> int:
        """As ``Outbox.release``, for what is in the file."""
        if not await self._has_file():
            return 0
        return await self._store.release(event_name, event_id, subjects, now)

    async def withdraw(self, subjects: bytes) -> int:
        """As ``Outbox.withdraw``; to be called before the outbox's, since things move there."""
        if not await self._has_file():
            return 0
        async with self._moving:
            return await self._store.withdraw(subjects)

    async def erase(self, subjects: bytes) -> Erased:
        """As ``Outbox.erase``; to be called before the outbox's, since things move there."""
        if not await self._has_file():
            return Erased()
        async with self._moving:
            return await self._store.erase(subjects)

    async def count(self) -> int:
        """Return how many deliveries are in the file."""
        if not await self._has_file():
            return 0
        counts = await self._store.count(time.time())
        return sum(each.waiting for each in counts.values())

    async def probe(self) -> None:
        """Find out whether something could be stored here now.

        Raises:
            OutboxError: It could not.
        """
        await self._store.probe()

    async def close(self) -> None:
        """Close the file; the next call opens it again."""
        await self._store.close()

    def __str__(self) -> str:
        """Return the absolute path; blocks if it was given a relative one."""
        return os.path.abspath(self._path)

    async def _has_file(self) -> bool:
        """Return whether there is the file: this process or another has needed it."""
        return await asyncio.to_thread(os.path.exists, self._path)

    async def _run(self) -> None:
        trouble = ""
        if obstacle := await asyncio.to_thread(self.find_obstacle):
            logger.warning(
                "there is no spool, since %s: events that the outbox does not take are lost; see"
                " BRIDGE_SPOOL",
                obstacle,
            )
        await self._look()
        while True:
            try:
                if self.is_in_use or await self._has_file():
                    await self._empty()
                trouble = ""
            except OutboxError as error:
                if trouble != (trouble := type(error).__name__):
                    logger.debug("spool: cannot be emptied: %s", error)
            except Exception:
                # Whatever it is, the file keeps what it has.
                logger.exception("spool: unexpected error")
            self._stored.clear()
            if self.is_in_use or trouble:
                await asyncio.sleep(POLL)
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL):
                        await self._stored.wait()

    async def _look(self) -> None:
        """Find out whether the outbox is away from the start: then the first visitor need not."""
        try:
            async with asyncio.timeout(LOOK):
                await self._outbox.probe()
        except (OutboxError, TimeoutError) as error:
            self.is_in_use = True
            logger.error(
                "the outbox does not answer; events wait in %s until it does: %s",
                await asyncio.to_thread(str, self),
                error,
            )
        except Exception:
            logger.exception("spool: unexpected error")

    async def _empty(self) -> None:
        """Move all that is in the file to the outbox."""
        while await self._move():
            if self.is_in_use:
                self.is_in_use = False
                logger.warning("the outbox takes events again")
        if self.is_in_use:  # nothing was left to try it with
            await self._outbox.probe()
            self.is_in_use = False

    async def _move(self) -> int:
        """Move some deliveries to the outbox; return how many.

        They are marked in the file only after the outbox has them, so a crash moves them again.
        Meanwhile nobody takes anything back: it would come to the outbox behind them.
        """
        async with self._moving:
            found = await self._store.list_waiting(limit=AT_ONCE)
            now = time.time()
            events = [list(group) for _, group in groupby(found, key=lambda each: each.key[1:])]
            answers = await asyncio.gather(
                *(self._outbox.put(event, now) for event in events), return_exceptions=True
            )
            moved = [
                delivery
                for event, answer in zip(events, answers, strict=True)
                for delivery in event
                if not isinstance(answer, BaseException)
            ]
            await self._store.ack(moved, now)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return len(moved)
