"""``POST /{version}/{pixel_id}/events`` of Meta's Graph API: from request to verdict.

Pure: takes the parts of a request and the time, sends and records nothing.

Source: Meta, "Using the API" and "Main Body Parameters", read 2026-11-23.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec

from bridge.sandbox.bodies import decompress, parse_form
from bridge.sandbox.event_rules import check_event
from bridge.sandbox.kinds import (
    LIST,
    OBJECT,
    STRING,
    TEXT,
    UNSIGNED,
    all_of,
    check_object,
    matching,
)
from bridge.sandbox.refusal import Refusal

LATEST_VERSION = (26, 0)
OLDEST_VERSION = (21, 0)  # v20.0 ended 2026-09-24
MAX_EVENTS = 1000  # events of one request
MAX_BODY_BYTES = 64 * 1024 * 1024  # our own limit, after decompression: Meta publishes none

_VERSION = re.compile(r"v(\d{1,3})\.(\d)")
KINDS = {
    **all_of(LIST, "data", "platforms"),
    **all_of(TEXT, "test_event_code", "partner_agent", "access_token"),
    **all_of(STRING, "namespace_id", "upload_id", "upload_tag", "upload_source"),
    "progress": OBJECT,
    "trace": UNSIGNED,
    "appsecret_proof": matching("64 lower-case hex digits", r"[0-9a-f]{64}"),
}
JSON_FIELDS = ("data", "platforms", "progress", "trace")
"""Fields that a form carries as JSON text."""


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted request: its events, and the warnings for each."""

    events: list[dict[str, Any]]
    warnings: list[list[str]]


def parse_body(content_type: str, content_encoding: str, body: bytes) -> dict[str, Any] | Refusal:
    """Return the parameters in a request body, JSON or form, gzip or not.

    Source: Meta, "Using the API" shows form fields with ``data`` as JSON text and one JSON body;
    Meta's own SDK sends ``data`` as a list of JSON strings.
    """
    plain = decompress(content_encoding, body, MAX_BODY_BYTES, "gzip", "deflate")
    if plain is None:
        return Refusal(message=f"The body is not {content_encoding}, or is too large")
    if not plain:
        return {}
    if content_type.lower().startswith(
        ("multipart/form-data", "application/x-www-form-urlencoded")
    ):
        try:
            params: dict[str, Any] = dict(parse_form(content_type, plain))
        except ValueError as error:
            return Refusal(message=f"The form cannot be read: {error}")
    else:
        decoded = _parse_json(plain)
        if not isinstance(decoded, dict):
            return Refusal(message="The body must be a JSON object or a form")
        params = decoded
    for key in JSON_FIELDS:
        if isinstance(params.get(key), str):
            params[key] = _parse_json(params[key].encode())
    if isinstance(params.get("data"), list):
        params["data"] = [
            _parse_json(item.encode()) if isinstance(item, str) else item for item in params["data"]
        ]
    return params


def judge(
    version: str,
    pixel_id: str,
    params: Mapping[str, Any],
    token: str | None,
    *,
    pixel_ids: Collection[str],
    access_token: str,
    now: float,
) -> Accepted | Refusal:
    """Return whether Meta would accept this request, which it does as a whole or not at all.

    The caller gave ``version`` and ``pixel_id`` in the path, ``params`` in query and body, and
    ``token``; the pixels ``pixel_ids`` exist, and ``access_token`` may write to them.

    Source: Meta, "Using the API": if any event is invalid, the entire batch is rejected.
    """
    refusal = check_caller(version, pixel_id, token, pixel_ids, access_token)
    return refusal or judge_params(params, now)


def check_caller(
    version: str,
    pixel_id: str,
    token: str | None,
    pixel_ids: Collection[str],
    access_token: str,
    *,
    method: str = "post",
) -> Refusal | None:
    """Return why Graph does not listen to this caller; ``None`` if it does."""
    return next(_check_call(version, pixel_id, token, pixel_ids, access_token, method), None)


def judge_params(params: Mapping[str, Any], now: float) -> Accepted | Refusal:
    """Return whether Meta would accept these parameters of a caller who may send."""
    refusal = next(_check_params(params), None)
    if refusal is not None:
        return refusal
    all_warnings = []
    for index, event in enumerate(params["data"]):
        warnings = []
        for finding in check_event(event, f"data[{index}]", now):
            if isinstance(finding, Refusal):
                return finding
            warnings.append(finding)
        all_warnings.append(warnings)
    return Accepted(events=params["data"], warnings=all_warnings)


def _check_call(
    version: str,
    pixel_id: str,
    token: str | None,
    pixel_ids: Collection[str],
    access_token: str,
    method: str,
) -> Iterator[Refusal]:
    """Source: Meta, "Graph API: Versioning" and "Graph API: Handling Errors"."""
    match = _VERSION.fullmatch(version)
    number = (int(match[1]), int(match[2])) if match else None
    if number is None or number > LATEST_VERSION:
        yield Refusal(code=2500, message=f"Unknown path components: /{version}")
    elif number < OLDEST_VERSION:
        message = f"You are calling a deprecated version, {version}: update to v26.0"
        yield Refusal(code=2635, message=message)
    if token != access_token:
        message = "Invalid OAuth access token - Cannot parse access token"
        if token is None:
            message = "An access token is required"
        yield Refusal(status=401, code=190, message=message)
    if pixel_id not in pixel_ids:
        yield Refusal(
            subcode=33,
            type="GraphMethodException",
            message=(
                f"Unsupported {method} request. Object with ID '{pixel_id}' does not exist, "
                "cannot be loaded due to missing permissions, or does not support this operation"
            ),
        )


def _check_params(params: Mapping[str, Any]) -> Iterator[Refusal]:
    """Source: Meta, "Main Body Parameters"."""
    if "data" not in params:
        yield Refusal(message="Param data is required", field="data")
    yield from check_object(params, KINDS, "$")
    if not 1 <= len(params["data"]) <= MAX_EVENTS:
        message = f"Param data must have 1 to {MAX_EVENTS} events, got {len(params['data'])}"
        yield Refusal(message=message, field="data")


def _parse_json(raw: bytes) -> Any:
    """Return the decoded value, or ``None`` (of no kind that is allowed) if it is not JSON."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
