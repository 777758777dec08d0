"""Batches: how claimed deliveries become requests, and how a refused request is split. Pure.

Strategy: one bad event makes a destination refuse the whole batch. The destination often names the
event; then it is sent alone, and the others together. It may name the wrong one, so an event is
buried only after it was refused alone. If the others are refused again, they are halved: many bad
events cost about twice as many requests as there are bad events, and never more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bridge.outbox.base import Delivery

WHOLE_ATTEMPTS = 1  # attempts for which a delivery is sent in full batches
SHRINKING = 2  # then each has a quarter of the one before: in powers of two


@dataclass(slots=True)
class Batch:
    """The deliveries of one request.

    Attributes:
        deliveries: At least one.
        is_rest: Whether it is what remained of a refused batch without the events it was blamed on.
    """

    deliveries: list[Delivery]
    is_rest: bool = False

    @property
    def attempts(self) -> int:
        """The attempts of the delivery that was claimed most often."""
        return max(delivery.attempts for delivery in self.deliveries)


@dataclass(slots=True)
class Claim:
    """What one claim took from the outbox and is not settled yet.

    Attributes:
        batches: In the order in which they are sent; the first one is in flight.
        leased_until: When other senders may claim them, Unix seconds and monotonic ones. What comes
            first counts: the clock may be set back, and the other one stops in a machine that
            sleeps.
        is_fresh: Whether nothing of it was sent.
    """

    batches: list[Batch]
    leased_until: tuple[float, float]
    is_fresh: bool = True

    @property
    def deliveries(self) -> list[Delivery]:
        """All deliveries of its batches."""
        return [delivery for batch in self.batches for delivery in batch.deliveries]

    def read_rest(self, now: float, clock: float) -> float:
        """Return the seconds left of the lease at ``now``, in Unix seconds, and ``clock``."""
        return min(self.leased_until[0] - now, self.leased_until[1] - clock)


def cut(
    deliveries: Sequence[Delivery], *, batch_size: int, max_bytes: int | None = None
) -> list[Batch]:
    """Return ``deliveries`` as batches, in their order.

    A delivery that failed once is sent in ever smaller batches, at last alone. A request that fails
    as a whole, by a time-out or a 500, may be too large for its destination, or fail because of one
    event in it; and what timed out may have been received, and is received again each time.

    The bodies of one request have ``max_bytes`` at most, with a comma between them; a larger body
    is sent alone.
    """
    most = float("inf") if max_bytes is None else max_bytes
    # Nearly always they are one batch, and finding that out takes a tenth of the time.
    if 0 < len(deliveries) <= batch_size and max(d.attempts for d in deliveries) <= WHOLE_ATTEMPTS:
        size = sum([len(delivery.body) for delivery in deliveries]) + len(deliveries)
        if size <= most + 1:
            return [Batch(list(deliveries))]
    batches: list[Batch] = []
    room, bytes_left = 0, 0.0
    for delivery in deliveries:
        size = len(delivery.body) + 1  # and its comma
        limit = _limit_size(batch_size, delivery.attempts)
        taken = len(batches[-1].deliveries) if batches else 0
        if room < 1 or taken >= limit or size > bytes_left:
            batches.append(Batch([]))
            room, bytes_left, taken = batch_size, most + 1, 0
        batches[-1].deliveries.append(delivery)
        room = min(room, limit - taken) - 1
        bytes_left -= size
    return batches


def _limit_size(batch_size: int, attempts: int) -> int:
    return max(1, batch_size >> min(20, SHRINKING * max(0, attempts - WHOLE_ATTEMPTS)))


def split(batch: Batch, blamed: Sequence[int]) -> list[Batch]:
    """Return the smaller batches that replace a refused batch of two or more.

    ``blamed`` are the places that the destination named; those that do not exist are ignored.
    """
    deliveries = batch.deliveries
    places = {place for place in blamed if 0 <= place < len(deliveries)}
    if places and len(places) < len(deliveries) and not batch.is_rest:
        suspects = [deliveries[place] for place in sorted(places)]
        rest = [each for place, each in enumerate(deliveries) if place not in places]
        return [Batch(suspects), Batch(rest, is_rest=True)]
    middle = len(deliveries) // 2
    return [Batch(deliveries[:middle]), Batch(deliveries[middle:])]
