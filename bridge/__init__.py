"""The bridge between the Meta Pixel and the Conversions API, for Python's ASGI world."""

from bridge.consent import Consent
from bridge.core import Bridge
from bridge.errors import (
    BridgeError,
    ConfigError,
    InvalidEventError,
    InvalidTokenError,
    NoVisitorError,
    OutboxError,
    OutboxFullError,
)
from bridge.events import Event, UserData
from bridge.explaining import Explanation
from bridge.handlers import enrich, explain, identify, logout, track, track_sync
from bridge.middleware import BridgeMiddleware
from bridge.visitor import Visitor, current_visitor

__version__ = "0.1.0"

__all__ = [
    "Bridge",
    "BridgeError",
    "BridgeMiddleware",
    "ConfigError",
    "Consent",
    "Event",
    "Explanation",
    "InvalidEventError",
    "InvalidTokenError",
    "NoVisitorError",
    "OutboxError",
    "OutboxFullError",
    "UserData",
    "Visitor",
    "current_visitor",
    "enrich",
    "explain",
    "identify",
    "logout",
    "track",
    "track_sync",
]
