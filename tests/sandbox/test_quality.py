"""The sandbox's Dataset Quality API, from the outside and from the events that it really got."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from httpx import ASGITransport, AsyncClient

from bridge.sandbox import DEFAULT_ACCESS_TOKEN as TOKEN
from bridge.sandbox import DEFAULT_PIXEL_ID as ID
from bridge.sandbox import create_app
from bridge.sandbox.fields import parse_fields
from bridge.sandbox.quality import IPV4_NAME, MISMATCH_NAME
from bridge.sandbox.refusal import Refusal

QUALITY = "/v26.0/dataset_quality"
EVENTS = f"/v26.0/{ID}/events"
IPV4, IPV6 = "93.184.216.34", "2606:2800:220:1::1"


@pytest.fixture
async def client() -> AsyncIterator[AsyncClient]:
    """A visitor's browser and a shop's server at once; both have the same address."""
    transport = ASGITransport(create_app(), client=(IPV4, 5000))
    async with AsyncClient(transport=transport, base_url="http://sandbox") as client:
        yield client


async def send(client: AsyncClient, *ids: str, **changes: Any) -> None:
    """Send server copies with these event ids."""
    user_data = {"fbp": "fb.1.1790000000000.12", "client_user_agent": "UA"}
    user_data |= changes.pop("user_data", {})
    event = {
        "event_name": "Purchase",
        "event_time": int(time.time()),
        "action_source": "website",
        "event_source_url": "https://shop.example.com/",
        "custom_data": {"value": 1, "currency": "EUR"},
        "user_data": user_data,
        **changes,
    }
    data = [{**event, "event_id": each} for each in ids]
    response = await client.post(EVENTS, json={"data": data, "access_token": TOKEN})
    assert response.status_code == 200, response.text


async def hit(client: AsyncClient, *ids: str, name: str = "Purchase", **params: str) -> None:
    for each in ids:
        await client.get("/tr/", params={"id": ID, "ev": name, "eid": each, **params})


async def ask(client: AsyncClient, fields: str | None = None, **params: Any) -> Any:
    query = {"dataset_id": ID, "access_token": TOKEN, **({"fields": fields} if fields else {})}
    return (await client.get(QUALITY, params={**query, **params})).json()


async def read_one(client: AsyncClient, block: str) -> Any:
    [event] = (await ask(client, f"web{{{block}}}"))["web"]
    return event


async def test_coverage_is_that_of_what_arrived(client: AsyncClient) -> None:
    await send(client, "1", user_data={"em": ["a" * 64]})
    await send(client, "2", "3", "4")
    told = await read_one(
        client, "event_name,event_match_quality{match_key_feedback{identifier,coverage}}"
    )
    assert told["event_name"] == "Purchase"
    feedback = {
        each["identifier"]: each["coverage"]["percentage"]
        for each in told["event_match_quality"]["match_key_feedback"]
    }
    assert feedback == {"email": 25.0, "fbp": 100.0, "user_agent": 100.0}


async def test_score_grows_with_what_is_sent(client: AsyncClient) -> None:
    await send(client, "1", event_name="Lead")
    await send(client, "2", user_data={"em": ["a" * 64], "ph": ["b" * 64]})
    told = await ask(client, "web{event_name,event_match_quality{composite_score}}")
    scores = {each["event_name"]: each["event_match_quality"] for each in told["web"]}
    assert scores == {"Lead": {"composite_score": 1.6}, "Purchase": {"composite_score": 6.6}}


async def test_merged_pairs_are_told_by_key_and_as_coverage(client: AsyncClient) -> None:
    await hit(client, "1", "2", "3", "4")
    await send(client, "1", "2", "3", "9")
    told = await read_one(client, "event_coverage,dedupe_key_feedback")
    assert told["event_coverage"]["percentage"] == 75.0
    assert told["event_coverage"]["goal_percentage"] == 75
    keys = {each["dedupe_key"]: each for each in told["dedupe_key_feedback"]}
    assert [*keys] == ["event_id", "external_id", "fbp"]
    assert {
        name: part["percentage"] for name, part in keys["event_id"].items() if name != "dedupe_key"
    } == {
        "browser_events_with_dedupe_key": 100.0,
        "server_events_with_dedupe_key": 100.0,
        "overall_browser_coverage_from_dedupe_key": 75.0,
    }
    assert keys["fbp"]["browser_events_with_dedupe_key"]["percentage"] == 0.0
    assert keys["fbp"]["server_events_with_dedupe_key"]["percentage"] == 100.0


@pytest.mark.parametrize(
    ("age", "frequency"), [(5, "real_time"), (3600, "hourly"), (200_000, "daily")]
)
async def test_freshness_is_the_delay_of_the_middle_one(
    client: AsyncClient, age: int, frequency: str
) -> None:
    await send(client, "1", "2", event_time=int(time.time()) - age)
    told = await read_one(client, "data_freshness")
    assert told["data_freshness"]["upload_frequency"] == frequency


@pytest.mark.parametrize(
    ("pixel", "server", "name"),
    [
        (IPV4, IPV4, None),
        (IPV4, "93.184.216.35", MISMATCH_NAME),
        (IPV6, IPV4, IPV4_NAME),
        (IPV6, IPV6, None),
        (IPV4, IPV6, None),
        ("127.0.0.1", IPV4, None),
    ],
)
async def test_addresses_of_both_copies_are_compared(
    pixel: str, server: str, name: str | None
) -> None:
    transport = ASGITransport(create_app(), client=(pixel, 5000))
    async with AsyncClient(transport=transport, base_url="http://sandbox") as client:
        await hit(client, "1")
        await send(client, "1", user_data={"client_ip_address": server})
        await send(client, "2", user_data={"client_ip_address": server})
        told = await read_one(client, "event_match_quality{diagnostics}")
    found = told["event_match_quality"]["diagnostics"]
    assert [each["name"] for each in found] == ([name] if name else [])
    for each in found:
        assert (each["affected_event_count"], each["total_event_count"]) == (1, 2)
        assert each["percentage"] == 50.0


async def test_only_what_is_asked_for_is_told(client: AsyncClient) -> None:
    await hit(client, "1")
    await send(client, "1")
    assert (await ask(client))["web"][0].keys() == {"event_name", "event_match_quality"}
    [event] = (await ask(client, "web{event_match_quality}"))["web"]
    assert event["event_match_quality"].keys() == {"composite_score", "match_key_feedback"}
    [event] = (await ask(client, "web{event_coverage{goal_percentage}}"))["web"]
    assert event == {"event_coverage": {"goal_percentage": 75}}
    [event] = (await ask(client, "web{acr,event_potential_aly_acr_increase{percentage}}"))["web"]
    assert event == {}


async def test_name_of_one_side_alone_has_fewer_blocks(client: AsyncClient) -> None:
    await hit(client, "1", name="ViewContent")
    await send(client, "2", event_name="Lead", action_source="system_generated")
    names = {each["event_name"]: each for each in (await ask(client, ALL))["web"]}
    assert names == {"Lead": {"event_name": "Lead"}, "ViewContent": {"event_name": "ViewContent"}}


ALL = "web{event_name,event_match_quality,event_coverage,dedupe_key_feedback,data_freshness}"


@pytest.mark.parametrize(
    ("query", "status", "code", "words"),
    [
        ({"access_token": "other"}, 401, 190, "Invalid OAuth access token"),
        ({"dataset_id": "77"}, 400, 100, "Object with ID '77' does not exist"),
        ({"dataset_id": ""}, 400, 100, "does not exist"),
        ({"fields": "web{dedup_key_feedback}"}, 400, 100, "nonexisting field (dedup_key_feedback)"),
        ({"fields": "web{event_coverage{goal}}"}, 400, 100, "nonexisting field (goal)"),
        ({"fields": "app"}, 400, 100, "nonexisting field (app)"),
        ({"fields": "web{event_name"}, 400, 2500, "Syntax error"),
        ({"fields": "web{}"}, 400, 2500, "Syntax error"),
        ({"fields": "web}"}, 400, 2500, "Syntax error"),
        ({"fields": "web{a b}"}, 400, 2500, "Syntax error"),
    ],
)
async def test_what_meta_refuses_is_refused(
    client: AsyncClient, query: dict[str, str], status: int, code: int, words: str
) -> None:
    params = {"dataset_id": ID, "access_token": TOKEN, **query}
    response = await client.get(QUALITY, params=params)
    assert response.status_code == status
    error = response.json()["error"]
    assert error["code"] == code
    assert words in error["message"] + error.get("error_user_msg", "")


async def test_token_may_be_in_the_header(client: AsyncClient) -> None:
    params = {"dataset_id": ID}
    headers = {"authorization": f"Bearer {TOKEN}"}
    assert (await client.get(QUALITY, params=params, headers=headers)).json() == {"web": []}
    assert (await client.get(QUALITY, params=params)).status_code == 401


@pytest.mark.parametrize("code", [10, 190, 200])
async def test_refusal_of_rights_can_be_asked_for(client: AsyncClient, code: int) -> None:
    await client.post("/api/faults", json={"path": "quality", "code": code})
    assert (await ask(client))["error"]["code"] == code
    assert "web" in await ask(client)


async def test_answer_can_fall_short(client: AsyncClient) -> None:
    await send(client, "1")
    fault = {"path": "quality", "without": ["data_freshness"], "as_text": True}
    await client.post("/api/faults", json=fault)
    [event] = (await ask(client, ALL))["web"]
    assert event.keys() == {"event_name", "event_match_quality"}
    assert event["event_match_quality"]["composite_score"] == "1.6"
    await client.post("/api/faults", json={"path": "quality", "unknown": ["dedupe_key_feedback"]})
    assert "nonexisting field (dedupe_key_feedback)" in (await ask(client, ALL))["error"]["message"]


@pytest.mark.parametrize("fault", [{"code": 10}, {"without": ["acr"]}, {"as_text": True}])
async def test_faults_of_quality_are_for_quality(
    client: AsyncClient, fault: dict[str, Any]
) -> None:
    response = await client.post("/api/faults", json={"path": "tr", **fault})
    assert response.status_code == 400


@pytest.mark.parametrize("text", ["", "{", "a{" * 9 + "b" + "}" * 9, "a," * 3000, "Web", "a;b"])
def test_malformed_fields_are_refused(text: str) -> None:
    assert isinstance(parse_fields(text), Refusal)
