"""An HTTP client that costs next to nothing: one keep-alive connection, one request at a time.

It reads what our servers answer: a status line, headers, and a body of an announced length.
"""

from __future__ import annotations

import asyncio
import re
from typing import NamedTuple

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_COOKIE = re.compile(rb"\r\nset-cookie: *([^=;\r]+)=([^;\r]*)([^\r]*)", re.IGNORECASE)


class Answer(NamedTuple):
    """What the server said.

    Attributes:
        status: Such as 200.
        cookies: Names, values and attributes, as they were set.
        body: As it came.
    """

    status: int
    cookies: list[tuple[bytes, bytes, bytes]]
    body: bytes


class Connection(asyncio.Protocol):
    """One connection; ``ask`` again only after the answer."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._answer: asyncio.Future[Answer] | None = None
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(cls, port: int) -> Connection:
        """Connect to a port of the loopback."""
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(cls, "127.0.0.1", port))[1]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    async def ask(self, request: bytes) -> Answer:
        """Send ``request`` and return the answer.

        Raises:
            ConnectionError: The server closed before it had answered.
        """
        assert self._transport
        self._answer = asyncio.get_running_loop().create_future()
        if self._transport.is_closing():
            raise ConnectionResetError("closed while idle")
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        if self._transport:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or self._answer is None or self._answer.done():
            return
        length = _LENGTH.search(self._buffer, 0, end)
        whole = end + 4 + (int(length[1]) if length else 0)
        if len(self._buffer) < whole:
            return
        head, body = bytes(self._buffer[: end + 2]), bytes(self._buffer[end + 4 : whole])
        del self._buffer[:whole]
        self._answer.set_result(Answer(int(head[9:12]), _COOKIE.findall(head), body))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("closed under way"))
