"""Deliveries as the Redis outbox stores them: under a digest of the key, as a record.

A record is 8 bytes of the put's token, 8 bytes of when it was stored (big-endian double), and
MessagePack: destination, event name, event id, expires, body.
"""

from __future__ import annotations

import struct

import msgspec

from bridge.outbox.base import Delivery, Key, digest_texts

TOKEN_BYTES = 8
_DIGEST_BYTES = 16  # half the memory of a full key
_HEAD = struct.Struct(f">{TOKEN_BYTES}sd")
_BODY = msgspec.msgpack.Decoder(tuple[str, str, str, float, bytes])


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
        ValueError: It cannot be decoded, or its key does not match ``digest``.
    """
    try:
        destination, event_name, event_id, expires, body = _BODY.decode(record[_HEAD.size :])
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from error
    delivery = Delivery(destination, event_name, event_id, body, due, expires, attempts)
    if build_digest(delivery.key) != digest:
        raise ValueError("the record belongs to another digest")
    return delivery
