"""``pixel-bridge worker``: the sender in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Annotated

import typer

from bridge.cli.origin import App, load_bridge, load_runs
from bridge.cli.process import on_stop, run
from bridge.cli.screen import log_to, open_console, say, write_events
from bridge.core import Bridge
from bridge.delivery.pipeline import Runs
from bridge.errors import ConfigError, OutboxError

DEADLINE = 10.0  # seconds; most supervisors wait as long before they kill


def run_worker(
    app: App = None,
    deadline: Annotated[
        float,
        typer.Option(
            min=0, metavar="SECONDS", help="How long to go on delivering after a signal to stop."
        ),
    ] = DEADLINE,
) -> None:
    """Deliver events until Ctrl-C or SIGTERM.

    Several may run at once.
    """
    bridge = load_bridge(app) if app is None else load_runs(app)
    names = "all shops"
    if isinstance(bridge, Bridge):
        names = ", ".join(bridge.destinations.names)
    with log_to(open_console(stderr=True)):
        run(_work(bridge, f"delivers from {bridge.outbox} to {names}", deadline))


async def _work(bridge: Runs, task: str, deadline: float) -> None:
    stopped = asyncio.Event()
    with on_stop(stopped.set):
        # Not bridge.start(), which does nothing if the app's sender is off.
        bridge._pipeline.start_parts(sends=True)
        _announce(f"{task}; stop with Ctrl-C or SIGTERM")
        await stopped.wait()
        await bridge._pipeline.stop_parts(deadline)
        _announce(f"stopped; {await _describe_waiting(bridge)}")
    await bridge.outbox.close()


def _announce(text: str) -> None:
    """Write a line, if that is possible; delivery goes on if it is not."""
    with contextlib.suppress(ConfigError, BrokenPipeError):
        say(text)


async def _describe_waiting(bridge: Runs) -> str:
    try:
        counts = await bridge.outbox.count(time.time())
    except OutboxError as error:
        return f"how many events wait is not known: {error}"
    return write_events(sum(count.waiting for count in counts.values()), "waits", "wait")
