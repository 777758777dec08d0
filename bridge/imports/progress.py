"""How far an import has come: a small file next to the imported one, replaced atomically.

It is written only after a batch is in the outbox. It stays when everything is imported, so that the
same command sends nothing twice, however late it is given again.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import msgspec

from bridge.errors import ConfigError
from bridge.files import open_private
from bridge.imports.source import Source

MAX_BYTES = 1_000_000  # of the file
MAX_REASONS = 100  # of each kind that are counted
MAX_REASON = 300  # characters

_Count = Annotated[int, msgspec.Meta(ge=0)]


class Tally(msgspec.Struct):
    """What became of the lines so far.

    Attributes:
        lines: Read; blank ones and a header do not count.
        stored: New in the outbox.
        repeated: In the outbox before, waiting or delivered and still remembered.
        rejected: Not stored; the file of rejected lines says why.
        reasons: How often a field was at fault, by field and reason; the first 100 of them.
        removed: How often personal data was removed, by place and kind; the first 100 of them.
        left_out: How many values of user data were left out, by key.
    """

    lines: _Count = 0
    stored: _Count = 0
    repeated: _Count = 0
    rejected: _Count = 0
    reasons: dict[str, _Count] = {}
    removed: dict[str, _Count] = {}
    left_out: dict[str, _Count] = {}

    def add(self, other: Tally) -> None:
        """Count what became of other lines, too."""
        self.lines += other.lines
        self.stored += other.stored
        self.repeated += other.repeated
        self.rejected += other.rejected
        for mine, theirs in (
            (self.reasons, other.reasons),
            (self.removed, other.removed),
            (self.left_out, other.left_out),
        ):
            for reason, number in theirs.items():
                count(mine, reason, number)


def count(counts: dict[str, int], reason: str, number: int = 1) -> None:
    """Add ``number`` to a reason, unless it is a new one beyond the first 100."""
    reason = reason[:MAX_REASON]
    if reason in counts or len(counts) < MAX_REASONS:
        counts[reason] = counts.get(reason, 0) + number


class Progress(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How far one file has come.

    Attributes:
        size, format: Of the file, to recognise it.
        series: What event ids are built of, in addition to the lines themselves.
        destinations: Where its events go.
        line: The last line that is done.
        offset: Where the next one begins.
        digest: SHA-256 of everything before that, hex.
        rejected_bytes: Length of the file of rejected lines.
        stored_at: When the last batch was stored, Unix seconds.
        finished: Whether all lines are done.
        tally: What became of the lines.
    """

    size: _Count
    format: str
    series: str
    destinations: list[str]
    line: _Count = 0
    offset: _Count = 0
    digest: str = ""
    rejected_bytes: _Count = 0
    stored_at: float = 0.0
    finished: bool = False
    tally: Tally = msgspec.field(default_factory=Tally)


class ProgressFile:
    """Where the progress of a file is kept; a stream's is not.

    Args:
        path: The file; ``None`` keeps nothing.
        restart: Whether to begin again.
    """

    def __init__(self, path: Path | None, *, restart: bool = False) -> None:
        self.path = path
        self._restart = restart

    def load(self, source: Source, destinations: list[str]) -> Progress:
        """Return how far ``source`` has come, and make it go on from there.

        Nobody else may import the file from then on. A restart keeps the series of before, so that
        lines which have not changed keep their event ids, even if the first one has.

        Raises:
            ConfigError: It has changed, or goes elsewhere; says what to do.
            OSError: It is being imported, or its progress cannot be read.
        """
        fresh = Progress(
            size=source.size or 0,
            format=source.format,
            series=source.series,
            destinations=destinations,
        )
        if self.path is None:
            return fresh
        source.lock()
        found = self._read(self.path)
        if found is None:
            return fresh
        if self._restart:
            fresh.series = found.series
            return fresh
        self._check(found, fresh, source)
        return found

    def _check(self, found: Progress, fresh: Progress, source: Source) -> None:
        """Refuse to go on after lines that are not those that were imported."""
        changed = self._advise(f"{source.name} has changed since its import began")
        if found.size != fresh.size:
            raise ConfigError(changed)
        if (found.format, found.destinations) != (fresh.format, fresh.destinations):
            before = f"{found.format} to {', '.join(found.destinations)}"
            raise ConfigError(self._advise(f"{source.name} was begun as {before[:200]}"))
        if not found.offset and not found.finished:
            return
        at_line = source.go_to(found.offset)
        is_whole = at_line and not (found.finished and found.offset < found.size)
        line, _, digest = source.place
        if is_whole and digest != found.digest:
            raise ConfigError(changed)
        if not is_whole or line != found.line:
            raise ConfigError(self._advise(f"{self.path} is damaged"))

    def _read(self, path: Path) -> Progress | None:
        try:
            with path.open("rb") as file:
                return msgspec.json.decode(file.read(MAX_BYTES), type=Progress)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise OSError(f"cannot read {path}: {error.strerror}") from None
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            if self._restart:
                return None
            raise ConfigError(self._advise(f"{path} is damaged")) from None

    def _advise(self, what: str) -> str:
        return (
            f"{what}; --restart imports it from its beginning (what is still remembered is not"
            " sent again), or give new lines a file of their own"
        )

    def save(self, progress: Progress) -> None:
        """Replace the file by ``progress``, on disk when this returns.

        Raises:
            OSError: It cannot be written.
        """
        if self.path is None:
            return
        draft = self.path.with_name(self.path.name + ".tmp")
        try:
            # Created again, since a link of that name may lead anywhere.
            draft.unlink(missing_ok=True)
            with open(draft, "xb", opener=open_private) as file:
                file.write(msgspec.json.encode(progress))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
        except OSError as error:
            raise OSError(f"cannot write {self.path}: {error.strerror}") from None
