"""``pixel-bridge doctor``: settings, machine and running app, and the lines to change."""

from __future__ import annotations

from typing import Annotated

import typer

from bridge.cli.check import FAILED, UNTRUSTED
from bridge.cli.origin import App, ShopName, load_site
from bridge.cli.process import run
from bridge.cli.report import Report
from bridge.cli.screen import say
from bridge.destinations import Meta
from bridge.doctor.destinations import look_at_pixel, try_destination
from bridge.doctor.finding import bad, good, note
from bridge.doctor.storage import look_at_durability, look_at_outbox, look_at_spool
from bridge.doctor.visit import check_url, look_at_site
from bridge.errors import ConfigError
from bridge.site import Site


def run_doctor(
    app: App = None,
    shop: ShopName = None,
    url: Annotated[
        str | None,
        typer.Option("--url", metavar="URL", help="A page of the running app, to check it too."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Find common mistakes in a setup, and name the line to change.

    Looks at the settings, the outbox and its machine, the token's rights and the clock; with --url
    also at a page of the running app: script, cookies, policy, proxies and caches. Sends no event.
    Exits with 1 if something does not work.
    """
    if url is not None:
        check_url(url)
    report = Report(is_silent=as_json)
    try:
        bridge = load_site(app, shop)
    except ConfigError as error:
        report.add([bad("settings", str(error))])
    else:
        report.add([good("settings", ", ".join(bridge.destinations.names))])
        run(_look(bridge, url, report))
    if as_json:
        report.say_json(url=url)
    else:
        _sum_up(report, url)
    if report.has_failed:
        raise typer.Exit(FAILED)


async def _look(bridge: Site, url: str | None, report: Report) -> None:
    try:
        await report.follow(look_at_outbox(bridge.outbox, bridge.destinations.names))
        await report.follow(look_at_spool(bridge._pipeline.spool))
        await report.follow(look_at_durability(bridge.outbox))
    finally:
        await bridge.outbox.close()
    if not bridge._pipeline.runs_sender:
        text = "off in these settings, so another process must deliver"
        report.add([note("sender", text, "keep pixel-bridge worker running")])
    for destination in bridge.destinations:
        if isinstance(destination, Meta):
            await report.follow(look_at_pixel(destination))
        else:
            report.add([await try_destination(destination, None)])
    if url is not None:
        await report.follow(look_at_site(bridge, url))
    elif not bridge._visits.rules.trusted_proxies:
        report.add([note("proxies", UNTRUSTED)])


def _sum_up(report: Report, url: str | None) -> None:
    counts = {
        level: sum(each.level == level for each in report.findings) for level in ("bad", "warning")
    }
    say(f"{counts['bad']} to fix, {counts['warning']} to look at")
    if url is None:
        say("to test the running app too, add --url https://your.shop/")
