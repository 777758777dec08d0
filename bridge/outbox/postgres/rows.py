"""Deliveries as the parameters of PostgreSQL's statements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bridge.outbox.base import REMEMBERED_SECONDS, Delivery, Key, digest_texts

Values = Mapping[str, Any]
Row = Sequence[Any]


def digest_key(key: Key) -> bytes:
    """Return the 32 bytes that stand for ``key``."""
    return digest_texts(key, 32)


def build_columns(stored: Mapping[bytes, tuple[Delivery, float]]) -> Values:
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
        "remembered": float(REMEMBERED_SECONDS),
    }


def build_keys(deliveries: Iterable[Delivery]) -> list[bytes]:
    """Return the digests of their keys, each once and sorted.

    All statements lock rows in the same order, so that no two wait for each other.
    """
    return sorted({digest_key(each.key) for each in deliveries})


def clean_text(text: str) -> str:
    """Return ``text`` without what PostgreSQL cannot store; a destination may send anything."""
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()
