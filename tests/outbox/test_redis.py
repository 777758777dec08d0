"""What is true of Redis alone; the contract of every engine is tests/outbox/test_contract.py."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.crc import key_slot
from redis.exceptions import ResponseError

import bridge.delivery.intake
from bridge import ConfigError, OutboxError, OutboxFullError
from bridge.delivery.intake import Intake
from bridge.delivery.metrics import Metrics
from bridge.errors import OutboxBusyError
from bridge.figures.counter import FigureCounter
from bridge.outbox import Circuit, Counts
from bridge.outbox.base import REMEMBERED_SECONDS
from bridge.outbox.redis import link
from bridge.outbox.redis.outbox import RedisOutbox
from bridge.outbox.redis.records import build_digest
from tests.factories import BROWSER, NOW, make_delivery
from tests.redis_server import RedisServer, running_redis_server
from tests.servers import DEADLINE, find_free_port, poll

LEASE = 60.0
DAY = int(NOW // 86_400)
SLOTS = b"{bridge}:slots"  # the key that says how many there are
PASSWORD = "s3cret-pass"
Raw = Any  # redis-py's client, to see and spoil what the outbox keeps


@pytest.fixture(scope="module")
def shared_server() -> Iterator[RedisServer]:
    with running_redis_server() as server:
        yield server


@pytest.fixture
async def raw(shared_server: RedisServer) -> AsyncIterator[Raw]:
    async with Redis.from_url(shared_server.url) as client:
        await client.flushall()
        await client.config_set("maxmemory", 0)
        yield client


@pytest.fixture
async def server(shared_server: RedisServer, raw: Raw) -> RedisServer:
    """A server of the whole run, empty."""
    return shared_server


@pytest.fixture
async def outbox(server: RedisServer) -> AsyncIterator[RedisOutbox]:
    outbox = RedisOutbox(server.url)
    yield outbox
    await outbox.close()


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """A server that the test may kill."""
    with running_redis_server() as server:
        yield server


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[RedisOutbox]:
    outbox = RedisOutbox(url, **options)
    yield outbox
    await outbox.close()


async def claim(outbox: RedisOutbox, now: float = NOW, limit: int = 1000) -> list[str]:
    claimed = await outbox.claim("meta:1", limit, now=now, lease=LEASE)
    return [delivery.event_id for delivery in claimed]


async def use_everything(outbox: RedisOutbox) -> None:
    """Leave something under every key."""
    deliveries = [
        make_delivery(name) for name in ("ack", "bury", "revive", "drop", "retry", "poor")
    ]
    held = make_delivery("held", destination="meta:2", due=NOW + 10)
    await outbox.put([*deliveries, held, make_delivery("late", due=NOW + 10)], NOW)
    claimed = {d.event_id: d for d in await outbox.claim("meta:1", 99, now=NOW, lease=LEASE)}
    await outbox.ack([claimed["ack"]], NOW)
    await outbox.bury([claimed[name] for name in ("bury", "revive", "drop")], "no", NOW)
    assert await outbox.revive([claimed["revive"].key], NOW) == 1
    assert await outbox.drop([claimed["drop"].key]) == 1
    await outbox.retry([claimed["retry"]], NOW + 5)
    assert await outbox.release("Purchase", "late", BROWSER, NOW) == 1
    await outbox.save_circuit(Circuit(destination="meta:1", state="closed", since=NOW))
    assert [letter.delivery.event_id for letter in await outbox.list_dead()] == ["bury"]
    assert len(await outbox.find_dead("bury")) == 1
    assert set(await outbox.circuits()) == {"meta:1"}
    assert await outbox.next_due("meta:1") == NOW
    assert await outbox.count(NOW, with_delivered=True) == {
        "meta:1": Counts(waiting=4, delivered=1, dead=1, oldest=NOW),
        "meta:2": Counts(waiting=1, held=1, oldest=NOW),
    }


async def put_until(outbox: RedisOutbox, name: str, done: asyncio.Event) -> list[str]:
    """Put one after the other, whatever fails; which were accepted."""
    accepted = []
    number = 0
    while not done.is_set():
        number += 1
        try:
            await outbox.put([make_delivery(f"{name}-{number}")], NOW)
        except OutboxError:
            await asyncio.sleep(0.01)
        else:
            accepted.append(f"{name}-{number}")
    return accepted


async def test_everything_accepted_survives_kills_under_load(own_server: RedisServer) -> None:
    async with opened(own_server.url) as outbox:
        done = asyncio.Event()
        tasks = [asyncio.create_task(put_until(outbox, str(i), done)) for i in range(20)]
        for _ in range(3):
            before = (await outbox.count(NOW, with_delivered=True)).get("meta:1", Counts()).waiting
            await poll(partial(grown, outbox, before + 100), "puts")
            await asyncio.to_thread(own_server.kill)
            await asyncio.to_thread(own_server.start)
        done.set()
        accepted = {event_id for ids in await asyncio.gather(*tasks) for event_id in ids}
        assert len(accepted) > 300
        assert accepted <= set(await claim(outbox, limit=1_000_000))


async def grown(outbox: RedisOutbox, count: int) -> bool:
    return (await outbox.count(NOW, with_delivered=True)).get("meta:1", Counts()).waiting >= count


async def test_busy_or_restarting_server_costs_no_event_that_can_wait(
    own_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.delivery.intake, "PATIENCE", DEADLINE)
    async with opened(own_server.url) as outbox, Redis.from_url(own_server.url) as raw:
        counters = Counter[str]()
        intake = Intake(outbox, Metrics(["meta:1"], counters), FigureCounter(outbox))
        await intake.put([make_delivery("0")], NOW, may_lose=True)
        await raw.config_set("busy-reply-threshold", 1)
        endless: asyncio.Future[Any] = asyncio.ensure_future(raw.eval("while true do end", 0))

        async def is_busy() -> bool:
            try:
                async with Redis.from_url(own_server.url) as other:
                    await other.ping()
            except ResponseError as error:
                return "BUSY" in str(error)
            return False

        await poll(is_busy, "a busy server")
        waiting = asyncio.create_task(intake.put([make_delivery("1")], NOW, may_lose=True))
        await asyncio.sleep(0.1)
        async with Redis.from_url(own_server.url) as other:
            await other.script_kill()
        await asyncio.gather(endless, return_exceptions=True)
        assert await waiting == "stored"
        await asyncio.to_thread(own_server.kill)
        waiting = asyncio.create_task(intake.put([make_delivery("2")], NOW, may_lose=True))
        await asyncio.to_thread(own_server.start)
        assert await waiting == "stored"
        assert counters["lost"] == 0


async def test_frozen_server_fails_a_put_in_time_and_works_when_it_is_back(
    own_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(own_server.url) as outbox:
        await outbox.put([make_delivery("before")], NOW)
        monkeypatch.setattr(link, "TIMEOUT", 0.3)
        own_server.freeze()
        async with asyncio.timeout(DEADLINE):
            answers = await asyncio.gather(
                *(outbox.put([make_delivery(str(i))], NOW) for i in range(100)),
                return_exceptions=True,
            )
        assert {str(answer) for answer in answers} == {
            f"outbox redis://127.0.0.1:{own_server.port}/0: no answer within 0.3 s"
        }
        assert {type(answer) for answer in answers} == {OutboxError}
        own_server.thaw()
        monkeypatch.setattr(link, "TIMEOUT", 5.0)
        assert await outbox.put([make_delivery("after")], NOW) == [True]
        assert {"before", "after"} <= set(await claim(outbox))


async def test_server_that_is_gone_is_an_outbox_error_and_passes(own_server: RedisServer) -> None:
    async with opened(own_server.url) as outbox:
        own_server.kill()
        with pytest.raises(OutboxError, match="Connect") as caught:
            await outbox.put([make_delivery()], NOW)
        assert caught.value.__cause__ is not None
        await asyncio.to_thread(own_server.start)
        assert await outbox.put([make_delivery()], NOW) == [True]


async def test_server_that_was_demoted_is_an_outbox_error_and_passes(
    own_server: RedisServer,
) -> None:
    node: Raw
    async with Redis.from_url(own_server.url) as node, opened(own_server.url) as outbox:
        await outbox.put([make_delivery("before")], NOW)
        await node.replicaof("127.0.0.1", "9")
        with pytest.raises(OutboxError, match=r"(?i)read.?only"):
            await outbox.put([make_delivery("between")], NOW)
        await node.replicaof("NO", "ONE")
        assert await outbox.put([make_delivery("after")], NOW) == [True]
        assert sorted(await claim(outbox)) == ["after", "before"]


async def test_cancellation_that_the_library_swallows_is_not_lost(outbox: RedisOutbox) -> None:
    await outbox.circuits()

    async def swallow(*command: Any) -> list[bytes]:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(DEADLINE)
        return []

    client: Any = outbox._link._open().redis
    client.execute_command = swallow
    task = asyncio.create_task(outbox.circuits())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_close_ends_the_connections_and_the_next_call_opens_them(
    outbox: RedisOutbox, raw: Raw
) -> None:
    await asyncio.gather(*(outbox.put([make_delivery(str(i))], NOW) for i in range(100)))
    assert 2 <= len(await raw.client_list()) <= 33
    await outbox.close()

    async def is_alone() -> bool:
        return len(await raw.client_list()) == 1

    await poll(is_alone, "the connections to end")
    assert len(await claim(outbox)) == 100


async def test_scripts_that_the_server_forgot_are_sent_again(outbox: RedisOutbox, raw: Raw) -> None:
    await outbox.put([make_delivery()], NOW)
    await raw.script_flush()
    assert await outbox.put([make_delivery("2")], NOW) == [True]
    await raw.script_flush()
    assert sorted(await claim(outbox)) == ["1", "2"]


async def test_connections_dropped_while_idle_are_not_noticed(
    outbox: RedisOutbox, raw: Raw
) -> None:
    for event_id in "abc":
        await asyncio.gather(*(outbox.put([make_delivery(f"{event_id}{i}")], NOW) for i in "123"))
        await raw.client_kill_filter(skipme=True, _type="normal")
    assert len(await claim(outbox)) == 9


@asynccontextmanager
async def losing_proxy(
    port: int, meanwhile: Callable[[], Awaitable[object]]
) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A way to the server that loses the first script's answer, after ``meanwhile``.

    It yields its URL and a list; while the list is not empty, nothing is lost.
    """
    lost = [b"not yet"]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            while asked := await reader.read(1_000_000):
                there_writer.write(asked)
                answer = await there_reader.read(1_000_000)
                if b"EVALSHA" in asked and not lost:
                    lost.append(answer)
                    await meanwhile()
                    break
                writer.write(answer)
        finally:
            there_writer.close()
            writer.close()

    proxy = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with proxy:
        yield f"redis://127.0.0.1:{proxy.sockets[0].getsockname()[1]}", lost


async def nothing() -> None:
    """What happens meanwhile, mostly."""


async def test_put_whose_answer_was_lost_recognises_its_own(
    outbox: RedisOutbox, server: RedisServer
) -> None:
    await outbox.put([make_delivery("known")], NOW)
    async with losing_proxy(server.port, nothing) as (url, lost), opened(url) as far:
        await far.put([make_delivery("first")], NOW)
        lost.clear()
        new = make_delivery("new")
        answer = await far.put([new, make_delivery("known"), new], NOW)
        assert lost
        assert answer == [True, False, False]
        assert sorted(await claim(outbox)) == ["first", "known", "new"]


async def test_put_whose_answer_was_lost_recognises_its_own_after_delivery(
    outbox: RedisOutbox, server: RedisServer
) -> None:
    async def deliver() -> None:
        await outbox.ack(await outbox.claim("meta:1", 9, now=NOW, lease=LEASE), NOW + 1)

    await outbox.put([make_delivery("known", due=NOW - 5)], NOW - 5)
    await outbox.ack(await outbox.claim("meta:1", 9, now=NOW - 4, lease=LEASE), NOW - 3)
    async with losing_proxy(server.port, deliver) as (url, lost), opened(url) as far:
        await far.put([make_delivery("first")], NOW)
        lost.clear()
        assert await far.put([make_delivery("new"), make_delivery("known")], NOW) == [True, False]
        assert await claim(outbox, NOW + 1000) == []


async def test_put_whose_answer_was_lost_does_not_revive_what_was_buried_meanwhile(
    outbox: RedisOutbox, server: RedisServer
) -> None:
    async def bury() -> None:
        await outbox.bury(await outbox.claim("meta:1", 9, now=NOW, lease=LEASE), "no", NOW + 1)

    async with losing_proxy(server.port, bury) as (url, lost), opened(url) as far:
        await far.put([make_delivery("first")], NOW)
        lost.clear()
        assert await far.put([make_delivery("new")], NOW) == [True]
        assert (await outbox.count(NOW, with_delivered=True))["meta:1"].dead == 2


async def test_release_whose_answer_was_lost_counts_what_it_released(
    outbox: RedisOutbox, server: RedisServer
) -> None:
    async with losing_proxy(server.port, nothing) as (url, lost), opened(url) as far:
        await far.put([make_delivery(due=NOW + 10)], NOW)
        await far.release("Purchase", "unknown", BROWSER, NOW)
        lost.clear()
        assert await far.release("Purchase", "1", BROWSER, NOW + 1) == 1
        assert lost


async def test_revive_whose_answer_was_lost_is_not_repeated(
    outbox: RedisOutbox, server: RedisServer
) -> None:
    await outbox.put([make_delivery()], NOW)
    await outbox.bury(await outbox.claim("meta:1", 1, now=NOW, lease=LEASE), "no", NOW)
    async with losing_proxy(server.port, nothing) as (url, lost), opened(url) as far:
        await far.revive([make_delivery("unknown").key], NOW)
        lost.clear()
        with pytest.raises(OutboxError):
            await far.revive([make_delivery().key], NOW)


async def test_full_memory_refuses_puts_whole_and_still_delivers(
    outbox: RedisOutbox, raw: Raw
) -> None:
    await outbox.put([make_delivery(str(i), due=NOW + i) for i in range(6)], NOW)
    await raw.config_set("maxmemory", 1)
    with pytest.raises(OutboxFullError, match="maxmemory"):
        await outbox.put([make_delivery("a"), make_delivery("b")], NOW)
    assert await outbox.release("Purchase", "5", BROWSER, NOW) == 1
    claimed = await outbox.claim("meta:1", 9, now=NOW + 9, lease=LEASE)
    await outbox.ack(claimed[:4], NOW)
    await outbox.bury(claimed[4:], "no", NOW)
    assert await outbox.revive([claimed[4].key], NOW) == 1
    await outbox.save_circuit(Circuit(destination="meta:1", state="closed", since=NOW))
    assert await outbox.count(NOW, with_delivered=True) == {
        "meta:1": Counts(waiting=1, delivered=4, dead=1, oldest=NOW)
    }
    await raw.config_set("maxmemory", 0)
    assert await outbox.put([make_delivery("a")], NOW) == [True]


EVICTING = ("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")


@pytest.mark.parametrize("is_guarded", [False, True], ids=["", "CONFIG is forbidden"])
async def test_server_that_deletes_waiting_events_is_refused_until_it_does_not(
    is_guarded: bool,
) -> None:
    raw: Raw
    with running_redis_server(*EVICTING) as server:
        async with Redis.from_url(server.url) as raw:
            name = "app" if is_guarded else "default"
            await raw.acl_setuser(
                "app",
                enabled=True,
                passwords=[f"+{PASSWORD}"],
                keys=["{bridge}:*"],
                categories=["+@all", "-@admin"],
            )
            password = PASSWORD if is_guarded else ""
            url = f"redis://{name}:{password}@127.0.0.1:{server.port}"
            async with opened(f"{url}?allow_eviction=true") as outbox:
                [weakness] = await outbox.find_weaknesses()
                assert "maxmemory-policy is allkeys-lru" in weakness.text
            async with opened(url) as outbox:
                for work in (outbox.probe(), outbox.put([make_delivery()], NOW)):
                    with pytest.raises(OutboxError, match=r"allkeys-lru.*allow_eviction=true"):
                        await work
                assert await raw.dbsize() == 0
                await raw.config_set("maxmemory-policy", "noeviction")
                assert await outbox.put([make_delivery()], NOW) == [True]


async def test_url_may_insist_on_a_server_that_evicts(caplog: pytest.LogCaptureFixture) -> None:
    with running_redis_server(*EVICTING) as server:
        async with opened(f"{server.url}?allow_eviction=true") as outbox:
            assert await outbox.put([make_delivery()], NOW) == [True]
            [weakness] = await outbox.find_weaknesses()
    assert "maxmemory-policy is allkeys-lru" in weakness.text
    assert "maxmemory-policy is allkeys-lru" in caplog.text


async def test_delivered_keys_make_room_when_the_memory_is_full(
    outbox: RedisOutbox, raw: Raw, caplog: pytest.LogCaptureFixture
) -> None:
    for start in range(0, 40_000, 5000):
        ids = [str(number) for number in range(start, start + 5000)]
        names: dict[str, Any] = {
            "destination": f"meta:{start % 2}",
            "has_given_id": start % 10_000 == 0,
        }
        await outbox.put([make_delivery(each, **names) for each in ids], NOW + start)
        claimed = await outbox.claim(names["destination"], 5000, now=NOW + start, lease=LEASE)
        await outbox.ack(claimed, NOW + start)
    used = (await raw.info("memory"))["used_memory"]
    await raw.config_set("maxmemory", used - 300_000)
    await outbox.probe()
    assert await outbox.put([make_delivery("new", body=bytes(100_000))], NOW) == [True]
    kept = sum([await raw.hlen(key) for key in await raw.keys("{bridge}:delivered:*")])
    assert 0 < kept < 20_000
    # Those of given ids, and the newest, are remembered for longer.
    given = f"{{bridge}}:given:{int(NOW // (14 * 86_400))}"
    assert await raw.hlen(given) == 20_000
    await raw.config_set("maxmemory", 1)
    with pytest.raises(OutboxFullError):
        await outbox.put([make_delivery("more")], NOW)
    assert await raw.hlen(given) == 0
    assert caplog.text.count("the oldest delivered keys are forgotten") == 1


@contextmanager
def replicated() -> Iterator[tuple[RedisServer, RedisServer]]:
    """A server and its replica."""
    with running_redis_server("--repl-diskless-sync-delay", "0") as server:
        # While a replica writes its first append-only file it does not end.
        follow = ("--appendonly", "no", "--replicaof", f"127.0.0.1 {server.port}")
        with running_redis_server(*follow) as replica:
            yield server, replica


async def test_put_waits_for_the_replicas_that_the_url_wants() -> None:
    raw: Raw
    with replicated() as (server, replica):
        async with opened(f"{server.url}?replicas=1") as outbox:

            async def is_stored() -> bool:
                with suppress(OutboxBusyError):
                    await outbox.put([make_delivery("first")], NOW)
                    return True
                return False

            await poll(is_stored, "the replica")
            assert await outbox.put([make_delivery("1"), make_delivery("1")], NOW) == [True, False]
            async with Redis.from_url(replica.url) as raw:
                assert await raw.hlen("{bridge}:deliveries") == 2
            replica.freeze()
            new = [make_delivery("2"), make_delivery("1")]
            for _ in range(2):
                with pytest.raises(OutboxBusyError, match="0 of 1 replicas"):
                    await outbox.put(new, NOW)
            replica.thaw()

            async def is_new() -> list[bool]:
                with suppress(OutboxBusyError):
                    return await outbox.put(new, NOW)
                return []

            assert await poll(is_new, "the replica") == [True, False]
            assert await outbox.put(new, NOW) == [False, False]


async def test_event_waits_for_a_replica_that_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bridge.delivery.intake, "PATIENCE", DEADLINE)
    monkeypatch.setattr(link, "REPLICA_TIMEOUT", 0.1)
    with replicated() as (server, replica):
        async with opened(f"{server.url}?replicas=1") as outbox:
            counters = Counter[str]()
            intake = Intake(outbox, Metrics(["meta:1"], counters), FigureCounter(outbox))
            assert await intake.put([make_delivery("before")], NOW, may_lose=True) == "stored"
            replica.freeze()
            waiting = asyncio.create_task(intake.put([make_delivery()], NOW, may_lose=True))

            async def is_there() -> bool:
                return await outbox.has("Purchase", "1", NOW)

            await poll(is_there, "the event")
            replica.thaw()
            assert await waiting == "stored"
            assert counters["lost"] == counters["duplicates"] == 0


async def test_weak_server_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    options = ("--appendonly", "no", "--maxmemory-policy", "allkeys-lru")
    with running_redis_server(*options) as server:
        async with opened(server.url) as outbox:
            for event_id in "ab":
                await outbox.put([make_delivery(event_id)], NOW)
                await outbox.count(NOW, with_delivered=True)
    assert caplog.messages == [
        f"outbox redis://127.0.0.1:{server.port}/0 may lose accepted events: appendonly is no,"
        " should be yes; maxmemory-policy is allkeys-lru, should be noeviction"
    ]


@pytest.mark.parametrize("policy", ["noeviction", "volatile-lru"])
async def test_durable_server_is_not_logged(
    outbox: RedisOutbox, raw: Raw, caplog: pytest.LogCaptureFixture, policy: str
) -> None:
    await raw.config_set("maxmemory-policy", policy)
    await outbox.put([make_delivery()], NOW)
    await raw.config_set("maxmemory-policy", "noeviction")
    assert caplog.messages == []


@pytest.fixture
async def guarded(server: RedisServer, raw: Raw) -> AsyncIterator[str]:
    """The URL of a user who may touch nothing but the keys of one prefix, nor read CONFIG."""
    await raw.acl_setuser(
        "app",
        enabled=True,
        passwords=[f"+{PASSWORD}"],
        keys=["{bridge}:*"],
        categories=["+@all", "-@admin", "-@dangerous"],
    )
    yield f"redis://app:{PASSWORD}@127.0.0.1:{server.port}/0"
    await raw.acl_deluser("app")


async def test_user_of_one_prefix_without_config_is_enough(
    guarded: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(guarded) as outbox:
        await use_everything(outbox)
    assert caplog.messages == []


async def test_keys_are_in_one_slot(outbox: RedisOutbox, raw: Raw) -> None:
    await use_everything(outbox)
    keys = await raw.keys("*")
    assert len(keys) == 18
    assert {key_slot(key) for key in keys} == {key_slot(b"{bridge}")}


async def test_prefixes_do_not_see_each_other(outbox: RedisOutbox, server: RedisServer) -> None:
    async with opened(server.url, prefix="other") as other:
        await use_everything(outbox)
        assert await other.count(NOW) == {}
        assert await other.put([make_delivery("ack")], NOW) == [True]
        assert await other.release("Purchase", "held", BROWSER, NOW) == 0
        assert await claim(other) == ["ack"]
        assert await other.list_dead() == []
        assert await other.circuits() == {}


WRONG_KEYS = [
    "deliveries", "attempts", "reasons", "destinations", "dead", "dead_ids",
    "due:meta:1", "held:meta:1", "stored:meta:1", "dead:meta:1", f"delivered:{DAY}",
]  # fmt: skip


@pytest.mark.parametrize("name", WRONG_KEYS)
async def test_key_of_another_type_fails_before_anything_is_written(
    outbox: RedisOutbox, raw: Raw, name: str
) -> None:
    await raw.set(f"{{bridge}}:{name}", "mistake")
    with pytest.raises(OutboxError, match="WRONGTYPE"):
        await outbox.put([make_delivery(destination="meta:2"), make_delivery()], NOW)
    assert sorted(await raw.keys("*")) == sorted([f"{{bridge}}:{name}".encode(), SLOTS])
    if name.endswith(":meta:1"):
        assert await outbox.put([make_delivery(destination="meta:2")], NOW) == [True]


async def spoil_record(raw: Raw) -> None:
    await raw.hset("{bridge}:deliveries", build_digest(make_delivery("bad").key), b"garbage")


async def swap_record(raw: Raw) -> None:
    other = await raw.hget("{bridge}:deliveries", build_digest(make_delivery("good").key))
    await raw.hset("{bridge}:deliveries", build_digest(make_delivery("bad").key), other)


async def lose_record(raw: Raw) -> None:
    await raw.hdel("{bridge}:deliveries", build_digest(make_delivery("bad").key))


async def add_stranger(raw: Raw) -> None:
    for name in ("due", "stored"):
        await raw.zrem(f"{{bridge}}:{name}:meta:1", build_digest(make_delivery("bad").key))
    await raw.zadd("{bridge}:due:meta:1", {"stranger": 1.0, b"\xff" * 16: 2.0})


@pytest.mark.parametrize("spoil", [spoil_record, swap_record, lose_record, add_stranger])
async def test_garbage_leaves_the_lane_and_costs_no_other(
    outbox: RedisOutbox, raw: Raw, spoil: Callable[[Raw], Awaitable[None]]
) -> None:
    await outbox.put([make_delivery("bad", due=NOW - 1), make_delivery("good")], NOW)
    await spoil(raw)
    [good] = await outbox.claim("meta:1", 10, now=NOW, lease=LEASE)
    assert (good.event_id, good.attempts) == ("good", 1)
    await outbox.ack([good], NOW)
    assert await outbox.next_due("meta:1") is None
    assert await outbox.count(NOW, with_delivered=True) == {"meta:1": Counts(delivered=1)}


async def test_unreadable_record_is_kept_for_a_person(
    outbox: RedisOutbox, raw: Raw, caplog: pytest.LogCaptureFixture
) -> None:
    await outbox.put([make_delivery("bad")], NOW)
    await spoil_record(raw)
    assert await claim(outbox) == []
    assert await raw.hvals("{bridge}:unreadable") == [b"garbage"]
    [message] = caplog.messages
    assert "{bridge}:unreadable; deliveries to meta:1: 1" in message
    assert await outbox.put([make_delivery("bad")], NOW) == [True]


async def test_record_that_was_lost_is_stored_again(outbox: RedisOutbox, raw: Raw) -> None:
    await outbox.put([make_delivery("bad")], NOW)
    await lose_record(raw)
    assert await outbox.put([make_delivery("bad")], NOW) == [True]
    assert await claim(outbox) == ["bad"]


async def test_claim_costs_the_server_no_more_commands_for_more_deliveries(
    outbox: RedisOutbox, raw: Raw
) -> None:
    await outbox.put([make_delivery(str(i)) for i in range(300)], NOW)
    await outbox.claim("meta:1", 1, now=NOW, lease=LEASE)  # loads the script into the server
    calls = []
    for limit in (9, 290):
        await raw.config_resetstat()
        assert len(await outbox.claim("meta:1", limit, now=NOW, lease=LEASE)) == limit
        calls.append(
            {name: each["calls"] for name, each in (await raw.info("commandstats")).items()}
        )
    assert calls[0] == calls[1]
    assert calls[0]["cmdstat_hmget"] == 2


async def test_record_put_again_meanwhile_is_not_discarded(outbox: RedisOutbox, raw: Raw) -> None:
    """What a claim found without a record may have one by the time it is to be discarded."""
    await outbox.put([make_delivery("1"), make_delivery("2")], NOW)
    [slot] = outbox._slots
    read = slot._read_records

    async def read_none(digests: Sequence[bytes]) -> Sequence[bytes | None]:
        return [None for _ in await read(digests)]

    slot._read_records = read_none  # type: ignore[method-assign]
    await raw.hdel("{bridge}:deliveries", build_digest(make_delivery("1").key))
    assert await outbox.claim("meta:1", 9, now=NOW, lease=LEASE) == []
    slot._read_records = read  # type: ignore[method-assign]
    [claimed] = await outbox.claim("meta:1", 9, now=NOW + LEASE, lease=LEASE)
    assert (claimed.event_id, claimed.attempts) == ("2", 2)
    assert await raw.hkeys("{bridge}:attempts") == [build_digest(make_delivery("2").key)]


@pytest.mark.parametrize("garbage", ["many", "1.5", "9223372036854775807", ""])
async def test_attempts_that_cannot_be_read_start_over(
    outbox: RedisOutbox, raw: Raw, garbage: str
) -> None:
    await outbox.put([make_delivery()], NOW)
    await raw.hset("{bridge}:attempts", build_digest(make_delivery().key), garbage)
    [claimed] = await outbox.claim("meta:1", 1, now=NOW, lease=LEASE)
    assert claimed.attempts == 1


async def test_garbage_among_dead_letters_and_circuits_is_left_out(
    outbox: RedisOutbox, raw: Raw
) -> None:
    await use_everything(outbox)
    await raw.zadd("{bridge}:dead", {"stranger": NOW + 1})
    await raw.zadd("{bridge}:dead:meta:1", {"stranger": NOW + 1})
    await raw.hset("{bridge}:circuits", "meta:2", '{"state": "ajar"}')
    await raw.hset("{bridge}:circuits", "meta:3", b"\xff")
    [letter] = await outbox.list_dead()
    assert letter.delivery.event_id == "bury"
    assert [letter] == await outbox.list_dead(destination="meta:1")
    assert set(await outbox.circuits()) == {"meta:1"}


async def test_revived_garbage_goes_the_way_of_garbage(outbox: RedisOutbox, raw: Raw) -> None:
    await outbox.put([make_delivery("bad")], NOW)
    await outbox.bury(await outbox.claim("meta:1", 1, now=NOW, lease=LEASE), "no", NOW)
    await raw.hset(
        "{bridge}:deliveries", build_digest(make_delivery("bad").key), b"\xff" * 16
    )  # a time that is not a number
    assert await outbox.revive([make_delivery("bad").key], NOW) == 1
    assert await claim(outbox) == []
    assert await outbox.next_due("meta:1") is None


@pytest.mark.parametrize(
    "changes", [{"due": float("nan")}, {"due": "soon"}, {"event_name": "\ud800"}, {"expires": None}]
)
async def test_delivery_that_cannot_be_written_fails_the_whole_put(
    outbox: RedisOutbox, raw: Raw, changes: dict[str, Any]
) -> None:
    with pytest.raises(OutboxError):
        await outbox.put([make_delivery("good"), make_delivery("bad", **changes)], NOW)
    assert await raw.keys("*") == [SLOTS]


async def test_text_that_no_delivery_can_have_is_not_found(outbox: RedisOutbox) -> None:
    await outbox.put([make_delivery(due=NOW + 1)], NOW)
    assert await outbox.release("Purchase", "\ud800", BROWSER, NOW) == 0
    assert await outbox.find_dead("\ud800") == []


async def test_delivered_keys_of_a_destination_nobody_sends_to_are_forgotten(
    outbox: RedisOutbox, raw: Raw
) -> None:
    await outbox.put([make_delivery()], NOW)
    await outbox.ack(await outbox.claim("meta:1", 1, now=NOW, lease=LEASE), NOW)
    await outbox.count(NOW + REMEMBERED_SECONDS)
    assert await raw.hlen(f"{{bridge}}:delivered:{DAY}") == 1
    assert await outbox.count(NOW + REMEMBERED_SECONDS + 86_400) == {}
    assert await raw.keys("{bridge}:delivered:*") == []


async def test_settled_deliveries_leave_nothing_but_their_digest(
    outbox: RedisOutbox, raw: Raw
) -> None:
    await outbox.put([make_delivery(str(i), due=NOW + i % 2) for i in range(3000)], NOW)
    claimed = await outbox.claim("meta:1", 3000, now=NOW + 1, lease=LEASE)
    await outbox.bury(claimed[:1500], "no", NOW)
    await outbox.ack(claimed[1500:], NOW)
    assert await outbox.drop([delivery.key for delivery in claimed[:1500]]) == 1500
    left = [f"counts:{DAY}", f"delivered:{DAY}", "destinations", "remembered", "slots"]
    assert sorted(await raw.keys("*")) == [f"{{bridge}}:{name}".encode() for name in left]
    assert await raw.hlen(f"{{bridge}}:delivered:{DAY}") == 1500


async def test_remembered_key_takes_less_than_80_bytes(outbox: RedisOutbox, raw: Raw) -> None:
    async def deliver(first: int, last: int) -> int:
        for start in range(first, last, 1000):
            ids = range(start, start + 1000)
            await outbox.put([make_delivery(str(n), has_given_id=n % 2 == 0) for n in ids], NOW)
            await outbox.ack(await outbox.claim("meta:1", 1000, now=NOW, lease=LEASE), NOW)
        used: int = (await raw.info("memory"))["used_memory"]
        return used

    before = await deliver(0, 2000)
    assert await deliver(2000, 26_000) - before < 80 * 24_000
    hashes = [f"{{bridge}}:delivered:{DAY}", f"{{bridge}}:given:{DAY // 14}"]
    assert [await raw.hlen(each) for each in hashes] == [13_000, 13_000]


@pytest.mark.parametrize("days", [1, 2, 30])
async def test_hashes_go_when_their_last_key_is_old_enough(
    server: RedisServer, raw: Raw, days: int
) -> None:
    async with opened(server.url, remember_days=days) as outbox:
        for n in range(60):
            now = NOW + n * 86_400
            given = make_delivery(str(n), has_given_id=True)
            assert await outbox.put([given, make_delivery(f"random {n}")], now) == [True, True]
            await outbox.ack(await outbox.claim("meta:1", 9, now=now, lease=LEASE), now)
        held = {
            kind: sum([await raw.hlen(key) for key in await raw.keys(f"*:{kind}:*")])
            for kind in ("delivered", "given")
        }
        if days == 30:
            assert 2 <= held["delivered"] <= 4
            assert 30 <= held["given"] <= 45
        else:  # a given id is remembered no longer than another
            assert 2 * days <= held["delivered"] <= 2 * days + 4
            assert held["given"] == 0
        last = NOW + 59 * 86_400
        assert await outbox.has("Purchase", "59", last + (days - 0.1) * 86_400)
        assert not await outbox.has("Purchase", "59", last + (days + 0.1) * 86_400)


async def test_key_that_was_delivered_around_midnight_is_known(
    outbox: RedisOutbox,
) -> None:
    midnight = (DAY + 1) * 86_400.0
    await outbox.put([make_delivery("1")], midnight - 1)
    [claimed] = await outbox.claim("meta:1", 9, now=midnight - 1, lease=LEASE)
    await outbox.ack([claimed], midnight + 0.001)
    # A machine whose clock is a little behind.
    assert await outbox.put([make_delivery("1")], midnight - 0.5) == [False]
    assert await outbox.has("Purchase", "1", midnight - 0.5)


async def test_refused_password_is_shown_nowhere(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with opened(f"redis://app:{PASSWORD}@127.0.0.1:{server.port}/0") as outbox:
        with pytest.raises(OutboxError, match="password") as caught:
            await outbox.put([make_delivery()], NOW)
        shown = "".join(traceback.format_exception(caught.value))
        assert PASSWORD not in f"{outbox!r} {outbox._link!r} {shown} {caplog.text}"
        assert repr(outbox) == f"RedisOutbox('redis://127.0.0.1:{server.port}/0', prefix='bridge')"


async def test_missing_password_is_reported_as_missing() -> None:
    with running_redis_server("--requirepass", PASSWORD) as server:
        async with opened(server.url) as outbox:
            for work in (
                outbox.put([make_delivery()], NOW),
                outbox.put([make_delivery(body=bytes(30_000))], NOW),
                outbox.count(NOW, with_delivered=True),
                outbox.circuits(),
            ):
                with pytest.raises(OutboxError, match="the server wants a password: put it into"):
                    await work
        async with opened(f"redis://:{PASSWORD}@127.0.0.1:{server.port}/0") as outbox:
            assert await outbox.put([make_delivery()], NOW) == [True]


async def test_server_that_quotes_the_password_is_not_quoted() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            writer.write(
                b"-ERR unknown command 'AUTH', with args beginning with: '%s'\r\n"
                % PASSWORD.encode()
            )
        writer.close()

    proxy = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = proxy.sockets[0].getsockname()[1]
    async with proxy, opened(f"redis://:{PASSWORD}@127.0.0.1:{port}") as outbox:
        with pytest.raises(OutboxError, match="unknown command 'AUTH'") as caught:
            await outbox.put([make_delivery()], NOW)
        assert PASSWORD not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (f"redis://:{PASSWORD}#/x@host", "percent-encode"),
        (f"redis://:{PASSWORD}@host:none", "percent-encode"),
        (f"redis://:{PASSWORD}@host/first", "database number"),
        (f"redis://:{PASSWORD}@host?decode_responses=true", "unknown option 'decode_responses'"),
        (f"redis://:{PASSWORD}@host?db=first", "cannot be read"),
        (f"redis://:{PASSWORD}@host?cluster=maybe", "cluster must be true or false"),
        (f"redis://:{PASSWORD}@host/1?cluster=true", "database 0"),
        (f"redis://:{PASSWORD}@host?cluster=true&replicas=1", "not in a cluster"),
        (f"redis://:{PASSWORD}@host?replicas=some", "replicas must be a number"),
        (f"redis://:{PASSWORD}@host?allow_eviction=maybe", "allow_eviction must be true or false"),
        (f"rabbit://:{PASSWORD}@host", "unknown scheme 'rabbit'"),
        ("unix://", "path"),
        ("", "unknown scheme"),
    ],
)
def test_url_that_is_wrong_is_refused_without_its_password(url: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        RedisOutbox(url)
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("options", [{"prefix": ""}, {"prefix": "a{b}"}, {"capacity": 0}])
def test_option_that_is_wrong_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        RedisOutbox("redis://127.0.0.1", **options)


async def test_transaction_of_the_caller_is_refused(outbox: RedisOutbox) -> None:
    with pytest.raises(ConfigError, match="PostgresOutbox"):
        await outbox.put([make_delivery()], NOW, connection=object())


async def test_unix_socket_is_served(tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    with running_redis_server("--unixsocket", str(path)) as server:
        async with opened(f"unix://{path}?db=1") as outbox:
            assert await outbox.put([make_delivery()], NOW) == [True]
            assert repr(outbox) == f"RedisOutbox('unix://{path}', prefix='bridge')"
        async with Redis.from_url(server.url.replace("/0", "/1")) as raw:
            assert await raw.exists("{bridge}:deliveries") == 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for ``localhost`` that vouches for itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    paths = (folder / "localhost.crt", folder / "localhost.key")
    arguments = "req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -out {} -keyout {}"
    subprocess.run(
        ["openssl", *arguments.format(*paths).split(), "-addext", "subjectAltName=DNS:localhost"],
        check=True,
        capture_output=True,
    )
    return paths


async def test_certificate_is_checked(certificate: tuple[Path, Path]) -> None:
    public, private = map(str, certificate)
    tls = ["--tls-cert-file", public, "--tls-key-file", private, "--tls-auth-clients", "no"]
    port = find_free_port()
    with running_redis_server(*tls, "--tls-ca-cert-file", public, "--tls-port", str(port)):
        async with opened(f"rediss://localhost:{port}?ssl_ca_certs={public}") as outbox:
            assert await outbox.put([make_delivery()], NOW) == [True]
        for wrong in (
            f"rediss://localhost:{port}",
            f"rediss://127.0.0.1:{port}?ssl_ca_certs={public}",
        ):
            async with opened(wrong) as outbox:
                with pytest.raises(OutboxError, match=r"(?i)certificate"):
                    await outbox.put([make_delivery("2")], NOW)


def test_each_event_loop_opens_its_own(shared_server: RedisServer) -> None:
    outbox = RedisOutbox(shared_server.url, prefix="loops")

    async def put(event_id: str, *, closing: bool) -> list[bool]:
        stored = await outbox.put([make_delivery(event_id)], NOW)
        if closing:
            await outbox.close()
        return stored

    with asyncio.Runner() as runner:
        assert runner.run(put("a", closing=False)) == [True]
        assert asyncio.run(put("b", closing=True)) == [True]
        assert runner.run(put("c", closing=True)) == [True]


def test_forked_process_opens_its_own_and_leaves_the_parents_alone(
    shared_server: RedisServer,
) -> None:
    outbox = RedisOutbox(shared_server.url, prefix="fork")
    with asyncio.Runner() as runner:
        assert runner.run(outbox.put([make_delivery("before")], NOW)) == [True]
        child = os.fork()
        if child == 0:
            stored = asyncio.run(outbox.put([make_delivery("child")], NOW))
            os.kill(os.getpid(), signal.SIGTERM if stored == [True] else signal.SIGABRT)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
        assert runner.run(outbox.put([make_delivery("child")], NOW)) == [False]
        assert runner.run(outbox.put([make_delivery("after")], NOW)) == [True]
        runner.run(outbox.close())
