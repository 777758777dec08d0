"""Answers that no sandbox gives, from a server that writes bytes as they are."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import msgspec
import pytest

import bridge.delivery.exchange
from bridge.delivery.exchange import MAX_ANSWER, MIN_GZIP, exchange
from bridge.destinations import Accepted, Limits, Retry, Verdict
from tests.factories import make_meta

ACCEPTED = b'{"events_received":1}'


def answer(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    told = len(body) if length is None else length
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {told}", *headers])
    return head.encode() + b"\r\n\r\n" + body


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(handler: Handler) -> AsyncIterator[str]:
    """A server on loopback that is gone, with its connections, at the end."""
    tasks: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        except ConnectionError:
            pass  # the client had heard enough
        finally:
            writer.transport.abort()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.create_task(serve(reader, writer)))

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await asyncio.wait(tasks, timeout=5)
        for task in tasks:
            task.cancel()


@asynccontextmanager
async def serving(content: bytes, requests: list[bytes] | None = None) -> AsyncIterator[str]:
    """A server that reads one request of each connection and writes ``content``."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        [length] = [line for line in head.lower().split(b"\r\n") if b"content-length" in line]
        body = await reader.readexactly(int(length.split(b":")[1]))
        if requests is not None:
            requests.append(head + body)
        writer.write(content)

    async with listening(handle) as url:
        yield url


async def ask(content: bytes) -> Verdict:
    async with serving(content) as url, httpx.AsyncClient() as client:
        return await exchange(client, make_meta(graph_url=url), [b"{}"])


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(answer(ACCEPTED), id="plain"),
        pytest.param(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 9 + answer(ACCEPTED), id="after 103"),
        pytest.param(answer(gzip.compress(ACCEPTED), "Content-Encoding: gzip"), id="gzip"),
        pytest.param(answer(zlib.compress(ACCEPTED), "Content-Encoding: deflate"), id="deflate"),
    ],
)
async def test_answer_is_read(content: bytes) -> None:
    assert await ask(content) == Accepted(received=1)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x16\x03\x01\x00\xff" * 9, id="not HTTP"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 500_000, id="endless header"),
        pytest.param(answer(ACCEPTED, length=99), id="cut off"),
        pytest.param(answer(ACCEPTED + b" " * MAX_ANSWER), id="enormous, JSON at its head"),
        pytest.param(answer(b"x" * 5_000_000), id="enormous"),
        pytest.param(
            answer(gzip.compress(ACCEPTED + b" " * 40_000_000), "Content-Encoding: gzip"),
            id="a bomb",
        ),
        pytest.param(answer(ACCEPTED, "Content-Encoding: gzip"), id="not gzip"),
        pytest.param(
            answer(gzip.compress(ACCEPTED)[:20], "Content-Encoding: gzip"), id="half gzip"
        ),
        pytest.param(answer(ACCEPTED, "Content-Encoding: br"), id="brotli, not asked for"),
        pytest.param(answer(b"", "Location: /else", status="302 Found"), id="redirect"),
        pytest.param(answer(ACCEPTED, "Location: /else", status="308 Moved"), id="308 with JSON"),
        pytest.param(b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\n\r\n", id="switching protocols"),
        pytest.param(answer(b"", status="204 No Content"), id="no content"),
        pytest.param(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 999, id="never a final answer"),
    ],
)
async def test_answer_that_cannot_be_right_is_tried_again(content: bytes) -> None:
    assert isinstance(await ask(content), Retry)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:99999",
        "http://[::1",
        "http://a..b",
        f"http://{'a' * 300}.example",
        "http://xn--\xff.example",
        "http://exa mple",
        "gopher://127.0.0.1",
        "",
    ],
)
async def test_address_that_cannot_be_asked_is_tried_again(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    meta = make_meta()
    monkeypatch.setattr(meta, "_url", url)
    async with httpx.AsyncClient() as client:
        assert isinstance(await exchange(client, meta, [b"{}"]), Retry)


async def test_answer_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge.delivery.exchange, "TOTAL_TIMEOUT", 0.2)

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(b"", length=100_000))
        while not writer.transport.is_closing():
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with listening(trickle) as url, httpx.AsyncClient() as client:
        verdict = await exchange(client, make_meta(graph_url=url), [b"{}"])
    assert isinstance(verdict, Retry)
    assert "TimeoutError" in verdict.reason


async def test_bodies_are_joined_as_they_are_and_a_plain_answer_is_asked_for() -> None:
    requests: list[bytes] = []
    bodies = [b'{ "a":1.0 }', b'{"b":"\\u00e9"}']
    async with serving(answer(ACCEPTED), requests) as url, httpx.AsyncClient() as client:
        await exchange(client, make_meta(graph_url=url), bodies)
    [request] = requests
    assert b'{"data":[' + b",".join(bodies) + b"]," in request
    assert b"accept-encoding: identity\r\n" in request.lower()
    assert b"content-encoding" not in request.lower()


@pytest.mark.parametrize(
    ("size", "allowed", "compressed"),
    [(MIN_GZIP, True, True), (MIN_GZIP, False, False), (10, True, False)],
)
async def test_request_is_compressed_only_if_the_destination_allows_it(
    size: int, allowed: bool, compressed: bool
) -> None:
    requests: list[bytes] = []
    body = msgspec.json.encode({"x": "y" * size})
    async with serving(answer(ACCEPTED), requests) as url, httpx.AsyncClient() as client:
        meta = make_meta(graph_url=url)
        meta.limits = Limits(accepts_gzip=allowed)
        assert await exchange(client, meta, [body]) == Accepted(received=1)
    head, _, content = requests[0].partition(b"\r\n\r\n")
    assert (b"content-encoding: gzip" in head.lower()) == compressed
    plain = gzip.decompress(content) if compressed else content
    assert msgspec.json.decode(plain)["data"] == [msgspec.json.decode(body)]
