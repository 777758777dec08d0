"""The shop in a real Chromium, where its events go to Segment, alone or beside Meta."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.async_api import BrowserContext

from tests.pages.test_journey import CLICK, assert_alike
from tests.pages.visits import LONG_HOLD, Visit, running_shop
from tests.servers import Sandbox, poll

BOUGHT = {"PageView": 4, "ViewContent": 1, "AddToCart": 1, "InitiateCheckout": 1, "Purchase": 1}


async def read_messages(sandbox: Sandbox, count: int) -> list[dict[str, Any]]:
    """Segment's messages, oldest first, once there are as many."""

    async def check() -> list[dict[str, Any]] | None:
        messages = (await sandbox.read())["segment"]["messages"]
        return messages[::-1] if len(messages) >= count else None

    found: list[dict[str, Any]] = await poll(check, f"{count} messages")
    assert len(found) == count
    return found


async def test_copies_pair_by_event_id_with_segment_alone(
    context: BrowserContext, sandbox: Sandbox, tmp_path: Path
) -> None:
    settings = {"SHOP_SENDS_TO": "segment", "BRIDGE_CUSTOM_EVENTS": ""}
    with running_shop(tmp_path, sandbox.url, LONG_HOLD, **settings) as (_, url):
        visit = Visit(await context.new_page(), sandbox, url)
        await visit.open(f"/?fbclid={CLICK}")
        order_id = await visit.buy()
        bought = {**BOUGHT, "PageView": 5}
        actions = await visit.counted(**bought)
        for action in actions:
            assert_alike(action)
            assert action["server"][0]["via"] == "Segment"
        [purchase] = [a for a in actions if a["event_name"] == "Purchase"]
        assert purchase["event_id"] == order_id

        # The pixel's copy of an event with Segment's names has the same name and data.
        await visit.page.evaluate(
            """() => bridge.track('completed_order', {
                order_id: 'J-1', revenue: '$1,012.50', total: 1020, currency: 'usd',
                products: [{ sku: 'fern', quantity: 2, price: 506.25, name: 'Fern' }],
            }, { eventID: 'J-1' })"""
        )
        actions = await visit.counted(**{**bought, "Purchase": 2})
        [named] = [a for a in actions if a["event_id"] == "J-1"]
        assert_alike(named)
        data = named["browser"][0]["cd"]
        assert (float(data["value"]), data["currency"]) == (1012.5, "USD")
        assert named["server"][0]["event"]["custom_data"]["value"] == 1012.5
        messages = await read_messages(sandbox, 11)
        assert all(m["verdict"] == "accepted" and not m["warnings"] for m in messages)
        properties = messages[-1]["message"]["properties"]
        assert (messages[-1]["event"], properties["revenue"]) == ("Order Completed", 1012.5)
        assert properties["products"] == [{"product_id": "fern", "quantity": 2, "price": 506.25}]
        assert visit.errors == []


async def test_nothing_counts_twice_with_meta_and_segment(
    context: BrowserContext, sandbox: Sandbox, tmp_path: Path
) -> None:
    settings = {"SHOP_SENDS_TO": "both"}
    with running_shop(tmp_path, sandbox.url, LONG_HOLD, **settings) as (_, url):
        visit = Visit(await context.new_page(), sandbox, url)
        await visit.buy()
        messages = await read_messages(sandbox, 9)
        actions = await visit.counted(**BOUGHT)
        for action in actions:
            [server] = action["server"]
            assert server["via"] != "Segment"
            assert (action["counted"], action["repeats"]) == (1, 0)
        outcomes = {m["destination"]["outcome"] for m in messages}
        assert "delivered" not in outcomes
