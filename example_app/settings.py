"""The shop's settings: from the environment, or for the sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bridge.errors import ConfigError

SANDBOX_PORT = 8001
PIXEL_ID = "1234567890123456"
ACCESS_TOKEN = "sandbox-token"  # noqa: S105 - opens the sandbox only
WRITE_KEY = "sandbox-write-key"
DESTINATIONS = ("meta", "segment", "both")
NO_VISITORS = "/static,/provider,/webhooks"  # pictures, the provider's pages, its webhook


@dataclass(frozen=True, slots=True)
class Settings:
    """The shop's settings.

    Attributes:
        bridge: The ``BRIDGE_*`` variables, for ``Bridge.from_env``.
        sandbox_url: The sandbox that shows the shop's events; ``None`` without one.
    """

    bridge: Mapping[str, str]
    sandbox_url: str | None


def read_settings(environ: Mapping[str, str], *, sandbox_port: int = SANDBOX_PORT) -> Settings:
    """Return the settings in ``environ``.

    With ``BRIDGE_ACCESS_TOKEN`` or ``BRIDGE_SEGMENT_WRITE_KEY`` set, the shop talks to Meta or to
    Segment as the environment says. Without, it talks to the sandbox on this machine and needs no
    settings; ``SHOP_SENDS_TO`` chooses the destination: ``meta``, ``segment`` or ``both``.

    With ``SHOP_CONSENT=ask``, nothing about visitors is kept or sent before they consent.

    Raises:
        ConfigError: ``SHOP_SENDS_TO`` is something else.
    """
    given = {"BRIDGE_EXCLUDE_PATHS": NO_VISITORS}
    given |= {name: value for name, value in environ.items() if value}
    if given.get("SHOP_CONSENT") == "ask":
        given["BRIDGE_CONSENT"] = "pending"
    if given.keys() & {"BRIDGE_ACCESS_TOKEN", "BRIDGE_SEGMENT_WRITE_KEY"}:
        return Settings(given, sandbox_url=None)
    sends_to = given.get("SHOP_SENDS_TO", "meta")
    if sends_to not in DESTINATIONS:
        raise ConfigError(f"SHOP_SENDS_TO must be {', '.join(DESTINATIONS)}, got {sends_to!r}")
    sandbox_url = given.get("BRIDGE_GRAPH_URL", f"http://127.0.0.1:{sandbox_port}")
    sandbox = {
        "BRIDGE_PIXEL_ID": PIXEL_ID,
        "BRIDGE_SECRET_KEY": "for-the-sandbox-only-everybody-can-read-it",
        "BRIDGE_GRAPH_URL": sandbox_url,
        "BRIDGE_PIXEL_SCRIPT_URL": f"{sandbox_url}/en_US/fbevents.js",
        "BRIDGE_CUSTOM_EVENTS": "*",  # whatever you try in the browser's console
    }
    if sends_to != "segment":
        sandbox["BRIDGE_ACCESS_TOKEN"] = ACCESS_TOKEN
    if sends_to != "meta":
        sandbox |= {"BRIDGE_SEGMENT_WRITE_KEY": WRITE_KEY, "BRIDGE_SEGMENT_URL": sandbox_url}
    return Settings({**sandbox, **given}, sandbox_url)
