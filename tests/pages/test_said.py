"""What a page says to its pixel holds for both copies, wherever our tag stands, in Chromium."""

from __future__ import annotations

import asyncio
from itertools import count, product
from typing import Any

import pytest

from tests.pages.scenes import (
    GRANT,
    ID,
    INIT,
    OTHER_ID,
    OURS,
    OURS_ASYNC,
    REVOKE,
    STYLE,
    VIEW,
    Scene,
    answer_banner,
    assert_pair,
    build_page,
    every_place,
    running_pages,
)
from tests.servers import Sandbox, poll

ORDERS = count()

# Limited Data Use


BEFORE = ("fbq('dataProcessingOptions', ['LDU'], 1, 1000);" + INIT, 1, 1000)
AFTER = (INIT + "fbq('dataProcessingOptions', ['LDU'], 0, 0);", 0, 0)
SHORT = (INIT + "fbq('dataProcessingOptions', ['LDU']);", 0, 0)


@pytest.mark.parametrize(
    ("place", "calls", "country", "state"),
    [
        *[(place, *BEFORE) for place in ("first", "last", "async", "deferred")],
        *[(place, *AFTER) for place in ("first", "last")],
        ("async", *SHORT),
    ],
)
async def test_limited_data_use_of_the_page_is_on_both_copies(
    slow_scene: Scene, place: str, calls: str, country: int, state: int
) -> None:
    scene = slow_scene
    lead = "fbq('track', 'Lead', {value: 5, currency: 'EUR'});"
    await scene.show(build_page(scene, place, calls + VIEW + lead))
    await scene.counted(PageView=1, Lead=1)
    await scene.run(f"fetch('/order?id=limited{next(ORDERS)}')")
    for action in await scene.counted(PageView=1, Lead=1, Purchase=1):
        assert_pair(action)
        assert action["browser"][0]["params"]["dpo"] == "LDU"
        event = action["server"][0]["event"]
        if action["event_name"] != "Purchase":
            assert event["data_processing_options_country"] == country
            assert event["data_processing_options_state"] == state
    await scene.show(OURS)
    for action in await scene.counted(PageView=2, Lead=1, Purchase=1):
        assert_pair(action)


async def test_page_lifts_no_limit_of_the_visitors(open_scene: Any, asking_pages: str) -> None:
    scene = await open_scene(asking_pages)
    await scene.show(OURS)
    await scene.consent("limited")
    await scene.run("fbq('dataProcessingOptions', []); fbq('track', 'Lead')")
    for action in await scene.counted(PageView=1, Lead=1):
        assert_pair(action)
        assert action["browser"][0]["params"]["dpo"] == "LDU"


# Too early


@pytest.mark.parametrize("tag", [OURS, OURS_ASYNC], ids=["sync", "async"])
@pytest.mark.parametrize("has_snippet", [True, False])
async def test_revoke_of_the_page_comes_before_the_first_hit(
    slow_scene: Scene, tag: str, has_snippet: bool
) -> None:
    scene = slow_scene
    said = scene.snippet(REVOKE + INIT + VIEW) if has_snippet else f"<script>{REVOKE}</script>"
    await scene.show(tag + STYLE + said)
    await scene.ready()
    await scene.run("fetch('/order?id=revoked')")
    await scene.run("bridge.track('Lead')")
    await asyncio.sleep(1)
    assert [url for url in scene.to_meta if "/tr/" in url] == []
    await scene.run(GRANT)
    for action in await scene.counted(PageView=1, Lead=1):
        assert_pair(action)


async def test_page_without_the_pixels_cookies_has_none_in_either_copy(slow_scene: Scene) -> None:
    scene = slow_scene
    said = f"<script>fbq('set', 'firstPartyCookies', false, '{ID}')</script>"
    await scene.show(OURS + STYLE + said)
    await scene.run("fbq('track', 'Lead')")
    for action in await scene.counted(PageView=1, Lead=1):
        assert_pair(action)
        assert "fbp" not in action["server"][0]["event"]["user_data"]


@pytest.mark.parametrize("place", ["first", "last", "deferred"])
async def test_server_born_event_has_no_ids_that_the_pixel_does_not_send(
    scene: Scene, place: str
) -> None:
    off = f"fbq('set', 'firstPartyCookies', false, '{ID}');"
    await scene.show(build_page(scene, place, off + INIT + VIEW))
    await scene.hits("PageView")
    await scene.page.wait_for_function("document.cookie.includes('_bridge_l=_')")
    await scene.run(f"fetch('/order?id=without-{place}')")
    [purchase] = [
        each
        for each in await scene.counted(PageView=1, Purchase=1)
        if each["event_name"] == "Purchase"
    ]
    assert_pair(purchase)
    assert {"fbp", "fbc"}.isdisjoint(purchase["server"][0]["event"]["user_data"])


async def test_view_waits_no_longer_than_the_pages_own_snippet(slow_scene: Scene) -> None:
    scene = slow_scene
    await scene.show(OURS + scene.snippet(INIT + VIEW) + STYLE + "<script>1</script>")
    [view] = await scene.counted(PageView=1)
    assert_pair(view)


@pytest.mark.parametrize("place", ["first", "async"])
async def test_snippet_without_a_view_gets_none(slow_scene: Scene, place: str) -> None:
    scene = slow_scene
    await scene.show(build_page(scene, place, INIT))
    await scene.run("fbq('track', 'Lead')")
    await scene.counted(Lead=1)
    await scene.run("fbq('track', 'Contact')")
    await scene.counted(Lead=1, Contact=1)


@pytest.mark.parametrize("place", ["first", "async"])
async def test_view_of_the_page_keeps_its_properties_and_id(slow_scene: Scene, place: str) -> None:
    scene = slow_scene
    view = "fbq('track', 'PageView', {content_name: 'Home'}, {eventID: 'view-" + place + "'});"
    await scene.show(build_page(scene, place, INIT + view))
    [action] = await scene.counted(PageView=1)
    assert_pair(action)
    assert action["event_id"] == f"view-{place}"
    assert action["browser"][0]["cd"]["content_name"] == "Home"
    assert action["server"][0]["event"]["custom_data"]["content_name"] == "Home"


# Consent


@every_place
async def test_grant_without_a_revoke_throws_nothing_away(slow_scene: Scene, place: str) -> None:
    scene = slow_scene
    await scene.sandbox.fault("config", delay=1)
    calls = INIT + VIEW + "fbq('track', 'ViewContent');"
    await scene.show(build_page(scene, place, calls))
    await scene.page.wait_for_function("!!fbq.callMethod")
    await scene.run(GRANT + GRANT)
    for action in await scene.counted(PageView=1, ViewContent=1):
        assert_pair(action)


async def test_revoke_of_the_page_reaches_the_server_and_grant_too(
    open_scene: Any, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with running_pages(tmp_path_factory.mktemp("pages"), sandbox.url, hold="4") as url:
        scene = await open_scene(url)
        await scene.show(OURS)
        await scene.counted(PageView=1)
        await scene.page.route("**/tr/*", lambda route: asyncio.sleep(60))
        cookies = await scene.page.evaluate("fetch('/order?id=held').then(() => document.cookie)")
        assert "_bridge_t_" in cookies
        async with scene.page.expect_request("**/_bridge/consent"):
            await scene.run(REVOKE + "fetch('/order?id=revoked')")
        await scene.page.unroute("**/tr/*")
        await scene.run(GRANT + "fetch('/order?id=granted')")
        await scene.counted(PageView=1, Purchase=1)
        await asyncio.sleep(4)
        purchases = [a for a in await sandbox.actions("Purchase") if a["server"]]
        assert [each["event_id"] for each in purchases] == ["granted-0"]


async def test_revoke_of_one_page_does_not_hold_the_next(scene: Scene) -> None:
    await scene.show(OURS + f"<script>{REVOKE}</script>")
    await scene.ready()
    await scene.page.wait_for_function("document.cookie.includes('_bridge_l=pending')")
    await scene.show(OURS)
    for action in await scene.counted(PageView=1):
        assert_pair(action)
    await scene.run("fetch('/order?id=next')")
    await scene.counted(PageView=1, Purchase=1)


async def test_click_of_the_landing_survives_a_route_change_before_the_banners_answer(
    banner_scene: Scene,
) -> None:
    scene = banner_scene
    await scene.page.goto(await scene.place(OURS) + "&fbclid=IwAR0")
    await scene.ready()
    await scene.run("history.pushState({}, '', '/?html=fern')")
    await answer_banner(scene, "granted")
    [view] = await scene.counted(PageView=1)
    assert_pair(view)
    assert view["server"][0]["event"]["user_data"]["fbc"].endswith(".IwAR0")


async def test_banner_is_followed_without_a_reload_in_every_tab(banner_scene: Scene) -> None:
    scene = banner_scene
    await scene.show(OURS)
    await scene.ready()
    other = Scene(await scene.page.context.new_page(), scene.sandbox, scene.url)
    await other.show(OURS)
    await other.ready()
    assert await scene.sandbox.actions() == []
    await answer_banner(scene, "granted")
    await other.run("bridge.track('AddToCart')")
    for action in await scene.counted(PageView=2, AddToCart=1):
        assert_pair(action)
    await answer_banner(scene, "denied")
    for each in (scene, other):

        async def is_denied(each: Scene = each) -> bool:
            return await each.consent() == "denied"

        await poll(is_denied, "the withdrawal")
        await each.run("fbq('track', 'Lead')")
    assert not [key for key in await scene.storage() if "eferrer" in key or "Fbc" in key]
    assert await scene.sandbox.actions("Lead") == []
    await answer_banner(scene, "granted")
    await scene.page.wait_for_function("bridge.identity()")
    await scene.run("fbq('track', 'Contact')")
    await scene.counted(PageView=2, AddToCart=1, Contact=1)


async def test_grant_in_another_tab_counts_here(open_scene: Any, asking_pages: str) -> None:
    scene = await open_scene(asking_pages)
    await scene.show(OURS)
    await scene.ready()
    other = Scene(await scene.page.context.new_page(), scene.sandbox, scene.url)
    await other.show(OURS)
    await scene.run("bridge.track('AddToCart')")
    await other.consent("granted")
    for action in await scene.counted(PageView=2, AddToCart=1):
        assert_pair(action)


# Which pixel


@every_place
async def test_event_for_one_pixel_goes_to_that_dataset_alone(
    two_pixels: Scene, place: str
) -> None:
    scene = two_pixels
    inits = INIT + f"fbq('init', '{OTHER_ID}');"
    singles = f"fbq('trackSingle', '{ID}', 'Lead');" + "".join(
        f"fbq('trackSingleCustom', '{each}', 'Both', {{}}, {{eventID: 'both'}});"
        for each in (ID, OTHER_ID)
    )
    await scene.show(build_page(scene, place, inits + VIEW + singles))

    async def list_copies() -> list[tuple[str, str, str]] | None:
        actions = await scene.sandbox.actions()
        found = [
            (action["event_name"], half, action["pixel_id"])
            for action in actions
            for half in ("browser", "server")
            for _ in action[half]
        ]
        return found if len(found) >= 10 else None

    found = await poll(list_copies, "ten copies")
    assert sorted(found) == sorted(
        [
            *product(("PageView", "Both"), ("browser", "server"), (ID, OTHER_ID)),
            ("Lead", "browser", ID),
            ("Lead", "server", ID),
        ]
    )
