"""Meta's cookies: ``_fbp`` and ``_fbc`` and the click id, parsed, built and renewed.

A value is ``fb.<index>.<milliseconds>.<payload>``, sometimes with an appendix of Meta's parameter
builder as a fifth part. The payload is part 3, never "the text after the last dot". Values from
the browser are forwarded byte for byte.

Source: Meta, "ClickID and the fbp and fbc Parameters" and "Parameter Builder Library", read
2026-11-23; how the pixel treats each value was measured with fbevents.js 2.9.325.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

MAX_LENGTH = 600  # characters of a whole value: a click id of 500 and its frame
MAX_CLICK_ID_LENGTH = 500  # characters; the pixel ignores longer ones
MAX_DECODED = 5  # times that a value is percent-decoded

# Two-character appendices are the parameter builder's old language tokens; newer ones have eight.
_VALUE = re.compile(
    r"fb\.(?P<index>[0-9]{1,2})\.(?P<created_ms>[0-9]{1,14})\.(?P<payload>[!#-+\-/-:<-\[\]-~]+)"
    r"(?:\.(?P<appendix>AQ|Ag|Aw|BA|BQ|Bg|[A-Za-z0-9_-]{8}))?"
)
_SECONDS = re.compile(r"fb\.[0-9]{1,2}\.1[0-9]{9}(?=\.)")
_CLICK_ID = re.compile(r"[A-Za-z0-9_.~-]{1,500}")


class BrowserId(NamedTuple):
    """A ``_fbp`` or ``_fbc`` value, taken apart.

    Attributes:
        subdomain_index: Labels in the cookie's domain minus one: 1 for ``example.com``.
        created_ms: When it was made, or the click was first seen; Unix milliseconds.
        payload: A random number (``_fbp``) or the click id (``_fbc``), as stored.
        appendix: The parameter builder's mark, or ``""``.
    """

    subdomain_index: int
    created_ms: int
    payload: str
    appendix: str = ""

    def __str__(self) -> str:
        value = f"fb.{self.subdomain_index}.{self.created_ms}.{self.payload}"
        return f"{value}.{self.appendix}" if self.appendix else value


def parse_browser_id(value: str) -> BrowserId | None:
    """Return the parts of a ``_fbp`` or ``_fbc`` value, or ``None`` if the pixel would refuse it.

    A payload holds no dots (the pixel writes a click id's dots as ``__DOT__``), so a fifth part of
    any other shape makes the whole value invalid, as it does for the pixel.
    """
    match = _VALUE.fullmatch(value) if len(value) <= MAX_LENGTH else None
    if match is None:
        return None
    return BrowserId(
        int(match["index"]), int(match["created_ms"]), match["payload"], match["appendix"] or ""
    )


def is_browser_id(value: str) -> bool:
    """Return whether the pixel would take ``value`` as a ``_fbp`` or ``_fbc``."""
    return len(value) <= MAX_LENGTH and _VALUE.fullmatch(value) is not None


def mend(value: str) -> str:
    """Return a valid ``_fbp`` or ``_fbc`` value as it should have been written.

    Its time is in milliseconds, and nothing in it is percent-encoded: the pixel encodes each ``%``
    anew whenever it renews a cookie, so that no two copies would carry the same.
    """
    match = _SECONDS.match(value)
    mended = f"{match[0]}000{value[match.end() :]}" if match else value
    parsed = parse_browser_id(mended) if "%" in mended else None
    if parsed is None:
        return mended
    payload = parsed.payload.encode()
    for _ in range(MAX_DECODED):
        payload = unquote_to_bytes(payload)
    clean = payload.decode("latin-1").replace(".", "__DOT__")
    decoded = str(parsed._replace(payload=clean))
    return decoded if is_browser_id(decoded) else mended


def new_fbp(index: int, now_ms: int, random: bytes) -> str:
    """Return a new ``_fbp`` value; the payload has up to 18 digits, as the pixel's own.

    Args:
        index: Labels in the cookie's domain minus one.
        now_ms: Unix milliseconds.
        random: 8 bytes.
    """
    return f"fb.{index}.{now_ms}.{int.from_bytes(random) % 10**18}"


def build_fbc(click_id: str, index: int, now_ms: int, appendix: str = "") -> str:
    """Return the ``_fbc`` value of a click first seen at ``now_ms``."""
    value = f"fb.{index}.{now_ms}.{click_id.replace('.', '__DOT__')}"
    return f"{value}.{appendix}" if appendix else value


def renew_fbc(stored: str | None, click_id: str | None, index: int, now_ms: int) -> str | None:
    """Return the ``_fbc`` value to keep: ``stored``, unless ``click_id`` is another click.

    The first-seen time never moves for the same click; case counts.

    Source: Meta, "ClickID and the fbp and fbc Parameters": set it only if it is missing or its
    click id differs from the one in the URL.
    """
    if click_id is None:
        return stored
    known = _VALUE.fullmatch(stored) if stored and len(stored) <= MAX_LENGTH else None
    if known is None:
        return build_fbc(click_id, index, now_ms)
    payload, appendix = known.group("payload", "appendix")
    if payload == click_id.replace(".", "__DOT__"):
        return stored
    return build_fbc(click_id, index, now_ms, appendix or "")


def read_click_id(query: bytes) -> str | None:
    """Return the first ``fbclid`` of a raw query string, or ``None`` if the pixel would ignore it.

    It is case-sensitive, percent-decoded once, of 1 to 500 characters of ``A-Za-z0-9_.~-``. With a
    ``brid`` beside it the two are joined, as the pixel joins them.
    """
    click_id = _read_parameter(query, b"fbclid=")
    if click_id is None or b"brid=" not in query:
        return click_id
    bridge_id = _read_parameter(query, b"brid=")
    joined = click_id if bridge_id is None else f"{click_id}_aem_{bridge_id}"
    return joined if len(joined) <= MAX_CLICK_ID_LENGTH else None


def _read_parameter(query: bytes, name: bytes) -> str | None:
    start = query.find(name)
    while start > 0 and query[start - 1 : start] != b"&":
        start = query.find(name, start + 1)
    if start < 0:
        return None
    start += len(name)
    raw = query[start : start + 3 * MAX_CLICK_ID_LENGTH + 1].partition(b"&")[0]
    text = (unquote_to_bytes(raw) if b"%" in raw else raw).decode("latin-1")
    return text if _CLICK_ID.fullmatch(text) else None
