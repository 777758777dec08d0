"""What the events page is told: states, problems, the summary, the search, and what to change."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from httpx import ASGITransport, AsyncClient

from bridge.sandbox import DEFAULT_ACCESS_TOKEN as TOKEN
from bridge.sandbox import DEFAULT_PIXEL_ID as ID
from bridge.sandbox import create_app
from bridge.sandbox.copies import Copy, build_server_copy, hash_external_ids, parse_hit
from bridge.sandbox.ledger import Ledger
from bridge.sandbox.report import Search

MARIA = "fb.1.1790000000000.1"
JONAS = "fb.1.1790000000000.2"
[EMAIL] = hash_external_ids(["maria@example.com"])


def hit(name: str, event_id: str, now: float, fbp: str = MARIA) -> Copy:
    params = {"id": ID, "ev": name, "eid": event_id, "fbp": fbp, "dl": "https://shop.example.com/"}
    copy = parse_hit(params, "GET", {}, now)
    assert copy is not None
    return copy


def server(
    name: str, event_id: str, now: float, fbp: str = MARIA, source: str = "website", **data: Any
) -> Copy:
    user_data = {"fbp": fbp, "em": [EMAIL], "client_ip_address": "2001:db8::1"}
    event = {
        "event_name": name,
        "event_id": event_id,
        "action_source": source,
        "user_data": user_data,
        "custom_data": data,
    }
    return build_server_copy(ID, event, [], now)


def browse(*copies: Copy, **search: Any) -> dict[str, Any]:
    ledger = Ledger()
    for copy in copies:
        ledger.add(copy)
    return ledger.report(search=Search(**search))


def test_coverage_and_summary_count_server_copies() -> None:
    report = browse(
        hit("Lead", "1", 1), server("Lead", "1", 2), hit("Lead", "2", 3), server("Buy", "3", 4)
    )
    lead, buy = sorted(report["names"], key=lambda row: -row["actions"])
    assert lead["event_name"] == "Lead"
    assert (lead["actions"], lead["merged"], lead["browser_only"], lead["with_server"]) == (
        *(2, 1, 1, 1),
    )
    assert lead["coverage"] == {"em": 1, "fbp": 1, "client_ip_address": 1, "ipv6": 1}
    assert (buy["unclear"], buy["problems"], lead["problems"]) == (1, 0, 1)


@pytest.mark.parametrize(
    ("copies", "state"),
    [
        ([server("Buy", "1", 5, source="physical_store")], "none_expected"),
        ([server("Buy", "1", 5)], "server_only"),
        ([hit("View", "0", 1), server("Buy", "1", 5)], "unclear"),
        ([hit("View", "0", 1), server("Buy", "1", 5), hit("View", "2", 9)], "none_expected"),
        ([hit("View", "0", 1), server("Buy", "1", 5000), hit("View", "2", 5009)], "none_expected"),
        ([hit("View", "0", 1), server("Buy", "0", 5), server("Refund", "1", 90_000)], "unclear"),
        ([hit("View", "0", 1, JONAS), server("Buy", "1", 5), hit("View", "2", 9, JONAS)],
         "server_only"),
        ([hit("View", "0", 1), hit("Buy", "other", 4), server("Buy", "1", 5), hit("View", "2", 9)],
         "server_only"),
        ([hit("View", "0", 1), server("Buy", "1", 5), hit("View", "2", 9000)], "unclear"),
        ([hit("View", "0", 1), server("Add", "3", 4), server("Buy", "1", 5), hit("View", "2", 9)],
         "unclear"),
        ([hit("View", "0", 1), server("PageView", "2", 4), server("Buy", "1", 5)], "server_only"),
        ([hit("View", "0", 1), server("Buy", "1", 5), server("PageView", "2", 6)], "server_only"),
        ([hit("View", "0", 1), server("PageView", "1", 5), hit("View", "2", 9)], "server_only"),
    ],
    ids=["till", "blocked", "has-not-been-back", "webhook", "webhook-before-a-visit", "refund",
         "of-another", "other-id", "later", "two-webhooks", "blocked-before", "blocked-after",
         "page"],
)  # fmt: skip
def test_missing_browser_copy_is_told_from_one_that_cannot_be(
    copies: list[Copy], state: str
) -> None:
    [action] = [action for action in browse(*copies)["actions"] if action["event_id"] == "1"]
    assert action["state"] == state
    assert ("none expected" in action["why_not"]) == (state == "none_expected")
    assert ("a webhook's event has none" in action["why_not"]) == (state == "unclear")
    assert bool(action["problems"]) == ("other" in str(action["why_not"]))


def test_repeats_are_counted_in_words() -> None:
    for times, words in ((2, "sent again 1 time"), (3, "sent again 2 times")):
        [action] = browse(hit("Buy", "1", 1), *[server("Buy", "1", 2)] * times)["actions"]
        assert action["problems"] == [words]


VISITS = [
    hit("View", "v-1", 1),
    server("View", "v-1", 2),
    hit("View", "v-2", 3, JONAS),
    server("Purchase", "evt-9", 4, order_id="A-77", value=5),
    server("Call", "c-1", 5, JONAS, source="phone_call"),
]


@pytest.mark.parametrize(
    ("search", "ids"),
    [
        ({}, ["c-1", "evt-9", "v-2", "v-1"]),
        ({"name": "View"}, ["v-2", "v-1"]),
        ({"source": "phone_call"}, ["c-1"]),
        ({"state": "merged"}, ["v-1"]),
        ({"problems": True}, ["v-2"]),
        ({"q": "a-77"}, ["evt-9"]),
        ({"q": "V-"}, ["v-2", "v-1"]),
        ({"q": " Maria@Example.com "}, ["c-1", "evt-9", "v-1"]),
        ({"q": JONAS}, ["c-1", "v-2"]),
        ({"q": "nobody"}, []),
        ({"visitor": MARIA}, ["v-1", "evt-9"]),
        ({"visitor": "x"}, []),
    ],
)
def test_search_finds(search: dict[str, Any], ids: list[str]) -> None:
    report = browse(*VISITS, **search)
    assert [action["event_id"] for action in report["actions"]] == ids
    assert report["total"] == len(ids)
    assert len(report["names"]) == 3


@pytest.fixture
async def client() -> AsyncIterator[AsyncClient]:
    async with AsyncClient(transport=ASGITransport(create_app()), base_url="http://box") as client:
        yield client


async def test_pages_follow_each_other(client: AsyncClient) -> None:
    for number in range(5):
        await client.get("/tr/", params={"id": ID, "ev": "Lead", "eid": str(number)})
    pages = [
        (await client.get("/api/events", params={"limit": 2, "offset": offset})).json()
        for offset in (0, 2, 4, 6)
    ]
    ids = [[action["event_id"] for action in page["actions"]] for page in pages]
    assert ids == [["4", "3"], ["2", "1"], ["0"], []]
    assert {page["total"] for page in pages} == {5}


@pytest.mark.parametrize("query", ["state=unheard", "problems=perhaps"])
async def test_search_that_makes_no_sense_is_refused(client: AsyncClient, query: str) -> None:
    answer = await client.get(f"/api/events?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]


@pytest.mark.parametrize(
    ("changes", "field", "remedy"),
    [
        ({"user_data": {"em": "maria@example.com"}}, "data[0][user_data][em]", "identify(email=…)"),
        ({"event_time": 1}, "data[0][event_time]", "within 7 days"),
        ({"action_source": "web"}, "data[0][action_source]", "Meta's words"),
        ({"colour": "red"}, "data[0][colour]", "no such key"),
        ({"event_name": "Purchase"}, "data[0][custom_data][value]", "its value"),
    ],
)
async def test_refused_request_names_field_and_remedy(
    client: AsyncClient, changes: dict[str, Any], field: str, remedy: str
) -> None:
    event = {
        "event_name": "Lead",
        "event_time": int(time.time()),
        "event_id": "x",
        "action_source": "website",
        "event_source_url": "https://shop.example.com/",
        "user_data": {"fbp": MARIA, "client_user_agent": "UA"},
        **changes,
    }
    url = f"/v26.0/{ID}/events"
    await client.post(url, params={"access_token": TOKEN}, json={"data": [event]})
    [request] = (await client.get("/api/events")).json()["requests"]
    assert request["field"] == field
    assert remedy in request["remedy"]
    assert request["event"] == event


async def test_token_of_ones_own_is_not_shown() -> None:
    app = create_app(access_token="EAAG-a-real-one")
    async with AsyncClient(transport=ASGITransport(app), base_url="http://box") as client:
        answer = await client.post(f"/v26.0/{ID}/events", json={"data": []})
        assert answer.status_code == 401
        page = await client.get("/api/events")
    assert page.json()["requests"][0]["remedy"].startswith("Give the app the token")
    assert "EAAG" not in page.text


async def test_page_runs_no_code_but_its_files(client: AsyncClient) -> None:
    answer = await client.get("/")
    policy = answer.headers["content-security-policy"].split("; ")
    assert policy[:3] == ["default-src 'none'", "script-src 'self'", "style-src 'self'"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert "<script>" not in answer.text
    assert "style=" not in answer.text


async def test_faults_are_told_and_announced(client: AsyncClient) -> None:
    await client.post("/api/faults", json={"path": "events", "delay": 8})
    assert (await client.get("/api/events")).json()["faults"][0]["delay"] == 8
