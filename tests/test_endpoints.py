"""The endpoints the script talks to."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bridge import Bridge, BridgeMiddleware, OutboxError, track
from bridge.browser import limits
from bridge.browser.reports import MAX_BODY
from bridge.browser.script_cookies import PageSettings
from bridge.enrichment import Enricher
from bridge.outbox import SQLiteOutbox
from bridge.visitor.signing import TwinQuestions
from tests.factories import (
    CLIENT,
    NAVIGATION,
    SECRET,
    make_bridge,
    make_client,
    unix_now,
)

COLLECT = "/_bridge/collect"
EVENT = {"event_name": "ViewContent", "event_id": "e-1", "custom_data": {"content_ids": ["a"]}}


@pytest.fixture
async def bridge(outbox: SQLiteOutbox) -> AsyncIterator[Bridge]:
    bridge = make_bridge(outbox, pixel_script_url="http://127.0.0.1:9/en_US/fbevents.js")
    yield bridge
    await bridge.stop(deadline=0)


SCRIPT = {"sec-fetch-mode": "cors", "sec-fetch-dest": "empty", "sec-fetch-site": "same-origin"}


async def buy(request: Request) -> Response:
    event_id = request.query_params.get("id", "A-1")
    await track("AddToCart", {"value": 5, "currency": "EUR"}, event_id=event_id)
    return Response()


def open_client(bridge: Bridge) -> httpx.AsyncClient:
    """The script in a new browser."""
    app = Starlette(routes=[Route("/buy", buy)])
    client = make_client(BridgeMiddleware(app, bridge=bridge))
    client.headers.update(SCRIPT)
    return client


@pytest.fixture
def client(bridge: Bridge) -> httpx.AsyncClient:
    return open_client(bridge)


async def stored(outbox: SQLiteOutbox) -> list[dict[str, Any]]:
    """The bodies that wait, oldest first."""
    rows = await outbox._run(
        lambda connection: connection.execute("SELECT body FROM bodies ORDER BY id").fetchall()
    )
    return [msgspec.json.decode(body) for (body,) in rows]


async def test_identity_is_answered_and_not_cached(client: httpx.AsyncClient) -> None:
    response = await client.get("/_bridge/identity")
    assert response.headers["cache-control"] == "no-store"
    settings = msgspec.json.decode(response.content, type=PageSettings)
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
    assert [c.waiting for c in (await outbox.count(unix_now(), with_delivered=True)).values()] == [
        1
    ]


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
    assert response.json() == {"stored": ["e-1"], "refused": []}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"value": 5}, {}),
        ({"value": 5, "currency": None, "mine": 1}, {"mine": 1}),
        ({"value": 5, "currency": "euro"}, {}),
        ({"value": "5.50", "currency": "EUR"}, {"value": 5.5, "currency": "EUR"}),
        ({"value": "5,50", "currency": "EUR"}, {"value": 5.5, "currency": "EUR"}),
        ({"value": "5,500", "currency": "EUR"}, {"currency": "EUR"}),
        ({"num_items": "3", "content_ids": "a"}, {"num_items": 3}),
        ({"num_items": "3.5", "content_name": 5, "mine": "3"}, {"mine": "3"}),
        ({"email": "ada@example.com", "content_name": "x"}, {"content_name": "x"}),
        ({"content_name": "x" * 5001, "order_id": 7}, {"order_id": "7"}),
    ],
)
async def test_properties_that_only_the_pixel_takes_cost_not_the_event(
    client: httpx.AsyncClient, outbox: SQLiteOutbox, given: dict[str, Any], kept: dict[str, Any]
) -> None:
    answer = await client.post(COLLECT, json={"events": [{**EVENT, "custom_data": given}]})
    assert answer.json() == {"stored": ["e-1"], "refused": []}
    assert (await stored(outbox))[0].get("custom_data", {}) == kept


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"value": 5}, "custom_data.currency: required beside value, is missing; such as EUR"),
        ({"value": -5, "currency": "EUR"}, "custom_data.value: expected a number of 0 or more"),
    ],
)
async def test_purchase_without_a_valid_value_is_still_refused(
    client: httpx.AsyncClient, given: dict[str, Any], reason: str
) -> None:
    event = {"event_name": "Purchase", "event_id": "1", "custom_data": given}
    answer = await client.post(COLLECT, json={"events": [event]})
    assert answer.json()["refused"] == [{"event_id": "1", "reason": reason}]


@pytest.mark.parametrize("half", ["\\ud83d", "\\uDE00", "\\ud83d\\ud83d\\ude00"])
async def test_text_cut_amid_an_emoji_costs_no_event(
    client: httpx.AsyncClient, outbox: SQLiteOutbox, half: str
) -> None:
    text = rf'"fern {half}", "b": "\\{half} \ud83d\ude00 \n"'
    event = f'{{"event_name": "Lead", "event_id": "half", "custom_data": {{"a": {text}}}}}'
    body = f'{{"events": [{event}, {{"event_name": "Lead", "event_id": "whole"}}]}}'
    answer = await client.post(COLLECT, content=body, headers={"content-type": "application/json"})
    assert answer.json() == {"stored": ["half", "whole"], "refused": []}
    data = (await stored(outbox))[0]["custom_data"]
    assert data["a"].startswith("fern \ufffd")
    assert data["b"].endswith(" \U0001f600 \n")


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
    await client.get("/buy")
    due = await outbox.next_due("meta:1234567890123456")
    assert due is not None
    assert due == pytest.approx(unix_now() + 10, abs=2)
    ack = {"event_name": "AddToCart", "event_id": "A-1", "state": state}
    await client.post(COLLECT, json={"acks": [ack]})
    released = await outbox.next_due("meta:1234567890123456")
    assert released != pytest.approx(due, abs=1)


IDENTIFIERS = [
    "fbp",
    "em",
    "client_ip_address",
    "event_time",
    "action_source",
]


@pytest.mark.parametrize("key", IDENTIFIERS)
async def test_identifier_in_a_body_is_refused(client: httpx.AsyncClient, key: str) -> None:
    response = await client.post(COLLECT, json={"events": [{**EVENT, key: "x"}]})
    assert response.json()["stored"] == []
    assert key in response.json()["refused"][0]["reason"]


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
        b'{"events": ["\\ud8zz"]}',
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
        ({**EVENT, "custom_data": {"value": 1e400}}, "Number out of range"),
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
    [refused] = response.json()["refused"]
    assert refused["reason"].startswith(field)


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
        ("POST", "/_bridge/twin", 405),
        ("PUT", "/_bridge/consent", 405),
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
    async def fail(*args: Any, **options: Any) -> list[bool]:
        raise OutboxError("disk is full")

    monkeypatch.setattr(bridge.outbox, "put", fail)
    response = await client.post(COLLECT, json={"events": [EVENT]})
    assert response.status_code == 503


@pytest.mark.parametrize("path", ["collect", "consent", "identity", "twin", "bridge.js", "health"])
async def test_each_path_says_which_methods_it_takes(client: httpx.AsyncClient, path: str) -> None:
    for method in ("OPTIONS", "DELETE"):
        refused = await client.request(method, f"/_bridge/{path}")
        assert refused.status_code == 405
        assert refused.json()["error"]
        assert set(refused.headers["allow"].split(", ")) in ({"POST"}, {"GET", "HEAD"})


@pytest.mark.parametrize("path", ["bridge.js", "identity", "health", "twin", "nothing"])
async def test_head_answers_as_get_does(client: httpx.AsyncClient, path: str) -> None:
    """The server in front leaves out the body."""
    got = await client.get(f"/_bridge/{path}")
    asked = await client.head(f"/_bridge/{path}")
    assert asked.status_code == got.status_code
    assert asked.headers["content-length"] == got.headers["content-length"] != "0"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "identity"), ("GET", "twin?n=Lead&i=1"), ("GET", "twin"), ("GET", "health"),
        ("GET", "nothing"), ("POST", "collect"), ("POST", "consent"), ("PUT", "collect"),
        ("OPTIONS", "collect"),
    ],
)  # fmt: skip
async def test_no_answer_is_kept_by_a_cache(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    response = await client.request(method, f"/_bridge/{path}")
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "headers",
    [{"user-agent": "Googlebot/2.1"}, {"sec-purpose": "prefetch"}],
    ids=["robot", "prefetch"],
)
async def test_robot_gets_no_identity(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    response = await client.get("/_bridge/identity", headers=headers)
    assert response.json() == {"d": "example.com", "c": "denied"}
    assert "set-cookie" not in response.headers
    answer = await client.post(COLLECT, json={"events": [EVENT]}, headers=headers)
    assert answer.json() == {"stored": ["e-1"], "refused": []}


# Names and values


async def test_custom_event_is_refused_unless_it_is_configured(
    client: httpx.AsyncClient, outbox: SQLiteOutbox
) -> None:
    events = [{**EVENT, "event_name": name, "event_id": name} for name in ("Quiz", "Lead")]
    answer = (await client.post(COLLECT, json={"events": events})).json()
    assert answer["stored"] == ["Lead"]
    [refused] = answer["refused"]
    assert refused["event_id"] == "Quiz"
    assert "custom_events" in refused["reason"]
    assert "Quiz" not in refused["reason"]
    for custom in (["Quiz"], "Quiz", "*"):
        other = make_bridge(outbox, custom_events=custom, run_sender=False)
        answer = (await open_client(other).post(COLLECT, json={"events": events})).json()
        assert answer == {"stored": ["Quiz", "Lead"], "refused": []}


async def test_any_name_is_still_a_name(outbox: SQLiteOutbox) -> None:
    client = open_client(make_bridge(outbox, custom_events="*", run_sender=False))
    events = [{**EVENT, "event_name": name} for name in ("", "x" * 101, "a\nb", "purchase")]
    answer = (await client.post(COLLECT, json={"events": events})).json()
    assert answer["stored"] == []
    assert all(refused["reason"].startswith("event_name") for refused in answer["refused"])


@pytest.mark.parametrize(
    "data",
    [
        {"value": 2**53 + 1, "currency": "EUR"},
        {"mine": 10**30},
        {"mine": [{"deep": -(10**300)}]},
        {"predicted_ltv": 1e300},
    ],
)
async def test_number_that_no_page_means_is_refused(
    client: httpx.AsyncClient, data: dict[str, Any]
) -> None:
    answer = await client.post(COLLECT, json={"events": [{**EVENT, "custom_data": data}, EVENT]})
    assert answer.json()["stored"] == ["e-1"]
    assert "number" in answer.json()["refused"][0]["reason"]


async def test_malformed_event_is_named_so_that_the_script_forgets_it(
    client: httpx.AsyncClient,
) -> None:
    bad = {**EVENT, "event_id": "bad", "fbp": "x"}
    for events in ([bad, EVENT], [bad], [{**bad, "custom_data": []}]):
        answer = await client.post(COLLECT, json={"events": events})
        assert answer.status_code == 200
        assert [each["event_id"] for each in answer.json()["refused"]] == ["bad"]
    odd_ones: list[Any] = [{"event_name": "Lead"}, {"event_id": 5}, 1, []]
    for odd in odd_ones:
        answer = await client.post(COLLECT, json={"events": [odd, EVENT]})
        assert answer.json()["stored"] == ["e-1"]
        assert [each["event_id"] for each in answer.json()["refused"]] == [""]


@pytest.mark.parametrize(("length", "leaves"), [(100, False), (30_000, True)])
async def test_long_report_is_read_beside_the_event_loop(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, *, length: int, leaves: bool
) -> None:
    threads = []
    complete = Enricher.complete

    def spy(*args: Any, **options: Any) -> Any:
        threads.append(threading.current_thread())
        return complete(*args, **options)

    monkeypatch.setattr(Enricher, "complete", spy)
    event = {"event_name": "Search", "event_id": "S-1", "custom_data": {"text": "a" * length}}
    answer = await client.post(COLLECT, json={"events": [event]})
    assert answer.json()["stored"] == ["S-1"]
    assert (threads[0] is not threading.current_thread()) == leaves


async def test_body_that_says_it_is_too_large_is_not_read(client: httpx.AsyncClient) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b""
        raise AssertionError("read")

    headers = {"content-type": "application/json", "content-length": "9" * 20}
    response = await client.post(COLLECT, content=body(), headers=headers)
    assert response.status_code == 413


# Limits


async def test_session_that_reports_too_much_gets_429(
    outbox: SQLiteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BURST_SECONDS", 20.0)
    limited = make_bridge(outbox, rate_limit=6, run_sender=False)
    client, other = open_client(limited), open_client(limited)
    for each in (client, other):
        await each.get("/_bridge/identity")
    assert (await client.post(COLLECT, json={"events": [EVENT]})).status_code == 200
    refused = await client.post(COLLECT, json={"events": [EVENT]})
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 20
    assert refused.json()["error"]
    for method, path in (("POST", "consent"), ("GET", "twin?n=Lead&i=1")):
        assert (await client.request(method, f"/_bridge/{path}")).status_code == 429
    assert (await client.get("/_bridge/identity")).status_code == 200
    assert (await other.post(COLLECT, json={"events": [EVENT]})).status_code == 200
    assert limited.counters["limited_requests"] == 3


async def test_address_without_sessions_is_limited(outbox: SQLiteOutbox) -> None:
    limited = make_bridge(outbox, rate_limit=1, run_sender=False)
    statuses = set()
    for _ in range(12):
        response = await open_client(limited).post(COLLECT, json={"acks": []})
        statuses.add(response.status_code)
        again = await open_client(limited).post(COLLECT, json={"events": [EVENT]})
        statuses.add(again.status_code)
    assert statuses == {200, 429}


# Is the event of a twin stored?


def ask(bridge: Bridge, name: str, event_id: str) -> str:
    """The address that the script asks about a twin it was sent."""
    return f"/_bridge/twin?u={bridge._visits.questions.sign(name, event_id)}"


async def test_twin_is_confirmed_while_its_event_is_stored(
    client: httpx.AsyncClient, bridge: Bridge
) -> None:
    await client.get("/buy", headers=NAVIGATION)
    answer = await client.get(ask(bridge, "AddToCart", "A-1"))
    assert (answer.status_code, answer.content) == (204, b"")
    for name, event_id in (("Purchase", "A-1"), ("AddToCart", "A-2")):
        assert (await client.get(ask(bridge, name, event_id))).status_code == 404


@pytest.mark.parametrize(
    "query", ["", "n=AddToCart&i=A-1", "u=", "u=x.y", f"u={'x' * 9000}", "u=%00.%ff", "u=é.é"]
)
async def test_only_questions_that_we_signed_are_answered(
    client: httpx.AsyncClient, query: str
) -> None:
    await client.get("/buy", headers=NAVIGATION)
    assert (await client.get(f"/_bridge/twin?{query}")).status_code == 400


async def test_question_of_another_key_is_not_answered(client: httpx.AsyncClient) -> None:
    await client.get("/buy", headers=NAVIGATION)
    question = TwinQuestions([SECRET[::-1]]).sign("AddToCart", "A-1")
    assert (await client.get(f"/_bridge/twin?u={question}")).status_code == 400


async def test_twin_of_another_sites_page_gets_403(
    client: httpx.AsyncClient, bridge: Bridge
) -> None:
    headers = {"sec-fetch-site": "cross-site"}
    assert (await client.get(ask(bridge, "Lead", "1"), headers=headers)).status_code == 403


async def test_broken_outbox_gets_503_for_a_twin(
    client: httpx.AsyncClient, bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*args: Any, **options: Any) -> None:
        raise OutboxError("disk is full")

    monkeypatch.setattr(bridge.outbox, "has", fail)
    assert (await client.get(ask(bridge, "Lead", "1"))).status_code == 503


# Other origins


WWW = "https://www.example.com"
API = "https://api.example.com"
PREFLIGHT = {
    "origin": WWW,
    "sec-fetch-site": "same-site",
    "access-control-request-method": "POST",
    "access-control-request-headers": "content-type",
}


def open_across(outbox: SQLiteOutbox, **changes: Any) -> httpx.AsyncClient:
    """The script on www.example.com, in front of us on api.example.com."""
    client = open_client(make_bridge(outbox, run_sender=False, **changes))
    client.base_url = httpx.URL(API)
    client.headers.update({"origin": WWW, "sec-fetch-site": "same-site", "referer": f"{WWW}/"})
    return client


async def test_app_and_api_on_two_subdomains_work(outbox: SQLiteOutbox) -> None:
    client = open_across(outbox, allowed_origins=[WWW])
    asked = await client.options(COLLECT, headers=PREFLIGHT)
    assert asked.status_code == 200
    assert "set-cookie" not in asked.headers
    assert "content-type" in asked.headers["access-control-allow-headers"].lower()
    assert asked.headers["access-control-allow-methods"] == "POST"
    assert asked.headers["access-control-max-age"] == "7200"
    settings = await client.get("/_bridge/identity")
    cookies = settings.headers.get_list("set-cookie")
    assert cookies
    assert all("Domain=.example.com" in cookie for cookie in cookies)
    event = {**EVENT, "url": f"{WWW}/p"}
    stored_answer = await client.post(COLLECT, json={"events": [event]})
    for answer in (asked, settings, stored_answer):
        assert answer.headers["access-control-allow-origin"] == WWW
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert "Origin" in answer.headers["vary"]
    [body] = await stored(outbox)
    assert body["event_source_url"] == f"{WWW}/p"
    assert body["user_data"]["external_id"] == [settings.json()["x"]]


@pytest.mark.parametrize(("allowed", "status"), [((), 405), (["https://shop.example.com"], 400)])
async def test_other_origins_may_not_read(outbox: SQLiteOutbox, allowed: Any, status: int) -> None:
    client = open_across(outbox, allowed_origins=allowed)
    asked = await client.options(COLLECT, headers=PREFLIGHT)
    assert asked.status_code == status
    for answer in (asked, await client.get("/_bridge/identity"), await client.post(COLLECT)):
        assert "access-control-allow-origin" not in answer.headers


async def test_refusals_can_be_read_across_origins_too(outbox: SQLiteOutbox) -> None:
    client = open_across(outbox, allowed_origins=[WWW])
    refused = await client.post(COLLECT, content=b"{}")
    assert refused.status_code == 415
    assert refused.headers["access-control-allow-origin"] == WWW
    assert refused.headers["access-control-expose-headers"] == "Retry-After"


async def test_allowed_origin_of_another_site_is_heard(outbox: SQLiteOutbox) -> None:
    client = open_across(outbox, allowed_origins=["https://shop.example.org"])
    client.headers.update({"origin": "https://shop.example.org", "sec-fetch-site": "cross-site"})
    assert (await client.post(COLLECT, json={})).status_code == 200
    client.headers["origin"] = "https://evil.example"
    assert (await client.post(COLLECT, json={})).status_code == 403


async def test_health_and_script_are_not_shared_with_credentials(outbox: SQLiteOutbox) -> None:
    client = open_across(outbox, allowed_origins=[WWW])
    assert "access-control-allow-origin" not in (await client.get("/_bridge/health")).headers
    script = await client.get("/_bridge/bridge.js")
    assert script.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in script.headers


# Did it go out?


async def test_states_are_counted_and_shown_as_shares(
    client: httpx.AsyncClient, bridge: Bridge
) -> None:
    events = [{**EVENT, "event_id": state, "state": state} for state in ("sent", "blocked")]
    acks = [
        {"event_name": "Lead", "event_id": str(i), "state": state}
        for i, state in enumerate(("sent", "unknown"))
    ]
    for _ in range(2):  # what the script repeats counts once
        await client.post(COLLECT, json={"events": [*events, EVENT]})
    await client.post(COLLECT, json={"acks": acks})
    counted = {key: n for key, n in bridge.counters.items() if key.startswith("browser.")}
    assert counted == {"browser.sent": 2, "browser.blocked": 1, "browser.unknown": 1}
    await bridge._pipeline.figures.flush()
    health = (await client.get("/_bridge/health")).json()
    # Of the acknowledged ones nothing was held, so that nobody knows whether they had a copy.
    assert health["browser"] == {"sent": 0.5, "blocked": 0.5, "unknown": 0.0}


async def test_unknown_state_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post(COLLECT, json={"events": [{**EVENT, "state": "maybe"}, EVENT]})
    assert answer.json()["stored"] == ["e-1"]
    assert len(answer.json()["refused"]) == 1


async def test_robots_states_are_not_counted(client: httpx.AsyncClient, bridge: Bridge) -> None:
    report = {
        "events": [{**EVENT, "state": "sent"}],
        "acks": [{"event_name": "Lead", "event_id": "1", "state": "sent"}],
    }
    await client.post(COLLECT, json=report, headers={"user-agent": "Googlebot/2.1"})
    assert bridge.counters["browser.sent"] == 0


# The image for visitors without JavaScript


async def test_image_counts_a_view_of_its_page(
    client: httpx.AsyncClient, bridge: Bridge, outbox: SQLiteOutbox
) -> None:
    await client.get("/page", headers=NAVIGATION)
    headers = {
        "referer": "https://shop.example.com/page",
        "sec-fetch-dest": "image",
        "sec-fetch-mode": "no-cors",
        "sec-fetch-site": "same-origin",
    }
    answer = await client.get("/_bridge/view.gif", headers=headers)
    assert (answer.headers["content-type"], answer.headers["cache-control"]) == (
        "image/gif",
        "no-store",
    )
    assert answer.content.startswith(b"GIF89a")
    assert "set-cookie" not in answer.headers
    [view] = await outbox.claim("meta:1234567890123456", 9, now=unix_now() + 60, lease=1)
    body = msgspec.json.decode(view.body)
    assert (body["event_name"], body["event_source_url"]) == ("PageView", headers["referer"])
    elsewhere = {**headers, "sec-fetch-site": "cross-site", "referer": "https://evil.example/"}
    assert (await client.get("/_bridge/view.gif", headers=elsewhere)).status_code == 403


# What a page told its pixel


@pytest.mark.parametrize(("said", "outcome"), [("pending", "skipped"), ("limited", "stored")])
async def test_words_of_the_page_hold_for_what_the_server_tracks(
    client: httpx.AsyncClient, outbox: SQLiteOutbox, said: str, outcome: str
) -> None:
    await client.get("/_bridge/identity")
    client.cookies.set("_bridge_l", said, domain="shop.example.com")
    await client.get("/buy")
    events = await stored(outbox)
    limits = [event.get("data_processing_options") for event in events]
    assert limits == ([["LDU"]] if outcome == "stored" else [])


async def test_ids_that_the_pixel_does_not_send_are_on_no_server_copy(
    client: httpx.AsyncClient, outbox: SQLiteOutbox
) -> None:
    await client.get("/_bridge/identity?fbclid=click")
    client.cookies.set("_bridge_l", "limited_", domain="shop.example.com")
    for number in range(2):
        await client.get(f"/buy?fbclid=another&id={number}")
    client.cookies.set("_bridge_l", "", domain="shop.example.com")
    await client.get("/buy?id=2")
    first, second, last = [event["user_data"] for event in await stored(outbox)]
    for each in (first, second):
        assert each.keys().isdisjoint({"fbp", "fbc"})
        assert each["external_id"] == last["external_id"]
    assert last["fbp"] == client.cookies["_fbp"]


async def test_revoke_of_a_page_takes_back_what_waits_and_no_other_word_does(
    client: httpx.AsyncClient, outbox: SQLiteOutbox
) -> None:
    await client.get("/buy")
    await client.post("/_bridge/consent", json={"state": "revoked"})  # not said in the cookie
    assert len(await stored(outbox)) == 1
    client.cookies.set("_bridge_l", "pending", domain="shop.example.com")
    await client.post("/_bridge/consent", json={"state": "revoked"})
    assert await stored(outbox) == []
    assert client.cookies["_bridge"]  # it may be granted again
    assert "_bridge_c" not in client.cookies


async def test_event_for_a_pixel_of_nobodys_is_refused(client: httpx.AsyncClient) -> None:
    events = [{**EVENT, "pixel_id": "42"}]
    answer = (await client.post(COLLECT, json={"events": events})).json()
    assert answer["stored"] == []
    assert "pixel_id" in answer["refused"][0]["reason"]


async def test_options_of_the_page_are_on_its_event(
    client: httpx.AsyncClient, outbox: SQLiteOutbox
) -> None:
    options = {
        "data_processing_options": ["LDU"],
        "data_processing_options_country": 1,
        "data_processing_options_state": 1000,
    }
    said = {**EVENT, "data_processing_options": ["LDU", 1, 1000]}
    other = {**EVENT, "event_id": "e-2"}
    strange = {**EVENT, "event_id": "e-3", "data_processing_options": ["LDU", 5, 1000]}
    answer = await client.post(COLLECT, json={"events": [said, other, strange]})
    assert [each["event_id"] for each in answer.json()["refused"]] == ["e-3"]
    limited, free = await stored(outbox)
    assert {key: limited[key] for key in options} == options
    assert options.keys().isdisjoint(free)


# Browsers without cookies


@pytest.mark.parametrize(
    ("referer", "cookies", "has_ids"),
    [
        (
            "https://shop.example.com/p",
            {},
            False,
        ),  # it refused the page's, or a cache gave the page
        ("https://shop.example.com/p", {"other": "1"}, True),
        ("https://elsewhere.example.net/", {}, True),
        ("", {}, True),
    ],
)
async def test_ids_that_no_browser_holds_are_left_out(
    client: httpx.AsyncClient,
    outbox: SQLiteOutbox,
    referer: str,
    cookies: dict[str, str],
    *,
    has_ids: bool,
) -> None:
    for name, value in cookies.items():
        client.cookies.set(name, value)
    await client.get("/buy", headers={"referer": referer})
    [event] = await stored(outbox)
    assert ("external_id" in event["user_data"]) == has_ids
    assert ("fbp" in event["user_data"]) == has_ids


async def test_one_id_holds_for_a_view_without_cookies(
    client: httpx.AsyncClient, outbox: SQLiteOutbox
) -> None:
    ours = (await client.get("/_bridge/identity")).json()["x"]
    client.cookies.clear()
    for event_id in ("e-1", "e-2"):
        event = {**EVENT, "event_id": event_id, "external_id": ours}
        await client.post(COLLECT, json={"events": [event]})
        client.cookies.clear()
    for event in await stored(outbox):
        assert event["user_data"]["external_id"] == [ours]
        assert "fbp" not in event["user_data"]
