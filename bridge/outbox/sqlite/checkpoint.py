"""Checkpoints: what the -wal file holds moves into the file, in a thread of its own.

SQLite does that within a commit, which then takes a tenth of a second: a put would wait for it.
Here it has its own connection, and puts go on meanwhile. Only the end, when the -wal file is to
begin anew, needs the lock for some milliseconds, and is left to the thread that writes.

Source: SQLite, "PRAGMA wal_checkpoint", "PRAGMA wal_autocheckpoint", read 2026-11-30.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from contextlib import closing

PAGES = 4000  # of the -wal file, about, that move at once
LONG_WAL = 8000  # pages of the -wal file from which it is to begin anew, though others write
NEARLY = 2000  # pages that may be left to move while the lock is held
PASSES = 3  # attempts to leave so few
LOCK = 0.1  # seconds that it waits for a lock

logger = logging.getLogger("bridge.outbox")


class Checkpoints:
    """Moves what the -wal file of the file at ``path`` holds, when enough was written.

    Attributes:
        may_restart: Whether the -wal file is long, and nearly all of it was moved.
    """

    def __init__(self, path: str) -> None:
        self.may_restart = False
        self._path = path
        self._written = 0
        self._thread: threading.Thread | None = None

    def note(self, changes: int) -> None:
        """Note a transaction that changed so many rows; begin a checkpoint if it is time."""
        self._written += min(4 * changes, 8 + changes)  # pages: several indexes, and a body
        if self._written < PAGES or (self._thread is not None and self._thread.is_alive()):
            return
        self._written = 0
        thread = threading.Thread(target=self._run, name="bridge-checkpoint", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads: the commits themselves will do it
            return
        self._thread = thread

    def wait(self) -> None:
        """Return when none is under way."""
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            with closing(sqlite3.connect(self._path, timeout=LOCK, isolation_level=None)) as file:
                file.execute("PRAGMA synchronous = NORMAL")
                pages = moved = 0
                for _ in range(PASSES):
                    _, pages, moved = file.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                    if pages - moved < NEARLY:
                        break
                self.may_restart = pages > LONG_WAL and pages - moved < NEARLY
        except sqlite3.Error as error:  # the commits themselves do it, and tell what is wrong
            logger.debug("outbox %s: no checkpoint: %s", self._path, error)
