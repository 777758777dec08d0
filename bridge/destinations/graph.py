"""Graph's answers as verdicts: by code and subcode, with the pauses that Meta asks for.

One bad event fails all: "the entire request is rejected". Messages come in the caller's language,
so nothing depends on them.

Source: Meta, "Graph API: Handling Errors", "Marketing API: Error Codes", "Using the API" and
"Graph API: Rate Limits", read 2026-11-24. Meta publishes no list of the Conversions API's
subcodes; under code 100 all that were seen, except 33, are about an event.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from bridge.destinations.base import Accepted, Paused, Rejected, Retry, Verdict
from bridge.destinations.http import MAX_RETRY_AFTER, clean_words, read_retry_after

MAX_REASON = 500  # characters of Meta's words that are kept
MAX_TRACE = 100  # characters of Meta's name for the exchange
LIMIT_PAUSE = 60.0  # seconds after a rate limit that does not say how long; the full tier's block
BLOCK_PAUSE = 300.0  # seconds after a temporary block: "wait and retry"
NEAR_LIMIT = 80.0  # per cent of a rate limit from which we slow down
MAX_USAGE_HEADER = 8192  # characters
_USAGE_HEADERS = ("x-business-use-case-usage", "x-app-usage", "x-ad-account-usage")
_PERCENT_KEYS = frozenset({"call_count", "total_time", "total_cputime", "acc_id_util_pct"})

_Kind = Literal["transient", "limit", "block", "event", "token", "permission", "account", "version"]

# What an error is about, by code. 80000 to 80014 are a business use case's limits.
_CODES: dict[_Kind, tuple[int, ...]] = {
    "transient": (1, 2, 5000),
    "limit": (4, 17, 32, 341, 613, 80000, 80003, 80004, 80014),
    "block": (368, 1404078, 2859015, 3910001),  # for a policy, temporarily
    "event": (100,),  # invalid parameter
    "account": (803,),  # unknown alias
    "token": (102, 104, 190),  # session invalid; bad signature; expired, revoked or malformed
    "permission": (3, 10, 294),  # and 200 to 299
    "version": (2500, 2635),  # unknown path components; deprecated
}
VERDICTS = {code: kind for kind, codes in _CODES.items() for code in codes}
NO_OBJECT = (100, 33)  # code and subcode: a wrong pixel id, or the token is not assigned to it
ADVICE = {
    "token": "make a new access token in Events Manager, and set BRIDGE_ACCESS_TOKEN",
    "permission": "give the token's system user access to the pixel, in Business Settings",
    "account": "check BRIDGE_PIXEL_ID, and that the token belongs to this pixel",
    "version": "set BRIDGE_API_VERSION to a version that Meta still serves",
    "parameter": "check BRIDGE_TEST_EVENT_CODE and BRIDGE_PARTNER_AGENT",
    "unknown": "look the code up in Meta's list of errors",
}


class _GraphError(NamedTuple):
    code: int
    error_subcode: int | None
    words: str
    is_transient: bool
    error_data: Any
    fbtrace_id: str

    def describe(self, secret: str) -> str:
        """Return Meta's message on one line, without the token, which it may quote."""
        words = clean_words(self.words, MAX_REASON, secret=secret)
        trace = clean_words(self.fbtrace_id or "?", MAX_TRACE, secret=secret)
        number = f"{self.code}/{self.error_subcode}" if self.error_subcode else str(self.code)
        return f"{number}: {words} (fbtrace_id {trace})"


class Refusal(NamedTuple):
    """Why Graph does not answer a question.

    Attributes:
        kind: ``token``, ``permission``, ``account``, ``limit`` and so on; ``event`` is an invalid
            parameter.
        code: Graph's error code.
        reason: Code and Meta's words, without the token.
    """

    kind: str
    code: int
    reason: str


class Usage(NamedTuple):
    """What Meta's usage headers say.

    Attributes:
        percent: The most used of all limits; over 100 is blocked.
        regain: Seconds until a blocked caller may call again; 0 if not blocked.
    """

    percent: float = 0.0
    regain: float = 0.0


def read_answer(status: int, headers: Mapping[str, str], content: bytes, *, secret: str) -> Verdict:
    """Return what an answer of Graph means for the whole request; never raises.

    An answer that is not Graph's JSON came from something in between, and counts as transient.
    ``secret`` is the access token, which must not be shown.
    """
    usage = read_usage(headers)
    after = read_retry_after(headers)
    if after is None and usage.regain:
        after = min(usage.regain, MAX_RETRY_AFTER)
    try:
        # The standard decoder accepts half a surrogate pair, which must not hide the error.
        answer = json.loads(content.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        answer = None
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(answer, dict) or not isinstance(error, dict | None):
        return Retry(f"HTTP {status} without Graph's JSON", after)
    if error is not None:
        return _judge(_read_error(error), status, after, secret)
    received = _read_whole(answer.get("events_received"))
    if status == 200 and received is not None:
        return Accepted(_slow_down(usage), received)
    return Retry(f"HTTP {status} without events_received", after)


def read_refusal(status: int, content: bytes, *, secret: str) -> Refusal | None:
    """Return the error in an answer of Graph; ``None`` if it holds none. Never raises."""
    try:
        answer = json.loads(content.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, dict):
        return None
    found = _read_error(error)
    return Refusal(_classify(found, status), found.code, found.describe(secret))


def _read_error(error: dict[str, Any]) -> _GraphError:
    """Return Graph's error; a field of another type counts as missing."""
    return _GraphError(
        code=_read_whole(error.get("code")) or 0,
        error_subcode=_read_whole(error.get("error_subcode")),
        words=_read_text(error.get("error_user_msg")) or _read_text(error.get("message")),
        is_transient=error.get("is_transient") in (True, "true"),
        error_data=error.get("error_data"),
        fbtrace_id=_read_text(error.get("fbtrace_id")),
    )


def _read_whole(value: Any) -> int | None:
    """Return a whole number of at most 18 digits, which may come as text or as a float."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    text = str(int(value) if isinstance(value, float) and value.is_integer() else value)
    return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else None


def _read_text(value: Any) -> str:
    return str(value) if isinstance(value, int | float | str) else ""


def _judge(error: _GraphError, status: int, after: float | None, secret: str) -> Verdict:
    reason = error.describe(secret)
    kind = _classify(error, status)
    match kind:
        case "transient":
            return Retry(reason, after)
        case "limit":
            return Retry(reason, LIMIT_PAUSE if after is None else after)
        case "block":
            return Retry(reason, max(BLOCK_PAUSE, after or 0.0))
        case "event":
            return Rejected(reason, tuple(_read_blamed(error.error_data)))
        case _:
            return Paused(reason, kind, ADVICE[kind])


def _classify(error: _GraphError, status: int) -> str:
    kind: str | None = VERDICTS.get(error.code)
    if (error.code, error.error_subcode) == NO_OBJECT:
        kind = "account"
    if error.is_transient or status >= 500 or status == 429:
        return kind if kind in ("limit", "block") else "transient"
    if kind == "event":
        if status != 400:
            return "unknown" if status in (401, 403, 404) else "transient"
        # If something besides ``data`` is blamed, splitting would bury one event after another.
        paths = list(_list_paths(error.error_data))
        return "event" if not paths or any(p.startswith("data") for p in paths) else "parameter"
    if kind is not None:
        return kind
    if error.code < 0:
        return "transient"
    if 200 <= error.code < 300:
        return "permission"
    # An unknown code is no verdict on an event: nothing is buried for it.
    return "unknown" if status in (401, 403, 404) else "transient"


def _list_paths(error_data: Any) -> Iterator[str]:
    """Yield the blamed paths, such as ``data[3][user_data]``; at most a thousand."""
    specs = error_data.get("blame_field_specs") if isinstance(error_data, dict) else None
    for spec in specs[:1000] if isinstance(specs, list) else ():
        for path in spec[:1] if isinstance(spec, list) else (spec,):
            if isinstance(path, str):
                yield path


def _read_blamed(error_data: Any) -> list[int]:
    """Return the positions of the blamed events, each once, lowest first."""
    matches = (re.match(r"data\[(\d{1,4})\]", path) for path in _list_paths(error_data))
    return sorted({int(match[1]) for match in matches if match})


def read_usage(headers: Mapping[str, str]) -> Usage:
    """Return how much of its limits Meta says we have used.

    ``estimated_time_to_regain_access`` counts minutes, ``reset_time_duration`` seconds.

    Source: Meta, "Graph API: Rate Limits", Headers, read 2026-11-24.
    """
    percent = regain = 0.0
    for name in _USAGE_HEADERS:
        text = headers.get(name, "")
        if not text or len(text) > MAX_USAGE_HEADER:
            continue
        try:
            figures = msgspec.json.decode(text)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            continue
        for usage in _list_objects(figures):
            used = max((_number(usage.get(key)) for key in _PERCENT_KEYS), default=0.0)
            regain = max(regain, 60 * _number(usage.get("estimated_time_to_regain_access")))
            if used >= 100:
                regain = max(regain, _number(usage.get("reset_time_duration")))
            percent = max(percent, used)
    return Usage(percent, regain)


def _list_objects(figures: Any) -> Iterator[dict[str, Any]]:
    """Yield the objects with figures: the whole, or those in lists by business id."""
    if not isinstance(figures, dict):
        return
    yield figures
    for value in figures.values():
        for item in value if isinstance(value, list) else ():
            if isinstance(item, dict):
                yield item


def _number(value: Any) -> float:
    """Return ``value`` if it is a number from 0 to a million, else 0."""
    usable = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if usable and 0 <= value <= 1_000_000 else 0.0


def _slow_down(usage: Usage) -> float:
    """Return the seconds to wait after a success: none below 80 %, up to a minute at 100 %."""
    if usage.regain:
        return min(usage.regain, MAX_RETRY_AFTER)
    over = max(0.0, min(usage.percent, 100.0) - NEAR_LIMIT)
    return LIMIT_PAUSE * over / (100.0 - NEAR_LIMIT)
