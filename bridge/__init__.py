"""The bridge between the Meta Pixel and the Conversions API, for Python's ASGI world."""

from bridge.core import Bridge, current_visitor, enrich, identify, track, track_sync
from bridge.errors import (
    BridgeError,
    ConfigError,
    InvalidEventError,
    NoVisitorError,
    OutboxError,
)
from bridge.events import Event, UserData
from bridge.middleware import BridgeMiddleware
from bridge.visitor import Visitor

__version__ = "0.1.0"

__all__ = [
    "Bridge",
    "BridgeError",
    "BridgeMiddleware",
    "ConfigError",
    "Event",
    "InvalidEventError",
    "NoVisitorError",
    "OutboxError",
    "UserData",
    "Visitor",
    "current_visitor",
    "enrich",
    "identify",
    "track",
    "track_sync",
]
