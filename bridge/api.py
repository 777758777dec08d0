"""What handlers call: ``enrich``, ``track``, ``identify`` and ``logout`` of the current visitor.

``explain`` may be called anywhere.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from bridge.core import Bridge
from bridge.destinations.segment import Segment
from bridge.events.event import Event
from bridge.explain.explainer import Explanation
from bridge.visitor.visitor import VISITOR, Visitor, current_visitor


def enrich(event: Mapping[str, Any], *, visitor: Visitor | None = None) -> dict[str, Any]:
    """Return ``event`` completed for its API: see ``Bridge.enrich``."""
    visitor = visitor or current_visitor()
    return visitor.bridge.enrich(event, visitor=visitor)


def explain(event: Mapping[str, Any], *, visitor: Visitor | None = None) -> Explanation:
    """Return ``event`` as it would go out: see ``Bridge.explain``.

    Outside a request and without ``visitor`` it is explained by the default settings.
    """
    visitor = visitor or VISITOR.get()
    bridge = visitor.bridge if visitor else _build_example()
    return bridge.explain(event, visitor=visitor)


@lru_cache(maxsize=1)
def _build_example() -> Bridge:
    """Return a bridge with the default settings, which never sends or stores anything."""
    return Bridge(secrets.token_hex(32), [Segment("example")])


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
