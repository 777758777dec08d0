"""The thread that owns a connection to the outbox's file.

Strategy: group commit. Whatever has queued up since the last commit runs as one transaction, so
that a hundred concurrent requests wait for one disk flush instead of a hundred, and the event loop
never waits for a disk. While another process holds the lock, the jobs wait here, each until its own
deadline.

What a request waits for is urgent, and goes before what the sender does. Between two groups of
urgent jobs the sender has one transaction, of few rows; the disk need not confirm it: after a power
cut, what was claimed is due again, and what was delivered may be sent once more. The sender steps
aside for what is urgent in other processes, too: SQLite's own waiting would starve them, since it
looks again ever less often.
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from bridge.errors import OutboxFullError
from bridge.outbox.sqlite.checkpoint import Checkpoints
from bridge.outbox.sqlite.damage import Damage, is_damage
from bridge.outbox.sqlite.file import (
    MEMORY,
    OutboxFile,
    build_error,
    is_broken,
    is_full,
    is_locked,
    open_file,
    read_identity,
)
from bridge.outbox.sqlite.locks import FileLock

LET_GO = 5.0  # seconds that one thread waits for another to close the file
MAX_GROUP = 2000  # jobs of one commit; those handed over with the last one come on top
LOCK_POLL = 0.001  # seconds between attempts to lock the file
STEP_ASIDE = 0.25  # seconds that the sender steps aside at most for each transaction
BUSY = 1.0  # seconds after something urgent for which the sender rests between transactions
QUIET = 2.0  # seconds without anything urgent after which the sender may change more rows at once
REST = 3.0  # times what its last transaction took

Work = Callable[[OutboxFile], Any]
How = Literal["IMMEDIATE", "DEFERRED"]

logger = logging.getLogger("bridge.outbox")


@dataclass(slots=True)
class Job:
    """One piece of work, and the future that waits for its commit.

    Attributes:
        work: Called within a transaction, perhaps several times; the last call counts.
        patience: How long it may wait for another process's lock, in seconds.
        deadline: When that time is over, on the monotonic clock.
        is_urgent: Whether a request waits for it.
    """

    work: Work
    patience: float
    deadline: float
    is_urgent: bool
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None

    def settle(self) -> None:
        """Resolve the future; called on its own loop."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


def build_job(work: Work, patience: float, *, is_urgent: bool = True) -> Job:
    """Return a job of the running event loop; its patience starts now."""
    loop = asyncio.get_running_loop()
    deadline = time.monotonic() + patience
    return Job(work, patience, deadline, is_urgent, loop, loop.create_future())


class FileThread:
    """Runs jobs on the file at ``path``, one transaction for all urgent ones that queued up.

    Args:
        path: Of the file.
        how: How transactions begin: to write, or to read.
        let_go_others: Has the other threads of the same outbox close the file.
        damage: What is known of damage to the file; shared by the threads of an outbox.
    """

    def __init__(
        self,
        path: str,
        how: How,
        let_go_others: Callable[[], None],
        damage: Damage | None = None,
    ) -> None:
        self._path = path
        self._how = how
        self._turn: FileLock | None = None  # shared by those that wait to write
        self._checkpoints: Checkpoints | None = None
        self._damage = damage or Damage()
        self._let_go_others = let_go_others
        # No SimpleQueue: its get() with a timeout of microseconds may wait for ever. What is left
        # of it is computed to be less than nothing, which its lock takes for no timeout at all.
        # Source: CPython 3.11, Modules/_queuemodule.c, tried 2026-11-30.
        self._jobs: queue.Queue[Sequence[Job] | threading.Event | None] = queue.Queue()
        self._file: OutboxFile | None = None
        self._busy_until = self._rest_until = 0.0  # monotonic seconds
        self._stopped = False
        self._lock = threading.Lock()  # of _stopped; held for an instant
        self._thread: threading.Thread | None = None

    def submit(self, *jobs: Job) -> bool:
        """Queue ``jobs``; return false if the thread was stopped.

        Raises:
            RuntimeError: The thread cannot be started.
        """
        with self._lock:
            if self._stopped:
                return False
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="bridge-outbox", daemon=True)
                thread.start()
                self._thread = thread
            self._jobs.put(jobs)
        return True

    @property
    def is_quiet(self) -> bool:
        """Whether nothing urgent was written for long, here or by another process."""
        return time.monotonic() > self._busy_until + QUIET

    def let_go(self) -> None:
        """Close the file until the next job; blocks until then."""
        closed = threading.Event()
        with self._lock:
            if self._stopped or self._thread is None:
                return
            self._jobs.put(closed)
        closed.wait(LET_GO)

    def stop(self) -> None:
        """Finish what is queued and close the file; blocks until then."""
        with self._lock:
            self._stopped = True
            self._jobs.put(None)
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        if self._how == "IMMEDIATE" and self._path != MEMORY:
            self._turn = FileLock(f"{os.path.realpath(self._path)}-turn")
            self._checkpoints = Checkpoints(self._path)
        urgent: list[Job] = []
        later: list[Job] = []
        stopping = False
        while urgent or later or not stopping:
            stopping = self._collect(urgent, later) or stopping
            if urgent:
                self._busy_until = time.monotonic() + BUSY
                urgent = self._work_off(urgent)
            if urgent:
                self._wait_for_lock()
                continue
            if self._turn is not None and self._turn.is_held:
                self._turn.give_up()
            is_rested = time.monotonic() >= self._rest_until or stopping
            if later and is_rested and self._step_aside():
                start = time.monotonic()
                later[:1] = still_locked = self._work_off(later[:1])
                end = time.monotonic()
                rest = REST * (end - start) if end < self._busy_until else 0.0
                self._rest_until = end + (LOCK_POLL if still_locked else rest)
        if self._checkpoints is not None:
            self._checkpoints.wait()
        self._close()
        if self._turn is not None:
            self._turn.close()

    def _collect(self, urgent: list[Job], later: list[Job]) -> bool:
        """Sort what has queued up into the two lists; return whether nothing more will come.

        Waits while there is nothing to do, or while the sender rests.
        """
        while not urgent or (len(urgent) < MAX_GROUP and not self._jobs.empty()):
            rest = max(0.0, self._rest_until - time.monotonic()) if later else None
            try:
                jobs = self._jobs.get(timeout=rest)
            except queue.Empty:
                return False
            if jobs is None:
                return True
            if isinstance(jobs, threading.Event):
                self._close()
                jobs.set()
            else:
                for job in jobs:
                    (urgent if job.is_urgent else later).append(job)
        return False

    def _wait_for_lock(self) -> None:
        """Wait a moment for another process, and have senders step aside."""
        if self._turn is not None and not self._turn.is_held:
            self._turn.take(shared=True)
        time.sleep(LOCK_POLL)

    def _step_aside(self) -> bool:
        """Wait while another process has something urgent to write; false if something came in."""
        end = time.monotonic() + STEP_ASIDE
        while self._turn is not None and not self._turn.take():
            if not self._jobs.empty():
                return False
            self._busy_until = time.monotonic() + BUSY
            if time.monotonic() >= end:
                return True
            time.sleep(LOCK_POLL)
        if self._turn is not None:
            self._turn.give_up()
        return True

    def _work_off(self, jobs: list[Job]) -> list[Job]:
        """Run ``jobs`` in one transaction; return those that wait for another process's lock."""
        if not jobs:
            return []
        try:
            file = self._open()
            file.begin(self._how, is_durable=jobs[0].is_urgent)
        except Exception as error:  # noqa: BLE001 - the thread must outlive any surprise
            # No transaction began, so no single job is the cause: trying one by one would not help.
            return self._refuse(jobs, error)
        try:
            _commit(file, jobs)
        except Exception as error:  # noqa: BLE001 - the same
            self._undo(file)
            if is_damage(error):
                file.damage.note(self._path, error)
                if file.damage.take_news():
                    return self._work_off(jobs)  # again, around that place
            if is_full(error):
                # If the file has room for what the -wal file holds, moving it there frees the disk.
                file.is_tight = True
                self._tidy(file)
            return self._divide(jobs, error)
        _settle(jobs)
        self._tidy(file)
        return []

    def _divide(self, jobs: list[Job], error: Exception) -> list[Job]:
        """Run each of ``jobs`` in its own transaction: one of them made all fail."""
        if len(jobs) == 1 or is_locked(error):
            return self._refuse(jobs, error)
        waiting: list[Job] = []
        for job in jobs:
            # If one finds the file locked, so would all that follow.
            waiting += [job] if waiting else self._work_off([job])
        return waiting

    def _refuse(self, jobs: list[Job], error: Exception) -> list[Job]:
        """Fail ``jobs`` with ``error``; return those that may still wait for a lock."""
        if is_broken(error):
            self._close()
        patient = time.monotonic() if is_locked(error) else float("inf")
        waiting = [job for job in jobs if patient < job.deadline]
        failed = [job for job in jobs if patient >= job.deadline]
        for job in failed:
            built = build_error(self._path, error)
            if is_locked(error):
                cause = f"for {job.patience:g} s: another process has not ended its transaction"
                built.args = (f"{built} {cause}",)
            job.error = built
        _settle(failed)
        return waiting

    def _open(self) -> OutboxFile:
        """Return the open file; open it again if another file is in its place."""
        if self._file is not None and self._file.identity != read_identity(self._path):
            # SQLite would go on writing into a file that has no name any more.
            logger.error(
                "outbox %s: the file was deleted or replaced while it was open", self._path
            )
            self._close()
        if self._how == "IMMEDIATE" and self._file is not None and not self._file.has_wal():
            self._rescue(self._file)
        if self._file is None:
            self._file = open_file(self._path, writes=self._how == "IMMEDIATE")
            self._damage.belong_to(self._file.identity)
            self._file.damage = self._damage
        return self._file

    def _rescue(self, file: OutboxFile) -> None:
        """Save what a deleted -wal file holds, and begin another one.

        The connections of a process share what they know of the -wal file until all are closed.
        """
        logger.error(
            "outbox %s: its -wal file was deleted while it was open; what it held is moved into the"
            " file",
            self._path,
        )
        if self._checkpoints is not None:
            self._checkpoints.wait()
        file.rescue()
        self._close()
        self._let_go_others()

    def _tidy(self, file: OutboxFile) -> None:
        """Keep the -wal file small; the callers have their answers already."""
        if self._how == "IMMEDIATE":
            try:
                if self._checkpoints is not None and file.is_wide:
                    self._checkpoints.note(file.count_changes())
                    if self._checkpoints.may_restart:
                        self._checkpoints.may_restart = False
                        file.restart_wal()
                file.cut_wal()
            except Exception as error:  # noqa: BLE001 - the thread must outlive any surprise
                if not is_full(error):  # the next put or claim raises that
                    logger.warning("outbox %s: its -wal file stays large: %s", self._path, error)

    def _undo(self, file: OutboxFile) -> None:
        try:
            file.undo()
        except Exception:  # noqa: BLE001 - closing undoes too
            self._close()

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


def _commit(file: OutboxFile, jobs: Sequence[Job]) -> None:
    for job in jobs:
        job.result = job.error = None
        try:
            job.result = job.work(file)
        except OutboxFullError as error:
            job.error = error  # it undid its own changes; the others go on
    file.execute("COMMIT")


def _settle(jobs: Sequence[Job]) -> None:
    """Resolve the futures of ``jobs``, with one call to each event loop."""
    for loop in {job.loop for job in jobs}:
        settled = [job for job in jobs if job.loop is loop]
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_settle_on_loop, settled)


def _settle_on_loop(jobs: Sequence[Job]) -> None:
    for job in jobs:
        job.settle()
