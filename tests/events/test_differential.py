"""Our digests beside those of Meta's Python SDK, by its rules; the differences are in the docs.

``python -m tests.events.differential`` does the same with the SDK itself and Meta's parameter
builder, and more values.
"""

from __future__ import annotations

import random
import re

from hypothesis import given
from hypothesis import strategies as st

from bridge.events.user_data import read_user_data
from tests.events.values import DIFFERENCES, KEYS, explain_difference, hash_as_sdk, make_value
from tests.servers import ROOT


@given(
    key=st.sampled_from(KEYS),
    text=st.text(max_size=40) | st.none(),
    chance=st.randoms(use_true_random=False),
)
def test_digest_is_the_sdks_or_one_of_the_differences_that_are_kept(
    key: str, text: str | None, chance: random.Random
) -> None:
    text = make_value(key, chance) if text is None else text.encode("utf-8", "replace").decode()
    ours = read_user_data({key: text}, on_dropped=lambda *told: None).get(key, [])
    theirs = hash_as_sdk(key, text)
    if theirs in ours or not (theirs or ours):
        return
    assert explain_difference(key, text, theirs, ours) in DIFFERENCES


def test_every_difference_has_its_row_in_the_docs() -> None:
    page = (ROOT / "docs/values.md").read_text("utf-8")
    [table] = re.findall(r"<!-- differences -->\n(.*?)<!-- /differences -->", page, re.DOTALL)
    rows = [tuple(cell.strip() for cell in row.split("|")[1:3]) for row in table.splitlines()[2:]]
    assert dict(row for row in rows if row[0] in DIFFERENCES) == DIFFERENCES
