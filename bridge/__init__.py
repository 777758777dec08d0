"""The bridge between the Meta Pixel and the Conversions API, for Python's ASGI world."""

from bridge.api import enrich, explain, identify, logout, track, track_sync
from bridge.core import Bridge
from bridge.errors import (
    BridgeError,
    ConfigError,
    InvalidEventError,
    InvalidTokenError,
    NoVisitorError,
    OutboxError,
    OutboxFullError,
    UsageError,
)
from bridge.events.catalog import Catalog, EventMapping
from bridge.events.event import Event, UserData
from bridge.explain.explainer import Explanation
from bridge.middleware import BridgeMiddleware
from bridge.shops import Shop, Shops
from bridge.visitor.consent import Consent
from bridge.visitor.visitor import Visitor, current_visitor

__version__ = "0.1.0"

__all__ = [
    "Bridge",
    "BridgeError",
    "BridgeMiddleware",
    "Catalog",
    "ConfigError",
    "Consent",
    "Event",
    "EventMapping",
    "Explanation",
    "InvalidEventError",
    "InvalidTokenError",
    "NoVisitorError",
    "OutboxError",
    "OutboxFullError",
    "Shop",
    "Shops",
    "UsageError",
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
