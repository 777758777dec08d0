"""For an app's own tests: what ``track`` would send, without a file, a thread or a sender.

    with recorded(bridge) as events:
        client.post("/orders", json={"id": "A-1", "total": 59})
        events.assert_tracked("Purchase", value=59, event_id="A-1")

What is recorded went the whole way of a real event: checked, hashed, and encoded for each
destination. Only the outbox is another one.
"""

from __future__ import annotations

import asyncio
import json
import math
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from bridge.delivery.pipeline import Pipeline, Runs
from bridge.errors import UsageError
from bridge.outbox.base import (
    Circuit,
    Counts,
    Delivery,
    Erased,
    Figure,
    Key,
    split_subjects,
)
from bridge.visitor.visitor import VISITOR, Visitor


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """One event, as it would go out.

    Attributes:
        name: Its name.
        event_id: The id that both copies share.
        payloads: What each destination would get, by the destination's name: Meta's server event,
            Segment's message.
    """

    name: str
    event_id: str
    payloads: Mapping[str, dict[str, Any]] = field(repr=False)

    @property
    def payload(self) -> dict[str, Any]:
        """What the first destination would get."""
        return next(iter(self.payloads.values()))

    @property
    def properties(self) -> dict[str, Any]:
        """Meta's ``custom_data``; Segment's ``properties`` where there is no Meta."""
        found: dict[str, Any] = self.payload.get("custom_data") or self.payload.get(
            "properties", {}
        )
        return found

    @property
    def user_data(self) -> dict[str, Any]:
        """Meta's ``user_data``, hashed; empty where there is no Meta."""
        found: dict[str, Any] = self.payload.get("user_data", {})
        return found


class RecordedEvents(Sequence[RecordedEvent]):
    """What was tracked, oldest first."""

    def __init__(self, counters: Counter[str], outbox: _MemoryOutbox) -> None:
        self._counters = counters
        self._before = dict(counters)
        self._outbox = outbox

    def __getitem__(self, place: Any) -> Any:
        return self._read()[place]

    def __len__(self) -> int:
        return len(self._read())

    def __iter__(self) -> Iterator[RecordedEvent]:
        return iter(self._read())

    def clear(self) -> None:
        """Forget what was tracked."""
        self._outbox.deliveries.clear()

    def assert_tracked(
        self, name: str, *, times: int | None = None, event_id: str | None = None, **properties: Any
    ) -> RecordedEvent:
        """Return the last event of this name, id and properties.

        Args:
            name: Of the event.
            times: How many such events there must be; at least one by default.
            event_id: Its id.
            properties: Some of its properties, such as ``value=59``.

        Raises:
            AssertionError: There is none, or another number of them.
        """
        found = [
            event
            for event in self
            if event.name == name
            and event_id in (None, event.event_id)
            and all(event.properties.get(key) == value for key, value in properties.items())
        ]
        wanted = {**({} if event_id is None else {"event_id": event_id}), **properties}
        words = ", ".join([name, *(f"{key}={value!r}" for key, value in wanted.items())])
        if not found or times not in (None, len(found)):
            how_often = {None: "", 1: "once "}.get(times, f"{times} times ")
            raise AssertionError(f"expected {how_often}{words}; {self._describe()}")
        return found[-1]

    def assert_not_tracked(self, name: str | None = None) -> None:
        """Fail if there is an event of this name, or any at all.

        Raises:
            AssertionError: There is one.
        """
        if [event for event in self if name in (None, event.name)]:
            raise AssertionError(f"expected no {name or 'event'}; {self._describe()}")

    def _read(self) -> list[RecordedEvent]:
        payloads: dict[tuple[str, str, bool], dict[str, dict[str, Any]]] = {}
        for key, delivery in self._outbox.deliveries.copy().items():  # threads may be tracking
            # A test event code of its own stands before Meta's event.
            payload = json.loads(delivery.body[delivery.body.index(b"{") :])
            payloads.setdefault(key[1:], {})[key.destination] = payload
        return [
            RecordedEvent(name, event_id, each) for (name, event_id, _), each in payloads.items()
        ]

    def _describe(self) -> str:
        tracked = [f"{event.name} {event.properties}" for event in self]
        words = f"tracked: {'; '.join(tracked) or 'nothing'}"
        for counter, number in self._counters.items():
            kind, _, reason = counter.partition(".")
            if kind == "skipped_events" and number > self._before.get(counter, 0):
                words += f"; {number - self._before.get(counter, 0)} skipped: {reason}"
        return words


class recorded(  # noqa: N801 - it is called as a function
    AbstractContextManager[RecordedEvents], AbstractAsyncContextManager[RecordedEvents]
):
    """Record what ``bridge`` tracks, instead of storing and sending it.

    A context manager, with or without ``async``. Enter it before the app's own lifespan begins.

    Args:
        bridge: The app's ``Bridge`` or ``Shops``.
        visitor: Who calls handlers that no middleware is in front of, as under Django's own test
            client; such as ``bridge.person("42")``.

    Raises:
        UsageError: It is recorded already.
    """

    def __init__(self, bridge: Runs, *, visitor: Visitor | None = None) -> None:
        self._pipeline = bridge._pipeline
        self._before: dict[str, Any] = {}
        self._visitor = visitor
        self._visitor_before: Visitor | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> RecordedEvents:
        pipeline = self._pipeline
        if isinstance(pipeline.outbox, _MemoryOutbox):
            raise UsageError("this bridge is recorded already")
        memory = _MemoryOutbox()
        outbox: Any = memory
        recording = Pipeline(outbox, spool=None, run_sender=False, counters=pipeline.counters)
        # All but the counters, which are shared; the app starts again afterwards.
        self._before = dict(vars(pipeline))
        vars(pipeline).update(vars(recording))
        if self._visitor is not None:
            self._visitor_before = VISITOR.get()
            VISITOR.set(self._visitor)
            # Sync handlers hand their events to the app's loop, and no app runs here.
            self._loop = pipeline.loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
            self._thread.start()
        return RecordedEvents(pipeline.counters, memory)

    def __exit__(self, *error: object) -> None:
        if self._visitor is not None:
            VISITOR.set(self._visitor_before)
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
        self._pipeline.figures.cancel()
        vars(self._pipeline).update(self._before)

    async def __aenter__(self) -> RecordedEvents:
        return self.__enter__()

    async def __aexit__(self, *error: object) -> None:
        self.__exit__()


class _MemoryOutbox:
    """What was put, by key; as much of an ``Outbox`` as an app uses that delivers nothing."""

    def __init__(self) -> None:
        self.deliveries: dict[Key, Delivery] = {}

    async def put(
        self, deliveries: Sequence[Delivery], now: float, *, connection: Any = None
    ) -> list[bool]:
        new = [each.key not in self.deliveries for each in deliveries]
        self.deliveries |= {
            each.key: each for each, is_new in zip(deliveries, new, strict=True) if is_new
        }
        return new

    async def has(
        self,
        event_name: str,
        event_id: str,
        now: float,
        *,
        destinations: Collection[str] | None = None,
        within: float = math.inf,
    ) -> bool:
        return any(
            key[1:] == (event_name, event_id, False)
            and (destinations is None or key.destination in destinations)
            for key in self.deliveries
        )

    async def release(
        self,
        event_name: str,
        event_id: str,
        subjects: bytes,
        now: float,
        *,
        destinations: Collection[str] | None = None,
    ) -> int:
        return 0

    async def withdraw(self, subjects: bytes) -> int:
        return self._remove(
            key
            for key, each in self.deliveries.items()
            if set(split_subjects(each.subjects)[:1]) & set(split_subjects(subjects))
        )

    async def erase(self, subjects: bytes) -> Erased:
        parts = set(split_subjects(subjects))
        return Erased(
            self._remove(
                key
                for key, each in self.deliveries.items()
                if parts & set(split_subjects(each.subjects))
            )
        )

    async def bury(self, deliveries: Sequence[Delivery], reason: str, now: float) -> None:
        self._remove([each.key for each in deliveries])

    async def probe(self) -> None:
        return

    async def count(self, now: float, *, with_delivered: bool = False) -> Mapping[str, Counts]:
        return {}

    async def circuits(self) -> Mapping[str, Circuit]:
        return {}

    async def add_figures(self, figures: Sequence[Figure]) -> None:
        return

    async def figures(self, since: int, until: int) -> list[Figure]:
        return []

    async def close(self) -> None:
        return

    def _remove(self, keys: Iterable[Key]) -> int:
        return len([self.deliveries.pop(key, None) for key in list(keys)])

    def __str__(self) -> str:
        return "a recording"
