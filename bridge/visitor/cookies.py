"""Cookies: the ``Cookie`` header as far as it is ours, the domain they live on, ``Set-Cookie``."""

from __future__ import annotations

import ipaddress
import re
from functools import cache, lru_cache
from itertools import islice
from typing import Any, NamedTuple

from publicsuffixlist import PublicSuffixList

from bridge.browser.script_cookies import TWIN_COOKIE_PREFIX
from bridge.lazy import lazy
from bridge.visitor.meta_cookies import is_browser_id, mend

MAX_AGE = 90 * 86_400  # seconds; the pixel's own lifetime, rolling

SESSION_COOKIE = b"_bridge"
READABLE_COOKIE = b"_bridge_x"
CHOICE_COOKIE = b"_bridge_c"
PAGE_COOKIE = b"_bridge_p"
LOWERED_COOKIE = b"_bridge_l"
FBP_COOKIE = b"_fbp"
FBC_COOKIE = b"_fbc"
AJS_COOKIE = b"ajs_anonymous_id"  # Segment's
MAX_HOST_LENGTH = 300  # bytes of a Host header: a name has 253, and a port follows
MAX_HEADER_LENGTH = 65_536  # bytes of a Cookie header; nothing is read of a longer one
MAX_SAME_NAME = 4  # cookies of one name that are looked at
MAX_COOKIES = 1000  # that are looked at; Chrome keeps 180 of a domain

# Behind a semicolon, and one space at most: a space may be part of another one's value. What ends
# with a space ends before it.
_OURS = rb"(_bridge\w*|_fb[pc]|ajs_anonymous_id)=([^;]*)(?<! )"
_FIND = re.compile(rb"; ?" + _OURS).findall
_FIND_FIRST = re.compile(rb" ?" + _OURS).match
_DENIED = b"denied"
_WITHOUT_IDS = b"_"  # at the end of the page's word

# analytics.js makes a random UUID, version 4. Anything else could be somebody's user id.
_ANONYMOUS_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?|\[[0-9a-f:.]{2,45}\]")


class CookieDomain(NamedTuple):
    """Where our cookies live.

    Attributes:
        domain: The registrable domain, or ``None`` for a host-only cookie.
        subdomain_index: Part 1 of the ``_fbp`` and ``_fbc`` set there.
    """

    domain: str | None
    subdomain_index: int


def parse_host(raw: bytes) -> str | None:
    """Return the host of a ``Host`` header, lower-case, without its port; ``None`` if malformed."""
    return _parse_host(raw) if len(raw) <= MAX_HOST_LENGTH else None


@lru_cache(maxsize=1024)
def _parse_host(raw: bytes) -> str | None:
    text = raw.decode("latin-1").lower()
    host, colon, port = text.rpartition(":")
    if not colon or not (port == "" or (port.isascii() and port.isdigit())):
        host = text
    host = host.removesuffix(".")
    return host if _HOST.fullmatch(host) and ".." not in host else None


@cache
def load_suffixes() -> PublicSuffixList:
    """Return the public suffix list, which takes 40 ms to read."""
    return PublicSuffixList()


@lru_cache(maxsize=1024)
def find_cookie_domain(host: str) -> CookieDomain:
    """Return the registrable domain of ``host``, or a host-only place for IPs and single labels.

    The index is the one the pixel finds by trying the shortest domain first, so that both write
    the same cookie: 1 for ``www.example.com``, 2 for ``shop.example.co.uk``, 0 for ``localhost``
    and IPv6, 3 for ``127.0.0.1``.

    Args:
        host: Lower-case, without port, IPv6 in brackets.
    """
    if host.startswith("["):
        return CookieDomain(None, 0)
    try:
        ipaddress.ip_address(host)
    except ValueError:
        domain = load_suffixes().privatesuffix(host)
        return CookieDomain(domain, domain.count(".") if domain else host.count("."))
    return CookieDomain(None, host.count("."))


def read_cookie(header: bytes, name: bytes) -> bytes | None:
    """Return the value of the first cookie called ``name`` in a raw ``Cookie`` header."""
    start, end = _find_cookie(header, name + b"=", 0)
    return None if start < 0 else header[start:end].rstrip()


def _find_cookie(header: bytes, prefix: bytes, at: int) -> tuple[int, int]:
    """Return where the value behind ``prefix`` begins and ends; -1 if there is none from ``at`` on.

    Only ``;`` separates cookies: a space may be part of another one's value.

    Source: RFC 6265, section 5.4: browsers join with ``; ``.
    """
    start = header.find(prefix, at)
    while start > 0 and header[start - 2 : start] != b"; " and header[start - 1] != 0x3B:
        start = header.find(prefix, start + 1)
    if start < 0:
        return -1, -1
    start += len(prefix)
    end = header.find(b";", start)
    return start, len(header) if end < 0 else end


class Cookies:
    """The cookies of a ``Cookie`` header that we read: found in one pass, decoded when asked for.

    Attributes:
        header: The raw header; empty if it is longer than any browser's.
        raw: The values of our cookies by name; of several the first.
        has_repeated: Whether any came twice: from two domains, or two paths.
    """

    def __init__(self, header: bytes) -> None:
        self.header = header if len(header) <= MAX_HEADER_LENGTH else b""
        self._found: list[tuple[Any, ...]] = _FIND(self.header)
        found = self._found
        if first := _FIND_FIRST(self.header):
            found.insert(0, first.groups())
        self.raw: dict[bytes, bytes] = dict(found)
        self.has_repeated = len(self.raw) < len(found)
        if self.has_repeated:  # the first one counts
            self.raw = dict(reversed(found))

    @property
    def session(self) -> bytes | None:
        """Our session cookie, or ``None``; of several the first."""
        return self.raw.get(SESSION_COOKIE)

    @property
    def other_sessions(self) -> list[bytes]:
        """Further session cookies, set on other domains."""
        if not self.has_repeated:
            return []
        sessions = [value for name, value in self._found if name == SESSION_COOKIE]
        return sessions[1:MAX_SAME_NAME]

    @property
    def choice(self) -> str | None:
        """Our consent cookie, or ``None``; of several a denial."""
        value = self.raw.get(CHOICE_COOKIE)
        if value is None:
            return None
        return "denied" if (CHOICE_COOKIE, _DENIED) in self._found else value.decode("latin-1")

    @property
    def twins(self) -> list[bytes]:
        """The twins still waiting in this browser, each ``name=value``."""
        if TWIN_COOKIE_PREFIX not in self.header:
            return []
        twins = (pair for pair in self._found if pair[0].startswith(TWIN_COOKIE_PREFIX))
        return [b"%b=%b" % pair for pair in islice(twins, MAX_COOKIES)]

    @property
    def readable(self) -> bytes | None:
        """Our readable cookie, or ``None``."""
        return self.raw.get(READABLE_COOKIE)

    @property
    def page(self) -> bytes | None:
        """Our cookie with the page loaded last, or ``None``."""
        return self.raw.get(PAGE_COOKIE)

    @property
    def lowered(self) -> str | None:
        """What the page itself said to the pixel, ``limited`` or ``pending``, or ``None``."""
        value = self.raw.get(LOWERED_COOKIE)
        return None if value is None else value.removesuffix(_WITHOUT_IDS).decode("latin-1")

    @property
    def uses_browser_ids(self) -> bool:
        """Whether the pixel sends ``fbp`` and ``fbc``: it, or the page, may be set not to."""
        return not self.raw.get(LOWERED_COOKIE, b"").endswith(_WITHOUT_IDS)

    @lazy
    def sent_fbp(self) -> str | None:
        """Meta's cookie byte for byte, if the pixel would accept it."""
        return self._browser_id(FBP_COOKIE)

    @lazy
    def sent_fbc(self) -> str | None:
        """Meta's cookie byte for byte, if the pixel would accept it."""
        return self._browser_id(FBC_COOKIE)

    @lazy
    def fbp(self) -> str | None:
        """``sent_fbp``, mended where it needs it; ``None`` where the pixel sends none."""
        if FBP_COOKIE not in self.raw:
            return None
        return mend(self.sent_fbp) if self.sent_fbp and self.uses_browser_ids else None

    @lazy
    def fbc(self) -> str | None:
        """``sent_fbc``, mended where it needs it; ``None`` where the pixel sends none."""
        if FBC_COOKIE not in self.raw:
            return None
        return mend(self.sent_fbc) if self.sent_fbc and self.uses_browser_ids else None

    @lazy
    def ajs_anonymous_id(self) -> str | None:
        """Segment's id: analytics.js writes it bare, its classic version JSON-quoted."""
        raw = self.raw.get(AJS_COOKIE)
        if not raw or len(raw) > 50:
            return None
        text = raw.decode("latin-1").removeprefix("%22").removesuffix("%22").strip('"')
        return text if _ANONYMOUS_ID.fullmatch(text) else None

    def text(self, name: bytes) -> str | None:
        """Return a cookie's text."""
        value = read_cookie(self.header, name)
        return None if value is None else value.decode("latin-1")

    def _browser_id(self, name: bytes) -> str | None:
        value = self.raw.get(name)
        text = value.decode("latin-1") if value else None
        return text if text and is_browser_id(text) else None


def build_set_cookie(
    name: bytes,
    value: str,
    *,
    max_age: int | None,
    domain: str | None,
    path: str = "/",
    secure: bool = False,
    http_only: bool = False,
) -> bytes:
    """Return one ``Set-Cookie`` line; ``value`` must hold cookie characters only."""
    attributes = build_attributes(max_age, domain, path=path, secure=secure, http_only=http_only)
    return name + b"=" + value.encode("ascii") + attributes


class Attributes(NamedTuple):
    """What follows the value in the ``Set-Cookie`` lines of one place, by kind of cookie."""

    session: bytes
    readable: bytes
    browser_id: bytes
    page: bytes


def list_attributes(domain: str | None, path: str, *, secure: bool) -> Attributes:
    """Return what follows the values of our cookies; arguments as for ``build_attributes``."""
    return Attributes(
        build_attributes(MAX_AGE, domain, path=path, secure=secure, http_only=True),
        build_attributes(MAX_AGE, domain, path=path, secure=secure),
        # As the pixel sets them: without Secure, and for the whole host.
        build_attributes(MAX_AGE, domain),
        build_attributes(None, domain, path=path, secure=secure, http_only=True),
    )


def build_attributes(
    max_age: int | None,
    domain: str | None,
    *,
    path: str = "/",
    secure: bool = False,
    http_only: bool = False,
) -> bytes:
    """Return what follows the value in a ``Set-Cookie`` line.

    Args:
        max_age: Seconds, or ``None`` for a cookie that ends with the browser's session.
        domain: Where it lives, or ``None`` for a host-only cookie.
        path: Where it lives there.
        secure: Sent over HTTPS only.
        http_only: Hidden from scripts.
    """
    lifetime = "" if max_age is None else f"; Max-Age={max_age}"
    text = f"{lifetime}; Path={path}; SameSite=Lax"
    if domain:
        text += f"; Domain=.{domain}"
    if secure:
        text += "; Secure"
    if http_only:
        text += "; HttpOnly"
    return text.encode("ascii")
