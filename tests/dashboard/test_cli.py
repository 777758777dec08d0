"""``pixel-bridge dashboard``: on this machine only, and gone at Ctrl-C."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from bridge.cli import main
from bridge.outbox import SQLiteOutbox
from tests.dashboard.shelf import fill
from tests.servers import DEADLINE, stop_process


def test_missing_outbox_is_said_plainly(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboard", "--outbox", "sqlite:////nowhere/at/all.db"]) == 2
    assert "SQLite, /nowhere/at/all.db does not exist" in capsys.readouterr().err


async def store(path: Path) -> None:
    outbox = SQLiteOutbox(path)
    await fill(outbox)
    await outbox.close()


def test_dashboard_serves_this_machine_and_stops(tmp_path: Path) -> None:
    asyncio.run(store(tmp_path / "bridge.db"))
    command = [sys.executable, "-m", "bridge", "dashboard", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--outbox", f"sqlite:///{tmp_path}/bridge.db"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().partition("bridge.db: ")[2].split()[0]
        assert url.startswith("http://127.0.0.1:")
        with httpx.Client(base_url=url, trust_env=False, timeout=DEADLINE) as client:
            assert client.get("/api/overview").json()["total"]["stored"] == 16
            assert client.get("/", headers={"host": "evil.example"}).status_code == 403
    finally:
        said = stop_process(process)
    assert (said, process.returncode) == ("", 0)
