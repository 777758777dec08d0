from __future__ import annotations

import pytest

from bridge.doctor.policy import find_missing, parse_policies

PAGE = "https://shop.example.com/cart"
NEEDED = {
    "script-src": ["'self'", "https://connect.facebook.net"],
    "img-src": ["https://www.facebook.com"],
    "connect-src": ["'self'", "https://www.facebook.com"],
}
ALL = {name: list(sources) for name, sources in NEEDED.items()}
META = "https://connect.facebook.net https://www.facebook.com"


@pytest.mark.parametrize(
    ("policy", "missing"),
    [
        ("upgrade-insecure-requests", {}),
        ("default-src *", {}),
        (f"default-src 'self' {META}", {}),
        ("default-src https:", {}),
        ("default-src 'none'", ALL),
        ("default-src", ALL),
        ("frame-src 'none'", {}),
        ("default-src 'self' *.facebook.net *.facebook.com", {}),
        ("default-src 'self' https://*.facebook.net:* www.facebook.com:443", {}),
        ("default-src 'self' https://*.facebook.net:8443 www.facebook.com",
         {"script-src": ["https://connect.facebook.net"]}),
        ("default-src 'self' http://connect.facebook.net https://www.facebook.com", {}),
        ("default-src 'self' facebook.net www.facebook.com",
         {"script-src": ["https://connect.facebook.net"]}),
        (f"default-src https://shop.example.com {META}", {}),
        (f"default-src {META}", {"script-src": ["'self'"], "connect-src": ["'self'"]}),
        (f"default-src 'self' {META}; img-src 'self'", {"img-src": ["https://www.facebook.com"]}),
        (f"DEFAULT-SRC 'self' {META}; IMG-SRC 'self' data:",
         {"img-src": ["https://www.facebook.com"]}),
        (f"default-src 'self' {META}; script-src 'self'; script-src *",
         {"script-src": ["https://connect.facebook.net"]}),
        (f"default-src 'self' {META}; script-src-elem 'self'",
         {"script-src": ["https://connect.facebook.net"]}),
        (f"default-src 'self' {META}; script-src 'nonce-abc' 'strict-dynamic'", {}),
        (f"default-src 'self' {META}; script-src 'nonce-xyz' 'strict-dynamic'",
         {"script-src": NEEDED["script-src"]}),
    ],
)  # fmt: skip
def test_what_a_policy_lacks(policy: str, missing: dict[str, list[str]]) -> None:
    assert find_missing(parse_policies([policy]), NEEDED, PAGE, nonce="abc") == missing


def test_every_policy_must_allow() -> None:
    both = parse_policies([f"default-src 'self' {META}, img-src 'self'", ""])
    assert len(both) == 2
    assert find_missing(both, NEEDED, PAGE, nonce=None) == {"img-src": ["https://www.facebook.com"]}


@pytest.mark.parametrize(
    "text", [";;;", "default-src 'self' [::1", "default-src https://:x", "é", "default-src :// *:9"]
)
def test_odd_policy_is_read(text: str) -> None:
    find_missing(parse_policies([text]), NEEDED, PAGE, nonce=None)
