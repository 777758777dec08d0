from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple


class Found(NamedTuple):
    path: str
    kind: str


class Tripwire:
    def __init__(self, allow: str | Iterable[str] = ()) -> None: ...
    def clean(self, properties: dict[str, Any]) -> list[Found]:
        out = [Found(k, "key") for k in properties if k in ("email", "phone")]
        for f in out:
            del properties[f.path]
        return out
