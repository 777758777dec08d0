from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.destinations.http import MASK, MIN_SECRET, clean_words, mask

TOKEN = "EAAB|very+secret/0123456789"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        pytest.param(f"bad {TOKEN}", f"bad {MASK}", id="whole"),
        pytest.param(f"{TOKEN}, {TOKEN}!", f"{MASK}, {MASK}!", id="twice"),
        pytest.param(f"{TOKEN}{TOKEN}", MASK + MASK, id="twice without a gap"),
        pytest.param(f"t={quote(TOKEN, safe='')}&x", f"t={MASK}&x", id="percent-encoded"),
        pytest.param(f"t={quote(TOKEN, safe='').lower()}&x".replace("eaab", "EAAB"), f"t={MASK}&x"),
        pytest.param("".join(f"%{b:02x}" for b in TOKEN.encode()), MASK, id="encoded throughout"),
        pytest.param(f"bad {TOKEN[:20]}...", f"bad {MASK}...", id="shortened"),
        pytest.param(f"bad {TOKEN[:MIN_SECRET]}...", f"bad {MASK}...", id="as short as that"),
        pytest.param(quote(TOKEN[:15], safe="") + "%", f"{MASK}%", id="encoded and shortened"),
        pytest.param(f"bad {TOKEN[: MIN_SECRET - 1]}...", f"bad {TOKEN[:11]}...", id="too short"),
        pytest.param("nothing", "nothing", id="nothing"),
        pytest.param("", "", id="empty"),
    ],
)
def test_secret_is_masked(text: str, masked: str) -> None:
    assert mask(text, TOKEN) == masked


def test_short_secret_is_masked_whole() -> None:
    assert mask("abc ab", "abc") == f"{MASK} ab"
    assert mask("abc", "") == "abc"


def test_secret_at_the_cut_is_not_shown_in_part() -> None:
    text = "x" * 90 + TOKEN
    assert "EAAB" not in clean_words(text, 100, secret=TOKEN)


def test_words_stand_on_one_line() -> None:
    assert clean_words("a\nb\u202ec\x1bd", 100, secret=TOKEN) == "a b c d"


@given(before=st.text(), after=st.text(), secret=st.text(min_size=1, max_size=300))
def test_no_secret_is_left(before: str, after: str, secret: str) -> None:
    if secret not in MASK:
        pieces = mask(before + secret + after, secret).split(MASK)
        assert not any(secret in piece for piece in pieces)
