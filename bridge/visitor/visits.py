"""One request in, one ``Visitor`` out: who is ignored, what is allowed, who it is.

Strategy: most requests of a known visitor change nothing, and are like one that came before: the
same cookies from the same place. Such a request is recognised, and nothing of it is looked at
again.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, MutableMapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from starlette.requests import HTTPConnection

from bridge.browser.words import ConsentState
from bridge.events.event import DAY
from bridge.visitor.bots import is_bot
from bridge.visitor.capture import Capture
from bridge.visitor.connection import PROXY_HEADERS, SiteRules
from bridge.visitor.consent import Consent
from bridge.visitor.identity import Identity, SessionSigner
from bridge.visitor.meeting import meet
from bridge.visitor.visitor import Visitor

if TYPE_CHECKING:
    from bridge.core import Bridge

REMEMBERED = 2048  # Cookie headers with requests that changed nothing
SITUATIONS = 8  # of these for each header
MAX_SITUATION_LENGTH = 2000  # characters of one

logger = logging.getLogger("bridge.visitor")


def _list_headers(rules: SiteRules, consent_header: bytes) -> tuple[bytes, ...]:
    """Return the headers to look at because of how the bridge is set up."""
    told = (rules.client_ip_header, *PROXY_HEADERS) if rules.trusted_proxies else ()
    return (*told, *([consent_header] if consent_header else []))


def _is_short(situation: tuple[Any, ...]) -> bool:
    return len(repr(situation)) <= MAX_SITUATION_LENGTH


class Visits:
    """Receives requests.

    Args:
        rules: What to know of the site.
        signer: Reads the session cookie.
        consent: Where the decision comes from.
        exclude_paths: Paths, with all below them, where no visitor is met.
        ignore: From the connection to why this request is no visitor's, or ``None``.
        counters: Where ignored requests are counted, by reason.
    """

    def __init__(
        self,
        rules: SiteRules,
        signer: SessionSigner,
        consent: Consent,
        *,
        exclude_paths: Iterable[str],
        ignore: Callable[[HTTPConnection], str | None] | None,
        counters: Counter[str],
    ) -> None:
        self._rules = rules
        self._signer = signer
        self._consent = consent
        self._header = consent.header_name
        self._cookie = consent.cookie_name
        self._excluded = tuple({f"{path.rstrip('/')}/" for path in exclude_paths})
        self._ignore = ignore
        self._counters = counters
        # What the app's own callables look at is not known.
        self._is_predictable = ignore is None and consent.resolve is None
        self._telling = _list_headers(rules, self._header)
        self._settled: Callable[[bytes], dict[tuple[Any, ...], ConsentState]]
        self._settled = lru_cache(maxsize=REMEMBERED)(lambda header: {})

    @property
    def private_parameters(self) -> frozenset[str]:
        """Query parameters that never leave with a URL, normalised."""
        return self._rules.private_parameters

    def receive(self, scope: MutableMapping[str, Any], bridge: Bridge) -> Visitor:
        """Return the visitor that makes the request of ``scope``."""
        capture = Capture(scope, self._rules)
        cookie = capture.cookies.session
        now = time.time()
        stored = self._signer.read(cookie, now) if cookie else None
        if stored is None or not self._is_predictable or now - stored.renewed_at >= DAY:
            return self._look(capture, stored, bridge)
        situations = self._settled(capture.cookies.header)
        situation = self._describe(capture)
        consent = situations.get(situation)
        if consent is not None:
            return Visitor(
                bridge, capture, stored=stored, consent=consent, ignored=None, is_settled=True
            )
        visitor = self._look(capture, stored, bridge)
        if visitor.silence is None and not visitor.has_news and _is_short(situation):
            if len(situations) >= SITUATIONS:
                situations.clear()
            situations[situation] = visitor.consent
        return visitor

    def _look(self, capture: Capture, stored: Identity | None, bridge: Bridge) -> Visitor:
        """Return the visitor, from all that the request shows."""
        ignored = self._find_ignored(capture, stored)
        if ignored:
            self._counters[f"ignored_requests.{ignored}"] += 1
        consent = self.decide(capture, capture.cookies.choice)
        return Visitor(bridge, capture, stored=stored, consent=consent, ignored=ignored)

    def _describe(self, capture: Capture) -> tuple[Any, ...]:
        """Return all of the request, its cookies aside, that ``_look`` looks at."""
        scope, read = capture.scope, capture.headers.get
        client = scope.get("client")
        query = scope.get("query_string", b"")
        page: object
        if capture.is_navigation:
            page = (scope.get("raw_path"), scope["path"], query)
        else:
            page = query if b"fbclid" in query else None
        return (
            client and client[0],
            scope.get("scheme"),
            capture.method,
            capture.is_navigation,
            self._excludes(capture.path),
            page,
            read(b"host"),
            read(b"user-agent"),
            read(b"referer"),
            read(b"sec-gpc"),
            read(b"purpose"),
            read(b"sec-purpose"),
            read(b"x-moz"),
            read(b"x-purpose"),
            tuple(map(read, self._telling)) if self._telling else None,
        )

    def decide(self, capture: Capture, choice: str | None) -> ConsentState:
        """Return what may be done, with ``choice`` as the visitor's own."""
        return self._consent.decide(
            capture.scope,
            header=capture.read_header(self._header) if self._header else None,
            cookie=capture.cookies.text(self._cookie) if self._cookie else None,
            choice=choice,
            gpc=capture.asks_for_privacy,
        )

    def _excludes(self, path: str) -> bool:
        return f"{path}/".startswith(self._excluded)

    def _find_ignored(self, capture: Capture, stored: Identity | None) -> str | None:
        """Return why the request is no visitor's; a known visitor's user agent is not parsed."""
        if self._excludes(capture.path):
            return "excluded"
        speculation = capture.speculation
        if speculation is not None:
            return speculation
        # A browser keeps SameSite=Lax cookies back here: a known visitor would look like a new one,
        # who never denied anything, and be overwritten by the answer.
        if not capture.cookies.header and capture.is_cross_site_post:
            return "cross_site_post"
        if stored is None and capture.user_agent and is_bot(capture.user_agent):
            return "bot"
        if self._ignore is None:
            return None
        try:
            return self._ignore(HTTPConnection(capture.scope))
        except Exception:
            # The app's own code: its mistake must not fail the page.
            logger.exception("the app's ignore failed; the request counts as a visitor's")
            return None

    def meet(self, capture: Capture, stored: Identity | None) -> Identity:
        """Return who makes the request of ``capture``."""
        return meet(capture, stored, self._signer, now=time.time())
