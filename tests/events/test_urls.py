from __future__ import annotations

import itertools
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.events.reader import SERVER_EVENT, EventReader
from bridge.events.urls import (
    MAX_LENGTH,
    MAX_READ,
    PRIVATE_PARAMETERS,
    clean_url,
    normalize_parameters,
)

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
CLICK = "IwAR0eyJhbGciOiJIUzI1NiJ9"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param("https://a.ex/p?a=1&b=2", "https://a.ex/p?a=1&b=2", id="kept"),
        pytest.param(
            f"https://a.ex/?fbclid={CLICK}&utm_source=fb",
            f"https://a.ex/?fbclid={CLICK}&utm_source=fb",
            id="click and campaign are kept",
        ),
        pytest.param("https://a.ex/p#token=1", "https://a.ex/p", id="fragment"),
        pytest.param("https://a.ex/p?", "https://a.ex/p", id="empty query"),
        pytest.param("https://u:p@a.ex/p", "https://a.ex/p", id="user and password"),
        pytest.param("https://a.ex/?token=1&a=2", "https://a.ex/?a=2", id="token"),
        pytest.param("https://a.ex/?Access-Token=1", "https://a.ex/", id="other spelling"),
        pytest.param("https://a.ex/?%74oken=1&a=2", "https://a.ex/?a=2", id="encoded name"),
        pytest.param("https://a.ex/?e=j@x.com&a=2", "https://a.ex/?a=2", id="e-mail"),
        pytest.param("https://a.ex/?e=j%40x.com&a=2", "https://a.ex/?a=2", id="encoded"),
        pytest.param("https://a.ex/?e=j%2540x.com", "https://a.ex/", id="encoded twice"),
        pytest.param("https://a.ex/?j%40x.com", "https://a.ex/", id="e-mail as a name"),
        pytest.param(f"https://a.ex/?x={JWT}", "https://a.ex/", id="JSON Web Token"),
        pytest.param(
            "https://a.ex/unsubscribe/j@x.com/now",
            "https://a.ex/unsubscribe/redacted/now",
            id="e-mail in the path",
        ),
        pytest.param(f"https://a.ex/r/{JWT}", "https://a.ex/r/redacted", id="JWT in the path"),
        pytest.param("https://a.ex/@maker/shoe", "https://a.ex/@maker/shoe", id="a handle"),
        *(
            pytest.param(f"https://a.ex/?{pair}&a=2", "https://a.ex/?a=2", id=pair)
            for pair in (
                "reset_password_token=x",
                "X-Amz-Signature=x",
                "user[password]=x",
                "user%5Bemail%5D=x",
                "ph=1",
                "b=1;token=x".partition(";")[2],
            )
        ),
        pytest.param("https://a.ex/?a=1;token=x", "https://a.ex/?a=1", id="semicolons"),
        pytest.param("https://a.ex/?e=j%25252540x.com", "https://a.ex/", id="encoded four times"),
        pytest.param("javascript:alert(1)", None, id="other scheme"),
        pytest.param("/p", None, id="relative"),
        pytest.param("https:///p", None, id="no host"),
        pytest.param("https://a.ex/a b", None, id="space"),
        pytest.param("https://a.ex/\r\nX: y", None, id="line break"),
        pytest.param("https://a.ex/" + "x" * MAX_LENGTH, None, id="too long"),
        pytest.param("", None, id="empty"),
    ],
)
def test_url_leaves_without_its_private_parts(url: str, expected: str | None) -> None:
    assert clean_url(url.encode("latin-1")) == expected


def test_url_loses_the_parameters_that_the_site_names() -> None:
    private = PRIVATE_PARAMETERS | normalize_parameters(["Customer-No"])
    assert clean_url(b"https://a.ex/?customer_no=1&a=2", private) == "https://a.ex/?a=2"


@given(st.binary(max_size=300))
def test_url_of_any_bytes_is_clean_or_refused(raw: bytes) -> None:
    for url in (raw, b"https://a.ex/" + raw):
        clean = clean_url(url)
        if clean is not None:
            assert clean.isascii()
            assert clean.isprintable()
            assert clean_url(clean.encode()) == clean


@pytest.mark.parametrize(
    "query",
    [
        *("name=Ada", "fname=Ada", "lname=L", "customer_name=Ada", "customer[name]=Ada"),
        *("address=Main+St+5", "birthday=1815-12-10", "bday=1815", "dob=10.12.1815", "zip=10115"),
        *("plz=10115", "vorname=Ada", "Nachname=L", "kunde_name=Ada", "handy=0170+1234567"),
        *("first-name=Ada", "billing.city=Bern", "ship_to_name=Ada", "iban=x", "mobile=0170123456"),
        *(
            "x=%2B491701234567",
            "x=%2B49+170+1234567",
            "x=+491701234567",
            "x=%252B49%20170%201234567",
        ),
        *("x=j%26%2364%3Bx.com", "x=j%5Cu0040x.com", "x=j%2525252525252540x.com"),
        "x=DE89370400440532013000",
        "x=ghp_" + "a1" * 18,
        "next=%2Faccount%3Ftoken%3Dabc",
        "next=/account?first_name=Ada",
    ],
)
def test_parameter_of_a_person_leaves_a_url(query: str) -> None:
    assert clean_url(f"https://a.ex/p?{query}&a=2".encode()) == "https://a.ex/p?a=2"


@pytest.mark.parametrize(
    "query",
    [
        *("gender=women", "size=42", "color=red", "q=blue+shirt", "product_name=Shirt", "mobile=1"),
        *("store_name=Mitte", "utm_campaign=summer_2026_sale", "utm_name=x", "page=2", "sort=name"),
        *(
            "variant=38072856113265",
            "sku=0423-123456",
            "filename=a.pdf",
            "city=Paris",
            "country=DE",
        ),
        *(
            "event_name=Sale",
            "price=10-20",
            "date=2026-11-25",
            "q=20%25+off",
            "thumb=shoe@1200w.jpg",
        ),
        *("next=/cart?step=2", "phone_model=iphone-15", "t=1764059618000"),
    ],
)
def test_parameter_of_a_shop_stays_in_a_url(query: str) -> None:
    assert clean_url(f"https://a.ex/p?{query}".encode()) == f"https://a.ex/p?{query}"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/u/%2B491701234567/x", "/u/redacted/x"),
        ("/u/j%26%2364%3Bx.com", "/u/redacted"),
        ("/100%/sale", "/100%/sale"),
        ("/p/860-500-2010", "/p/860-500-2010"),
        ("/p/shoe@1200w.jpg", "/p/shoe@1200w.jpg"),
        ("/xoxo-heart-necklace", "/xoxo-heart-necklace"),
        ("/sk-ii_facial_treatment_essence", "/sk-ii_facial_treatment_essence"),
    ],
)
def test_path_of_a_url_loses_what_is_a_persons(path: str, expected: str) -> None:
    assert clean_url(f"https://a.ex{path}".encode()) == f"https://a.ex{expected}"


@pytest.mark.parametrize(
    "url", ["https://u:p@a.ex/", "https://u@a.ex/", "http://u:p%40x@a.ex/", "https://@a.ex/"]
)
def test_user_name_and_password_leave_a_url(url: str) -> None:
    assert clean_url(url.encode()) == f"{url.partition(':')[0]}://a.ex/"
    assert EventReader().clean_url(url) == f"{url.partition(':')[0]}://a.ex/"


@pytest.mark.parametrize("length", [2000, 2048, 2049, 4096, 4097, 9000, 60_000])
def test_long_url_keeps_its_path_and_the_first_parameters(length: int) -> None:
    url = "https://a.ex/shoes/running?utm_source=fb&" + "&".join(f"p{i}=1" for i in range(12_000))
    url = url[: length - 1] + "&"
    for clean in (clean_url(url.encode()), EventReader().clean_url(url)):
        assert clean is not None
        assert clean.startswith("https://a.ex/shoes/running?utm_source=fb&p0=1")
        assert len(clean) <= MAX_LENGTH
        assert url.startswith(clean)
        assert url[len(clean)] == "&"  # no parameter is cut in two


def test_long_parameter_leaves_and_its_path_stays() -> None:
    url = b"https://a.ex/p?" + b"q=" + b"x" * 100_000
    assert clean_url(url) == "https://a.ex/p"
    assert clean_url(b"https://a.ex/p?a=1&q=" + b"x" * 2040) == "https://a.ex/p?a=1"


def test_what_is_cut_in_two_is_not_half_an_address() -> None:
    for end in range(30):
        url = "https://a.ex/p?a=" + "x" * (MAX_READ - 30 - end) + "&e=mary.smith@example.com"
        assert "mary" not in (clean_url(url.encode()) or "")


@pytest.mark.parametrize(
    "path", ["%/" * 700, "j@x.com/" * 500, "%2540/" * 600, "%/" * 2000, "j@x.de/" + "%/" * 1000]
)
def test_redacted_url_is_one_that_an_event_may_have(path: str) -> None:
    given = {"event_name": "Lead", "event_source_url": "https://a.ex/" + path}
    fields, _, _ = EventReader().read_event(given, SERVER_EVENT, lambda *removed: None)
    assert fields["event_source_url"].startswith("https://a.ex/")
    assert len(fields["event_source_url"]) <= 4096


PIECES = [
    "a",
    "a@",
    "@",
    "ey",
    "%25",
    "%",
    "%/",
    "%2",
    "&",
    "a=b&",
    ";",
    "=",
    "&#64;",
    "\\",
    "+1",
    "/",
]
PIECES += [
    "+49 1",
    "eyJ",
    "?a=",
    "%3Fa%3D",
    "j@x.de/",
    "xox",
    "AA00",
    "%C3%A9",
    "a@a.",
    "1-",
    "%41x",
]
FORMS: dict[str, str] = {
    "path": "https://a{}.ex/{}",
    "query": "https://a{}.ex/?{}",
    "value": "https://a{}.ex/?x={}",
    "user": "https://{}{}@a.ex/",
    "host": "https://{}{}",
    "port": "https://{}:{}",
}
number = itertools.count(10**6)


def measure(form: str, text: str) -> float:
    """Return the least processor time of ``clean_url``, in seconds, of several runs."""
    times = []
    for _ in range(7):
        url = FORMS[form].format(next(number), text).encode()  # another one, nothing remembers it
        start = time.process_time_ns()
        clean_url(url)
        times.append(time.process_time_ns() - start)
    return min(times) / 1e9


@pytest.mark.parametrize("end", ["", "\x7f", "@", "j@x.com"])
@pytest.mark.parametrize("form", FORMS)
def test_work_for_a_url_grows_with_its_length_and_no_faster(form: str, end: str) -> None:
    for piece in PIECES:
        short, long = (measure(form, (piece * 2000)[:length] + end) for length in (900, 1800))
        # Twice the length: twice the time, and what a busy machine adds.
        assert long <= 3 * short + 200e-6, piece


@pytest.mark.parametrize("length", [1900, 60_000])
@pytest.mark.parametrize("form", FORMS)
def test_longest_url_costs_little(form: str, length: int) -> None:
    for piece in PIECES:
        seconds = measure(form, (piece * 60_000)[:length] + "\x7f")
        assert seconds < 5e-3, piece  # 1 ms on a machine that does nothing else


def test_click_id_beside_short_values_is_kept_and_no_url_is_longer_for_it() -> None:
    click = "IwZXh0bgNhZW0BMABhZGlkAasrC1x9" * 3
    assert clean_url(f"https://a.ex/p?utm_source=ig&fbclid={click}".encode()) == (
        f"https://a.ex/p?utm_source=ig&fbclid={click}"
    )
    assert clean_url(f"https://a.ex/p?email=a&fbclid={click}".encode()) == (
        f"https://a.ex/p?fbclid={click}"
    )
    address = f"https://a.ex/{'p' * 2000}"
    assert clean_url(f"{address}?a=1&fbclid={click}".encode()) == f"{address}?a=1"


def test_long_urls_and_names_are_not_remembered() -> None:
    tracemalloc.start()
    try:
        for i in range(3000):
            clean_url(f"https://a.ex/{i}/{'x' * 1000}?{'y' * 900}{i}=1".encode())
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 500_000
