"""Valid things by default, overridden by keyword."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import httpx
from starlette.types import ASGIApp

from bridge import Bridge, Visitor
from bridge.destinations import Meta
from bridge.outbox import Delivery, Outbox
from bridge.outbox.base import build_subjects
from bridge.visitor.capture import Capture
from bridge.visitor.connection import SiteRules

SECRET = "0123456789abcdef0123456789abcdef"
NOW = 1_795_000_000.0
BROWSER = build_subjects("a browser of the tests", ())
CLIENT = ("93.184.216.34", 50_000)
USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
NAVIGATION = {
    "sec-fetch-mode": "navigate",
    "sec-fetch-dest": "document",
    "sec-fetch-site": "none",
    "user-agent": USER_AGENT,
}


def make_scope(
    path: str = "/",
    *,
    query: bytes = b"",
    headers: Mapping[str, str | bytes] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """A GET of ``http://shop.example.com``."""
    given = {"host": "shop.example.com", **(headers or {})}
    return {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "query_string": query,
        "client": CLIENT,
        "headers": [
            (k.encode(), v.encode("latin-1") if isinstance(v, str) else v) for k, v in given.items()
        ],
        **changes,
    }


def make_capture(path: str = "/", *, rules: SiteRules | None = None, **changes: Any) -> Capture:
    return Capture(make_scope(path, **changes), rules or SiteRules())


def make_visitor(bridge: Bridge, scope: dict[str, Any]) -> Visitor:
    """The visitor of one request, as the middleware makes it."""
    visits = bridge._visits
    return Visitor(visits, Capture(scope, visits.rules))


def make_delivery(event_id: str = "1", **changes: Any) -> Delivery:
    values: dict[str, Any] = {
        "destination": "meta:1",
        "event_name": "Purchase",
        "event_id": event_id,
        "body": b'{"event_id":"%s"}' % event_id.encode(),
        "due": NOW,
        "expires": NOW + 1000,
        "subjects": BROWSER,
        **changes,
    }
    return Delivery(**values)


def make_meta(**changes: Any) -> Meta:
    """A pixel whose Graph API nothing answers for."""
    values = {
        "pixel_id": "1234567890123456",
        "access_token": "sandbox-token",
        "graph_url": "http://127.0.0.1:9",
        **changes,
    }
    return Meta(**values)


def make_bridge(outbox: Outbox | str, **changes: Any) -> Bridge:
    values: dict[str, Any] = {
        "secret_key": SECRET,
        "destinations": [make_meta()],
        "outbox": outbox,
        "spool": None,
        **changes,
    }
    return Bridge(**values)


def make_client(app: ASGIApp, **changes: Any) -> httpx.AsyncClient:
    """A browser in front of ``app``: it keeps cookies and has a public address."""
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app, client=CLIENT, raise_app_exceptions=True),
        base_url="http://shop.example.com",
        headers=NAVIGATION,
        **changes,
    )


def unix_now() -> int:
    return int(time.time())


def build_pixel_config(*features: str, pixel_id: str = "1234567890123456") -> str:
    """A pixel's configuration for the stand-in library, with more features than cookies."""
    calls = [f"instance.optIn(id, '{each}', true)" for each in ("FirstPartyCookies", *features)]
    plugin = "; ".join([*calls, "instance.configLoaded(id)"])
    return f"""(() => {{
        const id = '{pixel_id}'
        const plugin = (_fbq, instance) => {{ {plugin} }}
        fbq.registerPlugin(id, {{ __fbEventsPlugin: 1, plugin }})
    }})()"""
