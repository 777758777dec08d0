"""Every exception this package raises.

    BridgeError
    ├── ConfigError (also ValueError)        a setting is wrong: raised where the object is built
    ├── InvalidEventError (also ValueError)  an event its API would refuse: names the field
    ├── InvalidTokenError (also ValueError)  a sealed token that cannot be opened
    ├── UsageError (also RuntimeError)       a call that cannot work where it was made
    │   └── NoVisitorError (also LookupError)  called outside a request without ``visitor=``
    └── OutboxError                          the outbox failed; the driver's error is ``__cause__``
        └── OutboxFullError                  nothing more can be stored: its capacity, or the disk

What is expected is a value, not an exception: see the verdicts in ``bridge.destinations.base``.
"""

from __future__ import annotations


class BridgeError(Exception):
    """Base of every exception of this package."""


class ConfigError(BridgeError, ValueError):
    """A setting is missing or wrong; the message says what was expected and what came."""


class InvalidEventError(BridgeError, ValueError):
    """An event that its API would refuse.

    Attributes:
        field: Path of the field at fault, such as ``custom_data.value``.
        reason: What was expected there and what came, without the value itself where it may be
            personal.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class InvalidTokenError(BridgeError, ValueError):
    """A sealed token that is expired, altered or foreign; the message says which."""


class UsageError(BridgeError, RuntimeError):
    """A call that cannot work where it was made; the message says what to call instead."""


class NoVisitorError(UsageError, LookupError):
    """``enrich``, ``track`` or ``identify`` was called where no visitor is known."""


class OutboxError(BridgeError):
    """An event could not be stored or read.

    It is raised ``from`` the driver's own error where there was one: its ``__cause__``. Who tracks
    within a transaction of their own and repeats what PostgreSQL gave up finds SQLSTATE 40001 or
    40P01 in ``error.__cause__.sqlstate``.
    """


class OutboxFullError(OutboxError):
    """The outbox holds as much as it may; what waits must be delivered, or dead letters dropped."""
