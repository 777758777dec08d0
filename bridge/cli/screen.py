"""What commands write: plain text and tables, with colour only on a terminal."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, RenderableType
from rich.highlighter import JSONHighlighter
from rich.table import Table
from rich.text import Text

from bridge.errors import ConfigError

PIPE_WIDTH = 200  # columns, if there is no terminal

_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"))


class _Console(Console):
    """A console that never ends the process: a worker delivers even if nobody reads its output."""

    def on_broken_pipe(self) -> None:
        """Raise the error, as for any other failed write."""
        raise  # noqa: PLE0704 - called while the error is handled


def open_console(*, stderr: bool = False) -> Console:
    """Return a console on standard output, or on standard error."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else PIPE_WIDTH
    return _Console(file=stream, highlight=False, markup=False, emoji=False, width=width)


def plain(text: str) -> str:
    """Return ``text`` with ``?`` for control characters, which could move a terminal's cursor."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def say(text: str, *, stderr: bool = False) -> None:
    """Write one line.

    Raises:
        ConfigError: It cannot be written, for example because the disk is full.
        BrokenPipeError: Nobody reads it; the command ends silently.
    """
    _print(plain(text), stderr=stderr)


def _print(what: RenderableType, *, stderr: bool = False) -> None:
    try:
        open_console(stderr=stderr).print(what, soft_wrap=isinstance(what, str))
    except BrokenPipeError:
        raise
    except OSError as error:
        stream = "standard error" if stderr else "standard output"
        raise ConfigError(f"cannot write {stream}: {error.strerror}") from None


def say_json(value: Any) -> None:
    """Write ``value`` as JSON, for programs."""
    say(json.dumps(value, indent=2))


def say_blocks(blocks: Sequence[tuple[str, str]], *, side_by_side: int) -> None:
    """Write texts, which may be JSON, under their titles; raises as ``say`` does.

    They stand side by side if the terminal has ``side_by_side`` columns, else below each other.
    """
    highlight = JSONHighlighter() if sys.stdout.isatty() else Text
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    if open_console().width >= side_by_side:
        for title, _ in blocks:
            table.add_column(title, overflow="fold", ratio=1, vertical="top")
        table.expand = True
        table.add_row(*(highlight(plain(text)) for _, text in blocks))
        _print(table)
        return
    for title, text in blocks:
        _print(Text(title, style="bold"))
        _print(highlight(plain(text)))
        say("")


def say_marked(mark: str, style: str, text: str) -> None:
    """Write one line with a coloured mark in front; raises as ``say`` does."""
    _print(Text.assemble((mark, style), " ", plain(text)))


def say_table(columns: Sequence[str], rows: Sequence[Sequence[str | int]]) -> None:
    """Write a table, columns of numbers right-aligned; raises as ``say`` does."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, column in enumerate(columns):
        numbers = bool(rows) and all(isinstance(row[i], int) for row in rows)
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        cells = (f"{cell:,}" if isinstance(cell, int) else plain(cell) for cell in row)
        table.add_row(*map(Text, cells))
    _print(table)


def write_events(number: int, one: str, many: str) -> str:
    """Return how many events do something, such as ``"1 event waits"`` or ``"2 events wait"``."""
    return f"1 event {one}" if number == 1 else f"{number:,} events {many}"


def write_age(seconds: float) -> str:
    """Return a duration in its largest unit, such as ``"4 min"``."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def write_time(seconds: float) -> str:
    """Return Unix seconds as ISO 8601, UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


class ConsoleHandler(logging.Handler):
    """Writes the log above whatever else the console shows, such as a progress bar."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Write ``record``; if it cannot be written, only this record is lost."""
        # A console keeps what it failed to write and tries again with the next record, so without a
        # terminal each record gets a console of its own.
        console = self._console if self._console.is_terminal else open_console(stderr=True)
        with contextlib.suppress(OSError):
            console.print(plain(self.format(record)), soft_wrap=True)


@contextlib.contextmanager
def log_to(console: Console, level: int = logging.INFO) -> Iterator[None]:
    """Send this package's log to ``console``."""
    handler = ConsoleHandler(console)
    logger = logging.getLogger("bridge")
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
        logger.propagate = True
