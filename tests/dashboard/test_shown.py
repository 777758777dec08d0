"""What is shown of a stored event: never a whole hash, address, user agent or id."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.dashboard.shown import (
    list_identifiers,
    read_day,
    read_payload,
    read_source,
    read_value,
    shorten_payload,
    shorten_text,
)

HASH = "a" * 8 + "b" * 56

META: dict[str, Any] = {
    "event_name": "Purchase",
    "event_time": 1_795_000_000,
    "action_source": "website",
    "user_data": {
        "em": [HASH],
        "external_id": HASH,
        "fbp": "fb.1.1790000000000.1234567890",
        "fbc": "fb.1.1790000000000.IwAR0secret",
        "client_ip_address": "2001:db8:1:2::3",
        "client_user_agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 18)",
        "subscription_id": "sub-7712",
        "lead_id": 123456789012345,
    },
    "custom_data": {"value": 12.5, "currency": "EUR", "order_id": "A-1", "note": f"by {HASH}"},
}
SEGMENT: dict[str, Any] = {
    "type": "track",
    "userId": "customer-77",
    "anonymousId": "11111111-2222-3333-4444-555555555555",
    "context": {
        "ip": "93.184.216.34",
        "userAgent": "Mozilla/5.0 (iPhone; CPU iPhone OS 18)",
        "traits": {"email": HASH, "city": "berlin"},
        "externalIds": [{"id": "ex-12345"}],
    },
    "properties": {"fbp": "fb.1.1790000000000.1234567890", "value": 3, "action_source": "email"},
}
PRIVATE = [
    HASH, ".1234567890", "IwAR0secret", "2001:db8:1:2::3", "(iPhone;", "93.184.216.34",
    "customer-77",    "555555555555", "berlin", "ex-12345", "sub-7712", "123456789012345",
]  # fmt: skip


@pytest.mark.parametrize("payload", [META, SEGMENT], ids=["meta", "segment"])
def test_nothing_that_finds_a_person_is_shown(payload: dict[str, Any]) -> None:
    shown = msgspec.json.encode(shorten_payload(payload)).decode()
    assert [each for each in PRIVATE if each in shown] == []


def test_what_tells_events_apart_stays() -> None:
    shown = shorten_payload(META)
    assert shown["user_data"]["em"] == ["aaaaaaaa…"]
    assert shown["user_data"]["client_ip_address"] == "2001:db8:…"
    assert shown["user_data"]["client_user_agent"] == "Mozilla/5.0 (iPh…"
    assert shown["custom_data"] == {**META["custom_data"], "note": "by aaaaaaaa…"}
    assert shorten_payload(SEGMENT)["context"]["ip"] == "93.184.…"


def test_reasons_lose_addresses_and_hashes_too() -> None:
    assert shorten_text(f"{HASH} from 10.20.30.40 at 12") == "aaaaaaaa… from 10.20.… at 12"


def test_fields_are_read_in_both_languages() -> None:
    assert (read_source(META), read_source(SEGMENT)) == ("website", "email")
    assert (read_value(META), read_value(SEGMENT)) == ((12.5, "EUR"), (3.0, ""))
    assert list_identifiers(META) == [
        *("em", "external_id", "fbc", "fbp", "client_ip_address", "ipv6", "client_user_agent"),
    ]
    assert list_identifiers(SEGMENT) is None


@pytest.mark.parametrize(
    "url",
    [
        "https://shop.example/p?a=1&{}=IwAR0secret123",
        "https://shop.example/p?{}=IwAR0secret123#top",
        "https://shop.example/#/p?{}=IwAR0secret123",
        "https://shop.example/go?to=https%3A%2F%2Fb.example%2F%3F{}%3DIwAR0secret123%26b%3D1",
        "https://shop.example/go?to=https%253A%252F%252Fb.example%252F%253F{}%253DIwAR0secret123",
        "?{}=IwAR0secret123",
        "{}=IwAR0secret123",
        "the page https://shop.example/?{}[]=IwAR0secret123 was refused",
    ],
)
@pytest.mark.parametrize("name", ["fbclid", "FBCLID", "gclid", "msclkid", "ttclid", "wbraid"])
def test_click_id_in_a_url_is_cut(url: str, name: str) -> None:
    payload = {
        "event_source_url": url.format(name),
        "context": {"page": {"search": url.format(name)}, "referrer_url": url.format(name)},
        "properties": {"fbclid": "IwAR0secret123"},
    }
    assert "secret" not in msgspec.json.encode(shorten_payload(payload)).decode()


def test_rest_of_a_url_stays() -> None:
    for text in (
        "https://shop.example/p?variant=12&utm_source=facebook&size=XL#top",
        "data[0]=purchase-of-a-very-long-name (code 100)",
    ):
        assert shorten_text(text) == text
    assert shorten_text("https://a.example/?x=1&q=abcdefghijklmnop") == (
        "https://a.example/?x=1&q=abcd…"
    )


@pytest.mark.parametrize(
    ("payload", "day"),
    [
        ({"event_time": 1_795_000_000}, "2026-11-18"),
        ({"timestamp": "2026-11-29T23:59:59.999Z"}, "2026-11-29"),
        ({"timestamp": "2026-11-29T23:59:59-02:00"}, "2026-11-30"),
        ({"timestamp": "2026-11-29T23:59:59"}, "2026-11-29"),
        ({"timestamp": "0001-01-01T00:00:00+10:00"}, ""),
        ({"timestamp": "soon"}, ""),
        ({"timestamp": 5}, ""),
        ({"event_time": 10**30}, ""),
        ({"event_time": True}, ""),
        (None, ""),
    ],
)
def test_day_is_read_in_both_languages(payload: Any, day: str) -> None:
    assert read_day(payload) == day


@pytest.mark.parametrize(
    ("properties", "value"),
    [
        ({"value": 3, "currency": "EUR"}, (3.0, "EUR")),
        ({"revenue": "12.50", "currency": "EUR"}, (12.5, "EUR")),
        ({"total": 7, "value": None}, (7.0, "")),
        ({"value": "NaN"}, None),
        ({"value": 10**400}, None),
        ({"value": True}, None),
        ({}, None),
    ],
)
def test_value_is_read_in_segments_words(properties: dict[str, Any], value: Any) -> None:
    assert read_value({"properties": properties}) == value


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists))
def test_any_payload_can_be_shown(payload: Any) -> None:
    shorten_payload({"user_data": payload, "x": payload, "traits": payload})
    read_source(payload)
    read_value({"custom_data": payload})
    list_identifiers({"user_data": payload})


@pytest.mark.parametrize("body", [b"", b"\xff", b"{", b"[" * 100_000])
def test_body_that_is_no_json_is_none(body: bytes) -> None:
    assert read_payload(body) is None
