"""One connection to the outbox's file: opened, brought up to date, watched.

WAL keeps readers and the writer apart; ``synchronous=FULL`` makes a commit survive a power cut.

Source: SQLite, "Write-Ahead Logging", "PRAGMA synchronous", read 2026-11-23; its own
test/pragma3.test (data_version: unchanged by our commits), read 2026-11-24; "PRAGMA
wal_autocheckpoint" and "PRAGMA cache_size", read 2026-11-29.
"""

from __future__ import annotations

import os
import sqlite3
import time

from bridge.errors import OutboxError, OutboxFullError
from bridge.outbox.sqlite.disk import DiskRoom, measure_room

# Processes of one file are restarted together when this grows: one of version 1 stores beside us,
# but cannot claim what we stored.
SCHEMA_VERSION = 2
LOCK_SLICE = 0.25  # seconds that one attempt waits for a lock; the thread decides how many
MAX_WAL = 64 * 1024 * 1024  # bytes of the -wal file; more for as long as somebody reads
# A row that is stored, claimed and delivered lies in pages that change three times: the longer they
# stay in memory and in the -wal file, the fewer are written, and a quarter more rows are delivered.
CACHE = 16 * 1024  # KiB of pages in memory, for who writes; SQLite's own choice is 2,000
CHECKPOINT = 4000  # pages of the -wal file that are moved into the file at once, on a wide disk
CHECKPOINT_EARLY = 1000  # on any other; SQLite's own choice
CUT_WAL = 1.0  # seconds between attempts to cut it back
RECOUNT = 2.0  # seconds between counts of what other processes put and took

# due: NULL once settled. settled_at with reason NULL: delivered; with a reason: dead.
# stored_at: NULL in rows of a Bridge that did not write it yet.
# bodies: apart, so that a claim rewrites a tenth of a kilobyte of each delivery and not all of it,
# and an ack leaves whole pages free. A row from before version 2 holds its body itself.
# Each index ends with all that its count reads, so that no count ever touches a body.
_TABLES = """
CREATE TABLE IF NOT EXISTS deliveries (
    id INTEGER PRIMARY KEY,
    destination TEXT NOT NULL,
    event_name TEXT NOT NULL,
    event_id TEXT NOT NULL,
    body BLOB,
    due REAL,
    expires REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    settled_at REAL,
    reason TEXT,
    stored_at REAL,
    UNIQUE (event_id, event_name, destination)
) STRICT;
CREATE TABLE IF NOT EXISTS bodies (
    id INTEGER PRIMARY KEY,
    body BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS circuits (
    destination TEXT PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('closed', 'open', 'half_open')),
    reason TEXT NOT NULL,
    since REAL NOT NULL,
    until REAL NOT NULL
) STRICT
"""
# The names stay when the columns change: a Bridge of before makes what it misses by name.
_INDEXES = """
DROP INDEX IF EXISTS deliveries_due;
CREATE INDEX deliveries_due ON deliveries (destination, due, attempts, stored_at)
    WHERE due IS NOT NULL;
DROP INDEX IF EXISTS deliveries_delivered;
CREATE INDEX deliveries_delivered ON deliveries (settled_at, destination, reason)
    WHERE settled_at IS NOT NULL AND reason IS NULL;
CREATE INDEX deliveries_dead ON deliveries (settled_at, destination, reason)
    WHERE reason IS NOT NULL
"""
_REQUIRED = {
    "deliveries": {
        *("id", "destination", "event_name", "event_id", "body", "due", "expires", "attempts"),
    },
    "bodies": {"id", "body"},
}

_COUNT_HELD = """
SELECT (SELECT count(*) FROM deliveries WHERE due IS NOT NULL)
     + (SELECT count(*) FROM deliveries WHERE reason IS NOT NULL)
"""

# What to do, by SQLite's primary result code.
_HINTS = {
    sqlite3.SQLITE_CANTOPEN: "; does its folder exist, and may this process write there?",
    sqlite3.SQLITE_READONLY: "; may this process write the file and its folder?",
    sqlite3.SQLITE_FULL: "; make room on its disk",
    sqlite3.SQLITE_NOTADB: "; move the file away and an empty one is made",
    sqlite3.SQLITE_CORRUPT: (
        "; move it away, with -wal and -shm, and an empty one is made;"
        " 'sqlite3 FILE .recover' reads what is left of the old one"
    ),
}
_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_BROKEN = {
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_READONLY,
}


class OutboxFile(sqlite3.Connection):
    """A connection to one outbox file, owned by one thread.

    Attributes:
        held: Deliveries waiting or dead, as far as this connection knows: ``count_held`` tells.
        path: Of the file.
        identity: Device and inode of the file that was opened; ``None`` if it is none.
        is_tight: Whether its disk has little room left, as far as this connection knows.
        storing: The cursor of all puts: making one takes as long as a tenth of a put.
    """

    held: int = 0
    path: str = ""
    is_tight: bool = False
    identity: tuple[int, int] | None = None
    storing: sqlite3.Cursor
    _counted_version: int | None = None
    _recount_at: float = 0.0
    _held_before: int = 0
    _cut_at: float = 0.0
    _room: DiskRoom | None = None
    _checkpoint: int = CHECKPOINT_EARLY

    def begin(self, how: str) -> None:
        """Begin a transaction: ``IMMEDIATE`` to write, ``DEFERRED`` to read."""
        self._held_before = self.held
        self._room = None
        self.execute(f"BEGIN {how}")

    def undo(self) -> None:
        """End the transaction as if it had never been."""
        self.held, self._counted_version = self._held_before, None
        if self.in_transaction:
            self.execute("ROLLBACK")

    def count_held(self) -> int:
        """Return how many deliveries wait or are dead; cheap.

        Our own changes are known. Those of other processes are counted when there were any, every
        ``RECOUNT`` seconds at most (28 ms for a million deliveries).
        """
        if time.monotonic() >= self._recount_at:
            [version] = self.execute("PRAGMA data_version").fetchone()
            if version != self._counted_version:
                [self.held] = self.execute(_COUNT_HELD).fetchone()
                self._counted_version = version
            self._recount_at = time.monotonic() + RECOUNT
        return self.held

    def find_room(self) -> DiskRoom:
        """Return the room on the disk, as this transaction leaves it."""
        if self._room is None:
            self._room = measure_room(self, self.path)
            self.is_tight = self._room.is_tight
            self._set_checkpoint(CHECKPOINT if self._room.is_wide else CHECKPOINT_EARLY)
        return self._room

    def _set_checkpoint(self, pages: int) -> None:
        if pages != self._checkpoint:
            self.execute(f"PRAGMA wal_autocheckpoint = {pages}")
            self._checkpoint = pages

    def cut_wal(self) -> None:
        """Cut the -wal file back if it outgrew ``MAX_WAL``; waits a moment for those who read.

        Where the disk is nearly full, all of it is given back.

        SQLite starts it again by itself, but only when it finds nobody reading: of readers that
        follow each other without a gap it would grow for ever.

        Source: sqlite.work, "SQLite WAL File Growth and Checkpointing Behavior Explained", read
        2026-11-24.
        """
        size = read_size(f"{self.path}-wal")
        if size > (0 if self.is_tight else MAX_WAL) and time.monotonic() >= self._cut_at:
            self._cut_at = time.monotonic() + CUT_WAL
            self.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def read_size(path: str) -> int:
    """Return the bytes of the file at ``path``, 0 if there is none."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def read_identity(path: str) -> tuple[int, int] | None:
    """Return device and inode of the file at ``path``, or ``None`` if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino)


def open_file(path: str, *, writes: bool = True) -> OutboxFile:
    """Open the outbox at ``path``; made when missing, its schema brought up to date.

    Args:
        path: The file.
        writes: Whether to keep more pages in memory, for one who changes many.

    Raises:
        OutboxError: It is another application's, or a newer Bridge's.
        sqlite3.Error: It cannot be opened.
    """
    file = sqlite3.connect(path, timeout=LOCK_SLICE, isolation_level=None, factory=OutboxFile)
    try:
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("PRAGMA synchronous = FULL")
        file.execute(f"PRAGMA journal_size_limit = {MAX_WAL}")
        if writes:
            file.execute(f"PRAGMA cache_size = -{CACHE}")
        if _read_version(file) != SCHEMA_VERSION:
            _migrate(file, path)
        file.path, file.identity = path, read_identity(path)
        file.storing = file.cursor()
    except BaseException:
        file.close()
        raise
    return file


def _read_version(file: OutboxFile) -> int:
    version: int = file.execute("PRAGMA user_version").fetchone()[0]
    return version


def _migrate(file: OutboxFile, path: str) -> None:
    """Bring the schema up to date in one transaction; several processes may try at once."""
    file.begin("IMMEDIATE")
    try:
        version = _read_version(file)
        if version > SCHEMA_VERSION:
            raise OutboxError(
                f"outbox {path}: its schema is version {version}, this Bridge knows"
                f" {SCHEMA_VERSION}: upgrade it, or give the outbox a file of its own"
            )
        if version < SCHEMA_VERSION:
            _build_schema(file, path, version)
        file.execute("COMMIT")
    except BaseException:
        file.undo()
        raise


def _build_schema(file: OutboxFile, path: str, version: int) -> None:
    """Make tables and indexes, or add to an earlier version's what it lacks.

    No row is rewritten: of a file with a million deliveries only the indexes are built anew.
    """
    for statement in _TABLES.split(";"):
        file.execute(statement)
    for table, required in _REQUIRED.items():
        columns = {row[1] for row in file.execute(f"PRAGMA table_info({table})")}
        if not columns >= required:
            raise OutboxError(
                f"outbox {path}: its table '{table}' is another application's;"
                " give the outbox a file of its own"
            )
    columns = {row[1] for row in file.execute("PRAGMA table_info(deliveries)")}
    if "stored_at" not in columns:
        file.execute("ALTER TABLE deliveries ADD COLUMN stored_at REAL")
    for statement in _INDEXES.split(";") if version < 1 else ():
        file.execute(statement)
    file.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def is_locked(error: Exception) -> bool:
    """Whether another connection is at work, so that the same may succeed later."""
    return _read_code(error) in _LOCKED


def is_broken(error: Exception) -> bool:
    """Whether the connection is of no more use: the file must be opened again."""
    return _read_code(error) in _BROKEN


def is_full(error: Exception) -> bool:
    """Whether the disk has no room for it."""
    return _read_code(error) == sqlite3.SQLITE_FULL


def build_error(path: str, error: Exception) -> OutboxError:
    """Return ``error`` of the engine as ours, with what to do; one for each who waits."""
    if isinstance(error, OutboxError):
        return type(error)(*error.args)
    kind = OutboxFullError if is_full(error) else OutboxError
    built = kind(f"outbox {path}: {error}{_HINTS.get(_read_code(error), '')}")
    built.__cause__ = error
    return built


def _read_code(error: Exception) -> int:
    """Return SQLite's primary result code; 0 if it is no error of SQLite."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF
