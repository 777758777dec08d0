"""Our values beside those of Meta's own tools: ``python -m tests.events.differential [count]``.

Needs ``facebook_business`` and ``capi_param_builder_python`` (``benchmarks/requirements.txt``).
Random values are normalised by both, and each difference must be one of those that
``docs/values.md`` lists. Prints how often each came up, and fails if one is not listed.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from importlib import import_module

from bridge.events.user_data import read_user_data
from tests.events.values import DIFFERENCES, KEYS, explain_difference, hash_as_sdk, make_value
from tests.factories import NAVIGATION, make_bridge, make_scope, make_visitor


def hash_by_sdk(key: str, text: str) -> str | None:
    """The digest that Meta's Python SDK sends; ``None`` if it raises or sends nothing."""
    sdk = import_module("facebook_business.adobjects.serverside.normalize")
    try:
        digest: str | None = sdk.Normalize.normalize_field(key, text)
    except (TypeError, ValueError):
        return None
    return digest


def hash_by_us(key: str, text: str) -> list[str]:
    found = read_user_data({key: text}, on_dropped=lambda *told: None).get(key, [])
    return list(found)


def compare_user_data(count: int, chance: random.Random) -> Counter[str]:
    """Return how often each difference came up in ``count`` values of each key."""
    found: Counter[str] = Counter()
    for key in KEYS:
        for _ in range(count):
            text = make_value(key, chance)
            theirs, ours = hash_by_sdk(key, text), hash_by_us(key, text)
            if theirs != hash_as_sdk(key, text):
                raise SystemExit(f"hash_as_sdk is not the SDK: {key} {text!a}")
            if theirs in ours or (theirs is None and not ours):
                found["the same"] += 1
                continue
            reason = explain_difference(key, text, theirs, ours)
            if reason is None:
                raise SystemExit(f"not listed: {key} {text!a}: theirs {theirs}, ours {ours}")
            found[reason] += 1
    return found


def compare_browser_ids(count: int, chance: random.Random) -> Counter[str]:
    """Return how often our reading of ``_fbc`` and ``_fbp`` is the parameter builder's."""
    builders = import_module("capi_param_builder")
    found: Counter[str] = Counter()
    bridge = make_bridge("sqlite:///differential.db", run_sender=False)
    for _ in range(count):
        click = "".join(chance.choices("abcXYZ019_-", k=chance.randint(4, 60)))
        landed = "".join(chance.choices("abcXYZ019_-", k=20)) if chance.random() < 0.5 else ""
        cookies = {
            "_fbp": f"fb.1.{chance.randint(10**12, 17 * 10**11)}.{chance.randint(1, 2**31)}",
            "_fbc": f"fb.1.{int(time.time() * 1000) - chance.randint(1, 10**9)}.{click}",
        }
        builder = builders.ParamBuilder(["example.com"])
        queries = {"fbclid": [landed]} if landed else {}
        builder.process_request("shop.example.com", queries, cookies, None)
        header = "; ".join(f"{name}={value}" for name, value in cookies.items())
        query = f"fbclid={landed}".encode() if landed else b""
        headers = {**NAVIGATION, "cookie": header}
        ours = make_visitor(bridge, make_scope("/", query=query, headers=headers)).user_data
        theirs = builder.get_fbp(), builder.get_fbc()
        for mine, other in zip((ours.fbp, ours.fbc), theirs, strict=True):
            if _read_parts(mine) != _read_parts(other):
                raise SystemExit(f"{cookies} {landed}: theirs {theirs}, ours {mine}")
        found["the same"] += 1
    return found


def _read_parts(value: str | None) -> list[str] | None:
    """Version and payload: the time of a new one is now, and the last is the builder's mark."""
    return None if value is None else [*value.split(".")[:2], value.split(".")[3]]


def main(arguments: list[str]) -> None:
    count = int(arguments[0]) if arguments else 20_000
    chance = random.Random(15)
    found = compare_user_data(count, chance)
    print(f"{count:,} values for each of {', '.join(KEYS)}")  # noqa: T201
    for reason, times in found.most_common():
        print(f"{times:>9,}  {reason}: {DIFFERENCES.get(reason, '')}")  # noqa: T201
    ids = compare_browser_ids(min(count, 20_000), chance)
    print(f"{ids['the same']:>9,}  pairs of _fbp and _fbc read alike")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
