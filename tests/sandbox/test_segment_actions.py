"""Segment's destination for Meta: which event it makes of a message, or why it makes none."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from httpx import ASGITransport, AsyncClient

from bridge.sandbox import DEFAULT_ACCESS_TOKEN, DEFAULT_PIXEL_ID, DEFAULT_WRITE_KEY, create_app
from bridge.sandbox.segment_actions import DESTINATION, Declined, MetaEvent, build_meta_event

HASH = "a" * 64
URL = "https://shop.example.com/thanks"
PRODUCT = {"product_id": "507", "price": 9.5, "quantity": 2, "name": "Ignored"}
ORDER = {"revenue": 25.0, "currency": "EUR", "products": [PRODUCT]}


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
    built = build_meta_event(make_message(*message, **changes))
    assert isinstance(built, MetaEvent), built
    return built.event


def decline(*message: Any, **changes: Any) -> tuple[str, str | None]:
    built = build_meta_event(make_message(*message, **changes))
    assert isinstance(built, Declined), built
    return built.outcome, built.reason


def test_order_becomes_a_purchase_by_the_default_mapping() -> None:
    assert send() == {
        "event_name": "Purchase",
        "event_time": 1_795_600_800,
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
            {"product_id": 507, "currency": "EUR"},
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
    assert decline(type=kind) == ("none", f"no mapping is for {kind}")


def test_event_id_is_the_message_id_without_one_of_our_own() -> None:
    assert send(properties={**ORDER, "event_id": ...})["event_id"] == "m-1"
    assert send(properties={**ORDER, "event_id": 17})["event_id"] == "17"


@pytest.mark.parametrize(
    ("integrations", "outcome"),
    [
        ({}, None),
        ({"All": True}, None),
        ({"All": False}, "off"),
        ({"All": False, DESTINATION: True}, None),
        ({"All": False, DESTINATION: {"option": 1}}, None),
        ({DESTINATION: False}, "off"),
        ({"All": True, DESTINATION: False}, "off"),
        ({DESTINATION.lower(): False}, None),
        ({"all": False}, None),
    ],
)
def test_integrations_turn_it_off(integrations: dict[str, Any], outcome: str | None) -> None:
    """Source: Common Fields, Integrations; HTTP API: "Destination flags are case sensitive"."""
    built = build_meta_event(make_message(integrations=integrations))
    assert (built.outcome if isinstance(built, Declined) else None) == outcome


@pytest.mark.parametrize(
    ("event", "properties", "reason"),
    [
        ("Order Completed", {"action_source": ...}, "missing the required field 'action_source'"),
        ("Order Completed", {"action_source": "Website"}, "action_source must be one of"),
        ("Order Completed", {"action_source": "business_messaging"}, "action_source must be one"),
        ("Order Completed", {"currency": ...}, "missing the required field 'currency'"),
        ("Order Completed", {"currency": ""}, "Must include a currency for Purchase events"),
        ("Order Completed", {"currency": "eur"}, "eur is not a valid currency code."),
        ("Order Completed", {"currency": "EURO"}, "EURO is not a valid currency code."),
        ("Order Completed", {"currency": {}}, "currency must be a string"),
        ("Order Completed", {"revenue": ..., "total": 5}, "missing the required field 'value'"),
        ("Order Completed", {"revenue": "$5"}, "value must be a number"),
        ("Order Completed", {"revenue": ""}, "value must be a number"),
        ("Order Completed", {"revenue": "inf"}, "value must be a number"),
        ("Order Completed", {"revenue": 10**400}, "value must be a number"),
        ("Order Completed", {"products": [{}]}, "contents[0] must include an 'id' parameter."),
        ("Order Completed", {"products": [PRODUCT, 7]}, "contents[1] must be an object"),
        ("Order Completed", {"products": "x"}, "contents[0] must be an object"),
        (
            "Order Completed",
            {"products": [{**PRODUCT, "quantity": 1.5}]},
            "quantity must be an integer",
        ),
        (
            "Order Completed",
            {"products": [{**PRODUCT, "price": "free"}]},
            "item_price must be a number",
        ),
        ("Order Completed", {"fbp": []}, "fbp must be a string"),
        ("Order Completed", {"event_id": []}, "event_id must be a string"),
        ("Product Viewed", {}, "contents[0] must include an 'id' parameter."),
        ("Product Added", {"sku": "x"}, "contents[0] must include an 'id' parameter."),
        ("Products Searched", {"query": "x"}, "contents[0] must include an 'id' parameter."),
        ("Products Searched", {"product_id": "1", "query": []}, "search_string must be a string"),
        ("Product Viewed", {"product_id": "1", "currency": "usd"}, "usd is not a valid currency"),
        ("Lead", {"action_source": ...}, "missing the required field 'action_source'"),
    ],
)
def test_refusal(event: str, properties: dict[str, Any], reason: str) -> None:
    """Source: ``validate`` and ``validateContents``; for kinds, the fields of each action."""
    start = ORDER if event == "Order Completed" else {}
    outcome, said = decline(event, {**start, **properties})
    assert outcome == "refused"
    assert said is not None
    assert said.startswith(reason)


def test_website_needs_a_user_agent_unless_the_mapping_is_custom() -> None:
    context = {"page": {"url": URL}}
    outcome, reason = decline(context=context)
    assert (outcome, reason) == (
        "refused",
        'If action source is "Website" then client_user_agent must be defined',
    )
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
def test_what_is_lost_on_the_way_is_told(changes: dict[str, Any], start: str | None) -> None:
    built = build_meta_event({**make_message(), **changes})
    assert isinstance(built, MetaEvent)
    assert [warning[: len(start or "")] for warning in built.warnings] == ([start] if start else [])


# Through the sandbox, to the ledger


@pytest.fixture
async def client() -> AsyncIterator[AsyncClient]:
    transport = ASGITransport(create_app(), raise_app_exceptions=True)
    async with AsyncClient(transport=transport, base_url="http://sandbox") as client:
        yield client


async def track(client: AsyncClient, *message: Any, **changes: Any) -> dict[str, Any]:
    """Send a message that happened now, and return what the sandbox says of it."""
    body = {**make_message(*message, **changes), "writeKey": DEFAULT_WRITE_KEY}
    del body["timestamp"]
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
    assert got["destination"]["reason"] == "A Purchase event needs a value in custom_data"
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
