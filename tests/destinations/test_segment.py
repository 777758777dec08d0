"""Segment's requests, ids, switches and verdicts, by Segment's documents."""

from __future__ import annotations

import base64
import hashlib
import logging
import re
import uuid
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge import Bridge, ConfigError, InvalidEventError, UserData
from bridge.delivery.batches import cut
from bridge.destinations import Accepted, Paused, Rejected, Retry, Segment, Verdict
from bridge.destinations.base import FAULTS, EncodingContext, IdentityMessage
from bridge.destinations.group import Destinations
from bridge.enrichment import Enricher
from bridge.events.catalog import Catalog
from bridge.events.event import STANDARD_EVENTS, Event, parse_event
from bridge.events.reader import EventReader
from bridge.outbox import SQLiteOutbox
from bridge.visitor.identity import Identity
from tests.factories import NOW, make_bridge, make_delivery
from tests.goldens import ENVELOPE, make_golden_visitor

KEY = "pQx7vN2mK4dR8sT1wY6zB3"
LEAD_1001 = "03fbc30f-0a26-5041-a92a-59358ea82786"
KB = 1000  # bytes: what passes by this reading of "KB" passes by the other
CATALOG = Catalog()
META = ("Facebook Conversions API (Actions)", "Facebook Conversions API")
ADA = Identity(anonymous_id="a-1", renewed_at=int(NOW), user_id="ada", fbp="fb.1.1.2")


def make_event(name: str = "Lead", **changes: Any) -> Event:
    fields = {
        "event_name": name,
        "event_id": "1001",
        "event_time": int(NOW),
        "action_source": "website",
        "event_source_url": "https://shop.example.com/p?size=m",
        **changes,
    }
    user_data = fields.pop("user_data", UserData(external_id=["a" * 64], fbp="fb.1.1.2"))
    return parse_event(fields, user_data, now=NOW)


def encode(event: Event, segment: Segment | None = None, **told: Any) -> Any:
    values: dict[str, Any] = {"identity": ADA, **told}
    body = (segment or Segment(KEY)).encode(event, EncodingContext(CATALOG, **values))
    return msgspec.json.decode(body)


# The request


def test_request_is_a_batch_with_basic_auth_and_the_time_it_leaves() -> None:
    request = Segment(KEY).build_request([b'{"a":1}', b'{"a":2}'], NOW + 0.25)
    assert request.url == "https://api.segment.io/v1/batch"
    content = msgspec.json.decode(request.content)
    assert content["batch"] == [{"a": 1}, {"a": 2}]
    assert content["sentAt"] == "2026-11-18T11:06:40.250+00:00"
    assert content["context"]["library"]["name"] == "pixel-bridge"
    assert content.keys() == {"batch", "sentAt", "context"}
    assert request.headers["content-type"] == "application/json"
    scheme, credentials = request.headers["authorization"].split(" ")
    assert (scheme, base64.b64decode(credentials)) == ("Basic", f"{KEY}:".encode())


def test_write_key_is_nowhere_to_be_seen(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    segment = Segment(KEY, integrations={"Amplitude": False})
    request = segment.build_request([b"{}"], NOW)
    told = [
        segment.read_response(status, {}, f"bad write key {KEY[:14]}, {KEY}".encode())
        for status in (400, 401, 403, 404, 413, 418, 429, 503)
    ]
    shown = [request.url, repr(request), repr(segment), segment.name, repr(told), caplog.text]
    assert all(KEY[:12] not in text for text in shown)
    assert KEY.encode() not in request.content
    with pytest.raises(ConfigError) as caught:
        Segment(f"{KEY}:")
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("argument", "value", "url"),
    [
        ("region", "us", "https://api.segment.io/v1/batch"),
        ("region", "US", "https://api.segment.io/v1/batch"),
        ("region", "eu", "https://events.eu1.segmentapis.com/v1/batch"),
        ("url", "https://api.segment.io", "https://api.segment.io/v1/batch"),
        ("url", "https://api.segment.io/v1", "https://api.segment.io/v1/batch"),
        (
            "url",
            "https://events.eu1.segmentapis.com/v1/",
            "https://events.eu1.segmentapis.com/v1/batch",
        ),
        ("url", "http://127.0.0.1:8700/", "http://127.0.0.1:8700/v1/batch"),
        ("url", "https://e.example.com/segment", "https://e.example.com/segment/v1/batch"),
    ],
)
def test_address_is_the_regions_or_the_given_one(argument: str, value: str, url: str) -> None:
    arguments: dict[str, Any] = {argument: value}
    segment = Segment(KEY, **arguments)
    assert segment.build_request([], NOW).url == url


@pytest.mark.parametrize(
    "arguments",
    [
        {"write_key": ""},
        {"write_key": None},
        {"write_key": " "},
        {"write_key": "a:b"},
        {"write_key": "a b"},
        {"write_key": "a\nb"},
        {"write_key": "schlüssel"},
        {"write_key": "x" * 201},
        {"region": ""},
        {"region": "xx"},
        {"region": "asia"},
        {"region": "https://api.segment.io"},
        {"url": ""},
        {"url": "api.segment.io"},
        {"url": "ftp://api.segment.io"},
        {"url": "https://"},
        {"url": "https://key@api.segment.io"},
        {"url": "https://api.segment.io?key=1"},
        {"url": "https://api.segment.io/#v1"},
        {"url": "https://api.segment.io:99999"},
        {"url": "https://api.segment.io\n"},
        {"pixel_id": "abc"},
        {"pixel_id": ""},
        {"integrations": ["Amplitude"]},
        {"integrations": {1: True}},
        {"integrations": {"Amplitude": object()}},
    ],
)
def test_argument_that_cannot_be_right_is_refused(arguments: dict[str, Any]) -> None:
    name = next(iter(arguments))
    with pytest.raises(ConfigError, match=name) as caught:
        Segment(**{"write_key": KEY, **arguments})
    if name == "region":
        assert "us or eu" in str(caught.value)


# Ids


def test_message_id_is_a_uuid_of_the_delivery_alone() -> None:
    ids = {
        encode(make_event(name, event_id=event_id), Segment(key))["messageId"]
        for key in (KEY, "another-key")
        for name in ("Lead", "Contact")
        for event_id in ("1001", "1002")
    }
    assert len(ids) == 8
    assert all(str(uuid.UUID(each)) == each and len(each) < 100 for each in ids)
    again = encode(make_event(), Segment(KEY, region="eu", alias=False))
    assert again["messageId"] in ids


def test_message_id_stays_over_releases() -> None:
    """Else what was sent before an update, and again after it, would count twice."""
    namespace = hashlib.sha256(f"pixel-bridge {KEY}".encode()).digest()[:16]
    assert uuid.uuid5(uuid.UUID(bytes=namespace), "Lead\n1001") == uuid.UUID(LEAD_1001)
    assert Segment(KEY).derive_message_id("Lead", "1001") == LEAD_1001


def test_message_id_is_not_the_events_id_even_if_that_is_a_uuid() -> None:
    event_id = Segment(KEY).derive_message_id("Lead", "1001")
    message = encode(make_event(event_id=event_id))
    assert message["messageId"] != event_id == message["properties"]["event_id"]


@settings(deadline=None)
@given(st.text(min_size=1, max_size=100), st.text(min_size=1, max_size=200))
def test_message_id_of_any_event_is_a_uuid(name: str, event_id: str) -> None:
    assert uuid.UUID(Segment(KEY).derive_message_id(name, event_id)).version == 5


@pytest.mark.parametrize(
    ("identity", "expected"),
    [
        (ADA, {"anonymousId": "a-1", "userId": "ada"}),
        (msgspec.structs.replace(ADA, user_id=None), {"anonymousId": "a-1"}),
        (msgspec.structs.replace(ADA, user_id=""), {"anonymousId": "a-1"}),
        (None, {"anonymousId": "a" * 64}),
        (Identity(anonymous_id="", renewed_at=0), {"anonymousId": "a" * 64}),
    ],
)
def test_ids_are_told_where_they_are_not_empty(
    identity: Identity | None, expected: dict[str, str]
) -> None:
    """An empty ``userId`` would count as one, and the external id would be lost."""
    message = encode(make_event(), identity=identity)
    assert {k: v for k, v in message.items() if k in ("userId", "anonymousId")} == expected


def test_nobodys_event_has_an_id_too() -> None:
    message = encode(make_event(user_data=UserData(em=["b" * 64])), identity=None)
    assert message["anonymousId"]


# What a message says


def test_time_is_the_events_own_in_milliseconds_with_its_zone() -> None:
    message = encode(make_event(event_time=int(NOW) - 3600))
    assert message["timestamp"] == "2026-11-18T10:06:40.000+00:00"


def test_browser_ids_stand_in_both_places_and_are_absent_in_both() -> None:
    user_data = UserData(external_id=["a" * 64], fbp="fb.1.1.2", fbc="fb.1.1.Ab")
    message = encode(make_event(user_data=user_data))
    for place in (message["properties"], message["context"]):
        assert (place["fbp"], place["fbc"]) == ("fb.1.1.2", "fb.1.1.Ab")
    message = encode(make_event(user_data=UserData(external_id=["a" * 64])))
    assert "fbp" not in {**message["properties"], **message["context"]}
    assert "direct" not in message["context"]


@pytest.mark.parametrize("source", ["website", "app", "phone_call", "system_generated", "other"])
def test_action_source_is_the_events_own(source: str) -> None:
    message = encode(make_event(action_source=source, custom_data={"action_source": "mine"}))
    assert message["properties"]["action_source"] == source


def test_event_without_a_page_has_none() -> None:
    message = encode(make_event(action_source="other", event_source_url=None))
    assert "page" not in message["context"]


HASHED = re.compile(r"[0-9a-f]{64}")


def test_traits_are_digests_in_both_spellings_and_nothing_else() -> None:
    keys = ("em", "ph", "fn", "ln", "db", "ge", "ct", "st", "zp", "country")
    digests: dict[str, Any] = {key: [f"{i:064x}"] for i, key in enumerate(keys)}
    user_data = UserData(**digests)
    traits = encode(make_event(user_data=user_data))["context"]["traits"]
    address = traits.pop("address")
    assert set(traits) == {
        *("email", "phone", "firstName", "first_name", "lastName", "last_name"),
        *("birthday", "gender"),
    }
    assert set(address) == {"city", "state", "postalCode", "postal_code", "country"}
    assert all(HASHED.fullmatch(value) for value in (*traits.values(), *address.values()))
    assert traits["firstName"] == traits["first_name"]
    assert address["postalCode"] == address["postal_code"]


def test_page_view_is_a_page_message() -> None:
    message = encode(make_event("PageView", referrer_url="https://ads.example/"))
    assert message["type"] == "page"
    assert "event" not in message
    page = {
        "url": "https://shop.example.com/p?size=m",
        "path": "/p",
        "search": "?size=m",
        "referrer": "https://ads.example/",
    }
    assert message["context"]["page"] == page
    assert message["properties"].items() >= page.items()


# Who a visitor is


async def test_introduction_is_what_the_documents_say(bridge: Bridge) -> None:
    known = make_golden_visitor(bridge).identity
    before = make_golden_visitor(bridge, is_known=False).identity
    messages = [msgspec.json.decode(each.body) for each in introduce(known, before)]
    ids = [uuid.UUID(message.pop("messageId")) for message in messages]
    assert len(set(ids)) == 2
    assert messages == [ENVELOPE["identify"], ENVELOPE["alias"]]


def introduce(known: Identity, before: Identity, **changes: Any) -> Sequence[IdentityMessage]:
    return Segment(KEY, **changes).encode_identity(known, before, NOW)


def test_same_words_are_the_same_fact_whenever_they_are_said() -> None:
    before = msgspec.structs.replace(ADA, user_id=None)
    [identify, alias] = introduce(ADA, before)
    moved = msgspec.structs.replace(ADA, client_ip="203.0.113.9", renewed_at=0)
    assert [each.key for each in introduce(moved, before)] == [identify.key, alias.key]
    named = msgspec.structs.replace(ADA, user_data=UserData(em=["b" * 64]))
    assert introduce(named, ADA)[0].key != identify.key
    others = {each.key for each in Segment("another-key").encode_identity(ADA, before, NOW)}
    assert others.isdisjoint({identify.key, alias.key})


@pytest.mark.parametrize(
    ("known", "before", "alias", "kinds"),
    [
        (ADA, None, True, ["identify", "alias"]),
        (ADA, None, False, ["identify"]),
        (ADA, "ada", True, ["identify"]),
        (ADA, "eve", True, ["identify"]),
        (msgspec.structs.replace(ADA, user_id=None), None, True, ["identify"]),
    ],
)
def test_alias_goes_with_the_first_user_id_alone(
    known: Identity, before: str | None, alias: bool, kinds: list[str]
) -> None:
    was = msgspec.structs.replace(ADA, user_id=before)
    assert [each.kind for each in introduce(known, was, alias=alias)] == kinds


# Who else gets it


def test_meta_is_switched_off_where_it_gets_the_event_from_us() -> None:
    message = encode(make_event(), reaches_meta=True)
    assert message["integrations"] == dict.fromkeys(META, False)
    assert "integrations" not in encode(make_event(), reaches_meta=False)


def test_apps_own_switches_go_along_and_come_first() -> None:
    segment = Segment(KEY, integrations={"Amplitude": False, META[0]: True})
    message = encode(make_event(), segment, reaches_meta=True)
    assert message["integrations"] == {"Amplitude": False, META[0]: True, META[1]: False}
    assert encode(make_event(), segment)["integrations"] == {"Amplitude": False, META[0]: True}


@pytest.mark.parametrize(("country", "state"), [(0, 0), (1, 1000), (None, None)])
def test_limited_data_use_is_told_where_destinations_look(
    country: int | None, state: int | None
) -> None:
    event = make_event(
        data_processing_options=["LDU"],
        data_processing_options_country=country,
        data_processing_options_state=state,
    )
    message = encode(event)
    options = [["LDU"], country or 0, state or 0]
    assert message["context"]["dataProcessingOptions"] == options
    # The cloud destination reads it from nowhere by default: the limit would be lost on the way.
    told = {META[1]: {"dataProcessingOptions": options}}
    assert message["integrations"] == {META[0]: False, **told}
    mapped = encode(event, Segment(KEY, maps_limits=True))
    assert mapped["integrations"] == told
    plain = encode(make_event(data_processing_options=[]))
    assert "dataProcessingOptions" not in plain["context"]


# Limits


def test_message_of_32_kb_is_taken_and_a_larger_one_refused() -> None:
    room = 32 * KB - len(msgspec.json.encode(encode(make_event(custom_data={"note": ""}))))
    parts = {f"n{i:02}": "x" * 4000 for i in range(7)}
    room -= len(msgspec.json.encode(parts)) - 1
    at_most = make_event(custom_data={**parts, "note": "x" * room})
    assert len(Segment(KEY).encode(at_most, EncodingContext(CATALOG, ADA))) == 32 * KB
    too_large = make_event(custom_data={**parts, "note": "x" * (room + 1)})
    with pytest.raises(InvalidEventError, match=r"32,000 bytes as Segment's message, got 32,001"):
        Segment(KEY).encode(too_large, EncodingContext(CATALOG, ADA))


@settings(deadline=None)
@given(st.lists(st.integers(300, 32 * KB), max_size=60), st.integers(1, 3000))
def test_requests_keep_both_limits(sizes: list[int], copies: int) -> None:
    segment = Segment(KEY)
    bodies = [b'"%s"' % (b"x" * (size - 2)) for size in sizes]
    bodies += [b"{}"] * copies
    deliveries = [make_delivery(str(i), body=body) for i, body in enumerate(bodies)]
    assert segment.limits.max_content is not None
    overhead = len(segment.build_request([], NOW).content)
    batches = cut(
        deliveries,
        batch_size=segment.limits.batch_size,
        max_bytes=segment.limits.max_content - overhead,
    )
    for batch in batches:
        request = segment.build_request([each.body for each in batch.deliveries], NOW)
        assert len(request.content) <= 500 * KB
        assert len(batch.deliveries) <= 2500
    assert sum(len(batch.deliveries) for batch in batches) == len(bodies)


# Verdicts


def read(status: int, headers: dict[str, str] | None = None, content: bytes = b"") -> Verdict:
    return Segment(KEY).read_response(status, headers or {}, content)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        *((status, Accepted) for status in (200, 201, 202, 204)),
        *((status, Retry) for status in (301, 302, 307, 308)),
        (400, Rejected),
        (401, Paused),
        (403, Paused),
        (404, Paused),
        (408, Retry),
        (410, Retry),
        (413, Rejected),
        (429, Retry),
        (460, Retry),
        *((status, Retry) for status in (500, 502, 503, 504, 511)),
    ],
)
def test_verdict_over_an_answer(status: int, expected: type[Verdict]) -> None:
    verdict = read(status, content=b'{"success":false}')
    assert isinstance(verdict, expected)
    if not isinstance(verdict, Accepted):
        assert str(status) in verdict.reason


@pytest.mark.parametrize("status", [401, 403])
def test_bad_key_is_the_tokens_fault(status: int) -> None:
    verdict = read(status)
    assert isinstance(verdict, Paused)
    assert verdict.fault == "token"
    assert "BRIDGE_SEGMENT_WRITE_KEY" in verdict.advice


@pytest.mark.parametrize(
    ("headers", "after"),
    [
        ({"retry-after": "30"}, 30),
        ({"x-ratelimit-reset": "12"}, 12),
        ({"retry-after": "30", "x-ratelimit-reset": "12"}, 30),
        ({"retry-after": "999999"}, 3600),
        ({"x-ratelimit-reset": "1795000060"}, 3600),
        ({}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1", "x-ratelimit-reset": "x"}, None),
    ],
)
def test_rate_limit_says_how_long_to_wait(headers: dict[str, str], after: float | None) -> None:
    """Source: Segment, "HTTP API": both headers, in seconds."""
    verdict = read(429, headers)
    assert isinstance(verdict, Retry)
    assert verdict.after == after


@settings(deadline=None)
@given(
    st.integers(100, 599),
    st.dictionaries(st.sampled_from(["retry-after", "x-ratelimit-reset", "date"]), st.text()),
    st.binary(max_size=200),
)
def test_any_answer_has_a_verdict(status: int, headers: dict[str, str], content: bytes) -> None:
    verdict = read(status, headers, content)
    if isinstance(verdict, Paused):
        assert verdict.fault in FAULTS
    assert isinstance(verdict, Accepted) == (200 <= status < 300)


# Any properties at all

NAMES = st.sampled_from(
    ["Order Completed", "Product Added", "Product List Viewed", "Signed Up"]
) | (
    st.sampled_from(["Purchase", "AddToCart", "ViewContent", "PageView", "Subscribe", "Quiz Done"])
)
WORDS = st.sampled_from(
    [
        *("value", "revenue", "total", "price", "currency", "products", "product_id", "sku", "id"),
        *("quantity", "content_ids", "contents", "content_type", "content_category", "category"),
        *(
            "order_id",
            "event_id",
            "fbp",
            "action_source",
            "num_items",
            "query",
            "name",
            "item_price",
        ),
    ]
)
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["5", "$5", "EUR", "usd", "", "a", "product", "product_group"])
    | st.text(max_size=10)
)
ANY = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(), inner, max_size=5)
    ),
    max_leaves=20,
)
SANE = st.fixed_dictionaries(
    {"currency": st.just("EUR")},
    optional={
        "value": st.integers(0, 99),
        "revenue": st.integers(0, 99),
        "order_id": st.text(min_size=1, max_size=9) | st.integers(0, 10**12),
        "content_ids": st.lists(st.text(min_size=1, max_size=5) | st.integers(0, 99), max_size=3),
        "contents": st.lists(st.fixed_dictionaries({"id": st.text(min_size=1, max_size=5)})),
        "products": st.lists(st.fixed_dictionaries({"sku": st.text(min_size=1, max_size=5)})),
        "product_id": st.text(min_size=1, max_size=5) | st.integers(0, 99),
        "content_type": st.just("product_group"),
        "content_category": st.text(max_size=5),
        "category": st.text(max_size=5),
    },
)


def read_ids(data: dict[str, Any]) -> set[str]:
    """Every product's id in what goes out, under whatever key of either language."""
    found = {read_id(told) for told in data.get("content_ids") or ()}
    found |= {
        read_id(told)
        for key in ("product_id", "sku", "id")
        if (told := data.get(key)) is not None and not isinstance(told, dict | list)
    }
    for key in ("contents", "products"):
        for line in data.get(key) or ():
            found |= read_ids(line)
    return found


def read_id(told: object) -> str:
    """An id as text; 1.0 and 1 are one number in JSON."""
    return str(int(told) if isinstance(told, float) and told.is_integer() else told)


@pytest.fixture
async def bridge(outbox: SQLiteOutbox) -> Bridge:
    return make_bridge(outbox, follow_segment=True)


async def test_any_properties_go_out_in_both_languages_or_are_refused(bridge: Bridge) -> None:
    visitor = make_golden_visitor(bridge)
    enricher = Enricher(EventReader(CATALOG), Destinations([Segment(KEY)]), counters=Counter())

    @settings(deadline=None, max_examples=300)
    @given(NAMES, SANE | st.dictionaries(WORDS | st.text(), ANY, max_size=8))
    def check(name: str, properties: dict[str, Any]) -> None:
        given_event = {**ENVELOPE["event"], "event_name": name, "custom_data": properties}
        try:
            complete, context = enricher.complete(given_event, visitor, now=NOW)
            message = msgspec.json.decode(Segment(KEY).encode(complete, context))
        except InvalidEventError:
            return
        event = msgspec.json.decode(complete.encoded)
        sent = message["properties"]
        assert sent["event_id"] == "1001"
        custom_data = event.get("custom_data", {})
        if (order_id := properties.get("order_id")) not in (None, ""):
            assert custom_data["order_id"] == sent["order_id"] == sane(str(order_id))
        if name in STANDARD_EVENTS and properties.keys() & {"products", "product_id", "sku", "id"}:
            return  # the app's own, whatever it is; see the test below
        try:
            told = {k: v for k, v in properties.items() if is_said_in(name, k)}
            ids = {sane(each) for each in read_ids(told)}
        except (AttributeError, TypeError):
            return  # no ids, but something else under their names
        if custom_data.get("content_type") == "product_group":
            # A list of which the category is all that is known: Segment has that alone.
            ids.discard(custom_data.get("content_category", ""))
        assert ids - {""} <= read_ids(custom_data)
        assert ids - {""} <= read_ids(sent)

    def is_said_in(name: str, key: str) -> bool:
        # Of two vocabularies at once the event's own counts.
        return name not in STANDARD_EVENTS or key in ("content_ids", "contents", "order_id")

    def sane(text: str) -> str:
        return text.encode("utf-8", "replace").decode()

    check()


@pytest.mark.parametrize("products", [True, "a", {}, [1], [{"name": "A"}]])
def test_products_that_are_not_segments_travel_as_they_are(products: Any) -> None:
    """In Meta's words they are a property of the app's own."""
    event = make_event("AddToCart", custom_data={"content_ids": ["a"], "products": products})
    body = Segment(KEY).encode(event, EncodingContext(CATALOG, ADA))
    sent = msgspec.json.decode(body)["properties"]
    assert (sent["product_id"], sent["products"]) == ("a", products)


async def test_any_properties_are_completed_by_enrich_or_refused(bridge: Bridge) -> None:
    visitor = make_golden_visitor(bridge)

    @settings(deadline=None)
    @given(NAMES, st.dictionaries(WORDS | st.text(), ANY, max_size=8))
    def check(name: str, properties: dict[str, Any]) -> None:
        try:
            message = bridge.enrich({"event": name, "properties": properties}, visitor=visitor)
        except InvalidEventError:
            return
        assert len(msgspec.json.encode(message)) <= 32 * KB
        assert message["properties"]["event_id"]

    check()


@pytest.mark.parametrize("argument", ["region", "pixel_id", "url"])
def test_key_in_the_wrong_place_is_not_shown(argument: str) -> None:
    changes: dict[str, Any] = {argument: "k" * 32}
    with pytest.raises(ConfigError, match="got 32 characters"):
        Segment("key", **changes)
