"""Orphans: deliveries for a name that no destination here has, for it was removed or renamed.

They may be another app's, which shares the outbox and has a destination of that name. So nothing
that anybody may still send is touched: only what has been due for a week, and is too old by now,
becomes a dead letter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from bridge.events.event import MAX_AGE, escape_unprintable
from bridge.outbox.base import Counts, Delivery, Outbox

PROBE = "pixel-bridge check"  # destination of the delivery that a check puts in and takes out
LEASE = 30.0  # seconds that an orphan is ours
AT_ONCE = 100  # deliveries
MAX_NAMES = 5  # that one line tells
EXPLANATION = "no destination of this name is configured"


def find_orphans(counts: Mapping[str, Counts], names: Collection[str]) -> dict[str, Counts]:
    """Return the counts of what waits for none of the destinations ``names``."""
    return {
        name: count
        for name, count in sorted(counts.items())
        if count.waiting and name not in names and name != PROBE
    }


def describe_orphans(orphans: Mapping[str, Counts]) -> str:
    """Return what waits for whom: ``"12 for meta:1, 3 for meta:2"``."""
    told = [
        f"{count.waiting:,} for {escape_unprintable(name)[:100]}"
        for name, count in list(orphans.items())[:MAX_NAMES]
    ]
    more = len(orphans) - len(told)
    return ", ".join([*told, f"{more} names more"] if more else told)


async def bury_orphans(outbox: Outbox, names: Iterable[str], now: float) -> int:
    """Bury what is too old of the deliveries for ``names``; how many there were.

    Raises:
        OutboxError: The outbox failed.
    """
    return sum([await _bury_expired(outbox, name, now) for name in names])


async def _bury_expired(outbox: Outbox, name: str, now: float) -> int:
    buried = 0
    # As of a week ago: what was due by then has had no sender since.
    while claimed := await outbox.claim(name, AT_ONCE, now=now - MAX_AGE, lease=MAX_AGE + LEASE):
        expired = [delivery for delivery in claimed if delivery.expires <= now]
        await outbox.bury(expired, f"too old: {EXPLANATION}", now)
        await _leave(outbox, claimed, now)
        buried += len(expired)
    return buried


async def _leave(outbox: Outbox, claimed: list[Delivery], now: float) -> None:
    """Put back what is not expired, due at once for whoever may come."""
    await outbox.retry([delivery for delivery in claimed if delivery.expires > now], now)
