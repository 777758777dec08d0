"""Cookies: the ``Cookie`` header as far as it is ours, the domain they live on, ``Set-Cookie``."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import NamedTuple

from publicsuffixlist import PublicSuffixList

from bridge.browser.script_cookies import TWIN_COOKIE_PREFIX
from bridge.visitor.meta_cookies import is_browser_id, mend

MAX_AGE = 90 * 86_400  # seconds; the pixel's own lifetime, rolling

SESSION_COOKIE = b"_bridge"
READABLE_COOKIE = b"_bridge_x"
CHOICE_COOKIE = b"_bridge_c"
PAGE_COOKIE = b"_bridge_p"
LOWERED_COOKIE = b"_bridge_l"
MAX_HOST_LENGTH = 300  # bytes of a Host header: a name has 253, and a port follows
MAX_HEADER_LENGTH = 65_536  # bytes of a Cookie header; nothing is read of a longer one
MAX_SAME_NAME = 4  # cookies of one name that are looked at
MAX_CACHED_LENGTH = 6000  # bytes of a Cookie header; longer ones are parsed each time

# Read from disk here, since the first use is on the event loop.
_SUFFIXES = PublicSuffixList()

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
        domain = _SUFFIXES.privatesuffix(host)
        return CookieDomain(domain, domain.count(".") if domain else host.count("."))
    return CookieDomain(None, host.count("."))


def read_cookie(header: bytes, name: bytes) -> bytes | None:
    """Return the value of the first cookie called ``name`` in a raw ``Cookie`` header."""
    start, end = _find_cookie(header, name + b"=", 0)
    return None if start < 0 else header[start:end].rstrip()


def read_all(header: bytes, name: bytes) -> list[bytes]:
    """Return the values of the first four cookies called ``name``, which browsers may send.

    Two cookies of one name live on two domains, or at two paths.
    """
    values: list[bytes] = []
    start, end = _find_cookie(header, name + b"=", 0)
    while start >= 0 and len(values) < MAX_SAME_NAME:
        values.append(header[start:end].rstrip())
        start, end = _find_cookie(header, name + b"=", end)
    return values


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
    """The cookies of a ``Cookie`` header that we read.

    Attributes:
        header: The raw header.
        session: Our session cookie, or ``None``; of several the first.
        other_sessions: Further session cookies, set on other domains.
        readable: Our readable cookie, or ``None``.
        choice: Our consent cookie, or ``None``; of several a denial.
        page: Our cookie with the page loaded last, or ``None``.
        ajs_anonymous_id: Segment's anonymous id as analytics.js stored it, or ``None``.
        lowered: What the page itself said to the pixel, ``limited`` or ``pending``, or ``None``.
        uses_browser_ids: Whether the pixel sends ``fbp`` and ``fbc``: a page, or the pixel's
            settings, may have told it not to.
        fbp, fbc: Meta's cookies if the pixel would accept them, mended where they need it.
        sent_fbp, sent_fbc: The same, byte for byte.
        twins: The twins still waiting in this browser, each ``name=value``.
    """

    __slots__ = (
        "ajs_anonymous_id",
        "choice",
        "fbc",
        "fbp",
        "header",
        "lowered",
        "other_sessions",
        "page",
        "readable",
        "sent_fbc",
        "sent_fbp",
        "session",
        "twins",
        "uses_browser_ids",
    )

    def __init__(self, header: bytes) -> None:
        self.header = header
        sessions = read_all(header, SESSION_COOKIE)
        self.session = sessions[0] if sessions else None
        self.other_sessions = sessions[1:]
        self.readable = read_cookie(header, READABLE_COOKIE)
        choices = [value.decode("latin-1") for value in read_all(header, CHOICE_COOKIE)]
        self.choice = "denied" if "denied" in choices else next(iter(choices), None)
        self.page = read_cookie(header, PAGE_COOKIE)
        self.ajs_anonymous_id = self._ajs_anonymous_id()
        lowered = read_cookie(header, LOWERED_COOKIE) if LOWERED_COOKIE in header else None
        self.uses_browser_ids = lowered is None or not lowered.endswith(b"_")
        self.lowered = None if lowered is None else lowered.removesuffix(b"_").decode("latin-1")
        self.sent_fbp = self._browser_id(b"_fbp")
        self.sent_fbc = self._browser_id(b"_fbc")
        sent = (self.sent_fbp, self.sent_fbc) if self.uses_browser_ids else (None, None)
        self.fbp, self.fbc = (each and mend(each) for each in sent)
        parts = header.split(b";") if TWIN_COOKIE_PREFIX in header else []
        stripped = [part.strip() for part in parts]
        self.twins = [part for part in stripped if part.startswith(TWIN_COOKIE_PREFIX)]

    def text(self, name: bytes) -> str | None:
        """Return a cookie's text."""
        value = read_cookie(self.header, name)
        return None if value is None else value.decode("latin-1")

    def _ajs_anonymous_id(self) -> str | None:
        """Read Segment's id: analytics.js writes it bare, its classic version JSON-quoted."""
        raw = self.text(b"ajs_anonymous_id")
        if not raw or len(raw) > 50:
            return None
        text = raw.removeprefix("%22").removesuffix("%22").strip('"')
        return text if _ANONYMOUS_ID.fullmatch(text) else None

    def _browser_id(self, name: bytes) -> str | None:
        value = self.text(name)
        return value if value and is_browser_id(value) else None


# A visitor's header often stays the same from request to request.
_read_cached = lru_cache(maxsize=2048)(Cookies)


def read_cookies(header: bytes) -> Cookies:
    """Return the cookies of a raw ``Cookie`` header that we read."""
    if len(header) <= MAX_CACHED_LENGTH:
        return _read_cached(header)
    return Cookies(header if len(header) <= MAX_HEADER_LENGTH else b"")


def build_set_cookie(
    name: bytes,
    value: str,
    *,
    max_age: int | None,
    domain: str | None,
    secure: bool = False,
    http_only: bool = False,
) -> bytes:
    """Return one ``Set-Cookie`` line; ``value`` must hold cookie characters only."""
    attributes = build_attributes(max_age, domain, secure=secure, http_only=http_only)
    return name + b"=" + value.encode("ascii") + attributes


def build_attributes(
    max_age: int | None, domain: str | None, *, secure: bool = False, http_only: bool = False
) -> bytes:
    """Return what follows the value in a ``Set-Cookie`` line.

    Args:
        max_age: Seconds, or ``None`` for a cookie that ends with the browser's session.
        domain: Where it lives, or ``None`` for a host-only cookie.
        secure: Sent over HTTPS only.
        http_only: Hidden from scripts.
    """
    lifetime = "" if max_age is None else f"; Max-Age={max_age}"
    text = f"{lifetime}; Path=/; SameSite=Lax"
    if domain:
        text += f"; Domain=.{domain}"
    if secure:
        text += "; Secure"
    if http_only:
        text += "; HttpOnly"
    return text.encode("ascii")
