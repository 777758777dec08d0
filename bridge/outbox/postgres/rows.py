"""Deliveries as the parameters of PostgreSQL's statements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bridge.outbox.base import (
    Delivery,
    Key,
    Memory,
)
from bridge.outbox.base import digest_key as digest_to

Values = Mapping[str, Any]
Row = Sequence[Any]


def digest_key(key: Key) -> bytes:
    """Return the 32 bytes that stand for ``key``."""
    return digest_to(Key(*key), 32)


def digest_own(key: Key) -> bytes | None:
    """Return the 32 bytes of the server's own key of an event that a browser reported."""
    return digest_key(key._replace(from_browser=False)) if key.from_browser else None


def build_columns(stored: Mapping[bytes, tuple[Delivery, float]], memory: Memory) -> Values:
    """Return deliveries and the times of their puts, by digest, as the arrays of ``PUT``."""
    keys = sorted(stored)
    rows = [stored[key][0] for key in keys]
    return {
        "keys": keys,
        "destinations": [each.destination for each in rows],
        "names": [each.event_name for each in rows],
        "ids": [each.event_id for each in rows],
        "bodies": [each.body for each in rows],
        "dues": [float(each.due) for each in rows],
        "expires": [float(each.expires) for each in rows],
        "nows": [float(stored[key][1]) for key in keys],
        "given": [each.has_given_id for each in rows],
        "subjects": [each.subjects or None for each in rows],
        "own_keys": [digest_own(each.key) for each in rows],
        **name_memory(memory),
    }


def name_memory(memory: Memory) -> Values:
    """Return for how many seconds a delivered key is remembered, as named parameters."""
    return {"remembered": float(memory.random), "lasting": float(memory.given)}


def build_keys(deliveries: Iterable[Delivery]) -> list[bytes]:
    """Return the digests of their keys, each once and sorted.

    All statements lock rows in the same order, so that no two wait for each other.
    """
    return sorted({digest_key(each.key) for each in deliveries})


def clean_text(text: str) -> str:
    """Return ``text`` without what PostgreSQL cannot store; a destination may send anything."""
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()
