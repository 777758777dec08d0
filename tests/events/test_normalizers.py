from __future__ import annotations

import hashlib
import json
import re
import sys
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import ConfigError
from bridge.events.normalizers import (
    Options,
    RefusedError,
    Rule,
    build_birth_part,
    build_name_start,
    check_phone_support,
    hash_external_id,
    normalize_birth_date,
    normalize_birth_year,
    normalize_city,
    normalize_country,
    normalize_email,
    normalize_gender,
    normalize_name,
    normalize_phone,
    normalize_state,
    normalize_zip,
)
from bridge.events.places import COUNTRIES, MONTH_FIRST, PROVINCES, STATES, UNDECIDED, US_STATES
from tests.servers import ROOT

NO_OPTIONS = Options()
RULES: dict[str, Rule] = {
    "em": normalize_email,
    "ph": normalize_phone,
    "fn": normalize_name,
    "db": normalize_birth_date,
    "ge": normalize_gender,
    "ct": normalize_city,
    "st": normalize_state,
    "zp": normalize_zip,
    "country": normalize_country,
    "f5first": build_name_start(5),
    "fi": build_name_start(1),
    "dobd": build_birth_part(1, 31),
    "dobm": build_birth_part(1, 12),
    "doby": normalize_birth_year,
}
VECTORS: list[dict[str, Any]] = json.loads(
    (ROOT / "tests/data" / "hash_vectors.json").read_text("utf-8")
)
EXTERNAL_IDS = [vector for vector in VECTORS if vector["key"] == "external_id"]
DIGEST = "62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f"
ARABIC_DIGITS = "".join(
    chr(0x660 + int(character)) if character.isdigit() else character
    for character in "+971 50 101 8877"
)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def phone_in(region: str, number: str) -> str:
    return normalize_phone(number.lower(), Options(region=region, today=None))


@pytest.mark.parametrize("vector", EXTERNAL_IDS, ids=str)
def test_external_id_vector_hashes_as_the_pixel_does(vector: dict[str, Any]) -> None:
    assert hash_external_id(vector["input"]) == vector["sha256"]


@pytest.mark.parametrize(
    ("value", "hashed"),
    [
        ("3F2504E04F8911D39A0C0305E82C3301", sha256("3f2504e04f8911d39a0c0305e82c3301")),
        (DIGEST.upper(), DIGEST),
        (f" {DIGEST}", DIGEST),
        (f"{DIGEST}\n", DIGEST),
        (f"\t{DIGEST.upper()}.AQQCAQIB\r\n", DIGEST),
        (f"{DIGEST}.AQ", DIGEST),
        (f"{DIGEST}.AQQCAQIB.AQ", sha256(f"{DIGEST}.aqqcaqib.aq")),
        (f"{DIGEST[:-1]}g.AQQCAQIB", sha256(f"{DIGEST[:-1]}g.aqqcaqib")),
        ("User\ufeff\xa0 42\u3000", sha256("user42")),
        ("user\x1c42\x85", sha256("user\x1c42")),
        ("ΝΊΚΟΣ", sha256("νίκος")),
        ("  ", sha256("  ")),
        ("", ""),
    ],
    ids=ascii,
)
def test_external_id_follows_the_pixels_rule(value: str, hashed: str) -> None:
    assert hash_external_id(value) == hashed


@pytest.mark.parametrize(
    ("raw", "same_as"),
    [
        ("User-42", "user-42"),
        (" User 42 ", "user42"),
        ("\ufeffx\u2003y", "xy"),
        ("3F2504E0-4F89-11D3-9A0C-0305E82C3301", "3f2504e0-4f89-11d3-9a0c-0305e82c3301"),
    ],
)
def test_external_id_loses_white_space_and_case(raw: str, same_as: str) -> None:
    assert hash_external_id(raw) == hash_external_id(same_as)


def test_external_id_that_is_a_digest_passes_in_lower_case() -> None:
    assert hash_external_id("AB" * 32) == "ab" * 32
    assert hash_external_id("\x1cab" + "ab" * 31) != "ab" * 32


@pytest.mark.parametrize(
    ("key", "text", "normalized"),
    [
        ("em", "mary@bücher.example", "mary@bücher.example"),
        ("em", "ma\u200bry@exam\u00adple.com\u200e", "mary@example.com"),
        ("em", "\ufeffmary@example.com\u2060", "mary@example.com"),
        ("em", "\u200b mary@example.com", "mary@example.com"),
        ("em", "mary\x85@example.com", "mary@example.com"),
        ("em", "mary@example.com\x85", "mary@example.com"),
        ("em", "mary@दिल्ली.भारत", "mary@दिल्ली.भारत"),
        ("ph", "+49 (0)170 1234567", "491701234567"),
        ("ph", "+49(0)170-1234567", "491701234567"),
        ("ph", "+49 ( 0 ) 170 1234567", "491701234567"),
        ("ph", "+49 (0170) 1234567", "491701234567"),
        ("ph", "0049 (0)170 1234567", "491701234567"),
        ("ph", "49 (0)170 1234567", "491701234567"),
        ("ph", "(+49) (0)170 1234567", "491701234567"),
        ("ph", "tel:+49 (0)170 1234567", "491701234567"),
        ("ph", "+44 (0)20 7946 0018", "442079460018"),
        ("ph", "+39 (0)6 6982 1234", "390669821234"),  # where it is part of the number
        ("ph", "+1 (650) 555-0100", "16505550100"),
        ("ph", "16505551234.0", "16505551234"),
        ("ph", "+1 650 555 1212 ext. 5", "16505551212"),
        ("ph", "tel:+1-650-555-1212;ext=5", "16505551212"),
        ("ph", "+1 650 555 1212 (home)", "16505551212"),
        ("ph", ARABIC_DIGITS, "971501018877"),
        ("fn", "mary\x00", "mary"),
        ("db", "1997-02-16t00:00:00z", "19970216"),
        ("db", "16. 2. 1997", "19970216"),
        ("db", "1997年2月16日", "19970216"),
        ("db", "1997-16-02", "19970216"),
        ("db", "31121990", "19901231"),
        ("db", "31.12.1990", "19901231"),
        ("db", "12311990", "19901231"),
        ("db", "19121990", "19901219"),
        ("db", "12121990", "19901212"),
        ("db", "3.3.1990", "19900303"),
        ("db", "13-3-1990", "19900313"),
        ("db", "3-13-1990", "19900313"),
        ("db", "3/4/1990", "19900304"),  # Meta's own example has slashes, month first
        ("db", "19900312.0", "19900312"),
        ("ge", "mrs.", "f"),
        ("ct", "łódź", "d"),
        ("ct", "東京 23", "東京23"),
        ("st", "district of columbia", "dc"),
        ("st", "ontario", "on"),
        ("st", "on", "on"),
        ("st", "québec", "qc"),
        ("st", "quebec", "qc"),
        ("st", "british columbia", "bc"),
        ("st", "colombie-britannique", "bc"),
        ("st", "prince edward island", "pe"),
        ("st", "île-du-prince-édouard", "pe"),
        ("st", "newfoundland and labrador", "nl"),
        ("st", "yukon territory", "yt"),
        ("st", "bay\x85ern", "bayern"),
        ("st", "baden-württemberg", "badenwürttemberg"),
        ("zp", "94035", "94035"),
        ("zp", "940351234", "94035"),
        ("zp", "94035 1234", "94035"),
        ("zp", "94035\x851234", "94035"),
        ("zp", "94035.0", "94035"),
        ("zp", "12345-678", "12345"),
        ("zp", "1234567890", "1234567890"),
        ("zp", "ab1234567", "ab1234567"),
        ("country", "xk", "xk"),
        ("country", "kosovo", "xk"),
        ("country", "fr\x85ance", "fr"),
        ("fn", "mary\x85", "mary"),
        ("ct", "par\x85is", "paris"),
        ("ct", "東\x85京", "東京"),
        ("country", "england", "gb"),
        ("country", "deu", "de"),
        ("country", "türkiye", "tr"),
        ("country", "korea, republic of", "kr"),
        ("country", "österreich", "at"),
        ("f5first", "valéry", "valér"),
        ("f5first", "o'neil-smith", "oneil"),
        ("fi", "mary", "m"),
        ("dobd", "2", "02"),
        ("dobm", "12", "12"),
        ("doby", "1997", "1997"),
    ],
)
def test_text_normalises_where_the_vectors_are_silent(key: str, text: str, normalized: str) -> None:
    assert RULES[key](text, NO_OPTIONS) == normalized


@pytest.mark.parametrize(
    ("key", "text", "reason"),
    [
        ("em", "ma\xa0ry@example.com", "expected an e-mail"),
        ("em", "mary@exam\xa0ple.com", "expected an e-mail"),
        ("em", "mary@exam\u3000ple.com", "expected an e-mail"),
        ("em", "mary@\u200b", "expected an e-mail"),
        ("em", "\u200b@example.com", "expected an e-mail"),
        ("ph", "0170 1234567", "no country code"),
        ("ph", "(0170) 1234567", "no country code"),
        ("ph", "(0)170 1234567", "no country code"),
        ("ph", "tel:0170-1234567", "no country code"),
        ("ph", "phone 0170 1234567", "no country code"),
        ("ph", "٠١٧٠١٢٣٤٥٦٧", "no country code"),
        ("db", "12.3.1990", "day or month first"),
        ("db", "03-04-1990", "day or month first"),
        ("db", "3 4 1990", "day or month first"),
        ("db", "12031990", "day or month first"),
        ("db", "32121990", "expected a date"),
        ("db", "31131990", "expected a date"),
        ("db", "31121890", "expected a date"),
        ("db", "311290", "expected a date"),
    ],
    ids=ascii,
)
def test_text_that_could_be_two_things_or_none_is_refused(key: str, text: str, reason: str) -> None:
    with pytest.raises(RefusedError, match=reason):
        RULES[key](text, NO_OPTIONS)


@pytest.mark.parametrize(
    ("country", "text", "day"),
    [
        ("DE", "12.3.1990", "19900312"),
        ("Germany", "12.3.1990", "19900312"),
        ("fra", "12/3/1990", "19900312"),
        ("GB", "12031990", "19900312"),
        ("US", "12.3.1990", "19901203"),
        ("United States", "12031990", "19901203"),
        ("US", "12/3/1990", "19901203"),
        ("US", "13.3.1990", "19900313"),
        ("DE", "3/13/1990", "19900313"),
        ("CA", "12/3/1990", "19901203"),
        (["DE"], "12.3.1990", "19900312"),
    ],
    ids=str,
)
def test_country_says_which_number_is_the_month(country: object, text: str, day: str) -> None:
    assert normalize_birth_date(text, Options(beside={"country": country})) == day
    if isinstance(country, str) and len(country) == 2:
        assert normalize_birth_date(text, Options(region=country)) == day
        swapped = "US" if country != "US" else "DE"
        both = Options(region=swapped, beside={"country": country})
        assert normalize_birth_date(text, both) == (day if country != "CA" else "19901203")


@pytest.mark.parametrize(
    "country", ["CA", "nowhere", None, 5, [], "x" * 10_000, "\ud800"], ids=ascii
)
def test_country_that_does_not_say_it_leaves_the_date_in_doubt(country: object) -> None:
    with pytest.raises(RefusedError, match="day or month first"):
        normalize_birth_date("12.3.1990", Options(beside={"country": country}))


@pytest.mark.parametrize("text", ["2026-11-24", "20261124", "24.11.2026", "11/24/2026", "20270101"])
def test_birth_date_after_today_is_refused(text: str) -> None:
    with pytest.raises(RefusedError, match="in the future"):
        normalize_birth_date(text, Options(today=date(2026, 11, 23)))
    assert normalize_birth_date(text, Options(today=date(2027, 1, 1)))


@pytest.mark.parametrize(
    ("country", "number", "digits"),
    [
        ("DE", "0170 1234567", "491701234567"),
        ("Deutschland", "(0170) 1234567", "491701234567"),
        ("gbr", "07911 123456", "447911123456"),
        ("US", "(650) 555-1212", "16505551212"),
        ("US", "650.555.1212", "16505551212"),
        ("US", "16505551212", "16505551212"),
        ("CA", "604 555 1212", "16045551212"),
        ("IT", "06 6982 1234", "390669821234"),
        ("HU", "06 20 123 4567", "36201234567"),
        ("FR", "06 12 34 56 78", "33612345678"),
        ("DE", "+1 650 555 1212", "16505551212"),
        ("DE", "+49 (0)170 1234567", "491701234567"),
        ("US", "0049 170 1234567", "491701234567"),
        ("XK", "044 123 456", "38344123456"),
        ("nowhere", "650 555 1212", "6505551212"),
    ],
)
def test_country_beside_a_number_counts(country: str, number: str, digits: str) -> None:
    assert normalize_phone(number, Options(beside={"country": country})) == digits


def test_country_beside_a_number_counts_before_the_apps() -> None:
    options = Options(region="DE", beside={"country": "AT"})
    assert normalize_phone("0664 1234567", options) == "436641234567"
    # A customer abroad may have kept a number of the app's country.
    assert normalize_phone("0151 12345678", Options(region="DE", beside={"country": "US"}))


def test_national_number_is_refused_without_what_can_read_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "phonenumbers", None)
    germany = Options(beside={"country": "DE"})
    with pytest.raises(RefusedError, match=re.escape("pip install 'pixel-bridge[phone]'")):
        normalize_phone("0170 1234567", germany)
    assert normalize_phone("+49 170 1234567", germany) == "491701234567"
    assert normalize_phone("491701234567", germany) == "491701234567"


@given(
    key=st.sampled_from(list(RULES)),
    text=st.text(st.characters(), max_size=100)
    | st.text("0123456789+-/. @x;#()aäéß東\u0301\ufeff\x00\ud800", max_size=30),
    today=st.sampled_from([None, date(2026, 11, 23)]),
)
def test_any_text_is_refused_or_normal_after_one_pass(
    key: str, text: str, today: date | None
) -> None:
    options = Options(region=None, today=today)
    try:
        normal = RULES[key](text.lower(), options)
    except RefusedError:
        return
    assert RULES[key](normal, options) == normal


@pytest.mark.parametrize(
    ("region", "number", "digits"),
    [
        ("DE", "0151 12345678", "4915112345678"),
        ("de", "+49 (0)151 12345678", "4915112345678"),
        ("DE", "4915112345678", "4915112345678"),
        ("DE", "+44 (0)844 412 4653", "448444124653"),
        ("DE", "16505551212", "16505551212"),
        ("DE", ARABIC_DIGITS, "971501018877"),
        ("GB", "07911 123456", "447911123456"),
        ("US", "(650) 555-1212 ext. 5", "16505551212"),
        ("US", "0044 844 412 4653", "448444124653"),
        ("US", "011 44 844 412 4653", "448444124653"),
        ("IT", "06 6982 1234", "390669821234"),
        ("US", "+1 123 456 7890", "11234567890"),  # possible, though never given out
    ],
)
def test_phone_is_read_in_its_region(region: str, number: str, digits: str) -> None:
    assert phone_in(region, number) == digits


@pytest.mark.parametrize(
    ("region", "number"),
    [
        ("DE", "12345"),
        ("DE", "0151 1234567890123"),
        ("DE", "secret"),
        ("DE", "+" + "1" * 300),
        ("DE", "+999 1234567"),
        ("US", "555-1212"),  # without its area code
    ],
)
def test_phone_that_cannot_be_one_is_refused_in_a_region(region: str, number: str) -> None:
    with pytest.raises(RefusedError, match="expected a phone number"):
        phone_in(region, number)


def test_phone_support_returns_the_region_in_upper_case() -> None:
    assert check_phone_support("de") == "DE"


@pytest.mark.parametrize("region", ["XX", "", "Germany", "49"])
def test_phone_support_refuses_an_unknown_region(region: str) -> None:
    with pytest.raises(ConfigError, match="ISO 3166-1 alpha-2"):
        check_phone_support(region)


def test_phone_support_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "phonenumbers", None)
    message = re.escape("pip install 'pixel-bridge[phone]'")
    with pytest.raises(ConfigError, match=message):
        check_phone_support("DE")
    with pytest.raises(ConfigError, match=message):
        phone_in("DE", "0151 12345678")
    assert normalize_phone("+49 151 12345678", NO_OPTIONS) == "4915112345678"


def test_places_cover_every_code_and_lead_to_nothing_else() -> None:
    assert len(set(COUNTRIES.values())) == 250  # and Kosovo
    assert len(set(US_STATES.values())) == 56
    assert len(set(PROVINCES.values())) == 13
    assert not PROVINCES.keys() & US_STATES.keys()
    assert COUNTRIES.keys() >= MONTH_FIRST | UNDECIDED
    for table in (COUNTRIES, STATES):
        for name, code in table.items():
            assert re.fullmatch("[a-z]+", name)
            assert re.fullmatch("[a-z]{2}", code)
            assert table[code] == code
