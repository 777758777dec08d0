"""An empty store of each engine, on real servers that run for the whole session."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

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
    kind, _, slots = name.partition(", slots ")
    url: str = request.getfixturevalue(f"{kind}_url")
    if kind == "postgres":
        from bridge.outbox.postgres.outbox import PostgresOutbox

        empty_postgres(url)
        return partial(PostgresOutbox, url)
    from bridge.outbox.redis.outbox import RedisOutbox

    empty_redis(url)
    return partial(RedisOutbox, f"{url}?slots={slots}" if slots else url)


# What several slots promise otherwise: each has its own order, and its share of the capacity.
OF_ONE_SLOT = {
    "test_two_thousand_deliveries_go_in_one_put",
    "test_claim_takes_what_is_due_oldest_first",
    "test_put_without_room_for_all_stores_none",
    "test_room_comes_back_with_what_is_delivered_or_dropped",
    "test_concurrent_puts_do_not_pass_the_capacity",
    "test_what_is_stored_at_the_start_counts_against_the_capacity",
    "test_full_outbox_refuses_what_is_new_and_says_what_to_do",
    "test_last_tenth_of_the_room_is_not_for_page_views",
    "test_probe_finds_whether_there_is_room",
    "test_any_steps_end_as_in_the_model",
}


@pytest.fixture(params=["sqlite", "postgres", "redis", "redis, slots 3"])
def engine(request: pytest.FixtureRequest) -> MakeOutbox:
    if "slots" in request.param and request.node.originalname in OF_ONE_SLOT:
        pytest.skip("several slots promise this otherwise: see tests/outbox/test_cluster.py")
    return build_engine(request.param, request)


@pytest.fixture
async def make_outbox(engine: MakeOutbox) -> AsyncIterator[MakeOutbox]:
    """Makes any number of outboxes on the same store."""
    made: list[Outbox] = []

    def make(**options: Any) -> Outbox:
        made.append(engine(**options))
        return made[-1]

    yield make
    for outbox in made:
        await outbox.close()
