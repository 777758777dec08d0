"""The origins whose pages may use our endpoints from elsewhere (CORS): none unless named.

An app on ``www.example.com`` whose API, and we, are on ``api.example.com`` names the first. Cookies
are sent because both share a registrable domain; from another site they would not be.

Source: WHATWG, "Fetch", HTTP CORS protocol, read 2026-11-24.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from bridge.errors import ConfigError

PREFLIGHT_MAX_AGE = 7200  # seconds; Chrome keeps an answer no longer

_ORIGIN = re.compile(r"(https?)://([a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def parse_origins(allowed: str | Iterable[str]) -> frozenset[str]:
    """Return origins such as ``https://www.example.com`` exactly as browsers send them.

    Raises:
        ConfigError: One of them is not an origin.
    """
    listed = [allowed] if isinstance(allowed, str) else allowed
    return frozenset(map(_parse_origin, listed))


def _parse_origin(text: str) -> str:
    """Return ``text`` as browsers write it: lower case, without the scheme's own port."""
    match = _ORIGIN.fullmatch(text.strip().lower())
    if match is None:
        raise ConfigError(
            "allowed_origins must be origins such as https://www.example.com, without a path,"
            f" got {text!r}"
        )
    scheme, host, port = match.groups()
    has_own_port = port is not None and port != _DEFAULT_PORTS[scheme]
    return f"{scheme}://{host}:{port}" if has_own_port else f"{scheme}://{host}"
