"""One ASGI scope as a ``Capture``: what a single request shows of its visitor.

One pass over the raw headers keeps the few that matter; each value is decoded when it is first
asked for. Every header is the browser's word and is checked before it is believed; nothing here
raises, whatever the bytes.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, MutableMapping
from functools import cached_property
from typing import Any, Literal
from urllib.parse import unquote

from bridge.cookies import (
    CookieDomain,
    find_cookie_domain,
    parse_browser_id,
    parse_host,
    read_click_id,
    read_cookie,
)
from bridge.errors import ConfigError

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

SESSION_COOKIE = b"_bridge"
READABLE_COOKIE = b"_bridge_x"
TWIN_COOKIE_PREFIX = b"_bridge_t_"
MAX_USER_AGENT_LENGTH = 512  # characters
MAX_URL_LENGTH = 2048  # characters
MAX_HOPS = 32  # entries of X-Forwarded-For that are looked at

_KEPT = frozenset(
    {
        b"accept",
        b"cookie",
        b"host",
        b"origin",
        b"referer",
        b"sec-fetch-dest",
        b"sec-fetch-mode",
        b"sec-fetch-site",
        b"user-agent",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
    }
)
_ANONYMOUS_ID = re.compile(r"[A-Za-z0-9_-]{8,100}")
_JOINED = {b"cookie": b"; ", b"x-forwarded-for": b", "}

# What a page embeds, by Sec-Fetch-Dest: such a request is no place to meet a visitor, since a page
# starts dozens of them at once. ``empty`` is fetch and XHR.
_MEETING_PLACES = frozenset({b"document", b"empty", b"iframe", b"frame", b"fencedframe"})


def parse_networks(cidrs: str | Iterable[str]) -> tuple[IPNetwork, ...]:
    """Return the networks that ``cidrs`` name: a list, or text separated by commas or spaces.

    Raises:
        ConfigError: One is no address or CIDR range.
    """
    texts = cidrs.replace(",", " ").split() if isinstance(cidrs, str) else list(cidrs)
    try:
        return tuple(ipaddress.ip_network(text) for text in texts)
    except ValueError as error:
        raise ConfigError(
            f"trusted_proxies: expected addresses or CIDR ranges such as 10.0.0.0/8: {error}"
        ) from None


def parse_ip(text: str) -> IPAddress | None:
    """Return the address in ``text``: port, brackets, zone and IPv4 mapping taken off."""
    text = text.strip()[:64]
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


class Capture:
    """What one request shows: cookies, client address, user agent, page and click id.

    Attributes:
        method: The HTTP method, upper-case.
        session_cookie: Raw bytes of our session cookie, or ``None``.
        readable_cookie: Raw bytes of our readable cookie, or ``None``.
    """

    def __init__(
        self, scope: MutableMapping[str, Any], trusted_proxies: tuple[IPNetwork, ...] = ()
    ) -> None:
        headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name not in _KEPT:
                continue
            if name not in headers:
                headers[name] = value
            elif name in _JOINED:
                headers[name] += _JOINED[name] + value
        self.method: str = scope["method"]
        self._scope = scope
        self._headers = headers
        self._trusted_proxies = trusted_proxies
        cookies = headers.get(b"cookie", b"")
        self.session_cookie = read_cookie(cookies, SESSION_COOKIE)
        self.readable_cookie = read_cookie(cookies, READABLE_COOKIE)

    def _text(self, name: bytes) -> str:
        return self._headers.get(name, b"").decode("latin-1")

    @cached_property
    def fbp(self) -> str | None:
        """The ``_fbp`` cookie if the pixel would accept it, byte for byte."""
        return self._browser_id(b"_fbp")

    @cached_property
    def fbc(self) -> str | None:
        """The ``_fbc`` cookie if the pixel would accept it, byte for byte."""
        return self._browser_id(b"_fbc")

    @cached_property
    def ajs_anonymous_id(self) -> str | None:
        """Segment's anonymous id: analytics.js writes it bare, its classic version JSON-quoted."""
        raw = read_cookie(self._headers.get(b"cookie", b""), b"ajs_anonymous_id")
        text = unquote(raw[:300].decode("latin-1")).strip('"') if raw else ""
        return text if _ANONYMOUS_ID.fullmatch(text) else None

    def _browser_id(self, name: bytes) -> str | None:
        raw = read_cookie(self._headers.get(b"cookie", b""), name)
        if raw is None:
            return None
        value = raw.decode("latin-1")
        return value if parse_browser_id(value) else None

    @cached_property
    def twin_cookies_length(self) -> int:
        """Bytes of the twins that still wait in this browser."""
        cookies = self._headers.get(b"cookie", b"")
        if TWIN_COOKIE_PREFIX not in cookies:
            return 0
        parts = (part.strip() for part in cookies.split(b";"))
        return sum(len(part) for part in parts if part.startswith(TWIN_COOKIE_PREFIX))

    @cached_property
    def click_id(self) -> str | None:
        """``fbclid`` of the page's URL, else of a same-site Referer's."""
        own = read_click_id(self._scope["query_string"])
        if own is not None:
            return own
        referer = self._headers.get(b"referer", b"")
        if b"fbclid=" not in referer or not self._is_same_site(referer):
            return None
        return read_click_id(referer[: 2 * MAX_URL_LENGTH].partition(b"?")[2].partition(b"#")[0])

    @cached_property
    def _peer(self) -> IPAddress | None:
        client = self._scope.get("client")
        return parse_ip(str(client[0])) if client else None

    @cached_property
    def _behind_proxy(self) -> bool:
        return self._is_trusted(self._peer)

    def _is_trusted(self, address: IPAddress | None) -> bool:
        if address is None:
            return False
        return any(
            address in network
            for network in self._trusted_proxies
            if network.version == address.version
        )

    @cached_property
    def client_ip(self) -> str | None:
        """The visitor's public address; private and documentation addresses are ``None``.

        Without trusted proxies only the connection counts. With them, ``X-Forwarded-For`` is
        walked from the right to the first address that is not a trusted proxy: what stands left
        of it is the client's own word.
        """
        address = self._peer
        if self._behind_proxy:
            hops = self._text(b"x-forwarded-for").split(",")[-MAX_HOPS:]
            for hop in reversed(hops):
                address = parse_ip(hop) if hop.strip() else address
                if not self._is_trusted(address):
                    break
        if address is None or not address.is_global or address.is_multicast:
            return None
        return str(address)

    @cached_property
    def user_agent(self) -> str | None:
        """The ``User-Agent`` header, control characters removed, at most 512 characters."""
        text = self._text(b"user-agent")[:MAX_USER_AGENT_LENGTH]
        return "".join(c for c in text if c.isprintable()).strip() or None

    @cached_property
    def scheme(self) -> Literal["http", "https"]:
        """The scheme as the visitor saw it."""
        scheme = self._scope.get("scheme", "http")
        if self._behind_proxy and b"x-forwarded-proto" in self._headers:
            scheme = self._text(b"x-forwarded-proto").rpartition(",")[2].strip().lower()
        return "https" if scheme == "https" else "http"

    @cached_property
    def _authority(self) -> bytes:
        if self._behind_proxy and b"x-forwarded-host" in self._headers:
            return self._headers[b"x-forwarded-host"].rpartition(b",")[2].strip()
        return self._headers.get(b"host", b"")

    @cached_property
    def host(self) -> str | None:
        """The host as the visitor saw it: lower-case, no port; ``None`` if malformed."""
        return parse_host(self._authority)

    @cached_property
    def cookie_domain(self) -> CookieDomain:
        """Where this visitor's cookies live."""
        return find_cookie_domain(self.host) if self.host else CookieDomain(None, 0)

    @cached_property
    def is_navigation(self) -> bool:
        """Whether the browser is about to show the answer as a page."""
        mode = self._headers.get(b"sec-fetch-mode")
        if mode is not None:
            return mode == b"navigate"
        return b"text/html" in self._headers.get(b"accept", b"")

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
        return clean_url(url + b"?" + query if query else url)

    @cached_property
    def referer(self) -> str | None:
        """The ``Referer`` header if it is a URL, without fragment."""
        return clean_url(self._headers.get(b"referer", b""))

    @cached_property
    def page_url(self) -> str | None:
        """The page the visitor is on.

        A page load's own URL; for fetch, XHR and form posts the Referer's page, which is where the
        visitor was when it happened.
        """
        if self.is_navigation and self.method in ("GET", "HEAD"):
            return self.url
        if self.referer and self._is_same_site(self.referer.encode()):
            return self.referer
        return self.url if self.is_navigation else None

    @cached_property
    def referrer_url(self) -> str | None:
        """The page before ``page_url``, known only on a page load."""
        return self.referer if self.is_navigation and self.method in ("GET", "HEAD") else None

    def clean_own_url(self, url: str | None) -> str | None:
        """Return ``url`` if it is one of this site's pages, without its fragment."""
        clean = clean_url((url or "").encode("utf-8", "replace"))
        return clean if clean and self._is_same_site(clean.encode()) else None

    def _is_same_site(self, url: bytes) -> bool:
        authority = url.partition(b"://")[2].partition(b"/")[0].partition(b"?")[0]
        host = parse_host(authority.rpartition(b"@")[2])
        if host is None or self.host is None:
            return False
        domain = self.cookie_domain.domain
        return host == self.host or (
            domain is not None and find_cookie_domain(host).domain == domain
        )


def clean_url(raw: bytes) -> str | None:
    """Return ``raw`` if it is an absolute http(s) URL of printable ASCII, without its fragment."""
    text = raw.partition(b"#")[0].decode("latin-1")
    if len(text) > MAX_URL_LENGTH or not text.isascii() or not text.isprintable() or " " in text:
        return None
    return text if text.startswith(("http://", "https://")) else None
