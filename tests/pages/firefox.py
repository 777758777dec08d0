"""Firefox, driven by WebDriver BiDi: Playwright drives only its own, Debian has no geckodriver.

Source: W3C, "WebDriver BiDi", and RFC 6455, read 2026-11-24.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from tests.servers import DEADLINE, find_free_port, poll

FIREFOX = Path("/usr/bin/firefox-esr")
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10  # opcodes of frames
LAST = 0x80  # flag of a message's last frame
PREFERENCES = {
    "app.update.auto": False,
    "browser.aboutwelcome.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "dom.security.https_first": False,  # these servers speak http
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "toolkit.telemetry.enabled": False,
}


class WebSocket:
    """A minimal WebSocket client: text messages, one after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int, path: str) -> WebSocket:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        assert b" 101 " in answer.partition(b"\r\n")[0], answer
        return cls(reader, writer)

    async def send(self, data: bytes, kind: int = TEXT) -> None:
        # What a client sends is masked. Firefox hangs up on a mask of zeros.
        mask = b"mask"
        head = bytes([LAST | kind])
        if len(data) < 126:
            head += bytes([0x80 | len(data)])
        else:
            head += bytes([0x80 | 126]) + len(data).to_bytes(2, "big")
        masked = bytes(byte ^ mask[n % 4] for n, byte in enumerate(data))
        self._writer.write(head + mask + masked)
        await self._writer.drain()

    async def receive(self) -> bytes:
        message = b""
        while True:
            first, length = await self._reader.readexactly(2)
            if length >= 126:
                size = 2 if length == 126 else 8
                length = int.from_bytes(await self._reader.readexactly(size), "big")
            data = await self._reader.readexactly(length)
            kind = first & 0x0F
            if kind == PING:
                await self.send(data, PONG)
            elif kind == CLOSE:
                raise ConnectionError("Firefox has closed the connection")
            elif kind != PONG:
                message += data
                if first & LAST:
                    return message

    def close(self) -> None:
        self._writer.close()


class Tab:
    """One window of Firefox."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._count = 0
        self._context = ""
        self.errors: list[str] = []

    async def start(self) -> None:
        await self._command("session.new", capabilities={})
        tree = await self._command("browsingContext.getTree")
        self._context = tree["contexts"][0]["context"]
        await self._command("session.subscribe", events=["log.entryAdded"])

    async def _command(self, method: str, **parameters: Any) -> Any:
        self._count += 1
        command = {"id": self._count, "method": method, "params": parameters}
        await self._socket.send(json.dumps(command).encode())
        while True:
            answer = json.loads(await self._socket.receive())
            if answer.get("method") == "log.entryAdded":
                self._note(answer["params"])
            elif answer.get("id") == self._count:
                assert answer["type"] == "success", answer
                return answer["result"]

    def _note(self, entry: dict[str, Any]) -> None:
        if entry["type"] == "javascript" and entry["level"] == "error":
            self.errors.append(str(entry["text"]))

    async def open(self, url: str) -> None:
        await self._command(
            "browsingContext.navigate", context=self._context, url=url, wait="complete"
        )

    async def run(self, script: str) -> Any:
        """The value of ``script``: a string, number, boolean or null."""
        answer = await self._command(
            "script.evaluate",
            expression=script,
            target={"context": self._context},
            awaitPromise=True,
            userActivation=True,
        )
        assert answer["type"] == "success", answer
        return answer["result"].get("value")

    async def wait_for(self, script: str) -> None:
        async def check() -> Any:
            # Between two pages there is no document.
            with suppress(AssertionError):
                return await self.run(script)

        await poll(check, script)

    async def click(self, selector: str) -> None:
        """Click with the mouse, in the middle of the element."""
        await self.wait_for(f"!!document.querySelector('{selector}')")
        where = await self.run(
            f"""(() => {{
                const element = document.querySelector('{selector}')
                element.scrollIntoView({{block: 'center', behavior: 'instant'}})
                const box = element.getBoundingClientRect()
                return Math.round(box.x + box.width / 2) + ' ' + Math.round(box.y + box.height / 2)
            }})()"""
        )
        x, y = map(int, where.split())
        steps = [
            {"type": "pointerMove", "x": x, "y": y},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        mouse = {"type": "pointer", "id": "mouse", "actions": steps}
        await self._command("input.performActions", context=self._context, actions=[mouse])

    async def fill(self, selector: str, text: str) -> None:
        await self.run(f"document.querySelector('{selector}').value = {json.dumps(text)}; 0")


@asynccontextmanager
async def running_firefox(folder: Path, *local_hosts: str) -> AsyncIterator[Tab]:
    """A Firefox with a new profile, for which ``local_hosts`` are this machine."""
    settings = {**PREFERENCES, "network.dns.localDomains": ",".join(local_hosts)}
    lines = [f"user_pref({json.dumps(k)}, {json.dumps(v)});" for k, v in settings.items()]
    (folder / "user.js").write_text("\n".join(lines))
    port = find_free_port()
    arguments = ["--headless", "--no-remote", "--profile", str(folder)]
    process = await asyncio.create_subprocess_exec(
        FIREFOX,
        *arguments,
        "--remote-debugging-port",
        str(port),
        env={**os.environ, "HOME": str(folder)},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        socket = await _connect(port)
        tab = Tab(socket)
        await tab.start()
        yield tab
        socket.close()
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), DEADLINE)


async def _connect(port: int) -> WebSocket:
    async def connect() -> WebSocket | None:
        with suppress(OSError):
            return await WebSocket.open(port, "/session")
        return None

    found: WebSocket = await poll(connect, "Firefox")
    return found
