"""Damaged rows: one that cannot be read becomes a dead letter, and the others go on.

A row may lack its body, or the server cannot read it: a broken disk, or text that is invalid in
the client's encoding, which a database in ``SQL_ASCII`` accepts. Such a row makes the whole claim
fail, so its deliveries are claimed one by one.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

from bridge.errors import OutboxBusyError, OutboxError
from bridge.outbox.base import Key
from bridge.outbox.postgres import sql
from bridge.outbox.postgres.rows import Row, Values, digest_key

AT_ONCE = 100  # deliveries that are claimed one by one
MISSING = "damaged: its body is missing"

_log = logging.getLogger("bridge.outbox")

Fetch = Callable[[str, Values], Awaitable[Sequence[Row]]]


def is_damage(error: OutboxError) -> bool:
    """Return whether ``error`` is about what a row holds: its data, or its place on the disk.

    Source: PostgreSQL 15, Appendix A, "PostgreSQL Error Codes", read 2026-11-30.
    """
    state = getattr(error.__cause__, "sqlstate", None) or ""
    return state[:2] == "22" or state == "XX001" or isinstance(error.__cause__, UnicodeError)


async def claim_singly(fetch: Fetch, name: str, values: Values) -> list[Row]:
    """Return the rows of a claim that failed for damage; set aside those that are damaged.

    Args:
        fetch: Runs a statement.
        name: The outbox's, for the log.
        values: Those of ``CLAIM``.

    Raises:
        OutboxError: The server failed, or the damage is not in a row.
    """
    rows: list[Row] = []
    limit = min(AT_ONCE, values["limit"])
    for [key] in await fetch(sql.PICK, {**values, "limit": limit}):
        try:
            rows += await fetch(sql.CLAIM_ONE, {**values, "limit": 1, "key": key})
        except OutboxError as error:
            if not is_damage(error):
                raise
            reason = str(error).removeprefix(f"outbox {name}: ")
            try:
                await _set_aside(fetch, bytes(key), {**values, "reason": f"damaged: {reason}"})
            except OutboxBusyError:
                raise
            except OutboxError as failure:
                _log.error("outbox %s: a damaged row stays: %s; %s", name, reason, failure)
            else:
                _log.error("outbox %s: a damaged delivery is a dead letter now: %s", name, reason)
    return rows


async def _set_aside(fetch: Fetch, key: bytes, values: Values) -> None:
    """Bury the row of ``key`` with what can be read of it."""
    try:
        [[event_name, event_id, from_browser]] = await fetch(sql.READ_NAMES, {"key": key})
    except OutboxError as error:
        if not is_damage(error):
            raise
        [[event_name, event_id, from_browser]] = await fetch(sql.READ_ASCII, {"key": key})
    has_body = True
    try:
        await fetch(sql.READ_BODY, {"key": key})
    except OutboxError as error:
        if not is_damage(error):
            raise
        has_body = False
    # Its key is that of its new name, so that it can be revived or dropped.
    new = digest_key(Key(values["destination"], event_name, event_id, from_browser))
    names = {"new": new, "event_name": event_name, "event_id": event_id, "has_body": has_body}
    await fetch(sql.SET_ASIDE, {**values, "key": key, **names})
