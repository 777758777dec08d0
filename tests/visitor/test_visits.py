"""A response that needs no cookie is found out without reading the visitor."""

from __future__ import annotations

from typing import Any

import pytest

from bridge import Bridge, Consent, Visitor
from bridge.destinations import Segment
from tests.factories import NAVIGATION, USER_AGENT, make_bridge, make_scope, make_visitor

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
    lines = make_visitor(bridge, make_scope("/p", headers=NAVIGATION)).start_response()
    return "; ".join(line.partition(b";")[0].decode() for line in lines)


def names(visitor: Visitor) -> list[bytes]:
    """The cookies that the response sets."""
    return [line.partition(b"=")[0] for line in visitor.start_response()]


def describe(visitor: Visitor) -> tuple[Any, ...]:
    """Everything that the app and its events may depend on."""
    return (visitor.external_id, visitor.consent, visitor.skip_reason, visitor.user_data)


@pytest.mark.parametrize("excluded", [(), ("/api",)])
@pytest.mark.parametrize("base", BASES.values(), ids=BASES)
@pytest.mark.parametrize("options", [{}, {"destinations": [Segment("key", pixel_id="1")]}])
def test_response_is_the_same_whether_the_visitor_was_read_or_not(
    base: dict[str, Any], excluded: tuple[str, ...], options: dict[str, Any]
) -> None:
    bridge = build(exclude_paths=excluded, **options)
    cookies = land(bridge)
    for key, value in [("x-nothing", "1"), *ALL_CHANGES]:
        request = make_request(cookies, {**base, key: value})
        unread, read = make_visitor(bridge, request), make_visitor(bridge, request)
        describe(read)
        assert names(unread) == names(read), (key, value)


def test_request_that_changes_nothing_reads_nothing() -> None:
    bridge = build()
    cookies = land(bridge)
    for changes in ({}, FETCH):
        visitor = make_visitor(bridge, make_request(cookies, changes))
        assert visitor.start_response() == []
        assert "user_agent" not in vars(visitor.capture) or not changes


def test_session_is_not_signed_again_for_another_page() -> None:
    bridge = build()
    cookies = land(bridge)
    visitor = make_visitor(bridge, make_request(cookies, {"PATH": "/other"}))
    assert names(visitor) == [b"_bridge_p"]


def test_what_the_app_decides_itself_is_asked_each_time() -> None:
    answers = iter([None, None, "internal"])
    bridge = build(ignore=lambda connection: next(answers))
    cookies = land(bridge)
    assert make_visitor(bridge, make_request(cookies)).skip_reason is None
    assert make_visitor(bridge, make_request(cookies)).skip_reason == "internal"


@pytest.mark.parametrize(
    ("click", "site", "expected"),
    [
        ("Known", "shop.example.com", [b"_bridge_p"]),
        ("Other", "shop.example.com", [b"_bridge", b"_fbc", b"_bridge_p"]),
        ("Other", "other.example", [b"_bridge_p"]),
    ],
)
def test_page_behind_a_landing_is_read_only_if_its_click_is_new(
    click: str, site: str, expected: list[bytes]
) -> None:
    bridge = make_bridge("sqlite:///unused.db")
    landing = make_request("", {"QUERY": b"fbclid=Known"})
    lines = make_visitor(bridge, landing).start_response()
    cookies = "; ".join(line.partition(b";")[0].decode() for line in lines)
    changes = {"PATH": "/other", "referer": f"https://{site}/p?fbclid={click}"}
    unread, read = (make_visitor(bridge, make_request(cookies, changes)) for _ in range(2))
    describe(read)
    assert names(unread) == names(read) == expected
    assert unread._is_read == (click == "Other")
