"""The origins whose pages may talk to us across origins (CORS): none, unless they are named.

An app on ``www.example.com`` with its API, and us, on ``api.example.com`` names the first. Cookies
go along because both share a registrable domain; of another site they would not.

Source: WHATWG, "Fetch", HTTP CORS protocol, read 2026-11-24.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from bridge.errors import ConfigError

PREFLIGHT_MAX_AGE = 7200  # seconds; Chrome keeps none longer

_ORIGIN = re.compile(r"(https?)://([a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


class Origins:
    """The allowed origins.

    Args:
        allowed: Such as ``https://www.example.com``: exactly as browsers send it.

    Raises:
        ConfigError: One of them is no origin.
    """

    def __init__(self, allowed: str | Iterable[str]) -> None:
        listed = [allowed] if isinstance(allowed, str) else list(allowed)
        self._allowed = frozenset(map(_parse_origin, listed))

    def __contains__(self, origin: str | None) -> bool:
        return origin in self._allowed

    def build_headers(self, origin: str | None) -> dict[str, str]:
        """Return what an answer to a page of ``origin`` must carry."""
        if not self._allowed:
            return {}
        if origin is None or origin not in self._allowed:
            return {"vary": "Origin"}
        return {
            "vary": "Origin",
            "access-control-allow-origin": origin,
            "access-control-allow-credentials": "true",
            "access-control-expose-headers": "Retry-After",
        }

    def build_preflight(self, origin: str | None, methods: str) -> dict[str, str]:
        """Return the answer to a browser that asks before it sends; none if it may not."""
        if origin not in self._allowed:
            return {}
        return {
            **self.build_headers(origin),
            "access-control-allow-methods": methods,
            "access-control-allow-headers": "content-type",
            "access-control-max-age": str(PREFLIGHT_MAX_AGE),
        }


def _parse_origin(text: str) -> str:
    """Return ``text`` as browsers write it: lower case, without the scheme's own port."""
    match = _ORIGIN.fullmatch(text.strip().lower())
    if match is None:
        raise ConfigError(
            f"allowed_origins must be like https://www.example.com, without a path, got {text!r}"
        )
    scheme, host, port = match.groups()
    shown = port is not None and port != _DEFAULT_PORTS[scheme]
    return f"{scheme}://{host}:{port}" if shown else f"{scheme}://{host}"
