"""What docs/testing.md says of Django: its own test client goes round the middleware."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from bridge import NoVisitorError
from bridge.testing import recorded
from tests.factories import SECRET


@pytest.fixture
def django_shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in {
        "BRIDGE_PIXEL_ID": "1234567890123456",
        "BRIDGE_ACCESS_TOKEN": "token",
        "BRIDGE_SECRET_KEY": SECRET,
        "BRIDGE_OUTBOX_URL": f"sqlite:///{tmp_path}/bridge.db",
        "SHOP_FOLDER": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "tests.frameworks.django_settings",
    }.items():
        monkeypatch.setenv(name, value)
    return importlib.import_module("tests.frameworks.django_shop")


async def test_django_app_is_tested_through_asgi(django_shop: Any) -> None:
    transport = httpx.ASGITransport(django_shop.app)
    async with (
        recorded(django_shop.shop.bridge) as events,
        httpx.AsyncClient(transport=transport, base_url="http://testserver") as client,
    ):
        headers = {"user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:150.0) Firefox/150.0"}
        assert (await client.post("/cart", headers=headers)).status_code == 200
    events.assert_tracked("AddToCart", value=24)


async def test_django_test_client_meets_no_visitor(django_shop: Any) -> None:
    from django.test import AsyncClient  # after the settings

    with pytest.raises(NoVisitorError):
        await AsyncClient().post("/cart")
