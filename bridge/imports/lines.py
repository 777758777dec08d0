"""Lines of a stream: of bounded length, each with its place, from which reading can go on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

MAX_LINE = 1_048_576  # bytes of a line, its end included
MAX_SKIPPED = 67_108_864  # bytes of a stream without a line's end; a device may never have one


class Line(NamedTuple):
    """One line.

    Attributes:
        number: From 1.
        offset: Where it begins, bytes from the stream's beginning.
        end: Where the next one begins.
        content: Without its end; ``None`` if it is longer than ``MAX_LINE``.
    """

    number: int
    offset: int
    end: int
    content: bytes | None


class LineReader:
    """Reads a stream line by line, from its beginning.

    Args:
        stream: What is read.
        size: Bytes of it to read, whatever follows; ``None`` reads it to its end.

    Attributes:
        number: Lines read so far.
        offset: Bytes read so far.
    """

    def __init__(self, stream: BinaryIO, size: int | None = None) -> None:
        self._stream = stream
        self._size = size
        self._read_bytes = hashlib.sha256()
        self.number = 0
        self.offset = 0

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes read so far, hex."""
        return self._read_bytes.hexdigest()

    def __iter__(self) -> Iterator[Line]:
        """Yield the lines that are left; one that is too long is skipped and never held.

        Raises:
            OSError: A line has no end.
        """
        start = self.offset
        while piece := self._read_piece(MAX_LINE):
            content: bytes | None = piece.rstrip(b"\r\n")
            while len(piece) == MAX_LINE and not piece.endswith(b"\n"):
                content = None
                piece = self._read_piece(MAX_LINE)
                if self._size is None and self.offset - start > MAX_SKIPPED:
                    most = f"{MAX_SKIPPED >> 20} MiB"
                    raise OSError(f"line {self.number + 1} is longer than {most}; is this text?")
            self.number += 1
            yield Line(self.number, start, self.offset, content)
            start = self.offset

    def pass_over(self, offset: int) -> bool:
        """Read on up to ``offset``, and return whether a line ends there."""
        ended = True
        while piece := self._read_piece(min(MAX_LINE, offset - self.offset)):
            ended = piece.endswith(b"\n")
            self.number += ended
        self.number += not ended
        return self.offset == offset and (ended or offset == self._size)

    def _read_piece(self, most: int) -> bytes:
        """Return at most ``most`` bytes of one line."""
        left = most if self._size is None else min(most, self._size - self.offset)
        piece = self._stream.readline(left)
        self._read_bytes.update(piece)
        self.offset += len(piece)
        return piece
