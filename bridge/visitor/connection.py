"""The connection as the visitor sees it: address, scheme and host, through trusted proxies."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, ip_network
from typing import Any

from bridge.events.urls import PRIVATE_PARAMETERS
from bridge.lazy import lazy
from bridge.visitor.cookies import (
    MAX_HOST_LENGTH,
    Attributes,
    CookieDomain,
    find_cookie_domain,
    list_attributes,
    parse_host,
)
from bridge.visitor.ip import (
    UNIX,
    IPAddress,
    Peer,
    Proxies,
    is_public,
    is_trusted,
    parse_forwarded,
    parse_ip,
    read_public,
    walk,
)

FORWARDED_FOR = b"x-forwarded-for"
FORWARDED = b"forwarded"
PSEUDO_IPV4 = ip_network("240.0.0.0/4")
MAX_AUTHORITY = MAX_HOST_LENGTH + 1  # bytes: enough to see that a host is too long
PROXY_HEADERS = (b"x-forwarded-proto", b"x-forwarded-host")  # beside the one with the client's


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)  # a key of caches: compared by identity
class SiteRules:
    """How the requests of a site are read.

    Attributes:
        trusted_proxies: The proxies whose headers are believed; ``unix`` for whoever connects over
            a Unix socket.
        client_ip_header: Their header with the client's address, lower-case: ``x-forwarded-for``,
            ``forwarded``, or a vendor's with a single address.
        cookie_domain: Where cookies live, instead of the registrable domain.
        private_parameters: Query parameters that never leave, normalised.
        has_segment: Whether the app sends events to Segment, so that its cookie counts.
        shares_domain: Whether hosts beside the site's own, on the same registrable domain, are
            somebody else's: without ``cookie_domain`` cookies then live on the host alone.
        cookie_path: The path below which cookies live.
        allowed_hosts: Hosts that the site has, ``.example.com`` with all below it; any if empty.
    """

    trusted_proxies: Proxies = ()
    client_ip_header: bytes = FORWARDED_FOR
    cookie_domain: str | None = None
    private_parameters: frozenset[str] = PRIVATE_PARAMETERS
    has_segment: bool = False
    allowed_hosts: tuple[str, ...] = ()
    cookie_path: str = "/"
    shares_domain: bool = False

    def allows(self, host: str) -> bool:
        """Return whether ``host`` is one of the site's."""
        if not self.allowed_hosts or host in self.allowed_hosts:
            return True
        return host.endswith(tuple(each for each in self.allowed_hosts if each[0] == "."))


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where requests are made, as the visitor sees it: all that follows from scheme and host.

    Attributes:
        host: Lower-case, no port; ``None`` if it is malformed, or not one of ``allowed_hosts``.
        is_secure: Whether the scheme is ``https``.
        cookie_domain: Where cookies live.
        attributes: What follows their values when they are set.
        origin: Scheme, host and port, as a URL begins; unchecked if ``host`` is ``None``.
    """

    host: str | None
    is_secure: bool
    cookie_domain: CookieDomain
    attributes: Attributes
    origin: bytes


class Connection:
    """One request's connection.

    Args:
        scope: The ASGI scope.
        headers: The request's headers, lower-case names.
        rules: Which proxies to believe.

    Attributes:
        place: Where the request was made, as the visitor saw it.
    """

    _proxies: _Proxies | None = None

    def __init__(
        self,
        scope: MutableMapping[str, Any],
        headers: Mapping[bytes, bytes],
        rules: SiteRules,
    ) -> None:
        self._scope = scope
        self._rules = rules
        scheme, authority = scope.get("scheme"), headers.get(b"host", b"")
        if rules.trusted_proxies and is_trusted(self.peer, rules.trusted_proxies):
            self._proxies = proxies = _Proxies(headers, rules)
            scheme = proxies.scheme or scheme
            if proxies.authority is not None:
                authority = proxies.authority
        self.place = find_place(authority[:MAX_AUTHORITY], scheme == "https", rules)

    @property
    def host(self) -> str | None:
        """The host as the visitor saw it."""
        return self.place.host

    @property
    def cookie_domain(self) -> CookieDomain:
        """Where this visitor's cookies live."""
        return self.place.cookie_domain

    @lazy
    def peer(self) -> Peer:
        """Whoever connected to the server; ``None`` if the server does not know.

        Over a Unix socket uvicorn, hypercorn, gunicorn and daphne write no ``client``, granian an
        empty one (tried). uvicorn writes none either for a TCP client that is gone already: the
        server's end has a port then.
        """
        if (client := self._scope.get("client")) and (address := str(client[0])):
            return parse_ip(address)
        server = self._scope.get("server")
        # ASGI: of a Unix socket, the path and None. granian writes "0", gunicorn letters.
        port = str(server[1]) if server else ""
        return None if port.isdecimal() and int(port) else UNIX

    @property
    def trusts_peer(self) -> bool:
        """Whether ``peer`` is a proxy whose headers are believed."""
        return self._proxies is not None

    @lazy
    def client_ip(self) -> str | None:
        """The visitor's public address; private and documentation addresses are ``None``."""
        if self._proxies is None:
            return read_client_ip(self._scope)
        address = self._proxies.find_client(self.peer)
        return str(address) if is_public(address) else None

    def is_same_site(self, url: bytes) -> bool:
        """Return whether ``url`` is on this request's registrable domain, or what is ours of it."""
        authority = url.partition(b"://")[2].partition(b"/")[0].partition(b"?")[0]
        host = parse_host(authority.rpartition(b"@")[2][:300])
        here = self.place.host
        if host is None or here is None:
            return False
        if self._rules.shares_domain:
            own = self.place.cookie_domain.domain
            return host == here or (own is not None and f".{host}".endswith(f".{own}"))
        domain = find_cookie_domain(here).domain
        return host == here or (domain is not None and find_cookie_domain(host).domain == domain)


def read_client_ip(scope: MutableMapping[str, Any]) -> str | None:
    """Return the public address of whoever connected, if the server knows it."""
    client = scope.get("client")
    return read_public(str(client[0])) if client else None


@lru_cache(maxsize=1024)
def find_place(authority: bytes, is_secure: bool, rules: SiteRules) -> Place:
    """Return what follows from the first ``MAX_AUTHORITY`` bytes of a ``Host`` header."""
    host = parse_host(authority)
    host = host if host and rules.allows(host) else None
    cookie_domain = _place_cookies(host, rules)
    return Place(
        host,
        is_secure,
        cookie_domain,
        list_attributes(cookie_domain.domain, rules.cookie_path, secure=is_secure),
        b"%b://%b" % (b"https" if is_secure else b"http", authority),
    )


def _place_cookies(host: str | None, rules: SiteRules) -> CookieDomain:
    if host is None:
        return CookieDomain(None, 0)
    fixed = rules.cookie_domain
    if rules.shares_domain and not fixed:
        return CookieDomain(None, 0 if host.startswith("[") else host.count("."))
    if fixed and (host == fixed or host.endswith("." + fixed)):
        return CookieDomain(fixed, fixed.count("."))
    return find_cookie_domain(host)


class _Proxies:
    """What trusted proxies say about the connection.

    Attributes:
        scheme: Lower-case, from the nearest proxy; ``None`` if it sets none.
        authority: Host and port, likewise.
    """

    def __init__(self, headers: Mapping[bytes, bytes], rules: SiteRules) -> None:
        self._rules = rules
        self._ipv6 = headers.get(b"cf-connecting-ipv6", b"")[:64].decode("latin-1")
        text = headers.get(rules.client_ip_header, b"").decode("latin-1")
        if rules.client_ip_header == FORWARDED:
            elements = parse_forwarded(text)
            self._hops = [element.get("for", "") for element in elements]
            scheme, authority = (_find_last(elements, name) for name in ("proto", "host"))
        else:
            self._hops = text.split(",") if text.strip() else []
            scheme, authority = (_read_last(headers, name) for name in PROXY_HEADERS)
        self.scheme = None if scheme is None else scheme.lower()
        self.authority = None if authority is None else authority.encode("latin-1")

    def find_client(self, peer: Peer) -> IPAddress | None:
        """Return the address of the nearest hop that is not a trusted proxy."""
        address = walk(peer, self._hops, self._rules.trusted_proxies)
        # Cloudflare's "Pseudo IPv4" writes an address of class E for a client with IPv6.
        if self._ipv6 and isinstance(address, IPv4Address) and address in PSEUDO_IPV4:
            address = parse_ip(self._ipv6)
        return address


def _find_last(elements: list[dict[str, str]], parameter: str) -> str | None:
    return next((e[parameter] for e in reversed(elements) if parameter in e), None)


def _read_last(headers: Mapping[bytes, bytes], name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else value.decode("latin-1").rpartition(",")[2].strip()
