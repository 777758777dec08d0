"""The room on the disk of an outbox's file.

Strategy: an outbox that had filled its disk to the last byte could not be emptied any more. A claim
and an ack write too, and what the -wal file holds must find its place in the file itself before the
-wal file can be used again. So puts leave a reserve. What makes the file grow leaves two, what fits
into free pages of the file leaves one: a file that was emptied fills up again from within.

What other programs write may use up the reserve; then all waits until somebody makes room.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
from dataclasses import dataclass

# A claim or an ack of rows that hold their bodies, as before version 2, writes 9 MB at most
# (measured: 1000 deliveries 4 MB, 8 MiB of bodies 9 MB); of others it writes less. An ack that
# forgets 2000 keys here and there in a large file writes up to 16 MB more.
RESERVE = 32 * 1024 * 1024  # bytes
RESERVE_SHARE = 16  # of a small disk, this part
TIGHT = 4  # reserves; with less the -wal file is kept short
WIDE = 16  # reserves; with more it may grow
ROW = 2048  # bytes a delivery takes beside its body, indexes included
BODY = 2  # times its length: pages are not filled up
MAX_CLAIM = 8 * 1024 * 1024  # bytes that one claim writes, about
CLAIM_SHARE = 4  # part of what is free that it may write, at most
CLAIMED_ROW = 4096  # bytes it writes for a delivery beside its body


@dataclass(slots=True)
class DiskRoom:
    """What one transaction finds, in bytes.

    Attributes:
        free: Of the disk, once all that the -wal file holds has its place in the file; below 0 if
            there is none for it.
        unused: In free pages of the file.
        reserve: What puts leave.
    """

    free: int
    unused: int
    reserve: int

    @property
    def is_tight(self) -> bool:
        """Whether the -wal file should give back what it does not need."""
        return self.free < TIGHT * self.reserve

    @property
    def is_wide(self) -> bool:
        """Whether the -wal file may take some megabytes more; never on a small disk."""
        return self.free > WIDE * self.reserve

    @property
    def claim_size(self) -> int:
        """How much a claim may write, so that its acks can be written too."""
        return min(MAX_CLAIM, max(0, self.free // CLAIM_SHARE))

    def take(self, deliveries: int, body_bytes: int) -> bool:
        """Take the room of deliveries that are stored; false, and nothing is taken, without."""
        size = deliveries * ROW + body_bytes * BODY
        growth = max(0, size - self.unused)
        # Once in the -wal file, and where the file grows by it, once more there.
        left = self.free - size - growth
        if left < self.reserve * (2 if growth else 1):
            return False
        self.free = left
        self.unused -= size - growth
        return True


def measure_room(file: sqlite3.Connection, path: str) -> DiskRoom:
    """Return the room on the disk of the file at ``path``, which is open; endless if unknown."""
    try:
        size, disk = os.stat(path).st_size, shutil.disk_usage(path)
    except OSError:  # in memory, or just deleted
        return DiskRoom(sys.maxsize, 0, 0)
    pages, unused, page_size = (
        file.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return DiskRoom(
        free=disk.free - max(0, pages * page_size - size),
        unused=unused * page_size,
        reserve=min(RESERVE, disk.total // RESERVE_SHARE),
    )
