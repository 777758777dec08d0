"""Our script as it is served: whether it is the right one, and runs from the page's tag. Pure."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from bridge.browser.script import Script
from bridge.doctor.finding import Finding, bad, good, warning
from bridge.doctor.markup import Markup
from bridge.doctor.page import TAG, Answer

_HASHES = ("sha512", "sha384", "sha256")  # of an ``integrity``; browsers check the strongest
_YEAR = re.compile(r"max-age=(\d{1,10})")


def look_at_script(
    answer: Answer, script: Script, markup: Markup, page_url: str
) -> Iterator[Finding]:
    """Yield whether our script is served as it should be, and runs from the page's tag."""
    media_type = answer.headers.get("content-type", "").partition(";")[0].strip()
    if answer.status != 200 or media_type not in ("text/javascript", "application/javascript"):
        what = f"as {media_type or 'no type'}, not JavaScript" if answer.status == 200 else ""
        yield bad(
            "script",
            f"{answer.url} answers {answer.status} {what}".rstrip(),
            "add BridgeMiddleware outside of all others, and let your proxy pass the path below"
            " the prefix to the app",
        )
        return
    blocked = _explain_integrity(answer, script, markup, page_url)
    if blocked is not None:
        yield blocked
    elif answer.content != script.content:
        yield warning(
            "script",
            "it is not the one that these settings make: another release, pixel, prefix or catalog,"
            " or a proxy rewrites it",
            "restart the app, empty the CDN's cache, or give --app of the app that runs there",
        )
    else:
        yield good("script", f"served, {len(answer.content):,} bytes")
    age = _YEAR.search(answer.headers.get("cache-control", ""))
    if age is None or "no-store" in answer.headers.get("cache-control", ""):
        yield warning(
            "script",
            "browsers may not keep it: each page loads it again",
            "let your proxy pass its Cache-Control, and remove headers that it adds there",
        )


def _explain_integrity(
    answer: Answer, script: Script, markup: Markup, page_url: str
) -> Finding | None:
    """Return why the browser blocks the script for the tag's ``integrity``, if it does.

    Source: W3C, "Subresource Integrity", 3.3 verification algorithms.
    """
    hashes = _read_hashes(markup.integrity)
    if not hashes:
        return None
    algorithm = next(each for each in _HASHES if each in hashes)
    digest = hashlib.new(algorithm, answer.content).digest()
    if base64.b64encode(digest).decode() not in hashes[algorithm]:
        return bad(
            "script",
            "browsers block it: what is served does not match the integrity in the tag",
            f"write the tag with {TAG}, and empty caches of pages from before a release"
            if answer.content == script.content
            else "let the proxy or CDN pass the script as it is; if it has to rewrite JavaScript,"
            " use bridge.script_tag(integrity=False)",
        )
    is_foreign = urlsplit(answer.url).netloc.lower() != urlsplit(page_url).netloc.lower()
    if is_foreign and not (markup.has_cors and "access-control-allow-origin" in answer.headers):
        return bad(
            "script",
            "browsers block it: across origins, integrity needs crossorigin in the tag and"
            " Access-Control-Allow-Origin in the answer",
            "write the tag with bridge.script_tag(origin=...), and let the proxy pass that header",
        )
    return None


def _read_hashes(integrity: str) -> dict[str, set[str]]:
    """Return by algorithm the hashes in ``integrity``; a browser ignores all others."""
    found: dict[str, set[str]] = {}
    for each in integrity.split():
        algorithm, _, value = each.partition("?")[0].partition("-")
        if algorithm.lower() in _HASHES:
            standard = value.replace("-", "+").replace("_", "/")
            found.setdefault(algorithm.lower(), set()).add(standard)
    return found
