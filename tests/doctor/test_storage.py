"""What may lose events that were stored: found on real files and servers."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import bridge.outbox.sqlite.file
import bridge.outbox.sqlite.place as place
from bridge.delivery.spool import Spool
from bridge.doctor.finding import Finding
from bridge.doctor.storage import look_at_durability, look_at_outbox, look_at_spool
from bridge.outbox import Outbox, SQLiteOutbox
from bridge.outbox.sqlite.place import find_file_system
from tests.damage import fill_file, zero_page
from tests.factories import make_delivery, unix_now

MOUNTS = """\
22 1 0:20 / / rw - ext4 /dev/sda1 rw
30 22 0:25 / /srv rw,relatime shared:1 - nfs4 files:/srv rw
31 30 0:26 / /srv/fast rw - xfs /dev/sdb rw
32 22 0:27 / /with\\040space rw - cifs //nas/x rw
33 22 0:28 / /run rw - tmpfs tmpfs rw
34 22 0:29 / /over rw - ext4 /dev/sdc rw
35 22 0:30 / /over rw - nfs files:/over rw
broken line
"""


async def look(outbox: Outbox) -> list[Finding]:
    try:
        findings = [each async for each in look_at_outbox(outbox, ["meta:1"])]
        return findings + [each async for each in look_at_durability(outbox)]
    finally:
        await outbox.close()


@pytest.fixture(autouse=True)
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose disks are ext4, wherever the tests run."""
    file = tmp_path / "mountinfo"
    file.write_text("22 1 0:20 / / rw - ext4 /dev/sda1 rw\n")
    monkeypatch.setattr(place, "MOUNTS", file)
    monkeypatch.setattr(place, "TIGHT_BYTES", 1)
    return file


async def test_damaged_file_is_bad(tmp_path: Path) -> None:
    path = tmp_path / "bridge.db"
    await fill_file(path)
    assert all(each.level == "good" for each in await look(SQLiteOutbox(path)))
    zero_page(path, 13, b"body-0200")
    [finding] = [each for each in await look(SQLiteOutbox(path)) if each.level == "bad"]
    assert finding.text.startswith("the outbox's file is damaged (")
    assert ".recover" in finding.fix


async def test_somebody_who_reads_for_long_is_bad(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.outbox.sqlite.file, "LARGE_WAL", 1_000_000)
    outbox = SQLiteOutbox(tmp_path / "bridge.db")
    await outbox.put([make_delivery("1")], unix_now())
    with closing(sqlite3.connect(tmp_path / "bridge.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM deliveries").fetchone()
        await outbox.put([make_delivery("2", body=bytes(1_500_000))], unix_now())
        [finding] = [each for each in await look(outbox) if each.level == "bad"]
    assert "-wal file has 1 MB and grows" in finding.text
    assert "fuser" in finding.fix


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/bridge.db", "ext4"),
        ("/srv/bridge.db", "nfs4"),
        ("/srv/fast/bridge.db", "xfs"),
        ("/srvx/bridge.db", "ext4"),
        ("/with space/bridge.db", "cifs"),
        ("/run", "tmpfs"),
        ("/over/bridge.db", "nfs"),
    ],
)
def test_file_system_is_that_of_the_nearest_mount(path: str, kind: str) -> None:
    assert find_file_system(path, MOUNTS) == kind
    assert find_file_system(path, "") == ""


async def test_file_as_it_is_made_is_durable(tmp_path: Path) -> None:
    await look(SQLiteOutbox(tmp_path / "bridge.db"))
    findings = await look(SQLiteOutbox(tmp_path / "bridge.db"))
    assert [(each.level, each.what) for each in findings] == [
        ("good", "outbox"),
        ("good", "durability"),
    ]


async def test_file_that_doctor_creates_may_not_be_the_apps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first, second, _ = await look(SQLiteOutbox("bridge.db"))
    assert first.text == f"SQLite, {tmp_path}/bridge.db stores and returns events"
    assert second.level == "warning"
    assert "created just now" in second.text
    assert "absolute path" in second.fix
    assert len(await look(SQLiteOutbox("bridge.db"))) == 2


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_outbox_in_memory_is_never_missing(tmp_path: Path, kind: str) -> None:
    outbox = SQLiteOutbox(":memory:" if kind == "memory" else tmp_path / "bridge.db")
    assert outbox.is_missing() == (kind == "file")


async def test_file_that_others_may_read(tmp_path: Path) -> None:
    path = tmp_path / "bridge.db"
    path.touch()
    os.chmod(path, 0o644)
    [found] = [each for each in await look(SQLiteOutbox(path)) if each.what == "durability"]
    assert found.level == "bad"
    assert "has mode 0644" in found.text
    assert found.fix.startswith(f"chmod 600 {path}")


@pytest.mark.parametrize(
    ("kind", "level", "words"),
    [
        ("nfs4", "bad", "a network's"),
        ("tmpfs", "warning", "in memory"),
        ("overlay", "warning", "container's own layer"),
    ],
)
async def test_file_in_a_place_that_does_not_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, level: str, words: str
) -> None:
    monkeypatch.setattr(place, "_find_kind", lambda path: kind)
    findings = await look(SQLiteOutbox(tmp_path / "bridge.db"))
    [found] = [each for each in findings if each.what == "durability"]
    assert found.level == level
    assert words in found.text
    assert found.fix


async def test_disk_that_is_nearly_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "TIGHT_BYTES", 1 << 60)
    findings = await look(SQLiteOutbox(tmp_path / "bridge.db"))
    assert any("MiB are free" in each.text for each in findings)


async def test_outbox_in_memory(tmp_path: Path) -> None:
    findings = await look(SQLiteOutbox(":memory:"))
    assert findings[-1].level == "bad"
    assert "in memory" in findings[-1].text


async def test_outbox_that_does_not_work(tmp_path: Path) -> None:
    findings = await look(SQLiteOutbox(tmp_path / "nowhere" / "bridge.db"))
    assert [each.level for each in findings] == ["bad", "bad"]


async def test_what_waits_for_nobody_is_told(tmp_path: Path) -> None:
    outbox = SQLiteOutbox(tmp_path / "bridge.db")
    await outbox.put([make_delivery(destination="meta:gone")], unix_now())
    findings = await look(outbox)
    assert any("meta:gone" in each.text for each in findings if each.level == "warning")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), []),
        (("--appendonly", "no"), [("bad", "appendonly is no")]),
        (("--appendfsync", "everysec"), [("warning", "appendfsync is everysec")]),
        (
            ("--maxmemory-policy", "allkeys-lru"),
            [("bad", "maxmemory-policy is allkeys-lru: a full memory deletes")],
        ),
        (("--maxmemory-policy", "volatile-lru"), []),
    ],
)
async def test_redis_that_forgets(options: tuple[str, ...], expected: Any) -> None:
    from bridge.outbox.redis.outbox import RedisOutbox
    from tests.redis_server import running_redis_server

    with running_redis_server(*options) as server:
        findings = await look(RedisOutbox(server.url))
    found = [each for each in findings if each.level in ("bad", "warning")]
    assert [each.level for each in found] == [level for level, _ in expected]
    for each, (_, words) in zip(found, expected, strict=True):
        assert words in each.text
        assert each.fix.startswith("CONFIG SET")


async def test_postgres_that_does_not_wait_for_its_disk() -> None:
    import psycopg

    from bridge.outbox.postgres.outbox import PostgresOutbox
    from tests.postgres_server import running_postgres

    with running_postgres() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            for name in ("fsync", "full_page_writes", "synchronous_commit"):
                connection.execute(f"ALTER SYSTEM SET {name} = on".encode())
            connection.execute("SELECT pg_reload_conf()")
        before = await look(PostgresOutbox(url))
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET synchronous_commit = off")
            connection.execute("ALTER SYSTEM SET full_page_writes = off")
            connection.execute("SELECT pg_reload_conf()")
        after = await look(PostgresOutbox(f"{url}?options=-csynchronous_commit%3Doff"))
    assert [each.level for each in before] == ["good", "good"]
    found = [each for each in after if each.what == "durability"]
    assert [each.fix.partition(";")[0] for each in found] == [
        "ALTER SYSTEM SET full_page_writes = on",
        "take synchronous_commit out of the outbox URL",
    ]


async def look_at(spool: Spool) -> Finding:
    [finding] = [each async for each in look_at_spool(spool)]
    return finding


async def test_spool_says_what_waits_and_where_it_cannot_be(tmp_path: Path) -> None:
    outbox, now = SQLiteOutbox(tmp_path / "bridge.db"), unix_now()
    spool = Spool(tmp_path / "spool.db", outbox)
    assert (await look_at(spool)).level == "good"
    await spool.put([make_delivery(due=now, expires=now + 60)], now)
    found = await look_at(spool)
    assert found.level == "warning"
    assert found.text.startswith(f"waiting in {spool.path}")
    nowhere = await look_at(Spool(tmp_path / "none" / "spool.db", outbox))
    assert nowhere.text == f"there is none: the folder {tmp_path}/none does not exist"
    assert [each async for each in look_at_spool(None)] == []
