"""The same browse through uvicorn: the requests of many visitors, each made once.

Strategy: what a browser sends depends on what it was given before. So each peer's visitors walk in
process first, and their requests are written down, with the cookies that they had. wrk then makes
them of the servers, which have the same secret key: every request is another visitor's, or another
page of one seen long before. All the peers get the same pages of the same visitors in a turn.
"""

from __future__ import annotations

import asyncio
import http.client
import random
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

from benchmarks.browse import SEED, STEPS, Visitor
from benchmarks.in_process import receive
from benchmarks.over_http import DEADLINE, Turn, press, run_servers, share_processors
from benchmarks.peers import BRIDGE, PEERS, build_bridge, build_peers

ROUNDS = 7
VISITORS = 1_300  # of one turn: more pages than a server serves in its second
BUDGET = 0.88  # of the bare app's requests

# Reads the requests of a file, and makes them one after the other.
_SCRIPT = """
local requests, at = {}, 0
function init(arguments)
  local file = assert(io.open(arguments[1], "rb"))
  for request in file:read("*a"):gmatch("(.-\\r\\n\\r\\n)") do
    requests[#requests + 1] = request
  end
  file:close()
end
function request()
  at = at % #requests + 1
  return requests[at]
end
"""


def _write_down(scope: Mapping[str, Any]) -> bytes:
    """Return a request as it comes from the proxy in front."""
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    lines = [b"%b: %b" % pair for pair in scope["headers"] if pair[1]]
    lines += [b"x-forwarded-for: %b" % scope["client"][0].encode(), b"x-forwarded-proto: https"]
    return b"\r\n".join([b"GET %b HTTP/1.1" % target, *lines, b"", b""])


async def _walk(app: ASGIApp, number: int) -> list[bytes]:
    """Return the requests of one visitor's walk."""
    visitor = Visitor(number, random.Random(SEED + number))
    requests = []
    for _ in range(STEPS):
        scope = visitor.build_scope()
        requests.append(_write_down(scope))
        answers: list[Any] = []

        async def keep(message: Any, answers: list[Any] = answers) -> None:
            answers.append(message)

        await app(scope, receive, keep)
        visitor.keep(answers[0]["headers"])
    return requests


async def _write_files(directory: Path, turns: int) -> None:
    """Write a file of requests for each peer and turn."""
    bridge = build_bridge(str(directory))
    try:
        for peer, app in build_peers(bridge).items():
            for turn in range(turns):
                people = range(turn * VISITORS, (turn + 1) * VISITORS)
                requests = [each for number in people for each in await _walk(app, number)]
                random.Random(SEED + turn).shuffle(requests)
                _name(directory, peer, turn).write_bytes(b"".join(requests))
    finally:
        await bridge.stop()


def _name(directory: Path, peer: str, turn: int) -> Path:
    return directory / f"{PEERS.index(peer)}-{turn}"


def _check(port: int, walk: Sequence[bytes]) -> None:
    """Stop unless the server knows the visitor again: it sets the page's cookie and no other."""
    for at, request in enumerate(walk):
        lines = request.decode().split("\r\n")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        connection.request("GET", lines[0].split()[1], headers=headers)
        response = connection.getresponse()
        response.read()
        names = {each.partition("=")[0] for each in response.headers.get_all("set-cookie") or []}
        connection.close()
        if at and (response.status != 200 or names != {"_bridge_p"}):
            raise SystemExit(f"browse through uvicorn: got {response.status}, {names}")


def run(rounds: int = ROUNDS) -> dict[str, list[Turn]]:
    """Return every peer's turns."""
    servers_command, wrk_command = share_processors()
    found: dict[str, list[Turn]] = {peer: [] for peer in PEERS}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        asyncio.run(_write_files(directory, 1 + rounds))
        script = directory / "browse.lua"
        script.write_text(_SCRIPT)
        with run_servers(servers_command, name) as servers:
            bridge = build_bridge(name)
            _check(servers[BRIDGE][0], asyncio.run(_walk(build_peers(bridge)[BRIDGE], -1)))
            for turn in range(1 + rounds):
                for n in range(len(PEERS)):
                    peer = PEERS[(turn + n) % len(PEERS)]
                    port, pid = servers[peer]
                    file = str(_name(directory, peer, turn))
                    url = f"http://127.0.0.1:{port}"
                    took = press(pid, ["-s", str(script), url, "--", file], wrk_command)
                    if turn > 0:
                        found[peer].append(took)
    return found
