"""An app's destinations: all that other rooms need to know of them, whichever they are."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any, overload

from bridge.destinations.base import Destination, EncodingContext
from bridge.destinations.messages import DataUse, build_data_use
from bridge.destinations.segment import Segment
from bridge.errors import ConfigError, InvalidEventError, UsageError
from bridge.events.event import MAX_AGE, Event
from bridge.events.normalizers import hash_external_id
from bridge.outbox.base import Delivery, build_subjects
from bridge.visitor.identity import Identity


class Destinations(Sequence[Destination]):
    """Where an app's events go.

    Args:
        destinations: One or more, each with a name of its own.
        shop: Whose they are, where several shops share an outbox; part of their names there.

    Attributes:
        shop: As given.
        names: In the same order; those of a shop begin with it, as in ``de/meta:1234567890``.
        pixel_ids: The pixels that pages fire, each once.
        pixel_names: Names of the destinations that are pixels.
        reach_meta: Whether Meta gets the events from us.
        segment: The first Segment source; ``None`` without one.

    Raises:
        ConfigError: It is no such list.
    """

    def __init__(self, destinations: Sequence[Destination], *, shop: str = "") -> None:
        # Requests without a shop have a group without destinations.
        self._all = _check(destinations) if destinations or not shop else ()
        self.shop = shop
        self._prefix = f"{shop}/" if shop else ""
        if shop:
            self._all = tuple(self._name(each) for each in self._all)
        self.names = [each.name for each in self._all]
        pixel_ids = [each.pixel_id for each in self._all if each.pixel_id is not None]
        self.pixel_ids = tuple(dict.fromkeys(pixel_ids))
        self.pixel_names = tuple(each.name for each in self._all if each.pixel_id is not None)
        self.reach_meta = any(each.reaches_meta for each in self._all)
        self.segment = next((each for each in self._all if isinstance(each, Segment)), None)

    @overload
    def __getitem__(self, index: int) -> Destination: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Destination]: ...
    def __getitem__(self, index: int | slice) -> Destination | Sequence[Destination]:
        """Return one, or some."""
        return self._all[index]

    def __len__(self) -> int:
        return len(self._all)

    def __repr__(self) -> str:
        return f"Destinations({self.names})"

    def pick(self, names: str | Iterable[str] | None) -> Destinations:
        """Return those of ``names``, or all; ``meta`` and ``segment`` name all of their kind.

        Raises:
            UsageError: There is no such destination.
        """
        if names is None:
            return self
        listed = [names] if isinstance(names, str) else list(names)
        for name in listed:
            if not any(name in self._list_names(each) for each in self._all):
                known = ", ".join(each.name.removeprefix(self._prefix) for each in self._all)
                raise UsageError(f"to must name destinations of {known}, got {name!r:.80}")
        return Destinations(
            [each for each in self._all if not self._list_names(each).isdisjoint(listed)],
            shop=self.shop,
        )

    def _list_names(self, destination: Destination) -> set[str]:
        """Return the names that apps call a destination by: its own, and its kind's."""
        name = destination.name.removeprefix(self._prefix)
        return {name, name.partition(":")[0]}

    def _name(self, destination: Destination) -> Destination:
        """Return ``destination`` with its shop in its name."""
        if destination.name.startswith(self._prefix):
            return destination
        named = copy.copy(destination)
        named.name = self._prefix + destination.name
        return named

    def build_subjects(self, browser: str | None, people: Iterable[str]) -> bytes:
        """Return subjects as ``bridge.outbox.base.build_subjects`` does, of this shop's people."""
        return build_subjects(browser, people, shop=self.shop)

    def pick_pixel(self, pixel_id: str | None) -> Destinations:
        """Return those that an event of one pixel alone goes to; all for ``None``.

        Raises:
            InvalidEventError: No destination is of this pixel.
        """
        if pixel_id is None or self.pixel_ids == (pixel_id,):
            return self
        if pixel_id not in self.pixel_ids:
            raise InvalidEventError("pixel_id", "expected one of this site's pixels")
        return Destinations(
            [each for each in self._all if each.pixel_id in (None, pixel_id)], shop=self.shop
        )

    def build_deliveries(
        self,
        event: Event,
        context: EncodingContext,
        *,
        due: float,
        has_given_id: bool = False,
    ) -> list[Delivery]:
        """Return one delivery of ``event`` for each destination.

        Args:
            event: Complete.
            context: As for ``Destination.encode``.
            due: When it may be sent, Unix seconds.
            has_given_id: Whether the app gave the event's id.

        Raises:
            InvalidEventError: One of them would refuse it.
        """
        user_data = event.user_data
        people = user_data.external_id + user_data.em if user_data.em else user_data.external_id
        if context.identity is not None:
            # The event may name another id, and a message still carries this one.
            people = [*people, *context.identity.external_ids]
        subjects = self.build_subjects(read_browser(context.identity), dict.fromkeys(people))
        return [
            Delivery(
                destination=each.name,
                event_name=event.event_name,
                event_id=event.event_id,
                body=each.encode(event, context),
                due=due,
                expires=event.expires,
                from_browser=context.from_browser,
                has_given_id=has_given_id,
                subjects=subjects,
            )
            for each in self._all
        ]

    def build_identity_deliveries(
        self, known: Identity, before: Identity, now: float
    ) -> list[Delivery]:
        """Return deliveries of what says who a visitor is, for the destinations that want it."""
        people = known.external_ids + known.user_data.em
        subjects = self.build_subjects(read_browser(known), people)
        return [
            Delivery(
                destination=each.name,
                event_name=f"${message.kind}",
                event_id=message.key,
                body=message.body,
                due=now,
                expires=now + MAX_AGE,
                subjects=subjects,
            )
            for each in self._all
            for message in each.encode_identity(known, before, now)
        ]

    def build_switches(self, data_use: DataUse | None) -> dict[str, Any]:
        """Return ``integrations`` for a track message that the app sends to Segment itself."""
        if self.segment is None:
            return build_data_use(data_use)
        return self.segment.build_switches(data_use)


def read_browser(identity: Identity | None) -> str | None:
    """Return the external id of a visitor's browser, whoever is logged in there."""
    if identity is None or not identity.anonymous_id:
        return None
    return hash_external_id(identity.anonymous_id) if identity.user_id else identity.external_id


def _check(destinations: Sequence[Destination]) -> tuple[Destination, ...]:
    if not isinstance(destinations, list | tuple | Destinations):
        got = type(destinations).__name__
        raise ConfigError(f"destinations must be a list such as [Meta(...)], got {got}")
    if not destinations:
        raise ConfigError("destinations must be a list such as [Meta(...)], got an empty one")
    for i, each in enumerate(destinations):
        if not isinstance(each, Destination):
            got = type(each).__name__
            raise ConfigError(
                f"destinations[{i}] must be a Destination such as Meta(...), got {got}"
            )
    names = [each.name for each in destinations]
    if len(set(names)) < len(names):
        raise ConfigError(f"destinations must have different names, got {', '.join(names)}")
    return tuple(destinations)
