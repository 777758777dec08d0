"""The connection as the visitor sees it: address, scheme and host, through trusted proxies."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from bridge.addresses import (
    IPAddress,
    IPNetwork,
    is_public,
    is_trusted,
    parse_forwarded,
    parse_ip,
    walk,
)
from bridge.cookies import CookieDomain, find_cookie_domain, parse_host
from bridge.lazy import lazy
from bridge.urls import PRIVATE_PARAMETERS

FORWARDED_FOR = b"x-forwarded-for"
FORWARDED = b"forwarded"
PROXY_HEADERS = (b"x-forwarded-proto", b"x-forwarded-host")  # beside the one with the client's


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteRules:
    """What reading a request must know of the site.

    Attributes:
        trusted_proxies: Whose headers are believed.
        client_ip_header: The one that tells the client, lower-case: ``x-forwarded-for``,
            ``forwarded``, or a vendor's with a single address.
        cookie_domain: Where cookies live, instead of the registrable domain.
        private_parameters: Query parameters that never leave, normalised.
    """

    trusted_proxies: tuple[IPNetwork, ...] = ()
    client_ip_header: bytes = FORWARDED_FOR
    cookie_domain: str | None = None
    private_parameters: frozenset[str] = PRIVATE_PARAMETERS


@lru_cache(maxsize=4096)
def _read_public_ip(text: str) -> str | None:
    address = parse_ip(text)
    return str(address) if is_public(address) else None


class Connection:
    """One request's connection.

    Args:
        scope: The ASGI scope.
        headers: The request's headers, lower-case names.
        rules: Whom to believe.
    """

    def __init__(
        self,
        scope: MutableMapping[str, Any],
        headers: Mapping[bytes, bytes],
        rules: SiteRules,
    ) -> None:
        self._scope = scope
        self._headers = headers
        self._rules = rules

    def _text(self, name: bytes) -> str:
        return self._headers.get(name, b"").decode("latin-1")

    @lazy
    def _peer(self) -> IPAddress | None:
        client = self._scope.get("client")
        return parse_ip(str(client[0])) if client else None

    @lazy
    def _behind_proxy(self) -> bool:
        proxies = self._rules.trusted_proxies
        return bool(proxies) and is_trusted(self._peer, proxies)

    @lazy
    def _forwarded(self) -> list[dict[str, str]]:
        """The ``Forwarded`` header's elements, if that is the one to believe."""
        if not self._behind_proxy or self._rules.client_ip_header != FORWARDED:
            return []
        return parse_forwarded(self._text(FORWARDED))

    @lazy
    def client_ip(self) -> str | None:
        """The visitor's public address; private and documentation addresses are ``None``."""
        if not self._rules.trusted_proxies or not self._behind_proxy:
            client = self._scope.get("client")
            return _read_public_ip(str(client[0])) if client else None
        address = walk(self._peer, self._hops, self._rules.trusted_proxies)
        return str(address) if is_public(address) else None

    @property
    def _hops(self) -> list[str]:
        if self._rules.client_ip_header == FORWARDED:
            return [element.get("for", "") for element in self._forwarded]
        text = self._text(self._rules.client_ip_header)
        return text.split(",") if text.strip() else []

    def _told(self, parameter: str, header: bytes) -> str | None:
        """Return what the nearest trusted proxy says of scheme or host, or ``None``."""
        if not self._rules.trusted_proxies or not self._behind_proxy:
            return None
        if self._rules.client_ip_header == FORWARDED:
            return next((e[parameter] for e in reversed(self._forwarded) if parameter in e), None)
        return self._text(header).rpartition(",")[2].strip() if header in self._headers else None

    @lazy
    def scheme(self) -> Literal["http", "https"]:
        """The scheme as the visitor saw it."""
        told = self._told("proto", PROXY_HEADERS[0])
        scheme = self._scope.get("scheme", "http") if told is None else told.lower()
        return "https" if scheme == "https" else "http"

    @lazy
    def authority(self) -> bytes:
        """Host and port as the visitor saw them; anything, unless ``host`` is known."""
        told = self._told("host", PROXY_HEADERS[1])
        return self._headers.get(b"host", b"") if told is None else told.encode("latin-1")

    @lazy
    def host(self) -> str | None:
        """The host as the visitor saw it: lower-case, no port; ``None`` if malformed."""
        return parse_host(self.authority)

    @lazy
    def cookie_domain(self) -> CookieDomain:
        """Where this visitor's cookies live."""
        host, fixed = self.host, self._rules.cookie_domain
        if host is None:
            return CookieDomain(None, 0)
        if fixed and (host == fixed or host.endswith("." + fixed)):
            return CookieDomain(fixed, fixed.count("."))
        return find_cookie_domain(host)

    def is_same_site(self, url: bytes) -> bool:
        """Return whether ``url`` is on this request's registrable domain."""
        authority = url.partition(b"://")[2].partition(b"/")[0].partition(b"?")[0]
        host = parse_host(authority.rpartition(b"@")[2][:300])
        if host is None or self.host is None:
            return False
        domain = find_cookie_domain(self.host).domain
        return host == self.host or (
            domain is not None and find_cookie_domain(host).domain == domain
        )
