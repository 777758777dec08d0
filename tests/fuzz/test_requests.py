"""A short run with new dice each time; a finding names its seed."""

from __future__ import annotations

import random
from pathlib import Path

from tests.fuzz import requests

SECONDS = 8


async def test_hostile_requests_are_answered(tmp_path: Path) -> None:
    seed, url = random.randrange(2**32), f"sqlite:///{tmp_path}/bridge.db"
    assert await requests.run(seed, SECONDS, 10**9, url, print) > 1000
