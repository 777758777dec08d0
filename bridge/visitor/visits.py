"""How this app's requests are judged: who is ignored, what is allowed, who it is.

One ``Visits`` serves all visitors of a ``Bridge``.
"""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any

from starlette.requests import HTTPConnection

from bridge.browser.script_cookies import encode_settings
from bridge.browser.words import ConsentState
from bridge.events.event import DAY
from bridge.events.personal_values import ALL, find_shape
from bridge.visitor.bots import names_robot
from bridge.visitor.capture import SPECULATION_HEADERS, Capture
from bridge.visitor.connection import FORWARDED_FOR, SiteRules
from bridge.visitor.consent import Consent
from bridge.visitor.cookies import (
    AJS_COOKIE,
    CHOICE_COOKIE,
    FBC_COOKIE,
    FBP_COOKIE,
    LOWERED_COOKIE,
    PAGE_COOKIE,
    READABLE_COOKIE,
    SESSION_COOKIE,
)
from bridge.visitor.identity import Identity, SessionSigner
from bridge.visitor.ip import UNIX, is_public
from bridge.visitor.seal import Sealer
from bridge.visitor.signing import TwinQuestions

Ignore = Callable[[HTTPConnection], str | None]
OWN_REASONS = frozenset({"excluded", "prefetch", "prerender", "cross_site_post", "bot"})
SENDING_STATES = ("granted", "limited")  # consent under which events are sent

# Cookies of a browser that we know, and what has to be looked at more closely.
_COMPLETE = frozenset({SESSION_COOKIE, READABLE_COOKIE, FBP_COOKIE, PAGE_COOKIE})
_SPECIAL_COOKIES = frozenset({LOWERED_COOKIE, AJS_COOKIE})
_ALLOWING = frozenset({None, b"granted"})
_SPECIAL_HEADERS = frozenset({*SPECULATION_HEADERS, b"sec-gpc"})

_REASON = re.compile(r"[A-Za-z][\w .:/-]{0,59}", re.ASCII)

logger = logging.getLogger("bridge.visitor")


class Visits:
    """Judges requests.

    Args:
        rules: How requests of this site are read.
        signer: Reads and writes the session cookie.
        sealer: Makes and opens sealed tokens.
        questions: Signs what scripts may ask about twins.
        consent: Where the decision comes from.
        exclude_paths: Paths, with everything below them, whose requests are ignored.
        ignore: Returns why a request is ignored, or ``None``.
        counters: Where ignored requests are counted, by reason.
        owner: The bridge that all this belongs to, for whoever has only a visitor.
    """

    def __init__(
        self,
        rules: SiteRules,
        signer: SessionSigner,
        sealer: Sealer,
        questions: TwinQuestions,
        consent: Consent,
        *,
        exclude_paths: Iterable[str],
        ignore: Ignore | None,
        counters: Counter[str],
        owner: object = None,
    ) -> None:
        self.owner = owner
        self.rules = rules
        self.signer = signer
        self.sealer = sealer
        self.questions = questions
        self._consent = consent
        self._header = consent.header_name
        self._cookie = consent.cookie_name
        # Nothing but the visitor's own choice differs from the default.
        self._is_default = not (consent.resolve or consent.header or consent.cookie)
        self._excluded = tuple({path.rstrip("/") for path in exclude_paths})
        self._ignore = ignore
        self._is_plain = self._is_default and consent.default == "granted" and ignore is None
        self._counters = counters
        self._has_warned = False
        self._has_told_of_headless = False

    @property
    def is_granted(self) -> bool:
        """Whether events of a visitor who has not chosen are sent."""
        return self._consent.default in SENDING_STATES

    def decide(self, capture: Capture, choice: str | None) -> ConsentState:
        """Return what may be done, with ``choice`` as the visitor's own."""
        gpc, lowered = capture.asks_for_privacy, capture.cookies.lowered
        if self._is_default and choice is None:
            default = self._consent.default
            if not gpc and lowered is None:
                return default
            return self._consent.lower(default, gpc=gpc, lowered=lowered)
        return self._consent.decide(
            capture.scope,
            header=capture.read_header(self._header) if self._header else None,
            cookie=capture.cookies.text(self._cookie) if self._cookie else None,
            choice=choice,
            gpc=gpc,
            lowered=lowered,
        )

    def find_ignored(self, capture: Capture, stored: Identity | None) -> str | None:
        """Return why the request is ignored, and count it; ``None`` for a visitor's request."""
        if FORWARDED_FOR in capture.headers:
            self._warn_of_proxy(capture)
        reason = self._find_ignored(capture, stored)
        if reason:
            self._counters[f"ignored_requests.{reason}"] += 1
        if reason == "bot" and not self._has_told_of_headless:
            self._tell_of_headless(capture)
        return reason

    def _find_ignored(self, capture: Capture, stored: Identity | None) -> str | None:
        if self._is_excluded(capture.path):
            return "excluded"
        speculation = capture.speculation
        if speculation is not None:
            return speculation
        # Browsers do not send SameSite=Lax cookies here. A known visitor would look like a new one,
        # who never denied anything, and the response would overwrite the session.
        if not capture.cookies.header and capture.is_cross_site_post:
            return "cross_site_post"
        if stored is None and capture.user_agent and names_robot(capture.user_agent):
            return "bot"
        if self._ignore is None:
            return None
        try:
            reason = self._ignore(HTTPConnection(capture.scope))
        except Exception:
            # The app's own code: its mistake must not fail the page.
            logger.exception("the app's ignore= failed; the request is not ignored")
            return None
        return _name_reason(reason)

    def _tell_of_headless(self, capture: Capture) -> None:
        """Log once that a developer's own test is a robot; strangers' robots are only counted."""
        if "headless" in (capture.user_agent or "").lower() and not capture.client_ip:
            self._has_told_of_headless = True
            logger.warning(
                "a headless browser is ignored, as a robot: nothing is sent for it; to test with"
                " one, give it a user agent without the word"
            )

    def _warn_of_proxy(self, capture: Capture) -> None:
        """Log once that a proxy is in front and is not trusted: no event has an address then."""
        if self._has_warned or capture.connection.trusts_peer:
            return
        peer = capture.connection.peer
        if peer is None or (not isinstance(peer, str) and is_public(peer)):
            return
        self._has_warned = True
        is_unix = peer == UNIX
        logger.warning(
            "requests come through a proxy at %s that is not trusted: events carry no client"
            " address; add %s to trusted_proxies (BRIDGE_TRUSTED_PROXIES)",
            "the other end of a Unix socket" if is_unix else peer,
            UNIX if is_unix else "its address or network",
        )

    def _is_excluded(self, path: str) -> bool:
        # Most paths begin with none of them.
        return path.startswith(self._excluded) and f"{path}/".startswith(
            tuple(f"{each}/" for each in self._excluded)
        )

    def seems_unchanged(self, capture: Capture) -> bool:
        """Return whether a page needs no look into the session, since nobody asked who it is.

        The browser has each cookie that it should have, and the page brings no click id. Whether
        they are right, and how old, is found out by the next request that asks: a report of the
        page's script, at the latest.
        """
        if not self._is_plain:
            return False
        cookies = capture.cookies
        raw = cookies.raw
        return (
            raw.keys() >= _COMPLETE
            and raw.keys().isdisjoint(_SPECIAL_COOKIES)
            and raw.get(CHOICE_COOKIE) in _ALLOWING
            and not cookies.has_repeated
            and capture.headers.keys().isdisjoint(_SPECIAL_HEADERS)
            and not capture.names_other_click(raw.get(FBC_COOKIE))
            and not (capture.path.startswith(self._excluded) and self._is_excluded(capture.path))
        )

    def read_unchanged(self, capture: Capture) -> tuple[Identity, ConsentState] | None:
        """Return the session's identity and the consent, if both hold as they are.

        The browser then has all cookies that it should have, but for the page's. Of most requests
        of a known visitor nothing more is read than this. ``None`` says nothing: the request has to
        be looked at in full.
        """
        cookies, headers = capture.cookies, capture.headers
        raw, now = cookies.raw, time.time()
        session = raw.get(SESSION_COOKIE)
        if session is None or cookies.has_repeated or self._ignore is not None:
            return None
        stored = self.signer.read(session, now)
        if (
            stored is None
            or LOWERED_COOKIE in raw
            or now - stored.renewed_at >= DAY
            or capture.names_other_click(raw.get(FBC_COOKIE))
            or not headers.keys().isdisjoint(SPECULATION_HEADERS)
            or (AJS_COOKIE in raw and self._differs(capture, stored))
            or (capture.path.startswith(self._excluded) and self._is_excluded(capture.path))
        ):
            return None
        if self._is_plain and CHOICE_COOKIE not in raw and b"sec-gpc" not in headers:
            consent: ConsentState = "granted"
        else:
            consent = self.decide(capture, cookies.choice)
            if consent not in SENDING_STATES:
                return None
        is_navigation = capture.is_navigation
        if is_navigation and (
            stored.is_page_anonymous
            # As it came, before it is read: it seldom changes.
            or (
                headers.get(b"user-agent") != stored.raw_user_agent
                and capture.user_agent != stored.user_agent
            )
        ):
            return None
        domain = stored.domain
        if is_navigation or self.rules.trusted_proxies or _has_ipv6(capture.scope):
            domain, known = capture.place.cookie_domain.domain, stored.client_ip
            if not capture.is_from(known):
                if is_navigation or ":" in (capture.client_ip or ""):
                    return None
            elif known and ":" in known and now - stored.client_ip_time >= DAY // 2:
                return None
        sent = raw.get(FBP_COOKIE), raw.get(FBC_COOKIE), raw.get(READABLE_COOKIE)
        return (stored, consent) if sent == _list_cookies(stored, domain, consent) else None

    @staticmethod
    def _differs(capture: Capture, stored: Identity) -> bool:
        """Return whether Segment's anonymous id is another than the session's."""
        return capture.ajs_anonymous_id not in (None, stored.anonymous_id)


def _list_cookies(
    identity: Identity, domain: str | None, consent: ConsentState
) -> tuple[bytes | None, ...]:
    """Return ``_fbp``, ``_fbc`` and the readable cookie that the browser should send.

    They are kept as long as the identity is.
    """
    known = identity.__dict__.get("cookies")
    if known is None or known[0] != domain or known[1] != consent:
        fbp, fbc = identity.fbp, identity.fbc
        cookies = (
            None if fbp is None else fbp.encode(),
            None if fbc is None else fbc.encode(),
            encode_settings(identity.external_id, domain, consent),
        )
        known = identity.__dict__["cookies"] = (domain, consent, cookies)
    found: tuple[bytes | None, ...] = known[2]
    return found


def _name_reason(reason: object) -> str | None:
    """Return the app's reason as it is counted and shown: a word of its own, nothing of a person.

    Anything true ignores the request.
    """
    if not reason:
        return None
    text = reason if isinstance(reason, str) else ""
    return text if _REASON.fullmatch(text) and not find_shape(text, ALL) else "ignored"


def _has_ipv6(scope: MutableMapping[str, Any]) -> bool:
    client = scope.get("client")
    return client is not None and ":" in client[0]
