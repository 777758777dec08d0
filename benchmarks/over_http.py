"""Requests a second through uvicorn (uvloop, httptools, one worker), asked for by wrk.

One server a peer, all on the loopback; they take turns under wrk, and a turn is compared with the
bare app's. Server and wrk get a processor each where there are two.

Counted are the requests of a second, and of a second that the server's process was given on its
processor: on a shared machine others take their part of the first, and not of the second.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

import uvicorn

from benchmarks.peers import (
    BARE,
    CASES,
    HISTORY,
    HOST,
    PEERS,
    Browser,
    Case,
    build_bridge,
    build_peers,
    check,
)
from benchmarks.report import Spread, divide

ROUNDS = 7
SECONDS = 1  # of one turn
CONNECTIONS = 16
DEADLINE = 20  # seconds for a server to come up, or wrk to end beyond its time

_RATE = re.compile(r"Requests/sec:\s+([0-9.]+)")
_COUNT = re.compile(r"(\d+) requests in ")


class Turn(NamedTuple):
    """What one server served under wrk.

    Attributes:
        rate: Requests a second.
        work: Requests a second of processor time; 0 if the system does not report it.
    """

    rate: float
    work: float


def serve(peer: str, directory: str) -> None:
    """Serve one peer on a free port of the loopback; say which on standard output."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(
        build_peers(build_bridge(directory))[peer],
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
    )
    uvicorn.Server(config).run(sockets=[listener])


@contextlib.contextmanager
def run_servers(processor: list[str], directory: str) -> Iterator[dict[str, tuple[int, int]]]:
    """Run a server a peer; yield their ports and process ids."""
    servers: dict[str, subprocess.Popen[str]] = {}
    try:
        for peer in PEERS:
            serve = ["-m", "benchmarks", "--serve", peer, directory]
            command = [*processor, sys.executable, *serve]
            servers[peer] = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        yield {
            peer: (int(server.stdout.readline()), server.pid)
            for peer, server in servers.items()
            if server.stdout
        }
    finally:
        for server in servers.values():
            server.terminate()
        for server in servers.values():
            try:
                server.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                server.kill()


def _headers(case: Case, browser: Browser) -> dict[str, str]:
    cookie = {"cookie": browser.cookie_header} if browser.cookies else {}
    return {"host": HOST, **case.headers, **cookie}


def _target(case: Case) -> str:
    return f"{case.path}?{case.query}" if case.query else case.path


def _request(port: int, case: Case, browser: Browser) -> tuple[int, set[str], str]:
    """Make one request; return its status, the cookies it wrote and the page."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    headers = {**_headers(case, browser), "accept-encoding": "identity"}
    connection.request("GET", _target(case), headers=headers)
    response = connection.getresponse()
    page = response.read().decode()
    lines = response.headers.get_all("set-cookie") or []
    connection.close()
    return response.status, browser.keep(lines), page


def _meet(port: int, peer: str, case: Case) -> Browser:
    """Return the browser that makes the requests of ``case``, once its answer is found right."""
    browser = Browser()
    browser.forget()
    known = ""
    if case.returning:
        for earlier in HISTORY:
            known = _request(port, earlier, browser)[2]
        found = Browser()
        found.keep(f"{name}={value}" for name, value in browser.cookies.items())
        browser = found
    before = dict(browser.cookies)
    check(case, peer, *_request(port, case, browser), known)
    browser.cookies = before
    return browser


def _read_processor_time(pid: int) -> float:
    """Return seconds that a process has run, all threads; 0 where ``/proc`` is missing."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _press(port: int, pid: int, case: Case, browser: Browser, processor: list[str]) -> Turn:
    headers = [("-H", f"{name}: {value}") for name, value in _headers(case, browser).items()]
    url = f"http://127.0.0.1:{port}{_target(case)}"
    return press(pid, [*chain.from_iterable(headers), url], processor)


def press(pid: int, arguments: list[str], processor: list[str]) -> Turn:
    """Let wrk ask for a turn.

    Args:
        pid: The server's process.
        arguments: For wrk: what it asks for.
        processor: A command that gives wrk its processor.
    """
    command = [*processor, "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", *arguments]
    before = _read_processor_time(pid)
    said = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=SECONDS + DEADLINE
    ).stdout
    spent = _read_processor_time(pid) - before
    rate, count = _RATE.search(said), _COUNT.search(said)
    if rate is None or count is None or "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(f"wrk: {said}")
    return Turn(float(rate[1]), int(count[1]) / spent if spent else 0.0)


def share_processors() -> tuple[list[str], list[str]]:
    """Return commands that give the servers one processor and wrk another, where there are two."""
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing; on Debian: apt-get install wrk")
    processors = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(processors) < 2 or not shutil.which("taskset"):
        return [], []
    return ["taskset", "-c", str(processors[0])], ["taskset", "-c", str(processors[1])]


def run(rounds: int = ROUNDS) -> dict[str, dict[str, list[Turn]]]:
    """Return every peer's turns by case."""
    ours, its = share_processors()
    turns: dict[str, dict[str, list[Turn]]] = {}
    with tempfile.TemporaryDirectory() as directory, run_servers(ours, directory) as servers:
        for case in CASES:
            if case.unremembered:
                continue
            browsers = {peer: _meet(servers[peer][0], peer, case) for peer in PEERS}
            turns[case.title] = {peer: [] for peer in PEERS}
            for turn in range(1 + rounds):
                for n in range(len(PEERS)):
                    peer = PEERS[(turn + n) % len(PEERS)]
                    found = _press(*servers[peer], case, browsers[peer], its)
                    if turn > 0:
                        turns[case.title][peer].append(found)
    return turns


def summarize(turns: dict[str, list[Turn]], peer: str) -> list[Spread]:
    """Return a peer's share of the bare app's requests: of a second, and of processor time."""
    mine, bare = zip(*turns[peer], strict=True), zip(*turns[BARE], strict=True)
    pairs = [(ours, its) for ours, its in zip(mine, bare, strict=True) if all(its)]
    return [divide(ours, its) for ours, its in pairs]
