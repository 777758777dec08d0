"""A real Redis on loopback, which tests may kill, freeze and start again on its port and data."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import redis

from tests.servers import DEADLINE, POLL, find_free_port

SLOTS = 16384  # of a cluster
DURABLE = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")


class RedisServer:
    """One server process at a time, and the folder of its data."""

    def __init__(self, folder: Path, options: tuple[str, ...], config: str = "") -> None:
        self._folder = folder
        self._config = config
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.port = find_free_port()
        self.bus = 0  # the port on which a cluster's nodes talk to it
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start and wait until it answers PING with its data loaded."""
        log = self._folder / "redis.log"
        address = ["--bind", "127.0.0.1", "--port", str(self.port)]
        if self._config:  # of a sentinel, which rewrites it
            path = self._folder / "sentinel.conf"
            path.write_text(self._config)
            address = [str(path), "--sentinel", *address]
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
def running_sentinel(master: RedisServer) -> Iterator[RedisServer]:
    """A sentinel that alone decides when ``master`` is down: after half a second."""
    config = f"""
sentinel monitor mymaster 127.0.0.1 {master.port} 1
sentinel down-after-milliseconds mymaster 500
sentinel failover-timeout mymaster 2000
"""
    with tempfile.TemporaryDirectory(prefix="bridge-sentinel-") as folder:
        server = RedisServer(Path(folder), (), config)
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


class RedisCluster:
    """Masters that share all slots evenly; replicas are left to tests.

    Attributes:
        nodes: Its servers.
        url: For ``RedisOutbox``.
    """

    def __init__(self, nodes: list[RedisServer]) -> None:
        self.nodes = nodes
        self._moved: dict[int, int] = {}  # slots to the node that has them since
        self.url = f"redis://127.0.0.1:{nodes[0].port}?cluster=true"

    def join(self) -> None:
        """Give each node its share of the slots, and wait until all agree."""
        links: list[Any] = [redis.Redis(port=node.port) for node in self.nodes]
        for number, link in enumerate(links):
            own = [slot for slot in range(SLOTS) if _find_first(slot, len(links)) == number]
            link.execute_command("CLUSTER", "ADDSLOTSRANGE", own[0], own[-1])
            first = self.nodes[0]
            link.execute_command("CLUSTER", "MEET", "127.0.0.1", first.port, first.bus)
        deadline = time.monotonic() + DEADLINE
        while not all(self._is_whole(link) for link in links):
            if time.monotonic() > deadline:
                raise RuntimeError("the cluster did not become one")
            time.sleep(POLL)
        for link in links:
            link.close()

    def move(self, slot: int) -> None:
        """Move ``slot`` to the next node, while clients go on: an entry at a time."""
        links: list[Any] = [redis.Redis(port=node.port) for node in self.nodes]
        names = [link.execute_command("CLUSTER", "MYID").decode() for link in links]
        at = self._moved.get(slot, _find_first(slot, len(links)))
        to = self._moved[slot] = (at + 1) % len(links)
        links[to].execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", names[at])
        links[at].execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", names[to])
        while keys := links[at].execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1):
            port = self.nodes[to].port
            links[at].execute_command("MIGRATE", "127.0.0.1", port, keys[0], 0, 5000)
        for link in (links[to], links[at], *links):
            link.execute_command("CLUSTER", "SETSLOT", slot, "NODE", names[to])
            link.close()

    def _is_whole(self, link: Any) -> bool:
        info = link.cluster("INFO")
        return info["cluster_state"] == "ok" and int(info["cluster_size"]) == len(self.nodes)


def _find_first(slot: int, nodes: int) -> int:
    """Return the node that has ``slot`` at the beginning."""
    return slot * nodes // SLOTS


@contextmanager
def running_redis_cluster(masters: int = 3, *options: str) -> Iterator[RedisCluster]:
    """A cluster of ``masters``, each with its share of the slots."""
    with ExitStack() as stack:
        nodes = []
        for _ in range(masters):
            bus = find_free_port()
            own = ("--cluster-enabled", "yes", "--cluster-port", str(bus), *options)
            nodes.append(stack.enter_context(running_redis_server(*own)))
            nodes[-1].bus = bus
        cluster = RedisCluster(nodes)
        cluster.join()
        yield cluster


@contextmanager
def running_cluster() -> Iterator[str]:
    """The URL of a cluster of three masters."""
    with running_redis_cluster() as cluster:
        yield cluster.url


def _find_binary() -> str:
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        raise RuntimeError(
            "redis-server is missing: apt-get install redis-server, or valkey-server"
        )
    return found
