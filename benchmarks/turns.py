"""Turns: what is compared is measured in short slices, one after the other.

Other load on the machine then affects all of them alike, and a slice is compared with the others of
its own turn.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from typing import TypeVar

Measured = TypeVar("Measured")


def take_turns(
    slices: Mapping[str, Callable[[], Measured]], rounds: int, *, warm_up: int = 1
) -> dict[str, list[Measured]]:
    """Return what each of ``slices`` measured in each round, without the first ``warm_up``."""
    names = list(slices)
    measured: dict[str, list[Measured]] = {name: [] for name in names}
    for turn in range(warm_up + rounds):
        for n in range(len(names)):
            name = names[(turn + n) % len(names)]
            gc.collect()
            result = slices[name]()
            if turn >= warm_up:
                measured[name].append(result)
    return measured
