"""Where deliveries wait: one protocol, and a folder for each engine.

``PostgresOutbox`` and ``RedisOutbox`` are imported on first access: each needs a package that is
not installed by default.
"""

from typing import TYPE_CHECKING, Any

from bridge.outbox.base import Circuit, Counts, DeadLetter, Delivery, Erased, Figure, Key, Outbox
from bridge.outbox.engines import load_engine, open_outbox
from bridge.outbox.sqlite.outbox import SQLiteOutbox

if TYPE_CHECKING:
    from bridge.outbox.postgres.outbox import PostgresOutbox as PostgresOutbox
    from bridge.outbox.redis.outbox import RedisOutbox as RedisOutbox

__all__ = [
    "Circuit",
    "Counts",
    "DeadLetter",
    "Delivery",
    "Erased",
    "Figure",
    "Key",
    "Outbox",
    "SQLiteOutbox",
    "open_outbox",
]


def __getattr__(name: str) -> Any:
    """Return an engine by its name, imported now."""
    if name in {"PostgresOutbox", "RedisOutbox"}:
        return load_engine(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
