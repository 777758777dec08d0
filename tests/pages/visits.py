"""A visitor's window on the example shop, and what the sandbox learned from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, BrowserContext, Page, Request

from tests.servers import Sandbox, find_free_port, poll, running

HOST = "www.shop.example.com"
LONG_HOLD = "600"  # seconds: what arrives sooner was released by an acknowledgement
SHORT_HOLD = "0.2"
# A headless browser's own user agent counts as a robot's.
PERSON = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/156.0.0.{} Safari/537.36"
)
NUMBERS = count()
STEP_DEADLINE = 120.0  # seconds; bounds a step that hangs, not how fast the machine is


async def open_context(browser: Browser, **options: Any) -> BrowserContext:
    """A window of a new visitor, with a user agent that no other has."""
    context = await browser.new_context(user_agent=PERSON.format(next(NUMBERS)), **options)
    context.set_default_timeout(STEP_DEADLINE * 1000)
    return context


@contextmanager
def running_shop(folder: Path, sandbox_url: str, hold: str, **settings: str) -> Iterator[Any]:
    """The example shop as a process; yields it and its address."""
    port = find_free_port()
    environ = {
        "BRIDGE_GRAPH_URL": sandbox_url,
        "BRIDGE_PIXEL_SCRIPT_URL": f"{sandbox_url}/en_US/fbevents.js",
        "BRIDGE_OUTBOX_URL": f"sqlite:///{folder}/bridge.db",
        "BRIDGE_BROWSER_HOLD": hold,
        **settings,
    }
    with running(["example_app", "--port", str(port)], port, environ) as process:
        yield process, f"http://{HOST}:{port}"


class Visit:
    """One browser window, and what the sandbox learned from it."""

    def __init__(self, page: Page, sandbox: Sandbox, url: str) -> None:
        self.page = page
        self.sandbox = sandbox
        self.url = url
        self.errors: list[str] = []
        self.to_meta: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._note)

    def _note(self, request: Request) -> None:
        if request.url.startswith(self.sandbox.url):
            self.to_meta.append(request.url)

    async def open(self, path: str) -> None:
        await self.page.goto(self.url + path)

    async def consent(self, choice: str = "") -> str:
        """The visitor's consent, once the script knows it; after ``choice``, if given."""

        async def is_there() -> bool:
            # Not by wait_for_function: a policy without unsafe-eval forbids its second look.
            return bool(await self.page.evaluate("!!(window.bridge && bridge.consent)"))

        await poll(is_there, "the script")
        state: str = await self.page.evaluate("(choice) => bridge.consent(choice)", choice)
        return state

    async def cookies(self) -> set[str]:
        """The names of Bridge's and the pixel's cookies."""
        found = {cookie.get("name", "") for cookie in await self.page.context.cookies()}
        return {name for name in found if name.startswith(("_bridge", "_fb"))}

    async def storage(self) -> list[str]:
        keys: list[str] = await self.page.evaluate("Object.keys(localStorage)")
        return keys

    async def actions(self) -> list[dict[str, Any]]:
        """What happened, oldest first, without late server copies of an earlier visitor."""
        mine = await self.page.evaluate("navigator.userAgent")

        def is_late(action: dict[str, Any]) -> bool:
            agents = [copy["event"]["user_data"]["client_user_agent"] for copy in action["server"]]
            return not action["browser"] and mine not in agents

        return [action for action in await self.sandbox.actions() if not is_late(action)]

    async def counted(self, **counts: int) -> list[dict[str, Any]]:
        """The actions, once each name was counted so often and every pair has both copies."""

        async def check() -> list[dict[str, Any]] | None:
            actions = await self.actions()
            seen = dict.fromkeys(counts, 0)
            for action in actions:
                if action["merged"]:
                    seen[action["event_name"]] = seen.get(action["event_name"], 0) + 1
            return actions if seen == counts else None

        try:
            found: list[dict[str, Any]] = await poll(check, f"merged {counts}")
        except AssertionError as error:
            names = [
                (a["event_name"], a["event_id"], len(a["browser"]), len(a["server"]))
                for a in await self.actions()
            ]
            raise AssertionError(f"{error}; there are {names}, {self.errors}") from None
        return found

    async def fill_in_address(self) -> None:
        for field, value in {
            "#email": "Ada@Example.com",
            "#name": "Ada Lovelace",
            "#zip": "10115",
            "#city": "Berlin",
        }.items():
            await self.page.fill(field, value)

    async def buy(self) -> str:
        """Put a fern into the cart, order it, and return the order's id."""
        await self.open("/products/boston-fern")
        await self.page.click("#add-to-cart button")
        await self.page.wait_for_url("**/cart")
        await self.page.click("#go-to-checkout")
        await self.page.wait_for_url("**/checkout")
        await self.fill_in_address()
        await self.page.click("#place-order")
        await self.page.wait_for_url("**/orders/A-*")
        return self.page.url.rpartition("/")[2]
