"""The endpoints the script talks to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
from starlette.applications import Starlette

from bridge import Bridge, BridgeMiddleware, OutboxError
from bridge.browser import MAX_BODY, SCRIPT
from bridge.core import PIXEL_SCRIPT_URL
from bridge.outbox import SQLiteOutbox
from bridge.readable import PageSettings
from tests.factories import CLIENT, make_bridge, make_client, unix_now

COLLECT = "/_bridge/collect"
EVENT = {"event_name": "ViewContent", "event_id": "e-1", "custom_data": {"content_ids": ["a"]}}


@pytest.fixture
async def bridge(outbox: SQLiteOutbox) -> AsyncIterator[Bridge]:
    bridge = make_bridge(outbox, pixel_script_url="http://127.0.0.1:9/en_US/fbevents.js")
    yield bridge
    await bridge.stop(deadline=0)


@pytest.fixture
def client(bridge: Bridge) -> httpx.AsyncClient:
    client = make_client(BridgeMiddleware(Starlette(), bridge=bridge))
    client.headers.update({"sec-fetch-mode": "cors", "sec-fetch-dest": "empty"})
    client.headers["sec-fetch-site"] = "same-origin"
    return client


async def stored(outbox: SQLiteOutbox) -> list[dict[str, Any]]:
    """The bodies that wait, oldest first."""
    rows = await outbox._run(
        lambda connection: connection.execute("SELECT body FROM deliveries ORDER BY id").fetchall()
    )
    return [msgspec.json.decode(body) for (body,) in rows]


async def test_script_is_served_as_written_and_revalidated(client: httpx.AsyncClient) -> None:
    response = await client.get("/_bridge/bridge.js")
    own = b"http://127.0.0.1:9/en_US/fbevents.js"
    assert response.content == SCRIPT.replace(PIXEL_SCRIPT_URL.encode(), own)
    assert own in response.content
    assert response.headers["content-type"].startswith("text/javascript")
    assert "set-cookie" not in response.headers
    again = {"if-none-match": response.headers["etag"]}
    assert (await client.get("/_bridge/bridge.js", headers=again)).status_code == 304


async def test_identity_is_told_and_kept_from_caches(client: httpx.AsyncClient) -> None:
    response = await client.get("/_bridge/identity")
    assert response.headers["cache-control"] == "no-store"
    settings = msgspec.json.decode(response.content, type=PageSettings)
    assert settings.pixel_ids == ("1234567890123456",)
    assert settings.domain == "example.com"
    assert settings.external_id is not None
    assert len(settings.external_id) == 64
    again = msgspec.json.decode((await client.get("/_bridge/identity")).content, type=PageSettings)
    assert again == settings


async def test_collected_event_gets_the_visitors_identifiers(
    client: httpx.AsyncClient, outbox: SQLiteOutbox
) -> None:
    settings = (await client.get("/_bridge/identity")).json()
    page = {"url": "http://shop.example.com/p?a=1#top", "referrer": "https://a.example/"}
    response = await client.post(COLLECT, json={"events": [{**EVENT, **page, "age_ms": 5000}]})
    assert response.json() == {"stored": ["e-1"], "refused": []}
    [event] = await stored(outbox)
    assert event.pop("event_time") == pytest.approx(unix_now() - 5, abs=2)
    assert event == {
        "event_name": "ViewContent",
        "event_id": "e-1",
        "action_source": "website",
        "custom_data": {"content_ids": ["a"]},
        "event_source_url": "http://shop.example.com/p?a=1",
        "referrer_url": "https://a.example/",
        "user_data": {
            "external_id": [settings["x"]],
            "client_ip_address": CLIENT[0],
            "client_user_agent": client.headers["user-agent"],
            "fbp": client.cookies["_fbp"],
        },
    }


@pytest.mark.parametrize(
    "url", ["https://evil.example/", "javascript:alert(1)", "http://shop.example.com/\r\nX: y", ""]
)
async def test_page_of_another_site_is_not_believed(
    client: httpx.AsyncClient, outbox: SQLiteOutbox, url: str
) -> None:
    headers = {"referer": "http://shop.example.com/real"}
    await client.post(COLLECT, json={"events": [{**EVENT, "url": url}]}, headers=headers)
    assert (await stored(outbox))[0]["event_source_url"] == "http://shop.example.com/real"


async def test_collected_event_is_stored_once_however_often_it_is_sent(
    client: httpx.AsyncClient, outbox: SQLiteOutbox
) -> None:
    for _ in range(3):
        response = await client.post(COLLECT, json={"events": [EVENT]})
        assert response.json()["stored"] == ["e-1"]
    assert (await outbox.count()).waiting == 1


async def test_malformed_event_costs_no_other(
    client: httpx.AsyncClient, outbox: SQLiteOutbox
) -> None:
    bad = {"event_name": "Lead", "event_id": 1234}
    response = await client.post(COLLECT, json={"events": [bad, EVENT]})
    assert response.json()["stored"] == ["e-1"]
    assert "event_id" in response.json()["refused"][0]["reason"]


@pytest.mark.parametrize("contents", [5, True, 1.5, "x", {"id": 1}])
async def test_contents_of_any_kind_never_fail(client: httpx.AsyncClient, contents: Any) -> None:
    event = {**EVENT, "custom_data": {"contents": contents}}
    response = await client.post(COLLECT, json={"events": [event]})
    assert response.status_code == 200
    assert response.json()["refused"]


async def test_refused_event_is_named_and_leaves_the_others(
    client: httpx.AsyncClient, outbox: SQLiteOutbox
) -> None:
    bad = {"event_name": "Purchase", "event_id": "bad"}
    response = await client.post(COLLECT, json={"events": [bad, EVENT]})
    assert response.json() == {
        "stored": ["e-1"],
        "refused": [
            {"event_id": "bad", "reason": "custom_data.value: required for Purchase, is missing"}
        ],
    }


@pytest.mark.parametrize("state", ["sent", "blocked", "unknown"])
async def test_acknowledgement_releases_what_was_held(
    client: httpx.AsyncClient, bridge: Bridge, outbox: SQLiteOutbox, state: str
) -> None:
    from tests.factories import make_scope

    visitor = bridge.visit(make_scope())
    await bridge.track("Lead", event_id="L-1", visitor=visitor)
    due = await outbox.next_due("meta:1234567890123456")
    assert due is not None
    assert due == pytest.approx(unix_now() + 10, abs=2)
    ack = {"event_name": "Lead", "event_id": "L-1", "state": state}
    await client.post(COLLECT, json={"acks": [ack]})
    released = await outbox.next_due("meta:1234567890123456")
    assert released != pytest.approx(due, abs=1)


IDENTIFIERS = [
    "user_data",
    "external_id",
    "fbp",
    "client_ip_address",
    "event_time",
    "action_source",
]


@pytest.mark.parametrize("key", IDENTIFIERS)
async def test_identifier_in_a_body_is_refused(client: httpx.AsyncClient, key: str) -> None:
    response = await client.post(COLLECT, json={"events": [{**EVENT, key: "x"}]})
    assert response.status_code == 400
    assert key in response.json()["error"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b'"\xff"',
        b"[" * 60_000,
        b'{"events": {}}',
        b'{"events": [1]}',
        b'{"events": [{"event_name": "Lead"}]}',
        b'{"events": [{"event_name": 1, "event_id": "1"}]}',
        b'{"events": [{"event_name": "Lead", "event_id": "1", "age_ms": "x"}]}',
        b'{"acks": [{"event_name": "Lead", "event_id": "1", "state": "maybe"}]}',
        b'{"unknown": 1}',
        msgspec.json.encode({"events": [EVENT] * 51}),
        msgspec.json.encode({"events": [{**EVENT, "custom_data": {"x": "y"}}] * 51}),
    ],
)
async def test_bad_body_gets_400_with_a_reason(client: httpx.AsyncClient, body: bytes) -> None:
    response = await client.post(
        COLLECT, content=body, headers={"content-type": "application/json"}
    )
    assert response.status_code == 400
    assert response.json()["error"]


@pytest.mark.parametrize(
    ("event", "field"),
    [
        ({**EVENT, "event_name": ""}, "event_name"),
        ({**EVENT, "event_name": "x" * 101}, "event_name"),
        ({**EVENT, "event_id": ""}, "event_id"),
        ({**EVENT, "event_id": "x" * 201}, "event_id"),
        ({**EVENT, "custom_data": {"value": "1"}}, "custom_data.value"),
        ({**EVENT, "custom_data": {"value": 1e400}}, "custom_data.value"),
    ],
)
async def test_bad_event_is_refused_with_a_reason(
    client: httpx.AsyncClient, event: dict[str, Any], field: str
) -> None:
    response = await client.post(
        COLLECT,
        content=msgspec.json.encode({"events": [event]}).replace(b"null", b"1e400"),
        headers={"content-type": "application/json"},
    )
    if response.status_code == 200:
        [refused] = response.json()["refused"]
        assert refused["reason"].startswith(field)
    else:
        assert response.status_code == 400


async def test_body_over_64_kib_gets_413(client: httpx.AsyncClient) -> None:
    response = await client.post(
        COLLECT, content=b" " * (MAX_BODY + 1), headers={"content-type": "application/json"}
    )
    assert response.status_code == 413
    assert response.json()["error"]


@pytest.mark.parametrize("content_type", ["text/plain", "", "application/x-www-form-urlencoded"])
async def test_other_content_types_get_415(client: httpx.AsyncClient, content_type: str) -> None:
    response = await client.post(COLLECT, content=b"{}", headers={"content-type": content_type})
    assert response.status_code == 415


@pytest.mark.parametrize(
    "headers",
    [{"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "", "origin": "https://evil.example"}],
)
async def test_other_sites_get_403(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    response = await client.post(COLLECT, json={}, headers=headers)
    assert response.status_code == 403


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/_bridge/collect", 405),
        ("POST", "/_bridge/identity", 405),
        ("DELETE", "/_bridge/bridge.js", 405),
        ("GET", "/_bridge/../secrets", 404),
        ("GET", "/_bridge/", 404),
        ("GET", "/_bridgex", 404),
    ],
)
async def test_other_methods_and_paths_are_refused(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    assert (await client.request(method, path)).status_code == status


async def test_broken_outbox_gets_503_so_that_the_script_keeps_the_event(
    client: httpx.AsyncClient, bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*args: Any) -> list[bool]:
        raise OutboxError("disk is full")

    monkeypatch.setattr(bridge.outbox, "put", fail)
    response = await client.post(COLLECT, json={"events": [EVENT]})
    assert response.status_code == 503
