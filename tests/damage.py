"""An outbox's file whose pages are gone, as a broken disk leaves it."""

from __future__ import annotations

from pathlib import Path

from bridge.outbox import SQLiteOutbox
from tests.factories import NOW, make_delivery


def zero_page(path: Path, kind: int, mark: bytes, without: bytes = b"no such") -> None:
    """Overwrite the page with ``mark`` on it: ``kind`` 13 is of a table, 10 of an index."""
    content = path.read_bytes()
    for at in range(4096, len(content), 4096):
        page = content[at : at + 4096]
        if page[0] == kind and mark in page and without not in page:
            with path.open("r+b") as file:
                file.seek(at)
                file.write(bytes(4096))
            return
    raise AssertionError(f"no page has {mark!r}")


async def fill_file(path: Path, count: int = 400) -> None:
    """Store deliveries named ``order-0000`` and so on, with bodies that begin ``body-0000``."""
    outbox = SQLiteOutbox(path)
    deliveries = [
        make_delivery(f"order-{i:04}", body=b"body-%04d" % i + bytes(300), due=NOW - 1000 + i)
        for i in range(count)
    ]
    await outbox.put(deliveries, NOW)
    await outbox.close()


async def deliver_all(outbox: SQLiteOutbox) -> list[str]:
    """Claim and ack until nothing more is due; the ids."""
    delivered: list[str] = []
    while claimed := await outbox.claim("meta:1", 150, now=NOW, lease=60.0):
        await outbox.ack(claimed, NOW)
        delivered += [each.event_id for each in claimed]
    return delivered
