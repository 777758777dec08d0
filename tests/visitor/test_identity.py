from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import ConfigError, UserData
from bridge.visitor.identity import MAX_COOKIE_LENGTH, Identity, SessionSigner
from bridge.visitor.signing import read_keys
from tests.factories import NOW, SECRET

MAX_AGE = 1000
OTHER_SECRET = "f" * 32
SIGNER = SessionSigner([SECRET], max_age=MAX_AGE)
IDENTITY = Identity(
    anonymous_id="0b7b2f4e-6f0d-4c8b-8d0e-5a2f6c1b9e77",
    renewed_at=int(NOW),
    user_id="User 42",
    fbp="fb.1.1.2",
    user_data=UserData(em=["a" * 64]),
)


def test_session_comes_back_as_it_was_written() -> None:
    assert SIGNER.read(SIGNER.write(IDENTITY), NOW) == IDENTITY


def test_session_holds_only_cookie_characters() -> None:
    value = SIGNER.write(IDENTITY)
    assert value.isascii()
    assert not set(value) & set(' ",;\\')


def test_what_is_known_is_described_anew_for_each_request() -> None:
    def described(**changes: object) -> dict[str, object]:
        asked: dict[str, object] = {"ip": "8.8.8.8", "user_agent": "UA", "is_held": True, **changes}
        return IDENTITY.describe(**asked).to_dict()  # type: ignore[arg-type]

    first = described()
    assert first == {
        "em": ["a" * 64],
        "external_id": [IDENTITY.external_id],
        "client_ip_address": "8.8.8.8",
        "client_user_agent": "UA",
        "fbp": "fb.1.1.2",
    }
    assert described(ip="9.9.9.9") == first | {"client_ip_address": "9.9.9.9"}
    assert described(user_agent="UA 2") == first | {"client_user_agent": "UA 2"}
    assert described() == first
    # The browser does not hold the ids: they are not the pixel's.
    unheld = described(is_held=False)
    assert unheld == {key: first[key] for key in ("em", "client_ip_address", "client_user_agent")}
    assert described(ip=None, user_agent=None).keys() == {"em", "external_id", "fbp"}
    assert described() == first


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda cookie: b"", id="empty"),
        pytest.param(lambda cookie: cookie[:-1], id="truncated"),
        pytest.param(lambda cookie: b"A" + cookie[1:], id="altered"),
        pytest.param(lambda cookie: cookie.split(b".")[0], id="unsigned"),
        pytest.param(lambda cookie: cookie + b"x" * MAX_COOKIE_LENGTH, id="oversized"),
        pytest.param(lambda cookie: b"\xff\xfe\x00.\x80", id="bytes"),
        pytest.param(
            lambda cookie: SessionSigner([OTHER_SECRET], max_age=1).write(IDENTITY),
            id="forged",
        ),
    ],
)
def test_session_is_ignored_when(damage) -> None:  # type: ignore[no-untyped-def]
    assert SIGNER.read(damage(SIGNER.write(IDENTITY)), NOW) is None


def test_session_signed_for_another_purpose_is_ignored() -> None:
    from itsdangerous import URLSafeSerializer

    foreign = URLSafeSerializer(
        SECRET, salt="cart", signer_kwargs={"digest_method": hashlib.sha256}
    ).dumps({"a": "x", "t": int(NOW)})
    assert SIGNER.read(foreign.encode(), NOW) is None


def test_session_is_stale_after_its_age_even_when_remembered() -> None:
    cookie = SIGNER.write(IDENTITY)
    assert SIGNER.read(cookie, NOW + MAX_AGE) == IDENTITY
    assert SIGNER.read(cookie, NOW + MAX_AGE + 1) is None


def test_session_of_a_clock_ahead_counts() -> None:
    assert SIGNER.read(SIGNER.write(IDENTITY), NOW - 60) == IDENTITY


def test_keys_rotate() -> None:
    old = SIGNER.write(IDENTITY)
    rotated = SessionSigner([SECRET, OTHER_SECRET], max_age=MAX_AGE)
    assert rotated.read(old, NOW) == IDENTITY
    new = rotated.write(IDENTITY)
    assert SIGNER.read(new, NOW) is None
    assert SessionSigner([OTHER_SECRET], max_age=MAX_AGE).read(new, NOW) == IDENTITY


@pytest.mark.parametrize("keys", ["short", [], [SECRET, "short"]])
def test_keys_that_are_missing_or_short_are_refused(keys: str | list[str]) -> None:
    with pytest.raises(ConfigError, match="secret_key must be"):
        read_keys(keys)


@given(
    user_agent=st.text(max_size=4000),
    fbc=st.text(max_size=600),
    em=st.lists(st.text("0123456789abcdef", min_size=64, max_size=64), max_size=40),
)
def test_session_cookie_is_never_over_its_limit(user_agent: str, fbc: str, em: list[str]) -> None:
    identity = Identity(
        anonymous_id="a" * 100,
        renewed_at=int(NOW),
        user_id="u" * 200,
        user_agent=user_agent,
        fbc=fbc,
        user_data=UserData(em=em),
    )
    value = SIGNER.write(identity)
    assert len(value) <= MAX_COOKIE_LENGTH
    read = SIGNER.read(value, NOW)
    assert read is not None
    assert read.user_id == identity.user_id


@given(st.binary(max_size=500))
def test_session_of_any_bytes_raises_nothing(cookie: bytes) -> None:
    assert SIGNER.read(cookie, NOW) is None


def test_anonymous_id_derived_from_fbp_is_the_same_everywhere() -> None:
    derived = SIGNER.derive_anonymous_id("fb.1.1.2")
    assert derived == SessionSigner([SECRET], max_age=5).derive_anonymous_id("fb.1.1.2")
    assert derived != SIGNER.derive_anonymous_id("fb.1.1.3")
    assert derived != SessionSigner([OTHER_SECRET], max_age=5).derive_anonymous_id("fb.1.1.2")


def test_external_id_is_the_users_then_the_anonymous_one() -> None:
    assert IDENTITY.external_id == hashlib.sha256(b"user42").hexdigest()
    anonymous = Identity(anonymous_id="Ab-1", renewed_at=0)
    assert anonymous.external_id == hashlib.sha256(b"ab-1").hexdigest()


def test_page_that_was_loaded_anonymously_keeps_its_external_id_first() -> None:
    identity = Identity(anonymous_id="a", renewed_at=0, user_id="42", is_page_anonymous=True)
    assert identity.external_ids == [
        hashlib.sha256(b"a").hexdigest(),
        hashlib.sha256(b"42").hexdigest(),
    ]
    assert IDENTITY.external_ids == [IDENTITY.external_id]


def test_repr_shows_nobody() -> None:
    assert "42" not in repr(IDENTITY)
    assert SECRET not in repr(SIGNER)


def test_forged_sessions_are_not_remembered() -> None:
    signer = SessionSigner([SECRET], max_age=MAX_AGE)
    written = signer.write(IDENTITY)
    for number in range(10):
        assert signer.read(b"%d%b" % (number, written), NOW) is None
    assert signer._verified.cache_info().currsize == 0
    assert signer.read(written, NOW) is signer.read(written, NOW)


def test_session_signed_with_an_older_key_is_read() -> None:
    written = SessionSigner([OTHER_SECRET], max_age=MAX_AGE).write(IDENTITY)
    assert SessionSigner([OTHER_SECRET, SECRET], max_age=MAX_AGE).read(written, NOW) == IDENTITY
    assert SIGNER.read(written, NOW) is None
