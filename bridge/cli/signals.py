"""Ctrl-C and SIGTERM: the first asks to stop, the second ends at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
