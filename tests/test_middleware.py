from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from bridge import (
    Bridge,
    BridgeMiddleware,
    Consent,
    UsageError,
    current_visitor,
    enrich,
    identify,
    track,
    track_sync,
)
from bridge.outbox import SQLiteOutbox
from bridge.visitor.identity import SessionSigner
from tests.factories import (
    CLIENT,
    NAVIGATION,
    USER_AGENT,
    make_bridge,
    make_client,
    make_scope,
    unix_now,
)
from tests.servers import DEADLINE

LEAD = {"event_name": "Lead"}


def is_running(bridge: Bridge) -> bool:
    return bridge._pipeline.loop is asyncio.get_running_loop()


async def show_lead(request: Request) -> Response:
    return JSONResponse(enrich(LEAD))


@pytest.fixture
async def open_client(outbox: SQLiteOutbox) -> AsyncIterator[Any]:
    """A function from an app to a browser in front of it; the bridge is stopped at the end."""
    bridges = []

    def open_client(app: ASGIApp, **changes: Any) -> httpx.AsyncClient:
        bridge = make_bridge(outbox, **changes)
        bridges.append(bridge)
        return make_client(BridgeMiddleware(app, bridge=bridge))

    yield open_client
    for bridge in bridges:
        await bridge.stop(deadline=0)


def set_cookies(response: httpx.Response) -> dict[str, str]:
    lines = response.headers.get_list("set-cookie")
    return {line.partition("=")[0]: line for line in lines}


async def test_first_request_knows_everything(open_client: Any) -> None:
    client = open_client(Starlette(routes=[Route("/p", show_lead)]))
    response = await client.get("/p?fbclid=CLICK")
    event = response.json()
    assert event["event_source_url"] == "http://shop.example.com/p?fbclid=CLICK"
    assert event["action_source"] == "website"
    user_data = event["user_data"]
    assert user_data["client_ip_address"] == CLIENT[0]
    assert user_data["client_user_agent"] == USER_AGENT
    assert user_data["fbp"] == client.cookies["_fbp"]
    assert user_data["fbc"] == client.cookies["_fbc"]
    assert user_data["fbc"].startswith("fb.1.")
    assert user_data["fbc"].endswith(".CLICK")
    assert len(user_data["external_id"][0]) == 64


async def test_returning_visitor_is_the_same_one_and_costs_no_cookie(open_client: Any) -> None:
    client = open_client(Starlette(routes=[Route("/", show_lead)]))
    first = await client.get("/")
    second = await client.get("/")
    assert first.json()["user_data"] == second.json()["user_data"]
    assert set_cookies(second) == {}


async def test_cookies_have_the_attributes_the_pixel_needs(open_client: Any) -> None:
    client = open_client(Starlette(routes=[Route("/", show_lead)]))
    lines = set_cookies(await client.get("https://www.shop.example.com/?fbclid=A"))
    assert sorted(lines) == ["_bridge", "_bridge_p", "_bridge_x", "_fbc", "_fbp"]
    for name in ("_fbp", "_fbc"):
        assert lines[name].endswith("; Max-Age=7776000; Path=/; SameSite=Lax; Domain=.example.com")
    assert lines["_bridge"].endswith("; Domain=.example.com; Secure; HttpOnly")
    assert lines["_bridge_x"].endswith("; Domain=.example.com; Secure")
    assert lines["_bridge_p"] == (
        "_bridge_p=https://www.shop.example.com/?fbclid=A"
        "; Path=/; SameSite=Lax; Domain=.example.com; Secure; HttpOnly"
    )


async def test_new_click_changes_only_the_click(open_client: Any) -> None:
    client = open_client(Starlette(routes=[Route("/", show_lead)]))
    before = (await client.get("/?fbclid=A")).json()["user_data"]
    same = (await client.get("/?fbclid=A")).json()["user_data"]
    after = (await client.get("/?fbclid=B")).json()["user_data"]
    assert same["fbc"] == before["fbc"]
    assert after["fbc"].endswith(".B")
    assert after["fbp"] == before["fbp"]
    assert after["external_id"] == before["external_id"]


async def test_cookie_of_the_pixel_is_adopted_byte_for_byte(open_client: Any) -> None:
    client = open_client(Starlette(routes=[Route("/", show_lead)]))
    client.cookies.set("_fbp", "fb.1.1700000000000.123.AQYCAQMB", domain="shop.example.com")
    response = await client.get("/")
    assert response.json()["user_data"]["fbp"] == "fb.1.1700000000000.123.AQYCAQMB"


@pytest.mark.parametrize("value", ["garbage", "fb.1.x.y", "fb.1.1." + "9" * 700])
async def test_malformed_fbp_is_replaced(open_client: Any, value: str) -> None:
    client = open_client(Starlette(routes=[Route("/", show_lead)]))
    client.cookies.set("_fbp", value, domain="shop.example.com")
    response = await client.get("/")
    assert value not in response.text
    assert set_cookies(response)["_fbp"].startswith("_fbp=fb.1.")


async def test_parallel_first_requests_with_one_fbp_agree(open_client: Any) -> None:
    client = open_client(Starlette(routes=[Route("/", show_lead)]))
    headers = {"cookie": "_fbp=fb.1.1700000000000.123"}
    responses = await asyncio.gather(*(client.get("/", headers=headers) for _ in range(8)))
    assert len({r.json()["user_data"]["external_id"][0] for r in responses}) == 1


@pytest.mark.parametrize(
    "cookie",
    [
        pytest.param("_bridge=forged.signature", id="forged"),
        pytest.param("_bridge=" + "x" * 5000, id="oversized"),
        pytest.param("_bridge=", id="empty"),
        pytest.param("_bridge=\x00\xff", id="bytes"),
    ],
)
async def test_broken_session_is_replaced(open_client: Any, cookie: str) -> None:
    client = open_client(Starlette(routes=[Route("/", show_lead)]))
    response = await client.get("/", headers={"cookie": cookie.encode("latin-1")})
    assert response.status_code == 200
    assert "_bridge" in set_cookies(response)


@pytest.mark.parametrize(
    ("name", "value", "mark"),
    [
        ("host", 'a"><script>', "script"),
        ("referer", "http://shop.example.com/\x00?fbclid=%0d%0aX:evil", "evil"),
        ("cookie", '_fbp=fb.1.1.a"evil; _fbc=fb.1.1.\x7fevil; _bridge_x=\xffevil', "evil"),
        ("x-forwarded-for", "'; DROP TABLE", "DROP"),
        ("x-forwarded-host", "evil.example\r\nX: y", "evil"),
        ("x-forwarded-proto", "javascript", "javascript"),
        ("user-agent", "\x01\x02\x7f", "\x01"),
    ],
)
async def test_hostile_header_reaches_no_header_and_no_payload(
    open_client: Any, name: str, value: str, mark: str
) -> None:
    client = open_client(Starlette(routes=[Route("/", show_lead)]), trusted_proxies=CLIENT[0])
    response = await client.get("/", headers={name: value.encode("latin-1")})
    assert response.status_code == 200
    assert mark not in response.text
    assert mark.encode() not in b"".join(name + value for name, value in response.headers.raw)


async def test_identify_lasts_and_changes_the_external_id(open_client: Any) -> None:
    async def login(request: Request) -> Response:
        identify("User 42", email=" John@Example.com ")
        return JSONResponse(enrich(LEAD))

    client = open_client(Starlette(routes=[Route("/", show_lead), Route("/login", login)]))
    anonymous = (await client.get("/")).json()["user_data"]
    during = (await client.get("/login")).json()["user_data"]
    after = (await client.get("/")).json()["user_data"]
    # The pixel of the page keeps the id it was given first; so the server copy carries both.
    assert during["external_id"] == anonymous["external_id"] + after["external_id"]
    assert after["external_id"] != anonymous["external_id"]
    assert during["em"] == after["em"]
    assert len(after["em"][0]) == 64
    assert "john" not in str(client.cookies).lower()


async def test_enrich_works_in_threads_and_background_tasks(
    open_client: Any, outbox: SQLiteOutbox
) -> None:
    done = asyncio.Event()

    async def later() -> None:
        await track("Contact")
        done.set()

    def handler(request: Request) -> Response:
        track_sync("Lead", event_id="sync")
        return JSONResponse(enrich(LEAD), background=BackgroundTask(later))

    client = open_client(Starlette(routes=[Route("/", handler)]))
    response = await client.get("/")
    assert response.json()["user_data"]["fbp"] == client.cookies["_fbp"]
    async with asyncio.timeout(DEADLINE):
        await done.wait()
    assert [c.waiting for c in (await outbox.count(unix_now(), with_delivered=True)).values()] == [
        2
    ]


async def test_track_sync_on_the_event_loop_says_what_to_write(open_client: Any) -> None:
    async def handler(request: Request) -> Response:
        with pytest.raises(UsageError, match="await track"):
            track_sync("Lead")
        return PlainTextResponse("ok")

    client = open_client(Starlette(routes=[Route("/", handler)]))
    assert (await client.get("/")).text == "ok"


@pytest.mark.parametrize("asks", [True, False])
async def test_browser_that_is_left_out_later_has_no_settings_of_before(
    open_client: Any, asks: bool
) -> None:
    async def show(request: Request) -> Response:
        return await show_lead(request) if asks else PlainTextResponse("ok")

    client = open_client(
        Starlette(routes=[Route("/", show)]),
        ignore=lambda connection: "staff" if "staff" in connection.cookies else None,
    )
    first = await client.get("/")
    assert "_bridge_x" in set_cookies(first)
    client.cookies.set("staff", "1", domain="shop.example.com")
    left_out = await client.get("/")
    assert list(set_cookies(left_out)) == ["_bridge_x"]
    assert "Max-Age=0" in set_cookies(left_out)["_bridge_x"]
    assert "_bridge_x" not in client.cookies
    assert (await client.get("/_bridge/identity")).json()["c"] == "denied"
    assert set_cookies(await client.get("/")) == {}
    del client.cookies["staff"]
    assert "_bridge_x" in set_cookies(await client.get("/"))


async def test_twin_rides_on_the_response_once(open_client: Any) -> None:
    async def order(request: Request) -> Response:
        await track("Purchase", {"value": 5, "currency": "EUR"}, event_id="A-1")
        return Response(status_code=303, headers={"location": "/"})

    routes = [Route("/order", order, methods=["POST"]), Route("/", show_lead)]
    client = open_client(Starlette(routes=routes))
    first = await client.post("/order")
    again = await client.post("/order")
    assert len([name for name in set_cookies(first) if name.startswith("_bridge_t_")]) == 1
    assert not [name for name in set_cookies(again) if name.startswith("_bridge_t_")]


@pytest.mark.parametrize("cache_control", ["max-age=60", "no-cache", 'private="x", max-age=60'])
async def test_response_with_cookies_is_made_private(open_client: Any, cache_control: str) -> None:
    async def page(request: Request) -> Response:
        return PlainTextResponse("", headers={"cache-control": cache_control})

    client = open_client(Starlette(routes=[Route("/", page)]))
    response = await client.get("/")
    assert "_bridge" in set_cookies(response)
    assert response.headers.get_list("cache-control") == [cache_control, "private"]


@pytest.mark.parametrize("header", ["CDN-Cache-Control", "Surrogate-Control"])
async def test_response_that_a_cdn_may_keep_carries_no_cookie(
    open_client: Any, header: str
) -> None:
    async def page(request: Request) -> Response:
        return PlainTextResponse("", headers={header: "max-age=60", "cache-control": "private"})

    client = open_client(Starlette(routes=[Route("/", page)]))
    assert set_cookies(await client.get("/")) == {}


async def test_choice_is_carried_by_any_response(open_client: Any) -> None:
    async def deny(request: Request) -> Response:
        current_visitor().set_consent("denied")
        return PlainTextResponse("", headers={"cache-control": "public, max-age=60"})

    app = Starlette(routes=[Route("/", show_lead), Route("/privacy/deny", deny)])
    client = open_client(app, exclude_paths=["/privacy"])
    await client.get("/")
    response = await client.get("/privacy/deny")
    assert set_cookies(response)["_bridge_c"].startswith("_bridge_c=denied;")
    assert response.headers["cache-control"] == "private, no-store"
    assert {cookie.name for cookie in client.cookies.jar if cookie.value} == {"_bridge_c"}


async def test_form_of_another_site_overwrites_nobody(open_client: Any) -> None:
    client = open_client(Starlette(routes=[Route("/", show_lead, methods=["GET", "POST"])]))
    headers = {"sec-fetch-site": "cross-site"}
    response = await client.post("/", headers=headers)
    assert set_cookies(response) == {}
    assert response.json()["user_data"] == {}
    assert "_bridge" in set_cookies(await client.get("/", headers=headers))


async def test_page_of_a_known_browser_costs_no_look_into_its_session(
    open_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def page(request: Request) -> Response:
        return PlainTextResponse("")

    client = open_client(Starlette(routes=[Route("/{path:path}", page), Route("/lead", show_lead)]))
    await client.get("/first", headers=NAVIGATION)
    with monkeypatch.context() as unread:
        unread.setattr(SessionSigner, "read", None)  # would raise
        second = await client.get("/second?id=7", headers=NAVIGATION)
    assert set_cookies(second).keys() == {"_bridge_p"}
    assert client.cookies["_bridge_p"] == "http://shop.example.com/second?id=7"
    # Whatever has to be looked at is looked at.
    landing = await client.get("/third?fbclid=CLICK", headers=NAVIGATION)
    assert {"_fbc", "_bridge"} <= set_cookies(landing).keys()
    client.cookies.set("_bridge", "forged", domain="shop.example.com")
    assert set_cookies(await client.get("/fourth", headers=NAVIGATION)).keys() == {"_bridge_p"}
    denied = await client.get("/fifth", headers={**NAVIGATION, "cookie": "_bridge_c=denied"})
    assert set_cookies(denied) == {}


async def test_page_after_a_login_is_looked_at_again(open_client: Any) -> None:
    async def log_in(request: Request) -> Response:
        identify("42")
        return PlainTextResponse("")

    async def page(request: Request) -> Response:
        return PlainTextResponse("")

    async def show_ids(request: Request) -> Response:
        return JSONResponse(current_visitor().identity.external_ids)

    routes = [Route("/login", log_in, methods=["POST"]), Route("/ids", show_ids)]
    client = open_client(Starlette(routes=[*routes, Route("/{path:path}", page)]))
    await client.get("/first", headers=NAVIGATION)
    await client.get("/second", headers=NAVIGATION)
    script = {"sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}
    await client.post("/login", headers=script)
    # The page has the anonymous one.
    assert len((await client.get("/ids", headers=script)).json()) == 2
    await client.get("/third", headers=NAVIGATION)
    assert len((await client.get("/ids", headers=script)).json()) == 1


async def test_middleware_added_twice_meets_one_visitor(outbox: SQLiteOutbox) -> None:
    bridge = make_bridge(outbox)
    app = BridgeMiddleware(Starlette(routes=[Route("/", show_lead)]), bridge=bridge)
    client = make_client(BridgeMiddleware(app, bridge=bridge))
    lines = (await client.get("/")).headers.get_list("set-cookie")
    assert len([line for line in lines if line.startswith("_fbp=")]) == 1
    await bridge.stop(deadline=0)


@pytest.mark.parametrize(
    ("status", "cache_control"),
    [(200, "public, max-age=60"), (200, "s-maxage=60"), (304, "private")],
)
async def test_shared_and_unchanged_responses_carry_no_cookie(
    open_client: Any, status: int, cache_control: str
) -> None:
    async def page(request: Request) -> Response:
        return Response(status_code=status, headers={"cache-control": cache_control})

    client = open_client(Starlette(routes=[Route("/", page)]))
    response = await client.get("/")
    assert set_cookies(response) == {}
    assert response.headers["cache-control"] == cache_control


async def test_event_of_a_page_that_caches_may_keep_is_told_once(
    open_client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def page(request: Request) -> Response:
        if request.query_params.get("tracks"):
            await track("Lead")
        return Response(headers={"cache-control": "public, max-age=60"})

    client = open_client(Starlette(routes=[Route("/", page)]))
    await client.get("/")
    assert not caplog.records
    for _ in range(2):
        await client.get("/?tracks=yes")
    [record] = caplog.records
    assert "Cache-Control: private" in record.message


@pytest.mark.parametrize(
    ("header", "value", "is_shared"),
    [
        ("CDN-Cache-Control", "max-age=60", True),
        ("Cloudflare-CDN-Cache-Control", "max-age=60", True),
        ("Vercel-CDN-Cache-Control", "max-age=60", True),
        ("Netlify-CDN-Cache-Control", "public, durable, s-maxage=60", True),
        ("Surrogate-Control", "max-age=60", True),
        ("Edge-Control", "cache-maxage=60m", True),
        ("X-Accel-Expires", "60", True),
        ("X-Accel-Expires", "@1795000000", True),
        ("X-Accel-Expires", "0", False),
        ("Edge-Control", "no-store", False),
        ("Edge-Control", "bypass-cache", False),
        ("CDN-Cache-Control", "private", False),
    ],
)
async def test_caching_headers_of_proxies_and_cdns_count(
    open_client: Any, header: str, value: str, is_shared: bool
) -> None:
    async def page(request: Request) -> Response:
        return Response(headers={header: value})

    client = open_client(Starlette(routes=[Route("/", page)]))
    assert (set_cookies(await client.get("/")) == {}) is is_shared


async def test_response_with_cookies_is_private(open_client: Any) -> None:
    client = open_client(Starlette(routes=[Route("/", show_lead)]))
    assert (await client.get("/")).headers["cache-control"] == "private"


async def test_embedded_files_carry_no_cookie(open_client: Any) -> None:
    client = open_client(Starlette(routes=[Route("/a.png", show_lead)]))
    headers = {"sec-fetch-dest": "image", "sec-fetch-mode": "no-cors"}
    assert set_cookies(await client.get("/a.png", headers=headers)) == {}


async def test_headers_of_a_response_are_optional(open_client: Any) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    assert "_bridge" in set_cookies(await open_client(app).get("/"))


async def test_visitor_is_in_the_scope(open_client: Any) -> None:
    async def handler(request: Request) -> Response:
        assert request.scope["bridge"] is current_visitor()
        return PlainTextResponse(repr(current_visitor()))

    client = open_client(Starlette(routes=[Route("/", handler)]))
    assert (await client.get("/")).text.startswith("Visitor(")


async def test_mounted_app_serves_its_paths_below_the_mount(outbox: SQLiteOutbox) -> None:
    bridge = make_bridge(outbox)
    inner = BridgeMiddleware(Starlette(routes=[Route("/", show_lead)]), bridge=bridge)
    client = make_client(Starlette(routes=[Mount("/shop", inner)]))
    assert (await client.get("/shop/_bridge/bridge.js")).status_code == 200
    assert (await client.get("/shop/")).json()["event_name"] == "Lead"
    await bridge.stop(deadline=0)


class Server:
    """What a server says and hears over one lifespan."""

    def __init__(self, app: ASGIApp) -> None:
        self.heard: list[str] = []
        self._said: asyncio.Queue[Message] = asyncio.Queue()
        self._app = app

    async def _send(self, message: Message) -> None:
        self.heard.append(message["type"])

    async def run(self) -> None:
        for kind in ("startup", "shutdown"):
            self._said.put_nowait({"type": f"lifespan.{kind}"})
        async with asyncio.timeout(DEADLINE):
            await self._app({"type": "lifespan", "asgi": {}}, self._said.get, self._send)


COMPLETE = ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def raise_at_once(scope: Scope, receive: Receive, send: Send) -> None:
    raise ValueError(scope["type"])


async def raise_after_listening(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    raise ValueError(scope["type"])


async def return_at_once(scope: Scope, receive: Receive, send: Send) -> None:
    return


async def leave_after_startup(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})


@pytest.mark.parametrize(
    "app",
    [Starlette(), raise_at_once, raise_after_listening, return_at_once, leave_after_startup],
)
async def test_lifespan_is_answered_for_any_app(outbox: SQLiteOutbox, app: ASGIApp) -> None:
    server = Server(BridgeMiddleware(app, bridge=make_bridge(outbox)))
    await server.run()
    assert server.heard == COMPLETE


async def test_bridge_runs_inside_the_apps_own_lifespan(outbox: SQLiteOutbox) -> None:
    bridge = make_bridge(outbox)
    running = []

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        running.append(is_running(bridge))
        yield
        running.append(is_running(bridge))

    app = Starlette(lifespan=lifespan)
    await Server(BridgeMiddleware(app, bridge=bridge)).run()
    assert running == [False, True]
    assert not is_running(bridge)


async def test_failed_startup_is_passed_on(outbox: SQLiteOutbox) -> None:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        if app.debug is False:
            raise RuntimeError("no database")
        yield

    bridge = make_bridge(outbox)
    server = Server(BridgeMiddleware(Starlette(lifespan=lifespan), bridge=bridge))
    with pytest.raises(RuntimeError, match="no database"):
        await server.run()
    assert server.heard == ["lifespan.startup.failed"]
    assert not is_running(bridge)


async def test_websocket_passes_untouched(outbox: SQLiteOutbox) -> None:
    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    app = BridgeMiddleware(
        Starlette(routes=[WebSocketRoute("/ws", echo)]), bridge=make_bridge(outbox)
    )
    scope: Scope = {"type": "websocket", "path": "/ws", "headers": [], "query_string": b""}
    heard: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        heard.append(message)

    await app(scope, receive, send)
    assert [message["type"] for message in heard] == ["websocket.accept", "websocket.close"]
    assert not heard[0].get("headers")


HEADER_NAMES = [
    *("host", "cookie", "referer", "origin", "user-agent", "accept", "x-forwarded-for"),
    *("x-forwarded-host", "x-forwarded-proto", "forwarded", "sec-fetch-mode", "sec-fetch-dest"),
    *("sec-purpose", "sec-gpc", "x-consent", "if-none-match"),
]
COOKIE_NAMES = [
    "_fbp",
    "_fbc",
    "_bridge",
    "_bridge_x",
    "_bridge_c",
    "_bridge_t_0123456789ab",
    "cmp",
]
SAFE_LINE = re.compile(rb"[\x20-\x7e]+")


def make_hostile_app(consent: Consent) -> ASGIApp:
    bridge = make_bridge("sqlite:///:memory:", trusted_proxies=CLIENT[0], consent=consent)
    bridge.start = lambda: None  # type: ignore[method-assign]  # nothing is to be sent
    return BridgeMiddleware(Starlette(routes=[Route("/{path:path}", show_lead)]), bridge=bridge)


HOSTILE_APPS = [
    make_hostile_app(Consent(header="x-consent", cookie="cmp", default=default, gpc="denied"))
    for default in ("granted", "denied")
]


@given(
    headers=st.lists(st.tuples(st.sampled_from(HEADER_NAMES), st.binary(max_size=120)), max_size=8),
    cookies=st.lists(st.tuples(st.sampled_from(COOKIE_NAMES), st.binary(max_size=120)), max_size=6),
    query=st.binary(max_size=100),
    path=st.sampled_from(["/", "/p", "/_bridge/identity", "/_bridge/bridge.js", "/_bridge/x"]),
    app=st.sampled_from(HOSTILE_APPS),
)
def test_any_bytes_of_a_browser_are_answered_with_safe_headers(
    headers: list[tuple[str, bytes]],
    cookies: list[tuple[str, bytes]],
    query: bytes,
    path: str,
    app: ASGIApp,
) -> None:
    cookie = b"; ".join(name.encode() + b"=" + value for name, value in cookies)
    raw = [(name.encode(), value) for name, value in headers]
    scope = {**make_scope(path, query=query), "headers": [*raw, (b"cookie", cookie)]}
    heard: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        heard.append(message)

    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    assert heard[0]["status"] in (200, 304, 404)
    lines = [value for name, value in heard[0]["headers"] if name == b"set-cookie"]
    assert all(SAFE_LINE.fullmatch(line) for line in lines)
    assert all(len(line) < 4096 for line in lines)


async def test_send_is_a_coroutine_function(open_client: Any) -> None:
    seen: list[bool] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(inspect.iscoroutinefunction(send))  # as asgiref asks
        await Response("ok")(scope, receive, send)

    await open_client(app).get("/")
    assert seen == [True]
