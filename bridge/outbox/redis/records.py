"""Deliveries as the Redis outbox stores them: under a digest of the key, as a record.

A record is 8 bytes of the put's token, 8 bytes of when it was stored (big-endian double), and
MessagePack: destination, event name, event id, expires, body.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import msgspec

from bridge.outbox.base import Circuit, Counts, DeadLetter, Delivery, Key, digest_texts

TOKEN_BYTES = 8
_DIGEST_BYTES = 16  # half the memory of a full key
_HEAD = struct.Struct(f">{TOKEN_BYTES}sd")
_BODY = msgspec.msgpack.Decoder(tuple[str, str, str, float, bytes])


class UnreadableRecordError(ValueError):
    """A record that cannot be decoded, or that belongs to another digest."""


def build_digest(key: Key) -> bytes:
    """Return the 16 bytes that stand for ``key`` in sets and hashes."""
    return digest_texts(key, _DIGEST_BYTES)


def build_event_digest(event_id: str) -> bytes:
    """Return the 16 bytes with which the dead letters of one event begin in ``dead_ids``."""
    return digest_texts([event_id], _DIGEST_BYTES)


def build_record(delivery: Delivery, token: bytes, stored_at: float) -> bytes:
    """Return ``delivery`` as bytes, without due and attempts, which change and are stored apart."""
    body = (*delivery.key, float(delivery.expires), delivery.body)
    return _HEAD.pack(token, stored_at) + msgspec.msgpack.encode(body)


def parse_record(digest: bytes, record: bytes, *, due: float, attempts: int) -> Delivery:
    """Return the delivery in ``record``.

    Raises:
        UnreadableRecordError: It cannot be decoded, or its key does not match ``digest``.
    """
    try:
        destination, event_name, event_id, expires, body = _BODY.decode(record[_HEAD.size :])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreadableRecordError(str(error)) from error
    delivery = Delivery(
        destination=destination,
        event_name=event_name,
        event_id=event_id,
        body=body,
        due=due,
        expires=expires,
        attempts=attempts,
    )
    if build_digest(delivery.key) != digest:
        raise UnreadableRecordError("the record belongs to another digest")
    return delivery


def parse_first_score(found: Sequence[bytes]) -> float | None:
    """Return the time in the answer of ZRANGE for one member; ``None`` if there is none."""
    return float(found[1]) if found else None


def parse_counts(row: Sequence[Any]) -> tuple[Counts, int]:
    """Return the counts, and how many delivered keys are old enough to be forgotten."""
    waiting, held, delivered, dead, forgettable, oldest = row
    counts = Counts(
        waiting=waiting,
        held=held,
        delivered=delivered,
        dead=dead,
        oldest=parse_first_score(oldest),
    )
    return counts, forgettable


def parse_dead_letter(
    digest: bytes,
    record: bytes | None,
    attempts: bytes | None,
    reason: bytes | None,
    buried_at: bytes | None,
) -> DeadLetter:
    """Return the dead letter of a row of ``dead_letters`` in the scripts.

    Raises:
        ValueError: It cannot be read.
    """
    at = float(buried_at or b"0")
    delivery = parse_record(digest, record or b"", due=at, attempts=int(attempts or b"0"))
    return DeadLetter(
        delivery=delivery, reason=(reason or b"").decode(errors="replace"), buried_at=at
    )


def parse_circuit(text: bytes) -> Circuit:
    """Return the circuit in ``text``, JSON.

    Raises:
        UnreadableRecordError: It cannot be decoded.
    """
    try:
        return msgspec.json.decode(text, type=Circuit)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreadableRecordError(str(error)) from error
