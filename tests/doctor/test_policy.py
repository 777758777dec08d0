from __future__ import annotations

import pytest

from bridge.doctor.policy import (
    TRUSTED_TYPES,
    distrusts_tag,
    find_missing,
    find_missing_types,
    parse_policies,
)

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
        (f"default-src 'self' {META}; script-src 'nonce-xyz' 'strict-dynamic'", {}),
        (f"default-src 'self' {META}; script-src 'nonce-abc'",
         {"script-src": ["https://connect.facebook.net"]}),
        (f"default-src 'self' {META}; script-src 'nonce-abc' https://connect.facebook.net", {}),
        (f"default-src 'self' {META}; script-src 'nonce-xyz' https://connect.facebook.net",
         {"script-src": ["'self'"]}),
    ],
)  # fmt: skip
def test_what_a_policy_lacks(policy: str, missing: dict[str, list[str]]) -> None:
    assert find_missing(parse_policies([policy]), NEEDED, PAGE, nonce="abc") == missing


@pytest.mark.parametrize(
    ("sources", "nonce", "is_distrusted"),
    [
        ("'nonce-abc' 'strict-dynamic'", "abc", False),
        ("'nonce-abc' 'Strict-Dynamic' https: 'self'", None, True),
        ("'nonce-xyz' 'strict-dynamic'", "abc", True),
        ("'nonce-ABC' 'strict-dynamic'", "abc", True),
        ("'nonce-xyz' 'self'", None, False),
    ],
)
def test_strict_dynamic_lets_only_a_nonce_run(
    sources: str, nonce: str | None, is_distrusted: bool
) -> None:
    for directive in ("script-src", "default-src", "script-src-elem"):
        policies = parse_policies(["img-src *", f"{directive} {sources}"])
        assert distrusts_tag(policies, nonce) == is_distrusted


@pytest.mark.parametrize(
    ("policy", "missing"),
    [
        ("require-trusted-types-for 'script'", ()),
        ("require-trusted-types-for 'script'; trusted-types foo", TRUSTED_TYPES),
        ("trusted-types 'none'", TRUSTED_TYPES),
        ("trusted-types bridge 'allow-duplicates'", TRUSTED_TYPES[1:]),
        ("trusted-types *", ()),
        ("trusted-types bridge connect.facebook.net/fbevents foo", ()),
        ("trusted-types *, trusted-types bridge", TRUSTED_TYPES[1:]),
    ],
)
def test_trusted_types_that_are_missing(policy: str, missing: tuple[str, ...]) -> None:
    assert find_missing_types(parse_policies([policy])) == list(missing)


def test_every_policy_must_allow() -> None:
    both = parse_policies([f"default-src 'self' {META}, img-src 'self'", ""])
    assert len(both) == 2
    assert find_missing(both, NEEDED, PAGE, nonce=None) == {"img-src": ["https://www.facebook.com"]}


@pytest.mark.parametrize(
    "text", [";;;", "default-src 'self' [::1", "default-src https://:x", "é", "default-src :// *:9"]
)
def test_odd_policy_is_read(text: str) -> None:
    find_missing(parse_policies([text]), NEEDED, PAGE, nonce=None)
