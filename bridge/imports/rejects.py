"""The file of rejected lines: for each its number, the field at fault and the reason, as JSON."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from bridge.errors import InvalidEventError
from bridge.files import open_private
from bridge.imports.lines import Line

_NAME = re.compile(r"[\w.\[\]-]{1,100}")
_LONG_NUMBER = re.compile(r"[0-9][0-9 ()./-]{5,}[0-9]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A line that is not imported.

    Attributes:
        line: Its number, from 1.
        field: The field at fault.
        reason: What was expected there; never holds the value.
    """

    line: int
    field: str
    reason: str


def build_rejection(line: Line, error: InvalidEventError) -> Rejection:
    """Return why ``line`` is not imported, in words that hold nothing of the line but names.

    A key may be personal too, if a cell slipped into the header or an object has people as its
    keys; and a number in a reason may be a phone number in the wrong column.
    """
    named = _NAME.fullmatch(error.field) and not _LONG_NUMBER.search(error.field)
    reason = _LONG_NUMBER.sub("(a number)", error.reason)
    return Rejection(line=line.number, field=error.field if named else "(a key)", reason=reason)


class Rejects:
    """Lines of JSON in a file, which is created with the first of them.

    Args:
        path: The file; ``None`` keeps nothing.

    Attributes:
        length: Bytes of it that count.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.length = 0
        self._file: BinaryIO | None = None

    def open(self, length: int) -> None:
        """Cut the file to ``length`` bytes; with none of them, delete that of a former import.

        What an interrupted batch wrote after them goes, since its lines are read again.

        Raises:
            OSError: It cannot be written.
        """
        self.length = length
        if self.path is None:
            return
        with self._explaining():
            if not length:
                self.path.unlink(missing_ok=True)
                return
            self._file = _append_to(self.path)
            self.length = min(length, self._file.tell())
            self._file.truncate(self.length)

    def write(self, rejections: Sequence[Rejection]) -> None:
        """Append ``rejections``, on disk when this returns.

        Raises:
            OSError: They cannot be written.
        """
        if self.path is None or not rejections:
            return
        content = b"".join(msgspec.json.encode(each) + b"\n" for each in rejections)
        with self._explaining():
            if self._file is None:
                self._file = _append_to(self.path)
            self._file.write(content)
            self._file.flush()
            os.fsync(self._file.fileno())
        self.length += len(content)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            advice = f"cannot write {self.path}: {error.strerror}; see --rejected"
            raise OSError(advice) from None


def _append_to(path: Path) -> BinaryIO:
    return os.fdopen(open_private(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "ab")
