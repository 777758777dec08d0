from __future__ import annotations

import ipaddress
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import ConfigError
from bridge.visitor.ip import (
    _SPECIAL,
    UNIX,
    is_public,
    parse_forwarded,
    parse_ip,
    parse_networks,
    read_public,
    walk,
)

PROXIES = parse_networks("10.0.0.0/8, fd00::/8")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("93.184.216.34", "93.184.216.34"),
        ("93.184.216.34:443", "93.184.216.34"),
        (" 2606:2800::1 ", "2606:2800::1"),
        ("[2606:2800::1]:443", "2606:2800::1"),
        ("[2606:2800::1]", "2606:2800::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:93.184.216.34", "93.184.216.34"),
        ("[::ffff:93.184.216.34]:80", "93.184.216.34"),
        ("unknown", None),
        ("_hidden", None),
        ("1.2.3", None),
        ("", None),
    ],
)
def test_ip_is_cleaned_or_refused(text: str, expected: str | None) -> None:
    address = parse_ip(text)
    assert (str(address) if address else None) == expected


@given(st.text(max_size=200))
def test_ip_of_any_text_raises_nothing(text: str) -> None:
    address = parse_ip(text)
    assert address is None or str(address).isascii()


@pytest.mark.parametrize(
    "cidrs", ["10.0.0.0/33", ["proxy.local"], "10.0.0.1/8", "unix:/run/app.sock"]
)
def test_proxies_that_are_no_networks_are_refused_at_once(cidrs: str | list[str]) -> None:
    with pytest.raises(ConfigError, match="trusted_proxies: expected"):
        parse_networks(cidrs)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8.8.8.8", True),
        ("2606:2800::1", True),
        ("127.0.0.1", False),
        ("10.0.0.1", False),
        ("192.0.2.1", False),
        ("203.0.113.9", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("169.254.1.1", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("2001:db8::1", False),
    ],
)
def test_only_public_addresses_may_be_told(text: str, expected: bool) -> None:
    assert is_public(ipaddress.ip_address(text)) is expected
    assert is_public(None) is False


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("for=192.0.2.60;proto=http;by=203.0.113.43", [("192.0.2.60", "http")]),
        ('For="[2001:db8:cafe::17]:4711"', [("[2001:db8:cafe::17]:4711", None)]),
        ("for=1.1.1.1, for=2.2.2.2", [("1.1.1.1", None), ("2.2.2.2", None)]),
        ('for="a,b";proto=https, for=c', [("a,b", "https"), ("c", None)]),
        ("for=_gazonk;host=x", [("_gazonk", None)]),
        ("", []),
        (",,", []),
    ],
)
def test_forwarded_is_taken_apart(header: str, expected: list[tuple[str, str | None]]) -> None:
    elements = parse_forwarded(header)
    assert [(e.get("for"), e.get("proto")) for e in elements] == expected


@given(st.text(max_size=6000))
def test_forwarded_of_any_text_raises_nothing(header: str) -> None:
    assert len(parse_forwarded(header)) <= 32


@pytest.mark.parametrize(
    ("peer", "hops", "expected"),
    [
        ("8.8.8.8", ["6.6.6.6"], "8.8.8.8"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["8.8.8.8"], "8.8.8.8"),
        ("10.0.0.1", ["6.6.6.6", "8.8.8.8", "10.0.0.2"], "8.8.8.8"),
        ("10.0.0.1", ["8.8.8.8", "fd00::1"], "8.8.8.8"),
        ("10.0.0.1", ["8.8.8.8", "unknown"], None),
        ("10.0.0.1", ["10.0.0.9", "10.0.0.2"], "10.0.0.9"),
        (None, ["8.8.8.8"], None),
        ("unix", ["8.8.8.8"], None),
    ],
)
def test_walk_ends_at_the_first_untrusted_hop(
    peer: str | None, hops: list[str], expected: str | None
) -> None:
    address = UNIX if peer == UNIX else ipaddress.ip_address(peer) if peer else None
    found = walk(address, hops, PROXIES)
    assert (str(found) if found else None) == expected


@pytest.mark.parametrize(
    ("hops", "expected"),
    [
        ([], None),
        (["6.6.6.6", "8.8.8.8"], "8.8.8.8"),
        (["8.8.8.8", "10.0.0.2"], "8.8.8.8"),
        (["8.8.8.8", "unix"], None),
        (["8.8.8.8", ""], None),
    ],
)
def test_walk_begins_at_a_unix_socket_and_meets_no_other(
    hops: list[str], expected: str | None
) -> None:
    found = walk(UNIX, hops, parse_networks(["unix", "10.0.0.0/8"]))
    assert (str(found) if found else None) == expected


def test_special_addresses_are_those_of_the_registries() -> None:
    """As ipaddress has them, but for what came into the registries after Python 3.11."""
    newer = [*map(ipaddress.ip_network, ("192.0.0.0/24", "64:ff9b:1::/48", "2001::/23"))]
    newer += map(ipaddress.ip_network, ("2002::/16", "3fff::/20", "5f00::/16"))
    luck = random.Random(29)
    for version, bits in ((4, 32), (6, 128)):
        ends = [end for pair in zip(*_SPECIAL[version], strict=True) for end in pair]
        near = [number + step for number in ends for step in (-1, 0, 1)]
        drawn = [luck.getrandbits(bits) for _ in range(5000)]
        for number in (*near, *drawn):
            if not 0 <= number < 2**bits:
                continue
            address = (ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address)(number)
            if not any(address in each for each in newer if each.version == version):
                wanted = address.is_global and not address.is_multicast
                assert is_public(address) is wanted, address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.0.9", True),
        ("192.0.0.11", False),
        ("2001:3::1", True),
        ("2001:0:1::1", False),
        ("2002:5db8:d822::1", False),
        ("2606:4700::1", True),
    ],
)
def test_what_is_reachable_within_a_special_range_is_public(text: str, expected: bool) -> None:
    assert is_public(parse_ip(text)) is expected


def test_public_address_is_told_at_a_look_as_by_its_number() -> None:
    luck = random.Random(7)
    addresses = [
        ipaddress.IPv4Address((first << 24) + luck.randrange(2**24))
        for first in range(256)
        for _ in range(40)
    ]
    for address in addresses:
        assert read_public(str(address)) == (str(address) if is_public(address) else None)


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("93.184.216.34\n", "93.184.216.34"),
        ("93.184.216.34:443", "93.184.216.34"),
        ("93.184.216.034", None),
        ("93.184.216", None),
        ("93.184.216.34.", None),
        ("93.184.216.256", None),
        ("\u0669.8.8.8", None),
        ("::ffff:93.184.216.34", "93.184.216.34"),
        ("", None),
    ],
)
def test_public_address_is_read_or_refused(peer: str, expected: str | None) -> None:
    assert read_public(peer) == expected
