"""The dashboard in a browser: what is seen, pressed, found and saved."""

from __future__ import annotations

import csv
import json
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import uvicorn
from httpx import AsyncClient
from playwright.async_api import Browser, Page, Route, expect

from bridge.cli.dashboard import build_app
from bridge.dashboard import kept
from bridge.destinations.base import Destination
from bridge.outbox import SQLiteOutbox
from bridge.outbox.base import Circuit, Figure
from tests.chromium import open_live_page
from tests.dashboard.shelf import CURRENCY, DEST, HASH, MARKUP, bury, fill, make_delivery, today
from tests.factories import make_meta
from tests.servers import DEADLINE, Sandbox


class Desk:
    """Somebody in front of the dashboard of an outbox."""

    def __init__(self, page: Page, url: str, outbox: SQLiteOutbox) -> None:
        self.page = page
        self.url = url
        self.outbox = outbox


@asynccontextmanager
async def opening(
    browser: Browser, outbox: SQLiteOutbox, folder: Path, *destinations: Destination
) -> AsyncIterator[Desk]:
    """A dashboard on a server, open in a browser."""
    served = SQLiteOutbox(folder / "bridge.db")  # its own, for it runs on a loop of its own
    app = build_app(served, destinations)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on", ws="none"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with open_live_page(browser, url) as page:
            yield Desk(page, url, outbox)
        server.should_exit = True
        thread.join(DEADLINE)


@pytest.fixture
async def desk(
    browser: Browser, outbox: SQLiteOutbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Desk]:
    monkeypatch.setattr(kept, "SECONDS", 0.0)
    monkeypatch.setattr(kept, "SHARE", 0)
    await fill(outbox)
    async with opening(browser, outbox, tmp_path) as desk:
        yield desk


async def test_figures_are_shown_as_text_and_filtered(desk: Desk, tmp_path: Path) -> None:
    page = desk.page
    await expect(page.locator("#count-stored")).to_have_text("16")
    await expect(page.locator("#share-merged")).to_have_text("75 %")
    await expect(page.locator("#sum-value")).to_have_text("59.50 EUR")
    await expect(page.locator("#skipped")).to_contain_text("consent_denied")
    row = page.locator("#names tr").first
    await expect(row).to_contain_text("1 blocked")
    assert await row.locator(".cell").first.get_attribute("title") == "e-mail: 42 % (5 of 12)"
    assert await page.locator("#names button").nth(1).inner_text() == MARKUP
    assert await page.title() == "Bridge"
    await expect(page.locator(".chart .day")).to_have_count(30)

    await page.locator(".chart .day").nth(28).click()
    await expect(page.locator("#count-stored")).to_have_text("2")
    await page.locator("#unfilter").click()
    await page.locator("#names button").nth(1).click()
    await expect(page.locator("#count-stored")).to_have_text("4")
    await page.reload()
    await expect(page.locator("#count-stored")).to_have_text("4")
    await page.locator("#unfilter").click()
    await page.locator("#filter-problems").check()
    await expect(page.locator("#names tr")).to_have_count(1)
    await page.locator("#unfilter").click()
    await expect(page.locator("#names tr")).to_have_count(2)

    async with page.expect_download() as download:
        await page.locator("#save-events").click()
    path = tmp_path / "events.csv"
    await (await download.value).save_as(path)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert {row["event_id"] for row in rows} == {"A-1", "A-2", "L-1", "V-2", "'=V-1"}
    async with page.expect_download() as download:
        await page.locator("#save-figures").click()
    await (await download.value).save_as(path)
    first = next(csv.DictReader(path.read_text().splitlines()))
    assert (first["event_name"], first["sent"], first["value_EUR"]) == ("Purchase", "6", "59.5")


async def test_dead_letters_are_tried_again_and_deleted(desk: Desk) -> None:
    page = desk.page
    row = page.locator("#dead tr", has_text="three letters")
    await expect(row.locator("td").first).to_have_text("2")
    await row.get_by_role("button", name="Try again").click()
    await expect(page.locator("#dead-said")).to_have_text("2 events due again.")
    await expect(page.locator("#dead tr")).to_have_count(1)
    await page.get_by_role("button", name="Delete").click()
    await page.get_by_role("button", name="Really delete 1?").click()
    await expect(page.locator("#dead-none")).to_be_visible()
    assert await desk.outbox.list_dead() == []


async def test_event_has_a_page_that_hides_people(desk: Desk) -> None:
    page = desk.page
    await page.locator(".top input[type=search]").fill("A-1")
    await page.get_by_role("button", name="Open").click()
    await expect(page.locator(".event-card h2")).to_have_text("Purchase dead")
    await expect(page.locator(".event-card .remedy")).to_contain_text(CURRENCY)
    payload = await page.locator(".event-card pre").inner_text()
    assert '"aaaaaaaa…"' in payload
    assert HASH not in await page.content()
    assert "93.184.216.34" not in await page.content()
    await page.get_by_role("button", name="Try again").click()
    await expect(page.locator(".event-card h2")).to_have_text("Purchase waiting")
    await page.goto(f"{desk.url}/event?id=nobody")
    await expect(page.locator("#event")).to_contain_text("Nothing with this id waits or is dead")


async def test_page_is_live_on_a_phone_and_by_keyboard(desk: Desk) -> None:
    page = desk.page
    await page.set_viewport_size({"width": 390, "height": 800})
    assert await page.evaluate("document.documentElement.scrollWidth") == 390
    await desk.outbox.put([make_delivery("new-1", due=time.time() + 900)], time.time())
    await expect(page.locator("#events a")).to_have_count(6)  # the page asks again by itself
    await page.locator("#events-filters input").focus()
    await page.keyboard.type("new")
    await expect(page.locator("#events a")).to_have_count(1)
    await expect(page.locator("#events a")).to_have_text("new-1")
    await page.locator("#events a").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator(".event-card h2")).to_have_text("Purchase held")
    await page.emulate_media(color_scheme="dark")
    ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(15, 18, 26)"
    assert datetime.now(UTC).date().isoformat() in await page.locator(".event-card").inner_text()


async def test_long_texts_stay_on_a_phone(desk: Desk) -> None:
    page, day = desk.page, today()
    name, event_id, place = "N" * 100, "I" * 200, f"segment:{'D' * 100}"
    event = {
        "event_name": name,
        "event_time": int(time.time()),
        "action_source": "S" * 60,
        "user_data": {"em": [HASH]},
        "custom_data": {"value": 10**15, "currency": "EUR", "K" * 200: "V" * 400},
    }
    long = make_delivery(event_id, name, destination=place, body=json.dumps(event).encode())
    await bury(desk.outbox, "R" * 500, long)
    await desk.outbox.put([make_delivery("W" * 200, name, destination=place)], time.time())
    figures = [
        *((place, name, kind, 10**12) for kind in ("stored", "dead", "value.EUR", "delay.6")),
        ("", name, f"skipped.{'X' * 100}", 10**12),
    ]
    await desk.outbox.add_figures([Figure(day, *each) for each in figures])
    circuit = Circuit(destination=place, state="open", reason="C" * 500, since=1.0, until=2e9)
    await desk.outbox.save_circuit(circuit)
    await page.set_viewport_size({"width": 390, "height": 800})
    await page.goto(f"{desk.url}/#name={name}&destination={place}")
    await page.reload()
    await expect(page.locator("#events a")).to_have_count(2)
    await expect(page.locator("#dead tr")).to_have_count(1)
    assert await page.evaluate("document.documentElement.scrollWidth") == 390
    for box in await page.locator(".scrolls, .table, .card, .counters > div").all():
        if await box.is_visible():
            assert await box.evaluate("box => box.scrollWidth - box.clientWidth") <= 1
    await page.goto(f"{desk.url}/event?id={event_id}")
    await expect(page.locator(".event-card h2")).to_contain_text("dead")
    assert await page.evaluate("document.documentElement.scrollWidth") == 390
    await page.goto(f"{desk.url}/event?id={'u' * 200}")
    await expect(page.locator("#event")).to_contain_text("Nothing with this id")
    assert await page.evaluate("document.documentElement.scrollWidth") == 390


async def test_button_keeps_the_focus_and_its_question_while_counts_change(desk: Desk) -> None:
    async def ask_longer(route: Route) -> None:
        answer = await route.fetch()
        text = (await answer.text()).replace("SURE_MS = 5000", "SURE_MS = 120_000")
        await route.fulfill(response=answer, body=text)

    page = desk.page
    await page.route("**/page/dead.js", ask_longer)
    await page.reload()
    row = page.locator("#dead tr", has_text="three letters")
    await row.get_by_role("button", name="Delete").focus()
    await page.keyboard.press("Enter")
    sure = row.get_by_role("button", name="Really delete 2?")
    await expect(sure).to_be_focused()
    for number in range(4):
        await bury(desk.outbox, CURRENCY, make_delivery(f"new-{number}"))
    await bury(desk.outbox, "The token is bad (code 190)", *map(make_delivery, map(str, range(9))))
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # asks again
    await expect(row.locator("td").first).to_have_text("6")
    await expect(sure).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("#dead-said")).to_have_text("2 events deleted.")
    await expect(row.locator("td").first).to_have_text("4")
    left = {each.delivery.event_id for each in await desk.outbox.list_dead()}
    assert {f"new-{number}" for number in range(4)} <= left


async def test_filters_hold_for_dead_letters_and_their_buttons(desk: Desk) -> None:
    page = desk.page
    await bury(desk.outbox, CURRENCY, make_delivery("L-2", "Lead"))
    await page.goto(f"{desk.url}/#name=Lead")
    await page.reload()
    row = page.locator("#dead tr", has_text="three letters")
    await expect(row.locator("td").first).to_have_text("1")
    await row.get_by_role("button", name="Delete").click()
    await row.get_by_role("button", name="Really delete 1?").click()
    await expect(page.locator("#dead-said")).to_have_text("1 event deleted.")
    left = {each.delivery.event_id for each in await desk.outbox.list_dead()}
    assert left == {"A-1", "A-2", "L-1"}


async def test_button_says_that_there_are_more_and_how_many_it_leaves(desk: Desk) -> None:
    for start in range(0, 2100, 70):
        ids = (f"many-{number}" for number in range(start, start + 70))
        await bury(desk.outbox, "no such pixel", *map(make_delivery, ids))
    page = desk.page
    await page.reload()
    row = page.locator("#dead tr", has_text="no such pixel")
    await expect(row.locator("td").first).to_have_text("2,000+")
    await row.get_by_role("button", name="Delete").click()
    await row.get_by_role("button", name="Really delete 2,000 of 2,000+?").click()
    said = page.locator("#dead-said")
    await expect(said).to_have_text("2,000 events deleted; 100 left: press again.")
    assert len(await desk.outbox.list_dead(limit=5000)) == 103


async def test_days_of_the_chart_are_chosen_by_keyboard(desk: Desk) -> None:
    page = desk.page
    await page.locator(".chart .day").last.focus()
    await page.keyboard.press("ArrowLeft")
    await expect(page.locator(".chart .day").nth(28)).to_be_focused()
    await desk.outbox.add_figures([Figure(today() - 1, DEST, "Purchase", "stored", 1)])
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await expect(page.locator("#count-stored")).to_have_text("17")
    await expect(page.locator(".chart .day").nth(28)).to_be_focused()
    assert await page.locator(".chart [tabindex='0']").count() == 1
    await page.keyboard.press("Enter")
    await expect(page.locator("#count-stored")).to_have_text("3")


async def test_name_keeps_the_focus_while_its_figures_change(desk: Desk) -> None:
    page = desk.page
    await page.locator("#names button").first.focus()
    await desk.outbox.add_figures([Figure(today(), DEST, "Purchase", "stored", 1)])
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await expect(page.locator("#names tr").first).to_contain_text("13")
    await expect(page.locator("#names button").first).to_be_focused()


async def test_event_name_beside_long_advice_is_not_broken(
    browser: Browser, outbox: SQLiteOutbox, tmp_path: Path, sandbox: Sandbox
) -> None:
    pixel = make_meta(graph_url=sandbox.url)
    names = ["PageView", "Purchase", "ViewContent", "CompleteRegistration"]
    events = [
        {
            "event_name": name,
            "event_time": int(time.time()),
            "event_id": f"{name}-{number}",
            "action_source": "website",
            "event_source_url": "https://shop.example.com/",
            "user_data": {"em": [HASH], "client_user_agent": "UA"},
            "custom_data": {"value": 5, "currency": "EUR"},
        }
        for name in names
        for number in range(6)
    ]
    async with AsyncClient() as meta:
        request = pixel.build_request([json.dumps(event).encode() for event in events])
        await meta.post(request.url, content=request.content, headers=dict(request.headers))
    async with opening(browser, outbox, tmp_path, pixel) as desk:
        cells = desk.page.locator("#quality tbody th")
        await expect(cells).to_have_count(len(names))
        for width in (1400, 1100, 800):
            await desk.page.set_viewport_size({"width": width, "height": 900})
            for cell in await cells.all():
                lines = (
                    "e => { const r = new Range(); r.selectNodeContents(e);"
                    " return r.getClientRects().length }"
                )
                assert await cell.evaluate(lines) == 1, (width, await cell.inner_text())
            assert await desk.page.evaluate("document.documentElement.scrollWidth") <= width
