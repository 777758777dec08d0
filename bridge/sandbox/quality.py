"""``GET /{version}/dataset_quality``: what Meta's Dataset Quality API says of what arrived. Pure.

The answer covers the actions that the ledger keeps, not seven days. ``composite_score`` is this
sandbox's own: Meta publishes no weights, and counts how many people it found, which nobody else
can know. Here each identifier adds its ``WEIGHTS``, times its coverage; all of them make 10. It
shows whether a program reads the score, and that more identifiers make it higher; no more.

What needs Meta's knowledge of other advertisers (``acr``, ``…_aly_acr_increase``) may be asked for
and is missing, as it is for a young dataset.

Source: Meta, "Dataset Quality API", read 2026-11-29 (fields, examples, the names of the two
diagnostics). The page's table says ``dedup_key_feedback``; its examples ``dedupe_key_feedback``,
and the other does not exist.
"""

from __future__ import annotations

import ipaddress
import statistics
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from bridge.sandbox.copies import Copy
from bridge.sandbox.fields import Tree, find_unknown, parse_fields, select
from bridge.sandbox.graph import check_caller
from bridge.sandbox.pairing import Action
from bridge.sandbox.refusal import Refusal

GOAL = 75  # per cent of browser events that Meta wants to see covered

# Meta's word for an identifier → its key in ``user_data``.
IDENTIFIERS = {
    "email": "em",
    "phone": "ph",
    "external_id": "external_id",
    "fbc": "fbc",
    "fbp": "fbp",
    "ip_address": "client_ip_address",
    "user_agent": "client_user_agent",
    "first_name": "fn",
    "last_name": "ln",
    "date_of_birth": "db",
    "gender": "ge",
    "city": "ct",
    "state": "st",
    "zip_code": "zp",
    "country": "country",
}
WEIGHTS = {"email": 3.0, "phone": 2.0, "external_id": 1.0, "fbc": 1.0, "fbp": 1.0} | {
    "ip_address": 0.6,
    "user_agent": 0.6,
}
LESSER_WEIGHT = 0.1  # of each other one

REAL_TIME = 900.0  # seconds from the event to its arrival, in the middle, that this still is
HOURLY = 7200.0

_WORDED: dict[str, Any] = {"percentage": {}, "description": {}}
_EVENT: dict[str, Any] = {
    "event_name": {},
    "event_match_quality": {
        "composite_score": {},
        "match_key_feedback": {
            "identifier": {},
            "coverage": {"percentage": {}, "description": {}},
            "potential_aly_acr_increase": _WORDED,
            "_more": ("potential_aly_acr_increase",),
        },
        "diagnostics": {
            "name": {},
            "description": {},
            "solution": {},
            "percentage": {},
            "affected_event_count": {},
            "total_event_count": {},
        },
        "_more": ("diagnostics",),
    },
    "event_coverage": {
        **_WORDED,
        "goal_percentage": {},
        "potential_aly_acr_increase": _WORDED,
        "_more": ("potential_aly_acr_increase",),
    },
    "dedupe_key_feedback": {
        "dedupe_key": {},
        "browser_events_with_dedupe_key": _WORDED,
        "server_events_with_dedupe_key": _WORDED,
        "overall_browser_coverage_from_dedupe_key": _WORDED,
    },
    "data_freshness": {"upload_frequency": {}, "description": {}},
    "acr": _WORDED,
    "event_potential_aly_acr_increase": _WORDED,
}
SCHEMA: dict[str, Any] = {"web": _EVENT}

_DEDUPE_WORDS = {
    "browser_events_with_dedupe_key": (
        "The percentage of browser events that contain this dedupe key."
    ),
    "server_events_with_dedupe_key": (
        "The percentage of server events that contain this dedupe key."
    ),
    "overall_browser_coverage_from_dedupe_key": (
        "The overall percentage of browser events that are deduped with Conversions API events"
        " using this key. This percentage is incremental for each dedupe key."
    ),
}
IPV4_NAME = "Update your IPv4 IP addresses to IPv6 IP addresses"
MISMATCH_NAME = "Server sending mismatched IP addresses"
_DIAGNOSTICS = {
    IPV4_NAME: (
        "Your server is sending IPv4 addresses for visitors whose browsers use IPv6.",
        "Let your web server and DNS provider support IPv6, and send the client_ip_address that"
        " your server sees.",
    ),
    MISMATCH_NAME: (
        "Your server is sending client IP addresses that do not match those from Meta Pixel.",
        "Send the client_ip_address retrieved from customer interactions.",
    ),
}


class Shortfall(msgspec.Struct, frozen=True, kw_only=True):
    """How an answer falls short of the whole, as those of real datasets do.

    Attributes:
        unknown: Fields that this dataset does not know.
        without: Blocks that the answer lacks.
        as_text: Whether numbers come as text.
    """

    unknown: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()
    as_text: bool = False


def answer_quality(
    version: str,
    params: Mapping[str, str],
    token: str | None,
    actions: Iterable[Action],
    *,
    pixel_ids: Collection[str],
    access_token: str,
    shortfall: Shortfall,
) -> dict[str, Any] | Refusal:
    """Return what Meta would answer to ``params``, given what arrived as ``actions``."""
    pixel_id = params.get("dataset_id", "")
    refusal = check_caller(version, pixel_id, token, pixel_ids, access_token, method="get")
    if refusal is not None:
        return refusal
    asked = parse_fields(params.get("fields") or "web")
    if isinstance(asked, Refusal):
        return asked
    unknown = find_unknown(asked, _without_marks(SCHEMA), shortfall.unknown)
    if unknown is not None:
        return Refusal(message=f"Tried accessing nonexisting field ({unknown})")
    if "web" in asked and not asked["web"]:
        asked = {**asked, "web": {"event_name": {}, "event_match_quality": {}}}
    names: dict[str, list[Action]] = {}
    for action in actions:
        if action.pixel_id == pixel_id and action.known:
            names.setdefault(action.event_name, []).append(action)
    web = [describe_event(name, names[name]) for name in sorted(names)]
    answer: dict[str, Any] = _shorten(select({"web": web}, asked, SCHEMA), shortfall)
    return answer


def describe_event(name: str, actions: Sequence[Action]) -> dict[str, Any]:
    """Return all that is said of the events of one name; unknown blocks are missing."""
    browser = [action for action in actions if action.counts["browser"]]
    server = [copy for action in actions for copy in action.copies["server"] if _is_web(copy)]
    told: dict[str, Any] = {"event_name": name}
    if server:
        told["event_match_quality"] = _rate(actions, server)
        told["data_freshness"] = {
            "upload_frequency": _read_frequency(server),
            "description": "The average frequency with which instances of this event are received"
            " through the Conversions API.",
        }
    if server and browser:
        merged = [action for action in browser if action.side is None]
        told["event_coverage"] = {
            "percentage": _percent(len(merged), len(browser)),
            "goal_percentage": GOAL,
            "description": "The percentage of events received from your Conversions API compared"
            " to unique browser events from the Meta Pixel.",
        }
        told["dedupe_key_feedback"] = _describe_keys(browser, server)
    return told


def _rate(actions: Iterable[Action], server: Sequence[Copy]) -> dict[str, Any]:
    coverage = {
        word: _percent(sum(bool(_user_data(copy).get(key)) for copy in server), len(server))
        for word, key in IDENTIFIERS.items()
    }
    score = sum(WEIGHTS.get(word, LESSER_WEIGHT) * part / 100 for word, part in coverage.items())
    return {
        "composite_score": round(score, 1),
        "match_key_feedback": [
            {"identifier": word, "coverage": {"percentage": part}}
            for word, part in coverage.items()
            if part
        ],
        "diagnostics": _diagnose(actions, len(server)),
    }


def _diagnose(actions: Iterable[Action], total: int) -> list[dict[str, Any]]:
    """Compare the addresses of both copies, where both are here and public."""
    affected: Counter[str] = Counter()
    for action in actions:
        pixel = _find_ip(copy.detail.get("client_ip") for copy in action.copies["browser"])
        for copy in action.copies["server"] if pixel else ():
            server = _find_ip([_user_data(copy).get("client_ip_address")])
            if pixel is None or server is None or not _is_web(copy):
                continue
            if server.version == 4 and pixel.version == 6:
                affected[IPV4_NAME] += 1
            elif server != pixel and server.version == pixel.version:
                affected[MISMATCH_NAME] += 1
    return [
        {
            "name": name,
            "description": words[0],
            "solution": words[1],
            "percentage": _percent(affected[name], total),
            "affected_event_count": affected[name],
            "total_event_count": total,
        }
        for name, words in _DIAGNOSTICS.items()
        if affected[name]
    ]


def _describe_keys(browser: Sequence[Action], server: Sequence[Copy]) -> list[dict[str, Any]]:
    merged = Counter(action.merged_by for action in browser if action.side is None)
    seen = [copy for action in browser for copy in action.copies["browser"][:1]]
    feedback = []
    for key in ("event_id", "external_id", "fbp"):
        figures = {
            "browser_events_with_dedupe_key": _percent(_count_key(seen, key), len(seen)),
            "server_events_with_dedupe_key": _percent(_count_key(server, key), len(server)),
            "overall_browser_coverage_from_dedupe_key": _percent(merged[key], len(browser)),
        }
        feedback.append(
            {
                "dedupe_key": key,
                **{
                    name: {"percentage": figure, "description": _DEDUPE_WORDS[name]}
                    for name, figure in figures.items()
                },
            }
        )
    return feedback


def _count_key(copies: Iterable[Copy], key: str) -> int:
    name = "external_ids" if key == "external_id" else key
    return sum(bool(getattr(copy, name)) for copy in copies)


def _read_frequency(server: Sequence[Copy]) -> str:
    delay = statistics.median(
        copy.received_at - copy.detail["event"].get("event_time", 0) for copy in server
    )
    return "real_time" if delay <= REAL_TIME else "hourly" if delay <= HOURLY else "daily"


def _is_web(copy: Copy) -> bool:
    return bool(copy.detail["event"].get("action_source") == "website")


def _user_data(copy: Copy) -> Mapping[str, Any]:
    found: Mapping[str, Any] = copy.detail["event"]["user_data"]
    return found


def _find_ip(texts: Iterable[Any]) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the first public address."""
    for text in texts:
        try:
            address = ipaddress.ip_address(str(text))
        except ValueError:
            continue
        if address.is_global:
            return address
    return None


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2) if whole else 0.0


def _without_marks(schema: Mapping[str, Any]) -> Tree:
    return {name: _without_marks(below) for name, below in schema.items() if name != "_more"}


def _shorten(value: Any, shortfall: Shortfall) -> Any:
    if isinstance(value, list):
        return [_shorten(each, shortfall) for each in value]
    if isinstance(value, dict):
        return {
            name: _shorten(each, shortfall)
            for name, each in value.items()
            if name not in shortfall.without
        }
    is_number = isinstance(value, int | float)
    return str(value) if is_number and shortfall.as_text else value
