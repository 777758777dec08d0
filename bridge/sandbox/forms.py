"""Form bodies, urlencoded and multipart, read with the standard library alone.

Starlette's own reader needs ``python-multipart``, which a user of the sandbox may not have.
"""

from __future__ import annotations

from email.parser import BytesParser
from urllib.parse import parse_qsl

MAX_FIELDS = 10_000  # fields of one form


def parse_form(content_type: str, body: bytes) -> dict[str, str]:
    """Return the fields of a form; of a field that is given twice, the first.

    Args:
        content_type: The request's header, with its boundary if it is multipart.
        body: The whole body, UTF-8.

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
