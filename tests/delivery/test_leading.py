"""Several processes on one SQLite file: one of them delivers, and another takes over."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from starlette.applications import Starlette

from bridge import BridgeMiddleware
from bridge.delivery.sender import Sender
from bridge.outbox import Counts, SQLiteOutbox
from bridge.outbox.sqlite.locks import FileLock
from tests.delivery.test_sender import META, delivered, make_lead
from tests.factories import make_bridge, make_client, make_meta, unix_now
from tests.servers import DEADLINE, ROOT, Sandbox, poll

SENDING = """
import asyncio, sys
from bridge.delivery.sender import Sender
from bridge.outbox import SQLiteOutbox
from tests.factories import make_meta

async def main():
    outbox, meta = SQLiteOutbox(sys.argv[1]), make_meta(graph_url=sys.argv[2])
    Sender(outbox, [meta]).start()
    print("started", flush=True)
    while not await outbox.lead([meta.name]):
        await asyncio.sleep(0.02)
    print("leads", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@asynccontextmanager
async def sending(path: Path, url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that delivers, or waits for its turn."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SENDING, str(path), url, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def read_line(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout
    return await asyncio.wait_for(process.stdout.readline(), 60)


async def test_another_process_takes_over_when_the_one_that_delivers_is_killed(
    outbox: SQLiteOutbox, tmp_path: Path, sandbox: Sandbox
) -> None:
    path = tmp_path / "bridge.db"
    async with sending(path, sandbox.url) as first:
        assert [await read_line(first), await read_line(first)] == [b"started\n", b"leads\n"]
        async with sending(path, sandbox.url) as second:
            assert await read_line(second) == b"started\n"
            await outbox.put([make_lead("1")], unix_now())
            await delivered(outbox, 1)
            first.kill()
            await first.wait()
            assert await read_line(second) == b"leads\n"
            await outbox.put([make_lead("2")], unix_now())
            await delivered(outbox, 2)


async def test_only_one_sender_claims(outbox: SQLiteOutbox, tmp_path: Path) -> None:
    async with two_senders(outbox, tmp_path) as (first, second):
        await outbox.put([make_lead(str(i)) for i in range(50)], unix_now())
        first.wake([META])
        second.wake([META])

        async def tried() -> bool:
            return first.metrics.totals["retried"] >= 50

        await poll(tried, "the attempts of the first")
        assert second.metrics.totals["retried"] == 0


@asynccontextmanager
async def two_senders(outbox: SQLiteOutbox, tmp_path: Path) -> AsyncIterator[tuple[Sender, Sender]]:
    """Two senders, of which the first delivers, in front of a destination that is not there."""
    other = SQLiteOutbox(tmp_path / "bridge.db")
    meta = make_meta(graph_url="http://127.0.0.1:9")
    first, second = Sender(outbox, [meta]), Sender(other, [meta])
    assert await outbox.lead([META])
    first.start()
    second.start()
    try:
        yield first, second
    finally:
        await second.stop(deadline=0)
        await first.stop(deadline=0)
        await other.close()


async def test_sender_that_stops_gives_way_at_once(
    outbox: SQLiteOutbox, tmp_path: Path, sandbox: Sandbox
) -> None:
    path = tmp_path / "bridge.db"
    first, second = (
        make_bridge(SQLiteOutbox(path), destinations=[make_meta(graph_url=sandbox.url)])
        for _ in range(2)
    )
    assert await first.outbox.lead([META])
    first.start()
    second.start()
    await first.stop()
    assert await outbox.lead([META]) or await second.outbox.lead([META])
    await outbox.close()
    await outbox.put([make_lead("1")], unix_now())
    await delivered(outbox, 1)
    await second.stop()
    assert (await outbox.count(unix_now())).get(META, Counts()).waiting == 0


async def test_process_that_waits_for_its_turn_is_well(
    outbox: SQLiteOutbox, tmp_path: Path
) -> None:
    assert await outbox.lead([META])
    waiting = make_bridge(SQLiteOutbox(tmp_path / "bridge.db"))
    client = make_client(BridgeMiddleware(Starlette(), bridge=waiting))
    waiting.start()
    report = (await client.get("/_bridge/health")).json()
    assert report["status"] == "ok"
    assert "sender" not in report
    await waiting.stop()


async def test_a_lead_that_was_taken_by_a_task_that_was_stopped_is_ours(
    outbox: SQLiteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, taken, may_end = FileLock.take, asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def take_slowly(lock: FileLock, *, shared: bool = False) -> bool:
        is_ours = take(lock, shared=shared)
        loop.call_soon_threadsafe(taken.set)
        may_end.wait(DEADLINE)
        return is_ours

    monkeypatch.setattr(FileLock, "take", take_slowly)
    asking = asyncio.create_task(outbox.lead([META]))
    await taken.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    may_end.set()
    assert await outbox.lead([META])
