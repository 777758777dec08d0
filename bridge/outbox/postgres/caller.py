"""The caller's own connection: runs one statement in the transaction that is open on it.

Nothing here commits or rolls back that transaction. A savepoint keeps it usable if the statement
fails: PostgreSQL refuses all further statements of a transaction in which one failed.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import psycopg
from anyio import CapacityLimiter, to_thread
from psycopg.rows import tuple_row

from bridge.errors import ConfigError

ACCEPTED = (
    "a psycopg connection (AsyncConnection or Connection) or SQLAlchemy's AsyncSession,"
    " AsyncConnection, Session or Connection"
)

Rows = list[tuple[Any, ...]]
Execute = Callable[[str, Mapping[str, Any] | None], Awaitable[Rows]]

Result = TypeVar("Result")

_PARAMETER = re.compile(r"%\((\w+)\)s")


async def run_inside(connection: Any, statement: str, values: Mapping[str, Any]) -> Rows:
    """Run ``statement`` in the open transaction of ``connection``, or in one that it begins itself.

    Args:
        connection: One of ``ACCEPTED``. If it is a synchronous one, the caller's thread must be
            waiting for us, as it does in ``track_sync``.
        statement: With parameters such as ``%(name)s``.
        values: The values of the parameters.

    Raises:
        ConfigError: It is of another kind, not to PostgreSQL, or in autocommit mode.
        Exception: The driver's own error; the transaction is as it was before.
    """
    execute = await _open(connection)
    try:
        await execute("SAVEPOINT bridge_put", None)
    except Exception as error:
        if getattr(error, "sqlstate", None) == "25P01":  # no active SQL transaction
            raise ConfigError(
                "connection= has no transaction open: it is in autocommit mode, so the event could"
                " not share your commit; begin a transaction first"
            ) from error
        raise
    try:
        rows = await execute(statement, values)
    except Exception:
        await execute("ROLLBACK TO SAVEPOINT bridge_put", None)
        await execute("RELEASE SAVEPOINT bridge_put", None)
        raise
    await execute("RELEASE SAVEPOINT bridge_put", None)
    return rows


async def _open(connection: Any) -> Execute:
    """Return a function that executes statements on ``connection``."""
    if isinstance(connection, psycopg.AsyncConnection):
        return partial(_execute_async, connection)
    if isinstance(connection, psycopg.Connection):
        return partial(_in_thread, _execute, connection)
    # SQLAlchemy is not imported in apps that do not use it.
    if any(kind.__module__.startswith("sqlalchemy.") for kind in type(connection).__mro__):
        return await _open_sqlalchemy(connection)
    raise ConfigError(f"connection= must be {ACCEPTED}; got {type(connection).__name__}")


async def _execute_async(
    connection: psycopg.AsyncConnection[Any], statement: str, values: Mapping[str, Any] | None
) -> Rows:
    # Our own cursor: the connection's default may be of another class, or return dicts.
    async with psycopg.AsyncCursor(connection, row_factory=tuple_row) as cursor:
        await cursor.execute(statement.encode(), values, prepare=False)
        return await cursor.fetchall() if cursor.description else []


def _execute(
    connection: psycopg.Connection[Any], statement: str, values: Mapping[str, Any] | None
) -> Rows:
    with psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
        cursor.execute(statement.encode(), values, prepare=False)
        return cursor.fetchall() if cursor.description else []


async def _in_thread(run: Callable[..., Result], *args: Any) -> Result:
    # Its own limiter: the shared one may be used up by the very handlers that wait for us.
    return await to_thread.run_sync(run, *args, limiter=CapacityLimiter(1))


async def _open_sqlalchemy(connection: Any) -> Execute:
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
    from sqlalchemy.orm import Session, scoped_session

    if isinstance(connection, AsyncSession | async_scoped_session):
        connection = await connection.connection()
    elif isinstance(connection, Session | scoped_session):
        connection = await _in_thread(connection.connection)
    if not isinstance(connection, AsyncConnection | Connection):
        raise ConfigError(f"connection= must be {ACCEPTED}; got {type(connection).__name__}")
    if connection.dialect.name != "postgresql":
        raise ConfigError(f"connection= must be to PostgreSQL, got {connection.dialect.name}")
    if isinstance(connection, AsyncConnection):
        return lambda *args: connection.run_sync(_execute_sqlalchemy, *args)
    return partial(_in_thread, _execute_sqlalchemy, connection)


def _execute_sqlalchemy(connection: Any, statement: str, values: Mapping[str, Any] | None) -> Rows:
    from sqlalchemy import text
    from sqlalchemy.exc import DBAPIError

    # With SQLAlchemy's own parameters, as each driver marks them differently; in parentheses, as
    # SQLAlchemy does not see a parameter directly before the colons of a cast.
    try:
        result = connection.execute(text(_PARAMETER.sub(r"(:\1)", statement)), values)
    except DBAPIError as error:
        failure = error.orig or error
    else:
        return [tuple(row) for row in result] if result.returns_rows else []
    # Raised out here: SQLAlchemy's error, which prints every parameter, must not be its context.
    raise failure
