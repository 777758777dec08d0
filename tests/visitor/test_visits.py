"""Requests like one before are recognised; whoever is not, is looked at in full."""

from __future__ import annotations

from typing import Any

import pytest

from bridge import Bridge, Consent, Visitor
from tests.factories import NAVIGATION, USER_AGENT, make_bridge, make_scope

# Each may make a difference; whatever is left out is as in the visitor's first request.
CHANGES: dict[str, tuple[Any, ...]] = {
    "host": ("www.example.com", "a b"),
    "user-agent": (USER_AGENT + " x", ""),
    "referer": ("https://shop.example.com/?fbclid=R", "https://other.example/"),
    "origin": ("https://other.example",),
    "accept": ("text/html",),
    "sec-fetch-mode": ("cors", "navigate", None),
    "sec-fetch-site": ("cross-site", "same-origin"),
    "sec-fetch-dest": ("image", "empty", "document"),
    "sec-gpc": ("1", "0"),
    "sec-purpose": ("prefetch", "prefetch;prerender"),
    "purpose": ("prefetch",),
    "x-moz": ("prefetch",),
    "x-purpose": ("preview",),
    "x-forwarded-for": ("203.0.114.7", "2001:4860::1"),
    "x-forwarded-proto": ("https",),
    "x-forwarded-host": ("www.example.com",),
    "x-consent": ("denied", "limited"),
    "accept-language": ("de",),
    "PATH": ("/other", "/api/x", "/p/"),
    "QUERY": (b"fbclid=B", b"page=2"),
    "METHOD": ("POST", "HEAD"),
    "SCHEME": ("https",),
    "CLIENT": (("93.184.216.35", 1), ("10.0.0.1", 1), None),
}
ALL_CHANGES = [(key, value) for key, values in CHANGES.items() for value in values]
FETCH = {"sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}
BASES: dict[str, dict[str, Any]] = {
    "page": {},
    "page from another": {"referer": "https://shop.example.com/before"},
    "page of an older browser": {"sec-fetch-mode": None, "accept": "text/html"},
    "fetch": FETCH,
    "behind a proxy": {"CLIENT": ("10.0.0.1", 1), "x-forwarded-for": "93.184.216.34"},
}


def build(**changes: Any) -> Bridge:
    return make_bridge(
        "sqlite:///unused.db",
        trusted_proxies="10.0.0.0/8",
        consent=Consent(header="X-Consent"),
        **changes,
    )


def make_request(cookies: str, changes: dict[str, Any] | None = None) -> dict[str, Any]:
    changed = dict(changes or {})
    scope = make_scope(
        changed.pop("PATH", "/p"),
        query=changed.pop("QUERY", b""),
        method=changed.pop("METHOD", "GET"),
        scheme=changed.pop("SCHEME", "http"),
        headers={**NAVIGATION, "cookie": cookies},
    )
    if "CLIENT" in changed:
        scope["client"] = changed.pop("CLIENT")
    headers = dict(scope["headers"])
    for name, value in changed.items():
        headers[name.encode()] = None if value is None else value.encode()
    scope["headers"] = [(name, value) for name, value in headers.items() if value is not None]
    return scope


def land(bridge: Bridge) -> str:
    """The cookies of a visitor who has been at ``/p``."""
    lines = bridge.visit(make_scope("/p", headers=NAVIGATION)).start_response(bridge.signer)
    return "; ".join(line.partition(b";")[0].decode() for line in lines)


def describe(visitor: Visitor) -> tuple[Any, ...]:
    """All that the app, the events and the response may depend on."""
    data, silence = visitor.user_data, visitor.silence
    return (
        visitor.external_id,
        visitor.consent,
        silence,
        visitor.page_url,
        (data.client_ip_address, data.client_user_agent, data.fbp),
        # The click's first-seen time is now.
        data.fbc and data.fbc.rpartition(".")[2],
        [line.partition(b"=")[0] for line in visitor.start_response(visitor.bridge.signer)],
    )


@pytest.mark.parametrize("excluded", [(), ("/api",)])
@pytest.mark.parametrize("base", BASES.values(), ids=BASES)
def test_visitor_is_the_same_whatever_came_before(
    base: dict[str, Any], excluded: tuple[str, ...]
) -> None:
    fresh = build(exclude_paths=excluded)
    cookies = land(fresh)
    for key, value in ALL_CHANGES:
        bridge = build(exclude_paths=excluded)
        bridge.visit(make_request(cookies, base))
        fresh.visits._settled.cache_clear()  # type: ignore[attr-defined]
        seen, expected = (
            b.visit(make_request(cookies, {**base, key: value})) for b in (bridge, fresh)
        )
        assert describe(seen) == describe(expected), (key, value)


def test_request_like_one_before_is_recognised() -> None:
    bridge = build()
    cookies = land(bridge)
    first, second = (bridge.visit(make_request(cookies)) for _ in range(2))
    assert (first._is_settled, second._is_settled) == (False, True)


def test_what_the_app_decides_itself_is_asked_each_time() -> None:
    answers = iter([None, None, "internal"])
    bridge = build(ignore=lambda connection: next(answers))
    cookies = land(bridge)
    assert bridge.visit(make_request(cookies)).silence is None
    assert bridge.visit(make_request(cookies)).silence == "internal"


def test_many_situations_of_one_visitor_are_bounded() -> None:
    bridge = build()
    cookies = land(bridge)
    for n in range(50):
        bridge.visit(make_request(cookies, {**FETCH, "referer": f"https://shop.example.com/{n}"}))
    bridge.visit(
        make_request(cookies, {**FETCH, "referer": f"https://shop.example.com/{'x' * 9000}"})
    )
    kept = bridge.visits._settled(cookies.encode())
    assert 0 < len(kept) <= 8
    assert len(repr(kept)) < 20_000
