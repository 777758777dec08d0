"""A file or a stream of events: its format, its columns, and its lines from any place on."""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from bridge.errors import ConfigError
from bridge.imports.lines import MAX_LINE, Line, LineReader
from bridge.imports.table import Table

Format = Literal["json", "csv"]

BUFFER_BYTES = 262_144


class Place(NamedTuple):
    """How far a source was read: lines, bytes, and the SHA-256 of these bytes, hex."""

    line: int
    offset: int
    digest: str


class Source:
    """Where events are read from.

    Of a file, as many bytes are read as it has now, so that reading ends even if it grows.

    Args:
        path: A file; ``None`` reads standard input.
        format_: What the lines are; by default found by the file's name or its first line.
        ignore_columns: Whether a CSV's unknown columns are left out; they are refused otherwise.

    Attributes:
        name: For people.
        size: Bytes; ``None`` for a stream, which cannot be read again.
        format: What the lines are.
        table: The columns of a CSV.
        series: SHA-256 of its first event's line, hex: distinguishes it from other files, even when
            it is renamed or grows; ``""`` if it has no event.

    Raises:
        ConfigError: Its first line is neither a header nor an event.
        OSError: It cannot be read, or is still being written.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        format_: Format | None = None,
        ignore_columns: bool = False,
    ) -> None:
        self.name = "standard input" if path is None else path.name
        self._stream = _open(path)
        status = os.fstat(self._stream.fileno())
        is_file = path is not None and stat.S_ISREG(status.st_mode)
        self.size = status.st_size if is_file else None
        self._reader = LineReader(self._stream, self.size)
        self._is_cut = False
        self.table: Table | None = None
        try:
            first = self._read_first()
            self.format = format_ or _find_format(path, first)
            if self.format == "csv":
                self.table = Table(first.content or b"", ignore_columns=ignore_columns)
            event = first if self.table is None else self._read_filled()
        except (ConfigError, OSError):
            self.close()
            raise
        self._head = [event] if event else []
        self.series = hashlib.sha256(event.content or b"").hexdigest() if event else ""

    @property
    def place(self) -> Place:
        """How far it was read."""
        return Place(self._reader.number, self._reader.offset, self._reader.digest)

    @property
    def has_grown(self) -> bool:
        """Whether the file is longer than when it was opened; what is new is not read."""
        return self.size is not None and os.fstat(self._stream.fileno()).st_size > self.size

    def _read_first(self) -> Line:
        """Return the first line that is not blank."""
        first = self._read_filled()
        if first is None:
            raise ConfigError(f"{self.name} is empty")
        _check_first(first)
        if self._is_half(first):
            raise OSError(f"{self.name} is still being written; import it once it is done")
        return first

    def _read_filled(self) -> Line | None:
        return next((line for line in self._reader if line.content != b""), None)

    def lock(self) -> None:
        """Refuse to read the file while another process imports it, until it is closed.

        The file itself is locked, since a lock file of ours could be left behind: the kernel
        releases this lock however a process ends. On file systems without locks, nothing is
        refused.
        Source: Linux man-pages, flock(2), read 2026-11-24.

        Raises:
            OSError: Another process imports it.
        """
        if self.size is None:
            return
        try:
            import fcntl  # here, since Windows has none

            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno == errno.EWOULDBLOCK:
                raise OSError(
                    f"{self.name} is being imported already; wait until that has ended, or stop it"
                ) from None

    def go_to(self, offset: int) -> bool:
        """Read on from ``offset``, and return whether a line begins there.

        Everything before it is read once more, for ``place``.
        """
        self._stream.seek(0)
        self._head = []
        self._reader = LineReader(self._stream, self.size)
        return self._reader.pass_over(offset)

    def read(self) -> Iterator[Line]:
        """Yield the lines that are left, blank ones too, but not half a line at the end."""
        for line in itertools.chain(self._head, self._reader):
            if self._is_half(line):
                self._is_cut = True
                return
            yield line

    def _is_half(self, line: Line) -> bool:
        """Whether ``line`` was still being written when the file was opened."""
        if line.end != self.size or not self.has_grown:
            return False
        return os.pread(self._stream.fileno(), 1, line.end - 1) != b"\n"

    def check_end(self) -> None:
        """Raise if less was read than the file held when it was opened.

        Raises:
            OSError: Its last line was still being written, or it was cut meanwhile.
        """
        if self._is_cut:
            raise OSError(
                f"{self.name} is still being written: all but its last line is imported; --restart"
                " imports the rest once it is done"
            )
        if self.size is not None and self._reader.offset < self.size:
            raise OSError(f"{self.name} has become shorter while it was read")

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def _open(path: Path | None) -> BinaryIO:
    try:
        if path is None:
            return open(0, "rb", buffering=BUFFER_BYTES, closefd=False)
        return path.open("rb", buffering=BUFFER_BYTES)
    except OSError as error:
        raise OSError(f"cannot read {path or 'standard input'}: {error.strerror}") from None


def _check_first(line: Line) -> None:
    """Refuse what is not a file of lines at all, with advice."""
    content = line.content
    if content is None:
        raise ConfigError(f"the first line is longer than {MAX_LINE >> 20} MiB; is this text?")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content:
        raise ConfigError("not UTF-8 text; save the file as CSV UTF-8 or as JSON lines")
    if content.lstrip(b"\xef\xbb\xbf \t").startswith(b"["):
        raise ConfigError("one JSON list, expected one object a line; jq -c '.[]' makes such lines")


def _find_format(path: Path | None, first: Line) -> Format:
    suffix = path.suffix.lower() if path else ""
    if suffix in (".csv", ".tsv"):
        return "csv"
    if suffix in (".json", ".jsonl", ".ndjson"):
        return "json"
    begins_object = (first.content or b"").lstrip(b"\xef\xbb\xbf \t").startswith(b"{")
    return "json" if begins_object else "csv"
