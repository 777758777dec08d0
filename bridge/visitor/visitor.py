"""What a handler holds: the capture and identity of one request, and what its response will set."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import msgspec

from bridge.browser.script_cookies import (
    MAX_TWINS_LENGTH,
    TWIN_FRAME,
    Twin,
    build_twins,
    encode_readable,
)
from bridge.browser.words import ConsentChoice, ConsentState
from bridge.errors import ConfigError, NoVisitorError
from bridge.events.event import Event, UserData
from bridge.visitor.capture import Capture
from bridge.visitor.cookies import READABLE_COOKIE
from bridge.visitor.identity import Identity, SessionSigner
from bridge.visitor.meeting import prefer_ip
from bridge.visitor.set_cookies import SetCookies

if TYPE_CHECKING:
    from bridge.core import Bridge

VISITOR: ContextVar[Visitor | None] = ContextVar("bridge.visitor", default=None)
NOBODY = Identity(anonymous_id="", renewed_at=0)
_ALLOWED = ("granted", "limited")


class Visitor:
    """One browser, as one request shows it; or as a sealed token remembers it.

    Attributes:
        bridge: The bridge this visitor belongs to.
        identity: What the signed session keeps; nobody's while nothing may be known.
        consent: What may be done.
        silence: Why no event is sent: ``bot``, ``prefetch``, ``prerender``, ``excluded``, the app's
            own reason, ``consent_denied`` or ``consent_pending``; ``None`` if events are sent.
        twins: Browser copies that ride on this response.
    """

    def __init__(
        self,
        bridge: Bridge,
        capture: Capture | None,
        *,
        stored: Identity | None,
        consent: ConsentState,
        ignored: str | None,
        is_settled: bool = False,
    ) -> None:
        self.bridge = bridge
        self.consent = consent
        self.twins: list[Twin] = []
        self._capture = capture
        self._stored = stored
        self._ignored = ignored
        self._choice: ConsentChoice | None = None
        self._forgotten = False
        self._unintroduced: Identity | None = None
        self._response_started = capture is None
        self._is_settled = is_settled
        if is_settled and stored is not None:
            self.identity = stored
        else:
            self._meet()

    def _meet(self) -> None:
        if self.silence is not None:
            self.identity = NOBODY
        elif self._capture is None:
            self.identity = self._stored or NOBODY
        else:
            self.identity = self.bridge.visits.meet(self._capture, self._stored)

    @property
    def silence(self) -> str | None:
        """Why no event is sent, or ``None``."""
        if self._ignored is not None or self.consent in _ALLOWED:
            return self._ignored
        return f"consent_{self.consent}"

    @property
    def is_nobody(self) -> bool:
        """Whether nothing is known of the visitor, by choice or because it is no person."""
        return self.identity is NOBODY

    @property
    def has_session(self) -> bool:
        """Whether the browser showed a session of ours, and one that may be kept."""
        return self._stored is not None and not self.is_nobody

    @property
    def has_request(self) -> bool:
        """Whether a request is under way; a sealed token has none."""
        return self._capture is not None

    @property
    def root_path(self) -> str:
        """Where the app is mounted; ``""`` without a request."""
        return self._capture.root_path if self._capture else ""

    @property
    def capture(self) -> Capture:
        """What this request shows.

        Raises:
            ConfigError: The visitor comes from a sealed token: there is no request.
        """
        if self._capture is None:
            raise ConfigError("a visitor from a sealed token has no request")
        return self._capture

    @property
    def external_id(self) -> str | None:
        """SHA-256 hex that the pixel is given and every server copy carries."""
        return None if self.is_nobody else self.identity.external_id

    @property
    def page_url(self) -> str | None:
        """The page the visitor is on, else the last one loaded in this session, else the site."""
        if self._capture is None:
            return self.identity.page_url
        return self._capture.page_url or self.identity.page_url or self._capture.site_url

    @property
    def referrer_url(self) -> str | None:
        """The page before that one, where it is known."""
        return self._capture.referrer_url if self._capture else None

    @property
    def user_data(self) -> UserData:
        """All that is known of the visitor, as Meta's ``user_data``."""
        return self.complete_user_data({})

    def complete_user_data(self, given: Mapping[str, Any]) -> UserData:
        """Return what an event is given, over all that is known of the visitor.

        Args:
            given: By Meta's keys, normalised and hashed.
        """
        if self.is_nobody:
            return UserData(**given)
        identity, capture = self.identity, self._capture
        ip = capture.connection.client_ip if capture else None
        known = identity.user_data.to_dict()
        known["external_id"] = identity.external_ids
        if ip := prefer_ip(ip, identity.client_ip):
            known["client_ip_address"] = ip
        if user_agent := (capture and capture.user_agent) or identity.user_agent:
            known["client_user_agent"] = user_agent
        if identity.fbp:
            known["fbp"] = identity.fbp
        if identity.fbc:
            known["fbc"] = identity.fbc
        return UserData(**{**known, **given})

    # What handlers do with it

    def know(self, user_id: str | None, user_data: UserData) -> None:
        """Keep who the visitor says to be, for this request and the session."""
        if self.is_nobody:
            return
        before = self.identity.external_id
        is_another = user_id is not None and self.identity.user_id not in (None, user_id)
        known = msgspec.structs.replace(
            self.identity,
            user_id=user_id or self.identity.user_id,
            # Nothing of whoever was logged in before.
            user_data=user_data if is_another else user_data.over(self.identity.user_data),
        )
        if known.external_id != before and self.identity.user_id is None:
            known = msgspec.structs.replace(known, is_page_anonymous=True)
        if known != self.identity:
            self._unintroduced = self._unintroduced or self.identity
        self.identity = known

    @property
    def has_introduction(self) -> bool:
        """Whether ``identify`` told news that no destination has heard."""
        return self._unintroduced is not None

    def take_introduction(self) -> Identity | None:
        """Return who the visitor was before ``identify`` told news; ``None`` if there are none."""
        before, self._unintroduced = self._unintroduced, None
        return before

    def set_consent(self, choice: ConsentChoice) -> None:
        """Keep the visitor's choice, for this request and those after it.

        Granting or limiting makes the visitor known at once; denying forgets the visitor and clears
        our cookies. What the app's callable, header or cookie says still comes first, and Global
        Privacy Control still lowers what was granted.

        Raises:
            ConfigError: ``choice`` is not ``granted``, ``limited`` or ``denied``.
        """
        if choice not in ("granted", "limited", "denied"):
            raise ConfigError("consent must be granted, limited or denied")
        self._choice = choice
        if self._capture is None:
            self.consent = choice
        else:
            self.consent = self.bridge.visits.decide(self._capture, choice)
        if self.consent not in _ALLOWED:
            self.twins.clear()
        if self.is_nobody or self.consent not in _ALLOWED:
            self._meet()

    def forget(self) -> None:
        """End the identity, as on logout: our cookies go, the next request is a stranger's."""
        self.identity = NOBODY
        self.twins.clear()
        self._forgotten = True
        self._unintroduced = None

    def seal(self) -> str:
        """Return the visitor as a URL-safe token of at most 500 characters: see ``Bridge.unseal``.

        Of a robot, or of a visitor who denied consent, it is one with which nothing is sent.
        """
        return self.bridge.seal(self)

    @property
    def has_chosen(self) -> bool:
        """Whether this response must carry what the visitor chose: consent, or to be forgotten."""
        return self._choice is not None or self._forgotten

    def take_along(self, event: Event, *, is_certain: bool = True) -> Twin | None:
        """Let the twin of ``event`` ride on this response; ``None`` if it has left or is full.

        Where there is room for its name and id only, the script asks for the rest; so it does
        where the event is not certain to be stored: of one that was taken back there is no rest,
        and nothing is fired.
        """
        if self._response_started:
            return None
        room = MAX_TWINS_LENGTH - sum(map(len, self.capture.cookies.twins))
        room -= sum(TWIN_FRAME + len(encode_readable(each)) for each in self.twins)
        for twin in build_twins(event)[0 if is_certain else -1 :]:
            if TWIN_FRAME + len(encode_readable(twin)) <= room:
                self.twins.append(twin)
                return twin
        return None

    # What the response sets

    def start_response(self, signer: SessionSigner) -> list[bytes]:
        """Return the ``Set-Cookie`` lines of the response; from here on no twin can ride on it.

        Args:
            signer: Writes the session cookie.
        """
        self._response_started = True
        if not self.has_news:
            return []
        capture = self.capture
        if not self.has_chosen and (self._ignored or not capture.is_meeting_place):
            return []
        cookies = SetCookies(capture)
        if self._choice is not None:
            cookies.set_choice(self._choice)
        if self._forgotten or self.consent == "denied":
            cookies.clear_all()
        elif self.consent == "pending":
            # The script must not act on what an earlier state left it.
            cookies.clear(READABLE_COOKIE)
        elif not self.is_nobody:
            self._tell(cookies, signer)
        return cookies.lines

    @property
    def has_news(self) -> bool:
        """Whether there may be anything to set; for most requests there is not."""
        if self.identity is not self._stored or self.twins or self._choice is not None:
            return True
        return not self._is_settled and self._differs

    @property
    def _differs(self) -> bool:
        """Whether the browser's own cookies say otherwise than the session."""
        identity, shown = self.identity, self.capture.cookies
        return (
            identity.fbp != shown.fbp
            or identity.fbc != shown.fbc
            or self.bridge.encode_page_settings(self) != shown.readable
        )

    def _tell(self, cookies: SetCookies, signer: SessionSigner) -> None:
        """Give the browser what it does not have; renew ``_fbp`` and ``_fbc`` at most daily."""
        identity, stored, shown = self.identity, self._stored, self.capture.cookies
        renew = stored is None or identity.renewed_at != stored.renewed_at
        if stored is None or (identity is not stored and identity != stored):
            cookies.set_session(signer.write(identity))
        for name, value, known in (
            (b"_fbp", identity.fbp, shown.fbp),
            (b"_fbc", identity.fbc, shown.fbc),
        ):
            if value is not None and value != known:
                cookies.set_browser_id(name, value)
            elif value is not None and renew:
                cookies.renew_browser_id(name, value)
        cookies.set_readable(self.bridge.encode_page_settings(self), renew=renew)
        for twin in self.twins:
            cookies.set_twin(twin)

    def __repr__(self) -> str:
        who = "nobody" if self.is_nobody else f"external_id={self.identity.external_id[:8]}…"
        return f"Visitor({who})"


def current_visitor() -> Visitor:
    """Return the visitor of the request being handled.

    Raises:
        NoVisitorError: No request is being handled, or ``BridgeMiddleware`` is not in front.
    """
    visitor = VISITOR.get()
    if visitor is None:
        raise NoVisitorError(
            "no request is being handled here: pass visitor=, which is current_visitor() kept by"
            " the handler or bridge.unseal(token) days later; if this is a handler, add"
            " BridgeMiddleware to its app"
        )
    return visitor
