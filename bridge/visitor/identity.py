"""The signed session: a cookie decoded to an ``Identity``, and back.

Strategy: the time is in the payload, not in the signature's own timestamp. itsdangerous refuses a
timestamp from a clock one second ahead, which would lose sessions between machines; and with the
time in the payload, this module needs no clock. Verified cookies are cached by their bytes, so that
an unchanged session costs one dictionary look-up.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec
from itsdangerous import BadSignature

from bridge.events.event import UserData
from bridge.events.normalizers import hash_external_id
from bridge.lazy import frozen_lazy
from bridge.randomness import format_uuid
from bridge.visitor.signing import PurposeSigner, decode_base64url, derive_key, encode_base64url

MAX_COOKIE_LENGTH = 3800  # bytes of the session cookie's value
CACHE_SIZE = 4096  # verified cookies
CACHE_SIZE_OF_SHOP = 64  # the same, where there are many shops

# The longest optional parts, dropped in this order until the cookie fits.
_DROPPABLE: tuple[tuple[str, Any], ...] = (
    ("user_agent", None),
    ("user_data", UserData()),
    ("fbc", None),
)


class Identity(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, dict=True):
    """What the signed session keeps about one visitor.

    Attributes:
        anonymous_id: The visitor's own id, made at the first request.
        renewed_at: When the cookies were last renewed, Unix seconds; the session's age.
        user_id: The site's own id of a logged-in user, as given to ``identify``.
        fbp, fbc: The browser and click id, byte for byte.
        client_ip: The last public address seen.
        client_ip_time: When an IPv6 address was last seen, Unix seconds.
        user_agent: The last user agent seen.
        user_data: What ``identify`` was given, hashed.
        is_page_anonymous: The visitor was identified since the last page load; the pixel there
            keeps the anonymous external id it was given first.
        is_segments: The anonymous id is that of Segment's analytics.js.
        domain: The domain of its cookie; ``None`` for a host-only one.
    """

    anonymous_id: str = msgspec.field(name="a")
    renewed_at: int = msgspec.field(name="t")
    user_id: str | None = msgspec.field(name="u", default=None)
    fbp: str | None = msgspec.field(name="p", default=None)
    fbc: str | None = msgspec.field(name="c", default=None)
    client_ip: str | None = msgspec.field(name="i", default=None)
    client_ip_time: int = msgspec.field(name="j", default=0)
    user_agent: str | None = msgspec.field(name="g", default=None)
    user_data: UserData = msgspec.field(name="d", default=UserData())
    is_page_anonymous: bool = msgspec.field(name="n", default=False)
    is_segments: bool = msgspec.field(name="s", default=False)
    domain: str | None = msgspec.field(name="o", default=None)

    @frozen_lazy
    def external_id(self) -> str:
        """SHA-256 hex of the user id if known, else of the anonymous id: what both copies carry."""
        return hash_external_id(self.user_id or self.anonymous_id)

    @frozen_lazy
    def raw_user_agent(self) -> bytes | None:
        """``user_agent`` as the browser sends it."""
        return None if self.user_agent is None else self.user_agent.encode()

    @frozen_lazy
    def external_ids(self) -> list[str]:
        """What a server copy carries; the one that the page's pixel has comes first."""
        if not self.anonymous_id:
            return [self.external_id] if self.user_id else []
        if self.is_page_anonymous:
            return [hash_external_id(self.anonymous_id), self.external_id]
        return [self.external_id]

    def describe(self, ip: str | None, user_agent: str | None, *, is_held: bool) -> UserData:
        """Return what is known of the visitor as Meta's ``user_data``; the last one is kept.

        Args:
            ip: The address to send.
            user_agent: The user agent to send.
            is_held: Whether the browser holds the ids; otherwise they are not the pixel's.
        """
        asked = (ip, user_agent, is_held)
        kept: tuple[Any, UserData] | None = self.__dict__.get("described")
        if kept is not None and kept[0] == asked:
            return kept[1]
        known = self.user_data.to_dict()
        if is_held:
            known["external_id"] = self.external_ids
        if ip:
            known["client_ip_address"] = ip
        if user_agent:
            known["client_user_agent"] = user_agent
        if self.fbp and is_held:
            known["fbp"] = self.fbp
        if self.fbc:
            known["fbc"] = self.fbc
        described = UserData(**known)
        self.__dict__["described"] = (asked, described)
        return described

    def change(self, **changes: Any) -> Identity:
        """Return the identity with ``changes`` to anything but its two ids."""
        changed = msgspec.structs.replace(self, **changes)
        changed.__dict__["external_id"] = self.external_id  # saves a hash
        return changed

    def __repr__(self) -> str:
        return f"Identity(known={self.user_id is not None})"


class SessionSigner:
    """Signs identities into cookie values and reads them back.

    Args:
        secret_keys: As ``read_keys`` returns them: the newest signs, all verify.
        max_age: How long an unrenewed session counts, in seconds.
        cache_size: How many verified cookies are kept.
    """

    def __init__(
        self, secret_keys: Sequence[str], *, max_age: int, cache_size: int = CACHE_SIZE
    ) -> None:
        self._signer = PurposeSigner(secret_keys, "session")
        self._derivation_key = derive_key(secret_keys[-1], "anonymous-id")
        self._max_age = max_age
        self._decoder = msgspec.json.Decoder(Identity)
        self._encoder = msgspec.json.Encoder()
        self._verified = lru_cache(cache_size)(self._verify)

    def read(self, cookie: bytes, now: float) -> Identity | None:
        """Return the identity in ``cookie``; ``None`` if forged, damaged, oversized or stale."""
        if len(cookie) > MAX_COOKIE_LENGTH:
            return None
        try:
            identity = self._verified(cookie)
        except (BadSignature, msgspec.MsgspecError, ValueError):
            return None
        return identity if now - identity.renewed_at <= self._max_age else None

    def read_best(
        self, cookies: Sequence[bytes], domain: str | None, now: float
    ) -> Identity | None:
        """Return the identity of several session cookies: the one that was set for ``domain``.

        After a change of ``cookie_domain`` a browser has two; and a sibling subdomain can set one.
        """
        found = [each for cookie in cookies if (each := self.read(cookie, now))]
        own = (each for each in found if each.domain == domain)
        return next(own, found[0] if found else None)

    def _verify(self, cookie: bytes) -> Identity:
        """Return the identity in ``cookie``; raises, so that what is forged is not remembered."""
        return self._decoder.decode(decode_base64url(self._signer.unsign(cookie)))

    def write(self, identity: Identity) -> bytes:
        """Return ``identity`` as a cookie value of at most 3800 characters."""
        value = self._sign(identity)
        for field, empty in _DROPPABLE:
            if len(value) <= MAX_COOKIE_LENGTH:
                break
            identity = msgspec.structs.replace(identity, **{field: empty})
            value = self._sign(identity)
        return value

    def _sign(self, identity: Identity) -> bytes:
        return self._signer.sign(encode_base64url(self._encoder.encode(identity)))

    def derive_anonymous_id(self, fbp: str) -> str:
        """Return a UUID that is always the same for ``fbp``: parallel first requests agree."""
        return format_uuid(hmac.digest(self._derivation_key, fbp.encode(), "sha256")[:16])

    def __repr__(self) -> str:
        return "SessionSigner()"
