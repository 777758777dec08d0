"""Orphans: deliveries to a name that no destination here has, because it was removed or renamed.

They may belong to another app that shares the outbox and has a destination of that name. So only
what has been due for a week, and is too old to be sent, becomes a dead letter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from bridge.events.event import MAX_AGE, escape_unprintable
from bridge.outbox.base import Counts, Outbox

PROBE = "pixel-bridge check"  # destination of the delivery with which that command tries the outbox
LEASE = 30.0  # seconds that a claimed orphan is reserved for us
CLAIM_SIZE = 100  # deliveries
MAX_NAMES = 5  # in one line of text
EXPLANATION = "no destination of this name is configured"


def find_orphans(counts: Mapping[str, Counts], names: Collection[str]) -> dict[str, Counts]:
    """Return the counts of those with waiting deliveries that are not among ``names``."""
    return {
        name: count
        for name, count in sorted(counts.items())
        if count.waiting and name not in names and name != PROBE
    }


def describe_orphans(orphans: Mapping[str, Counts]) -> str:
    """Return how many wait for which name: ``"12 for meta:1, 3 for meta:2"``."""
    shown = [
        f"{count.waiting:,} for {escape_unprintable(name)[:100]}"
        for name, count in list(orphans.items())[:MAX_NAMES]
    ]
    more = len(orphans) - len(shown)
    return ", ".join([*shown, f"{more} more names"] if more else shown)


async def bury_orphans(
    outbox: Outbox, names: Iterable[str], now: float
) -> Counter[tuple[str, str]]:
    """Bury the deliveries to ``names`` that are too old; count them by destination and name.

    Raises:
        OutboxError: The outbox failed.
    """
    buried: Counter[tuple[str, str]] = Counter()
    for name in names:
        # A claim in the name of a week ago takes only what has been due, without a sender, since.
        while claimed := await outbox.claim(
            name, CLAIM_SIZE, now=now - MAX_AGE, lease=MAX_AGE + LEASE
        ):
            expired = [delivery for delivery in claimed if delivery.expires <= now]
            await outbox.bury(expired, f"too old: {EXPLANATION}", now)
            # The others go back, due at once, in case another app sends them.
            await outbox.retry([each for each in claimed if each.expires > now], now)
            buried.update((each.destination, each.event_name) for each in expired)
    return buried
