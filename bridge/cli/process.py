"""The process of a command: its signals, and its streams, which may be closed or on a full disk."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

INTERRUPTED = 130  # exit code of a process that SIGINT ended

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_RUNNER: ContextVar[asyncio.Runner] = ContextVar("bridge_runner")

_Result = TypeVar("_Result")


@contextmanager
def one_loop() -> Iterator[None]:
    """Have all that is run meanwhile share one event loop.

    What an app opens while one of its shops is loaded, such as a pool of connections, is then
    usable later.
    """
    with asyncio.Runner() as runner:
        token = _RUNNER.set(runner)
        try:
            yield
        finally:
            _RUNNER.reset(token)


def run(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Return the result of ``work``, run on the command's event loop."""
    return _RUNNER.get().run(work)


@contextmanager
def on_stop(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` on the running event loop at the first SIGINT or SIGTERM.

    The second one ends the process as ``kill -9`` would; nothing that was stored is lost.
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
    """Open the null device in place of each standard stream that the caller closed.

    Done first, so that it also takes the closed descriptor's number, which the outbox's file would
    get otherwise.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - for as long as we run


def flush_all() -> None:
    """Flush the output; discard what cannot be written.

    Otherwise Python tries again at exit, and changes the exit code if that fails.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
