"""Where deliveries wait: one file per engine, one protocol."""

from bridge.outbox.base import Counts, Delivery, Outbox
from bridge.outbox.engines import open_outbox
from bridge.outbox.sqlite import SQLiteOutbox

__all__ = ["Counts", "Delivery", "Outbox", "SQLiteOutbox", "open_outbox"]
