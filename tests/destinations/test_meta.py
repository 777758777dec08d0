from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bridge import ConfigError, UserData
from bridge.destinations import Accepted, Meta, Paused, Rejected, Retry, Verdict
from bridge.events import parse_event
from tests.factories import NOW, make_meta

TOKEN = "EAAB-very-secret"


def read(status: int, answer: Any, headers: dict[str, str] | None = None) -> Verdict:
    content = answer if isinstance(answer, bytes) else msgspec.json.encode(answer)
    return make_meta().read_response(status, headers or {}, content)


def error(code: int, subcode: int | None = None, **more: Any) -> dict[str, Any]:
    return {"error": {"message": "m", "type": "x", "code": code, "error_subcode": subcode, **more}}


def test_request_joins_ready_bodies_and_keeps_the_token_out_of_sight() -> None:
    meta = make_meta(access_token=TOKEN, test_event_code="TEST1", partner_agent="shop")
    request = meta.build_request([b'{"a":1}', b'{"a":2}'])
    assert request.url == "http://127.0.0.1:9/v26.0/1234567890123456/events"
    assert msgspec.json.decode(request.content) == {
        "data": [{"a": 1}, {"a": 2}],
        "access_token": TOKEN,
        "test_event_code": "TEST1",
        "partner_agent": "shop",
    }
    for text in (request.url, repr(request), repr(meta), str(request.headers)):
        assert TOKEN not in text


def test_event_is_encoded_with_every_required_key() -> None:
    fields = {
        "event_name": "Lead",
        "event_id": "1",
        "event_time": int(NOW),
        "action_source": "website",
    }
    event = parse_event(fields, UserData(external_id=["a" * 64], fbp="fb.1.1.2"), now=NOW)
    assert msgspec.json.decode(make_meta().encode(event)) == {
        **fields,
        "user_data": {"external_id": ["a" * 64], "fbp": "fb.1.1.2"},
    }


@pytest.mark.parametrize(
    ("status", "answer", "expected"),
    [
        pytest.param(200, {"events_received": 2, "messages": []}, Accepted, id="accepted"),
        pytest.param(200, {"events_received": 2}, Accepted, id="accepted without messages"),
        pytest.param(200, b"<html>", Retry, id="not JSON"),
        pytest.param(200, b"[" * 5000, Retry, id="nested without end"),
        pytest.param(200, b"\xff\xfe", Retry, id="not text"),
        pytest.param(200, b'{"events_received": 2', Retry, id="cut off"),
        pytest.param(200, {}, Retry, id="empty object"),
        pytest.param(502, b"Bad gateway", Retry, id="gateway"),
        pytest.param(500, error(100), Retry, id="5xx whatever the code"),
        pytest.param(429, error(100), Retry, id="429 whatever the code"),
        pytest.param(400, error(1), Retry, id="unknown error"),
        pytest.param(503, error(2), Retry, id="service down"),
        pytest.param(400, error(-1), Retry, id="negative code"),
        pytest.param(400, error(80004), Retry, id="rate limit"),
        pytest.param(400, error(100, is_transient=True), Retry, id="says it is transient"),
        pytest.param(400, {"error": {}}, Retry, id="error without a code"),
        pytest.param(403, {"error": {"message": "blocked"}}, Paused, id="a proxy's refusal"),
        pytest.param(404, error(100), Paused, id="not found"),
        pytest.param(400, error(2635), Retry, id="a code we do not know"),
        pytest.param(400, error(100, 2804003), Rejected, id="too old"),
        pytest.param(400, error(100, 2804016), Rejected, id="not hashed"),
        pytest.param(400, error(100), Rejected, id="invalid parameter"),
        pytest.param(401, error(190, 463), Paused, id="expired token"),
        pytest.param(403, error(200), Paused, id="permission"),
        pytest.param(400, error(100, 33), Paused, id="wrong pixel id"),
        pytest.param(400, error(803), Paused, id="unknown alias"),
    ],
)
def test_answer_becomes_a_verdict(status: int, answer: Any, expected: type) -> None:
    assert isinstance(read(status, answer), expected)


def test_verdict_keeps_metas_words() -> None:
    answer = error(100, 2804003, error_user_msg="Too old", fbtrace_id="Ax1")
    assert read(400, answer) == Rejected("100/2804003: Too old (fbtrace_id Ax1)")


@pytest.mark.parametrize(
    ("value", "after"),
    [("30", 30.0), ("999999", 3600.0), ("soon", None), ("-1", None), ("\u0663", None), ("", None)],
)
def test_retry_after_is_read_and_bounded(value: str, after: float | None) -> None:
    verdict = read(500, b"", {"retry-after": value})
    assert isinstance(verdict, Retry)
    assert verdict.after == after


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pixel_id": "abc"}, "pixel_id must be digits"),
        ({"pixel_id": "1/../2"}, "pixel_id must be digits"),
        ({"access_token": " "}, "access_token is empty"),
        ({"graph_url": "graph.facebook.com"}, "graph_url must start"),
        ({"api_version": "26"}, "api_version must be like"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_meta(**changes)


def test_pixel_id_may_be_a_number() -> None:
    assert Meta(123, TOKEN).name == "meta:123"
