"""An empty working directory with or without settings, and the command."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from bridge.cli import main
from tests.cli.commands import SETTINGS, Run, Said
from tests.servers import Sandbox


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and no settings but those of the test."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("BRIDGE_")]:
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def settings(sandbox_process: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of an app beside an empty sandbox."""
    asyncio.run(Sandbox(sandbox_process).reset())
    values = {**SETTINGS, "BRIDGE_GRAPH_URL": sandbox_process}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return values


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*argv: str) -> Said:
        code = main(argv)
        return Said(code, *capsys.readouterr())

    return call
