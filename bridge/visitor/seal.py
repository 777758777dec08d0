"""The sealed token: a visitor for code that has no request, such as a webhook or a job.

It travels through other people's systems (a payment's metadata is commonly limited to 500
characters), so it is signed and short, and of what ``identify`` was given it holds only hashes.

Strategy: MessagePack keeps digests as 32 bytes instead of 64 letters; deflate with a dictionary of
what user agents and URLs have in common halves the rest. What still does not fit is left out, the
least useful first.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec
from itsdangerous import BadSignature

from bridge.browser.words import ConsentState
from bridge.errors import InvalidTokenError
from bridge.events.event import UserData
from bridge.visitor.identity import Identity
from bridge.visitor.signing import PurposeSigner, decode_base64url, encode_base64url

MAX_LENGTH = 500  # characters
MAX_CONTENT = 4096  # bytes of an opened token; deflate could make more of 500 characters
MAX_REASON = 100  # characters of an app's own reason to skip events
MAX_AGE = 30 * 86_400  # seconds

_DICTIONARY = (
    b"fb.1.17__DOT__http://https://www..com/checkout/cart/orders/thank-you?utm_source="
    b"facebook&utm_medium=&utm_campaign=Mozilla/5.0 (Linux; Android 10; K) Version/18.0 Mobile/"
    b"15E148 Safari/604.1[FBAN/FBIOS;FBAV/ [Instagram (X11; Linux x86_64; rv:140.0) Gecko/20100101"
    b" Firefox/140.0Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 "
    b"(Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 "
    b"Safari/605.1.15Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like "
    b"Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0"
)

# Which digests are left out first: those that match least.
_WEAK_DIGESTS = ("doby", "dobm", "dobd", "fi", "f5last", "f5first", "country", "ge", "st", "ct")
_FAIR_DIGESTS = ("db", "zp", "ln", "fn")
_STRONG_DIGESTS = ("ph", "em")


class _Content(msgspec.Struct, array_like=True):
    """What a token says, in this order."""

    sealed_at: int
    anonymous_id: str
    limited: bool
    user_id: str | None
    fbp: str | None
    fbc: str | None
    client_ip: str | None
    user_agent: str | None
    page_url: str | None
    digests: dict[str, list[bytes]]
    skip_reason: str = ""

    def shrink(self) -> Iterator[_Content]:
        """Yield this with ever more left out.

        The page's address goes only down to the site's: Meta refuses a website event without one.
        """
        page = self.page_url or ""
        address = page.partition("?")[0]
        site = "/".join(page.split("/", 3)[:3]) + "/" if page else None
        steps: list[dict[str, object]] = [
            {"page_url": address or None},
            *self._without(_WEAK_DIGESTS),
            *self._without(_FAIR_DIGESTS),
            {"page_url": site},
            {"user_agent": None},
            *self._without(_STRONG_DIGESTS),
            {"fbc": None},
            {"user_id": None},
            {"page_url": None},
        ]
        content = self
        for step in steps:
            digests = {
                key: digest for key, digest in content.digests.items() if key != step.get("without")
            }
            changes = {key: value for key, value in step.items() if key != "without"}
            content = msgspec.structs.replace(content, digests=digests, **changes)
            yield content

    def _without(self, keys: tuple[str, ...]) -> list[dict[str, object]]:
        return [{"without": key} for key in keys if key in self.digests]


class Sealed(NamedTuple):
    """What a token holds.

    Attributes:
        identity: The visitor; ``None`` for one about whom nothing may be known.
        consent: ``granted`` or ``limited``.
        page_url: The page the visitor was on.
        skip_reason: Why no event is sent, as in ``Visitor.skip_reason``; ``""`` if events are sent.
    """

    identity: Identity | None
    consent: ConsentState = "granted"
    page_url: str | None = None
    skip_reason: str = ""


class Sealer:
    """Seals identities into tokens and opens them, on any machine that has the keys.

    Args:
        secret_keys: As for the session: the newest signs, all verify.
    """

    def __init__(self, secret_keys: Sequence[str]) -> None:
        self._signer = PurposeSigner(secret_keys, "seal")

    def seal(self, sealed: Sealed, *, now: float) -> str:
        """Return ``sealed`` as a URL-safe token of at most 500 characters."""
        identity = sealed.identity
        if identity is None:
            nothing = (None,) * 6
            reason = sealed.skip_reason[:MAX_REASON]
            return self._dump(_Content(int(now), "", False, *nothing, {}, reason))
        digests = {
            key: [bytes.fromhex(digest) for digest in value]
            for key in UserData.__struct_fields__
            if isinstance(value := getattr(identity.user_data, key), list) and value
        }
        content = _Content(
            sealed_at=int(now),
            anonymous_id=identity.anonymous_id,
            limited=sealed.consent == "limited",
            user_id=identity.user_id,
            fbp=identity.fbp,
            fbc=identity.fbc,
            client_ip=identity.client_ip,
            user_agent=identity.user_agent,
            page_url=sealed.page_url,
            digests=digests,
        )
        token = self._dump(content)
        for smaller in content.shrink():
            if len(token) <= MAX_LENGTH:
                break
            token = self._dump(smaller)
        return token

    def _dump(self, content: _Content) -> str:
        deflate = zlib.compressobj(9, wbits=-15, zdict=_DICTIONARY)
        packed = deflate.compress(msgspec.msgpack.encode(content)) + deflate.flush()
        return self._signer.sign(encode_base64url(packed)).decode()

    def open(self, token: object, *, max_age: float, now: float) -> Sealed:
        """Return what ``token`` holds.

        Raises:
            InvalidTokenError: It is altered, of other keys, no token at all, or too old.
        """
        if not isinstance(token, str) or len(token) > MAX_LENGTH:
            raise InvalidTokenError(
                f"expected a token made by visitor.seal(), text of at most {MAX_LENGTH} characters,"
                f" got {type(token).__name__}"
            )
        try:
            encoded = self._signer.unsign(token)
        except (BadSignature, UnicodeError):
            raise InvalidTokenError(
                "the signature does not match: the token was altered, or sealed with other keys, or"
                " by another shop"
            ) from None
        content = _load(encoded)
        age = now - content.sealed_at
        if age > max_age:
            raise InvalidTokenError(
                f"expired: sealed {age / 86_400:.1f} days ago, accepted for {max_age / 86_400:.1f}"
            )
        if not (content.anonymous_id or content.user_id or content.digests):
            return Sealed(None, skip_reason=content.skip_reason)
        user_data = {key: [d.hex() for d in value] for key, value in content.digests.items()}
        identity = Identity(
            anonymous_id=content.anonymous_id,
            renewed_at=content.sealed_at,
            user_id=content.user_id,
            fbp=content.fbp,
            fbc=content.fbc,
            client_ip=content.client_ip,
            user_agent=content.user_agent,
            user_data=msgspec.convert(user_data, UserData),
        )
        consent: ConsentState = "limited" if content.limited else "granted"
        return Sealed(identity, consent, content.page_url, content.skip_reason)


def _load(encoded: bytes) -> _Content:
    """Return what a token says whose signature was right; another version's may not be readable."""
    try:
        packed = decode_base64url(encoded)
        inflate = zlib.decompressobj(wbits=-15, zdict=_DICTIONARY)
        return msgspec.msgpack.decode(inflate.decompress(packed, MAX_CONTENT), type=_Content)
    except (zlib.error, msgspec.MsgspecError, ValueError):
        raise InvalidTokenError("sealed by another version of pixel-bridge") from None
