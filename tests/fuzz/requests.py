"""Hostile requests: bytes into the whole middleware and its endpoints.

Each input is a request put together from fragments that parsers split at, then mutated. Nothing may
raise, answer 500, write a malformed header or take long.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from starlette.types import Message

from bridge import Bridge, BridgeMiddleware, Consent, enrich
from tests.factories import SECRET, USER_AGENT, make_meta

SLOW = 0.25  # seconds of processor time: far beyond anything right, also on a busy machine
MAX_COOKIE_LINES = 60

FRAGMENTS = [
    *(
        b"",
        b" ",
        b";",
        b"; ",
        b"=",
        b"&",
        b"?",
        b"#",
        b"/",
        b"//",
        b":",
        b"@",
        b"%",
        b"%25",
        b"%0d%0a",
    ),
    *(
        b"\r\n",
        b"\x00",
        b"\x7f",
        b"\xff",
        b"\xc3\xa9",
        b"\xed\xa0\x80",
        b'"',
        b"\\",
        b",",
        b"[",
        b"]",
    ),
    *(b"_bridge=", b"_bridge_c=denied", b"_bridge_x=", b"_bridge_t_0123456789ab=", b"_bridge_p="),
    *(
        b"_fbp=fb.1.1795000000000.1",
        b"_fbc=fb.1.1795000000.x",
        b"fb.1.",
        b"fbclid=",
        b"fbclid=Ab-_.~",
    ),
    *(
        b"ajs_anonymous_id=",
        b"0b7b2f4e-6f0d-4c8b-8d0e-5a2f6c1b9e77",
        b"https://",
        b"http://shop.example.com/",
    ),
    *(
        b"shop.example.com",
        b"xn--",
        b"a@b.de",
        b"eyJhbGciOi",
        b"127.0.0.1",
        b"::1",
        b"2606:2800::1",
    ),
    *(b"for=", b'for="[2606::1]"', b"unknown", b"navigate", b"cors", b"document", b"prefetch"),
    *(b"text/html", b"application/json", b"gzip;q=0", b"1", b"9" * 20, b"a" * 300, b"%/" * 100),
    *(
        b'{"events":[',
        b'{"event_name":"Lead","event_id":"1","custom_data":{',
        b"}",
        b"]}",
        b'"url":"',
    ),
    *(b'{"state":"granted"}', b'{"state":"denied","url":"', b"\\ud800", b"1e999", b"null", b"true"),
]
HEADERS = [
    *(
        b"host",
        b"cookie",
        b"cookie",
        b"referer",
        b"user-agent",
        b"accept",
        b"origin",
        b"content-type",
    ),
    *(
        b"sec-fetch-mode",
        b"sec-fetch-dest",
        b"sec-fetch-site",
        b"sec-gpc",
        b"sec-purpose",
        b"purpose",
    ),
    *(b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"forwarded", b"x-consent"),
    *(b"accept-encoding", b"if-none-match", b"content-length", b"access-control-request-method"),
]
PATHS = [
    *("/", "/p", "/_bridge/collect", "/_bridge/consent", "/_bridge/identity", "/_bridge/twin"),
    *("/_bridge/bridge.js", "/_bridge/bridge.0123456789abcdef.js", "/_bridge/", "/_bridge/x"),
]
METHODS = ["GET", "GET", "POST", "HEAD", "OPTIONS", "PUT"]


def build_app(outbox: str) -> BridgeMiddleware:
    """An app that asks for everything, and a bridge that looks at everything."""
    bridge = Bridge(
        SECRET,
        [make_meta()],
        outbox=outbox,
        trusted_proxies="10.0.0.0/8",
        consent=Consent(header="X-Consent", cookie="cmp"),
        allowed_origins=["https://www.example.com"],
        custom_events="*",
        follow_segment=True,
        run_sender=False,
        rate_limit=0,
    )

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if len(scope["path"]) % 2:
            enrich({"event_name": "Lead"})
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return BridgeMiddleware(app, bridge=bridge)


def make_bytes(dice: random.Random, longest: int = 12) -> bytes:
    made = bytearray(b"".join(dice.choices(FRAGMENTS, k=dice.randrange(longest))))
    for _ in range(dice.randrange(3)):
        if made:
            made[dice.randrange(len(made))] = dice.randrange(256)
    if dice.random() < 0.02:
        made *= dice.randrange(1, 200)
    return bytes(made)


def make_scope(dice: random.Random) -> tuple[dict[str, Any], bytes]:
    headers = [(name, make_bytes(dice)) for name in dice.sample(HEADERS, k=dice.randrange(10))]
    if dice.random() < 0.7:
        headers += [(b"host", b"shop.example.com"), (b"user-agent", USER_AGENT.encode())]
    if dice.random() < 0.5:
        headers.append((b"content-type", b"application/json"))
    raw = make_bytes(dice, 5)
    path = dice.choice(PATHS) if dice.random() < 0.8 else "/" + raw.decode("utf-8", "replace")
    scope = {
        "type": "http",
        "method": dice.choice(METHODS),
        "scheme": dice.choice(["http", "https"]),
        "path": path,
        "raw_path": path.encode("utf-8", "replace"),
        "query_string": make_bytes(dice, 6),
        "root_path": dice.choice(["", "", "/mount"]),
        "client": dice.choice(
            [("93.184.216.34", 1), ("10.0.0.1", 1), ("::1", 1), ("unix", 0), None]
        ),
        "headers": headers,
    }
    return scope, make_bytes(dice, 20)


async def run(
    seed: int, seconds: float, count: int, outbox: str, tell: Callable[[str], None]
) -> int:
    """Send requests until time or count is up; return how many. A finding raises."""
    dice, app = random.Random(seed), build_app(outbox)
    end, done, slowest = time.monotonic() + seconds, 0, 0.0
    while done < count and time.monotonic() < end:
        scope, body = make_scope(dice)
        sent: list[Message] = []

        async def receive(body: bytes = body) -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message, sent: list[Message] = sent) -> None:
            sent.append(message)

        shown = (seed, done, scope, body)
        start = time.thread_time()
        try:
            await app(dict(scope), receive, send)
        except Exception as error:
            raise AssertionError(f"{error!r} of {shown}") from error
        took = time.thread_time() - start
        slowest = max(slowest, took)
        assert took < SLOW, f"{took:.3f} s for {shown}"
        assert sent[0]["status"] != 500, shown
        lines = [value for name, value in sent[0]["headers"] if name == b"set-cookie"]
        assert len(lines) <= MAX_COOKIE_LINES, shown
        for name, value in sent[0]["headers"]:
            assert not {0, 10, 13} & {*name, *value}, shown
        done += 1
    await app.bridge.stop(0)
    tell(f"requests: {done:,} from seed {seed}, the slowest {slowest * 1000:.1f} ms")
    return done
