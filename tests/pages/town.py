"""Servers under Meta's own and our host names over TLS, and windows on their pages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
from playwright.async_api import Browser, Page, Playwright

from tests.chromium import running_chromium
from tests.pages.scenes import ID, Scene
from tests.pages.tls import Address, Certificate, make_certificate, running_server
from tests.servers import Sandbox, open_client

LIBRARY = "https://connect.facebook.net/en_US/fbevents.js"
SHOP, API = "https://www.shop.example.com", "https://api.example.com"
CACHED, PLAIN = "https://cached.example.com", "https://www.example.com"
HASTY, STRANGE = "https://hasty.example.com", "https://strange.example.com"
DOCUMENT = "<!doctype html><title>x</title>"
NONCE = "bm9uY2Ugb2YgYSB0ZXN0"


@dataclass(frozen=True)
class Town:
    """All servers, and how a browser finds them."""

    certificate: Certificate
    sandbox: Address
    pages: Address
    hasty: Address
    plain: Address
    cache: Address

    @property
    def rules(self) -> list[str]:
        hosts = {
            "connect.facebook.net": self.sandbox,
            "www.facebook.com": self.sandbox,
            SHOP: self.pages,
            API: self.pages,
            HASTY: self.hasty,
            PLAIN: self.plain,
            STRANGE: self.plain,
            CACHED: self.cache,
        }
        return [
            f"MAP {host.removeprefix('https://')} 127.0.0.1:{address.port}"
            for host, address in hosts.items()
        ]


@contextmanager
def running_town(folder: Path) -> Iterator[Town]:
    """All servers, each a process."""
    certificate = make_certificate(folder)
    with running_server("sandbox", certificate) as sandbox:
        settings = {
            "PAGES_SANDBOX": sandbox.plain,
            "PAGES_PIXELS": ID,
            "PAGES_LIBRARY": LIBRARY,
            "PAGES_ORIGINS": PLAIN,
            "PAGES_HOLD": "600",  # seconds: what arrives sooner was released by the script
            "PAGES_OUTBOX": f"sqlite:///{folder}/bridge.db",
        }
        hasty_settings = {
            **settings,
            "PAGES_HOLD": "0.5",
            "PAGES_OUTBOX": f"sqlite:///{folder}/hasty.db",
        }
        with (
            running_server("pages", certificate, **settings) as pages,
            running_server("pages", certificate, **hasty_settings) as hasty,
            running_server("plain", certificate) as plain,
            running_server(
                "cache", certificate, TLS_UPSTREAM=f"https://127.0.0.1:{pages.port}"
            ) as cache,
        ):
            yield Town(certificate, sandbox, pages, hasty, plain, cache)


def finding(
    playwright: Playwright, town: Town, *first_rules: str, **options: Any
) -> AbstractAsyncContextManager[Browser]:
    """A Chromium that finds the town's hosts."""
    trusted = f"--ignore-certificate-errors-spki-list={town.certificate.digest}"
    return running_chromium(playwright, [*first_rules, *town.rules], trusted, **options)


class TLSScene(Scene):
    """A window on pages over TLS."""

    def __init__(self, page: Page, sandbox: Sandbox, town: Town, url: str = SHOP) -> None:
        super().__init__(page, sandbox, url)
        self.town = town

    async def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        town = self.town
        others = {HASTY: town.hasty, PLAIN: town.plain, STRANGE: town.plain}
        place = others.get(self.url, town.pages)
        async with open_client(place.plain) as client:
            return await client.request(method, path, **options)

    async def help(self, tag: Any = None, policy: Any = None) -> tuple[str, str]:
        """What ``script_tag`` and ``csp_directives`` give for these arguments."""
        asked = {"tag": tag or {}, "policy": policy or {}}
        parameters = {name: msgspec.json.encode(value).decode() for name, value in asked.items()}
        async with open_client(self.town.pages.plain) as client:
            answer = await client.get("/helpers", params=parameters)
        found = answer.json()
        return found["tag"], found["policy"]

    async def put(self, name: str, html: str, **headers: str) -> None:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        await self._call("PUT", f"/shelf/{name}", json=[DOCUMENT + html, named])

    async def open_page(self, html: str, query: str = "", **headers: str) -> None:
        """Open a page of this HTML and these headers."""
        await self.put("page", html, **headers)
        await self.page.goto(f"{self.url}/p/page{query}", wait_until="domcontentloaded")

    async def open_tagged(self, **headers: str) -> None:
        """Open a page with the tag as the helper makes it."""
        tag, _ = await self.help()
        await self.open_page(tag, **headers)
