"""Debian's Chromium, without what it does on its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, Page, Playwright, expect

from tests.servers import DEADLINE

expect.set_options(timeout=DEADLINE * 1000)

LOCAL_HOSTS = [
    f"MAP {host} 127.0.0.1"
    for host in ("*.example.com", "*.example.co.uk", "*.test", "*.facebook.net", "*.facebook.com")
]

# The popups of the address bar are pages of their own: a third of the work of a test, unseen.
# HttpsUpgrades and the next would turn http into https. The last two are on Playwright's own list,
# which ours replaces: with them it may lose track of a navigation, and a click waits for its end.
UNUSED = [
    "WebUIOmniboxPopup",
    "WebUIOmniboxAimPopup",
    "HttpsUpgrades",
    "HttpsFirstBalancedModeAutoEnable",
    "PaintHolding",
    "AvoidUnnecessaryBeforeUnloadCheckSync",
]


@asynccontextmanager
async def running_chromium(
    playwright: Playwright, host_rules: list[str], *arguments: str, **options: Any
) -> AsyncIterator[Browser]:
    """A Chromium with a fresh profile, whose host names are found by ``--host-resolver-rules``."""
    chromium = await playwright.chromium.launch(
        executable_path="/usr/bin/chromium",
        args=[
            "--no-sandbox",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            f"--disable-features={','.join(UNUSED)}",
            f"--host-resolver-rules={', '.join(host_rules)}",
            *arguments,
        ],
        **options,
    )
    yield chromium
    await chromium.close()


@asynccontextmanager
async def open_live_page(browser: Browser, url: str) -> AsyncIterator[Page]:
    """A page of ours that says it is live; at the end, nothing was written to its console."""
    async with await browser.new_context(accept_downloads=True) as context:
        context.set_default_timeout(DEADLINE * 1000)
        page = await context.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda each: problems.append(each.text))
        await page.goto(url)
        await expect(page.locator("#live")).to_have_text("live")
        yield page
        assert problems == []
