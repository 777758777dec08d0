"""Deliveries in several slots of Redis: on one server, and in a cluster of three masters."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import pytest
from redis.asyncio import Redis
from redis.crc import key_slot

import bridge.delivery.intake
from bridge import OutboxError, OutboxFullError
from bridge.errors import OutboxBusyError
from bridge.outbox import Delivery
from bridge.outbox.redis.outbox import RedisOutbox
from tests.factories import NOW, make_delivery
from tests.outbox.test_redis import Raw, opened
from tests.redis_server import (
    RedisCluster,
    RedisServer,
    running_redis_cluster,
    running_redis_server,
)
from tests.servers import poll

LEASE = 60.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with running_redis_cluster() as cluster:
        yield cluster


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with running_redis_server() as server:
        yield server


async def empty(cluster: RedisCluster) -> None:
    raw: Raw
    for node in cluster.nodes:
        async with Redis.from_url(node.url) as raw:
            await raw.flushall()


async def claim_all(outbox: RedisOutbox, limit: int = 1000) -> list[Delivery]:
    claimed: list[Delivery] = []
    while found := await outbox.claim("meta:1", limit, now=NOW, lease=LEASE):
        claimed += found
    return claimed


async def test_events_are_spread_over_all_masters(cluster: RedisCluster) -> None:
    await empty(cluster)
    async with opened(cluster.url) as outbox:
        deliveries = [make_delivery(str(n)) for n in range(400)]
        assert await outbox.put(deliveries, NOW) == [True] * 400
        raw: Raw
        for node in cluster.nodes:
            async with Redis.from_url(node.url) as raw:
                held = [await raw.hlen(key) for key in await raw.keys("*:deliveries")]
                assert sum(held) > 40
        claimed = await claim_all(outbox)
        assert len({each.event_id for each in claimed}) == len(claimed) == 400
        await outbox.ack(claimed, NOW)
        assert (await outbox.count(NOW, with_delivered=True))["meta:1"].delivered == 400
        assert await outbox.put(deliveries, NOW) == [False] * 400


async def test_deliveries_of_one_event_share_a_slot(cluster: RedisCluster) -> None:
    await empty(cluster)
    async with opened(cluster.url) as outbox:
        await outbox.put([make_delivery("a", destination=f"meta:{n}") for n in range(9)], NOW)
        raw: Raw
        keys: list[bytes] = []
        for node in cluster.nodes:
            async with Redis.from_url(node.url) as raw:
                keys += await raw.keys("*:deliveries")
        assert len(keys) == 1
        assert len(await outbox.find("a", ["Purchase"])) == 9
        assert await outbox.has("Purchase", "a", NOW)


async def test_claims_take_from_all_slots_in_turn(server: RedisServer) -> None:
    raw: Raw
    async with opened(f"{server.url}?slots=8") as outbox, Redis.from_url(server.url) as raw:
        await outbox.put([make_delivery(str(n)) for n in range(800)], NOW)
        for _ in range(2):
            assert len(await outbox.claim("meta:1", 40, now=NOW, lease=LEASE)) == 40
        claimed = [await raw.hlen(f"{{bridge:{n}}}:attempts") for n in range(8)]
        assert claimed == [10] * 8


async def test_number_of_slots_is_the_first_ones(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(f"{server.url}?slots=4") as first:
        await first.put([make_delivery(str(n)) for n in range(40)], NOW)
    for url in (server.url, f"{server.url}?slots=7"):
        caplog.clear()
        async with opened(url) as later:
            assert (await later.count(NOW))["meta:1"].waiting == 40
            assert await later.put([make_delivery("0")], NOW) == [False]
            assert len(await claim_all(later, 9)) == (40 if url == server.url else 0)
        assert any("in 4 slots" in message for message in caplog.messages)


async def test_capacity_is_shared_among_the_slots(server: RedisServer) -> None:
    async with opened(f"{server.url}?slots=4", capacity=40) as outbox:
        puts = (outbox.put([make_delivery(str(n))], NOW) for n in range(200))
        answers = await asyncio.gather(*puts, return_exceptions=True)
        refused = [str(each) for each in answers if isinstance(each, OutboxFullError)]
        assert answers.count([True]) == 40
        assert len(refused) == 160
        assert all("holds 10 of 10" in text for text in refused)


async def test_put_that_failed_in_one_slot_is_new_when_it_is_repeated(
    server: RedisServer,
) -> None:
    raw: Raw
    async with opened(f"{server.url}?slots=2") as outbox, Redis.from_url(server.url) as raw:
        await raw.set("{bridge:1}:deliveries", "mistake")
        deliveries = [make_delivery(str(n)) for n in range(20)]
        with pytest.raises(OutboxError):
            await outbox.put(deliveries, NOW)
        assert await raw.hlen("{bridge:0}:deliveries") > 0
        await raw.delete("{bridge:1}:deliveries")
        assert await outbox.put(deliveries, NOW) == [True] * 20
        assert await outbox.put(deliveries, NOW) == [False] * 20


async def test_slot_that_fails_hides_no_other_and_is_not_hidden(server: RedisServer) -> None:
    raw: Raw
    async with opened(f"{server.url}?slots=2") as outbox, Redis.from_url(server.url) as raw:
        await outbox.put([make_delivery(str(n)) for n in range(20)], NOW)
        await raw.set("{bridge:1}:dead:meta:1", "mistake")
        assert len(await outbox.claim("meta:1", 1000, now=NOW, lease=LEASE)) > 0
        with pytest.raises(OutboxError, match="WRONGTYPE"):
            await outbox.claim("meta:1", 1000, now=NOW, lease=LEASE)


async def test_master_that_is_killed_stops_its_own_slots_alone() -> None:
    options = ("--cluster-require-full-coverage", "no")
    with running_redis_cluster(3, *options) as cluster:
        async with opened(cluster.url) as outbox:
            await outbox.put([make_delivery(str(n)) for n in range(60)], NOW)
            await asyncio.to_thread(cluster.nodes[2].kill)
            assert await put_somewhere(outbox)
            await asyncio.to_thread(cluster.nodes[2].start)

            async def is_back() -> bool:
                try:
                    return (await outbox.count(NOW))["meta:1"].waiting == 61
                except OutboxError:
                    return False

            await poll(is_back, "the cluster again")


async def put_somewhere(outbox: RedisOutbox) -> bool:
    for n in range(40):
        try:
            return await outbox.put([make_delivery(f"later-{n}")], NOW) == [True]
        except OutboxError:
            continue
    return False


@pytest.mark.parametrize("number", range(4))
async def test_moving_slots_loses_nothing(cluster: RedisCluster, number: int) -> None:
    await empty(cluster)
    async with opened(cluster.url) as outbox:
        accepted: list[str] = []
        delivered: Counter[str] = Counter()
        ended = asyncio.Event()

        async def put() -> None:
            while not ended.is_set():
                delivery = make_delivery(f"{number}-{len(accepted)}")
                while True:
                    try:
                        await outbox.put([delivery], NOW)
                        break
                    except OutboxBusyError:
                        await asyncio.sleep(bridge.delivery.intake.FIRST_PAUSE)
                accepted.append(delivery.event_id)

        async def deliver() -> None:
            while not ended.is_set():
                with suppress(OutboxError):
                    claimed = await outbox.claim("meta:1", 50, now=NOW, lease=LEASE)
                    delivered.update(each.event_id for each in claimed)
                    await outbox.ack(claimed, NOW)
                await asyncio.sleep(0.01)

        tasks = [asyncio.create_task(work()) for work in (put, deliver)]
        tags = [b"{bridge}", *(f"{{bridge:{n}}}".encode() for n in range(16))]
        try:
            for tag in tags:
                await asyncio.to_thread(cluster.move, key_slot(tag))
        finally:
            ended.set()
            await asyncio.gather(*tasks)
        # What was claimed by a call that failed is due again after the lease.
        times = itertools.count(NOW + 2 * LEASE, LEASE)

        async def is_drained() -> bool:
            now = next(times)
            # redis-py may close a connection in use when it hears of a slot's new place.
            with suppress(OutboxBusyError):
                left = await outbox.claim("meta:1", 50, now=now, lease=LEASE)
                delivered.update(each.event_id for each in left)
                await outbox.ack(left, now)
                return not await outbox.count(now)
            return False

        await poll(is_drained, "the rest")
        assert len(accepted) > 10
        assert set(accepted) <= delivered.keys()
