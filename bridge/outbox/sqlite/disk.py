"""The room on the disk of an outbox's file.

Strategy: an outbox that filled its disk to the last byte could not be emptied any more. A claim and
an ack write too, and what the -wal file holds must move into the file itself before the -wal file
can be used again. So puts leave a reserve: two if they make the file grow, one if they fit into
free pages of the file. A file that was emptied can therefore fill up again from within.

Other programs may use up the reserve; then nothing is stored or claimed until somebody makes room.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
from dataclasses import dataclass

# A claim or an ack writes 9 MB at most (measured: 1000 deliveries, 8 MiB of bodies). An ack that
# forgets 2000 keys scattered over a large file writes up to 16 MB more.
RESERVE_BYTES = 32 * 1024 * 1024
RESERVE_SHARE = 16  # of a small disk, the reserve is this part
TIGHT_RESERVES = 4  # with less room than so many reserves the -wal file is kept short
WIDE_RESERVES = 16  # with more room than so many it may grow
ROW_BYTES = 2048  # that a delivery takes besides its body, indexes included
BODY_FACTOR = 2  # a body takes so many times its length: pages are not filled up
MAX_CLAIM_BYTES = 8 * 1024 * 1024  # that one claim writes, about
CLAIM_SHARE = 4  # of the free room, a claim writes this part at most
CLAIMED_ROW_BYTES = 4096  # that a claim writes for a delivery besides its body


@dataclass(slots=True)
class DiskRoom:
    """The room that one transaction has, in bytes.

    Attributes:
        free: Free bytes of the disk after all that the -wal file holds has moved into the file;
            below 0 if it does not fit.
        unused: Bytes in free pages of the file.
        reserve: Bytes that puts leave free.
    """

    free: int
    unused: int
    reserve: int

    @property
    def is_tight(self) -> bool:
        """Whether the -wal file should be cut back."""
        return self.free < TIGHT_RESERVES * self.reserve

    @property
    def is_wide(self) -> bool:
        """Whether the -wal file may take some megabytes more; never on a small disk."""
        return self.free > WIDE_RESERVES * self.reserve

    @property
    def claim_size(self) -> int:
        """Bytes that a claim may write, so that its acks can be written too."""
        return min(MAX_CLAIM_BYTES, max(0, self.free // CLAIM_SHARE))

    def take(self, deliveries: int, body_bytes: int) -> bool:
        """Use up the room that a put needs; return false if there is too little."""
        size = deliveries * ROW_BYTES + body_bytes * BODY_FACTOR
        growth = max(0, size - self.unused)
        # Once in the -wal file, and once more in the file if the file grows by it.
        left = self.free - size - growth
        if left < self.reserve * (2 if growth else 1):
            return False
        self.free = left
        self.unused -= size - growth
        return True


def measure_room(file: sqlite3.Connection, path: str) -> DiskRoom:
    """Return the room on the disk of the open file at ``path``; unlimited if it is unknown."""
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
        reserve=min(RESERVE_BYTES, disk.total // RESERVE_SHARE),
    )
