"""An empty store of each engine, on real servers that run for the whole session."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from bridge.outbox import Outbox, SQLiteOutbox

MakeOutbox = Callable[..., Outbox]


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    from tests.postgres_server import running_postgres

    with running_postgres() as url:
        yield url


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    from tests.redis_server import running_redis

    with running_redis() as url:
        yield url


def empty_postgres(url: str) -> None:
    import psycopg
    from psycopg import sql

    query = "SELECT tablename FROM pg_tables WHERE tablename LIKE 'bridge\\_%'"
    with psycopg.connect(url, autocommit=True) as connection:
        names = [sql.Identifier(name) for [name] in connection.execute(query).fetchall()]
        if names:
            drop = sql.SQL("DROP TABLE {} CASCADE").format(sql.SQL(", ").join(names))
            connection.execute(drop)


def empty_redis(url: str) -> None:
    import redis

    with redis.Redis.from_url(url) as client:
        client.flushdb()


def build_engine(name: str, request: pytest.FixtureRequest) -> MakeOutbox:
    """What makes an outbox of engine ``name``; its store is empty."""
    if name == "sqlite":
        folder: Path = request.getfixturevalue("tmp_path")
        return partial(SQLiteOutbox, folder / "bridge.db")
    url: str = request.getfixturevalue(f"{name}_url")
    if name == "postgres":
        from bridge.outbox.postgres.outbox import PostgresOutbox

        empty_postgres(url)
        return partial(PostgresOutbox, url)
    from bridge.outbox.redis.outbox import RedisOutbox

    empty_redis(url)
    return partial(RedisOutbox, url)


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def engine(request: pytest.FixtureRequest) -> MakeOutbox:
    return build_engine(request.param, request)


@pytest.fixture
async def make_outbox(engine: MakeOutbox) -> AsyncIterator[MakeOutbox]:
    """Makes any number of outboxes on the same store."""
    made: list[Outbox] = []

    def make(*, capacity: int | None = None) -> Outbox:
        made.append(engine() if capacity is None else engine(capacity=capacity))
        return made[-1]

    yield make
    for outbox in made:
        await outbox.close()
