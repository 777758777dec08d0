"""Standard input, output and error as a command finds them: closed, or on a full disk."""

from __future__ import annotations

import os
import sys
from typing import TextIO


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
