"""What tests of the script share: pages from HTML, and what the sandbox received from them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import Page

from tests.pages.visits import HOST, LONG_HOLD, Visit
from tests.servers import Sandbox, find_free_port, open_client, poll, running

PAGES = count()
ID = "1234567890123456"
OTHER_ID = "9876543210987654"
OURS = '<script src="/_bridge/bridge.js"></script>'
OURS_ASYNC = '<script src="/_bridge/bridge.js" async></script>'
# Meta's own snippet, with another address of the library.
SNIPPET = """<script>
!function(f,b,e,v,n,t,s){if(f.fbq)return;n=f.fbq=function(){n.callMethod?
n.callMethod.apply(n,arguments):n.queue.push(arguments)};if(!f._fbq)f._fbq=n;
n.push=n;n.loaded=!0;n.version='2.0';n.queue=[];t=b.createElement(e);t.async=!0;
t.src=v;s=b.getElementsByTagName(e)[0];s.parentNode.insertBefore(t,s)}
(window,document,'script','LIBRARY');
CALLS</script>"""
INIT = f"fbq('init', '{ID}');"
VIEW = "fbq('track', 'PageView');"
REVOKE, GRANT = "fbq('consent', 'revoke');", "fbq('consent', 'grant');"
STYLE = '<link rel="stylesheet" href="/slow.css">'
LATE = """(() => {
    const script = document.createElement('script')
    script.src = '/_bridge/bridge.js'
    document.head.append(script)
    return new Promise((resolve) => script.addEventListener('load', resolve))
})()"""


every_place = pytest.mark.parametrize("place", ["first", "last", "async", "deferred"])


def build_page(scene: Scene, place: str, calls: str) -> str:
    """A page whose snippet makes ``calls``, with our tag at a place."""
    snippet = scene.snippet(calls)
    return {
        "first": OURS + snippet,
        "last": snippet + OURS,
        "async": OURS_ASYNC + STYLE + snippet,
        "deferred": OURS.replace(" src", " defer src") + snippet,
    }[place]


async def answer_banner(scene: Scene, answer: str) -> None:
    await scene.run(f"document.cookie = 'banner={answer}; Path=/'")


def build_snippet(calls: str, library: str) -> str:
    """Return Meta's snippet, which makes ``calls`` and loads ``library``."""
    return SNIPPET.replace("LIBRARY", library).replace("CALLS", calls)


def assert_pair(action: dict[str, Any]) -> None:
    """Both copies of ``action`` are there, once, and say the same."""
    [browser], [server] = action["browser"], action["server"]
    params, event = browser["params"], server["event"]
    user_data, custom_data = event["user_data"], event.get("custom_data", {})
    assert browser["eid"] == event["event_id"] == action["event_id"]
    assert params["ev"] == event["event_name"]
    assert browser["external_id"] == user_data["external_id"][0]
    assert browser["fbp"] == user_data.get("fbp")
    assert browser["fbc"] == user_data.get("fbc")
    assert (params.get("dpo") or None) == (event.get("data_processing_options") or [None])[0]
    assert params.get("cd[currency]") == custom_data.get("currency")
    assert float(params.get("cd[value]", 0)) == custom_data.get("value", 0)
    assert (action["counted"], action["merged_by"], action["repeats"]) == (1, "event_id", 0)
    assert browser["received_at_ms"] <= server["received_at_ms"]


@contextmanager
def running_pages(
    folder: Path,
    sandbox_url: str,
    *,
    pixels: str = ID,
    asks: bool = False,
    hold: str = LONG_HOLD,
    library: str = "/en_US/fbevents.js",
    library_url: str = "",
    banner: str = "",
    matching: bool = False,
) -> Iterator[str]:
    """Run the pages as a process; yield their address."""
    port = find_free_port()
    environ = {
        "PAGES_SANDBOX": sandbox_url,
        "PAGES_PIXELS": pixels,
        "PAGES_LIBRARY": library_url or sandbox_url + library,
        **({"PAGES_ASKS": "yes"} if asks or banner else {}),
        **({"PAGES_BANNER": banner} if banner else {}),
        **({"PAGES_MATCHING": "yes"} if matching else {}),
        "PAGES_HOLD": hold,
        "PAGES_OUTBOX": f"sqlite:///{folder}/bridge.db",
    }
    arguments = ["uvicorn", "tests.pages.pages:app", "--port", str(port), "--log-level", "error"]
    with running(arguments, port, environ):
        yield f"http://{HOST}:{port}"


class Scene(Visit):
    """A window on pages from HTML."""

    def __init__(self, page: Page, sandbox: Sandbox, url: str) -> None:
        super().__init__(page, sandbox, url)
        self.console: list[str] = []
        page.on("console", lambda message: self.console.append(message.text))

    def snippet(self, calls: str, library: str = "/en_US/fbevents.js") -> str:
        return build_snippet(calls, self.sandbox.url + library)

    async def place(self, html: str, path: str = "/") -> str:
        """Put HTML on the pages; return its address. It is short: hits with long ones differ."""
        name = str(next(PAGES))
        await self._call("PUT", f"/shelf/{name}", content="<!doctype html><title>x</title>" + html)
        return f"{self.url}{path}?page={name}"

    async def show(self, html: str, path: str = "/") -> None:
        await self.page.goto(await self.place(html, path), wait_until="domcontentloaded")

    async def hurry(self) -> None:
        """Shorten the script's timers of some seconds to a fifth, on pages opened from now on."""
        await self.page.add_init_script(
            """const wait = setTimeout
            window.setTimeout = (work, ms, ...given) =>
                wait(work, ms > 2e3 ? ms / 5 : ms, ...given)"""
        )

    async def run_at(self, path: str) -> None:
        """Open a path of the pages that has no HTML."""
        await self.page.goto(self.url + path)

    async def run(self, script: str) -> Any:
        return await self.page.evaluate(script)

    async def ready(self) -> None:
        """Wait until the script has its settings."""
        assert await self.consent()

    async def hits(self, *names: str) -> list[dict[str, Any]]:
        """Parameters of the hits, oldest first, once there are as many as names."""
        found: list[dict[str, Any]] = []

        async def check() -> bool:
            copies = [copy for a in await self.sandbox.actions() for copy in a["browser"]]
            copies.sort(key=lambda copy: (int(copy["params"]["ts"]), int(copy["params"]["ec"])))
            found[:] = [copy["params"] for copy in copies]
            return len(found) >= len(names)

        try:
            await poll(check, f"{names}")
        finally:
            assert [hit["ev"] for hit in found] == list(names), self.console
        return found

    async def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        async with open_client(f"http://127.0.0.1:{self.url.rpartition(':')[2]}") as client:
            return await client.request(method, path, **options)

    async def fail_collect(self, *faults: dict[str, Any]) -> None:
        await self._call("PUT", "/faults", json=list(faults))

    async def reports(self) -> list[dict[str, Any]]:
        """The reports that collect got, and the status it answered, oldest first."""
        found: list[dict[str, Any]] = (await self._call("GET", "/reports")).json()
        return found

    async def reported(self, event_id: str) -> str:
        """The state that the script reported for an event or a twin, once it did."""

        async def check() -> str | None:
            for report in await self.reports():
                for each in [*report["events"], *report["acks"]]:
                    if each["event_id"] == event_id and report["status"] == 200:
                        return str(each.get("state"))
            return None

        state: str = await poll(check, f"a report of {event_id}")
        return state
