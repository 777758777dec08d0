"""What a handler holds: the capture and identity of one request, and what its response will set."""

from __future__ import annotations

import uuid
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import msgspec

from bridge.capture import Capture
from bridge.consent import CHOICE_MAX_AGE, Choice, State
from bridge.cookies import (
    CHOICE_COOKIE,
    MAX_AGE,
    READABLE_COOKIE,
    SESSION_COOKIE,
    build_set_cookie,
    new_fbp,
    parse_browser_id,
    renew_fbc,
)
from bridge.errors import ConfigError, NoVisitorError
from bridge.events import DAY, Event, UserData
from bridge.identity import Identity, SessionSigner
from bridge.readable import (
    MAX_TWINS_LENGTH,
    TWIN_FRAME,
    TWIN_MAX_AGE,
    Twin,
    build_twin,
    encode_readable,
    is_twin_cookie,
)

if TYPE_CHECKING:
    from bridge.core import Bridge

VISITOR: ContextVar[Visitor | None] = ContextVar("bridge.visitor", default=None)
NOBODY = Identity(anonymous_id="", renewed_at=0)
_ALLOWED = ("granted", "limited")


def meet(
    capture: Capture, stored: Identity | None, signer: SessionSigner, *, now: float
) -> Identity:
    """Return who made this request: the stored identity brought up to date, or a new one.

    The anonymous id comes from the session, else from Segment's cookie, else it is derived from a
    valid ``_fbp`` so that parallel first requests agree, else it is random.
    """
    now_ms = int(now * 1000)
    cookies, connection = capture.cookies, capture.connection
    kept = stored.fbc if stored else None
    fbc = cookies.fbc or kept
    if capture.click_id is not None:
        fbc = renew_fbc(fbc, capture.click_id, connection.cookie_domain.subdomain_index, now_ms)
    fbp = cookies.fbp or (stored.fbp if stored else None)
    if fbp is None:
        fbp = new_fbp(connection.cookie_domain.subdomain_index, now_ms)
    if stored is None:
        anonymous_id = capture.ajs_anonymous_id or (
            signer.derive_anonymous_id(cookies.fbp) if cookies.fbp else str(uuid.uuid4())
        )
        return Identity(
            anonymous_id=anonymous_id,
            renewed_at=int(now),
            fbp=fbp,
            fbc=fbc,
            client_ip=connection.client_ip,
            user_agent=capture.user_agent,
            page_url=capture.page_url,
        )
    changes: dict[str, Any] = {}
    if fbp != stored.fbp:
        changes["fbp"] = fbp
    if fbc != stored.fbc:
        changes["fbc"] = fbc
    if now - stored.renewed_at >= DAY:
        changes["renewed_at"] = int(now)
    seen = connection.client_ip
    if seen != stored.client_ip and (capture.is_navigation or (seen and ":" in seen)):
        changes["client_ip"] = prefer_ip(seen, stored.client_ip)
    if capture.is_navigation:
        if capture.user_agent != stored.user_agent:
            changes["user_agent"] = capture.user_agent or stored.user_agent
        if capture.page_url != stored.page_url:
            changes["page_url"] = capture.page_url or stored.page_url
        if stored.is_page_anonymous and capture.is_page_load:
            changes["is_page_anonymous"] = False
    return msgspec.structs.replace(stored, **changes) if changes else stored


def prefer_ip(seen: str | None, stored: str | None) -> str | None:
    """Return the address to send: a public IPv6 once seen in the session, else what is seen now.

    The pixel connects over IPv6 where it can, and Meta compares.

    Source: Meta, "Customer Information Parameters": IPv6 is preferred; "Dataset Quality API".
    """
    if seen is None or (":" not in seen and stored is not None and ":" in stored):
        return stored
    return seen


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
        consent: State,
        ignored: str | None,
    ) -> None:
        self.bridge = bridge
        self.consent = consent
        self.twins: list[Twin] = []
        self.identity = NOBODY
        self._capture = capture
        self._stored = stored
        self._ignored = ignored
        self._choice: Choice | None = None
        self._forgotten = False
        self._response_started = capture is None
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
        if self.is_nobody:
            return UserData()
        identity = self.identity
        ip = self._capture.connection.client_ip if self._capture else None
        user_agent = self._capture.user_agent if self._capture else None
        known = UserData(
            external_id=identity.external_ids,
            client_ip_address=prefer_ip(ip, identity.client_ip),
            client_user_agent=user_agent or identity.user_agent,
            fbp=identity.fbp,
            fbc=identity.fbc,
        )
        return known.over(identity.user_data)

    # What handlers do with it

    def know(self, user_id: str | None, user_data: UserData) -> None:
        """Keep who the visitor says to be, for this request and the session."""
        if self.is_nobody:
            return
        before = self.identity.external_id
        known = msgspec.structs.replace(
            self.identity,
            user_id=user_id or self.identity.user_id,
            user_data=user_data.over(self.identity.user_data),
        )
        if known.external_id != before and self.identity.user_id is None:
            known = msgspec.structs.replace(known, is_page_anonymous=True)
        self.identity = known

    def set_consent(self, choice: Choice) -> None:
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

    def seal(self) -> str:
        """Return the visitor as a URL-safe token of at most 500 characters: see ``Bridge.unseal``.

        Raises:
            ConfigError: Nothing is known of the visitor, and nothing may be.
        """
        return self.bridge.seal(self)

    @property
    def has_chosen(self) -> bool:
        """Whether this response must carry what the visitor chose: consent, or to be forgotten."""
        return self._choice is not None or self._forgotten

    def take_along(self, event: Event) -> Twin | None:
        """Let the twin of ``event`` ride on this response; ``None`` if it has left or is full."""
        twin = build_twin(event)
        if twin is None or self._response_started:
            return None
        length = sum(TWIN_FRAME + len(encode_readable(each)) for each in [*self.twins, twin])
        if length + sum(map(len, self.capture.cookies.twins)) > MAX_TWINS_LENGTH:
            return None
        self.twins.append(twin)
        return twin

    # What the response sets

    def start_response(self, signer: SessionSigner) -> list[bytes]:
        """Return the ``Set-Cookie`` lines of the response; from here on no twin can ride on it.

        Args:
            signer: Writes the session cookie.
        """
        self._response_started = True
        if not self.has_chosen and (self._ignored or not self.capture.is_meeting_place):
            return []
        if not self._has_news:
            return []
        lines = []
        if self._choice is not None:
            lines.append(self._line(CHOICE_COOKIE.decode(), self._choice, CHOICE_MAX_AGE))
        if self._forgotten or self.consent == "denied":
            return lines + self._clear_lines(SESSION_COOKIE, READABLE_COOKIE, b"_fbp", b"_fbc")
        if self.consent == "pending":
            # The script must not act on what an earlier state left it.
            return lines + self._clear_lines(READABLE_COOKIE)
        if self.is_nobody:
            return lines
        lines += self._session_lines(signer)
        lines += self._browser_id_lines()
        lines += self._readable_lines()
        return lines

    @property
    def _has_news(self) -> bool:
        """Whether there may be anything to set; for most requests there is not."""
        identity, cookies = self.identity, self.capture.cookies
        return (
            identity is not self._stored
            or bool(self.twins)
            or self._choice is not None
            or identity.fbp != cookies.fbp
            or identity.fbc != cookies.fbc
            or self.bridge.encode_page_settings(self).encode() != cookies.readable
        )

    def _line(
        self, name: str, value: str, max_age: int = MAX_AGE, *, secret: bool = False
    ) -> bytes:
        """Return one line; only ``_fbp`` and ``_fbc`` go without Secure, as the pixel sets them."""
        ours = name.startswith("_bridge")
        return build_set_cookie(
            name,
            value,
            max_age=max_age,
            domain=self.capture.connection.cookie_domain.domain,
            secure=ours and self.capture.connection.scheme == "https",
            http_only=secret,
        )

    @property
    def _is_renewed(self) -> bool:
        return self._stored is None or self.identity.renewed_at != self._stored.renewed_at

    def _session_lines(self, signer: SessionSigner) -> list[bytes]:
        if self.identity is self._stored or self.identity == self._stored:
            return []
        return [self._line(SESSION_COOKIE.decode(), signer.write(self.identity), secret=True)]

    def _browser_id_lines(self) -> list[bytes]:
        """Write what the browser does not have; renew at most daily, and only on our domain.

        A value of another domain's index is the pixel's own: written here too, it would live twice.
        """
        lines = []
        for name, shown, value in (
            ("_fbp", self.capture.cookies.fbp, self.identity.fbp),
            ("_fbc", self.capture.cookies.fbc, self.identity.fbc),
        ):
            if value is None or (value == shown and not self._is_renewed):
                continue
            parsed = parse_browser_id(value)
            index = self.capture.connection.cookie_domain.subdomain_index
            if parsed and (value != shown or parsed.subdomain_index == index):
                lines.append(self._line(name, value))
        return lines

    def _readable_lines(self) -> list[bytes]:
        lines = []
        readable = self.bridge.encode_page_settings(self)
        if self._is_renewed or self.capture.cookies.readable != readable.encode():
            lines.append(self._line(READABLE_COOKIE.decode(), readable))
        lines += [
            self._line(twin.cookie, encode_readable(twin), TWIN_MAX_AGE) for twin in self.twins
        ]
        return lines

    def _clear_lines(self, *names: bytes) -> list[bytes]:
        """Clear those of ``names`` and of twins that the browser showed, wherever they may live."""
        shown = [name for name in names if self.capture.cookies.text(name) is not None]
        twins = (cookie.partition(b"=")[0] for cookie in self.capture.cookies.twins)
        shown += [name for name in twins if is_twin_cookie(name)]
        domains = {self.capture.connection.cookie_domain.domain, None}
        return [
            build_set_cookie(name.decode(), "", max_age=0, domain=domain)
            for name in shown
            for domain in domains
        ]

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
