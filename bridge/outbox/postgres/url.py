"""The URL of a PostgreSQL outbox: its settings, and the part of it that may be shown."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from bridge.errors import ConfigError

CONNECT_TIMEOUT = 5  # seconds, unless the URL has another
_ADVICE = (
    "PostgresOutbox url must be like postgresql://user:password@host:5432/database, with special"
    " characters of a password percent-encoded (@ as %40)"
)


class PostgresURL:
    """Where the outbox is. Its ``repr`` and ``str`` hide user and password.

    Args:
        url: Such as ``postgresql://user:password@host:5432/database?sslmode=require``.

    Attributes:
        settings: Connection parameters by libpq's names, including the password.

    Raises:
        ConfigError: It is not such a URL. The message shows nothing of it, as any part may be the
            password.
    """

    def __init__(self, url: str) -> None:
        self.settings: dict[str, Any] = {
            "client_encoding": "UTF8",
            "application_name": "pixel-bridge",
            "connect_timeout": CONNECT_TIMEOUT,
            **_parse_url(url),
        }

    def __str__(self) -> str:
        host, port, name = (self.settings.get(key) for key in ("host", "port", "dbname"))
        return f"postgresql://{host or ''}{f':{port}' if port else ''}/{name or ''}"

    def __repr__(self) -> str:
        return f"PostgresURL({str(self)!r})"


def _parse_url(url: str) -> dict[str, Any]:
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
    return settings
