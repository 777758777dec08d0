"""What handlers call: ``enrich``, ``track``, ``identify`` and ``logout`` of the current visitor."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from bridge.events import Event
from bridge.visitor import Visitor, current_visitor


def enrich(event: Mapping[str, Any], *, visitor: Visitor | None = None) -> dict[str, Any]:
    """Return ``event`` completed for its API: see ``Bridge.enrich``."""
    visitor = visitor or current_visitor()
    return visitor.bridge.enrich(event, visitor=visitor)


async def track(
    name: str,
    properties: Mapping[str, Any] | None = None,
    *,
    event_id: str | int | None = None,
    event_time: int | datetime | None = None,
    user_data: Mapping[str, Any] | None = None,
    visitor: Visitor | None = None,
    connection: Any = None,
) -> Event:
    """Store an event and ask the browser for its twin: see ``Bridge.track``."""
    visitor = visitor or current_visitor()
    return await visitor.bridge.track(
        name,
        properties,
        event_id=event_id,
        event_time=event_time,
        user_data=user_data,
        visitor=visitor,
        connection=connection,
    )


def track_sync(name: str, properties: Mapping[str, Any] | None = None, **options: Any) -> Event:
    """Do as ``track`` does, from a sync handler: see ``Bridge.track_sync``."""
    visitor = options.pop("visitor", None) or current_visitor()
    return visitor.bridge.track_sync(name, properties, visitor=visitor, **options)


def identify(
    user_id: str | int | None = None, *, visitor: Visitor | None = None, **user_data: Any
) -> None:
    """Keep who the visitor is: see ``Bridge.identify``."""
    visitor = visitor or current_visitor()
    visitor.bridge.identify(user_id, visitor=visitor, **user_data)


def logout(*, visitor: Visitor | None = None) -> None:
    """End the visitor's identity: see ``Visitor.forget``."""
    (visitor or current_visitor()).forget()
