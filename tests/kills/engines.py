"""An empty outbox of each engine, and its server if it has one, for as long as a run lasts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.kills.run import Killable
from tests.postgres_server import running_server
from tests.redis_server import running_redis_server


@contextmanager
def running_engine(name: str, folder: Path) -> Iterator[tuple[str, Killable | None]]:
    """The address of the outbox, and its server, which may be killed."""
    if name == "sqlite":
        yield f"sqlite:///{folder / 'bridge.db'}", None
    elif name == "postgres":
        with running_server() as postgres:
            yield postgres.url, postgres
    else:
        with running_redis_server() as redis:
            yield redis.url, redis
