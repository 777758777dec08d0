"""What a page says to its pixel holds for both copies, wherever our tag stands, in Chromium."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from itertools import count, product
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.async_api import Browser, Route

from tests.factories import build_pixel_config
from tests.pages.scenes import (
    ID,
    INIT,
    LATE,
    OTHER_ID,
    OURS,
    OURS_ASYNC,
    VIEW,
    Scene,
    assert_pair,
    running_pages,
)
from tests.pages.visits import SHORT_HOLD, open_context
from tests.servers import Sandbox, poll

ORDERS = count()
REVOKE, GRANT = "fbq('consent', 'revoke');", "fbq('consent', 'grant');"
STYLE = '<link rel="stylesheet" href="/slow.css">'


def build_page(scene: Scene, place: str, calls: str) -> str:
    """A page whose snippet makes ``calls``, with our tag at a place."""
    snippet = scene.snippet(calls)
    return {
        "first": OURS + snippet,
        "last": snippet + OURS,
        "async": OURS_ASYNC + STYLE + snippet,
        "deferred": OURS.replace(" src", " defer src") + snippet,
    }[place]


@pytest.fixture
async def slow_scene(scene: Scene) -> Scene:
    """A window in which a stylesheet is slow: inline scripts below it wait."""

    async def answer(route: Route) -> None:
        await asyncio.sleep(0.7)
        await route.fulfill(body="", content_type="text/css")

    await scene.page.route("**/slow.css", answer)
    return scene


every_place = pytest.mark.parametrize("place", ["first", "last", "async", "deferred"])


# Limited Data Use


@every_place
@pytest.mark.parametrize(
    ("calls", "country", "state"),
    [
        ("fbq('dataProcessingOptions', ['LDU'], 1, 1000);" + INIT, 1, 1000),
        (INIT + "fbq('dataProcessingOptions', ['LDU'], 0, 0);", 0, 0),
        (INIT + "fbq('dataProcessingOptions', ['LDU']);", 0, 0),
    ],
    ids=["before init", "after init", "short"],
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
        await scene.run("fetch('/order?id=held')")
        await scene.page.wait_for_function("document.cookie.includes('_bridge_t_')")
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


@pytest.fixture
async def banner_scene(
    open_scene: Any, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Scene]:
    """A window on pages whose banner keeps its answer in the cookie ``banner``."""
    with running_pages(tmp_path_factory.mktemp("pages"), sandbox.url, banner="banner") as url:
        yield await open_scene(url)


async def answer_banner(scene: Scene, answer: str) -> None:
    await scene.run(f"document.cookie = 'banner={answer}; Path=/'")


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


@pytest.fixture
async def two_pixels(
    open_scene: Any, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Scene]:
    """A window on pages with two pixels of ours."""
    folder = tmp_path_factory.mktemp("pages")
    with running_pages(folder, sandbox.url, pixels=f"{ID},{OTHER_ID}", hold=SHORT_HOLD) as url:
        yield await open_scene(url)


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


# Whose event


def hash_like_the_pixel(text: str) -> str:
    return hashlib.sha256(text.lower().encode()).hexdigest()


@every_place
@pytest.mark.parametrize("given", ["'Mine-7'", "4711", "'a b'"])
async def test_external_id_of_the_page_comes_first_in_both_copies(
    slow_scene: Scene, place: str, given: str
) -> None:
    scene = slow_scene
    await scene.show(
        build_page(scene, place, f"fbq('init', '{ID}', {{external_id: {given}}});" + VIEW)
    )
    [view] = await scene.counted(PageView=1)
    assert_pair(view)
    ids = view["server"][0]["event"]["user_data"]["external_id"]
    ours = await scene.run("bridge.identity().external_id")
    assert ids == [hash_like_the_pixel(given.strip("'").replace(" ", "")), ours]


@pytest.mark.parametrize("allowed", [True, False])
async def test_advanced_matching_of_the_page_reaches_its_events_if_the_app_allows(
    open_scene: Any, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory, *, allowed: bool
) -> None:
    folder = tmp_path_factory.mktemp("pages")
    with running_pages(folder, sandbox.url, matching=allowed) as url:
        scene = await open_scene(url)
        calls = f"fbq('init', '{ID}', {{em: 'Ada@Example.com', fn: 'Ada'}});" + VIEW
        await scene.show(build_page(scene, "first", calls))
        [view] = await scene.counted(PageView=1)
        assert_pair(view)
        user_data = view["server"][0]["event"]["user_data"]
        assert (user_data.get("em") == [hash_like_the_pixel("ada@example.com")]) == allowed
        assert ("fn" in user_data) == allowed


async def test_event_of_the_login_form_has_both_ids(scene: Scene) -> None:
    await scene.show(OURS)
    await scene.counted(PageView=1)
    anonymous = await scene.run("bridge.identity().external_id")
    await scene.run(
        "bridge.track('Lead'); document.body.insertAdjacentHTML('beforeend',"
        "'<form action=/log-in><input name=user value=user-7></form>');"
        "document.forms[0].submit()"
    )
    await scene.page.wait_for_url("**/log-in*")
    await scene.show(OURS)
    _, lead, *views = await scene.counted(PageView=2, Lead=1)
    known = await scene.run("bridge.identity().external_id")
    for action in (lead, *views):
        assert_pair(action)
    assert known != anonymous
    assert lead["server"][0]["event"]["user_data"]["external_id"] == [anonymous, known]


async def test_nobodys_event_becomes_the_next_persons(scene: Scene) -> None:
    await scene.run_at("/log-in?user=ada")
    await scene.show(OURS)
    await scene.counted(PageView=1)
    ada = await scene.run("bridge.identity().external_id")
    await scene.page.route("**/_bridge/collect", lambda route: route.abort())
    await scene.run("bridge.track('Lead')")
    await scene.hits("PageView", "Lead")
    await scene.run_at("/log-out")
    await scene.page.unroute("**/_bridge/collect")
    await scene.run_at("/log-in?user=bob")
    await scene.show(OURS)
    actions = await scene.counted(PageView=2, Lead=1)
    [lead] = [a for a in actions if a["event_name"] == "Lead"]
    user_data = lead["server"][0]["event"]["user_data"]
    assert user_data["external_id"] == [ada] == [lead["browser"][0]["external_id"]]
    assert "fbp" not in user_data
    assert await scene.run("bridge.identity().external_id") != ada


# Long hits


LONG = "history.replaceState({}, '', '/?' + 'q'.repeat(1900));"


@pytest.mark.parametrize("carrier", ["formPOST", "SB"])
async def test_views_of_the_pixels_own_that_leave_by_form_or_beacon_have_a_copy(
    scene: Scene, carrier: str
) -> None:
    if carrier == "SB":
        await scene.page.add_init_script(
            "Object.defineProperty(navigator, 'vendor', {get: () => 'Apple Computer, Inc.'})"
        )
    await scene.show(build_page(scene, "last", INIT + VIEW))
    await scene.counted(PageView=1)
    await scene.run(LONG)
    *_, view = await scene.counted(PageView=2)
    assert_pair(view)
    assert view["browser"][0]["params"]["rqm"] == carrier
    contents = "[{id: 'x'.repeat(300), quantity: 1}]"
    await scene.run(
        f"fbq('track', 'Purchase', {{value: 1, currency: 'EUR', contents: {contents}}})"
    )
    for action in await scene.counted(PageView=2, Purchase=1):
        assert_pair(action)
    [purchase] = [a for a in await scene.actions() if a["event_name"] == "Purchase"]
    assert "contents" in purchase["browser"][0]["cd"]


async def test_ids_of_a_gateway_are_taken_over(scene: Scene) -> None:
    body = build_pixel_config("OpenBridge")
    await scene.sandbox.fault("config", status=200, body=body)
    await scene.show(build_page(scene, "last", INIT + VIEW))
    await scene.counted(PageView=1)
    await scene.run("history.pushState({}, '', '/two')")
    *_, view = await scene.counted(PageView=2)
    assert_pair(view)
    assert view["event_id"].startswith("ob3_plugin-set_")


async def test_clicks_that_the_pixel_notes_by_itself_need_no_copy(scene: Scene) -> None:
    body = build_pixel_config("AutomaticSetup")
    await scene.sandbox.fault("config", status=200, body=body)
    await scene.show(build_page(scene, "last", INIT + VIEW) + "<button>Buy</button>")
    await scene.counted(PageView=1)
    await scene.page.click("button")
    await scene.hits("PageView", "SubscribedButtonClick")
    await scene.run("fbq('track', 'Lead')")
    await scene.counted(PageView=1, Lead=1)
    [click] = await scene.sandbox.actions("SubscribedButtonClick")
    assert click["server"] == []


# Other words


@every_place
async def test_other_forms_of_a_call_have_both_copies(slow_scene: Scene, place: str) -> None:
    scene = slow_scene
    calls = (
        "fbq.push(['track', 'Lead']); fbq(['track', 'Contact']); _fbq.push(['trackCustom', 'A']);"
        "fbq('reportSubscribe', {}); fbq('reportCustomEvent', {event: 'B'});"
        "fbq('track', 'CustomEvent', {event: 'C'}); fbq('send', 'D');"
    )
    await scene.show(build_page(scene, place, INIT + VIEW + calls))
    counts = dict.fromkeys(["PageView", "Lead", "Contact", "A", "Subscribe", "B", "C", "D"], 1)
    for action in await scene.counted(**counts):
        assert_pair(action)
    await scene.run(f"fbq('trackSingle', {ID}, 'Lead')")  # refused by the pixel
    await scene.run("fbq('track', 'Schedule')")
    await scene.counted(**counts, Schedule=1)


@pytest.mark.parametrize(
    "data",
    [
        "{value: '25.00', currency: 'eur'}",
        "{value: 25, currency: ' EUR '}",
        "{value: 25, currency: 'EUR', content_category: null, content_name: undefined}",
    ],
)
async def test_money_is_the_same_in_both_copies(scene: Scene, data: str) -> None:
    await scene.show(build_page(scene, "last", INIT + VIEW + f"fbq('track', 'Purchase', {data});"))
    actions = await scene.counted(PageView=1, Purchase=1)
    for action in actions:
        assert_pair(action)
    assert actions[-1]["browser"][0]["cd"]["value"] == "25"


async def test_more_than_a_hundred_events_at_once_all_have_copies(scene: Scene) -> None:
    await scene.show(OURS)
    await scene.counted(PageView=1)
    await scene.run("for (let n = 0; n < 120; n++) bridge.track('Lead')")
    await scene.counted(PageView=1, Lead=120)


@pytest.mark.parametrize("keeps", [True, False], ids=["with its properties", "bare"])
async def test_wrapper_around_fbq_stops_nothing(scene: Scene, keeps: bool) -> None:
    wrap = "const old = fbq; window.fbq = (...call) => old(...call);"
    copy = "Object.assign(window.fbq, old);" if keeps else ""
    await scene.show(OURS + f"<script>{wrap}{copy}</script>")
    await scene.run("fbq('track', 'Lead')")
    for action in await scene.counted(PageView=1, Lead=1):
        assert_pair(action)
    await scene.run("fbq('track', 'Contact')")
    await scene.counted(PageView=1, Lead=1, Contact=1)


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


# Prerendering


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


# What a tester found


async def count_requests(scene: Scene, path: str, seconds: float) -> int:
    seen: list[str] = []
    scene.page.on("request", lambda request: seen.append(request.url))
    await asyncio.sleep(seconds)
    return sum(path in url for url in seen)


async def test_forged_word_of_a_page_makes_no_loop_and_is_lifted(scene: Scene) -> None:
    await scene.page.context.add_cookies(
        [{"name": "_bridge_l", "value": "pending", "url": scene.url}]  # of this host alone
    )
    await scene.show(OURS)
    assert await count_requests(scene, "/identity", 1) < 3
    await scene.run("bridge.track('Lead')")
    for action in await scene.counted(PageView=1, Lead=1):
        assert_pair(action)


async def test_forged_twin_that_was_fired_makes_no_loop(scene: Scene) -> None:
    await scene.show(OURS)
    await scene.counted(PageView=1)
    forged = "document.cookie = '_bridge_t_aaaaaaaaaaaa=eyJuIjoiTGVhZCIsImkiOiJmMSJ9; Path=/'"
    for _ in range(2):
        await scene.run(forged + "; fetch('/x')")
        await scene.hits("PageView", "Lead")
    assert await count_requests(scene, "/collect", 1.5) < 3


async def test_late_answer_undoes_no_withdrawal(banner_scene: Scene) -> None:
    scene = banner_scene
    await scene.page.add_init_script(
        """const real = window.fetch
        window.fetch = async (url, options) => {
            const isLate = document.cookie.includes('banner=granted')
            if (isLate) window.asked = true
            const answer = await real(url, options)
            if (isLate) await new Promise((done) => setTimeout(done, 2500))
            return answer
        }"""
    )
    await scene.show(OURS)
    await scene.ready()
    await answer_banner(scene, "granted")
    await scene.page.wait_for_function("window.asked")
    await answer_banner(scene, "denied")
    await asyncio.sleep(4)
    assert await scene.consent() == "denied"
    await scene.run("fbq('track', 'Lead')")
    assert [url for url in scene.to_meta if "/tr/" in url] == []


async def test_withdrawal_holds_although_the_server_fails_once(banner_scene: Scene) -> None:
    scene = banner_scene
    await scene.hurry()
    await scene.show(OURS)
    await scene.ready()
    await answer_banner(scene, "granted")
    await scene.counted(PageView=1)
    faults = iter([503])

    async def answer(route: Route) -> None:
        status = next(faults, None)
        await (route.continue_() if status is None else route.fulfill(status=status))

    await scene.page.route("**/_bridge/identity*", answer)
    await answer_banner(scene, "denied")
    await scene.run("fbq('track', 'Lead')")  # in the next task already

    async def is_denied() -> bool:
        return await scene.consent() == "denied"

    await poll(is_denied, "the second answer")
    await scene.hits("PageView")


async def test_one_id_for_two_events_of_the_server_fires_both(scene: Scene) -> None:
    await scene.show(OURS)
    await scene.counted(PageView=1)
    await scene.run("fbq('track', 'InitiateCheckout', {}, {eventID: 'same-0'})")
    await scene.counted(PageView=1, InitiateCheckout=1)
    await scene.run("fetch('/order?id=same')")
    for action in await scene.counted(PageView=1, InitiateCheckout=1, Purchase=1):
        assert_pair(action)


async def test_pages_repeated_id_goes_out_as_without_us(two_pixels: Scene) -> None:
    scene = two_pixels
    await scene.show(OURS)
    await scene.hits("PageView", "PageView")
    for pixel in (ID, OTHER_ID):
        await scene.run(f"fbq('trackSingle', '{pixel}', 'Lead', {{}}, {{eventID: 'x1'}})")
    await scene.hits("PageView", "PageView", "Lead", "Lead")


async def test_views_for_single_pixels_are_each_their_own(two_pixels: Scene) -> None:
    scene = two_pixels
    views = "".join(f"fbq('trackSingle', '{each}', 'PageView');" for each in (ID, OTHER_ID))
    await scene.show(OURS + scene.snippet(INIT + f"fbq('init', '{OTHER_ID}');" + views))
    hits = await scene.hits("PageView", "PageView")
    assert {hit["id"] for hit in hits} == {ID, OTHER_ID}


async def test_library_that_was_only_preloaded_is_waited_for(scene: Scene) -> None:
    await scene.hurry()
    library = f"{scene.sandbox.url}/en_US/fbevents.js"
    preload = f'<link rel="preload" as="script" href="{library}">'
    stub = scene.snippet(INIT + VIEW).replace("s.parentNode.insertBefore(t,s)", "window.late = t")
    await scene.show(preload + stub + OURS)
    await asyncio.sleep(2.5)  # twice as long as a hit is awaited
    await scene.run("document.head.append(late)")
    for action in await scene.counted(PageView=1):
        assert_pair(action)


async def test_events_that_wait_for_another_window_make_one_timer(scene: Scene) -> None:
    await scene.page.add_init_script(
        "const wait = setTimeout; window.timers = 0\n"
        "window.setTimeout = (f, ms, ...a) => (timers += ms > 9e3, wait(f, ms / 20, ...a))\n"
        "for (let n = 0; n < 20; n++) localStorage['_bridge.q.' + n] = JSON.stringify("
        "{event_name: 'Lead', event_id: '' + n, at: Date.now(), kept: Date.now() + 3e6})"
    )
    await scene.show(OURS)
    await asyncio.sleep(3)
    assert await scene.run("timers") < 300  # 20 a look, and no more each time


async def test_page_that_is_hidden_while_it_is_parsed_sends_nothing_yet(slow_scene: Scene) -> None:
    scene = slow_scene
    hide = (
        "<script>Object.defineProperty(document, 'hidden', {get: () => true});"
        "setTimeout(() => document.dispatchEvent(new Event('visibilitychange')), 300)</script>"
    )
    await scene.show(OURS + hide + STYLE + f"<script>{REVOKE}</script>")
    await asyncio.sleep(1)
    assert [url for url in scene.to_meta if "/tr/" in url] == []
    assert await scene.sandbox.actions() == []


async def test_two_routes_in_one_task_are_two_views(scene: Scene) -> None:
    await scene.show(scene.snippet(INIT + VIEW) + OURS)
    await scene.counted(PageView=1)
    await scene.run("history.pushState({}, '', '/a'); history.replaceState({}, '', '/b')")
    for action in await scene.counted(PageView=3):
        assert_pair(action)


async def test_what_was_taken_back_from_the_pixel_is_not_reported(scene: Scene) -> None:
    await scene.sandbox.fault("config", delay=3)
    await scene.show(scene.snippet(INIT + VIEW) + OURS)
    await scene.page.wait_for_function("!!fbq.callMethod")
    await scene.run("fbq('track', 'Lead');" + REVOKE)
    await scene.show(OURS)
    [view] = await scene.counted(PageView=1)
    assert_pair(view)
    assert await scene.sandbox.actions("Lead") == []
