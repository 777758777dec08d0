"""Segment's own client for Python against the sandbox, each a process or a thread of its own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from segment.analytics.client import Client

from bridge.sandbox import DEFAULT_WRITE_KEY as KEY

PROPERTIES = {"revenue": 25.0, "currency": "EUR", "action_source": "website", "event_id": "order-1"}


@pytest.fixture
def sandbox_client(sandbox_process: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=sandbox_process, trust_env=False) as client:
        client.delete("/api/events")
        yield client
        client.delete("/api/events")


def read(client: httpx.Client) -> dict[str, Any]:
    report: dict[str, Any] = client.get("/api/events").json()
    return report


def make_client(url: str, failures: list[Any], **options: Any) -> Client:
    return Client(
        **{"write_key": KEY, "host": url, "upload_interval": 0.05, "timeout": 20, **options},
        on_error=lambda error, batch: failures.append((error, batch)),
    )


@pytest.mark.parametrize("gzip", [False, True])
def test_every_call_of_the_library_is_accepted(
    sandbox_process: str, sandbox_client: httpx.Client, gzip: bool
) -> None:
    failures: list[Any] = []
    client = make_client(sandbox_process, failures, gzip=gzip)
    context = {"userAgent": "UA", "page": {"url": "https://shop.example.com/"}}
    client.track(
        "ada",
        "Order Completed",
        PROPERTIES,
        context=context,
        timestamp=datetime.now(UTC) - timedelta(hours=1),
    )
    client.identify("ada", {"plan": "pro"})
    client.page("ada", "Shop", "Home", {"action_source": "website"}, context=context)
    client.screen("ada", "Shop", "Home", {})
    client.group("ada", "initech", {"name": "Initech"})
    client.alias("a-1", "ada")
    client.track(None, "Signed Up", anonymous_id="a-1")
    client.shutdown()
    assert failures == []
    report = read(sandbox_client)
    messages = report["segment"]["messages"][::-1]
    assert [message["type"] for message in messages] == [
        *("track", "identify", "page", "screen", "group", "alias", "track")
    ]
    assert {message["verdict"] for message in messages} == {"accepted"}
    assert [message["warnings"] for message in messages] == [[]] * 7
    assert [message["destination"]["outcome"] for message in messages] == [
        *("delivered", "none", "delivered", "none", "none", "none", "refused")
    ]
    page_view, purchase = report["actions"]
    assert (page_view["event_name"], purchase["event_name"]) == ("PageView", "Purchase")
    event = purchase["server"][0]["event"]
    assert event["event_id"] == "order-1"
    assert 3590 < datetime.now(UTC).timestamp() - event["event_time"] < 3700


def test_wrong_write_key_is_no_failure_for_the_library(
    sandbox_process: str, sandbox_client: httpx.Client
) -> None:
    """Source: segmentio/analytics-ruby, issue 136: ``on_error`` is not called."""
    failures: list[Any] = []
    client = make_client(sandbox_process, failures, write_key="this_is_wrong")
    client.track("ada", "Order Completed", PROPERTIES)
    client.shutdown()
    assert failures == []
    assert read(sandbox_client)["segment"]["counters"]["dropped_by"] == {"project_not_found": 1}


def test_library_sends_again_what_failed_and_the_id_tells_it_is_the_same(
    sandbox_process: str, sandbox_client: httpx.Client
) -> None:
    for fault in ({"status": 503}, {"status": 500, "after": True}):
        sandbox_client.post("/api/faults", json={"path": "segment", **fault})
    failures: list[Any] = []
    client = make_client(sandbox_process, failures)
    client.track("ada", "Order Completed", PROPERTIES)
    client.flush()
    client.shutdown()
    assert failures == []
    counters = read(sandbox_client)["segment"]["counters"]
    assert counters["dropped_by"] == {"duplicate_message_id": 1}
    assert counters["accepted"] == 1


def test_library_is_told_why_a_batch_is_refused(
    sandbox_process: str, sandbox_client: httpx.Client
) -> None:
    failures: list[Any] = []
    client = make_client(sandbox_process, failures, write_key="x", gzip=True)
    client.track("ada", "Big", {"note": "x" * 32_100})
    client.shutdown()
    [(error, batch)] = failures
    assert (error.status, error.code, len(batch)) == (400, "bad_request", 1)
    assert "batch[0] must be at most 32000 bytes" in error.message
    assert read(sandbox_client)["segment"]["counters"]["refused_requests"] == 1
