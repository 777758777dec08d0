"""A Redis server that sentinels choose, and what its failover costs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest
from redis.asyncio import Redis

from bridge import ConfigError
from bridge.delivery.intake import Intake
from bridge.delivery.metrics import Metrics
from bridge.figures.counter import FigureCounter
from bridge.outbox.redis.outbox import RedisOutbox
from tests.factories import NOW, make_delivery
from tests.outbox.test_redis import Raw, claim, opened
from tests.redis_server import RedisServer, running_redis_server, running_sentinel
from tests.servers import DEADLINE, poll


class Watched(NamedTuple):
    """A master, and the sentinel that watches it and its two replicas."""

    master: RedisServer
    sentinel: RedisServer

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.sentinel.port}/mymaster"


@pytest.fixture
def watched() -> Iterator[Watched]:
    with ExitStack() as stack:
        master = stack.enter_context(running_redis_server("--repl-diskless-sync-delay", "0"))
        follow = ("--replicaof", f"127.0.0.1 {master.port}")
        servers = [stack.enter_context(running_redis_server(*follow)) for _ in range(2)]
        sentinel = stack.enter_context(running_sentinel(master))
        yield Watched(master, sentinel)
        for each in (master, *servers):
            each.kill()  # one that replicates may take minutes to end


async def wait_for_replicas(watched: Watched) -> None:
    raw: Raw
    async with Redis.from_url(f"redis://127.0.0.1:{watched.sentinel.port}") as raw:

        async def has_all() -> bool:
            return len(await raw.execute_command("SENTINEL", "REPLICAS", "mymaster")) == 2

        await poll(has_all, "the replicas")
    async with Redis.from_url(watched.master.url) as raw:

        async def are_in_step() -> bool:
            told = await raw.info("replication")
            states = [told.get(f"slave{number}", {}).get("state") for number in range(2)]
            return states == ["online", "online"]

        # Otherwise the sentinel may choose one that never had what the other confirmed.
        await poll(are_in_step, "both replicas")


async def test_sentinels_choose_the_server(watched: Watched) -> None:
    async with opened(f"{watched.url}/0") as outbox:
        assert await outbox.put([make_delivery()], NOW) == [True]
        assert await claim(outbox) == [make_delivery().event_id]
        assert str(watched.sentinel.port) in str(outbox)
    async with opened(watched.master.url) as outbox:
        assert (await outbox.count(NOW))["meta:1"].waiting == 1


async def test_failover_loses_nothing_that_was_accepted(watched: Watched) -> None:
    await wait_for_replicas(watched)
    async with opened(f"{watched.url}?replicas=1") as outbox:
        metrics = Metrics(["meta:1"])
        intake = Intake(outbox, metrics, FigureCounter(outbox))
        accepted: list[str] = []
        waits: list[float] = []
        ended = asyncio.Event()

        async def put() -> None:
            for number in range(100_000):
                delivery, began = make_delivery(str(number)), time.monotonic()
                outcome = await intake.put([delivery], NOW, may_lose=True)
                waits.append(time.monotonic() - began)
                if outcome == "stored":
                    accepted.append(delivery.event_id)
                if ended.is_set():
                    return

        task = asyncio.create_task(put())

        async def has_begun() -> bool:
            return len(accepted) > 20

        await poll(has_begun, "puts before the failover")
        await asyncio.to_thread(watched.master.kill)
        before = len(accepted)

        async def goes_on() -> bool:
            return len(accepted) > before + 20

        await poll(goes_on, "puts after the failover")
        ended.set()
        await task
        assert max(waits) < DEADLINE / 4  # whoever waits longer than five seconds is told
        claimed: list[str] = []
        while found := await claim(outbox):
            claimed += found
        assert set(accepted) <= set(claimed)


async def test_sentinels_without_a_master_are_an_outbox_error(watched: Watched) -> None:
    url = watched.url.replace("mymaster", "other")
    async with opened(url) as outbox:
        with pytest.raises(Exception, match="No master found for 'other'"):
            await outbox.put([make_delivery()], NOW)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis+sentinel://host:26379", "the master's name is missing"),
        ("redis+sentinel://host:x/mymaster", "host:26379,host2:26379"),
        ("redis+sentinel://:s3cret@host,/mymaster", "host:26379,host2:26379"),
        ("redis+sentinel://:s3cret@host/mymaster/db", "database number"),
        ("redis+sentinel://host/mymaster?cluster=true", "not a cluster"),
        ("redis+sentinel://host/mymaster?sentinel_pass=s3cret", "unknown option"),
        ("redis://host?sentinel_password=s3cret", "unknown option"),
    ],
)
def test_url_that_is_wrong_is_refused(url: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        RedisOutbox(url)
    assert "s3cret" not in str(caught.value)


def test_url_may_have_a_password_and_many_sentinels() -> None:
    url = "redis+sentinel://app:s3cret@a,b:1234,[::1]:26380/mymaster/2?sentinel_password=s3cret"
    outbox: Any = RedisOutbox(url)
    address = outbox._link._address
    assert address.sentinels == [("a", 26379), ("b", 1234), ("::1", 26380)]
    assert (address.master, address.url) == ("mymaster", "redis://app:s3cret@localhost/2")
    assert address.sentinel_login == {"password": "s3cret"}
    assert "s3cret" not in f"{outbox} {outbox!r}"
