"""The file of rejected lines: for each its number, the field at fault and the reason, as JSON."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from bridge.errors import ConfigError
from bridge.imports.record import Rejection


class Rejects:
    """Lines of JSON in a file, made with the first of them.

    Args:
        path: The file; ``None`` keeps nothing.
        length: Bytes of it that count. What an interrupted batch wrote behind them goes, since its
            lines are read again.
    """

    def __init__(self, path: Path | None, length: int = 0) -> None:
        self.path = path
        self.length = length
        self._file: BinaryIO | None = None

    def open(self) -> None:
        """Cut the file to the bytes that count, and forget a former import's.

        Raises:
            ConfigError: It cannot be written.
        """
        if self.path is None:
            return
        try:
            if not self.length:
                self.path.unlink(missing_ok=True)
                return
            self._file = self.path.open("ab")
            self.length = min(self.length, self._file.tell())
            self._file.truncate(self.length)
        except OSError as error:
            raise self._error(error) from None

    def write(self, rejections: Sequence[Rejection]) -> None:
        """Append ``rejections``, on disk when this returns.

        Raises:
            ConfigError: They cannot be written.
        """
        if self.path is None or not rejections:
            return
        content = b"".join(msgspec.json.encode(each) + b"\n" for each in rejections)
        try:
            if self._file is None:
                self._file = self.path.open("ab")
            self._file.write(content)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._error(error) from None
        self.length += len(content)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _error(self, error: OSError) -> ConfigError:
        return ConfigError(f"cannot write {self.path}: {error.strerror}; see --rejected")
