"""Consent in a real Chromium: real cookies, real requests."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from playwright.async_api import Browser

from tests.pages.test_journey import assert_alike
from tests.pages.visits import LONG_HOLD, Visit, open_context, running_shop
from tests.servers import Sandbox, poll

LDU = {"dpo": "LDU", "dpoco": "0", "dpost": "0"}


@pytest.fixture(scope="module")
def asking_shop(sandbox_process: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a shop that waits for the visitor's choice."""
    folder = tmp_path_factory.mktemp("shop")
    with running_shop(folder, sandbox_process, LONG_HOLD, BRIDGE_CONSENT="pending") as (_, url):
        yield url


@pytest.fixture
async def open_visit(browser: Browser, sandbox: Sandbox) -> AsyncIterator[Any]:
    """A function that opens a shop at an address for a new visitor."""
    contexts = []

    async def open_visit(url: str, **options: Any) -> Visit:
        contexts.append(await open_context(browser, **options))
        return Visit(await contexts[-1].new_page(), sandbox, url)

    yield open_visit
    for context in contexts:
        await context.close()


def assert_limited(action: dict[str, Any]) -> None:
    """Both copies of ``action`` say Limited Data Use, with the place for Meta to find."""
    [browser], [server] = action["browser"], action["server"]
    assert {key: browser["params"][key] for key in LDU} == LDU
    event = server["event"]
    assert event["data_processing_options"] == ["LDU"]
    assert event["data_processing_options_country"] == 0
    assert event["data_processing_options_state"] == 0


async def test_pending_touches_nothing_until_granted(open_visit: Any, asking_shop: str) -> None:
    visit = await open_visit(asking_shop)
    await visit.open("/?fbclid=LANDING")
    assert await visit.consent() == "pending"
    await visit.page.evaluate("bridge.track('Contact')")
    await visit.page.click("[data-test=quick-add] >> nth=0")
    await visit.page.wait_for_selector("#cart-count:not([hidden])")
    assert await visit.cookies() == set()
    assert await visit.storage() == []
    assert visit.to_meta == []

    assert await visit.consent("granted") == "granted"
    actions = await visit.counted(PageView=1, Contact=1)
    for action in actions:
        assert_alike(action)
        assert action["browser"][0]["fbc"].endswith(".LANDING")
    assert {"_bridge", "_bridge_c", "_bridge_x", "_fbp", "_fbc"} == await visit.cookies()

    await visit.open("/cart")
    await visit.counted(PageView=2, Contact=1)


async def test_pending_then_denied_touches_nothing_ever(open_visit: Any, asking_shop: str) -> None:
    visit = await open_visit(asking_shop)
    await visit.open("/?fbclid=LANDING")
    assert await visit.consent("denied") == "denied"
    await visit.buy()
    assert await visit.consent() == "denied"
    assert await visit.cookies() == {"_bridge_c"}
    assert await visit.storage() == []
    assert visit.to_meta == []
    assert await visit.sandbox.actions() == []


async def test_limited_puts_ldu_on_both_copies(open_visit: Any, asking_shop: str) -> None:
    visit = await open_visit(asking_shop)
    await visit.open("/")
    assert await visit.consent("limited") == "limited"
    await visit.counted(PageView=1)
    await visit.buy()
    actions = await visit.counted(
        PageView=5, ViewContent=1, AddToCart=1, InitiateCheckout=1, Purchase=1
    )
    for action in actions:
        assert_alike(action)
        assert_limited(action)


async def test_denied_later_clears_everything_and_stops_both_halves(
    open_visit: Any, shop: str
) -> None:
    visit = await open_visit(shop)
    await visit.open("/?fbclid=A")
    await visit.counted(PageView=1)
    assert await visit.consent("denied") == "denied"
    assert await visit.cookies() == {"_bridge_c"}
    assert await visit.storage() == []
    hits = list(visit.to_meta)
    await visit.page.evaluate("bridge.track('Contact')")
    await visit.page.evaluate("fbq('track', 'Lead')")
    await visit.buy()
    assert visit.to_meta == hits
    assert len(await visit.sandbox.actions()) == 1
    assert await visit.cookies() == {"_bridge_c"}


async def test_granted_again_in_the_same_page_is_not_stuck(open_visit: Any, shop: str) -> None:
    visit = await open_visit(shop)
    await visit.open("/")
    await visit.counted(PageView=1)
    await visit.consent("denied")
    await visit.page.evaluate("bridge.track('Contact')")
    assert await visit.consent("granted") == "granted"
    await visit.page.evaluate("bridge.track('Schedule')")
    await visit.counted(PageView=1, Schedule=1)


async def test_denied_before_the_library_has_loaded_sends_nothing_and_can_be_lifted(
    open_visit: Any, shop: str, sandbox: Sandbox
) -> None:
    await sandbox.fault("fbevents", delay=1.5)
    visit = await open_visit(shop)
    await visit.page.goto(shop, wait_until="domcontentloaded")
    await visit.consent("denied")
    await visit.page.wait_for_function("!!(window.fbq && fbq.callMethod)")
    assert await sandbox.actions() == []
    await visit.consent("granted")
    await visit.page.evaluate("bridge.track('Contact')")
    actions = await visit.counted(PageView=1, Contact=1)
    assert all(len(action["browser"]) == 1 for action in actions)


async def test_choice_holds_on_the_next_page_and_in_limited_to_granted(
    open_visit: Any, asking_shop: str
) -> None:
    visit = await open_visit(asking_shop)
    await visit.open("/")
    await visit.consent("limited")
    [limited] = await visit.counted(PageView=1)
    assert_limited(limited)
    await visit.open("/cart")
    assert await visit.consent() == "limited"
    await visit.counted(PageView=2)
    await visit.consent("granted")
    await visit.page.evaluate("bridge.track('Contact')")
    *_, contact = await visit.counted(PageView=2, Contact=1)
    assert contact["browser"][0]["dpo"] in ("", None, [])
    assert "data_processing_options" not in contact["server"][0]["event"]


async def test_global_privacy_control_limits_both_copies(open_visit: Any, shop: str) -> None:
    # Page by page: these headers do not reach the requests of a page that is being left, as the
    # browser's own would.
    visit = await open_visit(shop, extra_http_headers={"Sec-GPC": "1"})
    await visit.open("/?fbclid=A")
    await visit.counted(PageView=1)
    await visit.page.click("[data-test=quick-add] >> nth=0")
    await visit.counted(PageView=1, AddToCart=1)
    await visit.open("/products/boston-fern")
    for action in await visit.counted(PageView=2, AddToCart=1, ViewContent=1):
        assert_limited(action)


async def test_robot_is_not_counted(browser: Browser, sandbox: Sandbox, shop: str) -> None:
    async with await browser.new_context() as context:  # its user agent says headless
        visit = Visit(await context.new_page(), sandbox, shop)
        await visit.buy()
        assert await visit.cookies() == set()
        assert visit.to_meta == []
    assert await sandbox.actions() == []


async def test_login_by_fetch_keeps_the_pixels_external_id_first(
    open_visit: Any, shop: str
) -> None:
    visit = await open_visit(shop)
    await visit.open("/")
    await visit.counted(PageView=1)
    await visit.page.evaluate(
        """fetch('/login', {
            method: 'POST', redirect: 'manual', body: new URLSearchParams({email: 'a@example.com'})
        }).then(() => bridge.track('Contact'))"""
    )
    _, contact = await visit.counted(PageView=1, Contact=1)
    ids = contact["server"][0]["event"]["user_data"]["external_id"]
    assert len(ids) == 2
    assert contact["browser"][0]["external_id"] == ids[0]
    await visit.open("/cart")
    *_, view = await visit.counted(PageView=2, Contact=1)
    assert [view["browser"][0]["external_id"]] == [ids[1]]
    assert view["server"][0]["event"]["user_data"]["external_id"] == [ids[1]]


async def test_logout_leaves_no_cookie_and_the_next_visitor_is_a_stranger(
    open_visit: Any, shop: str
) -> None:
    visit = await open_visit(shop)
    await visit.open("/login")
    await visit.page.fill("form#login #email", "ada@example.com")
    await visit.page.click("form#login button")
    await visit.page.wait_for_selector("#log-out")
    before = await visit.counted(PageView=2)
    await visit.page.click("#log-out")
    await visit.page.wait_for_selector("#log-in")

    async def strange() -> bool:
        actions = await visit.sandbox.actions("PageView")
        ids = [a["server"][0]["event"]["user_data"]["external_id"] for a in actions if a["server"]]
        return len(ids) == 3 and ids[2] != ids[1] and ids[2] != ids[0]

    await poll(strange, "a stranger's page view")
    assert len(before) == 2


async def test_denial_in_another_tab_counts_here_too(open_visit: Any, shop: str) -> None:
    visit = await open_visit(shop)
    await visit.open("/")
    await visit.counted(PageView=1)
    other = Visit(await visit.page.context.new_page(), visit.sandbox, shop)
    await other.open("/cart")
    await visit.counted(PageView=2)
    await other.consent("denied")
    hits = list(visit.to_meta)
    # The pixel would make a view by itself.
    await visit.page.evaluate(
        "dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))"
    )
    await visit.page.evaluate("bridge.track('Contact')")
    await visit.page.evaluate("history.pushState({}, '', '/?view=2')")
    await visit.page.evaluate("fetch('/cart')")
    assert await visit.consent() == "denied"
    assert await visit.storage() == []
    assert visit.to_meta == hits
    assert len(await visit.sandbox.actions()) == 2


async def test_denied_while_the_configuration_loads_sends_nothing_and_can_be_lifted(
    open_visit: Any, shop: str, sandbox: Sandbox
) -> None:
    await sandbox.fault("config", delay=4)  # longer than a busy machine takes to deny
    visit = await open_visit(shop)
    await visit.page.goto(shop, wait_until="domcontentloaded")
    await visit.page.wait_for_function("!!(window.fbq && fbq.callMethod)")
    await visit.consent("denied")

    async def configured() -> bool:
        return bool(await visit.page.evaluate("!fbq.queue.length"))

    await visit.page.wait_for_function(
        "performance.getEntriesByType('resource').some((e) => e.name.includes('/signals/config/'))"
    )
    await poll(configured, "the queue to be worked off")
    assert await sandbox.actions() == []
    assert "_fbp" not in await visit.cookies()
    await visit.consent("granted")
    await visit.page.evaluate("bridge.track('Contact')")
    actions = await visit.counted(PageView=1, Contact=1)
    assert all(len(action["browser"]) == 1 for action in actions)


async def test_last_choice_counts_when_an_earlier_answer_is_late(
    open_visit: Any, asking_shop: str
) -> None:
    visit = await open_visit(asking_shop)
    await visit.open("/")
    await visit.consent()
    await visit.page.evaluate(
        """() => {
            const real = window.fetch
            window.fetch = async (url, options) => {
                const answer = await real(url, options)
                if (String(options?.body).includes('granted')) {
                    await new Promise((resolve) => setTimeout(resolve, 400))
                }
                return answer
            }
            return Promise.all([bridge.consent('granted'), bridge.consent('denied')])
        }"""
    )
    assert await visit.consent() == "denied"
    assert visit.to_meta == []


async def test_denial_holds_when_the_server_does_not_answer(open_visit: Any, shop: str) -> None:
    visit = await open_visit(shop)
    await visit.open("/")
    await visit.counted(PageView=1)
    await visit.page.evaluate(
        "() => { window.fetch = () => Promise.reject(new TypeError('offline')) }"
    )
    assert await visit.consent("denied") == "denied"
    assert "_bridge_x" not in await visit.page.evaluate("document.cookie")
    hits = list(visit.to_meta)
    await visit.open("/cart")
    assert await visit.consent() == "denied"
    assert visit.to_meta == hits
    assert await visit.cookies() == {"_bridge_c"}


async def test_script_loads_no_library_and_no_pixel_that_a_cookie_names(
    open_visit: Any, shop: str
) -> None:
    visit = await open_visit(shop)
    await visit.open("/")
    await visit.counted(PageView=1)
    settings = {"x": "x", "p": ["666", "<script>"], "u": "http://evil.example.com/x.js"}
    forged = base64.urlsafe_b64encode(json.dumps(settings).encode()).decode().rstrip("=")
    asked: list[str] = []
    visit.page.on("request", lambda request: asked.append(request.url))
    await visit.page.context.add_cookies(
        [{"name": "_bridge_x", "value": forged, "url": f"{shop}/cart"}]
    )
    await visit.open("/cart")
    await visit.consent()
    assert not [url for url in asked if "evil" in url]
    assert not [url for url in asked if "id=666" in url]
