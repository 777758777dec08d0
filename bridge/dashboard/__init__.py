"""A page for those who run the app: figures, what waits, what failed, and one event as it is."""

from bridge.dashboard.app import create_app
from bridge.dashboard.guard import Allow, Gate, LocalGuard
from bridge.dashboard.quality import QualityDesk

__all__ = ["Allow", "Gate", "LocalGuard", "QualityDesk", "create_app"]
