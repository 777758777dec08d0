"""How the script is served, its tag, and what a page's policy must allow."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from fastapi import FastAPI
from jinja2 import Environment
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route

from bridge import Bridge, BridgeMiddleware, ConfigError
from bridge.browser.script import PIXEL_SCRIPT_URL, SCRIPT, Script
from bridge.outbox import SQLiteOutbox
from tests.factories import make_bridge, make_client

OWN_LIBRARY = "http://127.0.0.1:9/en_US/fbevents.js"
ADDRESS = "/_bridge/bridge.js"
YEAR = "public, max-age=31536000, immutable"


@pytest.fixture
def bridge() -> Bridge:
    """A bridge that is never asked to store anything."""
    return make_bridge(SQLiteOutbox(":memory:"), pixel_script_url=OWN_LIBRARY, run_sender=False)


@pytest.fixture
def client(bridge: Bridge) -> httpx.AsyncClient:
    client = make_client(BridgeMiddleware(Starlette(), bridge=bridge))
    client.headers.update({"sec-fetch-mode": "cors", "sec-fetch-dest": "script"})
    return client


def read_source(tag: str) -> str:
    [source] = re.findall(r'src="([^"]*)"', tag)
    return str(source)


# Served


def test_script_knows_the_library_it_loads_exactly_once() -> None:
    """The configured address and ids are written in their place: in the minified script too."""
    assert SCRIPT.count(PIXEL_SCRIPT_URL.encode()) == 1
    for place in (b"PIXEL_IDS", b"PREFIX", b"CONSENT_COOKIE"):
        assert SCRIPT.count(b'"__%b__"' % place) == 1


async def test_script_is_served_with_the_configured_library(client: httpx.AsyncClient) -> None:
    response = await client.get(ADDRESS)
    expected = SCRIPT.replace(PIXEL_SCRIPT_URL.encode(), OWN_LIBRARY.encode())
    for place, value in (
        (b"PIXEL_IDS", b"1234567890123456"),
        (b"PREFIX", b"/_bridge"),
        (b"CONSENT_COOKIE", b"="),  # the name of none
    ):
        expected = expected.replace(b"__%b__" % place, value)
    assert response.content == expected
    assert response.headers["content-type"].startswith("text/javascript")
    assert response.headers["cache-control"] == "public, max-age=300"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["access-control-allow-origin"] == "*"
    assert response.headers["cross-origin-resource-policy"] == "cross-origin"
    assert "set-cookie" not in response.headers


async def test_address_with_the_hash_is_kept_for_a_year(
    client: httpx.AsyncClient, bridge: Bridge
) -> None:
    response = await client.get(bridge._script.path)
    assert response.headers["cache-control"] == YEAR
    assert response.content == bridge._script.content
    assert bridge._script.version == hashlib.sha256(response.content).hexdigest()[:16]


async def test_hash_of_another_release_answers_the_script_of_this_one(
    client: httpx.AsyncClient, bridge: Bridge
) -> None:
    response = await client.get("/_bridge/bridge.0123456789abcdef.js")
    assert response.content == bridge._script.content
    assert response.headers["cache-control"] == "public, max-age=300"


@pytest.mark.parametrize("name", ["bridge.js.js", "bridge.0123.js", "bridge.0123456789ABCDEF.js"])
async def test_malformed_hash_is_not_found(client: httpx.AsyncClient, name: str) -> None:
    assert (await client.get(f"/_bridge/{name}")).status_code == 404


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip, deflate, br", "gzip"),
        ("br;q=1.0, gzip;q=0.8", "gzip"),
        ("GZIP", "gzip"),
        ("gzip;q=0", None),
        ("gzip; q=0.000, br", None),
        ("br", None),
        ("xgzip", None),
        ("", None),
    ],
)
async def test_script_is_compressed_if_the_browser_accepts_it(
    client: httpx.AsyncClient, bridge: Bridge, accepted: str, coding: str | None
) -> None:
    async with client.stream("GET", ADDRESS, headers={"accept-encoding": accepted}) as response:
        raw = b"".join([chunk async for chunk in response.aiter_raw()])
    assert response.headers.get("content-encoding") == coding
    assert response.headers["vary"] == "Accept-Encoding"
    assert int(response.headers["content-length"]) == len(raw)
    assert (gzip.decompress(raw) if coding else raw) == bridge._script.content


async def test_script_is_revalidated_in_either_form(client: httpx.AsyncClient) -> None:
    etags = set()
    for accepted in ("gzip", "identity"):
        headers = {"accept-encoding": accepted}
        etag = (await client.get(ADDRESS, headers=headers)).headers["etag"]
        etags.add(etag)
        for known in (etag, f'"x", W/{etag}', "*"):
            again = await client.get(ADDRESS, headers={**headers, "if-none-match": known})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == etag
            assert again.headers["vary"] == "Accept-Encoding"
        other = await client.get(ADDRESS, headers={**headers, "if-none-match": '"x"'})
        assert other.status_code == 200
    assert len(etags) == 2


async def test_head_answers_the_length(client: httpx.AsyncClient, bridge: Bridge) -> None:
    response = await client.head(ADDRESS, headers={"accept-encoding": "identity"})
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-length"] == str(len(bridge._script.content))


# The tag


async def test_tag_loads_the_script_with_its_integrity(
    client: httpx.AsyncClient, bridge: Bridge
) -> None:
    tag = bridge.script_tag()
    response = await client.get(read_source(tag))
    assert response.headers["cache-control"] == YEAR
    digest = base64.b64encode(hashlib.sha384(response.content).digest()).decode()
    assert tag == (
        f'<script src="{bridge._script.path}" async data-cfasync="false"'
        f' integrity="sha384-{digest}" crossorigin="anonymous"></script>'
    )


def test_tag_without_integrity_and_with_a_nonce(bridge: Bridge) -> None:
    tag = bridge.script_tag(integrity=False, nonce="r4nd0m+/-_==")
    assert tag == (
        f'<script src="{bridge._script.path}" async data-cfasync="false"'
        ' nonce="r4nd0m+/-_=="></script>'
    )


def test_tag_for_visitors_without_javascript_has_an_image(bridge: Bridge) -> None:
    tag = bridge.script_tag(noscript=True)
    image = '<noscript><img src="/_bridge/view.gif" width="1" height="1" alt=""></noscript>'
    assert tag == bridge.script_tag() + image


@pytest.mark.parametrize("nonce", ["", '"><script>', "a b", "a\r\nb", "x" * 300])
def test_malformed_nonce_is_refused_and_not_shown(bridge: Bridge, nonce: str) -> None:
    for build in (bridge.script_tag, bridge.csp_directives):
        with pytest.raises(ConfigError, match="nonce must be base64") as caught:
            build(nonce=nonce)
        assert len(nonce) < 4 or nonce not in str(caught.value)


@pytest.mark.parametrize("origin", ["https://api.example.com", "https://api.example.com/"])
def test_tag_leads_to_another_origin(bridge: Bridge, origin: str) -> None:
    source = read_source(bridge.script_tag(origin=origin))
    assert source == f"https://api.example.com{bridge._script.path}"
    source = read_source(bridge.script_tag(origin="http://127.0.0.1:8000/api"))
    assert source == f"http://127.0.0.1:8000/api{bridge._script.path}"


@pytest.mark.parametrize("origin", ["", "api.example.com", 'https://a"b', "javascript:x", "//a"])
def test_malformed_origin_is_refused(bridge: Bridge, origin: str) -> None:
    for build in (bridge.script_tag, bridge.csp_directives):
        with pytest.raises(ConfigError, match="origin must be such as"):
            build(origin=origin)


def test_templates_do_not_escape_the_tag(bridge: Bridge) -> None:
    environment = Environment(autoescape=True)
    template = environment.from_string("{{ bridge.script_tag() }}")
    assert template.render(bridge=bridge) == str(bridge.script_tag())
    assert f"<head>{bridge.script_tag()}</head>".startswith("<head><script src=")


async def test_tag_is_the_same_for_every_visitor(bridge: Bridge) -> None:
    async def show(request: Request) -> Response:
        return HTMLResponse(bridge.script_tag())

    app = BridgeMiddleware(Starlette(routes=[Route("/", show)]), bridge=bridge)
    pages = {(await make_client(app).get("/")).text for _ in range(2)}
    assert pages == {str(bridge.script_tag())}


async def show_tag(request: Request) -> Response:
    return HTMLResponse(request.app.state.bridge.script_tag())


def build_app(bridge: Bridge) -> Starlette:
    app = Starlette(routes=[Route("/page", show_tag), Mount("/inner", Starlette())])
    app.state.bridge = bridge
    app.add_middleware(BridgeMiddleware, bridge=bridge)
    return app


async def test_tag_below_a_mount_begins_with_it(bridge: Bridge) -> None:
    client = make_client(Starlette(routes=[Mount("/shop", build_app(bridge))]))
    source = read_source((await client.get("/shop/page")).text)
    assert source == f"/shop{bridge._script.path}"
    assert (await client.get(source)).status_code == 200


async def test_tag_of_a_page_in_a_mounted_part_leads_to_the_whole_app(bridge: Bridge) -> None:
    part = Starlette(routes=[Route("/page", show_tag)])
    part.state.bridge = bridge
    app = Starlette(routes=[Mount("/part", part)])
    client = make_client(BridgeMiddleware(app, bridge=bridge))
    source = read_source((await client.get("/part/page")).text)
    assert source == bridge._script.path
    assert (await client.get(source)).status_code == 200


async def test_tag_follows_the_root_path(bridge: Bridge) -> None:
    app: Any = FastAPI()
    app.state.bridge = bridge
    app.add_api_route("/page", show_tag, response_class=HTMLResponse)
    app.add_middleware(BridgeMiddleware, bridge=bridge)
    transport = httpx.ASGITransport(app, root_path="/api&x")
    async with httpx.AsyncClient(transport=transport, base_url="http://example.com") as client:
        tag = (await client.get("/page")).text
    assert read_source(tag) == f"/api&amp;x{bridge._script.path}"


@pytest.mark.parametrize("root_path", ["//evil.example", "/\\\\evil.example", "///evil.example/"])
def test_tag_below_an_odd_mount_stays_on_this_host(root_path: str) -> None:
    tag = Script("/_bridge").build_tag(
        root_path=root_path, nonce=None, integrity=False, origin=None, noscript=False
    )
    host = urlsplit(urljoin("https://shop.example.com/", read_source(tag).replace("\\", "/")))
    assert host.netloc == "shop.example.com"


# What a policy must allow


def test_policy_of_metas_own_library() -> None:
    assert Script("/_bridge").build_csp(nonce=None, strict_dynamic=False, origin=None) == {
        "script-src": ["'self'", "https://connect.facebook.net"],
        "img-src": ["https://www.facebook.com"],
        "connect-src": ["'self'", "https://www.facebook.com"],
    }


def test_policy_of_a_stand_in_names_it(bridge: Bridge) -> None:
    home = "http://127.0.0.1:9"
    assert bridge.csp_directives() == {
        "script-src": ["'self'", home],
        "img-src": [home],
        "connect-src": ["'self'", home],
    }


def test_policy_with_a_nonce_keeps_the_hosts(bridge: Bridge) -> None:
    """Alone it would block the pixel's configuration, to which the library gives no nonce."""
    scripts = bridge.csp_directives(nonce="abc")["script-src"]
    assert scripts == ["'nonce-abc'", "'self'", "http://127.0.0.1:9"]


def test_policy_with_strict_dynamic(bridge: Bridge) -> None:
    scripts = bridge.csp_directives(nonce="abc", strict_dynamic=True)["script-src"]
    assert scripts[:2] == ["'nonce-abc'", "'strict-dynamic'"]
    with pytest.raises(ConfigError, match="nonce"):
        bridge.csp_directives(strict_dynamic=True)


def test_policy_across_origins(bridge: Bridge) -> None:
    directives = bridge.csp_directives(origin="https://api.example.com/base")
    assert directives["script-src"][0] == "https://api.example.com"
    assert directives["connect-src"][0] == "https://api.example.com"
