"""Segment's tracking API from the outside: one row per rule, named after its page."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from httpx import ASGITransport, AsyncClient, Response

from bridge.sandbox import DEFAULT_WRITE_KEY as KEY
from bridge.sandbox import create_app

BATCH = "/v1/batch"


def make_message(**changes: Any) -> dict[str, Any]:
    """Return a valid track message; a key that is given ``...`` is left out."""
    message = {
        "type": "track",
        "event": "Order Completed",
        "anonymousId": "a-1",
        "messageId": "11111111-1111-1111-1111-111111111111",
        **changes,
    }
    return {key: value for key, value in message.items() if value is not ...}


class Caller:
    """A client of the sandbox, and what the sandbox says it got from it."""

    def __init__(self, client: AsyncClient) -> None:
        self.client = client

    async def post(self, body: Any, path: str = BATCH, **headers: str) -> Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {name.replace("_", "-"): value for name, value in headers.items() if value}
        if "content_type" not in headers:
            sent["content-type"] = "application/json"
        return await self.client.post(path, content=content, headers=sent)

    async def send(self, *messages: Any, **batch: Any) -> list[dict[str, Any]]:
        """Send a batch, and return what became of its messages, in their order."""
        answer = await self.post({"writeKey": KEY, "batch": messages, **batch})
        assert (answer.status_code, answer.json()) == (200, {"success": True})
        newest: list[dict[str, Any]] = (await self.read())["messages"][: len(messages)]
        return newest[::-1]

    async def read(self) -> dict[str, Any]:
        report: dict[str, Any] = (await self.client.get("/api/events")).json()["segment"]
        return report


@pytest.fixture
async def caller() -> AsyncIterator[Caller]:
    transport = ASGITransport(create_app(), raise_app_exceptions=True)
    async with AsyncClient(transport=transport, base_url="http://sandbox") as client:
        yield Caller(client)


def basic(credentials: str) -> str:
    return "Basic " + base64.b64encode(credentials.encode()).decode()


@pytest.mark.parametrize(
    ("in_body", "header", "status", "reason"),
    [
        (KEY, "", 200, None),
        (None, basic(f"{KEY}:"), 200, None),
        (KEY, "Bearer token", 200, None),
        ("another", "", 200, "project_not_found"),
        (None, basic("another:"), 200, "project_not_found"),
        (KEY, basic("another:"), 200, "project_not_found"),
        (None, "", 400, None),
        ("", "", 400, None),
        (7, "", 400, None),
        (None, basic(KEY), 400, None),
        (None, basic(f"{KEY}:password"), 400, None),
        (None, "Basic ###", 400, None),
        (None, "Bearer token", 400, None),
    ],
)
async def test_write_key(
    caller: Caller, in_body: Any, header: str, status: int, reason: str | None
) -> None:
    body = {"batch": [make_message()], "writeKey": in_body}
    answer = await caller.post(body, authorization=header)
    assert answer.status_code == status
    assert answer.json()["success"] is (status == 200)
    report = await caller.read()
    assert [message["reason"] for message in report["messages"]] == [reason] * (status == 200)
    assert report["counters"]["refused_requests"] == (status == 400)
    assert KEY not in json.dumps(report)


async def test_gzip_is_undone(caller: Caller) -> None:
    body = gzip.compress(json.dumps({"writeKey": KEY, "batch": [make_message()]}).encode())
    answer = await caller.post(body, content_encoding="gzip")
    assert answer.status_code == 200
    assert [m["verdict"] for m in (await caller.read())["messages"]] == ["accepted"]
