"""The caller's own connection: runs one statement in the transaction that is open on it.

Nothing here commits or rolls back that transaction. A savepoint keeps it usable if the statement
fails: PostgreSQL refuses all further statements of a transaction in which one failed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, TypeVar

import psycopg
from anyio import CancelScope, CapacityLimiter, to_thread
from psycopg.rows import tuple_row

from bridge.errors import ConfigError

ACCEPTED = (
    "a psycopg connection (AsyncConnection or Connection) or SQLAlchemy's AsyncSession,"
    " AsyncConnection, Session or Connection"
)

CANCEL_TIMEOUT = 5.0  # seconds for asking the server to end a statement

Rows = list[tuple[Any, ...]]
Execute = Callable[[str, Mapping[str, Any] | None], Awaitable[Rows]]

Result = TypeVar("Result")

_PARAMETER = re.compile(r"%\((\w+)\)s")


class _Opened(NamedTuple):
    """What can be done with a connection.

    Attributes:
        execute: Executes a statement.
        driver: The driver's own connection, which can have it cancelled.
    """

    execute: Execute
    driver: Any


async def run_inside(connection: Any, statement: str, values: Mapping[str, Any]) -> Rows:
    """Run ``statement`` in the open transaction of ``connection``, or in one that it begins itself.

    A caller who is cancelled meanwhile has the transaction as it was before, too.

    Args:
        connection: One of ``ACCEPTED``. If it is a synchronous one, the caller's thread must be
            waiting for us, as it does in ``track_sync``.
        statement: With parameters such as ``%(name)s``.
        values: The values of the parameters.

    Raises:
        ConfigError: It is of another kind, not to PostgreSQL, or in autocommit mode.
        Exception: The driver's own error; the transaction is as it was before.
    """
    opened = await _open(connection)
    # A task of its own: interrupting a driver breaks the transaction, or closes the connection. The
    # server is asked to end the statement instead, and what follows is done to the end.
    task = asyncio.ensure_future(_run(opened.execute, statement, values))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with CancelScope(shield=True):
            if not task.done():
                await _cancel(opened.driver)
            while not task.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({task})
            with suppress(Exception):
                task.result()  # marks its error as read
        raise


async def _cancel(driver: Any) -> None:
    """Ask the server to end the statement that runs on ``driver``; one without a way is awaited."""
    with suppress(Exception):
        if isinstance(driver, psycopg.AsyncConnection):
            await driver.cancel_safe(timeout=CANCEL_TIMEOUT)
        elif isinstance(driver, psycopg.Connection):
            await _in_thread(partial(driver.cancel_safe, timeout=CANCEL_TIMEOUT))
        elif hasattr(driver, "cancel"):  # psycopg2's
            await _in_thread(driver.cancel)


async def _run(execute: Execute, statement: str, values: Mapping[str, Any]) -> Rows:
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


async def _open(connection: Any) -> _Opened:
    """Return how to execute statements on ``connection``."""
    if isinstance(connection, psycopg.AsyncConnection):
        return _Opened(partial(_execute_async, connection), connection)
    if isinstance(connection, psycopg.Connection):
        return _Opened(partial(_in_thread, _execute, connection), connection)
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


async def _open_sqlalchemy(connection: Any) -> _Opened:
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
        raw = await connection.get_raw_connection()
        return _Opened(
            lambda *args: connection.run_sync(_execute_sqlalchemy, *args), raw.driver_connection
        )
    raw = await _in_thread(lambda: connection.connection)
    return _Opened(partial(_in_thread, _execute_sqlalchemy, connection), raw.driver_connection)


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
