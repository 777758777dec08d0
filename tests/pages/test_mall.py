"""One browser in two shops of one app: each pair merges at its own shop's pixel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.pages.scenes import assert_pair
from tests.pages.visits import Visit, open_context
from tests.servers import Sandbox, find_free_port, running

PIXELS = ["1234567890123456", "9876543210987654"]


@pytest.fixture
def port(tmp_path: Path, sandbox: Sandbox) -> Iterator[int]:
    port = find_free_port()
    environ = {"SANDBOX": sandbox.url, "OUTBOX": f"sqlite:///{tmp_path}/bridge.db"}
    command = ["uvicorn", "--log-level", "error", "--port", str(port), "tests.pages.mall:app"]
    with running(command, port, environ):
        yield port


@pytest.mark.parametrize(
    "places",
    [("a.shop.example.com", "b.shop.example.com"), ("mall.example.com/a", "mall.example.com/b")],
    ids=["hosts", "paths"],
)
async def test_a_visitor_of_two_shops_is_two(
    places: tuple[str, str], port: int, browser: Browser, sandbox: Sandbox
) -> None:
    async with await open_context(browser) as context:
        visit = Visit(await context.new_page(), sandbox, "")
        for number, place in enumerate(places, 1):
            host, _, path = place.partition("/")
            await visit.open(f"http://{host}:{port}/{path and path + '/'}")
            await visit.counted(PageView=2 * number - 1, Purchase=number - 1)
            await visit.page.click("#buy")
            await visit.counted(PageView=2 * number, Purchase=number)
        actions = await visit.actions()
        assert visit.errors == []
        people = []
        for number, pixel in enumerate(PIXELS):
            own = [each for each in actions if each["pixel_id"] == pixel]
            assert sorted(each["event_name"] for each in own) == [
                "PageView",
                "PageView",
                "Purchase",
            ]
            for action in own:
                assert_pair(action)
                [copy] = action["server"]
                people.append((number, copy["event"]["user_data"]["external_id"][0]))
        assert len(set(people)) == 2
        assert len({person for _, person in people}) == 2
