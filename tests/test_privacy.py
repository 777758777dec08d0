"""What a browser cannot do to the shop, and what a person may demand of it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bridge import (
    Bridge,
    BridgeMiddleware,
    Consent,
    InvalidEventError,
    OutboxError,
    current_visitor,
    identify,
    track,
)
from bridge.destinations import Segment
from bridge.outbox import Erased, SQLiteOutbox
from bridge.outbox.base import LASTING_SECONDS, REMEMBERED_SECONDS
from tests.factories import make_bridge, make_client, make_meta, unix_now

COLLECT, CONSENT = "/_bridge/collect", "/_bridge/consent"
SCRIPT = {"sec-fetch-mode": "cors", "sec-fetch-dest": "empty", "sec-fetch-site": "same-origin"}
WORTH = {"value": 5, "currency": "EUR"}
DAY = 86_400


async def buy(request: Request) -> Response:
    event = await track("Purchase", WORTH, event_id=request.query_params.get("order"))
    return Response(event.outcome)


async def log_in(request: Request) -> Response:
    identify(request.query_params["user"], email=request.query_params.get("email"))
    return await buy(request)


async def deny(request: Request) -> Response:
    current_visitor().set_consent("denied")
    return Response()


async def buy_and_deny(request: Request) -> Response:
    await buy(request)
    return await deny(request)


async def seal(request: Request) -> Response:
    return Response(current_visitor().seal())


ROUTES = [
    Route("/buy", buy),
    Route("/seal", seal),
    Route("/log-in", log_in),
    Route("/deny", deny),
    Route("/buy-and-deny", buy_and_deny),
]


@pytest.fixture
async def bridge(outbox: SQLiteOutbox) -> AsyncIterator[Bridge]:
    bridge = make_bridge(outbox, consent=Consent(cookie="banner"))
    yield bridge
    await bridge.stop(deadline=0)


def browse(bridge: Bridge) -> httpx.AsyncClient:
    """Return a new browser."""
    return make_client(BridgeMiddleware(Starlette(routes=ROUTES), bridge=bridge))


async def waiting(outbox: SQLiteOutbox) -> int:
    return sum(
        each.waiting for each in (await outbox.count(unix_now(), with_delivered=True)).values()
    )


async def acknowledge(client: httpx.AsyncClient, *orders: str) -> None:
    acks = [{"event_name": "Purchase", "event_id": each, "state": "sent"} for each in orders]
    answer = await client.post(COLLECT, json={"acks": acks}, headers=SCRIPT)
    assert answer.is_success


async def bodies(outbox: SQLiteOutbox, destination: str) -> list[dict[str, str]]:
    claimed = await outbox.claim(destination, 1000, now=time.time() + 60, lease=1)
    return [msgspec.json.decode(each.body) for each in claimed]


# Suppression


async def report(client: httpx.AsyncClient, *event_ids: str) -> None:
    events = [
        {"event_name": "Purchase", "event_id": event_id, "custom_data": WORTH}
        for event_id in event_ids
    ]
    answer = await client.post(COLLECT, json={"events": events}, headers=SCRIPT)
    assert answer.json()["stored"] == list(event_ids)


async def test_claimed_order_ids_keep_no_purchase_of_the_shop_out(
    bridge: Bridge, outbox: SQLiteOutbox
) -> None:
    stranger, customer = browse(bridge), browse(bridge)
    await report(stranger, *(f"order-{number}" for number in range(1000, 1020)))
    for number in range(1000, 1020):
        assert (await customer.get(f"/buy?order=order-{number}")).text == "stored"
    assert (await customer.get("/buy?order=order-1001")).text == "duplicate"
    assert await waiting(outbox) == 40


async def test_browser_repeats_nothing(bridge: Bridge, outbox: SQLiteOutbox) -> None:
    client = browse(bridge)
    await client.get("/buy?order=1")
    for _ in range(2):
        await report(client, "1", "2")
    assert await waiting(outbox) == 2


async def test_segment_takes_the_servers_message_too(outbox: SQLiteOutbox) -> None:
    segment = Segment("key", url="http://127.0.0.1:9", pixel_id="1")
    bridge = make_bridge(outbox, destinations=[segment], run_sender=False)
    client = browse(bridge)
    await report(client, "1")
    await client.get("/buy?order=1")
    reported, own = await bodies(outbox, segment.name)
    assert reported["messageId"] != own["messageId"]
    assert own["messageId"] == segment.derive_message_id("Purchase", "1")
    await bridge.stop(deadline=0)


async def test_event_that_only_a_browser_reported_confirms_no_twin(
    bridge: Bridge, outbox: SQLiteOutbox
) -> None:
    await report(browse(bridge), "1")
    assert not await outbox.has("Purchase", "1", time.time())


# How long an id is remembered


async def deliver(outbox: SQLiteOutbox, bridge: Bridge, at: float) -> None:
    claimed = await outbox.claim(bridge.destinations.names[0], 100, now=time.time() + 60, lease=60)
    await outbox.ack(claimed, at)


@pytest.mark.parametrize(
    ("age", "outcome"),
    [(7 * DAY, "duplicate"), (LASTING_SECONDS - 60, "duplicate"), (LASTING_SECONDS + 60, "stored")],
    ids=["a week", "90 days", "later"],
)
async def test_thank_you_page_that_is_opened_again_sends_nothing(
    bridge: Bridge, outbox: SQLiteOutbox, age: float, outcome: str
) -> None:
    client = browse(bridge)
    first = await client.get("/buy?order=order-1")
    assert any(name.startswith("_bridge_t") for name in first.cookies)
    client.cookies.clear()
    await deliver(outbox, bridge, time.time() - age)
    again = await client.get("/buy?order=order-1")
    assert again.text == outcome
    assert any(name.startswith("_bridge_t") for name in again.cookies) == (outcome == "stored")


@pytest.mark.parametrize(
    ("age", "is_copied"), [(None, True), (DAY - 60, True), (DAY + 60, False)], ids=str
)
async def test_page_after_a_webhook_sends_the_browsers_copy_while_meta_would_merge_it(
    bridge: Bridge, outbox: SQLiteOutbox, age: float | None, is_copied: bool
) -> None:
    client = browse(bridge)
    buyer = bridge.unseal((await client.get("/seal")).text)
    await bridge.track("Purchase", WORTH, event_id="order-1", visitor=buyer)
    if age is not None:
        await deliver(outbox, bridge, time.time() - age)
    for is_first in (True, False):
        answer = await client.get("/buy?order=order-1")
        assert answer.text == "duplicate"
        has_twin = any(name.startswith("_bridge_t") for name in answer.cookies)
        assert has_twin is (is_copied and is_first)
    await bridge._pipeline.figures.flush()
    today = int(time.time() // DAY)
    figures = {each.kind: each.number for each in await outbox.figures(today, today)}
    assert figures["stored"] == 1
    assert figures.get("copy.expected", 0) == is_copied


async def test_a_pixel_that_accepted_long_ago_gets_no_copy_since_another_destination_waits(
    outbox: SQLiteOutbox,
) -> None:
    segment = Segment("key", url="http://127.0.0.1:9", pixel_id="1")
    other = make_meta(pixel_id="9876543210987654", graph_url="http://127.0.0.1:9")
    meta = make_meta(graph_url="http://127.0.0.1:9")
    for destinations in ([meta, segment], [meta, other]):
        bridge = make_bridge(outbox, destinations=destinations, run_sender=False)
        client = browse(bridge)
        buyer = bridge.unseal((await client.get("/seal")).text)
        order = f"order-{destinations[1].name}"
        await bridge.track("Purchase", WORTH, event_id=order, visitor=buyer)
        await deliver(outbox, bridge, time.time() - 6 * DAY)
        answer = await client.get(f"/buy?order={order}")
        assert answer.text == "duplicate"
        assert not any(name.startswith("_bridge_t") for name in answer.cookies)


async def test_copy_that_could_not_be_decided_is_sent_by_the_next_page(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*args: Any, **options: Any) -> bool:
        raise OutboxError("gone")

    client = browse(bridge)
    buyer = bridge.unseal((await client.get("/seal")).text)
    await bridge.track("Purchase", WORTH, event_id="order-1", visitor=buyer)
    with monkeypatch.context() as broken:
        broken.setattr(bridge.outbox, "has", fail)
        answer = await client.get("/buy?order=order-1")
    assert not any(name.startswith("_bridge_t") for name in answer.cookies)
    answer = await client.get("/buy?order=order-1")
    assert any(name.startswith("_bridge_t") for name in answer.cookies)


async def test_random_ids_are_forgotten_after_48_hours(
    bridge: Bridge, outbox: SQLiteOutbox
) -> None:
    client = browse(bridge)
    await client.get("/buy")
    await client.get("/buy?order=1")
    await deliver(outbox, bridge, time.time() - REMEMBERED_SECONDS - 60)
    await client.get("/buy?order=2")
    await deliver(outbox, bridge, time.time())
    kept = await outbox._run(
        lambda file: file.execute("SELECT event_id FROM deliveries ORDER BY event_id").fetchall()
    )
    assert kept == [("1",), ("2",)]


# Denial


async def test_denial_takes_back_what_waits_and_its_report_releases_nothing(
    bridge: Bridge, outbox: SQLiteOutbox
) -> None:
    client, other = browse(bridge), browse(bridge)
    for each, order in ((client, "1"), (client, "2"), (other, "3")):
        await each.get(f"/buy?order={order}")
    session = client.cookies["_bridge"]
    answer = await client.post(CONSENT, json={"state": "denied"}, headers=SCRIPT)
    assert answer.json()["c"] == "denied"
    client.cookies.set("_bridge", session, domain="shop.example.com")
    await acknowledge(client, "1", "2", "3")
    [left] = await outbox.claim(bridge.destinations.names[0], 9, now=time.time() + 60, lease=1)
    assert (left.event_id, left.due > time.time()) == ("3", True)
    assert bridge.counters["withdrawn"] == 2


async def test_only_the_browser_of_an_event_ends_its_hold(
    bridge: Bridge, outbox: SQLiteOutbox
) -> None:
    meta = bridge.destinations.names[0]
    customer, denied, known, unknown = [browse(bridge) for _ in range(4)]
    await customer.get("/buy?order=1")
    due = await outbox.next_due(meta)
    await denied.post(CONSENT, json={"state": "denied"}, headers=SCRIPT)
    await known.get("/log-in?user=7&order=1")
    for stranger in (denied, known, unknown):
        await acknowledge(stranger, "1")
    assert await outbox.next_due(meta) == due
    await customer.get("/log-in?user=7&order=1")
    await acknowledge(customer, "1")
    assert await outbox.next_due(meta) != due


@pytest.mark.parametrize("path", ["/deny", "/buy-and-deny?order=9"])
async def test_denial_on_the_server_takes_back_what_waits(
    bridge: Bridge, outbox: SQLiteOutbox, path: str
) -> None:
    client = browse(bridge)
    await client.get("/buy?order=1")
    await client.get(path)
    assert await waiting(outbox) == 0


async def test_denial_at_the_first_request_takes_back_what_it_tracked(
    bridge: Bridge, outbox: SQLiteOutbox
) -> None:
    await browse(bridge).get("/buy-and-deny")
    assert await waiting(outbox) == 0


async def test_denial_in_the_apps_own_banner_takes_back_what_waits(
    bridge: Bridge, outbox: SQLiteOutbox
) -> None:
    client = browse(bridge)
    await client.get("/buy?order=1")
    client.cookies.set("banner", "denied", domain="shop.example.com")
    assert (await client.get("/buy?order=2")).text == "skipped"
    assert await waiting(outbox) == 0


async def test_denial_reaches_what_was_done_before_the_login_and_no_other_browser(
    bridge: Bridge, outbox: SQLiteOutbox
) -> None:
    here, elsewhere = browse(bridge), browse(bridge)
    await here.get("/buy?order=1")
    await here.get("/log-in?user=42&order=2")
    await elsewhere.get("/log-in?user=42&order=3")
    await here.post(CONSENT, json={"state": "denied"}, headers=SCRIPT)
    [left] = await outbox.claim(bridge.destinations.names[0], 9, now=time.time() + 60, lease=1)
    assert left.event_id == "3"


async def test_limited_consent_takes_nothing_back(bridge: Bridge, outbox: SQLiteOutbox) -> None:
    client = browse(bridge)
    await client.get("/buy?order=1")
    await client.post(CONSENT, json={"state": "limited"}, headers=SCRIPT)
    assert await waiting(outbox) == 1


async def test_denial_holds_although_the_outbox_is_broken(
    bridge: Bridge,
    outbox: SQLiteOutbox,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = browse(bridge)
    await client.get("/buy?order=1")

    async def fail(subjects: bytes) -> int:
        raise OutboxError("no answer within 5 s")

    monkeypatch.setattr(outbox, "withdraw", fail)
    answer = await client.post(CONSENT, json={"state": "denied"}, headers=SCRIPT)
    assert answer.json()["c"] == "denied"
    assert "_bridge" not in client.cookies
    assert "cannot be taken back: no answer within 5 s" in caplog.text


# Erasure


async def test_what_is_stored_of_a_person_is_erased(bridge: Bridge, outbox: SQLiteOutbox) -> None:
    ada, bob = browse(bridge), browse(bridge)
    await ada.get("/buy?order=before")
    browser_id = (await ada.get("/_bridge/identity")).json()["x"]
    await ada.get("/log-in?user=42&email=ada@example.com&order=1")
    await bob.get("/log-in?user=43&email=bob@example.com&order=2")
    assert await bridge.erase(user_id="44") == Erased()
    assert await bridge.erase(user_id=42) == Erased(waiting=1)
    assert await bridge.erase(external_id=browser_id) == Erased(waiting=1)
    [claimed] = await outbox.claim(bridge.destinations.names[0], 9, now=time.time() + 60, lease=60)
    await outbox.bury([claimed], "refused", time.time())
    assert await bridge.erase(email=" Bob@Example.com ") == Erased(dead=1)
    assert await outbox.list_dead() == []


async def test_login_that_waits_for_segment_is_erased(outbox: SQLiteOutbox) -> None:
    segment = Segment("key", url="http://127.0.0.1:9")
    bridge = make_bridge(outbox, destinations=[make_meta(), segment])
    await browse(bridge).get("/log-in?user=42&order=1")
    assert await waiting(outbox) == 4  # two Purchases, identify, alias
    assert await bridge.erase(user_id="42") == Erased(waiting=4)
    await bridge.stop(deadline=0)


async def test_nobody_to_erase_is_an_error(bridge: Bridge) -> None:
    with pytest.raises(InvalidEventError, match="expected user_id, external_id or email"):
        await bridge.erase()
    with pytest.raises(InvalidEventError, match="email: expected an e-mail address") as caught:
        await bridge.erase(email="ada at example")
    assert "ada" not in str(caught.value)
