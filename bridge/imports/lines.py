"""Lines of a stream: of bounded length, each with its place, so that reading can go on there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

MAX_LINE = 1_048_576  # bytes of a line, its end included


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


def read_lines(stream: BinaryIO, *, number: int = 0, offset: int = 0) -> Iterator[Line]:
    """Yield the lines of ``stream``, which stands at ``offset``, behind line ``number``.

    A line that is too long is skipped piece by piece and never held.
    """
    while piece := stream.readline(MAX_LINE):
        end = offset + len(piece)
        content: bytes | None = piece.rstrip(b"\r\n")
        while len(piece) == MAX_LINE and not piece.endswith(b"\n"):
            content = None
            piece = stream.readline(MAX_LINE)
            end += len(piece)
        number += 1
        yield Line(number, offset, end, content)
        offset = end
