"""The script on its own: views, twins, and pages that interfere."""

from __future__ import annotations

import gzip
import json
from random import Random
from typing import Any
from urllib.parse import urlencode

import pytest

from bridge.browser.script_cookies import HIT_ROOM, KEPT_FIRST, Twin, encode_readable, trim
from tests.pages.scenes import ID, OTHER_ID, OURS, Scene, running_pages
from tests.pages.test_journey import assert_alike
from tests.servers import ROOT, Sandbox, poll

MAX_GZIPPED = 6144  # bytes


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
    await scene.counted(PageView=5)
    await scene.run("history.pushState({}, '', '#part')")
    await scene.run("bridge.track('Contact')")
    for action in await scene.counted(PageView=5, Contact=1):
        assert_alike(action)


async def test_view_of_a_single_page_app_tells_where_it_came_from(scene: Scene) -> None:
    await scene.show(OURS)
    await scene.counted(PageView=1)
    await scene.run("history.pushState({}, '', '/two#part'); history.pushState({}, '', '/three')")
    *_, view = await scene.counted(PageView=3)
    event = view["server"][0]["event"]
    assert event["event_source_url"] == f"{scene.url}/three"
    assert event["referrer_url"] == f"{scene.url}/two"


async def test_view_of_the_pixels_own_making_gets_an_id_and_a_server_copy(scene: Scene) -> None:
    await scene.show(OURS)
    await scene.counted(PageView=1)
    # Simulated, since headless Chromium has no back/forward cache.
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


async def test_twin_too_large_for_a_hit_keeps_the_most_useful(scene: Scene) -> None:
    await scene.show(OURS)
    await scene.counted(PageView=1)
    data = {"content_ids": [f"product-{n}" for n in range(150)]}
    await scene.run(f"fetch('/order?id=L&data=' + encodeURIComponent('{json.dumps(data)}'))")
    _, purchase = await scene.counted(PageView=1, Purchase=1)
    assert_alike(purchase)
    assert purchase["browser"][0]["cd"] == {"value": "5", "currency": "EUR"}


def write_cases(room: int) -> list[dict[str, Any]]:
    """Custom data around the border of ``room``."""
    random = Random(14)
    texts = ["x", "ä", "漢", "🌿", '"', " ", "%", "!'()*~", "\n", "\x7f"]
    edge = room - len("&cd[mine]=") - 2 * len("&[]=") - len("%22%22")
    cases: list[dict[str, Any]] = [
        {},
        {"mine": "x" * edge},
        {"mine": "x" * (edge + 1)},
        {"mine": "x" * (edge - 40), "value": 5.0, "currency": "EUR", "order_id": "A-1"},
        {"nothing": None, "no": False, "zero": 0, "ä&=[]": "x", "list": [], "object": {}},
        {"contents": [{"id": "fern", "quantity": 1, "item_price": 24.0}] * 7, "num_items": 7},
    ]
    for _ in range(30):
        keys = random.sample([*KEPT_FIRST, "contents", "mine", "content_name", "ключ", "a b"], 6)
        cases.append({key: random.choice(texts) * random.randrange(room // 3) for key in keys})
    return cases


async def test_server_trims_a_twin_as_the_script_does(scene: Scene) -> None:
    await scene.show(OURS)
    await scene.counted(PageView=1)
    address = await scene.run("encodeURIComponent(location.href + document.referrer).length")
    room = HIT_ROOM - address
    cases = write_cases(room)
    names = [f"Case{n}" for n in range(len(cases))]
    for name, data in zip(names, cases, strict=True):
        await scene.page.evaluate("([name, data]) => bridge.track(name, data)", [name, data])
    hits = await scene.hits("PageView", *names)
    for data, hit in zip(cases, hits[1:], strict=True):
        kept = {key[3:-1] for key in hit if key.startswith("cd[")}
        assert kept == trim(data, room).keys()


async def test_event_may_name_the_page_it_happened_on(scene: Scene) -> None:
    await scene.show(OURS)
    await scene.counted(PageView=1)
    await scene.run("bridge.track('Lead', {}, { url: 'http://shop.example.com/widget?id=7' })")
    _, lead = await scene.counted(PageView=1, Lead=1)
    [copy] = lead["server"]
    assert copy["event"]["event_source_url"] == "http://shop.example.com/widget?id=7"


async def test_uncertain_twin_is_fired_if_the_server_confirms_it(scene: Scene) -> None:
    await scene.show(OURS)
    await scene.counted(PageView=1)
    await scene.run("fetch('/order?id=U&uncertain=1')")
    _, purchase = await scene.counted(PageView=1, Purchase=1)
    assert_alike(purchase)
    assert purchase["browser"][0]["cd"]["value"] == "5"


async def test_uncertain_twin_of_no_stored_event_is_not_fired(scene: Scene) -> None:
    await scene.show(OURS)
    await scene.counted(PageView=1)
    forged = encode_readable(Twin("Purchase", "none", question="WyJQdXJjaGFzZSIsIm5vbmUiXQ.x"))
    cookie = f"_bridge_t_0123456789ab={forged}; Path=/; Domain=example.com"
    await scene.run(f"document.cookie = '{cookie}'; fetch('/x')")
    await scene.page.wait_for_function("!document.cookie.includes('_bridge_t_')")
    await scene.run("bridge.track('Lead')")
    await scene.counted(PageView=1, Lead=1)
    assert scene.errors == []


async def test_twin_whose_cookie_comes_again_is_fired_once(scene: Scene) -> None:
    await scene.show(OURS)
    await scene.counted(PageView=1)
    place = "Path=/; Domain=.example.com"
    again = f"_bridge_t_0123456789ab=eyJuIjoiTGVhZCIsImkiOiJhIiwiZCI6e319; {place}"  # Lead, a, {{}}
    damaged = f"_bridge_t_00damaged000=!; {place}"
    for _ in range(2):
        await scene.run(f"document.cookie = '{damaged}'; document.cookie = '{again}'; fetch('/x')")
        await scene.page.wait_for_function("!document.cookie.includes('_bridge_t_')")
        await scene.hits("PageView", "Lead")
    await scene.run("bridge.track('Contact')")
    await scene.hits("PageView", "Lead", "Contact")


async def test_list_of_fired_twins_is_bounded(scene: Scene) -> None:
    await scene.show(OURS)
    await scene.counted(PageView=1)
    await scene.run("localStorage['_bridge.t'] = JSON.stringify(Array(60).fill(['Leadx', 9e15]))")
    await scene.run("fetch('/order?id=bounded')")
    await scene.counted(PageView=1, Purchase=1)
    remembered = await scene.run("JSON.parse(localStorage['_bridge.t'])")
    assert remembered == [["Purchasebounded-0", 9e15], *[["Leadx", 9e15]] * 49]


async def test_tab_that_comes_to_the_front_fires_what_waits(scene: Scene) -> None:
    await scene.show(OURS)
    await scene.counted(PageView=1)
    cookie = "_bridge_t_0123456789ab=eyJuIjoiTGVhZCIsImkiOiJhIiwiZCI6e319; Path=/"  # Lead, a, {}
    await scene.run(f"document.cookie = '{cookie}'")
    await scene.run("document.dispatchEvent(new Event('visibilitychange'))")
    await scene.hits("PageView", "Lead")


async def test_text_of_any_language_reaches_the_pixel(scene: Scene) -> None:
    await scene.show(OURS)
    await scene.counted(PageView=1)
    data = json.dumps({"content_name": "Фикус 🌿 ÿ"})
    await scene.run(f"fetch('/order?id=text&data=' + encodeURIComponent('{data}'))")
    _, purchase = await scene.counted(PageView=1, Purchase=1)
    assert purchase["browser"][0]["cd"]["content_name"] == "Фикус 🌿 ÿ"


# Pages that interfere


async def test_script_that_comes_twice_is_one(scene: Scene) -> None:
    await scene.show(OURS + "<script>window.first = bridge</script>" + OURS)
    await scene.counted(PageView=1)
    assert await scene.run("first === bridge")


async def test_pages_own_variable_of_our_name_is_left_alone(scene: Scene) -> None:
    await scene.show("<script>window.bridge = {open: () => 'mine'}</script>" + OURS + OURS)
    await scene.counted(PageView=1)
    assert await scene.run("bridge.open()") == "mine"
    await scene.show("<p id=bridge>x</p>" + OURS)
    await scene.ready()
    await scene.counted(PageView=2)


@pytest.mark.parametrize(
    "tag",
    [
        '<script type="module" src="/_bridge/bridge.js"></script>',
        '<script type="module">import "/_bridge/bridge.js"</script>',
        '<script>fetch("/_bridge/bridge.js").then((r) => r.text()).then(eval)</script>',
    ],
    ids=["module", "import", "inlined"],
)
async def test_script_without_a_tag_of_its_own_finds_its_server(scene: Scene, tag: str) -> None:
    await scene.show(tag)
    for action in await scene.counted(PageView=1):
        assert_alike(action)
    assert scene.errors == []


async def test_script_whose_server_does_not_know_it_says_so_once(scene: Scene) -> None:
    await scene.page.route("**/_bridge/identity*", lambda route: route.fulfill(status=404))
    # Only identity's answer sets a cookie.
    shared = urlencode({"headers": '{"cache-control": "public"}'})
    await scene.page.goto(f"{await scene.place(OURS)}&{shared}")

    async def is_told() -> bool:
        return any("Bridge: http" in text and " 404" in text for text in scene.console)

    await poll(is_told, "the line")
    assert sum("Bridge:" in text for text in scene.console) == 1


async def test_bad_calls_before_the_script_cost_no_other(scene: Scene) -> None:
    calls = "bridge = [1, null, ['__proto__'], ['nothing'], ['track', 'Lead']]"
    await scene.show(f"<script>{calls}</script>" + OURS)
    await scene.counted(PageView=1, Lead=1)
    assert scene.errors == []


async def test_sandboxed_frame_is_left_in_peace(scene: Scene) -> None:
    inner = await scene.place(
        OURS + "<script>onpageshow = () => parent.postMessage(1, '*')</script>"
    )
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
    # Near the end of a hit's room: a hash's masked copy is longer the more digits it has.
    await scene.show(OURS, "/" + "long-path/" * 70)
    contents = [{"id": f"product-{n}", "quantity": 1, "item_price": 9.9} for n in range(60)]
    note = "x" * 700  # would fit without the address
    data = json.dumps({"note": note, "contents": contents, "value": 594, "currency": "EUR"})
    await scene.ready()
    await scene.run(f"bridge.track('AddToCart', {data})")
    actions = await scene.counted(PageView=1, AddToCart=1)
    [action] = [each for each in actions if each["event_name"] == "AddToCart"]
    [browser], [server] = action["browser"], action["server"]
    assert browser["params"]["rqm"] == "GET"
    assert browser["cd"] == {"value": "594", "currency": "EUR"}
    assert len(server["event"]["custom_data"]["contents"]) == 60


async def test_most_useful_properties_come_first(scene: Scene) -> None:
    await scene.show(OURS)
    await scene.ready()
    many = {f"key{n:02}": "abc" for n in range(60)}
    await scene.run(f"bridge.track('Lead', {json.dumps({**many, 'currency': 'EUR'})})")
    actions = await scene.counted(PageView=1, Lead=1)
    [action] = [each for each in actions if each["event_name"] == "Lead"]
    assert action["browser"][0]["cd"]["currency"] == "EUR"


async def test_hundreds_of_route_changes_do_not_grow_memory(scene: Scene) -> None:
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
                for (let n = 0; n < 150; n++) {
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

    # One garbage collection may leave something for the next.
    await poll(is_small, f"a heap of no more than {first * 1.25:.0f} bytes")


async def test_no_task_of_the_script_is_long(scene: Scene) -> None:
    await scene.page.add_init_script(
        """window.long = []
        new PerformanceObserver((list) => long.push(...list.getEntries().map((e) => e.duration)))
            .observe({type: 'longtask', buffered: true})"""
    )
    # A long task of the script is long every time; one due to a busy machine is not.
    longest = []
    for visit in range(1, 4):
        await scene.show(OURS)
        await scene.counted(PageView=visit, **({"Lead": 20 * (visit - 1)} if visit > 1 else {}))
        await scene.run("for (let n = 0; n < 20; n++) bridge.track('Lead')")
        await scene.counted(PageView=visit, Lead=20 * visit)
        longest.append(await scene.run("Math.max(0, ...long)"))
    assert min(longest) <= 200
