"""The importer: lines in batches, each checked, stored, and only then called done."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from bridge.destinations.base import EncodingContext
from bridge.destinations.group import Destinations
from bridge.errors import InvalidEventError
from bridge.events.event import Event
from bridge.events.reader import EventReader
from bridge.events.tripwire import Found
from bridge.figures.counter import FigureCounter
from bridge.figures.words import DUPLICATE
from bridge.imports.lines import Line
from bridge.imports.progress import Progress, ProgressFile, Tally, count
from bridge.imports.record import RecordReader
from bridge.imports.rejects import Rejection, Rejects, build_rejection
from bridge.imports.source import Place, Source
from bridge.outbox.base import Counts, Delivery, Outbox

BATCH_LINES = 1000
BATCH_BYTES = 4_194_304  # of lines in one batch, whatever their number
MAX_WAITING = 50_000  # deliveries that wait while more is read
POLL = 0.5  # seconds between looks at what waits

_INDEX = re.compile(r"\[[0-9]+\]")


@dataclass(slots=True)
class _Batch:
    """Some lines on their way into the outbox: events to store, the others to reject."""

    place: Place  # where the source goes on after them
    deliveries: list[Delivery] = field(default_factory=list)  # event by event
    carried: list[Event] = field(default_factory=list)  # by each of them
    events: int = 0
    rejections: list[Rejection] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)  # counts once they are stored


class Importer:
    """Brings the events of a source into an outbox, going on where it was interrupted.

    Args:
        source: Where the events are.
        reader: Reads the app's events.
        destinations: Where they go; ``None`` only checks the lines.
        outbox: Where they wait until then; ``None`` checks the lines and stores nothing.
        progress_file: Where to keep how far it came.
        rejects: Where rejected lines go.
        action_source: Where events happened, if their line does not say.
        max_waiting: Pause while more deliveries wait; ``None`` if nobody delivers meanwhile.
        figures: Counts what is stored.

    Attributes:
        progress: How far it came.

    Raises:
        ConfigError: The source has changed since it was begun.
        OSError: It is being imported, or its progress cannot be read.
    """

    def __init__(
        self,
        source: Source,
        reader: EventReader,
        destinations: Destinations | None,
        outbox: Outbox | None,
        *,
        progress_file: ProgressFile,
        rejects: Rejects,
        action_source: str | None = None,
        max_waiting: int | None = MAX_WAITING,
        figures: FigureCounter | None = None,
    ) -> None:
        self._source = source
        self._destinations = destinations
        self._names = destinations.names if destinations else []
        reach_meta = destinations is not None and destinations.reach_meta
        self._context = EncodingContext(reader.catalog, reaches_meta=reach_meta)
        self._outbox = outbox
        self._progress_file = progress_file
        self._rejects = rejects
        self._max_waiting = max_waiting
        self._figures = figures
        self._room = 0  # deliveries that may be stored before the next look
        self._stopped = asyncio.Event()
        self._at_hand = Tally()  # of the batch that is read
        self.progress: Progress = progress_file.load(source, self._names)
        self._records = RecordReader(
            reader,
            source.table,
            on_removed=self._count_removed,
            on_dropped=self._count_left_out,
            action_source=action_source,
            series=self.progress.series,
        )

    @property
    def tally(self) -> Tally:
        """What became of the lines, including those of former runs."""
        return self.progress.tally

    @property
    def is_stopped(self) -> bool:
        """Whether ``stop`` was called."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """End after the batch at hand; what is stored stays stored."""
        self._stopped.set()

    async def run(self) -> None:
        """Store every line that is left, or until stopped.

        Raises:
            OutboxError: The outbox failed; run again to go on.
            OSError: The progress or the rejected lines cannot be written, or the source was still
                being written itself; what is stored stays stored.
        """
        if self.progress.finished:
            return
        await asyncio.to_thread(self._begin)
        lines = self._source.read()
        while not self.is_stopped:
            batch = await asyncio.to_thread(self._read_batch, lines)
            if batch is None:
                await asyncio.to_thread(self._finish)
                return
            await self._wait_for_room(len(batch.deliveries))
            if not self.is_stopped:
                await self._store(batch)

    async def wait_until_delivered(self) -> None:
        """Wait until all that was stored is delivered or dead, or until stopped.

        What others stored since may still wait.
        """
        while not self.is_stopped:
            waiting = await self._count()
            if all(c.oldest is None or c.oldest > self.progress.stored_at for c in waiting):
                return
            await self._pause()

    async def count_dead(self) -> int:
        """Return the dead letters of these destinations, whoever stored them."""
        return sum(counts.dead for counts in await self._count())

    async def count_waiting(self) -> int:
        """Return the deliveries to these destinations that wait, whoever stored them."""
        return sum(counts.waiting for counts in await self._count())

    async def _count(self) -> list[Counts]:
        if self._outbox is None:
            return []
        found = await self._outbox.count(time.time())
        return [counts for name, counts in found.items() if name in self._names]

    def _begin(self) -> None:
        """Open what is written to, before the first line is stored."""
        self._rejects.open(self.progress.rejected_bytes)
        self._progress_file.save(self.progress)

    def _finish(self) -> None:
        self._source.check_end()
        self._save(self._source.place, finished=True)

    def _save(self, place: Place, *, finished: bool = False) -> None:
        self.progress.line, self.progress.offset, self.progress.digest = place
        self.progress.finished = finished
        self._progress_file.save(self.progress)

    def _read_batch(self, lines: Iterator[Line]) -> _Batch | None:
        """Return the next lines, read and checked; ``None`` at the end."""
        batch, start, now = _Batch(self._source.place), None, time.time()
        self._at_hand = batch.tally
        for line in lines:
            start = line.offset if start is None else start
            if line.content != b"":
                self._read_line(batch, line, now)
            full = batch.events + len(batch.rejections) >= BATCH_LINES
            if full or line.end - start >= BATCH_BYTES:
                break
        batch.place = self._source.place
        return None if start is None else batch

    def _read_line(self, batch: _Batch, line: Line, now: float) -> None:
        try:
            event, reading, has_id = self._records.read(line, now)
            if self._destinations is not None:
                name, properties = reading.spec_name, reading.properties
                context = msgspec.structs.replace(self._context, name=name, properties=properties)
                built = self._destinations.build_deliveries(
                    event, context, due=now, has_given_id=has_id
                )
                batch.deliveries += built
                batch.carried += [event] * len(built)
            batch.events += 1
        except InvalidEventError as error:
            rejection = build_rejection(line, error)
            batch.rejections.append(rejection)
            count(batch.tally.reasons, f"{rejection.field}: {rejection.reason}")

    def _count_removed(self, name: object, path: str, found: Sequence[Found]) -> None:
        for each in found:
            place = _INDEX.sub("[]", f"{path}.{each.path}")  # one for all items of a list
            count(self._at_hand.removed, f"{place} ({each.kind})")

    def _count_left_out(self, key: str, dropped: int, given: int, reason: str) -> None:
        count(self._at_hand.left_out, key)

    async def _store(self, batch: _Batch) -> None:
        await asyncio.to_thread(self._rejects.write, batch.rejections)
        now, new = time.time(), batch.events
        if self._outbox is not None:
            stored = await self._outbox.put(batch.deliveries, now)
            width = len(self._names)
            self._count_stored(batch, stored, now)
            new = sum(any(stored[i : i + width]) for i in range(0, len(stored), width))
            self._room -= len(stored)
        read = batch.tally
        read.lines, read.rejected = batch.events + len(batch.rejections), len(batch.rejections)
        read.stored, read.repeated = new, batch.events - new
        self.tally.add(read)
        self.progress.rejected_bytes, self.progress.stored_at = self._rejects.length, now
        await asyncio.to_thread(self._save, batch.place)

    def _count_stored(self, batch: _Batch, stored: Sequence[bool], now: float) -> None:
        if self._figures is None:
            return
        for delivery, event, is_new in zip(batch.deliveries, batch.carried, stored, strict=True):
            if is_new:
                self._figures.note_stored(delivery.destination, event, now, has_copy=False)
            else:
                self._figures.note(delivery.destination, event.event_name, DUPLICATE, now)

    async def _wait_for_room(self, wanted: int) -> None:
        """Wait while too many deliveries wait; they are counted again when the count is used up."""
        if self._max_waiting is None or self._outbox is None:
            return
        while self._room < wanted and not self.is_stopped:
            waiting = await self.count_waiting()
            self._room = self._max_waiting - waiting
            if self._room < wanted and waiting:
                await self._pause()
            elif not waiting:
                return

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopped.wait(), POLL)
