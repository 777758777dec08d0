"""The script over TLS, under Meta's own host names: what a browser allows only there, or forbids.

Each server is a process; Chromium resolves their names to it, and nothing is intercepted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Error, Playwright

from tests.pages.test_journey import assert_alike
from tests.pages.town import (
    API,
    CACHED,
    HASTY,
    LIBRARY,
    NONCE,
    PLAIN,
    SHOP,
    STRANGE,
    TLSScene,
    Town,
    finding,
)
from tests.pages.visits import open_context
from tests.servers import Sandbox, poll


@pytest.fixture
async def sandbox(town: Town) -> Sandbox:
    sandbox = Sandbox(town.sandbox.plain)
    await sandbox.reset()
    return sandbox


@pytest.fixture
async def context(tls_browser: Browser) -> AsyncIterator[BrowserContext]:
    async with await open_context(tls_browser) as context:
        yield context


@pytest.fixture
async def scene(context: BrowserContext, sandbox: Sandbox, town: Town) -> TLSScene:
    return TLSScene(await context.new_page(), sandbox, town)


def assert_all_alike(actions: list[dict[str, Any]]) -> None:
    for action in actions:
        assert_alike(action)


# Content Security Policy, Subresource Integrity


@pytest.mark.parametrize(
    ("tag", "policy"),
    [
        ({}, {}),
        ({"nonce": NONCE}, {"nonce": NONCE}),
        ({"nonce": NONCE}, {"nonce": NONCE, "strict_dynamic": True}),
    ],
    ids=["hosts", "nonce", "strict-dynamic"],
)
async def test_helpers_policy_is_enough(
    scene: TLSScene, tag: dict[str, Any], policy: dict[str, Any]
) -> None:
    html, allowed = await scene.help(tag, policy)
    assert "unsafe" not in allowed
    await scene.open_page(
        html + "<script>window.inline = true</script>", content_security_policy=allowed
    )
    await scene.ready()
    await scene.run("bridge.track('Lead')")
    assert_all_alike(await scene.counted(PageView=1, Lead=1))
    assert not await scene.run("window.inline")
    # Except the inline script, which shows that the policy was in force.
    assert len([text for text in scene.console if "Content Security Policy" in text]) == 1


@pytest.mark.parametrize(
    "policy",
    [
        "script-src 'self'",
        f"script-src 'self' {LIBRARY}",
        "script-src 'self' https://connect.facebook.net; img-src 'self'",
    ],
    ids=["library", "configuration", "image"],
)
async def test_policy_that_blocks_costs_the_browser_copy_alone(
    scene: TLSScene, policy: str
) -> None:
    await scene.open_tagged(content_security_policy=policy)
    await assert_blocked(scene)


async def assert_blocked(scene: TLSScene) -> None:
    """Blocked is reported, and the server copies go, long before they would by themselves."""
    await scene.ready()
    event_id = await scene.run("bridge.track('Lead')")
    assert await scene.reported(event_id) == "blocked"
    await scene.run("fetch('/order?id=' + Math.random())")
    events = await scene.sandbox.wait_for_server_copies(3)
    assert {event["event_name"] for event in events} == {"PageView", "Lead", "Purchase"}
    assert not any(action["browser"] for action in await scene.sandbox.actions())
    assert scene.errors == []


async def test_tag_with_integrity_loads(scene: TLSScene) -> None:
    tag, _ = await scene.help()
    assert 'integrity="sha384-' in tag
    await scene.open_page(tag)
    assert_all_alike(await scene.counted(PageView=1))


async def test_wrong_integrity_loads_nothing_and_breaks_nothing(scene: TLSScene) -> None:
    tag, _ = await scene.help()
    forged = tag.replace("sha384-", "sha384-AAAA").replace(
        "></script>", " onerror='window.failed = true'></script>"
    )
    await scene.open_page(forged + "<button onclick='window.clicked = true'>x</button>")
    await scene.page.wait_for_function("window.failed")
    await scene.page.click("button")
    assert await scene.run("[window.clicked, 'bridge' in window, 'fbq' in window]") == [
        True,
        False,
        False,
    ]
    assert await scene.sandbox.actions() == []
    assert scene.errors == []


# An app and its API on two hosts


async def test_page_and_api_on_two_subdomains(
    context: BrowserContext, sandbox: Sandbox, town: Town
) -> None:
    scene = TLSScene(await context.new_page(), sandbox, town, PLAIN)
    tag, policy = await scene.help({"origin": API}, {"origin": API})
    await scene.open_page(tag, query="?fbclid=CLICK", content_security_policy=policy)
    await scene.ready()
    await scene.run("bridge.track('Lead')")
    await scene.counted(PageView=1, Lead=1)
    await scene.run(f"fetch('{API}/order?id=cross', {{credentials: 'include', mode: 'no-cors'}})")
    actions = await scene.counted(PageView=1, Lead=1, Purchase=1)
    assert_all_alike(actions)
    for action in actions:
        assert action["browser"][0]["dl"].startswith(PLAIN)
    [lead] = [a for a in actions if a["event_name"] == "Lead"]
    assert lead["server"][0]["event"]["event_source_url"].startswith(PLAIN)
    assert await scene.consent("denied") == "denied"
    assert await scene.cookies() == {"_bridge_c"}
    assert [text for text in scene.console if "CORS" in text] == []


async def test_api_on_another_subdomain_hears_of_the_landing_click_without_the_pixel(
    context: BrowserContext, sandbox: Sandbox, town: Town
) -> None:
    await sandbox.fault(
        "fbevents", drop=True, times=None
    )  # without this, its cookie would identify the visitor
    scene = TLSScene(await context.new_page(), sandbox, town, PLAIN)
    tag, _ = await scene.help({"origin": API})
    await scene.open_page(tag, query="?fbclid=CLICK")
    [view] = await sandbox.wait_for_server_copies(1)
    assert view["user_data"]["fbc"].endswith(".CLICK")


async def test_api_on_another_subdomain_hears_from_a_page_that_is_left(
    context: BrowserContext, sandbox: Sandbox, town: Town
) -> None:
    await sandbox.fault("tr", hang=True, times=None)
    scene = TLSScene(await context.new_page(), sandbox, town, PLAIN)
    tag, _ = await scene.help({"origin": API})
    await scene.open_page(tag)
    await scene.ready()
    event_id = await scene.run("bridge.track('Lead')")
    await scene.page.goto("about:blank")
    api = TLSScene(scene.page, sandbox, town)
    assert await api.reported(event_id) == "unknown"


async def test_page_of_an_origin_that_is_not_allowed_is_not_heard(
    context: BrowserContext, sandbox: Sandbox, town: Town
) -> None:
    scene = TLSScene(await context.new_page(), sandbox, town, STRANGE)
    tag, _ = await scene.help({"origin": API})
    await scene.open_page(tag)
    await scene.page.wait_for_function("!!(window.bridge && bridge.track)")
    answers = []
    scene.page.on("requestfailed", lambda request: answers.append(request.url))

    async def refused() -> bool:
        await scene.run(f"fetch('{API}/_bridge/identity', {{credentials: 'include'}}).catch(Date)")
        return f"{API}/_bridge/identity" in answers

    await poll(refused, "a refusal")
    assert await sandbox.actions() == []
    assert scene.errors == []


# A page from a shared cache


async def test_two_visitors_of_a_cached_page_are_two(
    tls_browser: Browser, sandbox: Sandbox, town: Town
) -> None:
    ids, bodies = [], []
    for count in (1, 2):
        async with await open_context(tls_browser) as context:
            scene = TLSScene(await context.new_page(), sandbox, town, CACHED)
            tag, _ = await scene.help()
            await scene.put("cached", tag, cache_control="public, max-age=600")
            answer = await scene.page.goto(f"{CACHED}/p/cached")
            assert answer is not None
            assert answer.headers.get("x-cache") == ("hit" if count == 2 else None)
            bodies.append(await answer.text())
            actions = await scene.counted(PageView=count)
            assert_all_alike(actions)
            ids.append(actions[-1]["browser"][0]["external_id"])
            cookies = {c.get("value", "") for c in await context.cookies()}
            assert not [value for value in cookies | {ids[-1]} if value in bodies[-1]]
    assert len(set(ids)) == 2
    assert bodies[0] == bodies[1]


# Cookies and headers of https


async def test_cookies_that_only_we_read_are_secure(scene: TLSScene) -> None:
    await scene.open_tagged()
    await scene.counted(PageView=1)
    found = {c.get("name"): c for c in await scene.page.context.cookies()}
    secure = {"_bridge", "_bridge_p", "_bridge_x"}
    assert {name for name, c in found.items() if c.get("secure")} == secure
    assert {name for name, c in found.items() if c.get("httpOnly")} == secure - {"_bridge_x"}
    assert found["_fbp"].get("domain") == ".example.com"


async def test_page_without_referrers(scene: TLSScene) -> None:
    await scene.open_tagged(referrer_policy="no-referrer")
    await scene.ready()
    await scene.run("bridge.track('Lead')")
    await scene.run("fetch('/order?id=quiet')")
    actions = await scene.counted(PageView=1, Lead=1, Purchase=1)
    assert_all_alike(actions)
    addresses = {a["server"][0]["event"]["event_source_url"] for a in actions}
    assert addresses == {f"{SHOP}/p/page"}


# Blockers


@pytest.mark.parametrize("host", ["connect.facebook.net", "www.facebook.com"])
async def test_host_that_does_not_resolve_costs_the_browser_copy_alone(
    playwright: Playwright, town: Town, sandbox: Sandbox, host: str
) -> None:
    async with (
        finding(playwright, town, f"MAP {host} ~NOTFOUND") as chromium,
        await open_context(chromium) as context,
    ):
        scene = TLSScene(await context.new_page(), sandbox, town)
        await scene.open_tagged()
        await assert_blocked(scene)


@pytest.mark.parametrize(
    "fault",
    [
        {"path": "config", "drop": True},
        {"path": "tr", "drop": True},
        {"path": "fbevents", "status": 200, "body": "window.fbq = function () {}"},
    ],
    ids=["configuration", "hit", "stand-in"],
)
async def test_blocker_costs_the_browser_copy_alone(scene: TLSScene, fault: dict[str, Any]) -> None:
    await scene.sandbox.fault(**{**fault, "times": None})
    await scene.open_tagged()
    await assert_blocked(scene)


async def test_hit_that_hangs_holds_the_server_copy_for_seconds_only(scene: TLSScene) -> None:
    await scene.sandbox.fault("tr", hang=True, times=None)
    await scene.open_tagged()
    await scene.ready()
    event_id = await scene.run("bridge.track('Lead')")
    await scene.run("fetch('/order?id=hangs')")
    assert await scene.reported(event_id) == await scene.reported("hangs-0") == "unknown"
    await scene.sandbox.wait_for_server_copies(3)
    assert scene.errors == []


# Tabs, offline, back, no JavaScript


async def test_two_tabs_fire_one_twin_once_under_a_lock(scene: TLSScene, town: Town) -> None:
    await scene.open_tagged()
    assert await scene.run("!!navigator.locks")  # plain http has no locks
    other = TLSScene(await scene.page.context.new_page(), scene.sandbox, town)
    await other.open_tagged()
    await scene.counted(PageView=2)
    rounds = range(5)
    for n in rounds:
        # Both look for it as soon as it has come.
        await asyncio.gather(
            scene.run(f"fetch('/order?id=tabs{n}')"),
            *(tab.run("Promise.all([1, 2, 3].map(() => fetch('/x')))") for tab in (scene, other)),
        )
    await asyncio.gather(
        *(tab.run("fetch('/x').then(() => bridge.track('Lead'))") for tab in (scene, other))
    )
    assert_all_alike(await scene.counted(PageView=2, Lead=2, Purchase=len(rounds)))


async def test_twin_that_waits_for_another_tab_is_not_kept_after_a_denial(
    scene: TLSScene,
) -> None:
    await scene.open_tagged()
    await scene.counted(PageView=1)
    lock = "navigator.locks.request('_bridge', () => new Promise((go) => { window.release = go }))"
    await scene.run(f"() => {{ {lock} }}")
    await scene.page.wait_for_function("!!window.release")
    await scene.run("fetch('/order?id=locked')")
    waiting = "navigator.locks.query().then(({pending}) => pending.length > 0)"
    await scene.page.wait_for_function(waiting)
    # The server's answer to a denial would delete the twin's cookie.
    await scene.run("() => { window.fetch = () => Promise.reject(new TypeError('offline')) }")
    await scene.consent("denied")
    await scene.run("release()")
    await scene.run("navigator.locks.request('_bridge', () => {})")
    assert await scene.storage() == []


async def test_offline_and_back_with_a_reload_in_between(scene: TLSScene) -> None:
    await scene.open_tagged()
    await scene.counted(PageView=1)
    # Chromium, though offline, sends what a page sends while the visitor leaves it.
    await scene.fail_collect(*[{"status_code": 503}] * 1000)
    await scene.page.context.set_offline(True)
    event_id = await scene.run("bridge.track('Lead', {value: 1, currency: 'EUR'})")
    with pytest.raises(Error, match="ERR_INTERNET_DISCONNECTED"):
        await scene.page.reload()
    await scene.page.wait_for_url("chrome-error://chromewebdata/")
    await scene.page.goto("about:blank")
    await scene.page.context.set_offline(False)
    await scene.fail_collect()
    assert event_id not in [
        event["event_id"]
        for report in await scene.reports()
        for event in report["events"]
        if report["status"] == 200
    ]
    await scene.open_tagged()
    await scene.page.wait_for_function("!Object.keys(localStorage).some((k) => k.includes('.q.'))")
    [event] = [
        event
        for event in await scene.sandbox.wait_for_server_copies(3)
        if event["event_name"] == "Lead"
    ]
    assert (event["event_id"], event["custom_data"]["value"]) == (event_id, 1)
    await scene.counted(PageView=2)


async def test_return_from_the_back_forward_cache_is_a_view_with_both_copies(
    playwright: Playwright, town: Town, sandbox: Sandbox
) -> None:
    keep = {"ignore_default_args": ["--disable-back-forward-cache"]}
    async with (
        finding(playwright, town, **keep) as chromium,
        await open_context(chromium) as context,
    ):
        scene = TLSScene(await context.new_page(), sandbox, town)
        tag, _ = await scene.help()
        await scene.open_page(
            tag + "<script>onpageshow = (event) => { window.returned = event.persisted }</script>"
        )
        await scene.counted(PageView=1)
        await scene.page.goto(f"{PLAIN}/p/none")
        await scene.page.go_back(wait_until="commit")
        await scene.page.wait_for_function("window.returned === true")
        actions = await scene.counted(PageView=2)
        assert_all_alike(actions)
        await scene.run("bridge.track('Lead')")
        assert_all_alike(await scene.counted(PageView=2, Lead=1))


async def test_without_javascript_the_server_copy_goes_alone(
    tls_browser: Browser, sandbox: Sandbox, town: Town
) -> None:
    async with await open_context(tls_browser, java_script_enabled=False) as context:
        scene = TLSScene(await context.new_page(), sandbox, town, HASTY)
        tag, _ = await scene.help()
        order = "<form method=post action='/order?id=still&hops=0&to=/p/page'><button>x</form>"
        await scene.open_page(tag + order, query="?fbclid=CLICK")
        await scene.page.click("button")
        await scene.page.wait_for_url("**/p/page")
        [event] = await sandbox.wait_for_server_copies(1)
        found = {c.get("name"): c.get("value") for c in await context.cookies()}
        assert (event["event_name"], event["event_id"]) == ("Purchase", "still-0")
        assert event["user_data"]["fbp"] == found["_fbp"]
        assert event["user_data"]["fbc"].endswith(".CLICK")
        assert scene.to_meta == []
