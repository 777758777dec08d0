"""A real Redis on loopback, which tests may kill, freeze and start again on its port and data."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers import DEADLINE, POLL, find_free_port

DURABLE = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")


class RedisServer:
    """One server process at a time, and the folder of its data."""

    def __init__(self, folder: Path, options: tuple[str, ...]) -> None:
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.port = find_free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start and wait until it answers PING with its data loaded."""
        log = self._folder / "redis.log"
        address = ["--bind", "127.0.0.1", "--port", str(self.port)]
        self._process = subprocess.Popen(
            [_find_binary(), *address, *self._options, "--dir", str(self._folder), "--logfile", log]
        )
        deadline = time.monotonic() + DEADLINE
        while self._process.poll() is None and time.monotonic() < deadline:
            if self._ask(b"PING").startswith((b"+PONG", b"-NOAUTH")):
                return
            time.sleep(POLL)
        self.kill()
        raise RuntimeError(f"redis-server did not start: {log.read_text()}")

    def kill(self) -> None:
        """End it as a power cut would."""
        self._signal(signal.SIGKILL)
        self._end()

    def freeze(self) -> None:
        """Let it hang: its port takes connections, nobody answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on after ``freeze``."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it for good, frozen or not."""
        self._signal(signal.SIGTERM)
        self.thaw()
        self._end()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _end(self) -> None:
        if self._process is not None:
            self._process.wait(timeout=DEADLINE)
            self._process = None

    def _ask(self, command: bytes) -> bytes:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as link:
                link.sendall(command + b"\r\n")
                return link.recv(100)
        except OSError:
            return b""


@contextmanager
def running_redis_server(*options: str) -> Iterator[RedisServer]:
    """A server that syncs each write, unless ``options`` say otherwise."""
    with tempfile.TemporaryDirectory(prefix="bridge-redis-") as folder:
        server = RedisServer(Path(folder), (*DURABLE, *options))
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def running_redis() -> Iterator[str]:
    """The URL of a server, such as ``redis://127.0.0.1:6379/0``."""
    with running_redis_server() as server:
        yield server.url


def _find_binary() -> str:
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        raise RuntimeError(
            "redis-server is missing: apt-get install redis-server, or valkey-server"
        )
    return found
