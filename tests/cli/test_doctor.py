"""``pixel-bridge doctor``, beside a sandbox and a running shop, both real processes."""

from __future__ import annotations

import asyncio
import json
import os
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import META, TOKEN, Run
from tests.servers import ROOT, Sandbox, find_free_port, running

SHOP = textwrap.dedent("""
    from starlette.applications import Starlette
    from starlette.responses import HTMLResponse
    from starlette.routing import Route
    from bridge import Bridge, BridgeMiddleware

    bridge = Bridge.from_env()


    async def home(request):
        policy = {"content-security-policy": "default-src 'self'"}
        return HTMLResponse(f"<head>{bridge.script_tag()}</head>", headers=policy)


    app = Starlette(routes=[Route("/", home)])
    app.add_middleware(BridgeMiddleware, bridge=bridge)
""")


def fault(settings: dict[str, str], **fields: Any) -> None:
    asyncio.run(Sandbox(settings["BRIDGE_GRAPH_URL"]).fault("quality", **fields))


@pytest.fixture
def shop(folder: Path, settings: dict[str, str]) -> Iterator[str]:
    """The address of a running shop whose policy forgets the pixel."""
    (folder / "shop.py").write_text(SHOP)
    port = find_free_port()
    environ = {**settings, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    environ["BRIDGE_OUTBOX_URL"] = f"sqlite:///{folder / 'bridge.db'}"
    options = ["--port", str(port), "--log-level", "warning"]
    with running(["uvicorn", "shop:app", *options], port, environ):
        yield f"http://127.0.0.1:{port}/"


def test_set_up_that_works(run: Run, settings: dict[str, str], folder: Path) -> None:
    said = run("doctor")
    assert said.code == 0
    lines = said.out.splitlines()
    assert f"✓ settings: {META}" in lines
    assert any(line.startswith(f"✓ outbox: SQLite, {folder}/bridge.db stores") for line in lines)
    assert any(line.startswith(f"✓ {META}: the token may read this dataset") for line in lines)
    assert any(line.startswith("✓ clock: ours and Meta's agree") for line in lines)
    assert "--url" in lines[-1]
    assert asyncio.run(Sandbox(settings["BRIDGE_GRAPH_URL"]).read())["actions"] == []


def test_running_shop_is_asked(run: Run, settings: dict[str, str], shop: str) -> None:
    said = run("doctor", "--url", shop)
    assert said.code == 1
    lines = said.out.splitlines()
    assert any(line.startswith("✓ script tag: /_bridge/bridge.") for line in lines)
    assert any(line.startswith("✓ script: served") for line in lines)
    assert any(line.startswith("✓ cookies: for 127.0.0.1") for line in lines)
    assert "✓ health: the running app says ok" in lines
    at = lines.index("✗ policy: script-src does not allow https://connect.facebook.net")
    assert lines[at + 1].strip().startswith("→ add to script-src: https://connect.facebook.net")


def test_shop_that_does_not_run(run: Run, settings: dict[str, str]) -> None:
    said = run("doctor", "--url", f"http://127.0.0.1:{find_free_port()}/")
    assert said.code == 1
    assert "✗ site: " in said.out
    assert "is it running" in said.out


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"code": 190}, "the token is invalid: "),
        ({"code": 190}, "make a new access token"),
        ({"code": 200}, "Use events dataset"),
        ({"status": 502, "body": "<html>"}, "not Meta"),
        ({"drop": True}, "check the network"),
    ],
    ids=str,
)
def test_token_without_rights(
    run: Run, settings: dict[str, str], fields: dict[str, Any], words: str
) -> None:
    fault(settings, **fields)
    said = run("doctor")
    assert said.code == 1
    assert words in said.out
    assert TOKEN not in said.out


def test_pixel_that_is_not_the_tokens(
    run: Run, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRIDGE_PIXEL_ID", "77")
    said = run("doctor")
    assert said.code == 1
    assert "✗ meta:77: no such pixel, or not for this token: " in said.out


def test_settings_that_are_missing(run: Run) -> None:
    said = run("doctor", "--json")
    assert said.code == 1
    [finding] = json.loads(said.out)["findings"]
    assert (finding["level"], finding["what"]) == ("bad", "settings")
    assert "BRIDGE_PIXEL_ID is not set" in finding["text"]


def test_address_that_is_none(run: Run, settings: dict[str, str]) -> None:
    said = run("doctor", "--url", "shop.example.com")
    assert said.code == 2
    assert "--url must be like" in said.err


@pytest.mark.parametrize("command", [["doctor"], ["check", "--test-event-code", "TEST1"]])
def test_refused_token_of_a_file_names_the_file(
    run: Run, settings: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch, command: Any
) -> None:
    (folder / "token").write_text("another-token")
    monkeypatch.delenv("BRIDGE_ACCESS_TOKEN")
    monkeypatch.setenv("BRIDGE_ACCESS_TOKEN_FILE", str(folder / "token"))
    said = run(*command)
    assert said.code == 1
    remedy = f"make a new access token in Events Manager, and write it to {folder}/token"
    assert remedy in " ".join(said.out.split()).replace("→ ", "")
    assert "set BRIDGE_ACCESS_TOKEN" not in said.out
