"""Segment's own Meta destination, against its tables: ``reference`` (b), (c), (d) and (f)."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.explain.segment_actions import Refusal, build_default
from tests.servers import ROOT

USER_AGENT = "Mozilla/5.0"
PRODUCT = {"product_id": "fern", "sku": "F-1", "name": "Fern", "price": 24, "quantity": 2}


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def make_message(event: str | None = "Product Viewed", **changes: Any) -> dict[str, Any]:
    """A message as complete as ours are; ``properties`` and ``context`` are laid over it."""
    message: dict[str, Any] = {
        "type": "track",
        "event": event,
        "messageId": "m-1",
        "timestamp": "2026-11-25T09:00:00.000+00:00",
        "anonymousId": "Anon 1",
        **changes,
    }
    message["properties"] = {"action_source": "website", **changes.get("properties", {})}
    message["context"] = {"userAgent": USER_AGENT, **changes.get("context", {})}
    return message


def build(event: str | None = "Product Viewed", **changes: Any) -> dict[str, Any]:
    built = build_default(make_message(event, **changes))
    assert isinstance(built, dict), built
    return built


def test_whole_payload_of_a_product_viewed() -> None:
    traits = {
        "email": " Mary@Example.com ",
        "phone": "+49 (0) 170 1234567",
        "firstName": "Mary",
        "lastName": "Van Dyke",
        "birthday": "1990-05-17",
        "gender": "f",
        "address": {
            "city": "San José",
            "state": "New York",
            "postalCode": "94035-1",
            "country": "us",
        },
    }
    built = build(
        properties={**PRODUCT, "currency": "EUR", "fbp": "fb.1.1.2", "fbc": "fb.1.1.x"},
        context={
            "ip": "2001:db8::1",
            "page": {"url": "https://shop.example.com/fern"},
            "traits": traits,
        },
    )
    assert built == {
        "event_name": "ViewContent",
        "event_time": "2026-11-25T09:00:00.000+00:00",
        "event_source_url": "https://shop.example.com/fern",
        "event_id": "m-1",
        "action_source": "website",
        "user_data": {
            "external_id": [sha256("anon1")],
            "em": sha256("mary@example.com"),
            "ph": sha256("4901701234567"),
            "fn": sha256("mary"),
            "ln": sha256("vandyke"),
            "db": sha256("1990-05-17"),  # no date parsing
            "ct": sha256("sanjosé"),
            "st": sha256("ny"),
            "zp": sha256("94035-1"),  # no cut at the hyphen
            "client_ip_address": "2001:db8::1",
            "client_user_agent": USER_AGENT,
            "fbp": "fb.1.1.2",
            "fbc": "fb.1.1.x",
        },
        "custom_data": {
            "currency": "EUR",
            "value": 24,
            "content_ids": ["fern"],
            "contents": [{"id": "fern", "quantity": 2, "item_price": 24}],
        },
    }


@pytest.mark.parametrize(
    ("event", "properties", "meta", "custom_data"),
    [
        (
            "Order Completed",
            {
                "revenue": 48,
                "total": 57,
                "value": 1,
                "currency": "EUR",
                "order_id": "A-1",
                "products": [PRODUCT],
            },
            "Purchase",
            {
                "currency": "EUR",
                "value": 48,
                "contents": [{"id": "fern", "quantity": 2, "item_price": 24}],
            },
        ),
        (
            "Checkout Started",
            {"revenue": 48, "currency": "EUR", "category": "plants", "products": [PRODUCT]},
            "InitiateCheckout",
            {
                "currency": "EUR",
                "value": 48,
                "contents": [{"id": "fern", "quantity": 2, "item_price": 24}],
            },
        ),
        (
            "Product Added",
            {**PRODUCT, "value": 48, "currency": "EUR"},
            "AddToCart",
            {
                "currency": "EUR",
                "value": 24,
                "contents": [{"id": "fern", "quantity": 2, "item_price": 24}],
            },
        ),
        (
            "Products Searched",
            {"query": "fern", "product_id": "fern", "value": 5},
            "Search",
            {"contents": [{"id": "fern"}], "search_string": "fern"},
        ),
        ("Checkout Started", {}, "InitiateCheckout", {}),
    ],
    ids=["purchase", "checkout", "cart", "search", "nothing told"],
)
def test_custom_data_by_default(
    event: str, properties: dict[str, Any], meta: str, custom_data: dict[str, Any]
) -> None:
    built = build(event, properties=properties)
    assert (built["event_name"], built.get("custom_data")) == (meta, custom_data)


def test_page_is_a_page_view_without_parameters() -> None:
    built = build(None, type="page", properties={"currency": "nonsense", "name": "Home"})
    assert built["event_name"] == "PageView"
    assert "custom_data" not in built


@pytest.mark.parametrize(
    ("ids", "external_id"),
    [
        ({"userId": "User 42"}, [sha256("user42")]),
        ({"userId": None}, [sha256("anon1")]),
        ({"userId": ""}, None),
        ({"userId": "A" * 64}, ["a" * 64]),
        ({"userId": 42}, [sha256("42")]),
    ],
    ids=["user", "null", "empty counts as one", "hashed already", "number"],
)
def test_external_id_is_user_id_else_anonymous_id(
    ids: dict[str, Any], external_id: list[str] | None
) -> None:
    assert build(properties=PRODUCT, **ids)["user_data"].get("external_id") == external_id


def test_hashed_traits_pass() -> None:
    traits = {"email": "a" * 64, "phone": "b" * 64, "address": {"state": "c" * 64}}
    user_data = build(properties=PRODUCT, context={"traits": traits})["user_data"]
    assert (user_data["em"], user_data["ph"], user_data["st"]) == ("a" * 64, "b" * 64, "c" * 64)


def test_values_become_the_type_that_is_asked_for() -> None:
    told = {"product_id": 7.0, "price": "24.50", "quantity": "2", "currency": "EUR"}
    assert build(properties=told)["custom_data"] == {
        "currency": "EUR",
        "value": 24.5,
        "content_ids": ["7"],
        "contents": [{"id": "7", "quantity": 2, "item_price": 24.5}],
    }


@pytest.mark.parametrize(
    ("event", "changes", "code", "path"),
    [
        ("Product List Viewed", {}, "no_trigger", "event"),
        ("product viewed", {}, "no_trigger", "event"),
        ("Purchase", {}, "no_trigger", "event"),
        ("Order Completed", {"type": "identify"}, "no_trigger", "event"),
        (
            "Order Completed",
            {"properties": {"total": 5, "currency": "EUR"}},
            "missing",
            "properties.revenue",
        ),
        ("Order Completed", {"properties": {"revenue": 5}}, "missing", "properties.currency"),
        (
            "Product Viewed",
            {"properties": {**PRODUCT, "currency": "usd"}},
            "currency",
            "properties.currency",
        ),
        (
            "Product Viewed",
            {"properties": {**PRODUCT, "currency": "XCG"}},
            "currency",
            "properties.currency",
        ),
        (
            "Products Searched",
            {"properties": {"query": "fern"}},
            "contents",
            "properties.product_id",
        ),
        (
            "Checkout Started",
            {"properties": {"products": [PRODUCT, {"sku": "F-1"}]}},
            "contents",
            "properties.products[1].product_id",
        ),
        (
            "Product Viewed",
            {"properties": {**PRODUCT, "price": "$24"}},
            "type",
            "properties.price",
        ),
        (
            "Checkout Started",
            {"properties": {"products": [{**PRODUCT, "quantity": 1.5}]}},
            "type",
            "properties.products[0].quantity",
        ),
        ("Checkout Started", {"properties": {"products": ["x"]}}, "type", "properties.products[0]"),
        (
            "Product Viewed",
            {"properties": {**PRODUCT, "action_source": None}},
            "missing",
            "properties.action_source",
        ),
        (
            "Product Viewed",
            {"properties": {**PRODUCT, "action_source": "business_messaging"}},
            "type",
            "properties.action_source",
        ),
        (
            "Product Viewed",
            {"properties": PRODUCT, "context": {"userAgent": None}},
            "user_agent",
            "context.userAgent",
        ),
        ("Product Viewed", {"properties": PRODUCT, "timestamp": None}, "missing", "timestamp"),
    ],
)
def test_refused_with_what_is_at_fault(
    event: str, changes: dict[str, Any], code: str, path: str
) -> None:
    refusal = build_default(make_message(event, **changes))
    assert isinstance(refusal, Refusal), refusal
    assert (refusal.code, refusal.path) == (code, path)
    assert refusal.reason


def test_no_user_agent_is_asked_for_elsewhere_than_on_a_website() -> None:
    told = {**PRODUCT, "action_source": "physical_store"}
    assert build(properties=told, context={"userAgent": None})["event_name"] == "ViewContent"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
KEYS = ("products", "product_id", "price", "quantity", "revenue", "currency", "query", "fbp")


@settings(max_examples=200)
@given(
    event=st.sampled_from(
        ("Order Completed", "Product Viewed", "Products Searched", "Checkout Started")
    ),
    properties=st.dictionaries(st.sampled_from(KEYS), JSON),
    context=st.dictionaries(st.sampled_from(("ip", "traits", "page", "userAgent")), JSON),
    user_id=JSON,
)
def test_any_message_gives_a_payload_or_a_refusal(
    event: str, properties: dict[str, Any], context: dict[str, Any], user_id: Any
) -> None:
    message = make_message(event, properties=properties, context=context, userId=user_id)
    assert isinstance(build_default(message), dict | Refusal)


CASES = json.loads((ROOT / "tests/data/segment_actions.json").read_text())["cases"]


@pytest.mark.parametrize("case", CASES, ids=[str(i) for i in range(len(CASES))])
def test_it_is_what_the_published_destination_makes(case: dict[str, Any]) -> None:
    built = build_default(case["message"])
    if "error" in case:
        assert isinstance(built, Refusal), case["error"]
    else:
        assert built == case["payload"]
