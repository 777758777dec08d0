"""The commands in an app with many shops."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bridge.cli.process import one_loop
from bridge.cli.process import run as run_on_loop
from tests.cli.commands import PIXEL, TOKEN, Run
from tests.cli.test_cli import read_counters, write_sales
from tests.factories import SECRET

APP = """
from bridge import Shop, Shops
from bridge.destinations import Meta

async def load(name):
    meta = Meta({pixel!r}, {token!r}, graph_url={url!r})
    return Shop([meta]) if name == "a" else None

shops = Shops({secret!r}, load)
"""
COMMANDS = [["check"], ["doctor"], ["quality"], ["explain"], ["import", "sales.jsonl"]]


@pytest.fixture
def app(settings: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in settings:
        monkeypatch.delenv(name)
    url = settings["BRIDGE_GRAPH_URL"]
    name = f"app_{folder.name}"
    text = APP.format(pixel=PIXEL, token=TOKEN, url=url, secret=SECRET)
    (folder / f"{name}.py").write_text(text)
    (folder / "event.json").write_text('{"event_name": "Lead"}')
    write_sales(folder / "sales.jsonl", 30)
    return f"{name}:shops"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    ("shop", "words"),
    [([], "--shop is missing"), (["--shop", "b"], "--shop: there is no shop 'b'")],
    ids=["none", "unknown"],
)
def test_commands_want_to_know_which_shop(
    run: Run, app: str, command: list[str], shop: list[str], words: str
) -> None:
    argv = [*command, "event.json"] if command == ["explain"] else command
    said = run(*argv, "--app", app, *shop)
    assert said.code in {1, 2}
    assert words in said.out + said.err


def test_check_and_doctor_try_the_shops_own_destinations(run: Run, app: str) -> None:
    for command in ("check", "doctor"):
        said = run(command, "--app", app, "--shop", "a")
        assert said.code == 0, said.out + said.err
        assert f"a/meta:{PIXEL}" in said.out


def test_lines_are_imported_for_one_shop(run: Run, app: str, settings: dict[str, str]) -> None:
    said = run("import", "sales.jsonl", "--app", app, "--shop", "a")
    assert (said.code, said.err) == (0, "")
    assert "30 stored" in said.out
    assert "all delivered" in said.out
    assert read_counters(settings["BRIDGE_GRAPH_URL"])["actions"] == 30


def test_explain_and_quality_speak_of_the_shop(run: Run, app: str) -> None:
    said = run("explain", "event.json", "--app", app, "--shop", "a")
    assert (said.code, "Segment" in said.out) == (0, False)
    said = run("quality", "--app", app, "--shop", "a")
    assert f"a/meta:{PIXEL}" in said.out


def test_what_an_app_opened_while_a_shop_was_loaded_stays_usable() -> None:
    async def find_loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    with one_loop():
        assert run_on_loop(find_loop()) is run_on_loop(find_loop())


def test_one_bridge_has_no_shops(run: Run, settings: dict[str, str], folder: Path) -> None:
    (folder / "only_one.py").write_text("from bridge import Bridge\nbridge = Bridge.from_env()")
    for app, words in (
        ([], "--shop needs --app"),
        (["--app", "only_one:bridge"], "--shop is for an app with many shops"),
    ):
        said = run("check", "--shop", "a", *app)
        assert said.code == 1
        assert words in said.out + said.err


def test_wrapped_application_is_an_app(run: Run, app: str, folder: Path) -> None:
    module = app.partition(":")[0]
    (folder / f"wrapped_{module}.py").write_text(
        f"from bridge import BridgeMiddleware\nfrom {module} import shops\n"
        "application = BridgeMiddleware(None, bridge=shops)"
    )
    said = run("check", "--app", f"wrapped_{module}:application", "--shop", "a")
    assert said.code == 0, said.out + said.err
