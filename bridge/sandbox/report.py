"""The report: each action as the API and the events page show it, searched, and summed by name.

Pure: reads the ledger's actions, and changes nothing.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import msgspec

from bridge.sandbox.copies import Copy, Side, hash_external_ids
from bridge.sandbox.coverage import list_identifiers
from bridge.sandbox.pairing import Action, Expected, Explainer, find_mismatches, list_persons

State = Literal["merged", "browser_only", "server_only", "none_expected", "unclear", "not_counted"]

_NOT_DIGIT = re.compile(r"\D+")


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody looks for; an empty field is everything.

    Attributes:
        name: The event's name.
        source: The server copy's ``action_source``; a browser copy alone is from a website.
        state: How its copies were counted.
        problems: Whether only actions with a problem are shown.
        q: A part of an event id or order id, or what names a visitor: an e-mail address, a phone
            number, a user id, a hash, an fbp.
        visitor: An external id or fbp: all that this visitor did, oldest first.
    """

    name: str = ""
    source: str = ""
    state: State | Literal[""] = ""
    problems: bool = False
    q: str = ""
    visitor: str = ""


def browse(
    actions: Sequence[Action], search: Search, *, limit: int, offset: int = 0
) -> dict[str, Any]:
    """Return one page of the actions found, newest first; how many there are; and the summary."""
    explainer = Explainer(actions)
    every = [_describe(action, explainer) for action in actions]
    found = list(_search(actions, every, search))
    if not search.visitor:
        found.reverse()
    return {
        "actions": found[offset : offset + limit],
        "total": len(found),
        "names": summarize(every),
        "sources": sorted({each["source"] for each in every}),
    }


def summarize(described: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row for each event name, the most frequent first; unknown pixels do not count."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    coverage: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for each in described:
        if each["state"] == "not_counted":
            continue
        name = each["event_name"]
        counts[name].update(("actions", each["state"]))
        counts[name]["problems"] += bool(each["problems"])
        counts[name]["with_server"] += bool(each["server"])
        coverage[name].update(each["identifiers"])
    return [
        {
            "event_name": name,
            **{key: count[key] for key in ("actions", "problems", "with_server")},
            **{key: count[key] for key in ("merged", "browser_only", "server_only")},
            **{key: count[key] for key in ("none_expected", "unclear")},
            "coverage": coverage[name],
        }
        for name, count in sorted(counts.items(), key=lambda item: (-item[1]["actions"], item[0]))
    ]


def _search(
    actions: Sequence[Action], described: Sequence[dict[str, Any]], search: Search
) -> Iterator[dict[str, Any]]:
    persons = _find_person(actions, search.visitor) if search.visitor else frozenset()
    asked = _Asked(search.q)
    for action, each in zip(actions, described, strict=True):
        if (
            search.name in ("", each["event_name"])
            and search.source in ("", each["source"])
            and search.state in ("", each["state"])
            and (each["problems"] or not search.problems)
            and (not search.visitor or persons & list_persons(action))
            and (not search.q or asked.is_in(action))
        ):
            yield each


class _Asked:
    """What was typed into the search, in all the forms in which an event may hold it."""

    def __init__(self, text: str) -> None:
        self._text = text.strip().lower()
        digits = _NOT_DIGIT.sub("", text)
        self._exact = {text.strip(), *hash_external_ids([text])}
        if len(digits) >= 7:
            self._exact |= hash_external_ids([digits])

    def is_in(self, action: Action) -> bool:
        """Return whether an action is what was asked for."""
        ids = [action.event_id or ""]
        for copy in _list_copies(action):
            ids += [copy.event_id or "", str(_read_custom_data(copy).get("order_id", ""))]
        return (
            any(self._text in each.lower() for each in ids)
            or bool(self._exact & list_persons(action))
            or any(self._exact & set(_list_hashes(copy)) for copy in action.copies["server"])
        )


def _describe(action: Action, explainer: Explainer) -> dict[str, Any]:
    sides: tuple[Side, Side] = ("browser", "server")
    browser, server = (action.copies[side] for side in sides)
    why_not = explainer.explain(action)
    mismatches = find_mismatches(browser[0], server[0]) if browser and server else []
    event = server[0].detail["event"] if server else None
    state = _name_state(action, explainer.expects_browser(action))
    return {
        "pixel_id": action.pixel_id,
        "event_name": action.event_name,
        "event_id": action.event_id,
        "counted": int(action.known),
        "merged": action.side is None,
        "merged_by": action.merged_by,
        "state": state,
        "source": event.get("action_source", "") if event else "website",
        "why_not": why_not,
        "mismatches": mismatches,
        "repeats": action.repeats,
        "identifiers": list_identifiers(event["user_data"]) if event else [],
        "problems": _find_problems(action, state, why_not, mismatches),
        "browser": [copy.detail for copy in browser],
        "server": [copy.detail for copy in server],
    }


def _name_state(action: Action, expected: Expected) -> State:
    if not action.known:
        return "not_counted"
    if action.side is None:
        return "merged"
    if action.side == "browser":
        return "browser_only"
    states: dict[Expected, State] = {"yes": "server_only", "no": "none_expected"}
    return states.get(expected, "unclear")


def _find_problems(
    action: Action, state: State, why_not: str | None, mismatches: Sequence[str]
) -> list[str]:
    """Return what somebody should look at.

    A missing browser copy alone is none: a blocker does that, and the server copy is there for it.
    Nor is a differing URL: the server names a form's page, the browser the page after it.
    """
    problems = [f"{key} differs" for key in mismatches if key != "url"]
    is_told = state in ("none_expected", "unclear") or why_not == "no browser copy"
    if why_not is not None and not is_told:
        problems.append(why_not)
    if action.repeats:
        problems.append(f"sent again {action.repeats} time{'s' * (action.repeats > 1)}")
    warnings = [text for copy in action.copies["server"] for text in copy.detail["warnings"]]
    return [*problems, *dict.fromkeys(warnings)]


def _list_copies(action: Action) -> list[Copy]:
    return [*action.copies["browser"], *action.copies["server"]]


def _find_person(actions: Iterable[Action], key: str) -> set[str]:
    """Return the keys by which the visitor ``key`` is known: also those that came along with it."""
    keys = {key, *hash_external_ids([key])}
    found = set(keys)
    for persons in map(list_persons, actions):
        if keys & persons:
            found |= persons
    return found


def _list_hashes(copy: Copy) -> Iterator[str]:
    for value in copy.detail["event"]["user_data"].values():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, str):
                yield item


def _read_custom_data(copy: Copy) -> dict[str, Any]:
    data = copy.detail["cd"] if copy.side == "browser" else copy.detail["event"].get("custom_data")
    return data if isinstance(data, dict) else {}
