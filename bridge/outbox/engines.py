"""The engine that an outbox URL names, imported on first use."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from bridge.errors import ConfigError
from bridge.outbox.base import REMEMBER_DAYS, Outbox
from bridge.outbox.sqlite.outbox import SQLiteOutbox

# By class: its module, the package that it imports, which is not a dependency of ours, and our
# extra that installs the package.
_ENGINES = {
    "PostgresOutbox": ("bridge.outbox.postgres.outbox", "psycopg", "postgres"),
    "RedisOutbox": ("bridge.outbox.redis.outbox", "redis", "redis"),
}
_SCHEMES = {
    "postgresql": "PostgresOutbox",
    "postgres": "PostgresOutbox",
    "redis": "RedisOutbox",
    "rediss": "RedisOutbox",
    "redis+sentinel": "RedisOutbox",
    "unix": "RedisOutbox",
}


def load_engine(name: str) -> Callable[..., Outbox]:
    """Return the class ``PostgresOutbox`` or ``RedisOutbox``.

    Raises:
        ConfigError: Its package is not installed; the message says how to install it.
        KeyError: There is no engine of that name.
    """
    path, package, extra = _ENGINES[name]
    try:
        module: Any = import_module(path)
    except ImportError as error:
        # psycopg without libpq raises an ImportError that names no module.
        if (error.name or package).partition(".")[0] != package:
            raise
        raise ConfigError(
            f"{name} needs the {package} package: pip install 'pixel-bridge[{extra}]'"
        ) from error
    loaded: Callable[..., Outbox] = getattr(module, name)
    return loaded


def open_outbox(url: str, *, remember_days: float = REMEMBER_DAYS) -> Outbox:
    """Return the outbox at ``url``; ``remember_days`` are as for ``Bridge``.

    - ``sqlite:///bridge.db`` is a file, relative to the process. As in SQLAlchemy's URLs an
      absolute path has four slashes: ``sqlite:////var/lib/bridge.db``.
    - ``postgresql://user:password@host:5432/database``, or ``postgres://``.
    - ``redis://host:6379/0``, ``rediss://`` with TLS, ``unix:///path/of/redis.sock``, or
      ``redis+sentinel://host:26379,host2:26379/mymaster``.

    Raises:
        ConfigError: No engine has this scheme, or its package is not installed; or a value is
            wrong.
    """
    scheme, separator, rest = url.partition("://")
    if scheme == "sqlite" and len(rest) > 1 and rest.startswith("/"):
        return SQLiteOutbox(rest[1:], remember_days=remember_days)
    if separator and scheme in _SCHEMES:
        return load_engine(_SCHEMES[scheme])(url, remember_days=remember_days)
    # Only the scheme is shown: the rest may hold a password.
    shown = repr(scheme[:20]) if separator else "none"
    raise ConfigError(
        "outbox must be like sqlite:///bridge.db, postgresql://user@host/database or"
        f" redis://host:6379/0, got scheme {shown}"
    )
