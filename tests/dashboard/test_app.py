"""The dashboard's addresses: figures, what is stored, the two buttons, and who is refused."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from httpx import AsyncClient

from bridge.dashboard import LocalGuard, QualityDesk, create_app, quality
from bridge.errors import OutboxError
from bridge.outbox import SQLiteOutbox
from bridge.outbox.base import Figure
from tests.dashboard.shelf import CURRENCY, DEST, HASH, MARKUP, bury, fill, make_delivery, today
from tests.factories import make_meta
from tests.servers import Sandbox

OWN = {"sec-fetch-site": "same-origin"}


def make_client(app: Any) -> AsyncClient:
    return AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8002")


@pytest.fixture
async def client(outbox: SQLiteOutbox) -> AsyncIterator[AsyncClient]:
    await fill(outbox)
    async with make_client(LocalGuard(create_app(outbox, [DEST]))) as client:
        yield client


async def ask(client: AsyncClient, path: str, **params: Any) -> dict[str, Any]:
    answer = await client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_overview_sums_up_the_days(client: AsyncClient) -> None:
    overview = await ask(client, "/api/overview", days=7)
    assert [row["event_name"] for row in overview["rows"]] == ["Purchase", MARKUP]
    purchase = overview["rows"][0]
    assert (purchase["stored"], purchase["expected"], purchase["copies"]["sent"]) == (12, 8, 6)
    assert (purchase["value"], purchase["coverage"]["fbp"]) == ({"EUR": 59.5}, 10)
    assert purchase["median_delay"] == 12.0
    assert overview["total"]["stored"] == 16
    assert overview["skipped"] == {"consent_denied": 11}
    assert [point["stored"] for point in overview["series"]][-2:] == [2, 14]
    assert len(overview["series"]) == 30
    [destination] = overview["destinations"]
    assert (destination["waiting"], destination["held"], destination["dead"]) == (2, 1, 3)
    assert (destination["circuit"], destination["is_configured"]) == ("closed", True)


async def test_overview_is_of_the_days_and_names_asked_for(client: AsyncClient) -> None:
    assert (await ask(client, "/api/overview", days=1))["total"]["stored"] == 14
    assert (await ask(client, "/api/overview", days=90))["total"]["stored"] == 25
    assert (await ask(client, "/api/overview", name=MARKUP))["total"]["stored"] == 4
    assert (await ask(client, "/api/overview", destination="meta:2"))["rows"] == []
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    overview = await ask(client, "/api/overview", day=yesterday)
    assert (overview["total"]["stored"], overview["days"]) == (2, [yesterday, yesterday])


async def test_overview_reads_the_days_asked_for_and_those_of_the_chart(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: set[int] = set()
    figures = SQLiteOutbox.figures

    async def note(self: SQLiteOutbox, since: int, until: int) -> list[Figure]:
        read.update(range(since, until + 1))
        return await figures(self, since, until)

    monkeypatch.setattr(SQLiteOutbox, "figures", note)
    day = (datetime.now(UTC) - timedelta(days=40)).date().isoformat()
    overview = await ask(client, "/api/overview", day=day)
    assert (overview["total"]["stored"], len(overview["series"])) == (9, 30)
    assert read == {today() - 40, *range(today() - 29, today() + 1)}
    overview = await ask(client, "/api/overview", day=day, days=90)
    assert len(overview["series"]) == 90


async def test_all_who_look_share_an_answer_until_a_button_is_pressed(
    client: AsyncClient, outbox: SQLiteOutbox
) -> None:
    paths = ("/api/overview", "/api/events", "/api/dead")
    before = [await ask(client, path) for path in paths]
    await bury(outbox, CURRENCY, make_delivery("A-9"))
    assert [await ask(client, path) for path in paths] == before
    chosen = {"destination": DEST, "event_name": "Purchase", "event_id": "A-9"}
    await client.post("/api/dead/delete", json=chosen, headers=OWN)
    after = [await ask(client, path) for path in paths]
    assert all(after[at]["now"] > before[at]["now"] for at in (0, 1))


async def test_destination_that_is_gone_is_told_of(outbox: SQLiteOutbox) -> None:
    await outbox.put([make_delivery("X", destination="meta:gone")], time.time())
    async with make_client(create_app(outbox, [DEST])) as client:
        states = (await ask(client, "/api/overview"))["destinations"]
    assert {each["name"]: each["is_configured"] for each in states} == {
        DEST: True,
        "meta:gone": False,
    }


@pytest.mark.parametrize(
    ("params", "ids"),
    [
        ({}, ["L-1", "A-1", "A-2", "V-2", "=V-1"]),
        ({"state": "held"}, ["=V-1"]),
        ({"state": "waiting"}, ["V-2"]),
        ({"state": "dead", "name": "Lead"}, ["L-1"]),
        ({"source": "app"}, ["=V-1"]),
        ({"q": "a-"}, ["A-1", "A-2"]),
        ({"problems": 1}, ["L-1", "A-1", "A-2"]),
        ({"destination": "meta:2"}, []),
        ({"limit": 2, "offset": 3}, ["V-2", "=V-1"]),
        ({"day": "today"}, ["L-1", "A-1", "A-2", "V-2", "=V-1"]),
    ],
)
async def test_stored_events_are_found(
    client: AsyncClient, params: dict[str, Any], ids: list[str]
) -> None:
    if "day" in params:
        params = {"day": datetime.now(UTC).date().isoformat()}
    page = await ask(client, "/api/events", **params)
    assert sorted(each["event_id"] for each in page["events"]) == sorted(ids)
    assert page["total"] == (len(ids) if "limit" not in params else 5)
    assert page["is_all"]


async def test_event_shows_what_is_stored_of_it(client: AsyncClient) -> None:
    answer = await client.get("/api/event", params={"id": "A-1"})
    for private in (HASH, "93.184.216.34", "Linux"):
        assert private not in answer.text
    [event] = answer.json()["events"]
    assert (event["state"], event["attempts"], event["reason"]) == ("dead", 1, CURRENCY)
    assert event["payload"]["user_data"]["em"] == ["aaaaaaaa…"]
    [waiting] = (await ask(client, "/api/event", id="V-2"))["events"]
    assert (waiting["event_name"], waiting["state"]) == (MARKUP, "waiting")


async def test_delivered_event_is_known_by_its_key(
    client: AsyncClient, outbox: SQLiteOutbox
) -> None:
    await outbox.put([make_delivery("D-1")], time.time())
    claimed = await outbox.claim(DEST, 10, now=time.time(), lease=60)
    await outbox.ack([each for each in claimed if each.event_id == "D-1"], time.time())
    found = await ask(client, "/api/event", id="D-1")
    assert (found["events"], found["delivered_as"]) == ([], ["Purchase"])
    assert (await ask(client, "/api/event", id="never"))["delivered_as"] == []


async def test_dead_letters_are_grouped_and_tried_again(
    client: AsyncClient, outbox: SQLiteOutbox
) -> None:
    await bury(outbox, CURRENCY.replace("[0]", "[17]"), make_delivery("A-3", expires=1.0))
    groups = (await ask(client, "/api/dead"))["groups"]
    assert [(each["count"], each["names"]) for each in groups] == [(3, ["Purchase"]), (1, ["Lead"])]
    chosen = {"destination": DEST, "group": groups[0]["group"]}
    answer = await client.post("/api/dead/retry", json=chosen, headers=OWN)
    assert answer.json() == {"revived": 2, "too_old": 1, "left": 0, "is_all": True}
    assert {each.delivery.event_id for each in await outbox.list_dead()} == {"A-3", "L-1"}


async def test_one_dead_letter_is_deleted(client: AsyncClient, outbox: SQLiteOutbox) -> None:
    chosen = {"destination": DEST, "event_name": "Purchase", "event_id": "A-1"}
    answer = await client.post("/api/dead/delete", json=chosen, headers=OWN)
    assert answer.json() == {"deleted": 1, "left": 0, "is_all": True}
    assert {each.delivery.event_id for each in await outbox.list_dead()} == {"A-2", "L-1"}


@pytest.mark.parametrize(
    "path",
    [
        "/api/overview?days=0", "/api/overview?days=91", "/api/overview?days=x",
        "/api/overview?day=yesterday", "/api/overview?day=1999-01-01",
        "/api/overview?day=9999-01-01",
        "/api/event?id=%00", "/api/event?id=a%0Ab", "/api/dead?destination=%00",
        "/api/events?destination=%00", "/api/overview?name=%7F",
        "/api/events?state=lost", "/api/events?problems=perhaps", "/api/event", "/api/event?id=",
    ],
)  # fmt: skip
async def test_question_that_makes_no_sense_is_400(client: AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 400
    assert answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b"{}", 400),
        (b'{"destination":"x"}', 400),
        (b'{"destination":"x","group":"a","event_id":"b","event_name":"c"}', 400),
        (b'{"destination":"x","group":"a","everything":true}', 400),
        (b'{"destination":"\\u0000","group":"a"}', 400),
        (b'{"destination":"x","event_id":"\\u0000","event_name":"c"}', 400),
        (b'{"destination":"x","event_id":"b","event_name":"c\\n"}', 400),
        (b'{"destination":"x","group":"a","most":0}', 400),
        (b" " * 9000, 413),
    ],
)
async def test_body_that_makes_no_sense_is_refused(
    client: AsyncClient, body: bytes, status: int
) -> None:
    headers = {**OWN, "content-type": "application/json"}
    for path in ("/api/dead/retry", "/api/dead/delete"):
        assert (await client.post(path, content=body, headers=headers)).status_code == status


async def test_form_is_refused(client: AsyncClient) -> None:
    headers = {**OWN, "content-type": "text/plain"}
    answer = await client.post("/api/dead/delete", content=b"{}", headers=headers)
    assert answer.status_code == 415


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:8003"},
        {"sec-fetch-site": "cross-site", "origin": "http://127.0.0.1:8002"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
    ],
)
async def test_post_of_another_page_is_refused(
    client: AsyncClient, outbox: SQLiteOutbox, headers: dict[str, str]
) -> None:
    chosen = {"destination": DEST, "event_name": "Purchase", "event_id": "A-1"}
    for path in ("/api/dead/retry", "/api/dead/delete"):
        assert (await client.post(path, json=chosen, headers=headers)).status_code == 403
    assert len(await outbox.list_dead()) == 3


async def test_older_browser_proves_its_page_by_origin(client: AsyncClient) -> None:
    chosen = {"destination": DEST, "event_name": "Purchase", "event_id": "A-1"}
    headers = {"origin": "http://127.0.0.1:8002"}
    answer = await client.post("/api/dead/retry", json=chosen, headers=headers)
    assert answer.json() == {"revived": 1, "too_old": 0, "left": 0, "is_all": True}


async def test_page_of_another_site_reads_nothing_but_may_link_here(client: AsyncClient) -> None:
    for mode in ("cors", "no-cors"):
        headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": mode}
        assert (await client.get("/api/overview", headers=headers)).status_code == 403
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert (await client.get("/", headers=link)).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "192.168.1.5", "", "a b"],
)  # fmt: skip
async def test_foreign_host_is_refused(client: AsyncClient, host: str) -> None:
    for path in ("/", "/api/overview", "/page/page.js"):
        assert (await client.get(path, headers={"host": host})).status_code == 403


@pytest.mark.parametrize("host", ["localhost:8002", "127.0.0.1", "[::1]:8002", "x.localhost"])
async def test_own_host_is_served(client: AsyncClient, host: str) -> None:
    assert (await client.get("/", headers={"host": host})).status_code == 200


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/", "text/html"),
        ("/event", "text/html"),
        ("/page/page.js", "text/javascript"),
        ("/page/event.js", "text/javascript"),
        ("/parts/json.js", "text/javascript"),
        ("/parts/page.css", "text/css"),
        ("/parts/icon.svg", "image/svg+xml"),
    ],
)
async def test_file_is_served(client: AsyncClient, path: str, media_type: str) -> None:
    answer = await client.get(path)
    assert answer.headers["content-type"].startswith(media_type)
    assert answer.headers["x-content-type-options"] == "nosniff"
    if media_type == "text/html":
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy


async def test_unknown_path_is_404(client: AsyncClient) -> None:
    for path in ("/page/../page.js", "/static/bridge.js", "/api/nothing"):
        assert (await client.get(path)).status_code == 404


async def test_broken_outbox_is_503(outbox: SQLiteOutbox, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> Any:
        raise OutboxError("disk is gone")

    monkeypatch.setattr(SQLiteOutbox, "figures", fail)
    async with make_client(create_app(outbox)) as client:
        answer = await client.get("/api/overview")
    assert (answer.status_code, "disk is gone" in answer.json()["error"]) == (503, True)


async def test_quality_is_asked_for_where_it_can_be(outbox: SQLiteOutbox) -> None:
    async def tell() -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"rows": [{"event_name": "Purchase", "score": 7.1}]}

    async def fail() -> dict[str, Any]:
        raise TimeoutError

    for asked, answer in (
        (None, {"asked": False}),
        (tell, {"asked": True, "rows": [{"event_name": "Purchase", "score": 7.1}]}),
        (fail, {"asked": True, "error": "Meta could not be asked; the log says why"}),
    ):
        async with make_client(create_app(outbox, ask_quality=asked)) as client:
            assert await ask(client, "/api/quality") == answer


async def test_meta_is_asked_about_each_pixel_once_for_all_who_look(
    outbox: SQLiteOutbox, sandbox: Sandbox
) -> None:
    pixel = make_meta(graph_url=sandbox.url)
    user_data = {"em": [HASH], "client_user_agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"}
    events = [
        {
            "event_name": "Purchase",
            "event_time": int(time.time()),
            "event_id": f"A-{number}",
            "action_source": "website",
            "event_source_url": "https://shop.example.com/",
            "user_data": user_data,
            "custom_data": {"value": 5, "currency": "EUR"},
        }
        for number in range(6)
    ]
    async with AsyncClient() as meta:
        request = pixel.build_request([json.dumps(event).encode() for event in events])
        await meta.post(request.url, content=request.content, headers=dict(request.headers))
    desk = QualityDesk.of(outbox, [pixel])
    async with make_client(create_app(outbox, ask_quality=desk)) as client:
        answers = await asyncio.gather(*(ask(client, "/api/quality") for _ in range(3)))
        await sandbox.reset()
        answers.append(await ask(client, "/api/quality"))  # kept
    assert all(each == answers[0] for each in answers)
    [row] = answers[0]["rows"]
    assert (row["event_name"], row["freshness"]) == ("Purchase", "real time")
    assert row["score"] is not None
    assert row["advice"]


async def test_refusal_of_meta_is_told_with_what_to_do(
    outbox: SQLiteOutbox, sandbox: Sandbox
) -> None:
    refused = make_meta(graph_url=sandbox.url, access_token="wrong-token-1234")
    async with make_client(
        create_app(outbox, ask_quality=QualityDesk.of(outbox, [refused]))
    ) as client:
        answer = await ask(client, "/api/quality")
    assert answer["rows"] == []
    assert "BRIDGE_ACCESS_TOKEN" in answer["error"]
    assert "wrong-token" not in answer["error"]
    assert QualityDesk.of(outbox, []) is None


async def test_broken_outbox_is_told_without_asking_meta_and_kept_for_a_while(
    outbox: SQLiteOutbox, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    async def fail(*_: object) -> Any:
        read.append(1)
        raise OutboxError("disk is gone")

    async def ask_meta(*_: object) -> Any:
        raise AssertionError("Meta was asked")

    monkeypatch.setattr(SQLiteOutbox, "figures", fail)
    monkeypatch.setattr(quality, "ask_all", ask_meta)
    desk = QualityDesk.of(outbox, [make_meta(graph_url=sandbox.url)])
    async with make_client(create_app(outbox, ask_quality=desk)) as client:
        answers = [await ask(client, "/api/quality") for _ in range(3)]
    assert answers[0]["error"] == "the outbox cannot be read: disk is gone"
    assert (answers[1:], len(read)) == ([answers[0]] * 2, 1)


async def test_failure_to_ask_meta_is_kept_for_a_while(
    outbox: SQLiteOutbox, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    async def fail(*_: object) -> Any:
        asked.append(1)
        raise RuntimeError

    monkeypatch.setattr(quality, "ask_all", fail)
    desk = QualityDesk.of(outbox, [make_meta(graph_url=sandbox.url)])
    async with make_client(create_app(outbox, ask_quality=desk)) as client:
        answers = [await ask(client, "/api/quality") for _ in range(3)]
    assert answers[0]["error"] == "Meta could not be asked; the log says why"
    assert (answers[1:], len(asked)) == ([answers[0]] * 2, 1)


async def test_dead_letters_of_one_reason_are_one_row_whatever_meta_numbers(
    outbox: SQLiteOutbox,
) -> None:
    for number in range(3):
        reason = f"100: Param data[{number}] is refused (fbtrace_id A{number}bPGn-FOD_{number}x)"
        await bury(outbox, reason, make_delivery(f"A-{number}"))
    async with make_client(create_app(outbox)) as client:
        [group] = (await ask(client, "/api/dead"))["groups"]
    assert (group["count"], "fbtrace" in group["reason"]) == (3, False)
