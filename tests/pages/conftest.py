"""Chromium in front of the example shop, of pages from HTML and the sandbox, each a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Playwright, Route

from tests.pages.scenes import ID, OTHER_ID, Scene, running_pages
from tests.pages.town import TLSScene, Town, finding, running_town
from tests.pages.visits import LONG_HOLD, SHORT_HOLD, Visit, open_context, running_shop
from tests.servers import Sandbox


@pytest.fixture(scope="session")
def shop(sandbox_process: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a shop whose server copies wait long for an acknowledgement."""
    folder = tmp_path_factory.mktemp("shop")
    with running_shop(folder, sandbox_process, LONG_HOLD) as (_, url):
        yield url


@pytest.fixture(scope="session")
def hasty_shop(sandbox_process: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a shop that hardly waits for acknowledgements."""
    folder = tmp_path_factory.mktemp("shop")
    with running_shop(folder, sandbox_process, SHORT_HOLD) as (_, url):
        yield url


@pytest.fixture(scope="session")
def pages(sandbox_process: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of pages from HTML."""
    with running_pages(tmp_path_factory.mktemp("pages"), sandbox_process) as url:
        yield url


@pytest.fixture(scope="session")
def asking_pages(sandbox_process: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of pages that wait for the visitor's choice."""
    folder = tmp_path_factory.mktemp("pages")
    with running_pages(folder, sandbox_process, asks=True) as url:
        yield url


@pytest.fixture
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    async with await open_context(browser) as context:
        yield context


@pytest.fixture
async def visit(context: BrowserContext, sandbox: Sandbox, shop: str) -> Visit:
    return Visit(await context.new_page(), sandbox, shop)


@pytest.fixture
async def open_scene(browser: Browser, sandbox: Sandbox) -> AsyncIterator[Any]:
    """A function that opens the pages at an address in a new window."""
    contexts = []

    async def open_scene(url: str) -> Scene:
        contexts.append(await open_context(browser))
        return Scene(await contexts[-1].new_page(), sandbox, url)

    yield open_scene
    for context in contexts:
        await context.close()


@pytest.fixture
async def scene(open_scene: Any, pages: str) -> Scene:
    """A window on pages where collect never fails."""
    found: Scene = await open_scene(pages)
    await found.fail_collect()
    return found


@pytest.fixture
async def slow_scene(scene: Scene) -> Scene:
    """A window in which a stylesheet is slow: inline scripts below it wait."""

    async def answer(route: Route) -> None:
        await asyncio.sleep(0.7)
        await route.fulfill(body="", content_type="text/css")

    await scene.page.route("**/slow.css", answer)
    return scene


@pytest.fixture
async def banner_scene(
    open_scene: Any, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Scene]:
    """A window on pages whose banner keeps its answer in the cookie ``banner``."""
    with running_pages(tmp_path_factory.mktemp("pages"), sandbox.url, banner="banner") as url:
        yield await open_scene(url)


@pytest.fixture
async def two_pixels(
    open_scene: Any, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Scene]:
    """A window on pages with two pixels of ours."""
    folder = tmp_path_factory.mktemp("pages")
    with running_pages(folder, sandbox.url, pixels=f"{ID},{OTHER_ID}", hold=SHORT_HOLD) as url:
        yield await open_scene(url)


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """All servers over TLS."""
    with running_town(tmp_path_factory.mktemp("town")) as town:
        yield town


@pytest.fixture(scope="session")
async def tls_browser(playwright: Playwright, town: Town) -> AsyncIterator[Browser]:
    """A Chromium that finds the town's hosts."""
    async with finding(playwright, town) as chromium:
        yield chromium


@pytest.fixture
async def tls_scene(tls_browser: Browser, town: Town) -> AsyncIterator[TLSScene]:
    """A window on the town's shop."""
    sandbox = Sandbox(town.sandbox.plain)
    await sandbox.reset()
    async with await open_context(tls_browser) as context:
        yield TLSScene(await context.new_page(), sandbox, town)
