"""The commands: called here where that is possible, and each once as a real process."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import io
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import bridge
from bridge.events.normalizers import hash_external_id
from bridge.outbox import Circuit, Delivery, SQLiteOutbox
from bridge.outbox.base import build_subjects
from tests.cli.commands import META, PIXEL, SETTINGS, TOKEN, Run
from tests.factories import SECRET, unix_now
from tests.servers import DEADLINE, POLL, ROOT, Sandbox


def make_lead(event_id: str, **changes: Any) -> Delivery:
    event = {
        "event_name": "Lead",
        "event_id": event_id,
        "event_time": unix_now(),
        "action_source": "other",
        "user_data": {"em": ["a" * 64]},
    }
    values: dict[str, Any] = {
        "destination": META,
        "event_name": "Lead",
        "event_id": event_id,
        "body": json.dumps(event).encode(),
        "due": unix_now(),
        "expires": unix_now() + 1000,
        **changes,
    }
    return Delivery(**values)


def fill(work: Callable[[SQLiteOutbox], Any]) -> Any:
    """Do ``work``, a coroutine function, with the outbox of the working directory."""

    async def run() -> Any:
        outbox = SQLiteOutbox("bridge.db")
        try:
            return await work(outbox)
        finally:
            await outbox.close()

    return asyncio.run(run())


def store(*deliveries: Delivery, now: float | None = None) -> None:
    fill(lambda outbox: outbox.put(deliveries, unix_now() if now is None else now))


def bury(*event_ids: str, reason: str = "2804003: too old", **changes: Any) -> None:
    async def work(outbox: SQLiteOutbox) -> None:
        leads = [make_lead(event_id, **changes) for event_id in event_ids]
        await outbox.put(leads, unix_now())
        await outbox.bury(leads, reason, time.time())

    fill(work)


def count() -> dict[str, Any]:
    counts = fill(lambda outbox: outbox.count(unix_now(), with_delivered=True)).get(META)
    return {"waiting": counts.waiting, "dead": counts.dead} if counts else {}


# Everywhere


@pytest.mark.parametrize(
    "argv",
    [["check"], ["status"], ["dead"], ["dead", "list"], ["dead", "show"], ["dead", "retry"],
     ["dead", "drop"], ["erase"], ["worker"], ["import"], ["explain"], ["quality"], ["doctor"]],
    ids=" ".join,
)  # fmt: skip
def test_every_command_has_help(run: Run, argv: list[str]) -> None:
    said = run(*argv, "--help")
    assert said.code == 0
    assert "Usage" in said.out


def test_version_is_told(run: Run) -> None:
    said = run("--version")
    assert (said.code, said.out) == (0, f"pixel-bridge {bridge.__version__}\n")


@pytest.mark.parametrize("argv", [["worker"], ["import", "a.jsonl"]], ids=" ".join)
def test_missing_variable_is_named(run: Run, folder: Path, argv: list[str]) -> None:
    (folder / "a.jsonl").write_text("{}")
    said = run(*argv)
    assert said.code == 2
    assert said.err.startswith("pixel-bridge: BRIDGE_PIXEL_ID is not set")


@pytest.mark.parametrize(
    ("app", "words"),
    [
        ("shop", "must be like shop:bridge"),
        ("nowhere:bridge", "no module 'nowhere'"),
        (".shop:bridge", "must be like shop:bridge"),
        ("../shop:bridge", "must be like shop:bridge"),
        ("./shop:bridge", "must be like shop:bridge"),
        ("shop/shop:bridge", "no module 'shop/shop'"),
        ("shop:nothing", "has no 'nothing'"),
        ("shop:app", "must be a Bridge or Shops, got str"),
    ],
)
def test_app_that_is_none_is_told_plainly(run: Run, folder: Path, app: str, words: str) -> None:
    (folder / "shop.py").write_text("app = 'an app'")
    said = run("status", "--app", app)
    assert (said.code, said.out) == (2, "")
    assert words in said.err


def test_app_gives_its_bridge(folder: Path) -> None:
    (folder / "shop.py").write_text(
        textwrap.dedent(f"""
        from bridge import Bridge
        from bridge.destinations import Meta

        bridge = Bridge("{SECRET}", [Meta("{PIXEL}", "{TOKEN}")], outbox="sqlite:///shop.db")
        """)
    )
    command = [sys.executable, "-m", "bridge", "check", "--app", "shop:bridge"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0
    assert f"✓ settings: {META}" in result.stdout
    assert "shop.db" in result.stdout


def test_unknown_outbox_is_told_without_its_password(run: Run) -> None:
    said = run("status", "--outbox", "mysql://user:hunter2@db/x")
    assert said.code == 2
    assert "mysql" in said.err
    assert "hunter2" not in said.err


def run_in_shell(command: str) -> subprocess.CompletedProcess[str]:
    """Run ``pixel-bridge`` with what a shell makes of its streams: ``"status >&-"``."""
    return subprocess.run(
        ["sh", "-c", f'"$0" -m bridge {command}', sys.executable],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
    )


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("status --json >&-", 1),
        ("status >&- 2>&-", 1),
        ("status --outbox mysql://x/y 2>&-", 2),
        ("dead list >&-", 0),
        ("dead show x 2>&-", 1),
        ("dead drop --all <&-", 1),
        ("import - --dry-run <&-", 2),
    ],
)
def test_closed_streams_are_no_mistake(command: str, code: int) -> None:
    bury("1")
    result = run_in_shell(command)
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    assert count() == {"waiting": 0, "dead": 1}


@pytest.mark.parametrize("command", ["status", "status --json", "dead list", "dead show 1"])
def test_full_disk_is_told(command: str) -> None:
    bury("1")
    result = run_in_shell(f"{command} >/dev/full")
    assert result.returncode == 2
    words = "pixel-bridge: cannot write standard output: No space left on device\n"
    assert result.stderr == words
    assert run_in_shell(f"{command} >/dev/full 2>/dev/full").returncode == 2


def test_help_on_a_full_disk_is_told() -> None:
    result = run_in_shell("--help >/dev/full")
    assert result.returncode == 2
    assert "No space left on device" in result.stderr
    assert "Traceback" not in result.stderr


def test_reader_that_has_gone_is_no_mistake() -> None:
    bury("1")
    result = run_in_shell("dead list --json | true")
    assert result.stderr == ""


# status


def test_status_needs_an_outbox_and_makes_none(run: Run, folder: Path) -> None:
    said = run("status")
    assert said.code == 2
    assert f"SQLite, {folder / 'bridge.db'} does not exist" in said.err
    assert list(folder.iterdir()) == []


def test_status_of_an_app_makes_no_outbox_either(
    run: Run, settings: dict[str, str], folder: Path
) -> None:
    (folder / "fresh_shop.py").write_text("from bridge import Bridge\nbridge = Bridge.from_env()\n")
    said = run("status", "--app", "fresh_shop:bridge")
    assert said.code == 2
    assert "does not exist" in said.err
    assert not (folder / "bridge.db").exists()


def test_status_is_calm_when_all_is_well(run: Run) -> None:
    store(make_lead("1"), make_lead("2", due=unix_now() + 500))
    said = run("status")
    assert said.code == 0
    row = said.out.splitlines()[-1].split()
    assert row[:5] == [META, "2", "1", "0", "0"]
    assert row[-1] == "closed"
    assert "\x1b" not in said.out


def test_status_of_an_empty_outbox(run: Run) -> None:
    store()
    assert "empty" in run("status").out


def test_status_exits_with_1_when_somebody_should_look(run: Run) -> None:
    bury("1")
    store(make_lead("old"), now=unix_now() - 7200)
    refused = Circuit(
        destination=META, state="open", reason="190: \x1b[31mno", since=0, until=unix_now() + 60
    )
    fill(lambda outbox: outbox.save_circuit(refused))
    said = run("status")
    assert said.code == 1
    assert f"! {META}: 1 event is a dead letter" in said.out
    assert "the oldest event has waited for 2 h" in said.out
    assert "has refused us for" in said.out
    assert "190" in said.out
    assert "\x1b" not in said.out


def test_status_as_json(run: Run) -> None:
    bury("1")
    said = run("status", "--json")
    assert said.code == 1
    answer = json.loads(said.out)
    assert answer["destinations"][META]["dead"] == 1
    assert len(answer["problems"]) == 1


def test_status_tells_what_waits_for_no_destination(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(make_lead("1", destination="meta:99"))
    gone = Circuit(destination="meta:98", state="open", reason="190: no", since=0, until=60)
    fill(lambda outbox: outbox.save_circuit(gone))
    assert run("status").code == 0  # nobody says which destinations there are
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    said = run("status")
    assert said.code == 1
    [problem] = [line for line in said.out.splitlines() if line.startswith("!")]
    assert problem.startswith(
        "! meta:99: 1 event waits, and no destination of this name is configured"
    )
    assert run("status", "--outbox", "sqlite:///bridge.db").code == 0


# dead


def test_dead_letters_are_listed(run: Run) -> None:
    bury("1", "2")
    said = run("dead", "list")
    assert said.code == 0
    assert "2804003: too old" in said.out
    assert len(json.loads(run("dead", "list", "--json", "--limit", "1").out)) == 1
    assert run("dead", "list", "--destination", "meta:1").out == "no dead letters\n"


def test_dead_letter_is_shown_with_its_body(run: Run) -> None:
    bury("1")
    said = run("dead", "show", "1")
    assert said.code == 0
    assert "reason       2804003: too old" in said.out
    assert '"event_name": "Lead"' in said.out
    assert json.loads(run("dead", "show", "1", "--json").out)[0]["event"]["event_id"] == "1"


def test_unknown_dead_letter_is_said(run: Run) -> None:
    store()
    said = run("dead", "show", "x")
    assert (said.code, said.out) == (1, "")
    assert "no dead letter" in said.err


def test_dead_letters_are_due_again(run: Run) -> None:
    bury("1", "2", "3")
    said = run("dead", "retry", "1", "x")
    assert (said.code, said.out) == (0, "1 due again\n")
    assert count() == {"waiting": 1, "dead": 2}
    assert run("dead", "retry", "--all").out == "2 due again\n"
    assert count() == {"waiting": 3, "dead": 0}
    assert run("dead", "retry", "--all").code == 1


def test_dead_letter_that_is_too_old_is_left(run: Run) -> None:
    bury("1", expires=unix_now() - 1)
    bury("2")
    said = run("dead", "retry", "--all")
    assert "1 due again" in said.out
    assert "1 event stays dead, too old" in said.out
    assert count() == {"waiting": 1, "dead": 1}


def test_all_means_all_pages(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.cli.dead.PAGE", 3)
    bury(*(str(i) for i in range(5)), expires=unix_now() - 1)
    bury(*(str(i) for i in range(5, 16)))
    assert "11 due again" in run("dead", "retry", "--all").out
    assert run("dead", "drop", "--all", "--yes").out == "5 deleted\n"
    assert count() == {"waiting": 11, "dead": 0}


def test_drop_asks_first(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    bury("1")
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert run("dead", "drop", "1").code == 1
    assert count() == {"waiting": 0, "dead": 1}
    assert run("dead", "drop", "1", "--yes").out == "1 deleted\n"
    assert count() == {}


def test_ids_or_all(run: Run) -> None:
    store()
    for argv in (["dead", "retry"], ["dead", "drop", "1", "--all"]):
        said = run(*argv)
        assert said.code == 2
        assert "give event ids, or --all" in said.err


# check


def test_check_sends_nothing_without_a_code(run: Run, settings: dict[str, str]) -> None:
    said = run("check")
    assert said.code == 0
    marks = [line[0] for line in said.out.splitlines()]
    assert marks == ["✓", "-", "✓", "!", " ", "-"]  # the outbox was created just now
    assert "--test-event-code" in said.out
    assert fill(lambda outbox: outbox.count(unix_now(), with_delivered=True)) == {}


def test_check_tells_what_waits_for_no_destination(run: Run, settings: dict[str, str]) -> None:
    store(make_lead("1", destination="meta:99"), make_lead("2"))
    said = run("check")
    assert said.code == 0
    [line] = [line for line in said.out.splitlines() if line.startswith("!")]
    assert "1 for meta:99, and no destination of this name is configured" in line


@pytest.mark.usefixtures("settings")
def test_check_tells_of_proxies_unless_one_is_trusted(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "behind nginx" in run("check").out
    monkeypatch.setenv("BRIDGE_TRUSTED_PROXIES", "10.0.0.0/8")
    assert "behind nginx" not in run("check").out


def test_check_sends_one_test_event(run: Run, settings: dict[str, str]) -> None:
    said = run("check", "--test-event-code", "TEST1")
    assert said.code == 0
    assert "took the test event" in said.out
    [action] = asyncio.run(Sandbox(settings["BRIDGE_GRAPH_URL"]).actions())
    assert action["event_name"] == "PixelBridgeCheck"


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("BRIDGE_ACCESS_TOKEN", "wrong-token-123", "refuses us: 190"),
        ("BRIDGE_PIXEL_ID", "42", "refuses us: 100/33"),
        ("BRIDGE_GRAPH_URL", "http://127.0.0.1:9", "no usable answer"),
        ("BRIDGE_GRAPH_URL", "http://127.0.0.1:99999", "graph_url must be like"),
        ("BRIDGE_GRAPH_URL", "http://a:wrong-token-123@127.0.0.1:9", "graph_url must not hold"),
        ("BRIDGE_SECRET_KEY", "short", "secret_key"),
        ("BRIDGE_OUTBOX_URL", "sqlite:///gone/bridge.db", "gone/bridge.db"),
    ],
)
def test_check_tells_what_to_fix(
    run: Run,
    settings: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    words: str,
) -> None:
    monkeypatch.setenv(variable, value)
    said = run("check", "--test-event-code", "TEST1")
    assert said.code == 1
    [line] = [line for line in said.out.splitlines() if line.startswith("✗")]
    assert words in line
    assert "wrong-token-123" not in said.out + said.err


# worker


def read_faults(sandbox: Sandbox) -> list[dict[str, Any]]:
    faults: list[dict[str, Any]] = asyncio.run(sandbox._call("GET", "/api/faults"))["faults"]
    return faults


def start(*argv: str, patch: str = "", **environ: str) -> subprocess.Popen[str]:
    """Start the command as a process; ``patch`` is code that runs before it."""
    code = f"import sys; {patch}\nfrom bridge.cli import main\nsys.exit(main(sys.argv[1:]))"
    return subprocess.Popen(
        [sys.executable, "-c", code, *argv],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that are ended after the test, whatever happens."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def wait_for(check: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not check():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(POLL)


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_worker_delivers_until_it_is_told_to_stop(
    settings: dict[str, str], processes: list[subprocess.Popen[str]], name: signal.Signals
) -> None:
    store(*(make_lead(str(i)) for i in range(20)), make_lead("held", due=unix_now() + 500))
    processes += [start("worker"), start("worker")]
    # Both are up: told to stop any sooner, one might not have heard.
    assert all(worker.stdout.readline().startswith("delivers") for worker in processes)  # type: ignore[union-attr]
    wait_for(lambda: count() == {"waiting": 1, "dead": 0}, "20 deliveries")
    for process in processes:
        process.send_signal(name)
        out, err = process.communicate(timeout=DEADLINE)
        assert process.returncode == 0
        assert out.startswith("stopped;")
        assert "1 event waits" in out
        assert err == ""
    actions = asyncio.run(Sandbox(settings["BRIDGE_GRAPH_URL"]).actions())
    assert sorted(len(action["server"]) for action in actions) == [1] * 20


def test_worker_shows_its_metrics(
    settings: dict[str, str], processes: list[subprocess.Popen[str]], folder: Path
) -> None:
    """Where a worker delivers, only a worker knows what was delivered."""
    (folder / "counted.py").write_text(
        textwrap.dedent("""
        from opentelemetry import metrics
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import (
            ConsoleMetricExporter, PeriodicExportingMetricReader,
        )
        from bridge import Bridge

        reader = PeriodicExportingMetricReader(ConsoleMetricExporter())
        metrics.set_meter_provider(MeterProvider([reader]))
        bridge = Bridge.from_env()
        """)
    )
    store(make_lead("1"))
    worker = start("worker", "--app", "counted:bridge")
    processes.append(worker)
    assert worker.stdout is not None
    assert worker.stdout.readline().startswith("delivers")
    asyncio.run(Sandbox(settings["BRIDGE_GRAPH_URL"]).wait_for_server_copies(1))
    worker.terminate()
    said = worker.communicate(timeout=DEADLINE)[0]
    assert "bridge.events.delivered" in said


def test_worker_does_not_fill_the_log_of_an_app_that_logs_all(
    settings: dict[str, str], processes: list[subprocess.Popen[str]], folder: Path
) -> None:
    (folder / "talkative.py").write_text(
        "import logging; logging.basicConfig(level=logging.INFO)\n"
        "from bridge import Bridge; bridge = Bridge.from_env()\n"
    )
    store(make_lead("1"))
    worker = start("worker", "--app", "talkative:bridge")
    processes.append(worker)
    asyncio.run(Sandbox(settings["BRIDGE_GRAPH_URL"]).wait_for_server_copies(1))
    worker.terminate()
    out, err = worker.communicate(timeout=DEADLINE)
    assert out.startswith("delivers")
    assert "httpx" not in err


def test_worker_ends_at_its_deadline(
    settings: dict[str, str], processes: list[subprocess.Popen[str]]
) -> None:
    sandbox = Sandbox(settings["BRIDGE_GRAPH_URL"])
    asyncio.run(sandbox.fault("events", hang=True, times=100))
    store(make_lead("1"))
    process = start("worker", "--deadline", "0.1")
    processes.append(process)

    wait_for(lambda: read_faults(sandbox)[0]["times"] < 100, "the request")
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0
    assert "1 event waits" in out


@pytest.fixture
def closed_pipe() -> Iterator[int]:
    """The end of a pipe to write to, with nobody at the other."""
    ours, theirs = os.pipe()
    os.close(ours)
    yield theirs
    os.close(theirs)


@pytest.mark.parametrize("redirect", [">/dev/full 2>/dev/full", ">&- 2>&-", "2>&1", "<&- 2>&1"])
def test_worker_delivers_whatever_becomes_of_its_words(
    settings: dict[str, str],
    processes: list[subprocess.Popen[str]],
    closed_pipe: int,
    redirect: str,
) -> None:
    # One is refused, which is logged.
    asyncio.run(Sandbox(settings["BRIDGE_GRAPH_URL"]).fault("events", refuse="bad", times=100))
    store(make_lead("bad"), *(make_lead(str(i)) for i in range(3)))
    worker = subprocess.Popen(
        ["sh", "-c", f'exec "$0" -m bridge worker {redirect}', sys.executable],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=closed_pipe,
        text=True,
    )
    processes.append(worker)
    wait_for(lambda: count() == {"waiting": 0, "dead": 1}, "the deliveries")
    worker.terminate()
    assert worker.wait(timeout=DEADLINE) == 0


# import


def write_sales(path: Path, number: int, **changes: Any) -> Path:
    now = unix_now()
    with path.open("w") as file:
        for i in range(number):
            sale = {
                "event_name": "Purchase",
                "event_time": now - i % 80_000,
                "action_source": "physical_store",
                "user_data": {"email": f"u{i}@example.com"},
                "custom_data": {"value": 12.5, "currency": "EUR", "order_id": str(i)},
                **changes,
            }
            file.write(json.dumps(sale) + "\n")
    return path


def read_counters(url: str) -> dict[str, Any]:
    counters: dict[str, Any] = asyncio.run(Sandbox(url).read())["counters"]
    return counters


def test_import_delivers_every_line(run: Run, settings: dict[str, str], folder: Path) -> None:
    path = write_sales(folder / "sales.jsonl", 2500)
    said = run("import", str(path))
    assert said.code == 0
    assert said.out.splitlines() == [
        "sales.jsonl: 2,500 lines: 2,500 stored, 0 known already, 0 rejected",
        "all delivered",
    ]
    assert said.err == ""
    assert read_counters(settings["BRIDGE_GRAPH_URL"])["actions"] == 2500
    again = run("import", str(path))
    assert again.code == 0
    assert "--restart" in again.out
    assert "0 stored, 2,500" not in again.out
    restarted = run("import", str(path), "--restart")
    assert "0 stored, 2,500 known already" in restarted.out
    assert read_counters(settings["BRIDGE_GRAPH_URL"])["repeats"] == 0


def test_import_tells_rejected_lines_and_exits_with_1(
    run: Run, settings: dict[str, str], folder: Path
) -> None:
    path = folder / "crm.csv"
    path.write_text(
        "event_name,event_time,action_source,email,phone\n"
        f"Won,{unix_now()},system_generated,mary@example.com,1\n"
        f"Won,{unix_now()},system_generated,nobody,\n"
        "Won,1000000000,system_generated,mary@example.com,\n"
    )
    said = run("import", str(path))
    assert said.code == 1
    assert "3 lines: 1 stored, 0 known already, 2 rejected" in said.out
    assert "left out, since they cannot be right: phone 1 x, email 1 x" in said.out
    rejected = (folder / "crm.csv.rejected.jsonl").read_text().splitlines()
    assert [json.loads(line)["line"] for line in rejected] == [3, 4]
    assert "mary" not in said.out + said.err + str(rejected)


def test_import_says_what_personal_data_it_removed(
    run: Run, settings: dict[str, str], folder: Path
) -> None:
    custom = {"value": 1, "currency": "EUR", "lines": [{"note": "by mary@example.com"}]}
    path = write_sales(folder / "sales.jsonl", 3, custom_data=custom)
    said = run("import", str(path), "--no-send")
    assert said.code == 0
    assert "removed, since it looks personal: custom_data.lines[].note (email) 3 x" in said.out
    assert "mary" not in said.out + said.err


def test_import_refuses_unknown_columns_before_anything(
    run: Run, settings: dict[str, str], folder: Path
) -> None:
    path = folder / "crm.csv"
    path.write_text(f"event_name,event_time,email,shoe\nLead,{unix_now()},m@example.com,43\n")
    said = run("import", str(path))
    assert (said.code, said.out) == (2, "")
    assert "unknown column 'shoe'" in said.err
    assert [each.name for each in folder.iterdir()] == ["crm.csv"]
    options = ("--ignore-columns", "--action-source", "other", "--no-send")
    assert run("import", str(path), *options).code == 0
    assert count() == {"waiting": 1, "dead": 0}


def test_dry_run_needs_no_settings_and_leaves_nothing(run: Run, folder: Path) -> None:
    path = write_sales(folder / "sales.jsonl", 10)
    said = run("import", str(path), "--dry-run")
    assert said.code == 0
    assert "10 fit to be sent" in said.out
    assert "BRIDGE_PIXEL_ID" in said.err
    assert [each.name for each in folder.iterdir()] == ["sales.jsonl"]


def test_what_meta_refuses_is_told_and_exits_with_1(
    run: Run, settings: dict[str, str], folder: Path
) -> None:
    sandbox = Sandbox(settings["BRIDGE_GRAPH_URL"])
    path = write_sales(folder / "sales.jsonl", 1, event_id="bad")
    asyncio.run(sandbox.fault("events", refuse="bad"))
    said = run("import", str(path))
    assert said.code == 1
    assert "1 refused by their destination: pixel-bridge dead list" in said.out


def test_import_reads_standard_input(settings: dict[str, str], folder: Path) -> None:
    lines = write_sales(folder / "sales.jsonl", 30).read_text()
    for stored in ("30 stored, 0 known", "0 stored, 30 known"):
        result = subprocess.run(
            [sys.executable, "-m", "bridge", "import", "-"],
            input=lines,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0
        assert stored in result.stdout
    assert read_counters(settings["BRIDGE_GRAPH_URL"])["actions"] == 30


def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(
    settings: dict[str, str], folder: Path, processes: list[subprocess.Popen[str]]
) -> None:
    path = write_sales(folder / "sales.jsonl", 3000)
    sandbox = Sandbox(settings["BRIDGE_GRAPH_URL"])
    asyncio.run(sandbox.fault("events", status=503, times=1000))
    process = start("import", str(path))
    processes.append(process)
    wait_for(lambda: os.path.exists("bridge.db") and count().get("waiting") == 3000, "the lines")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == 130
    assert "interrupted after line 3,000; run the same command to continue" in out
    asyncio.run(sandbox._call("DELETE", "/api/faults"))
    again = start("import", str(path))
    processes.append(again)
    out, _ = again.communicate(timeout=DEADLINE)
    assert again.returncode == 0
    assert "all delivered" in out
    counters = read_counters(settings["BRIDGE_GRAPH_URL"])
    assert (counters["actions"], counters["repeats"]) == (3000, 0)


# A lease of 30 s is waited for after a kill; a back-off is not what is tested here.
QUICK = (
    "from bridge.delivery import breaker, lane; from bridge.imports import importer;"
    " lane.LEASE = 2.0; breaker.BACKOFF_CAP = 1.0; importer.BATCH_LINES = 100"
)


def test_second_import_of_a_file_is_refused_and_the_first_goes_on(
    settings: dict[str, str], folder: Path, processes: list[subprocess.Popen[str]]
) -> None:
    path = write_sales(folder / "sales.jsonl", 2500)
    sandbox = Sandbox(settings["BRIDGE_GRAPH_URL"])
    asyncio.run(sandbox.fault("events", status=503, times=1000))
    first = start("import", str(path), patch=QUICK)
    processes.append(first)
    wait_for(lambda: os.path.exists("bridge.db") and count().get("waiting") == 2500, "the lines")
    for options in ([], ["--restart"]):
        second = start("import", str(path), *options)
        processes.append(second)
        out, err = second.communicate(timeout=DEADLINE)
        assert (second.returncode, out) == (2, "")
        assert "sales.jsonl is being imported already" in err
    assert run_in_shell("import sales.jsonl --dry-run").returncode == 0
    asyncio.run(sandbox._call("DELETE", "/api/faults"))
    out, _ = first.communicate(timeout=DEADLINE)
    assert first.returncode == 0
    assert "2,500 stored" in out


def test_device_without_end_is_refused(run: Run) -> None:
    said = run("import", "/dev/zero", "--dry-run")
    assert said.code == 2
    assert "is this text?" in said.err


@pytest.mark.parametrize("batches", [[0, 3, 11, 12, 40]], ids=str)
def test_killed_import_goes_on_and_every_line_arrives_once(
    settings: dict[str, str],
    folder: Path,
    processes: list[subprocess.Popen[str]],
    batches: list[int],
) -> None:
    """Each line is one event at Meta, whatever was killed when.

    A request that was under way when the process died may have arrived without its answer. Its
    deliveries are due again after the lease, and go once more with the same event id: Meta counts
    both as one for 48 hours. The outbox's keys see to it that the import itself repeats none.
    """
    path = write_sales(folder / "sales.jsonl", 5000)
    progress = folder / "sales.jsonl.progress.json"
    for batch in batches:
        process = start("import", str(path), patch=QUICK)
        processes.append(process)

        def reached(least: int = batch * 100) -> bool:
            return progress.exists() and json.loads(progress.read_text())["line"] >= least

        wait_for(reached, f"batch {batch}")
        process.kill()
        process.communicate()
    last = start("import", str(path), patch=QUICK)
    processes.append(last)
    out, _ = last.communicate(timeout=DEADLINE)
    assert last.returncode == 0, out
    assert "all delivered" in out
    [(stored, known)] = re.findall(r"5,000 lines: ([0-9,]+) stored, ([0-9,]+) known already", out)
    assert int(stored.replace(",", "")) + int(known.replace(",", "")) == 5000
    counters = read_counters(settings["BRIDGE_GRAPH_URL"])
    assert counters["actions"] == 5000
    assert (
        fill(lambda outbox: outbox.count(unix_now(), with_delivered=True))[META].delivered == 5000
    )


def test_memory_does_not_grow_with_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    peaks = []
    for number in (4_000, 24_000):
        path = write_sales(folder / f"{number}.jsonl", number)
        code = (
            "import resource, sys; from bridge.cli import main; code = main(sys.argv[1:]);"
            " print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(code)"
        )
        result = subprocess.run(
            [sys.executable, "-c", code, "import", str(path), "--no-send"],
            env={**os.environ, "BRIDGE_OUTBOX_URL": f"sqlite:///{number}.db"},
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(int(result.stdout.splitlines()[-1]))
    assert peaks[1] < 1.1 * peaks[0]


# explain

ADDED = {
    "event": "Product Added",
    "properties": {"product_id": "fern", "price": 24, "currency": "EUR"},
}


def test_explain_shows_all_three_side_by_side_without_settings(run: Run, folder: Path) -> None:
    said = run("explain", "--event", "Purchase", "--property", "value=59",
               "--property", "currency=eur", "--property", "order_id=A-1")  # fmt: skip
    assert said.code == 0
    titles = said.out.splitlines()[0]
    for title in ("Meta, from us", "Segment", "Meta, from Segment by default"):
        assert title in titles
    assert '"event_name": "Purchase"' in said.out
    assert '"event": "Order Completed"' in said.out
    assert "currency: 'eur' becomes 'EUR'" in said.out
    assert "\x1b" not in said.out
    assert not said.err
    assert not list(folder.iterdir())


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
def test_explain_says_nothing_of_segment_if_only_meta_is_wanted(run: Run, form: list[str]) -> None:
    event = {"event_name": "Search", "custom_data": {"search_string": "fern", "currency": "eur"}}
    said = run("explain", json.dumps(event), "--only", "meta", *form)
    assert said.code == 0
    assert '"event_name": "Search"' in said.out
    assert "'eur' becomes 'EUR'" in said.out
    assert "Segment" not in said.out
    assert "search_without_product" not in said.out


@pytest.mark.parametrize("place", ["argument", "file", "stdin", "dash"])
def test_explain_reads_an_event(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    text = json.dumps(ADDED)
    (folder / "event.json").write_text(f"\ufeff{text}\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    argv = {"argument": [text], "file": ["event.json"], "stdin": [], "dash": ["-"]}[place]
    said = run("explain", *argv, "--json")
    assert said.code == 0
    told = json.loads(said.out)
    assert told["meta"]["event_name"] == "AddToCart"
    assert told["segment"]["event"] == "Product Added"
    assert told["actions"]["payload"]["custom_data"]["value"] == 24
    assert {"level", "code", "path", "words"} == set(told["warnings"][0])


def test_explain_tells_what_segment_refuses(run: Run) -> None:
    said = run("explain", "--event", "Search", "--property", "search_string=fern")
    assert said.code == 0
    assert "refused: properties.product_id" in said.out
    assert "[search_without_product]" in said.out


def run_on_terminal(columns: int, *argv: str) -> str:
    """Run a command in a process of its own, on a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    hidden = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")
    environ = {name: value for name, value in os.environ.items() if name not in hidden}
    process = subprocess.Popen(
        [sys.executable, "-m", "bridge", *argv],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**environ, "TERM": "xterm"},
    )
    os.close(theirs)
    written = b""
    with contextlib.suppress(OSError), open(ours, "rb", buffering=0) as terminal:
        while chunk := terminal.read(65_536):
            written += chunk
    assert process.wait(DEADLINE) == 0
    return written.decode()


def test_explain_puts_one_below_the_other_on_a_narrow_terminal() -> None:
    wide, narrow = (run_on_terminal(columns, "explain", json.dumps(ADDED)) for columns in (160, 80))
    assert "Segment" in next(line for line in wide.splitlines() if "Meta, from us" in line)
    assert "Segment" not in next(line for line in narrow.splitlines() if "Meta, from us" in line)
    assert "\x1b[" in wide
    assert max(map(len, re.sub(r"\x1b\[[0-9;]*m", "", narrow).splitlines())) <= 80


def test_explain_exits_with_1_if_the_event_is_refused(run: Run) -> None:
    said = run("explain", "--event", "Purchase")
    assert (said.code, said.out) == (1, "")
    assert said.err == "refused: custom_data.value: required for Purchase, is missing\n"
    said = run("explain", "--event", "Purchase", "--json")
    assert said.code == 1
    assert json.loads(said.out)["error"]["field"] == "custom_data.value"


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["table", "json"])
def test_explain_shows_no_personal_value(run: Run, form: list[str]) -> None:
    email, phone = "mary@example.com", "+49 170 1234567"
    for event in (
        {"event_name": "PageView", "user_data": {"email": email, "phone": phone}},
        {"event": "Lead", "context": {"traits": {"email": email, "phone": phone}}},
        {"event_name": "Lead", "user_data": {"birthday": email, "phone": email}},
        {"event_name": "Lead", "user_data": {"email": email}, "event_id": email},
    ):
        said = run("explain", json.dumps(event), *form)
        for value in (email, phone, "491701234567"):
            assert value not in said.out + said.err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["{"], "expected one event as JSON"),
        (['{"event": "Lead"} {}'], "expected one event as JSON"),
        (["[" * 100_000], "expected one event as JSON"),
        (["{" + " " * 10], "expected one event as JSON"),
        (["missing.json"], "cannot read missing.json: No such file"),
        (["missing.json"], "or directory\n"),
        (["Purchase"], "an event's name is given as --event Purchase\n"),
        (["Order Completed"], "--event 'Order Completed'\n"),
        (["."], "cannot read .: Is a directory"),
        (["large.json"], "of at most 262,144 bytes"),
        (["{}", "--event", "Lead"], "not both"),
        (["{}", "--property", "a=1"], "--property needs --event"),
        (["--event", "Lead", "--property", "a"], "--property must be like value=59"),
        (["--event", "Lead", "--app", "nothing:here"], "no module"),
    ],
)
def test_explain_says_what_it_cannot_read(
    run: Run, folder: Path, argv: list[str], words: str
) -> None:
    (folder / "large.json").write_bytes(b" " * 262_145)
    said = run("explain", *argv)
    assert (said.code, said.out) == (2, "")
    assert words in said.err


def test_explain_takes_the_settings_where_there_are_some(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    said = run("explain", "--event", "PageView", "--json")
    assert "segment" not in json.loads(said.out)  # there is no source
    monkeypatch.setenv("BRIDGE_SEGMENT_WRITE_KEY", "key")
    said = run("explain", "--event", "PageView", "--json")
    assert "switched_off" in said.out
    monkeypatch.delenv("BRIDGE_SECRET_KEY")
    said = run("explain", "--event", "PageView", "--json")
    assert said.code == 0
    assert "shown without your settings: BRIDGE_SECRET_KEY" in said.err
    assert "switched_off" not in said.out


def test_explain_uses_the_bridge_of_the_app(run: Run, folder: Path) -> None:
    (folder / "explained_shop.py").write_text(
        textwrap.dedent(
            f"""
            from bridge import Bridge
            from bridge.events.catalog import Catalog, EventMapping
            from bridge.destinations import Segment
            bridge = Bridge({SECRET!r}, [Segment("key")],
                            catalog=Catalog([EventMapping("Quiz Finished", "Quiz")]))
            """
        )
    )
    said = run("explain", "--event", "quiz_finished", "--app", "explained_shop:bridge", "--json")
    assert json.loads(said.out)["meta"]["event_name"] == "Quiz"


# Erase

MARY = build_subjects("b" * 64, [hash_external_id("42"), "a" * 64])


def test_person_is_erased_and_counted(run: Run) -> None:
    store(make_lead("held", subjects=MARY, due=unix_now() + 10), make_lead("bob's"))
    bury("dead", subjects=MARY)
    said = run("erase", "--user-id", "42", "--outbox", "sqlite:///bridge.db")
    assert (said.code, said.out) == (0, "2 erased: 1 waiting, 1 dead\n")
    assert count() == {"waiting": 1, "dead": 0}
    assert run("erase", "--user-id", "42").out == "0 erased: 0 waiting, 0 dead\n"


@pytest.mark.parametrize(
    "person",
    [
        ["--user-id", "42"],
        ["--external-id", "42"],
        ["--external-id", hash_external_id("42")],
        ["--external-id", "b" * 64],
        ["--email", "a" * 64],
        ["--user-id", "41", "--email", "A" * 64],
    ],
    ids=["user id", "raw", "hashed", "browser", "e-mail hash", "any of two"],
)
def test_each_way_to_name_a_person_finds_what_is_theirs(run: Run, person: list[str]) -> None:
    store(make_lead("1", subjects=MARY), make_lead("2"))
    said = run("erase", *person, "--json")
    assert json.loads(said.out) == {"waiting": 1, "dead": 0}


def test_person_of_one_shop_is_erased_and_not_of_another(run: Run, folder: Path) -> None:
    (folder / "erased_shops.py").write_text(
        f"from bridge import Shops\nshops = Shops({SECRET!r}, lambda name: None)\n"
    )
    for shop in ("a", "b"):
        store(make_lead(shop, subjects=build_subjects(None, [hash_external_id("42")], shop=shop)))
    unnamed = run("erase", "--user-id", "42", "--app", "erased_shops:shops")
    assert (unnamed.code, "--shop" in unnamed.err) == (2, True)
    said = run("erase", "--user-id", "42", "--shop", "a", "--app", "erased_shops:shops")
    assert (said.code, said.out) == (0, "1 erased: 1 waiting, 0 dead\n")
    assert count() == {"waiting": 1, "dead": 0}


@pytest.mark.parametrize("person", [[], ["--email", "mary at example"], ["--user-id", " "]])
def test_nobody_to_erase_is_told(run: Run, person: list[str]) -> None:
    store(make_lead("1"))
    said = run("erase", *person)
    assert said.code == 2
    assert "expected" in said.err
    assert "mary" not in said.err


def test_letters_of_a_browser_and_of_the_server_are_told_apart(run: Run) -> None:
    bury("1")
    bury("1", from_browser=True)
    shown = json.loads(run("dead", "show", "1", "--json").out)
    assert sorted(letter["from_browser"] for letter in shown) == [False, True]
    assert run("dead", "retry", "1").out == "2 due again\n"
