"""Visits to the shop: the figures say what the wire says.

VISITS=50 .venv/bin/python -m pytest tests/pages/test_figures.py    fifty of them
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser

from bridge.events.event import DAY
from bridge.figures.summary import Summary, summarize
from bridge.outbox import Outbox, open_outbox
from tests.outbox.conftest import empty_postgres, postgres_url
from tests.pages.visits import LONG_HOLD, Visit, open_context, running_shop
from tests.servers import Sandbox, poll

__all__ = ["postgres_url"]

VISITS = int(os.environ.get("VISITS", "7"))
AT_ONCE = 3
META = "meta:1234567890123456"


@pytest.fixture(params=["sqlite", "postgres"])
def shops(
    request: pytest.FixtureRequest, tmp_path: Path, sandbox_process: str
) -> Iterator[tuple[str, list[Any]]]:
    """The outbox's URL, and the shop: one process, or two that share a database."""
    outbox_url, count = f"sqlite:///{tmp_path}/shared.db", 1
    if request.param == "postgres":
        outbox_url, count = request.getfixturevalue("postgres_url"), 2
        empty_postgres(outbox_url)
    with ExitStack() as stack:
        yield (
            outbox_url,
            [
                stack.enter_context(
                    running_shop(tmp_path, sandbox_process, LONG_HOLD, BRIDGE_OUTBOX_URL=outbox_url)
                )
                for _ in range(count)
            ],
        )


async def look_around(visit: Visit) -> None:
    await visit.open("/?fbclid=IwAR0")
    await visit.page.locator("[data-test=quick-add]").first.click()
    await visit.page.wait_for_selector("#cart-count:not([hidden])")


async def log_in(visit: Visit) -> None:
    await visit.open("/login")
    await visit.page.fill("form#login #email", "ada@example.com")
    await visit.page.click("form#login button")
    await visit.page.wait_for_selector("#log-out")
    await look_around(visit)


async def buy_without_library(visit: Visit) -> None:
    await visit.page.route("**/fbevents.js", lambda route: route.abort())
    await visit.buy()


async def buy_without_hits(visit: Visit) -> None:
    await visit.page.route("**/tr/*", lambda route: route.abort())
    await visit.buy()


async def decline(visit: Visit) -> None:
    await visit.open("/")
    await visit.consent("denied")
    await visit.page.locator("[data-test=quick-add]").first.click()
    await visit.page.wait_for_selector("#cart-count:not([hidden])")


async def pay_by_card(visit: Visit) -> None:
    await look_around(visit)
    await visit.open("/checkout")
    await visit.fill_in_address()
    await visit.page.check("#pay-card")
    await visit.page.click("#place-order")
    await visit.page.click("#pay")
    await visit.page.wait_for_url("**/orders/A-*")


async def buy(visit: Visit) -> None:
    await visit.buy()


KINDS = [look_around, log_in, buy, buy_without_library, buy_without_hits, decline, pay_by_card]


async def read(outbox: Outbox) -> dict[tuple[str, str], Summary]:
    today = int(time.time() // DAY)
    summaries = summarize(await outbox.figures(today - 1, today))
    return {(each.destination, each.event_name): each for each in summaries}


async def test_figures_are_those_of_the_wire(
    browser: Browser, sandbox: Sandbox, shops: tuple[str, list[Any]]
) -> None:
    outbox_url, processes = shops
    gate = asyncio.Semaphore(AT_ONCE)

    async def make(number: int) -> None:
        _, url = processes[number % len(processes)]
        async with gate, await open_context(browser) as context:
            visit = Visit(await context.new_page(), sandbox, url)
            await KINDS[number % len(KINDS)](visit)
            # Then the script has told what became of the last copies.
            await visit.page.wait_for_function("!document.cookie.includes('_bridge_t_')")
            await visit.page.wait_for_load_state("networkidle")

    await asyncio.gather(*(make(number) for number in range(VISITS)))
    outbox = open_outbox(outbox_url)

    async def is_settled() -> bool:
        return all(
            not each.waiting
            for each in (await outbox.count(time.time(), with_delivered=True)).values()
        )

    await poll(is_settled, "an empty outbox")
    for process, _ in processes:
        process.terminate()
        process.wait(30)
    figures = await read(outbox)
    await outbox.close()

    actions = await sandbox.actions()
    arrived = [action for action in actions if action["server"]]
    names = {action["event_name"] for action in arrived}
    assert names == {
        "PageView", "ViewContent", "AddToCart", "InitiateCheckout", "Purchase",
    }  # fmt: skip
    for name in names:
        found = figures[META, name]
        here = [action for action in arrived if action["event_name"] == name]
        assert (found.delivered, found.dead, found.lost) == (len(here), 0, 0)
        hits = sum(bool(each["browser"]) for each in actions if each["event_name"] == name)
        merged = sum(bool(action["browser"]) for action in here)
        # Of a page that is left before an answer came, the script knows no more. One who denies
        # takes back what waits, and not the hits that were sent before.
        sent, unknown = (found.copies.get(state, 0) for state in ("sent", "unknown"))
        assert sent <= hits, (name, found.copies)
        assert merged <= sent + unknown, (name, found.copies)
        assert sum(found.copies.values()) <= found.expected <= found.stored
    bought = [a["server"][0]["event"] for a in arrived if a["event_name"] == "Purchase"]
    purchases = figures[META, "Purchase"]
    value = sum(Decimal(str(event["custom_data"]["value"])) for event in bought)
    assert purchases.value == {"EUR": value}
    carried = Counter(key for event in bought for key in event["user_data"])
    assert {key: number for key, number in purchases.coverage.items() if key != "ipv6"} == {
        key: carried[key] for key in purchases.coverage if key != "ipv6"
    }
    kinds = Counter(KINDS[number % len(KINDS)] for number in range(VISITS))
    assert figures["", "AddToCart"].skipped == {"consent_denied": kinds[decline]}
    blocked = kinds[buy_without_library] + kinds[buy_without_hits]
    assert purchases.copies == {"sent": kinds[buy], "blocked": blocked}
    assert purchases.stored - purchases.expected == kinds[pay_by_card]
