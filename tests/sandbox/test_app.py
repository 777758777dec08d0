"""The sandbox from the outside: its addresses, its API and its page."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from httpx import ASGITransport, AsyncClient
from playwright.async_api import Browser, expect

from bridge.sandbox import DEFAULT_ACCESS_TOKEN as TOKEN
from bridge.sandbox import DEFAULT_PIXEL_ID as ID
from bridge.sandbox import create_app
from tests.servers import DEADLINE

EVENTS = f"/v26.0/{ID}/events"


def make_event(event_id: str = "x", **changes: Any) -> dict[str, Any]:
    return {
        "event_name": "Lead",
        "event_time": int(time.time()),
        "event_id": event_id,
        "action_source": "website",
        "event_source_url": "https://shop.example.com/",
        "user_data": {"fbp": "fb.1.1790000000000.12", "client_user_agent": "UA"},
        **changes,
    }


@pytest.fixture
async def client() -> AsyncIterator[AsyncClient]:
    transport = ASGITransport(create_app(), raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://sandbox") as client:
        yield client


@pytest.mark.parametrize(
    "call",
    [
        {"params": {"access_token": TOKEN}, "json": {"data": [make_event()]}},
        {"json": {"data": [make_event()], "access_token": TOKEN}},
        {"json": {"data": [make_event()]}, "headers": {"authorization": f"Bearer {TOKEN}"}},
        {"data": {"data": json.dumps([make_event()]), "access_token": TOKEN}},
        {
            "data": {
                "data": json.dumps([json.dumps(make_event())]),
                "access_token": TOKEN,
                "test_event_code": "TEST1",
                "partner_agent": "shop_1_0",
            }
        },
        {
            "files": {"data": (None, json.dumps([make_event()])), "access_token": (None, TOKEN)},
        },
    ],
    ids=["query", "json-body", "bearer", "form", "sdk", "multipart"],
)
async def test_events_are_received(client: AsyncClient, call: dict[str, Any]) -> None:
    response = await client.post(EVENTS, **call)
    assert response.status_code == 200
    answer = response.json()
    assert answer.pop("fbtrace_id").startswith("A")
    assert answer == {"events_received": 1, "messages": []}
    report = (await client.get("/api/events")).json()
    [action] = report["actions"]
    assert action["server"][0]["event"]["event_id"] == "x"
    assert report["requests"][0]["status"] == 200


async def test_refused_batch_is_logged_and_not_recorded(client: AsyncClient) -> None:
    data = [make_event(), make_event(action_source="web")]
    response = await client.post(EVENTS, params={"access_token": TOKEN}, json={"data": data})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == 100
    report = (await client.get("/api/events")).json()
    assert report["actions"] == []
    assert report["requests"][0]["events"] == 2
    assert report["counters"]["refused_requests"] == 1


async def test_missing_token_is_answered_with_401(client: AsyncClient) -> None:
    response = await client.post(EVENTS, json={"data": [make_event()]})
    assert response.status_code == 401
    assert response.json()["error"]["type"] == "OAuthException"
    assert response.json()["error"]["code"] == 190


async def test_body_that_is_no_json_is_answered_with_400(client: AsyncClient) -> None:
    response = await client.post(EVENTS, content=b"\x00")
    assert response.status_code == 400


HIT = {"id": ID, "ev": "Lead", "eid": "x", "cd[a]": "ü"}


@pytest.mark.parametrize("path", ["/tr", "/tr/"])
@pytest.mark.parametrize(
    ("method", "call"),
    [
        ("GET", {"params": HIT}),
        ("POST", {"data": HIT}),
        ("POST", {"files": {name: (None, value) for name, value in HIT.items()}}),
        ("POST", {"params": HIT}),
    ],
    ids=["image", "form", "beacon", "query"],
)
async def test_hit_is_recorded(
    client: AsyncClient, path: str, method: str, call: dict[str, Any]
) -> None:
    response = await client.request(method, path, headers={"referer": "http://shop/"}, **call)
    assert response.headers["content-type"] == "image/gif"
    assert "no-store" in response.headers["cache-control"]
    assert response.headers["access-control-allow-origin"] == "*"
    assert response.content.startswith(b"GIF89a")
    [action] = (await client.get("/api/events")).json()["actions"]
    [hit] = action["browser"]
    assert (hit["eid"], hit["cd"], hit["method"]) == ("x", {"a": "ü"}, method)
    assert hit["referer"] == "http://shop/"


@pytest.mark.parametrize(("method", "params"), [("GET", {}), ("HEAD", HIT), ("OPTIONS", HIT)])
async def test_probe_records_nothing(
    client: AsyncClient, method: str, params: dict[str, str]
) -> None:
    assert (await client.request(method, "/tr/", params=params)).status_code == 200
    report = (await client.get("/api/events")).json()
    assert (report["actions"], report["counters"]["malformed_hits"]) == ([], 0)


async def test_hit_of_an_unknown_pixel_is_flagged(client: AsyncClient) -> None:
    await client.get("/tr/", params={"id": "1", "ev": "Lead"})
    await client.get("/tr/", params={"id": "1"})
    report = (await client.get("/api/events")).json()
    assert report["actions"][0]["counted"] == 0
    assert report["counters"]["malformed_hits"] == 1


async def test_both_copies_become_one_action(client: AsyncClient) -> None:
    await client.get("/tr/", params=HIT)
    await client.post(EVENTS, params={"access_token": TOKEN}, json={"data": [make_event()]})
    [action] = (await client.get("/api/events", params={"limit": "10"})).json()["actions"]
    assert (action["merged_by"], action["counted"]) == ("event_id", 1)


@pytest.mark.parametrize(
    ("path", "media_type", "start"),
    [
        ("/", "text/html", "<!doctype html>"),
        ("/page/page.js", "text/javascript", "/**"),
        ("/page/segment.js", "text/javascript", "/**\n * Segment's part"),
        ("/parts/elements.js", "text/javascript", "/** What"),
        ("/parts/page.css", "text/css", ":root"),
        ("/parts/icon.svg", "image/svg+xml", "<svg"),
        ("/en_US/fbevents.js", "text/javascript", "/**\n * A stand-in"),
        (f"/signals/config/{ID}?v=2", "text/javascript", "/**\n * A pixel's configuration"),
    ],
)
async def test_file_is_served(client: AsyncClient, path: str, media_type: str, start: str) -> None:
    response = await client.get(path)
    assert response.headers["content-type"].startswith(media_type)
    assert response.text.startswith(start)


async def test_reset_forgets_events_and_faults(client: AsyncClient) -> None:
    await client.get("/tr/", params=HIT)
    await client.post("/api/faults", json={"path": "tr"})
    await client.delete("/api/events")
    assert (await client.get("/api/events")).json()["actions"] == []
    assert (await client.get("/api/faults")).json() == {"faults": []}


async def test_stream_tells_of_changes(port: int) -> None:
    async with AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        async with client.stream("GET", "/api/stream", timeout=DEADLINE) as response:
            lines = response.aiter_lines()
            versions = []
            async for line in lines:
                if line.startswith("data: "):
                    versions.append(json.loads(line[6:])["version"])
                    if len(versions) == 2:
                        break
                    await client.get("/tr/", params=HIT)
        assert versions[1] > versions[0]
        await client.delete("/api/events")


async def test_page_shows_events_as_they_come_and_as_text(browser: Browser, port: int) -> None:
    url = f"http://127.0.0.1:{port}"
    markup = "<img src=x onerror='document.title=1'>"
    async with AsyncClient(base_url=url, trust_env=False) as client:
        await client.delete("/api/events")
        async with await browser.new_context() as context:
            page = await context.new_page()
            await page.goto(url)
            await expect(page.locator("#live")).to_have_text("live")
            await expect(page.locator("#empty")).to_be_visible()
            await client.get("/tr/", params={**HIT, "ev": markup})
            await expect(page.locator(".action .name")).to_have_text(markup)
            await expect(page.locator(".action .why")).to_have_text("no server copy")
            answer = await client.post(
                EVENTS,
                params={"access_token": TOKEN},
                json={"data": [make_event(event_name=markup)]},
            )
            assert answer.status_code == 200
            await expect(page.locator(".action .badge.good")).to_have_text("Merged by event_id")
            await page.locator(".action summary").click()
            await expect(page.locator(".copies pre").first).to_contain_text(markup)
            await page.locator("#reset").click()
            await expect(page.locator("#empty")).to_be_visible()
            assert await page.title() == "Sandbox events"


# Faults


async def test_fault_fails_the_next_request_and_no_other(client: AsyncClient) -> None:
    fault = {"path": "events", "status": 503, "headers": {"Retry-After": "7"}, "body": "<html>"}
    answer = await client.post("/api/faults", json=fault)
    assert answer.status_code == 201
    assert answer.json()["faults"][0]["times"] == 1
    response = await client.post(EVENTS)
    assert (response.status_code, response.text) == (503, "<html>")
    assert response.headers["retry-after"] == "7"
    assert (await client.post(EVENTS)).status_code == 401
    assert (await client.get("/api/events")).json()["counters"]["requests"] == 1


async def test_fault_answers_500_in_the_shape_of_graph_by_default(client: AsyncClient) -> None:
    await client.post("/api/faults", json={"path": "events", "times": 2})
    for _ in range(2):
        response = await client.post(EVENTS)
        assert response.status_code == 500
        assert response.json()["error"]["is_transient"] is True
    assert (await client.post(EVENTS)).status_code == 401


async def test_faults_of_a_path_queue_up_until_cleared(client: AsyncClient) -> None:
    for status, times in ((429, 1), (503, None)):
        await client.post("/api/faults", json={"path": "tr", "status": status, "times": times})
    statuses = [(await client.get("/tr/", params=HIT)).status_code for _ in range(3)]
    assert statuses == [429, 503, 503]
    assert (await client.delete("/api/faults")).json() == {"faults": []}
    assert (await client.get("/tr/", params=HIT)).status_code == 200


@pytest.mark.parametrize(
    ("path", "url"),
    [("fbevents", "/en_US/fbevents.js"), ("config", f"/signals/config/{ID}"), ("tr", "/tr")],
)
async def test_fault_is_for_its_path(client: AsyncClient, path: str, url: str) -> None:
    await client.post("/api/faults", json={"path": path, "status": 404})
    assert (await client.get("/")).status_code == 200
    assert (await client.get(url)).status_code == 404
    assert (await client.get(url)).status_code == 200


async def test_truncated_answer_is_cut_and_the_work_is_done(client: AsyncClient) -> None:
    await client.post("/api/faults", json={"path": "events", "truncate": 10})
    call: dict[str, Any] = {"params": {"access_token": TOKEN}, "json": {"data": [make_event()]}}
    response = await client.post(EVENTS, **call)
    assert response.text == '{"events_r'
    assert len((await client.get("/api/events")).json()["actions"]) == 1


@pytest.mark.parametrize(("refuse", "field"), [(1, "data[1]"), ("c", "data[2]")])
async def test_one_event_of_a_batch_can_be_refused(
    client: AsyncClient, refuse: int | str, field: str
) -> None:
    await client.post("/api/faults", json={"path": "events", "refuse": refuse})
    call: dict[str, Any] = {
        "params": {"access_token": TOKEN},
        "json": {"data": [make_event(event_id) for event_id in "abc"]},
    }
    error = (await client.post(EVENTS, **call)).json()["error"]
    assert (error["code"], error["error_data"]["blame_field_specs"]) == (100, [[field]])
    assert (await client.post(EVENTS, **call)).status_code == 200


async def test_refused_event_id_waits_for_its_batch(client: AsyncClient) -> None:
    await client.post("/api/faults", json={"path": "events", "refuse": "c"})
    for event_id, status in (("a", 200), ("c", 400), ("c", 200)):
        call: dict[str, Any] = {"json": {"data": [make_event(event_id)], "access_token": TOKEN}}
        assert (await client.post(EVENTS, **call)).status_code == status


async def test_fault_after_the_work_loses_only_the_answer(client: AsyncClient) -> None:
    await client.post("/api/faults", json={"path": "events", "status": 502, "after": True})
    call: dict[str, Any] = {"json": {"data": [make_event()], "access_token": TOKEN}}
    assert (await client.post(EVENTS, **call)).status_code == 502
    assert (await client.post(EVENTS, **call)).status_code == 200
    [action] = (await client.get("/api/events")).json()["actions"]
    assert action["repeats"] == 1


async def test_fault_can_delay_the_real_answer(client: AsyncClient) -> None:
    await client.post("/api/faults", json={"path": "tr", "delay": 0.2})
    started = time.monotonic()
    response = await client.get("/tr/", params=HIT)
    assert time.monotonic() - started >= 0.2
    assert response.content.startswith(b"GIF89a")


@pytest.mark.parametrize("after", [False, True])
async def test_fault_can_drop_the_connection(port: int, after: bool) -> None:
    async with AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        await client.delete("/api/events")
        await client.post("/api/faults", json={"path": "events", "drop": True, "after": after})
        call: dict[str, Any] = {"json": {"data": [make_event()], "access_token": TOKEN}}
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await client.post(EVENTS, **call)
        assert len((await client.get("/api/events")).json()["actions"]) == int(after)
        assert (await client.post(EVENTS, **call)).status_code == 200


async def test_fault_can_hang_until_the_client_leaves(port: int) -> None:
    async with AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        await client.post("/api/faults", json={"path": "events", "hang": True})
        with pytest.raises(httpx.ReadTimeout):
            await client.post(EVENTS, json={}, timeout=0.3)
        assert (await client.post(EVENTS, json={})).status_code == 401


@pytest.mark.parametrize(
    "fault",
    [
        {},
        {"path": "elsewhere"},
        {"path": "tr", "times": 0},
        {"path": "tr", "status": 99},
        {"path": "tr", "delay": -1},
        {"path": "tr", "surprise": True},
    ],
)
async def test_wrong_fault_is_refused_with_the_reason(
    client: AsyncClient, fault: dict[str, Any]
) -> None:
    response = await client.post("/api/faults", json=fault)
    assert response.status_code == 400
    assert response.json()["error"]
    assert (await client.get("/api/faults")).json() == {"faults": []}


async def test_many_requests_at_once_are_all_recorded(client: AsyncClient) -> None:
    await asyncio.gather(
        *(client.get("/tr/", params={**HIT, "eid": str(number)}) for number in range(50))
    )
    assert (await client.get("/api/events")).json()["counters"]["actions"] == 50


# Who may talk to it


@pytest.mark.parametrize(
    "host",
    ["sandbox", "localhost:8001", "127.0.0.1:1", "[::1]:8001", "192.168.1.5", "www.facebook.com",
     "x.localhost", "LOCALHOST."],
)  # fmt: skip
async def test_own_names_are_served(client: AsyncClient, host: str) -> None:
    assert (await client.get("/api/events", headers={"host": host})).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8001", "notfacebook.com",
     "facebook.com.evil.io", "evil.example@localhost", "", "a b"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/", "/api/events", "/tr/?id=1&ev=x", "/en_US/fbevents.js"])
async def test_foreign_host_is_refused(client: AsyncClient, host: str, path: str) -> None:
    answer = await client.get(path, headers={"host": host})
    served = host == "evil.example@localhost"  # its host is localhost, and no browser sends it
    assert answer.status_code == (200 if served else 403)


async def test_named_host_is_served() -> None:
    transport = ASGITransport(create_app(hosts=["Host.Docker.internal"]))
    async with AsyncClient(transport=transport, base_url="http://host.docker.internal") as client:
        assert (await client.get("/api/events")).status_code == 200


OTHER_SITE: list[dict[str, str]] = [
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "https://evil.example", "sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"},
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
    {"origin": "http://127.0.0.1.evil.example:8001", "sec-fetch-site": "same-site"},
    {"origin": "http://203.0.113.9"},
    {"origin": "http://[2001:db8::9]:8001"},
]


@pytest.mark.parametrize("headers", OTHER_SITE)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", EVENTS),
        ("POST", "/v1/track"),
        ("POST", "/v1/batch"),
        ("POST", "/api/faults"),
        ("DELETE", "/api/faults"),
        ("DELETE", "/api/events"),
        ("GET", "/api/events"),
        ("GET", "/api/stream"),
    ],
)
async def test_json_of_another_sites_page_is_refused(
    client: AsyncClient, method: str, path: str, headers: dict[str, str]
) -> None:
    headers = {"content-type": "text/plain", **headers}
    answer = await client.request(method, path, content=b"{}", headers=headers)
    assert answer.status_code == 403
    assert (await client.get("/api/events")).json()["requests"] == []
    assert (await client.get("/api/faults")).json() == {"faults": []}


@pytest.mark.parametrize("headers", OTHER_SITE)
async def test_pages_of_shops_may_use_the_pixel(
    client: AsyncClient, headers: dict[str, str]
) -> None:
    for path in ("/tr/?id=1&ev=PageView", "/en_US/fbevents.js", "/signals/config/1"):
        assert (await client.get(path, headers=headers)).status_code == 200


async def test_own_pages_may_use_the_api_and_links_lead_here(client: AsyncClient) -> None:
    own = {"origin": "http://localhost:8001", "sec-fetch-site": "same-origin"}
    assert (await client.delete("/api/events", headers=own)).status_code == 200
    for name in ("192.168.1.5:8001", "[fe80::1]:8001"):
        on_network = {"host": name, "origin": f"http://{name}"}
        assert (await client.delete("/api/events", headers=on_network)).status_code == 200
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert (await client.get("/", headers=link)).status_code == 200
