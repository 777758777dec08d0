"""The process a command runs in: its streams, closed or on a full disk, and its signals."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

INTERRUPTED = 130  # exit code, as of a process that SIGINT ended

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def on_stop(stop: Callable[[], None]) -> Iterator[None]:
    """Have ``stop`` called on the running event loop by the first signal.

    The second ends the process as ``kill -9`` would: nothing that was stored is lost by that.
    """
    loop = asyncio.get_running_loop()
    asked = False

    def receive() -> None:
        nonlocal asked
        if asked:
            os._exit(INTERRUPTED)
        asked = True
        stop()

    for name in _SIGNALS:
        loop.add_signal_handler(name, receive)
    try:
        yield
    finally:
        for name in _SIGNALS:
            loop.remove_signal_handler(name)


def open_closed() -> None:
    """Have the null device where the caller closed a stream: nobody listens, nothing comes.

    Opened first, it takes the closed descriptor's number too, which the outbox's file would have.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - for as long as we run


def flush_all() -> None:
    """Write what is left to be written; what cannot be goes nowhere.

    Python would try once more at its end, and change the exit code if that fails.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _send_nowhere(stream)


def _send_nowhere(stream: TextIO) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
