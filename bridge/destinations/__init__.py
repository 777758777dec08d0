"""Where server copies go: a destination turns events into requests, and answers into verdicts."""

from bridge.destinations.base import (
    Accepted,
    Check,
    Destination,
    EncodingContext,
    Limits,
    Paused,
    Rejected,
    Request,
    Retry,
    Verdict,
)
from bridge.destinations.meta import Meta
from bridge.destinations.segment import Segment
from bridge.destinations.track_message import to_arguments

__all__ = [
    "Accepted",
    "Check",
    "Destination",
    "EncodingContext",
    "Limits",
    "Meta",
    "Paused",
    "Rejected",
    "Request",
    "Retry",
    "Segment",
    "Verdict",
    "to_arguments",
]
