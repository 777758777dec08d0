from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.events.urls import MAX_LENGTH
from bridge.visitor.capture import Capture
from bridge.visitor.connection import SiteRules
from bridge.visitor.ip import parse_networks
from tests.factories import CLIENT, make_capture, make_scope

RULES = SiteRules(trusted_proxies=parse_networks("10.0.0.0/8, 2001:db8::/32"))
BEHIND: dict[str, Any] = {"client": ("10.0.0.1", 1), "rules": RULES}
PAGE = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
FETCH = {"sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}


def test_client_ip_is_the_connection_without_trusted_proxies() -> None:
    capture = make_capture(headers={"x-forwarded-for": "8.8.8.8"})
    assert capture.connection.client_ip == CLIENT[0]


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        pytest.param("8.8.8.8", "8.8.8.8", id="one hop"),
        pytest.param("8.8.8.8, 10.1.1.1", "8.8.8.8", id="over a trusted one"),
        pytest.param("6.6.6.6, 8.8.8.8, 10.1.1.1", "8.8.8.8", id="the forged entry is left of it"),
        pytest.param("unknown, 10.1.1.1", None, id="hidden client"),
        pytest.param("192.168.1.5", None, id="private client"),
        pytest.param("[2606:2800::1]:443", "2606:2800::1", id="IPv6 with port"),
        pytest.param("", None, id="empty"),
    ],
)
def test_client_ip_is_the_first_untrusted_hop_from_the_right(
    forwarded: str, expected: str | None
) -> None:
    assert (
        make_capture(headers={"x-forwarded-for": forwarded}, **BEHIND).connection.client_ip
        == expected
    )


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "192.0.2.1", "100.64.0.1", "::1", "2001:db8::1", "224.0.0.1"],
)
def test_client_ip_is_never_private_or_documentation(address: str) -> None:
    assert make_capture(client=(address, 1)).connection.client_ip is None


def test_client_ip_is_unknown_without_client() -> None:
    assert make_capture(client=None).connection.client_ip is None


@pytest.mark.parametrize(
    ("trusted", "client", "server", "expected"),
    [
        pytest.param("unix", None, ("/run/app.sock", None), "8.8.8.8", id="uvicorn"),
        pytest.param("unix", None, None, "8.8.8.8", id="hypercorn"),
        pytest.param("unix", ("", "0"), ("/run/app.sock", "0"), "8.8.8.8", id="granian"),
        pytest.param("unix", None, ("g", "a"), "8.8.8.8", id="gunicorn"),
        pytest.param("127.0.0.1", None, None, None, id="not trusted"),
        pytest.param("0.0.0.0/0 ::/0", None, None, None, id="networks have no part of it"),
        pytest.param("unix", None, ("10.0.0.9", 80), None, id="TCP, gone already"),
        pytest.param("unix", None, ("::1", 80), None, id="TCP over IPv6, gone already"),
        pytest.param("unix", None, ("localhost", 80), None, id="TCP, the server by its name"),
        pytest.param("unix", ("10.0.0.1", 1), None, None, id="another peer"),
        pytest.param("unix", ("testclient", 1), None, None, id="a name"),
    ],
)
def test_peer_without_an_address_is_believed_only_if_unix_is_trusted(
    trusted: str, client: Any, server: Any, expected: str | None
) -> None:
    headers = {"x-forwarded-for": "6.6.6.6, 8.8.8.8", "x-forwarded-proto": "https"}
    rules = SiteRules(trusted_proxies=parse_networks(trusted))
    capture = make_capture(headers=headers, client=client, server=server, rules=rules)
    assert capture.connection.client_ip == expected
    assert capture.place.is_secure is bool(expected)


def test_page_is_the_url_of_a_page_load() -> None:
    capture = make_capture("/p", query=b"a=1", headers={**PAGE, "referer": "https://a.example/x#y"})
    assert capture.page_url == "http://shop.example.com/p?a=1"
    assert capture.referrer_url == "https://a.example/x"


def test_page_has_scheme_and_host_as_the_visitor_saw_them() -> None:
    headers = {**PAGE, "x-forwarded-proto": "https", "x-forwarded-host": "www.example.com"}
    assert make_capture("/p", headers=headers, **BEHIND).page_url == "https://www.example.com/p"
    assert make_capture("/p", headers=headers).page_url == "http://shop.example.com/p"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_page_of_a_fetch_is_its_own_sites_referer(method: str) -> None:
    referer = "https://www.example.com/cart?x=1"
    capture = make_capture("/api", method=method, headers={**FETCH, "referer": referer})
    assert capture.page_url == referer


def test_page_of_a_fetch_from_another_site_is_unknown() -> None:
    capture = make_capture("/api", headers={**FETCH, "referer": "https://evil.example/"})
    assert capture.page_url is None


def test_page_of_a_form_post_is_the_page_of_the_form() -> None:
    headers = {**PAGE, "referer": "http://shop.example.com/checkout"}
    assert make_capture("/orders", method="POST", headers=headers).page_url == headers["referer"]


@pytest.mark.parametrize("host", ["a b", "x\r\ny", "<script>", "a..b", "", "h:port", "\xff"])
def test_page_is_unknown_when_the_host_is_malformed(host: str) -> None:
    capture = make_capture("/p", headers={**PAGE, "host": host})
    assert capture.connection.host is None
    assert capture.page_url is None
    assert capture.connection.cookie_domain.domain is None


def test_page_is_unknown_when_it_is_too_long() -> None:
    assert make_capture("/" + "x" * MAX_LENGTH, headers=PAGE).page_url is None


@pytest.mark.parametrize(
    ("query", "referer", "expected"),
    [
        (b"fbclid=A", "http://shop.example.com/?fbclid=B", "A"),
        (b"", "http://www.example.com/?fbclid=B&c=d", "B"),
        (b"", "http://other.example/?fbclid=B", None),
        (b"", "http://shop.example.com/", None),
    ],
)
def test_click_id_comes_from_the_url_then_from_a_same_site_referer(
    query: bytes, referer: str, expected: str | None
) -> None:
    assert make_capture(query=query, headers={"referer": referer}).click_id == expected


@pytest.mark.parametrize(
    ("cookie", "expected"),
    [
        (
            "ajs_anonymous_id=0b7b2f4e-6f0d-4c8b-8d0e-5a2f6c1b9e77",
            "0b7b2f4e-6f0d-4c8b-8d0e-5a2f6c1b9e77",
        ),
        (
            "ajs_anonymous_id=%220b7b2f4e-6f0d-4c8b-8d0e-5a2f6c1b9e77%22",
            "0b7b2f4e-6f0d-4c8b-8d0e-5a2f6c1b9e77",
        ),
        # Shapes that analytics.js never writes, and a site's user ids may have.
        ("ajs_anonymous_id=customer-42", None),
        ("ajs_anonymous_id=0b7b2f4e-6f0d-1c8b-8d0e-5a2f6c1b9e77", None),
        ("ajs_anonymous_id=0B7B2F4E-6F0D-4C8B-8D0E-5A2F6C1B9E77", None),
        ("ajs_anonymous_id=0b7b2f4e6f0d4c8b8d0e5a2f6c1b9e77", None),
        ("ajs_anonymous_id=%0d%0a", None),
        ("ajs_anonymous_id=", None),
    ],
)
def test_segments_anonymous_id_is_read_bare_or_quoted(cookie: str, expected: str | None) -> None:
    assert make_capture(headers={"cookie": cookie}).cookies.ajs_anonymous_id == expected


def test_cookies_of_several_headers_are_read() -> None:
    cookies = [(b"cookie", b"a=1"), (b"cookie", b"_fbp=fb.1.2.3")]
    scope = {**make_scope(), "headers": cookies}
    assert Capture(scope, RULES).cookies.fbp == "fb.1.2.3"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"sec-fetch-site": "cross-site"}, True),
        ({"sec-fetch-site": "same-origin", "origin": "https://evil.example"}, False),
        ({"sec-fetch-site": "same-site"}, False),
        ({"origin": "https://evil.example"}, True),
        ({"origin": "null"}, True),
        ({"origin": "https://www.example.com"}, False),
        ({}, False),
    ],
)
def test_requests_of_other_sites_are_told(headers: dict[str, str], expected: bool) -> None:
    assert make_capture(headers=headers).is_cross_site is expected


def test_click_id_of_the_landing_page_comes_with_the_choice() -> None:
    capture = make_capture("/_bridge/consent", method="POST", headers=FETCH)
    capture.land(b"http://shop.example.com/sale?fbclid=A&token=x#top")
    assert capture.click_id == "A"
    assert capture.page_url == "http://shop.example.com/sale?fbclid=A"
    capture.land(b"https://evil.example/?fbclid=B")
    assert capture.click_id == "A"


@pytest.mark.parametrize(
    ("header", "hop", "expected"),
    [
        pytest.param("forwarded", "for=8.8.8.8", "8.8.8.8", id="Forwarded"),
        pytest.param("forwarded", 'for="[2606:2800::1]:80";proto=https', "2606:2800::1", id="IPv6"),
        pytest.param("forwarded", "for=6.6.6.6, for=8.8.8.8, for=10.1.1.1", "8.8.8.8", id="walked"),
        pytest.param("forwarded", "for=_secret, for=10.1.1.1", None, id="obfuscated"),
        pytest.param("forwarded", "FOR=unknown", None, id="unknown"),
        pytest.param("cf-connecting-ip", "8.8.8.8", "8.8.8.8", id="vendor"),
        pytest.param("cf-connecting-ip", "nonsense", None, id="vendor's nonsense"),
    ],
)
def test_client_ip_comes_from_the_configured_header(
    header: str, hop: str, expected: str | None
) -> None:
    rules = SiteRules(trusted_proxies=RULES.trusted_proxies, client_ip_header=header.encode())
    headers = {header: hop, "x-forwarded-for": "9.9.9.9"}
    behind = make_capture(headers=headers, client=("10.0.0.1", 1), rules=rules)
    assert behind.connection.client_ip == expected
    assert make_capture(headers=headers, rules=rules).connection.client_ip == CLIENT[0]


def test_forwarded_tells_scheme_and_host_too() -> None:
    rules = SiteRules(trusted_proxies=RULES.trusted_proxies, client_ip_header=b"forwarded")
    headers = {**PAGE, "forwarded": "for=8.8.8.8;proto=https;host=www.example.com"}
    capture = make_capture("/p", headers=headers, client=("10.0.0.1", 1), rules=rules)
    assert capture.page_url == "https://www.example.com/p"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"sec-purpose": "prefetch"}, "prefetch"),
        ({"sec-purpose": "prefetch;prerender"}, "prerender"),
        ({"sec-purpose": "prefetch;anonymous-client-ip"}, "prefetch"),
        ({"purpose": "prefetch"}, "prefetch"),
        ({"x-moz": "prefetch"}, "prefetch"),
        ({"x-purpose": "preview"}, "prefetch"),
        ({"sec-purpose": "other"}, None),
        ({}, None),
    ],
)
def test_speculative_requests_are_told(headers: dict[str, str], expected: str | None) -> None:
    assert make_capture(headers=headers).speculation == expected


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("0", False), ("", False)])
def test_global_privacy_control_is_read(value: str, expected: bool) -> None:
    assert make_capture(headers={"sec-gpc": value}).asks_for_privacy is expected


def test_fixed_cookie_domain_holds_below_it_and_nowhere_else() -> None:
    rules = SiteRules(cookie_domain="shop.example.com")
    assert make_capture(rules=rules).connection.cookie_domain == ("shop.example.com", 2)
    elsewhere = make_capture(rules=rules, headers={"host": "www.example.com"})
    assert elsewhere.connection.cookie_domain == ("example.com", 1)


HEADERS = ["host", "cookie", "referer", "origin", "user-agent", "accept", "x-forwarded-for"]
HEADERS += ["x-forwarded-host", "x-forwarded-proto", "sec-fetch-mode", "sec-fetch-dest"]
HEADERS += ["forwarded", "sec-purpose", "purpose", "sec-gpc"]
PROPERTIES = [name for name in dir(Capture) if not name.startswith("_")]


@given(
    sent=st.lists(st.tuples(st.sampled_from(HEADERS), st.binary(max_size=200)), max_size=8),
    query=st.binary(max_size=100),
    path=st.text(max_size=50),
)
def test_any_bytes_in_any_header_raise_nothing_and_leave_no_control_character(
    sent: list[tuple[str, bytes]], query: bytes, path: str
) -> None:
    headers = [(name.encode(), value) for name, value in sent]
    scope = {**make_scope(), "headers": headers, "query_string": query, "path": path}
    for header in (b"x-forwarded-for", b"forwarded"):
        rules = SiteRules(trusted_proxies=RULES.trusted_proxies, client_ip_header=header)
        capture = Capture({**scope, "client": ("10.0.0.1", 1)}, rules)
        values = [capture.page_url, capture.referrer_url, capture.user_agent, capture.site_url]
        values += [capture.connection.client_ip, capture.connection.host]
        values += [capture.cookies.fbp, capture.cookies.fbc]
        assert all(value is None or value.isprintable() for value in values)
        assert capture.click_id is None or capture.click_id.isascii()
        for name in PROPERTIES:
            getattr(capture, name)


@pytest.mark.parametrize(
    ("headers", "is_one"),
    [
        ({}, True),
        ({"accept": "text/html,application/xhtml+xml,image/avif,*/*;q=0.8"}, True),
        ({"accept": "*/*"}, True),
        ({"accept": "image/avif,image/webp,image/apng,*/*;q=0.8"}, False),
        ({"accept": "text/css,*/*;q=0.1"}, False),
        ({"accept": "image/avif,*/*;q=0.8", "sec-fetch-dest": "empty"}, True),
        ({"accept": "*/*", "sec-fetch-dest": "image"}, False),
    ],
)
def test_place_to_meet_is_told_by_accept_where_the_browser_tells_no_destination(
    headers: dict[str, str], is_one: bool
) -> None:
    assert make_capture(headers=headers).may_set_cookies is is_one


@pytest.mark.parametrize(
    ("host", "is_allowed"),
    [
        ("shop.example.com", True),
        ("SHOP.example.com:8443", True),
        ("a.b.example.org", True),
        ("example.org", False),
        ("evilexample.org", False),
        ("shop.example.com.evil.test", False),
        ("evil.test", False),
    ],
)
def test_host_that_is_not_allowed_gives_no_url_and_no_cookie_domain(
    host: str, is_allowed: bool
) -> None:
    rules = SiteRules(allowed_hosts=("shop.example.com", ".example.org"))
    capture = make_capture("/p", rules=rules, headers={**PAGE, "host": host})
    assert (capture.page_url is not None) is is_allowed
    assert (capture.connection.cookie_domain.domain is not None) is is_allowed


def test_user_agents_are_utf_8_before_latin_1() -> None:
    for raw in ("Müller/1.0 日本".encode(), "Müller/1.0".encode("latin-1")):
        user_agent = make_capture(headers={"user-agent": raw}).user_agent
        assert user_agent is not None
        assert user_agent.startswith("Müller/1.0")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"cf-connecting-ip": "8.8.8.8"}, "8.8.8.8"),
        ({"cf-connecting-ip": "240.1.2.3", "cf-connecting-ipv6": "2606:2800::1"}, "2606:2800::1"),
        ({"cf-connecting-ip": "240.1.2.3"}, None),
        ({"cf-connecting-ip": "8.8.8.8", "cf-connecting-ipv6": "2606:2800::1"}, "8.8.8.8"),
        ({"cf-connecting-ip": "240.1.2.3", "cf-connecting-ipv6": "no address"}, None),
    ],
)
def test_cloudflares_pseudo_ipv4_gives_the_real_address(
    headers: dict[str, str], expected: str | None
) -> None:
    rules = SiteRules(
        trusted_proxies=parse_networks(CLIENT[0]), client_ip_header=b"cf-connecting-ip"
    )
    assert make_capture(rules=rules, headers=headers).connection.client_ip == expected
