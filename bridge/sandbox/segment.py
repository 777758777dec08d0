"""``POST /v1/{call}`` of Segment's HTTP Tracking API: from request to messages.

Pure: takes the parts of a request, sends and records nothing.

Segment answers nearly everything with 200 and later drops what it cannot use. So there are two
results: a *refusal* (400, the whole request) and a *drop* (200, one message, with a reason).

Source: Segment, "HTTP API Source", sections Authentication, Max request size, Batch and Errors,
read 2026-11-25.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from bridge.sandbox.bodies import decompress

TYPES = ("track", "identify", "page", "screen", "group", "alias")
BATCHES = ("batch", "import")
"""``import`` "is an alias for v1/batch": segmentio/analytics-php, issue 96."""
# A KB is 1000 bytes here, as in analytics-go; analytics-python allows 32 * 1024. The smaller limit
# satisfies both.
MAX_BODY_BYTES = 32_000  # of a single call
MAX_ITEM_BYTES = 32_000  # of one message in a batch
MAX_BATCH_BYTES = 500_000  # of a batch's body
MAX_ITEMS = 2500  # messages of a batch
MAX_DEPTH = 100  # levels of nesting; our own limit, the documents have none


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A request that is answered with 200.

    Attributes:
        write_key: Of the source that it is for.
        items: The messages, as they were sent.
        type: Their type, from the path; ``None`` for a batch, where each has its own.
        shared: What a batch says for all: ``context``, ``integrations`` and ``sentAt``.
    """

    write_key: str
    items: list[Any]
    type: str | None = None
    shared: dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def drop(self) -> str | None:
        """Why all of it is dropped, ``None`` if each message is judged by itself.

        Source: "Delivery Overview", table Failed on Ingest, for ``empty_batch``; "HTTP API
        Source", Errors, for the 2500 ("returns a 200 response but rejects"), which names no code.
        """
        if not self.items:
            return "empty_batch"
        return "too_many_events" if len(self.items) > MAX_ITEMS else None


class _RawItems(msgspec.Struct):
    batch: list[msgspec.Raw] = []


def parse_call(path: str, headers: Mapping[str, str], body: bytes) -> Call | str:
    """Return what a request carries, or why it is answered with 400.

    ``path`` is its last part, one of ``TYPES`` or ``BATCHES``; ``gzip`` is unpacked, as
    analytics-python can send it.
    """
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return "Content-Type must be application/json"
    limit = MAX_BATCH_BYTES if path in BATCHES else MAX_BODY_BYTES
    if not body:
        return f"the body must be 1 to {limit} bytes"
    plain = decompress(headers.get("content-encoding", ""), body, limit, "gzip")
    if plain is None:
        return f"the body must be 1 to {limit} bytes, plain or in gzip"
    try:
        decoded = msgspec.json.decode(plain)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return f"invalid JSON: {error}"
    if not isinstance(decoded, dict):
        return "invalid JSON: expected an object"
    if _is_deep(decoded):
        return f"invalid JSON: more than {MAX_DEPTH} levels"
    write_key = _read_write_key(headers.get("authorization", ""), decoded.pop("writeKey", None))
    if not write_key:
        return "no write key: send Basic authorization with a colon after it, or writeKey"
    if path not in BATCHES:
        return Call(write_key=write_key, items=[decoded], type=path)
    return _read_batch(write_key, decoded, plain)


def _read_batch(write_key: str, decoded: dict[str, Any], plain: bytes) -> Call | str:
    items = decoded.pop("batch", [])
    if not isinstance(items, list):
        return "invalid JSON: batch must be an array"
    try:
        raw = msgspec.json.decode(plain, type=_RawItems).batch
    except msgspec.DecodeError as error:  # a repeated key is decoded twice
        return f"invalid JSON: {error}"
    for index, item in enumerate(raw):
        if len(bytes(item)) > MAX_ITEM_BYTES:
            return f"batch[{index}] must be at most {MAX_ITEM_BYTES} bytes"
    return Call(write_key=write_key, items=items, shared=decoded)


def _read_write_key(authorization: str, in_body: Any) -> str:
    """Return the caller's write key, ``""`` if there is none.

    An empty one is answered with 400, a wrong one with 200: segmentio/analytics-go, issue 205, and
    segmentio/analytics-ruby, issue 136 ("the tracking API ... doesn't do any validation").
    "Include a colon before encoding": without it, or with a password, a header names no key here.
    Which one wins if header and body differ is not documented; here the header does.
    """
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() == "basic":
        try:
            name = base64.b64decode(credentials.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError, ValueError):
            return ""
        return name[:-1] if name.find(":") == len(name) - 1 else ""
    return in_body if isinstance(in_body, str) else ""


def walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield each value inside ``value`` that is neither object nor array, with its path.

    A path is like ``"traits.address.city"``.
    """
    waiting = [("", value)]
    while waiting:
        path, item = waiting.pop()
        if isinstance(item, dict):
            waiting.extend((f"{path}.{key}".lstrip("."), inner) for key, inner in item.items())
        elif isinstance(item, list):
            waiting.extend((f"{path}[{index}]", inner) for index, inner in enumerate(item))
        else:
            yield path, item


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for outer in level
            for item in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(item, (dict, list))
        ]
        if not level:
            return False
    return True
