"""What may be done for a visitor: one decision, which the server and the script follow.

An answer comes from the app's callable, else its header, else its cookie, else from the visitor's
own choice (``bridge.consent()`` in the browser, ``visitor.set_consent()`` on the server), else from
the default. Then Global Privacy Control lowers it, and so does what the page told the pixel itself,
which the script keeps in a cookie; nothing raises it again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from starlette.requests import HTTPConnection

from bridge.browser.words import ConsentState
from bridge.errors import ConfigError
from bridge.visitor.banners import BANNERS, read_banner

Resolve = Callable[[HTTPConnection], ConsentState | None]
GPCPolicy = Literal["limited", "denied", "ignore"]

CHOICE_MAX_AGE = 180 * 86_400  # seconds

logger = logging.getLogger("bridge.visitor")

_SILENT: set[str | None] = set()  # banners' cookies that did not say it, and were logged
_STATES = frozenset(get_args(ConsentState))

# What consent banners commonly write.
_MEANINGS: Mapping[str, ConsentState] = {
    **dict.fromkeys(("granted", "grant", "true", "1", "yes", "allow", "accepted"), "granted"),
    **dict.fromkeys(("limited", "limit", "ldu"), "limited"),
    **dict.fromkeys(("denied", "deny", "false", "0", "no", "declined", "rejected"), "denied"),
    "pending": "pending",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """Where the decision comes from.

    Attributes:
        default: The state while nothing else decides. ``pending`` holds everything back until the
            visitor chooses.
        resolve: Takes the connection and returns a state, or ``None`` to ask the next source. If it
            raises, the state is pending and the log says so.
        header: A request header with the state, set by a proxy in front of the app.
        cookie: A cookie with the state, set by a consent banner. Those of well-known banners are
            read as their makers write them; see ``BANNERS`` in ``bridge.visitor.banners``.
        category: What such a banner calls advertising on this site, if it is not the usual name:
            ``C0002``, ``ads``, a service of Klaro's, purposes of TCF such as ``1,4``.
        meanings: The state for each value of that header or cookie, lower-case; other values are
            ignored.
        gpc: What Global Privacy Control (``Sec-GPC: 1``) turns ``granted`` into: ``limited`` or
            ``denied``; with ``ignore`` it stays granted.

    Raises:
        ConfigError: ``default`` or ``gpc`` is not one of these.
    """

    default: ConsentState = "granted"
    resolve: Resolve | None = None
    header: str | None = None
    cookie: str | None = None
    category: str | None = None
    meanings: Mapping[str, ConsentState] = field(default_factory=lambda: _MEANINGS)
    gpc: GPCPolicy = "limited"

    def __post_init__(self) -> None:
        if self.default not in _STATES:
            states = ", ".join(sorted(_STATES))
            raise ConfigError(f"default consent must be one of {states}, got {self.default!r}")
        if self.gpc not in get_args(GPCPolicy):
            raise ConfigError(f"gpc must be limited, denied or ignore, got {self.gpc!r}")
        banner = BANNERS.get(self.cookie or "")
        if self.category and banner is None:
            known = ", ".join(BANNERS)
            raise ConfigError(f"category is for the cookies {known}, got cookie {self.cookie!r}")
        if banner is not None and not (banner.category or self.category):
            raise ConfigError(
                f"category must name the service for Meta in {self.cookie}'s settings, got none"
            )

    @property
    def header_name(self) -> bytes:
        """The header as ASGI has it, or an empty name that no header has."""
        return self.header.lower().encode("latin-1") if self.header else b""

    @property
    def cookie_name(self) -> bytes:
        """The cookie's name as the header has it."""
        return self.cookie.encode("latin-1") if self.cookie else b""

    def decide(
        self,
        scope: MutableMapping[str, Any],
        *,
        header: str | None,
        cookie: str | None,
        choice: str | None,
        gpc: bool,
        lowered: str | None = None,
    ) -> ConsentState:
        """Return what may be done.

        Args:
            scope: The ASGI scope, for the app's callable.
            header: The configured header's value.
            cookie: The configured cookie's value.
            choice: The visitor's own choice, as our cookie has it.
            gpc: Whether Global Privacy Control is on.
            lowered: What the page itself said to the pixel.
        """
        state = None if self.resolve is None else self._ask_app(self.resolve, scope)
        if state is None and header is not None:
            state = self._read(header)
        if state is None and cookie is not None:
            is_known = self.cookie in BANNERS
            state = self._read_banner(cookie) if is_known else self._read(cookie)
        if state is None and choice is not None:
            # In our own words: ``meanings`` are those of the app's header and cookie.
            state = _MEANINGS.get(choice)
        return self.lower(state or self.default, gpc=gpc, lowered=lowered)

    def lower(self, state: ConsentState, *, gpc: bool, lowered: str | None = None) -> ConsentState:
        """Return ``state`` as Global Privacy Control and the page's own words leave it.

        Args:
            state: What was decided.
            gpc: Whether Global Privacy Control is on.
            lowered: ``limited`` or ``pending``: what ``fbq`` was told by the page.
        """
        if lowered == "pending" and state != "denied":
            return "pending"
        if state != "granted":
            return state
        if gpc and self.gpc != "ignore":
            return self.gpc
        return "limited" if lowered == "limited" else state

    def _ask_app(
        self,
        resolve: Callable[[HTTPConnection], ConsentState | None],
        scope: MutableMapping[str, Any],
    ) -> ConsentState | None:
        try:
            state = resolve(HTTPConnection(scope))
        except Exception:
            # The app's own code: its mistake must neither fail the page nor count as consent.
            logger.exception("consent: the app's resolve failed; taken as pending")
            return "pending"
        if state is not None and state not in _STATES:
            logger.error("consent: the app's resolve returned no state; taken as pending")
            return "pending"
        return state

    def _read_banner(self, value: str) -> ConsentState | None:
        """Return what a well-known banner's cookie says; log once if it does not say it."""
        banner = BANNERS.get(self.cookie or "")
        if banner is None:
            return None
        state = read_banner(banner, value, self.category)
        if state is None and self.cookie not in _SILENT:
            _SILENT.add(self.cookie)
            logger.warning(
                "consent: the cookie %s does not say whether %s is allowed; is that its name for"
                " advertising? See BRIDGE_CONSENT_CATEGORY",
                self.cookie,
                self.category or banner.category,
            )
        return state

    def _read(self, value: str) -> ConsentState | None:
        return self.meanings.get(value[:64].strip().lower())
