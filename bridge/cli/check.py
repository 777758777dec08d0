"""``pixel-bridge check``: settings, outbox, and what destinations answer; what to fix."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, assert_never

import httpx
import msgspec
import typer

from bridge.cli.origin import App, load_bridge
from bridge.cli.screen import open_console, say
from bridge.core import Bridge
from bridge.delivery.exchange import TIMEOUT, exchange
from bridge.delivery.orphans import EXPLANATION, PROBE, describe_orphans, find_orphans
from bridge.destinations import (
    Accepted,
    Destination,
    Meta,
    Paused,
    Rejected,
    Request,
    Retry,
    Verdict,
)
from bridge.destinations.base import Told
from bridge.errors import ConfigError, OutboxError
from bridge.events.catalog import Catalog
from bridge.events.event import Event, UserData, new_event_id
from bridge.events.normalizers import hash_external_id
from bridge.outbox import Delivery, Outbox

FAILED = 1  # exit code
TEST_EVENT = "PixelBridgeCheck"

TestEventCode = Annotated[
    str | None,
    typer.Option(
        envvar="BRIDGE_TEST_EVENT_CODE",
        metavar="TEST123",
        help='From Events Manager, "Test events"; without it no event is sent.',
    ),
]


def run_check(app: App = None, test_event_code: TestEventCode = None) -> None:
    """Check the settings, the outbox, the pixel and the token; say what to fix.

    Sends Meta one event named PixelBridgeCheck, if there is a test event code, and Segment an
    empty batch. Exits with 1 if something failed.
    """
    report = _Report()
    try:
        bridge = load_bridge(app)
    except ConfigError as error:
        report.fail("settings", str(error))
        raise typer.Exit(FAILED) from None
    report.good("settings", ", ".join(each.name for each in bridge.destinations))
    asyncio.run(_check(bridge, test_event_code, report))
    if report.failed:
        raise typer.Exit(FAILED)


class _Report:
    """Lines of what was checked."""

    def __init__(self) -> None:
        self.failed = False
        unicode = open_console().encoding.lower().startswith("utf")
        self._marks = ("✓", "✗", "-") if unicode else ("ok", "FAILED", "-")

    def good(self, what: str, detail: str) -> None:
        say(f"{self._marks[0]} {what}: {detail}")

    def fail(self, what: str, detail: str) -> None:
        self.failed = True
        say(f"{self._marks[1]} {what}: {detail}")

    def warn(self, what: str, detail: str) -> None:
        say(f"! {what}: {detail}")

    def skip(self, what: str, detail: str) -> None:
        say(f"{self._marks[2]} {what}: {detail}")


async def _check(bridge: Bridge, code: str | None, report: _Report) -> None:
    try:
        await _probe(bridge.outbox)
        report.good("outbox", f"{bridge.outbox!r} takes and gives back")
        await _tell_orphans(bridge, report)
    except OutboxError as error:
        report.fail("outbox", str(error))
    finally:
        await bridge.outbox.close()
    for destination in bridge.destinations:
        if not isinstance(destination, Meta):
            await _knock(destination, report)
        elif code:
            await _send_test(destination, code, report)
        else:
            report.skip(
                destination.name,
                "not asked; give --test-event-code, from Events Manager, Test events",
            )


async def _tell_orphans(bridge: Bridge, report: _Report) -> None:
    names = [destination.name for destination in bridge.destinations]
    orphans = find_orphans(await bridge.outbox.count(time.time()), names)
    if orphans:
        report.warn("outbox", f"events wait, {describe_orphans(orphans)}, and {EXPLANATION}")


async def _probe(outbox: Outbox) -> None:
    """Send one delivery through the outbox, and leave nothing behind.

    What a check that was killed left there goes too.
    """
    now = time.time()
    probe = Delivery(
        destination=PROBE,
        event_name=TEST_EVENT,
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


async def _knock(destination: Destination, report: _Report) -> None:
    """Ask a destination that has no test events with a request that holds none."""
    verdict = await _ask(destination, [])
    if isinstance(verdict, Accepted | Rejected):
        report.good(
            destination.name,
            "answers; it takes any key, so look for events in the source's debugger",
        )
    else:
        _tell(verdict, destination.name, report, ())


async def _send_test(destination: Destination, code: str, report: _Report) -> None:
    tested = _Tested(destination, code)
    body = destination.encode(_build_test_event(time.time()), Told(Catalog()))
    verdict = await _ask(tested, [body])
    _tell(verdict, destination.name, report, tested.secrets)


async def _ask(destination: Destination, bodies: Sequence[bytes]) -> Verdict:
    certificates = await asyncio.to_thread(httpx.create_ssl_context)
    async with httpx.AsyncClient(
        timeout=TIMEOUT, follow_redirects=False, verify=certificates
    ) as client:
        return await exchange(client, destination, bodies)


def _tell(verdict: Verdict, name: str, report: _Report, secrets: Sequence[str]) -> None:
    match verdict:
        case Accepted():
            report.good(name, f'took the test event {TEST_EVENT}; see it under "Test events"')
            return
        case Retry():
            words = f"no answer to build on: {verdict.reason}; try again, or look at the network"
        case Rejected():
            words = f"refused the test event: {verdict.reason}"
        case Paused():
            advice = verdict.advice or "make a token in Events Manager for this pixel"
            words = f"refuses us: {verdict.reason}; {advice}"
        case _:
            assert_never(verdict)
    for secret in secrets:
        words = words.replace(secret, "(the token)")
    report.fail(name, words)


def _build_test_event(now: float) -> Event:
    return Event(
        event_name=TEST_EVENT,
        event_time=int(now),
        event_id=new_event_id(),
        action_source="system_generated",
        user_data=UserData(external_id=[hash_external_id(str(uuid.uuid4()))]),
    )


class _Tested:
    """A destination whose requests carry a test event code.

    Attributes:
        secrets: What of its requests must not be shown.
    """

    def __init__(self, destination: Destination, code: str) -> None:
        self._destination = destination
        self._code = code
        self.secrets: list[str] = []
        self.name = destination.name
        self.batch_size = 1
        self.max_content = destination.max_content
        self.accepts_gzip = False
        self.pixel_id = destination.pixel_id
        self.encode = destination.encode
        self.introduce = destination.introduce
        self.read_copy = destination.read_copy

    def build_request(self, bodies: Sequence[bytes], now: float) -> Request:
        """Return the destination's request with the code in it."""
        request = self._destination.build_request(bodies, now)
        parameters = msgspec.json.decode(request.content)
        self.secrets = [str(parameters[key]) for key in ("access_token",) if key in parameters]
        content = msgspec.json.encode({**parameters, "test_event_code": self._code})
        return Request(url=request.url, content=content, headers=request.headers)

    def read_response(self, status: int, headers: Mapping[str, str], content: bytes) -> Verdict:
        """Return what the destination makes of the answer."""
        return self._destination.read_response(status, headers, content)
