"""The URL of a PostgreSQL outbox: its settings, and the part of it that may be shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from bridge.errors import ConfigError

_DEFAULTS = {
    "client_encoding": "UTF8",
    "application_name": "pixel-bridge",
    "connect_timeout": 5,  # seconds
}
_ADVICE = (
    "PostgresOutbox url must be like postgresql://user:password@host:5432/database, with special"
    " characters of a password percent-encoded (@ as %40)"
)


def parse_url(url: str) -> dict[str, Any]:
    """Return the connection parameters in ``url`` by libpq's names, including the password.

    Raises:
        ConfigError: It is not such a URL. The message shows nothing of it, as any part may be the
            password.
    """
    if not url.startswith(("postgresql://", "postgres://")):
        raise ConfigError(_ADVICE)
    settings: dict[str, Any] = {}
    try:
        settings |= conninfo_to_dict(url)
    except (psycopg.Error, UnicodeError):
        settings.clear()
    # An unencoded @ or / in a password makes part of it look like host, port or database, which we
    # would show.
    names = f"{settings.get('host')}{settings.get('dbname')}"
    ports = str(settings.get("port") or "0").split(",")
    if not settings or "@" in names or not all(map(str.isdigit, ports)):
        raise ConfigError(_ADVICE)
    return {**_DEFAULTS, **settings}


def sets_commit(settings: Mapping[str, Any]) -> bool:
    """Return whether the URL itself says what ``synchronous_commit`` is to be."""
    return "synchronous_commit" in str(settings.get("options") or "")


def build_name(settings: Mapping[str, Any]) -> str:
    """Return the address without user and password, for messages."""
    host, port, name = (settings.get(key) for key in ("host", "port", "dbname"))
    return f"postgresql://{host or ''}{f':{port}' if port else ''}/{name or ''}"
