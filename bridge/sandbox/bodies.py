"""Request bodies: compressed ones, and forms, which are read with the standard library alone.

Starlette's reader of forms needs ``python-multipart``, which a user of the sandbox may not have.
"""

from __future__ import annotations

import zlib
from email.parser import BytesParser
from urllib.parse import parse_qsl

MAX_FIELDS = 10_000  # fields of one form

_WINDOW_BITS = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}


def decompress(content_encoding: str, body: bytes, limit: int, *allowed: str) -> bytes | None:
    """Return a body decompressed, ``None`` if it has no ``allowed`` encoding or is too long."""
    encoding = content_encoding.strip().lower()
    if encoding in allowed:
        decompressor = zlib.decompressobj(_WINDOW_BITS[encoding])
        try:
            body = decompressor.decompress(body, limit + 1)
        except zlib.error:
            return None
        if not decompressor.eof:
            return None
    elif encoding not in ("", "identity"):
        return None
    return body if len(body) <= limit else None


def parse_form(content_type: str, body: bytes) -> dict[str, str]:
    """Return the fields of a form; of a field that is given twice, the first.

    Raises:
        ValueError: The body is not a form, or has more than 10 000 fields.
    """
    if content_type.lower().startswith("multipart/form-data"):
        pairs = _parse_multipart(content_type, body)
    else:
        text = body.decode("utf-8", "replace")
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS)
    fields: dict[str, str] = {}
    for name, value in pairs:
        fields.setdefault(name, value)
    return fields


def _parse_multipart(content_type: str, body: bytes) -> list[tuple[str, str]]:
    head = b"Content-Type: " + content_type.encode("latin-1", "replace") + b"\r\n\r\n"
    message = BytesParser().parsebytes(head + body)
    if not message.is_multipart():
        raise ValueError("the multipart body does not match its boundary")
    pairs = []
    for part in message.walk():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(content, bytes):
            pairs.append((name, content.decode("utf-8", "replace")))
    return pairs
