"""Golden data: ``data/hash_vectors.json``, computed on 2026-11-23 with Meta's Python SDK 26, its
parameter builder 1.3.2 and fbevents.js 2.9.325; each row says which of them agree.
"""

from __future__ import annotations

import enum
import hashlib
import json
import logging
import math
import re
import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from bridge.errors import ConfigError, InvalidEventError
from bridge.events.event import UserData
from bridge.events.normalizers import hash_external_id
from bridge.events.personal_values import holds_email
from bridge.events.user_data import (
    MAX_ITEMS,
    MAX_TEXT,
    MAX_USER_AGENT,
    read_user_data,
)
from tests.servers import ROOT

VECTORS: list[dict[str, Any]] = json.loads(
    (ROOT / "tests/data" / "hash_vectors.json").read_text("utf-8")
)
HASHED = [key for key in UserData.__struct_fields__ if getattr(UserData(), key) == []]
PLAIN = [key for key in UserData.__struct_fields__ if key not in HASHED]
DIGEST = "62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f"
GARBAGE = (
    st.text(st.characters(), max_size=1200)  # lone surrogates included
    | st.text("0123456789+-/. @%x;#()aäÉßÅ東\u0301\ufeff\x00\x1f\ud800", max_size=80)
    | st.binary(max_size=50)
    | st.integers()
    | st.floats()
    | st.booleans()
    | st.none()
    | st.dates()
    | st.datetimes()
    | st.uuids()
    | st.ip_addresses()
    | st.just(10**5000)
    | st.dictionaries(st.text(max_size=3), st.integers(), max_size=2)
)


def build_user_data(raw: Any, **options: Any) -> UserData:
    return UserData(**read_user_data(raw, **options))


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def digests(key: str, value: object, **options: Any) -> list[str]:
    """Return what ``value`` becomes under one hashed key."""
    return list(msgspec.structs.asdict(build_user_data({key: value}, **options)).get(key, []))


def plain(key: str, value: object) -> object:
    return getattr(build_user_data({key: value}), key)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "bridge.events"]


# Where Meta's tools agree on what helps nobody, or disagree: see docs/values.md.
KEPT_DIFFERENCES: dict[tuple[str, str], list[str]] = {
    ("ph", "+44 (0)844 412 4653"): ["448444124653"],  # "wrong number, clean it before"
    ("ph", "07911 123456"): [],  # "country code is never added": it matches nobody
    ("ct", "São Paulo"): ["sopaulo", "sãopaulo"],
    ("ct", "München"): ["mnchen", "münchen"],
    ("ct", "Zürich"): ["zrich", "zürich"],
    ("st", "Ontario"): ["on"],
}


@pytest.mark.parametrize(
    "vector", VECTORS, ids=[f"{v['key']}-{v['status']}-{v['input']!a}" for v in VECTORS]
)
def test_vector_hashes_as_meta_does(vector: dict[str, Any]) -> None:
    expected = [] if vector["sha256"] is None else [vector["sha256"]]
    kept = KEPT_DIFFERENCES.get((vector["key"], vector["input"]))
    if kept is not None:
        expected = [sha256(text) for text in kept]
    assert digests(vector["key"], vector["input"]) == expected
    if vector["status"] != "prehashed" and vector["normalized"] is not None:
        assert sha256(vector["normalized"]) == vector["sha256"]


@pytest.mark.parametrize(
    ("key", "value", "normalized"),
    [
        ("em", "\ufeffmary@example.com\xa0", "mary@example.com"),
        ("ph", 16505551212, "16505551212"),
        ("ph", 16505551212.0, "16505551212"),
        ("ph", Decimal("16505551212.0"), "16505551212"),
        ("ph", Fraction(16505551212), "16505551212"),
        ("zp", 94035.0, "94035"),
        ("zp", 940351234, "94035"),
        ("db", 19970216.0, "19970216"),
        ("external_id", 12345.0, "12345"),
        ("em", Markup("mary@example.com"), "mary@example.com"),
        ("fn", "Ma\x85ry", "mary"),
        ("external_id", f"{DIGEST}.AQQCAQIB", None),
        ("external_id", f" {DIGEST}\r\n", None),
        ("external_id", "4\x852", "42"),
        ("db", date(1997, 2, 16), "19970216"),
        ("db", datetime(1997, 2, 16, 8, 30, tzinfo=UTC), "19970216"),
        ("db", 19970216, "19970216"),
        ("ge", "Mrs.", "f"),
        ("st", "District of Columbia", "dc"),
        ("zp", 94035, "94035"),
        ("country", "DEU", "de"),
        ("external_id", 12345, "12345"),
        ("external_id", uuid.UUID(int=5), str(uuid.UUID(int=5))),
        ("f5first", "Valéry", "valér"),
        ("f5last", "O'Neil-Smith", "oneil"),
        ("fi", "Mary", "m"),
        ("dobd", "2", "02"),
        ("dobm", 12, "12"),
        ("doby", "1997", "1997"),
    ],
)
def test_value_is_trimmed_lower_cased_and_given_to_its_keys_rule(
    key: str, value: object, normalized: str | None
) -> None:
    assert digests(key, value) == [DIGEST if normalized is None else sha256(normalized)]


def test_city_with_accents_goes_in_both_forms_the_pixels_first() -> None:
    assert digests("ct", "São Paulo") == [sha256("sopaulo"), sha256("sãopaulo")]
    assert digests("ct", ["Zürich", "Paris", "Łódź"]) == [
        sha256(each) for each in ("zrich", "paris", "d", "zürich", "łódź")
    ]
    assert digests("ct", "東京") == [sha256("東京")]
    assert digests("ct", Markup("München ")) == [sha256("mnchen"), sha256("münchen")]
    assert digests("ct", "Saint-Étienne") == [sha256("sainttienne"), sha256("saintétienne")]
    both = build_user_data({"ct": "Zürich", "city": "Köln"}).ct
    assert both == [sha256(each) for each in ("zrich", "kln", "zürich", "köln")]
    assert len(digests("ct", [f"É{chr(97 + i)}" for i in range(20)])) == MAX_ITEMS
    assert digests("ct", "a\ud800") == [sha256("a")]  # as the pixel has it


def test_value_that_a_table_lacks_counts_as_not_given(caplog: pytest.LogCaptureFixture) -> None:
    raw = dict.fromkeys(["email", "phone", "zip", "db", "lead_id", "external_id"], math.nan)
    assert build_user_data(raw) == UserData()
    assert lines(caplog) == []


def test_country_beside_a_number_counts_wherever_it_stands() -> None:
    expected = [sha256("491701234567")]
    for raw in (
        {"phone": "0170 1234567", "country": "Germany"},
        {"country": ["DE"], "ph": ["0170 1234567", "+49 170 1234567"]},
        {"country": "DE", "phone": 1701234567},
    ):
        assert build_user_data(raw).ph == expected
    assert build_user_data({"country": "DE", "birthday": "3.4.1990"}).db == [sha256("19900403")]


def test_line_end_of_mainframes_goes_from_every_field() -> None:
    texts = {"client_ip_address": "8.8.8.8", "country": "DE", "ge": "f", "db": "19900304"}
    texts |= {"em": "mary@example.com", "ph": "+16505551212", "dobd": "3", "dobm": "4"}
    texts |= {"doby": "1990", "client_user_agent": "Mozilla/5.0 (X)"}
    for key in [*HASHED, *PLAIN]:
        text = texts.get(key, "123456789012345" if key not in ("ct", "st") else "Paris")
        clean = build_user_data({key: text})
        assert clean != UserData()
        for dirty in (f"\x85{text}", f"{text}\x85", f"{text[:1]}\x85{text[1:]}"):
            assert build_user_data({key: dirty}) == clean, key


BAD: list[tuple[str, object, str]] = [
    ("em", "Secret <secret@example.com>", "expected an e-mail address"),
    ("em", "d41d8cd98f00b204e9800998ecf8427e", "an MD5 digest"),
    ("fn", "D41D8CD98F00B204E9800998ECF8427E", "an MD5 digest"),
    ("em", sha256(""), "the digest of an empty text"),
    ("external_id", sha256("").upper(), "the digest of an empty text"),
    ("em", b"secret@example.com", "expected text, got bytes"),
    ("fn", 424242, "expected text, got int"),
    ("fn", "!!!---", "nothing is left"),
    ("fn", "secret\ud800", "not valid Unicode"),
    ("external_id", "secret\ud800", "not valid Unicode"),
    ("external_id", True, "expected text, got bool"),
    ("ph", "1234567890123456", "7 to 15 digits"),
    ("ph", -16505551212, "0 or more"),
    ("ph", 10**4000, "at most 40 digits"),
    ("db", "19971402", "expected a date"),
    ("db", "1997-02-32", "expected a date"),
    ("db", "16-Feb-1997 10:20", "expected a date"),
    ("db", "1000000-02-16", "expected a date"),
    ("ct", "10001 Secret", "beginning with a letter"),
    ("ct", "1001", "beginning with a letter"),
    ("zp", "-9403", "two characters"),
    ("dobd", "32", "from 1 to 31"),
    ("dobm", "0", "from 1 to 12"),
    ("dobm", "²", "expected a number"),
    ("doby", "1899", "1900"),
    ("ln", {"secret": "value"}, "expected text, got dict"),
    ("ln", "secret" * 200, "longer than 1000 characters"),
    ("client_ip_address", "secret", "expected one IPv4 or IPv6 address"),
    ("client_ip_address", "10.0.0.5", "not a public address"),
    ("client_ip_address", "203.0.113.7", "not a public address"),
    ("client_ip_address", "224.0.0.99", "not a public address"),
    ("client_ip_address", "fe80::secret", "expected one"),
    ("client_ip_address", "2a00:1450::99%eth0", "not a public address"),
    ("client_ip_address", "8.8.8.8, 8.8.4.4", "expected one"),
    ("client_user_agent", "Mozilla\r\nsecret", "control characters"),
    ("client_user_agent", "secret\ud800", "not valid Unicode"),
    ("client_user_agent", 424242, "expected text, got int"),
    ("fbc", "fb.1.2.secret\n", "control characters"),
    ("fbp", ["fb.1.2.secret"], "expected text, got list"),
    ("fbp", 424242, "expected text, got int"),
    ("subscription_id", "secret@example.com", "looks like an e-mail address"),
    ("anon_id", "secret\udfff", "not valid Unicode"),
    ("lead_id", "12345678901234", "15 to 17 digits"),
    ("lead_id", "012345678901234", "15 to 17 digits"),
    ("lead_id", 123456789012345678, "15 to 17 digits"),
    ("lead_id", 123456789012345.5, "expected text, got float"),
    ("lead_id", 12345678901234567.0, "expected text, got float"),  # was perhaps another number
    ("ph", 16505551212.5, "expected text, got float"),
    ("ph", math.inf, "expected text, got float"),
    ("ph", Decimal("sNaN"), "expected text, got Decimal"),
    ("em", 5.0, "expected text, got float"),
    ("db", "12.3.1990", "day or month first"),
    ("ph", "0170 1234567", "no country code"),
    ("em", "sec\xa0ret@example.com", "expected an e-mail address"),
    ("fb_login_id", "secret", "a whole number"),
]


@pytest.mark.parametrize(
    ("key", "value", "reason"), BAD, ids=[f"{key}-{str(value)[:20]!a}" for key, value, _ in BAD]
)
def test_bad_value_drops_only_its_field_with_one_line_that_hides_it(
    key: str, value: object, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    other = "ln" if key == "fn" else "fn"

    user_data = build_user_data({key: value, other: "Mary"})

    assert user_data == build_user_data({other: "Mary"}) != UserData()
    [record] = caplog.records
    assert (record.name, record.levelno) == ("bridge.events", logging.WARNING)
    assert record.getMessage().startswith(f"user_data.{key}: dropped 1 of 1: ")
    assert reason in record.getMessage()
    assert "secret" not in record.getMessage().lower()
    assert str(value) not in record.getMessage()


def test_bad_value_is_logged_under_the_name_it_came_with(caplog: pytest.LogCaptureFixture) -> None:
    build_user_data({"email": "mary"})
    assert lines(caplog) == ["user_data.email: dropped 1 of 1: expected an e-mail address"]


@pytest.mark.parametrize("blank", [None, "", "  ", "\xa0\ufeff", [], (), [None, ""]], ids=repr)
def test_blank_value_counts_as_not_given(blank: object, caplog: pytest.LogCaptureFixture) -> None:
    single = None if isinstance(blank, list | tuple) else blank
    raw = dict.fromkeys(HASHED, blank) | dict.fromkeys(PLAIN, single)
    assert build_user_data(raw) == UserData()
    assert lines(caplog) == []


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("emial", "did you mean 'email'?"),
        ("EMAIL", "did you mean 'email'?"),
        ("phone_number", "did you mean 'phone'?"),
        ("firstName", "did you mean 'first_name'?"),
        ("user_agent", "did you mean 'client_user_agent'?"),
        ("email_address", "did you mean 'email'?"),
        ("emailAddress", "did you mean 'email'?"),
        ("user_email", "did you mean 'email'?"),
        ("e-mail", "did you mean 'email'?"),
        ("mail", "did you mean 'email'?"),
        ("billing_email", "did you mean 'email'?"),
        ("dob", "did you mean 'date_of_birth'?"),
        ("DOB", "did you mean 'date_of_birth'?"),
        ("birth_date", "did you mean 'date_of_birth'?"),
        ("dateOfBirth", "did you mean 'date_of_birth'?"),
        ("mobile", "did you mean 'phone'?"),
        ("telephone", "did you mean 'phone'?"),
        ("customer_phone", "did you mean 'phone'?"),
        ("surname", "did you mean 'last_name'?"),
        ("given_name", "did you mean 'first_name'?"),
        ("postcode", "did you mean 'zip'?"),
        ("postalCode", "did you mean 'postal_code'?"),
        ("sex", "did you mean 'gender'?"),
        ("province", "did you mean 'state'?"),
        ("user_id", "did you mean 'external_id'?"),
        ("ip", "did you mean 'client_ip_address'?"),
        ("fbclid", "did you mean 'fbc'?"),
        ("country_code", "did you mean 'country'?"),
        ("loyalty_tier", "your own keys go into custom_data"),
        ("zzzzzz", "your own keys go into custom_data"),
    ],
)
def test_unknown_key_raises_and_suggests_the_closest(key: str, hint: str) -> None:
    with pytest.raises(InvalidEventError) as caught:
        build_user_data({key: "mary@example.com"})
    assert caught.value.field == f"user_data.{key}"
    assert caught.value.reason == f"Meta has no such key; {hint}"


def test_key_that_no_programmer_chose_is_not_shown() -> None:
    with pytest.raises(InvalidEventError) as caught:
        build_user_data({"\r\n\ud800" + "x" * 10_000: 1})
    assert caught.value.field == "user_data.<key>"


@pytest.mark.parametrize("raw", [{7: "x"}, {None: "x"}, ["em"], "em", None], ids=repr)
def test_data_that_is_no_object_of_text_keys_raises(raw: Any) -> None:
    with pytest.raises(InvalidEventError, match=r"^user_data: expected"):
        build_user_data(raw)


def test_every_key_of_user_data_can_be_given() -> None:
    values: dict[str, object] = dict.fromkeys(HASHED, DIGEST)
    values |= dict.fromkeys(PLAIN, "123456789012345") | {"client_ip_address": "8.8.8.8"}
    user_data = msgspec.structs.asdict(build_user_data(values))
    assert [key for key, value in user_data.items() if not value] == []


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("email", "em", "mary@example.com"),
        ("phone", "ph", "+1 650 555 1212"),
        ("first_name", "fn", "Mary"),
        ("last_name", "ln", "Smith"),
        ("date_of_birth", "db", "1997-02-16"),
        ("birthday", "db", "1997-02-16"),
        ("gender", "ge", "f"),
        ("city", "ct", "Paris"),
        ("state", "st", "CA"),
        ("zip", "zp", "94035"),
        ("zip_code", "zp", "94035"),
        ("postal_code", "zp", "94035"),
    ],
)
def test_readable_name_means_metas_key(name: str, key: str, value: str) -> None:
    assert build_user_data({name: value}) == build_user_data({key: value}) != UserData()


def test_list_keeps_order_and_loses_duplicates() -> None:
    values = ["b@example.com", "A@example.com", "a@example.com ", sha256("b@example.com")]
    expected = [sha256("b@example.com"), sha256("a@example.com")]
    assert digests("em", values) == digests("em", tuple(values)) == expected


def test_list_loses_its_bad_values_with_one_line(caplog: pytest.LogCaptureFixture) -> None:
    assert digests("em", ["bad", "mary@example.com", None, 5]) == [sha256("mary@example.com")]
    assert lines(caplog) == ["user_data.em: dropped 2 of 4: expected text, got int"]


def test_list_is_cut_with_one_line(caplog: pytest.LogCaptureFixture) -> None:
    values = [f"{i}@example.com" for i in range(10_000)]
    assert digests("em", values) == [sha256(value) for value in values[:MAX_ITEMS]]
    assert lines(caplog) == ["user_data.em: dropped 9980 of 10000: more than 20"]


def test_two_names_of_one_key_are_joined_within_the_limit() -> None:
    first = [f"{i}@example.com" for i in range(15)]
    second = [f"{i}@example.com" for i in range(10, 30)]
    user_data = build_user_data({"email": first, "em": second})
    assert user_data.em == [sha256(f"{i}@example.com") for i in range(MAX_ITEMS)]


@pytest.mark.parametrize("key", HASHED)
def test_digest_passes_in_lower_case(key: str) -> None:
    assert digests(key, DIGEST.upper()) == [DIGEST]


@pytest.mark.parametrize("mark", ["AQ", "AQICAQMC"])
def test_parameter_builders_mark_is_taken_off_a_digest(mark: str) -> None:
    assert digests("fn", f"{DIGEST}.{mark}") == [DIGEST]
    assert plain("client_ip_address", f"8.8.8.8.{mark}") == "8.8.8.8"


def test_enum_counts_as_its_value() -> None:
    class Gender(str, enum.Enum):  # noqa: UP042 - whose str() is its name
        FEMALE = "female"

    assert digests("ge", Gender.FEMALE) == [sha256("f")]


@pytest.mark.parametrize(
    ("born", "known"),
    [("2026-11-23", True), ("20261124", False), ("2026-12-31", False), ("1900-01-01", True)],
)
def test_birth_dates_end_with_today(born: str, known: bool) -> None:
    today = date(2026, 11, 23)
    assert bool(digests("db", born, today=today)) is known
    assert bool(digests("doby", born[:4], today=today)) is True
    assert bool(digests("doby", "2027", today=today)) is False


@pytest.mark.parametrize(
    ("key", "value", "sent"),
    [
        ("client_ip_address", " 8.8.8.8 ", "8.8.8.8"),
        ("client_ip_address", "2A00:1450:4001:0::200E", "2a00:1450:4001::200e"),
        ("client_ip_address", "::ffff:8.8.8.8", "8.8.8.8"),
        ("client_user_agent", "Mozilla/5.0 (é)", "Mozilla/5.0 (é)"),
        ("client_user_agent", "x" * 5000, "x" * MAX_USER_AGENT),
        ("fbc", "fb.1.1554763741205.AbCd_-x.AQICAQMC", "fb.1.1554763741205.AbCd_-x.AQICAQMC"),
        ("fbp", "fb.1.1596403881668.1116446470", "fb.1.1596403881668.1116446470"),
        ("subscription_id", 42, "42"),
        ("lead_id", "123456789012345", 123456789012345),
        ("lead_id", 12345678901234567, 12345678901234567),
        ("fb_login_id", "42", 42),
        ("madid", uuid.UUID(int=5), str(uuid.UUID(int=5))),
        ("page_id", "1" * MAX_TEXT, "1" * MAX_TEXT),
    ],
    ids=lambda value: str(value)[:20],
)
def test_plain_value_passes(key: str, value: object, sent: object) -> None:
    assert plain(key, value) == sent


def test_region_reaches_the_phones_rule(caplog: pytest.LogCaptureFixture) -> None:
    expected = [sha256("4915112345678")]
    assert digests("ph", ["0151 12345678", "secret"], default_region="de") == expected
    assert len(lines(caplog)) == 1


def test_region_that_cannot_be_used_raises() -> None:
    with pytest.raises(ConfigError, match="ISO 3166-1 alpha-2"):
        build_user_data({"ph": "0151 12345678"}, default_region="XX")


def test_phone_digest_passes_in_a_region() -> None:
    assert digests("ph", DIGEST, default_region="DE") == [DIGEST]


@given(st.text(st.characters()))
@example("\ud800")
def test_external_id_has_one_hash_everywhere(value: str) -> None:
    hashed = hash_external_id(value)
    assert hash_external_id(hashed) == hashed
    assert digests("external_id", value) in ([], [hashed])


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("mary@example.com", True),
        ("  Mary@Example.co.uk ", True),
        ("auth0|mary@example.com", True),
        ("mary%40example.com", True),
        ("Mary <mary@example.com>", True),
        ("x" * 2000 + "@example.com", True),
        ("user-42", False),
        ("", False),
        ("@mary", False),
        ("mary@localhost", False),
        ("@scope/package.name", False),
        (DIGEST, False),
        ("\ud800", False),
    ],
)
def test_email_is_recognised(text: str, answer: bool) -> None:
    assert holds_email(text) is answer


@settings(deadline=None)  # the first phone number loads its numbering plan
@given(
    key=st.sampled_from([*HASHED, *PLAIN]),
    value=GARBAGE | st.lists(GARBAGE, max_size=25),
    region=st.sampled_from([None, "DE"]),
)
@example("em", "\ud800@example.com", None)
@example("external_id", "\udfff", None)
def test_any_value_gives_digests_or_nothing(key: str, value: object, region: str | None) -> None:
    user_data = build_user_data({key: value}, default_region=region, today=date(2026, 11, 23))
    for name in HASHED:
        for digest in getattr(user_data, name):
            assert re.fullmatch("[0-9a-f]{64}", digest)
            assert digest != sha256("")
    assert len(msgspec.json.encode(user_data)) < 2_000
    again = {key: values for key, values in msgspec.structs.asdict(user_data).items() if values}
    assert build_user_data(again) == user_data


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=st.sampled_from([*HASHED, *PLAIN]),
    value=st.text("QZ!\x01@\ud800", min_size=3, max_size=1200),
    region=st.sampled_from([None, "DE"]),
)
def test_log_never_contains_the_value(
    caplog: pytest.LogCaptureFixture, key: str, value: str, region: str | None
) -> None:
    caplog.clear()
    build_user_data({key: value}, default_region=region)
    build_user_data({key: [value, value]}, default_region=region)
    assert len(lines(caplog)) <= 2
    assert not any(value in line or value.lower() in line for line in lines(caplog))


def test_repr_shows_no_value() -> None:
    user_data = build_user_data({"email": "mary@example.com", "fbp": "fb.1.2.3"})
    assert repr(user_data) == "UserData(em, fbp)"


def test_what_is_left_out_may_be_told_instead_of_logged(caplog: pytest.LogCaptureFixture) -> None:
    raw = {
        "email": ["mary@example.com", "no address"],
        "birthday": "soon",
        "zip": "",
        "external_id": [str(i) for i in range(25)],
    }
    told: list[tuple[str, int, int, str]] = []
    taken = read_user_data(raw, on_dropped=lambda *each: told.append(each))
    assert not lines(caplog)
    assert [each[:3] for each in told] == [
        ("email", 1, 2),
        ("birthday", 1, 1),
        ("external_id", 5, 25),
    ]
    assert not any(value in str(told) for value in ("no address", "soon"))
    assert taken == read_user_data(raw)
    assert len(lines(caplog)) == len(told)
