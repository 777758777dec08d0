"""A page for everything that pages say, with each tag, place and way to leave in turn."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, cycle

import pytest
from playwright.async_api import Browser

from tests.pages.scenes import ID
from tests.pages.variants import LEFT, PLACES, SAID, TAGS, Site, Variant, run_variant
from tests.servers import Sandbox

RUNS = count()


def choose() -> Iterator[Variant]:
    tags, places, left = cycle(TAGS), cycle(PLACES), cycle((*LEFT, *LEFT[:1]))
    for said in SAID:
        yield Variant(next(tags), next(places), said, next(left))


@pytest.mark.parametrize("variant", list(choose()), ids=str)
async def test_both_copies_agree_and_none_is_alone(
    browser: Browser, sandbox: Sandbox, pages: str, variant: Variant
) -> None:
    site = Site(pages, sandbox, ID, f"{sandbox.url}/en_US/fbevents.js")
    # The library must not be faster than a tag that waits for the whole page.
    await sandbox.fault("fbevents", delay=0.5, times=None)
    counts = await run_variant(site, browser, variant, f"t{next(RUNS)}")
    assert counts.keys() <= {"pairs", "automatic"}
    assert counts["pairs"] >= 2
