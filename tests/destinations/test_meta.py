from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import ConfigError, UserData
from bridge.destinations import Accepted, Meta, Paused, Rejected, Retry, Verdict
from bridge.destinations.base import FAULTS
from bridge.destinations.graph import ADVICE
from bridge.events.event import parse_event
from tests.factories import NOW, make_meta

TOKEN = "EAAB-very-secret"
KEYS = (
    "error",
    "code",
    "error_subcode",
    "message",
    "error_data",
    "blame_field_specs",
    "fbtrace_id",
)
HEADERS = ("retry-after", "date", "x-app-usage", "x-business-use-case-usage")


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
        pytest.param(400, error(12345), Retry, id="a code we do not know"),
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


@pytest.mark.parametrize(
    ("code", "subcode", "status", "fault"),
    [
        (190, 463, 401, "token"),
        (102, None, 400, "token"),
        (10, None, 403, "permission"),
        (200, None, 403, "permission"),
        (299, None, 403, "permission"),
        (294, None, 400, "permission"),
        (100, 33, 400, "account"),
        (803, None, 404, "account"),
        (2635, None, 400, "version"),
        (2500, None, 400, "version"),
        (12345, None, 403, "unknown"),
    ],
)
def test_refusal_says_what_is_at_fault_and_what_to_do(
    code: int, subcode: int | None, status: int, fault: str
) -> None:
    verdict = read(status, error(code, subcode))
    assert isinstance(verdict, Paused)
    assert verdict.fault == fault
    assert fault in FAULTS
    assert verdict.advice


def test_verdict_keeps_metas_words_on_one_line() -> None:
    answer = error(100, 2804003, error_user_msg="Too\nold", fbtrace_id="Ax1")
    assert read(400, answer) == Rejected("100/2804003: Too old (fbtrace_id Ax1)")
    long = read(400, error(100, error_user_msg="x" * 10_000, fbtrace_id="y" * 10_000))
    assert isinstance(long, Rejected)
    assert len(long.reason) < 700


def test_token_that_meta_quotes_is_taken_out() -> None:
    answer = error(190, message=f"Malformed access token {TOKEN}")
    verdict = make_meta(access_token=TOKEN).read_response(401, {}, msgspec.json.encode(answer))
    assert isinstance(verdict, Paused)
    assert verdict.reason == "190: Malformed access token [access token] (fbtrace_id ?)"


@pytest.mark.parametrize("text", [TOKEN, f"token={TOKEN[:13]}...", TOKEN.replace("-", "%2D")])
@pytest.mark.parametrize("field", ["message", "error_user_msg", "fbtrace_id"])
def test_token_is_taken_out_of_every_field(field: str, text: str) -> None:
    answer = error(190)
    answer["error"][field] = f"see {text}"
    content = msgspec.json.encode(answer)
    verdict = make_meta(access_token=TOKEN).read_response(401, {}, content)
    assert isinstance(verdict, Paused)
    assert TOKEN[:12] not in verdict.reason
    assert "[access token]" in verdict.reason


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(
            '{"error":{"code":190,"message":null,"is_transient":null,"fbtrace_id":null}}',
            Paused("190:  (fbtrace_id ?)", "token", ADVICE["token"]),
            id="nulls",
        ),
        pytest.param(
            '{"error":{"code":"190","error_subcode":"463","message":{},"fbtrace_id":17}}',
            Paused("190/463:  (fbtrace_id 17)", "token", ADVICE["token"]),
            id="numbers as text, text as a number",
        ),
        pytest.param(
            '{"error":{"code":100,"error_subcode":[],"message":"a \\ud800 b","x":"\\udc00"}}',
            Rejected("100: a   b (fbtrace_id ?)"),
            id="half a surrogate pair",
        ),
        pytest.param(
            '{"error":{"code":100.0,"message":"a","error_data":"\\ud800"}}',
            Rejected("100: a (fbtrace_id ?)"),
            id="code with a point",
        ),
        pytest.param('{"error":{"code":true}}', Retry("0:  (fbtrace_id ?)"), id="code of no kind"),
        pytest.param('{"error":"no"}', Retry("HTTP 400 without Graph's JSON"), id="error as text"),
        pytest.param("[1]", Retry("HTTP 400 without Graph's JSON"), id="a list"),
    ],
)
def test_error_with_fields_of_odd_types_is_still_understood(
    content: str, expected: Verdict
) -> None:
    assert read(400, content.encode()) == expected


@pytest.mark.parametrize(
    ("told", "received"), [("0", 0), ("-3", -3), ("2", 2), ('"2"', 2), ("2.0", 2)]
)
def test_accepted_says_how_many_events_were_received(told: str, received: int) -> None:
    assert read(200, b'{"events_received":%s}' % told.encode()) == Accepted(received=received)


@pytest.mark.parametrize("told", ["null", "true", "[]", '"many"', "1.5", "1e999", "9" * 5000])
def test_success_without_a_number_is_none(told: str) -> None:
    assert isinstance(read(200, b'{"events_received":%s}' % told.encode()), Retry)


@pytest.mark.parametrize(
    ("specs", "blamed"),
    [
        ([["data[3][user_data][em]"]], (3,)),
        ([["data[3]"], ["data[0]"], ["data[3][event_time]"]], (0, 3)),
        (["data[7]"], (7,)),
        ([["data"]], ()),
        ([["data[x]"]], ()),
        ([["data[-1]"]], ()),
        ([["data[99999999999999999999]"]], ()),
        ([[3]], ()),
        ([[]], ()),
        ("data[3]", ()),
        (None, ()),
    ],
)
def test_blamed_events_are_read(specs: Any, blamed: tuple[int, ...]) -> None:
    verdict = read(400, error(100, 2804003, error_data={"blame_field_specs": specs}))
    assert isinstance(verdict, Rejected)
    assert verdict.blamed == blamed


@pytest.mark.parametrize("error_data", ["text", 5, [], {"blame_field_specs": {"a": 1}}])
def test_error_data_of_any_shape_is_no_hint(error_data: Any) -> None:
    assert isinstance(read(400, error(100, error_data=error_data)), Rejected)


def test_blame_beside_the_events_buries_none() -> None:
    """A bad test_event_code is refused with every event: each would become a dead letter."""
    answer = error(100, error_data={"blame_field_specs": [["test_event_code"]]})
    verdict = read(400, answer)
    assert isinstance(verdict, Paused)
    assert verdict.fault == "parameter"


@pytest.mark.parametrize(
    ("value", "after"),
    [
        ("30", 30.0),
        (" 30 ", 30.0),
        ("999999", 3600.0),
        ("9" * 5000, 3600.0),
        ("soon", None),
        ("-1", None),
        ("\u0663", None),
        ("", None),
        ("Tue, 24 Nov 2026 10:01:00 GMT", 60.0),
        ("Tue, 24 Nov 2026 09:00:00 GMT", 0.0),
        ("Tue, 24 Nov 2099 09:00:00 GMT", 3600.0),
        ("Tue, 99 Nov 2026 10:01:00 GMT", None),
        ("Tue, 24 Nov 2026 10:01:00", None),
    ],
)
def test_retry_after_is_read_and_bounded(value: str, after: float | None) -> None:
    headers = {"retry-after": value, "date": "Tue, 24 Nov 2026 10:00:00 GMT"}
    verdict = read(500, b"", headers)
    assert isinstance(verdict, Retry)
    assert verdict.after == after


def test_retry_after_as_a_date_counts_for_nothing_without_one_to_measure_by() -> None:
    verdict = read(500, b"", {"retry-after": "Tue, 24 Nov 2099 10:01:00 GMT"})
    assert verdict == Retry("HTTP 500 without Graph's JSON", None)


@pytest.mark.parametrize(
    ("headers", "after"),
    [
        ({}, 0.0),
        ({"x-app-usage": {"call_count": 79, "total_time": 25, "total_cputime": 25}}, 0.0),
        ({"x-app-usage": {"call_count": 10, "total_time": 90, "total_cputime": 25}}, 30.0),
        ({"x-app-usage": {"call_count": 100}}, 60.0),
        ({"x-app-usage": {"call_count": 5000}}, 60.0),
        ({"x-ad-account-usage": {"acc_id_util_pct": 95.0, "reset_time_duration": 100}}, 45.0),
        ({"x-ad-account-usage": {"acc_id_util_pct": 100, "reset_time_duration": 100}}, 100.0),
        ({"x-business-use-case-usage": {"1": [{"call_count": 90}], "2": [{}]}}, 30.0),
        (
            {
                "x-business-use-case-usage": {
                    "1": [{"call_count": 1, "estimated_time_to_regain_access": 5}]
                }
            },
            300.0,
        ),
        ({"x-business-use-case-usage": {"1": [{"estimated_time_to_regain_access": 1e9}]}}, 0.0),
        ({"x-business-use-case-usage": {"1": [{"estimated_time_to_regain_access": 900}]}}, 3600.0),
        ({"x-app-usage": {"call_count": "100"}}, 0.0),
        ({"x-app-usage": {"call_count": True}}, 0.0),
        ({"x-app-usage": [100]}, 0.0),
        ({"x-app-usage": {"1": {"call_count": 100}}}, 0.0),
    ],
)
def test_usage_near_a_limit_slows_down(headers: dict[str, Any], after: float) -> None:
    told = {name: msgspec.json.encode(value).decode() for name, value in headers.items()}
    assert read(200, {"events_received": 1}, told) == Accepted(after, received=1)


@pytest.mark.parametrize(
    "text", ["", "{", "nonsense", "[" * 5000, '{"call_count":1e999}', "\ud800"]
)
def test_usage_that_cannot_be_read_counts_for_nothing(text: str) -> None:
    assert read(200, {"events_received": 1}, {"x-app-usage": text}) == Accepted(received=1)


@pytest.mark.parametrize(
    ("code", "headers", "after"),
    [
        (4, {}, 60.0),
        (613, {"retry-after": "5"}, 5.0),
        (
            80004,
            {"x-business-use-case-usage": '{"1":[{"estimated_time_to_regain_access":2}]}'},
            120,
        ),
        (368, {}, 300.0),
        (368, {"retry-after": "900"}, 900.0),
        (2, {}, None),
    ],
)
def test_limits_and_blocks_are_waited_out(
    code: int, headers: dict[str, str], after: float | None
) -> None:
    verdict = read(400, error(code), headers)
    assert isinstance(verdict, Retry)
    assert verdict.after == after


@given(
    status=st.integers(100, 599),
    content=st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from([*KEYS, "x"]), inner, max_size=5)
        ),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode()),
    headers=st.dictionaries(st.sampled_from(HEADERS), st.text(max_size=60), max_size=3),
)
def test_no_answer_raises(status: int, content: bytes, headers: dict[str, str]) -> None:
    assert isinstance(
        make_meta().read_response(status, headers, content), Accepted | Retry | Rejected | Paused
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pixel_id": "abc"}, "pixel_id must be digits"),
        ({"pixel_id": "1/../2"}, "pixel_id must be digits"),
        ({"access_token": " "}, "access_token is empty"),
        ({"graph_url": "graph.facebook.com"}, "graph_url must be like"),
        ({"graph_url": "http://127.0.0.1:99999"}, "graph_url must be like"),
        ({"graph_url": "http://127.0.0.1:0"}, "graph_url must be like"),
        ({"graph_url": "http://[::1"}, "graph_url must be like"),
        ({"graph_url": "https://"}, "graph_url must be like"),
        ({"graph_url": "https://graph.example/?a=1"}, "graph_url must be like"),
        ({"graph_url": "https://graph.example/#"}, "graph_url must be like"),
        ({"graph_url": "https://graph\u2028.example"}, "graph_url must be like"),
        ({"api_version": "26"}, "api_version must be like"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_meta(**changes)


SECRET_VALUE = "EAAGm0PX4ZCpsBAK" + "Zb9" * 30


@pytest.mark.parametrize(
    "changes",
    [{"pixel_id": SECRET_VALUE}, {"api_version": SECRET_VALUE}, {"graph_url": SECRET_VALUE}],
    ids=str,
)
def test_token_in_the_wrong_place_is_not_shown(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="got 106 characters") as caught:
        make_meta(**changes)
    assert SECRET_VALUE[:8] not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://user:hunter2@127.0.0.1:9",
        "http://hunter2@127.0.0.1:99999",
        "ftp://user:hunter2@graph.example",
        "https://graph.example?access_token=hunter2",
    ],
)
def test_password_in_the_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_meta(graph_url=url)
    assert "hunter2" not in str(caught.value)


def test_pixel_id_may_be_a_number() -> None:
    assert Meta(123, TOKEN).name == "meta:123"


def test_token_of_a_function_is_the_last_one_that_it_gave() -> None:
    given: list[Any] = ["first-token-1234"]

    def find() -> str:
        if isinstance(given[0], Exception):
            raise given[0]
        return str(given[0])

    meta = make_meta(access_token=find)
    assert meta.is_renewable
    assert not meta.renew()
    for failure in (OSError("first-token-1234 cannot be read"), "", "  "):
        given[0] = failure
        assert not meta.renew()
        assert b"first-token-1234" in meta.build_request([b"{}"]).content
    given[0] = "second-token-123\n"
    assert meta.renew()
    content = json.loads(meta.build_request([b"{}"]).content)
    assert content["access_token"] == "second-token-123"
    # An answer to the request before may still come, and quote its token.
    words = json.dumps(error(190, message="first-token-1234 and second-token-123")).encode()
    verdict = meta.read_response(401, {}, words)
    assert isinstance(verdict, Paused)
    assert "token-1" not in verdict.reason
    assert not make_meta().is_renewable


def test_token_that_cannot_be_read_is_a_mistake() -> None:
    def fail() -> str:
        raise FileNotFoundError(2, "No such file or directory", "/run/secrets/meta")

    with pytest.raises(ConfigError, match=r"access_token cannot be read: .*/run/secrets/meta"):
        make_meta(access_token=fail)
    with pytest.raises(ConfigError, match="access_token is empty"):
        make_meta(access_token=lambda: " ")


def test_refused_token_of_a_function_is_to_be_replaced_where_it_comes_from(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("token")
    refusal = msgspec.json.encode(error(190))
    for token, words in (
        (file.read_text, f"write it to {file}"),
        (lambda: "token", "write it to the place that access_token= reads"),
        ("token", "set BRIDGE_ACCESS_TOKEN"),
    ):
        verdict = make_meta(access_token=token).read_response(401, {}, refusal)
        assert isinstance(verdict, Paused)
        assert verdict.advice == f"make a new access token in Events Manager, and {words}"
