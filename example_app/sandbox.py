"""The sandbox as a child process: it stands in for Meta and Segment, and shows what it received."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from example_app.settings import ACCESS_TOKEN, WRITE_KEY

SANDBOX_HOST = "127.0.0.1"
STARTS_WITHIN = 60.0  # seconds
ENDS_WITHIN = 5.0  # seconds


@contextmanager
def running_sandbox(port: int, settings: Mapping[str, str], shop: str) -> Iterator[None]:
    """Run the sandbox while the block runs, for the app at ``shop``.

    It runs in a session of its own, so that Ctrl-C reaches only the shop, which can then still
    send its last events to the sandbox.

    Raises:
        OSError: The sandbox did not start; stderr says why.
    """
    options = {
        "--host": SANDBOX_HOST,
        "--port": str(port),
        "--pixel-id": settings["BRIDGE_PIXEL_ID"],
        "--access-token": settings.get("BRIDGE_ACCESS_TOKEN", ACCESS_TOKEN),
        "--shop": shop,
        "--write-key": settings.get("BRIDGE_SEGMENT_WRITE_KEY", WRITE_KEY),
    }
    arguments = [text for option in options.items() for text in option]
    sandbox = subprocess.Popen(  # noqa: S603 - our own command, no shell
        [sys.executable, "-m", "bridge", "sandbox", *arguments],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait_until_it_answers(sandbox, port)
        yield
    finally:
        sandbox.terminate()
        try:
            sandbox.wait(ENDS_WITHIN)
        except subprocess.TimeoutExpired:  # an open page of its events may keep it running
            sandbox.kill()
            sandbox.wait()


def _wait_until_it_answers(sandbox: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + STARTS_WITHIN
    while sandbox.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection((SANDBOX_HOST, port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise OSError(f"the sandbox did not start on port {port}")
