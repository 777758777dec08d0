"""Servers under real host names over TLS: ``python -m tests.pages.tls NAME PORT PLAIN_PORT``.

Each serves one app at two ports: over TLS for browsers, in plain text for the test itself.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from bridge import BridgeMiddleware
from bridge.sandbox import create_app
from tests.servers import find_free_port, running

NAMES = "DNS:*.example.com,DNS:*.shop.example.com,DNS:*.facebook.net,DNS:*.facebook.com"
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding"}


@dataclass(frozen=True)
class Certificate:
    """A throwaway certificate, which is its own authority.

    Attributes:
        path: PEM, of key and certificate.
        digest: Of its public key, as Chromium's ``--ignore-certificate-errors-spki-list`` wants it.
    """

    path: Path
    digest: str


def make_certificate(folder: Path) -> Certificate:
    path = folder / "tls.pem"
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=Bridge tests", "-addext", f"subjectAltName={NAMES},IP:127.0.0.1"]
    files = ["-keyout", str(path), "-out", str(folder / "certificate.pem")]
    _run_openssl("req", "-x509", "-days", "2", *new_key, *names, *files)
    certificate = folder / "certificate.pem"
    public_key = _run_openssl("x509", "-in", str(certificate), "-pubkey", "-noout")
    lines = public_key.split("-----")[2]
    digest = hashlib.sha256(base64.b64decode(lines)).digest()
    path.write_text(path.read_text() + certificate.read_text())
    return Certificate(path, base64.b64encode(digest).decode())


def _run_openssl(*arguments: str) -> str:
    done = subprocess.run(["openssl", *arguments], check=True, capture_output=True, text=True)
    return done.stdout


@dataclass(frozen=True)
class Address:
    """Where one of the servers listens.

    Attributes:
        port: For browsers, over TLS.
        plain: For tests.
    """

    port: int
    plain: str


@contextmanager
def running_server(name: str, certificate: Certificate, **environ: str) -> Iterator[Address]:
    """One of ``APPS`` as a process."""
    port, plain_port = find_free_port(), find_free_port()
    arguments = ["tests.pages.tls", name, str(port), str(plain_port)]
    with running(arguments, port, {"TLS_CERTIFICATE": str(certificate.path), **environ}):
        yield Address(port, f"http://127.0.0.1:{plain_port}")


# The apps


def build_shelf(*routes: Route | Mount) -> Starlette:
    """Pages that the test has put there: ``PUT /shelf/…`` with HTML and headers, ``GET /p/…``."""
    shelf: dict[str, tuple[str, dict[str, str]]] = {}

    async def put(request: Request) -> Response:
        shelf[request.path_params["name"]] = msgspec.convert(
            await request.json(), tuple[str, dict[str, str]]
        )
        return Response(status_code=204)

    async def show(request: Request) -> Response:
        html, headers = shelf.get(request.path_params["name"], ("", {}))
        return HTMLResponse(html, headers=headers)

    return Starlette(
        routes=[
            Route("/shelf/{name}", put, methods=["PUT"]),
            Route("/p/{name}", show),
            *routes,
        ]
    )


def build_pages() -> ASGIApp:
    """Pages behind the middleware; ``/helpers`` answers what the helpers return for a page."""
    from tests.pages.pages import Collect, bridge, pages  # reads its settings on import

    async def help_page(request: Request) -> Response:
        tag, policy = (msgspec.json.decode(request.query_params[n]) for n in ("tag", "policy"))
        sources = bridge.csp_directives(**policy).items()
        return JSONResponse(
            {
                "tag": bridge.script_tag(**tag),
                "policy": "; ".join(
                    ["default-src 'none'", *(f"{name} {' '.join(s)}" for name, s in sources)]
                ),
            }
        )

    shelf = build_shelf(Route("/helpers", help_page), Mount("/", pages))
    return Collect(BridgeMiddleware(shelf, bridge=bridge))


def build_cache() -> ASGIApp:
    """A shared cache in front of the pages: keeps ``public`` answers unchanged."""
    kept: dict[str, Response] = {}
    trusted = ssl.create_default_context(cafile=os.environ["TLS_CERTIFICATE"])
    upstream = os.environ["TLS_UPSTREAM"]
    client = httpx.AsyncClient(verify=trusted, trust_env=False)

    async def pass_on(request: Request) -> Response:
        address = upstream + request.url.path
        if request.url.query:
            address += "?" + request.url.query
        if request.method == "GET" and address in kept:
            kept[address].headers["x-cache"] = "hit"
            return kept[address]
        content = await request.body()
        sent = client.build_request(
            request.method, address, headers=request.headers.raw, content=content
        )
        answer = await client.send(sent, stream=True)
        body = b"".join([chunk async for chunk in answer.aiter_raw()])
        response = Response(body, answer.status_code)
        response.raw_headers = [
            (name.lower(), value)
            for name, value in answer.headers.raw
            if name.lower().decode() not in HOP_BY_HOP
        ]
        if request.method == "GET" and "public" in answer.headers.get("cache-control", ""):
            kept[address] = response
        return response

    @asynccontextmanager
    async def close(app: Starlette) -> AsyncIterator[None]:
        async with client:
            yield

    methods = ["GET", "POST"]
    return Starlette(routes=[Route("/{path:path}", pass_on, methods=methods)], lifespan=close)


APPS = {
    "sandbox": create_app,
    "pages": build_pages,
    "plain": build_shelf,
    "cache": build_cache,
}


async def serve(app: ASGIApp, port: int, plain_port: int) -> None:
    """Serve until Ctrl-C, over TLS and in plain text; one life of the app for both."""
    shown = _build_server(app, port, ssl_certfile=os.environ["TLS_CERTIFICATE"])
    plain = _build_server(app, plain_port, lifespan="off")
    await asyncio.gather(plain.serve(), shown.serve())


def _build_server(app: ASGIApp, port: int, **options: Any) -> uvicorn.Server:
    config = uvicorn.Config(
        app, port=port, log_level="error", timeout_graceful_shutdown=1, **options
    )
    return uvicorn.Server(config)


if __name__ == "__main__":
    asyncio.run(serve(APPS[sys.argv[1]](), int(sys.argv[2]), int(sys.argv[3])))
