"""Messages that an app writes itself, and hands to Segment's own library."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import httpx
import pytest
from segment.analytics.client import Client

from bridge import Bridge, InvalidEventError, Visitor
from bridge.destinations import Segment, to_arguments
from bridge.outbox import SQLiteOutbox
from bridge.sandbox import DEFAULT_WRITE_KEY
from bridge.visitor.seal import Sealed
from tests.factories import make_bridge, make_scope, make_visitor
from tests.goldens import CASES, ENVELOPE, build_message, make_golden_visitor

SAID = {name: case for name, case in CASES.items() if "said" in case}
HASHED = re.compile(r"[0-9a-f]{64}")


@pytest.fixture
async def bridge(outbox: SQLiteOutbox) -> Bridge:
    return make_bridge(outbox, follow_segment=True)


@pytest.fixture
async def visitor(bridge: Bridge) -> Visitor:
    return make_golden_visitor(bridge)


@pytest.mark.parametrize("case", SAID.values(), ids=SAID)
async def test_golden_is_completed_as_a_tracked_one_is(
    visitor: Visitor, case: dict[str, Any]
) -> None:
    given = {
        "event": case["said"]["event"],
        "timestamp": datetime(2026, 11, 18, 11, 6, 40, tzinfo=UTC),
        "properties": {**case["said"]["properties"], "event_id": "1001"},
    }
    message = Bridge.of(visitor).enrich(given, visitor=visitor)
    uuid.UUID(message.pop("messageId"))
    # Only the counts that the app did not say are ours.
    message["properties"].setdefault("num_items", case["segment"]["properties"].get("num_items"))
    expected = build_message(case["segment"])
    expected["properties"].setdefault("num_items", None)
    assert message == expected


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"userId": ["ada"]}, "userId"),
        ({"userId": True}, "userId"),
        ({"userId": "\ud800"}, "userId"),
        ({"userId": 10**5000}, "userId"),
        ({"anonymousId": 1.5}, "anonymousId"),
        ({"messageId": "x" * 100}, "messageId"),
        ({"timestamp": "yesterday"}, "timestamp"),
        ({"timestamp": "2026-11-18T11:06:40"}, "timestamp"),
        ({"timestamp": datetime(2026, 11, 18)}, "timestamp"),  # noqa: DTZ001
        ({"timestamp": 1795000000}, "timestamp"),
        ({"type": "identify"}, "type"),
        ({"integrations": ["All"]}, "integrations"),
        ({"context": "x"}, "context"),
        ({"context": {"traits": "x"}}, "context.traits"),
        ({"context": {"when": object()}}, "context.when"),
        ({"properties": {"event_id": " \n"}}, "properties.event_id"),
        ({"properties": {"event_id": []}}, "properties.event_id"),
        ({"properties": {"event_id": "ada@example.com"}}, "properties.event_id"),
        ({"properties": {"action_source": "web"}}, "properties.action_source"),
        ({"traits": {"email": "x"}}, "traits"),
        ({"properties": {f"n{i}": "x" * 4900 for i in range(7)}}, "event"),
    ],
)
async def test_what_segment_would_drop_is_refused(
    visitor: Visitor, given: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidEventError) as caught:
        Bridge.of(visitor).enrich({"event": "Quiz Done", **given}, visitor=visitor)
    assert caught.value.field == field


async def test_ids_are_text_and_empty_ones_are_none(visitor: Visitor) -> None:
    enrich = Bridge.of(visitor).enrich
    message = enrich({"event": "x", "userId": 7, "properties": {"event_id": 8}}, visitor=visitor)
    assert (message["userId"], message["properties"]["event_id"]) == ("7", "8")
    message = enrich({"event": "x", "userId": "", "anonymousId": ""}, visitor=visitor)
    assert message["userId"] == "42"
    assert message["anonymousId"] == ENVELOPE["segment"]["anonymousId"]


@pytest.mark.parametrize("given", ["context", "properties"])
async def test_browsers_ids_of_the_caller_hold_in_both_places(visitor: Visitor, given: str) -> None:
    own = {"fbp": "fb.1.1795000000000.42", "fbc": "fb.1.1795000000000.Own"}
    bridge = Bridge.of(visitor)
    event = {"event": "Lead", given: own}
    message = bridge.enrich(event, visitor=visitor)
    for place in ("context", "properties"):
        assert {key: message[place][key] for key in own} == own
    explanation = bridge.explain(event, visitor=visitor)
    assert {key: explanation.meta["user_data"][key] for key in own} == own
    one = bridge.enrich({"event": "Lead", given: {"fbc": own["fbc"]}}, visitor=visitor)
    assert one["context"]["fbp"] == one["properties"]["fbp"] == visitor.user_data.fbp
    assert one["context"]["fbc"] == one["properties"]["fbc"] == own["fbc"]


@pytest.mark.parametrize("key", ["postalCode", "postal_code", "zip", "zipCode", "zip_code"])
async def test_postal_code_is_read_however_it_is_spelled(visitor: Visitor, key: str) -> None:
    event = {"event": "Lead", "context": {"traits": {"address": {key: "94035-1234"}}}}
    message = Bridge.of(visitor).enrich(event, visitor=visitor)
    digest = hashlib.sha256(b"94035").hexdigest()
    assert message["context"]["traits"]["address"]["postalCode"] == digest
    assert (
        key in ("postalCode", "postal_code") or key not in message["context"]["traits"]["address"]
    )


@pytest.mark.parametrize(
    ("traits", "told"),
    [
        ({"name": "Ada Lovelace"}, "name"),
        ({"age": 36, "avatar": "https://x/a.png"}, "age, avatar"),
        ({"address": {"street": "Main St 5", "city": "Bern"}}, "address.street"),
        ({"address": {"Main St 5": 1}}, "address.<key>"),
        ({"address": "Main St 5, Bern"}, "address"),
        ({"phone": {"home": "0170 1"}}, "user_data.ph"),
        ({"birthday": "Main"}, "user_data.db"),
    ],
    ids=str,
)
async def test_trait_that_cannot_be_used_is_one_line_in_the_log(
    visitor: Visitor, caplog: pytest.LogCaptureFixture, traits: dict[str, Any], told: str
) -> None:
    event = {"event": "Lead", "context": {"traits": traits}}
    message = Bridge.of(visitor).enrich(event, visitor=visitor)
    [record] = caplog.records
    assert told in record.getMessage()
    for secret in ("Lovelace", "Main", "a.png", "0170"):
        assert secret not in record.getMessage()
        assert secret not in str(message)


@pytest.mark.parametrize("nothing", [None, "", {}], ids=repr)
async def test_trait_that_holds_nothing_is_not_told(
    visitor: Visitor, caplog: pytest.LogCaptureFixture, nothing: object
) -> None:
    traits = {"name": nothing or None, "address": nothing, "age": None, "plan": "pro"}
    event = {"event": "Lead", "context": {"traits": traits}}
    assert Bridge.of(visitor).enrich(event, visitor=visitor)["context"]["traits"]["plan"] == "pro"
    assert caplog.records == []


async def test_time_is_told_with_its_zone(visitor: Visitor) -> None:
    moment = datetime(2026, 11, 18, 12, 6, 40, tzinfo=timezone(timedelta(hours=1)))
    message = Bridge.of(visitor).enrich({"event": "x", "timestamp": moment}, visitor=visitor)
    assert message["timestamp"] == "2026-11-18T11:06:40.000+00:00"


async def test_given_traits_are_hashed_in_both_spellings(visitor: Visitor) -> None:
    traits = {
        "email": " Ada@Example.com",
        "first_name": "Ada",
        "birthday": "1997-02-16",
        "address": {"city": "Berlin", "postalCode": "10115"},
        "plan": "pro",
    }
    given = {"event": "x", "context": {"traits": traits}}
    message = Bridge.of(visitor).enrich(given, visitor=visitor)
    told = message["context"]["traits"]
    assert traits["email"] == " Ada@Example.com"  # the app's own object stays
    address = told.pop("address")
    assert told.pop("plan") == "pro"
    assert all(HASHED.fullmatch(value) for value in (*told.values(), *address.values()))
    assert told["firstName"] == told["first_name"]
    assert address["postalCode"] == address["postal_code"]
    assert told["birthday"] == ENVELOPE["segment"]["context"]["traits"]["birthday"]
    assert told["email"] != ENVELOPE["segment"]["context"]["traits"]["email"]
    assert told["phone"] == ENVELOPE["segment"]["context"]["traits"]["phone"]
    assert "Ada" not in str(message)
    assert "ada@" not in str(message)


async def test_limited_visitor_is_told_where_destinations_look(bridge: Bridge) -> None:
    visitor = make_golden_visitor(bridge)
    visitor.set_consent("limited")
    given = {"event": "x", "integrations": {"Amplitude": False}}
    message = bridge.enrich(given, visitor=visitor)
    options = [["LDU"], 0, 0]
    assert message["context"]["dataProcessingOptions"] == options
    assert message["integrations"] == {
        "Amplitude": False,
        "Facebook Conversions API (Actions)": False,
        "Facebook Conversions API": {"dataProcessingOptions": options},
    }


async def test_switches_of_the_destination_are_on_messages_of_the_app_too(
    outbox: SQLiteOutbox,
) -> None:
    segment = Segment("key", integrations={"Amplitude": False}, maps_limits=True)
    bridge = make_bridge(outbox, destinations=[segment])
    visitor = make_golden_visitor(bridge)
    enrich = bridge.enrich
    assert enrich({"event": "x"}, visitor=visitor)["integrations"] == {"Amplitude": False}
    visitor.set_consent("limited")
    message = enrich({"event": "x", "integrations": {"Amplitude": True}}, visitor=visitor)
    assert message["integrations"] == {
        "Amplitude": True,
        "Facebook Conversions API": {"dataProcessingOptions": [["LDU"], 0, 0]},
    }


MAILED = "https://shop.example.com/u/ada@example.com/x?email=ada%40example.com&a=1&token=abc#top"
CLEAN = "https://shop.example.com/u/redacted/x?a=1"


async def test_addresses_of_the_app_are_cleaned_like_those_that_were_seen(
    visitor: Visitor,
) -> None:
    page = {"url": MAILED, "referrer": MAILED, "title": "Thanks"}
    message = Bridge.of(visitor).enrich({"event": "x", "context": {"page": page}}, visitor=visitor)
    assert message["context"]["page"] == {
        "url": CLEAN,
        "referrer": CLEAN,
        "title": "Thanks",
        "path": "/u/redacted/x",
        "search": "?a=1",
    }
    given = {"event_name": "Lead", "event_source_url": MAILED, "referrer_url": MAILED}
    event = Bridge.of(visitor).enrich(given, visitor=visitor)
    assert (event["event_source_url"], event["referrer_url"]) == (CLEAN, CLEAN)


@pytest.mark.parametrize("size", [2000, 3000])
async def test_long_and_foreign_addresses_are_cleaned(visitor: Visitor, size: int) -> None:
    url = f"https://shop.example.com/größe/{'x' * size}?mail=ada@example.com&a=1"
    event = Bridge.of(visitor).enrich(
        {"event_name": "Lead", "event_source_url": url}, visitor=visitor
    )
    assert event["event_source_url"] == (
        f"https://shop.example.com/gr%C3%B6%C3%9Fe/{'x' * size}?a=1"
    )


@pytest.mark.parametrize(
    "url", ["/u/ada@example.com", "mailto:ada@example.com", "https://@/ada@example.com"]
)
async def test_address_that_is_none_does_not_leave(visitor: Visitor, url: str) -> None:
    context = {"page": {"url": url, "referrer": url, "title": "x"}}
    message = Bridge.of(visitor).enrich({"event": "x", "context": context}, visitor=visitor)
    assert message["context"]["page"] == {**ENVELOPE["segment"]["context"]["page"], "title": "x"}
    with pytest.raises(InvalidEventError, match="event_source_url"):
        Bridge.of(visitor).enrich({"event_name": "Lead", "event_source_url": url}, visitor=visitor)


async def test_page_without_an_address_keeps_ours_beneath(visitor: Visitor) -> None:
    known = ENVELOPE["segment"]["context"]["page"]
    context = {"page": {"search": "?q=ada@example.com&page=2", "title": 5}}
    message = Bridge.of(visitor).enrich({"event": "x", "context": context}, visitor=visitor)
    assert message["context"]["page"] == {**known, "search": "?page=2", "title": 5}


async def test_personal_data_is_taken_out_of_the_apps_own_context(visitor: Visitor) -> None:
    context = {
        "crm": {"email": "ada@example.com", "stage": "new"},
        "note": "call ada@example.com",
        "locale": "de-DE",
        "app": {"name": "shop"},
        "groupId": "acme",
    }
    message = Bridge.of(visitor).enrich({"event": "x", "context": context}, visitor=visitor)
    told = message["context"]
    assert (told["crm"], told["locale"], told["app"]) == (
        {"stage": "new"},
        "de-DE",
        {"name": "shop"},
    )
    assert told["groupId"] == "acme"
    assert "note" not in told
    assert Bridge.of(visitor).counters["removed_properties"] == 2
    given = {"event": "x", "context": {"groupId": "ada@example.com"}}
    with pytest.raises(InvalidEventError, match=r"context\.groupId"):
        Bridge.of(visitor).enrich(given, visitor=visitor)


async def test_visitor_without_a_page_is_of_no_website(bridge: Bridge) -> None:
    known = bridge.unseal(make_golden_visitor(bridge).seal())
    assert bridge.enrich({"event": "x"}, visitor=known)["properties"]["action_source"] == "website"
    nowhere = Visitor(bridge._visits, Sealed(known.identity))
    assert bridge.enrich({"event": "x"}, visitor=nowhere)["properties"]["action_source"] == "other"


async def test_arguments_need_a_track_message(bridge: Bridge, visitor: Visitor) -> None:
    with pytest.raises(InvalidEventError, match="track message"):
        to_arguments(bridge.enrich({"event_name": "Lead"}, visitor=visitor))
    with pytest.raises(InvalidEventError, match="timestamp"):
        to_arguments({"event": "x", "timestamp": "soon"})


# Segment's own library, in front of the sandbox


@pytest.fixture
def received(sandbox_process: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=sandbox_process, trust_env=False) as client:
        client.delete("/api/events")
        yield client
        client.delete("/api/events")


def send(url: str, *messages: dict[str, Any]) -> None:
    failures: list[Any] = []
    analytics = Client(
        DEFAULT_WRITE_KEY,
        host=url,
        on_error=lambda error, batch: failures.append(error),
        upload_interval=0.05,
        timeout=20,
    )
    for message in messages:
        ok, _ = analytics.track(**to_arguments(message))
        assert ok
    analytics.shutdown()
    assert failures == []


def test_message_of_enrich_arrives_whole_through_segments_library(
    sandbox_process: str, received: httpx.Client, tmp_path: Any
) -> None:
    bridge = make_bridge(f"sqlite:///{tmp_path}/bridge.db", follow_segment=True)
    visitor = make_golden_visitor(bridge)
    moment = datetime.now(UTC) - timedelta(hours=2)
    message = bridge.enrich(
        {
            "event": "Order Completed",
            "timestamp": moment,
            "properties": {
                "event_id": "order-1",
                "total": "$49.90",
                "currency": "usd",
                "products": [{"sku": "S-1", "quantity": 3}],
            },
        },
        visitor=visitor,
    )
    before = {**message, "context": {**message["context"]}}
    send(sandbox_process, message)
    assert message == before
    report = received.get("/api/events").json()
    [entry] = report["segment"]["messages"]
    assert (entry["verdict"], entry["warnings"]) == ("accepted", [])
    arrived = entry["message"]
    assert arrived["context"].pop("library")["name"] == "analytics-python"
    for key in ("type", "event", "messageId", "anonymousId", "userId", "properties", "context"):
        assert arrived[key] == message[key]
    assert arrived["context"]["page"] == ENVELOPE["segment"]["context"]["page"]
    assert arrived["originalTimestamp"] == message["timestamp"]
    # And from there to Meta, by Segment's own destination.
    assert entry["destination"]["outcome"] == "delivered"
    [purchase] = report["actions"]
    event = purchase["server"][0]["event"]
    assert event["event_name"] == "Purchase"
    assert event["event_id"] == "order-1"
    assert abs(event["event_time"] - moment.timestamp()) < 30
    assert event["custom_data"] == {
        "value": 49.9,
        "currency": "USD",
        "contents": [{"id": "S-1", "quantity": 3}],
    }
    told, expected = event["user_data"], ENVELOPE["meta"]["user_data"]
    assert told["external_id"] == [expected["external_id"][1]]
    for key in ("fbp", "fbc", "client_ip_address", "client_user_agent"):
        assert told[key] == expected[key]
    for key in ("em", "ph", "fn", "ln", "db", "ct", "st", "zp"):
        assert [told[key]] == expected[key] or told[key] == expected[key]


def test_message_of_an_anonymous_visitor_arrives_too(
    sandbox_process: str, received: httpx.Client, tmp_path: Any
) -> None:
    bridge = make_bridge(f"sqlite:///{tmp_path}/bridge.db")
    visitor = make_visitor(
        bridge, make_scope("/p", headers={"user-agent": "Mozilla/5.0 Firefox/140.0"})
    )
    send(sandbox_process, bridge.enrich({"event": "Signed Up"}, visitor=visitor))
    [entry] = received.get("/api/events").json()["segment"]["messages"]
    assert entry["verdict"] == "accepted"
    assert entry["anonymous_id"] == visitor.identity.anonymous_id
    assert not entry["user_id"]
