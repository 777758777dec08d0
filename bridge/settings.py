"""The environment's ``BRIDGE_*`` variables as arguments of ``Bridge``.

The one table of options; nothing else here reads the environment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from starlette.datastructures import Secret

from bridge.destinations.meta import Meta
from bridge.errors import ConfigError


class Option(NamedTuple):
    """One variable.

    Attributes:
        variable: Its name.
        argument: The argument it sets, of ``Bridge`` or ``Meta``.
        of_meta: Whether the argument is ``Meta``'s.
        parse: Text to value; raises ``ValueError``.
        meaning: One sentence for people.
        default: What holds without it, for people.
    """

    variable: str
    argument: str
    of_meta: bool
    parse: Callable[[str], Any]
    meaning: str
    default: str


def _parse_keys(text: str) -> list[Secret]:
    return [Secret(key.strip()) for key in text.split(",")]


OPTIONS: tuple[Option, ...] = (
    Option("BRIDGE_PIXEL_ID", "pixel_id", True, str, "The pixel or dataset id.", "required"),
    Option(
        "BRIDGE_ACCESS_TOKEN",
        "access_token",
        True,
        Secret,
        "Conversions API token, from Events Manager.",
        "required",
    ),
    Option(
        "BRIDGE_SECRET_KEY",
        "secret_key",
        False,
        _parse_keys,
        "Signs the session cookie, 32 bytes or more; several, separated by commas, newest last.",
        "required",
    ),
    Option(
        "BRIDGE_OUTBOX_URL",
        "outbox",
        False,
        str,
        "Where events wait until they are delivered.",
        "sqlite:///bridge.db",
    ),
    Option(
        "BRIDGE_PREFIX",
        "prefix",
        False,
        str,
        "Path of the script and its endpoints.",
        "/_bridge",
    ),
    Option(
        "BRIDGE_BROWSER_HOLD",
        "browser_hold",
        False,
        float,
        "Seconds a server copy waits for its browser copy to go first.",
        "10",
    ),
    Option(
        "BRIDGE_TRUSTED_PROXIES",
        "trusted_proxies",
        False,
        str,
        "Addresses or CIDR ranges whose X-Forwarded-* headers are believed.",
        "none",
    ),
    Option(
        "BRIDGE_SESSION_MAX_AGE",
        "session_max_age",
        False,
        int,
        "Seconds an unrenewed session counts.",
        "7776000 (90 days)",
    ),
    Option(
        "BRIDGE_PIXEL_SCRIPT_URL",
        "pixel_script_url",
        False,
        str,
        "Where browsers load the pixel's library from.",
        "Meta's address",
    ),
    Option(
        "BRIDGE_GRAPH_URL",
        "graph_url",
        True,
        str,
        "Base address of the Graph API.",
        "https://graph.facebook.com",
    ),
    Option("BRIDGE_API_VERSION", "api_version", True, str, "Graph version.", "v26.0"),
    Option(
        "BRIDGE_TEST_EVENT_CODE",
        "test_event_code",
        True,
        str,
        "Shows events under Events Manager's Test events; they still count.",
        "none",
    ),
    Option(
        "BRIDGE_PARTNER_AGENT",
        "partner_agent",
        True,
        str,
        "Platform id, for those who send for others.",
        "none",
    ),
)


def read_settings(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments for ``Bridge`` that ``environ`` holds.

    Raises:
        ConfigError: A variable is missing or wrong; the message names it.
    """
    bridge: dict[str, Any] = {}
    meta: dict[str, Any] = {}
    for option in OPTIONS:
        text = environ.get(option.variable, "").strip()
        if not text:
            if option.default == "required":
                raise ConfigError(f"{option.variable} is not set: {option.meaning}")
            continue
        try:
            (meta if option.of_meta else bridge)[option.argument] = option.parse(text)
        except ValueError:
            raise ConfigError(f"{option.variable}: expected a number, got {text[:40]!r}") from None
    return {**bridge, "destinations": [Meta(**meta)]}
