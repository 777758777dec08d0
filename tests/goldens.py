"""Golden payloads: what the documents' tables say an event is, in Segment's words and in Meta's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bridge import Bridge, Visitor
from tests.factories import NAVIGATION, make_scope, make_visitor

FOLDER = Path(__file__).parent / "golden"
ENVELOPE: dict[str, Any] = json.loads((FOLDER / "envelope.json").read_text())


def read_cases() -> dict[str, dict[str, Any]]:
    """Every case by its name: ``said``, ``meta``, ``segment`` and ``from_meta``.

    ``said`` is how an app says it in Segment's words, ``meta`` and ``segment`` are what goes out;
    ``from_meta`` is what goes to Segment if the app says it in Meta's words, ``segment`` if that
    is missing.
    """
    files = [path for path in sorted(FOLDER.glob("*.json")) if path.name != "envelope.json"]
    return {
        f"{path.stem}: {case['meta']['event_name']} {case['case']}": case
        for path in files
        for case in json.loads(path.read_text())["cases"]
    }


CASES = read_cases()


def make_golden_visitor(bridge: Bridge, *, is_known: bool = True) -> Visitor:
    """The visitor of the goldens, logged in if ``is_known``."""
    told = ENVELOPE["visitor"]
    cookies = "; ".join(f"{name}={value}" for name, value in told["cookies"].items())
    headers = {**NAVIGATION, "cookie": cookies, "referer": told["referer"]}
    scope = make_scope(told["path"], query=told["query"].encode(), headers=headers)
    visitor = make_visitor(bridge, scope)
    if is_known:
        bridge.identify(told["user_id"], visitor=visitor, **told["user_data"])
    return visitor


def build_event(meta: dict[str, Any]) -> dict[str, Any]:
    """The whole server event of a case."""
    event = {**ENVELOPE["meta"], **meta}
    # Meta wants no empty object.
    return event if event["custom_data"] else {k: v for k, v in event.items() if k != "custom_data"}


def build_message(segment: dict[str, Any]) -> dict[str, Any]:
    """The whole message of a case, without its ``messageId``."""
    envelope = ENVELOPE["segment"]
    own: dict[str, Any]
    if segment["event"] is None:
        own = {"type": "page", "properties": {**ENVELOPE["page"]["properties"]}}
    else:
        own = {"type": "track", "event": segment["event"], "properties": {}}
    properties = {**own["properties"], **segment["properties"], **envelope["properties"]}
    return {**envelope, **own, "properties": properties}
