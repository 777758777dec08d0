"""What a handler holds: one browser as one request shows it, and what the response will set."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

import msgspec

from bridge.browser.script_cookies import (
    MAX_TWINS_LENGTH,
    TWIN_FRAME,
    PageSettings,
    Twin,
    build_twin,
    encode_readable,
    encode_settings,
)
from bridge.browser.words import ConsentChoice, ConsentState
from bridge.errors import NoVisitorError, UsageError
from bridge.events.event import Event, UserData
from bridge.randomness import draw, format_uuid
from bridge.visitor.capture import Capture
from bridge.visitor.cookies import PAGE_COOKIE, READABLE_COOKIE
from bridge.visitor.identity import Identity
from bridge.visitor.ip import prefer_ip
from bridge.visitor.meeting import update_identity
from bridge.visitor.meta_cookies import new_fbp
from bridge.visitor.seal import Sealed
from bridge.visitor.set_cookies import SetCookies, build_page
from bridge.visitor.visits import OWN_REASONS, SENDING_STATES, Visits

VISITOR: ContextVar[Visitor | None] = ContextVar("bridge.visitor", default=None)
NOBODY = Identity(anonymous_id="", renewed_at=0)

# Sync handlers run in threads: two must not make two identities for one new visitor. No code of the
# app runs while it is held.
_UPDATING = threading.Lock()


class Visitor:
    """One browser, as one request shows it; or as a sealed token remembers it.

    Nothing of the request is read before it is asked for: most requests need none of it.

    Args:
        visits: How requests of this app are judged.
        source: The request, or what a sealed token holds.

    Attributes:
        visits: How requests of this app are judged.
        twins: Browser copies that travel on this response.
        has_choice: Whether the response must carry what the visitor chose: consent, or a logout.
    """

    # Read when it is asked for
    _identity: Identity | None = None
    _consent: ConsentState | None = None
    _stored: Identity | None = None
    _ignored: str | None = None
    _is_read = False
    _is_unchanged = False  # the browser has every cookie that it should have
    # Changed by handlers
    has_choice = False
    _choice: ConsentChoice | None = None
    _is_logged_out = False
    _is_another = False  # another person, who logged in after a logout in this request
    _before_identify: Identity | None = None
    _before_denial: Identity | None = None
    _is_denial_taken = False
    _is_revoked = False
    _response_started = False

    def __init__(self, visits: Visits, source: Capture | Sealed) -> None:
        self.visits = visits
        self.twins: list[Twin] = []
        if isinstance(source, Capture):
            self._capture: Capture | None = source
            self._sealed: Sealed | None = None
        else:
            self._capture = None
            self._sealed = source
            self._is_read = self._response_started = True
            self._stored = source.identity
            self._ignored = source.skip_reason or None
            self._consent = source.consent

    # Who it is, and what may be done

    @property
    def consent(self) -> ConsentState:
        """What may be done: ``granted``, ``limited``, ``denied`` or ``pending``."""
        if self._consent is None:
            self._consent = self.visits.decide(self.capture, self.capture.cookies.choice)
        return self._consent

    @property
    def identity(self) -> Identity:
        """What the signed session keeps; empty where nothing may be known."""
        identity = self._identity
        return self._read_identity() if identity is None else identity

    @identity.setter
    def identity(self, identity: Identity) -> None:
        self._identity = identity

    def _read_identity(self) -> Identity:
        """Read who it is, once; again after ``set_consent`` changed what may be known."""
        capture = self._capture
        if capture is not None and not self._is_read:
            unchanged = self.visits.read_unchanged(capture)
            if unchanged is None:
                self._stored = self._read_session(capture)
                self._ignored = self.visits.find_ignored(capture, self._stored)
            else:
                self._stored, self._consent = unchanged
                self._is_unchanged = self._is_read = True
                if self._choice is None and self._identity is None:
                    self._identity = self._stored
                    return self._stored
            self._is_read = True
        consent = self.consent  # may ask the app
        with _UPDATING:
            if self._identity is None:
                self._identity = self._update_identity(consent)
            return self._identity

    def _update_identity(self, consent: ConsentState) -> Identity:
        if self._is_unchanged and self._choice is None and self._stored is not None:
            return self._stored
        if self._ignored is not None or consent not in SENDING_STATES:
            return NOBODY
        if self._capture is None:
            return self._stored or NOBODY
        return update_identity(self._capture, self._stored, self.visits.signer, now=time.time())

    def _read_session(self, capture: Capture) -> Identity | None:
        cookies, signer = capture.cookies, self.visits.signer
        session, others = cookies.session, cookies.has_repeated and cookies.other_sessions
        if session is None or not others:
            return signer.read(session, time.time()) if session else None
        domain = capture.place.cookie_domain.domain
        return signer.read_best([session, *others], domain, time.time())

    @property
    def skip_reason(self) -> str | None:
        """Why no event of this visitor is sent; ``None`` if events are sent.

        ``bot``, ``prefetch``, ``prerender``, ``excluded``, ``cross_site_post``, the app's own
        reason, ``consent_denied``, ``consent_pending`` or ``logged_out``.
        """
        identity = self.identity
        if self._ignored is not None:
            return self._ignored
        if self.consent not in SENDING_STATES:
            return f"consent_{self.consent}"
        return "logged_out" if identity is NOBODY else None

    @property
    def user_agent(self) -> str | None:
        """The user agent of this request, else of the session."""
        return (self._capture and self._capture.user_agent) or self.identity.user_agent

    def ignore(self, reason: str) -> None:
        """Make this request nobody's, for ``reason``."""
        self.identity = NOBODY
        self._ignored = reason
        self.twins.clear()

    @property
    def has_identity(self) -> bool:
        """Whether this is a visitor we may know: a person, who has not objected or logged out."""
        return self.identity is not NOBODY

    @property
    def has_session(self) -> bool:
        """Whether the browser sent a session of ours that may be kept."""
        return self.has_identity and self._stored is not None

    @property
    def has_request(self) -> bool:
        """Whether there is a request to answer; a sealed token has none."""
        return self._capture is not None

    @property
    def root_path(self) -> str:
        """Where the app is mounted; ``""`` without a request."""
        return self._capture.root_path if self._capture else ""

    @property
    def capture(self) -> Capture:
        """What this request shows.

        Raises:
            UsageError: The visitor comes from a sealed token: there is no request.
        """
        if self._capture is None:
            raise UsageError("a visitor from a sealed token has no request")
        return self._capture

    @property
    def external_id(self) -> str | None:
        """SHA-256 hex that the pixel is given and every server copy carries."""
        identity = self.identity
        return identity.external_id if identity.anonymous_id or identity.user_id else None

    @property
    def page_url(self) -> str | None:
        """The page the visitor is on, else the last one loaded in this browser, else the site."""
        if self._capture is None:
            return self._sealed.page_url if self._sealed else None
        return self._capture.page_url or self._capture.last_page_url or self._capture.site_url

    @property
    def referrer_url(self) -> str | None:
        """The page before that one, where it is known."""
        return self._capture.referrer_url if self._capture else None

    @property
    def user_data(self) -> UserData:
        """Everything known of the visitor, as Meta's ``user_data``."""
        return self.complete_user_data({})

    def complete_user_data(self, given: Mapping[str, Any]) -> UserData:
        """Return ``given``, completed with everything known of the visitor.

        Args:
            given: An event's own user data by Meta's keys, normalised and hashed.
        """
        identity, capture = self.identity, self._capture
        if identity is NOBODY:
            return UserData(**given)
        ip = capture.client_ip if capture else identity.client_ip
        if ip != identity.client_ip:
            ip = prefer_ip(ip, identity.client_ip, identity.client_ip_time, time.time())
        user_agent = (capture and capture.user_agent) or identity.user_agent
        is_held = capture is None or not self._is_unheld
        known = identity.describe(ip, user_agent, is_held=is_held)
        # Lists of its own: what an app does to those of one event is in no other.
        return UserData(**{**msgspec.to_builtins(known), **given})

    @property
    def _is_unheld(self) -> bool:
        """Whether the ids are new, though the browser comes from a page of ours.

        It refuses cookies, or a cache gave it the page: these ids are not the pixel's.
        """
        capture = self._capture
        return (
            self._stored is None
            and capture is not None
            and self.identity.user_id is None
            and not capture.cookies.header
            and capture.comes_from_own_page
        )

    @property
    def page_settings(self) -> PageSettings:
        """What the script must know on this visitor's pages."""
        domain = self.capture.place.cookie_domain.domain
        if not self.has_identity:
            consent: ConsentState = "pending" if self.consent == "pending" else "denied"
            return PageSettings(domain=domain, consent=consent)
        return PageSettings(
            external_id=self.identity.external_id, domain=domain, consent=self.consent
        )

    # What handlers do with it

    def identify(self, user_id: str | None, user_data: UserData) -> None:
        """Keep who the visitor is, for this request and the session.

        Args:
            user_id: The site's own id of the user.
            user_data: Normalised and hashed.
        """
        if self._is_logged_out and self._capture is not None:
            self._begin_anew(self._capture)
        if not self.has_identity:
            return
        before = self.identity
        is_another = user_id is not None and before.user_id not in (None, user_id)
        after = msgspec.structs.replace(
            before,
            user_id=user_id or before.user_id,
            # Nothing of whoever was logged in before.
            user_data=user_data if is_another else user_data.over(before.user_data),
        )
        if user_id and before.user_id is None and before.anonymous_id:
            after = msgspec.structs.replace(after, is_page_anonymous=True)
        if after != before:
            self._before_identify = self._before_identify or before
        self.identity = after

    def _begin_anew(self, capture: Capture) -> None:
        """Begin a new identity: somebody logs in after a logout in the same request."""
        if self._ignored is None and self.consent in SENDING_STATES:
            self._is_logged_out, self._is_another = False, True
            self.has_choice = True
            identity = update_identity(capture, None, self.visits.signer, now=time.time())
            # Nothing of the cookies of before.
            random = draw()
            index = capture.place.cookie_domain.subdomain_index
            self.identity = msgspec.structs.replace(
                identity,
                anonymous_id=format_uuid(random[:16]),
                fbp=new_fbp(index, int(time.time() * 1000), random[16:]),
                fbc=None,
                is_segments=False,
            )

    @property
    def has_changed(self) -> bool:
        """Whether there is something to do about ``take_denied`` or ``take_identified``."""
        return self._consent == "denied" or self._before_identify is not None

    def take_identified(self) -> Identity | None:
        """Return who the visitor was before ``identify`` changed it, once; ``None`` otherwise."""
        before, self._before_identify = self._before_identify, None
        return before

    @property
    def is_denied(self) -> bool:
        """Whether consent is found to be denied; nothing is read for that."""
        return self._consent == "denied"

    def take_denied(self) -> list[Identity]:
        """Return, once, what was known of a visitor who denies; nothing of anybody else."""
        if not (self.is_denied or self._is_revoked) or self._is_denial_taken:
            return []
        self._is_denial_taken = True
        known = (self._stored, self._before_denial)
        return [identity for identity in known if identity is not None]

    def keep_denied(self) -> None:
        """Let ``take_denied`` return it once more: it could not be acted on."""
        self._is_denial_taken = False

    def revoke(self) -> None:
        """Have what waits taken back: the page revoked the pixel's consent, and may grant it again.

        It says so in a cookie of its own, without which nothing happens here.
        """
        self._is_revoked = self.identity is NOBODY and self.consent == "pending"

    def set_consent(self, choice: ConsentChoice) -> None:
        """Keep the visitor's choice, for this request and those after it.

        Granting or limiting makes the visitor known at once; denying forgets the visitor and clears
        our cookies. The app's callable, header and cookie still come first, and Global Privacy
        Control still lowers what was granted.

        Raises:
            UsageError: ``choice`` is not ``granted``, ``limited`` or ``denied``.
        """
        if choice not in ("granted", "limited", "denied"):
            raise UsageError(f"consent must be granted, limited or denied, got {choice!r:.50}")
        before, had_identity = self.identity, self.has_identity
        self._choice = choice
        self.has_choice = True
        self._consent = (
            choice if self._capture is None else self.visits.decide(self.capture, choice)
        )
        if self._consent not in SENDING_STATES:
            self.twins.clear()
        if had_identity and self.is_denied:
            self._before_denial = before
        if not had_identity or self._consent not in SENDING_STATES:
            self._identity = None

    def logout(self) -> None:
        """End the identity: our cookies are cleared, and the next request is a stranger's."""
        self._before_denial = self.identity if self.has_identity else self._before_denial
        self.identity = NOBODY
        self._stored = None
        self.twins.clear()
        self._is_logged_out = self.has_choice = True
        self._before_identify = None

    def seal(self) -> str:
        """Return the visitor as a URL-safe token of at most 500 characters; see ``Bridge.unseal``.

        It fits a payment's metadata, and holds only hashes of what ``identify`` was given. The
        token of a robot, or of a visitor who denied consent, is one with which nothing is sent.
        """
        sealer, now = self.visits.sealer, time.time()
        if not self.has_identity:
            return sealer.seal(Sealed(None, skip_reason=self.skip_reason or ""), now=now)
        current = self.user_data  # this request's values, which the session may not hold yet
        identity = msgspec.structs.replace(
            self.identity,
            client_ip=current.client_ip_address,
            user_agent=current.client_user_agent,
        )
        return sealer.seal(Sealed(identity, self.consent, self.page_url), now=now)

    # What the response sets

    def attach_twin(self, event: Event, *, is_certain: bool = True) -> Twin | None:
        """Send the browser copy of ``event`` with this response.

        Args:
            event: Complete.
            is_certain: Whether it will be stored; otherwise the script asks before it fires.

        Returns:
            The twin, or ``None`` if the response has started or has no room.
        """
        if self._response_started:
            return None
        room = MAX_TWINS_LENGTH - sum(map(len, self.capture.cookies.twins))
        room -= sum(TWIN_FRAME + len(encode_readable(each)) for each in self.twins)
        question = ""
        if not is_certain:
            question = self.visits.questions.sign(event.event_name, event.event_id)
        twin = build_twin(event, room - TWIN_FRAME, question)
        if twin is not None:
            self.twins.append(twin)
        return twin

    def detach_twin(self, twin: Twin | None) -> None:
        """Do not send ``twin`` with this response, unless it travels for another call, too."""
        if twin is not None and twin in self.twins:
            self.twins.remove(twin)

    def start_response(self) -> list[bytes]:
        """Return the response's ``Set-Cookie`` values; from here on no twin can travel on it."""
        self._response_started = True
        capture = self._capture or self.capture
        if not self.has_choice:
            if not self._is_read:
                if not capture.may_set_cookies:
                    return []
                if capture.is_page_load and self.visits.seems_unchanged(capture):
                    return build_page(capture)
            is_unchanged = self.identity is self._stored and self._is_unchanged and not self.twins
            if is_unchanged and not capture.is_page_load:
                return []
            if self._ignored or not capture.may_set_cookies:
                return self._end_settings(capture)
            if is_unchanged:
                return build_page(capture)
        identity, consent = self.identity, self.consent
        cookies = SetCookies(capture)
        if self._choice is not None:
            cookies.set_choice(self._choice)
        if self._is_logged_out or consent == "denied":
            cookies.clear_all()
        elif consent == "pending":
            # The script must not act on what an earlier state left it.
            cookies.clear(READABLE_COOKIE)
        elif identity is not NOBODY:
            if self._is_another:
                cookies.clear(b"_fbc")  # and twins
            self._set_cookies(cookies, identity, consent)
        return cookies.lines

    def _end_settings(self, capture: Capture) -> list[bytes]:
        """Take the script's settings from a browser that the app has left out since it got them.

        The script of the page then asks, and hears that nothing may be sent.
        """
        is_left_out = self._ignored is not None and self._ignored not in OWN_REASONS
        if not (is_left_out and capture.is_page_load and READABLE_COOKIE in capture.cookies.raw):
            return []
        cookies = SetCookies(capture)
        cookies.clear(READABLE_COOKIE)
        return cookies.lines

    def _set_cookies(self, cookies: SetCookies, identity: Identity, consent: ConsentState) -> None:
        """Set what the browser does not have; renew ``_fbp`` and ``_fbc`` at most daily."""
        stored, capture = self._stored, self.capture
        sent = capture.cookies
        renew = stored is None or identity.renewed_at != stored.renewed_at
        if stored is None or (identity is not stored and identity != stored):
            cookies.set_session(self.visits.signer.write(identity))
        for name, value, known in (
            (b"_fbp", identity.fbp, sent.sent_fbp),
            (b"_fbc", identity.fbc, sent.sent_fbc),
        ):
            if value is not None and value != known:
                cookies.set_browser_id(name, value)
            elif value is not None and renew:
                cookies.renew_browser_id(name, value)
        domain = capture.place.cookie_domain.domain
        settings = encode_settings(identity.external_id, domain, consent)
        cookies.set_readable(settings, renew=renew)
        if capture.is_page_load:
            cookies.lines += build_page(capture)
        if identity.is_page_anonymous and not capture.is_page_load:
            cookies.clear(PAGE_COOKIE)  # the next page is looked at again, whoever asks
        for twin in self.twins:
            cookies.set_twin(twin)

    def __repr__(self) -> str:
        who = f"external_id={self.identity.external_id[:8]}..." if self.has_identity else "nobody"
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
            " the handler or bridge.unseal(token) days later; if this is a handler, its app needs"
            " BridgeMiddleware, and the request must come through it (Django's runserver and test"
            " client bypass asgi.py)"
        )
    return visitor
