"""Requests a second through uvicorn (uvloop, httptools, one worker), asked for by wrk.

One server a peer, all on the loopback; they take turns under wrk, and a turn is compared with the
bare app's. Server and wrk get a processor each where there are two.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import uvicorn

from benchmarks.peers import BARE, CASES, HISTORY, HOST, PEERS, Browser, Case, build_peers, check

ROUNDS = 7
SECONDS = 1  # of one turn
CONNECTIONS = 16
DEADLINE = 20  # seconds for a server to come up, or wrk to end beyond its time

_RATE = re.compile(r"Requests/sec:\s+([0-9.]+)")


def serve(peer: str, directory: str) -> None:
    """Serve one peer on a free port of the loopback; say which on standard output."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(
        build_peers(directory)[peer],
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
    )
    uvicorn.Server(config).run(sockets=[listener])


@contextlib.contextmanager
def _run_servers(processor: list[str], directory: str) -> Iterator[dict[str, int]]:
    """Run a server a peer; yield their ports."""
    servers: dict[str, subprocess.Popen[str]] = {}
    try:
        for peer in PEERS:
            serve = ["-m", "benchmarks", "--serve", peer, directory]
            command = [*processor, sys.executable, *serve]
            servers[peer] = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        yield {
            peer: int(server.stdout.readline()) for peer, server in servers.items() if server.stdout
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


def _press(port: int, case: Case, browser: Browser, processor: list[str]) -> float:
    """Return requests a second."""
    command = [*processor, "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s"]
    for name, value in _headers(case, browser).items():
        command += ["-H", f"{name}: {value}"]
    command.append(f"http://127.0.0.1:{port}{_target(case)}")
    said = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=SECONDS + DEADLINE
    ).stdout
    rate = _RATE.search(said)
    if rate is None or "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(f"wrk: {said}")
    return float(rate[1])


def run(rounds: int = ROUNDS) -> dict[str, dict[str, list[float]]]:
    """Return every peer's requests a second by case, round by round."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise SystemExit("wrk is missing; on Debian: apt-get install wrk")
    ours, its = [], []
    processors = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(processors) > 1 and shutil.which("taskset"):
        ours = ["taskset", "-c", str(processors[0])]
        its = ["taskset", "-c", str(processors[1])]
    rates: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as directory, _run_servers(ours, directory) as ports:
        for case in CASES:
            if case.unremembered:
                continue
            browsers = {peer: _meet(ports[peer], peer, case) for peer in PEERS}
            rates[case.title] = {peer: [] for peer in PEERS}
            for turn in range(1 + rounds):
                for n in range(len(PEERS)):
                    peer = PEERS[(turn + n) % len(PEERS)]
                    rate = _press(ports[peer], case, browsers[peer], its)
                    if turn > 0:
                        rates[case.title][peer].append(rate)
    return rates


def summarize(rates: dict[str, list[float]]) -> dict[str, tuple[float, float, float]]:
    """Return each peer's share of the bare app's requests a second: median, least, most."""
    shares = {}
    for peer, mine in rates.items():
        ratios = [a / b for a, b in zip(mine, rates[BARE], strict=True)]
        shares[peer] = (statistics.median(ratios), min(ratios), max(ratios))
    return shares
