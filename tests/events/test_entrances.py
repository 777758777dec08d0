"""One table of personal data, tried at every way in: none of it is stored, sent or shown."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.applications import Starlette

from bridge import Bridge, BridgeMiddleware, InvalidEventError
from bridge.destinations import Segment
from bridge.events.catalog import Catalog, EventMapping
from bridge.events.reader import BROWSER_REPORT, SERVER_EVENT, TRACK_MESSAGE, Entrance, EventReader
from bridge.events.user_data import USER_DATA_KEYS
from bridge.imports import Importer, ProgressFile, Rejects, Source
from bridge.outbox import SQLiteOutbox
from tests.factories import make_bridge, make_client, make_meta, make_scope, make_visitor, unix_now

# Properties, and the values in them that must not get through.
CASES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "key of a person": ({"email": "mary"}, ("mary",)),
    "key in capitals": ({"First-Name": "Marilou"}, ("Marilou",)),
    "digest under a key of a person": ({"email": "a1" * 32}, ("a1" * 32,)),
    "name of a customer": ({"customer": {"name": "Marilou"}}, ("Marilou",)),
    "address of a delivery": (
        {"shipping": {"address": {"street": "Elm Row 5", "city": "Bern"}}},
        ("Elm Row", "Bern"),
    ),
    "phone number in a note": ({"note": "call +49 170 7654321 first"}, ("7654321",)),
    "phone number as a number": ({"phone": 491701234567}, ("491701234567",)),
    "card number as text": ({"paid_with": "4111 1111 1111 1111"}, ("1111 1111",)),
    "card number as a number": ({"paid_with": 4111111111111111}, ("4111111111111111",)),
    "e-mail address in a text": ({"note": "by mary@example.com"}, ("mary",)),
    "e-mail address, encoded": ({"link": "/u?x=mary%40example.com"}, ("mary",)),
    "e-mail address as a key": ({"mary@example.com": 1}, ("mary",)),
    "e-mail address in a list": ({"cc": ["fern", "mary@example.com"]}, ("mary",)),
    "deep in a line": (
        {"contents": [{"id": "fern", "gift": {"to": {"notes": ["for mary@example.com"]}}}]},
        ("mary",),
    ),
    "social security number": ({"note": "SSN 078-05-1120"}, ("078-05-1120",)),
    "token": ({"session": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln"}, ("eyJhbGci",)),
    "full name of a customer": ({"customer": "Marilou Carr"}, ("Marilou",)),
    "full name under another language's key": ({"kunde": {"name": "Marilou"}}, ("Marilou",)),
    "name of a delivery": ({"shipping_name": "Marilou Carr"}, ("Marilou",)),
    "line of an address": ({"ship_to": {"line1": "Elm Row 5"}}, ("Elm Row",)),
    "mobile number in German": ({"handy": "1707654321"}, ("7654321",)),
    "day of birth": ({"bday": "1815-12-10"}, ("1815",)),
    "e-mail address as entities": ({"note": "mary&#64;example.com"}, ("mary",)),
    "e-mail address, escaped": ({"note": "mary\\u0040example.com"}, ("mary",)),
    "e-mail address with spaces": ({"note": "mary @ example.com"}, ("mary",)),
    "e-mail address, encoded five times": ({"note": "mary%2525252540example.com"}, ("mary",)),
    "text that is JSON": ({"note": '{"buyer":{"name":"Marilou"}}'}, ("Marilou",)),
    "parameter of a person in a URL": ({"url": "https://a.ex/?fname=Marilou"}, ("Marilou",)),
    "password": ({"account": {"password": "hunter2"}}, ("hunter2",)),
}
HARMLESS = {"order_id": "A-1001", "content_ids": ["4006381333931"], "note_2": "20 x 30 cm"}

catalog = Catalog([EventMapping("Plan Bought", "Subscribe", value=("fee",))])


@pytest.fixture
async def bridge(outbox: SQLiteOutbox) -> Bridge:
    destinations = [make_meta(), Segment("key")]
    return make_bridge(
        outbox,
        destinations=destinations,
        catalog=catalog,
        custom_events="*",
        browser_hold=0,
        run_sender=False,
    )


async def read_stored(bridge: Bridge) -> str:
    """Everything in the outbox."""
    bodies = []
    for destination in bridge.destinations:
        claimed = await bridge.outbox.claim(destination.name, 100, now=time.time() + 60, lease=0)
        bodies += [each.body.decode() for each in claimed]
    assert len(bodies) == len(bridge.destinations)
    return "\n".join(bodies)


def visit(bridge: Bridge) -> Any:
    return make_visitor(bridge, make_scope("/thanks"))


async def track(bridge: Bridge, properties: dict[str, Any], folder: Path) -> str:
    await bridge.track("Quiz Done", properties, event_id="1", visitor=visit(bridge))
    return await read_stored(bridge)


async def track_in_segments_words(bridge: Bridge, properties: dict[str, Any], folder: Path) -> str:
    given = {"fee": 5, "currency": "EUR", **properties}
    await bridge.track("Plan Bought", given, event_id="1", visitor=visit(bridge))
    stored = await read_stored(bridge)
    assert '"Subscribe"' in stored
    return stored


async def enrich_event(bridge: Bridge, properties: dict[str, Any], folder: Path) -> str:
    event = {"event_name": "Lead", "custom_data": properties}
    return str(bridge.enrich(event, visitor=visit(bridge)))


async def enrich_message(bridge: Bridge, properties: dict[str, Any], folder: Path) -> str:
    event = {"event": "Quiz Done", "properties": properties}
    return str(bridge.enrich(event, visitor=visit(bridge)))


async def enrich_context(bridge: Bridge, properties: dict[str, Any], folder: Path) -> str:
    event = {"event": "Quiz Done", "properties": HARMLESS, "context": properties}
    return str(bridge.enrich(event, visitor=visit(bridge)))


async def collect(bridge: Bridge, properties: dict[str, Any], folder: Path) -> str:
    client = make_client(BridgeMiddleware(Starlette(), bridge=bridge))
    event = {"event_name": "Quiz Done", "event_id": "1", "custom_data": properties}
    answer = await client.post("/_bridge/collect", json={"events": [event]})
    assert answer.json() == {"stored": ["1"], "refused": []}
    return await read_stored(bridge)


async def explain_event(bridge: Bridge, properties: dict[str, Any], folder: Path) -> str:
    event = {"event_name": "Lead", "custom_data": properties}
    return str(bridge.explain(event, visitor=visit(bridge)).to_dict())


async def explain_message(bridge: Bridge, properties: dict[str, Any], folder: Path) -> str:
    event = {"event": "Quiz Done", "properties": properties}
    return str(bridge.explain(event, visitor=visit(bridge)).to_dict())


async def import_json(bridge: Bridge, properties: dict[str, Any], folder: Path) -> str:
    path = folder / "sales.jsonl"
    line = {
        "event_name": "Quiz Done",
        "event_time": unix_now(),
        "action_source": "other",
        "user_data": {"external_id": "42"},
        "custom_data": properties,
    }
    path.write_text(json.dumps(line) + "\n")
    return await import_file(bridge, path)


async def import_csv(bridge: Bridge, properties: dict[str, Any], folder: Path) -> str:
    """Each property a cell: a column of its own, what is nested as JSON under one that takes it."""
    path = folder / "sales.csv"
    cells: dict[str, Any] = {
        "event_name": "Quiz Done",
        "event_time": unix_now(),
        "action_source": "other",
        "external_id": "42",
    }
    for key, value in properties.items():
        if key == "contents":
            cells["contents"] = json.dumps(value)
        elif isinstance(value, dict | list):
            line = [{"id": "fern", key: value}]
            cells["contents"] = json.dumps(line)
        elif key in USER_DATA_KEYS:
            cells[f"custom_data.buyer {key}"] = value  # a header with custom_data.email is refused
        else:
            cells[f"custom_data.{key}"] = value
    text = io.StringIO()
    csv.writer(text).writerows([list(cells), list(cells.values())])
    path.write_text(text.getvalue())
    return await import_file(bridge, path)


async def import_file(bridge: Bridge, path: Path) -> str:
    source, rejects = Source(path), Rejects(path.with_suffix(".rejected"))
    importer = Importer(
        source,
        bridge._event_reader,
        bridge.destinations,
        bridge.outbox,
        progress_file=ProgressFile(None),
        rejects=rejects,
    )
    await importer.run()
    await asyncio.to_thread(source.close)
    assert importer.tally.stored == 1, importer.tally
    stored = await read_stored(bridge)
    return f"{stored}{importer.tally}"


RANDOM = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|fb\.1\.\d+\.\d+|[0-9a-f]{64}")

Entering = Callable[[Bridge, dict[str, Any], Path], Awaitable[str]]
ENTRANCES: list[Entering] = [
    track,
    track_in_segments_words,
    enrich_event,
    enrich_message,
    enrich_context,
    collect,
    explain_event,
    explain_message,
    import_json,
    import_csv,
]


@pytest.mark.parametrize("enter", ENTRANCES, ids=lambda enter: enter.__name__)
@pytest.mark.parametrize("case", CASES)
async def test_personal_data_gets_through_nowhere(
    bridge: Bridge,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    case: str,
    enter: Entering,
) -> None:
    properties, values = CASES[case]
    out = await enter(bridge, {**HARMLESS, **properties}, tmp_path)
    # Our own ids are random, and may hold any four digits.
    out = RANDOM.sub(lambda found: found[0] if found[0] in values else "", out)
    for value in values:
        assert value not in out
        assert value not in caplog.text
    assert "A-1001" in out  # and what is harmless does


async def test_import_counts_what_it_removes(bridge: Bridge, tmp_path: Path) -> None:
    out = await import_json(
        bridge, {"a": [{"note": "a@example.com"}, {"note": "b@example.com"}]}, tmp_path
    )
    assert "'custom_data.a[].note (email)': 2" in out


async def test_apps_allow_list_holds_for_imports(outbox: SQLiteOutbox, tmp_path: Path) -> None:
    bridge = make_bridge(outbox, allow_personal=["customer.name"])
    out = await import_json(bridge, {"customer": {"name": "Acme", "city": "Bern"}}, tmp_path)
    assert '"customer":{"name":"Acme"}' in out


@pytest.mark.parametrize("number", [2**53, -(2**53), 0, 1.5, True])
def test_numbers_that_javascript_holds_pass_from_a_page(number: float) -> None:
    assert read("Lead", {"a": [{"b": number}]}, BROWSER_REPORT) == {"a": [{"b": number}]}


@pytest.mark.parametrize("entrance", [SERVER_EVENT, TRACK_MESSAGE], ids=lambda each: each.path)
def test_number_of_more_than_64_bits_is_refused(entrance: Entrance) -> None:
    with pytest.raises(InvalidEventError, match="64 bits"):
        read("Lead", {"a": [2**63]}, entrance)
    assert read("Lead", {"a": [2**63 - 1]}, entrance) == {"a": [2**63 - 1]}


@pytest.mark.parametrize(
    ("properties", "field"),
    [
        ({"order_id": " "}, "order_id"),
        ({"content_type": " "}, "content_type"),
        ({"num_items": -1}, "num_items"),
        ({"content_ids": ["a", " "]}, "content_ids[1]"),
        ({"contents": [{"id": "a", "quantity": -1}]}, "contents[0].quantity"),
        ({"contents": [{"id": "a", "title": 5}]}, "contents[0].title"),
        ({"status": 5}, "status"),
        ({"store_data": {"store_code": "B 12"}}, "store_data.store_code"),
        ({"customer_segmentation": "x"}, "customer_segmentation"),
    ],
)
def test_property_that_refuses_the_batch_refuses_the_event_or_is_left_out(
    properties: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidEventError) as caught:
        read("Lead", properties, SERVER_EVENT)
    assert caught.value.field == f"custom_data.{field}"
    assert read("Lead", {**properties, "mine": 1}, BROWSER_REPORT) == {"mine": 1}


@pytest.mark.parametrize(
    ("key", "detail"),
    [
        ("app_data", {"owner": {"email": "mary@example.com"}, "vendor_id": "a"}),
        ("original_event_data", {"note": "mary@example.com", "order_id": "1"}),
    ],
)
def test_other_objects_of_an_event_lose_personal_data_too(key: str, detail: Any) -> None:
    given = {"event_name": "Lead", key: detail}
    removed: list[str] = []
    fields, _, _ = EventReader().read_event(
        given, SERVER_EVENT, lambda name, path, found: removed.append(path)
    )
    assert "mary" not in str(fields)
    assert removed == [key]
    assert msgspec.json.encode(fields)


PERSONAL = {
    "e-mail address": "mary@example.com",
    "encoded": "mary&#64;example.com",
    "phone number": "+49 170 7654321",
    "national phone number": "0170 7654321",
    "card number": "4111 1111 1111 1111",
    "card number as stored": "4111111111111111",
    "IBAN": "DE89 3704 0044 0532 0130 00",
}


@pytest.mark.parametrize("name", ["650-555-0100", "Called 0170 1234567", "For 078-05-1120"])
async def test_name_of_an_event_holds_no_number_of_a_person(bridge: Bridge, name: str) -> None:
    with pytest.raises(InvalidEventError, match="event_name: is "):
        bridge.enrich({"event_name": name}, visitor=visit(bridge))


@pytest.mark.parametrize(
    "event_id",
    [
        "860-500-2010",
        "650-555-0100",
        "0423-123456",
        "105-12-3456",
        "4111111111111112",
        "1000234567",
    ],
)
async def test_id_of_an_order_may_have_hyphens(bridge: Bridge, event_id: str) -> None:
    event = {"event_name": "Lead", "event_id": event_id}
    assert bridge.enrich(event, visitor=visit(bridge))["event_id"] == event_id


@pytest.mark.parametrize("value", PERSONAL.values(), ids=PERSONAL)
@pytest.mark.parametrize(
    "place",
    [
        "event_name",
        "event_id",
        "messaging_channel",
        "customer_segmentation",
        "advanced_measurement_table",
        "app_data.install_referrer",
        "app_data.extinfo[]",
        "app_data.mine",
        "original_event_data.event_name",
        "original_event_data.event_id",
        "original_event_data.mine",
        "attribution_data.scope",
        "attribution_data.auditing_token",
        "attribution_data.mine",
        "data_processing_options[]",
    ],
)
async def test_no_part_of_an_event_holds_personal_data(
    bridge: Bridge, place: str, value: str
) -> None:
    """It is refused or removed; user data has a place of its own."""
    event: dict[str, Any] = {"event_name": "Quiz Done", "event_id": "1"}
    path, _, key = place.removesuffix("[]").partition(".")
    content: Any = [value] if place.endswith("[]") else value
    event[path] = {key: content} if key else content
    if path == "attribution_data":
        event[path] |= {"ad_id": "1", "touchpoint_ts": 1}
    try:
        out: object = bridge.enrich(event, visitor=visit(bridge))
    except InvalidEventError as error:
        out = error
    assert value not in str(out)
    assert not isinstance(out, InvalidEventError) or out.field.startswith(path)


async def test_what_segment_defines_in_a_context_is_examined(bridge: Bridge) -> None:
    context = {
        "campaign": {"name": "summer", "source": "fb", "content": "for mary@example.com"},
        "app": {"name": "Shop", "version": "2.1.0", "build": "+49 170 1234567"},
        "screen": {"width": 390, "height": 844, "note": "mary&#64;example.com"},
        "os": {"name": "iOS", "version": "17.4"},
        "locale": "de-CH",
    }
    message = {"event": "Quiz Done", "context": context}
    enriched = bridge.enrich(message, visitor=visit(bridge))["context"]
    assert {key: enriched[key] for key in context} == {
        "campaign": {"name": "summer", "source": "fb"},
        "app": {"name": "Shop", "version": "2.1.0"},
        "screen": {"width": 390, "height": 844},
        "os": {"name": "iOS", "version": "17.4"},
        "locale": "de-CH",
    }


def test_what_meta_defines_of_a_device_stays() -> None:
    given = {
        "event_name": "Lead",
        "app_data": {
            "extinfo": ["i2", "com.a.b", "1.0", "1.0.2", "17.4", "iPhone14,5", "en_US", "CET"],
            "vendor_id": "F47AC10B-58CC-4372-A567-0E02B2C3D479",
            "install_referrer": "utm_source=google&utm_medium=cpc",
            "campaign_ids": "120210000000000001",
        },
        "attribution_data": {"ad_id": "23851234567890123", "auditing_token": "a1b2c3d4e5"},
        "original_event_data": {"event_name": "Purchase", "order_id": "0123-4567890"},
    }
    fields, _, _ = EventReader().read_event(given, SERVER_EVENT, lambda *removed: None)
    assert {key: fields[key] for key in given} == given


def read(name: str, properties: dict[str, Any], entrance: Entrance) -> dict[str, Any]:
    reading = EventReader().read(name, properties, entrance, lambda *removed: None)
    return reading.custom_data
