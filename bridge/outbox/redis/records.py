"""Deliveries as the Redis outbox stores them: under a digest of the key, as a record.

A record is 8 bytes of the put's token, 8 bytes of when it was stored (big-endian double), a byte
with two flags, a byte with the length of the subjects, the subjects, and MessagePack: destination,
event name, event id, expires, body. Scripts read what stands before the MessagePack.
"""

from __future__ import annotations

import struct

import msgspec

from bridge.outbox.base import Delivery, Key, digest_key, digest_texts

TOKEN_BYTES = 8
# With its length and a final zero it takes 16 bytes, which allocators give without waste. Of a
# billion keys, two are the same with a chance of 1 to 10^16.
DIGEST_BYTES = 14
_HEAD = struct.Struct(f">{TOKEN_BYTES}sdBB")
_FROM_BROWSER, _HAS_GIVEN_ID = 1, 2
_BODY = msgspec.msgpack.Decoder(tuple[str, str, str, float, bytes])


def build_digest(key: Key) -> bytes:
    """Return the 14 bytes that stand for ``key`` in sets and hashes."""
    return digest_key(Key(*key), DIGEST_BYTES)


def build_own_digest(key: Key) -> bytes:
    """Return the digest of the server's own event, if a browser reported this one; else empty."""
    return build_digest(key._replace(from_browser=False)) if key.from_browser else b""


def build_event_digest(event_id: str) -> bytes:
    """Return the 14 bytes with which the dead letters of one event begin in ``dead_ids``."""
    return digest_texts([event_id], DIGEST_BYTES)


def build_record(delivery: Delivery, token: bytes, stored_at: float) -> bytes:
    """Return ``delivery`` as bytes, without due and attempts, which change and are stored apart."""
    body = (*delivery.key[:3], float(delivery.expires), delivery.body)
    flags = _FROM_BROWSER * delivery.from_browser + _HAS_GIVEN_ID * delivery.has_given_id
    subjects = delivery.subjects
    head = _HEAD.pack(token, stored_at, flags, len(subjects))
    return head + subjects + msgspec.msgpack.encode(body)


def parse_record(digest: bytes, record: bytes, *, due: float, attempts: int) -> Delivery:
    """Return the delivery in ``record``.

    Raises:
        ValueError: It cannot be decoded, or its key does not match ``digest``.
    """
    try:
        _, _, flags, length = _HEAD.unpack_from(record)
        end = _HEAD.size + length
        destination, event_name, event_id, expires, body = _BODY.decode(record[end:])
    except (msgspec.DecodeError, struct.error) as error:
        raise ValueError(str(error)) from error
    delivery = Delivery(
        destination,
        event_name,
        event_id,
        body,
        due,
        expires,
        attempts,
        from_browser=bool(flags & _FROM_BROWSER),
        has_given_id=bool(flags & _HAS_GIVEN_ID),
        subjects=record[_HEAD.size : end],
    )
    if build_digest(delivery.key) != digest:
        raise ValueError("the record belongs to another digest")
    return delivery
