"""The ``Set-Cookie`` lines of one response."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from bridge.browser.script_cookies import TWIN_MAX_AGE, Twin, encode_readable, is_twin_cookie
from bridge.browser.words import ConsentChoice
from bridge.visitor.capture import Capture
from bridge.visitor.consent import CHOICE_MAX_AGE
from bridge.visitor.cookies import (
    CHOICE_COOKIE,
    PAGE_COOKIE,
    READABLE_COOKIE,
    SESSION_COOKIE,
    build_set_cookie,
    find_cookie_domain,
)
from bridge.visitor.meta_cookies import parse_browser_id

MAX_CLEARED = 20  # twins that one response clears
MAX_PLACES = 6  # domains of one host at which cookies are cleared
MAX_PAGE_LENGTH = 1000  # characters of the page's URL as a cookie

META_COOKIES = (b"_fbp", b"_fbc")
_OURS = (SESSION_COOKIE, READABLE_COOKIE, PAGE_COOKIE, *META_COOKIES)
_NOT_IN_COOKIES = b'";,\\'
_ESCAPED = re.compile(rb'[";,\\]')


class SetCookies:
    """Lines for the response to one request.

    Args:
        capture: The request: which cookies its browser sent, and where cookies live.

    Attributes:
        lines: Values of ``Set-Cookie`` headers, in order.
    """

    def __init__(self, capture: Capture) -> None:
        self.lines: list[bytes] = []
        self._sent = capture.cookies
        self._place = capture.place
        self._path = capture.cookie_path
        self._attributes = self._place.attributes

    def _set(self, name: bytes, value: str, max_age: int) -> None:
        line = build_set_cookie(
            name,
            value,
            max_age=max_age,
            domain=self._place.cookie_domain.domain,
            path=self._path,
            secure=self._place.is_secure,
        )
        self.lines.append(line)

    def set_choice(self, choice: ConsentChoice) -> None:
        """Keep what the visitor chose, and clear what was chosen before, where it may live."""
        if self._sent.choice is not None:
            places = list_places(self._place.host, self._place.cookie_domain.domain)
            self._clear_at(CHOICE_COOKIE, places[1:])
        self._set(CHOICE_COOKIE, choice, CHOICE_MAX_AGE)

    def set_session(self, value: bytes) -> None:
        """Keep the signed session."""
        self.lines.append(b"%b=%b%b" % (SESSION_COOKIE, value, self._attributes.session))

    def set_browser_id(self, name: bytes, value: str) -> None:
        """Give the browser a ``_fbp`` or ``_fbc``."""
        self.lines.append(b"%b=%b%b" % (name, value.encode("ascii"), self._attributes.browser_id))

    def renew_browser_id(self, name: bytes, value: str) -> None:
        """Renew a value the browser has.

        One with another domain's index was set by the pixel itself, on another domain: renewing it
        here would make a second cookie.
        """
        parsed = parse_browser_id(value)
        if (
            parsed is not None
            and parsed.subdomain_index == self._place.cookie_domain.subdomain_index
        ):
            self.set_browser_id(name, value)

    def set_readable(self, value: bytes, *, renew: bool) -> None:
        """Tell the script what it must know, unless its cookie says so already."""
        if renew or self._sent.readable != value:
            self.lines.append(b"%b=%b%b" % (READABLE_COOKIE, value, self._attributes.readable))

    def set_twin(self, twin: Twin) -> None:
        """Send a twin to the script."""
        self._set(twin.cookie.encode(), encode_readable(twin), TWIN_MAX_AGE)

    def clear_all(self) -> None:
        """Clear our cookies, except the visitor's choice."""
        self.clear(*_OURS)

    def clear(self, *names: bytes) -> None:
        """Clear twins and ``names``, as far as the browser sent them, wherever they may live.

        A twin lives for minutes, the others for months: they may stand where ``cookie_domain`` had
        them before it was changed.
        """
        places = list_places(self._place.host, self._place.cookie_domain.domain)
        for name in names:
            if self._sent.text(name) is not None:
                self._clear_at(name, places)
        for cookie in self._sent.twins[:MAX_CLEARED]:
            if is_twin_cookie(name := cookie.partition(b"=")[0]):
                self._clear_at(name, dict.fromkeys((self._place.cookie_domain.domain, None)))

    def _clear_at(self, name: bytes, places: Iterable[str | None]) -> None:
        path = "/" if name in META_COOKIES else self._path
        self.lines += [
            build_set_cookie(name, "", max_age=0, domain=place, path=path) for place in places
        ]


def build_page(capture: Capture) -> list[bytes]:
    """Return the line that keeps a loaded page's URL until the browser is closed, if one is needed.

    It has a cookie of its own: the session would have to be signed anew for each page.
    """
    place, raw, sent = capture.place, capture.raw_url, capture.cookies.raw.get(PAGE_COOKIE)
    if raw == sent or place.host is None:  # a URL without private parts is kept as it came
        return []
    url = capture.clean_url(raw)
    if url is None:
        return []
    if len(url) > MAX_PAGE_LENGTH:
        url = url.partition("?")[0]
    value = url.encode("ascii")
    if len(value.translate(None, _NOT_IN_COOKIES)) < len(value):
        value = _ESCAPED.sub(lambda found: b"%%%02X" % ord(found[0]), value)
    if len(value) > MAX_PAGE_LENGTH or value == sent:
        return []
    return [PAGE_COOKIE + b"=" + value + place.attributes.page]


@lru_cache(maxsize=256)
def list_places(host: str | None, domain: str | None) -> tuple[str | None, ...]:
    """Return where a browser at ``host`` may have cookies of ours: ``None`` is the host alone.

    These are ``domain``, where they live now, and whatever lies between ``host`` and its
    registrable domain, which the public suffix list ends; of a very long name, the shortest.
    """
    registrable = find_cookie_domain(host).domain if host else None
    places: list[str | None] = [domain]
    if host and registrable:
        below = host.removesuffix(registrable).split(".")[:-1]
        parents = [".".join([*below[at:], registrable]) for at in range(len(below), -1, -1)]
        places += parents[:MAX_PLACES]
    return tuple(dict.fromkeys((*places, None)))
