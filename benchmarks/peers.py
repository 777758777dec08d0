"""The peers: one small shop without middleware, and with each one of those that are compared.

Every peer serves the same three paths. Its handler reads who the visitor is, so that each has done
its work when the page is rendered, and the page says it, so that the work can be checked.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from capi_param_builder import ParamBuilder
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bridge import Bridge, BridgeMiddleware
from bridge.destinations import Meta

SECRET = "0123456789abcdef0123456789abcdef"
HOST = "shop.example.com"
PAGE, NEXT_PAGE, LANDING = "/product", "/next-product", "/landing"
QUIET_PAGE = "/about"  # its handler asks nobody who it is
NEW_CLICK_ID = "IwZXh0bgNhZW0BMABhZGlkAasrC1x9QmVuY2htYXJrQ2xpY2tJZF85ODc2NTQzMjEw"
CLICK_ID = "IwZXh0bgNhZW0BMABhZGlkAasrC1x9QmVuY2htYXJrQ2xpY2tJZF8wMTIzNDU2Nzg5"

BARE = "no middleware"
SESSION = "SessionMiddleware"
BUILDER = "Meta's parameter builder"
BRIDGE = "Bridge"
PEERS = (BARE, SESSION, BUILDER, BRIDGE)

# What Chrome 142 sends, in its order.
_AGENT = {
    "sec-ch-ua": '"Chromium";v="142", "Google Chrome";v="142", "Not_A Brand";v="99"',
    "sec-ch-ua-mobile": "?0",
    "sec-ch-ua-platform": '"Windows"',
    "user-agent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/142.0.0.0 Safari/537.36",
}
_LANGUAGE = {"accept-encoding": "gzip, deflate, br, zstd", "accept-language": "en-GB,en;q=0.9"}
_NAVIGATION = {
    **_AGENT,
    "upgrade-insecure-requests": "1",
    "accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,"
    "image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7",
    "sec-fetch-mode": "navigate",
    "sec-fetch-user": "?1",
    "sec-fetch-dest": "document",
    **_LANGUAGE,
}
_FETCH = {
    **_AGENT,
    "accept": "*/*",
    "sec-fetch-site": "same-origin",
    "sec-fetch-mode": "cors",
    "sec-fetch-dest": "empty",
    "referer": f"https://{HOST}{PAGE}",
    **_LANGUAGE,
}

# What is in a shop's browsers anyway: analytics, a consent banner, the pixel's own cookies.
_FOUND_COOKIES = {
    "_ga": "GA1.1.1234567890.1795000000",
    "_ga_ABCDEF1234": "GS2.1.s1795000000$o3$g1$t1795000123$j60$l0$h0",
    "CookieConsent": "accepted",
    "_fbp": "fb.1.1795000000000.123456789012345678",
    "_fbc": f"fb.1.1795000000000.{CLICK_ID}",
}


def build_navigation(referer: str) -> dict[str, str]:
    """Return the headers of a page that follows another one of the shop."""
    return {**_NAVIGATION, "sec-fetch-site": "same-origin", "referer": referer}


def build_landing() -> dict[str, str]:
    """Return the headers of a page that follows an ad."""
    return {**_NAVIGATION, "sec-fetch-site": "cross-site", "referer": "https://l.facebook.com/"}


@dataclass(frozen=True)
class Case:
    """One request, as each peer gets it.

    Attributes:
        title: The request in words.
        path: What is asked for.
        headers: The browser's, without cookies.
        query: The query string.
        returning: Whether the browser has been here: it sends what each peer gave it.
        unremembered: The peer has not seen this browser lately: no cache of it can help.
        written: The names of the cookies that each peer must write.
        budgets: Bridge's: at most this share of ``SessionMiddleware``'s cost in process, and at
            least this share of the bare app's requests a second.
    """

    title: str
    path: str
    headers: dict[str, str]
    query: str = ""
    returning: bool = True
    unremembered: bool = False
    written: dict[str, set[str]] = field(default_factory=dict)
    budgets: tuple[float | None, float | None] = (None, None)


CASES = (
    Case("Fetch by a returning visitor", PAGE, _FETCH, budgets=(0.5, 0.8)),
    Case(
        "The same page loaded again",
        PAGE,
        {**_NAVIGATION, "sec-fetch-site": "none"},
        budgets=(0.5, 0.8),
    ),
    Case(
        "Another page loaded",
        NEXT_PAGE,
        build_navigation(f"https://{HOST}{PAGE}"),
        written={SESSION: {"session"}, BRIDGE: {"_bridge_p"}},
    ),
    Case(
        "Landing of a new visitor with an fbclid",
        LANDING,
        build_landing(),
        query=f"fbclid={CLICK_ID}",
        returning=False,
        written={
            SESSION: {"session"},
            BUILDER: {"_fbp", "_fbc"},
            BRIDGE: {"_bridge", "_bridge_p", "_bridge_x", "_fbp", "_fbc"},
        },
        budgets=(1.0, None),
    ),
    Case(
        "Landing of a returning visitor with a new fbclid",
        LANDING,
        build_landing(),
        query=f"fbclid={NEW_CLICK_ID}",
        written={SESSION: {"session"}, BUILDER: {"_fbc"}, BRIDGE: {"_bridge", "_bridge_p", "_fbc"}},
        budgets=(1.0, None),
    ),
    Case("Fetch, signature not remembered", PAGE, _FETCH, unremembered=True),
)

# A returning visitor's earlier requests: the landing, and the page the visitor is on now.
HISTORY = (CASES[3], CASES[1])


# The shops


async def _show_nothing(request: Request) -> Response:
    return HTMLResponse("<p>00000000-0000-0000-0000-000000000000</p>")


async def _show_session(request: Request) -> Response:
    return HTMLResponse(f"<p>{request.session['visitor']}</p>")


async def _write_session(request: Request) -> Response:
    if "visitor" not in request.session:
        request.session["visitor"] = str(uuid.uuid4())
    request.session["page"] = request.scope["path"]
    return HTMLResponse(f"<p>{request.session['visitor']}</p>")


async def _show_browser_ids(request: Request) -> Response:
    builder = request.scope["builder"]
    return HTMLResponse(f"<p>{builder.get_fbc() and builder.get_fbp()}</p>")


async def _show_visitor(request: Request) -> Response:
    return HTMLResponse(f"<p>{request.scope['bridge'].external_id}</p>")


class _ParamBuilderMiddleware:
    """Meta's builder as its documentation has it: one for each request, its cookies written."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        builder = scope["builder"] = ParamBuilder(["example.com"])
        cookies = builder.process_request_from_context(scope)

        async def send_with_cookies(message: Message) -> None:
            if cookies and message["type"] == "http.response.start":
                message["headers"].extend(
                    (
                        b"set-cookie",
                        f"{c.name}={c.value}; Max-Age={c.max_age}; Path=/; Domain=.{c.domain}"
                        "; SameSite=Lax".encode(),
                    )
                    for c in cookies
                )
            await send(message)

        await self._app(scope, receive, send_with_cookies)


_Handler = Callable[[Request], Any]


def _build_shop(middleware: list[Middleware], show: _Handler, write: _Handler) -> Starlette:
    routes = [
        Route(PAGE, show),
        Route(NEXT_PAGE, write),
        Route(LANDING, write),
        Route(QUIET_PAGE, _show_nothing),
    ]
    return Starlette(routes=routes, middleware=middleware)


def build_bridge(directory: str) -> Bridge:
    """Return a bridge whose outbox stays empty: its sender runs, and has nothing to send."""
    meta = Meta(pixel_id="1234567890123456", access_token="none", graph_url="http://127.0.0.1:9")
    return Bridge(SECRET, [meta], outbox=f"sqlite:///{directory}/bridge.db")


def build_peers(bridge: Bridge) -> dict[str, ASGIApp]:
    """Return the shops by name."""
    session = Middleware(SessionMiddleware, secret_key=SECRET)
    builder = Middleware(_ParamBuilderMiddleware)
    ours = Middleware(BridgeMiddleware, bridge=bridge)
    return {
        BARE: _build_shop([], _show_nothing, _show_nothing),
        SESSION: _build_shop([session], _show_session, _write_session),
        BUILDER: _build_shop([builder], _show_browser_ids, _show_browser_ids),
        BRIDGE: _build_shop([ours], _show_visitor, _show_visitor),
    }


# A browser in miniature


class Browser:
    """Keeps cookies; each peer has browsers of its own."""

    def __init__(self) -> None:
        self.cookies = dict(_FOUND_COOKIES)

    @property
    def cookie_header(self) -> str:
        """Every cookie it has."""
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    def keep(self, lines: Iterable[str]) -> set[str]:
        """Keep what the ``Set-Cookie`` lines say; return the names."""
        pairs = [line.partition(";")[0].partition("=") for line in lines]
        self.cookies.update((name, value) for name, _, value in pairs)
        return {name for name, _, _ in pairs}

    def forget(self) -> None:
        """Have been nowhere."""
        self.cookies = {}


def check(case: Case, peer: str, status: int, written: set[str], page: str, known: str) -> None:
    """Stop unless the peer did its work.

    Args:
        case: What was asked.
        peer: Who answered.
        status: The response's status.
        written: The names of the cookies it sets.
        page: Its body, which says who the visitor is.
        known: What an earlier page said of the same visitor; empty for a new one.
    """
    wanted = case.written.get(peer, set())
    if status != 200 or written != wanted or (known and page != known) or "None" in page:
        raise SystemExit(
            f"{peer}, {case.title}: expected 200, cookies {wanted}, page {known!r};"
            f" got {status}, {written}, {page!r}"
        )
