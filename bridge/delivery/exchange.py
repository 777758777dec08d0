"""One exchange with a destination: a request out, a verdict back, bounded in time and size."""

from __future__ import annotations

import asyncio
import gzip
import logging
import time
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

from bridge.destinations.base import Destination, Request, Retry, Verdict

# Meta advises 1.5 s if a visitor waits for the answer ("Troubleshooting", updated 2023-11-30). Here
# nobody waits, and a batch that is given up too early is sent twice.
TIMEOUT = httpx.Timeout(10.0, connect=5.0)
TOTAL_TIMEOUT = 15.0  # seconds for one request, however slowly its answer arrives
MAX_ANSWER = 65_536  # bytes of an answer, also after decompression
MIN_GZIP = 1024  # bytes; smaller contents gain nothing
GZIP_LEVEL = 1  # the fastest; JSON of similar events still shrinks tenfold


def refuse_cookies() -> CookieJar:
    """Return a jar that stays empty: what one answer sets must not go out with the next request."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=[]))


class _NotOurs(logging.Filter):
    """Lets pass what httpx logs of other people's requests: ours would be a line a second."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether ``record`` is to be logged."""
        args = record.args
        if not isinstance(args, tuple) or len(args) < 2:
            return True
        return str(args[1]) not in self.urls


_NOT_OURS = _NotOurs()


def hide_requests(urls: Iterable[str]) -> None:
    """Keep requests to ``urls`` out of httpx's log; again is harmless."""
    _NOT_OURS.urls.update(urls)
    logging.getLogger("httpx").addFilter(_NOT_OURS)


class AnswerError(Exception):
    """The answer cannot be read: it is too large, or has an encoding that we did not ask for."""


# What ``fetch`` raises. A bad address raises various errors: httpx's InvalidURL is no HTTPError, a
# port over 65535 raises an OverflowError in a group, a label over 63 characters a UnicodeError.
FAILURES = (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, AnswerError, ExceptionGroup)


RENEW_TIMEOUT = 2.0  # seconds that a look for another token may take


async def exchange(
    client: httpx.AsyncClient, destination: Destination, bodies: Sequence[bytes]
) -> Verdict:
    """Send ``bodies`` as one request and return what the answer means; any failure is ``Retry``.

    Ends within ``TOTAL_TIMEOUT`` seconds, and two more for a token that the app looks up.
    """
    await renew(destination)
    return await send(client, destination, destination.build_request(bodies, time.time()))


async def renew(destination: Destination) -> bool:
    """Have ``destination`` look for another token, in a thread; return whether it has one.

    A function of the app's that hangs costs two seconds, and the last token is used.
    """
    if not destination.is_renewable:
        return False
    with suppress(TimeoutError):
        async with asyncio.timeout(RENEW_TIMEOUT):
            return await asyncio.to_thread(destination.renew)
    return False


async def send(client: httpx.AsyncClient, destination: Destination, request: Request) -> Verdict:
    """Send ``request`` and return what the answer means, as ``exchange`` does."""
    try:
        async with asyncio.timeout(TOTAL_TIMEOUT):
            if destination.limits.accepts_gzip and len(request.content) >= MIN_GZIP:
                content = await asyncio.to_thread(gzip.compress, request.content, GZIP_LEVEL)
                headers = {**request.headers, "content-encoding": "gzip"}
                request = replace(request, content=content, headers=headers)
            answer = await _fetch_again(client, request)
    except FAILURES as error:
        detail = f": {error}" if isinstance(error, AnswerError) else ""
        return Retry(f"{type(error).__name__} at {request.url}{detail}")
    return destination.read_response(*answer)


async def _fetch_again(
    client: httpx.AsyncClient, request: Request
) -> tuple[int, httpx.Headers, bytes]:
    """Post; once more, and at once, if the connection had been closed while it was idle.

    A server, or a load balancer, may close it in the moment in which it is used.

    Source: RFC 9112, section 9.3.1, "Retrying Requests": a client may, on a connection that closed
    before any answer. The events keep their ids, so what arrived twice counts once.
    """
    try:
        return await fetch(client, request)
    except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
        return await fetch(client, request)


async def fetch(
    client: httpx.AsyncClient, request: Request, *, max_bytes: int = MAX_ANSWER
) -> tuple[int, httpx.Headers, bytes]:
    """Return status, headers and body of the answer to ``request``.

    Raises:
        AnswerError: The body is over ``max_bytes``, or has an encoding that we did not ask for.
    """
    # Ask for an uncompressed answer, and unpack by hand if it is compressed all the same: httpx
    # unpacks without a limit, and a few kilobytes may be a bomb.
    headers = {**request.headers, "accept-encoding": "identity"}
    async with client.stream(
        request.method, request.url, content=request.content, headers=headers
    ) as response:
        content = bytearray()
        async for chunk in response.aiter_raw():
            content += chunk
            if len(content) > max_bytes:
                raise AnswerError(f"more than {max_bytes} bytes")
        encoding = response.headers.get("content-encoding", "").strip().lower()
        plain = _decompress(encoding, bytes(content), max_bytes)
        return response.status_code, response.headers, plain


def _decompress(encoding: str, content: bytes, max_bytes: int) -> bytes:
    if encoding in ("", "identity"):
        return content
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise AnswerError(f"content-encoding {encoding[:20]!r}")
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    try:
        plain = unpacker.decompress(content, max_bytes)
    except zlib.error as error:
        raise AnswerError(f"not {encoding}") from error
    if not unpacker.eof:
        raise AnswerError(f"cut off, or more than {max_bytes} bytes unpacked")
    return plain
