"""What tests of commands share: the sandbox's pixel, and what a command wrote."""

from __future__ import annotations

from collections.abc import Callable

from tests.factories import SECRET

PIXEL = "1234567890123456"
META = f"meta:{PIXEL}"
TOKEN = "sandbox-token"
SETTINGS = {
    "BRIDGE_PIXEL_ID": PIXEL,
    "BRIDGE_ACCESS_TOKEN": TOKEN,
    "BRIDGE_SECRET_KEY": SECRET,
    "BRIDGE_GRAPH_URL": "http://127.0.0.1:9",
}


class Said:
    """What a command wrote, and how it ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


Run = Callable[..., Said]
