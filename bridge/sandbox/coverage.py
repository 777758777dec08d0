"""Coverage: which identifiers a server copy carries, out of those Meta finds a person by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Meta's keys in the order in which they help; then what is told of the address.
IDENTIFIERS = (
    *("em", "ph", "external_id", "fbc", "fbp", "client_ip_address", "ipv6", "client_user_agent"),
    *("fn", "ln", "db", "ge", "ct", "st", "zp", "country"),
)


def list_identifiers(user_data: Mapping[str, Any]) -> list[str]:
    """Return which of ``IDENTIFIERS`` are in a server copy's ``user_data``."""
    ip = user_data.get("client_ip_address")
    is_long = isinstance(ip, str) and ":" in ip
    return [key for key in IDENTIFIERS if user_data.get(key) or (key == "ipv6" and is_long)]
