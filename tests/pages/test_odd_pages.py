"""Pages that a tester made to break the script, in Chromium."""

from __future__ import annotations

import asyncio

from playwright.async_api import Route

from tests.pages.scenes import (
    ID,
    INIT,
    OTHER_ID,
    OURS,
    REVOKE,
    STYLE,
    VIEW,
    Scene,
    answer_banner,
    assert_pair,
)
from tests.servers import poll

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
