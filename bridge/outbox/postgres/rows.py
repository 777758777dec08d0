"""Deliveries as PostgreSQL's rows, and rows as deliveries, dead letters and counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bridge.outbox.base import REMEMBERED_SECONDS, Circuit, Counts, DeadLetter, Delivery
from bridge.outbox.postgres.sql import digest_key

Values = Mapping[str, Any]
Row = Sequence[Any]


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


def build_circuit(circuit: Circuit) -> Values:
    """Return ``circuit`` as the parameters of ``SAVE_CIRCUIT``."""
    return {
        "destination": circuit.destination,
        "state": circuit.state,
        "reason": clean_text(circuit.reason),
        "since": float(circuit.since),
        "until": float(circuit.until),
    }


def clean_text(text: str) -> str:
    """Return ``text`` without what PostgreSQL cannot store; a destination may send anything."""
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()


def read_delivery(row: Row) -> Delivery:
    """Return the delivery of a row of ``CLAIM``."""
    destination, event_name, event_id, body, due, expires, attempts = row
    return Delivery(
        destination=destination,
        event_name=event_name,
        event_id=event_id,
        body=body,
        due=due,
        expires=expires,
        attempts=attempts,
    )


def read_dead(row: Row) -> DeadLetter:
    """Return the dead letter of a row of ``LIST_DEAD``."""
    return DeadLetter(delivery=read_delivery(row[:7]), reason=row[7], buried_at=row[8])


def read_counts(rows: Iterable[Row]) -> dict[str, Counts]:
    """Return the rows of ``COUNT`` added up by destination."""
    sums: dict[str, Counts] = {}
    for destination, waiting, held, delivered, dead, oldest in rows:
        known = sums.get(destination, Counts())
        sums[destination] = Counts(
            waiting=known.waiting + waiting,
            held=known.held + held,
            delivered=known.delivered + delivered,
            dead=known.dead + dead,
            oldest=known.oldest if oldest is None else oldest,
        )
    return sums
