"""What a handler holds: the capture and identity of one request, and what its response will set."""

from __future__ import annotations

import base64
import hashlib
import uuid
from typing import TYPE_CHECKING, Any

import msgspec

from bridge.capture import TWIN_COOKIE_PREFIX, Capture
from bridge.cookies import MAX_AGE, build_set_cookie, new_fbp, renew_fbc
from bridge.events import DAY, Event, UserData
from bridge.identity import Identity, SessionSigner

if TYPE_CHECKING:
    from bridge.core import Bridge

TWIN_MAX_AGE = 3600  # seconds; a page without the script may stand in between, a payment's say
MAX_TWIN_LENGTH = 1000  # characters of one twin's cookie value
TWIN_FRAME = 25  # characters of a twin's cookie beside its value
MAX_TWINS_LENGTH = 2500  # characters of all that wait in one browser: servers limit headers to 8 KB


class Twin(msgspec.Struct, frozen=True):
    """The browser copy of a server-born event, on its way to the script.

    Attributes:
        event_name: As in the server copy.
        event_id: As in the server copy.
        custom_data: The server copy's, without lists of objects when they are too long to travel.
    """

    event_name: str = msgspec.field(name="n")
    event_id: str = msgspec.field(name="i")
    custom_data: dict[str, Any] = msgspec.field(name="d")


class PageSettings(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the script must know, in the readable cookie or from the identity endpoint.

    Attributes:
        external_id: SHA-256 hex the pixel is initialised with.
        pixel_ids: The pixels to initialise.
        pixel_script_url: Where the pixel's library is, if not at Meta's address.
        domain: Domain of our cookies, so that the script can delete a twin's; none if host-only.
    """

    external_id: str = msgspec.field(name="x")
    pixel_ids: tuple[str, ...] = msgspec.field(name="p")
    pixel_script_url: str | None = msgspec.field(name="u", default=None)
    domain: str | None = msgspec.field(name="d", default=None)


def build_twin(event: Event) -> Twin | None:
    """Return the twin of ``event``, or ``None`` if not even its value fits a cookie."""
    short = {key: v for key, v in event.custom_data.items() if key != "contents"}
    money = {key: v for key, v in short.items() if key in ("value", "currency")}
    for custom_data in (event.custom_data, short, money):
        twin = Twin(event.event_name, event.event_id, custom_data)
        if len(encode_readable(twin)) <= MAX_TWIN_LENGTH:
            return twin
    return None


def encode_readable(value: Twin | PageSettings) -> str:
    """Return ``value`` as URL-safe base64 of its JSON, for a cookie the script reads."""
    return base64.urlsafe_b64encode(msgspec.json.encode(value)).decode().rstrip("=")


def meet(
    capture: Capture, stored: Identity | None, signer: SessionSigner, *, now: float
) -> Identity:
    """Return who made this request: the stored identity brought up to date, or a new one.

    The anonymous id comes from the session, else from Segment's cookie, else it is derived from a
    valid ``_fbp`` so that parallel first requests agree, else it is random.
    """
    now_ms = int(now * 1000)
    index = capture.cookie_domain.subdomain_index
    kept = stored.fbc if stored else None
    fbc = renew_fbc(capture.fbc or kept, capture.click_id, index, now_ms)
    if stored is None:
        anonymous_id = capture.ajs_anonymous_id or (
            signer.derive_anonymous_id(capture.fbp) if capture.fbp else str(uuid.uuid4())
        )
        return Identity(
            anonymous_id=anonymous_id,
            renewed_at=int(now),
            fbp=capture.fbp or new_fbp(index, now_ms),
            fbc=fbc,
            client_ip=capture.client_ip,
            user_agent=capture.user_agent,
            page_url=capture.page_url,
        )
    changes: dict[str, Any] = {
        "fbp": capture.fbp or stored.fbp or new_fbp(index, now_ms),
        "fbc": fbc,
        "renewed_at": int(now) if now - stored.renewed_at >= DAY else stored.renewed_at,
    }
    if capture.is_navigation:
        changes["client_ip"] = capture.client_ip or stored.client_ip
        changes["user_agent"] = capture.user_agent or stored.user_agent
        changes["page_url"] = capture.page_url or stored.page_url
    changes = {key: v for key, v in changes.items() if v != getattr(stored, key)}
    return msgspec.structs.replace(stored, **changes) if changes else stored


class Visitor:
    """One browser, as one request shows it.

    Attributes:
        capture: What this request shows.
        identity: What the signed session keeps; replaced by ``identify``.
        twins: Browser copies that ride on this response.
        bridge: The bridge this visitor belongs to.
    """

    def __init__(
        self, bridge: Bridge, capture: Capture, identity: Identity, stored: Identity | None
    ) -> None:
        self.bridge = bridge
        self.capture = capture
        self.identity = identity
        self.twins: list[Twin] = []
        self._stored = stored
        self._response_started = False

    @property
    def external_id(self) -> str:
        """SHA-256 hex that the pixel is given and every server copy carries."""
        return self.identity.external_id

    @property
    def page_url(self) -> str | None:
        """The page the visitor is on, else the last one loaded in this session."""
        return self.capture.page_url or self.identity.page_url

    @property
    def user_data(self) -> UserData:
        """All that is known of the visitor, as Meta's ``user_data``."""
        known = UserData(
            external_id=[self.external_id],
            client_ip_address=self.capture.client_ip or self.identity.client_ip,
            client_user_agent=self.capture.user_agent or self.identity.user_agent,
            fbp=self.identity.fbp,
            fbc=self.identity.fbc,
        )
        return known.over(self.identity.user_data)

    def take_along(self, event: Event) -> Twin | None:
        """Let the twin of ``event`` ride on this response; ``None`` if it has left or is full."""
        twin = build_twin(event)
        if twin is None or self._response_started:
            return None
        length = sum(TWIN_FRAME + len(encode_readable(each)) for each in [*self.twins, twin])
        if length + self.capture.twin_cookies_length > MAX_TWINS_LENGTH:
            return None
        self.twins.append(twin)
        return twin

    def know(self, user_id: str | None, user_data: UserData) -> None:
        """Keep who the visitor says to be, for this request and the session."""
        self.identity = msgspec.structs.replace(
            self.identity,
            user_id=user_id or self.identity.user_id,
            user_data=user_data.over(self.identity.user_data),
        )

    def start_response(
        self, settings: PageSettings, signer: SessionSigner, *, cacheable: bool
    ) -> list[bytes]:
        """Return the ``Set-Cookie`` lines of the response; from here on no twin can ride on it.

        Args:
            settings: What the readable cookie shall say.
            signer: Writes the session cookie.
            cacheable: The response may be stored for others: nothing is set on it.
        """
        self._response_started = True
        if cacheable or not self.capture.is_meeting_place:
            return []
        return [
            *self._session_lines(signer),
            *self._browser_id_lines(),
            *self._readable_lines(settings),
        ]

    def _line(
        self, name: str, value: str, max_age: int = MAX_AGE, *, secret: bool = False
    ) -> bytes:
        """Return one line; only ``_fbp`` and ``_fbc`` go without Secure, as the pixel sets them."""
        ours = name.startswith("_bridge")
        return build_set_cookie(
            name,
            value,
            max_age=max_age,
            domain=self.capture.cookie_domain.domain,
            secure=ours and self.capture.scheme == "https",
            http_only=secret,
        )

    def _session_lines(self, signer: SessionSigner) -> list[bytes]:
        if self.identity == self._stored:
            return []
        return [self._line("_bridge", signer.write(self.identity), secret=True)]

    def _browser_id_lines(self) -> list[bytes]:
        renewed = self._stored is None or self.identity.renewed_at != self._stored.renewed_at
        kept = (
            ("_fbp", self.capture.fbp, self.identity.fbp),
            ("_fbc", self.capture.fbc, self.identity.fbc),
        )
        return [
            self._line(name, value)
            for name, shown, value in kept
            if value and (renewed or value != shown)
        ]

    def _readable_lines(self, settings: PageSettings) -> list[bytes]:
        lines = []
        readable = encode_readable(settings)
        shown = self.capture.readable_cookie
        renewed = self._stored is None or self.identity.renewed_at != self._stored.renewed_at
        if renewed or shown != readable.encode():
            lines.append(self._line("_bridge_x", readable))
        for twin in self.twins:
            key = f"{twin.event_name} {twin.event_id}"
            name = TWIN_COOKIE_PREFIX.decode() + hashlib.sha256(key.encode()).hexdigest()[:12]
            lines.append(self._line(name, encode_readable(twin), TWIN_MAX_AGE))
        return lines

    def __repr__(self) -> str:
        return f"Visitor(external_id={self.external_id[:8]}…)"
