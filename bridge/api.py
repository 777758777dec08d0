"""What handlers call, for the current visitor.

``explain`` may be called anywhere.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Unpack

from bridge.core import Bridge
from bridge.destinations.segment import Segment
from bridge.events.event import ActionSource, Event
from bridge.events.user_data import PersonalData
from bridge.explain.explainer import Explanation
from bridge.site import Site
from bridge.visitor.visitor import VISITOR, Visitor, current_visitor


def enrich(event: Mapping[str, Any], *, visitor: Visitor | None = None) -> dict[str, Any]:
    """Return ``event`` completed for its API with everything known of the visitor.

    ``event_name`` makes it a server event of Meta's Conversions API, ``event`` a track message of
    Segment's. What you set is never overwritten. Nothing is stored or sent.

    Args:
        event: One of the two shapes. Raw values in ``user_data`` are normalised and hashed.
        visitor: Who caused it; the current request's visitor by default.

    Raises:
        InvalidEventError: Its API would refuse it; the message names the field.
        NoVisitorError: Outside a request, without ``visitor``.
    """
    visitor = visitor or current_visitor()
    return Site.of(visitor).enrich(event, visitor=visitor)


def explain(event: Mapping[str, Any], *, visitor: Visitor | None = None) -> Explanation:
    """Return ``event`` as it would go out: to Meta, to Segment, and from Segment to Meta.

    Nothing is stored, sent, counted or logged. Outside a request and without ``visitor`` it is
    explained with the default settings.

    Args:
        event: As for ``enrich``.
        visitor: Who caused it; the current request's visitor by default, else an example.

    Raises:
        InvalidEventError: It would be refused; the message names the field.
    """
    visitor = visitor or VISITOR.get()
    site = Site.of(visitor) if visitor else _build_example()
    return site.explain(event, visitor=visitor)


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
    action_source: ActionSource | None = None,
    event_source_url: str | None = None,
    referrer_url: str | None = None,
    to: str | Iterable[str] | None = None,
    test_event_code: str | None = None,
    connection: Any = None,
) -> Event:
    """Store an event for every destination, and ask the browser for its copy.

    When it returns, the event is on disk; ``event.outcome`` says whether it is ``stored``,
    ``spooled`` (on this machine, until the outbox takes events again), a ``duplicate`` of the same
    name and id, ``skipped`` (``event.skip_reason`` says why), ``lost``, or ``invalid`` where
    ``Bridge(on_invalid="log")`` does not raise.
    If neither outbox nor spool takes it, the loss is logged and counted, and the request goes on.

    Args:
        name: A standard event's name, such as ``Purchase``, or a custom one.
        properties: Meta's ``custom_data``: value, currency, contents and the like.
        event_id: An order's own id, where there is one; random by default.
        event_time: When it happened, Unix seconds or an aware datetime; now by default.
        user_data: More about the person than the session knows; hashed at once.
        visitor: Who caused it; the current request's visitor by default.
        action_source: Where it happened; ``website`` by default, if the page is known.
        event_source_url: The page, if another than the visitor's.
        referrer_url: The page before that one.
        to: Names of the destinations that get it, such as ``meta`` or ``meta:1234567890``; all by
            default.
        test_event_code: Shows this event under "Test events" in Events Manager; it still counts.
        connection: Your own connection to the database that holds the outbox: the event is
            committed with your transaction, or not at all.

    Returns:
        The event as it is sent.

    Raises:
        ConfigError: ``connection`` is given, and the outbox cannot use it.
        InvalidEventError: Meta would refuse it; the message names the field.
        NoVisitorError: Outside a request, without ``visitor``.
        OutboxError: It could not be stored in the transaction of ``connection``.
    """
    visitor = visitor or current_visitor()
    return await Site.of(visitor).track(
        name,
        properties,
        event_id=event_id,
        event_time=event_time,
        user_data=user_data,
        visitor=visitor,
        action_source=action_source,
        event_source_url=event_source_url,
        referrer_url=referrer_url,
        to=to,
        test_event_code=test_event_code,
        connection=connection,
    )


def track_sync(
    name: str,
    properties: Mapping[str, Any] | None = None,
    *,
    event_id: str | int | None = None,
    event_time: int | datetime | None = None,
    user_data: Mapping[str, Any] | None = None,
    visitor: Visitor | None = None,
    action_source: ActionSource | None = None,
    event_source_url: str | None = None,
    referrer_url: str | None = None,
    to: str | Iterable[str] | None = None,
    test_event_code: str | None = None,
    connection: Any = None,
) -> Event:
    """Do the same as ``track``, from a sync handler that runs in a thread.

    Args:
        name: A standard event's name, such as ``Purchase``, or a custom one.
        properties: Meta's ``custom_data``: value, currency, contents and the like.
        event_id: An order's own id, where there is one; random by default.
        event_time: When it happened, Unix seconds or an aware datetime; now by default.
        user_data: More about the person than the session knows; hashed at once.
        visitor: Who caused it; the current request's visitor by default.
        action_source: As for ``track``.
        event_source_url: As for ``track``.
        referrer_url: As for ``track``.
        to: As for ``track``.
        test_event_code: As for ``track``.
        connection: As for ``track``.

    Returns:
        The event as it is sent.

    Raises:
        UsageError: Called on the event loop's own thread, which would wait for itself.
        InvalidEventError: Meta would refuse it; the message names the field.
        NoVisitorError: Outside a request, without ``visitor``.
    """
    visitor = visitor or current_visitor()
    return Site.of(visitor).track_sync(
        name,
        properties,
        event_id=event_id,
        event_time=event_time,
        user_data=user_data,
        visitor=visitor,
        action_source=action_source,
        event_source_url=event_source_url,
        referrer_url=referrer_url,
        to=to,
        test_event_code=test_event_code,
        connection=connection,
    )


def identify(
    user_id: str | int | None = None,
    *,
    visitor: Visitor | None = None,
    **user_data: Unpack[PersonalData],
) -> None:
    """Keep who the visitor is, for this request and the session; hashed at once.

    Args:
        user_id: The site's own id of the user. An e-mail address or a phone number is refused.
        visitor: Who is identified; the current request's visitor by default.
        user_data: ``email``, ``phone``, ``first_name`` and so on: see ``PersonalData``.

    Raises:
        InvalidEventError: ``user_id`` is personal data, or a key is unknown.
        NoVisitorError: Outside a request, without ``visitor``.
    """
    visitor = visitor or current_visitor()
    Site.of(visitor).identify(user_id, visitor=visitor, **user_data)


def logout(*, visitor: Visitor | None = None) -> None:
    """End the visitor's identity: our cookies are cleared, the next request is a stranger's.

    Args:
        visitor: Who logs out; the current request's visitor by default.

    Raises:
        NoVisitorError: Outside a request, without ``visitor``.
    """
    (visitor or current_visitor()).logout()
