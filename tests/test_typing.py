"""What type checkers accept; ``scripts/check`` runs mypy over this file.

The frameworks' own types differ: Quart's, Litestar's and a2wsgi's scopes are ``TypedDict``s, and
so are their messages. Each app below has the types of one of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Literal, TypedDict

from starlette.applications import Starlette
from starlette.middleware import Middleware

from bridge import Bridge, BridgeMiddleware, Event, identify, track, track_sync
from tests.factories import make_bridge


class HTTPScope(TypedDict):
    type: Literal["http"]
    headers: Iterable[tuple[bytes, bytes]]


class LifespanScope(TypedDict):
    type: Literal["lifespan"]


class RequestEvent(TypedDict):
    type: Literal["http.request"]


class StartEvent(TypedDict):
    type: Literal["http.response.start"]
    status: int


async def typed_app(
    scope: HTTPScope | LifespanScope,
    receive: Callable[[], Awaitable[RequestEvent]],
    send: Callable[[StartEvent], Awaitable[None]],
) -> None:
    """Quart's, Litestar's and a2wsgi's."""


class DjangoApp:
    """Django's ``ASGIHandler``."""

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        """Answer."""


TypedASGIApp = Callable[
    [
        HTTPScope | LifespanScope,
        Callable[[], Awaitable[RequestEvent]],
        Callable[[StartEvent], Awaitable[None]],
    ],
    Awaitable[None],
]


def test_middleware_fits_around_and_inside_apps_of_any_types() -> None:
    bridge: Bridge = make_bridge("sqlite:///unused.db")
    inside: TypedASGIApp = BridgeMiddleware(typed_app, bridge=bridge)
    for wrapped in (BridgeMiddleware(inside, bridge=bridge), BridgeMiddleware(DjangoApp(), bridge)):
        assert wrapped.bridge is bridge
    app = Starlette(middleware=[Middleware(BridgeMiddleware, bridge=bridge)])
    app.add_middleware(BridgeMiddleware, bridge=bridge)


async def misuse() -> None:
    """Never called: each line must be an error for mypy, which warns of ignores without use."""
    identify("42", emial="ada@example.com")  # type: ignore[call-arg]
    identify("42", email=b"ada@example.com")  # type: ignore[arg-type]
    event: Event = await track("Lead", vistor=None)  # type: ignore[call-arg]
    track_sync("Lead", event_id=1.5)  # type: ignore[arg-type]
    event.outcome = "stored"  # type: ignore[misc]
    Bridge.from_env(catalogue=None)  # type: ignore[call-arg]
