"""A few rounds of what ``scripts/kills`` does: real processes, SIGKILL, nothing lost."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.kills.engines import running_engine
from tests.kills.processes import Site, running_site
from tests.kills.run import run_kills

MAX_DELAY = 0.03  # seconds
SHORT = {"KILLS_LEASE": "3"}  # of a dead process; 30 seconds are too long for a test


@pytest.mark.parametrize(
    ("engine", "has_worker", "rounds"),
    [
        ("sqlite", True, 2),
        ("sqlite", False, 1),
        ("postgres", True, 1),
        ("redis", True, 1),
    ],
)
async def test_what_was_accepted_survives_the_death_of_any_process(
    tmp_path: Path, engine: str, has_worker: bool, rounds: int
) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")  # noqa: T201 - shown if it fails
    with running_engine(engine, tmp_path) as (url, server):
        site = Site(tmp_path, url, has_worker=has_worker, environ=SHORT, max_delay=MAX_DELAY)
        with running_site(site):
            result = await run_kills(site, rounds=rounds, seed=seed, server=server)
    assert result.kills >= rounds
    assert result.accepted
    assert result.missing == set()
    assert result.changed == set()
    assert result.quiet & result.twice == set()
