"""Client addresses: what a proxy's header says, and how much of it to believe.

Without trusted proxies only the connection counts. With them one header is believed, the one the
proxy in front is known to write: any other could be the client's own.

Source: RFC 7239, "Forwarded HTTP Extension"; the walk from the right is uvicorn's too.
"""

from __future__ import annotations

import ipaddress
import re
from bisect import bisect_right
from collections.abc import Iterable
from typing import Any, Literal

from bridge.errors import ConfigError

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
UNIX: Literal["unix"] = "unix"  # a peer at the other end of a Unix socket, which has no address
Peer = IPAddress | Literal["unix"] | None
Proxies = tuple[IPNetwork | Literal["unix"], ...]

DAY = 86_400  # seconds
MAX_HOPS = 32  # entries that are looked at
MAX_LENGTH = 4096  # bytes of the header that are looked at, from its end

# forwarded-pairs of one element; a value is a token or a quoted-string without escapes.
_PAIR = re.compile(r'(?:^|;)\s*([a-z]+)\s*=\s*(?:"([^"\\]*)"|([^\s";,]*))', re.IGNORECASE)
# An IPv4 address of a block of which nothing is special, as those of most visitors: ipaddress takes
# as long as half of all the rest of a landing.
_PUBLIC_IPV4 = re.compile(
    r"(?!(?:0|10|100|127|169|172|192|198|203|22[4-9]|2[3-5][0-9])\.)"
    r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(?:\.(?!\Z)|\Z)){4}"
)
_ELEMENT = re.compile(r'(?:"[^"]*"|[^",])+')


def parse_networks(cidrs: str | Iterable[str]) -> Proxies:
    """Return the networks that ``cidrs`` name: a list, or text separated by commas or spaces.

    ``unix`` stays: whoever connects over a Unix socket.

    Raises:
        ConfigError: One of them is neither that nor an address or a CIDR range.
    """
    texts = cidrs.replace(",", " ").split() if isinstance(cidrs, str) else list(cidrs)
    try:
        return tuple(UNIX if text == UNIX else ipaddress.ip_network(text) for text in texts)
    except ValueError as error:
        raise ConfigError(
            f"trusted_proxies: expected addresses, CIDR ranges such as 10.0.0.0/8, or unix: {error}"
        ) from None


def read_public(peer: str) -> str | None:
    """Return a server's ``client`` address as text, if it is public."""
    if _PUBLIC_IPV4.fullmatch(peer):
        return peer
    address = parse_ip(peer)
    return str(address) if is_public(address) else None


def parse_ip(text: str) -> IPAddress | None:
    """Return the address in ``text``, without port, brackets, zone and IPv4 mapping."""
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


def is_public(address: IPAddress | None) -> bool:
    """Return whether ``address`` is worth sending: not private, documentation or multicast.

    ``is_global`` says nearly the same, and takes as long as all the rest of a landing.
    """
    if address is None:
        return False
    starts, ends = _SPECIAL[address.version]
    number = int(address)
    at = bisect_right(starts, number) - 1
    return at < 0 or number > ends[at]


def _list_ranges(special: str, reachable: str) -> tuple[list[int], list[int]]:
    """Return the first and the last addresses of ``special`` without those of ``reachable``."""
    networks: list[Any] = [ipaddress.ip_network(each) for each in special.split()]
    for each in map(ipaddress.ip_network, reachable.split()):
        outer = next(network for network in networks if each.subnet_of(network))
        networks.remove(outer)
        networks += outer.address_exclude(each)
    networks.sort()
    return (
        [int(each.network_address) for each in networks],
        [int(each.broadcast_address) for each in networks],
    )


# What is not globally reachable, and multicast; then what is reachable within it.
# Source: IANA, "IPv4 Special-Purpose Address Registry", "IPv6 Special-Purpose Address Registry", as
# ipaddress of Python 3.13 has them, read 2026-11-29.
_SPECIAL = {
    4: _list_ranges(
        "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24"
        " 192.0.2.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/3",
        "192.0.0.9/32 192.0.0.10/32",
    ),
    6: _list_ranges(
        "::/127 ::ffff:0:0/96 64:ff9b:1::/48 100::/64 2001::/23 2001:db8::/32 2002::/16 3fff::/20"
        " 5f00::/16 fc00::/7 fe80::/10 ff00::/8",
        "2001:1::1/128 2001:1::2/128 2001:3::/32 2001:4:112::/48 2001:20::/28 2001:30::/28",
    ),
}


def is_trusted(peer: Peer, proxies: Proxies) -> bool:
    """Return whether ``peer`` is one of ``proxies``."""
    if peer is None or isinstance(peer, str):
        return peer in proxies
    return any(
        peer in proxy
        for proxy in proxies
        if not isinstance(proxy, str) and proxy.version == peer.version
    )


def parse_forwarded(header: str) -> list[dict[str, str]]:
    """Return the elements of a ``Forwarded`` header, the last 32, parameter names lower-case."""
    elements = _ELEMENT.findall(header[-MAX_LENGTH:])[-MAX_HOPS:]
    return [
        {name.lower(): quoted or token for name, quoted, token in _PAIR.findall(element)}
        for element in elements
    ]


def walk(peer: Peer, hops: list[str], proxies: Proxies) -> IPAddress | None:
    """Return the first address from the right that is not a trusted proxy.

    The client itself may have written what stands to the left of it. A hop that hides its address
    (``unknown``, an obfuscated name) ends the walk: the client is unknown then.
    """
    address = peer
    for hop in reversed(hops[-MAX_HOPS:]):
        if not is_trusted(address, proxies):
            break
        address = parse_ip(hop)
    return None if isinstance(address, str) else address


def prefer_ip(seen: str | None, stored: str | None, stored_time: float, now: float) -> str | None:
    """Return the address to send: an IPv6 seen earlier today in the session, else ``seen``.

    The pixel connects over IPv6 where it can, and Meta compares. After a day a browser is often on
    another network.

    Args:
        seen: The address of this request, if any.
        stored: The address in the session, if any.
        stored_time: When that was seen, if it is an IPv6 address; Unix seconds.
        now: Unix seconds.

    Source: Meta, "Customer Information Parameters": IPv6 is preferred; its parameter builder keeps
    an IPv6 address for a day.
    """
    is_fresh = now - stored_time < DAY
    if seen is None or (":" not in seen and ":" in (stored or "") and is_fresh):
        return stored
    return seen
