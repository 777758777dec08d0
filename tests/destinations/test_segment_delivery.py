"""App → outbox → sender → the sandbox's Segment, a process of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

import bridge.delivery.breaker
from bridge import Bridge, BridgeMiddleware, InvalidEventError, UserData, identify, track
from bridge.delivery.sender import Sender
from bridge.destinations import Segment
from bridge.destinations.base import EncodingContext
from bridge.events.catalog import Catalog
from bridge.events.event import parse_event
from bridge.outbox import Delivery, SQLiteOutbox
from bridge.sandbox import DEFAULT_WRITE_KEY
from bridge.visitor.consent import Consent
from tests.factories import make_bridge, make_client, make_delivery, make_meta, unix_now
from tests.goldens import ENVELOPE, make_golden_visitor
from tests.servers import Sandbox, poll

PIXEL = "1234567890123456"
OPTIONS = [["LDU"], 0, 0]
ORDER = {"revenue": 25, "currency": "EUR", "products": [{"product_id": "a", "price": 25}]}
PERSON = ENVELOPE["visitor"]["user_data"]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge.delivery.breaker, "BACKOFF_CAP", 0.02)
    monkeypatch.setattr(bridge.delivery.breaker, "PAUSE", 0.05)
    monkeypatch.setattr(bridge.delivery.breaker, "PAUSE_CAP", 0.05)


def make_segment(url: str, **changes: Any) -> Segment:
    return Segment(**{"write_key": DEFAULT_WRITE_KEY, "url": url, **changes})


async def read_messages(sandbox: Sandbox) -> list[dict[str, Any]]:
    """What the sandbox was sent, oldest first."""
    entries: list[dict[str, Any]] = (await sandbox.read())["segment"]["messages"]
    return entries[::-1]


async def wait_for_messages(sandbox: Sandbox, count: int) -> list[dict[str, Any]]:
    async def check() -> list[dict[str, Any]] | None:
        entries = await read_messages(sandbox)
        return entries if len(entries) >= count else None

    entries: list[dict[str, Any]] = await poll(check, f"{count} messages")
    return entries


@asynccontextmanager
async def shop(
    outbox: SQLiteOutbox, sandbox: Sandbox, **changes: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A browser in front of a shop that sends to the sandbox."""
    changes.setdefault("destinations", [make_segment(sandbox.url)])
    async with (
        make_bridge(outbox, **changes) as bridge,
        make_client(make_app(bridge)) as client,
    ):
        yield client


def make_app(bridge: Bridge) -> FastAPI:
    app = FastAPI()
    app.add_middleware(BridgeMiddleware, bridge=bridge)

    @app.get("/")
    async def home() -> str:
        return "home"

    @app.get("/view")
    async def view() -> str:
        return (await track("PageView")).event_id

    @app.get("/order")
    async def order() -> str:
        return (await track("Order Completed", ORDER, event_id="1001")).event_id

    @app.get("/large")
    async def large() -> str:
        note = {f"n{i}": "x" * 900 for i in range(12)}
        return (await track("Order Completed", {**ORDER, **note}, event_id="1001")).event_id

    @app.get("/login")
    async def login(user: str = "42") -> str:
        identify(user, **PERSON)
        return "in"

    @app.get("/newsletter")
    async def newsletter() -> str:
        identify(email="ada@example.com")
        return "thanks"

    @app.get("/login-and-order")
    async def login_and_order() -> str:
        identify("42", **PERSON)
        return (await track("Order Completed", ORDER, event_id="1001")).event_id

    return app


# Events


async def test_order_reaches_segment_and_from_there_meta(
    outbox: SQLiteOutbox, sandbox: Sandbox
) -> None:
    async with shop(outbox, sandbox) as client:
        await client.get("/login-and-order")
        *_, entry = await wait_for_messages(sandbox, 3)
    assert (entry["type"], entry["event"], entry["verdict"]) == (
        *("track", "Order Completed", "accepted"),
    )
    assert entry["warnings"] == []
    assert entry["message"]["messageId"] != entry["message"]["properties"]["event_id"] == "1001"
    assert entry["message"]["context"]["library"]["name"] == "pixel-bridge"
    assert entry["destination"]["outcome"] == "delivered"
    [action] = await sandbox.actions("Purchase")
    event = action["server"][0]["event"]
    assert (event["event_id"], event["custom_data"]["value"]) == ("1001", 25)
    assert event["custom_data"]["contents"] == [{"id": "a", "quantity": 1, "item_price": 25}]
    assert abs(event["event_time"] - unix_now()) < 30
    assert "john_smith" not in str(await sandbox.read()).lower()


async def test_page_view_arrives_as_a_page(outbox: SQLiteOutbox, sandbox: Sandbox) -> None:
    async with shop(outbox, sandbox) as client:
        await client.get("/view", headers={"referer": "http://shop.example.com/"})
        [entry] = await wait_for_messages(sandbox, 1)
    assert (entry["type"], entry["verdict"], entry["warnings"]) == ("page", "accepted", [])
    assert entry["message"]["properties"]["url"] == "http://shop.example.com/view"
    [action] = await sandbox.actions("PageView")
    assert len(action["server"]) == 1


async def test_meta_counts_once_what_goes_both_ways(outbox: SQLiteOutbox, sandbox: Sandbox) -> None:
    both = [make_meta(graph_url=sandbox.url), make_segment(sandbox.url)]
    async with shop(outbox, sandbox, destinations=both, browser_hold=0) as client:
        await client.get("/order")
        [entry] = await wait_for_messages(sandbox, 1)
        await sandbox.wait_for_server_copies(1)
    assert (entry["verdict"], entry["destination"]["outcome"]) == ("accepted", "off")
    [action] = await sandbox.actions("Purchase")
    assert len(action["server"]) == 1


async def test_limited_visitors_message_says_so(outbox: SQLiteOutbox, sandbox: Sandbox) -> None:
    async with shop(outbox, sandbox, consent="limited") as client:
        await client.get("/order")
        [entry] = await wait_for_messages(sandbox, 1)
    message = entry["message"]
    assert message["context"]["dataProcessingOptions"] == OPTIONS
    assert message["integrations"]["Facebook Conversions API"] == {"dataProcessingOptions": OPTIONS}


# Who a visitor is


async def test_login_introduces_a_visitor_once(outbox: SQLiteOutbox, sandbox: Sandbox) -> None:
    async with shop(outbox, sandbox) as client:
        await client.get("/order")
        await client.get("/login")
        await client.get("/login")
        await client.get("/login-and-order")
        await client.get("/view")
        entries = await wait_for_messages(sandbox, 4)
        # Nothing more is under way: the outbox is empty.
        await poll(lambda: is_idle(outbox), "an empty outbox")
        entries = await read_messages(sandbox)
    kinds = sorted(entry["type"] for entry in entries)
    assert kinds == ["alias", "identify", "page", "track"]
    assert {entry["verdict"] for entry in entries} == {"accepted"}
    by_kind = {entry["type"]: entry["message"] for entry in entries}
    anonymous_id = by_kind["track"]["anonymousId"]
    assert "userId" not in by_kind["track"]
    assert by_kind["alias"]["previousId"] == anonymous_id == by_kind["identify"]["anonymousId"]
    assert {by_kind[kind]["userId"] for kind in ("alias", "identify", "page")} == {"42"}
    assert by_kind["identify"]["traits"] == ENVELOPE["identify"]["traits"]


async def is_idle(outbox: SQLiteOutbox) -> bool:
    counts = await outbox.count(unix_now(), with_delivered=True)
    return all(each.waiting == 0 for each in counts.values())


async def test_new_words_introduce_again_without_an_alias(
    outbox: SQLiteOutbox, sandbox: Sandbox
) -> None:
    async with shop(outbox, sandbox) as client:
        await client.get("/newsletter")
        await client.get("/login")
        await client.get("/login?user=43")
        await client.get("/order")
        await wait_for_messages(sandbox, 5)
        await poll(lambda: is_idle(outbox), "an empty outbox")
        entries = await read_messages(sandbox)
    told = sorted((each["type"], str(each["user_id"])) for each in entries)
    assert told == [
        *(("alias", "42"), ("identify", "42"), ("identify", "43"), ("identify", "None")),
        ("track", "43"),
    ]


async def test_alias_can_be_left_out(outbox: SQLiteOutbox, sandbox: Sandbox) -> None:
    switches = {"Amplitude": False}
    segment = make_segment(sandbox.url, alias=False, integrations=switches)
    async with shop(outbox, sandbox, destinations=[segment]) as client:
        await client.get("/login")
        await client.get("/order")
        entries = await wait_for_messages(sandbox, 2)
    assert sorted(entry["type"] for entry in entries) == ["identify", "track"]
    assert all(entry["message"]["integrations"] == switches for entry in entries)


@pytest.mark.parametrize("state", ["denied", "pending"])
async def test_nobody_is_introduced_without_consent(
    outbox: SQLiteOutbox, sandbox: Sandbox, state: Any
) -> None:
    consent = Consent(default=state)
    async with shop(outbox, sandbox, consent=consent) as client:
        for path in ("/login", "/login-and-order", "/newsletter"):
            assert (await client.get(path)).status_code == 200
        assert await is_idle(outbox)
    assert await read_messages(sandbox) == []


# Limits


def make_lead(segment: Segment, event_id: str, note: str = "") -> Delivery:
    fields = {
        "event_name": "Lead",
        "event_id": event_id,
        "event_time": unix_now(),
        "action_source": "website",
        "event_source_url": "https://shop.example.com/",
        "custom_data": {f"n{i}": note[i * 5000 : (i + 1) * 5000] for i in range(6)} if note else {},
    }
    user_data = UserData(external_id=["a" * 64], client_user_agent="UA", fbp="fb.1.1.2")
    event = parse_event(fields, user_data, now=unix_now())
    body = segment.encode(event, EncodingContext(Catalog()))
    return make_delivery(
        event_id,
        destination=segment.name,
        event_name="Lead",
        body=body,
        due=unix_now(),
        expires=unix_now() + 1000,
    )


async def test_many_and_large_messages_travel_within_the_limits(
    outbox: SQLiteOutbox, sandbox: Sandbox
) -> None:
    """Above 2500 messages the answer would be 200, and all of them dropped."""
    segment = make_segment(sandbox.url)
    small = [make_lead(segment, f"s{i}") for i in range(2600)]
    large = [make_lead(segment, f"l{i}", "x" * 30_000) for i in range(40)]
    assert sum(len(each.body) for each in large) > 1_000_000
    await outbox.put([*small, *large], unix_now())
    sender = Sender(outbox, [segment])
    sender.start()
    try:
        await poll(lambda: is_idle(outbox), "an empty outbox")
    finally:
        await sender.stop(deadline=5)
    async with httpx.AsyncClient(base_url=sandbox.url, timeout=60) as client:
        counters = (await client.get("/api/events?limit=1")).json()["segment"]["counters"]
    assert counters["accepted"] == len(small) + len(large)
    # A busy machine may answer too late, and then is asked again.
    assert counters["dropped_by"].keys() <= {"duplicate_message_id"}
    assert counters["refused_requests"] == 0


async def test_event_too_large_for_a_message_is_refused_at_the_call(
    outbox: SQLiteOutbox, sandbox: Sandbox
) -> None:
    both = [make_meta(graph_url=sandbox.url), make_segment(sandbox.url)]
    async with make_bridge(outbox, destinations=both) as bridge:
        visitor = make_golden_visitor(bridge, is_known=False)
        note = {f"n{i}": "x" * 4900 for i in range(7)}
        with pytest.raises(InvalidEventError, match="32,000 bytes"):
            await bridge.track("Lead", note, visitor=visitor)
        # Neither is stored: an event goes everywhere or nowhere.
        assert await is_idle(outbox)


# Failures


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 503},
        {"status": 429, "headers": {"retry-after": "0"}},
        {"status": 429, "headers": {"x-ratelimit-reset": "0"}},
        {"status": 408},
        {"drop": True},
        {"status": 500, "after": True},
        {"drop": True, "after": True},
    ],
)
async def test_message_arrives_once_after_a_failure(
    outbox: SQLiteOutbox, sandbox: Sandbox, fault: dict[str, Any]
) -> None:
    await sandbox.fault("segment", **fault)
    async with shop(outbox, sandbox) as client:
        await client.get("/order")

        async def is_taken() -> bool:
            return bool((await sandbox.read())["segment"]["counters"]["accepted"])

        await poll(is_taken, "the message")
        await poll(lambda: is_idle(outbox), "an empty outbox")
    counters = (await sandbox.read())["segment"]["counters"]
    assert counters["accepted"] == 1
    # What was taken before the answer got lost is dropped the second time, by its id.
    twice = {"duplicate_message_id": 1} if fault.get("after") else {}
    assert counters["dropped_by"] == twice
    [action] = await sandbox.actions("Purchase")
    assert len(action["server"]) == 1


# Twins


async def test_segment_without_a_pixel_holds_nothing_back(
    outbox: SQLiteOutbox, sandbox: Sandbox
) -> None:
    async with shop(outbox, sandbox, browser_hold=60) as client:
        answer = await client.get("/order")
        assert not any(name.startswith("_bridge_t") for name in answer.cookies)
        await wait_for_messages(sandbox, 1)
