"""Who may talk to the sandbox: its own names and pages, not a web site that its user visits.

A site can have its own name resolve to this machine and then read what is here, and it can send
JSON to any address. Neither reaches a sandbox that looks at ``Host``, ``Origin`` and
``Sec-Fetch-Site``. A pixel's hits and the library come from the pages of shops: they may.

Source: Fetch Metadata Request Headers, W3C, read 2026-11-29.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

# What it stands in for, where a resolver leads those names here.
_STOOD_IN_FOR = (
    ".facebook.com",
    ".facebook.net",
    ".segment.io",
    ".segment.com",
    ".segmentapis.com",
)
_NAME = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_FOR_PAGES = ("/tr", "/tr/", "/en_US/fbevents.js")
_CONFIGURATIONS = "/signals/config/"


class GuardMiddleware:
    """Refuses a foreign ``Host``, and another site's page except as a pixel's.

    Args:
        app: The sandbox.
        hosts: Names that it has besides addresses, ``localhost`` and names without a dot, which no
            site of the internet has.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = ()) -> None:
        self.app = app
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 403."""
        is_request = scope["type"] == "http"
        reason = self._refuse(scope["path"], Headers(scope=scope)) if is_request else ""
        answer = PlainTextResponse(f"{reason}\n", 403) if reason else self.app
        await answer(scope, receive, send)

    def _refuse(self, path: str, headers: Headers) -> str:
        """Return why a request is refused; empty if it is not."""
        host = _read_host(f"http://{headers.get('host', '')}")
        if not self._is_ours(host):
            return "this is no host of the sandbox; --allow-host adds one"
        if path in _FOR_PAGES or path.startswith(_CONFIGURATIONS):
            return ""
        origin = headers.get("origin")
        is_navigation = headers.get("sec-fetch-mode") == "navigate" and origin is None
        is_foreign = headers.get("sec-fetch-site") == "cross-site" and not is_navigation
        if is_foreign or (origin is not None and not self._is_own_page(_read_host(origin), host)):
            return "pages of other sites may only send a pixel's hits"
        return ""

    def _is_own_page(self, page_host: str, host: str) -> bool:
        """Return whether a page is the sandbox's or this machine's; an address is no proof."""
        address = _read_address(page_host)
        is_elsewhere = address is not None and not address.is_loopback
        return page_host == host or (not is_elsewhere and self._is_ours(page_host))

    def _is_ours(self, host: str) -> bool:
        if _read_address(host) is not None:
            return True
        if not _NAME.fullmatch(host):
            return False
        is_local = "." not in host or host.endswith(".localhost")
        return is_local or host in self._hosts or host.endswith(_STOOD_IN_FOR)


def _read_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _read_host(url: str) -> str:
    """Return the host of ``url``, lower-case, without its last dot; empty if there is none."""
    try:
        return (urlsplit(url).hostname or "").removesuffix(".")
    except ValueError:
        return ""
