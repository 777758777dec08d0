"""The destinations: whether they take our requests, and whether their clock is ours."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from email.utils import parsedate_to_datetime

import httpx

from bridge.delivery.exchange import FAILURES, TIMEOUT, TOTAL_TIMEOUT, fetch, refuse_cookies, send
from bridge.destinations.base import Accepted, Destination, Paused, Rejected, Retry
from bridge.destinations.meta import Meta
from bridge.doctor.finding import Finding, bad, good, note, warning
from bridge.quality.question import explain_refusal

SKEW = 5.0  # seconds that two clocks may differ, a slow answer included
_HEADLINES = {  # by kind of refusal
    "token": "the token is invalid",
    "account": "no such pixel, or not for this token",
    "permission": "the token may not read the pixel's quality",
    "limit": "Meta's rate limit is reached",
}
FUTURE = 60.0  # seconds from which Meta may refuse an event as not yet happened


async def open_client() -> httpx.AsyncClient:
    """Return a client that keeps no cookies and follows no redirects."""
    certificates = await asyncio.to_thread(httpx.create_ssl_context)
    return httpx.AsyncClient(
        timeout=TIMEOUT, follow_redirects=False, verify=certificates, cookies=refuse_cookies()
    )


async def try_destination(destination: Destination, code: str | None) -> Finding:
    """Return what became of the destination's own test; ``code`` is Meta's test event code."""
    name = destination.name
    check = destination.build_check(time.time(), code)
    if check.request is None:
        return note(name, check.skipped)
    async with await open_client() as client:
        verdict = await send(client, destination, check.request)
    match verdict:
        case Accepted():
            return good(name, check.passed)
        case Rejected() if check.allows_rejected:
            return good(name, check.passed)
        case Retry(reason=reason):
            return bad(name, f"no usable answer: {reason}; try again, or check the network")
        case Rejected(reason=reason):
            return bad(name, f"refused the test: {reason}")
        case Paused(reason=reason, advice=advice):
            return bad(name, f"refuses us: {reason}; {advice or 'check its settings'}")


async def look_at_pixel(pixel: Meta) -> AsyncIterator[Finding]:
    """Yield whether the token may read the pixel's figures, and whether Meta's clock is ours."""
    try:
        async with await open_client() as client, asyncio.timeout(TOTAL_TIMEOUT):
            request = pixel.build_quality_request("web{event_name}")
            status, headers, content = await fetch(client, request)
    except FAILURES as error:
        text = f"no answer: {type(error).__name__}: {error}".rstrip(": ")
        yield bad(pixel.name, text, "check the network and BRIDGE_GRAPH_URL")
        return
    refusal = pixel.read_refusal(status, content)
    if refusal is not None:
        found = explain_refusal(refusal, pixel)
        headline = _HEADLINES.get(found.kind, "Meta does not answer our question")
        yield bad(pixel.name, f"{headline}: {found.reason}", found.remedy)
    elif status != 200:
        yield bad(pixel.name, f"HTTP {status} from something that is not Meta")
    else:
        text = (
            "the token may read this dataset; pixel-bridge check --test-event-code shows whether it"
            " may send"
        )
        yield good(pixel.name, text)
    for finding in compare_clocks("Meta's", headers, time.time()):
        yield finding


def compare_clocks(whose: str, headers: Mapping[str, str], now: float) -> list[Finding]:
    """Return how the ``Date`` of an answer that came at ``now`` differs from our clock."""
    try:
        theirs = parsedate_to_datetime(headers.get("date", "")).timestamp()
    except (ValueError, TypeError, OverflowError):
        return []
    ahead = now - theirs
    if abs(ahead) <= SKEW:
        return [good("clock", f"ours and {whose} agree within {SKEW:g} s")]
    text = f"ours is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} {whose}"
    fix = "turn time synchronisation on (timedatectl set-ntp true, or chrony)"
    return [(bad if abs(ahead) > FUTURE else warning)("clock", text, fix)]
