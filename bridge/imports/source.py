"""A file or a stream of events: its format, its columns, and its lines from any place on."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from bridge.errors import ConfigError
from bridge.imports.lines import MAX_LINE, Line, read_lines
from bridge.imports.table import Table

Format = Literal["json", "csv"]

FINGERPRINT_BYTES = 65_536  # of the beginning
BUFFER_BYTES = 262_144

_FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
}


class Source:
    """Where events are read from.

    Args:
        path: A file; ``None`` reads standard input.
        format_: What the lines are; by default the file's name or its first line tells.
        ignore_columns: Whether a CSV's unknown columns are left out; they are refused otherwise.

    Attributes:
        name: For people.
        size: Bytes; ``None`` for a stream, which cannot be read again.
        fingerprint: SHA-256 of the beginning, hex; ``""`` for a stream.
        format: What the lines are.
        table: The columns of a CSV.

    Raises:
        ConfigError: It cannot be read, or its first line is no header and no event.
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
        self._lines = read_lines(self._stream)
        self.table: Table | None = None
        try:
            self.fingerprint = self._read_fingerprint() if is_file else ""
            self._first = self._read_first()
            self.format = format_ or _tell_format(path, self._first)
            if self.format == "csv":
                self.table = Table(self._first.content or b"", ignore_columns=ignore_columns)
        except ConfigError:
            self.close()
            raise

    def _read_fingerprint(self) -> str:
        digest = hashlib.sha256(self._stream.read(FINGERPRINT_BYTES)).hexdigest()
        self._stream.seek(0)
        return digest

    def _read_first(self) -> Line:
        """Return the first line that is not blank."""
        for line in self._lines:
            if line.content != b"":
                _check_first(line)
                return line
        raise ConfigError(f"{self.name} is empty")

    def read(self, *, number: int = 0, offset: int = 0) -> Iterator[Line]:
        """Yield the lines behind line ``number``, which ends at ``offset``; blank ones too."""
        if offset > self._first.end:
            self._stream.seek(offset)
            yield from read_lines(self._stream, number=number, offset=offset)
            return
        if self.table is None and offset < self._first.end:
            yield self._first
        yield from self._lines

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def _open(path: Path | None) -> BinaryIO:
    try:
        if path is None:
            return open(0, "rb", buffering=BUFFER_BYTES, closefd=False)
        return path.open("rb", buffering=BUFFER_BYTES)
    except OSError as error:
        raise ConfigError(f"cannot read {path or 'standard input'}: {error.strerror}") from None


def _check_first(line: Line) -> None:
    """Refuse what is no file of lines at all, with advice."""
    content = line.content
    if content is None:
        raise ConfigError(f"the first line is longer than {MAX_LINE >> 20} MiB; is this text?")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content:
        raise ConfigError("this is no UTF-8 text; save the file as CSV UTF-8 or as JSON lines")
    if content.lstrip(b"\xef\xbb\xbf \t").startswith(b"["):
        raise ConfigError("one JSON list, expected one object a line; jq -c '.[]' makes such lines")


def _tell_format(path: Path | None, first: Line) -> Format:
    if path is not None and (known := _FORMATS.get(path.suffix.lower())):
        return known
    begins_object = (first.content or b"").lstrip(b"\xef\xbb\xbf \t").startswith(b"{")
    return "json" if begins_object else "csv"
