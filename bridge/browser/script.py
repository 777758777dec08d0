"""The script as it is served, the tag that loads it, and what a page's policy must allow for it.

The address with a hash in it may be cached for a year, since its content never changes. A page
that was cached before a release asks for an old hash: it gets the current script, with a short
cache time.

Source: W3C, "Subresource Integrity", read 2026-11-24: across origins it needs CORS, so every
origin may read the script. The script contains nothing about the visitor.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from urllib.parse import quote, urlsplit

from bridge.errors import ConfigError

PIXEL_SCRIPT_URL = "https://connect.facebook.net/en_US/fbevents.js"
HITS_ORIGIN = "https://www.facebook.com"  # where Meta's own library sends its hits

_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~/-]*)?")
_NONCE = re.compile(r"[A-Za-z0-9+/_-]{1,200}={0,2}")  # CSP's grammar, since it goes into a header


def _read_script(name: str) -> bytes:
    """Return a script, from the wheel or the source tree; minified if such a file exists."""
    package = Path(__file__).parent.parent
    for folder in (package / "static", package.parent / "static"):
        for path in (folder / f"{name}.min.js", folder / f"{name}.js"):
            if path.exists():
                return path.read_bytes()
    raise FileNotFoundError(f"static/{name}.js is missing from this installation of pixel-bridge")


# Read from disk here, since the first use is on the event loop.
SCRIPT = _read_script("bridge")
CATALOG_SCRIPT = _read_script("catalog")
_TABLE = b"__BRIDGE_CATALOG__"
_PLACE = re.compile(rb"""['"]__([A-Z_]+)__['"]""")


class ScriptTag(str):
    """HTML that template engines do not escape again."""

    __slots__ = ()

    def __html__(self) -> str:
        """Return itself; Jinja2, Django and others call this."""
        return self


class Script:
    """The script of one bridge; built when a page first needs it.

    Args:
        prefix: Path below which it is served, such as ``/_bridge``.
        pixel_script_url: Where it loads the pixel's library from. This and the ids are written
            into the script, not into a cookie: any subdomain could set that, and so have any script
            run, or send a page's events to a pixel of its own.
        pixel_ids: The pixels that it initialises.
        table: The catalog as JSON, where pages may use Segment's names; written in too.
        consent_cookie: The consent banner's cookie, which it follows.
        cookie_path: The path below which its cookies and what it stores live.

    """

    def __init__(
        self,
        prefix: str,
        pixel_script_url: str = PIXEL_SCRIPT_URL,
        pixel_ids: Sequence[str] = (),
        *,
        table: str | None = None,
        consent_cookie: str = "",
        cookie_path: str = "/",
    ) -> None:
        self._values = {
            b"PIXEL_IDS": json.dumps(list(pixel_ids))[1:-1],
            b"PREFIX": json.dumps(prefix),
            b"CONSENT_COOKIE": json.dumps(consent_cookie + "="),
        }
        self._prefix = prefix
        self._pixel_script_url = pixel_script_url
        self._table = table
        self._cookie_path = cookie_path
        address = urlsplit(pixel_script_url)
        self._library = f"{address.scheme}://{address.netloc}"
        # A stand-in for the library takes its hits itself.
        real = address.hostname == urlsplit(PIXEL_SCRIPT_URL).hostname
        self._hits = HITS_ORIGIN if real else self._library

    @cached_property
    def content(self) -> bytes:
        """The script."""
        content = _PLACE.sub(lambda found: self._values[found[1]].encode(), SCRIPT)
        content = content.replace(PIXEL_SCRIPT_URL.encode(), self._pixel_script_url.encode())
        if self._cookie_path != "/":
            content = _confine(content, self._cookie_path)
        if self._table is not None:
            content = CATALOG_SCRIPT.replace(_TABLE, self._table.encode()) + b"\n" + content
        return content

    @cached_property
    def zipped(self) -> bytes:
        """The script, gzipped."""
        return gzip.compress(self.content, 9, mtime=0)

    @cached_property
    def version(self) -> str:
        """16 hex characters, a hash of the content."""
        return hashlib.sha256(self.content).hexdigest()[:16]

    @cached_property
    def path(self) -> str:
        """The address of exactly this content."""
        return f"{self._prefix}/bridge.{self.version}.js"

    @cached_property
    def _integrity(self) -> str:
        digest = hashlib.sha384(self.content).digest()
        return f"sha384-{base64.b64encode(digest).decode()}"

    def build_tag(
        self,
        *,
        root_path: str,
        nonce: str | None,
        integrity: bool,
        origin: str | None,
        noscript: bool,
    ) -> ScriptTag:
        """Return the tag; see ``Bridge.script_tag``."""
        # A visitor may choose the mount's path: it must not start like "//another.host".
        mount = quote(root_path.strip("/"), safe="/%&~")
        base = (f"/{mount}" if mount else "") if origin is None else _check_origin(origin)
        base, prefix = html.escape(base.rstrip("/")), html.escape(self._prefix)
        # Cloudflare's Rocket Loader would run it late, and without a tag of its own.
        attributes = f'src="{base}{html.escape(self.path)}" async data-cfasync="false"'
        if integrity:
            attributes += f' integrity="{self._integrity}" crossorigin="anonymous"'
        if nonce is not None:
            attributes += f' nonce="{_check_nonce(nonce)}"'
        image = (
            f'<noscript><img src="{base}{prefix}/view.gif" width="1" height="1" alt=""></noscript>'
        )
        return ScriptTag(f"<script {attributes}></script>{image if noscript else ''}")

    def build_csp(
        self, *, nonce: str | None, strict_dynamic: bool, origin: str | None
    ) -> dict[str, list[str]]:
        """Return what to add to each directive; see ``Bridge.csp_directives``."""
        if strict_dynamic and nonce is None:
            raise ConfigError("strict_dynamic needs nonce=: without one no script would run")
        home = "'self'"
        if origin is not None:
            address = urlsplit(_check_origin(origin))
            home = f"{address.scheme}://{address.netloc}"
        scripts = [] if nonce is None else [f"'nonce-{_check_nonce(nonce)}'"]
        scripts += ["'strict-dynamic'"] if strict_dynamic else []
        return {
            "script-src": [*scripts, home, self._library],
            "img-src": [self._hits],
            "connect-src": [home, self._hits],
        }


def _confine(content: bytes, path: str) -> bytes:
    """Return the script with its cookies, and its keys in localStorage, for one path.

    The pages of a host share its localStorage: one shop's page would send what another's has kept.
    """
    content = content.replace(b"; Path=/;", f"; Path={path};".encode())
    return content.replace(b"_bridge.", f"_bridge.{path}.".encode())


def _check_origin(origin: str) -> str:
    if not _ORIGIN.fullmatch(origin):
        raise ConfigError(f"origin must be such as https://api.example.com, got {origin[:100]!r}")
    return origin


def _check_nonce(nonce: str) -> str:
    # The message does not show the value, which is secret.
    if not _NONCE.fullmatch(nonce):
        raise ConfigError("nonce must be base64, such as secrets.token_urlsafe(16)")
    return nonce
