"""Real processes on loopback: the sandbox, the example shop. Each is ended by its process id."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parent.parent
DEADLINE = 120.0  # seconds after which a wait hangs; far longer than a busy machine needs
POLL = 0.02  # seconds


def find_free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def start_process(args: list[str], port: int | Path, environ: dict[str, str] | None = None) -> Any:
    """Start ``python -m ARGS`` and wait until ``port``, or a Unix socket, answers."""
    process = subprocess.Popen(
        [sys.executable, "-m", *args],
        cwd=ROOT,
        env={**os.environ, **(environ or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + DEADLINE
    while process.poll() is None and time.monotonic() < deadline:
        is_unix = isinstance(port, Path)
        with socket.socket(socket.AF_UNIX if is_unix else socket.AF_INET) as probe:
            if probe.connect_ex(str(port) if is_unix else ("127.0.0.1", port)) == 0:
                return process
        time.sleep(POLL)
    process.kill()
    raise RuntimeError(f"{args} did not start: {process.communicate()[0]}")


@contextmanager
def running(
    args: list[str],
    port: int | Path,
    environ: dict[str, str] | None = None,
    *,
    stop: signal.Signals = signal.SIGINT,
) -> Iterator[Any]:
    process = start_process(args, port, environ)
    try:
        yield process
    finally:
        stop_process(process, stop)


def stop_process(process: Any, stop: signal.Signals = signal.SIGINT) -> str:
    """End ``process``, by default as Ctrl-C would, and return what it printed."""
    if process.poll() is None:
        process.send_signal(stop)
    try:
        output: str = process.communicate(timeout=DEADLINE)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return output


async def poll(check: Callable[[], Any], what: str = "it", *, seconds: float = DEADLINE) -> Any:
    """Return the first true answer of ``check``, a coroutine function, before the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        answer = await check()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s in vain for {what}")
        await asyncio.sleep(POLL)


def open_client(url: str, **options: Any) -> httpx.AsyncClient:
    """A client for one of these servers. They speak plain HTTP: certificates cost it no time."""
    return httpx.AsyncClient(
        base_url=url, verify=False, trust_env=False, **{"timeout": DEADLINE, **options}
    )


class Sandbox:
    """The sandbox process, as tests see it."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def _call(self, method: str, path: str, **options: Any) -> Any:
        async with open_client(self.url) as client:
            answer = await client.request(method, path, **options)
            answer.raise_for_status()
            return answer.json() if answer.content else None

    async def reset(self) -> None:
        await self._call("DELETE", "/api/events")

    async def fault(self, path: str, **fault: Any) -> None:
        """Ask for a fault: ``status``, ``delay``, ``drop``, ``refuse`` … on ``path``."""
        await self._call("POST", "/api/faults", json={"path": path, "times": 1, **fault})

    async def read(self) -> dict[str, Any]:
        answer: dict[str, Any] = await self._call("GET", "/api/events")
        return answer

    async def actions(self, name: str | None = None) -> list[dict[str, Any]]:
        """What happened, oldest first: each action with its browser and server copies."""
        actions = reversed((await self.read())["actions"])
        return [action for action in actions if name in (None, action["event_name"])]

    async def requests(self) -> list[dict[str, Any]]:
        """Requests to the events endpoint, oldest first."""
        return list(reversed((await self.read())["requests"]))

    async def wait_for_server_copies(
        self, count: int, *, seconds: float = DEADLINE
    ) -> list[dict[str, Any]]:
        """The events received, once there are ``count``."""

        async def check() -> list[dict[str, Any]] | None:
            actions = await self.actions()
            events = [copy["event"] for action in actions for copy in action["server"]]
            return events if len(events) >= count else None

        events: list[dict[str, Any]] = await poll(check, f"{count} server copies", seconds=seconds)
        return events
