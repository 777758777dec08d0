"""Whose event it is, and hits and calls of every form: both copies say the same, in Chromium."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from tests.factories import build_pixel_config
from tests.pages.scenes import (
    ID,
    INIT,
    OURS,
    VIEW,
    Scene,
    assert_pair,
    build_page,
    every_place,
    running_pages,
)
from tests.servers import Sandbox

# Whose event


def hash_like_the_pixel(text: str) -> str:
    return hashlib.sha256(text.lower().encode()).hexdigest()


@pytest.mark.parametrize(
    ("place", "given"),
    [
        *[(place, "'Mine-7'") for place in ("first", "last", "async", "deferred")],
        ("first", "4711"),
        ("last", "'a b'"),
    ],
)
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
    # What arrives before the login has one id.
    await scene.page.route("**/_bridge/collect", lambda route: route.abort())
    await scene.run(
        "bridge.track('Lead'); document.body.insertAdjacentHTML('beforeend',"
        "'<form action=/log-in><input name=user value=user-7></form>');"
        "document.forms[0].submit()"
    )
    await scene.page.wait_for_url("**/log-in*")
    await scene.page.unroute("**/_bridge/collect")
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
    # First: a library that is loaded before our script has made its hits by then.
    await scene.show(build_page(scene, "first", INIT + VIEW + f"fbq('track', 'Purchase', {data});"))
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
