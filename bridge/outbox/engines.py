"""The engine that an outbox URL names."""

from __future__ import annotations

from bridge.errors import ConfigError
from bridge.outbox.base import Outbox
from bridge.outbox.sqlite import SQLiteOutbox


def open_outbox(url: str) -> Outbox:
    """Return the outbox at ``url``: ``sqlite:///bridge.db`` is a file, relative to the process.

    As in SQLAlchemy's URLs an absolute path has four slashes: ``sqlite:////var/lib/bridge.db``.

    Raises:
        ConfigError: No engine has this scheme.
    """
    scheme, separator, path = url.partition(":///")
    if scheme == "sqlite" and separator and path:
        return SQLiteOutbox(path)
    # Only the scheme is shown: the rest may hold a password.
    scheme = url.partition(":")[0] if "://" in url else "none"
    raise ConfigError(f"outbox must be like sqlite:///bridge.db, got scheme {scheme[:20]!r}")
