"""What only PostgreSQL promises: the caller's transaction, and a server that fails."""

from __future__ import annotations

import asyncio
import math
import os
import sqlite3
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from decimal import Decimal
from typing import Any

import anyio
import psycopg
import pytest
from psycopg.rows import dict_row
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

import bridge.delivery.intake
import bridge.outbox.postgres.outbox
from bridge import ConfigError, OutboxError, OutboxFullError
from bridge.delivery.intake import Intake
from bridge.delivery.metrics import Metrics
from bridge.figures.counter import FigureCounter
from bridge.figures.summary import summarize
from bridge.outbox import Figure, PostgresOutbox
from bridge.outbox.base import REMEMBER_DAYS, REMEMBERED_SECONDS, build_memory
from bridge.outbox.postgres import floors, pool, puts, room, sql
from bridge.outbox.postgres.rows import build_columns, name_memory
from tests.factories import BROWSER, NOW, make_bridge, make_delivery, make_meta
from tests.postgres_server import PostgresServer, running_server
from tests.servers import DEADLINE, find_free_port, poll

LEASE = 60.0
SECRET = "tr0ub4dor"
MEMORY = build_memory(REMEMBER_DAYS)


@pytest.fixture(scope="module")
def running() -> Iterator[PostgresServer]:
    with running_server() as server:
        yield server


@pytest.fixture
def admin(running: PostgresServer) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """The administrator of an empty database."""
    with psycopg.connect(running.url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
        connection.execute("GRANT USAGE ON SCHEMA public TO public")
        yield connection


@pytest.fixture
def server(running: PostgresServer, admin: psycopg.Connection[Any]) -> PostgresServer:
    return running


@pytest.fixture
async def outbox(server: PostgresServer) -> AsyncIterator[PostgresOutbox]:
    outbox = PostgresOutbox(server.url)
    yield outbox
    await outbox.close()


async def claim(outbox: PostgresOutbox, now: float = NOW) -> list[str]:
    claimed = await outbox.claim("meta:1", 5000, now=now, lease=LEASE)
    return [delivery.event_id for delivery in claimed]


def patience(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(bridge.outbox.postgres.outbox, "TIMEOUT", seconds)


# The caller's transaction

ORDER = "INSERT INTO orders VALUES ('A-1')"
End = Callable[[], Any]


@asynccontextmanager
async def psycopg_async(url: str) -> AsyncIterator[tuple[Any, End, End]]:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute(ORDER)
        yield connection, connection.commit, connection.rollback


@asynccontextmanager
async def psycopg_sync(url: str) -> AsyncIterator[tuple[Any, End, End]]:
    with psycopg.connect(url) as connection:
        connection.execute(ORDER)
        yield connection, connection.commit, connection.rollback


@asynccontextmanager
async def psycopg_dicts_through_a_pooler(url: str) -> AsyncIterator[tuple[Any, End, End]]:
    """As some have it: rows as dicts, client-side parameters, a search path of their own."""
    async with await psycopg.AsyncConnection.connect(
        url,
        row_factory=dict_row,
        cursor_factory=psycopg.AsyncClientCursor,
    ) as connection:
        await connection.execute(ORDER)
        await connection.execute("SET search_path = pg_catalog")
        yield connection, connection.commit, connection.rollback


def dialect(url: str) -> str:
    return url.replace("postgresql:", "postgresql+psycopg:")


@asynccontextmanager
async def sqlalchemy_async_session(url: str) -> AsyncIterator[tuple[Any, End, End]]:
    engine = create_async_engine(dialect(url))
    async with AsyncSession(engine) as session:
        await session.execute(text(ORDER))
        yield session, session.commit, session.rollback
    await engine.dispose()


@asynccontextmanager
async def sqlalchemy_async_connection(url: str) -> AsyncIterator[tuple[Any, End, End]]:
    engine = create_async_engine(dialect(url))
    async with engine.connect() as connection:
        await connection.execute(text(ORDER))
        yield connection, connection.commit, connection.rollback
    await engine.dispose()


@asynccontextmanager
async def sqlalchemy_session(url: str) -> AsyncIterator[tuple[Any, End, End]]:
    engine = create_engine(dialect(url))
    with Session(engine) as session:
        session.execute(text(ORDER))
        yield session, session.commit, session.rollback
    engine.dispose()


@asynccontextmanager
async def sqlalchemy_connection(url: str) -> AsyncIterator[tuple[Any, End, End]]:
    engine = create_engine(dialect(url))
    with engine.connect() as connection:
        connection.execute(text(ORDER))
        yield connection, connection.commit, connection.rollback
    engine.dispose()


Open = Callable[[str], Any]
each_kind = pytest.mark.parametrize(
    "open_connection",
    [
        psycopg_async,
        psycopg_sync,
        psycopg_dicts_through_a_pooler,
        sqlalchemy_async_session,
        sqlalchemy_async_connection,
        sqlalchemy_session,
        sqlalchemy_connection,
    ],
    ids=lambda kind: kind.__name__,
)


@pytest.fixture
def orders(admin: psycopg.Connection[tuple[Any, ...]]) -> Callable[[], list[str]]:
    """Reads the shop's own table."""
    admin.execute("CREATE TABLE orders (id text)")
    return lambda: [row[0] for row in admin.execute("SELECT id FROM orders").fetchall()]


async def done(ending: Any) -> None:
    if isinstance(ending, Awaitable):
        await ending


@each_kind
async def test_event_commits_with_the_callers_order(
    outbox: PostgresOutbox,
    server: PostgresServer,
    orders: Callable[[], list[str]],
    open_connection: Open,
) -> None:
    async with open_connection(server.url) as (connection, commit, _):
        deliveries = [make_delivery("1"), make_delivery("2"), make_delivery("1")]
        assert await outbox.put(deliveries, NOW, connection=connection) == [True, True, False]
        assert (await claim(outbox), orders()) == ([], [])
        await done(commit())
        assert (sorted(await claim(outbox)), orders()) == (["1", "2"], ["A-1"])


@each_kind
async def test_event_was_never_there_when_the_caller_rolls_back(
    outbox: PostgresOutbox,
    server: PostgresServer,
    orders: Callable[[], list[str]],
    open_connection: Open,
) -> None:
    async with open_connection(server.url) as (connection, _, rollback):
        assert await outbox.put([make_delivery()], NOW, connection=connection) == [True]
        await done(rollback())
    assert (await outbox.count(NOW, with_delivered=True), orders()) == ({}, [])
    assert await outbox.put([make_delivery()], NOW) == [True]


@each_kind
async def test_transaction_stays_usable_when_the_event_cannot_be_stored(
    outbox: PostgresOutbox,
    server: PostgresServer,
    admin: psycopg.Connection[Any],
    orders: Callable[[], list[str]],
    open_connection: Open,
) -> None:
    await outbox.put([make_delivery("before")], NOW)
    admin.execute("ALTER TABLE bridge_deliveries RENAME COLUMN stored_at TO elsewhere")
    async with open_connection(server.url) as (connection, commit, _):
        with pytest.raises(OutboxError, match="stored_at") as caught:
            await outbox.put([make_delivery(body=SECRET.encode())], NOW, connection=connection)
        await done(commit())
    assert orders() == ["A-1"]
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@each_kind
async def test_transaction_stays_usable_when_the_call_is_cancelled(
    outbox: PostgresOutbox,
    server: PostgresServer,
    admin: psycopg.Connection[Any],
    orders: Callable[[], list[str]],
    open_connection: Open,
) -> None:
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    for by_scope in (False, True):
        async with held(outbox, server.url) as other, open_connection(server.url) as opened:
            connection, commit, _ = opened
            scope = anyio.CancelScope()

            async def put(connection: Any, scope: anyio.CancelScope) -> None:
                with scope:
                    await outbox.put([make_delivery()], NOW, connection=connection)

            putting = asyncio.create_task(put(connection, scope))

            async def waits() -> bool:
                return admin.execute(query).fetchall() != [(0,)]

            await poll(waits, "the statement")
            if by_scope:
                scope.cancel()
                async with asyncio.timeout(DEADLINE):
                    await putting
                assert scope.cancelled_caught
            else:
                putting.cancel()
                async with asyncio.timeout(DEADLINE):
                    with pytest.raises(asyncio.CancelledError):
                        await putting
            await done(commit())
            await other.rollback()
    assert orders() == ["A-1", "A-1"]
    assert await outbox.count(NOW) == {}


@each_kind
async def test_serialization_failure_is_an_outbox_error_and_leaves_the_transaction_usable(
    outbox: PostgresOutbox,
    server: PostgresServer,
    admin: psycopg.Connection[Any],
    orders: Callable[[], list[str]],
    open_connection: Open,
) -> None:
    admin.execute("ALTER ROLE postgres SET default_transaction_isolation = 'repeatable read'")
    try:
        async with open_connection(server.url) as (connection, commit, _):
            await outbox.put([make_delivery()], NOW)  # after the caller's snapshot
            with pytest.raises(OutboxError, match="could not serialize") as caught:
                await outbox.put([make_delivery()], NOW, connection=connection)
            assert getattr(caught.value.__cause__, "sqlstate", None) == "40001"
            await done(commit())
    finally:
        admin.execute("ALTER ROLE postgres RESET default_transaction_isolation")
    assert orders() == ["A-1"]


async def test_full_outbox_fails_the_put_and_not_the_transaction(
    server: PostgresServer, orders: Callable[[], list[str]]
) -> None:
    outbox = PostgresOutbox(server.url, capacity=1)
    await outbox.put([make_delivery("1")], NOW)
    async with psycopg_async(server.url) as (connection, commit, _):
        with pytest.raises(OutboxFullError, match="1 of 1"):
            await outbox.put([make_delivery("2")], NOW, connection=connection)
        await commit()
    assert orders() == ["A-1"]
    await outbox.close()


async def test_room_that_another_process_made_is_found(
    outbox: PostgresOutbox, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "RECOUNT", 0.0)
    full = PostgresOutbox(server.url, capacity=1)
    await full.put([make_delivery("1")], NOW)
    with pytest.raises(OutboxFullError):
        await full.put([make_delivery("2")], NOW)
    await outbox.ack(await outbox.claim("meta:1", 10, now=NOW, lease=LEASE), NOW)

    async def stored() -> bool:
        with suppress(OutboxFullError):
            return await full.put([make_delivery("2")], NOW) == [True]
        return False

    await poll(stored, "room")
    await full.close()


async def test_slow_count_does_not_fail_the_put(
    outbox: PostgresOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "COUNT_HELD", "SELECT count(*) FROM pg_sleep(60)")
    monkeypatch.setattr(bridge.outbox.postgres.outbox, "COUNT_TIMEOUT", 0.1)
    assert await outbox.put([make_delivery()], NOW) == [True]


async def test_connection_without_a_transaction_is_refused(
    outbox: PostgresOutbox, server: PostgresServer
) -> None:
    async with await psycopg.AsyncConnection.connect(server.url, autocommit=True) as connection:
        with pytest.raises(ConfigError, match="no transaction open"):
            await outbox.put([make_delivery()], NOW, connection=connection)
        async with connection.transaction():
            assert await outbox.put([make_delivery()], NOW, connection=connection) == [True]
    assert await claim(outbox) == ["1"]


async def test_put_begins_the_transaction_of_an_idle_connection_and_leaves_it_open(
    outbox: PostgresOutbox, server: PostgresServer
) -> None:
    async with await psycopg.AsyncConnection.connect(server.url) as connection:
        assert await outbox.put([make_delivery()], NOW, connection=connection) == [True]
        assert await claim(outbox) == []
        await connection.commit()
    assert await claim(outbox) == ["1"]


async def test_other_connections_are_refused_by_name(outbox: PostgresOutbox) -> None:
    for other in (object(), sqlite3, "postgresql://x"):
        with pytest.raises(ConfigError, match=r"psycopg connection .* AsyncSession"):
            await outbox.put([make_delivery()], NOW, connection=other)
    engine = create_engine("sqlite://")
    with engine.connect() as connection, pytest.raises(ConfigError, match="got sqlite"):
        await outbox.put([make_delivery()], NOW, connection=connection)
    engine.dispose()


async def test_duplicate_in_a_long_transaction_does_not_block_the_first(
    outbox: PostgresOutbox, server: PostgresServer
) -> None:
    await outbox.put([make_delivery()], NOW)
    async with await psycopg.AsyncConnection.connect(server.url) as connection:
        assert await outbox.put([make_delivery()], NOW, connection=connection) == [False]
        [claimed] = await outbox.claim("meta:1", 10, now=NOW, lease=LEASE)
        await outbox.ack([claimed], NOW)
        await connection.rollback()
    assert (await outbox.count(NOW, with_delivered=True))["meta:1"].delivered == 1


@asynccontextmanager
async def held(outbox: PostgresOutbox, url: str, event_id: str = "1") -> AsyncIterator[Any]:
    """A transaction that has stored an event and does not end."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await outbox.put([make_delivery(event_id)], NOW, connection=connection)
        yield connection


async def test_put_waits_for_another_transactions_same_key_and_no_longer_than_it_may(
    outbox: PostgresOutbox, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with held(outbox, server.url) as connection:
        monkeypatch.setattr(puts, "STALLED", 0.2)
        with pytest.raises(OutboxError, match="another transaction has stored this event"):
            await outbox.put([make_delivery()], NOW)
        monkeypatch.setattr(puts, "STALLED", 20)
        waiting = [asyncio.create_task(outbox.put([make_delivery()], NOW)) for _ in range(8)]
        stored = await outbox.put([make_delivery("other")], NOW)
        assert stored == [True]
        await connection.commit()
        assert await asyncio.gather(*waiting) == [[False]] * 8


async def test_put_stores_what_another_transaction_rolled_back(
    outbox: PostgresOutbox, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(puts, "STALLED", 20)
    async with held(outbox, server.url) as connection:
        waiting = [asyncio.create_task(outbox.put([make_delivery()], NOW)) for _ in range(8)]
        await outbox.put([make_delivery("other")], NOW)
        assert not any(each.done() for each in waiting)
        await connection.rollback()
        assert sorted(await asyncio.gather(*waiting)) == [[False]] * 7 + [[True]]


async def test_puts_that_wait_for_a_transaction_hold_up_nobody_else(
    outbox: PostgresOutbox, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(puts, "STALLED", 60)
    monkeypatch.setattr(bridge.outbox.postgres.outbox, "TIMEOUT", 60)
    async with held(outbox, server.url) as connection:
        waiting = [
            asyncio.create_task(
                outbox.put([make_delivery(), make_delivery(str(i), destination="meta:2")], NOW)
            )
            for i in range(20)
        ]
        for i in range(50):
            assert await outbox.put([make_delivery(f"other {i}")], NOW) == [True]
            assert len(await claim(outbox)) == 1
            await outbox.count(NOW, with_delivered=True)
        assert not any(each.done() for each in waiting)
        await connection.commit()
        assert await asyncio.gather(*waiting) == [[False, True]] * 20


async def test_put_that_gives_up_waiting_leaves_the_callers_transaction_alone(
    outbox: PostgresOutbox, server: PostgresServer
) -> None:
    async with held(outbox, server.url, "mine") as connection:
        row = await (await connection.execute("SHOW lock_timeout")).fetchone()
        assert row == ("0",)


def count_statements(admin: psycopg.Connection[Any]) -> Callable[[], int]:
    """Counts the statements that store something."""
    admin.execute(
        "CREATE SEQUENCE statements;"
        " CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM nextval('statements'); RETURN NULL; END $$;"
        " CREATE TRIGGER note AFTER INSERT ON bridge_deliveries"
        " FOR EACH STATEMENT EXECUTE FUNCTION note();"
    )
    query = "SELECT last_value FROM statements"
    return lambda: int(admin.execute(query).fetchall()[0][0])


async def test_puts_that_wait_at_the_same_moment_are_one_statement(
    outbox: PostgresOutbox, admin: psycopg.Connection[Any]
) -> None:
    await outbox.count(NOW, with_delivered=True)
    read = count_statements(admin)
    puts = [
        outbox.put([make_delivery(str(i), due=NOW + i), make_delivery(str(i % 50))], NOW + i)
        for i in range(100)
    ]
    answers = await asyncio.gather(*puts)
    assert answers == [[True, False]] * 50 + [[True, False]] * 50
    assert read() == 1
    assert len(await claim(outbox, NOW + 100)) == 100


async def test_two_puts_of_one_key_in_one_statement_have_an_answer_each(
    outbox: PostgresOutbox,
) -> None:
    puts = [
        [make_delivery("1", body=b"first"), make_delivery("2")],
        [make_delivery("1", body=b"second"), make_delivery("3")],
        [make_delivery("3", body=b"third"), make_delivery("1", body=b"third")],
    ]
    answers = await asyncio.gather(*(outbox.put(each, NOW) for each in puts))
    # Which of them comes first is the machine's business.
    new = [
        each
        for put, answer in zip(puts, answers, strict=True)
        for each, is_new in zip(put, answer, strict=True)
        if is_new
    ]
    claimed = await outbox.claim("meta:1", 10, now=NOW, lease=LEASE)
    assert sorted((each.event_id, each.body) for each in claimed) == sorted(
        (each.event_id, each.body) for each in new
    )
    assert sorted(each.event_id for each in new) == ["1", "2", "3"]


async def test_bad_put_of_a_group_fails_alone_and_whole(outbox: PostgresOutbox) -> None:
    bad = [make_delivery("a\0b"), make_delivery("2", due="x")]
    puts = [[make_delivery(str(i))] for i in range(20)]
    groups = [*puts[:10], *([make_delivery("with"), each] for each in bad), *puts[10:]]
    answers = await asyncio.gather(
        *(outbox.put(each, NOW) for each in groups), return_exceptions=True
    )
    assert [type(each) for each in answers[10:12]] == [OutboxError] * 2
    assert answers[:10] + answers[12:] == [[True]] * 20
    assert set(await claim(outbox)) == {str(i) for i in range(20)}


async def test_put_that_was_given_up_before_its_turn_is_not_stored(server: PostgresServer) -> None:
    outbox = PostgresOutbox(server.url, max_connections=1)
    await outbox.put([make_delivery("before")], NOW)
    with server.frozen():
        under_way = asyncio.create_task(outbox.put([make_delivery("1")], NOW))
        await asyncio.sleep(0.01)  # its statement is on its way
        given_up = asyncio.create_task(outbox.put([make_delivery("given up")], NOW))
        await asyncio.sleep(0.01)
        given_up.cancel()
        await asyncio.wait([given_up])
    assert await under_way == [True]
    assert await outbox.put([make_delivery("after")], NOW) == [True]
    assert sorted(await claim(outbox)) == ["1", "after", "before"]
    await outbox.close()


def test_sqlalchemy_is_not_imported_for_those_who_do_not_use_it(server: PostgresServer) -> None:
    code = f"""
import asyncio, sys, psycopg
from bridge.outbox import PostgresOutbox
from tests.factories import make_delivery

async def main():
    outbox = PostgresOutbox({server.url!r})
    async with await psycopg.AsyncConnection.connect({server.url!r}) as connection:
        print(await outbox.put([make_delivery()], 0, connection=connection))
    await outbox.close()

asyncio.run(main())
print("sqlalchemy" in sys.modules)
"""
    printed = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    assert printed == "[True]\nFalse\n"


# Claims


async def test_claim_skips_rows_that_another_claim_holds(
    outbox: PostgresOutbox, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(floors, "FULL_LOOK", 0.2)
    await outbox.put([make_delivery(str(i), due=NOW - i) for i in range(4)], NOW)
    async with await psycopg.AsyncConnection.connect(server.url) as other:
        values = {"destination": "meta:1", "now": NOW, "until": NOW + LEASE, "limit": 2, "floor": 0}
        held = await (await other.execute(sql.CLAIM.encode(), values)).fetchall()
        assert [row[2] for row in held] == ["3", "2"]
        assert await claim(outbox) == ["1", "0"]
        await other.rollback()
    found: list[str] = []

    async def are_found() -> bool:
        found.extend(await claim(outbox))
        return sorted(found) == ["2", "3"]

    await poll(are_found, "what the other one held")


# Floors


async def pump(outbox: PostgresOutbox, rounds: int, start: float = NOW) -> float:
    """Deliver 200 a round, an hour apart; return when the last ones were due."""
    at = start
    for number in range(rounds):
        at = start + 3600 * number
        await outbox.put([make_delivery(f"{at} {i}", due=at) for i in range(200)], at)
        claimed = await outbox.claim("meta:1", 1000, now=at, lease=LEASE)
        assert len(claimed) == 200
        await outbox.ack(claimed, at)
    return at


async def test_look_beside_an_old_transaction_does_not_pass_what_is_dead(
    outbox: PostgresOutbox, server: PostgresServer, admin: psycopg.Connection[Any]
) -> None:
    await outbox.probe()

    def count_pages(statement: str, floor: float) -> int:
        values = {"destination": "meta:1", "floor": floor, "now": at, "until": at, "limit": 10}
        explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
        [[[plan]]] = admin.execute(explain.encode(), values).fetchall()
        return int(plan["Plan"]["Shared Hit Blocks"]) + int(plan["Plan"]["Shared Read Blocks"])

    async with await psycopg.AsyncConnection.connect(server.url) as old:
        await old.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        await old.execute("SELECT 1")
        at = await pump(outbox, 20)
        floor = outbox._floors.read("meta:1")
        for statement in (sql.CLAIM, sql.NEXT_DUE):
            assert count_pages(statement, floor) < count_pages(statement, -math.inf) / 5
        assert await claim(outbox, at) == []


async def test_forgetting_beside_an_old_transaction_does_not_pass_what_is_forgotten(
    outbox: PostgresOutbox, server: PostgresServer, admin: psycopg.Connection[Any]
) -> None:
    first = await pump(outbox, 20)
    async with await psycopg.AsyncConnection.connect(server.url) as old:
        await old.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        await old.execute("SELECT 1")
        later = first + REMEMBERED_SECONDS
        for _ in range(4):  # each forgets 2000 at most
            later = await pump(outbox, 1, later + 3600)
        [[left]] = admin.execute(
            "SELECT count(*) FROM bridge_deliveries WHERE settled_at <= %s", [first]
        ).fetchall()
        assert left == 0

        def count_pages(floor: float) -> int:
            before = outbox._forgotten[False] + 1
            values = {"given": False, "floor": floor, "before": before, "limit": 2000}
            explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql.FORGET}"
            [[[plan]]] = admin.execute(explain.encode(), values).fetchall()
            return int(plan["Plan"]["Shared Hit Blocks"]) + int(plan["Plan"]["Shared Read Blocks"])

        assert count_pages(outbox._forgotten[False]) < count_pages(-math.inf) / 5


async def test_what_this_process_stores_below_a_floor_is_found_at_once(
    outbox: PostgresOutbox,
) -> None:
    at = await pump(outbox, 2)
    await outbox.put([make_delivery(due=NOW - 5000)], NOW)
    assert await outbox.next_due("meta:1") == NOW - 5000
    claimed = await outbox.claim("meta:1", 9, now=at, lease=LEASE)
    assert await claim(outbox, at) == []
    await outbox.retry(claimed, NOW - 4000)
    assert await outbox.next_due("meta:1") == NOW - 4000
    claimed = await outbox.claim("meta:1", 9, now=at, lease=LEASE)
    await outbox.bury(claimed, "no", NOW)
    assert await claim(outbox, at) == []
    await outbox.revive([claimed[0].key], NOW - 3000)
    assert await claim(outbox, at) == ["1"]
    await outbox.put([make_delivery("held", due=at + 9e5)], at)
    assert await claim(outbox, at) == []
    await outbox.release("Purchase", "held", BROWSER, NOW - 2000)
    assert await claim(outbox, at) == ["held"]


async def test_what_another_process_stores_below_a_floor_is_found_by_the_next_full_look(
    outbox: PostgresOutbox, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(floors, "FULL_LOOK", 0.5)
    at = await pump(outbox, 2)
    other = PostgresOutbox(server.url)
    await other.put([make_delivery(due=NOW - 5000)], NOW)
    await other.close()

    async def is_found() -> bool:
        return await claim(outbox, at) == ["1"]

    await poll(is_found, "the delivery")


async def test_transaction_that_commits_behind_a_look_is_found_by_the_next_one(
    outbox: PostgresOutbox, server: PostgresServer
) -> None:
    now = time.time()
    async with await psycopg.AsyncConnection.connect(server.url) as connection:
        await outbox.put([make_delivery(due=now)], now, connection=connection)
        assert await claim(outbox, now + 0.5) == []
        assert await outbox.next_due("meta:1", now + 1) is None
        await connection.commit()
    assert await claim(outbox, now + 1) == ["1"]


def test_what_is_stored_during_a_look_lowers_the_floor_that_it_leaves() -> None:
    lanes = floors.Floors()
    first = lanes.begin("meta:1", 100.0)
    assert first.floor == -math.inf
    lanes.lower(50.0, ["meta:1", "meta:2"])
    lanes.end("meta:1", first, 100.0)
    lanes.finish("meta:1", first)
    assert (lanes.read("meta:1"), lanes.read("meta:2")) == (50.0, -math.inf)
    second = lanes.begin("meta:1", 200.0)
    assert second.floor == 50.0
    lanes.finish("meta:1", second)
    lanes.lower(500.0)
    lanes.end("meta:1", lanes.begin("meta:1", 200.0), 200.0)
    assert lanes.read("meta:1") == 200.0
    assert lanes.begin("meta:1", 300.0).floor == 200.0 - floors.SLACK
    lanes.lower(20.0)
    assert lanes.read("meta:1") == 20.0


def test_clock_of_a_server_that_goes_back_makes_a_look_full() -> None:
    lanes = floors.Floors()
    lanes.end("meta:1", lanes.begin("meta:1", 5000.0), 5000.0)
    look = lanes.begin("meta:1", 100.0)
    assert look.floor == -math.inf
    lanes.end("meta:1", look, 100.0)
    assert lanes.begin("meta:1", 300.0).floor == 100.0 - floors.SLACK


FILL = """
INSERT INTO bridge_deliveries
    (key, destination, event_name, event_id, body, due, expires, attempts, stored_at,
     settled_at, reason, has_given_id, subjects)
SELECT sha256(i::text::bytea), 'meta:1', 'Purchase', i::text, 'body',
       CASE WHEN i % 10 > 1 THEN i END, 1e9, i % 2, i,
       CASE WHEN i % 10 <= 1 THEN i END, CASE WHEN i % 10 = 1 THEN 'dead' END,
       i % 20 < 10, CASE WHEN i % 10 > 0 THEN substring(sha256(i::text::bytea) FROM 1 FOR 24) END
FROM generate_series(1, 20000) AS i
"""
STATEMENTS: dict[str, tuple[str, Mapping[str, Any], set[str]]] = {
    "claim": (
        sql.CLAIM,
        {"destination": "meta:1", "floor": -math.inf, "now": NOW, "until": NOW, "limit": 1000},
        {"bridge_deliveries_due", "bridge_deliveries_pkey"},
    ),
    "next due": (
        sql.NEXT_DUE,
        {"destination": "meta:1", "floor": -math.inf, "until": math.inf},
        {"bridge_deliveries_due"},
    ),
    "count": (
        sql.COUNT_WITH_DELIVERED,
        {"now": NOW, "forgotten": NOW - REMEMBERED_SECONDS},
        {"bridge_deliveries_due", "bridge_deliveries_delivered", "bridge_deliveries_dead"},
    ),
    "count held": (
        sql.COUNT_HELD,
        {},
        {"bridge_deliveries_due", "bridge_deliveries_dead"},
    ),
    "ack": (sql.ACK, {"now": NOW, "keys": [bytes(32)] * 100}, {"bridge_deliveries_pkey"}),
    "forget": (
        sql.FORGET,
        {"given": False, "floor": -math.inf, "before": 50, "limit": 2000},
        {"bridge_deliveries_pkey", "bridge_deliveries_delivered"},
    ),
    "release": (
        sql.RELEASE,
        {
            "event_name": "Purchase",
            "event_id": "7",
            "now": NOW,
            "size": 8,
            "subjects": [BROWSER],
            "names": ["meta:1"],
        },
        {"bridge_deliveries_held"},
    ),
    "destinations": (
        sql.DESTINATIONS,
        {},
        {"bridge_deliveries_due", "bridge_deliveries_delivered"},
    ),
    "has": (
        sql.HAS,
        {
            "keys": [bytes(32)],
            "event_name": "Purchase",
            "event_id": "7",
            "names": ["meta:1"],
            "now": NOW,
            "since": 0.0,
            **name_memory(MEMORY),
        },
        {"bridge_deliveries_pkey", "bridge_deliveries_dead_event"},
    ),
    "put": (
        sql.PUT,
        build_columns(
            {
                bytes([i]) * 32: (make_delivery(str(i), from_browser=True, subjects=b"8 bytes "), 1)
                for i in range(100)
            },
            MEMORY,
        ),
        {"bridge_deliveries_pkey"},
    ),
    "withdraw": (
        sql.WITHDRAW,
        {"first": b"12345678", "last": b"12345679"},
        {"bridge_deliveries_subjects", "bridge_deliveries_pkey"},
    ),
    "erase": (
        sql.ERASE_WAITING,
        {"found": [b"12345678"] * 100},
        {"bridge_deliveries_subjects", "bridge_deliveries_pkey"},
    ),
    "drop old": (
        sql.DROP_OLD,
        {"before": 50, "limit": 100},
        {"bridge_deliveries_dead", "bridge_deliveries_pkey"},
    ),
    "find subjects and count": (
        sql.FIND_SUBJECTS,
        {"parts": [b"12345678"]},
        {"bridge_deliveries_subjects"},
    ),
    "find dead": (sql.FIND_DEAD, {"event_id": "7"}, {"bridge_deliveries_dead_event"}),
    "list dead": (
        sql.LIST_DEAD,
        {"destination": None, "limit": 100, "offset": 0},
        {"bridge_deliveries_dead"},
    ),
}


@pytest.mark.parametrize("analyzed", [True, False], ids=["analyzed", "analyzed while empty"])
async def test_statements_read_indexes_and_never_the_whole_table(
    outbox: PostgresOutbox, admin: psycopg.Connection[tuple[Any, ...]], analyzed: bool
) -> None:
    await outbox.count(NOW, with_delivered=True)
    admin.execute("ALTER TABLE bridge_deliveries SET (autovacuum_enabled = off)")
    if not analyzed:
        admin.execute("ANALYZE bridge_deliveries")
    admin.execute(FILL)
    if analyzed:
        admin.execute("VACUUM ANALYZE bridge_deliveries")
    for name, (statement, values, indexes) in STATEMENTS.items():
        with admin.transaction():
            if "count" in name:
                admin.execute(sql.INDEX_ONLY)
            rows = admin.execute(f"EXPLAIN {statement}".encode(), values).fetchall()
        plan = "\n".join(row[0] for row in rows)
        assert "Seq Scan on bridge_deliveries" not in plan, f"{name}:\n{plan}"
        assert indexes == {index for index in indexes if index in plan}, f"{name}:\n{plan}"
        if "count" in name:
            assert plan.count("Index Only Scan") == len(indexes), f"{name}:\n{plan}"


# Damaged rows


def lose_body(admin: psycopg.Connection[Any]) -> str:
    admin.execute("UPDATE bridge_deliveries SET body = NULL WHERE event_id = 'bad'")
    return "its body is missing"


def break_body(admin: psycopg.Connection[Any]) -> str:
    """Take away what its row refers to, as a broken disk does."""
    query = "SELECT reltoastrelid, oid FROM pg_class WHERE oid = 'bridge_deliveries'::regclass"
    [[toast, relation]] = admin.execute(query).fetchall()
    # PostgreSQL deletes from such a table for nobody, so it is another kind of table meanwhile.
    kind = "UPDATE pg_class SET relkind = %s WHERE oid = %s"
    with admin.transaction():
        admin.execute("SET LOCAL allow_system_table_mods = on")
        admin.execute(kind, ["r", toast])
        admin.execute(f"DELETE FROM pg_toast.pg_toast_{relation}".encode())
        admin.execute(kind, ["t", toast])
    # It stays readable as long as some other transaction, such as autovacuum's, is older.
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        admin.execute(f"VACUUM pg_toast.pg_toast_{relation}".encode())
        try:
            admin.execute("SELECT md5(body) FROM bridge_deliveries WHERE event_id <> 'good'")
        except psycopg.Error:
            return "missing chunk"
    raise AssertionError("the body can still be read")


@pytest.mark.parametrize("damage", [lose_body, break_body])
async def test_damaged_row_is_a_dead_letter_and_costs_no_other(
    outbox: PostgresOutbox,
    admin: psycopg.Connection[Any],
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[psycopg.Connection[Any]], str],
) -> None:
    body = os.urandom(10_000)  # large enough to be stored apart from its row
    bad = make_delivery("bad", body=body, due=NOW - 5)
    await outbox.put([bad, *(make_delivery(str(i)) for i in range(9))], NOW)
    reason = damage(admin)
    assert sorted(await claim(outbox)) == [str(i) for i in range(9)]
    [letter] = await outbox.list_dead()
    assert (letter.delivery.key, letter.delivery.body) == (bad.key, b"")
    assert reason in letter.reason
    assert reason in caplog.text
    assert letter.delivery.subjects == bad.subjects
    assert await outbox.revive([bad.key], NOW) == 1
    assert await claim(outbox) == []
    assert await outbox.drop([bad.key]) == 1
    assert await outbox.put([bad], NOW) == [True]
    assert await claim(outbox) == ["bad"]


async def test_row_with_text_that_cannot_be_read_is_a_dead_letter(
    server: PostgresServer, admin: psycopg.Connection[Any]
) -> None:
    """A database in SQL_ASCII takes any bytes, from whoever writes to it."""
    admin.execute("DROP DATABASE IF EXISTS bytes WITH (FORCE)")
    admin.execute(
        "CREATE DATABASE bytes TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'"
    )
    url = server.url.rpartition("/")[0] + "/bytes"
    outbox = PostgresOutbox(url)
    await outbox.put([make_delivery("bad"), make_delivery("Größe"), make_delivery("last")], NOW)
    with psycopg.connect(url, autocommit=True) as spoiler:
        spoil = "UPDATE bridge_deliveries SET event_id = chr(255) || 'ad' WHERE event_id = 'bad'"
        assert spoiler.execute(spoil.encode()).rowcount == 1
    assert sorted(await claim(outbox)) == ["Größe", "last"]
    [letter] = await outbox.list_dead()
    assert (letter.delivery.event_id, letter.delivery.body) == ("?ad", make_delivery("bad").body)
    assert "invalid byte sequence" in letter.reason
    assert await outbox.drop([letter.delivery.key]) == 1
    await outbox.close()
    admin.execute("DROP DATABASE bytes WITH (FORCE)")


async def test_damaged_row_that_cannot_be_changed_either_costs_no_other(
    outbox: PostgresOutbox, admin: psycopg.Connection[Any], caplog: pytest.LogCaptureFixture
) -> None:
    await outbox.put([make_delivery("bad", body=os.urandom(3000), due=NOW - 5)], NOW)
    await outbox.put([make_delivery("good")], NOW)
    break_body(admin)
    admin.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'a broken page'; END $$;"
        " CREATE TRIGGER refuse BEFORE UPDATE OF reason ON bridge_deliveries"
        " FOR EACH ROW EXECUTE FUNCTION refuse();"
    )
    assert await claim(outbox) == ["good"]
    assert "a damaged row stays: missing chunk" in caplog.text


async def test_many_damaged_rows_do_not_hide_what_waits_behind_them(
    outbox: PostgresOutbox, admin: psycopg.Connection[Any]
) -> None:
    many = [make_delivery(str(i), body=os.urandom(3000), due=NOW - 5) for i in range(250)]
    await outbox.put([*many, make_delivery("good")], NOW)
    break_body(admin)
    found: list[str] = []

    async def is_found() -> bool:
        found.extend(await claim(outbox))
        return found == ["good"]

    await poll(is_found, "the good one")
    assert (await outbox.count(NOW))["meta:1"].dead == 250


# A server that fails


async def test_server_killed_under_load_loses_nothing_that_was_accepted(
    outbox: PostgresOutbox, server: PostgresServer
) -> None:
    accepted: list[str] = []
    failures: list[OutboxError] = []
    stopped = False

    async def load(worker: int) -> None:
        number = 0
        while not stopped:
            number += 1
            event_id = f"{worker}-{number}"
            try:
                assert await outbox.put([make_delivery(event_id)], NOW) == [True]
                accepted.append(event_id)
            except OutboxError as error:
                failures.append(error)
                await asyncio.sleep(0.01)

    async def wait_for_puts(what: str) -> None:
        wanted = len(accepted) + 50

        async def check() -> bool:
            return len(accepted) >= wanted

        await poll(check, what)

    workers = [asyncio.create_task(load(i)) for i in range(8)]
    for _ in range(3):
        await wait_for_puts("puts before a crash")
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
    await wait_for_puts("puts after the last crash")
    stopped = True
    await asyncio.gather(*workers)
    assert failures
    assert set(accepted) <= set(await claim(outbox))
    assert (
        sum(each.waiting for each in (await outbox.count(NOW, with_delivered=True)).values()) < 5000
    )


NOTE_COMMITS = """
CREATE TABLE commits (how text);
CREATE FUNCTION note_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO public.commits VALUES (TG_OP || ' ' || current_setting('synchronous_commit'));
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER note AFTER INSERT OR DELETE ON bridge_deliveries
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note_commit();
"""


@pytest.fixture
def hasty(server: PostgresServer, admin: psycopg.Connection[Any]) -> Iterator[str]:
    """The URL of a role whose commits do not wait for the disk."""
    admin.execute(sql.SCHEMA)
    admin.execute(NOTE_COMMITS.encode())
    admin.execute("DROP ROLE IF EXISTS hasty")
    admin.execute("CREATE ROLE hasty LOGIN SUPERUSER")
    admin.execute("ALTER ROLE hasty SET synchronous_commit = off")
    yield server.url_of("hasty")
    admin.execute("DROP OWNED BY hasty")
    admin.execute("DROP ROLE hasty")


def read_commits(admin: psycopg.Connection[Any]) -> set[str]:
    return {how for [how] in admin.execute("SELECT how FROM commits").fetchall()}


async def test_commits_wait_for_the_disk_whatever_the_role_says(
    hasty: str, admin: psycopg.Connection[Any], caplog: pytest.LogCaptureFixture
) -> None:
    outbox = PostgresOutbox(hasty)
    await outbox.put([make_delivery(each) for each in ("dropped", "old")], NOW)
    await outbox.bury(await outbox.claim("meta:1", 9, now=NOW, lease=LEASE), "no", NOW)
    assert await outbox.drop([make_delivery("dropped").key]) == 1
    assert await outbox.drop_old(NOW + 1, 9) == 1
    for work in (outbox.withdraw, outbox.erase):
        await outbox.put([make_delivery()], NOW)
        assert await work(BROWSER)
    assert read_commits(admin) == {"INSERT on", "DELETE on"}
    assert await outbox.find_weaknesses() == []
    await outbox.close()
    assert "may lose" not in caplog.text


async def test_what_can_be_done_again_does_not_wait_for_the_disk(
    server: PostgresServer, admin: psycopg.Connection[Any]
) -> None:
    admin.execute(sql.SCHEMA)
    noted = NOTE_COMMITS.replace("INSERT OR DELETE", "UPDATE").replace("TG_OP", "NEW.event_id")
    admin.execute(noted.encode())
    outbox = PostgresOutbox(server.url)
    await outbox.put([make_delivery(each) for each in ("acked", "buried")], NOW)
    claimed = {each.event_id: each for each in await outbox.claim("meta:1", 9, now=NOW, lease=9.0)}
    await outbox.ack([claimed["acked"]], NOW)
    await outbox.bury([claimed["buried"]], "no", NOW)
    await outbox.close()
    assert read_commits(admin) == {"acked off", "buried off", "buried on"}
    assert len(admin.execute("SELECT FROM commits WHERE how = 'acked off'").fetchall()) == 2


@each_kind
async def test_commit_of_the_caller_waits_for_the_disk_with_an_event_in_it(
    hasty: str, admin: psycopg.Connection[Any], open_connection: Open
) -> None:
    admin.execute("CREATE TABLE orders (id text)")
    outbox = PostgresOutbox(hasty)
    async with open_connection(hasty) as (connection, commit, _):
        assert await outbox.put([make_delivery()], NOW, connection=connection) == [True]
        await done(commit())
    assert read_commits(admin) == {"INSERT on"}
    await outbox.close()


async def test_url_that_says_so_leaves_commits_to_the_server_and_is_told_once(
    hasty: str, admin: psycopg.Connection[Any], caplog: pytest.LogCaptureFixture
) -> None:
    outbox = PostgresOutbox(f"{hasty}?options=-csynchronous_commit%3Doff")
    for number in range(3):
        await outbox.put([make_delivery(str(number))], NOW)
    assert read_commits(admin) == {"INSERT off"}
    [weakness] = await outbox.find_weaknesses()
    assert "synchronous_commit is off" in weakness.text
    await outbox.close()
    [line] = [each.message for each in caplog.records if "may lose" in each.message]
    assert "synchronous_commit is off" in line


async def test_role_without_the_table_of_figures_stores_events_all_the_same(
    server: PostgresServer, admin: psycopg.Connection[tuple[Any, ...]]
) -> None:
    admin.execute(sql.SCHEMA)
    admin.execute("DROP TABLE bridge_figures")
    admin.execute("DROP ROLE IF EXISTS plain")
    admin.execute("CREATE ROLE plain LOGIN")
    admin.execute("GRANT ALL ON bridge_deliveries, bridge_circuits TO plain")
    outbox = PostgresOutbox(server.url_of("plain"))
    assert await outbox.put([make_delivery()], NOW) == [True]
    with pytest.raises(OutboxError):
        await outbox.add_figures([Figure(1, "meta:1", "Lead", "stored", 1)])
    await outbox.close()
    admin.execute("DROP OWNED BY plain")
    admin.execute("DROP ROLE plain")


async def test_event_of_a_transaction_is_counted_once_it_is_committed(
    outbox: PostgresOutbox, server: PostgresServer
) -> None:
    built = make_bridge(outbox, destinations=[make_meta(pixel_id="1")], run_sender=False)
    person = built.person("42")
    money = {"value": 19.9, "currency": "EUR"}
    async with await psycopg.AsyncConnection.connect(server.url) as own:
        for number, ends in enumerate(("ROLLBACK", "COMMIT", "ROLLBACK")):
            await own.execute("SELECT 1")
            options: dict[str, Any] = {"action_source": "system_generated", "connection": own}
            await built.track("Purchase", money, event_id=f"A-{number}", visitor=person, **options)
            await (own.commit() if ends == "COMMIT" else own.rollback())
    await built._pipeline.figures.flush()
    today = int(time.time() // 86_400)
    figures = summarize(await outbox.figures(today - 1, today))
    [found] = [each for each in figures if each.destination]
    assert (found.stored, found.value) == (1, {"EUR": Decimal("19.9")})


async def test_restart_of_the_server_costs_no_event_that_can_wait(
    outbox: PostgresOutbox, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.delivery.intake, "PATIENCE", DEADLINE)
    counters = Counter[str]()
    intake = Intake(outbox, Metrics(["meta:1"], counters), FigureCounter(outbox))
    done = asyncio.Event()

    async def load(worker: int) -> int:
        number = 0
        while not done.is_set():
            number += 1
            await intake.put([make_delivery(f"{worker}-{number}")], NOW, may_lose=True)
        return number

    workers = [asyncio.create_task(load(i)) for i in range(4)]
    await asyncio.sleep(0.2)
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)
    done.set()
    put = sum(await asyncio.gather(*workers))
    assert counters["lost"] == 0
    assert len(await claim(outbox)) == put


async def test_connection_that_the_server_closed_is_replaced_unnoticed(
    outbox: PostgresOutbox, admin: psycopg.Connection[tuple[Any, ...]]
) -> None:
    await asyncio.gather(*(outbox.put([make_delivery(str(i))], NOW) for i in range(20)))
    ended = admin.execute(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
        " WHERE application_name = 'pixel-bridge'"
    ).fetchall()
    assert ended
    assert set(ended) == {(True,)}
    answers = await asyncio.gather(
        *(outbox.put([make_delivery(f"again {i}")], NOW) for i in range(20))
    )
    assert answers == [[True]] * 20


async def test_process_with_nothing_to_do_keeps_one_connection(
    outbox: PostgresOutbox, admin: psycopg.Connection[tuple[Any, ...]], monkeypatch: Any
) -> None:
    monkeypatch.setattr(pool, "MAX_IDLE", 0.3)
    await asyncio.gather(*(outbox.count(NOW) for _ in range(20)))
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pixel-bridge'"
    assert admin.execute(query).fetchall() == [(5,)]

    async def is_alone() -> bool:
        assert await claim(outbox) == []
        return admin.execute(query).fetchall() == [(1,)]

    await poll(is_alone, "the others to be closed", seconds=10)


async def test_hanging_server_fails_a_put_in_time_and_works_again_afterwards(
    outbox: PostgresOutbox, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await outbox.put([make_delivery("before")], NOW)
    patience(monkeypatch, 0.5)
    with server.frozen():
        async with asyncio.timeout(DEADLINE):
            answers = await asyncio.gather(
                *(outbox.put([make_delivery(f"lost {i}")], NOW) for i in range(30)),
                return_exceptions=True,
            )
            with pytest.raises(OutboxError, match="no answer within"):
                await PostgresOutbox(server.url).put([make_delivery("new")], NOW)
    assert [type(answer) for answer in answers] == [OutboxError] * 30
    patience(monkeypatch, 20)
    assert await outbox.put([make_delivery("after")], NOW) == [True]
    assert {"before", "after"} <= set(await claim(outbox))


async def test_close_does_not_wait_for_a_hanging_server(
    outbox: PostgresOutbox, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await outbox.put([make_delivery()], NOW)
    patience(monkeypatch, 0.2)
    with server.frozen():
        async with asyncio.timeout(DEADLINE):
            with pytest.raises(OutboxError):
                await outbox.put([make_delivery("2")], NOW)
            await outbox.close()


async def test_server_that_is_not_there_is_reported_at_once_without_the_password() -> None:
    url = f"postgresql://shop:{SECRET}@127.0.0.1:{find_free_port()}/shop"
    outbox = PostgresOutbox(url)
    with pytest.raises(OutboxError, match="refused") as caught:
        await outbox.put([make_delivery()], NOW)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert repr(outbox) == f"PostgresOutbox('{url.replace(f'shop:{SECRET}@', '')}')"
    await outbox.close()


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://shop:p@{SECRET}@db/shop",
        f"postgresql://shop:p/{SECRET}@db/shop",
        f"postgresql://shop:12/{SECRET}@db/shop",
        f"postgresql://shop:{SECRET}%zz@db/shop",
        f"postgresql://shop:{SECRET}%00@db/shop",
        f"mysql://shop:{SECRET}@db/shop",
    ],
)
def test_url_that_cannot_be_read_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigError, match="percent-encoded") as caught:
        PostgresOutbox(url)
    shown = [str(each) for each in (caught.value, caught.value.__cause__)]
    assert SECRET not in "".join(shown)


# Tables and rights


async def test_many_outboxes_at_once_make_the_tables_once(server: PostgresServer) -> None:
    outboxes = [PostgresOutbox(server.url) for _ in range(20)]
    answers = await asyncio.gather(
        *(each.put([make_delivery(str(i))], NOW) for i, each in enumerate(outboxes))
    )
    assert answers == [[True]] * 20
    for each in outboxes:
        await each.close()


async def test_role_without_rights_needs_the_tables_only(
    server: PostgresServer, admin: psycopg.Connection[Any]
) -> None:
    with suppress(psycopg.errors.DuplicateObject):
        admin.execute("CREATE ROLE shop LOGIN")
    outbox = PostgresOutbox(server.url_of("shop"))
    with pytest.raises(OutboxError, match=r"permission denied .*sql\.SCHEMA"):
        await outbox.put([make_delivery()], NOW)
    for _ in range(2):
        admin.execute(sql.SCHEMA)
    admin.execute(
        "GRANT SELECT, INSERT, UPDATE, DELETE ON bridge_deliveries, bridge_circuits TO shop"
    )
    assert await outbox.put([make_delivery()], NOW) == [True]
    claimed = await outbox.claim("meta:1", 10, now=NOW, lease=LEASE)
    await outbox.ack(claimed, NOW)
    assert await outbox.circuits() == {}
    await outbox.close()


async def test_tables_that_were_dropped_are_made_again(
    outbox: PostgresOutbox, admin: psycopg.Connection[Any]
) -> None:
    await outbox.put([make_delivery()], NOW)
    admin.execute("DROP TABLE bridge_deliveries, bridge_circuits")
    with pytest.raises(OutboxError, match="does not exist"):
        await outbox.put([make_delivery()], NOW)
    assert await outbox.put([make_delivery()], NOW) == [True]


async def test_url_may_name_the_schema(
    server: PostgresServer, admin: psycopg.Connection[tuple[Any, ...]]
) -> None:
    admin.execute('DROP SCHEMA IF EXISTS "My Shop" CASCADE')
    admin.execute('CREATE SCHEMA "My Shop"')
    outbox = PostgresOutbox(f"{server.url}?options=-csearch_path%3D%22My%5C%20Shop%22")
    await outbox.put([make_delivery("1")], NOW)
    async with await psycopg.AsyncConnection.connect(server.url) as connection:
        assert await outbox.put([make_delivery("2")], NOW, connection=connection) == [True]
    stored = admin.execute('SELECT event_id FROM "My Shop".bridge_deliveries ORDER BY 1').fetchall()
    assert stored == [("1",), ("2",)]
    await outbox.close()


RAISE = """
CREATE SEQUENCE failures;
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF nextval('failures') <= {times} THEN
        RAISE EXCEPTION 'as asked' USING ERRCODE = '{state}', DETAIL = 'a row, with its body';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER fail BEFORE INSERT ON bridge_deliveries FOR EACH ROW EXECUTE FUNCTION fail();
"""


async def test_full_disk_is_a_full_outbox_until_there_is_room(
    outbox: PostgresOutbox, admin: psycopg.Connection[Any]
) -> None:
    await outbox.count(NOW, with_delivered=True)
    admin.execute(RAISE.format(times=1, state="53100").encode())
    with pytest.raises(OutboxFullError, match="as asked") as caught:
        await outbox.put([make_delivery()], NOW)
    assert "body" not in str(caught.value)
    assert await outbox.put([make_delivery()], NOW) == [True]


async def test_put_that_was_aborted_in_favour_of_another_is_tried_again(
    outbox: PostgresOutbox, admin: psycopg.Connection[Any]
) -> None:
    await outbox.count(NOW, with_delivered=True)
    admin.execute(RAISE.format(times=2, state="40P01").encode())
    assert await outbox.put([make_delivery()], NOW) == [True]


# Values


async def test_text_that_postgres_cannot_store_is_cleaned(outbox: PostgresOutbox) -> None:
    await outbox.put([make_delivery()], NOW)
    claimed = await outbox.claim("meta:1", 10, now=NOW, lease=LEASE)
    await outbox.bury(claimed, "a\0b \ud800 c", NOW)
    [dead] = await outbox.list_dead()
    assert dead.reason == "a\ufffdb ? c"


async def test_id_that_cannot_be_encoded_fails_only_its_own_put(outbox: PostgresOutbox) -> None:
    for bad in (
        replace(make_delivery(), event_id="\ud800"),
        make_delivery("a\0b"),
        make_delivery("2", due="x"),
    ):
        with pytest.raises(OutboxError):
            await outbox.put([make_delivery("1"), bad], NOW)
    assert await outbox.count(NOW, with_delivered=True) == {}


async def test_names_and_ids_may_be_longer_than_an_index_entry(outbox: PostgresOutbox) -> None:
    long = "".join(chr(0x10000 + i * 7919 % 0xFFFFF) for i in range(10_000))
    delivery = make_delivery(long, event_name=long)
    assert await outbox.put([delivery, delivery], NOW) == [True, False]
    claimed = await outbox.claim("meta:1", 10, now=NOW, lease=LEASE)
    await outbox.bury(claimed, long, NOW)
    assert [each.reason for each in await outbox.find_dead(long)] == [long]


# Event loops and processes


def test_outbox_works_on_one_event_loop_after_another_and_after_a_fork(
    server: PostgresServer,
) -> None:
    outbox = PostgresOutbox(server.url)

    async def put(event_id: str) -> list[bool]:
        return await outbox.put([make_delivery(event_id)], NOW)

    async def finish() -> list[str]:
        ids = await claim(outbox)
        await outbox.close()
        return ids

    assert asyncio.run(put("first loop")) == [True]
    assert asyncio.run(put("second loop")) == [True]
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            asyncio.run(put("child"))
        os._exit(0)
    os.waitpid(child, 0)
    assert asyncio.run(put("after the child")) == [True]
    assert sorted(asyncio.run(finish())) == [
        "after the child",
        "child",
        "first loop",
        "second loop",
    ]
