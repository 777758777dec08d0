"""The main path of the example shop in Firefox."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.pages.firefox import Tab, running_firefox
from tests.pages.scenes import ID, OURS, assert_pair, build_snippet
from tests.pages.test_journey import CLICK, assert_alike
from tests.pages.variants import SAID
from tests.pages.visits import HOST
from tests.servers import Sandbox, open_client, poll


@pytest.fixture(scope="module")
async def tab(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Tab]:
    async with running_firefox(tmp_path_factory.mktemp("firefox"), HOST) as tab:
        yield tab


# First: the other tests leave pages whose last reports come late.
@pytest.mark.parametrize(
    "said",
    [
        "nothing",
        "snippet",
        "limited before",
        "revoked, then granted",
        "external id",
        "money as text",
        "in other words",
        "a long hit",
    ],
)
async def test_pages_words_hold_for_both_copies_in_firefox(
    tab: Tab, sandbox: Sandbox, pages: str, said: str
) -> None:
    snippet, later = (calls and calls.replace("ID", ID) for calls in SAID[said])
    library = f"{sandbox.url}/en_US/fbevents.js"
    html = OURS + ((snippet and build_snippet(snippet, library)) or "")
    async with open_client(f"http://127.0.0.1:{pages.rpartition(':')[2]}") as client:
        await client.put("/shelf/firefox", content="<!doctype html><title>x</title>" + html)
    await tab.open(f"{pages}/?page=firefox")
    await tab.wait_for("!!(window.bridge && bridge.consent)")
    await tab.run(f"bridge.consent().then(() => {{ {later} }}); 0")

    async def have_arrived() -> list[dict[str, Any]] | None:
        actions = await sandbox.actions()
        return actions if len(actions) > 1 and all(a["merged"] for a in actions) else None

    for action in await poll(have_arrived, f"both copies of {said}"):
        assert_pair(action)


async def test_visit_and_purchase_count_once_in_firefox(
    tab: Tab, sandbox: Sandbox, shop: str
) -> None:
    # Firefox drops images that are on their way when a page is left: each step waits for its hits.
    await tab.open(f"{shop}/?fbclid={CLICK}")
    assert "Firefox" in await tab.run("navigator.userAgent")
    await counted(sandbox, PageView=1)
    await tab.click("[data-test=quick-add]")
    await counted(sandbox, PageView=1, AddToCart=1)
    await tab.open(f"{shop}/checkout")
    await counted(sandbox, PageView=2, AddToCart=1, InitiateCheckout=1)
    for field, value in {
        "#email": "Ada@Example.com",
        "#name": "Ada Lovelace",
        "#zip": "10115",
        "#city": "Berlin",
    }.items():
        await tab.fill(field, value)
    await tab.click("#place-order")
    await tab.wait_for("location.pathname.startsWith('/orders/A-')")
    order_id = (await tab.run("location.pathname")).rpartition("/")[2]
    actions = await counted(sandbox, PageView=3, AddToCart=1, InitiateCheckout=1, Purchase=1)
    for action in actions:
        assert_alike(action)
    [purchase] = [a for a in actions if a["event_name"] == "Purchase"]
    assert purchase["event_id"] == order_id
    assert purchase["server"][0]["event"]["user_data"]["fbc"].endswith(f".{CLICK}")
    assert tab.errors == []


async def test_event_of_a_page_that_is_left_keeps_its_server_copy_in_firefox(
    tab: Tab, sandbox: Sandbox, shop: str
) -> None:
    await tab.open(f"{shop}/products/boston-fern")
    await counted(sandbox, PageView=1, ViewContent=1)
    await tab.run("document.querySelector('#add-to-cart').requestSubmit(); 0")
    await tab.wait_for("location.pathname == '/cart'")

    async def arrived() -> list[dict[str, Any]]:
        return [a for a in await sandbox.actions("AddToCart") if a["server"]]

    [action] = await poll(arrived, "the server copy")
    assert len(action["server"]) == 1
    assert len(action["browser"]) <= 1


async def counted(sandbox: Sandbox, **counts: int) -> list[dict[str, Any]]:
    """The actions, once each name was counted so often and every pair has both copies."""
    alone: list[Any] = []

    async def check() -> list[dict[str, Any]] | None:
        actions = await sandbox.actions()
        merged = [a["event_name"] for a in actions if a["merged"]]
        alone[:] = [
            (a["event_name"], len(a["browser"]), len(a["server"]))
            for a in actions
            if not a["merged"]
        ]
        return actions if {name: merged.count(name) for name in merged} == counts else None

    try:
        found: list[dict[str, Any]] = await poll(check, f"merged {counts}")
    except AssertionError as error:
        raise AssertionError(f"{error}; alone are {alone}") from None
    return found
