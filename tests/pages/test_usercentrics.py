"""What docs/consent.md says of Usercentrics, in Chromium: the page's lines beside a stand-in."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.pages.scenes import OURS_ASYNC, Scene
from tests.servers import ROOT

CHOICES = "document.cookie.match(/_bridge_c=(\\w+)/)?.[1]"


def find_recipe() -> str:
    blocks = re.findall(r"```html\n(.*?)```", (ROOT / "docs/consent.md").read_text(), re.DOTALL)
    [recipe] = [block for block in blocks if "ucEvent" in block]
    return str(recipe)


RECIPE = find_recipe()


def build_details(given: bool, kind: str) -> str:
    """What ``getConsentDetails`` of version 3 resolves to, as far as it is read.

    Source: usercentrics.com/docs/web, "ConsentDetails" and "ServiceData", read 2026-11-30.
    """
    services = {
        "essential": {"name": "Usercentrics Consent Management Platform", "essential": True},
        "pixel": {"name": "Facebook Pixel", "consent": {"given": given, "type": kind.upper()}},
    }
    return json.dumps({"consent": {"type": kind.upper()}, "services": services})


def build_status(given: bool, kind: str) -> str:
    """The ``detail`` of version 2's window event.

    Source: usercentrics.com/docs/web, "Web CMP v2 Events", consent_status, read 2026-11-30.
    """
    categories = {"essential": True, "marketing": given}
    known = {"action": "onInitialPageLoad", "event": "consent_status", "type": kind}
    return json.dumps({**known, "Facebook Pixel": given, "ucCategory": categories})


def tell(version: int, given: bool, kind: str) -> str:
    """What Usercentrics does when it is ready, and when the visitor has chosen."""
    name = "UC_CONSENT" if version == 3 else "ucEvent"
    detail = build_details(given, kind) if version == 3 else build_status(given, kind)
    return f"dispatchEvent(new CustomEvent('{name}', {{detail: {detail}}}))"


def build_page(version: int, given: bool, kind: str, *, is_first: bool = False) -> str:
    """A page with the recipe, on which Usercentrics is ready before it or after."""
    details = build_details(given, kind)
    ready = f"window.__ucCmp = {{getConsentDetails: async () => ({details})}}"
    parts = [RECIPE, f"<script>{tell(version, given, kind)}</script>", OURS_ASYNC]
    return "".join([f"<script>{ready}</script>", RECIPE, OURS_ASYNC] if is_first else parts)


@pytest.fixture
async def asking(open_scene: Any, asking_pages: str) -> Scene:
    scene: Scene = await open_scene(asking_pages)
    return scene


@pytest.mark.parametrize("version", [2, 3])
async def test_choice_is_followed(asking: Scene, version: int) -> None:
    await asking.show(build_page(version, given=False, kind="implicit"))
    assert await asking.consent() == "pending"
    await asking.run("bridge.track('Contact')")
    assert asking.to_meta == []
    await asking.run(tell(version, given=True, kind="explicit"))
    await asking.counted(PageView=1, Contact=1)
    await asking.run(tell(version, given=False, kind="explicit"))
    assert await asking.consent() == "denied"
    assert await asking.run(CHOICES) == "denied"


@pytest.mark.parametrize(("version", "is_first"), [(2, False), (3, False), (3, True)])
async def test_choice_of_earlier_is_told_once(asking: Scene, version: int, is_first: bool) -> None:
    told = []
    asking.page.on("request", lambda request: told.append(request.url))
    page = build_page(version, given=True, kind="explicit", is_first=is_first)
    for views in (1, 2):
        await asking.show(page)
        await asking.counted(PageView=views)
        assert await asking.consent() == "granted"
    assert len([url for url in told if url.endswith("/_bridge/consent")]) == 1
