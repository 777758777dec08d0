from __future__ import annotations

import base64
import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import InvalidTokenError, UserData
from bridge.browser.words import ConsentState
from bridge.visitor.identity import Identity
from bridge.visitor.seal import MAX_AGE, MAX_LENGTH, Sealed, Sealer
from tests.factories import NOW, SECRET, USER_AGENT

OTHER_SECRET = "f" * 32
SEALER = Sealer([SECRET])
IDENTITY = Identity(
    anonymous_id="0b7b2f4e-6f0d-4c8b-8d0e-5a2f6c1b9e77",
    renewed_at=int(NOW),
    user_id="customer-42",
    fbp="fb.1.1795463885690.76345931327082186",
    fbc="fb.1.1795463885690.IwAR0" + "aBcDeFgH1_" * 14,
    client_ip="2606:2800:220:1:248:1893:25c8:1946",
    user_agent=USER_AGENT,
    user_data=UserData(em=["ab" * 32], ph=["cd" * 32]),
)
PAGE_URL = "https://www.shop.example.com/checkout?utm_source=facebook"
SEALED = Sealed(IDENTITY, page_url=PAGE_URL)


def open_at(token: str, now: float = NOW, sealer: Sealer = SEALER) -> Sealed:
    return sealer.open(token, max_age=MAX_AGE, now=now)


def open_identity(token: str) -> Identity:
    identity = open_at(token).identity
    assert identity is not None
    return identity


def test_token_of_a_usual_visitor_holds_everything_in_500_url_safe_characters() -> None:
    token = SEALER.seal(SEALED, now=NOW)
    assert len(token) <= MAX_LENGTH
    assert token.replace("-", "").replace("_", "").replace(".", "").isalnum()
    assert open_at(token) == SEALED


@pytest.mark.parametrize("consent", ["limited", "granted"])
def test_token_carries_consent(consent: ConsentState) -> None:
    token = SEALER.seal(Sealed(IDENTITY, consent), now=NOW)
    assert open_at(token).consent == consent


@given(
    page_url=st.text(max_size=2000),
    user_agent=st.text(max_size=512),
    fbc=st.text("abcdefghijklmnopqrstuvwxyzABCDEFGH0123456789", max_size=600),
    digests=st.lists(st.binary(min_size=32, max_size=32), max_size=20),
    user_id=st.text(max_size=200),
)
def test_token_is_never_over_500_characters_and_keeps_what_matters_most(
    page_url: str, user_agent: str, fbc: str, digests: list[bytes], user_id: str
) -> None:
    identity = Identity(
        anonymous_id=IDENTITY.anonymous_id,
        renewed_at=int(NOW),
        user_id=user_id,
        fbp=IDENTITY.fbp,
        fbc=fbc,
        user_agent=user_agent,
        user_data=UserData(em=[d.hex() for d in digests[:1]], fn=[d.hex() for d in digests]),
    )
    token = SEALER.seal(Sealed(identity, page_url=page_url), now=NOW)
    assert len(token) <= MAX_LENGTH
    opened = open_identity(token)
    assert (opened.anonymous_id, opened.fbp) == (IDENTITY.anonymous_id, IDENTITY.fbp)


def test_token_of_a_whole_checkout_leaves_out_the_weakest_digests_only() -> None:
    keys = ("em", "fn", "ln", "ct", "zp", "country")
    digests = {key: [hashlib.sha256(key.encode()).hexdigest()] for key in keys}
    user_data = msgspec.convert(digests, UserData)
    identity = msgspec.structs.replace(IDENTITY, user_data=user_data)
    token = SEALER.seal(Sealed(identity, page_url=PAGE_URL), now=NOW)
    assert open_at(token).page_url == "https://www.shop.example.com/checkout"
    opened = open_identity(token)
    assert opened.fbc == IDENTITY.fbc
    assert opened.user_agent == IDENTITY.user_agent
    kept = {key for key in keys if getattr(opened.user_data, key)}
    assert {"em", "fn", "ln"} <= kept < set(keys)


def test_token_keeps_the_site_when_the_page_is_long() -> None:
    path = "".join(hashlib.sha256(bytes([i])).hexdigest() for i in range(10))
    sealed = Sealed(IDENTITY, page_url=f"https://www.shop.example.com/{path}")
    opened = open_at(SEALER.seal(sealed, now=NOW))
    assert opened.page_url == "https://www.shop.example.com/"


def test_token_opens_days_later_elsewhere_and_after_rotation() -> None:
    token = SEALER.seal(SEALED, now=NOW)
    elsewhere = Sealer([SECRET, OTHER_SECRET])
    assert open_at(token, NOW + MAX_AGE - 1, elsewhere) == SEALED
    assert open_at(token, NOW - 60, elsewhere) == SEALED


def test_expired_token_says_so() -> None:
    token = SEALER.seal(SEALED, now=NOW)
    with pytest.raises(InvalidTokenError, match=r"expired: sealed 31\.0 days ago, accepted for 30"):
        open_at(token, NOW + 31 * 86_400)


@pytest.mark.parametrize("position", [0, 1, 50, -30, -1])
def test_altered_token_says_so(position: int) -> None:
    token = SEALER.seal(SEALED, now=NOW)
    letters = list(token)
    letters[position] = "A" if letters[position] != "A" else "Q"
    with pytest.raises(InvalidTokenError, match="signature does not match"):
        open_at("".join(letters))


def test_token_of_other_keys_says_so() -> None:
    token = Sealer([OTHER_SECRET]).seal(SEALED, now=NOW)
    with pytest.raises(InvalidTokenError, match="signature does not match"):
        open_at(token)


@pytest.mark.parametrize("token", ["", ".", "a.b", "x" * 501, "é.ü", "\ud800"])
def test_what_is_no_token_says_so(token: str) -> None:
    with pytest.raises(InvalidTokenError):
        open_at(token)


@given(st.text(max_size=600))
def test_any_text_is_refused_clearly(token: str) -> None:
    with pytest.raises(InvalidTokenError):
        open_at(token)


@given(st.binary(max_size=300))
def test_signed_content_of_another_version_is_refused_clearly(content: bytes) -> None:
    token = SEALER._signer.sign(base64.urlsafe_b64encode(content).rstrip(b"=")).decode()
    with pytest.raises(InvalidTokenError):
        open_at(token)


def test_token_shows_nothing_personal() -> None:
    token = SEALER.seal(SEALED, now=NOW)
    assert "customer-42" not in token
    assert "ab" * 10 not in token
