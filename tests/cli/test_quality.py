"""``pixel-bridge quality``: events tracked, delivered to a sandbox process, and asked about."""

from __future__ import annotations

import asyncio
import json
import textwrap
from pathlib import Path
from typing import Any

import pytest

from bridge import Bridge
from tests.cli.commands import META, PIXEL, SETTINGS, TOKEN, Run
from tests.factories import NAVIGATION, SECRET, make_bridge, make_meta, make_scope, make_visitor
from tests.servers import Sandbox, open_client, poll


async def _sell(built: Bridge, orders: range, *, known: int) -> None:
    """Track a Purchase for each of ``orders``, the first ``known`` of customers with an e-mail."""
    built.start()
    for number in orders:
        visitor = make_visitor(built, make_scope("/", headers=NAVIGATION))
        if number < known:
            built.identify(email=f"ada{number}@example.com", visitor=visitor)
        money = {"value": 10, "currency": "EUR"}
        await built.track("Purchase", money, event_id=f"A-{number}", visitor=visitor)

    async def delivered() -> bool:
        return built.counters["delivered"] == len(orders)

    await poll(delivered, "all purchases")
    await built.stop()


def sell(url: str, *, count: int = 10, known: int = 3, fired: int = 8) -> None:
    """Sell in a shop beside the sandbox at ``url``, and fire the pixel for some of it."""

    async def run() -> None:
        destinations = [make_meta(graph_url=url)]
        built = make_bridge("sqlite:///bridge.db", destinations=destinations, browser_hold=0)
        await _sell(built, range(count), known=known)
        async with open_client(url) as client:
            for number in range(fired):
                query = {"id": PIXEL, "ev": "Purchase", "eid": f"A-{number}"}
                await client.get("/tr/", params=query)

    asyncio.run(run())


def fault(settings: dict[str, str], **fields: Any) -> None:
    asyncio.run(Sandbox(settings["BRIDGE_GRAPH_URL"]).fault("quality", **fields))


def test_both_sides_are_shown_with_what_to_do(run: Run, settings: dict[str, str]) -> None:
    sell(settings["BRIDGE_GRAPH_URL"])
    said = run("quality")
    assert (said.code, said.err) == (0, "")
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert lines[0] == f"{META}, the last 7 days"
    # 3 of 10 with an e-mail, all with an address and an agent; 8 of 8 browser events merged.
    assert "event stored delivered dead 95 % in browser copy value" in lines
    assert any(line.startswith("Purchase 10 10 0 ≤ ") for line in lines)
    assert any(line.endswith(" - 100.00 EUR") for line in lines)
    assert "event EMQ of 10 covered goal merged fresh more conversions" in lines
    assert "Purchase 4.1 100 75 100 real time -" in lines
    assert "Purchase 30 / 30 0 / 0 100 / 100 0 / 0 100 / 100 100 / 100 100 / 100" in lines
    assert "Purchase event_id 100 100 100" in lines
    assert any("1. " in line and "30 %: call identify(email=...)" in line for line in lines)


def test_json_has_everything(run: Run, settings: dict[str, str]) -> None:
    sell(settings["BRIDGE_GRAPH_URL"])
    told = json.loads(run("quality", "--json").out)
    destination = told["destinations"][META]
    event = destination["events"]["Purchase"]
    assert destination["meta"] == "answered"
    assert event["ours"]["stored"] == event["ours"]["delivered"] == 10
    assert event["ours"]["coverage"]["em"] == event["meta"]["identifiers"][0]["coverage"] == 30
    assert event["ours"]["value"] == {"EUR": "100"}
    assert event["meta"]["score"] == 4.1
    assert event["meta"]["keys"][0]["merged"] == 100
    assert told["problems"] == []
    about = [each["text"].partition(":")[0] for each in told["advice"]]
    assert about == [
        "the e-mail address is known for 30 %",
        "nothing was heard of 10 of 10 browser copies",
    ]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--min-emq", "4"], 0, ""),
        (["--min-emq", "6"], 1, "EMQ 4.1 is below 6"),
        (["--min-dedup", "90", "--min-coverage", "75", "--max-dead", "0"], 0, ""),
        (["--min-emq", "6", "--event", "Lead"], 2, ""),
    ],
    ids=str,
)
def test_crossed_threshold_is_the_exit_code(
    run: Run, settings: dict[str, str], options: list[str], code: int, words: str
) -> None:
    sell(settings["BRIDGE_GRAPH_URL"])
    said = run("quality", *options)
    assert said.code == code
    assert words in said.out


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"code": 190}, 1, "make a new access token"),
        ({"code": 10}, 1, "Use events dataset"),
        ({"unknown": ["web"], "times": 2}, 1, "update pixel-bridge"),
        ({"truncate": 30}, 0, "not all of Meta's JSON"),
        ({"unknown": ["acr"]}, 0, "only the plain figures"),
        ({"code": 4}, 0, "ask again in an hour"),
        ({"drop": True}, 0, "check the network"),
    ],
    ids=str,
)
def test_each_failure_is_said_and_our_figures_stay(
    run: Run, settings: dict[str, str], fields: dict[str, Any], code: int, words: str
) -> None:
    sell(settings["BRIDGE_GRAPH_URL"])
    fault(settings, **fields)
    said = run("quality")
    assert said.code == code
    assert words in said.out
    assert "100.00 EUR" in said.out
    assert TOKEN not in said.out + said.err


def test_threshold_that_nobody_can_judge_exits_with_2(run: Run, settings: dict[str, str]) -> None:
    sell(settings["BRIDGE_GRAPH_URL"])
    fault(settings, drop=True)
    said = run("quality", "--min-emq", "4")
    assert said.code == 2
    assert "Meta did not answer, so the thresholds could not be checked" in said.err
    fault(settings, drop=True)
    assert run("quality", "--max-dead", "5").code == 0


def test_without_network_ours_are_shown(
    run: Run, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sell(settings["BRIDGE_GRAPH_URL"])
    monkeypatch.setenv("BRIDGE_GRAPH_URL", SETTINGS["BRIDGE_GRAPH_URL"])
    said = run("quality", "--days", "1")
    assert said.code == 0
    assert f"{META}, today" in said.out
    assert "no answer from 127.0.0.1" in said.out
    assert "EMQ" not in said.out  # there is no score but Meta's


def test_nothing_yet_is_said(run: Run, settings: dict[str, str], folder: Path) -> None:
    said = run("quality")
    assert said.code == 0
    assert "Meta has no figures for this pixel yet" in said.out
    assert f"no figures: nothing was stored in these days in SQLite, {folder}/bridge.db" in said.out
    assert not (folder / "bridge.db").exists()
    said = run("quality", "--max-dead", "1")
    assert said.code == 2
    assert said.err.strip() == (
        f"{META}: no figures to check --max-dead with; there are no figures at all yet"
    )


def test_event_name_without_figures_is_told(run: Run, settings: dict[str, str]) -> None:
    sell(settings["BRIDGE_GRAPH_URL"])
    said = run("quality", "--event", "Nothing", "--min-emq", "1")
    assert said.code == 2
    assert "Nothing: no figures to check --min-emq with; there are figures for Purchase" in said.err
    assert "no figures for these events; there are figures for Purchase" in said.out
    [line] = json.loads(run("quality", "--event", "Nothing", "--min-emq", "1", "--json").out)[
        "unchecked"
    ]
    assert line == said.err.strip()


def test_outbox_of_somebody_else_is_suspected(
    run: Run, settings: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sell(settings["BRIDGE_GRAPH_URL"])
    assert "is this the app's outbox?" not in run("quality").out
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    said = run("quality")
    assert f"is this the app's outbox? SQLite, {folder}/elsewhere/bridge.db" in said.out


def test_days_of_both_sides_are_told(run: Run, settings: dict[str, str]) -> None:
    sell(settings["BRIDGE_GRAPH_URL"])
    words = "Our figures are of today, Meta's always of the last 7 days"
    assert words in run("quality", "--days", "1").out
    assert "Meta's always" not in run("quality").out


def test_each_pixel_and_each_other_destination_is_shown(
    run: Run, settings: dict[str, str], folder: Path
) -> None:
    sell(settings["BRIDGE_GRAPH_URL"])
    (folder / "two.py").write_text(
        textwrap.dedent(f"""
        from bridge import Bridge
        from bridge.destinations import Meta, Segment

        url = "{settings["BRIDGE_GRAPH_URL"]}"
        pixels = [Meta(each, "{TOKEN}", graph_url=url) for each in ("{PIXEL}", "77")]
        bridge = Bridge("{SECRET}", [*pixels, Segment("key", url=url)])
        """)
    )
    told = json.loads(run("quality", "--app", "two:bridge", "--json").out)
    answers = {name: each["meta"] for name, each in told["destinations"].items()}
    [segment] = [name for name in answers if name.startswith("segment")]
    assert answers == {META: "answered", "meta:77": "no answer", segment: "not asked"}
    assert told["destinations"]["meta:77"]["why"]["kind"] == "account"
    assert told["problems"] == ["meta:77: Meta refuses to answer"]


def test_settings_and_outbox_that_do_not_work_exit_with_2(
    run: Run, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRIDGE_OUTBOX_URL", "sqlite:////nowhere/at/all.db")
    said = run("quality")
    assert said.code == 2
    assert "does its folder exist" in said.err
    monkeypatch.delenv("BRIDGE_ACCESS_TOKEN")
    assert run("quality").code == 2
