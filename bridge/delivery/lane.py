"""A lane: delivers to one destination, with several requests in flight.

One loop claims, and a task of its own delivers each claim. A batch is sent as soon as a request may
be in flight, full or not; until then the next one fills up in the outbox. However often the lane is
woken, only one claim is made at a time.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import assert_never

import httpx

from bridge.delivery.batches import Batch, Claim, cut, split
from bridge.delivery.breaker import PROBE_SIZE, Breaker, compute_backoff
from bridge.delivery.exchange import TOTAL_TIMEOUT, exchange, renew
from bridge.delivery.metrics import Metrics
from bridge.destinations.base import Accepted, Destination, Paused, Rejected, Retry, Verdict
from bridge.errors import OutboxError
from bridge.events.event import escape_unprintable
from bridge.figures.counter import FigureCounter
from bridge.figures.words import DEAD, DELIVERED
from bridge.outbox.base import Circuit, Delivery, Outbox

LEASE = 30.0  # seconds that a claim holds: longer than a request, and soon over after a crash
SETTLE = 10.0  # seconds of the lease that remain for the outbox after a request
POLL = 1.0  # seconds between looks for what another process stored
MIN_WAIT = 0.005  # seconds
ACK_RETRY = 0.2  # seconds between attempts to ack while the outbox is broken
GIVE_BACK = 2.0  # seconds that a stopped lane may take to give back what it had claimed
NO_EVENT = "$"  # how the name of a message begins that says who a visitor is
PAUSE_EVERY = 100  # deliveries after which an app's requests have their turn
LINE_PAUSE = 60.0  # seconds between lines about unconfirmed events
MAX_LINES = 10  # log lines of one burial
MAX_REQUEST = 8_388_608  # bytes of the bodies in one request, and roughly in one claim

logger = logging.getLogger("bridge.delivery")


class Lane:
    """Delivers what waits in an outbox for one destination.

    Args:
        outbox: Where it waits.
        destination: Where it goes.
        metrics: Where it counts what becomes of deliveries.
        figures: The same by day and event name.
        concurrency: How many requests may be in flight.
        names: All destinations of this process, which are led together; its own by default.
        slots: Places of all lanes for requests in flight; places of its own by default.
        ends_when_idle: Whether it ends when nothing waits any more.
        circuits: The saved circuits, if they were read already.

    Attributes:
        woken: Set to make it look at the outbox now.
        is_stopping: Set to make it deliver what is due, and end.
        is_retiring: Whether it ends when what it has claimed is settled.
        began: When it began, monotonic seconds.
        rests_until: Until when nothing is due, monotonic seconds; 0 while it works.
    """

    def __init__(
        self,
        outbox: Outbox,
        destination: Destination,
        metrics: Metrics,
        figures: FigureCounter,
        concurrency: int,
        names: Collection[str] = (),
        *,
        slots: asyncio.Semaphore | None = None,
        ends_when_idle: bool = False,
        circuits: Mapping[str, Circuit] | None = None,
    ) -> None:
        self.woken = asyncio.Event()
        self.is_stopping = False
        self.is_retiring = False
        self.began = time.monotonic()
        self.rests_until = 0.0
        self._outbox = outbox
        self._name = destination.name
        self._slots = slots or asyncio.Semaphore(concurrency)
        self._ends_when_idle = ends_when_idle
        self._saved = circuits
        self._names = names or (destination.name,)
        self._metrics = metrics
        self._figures = figures
        self._concurrency = concurrency
        self._breaker = Breaker(self._name, time.monotonic())
        self._take(destination)
        self._claims: dict[asyncio.Task[None], Claim] = {}
        self._claiming: asyncio.Task[list[Delivery]] | None = None
        self._missing = 0  # events that answers did not report
        self._next_line = 0.0  # Unix seconds: no line about them before
        self._trouble = ""  # kind of the last problem logged: an outage is one line, not thousands

    @property
    def name(self) -> str:
        """The name of its destination."""
        return self._name

    @property
    def is_paused(self) -> bool:
        """Whether its destination is left alone for now."""
        return self._breaker.is_open or self._breaker.compute_pause(time.monotonic()) > 0

    def retire(self) -> None:
        """Claim no more, and end when what is claimed is settled."""
        self.is_retiring = True
        self.woken.set()

    def adopt(self, destination: Destination) -> None:
        """Deliver to ``destination`` from now on: the same one, with other settings."""
        if destination is self._destination:
            return
        self._take(destination)
        if self._breaker.is_open:
            self._breaker.hurry(time.monotonic())
            self.woken.set()

    def _take(self, destination: Destination) -> None:
        self._destination = destination
        self._max_bytes: int | None = None
        if destination.limits.max_content is not None:
            overhead = len(destination.build_request([], time.time()).content)
            self._max_bytes = destination.limits.max_content - overhead
        most = self._max_bytes
        self._byte_budget = MAX_REQUEST if most is None else min(MAX_REQUEST, most)
        self._claim_size = destination.limits.batch_size

    async def run(self, client: httpx.AsyncClient) -> None:
        """Deliver until stopped, then what is due; if cancelled, give back what is not settled."""
        try:
            await self._recall()
            while await self._advance(client):
                self.woken.clear()
            if self._claims:
                await asyncio.wait(self._claims)
        except asyncio.CancelledError:
            await self._give_back()
            raise

    async def _recall(self) -> None:
        """Continue with the circuit that was saved last."""
        try:
            circuits = await self._outbox.circuits() if self._saved is None else self._saved
            saved = circuits.get(self._name)
        except OutboxError as error:
            self._report(logging.ERROR, error, str(error))
        except Exception:
            logger.exception("sender %s: unexpected error", self._name)
        else:
            self._breaker = Breaker(self._name, time.monotonic(), saved)

    async def _advance(self, client: httpx.AsyncClient) -> bool:
        """Claim once, or wait for a reason to; return false if it is to end."""
        if self.is_retiring:
            return False
        places = 1 if self._breaker.is_careful else self._concurrency
        if len(self._claims) >= places:
            await asyncio.wait(self._claims, return_when=asyncio.FIRST_COMPLETED)
            return True
        if wait := self._breaker.compute_pause(time.monotonic()):
            if self._breaker.is_open and self._destination.is_renewable:
                await self._renew()
            return await self._wait(wait)
        try:
            if not await self._outbox.lead(self._names):
                return await self._wait(POLL)  # another process delivers
            was_stopping = self.is_stopping
            if await self._claim(client):
                return True
            pause = await self._read_pause()
            if pause is None:
                # What was stored meanwhile woke it: nothing is awaited from here to its end.
                return self.woken.is_set() or (bool(self._claims) and await self._wait(POLL))
            if self.is_stopping and not was_stopping:
                return True  # what came before the stop may have come after the claim
            return await self._wait(pause)
        except OutboxError as error:
            self._report(logging.ERROR, error, str(error))
        except Exception:
            # A lane must outlive any surprise; what it had claimed becomes due again by itself.
            logger.exception("sender %s: unexpected error", self._name)
        return await self._wait(POLL)

    async def _renew(self) -> None:
        """Look for another token while the destination refuses ours."""
        if await renew(self._destination):
            logger.warning("sender %s: its access token was replaced", self._name)
            self._breaker.hurry(time.monotonic())
            self.woken.set()

    async def _read_pause(self) -> float | None:
        """Return the seconds until something is due; ``None`` if it is time to end."""
        if self.is_stopping:
            return 0.0
        until = math.inf if self._ends_when_idle else time.time() + POLL
        due = await self._outbox.next_due(self._name, until)
        if due is None:
            return None if self._ends_when_idle else POLL
        return due - time.time()

    async def _wait(self, pause: float) -> bool:
        """Wait ``pause`` seconds, ``POLL`` at most, or until woken; false at once if stopping."""
        if self.is_stopping:
            return False
        self.rests_until = 0.0 if self._claims else time.monotonic() + pause
        with suppress(TimeoutError):
            async with asyncio.timeout(min(POLL, max(MIN_WAIT, pause))):
                await self.woken.wait()
        self.rests_until = 0.0
        return True

    async def _claim(self, client: httpx.AsyncClient) -> bool:
        """Claim what fits into one request and start to deliver it; false if nothing is due."""
        await self._slots.acquire()
        is_used = False
        try:
            is_used = await self._claim_one(client)
        finally:
            if not is_used:
                self._slots.release()
        return is_used

    async def _claim_one(self, client: httpx.AsyncClient) -> bool:
        """Claim for a place that is ours; return whether a task of its own gives it back."""
        now, clock = time.time(), time.monotonic()
        limit = PROBE_SIZE if self._breaker.is_careful else self._claim_size
        # A task of its own: if a claim were cancelled half-way, nobody would know what it took.
        self._claiming = asyncio.ensure_future(
            self._outbox.claim(self._name, limit, now=now, lease=LEASE)
        )
        deliveries = await asyncio.shield(self._claiming)
        self._claiming = None
        if not deliveries:
            return False
        if self._breaker.compute_pause(time.monotonic()):
            # It was asked to wait meanwhile: a claim stands behind whatever is more urgent.
            await self._outbox.retry(deliveries, now)
            return False
        self._adapt(deliveries)
        groups: dict[bytes, list[Delivery]] = {}
        for delivery in deliveries:
            groups.setdefault(self._destination.group(delivery.body), []).append(delivery)
        size = self._destination.limits.batch_size
        batches = [
            batch
            for group in groups.values()
            for batch in cut(group, batch_size=size, max_bytes=self._byte_budget)
        ]
        claim = Claim(batches, leased_until=(now + LEASE, clock + LEASE))
        task = asyncio.create_task(self._deliver(client, claim))
        self._claims[task] = claim
        task.add_done_callback(self._end_claim)
        return True

    def _end_claim(self, task: asyncio.Task[None]) -> None:
        del self._claims[task]
        self._slots.release()

    def _adapt(self, deliveries: list[Delivery]) -> None:
        """Adapt the number to claim to the size of the bodies."""
        size = sum(len(delivery.body) for delivery in deliveries)
        if size > MAX_REQUEST:
            self._claim_size = max(1, len(deliveries) * MAX_REQUEST // size)
        elif len(deliveries) >= self._claim_size:
            self._claim_size = min(self._destination.limits.batch_size, 2 * self._claim_size)

    async def _give_back(self) -> None:
        """Make what is claimed and not settled due at once, for the next process."""
        claims = dict(self._claims)
        for task in claims:
            task.cancel()
        with suppress(TimeoutError, OutboxError):
            async with asyncio.timeout(GIVE_BACK):
                await asyncio.gather(*claims, return_exceptions=True)
                left = [each for claim in claims.values() for each in claim.deliveries]
                await self._outbox.retry(left, time.time())
                if self._claiming is not None:
                    await self._outbox.retry(await self._claiming, time.time())

    async def _deliver(self, client: httpx.AsyncClient, claim: Claim) -> None:
        """Send the batches of ``claim`` one after the other until each is settled."""
        began = time.monotonic()
        try:
            if self._breaker.probe(began):
                await self._save_circuit()
            while claim.batches:
                began = time.monotonic()
                await self._send(client, claim)
        except OutboxError as error:
            # Its lease runs out by itself.
            self._report(logging.ERROR, error, str(error))
        except Exception:
            logger.exception("sender %s: unexpected error", self._name)
            self._breaker.fail(began, time.monotonic(), None)

    async def _send(self, client: httpx.AsyncClient, claim: Claim) -> None:
        """Send the first batch of ``claim`` and settle it."""
        batch = claim.batches[0]
        await self._bury_unsendable(batch)
        if not batch.deliveries:
            claim.batches.pop(0)
            return
        if not await self._keep_lease(claim):
            claim.batches.clear()
            return
        began = time.monotonic()
        verdict = await exchange(
            client, self._destination, [delivery.body for delivery in batch.deliveries]
        )
        self._metrics.count(self._name, "requests")
        self._metrics.record_latency(self._name, time.monotonic() - began)
        await self._settle(claim, verdict, began)

    async def _bury_unsendable(self, batch: Batch) -> None:
        """Bury what is too old, or too large, for the destination."""
        now, most = time.time(), self._max_bytes
        stale = [delivery for delivery in batch.deliveries if delivery.expires <= now]
        await self._bury(stale, "too old: its destination no longer accepts it")
        left = [delivery for delivery in batch.deliveries if delivery.expires > now]
        large = [each for each in left if most is not None and len(each.body) > most]
        await self._bury(large, f"too large: its destination takes {most} bytes at most")
        batch.deliveries = [each for each in left if most is None or len(each.body) <= most]

    async def _keep_lease(self, claim: Claim) -> bool:
        """Renew the lease before every request but the first; return false if ``claim`` is over.

        A request takes its time, and meanwhile a visitor may have denied: what no longer waits is
        not sent. Then the rest is given back, since nobody knows which ones wait.
        """
        now, clock, is_fresh = time.time(), time.monotonic(), claim.is_fresh
        claim.is_fresh = False
        rest = claim.read_rest(now, clock)
        if rest <= 0:
            logger.warning("sender %s: a lease ran out; another takes over", self._name)
            return False
        if is_fresh and rest >= TOTAL_TIMEOUT + SETTLE:
            return True
        deliveries = claim.deliveries
        claim.leased_until = (now + LEASE, clock + LEASE)
        if await self._outbox.retry(deliveries, now + LEASE) == len(deliveries):
            return True
        await self._outbox.retry(deliveries, now)
        self.woken.set()
        return False

    async def _settle(self, claim: Claim, verdict: Verdict, began: float) -> None:
        """Settle the first batch of ``claim``, in the outbox and the breaker, by ``verdict``."""
        batch, now = claim.batches[0], time.time()
        match verdict:
            case Accepted(after, received) if received != 0:
                self._note_received(len(batch.deliveries), received, now)
                await self._ack(claim, batch)
                await self._accept(began, after)
            case Accepted():
                count = len(batch.deliveries)
                await self._put_back(claim, Retry(f"0 of {count} events received"), began, now)
            case Rejected(reason) if len(batch.deliveries) == 1:
                await self._bury(batch.deliveries, reason)
                claim.batches.pop(0)
                await self._accept(began)
            case Rejected(_, blamed):
                claim.batches[:1] = split(batch, blamed)
                self._metrics.count(self._name, "split")
                await self._accept(began)
            case Retry():
                await self._put_back(claim, verdict, began, now)
            case Paused():
                await self._pause(claim, verdict, began, now)
            case _:
                assert_never(verdict)

    async def _put_back(self, claim: Claim, verdict: Retry, began: float, now: float) -> None:
        """Have the first batch of ``claim`` sent again later, and the others soon."""
        batch = claim.batches.pop(0)
        left = [*batch.deliveries, *claim.deliveries]
        self._breaker.fail(began, time.monotonic(), verdict.after)
        self._metrics.count(self._name, "retried", len(left))
        self._report(logging.WARNING, verdict, f"{verdict.reason}; trying again until it works")
        due = now + compute_backoff(batch.attempts, verdict.after)
        await self._outbox.retry(batch.deliveries, due)
        # The other batches are not the cause: they go as soon as anything goes.
        await self._outbox.retry(claim.deliveries, now)
        claim.batches.clear()
        self.woken.set()  # these are due before their lease ends

    def _note_received(self, sent: int, received: int | None, now: float) -> None:
        """Count how many events a destination did not report; log them, a line a minute at most.

        Nobody knows which they are, so none is sent again.
        """
        if received is None or received >= sent:
            return
        self._missing += sent - received
        self._metrics.count(self._name, "unconfirmed", sent - received)
        if now >= self._next_line:
            self._next_line = now + LINE_PAUSE
            logger.warning(
                "sender %s: sent %d events, the answer reports %s received; %d are unconfirmed so"
                " far, and not sent again",
                self._name,
                sent,
                received,
                self._missing,
            )

    async def _ack(self, claim: Claim, batch: Batch) -> None:
        """Mark ``batch`` as delivered; if the outbox is broken, try again while the lease holds."""
        while True:
            now = time.time()
            try:
                await self._outbox.ack(batch.deliveries, now)
                break
            except OutboxError:
                if claim.read_rest(time.time(), time.monotonic()) <= ACK_RETRY:
                    raise
                await asyncio.sleep(ACK_RETRY)
        claim.batches.pop(0)
        self._metrics.count(self._name, "delivered", len(batch.deliveries))
        for place, each in enumerate(batch.deliveries):
            if place % PAUSE_EVERY == PAUSE_EVERY - 1:
                await asyncio.sleep(0)  # counting a thousand takes milliseconds
            if each.event_name.startswith(NO_EVENT):
                continue
            self._figures.note(self._name, each.event_name, DELIVERED, now)
            if (happened := self._destination.read_time(each.body)) is not None:
                self._figures.note_delay(self._name, each.event_name, now - happened, now)

    async def _accept(self, began: float, after: float = 0.0) -> None:
        """Note that the destination works."""
        if self._breaker.accept(began, time.monotonic(), after):
            await self._save_circuit()
        if self._trouble and not self._breaker.is_careful:
            self._trouble = ""
            logger.warning("sender %s: works again", self._name)

    async def _pause(self, claim: Claim, verdict: Paused, began: float, now: float) -> None:
        """Open the circuit and put everything back."""
        clock = time.monotonic()
        opened = self._breaker.refuse(began, clock, f"{verdict.fault}: {verdict.reason}")
        pause = self._breaker.compute_pause(clock)
        self._metrics.count(self._name, "paused", len(claim.deliveries))
        if opened:
            wait = f"its events wait; the next attempt is in {pause:.0f} s"
            advice = f"; {verdict.advice}" if verdict.advice else ""
            self._report(logging.ERROR, verdict, f"refused us: {verdict.reason}{advice}; {wait}")
        # Due at once: the breaker stops this process from sending, and a process that is started
        # with a better token need not wait.
        await self._outbox.retry(claim.deliveries, now)
        claim.batches.clear()
        self.woken.set()
        if opened:
            await self._save_circuit()

    async def _save_circuit(self) -> None:
        circuit = self._breaker.build_circuit(time.monotonic(), time.time())
        try:
            await self._outbox.save_circuit(circuit)
        except OutboxError as error:
            self._report(logging.ERROR, error, str(error))

    def _report(self, level: int, cause: object, text: str) -> None:
        """Log ``text`` unless the last problem was of the same kind."""
        kind = type(cause).__name__
        if kind != self._trouble:
            self._trouble = kind
            logger.log(level, "sender %s: %s", self._name, text)

    async def _bury(self, deliveries: list[Delivery], reason: str) -> None:
        if not deliveries:
            return
        now = time.time()
        await self._outbox.bury(deliveries, reason, now)
        self._metrics.count(self._name, "buried", len(deliveries))
        for each in deliveries:
            self._figures.note(self._name, each.event_name, DEAD, now)
        for delivery in deliveries[:MAX_LINES]:
            logger.error(
                "sender %s: %s %s is a dead letter: %s",
                delivery.destination,
                escape_unprintable(delivery.event_name),
                escape_unprintable(delivery.event_id),
                reason,
            )
        if len(deliveries) > MAX_LINES:
            more = len(deliveries) - MAX_LINES
            logger.error("sender %s: %d more are dead letters: %s", self._name, more, reason)
