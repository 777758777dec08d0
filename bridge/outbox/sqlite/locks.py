"""Locks between processes beside SQLite's own: who delivers, and who writes first.

The kernel gives a lock up when the process that holds it dies, however it dies. Where a file
system has no such locks, each behaves as if it were alone: everybody delivers, nobody steps aside.

Source: flock(2): a lock belongs to the open file, which a forked child shares.
"""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import suppress
from types import ModuleType

from bridge.files import open_private

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


class FileLock:
    """A lock on an empty file at ``path``; the file is created, and stays.

    Safe to use from several threads. A child that is forked has none of its parent's locks.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._mutex = threading.Lock()  # held for an instant
        self.is_held = False
        _LOCKS.add(self)

    def take(self, *, shared: bool = False) -> bool:
        """Take it if nobody else has it; return whether it is ours.

        Others may share a ``shared`` one. If there are no locks here, it is ours.
        """
        if fcntl is None:
            return True
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        with self._mutex:
            try:
                if self._descriptor is None:
                    self._descriptor = open_private(self._path, os.O_RDWR | os.O_CREAT)
                fcntl.flock(self._descriptor, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError:
                return True
            self.is_held = True
            return True

    def give_up(self) -> None:
        """Let others have it."""
        with self._mutex:
            if self.is_held and fcntl is not None and self._descriptor is not None:
                with suppress(OSError):
                    fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            self.is_held = False

    def close(self) -> None:
        """Let others have it, and close the file."""
        with self._mutex:
            descriptor, self._descriptor = self._descriptor, None
            self.is_held = False
            if descriptor is not None:
                with suppress(OSError):
                    os.close(descriptor)

    def leave_to_parent(self) -> None:
        """Close the file in a child: the parent keeps the lock, and its end ends it."""
        self._mutex = threading.Lock()  # another thread of the parent may have held it
        self.close()


_LOCKS: weakref.WeakSet[FileLock] = weakref.WeakSet()


def _leave_all() -> None:
    for lock in list(_LOCKS):
        lock.leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_all)
