"""Segment's destination for Meta: which event it makes of a message, or why it makes none."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from httpx import ASGITransport, AsyncClient
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.sandbox import DEFAULT_ACCESS_TOKEN, DEFAULT_PIXEL_ID, DEFAULT_WRITE_KEY, create_app
from bridge.sandbox.segment_actions import DESTINATION, build_event, find_losses, is_on
from bridge.sandbox.segment_fields import Declined
from tests.servers import ROOT

HASH = "a" * 64
URL = "https://shop.example.com/thanks"
PRODUCT = {"product_id": "507", "price": 9.5, "quantity": 2, "name": "Ignored"}
ORDER = {"revenue": 25.0, "currency": "EUR", "products": [PRODUCT]}
FERN = {"product_id": "fern", "sku": "F-1", "name": "Fern", "price": 24, "quantity": 2}


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def make_message(
    event: str = "Order Completed", properties: dict[str, Any] | None = None, **changes: Any
) -> dict[str, Any]:
    """Return a track message that Segment took; a property that is ``...`` is left out."""
    properties = {
        "event_id": "order-1",
        "action_source": "website",
        "fbp": "fb.1.1790000000000.12",
        "fbc": "fb.1.1790000000000.IwAR",
        **(ORDER if properties is None else properties),
    }
    return {
        "type": "track",
        "event": event,
        "messageId": "m-1",
        "anonymousId": "Anon 1",
        "timestamp": "2026-11-25T10:00:00.900Z",
        "properties": {key: value for key, value in properties.items() if value is not ...},
        "context": {
            "ip": "93.184.216.34",
            "userAgent": "UA",
            "page": {"url": URL},
            "traits": {"email": HASH},
        },
        **changes,
    }


def send(*message: Any, **changes: Any) -> dict[str, Any]:
    built = build_event(make_message(*message, **changes), is_set_up=True)
    assert isinstance(built, dict), built
    return built


def decline(*message: Any, **changes: Any) -> Declined:
    built = build_event(make_message(*message, **changes), is_set_up=True)
    assert isinstance(built, Declined), built
    return built


# Set up as docs/segment.md says


def test_order_becomes_a_purchase_by_the_default_mapping() -> None:
    assert send() == {
        "event_name": "Purchase",
        "event_time": "2026-11-25T10:00:00.900Z",
        "action_source": "website",
        "event_source_url": URL,
        "event_id": "order-1",
        "user_data": {
            "external_id": [sha256("anon1")],
            "em": HASH,
            "client_ip_address": "93.184.216.34",
            "client_user_agent": "UA",
            "fbc": "fb.1.1790000000000.IwAR",
            "fbp": "fb.1.1790000000000.12",
        },
        "custom_data": {
            "currency": "EUR",
            "value": 25,
            "contents": [{"id": "507", "quantity": 2, "item_price": 9.5}],
        },
    }


@pytest.mark.parametrize(
    ("event", "properties", "name", "custom_data"),
    [
        (
            "Checkout Started",
            {"revenue": "25.50", "currency": "EUR", "value": 1},
            "InitiateCheckout",
            {"currency": "EUR", "value": 25.5},
        ),
        (
            "Product Added",
            PRODUCT,
            "AddToCart",
            {"value": 9.5, "contents": [{"id": "507", "quantity": 2, "item_price": 9.5}]},
        ),
        (
            "Product Viewed",
            {"product_id": 507.0, "currency": "EUR"},
            "ViewContent",
            {"currency": "EUR", "contents": [{"id": "507"}], "content_ids": ["507"]},
        ),
        (
            "Products Searched",
            {"query": "shoes", "product_id": "507"},
            "Search",
            {"contents": [{"id": "507"}], "search_string": "shoes"},
        ),
        ("order completed", {}, "order completed", None),
        ("Product List Viewed", {}, "Product List Viewed", None),
        ("Lead", {}, "Lead", None),
        ("Purchase", ORDER, "Purchase", None),
    ],
)
def test_name_and_custom_data(
    event: str, properties: dict[str, Any], name: str, custom_data: dict[str, Any] | None
) -> None:
    """Source: the ``defaultSubscription`` and the fields of each action."""
    sent = send(event, properties)
    assert (sent["event_name"], sent.get("custom_data")) == (name, custom_data)


def test_page_becomes_a_page_view() -> None:
    sent = send(None, ORDER, type="page", name="Thanks")
    assert (sent["event_name"], sent["event_id"]) == ("PageView", "order-1")
    assert "custom_data" not in sent


@pytest.mark.parametrize("kind", ["identify", "group", "alias", "screen"])
def test_no_mapping_is_for_other_calls(kind: str) -> None:
    assert decline(type=kind) == ("no_trigger", "type", f"no mapping takes {kind} messages")


def test_event_id_is_the_message_id_without_one_of_our_own() -> None:
    assert send(properties={**ORDER, "event_id": ...})["event_id"] == "m-1"
    assert send(properties={**ORDER, "event_id": 17})["event_id"] == "17"


@pytest.mark.parametrize(
    ("integrations", "on"),
    [
        ({}, True),
        ({"All": True}, True),
        ({"All": False}, False),
        ({"All": False, DESTINATION: True}, True),
        ({"All": False, DESTINATION: {"option": 1}}, True),
        ({DESTINATION: False}, False),
        ({"All": True, DESTINATION: False}, False),
        ({DESTINATION.lower(): False}, True),
        ({"all": False}, True),
    ],
)
def test_integrations_turn_it_off(integrations: dict[str, Any], on: bool) -> None:
    """Source: Common Fields, Integrations; HTTP API: "Destination flags are case sensitive"."""
    assert is_on(integrations) == on


@pytest.mark.parametrize(
    ("event", "properties", "code", "path"),
    [
        ("Order Completed", {"action_source": ...}, "missing", "action_source"),
        ("Order Completed", {"action_source": "Website"}, "type", "action_source"),
        ("Order Completed", {"action_source": "business_messaging"}, "type", "action_source"),
        ("Order Completed", {"currency": ...}, "missing", "currency"),
        ("Order Completed", {"currency": ""}, "missing", "currency"),
        ("Order Completed", {"currency": "eur"}, "currency", "currency"),
        ("Order Completed", {"currency": "EURO"}, "currency", "currency"),
        ("Order Completed", {"currency": {}}, "type", "currency"),
        ("Order Completed", {"revenue": ..., "total": 5}, "missing", "revenue"),
        ("Order Completed", {"revenue": "$5"}, "type", "revenue"),
        ("Order Completed", {"revenue": ""}, "missing", "revenue"),
        ("Order Completed", {"revenue": "inf"}, "type", "revenue"),
        ("Order Completed", {"revenue": "1e999"}, "type", "revenue"),
        ("Order Completed", {"revenue": []}, "type", "revenue"),
        ("Order Completed", {"revenue": None}, "missing", "revenue"),
        ("Order Completed", {"revenue": 10**400}, "type", "revenue"),
        ("Order Completed", {"products": [{}]}, "contents", "products[0].product_id"),
        (
            "Order Completed",
            {"products": [{"product_id": ""}]},
            "contents",
            "products[0].product_id",
        ),
        ("Order Completed", {"products": [PRODUCT, 7]}, "type", "products[1]"),
        ("Order Completed", {"products": "x"}, "type", "products[0]"),
        (
            "Order Completed",
            {"products": [{**PRODUCT, "quantity": 1.5}]},
            "type",
            "products[0].quantity",
        ),
        (
            "Order Completed",
            {"products": [{**PRODUCT, "price": "free"}]},
            "type",
            "products[0].price",
        ),
        ("Order Completed", {"fbp": []}, "type", "fbp"),
        ("Order Completed", {"event_id": []}, "type", "event_id"),
        ("Product Viewed", {}, "contents", "product_id"),
        ("Product Added", {"sku": "x"}, "contents", "product_id"),
        ("Products Searched", {"query": "x"}, "contents", "product_id"),
        ("Products Searched", {"product_id": "1", "query": []}, "type", "query"),
        ("Product Viewed", {"product_id": "1", "currency": "usd"}, "currency", "currency"),
        ("Lead", {"action_source": ...}, "missing", "action_source"),
    ],
)
def test_refusal(event: str, properties: dict[str, Any], code: str, path: str) -> None:
    """Source: ``validate`` and ``validateContents``; for kinds, the fields of each action."""
    start = ORDER if event == "Order Completed" else {}
    declined = decline(event, {**start, **properties})
    assert (declined.code, declined.path) == (code, f"properties.{path}")


def test_website_needs_a_user_agent_unless_the_mapping_is_custom() -> None:
    context = {"page": {"url": URL}}
    assert decline(context=context).code == "user_agent"
    assert "client_user_agent" not in send("Lead", {}, context=context)["user_data"]
    assert send(properties={**ORDER, "action_source": "email"}, context=context)


@pytest.mark.parametrize(
    ("traits", "user_data"),
    [
        ({"email": " Ada@B.example "}, {"em": sha256("ada@b.example")}),
        ({"email": "A" * 64}, {"em": HASH}),
        ({"email": ""}, {}),
        ({"phone": "+49 (170) 012"}, {"ph": sha256("49170012")}),
        ({"phone": HASH}, {"ph": HASH}),
        ({"phone": 49170}, {"ph": sha256("49170")}),
        ({"firstName": "Ada Mae", "lastName": HASH}, {"fn": sha256("adamae"), "ln": HASH}),
        ({"first_name": HASH, "gender": HASH}, {}),
        ({"birthday": "19971226"}, {"db": sha256("19971226")}),
        (
            {"address": {"city": "New York", "state": HASH, "postalCode": HASH, "country": HASH}},
            {"ct": sha256("newyork"), "st": HASH, "zp": HASH},
        ),
        ({"address": "New York"}, {}),
    ],
)
def test_traits_become_user_data(traits: dict[str, Any], user_data: dict[str, str]) -> None:
    """Source: ``user_data_field`` and ``getUserData``."""
    got = send(context={"userAgent": "UA", "traits": traits})["user_data"]
    others = {"external_id", "client_user_agent", "fbp", "fbc"}
    assert {key: value for key, value in got.items() if key not in others} == user_data


@pytest.mark.parametrize(
    ("ids", "external_id"),
    [
        ({"userId": "User_42"}, [sha256("user_42")]),
        ({"userId": HASH}, [HASH]),
        ({}, [sha256("anon1")]),
        ({"userId": ""}, None),
    ],
)
def test_external_id(ids: dict[str, str], external_id: list[str] | None) -> None:
    assert send(**ids)["user_data"].get("external_id") == external_id


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({}, None),
        ({"integrations": {DESTINATION.upper(): False}}, f"integrations.{DESTINATION.upper()} has"),
        (
            {"context": {"userAgent": "UA", "dataProcessingOptions": [["LDU"], 0, 0]}},
            "context.dataProcessingOptions is in no mapping",
        ),
        ({"event": "Signed Up"}, "properties are not in the mapping Custom Event"),
    ],
)
def test_losses_on_the_way_are_listed(changes: dict[str, Any], start: str | None) -> None:
    losses = find_losses({**make_message(), **changes})
    assert [loss[: len(start or "")] for loss in losses] == ([start] if start else [])


# As it comes


def make_bare_message(event: str | None = "Product Viewed", **changes: Any) -> dict[str, Any]:
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
    message["context"] = {"userAgent": "Mozilla/5.0", **changes.get("context", {})}
    return message


def build_default(event: str | None = "Product Viewed", **changes: Any) -> dict[str, Any]:
    built = build_event(make_bare_message(event, **changes))
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
    built = build_default(
        properties={**FERN, "currency": "EUR", "fbp": "fb.1.1.2", "fbc": "fb.1.1.x"},
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
            "client_user_agent": "Mozilla/5.0",
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
                "products": [FERN],
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
            {"revenue": 48, "currency": "EUR", "category": "plants", "products": [FERN]},
            "InitiateCheckout",
            {
                "currency": "EUR",
                "value": 48,
                "contents": [{"id": "fern", "quantity": 2, "item_price": 24}],
            },
        ),
        (
            "Product Added",
            {**FERN, "value": 48, "currency": "EUR"},
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
    built = build_default(event, properties=properties)
    assert (built["event_name"], built.get("custom_data")) == (meta, custom_data)


def test_page_is_a_page_view_without_parameters() -> None:
    built = build_default(None, type="page", properties={"currency": "nonsense", "name": "Home"})
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
    assert build_default(properties=FERN, **ids)["user_data"].get("external_id") == external_id


def test_hashed_traits_pass() -> None:
    traits = {"email": "a" * 64, "phone": "b" * 64, "address": {"state": "c" * 64}}
    user_data = build_default(properties=FERN, context={"traits": traits})["user_data"]
    assert (user_data["em"], user_data["ph"], user_data["st"]) == ("a" * 64, "b" * 64, "c" * 64)


def test_values_become_the_type_that_is_asked_for() -> None:
    told = {"product_id": 7.0, "price": "24.50", "quantity": "2", "currency": "EUR"}
    assert build_default(properties=told)["custom_data"] == {
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
        ("Order Completed", {"type": "identify"}, "no_trigger", "type"),
        (
            "Order Completed",
            {"properties": {"total": 5, "currency": "EUR"}},
            "missing",
            "properties.revenue",
        ),
        ("Order Completed", {"properties": {"revenue": 5}}, "missing", "properties.currency"),
        (
            "Product Viewed",
            {"properties": {**FERN, "currency": "usd"}},
            "currency",
            "properties.currency",
        ),
        (
            "Product Viewed",
            {"properties": {**FERN, "currency": "XCG"}},
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
            {"properties": {"products": [FERN, {"sku": "F-1"}]}},
            "contents",
            "properties.products[1].product_id",
        ),
        (
            "Product Viewed",
            {"properties": {**FERN, "price": "$24"}},
            "type",
            "properties.price",
        ),
        (
            "Checkout Started",
            {"properties": {"products": [{**FERN, "quantity": 1.5}]}},
            "type",
            "properties.products[0].quantity",
        ),
        ("Checkout Started", {"properties": {"products": ["x"]}}, "type", "properties.products[0]"),
        (
            "Product Viewed",
            {"properties": {**FERN, "action_source": None}},
            "missing",
            "properties.action_source",
        ),
        (
            "Product Viewed",
            {"properties": {**FERN, "action_source": "business_messaging"}},
            "type",
            "properties.action_source",
        ),
        (
            "Product Viewed",
            {"properties": FERN, "context": {"userAgent": None}},
            "user_agent",
            "context.userAgent",
        ),
        ("Product Viewed", {"properties": FERN, "timestamp": None}, "missing", "timestamp"),
    ],
)
def test_refused_with_what_is_at_fault(
    event: str, changes: dict[str, Any], code: str, path: str
) -> None:
    declined = build_event(make_bare_message(event, **changes))
    assert isinstance(declined, Declined), declined
    assert (declined.code, declined.path) == (code, path)
    assert declined.reason


def test_no_user_agent_is_asked_for_elsewhere_than_on_a_website() -> None:
    told = {**FERN, "action_source": "physical_store"}
    assert (
        build_default(properties=told, context={"userAgent": None})["event_name"] == "ViewContent"
    )


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
def test_any_message_gives_a_payload_or_a_declined(
    event: str, properties: dict[str, Any], context: dict[str, Any], user_id: Any
) -> None:
    message = make_bare_message(event, properties=properties, context=context, userId=user_id)
    assert isinstance(build_event(message), dict | Declined)


CASES = json.loads((ROOT / "tests/data/segment_actions.json").read_text())["cases"]
PUBLISHED_WORDS = {
    "no_trigger": "no trigger",
    "missing": "missing the required field",
    "type": " must be ",
    "contents": "must include an 'id' parameter",
    "user_agent": "client_user_agent must be defined",
    "currency": "not a valid currency code",
}


@pytest.mark.parametrize("case", CASES, ids=[str(i) for i in range(len(CASES))])
def test_it_is_what_the_published_destination_makes(case: dict[str, Any]) -> None:
    built = build_event(case["message"])
    if "error" in case:
        assert isinstance(built, Declined), case["error"]
        assert PUBLISHED_WORDS[built.code] in case["error"]
    else:
        assert built == case["payload"]


# Through the sandbox, to the ledger


@pytest.fixture
async def client() -> AsyncIterator[AsyncClient]:
    transport = ASGITransport(create_app(), raise_app_exceptions=True)
    async with AsyncClient(transport=transport, base_url="http://sandbox") as client:
        yield client


async def track(client: AsyncClient, *message: Any, **changes: Any) -> dict[str, Any]:
    """Send a message that happened now by default, and return what the sandbox says of it."""
    body = make_message(*message, **{"timestamp": None, **changes})
    body["writeKey"] = DEFAULT_WRITE_KEY
    answer = await client.post("/v1/track", json=body)
    assert answer.json() == {"success": True}
    [newest, *_] = (await client.get("/api/events")).json()["segment"]["messages"]
    assert isinstance(newest, dict)
    return newest


async def read_actions(client: AsyncClient) -> list[dict[str, Any]]:
    actions: list[dict[str, Any]] = (await client.get("/api/events")).json()["actions"]
    return actions


async def hit(client: AsyncClient, event_id: str = "order-1") -> None:
    params = {"id": DEFAULT_PIXEL_ID, "ev": "Purchase", "eid": event_id}
    await client.get("/tr/", params=params)


async def test_message_pairs_with_a_hit_by_event_id(client: AsyncClient) -> None:
    got = await track(client)
    assert got["destination"] == {
        "outcome": "delivered",
        "reason": None,
        "event_name": "Purchase",
        "event_id": "order-1",
        "warnings": [],
    }
    await hit(client)
    [action] = await read_actions(client)
    assert (action["merged_by"], action["pixel_id"]) == ("event_id", DEFAULT_PIXEL_ID)
    assert [copy["via"] for copy in action["server"]] == ["Segment"]


async def test_same_event_by_both_ways_is_two_server_copies(client: AsyncClient) -> None:
    await track(client)
    event = {**send(), "event_time": int(time.time())}
    answer = await client.post(
        f"/v26.0/{DEFAULT_PIXEL_ID}/events",
        json={"data": [event], "access_token": DEFAULT_ACCESS_TOKEN},
    )
    assert answer.status_code == 200
    [action] = await read_actions(client)
    assert [copy["via"] for copy in action["server"]] == ["Segment", None]
    assert action["repeats"] == 1


async def test_message_without_our_event_id_is_counted_twice(client: AsyncClient) -> None:
    """``messageId`` is nobody else's id: Meta sees an event with another."""
    await hit(client)
    await track(client, properties={**ORDER, "event_id": ...})
    newest, oldest = await read_actions(client)
    assert (newest["merged"], oldest["merged"]) == (False, False)
    assert "event id m-1" in newest["why_not"]


async def test_meta_may_refuse_what_the_destination_sends(client: AsyncClient) -> None:
    got = await track(client, "Purchase")
    assert got["destination"]["outcome"] == "refused_by_meta"
    assert got["destination"]["reason"].endswith("[custom_data][value] is required for Purchase")
    got = await track(client, messageId="m-2", timestamp="2020-01-01T00:00:00Z")
    assert got["destination"]["outcome"] == "refused_by_meta"
    assert "[event_time] is more than 7 days ago" in got["destination"]["reason"]
    assert await read_actions(client) == []


async def test_dropped_and_declined_messages_reach_no_ledger(client: AsyncClient) -> None:
    assert (await track(client, event=""))["destination"] is None
    assert (await track(client, properties={}))["destination"]["outcome"] == "refused"
    assert (await track(client, messageId="m-2", type="track", integrations={"All": False}))[
        "destination"
    ]["outcome"] == "off"
    assert await read_actions(client) == []
    counters = (await client.get("/api/events")).json()["segment"]["counters"]
    assert counters["destination"] == {"refused": 1, "off": 1}
    assert json.dumps(counters["dropped_by"]) == '{"event_not_defined": 1}'
