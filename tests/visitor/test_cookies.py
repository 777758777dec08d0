from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.visitor.cookies import (
    CookieDomain,
    Cookies,
    build_set_cookie,
    find_cookie_domain,
    parse_host,
    read_cookie,
)
from bridge.visitor.meta_cookies import (
    BrowserId,
    build_fbc,
    new_fbp,
    parse_browser_id,
    read_click_id,
    renew_fbc,
)
from bridge.visitor.signing import encode_base64url

NOW_MS = 1_795_000_000_000


@pytest.mark.parametrize(
    ("value", "payload"),
    [
        pytest.param("fb.1.1700000000000.1234567890", "1234567890", id="digits"),
        pytest.param("fb.1.1700000000000.a1b2-c3", "a1b2-c3", id="any payload"),
        pytest.param("fb.2.1700000000000.IwAR_x~y", "IwAR_x~y", id="click id"),
        pytest.param("fb.1.1700000000000.x.AQICAQMC", "x", id="appendix of eight"),
        pytest.param("fb.1.1700000000000.x.Bg", "x", id="appendix of two"),
        pytest.param("fb.1.1700000000000.a%2Eb", "a%2Eb", id="percent is not decoded"),
        pytest.param("fb.1.1700000000000.a__DOT__b", "a__DOT__b", id="stored dot"),
        pytest.param("fb.1.1700000000000." + "x" * 500, "x" * 500, id="500 characters"),
    ],
)
def test_browser_id_is_kept_when_the_pixel_keeps_it(value: str, payload: str) -> None:
    parsed = parse_browser_id(value)
    assert parsed is not None
    assert parsed.payload == payload
    assert str(parsed) == value


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("garbage", id="garbage"),
        pytest.param("a.b.c.d", id="four parts of anything"),
        pytest.param("fb.1.yesterday.1", id="time is no number"),
        pytest.param("fb.1.1700000000000.", id="empty payload"),
        pytest.param("fb.1.1700000000000.x.ZZ", id="unknown appendix of two"),
        pytest.param("fb.1.1700000000000.x.AQI", id="appendix of three"),
        pytest.param("fb.1.1700000000000.x.y.z", id="six parts"),
        pytest.param("fb.1.1700000000000.a b", id="space"),
        pytest.param("fb.1.1700000000000.a\r\nSet-Cookie: x", id="line break"),
        pytest.param("fb.1.1700000000000.a;b", id="semicolon"),
        pytest.param("fb.1.1700000000000." + "x" * 600, id="too long"),
        pytest.param("", id="empty"),
    ],
)
def test_browser_id_is_refused_when_the_pixel_would_replace_it(value: str) -> None:
    assert parse_browser_id(value) is None


@given(st.text(max_size=700))
def test_browser_id_round_trips_whatever_it_accepts(value: str) -> None:
    parsed = parse_browser_id(value)
    assert parsed is None or str(parsed) == value


def test_new_fbp_has_four_parts_and_is_accepted() -> None:
    value = new_fbp(2, NOW_MS, bytes(range(8)))
    assert parse_browser_id(value) == BrowserId(2, NOW_MS, value.split(".")[3])
    assert value.split(".")[3].isdigit()


def test_fbc_writes_dots_as_the_pixel_does() -> None:
    assert build_fbc("a.b", 1, NOW_MS) == f"fb.1.{NOW_MS}.a__DOT__b"


@pytest.mark.parametrize(
    ("stored", "click_id", "expected"),
    [
        pytest.param(None, None, None, id="nothing"),
        pytest.param(None, "NEW", f"fb.1.{NOW_MS}.NEW", id="first click"),
        pytest.param("fb.1.5.OLD", None, "fb.1.5.OLD", id="no click"),
        pytest.param("fb.1.5.OLD", "OLD", "fb.1.5.OLD", id="same click keeps its time"),
        pytest.param("fb.1.5.a__DOT__b", "a.b", "fb.1.5.a__DOT__b", id="same click with a dot"),
        pytest.param("fb.1.5.OLD.AQICAQMC", "OLD", "fb.1.5.OLD.AQICAQMC", id="appendix, same"),
        pytest.param("fb.1.5.OLD", "old", f"fb.1.{NOW_MS}.old", id="case counts"),
        pytest.param(
            "fb.1.5.OLD.AQICAQMC", "NEW", f"fb.1.{NOW_MS}.NEW.AQICAQMC", id="appendix, other"
        ),
        pytest.param("garbage", "NEW", f"fb.1.{NOW_MS}.NEW", id="garbage is replaced"),
    ],
)
def test_fbc_changes_only_with_the_click(
    stored: str | None, click_id: str | None, expected: str | None
) -> None:
    assert renew_fbc(stored, click_id, 1, NOW_MS) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param(b"fbclid=IwAR_-~1", "IwAR_-~1", id="alone"),
        pytest.param(b"a=1&fbclid=X&b=2", "X", id="among others"),
        pytest.param(b"fbclid=A&fbclid=B", "A", id="the first"),
        pytest.param(b"xfbclid=A&fbclid=B", "B", id="whole names only"),
        pytest.param(b"fbclid=a%2Eb", "a.b", id="decoded once"),
        pytest.param(b"fbclid=a%252Eb", None, id="not decoded twice"),
        pytest.param(b"FBCLID=A", None, id="case counts"),
        pytest.param(b"fbclid=", None, id="empty"),
        pytest.param(b"fbclid=a%0d%0aSet-Cookie:x", None, id="line break"),
        pytest.param(b"fbclid=a%20b", None, id="space"),
        pytest.param(b"fbclid=" + b"x" * 500, "x" * 500, id="500"),
        pytest.param(b"fbclid=" + b"x" * 501, None, id="501"),
        pytest.param(b"fbclid=NEW&brid=BR", "NEW_aem_BR", id="joined"),
        pytest.param(b"brid=B.R&a=1&fbclid=NEW", "NEW_aem_B.R", id="in any order"),
        pytest.param(b"fbclid=NEW&brid=", "NEW", id="empty brid"),
        pytest.param(b"fbclid=NEW&brid=a%20b", "NEW", id="bad brid"),
        pytest.param(b"brid=BR", None, id="brid alone"),
        pytest.param(b"fbclid=NEW&brid=" + b"x" * 495, None, id="too long together"),
        pytest.param(b"", None, id="none"),
    ],
)
def test_click_id_follows_the_pixel(query: bytes, expected: str | None) -> None:
    assert read_click_id(query) == expected


@given(st.binary(max_size=2000))
def test_click_id_never_raises(query: bytes) -> None:
    found = read_click_id(b"fbclid=" + query)
    assert found is None or 0 < len(found) <= 500


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("example.com", CookieDomain("example.com", 1)),
        ("www.shop.example.com", CookieDomain("example.com", 1)),
        ("shop.example.co.uk", CookieDomain("example.co.uk", 2)),
        ("my.github.io", CookieDomain("my.github.io", 2)),
        ("github.io", CookieDomain(None, 1)),
        ("localhost", CookieDomain(None, 0)),
        ("intranet", CookieDomain(None, 0)),
        ("[::1]", CookieDomain(None, 0)),
        ("127.0.0.1", CookieDomain(None, 3)),
        ("192.168.1.20", CookieDomain(None, 3)),
    ],
)
def test_cookie_domain_is_the_one_the_pixel_finds(host: str, expected: CookieDomain) -> None:
    assert find_cookie_domain(host) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"Shop.Example.com", "shop.example.com"),
        (b"shop.example.com:8443", "shop.example.com"),
        (b"shop.example.com.", "shop.example.com"),
        (b"[::1]:8000", "[::1]"),
        (b"a..b", None),
        (b"a b", None),
        (b"a\r\nb", None),
        (b"shop.example.com:port", None),
        (b"<script>", None),
        (b"\xff\xfe", None),
        (b"", None),
        (b"a" * 400, None),
    ],
)
def test_host_is_parsed_or_refused(raw: bytes, expected: str | None) -> None:
    assert parse_host(raw) == expected


@given(st.binary(max_size=400))
def test_host_of_any_bytes_is_safe_in_a_header(raw: bytes) -> None:
    host = parse_host(raw)
    if host is not None:
        domain = find_cookie_domain(host).domain
        line = build_set_cookie(b"a", "b", max_age=1, domain=domain)
        assert b"\r" not in line
        assert b"\n" not in line


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"_fbp=1", b"1"),
        (b"a=b; _fbp=1; c=d", b"1"),
        (b"a=b;_fbp=1", b"1"),
        (b"x_fbp=0; _fbp=1", b"1"),
        (b"_fbp=1; _fbp=2", b"1"),
        (b"a=_fbp=1", None),
        (b"_fbp=", b""),
        (b"", None),
    ],
)
def test_cookie_is_found_by_its_whole_name(header: bytes, expected: bytes | None) -> None:
    assert read_cookie(header, b"_fbp") == expected


@given(st.binary(max_size=100))
def test_base64_of_any_bytes_is_url_safe_and_unpadded(data: bytes) -> None:
    assert encode_base64url(data) == base64.urlsafe_b64encode(data).rstrip(b"=")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"a=1; _bridge=x; b=2", b"x"),
        (b"_bridge=x", b"x"),
        (b"a=1;_bridge=x", b"x"),
        (b"q=shoes _bridge=forged", None),
        (b"q=shoes _bridge=forged; _bridge=own", b"own"),
        (b"q=shoes, _bridge=forged", None),
        (b"x_bridge=forged; a=_bridge=forged", None),
        (b"_bridge=x  ; a=b ", b"x"),
        (b"a=b; _bridge=x y ", b"x y"),
        (b"a=b; _bridge=  ;_fbp=1", b""),
    ],
)
def test_only_a_semicolon_separates_cookies(header: bytes, expected: bytes | None) -> None:
    assert read_cookie(header, b"_bridge") == expected
    assert Cookies(header).session == expected


def test_of_several_choices_a_denial_wins() -> None:
    assert Cookies(b"_bridge_c=granted; _bridge_c=denied").choice == "denied"
    assert Cookies(b"_bridge_c=denied; _bridge_c=granted").choice == "denied"
    assert Cookies(b"_bridge_c=limited; _bridge_c=granted").choice == "limited"


def test_cookies_of_one_name_are_bounded() -> None:
    header = b"; ".join(b"_bridge=%d" % n for n in range(1000))
    cookies = Cookies(header)
    assert (cookies.session, cookies.other_sessions) == (b"0", [b"1", b"2", b"3"])


def test_nothing_is_read_of_an_endless_header() -> None:
    assert Cookies(b"a=" + b"x" * 300_000 + b"; _bridge=x").session is None
    assert parse_host(b"x" * 500_000) is None
    assert parse_host(b"x" * 253 + b":8000") is not None


@pytest.mark.parametrize(
    ("value", "mended"),
    [
        ("fb.1.1795000000.Click", "fb.1.1795000000000.Click"),
        ("fb.1.1795000000000.Click", "fb.1.1795000000000.Click"),
        ("fb.1.1795000000.1795000000", "fb.1.1795000000000.1795000000"),
        ("fb.1.1.Click", "fb.1.1.Click"),
    ],
)
def test_time_in_seconds_is_mended(value: str, mended: str) -> None:
    assert Cookies(f"_fbc={value}".encode()).fbc == mended


@pytest.mark.parametrize(
    ("value", "mended"),
    [
        ("fb.1.1790000000000.a%252Eb", "fb.1.1790000000000.a__DOT__b"),
        ("fb.1.1790000000000.a%7Eb.AQ", "fb.1.1790000000000.a~b.AQ"),
        ("fb.1.1790000000000.a%20b", "fb.1.1790000000000.a%20b"),  # no cookie could hold it
        ("fb.1.1790000000000.100%", "fb.1.1790000000000.100%"),
    ],
)
def test_percent_signs_go_but_are_known_to_be_in_the_browser(value: str, mended: str) -> None:
    cookies = Cookies(f"_fbc={value}".encode())
    assert (cookies.fbc, cookies.sent_fbc) == (mended, value)
