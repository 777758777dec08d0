"""The outbox: whether it stores and returns, whether it keeps what it promises, and who waits."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Sequence

from bridge.delivery.orphans import EXPLANATION, PROBE, describe_orphans, find_orphans
from bridge.delivery.spool import Spool
from bridge.doctor.finding import Finding, bad, good, warning
from bridge.errors import OutboxError
from bridge.outbox import SQLiteOutbox
from bridge.outbox.base import Delivery, Inspected, Outbox, Troubled


async def look_at_outbox(outbox: Outbox, destinations: Sequence[str]) -> AsyncIterator[Finding]:
    """Yield whether ``outbox`` works, and what waits for none of ``destinations``."""
    name = await asyncio.to_thread(str, outbox)
    is_new = isinstance(outbox, SQLiteOutbox) and await asyncio.to_thread(outbox.is_missing)
    try:
        await probe(outbox)
        yield good("outbox", f"{name} stores and returns events")
        if is_new:
            yield warning(
                "outbox",
                "this file was created just now: is it the one that the app uses?",
                "set BRIDGE_OUTBOX_URL to an absolute path, such as sqlite:////srv/shop/bridge.db,"
                " for the app and for this command",
            )
        if isinstance(outbox, Troubled):
            for trouble in await outbox.find_troubles(thorough=True):
                yield bad("outbox", trouble.text, trouble.remedy)
        if orphans := find_orphans(await outbox.count(time.time()), destinations):
            text = f"events wait, {describe_orphans(orphans)}, and {EXPLANATION}"
            yield warning("outbox", text)
    except OutboxError as error:
        yield bad("outbox", str(error))


async def look_at_spool(spool: Spool | None) -> AsyncIterator[Finding]:
    """Yield whether ``spool`` can take what the outbox does not, and what waits there."""
    if spool is None:
        return
    if obstacle := await asyncio.to_thread(spool.find_obstacle):
        remedy = "set BRIDGE_SPOOL to a place on a disk that this process may write to"
        yield warning("spool", f"there is none: {obstacle}", remedy)
        return
    name = await asyncio.to_thread(str, spool)
    try:
        waiting = await spool.count()
    except OutboxError as error:
        yield bad("spool", str(error))
        return
    finally:
        await spool.close()
    if waiting:
        yield warning("spool", f"waiting in {name}: {waiting}; a running app moves them")
    else:
        yield good("spool", f"{name} takes what the outbox does not, and is empty")


async def look_at_durability(outbox: Outbox) -> AsyncIterator[Finding]:
    """Yield what may lose events that were stored, or show them to others."""
    if not isinstance(outbox, Inspected):
        return
    try:
        weaknesses = await outbox.find_weaknesses()
    except OutboxError as error:
        yield bad("durability", str(error))
        return
    for each in weaknesses:
        yield (bad if each.is_serious else warning)("durability", each.text, each.remedy)
    if not weaknesses:
        yield good("durability", "nothing that was stored is lost by a crash or a power cut")


async def probe(outbox: Outbox) -> None:
    """Pass one delivery through the outbox, and leave nothing behind.

    What a killed check left there is removed too.

    Raises:
        OutboxError: It failed, or is a replica that nobody can write to.
    """
    now = time.time()
    sent = Delivery(
        destination=PROBE,
        event_name="Check",
        event_id=str(uuid.uuid4()),
        body=b"{}",
        due=now,
        expires=now,
    )
    await outbox.put([sent], now)
    claimed = await outbox.claim(PROBE, 100, now=now, lease=1)
    if sent.key not in [each.key for each in claimed]:
        raise OutboxError("what was just stored cannot be read back; is its server a replica?")
    await outbox.bury(claimed, "a check", now)
    await outbox.drop([each.key for each in claimed])
