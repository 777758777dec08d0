"""The running app as doctor finds it: real apps, with what newcomers get wrong."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

import bridge.doctor.visit as visit
from bridge import Bridge, BridgeMiddleware, ConfigError
from bridge.doctor.finding import Finding
from bridge.outbox import SQLiteOutbox
from tests.factories import SECRET, make_bridge

URL = "https://www.shop.example.com/"
VISITOR = "93.184.216.34"


class App:
    """A shop behind a bridge, and a proxy.

    ``headers`` are the app's own, ``late`` those that the proxy sets; ``forward`` is what it makes
    of a request.
    """

    def __init__(self, outbox: SQLiteOutbox, **options: Any) -> None:
        self.bridge: Bridge = make_bridge(outbox, **options)
        self.html = "<html><head>{tag}</head></html>"
        self.headers: dict[str, str] = {}
        self.has_middleware = True
        self.forward: Callable[[Any], Any] = lambda scope: scope
        self.peer = VISITOR
        self.late: dict[str, str] = {}

    def _page(self, request: Request) -> Response:
        html = self.html.replace("{tag}", self.bridge.script_tag())
        return HTMLResponse(html, headers=self.headers)

    def build(self) -> Any:
        app: Any = Starlette(routes=[Route("/", self._page), Route("/{rest:path}", _lost)])
        inner: Any = BridgeMiddleware(app, self.bridge) if self.has_middleware else app

        async def proxy(scope: Any, receive: Any, send: Any) -> None:
            async def change(message: Any) -> None:
                if message["type"] == "http.response.start":
                    late = [(k.encode(), v.encode()) for k, v in self.late.items()]
                    names = {name for name, _ in late}
                    kept = [pair for pair in message["headers"] if pair[0] not in names]
                    message = {**message, "headers": kept + [pair for pair in late if pair[1]]}
                await send(message)

            await inner(self.forward(scope), receive, change)

        return proxy

    async def examine(self, bridge: Bridge | None = None, url: str = URL) -> list[Finding]:
        transport = httpx.ASGITransport(self.build(), client=(self.peer, 5000))
        found = visit.look_at_site(bridge or self.bridge, url, transport)
        findings = [each async for each in found]
        await self.bridge.stop(deadline=0)
        return findings


def _lost(request: Request) -> Response:
    return PlainTextResponse("not here", 404)


@pytest.fixture
async def outbox(tmp_path: Any) -> AsyncIterator[SQLiteOutbox]:
    outbox = SQLiteOutbox(tmp_path / "bridge.db")
    yield outbox
    await outbox.close()


@pytest.fixture
def app(outbox: SQLiteOutbox) -> App:
    return App(outbox)


@pytest.fixture(autouse=True)
def _reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shop's name resolves to a public address; no test asks a name server."""
    monkeypatch.setattr(visit, "_reaches_out", lambda host: not host.startswith("127."))


def wrong(findings: list[Finding]) -> dict[str, str]:
    """What is not as it should be: text and fix by what was looked at."""
    return {
        each.what: f"{each.text} → {each.fix}"
        for each in findings
        if each.level in ("bad", "warning")
    }


async def test_nothing_is_wrong_where_nothing_is(app: App) -> None:
    findings = await app.examine()
    assert wrong(findings) == {}
    good = [each.what for each in findings if each.level == "good"]
    assert good == [
        "script tag", "policy", "cookies", "page address", "caching", "client address", "script",
        "health",
    ]  # fmt: skip


async def test_page_without_the_tag(app: App) -> None:
    app.html = "<html></html>"
    found = wrong(await app.examine())["script tag"]
    assert "{{ bridge.script_tag() }} (Django: {{ bridge_tag }}" in found


async def test_page_that_is_not_there_is_the_only_thing_wrong_with_it(app: App) -> None:
    found = await app.examine(url=f"{URL}nowhere")
    assert [each.what for each in found if each.level == "bad"] == ["page"]
    assert "nowhere answers 404 → give --url" in wrong(found)["page"]


async def test_tag_with_another_path(app: App) -> None:
    app.html = '<script src="/bridge.js"></script>'
    found = wrong(await app.examine())["script tag"]
    assert "has /bridge.js, but the path is /_bridge/bridge.js" in found


async def test_page_with_another_pixel(app: App) -> None:
    [own] = app.bridge._pixel_ids
    app.html = f"<html>{{tag}}<script>fbq('init', '{own}'); fbq('init', '77')</script></html>"
    [found] = [each for each in await app.examine() if each.what == "pixel"]
    assert found.level == "note"
    assert "initialises 77, which is not in these settings" in found.text


async def test_integrity_of_another_script(app: App) -> None:
    app.html = re.sub(r"sha384-[^\"]{9}", "sha384-AAAAAAAAA", app.bridge.script_tag())
    found = wrong(await app.examine())["script"]
    assert "browsers block it" in found
    assert "bridge.script_tag()" in found


@pytest.mark.parametrize(
    ("integrity", "is_blocked"),
    [
        ("md5-AAAA", False),
        ("sha256-AAAA {right}", False),
        ("{right} sha512-AAAA", True),
        ("sha384-AAAA {right}?a", False),
    ],
)
async def test_integrity_is_read_as_by_a_browser(
    app: App, integrity: str, is_blocked: bool
) -> None:
    app.html = re.sub(
        r"(sha384-[^\"]*)",
        lambda found: integrity.replace("{right}", found[1]),
        app.bridge.script_tag(),
    )
    assert ("script" in wrong(await app.examine())) == is_blocked


async def test_proxy_that_rewrites_the_script(app: App) -> None:
    inner = httpx.ASGITransport(app.build(), client=(VISITOR, 5000))

    class Proxy(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            answer = await inner.handle_async_request(request)
            content = await answer.aread()
            headers = {k: v for k, v in answer.headers.items() if k != "content-encoding"}
            if request.url.path.endswith(".js"):
                content = b"/* faster */"
            headers.pop("content-length", None)
            return httpx.Response(answer.status_code, headers=headers, content=content)

    findings = [each async for each in visit.look_at_site(app.bridge, URL, Proxy())]
    assert "script_tag(integrity=False)" in wrong(findings)["script"]
    app.html = f"<head>{app.bridge.script_tag(integrity=False)}</head>"
    findings = [each async for each in visit.look_at_site(app.bridge, URL, Proxy())]
    assert "not the one that these settings make" in wrong(findings)["script"]
    await app.bridge.stop(deadline=0)


@pytest.mark.parametrize("cors", ["crossorigin", "header"])
async def test_integrity_across_origins_needs_cors(app: App, cors: str) -> None:
    tag = app.bridge.script_tag(origin="https://api.shop.example.com")
    app.html = tag.replace(' crossorigin="anonymous"', "") if cors == "crossorigin" else tag
    app.late = {"access-control-allow-origin": ""} if cors == "header" else {}
    assert "integrity needs crossorigin" in wrong(await app.examine())["script"]
    app.html, app.late = tag, {}
    assert "script" not in wrong(await app.examine())


@pytest.mark.parametrize(
    "pixel",
    ["<script>!function(f){fbq('init', '1')}</script>", '<script src="https://x/fbevents.js">'],
)
async def test_pixel_of_the_page_that_comes_first(app: App, pixel: str) -> None:
    app.html = f"<html>{pixel}</script>{{tag}}</html>"
    assert "ahead of Meta's snippet" in wrong(await app.examine())["script tag"]
    app.html = f"<html>{{tag}}{pixel}</script></html>"
    assert "script tag" not in wrong(await app.examine())


async def test_app_without_the_middleware(app: App) -> None:
    app.has_middleware = False
    found = wrong(await app.examine())
    assert "BridgeMiddleware" in found["cookies"]
    assert "answers 404 →" in found["script"]


async def test_other_settings_than_those_that_run(app: App, outbox: SQLiteOutbox) -> None:
    other = make_bridge(outbox, secret_key=SECRET[::-1], pixel_script_url="https://x.example/f.js")
    found = wrong(await app.examine(other))
    assert "same BRIDGE_SECRET_KEY" in found["secret key"]
    assert "not the one that these settings make" in found["script"]


async def test_policy_that_blocks_the_pixel(app: App) -> None:
    app.headers = {"content-security-policy": "default-src 'self'; img-src *"}
    findings = await app.examine()
    fixes = [each.fix for each in findings if each.what == "policy"]
    assert [each.partition(" (")[0] for each in fixes] == [
        "add to script-src: https://connect.facebook.net",
        "add to connect-src: https://www.facebook.com",
    ]


@pytest.mark.parametrize("nonce", [None, "bm9uY2U", "b3RoZXI"])
async def test_policy_by_which_only_a_nonce_runs(app: App, nonce: str | None) -> None:
    app.html = f"<head>{app.bridge.script_tag(nonce=nonce)}</head>"
    app.headers = {
        "content-security-policy": "script-src 'self' https: 'nonce-bm9uY2U' 'strict-dynamic'"
    }
    found = wrong(await app.examine())
    if nonce == "bm9uY2U":
        assert "policy" not in found
    else:
        assert "bridge.script_tag(nonce=nonce)" in found["policy"]
        assert ("our tag does not have it" in found["policy"]) == (nonce is None)


async def test_page_without_a_tag_is_not_praised_for_such_a_policy(app: App) -> None:
    app.html = "<html></html>"
    app.headers = {"content-security-policy": "script-src 'nonce-bm9uY2U' 'strict-dynamic'"}
    assert "bridge.script_tag(nonce=nonce)" in wrong(await app.examine())["policy"]


async def test_hash_of_the_tag_is_as_good_as_a_nonce(app: App) -> None:
    [integrity] = re.findall(r'integrity="([^"]*)"', app.bridge.script_tag())
    app.headers = {"content-security-policy": f"script-src '{integrity}' 'strict-dynamic'"}
    assert "policy" not in wrong(await app.examine())


async def test_policy_that_names_trusted_types(app: App) -> None:
    app.headers = {
        "content-security-policy": "require-trusted-types-for 'script'; trusted-types foo"
    }
    found = wrong(await app.examine())["policy"]
    assert found.endswith("add to trusted-types: bridge connect.facebook.net/fbevents")


async def test_policy_in_the_page_itself(app: App) -> None:
    policy = '<meta http-equiv="Content-Security-Policy" content="img-src &#39;self&#39;">'
    app.html = policy + app.html
    assert "img-src" in wrong(await app.examine())["policy"]


async def test_https_that_the_app_does_not_know_of(app: App) -> None:
    app.forward = lambda scope: {**scope, "scheme": "http"}
    found = wrong(await app.examine())
    assert "not Secure on https" in found["cookies"]
    assert "BRIDGE_TRUSTED_PROXIES" in found["cookies"]


def _rename_host(name: str) -> Callable[[Any], Any]:
    def forward(scope: Any) -> Any:
        headers = [
            (b"host", name.encode()) if k == b"host" else (k, v) for k, v in scope["headers"]
        ]
        return {**scope, "headers": headers}

    return forward


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("backend.internal.example.net", "browsers drop them"),
        ("127.0.0.1:8000", "not for all of shop.example.com"),
    ],
)
async def test_host_that_the_proxy_does_not_pass(
    app: App, monkeypatch: pytest.MonkeyPatch, host: str, words: str
) -> None:
    app.forward = _rename_host(host)
    words = words.replace("shop.example.com", "example.com")
    assert words in wrong(await app.examine())["cookies"]


@pytest.mark.parametrize(
    ("url", "host", "seen"),
    [
        ("https://www.shop.example.com/", "127.0.0.1:8791", "https://127.0.0.1:8791"),
        ("http://me:secret@127.0.0.1:8080/", "127.0.0.1:8791", "http://127.0.0.1:8791"),
        ("http://127.0.0.1:8080/", "127.0.0.1", "http://127.0.0.1"),  # nginx's $host
        ("https://www.shop.example.com/", "shop.example.com", "https://shop.example.com"),
        ("https://www.shop.example.com/", "WWW.shop.example.com:443", None),
        ("http://127.0.0.1:8080/", "127.0.0.1:8080", None),
    ],
)
async def test_address_that_the_app_sees_is_the_one_asked_for(
    app: App, url: str, host: str, seen: str | None
) -> None:
    app.forward = _rename_host(host)
    found = wrong(await app.examine(url=url)).get("page address")
    if seen is None:
        assert found is None
    else:
        assert found is not None
        assert f"the app sees {seen}: events carry URLs" in found
        assert "secret" not in found
        assert found.endswith("(nginx: proxy_set_header Host $http_host)")


async def test_https_that_the_app_only_believes(app: App) -> None:
    app.forward = lambda scope: {**scope, "scheme": "https"}
    found = wrong(await app.examine(url="http://127.0.0.1:8080/"))["page address"]
    assert "asked for http://127.0.0.1:8080, the app sees https://127.0.0.1:8080" in found
    assert "X-Forwarded-Proto" in found


async def test_host_that_the_app_refuses(outbox: SQLiteOutbox) -> None:
    app = App(outbox, allowed_hosts=["www.shop.example.com"])
    app.forward = _rename_host("127.0.0.1:8791")
    assert "add www.shop.example.com to allowed_hosts" in wrong(await app.examine())["page address"]


async def test_http_without_tls(app: App) -> None:
    found = wrong(await app.examine(url="http://www.shop.example.com/"))
    assert "redirect http to https" in found["cookies"]


async def test_proxy_that_is_not_trusted(app: App) -> None:
    app.peer = "10.0.0.2"
    found = wrong(await app.examine())
    assert found["client address"].endswith(
        "set trusted_proxies (BRIDGE_TRUSTED_PROXIES) to your proxy's address or network, or to"
        " unix if it connects over a Unix socket"
    )


def _append_client(scope: Any) -> Any:
    """As a proxy at 10.0.0.2 does: what came in the header stays, and the client is appended."""
    before = [v for k, v in scope["headers"] if k == b"x-forwarded-for"]
    headers = [pair for pair in scope["headers"] if pair[0] != b"x-forwarded-for"]
    value = b", ".join([*before, VISITOR.encode()])
    return {**scope, "client": ("10.0.0.2", 1), "headers": [*headers, (b"x-forwarded-for", value)]}


async def test_proxy_that_is_trusted(outbox: SQLiteOutbox) -> None:
    app = App(outbox, trusted_proxies="10.0.0.0/8")
    app.forward = _append_client
    assert "client address" not in wrong(await app.examine())


async def test_header_of_a_visitor_that_is_believed(outbox: SQLiteOutbox) -> None:
    app = App(outbox, trusted_proxies=["10.0.0.0/8", "93.184.0.0/16"])
    app.forward = _append_client
    found = wrong(await app.examine())
    assert "anybody can choose an address" in found["client address"]


async def test_same_network_says_nothing_of_addresses(app: App) -> None:
    app.peer = "127.0.0.1"
    findings = await app.examine(url="https://127.0.0.1/")
    [found] = [each for each in findings if each.what == "client address"]
    assert (found.level, found.fix) == ("note", "run doctor --url from another network")
    assert "is never sent; visitors' are" in found.text


async def test_cache_that_gives_all_visitors_one_session(app: App) -> None:
    kept: dict[str, httpx.Response] = {}
    inner = httpx.ASGITransport(app.build(), client=(VISITOR, 5000))

    class Cache(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            key = str(request.url)
            if key not in kept:
                answer = await inner.handle_async_request(request)
                content = await answer.aread()
                kept[key] = httpx.Response(200, headers=answer.headers, content=content)
            found = kept[key]
            return httpx.Response(200, headers=found.headers, content=found.content)

    findings = [each async for each in visit.look_at_site(app.bridge, URL, Cache())]
    assert "all visitors become one" in wrong(findings)["caching"]
    await app.bridge.stop(deadline=0)


async def test_proxy_that_makes_pages_public(app: App) -> None:
    app.late = {"cache-control": "public, max-age=60"}
    assert "something behind Bridge adds it" in wrong(await app.examine())["caching"]


async def test_page_that_caches_may_keep_has_no_cookies(app: App) -> None:
    app.headers = {"cache-control": "public, max-age=60"}
    findings = await app.examine()
    [found] = [each for each in findings if each.what == "cookies"]
    assert found.level == "note"
    assert "caches may keep it" in found.text


@pytest.mark.parametrize("caching", ["no-store", ""], ids=["no-store", "none"])
async def test_script_that_browsers_may_not_keep(app: App, caching: str) -> None:
    app.late = {"cache-control": caching}
    assert "each page loads it again" in wrong(await app.examine())["script"]


async def test_consent_that_is_pending_is_no_mistake(outbox: SQLiteOutbox) -> None:
    app = App(outbox, consent="pending")
    findings = await app.examine()
    assert wrong(findings) == {}
    assert "before the visitor agrees" in next(f.text for f in findings if f.what == "cookies")


async def test_clock_of_the_app(app: App) -> None:
    app.late = {"date": "Thu, 01 Jan 2026 00:00:00 GMT"}
    assert "time synchronisation" in wrong(await app.examine())["clock"]


async def test_health_that_is_not_well(app: App, outbox: SQLiteOutbox) -> None:
    from bridge.outbox import Circuit

    [name] = app.bridge.destinations.names
    await outbox.save_circuit(Circuit(destination=name, state="open", reason="token: x", since=1.0))
    assert "says degraded" in wrong(await app.examine())["health"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (httpx.ConnectError("no route"), "ConnectError: no route"),
        (httpx.TooManyRedirects("round"), "TooManyRedirects"),
    ],
)
async def test_site_that_cannot_be_asked(app: App, error: Exception, words: str) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise error

    found = visit.look_at_site(app.bridge, URL, httpx.MockTransport(fail))
    [finding] = [each async for each in found]
    assert (finding.level, finding.what) == ("bad", "site")
    assert words in finding.text


async def test_endless_page_is_cut(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visit, "MAX_BYTES", 1000)
    app.html = "x" * 5000
    [finding] = await app.examine()
    assert "longer than 1000 bytes" in finding.text


@pytest.mark.parametrize("url", ["shop.example.com", "ftp://shop.example.com/", "https://", ""])
def test_address_that_is_none(url: str) -> None:
    with pytest.raises(ConfigError, match="--url must be like"):
        visit.check_url(url)


async def test_findings_are_written_as_json(app: App) -> None:
    import msgspec

    assert json.dumps(msgspec.to_builtins(await app.examine()))
