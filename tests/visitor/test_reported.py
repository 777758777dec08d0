"""Whose a reported event is, and what of its ids the server takes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bridge import Bridge
from bridge.browser.reports import BrowserEvent
from bridge.events.event import UserData
from bridge.events.normalizers import hash_external_id
from bridge.outbox import SQLiteOutbox
from bridge.visitor.reported import build_own_data, find_sender
from bridge.visitor.visitor import Visitor
from tests.factories import CLIENT, NAVIGATION, make_bridge, make_scope, make_visitor

STRANGER = hash_external_id("customer-42")
DIGEST = "0" * 64


@pytest.fixture
def bridge(outbox: SQLiteOutbox) -> Bridge:
    return make_bridge(outbox)


@pytest.fixture
def visitor(bridge: Bridge) -> Visitor:
    """A user who is logged in, with what the session knows."""
    visitor = make_visitor(bridge, make_scope(headers=NAVIGATION))
    visitor.identify("7", UserData(em=["e" * 64]))
    return visitor


def make_event(**fields: Any) -> BrowserEvent:
    return BrowserEvent("Lead", "1", **fields)


def report(visitor: Visitor, *, takes_matching: bool = False, **fields: Any) -> dict[str, Any]:
    """The user data that the server copy of such a report has."""
    event = make_event(**fields)
    sender = find_sender(event, visitor)
    own = build_own_data(event, sender, takes_matching=takes_matching)
    built: dict[str, Any] = msgspec.to_builtins(sender.complete_user_data(own))
    return built


async def test_event_before_the_login_has_both_ids_the_pixels_first(visitor: Visitor) -> None:
    anonymous = hash_external_id(visitor.identity.anonymous_id)
    data = report(visitor, external_id=anonymous)
    assert data["external_id"] == [anonymous, hash_external_id("7")]
    assert data["fbp"] == visitor.identity.fbp
    assert data["em"] == ["e" * 64]


async def test_event_after_the_next_page_has_the_users_id(visitor: Visitor) -> None:
    visitor.identity = msgspec.structs.replace(visitor.identity, is_page_anonymous=False)
    assert report(visitor, external_id=hash_external_id("7"))["external_id"] == [
        hash_external_id("7")
    ]


async def test_event_of_somebody_else_gets_nothing_of_the_visitor(visitor: Visitor) -> None:
    assert report(visitor, external_id=STRANGER) == {
        "external_id": [STRANGER],
        "client_ip_address": CLIENT[0],
        "client_user_agent": visitor.user_agent,
    }
    assert visitor.identity.external_id == hash_external_id("7")


@pytest.mark.parametrize("ours", ["victim", "A" * 64, STRANGER + "\n", ""])
async def test_text_that_is_no_digest_is_no_id(visitor: Visitor, ours: str) -> None:
    assert report(visitor, external_id=ours)["external_id"] == visitor.identity.external_ids


@pytest.mark.parametrize("own", [STRANGER, "customer-42", "A" * 64, ["x"], None, 5])
async def test_pages_own_id_comes_first_if_it_is_a_digest(visitor: Visitor, own: object) -> None:
    ours = visitor.identity.external_ids
    data = report(visitor, external_id=ours[0], user_data={"external_id": own})
    assert data["external_id"] == ([STRANGER, *ours] if own == STRANGER else ours)


@pytest.mark.parametrize("takes", [True, False])
async def test_advanced_matching_is_taken_where_the_app_wants_it(
    visitor: Visitor, *, takes: bool
) -> None:
    given = {"ph": DIGEST, "ln": "Lovelace", "client_ip_address": "192.0.2.1", "fbp": "fb.1.1.2"}
    data = report(visitor, user_data=given, takes_matching=takes)
    assert data.get("ph") == ([DIGEST] if takes else None)
    assert "ln" not in data
    assert data["client_ip_address"] == CLIENT[0]
    assert data["fbp"] == visitor.identity.fbp


async def test_page_without_cookies_has_none_of_metas(visitor: Visitor) -> None:
    data = report(visitor, no_cookies=True, external_id=visitor.identity.external_ids[0])
    assert {"fbp", "fbc"}.isdisjoint(data)
    assert data["external_id"] == visitor.identity.external_ids


async def test_visitor_of_whom_nothing_may_be_known_reports_nothing_of_it(bridge: Bridge) -> None:
    denied = make_visitor(bridge, make_scope(headers=NAVIGATION))
    denied.set_consent("denied")
    assert find_sender(make_event(external_id=STRANGER), denied) is denied
