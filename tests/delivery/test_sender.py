"""Outbox → sender → a real sandbox process, with its faults."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx
import pytest

import bridge.delivery.breaker
import bridge.delivery.exchange
import bridge.delivery.lane
import bridge.delivery.sender
from bridge import ConfigError, OutboxError, UsageError, track
from bridge.delivery.sender import Sender
from bridge.destinations import Limits, Meta
from bridge.events.event import DAY
from bridge.outbox import Circuit, Counts, Delivery, SQLiteOutbox
from tests.factories import (
    BROWSER,
    NAVIGATION,
    make_bridge,
    make_delivery,
    make_meta,
    make_scope,
    make_visitor,
    unix_now,
)
from tests.servers import Sandbox, poll

META = "meta:1234567890123456"
SOON = "in an hour, as a date"
EXPIRED = (
    '{"error":{"message":"Session has expired","type":"OAuthException","code":190,'
    '"error_subcode":463,"fbtrace_id":"A1"}}'
)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back-offs and pauses too short to wait for."""
    monkeypatch.setattr(bridge.delivery.breaker, "BACKOFF_CAP", 0.02)
    monkeypatch.setattr(bridge.delivery.breaker, "PAUSE", 0.05)
    monkeypatch.setattr(bridge.delivery.breaker, "PAUSE_CAP", 0.05)


@pytest.fixture
async def sender(outbox: SQLiteOutbox, sandbox: Sandbox) -> AsyncIterator[Sender]:
    """A running sender in front of the sandbox."""
    sender = Sender(outbox, [make_meta(graph_url=sandbox.url)])
    sender.start()
    yield sender
    await sender.stop(deadline=1)


def make_lead(event_id: str, **changes: Any) -> Delivery:
    body = (
        b'{"event_name":"Lead","event_id":"%s","event_time":%d,"action_source":"website",'
        b'"event_source_url":"https://shop.example.com/","user_data":{"external_id":["%s"]}}'
    ) % (event_id.encode(), unix_now(), b"a" * 64)
    return make_delivery(
        event_id,
        **{
            "destination": META,
            "event_name": "Lead",
            "body": body,
            "due": unix_now(),
            "expires": unix_now() + 1000,
            **changes,
        },
    )


def make_leads(count: int, *, poison: Sequence[int] = ()) -> list[Delivery]:
    """Leads of which some carry a raw e-mail address, for which Meta refuses the whole batch."""
    leads = [make_lead(str(i)) for i in range(count)]
    for place in poison:
        body = leads[place].body.replace(b"external_id", b"em").replace(b"a" * 64, b"j@example.com")
        leads[place] = make_lead(str(place), body=body)
    return leads


def make_small_batches(size: int, url: str) -> Meta:
    meta = make_meta(graph_url=url)
    meta.limits = Limits(batch_size=size)
    return meta


async def put(outbox: SQLiteOutbox, sender: Sender, *deliveries: Delivery) -> None:
    await outbox.put(deliveries, unix_now())
    sender.wake([META])


async def count(outbox: SQLiteOutbox, destination: str = META) -> Counts:
    return (await outbox.count(time.time(), with_delivered=True)).get(destination, Counts())


async def settled(outbox: SQLiteOutbox, *, delivered: int = 0, dead: int = 0) -> None:
    async def check() -> bool:
        counts = await count(outbox)
        return (counts.waiting, counts.delivered, counts.dead) == (0, delivered, dead)

    await poll(check, f"{delivered} delivered, {dead} dead")


async def claimed(outbox: SQLiteOutbox) -> None:
    async def check() -> bool:
        return (await outbox.next_due(META) or 0.0) > unix_now() + 10

    await poll(check, "the claim")


async def delivered(outbox: SQLiteOutbox, number: int) -> None:
    async def check() -> bool:
        return (await count(outbox)).delivered == number

    await poll(check, f"{number} delivered")


async def counted(sender: Sender, kind: str, least: int) -> None:
    async def check() -> bool:
        return sender.metrics.totals[kind] >= least

    await poll(check, f"{least} {kind}")


async def assert_each_arrived_once(sandbox: Sandbox, ids: Sequence[int]) -> None:
    actions = await sandbox.actions()
    assert sorted(int(action["server"][0]["event"]["event_id"]) for action in actions) == list(ids)
    assert all(len(action["server"]) == 1 for action in actions)


async def test_deliveries_go_in_one_request(
    outbox: SQLiteOutbox, sender: Sender, sandbox: Sandbox
) -> None:
    await put(outbox, sender, *make_leads(1000))
    await settled(outbox, delivered=1000)
    [request] = await sandbox.requests()
    assert (request["status"], request["events"]) == (200, 1000)
    assert sender.metrics.totals["delivered"] == 1000
    assert sender.metrics.counters[META]["requests"] == 1


async def test_delivery_waits_until_it_is_due(
    outbox: SQLiteOutbox, sender: Sender, sandbox: Sandbox
) -> None:
    await put(outbox, sender, make_lead("held", due=unix_now() + 500), make_lead("now"))
    [event] = await sandbox.wait_for_server_copies(1)
    assert event["event_id"] == "now"
    await outbox.release("Lead", "held", BROWSER, unix_now())
    sender.wake([META])
    await settled(outbox, delivered=2)


async def test_release_of_what_is_under_way_sends_nothing_twice(
    outbox: SQLiteOutbox, sender: Sender, sandbox: Sandbox
) -> None:
    await sandbox.fault("events", delay=0.3)
    await put(outbox, sender, make_lead("1"))
    await claimed(outbox)
    assert await outbox.release("Lead", "1", BROWSER, unix_now()) == 0
    sender.wake([META])
    await settled(outbox, delivered=1)
    assert len(await sandbox.requests()) == 1


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"status": 500, "body": "oops"}, id="500"),
        pytest.param({"status": 429, "body": "slow"}, id="429"),
        pytest.param({"status": 429, "headers": {"Retry-After": "0"}}, id="429, at once"),
        pytest.param(
            {"status": 429, "headers": {"Retry-After": formatdate(usegmt=True)}},
            id="429, a date",
        ),
        pytest.param({"status": 200, "body": "<html>"}, id="HTML instead of JSON"),
        pytest.param({"status": 301, "headers": {"Location": "/"}, "body": ""}, id="redirect"),
        pytest.param({"status": 200, "body": '{"events_rec'}, id="half an answer"),
        pytest.param({"drop": True, "times": 4}, id="connection dropped"),  # each is two requests
        pytest.param({"status": 200, "body": '{"events_received":0}'}, id="nothing received"),
    ],
)
async def test_transient_answer_is_tried_again(
    outbox: SQLiteOutbox, sender: Sender, sandbox: Sandbox, fault: dict[str, Any]
) -> None:
    await sandbox.fault("events", **{"times": 2, **fault})
    await put(outbox, sender, make_lead("1"))
    await settled(outbox, delivered=1)
    assert sender.metrics.totals["retried"] == 2
    await assert_each_arrived_once(sandbox, [1])


async def test_sender_whose_client_cannot_start_says_so_and_tries_again(
    outbox: SQLiteOutbox,
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bridge.delivery.sender, "START_PAUSE", 0.05)
    sender = Sender(outbox, [make_meta(graph_url=sandbox.url)])
    with monkeypatch.context() as behind_proxy:
        behind_proxy.setenv("ALL_PROXY", "socks5://127.0.0.1:9")  # its package is not installed
        sender.start()
        seen = [sender.is_delivering]
        await put(outbox, sender, make_lead("1"))
    await settled(outbox, delivered=1)
    seen.append(sender.is_delivering)
    assert "ALL_PROXY" in caplog.text
    await sender.stop(deadline=1)
    assert [*seen, sender.is_delivering] == [False, True, False]


async def test_requests_of_ours_fill_nobodys_log(
    outbox: SQLiteOutbox, sender: Sender, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await put(outbox, sender, make_lead("1"))
    await settled(outbox, delivered=1)
    async with httpx.AsyncClient() as others:
        await others.get(f"{sandbox.url}/api/events?theirs")
    lines = [each.getMessage() for each in caplog.records if each.name == "httpx"]
    assert [line for line in lines if "theirs" in line]
    assert not [line for line in lines if "POST" in line]


async def test_connection_that_was_closed_while_idle_costs_no_attempt(
    outbox: SQLiteOutbox, sender: Sender, sandbox: Sandbox
) -> None:
    await put(outbox, sender, make_lead("1"))
    await settled(outbox, delivered=1)
    await sandbox.fault("events", drop=True)
    await put(outbox, sender, make_lead("2"))
    await settled(outbox, delivered=2)
    assert sender.metrics.totals["retried"] == 0
    await assert_each_arrived_once(sandbox, [1, 2])


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"hang": True}, id="stall"),
        pytest.param({"trickle": 0.2}, id="slow trickle"),
        pytest.param({"truncate": 9}, id="cut off"),
        pytest.param({"pad": 10_000_000}, id="enormous"),
        pytest.param({"drop": True, "after": True, "times": 2}, id="answer lost"),
    ],
)
async def test_answer_that_cannot_be_had_is_given_up_and_tried_again(
    outbox: SQLiteOutbox,
    sender: Sender,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    fault: dict[str, Any],
) -> None:
    monkeypatch.setattr(bridge.delivery.exchange, "TOTAL_TIMEOUT", 0.5)
    await sandbox.fault("events", **fault)
    await put(outbox, sender, make_lead("1"))
    await settled(outbox, delivered=1)
    assert sender.metrics.totals["retried"] == 1


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 429, "headers": {"Retry-After": "3000"}},
        {
            "status": 429,
            "headers": {"Retry-After": SOON},
        },
        {
            "status": 400,
            "body": '{"error":{"code":80004,"message":"too many calls"}}',
            "headers": {
                "x-business-use-case-usage": '{"1":[{"estimated_time_to_regain_access":50}]}'
            },
        },
        {
            "add_headers": {
                "X-Ad-Account-Usage": '{"acc_id_util_pct":100,"reset_time_duration":3000}'
            }
        },
    ],
    ids=["seconds", "date", "minutes to regain access", "accepted at the limit"],
)
async def test_destination_is_left_alone_as_long_as_it_asked(
    outbox: SQLiteOutbox, sender: Sender, sandbox: Sandbox, fault: dict[str, Any]
) -> None:
    if fault.get("headers") == {"Retry-After": SOON}:  # as of now: tests are collected long before
        at = formatdate(time.time() + 3500, usegmt=True)
        fault = {**fault, "headers": {"Retry-After": at}}
    await sandbox.fault("events", **fault)
    await put(outbox, sender, make_lead("1"))
    await counted(sender, "requests", 1)

    async def waits() -> bool:
        return sender._lanes.list_living()[META]._breaker.compute_pause(time.monotonic()) > 2900

    await poll(waits, "the pause")
    await put(outbox, sender, make_lead("2"))
    await sender.stop(deadline=5)
    assert sender.metrics.totals["requests"] == 1


async def test_what_was_being_claimed_when_the_destination_asked_to_wait_is_not_sent(
    outbox: SQLiteOutbox, sender: Sender, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, claimed, may_go = outbox.claim, [0], asyncio.Event()

    async def claim_late(*args: Any, **options: Any) -> list[Delivery]:
        if claimed[-1]:  # made before the answer to the first one is there
            await may_go.wait()
        found = await claim(*args, **options)
        claimed.append(len(found))
        return found

    monkeypatch.setattr(outbox, "claim", claim_late)
    await sandbox.fault("events", status=429, headers={"Retry-After": "3000"}, delay=0.3)
    await put(outbox, sender, make_lead("1"))
    await counted(sender, "requests", 1)
    await put(outbox, sender, make_lead("2"))
    may_go.set()

    async def is_given_back() -> bool:
        return (await outbox.next_due(META)) is not None and (await count(outbox)).held == 0

    await poll(is_given_back, "the second one")
    await sender.stop(deadline=5)
    assert sender.metrics.totals["requests"] == 1
    assert (await count(outbox)).waiting == 2


@pytest.mark.parametrize(
    ("size", "poison"),
    [
        (1000, [0]),
        (1000, [1]),
        (1000, [499]),
        (1000, [998]),
        (1000, [999]),
        (1000, [3, 500, 501]),
        (20, list(range(20))),
    ],
    ids=str,
)
async def test_bad_events_are_buried_and_no_other_with_them(
    outbox: SQLiteOutbox,
    sender: Sender,
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
    size: int,
    poison: list[int],
) -> None:
    await put(outbox, sender, *make_leads(size, poison=poison))
    await settled(outbox, delivered=size - len(poison), dead=len(poison))
    await assert_each_arrived_once(sandbox, [i for i in range(size) if i not in poison])
    dead = await outbox.list_dead()
    assert sorted(int(letter.delivery.event_id) for letter in dead) == poison
    for letter in dead:
        assert letter.reason.startswith("100/2804016: ")
        assert "fbtrace_id A" in letter.reason
        assert f"Lead {letter.delivery.event_id} is a dead letter" in caplog.text
    assert "example.com" not in caplog.text


async def test_withdrawn_in_a_refused_batch_is_not_sent_with_the_others(
    outbox: SQLiteOutbox, sender: Sender, sandbox: Sandbox
) -> None:
    await sandbox.fault("events", delay=0.5)
    ada = b"the ada\0"
    leads = make_leads(20, poison=[0])
    leads[7] = replace(leads[7], subjects=ada)
    await put(outbox, sender, *leads)
    await claimed(outbox)
    assert await outbox.withdraw(ada) == 1
    await settled(outbox, delivered=18, dead=1)
    await assert_each_arrived_once(sandbox, [i for i in range(20) if i not in (0, 7)])


@pytest.mark.parametrize("status", [500, 401])
async def test_splitting_stops_when_the_destination_does(
    outbox: SQLiteOutbox, sender: Sender, sandbox: Sandbox, status: int
) -> None:
    await sandbox.fault("events", refuse="7")
    await sandbox.fault("events", status=status, body=EXPIRED if status == 401 else "oops")
    await put(outbox, sender, *make_leads(20))
    await settled(outbox, delivered=20)  # the second time nothing is refused
    await assert_each_arrived_once(sandbox, range(20))
    assert [request["events"] for request in await sandbox.requests()][:2] == [20, 1]
    assert sender.metrics.totals["split"] == 1
    assert sender.metrics.totals["paused" if status == 401 else "retried"] == 20


async def test_refused_token_loses_nothing_and_is_logged_once(
    outbox: SQLiteOutbox, sender: Sender, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    await sandbox.fault("events", status=401, body=EXPIRED, times=None)
    await put(outbox, sender, *make_leads(50))
    await counted(sender, "paused", 60)
    counts = await count(outbox)
    assert (counts.waiting, counts.dead) == (50, 0)
    circuit = (await outbox.circuits())[META]
    assert circuit.state in ("open", "half_open")
    assert circuit.reason == "token: 190/463: Session has expired (fbtrace_id A1)"
    await sandbox._call("DELETE", "/api/faults")
    await settled(outbox, delivered=50)
    await assert_each_arrived_once(sandbox, range(50))

    async def closed() -> bool:
        return (await outbox.circuits())[META].state == "closed"

    await poll(closed, "the closed circuit")
    [line] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "BRIDGE_ACCESS_TOKEN" in line.message
    [line] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "works again" in line.message


async def test_open_circuit_is_asked_with_one_event_alone(
    outbox: SQLiteOutbox, sender: Sender, sandbox: Sandbox
) -> None:
    await sandbox.fault("events", status=401, body=EXPIRED, times=2)
    await put(outbox, sender, *make_leads(50))
    await settled(outbox, delivered=50)
    assert sender.metrics.totals["paused"] == 50 + 1
    assert [request["events"] for request in await sandbox.requests()] == [1, 49]


async def test_restart_asks_a_destination_that_had_refused_at_once(
    outbox: SQLiteOutbox, sandbox: Sandbox
) -> None:
    now = time.time()
    saved = Circuit(destination=META, state="open", reason="token: x", since=now, until=now + 900)
    await outbox.save_circuit(saved)
    sender = Sender(outbox, [make_meta(graph_url=sandbox.url)])
    sender.start()
    await put(outbox, sender, *make_leads(5))
    await settled(outbox, delivered=5)
    await sender.stop(deadline=1)
    assert (await outbox.circuits())[META].state == "closed"


async def test_sender_started_with_a_better_token_need_not_wait(
    outbox: SQLiteOutbox, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.delivery.breaker, "PAUSE", 600.0)
    monkeypatch.setattr(bridge.delivery.breaker, "PAUSE_CAP", 600.0)
    refused = Sender(outbox, [make_meta(graph_url=sandbox.url, access_token="wrong-token-1234")])
    refused.start()
    await put(outbox, refused, *make_leads(50))

    async def is_open() -> bool:
        return META in await outbox.circuits()

    await poll(is_open, "the open circuit")
    await refused.stop(deadline=1)
    mended = Sender(outbox, [make_meta(graph_url=sandbox.url)])
    mended.start()
    await settled(outbox, delivered=50)
    await mended.stop(deadline=1)


async def test_token_that_is_replaced_is_taken_up_at_once(
    outbox: SQLiteOutbox,
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(bridge.delivery.breaker, "PAUSE", 600.0)
    monkeypatch.setattr(bridge.delivery.breaker, "PAUSE_CAP", 600.0)
    file = tmp_path / "token"
    await asyncio.to_thread(file.write_text, "wrong-token-1234\n")
    meta = await asyncio.to_thread(
        lambda: make_meta(graph_url=sandbox.url, access_token=file.read_text)
    )
    sender = Sender(outbox, [meta])
    sender.start()
    await put(outbox, sender, *make_leads(50))

    async def is_open() -> bool:
        return META in await outbox.circuits()

    await poll(is_open, "the open circuit")
    await asyncio.to_thread(file.unlink)  # as it is for a moment while it is replaced
    await asyncio.to_thread(file.write_text, "sandbox-token\n")
    await settled(outbox, delivered=50)
    await sender.stop(deadline=1)
    assert "its access token was replaced" in caplog.text
    assert "wrong-token" not in caplog.text


async def test_wrong_token_is_never_shown(
    outbox: SQLiteOutbox, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    token = "wrong-token-1234"
    sender = Sender(outbox, [make_meta(graph_url=sandbox.url, access_token=token)])
    sender.start()
    await put(outbox, sender, make_lead("1"))
    await counted(sender, "paused", 2)
    await sender.stop(deadline=1)
    assert token not in caplog.text
    assert token not in str(await outbox.circuits())


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 401, "body": EXPIRED}], ids=str)
async def test_clock_set_back_after_trouble_holds_nothing_up(
    outbox: SQLiteOutbox,
    sender: Sender,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    fault: dict[str, Any],
) -> None:
    monkeypatch.setattr(bridge.delivery.breaker, "compute_backoff", lambda failures, after: 0.5)
    monkeypatch.setattr(bridge.delivery.breaker, "PAUSE", 0.5)
    monkeypatch.setattr(bridge.delivery.breaker, "PAUSE_CAP", 0.5)
    await sandbox.fault("events", **fault)
    await put(outbox, sender, make_lead("0"))
    await counted(sender, "retried" if fault["status"] == 500 else "paused", 1)
    wall = time.time
    monkeypatch.setattr(time, "time", lambda: wall() - 3600)
    await put(outbox, sender, *make_leads(300)[1:])

    async def delivered() -> bool:
        return (await count(outbox)).delivered >= 299

    await poll(delivered, "what was stored after the clock was set back")
    assert len(await sandbox.requests()) < 10  # one alone, and then the rest together


async def test_events_that_a_destination_does_not_report_are_counted_and_told(
    outbox: SQLiteOutbox, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    await sandbox.fault("events", status=200, body='{"events_received":1}', times=3)
    sender = Sender(outbox, [make_small_batches(2, sandbox.url)], concurrency=1)
    await outbox.put(make_leads(6), unix_now())
    sender.start()
    await settled(outbox, delivered=6)
    await sender.stop(deadline=1)
    [line] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "sent 2 events, the answer reports 1 received; 1 are unconfirmed" in line.message
    assert sender.metrics.totals["unconfirmed"] == 3


async def test_event_id_cannot_rearrange_the_log(
    outbox: SQLiteOutbox, sender: Sender, caplog: pytest.LogCaptureFixture
) -> None:
    await put(outbox, sender, make_lead("a\u202eb\u2028c\x85", body=b"{}", expires=unix_now() - 1))
    await settled(outbox, dead=1)
    assert "Lead a\\u202eb\\u2028c\\x85 is a dead letter" in caplog.text


async def test_deliveries_for_no_destination_are_logged_once_and_left(
    outbox: SQLiteOutbox, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    await outbox.put([make_lead("1", destination="meta:old")], unix_now())
    sender = Sender(outbox, [make_meta(graph_url=sandbox.url)])
    for _ in range(2):
        sender.start()

        async def told() -> bool:
            return "meta:old" in caplog.text

        await poll(told, "the log line")
        await put(outbox, sender, make_lead("2"))
        await settled(outbox, delivered=1)
        await sender.stop(deadline=1)
    [line] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "1 for meta:old, and no destination of this name is configured" in line.message
    [left] = await outbox.claim("meta:old", 9, now=unix_now(), lease=30)
    assert left.attempts == 1


async def test_deliveries_for_no_destination_are_buried_when_too_old(
    outbox: SQLiteOutbox, sender: Sender
) -> None:
    await sender.stop(deadline=1)
    old = make_lead("1", destination="meta:old", due=unix_now() - 8 * DAY, expires=unix_now() - 1)
    await outbox.put([old], unix_now() - 8 * DAY)
    sender.start()

    async def buried() -> bool:
        return (await count(outbox, "meta:old")).dead == 1

    await poll(buried, "the dead letter")


async def test_stale_delivery_is_buried_unsent(
    outbox: SQLiteOutbox, sender: Sender, sandbox: Sandbox
) -> None:
    await put(outbox, sender, make_lead("old", expires=unix_now() - 1))
    await settled(outbox, dead=1)
    assert await sandbox.requests() == []


async def test_requests_are_limited_in_bytes_where_the_destination_says_so(
    outbox: SQLiteOutbox, sandbox: Sandbox
) -> None:
    meta = make_meta(graph_url=sandbox.url)
    bodies = [delivery.body for delivery in make_leads(10)]
    most = len(meta.build_request(bodies[:4]).content)
    meta.limits = Limits(max_content=most)
    sender = Sender(outbox, [meta], concurrency=1)
    large = make_lead("large", body=b" " * most)
    await outbox.put([*make_leads(10), large], unix_now())
    sender.start()
    await settled(outbox, delivered=10, dead=1)
    await sender.stop(deadline=1)
    assert [request["events"] for request in await sandbox.requests()] == [4, 4, 2]
    assert "too large" in (await outbox.list_dead())[0].reason


class _LimitedOutbox(SQLiteOutbox):
    """An outbox that remembers how much was claimed at once."""

    limits: list[int]

    async def claim(self, destination: str, limit: int, **options: Any) -> list[Delivery]:
        self.limits.append(limit)
        return await super().claim(destination, limit, **options)


async def test_large_events_travel_in_small_requests_and_claims(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.delivery.lane, "MAX_REQUEST", 10_000)
    outbox = _LimitedOutbox(tmp_path / "bridge.db")
    outbox.limits = []
    padded = [make_lead(each.event_id, body=each.body + b" " * 2000) for each in make_leads(50)]
    huge = make_lead("50", body=make_lead("50").body + b" " * 20_000)
    sender = Sender(outbox, [make_small_batches(40, sandbox.url)], concurrency=1)
    await outbox.put([*padded, huge, *make_leads(150)[51:]], unix_now())
    sender.start()
    await settled(outbox, delivered=150)
    await sender.stop(deadline=1)
    await outbox.close()
    await assert_each_arrived_once(sandbox, range(150))
    events = [request["events"] for request in await sandbox.requests()]
    assert events[:10] == [4] * 10  # of the first claim, made before the sizes were known
    assert max(events[:12]) == 4
    assert max(events) > 8  # the others are small
    assert outbox.limits[:2] == [40, 4]
    assert 8 in outbox.limits


async def test_requests_are_in_flight_side_by_side(outbox: SQLiteOutbox, sandbox: Sandbox) -> None:
    sender = Sender(outbox, [make_small_batches(1, sandbox.url)], concurrency=4)
    await sandbox.fault("events", hang=True, times=3)
    await outbox.put(make_leads(8), unix_now())
    sender.start()
    await delivered(outbox, 5)  # through the one place that is left
    await sender.stop(deadline=0)
    assert (await count(outbox)).waiting == 3


async def test_outage_of_one_destination_holds_up_no_other(
    outbox: SQLiteOutbox, sandbox: Sandbox
) -> None:
    down = make_meta(pixel_id="1", graph_url=sandbox.url)  # a pixel that the sandbox does not know
    gone = make_meta(pixel_id="2")  # nothing listens
    sender = Sender(outbox, [gone, down, make_small_batches(50, sandbox.url)])
    others = [make_lead(str(i), destination=f"meta:{i % 2 + 1}") for i in range(500)]
    await outbox.put([*others, *make_leads(500)], unix_now())
    sender.start()
    await delivered(outbox, 500)  # of the destination that works

    async def refused() -> bool:
        return "meta:1" in await outbox.circuits()

    await poll(refused, "the circuit")
    await sender.stop(deadline=0)
    await assert_each_arrived_once(sandbox, range(500))
    for name in ("meta:1", "meta:2"):
        assert (await count(outbox, name)).waiting == 250
    circuits = await outbox.circuits()
    assert circuits["meta:1"].reason.startswith("account: 100/33")
    assert "meta:2" not in circuits


async def test_two_senders_on_one_outbox_send_nothing_twice(
    outbox: SQLiteOutbox, sandbox: Sandbox, tmp_path: Path
) -> None:
    other = SQLiteOutbox(tmp_path / "bridge.db")
    meta = make_small_batches(10, sandbox.url)
    # With other destinations beside it, both processes deliver.
    senders = [Sender(outbox, [meta]), Sender(other, [meta, make_meta(pixel_id="2")])]
    for sender in senders:
        sender.start()
    await other.probe()  # it has opened the file
    await outbox.put(make_leads(1500, poison=[7, 800]), unix_now())
    await settled(outbox, delivered=1498, dead=2)
    await assert_each_arrived_once(sandbox, [i for i in range(1500) if i not in (7, 800)])
    for sender in senders:
        assert sender.metrics.totals["delivered"] > 0
        await sender.stop(deadline=1)
    await other.close()


async def test_splitting_longer_than_a_lease_keeps_it(
    outbox: SQLiteOutbox, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.delivery.lane, "LEASE", 0.8)
    await sandbox.fault("events", delay=0.3, times=None)
    other = SQLiteOutbox(tmp_path / "bridge.db")
    meta = make_meta(graph_url=sandbox.url)
    both = [meta, make_meta(pixel_id="2")]  # other destinations: both processes deliver
    senders = [Sender(outbox, [meta], concurrency=1), Sender(other, both, concurrency=1)]
    await outbox.put(make_leads(4, poison=[0, 1, 2, 3]), unix_now())
    for sender in senders:
        sender.start()
    await settled(outbox, dead=4)
    for sender in senders:
        await sender.stop(deadline=2)
    await other.close()
    alone = [request for request in await sandbox.requests() if request["events"] == 1]
    assert len(alone) == 4


async def test_stop_delivers_what_is_due_and_leaves_the_rest(
    outbox: SQLiteOutbox, sandbox: Sandbox
) -> None:
    sender = Sender(outbox, [make_meta(graph_url=sandbox.url)])
    await outbox.put([*make_leads(1500), make_lead("held", due=unix_now() + 500)], unix_now())
    sender.start()
    await sender.stop(deadline=10)
    counts = await count(outbox)
    assert (counts.waiting, counts.delivered) == (1, 1500)


async def test_stop_waits_for_what_is_under_way(outbox: SQLiteOutbox, sandbox: Sandbox) -> None:
    sender = Sender(outbox, [make_small_batches(1, sandbox.url)])
    await sandbox.fault("events", delay=0.3, times=6)
    await outbox.put(make_leads(6), unix_now())
    sender.start()
    await sender.stop(deadline=10)
    assert (await count(outbox)).delivered == 6


async def test_stop_ends_at_its_deadline_and_gives_back_what_it_had(
    outbox: SQLiteOutbox, sandbox: Sandbox
) -> None:
    sender = Sender(outbox, [make_small_batches(2, sandbox.url)], concurrency=2)
    await sandbox.fault("events", hang=True, times=None)
    await outbox.put(make_leads(10), unix_now())
    sender.start()

    async def in_flight() -> bool:
        return len(sender._lanes.list_living()[META]._claims) == 2

    await poll(in_flight, "two requests")
    await sender.stop(deadline=0.1)
    claimed = await outbox.claim(META, 100, now=time.time(), lease=30)
    assert len(claimed) == 10


async def test_stopped_sender_starts_again(
    outbox: SQLiteOutbox, sender: Sender, sandbox: Sandbox
) -> None:
    await sender.stop(deadline=1)
    await put(outbox, sender, make_lead("1"))
    sender.start()
    await settled(outbox, delivered=1)


class _FlakyOutbox(SQLiteOutbox):
    """An outbox whose methods fail as often as the test says."""

    def __init__(self, path: Path, **failures: list[Exception]) -> None:
        super().__init__(path)
        self.failures = failures

    def _fail(self, method: str) -> None:
        if self.failures.get(method):
            raise self.failures[method].pop()

    async def claim(self, *args: Any, **options: Any) -> list[Delivery]:
        self._fail("claim")
        return await super().claim(*args, **options)

    async def ack(self, *args: Any) -> None:
        self._fail("ack")
        await super().ack(*args)

    async def circuits(self) -> Any:
        self._fail("circuits")
        return await super().circuits()


@pytest.mark.parametrize("method", ["claim", "ack", "circuits"])
@pytest.mark.parametrize("error", [OutboxError("the disk is gone"), RuntimeError("what is this")])
async def test_broken_outbox_is_logged_and_tried_again(
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    method: str,
    error: Exception,
) -> None:
    monkeypatch.setattr(bridge.delivery.lane, "POLL", 0.01)
    monkeypatch.setattr(bridge.delivery.lane, "LEASE", 0.5)  # an ack that is lost shows by then
    outbox = _FlakyOutbox(tmp_path / "flaky.db", **{method: [error, error]})
    sender = Sender(outbox, [make_meta(graph_url=sandbox.url)])
    sender.start()
    await put(outbox, sender, make_lead("1"))
    await settled(outbox, delivered=1)
    await sender.stop(deadline=1)
    await outbox.close()
    if method == "ack" and isinstance(error, OutboxError):
        assert sender.metrics.totals["requests"] == 1  # acknowledged again, not sent again
    else:
        assert str(error) in caplog.text


async def test_lease_that_ran_out_is_left_to_others(
    outbox: SQLiteOutbox,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A process that slept, stopped or swapped out, must not send what another has by now."""
    monkeypatch.setattr(bridge.delivery.lane, "LEASE", -1.0)
    sender = Sender(outbox, [make_meta(graph_url=sandbox.url)])
    await outbox.put([make_lead("1")], unix_now())
    sender.start()

    async def told() -> bool:
        return "a lease ran out" in caplog.text or sender.metrics.totals["requests"] > 0

    await poll(told, "the log line")
    await sender.stop(deadline=0)
    assert sender.metrics.totals["requests"] == 0


@pytest.mark.parametrize("concurrency", [0, 65])
async def test_concurrency_that_cannot_be_right_is_refused(
    outbox: SQLiteOutbox, concurrency: int
) -> None:
    with pytest.raises(ConfigError, match="concurrency must be 1 to 64"):
        Sender(outbox, [make_meta()], concurrency=concurrency)


async def test_cookies_of_an_answer_do_not_go_out_with_the_next_request(
    outbox: SQLiteOutbox,
) -> None:
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                asked.append(head)
                await reader.readexactly(int(head.partition(b"content-length: ")[2].split()[0]))
                writer.write(
                    b"HTTP/1.1 200 OK\r\nset-cookie: fr=tracked; Max-Age=9999; Path=/\r\n"
                    b"content-length: 21\r\n\r\n"
                    b'{"events_received":1}'
                )
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    sender = Sender(outbox, [make_meta(graph_url=f"http://127.0.0.1:{port}")])
    sender.start()
    for i in range(3):
        await outbox.put([make_lead(str(i))], unix_now())
        sender.wake([META])

        async def is_delivered(wanted: int = i + 1) -> bool:
            return (await outbox.count(unix_now(), with_delivered=True))[META].delivered == wanted

        await poll(is_delivered, "a delivery")
    await sender.stop(deadline=1)
    server.close()
    assert len(asked) == 3
    assert not any(b"cookie" in head for head in asked)


async def test_dead_letters_go_after_a_time(
    outbox: SQLiteOutbox, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    for event_id, days in (("old", 8), ("older", 40), ("young", 6)):
        await outbox.put([make_lead(event_id)], unix_now())
        await outbox.bury([make_lead(event_id)], "refused", time.time() - days * DAY)
    sender = Sender(outbox, [make_meta(graph_url=sandbox.url)], dead_letter_days=7)
    sender.start()

    async def is_tidy() -> bool:
        return "deleted 2 dead letters after 7 days" in caplog.text

    await poll(is_tidy, "old dead letters to go")
    await sender.stop(deadline=1)
    assert [each.delivery.event_id for each in await outbox.list_dead()] == ["young"]


@pytest.mark.parametrize("days", [0, -1, float("nan")])
def test_dead_letters_are_kept_for_some_time(days: float) -> None:
    with pytest.raises(ConfigError, match="dead_letter_days must be above 0"):
        Sender(SQLiteOutbox(":memory:"), [make_meta()], dead_letter_days=days)


async def test_dead_letters_may_be_kept_for_ever(outbox: SQLiteOutbox) -> None:
    await outbox.put([make_lead("old")], unix_now())
    await outbox.bury([make_lead("old")], "refused", 1.0)
    assert await outbox.drop_old(time.time() - float("inf"), 10) == 0


async def test_events_with_a_test_event_code_of_their_own_travel_apart(
    outbox: SQLiteOutbox, sandbox: Sandbox
) -> None:
    bridge = make_bridge(outbox, destinations=[make_meta(graph_url=sandbox.url)], run_sender=False)
    # Without a response nothing is held for a browser: all five are due at once.
    visitor = bridge.unseal(make_visitor(bridge, make_scope(headers=NAVIGATION)).seal())
    for code in (None, "TEST1", None, "TEST2", "TEST1"):
        await track("Lead", visitor=visitor, test_event_code=code)
    with pytest.raises(UsageError, match="test_event_code must be like TEST12345"):
        await track("Lead", visitor=visitor, test_event_code='{"')
    sender = Sender(outbox, [make_meta(graph_url=sandbox.url)])
    sender.start()
    await sandbox.wait_for_server_copies(5)
    sent = [each["events"] for each in await sandbox.requests()]
    assert sorted(sent) == [1, 2, 2]
    await sender.stop(deadline=1)
