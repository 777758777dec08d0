from __future__ import annotations

from typing import Any

import pytest

from bridge import InvalidEventError, UserData
from bridge.events.event import parse_event
from bridge.events.reader import SERVER_EVENT, EventReader
from bridge.imports.action_sources import check_source
from bridge.sandbox.event_rules import check_event
from bridge.sandbox.refusal import Refusal
from tests.factories import NOW

EXTINFO = ["a2", "", "", "", "15", *[""] * 11]
SOMEBODY = {"external_id": ["a" * 64]}


def build(**changes: Any) -> dict[str, Any]:
    return {
        "event_name": "Lead",
        "event_id": "1",
        "event_time": int(NOW),
        "action_source": "other",
        "user_data": SOMEBODY,
        **changes,
    }


def check(fields: dict[str, Any]) -> None:
    given = dict(fields)
    user_data = UserData(**given.pop("user_data"))
    fields, _, _ = EventReader().read_event(given, SERVER_EVENT, lambda *removed: None)
    check_source(parse_event(fields, user_data, now=NOW))


APP = {"action_source": "app", "app_data": {"advertiser_tracking_enabled": 1, "extinfo": EXTINFO}}
CHAT = {"action_source": "business_messaging", "event_name": "Purchase"}
MONEY = {"custom_data": {"value": 1, "currency": "EUR"}}
ATTRIBUTION = {"ad_id": 1, "touchpoint_ts": 1, "attribution_share": 1, "attribution_value": 2}


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(build(), id="other"),
        pytest.param(build(action_source="phone_call"), id="phone call"),
        pytest.param(
            build(action_source="website", event_source_url="https://a.example/"), id="website"
        ),
        pytest.param(build(**APP), id="app"),
        pytest.param(
            build(
                **CHAT,
                **MONEY,
                messaging_channel="whatsapp",
                user_data={"page_id": "1", "ctwa_clid": "x"},
            ),
            id="whatsapp",
        ),
        pytest.param(
            build(
                data_processing_options=["LDU"],
                data_processing_options_country=0,
                data_processing_options_state=0,
            ),
            id="limited data use",
        ),
        pytest.param(
            build(event_name="AppendAttribution", attribution_data=ATTRIBUTION), id="attribution"
        ),
        pytest.param(
            build(custom_data={"store_data": {"store_code": "B12"}, "num_items": 2}), id="store"
        ),
    ],
)
def test_complete_event_passes_here_and_at_meta(fields: dict[str, Any]) -> None:
    check(fields)
    assert [f for f in check_event(fields, "data[0]", NOW) if isinstance(f, Refusal)] == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        pytest.param({"user_data": {}}, "user_data", id="nobody"),
        pytest.param({"user_data": {"ct": ["a" * 64]}}, "user_data", id="a whole city"),
        pytest.param({"action_source": "website"}, "event_source_url", id="website without a page"),
        pytest.param(
            {"action_source": "app"}, "app_data.advertiser_tracking_enabled", id="app without data"
        ),
        pytest.param(
            {**APP, "app_data": {**APP["app_data"], "extinfo": ["a2"]}},  # type: ignore[dict-item]
            "app_data.extinfo",
            id="too few places",
        ),
        pytest.param(
            {**APP, "app_data": {**APP["app_data"], "extinfo": ["i2", *[""] * 15]}},  # type: ignore[dict-item]
            "app_data.extinfo[4]",
            id="no system version",
        ),
        pytest.param({"app_data": {"os": 1}}, "app_data.os", id="unknown app key"),
        pytest.param({**CHAT, **MONEY}, "messaging_channel", id="no channel"),
        pytest.param(
            {**CHAT, "event_name": "Lead", "messaging_channel": "messenger"},
            "event_name",
            id="name not for messaging",
        ),
        pytest.param(
            {**CHAT, **MONEY, "messaging_channel": "whatsapp", "user_data": {"page_id": "1"}},
            "user_data.ctwa_clid",
            id="whatsapp without a click",
        ),
        pytest.param({"messaging_channel": "telegram"}, "messaging_channel", id="unknown channel"),
        pytest.param(
            {"data_processing_options": ["LDU"]},
            "data_processing_options_country",
            id="LDU without a country",
        ),
        pytest.param(
            {"data_processing_options_country": 1}, "data_processing_options_state", id="no state"
        ),
        pytest.param(
            {"data_processing_options": ["ldu"]}, "data_processing_options", id="unknown option"
        ),
        pytest.param(
            {"event_name": "AppendAttribution", "attribution_data": {**ATTRIBUTION, "ad_id": ""}},
            "attribution_data.ad_id",
            id="blank ad",
        ),
        pytest.param(
            {"event_name": "AppendAttribution", "attribution_data": {}},
            "attribution_data.ad_id",
            id="no ad",
        ),
        pytest.param(
            {"original_event_data": {"event_time": "x"}},
            "original_event_data.event_time",
            id="original time as text",
        ),
        pytest.param(
            {"custom_data": {"contents": [{"id": "1", "quantity": "x"}]}},
            "custom_data.contents[0].quantity",
            id="quantity as text",
        ),
        pytest.param(
            {"custom_data": {"customer_segmentation": ["x"]}},
            "custom_data.customer_segmentation",
            id="segmentation as a list",
        ),
        pytest.param(
            {"custom_data": {"store_data": {"store_code": "B 12"}}},
            "custom_data.store_data.store_code",
            id="store code with a space",
        ),
    ],
)
def test_event_that_meta_would_refuse_names_its_field(changes: dict[str, Any], field: str) -> None:
    fields = build(**changes)
    with pytest.raises(InvalidEventError) as caught:
        check(fields)
    assert caught.value.field == field
    assert any(isinstance(finding, Refusal) for finding in check_event(fields, "data[0]", NOW))
