"""One ASGI scope as a ``Capture``: what a single request shows of its visitor.

One pass over the raw headers keeps the few that matter; each value is decoded when it is first
asked for. Every header is the browser's word and is checked before it is believed; nothing here
raises, whatever the bytes.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal
from urllib.parse import unquote

from bridge.addresses import (
    IPAddress,
    IPNetwork,
    is_public,
    is_trusted,
    parse_forwarded,
    parse_ip,
    walk,
)
from bridge.cookies import (
    CookieDomain,
    find_cookie_domain,
    parse_browser_id,
    parse_host,
    read_click_id,
    read_cookie,
)
from bridge.urls import MAX_LENGTH, PRIVATE_PARAMETERS, clean_url

SESSION_COOKIE = b"_bridge"
READABLE_COOKIE = b"_bridge_x"
TWIN_COOKIE_PREFIX = b"_bridge_t_"
MAX_USER_AGENT_LENGTH = 512  # characters

FORWARDED_FOR = b"x-forwarded-for"
FORWARDED = b"forwarded"

_KEPT = frozenset(
    {
        b"accept",
        b"cookie",
        b"host",
        b"origin",
        b"purpose",
        b"referer",
        b"sec-fetch-dest",
        b"sec-fetch-mode",
        b"sec-fetch-site",
        b"sec-gpc",
        b"sec-purpose",
        b"user-agent",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-moz",
        b"x-purpose",
    }
)
_JOINED = {b"cookie": b"; ", FORWARDED_FOR: b", ", FORWARDED: b", "}
_ANONYMOUS_ID = re.compile(r"[A-Za-z0-9_-]{8,100}")

# Where a visitor is met, by Sec-Fetch-Dest: pages, and fetch and XHR (``empty``). What a page
# embeds is no such place, since a page starts dozens of those requests at once.
_MEETING_PLACES = frozenset({b"document", b"empty", b"iframe", b"frame", b"fencedframe"})


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureRules:
    """What a capture must know of the site.

    Attributes:
        trusted_proxies: Whose headers are believed.
        client_ip_header: The one that tells the client, lower-case: ``x-forwarded-for``,
            ``forwarded``, or a vendor's with a single address.
        private_parameters: Query parameters that never leave, normalised.
        cookie_domain: Where cookies live, instead of the registrable domain.
        extra_headers: More headers to keep, lower-case.
    """

    trusted_proxies: tuple[IPNetwork, ...] = ()
    client_ip_header: bytes = FORWARDED_FOR
    private_parameters: frozenset[str] = PRIVATE_PARAMETERS
    cookie_domain: str | None = None
    extra_headers: frozenset[bytes] = frozenset()

    @property
    def kept(self) -> frozenset[bytes]:
        """The headers worth keeping."""
        return _KEPT | self.extra_headers | {self.client_ip_header}


class Capture:
    """What one request shows: cookies, client address, user agent, page and click id.

    Attributes:
        method: The HTTP method, upper-case.
        path: The path asked for, below the app's mount.
        session_cookie: Raw bytes of our session cookie, or ``None``.
        readable_cookie: Raw bytes of our readable cookie, or ``None``.
    """

    def __init__(
        self, scope: MutableMapping[str, Any], rules: CaptureRules, kept: frozenset[bytes]
    ) -> None:
        headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name not in kept:
                continue
            if name not in headers:
                headers[name] = value
            elif name in _JOINED:
                headers[name] += _JOINED[name] + value
        self.method: str = scope["method"]
        self.path: str = scope["path"].removeprefix(scope.get("root_path", ""))
        self._scope = scope
        self._headers = headers
        self._rules = rules
        self._cookies = headers.get(b"cookie", b"")
        self.session_cookie = read_cookie(self._cookies, SESSION_COOKIE)
        self.readable_cookie = read_cookie(self._cookies, READABLE_COOKIE)

    def read_header(self, name: bytes) -> str | None:
        """Return a kept header's text."""
        value = self._headers.get(name)
        return None if value is None else value.decode("latin-1")

    def read_cookie(self, name: bytes) -> str | None:
        """Return a cookie's text."""
        value = read_cookie(self._cookies, name)
        return None if value is None else value.decode("latin-1")

    # Meta's and Segment's cookies

    @cached_property
    def fbp(self) -> str | None:
        """The ``_fbp`` cookie if the pixel would accept it, byte for byte."""
        return self._browser_id(b"_fbp")

    @cached_property
    def fbc(self) -> str | None:
        """The ``_fbc`` cookie if the pixel would accept it, byte for byte."""
        return self._browser_id(b"_fbc")

    def _browser_id(self, name: bytes) -> str | None:
        value = self.read_cookie(name)
        return value if value and parse_browser_id(value) else None

    @cached_property
    def ajs_anonymous_id(self) -> str | None:
        """Segment's anonymous id: analytics.js writes it bare, its classic version JSON-quoted."""
        text = unquote((self.read_cookie(b"ajs_anonymous_id") or "")[:300]).strip('"')
        return text if _ANONYMOUS_ID.fullmatch(text) else None

    @cached_property
    def twin_cookies_length(self) -> int:
        """Bytes of the twins that still wait in this browser."""
        return sum(map(len, self.twin_cookies))

    @cached_property
    def twin_cookies(self) -> list[bytes]:
        """The twins that still wait in this browser, each ``name=value``."""
        if TWIN_COOKIE_PREFIX not in self._cookies:
            return []
        parts = (part.strip() for part in self._cookies.split(b";"))
        return [part for part in parts if part.startswith(TWIN_COOKIE_PREFIX)]

    # The click

    @cached_property
    def click_id(self) -> str | None:
        """``fbclid`` of the page's URL, else of a same-site Referer's."""
        own = read_click_id(self._scope["query_string"])
        if own is not None:
            return own
        referer = self._headers.get(b"referer", b"")
        if b"fbclid=" not in referer or not self._is_same_site(referer):
            return None
        return read_click_id(referer[: 2 * MAX_LENGTH].partition(b"?")[2].partition(b"#")[0])

    # The connection, as the visitor sees it

    @cached_property
    def _peer(self) -> IPAddress | None:
        client = self._scope.get("client")
        return parse_ip(str(client[0])) if client else None

    @cached_property
    def _behind_proxy(self) -> bool:
        return is_trusted(self._peer, self._rules.trusted_proxies)

    @cached_property
    def _forwarded(self) -> list[dict[str, str]]:
        """The ``Forwarded`` header's elements, if that is the one to believe."""
        if not self._behind_proxy or self._rules.client_ip_header != FORWARDED:
            return []
        return parse_forwarded(self.read_header(FORWARDED) or "")

    @cached_property
    def client_ip(self) -> str | None:
        """The visitor's public address; private and documentation addresses are ``None``."""
        address = self._peer
        if self._behind_proxy:
            address = walk(address, self._hops, self._rules.trusted_proxies)
        return str(address) if is_public(address) else None

    @cached_property
    def _hops(self) -> list[str]:
        if self._rules.client_ip_header == FORWARDED:
            return [element.get("for", "") for element in self._forwarded]
        text = self.read_header(self._rules.client_ip_header)
        return text.split(",") if text and text.strip() else []

    def _forwarded_value(self, parameter: str, header: bytes) -> str | None:
        """Return what the nearest trusted proxy says of scheme or host, or ``None``."""
        if not self._behind_proxy:
            return None
        if self._rules.client_ip_header == FORWARDED:
            return next((e[parameter] for e in reversed(self._forwarded) if parameter in e), None)
        text = self.read_header(header)
        return None if text is None else text.rpartition(",")[2].strip()

    @cached_property
    def scheme(self) -> Literal["http", "https"]:
        """The scheme as the visitor saw it."""
        told = self._forwarded_value("proto", b"x-forwarded-proto")
        scheme = self._scope.get("scheme", "http") if told is None else told.lower()
        return "https" if scheme == "https" else "http"

    @cached_property
    def _authority(self) -> bytes:
        told = self._forwarded_value("host", b"x-forwarded-host")
        return self._headers.get(b"host", b"") if told is None else told.encode("latin-1")

    @cached_property
    def host(self) -> str | None:
        """The host as the visitor saw it: lower-case, no port; ``None`` if malformed."""
        return parse_host(self._authority)

    @cached_property
    def cookie_domain(self) -> CookieDomain:
        """Where this visitor's cookies live."""
        fixed = self._rules.cookie_domain
        if fixed and self.host and (self.host == fixed or self.host.endswith("." + fixed)):
            return CookieDomain(fixed, fixed.count("."))
        return find_cookie_domain(self.host) if self.host else CookieDomain(None, 0)

    # The user agent

    @cached_property
    def user_agent(self) -> str | None:
        """The ``User-Agent`` header, control characters removed, at most 512 characters."""
        text = (self.read_header(b"user-agent") or "")[:MAX_USER_AGENT_LENGTH]
        return "".join(c for c in text if c.isprintable()).strip() or None

    @cached_property
    def speculation(self) -> Literal["prefetch", "prerender"] | None:
        """Whether the browser only fetches ahead: nobody may ever see the answer.

        Source: WICG, "Speculation Rules"; Fetch, "Sec-Purpose", read 2026-11-23.
        """
        purpose = self._headers.get(b"sec-purpose", b"").lower()
        if b"prerender" in purpose:
            return "prerender"
        older = (self._headers.get(name, b"").lower() for name in (b"purpose", b"x-moz"))
        preview = self._headers.get(b"x-purpose", b"").lower() == b"preview"
        return "prefetch" if preview or b"prefetch" in {purpose[:8], *older} else None

    @cached_property
    def asks_for_privacy(self) -> bool:
        """Whether Global Privacy Control is on.

        Source: W3C, "Global Privacy Control", section "The Sec-GPC Header", read 2026-11-23.
        """
        return self._headers.get(b"sec-gpc", b"").strip() == b"1"

    # What is asked for

    @cached_property
    def is_navigation(self) -> bool:
        """Whether the browser is about to show the answer as a page."""
        mode = self._headers.get(b"sec-fetch-mode")
        if mode is not None:
            return mode == b"navigate"
        return b"text/html" in self._headers.get(b"accept", b"")

    @cached_property
    def is_page_load(self) -> bool:
        """Whether a new page begins with the answer: not a form's POST, which ends one."""
        return self.is_navigation and self.method in ("GET", "HEAD")

    @cached_property
    def is_meeting_place(self) -> bool:
        """Whether the answer may carry cookies: a page or a fetch, not an image or a style."""
        return self._headers.get(b"sec-fetch-dest", b"empty") in _MEETING_PLACES

    @cached_property
    def is_cross_site(self) -> bool:
        """Whether another site's page sent this, by ``Sec-Fetch-Site``, else by ``Origin``."""
        site = self._headers.get(b"sec-fetch-site")
        if site is not None:
            return site not in (b"same-origin", b"same-site", b"none")
        origin = self._headers.get(b"origin")
        return origin is not None and not self._is_same_site(origin)

    @cached_property
    def url(self) -> str | None:
        """The URL asked for, as the visitor saw it; ``None`` without a valid host."""
        if self.host is None:
            return None
        raw = self._scope.get("raw_path") or self._scope["path"].encode("utf-8", "replace")
        url = b"%s://%s%s" % (self.scheme.encode(), self._authority, raw.partition(b"?")[0])
        query = self._scope["query_string"]
        return self.clean_url(url + b"?" + query if query else url)

    @cached_property
    def site_url(self) -> str | None:
        """The address of the site, as the visitor saw it; ``None`` without a valid host."""
        if self.host is None:
            return None
        return self.clean_url(b"%s://%s/" % (self.scheme.encode(), self._authority))

    @cached_property
    def referer(self) -> str | None:
        """The ``Referer`` header if it is a URL, without its private parts."""
        return self.clean_url(self._headers.get(b"referer", b""))

    @cached_property
    def page_url(self) -> str | None:
        """The page the visitor is on.

        A page load's own URL; for fetch, XHR and form posts the Referer's page, which is where the
        visitor was when it happened.
        """
        if self.is_page_load:
            return self.url
        if self.referer and self._is_same_site(self.referer.encode()):
            return self.referer
        return self.url if self.is_navigation else None

    @cached_property
    def referrer_url(self) -> str | None:
        """The page before ``page_url``, known only on a page load."""
        return self.referer if self.is_page_load else None

    def land(self, url: bytes) -> None:
        """Take the script's word for where the visitor landed, if it is a page of this site.

        Before consent nothing is kept in the browser, so the landing page's click comes this way.
        """
        clean = self.clean_own_url(url)
        if clean is not None:
            self.page_url = clean
            query = url.partition(b"#")[0].partition(b"?")[2]
            self.click_id = read_click_id(query) or self.click_id

    def clean_url(self, raw: bytes) -> str | None:
        """Return the URL ``raw`` without its private parts, or ``None`` if it is none."""
        return clean_url(raw, self._rules.private_parameters)

    def clean_own_url(self, raw: bytes) -> str | None:
        """Return ``raw`` as ``clean_url`` does if it is one of this site's pages."""
        clean = self.clean_url(raw)
        return clean if clean and self._is_same_site(clean.encode()) else None

    def _is_same_site(self, url: bytes) -> bool:
        authority = url.partition(b"://")[2].partition(b"/")[0].partition(b"?")[0]
        host = parse_host(authority.rpartition(b"@")[2])
        if host is None or self.host is None:
            return False
        domain = find_cookie_domain(self.host).domain
        return host == self.host or (
            domain is not None and find_cookie_domain(host).domain == domain
        )
