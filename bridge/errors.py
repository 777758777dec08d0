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

import re

# One step of a path as programmers write keys, with the places in lists behind it.
_STEP = re.compile(r"(?!.*[0-9]{6})[A-Za-z_$][A-Za-z0-9_$-]{0,63}(?:\[[0-9]{1,6}\])*", re.ASCII)
MAX_STEPS = 12


def _show_path(path: str) -> str:
    steps = path[:1000].split(".")[:MAX_STEPS]
    return ".".join(step if _STEP.fullmatch(step) else "<key>" for step in steps)


class BridgeError(Exception):
    """Base of every exception of this package."""


class ConfigError(BridgeError, ValueError):
    """A setting is missing or wrong; the message says what was expected and what came."""


class InvalidEventError(BridgeError, ValueError):
    """An event that its API would refuse.

    Attributes:
        field: Path of the field at fault, such as ``custom_data.value``. A key that no programmer
            chose may be personal itself, and is shown as ``<key>``.
        reason: What was expected there and what came, without the value itself where it may be
            personal.
    """

    def __init__(self, field: str, reason: str) -> None:
        self.field = _show_path(field)
        self.reason = reason
        super().__init__(f"{self.field}: {reason}")


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


class OutboxBusyError(OutboxError):
    """The outbox's server starts, restarts or is overloaded: the same may work in a moment.

    Or the disk of an outbox does not answer. What was to be stored may be stored all the same.
    """


class OutboxFullError(OutboxError):
    """The outbox holds as much as it may; what waits must be delivered, or dead letters dropped."""
