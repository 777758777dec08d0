from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import ConfigError
from bridge.visitor.ip import is_public, parse_forwarded, parse_ip, parse_networks, walk

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


@pytest.mark.parametrize("cidrs", ["10.0.0.0/33", ["proxy.local"], "10.0.0.1/8"])
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
    ],
)
def test_walk_ends_at_the_first_untrusted_hop(
    peer: str | None, hops: list[str], expected: str | None
) -> None:
    found = walk(ipaddress.ip_address(peer) if peer else None, hops, PROXIES)
    assert (str(found) if found else None) == expected
