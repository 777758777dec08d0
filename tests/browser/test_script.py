"""The script on its own: views, twins, what became of hits, and events that must not be lost."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from playwright.async_api import Browser

from tests.browser.conftest import PERSON
from tests.browser.scenes import ID, OTHER_ID, OURS, Scene, running_pages
from tests.browser.test_journey import assert_alike
from tests.servers import ROOT, Sandbox, poll

MAX_GZIPPED = 4096  # bytes


@pytest.fixture(scope="module")
def pages(sandbox_process: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_pages(tmp_path_factory.mktemp("pages"), sandbox_process) as url:
        yield url


@pytest.fixture
async def open_scene(browser: Browser, sandbox: Sandbox) -> AsyncIterator[Any]:
    contexts = []

    async def open_scene(url: str) -> Scene:
        contexts.append(await browser.new_context(user_agent=PERSON))
        return Scene(await contexts[-1].new_page(), sandbox, url)

    yield open_scene
    for context in contexts:
        await context.close()


@pytest.fixture
async def scene(open_scene: Any, pages: str) -> Scene:
    found: Scene = await open_scene(pages)
    await found.fail_collect()
    return found


def test_script_is_light() -> None:
    served = (ROOT / "static" / "bridge.min.js").read_bytes()
    assert served.startswith(b"// Bridge ")
    assert len(gzip.compress(served, 9)) <= MAX_GZIPPED


# Views


async def test_each_view_is_counted_once_with_its_id(scene: Scene) -> None:
    await scene.show(OURS)
    await scene.counted(PageView=1)
    for count, change in enumerate(
        (
            "history.pushState({}, '', '/two')",
            "history.replaceState({}, '', '/three')",
            "history.back()",
        ),
        start=2,
    ):
        await scene.run(change)
        await scene.counted(PageView=count)
    await scene.run("location.hash = 'part'")
    await scene.run("history.pushState({}, '', '#other')")
    await scene.run("bridge.track('Contact')")
    for action in await scene.counted(PageView=4, Contact=1):
        assert_alike(action)


async def test_view_of_the_pixels_own_making_gets_an_id_and_a_server_copy(scene: Scene) -> None:
    await scene.show(OURS)
    await scene.counted(PageView=1)
    # As the return from the back/forward cache: headless Chromium has none.
    await scene.run("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
    for action in await scene.counted(PageView=2):
        assert_alike(action)


async def test_several_pixels_share_ids(
    open_scene: Any, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("pages")
    with running_pages(folder, sandbox.url, pixels=f"{ID},{OTHER_ID}") as url:
        scene = await open_scene(url)
        await scene.show(OURS)
        await scene.hits("PageView", "PageView")
        await scene.run("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
        hits = await scene.hits(*["PageView"] * 4)
        assert [hit["id"] for hit in hits].count(ID) == 2
        assert len({hit["eid"] for hit in hits}) == 2


# Twins


async def test_twins_of_several_redirects_in_a_row_are_fired_once(scene: Scene) -> None:
    await scene.show(OURS)
    await scene.counted(PageView=1)
    await scene.page.goto(f"{scene.url}/order?id=R&hops=3&to=/done%3Fhtml={OURS}")
    actions = await scene.counted(PageView=2, Purchase=4)
    for action in actions:
        assert_alike(action)
    await scene.page.reload()
    await scene.page.go_back()
    await scene.counted(PageView=4, Purchase=4)


@pytest.mark.parametrize(
    "send",
    [
        "fetch('/order?id=A')",
        "{const x = new XMLHttpRequest(); x.open('POST', '/order?id=X'); x.send()}",
    ],
    ids=["fetch", "xhr"],
)
async def test_twin_of_a_request_is_fired_without_a_page_load(scene: Scene, send: str) -> None:
    await scene.show(OURS)
    await scene.counted(PageView=1)
    await scene.run(send)
    _, purchase = await scene.counted(PageView=1, Purchase=1)
    assert_alike(purchase)


async def test_two_tabs_fire_a_twin_once(scene: Scene) -> None:
    await scene.show(OURS)
    other = Scene(await scene.page.context.new_page(), scene.sandbox, scene.url)
    await other.show(OURS)
    await scene.counted(PageView=2)
    await asyncio.gather(
        *(tab.run("fetch('/order?id=T').then(() => fetch('/x'))") for tab in (scene, other))
    )
    await scene.counted(PageView=2, Purchase=1)
    await asyncio.gather(
        *(tab.run("fetch('/x').then(() => bridge.track('Lead'))") for tab in (scene, other))
    )
    for action in await scene.counted(PageView=2, Purchase=1, Lead=2):
        assert_alike(action)


async def test_twin_too_large_for_a_cookie_is_asked_of_the_server(scene: Scene) -> None:
    await scene.show(OURS)
    await scene.counted(PageView=1)
    data = {"content_ids": [f"product-{n}" for n in range(150)]}
    await scene.run(f"fetch('/order?id=L&data=' + encodeURIComponent('{json.dumps(data)}'))")
    _, purchase = await scene.counted(PageView=1, Purchase=1)
    assert_alike(purchase)
    assert purchase["browser"][0]["cd"]["value"] == "5"


async def test_twin_that_the_server_does_not_know_is_not_fired(scene: Scene) -> None:
    await scene.show(OURS)
    await scene.counted(PageView=1)
    forged = "eyJuIjoiUHVyY2hhc2UiLCJpIjoibm9uZSJ9"  # {"n": "Purchase", "i": "none"}
    cookie = f"_bridge_t_0123456789ab={forged}; Path=/; Domain=example.com"
    await scene.run(f"document.cookie = '{cookie}'; fetch('/x')")
    await scene.page.wait_for_function("!document.cookie.includes('_bridge_t_')")
    await scene.run("bridge.track('Lead')")
    await scene.counted(PageView=1, Lead=1)
    assert scene.errors == []


async def test_twin_whose_cookie_comes_again_is_fired_once(scene: Scene) -> None:
    await scene.show(OURS)
    await scene.counted(PageView=1)
    again = "_bridge_t_0123456789ab=eyJuIjoiTGVhZCIsImkiOiJhIiwiZCI6e319; Path=/"  # Lead, a, {}
    damaged = "_bridge_t_00damaged000=!; Path=/"
    for _ in range(2):
        await scene.run(f"document.cookie = '{damaged}'; document.cookie = '{again}'; fetch('/x')")
        await scene.page.wait_for_function("!localStorage['_bridge.fired']?.includes('undefined')")
        await scene.hits("PageView", "Lead")
    await scene.run("bridge.track('Contact')")
    await scene.hits("PageView", "Lead", "Contact")


# Did it go out?


async def track(scene: Scene, options: str = "{eventID: 'seen'}") -> None:
    await scene.ready()
    await scene.run(f"bridge.track('Lead', {{}}, {options})")


async def test_hit_that_was_answered_is_sent(scene: Scene) -> None:
    await scene.show(OURS)
    await track(scene)
    assert await scene.told("seen") == "sent"


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        ({"path": "fbevents", "drop": True}, "blocked"),
        ({"path": "fbevents", "status": 404}, "blocked"),
        ({"path": "fbevents", "status": 200, "body": ""}, "blocked"),
        ({"path": "fbevents", "status": 200, "body": "window.fbq = function () {}"}, "blocked"),
        ({"path": "config", "drop": True}, "blocked"),
        ({"path": "config", "status": 404}, "blocked"),
        ({"path": "config", "hang": True}, "blocked"),
        ({"path": "config", "status": 200, "body": ""}, "blocked"),
        ({"path": "tr", "drop": True}, "blocked"),
        ({"path": "tr", "status": 200, "body": "no image"}, "sent"),
        ({"path": "tr", "hang": True}, "unknown"),
    ],
    ids=lambda value: value if isinstance(value, str) else json.dumps(value),
)
async def test_state_of_a_hit_is_told(scene: Scene, fault: dict[str, Any], state: str) -> None:
    await scene.sandbox.fault(**{**fault, "times": None})
    await scene.show(OURS)
    event_id = "-".join(map(str, [*fault, *fault.values()]))
    await track(scene, f"{{eventID: '{event_id}'}}")
    assert await scene.told(event_id) == state
    assert scene.errors == []


@pytest.mark.parametrize(
    ("policy", "state"),
    [
        ("script-src 'self'", "blocked"),
        ("script-src 'self' SANDBOX/en_US/", "blocked"),
        ("script-src 'self' SANDBOX; img-src 'self'", "blocked"),
        ("script-src 'self' SANDBOX; img-src SANDBOX; connect-src 'self' SANDBOX", "sent"),
    ],
)
async def test_security_policy_that_blocks_is_told(scene: Scene, policy: str, state: str) -> None:
    headers = {"content-security-policy": policy.replace("SANDBOX", scene.sandbox.url)}
    address = scene.address(OURS) + f"&headers={json.dumps(headers)}"
    await scene.page.goto(address)
    await scene.ready()
    event_id = await scene.run("bridge.track('Lead')")
    assert await scene.told(event_id) == state


async def test_policy_that_only_reports_blocks_nothing(scene: Scene) -> None:
    headers = {"content-security-policy-report-only": "script-src 'self'; img-src 'self'"}
    await scene.page.goto(scene.address(OURS) + f"&headers={json.dumps(headers)}")
    await scene.ready()
    assert await scene.told(await scene.run("bridge.track('Lead')")) == "sent"


async def test_state_is_told_from_a_page_that_is_left(scene: Scene) -> None:
    await scene.sandbox.fault("tr", hang=True, times=None)
    await scene.show(OURS)
    await track(scene, "{eventID: 'left'}")
    await scene.page.goto("about:blank")
    assert await scene.told("left") == "unknown"


async def test_blocked_twin_is_acknowledged_and_released(scene: Scene) -> None:
    await scene.sandbox.fault("tr", drop=True, times=None)
    await scene.show(OURS)
    await scene.ready()
    await scene.run("fetch('/order?id=blocked')")
    assert await scene.told("blocked-0") == "blocked"

    async def released() -> bool:
        return any(a["server"] for a in await scene.sandbox.actions("Purchase"))

    await poll(released, "the server copy")


# Never lost


async def lead_copies(scene: Scene) -> int:
    return sum(len(action["server"]) for action in await scene.sandbox.actions("Lead"))


@pytest.mark.parametrize(
    "fault",
    [{"status_code": 503}, {"status_code": 429, "headers": {"retry-after": "1"}}],
    ids=["503", "429"],
)
async def test_event_waits_for_the_server(scene: Scene, fault: dict[str, Any]) -> None:
    await scene.fail_collect(fault)
    await scene.show(OURS)
    await track(scene, f"{{eventID: 'wait-{fault['status_code']}'}}")
    await scene.counted(PageView=1, Lead=1)
    await scene.page.wait_for_function("!Object.keys(localStorage).some((k) => k.includes('.q.'))")


async def test_events_with_one_id_are_all_sent(scene: Scene) -> None:
    await scene.show(OURS)
    await scene.ready()
    await scene.run(
        "for (const name of ['Lead', 'Contact']) bridge.track(name, {}, {eventID: 'x'})"
    )
    await scene.counted(PageView=1, Lead=1, Contact=1)


async def test_event_that_is_never_taken_holds_up_no_other(scene: Scene) -> None:
    await scene.fail_collect({"status_code": 400})
    start = len(await scene.reports())
    await scene.show(OURS)
    await scene.ready()
    await scene.run("for (const id of ['1', '2', '3']) bridge.track('Lead', {}, {eventID: id})")

    async def told(count: int) -> list[list[str]]:
        told = [[e["event_id"] for e in r["events"]] for r in (await scene.reports())[start:]]
        return told if len(told) >= count else []

    [first] = await poll(lambda: told(1))
    await scene.run("dispatchEvent(new Event('online'))")
    await scene.counted(PageView=1, Lead=3)
    for after in (await told(2))[1:]:
        assert len(after) < 2
    assert first


async def test_wait_that_no_timer_can_hold_is_shortened(scene: Scene) -> None:
    await scene.page.add_init_script(
        "const real = setTimeout; window.delays = [];"
        "window.setTimeout = (work, ms) => { delays.push(ms); return real(work, ms) }"
    )
    await scene.fail_collect({"status_code": 429, "headers": {"retry-after": "9999999999"}})
    await scene.show(OURS)
    await scene.page.wait_for_function("Math.max(...delays) > 1e8")
    assert await scene.run("Math.max(...delays) < 2 ** 31")


async def test_event_of_a_closed_tab_is_sent_by_the_next_page(scene: Scene) -> None:
    await scene.fail_collect(*[{"status_code": 503}] * 3)
    await scene.show(OURS)
    await track(scene, "{eventID: 'closed'}")
    context = scene.page.context
    await scene.hits("PageView", "Lead")
    await scene.page.close()
    await scene.fail_collect()
    scene.page = await context.new_page()
    await scene.show(OURS)
    await scene.counted(PageView=2, Lead=1)


async def test_event_survives_being_offline(scene: Scene) -> None:
    await scene.show(OURS)
    await scene.counted(PageView=1)
    await scene.page.context.set_offline(True)
    await scene.run("bridge.track('Lead')")
    await scene.page.wait_for_function("Object.keys(localStorage).some((k) => k.includes('.q.'))")
    await scene.page.context.set_offline(False)

    async def arrived() -> bool:
        return await lead_copies(scene) == 1

    await poll(arrived, "the server copy")


async def test_queue_is_bounded_and_old_and_damaged_entries_go(scene: Scene) -> None:
    await scene.fail_collect(*[{"status_code": 503}] * 1000)
    await scene.show(OURS)
    await scene.counted(PageView=0)
    old = json.dumps({"event_name": "Lead", "event_id": "old", "at": 1})
    await scene.run(
        f"""() => {{
            localStorage['_bridge.q.old'] = '{old}'
            localStorage['_bridge.q.damaged'] = '{{'
            for (let n = 0; n < 150; n++) bridge.track('Lead')
        }}"""
    )
    await scene.page.reload()
    await scene.ready()
    keys = [key for key in await scene.storage() if key.startswith("_bridge.q.")]
    assert len(keys) == 100
    assert not {"_bridge.q.old", "_bridge.q.damaged"} & set(keys)
    await scene.fail_collect()


async def test_storage_that_refuses_costs_nothing_but_the_next_page(scene: Scene) -> None:
    await scene.page.add_init_script(
        "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no') }})"
    )
    await scene.show(OURS)
    await track(scene, "{eventID: 'private'}")
    await scene.run("fetch('/order?id=private')")
    await scene.counted(PageView=1, Lead=1, Purchase=1)
    assert scene.errors == []


# Pages of another mind


async def test_pages_own_variable_of_our_name_is_left_alone(scene: Scene) -> None:
    await scene.show("<script>window.bridge = {open: () => 'mine'}</script>" + OURS + OURS)
    await scene.counted(PageView=1)
    assert await scene.run("bridge.open()") == "mine"
    await scene.show("<p id=bridge>x</p>" + OURS)
    await scene.ready()
    await scene.counted(PageView=2)


async def test_bad_calls_before_the_script_cost_no_other(scene: Scene) -> None:
    calls = "bridge = [1, null, ['__proto__'], ['nothing'], ['track', 'Lead']]"
    await scene.show(f"<script>{calls}</script>" + OURS + OURS)
    await scene.counted(PageView=1, Lead=1)
    assert scene.errors == []


async def test_sandboxed_frame_is_left_in_peace(scene: Scene) -> None:
    inner = scene.address(OURS + "<script>onpageshow = () => parent.postMessage(1, '*')</script>")
    await scene.show(
        "<script>addEventListener('message', () => { window.shown = true })</script>"
        f'<iframe sandbox="allow-scripts" src="{inner.replace(chr(34), "&quot;")}"></iframe>'
    )
    await scene.page.wait_for_function("window.shown")
    assert scene.errors == []


@pytest.mark.parametrize("forged", ["eyJwIjoiMSJ9", "eyJwIjp7fX0", "NQ"])  # {"p":"1"} {"p":{}} 5
async def test_forged_settings_throw_nothing(scene: Scene, forged: str) -> None:
    await scene.page.context.add_cookies(
        [{"name": "_bridge_x", "value": forged, "url": f"{scene.url}/deep"}]
    )
    await scene.show(OURS, "/deep/page")
    await scene.ready()
    assert scene.errors == []


# Small


async def test_hits_stay_short_and_the_server_copy_is_whole(scene: Scene) -> None:
    await scene.show(OURS, "/" + "long-path/" * 20)
    contents = [{"id": f"product-{n}", "quantity": 1, "item_price": 9.9} for n in range(60)]
    data = json.dumps({"contents": contents, "value": 594, "currency": "EUR"})
    await scene.ready()
    await scene.run(f"bridge.track('AddToCart', {data})")
    *_, action = await scene.counted(PageView=1, AddToCart=1)
    [browser], [server] = action["browser"], action["server"]
    assert browser["params"]["rqm"] == "GET"
    assert browser["cd"] == {"value": "594", "currency": "EUR"}
    assert len(server["event"]["custom_data"]["contents"]) == 60


async def test_a_thousand_route_changes_do_not_grow_memory(scene: Scene) -> None:
    await scene.show(OURS)
    await scene.counted(PageView=1)
    session = await scene.page.context.new_cdp_session(scene.page)

    async def measure() -> float:
        await session.send("HeapProfiler.collectGarbage")
        return float((await session.send("Runtime.getHeapUsage"))["usedSize"])

    first = 0.0
    for _ in range(3):
        await scene.run(
            """async () => {
                for (let n = 0; n < 500; n++) {
                    history.replaceState({}, '', '/route?' + n)
                    if (n % 10 == 0) await new Promise((resolve) => setTimeout(resolve, 20))
                }
            }"""
        )
        await scene.page.wait_for_function(
            "!Object.keys(localStorage).some((k) => k.includes('.q.'))", timeout=60_000
        )
        first = first or await measure()

    async def is_small() -> bool:
        return await measure() < first * 1.25

    # What one collection leaves behind, the next may find.
    await poll(is_small, f"a heap of no more than {first * 1.25:.0f} bytes")


async def test_no_task_of_the_script_is_long(scene: Scene) -> None:
    await scene.page.add_init_script(
        """window.long = []
        new PerformanceObserver((list) => long.push(...list.getEntries().map((e) => e.duration)))
            .observe({type: 'longtask', buffered: true})"""
    )
    await scene.show(OURS)
    await scene.counted(PageView=1)
    await scene.run("for (let n = 0; n < 20; n++) bridge.track('Lead')")
    await scene.counted(PageView=1, Lead=20)
    assert await scene.run("long.filter((ms) => ms > 200)") == []
