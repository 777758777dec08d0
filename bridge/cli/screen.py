"""What commands write: plain words and tables, without colour where nobody looks."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPE_WIDTH = 200  # columns, where no terminal tells

_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"))


def open_console(*, stderr: bool = False) -> Console:
    """Return a console on standard output, or on standard error."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else PIPE_WIDTH
    return Console(file=stream, highlight=False, markup=False, emoji=False, width=width)


def plain(text: str) -> str:
    """Return ``text`` without control characters, which could move a terminal's cursor."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def say(text: str, *, stderr: bool = False) -> None:
    """Write one line."""
    open_console(stderr=stderr).print(plain(text), soft_wrap=True)


def say_json(value: Any) -> None:
    """Write ``value`` as JSON, for programs."""
    say(json.dumps(value, indent=2))


def build_table(columns: Sequence[str], rows: Iterable[Sequence[str | int]]) -> Table:
    """Return a table; a column of numbers stands to the right."""
    listed = [list(row) for row in rows]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, column in enumerate(columns):
        numbers = bool(listed) and all(isinstance(row[i], int) for row in listed)
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in listed:
        table.add_row(*(Text(_write(cell)) for cell in row))
    return table


def _write(cell: str | int) -> str:
    return f"{cell:,}" if isinstance(cell, int) else plain(cell)


def write_age(seconds: float) -> str:
    """Return a span of time in its largest unit: ``"4 min"``."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def write_time(seconds: float) -> str:
    """Return Unix seconds as ISO 8601, UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


class ConsoleHandler(logging.Handler):
    """Writes the log above whatever else the console shows, a progress bar for one."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Write ``record``."""
        self._console.print(plain(self.format(record)), soft_wrap=True)


def log_to(console: Console, level: int = logging.INFO) -> logging.Handler:
    """Send this package's log to ``console``; returns what ``logging`` calls with each record."""
    handler = ConsoleHandler(console)
    logger = logging.getLogger("bridge")
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False
    return handler


def stop_logging(handler: logging.Handler) -> None:
    """Undo ``log_to``."""
    logger = logging.getLogger("bridge")
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)
    logger.propagate = True
