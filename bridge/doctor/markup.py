"""A page's HTML, as far as it concerns us: our tag, the page's own pixel, its policy. Pure."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import msgspec

_SCRIPT = re.compile(r"/bridge(?:\.[0-9a-f]{16})?\.js(?:[?#]|$)")
_PIXEL = re.compile(r"fbevents\.js|\bfbq\s*\(\s*['\"]init['\"]")
_INIT = re.compile(r"\bfbq\s*\(\s*['\"]init['\"]\s*,\s*['\"]?([0-9]{1,20})\b")


class Markup(msgspec.Struct, frozen=True, kw_only=True):
    """What a page's HTML says.

    Attributes:
        script: The address in our tag, as written; empty without a tag.
        stray: The address in a tag that looks like ours, and has another path; empty without one.
        nonce: Of our tag.
        integrity: Of our tag; empty without one.
        has_cors: Whether our tag has ``crossorigin``.
        is_async: Whether our tag is ``async`` or ``defer``.
        has_pixel: Whether the page has Meta's snippet itself.
        pixel_ids: That the page itself initialises.
        pixel_first: Whether that stands before our tag.
        policies: In ``meta`` elements.
    """

    script: str = ""
    stray: str = ""
    nonce: str | None = None
    integrity: str = ""
    has_cors: bool = False
    is_async: bool = False
    has_pixel: bool = False
    pixel_ids: tuple[str, ...] = ()
    pixel_first: bool = False
    policies: tuple[str, ...] = ()


def read_markup(html: str, prefix: str) -> Markup:
    """Return what ``html`` says; our script is one below ``prefix``."""
    reader = _Reader(prefix)
    # Marked sections are none of HTML's, and the parser raises for those that it does not know.
    reader.feed(html.replace("<![", "<!-"))
    return Markup(
        script=reader.script,
        stray=reader.stray,
        nonce=reader.nonce,
        integrity=reader.integrity,
        has_cors=reader.has_cors,
        is_async=reader.is_async,
        has_pixel=reader.has_pixel,
        pixel_ids=tuple(dict.fromkeys(reader.pixel_ids)),
        pixel_first=reader.pixel_first,
        policies=tuple(reader.policies),
    )


class _Reader(HTMLParser):
    def __init__(self, prefix: str) -> None:
        super().__init__(convert_charrefs=True)
        self.script = self.stray = self.integrity = ""
        self.nonce: str | None = None
        self.is_async = self.has_pixel = self.pixel_first = self.has_cors = False
        self.policies: list[str] = []
        self.pixel_ids: list[str] = []
        self._prefix = prefix
        self._in_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "script":
            self._in_script = True
            self._read_script(values)
        is_policy = (values.get("http-equiv") or "").lower() == "content-security-policy"
        if tag == "meta" and is_policy:
            self.policies.append(values.get("content") or "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script and _PIXEL.search(data):
            self._note_pixel()
            self.pixel_ids += _INIT.findall(data)

    def _read_script(self, values: dict[str, str | None]) -> None:
        address = (values.get("src") or "").strip()
        is_named = _SCRIPT.search(f"/{address}") is not None
        if is_named and f"{self._prefix}/" not in address:
            self.stray = self.stray or address
        elif is_named and not self.script:
            self.script = address
            self.nonce = values.get("nonce")
            self.integrity = values.get("integrity") or ""
            self.has_cors = "crossorigin" in values
            self.is_async = not {"async", "defer"}.isdisjoint(values)
        elif _PIXEL.search(address):
            self._note_pixel()

    def _note_pixel(self) -> None:
        self.pixel_first = self.pixel_first or not self.script
        self.has_pixel = True
