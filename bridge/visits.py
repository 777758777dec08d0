"""One request in, one ``Visitor`` out: who is ignored, what is allowed, who it is."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, MutableMapping
from typing import TYPE_CHECKING, Any

from starlette.requests import HTTPConnection

from bridge.bots import is_bot
from bridge.capture import Capture
from bridge.connection import SiteRules
from bridge.consent import Consent, State
from bridge.identity import Identity, SessionSigner
from bridge.visitor import Visitor, meet

if TYPE_CHECKING:
    from bridge.core import Bridge

logger = logging.getLogger("bridge.visits")


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
        self._excluded = frozenset(path.rstrip("/") for path in exclude_paths)
        self._below_excluded = tuple(f"{path}/" for path in self._excluded)
        self._ignore = ignore
        self._counters = counters

    def receive(self, scope: MutableMapping[str, Any], bridge: Bridge) -> Visitor:
        """Return the visitor that makes the request of ``scope``."""
        capture = Capture(scope, self._rules)
        cookie = capture.cookies.session
        stored = self._signer.read(cookie, time.time()) if cookie else None
        ignored = self._find_ignored(capture, stored, scope)
        if ignored:
            self._counters[f"ignored_requests.{ignored}"] += 1
        consent = self.decide(capture, capture.cookies.choice)
        return Visitor(bridge, capture, stored=stored, consent=consent, ignored=ignored)

    def decide(self, capture: Capture, choice: str | None) -> State:
        """Return what may be done, with ``choice`` as the visitor's own."""
        return self._consent.decide(
            capture.scope,
            header=capture.read_header(self._header) if self._header else None,
            cookie=capture.cookies.text(self._cookie) if self._cookie else None,
            choice=choice,
            gpc=capture.asks_for_privacy,
        )

    def _find_ignored(
        self, capture: Capture, stored: Identity | None, scope: MutableMapping[str, Any]
    ) -> str | None:
        """Return why the request is no visitor's; a known visitor's user agent is not parsed."""
        if self._excluded and (
            capture.path in self._excluded or capture.path.startswith(self._below_excluded)
        ):
            return "excluded"
        speculation = capture.speculation
        if speculation is not None:
            return speculation
        # A browser keeps SameSite=Lax cookies back here: a known visitor would look like a new one,
        # who never denied anything, and be overwritten by the answer.
        if capture.is_cross_site_post and not capture.cookies.header:
            return "cross_site_post"
        if stored is None and capture.user_agent and is_bot(capture.user_agent):
            return "bot"
        if self._ignore is None:
            return None
        try:
            return self._ignore(HTTPConnection(scope))
        except Exception:
            # The app's own code: its mistake must not fail the page.
            logger.exception("the app's ignore failed; the request counts as a visitor's")
            return None

    def meet(self, capture: Capture, stored: Identity | None) -> Identity:
        """Return who makes the request of ``capture``."""
        return meet(capture, stored, self._signer, now=time.time())
