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
from bridge.events.places import COUNTRIES, US_STATES
from tests.servers import ROOT

NO_OPTIONS = Options(region=None, today=None)
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
        (f" {DIGEST}", sha256(DIGEST)),
        (f"{DIGEST}\n", sha256(DIGEST)),
        ("User\ufeff\xa0 42\u3000", sha256("user42")),
        ("user\x1c42\x85", sha256("user\x1c42\x85")),
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
        ("ph", "+1 650 555 1212 ext. 5", "16505551212"),
        ("ph", "tel:+1-650-555-1212;ext=5", "16505551212"),
        ("ph", "+1 650 555 1212 (home)", "16505551212"),
        ("ph", ARABIC_DIGITS, "971501018877"),
        ("fn", "mary\x00", "mary"),
        ("db", "1997-02-16t00:00:00z", "19970216"),
        ("db", "16. 2. 1997", "19970216"),
        ("db", "1997年2月16日", "19970216"),
        ("db", "1997-16-02", "19970216"),
        ("ge", "mrs.", "f"),
        ("ct", "łódź", "d"),
        ("ct", "東京 23", "東京23"),
        ("st", "district of columbia", "dc"),
        ("st", "baden-württemberg", "badenwürttemberg"),
        ("zp", "94035", "94035"),
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
    assert len(set(COUNTRIES.values())) == 249
    assert len(set(US_STATES.values())) == 56
    for table in (COUNTRIES, US_STATES):
        for name, code in table.items():
            assert re.fullmatch("[a-z]+", name)
            assert re.fullmatch("[a-z]{2}", code)
            assert table[code] == code
