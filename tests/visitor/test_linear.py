"""What a browser sends is read in linear time: twice the input takes about twice the time."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import pytest

from bridge.browser.reports import MAX_BODY, Report, decode_body, decode_events
from bridge.visitor.bots import names_robot
from bridge.visitor.cookies import MAX_HEADER_LENGTH, Cookies
from bridge.visitor.ip import MAX_LENGTH as MAX_FORWARDED
from bridge.visitor.ip import parse_forwarded, walk
from bridge.visitor.meta_cookies import MAX_LENGTH as MAX_VALUE
from bridge.visitor.meta_cookies import parse_browser_id, read_click_id

RATIO = 3.2  # a quadratic reader has 4
ROUNDS = 9

Read = Callable[[bytes], object]


def read_report(body: bytes) -> object:
    try:
        return decode_events(decode_body(body, Report).events)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


READERS: dict[str, tuple[Read, int, list[bytes]]] = {
    "cookies": (
        Cookies,
        MAX_HEADER_LENGTH,
        [
            b"; _bridge=",
            b"_bridge",
            b";",
            b"=",
            b"a=_bridge=",
            b" _fbp=fb.1.",
            b"_bridge_t_=; ",
            b"; _fbp=1   ",
        ],
    ),
    "click id": (read_click_id, 8192, [b"fbclid=", b"&fbclid=", b"%", b"%41", b"xfbclid=a&"]),
    "fbp and fbc": (
        lambda raw: parse_browser_id(raw.decode("latin-1")),
        MAX_VALUE,
        [b"fb.1.1.", b"fb.", b".", b"1", b"fb.1.1.a.AQ"],
    ),
    "forwarded": (
        lambda raw: parse_forwarded(raw.decode("latin-1")),
        MAX_FORWARDED,
        [b'for="', b";", b"; ", b"a", b'"', b",", b"for=1;", b"\t ", b"a=;a= "],
    ),
    "x-forwarded-for": (
        lambda raw: walk(None, raw.decode("latin-1").split(","), ()),
        65_536,
        [b",", b"1.1.1.1,", b"[", b":"],
    ),
    "user agent": (
        lambda raw: names_robot.__wrapped__(raw.decode("latin-1")),
        512,
        [b"; ;", b"a", b"cubot", b"bo", b"face", b"Mozilla/5.0 ("],
    ),
    "report": (
        read_report,
        MAX_BODY,
        [b"\\", b"\\ud800", b"[", b'{"a":', b'{"events":[{', b'"', b"1", b" "],
    ),
}


def measure(read: Read, text: bytes, times: int) -> float:
    start = time.thread_time()
    for _ in range(times):
        read(text)
    return time.thread_time() - start


@pytest.mark.parametrize(
    ("read", "longest", "piece"),
    [
        pytest.param(read, longest, piece, id=f"{name}: {piece!r}")
        for name, (read, longest, pieces) in READERS.items()
        for piece in pieces
    ],
)
def test_twice_the_input_takes_twice_the_time(read: Read, longest: int, piece: bytes) -> None:
    whole = (piece * longest)[:longest]
    half = whole[: longest // 2]
    times = max(1, int(0.002 / max(measure(read, whole, 1), 1e-7)))
    ratios = [
        measure(read, whole, times) / max(measure(read, half, times), 1e-9) for _ in range(ROUNDS)
    ]
    assert min(ratios) < RATIO
