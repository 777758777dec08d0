"""Base addresses of destinations, as people configure them. Pure."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from bridge.errors import ConfigError

SCHEMES = ("http", "https")

_BASE_URL = re.compile(r"(?!.*[?#\\])[!-~]{1,2048}")


def check_base_url(url: str, argument: str, expected: str) -> None:
    """Refuse a base address that no request can be sent to; one with a password is not shown.

    Args:
        url: What was configured.
        argument: Its name, for the message.
        expected: What it may be: ``like https://graph.facebook.com``.

    Raises:
        ConfigError: It is none.
    """
    if "@" in url:
        raise ConfigError(
            f"{argument} must not hold a user name or password, which logs would show"
        )
    shown = url.partition("?")[0][:200]
    try:
        parts = urlsplit(url)
        # Reading a port over 65535 raises.
        is_address = bool(parts.hostname) and parts.port != 0 and parts.scheme in SCHEMES
    except ValueError:
        is_address = False
    if not is_address or not _BASE_URL.fullmatch(url):
        raise ConfigError(f"{argument} must be {expected}, got {shown!r}")
