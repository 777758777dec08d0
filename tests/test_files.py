"""Whatever Bridge creates on disk, only its owner may read."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.cli import main
from bridge.files import open_private
from bridge.outbox import SQLiteOutbox
from tests.factories import NOW, make_delivery


@pytest.fixture(params=[0o000, 0o022, 0o277], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def read_modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


async def test_outbox_and_its_companions_are_their_owners_alone(tmp_path: Path, umask: int) -> None:
    outbox = SQLiteOutbox(tmp_path / "bridge.db")
    await outbox.put([make_delivery()], NOW)
    await outbox.count(NOW, with_delivered=True)
    modes = read_modes(tmp_path)
    await outbox.close()
    assert modes == dict.fromkeys(["bridge.db", "bridge.db-wal", "bridge.db-shm"], 0o600)


async def test_outbox_behind_a_link_is_its_owners_alone(tmp_path: Path, umask: int) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "bridge.db")
    outbox = SQLiteOutbox(tmp_path / "link.db")
    await outbox.put([make_delivery()], NOW)
    modes = read_modes(tmp_path)
    await outbox.close()
    assert set(modes.values()) == {0o600}


async def test_rights_that_somebody_gave_stay(tmp_path: Path) -> None:
    path = tmp_path / "bridge.db"
    path.touch()
    path.chmod(0o660)
    outbox = SQLiteOutbox(path)
    await outbox.put([make_delivery()], NOW)
    modes = read_modes(tmp_path)
    await outbox.close()
    assert set(modes.values()) == {0o660}


def test_files_of_an_import_are_their_owners_alone(
    tmp_path: Path, umask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("BRIDGE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("BRIDGE_PIXEL_ID", "1")
    monkeypatch.setenv("BRIDGE_ACCESS_TOKEN", "token")
    monkeypatch.setenv("BRIDGE_SECRET_KEY", "k" * 32)
    source = tmp_path / "events.jsonl"
    with open(source, "w", opener=open_private) as file:
        file.write("{}\n")
    main(["import", str(source), "--no-send"])
    modes = read_modes(tmp_path)
    assert {"events.jsonl.progress.json", "bridge.db"} <= modes.keys()
    assert any("rejected" in name for name in modes)
    assert set(modes.values()) == {0o600}


def test_concurrent_processes_do_not_lose_their_locks(tmp_path: Path) -> None:
    """Opening the file a second time must not end SQLite's locks on it."""

    async def run() -> None:
        first, second = (SQLiteOutbox(tmp_path / "bridge.db") for _ in range(2))
        await first.put([make_delivery("1")], NOW)
        await asyncio.gather(
            *(box.put([make_delivery(f"{i}")], NOW) for i in range(40) for box in (first, second))
        )
        assert (await first.count(NOW, with_delivered=True))["meta:1"].waiting == 40
        await asyncio.gather(first.close(), second.close())

    asyncio.run(run())
