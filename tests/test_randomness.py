from __future__ import annotations

import os
import threading
import uuid

from bridge import randomness
from bridge.randomness import DRAWS, SIZE, draw, new_uuid


def test_draws_are_long_and_never_the_same() -> None:
    drawn = [draw() for _ in range(5 * DRAWS)]
    assert {len(each) for each in drawn} == {SIZE}
    assert len(set(drawn)) == len(drawn)


def test_uuid_is_a_random_one() -> None:
    for _ in range(100):
        text = new_uuid()
        parsed = uuid.UUID(text)
        assert (str(parsed), parsed.version, parsed.variant) == (text, 4, uuid.RFC_4122)


def test_threads_draw_nothing_twice() -> None:
    drawn: list[bytes] = []
    start = threading.Barrier(8)

    def work() -> None:
        start.wait()
        drawn.extend([draw() for _ in range(20 * DRAWS)])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(drawn) == len(set(drawn)) == 8 * 20 * DRAWS


def test_child_process_draws_nothing_that_its_parent_draws() -> None:
    draw()
    assert randomness._drawn_ahead  # something to inherit
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, b"".join(draw() for _ in range(DRAWS)))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as told:
        content = told.read()
    os.waitpid(child, 0)
    theirs = {content[at : at + SIZE] for at in range(0, len(content), SIZE)}
    assert len(theirs) == DRAWS
    assert theirs.isdisjoint({draw() for _ in range(2 * DRAWS)})
