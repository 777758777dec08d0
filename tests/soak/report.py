"""What a soak prints as it goes, and what counts as flat."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

# The largest ratio that counts as flat.
FLAT = {"memory": 1.25, "descriptors": 1.25, "latency": 2.0, "tail": 3.0, "claim": 2.0}


def say(text: str, end: str = "\n") -> None:
    """Print, at once also into a pipe."""
    sys.stdout.write(text + end)
    sys.stdout.flush()


def judge(ratios: Iterable[tuple[str, str, float]]) -> bool:
    """Print whether each ratio, of a kind and with a name, is flat; return whether all are."""
    is_flat = True
    for kind, what, ratio in ratios:
        limit = FLAT[kind]
        is_flat &= ratio <= limit
        word = "flat" if ratio <= limit else "NOT FLAT"
        say(f"{word}: {what}: {ratio:.2f} (at most {limit:g})")
    return is_flat


def pick(times: Sequence[float], share: float) -> float:
    """Return the quantile of sorted ``times``; 0 if there are none."""
    return times[min(len(times) - 1, int(share * len(times)))] if times else 0.0
