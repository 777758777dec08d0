"""A page's own pixel with our one script tag beside it, in Chromium."""

from __future__ import annotations

from typing import Any

import pytest

from tests.pages.scenes import (
    ID,
    INIT,
    LATE,
    OTHER_ID,
    OURS,
    OURS_ASYNC,
    VIEW,
    Scene,
    running_pages,
)
from tests.pages.test_journey import assert_alike
from tests.servers import Sandbox, poll

OTHER_INIT = f"fbq('init', '{OTHER_ID}');"


async def show_with(scene: Scene, order: str, calls: str) -> None:
    """A page with the snippet, and our script before it, or between its stub and its library."""
    await show_snippet(scene, order, scene.snippet(calls))


async def show_snippet(scene: Scene, order: str, snippet: str) -> None:
    await scene.sandbox.fault("fbevents", delay=0.5)
    await scene.show(OURS + snippet if order == "before" else snippet + OURS)


async def assert_quiet(scene: Scene) -> None:
    """Neither we nor the pixel complained, and there is one hit of each action."""
    assert scene.console == []
    assert scene.errors == []
    assert all(len(action["browser"]) < 2 for action in await scene.sandbox.actions())


# Before the snippet, between stub and library


@pytest.mark.parametrize("order", ["before", "after"])
async def test_pages_own_events_get_an_id_and_a_server_copy(scene: Scene, order: str) -> None:
    calls = INIT + VIEW + "fbq('track', 'ViewContent', {value: 3, currency: 'EUR'});"
    await show_with(scene, order, calls)
    await scene.run("fbq('trackCustom', 'Wish', {a: 1})")
    await scene.run(f"fbq('trackSingle', '{ID}', 'Lead')")
    await scene.run(f"fbq('trackSingleCustom', '{ID}', 'Plan', {{}}, {{}})")
    actions = await scene.counted(PageView=1, ViewContent=1, Wish=1, Lead=1, Plan=1)
    for action in actions:
        assert_alike(action)
    [content] = [a for a in actions if a["event_name"] == "ViewContent"]
    assert content["server"][0]["event"]["custom_data"]["value"] == 3
    await assert_quiet(scene)


async def test_events_pushed_while_the_library_loads_are_met_too(scene: Scene) -> None:
    await scene.sandbox.fault("fbevents", delay=0.5)
    await scene.show(
        scene.snippet(INIT) + OURS + f"<script>{VIEW} fbq.push('track','Lead')</script>"
    )
    for action in await scene.counted(PageView=1, Lead=1):
        assert_alike(action)
    await assert_quiet(scene)


async def test_id_of_the_page_is_kept(scene: Scene) -> None:
    calls = (
        "fbq('track', 'Lead', {}, {eventID: 'a'}); fbq('track', 'Contact', {}, {event_id: 'b'});"
    )
    await show_with(scene, "after", INIT + VIEW + calls)
    actions = await scene.counted(PageView=1, Lead=1, Contact=1)
    assert {a["event_name"]: a["event_id"] for a in actions if a["event_name"] != "PageView"} == {
        "Lead": "a",
        "Contact": "b",
    }


@pytest.mark.parametrize("order", ["before", "after"])
async def test_user_data_of_the_page_is_kept_beside_the_external_id(
    scene: Scene, order: str
) -> None:
    await show_with(scene, order, f"fbq('init', '{ID}', {{em: 'ada@example.com'}});" + VIEW)
    [view] = await scene.counted(PageView=1)
    assert_alike(view)
    assert "em" in view["browser"][0]["ud"]
    await assert_quiet(scene)


@pytest.mark.parametrize("given", ["undefined", "''", "'mine'"])
async def test_external_id_of_the_page_is_kept_if_there_is_one(scene: Scene, given: str) -> None:
    calls = f"fbq('init', '{ID}', {{external_id: {given}}});" + VIEW
    await show_with(scene, "after", calls)
    [view] = await scene.counted(PageView=1)
    [browser], [server] = view["browser"], view["server"]
    same = [browser["external_id"]] == server["event"]["user_data"]["external_id"]
    assert same == (given != "'mine'")
    await assert_quiet(scene)


async def test_number_as_a_pixel_id_is_one_and_text_is_no_user_data(scene: Scene) -> None:
    await show_with(scene, "before", f"fbq('init', {ID}, 'text');" + VIEW)
    await scene.run(f"fbq('trackSingle', {ID}, 'Lead')")  # refused, unlike by init
    await scene.run(f"fbq('trackSingle', '{ID}', 'Contact')")
    for action in await scene.counted(PageView=1, Contact=1):
        assert_alike(action)
        assert list(action["browser"][0]["ud"]) == ["external_id"]


async def test_pixel_of_another_is_untouched(scene: Scene) -> None:
    calls = OTHER_INIT + INIT + VIEW + f"fbq('trackSingle', '{OTHER_ID}', 'Lead', {{a: 1}});"
    await show_with(scene, "after", calls)
    hits = await scene.hits("PageView", "PageView", "Lead")
    lead = hits[-1]
    assert lead["id"] == OTHER_ID
    assert "eid" not in lead
    assert "ud[external_id]" not in lead
    assert hits[0]["eid"] == hits[1]["eid"]
    await scene.reported(hits[0]["eid"])
    assert not [a for a in await scene.sandbox.actions("Lead") if a["server"]]


async def test_view_for_one_pixel_stands_beside_the_view_for_all(scene: Scene) -> None:
    await show_with(scene, "after", INIT + f"fbq('trackSingle', '{ID}', 'PageView');" + VIEW)
    for action in await scene.counted(PageView=2):
        assert_alike(action)


@pytest.mark.parametrize("order", ["before", "after"])
async def test_two_snippets_of_two_pixels_view_once_each(scene: Scene, order: str) -> None:
    snippets = scene.snippet(INIT + VIEW) + scene.snippet(OTHER_INIT + VIEW)
    await show_snippet(scene, order, snippets)
    hits = await scene.hits("PageView", "PageView")
    assert {hit["id"] for hit in hits} == {ID, OTHER_ID}
    await scene.reported(next(hit["eid"] for hit in hits if hit["id"] == ID))
    assert scene.console == []


async def test_page_that_inits_another_pixel_only_gets_ours_beside_it(scene: Scene) -> None:
    await show_with(scene, "after", OTHER_INIT + VIEW)
    hits = await scene.hits("PageView", "PageView")
    assert {hit["id"] for hit in hits} == {ID, OTHER_ID}
    assert len({hit["eid"] for hit in hits}) == 1
    await scene.counted(PageView=1)


# After the library


async def test_after_the_library_later_events_are_met_and_the_first_view_stays_alone(
    scene: Scene,
) -> None:
    await scene.show(scene.snippet(INIT + VIEW))
    await scene.hits("PageView")
    await scene.run(LATE)
    await scene.ready()
    await scene.run("fbq('track', 'Lead', {value: 1, currency: 'EUR'})")
    await scene.run(VIEW)  # dropped by the pixel
    await scene.run("bridge.track('Contact')")
    for action in await scene.counted(Lead=1, Contact=1):
        if action["event_name"] != "PageView":
            assert_alike(action)
    [view] = await scene.sandbox.actions("PageView")
    assert (len(view["browser"]), len(view["server"])) == (1, 0)
    assert [key for key in await scene.storage() if "PageView" in key] == []
    await assert_quiet(scene)


async def test_after_the_library_the_pixels_own_views_get_an_id_where_they_leave(
    scene: Scene,
) -> None:
    await scene.show(scene.snippet(INIT + VIEW))
    await scene.hits("PageView")
    await scene.run(LATE)
    await scene.ready()
    await scene.run("history.pushState({}, '', '/two')")
    [view] = [a for a in await scene.counted(PageView=1) if a["merged"]]
    assert view["browser"][0]["dl"].endswith("/two")
    assert_alike(view)
    await assert_quiet(scene)


async def test_after_the_library_user_data_of_the_page_stays_and_nothing_warns(
    scene: Scene,
) -> None:
    await scene.show(scene.snippet(f"fbq('init', '{ID}', {{em: 'ada@example.com'}});" + VIEW))
    await scene.hits("PageView")
    await scene.run(LATE)
    await scene.ready()
    await scene.run("fbq('track', 'Lead')")
    [lead] = [a for a in await scene.counted(Lead=1) if a["merged"]]
    assert lead["browser"][0]["external_id"] is None
    await assert_quiet(scene)


async def test_after_the_library_of_another_pixel_ours_views_too(scene: Scene) -> None:
    await scene.show(scene.snippet(OTHER_INIT + VIEW))
    await scene.hits("PageView")
    await scene.run(LATE)
    hits = await scene.hits("PageView", "PageView")
    assert [hit["id"] for hit in hits] == [OTHER_ID, ID]
    await scene.counted(PageView=1)


async def test_waiting_for_the_configuration_is_early_enough(scene: Scene) -> None:
    await scene.sandbox.fault("config", delay=1)
    await scene.show(scene.snippet(INIT + VIEW))
    await scene.page.wait_for_function("!!fbq.callMethod")
    await scene.run(LATE)
    [view] = await scene.counted(PageView=1)
    assert_alike(view)
    await assert_quiet(scene)


async def test_views_that_the_pixel_of_another_makes_by_itself_are_untouched(scene: Scene) -> None:
    await show_with(scene, "after", OTHER_INIT + INIT + VIEW)
    await scene.hits("PageView", "PageView")
    await scene.run("history.pushState({}, '', '/two')")
    hits = (await scene.hits(*["PageView"] * 4))[2:]
    assert {hit["id"]: "eid" in hit for hit in hits} == {ID: True, OTHER_ID: False}


# Single-page apps with a pixel of their own


async def test_navigations_of_a_page_with_its_own_pixel_count_once_each(scene: Scene) -> None:
    await scene.show(scene.snippet(INIT + VIEW) + OURS_ASYNC)
    await scene.counted(PageView=1)
    await scene.run("history.pushState({}, '', '/two')")
    await scene.counted(PageView=2)
    await scene.run("history.back()")
    for action in await scene.counted(PageView=3):
        assert_alike(action)
    await assert_quiet(scene)


async def test_view_that_is_asked_for_is_one_more(scene: Scene) -> None:
    await show_with(scene, "after", INIT + VIEW)
    await scene.counted(PageView=1)
    await scene.run("bridge.page()")
    for action in await scene.counted(PageView=2):
        assert_alike(action)
    await assert_quiet(scene)


async def test_pages_that_allow_duplicate_views_have_each_of_theirs(scene: Scene) -> None:
    flags = "fbq.allowDuplicatePageViews = fbq.disablePushState = true;"
    await show_with(scene, "after", flags + INIT + VIEW + VIEW)
    for action in await scene.counted(PageView=2):
        assert_alike(action)


async def test_blocked_pixel_of_a_page_still_has_its_server_copies(
    open_scene: Any, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # Delayed until our script listens for the error.
    await sandbox.fault("fbevents", drop=True, delay=1, times=None)
    with running_pages(tmp_path_factory.mktemp("pages"), sandbox.url, hold="0.2") as url:
        scene = await open_scene(url)
        await scene.show(scene.snippet(INIT + VIEW) + OURS)
        await scene.run("fbq('track', 'Lead')")
        await sandbox.wait_for_server_copies(2)
        await scene.run("history.pushState({}, '', '/two')")
        names = {event["event_name"] for event in await sandbox.wait_for_server_copies(3)}
        assert names == {"PageView", "Lead"}
        assert await scene.run("fbq.queue.length") == 0


async def test_library_that_failed_before_the_script_came_is_reported_as_blocked(
    open_scene: Any, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> None:
    await sandbox.fault("fbevents", drop=True, times=None)
    with running_pages(tmp_path_factory.mktemp("pages"), sandbox.url) as url:
        scene = await open_scene(url)
        await scene.page.add_init_script(
            """const wait = window.setTimeout
            window.setTimeout = (work, ms) => wait(work, ms == 5e3 ? 200 : ms)
            addEventListener('error', () => { window.failed = true }, true)"""
        )
        await scene.show(scene.snippet(INIT + VIEW))
        await scene.page.wait_for_function("window.failed")
        await scene.run(LATE)
        await scene.ready()
        event_id = await scene.run("bridge.track('Lead')")
        assert await scene.reported(event_id) == "blocked"
        # The script knows that, and counts the views that the pixel would have made by itself.
        await scene.run("history.pushState({}, '', '/two')")
        names = [event["event_name"] for event in await sandbox.wait_for_server_copies(3)]
        assert sorted(names) == ["Lead", "PageView", "PageView"]


async def test_library_of_another_name_is_known(
    open_scene: Any, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("pages")
    with running_pages(folder, sandbox.url, library="/no/such/library.js") as url:
        scene = await open_scene(url)
        await scene.page.add_init_script(
            "const wait = setTimeout; window.setTimeout = (f, ms) => wait(f, ms == 5e3 ? 1e8 : ms)"
        )
        await scene.show(OURS)
        await scene.ready()
        for _ in range(2):
            assert await scene.reported(await scene.run("bridge.track('Lead')")) == "blocked"


async def test_blockers_stand_in_does_not_swallow_the_pages_events(
    open_scene: Any, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> None:
    await sandbox.fault("fbevents", status=200, body="window.fbq = function () {}", times=None)
    with running_pages(tmp_path_factory.mktemp("pages"), sandbox.url, hold="0.2") as url:
        scene = await open_scene(url)
        await scene.show(scene.snippet(INIT + VIEW) + OURS)
        await scene.run("fbq('track', 'Lead')")
        await sandbox.wait_for_server_copies(2)


# Consent


@pytest.mark.parametrize("order", ["before", "after"])
async def test_pages_own_pixel_does_nothing_until_consent_is_granted(
    open_scene: Any, asking_pages: str, order: str
) -> None:
    scene = await open_scene(asking_pages)
    await show_with(scene, order, INIT + VIEW + "fbq('track', 'Lead');")
    assert await scene.consent() == "pending"
    if order == "after":
        await scene.page.wait_for_function("!!fbq.callMethod")
    assert await scene.cookies() == set()
    assert [url for url in scene.to_meta if "/fbevents.js" not in url] == []
    assert (order == "before") == (scene.to_meta == [])
    await scene.consent("granted")
    for action in await scene.counted(PageView=1, Lead=1):
        assert_alike(action)
    await assert_quiet(scene)


async def test_user_data_of_the_page_is_kept_when_consent_comes_late(
    open_scene: Any, asking_pages: str
) -> None:
    scene = await open_scene(asking_pages)
    await show_with(scene, "after", f"fbq('init', {ID}, {{em: 'ada@example.com'}});" + VIEW)
    await scene.page.wait_for_function("!!fbq.callMethod")
    await scene.consent("granted")
    [view] = await scene.counted(PageView=1)
    assert "em" in view["browser"][0]["ud"]


async def test_pages_own_pixel_drops_its_events_when_consent_is_denied(
    open_scene: Any, asking_pages: str
) -> None:
    scene = await open_scene(asking_pages)
    await show_with(scene, "after", INIT + VIEW)
    await scene.consent("denied")
    await scene.page.wait_for_function("!!fbq.callMethod")
    await scene.run("fbq('track', 'Lead')")
    assert await scene.cookies() == {"_bridge_c"}
    await scene.consent("granted")
    await scene.run("fbq('track', 'Contact')")
    for action in await scene.counted(PageView=1, Contact=1):
        assert_alike(action)
    await assert_quiet(scene)


async def test_revoke_and_grant_of_the_page_before_the_library_do_not_stick(scene: Scene) -> None:
    calls = f"fbq('consent', 'revoke'); {INIT} {VIEW} fbq('consent', 'grant');"
    await show_with(scene, "after", calls)
    [view] = await scene.counted(PageView=1)
    assert_alike(view)
    await assert_quiet(scene)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_page_that_revoked_consent_sends_no_server_copy_until_it_grants(
    scene: Scene, when: str
) -> None:
    calls = f"fbq('consent', 'revoke'); {INIT} {VIEW}"
    await scene.sandbox.fault("fbevents", delay=0.5)
    await scene.show(scene.snippet(calls) + (OURS if when == "before" else ""))
    await scene.page.wait_for_function("!!fbq.callMethod")
    if when == "after":
        await scene.run(LATE)
    await scene.ready()
    await scene.run("bridge.track('Contact')")
    assert await scene.storage() == []
    assert await scene.sandbox.actions() == []
    await scene.run("fbq('consent', 'grant')")
    for action in await scene.counted(PageView=1, Contact=1):
        assert_alike(action)
    await assert_quiet(scene)


async def test_grant_of_a_page_that_revoked_before_the_script_came_reaches_the_pixel(
    scene: Scene,
) -> None:
    await scene.show(scene.snippet(INIT + VIEW))
    await scene.hits("PageView")
    await scene.run("fbq('consent', 'revoke')")
    await scene.run(LATE)
    await scene.ready()
    await scene.run("fbq('consent', 'grant')")
    await scene.run("fbq('track', 'Contact')")
    await scene.hits("PageView", "Contact")


async def test_strange_calls_of_the_page_pass_and_throw_nothing(scene: Scene) -> None:
    await show_with(scene, "after", INIT + VIEW)
    await scene.counted(PageView=1)
    await scene.run(
        """() => {
            fbq('track', 'Lead', null, null)
            fbq('track', 'Contact', 'text', 'text')
            fbq('track', 'Donate', {big: 10n})
            fbq('track', 'Schedule', {}, {eventID: ['x']})
            fbq('track')
            fbq('track', 5)
            fbq(undefined)
            fbq('init', 'abc')
        }"""
    )
    hits = await scene.hits("PageView", "Lead", "Contact", "Donate", "Schedule")
    assert "eid" in hits[-1]  # the pixel takes no list
    assert scene.errors == []

    async def is_reported() -> bool:
        names = [e["event_name"] for r in await scene.reports() for e in r["events"]]
        return sorted(names[-4:]) == ["Contact", "Lead", "PageView", "Schedule"]

    await poll(is_reported, "the server copies")


async def test_images_of_the_page_are_its_own(scene: Scene) -> None:
    await scene.show(OURS)
    await scene.counted(PageView=1)
    # Like a hit, except for its path.
    address = f"{scene.url}/own.png?ev=PageView&id={ID}"
    async with scene.page.expect_request(address):
        found = await scene.run(
            f"""() => {{
                const image = new Image(3)
                const before = image.src
                image.src = '{address}'
                const other = new Image()
                other.setAttribute('src', '/other.png')
                return [before, image.src, image.width, image instanceof Image, other.src]
            }}"""
        )
    assert found == ["", address, 3, True, f"{scene.url}/other.png"]
    await assert_quiet(scene)
