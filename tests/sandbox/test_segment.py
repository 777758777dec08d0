"""Segment's tracking API from the outside: one row per rule, named after its page."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from httpx import ASGITransport, AsyncClient, Response
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.async_api import Browser, expect

from bridge.sandbox import DEFAULT_WRITE_KEY as KEY
from bridge.sandbox import create_app
from bridge.sandbox.ledger import Ledger
from bridge.sandbox.message_log import MessageLog
from bridge.sandbox.segment import Call
from bridge.sandbox.segment_messages import judge_messages
from bridge.sandbox.segment_source import Source

BATCH = "/v1/batch"
NOW = 1_795_000_000.0
DAY = 86_400
HASH = "a" * 64


def iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def make_message(**changes: Any) -> dict[str, Any]:
    """Return a valid track message; a key that is given ``...`` is left out."""
    message = {
        "type": "track",
        "event": "Order Completed",
        "anonymousId": "a-1",
        "messageId": "11111111-1111-1111-1111-111111111111",
        **changes,
    }
    return {key: value for key, value in message.items() if value is not ...}


class Caller:
    """A client of the sandbox, and what the sandbox says it got from it."""

    def __init__(self, client: AsyncClient) -> None:
        self.client = client

    async def post(self, body: Any, path: str = BATCH, **headers: str) -> Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {name.replace("_", "-"): value for name, value in headers.items() if value}
        if "content_type" not in headers:
            sent["content-type"] = "application/json"
        return await self.client.post(path, content=content, headers=sent)

    async def send(self, *messages: Any, **batch: Any) -> list[dict[str, Any]]:
        """Send a batch, and return what became of its messages, in their order."""
        answer = await self.post({"writeKey": KEY, "batch": messages, **batch})
        assert (answer.status_code, answer.json()) == (200, {"success": True})
        newest: list[dict[str, Any]] = (await self.read())["messages"][: len(messages)]
        return newest[::-1]

    async def read(self) -> dict[str, Any]:
        report: dict[str, Any] = (await self.client.get("/api/events")).json()["segment"]
        return report


@pytest.fixture
async def caller() -> AsyncIterator[Caller]:
    transport = ASGITransport(create_app(), raise_app_exceptions=True)
    async with AsyncClient(transport=transport, base_url="http://sandbox") as client:
        yield Caller(client)


def basic(credentials: str) -> str:
    return "Basic " + base64.b64encode(credentials.encode()).decode()


@pytest.mark.parametrize(
    ("in_body", "header", "status", "reason"),
    [
        (KEY, "", 200, None),
        (None, basic(f"{KEY}:"), 200, None),
        (KEY, "Bearer token", 200, None),
        ("another", "", 200, "project_not_found"),
        (None, basic("another:"), 200, "project_not_found"),
        (KEY, basic("another:"), 200, "project_not_found"),
        (None, "", 400, None),
        ("", "", 400, None),
        (7, "", 400, None),
        (None, basic(KEY), 400, None),
        (None, basic(f"{KEY}:password"), 400, None),
        (None, "Basic ###", 400, None),
        (None, "Bearer token", 400, None),
    ],
)
async def test_write_key(
    caller: Caller, in_body: Any, header: str, status: int, reason: str | None
) -> None:
    body = {"batch": [make_message()], "writeKey": in_body}
    answer = await caller.post(body, authorization=header)
    assert answer.status_code == status
    assert answer.json()["success"] is (status == 200)
    report = await caller.read()
    assert [message["reason"] for message in report["messages"]] == [reason] * (status == 200)
    assert report["counters"]["refused_requests"] == (status == 400)
    assert KEY not in json.dumps(report)


async def test_gzip_is_undone(caller: Caller) -> None:
    body = gzip.compress(json.dumps({"writeKey": KEY, "batch": [make_message()]}).encode())
    answer = await caller.post(body, content_encoding="gzip")
    assert answer.status_code == 200
    assert [m["verdict"] for m in (await caller.read())["messages"]] == ["accepted"]


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        pytest.param({}, {}, 200, id="HTTP API, Content-Type: application/json"),
        pytest.param({"content_type": "application/json; charset=utf-8"}, {}, 200, id="parameter"),
        pytest.param({"content_type": ""}, {}, 400, id="no Content-Type"),
        pytest.param({"content_type": "text/plain"}, {}, 400, id="another Content-Type"),
        pytest.param({"content_encoding": "br"}, {}, 400, id="another encoding"),
        pytest.param({"content_encoding": "gzip"}, {}, 400, id="no gzip"),
        pytest.param({}, b"", 400, id="HTTP API, Errors: Invalid JSON, empty"),
        pytest.param({}, b"{", 400, id="HTTP API, Errors: Invalid JSON"),
        pytest.param({}, b"[]", 400, id="HTTP API, Errors: Invalid JSON, no object"),
        pytest.param({}, b'{"batch":\xff}', 400, id="HTTP API, Errors: Invalid JSON, no UTF-8"),
        pytest.param({}, b'{"batch":' + b"[" * 99_999, 400, id="deep and open"),
        pytest.param({}, {"batch": {}}, 400, id="HTTP API, Batch: an array"),
        pytest.param({}, {"context": [[[[[[]]]]]] * 3}, 200, id="nested"),
    ],
)
async def test_request(
    caller: Caller, headers: dict[str, str], body: dict[str, Any] | bytes, status: int
) -> None:
    if isinstance(body, dict):
        body = {"writeKey": KEY, "batch": [make_message()], **body}
    answer = await caller.post(body, **headers)
    assert (answer.status_code, answer.json()["success"]) == (status, status == 200)
    report = await caller.read()
    assert len(report["refused"]) == (status == 400)
    assert report["counters"]["received"] == (status == 200)


async def test_deep_nesting_is_no_fault_of_ours(caller: Caller) -> None:
    for depth in (90, 99, 200, 900, 1100):
        nested = '{"a":' * depth + "1" + "}" * depth
        message = json.dumps(make_message(messageId=str(depth), properties="deep"))
        message = message.replace('"deep"', nested)
        body = f'{{"writeKey": "{KEY}", "batch": [{message}]}}'.encode()
        assert (await caller.post(body)).status_code == (200 if depth < 97 else 400)
    assert len((await caller.read())["messages"]) == 1


def pad(size: int, body: dict[str, Any]) -> bytes:
    """Return ``body`` in JSON, made ``size`` bytes long."""
    plain = json.dumps({**body, "properties": {"note": ""}})
    return plain.replace('"note": ""', '"note": "' + "x" * (size - len(plain)) + '"').encode()


@pytest.mark.parametrize(
    ("path", "size", "status"),
    [
        pytest.param("/v1/track", 32_000, 200, id="HTTP API, Max request size: 32KB"),
        pytest.param("/v1/track", 32_001, 400, id="HTTP API, Max request size: 32KB, above"),
        pytest.param("/v1/track", 600_000, 400, id="HTTP API, Max request size: far above"),
        pytest.param("event", 32_000, 200, id="HTTP API, Max request size: 32KB per event"),
        pytest.param("event", 32_001, 400, id="HTTP API, Max request size: 32KB per event, above"),
        pytest.param("batch", 500_000, 200, id="HTTP API, Max request size: batch 500KB"),
        pytest.param("batch", 500_001, 400, id="HTTP API, Max request size: batch 500KB, above"),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
async def test_size(caller: Caller, path: str, size: int, status: int, zipped: bool) -> None:
    if path == "event":
        message = pad(size, make_message())
        body = b'{"writeKey": "%s", "batch": [%s]}' % (KEY.encode(), message)
    elif path == "batch":
        body = pad(size, {"writeKey": KEY, "batch": [make_message()]})
    else:
        body = pad(size, make_message(writeKey=KEY))
    url = path if path.startswith("/") else BATCH
    headers = {"content_encoding": "gzip"} if zipped else {}
    answer = await caller.post(gzip.compress(body) if zipped else body, url, **headers)
    assert answer.status_code == status
    assert (await caller.read())["counters"]["accepted"] == (status == 200)


@pytest.mark.parametrize(
    ("count", "reason"),
    [
        pytest.param(0, "empty_batch", id="Delivery Overview: Batch is empty"),
        pytest.param(2500, None, id="HTTP API, Errors: up to 2500 events"),
        pytest.param(2501, "too_many_events", id="HTTP API, Errors: 200 but rejects the event"),
    ],
)
async def test_batch_length(caller: Caller, count: int, reason: str | None) -> None:
    batch = [{"type": "identify", "userId": str(number)} for number in range(count)]
    answer = await caller.post({"writeKey": KEY, "batch": batch})
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    report = await caller.read()
    assert report["counters"]["accepted"] == (0 if reason else count)
    assert report["counters"]["dropped"] == (count if reason else 0)
    assert report["messages"][0]["reason"] == reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({}, None, id="valid"),
        pytest.param({"anonymousId": ...}, "no_user_anon_id", id="HTTP API, Errors: Identifier"),
        pytest.param({"anonymousId": ""}, "no_user_anon_id", id="analytics-ruby, issue 243"),
        pytest.param({"anonymousId": None}, "no_user_anon_id", id="Identifier: null"),
        pytest.param({"anonymousId": ..., "userId": "u"}, None, id="Common Fields: userId alone"),
        pytest.param({"anonymousId": 7}, "anonymous_id_not_string", id="Common Fields: String"),
        pytest.param({"userId": 7}, "user_id_not_string", id="Common Fields: userId, String"),
        pytest.param({"messageId": "x" * 99}, None, id="HTTP API, Errors: fewer than 100"),
        pytest.param({"messageId": "x" * 100}, "message_id_too_long", id="fewer than 100, above"),
        pytest.param({"messageId": 7}, "message_id_not_string", id="Common Fields: messageId"),
        pytest.param({"messageId": ...}, None, id="Duplicate Data: assigned when missing"),
        pytest.param({"type": ...}, "unknown_type", id="HTTP API, Batch: must have a type"),
        pytest.param({"type": "purchase"}, "unknown_type", id="HTTP API, Batch: valid method name"),
        pytest.param({"type": ["track"]}, "unknown_type", id="HTTP API, Batch: type, no string"),
        pytest.param(
            {"event": ...}, "event_not_defined", id="Delivery Overview: Event not defined"
        ),
        pytest.param({"event": ""}, "event_not_defined", id="Track: event, empty"),
        pytest.param(
            {"event": 7}, "event_not_string", id="Delivery Overview: Track event not a string"
        ),
        pytest.param(
            {"properties": []}, "properties_not_object", id="Delivery Overview: Properties"
        ),
        pytest.param({"properties": None}, None, id="properties: null is nothing"),
        pytest.param({"traits": "x"}, "traits_not_object", id="Delivery Overview: Traits"),
        pytest.param({"context": "x"}, "context_not_object", id="Common Fields: context, Object"),
        pytest.param(
            {"integrations": []}, "integrations_not_object", id="Common Fields: integrations"
        ),
        pytest.param({"type": "identify", "event": ...}, None, id="Identify: no traits needed"),
        pytest.param({"type": "page", "event": ...}, None, id="Page: no name needed"),
        pytest.param({"type": "page", "name": ""}, "name_not_string", id="Delivery Overview: Name"),
        pytest.param(
            {"type": "screen", "name": 7}, "name_not_string", id="Delivery Overview: Name, screen"
        ),
        pytest.param(
            {"type": "page", "category": ""},
            "category_not_string",
            id="Delivery Overview: Category",
        ),
        pytest.param({"type": "group"}, "group_id_missing", id="Group: groupId required"),
        pytest.param({"type": "group", "groupId": "g"}, None, id="Group: groupId"),
        pytest.param(
            {"type": "group", "groupId": 7}, "group_id_not_string", id="Group: groupId, String"
        ),
        pytest.param(
            {"type": "alias", "userId": "u"}, "previous_id_missing", id="Alias: previousId required"
        ),
        pytest.param(
            {"type": "alias", "previousId": "p"}, "user_id_missing", id="Alias: userId required"
        ),
        pytest.param({"type": "alias", "previousId": "p", "userId": "u"}, None, id="Alias"),
        pytest.param({"timestamp": "2026-11-25T10:00:00Z"}, None, id="Timestamps: ISO-8601"),
        pytest.param(
            {"timestamp": "2026-11-25T10:00:00.123456+01:00"}, None, id="Timestamps: offset"
        ),
        pytest.param(
            {"timestamp": "2026-11-25T10:00:00"}, "timestamp_not_iso_8601", id="Timestamps: no zone"
        ),
        pytest.param({"timestamp": "2026-11-25"}, "timestamp_not_iso_8601", id="Timestamps: a day"),
        pytest.param(
            {"timestamp": 1_795_000_000}, "timestamp_not_iso_8601", id="Timestamps: a number"
        ),
        pytest.param(
            {"timestamp": "2026-13-25T10:00:00Z"},
            "timestamp_not_iso_8601",
            id="Timestamps: month 13",
        ),
        pytest.param({"sentAt": "yesterday"}, "sent_at_not_iso_8601", id="Common Fields: sentAt"),
        pytest.param(
            {"timestamp": "9999-12-31T23:59:59Z", "sentAt": "0001-01-01T00:00:00Z"},
            "timestamp_not_iso_8601",
            id="Timestamps: beyond the calendar",
        ),
    ],
)
async def test_message(caller: Caller, changes: dict[str, Any], reason: str | None) -> None:
    [got] = await caller.send(make_message(**changes))
    assert (got["verdict"], got["reason"]) == ("dropped" if reason else "accepted", reason)
    counters = (await caller.read())["counters"]
    assert counters["dropped_by"] == ({reason: 1} if reason else {})


@pytest.mark.parametrize("item", [None, 7, "track", []])
async def test_message_must_be_an_object(caller: Caller, item: Any) -> None:
    [got] = await caller.send(item)
    assert got["reason"] == "message_not_object"


@pytest.mark.parametrize("call", ["track", "identify", "page", "screen", "group", "alias"])
async def test_call_names_the_type(caller: Caller, call: str) -> None:
    body = make_message(type=..., groupId="g", previousId="p", userId="u", writeKey=KEY)
    answer = await caller.post(body, f"/v1/{call}")
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    [got] = (await caller.read())["messages"]
    assert (got["type"], got["verdict"], got["user_id"]) == (call, "accepted", "u")
    assert "writeKey" not in got["message"]


async def test_import_is_batch_and_other_calls_do_not_exist(caller: Caller) -> None:
    body = {"writeKey": KEY, "batch": [make_message()]}
    assert (await caller.post(body, "/v1/import")).status_code == 200
    assert (await caller.post(body, "/v1/shout")).status_code == 404
    assert (await caller.client.get(BATCH)).status_code == 405


async def test_message_id_counts_once_in_24_hours_whatever_its_source(caller: Caller) -> None:
    """Source: Handling Duplicate Data: on messageId, not on the contents."""
    first, second = await caller.send(make_message(), make_message(event="Another"))
    assert (first["reason"], second["reason"]) == (None, "duplicate_message_id")
    await caller.post(make_message(writeKey=KEY), "/v1/track")
    assert (await caller.read())["counters"]["dropped_by"] == {"duplicate_message_id": 2}
    await caller.client.delete("/api/events")
    assert (await caller.send(make_message()))[0]["reason"] is None


def test_message_id_is_forgotten_after_24_hours() -> None:
    log = MessageLog()
    assert [log.is_repeat("a", now) for now in (0.0, 1.0, DAY, 1 + 2 * DAY)] == [
        *(False, True, True, False)
    ]


async def test_dropped_message_leaves_its_id_free(caller: Caller) -> None:
    first, second = await caller.send(make_message(event=...), make_message())
    assert (first["verdict"], second["verdict"]) == ("dropped", "accepted")


async def test_message_without_id_is_given_one(caller: Caller) -> None:
    message = make_message(messageId=...)
    first, second = await caller.send(message, message)
    assert first["message_id"]
    assert second["message_id"]
    assert first["message_id"] != second["message_id"]


@pytest.mark.parametrize(
    ("timestamp", "sent_at", "expected"),
    [
        (-60, -10, -50),  # receivedAt - (sentAt - originalTimestamp)
        (-60, None, -60),
        (None, -10, 0),
        (None, None, 0),
    ],
)
@pytest.mark.parametrize("on_batch", [True, False])
def test_timestamp_is_corrected_by_the_clock_of_the_sender(
    timestamp: float | None, sent_at: float | None, expected: float, on_batch: bool
) -> None:
    """Source: Common Fields, Timestamps: receivedAt - (sentAt - originalTimestamp)."""
    message = make_message()
    shared: dict[str, Any] = {}
    if timestamp is not None:
        message["timestamp"] = iso(NOW + timestamp)
    if sent_at is not None:
        (shared if on_batch else message)["sentAt"] = iso(NOW + sent_at)
    call = Call(write_key=KEY, items=[message], shared=shared)
    [judged] = judge_messages(call, KEY, NOW)
    assert judged.content["timestamp"] == iso(NOW + expected)
    assert judged.content["receivedAt"] == iso(NOW)
    assert judged.content.get("originalTimestamp") == message.get("timestamp")


def test_clock_that_is_off_is_told() -> None:
    message = make_message(timestamp=iso(NOW), sentAt=iso(NOW - 3600))
    [judged] = judge_messages(Call(write_key=KEY, items=[message]), KEY, NOW)
    assert judged.warnings == ["sentAt is 3600 s off: the event's time is moved by as much"]


async def test_batch_shares_context_and_integrations(caller: Caller) -> None:
    """Source: HTTP API, Batch: "merged with any context inside each of the items"."""
    own = make_message(messageId="2", context={"ip": "1.1.1.1"}, integrations={"X": False})
    first, second = await caller.send(
        make_message(),
        own,
        context={"ip": "8.8.8.8", "locale": "de"},
        integrations={"All": False},
    )
    assert first["message"]["context"] == {"ip": "8.8.8.8", "locale": "de"}
    assert second["message"]["context"] == {"ip": "1.1.1.1", "locale": "de"}
    assert second["message"]["integrations"] == {"All": False, "X": False}
    assert first["warnings"] == []
    assert second["warnings"] == [
        "context.ip is in the batch and in the message: which one wins is not documented"
    ]


@pytest.mark.parametrize(
    ("batch", "reason"),
    [
        ({"context": []}, "context_not_object"),
        ({"integrations": "x"}, "integrations_not_object"),
        ({"sentAt": 7}, "sent_at_not_iso_8601"),
    ],
)
async def test_batch_shares_mistakes(caller: Caller, batch: dict[str, Any], reason: str) -> None:
    [got] = await caller.send(make_message(), **batch)
    assert got["reason"] == reason


@pytest.mark.parametrize(
    ("changes", "warnings"),
    [
        ({"context": {"traits": {"email": HASH, "address": {"city": HASH}}}}, []),
        (
            {"context": {"traits": {"email": "a@b.example"}}},
            [
                "context.traits.email is raw personal data: only SHA-256 digests may leave",
                "context.traits.email holds what looks like an e-mail address",
            ],
        ),
        (
            {"context": {"traits": {"address": {"city": "Bonn"}}}},
            ["context.traits.address.city is raw personal data: only SHA-256 digests may leave"],
        ),
        (
            {"type": "identify", "traits": {"first_name": "Ada", "phone": 49, "plan": "pro"}},
            [
                "traits.phone is raw personal data: only SHA-256 digests may leave",
                "traits.first_name is raw personal data: only SHA-256 digests may leave",
            ],
        ),
        ({"type": "group", "groupId": "g", "traits": {"name": "Initech"}}, []),
        (
            {"context": {"page": {"url": "https://shop.example/?mail=a%40b.example&x=1"}}},
            ["context.page.url holds what looks like an e-mail address"],
        ),
        (
            {"properties": {"notes": ["x", "write to a@b.example"]}},
            ["properties.notes[1] holds what looks like an e-mail address"],
        ),
        ({"properties": {"handle": "@ada", "at": "a@b", "big": "x@" * 9000}}, []),
    ],
)
async def test_raw_personal_data_is_told_but_taken(
    caller: Caller, changes: dict[str, Any], warnings: list[str]
) -> None:
    [got] = await caller.send(make_message(**changes))
    assert (got["verdict"], got["warnings"]) == ("accepted", warnings)


async def test_listing_is_bounded_and_newest_first(caller: Caller) -> None:
    for start in range(0, 4000, 2000):
        batch = [make_message(messageId=str(start + number)) for number in range(2000)]
        await caller.post({"writeKey": KEY, "batch": batch})
    report = (await caller.client.get("/api/events", params={"limit": "3"})).json()["segment"]
    assert [message["message_id"] for message in report["messages"]] == ["3999", "3998", "3997"]
    assert report["counters"]["received"] == 4000
    assert len((await caller.read())["messages"]) == 2000


async def test_page_shows_messages_as_they_come_and_as_text(browser: Browser, port: int) -> None:
    url = f"http://127.0.0.1:{port}"
    markup = "<img src=x onerror='document.title=1'>"
    body = {"writeKey": KEY, "batch": [make_message(event=markup, messageId="m" * 99)]}
    async with AsyncClient(base_url=url, trust_env=False) as client:
        await client.delete("/api/events")
        async with await browser.new_context(viewport={"width": 390, "height": 800}) as context:
            page = await context.new_page()
            await page.goto(url)
            await expect(page.locator("#empty")).to_be_visible()
            await expect(page.locator("#segment")).to_be_hidden()
            await client.post(BATCH, json={**body, "writeKey": ""})
            await expect(page.locator("#segment-refused")).to_contain_text("Refused with 400")
            await client.post(BATCH, json=body)
            await expect(page.locator("#messages .name")).to_have_text(f"{markup} track")
            await client.post(BATCH, json=body)
            dropped = page.locator("#messages .badge.bad").first
            await expect(dropped).to_have_text("Dropped: duplicate_message_id")
            await expect(page.locator("#segment-counters")).to_contain_text("2 messages")
            await expect(page.locator("#none")).to_be_visible()
            await page.locator("#messages summary").first.click()
            await expect(page.locator("#messages pre").first).to_contain_text(markup)
            width = await page.evaluate("document.documentElement.scrollWidth")
            assert width == 390
            await page.locator("#reset").click()
            await expect(page.locator("#segment")).to_be_hidden()
            assert await page.title() == "Sandbox events"


# Faults


async def test_fault_comes_to_segment_too(caller: Caller) -> None:
    fault = {"path": "segment", "status": 429, "headers": {"Retry-After": "7"}}
    await caller.client.post("/api/faults", json=fault)
    await caller.client.post("/api/faults", json={"path": "segment"})
    body = {"writeKey": KEY, "batch": [make_message()]}
    answers = [await caller.post(body) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 500, 200]
    assert answers[0].headers["retry-after"] == "7"
    assert answers[1].json() == {"success": False}
    assert (await caller.read())["counters"]["received"] == 1


async def test_answer_that_is_lost_makes_a_duplicate(caller: Caller) -> None:
    await caller.client.post("/api/faults", json={"path": "segment", "status": 502, "after": True})
    body = {"writeKey": KEY, "batch": [make_message()]}
    assert [(await caller.post(body)).status_code for _ in range(2)] == [502, 200]
    assert (await caller.read())["counters"]["dropped_by"] == {"duplicate_message_id": 1}


async def test_refusing_one_event_is_for_graph(caller: Caller) -> None:
    fault = {"path": "segment", "refuse": 1}
    assert (await caller.client.post("/api/faults", json=fault)).status_code == 400


# Anything


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
KEYS = (
    *("type", "event", "messageId", "anonymousId", "userId", "timestamp", "sentAt", "context"),
    *("integrations", "properties", "traits", "groupId", "previousId", "name", "category"),
)
MESSAGES = st.dictionaries(
    st.sampled_from(KEYS), JSON_VALUES | st.sampled_from(["track", "page", "2026-11-25T10:00:00Z"])
)


PROPERTIES = st.fixed_dictionaries(
    {"action_source": st.sampled_from(["website", "email"])},
    optional=dict.fromkeys(
        (
            *("event_id", "currency", "revenue", "price", "quantity", "product_id", "products"),
            *("query", "fbp", "fbc"),
        ),
        JSON_VALUES | st.sampled_from(["EUR", "1", 1, [{"product_id": 1}]]),
    ),
)
CONTEXTS = st.dictionaries(st.sampled_from(["ip", "userAgent", "page"]), JSON_VALUES) | st.builds(
    lambda traits: {"userAgent": "UA", "page": {"url": "https://a.example/"}, "traits": traits},
    st.dictionaries(st.sampled_from(["email", "phone", "birthday", "address"]), JSON_VALUES),
)
NAMES = ("Order Completed", "Product Added", "Product Viewed", "Products Searched", "Lead")


@settings(max_examples=300, deadline=None)
@given(event=st.sampled_from(NAMES), properties=PROPERTIES, context=CONTEXTS)
def test_no_message_is_a_fault_of_the_destination(
    event: str, properties: dict[str, Any], context: dict[str, Any]
) -> None:
    message = make_message(event=event, properties=properties, context=context, writeKey=KEY)
    ledger = Ledger()
    headers = {"content-type": "application/json"}
    Source(KEY, ["1"], ledger).receive("track", headers, json.dumps(message).encode(), NOW)
    msgspec.json.encode(ledger.report())


@settings(max_examples=300, deadline=None)
@given(
    body=st.dictionaries(st.sampled_from([*KEYS, "batch"]), JSON_VALUES)
    | st.fixed_dictionaries({"batch": st.lists(MESSAGES | JSON_VALUES, max_size=3)})
    | MESSAGES.map(lambda message: make_message() | message),
    call=st.sampled_from(["track", "page", "identify", "batch"]),
)
def test_no_json_is_a_fault_of_ours(body: dict[str, Any], call: str) -> None:
    content = json.dumps({**body, "writeKey": KEY}).encode()
    ledger = Ledger()
    headers = {"content-type": "application/json"}
    Source(KEY, ["1"], ledger).receive(call, headers, content, NOW)
    msgspec.json.encode(ledger.report())


@given(st.binary(max_size=200))
def test_no_bytes_are_a_fault_of_ours(body: bytes) -> None:
    for encoding in ("", "gzip"):
        headers = {"content-type": "application/json", "content-encoding": encoding}
        Source(KEY, ["1"], Ledger()).receive("batch", headers, body, NOW)
