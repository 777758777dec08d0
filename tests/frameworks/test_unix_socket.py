"""Behind a proxy that connects over a Unix socket, on each server."""

from __future__ import annotations

import signal
from pathlib import Path

import httpx
import pytest

from tests.factories import SECRET
from tests.servers import DEADLINE, running

SERVERS = {
    "uvicorn": "uvicorn --uds {path} {app}",
    "hypercorn": "hypercorn --bind unix:{path} {app}",
    "granian": "granian --interface asgi --uds {path} {app}",
    "gunicorn": "gunicorn --no-control-socket -k {worker} --bind unix:{path} {app}",
    "daphne": "daphne -u {path} {app}",
}
PROXY = {
    "x-forwarded-for": "8.8.8.8",
    "x-forwarded-proto": "https",
    "sec-fetch-mode": "navigate",
    "sec-fetch-dest": "document",
}


@pytest.mark.parametrize("trusted", ["unix", "127.0.0.1"])
@pytest.mark.parametrize("server", SERVERS)
async def test_unix_socket_is_trusted_if_the_app_says_so(
    server: str, trusted: str, tmp_path: Path
) -> None:
    path = tmp_path / "app.sock"
    environ = {
        "BRIDGE_PIXEL_ID": "1",
        "BRIDGE_ACCESS_TOKEN": "token",
        "BRIDGE_SECRET_KEY": SECRET,
        "BRIDGE_OUTBOX_URL": f"sqlite:///{tmp_path}/bridge.db",
        "BRIDGE_RUN_SENDER": "false",
        "BRIDGE_TRUSTED_PROXIES": trusted,
    }
    line = SERVERS[server].format(
        app="tests.frameworks.address_app:app", path=path, worker="uvicorn_worker.UvicornWorker"
    )
    with running(line.split(), path, environ, stop=signal.SIGTERM):
        transport = httpx.AsyncHTTPTransport(uds=str(path))
        async with httpx.AsyncClient(transport=transport, timeout=DEADLINE) as proxy:
            event = (await proxy.get("http://shop.example.com/", headers=PROXY)).json()
    address = "8.8.8.8" if trusted == "unix" else None
    assert event["user_data"].get("client_ip_address") == address
    assert event["event_source_url"].startswith("https:" if address else "http:")
