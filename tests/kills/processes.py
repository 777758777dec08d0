"""The processes of a kill run: recorder, shop and worker. Each is killed by its process id."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import msgspec

from tests.factories import SECRET
from tests.kills.recorder import Notebook
from tests.servers import DEADLINE, POLL, ROOT, find_free_port

PIXEL_ID = "1234567890123456"


class Process:
    """One command that can be killed and started again; its output goes to a file."""

    def __init__(
        self, args: list[str], log: Path, environ: Mapping[str, str], port: int | None = None
    ) -> None:
        self.log = log
        self._args = args
        self._environ = {**os.environ, **environ}
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._read = 0  # bytes of the log before the last start

    def start(self) -> None:
        """Start it and wait until it listens, or until the worker says that it delivers."""
        self._read = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self._args],
                cwd=ROOT,
                env=self._environ,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + DEADLINE
        while self._process.poll() is None and time.monotonic() < deadline:
            if self._is_up():
                return
            time.sleep(POLL)
        self.kill()
        raise RuntimeError(f"{self._args} did not start: {self.log.read_text()[-2000:]}")

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process
        return self._process.pid

    def _is_up(self) -> bool:
        if self._port is None:
            return b"delivers " in self.log.read_bytes()[self._read :]
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0

    def kill(self) -> None:
        """End it as a power cut would."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(timeout=DEADLINE)


class Recorder:
    """The sandbox with its notebook, in a process that nobody kills."""

    def __init__(self, folder: Path, *, max_delay: float = 0.0) -> None:
        port = find_free_port()
        self.url = f"http://127.0.0.1:{port}"
        args = ["uvicorn", "tests.kills.recorder:build_app", "--factory", *_quiet(port)]
        environ = {"KILLS_MAX_DELAY": str(max_delay)}
        self.process = Process(args, folder / "recorder.log", environ, port)

    async def read(self) -> Notebook:
        async with httpx.AsyncClient(base_url=self.url, timeout=DEADLINE) as client:
            answer = await client.get("/recorder")
        return msgspec.json.decode(answer.content, type=Notebook)


def _quiet(port: int) -> list[str]:
    return ["--port", str(port), "--log-level", "warning", "--no-access-log"]


class Site:
    """The shop, its worker or the sender within it, and the recorder that they deliver to.

    Args:
        folder: For logs, the spool, and the outbox if it is a file.
        outbox_url: Where events wait.
        has_worker: Whether ``pixel-bridge worker`` delivers; the shop's own process otherwise.
        environ: More variables, such as the pauses of ``tests.kills.shop``.
        max_delay: Seconds that a request to the recorder is held up, twice, at most.
    """

    def __init__(
        self,
        folder: Path,
        outbox_url: str,
        *,
        has_worker: bool,
        environ: Mapping[str, str] | None = None,
        max_delay: float = 0.0,
    ) -> None:
        self.recorder = Recorder(folder, max_delay=max_delay)
        self.outbox_url = outbox_url
        self.spool = folder / "spool.db"
        port = find_free_port()
        self.url = f"http://127.0.0.1:{port}"
        settings = {
            "BRIDGE_PIXEL_ID": PIXEL_ID,
            "BRIDGE_ACCESS_TOKEN": "sandbox-token",
            "BRIDGE_SECRET_KEY": SECRET,
            "BRIDGE_GRAPH_URL": self.recorder.url,
            "BRIDGE_OUTBOX_URL": outbox_url,
            "BRIDGE_SPOOL": str(self.spool),
            "BRIDGE_RUN_SENDER": str(not has_worker).lower(),
            "BRIDGE_BROWSER_HOLD": "0.2",
            **(environ or {}),
        }
        web = ["uvicorn", "tests.kills.shop:app", *_quiet(port)]
        self.processes = {"web": Process(web, folder / "web.log", settings, port)}
        if has_worker:
            worker = ["bridge", "worker", "--app", "tests.kills.shop:shop_bridge"]
            self.processes["worker"] = Process(worker, folder / "worker.log", settings)

    def start(self) -> None:
        with ThreadPoolExecutor() as threads:
            all_started = threads.map(Process.start, self._all())
        list(all_started)  # raises what one of them did

    def stop(self) -> None:
        for process in self._all():
            process.kill()

    def _all(self) -> list[Process]:
        return [self.recorder.process, *self.processes.values()]


@contextmanager
def running_site(site: Site) -> Iterator[Site]:
    try:
        site.start()
        yield site
    finally:
        site.stop()
