"""Twins, click ids, and pages without JavaScript or with Trusted Types, in Chromium."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlencode

import pytest
from playwright.async_api import Browser, Route

from tests.pages.scenes import (
    INIT,
    LATE,
    OURS,
    VIEW,
    Scene,
    assert_pair,
)
from tests.pages.visits import open_context
from tests.servers import Sandbox

# Twins


async def test_twin_whose_page_is_left_before_the_library_came_is_fired_by_the_next(
    scene: Scene,
) -> None:
    await scene.sandbox.fault("fbevents", delay=5)
    await scene.show(OURS)
    await scene.ready()
    await scene.run("fetch('/order?id=left')")
    await scene.page.wait_for_function("fbq.queue.some((call) => call[1] === 'Purchase')")
    await scene.show(OURS)
    # The hit of the first view is lost, as it would be without us.
    actions = await scene.counted(PageView=1, Purchase=1)
    assert all(len(action["browser"]) < 2 for action in actions)


async def test_webhook_that_was_first_is_merged_with_the_page_that_says_thanks(
    scene: Scene,
) -> None:
    await scene.show(OURS)
    await scene.counted(PageView=1)
    await scene.run("fetch('/pay?id=paid-0')")
    for views in (2, 3, 4):
        await scene.run("fetch('/order?id=paid')")
        actions = await scene.counted(PageView=views - 1, Purchase=1)
        [purchase] = [each for each in actions if each["event_name"] == "Purchase"]
        assert (len(purchase["browser"]), len(purchase["server"])) == (1, 1)
        assert (purchase["counted"], purchase["merged_by"]) == (1, "event_id")
        assert purchase["repeats"] == 0
        await scene.show(OURS)
        await scene.counted(PageView=views, Purchase=1)


async def test_twin_that_comes_while_the_page_is_being_left_is_fired_by_the_next(
    scene: Scene,
) -> None:
    """A form's answer sets the cookie while the old page still lives: its hit could be cut off."""
    await scene.show(OURS)
    await scene.counted(PageView=1)
    address = await scene.place(OURS)

    async def answer_late(route: Route) -> None:
        await asyncio.sleep(2)
        await route.continue_()

    await scene.page.route(f"{address}&next", answer_late)
    await scene.run(
        "void setTimeout(() => {"
        f"location.href = '{address}&next'; setTimeout(fetch, 200, '/order?id=leaving')"
        "})"
    )
    await scene.page.wait_for_url(f"{address}&next")
    actions = await scene.counted(PageView=2, Purchase=1)
    [purchase] = [each for each in actions if each["event_name"] == "Purchase"]
    assert purchase["browser"][0]["params"]["dl"] == f"{address}&next"


async def test_twin_waits_for_a_slow_library(scene: Scene) -> None:
    await scene.hurry()
    await scene.sandbox.fault("fbevents", delay=2.5)  # longer than a hit is awaited
    await scene.show(OURS)
    await scene.ready()
    await scene.run("fetch('/order?id=slow')")
    await scene.counted(PageView=1, Purchase=1)
    reports = await scene.reports()
    assert [a["state"] for r in reports for a in r["acks"] if a["event_id"] == "slow-0"] == ["sent"]


@pytest.mark.parametrize("first", ["page", "twin"])
async def test_event_that_the_page_fires_itself_is_one_hit(scene: Scene, first: str) -> None:
    own = f"fbq('track', 'Purchase', {{value: 5, currency: 'EUR'}}, {{eventID: '{first}-0'}});"
    await scene.show(OURS)
    await scene.counted(PageView=1)
    if first == "page":
        await scene.run(own)
        await scene.hits("PageView", "Purchase")
    await scene.run(f"fetch('/order?id={first}')")
    await scene.counted(PageView=1, Purchase=1)
    if first == "twin":
        await scene.run(own)
    await scene.run("bridge.track('Lead')")
    await scene.hits("PageView", "Purchase", "Lead")


async def test_events_of_another_living_window_are_left_to_it(scene: Scene) -> None:
    await scene.show(OURS)
    await scene.counted(PageView=1)
    await scene.page.route("**/tr/*", lambda route: asyncio.sleep(60))
    event_id = await scene.run("bridge.track('Lead')")
    other = Scene(await scene.page.context.new_page(), scene.sandbox, scene.url)
    await other.show(OURS)
    await other.run("bridge.track('Contact')")
    await scene.counted(PageView=2, Contact=1)
    assert event_id not in str(await scene.reports())


# Click ids


async def test_click_id_with_a_bridge_id_is_joined_as_the_pixel_does(scene: Scene) -> None:
    address = await scene.place(OURS)
    await scene.page.goto(f"{address}&fbclid=NEW&brid=BR")
    [view] = await scene.counted(PageView=1)
    assert_pair(view)
    assert view["browser"][0]["fbc"].endswith(".NEW_aem_BR")


@pytest.mark.parametrize("value", ["a%252Eb", "a%7Eb"])
async def test_percent_in_fbc_is_the_same_in_both_copies(scene: Scene, value: str) -> None:
    await scene.page.context.add_cookies(
        [
            {
                "name": "_fbc",
                "value": f"fb.1.1790000000000.{value}",
                "domain": ".example.com",
                "path": "/",
            }
        ]
    )
    await scene.show(OURS)
    await scene.run("bridge.track('Lead')")
    for action in await scene.counted(PageView=1, Lead=1):
        assert_pair(action)


async def test_page_that_comes_late_says_the_same(scene: Scene) -> None:
    await scene.show(scene.snippet("fbq('dataProcessingOptions', ['LDU'], 1, 1000);" + INIT + VIEW))
    await scene.hits("PageView")
    await scene.run(LATE)
    await scene.ready()
    await scene.run("fbq('track', 'Lead')")
    [lead] = [a for a in await scene.counted(Lead=1) if a["merged"]]
    assert lead["browser"][0]["params"]["dpo"] == "LDU"


# Without JavaScript


async def test_visitor_without_javascript_has_a_view_of_the_servers(
    browser: Browser, sandbox: Sandbox, pages: str
) -> None:
    async with await open_context(browser, java_script_enabled=False) as context:
        scene = Scene(await context.new_page(), sandbox, pages)
        image = '<noscript><img src="/_bridge/view.gif" width="1" height="1" alt=""></noscript>'
        await scene.show(OURS + "<body>" + image)
        [view] = await sandbox.wait_for_server_copies(1)
        assert view["event_name"] == "PageView"
        assert view["event_source_url"] == scene.page.url
        cookies = {each["name"]: each["value"] for each in await context.cookies()}
        assert view["user_data"]["fbp"] == cookies["_fbp"]


# Trusted Types


@pytest.mark.parametrize("names", ["", "; trusted-types connect.facebook.net/fbevents"])
async def test_trusted_types_let_hits_through_or_one_line_says_why(
    scene: Scene, names: str
) -> None:
    policy = {"content-security-policy": "require-trusted-types-for 'script'" + names}
    query = urlencode({"headers": json.dumps(policy)})
    await scene.page.goto(f"{await scene.place(OURS)}&{query}")
    if names:
        [view] = await scene.sandbox.wait_for_server_copies(1)
        assert view["event_name"] == "PageView"
        assert [text for text in scene.console if text.startswith("Bridge: ")][1:] == []
        assert any('Policy "bridge" disallowed' in text for text in scene.console)
    else:
        for action in await scene.counted(PageView=1):
            assert_pair(action)
        assert scene.console == []
