"""Pages that run other machinery beside the script.

htmx, a service worker, prerendering, and Segment's analytics.js.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

from bridge.events.normalizers import hash_external_id
from tests.pages.scenes import OURS, Scene
from tests.pages.test_journey import assert_alike
from tests.pages.town import SHOP, TLSScene, Town
from tests.pages.visits import PERSON

# Caches pages, and passes everything else on.
WORKER = """
addEventListener('install', () => skipWaiting())
addEventListener('activate', (event) => event.waitUntil(clients.claim()))
addEventListener('fetch', (event) => event.respondWith((async () => {
    const { request } = event
    if (request.mode != 'navigate') return fetch(request)
    const kept = await caches.match(request)
    if (kept) return kept
    const answer = await fetch(request)
    await (await caches.open('pages')).put(request, answer.clone())
    return answer
})()))
"""
# Writes what it sees where the first page can read it, since no test drives these pages.
PRERENDERED = """<script>
window.early = document.prerendering
addEventListener('load', () => { localStorage.early = early })
document.addEventListener('prerenderingchange', () => {
    const { activationStart } = performance.getEntriesByType('navigation')[0]
    bridge.track('Lead', { value: performance.timeOrigin + activationStart, currency: 'EUR' })
})
</script>"""
FIRST = """<script type="speculationrules">
{"prerender": [{"source": "list", "urls": ["/p/next"], "eagerness": "immediate"}]}
</script>
<script>
const until = async (check) => {
    while (!(await check())) await new Promise((again) => setTimeout(again, 20))
}
(async () => {
    await until(() => localStorage.early)
    bridge.track('Search', { search_string: localStorage.early })
    await until(async () => (await (await fetch('/p/go')).text()).includes('go'))
    location.href = '/p/next'
})()
</script>"""


# htmx


async def test_twins_of_htmx_requests_are_fired_and_its_navigations_are_views(
    scene: Scene,
) -> None:
    moved = "/two?" + urlencode({"html": "<p id=two>two"})
    redirect = "/order?" + urlencode({"id": "redirect", "hops": 1, "to": "/done"})
    await scene.show(
        OURS
        + f"""<script src="/htmx.js"></script>
        <button id=post hx-post="/order?id=htmx" hx-swap=none>x</button>
        <button id=redirect hx-post="{redirect}" hx-swap=none>x</button>
        <a id=move hx-get="{moved}" hx-target=body hx-push-url=true>x</a>"""
    )
    await scene.page.click("#post")
    await scene.counted(PageView=1, Purchase=1)
    await scene.page.click("#redirect")
    await scene.counted(PageView=1, Purchase=3)
    await scene.page.click("#move")
    await scene.page.wait_for_selector("#two")
    actions = await scene.counted(PageView=2, Purchase=3)
    for action in actions:
        assert_alike(action)
    assert actions[-1]["browser"][0]["dl"] == scene.url + moved
    assert scene.errors == []


# A service worker


async def test_page_that_a_service_worker_kept_has_its_events(tls_scene: TLSScene) -> None:
    scene = tls_scene
    script = {"content-type": "text/javascript"}
    await scene._call("PUT", "/shelf/worker", json=[WORKER, script])
    await scene.open_tagged()
    await scene.counted(PageView=1)
    await scene.run("navigator.serviceWorker.register('/p/worker').then(() => {})")
    await scene.page.wait_for_function("!!navigator.serviceWorker.controller")
    await scene.page.reload()
    await scene.counted(PageView=2)
    await scene.put("page", "<p>The server has another page by now.")
    answer = await scene.page.reload()
    assert answer is not None
    assert answer.from_service_worker
    await scene.counted(PageView=3)
    await scene.run("fetch('/order?id=worker')")
    await scene.run("bridge.track('Lead')")
    for action in await scene.counted(PageView=3, Purchase=1, Lead=1):
        assert_alike(action)


# Prerendering


@contextmanager
def running_alone(town: Town, folder: Path, url: str) -> Iterator[None]:
    """A Chromium at ``url`` without Playwright: under Playwright it does not prerender."""
    process = subprocess.Popen(
        [
            "/usr/bin/chromium",
            "--headless=new",
            "--no-sandbox",
            "--no-first-run",
            "--disable-background-networking",
            "--remote-debugging-port=0",  # without this it would exit once the page has loaded
            f"--user-data-dir={folder}",
            f"--user-agent={PERSON.format(0)}",
            f"--ignore-certificate-errors-spki-list={town.certificate.digest}",
            f"--host-resolver-rules={', '.join(town.rules)}",
            url,
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(15)


async def test_prerendered_page_does_nothing_until_it_is_shown(
    tls_scene: TLSScene, town: Town, tmp_path: Path
) -> None:
    scene = tls_scene
    tag, _ = await scene.help()
    await scene.put("go", "wait")
    await scene.put("next", tag + PRERENDERED)
    await scene.put("first", tag + FIRST)
    with running_alone(town, tmp_path, f"{SHOP}/p/first"):
        [search] = [
            action
            for action in await scene.counted(PageView=1, Search=1)
            if action["event_name"] == "Search"
        ]
        assert search["server"][0]["event"]["custom_data"]["search_string"] == "true"
        await scene.put("go", "go")
        actions = await scene.counted(PageView=2, Search=1, Lead=1)
    for action in actions:
        assert_alike(action)
    [shown] = [a["browser"][0]["cd"]["value"] for a in actions if a["event_name"] == "Lead"]
    view = [a["browser"][0] for a in actions if a["event_name"] == "PageView"][1]
    assert view["dl"] == f"{SHOP}/p/next"
    assert int(view["params"]["ts"]) >= int(float(shown))


# Segment's analytics.js

ANALYTICS = """<script src="/ajs/index.js"></script><script>
window.analytics = AnalyticsNext.AnalyticsBrowser.load({
    writeKey: 'sandbox-write-key', cdnURL: location.origin, cdnSettings: { integrations: {} },
})
</script>"""


async def anonymous_id(scene: Scene) -> str:
    found: str = await scene.run("analytics.user().then((user) => user.anonymousId())")
    return found


async def external_id(scene: Scene) -> str:
    await scene.ready()
    found: str = await scene.run("bridge.identity().external_id")
    return found


async def test_anonymous_id_of_analytics_js_is_followed_through_its_reset(scene: Scene) -> None:
    await scene.show(OURS)
    alone = await external_id(scene)
    await scene.show(ANALYTICS + OURS, "/with")
    first = await anonymous_id(scene)
    assert await external_id(scene) == alone != hash_external_id(first)
    await scene.show(ANALYTICS + OURS, "/next")
    assert await external_id(scene) == hash_external_id(first)
    await scene.run("analytics.reset()")
    second = await anonymous_id(scene)
    assert second != first
    await scene.show(ANALYTICS + OURS, "/after")
    assert await external_id(scene) == hash_external_id(second)
    # The pixel and the server report the same person.
    await scene.run("bridge.track('Lead', {}, { eventID: 'L-1' })")
    await scene.reported("L-1")
    await scene.sandbox.wait_for_server_copies(5)
    [lead] = await scene.sandbox.actions("Lead")
    assert_alike(lead)
