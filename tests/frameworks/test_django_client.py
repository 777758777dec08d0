"""Django's own test client, which calls views without the ASGI application around them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django
import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path

from bridge import Bridge, NoVisitorError, current_visitor, identify, track, track_sync
from bridge.testing import RecordedEvents, recorded
from tests.factories import SECRET, make_meta

WORTH = {"value": 59, "currency": "EUR"}


def order(request: HttpRequest) -> HttpResponse:
    identify("42", email="ada@example.com")
    outcome = track_sync("Purchase", WORTH, event_id=request.POST["id"]).outcome
    return HttpResponse(f"{outcome} {current_visitor().seal()[:1]}")


async def lead(request: HttpRequest) -> HttpResponse:
    return HttpResponse((await track("Lead")).outcome)


urlpatterns = [path("orders", order), path("leads", lead)]


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "tests.frameworks.django_settings")
    django.setup()
    with override_settings(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"]):
        yield Client()


@pytest.fixture
def bridge(tmp_path: Path) -> Bridge:
    return Bridge(SECRET, [make_meta()], outbox=f"sqlite:///{tmp_path}/bridge.db")


@pytest.fixture
def events(bridge: Bridge) -> Iterator[RecordedEvents]:
    with recorded(bridge, visitor=bridge.person("7")) as events:
        yield events


def test_views_of_both_kinds_have_a_visitor(client: Any, events: RecordedEvents) -> None:
    assert client.post("/orders", {"id": "A-1"}).content.startswith(b"stored ")
    assert client.post("/orders", {"id": "A-1"}).content.startswith(b"duplicate ")
    assert client.post("/leads").content == b"stored"
    event = events.assert_tracked("Purchase", value=59, times=1)
    assert event.user_data["em"]
    with pytest.raises(AssertionError, match="expected once Contact; tracked: "):
        events.assert_tracked("Contact", times=1)


def test_who_denied_is_not_tracked(client: Any, bridge: Bridge, tmp_path: Path) -> None:
    with recorded(bridge, visitor=bridge.person(consent="denied")) as events:
        assert client.post("/orders", {"id": "A-1"}).content.startswith(b"skipped ")
    events.assert_not_tracked()
    assert not (tmp_path / "bridge.db").exists()


def test_nobody_is_left_behind(client: Any, bridge: Bridge) -> None:
    with recorded(bridge, visitor=bridge.person("7")):
        pass
    with pytest.raises(NoVisitorError, match="test client"):
        client.post("/orders", {"id": "A-1"})
