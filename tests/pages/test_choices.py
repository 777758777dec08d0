"""What a choice of consent stops, and what it must not stop: pages from HTML, in Chromium."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest

from tests.pages.scenes import ID, INIT, LATE, OURS, VIEW, Scene
from tests.pages.test_journey import assert_alike
from tests.servers import poll

RETURN = "dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))"
MOVE = "history.pushState({}, '', '/two')"
# As on a page from a shared cache: the script has to ask the server.
FORGET = "document.cookie = '_bridge_x=; Max-Age=0; Path=/; Domain=.example.com'"
STRANGER = f"<script>{FORGET}</script>"


async def hold_answers(scene: Scene, path: str) -> None:
    """Delay answers of ``path`` until the page calls ``release()``."""
    await scene.page.add_init_script(
        f"""const real = window.fetch
        const released = new Promise((release) => {{ window.release = release }})
        window.fetch = async (url, options) => {{
            const answer = await real(url, options)
            if (String(url).includes('{path}')) {{
                window.holding = true
                await released
            }}
            return answer
        }}"""
    )


async def ids_reported(scene: Scene) -> list[str]:
    """Ids of all events and twins in reports that collect took."""
    taken = [report for report in await scene.reports() if report["status"] == 200]
    return [each["event_id"] for report in taken for each in report["events"] + report["acks"]]


def read_limits(hit: dict[str, Any]) -> list[str | None]:
    return [hit.get(key) for key in ("dpo", "dpoco", "dpost")]


# Denied


@pytest.mark.parametrize(("pixel", "change"), [("", RETURN), (INIT + VIEW, RETURN + ";" + MOVE)])
async def test_pixel_makes_no_view_by_itself_while_denied(
    scene: Scene, pixel: str, change: str
) -> None:
    await scene.show((scene.snippet(pixel) if pixel else "") + OURS)
    await scene.counted(PageView=1)
    assert await scene.run("!!bridge.identity().external_id")
    await scene.consent("denied")
    assert await scene.run("bridge.identity()") is None
    sent = list(scene.to_meta)
    await scene.run(change)
    assert await scene.run("1") == 1
    assert scene.to_meta == sent
    await scene.consent("granted")
    await scene.run("bridge.track('Contact')")
    await scene.hits("PageView", "Contact")


async def test_what_waited_when_consent_was_denied_is_never_reported(scene: Scene) -> None:
    await scene.fail_collect(*[{"status_code": 503}] * 1000)
    await scene.show(OURS)
    await scene.ready()
    await scene.run("bridge.track('Lead', {}, {eventID: 'waits'}); fetch('/order?id=waits')")
    await scene.hits("PageView", "Lead", "Purchase")

    async def refused() -> bool:
        return any(ack["event_id"] == "waits-0" for r in await scene.reports() for ack in r["acks"])

    await poll(refused, "an acknowledgement that is not taken")
    await scene.consent("denied")
    await scene.fail_collect()
    await scene.consent("granted")
    await scene.run("bridge.track('Contact', {}, {eventID: 'contact'})")
    await scene.run("dispatchEvent(new Event('online'))")
    await scene.reported("contact")
    assert not {"waits", "waits-0"} & set(await ids_reported(scene))


async def test_hits_unseen_when_consent_was_denied_are_never_reported(scene: Scene) -> None:
    await scene.sandbox.fault("tr", hang=True, times=None)
    await scene.show(OURS)
    await scene.ready()
    async with scene.page.expect_request(lambda request: "eid=unseen-0" in request.url):
        await scene.run("fetch('/order?id=unseen')")
    await scene.consent("denied")
    await scene.consent("granted")
    await scene.run("bridge.track('Contact', {}, {eventID: 'later'})")
    await scene.page.goto("about:blank")
    assert await scene.reported("later") == "unknown"
    assert "unseen-0" not in await ids_reported(scene)


async def test_twin_that_the_server_confirms_after_a_denial_is_not_fired(scene: Scene) -> None:
    await hold_answers(scene, "/twin?")
    await scene.show(OURS)
    await scene.counted(PageView=1)
    await scene.run("fetch('/order?id=late&uncertain=1')")
    await scene.page.wait_for_function("window.holding")
    await scene.consent("denied")
    await scene.run("release()")
    await scene.consent("granted")
    await scene.run("bridge.track('Contact', {}, {eventID: 'after'})")
    await scene.hits("PageView", "Contact")
    await scene.page.goto("about:blank")
    await scene.reported("after")
    assert "late-0" not in await ids_reported(scene)


# Words


@pytest.mark.parametrize("choice", ["denied", "limited", "granted"])
async def test_choice_now_holds(scene: Scene, choice: str) -> None:
    await scene.show(OURS)
    assert await scene.consent(choice) == choice


@pytest.mark.parametrize("word", ["accepted", "g", "grant", "limit", "deny", "Granted", "pending"])
async def test_other_words_are_refused_and_change_nothing(scene: Scene, word: str) -> None:
    await scene.show(OURS)
    await scene.consent("denied")
    refused = await scene.run(f"bridge.consent('{word}').catch((error) => String(error))")
    assert refused == f"Error: Unknown: {word}"
    assert await scene.consent() == "denied"
    assert await scene.cookies() == {"_bridge_c"}


async def test_refused_event_shows_in_the_console(scene: Scene) -> None:
    await scene.show(OURS)
    ours = scene.page.expect_console_message(lambda message: "[Object]" in message.text)
    async with ours as shown:  # the pixel logs too
        await scene.run("void bridge.track('Purchase', {value: 3})")
    message = await shown.value
    [[refused]] = [await each.json_value() for each in message.args]
    assert message.type == "warning"
    assert refused["reason"].startswith("custom_data.currency: required beside value")


# Before anything is known


async def test_denial_before_the_server_has_answered_holds(scene: Scene) -> None:
    await hold_answers(scene, "/identity")
    await scene.show(STRANGER + OURS)
    await scene.page.wait_for_function("window.holding")
    assert await scene.run("[bridge.consent('denied'), release()][0]") == "denied"
    assert scene.to_meta == []
    assert await scene.cookies() == {"_bridge_c"}


async def test_view_of_the_pixels_own_making_is_not_kept_before_anything_is_known(
    scene: Scene,
) -> None:
    await hold_answers(scene, "/identity")
    await scene.show(scene.snippet(INIT + VIEW))
    await scene.hits("PageView")
    await scene.run(FORGET)
    await scene.run(LATE)
    await scene.page.wait_for_function("window.holding")
    await scene.run(MOVE)
    [_, view] = await scene.hits("PageView", "PageView")
    assert "eid" not in view
    assert [key for key in await scene.storage() if key.startswith("_bridge")] == []


async def test_denial_before_the_cookies_domain_is_known_can_be_lifted(scene: Scene) -> None:
    await hold_answers(scene, "/identity")
    await scene.show(STRANGER + OURS)
    await scene.page.wait_for_function("window.holding")
    await scene.run("bridge.consent('denied'), release()")
    assert await scene.consent("granted") == "granted"
    await scene.counted(PageView=1)
    await scene.show(OURS)
    await scene.run("bridge.track('Contact')")
    await scene.counted(PageView=2, Contact=1)


async def test_choices_reach_the_server_in_their_order(scene: Scene) -> None:
    # The first request takes longest to leave.
    await scene.page.add_init_script(
        """const real = window.fetch
        let delay = 500
        window.fetch = async (url, options) => {
            if (!String(url).endsWith('/consent')) return real(url, options)
            const waits = delay
            delay = 0
            await new Promise((done) => setTimeout(done, waits))
            return real(url, options)
        }"""
    )
    await scene.show(OURS)
    await scene.counted(PageView=1)
    both = "Promise.all([bridge.consent('denied'), bridge.consent('granted')])"
    assert (await scene.run(both))[1] == "granted"
    await scene.show(OURS)
    assert await scene.consent() == "granted"
    await scene.counted(PageView=2)


async def test_identity_is_asked_for_until_it_is_answered(scene: Scene) -> None:
    await scene.page.add_init_script(
        """const real = window.fetch, wait = window.setTimeout
        window.asked = 0
        window.fetch = (url, options) => String(url).includes('/identity') && asked++ < 2
            ? Promise.reject(new TypeError('offline')) : real(url, options)
        window.setTimeout = (work, ms) => wait(work, ms == 10e3 ? 10 : ms)"""
    )
    # Only identity's answer sets a cookie.
    shared = urlencode({"headers": '{"cache-control": "public"}'})
    await scene.page.goto(f"{await scene.place(OURS)}&{shared}")
    [view] = await scene.counted(PageView=1)
    assert_alike(view)
    assert await scene.run("asked") == 3
    assert scene.errors == []


async def test_wish_for_privacy_is_newer_than_a_cached_pages_cookie(scene: Scene) -> None:
    await scene.show(OURS)
    await scene.counted(PageView=1)
    [old] = [c for c in await scene.page.context.cookies() if c.get("name") == "_bridge_x"]
    await scene.page.context.set_extra_http_headers({"Sec-GPC": "1"})
    await scene.page.add_init_script(
        "Object.defineProperty(navigator, 'globalPrivacyControl', {value: true})"
    )
    cookie = f"_bridge_x={old.get('value')}; Path=/; Domain=.example.com"
    await scene.show(f"<script>document.cookie = '{cookie}'</script>" + OURS)
    [_, view] = await scene.counted(PageView=2)
    assert read_limits(view["browser"][0]["params"]) == ["LDU", "0", "0"]
    assert view["server"][0]["event"]["data_processing_options"] == ["LDU"]


# Pending


async def test_landing_click_is_kept_by_a_page_that_moved_on(
    open_scene: Any, asking_pages: str
) -> None:
    scene = await open_scene(asking_pages)
    await scene.page.goto(await scene.place(OURS) + "&fbclid=LANDING")
    await scene.consent()
    await scene.run(MOVE)
    await scene.consent("granted")
    [view] = await scene.counted(PageView=1)
    assert view["server"][0]["event"]["user_data"]["fbc"].endswith(".LANDING")
    assert_alike(view)


async def test_calls_that_wait_for_a_choice_are_bounded(open_scene: Any, asking_pages: str) -> None:
    scene = await open_scene(asking_pages)
    await scene.show(OURS)
    await scene.consent()
    await scene.run("for (let n = 0; n < 510; n++) bridge.track('Lead')")
    await scene.consent("granted")
    await scene.hits(*["Lead"] * 500, "PageView")


# Limited


async def test_limited_data_use_is_the_visitors_not_the_pages(
    open_scene: Any, asking_pages: str
) -> None:
    scene = await open_scene(asking_pages)
    own = "fbq('dataProcessingOptions', []);"
    await scene.sandbox.fault("fbevents", delay=0.5)
    await scene.show(scene.snippet(own + INIT + VIEW) + OURS)
    await scene.consent("limited")
    await scene.run(own + "fbq('track', 'Lead')")
    await scene.counted(PageView=1, Lead=1)
    await scene.consent("granted")
    await scene.run("fbq('track', 'Contact')")
    await scene.run("fbq('dataProcessingOptions', ['LDU'], 1, 1000); fbq('track', 'Donate')")
    hits = await scene.hits("PageView", "Lead", "Contact", "Donate")
    limited = ["LDU", "0", "0"]
    assert [read_limits(hit) for hit in hits] == [
        limited,
        limited,
        ["", None, None],
        ["LDU", "1", "1000"],
    ]
    assert {hit["id"] for hit in hits} == {ID}


async def test_choice_that_changes_loads_the_library_once(
    open_scene: Any, asking_pages: str
) -> None:
    scene = await open_scene(asking_pages)
    await scene.show(OURS)
    await scene.consent("limited")
    await scene.counted(PageView=1)
    for choice in ("granted", "denied", "granted"):
        await scene.consent(choice)
    await scene.run("bridge.track('Contact')")
    await scene.counted(PageView=1, Contact=1)
    assert len([url for url in scene.to_meta if "/fbevents.js" in url]) == 1
