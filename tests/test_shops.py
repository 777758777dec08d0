"""Many shops in one app: each its own, and none sees another's, whatever a visitor tries."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import math
import re
import threading
import time
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route

import bridge.delivery.demand
import bridge.delivery.lane
import bridge.delivery.sender
import bridge.delivery.shares
import bridge.shops
from bridge import (
    BridgeMiddleware,
    Consent,
    InvalidTokenError,
    Shop,
    Shops,
    UsageError,
    current_visitor,
    identify,
    track,
)
from bridge.delivery.exchange import exchange
from bridge.destinations import Meta
from bridge.destinations.group import read_browser
from bridge.outbox import SQLiteOutbox
from bridge.testing import recorded
from bridge.visitor.cookies import SESSION_COOKIE
from tests.factories import CLIENT, NAVIGATION, SECRET, make_delivery, make_meta, make_scope
from tests.servers import DEADLINE, Sandbox, find_free_port, open_client, poll

A_PIXEL, B_PIXEL = "1234567890123456", "9876543210987654"
A, B = "http://a.example.com", "http://b.example.com"
MONEY = {"value": 5, "currency": "EUR"}
SESSION = SESSION_COOKIE.decode()


def name_shop(connection: HTTPConnection) -> str | None:
    """``a`` for ``a.example.com``, and for ``shops.example.com/a``."""
    host, path = connection.url.hostname or "", connection.url.path
    name = path.split("/")[1] if host.startswith("shops.") else host.partition(".")[0]
    return name if name != "admin" else None


class Book:
    """The shops that there are; counts how often each is asked for."""

    def __init__(self, graph_url: str = "http://127.0.0.1:9") -> None:
        self.graph_url = graph_url
        self.asked: list[str] = []
        self.shops: dict[str, Shop] = {
            "a": self.make(A_PIXEL),
            "b": self.make(B_PIXEL, consent=Consent(default="denied")),
        }

    def make(self, pixel_id: str, token: str = "sandbox-token", **options: Any) -> Shop:
        meta = make_meta(pixel_id=pixel_id, access_token=token, graph_url=self.graph_url)
        return Shop([meta], **options)

    async def load(self, name: str) -> Shop | None:
        self.asked.append(name)
        return self.shops.get(name)


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
async def shops(outbox: SQLiteOutbox, book: Book) -> AsyncIterator[Shops]:
    shops = Shops(
        SECRET,
        book.load,
        find=name_shop,
        outbox=outbox,
        browser_hold=0,
        run_sender=False,
        dashboard=lambda connection: connection.headers.get("x-admin") == "yes",
    )
    yield shops
    await shops.stop(deadline=0)


def make_app(shops: Shops) -> BridgeMiddleware:
    async def buy(request: Request) -> Response:
        if user := request.query_params.get("user"):
            identify(user)
        name = request.query_params.get("name", "Purchase")
        event = await track(name, MONEY, event_id=request.query_params.get("id"))
        return JSONResponse([event.outcome, event.skip_reason])

    async def show(request: Request) -> Response:
        return PlainTextResponse(f"{shops.script_tag()}")

    async def seal(request: Request) -> Response:
        return PlainTextResponse(current_visitor().seal())

    routes = [
        Route(f"{path}/{each.__name__}", each)
        for path in ("", "/a", "/b")
        for each in (buy, show, seal)
    ]
    return BridgeMiddleware(Starlette(routes=routes), shops)


@pytest.fixture
async def client(shops: Shops) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(make_app(shops), client=CLIENT)
    async with httpx.AsyncClient(transport=transport, headers=NAVIGATION) as client:
        yield client


def read_set(response: httpx.Response, name: str) -> str:
    """The value of a cookie that a response sets."""
    return {each.name: each.value or "" for each in response.cookies.jar}[name]


async def list_keys(outbox: SQLiteOutbox) -> list[tuple[str, str]]:
    return [(each.destination, each.event_id) for each in await outbox.list_waiting()]


# Each its own


async def test_the_host_decides_whose_pixel_it_is(
    client: httpx.AsyncClient, outbox: SQLiteOutbox
) -> None:
    assert (await client.get(f"{A}/buy?id=1")).json() == ["stored", None]
    assert (await client.get(f"{B}/buy?id=1")).json() == ["skipped", "consent_denied"]
    assert await list_keys(outbox) == [(f"a/meta:{A_PIXEL}", "1")]


async def test_the_script_names_the_pixel_of_its_page_alone(client: httpx.AsyncClient) -> None:
    for origin, own, other in ((A, A_PIXEL, B_PIXEL), (B, B_PIXEL, A_PIXEL)):
        tag = (await client.get(f"{origin}/show")).text
        script = await client.get(origin + re.findall('src="([^"]+)"', tag)[0])
        assert own in script.text
        assert other not in script.text


async def test_a_request_without_a_shop_is_answered_and_not_tracked(
    client: httpx.AsyncClient, book: Book
) -> None:
    for origin in ("http://unknown.example.com", "http://admin.example.com", "http://-"):
        answer = await client.get(f"{origin}/buy?id=1")
        assert answer.json() == ["skipped", "no_shop"]
        assert "set-cookie" not in answer.headers
        assert (await client.get(f"{origin}/show")).text == ""
    assert "unknown" in book.asked


async def test_one_id_may_be_an_order_of_two_shops(
    client: httpx.AsyncClient, outbox: SQLiteOutbox, book: Book
) -> None:
    book.shops["b"] = book.make(A_PIXEL)  # even with one pixel
    assert (await client.get(f"{A}/buy?id=1")).json() == ["stored", None]
    assert (await client.get(f"{B}/buy?id=1")).json() == ["stored", None]
    assert (await client.get(f"{A}/buy?id=1")).json() == ["duplicate", None]
    assert len(await list_keys(outbox)) == 2


async def test_shops_of_one_host_live_below_paths(
    client: httpx.AsyncClient, outbox: SQLiteOutbox, book: Book
) -> None:
    book.shops = {"a": book.make(A_PIXEL, path="/a"), "b": book.make(B_PIXEL, path="/b")}
    origin = "http://shops.example.com"
    first = await client.get(f"{origin}/a/buy?id=1")
    lines = first.headers.get_list("set-cookie")
    ours = [line for line in lines if line.startswith("_bridge")]
    assert ours
    assert all("; Path=/a;" in line for line in ours)
    assert all("; Path=/;" in line for line in lines if line.startswith("_fb"))
    assert SESSION in (await client.get(f"{origin}/b/buy?id=1")).cookies
    tag = (await client.get(f"{origin}/a/show")).text
    [source] = re.findall('src="([^"]+)"', tag)
    assert source.startswith("/a/_bridge/")
    script = (await client.get(origin + source)).text
    assert "Path=/a;" in script
    assert script.count("_bridge./a.") == 3  # all its keys in localStorage, which a host shares
    assert script.count("_bridge.") == 3
    names = {destination for destination, _ in await list_keys(outbox)}
    assert names == {f"a/meta:{A_PIXEL}", f"b/meta:{B_PIXEL}"}
    # The browser sends each shop its own.
    again = await client.get(f"{origin}/a/buy?id=2")
    assert SESSION not in again.cookies


async def look_below_a_mount(client: httpx.AsyncClient, origin: str) -> None:
    """Check that each shop has its visitors, script and endpoints below ``/shops``."""
    first = await client.get(f"{origin}/shops/a/buy?id=1")
    assert first.json() == ["stored", None]
    lines = first.headers.get_list("set-cookie")
    ours = [line for line in lines if line.startswith("_bridge")]
    assert ours
    assert all("; Path=/shops/a;" in line for line in ours)
    assert SESSION in (await client.get(f"{origin}/shops/b/buy?id=1")).cookies
    assert SESSION not in (await client.get(f"{origin}/shops/a/buy?id=2")).cookies
    tag = (await client.get(f"{origin}/shops/a/show")).text
    [source] = re.findall('src="([^"]+)"', tag)
    assert source.startswith("/shops/a/_bridge/")
    script = await client.get(origin + source)
    assert A_PIXEL in script.text
    assert "Path=/shops/a;" in script.text
    health = await client.get(f"{origin}/shops/b/_bridge/health")
    assert f"b/meta:{B_PIXEL}" in health.text


def name_below_a_mount(connection: HTTPConnection) -> str | None:
    return connection.url.path.removeprefix("/shops").split("/")[1]


@pytest.fixture
async def mounted(outbox: SQLiteOutbox, book: Book) -> AsyncIterator[Shops]:
    book.shops = {
        "a": book.make(A_PIXEL, path="/shops/a"),
        "b": book.make(B_PIXEL, path="/shops/b"),
    }
    shops = Shops(SECRET, book.load, find=name_below_a_mount, outbox=outbox, run_sender=False)
    yield shops
    await shops.stop(deadline=0)


async def test_shops_below_paths_may_be_in_a_mounted_app(mounted: Shops) -> None:
    app = Starlette(routes=[Mount("/shops", make_app(mounted))])
    transport = httpx.ASGITransport(app, client=CLIENT)
    async with httpx.AsyncClient(transport=transport, headers=NAVIGATION) as client:
        await look_below_a_mount(client, "http://example.com")


async def test_shops_below_paths_may_be_served_with_a_root_path(mounted: Shops) -> None:
    """As a proxy has it that takes ``/shops`` away: uvicorn puts it in front of each path."""
    port = find_free_port()
    config = uvicorn.Config(make_app(mounted), port=port, root_path="/shops", log_level="error")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())

    async def up() -> bool:
        return server.started

    await poll(up, "the server")

    async def take_away(request: httpx.Request) -> None:
        assert request.url.path.startswith("/shops/")
        request.url = request.url.copy_with(path=request.url.path.removeprefix("/shops"))

    try:
        async with open_client("", headers=NAVIGATION) as client:
            client.event_hooks["request"].append(take_away)
            await look_below_a_mount(client, f"http://127.0.0.1:{port}")
    finally:
        server.should_exit = True
        await serving


# Loaded when needed, changed without a restart


async def test_a_shop_is_loaded_once_however_many_ask(
    client: httpx.AsyncClient, book: Book
) -> None:
    await asyncio.gather(*[client.get(f"{A}/show") for _ in range(20)])
    assert book.asked == ["a"]


async def test_a_shop_changes_without_a_restart(
    client: httpx.AsyncClient, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.shops, "REFRESH", 0.01)
    before = (await client.get(f"{A}/show")).text
    book.shops["a"] = book.make(B_PIXEL)

    async def changed() -> bool:
        return (await client.get(f"{A}/show")).text not in (before, "")

    await poll(changed, "the other pixel's script")
    del book.shops["a"]

    async def gone() -> bool:
        answer: list[str] = (await client.get(f"{A}/buy?id=9")).json()
        return answer[1] == "no_shop"

    await poll(gone, "no shop")


@pytest.mark.parametrize("trouble", ["raises", "hangs", "is none"])
async def test_a_shop_that_cannot_be_loaded_fails_no_page(
    client: httpx.AsyncClient,
    book: Book,
    shops: Shops,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    trouble: str,
) -> None:
    async def fail(name: str) -> Any:
        if trouble == "hangs":
            await asyncio.sleep(60)
        return "a shop" if trouble == "is none" else 1 / 0

    monkeypatch.setattr(bridge.shops, "LOAD_TIMEOUT", 0.05)
    monkeypatch.setattr(bridge.shops, "RETRY", 0.0)
    monkeypatch.setattr(shops, "_load", fail)
    with caplog.at_level(logging.ERROR, "bridge.shops"):
        assert (await client.get(f"{A}/buy?id=1")).json() == ["skipped", "no_shop"]
    assert "shop a cannot be loaded" in caplog.text
    monkeypatch.setattr(shops, "_load", book.load)

    async def works() -> bool:
        answer: list[str] = (await client.get(f"{A}/buy?id=1")).json()
        return answer[0] == "stored"

    await poll(works, "the shop")
    # Once loaded, it stays while it cannot be loaded anew.
    monkeypatch.setattr(shops, "_load", fail)
    shops._loaded["a"].until = 0
    for _ in range(3):
        assert (await client.get(f"{A}/buy?id=1")).json() == ["duplicate", None]
        await asyncio.sleep(0.1)


async def test_made_up_names_push_out_no_shop(
    client: httpx.AsyncClient, shops: Shops, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.shops, "KEPT", 5)
    await client.get(f"{A}/show")
    for number in range(20):
        await client.get(f"http://x{number}.example.com/show")
    assert list(shops._loaded) == ["a"]
    assert len(shops._absent) == 5
    await client.get(f"{A}/show")
    assert book.asked.count("a") == 1


async def test_a_find_that_fails_fails_no_page(client: httpx.AsyncClient, shops: Shops) -> None:
    shops._find = lambda connection: str(1 / 0)
    assert (await client.get(f"{A}/buy?id=1")).json() == ["skipped", "no_shop"]


async def test_a_load_may_be_any_callable(shops: Shops, book: Book) -> None:
    def load(name: str) -> Any:
        return book.load(name)

    shops._load = load
    assert (await shops.get("a")).destinations.names == [f"a/meta:{A_PIXEL}"]


async def test_a_load_that_is_cancelled_fails_no_page(
    client: httpx.AsyncClient, shops: Shops
) -> None:
    async def load(name: str) -> Shop | None:
        task = asyncio.create_task(asyncio.sleep(60))
        task.cancel()
        await task
        return None

    shops._load = load
    assert (await client.get(f"{A}/buy?id=1")).json() == ["skipped", "no_shop"]


async def test_hosts_that_are_not_allowed_are_not_asked_for(
    outbox: SQLiteOutbox, book: Book
) -> None:
    shops = Shops(SECRET, book.load, outbox=outbox, allowed_hosts=["*.example.com"])
    for host in ("evil.test", "a.example.com"):
        await shops.find_site(make_scope(headers={"host": host}))
    assert book.asked == ["a.example.com"]


async def test_what_a_shop_was_before_is_forgotten(
    client: httpx.AsyncClient, shops: Shops, book: Book
) -> None:
    await client.get(f"{A}/_bridge/identity")
    before = weakref.ref(await shops.get("a"))
    book.shops["a"] = book.make(A_PIXEL)
    shops._loaded["a"].until = 0

    async def is_forgotten() -> bool:
        await client.get(f"{A}/_bridge/identity")
        gc.collect()
        return before() is None

    await poll(is_forgotten, "the old site's end")


# Attacks


async def test_shops_on_one_domain_have_cookies_of_their_own(
    client: httpx.AsyncClient, book: Book
) -> None:
    book.shops["b"] = book.make(B_PIXEL)
    lines = (await client.get(f"{A}/show")).headers.get_list("set-cookie")
    assert lines
    assert not any("domain" in line.lower() for line in lines)
    await client.get(f"{B}/show")
    assert SESSION not in (await client.get(f"{A}/show")).cookies


@pytest.mark.parametrize("path", ["collect", "consent"])
async def test_a_page_of_another_shop_on_the_domain_is_another_site(
    client: httpx.AsyncClient, book: Book, path: str
) -> None:
    body: dict[str, Any] = {"events": []} if path == "collect" else {"state": "granted"}
    book.shops["www"] = book.make(B_PIXEL)
    for host in (A, "http://www.example.com"):
        for origin in (A, B, "http://example.com", "http://www.example.com"):
            headers = {"sec-fetch-site": "same-site", "origin": origin}
            answer = await client.post(f"{host}/_bridge/{path}", json=body, headers=headers)
            assert answer.status_code == (200 if origin == host else 403), origin


async def test_a_session_of_one_shop_is_nothing_at_another(
    client: httpx.AsyncClient, shops: Shops, book: Book
) -> None:
    book.shops["b"] = book.make(B_PIXEL)
    stolen = read_set(await client.get(f"{A}/buy?id=1&user=ada"), SESSION).encode()
    read = {name: (await shops.get(name))._visits.signer.read for name in ("a", "b")}
    known = read["a"](stolen, time.time())
    assert known is not None
    assert read["b"](stolen, time.time()) is None
    for name, origin in (("a", A), ("b", B)):
        client.cookies.clear()
        headers = {"cookie": f"{SESSION}={stolen.decode()}"}
        answer = await client.get(f"{origin}/show", headers=headers)
        found = read[name](read_set(answer, SESSION).encode(), time.time())
        assert found is not None
        assert (found.user_id, found.anonymous_id == known.anonymous_id) == (
            ("ada", True) if name == "a" else (None, False)
        )


async def test_a_token_of_one_shop_opens_at_no_other(
    client: httpx.AsyncClient, shops: Shops, book: Book
) -> None:
    book.shops["b"] = book.make(B_PIXEL)
    token = (await client.get(f"{A}/seal")).text
    first, second = await shops.get("a"), await shops.get("b")
    visitor = first.unseal(token)
    with pytest.raises(InvalidTokenError):
        second.unseal(token)
    with pytest.raises(UsageError, match="another shop"):
        await second.track("Purchase", MONEY, visitor=visitor)
    with pytest.raises(UsageError, match="another shop"):
        second.enrich({"event_name": "Lead"}, visitor=visitor)
    with pytest.raises(UsageError, match="another shop"):
        second.identify("ada", visitor=visitor)
    assert (await first.track("Purchase", MONEY, visitor=visitor)).outcome == "stored"


async def test_a_denial_or_an_erasure_ends_at_its_shop(
    client: httpx.AsyncClient, shops: Shops, outbox: SQLiteOutbox, book: Book
) -> None:
    book.shops["b"] = book.make(B_PIXEL)
    for origin in (A, B):
        await client.get(f"{origin}/buy?id=1&user=42")
    answer = await client.post(f"{B}/_bridge/consent", json={"state": "denied"})
    assert answer.status_code == 200
    assert await list_keys(outbox) == [(f"a/meta:{A_PIXEL}", "1")]
    second = await shops.get("b")
    assert (await second.erase(user_id="42")).waiting == 0
    first = await shops.get("a")
    assert (await first.erase(user_id="42")).waiting == 1


async def test_nobody_ends_a_hold_or_asks_for_an_order_of_another_shop(
    client: httpx.AsyncClient, shops: Shops, outbox: SQLiteOutbox, book: Book
) -> None:
    book.shops = {
        "a": book.make(A_PIXEL, browser_hold=600.0),
        "b": book.make(B_PIXEL, browser_hold=600.0),
    }
    await client.get(f"{A}/buy?id=1&user=42")
    await client.get(f"{B}/show")
    ack = {"acks": [{"event_name": "Purchase", "event_id": "1", "state": "sent"}]}
    assert (await client.post(f"{B}/_bridge/collect", json=ack)).status_code == 200
    [held] = await outbox.list_waiting()
    assert held.due > time.time() + 500
    # A question that shop b signed says nothing of shop a's order, and a's means nothing there.
    first, second = await shops.get("a"), await shops.get("b")
    of_a = first._visits.questions.sign("Purchase", "1")
    of_b = second._visits.questions.sign("Purchase", "1")
    assert (await client.get(f"{A}/_bridge/twin?u={of_a}")).status_code == 204
    assert (await client.get(f"{B}/_bridge/twin?u={of_b}")).status_code == 404
    assert (await client.get(f"{B}/_bridge/twin?u={of_a}")).status_code == 400
    assert (await client.post(f"{A}/_bridge/collect", json=ack)).status_code == 200
    [released] = await outbox.list_waiting()
    assert released.due <= time.time()


async def test_two_shops_subjects_differ_for_one_person(shops: Shops) -> None:
    first, second = await shops.get("a"), await shops.get("b")
    found = [
        site.destinations.build_subjects(read_browser(None), ["a" * 64]) for site in (first, second)
    ]
    assert found[0] != found[1]


async def test_a_report_for_another_shops_pixel_is_refused(client: httpx.AsyncClient) -> None:
    await client.get(f"{A}/show")
    event = {"event_name": "ViewContent", "event_id": "e-1", "pixel_id": B_PIXEL}
    answer = (await client.post(f"{A}/_bridge/collect", json={"events": [event]})).json()
    assert answer["stored"] == []
    assert answer["refused"]


async def test_health_shows_nobody_else(client: httpx.AsyncClient, book: Book) -> None:
    book.shops["b"] = book.make(B_PIXEL)
    await client.get(f"{A}/buy?id=1")
    own = (await client.get(f"{A}/_bridge/health")).json()
    assert own["destinations"][f"a/meta:{A_PIXEL}"]["waiting"] == 1
    for origin in (B, "http://10.0.0.7"):
        answer = await client.get(f"{origin}/_bridge/health")
        assert answer.status_code == 200
        assert answer.json()["status"] == "ok"
        assert "a/" not in json.dumps(answer.json())
        assert "unconfigured" not in answer.json()


async def test_what_is_recorded_of_shops_is_stored_nowhere(
    client: httpx.AsyncClient, shops: Shops, outbox: SQLiteOutbox
) -> None:
    with recorded(shops) as events:
        await client.get(f"{A}/buy?id=1")
        assert list(events.assert_tracked("Purchase", value=5).payloads) == [f"a/meta:{A_PIXEL}"]
    assert await list_keys(outbox) == []


# Delivery


@pytest.fixture
async def start(outbox: SQLiteOutbox, sandbox: Sandbox) -> AsyncIterator[Callable[..., Any]]:
    """A function that starts shops which deliver to the sandbox, and returns a client of them."""
    started: list[Any] = []

    async def begin(book: Book, **options: Any) -> tuple[Shops, httpx.AsyncClient]:
        shops = Shops(SECRET, book.load, find=name_shop, outbox=outbox, browser_hold=0, **options)
        transport = httpx.ASGITransport(make_app(shops), client=CLIENT)
        client = httpx.AsyncClient(transport=transport, headers=NAVIGATION)
        started.append((shops, client))
        return shops, client

    yield begin
    for shops, client in started:
        await client.aclose()
        await shops.stop(deadline=1)


async def test_each_shop_is_delivered_with_its_own_token(
    start: Any, sandbox: Sandbox, outbox: SQLiteOutbox
) -> None:
    book = Book(sandbox.url)
    book.shops["b"] = book.make(B_PIXEL)
    shops, client = await start(book)
    await client.get(f"{A}/buy?id=1")
    await client.get(f"{B}/buy?id=2")

    async def delivered() -> bool:
        return await list_keys(outbox) == []

    await poll(delivered, "both events")

    async def ended() -> bool:
        return not shops._pipeline.sender._lanes.list_living()

    await poll(ended, "the lanes' end")  # a lane lives while something waits
    await client.get(f"{A}/buy?id=3")
    await poll(delivered, "the third event")


async def test_a_dead_token_delays_no_other_shop_and_is_replaced(
    start: Any, sandbox: Sandbox, outbox: SQLiteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.shops, "REFRESH", 0.05)
    book = Book(sandbox.url)
    book.shops = {"a": book.make(A_PIXEL, token="wrong"), "b": book.make(B_PIXEL)}
    _, client = await start(book)
    for number in range(5):
        await client.get(f"{A}/buy?id=a-{number}")
        await client.get(f"{B}/buy?id=b-{number}")

    async def others_are_delivered() -> bool:
        return {name for name, _ in await list_keys(outbox)} == {f"a/meta:{A_PIXEL}"}

    await poll(others_are_delivered, "shop b's events")
    book.shops["a"] = book.make(A_PIXEL)

    async def all_are_delivered() -> bool:
        await client.get(f"{A}/show")
        return await list_keys(outbox) == []

    await poll(all_are_delivered, "shop a's events, with its new token")


async def test_what_another_process_stored_is_delivered(
    start: Any, sandbox: Sandbox, outbox: SQLiteOutbox
) -> None:
    book = Book(sandbox.url)
    _, client = await start(book, run_sender=False)
    await client.get(f"{A}/buy?id=1")
    assert await list_keys(outbox)
    worker = Shops(SECRET, book.load, find=name_shop, outbox=outbox)
    worker.start()
    try:

        async def delivered() -> bool:
            return await list_keys(outbox) == []

        await poll(delivered, "the event")
    finally:
        await worker.stop(deadline=1)


async def test_a_worker_without_visitors_takes_up_a_new_token(
    start: Any, sandbox: Sandbox, outbox: SQLiteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.shops, "REFRESH", 0.05)
    monkeypatch.setattr(bridge.delivery.demand, "LANE_REFRESH", 0.05)
    book = Book(sandbox.url)
    book.shops["a"] = book.make(A_PIXEL, token="wrong")
    shops, client = await start(book)
    await client.get(f"{A}/buy?id=1")

    async def is_refused() -> bool:
        return bool(shops._pipeline.metrics.totals["paused"])

    await poll(is_refused, "the refusal")
    book.shops["a"] = book.make(A_PIXEL)

    async def delivered() -> bool:
        return await list_keys(outbox) == []

    await poll(delivered, "the event")


async def test_a_busy_process_sees_what_another_one_stored(
    start: Any, sandbox: Sandbox, outbox: SQLiteOutbox
) -> None:
    book = Book(sandbox.url)
    _, client = await start(book)
    other, elsewhere = await start(book, run_sender=False)
    await client.get(f"{A}/buy?id=1")
    book.shops["b"] = book.make(B_PIXEL)
    await elsewhere.get(f"{B}/buy?id=theirs")
    assert not other._pipeline.sender.is_delivering
    number = 1

    async def theirs_is_delivered() -> bool:
        nonlocal number
        number += 1
        await client.get(f"{A}/buy?id={number}")
        return "theirs" not in [event_id for _, event_id in await list_keys(outbox)]

    await poll(theirs_is_delivered, "the other's event")


async def test_a_stop_delivers_what_was_stored_a_moment_ago(
    sandbox: Sandbox, outbox: SQLiteOutbox
) -> None:
    book = Book(sandbox.url)
    shops = Shops(SECRET, book.load, outbox=outbox, browser_hold=0)
    async with shops:
        shop = await shops.get("a")
        person = shop.person("ada", email="ada@example.com")
        await shop.track("Purchase", MONEY, visitor=person, action_source="system_generated")
    assert await list_keys(outbox) == []


async def test_a_huge_backlog_delays_no_other_shop(
    start: Any, sandbox: Sandbox, outbox: SQLiteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.delivery.sender, "MAX_PLACES", 3)
    sent: list[str] = []
    in_flight = most = 0

    async def note(client: Any, destination: Any, bodies: Any) -> Any:
        nonlocal in_flight, most
        in_flight += 1
        most = max(most, in_flight)
        sent.append(destination.name.partition("/")[0])
        try:
            return await exchange(client, destination, bodies)
        finally:
            in_flight -= 1

    monkeypatch.setattr(bridge.delivery.lane, "exchange", note)
    monkeypatch.setattr(Meta, "limits", replace(Meta.limits, batch_size=1))
    book = Book(sandbox.url)
    others = [f"s{number}" for number in range(20)]
    book.shops |= {name: book.make(B_PIXEL) for name in others}
    # Stored before anything is sent, so that all lanes begin together.
    _, storing = await start(book, run_sender=False)
    for number in range(100):
        await storing.get(f"{A}/buy?id={number}")
    for name in others:
        await storing.get(f"http://{name}.example.com/buy?id=1")
    shops, _ = await start(book)
    shops.start()

    async def delivered() -> bool:
        return await list_keys(outbox) == []

    await poll(delivered, "all events")
    assert sent.count("a") == 100
    assert most == 3
    last_of_others = max(place for place, name in enumerate(sent) if name != "a")
    assert sent[:last_of_others].count("a") < 50


async def test_shops_take_turns_where_more_wait_than_may_work(
    start: Any, sandbox: Sandbox, outbox: SQLiteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.delivery.demand, "MAX_WORKING", 2)
    monkeypatch.setattr(bridge.delivery.demand, "TURN", 0.2)
    monkeypatch.setattr(Meta, "limits", replace(Meta.limits, batch_size=1))
    most = 0

    async def note(client: Any, destination: Any, bodies: Any) -> Any:
        nonlocal most
        working = [each for each in lanes.list_living().values() if not each.is_paused]
        most = max(most, len(working))
        await asyncio.sleep(0.05)
        return await exchange(client, destination, bodies)

    monkeypatch.setattr(bridge.delivery.lane, "exchange", note)
    book = Book(sandbox.url)
    # Two with a backlog, two whose token is dead, and twelve behind these.
    busy, dead, others = ["a", "aa"], ["b", "bb"], [f"s{number}" for number in range(12)]
    book.shops |= {name: book.make(B_PIXEL) for name in [*busy, *others]}
    book.shops |= {name: book.make(B_PIXEL, token="dead") for name in dead}
    _, storing = await start(book, run_sender=False)
    for name in busy:
        for number in range(200):
            await storing.get(f"http://{name}.example.com/buy?id={number}")
    for name in [*dead, *others]:
        await storing.get(f"http://{name}.example.com/buy?id=1")
    shops, _ = await start(book)
    lanes = shops._pipeline.sender._lanes
    shops.start()

    async def list_waiting() -> set[str]:
        counts = await outbox.count(time.time())
        return {name.partition("/")[0] for name, each in counts.items() if each.waiting}

    async def others_are_delivered() -> bool:
        return (await list_waiting()).isdisjoint(others)

    await poll(others_are_delivered, "those behind")
    assert (await list_waiting()).issuperset(busy), "these were to be at work still"
    assert most <= 2

    async def only_the_dead_wait() -> bool:
        return await list_waiting() == set(dead)

    await poll(only_the_dead_wait, "the backlogs")


async def test_a_shop_that_is_not_delivered_fills_its_share_and_no_more(
    start: Any, outbox: SQLiteOutbox, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(bridge.delivery.shares, "LOOK", 0.01)
    book = Book()
    book.shops["b"] = book.make(B_PIXEL)
    shops, client = await start(book, run_sender=False, shop_capacity=20)
    shops.start()
    await client.get(f"{B}/buy?id=known")

    async def list_outcomes(name: str) -> Counter[str]:
        return Counter([(await client.get(f"{B}/buy?name={name}")).json()[0] for _ in range(20)])

    async def is_refused() -> bool:
        return (await list_outcomes("PageView"))["stored"] == 0

    await poll(is_refused, "the share of page views")
    held = (await outbox.count(time.time()))[f"b/meta:{B_PIXEL}"].waiting
    assert held >= 18

    async def is_full() -> bool:
        return (await list_outcomes("Purchase"))["stored"] == 0

    await poll(is_full, "the share")
    assert (await client.get(f"{B}/buy?id=known")).json() == ["duplicate", None]
    assert (await client.get(f"{B}/buy")).json() == ["lost", None]
    assert (await client.get(f"{A}/buy")).json() == ["stored", None]
    assert f"b/meta:{B_PIXEL} has " in caplog.text
    waiting = await outbox.claim(f"b/meta:{B_PIXEL}", 1000, now=time.time(), lease=9)
    await outbox.ack(waiting, time.time())

    async def is_stored() -> bool:
        answer: list[Any] = (await client.get(f"{B}/buy")).json()
        return answer == ["stored", None]

    await poll(is_stored, "room again")


async def test_shops_that_have_nothing_due_make_room(
    start: Any, sandbox: Sandbox, outbox: SQLiteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.delivery.demand, "MAX_WORKING", 2)
    book = Book(sandbox.url)
    names = [f"s{number}" for number in range(20)]
    book.shops |= {name: book.make(B_PIXEL) for name in [*names, "fresh"]}
    later = [
        make_delivery(name, destination=f"{name}/meta:{B_PIXEL}", due=time.time() + 3600)
        for name in names
    ]
    await outbox.put(later, time.time())
    shops, client = await start(book)
    shops.start()

    async def all_were_looked_at() -> bool:
        resting: int = len(shops._pipeline.sender._demand._resting)
        return resting >= 18

    await poll(all_were_looked_at, "a look at those that have nothing due")
    await client.get("http://fresh.example.com/buy?id=1")

    async def fresh_is_delivered() -> bool:
        return f"fresh/meta:{B_PIXEL}" not in {name for name, _ in await list_keys(outbox)}

    await poll(fresh_is_delivered, "the fresh event", seconds=bridge.delivery.demand.TURN)


async def test_what_is_stored_while_a_lane_makes_room_waits_for_no_other_look(
    start: Any, sandbox: Sandbox, outbox: SQLiteOutbox
) -> None:
    book = Book(sandbox.url)
    book.shops["a"] = book.make(A_PIXEL, token="dead")  # so that its lane lives
    shops, client = await start(book)
    await client.get(f"{A}/buy?id=1")
    sender, name = shops._pipeline.sender, f"a/meta:{A_PIXEL}"

    async def is_at_work() -> bool:
        return sender._lanes.find(name) is not None

    await poll(is_at_work, "the lane")
    sender._lanes.find(name).retire()
    sender._demand._resting[name] = math.inf
    sender.wake([name])
    assert name in sender._demand._queue
    assert name not in sender._demand._resting


async def test_a_shop_that_is_left_alone_for_an_hour_is_not_asked_by_another_lane(
    start: Any, sandbox: Sandbox, outbox: SQLiteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.delivery.demand, "MAX_WORKING", 1)
    monkeypatch.setattr(bridge.delivery.demand, "TURN", 0.05)
    book = Book(sandbox.url)
    others = [f"s{number}" for number in range(6)]
    book.shops |= {name: book.make(B_PIXEL) for name in others}
    await sandbox.fault("events", status=429, headers={"Retry-After": "3600"})
    shops, client = await start(book)
    await client.get(f"{A}/buy?id=1")

    async def is_asked() -> bool:
        requests: int = shops._pipeline.counters["requests"]
        return requests == 1

    await poll(is_asked, "the request that is refused")

    async def others_are_delivered() -> bool:
        return {name.partition("/")[0] for name, _ in await list_keys(outbox)} == {"a"}

    for number in range(8):
        for name in others:
            await client.get(f"http://{name}.example.com/buy?id={number}")
        await client.get(f"{A}/buy?id=a-{number}")
        await poll(others_are_delivered, "the others")
    assert len(await list_keys(outbox)) == 9


async def test_a_load_that_hangs_costs_its_own_shop_alone(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.shops, "LOAD_TIMEOUT", 0.05)
    monkeypatch.setattr(bridge.shops, "RETRY", 0.01)
    monkeypatch.setattr(bridge.shops, "MAX_THREADS", 3)
    book, released, hanging = Book(), threading.Event(), []

    def load(name: str) -> Shop | None:
        if name == "hangs":
            hanging.append(name)
            released.wait()
        return book.shops["a"]

    monkeypatch.setattr(book, "load", load)
    _, client = await start(book, run_sender=False)
    for _ in range(6):
        answer = await client.get("http://hangs.example.com/buy")
        assert answer.json() == ["skipped", "no_shop"]
        await asyncio.sleep(0.05)
    monkeypatch.setattr(bridge.shops, "LOAD_TIMEOUT", DEADLINE)  # the others may be slow
    for number in range(6):
        answer = await client.get(f"http://s{number}.example.com/buy?id={number}")
        assert answer.json() == ["stored", None]
    assert hanging == ["hangs"]
    released.set()

    async def is_loaded() -> bool:
        answer: list[Any] = (await client.get("http://hangs.example.com/buy?id=9")).json()
        return answer == ["stored", None]

    await poll(is_loaded, "the shop, once it can be loaded")


async def test_what_the_sender_looks_up_pushes_out_no_shop_of_visitors(
    start: Any, sandbox: Sandbox, outbox: SQLiteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.shops, "KEPT", 3)
    book = Book(sandbox.url)
    names = [f"s{number}" for number in range(8)]
    book.shops |= {name: book.make(B_PIXEL, token="dead") for name in names}
    _, storing = await start(book, run_sender=False)
    for name in names:
        await storing.get(f"http://{name}.example.com/buy?id=1")
    shops, client = await start(book)
    await client.get(f"{A}/show")
    shops.start()

    async def all_live() -> bool:
        living: int = shops._pipeline.sender._lanes.count()
        return living == 8

    await poll(all_live, "a lane for each")
    book.asked.clear()
    await client.get(f"{A}/show")
    assert book.asked == []


async def test_dead_tokens_take_no_room(
    start: Any, sandbox: Sandbox, outbox: SQLiteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.delivery.demand, "MAX_WORKING", 2)
    book = Book(sandbox.url)
    dead, living = [f"d{number}" for number in range(6)], [f"s{number}" for number in range(6)]
    book.shops |= {name: book.make(B_PIXEL, token="dead") for name in dead}
    book.shops |= {name: book.make(B_PIXEL) for name in living}
    _, storing = await start(book, run_sender=False)
    for name in [*dead, *living]:
        await storing.get(f"http://{name}.example.com/buy?id=1")
    shops, _ = await start(book)
    shops.start()

    async def only_the_dead_wait() -> bool:
        return {name.partition("/")[0] for name, _ in await list_keys(outbox)} == set(dead)

    await poll(only_the_dead_wait, "the others")
    assert len(shops._pipeline.sender._lanes.list_living()) >= 6


async def test_opening_lanes_keeps_no_visitor_from_being_tracked(
    start: Any, sandbox: Sandbox, outbox: SQLiteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.shops, "MAX_LOADING", 12)
    book = Book(sandbox.url)
    others = [f"s{number}" for number in range(60)]
    book.shops |= {name: book.make(B_PIXEL) for name in others}
    _, storing = await start(book, run_sender=False)
    for name in others:
        await storing.get(f"http://{name}.example.com/buy?id=1")
    load = book.load

    async def load_slowly(name: str) -> Shop | None:
        await asyncio.sleep(0.1)
        return await load(name)

    monkeypatch.setattr(book, "load", load_slowly)
    shops, client = await start(book)
    shops.start()
    for number in range(5):
        await asyncio.sleep(0.05)
        answer = await client.get(f"http://s{50 + number}.example.com/buy?id=2")
        assert answer.json() == ["stored", None]


async def test_visitors_who_are_not_tracked_since_too_many_shops_load_are_told_of(
    start: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bridge.shops, "MAX_LOADING", 2)
    book = Book()
    released = asyncio.Event()

    async def load(name: str) -> Shop | None:
        await released.wait()
        return book.shops["a"]

    monkeypatch.setattr(book, "load", load)
    _, client = await start(book, run_sender=False)
    names = [f"s{number}" for number in range(6)]
    visits = [
        asyncio.create_task(client.get(f"http://{name}.example.com/buy?id={name}"))
        for name in names
    ]
    await asyncio.wait(visits, return_when=asyncio.FIRST_COMPLETED)
    released.set()
    outcomes = [(await visit).json() for visit in visits]
    assert outcomes.count(["stored", None]) == 2
    assert outcomes.count(["skipped", "no_shop"]) == 4
    assert caplog.text.count("wait to be loaded") == 1


async def test_the_dashboard_is_served_where_there_is_no_shop(client: httpx.AsyncClient) -> None:
    await client.get(f"{A}/buy?id=1")
    page = "/_bridge/dashboard/api/overview"
    for origin, headers, status in (
        ("http://admin.example.com", {"x-admin": "yes"}, 200),
        ("http://admin.example.com", {}, 403),
        (A, {"x-admin": "yes"}, 404),
    ):
        answer = await client.get(f"{origin}{page}", headers=headers)
        assert answer.status_code == status, (origin, answer.text)
        assert (f"a/meta:{A_PIXEL}" in answer.text) == (status == 200)
