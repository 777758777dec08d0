"""One ASGI scope as a ``Capture``: what a single request shows of its visitor.

Each value is decoded when it is first asked for. The browser can write anything into a header, so
each is checked before use; nothing here raises, whatever the bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from functools import lru_cache
from typing import Any, Literal

from bridge.events.urls import MAX_LENGTH, clean_url
from bridge.lazy import lazy
from bridge.visitor.connection import (
    FORWARDED,
    FORWARDED_FOR,
    MAX_AUTHORITY,
    Connection,
    Place,
    SiteRules,
    find_place,
    read_client_ip,
)
from bridge.visitor.cookies import Cookies
from bridge.visitor.meta_cookies import mend, read_click_id, renew_fbc

MAX_USER_AGENT_LENGTH = 512  # characters

SPECULATION_HEADERS = frozenset({b"purpose", b"sec-purpose", b"x-moz", b"x-purpose"})
_JOINED = {b"cookie": b"; ", FORWARDED_FOR: b", ", FORWARDED: b", "}

# By Sec-Fetch-Dest: pages, and fetch and XHR (``empty``), may set cookies. Images, styles and the
# like may not: a page requests dozens of them at once.
_COOKIE_DESTINATIONS = frozenset({b"document", b"empty", b"iframe", b"frame", b"fencedframe"})
_EMBEDDED = (b"image/", b"text/css", b"video/", b"audio/")  # how their Accept header begins


def _join(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return headers of which some came twice: lists are joined, else the first one counts."""
    joined: dict[bytes, bytes] = {}
    for name, value in headers:
        if name not in joined:
            joined[name] = value
        elif name in _JOINED:
            joined[name] += _JOINED[name] + value
    return joined


def _read_click_of_url(url: bytes) -> str | None:
    return read_click_id(url[: 2 * MAX_LENGTH].partition(b"?")[2].partition(b"#")[0])


@lru_cache(maxsize=2048)
def _clean_user_agent(raw: bytes) -> str | None:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    if not text.isprintable():
        text = "".join(c for c in text if c.isprintable())
    return text.strip() or None


class Capture:
    """What one request shows: cookies, connection, user agent, page and click id.

    Args:
        scope: The ASGI scope of an HTTP request.
        rules: How requests of the site are read.

    Attributes:
        method: The HTTP method, upper-case.
        scope: The ASGI scope.
        root_path: Where the app is mounted.
        path: The path below the app's mount; of a site below a path of its host, the host's.
        headers: The request's headers, lower-case names.
        is_navigation: Whether the browser will show the response as a page.
        is_page_load: Whether the response begins a new page: a form's POST ends one.
    """

    def __init__(self, scope: MutableMapping[str, Any], rules: SiteRules) -> None:
        raw = scope["headers"]
        headers: dict[bytes, bytes] = dict(raw)
        if len(headers) != len(raw):
            headers = _join(raw)
        self.method: str = scope["method"]
        self.scope = scope
        # Read now: a router writes its own mounts into the same scope.
        self.root_path: str = scope.get("root_path", "")
        self.path: str = scope["path"]
        if self.root_path:
            below = self.path.removeprefix(self.root_path)
            self.path = below if rules.cookie_path == "/" else self.root_path + below
        self.headers = headers
        mode = headers.get(b"sec-fetch-mode")
        self.is_navigation = (
            mode == b"navigate" if mode is not None else b"text/html" in headers.get(b"accept", b"")
        )
        self.is_page_load = self.is_navigation and self.method in ("GET", "HEAD")
        if self.is_page_load:
            self.cookies = Cookies(headers.get(b"cookie", b""))  # they are looked at in any case
        self._rules = rules

    @lazy
    def cookies(self) -> Cookies:
        """The ``Cookie`` header, as far as it is ours to read."""
        return Cookies(self.headers.get(b"cookie", b""))

    @lazy
    def connection(self) -> Connection:
        """Who connected, and where."""
        return Connection(self.scope, self.headers, self._rules)

    @lazy
    def place(self) -> Place:
        """Where the request was made, as the visitor saw it."""
        rules = self._rules
        if rules.trusted_proxies:
            return self.connection.place
        authority: bytes = self.headers.get(b"host", b"")
        return find_place(authority[:MAX_AUTHORITY], self.scope.get("scheme") == "https", rules)

    def is_from(self, ip: str | None) -> bool:
        """Return whether the visitor's address is ``ip``, which was seen before."""
        client = self.scope.get("client")
        if client and client[0] == ip and not self._rules.trusted_proxies:
            return True  # nothing has to be parsed
        return self.client_ip == ip

    @property
    def client_ip(self) -> str | None:
        """The visitor's public address; private and documentation addresses are ``None``."""
        if self._rules.trusted_proxies:
            return self.connection.client_ip
        return read_client_ip(self.scope)

    @property
    def cookie_path(self) -> str:
        """The path below which our cookies live."""
        return self._rules.cookie_path

    def read_header(self, name: bytes) -> str | None:
        """Return a header's text."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    @property
    def ajs_anonymous_id(self) -> str | None:
        """Segment's anonymous id, if the app sends events to Segment."""
        return self.cookies.ajs_anonymous_id if self._rules.has_segment else None

    def names_other_click(self, fbc: bytes | None) -> bool:
        """Return whether the page's URL, or the one before it, names another click than ``fbc``.

        Whichever site that one is of: nearly always it is the landing of this visit.

        Args:
            fbc: The cookie that the browser has, as it came.
        """
        query, referer = self.scope.get("query_string", b""), self.headers.get(b"referer", b"")
        if b"fbclid=" not in query and b"fbclid=" not in referer:
            return False
        named = read_click_id(query) or _read_click_of_url(referer)
        known = None if fbc is None else mend(fbc.decode("latin-1"))
        return renew_fbc(known, named, 0, 0) != known

    @lazy
    def click_id(self) -> str | None:
        """``fbclid`` of the page's URL, else of a same-site Referer's."""
        own = read_click_id(self.scope.get("query_string", b""))
        if own is not None:
            return own
        referer = self.headers.get(b"referer", b"")
        if b"fbclid=" not in referer or not self.connection.is_same_site(referer):
            return None
        return _read_click_of_url(referer)

    @lazy
    def user_agent(self) -> str | None:
        """The ``User-Agent`` header, control characters removed, at most 512 characters."""
        return _clean_user_agent(self.headers.get(b"user-agent", b"")[:MAX_USER_AGENT_LENGTH])

    @property
    def speculation(self) -> Literal["prefetch", "prerender"] | None:
        """Whether the browser only fetches ahead: nobody may ever see the response.

        Source: WICG, "Speculation Rules"; Fetch, "Sec-Purpose", read 2026-11-23.
        """
        if self.headers.keys().isdisjoint(SPECULATION_HEADERS):
            return None
        purpose = self.headers.get(b"sec-purpose", b"").lower()
        if b"prerender" in purpose:
            return "prerender"
        older = (self.headers.get(name, b"").lower() for name in (b"purpose", b"x-moz"))
        preview = self.headers.get(b"x-purpose", b"").lower() == b"preview"
        return "prefetch" if preview or b"prefetch" in {purpose[:8], *older} else None

    @property
    def asks_for_privacy(self) -> bool:
        """Whether Global Privacy Control is on.

        Source: W3C, "Global Privacy Control", section "The Sec-GPC Header", read 2026-11-23.
        """
        return self.headers.get(b"sec-gpc", b"").strip() == b"1"

    # What is asked for

    @property
    def may_set_cookies(self) -> bool:
        """Whether the response may set cookies: a page or a fetch, not an image or a style.

        A CORS preflight sends no cookies, and its response sets none. Over plain HTTP, and in
        Safari before 16.4, only ``Accept`` shows what the response is for.

        Source: W3C, "Fetch Metadata Request Headers": sent to trustworthy addresses only.
        """
        place = self.headers.get(b"sec-fetch-dest")
        if place is not None:
            may = place in _COOKIE_DESTINATIONS
        else:
            may = not self.headers.get(b"accept", b"").startswith(_EMBEDDED)
        return may and self.method != "OPTIONS"

    @property
    def is_cross_site_post(self) -> bool:
        """Whether another site's form was posted here, as after a payment or a login elsewhere."""
        site = self.headers.get(b"sec-fetch-site")
        return site == b"cross-site" and self.method not in ("GET", "HEAD")

    @property
    def is_cross_site(self) -> bool:
        """Whether another site's page sent this, by ``Sec-Fetch-Site``, else by ``Origin``."""
        site = self.headers.get(b"sec-fetch-site")
        origin = self.headers.get(b"origin")
        if site == b"same-site" and self._rules.shares_domain:
            return origin is None or not self.connection.is_same_site(origin)
        if site is not None:
            return site not in (b"same-origin", b"same-site", b"none")
        return origin is not None and not self.connection.is_same_site(origin)

    @property
    def url(self) -> str | None:
        """The URL asked for, as the visitor saw it; ``None`` without a valid host."""
        return None if self.place.host is None else self.clean_url(self.raw_url)

    @property
    def site_url(self) -> str | None:
        """The address of the site, as the visitor saw it; ``None`` without a valid host."""
        place = self.place
        return None if place.host is None else self.clean_url(place.origin + b"/")

    @property
    def raw_url(self) -> bytes:
        """The URL asked for, as it came."""
        scope = self.scope
        path = scope.get("raw_path") or scope["path"].encode("utf-8", "replace")
        if b"?" in path:
            path = path.partition(b"?")[0]
        url: bytes = self.place.origin + path
        query = scope.get("query_string")
        return url + b"?" + query if query else url

    @property
    def last_page_url(self) -> str | None:
        """The page that this browser loaded last, if it is one of this site's."""
        page = self.cookies.page
        return self.clean_own_url(page) if page else None

    @lazy
    def referer(self) -> str | None:
        """The ``Referer`` header without its private parts, if it is a URL."""
        return self.clean_url(self.headers.get(b"referer", b""))

    @property
    def comes_from_own_page(self) -> bool:
        """Whether the Referer is a page of this site."""
        return bool(self.referer and self.connection.is_same_site(self.referer.encode()))

    @lazy
    def page_url(self) -> str | None:
        """The page the visitor is on.

        For a page load its own URL; for fetch, XHR and form posts the Referer, the page the visitor
        was on when it happened.
        """
        if self.is_page_load:
            return self.url
        if self.comes_from_own_page:
            return self.referer
        return self.url if self.is_navigation else None

    @property
    def referrer_url(self) -> str | None:
        """The page before ``page_url``, known only on a page load."""
        return self.referer if self.is_page_load else None

    def land(self, url: bytes) -> None:
        """Take the landing page from the script, if it is a page of this site.

        Before consent nothing is stored in the browser, so its click id arrives this way.
        """
        clean = self.clean_own_url(url)
        if clean is not None:
            query = url.partition(b"#")[0].partition(b"?")[2]
            self.__dict__["click_id"] = read_click_id(query) or self.click_id
            self.__dict__["page_url"] = clean

    def clean_url(self, raw: bytes) -> str | None:
        """Return ``raw`` without its private parts, or ``None`` if it is not a URL."""
        return clean_url(raw, self._rules.private_parameters)

    def clean_own_url(self, raw: bytes) -> str | None:
        """Return ``raw`` without its private parts, or ``None`` if it is not on this site."""
        clean = self.clean_url(raw)
        return clean if clean and self.connection.is_same_site(clean.encode()) else None
