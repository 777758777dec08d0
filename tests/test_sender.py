"""Outbox → sender → a real sandbox process, with its faults."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

import bridge.sender
from bridge.outbox import Counts, Delivery, SQLiteOutbox
from bridge.sender import Sender, compute_backoff
from tests.factories import make_delivery, make_meta, unix_now
from tests.servers import Sandbox, poll


@pytest.fixture
async def sender(
    outbox: SQLiteOutbox, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Sender]:
    """A running sender in front of the sandbox, with back-offs too short to wait for."""
    monkeypatch.setattr(bridge.sender, "BACKOFF_CAP", 0.02)
    monkeypatch.setattr(bridge.sender, "PAUSE", 0.05)
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
            "destination": "meta:1234567890123456",
            "event_name": "Lead",
            "body": body,
            "due": unix_now(),
            "expires": unix_now() + 1000,
            **changes,
        },
    )


async def put(outbox: SQLiteOutbox, sender: Sender, *deliveries: Delivery) -> None:
    await outbox.put(deliveries, unix_now())
    sender.wake()


async def settled(outbox: SQLiteOutbox, *, delivered: int = 0, dead: int = 0) -> None:
    expected = Counts(waiting=0, delivered=delivered, dead=dead)

    async def check() -> bool:
        return await outbox.count() == expected

    await poll(check, str(expected))


async def test_deliveries_go_in_one_request(
    outbox: SQLiteOutbox, sender: Sender, sandbox: Sandbox
) -> None:
    await put(outbox, sender, *(make_lead(str(i)) for i in range(1000)))
    await settled(outbox, delivered=1000)
    [request] = await sandbox.requests()
    assert (request["status"], request["events"]) == (200, 1000)
    assert sender.counters["delivered"] == 1000


async def test_delivery_waits_until_it_is_due(
    outbox: SQLiteOutbox, sender: Sender, sandbox: Sandbox
) -> None:
    await put(outbox, sender, make_lead("held", due=unix_now() + 500), make_lead("now"))
    [event] = await sandbox.wait_for_server_copies(1)
    assert event["event_id"] == "now"
    await outbox.release("Lead", "held", unix_now())
    sender.wake()
    await settled(outbox, delivered=2)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"status": 500, "body": "oops"}, id="500"),
        pytest.param({"status": 429, "headers": {"Retry-After": "0"}}, id="429"),
        pytest.param({"status": 200, "body": "<html>"}, id="HTML instead of JSON"),
        pytest.param({"status": 200, "body": '{"events_rec'}, id="half an answer"),
        pytest.param({"drop": True}, id="connection dropped"),
    ],
)
async def test_transient_answer_is_tried_again(
    outbox: SQLiteOutbox, sender: Sender, sandbox: Sandbox, fault: dict[str, Any]
) -> None:
    await sandbox.fault("events", **{**fault, "times": 2})
    await put(outbox, sender, make_lead("1"))
    await settled(outbox, delivered=1)
    assert sender.counters["retried"] == 2
    [action] = await sandbox.actions()
    assert len(action["server"]) == 1


async def test_hanging_answer_is_given_up(
    outbox: SQLiteOutbox, sender: Sender, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.sender, "TOTAL_TIMEOUT", 0.2)
    await sandbox.fault("events", hang=True)
    await put(outbox, sender, make_lead("1"))
    await settled(outbox, delivered=1)
    assert sender.counters["retried"] == 1


async def test_bad_event_is_buried_and_no_other_with_it(
    outbox: SQLiteOutbox,
    sender: Sender,
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
) -> None:
    leads = [make_lead(str(i)) for i in range(20)]
    raw = b'"em":["john@example.com"]'
    leads[7] = make_lead(
        "7", body=leads[7].body.replace(b'"external_id":["%s"]' % (b"a" * 64), raw)
    )
    await put(outbox, sender, *leads)
    await settled(outbox, delivered=19, dead=1)
    events = await sandbox.wait_for_server_copies(19)
    assert sorted(int(event["event_id"]) for event in events) == [i for i in range(20) if i != 7]
    [line] = [record for record in caplog.records if "dead letter" in record.message]
    assert "Lead 7" in line.message
    assert "john" not in caplog.text


async def test_refused_token_burns_nothing(
    outbox: SQLiteOutbox, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(bridge.sender, "PAUSE", 0.05)
    token = "wrong-token-1234"
    sender = Sender(outbox, [make_meta(graph_url=sandbox.url, access_token=token)])
    sender.start()
    await put(outbox, sender, make_lead("1"))

    async def paused() -> bool:
        return sender.counters["paused"] >= 2

    await poll(paused, "the second refusal")
    assert (await outbox.count()).waiting == 1
    assert token not in caplog.text
    await sender.stop(deadline=1)


async def test_stale_delivery_is_buried_unsent(
    outbox: SQLiteOutbox, sender: Sender, sandbox: Sandbox
) -> None:
    await put(outbox, sender, make_lead("old", expires=unix_now() - 1))
    await settled(outbox, dead=1)
    assert await sandbox.requests() == []


async def test_stop_delivers_what_is_due_and_leaves_the_rest(
    outbox: SQLiteOutbox, sandbox: Sandbox
) -> None:
    sender = Sender(outbox, [make_meta(graph_url=sandbox.url)])
    await outbox.put(
        [make_lead(str(i)) for i in range(1500)] + [make_lead("held", due=unix_now() + 500)],
        unix_now(),
    )
    sender.start()
    await sender.stop(deadline=10)
    assert await outbox.count() == Counts(waiting=1, delivered=1500, dead=0)


async def test_stop_ends_at_its_deadline(outbox: SQLiteOutbox, sandbox: Sandbox) -> None:
    sender = Sender(outbox, [make_meta(graph_url=sandbox.url)])
    await sandbox.fault("events", hang=True)
    await outbox.put([make_lead("1")], unix_now())
    sender.start()
    await sender.stop(deadline=0.1)
    assert (await outbox.count()).waiting == 1


async def test_broken_outbox_is_logged_and_tried_again(
    outbox: SQLiteOutbox,
    sender: Sender,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.ERROR)
    monkeypatch.setattr(bridge.sender, "POLL", 0.01)
    await outbox._run(lambda connection: connection.execute("ALTER TABLE deliveries RENAME TO d"))
    sender.wake()

    async def logged() -> bool:
        return "no such table" in caplog.text

    await poll(logged, "the log line")
    await outbox._run(lambda connection: connection.execute("ALTER TABLE d RENAME TO deliveries"))
    await put(outbox, sender, make_lead("1"))
    await settled(outbox, delivered=1)


def test_backoff_grows_to_a_cap_and_adds_what_was_asked_for() -> None:
    assert all(compute_backoff(1, None) <= 2 for _ in range(100))
    assert all(compute_backoff(60, None) <= 300 for _ in range(100))
    assert max(compute_backoff(60, None) for _ in range(100)) > 150
    assert all(30 <= compute_backoff(0, 30.0) <= 31 for _ in range(100))
