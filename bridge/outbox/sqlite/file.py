"""One connection to the outbox's file: opened, given its tables, watched.

WAL keeps readers and the writer apart; ``synchronous=FULL`` makes a commit survive a power cut.

Source: SQLite, "Write-Ahead Logging", "PRAGMA synchronous", read 2026-11-23; its own
test/pragma3.test (data_version: unchanged by our commits), read 2026-11-24; "PRAGMA
wal_autocheckpoint" and "PRAGMA cache_size", read 2026-11-29.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import suppress

from bridge.errors import OutboxError, OutboxFullError
from bridge.files import open_private
from bridge.outbox.sqlite.damage import Damage, guard
from bridge.outbox.sqlite.disk import DiskRoom, measure_room

MEMORY = ":memory:"  # SQLite's word for no file
SCHEMA_VERSION = 5  # in the file itself; raise it whenever the tables change
LOCK_SLICE = 0.25  # seconds that opening the file, or cutting its -wal, waits for a lock
RESTART_SLICE = 0.01  # seconds that the -wal file waits to begin anew
MAX_WAL = 64 * 1024 * 1024  # bytes of the -wal file; it may grow further while somebody reads
LARGE_WAL = (
    96 * 1024 * 1024
)  # bytes of the -wal file that only somebody who reads for long explains
# A row that is stored, claimed and delivered changes its pages three times. The longer the pages
# stay in memory and in the -wal file, the less is written: a quarter more is delivered this way.
CACHE_KIB = 16 * 1024  # pages kept in memory by the writer; SQLite's default is 2,000
CHECKPOINT = 16_000  # pages of the -wal file that a commit itself moves; a thread does so earlier
CHECKPOINT_EARLY = 1000  # the same if the disk has little room; SQLite's default
CUT_WAL = 1.0  # seconds between attempts to cut it back
RECOUNT = 2.0  # seconds between looks for what other processes put and took

# due: NULL once settled. settled_at with reason NULL: delivered; with a reason: dead.
# bodies: apart, so that a claim rewrites a tenth of a kilobyte of each delivery and not all of it,
# and an ack leaves whole pages free.
# subjects: NULL once delivered. In their own order those of one browser are next to each other.
# Each index ends with all that its count reads, so that no count ever touches a body.
_SCHEMA = """
CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY,
    destination TEXT NOT NULL,
    event_name TEXT NOT NULL,
    event_id TEXT NOT NULL,
    due REAL,
    expires REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    settled_at REAL,
    reason TEXT,
    stored_at REAL NOT NULL,
    from_browser INTEGER NOT NULL,
    has_given_id INTEGER NOT NULL,
    subjects BLOB,
    UNIQUE (event_id, event_name, destination, from_browser)
) STRICT;
CREATE TABLE bodies (
    id INTEGER PRIMARY KEY,
    body BLOB NOT NULL
) STRICT;
CREATE TABLE circuits (
    destination TEXT PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('closed', 'open', 'half_open')),
    reason TEXT NOT NULL,
    since REAL NOT NULL,
    until REAL NOT NULL
) STRICT;
CREATE TABLE figures (
    day INTEGER NOT NULL,
    destination TEXT NOT NULL,
    event_name TEXT NOT NULL,
    kind TEXT NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (day, destination, event_name, kind)
) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_due ON deliveries (destination, due, attempts, stored_at)
    WHERE due IS NOT NULL;
CREATE INDEX deliveries_subjects ON deliveries (subjects) WHERE subjects IS NOT NULL;
CREATE INDEX deliveries_delivered ON deliveries (has_given_id, settled_at, destination, reason)
    WHERE settled_at IS NOT NULL AND reason IS NULL;
CREATE INDEX deliveries_dead ON deliveries (settled_at, destination, reason)
    WHERE reason IS NOT NULL
"""

_COUNT_HELD = """
SELECT (SELECT count(*) FROM deliveries WHERE due IS NOT NULL)
     + (SELECT count(*) FROM deliveries WHERE reason IS NOT NULL)
"""

# What to do, by SQLite's primary result code.
_HINTS = {
    sqlite3.SQLITE_CANTOPEN: "; does its folder exist, and may this process write there?",
    sqlite3.SQLITE_READONLY: "; may this process write the file and its folder?",
    sqlite3.SQLITE_FULL: "; make room on its disk",
    sqlite3.SQLITE_NOTADB: "; move the file away, and an empty one is created",
    sqlite3.SQLITE_CORRUPT: (
        "; move it away, with -wal and -shm, and an empty one is created;"
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
        held: Deliveries that wait or are dead, as last counted; see ``count_held``.
        path: Of the file.
        identity: Device and inode of the file that was opened; ``None`` in memory.
        wal: The same of its -wal file; ``None`` before the first transaction.
        is_tight: Whether the disk had little room left when last measured.
        has_traces: Whether the -wal file may still hold what ``overwrite`` deletes.
        damage: What this process knows of damage to the file.
        storing: The one cursor of all puts: creating one would take a tenth of a put's time.
    """

    held: int = 0
    path: str = ""
    is_tight: bool = False
    has_traces: bool = False
    identity: tuple[int, int] | None = None
    wal: tuple[int, int] | None = None
    damage: Damage
    storing: sqlite3.Cursor
    _counted_version: int | None = None
    _recount_at: float = 0.0
    _held_before: int = 0
    _cut_at: float = 0.0
    _room: DiskRoom | None = None
    _checkpoint: int = CHECKPOINT_EARLY
    _is_durable: bool = True
    _changes: int = 0

    def begin(self, how: str, *, is_durable: bool = True) -> None:
        """Begin a transaction: ``IMMEDIATE`` to write, ``DEFERRED`` to read.

        Whether what it writes ``is_durable`` when it ends, or only with the next one that is: a
        power cut may undo it, and leaves a sound file in any case.

        Source: sqlite.org, "PRAGMA synchronous", read 2026-11-30.
        """
        if is_durable != self._is_durable:
            self.execute(f"PRAGMA synchronous = {'FULL' if is_durable else 'NORMAL'}")
            self._is_durable = is_durable
        self._held_before = self.held
        self._room = None
        self.execute(f"BEGIN {how}")

    @property
    def is_wide(self) -> bool:
        """Whether the disk had so much room when last measured that the -wal file may grow."""
        return self._checkpoint == CHECKPOINT

    def count_changes(self) -> int:
        """Return how many rows changed since the last call."""
        before, self._changes = self._changes, self.total_changes
        return self._changes - before

    def has_wal(self) -> bool:
        """Return whether its -wal file is still the one that it writes to.

        SQLite would go on writing into a file that has no name any more, and the end of the last
        process would lose all that was stored.

        Source: SQLite, "How To Corrupt An SQLite Database File", 4; tried with 3.40, 2026-11-30.
        """
        now = read_identity(f"{self.path}-wal")
        if self.wal is None:
            self.wal = now
        return self.wal == now

    def rescue(self) -> None:
        """Move what a deleted -wal file holds into the file: this connection still reads it."""
        self.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def undo(self) -> None:
        """End the transaction as if it had never been."""
        self.held, self._counted_version = self._held_before, None
        if self.in_transaction:
            self.execute("ROLLBACK")

    def count_held(self) -> int:
        """Return how many deliveries wait or are dead; cheap.

        Our own changes are added up. Changes by other processes are noticed every ``RECOUNT``
        seconds at most, and then all is counted (28 ms for a million deliveries).
        """
        if time.monotonic() >= self._recount_at:
            [version] = self.execute("PRAGMA data_version").fetchone()
            if version != self._counted_version:
                found = guard(self, _COUNT_HELD, lambda: self.execute(_COUNT_HELD).fetchone())
                self.held = self.held if found is None else found[0]
                self._counted_version = version
            self._recount_at = time.monotonic() + RECOUNT
        return self.held

    def find_room(self) -> DiskRoom:
        """Return the room on the disk that this transaction has left."""
        if self._room is None:
            self._room = measure_room(self, self.path)
            self.is_tight = self._room.is_tight
            pages = CHECKPOINT if self._room.is_wide else CHECKPOINT_EARLY
            if pages != self._checkpoint:
                self.execute(f"PRAGMA wal_autocheckpoint = {pages}")
                self._checkpoint = pages
        return self._room

    def overwrite(self) -> None:
        """Have what is deleted from here on overwritten, in the file and in its -wal.

        Source: sqlite.org, "PRAGMA secure_delete", read 2026-11-29.
        """
        self.execute("PRAGMA secure_delete = ON").fetchone()
        self.has_traces, self._cut_at = True, 0.0

    def cut_wal(self) -> None:
        """Cut the -wal file back if it outgrew ``MAX_WAL``; waits a moment for readers.

        If the disk is nearly full, or something was erased, it is cut to nothing.

        SQLite starts the file over by itself, but only when nobody is reading: under readers that
        follow each other without a gap it would grow for ever.

        Source: sqlite.work, "SQLite WAL File Growth and Checkpointing Behavior Explained", read
        2026-11-24.
        """
        try:
            size = os.stat(f"{self.path}-wal").st_size
        except OSError:
            return
        limit = 0 if self.is_tight or self.has_traces else MAX_WAL
        if size > limit and time.monotonic() >= self._cut_at:
            self._cut_at = time.monotonic() + CUT_WAL
            was_busy = self._move_wal("TRUNCATE", LOCK_SLICE)
            if self.has_traces and not was_busy:
                self.execute("PRAGMA secure_delete = OFF").fetchone()
                self.has_traces = False

    def restart_wal(self) -> None:
        """Have the next commit begin the -wal file anew, if nobody else is at work just now."""
        self._move_wal("RESTART", RESTART_SLICE)

    def _move_wal(self, how: str, patience: float) -> bool:
        """Move what the -wal file holds; return whether others were in the way."""
        self.execute(f"PRAGMA busy_timeout = {1000 * patience:.0f}")
        try:
            return bool(self.execute(f"PRAGMA wal_checkpoint({how})").fetchone()[0])
        finally:
            self.execute("PRAGMA busy_timeout = 0")


def measure_large_wal(path: str) -> int:
    """Return the bytes of the -wal file of the file at ``path``; 0 if they are not many. Blocks."""
    try:
        size = os.stat(f"{path}-wal").st_size
    except OSError:
        return 0
    return size if size > LARGE_WAL else 0


def read_identity(path: str) -> tuple[int, int] | None:
    """Return device and inode of the file at ``path``, or ``None`` if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino)


def open_file(path: str, *, writes: bool = True) -> OutboxFile:
    """Open the outbox at ``path``; create the file and its tables if they are missing.

    If it ``writes``, more pages are kept in memory.

    Raises:
        OutboxError: The file belongs to another application or another release of Bridge.
        sqlite3.Error: It cannot be opened.
    """
    _create(path)
    file = sqlite3.connect(path, timeout=LOCK_SLICE, isolation_level=None, factory=OutboxFile)
    try:
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("PRAGMA synchronous = FULL")
        file.execute(f"PRAGMA journal_size_limit = {MAX_WAL}")
        if writes:
            file.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        if _read_version(file) != SCHEMA_VERSION:
            _prepare(file, path)
        file.path, file.identity, file.damage = path, read_identity(path), Damage()
        file.storing = file.cursor()
        file.execute("PRAGMA busy_timeout = 0")  # the thread itself tries again
    except BaseException:
        file.close()
        raise
    return file


def _create(path: str) -> None:
    """Create a missing file for its owner alone; SQLite gives -wal and -shm the same rights.

    Closing a file that existed would end the locks that this process holds on it, so none is
    opened.

    Source: SQLite, "How To Corrupt An SQLite Database File", 2.2; os_unix.c, findCreateFileMode.
    """
    if path != MEMORY:
        # Whatever is wrong with the path, SQLite says so next.
        with suppress(OSError):
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
            os.close(open_private(os.path.realpath(path), flags))


def _read_version(file: OutboxFile) -> int:
    version: int = file.execute("PRAGMA user_version").fetchone()[0]
    return version


def _prepare(file: OutboxFile, path: str) -> None:
    """Create the tables in an empty file; several processes may try at once."""
    file.begin("IMMEDIATE")
    try:
        version = _read_version(file)
        if version == 0:
            _create_tables(file, path)
        elif version != SCHEMA_VERSION:
            raise OutboxError(
                f"outbox {path}: expected schema version {SCHEMA_VERSION}, got {version}: another"
                " release of Bridge made this file; use that release, or give the outbox a new file"
            )
        file.execute("COMMIT")
    except BaseException:
        file.undo()
        raise


def _create_tables(file: OutboxFile, path: str) -> None:
    taken = file.execute(
        "SELECT name FROM sqlite_schema"
        " WHERE name IN ('deliveries', 'bodies', 'circuits', 'figures')"
    ).fetchone()
    if taken is not None:
        raise OutboxError(
            f"outbox {path}: its table '{taken[0]}' was not created by this outbox; give the outbox"
            " a file of its own"
        )
    for statement in _SCHEMA.split(";"):
        file.execute(statement)
    file.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def is_locked(error: Exception) -> bool:
    """Return whether another connection holds the lock, so that a later attempt may succeed."""
    return _read_code(error) in _LOCKED


def is_broken(error: Exception) -> bool:
    """Return whether the connection is useless now: the file must be opened again."""
    return _read_code(error) in _BROKEN


def is_full(error: Exception) -> bool:
    """Return whether the disk had no room for it."""
    return _read_code(error) == sqlite3.SQLITE_FULL


def build_error(path: str, error: Exception) -> OutboxError:
    """Return SQLite's ``error`` as ours, with what to do; a new one for each caller."""
    if isinstance(error, OutboxError):
        return type(error)(*error.args)
    kind = OutboxFullError if is_full(error) else OutboxError
    built = kind(f"outbox {path}: {error}{_HINTS.get(_read_code(error), '')}")
    built.__cause__ = error
    return built


def _read_code(error: Exception) -> int:
    """Return SQLite's primary result code; 0 if the error is not SQLite's."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF
