"""How far an import has come: a small file next to the imported one, replaced atomically.

It is written only after a batch stands in the outbox. It stays when all is imported, so that the
same command given again sends nothing twice, however late.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from bridge.errors import ConfigError
from bridge.imports.source import Source

MAX_BYTES = 100_000  # of the file


class Tally(msgspec.Struct):
    """What became of the lines so far.

    Attributes:
        lines: Read; blank ones and a header do not count.
        stored: New in the outbox.
        repeated: In the outbox before, waiting or delivered in the last 48 hours.
        rejected: Not stored; why stands in the file of rejected lines.
    """

    lines: int = 0
    stored: int = 0
    repeated: int = 0
    rejected: int = 0


class Progress(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How far one file has come.

    Attributes:
        size, fingerprint, format: Of the file, to know it again.
        destinations: Where its events go.
        line: The last line that is done with.
        offset: Where the next one begins.
        rejected_bytes: Length of the file of rejected lines.
        stored_at: When the last batch was stored, Unix seconds.
        finished: Whether the last line is done with.
        tally: What became of the lines.
    """

    size: int
    fingerprint: str
    format: str
    destinations: list[str]
    line: int = 0
    offset: int = 0
    rejected_bytes: int = 0
    stored_at: float = 0.0
    finished: bool = False
    tally: Tally = msgspec.field(default_factory=Tally)


class ProgressFile:
    """Where the progress of a file is kept; a stream's is not.

    Args:
        path: The file; ``None`` keeps nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def load(self, source: Source, destinations: list[str]) -> Progress:
        """Return how far ``source`` has come, its beginning if it was never begun.

        Raises:
            ConfigError: The file has changed since, or goes elsewhere; says what to do.
        """
        fresh = Progress(
            size=source.size or 0,
            fingerprint=source.fingerprint,
            format=source.format,
            destinations=destinations,
        )
        found = self._read()
        if found is None:
            return fresh
        if (found.size, found.fingerprint) != (fresh.size, fresh.fingerprint):
            raise ConfigError(self._advise(f"{source.name} has changed since its import began"))
        if (found.format, found.destinations) != (fresh.format, fresh.destinations):
            before = f"{found.format} to {', '.join(found.destinations)}"
            raise ConfigError(self._advise(f"{source.name} was begun as {before[:200]}"))
        return found

    def _read(self) -> Progress | None:
        if self.path is None:
            return None
        try:
            with self.path.open("rb") as file:
                return msgspec.json.decode(file.read(MAX_BYTES), type=Progress)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"cannot read {self.path}: {error.strerror}") from None
        except msgspec.MsgspecError:
            raise ConfigError(self._advise(f"{self.path} is damaged")) from None

    def _advise(self, what: str) -> str:
        return (
            f"{what}; --restart imports it from its beginning (what went out in the last 48 hours"
            " is not sent again), or give new lines a file of their own"
        )

    def save(self, progress: Progress) -> None:
        """Replace the file by ``progress``, on disk when this returns.

        Raises:
            ConfigError: It cannot be written.
        """
        if self.path is None:
            return
        draft = self.path.with_name(self.path.name + ".tmp")
        try:
            with draft.open("wb") as file:
                file.write(msgspec.json.encode(progress))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
        except OSError as error:
            raise ConfigError(f"cannot write {self.path}: {error.strerror}") from None

    def forget(self) -> None:
        """Begin anew."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
