"""A visitor in a real Chromium: every action once, both copies alike."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser

from tests.pages.visits import HOST, SHORT_HOLD, Visit, open_context, running_shop
from tests.servers import Sandbox, poll

CLICK = "IwAR0-abc_DEF"


def assert_alike(action: dict[str, Any]) -> None:
    """Both copies of ``action`` are there, once, and carry the same identifiers."""
    [browser], [server] = action["browser"], action["server"]
    user_data = server["event"]["user_data"]
    assert browser["eid"] == server["event"]["event_id"] == action["event_id"]
    assert [browser["external_id"]] == user_data["external_id"]
    assert browser["fbp"] == user_data["fbp"]
    assert browser["fbc"] == user_data.get("fbc")
    assert (action["counted"], action["merged_by"], action["repeats"]) == (1, "event_id", 0)


async def test_visit_and_purchase_count_once_with_both_copies_alike(visit: Visit) -> None:
    await visit.open(f"/?fbclid={CLICK}")
    await visit.page.locator("[data-test=quick-add]").first.click()
    await visit.page.wait_for_selector("#cart-count:not([hidden])")
    order_id = await visit.buy()
    actions = await visit.counted(
        PageView=5, ViewContent=1, AddToCart=2, InitiateCheckout=1, Purchase=1
    )
    for action in actions:
        assert_alike(action)
    [purchase] = [a for a in actions if a["event_name"] == "Purchase"]
    assert purchase["event_id"] == order_id
    event = purchase["server"][0]["event"]
    assert event["user_data"]["fbc"].endswith(f".{CLICK}")
    assert len(event["user_data"]["em"][0]) == 64
    assert float(purchase["browser"][0]["cd"]["value"]) == event["custom_data"]["value"] == 48
    assert visit.errors == []


async def test_reload_and_back_fire_nothing_twice(visit: Visit) -> None:
    await visit.buy()
    await visit.counted(PageView=4, ViewContent=1, AddToCart=1, InitiateCheckout=1, Purchase=1)
    await visit.page.reload()
    await visit.page.go_back()
    await visit.page.go_forward()
    await visit.open("/cart")
    actions = await visit.counted(
        PageView=8, ViewContent=1, AddToCart=1, InitiateCheckout=1, Purchase=1
    )
    for action in actions:
        assert_alike(action)


async def test_login_carries_the_users_external_id_in_both_copies(visit: Visit) -> None:
    await visit.open("/login")
    await visit.page.fill("form#login #email", "ada@example.com")
    await visit.page.click("form#login button")
    await visit.page.wait_for_selector("#log-out")
    first, second = await visit.counted(PageView=2)
    assert_alike(first)
    assert_alike(second)
    assert first["browser"][0]["external_id"] != second["browser"][0]["external_id"]


async def test_lead_of_a_form_post_is_fired_after_the_redirect(visit: Visit) -> None:
    await visit.open("/")
    await visit.page.fill("#newsletter-email", "ada@example.com")
    await visit.page.press("#newsletter-email", "Enter")
    await visit.page.wait_for_selector("#status")
    for action in await visit.counted(PageView=2, Lead=1):
        assert_alike(action)


async def test_browser_copy_comes_first(visit: Visit) -> None:
    await visit.buy()
    actions = await visit.counted(
        PageView=4, ViewContent=1, AddToCart=1, InitiateCheckout=1, Purchase=1
    )
    for action in actions:
        [browser], [server] = action["browser"], action["server"]
        assert browser["received_at_ms"] <= server["received_at_ms"]


async def test_card_payment_is_counted_by_the_providers_webhook(visit: Visit) -> None:
    await visit.open(f"/?fbclid={CLICK}")
    await visit.page.locator("[data-test=quick-add]").first.click()
    await visit.page.wait_for_selector("#cart-count:not([hidden])")
    await visit.open("/checkout")
    await visit.fill_in_address()
    await visit.page.check("#pay-card")
    await visit.page.click("#place-order")
    await visit.page.click("#pay")
    await visit.page.wait_for_url("**/orders/A-*")
    order_id = visit.page.url.rpartition("/")[2]

    async def arrived() -> dict[str, Any] | None:
        found = await visit.sandbox.actions("Purchase")
        return found[0] if found else None

    purchase = await poll(arrived, "the Purchase")
    assert purchase["event_id"] == order_id
    [copy] = purchase["server"]
    assert copy["event"]["user_data"]["fbc"].endswith(f".{CLICK}")
    assert copy["event"]["event_source_url"].endswith("/checkout")
    assert "Chrome" in copy["event"]["user_data"]["client_user_agent"]
    # The browser is on this machine.
    assert copy["warnings"] == [
        "client_ip_address is missing: behind a proxy, trusted_proxies must name it"
    ]


async def test_views_of_a_single_page_app_have_one_id_each(visit: Visit) -> None:
    await visit.open("/")
    await visit.counted(PageView=1)
    await visit.page.evaluate("history.pushState({}, '', '/?view=2')")
    await visit.counted(PageView=2)
    await visit.page.evaluate("history.replaceState({}, '', '/?view=2')")
    await visit.page.evaluate("history.pushState({}, '', '/?view=3')")
    await visit.counted(PageView=3)
    await visit.page.evaluate("location.hash = 'route'")  # a view for the pixel, too
    actions = await visit.counted(PageView=4)
    urls = [action["browser"][0]["dl"].partition(HOST)[2].partition("/")[2] for action in actions]
    assert urls == ["", "?view=2", "?view=3", "?view=3#route"]
    for action in actions:
        assert_alike(action)


async def test_what_no_copy_can_carry_neither_throws_nor_blocks_the_next(visit: Visit) -> None:
    await visit.open("/")
    await visit.counted(PageView=1)
    await visit.page.evaluate("bridge.track('Contact', {contents: [{id: 10n}]})")
    await visit.page.evaluate("bridge.track('Schedule', {text: 'x'.repeat(80000)})")
    await visit.page.evaluate("bridge.track('Donate', null, {eventID: 1234})")
    actions = await visit.counted(PageView=1, Donate=1)
    assert actions[-1]["event_id"] == "1234"
    assert visit.errors == []


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"path": "fbevents", "drop": True}, id="library unreachable"),
        pytest.param({"path": "fbevents", "status": 200, "body": ""}, id="library emptied"),
        pytest.param({"path": "tr", "drop": True}, id="hits unreachable"),
    ],
)
async def test_blocked_pixel_costs_no_server_copy(
    browser: Browser, sandbox: Sandbox, hasty_shop: str, fault: dict[str, Any]
) -> None:
    await sandbox.fault(fault.pop("path"), **{**fault, "times": None})
    async with await open_context(browser) as context:
        visit = Visit(await context.new_page(), sandbox, hasty_shop)
        order_id = await visit.buy()
        await visit.page.goto("about:blank")
        await sandbox.wait_for_server_copies(8)
    actions = await sandbox.actions()
    assert [a["event_id"] for a in actions if a["event_name"] == "Purchase"] == [order_id]
    assert [len(action["server"]) for action in actions] == [1] * 8
    assert not any(action["browser"] for action in actions)
    assert visit.errors == []


async def test_shop_without_javascript_works_and_its_events_arrive_once(
    browser: Browser, sandbox: Sandbox, hasty_shop: str
) -> None:
    async with await open_context(browser, java_script_enabled=False) as context:
        visit = Visit(await context.new_page(), sandbox, hasty_shop)
        order_id = await visit.buy()
    [event] = await sandbox.wait_for_server_copies(1)
    assert (event["event_name"], event["event_id"]) == ("Purchase", order_id)
    assert event["user_data"]["fbp"].startswith("fb.1.")
    [action] = await sandbox.actions()
    assert len(action["server"]) == 1


async def test_purchase_survives_a_kill(browser: Browser, sandbox: Sandbox, tmp_path: Path) -> None:
    await sandbox.fault("events", status=503, body="down", times=None)
    with running_shop(tmp_path, sandbox.url, SHORT_HOLD) as (process, url):
        async with await open_context(browser, java_script_enabled=False) as context:
            order_id = await Visit(await context.new_page(), sandbox, url).buy()
        process.send_signal(signal.SIGKILL)
        process.wait(5)
    assert await sandbox.actions() == []
    await sandbox.reset()
    with running_shop(tmp_path, sandbox.url, SHORT_HOLD):
        # If the kill came while a request was in flight, the event is due again after its lease.
        [event] = await sandbox.wait_for_server_copies(1)
    assert (event["event_name"], event["event_id"]) == ("Purchase", order_id)
    [action] = await sandbox.actions()
    assert len(action["server"]) == 1
