"""Which engine a URL names, and what is said when its package is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import bridge.outbox
from bridge import ConfigError
from bridge.outbox import SQLiteOutbox, open_outbox
from tests.factories import NOW, make_delivery

SECRET = "tr0ub4dor"


async def test_sqlite_url_names_a_file(tmp_path: Path) -> None:
    outbox = open_outbox(f"sqlite:///{tmp_path}/a.db")
    await outbox.put([make_delivery()], NOW)
    await outbox.close()
    assert isinstance(outbox, SQLiteOutbox)
    assert (tmp_path / "a.db").exists()


@pytest.mark.parametrize(
    ("url", "engine"),
    [
        (f"postgresql://shop:{SECRET}@db.example.com/shop", "PostgresOutbox"),
        (f"postgres://shop:{SECRET}@db.example.com:6432/shop?sslmode=require", "PostgresOutbox"),
        (f"redis://:{SECRET}@redis.example.com:6379/0", "RedisOutbox"),
        (f"rediss://shop:{SECRET}@redis.example.com/0", "RedisOutbox"),
        (f"unix://:{SECRET}@/run/redis.sock", "RedisOutbox"),
    ],
)
def test_scheme_chooses_the_engine(url: str, engine: str) -> None:
    outbox = open_outbox(url)
    assert type(outbox) is getattr(bridge.outbox, engine)
    assert SECRET not in repr(outbox)


@pytest.mark.parametrize(
    "url",
    ["bridge.db", "", "sqlite://", "sqlite:///", "sqlite://x/y", f"mysql://shop:{SECRET}@x/y"],
)
def test_url_without_engine_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigError, match="outbox must be like sqlite:///") as caught:
        open_outbox(url)
    assert SECRET not in str(caught.value)


def test_unknown_name_has_no_engine() -> None:
    with pytest.raises(AttributeError, match="MongoOutbox"):
        _ = bridge.outbox.MongoOutbox


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout


def test_engines_are_imported_when_they_are_wanted() -> None:
    code = "import sys, bridge.outbox; print({'psycopg', 'redis', 'sqlalchemy'} & {*sys.modules})"
    assert run(code) == "set()\n"


@pytest.mark.parametrize(
    ("engine", "package", "extra"),
    [("PostgresOutbox", "psycopg", "postgres"), ("RedisOutbox", "redis", "redis")],
)
@pytest.mark.parametrize("use", ["from bridge.outbox import {}", "{}"])
def test_missing_package_is_named(engine: str, package: str, extra: str, use: str) -> None:
    scheme = {"psycopg": "postgresql", "redis": "redis"}[package]
    use = use.format(engine) if "import" in use else f"open_outbox('{scheme}://host/0')"
    code = f"""
import sys
from bridge import ConfigError
from bridge.outbox import open_outbox
sys.modules[{package!r}] = None
try:
    {use}
except ConfigError as error:
    print(error)
"""
    assert run(code) == (
        f"{engine} needs the {package} package: pip install 'pixel-bridge[{extra}]'\n"
    )
