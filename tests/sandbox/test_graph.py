"""What Graph refuses and what it takes: one row per rule, named after Meta's page."""

from __future__ import annotations

import copy
import gzip
import hashlib
import json
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from bridge.sandbox import DEFAULT_ACCESS_TOKEN as TOKEN
from bridge.sandbox import DEFAULT_PIXEL_ID as ID
from bridge.sandbox.graph import Accepted, judge, parse_body
from bridge.sandbox.refusal import Refusal

NOW = 1_795_000_000.0
DAY = 86_400
HASH = hashlib.sha256(b"maria@example.com").hexdigest()
PUBLIC_IP = "93.184.216.34"


def make_event(path: str = "", value: Any = ..., **changes: Any) -> dict[str, Any]:
    """Return a valid Purchase; ``path`` names a key to set, or to remove if no value is given."""
    event: dict[str, Any] = {
        "event_name": "Purchase",
        "event_time": int(NOW) - 10,
        "event_id": "order-1",
        "action_source": "website",
        "event_source_url": "https://shop.example.com/thanks",
        "user_data": {
            "em": [HASH],
            "external_id": HASH,
            "client_ip_address": PUBLIC_IP,
            "client_user_agent": "Mozilla/5.0",
            "fbp": "fb.1.1790000000000.1234567890",
            "fbc": "fb.1.1790000000000.IwAR2.AQICAQMC",
        },
        "custom_data": {"value": 12.5, "currency": "EUR"},
    }
    event |= changes
    if path:
        *parents, key = path.split(".")
        target = event
        for parent in parents:
            target = target.setdefault(parent, {})
        if value is ...:
            del target[key]
        else:
            target[key] = value
    return event


def ask(*events: Any, params: dict[str, Any] | None = None, **call: Any) -> Accepted | Refusal:
    options: dict[str, Any] = {"version": "v26.0", "pixel_id": ID, "token": TOKEN, **call}
    return judge(
        options["version"],
        options["pixel_id"],
        {"data": list(events), **(params or {})},
        options["token"],
        pixel_ids=(ID,),
        access_token=TOKEN,
        now=NOW,
    )


def refuse(*events: Any, **options: Any) -> Refusal:
    verdict = ask(*events, **options)
    assert isinstance(verdict, Refusal), verdict
    return verdict


def accept(*events: Any, **options: Any) -> list[list[str]]:
    verdict = ask(*events, **options)
    assert isinstance(verdict, Accepted), verdict
    return verdict.warnings


def test_complete_event_is_taken_without_warning() -> None:
    assert accept(make_event()) == [[]]


CONTENTS = "custom_data.contents"
USER = "user_data"
EXTINFO = ["i2", "app", "1", "1.0", "17.0", *[""] * 11]


@pytest.mark.parametrize(
    ("rule", "path", "value", "subcode"),
    [
        ("unexpected key", "advertiser_tracking_enabled", 1, None),
        ("unexpected key in user_data", "user_data.email", HASH, None),
        ("event_name required", "event_name", ..., None),
        ("event_name is text", "event_name", "", None),
        ("event_time required", "event_time", ..., None),
        ("event_time is an integer", "event_time", str(int(NOW)), None),
        ("event_time is no boolean", "event_time", True, None),
        ("event_time is no fraction", "event_time", NOW - 0.5, None),
        ("event_time over 7 days", "event_time", int(NOW) - 7 * DAY - 1, 2804003),
        ("event_time in the future", "event_time", int(NOW) + 61, 2804004),
        ("event_time in milliseconds", "event_time", int(NOW) * 1000, 2804004),
        ("action_source required", "action_source", ..., None),
        ("action_source from the list", "action_source", "web", None),
        ("website needs its url", "event_source_url", ..., None),
        ("url with http(s)", "event_source_url", "shop.example.com/thanks", None),
        ("event_id is text", "event_id", 1001, None),
        ("opt_out is a boolean", "opt_out", 1, None),
        ("user_data required", "user_data", ..., None),
        ("user_data is an object", "user_data", [], None),
        ("custom_data is an object", "custom_data", [], None),
        ("user_data empty", "user_data", {}, 2804050),
        ("em not hashed", "user_data.em", "maria@example.com", 2804016),
        ("em in upper-case hex", "user_data.em", HASH.upper(), 2804016),
        ("em with one bad item", "user_data.em", [HASH, ""], 2804016),
        ("em as MD5", "user_data.em", HASH[:32], 2804016),
        ("em null", "user_data.em", None, 2804016),
        ("dobd takes no list", "user_data.dobd", [HASH], 2804016),
        ("external_id is text", "user_data.external_id", 42, None),
        (
            "client_ip_address is one address",
            "user_data.client_ip_address",
            "1.2.3.4, 5.6.7.8",
            None,
        ),
        ("client_ip_address without space", "user_data.client_ip_address", " 1.2.3.4", None),
        ("client_ip_address without port", "user_data.client_ip_address", "1.2.3.4:80", None),
        ("client_user_agent is text", "user_data.client_user_agent", "", None),
        ("lead_id of 15-17 digits", "user_data.lead_id", 1234, 2804036),
        ("fb_login_id is an integer", "user_data.fb_login_id", "me", None),
        ("Purchase without value", "custom_data.value", ..., 2804009),
        ("Purchase without custom_data", "custom_data", ..., 2804009),
        ("value without currency", "custom_data.currency", ..., 2804023),
        ("currency of three letters", "custom_data.currency", "EURO", None),
        ("value is a number", "custom_data.value", "12,50", None),
        ("value is no boolean", "custom_data.value", True, None),
        ("value is finite", "custom_data.value", "1e999", None),
        ("value is not null", "custom_data.value", None, None),
        ("contents is a list of objects", CONTENTS, ["sku"], None),
        ("contents item without id", CONTENTS, [{"quantity": 1}], 2804008),
        ("contents quantity is an integer", CONTENTS, [{"id": "a", "quantity": "one"}], None),
        ("contents item_price", CONTENTS, [{"id": "a", "quantity": 1, "item_price": "x"}], None),
        ("content_ids is a list", "custom_data.content_ids", "sku", None),
        ("num_items is an integer", "custom_data.num_items", 1.5, None),
        ("delivery_category", "custom_data.delivery_category", "drone", None),
        ("customer_segmentation", "customer_segmentation", "vip", None),
        ("store_code", "custom_data.store_data", {"store_code": "a b"}, None),
        ("data_processing_options is a list", "data_processing_options", "LDU", None),
        ("data_processing_options known", "data_processing_options", ["CCPA"], None),
        ("LDU without country", "data_processing_options", ["LDU"], None),
        ("country without state", "data_processing_options_country", 1, None),
        ("state from the list", "data_processing_options_state", 1014, None),
        ("original_event_data keys", "original_event_data", {"id": "1"}, None),
        ("app_data keys", "app_data", {"tracking": 1}, None),
        ("attribution_data keys", "attribution_data", {"share": 1}, None),
        ("messaging_channel", "messaging_channel", "telegram", None),
        ("app needs app_data", "action_source", "app", None),
        ("messaging needs a channel", "action_source", "business_messaging", None),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_event_is_refused(rule: str, path: str, value: Any, subcode: int | None) -> None:
    refusal = refuse(make_event(path, value))
    assert (refusal.status, refusal.code, refusal.subcode) == (400, 100, subcode), rule
    assert (
        path.split(".")[-1] in refusal.field
        or path in ("action_source", "custom_data")
        or (path.startswith("data_processing_options"))
    )


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("event_time", int(NOW) - 7 * DAY),
        ("event_time", int(NOW) + 60),
        ("event_id", ...),
        ("user_data.em", HASH),
        ("user_data.em", [HASH, HASH]),
        ("user_data.em", f"{HASH}.AQICAQMC"),
        ("user_data.external_id", ["user-1", HASH]),
        ("user_data.client_ip_address", "2a00:1450:4001:81b::200e"),
        ("user_data.client_ip_address", f"{PUBLIC_IP}.AQICAQMC"),
        ("user_data.lead_id", "123456789012345"),
        ("custom_data.value", "12.50"),
        ("custom_data.value", 0),
        ("custom_data.currency", "eur"),
        ("custom_data.contents", [{"id": 7, "quantity": 2, "item_price": "6.25", "colour": "red"}]),
        ("custom_data.anything", {"of": ["ours"]}),
        ("data_processing_options", []),
        ("opt_out", False),
        ("referrer_url", "https://www.example.com/"),
        ("original_event_data", {"event_name": "Purchase", "event_time": 1, "order_id": "1"}),
    ],
)
def test_event_is_taken(path: str, value: Any) -> None:
    accept(make_event(path, value))


def test_store_event_may_be_62_days_old() -> None:
    old: dict[str, Any] = {"action_source": "physical_store", "event_time": int(NOW) - 62 * DAY}
    accept(make_event(**old))
    old["event_time"] = int(NOW) - 62 * DAY - 1
    assert refuse(make_event(**old)).subcode == 2804003


@pytest.mark.parametrize(
    ("keys", "taken"),
    [
        (["client_user_agent"], False),
        (["ct", "country", "st", "zp", "ge", "client_user_agent"], False),
        (["db", "client_user_agent"], False),
        (["fn", "ge"], False),
        (["ln", "ge"], False),
        (["fn", "ln"], True),
        (["client_user_agent", "client_ip_address"], True),
        (["db", "ct"], True),
        (["external_id"], True),
        (["fbp"], True),
    ],
)
def test_customer_information_must_not_be_too_broad(keys: list[str], taken: bool) -> None:
    values = {"client_user_agent": "x", "client_ip_address": PUBLIC_IP, "fbp": "fb.1.1.2"}
    event = make_event(user_data={key: values.get(key, HASH) for key in keys})
    if taken:
        accept(event)
    else:
        assert refuse(event).subcode == 2804050


@pytest.mark.parametrize(
    ("path", "value", "warning"),
    [
        ("user_data.client_user_agent", ..., "client_user_agent is missing"),
        ("user_data.client_ip_address", "10.0.0.1", "not a public address"),
        ("user_data.client_ip_address", ..., "behind a proxy, trusted_proxies must name it"),
        ("user_data.external_id", "user-1", "external_id is not hashed"),
        ("user_data.fbp", "fb.1.1790000000.12", "fbp is malformed"),
        ("user_data.fbc", "IwAR2", "fbc is malformed"),
        ("user_data.fbc", "fb.1.1790000000000.a.b.c", "fbc is malformed"),
        ("custom_data.value", -1, "value is negative"),
        ("custom_data.contents", [{"id": "a"}], "no quantity"),
        ("custom_data.event_id", "x", "belongs on the event"),
        ("event_id", ..., "event_id is missing"),
        ("data_processing_options_state", 0, "has no effect"),
    ],
)
def test_event_is_taken_with_a_warning(path: str, value: Any, warning: str) -> None:
    [warnings] = accept(make_event(path, value))
    assert len(warnings) == 1
    assert warning in warnings[0]


@pytest.mark.parametrize(
    "url",
    ["http://localhost:8000/", "http://127.0.0.1/", "http://[::1]:80/a.b", "http://a.localhost"],
)
def test_visitors_on_this_machine_have_no_address(url: str) -> None:
    event = make_event(event_source_url=url)
    del event["user_data"]["client_ip_address"]
    assert accept(event) == [[]]


def test_limited_data_use_is_taken_with_country_and_state() -> None:
    options: dict[str, Any] = {
        "data_processing_options": ["LDU"],
        "data_processing_options_country": 0,
    }
    event = make_event(**options, data_processing_options_state=0)
    assert accept(event) == [[]]
    del event["user_data"]["client_ip_address"]
    [[*_, warning]] = accept(event)
    assert warning == "LDU asks Meta to locate the person, but client_ip_address is missing"


@pytest.mark.parametrize(
    ("extinfo", "subcode"),
    [(EXTINFO, 0), (EXTINFO[:15], None), ([*EXTINFO[:4], " ", *EXTINFO[5:]], 2804043)],
)
def test_app_event_needs_its_extinfo(extinfo: list[str], subcode: int | None) -> None:
    app_data = {"advertiser_tracking_enabled": 1, "extinfo": extinfo}
    event = make_event(action_source="app", app_data=app_data)
    if subcode == 0:
        accept(event)
    else:
        assert refuse(event).subcode == subcode


@pytest.mark.parametrize(
    ("channel", "name", "user_data", "subcode"),
    [
        ("messenger", "Purchase", {"page_id": "1", "page_scoped_user_id": "2"}, 0),
        ("messenger", "Purchase", {"page_scoped_user_id": "2"}, 2804069),
        ("messenger", "Lead", {"page_id": "1"}, 2804066),
        ("instagram", "Purchase", {"ig_sid": "1"}, 2804079),
        ("whatsapp", "Purchase", {"ctwa_clid": "c", "page_id": "1"}, 0),
        ("whatsapp", "Purchase", {"ctwa_clid": "", "page_id": "1"}, 2804087),
        ("whatsapp", "Purchase", {"ctwa_clid": "c"}, 2804116),
    ],
)
def test_messaging_event_needs_its_channel_ids(
    channel: str, name: str, user_data: dict[str, str], subcode: int
) -> None:
    event = make_event(
        event_name=name,
        action_source="business_messaging",
        messaging_channel=channel,
        user_data=user_data,
    )
    if subcode == 0:
        accept(event)
    else:
        assert refuse(event).subcode == subcode


def test_late_value_needs_no_action_source() -> None:
    event = make_event("action_source", event_name="AppendValue")
    assert refuse(event).field == "data[0][action_source]"
    accept({**event, "original_event_data": {"event_name": "Purchase", "event_id": "1"}})


def test_attribution_event_needs_its_share() -> None:
    share = {"ad_id": "1", "touchpoint_ts": 1, "attribution_share": 1.5, "attribution_value": 1}
    event = make_event(event_name="AppendAttribution", attribution_data=share)
    assert refuse(event).field == "data[0][attribution_data][attribution_share]"
    accept({**event, "attribution_data": {**share, "attribution_share": 0.5}})


# The request


def test_one_bad_event_refuses_the_batch() -> None:
    refusal = refuse(make_event(), make_event("user_data.em", "x"), make_event("event_name", ""))
    assert refusal.field == "data[1][user_data][em]"


@pytest.mark.parametrize("count", [0, 1001])
def test_batch_has_1_to_1000_events(count: int) -> None:
    assert refuse(*[make_event()] * count).field == "data"


def test_batch_of_1000_events_is_taken() -> None:
    assert len(accept(*[make_event()] * 1000)) == 1000


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"pixel_id": "1"}, "$[pixel_id]"),
        ({"test_event_code": 1}, "$[test_event_code]"),
        ({"trace": -1}, "$[trace]"),
        ({"appsecret_proof": "x"}, "$[appsecret_proof]"),
        ({"data": "no"}, "$[data]"),
    ],
)
def test_body_with_a_wrong_key_is_refused(params: dict[str, Any], field: str) -> None:
    assert refuse(make_event(), params=params).field == field


@pytest.mark.parametrize("event", [None, 1, "x", []])
def test_event_must_be_an_object(event: Any) -> None:
    assert refuse(event).field == "data[0]"


@pytest.mark.parametrize(
    ("call", "status", "code", "subcode"),
    [
        ({"token": None}, 401, 190, None),
        ({"token": "wrong"}, 401, 190, None),
        ({"pixel_id": "1"}, 400, 100, 33),
        ({"version": "v20.0"}, 400, 2635, None),
        ({"version": "v27.0"}, 400, 2500, None),
        ({"version": "latest"}, 400, 2500, None),
    ],
)
def test_call_is_refused(call: dict[str, Any], status: int, code: int, subcode: int | None) -> None:
    refusal = refuse(make_event(), **call)
    assert (refusal.status, refusal.code, refusal.subcode) == (status, code, subcode)


def test_version_in_support_is_taken() -> None:
    accept(make_event(), version="v21.0")


def test_refusal_has_the_shape_of_a_graph_error() -> None:
    error = refuse(make_event("user_data.em", "x")).to_json("TRACE")["error"]
    field = "data[0][user_data][em]"
    message = f"Param {field} must be hashed with SHA-256: 64 lower-case hex digits"
    assert error == {
        "message": "Invalid parameter",
        "type": "OAuthException",
        "code": 100,
        "error_subcode": 2804016,
        "error_user_title": "Customer information not hashed",
        "error_user_msg": message,
        "is_transient": False,
        "error_data": {"blame_field_specs": [[field]]},
        "fbtrace_id": "TRACE",
    }


# Bodies

EVENT = make_event()
JSON_TYPE = "application/json"
FORM_TYPE = "application/x-www-form-urlencoded"


def make_multipart(fields: dict[str, str]) -> bytes:
    parts = (
        f'--B\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    return ("".join(parts) + "--B--\r\n").encode()


@pytest.mark.parametrize(
    ("content_type", "encoding", "body"),
    [
        (JSON_TYPE, "", json.dumps({"data": [EVENT]}).encode()),
        (JSON_TYPE, "gzip", gzip.compress(json.dumps({"data": [EVENT]}).encode())),
        (FORM_TYPE, "", urlencode({"data": json.dumps([EVENT])}).encode()),
        (FORM_TYPE, "", urlencode({"data": json.dumps([json.dumps(EVENT)])}).encode()),
        ("multipart/form-data; boundary=B", "", make_multipart({"data": json.dumps([EVENT])})),
    ],
    ids=["json", "json-gzip", "form", "form-of-strings", "multipart"],
)
def test_body_is_read(content_type: str, encoding: str, body: bytes) -> None:
    assert parse_body(content_type, encoding, body) == {"data": [EVENT]}


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("", b"<html>"),
        ("", b"[]"),
        ("", b'{"data": NaN}'),
        ("", b"\xff"),
        ("gzip", b"{}"),
        ("gzip", gzip.compress(b"{}", mtime=0)[:-4]),
        ("br", b"{}"),
    ],
)
def test_unreadable_body_is_refused(encoding: str, body: bytes) -> None:
    assert isinstance(parse_body(JSON_TYPE, encoding, body), Refusal)


def test_decompressed_body_is_bounded() -> None:
    bomb = gzip.compress(b'{"data": []' + b" " * (65 * 1024 * 1024) + b"}")
    assert isinstance(parse_body(JSON_TYPE, "gzip", bomb), Refusal)


def test_judging_changes_nothing() -> None:
    event = make_event()
    before = copy.deepcopy(event)
    accept(event)
    assert event == before
    assert msgspec.json.encode(event)
