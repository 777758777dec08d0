"""Fixtures of every test: no blocking call on the event loop, outboxes in a folder of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from playwright.async_api import Browser, Playwright, async_playwright

from bridge.outbox import SQLiteOutbox
from tests.chromium import LOCAL_HOSTS, running_chromium
from tests.servers import Sandbox, find_free_port, running

LONGEST = "visitor/test_memory.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest test: at the end all others would wait for it."""
    items.sort(key=lambda item: LONGEST not in item.nodeid)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def blockbuster() -> Iterator[BlockBuster]:
    """Fail any test in which the package blocks the event loop."""
    with blockbuster_ctx("bridge") as blocked:
        yield blocked


@pytest.fixture
async def outbox(tmp_path: Path) -> AsyncIterator[SQLiteOutbox]:
    outbox = SQLiteOutbox(tmp_path / "bridge.db")
    yield outbox
    await outbox.close()


@pytest.fixture(scope="session")
def sandbox_process() -> Iterator[str]:
    """The address of one sandbox process for the whole run."""
    port = find_free_port()
    pixels = ["--pixel-id", "1234567890123456", "--pixel-id", "9876543210987654"]
    with running(["bridge", "sandbox", "--port", str(port), *pixels], port):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
async def sandbox(sandbox_process: str) -> Sandbox:
    """The sandbox, empty and without faults."""
    sandbox = Sandbox(sandbox_process)
    await sandbox.reset()
    return sandbox


@pytest.fixture(scope="session")
async def playwright(anyio_backend: str) -> AsyncIterator[Playwright]:
    async with async_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="session")
async def browser(playwright: Playwright) -> AsyncIterator[Browser]:
    """One Chromium for the whole run; each test opens a context of its own."""
    async with running_chromium(playwright, LOCAL_HOSTS) as chromium:
        yield chromium
