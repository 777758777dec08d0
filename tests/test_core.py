from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import pytest
from markupsafe import Markup

from bridge import (
    Bridge,
    ConfigError,
    InvalidEventError,
    NoVisitorError,
    OutboxError,
    UsageError,
    Visitor,
    current_visitor,
    enrich,
    identify,
    track,
    track_sync,
)
from bridge.browser.script_cookies import MAX_TWINS_LENGTH, encode_readable
from bridge.delivery import pipeline
from bridge.destinations import Segment
from bridge.events.normalizers import hash_external_id
from bridge.outbox import SQLiteOutbox
from tests.factories import (
    NAVIGATION,
    SECRET,
    make_bridge,
    make_meta,
    make_scope,
    make_visitor,
    unix_now,
)
from tests.servers import DEADLINE, Sandbox

MONEY = {"value": 5, "currency": "EUR"}


@pytest.fixture
async def bridge(outbox: SQLiteOutbox) -> AsyncIterator[Bridge]:
    bridge = make_bridge(outbox, destinations=[make_meta(), make_meta(pixel_id="2")])
    yield bridge
    await bridge.stop(deadline=0)


@pytest.fixture
def visitor(bridge: Bridge) -> Visitor:
    return make_visitor(bridge, make_scope("/p", query=b"fbclid=A", headers=NAVIGATION))


async def test_enrich_completes_a_server_event(visitor: Visitor) -> None:
    event = enrich({"event_name": "Lead"}, visitor=visitor)
    assert event.pop("event_time") == pytest.approx(unix_now(), abs=2)
    assert len(event.pop("event_id")) == 36
    assert event == {
        "event_name": "Lead",
        "action_source": "website",
        "event_source_url": "http://shop.example.com/p?fbclid=A",
        "user_data": {
            "external_id": [visitor.external_id],
            "client_ip_address": "93.184.216.34",
            "client_user_agent": NAVIGATION["user-agent"],
            "fbp": visitor.identity.fbp,
            "fbc": visitor.identity.fbc,
        },
    }


async def test_enrich_overwrites_nothing(visitor: Visitor) -> None:
    given = {
        "event_name": "Purchase",
        "event_id": "A-1",
        "event_time": unix_now() - 60,
        "action_source": "app",
        "event_source_url": "https://other.example/",
        "referrer_url": "https://ref.example/",
        "custom_data": {**MONEY, "contents": [{"id": "a", "quantity": 1}]},
        "user_data": {
            "em": ["a" * 64],
            "external_id": ["b" * 64],
            "client_ip_address": "8.8.8.8",
            "client_user_agent": "mine",
            "fbp": "fb.1.1.1",
            "fbc": "fb.1.1.c",
        },
        "data_processing_options": [],
        "opt_out": True,
    }
    assert enrich(given, visitor=visitor) == given


async def test_enrich_hashes_raw_user_data(visitor: Visitor) -> None:
    user_data = {"em": " John@Example.com", "ph": ["+1 650 555 1212", "16505551212"]}
    event = enrich({"event_name": "Lead", "user_data": user_data}, visitor=visitor)
    assert event["user_data"]["em"] == [
        "855f96e983f1f8e8be944692b6f719fd54329826cb62e98015efee8e2e071dd4"
    ]
    assert len(event["user_data"]["ph"]) == 1
    assert "john" not in str(event).lower()


async def test_enrich_completes_a_segment_message(bridge: Bridge, visitor: Visitor) -> None:
    identify("42", visitor=visitor)
    message = enrich(
        {
            "event": "Order Completed",
            "properties": {"revenue": "$5", "currency": "usd"},
            "context": {"ip": "8.8.8.8"},
        },
        visitor=visitor,
    )
    assert message["type"] == "track"
    assert message["userId"] == "42"
    assert message["anonymousId"] == visitor.identity.anonymous_id
    assert len({message["messageId"], message["properties"]["event_id"]}) == 2
    assert message["timestamp"].endswith("+00:00")
    fbp, fbc = visitor.identity.fbp, visitor.identity.fbc
    assert message["properties"] | {"event_id": ""} == {
        "event_id": "",
        "revenue": 5,
        "total": 5,
        "currency": "USD",
        "action_source": "website",
        "fbp": fbp,
        "fbc": fbc,
    }
    assert message["context"] == {
        "channel": "server",
        "ip": "8.8.8.8",
        "userAgent": NAVIGATION["user-agent"],
        "fbp": fbp,
        "fbc": fbc,
        "page": {
            "url": "http://shop.example.com/p?fbclid=A",
            "path": "/p",
            "search": "?fbclid=A",
        },
    }


async def test_traits_of_a_segment_message_leave_hashed_only(visitor: Visitor) -> None:
    traits = {
        "email": "Mary@Example.com",
        "first_name": "Mary",
        "name": "Mary Miller",
        "plan": "gold",
        "note": "mary@example.com",
        "address": {"city": "London", "street": "1 Some Street"},
    }
    message = enrich({"event": "Trial Started", "context": {"traits": traits}}, visitor=visitor)
    sent = message["context"]["traits"]
    assert "mary" not in str(message).lower()
    assert "street" not in str(message).lower()
    assert sent.keys() == {"email", "firstName", "first_name", "address", "plan"}
    assert sent["plan"] == "gold"
    assert all(len(v) == 64 for v in (sent["email"], sent["firstName"], sent["address"]["city"]))
    for key in ("userId", "anonymousId", "messageId"):
        with pytest.raises(InvalidEventError, match=key):
            enrich({"event": "Trial Started", key: "mary@example.com"}, visitor=visitor)
    with pytest.raises(InvalidEventError, match=r"context\.traits: expected an object, got str"):
        enrich({"event": "Trial Started", "context": {"traits": "Mary"}}, visitor=visitor)


async def test_enrich_overwrites_nothing_of_a_segment_message(visitor: Visitor) -> None:
    given: dict[str, Any] = {
        "event": "x",
        "type": "track",
        "messageId": "m",
        "anonymousId": "a",
        "timestamp": "2026-01-01T00:00:00Z",
        "properties": {"event_id": "1", "fbp": "p", "fbc": "c", "action_source": "app"},
        "context": {"ip": "8.8.8.8", "userAgent": "u", "fbp": "p", "fbc": "c", "channel": "x"},
    }
    message = enrich(given, visitor=visitor)
    page = message["context"].pop("page")
    assert message == given
    assert page["path"] == "/p"


@pytest.mark.parametrize(
    ("event", "field"),
    [
        ({"name": "Lead"}, "event"),
        ({"event_name": "Lead", "event_id": "ada@example.com"}, "event_id"),
        ({"event_name": "Ada ada@example.com"}, "event_name"),
        ({"event": ""}, "event"),
        ({"event": "x", "propertys": {}}, "propertys"),
        ({"event": "x", "properties": 1}, "properties"),
        ({"event": "x", "context": {"page": "/"}}, "page"),
        ({"event_name": "Lead", "value": 1}, "value"),
        ({"event_name": "Lead", "user_data": {"mail": "x"}}, "user_data.mail"),
        ({"event_name": "Lead", "user_data": "x"}, "user_data"),
        ({"event_name": "Purchase"}, "custom_data.value"),
        ({"event_name": "Lead", "event_time": 1}, "event_time"),
    ],
)
async def test_enrich_names_the_field_at_fault(
    visitor: Visitor, event: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidEventError) as caught:
        enrich(event, visitor=visitor)
    assert caught.value.field == field


async def test_outside_a_request_says_what_to_pass() -> None:
    with pytest.raises(NoVisitorError, match="pass visitor="):
        current_visitor()
    with pytest.raises(NoVisitorError):
        enrich({"event_name": "Lead"})
    with pytest.raises(NoVisitorError):
        identify("42")
    with pytest.raises(NoVisitorError):
        await track("Lead")
    with pytest.raises(NoVisitorError):
        track_sync("Lead")


async def test_track_stores_one_delivery_a_destination_before_it_returns(
    visitor: Visitor, outbox: SQLiteOutbox
) -> None:
    event = await track("Purchase", MONEY, event_id=1001, visitor=visitor)
    claimed = await outbox.claim("meta:2", 9, now=unix_now() + 60, lease=60)
    assert event.event_id == "1001"
    assert [msgspec.json.decode(delivery.body)["event_id"] for delivery in claimed] == ["1001"]
    assert [c.waiting for c in (await outbox.count(unix_now(), with_delivered=True)).values()] == [
        1,
        1,
    ]


async def test_track_holds_what_has_a_twin_and_only_that(
    visitor: Visitor, outbox: SQLiteOutbox
) -> None:
    await track("Lead", event_id="held", visitor=visitor)
    visitor.start_response()
    await track("Lead", event_id="late", visitor=visitor)
    claimed = await outbox.claim("meta:2", 9, now=unix_now() + 1, lease=60)
    assert [delivery.event_id for delivery in claimed] == ["late"]
    assert [twin.event_id for twin in visitor.twins] == ["held"]


async def test_track_of_the_same_order_again_is_stored_once(
    visitor: Visitor, bridge: Bridge, outbox: SQLiteOutbox
) -> None:
    for _ in range(3):
        await track("Purchase", MONEY, event_id="A-1", visitor=visitor)
    assert [c.waiting for c in (await outbox.count(unix_now(), with_delivered=True)).values()] == [
        1,
        1,
    ]
    assert len(visitor.twins) == 1
    assert bridge.counters["duplicates"] == 4


async def test_track_goes_on_when_the_outbox_is_broken(
    visitor: Visitor, bridge: Bridge, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    async def fail(*args: Any, **options: Any) -> list[bool]:
        raise OutboxError("disk is full")

    monkeypatch.setattr(bridge.outbox, "put", fail)
    event = await track("Lead", visitor=visitor, user_data={"email": "john@example.com"})
    assert event.event_name == "Lead"
    assert bridge.counters["lost"] == 1
    assert "disk is full" in caplog.text
    assert "john" not in caplog.text
    assert len(visitor.twins) == 1  # all that is left of it


async def test_more_twins_than_a_response_carries_go_without(
    visitor: Visitor, outbox: SQLiteOutbox
) -> None:
    await asyncio.gather(*(track("Lead", visitor=visitor) for _ in range(40)))
    assert 0 < len(visitor.twins) < 40
    lines = visitor.start_response()
    assert sum(len(line.partition(b";")[0]) for line in lines) < 6_500
    now = await outbox.claim("meta:2", 99, now=unix_now() + 1, lease=60)
    assert len(now) == 40 - len(visitor.twins)


async def test_twins_that_wait_in_the_browser_count(bridge: Bridge) -> None:
    cookies = "; ".join(f"_bridge_t_{i}={'x' * 800}" for i in range(3))
    visitor = make_visitor(bridge, make_scope(headers={"cookie": cookies}))
    await track("Purchase", {**MONEY, "content_ids": ["x" * 90]}, visitor=visitor)
    assert visitor.twins == []


async def test_twin_too_large_for_a_hit_keeps_the_most_useful(visitor: Visitor) -> None:
    contents = [{"id": f"product-{i}", "quantity": 1} for i in range(200)]
    await track("Purchase", {"contents": contents, **MONEY}, visitor=visitor)
    [twin] = visitor.twins
    assert twin.custom_data == MONEY


async def test_twin_that_finds_little_room_is_trimmed_to_it(visitor: Visitor) -> None:
    for i in range(4):
        await track("Lead", {"content_name": "x" * 500}, event_id=str(i), visitor=visitor)
    assert [bool(twin.custom_data) for twin in visitor.twins] == [True, True, True, False]
    cookies = [f"{twin.cookie}={encode_readable(twin)}; " for twin in visitor.twins]
    assert sum(map(len, cookies)) <= MAX_TWINS_LENGTH


async def test_twin_too_long_even_without_its_data_goes_alone(visitor: Visitor) -> None:
    await track("漢" * 100, event_id="字" * 200, visitor=visitor)
    assert visitor.twins == []


@pytest.mark.parametrize(
    "user_id", ["john@example.com", "auth0|john@example.com", "+49 170 123-4567", "", "x" * 201]
)
async def test_identify_refuses_what_is_no_id(visitor: Visitor, user_id: str) -> None:
    with pytest.raises(InvalidEventError) as caught:
        identify(user_id, visitor=visitor)
    assert caught.value.field == "user_id"
    assert "john" not in str(caught.value)


class Customer:
    """A row of the app's own."""

    def __str__(self) -> str:
        return "Ada Lovelace, Main St 5"


class Number(int):
    """A whole number of a library's own kind."""

    def __repr__(self) -> str:
        return f"Number({int(self)})"

    __str__ = int.__repr__


NO_IDS: dict[str, Any] = {
    "object": Customer(),
    "name and address": "Ada Lovelace, Main St 5",
    "name": "Ada Lovelace",
    "name with accents": "Łukasz Żak",
    "true": True,
    "false": False,
    "float": 4.5,
    "bytes": b"42",
    "list": ["42"],
    "dict": {"id": 42},
    "5,000 digits": 10**5000,
}


@pytest.mark.parametrize("user_id", NO_IDS)
async def test_identify_takes_an_id_and_no_object(visitor: Visitor, user_id: str) -> None:
    with pytest.raises(InvalidEventError, match=r"^user_id: ") as caught:
        identify(NO_IDS[user_id], visitor=visitor)
    assert "Ada" not in str(caught.value)
    assert visitor.identity.user_id is None


@pytest.mark.parametrize(
    ("user_id", "text"),
    [
        (42, "42"),
        (Number(42), "42"),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        ("auth0|5f7c8ec7c33c6c004bbafe82", "auth0|5f7c8ec7c33c6c004bbafe82"),
        (" User 42 ", "User 42"),
        ("kunde-müller_7", "kunde-müller_7"),
        (Markup("c-42"), "c-42"),
    ],
    ids=repr,
)
async def test_identify_takes_text_whole_numbers_and_uuids(
    visitor: Visitor, user_id: Any, text: str
) -> None:
    identify(user_id, visitor=visitor)
    assert visitor.identity.user_id == text
    assert type(visitor.identity.user_id) is str


async def test_identify_leaves_out_a_birth_date_in_the_future(
    visitor: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    identify("42", visitor=visitor, date_of_birth=tomorrow, city="Berlin")
    assert visitor.user_data.ct
    assert not visitor.user_data.db
    assert "a birth date in the future" in caplog.text
    given = {"event_name": "Lead", "user_data": {"db": tomorrow.isoformat(), "ct": "Bern"}}
    assert "db" not in enrich(given, visitor=visitor)["user_data"]
    message = {"event": "Lead", "context": {"traits": {"birthday": tomorrow.isoformat()}}}
    assert "birthday" not in enrich(message, visitor=visitor)["context"]["traits"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"secret_key": "short"}, "secret_key must be at least 32 bytes"),
        ({"prefix": "bridge"}, "prefix must be"),
        ({"prefix": "/bridge/"}, "prefix must be"),
        ({"browser_hold": -1}, "browser_hold must be"),
        ({"rate_limit": -1}, "rate_limit must be"),
        ({"catalog": []}, r"catalog must be a Catalog such as Catalog\(\[...\]\), got list"),
        ({"rate_limit": float("nan")}, "rate_limit must be"),
        ({"custom_events": ["a\nb"]}, "custom_events must be"),
        ({"custom_events": [1]}, "custom_events must be"),
        ({"allowed_origins": ["*"]}, "allowed_origins must be"),
        ({"pixel_script_url": "//x"}, "pixel_script_url must be"),
        ({"trusted_proxies": "proxy"}, "trusted_proxies"),
        ({"outbox": "bridge.db"}, "outbox must be"),
        ({"outbox": "mysql://user:secret@host/db"}, "got scheme 'mysql'$"),
        ({"secret_key": None}, "secret_key must be"),
        ({"secret_key": [SECRET, None]}, "secret_key must be"),
        ({"destinations": []}, "destinations must be a list"),
        ({"destinations": make_meta()}, "destinations must be a list"),
        (
            {"destinations": ["meta"]},
            r"destinations\[0\] must be a Destination such as Meta\(...\), got str",
        ),
        ({"cookie_domain": "https://example.com"}, "cookie_domain must be like"),
        ({"exclude_paths": ["static"]}, "exclude_paths must be like"),
        ({"consent": "yes"}, "consent must be one of .*, got 'yes'"),
        ({"phone_region": "Germany"}, "region"),
        ({"destinations": [make_meta(), make_meta()]}, "destinations must have different names"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_bridge(**{"outbox": "sqlite:///x.db", **changes})


def test_phone_region_reads_national_numbers() -> None:
    bridge = make_bridge("sqlite:///x.db", phone_region="de")
    visitor = make_visitor(bridge, make_scope(headers=NAVIGATION))
    bridge.identify(phone="0151 12345678", visitor=visitor)
    international = hashlib.sha256(b"4915112345678").hexdigest()
    assert visitor.user_data.ph == [international]
    event = bridge.enrich(
        {"event_name": "Lead", "user_data": {"ph": "+49 151 12345678"}}, visitor=visitor
    )
    assert event["user_data"]["ph"] == [international]


ENVIRON = {
    "BRIDGE_PIXEL_ID": "123",
    "BRIDGE_ACCESS_TOKEN": "token",
    "BRIDGE_SECRET_KEY": f"{SECRET}, {SECRET[::-1]}",
}


def test_environment_makes_a_bridge() -> None:
    bridge = Bridge.from_env(
        {**ENVIRON, "BRIDGE_PREFIX": "/x", "BRIDGE_GRAPH_URL": "http://127.0.0.1:1"}
    )
    assert bridge._prefix == "/x"
    [meta] = bridge.destinations
    assert meta.name == "meta:123"
    assert meta.build_request([], 0.0).url.startswith("http://127.0.0.1:1/")


@pytest.mark.parametrize("missing", ENVIRON)
def test_environment_without_a_required_variable_names_it(missing: str) -> None:
    with pytest.raises(ConfigError, match=f"{missing} is not set"):
        Bridge.from_env({**ENVIRON, missing: " "})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "BRIDGE_CONCENT",
            "pending",
            "BRIDGE_CONCENT is not an option; did you mean BRIDGE_CONSENT",
        ),
        ("BRIDGE_SECRET_KEY", "short", "BRIDGE_SECRET_KEY: secret_key must be at least 32 bytes"),
        ("BRIDGE_PIXEL_ID", "abc", "BRIDGE_PIXEL_ID: pixel_id must be digits"),
        ("BRIDGE_CONSENT", "Pending", "BRIDGE_CONSENT: default consent must be one of"),
        ("BRIDGE_GPC", "maybe", "BRIDGE_GPC: gpc must be"),
    ],
)
def test_environment_that_is_wrong_names_the_variable(name: str, value: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Bridge.from_env({**ENVIRON, name: value})


def test_environment_of_others_is_left_alone() -> None:
    Bridge.from_env({**ENVIRON, "BRIDGE_OF_ANOTHER_PROGRAM": "1"})


async def test_script_without_an_app_delivers_before_it_ends(
    outbox: SQLiteOutbox, sandbox: Sandbox
) -> None:
    token = make_visitor(make_bridge(outbox), make_scope(headers=NAVIGATION)).seal()
    async with make_bridge(outbox, destinations=[make_meta(graph_url=sandbox.url)]) as bridge:
        visitor = bridge.unseal(token)
        await bridge.track("Purchase", MONEY, event_id="job", visitor=visitor)
    [event] = await sandbox.wait_for_server_copies(1)
    assert event["event_id"] == "job"


def test_environment_with_a_wrong_value_names_it() -> None:
    with pytest.raises(ConfigError, match="BRIDGE_BROWSER_HOLD: expected a number, got 'soon'"):
        Bridge.from_env({**ENVIRON, "BRIDGE_BROWSER_HOLD": "soon"})


def test_repr_tells_no_secret() -> None:
    bridge = Bridge.from_env(ENVIRON)
    for thing in (bridge, *bridge.destinations, bridge._visits.signer):
        assert "token" not in repr(thing)
        assert SECRET not in repr(thing)


class _TransactionalOutbox(SQLiteOutbox):
    """An outbox that takes part in the caller's transaction, and may fail there."""

    connection: Any = None
    error: OutboxError | None = None

    @cached_property
    def kinds(self) -> list[str]:
        """What was put, in its order."""
        return []

    async def put(self, deliveries: Any, now: float, *, connection: Any = None) -> list[bool]:
        self.connection = connection
        self.kinds += [delivery.event_name for delivery in deliveries]
        if self.error is not None:
            raise self.error
        return await super().put(deliveries, now)


async def test_event_is_stored_in_the_callers_transaction(tmp_path: Path) -> None:
    outbox = _TransactionalOutbox(tmp_path / "bridge.db")
    bridge = make_bridge(outbox, run_sender=False)
    visitor = make_visitor(bridge, make_scope("/", headers=NAVIGATION))
    bridge.start()
    connection = object()
    await track("Lead", {"content_name": "x"}, visitor=visitor, connection=connection)
    assert outbox.connection is connection
    # The caller may still roll back: the script asks before it fires.
    [twin] = visitor.twins
    asked = visitor.visits.questions.read(twin.question)
    assert asked == (twin.event_name, twin.event_id)
    await asyncio.to_thread(track_sync, "Lead", visitor=visitor, connection=connection)
    assert outbox.connection is connection
    await track("Lead", visitor=visitor)
    assert outbox.connection is None
    await bridge.stop(deadline=0)


async def test_login_waits_for_the_end_of_a_request_that_has_a_transaction(tmp_path: Path) -> None:
    outbox = _TransactionalOutbox(tmp_path / "bridge.db")
    bridge = make_bridge(outbox, destinations=[Segment("key")], run_sender=False)
    visitor = make_visitor(bridge, make_scope("/", headers=NAVIGATION))
    bridge.identify("42", visitor=visitor)
    connection = object()
    await bridge.track("Lead", visitor=visitor, connection=connection)
    assert (outbox.connection, outbox.kinds) == (connection, ["Lead"])
    await bridge._send_identity(visitor)
    assert (outbox.connection, outbox.kinds) == (None, ["Lead", "$identify", "$alias"])
    await bridge.stop(deadline=0)


async def test_login_without_a_request_is_part_of_the_transaction(tmp_path: Path) -> None:
    outbox = _TransactionalOutbox(tmp_path / "bridge.db")
    bridge = make_bridge(outbox, destinations=[Segment("key")], run_sender=False)
    known = bridge.unseal(make_visitor(bridge, make_scope("/", headers=NAVIGATION)).seal())
    bridge.identify("42", visitor=known)
    connection = object()
    await bridge.track("Lead", visitor=known, connection=connection)
    assert (outbox.connection, outbox.kinds) == (connection, ["$identify", "$alias", "Lead"])
    bridge.identify("43", visitor=known)
    outbox.error = OutboxError("the transaction is aborted")
    with pytest.raises(OutboxError, match="aborted"):
        await bridge.track("Lead", visitor=known, connection=connection)
    await bridge.stop(deadline=0)


async def test_failure_in_the_callers_transaction_is_told_and_leaves_no_twin(
    tmp_path: Path,
) -> None:
    outbox = _TransactionalOutbox(tmp_path / "bridge.db")
    outbox.error = OutboxError("the transaction is aborted")
    bridge = make_bridge(outbox)
    visitor = make_visitor(bridge, make_scope("/", headers=NAVIGATION))
    with pytest.raises(OutboxError, match="aborted"):
        await bridge.track("Lead", visitor=visitor, connection=object())
    assert visitor.twins == []
    assert bridge.counters["lost"] == 0
    await bridge.track("Lead", visitor=visitor)
    assert bridge.counters["lost"] == 1
    await bridge.stop(deadline=0)


async def test_bridge_without_sender_stores_and_leaves_delivery_to_the_worker(
    outbox: SQLiteOutbox, sandbox: Sandbox
) -> None:
    destinations = [make_meta(graph_url=sandbox.url)]
    options: dict[str, Any] = {"destinations": destinations, "browser_hold": 0}
    async with make_bridge(outbox, **options, run_sender=False) as bridge:
        visitor = make_visitor(bridge, make_scope("/", headers=NAVIGATION))
        await bridge.track("Lead", visitor=visitor)
    assert await sandbox.requests() == []
    assert (await outbox.count(unix_now(), with_delivered=True))[destinations[0].name].waiting == 1


@pytest.mark.parametrize(
    ("text", "expected"), [("false", False), ("0", False), ("True", True), ("", True)]
)
def test_environment_says_whether_to_send(text: str, expected: bool) -> None:
    environ = {
        "BRIDGE_PIXEL_ID": "1",
        "BRIDGE_ACCESS_TOKEN": "t",
        "BRIDGE_SECRET_KEY": SECRET,
        "BRIDGE_RUN_SENDER": text,
    }
    assert Bridge.from_env(environ)._pipeline.runs_sender is expected
    message = "BRIDGE_RUN_SENDER: expected true or false, got 'maybe'"
    with pytest.raises(ConfigError, match=message):
        Bridge.from_env({**environ, "BRIDGE_RUN_SENDER": "maybe"})


async def test_personal_data_among_properties_is_taken_out_with_one_line(
    bridge: Bridge, visitor: Visitor, outbox: SQLiteOutbox, caplog: pytest.LogCaptureFixture
) -> None:
    properties = {
        "email": "ada@example.com",
        "note": "call +49 170 1234567",
        "gift": {"to": ["fern", "bob@example.com"]},
        "order_id": "4111111111111111",
        "content_ids": ["+49 170 1234567"],
    }
    event = await bridge.track("Lead", properties, visitor=visitor)
    assert event.custom_data == {
        "gift": {"to": ["fern"]},
        "order_id": "4111111111111111",
        "content_ids": ["+49 170 1234567"],
    }
    [line] = [r.getMessage() for r in caplog.records if r.name == "bridge.enrichment"]
    assert all(path in line for path in ("email", "note", "gift.to[1]"))
    assert not any(value in line for value in ("ada@", "bob@", "1234567"))
    assert bridge.counters["removed_properties"] == 3


async def test_app_says_what_is_not_personal(outbox: SQLiteOutbox) -> None:
    bridge = make_bridge(outbox, allow_personal=["gender"])
    event = bridge.enrich(
        {"event_name": "Lead", "custom_data": {"gender": "women", "phone": "+49 170 1234567"}},
        visitor=make_visitor(bridge, make_scope("/")),
    )
    assert event["custom_data"] == {"gender": "women"}
    with pytest.raises(ConfigError):
        make_bridge(outbox, allow_personal=[""])


# Choices for one event, and events without a browser


async def test_event_goes_only_where_it_is_sent_to(outbox: SQLiteOutbox) -> None:
    destinations = [make_meta(), make_meta(pixel_id="2"), Segment("key")]
    bridge = make_bridge(outbox, destinations=destinations, run_sender=False)
    visitor = make_visitor(bridge, make_scope(headers=NAVIGATION))
    meta, other, segment = bridge.destinations.names
    for to, expected in (
        (None, {meta, other, segment}),
        ("meta", {meta, other}),
        (["meta:2"], {other}),
        (["segment", other], {segment, other}),
    ):
        event = await track("Lead", visitor=visitor, to=to)
        found = set()
        for name in bridge.destinations.names:
            claimed = await outbox.claim(name, 99, now=unix_now() + 60, lease=1e6)
            found |= {each.destination for each in claimed if each.event_id == event.event_id}
            await outbox.ack(claimed, unix_now())
        assert found == expected
    with pytest.raises(UsageError, match="to must name destinations of meta:"):
        await track("Lead", visitor=visitor, to="facebook")


async def test_segment_sends_to_meta_what_does_not_go_there_from_us(outbox: SQLiteOutbox) -> None:
    destinations = [make_meta(), Segment("key")]
    bridge = make_bridge(outbox, destinations=destinations, run_sender=False)
    visitor = make_visitor(bridge, make_scope(headers=NAVIGATION))
    name = bridge.destinations.names[1]
    for to, is_off in ((None, True), ("segment", False)):
        await track("Lead", visitor=visitor, to=to)
        [claimed] = await outbox.claim(name, 9, now=unix_now() + 60, lease=1e6)
        message = msgspec.json.decode(claimed.body)
        off = message.get("integrations", {}).get("Facebook Conversions API (Actions)") is False
        assert off is is_off


async def test_event_may_say_where_it_happened(outbox: SQLiteOutbox) -> None:
    bridge = make_bridge(outbox, run_sender=False)
    visitor = make_visitor(bridge, make_scope("/p", headers=NAVIGATION))
    event = await track(
        "Lead",
        visitor=visitor,
        action_source="phone_call",
        event_source_url="https://shop.example.com/call?token=secret",
        referrer_url="https://shop.example.com/",
    )
    assert event.action_source == "phone_call"
    assert event.event_source_url == "https://shop.example.com/call"
    assert event.referrer_url == "https://shop.example.com/"


async def test_person_without_a_browser_has_what_the_app_knows(outbox: SQLiteOutbox) -> None:
    bridge = make_bridge(outbox, run_sender=False)
    person = bridge.person("customer-42", email="ada@example.com")
    event = await bridge.track(
        "Purchase",
        {"value": 9, "currency": "EUR"},
        event_id="renewal-7",
        visitor=person,
        action_source="system_generated",
    )
    assert event.outcome == "stored"
    assert event.user_data.to_dict() == {
        "em": [hashlib.sha256(b"ada@example.com").hexdigest()],
        "external_id": [hash_external_id("customer-42")],
    }
    assert event.event_source_url is None
    assert bridge.enrich({"event": "Renewed"}, visitor=person)["userId"] == "customer-42"
    without_id = bridge.person(email="ada@example.com")
    event = await bridge.track("Lead", visitor=without_id)
    assert event.user_data.external_id == []
    assert without_id.external_id is None


@pytest.mark.parametrize(
    ("consent", "outcome", "is_limited"),
    [("granted", "stored", False), ("limited", "stored", True), ("denied", "skipped", False)],
)
async def test_person_has_consent(
    outbox: SQLiteOutbox, consent: Any, outcome: str, is_limited: bool
) -> None:
    bridge = make_bridge(outbox, run_sender=False)
    event = await bridge.track("Lead", visitor=bridge.person("42", consent=consent))
    assert event.outcome == outcome
    assert (event.data_processing_options == ["LDU"]) is is_limited


async def test_refund_is_an_event_of_its_own_beside_its_purchase(outbox: SQLiteOutbox) -> None:
    """README's recipe: days later, by the sealed visitor, and each once."""
    bridge = make_bridge(outbox, run_sender=False)
    token = make_visitor(bridge, make_scope("/buy", headers=NAVIGATION)).seal()
    ordered = unix_now() - 5 * 86_400
    outcomes = []
    for name, event_id, event_time in (
        ("Purchase", "A-1", ordered),
        ("Refund", "refund-A-1", None),
        ("Refund", "refund-A-1", None),
    ):
        event = await track(
            name,
            {"value": 59, "currency": "EUR", "order_id": "A-1"},
            event_id=event_id,
            event_time=event_time,
            visitor=bridge.unseal(token),
        )
        outcomes.append(event.outcome)
    assert outcomes == ["stored", "stored", "duplicate"]


# Mistakes in production


async def test_mistake_is_a_dead_letter_where_it_shall_not_raise(
    outbox: SQLiteOutbox, caplog: pytest.LogCaptureFixture
) -> None:
    bridge = make_bridge(outbox, run_sender=False, on_invalid="log")
    visitor = make_visitor(bridge, make_scope(headers=NAVIGATION))
    event = await track(
        "Purchase", {"currency": "EUR", "note": "ada@example.com"}, event_id="A-1", visitor=visitor
    )
    assert (event.outcome, bridge.counters["invalid_events"]) == ("invalid", 1)
    assert event.skip_reason == "custom_data.value: required for Purchase, is missing"
    [dead] = await outbox.list_dead()
    assert dead.delivery.event_id == "A-1"
    assert "custom_data.value" in dead.reason
    assert b"ada" not in dead.delivery.body
    assert len([r for r in caplog.records if r.levelname == "ERROR"]) == 1
    # The right one goes out all the same, and a mistake after it does not take it back.
    right = {"value": 1, "currency": "EUR"}
    event = await track("Purchase", right, event_id="A-1", visitor=visitor)
    assert event.outcome == "stored"
    assert (await track("Purchase", event_id="A-1", visitor=visitor)).outcome == "invalid"
    [counts] = (await outbox.count(unix_now(), with_delivered=True)).values()
    assert (counts.waiting, counts.dead) == (1, 0)


def read_files(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.glob("bridge.db*"))


@pytest.mark.parametrize(
    ("name", "event_id", "properties"),
    [
        ("ada@example.com bought", "1", {}),
        ("Purchase", "ada@example.com", {}),
        ("Purchase", "+49 170 7654321", {}),
        ("Purchase", "2", {"ada@example.com": object()}),
        ([], "3", {}),
        (None, "4", {}),
    ],
)
async def test_mistake_leaves_nothing_personal_in_logs_and_on_disk(
    outbox: SQLiteOutbox,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    name: Any,
    event_id: str,
    properties: Any,
) -> None:
    bridge = make_bridge(outbox, run_sender=False, on_invalid="log")
    visitor = make_visitor(bridge, make_scope(headers=NAVIGATION))
    event = await track(name, properties, event_id=event_id, visitor=visitor)
    assert event.outcome == "invalid"
    stored = read_files(tmp_path)
    for secret in ("ada@example.com", "7654321"):
        assert secret not in caplog.text
        assert secret.encode() not in stored


async def test_mistake_cannot_be_sent_again_as_it_is(outbox: SQLiteOutbox) -> None:
    bridge = make_bridge(outbox, run_sender=False, on_invalid="log")
    visitor = make_visitor(bridge, make_scope(headers=NAVIGATION))
    await track("Purchase", event_id="A-1", visitor=visitor)
    [dead] = await outbox.list_dead()
    assert dead.delivery.expires <= unix_now() + 1


async def test_pixel_gets_no_copy_of_what_does_not_go_to_meta(outbox: SQLiteOutbox) -> None:
    destinations = [make_meta(), Segment("key")]
    bridge = make_bridge(outbox, destinations=destinations, run_sender=False)
    visitor = make_visitor(bridge, make_scope(headers=NAVIGATION))
    await track("Lead", visitor=visitor, to="segment")
    assert visitor.twins == []
    await track("Lead", visitor=visitor, to="meta")
    assert len(visitor.twins) == 1


async def test_mistyped_standard_name_is_told_once(
    outbox: SQLiteOutbox, caplog: pytest.LogCaptureFixture
) -> None:
    bridge = make_bridge(outbox, run_sender=False)
    visitor = make_visitor(bridge, make_scope(headers=NAVIGATION))
    for name in ("Purchse", "Purchse", "Quiz", "Lead", "Order Completed"):
        await track(name, {"value": 1, "currency": "EUR"}, visitor=visitor)
    lines = [line for line in caplog.messages if "did you mean" in line]
    assert lines == ["track('Purchse'): a custom event; did you mean Purchase?"]


async def test_what_waits_at_the_end_is_told(
    outbox: SQLiteOutbox, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "TELLING", DEADLINE)  # of a busy machine
    bridge = make_bridge(outbox, browser_hold=60)
    bridge.start()
    await bridge.stop(deadline=0)
    assert "waiting in" not in caplog.text
    bridge.start()
    await bridge.track("Lead", visitor=make_visitor(bridge, make_scope("/", headers=NAVIGATION)))
    await bridge.stop(deadline=0)
    assert "waiting in SQLiteOutbox" in caplog.text
    assert caplog.text.endswith("uses it: 1\n")


def test_app_on_trio_is_told_in_one_sentence(tmp_path: Path) -> None:
    bridge = make_bridge(SQLiteOutbox(tmp_path / "bridge.db"))
    with pytest.raises(UsageError, match="runs on asyncio"):
        bridge.start()  # without a running loop of asyncio, as trio has none
