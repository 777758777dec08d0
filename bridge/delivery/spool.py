"""The spool: a file on this machine for what a shared outbox could not store.

An event that the outbox does not take within its patience goes to a SQLite file, and from there to
the outbox as soon as that works. While it does not, events go to the file at once: no visitor waits
for an outbox that is known to be away.

The file keeps the outbox's promises: what ``put`` stored is on disk, a key is stored once, and what
waits for a visitor who denies can be taken back. Processes may share it: one at a time moves what
is there, and nobody takes anything back meanwhile, since it would come to the outbox behind them.

What the outbox itself could not take back for a visitor who denied waits here, too, as a delivery
to ``WITHDRAWALS`` whose body are the subjects.
"""

from __future__ import annotations

import asyncio
import glob
import logging
import os
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from bridge.errors import OutboxError
from bridge.outbox.base import Delivery, Erased, Outbox, digest_texts
from bridge.outbox.sqlite.locks import FileLock
from bridge.outbox.sqlite.outbox import SQLiteOutbox

SPOOL = "bridge-spool.db"  # the file, relative to the process; its name goes on with the outbox's
AT_ONCE = 100  # deliveries to one destination that are moved together
POLL = 1.0  # seconds between looks at the file, and between attempts to empty it
LOOK = 2.0  # seconds that the outbox may take to answer at the start
MOVE_TIMEOUT = 2.0  # seconds that the outbox may take for what is moved together
HOLD_OFF = 3.0  # seconds that a withdrawal waits for a move to end
LOCK_POLL = 0.02  # seconds between attempts to lock the file
LEASE = 30.0  # seconds after which what a killed process was moving is moved again
MONTH = 30 * 86_400.0  # seconds for which a withdrawal is kept
WITHDRAWALS = "withdrawals"
MOVED = "moved"  # the reason of what is on its way out

logger = logging.getLogger("bridge.delivery")


class Spool:
    """Takes what ``outbox`` could not store, and moves it there later.

    Args:
        path: The file; created when it is first needed. Its name is continued with a digest of the
            outbox's address: two apps in one folder have a file each.
        outbox: Where everything belongs.

    Attributes:
        is_in_use: Whether the outbox failed a moment ago, so that events come here first.
        trouble: Why what is here does not leave though the outbox works; empty if it does.
    """

    def __init__(self, path: str | Path, outbox: Outbox) -> None:
        self.is_in_use = False
        self.trouble = ""
        stem, suffix = os.path.splitext(str(path))
        is_named = type(outbox).__str__ is not object.__str__
        name = f"-{digest_texts([str(outbox)], 4).hex()}" if is_named else ""
        self._pattern = f"{glob.escape(stem)}-*{suffix}"
        self._path = f"{stem}{name}{suffix}"
        self._store = SQLiteOutbox(self._path)
        self._outbox = outbox
        self._task: asyncio.Task[None] | None = None
        self._stored = asyncio.Event()

    @property
    def path(self) -> str:
        """Where the file is, as it was given."""
        return self._path

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
        self._stored = asyncio.Event()
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
                    if await self._has_file() and not self.is_in_use:
                        await self._empty()
            with suppress(OutboxError):
                if left := await self.count():
                    logger.warning("stopped; waiting in %s: %d", self._path, left)
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

    async def keep_withdrawal(self, subjects: bytes, now: float) -> bool:
        """Have ``subjects`` withdrawn once the outbox works; return whether that is kept."""
        kept = Delivery(
            destination=WITHDRAWALS,
            event_name=WITHDRAWALS,
            event_id=str(uuid.uuid4()),
            body=subjects,
            due=now,
            expires=now + MONTH,
        )
        try:
            await self._store.put([kept], now)
        except OutboxError as error:
            logger.error("spool: %s", error)
            return False
        self._stored.set()
        return True

    async def release(
        self,
        event_name: str,
        event_id: str,
        subjects: bytes,
        now: float,
        *,
        destinations: Collection[str] | None = None,
    ) -> int:
        """As ``Outbox.release``, for what is in the file; 0 if that is broken."""
        return await self._try(
            lambda: self._store.release(
                event_name, event_id, subjects, now, destinations=destinations
            )
        )

    async def withdraw(self, subjects: bytes) -> int:
        """As ``Outbox.withdraw``, and to be called before it; 0 if the file is broken."""
        if not await self._has_file():
            return 0
        async with self._alone(HOLD_OFF):
            return await self._try(lambda: self._store.withdraw(subjects))

    async def erase(self, subjects: bytes) -> Erased:
        """As ``Outbox.erase``, and to be called before it.

        Raises:
            OutboxError: The file is broken: what it holds of them is not erased.
        """
        if not await self._has_file():
            return Erased()
        async with self._alone(HOLD_OFF):
            return await self._store.erase(subjects)

    async def count(self) -> int:
        """Return how many deliveries are in the file."""
        if not await self._has_file():
            return 0
        counts = await self._store.count(time.time())
        return sum(each.waiting for name, each in counts.items() if name != WITHDRAWALS)

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

    async def _try(self, work: Callable[[], Awaitable[int]]) -> int:
        """Return what ``work`` on the file returns; 0 without a file, or if it is broken."""
        if not await self._has_file():
            return 0
        try:
            return await work()
        except OutboxError as error:
            self._tell(f"the spool cannot be used: {error}")
            return 0

    def _tell(self, trouble: str) -> None:
        """Log what is wrong, once, and keep it for health."""
        if trouble != self.trouble:
            logger.error("spool: %s", trouble)
        self.trouble = trouble

    @asynccontextmanager
    async def _alone(self, patience: float) -> AsyncIterator[bool]:
        """Keep the moves of all processes away; yield whether that worked within ``patience``."""
        # One for each use: two of the same open file would not exclude each other.
        lock = FileLock(f"{self._path}-move")
        end = time.monotonic() + patience
        try:
            is_alone = await asyncio.to_thread(lock.take)
            while not is_alone and time.monotonic() < end:
                await asyncio.sleep(LOCK_POLL)
                is_alone = await asyncio.to_thread(lock.take)
            yield is_alone
        finally:
            lock.close()

    async def _has_file(self) -> bool:
        """Return whether there is the file: this process or another has needed it."""
        return await asyncio.to_thread(os.path.exists, self._path)

    async def _run(self) -> None:
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
                self.trouble = ""
            except (OutboxError, TimeoutError) as error:
                await self._judge(error)
            except Exception as error:
                # Whatever it is, the file keeps what it has.
                logger.exception("spool: unexpected error")
                self.trouble = f"what waits in the spool cannot be moved: {error}"
            self._stored.clear()
            if self.is_in_use or self.trouble:
                await asyncio.sleep(POLL)
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL):
                        await self._stored.wait()

    async def _look(self) -> None:
        """Look at outbox and file at the start: then no visitor need find out."""
        for other in await asyncio.to_thread(glob.glob, self._pattern):
            if other != self._path:
                logger.warning("%s is a spool of another outbox; nobody here moves it", other)
        if await self._has_file():
            await self._try(lambda: self._store.release("", "", b"", time.time()))
        try:
            async with asyncio.timeout(LOOK):
                await self._outbox.probe()
        except (OutboxError, TimeoutError) as error:
            self.is_in_use = True
            logger.error(
                "the outbox does not answer; events wait in %s until it does: %s",
                await asyncio.to_thread(str, self),
                str(error) or f"nothing came within {LOOK:g} s",
            )
        except Exception:
            logger.exception("spool: unexpected error")

    async def _judge(self, error: Exception) -> None:
        """Find out whether a move failed for the outbox, which was told, or for something else."""
        try:
            async with asyncio.timeout(LOOK):
                await self._outbox.probe()
        except (OutboxError, TimeoutError):
            return
        self._tell(f"what waits in the spool cannot be moved: {str(error) or 'it takes too long'}")

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
        """Move some deliveries of each destination to the outbox; return how many.

        They leave the file only after the outbox has them, so a crash moves them again.
        """
        total = 0
        async with self._alone(0.0) as is_alone:
            if not is_alone:
                return 0  # another process does
            counts = await self._store.count(time.time())
            names = [name for name, each in counts.items() if each.waiting]
            # Withdrawals first: what was tracked after a new consent must not go with them.
            for name in sorted(names, key=lambda name: name != WITHDRAWALS):
                now = time.time()
                claimed = await self._store.claim(name, AT_ONCE, now=now, lease=LEASE)
                moved: list[Delivery] = []
                try:
                    async with asyncio.timeout(MOVE_TIMEOUT):
                        if name == WITHDRAWALS:
                            for each in claimed:
                                await self._outbox.withdraw(each.body)
                                moved.append(each)
                        else:
                            await self._store_all(claimed, now, moved)
                finally:
                    await self._remove(moved, now)
                    keys = {each.key for each in moved}
                    await self._store.retry([e for e in claimed if e.key not in keys], now)
                total += len(moved)
            await self._drop_moved()
        return total

    async def _store_all(
        self, deliveries: Sequence[Delivery], now: float, moved: list[Delivery]
    ) -> None:
        """Put ``deliveries`` into the outbox; add to ``moved`` those that are there."""

        async def store(event: list[Delivery]) -> None:
            # Due is now when its lease here ends: it was due when it was claimed.
            await self._outbox.put([replace(each, due=now, attempts=0) for each in event], now)
            moved.extend(event)

        events = [list(group) for _, group in groupby(deliveries, key=lambda each: each.key[1:])]
        answers = await asyncio.gather(*map(store, events), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer

    async def _remove(self, deliveries: Sequence[Delivery], now: float) -> None:
        """Take moved deliveries out of the file, and forget their keys: the outbox knows them."""
        if deliveries:
            await self._store.bury(deliveries, MOVED, now)
            await self._store.drop([each.key for each in deliveries])

    async def _drop_moved(self) -> None:
        """Take out what was moved when a process was killed."""
        dead = await self._store.list_dead(limit=AT_ONCE)
        await self._store.drop([each.delivery.key for each in dead if each.reason == MOVED])
