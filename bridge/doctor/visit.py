"""A visit to the running app, over HTTP as a new visitor's browser, and what was found there."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx

from bridge.delivery.exchange import refuse_cookies
from bridge.doctor.destinations import compare_clocks
from bridge.doctor.finding import Finding, bad
from bridge.doctor.markup import read_markup
from bridge.doctor.page import (
    Answer,
    find_script,
    look_at_address,
    look_at_caching,
    look_at_cookies,
    look_at_forgery,
    look_at_health,
    look_at_page_address,
    look_at_policy,
    look_at_tag,
)
from bridge.doctor.script import look_at_script
from bridge.errors import ConfigError
from bridge.site import Site

MAX_BYTES = 4 * 1024 * 1024  # of one answer
TIMEOUT = 15.0  # seconds
FORGED = "9.9.9.9"  # a public address that nobody visits a shop from
# A browser's, since robots get no identity.
_HEADERS = {
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "accept": "text/html,application/xhtml+xml,*/*;q=0.8",
    "sec-fetch-dest": "document",
    "sec-fetch-mode": "navigate",
    "sec-fetch-site": "none",
}
_FAILURES = (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, ExceptionGroup)


def check_url(url: str) -> str:
    """Return the address of a page; raise ``ConfigError`` if it is none."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"--url must be like https://shop.example.com/, got {url[:100]!r}")
    return url


async def look_at_site(
    bridge: Site, url: str, transport: httpx.AsyncBaseTransport | None = None
) -> AsyncIterator[Finding]:
    """Yield what a new visitor of ``url`` finds, and what that says of the set-up."""
    certificates = await asyncio.to_thread(httpx.create_ssl_context)
    async with httpx.AsyncClient(
        transport=transport,
        headers=_HEADERS,
        timeout=TIMEOUT,
        follow_redirects=True,
        max_redirects=5,
        verify=certificates,
        cookies=refuse_cookies(),
    ) as client:
        try:
            async for finding in _look(bridge, url, client):
                yield finding
        except _FAILURES as error:
            text = f"{url} could not be fetched: {type(error).__name__}: {error}".rstrip(": ")
            yield bad(
                "site",
                text,
                "is it running at this address, with a valid certificate for this name?",
            )


async def _look(bridge: Site, url: str, client: httpx.AsyncClient) -> AsyncIterator[Finding]:
    rules, prefix = bridge._visits.rules, bridge._prefix
    page, again = await _get(client, url), await _get(client, url)
    markup = read_markup(page.content.decode("utf-8", "replace"), prefix)
    origin = httpx.URL(page.url).copy_with(path="/", query=None, fragment=None)
    signer = bridge._visits.signer
    script = find_script(page, markup) or str(origin.join(bridge._script.path))
    home = _read_origin(script)
    needed = bridge.csp_directives(origin=None if home == _read_origin(page.url) else home)
    findings = [
        *look_at_tag(page, markup, prefix, bridge._pixel_ids),
        *look_at_policy(page, markup, needed),
        *look_at_cookies(page, is_granted=bridge._visits.is_granted),
        *look_at_page_address(page, has_allowed_hosts=bool(rules.allowed_hosts)),
        *look_at_caching(page, again),
        *look_at_address(
            page,
            signer,
            trusts_proxies=bool(rules.trusted_proxies),
            reaches_out=await asyncio.to_thread(_reaches_out, page.host),
        ),
        *compare_clocks("the app's", page.headers, page.received_at),
    ]
    for finding in findings:
        yield finding
    if await asyncio.to_thread(_reaches_out, page.host):
        header = rules.client_ip_header.decode("latin-1")
        forged = f"for={FORGED}" if header == "forwarded" else FORGED
        for finding in look_at_forgery(await _get(client, url, {header: forged}), signer, FORGED):
            yield finding
    answer = await _get(client, script)
    for finding in look_at_script(answer, bridge._script, markup, page.url):
        yield finding
    health = await _get(client, str(origin.join(f"{prefix}/health")))
    for finding in look_at_health(health):
        yield finding


async def _get(
    client: httpx.AsyncClient, url: str, headers: dict[str, str] | None = None
) -> Answer:
    """Return the answer to a new visitor.

    Raises:
        ValueError: It is longer than 4 MiB, and no page.
    """
    async with asyncio.timeout(TIMEOUT), client.stream("GET", url, headers=headers) as response:
        content = bytearray()
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > MAX_BYTES:
                raise ValueError(f"{url} is longer than {MAX_BYTES} bytes")
        return Answer(
            url=str(response.url),
            status=response.status_code,
            headers={name.lower(): value for name, value in response.headers.items()},
            cookies=tuple(response.headers.get_list("set-cookie")),
            content=bytes(content),
            received_at=time.time(),
        )


def _read_origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _reaches_out(host: str) -> bool:
    """Return whether ``host`` has a public address; blocks."""
    try:
        found = socket.getaddrinfo(host, None)
        return any(ipaddress.ip_address(str(each[4][0])).is_global for each in found)
    except (OSError, ValueError):
        return False
