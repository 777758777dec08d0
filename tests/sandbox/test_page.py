"""The events page in a browser: what a developer sees, presses and saves."""

from __future__ import annotations

import csv
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from httpx import AsyncClient
from playwright.async_api import Browser, Page, expect

from bridge.sandbox import DEFAULT_ACCESS_TOKEN as TOKEN
from bridge.sandbox import DEFAULT_PIXEL_ID as ID
from tests.chromium import open_live_page
from tests.servers import poll

VISITOR = "fb.1.1790000000000.1"


class Desk:
    """A developer in front of the page, and an app that sends events."""

    def __init__(self, page: Page, client: AsyncClient) -> None:
        self.page = page
        self.client = client

    async def hit(self, name: str, event_id: str) -> None:
        params = {"id": ID, "ev": name, "eid": event_id, "fbp": VISITOR}
        await self.client.get("/tr/", params=params)

    async def send(self, name: str, event_id: str, **changes: Any) -> int:
        event = {
            "event_name": name,
            "event_time": int(time.time()),
            "event_id": event_id,
            "action_source": "website",
            "event_source_url": "http://localhost/",
            "user_data": {"fbp": VISITOR, "client_user_agent": "UA"},
            **changes,
        }
        answer = await self.client.post(
            f"/v26.0/{ID}/events", params={"access_token": TOKEN}, json={"data": [event]}
        )
        return answer.status_code

    async def names(self) -> list[str]:
        return await self.page.locator("#actions .id").all_inner_texts()

    async def shows(self, *event_ids: str) -> None:
        async def check() -> bool:
            return await self.names() == list(event_ids)

        await poll(check, f"{event_ids} in the list")


@pytest.fixture
async def desk(browser: Browser, port: int) -> AsyncIterator[Desk]:
    url = f"http://127.0.0.1:{port}"
    async with AsyncClient(base_url=url, trust_env=False) as client:
        await client.delete("/api/events")
        async with open_live_page(browser, url) as page:
            yield Desk(page, client)
        await client.delete("/api/events")


async def test_newcomer_gets_lines_to_copy(desk: Desk, port: int) -> None:
    lines = desk.page.locator("#lines")
    await expect(lines).to_contain_text(f"export BRIDGE_GRAPH_URL=http://127.0.0.1:{port}\n")
    await expect(lines).to_contain_text("export BRIDGE_ACCESS_TOKEN=sandbox-token\n")
    await desk.page.locator("#copy-lines").click()
    await expect(desk.page.locator("#copy-lines")).not_to_have_text("Copy")


async def test_filters_search_timeline_and_export(desk: Desk, tmp_path: Path) -> None:
    page = desk.page
    await desk.hit("ViewContent", "v-1")
    await desk.send("ViewContent", "v-1")
    await desk.send("Purchase", "=A-1", custom_data={"value": 5, "currency": "eur"})
    await desk.shows("=A-1", "v-1")
    tick = page.locator("details.action", has_text="=A-1").locator(".tick").first
    await expect(tick).to_have_text("–")
    await expect(tick).to_have_attribute("title", "browser copy: may not be expected")
    await desk.hit("Lead", "l-1")
    await desk.send("Purchase", "T-1", action_source="physical_store")
    custom = {"value": 5, "currency": "EUR"}
    await desk.send("Purchase", "T-1", action_source="physical_store", custom_data=custom)
    await desk.shows("T-1", "l-1", "=A-1", "v-1")
    webhook = page.locator("details.action", has_text="=A-1")
    await expect(webhook.locator(".why").first).to_contain_text(
        "none expected: tracked by a webhook"
    )
    await expect(webhook.locator(".tick").first).to_have_text("–")
    row = page.locator("#names tr", has_text="ViewContent")
    await expect(row.locator("td").nth(1)).to_contain_text("100 %")
    await expect(row.locator(".heat-5").first).to_have_attribute(
        "title", "browser id (fbp): 100 % (1 of 1)"
    )

    await page.locator("#filter-problems").check()
    await desk.shows("l-1")
    await page.locator("#unfilter").click()
    await page.locator("#filter-source").select_option("physical_store")
    await desk.shows("T-1")
    await page.reload()
    await desk.shows("T-1")
    await page.locator("#unfilter").click()
    await page.locator("#filter-q").fill("a-1")
    await desk.shows("=A-1")

    async with page.expect_download() as download:
        await page.locator("#save-csv").click()
    path = tmp_path / "events.csv"
    await (await download.value).save_as(path)
    [line] = csv.DictReader(path.read_text().splitlines())
    assert (line["event_id"], line["value"], line["state"]) == ("'=A-1", "5", "none_expected")

    await page.locator("#unfilter").click()
    await desk.shows("T-1", "l-1", "=A-1", "v-1")
    await page.locator("#actions summary").first.click()
    await page.locator("details[open] .about button").click()
    await expect(page.locator("#following")).to_contain_text(VISITOR)
    await desk.shows("v-1", "=A-1", "l-1", "T-1")


async def test_refused_request_opens_with_the_field_marked(desk: Desk) -> None:
    page = desk.page
    assert await desk.send("Lead", "x", user_data={"em": "a@example.com"}) == 400
    await page.locator("#refused summary").click()
    await expect(page.locator("#refused mark")).to_have_text('"em": "a@example.com"')
    await expect(page.locator("#refused .remedy")).to_contain_text("identify(email=…)")
    assert await desk.send("Purchase", "x", custom_data={"currency": "EUR"}) == 400
    await page.locator("#refused summary").first.click()
    await expect(page.locator("#refused mark").first).to_have_text("value is missing here")


async def test_buttons_make_meta_fail(desk: Desk) -> None:
    page = desk.page
    for button, status in (("#fault-500", 500), ("#fault-token", 401), ("#fault-refuse", 400)):
        await page.locator(button).click()
        await expect(page.locator("#faults-waiting .badge")).to_have_count(1)
        assert await desk.send("Lead", "x") == status
        # A refused event is refused until the faults are cleared: a batch is split meanwhile.
        assert await desk.send("Lead", "x") == (400 if status == 400 else 200)
        assert await desk.send("Lead", "y") == 200
        await expect(page.locator("#faults-waiting .badge")).to_have_count(0)
    await page.locator("#fault-block").click()
    await expect(page.locator("#fault-block")).to_have_attribute("aria-pressed", "true")
    await expect(page.locator("#faults-waiting .badge")).to_have_count(2)
    await page.locator("#fault-stop").click()
    await expect(page.locator("#fault-stop")).to_be_hidden()


async def test_tour_sees_what_has_come(desk: Desk) -> None:
    page = desk.page
    await page.locator("#tour-start").click()
    tour = page.locator("#tour")
    await expect(tour.locator("h2")).to_have_text("Look around")
    assert (
        await tour.locator("a").get_attribute("href") == "http://127.0.0.1:8000/?fbclid=demo-click"
    )
    await desk.hit("PageView", "p-1")
    await desk.send("PageView", "p-1")
    await expect(tour.locator(".done")).to_be_visible()
    await tour.get_by_role("button", name="Next").click()
    await tour.get_by_role("button", name="Block the pixel").click()
    await expect(page.locator("#faults-waiting .badge")).to_have_count(2)
    await desk.send("AddToCart", "c-1")
    await expect(tour.locator(".done")).to_be_visible()
    await tour.get_by_role("button", name="Next").click()
    await tour.get_by_role("button", name="Let the pixel through again").click()
    await expect(page.locator("#faults-waiting .badge")).to_have_count(0)
    await desk.send("Purchase", "A-1", custom_data={"value": 5, "currency": "EUR"})
    await expect(tour.locator(".done")).to_be_visible()
    await tour.get_by_role("button", name="Next").click()
    await tour.get_by_role("button", name="Open the Purchase").click()
    await expect(page.locator("#actions details[open]")).to_contain_text("A-1")
    await tour.get_by_role("button", name="Next").click()
    await expect(tour.locator("h2")).to_have_text("Decline")


async def test_page_fits_a_phone_and_turns_pages(desk: Desk) -> None:
    page = desk.page
    for number in range(55):
        await desk.hit("Lead", f"id-{number}")
    await page.set_viewport_size({"width": 390, "height": 800})
    await expect(page.locator("#pager span")).to_have_text("1–50 of 55")
    await page.locator("#pager").get_by_role("button", name="Older").click()
    await desk.shows(*(f"id-{number}" for number in range(4, -1, -1)))
    assert await page.evaluate("document.documentElement.scrollWidth") == 390
