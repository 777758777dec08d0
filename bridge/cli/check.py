"""``pixel-bridge check``: whether settings, outbox and destinations work, and what to fix."""

from __future__ import annotations

from typing import Annotated

import typer

from bridge.cli.origin import App, ShopName, load_site
from bridge.cli.process import run
from bridge.cli.report import Report
from bridge.doctor.destinations import try_destination
from bridge.doctor.finding import bad, good, note
from bridge.doctor.storage import look_at_outbox, look_at_spool
from bridge.errors import ConfigError
from bridge.site import Site

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


def run_check(
    app: App = None, shop: ShopName = None, test_event_code: TestEventCode = None
) -> None:
    """Check settings, outbox and destinations, and say what to fix.

    Sends Meta one event named PixelBridgeCheck, if there is a test event code, and Segment an
    empty batch. Exits with 1 if something failed.
    """
    report = Report()
    try:
        bridge = load_site(app, shop)
    except ConfigError as error:
        report.add([bad("settings", str(error))])
        raise typer.Exit(FAILED) from None
    report.add([good("settings", ", ".join(bridge.destinations.names))])
    if not bridge._visits.rules.trusted_proxies:
        report.add([note("proxies", UNTRUSTED)])
    run(_check(bridge, test_event_code, report))
    if report.has_failed:
        raise typer.Exit(FAILED)


async def _check(bridge: Site, code: str | None, report: Report) -> None:
    try:
        await report.follow(look_at_outbox(bridge.outbox, bridge.destinations.names))
        await report.follow(look_at_spool(bridge._pipeline.spool))
    finally:
        await bridge.outbox.close()
    for destination in bridge.destinations:
        report.add([await try_destination(destination, code)])
