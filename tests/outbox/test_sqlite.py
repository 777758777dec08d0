"""What only the SQLite outbox has: a file, a lock, a disk."""

from __future__ import annotations

import asyncio
import dataclasses
import fcntl
import logging
import os
import queue
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import bridge.outbox.sqlite.checkpoint
import bridge.outbox.sqlite.file
import bridge.outbox.sqlite.outbox
import bridge.outbox.sqlite.thread
from bridge import OutboxError, OutboxFullError
from bridge.errors import OutboxBusyError
from bridge.outbox import Circuit, Counts, Outbox, SQLiteOutbox
from bridge.outbox.base import digest_texts
from bridge.outbox.sqlite import rows
from bridge.outbox.sqlite.file import SCHEMA_VERSION, open_file
from bridge.outbox.sqlite.locks import FileLock
from bridge.outbox.sqlite.thread import FileThread, build_job
from tests.damage import deliver_all, fill_file, zero_page
from tests.factories import NOW, make_delivery
from tests.servers import DEADLINE, ROOT, poll

LEASE = 60.0
SENDER = digest_texts(["meta:1"], 4).hex()  # in the name of its lock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the ``outbox`` fixture has its file."""
    return tmp_path / "bridge.db"


@contextmanager
def connected(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection of another process."""
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        yield connection


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process's write transaction that does not end."""
    with connected(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


def move(path: Path, to: Path) -> None:
    """Replace one file by another, as a person would: without what belongs to the other."""
    path.replace(to)
    for name in (to.name, path.name):
        for part in ("-wal", "-shm"):
            to.with_name(name + part).unlink(missing_ok=True)


def delete(*paths: Path) -> None:
    for path in paths:
        path.unlink()


def damage(path: Path) -> None:
    """Leave only the first page readable."""
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))


def measure(path: Path) -> int:
    return path.stat().st_size


@asynccontextmanager
async def opened(path: Path, **options: Any) -> AsyncIterator[SQLiteOutbox]:
    outbox = SQLiteOutbox(path, **options)
    yield outbox
    await outbox.close()


async def claim_ids(outbox: Outbox, now: float = NOW) -> list[str]:
    claimed = await outbox.claim("meta:1", 5000, now=now, lease=LEASE)
    return [delivery.event_id for delivery in claimed]


# Commits


async def test_commit_is_on_the_disk_before_it_answers(outbox: SQLiteOutbox) -> None:
    modes = await outbox._run(
        lambda file: [
            file.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
        ]
    )
    assert modes == ["wal", 2]


async def test_concurrent_puts_share_a_commit(outbox: SQLiteOutbox) -> None:
    held = threading.Event()
    first = asyncio.ensure_future(outbox._run(lambda file: held.wait(5)))
    await asyncio.sleep(0)
    puts = [asyncio.ensure_future(outbox.put([make_delivery(str(i))], NOW)) for i in range(100)]
    statements: list[str] = []
    traced = asyncio.ensure_future(
        outbox._run(lambda file: file.set_trace_callback(statements.append))
    )
    await asyncio.sleep(0)  # all of them are in the queue
    held.set()
    await asyncio.gather(first, traced, *puts)
    assert statements.count("COMMIT") == 1
    assert await claim_ids(outbox) == [str(i) for i in range(100)]


async def test_one_bad_job_of_a_group_does_not_fail_the_others(outbox: SQLiteOutbox) -> None:
    bad = make_delivery("bad", due="soon")
    answers = await asyncio.gather(
        *(
            outbox.put(deliveries, NOW)
            for deliveries in (
                [make_delivery("1")],
                [make_delivery("with"), bad],
                [make_delivery("2")],
            )
        ),
        return_exceptions=True,
    )
    assert answers[0] == answers[2] == [True]
    assert isinstance(answers[1], OutboxError)
    assert isinstance(answers[1].__cause__, sqlite3.Error)
    assert await claim_ids(outbox) == ["1", "2"]


async def test_two_event_loops_share_one_outbox(outbox: SQLiteOutbox) -> None:
    async def put_many(letter: str) -> list[list[bool]]:
        puts = (outbox.put([make_delivery(f"{letter}{i}")], NOW) for i in range(50))
        return await asyncio.gather(*puts)

    answers = await asyncio.gather(
        put_many("a"), asyncio.to_thread(lambda: asyncio.run(put_many("b")))
    )
    assert list(answers) == [[[True]] * 50] * 2
    assert (await outbox.count(NOW, with_delivered=True))["meta:1"].waiting == 100


async def test_close_on_one_loop_loses_nothing_of_another(path: Path) -> None:
    outbox = SQLiteOutbox(path)

    async def put_many() -> None:
        for i in range(60):
            await outbox.put([make_delivery(str(i))], NOW)

    putting = asyncio.ensure_future(asyncio.to_thread(lambda: asyncio.run(put_many())))
    while not putting.done():
        await outbox.close()
        await asyncio.sleep(0)
    await putting
    assert len(await claim_ids(outbox)) == 60
    await outbox.close()
    assert [each.name for each in threading.enumerate() if each.name == "bridge-outbox"] == []


async def test_stopped_thread_takes_no_job_that_it_would_not_do(path: Path) -> None:
    thread = FileThread(str(path), "IMMEDIATE", lambda: None)
    assert thread.submit(build_job(lambda _: None, 1.0))
    await asyncio.to_thread(thread.stop)
    assert not thread.submit(build_job(lambda _: None, 1.0))


async def test_close_finishes_what_was_asked_for_just_before(path: Path) -> None:
    outbox = SQLiteOutbox(path)
    put = asyncio.ensure_future(outbox.put([make_delivery("1")], NOW))
    counted = asyncio.ensure_future(outbox.count(NOW, with_delivered=True))
    closed = asyncio.ensure_future(outbox.close())
    await closed
    assert await put == [True]
    await counted
    assert [each.name for each in threading.enumerate() if each.name == "bridge-outbox"] == []


async def test_puts_fail_while_no_thread_can_be_started(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async with opened(path) as outbox:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            puts = [outbox.put([make_delivery(str(i))], NOW) for i in range(2)]
            answers = await asyncio.gather(*puts, return_exceptions=True)
        message = f"outbox {path}: can't start new thread"
        assert [(type(each), str(each)) for each in answers] == [(OutboxError, message)] * 2
        assert await outbox.put([make_delivery("1")], NOW) == [True]


# Where a claimed delivery lies


async def test_claimed_delivery_is_found_where_it_lay(outbox: SQLiteOutbox) -> None:
    await outbox.put([make_delivery(str(i)) for i in range(3)], NOW)
    claimed = await outbox.claim("meta:1", 3, now=NOW, lease=LEASE)
    statements: list[str] = []
    await outbox._run(lambda file: file.set_trace_callback(statements.append))
    await outbox.ack(claimed[:1], NOW)
    await outbox.bury(claimed[1:2], "refused", NOW)
    await outbox.retry(claimed[2:], NOW)
    changes = [each for each in statements if each.startswith("UPDATE")]
    assert [bool(re.search(r"AND id = \d", each)) for each in changes] == [True] * 3
    assert await outbox.count(NOW, with_delivered=True) == {
        "meta:1": Counts(waiting=1, delivered=1, dead=1, oldest=NOW)
    }


@pytest.mark.parametrize("place", [None, 2, 99], ids=["unknown", "another's", "nobody's"])
async def test_claimed_delivery_is_found_by_its_key_when_its_place_is_wrong(
    outbox: SQLiteOutbox, path: Path, place: int | None
) -> None:
    await outbox.put([make_delivery(str(i), body=b"%d" % i) for i in range(4)], NOW)
    claimed = await outbox.claim("meta:1", 4, now=NOW, lease=LEASE)
    claimed[0] = dataclasses.replace(claimed[0], place=place)
    await outbox.ack(claimed[:1], NOW)
    assert await outbox._run(lambda file: file.held) == 3
    assert read_bodies(path) == [b"1", b"2", b"3"]
    assert await claim_ids(outbox, NOW + LEASE) == ["1", "2", "3"]


async def test_stale_worker_leaves_alone_what_took_the_place(outbox: SQLiteOutbox) -> None:
    await outbox.put([make_delivery("1")], NOW)
    stale = await outbox.claim("meta:1", 1, now=NOW, lease=LEASE)
    await outbox.bury(stale, "refused", NOW)
    await outbox.drop([stale[0].key])
    await outbox.put([make_delivery("2")], NOW)
    [other] = await outbox.claim("meta:1", 1, now=NOW, lease=LEASE)
    assert other.place == stale[0].place
    await outbox.ack(stale, NOW)
    await outbox.bury(stale, "refused", NOW)
    await outbox.retry(stale, NOW + 5)
    assert await outbox.count(NOW, with_delivered=True) == {"meta:1": Counts(waiting=1, oldest=NOW)}
    assert await outbox.next_due("meta:1") == NOW + LEASE


async def test_what_was_erased_is_in_no_file(outbox: SQLiteOutbox, path: Path) -> None:
    ada, bob = b"ada's id", b"bob's id"
    erased = [
        make_delivery(f"ada-order-{i}", subjects=ada, body=b'{"userId":"ada-4711"}' * 300)
        for i in range(20)
    ]
    await outbox.put([*erased, make_delivery("kept", subjects=bob, body=b"bob-4712")], NOW)

    def read_all() -> bytes:
        return b"".join(part.read_bytes() for part in path.parent.glob("bridge.db*"))

    async def is_gone() -> bool:
        return not any(each in read_all() for each in (b"ada-4711", b"ada-order", ada))

    assert not await is_gone()
    assert (await outbox.erase(ada)).waiting == 20
    await poll(is_gone, "an end of what was erased")
    assert b"bob-4712" in read_all()


async def test_wait_that_was_given_up_affects_no_other(outbox: SQLiteOutbox, path: Path) -> None:
    await outbox.put([make_delivery("before")], NOW)
    with locked(path):
        put = asyncio.ensure_future(outbox.put([make_delivery("given up")], NOW))
        await asyncio.sleep(0)
        put.cancel()
    assert await outbox.put([make_delivery("after")], NOW) == [True]


FORKING = """
import asyncio, os, sys
from bridge.outbox import SQLiteOutbox
from tests.damage import deliver_all, fill_file, zero_page
from tests.factories import NOW, make_delivery

outbox = SQLiteOutbox(sys.argv[1])
asyncio.run(outbox.put([make_delivery("parent")], NOW))
children = []
for i in range(2):
    child = os.fork()
    if child == 0:
        asyncio.run(outbox.put([make_delivery(f"child {i}")], NOW))
        asyncio.run(outbox.close())
        os._exit(0)
    children.append(child)
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
asyncio.run(outbox.put([make_delivery("parent again")], NOW))
asyncio.run(outbox.close())
sys.exit(max(codes))
"""


async def test_outbox_works_on_both_sides_of_a_fork(outbox: SQLiteOutbox, path: Path) -> None:
    run = subprocess.run
    # Of a fork beside threads, which the outbox has: Python 3.12 and later warn of it.
    ignored = "ignore:This process:DeprecationWarning"
    arguments = [sys.executable, "-W", ignored, "-c", FORKING, str(path)]
    done = await asyncio.to_thread(
        run, arguments, cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stderr) == (0, "")
    ids = ["child 0", "child 1", "parent", "parent again"]
    assert sorted(await claim_ids(outbox)) == ids
    with connected(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


# A lock


async def test_put_waits_until_another_process_ends_its_transaction(
    outbox: SQLiteOutbox, path: Path
) -> None:
    await outbox.put([make_delivery("before")], NOW)
    attempts: list[str] = []
    await outbox._run(lambda file: file.set_trace_callback(attempts.append))

    async def tried_twice() -> bool:
        return attempts.count("BEGIN IMMEDIATE") >= 2

    with locked(path):
        puts = asyncio.gather(*(outbox.put([make_delivery(str(i))], NOW) for i in range(40)))
        await poll(tried_twice, "the second attempt")
        assert not puts.done()
    assert await puts == [[True]] * 40


async def test_locked_file_fails_puts_at_their_deadline_and_the_others_wait_on(
    outbox: SQLiteOutbox, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.outbox.sqlite.outbox, "REQUEST_PATIENCE", 0.1)
    await outbox.put([make_delivery("before")], NOW)
    with locked(path):
        claimed = asyncio.ensure_future(claim_ids(outbox))
        answers = await asyncio.gather(
            *(outbox.put([make_delivery(str(i))], NOW) for i in range(40)), return_exceptions=True
        )
        assert not claimed.done()
    assert {str(answer) for answer in answers} == {
        f"outbox {path}: database is locked for 0.1 s: another process has not ended its"
        " transaction"
    }
    assert all(isinstance(answer, OutboxError) for answer in answers)
    assert await claimed == ["before"]
    assert await outbox.put([make_delivery("after")], NOW) == [True]


async def test_locked_file_can_be_read(outbox: SQLiteOutbox, path: Path) -> None:
    circuit = Circuit(destination="meta:1", state="open", reason="190", since=NOW, until=NOW + 1)
    await outbox.save_circuit(circuit)
    await outbox.put([make_delivery()], NOW)
    with locked(path):
        assert await outbox.count(NOW, with_delivered=True) == {
            "meta:1": Counts(waiting=1, oldest=NOW)
        }
        assert await outbox.circuits() == {"meta:1": circuit}
        assert await outbox.list_dead() == await outbox.find_dead("1") == []


async def test_outbox_opened_on_a_locked_file_waits_too(path: Path) -> None:
    async with opened(path) as first:
        await first.put([make_delivery("1")], NOW)
    with connected(path) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("UPDATE deliveries SET attempts = attempts")
        async with opened(path) as second:
            put = asyncio.ensure_future(second.put([make_delivery("2")], NOW))
            counted = asyncio.ensure_future(second.count(NOW, with_delivered=True))
            await asyncio.wait([put, counted], timeout=0.01)
            assert not put.done()
            connection.close()
            assert await put == [True]
            assert (await counted)["meta:1"].waiting in (1, 2)


# Requests before the sender


async def test_put_goes_before_what_the_sender_asked_for_earlier(outbox: SQLiteOutbox) -> None:
    deliveries = [make_delivery(str(i)) for i in range(300)]
    await outbox.put(deliveries, NOW)
    held = threading.Event()
    first = asyncio.ensure_future(outbox._run_later(lambda file: held.wait(5)))
    await asyncio.sleep(0)
    order: list[str] = []

    async def note(name: str, work: Any) -> None:
        await work
        order.append(name)

    works = [
        note("claim", outbox.claim("meta:1", 300, now=NOW, lease=LEASE)),
        note("retry", outbox.retry(deliveries, NOW)),
        note("put", outbox.put([make_delivery("new")], NOW)),
        note("release", outbox.release("Purchase", "1", b"", NOW)),
    ]
    tasks = [asyncio.ensure_future(each) for each in works]
    await asyncio.sleep(0)  # all of them are in the queue
    held.set()
    await asyncio.gather(first, *tasks)
    assert sorted(order[:2]) == ["put", "release"]


async def test_sender_changes_few_rows_at_a_time(outbox: SQLiteOutbox) -> None:
    await outbox.put([make_delivery(str(i)) for i in range(1000)], NOW)
    statements: list[str] = []
    await outbox._run(lambda file: file.set_trace_callback(statements.append))
    claimed = await outbox.claim("meta:1", 1000, now=NOW, lease=LEASE)
    assert [each.event_id for each in claimed] == [str(i) for i in range(1000)]
    await outbox.bury(claimed[:300], "refused", NOW)
    assert await outbox.retry(claimed, NOW) == 700
    await outbox.ack(claimed[300:], NOW)
    await outbox._run(lambda file: file.set_trace_callback(None))
    for each in "".join(each[:1] for each in statements).split("C"):  # of COMMIT
        assert each.count("U") <= 2 * bridge.outbox.sqlite.outbox.STEP  # of UPDATE
    counts = await outbox.count(NOW, with_delivered=True)
    assert counts == {"meta:1": Counts(delivered=700, dead=300)}


async def test_only_what_a_request_waits_for_is_flushed_to_the_disk(outbox: SQLiteOutbox) -> None:
    def read(file: sqlite3.Connection) -> Any:
        return file.execute("PRAGMA synchronous").fetchone()[0]

    modes = [await each(read) for each in (outbox._run, outbox._run_later, outbox._run)]
    assert modes == [2, 1, 2]  # FULL, NORMAL


async def test_sender_steps_aside_while_another_process_waits_to_put(
    outbox: SQLiteOutbox, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.outbox.sqlite.thread, "STEP_ASIDE", 60.0)
    await outbox.put([make_delivery("1")], NOW)
    async with opened(path) as other:
        with locked(path):
            put = asyncio.ensure_future(other.put([make_delivery("2")], NOW))
            turn = FileLock(f"{path}-turn")

            async def waits() -> bool:
                is_free = turn.take()
                turn.give_up()
                return not is_free

            await poll(waits, "a put that waits")
        assert await put == [True]
        assert turn.take(shared=True)
        claimed = asyncio.ensure_future(claim_ids(outbox))
        await asyncio.wait([claimed], timeout=0.05)
        assert not claimed.done()
        assert await outbox.put([make_delivery("3")], NOW) == [True]  # as urgent as theirs
        turn.close()
        assert sorted(await claimed) == ["1", "2", "3"]


async def test_sender_that_stepped_aside_for_long_goes_on(
    outbox: SQLiteOutbox, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.outbox.sqlite.thread, "STEP_ASIDE", 0.01)
    await outbox.put([make_delivery("1")], NOW)
    turn = FileLock(f"{path}-turn")
    assert turn.take(shared=True)
    assert await claim_ids(outbox) == ["1"]
    turn.close()


# Who delivers


async def test_one_of_several_outboxes_on_a_file_leads_until_it_closes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.outbox.sqlite.outbox, "LOOK", 0.0)
    first, second = SQLiteOutbox(path), SQLiteOutbox(path)
    names = ["meta:1", "segment:1"]
    assert [await each.lead(names) for each in (first, second, first)] == [True, False, True]
    assert await second.lead(["meta:2"])  # of another app that shares the file
    await first.close()
    assert await second.lead(reversed(names))
    assert not await first.lead(names)
    await second.close()
    assert await first.lead(names)
    await first.close()


async def test_who_asks_after_a_look_that_was_cancelled_looks_again(path: Path) -> None:
    async with opened(path) as outbox:
        assert await outbox.lead(["meta:1"])
        [lead] = outbox._leads.values()
        lead.lock.give_up()
        lead.is_ours, lead.look_at = False, 0.0
        with lead.lock._mutex:  # its thread is about to take it
            looking = asyncio.ensure_future(outbox.lead(["meta:1"]))
            await asyncio.sleep(0)
            looking.cancel()
            await asyncio.sleep(0)
            again = asyncio.ensure_future(outbox.lead(["meta:1"]))
            await asyncio.sleep(0)
        assert await again


async def test_file_in_memory_is_led_by_its_process() -> None:
    async with opened(Path(":memory:")) as one, opened(Path(":memory:")) as other:
        assert await one.lead(["meta:1"])
        assert await other.lead(["meta:1"])


async def test_where_no_lock_can_be_made_everybody_leads(tmp_path: Path) -> None:
    (tmp_path / f"bridge.db-sender-{SENDER}").mkdir()  # nobody can open that to write
    async with opened(tmp_path / "bridge.db") as one, opened(tmp_path / "bridge.db") as other:
        assert await one.lead(["meta:1"])
        assert await other.lead(["meta:1"])


FORKED = """
import asyncio, os, sys, time
from bridge.outbox import SQLiteOutbox

async def main():
    outbox = SQLiteOutbox(sys.argv[1])
    assert await outbox.lead(["meta:1"])
    if os.fork() == 0:
        os.close(1)
        time.sleep(600)
    os._exit(0)

asyncio.run(main())
"""


async def test_forked_child_keeps_no_lock_of_its_parent(path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", f"import os; os.setsid()\n{FORKED}", str(path), cwd=ROOT
    )
    try:
        assert await process.wait() == 0
        async with opened(path) as outbox:

            async def leads() -> bool:
                return await outbox.lead(["meta:1"])

            await poll(leads, "the lock", seconds=10)
    finally:
        os.killpg(process.pid, signal.SIGKILL)


# The disk


async def test_missing_folder_is_an_error_until_it_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    async with opened(folder / "bridge.db") as outbox:
        with pytest.raises(OutboxError, match="does its folder exist") as caught:
            await outbox.put([make_delivery()], NOW)
        assert isinstance(caught.value.__cause__, sqlite3.Error)
        folder.mkdir()
        assert await outbox.put([make_delivery()], NOW) == [True]


async def test_full_database_is_full_until_there_is_room(outbox: SQLiteOutbox) -> None:
    body = b"x" * 100_000
    await outbox.put([make_delivery("before", body=body)], NOW)
    await outbox._run(lambda file: file.execute("PRAGMA max_page_count = 1").fetchone())
    with pytest.raises(OutboxFullError, match="is full; make room on its disk"):
        await outbox.put([make_delivery("1", body=body), make_delivery("2", body=body)], NOW)
    assert (await outbox.count(NOW, with_delivered=True))["meta:1"].waiting == 1
    await outbox._run(lambda file: file.execute("PRAGMA max_page_count = 1000000").fetchone())
    assert await outbox.put([make_delivery("1", body=body)], NOW) == [True]


def run_mount(*arguments: str) -> bool:
    command = shutil.which("mount")
    return (
        command is not None
        and not subprocess.run([command, *arguments], check=False, capture_output=True).returncode
    )


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[Path]:
    """A disk of its own, which only root can have."""
    folder.mkdir()
    if not run_mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)):
        if os.geteuid() == 0 or "CI" in os.environ:
            pytest.fail("may not mount a tmpfs: these tests need a disk of their own")
        pytest.skip("only root may mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", "1m") as folder:
        yield folder


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", "16m") as folder:
        yield folder


async def fill(outbox: SQLiteOutbox, name: str, *, body: bytes = bytes(2000)) -> list[str]:
    """Put until nothing more is taken, twenty at once; what was stored."""
    stored: list[str] = []
    for group in range(1000):
        ids = [f"{name} {group} {i}" for i in range(20)]
        puts = (outbox.put([make_delivery(each, body=body)], NOW) for each in ids)
        answers = await asyncio.gather(*puts, return_exceptions=True)
        refused = [each for each in answers if isinstance(each, BaseException)]
        assert all("is full; make room on its disk" in str(each) for each in refused), refused
        stored += [each for each, answer in zip(ids, answers, strict=True) if answer == [True]]
        if len(refused) == 20:
            return stored
    raise AssertionError("the disk does not fill up")


def fill_up(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    assert shutil.disk_usage(ballast).free == 0


async def drain(outbox: SQLiteOutbox) -> list[str]:
    """Claim and ack until nothing is due; what was delivered."""
    delivered = []
    while claimed := await outbox.claim("meta:1", 1000, now=NOW, lease=LEASE):
        await outbox.ack(claimed, NOW)
        delivered += [each.event_id for each in claimed]
    return delivered


async def test_full_disk_is_full_until_there_is_room(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    async with opened(small_disk / "bridge.db") as outbox:
        await outbox.put([make_delivery("before")], NOW)
        ballast.write_bytes(b"x" * 600_000)
        body = b"x" * 50_000
        stored, errors = [], []
        for i in range(30):
            try:
                await outbox.put([make_delivery(str(i), body=body)], NOW)
                stored.append(str(i))
            except OutboxFullError as error:
                errors.append(str(error))
        assert errors
        assert "full; make room on its disk" in errors[0]
        ballast.unlink()
        assert await outbox.put([make_delivery("after", body=body)], NOW) == [True]
        assert sorted(await drain(outbox)) == sorted(["before", *stored, "after"])


@pytest.mark.parametrize("size", [500, 2000, 9000, 250_000])
async def test_disk_that_the_outbox_filled_is_emptied_by_delivering(disk: Path, size: int) -> None:
    path, body = disk / "bridge.db", bytes(size)
    async with opened(path) as outbox:
        stored = await fill(outbox, "first", body=body)
        assert len(stored) * size > 5_000_000
    async with opened(path) as outbox:
        assert sorted(await drain(outbox)) == sorted(stored)
        assert (await outbox.count(NOW, with_delivered=True))["meta:1"].waiting == 0

        async def stored_again() -> bool:
            with suppress(OutboxFullError):
                return await outbox.put([make_delivery("after", body=body)], NOW) == [True]
            return False

        await poll(stored_again, "room")


async def test_emptied_file_fills_up_again_from_within(disk: Path) -> None:
    async with opened(disk / "bridge.db") as outbox:
        first = await fill(outbox, "first")
        await drain(outbox)
        again: list[str] = []

        async def filled() -> bool:
            again.extend(await fill(outbox, f"again {len(again)}"))
            return len(again) > len(first) / 2

        await poll(filled, "room in the file")
        assert sorted(await drain(outbox)) == sorted(again)


async def test_disk_that_others_filled_to_the_last_byte_loses_nothing(disk: Path) -> None:
    ballast = disk / "ballast"
    async with opened(disk / "bridge.db") as outbox:
        stored = await fill(outbox, "first")
        fill_up(ballast)
        delivered: list[str] = []
        with suppress(OutboxFullError):
            delivered += await drain(outbox)
        ballast.unlink()

        async def emptied() -> bool:
            with suppress(OutboxFullError):
                claimed = await outbox.claim("meta:1", 1000, now=NOW + LEASE, lease=LEASE)
                await outbox.ack(claimed, NOW)
            return (await outbox.count(NOW, with_delivered=True))["meta:1"].waiting == 0

        await poll(emptied, "all deliveries")
        assert (await outbox.count(NOW, with_delivered=True))["meta:1"].delivered == len(stored)


async def test_wal_gives_back_its_room_when_the_disk_is_full(disk: Path) -> None:
    async def stir(outbox: SQLiteOutbox) -> None:
        for _ in range(20):  # the same pages again and again
            await outbox.retry(await outbox.claim("meta:1", 200, now=NOW, lease=LEASE), NOW)

    async with opened(disk / "bridge.db") as outbox:
        await outbox.put([make_delivery(str(i), body=bytes(2000)) for i in range(400)], NOW)
        await stir(outbox)
    async with opened(disk / "bridge.db") as outbox:
        await stir(outbox)
        claimed = await outbox.claim("meta:1", 50, now=NOW, lease=LEASE)
        fill_up(disk / "ballast")
        with pytest.raises(OutboxFullError):
            await outbox.ack(claimed, NOW)

        async def acked() -> bool:
            with suppress(OutboxFullError):
                await outbox.ack(claimed, NOW)
            return (await outbox.count(NOW, with_delivered=True))["meta:1"].delivered == 50

        await poll(acked, "room in the -wal file")


async def test_duplicate_is_not_lost_on_a_full_disk(disk: Path) -> None:
    async with opened(disk / "bridge.db") as outbox:
        stored = await fill(outbox, "first")
        assert await outbox.put([make_delivery(stored[0], body=bytes(2000))], NOW) == [False]


async def test_disk_full_from_the_start_is_an_outbox_error(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 1_048_576)
    async with opened(small_disk / "bridge.db") as outbox:
        with pytest.raises(OutboxError):
            await outbox.put([make_delivery()], NOW)
        with pytest.raises(OutboxError):
            await outbox.count(NOW, with_delivered=True)
        ballast.unlink()
        assert await outbox.put([make_delivery()], NOW) == [True]


async def test_write_that_hangs_fails_puts_at_their_deadline_and_stores_them_later(
    outbox: SQLiteOutbox, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await outbox.put([make_delivery("before")], NOW)
    goes_on = threading.Event()

    def prepare(file: sqlite3.Connection) -> None:
        file.create_function("stall", 0, lambda: goes_on.wait(60))
        file.execute(
            "CREATE TEMP TRIGGER stalls BEFORE INSERT ON main.deliveries BEGIN SELECT stall(); END"
        )

    await outbox._run(prepare)
    monkeypatch.setattr(bridge.outbox.sqlite.outbox, "REQUEST_PATIENCE", 0.1)
    deliveries = [make_delivery(str(i)) for i in range(3)]
    first = asyncio.ensure_future(outbox.put(deliveries[:1], NOW))
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # the others come while the thread hangs
    puts = [first, *(asyncio.ensure_future(outbox.put([each], NOW)) for each in deliveries[1:])]
    answers = await asyncio.gather(*puts, return_exceptions=True)
    assert [(type(each), str(each)) for each in answers] == 3 * [
        (
            OutboxBusyError,
            f"outbox {path}: its disk has not answered for 0.1 s; what waits for it is stored when"
            " it does",
        )
    ]
    goes_on.set()
    monkeypatch.undo()
    assert [await outbox.put([each], NOW) for each in deliveries] == [[False]] * 3
    assert sorted(await claim_ids(outbox)) == ["0", "1", "2", "before"]


@contextmanager
def hanging(path: Path) -> Iterator[None]:
    """Have whoever opens the file wait, as a disk that hangs would; for 45 seconds at most.

    A lease of Linux's needs no rights and no disk of its own: fcntl(2), F_SETLEASE.
    """
    with path.open("r+b") as file:
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)  # ignored; SIGIO would end the process
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        yield
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)


async def test_file_that_does_not_open_holds_no_put_for_long(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(path) as outbox:
        await outbox.put([make_delivery("before")], NOW)
    monkeypatch.setattr(bridge.outbox.sqlite.outbox, "REQUEST_PATIENCE", 0.3)
    async with opened(path) as outbox:
        with hanging(path):
            with pytest.raises(OutboxBusyError, match="its disk has not answered"):
                await outbox.put([make_delivery("1")], NOW)
            with pytest.raises(OutboxBusyError, match="its disk has not answered"):
                await outbox.probe()
        monkeypatch.undo()
        assert await outbox.put([make_delivery("1")], NOW) == [False]
        assert sorted(await claim_ids(outbox)) == ["1", "before"]


@pytest.fixture
def freezable_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk that can be made to hang, which only root can have.

    A container has none, in CI either: there the test above stands for those of this disk.
    """
    image, folder = tmp_path / "image", tmp_path / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(32 * 1024 * 1024)
    tools = [shutil.which(each) for each in ("mkfs.ext4", "fsfreeze")]
    made = (
        all(tools)
        and not subprocess.run(
            ["mkfs.ext4", "-q", "-F", str(image)], check=False, capture_output=True
        ).returncode
    )
    if not made or not run_mount("-o", "loop", str(image), str(folder)):
        pytest.skip("only root may mount a file, and a container may not")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@asynccontextmanager
async def frozen(folder: Path) -> AsyncIterator[None]:
    """Have each write to the disk at ``folder`` hang, for 20 seconds at most."""
    # Whatever becomes of this process, nobody is left with a disk that hangs.
    script = 'fsfreeze --freeze "$0" && echo frozen; read -t 20 line; fsfreeze --unfreeze "$0"'
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", script, str(folder),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout
    try:
        if not await process.stdout.readline():
            pytest.skip("this disk cannot be frozen")
        yield
    finally:
        await process.communicate(b"\n")


async def test_disk_that_hangs_holds_no_put_for_long(
    freezable_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(freezable_disk / "bridge.db") as outbox:
        await outbox.put([make_delivery("before")], NOW)
        monkeypatch.setattr(bridge.outbox.sqlite.outbox, "REQUEST_PATIENCE", 0.3)
        async with frozen(freezable_disk):
            with pytest.raises(OutboxBusyError, match="its disk has not answered"):
                await outbox.put([make_delivery("1")], NOW)
            with pytest.raises(OutboxBusyError, match="its disk has not answered"):
                await outbox.probe()
        monkeypatch.undo()
        assert await outbox.put([make_delivery("1")], NOW) == [False]
        assert sorted(await claim_ids(outbox)) == ["1", "before"]


async def test_read_only_disk_is_an_outbox_error(small_disk: Path) -> None:
    async with opened(small_disk / "bridge.db") as outbox:
        await outbox.put([make_delivery("1")], NOW)
        await outbox.close()
        assert run_mount("-o", "remount,ro", str(small_disk))
        with pytest.raises(OutboxError, match=r"; (may|does) .*write"):
            await outbox.put([make_delivery("2")], NOW)
        assert run_mount("-o", "remount,rw", str(small_disk))
        assert await outbox.put([make_delivery("2")], NOW) == [True]


async def test_connection_that_may_not_write_is_an_outbox_error_and_passes(
    outbox: SQLiteOutbox,
) -> None:
    await outbox._run(lambda file: file.execute("PRAGMA query_only = ON"))
    with pytest.raises(OutboxError, match="readonly database; may this process write the file"):
        await outbox.put([make_delivery()], NOW)
    assert await outbox.put([make_delivery()], NOW) == [True]


async def test_deleted_file_is_created_again_and_logged(
    outbox: SQLiteOutbox, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await outbox.put([make_delivery("gone")], NOW)
    delete(path)
    assert await outbox.put([make_delivery("kept")], NOW) == [True]
    [record] = [record for record in caplog.records if "deleted or replaced" in record.message]
    assert record.levelno == logging.ERROR
    async with opened(path) as other:
        assert await claim_ids(other) == ["kept"]
    assert (await outbox.count(NOW, with_delivered=True))["meta:1"].waiting == 1


@pytest.mark.parametrize("deleted", [["-wal"], ["-wal", "-shm"]])
async def test_deleted_wal_file_loses_nothing(
    path: Path, caplog: pytest.LogCaptureFixture, deleted: list[str]
) -> None:
    outbox = SQLiteOutbox(path)
    for number in range(300):
        await outbox.put([make_delivery(str(number))], NOW)
    await outbox.count(NOW)  # the reading thread is at work, too
    delete(*(Path(f"{path}{each}") for each in deleted))
    await outbox.put([make_delivery("after")], NOW)
    assert (await outbox.count(NOW))["meta:1"].waiting == 301
    # As a power cut leaves it.
    for each in ("", "-wal"):
        shutil.copy(f"{path}{each}", f"{path}.copy{each}")
    copied = SQLiteOutbox(f"{path}.copy")
    assert (await copied.count(NOW))["meta:1"].waiting == 301
    await copied.close()
    await outbox.close()
    again = SQLiteOutbox(path)
    assert (await again.count(NOW))["meta:1"].waiting == 301
    await again.close()
    assert "-wal file was deleted" in caplog.text


async def test_replaced_file_is_used_in_place_of_the_other(
    outbox: SQLiteOutbox, path: Path, tmp_path: Path
) -> None:
    await outbox.put([make_delivery("gone")], NOW)
    async with opened(tmp_path / "backup.db") as backup:
        await backup.put([make_delivery("restored")], NOW)
    move(tmp_path / "backup.db", path)
    await outbox.put([make_delivery("kept")], NOW)
    async with opened(path) as other:
        assert sorted(await claim_ids(other)) == ["kept", "restored"]


@pytest.fixture
def diary(path: Path) -> Path:
    path.write_bytes(b"a diary, no database" * 500)
    return path


async def test_file_of_something_else_is_an_outbox_error_until_it_is_moved(diary: Path) -> None:
    path = diary
    async with opened(path) as outbox:
        for call in (outbox.put([make_delivery()], NOW), outbox.count(NOW, with_delivered=True)):
            with pytest.raises(OutboxError, match="not a database; move the file away"):
                await call
        move(path, path.with_suffix(".txt"))
        assert await outbox.put([make_delivery()], NOW) == [True]


async def test_damaged_file_is_an_outbox_error_until_it_is_moved(path: Path) -> None:
    async with opened(path) as outbox:
        await outbox.put([make_delivery(str(i), body=b"x" * 900) for i in range(500)], NOW)
    damage(path)
    async with opened(path) as outbox:
        for call in (outbox.put([make_delivery()], NOW), outbox.count(NOW, with_delivered=True)):
            with pytest.raises(OutboxError, match="malformed; move it away"):
                await call
        move(path, path.with_suffix(".damaged"))
        assert await outbox.put([make_delivery()], NOW) == [True]


# Damage


def change(path: Path, statement: str, *, unchecked: bool = False) -> None:
    """Do ``statement`` to a file that nobody has open, perhaps against the rules of its tables."""
    sql = ""
    if unchecked:
        with connected(path) as connection:
            [sql] = connection.execute(
                "SELECT sql FROM sqlite_schema WHERE name = 'deliveries'"
            ).fetchone()
            loose = sql.replace("STRICT", "").replace("NOT NULL", "")
            rewrite_schema(connection, loose)
    with connected(path) as connection:
        connection.execute(statement)
        if unchecked:
            rewrite_schema(connection, sql)


def rewrite_schema(connection: sqlite3.Connection, sql: str) -> None:
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("UPDATE sqlite_schema SET sql = ? WHERE name = 'deliveries'", (sql,))
    connection.execute("PRAGMA writable_schema = RESET")


def count_lines(caplog: pytest.LogCaptureFixture, text: str) -> int:
    return sum(text in each for each in caplog.messages)


async def test_delivery_without_its_body_becomes_a_dead_letter(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await fill_file(path)
    change(path, "DELETE FROM bodies WHERE id IN (1, 200)")
    async with opened(path) as outbox:
        delivered = await deliver_all(outbox)
        assert sorted(delivered) == [f"order-{i:04}" for i in range(400) if i not in (0, 199)]
        assert await outbox.next_due("meta:1") is None
        dead = await outbox.list_dead()
        assert {(each.delivery.event_id, each.delivery.body) for each in dead} == {
            ("order-0000", b""),
            ("order-0199", b""),
        }
        assert {each.reason for each in dead} == {
            "damaged file: its body cannot be read: it is missing"
        }
        assert (await outbox.count(NOW))["meta:1"] == Counts(dead=2)
        assert count_lines(caplog, "is a dead letter: damaged file") == 2
        # Tracked again, it is sent; tried again as it is, it is dead again; dropped, it is gone.
        again = make_delivery("order-0000", body=b"again")
        assert await outbox.put([again], NOW) == [True]
        assert (
            await outbox.revive([dead[0].delivery.key], NOW)
            + await outbox.revive([dead[1].delivery.key], NOW)
            == 1
        )
        assert await deliver_all(outbox) == ["order-0000"]
        [left] = await outbox.list_dead()
        assert await outbox.drop([left.delivery.key]) == 1
        assert await outbox._run(lambda file: file.held) == 0


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        ("event_name", "CAST(x'ff41' AS TEXT)", "order-0007"),
        ("event_id", "CAST(x'ff41' AS TEXT)", "\N{REPLACEMENT CHARACTER}A"),
        ("event_id", "NULL", "unreadable"),
        ("expires", "x'00ff'", "order-0007"),
        ("subjects", "'text'", "order-0007"),
        ("from_browser", "NULL", "order-0007"),
    ],
)
async def test_garbled_row_becomes_a_dead_letter(
    path: Path, column: str, value: str, shown: str
) -> None:
    await fill_file(path, 20)
    change(path, f"UPDATE deliveries SET {column} = {value} WHERE id = 8", unchecked=True)
    async with opened(path) as outbox:
        delivered = await deliver_all(outbox)
        assert delivered == [f"order-{i:04}" for i in range(20) if i != 7]
        [dead] = await outbox.list_dead()
        assert dead.delivery.event_id == shown
        assert dead.reason == "damaged file: it cannot be read"
        assert await outbox.put([make_delivery("new")], NOW) == [True]
        assert await deliver_all(outbox) == ["new"]


async def test_page_of_bodies_that_is_gone_costs_only_its_own(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await fill_file(path)
    zero_page(path, 13, b"body-0200")
    async with opened(path) as outbox:
        delivered = await deliver_all(outbox)
        dead = await outbox.list_dead(limit=500)
        assert sorted([*delivered, *(each.delivery.event_id for each in dead)]) == [
            f"order-{i:04}" for i in range(400)
        ]
        assert 5 < len(dead) < 20
        assert {each.reason for each in dead} == {
            "damaged file: its body cannot be read: database disk image is malformed"
        }
        assert count_lines(caplog, "the file is damaged") == 1
        assert [each.text for each in await outbox.find_troubles()] == [
            "the outbox's file is damaged (database disk image is malformed)"
        ]
        again = make_delivery("order-0200", body=b"again")
        assert await outbox.put([again], NOW) == [True]
        assert await deliver_all(outbox) == ["order-0200"]
        assert await outbox.drop([each.delivery.key for each in dead]) == len(dead) - 1


async def test_page_of_rows_that_is_gone_is_told_and_left_where_it_is(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await fill_file(path)
    zero_page(path, 13, b"order-0200")
    async with opened(path) as outbox:
        delivered = set(await deliver_all(outbox))
        assert 300 < len(delivered) < 400
        assert await outbox.next_due("meta:1") is None
        assert await outbox.put([make_delivery("new")], NOW) == [True]
        assert await deliver_all(outbox) == ["new"]
        assert count_lines(caplog, "the file is damaged") == 1
        [trouble] = await outbox.find_troubles()
        left = 400 - len(delivered)
        assert trouble.text == (
            "the outbox's file is damaged (database disk image is malformed); events that cannot be"
            f" read: {left}"
        )
        assert ".recover" in trouble.remedy


async def test_index_with_a_page_that_is_gone_is_made_anew(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await fill_file(path)
    zero_page(path, 10, b"meta:1", without=b"order")
    async with opened(path) as outbox:
        assert sorted(await deliver_all(outbox)) == [f"order-{i:04}" for i in range(400)]
        assert await outbox.next_due("meta:1") is None
        assert await outbox.put([make_delivery("new")], NOW) == [True]
        assert await deliver_all(outbox) == ["new"]
        assert await outbox.find_troubles()
    assert count_lines(caplog, "the file is damaged") == 1


async def test_whole_file_that_is_put_in_its_place_has_no_damage(path: Path) -> None:
    await fill_file(path)
    zero_page(path, 13, b"order-0200")
    async with opened(path) as outbox:
        await deliver_all(outbox)
        assert await outbox.find_troubles()
        move(path, path.with_suffix(".damaged"))
        await outbox.put([make_delivery("new")], NOW)
        assert await deliver_all(outbox) == ["new"]
        assert await outbox.find_troubles() == []


@pytest.mark.parametrize("mark", [b"body-0200", b"order-0200"])
async def test_thorough_look_finds_damage_that_nobody_met(path: Path, mark: bytes) -> None:
    await fill_file(path)
    async with opened(path) as outbox:
        assert await outbox.find_troubles(thorough=True) == []
    zero_page(path, 13, mark)
    async with opened(path) as outbox:
        assert await outbox.find_troubles() == []
        assert len(await outbox.find_troubles(thorough=True)) == 1


async def test_thorough_look_finds_a_missing_body(path: Path) -> None:
    await fill_file(path)
    change(path, "DELETE FROM bodies WHERE id = 3")
    async with opened(path) as outbox:
        [trouble] = await outbox.find_troubles(thorough=True)
        assert trouble.text == "the outbox's file is damaged (1 bodies are missing)"


async def test_wal_stays_small_under_a_constant_load(
    outbox: SQLiteOutbox, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.outbox.sqlite.checkpoint, "PAGES", 500)
    monkeypatch.setattr(bridge.outbox.sqlite.checkpoint, "LONG_WAL", 1000)
    wal = path.with_name("bridge.db-wal")
    sizes = []
    for i in range(300):
        await outbox.put([make_delivery(f"{i}/{j}", body=b"x" * 1000) for j in range(100)], NOW)
        sizes.append(measure(wal))
    assert measure(path) > 24_000_000
    assert max(sizes) < 18_000_000


async def test_wal_that_readers_let_grow_is_cut_back(
    outbox: SQLiteOutbox, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.outbox.sqlite.file, "MAX_WAL", 1_000_000)
    monkeypatch.setattr(bridge.outbox.sqlite.file, "CUT_WAL", 0.0)
    monkeypatch.setattr(bridge.outbox.sqlite.file, "LOCK_SLICE", 0.01)
    wal = path.with_name("bridge.db-wal")
    await outbox.put([make_delivery("0")], NOW)
    with connected(path) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM deliveries").fetchone()
        await outbox.put([make_delivery("1", body=b"x" * 2_000_000)], NOW)
        await outbox.put([make_delivery("2")], NOW)
        assert measure(wal) > 2_000_000
    await outbox.put([make_delivery("3")], NOW)
    await outbox.next_due("meta:1")  # the thread cuts after it has answered
    assert measure(wal) < 1_000_000
    assert (await outbox.count(NOW, with_delivered=True))["meta:1"].waiting == 4


async def test_long_reader_is_told_until_it_ends(
    outbox: SQLiteOutbox, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.outbox.sqlite.file, "MAX_WAL", 1_000_000)
    monkeypatch.setattr(bridge.outbox.sqlite.file, "LARGE_WAL", 2_000_000)
    monkeypatch.setattr(bridge.outbox.sqlite.file, "CUT_WAL", 0.0)
    monkeypatch.setattr(bridge.outbox.sqlite.file, "LOCK_SLICE", 0.01)
    await outbox.put([make_delivery("0")], NOW)
    with connected(path) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM deliveries").fetchone()
        assert await outbox.find_troubles() == []
        for i in range(1, 4):
            await outbox.put([make_delivery(str(i), body=b"x" * 1_000_000)], NOW)
        async with opened(path) as other:  # whoever asks
            [trouble] = await other.find_troubles()
        assert trouble.text == (
            "the outbox's -wal file has 3 MB and grows, since somebody reads the file for long, in"
            " one transaction"
        )
        assert "fuser" in trouble.remedy
    await outbox.put([make_delivery("after")], NOW)
    await outbox.next_due("meta:1")  # the thread cuts after it has answered
    assert await outbox.find_troubles() == []


async def test_wal_of_a_burst_is_cut_back(outbox: SQLiteOutbox) -> None:
    [limit] = await outbox._run(lambda file: file.execute("PRAGMA journal_size_limit").fetchone())
    assert limit == 64 * 1024 * 1024


async def test_memory_is_one_outbox_too() -> None:
    async with opened(Path(":memory:")) as outbox:
        await outbox.put([make_delivery()], NOW)
        assert await outbox.count(NOW, with_delivered=True) == {
            "meta:1": Counts(waiting=1, oldest=NOW)
        }


# Capacity, shared by processes


async def test_capacity_counts_what_another_process_put(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.outbox.sqlite.file, "RECOUNT", 0.0)
    async with opened(path, capacity=3) as here, opened(path, capacity=3) as there:
        await here.put([make_delivery("1")], NOW)
        await there.put([make_delivery("2"), make_delivery("3")], NOW)
        with pytest.raises(OutboxFullError, match="3 of 3"):
            await here.put([make_delivery("4")], NOW)
        await there.ack(await there.claim("meta:1", 9, now=NOW, lease=LEASE), NOW)
        assert await here.put([make_delivery("4")], NOW) == [True]


async def test_capacity_is_not_counted_again_for_our_own_changes(
    outbox: SQLiteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.outbox.sqlite.file, "RECOUNT", 0.0)
    statements: list[str] = []
    await outbox.put([make_delivery("0")], NOW)
    await outbox._run(lambda file: file.set_trace_callback(statements.append))
    for i in range(1, 20):
        await outbox.put([make_delivery(str(i))], NOW)
    assert not [each for each in statements if "count(*)" in each]
    assert await outbox._run(lambda file: file.held) == 20


async def test_put_without_room_costs_the_others_no_commit_of_their_own(path: Path) -> None:
    statements: list[str] = []
    async with opened(path, capacity=1) as outbox:
        await outbox.put([make_delivery("1")], NOW)
        held = threading.Event()
        first = outbox._run(lambda file: held.wait(5))
        traced = outbox._run(lambda file: file.set_trace_callback(statements.append))
        puts = (outbox.put([make_delivery(str(i))], NOW) for i in (1, 2, 1))
        everything = asyncio.gather(first, traced, *puts, return_exceptions=True)
        await asyncio.sleep(0)  # all of them are in the queue
        held.set()
        [*_, known, full, again] = await everything
    assert (known, type(full), again) == ([False], OutboxFullError, [False])
    assert statements.count("COMMIT") == 1


async def test_failed_transaction_leaves_the_held_count_true(outbox: SQLiteOutbox) -> None:
    await outbox.put([make_delivery("1")], NOW)
    with pytest.raises(OutboxError):
        await outbox.put([make_delivery("2"), make_delivery("bad", due="soon")], NOW)
    assert await outbox._run(lambda file: file.held) == 1


# The tables


def read_bodies(path: Path) -> list[bytes]:
    with connected(path) as connection:
        return [row[0] for row in connection.execute("SELECT body FROM bodies ORDER BY id")]


async def test_body_is_kept_until_its_delivery_is_settled_for_good(path: Path) -> None:
    async with opened(path) as outbox:
        await outbox.put([make_delivery(str(i), body=b"%d" % i) for i in range(4)], NOW)
        claimed = await outbox.claim("meta:1", 3, now=NOW, lease=LEASE)
        await outbox.bury(claimed[1:], "refused", NOW)
        await outbox.ack(claimed[:2], NOW)  # too late for the second, which is dead
        assert read_bodies(path) == [b"1", b"2", b"3"]
        await outbox.put([make_delivery("2", body=b"again")], NOW)
        await outbox.drop([claimed[1].key, claimed[2].key])
        assert read_bodies(path) == [b"again", b"3"]


async def test_many_processes_may_open_a_new_file_at_once(path: Path) -> None:
    boxes = [SQLiteOutbox(path) for _ in range(8)]
    puts = (box.put([make_delivery(str(i))], NOW) for i, box in enumerate(boxes))
    assert await asyncio.gather(*puts) == [[True]] * 8
    assert (await boxes[0].count(NOW, with_delivered=True))["meta:1"].waiting == 8
    for box in boxes:
        await box.close()


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("PRAGMA user_version = 7", f"expected schema version {SCHEMA_VERSION}, got 7: another"),
        ("PRAGMA user_version = 2", f"expected schema version {SCHEMA_VERSION}, got 2: another"),
        ("CREATE TABLE deliveries (id, address)", "'deliveries' was not created by this outbox"),
        ("CREATE TABLE bodies (id, name)", "'bodies' was not created by this outbox"),
    ],
    ids=["newer", "older", "another application's", "its other table"],
)
async def test_foreign_file_is_refused_and_left_alone(
    path: Path, script: str, message: str
) -> None:
    with connected(path) as connection:
        connection.execute(script)
        before = list(connection.iterdump())
    async with opened(path) as outbox:
        with pytest.raises(OutboxError, match=message):
            await outbox.put([make_delivery()], NOW)
    with connected(path) as connection:
        assert list(connection.iterdump()) == before


# What a statement may read


@pytest.mark.parametrize(
    ("statement", "plan"),
    [
        (
            rows.COUNT_WITH_DELIVERED,
            "CO-ROUTINE (subquery-3); COMPOUND QUERY"
            "; LEFT-MOST SUBQUERY; SCAN deliveries USING COVERING INDEX deliveries_due"
            "; UNION ALL; SCAN deliveries USING COVERING INDEX deliveries_dead"
            "; USE TEMP B-TREE FOR GROUP BY"
            "; UNION ALL; SEARCH deliveries USING COVERING INDEX deliveries_delivered"
            " (has_given_id=? AND settled_at>?); USE TEMP B-TREE FOR GROUP BY"
            "; SCAN (subquery-3); USE TEMP B-TREE FOR GROUP BY",
        ),
        (
            rows.CLAIM,
            "SEARCH deliveries USING INDEX deliveries_due (destination=? AND due<?)"
            "; SEARCH bodies USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN",
        ),
        (
            f"{rows.ACK} {rows.BY_PLACE}",
            "SEARCH deliveries USING INTEGER PRIMARY KEY (rowid=?)",
        ),
        (
            f"{rows.RETRY} {rows.BY_KEY}",
            "SEARCH deliveries USING INDEX sqlite_autoindex_deliveries_1"
            " (event_id=? AND event_name=? AND destination=? AND from_browser=?)",
        ),
        (
            rows.HAS,
            "SCAN CONSTANT ROW; SCALAR SUBQUERY 2; SEARCH deliveries USING INDEX"
            " sqlite_autoindex_deliveries_1 (event_id=? AND event_name=?)"
            "; LIST SUBQUERY 1; SCAN json_each VIRTUAL TABLE INDEX 1:",
        ),
        (
            rows.NEXT_DUE,
            "SEARCH deliveries USING COVERING INDEX deliveries_due (destination=? AND due>?)",
        ),
        (
            rows.LIST_DEAD,
            "SCAN deliveries USING INDEX deliveries_dead"
            "; SEARCH bodies USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN",
        ),
        (
            rows.OF_BROWSER,
            "SEARCH deliveries USING INDEX deliveries_subjects (subjects>? AND subjects<?)",
        ),
        (
            rows.OF_PERSON,
            "SEARCH deliveries USING INDEX deliveries_subjects (subjects=?)",
        ),
        (
            rows.FIND_SUBJECTS.format("instr(subjects, ?)"),
            "SEARCH deliveries USING COVERING INDEX deliveries_subjects (subjects>?)",
        ),
        (
            rows.OLD,
            "SEARCH deliveries USING COVERING INDEX deliveries_dead (settled_at<?)",
        ),
        (
            rows.DROP_BODY_BY_PLACE,
            "SEARCH bodies USING INTEGER PRIMARY KEY (rowid=?)"
            "; SCALAR SUBQUERY 1; SEARCH deliveries USING INTEGER PRIMARY KEY (rowid=?)",
        ),
    ],
)
def test_statement_reads_an_index_and_sorts_nothing(
    tmp_path: Path, statement: str, plan: str
) -> None:
    with closing(open_file(str(tmp_path / "bridge.db"))) as file:
        names = re.findall(r":(\w+)", statement)
        values: Any = dict.fromkeys(names, 1) if names else [1] * statement.count("?")
        steps = file.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
        shown = [step[3] for step in steps if step[3] != "CREATE BLOOM FILTER"]  # newer SQLite
        assert "; ".join(shown) == plan


def test_plan_of_the_held_count_reads_indexes_alone(tmp_path: Path) -> None:
    with closing(open_file(str(tmp_path / "bridge.db"))) as file:
        query = bridge.outbox.sqlite.file._COUNT_HELD
        plan = [row[3] for row in file.execute(f"EXPLAIN QUERY PLAN {query}")]
    assert [step for step in plan if step.startswith("SCAN deliveries")] == [
        "SCAN deliveries USING COVERING INDEX deliveries_due",
        "SCAN deliveries USING COVERING INDEX deliveries_dead",
    ]


def test_rest_of_microseconds_ends() -> None:
    jobs = FileThread("never-made.db", "IMMEDIATE", lambda: None)._jobs
    gone: list[int] = []

    def wait_shortly() -> None:
        for i in range(20_000):
            jobs.put(None)
            jobs.get()
            with suppress(queue.Empty):
                jobs.get(timeout=1e-9 * (1 + i % 2000))
        gone.append(1)

    thread = threading.Thread(target=wait_shortly, daemon=True)
    thread.start()
    thread.join(DEADLINE)
    assert gone
