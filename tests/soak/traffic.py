"""A shop's traffic over HTTP at a steady rate: visits begin whether or not the shop keeps up.

A visit is an ad's landing, pages, fetches, the reports of our script, and now and then an order.
Each request has its moment beforehand; what it took is counted from that moment, so that a shop
which falls behind shows it. A browser keeps its cookies, and may come again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import msgspec

from tests.soak.http import Answer, Connection

# What a visitor does, and how many seconds after the visit began.
VISIT = (
    (0.0, "land"), (0.3, "report"), (0.5, "fetch"),
    (2.0, "look"), (2.3, "report"), (2.5, "fetch"),
    (4.0, "look"), (4.3, "report"), (4.5, "fetch"),
    (6.0, "add"), (7.0, "checkout"), (7.3, "report"),
    (8.0, "order"), (8.3, "report"),
)  # fmt: skip
VISIT_SECONDS = 9.0
RETURNING = 0.4  # share of visits by a browser that was here before
KNOWN = 20_000  # browsers that may come again
ORDERS = 0.25  # share of visits that end with an order: 2 % of the requests
SCRIPTLESS = 0.1  # share of browsers whose script is blocked: their copies wait for the hold's end
TWIN = b"_bridge_t_"

_AGENT = (
    b"host: shop.example.com\r\nx-forwarded-proto: https\r\naccept-language: en-GB,en;q=0.9\r\n"
    b"user-agent: Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
    b" Chrome/142.0.0.0 Safari/537.36\r\n"
)
_NAVIGATION = (
    b"accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\n"
    b"sec-fetch-mode: navigate\r\nsec-fetch-dest: document\r\n"
)
_FETCH = (
    b"accept: */*\r\nsec-fetch-site: same-origin\r\nsec-fetch-mode: cors\r\n"
    b"sec-fetch-dest: empty\r\n"
)
_FROM_AD = b"sec-fetch-site: cross-site\r\nreferer: https://l.facebook.com/\r\n"
_FROM_US = b"sec-fetch-site: same-origin\r\nreferer: https://shop.example.com/\r\n"


class Browser:
    """One visitor: an address, cookies, and what the script has to report."""

    def __init__(self, number: int, *, has_script: bool) -> None:
        self.address = b"93.%d.%d.%d" % (number >> 16 & 255, number >> 8 & 255, number & 255)
        self.cookies: dict[bytes, bytes] = {}
        self.has_script = has_script
        self.acks: list[dict[str, str]] = []

    def keep(self, answer: Answer) -> None:
        for name, value, attributes in answer.cookies:
            if b"max-age=0" in attributes.lower():
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value

    def fire_twins(self) -> None:
        """Take the twins out of the cookies, as the script does."""
        for name in [name for name in self.cookies if name.startswith(TWIN)]:
            del self.cookies[name]

    def write(self, line: bytes, headers: bytes, body: bytes = b"") -> bytes:
        """Return a request, such as of ``GET /``."""
        cookies = b"; ".join(b"%b=%b" % pair for pair in self.cookies.items())
        return b"%b HTTP/1.1\r\n%b%bx-forwarded-for: %b\r\n%b%b\r\n%b" % (
            line,
            _AGENT,
            headers,
            self.address,
            b"cookie: %b\r\n" % cookies if cookies else b"",
            b"content-length: %d\r\n" % len(body) if line.startswith(b"POST") else b"",
            body,
        )


class Traffic:
    """Visits to the shop, and what became of them.

    Args:
        port: The shop's.
        rate: Requests a second.
        events: How many event numbers there are.
        note: Called for each answer with the moment that was planned, by the loop's clock, the
            seconds from then on, and by how many of them this process itself was late.
        dice: Decides who comes and who orders.

    Attributes:
        accepted: 1 at the number of each event that the shop said it has.
        failures: Requests that were not answered as expected: how often, by what.
    """

    def __init__(
        self,
        port: int,
        rate: float,
        events: int,
        note: Callable[[float, float, float], None],
        dice: random.Random,
    ) -> None:
        self.accepted = bytearray(events)
        self.failures: dict[str, int] = {}
        self._port = port
        self._pause = len(VISIT) / rate
        self._note = note
        self._dice = dice
        self._known: list[Browser] = []
        self._browsers = self._numbers = 0

    async def run(self, begin: float, end: float) -> None:
        """Let visits begin from ``begin`` to ``end`` by the loop's clock, and wait for the last."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as visits:
            while begin < end:
                await asyncio.sleep(begin - loop.time())
                visits.create_task(self._visit(begin))
                begin += self._pause

    async def _visit(self, begin: float) -> None:
        loop = asyncio.get_running_loop()
        browser = self._choose_browser()
        orders = self._dice.random() < ORDERS
        connection = None
        try:
            for seconds, action in VISIT:
                due, late = begin + seconds, 0.0
                if (wait := due - loop.time()) > 0:
                    await asyncio.sleep(wait)
                    late = loop.time() - due
                if connection is None:
                    connection = await Connection.open(self._port)
                is_left_out = action == "order" and not orders
                act = self._fetch if is_left_out else getattr(self, f"_{action}")
                await act(connection, browser)
                self._note(due, loop.time() - due, late)
        except OSError as error:
            self._fail(type(error).__name__)
        finally:
            if connection is not None:
                connection.close()
        if len(self._known) < KNOWN:
            self._known.append(browser)

    def _choose_browser(self) -> Browser:
        dice, known = self._dice, self._known
        if known and dice.random() < RETURNING:
            place = dice.randrange(len(known))
            known[place], known[-1] = known[-1], known[place]
            return known.pop()
        self._browsers += 1
        return Browser(self._browsers, has_script=dice.random() >= SCRIPTLESS)

    # What a browser does

    async def _land(self, connection: Connection, browser: Browser) -> None:
        click = b"IwZXh0bgNhZW0BMABhZGlkAasrC1x9%032x" % self._dice.getrandbits(128)
        await self._ask(connection, browser, b"GET /?fbclid=%b" % click, _NAVIGATION + _FROM_AD)
        if b"_fbc" not in browser.cookies:
            self._fail("a landing without _fbc")

    async def _checkout(self, connection: Connection, browser: Browser) -> None:
        await self._ask(connection, browser, b"GET /checkout", _NAVIGATION + _FROM_US)

    async def _fetch(self, connection: Connection, browser: Browser) -> None:
        await self._ask(connection, browser, b"GET /stock", _FETCH)

    async def _look(self, connection: Connection, browser: Browser) -> None:
        line = b"GET /plants/%d"
        await self._trigger(connection, browser, line, _NAVIGATION + _FROM_US, "ViewContent")

    async def _add(self, connection: Connection, browser: Browser) -> None:
        await self._trigger(connection, browser, b"POST /cart/%d", _FETCH, "AddToCart")

    async def _order(self, connection: Connection, browser: Browser) -> None:
        headers = _NAVIGATION + _FROM_US
        await self._trigger(connection, browser, b"POST /orders/%d", headers, "Purchase")

    async def _trigger(
        self, connection: Connection, browser: Browser, line: bytes, headers: bytes, name: str
    ) -> None:
        """Ask for what tracks an event on the server; its twin is for the script."""
        number = self._take_number()
        answer = await self._ask(connection, browser, line % number, headers)
        if answer.status == 200:
            self.accepted[number] = 1
            browser.acks.append({"event_name": name, "event_id": f"soak-{number}", "state": "sent"})

    async def _report(self, connection: Connection, browser: Browser) -> None:
        """The page's PageView, and the acknowledgements of twins; a fetch where no script runs."""
        if not browser.has_script:
            browser.acks.clear()
            await self._fetch(connection, browser)
            return
        number = self._take_number()
        view = {"event_name": "PageView", "event_id": f"soak-{number}", "state": "sent"}
        url = {"url": "https://shop.example.com/", "age_ms": 12}
        report: dict[str, Any] = {"events": [{**view, **url}], "acks": browser.acks}
        browser.acks = []
        browser.fire_twins()
        headers = _FETCH + b"content-type: application/json\r\n"
        body = msgspec.json.encode(report)
        answer = await self._ask(connection, browser, b"POST /_bridge/collect", headers, body)
        if answer.status == 200:
            if msgspec.json.decode(answer.body)["stored"] == [view["event_id"]]:
                self.accepted[number] = 1
            else:
                self._fail("a report that was refused")

    async def _ask(
        self,
        connection: Connection,
        browser: Browser,
        line: bytes,
        headers: bytes,
        body: bytes = b"",
    ) -> Answer:
        answer = await connection.ask(browser.write(line, headers, body))
        browser.keep(answer)
        if answer.status != 200:
            self._fail(str(answer.status))
        return answer

    def _take_number(self) -> int:
        self._numbers += 1
        return self._numbers - 1

    def _fail(self, what: str) -> None:
        self.failures[what] = self.failures.get(what, 0) + 1
