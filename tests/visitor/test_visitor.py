"""A visitor over several requests: what is known, what is sent, what the browser keeps."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from bridge import (
    Bridge,
    BridgeMiddleware,
    Consent,
    InvalidEventError,
    InvalidTokenError,
    UsageError,
    current_visitor,
    enrich,
    identify,
    logout,
    track,
)
from bridge.destinations import Segment
from bridge.events.normalizers import hash_external_id
from bridge.outbox import SQLiteOutbox
from bridge.visitor.bots import names_robot
from bridge.visitor.ip import prefer_ip
from tests.factories import (
    CLIENT,
    NAVIGATION,
    make_bridge,
    make_client,
    make_meta,
    make_scope,
    make_visitor,
    unix_now,
)

FETCH = {"sec-fetch-mode": "cors", "sec-fetch-dest": "empty", "sec-fetch-site": "same-origin"}
LDU = {
    "data_processing_options": ["LDU"],
    "data_processing_options_country": 0,
    "data_processing_options_state": 0,
}


async def show(request: Request) -> Response:
    await track("Lead")
    return JSONResponse(enrich({"event_name": "Lead"}))


async def log_in(request: Request) -> Response:
    identify("User 42")
    return PlainTextResponse("")


async def log_out(request: Request) -> Response:
    logout()
    return PlainTextResponse("")


async def choose(request: Request) -> Response:
    current_visitor().set_consent(request.path_params["choice"])
    await track("Lead")
    return PlainTextResponse(current_visitor().consent)


ROUTES = [
    Route("/", show),
    Route("/login", log_in),
    Route("/logout", log_out),
    Route("/choose/{choice}", choose),
    Route("/internal/check", show),
]


def names(response: httpx.Response) -> list[str]:
    """The cookies that ``response`` sets."""
    return [line.partition("=")[0] for line in response.headers.get_list("set-cookie")]


class Site:
    """An app with Bridge in front, a browser, and what was stored."""

    def __init__(self, bridge: Bridge, outbox: SQLiteOutbox) -> None:
        self.bridge = bridge
        self.client = make_client(BridgeMiddleware(Starlette(routes=ROUTES), bridge=bridge))
        self.outbox = outbox

    async def get(self, path: str = "/", **headers: str) -> httpx.Response:
        return await self.client.get(
            path, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )

    async def fetch(self, path: str = "/") -> httpx.Response:
        return await self.client.get(path, headers=FETCH)

    @property
    def cookies(self) -> set[str]:
        return {cookie.name for cookie in self.client.cookies.jar if cookie.value}

    async def stored(self) -> list[dict[str, Any]]:
        rows = await self.outbox._run(
            lambda connection: connection.execute("SELECT body FROM bodies").fetchall()
        )
        return [msgspec.json.decode(body) for (body,) in rows]


@pytest.fixture
async def open_site(outbox: SQLiteOutbox) -> AsyncIterator[Any]:
    sites = []

    def open_site(**options: Any) -> Site:
        sites.append(Site(make_bridge(outbox, **options), outbox))
        return sites[-1]

    yield open_site
    for site in sites:
        await site.bridge.stop(deadline=0)


# Robots, prefetches, excluded paths


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        pytest.param(
            {
                "user_agent": "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
            },
            "bot",
            id="crawler",
        ),
        pytest.param({"user_agent": "facebookexternalhit/1.1"}, "bot", id="link preview"),
        pytest.param({"user_agent": "facebookcatalog/1.0"}, "bot", id="catalog"),
        pytest.param({"user_agent": "meta-externalads/1.1"}, "bot", id="Meta's ads"),
        pytest.param({"user_agent": "Mozilla/5.0 (compatible; Bytespider)"}, "bot", id="bytedance"),
        pytest.param({"user_agent": "Mozilla/5.0 (compatible; ChatGPT-User/1.0)"}, "bot", id="gpt"),
        pytest.param({"user_agent": "Mozilla/5.0 Chrome-Lighthouse"}, "bot", id="lighthouse"),
        pytest.param({"user_agent": "Mozilla/5.0 (Applebot/0.1)"}, "bot", id="applebot"),
        pytest.param({"user_agent": "Mozilla/5.0 HeadlessChrome/156.0"}, "bot", id="headless"),
        pytest.param({"sec_purpose": "prefetch"}, "prefetch", id="prefetch"),
        pytest.param({"sec_purpose": "prefetch;prerender"}, "prerender", id="prerender"),
        pytest.param({"purpose": "prefetch"}, "prefetch", id="older prefetch"),
        pytest.param({"x_probe": "1"}, "probe", id="the app's own rule"),
    ],
)
async def test_what_is_no_visitor_gets_no_identity_and_sends_no_event(
    open_site: Any, headers: dict[str, str], reason: str
) -> None:
    site = open_site(ignore=lambda connection: "probe" if "x-probe" in connection.headers else None)
    response = await site.get("/?fbclid=A", **headers)
    assert response.status_code == 200
    assert response.json()["user_data"] == {}
    assert site.cookies == set()
    assert await site.stored() == []
    assert site.bridge.counters[f"ignored_requests.{reason}"] == 1
    assert site.bridge.counters[f"skipped_events.{reason}"] == 1


@pytest.mark.parametrize("paths", ["/internal", ["/internal"], ["/internal/"]])
async def test_excluded_path_meets_nobody(open_site: Any, paths: str | list[str]) -> None:
    site = open_site(exclude_paths=paths)
    await site.get("/internal/check")
    assert site.cookies == set()
    assert await site.stored() == []
    await site.get("/")
    assert len(await site.stored()) == 1


@pytest.mark.parametrize(
    ("path", "is_met"),
    [("/internal", False), ("/internal/", False), ("/internal/a", False), ("/internals", True)],
)
async def test_excluded_path_is_itself_and_all_below_it(
    open_site: Any, path: str, is_met: bool
) -> None:
    site = open_site(exclude_paths="/internal")
    await site.get(path)
    assert bool(site.cookies) == is_met


async def test_rule_that_fails_costs_nobody_a_page(open_site: Any) -> None:
    def fail(connection: Any) -> str | None:
        raise KeyError("x")

    site = open_site(ignore=fail)
    assert (await site.get()).status_code == 200
    assert len(await site.stored()) == 1


async def test_phone_called_cubot_is_a_visitors(open_site: Any) -> None:
    site = open_site()
    await site.get(user_agent="Mozilla/5.0 (Linux; Android 9; CUBOT_NOTE_S) AppleWebKit/537.36")
    assert len(await site.stored()) == 1


async def test_robot_that_only_user_agents_knows_sends_no_event(open_site: Any) -> None:
    site, known_only = open_site(), "Mozilla/5.0 (compatible; heritrix/3.3.0)"
    assert not names_robot(known_only)
    await site.get(user_agent=known_only)
    assert await site.stored() == []
    assert site.bridge.counters["skipped_events.bot"] == 1


@pytest.mark.parametrize(
    ("client", "trusted", "words"),
    [
        (("10.0.0.3", 1), "", "at 10.0.0.3 that is not trusted"),
        (("10.0.0.3", 1), "unix 127.0.0.1", "add its address or network to trusted_proxies"),
        (("10.0.0.3", 1), "10.0.0.0/8", None),
        (None, "", "the other end of a Unix socket"),
        (("", "0"), "127.0.0.1", "add unix to trusted_proxies"),
        (None, "unix", None),
        (("9.9.9.9", 1), "127.0.0.1", None),
    ],
)
async def test_proxy_that_is_not_trusted_is_told_once(
    open_site: Any, caplog: pytest.LogCaptureFixture, client: Any, trusted: str, words: str | None
) -> None:
    scope = make_scope(headers={**NAVIGATION, "x-forwarded-for": "8.8.8.8"}, client=client)
    bridge = open_site(trusted_proxies=trusted).bridge
    for _ in range(3):
        make_visitor(bridge, scope).start_response()
    lines = [line for line in caplog.messages if "trusted_proxies" in line]
    assert len(lines) == (words is not None)
    assert all((words or "") in line and "8.8.8.8" not in line for line in lines)


@pytest.mark.parametrize(
    ("user_agent", "address", "lines"),
    [
        ("Mozilla/5.0 HeadlessChrome/156.0", "127.0.0.1", 1),
        ("Mozilla/5.0 HeadlessChrome/156.0", "93.184.216.34", 0),
        ("Googlebot/2.1", "127.0.0.1", 0),
    ],
)
async def test_headless_browser_of_a_developer_is_told_once(
    open_site: Any, caplog: pytest.LogCaptureFixture, user_agent: str, address: str, lines: int
) -> None:
    bridge = open_site().bridge
    headers = {**NAVIGATION, "user-agent": user_agent}
    for _ in range(3):
        make_visitor(bridge, make_scope(headers=headers, client=(address, 1))).start_response()
    assert bridge.counters["ignored_requests.bot"] == 3
    assert len([line for line in caplog.messages if "a headless browser" in line]) == lines


# Address, renewal, login, logout


@pytest.mark.parametrize(
    ("seen", "stored", "age", "expected"),
    [
        ("8.8.8.8", None, 0, "8.8.8.8"),
        ("9.9.9.9", "8.8.8.8", 0, "9.9.9.9"),
        ("8.8.8.8", "2606:2800::1", 86_399, "2606:2800::1"),
        ("8.8.8.8", "2606:2800::1", 86_400, "8.8.8.8"),
        ("2606:2800::2", "2606:2800::1", 0, "2606:2800::2"),
        (None, "8.8.8.8", 0, "8.8.8.8"),
        (None, "2606:2800::1", 86_400, "2606:2800::1"),
        (None, None, 0, None),
    ],
)
def test_public_ipv6_is_preferred_for_a_day(
    seen: str | None, stored: str | None, age: int, expected: str | None
) -> None:
    assert prefer_ip(seen, stored, 1000, 1000 + age) == expected


async def test_ipv6_of_a_day_ago_is_not_sent_any_more(
    open_site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = open_site(trusted_proxies=CLIENT[0])
    await site.get(x_forwarded_for="2606:2800::1")
    for hours, expected in ((23, "2606:2800::1"), (25, "8.8.8.8")):
        now = time.time() + hours * 3600
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda now=now: now)
            event = (await site.get(x_forwarded_for="8.8.8.8")).json()
        assert event["user_data"]["client_ip_address"] == expected


async def test_ipv6_seen_by_a_fetch_lasts(open_site: Any) -> None:
    site = open_site(trusted_proxies=CLIENT[0])
    assert (await site.get(x_forwarded_for="8.8.8.8")).json()["user_data"][
        "client_ip_address"
    ] == "8.8.8.8"
    await site.client.get("/", headers={**FETCH, "x-forwarded-for": "2606:2800::1"})
    after = await site.get(x_forwarded_for="8.8.8.8")
    assert after.json()["user_data"]["client_ip_address"] == "2606:2800::1"


async def test_cookies_are_renewed_daily_and_not_more_often(
    open_site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = open_site()
    await site.get("/?fbclid=A")
    fbp, now = site.client.cookies["_fbp"], time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3600)
    assert not [x for x in names(await site.fetch()) if not x.startswith("_bridge_t_")]
    monkeypatch.setattr(time, "time", lambda: now + 86_401)
    renewed = [x for x in names(await site.fetch()) if not x.startswith("_bridge_t_")]
    assert renewed == ["_bridge", "_fbp", "_fbc", "_bridge_x"]
    assert site.client.cookies["_fbp"] == fbp


async def test_cookie_of_another_domains_index_is_not_written_again(
    open_site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = open_site()
    site.client.cookies.set("_fbp", "fb.2.1700000000000.123", domain="shop.example.com")
    await site.get()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 86_401)
    response = await site.fetch()
    assert response.json()["user_data"]["fbp"] == "fb.2.1700000000000.123"
    assert "_bridge" in names(response)
    assert "_fbp" not in names(response)


async def test_login_by_fetch_carries_both_external_ids_until_the_next_page(open_site: Any) -> None:
    site = open_site()
    [anonymous] = (await site.get()).json()["user_data"]["external_id"]
    await site.fetch("/login")
    pixel_id, user = (await site.fetch()).json()["user_data"]["external_id"]
    assert pixel_id == anonymous
    assert (await site.get()).json()["user_data"]["external_id"] == [user]


async def test_logout_clears_every_cookie_of_ours(open_site: Any) -> None:
    site = open_site()
    [before] = (await site.get("/?fbclid=A")).json()["user_data"]["external_id"]
    assert {"_bridge", "_bridge_x", "_fbp", "_fbc"} < site.cookies
    await site.get("/logout")
    assert site.cookies == set()
    [after] = (await site.get()).json()["user_data"]["external_id"]
    assert after != before


async def test_event_without_a_page_names_the_site(open_site: Any) -> None:
    bridge = open_site().bridge
    event = bridge.enrich(
        {"event_name": "Lead"}, visitor=make_visitor(bridge, make_scope(headers=FETCH))
    )
    assert event["event_source_url"] == "http://shop.example.com/"
    hostile = make_visitor(bridge, make_scope(headers={**FETCH, "host": "a b"}))
    event = bridge.enrich({"event_name": "Lead"}, visitor=hostile)
    assert "event_source_url" not in event
    assert event["action_source"] == "other"


async def test_logout_below_an_excluded_path_clears_too(open_site: Any) -> None:
    site = open_site(exclude_paths=["/logout"])
    await site.get()
    await site.get("/logout")
    assert site.cookies == set()


async def test_login_after_a_logout_in_the_same_request_begins_a_new_identity(
    open_site: Any,
) -> None:
    site = open_site()
    await site.get("/")
    await site.get("/login")

    async def switch(request: Request) -> Response:
        logout()
        assert (await track("Lead")).skip_reason == "logged_out"
        identify("User 43")
        return JSONResponse(enrich({"event_name": "Lead"}))

    app = BridgeMiddleware(Starlette(routes=[Route("/", switch)]), bridge=site.bridge)
    async with make_client(app, cookies=site.client.cookies) as client:
        before = site.client.cookies["_bridge"]
        event = (await client.get("/")).json()
        anonymous, user = event["user_data"]["external_id"]
        assert user == hash_external_id("User 43")
        assert hash_external_id("User 42") not in (anonymous, user)
        assert client.cookies["_bridge"] not in ("", before)


async def test_session_of_our_own_domain_counts_among_several(open_site: Any) -> None:
    site, other = open_site(), open_site(cookie_domain="shop.example.com")
    sessions = []
    for bridge in (site.bridge, other.bridge):
        visitor = make_visitor(bridge, make_scope(headers=NAVIGATION))
        lines = visitor.start_response()
        value = next(line for line in lines if line.startswith(b"_bridge="))
        sessions.append((visitor.external_id, value.partition(b";")[0].decode()))
    for order in (sessions, sessions[::-1]):
        header = "; ".join(cookie for _, cookie in order)
        scope = make_scope(headers={**NAVIGATION, "cookie": header})
        assert make_visitor(site.bridge, scope).external_id == sessions[0][0]
        assert make_visitor(other.bridge, scope).external_id == sessions[1][0]


async def test_response_sets_a_bounded_number_of_cookies(open_site: Any) -> None:
    site = open_site()
    twins = "; ".join(f"_bridge_t_{n:012x}=x" for n in range(320))
    await site.get()
    cookie = f"_bridge={site.client.cookies['_bridge']}; {twins}"
    visitor = make_visitor(site.bridge, make_scope(headers={**NAVIGATION, "cookie": cookie}))
    visitor.logout()
    assert len(visitor.start_response()) < 60


# Consent


async def test_denied_stores_nothing_sends_nothing_and_clears(open_site: Any) -> None:
    site = open_site()
    await site.get("/?fbclid=A")
    assert len(await site.stored()) == 1
    assert (await site.get("/choose/denied")).text == "denied"
    assert site.cookies == {"_bridge_c"}
    response = await site.get("/?fbclid=B")
    assert response.json()["user_data"] == {}
    assert site.cookies == {"_bridge_c"}
    assert await site.stored() == []  # what waited is taken back
    assert site.bridge.counters["skipped_events.consent_denied"] == 2


async def test_pending_sets_nothing_until_it_is_granted(open_site: Any) -> None:
    site = open_site(consent="pending")
    response = await site.get("/?fbclid=A")
    assert response.json()["user_data"] == {}
    assert site.cookies == set()
    assert await site.stored() == []
    await site.get("/choose/granted")
    assert {"_bridge", "_bridge_c", "_bridge_x", "_fbp"} < site.cookies
    [event] = await site.stored()
    assert event["user_data"]["fbp"] == site.client.cookies["_fbp"]


async def test_limited_puts_ldu_on_the_server_copy(open_site: Any) -> None:
    site = open_site(consent="limited")
    event = (await site.get()).json()
    assert {key: event[key] for key in LDU} == LDU
    [stored] = await site.stored()
    assert {key: stored[key] for key in LDU} == LDU


async def test_limited_leaves_what_the_caller_set(open_site: Any) -> None:
    bridge = open_site(consent="limited").bridge
    visitor = make_visitor(bridge, make_scope(headers=NAVIGATION))
    given = {"event_name": "Lead", "data_processing_options": []}
    event = bridge.enrich(given, visitor=visitor)
    assert event["data_processing_options"] == []
    assert "data_processing_options_country" not in event


@pytest.mark.parametrize(
    ("gpc", "limited", "known"),
    [("limited", True, True), ("denied", False, False), ("ignore", False, True)],
)
async def test_global_privacy_control_is_honoured(
    open_site: Any, gpc: Any, limited: bool, known: bool
) -> None:
    site = open_site(consent=Consent(gpc=gpc))
    event = (await site.get(sec_gpc="1")).json()
    assert ("data_processing_options" in event) is limited
    assert bool(event["user_data"]) is known
    assert bool(site.cookies) is known
    assert bool(await site.stored()) is known
    # What the visitor grants on the site does not undo what the browser asks for.
    await site.get("/choose/granted", sec_gpc="1")
    event = (await site.get(sec_gpc="1")).json()
    assert ("data_processing_options" in event) is limited
    assert bool(event["user_data"]) is known


async def test_banners_cookie_and_header_decide(open_site: Any) -> None:
    site = open_site(consent=Consent(default="pending", cookie="cmp", header="X-Consent"))
    assert (await site.get()).json()["user_data"] == {}
    assert (await site.get(x_consent="granted")).json()["user_data"]
    site.client.cookies.set("cmp", "denied", domain="shop.example.com")
    assert (await site.get()).json()["user_data"] == {}


async def test_banner_outranks_the_visitors_choice(open_site: Any) -> None:
    site = open_site(consent=Consent(cookie="cmp"))
    site.client.cookies.set("cmp", "denied", domain="shop.example.com")
    assert (await site.get("/choose/granted")).text == "denied"
    assert await site.stored() == []
    assert "_bridge" not in site.cookies


async def test_pending_again_takes_the_scripts_cookie_away(open_site: Any) -> None:
    site = open_site(consent=Consent(default="pending", cookie="cmp"))
    site.client.cookies.set("cmp", "granted", domain="shop.example.com")
    await site.get()
    assert "_bridge_x" in site.cookies
    site.client.cookies.delete("cmp")
    await site.get()
    assert "_bridge_x" not in site.cookies


async def test_choice_that_is_none_is_refused(open_site: Any) -> None:
    visitor = make_visitor(open_site().bridge, make_scope(headers=NAVIGATION))
    with pytest.raises(
        UsageError, match="consent must be granted, limited or denied, got 'pending'"
    ):
        visitor.set_consent("pending")  # type: ignore[arg-type]


async def test_consent_endpoint_releases_the_landing_click(open_site: Any) -> None:
    site = open_site(consent="pending")
    settings = (await site.fetch("/_bridge/identity")).json()
    assert settings["c"] == "pending"
    body = {"state": "granted", "url": "http://shop.example.com/sale?fbclid=CLICK", "referrer": ""}
    response = await site.client.post("/_bridge/consent", json=body, headers=FETCH)
    assert len(response.json()["x"]) == 64
    assert site.client.cookies["_fbc"].endswith(".CLICK")
    assert site.client.cookies["_bridge_c"] == "granted"
    denied = await site.client.post("/_bridge/consent", json={"state": "denied"}, headers=FETCH)
    assert denied.json()["c"] == "denied"
    assert site.cookies == {"_bridge_c"}


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        ({"state": "pending"}, {}, 400),
        ({"state": "granted", "fbp": "x"}, {}, 400),
        ({"state": "granted"}, {"sec-fetch-site": "cross-site"}, 403),
    ],
)
async def test_consent_endpoint_refuses(
    open_site: Any, body: dict[str, str], headers: dict[str, str], status: int
) -> None:
    site = open_site()
    response = await site.client.post("/_bridge/consent", json=body, headers={**FETCH, **headers})
    assert response.status_code == status
    assert "_bridge_c" not in site.cookies


async def test_what_identify_told_of_the_browser_counts_until_it_is_seen(open_site: Any) -> None:
    bridge = open_site().bridge
    visitor = make_visitor(bridge, make_scope(headers=NAVIGATION))
    identify("42", fbc="fb.1.1.FromApp", fbp="fb.1.1.2", visitor=visitor)
    assert visitor.user_data.fbc == "fb.1.1.FromApp"
    assert visitor.user_data.fbp == visitor.identity.fbp != "fb.1.1.2"


# Beyond the request


async def test_sealed_visitor_tracks_without_a_request(open_site: Any) -> None:
    site = open_site(browser_hold=60)
    visitor = make_visitor(site.bridge, make_scope("/p", query=b"fbclid=A", headers=NAVIGATION))
    identify("42", email="ada@example.com", visitor=visitor)
    token = visitor.seal()
    assert len(token) <= 500

    elsewhere = make_bridge(site.outbox).unseal(token)
    event = await track(
        "Purchase", {"value": 1, "currency": "EUR"}, event_id="A-1", visitor=elsewhere
    )
    assert event.user_data.fbc == visitor.identity.fbc
    assert event.user_data.em == visitor.identity.user_data.em
    assert event.user_data.external_id[-1] == visitor.identity.external_id
    assert event.user_data.client_ip_address == CLIENT[0]
    assert event.event_source_url == "http://shop.example.com/p?fbclid=A"
    assert elsewhere.twins == []
    claimed = await site.outbox.claim("meta:1234567890123456", 9, now=unix_now() + 1, lease=60)
    assert [delivery.event_id for delivery in claimed] == ["A-1"]
    identify(email="other@example.com", visitor=elsewhere)
    assert enrich({"event": "x"}, visitor=elsewhere)["userId"] == "42"


async def test_sealed_visitor_keeps_limited_consent(open_site: Any) -> None:
    bridge = open_site(consent="limited").bridge
    token = make_visitor(bridge, make_scope(headers=NAVIGATION)).seal()
    event = bridge.enrich({"event_name": "Lead"}, visitor=bridge.unseal(token))
    assert {key: event[key] for key in LDU} == LDU


@pytest.mark.parametrize("consent", ["denied", "pending"])
async def test_of_a_silent_visitor_a_token_sends_nothing(open_site: Any, consent: Any) -> None:
    site = open_site(consent=consent)
    token = make_visitor(site.bridge, make_scope(headers=NAVIGATION)).seal()
    visitor = site.bridge.unseal(token)
    assert (visitor.has_identity, visitor.skip_reason) == (False, f"consent_{consent}")
    await track("Lead", visitor=visitor)
    assert await site.outbox.count(unix_now(), with_delivered=True) == {}
    assert site.bridge.counters[f"skipped_events.consent_{consent}"] == 1


async def test_token_of_a_robot_or_for_an_own_reason_sends_nothing(open_site: Any) -> None:
    for reason, told in (("internal tool", "internal tool"), ("x" * 1000, "ignored")):
        site = open_site(ignore=lambda connection, reason=reason: reason)
        token = make_visitor(site.bridge, make_scope(headers=NAVIGATION)).seal()
        assert len(token) <= 500
        assert site.bridge.unseal(token).skip_reason == told


async def test_forgotten_visitor_is_sealed_as_nobody(open_site: Any) -> None:
    site = open_site()
    visitor = make_visitor(site.bridge, make_scope(headers=NAVIGATION))
    visitor.logout()
    opened = site.bridge.unseal(visitor.seal())
    assert (opened.has_identity, opened.skip_reason) == (False, "logged_out")


@pytest.mark.parametrize("token", [None, 42, b"nonsense"])
async def test_what_is_no_text_is_no_token(open_site: Any, token: Any) -> None:
    with pytest.raises(InvalidTokenError, match=r"expected a token made by visitor.seal\(\)"):
        open_site().bridge.unseal(token)


async def test_token_that_is_none_is_refused(open_site: Any) -> None:
    with pytest.raises(InvalidTokenError):
        open_site().bridge.unseal("nonsense")


# Segment's analytics.js on the page


async def external_id(site: Site, **headers: str) -> str:
    answer = await site.get("/", **headers)
    [found] = answer.json()["user_data"]["external_id"]
    return str(found)


async def test_anonymous_id_of_analytics_js_is_ours_from_the_first_request(open_site: Any) -> None:
    site = open_site(destinations=[make_meta(), Segment("key")])
    site.client.cookies.set(
        "ajs_anonymous_id", "%220b7b2f4e-6f0d-4c8b-8d0e-5a2f6c1b9e77%22", domain="shop.example.com"
    )
    assert await external_id(site) == hash_external_id("0b7b2f4e-6f0d-4c8b-8d0e-5a2f6c1b9e77")


@pytest.mark.parametrize(
    ("options", "is_used"),
    [
        ({}, False),
        ({"follow_segment": True}, True),
        ({"destinations": [Segment("key")]}, True),
        ({"destinations": [Segment("key")], "follow_segment": False}, False),
    ],
)
async def test_segments_cookie_counts_only_where_the_app_has_segment(
    open_site: Any, options: dict[str, Any], is_used: bool
) -> None:
    site = open_site(**options)
    site.client.cookies.set(
        "ajs_anonymous_id", "0b7b2f4e-6f0d-4c8b-8d0e-5a2f6c1b9e77", domain="shop.example.com"
    )
    segments = hash_external_id("0b7b2f4e-6f0d-4c8b-8d0e-5a2f6c1b9e77")
    assert (await external_id(site) == segments) is is_used


async def test_no_cookie_gives_the_external_id_of_a_user(open_site: Any) -> None:
    """Whatever a browser sends as Segment's anonymous id, but for a random UUID."""
    site = open_site(destinations=[make_meta(), Segment("key")])
    for user_id in (
        "customer-42",
        "42",
        "%2242%22",
        "a" * 32,
        "0b7b2f4e-6f0d-1c8b-8d0e-5a2f6c1b9e77",
    ):
        site.client.cookies.clear()
        site.client.cookies.set("ajs_anonymous_id", user_id, domain="shop.example.com")
        assert await external_id(site) != hash_external_id(user_id.replace("%22", ""))


async def test_analytics_js_that_comes_later_is_taken_over_where_a_page_begins(
    open_site: Any,
) -> None:
    site = open_site(destinations=[make_meta(), Segment("key")])
    first = await external_id(site)
    site.client.cookies.set(
        "ajs_anonymous_id", "0b7b2f4e-6f0d-4c8b-8d0e-5a2f6c1b9e77", domain="shop.example.com"
    )
    assert (await site.fetch()).json()["user_data"]["external_id"] == [first]
    assert await external_id(site) == hash_external_id("0b7b2f4e-6f0d-4c8b-8d0e-5a2f6c1b9e77")


async def test_reset_of_analytics_js_makes_a_stranger(open_site: Any) -> None:
    site = open_site(destinations=[make_meta(), Segment("key")])
    site.client.cookies.set(
        "ajs_anonymous_id", "0b7b2f4e-6f0d-4c8b-8d0e-5a2f6c1b9e77", domain="shop.example.com"
    )
    await site.get("/")
    await site.get("/login")
    assert await external_id(site) == hash_external_id("User 42")
    site.client.cookies.set(
        "ajs_anonymous_id", "5a2f6c1b-6f0d-4c8b-8d0e-0b7b2f4e9e77", domain="shop.example.com"
    )
    assert await external_id(site) == hash_external_id("5a2f6c1b-6f0d-4c8b-8d0e-0b7b2f4e9e77")


async def test_another_user_at_analytics_js_is_no_reset(open_site: Any) -> None:
    site = open_site(destinations=[make_meta(), Segment("key")])
    site.client.cookies.set(
        "ajs_anonymous_id", "0b7b2f4e-6f0d-4c8b-8d0e-5a2f6c1b9e77", domain="shop.example.com"
    )
    await site.get("/")
    await site.get("/login")
    site.client.cookies.set(
        "ajs_anonymous_id", "5a2f6c1b-6f0d-4c8b-8d0e-0b7b2f4e9e77", domain="shop.example.com"
    )
    site.client.cookies.set("ajs_user_id", "User%2042", domain="shop.example.com")
    assert await external_id(site) == hash_external_id("User 42")


async def test_track_message_of_a_silent_visitor_goes_nowhere_and_names_nobody(
    open_site: Any,
) -> None:
    site = open_site(consent="denied")
    visitor = make_visitor(site.bridge, make_scope("/"))
    message = enrich({"event": "Signed Up"}, visitor=visitor)
    assert message["integrations"] == {"All": False}
    assert message["anonymousId"] == message["messageId"]
    assert not {"ip", "userAgent", "fbp", "traits"} & message["context"].keys()


async def test_another_user_gets_nothing_of_the_one_before(open_site: Any) -> None:
    visitor = make_visitor(open_site().bridge, make_scope("/"))
    identify("A", email="ada@example.com", visitor=visitor)
    identify("A", city="Berlin", visitor=visitor)
    assert visitor.user_data.em
    assert visitor.user_data.ct
    identify("B", phone="+49 170 1234567", visitor=visitor)
    assert not visitor.user_data.em
    assert visitor.user_data.ph


@pytest.mark.parametrize("user_id", ["\ud800", "a\nb", ""])
async def test_user_id_that_no_message_can_hold_is_refused(open_site: Any, user_id: str) -> None:
    visitor = make_visitor(open_site().bridge, make_scope("/"))
    with pytest.raises(InvalidEventError, match="user_id"):
        identify(user_id, visitor=visitor)


async def test_identified_visitor_is_introduced_though_the_handler_fails(
    outbox: SQLiteOutbox,
) -> None:
    async def fail(request: Request) -> Response:
        identify("42")
        raise RuntimeError

    bridge = make_bridge(outbox, destinations=[Segment("a-write-key", url="http://127.0.0.1:9")])
    app = BridgeMiddleware(Starlette(routes=[Route("/", fail)]), bridge=bridge)
    with pytest.raises(RuntimeError):
        await make_client(app).get("/")
    names = [
        d.event_name for d in await outbox.claim(bridge.destinations[0].name, 9, now=2e9, lease=1)
    ]
    assert sorted(names) == ["$alias", "$identify"]
    await bridge.stop(deadline=0)


async def test_switches_of_the_caller_open_nothing_for_a_silent_visitor(open_site: Any) -> None:
    visitor = make_visitor(open_site(consent="denied").bridge, make_scope("/"))
    given = {"event": "Signed Up", "integrations": {"Amplitude": True}}
    assert enrich(given, visitor=visitor)["integrations"] == {"All": False}
    with pytest.raises(InvalidEventError, match="event"):
        enrich({"event": "ada@example.com did"}, visitor=visitor)


async def test_what_is_done_to_one_event_is_in_no_other(open_site: Any) -> None:
    bridge: Bridge = open_site().bridge
    visitor = make_visitor(bridge, make_scope(headers=NAVIGATION))
    identify("user-1", email="mary@example.com", visitor=visitor)
    event = await bridge.track("Lead", visitor=visitor)
    event.user_data.em.append("mary@example.com")
    event.user_data.external_id.append("mary@example.com")
    later = enrich({"event_name": "Lead"}, visitor=visitor)["user_data"]
    assert "mary@example.com" not in later["em"] + later["external_id"]
