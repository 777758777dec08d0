"""Machines whose clocks are wrong, on the engines that machines share."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from bridge.outbox import Circuit, Delivery
from bridge.outbox.base import REMEMBERED_SECONDS
from bridge.outbox.clock import Clock
from tests.factories import BROWSER, make_delivery, unix_now
from tests.outbox.conftest import MakeOutbox, build_engine
from tests.servers import Sandbox, poll

LEASE = 30.0
META = "meta:1234567890123456"
NAMES = {40.0: "40 s ahead", -3600.0: "an hour back", 8 * 86_400.0: "8 days ahead"}


class Machine:
    """An outbox of a machine whose clock is wrong by some seconds."""

    def __init__(self, make: Callable[..., Any], error: float) -> None:
        self.outbox = make()
        self.error = error
        self.outbox._wall = self.read
        if hasattr(self.outbox, "_clock"):
            self.outbox._clock._wall = self.read

    def read(self) -> float:
        return time.time() + self.error

    now = property(read)

    async def put(self, *event_ids: str, hold: float = -1.0, age: float = 1000.0) -> list[bool]:
        now = self.now
        deliveries = [make_delivery(each, due=now + hold, expires=now + age) for each in event_ids]
        stored: list[bool] = await self.outbox.put(deliveries, now)
        return stored

    async def claim(self, lease: float = LEASE) -> list[Delivery]:
        claimed: list[Delivery] = await self.outbox.claim("meta:1", 99, now=self.now, lease=lease)
        return claimed

    async def read_wait(self) -> float:
        """The seconds until something is due, as a lane computes them."""
        due = await self.outbox.next_due("meta:1")
        return float(due - self.now)


def make_lead(event_id: str, **changes: Any) -> Delivery:
    body = (
        b'{"event_name":"Lead","event_id":"%s","event_time":%d,"action_source":"website",'
        b'"event_source_url":"https://shop.example.com/","user_data":{"external_id":["%s"]}}'
    ) % (event_id.encode(), unix_now(), b"a" * 64)
    return make_delivery(event_id, destination=META, event_name="Lead", body=body, **changes)


@pytest.fixture(params=["postgres", "redis"])
def engine(request: pytest.FixtureRequest) -> MakeOutbox:
    return build_engine(request.param, request)


@pytest.fixture
async def right(engine: MakeOutbox) -> AsyncIterator[Machine]:
    machine = Machine(engine, 0.0)
    yield machine
    await machine.outbox.close()


@pytest.fixture(params=list(NAMES), ids=NAMES.get)
async def wrong(engine: MakeOutbox, request: pytest.FixtureRequest) -> AsyncIterator[Machine]:
    machine = Machine(engine, request.param)
    yield machine
    await machine.outbox.close()


async def test_no_machine_takes_what_another_has_leased(right: Machine, wrong: Machine) -> None:
    for first, second in ((right, wrong), (wrong, right)):
        await first.put(f"1 by {first.error}", f"2 by {first.error}")
        claimed = await first.claim()
        assert len(claimed) == 2
        assert await second.claim() == []
        assert 20 < await second.read_wait() <= LEASE + 2
        assert await first.outbox.retry(claimed, first.now + LEASE) == 2
        assert await second.claim() == []
        await first.outbox.ack(claimed, first.now)


async def test_no_event_waits_for_a_clock_to_catch_up(right: Machine, wrong: Machine) -> None:
    for first, second in ((right, wrong), (wrong, right)):
        await first.put(f"by {first.error}")
        claimed = await second.claim()
        assert len(claimed) == 1
        assert await second.outbox.retry(claimed, second.now - 1) == 1
        assert len(await first.claim()) == 1
        await second.outbox.ack(claimed, second.now)


async def test_hold_lasts_as_long_for_every_machine(right: Machine, wrong: Machine) -> None:
    for first, second in ((right, wrong), (wrong, right)):
        name = f"held by {first.error}"
        await first.put(name, hold=20.0)
        assert await second.claim() == []
        assert 10 < await second.read_wait() < 22
        counts = (await second.outbox.count(second.now))["meta:1"]
        assert (counts.held, counts.read_age(second.now) < 15) == (1, True)
        assert await second.outbox.release("Purchase", name, BROWSER, second.now - 1) == 1
        claimed = await first.claim()
        assert len(claimed) == 1
        await first.outbox.ack(claimed, first.now)


async def test_no_machine_finds_too_old_what_is_not(right: Machine, wrong: Machine) -> None:
    for first, second in ((right, wrong), (wrong, right)):
        name = f"young by {first.error}"
        await first.put(name, age=60.0)
        [claimed] = await second.claim()
        assert 40 < claimed.expires - second.now < 62
        assert abs(claimed.due - second.now - LEASE) < 10
        [listed] = await second.outbox.list_waiting()
        assert abs(listed.expires - claimed.expires) <= 2
        await second.outbox.bury([claimed], "no", second.now)
        for machine in (first, second):
            [letter] = await machine.outbox.list_dead()
            assert abs(letter.buried_at - machine.now) < 10
            assert await machine.outbox.find_dead(name) == [letter]
            assert await machine.outbox.drop_old(machine.now - 60, 10) == 0
        assert await first.outbox.revive([claimed.key], first.now - 1) == 1
        again = await second.claim()
        assert len(again) == 1
        await second.outbox.ack(again, second.now)


async def test_delivered_key_is_remembered_for_48_hours_by_every_machine(
    right: Machine, wrong: Machine
) -> None:
    for first, second in ((right, wrong), (wrong, right)):
        name = f"by {first.error}"
        await first.put(name)
        await first.outbox.ack(await first.claim(), first.now)
        assert await second.put(name) == [False]
        await second.put(f"{name}, other")
        await second.outbox.ack(await second.claim(), second.now)
        assert await first.put(name) == [False]
        later = first.now + REMEMBERED_SECONDS + 60
        again = make_delivery(name, due=later, expires=later)
        assert await first.outbox.put([again], later) == [True]
        await first.outbox.ack(await first.outbox.claim("meta:1", 9, now=later, lease=1), later)


async def test_circuit_is_as_old_for_every_machine(right: Machine, wrong: Machine) -> None:
    await wrong.outbox.save_circuit(
        Circuit(destination="meta:1", state="open", since=wrong.now, until=wrong.now + 60)
    )
    circuit = (await right.outbox.circuits())["meta:1"]
    assert abs(circuit.since - right.now) < 10
    assert abs(circuit.until - right.now - 60) < 10
    await wrong.outbox.save_circuit(Circuit(destination="meta:1", state="closed", since=wrong.now))
    assert (await right.outbox.circuits())["meta:1"].until == 0.0


async def test_clock_that_is_set_while_the_app_runs_is_noticed(right: Machine) -> None:
    await right.put("1", "2")
    claimed = await right.claim()
    right.error = 8 * 86_400.0
    assert await right.claim() == []
    await right.outbox.ack(claimed[:1], right.now)
    right.error = -3600.0
    assert await right.outbox.retry(claimed[1:], right.now - 1) == 1
    [again] = await right.claim()
    assert abs(again.due - right.now - LEASE) < 10


async def test_machines_that_keep_time_store_exact_times(right: Machine, engine: Any) -> None:
    other = Machine(engine, 0.1)
    delivery = make_delivery(due=1_795_000_000.125, expires=1_795_000_001.25)
    await right.outbox.put([delivery], delivery.due)
    assert await other.outbox.list_waiting() == [delivery]
    await other.outbox.close()


SENDER = """
import asyncio, sys, time

right = time.time
time.time = lambda: right() + float(sys.argv[1])

from bridge.delivery.sender import Sender
from bridge.outbox.engines import open_outbox
from tests.factories import make_meta


async def main():
    outbox = open_outbox(sys.argv[2])
    sender = Sender(outbox, [make_meta(graph_url=sys.argv[3])])
    sender.start()
    await asyncio.to_thread(sys.stdin.read)
    await sender.stop(deadline=5)
    await outbox.close()


asyncio.run(main())
"""


async def test_senders_with_different_clocks_send_each_event_once(
    right: Machine, wrong: Machine, sandbox: Sandbox, request: pytest.FixtureRequest
) -> None:
    engine = request.node.callspec.params["engine"]
    url = request.getfixturevalue(f"{engine}_url")
    await sandbox.fault("events", delay=0.5, times=None)
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", SENDER, str(machine.error), url, sandbox.url),
            stdin=asyncio.subprocess.PIPE,
        )
        for machine in (right, wrong)
    ]
    try:
        for number in range(60):
            machine = (right, wrong)[number % 2]
            lead = make_lead(str(number), due=machine.now, expires=machine.now + 100)
            assert await machine.outbox.put([lead], machine.now) == [True]
            await asyncio.sleep(0.02)

        async def is_empty() -> bool:
            return await right.outbox.next_due(META) is None

        await poll(is_empty, "the deliveries")
    finally:
        for process in processes:
            await process.communicate(b"")
    actions = await sandbox.actions()
    assert sorted(len(each["server"]) for each in actions) == [1] * 60
    assert await right.outbox.list_dead() == []


# What a clock makes of an answer


def make_ask(*answers: float, takes: Callable[[], None] = lambda: None) -> Any:
    left = list(answers)

    async def ask() -> float:
        takes()
        return left.pop(0)

    return ask


async def test_slow_answer_does_not_make_a_right_clock_wrong() -> None:
    times = [1000.0]

    def wait() -> None:
        times[0] += 20

    # The server said 1000 or 1020; which moment that was, the answer does not show.
    for answer in (1000.0, 1010.0, 1020.0):
        times[0] = 1000.0
        assert await Clock(make_ask(answer, takes=wait), lambda: times[0]).read() == 0
    times[0] = 1000.0
    assert await Clock(make_ask(1110.0, takes=wait), lambda: times[0]).read() == 100


async def test_server_is_asked_once_and_again_when_the_clock_was_set() -> None:
    wall = time.time
    error = 0.0
    asked = 0

    async def ask() -> float:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return wall()

    clock = Clock(ask, lambda: wall() + error)
    assert [await clock.read() for _ in range(5)] == [0.0] * 5
    assert asked == 1
    error = 500.0
    assert {round(await clock.read()) for _ in range(5)} == {-500}
    assert asked == 2


async def test_failed_question_reaches_the_caller_and_the_next_one_asks_again() -> None:
    async def fail() -> float:
        raise OSError("gone")

    clock = Clock(fail, time.time)
    for _ in range(2):
        with pytest.raises(OSError, match="gone"):
            await clock.read()
