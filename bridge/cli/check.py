"""``pixel-bridge check``: whether settings, outbox and destinations work, and what to fix."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Annotated

import httpx
import typer

from bridge.cli.origin import App, load_bridge
from bridge.cli.screen import open_console, say
from bridge.core import Bridge
from bridge.delivery.exchange import TIMEOUT, refuse_cookies, send
from bridge.delivery.orphans import EXPLANATION, PROBE, describe_orphans, find_orphans
from bridge.destinations import Accepted, Destination, Paused, Rejected, Retry
from bridge.errors import ConfigError, OutboxError
from bridge.outbox import Delivery, Outbox

FAILED = 1  # exit code
UNTRUSTED = (
    "none is trusted; behind nginx, a load balancer or a CDN, events carry no client address until"
    " trusted_proxies (BRIDGE_TRUSTED_PROXIES) names it"
)

TestEventCode = Annotated[
    str | None,
    typer.Option(
        envvar="BRIDGE_TEST_EVENT_CODE",
        metavar="TEST123",
        help='From Events Manager, "Test events"; without it no event is sent.',
    ),
]


def run_check(app: App = None, test_event_code: TestEventCode = None) -> None:
    """Check the settings, the outbox and each destination; say what to fix.

    Sends Meta one event named PixelBridgeCheck, if there is a test event code, and Segment an
    empty batch. Exits with 1 if something failed.
    """
    report = _Report()
    try:
        bridge = load_bridge(app)
    except ConfigError as error:
        report.fail("settings", str(error))
        raise typer.Exit(FAILED) from None
    report.good("settings", ", ".join(bridge.destinations.names))
    if not bridge._visits.rules.trusted_proxies:
        say(f"- proxies: {UNTRUSTED}")
    asyncio.run(_check(bridge, test_event_code, report))
    if report.failed:
        raise typer.Exit(FAILED)


class _Report:
    """Lines of what was checked."""

    def __init__(self) -> None:
        self.failed = False
        unicode = open_console().encoding.lower().startswith("utf")
        self._good, self._bad = ("✓", "✗") if unicode else ("ok", "FAILED")

    def good(self, what: str, detail: str) -> None:
        say(f"{self._good} {what}: {detail}")

    def fail(self, what: str, detail: str) -> None:
        self.failed = True
        say(f"{self._bad} {what}: {detail}")


async def _check(bridge: Bridge, code: str | None, report: _Report) -> None:
    try:
        await _probe(bridge.outbox)
        report.good("outbox", f"{bridge.outbox!r} stores and returns events")
        names = bridge.destinations.names
        if orphans := find_orphans(await bridge.outbox.count(time.time()), names):
            say(f"! outbox: events wait, {describe_orphans(orphans)}, and {EXPLANATION}")
    except OutboxError as error:
        report.fail("outbox", str(error))
    finally:
        await bridge.outbox.close()
    for destination in bridge.destinations:
        await _test(destination, code, report)


async def _probe(outbox: Outbox) -> None:
    """Pass one delivery through the outbox, and leave nothing behind.

    What a killed check left there is removed too.
    """
    now = time.time()
    probe = Delivery(
        destination=PROBE,
        event_name="Check",
        event_id=str(uuid.uuid4()),
        body=b"{}",
        due=now,
        expires=now,
    )
    await outbox.put([probe], now)
    claimed = await outbox.claim(PROBE, 100, now=now, lease=1)
    if probe.key not in [each.key for each in claimed]:
        raise OutboxError("what was just stored cannot be read back; is its server a replica?")
    await outbox.bury(claimed, "a check", now)
    await outbox.drop([each.key for each in claimed])


async def _test(destination: Destination, code: str | None, report: _Report) -> None:
    check = destination.build_check(time.time(), code)
    if check.request is None:
        say(f"- {destination.name}: {check.skipped}")
        return
    certificates = await asyncio.to_thread(httpx.create_ssl_context)
    async with httpx.AsyncClient(
        timeout=TIMEOUT, follow_redirects=False, verify=certificates, cookies=refuse_cookies()
    ) as client:
        verdict = await send(client, destination, check.request)
    match verdict:
        case Accepted():
            report.good(destination.name, check.passed)
        case Rejected() if check.allows_rejected:
            report.good(destination.name, check.passed)
        case Retry(reason=reason):
            words = f"no usable answer: {reason}; try again, or look at the network"
            report.fail(destination.name, words)
        case Rejected(reason=reason):
            report.fail(destination.name, f"refused the test: {reason}")
        case Paused(reason=reason, advice=advice):
            words = f"refuses us: {reason}; {advice or 'check its settings'}"
            report.fail(destination.name, words)
