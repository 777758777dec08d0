"""The question to Meta, asked of the sandbox and of servers that answer worse."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

import bridge.quality.question as question
from bridge.quality.question import Quality, Unanswered, ask, ask_all
from tests.factories import make_meta, unix_now
from tests.servers import Sandbox

TOKEN = "sandbox-token"


Handler = Callable[[httpx.Request], tuple[int, bytes]]


class _Body(httpx.AsyncByteStream):
    def __init__(self, content: bytes) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content


async def ask_stub(handler: Handler, **meta: Any) -> Any:
    def answer(request: httpx.Request) -> httpx.Response:
        status, content = handler(request)
        return httpx.Response(status, stream=_Body(content))

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        return await ask(client, make_meta(**meta))


async def ask_sandbox(sandbox: Sandbox, **meta: Any) -> Any:
    pixel = make_meta(graph_url=sandbox.url, **meta)
    return (await ask_all([pixel]))[pixel.name]


async def send_lead(sandbox: Sandbox) -> None:
    pixel = make_meta(graph_url=sandbox.url)
    lead = (
        b'{"event_name":"Lead","event_time":%d,"event_id":"1","action_source":"website",'
        b'"event_source_url":"https://shop.example.com/",'
        b'"user_data":{"client_user_agent":"UA","fbp":"fb.1.1790000000000.12"}}'
    )
    request = pixel.build_request([lead % unix_now()])
    async with httpx.AsyncClient() as client:
        answer = await client.post(request.url, content=request.content, headers=request.headers)
    assert answer.status_code == 200, answer.text


async def test_answer_of_the_sandbox_is_read(sandbox: Sandbox) -> None:
    await send_lead(sandbox)
    answer = await ask_sandbox(sandbox)
    assert isinstance(answer, Quality)
    [event] = answer.events
    assert (event.event_name, event.score, event.freshness) == ("Lead", 1.6, "real_time")
    assert event.read_coverage("fbp") == 100
    assert not answer.is_plain


async def test_token_is_in_the_header_only(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> tuple[int, bytes]:
        seen.append(request)
        return 200, b'{"web": []}'

    assert await ask_stub(answer, access_token="EAAsecret-token") == Quality(events=())
    [request] = seen
    assert request.method == "GET"
    assert request.headers["authorization"] == "Bearer EAAsecret-token"
    assert request.url.params["dataset_id"] == "1234567890123456"
    assert "secret" not in str(request.url)
    assert "secret" not in caplog.text


async def test_unknown_field_is_answered_by_the_plain_ones(sandbox: Sandbox) -> None:
    await send_lead(sandbox)
    await sandbox.fault("quality", unknown=["dedupe_key_feedback"])
    answer = await ask_sandbox(sandbox)
    assert isinstance(answer, Quality)
    assert answer.is_plain
    assert answer.events[0].score == 1.6


async def test_numbers_as_text_and_missing_blocks_are_read(sandbox: Sandbox) -> None:
    await send_lead(sandbox)
    await sandbox.fault("quality", as_text=True, without=["data_freshness", "coverage"])
    answer = await ask_sandbox(sandbox)
    assert (answer.events[0].score, answer.events[0].freshness) == (1.6, "")
    assert answer.events[0].read_coverage("fbp") is None


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ({"code": 190}, "token", "make a new access token"),
        ({"code": 10}, "permission", "Use events dataset"),
        ({"code": 200, "status": 403}, "permission", "before July 2025"),
        ({"code": 4}, "limit", "in an hour"),
        ({"unknown": ["event_name"], "times": 2}, "fields", "update pixel-bridge"),
        ({"truncate": 40}, "answer", "cuts"),
        ({"status": 502, "body": "<html>bad gateway"}, "answer", "ask again"),
        ({"status": 302, "headers": {"location": "/elsewhere"}, "body": ""}, "answer", "HTTP 302"),
        ({"drop": True}, "unreachable", "network"),
    ],
)
async def test_each_failure_is_told_with_its_remedy(
    sandbox: Sandbox, fault: dict[str, Any], kind: str, words: str
) -> None:
    await send_lead(sandbox)
    await sandbox.fault("quality", **fault)
    answer = await ask_sandbox(sandbox)
    assert isinstance(answer, Unanswered)
    assert answer.kind == kind
    assert words in f"{answer.reason}; {answer.remedy}"
    assert answer.is_refusal == (kind in ("token", "permission", "fields"))


async def test_dataset_of_somebody_else_is_told(sandbox: Sandbox) -> None:
    answer = await ask_sandbox(sandbox, pixel_id="77")
    assert (answer.kind, answer.is_refusal) == ("account", True)
    assert "BRIDGE_PIXEL_ID" in answer.remedy


async def test_words_of_meta_never_show_the_token(sandbox: Sandbox) -> None:
    def answer(request: httpx.Request) -> tuple[int, bytes]:
        message = f"bad token {request.headers['authorization']}"
        return 401, json.dumps({"error": {"message": message, "code": 190}}).encode()

    found = await ask_stub(answer, access_token="EAAsecret-token")
    assert found.kind == "token"
    assert "EAAsecret" not in found.reason


async def test_endless_answer_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(question, "MAX_ANSWER", 1000)
    found = await ask_stub(lambda request: (200, b"[" * 5000))
    assert found.kind == "unreachable"
    assert "more than 1000 bytes" in found.reason


async def test_slow_answer_is_given_up(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(question, "TOTAL_TIMEOUT", 0.2)
    await sandbox.fault("quality", delay=2)
    assert (await ask_sandbox(sandbox)).kind == "unreachable"


async def test_several_pixels_are_asked_at_once(sandbox: Sandbox) -> None:
    pixels = [make_meta(graph_url=sandbox.url, pixel_id=each) for each in ("1234567890123456", "5")]
    answers = await ask_all(pixels)
    assert isinstance(answers["meta:1234567890123456"], Quality)
    assert isinstance(answers["meta:5"], Unanswered)
