from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import ConfigError
from bridge.capture import MAX_URL_LENGTH, Capture, parse_ip, parse_networks
from tests.factories import CLIENT, make_capture

PROXIES = parse_networks("10.0.0.0/8, 2001:db8::/32")
BEHIND: dict[str, Any] = {"client": ("10.0.0.1", 1), "trusted_proxies": PROXIES}
PAGE = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
FETCH = {"sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("93.184.216.34", "93.184.216.34"),
        ("93.184.216.34:443", "93.184.216.34"),
        (" 2606:2800::1 ", "2606:2800::1"),
        ("[2606:2800::1]:443", "2606:2800::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:93.184.216.34", "93.184.216.34"),
        ("unknown", None),
        ("_hidden", None),
        ("1.2.3", None),
        ("", None),
    ],
)
def test_ip_is_cleaned_or_refused(text: str, expected: str | None) -> None:
    address = parse_ip(text)
    assert (str(address) if address else None) == expected


def test_proxies_that_are_no_networks_are_refused_at_once() -> None:
    with pytest.raises(ConfigError, match=r"trusted_proxies.*10\.0\.0\.0/33"):
        parse_networks(["10.0.0.0/33"])


def test_client_ip_is_the_connection_without_trusted_proxies() -> None:
    capture = make_capture(headers={"x-forwarded-for": "8.8.8.8"})
    assert capture.client_ip == CLIENT[0]


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
    assert make_capture(headers={"x-forwarded-for": forwarded}, **BEHIND).client_ip == expected


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "192.0.2.1", "100.64.0.1", "::1", "2001:db8::1", "224.0.0.1"],
)
def test_client_ip_is_never_private_or_documentation(address: str) -> None:
    assert make_capture(client=(address, 1)).client_ip is None


def test_client_ip_is_unknown_without_client() -> None:
    assert make_capture(client=None).client_ip is None


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
    assert capture.host is None
    assert capture.page_url is None
    assert capture.cookie_domain.domain is None


def test_page_is_unknown_when_it_is_too_long() -> None:
    assert make_capture("/" + "x" * MAX_URL_LENGTH, headers=PAGE).page_url is None


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
        ("ajs_anonymous_id=%220b7b2f4e-6f0d%22", "0b7b2f4e-6f0d"),
        ("ajs_anonymous_id=%0d%0a", None),
        ("ajs_anonymous_id=", None),
    ],
)
def test_segments_anonymous_id_is_read_bare_or_quoted(cookie: str, expected: str | None) -> None:
    assert make_capture(headers={"cookie": cookie}).ajs_anonymous_id == expected


def test_cookies_of_several_headers_are_read() -> None:
    capture = make_capture()
    scope = {**capture._scope, "headers": [(b"cookie", b"a=1"), (b"cookie", b"_fbp=fb.1.2.3")]}
    assert Capture(scope).fbp == "fb.1.2.3"


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


HEADERS = ["host", "cookie", "referer", "origin", "user-agent", "accept", "x-forwarded-for"]
HEADERS += ["x-forwarded-host", "x-forwarded-proto", "sec-fetch-mode", "sec-fetch-dest"]
PROPERTIES = [name for name in dir(Capture) if not name.startswith("_")]


@given(
    values=st.lists(st.tuples(st.sampled_from(HEADERS), st.binary(max_size=200)), max_size=8),
    query=st.binary(max_size=100),
    path=st.text(max_size=50),
)
def test_any_bytes_in_any_header_raise_nothing_and_leave_no_control_character(
    values: list[tuple[str, bytes]], query: bytes, path: str
) -> None:
    scope = make_capture()._scope
    headers = [(name.encode(), value) for name, value in values]
    capture = Capture(
        {
            **scope,
            "headers": headers,
            "query_string": query,
            "path": path,
            "client": ("10.0.0.1", 1),
        },
        PROXIES,
    )
    for name in ("page_url", "referrer_url", "user_agent", "client_ip", "host", "fbp", "fbc"):
        value = getattr(capture, name)
        assert value is None or value.isprintable()
    assert capture.click_id is None or capture.click_id.isascii()
    for name in PROPERTIES:
        getattr(capture, name)
