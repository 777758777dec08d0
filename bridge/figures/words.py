"""What is counted: the kinds of a figure, and the identifiers of a server copy."""

from __future__ import annotations

from collections.abc import Iterable

STORED = "stored"  # server copies stored for delivery
DUPLICATE = "duplicate"  # tracked again, so not stored
DELIVERED = "delivered"
DEAD = "dead"
LOST = "lost"  # the outbox was broken
EXPECTED = "copy.expected"  # stored ones that have a browser copy, fired or still to be fired
COPY = "copy."  # and what the script saw of it: sent, blocked, unknown
SKIPPED = "skipped."  # and the reason; of no destination
VALUE = "value."  # and the currency; ten-thousandths
WITH = "with."  # and the identifier that the server copy carried
DELAY = "delay."  # and the number of the bucket: from the event to its acceptance

VALUE_UNIT = 10_000
OTHER = "(other)"  # past a number of names
NOBODY = ""  # the destination of what reached none

# Meta's keys of what a visitor is found by, in the order in which they help; then what is told of
# the address.
IDENTIFIERS = (
    "em",
    "ph",
    "external_id",
    "fbc",
    "fbp",
    "client_ip_address",
    "ipv6",
    "client_user_agent",
    "fn",
    "ln",
    "db",
    "ge",
    "ct",
    "st",
    "zp",
    "country",
)

# Seconds: the upper ends of the buckets of delays; the last one has none.
DELAY_BUCKETS = (
    0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 4 * 3600.0,
    86_400.0,
)  # fmt: skip


def list_present(missing: Iterable[bool]) -> list[str]:
    """Return those of ``IDENTIFIERS`` that are not ``missing``."""
    return [key for key, is_missing in zip(IDENTIFIERS, missing, strict=True) if not is_missing]
