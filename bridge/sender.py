"""The sender: claims due deliveries, posts them in batches, settles each by the verdict.

One lane per destination, so that one's outage holds up no other. While a request is in flight the
next batch fills up by itself; nothing waits for a batch to be full.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
import ssl
import time
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import assert_never

import httpx

from bridge.destinations.base import (
    Accepted,
    Destination,
    Paused,
    Rejected,
    Request,
    Retry,
    Verdict,
)
from bridge.errors import OutboxError
from bridge.outbox.base import Delivery, Outbox

LEASE = 30.0  # seconds a claimed delivery is ours: longer than a request, short after a crash
POLL = 1.0  # seconds between looks for what another process stored
TIMEOUT = httpx.Timeout(10.0, connect=5.0)
TOTAL_TIMEOUT = 20.0  # seconds for one request, however slowly its answer trickles
MAX_ANSWER = 65_536  # bytes of an answer that are read
BACKOFF_BASE = 1.0  # seconds
BACKOFF_CAP = 300.0  # seconds
PAUSE = 60.0  # seconds until a destination that refused us is asked again

logger = logging.getLogger("bridge.sender")


@cache
def _read_certificates() -> ssl.SSLContext:
    """Return the system's trust; read when a bridge is built, not on the event loop."""
    return httpx.create_ssl_context()


def compute_backoff(attempts: int, after: float | None) -> float:
    """Return the seconds to wait after failed attempt number ``attempts``.

    Full jitter: uniform between zero and a doubling cap, so that many workers do not return at
    the same moment; on top of what the destination asked for, if it did.

    Source: AWS Architecture Blog, "Exponential Backoff And Jitter", read 2026-11-23.
    """
    cap = min(BACKOFF_CAP, BACKOFF_BASE * 2 ** min(attempts, 20))
    return (after or 0.0) + random.uniform(0, cap)  # noqa: S311 - jitter, no secret


class Sender:
    """Delivers what stands in an outbox.

    Args:
        outbox: Where deliveries wait.
        destinations: Where they go; deliveries of other names are left alone.
    """

    def __init__(self, outbox: Outbox, destinations: Sequence[Destination]) -> None:
        self.counters: Counter[str] = Counter()
        self._outbox = outbox
        self._destinations = tuple(destinations)
        self._lanes: list[_Lane] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._client: httpx.AsyncClient | None = None
        self._certificates = _read_certificates()

    def start(self) -> None:
        """Begin to deliver, on the running event loop."""
        self._lanes = [_Lane(self, self._outbox, each) for each in self._destinations]
        client = self._client = httpx.AsyncClient(
            timeout=TIMEOUT, follow_redirects=False, verify=self._certificates
        )
        # A context of its own: the first request may be what starts the sender.
        self._tasks = [
            asyncio.create_task(lane.run(client), context=contextvars.Context())
            for lane in self._lanes
        ]

    def wake(self) -> None:
        """Look at the outbox now: something was stored or released."""
        for lane in self._lanes:
            lane.woken.set()

    async def stop(self, deadline: float) -> None:
        """Deliver what is due, for at most ``deadline`` seconds; the rest stays in the outbox."""
        for lane in self._lanes:
            lane.stopping = True
        self.wake()
        tasks, self._tasks = self._tasks, []
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=deadline)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._lanes = []
        if self._client is not None:
            await self._client.aclose()
            self._client = None


class _Lane:
    """The way to one destination."""

    def __init__(self, sender: Sender, outbox: Outbox, destination: Destination) -> None:
        self.woken = asyncio.Event()
        self.stopping = False
        self._counters = sender.counters
        self._outbox = outbox
        self._destination = destination
        self._not_before = 0.0  # when the destination may be asked again, Unix seconds
        self._trouble = ""  # the kind logged last: an outage is one line, not thousands

    async def run(self, client: httpx.AsyncClient) -> None:
        """Deliver until stopped, then what is due."""
        while True:
            self.woken.clear()
            if time.time() < self._not_before:
                if self.stopping:
                    return
                await self._wait(self._not_before)
                continue
            try:
                batch = await self._outbox.claim(
                    self._destination.name,
                    self._destination.batch_size,
                    now=time.time(),
                    lease=LEASE,
                )
                if batch:
                    await self._deliver(client, batch)
                elif self.stopping:
                    return
                else:
                    await self._wait(await self._outbox.next_due(self._destination.name))
            except OutboxError as error:
                self._report(logging.ERROR, error, str(error))
                if self.stopping:
                    return
                await self._wait(None)
            except Exception:
                # A lane must outlive any surprise; what it had claimed is due again by itself.
                logger.exception("sender %s: unexpected error", self._destination.name)
                await self._wait(None)

    async def _wait(self, due: float | None) -> None:
        delay = POLL if due is None else min(POLL, max(0.005, due - time.time()))
        try:
            async with asyncio.timeout(delay):
                await self.woken.wait()
        except TimeoutError:
            return

    async def _deliver(self, client: httpx.AsyncClient, batch: list[Delivery]) -> None:
        now = time.time()
        stale = [delivery for delivery in batch if delivery.expires <= now]
        if stale:
            await self._bury(stale, "too old: its destination no longer accepts it")
            batch = [delivery for delivery in batch if delivery.expires > now]
        if batch:
            await self._settle(client, batch, await self._post(client, batch))

    async def _settle(
        self, client: httpx.AsyncClient, batch: list[Delivery], verdict: Verdict
    ) -> None:
        name, now = self._destination.name, time.time()
        match verdict:
            case Accepted():
                await self._outbox.ack(batch, now)
                self._counters["delivered"] += len(batch)
                if self._trouble:
                    self._trouble = ""
                    logger.warning("sender %s: works again", name)
            case Retry(reason, after):
                delay = compute_backoff(max(delivery.attempts for delivery in batch), after)
                self._not_before = now + (after or 0.0)
                await self._outbox.retry(batch, now + delay)
                self._counters["retried"] += len(batch)
                self._report(logging.WARNING, verdict, f"{reason}; trying again until it works")
            case Rejected(reason) if len(batch) == 1:
                await self._bury(batch, reason)
            case Rejected():
                # One bad event refuses the whole batch: halve until it stands alone.
                middle = len(batch) // 2
                for half in (batch[:middle], batch[middle:]):
                    await self._outbox.retry(half, time.time() + LEASE)
                    await self._deliver(client, half)
            case Paused(reason):
                self._not_before = now + PAUSE
                await self._outbox.retry(batch, now + PAUSE)
                self._counters["paused"] += len(batch)
                self._report(logging.ERROR, verdict, f"refused us: {reason}; the events wait")
            case _:
                assert_never(verdict)

    def _report(self, level: int, cause: object, text: str) -> None:
        """Log ``text`` unless the last trouble was of the same kind."""
        kind = type(cause).__name__
        if kind != self._trouble:
            self._trouble = kind
            logger.log(level, "sender %s: %s", self._destination.name, text)

    async def _bury(self, batch: list[Delivery], reason: str) -> None:
        await self._outbox.bury(batch, reason, time.time())
        self._counters["buried"] += len(batch)
        for delivery in batch:
            logger.error(
                "sender %s: %s %s is a dead letter: %s",
                delivery.destination,
                delivery.event_name,
                delivery.event_id,
                reason,
            )

    async def _post(self, client: httpx.AsyncClient, batch: list[Delivery]) -> Verdict:
        request = self._destination.build_request([delivery.body for delivery in batch])
        try:
            async with asyncio.timeout(TOTAL_TIMEOUT):
                status, headers, content = await _exchange(client, request)
        except (httpx.HTTPError, TimeoutError) as error:
            return Retry(f"{type(error).__name__} at {request.url}")
        return self._destination.read_response(status, headers, content)


async def _exchange(
    client: httpx.AsyncClient, request: Request
) -> tuple[int, httpx.Headers, bytes]:
    """Post ``request`` and return status, headers and at most 64 KiB of the answer."""
    async with client.stream(
        "POST", request.url, content=request.content, headers=dict(request.headers)
    ) as response:
        content = b""
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > MAX_ANSWER:
                break
        return response.status_code, response.headers, content[:MAX_ANSWER]
