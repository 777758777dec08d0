"""A stand-in for Meta and Segment that costs next to nothing: it counts the events of a request.

``python -m benchmarks.stand_in SECONDS`` serves on a free port of the loopback and prints it. A
request is answered after so many seconds. A GET returns how many events came since the last one.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from benchmarks.loop import new_loop

DEADLINE = 20  # seconds

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_MARKS = (b"event_name", b"messageId")  # of one event of Meta's, of Segment's


class _Connection(asyncio.Protocol):
    """Answers one request after the other."""

    counted = 0  # by all connections
    delay = 0.0  # seconds

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._buffer = bytearray()
        self._wanted = 0  # bytes of the request under way, 0 before its headers are there

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._buffer:
            if not self._wanted:
                end = self._buffer.find(b"\r\n\r\n")
                if end < 0:
                    return
                found = _LENGTH.search(self._buffer, 0, end)
                self._wanted = end + 4 + (int(found[1]) if found else 0)
            if len(self._buffer) < self._wanted:
                return
            request = self._buffer[: self._wanted]
            del self._buffer[: self._wanted]
            self._wanted = 0
            self._answer(request)

    def _answer(self, request: bytearray) -> None:
        if request.startswith(b"GET"):
            count, _Connection.counted = _Connection.counted, 0
        else:
            count = sum(request.count(mark) for mark in _MARKS)
            _Connection.counted += count
        content = b'{"events_received":%d,"messages":[],"fbtrace_id":"A1b2","success":true}' % count
        answer = (
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
            % (len(content), content)
        )
        if self.delay:
            asyncio.get_running_loop().call_later(self.delay, self._write, answer)
        else:
            self._write(answer)

    def _write(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)


async def _serve(delay: float) -> None:
    _Connection.delay = delay
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


class StandIn:
    """The running stand-in.

    Attributes:
        url: Where it answers, such as ``http://127.0.0.1:5000``.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.url = f"http://127.0.0.1:{port}"

    def take(self, expected: int) -> None:
        """Stop unless ``expected`` events came since the last call."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=DEADLINE)
        connection.request("GET", "/")
        said = connection.getresponse().read()
        connection.close()
        if b'"events_received":%d,' % expected not in said:
            raise SystemExit(f"the stand-in expected {expected} events, got {said!r}")


@contextlib.contextmanager
def run_stand_in(delay: float = 0.0) -> Iterator[StandIn]:
    """Run the stand-in, which answers after ``delay`` seconds, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.stand_in", str(delay)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        yield StandIn(int(process.stdout.readline()))
    finally:
        process.terminate()
        process.wait(DEADLINE)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(_serve(float(sys.argv[1])))
