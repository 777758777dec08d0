"""How often the tripwire is wrong: ``python -m tests.events.rates`` prints both rates.

The figures stand in ``docs/privacy.md``; ``test_rates.py`` holds a sample to them.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from bridge.events.tripwire import Tripwire
from tests.events.payloads import Personal, make_ordinary, make_personal

ORDINARY = 9_000


def find_false_alarms(payloads: Iterable[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the ordinary payloads that lost something, each with what it lost."""
    tripwire = Tripwire()
    for payload in payloads:
        if found := tripwire.clean(copy.deepcopy(payload)):
            yield ", ".join(f"{path} ({kind})" for path, kind in found), payload


def find_misses(payloads: Iterable[Personal]) -> Iterator[Personal]:
    """Yield the personal payloads of which somebody's data is left."""
    tripwire = Tripwire()
    for personal in payloads:
        cleaned = copy.deepcopy(personal.payload)
        tripwire.clean(cleaned)
        if json.dumps(personal.piece, ensure_ascii=False)[1:-1] in json.dumps(
            cleaned, ensure_ascii=False
        ):
            yield personal


def main() -> None:
    ordinary, personal = [*make_ordinary(ORDINARY)], [*make_personal()]
    alarms, misses = [*find_false_alarms(ordinary)], [*find_misses(personal)]
    lines = []
    if "-v" in sys.argv:
        lines += [f"false alarm: {lost}" for lost, _ in alarms]
        lines += [f"missed: {missed.shape} {missed.payload}" for missed in misses]
    for words, wrong, all_ in (("false alarms", alarms, ordinary), ("missed", misses, personal)):
        lines.append(
            f"{words}: {len(wrong)} of {len(all_):,} payloads, {len(wrong) / len(all_):.2%}"
        )
    sys.stdout.write("\n".join([*lines, ""]))


if __name__ == "__main__":
    main()
