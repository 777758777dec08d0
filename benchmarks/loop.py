"""The event loop that a web process has: uvloop's, if it is installed."""

from __future__ import annotations

import asyncio
import importlib
import sys


def new_loop() -> asyncio.AbstractEventLoop:
    """Return one."""
    try:
        loop: asyncio.AbstractEventLoop = importlib.import_module("uvloop").new_event_loop()
    except ImportError:
        print("uvloop is missing: asyncio's own loop is used", file=sys.stderr)
        loop = asyncio.new_event_loop()
    return loop
