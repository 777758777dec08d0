"""The shop's settings: those of Meta from the environment, or those of the sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SANDBOX_PORT = 8001
NO_VISITORS = "/static,/provider,/webhooks"  # pictures, somebody else's pages, machines


@dataclass(frozen=True, slots=True)
class Settings:
    """What the shop needs to know.

    Attributes:
        bridge: The ``BRIDGE_*`` variables, for ``Bridge.from_env``.
        sandbox_url: Where the sandbox shows the shop's events; none when they go to Meta.
    """

    bridge: Mapping[str, str]
    sandbox_url: str | None


def read_settings(environ: Mapping[str, str], *, sandbox_port: int = SANDBOX_PORT) -> Settings:
    """Return the settings in ``environ``.

    With ``BRIDGE_ACCESS_TOKEN`` set, the shop talks to Meta and the environment says how. Without
    it, the shop talks to the sandbox on this machine and needs no settings at all.

    With ``SHOP_CONSENT=ask``, nothing is kept or sent of visitors before they allow it.
    """
    given = {"BRIDGE_EXCLUDE_PATHS": NO_VISITORS}
    given |= {name: value for name, value in environ.items() if value}
    if given.get("SHOP_CONSENT") == "ask":
        given["BRIDGE_CONSENT"] = "pending"
    if "BRIDGE_ACCESS_TOKEN" in given:
        return Settings(given, sandbox_url=None)
    sandbox_url = given.get("BRIDGE_GRAPH_URL", f"http://127.0.0.1:{sandbox_port}")
    sandbox = {
        "BRIDGE_PIXEL_ID": "1234567890123456",
        "BRIDGE_ACCESS_TOKEN": "sandbox-token",
        "BRIDGE_SECRET_KEY": "for-the-sandbox-only-everybody-can-read-it",
        "BRIDGE_GRAPH_URL": sandbox_url,
        "BRIDGE_PIXEL_SCRIPT_URL": f"{sandbox_url}/en_US/fbevents.js",
        "BRIDGE_CUSTOM_EVENTS": "*",  # whatever you try in the browser's console
    }
    return Settings({**sandbox, **given}, sandbox_url)
