"""Meta in trouble for a while, orders coming in all the time, and a real worker."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from bridge.delivery.sender import CONCURRENCY
from bridge.outbox import open_outbox
from tests.kills.processes import PIXEL_ID, Site, running_site
from tests.kills.recorder import Notebook
from tests.kills.run import Result, taking_orders
from tests.servers import Sandbox, poll

EXPIRED = '{"error":{"message":"Session has expired","code":190,"error_subcode":463}}'
LOST_ANSWERS: list[dict[str, Any]] = [
    {"drop": True, "after": True},
    {"drop": True, "after": True},
    {"hang": True, "after": True},
    {"truncate": 9},
]
FAULTS: list[dict[str, Any]] = [
    *LOST_ANSWERS,
    *({"status": 500, "body": "oops"} for _ in range(4)),
    *({"drop": True} for _ in range(3)),
    {"hang": True},
    {"delay": 0.1},
    {"status": 429, "headers": {"Retry-After": "0"}},
    {"status": 503, "body": "<html>"},
]
PAUSE_CAP = 1.5  # seconds, for a quarter of an hour: a minute is a tenth of a second here
PACE = {
    "KILLS_PAUSE": "0.1",
    "KILLS_PAUSE_CAP": str(PAUSE_CAP),
    "KILLS_BACKOFF_CAP": "0.1",
    "KILLS_TIMEOUT": "3",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("faults")
    url = f"sqlite:///{folder / 'bridge.db'}"
    with running_site(Site(folder, url, has_worker=True, environ=PACE)) as site:
        yield site


async def test_token_that_expired_for_ten_minutes_costs_nothing(site: Site) -> None:
    sandbox = Sandbox(site.recorder.url)
    await sandbox.fault("events", status=401, body=EXPIRED, times=None)
    outbox = open_outbox(site.outbox_url)

    async def refused_for_long() -> bool:
        # Asked again after 1, 2, 4 and 8 minutes; the pause after that is the longest.
        circuit = (await outbox.circuits()).get(f"meta:{PIXEL_ID}")
        return circuit is not None and circuit.until - circuit.since > 0.99 * PAUSE_CAP

    result = Result(seed=0)
    async with taking_orders(site, result):
        await poll(refused_for_long, "a quarter of an hour")
        assert not any("-0-" in order for order in (await site.recorder.read()).arrivals)
        await sandbox._call("DELETE", "/api/faults")
    await outbox.close()
    assert result.accepted == result.arrivals.keys()
    assert result.dead == result.twice == set()
    requests = (await site.recorder.read()).statuses[401]
    assert requests < 5 + CONCURRENCY  # some were under way together at first


async def test_faults_of_every_kind_lose_nothing_and_repeat_only_what_was_not_answered(
    site: Site,
) -> None:
    seed = random.randrange(1, 1_000_000)
    print(f"seed {seed}")  # noqa: T201 - shown if it fails
    sandbox = Sandbox(site.recorder.url)
    for fault in random.Random(seed).sample(FAULTS, len(FAULTS)):
        await sandbox.fault("events", **fault)

    async def over() -> bool:
        return not (await sandbox._call("GET", "/api/faults"))["faults"]

    result = Result(seed)
    async with taking_orders(site, result):
        await poll(over, "the last fault")
    assert result.missing == result.changed == set()
    notebook = await site.recorder.read()
    assert len(notebook.unanswered) >= len(LOST_ANSWERS)
    assert result.twice
    assert result.twice <= find_unanswered(result, notebook)


def find_unanswered(result: Result, notebook: Notebook) -> set[str]:
    """Orders that arrived in a request whose answer was lost."""
    return {
        order
        for order, arrivals in result.arrivals.items()
        if any(arrival.request in notebook.unanswered for arrival in arrivals)
    }
