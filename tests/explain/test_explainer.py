"""One event explained: what goes out, and what there is to know of it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bridge
from bridge import Bridge, BridgeMiddleware, InvalidEventError, Visitor
from bridge.destinations import Segment
from bridge.events.catalog import Catalog, EventMapping
from bridge.events.event import DAY, UserData
from bridge.explain.explainer import EXAMPLE, Explanation
from bridge.sandbox.segment_actions import build_event
from bridge.sandbox.segment_fields import Declined
from tests.factories import make_bridge, make_client, make_meta, unix_now
from tests.servers import ROOT

PRODUCT = {"product_id": "fern", "price": 24, "quantity": 2}
CART = {**PRODUCT, "currency": "EUR"}
ORDER = {"revenue": 48, "currency": "EUR", "products": [PRODUCT]}
EMAIL = "mary@example.com"
DIGEST = hashlib.sha256(EMAIL.encode()).hexdigest()


def make_segment_bridge(**changes: Any) -> Bridge:
    return make_bridge("sqlite:///never-made.db", **{"destinations": [Segment("key")], **changes})


def make_visitor(
    bridge: Bridge, *, consent: Any = "granted", ignored: str | None = None, **changes: Any
) -> Visitor:
    """Somebody of whom all is known that a browser shows."""
    known = {"client_ip": "93.184.216.34", **changes}
    assert EXAMPLE.identity is not None
    identity = msgspec.structs.replace(EXAMPLE.identity, **known)
    sealed = EXAMPLE._replace(identity=identity, consent=consent, skip_reason=ignored or "")
    return Visitor(bridge._visits, sealed)


def explain(
    event: dict[str, Any], *, of: dict[str, Any] | None = None, **settings: Any
) -> Explanation:
    app = make_segment_bridge(**settings)
    return app.explain(event, visitor=make_visitor(app, **(of or {})))


def list_codes(explanation: Explanation) -> set[str]:
    return {remark.code for remark in explanation.warnings}


# What goes out


def test_event_is_explained_as_track_stores_it() -> None:
    given = {
        "event_name": "order_completed",
        "event_id": "A-1",
        "event_time": unix_now(),
        "custom_data": {**ORDER, "total": 57},
        "user_data": {"email": EMAIL},
    }
    app = make_segment_bridge(destinations=[make_meta(), segment := Segment("key")])
    visitor = make_visitor(app)
    explanation = app.explain(given, visitor=visitor)
    event, told = app._enricher.complete(given, visitor, now=time.time())
    assert explanation.meta == json.loads(event.encoded)
    assert explanation.segment == json.loads(segment.encode(event, told))
    assert explanation.meta["event_name"] == "Purchase"
    assert explanation.segment["event"] == "Order Completed"
    assert not isinstance(explanation.actions, Declined)
    assert explanation.actions["custom_data"]["value"] == 48


def test_message_is_explained_as_enrich_returns_it() -> None:
    given = {
        "event": "Product Added",
        "messageId": "0f8fad5b-d9cb-469f-a165-70867728950e",
        "timestamp": datetime.fromtimestamp(happened := unix_now(), UTC).isoformat(),
        "userId": "customer-42",
        "properties": {**CART, "event_id": "cart-1", "action_source": "app"},
        "context": {"ip": "93.184.216.1", "page": {"url": "https://shop.example.com/fern"}},
    }
    app = make_segment_bridge()
    visitor = make_visitor(app)
    explanation = app.explain(given, visitor=visitor)
    assert explanation.segment == app.enrich(given, visitor=visitor)
    meta = explanation.meta
    assert meta["event_name"] == "AddToCart"
    assert meta["event_id"] == "cart-1"
    assert meta["event_time"] == happened
    assert meta["action_source"] == "app"
    assert meta["event_source_url"] == "https://shop.example.com/fern"
    assert meta["user_data"]["external_id"] == [hashlib.sha256(b"customer-42").hexdigest()]
    assert meta["user_data"]["client_ip_address"] == "93.184.216.1"
    assert meta["custom_data"]["value"] == 24


def test_page_view_goes_as_a_page() -> None:
    explanation = explain({"event_name": "PageView"})
    assert explanation.segment["type"] == "page"
    assert isinstance(explanation.actions, dict)
    assert explanation.actions["event_name"] == "PageView"


def test_explanation_is_plain_json() -> None:
    taken = explain({"event_name": "AddToCart", "custom_data": CART}).to_dict()
    assert json.loads(json.dumps(taken)) == taken
    assert set(taken["actions"]) == {"payload"}
    refused = explain({"event_name": "Lead"}).to_dict()["actions"]["refusal"]
    assert set(refused) == {"code", "path", "reason"}


def test_nothing_is_stored_counted_or_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.DEBUG)
    app = make_segment_bridge()
    event: dict[str, Any] = {
        "event_name": "Order Completed",
        "custom_data": {**ORDER, "email": EMAIL},
        "user_data": {"phone": "none of these"},
    }
    explanation = app.explain(event)
    assert {"personal_removed", "user_data_dropped"} <= list_codes(explanation)
    assert not app.counters
    assert not caplog.records
    assert not list(tmp_path.iterdir())
    assert event["custom_data"]["email"] == EMAIL


def test_good_event_has_hardly_a_remark() -> None:
    codes = {"event_id_not_shared", "action_source_unmapped"}
    assert list_codes(explain({"event_name": "PageView"})) == codes


def test_worst_comes_first() -> None:
    levels = [
        remark.level for remark in explain({"event_name": "Search"}, of={"fbc": None}).warnings
    ]
    assert levels == sorted(levels, key=("error", "warning", "info").index)
    assert levels[0] == "error"


# What there is to know: each with the row of the reference it comes from

REMARKS: list[tuple[str, str, str, dict[str, Any], dict[str, Any]]] = [
    # code, level, path, event, further arguments of explain
    # (b) event names: no default trigger, and triggers compare the exact string
    ("no_trigger", "error", "event", {"event": "Product List Viewed"}, {}),
    ("no_trigger", "error", "event", {"event": "product_viewed"}, {}),
    ("no_trigger", "error", "event", {"event_name": "Signed Up"}, {}),
    # (b) rules that bite: currency case
    (
        "currency_case",
        "info",
        "properties.currency",
        {"event": "Product Added", "properties": {**CART, "currency": "usd"}},
        {},
    ),
    (
        "currency_refused",
        "error",
        "properties.currency",
        {"event": "Product Added", "properties": {**CART, "currency": "XCG"}},
        {},
    ),
    # (b) rules that bite: Search with only query
    (
        "search_without_product",
        "error",
        "properties.product_id",
        {"event_name": "Search", "custom_data": {"search_string": "fern"}},
        {},
    ),
    # (b) Purchase, contents: product_id, no sku
    (
        "product_without_id",
        "error",
        "properties.product_id",
        {"event": "Product Added", "properties": {"price": 24, "currency": "EUR"}},
        {},
    ),
    (
        "property_added",
        "info",
        "properties.products[0].product_id",
        {"event": "Order Completed", "properties": {**ORDER, "products": [{"sku": "F-1"}]}},
        {},
    ),
    # (b) rules that bite: value for Purchase
    (
        "property_added",
        "info",
        "properties.revenue",
        {"event": "Order Completed", "properties": {"total": 5, "currency": "EUR"}},
        {},
    ),
    (
        "property_added",
        "info",
        "properties.revenue",
        {"event_name": "Order Completed", "custom_data": {"total": 5, "currency": "EUR"}},
        {},
    ),
    # (b) AddToCart, value: price alone
    (
        "property_added",
        "info",
        "properties.price",
        {
            "event": "Product Added",
            "properties": {"product_id": "fern", "value": 24, "currency": "EUR"},
        },
        {},
    ),
    # (b) AddToCart, value: price against value
    (
        "value_differs",
        "warning",
        "custom_data.value",
        {"event_name": "Product Added", "custom_data": {**CART, "value": 48}},
        {},
    ),
    # (b) AddToCart, currency: sent as it is, without a default
    (
        "value_without_currency",
        "warning",
        "properties.currency",
        {"event": "Product Added", "properties": PRODUCT},
        {},
    ),
    # (b) parameters: content_ids, content_type, order_id and own ones are not mapped
    (
        "parameters_lost",
        "info",
        "custom_data",
        {"event_name": "AddToCart", "custom_data": CART},
        {},
    ),
    # (b) anything else: same name, at most 50 characters
    ("name_too_long", "warning", "event", {"event_name": "x" * 51}, {}),
    # (b) event names: a mapping of the app's own does not change Segment's
    (
        "event_name_differs",
        "warning",
        "event_name",
        {"event_name": "Product Viewed", "custom_data": CART},
        {"catalog": Catalog([EventMapping("Product Viewed", "CustomizeProduct", lines="self")])},
    ),
    # (b) rules that bite: website and no client_user_agent
    (
        "user_agent_missing",
        "error",
        "user_data.client_user_agent",
        {"event_name": "Lead"},
        {"of": {"user_agent": None}},
    ),
    (
        "refused_user_agent",
        "error",
        "context.userAgent",
        {"event_name": "PageView"},
        {"of": {"user_agent": None}},
    ),
    # (a) action_source: no default, required in every mapping
    ("action_source_unmapped", "info", "action_source", {"event_name": "PageView"}, {}),
    # (a) limits
    (
        "message_too_large",
        "error",
        "",
        {"event_name": "Quiz", "custom_data": {"texts": ["x" * 4000] * 9}},
        {},
    ),
    # (a) context.direct
    (
        "context_direct",
        "warning",
        "context.direct",
        {"event": "Lead", "context": {"direct": True}},
        {},
    ),
    # (c) external_id
    (
        "external_id_missing",
        "warning",
        "user_data.external_id",
        {"event_name": "Lead"},
        {"of": {"consent": "denied"}},
    ),
    ("user_id_empty", "info", "userId", {"event": "Lead", "userId": ""}, {}),
    (
        "external_id_differs",
        "warning",
        "user_data.external_id",
        {"event_name": "PageView"},
        {"of": {"user_id": "customer-42", "is_page_anonymous": True}},
    ),
    # (c) event_id = messageId
    ("event_id_not_shared", "warning", "event_id", {"event_name": "PageView"}, {}),
    ("message_id_short", "warning", "messageId", {"event": "Lead", "messageId": "order-1001"}, {}),
    (
        "message_id_shared",
        "warning",
        "messageId",
        {"event": "Lead", "messageId": "m" * 36, "properties": {"event_id": "m" * 36}},
        {},
    ),
    # (c) order and time: external id and/or fbp
    ("fbp_missing", "warning", "user_data.fbp", {"event_name": "Lead"}, {"of": {"fbp": None}}),
    # (d) client_ip_address, fbc
    ("fbc_missing", "info", "user_data.fbc", {"event_name": "Lead"}, {"of": {"fbc": None}}),
    (
        "ip_missing",
        "info",
        "user_data.client_ip_address",
        {"event_name": "Lead"},
        {"of": {"client_ip": None}},
    ),
    # (d) gender and country: no default path
    (
        "user_data_lost",
        "info",
        "user_data",
        {"event_name": "PageView", "user_data": {"gender": "f", "country": "de"}},
        {},
    ),
    # (d) db: no date parsing; ph: leading zeros kept
    (
        "birthday_format",
        "info",
        "context.traits.birthday",
        {"event": "Lead", "context": {"traits": {"birthday": "1990-05-17"}}},
        {},
    ),
    (
        "phone_format",
        "info",
        "context.traits.phone",
        {"event": "Lead", "context": {"traits": {"phone": "0049 170 1234567"}}},
        {},
    ),
    (
        "trait_in_clear",
        "info",
        "context.traits.address.city",
        {"event": "Lead", "context": {"traits": {"address": {"city": "Berlin"}}}},
        {},
    ),
    # (f) LDU: off by default, a field of each mapping
    (
        "limited_unmapped",
        "warning",
        "data_processing_options",
        {"event_name": "PageView"},
        {"of": {"consent": "limited"}},
    ),
    # (a) integrations
    (
        "switched_off",
        "info",
        "integrations.Facebook Conversions API (Actions)",
        {"event_name": "PageView"},
        {"destinations": [make_meta()]},
    ),
    # our own
    (
        "personal_removed",
        "warning",
        "custom_data.email",
        {"event_name": "Lead", "custom_data": {"email": EMAIL}},
        {},
    ),
    (
        "personal_removed",
        "warning",
        "context.traits.name",
        {"event": "Lead", "context": {"traits": {"name": "Mary Major", "plan": "gold"}}},
        {},
    ),
    (
        "personal_removed",
        "warning",
        "context.traits.address.<key>",
        {"event": "Lead", "context": {"traits": {"address": {EMAIL: "home", "city": None}}}},
        {},
    ),
    (
        "personal_removed",
        "warning",
        "context.traits.note",
        {"event": "Lead", "context": {"traits": {"note": EMAIL}}},
        {},
    ),
    (
        "converted",
        "info",
        "custom_data.value",
        {"event_name": "Lead", "custom_data": {"value": "$1,234.50", "currency": "USD"}},
        {},
    ),
    (
        "user_data_dropped",
        "warning",
        "user_data.birthday",
        {"event_name": "Lead", "user_data": {"birthday": "soon"}},
        {},
    ),
    (
        "user_data_dropped",
        "warning",
        "context.traits.birthday",
        {"event": "Lead", "context": {"traits": {"birthday": "soon"}}},
        {},
    ),
    (
        "user_data_dropped",
        "warning",
        "context.ip",
        {"event": "Lead", "context": {"ip": "10.0.0.1"}},
        {},
    ),
    (
        "phone_without_country",
        "warning",
        "user_data.phone",
        {"event_name": "Lead", "user_data": {"phone": "0170 1234567"}},
        {},
    ),
    (
        "birthday_ambiguous",
        "warning",
        "user_data.birthday",
        {"event_name": "Lead", "user_data": {"birthday": "02/03/1990"}},
        {},
    ),
    (
        "envelope_key",
        "warning",
        "custom_data.fbp",
        {"event_name": "Lead", "custom_data": {"fbp": "fb.1.1795000000000.1"}},
        {},
    ),
    (
        "too_old",
        "error",
        "timestamp",
        {"event": "Lead", "timestamp": datetime.fromtimestamp(time.time() - 8 * DAY, UTC)},
        {},
    ),
    ("not_sent", "error", "", {"event_name": "Lead"}, {"of": {"ignored": "bot"}}),
]


@pytest.mark.parametrize(
    ("code", "level", "path", "event", "arguments"),
    REMARKS,
    ids=[f"{i}-{row[0]}" for i, row in enumerate(REMARKS)],
)
def test_remark_is_made(
    code: str, level: str, path: str, event: dict[str, Any], arguments: dict[str, Any]
) -> None:
    explanation = explain(event, **arguments)
    found = [remark for remark in explanation.warnings if remark.code == code]
    assert [(remark.level, remark.path) for remark in found] == [(level, path)]
    assert found[0].words


@pytest.mark.parametrize(
    "event",
    [
        {"event_name": "Lead", "custom_data": {"fbp": "fb.1.1.1", "external_id": "42"}},
        {"event": "Lead", "properties": {"fbp": "fb.1.1795000000000.1", "external_id": "42"}},
        {"event": "Lead", "context": {"traits": {"name": "Ada", "address": {"street": "X 5"}}}},
        {"event": "Lead", "context": {"traits": {"name": "Ada", "address": "X 5", "age": 5}}},
        {"event_name": "Lead", "user_data": {"phone": "0170 1234567", "birthday": "3.4.1990"}},
        {"event": "Lead", "context": {"traits": {"phone": "0170 1234567", "birthday": "soon"}}},
    ],
    ids=str,
)
def test_nothing_is_logged(event: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    assert explain(event).meta
    assert caplog.records == []


def test_country_beside_a_phone_counts_as_for_the_event() -> None:
    national = hashlib.sha256(b"491701234567").hexdigest()
    traits = {"phone": "0170 1234567", "birthday": "3.4.1990", "address": {"country": "Germany"}}
    explanation = explain({"event": "Lead", "context": {"traits": traits}})
    assert explanation.meta["user_data"]["ph"] == [national]
    assert explanation.meta["user_data"]["db"] == [hashlib.sha256(b"19900403").hexdigest()]
    assert "user_data_dropped" not in list_codes(explanation)


def test_every_remark_has_its_row() -> None:
    source = "".join(
        (ROOT / "bridge/explain" / f"{name}.py").read_text()
        for name in ("remarks", "drafts", "explainer")
    )
    written = set(re.findall(r'Remark\(\s*"(?:error|warning|info)",\s*f?"([a-z_{}]+)"', source))
    told = {code if not code.startswith("refused_") else "refused_{code}" for code, *_ in REMARKS}
    # Its own test: without a visitor.
    assert written - told == {"example_visitor"}
    assert told - written <= {"parameters_lost", "user_data_lost"}


def test_remark_names_the_exact_trigger() -> None:
    [remark] = [r for r in explain({"event": "product_viewed"}).warnings if r.code == "no_trigger"]
    assert "Product Viewed" in remark.words


def test_lost_parameters_are_named() -> None:
    event = {
        "event_name": "Order Completed",
        "custom_data": {
            **ORDER,
            "order_id": "A-1",
            "products": [{**PRODUCT, "delivery_category": "in_store"}],
        },
    }
    [remark] = [r for r in explain(event).warnings if r.code == "parameters_lost"]
    for name in ("order_id", "content_ids", "num_items", "contents[].delivery_category"):
        assert name in remark.words


# Personal values


@pytest.mark.parametrize(
    "event",
    [
        {"event_name": "Lead", "user_data": {"email": EMAIL}},
        {"event_name": "Lead", "custom_data": {"email": EMAIL}},
        {"event": "Lead", "context": {"traits": {"email": EMAIL, "friends": [EMAIL]}}},
        {"event": "Order Completed", "properties": {**ORDER, "email": EMAIL}},
    ],
)
def test_personal_values_are_not_shown(event: dict[str, Any]) -> None:
    assert EMAIL not in json.dumps(explain(event).to_dict())


def test_user_data_is_hashed_on_every_way() -> None:
    explanation = explain({"event_name": "PageView", "user_data": {"email": EMAIL}})
    assert explanation.meta["user_data"]["em"] == [DIGEST]
    assert explanation.segment["context"]["traits"]["email"] == DIGEST
    assert isinstance(explanation.actions, dict)
    assert explanation.actions["user_data"]["em"] == DIGEST


def test_trait_in_the_clear_leaves_hashed_on_every_way() -> None:
    event = {
        "event": "Product Added",
        "properties": CART,
        "context": {
            "traits": {
                "email": EMAIL,
                "birthday": "1990-05-17",
                "plan": "gold",
                "address": {"city": "Berlin", "street": "1 Some Street"},
            }
        },
    }
    explanation = explain(event)
    birthday = hashlib.sha256(b"19900517").hexdigest()
    city = hashlib.sha256(b"berlin").hexdigest()
    traits = {"email": DIGEST, "birthday": birthday, "plan": "gold", "address": {"city": city}}
    assert explanation.segment["context"]["traits"] == traits
    assert isinstance(explanation.actions, dict)
    ours, theirs = explanation.meta["user_data"], explanation.actions["user_data"]
    assert ours["em"] == [theirs["em"]] == [DIGEST]
    assert ours["db"] == [theirs["db"]] == [birthday]
    assert ours["ct"] == [theirs["ct"]] == [city]


def test_hashed_traits_have_no_remark() -> None:
    traits = {"email": DIGEST, "phone": [DIGEST, DIGEST[::-1]], "birthday": "", "gender": None}
    explanation = explain({"event": "Lead", "context": {"traits": {**traits, "address": {}}}})
    assert explanation.segment["context"]["traits"] == {"email": DIGEST, "phone": DIGEST}
    assert explanation.meta["user_data"]["ph"] == [DIGEST, DIGEST[::-1]]
    codes = list_codes(explanation)
    assert not codes & {"trait_in_clear", "birthday_format", "phone_format", "personal_removed"}


def test_trait_that_is_no_such_thing_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    traits = {"birthday": "soon", "email": ["none", EMAIL]}
    explanation = explain({"event": "Lead", "context": {"traits": traits}})
    assert explanation.segment["context"]["traits"] == {"email": DIGEST}
    remarks = [each[1:3] for each in explanation.warnings if "traits" in each.path]
    assert remarks == [
        ("user_data_dropped", "context.traits.birthday"),
        ("user_data_dropped", "context.traits.email"),
        ("trait_in_clear", "context.traits.email"),
    ]
    assert not caplog.records


def test_what_bridge_adds_is_told_of_segments_words_only() -> None:
    event = {"event_name": "Purchase", "custom_data": {"value": 5, "currency": "EUR"}}
    explanation = explain(event)
    assert explanation.segment["properties"]["revenue"] == 5
    assert "property_added" not in list_codes(explanation)


def test_what_bridge_adds_reaches_meta_by_segments_way() -> None:
    properties = {"total": 5, "currency": "eur", "products": [{"sku": "F-1"}]}
    explanation = explain({"event": "Order Completed", "properties": properties})
    assert isinstance(explanation.actions, dict)
    ours, theirs = explanation.meta["custom_data"], explanation.actions["custom_data"]
    assert ours["value"] == 5
    assert not ours.keys() & {"revenue", "total"}
    assert (theirs["value"], theirs["currency"]) == (5, "EUR")
    assert theirs["contents"][0]["id"] == "F-1"
    added = [each for each in explanation.warnings if each.code == "property_added"]
    assert [each.path for each in added] == [
        "properties.revenue",
        "properties.products[0].product_id",
    ]
    assert all("Bridge adds it" in each.words for each in added)
    assert all("refuses an event without it" in each.words for each in added)
    bare = {**explanation.segment, "properties": {**properties, "action_source": "website"}}
    refused = build_event(bare)
    assert isinstance(refused, Declined)
    assert (refused.code, refused.path) == ("missing", "properties.revenue")


# Refusals


@pytest.mark.parametrize(
    ("event", "field"),
    [
        ({"event_name": "Purchase"}, "custom_data.value"),
        ({"event_name": "Purchase", "custom_data": {"value": 5}}, "custom_data.currency"),
        ({"event_name": "Lead", "custom_data": {"currency": "EURO"}}, "custom_data.currency"),
        ({"event": "Order Completed", "properties": {"total": "1,234"}}, "properties.total"),
        ({"event": "Lead", "timestamp": "yesterday"}, "timestamp"),
        ({"event": "Lead", "timestamp": "2026-11-25T10:00:00"}, "timestamp"),
        ({"event": "Lead", "mine": 1}, "mine"),
        ({"event": "Lead", "userId": EMAIL}, "userId"),
        ({"event": "Lead", "anonymousId": f"guest {EMAIL}"}, "anonymousId"),
        ({"event": "Lead", "messageId": EMAIL}, "messageId"),
        ({"event": "Lead", "messageId": "m" * 100}, "messageId"),
        ({"event": "Lead", "context": {"traits": EMAIL}}, "context.traits"),
        ({"event": "Lead", "context": {"mine": {1, object}}}, "context.mine"),
        ({"event_name": "Lead", "user_data": {"mine": 1}}, "user_data.mine"),
        ({"event_name": 5}, "event_name"),
        ({}, "event"),
        ([], "event"),
    ],
)  # fmt: skip
def test_what_would_be_refused_is(event: Any, field: str) -> None:
    with pytest.raises(InvalidEventError) as error:
        explain(event)
    assert error.value.field == field
    assert EMAIL not in str(error.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
KEYS = ("value", "currency", "products", "contents", "product_id", "price", "query", "email")
APP = make_segment_bridge()


@settings(max_examples=150, deadline=None)
@given(
    shape=st.sampled_from((("event_name", "custom_data"), ("event", "properties"))),
    name=st.sampled_from(("Order Completed", "Product Viewed", "Search", "Quiz")),
    properties=st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), JSON),
    context=st.dictionaries(st.sampled_from(("traits", "page", "ip")), JSON),
)
def test_any_event_is_explained_or_refused(
    shape: tuple[str, str], name: str, properties: dict[str, Any], context: dict[str, Any]
) -> None:
    event = {shape[0]: name, shape[1]: properties}
    if shape[0] == "event":
        event["context"] = context
    with contextlib.suppress(InvalidEventError):
        assert APP.explain(event).to_dict()


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ({"event_name": "PageView", "custom_data": {"currency": "eur"}}, "currency_case"),
        ({"event": "Lead", "timestamp": "2026-01-01T00:00:00Z"}, "too_old"),
        (
            {"event": "Lead", "context": {"traits": {"phone": "0170 1234567"}}},
            "phone_without_country",
        ),
        (
            {"event": "Product Added", "messageId": "1", "properties": CART | {"price": "5"}},
            "converted",
        ),
    ],
)
def test_nothing_is_said_of_segment_if_only_meta_is_wanted(
    event: dict[str, Any], code: str
) -> None:
    explanation = explain(event)
    assert "Segment" in str(explanation.warnings)
    told = explanation.only_meta()
    assert told["meta"] == explanation.meta
    assert code in [warning["code"] for warning in told["warnings"]]
    assert "Segment" not in str(told)


# Who is asked


def test_without_a_visitor_an_example_is_taken() -> None:
    explanation = make_segment_bridge().explain({"event_name": "Lead"})
    assert "example_visitor" in list_codes(explanation)
    assert explanation.meta["user_data"]["client_ip_address"].startswith("2001:db8:")
    assert explanation.meta["event_source_url"] == "https://shop.example.com/"


def test_it_works_anywhere_without_an_app() -> None:
    explanation = bridge.explain(
        {"event_name": "Purchase", "custom_data": {"value": 5, "currency": "EUR"}}
    )
    assert explanation.segment["event"] == "Order Completed"
    assert "example_visitor" in list_codes(explanation)
    assert "switched_off" not in list_codes(explanation)


async def test_in_a_request_it_is_the_current_visitor() -> None:
    app = make_segment_bridge(run_sender=False)
    seen: list[Explanation] = []

    async def handler(scope: Any, receive: Any, send: Any) -> None:
        seen.append(bridge.explain({"event_name": "Lead"}))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    await make_client(BridgeMiddleware(handler, bridge=app)).get("/fern")
    [explanation] = seen
    assert "example_visitor" not in list_codes(explanation)
    assert explanation.meta["event_source_url"] == "http://shop.example.com/fern"


def test_apps_own_settings_hold() -> None:
    app = make_segment_bridge(
        catalog=Catalog([EventMapping("Quiz Finished", "Quiz")]), phone_region="DE"
    )
    event = {"event_name": "quiz_finished", "user_data": {"phone": "0170 1234567"}}
    explanation = app.explain(event)
    assert explanation.meta["event_name"] == "Quiz"
    assert explanation.meta["user_data"]["ph"] == [hashlib.sha256(b"491701234567").hexdigest()]
    assert "phone_without_country" not in list_codes(explanation)


def test_identified_visitor_is_told_of_by_digests() -> None:
    of = {"user_id": "customer-42", "user_data": UserData(em=[DIGEST])}
    explanation = explain({"event_name": "PageView"}, of=of)
    assert explanation.segment["userId"] == "customer-42"
    assert explanation.segment["context"]["traits"] == {"email": DIGEST}
    assert "external_id_differs" not in list_codes(explanation)
