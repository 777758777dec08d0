"""Pages that nobody wrote by hand: each tag at each place, whatever the page says, however it is
left. On each, both copies of every event must say the same.

python -m tests.pages.variants                               all, with the stand-in library
python -m tests.pages.variants --library fbevents.js --config config.js --pixel 1633219171083461

The second form measures a library that one has; none is kept here.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from playwright.async_api import Browser, BrowserContext, Route, async_playwright

from tests.chromium import LOCAL_HOSTS, running_chromium
from tests.pages.scenes import OURS, OURS_ASYNC, Scene, assert_pair, build_snippet, running_pages
from tests.pages.visits import open_context
from tests.servers import Sandbox, find_free_port, poll, running

GONE = "https://connect.facebook.net", "https://www.facebook.com"

TAGS = {
    "sync": OURS,
    "async": OURS_ASYNC,
    "deferred": OURS.replace(" src", " defer src"),
    "module": '<script type="module" src="/_bridge/bridge.js"></script>',
}
PLACES = ("first", "last", "in the body")
LEFT = ("stays", "reloads", "follows a link", "changes its route")

INIT, VIEW = "fbq('init', 'ID');", "fbq('track', 'PageView');"
GRANT = "fbq('consent', 'grant');"
LIMIT = "fbq('dataProcessingOptions', ['LDU'], PLACE);"
LEAD = "fbq('track', 'Lead', {value: 5, currency: 'EUR'});"
# What a page says: a snippet's calls, or None for a page without one; then a later script's.
SAID: dict[str, tuple[str | None, str]] = {
    "nothing": (None, "bridge.track('Lead', {value: 5, currency: 'EUR'})"),
    "snippet": (INIT + VIEW, LEAD),
    "events in the snippet": (INIT + VIEW + LEAD, "fbq('track', 'Contact')"),
    "limited before": (LIMIT.replace("PLACE", "1, 1000") + INIT + VIEW, LEAD),
    "limited after": (INIT + LIMIT.replace("PLACE", "0, 0") + VIEW, LEAD),
    "revoked, then granted": ("fbq('consent', 'revoke');" + INIT + VIEW + LEAD, GRANT),
    "granted": (INIT + VIEW + GRANT + LEAD, GRANT),
    "external id": ("fbq('init', 'ID', {external_id: 'Mine-7'});" + VIEW, LEAD),
    "user data": ("fbq('init', 'ID', {em: 'ada@example.com'});" + VIEW, LEAD),
    "no cookies": ("fbq('set', 'firstPartyCookies', false, 'ID');" + INIT + VIEW, LEAD),
    "own ids": (
        INIT + "fbq('track', 'PageView', {}, {eventID: 'view-RUN'});",
        "fbq('track', 'Lead', {}, {eventID: 'lead-RUN'})",
    ),
    "one pixel": (INIT + VIEW, "fbq('trackSingle', 'ID', 'Lead', {value: 5, currency: 'EUR'})"),
    "custom": (INIT + VIEW, "fbq('trackCustom', 'Wish', {a: [1], b: {c: 'x'}})"),
    "money as text": (INIT + VIEW, "fbq('track', 'Purchase', {value: '25.00', currency: 'eur'})"),
    "lists": (INIT + VIEW, "fbq.push(['track', 'Lead']); _fbq.push(['trackCustom', 'Old'])"),
    "in other words": (
        INIT + VIEW,
        "fbq('reportLead', {}); fbq('track', 'CustomEvent', {event: 'Quiz'})",
    ),
    "a long hit": (
        INIT + VIEW,
        "fbq('track', 'Purchase', {value: 1, currency: 'EUR',"
        " contents: [{id: 'x'.repeat(1500), quantity: 1}]})",
    ),
    "an order of the server's": (INIT + VIEW, "fetch('/order?id=RUN')"),
}


@dataclass(frozen=True)
class Variant:
    """One page: ``said`` names a row of ``SAID``."""

    tag: str
    place: str
    said: str
    left: str

    def build(self, snippet: str | None) -> str:
        """Return its HTML."""
        tag, rest = TAGS[self.tag], snippet or ""
        link = '<a id="link" href="/next">next</a>'
        if self.place == "first":
            return f"{tag}{rest}<body>{link}"
        if self.place == "last":
            return f"{rest}{tag}<body>{link}"
        return f"{rest}<body>{link}{tag}"


def list_variants() -> Iterator[Variant]:
    """Yield every variant."""
    for row in product(TAGS, PLACES, SAID, LEFT):
        yield Variant(*row)


@dataclass(frozen=True)
class Site:
    """Where variants are shown, and with which library.

    Attributes:
        real: A library and its pixel's configuration, instead of the stand-in.
    """

    url: str
    sandbox: Sandbox
    pixel: str
    library: str
    real: tuple[str, str] | None = None

    async def prepare(self, context: BrowserContext) -> None:
        """Have the browser find the library, and the sandbox get its hits."""
        if self.real is None:
            return
        library, config = self.real

        async def give(route: Route) -> None:
            body = config if "/signals/config/" in route.request.url else library
            await route.fulfill(body=body, content_type="text/javascript")

        async def take(route: Route) -> None:
            request = route.request
            query = urlsplit(request.url).query
            body, kind = request.post_data_buffer, request.headers.get("content-type", "")
            async with httpx.AsyncClient(base_url=self.sandbox.url, trust_env=False) as client:
                headers = {"user-agent": request.headers["user-agent"], "content-type": kind}
                await client.request(request.method, f"/tr/?{query}", content=body, headers=headers)
            await route.fulfill(body=b"GIF89a", content_type="image/gif")

        await context.route(f"{GONE[0]}/**", give)
        await context.route(f"{GONE[1]}/tr/**", take)


async def run_variant(site: Site, browser: Browser, variant: Variant, run: str) -> Counter[str]:
    """Show a page, leave it, and compare both copies of each event; return the counts.

    Raises:
        AssertionError: Two copies differ, one is counted twice, or what the pixel sent has no copy.
    """
    snippet, later = (
        calls and calls.replace("ID", site.pixel).replace("RUN", run)
        for calls in SAID[variant.said]
    )
    async with await open_context(browser) as context:
        await site.prepare(context)
        scene = Scene(await context.new_page(), site.sandbox, site.url)
        whole = snippet and build_snippet(snippet, site.library)
        await scene.show(variant.build(whole))
        await scene.ready()
        await scene.run(later or "")
        await _settle(scene, at_least=1)
        await leave(scene, variant.left)
        await _settle(scene, at_least=1)
        return compare(await scene.actions())


async def leave(scene: Scene, how: str) -> None:
    """Leave the page, or stay."""
    match how:
        case "reloads":
            await scene.page.reload()
        case "follows a link":
            await scene.page.click("#link")
            await scene.page.wait_for_url("**/next")
        case "changes its route":
            await scene.run("history.pushState({}, '', '/route')")
        case _:
            pass
    if how in ("reloads", "follows a link"):
        await scene.show(OURS)
        await scene.ready()


async def _settle(scene: Scene, *, at_least: int) -> None:
    """Wait until every hit has its server copy, and nothing came for a while."""
    seen = -1
    still = 0

    async def check() -> bool:
        nonlocal seen, still
        actions = [each for each in await scene.actions() if not _is_automatic(each)]
        count = sum(len(each["browser"]) + len(each["server"]) for each in actions)
        still = still + 1 if count == seen else 0
        seen = count
        return still >= 20 and len(actions) >= at_least

    await poll(check, "quiet")


def _is_automatic(action: dict[str, Any]) -> bool:
    return any("es" in copy["params"] for copy in action["browser"])


def compare(actions: list[dict[str, Any]]) -> Counter[str]:
    """Return how many pairs there are, and how many hits alone."""
    counts: Counter[str] = Counter()
    for action in actions:
        if _is_automatic(action):
            counts["automatic"] += 1
        elif action["browser"] and action["server"]:
            assert_pair(action)
            counts["pairs"] += 1
        elif action["browser"]:
            counts["browser alone"] += 1
        else:
            counts["server alone"] += 1
    return counts


async def measure(site: Site, variants: list[Variant]) -> int:
    """Show ``variants`` and print what did not agree; return how many."""
    totals: Counter[str] = Counter()
    wrong = 0
    async with (
        async_playwright() as playwright,
        running_chromium(playwright, LOCAL_HOSTS) as browser,
    ):
        for number, variant in enumerate(variants):
            await site.sandbox.reset()
            try:
                counts = await run_variant(site, browser, variant, f"v{number}")
            except Exception as error:  # noqa: BLE001 - the next one is shown all the same
                wrong += 1
                where = (error.__traceback__ and str(error)) or type(error).__name__
                print(f"{variant}: {where[:300]}", flush=True)
                continue
            totals += counts
            if counts["browser alone"] or counts["server alone"]:
                print(f"{variant}: {dict(counts)}", flush=True)
    print(f"{len(variants)} pages, {wrong} wrong; {dict(totals)}")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", type=Path)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--pixel", default="1234567890123456")
    parser.add_argument("--sample", type=int, help="so many of them, chosen at random")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    variants = list(list_variants())
    if options.sample:
        variants = random.Random(options.seed).sample(variants, options.sample)
    real = None
    if options.library:
        real = (options.library.read_text(), options.config.read_text())
    port = find_free_port()
    arguments = ["bridge", "sandbox", "--port", str(port), "--pixel-id", options.pixel]
    with running(arguments, port), tempfile.TemporaryDirectory() as folder:
        sandbox = Sandbox(f"http://127.0.0.1:{port}")
        library = f"{GONE[0] if real else sandbox.url}/en_US/fbevents.js"
        with running_pages(
            Path(folder), sandbox.url, pixels=options.pixel, library_url=library
        ) as url:
            site = Site(url, sandbox, options.pixel, library, real)
            sys.exit(min(1, asyncio.run(measure(site, variants))))


if __name__ == "__main__":
    main()
