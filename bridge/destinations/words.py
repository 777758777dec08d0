"""A destination's words, as they may be shown: one line, bounded, without our secret. Pure.

Destinations quote what they were sent: whole, percent-encoded, or shortened to its beginning.
"""

from __future__ import annotations

import re

MIN_SECRET = 12  # characters of a secret's beginning that already count as the secret
MASK = "[access token]"


def clean_words(text: str, limit: int, *, secret: str) -> str:
    """Return at most ``limit`` characters of ``text`` on one line, with ``secret`` masked."""
    # Masked first: a cut might leave a part of the secret that is not recognised.
    masked = mask(text, secret)[:limit]
    return "".join(letter if letter.isprintable() else " " for letter in masked)


def mask(text: str, secret: str) -> str:
    """Return ``text`` with a mask for ``secret`` and for any 12 or more characters it begins with.

    Any character may be percent-encoded: ``"AB|C"`` is found in ``"token=AB%7cC"`` too.
    """
    if not secret:
        return text
    head = re.compile("".join(map(_build_pattern, secret[:MIN_SECRET])))
    tail = [re.compile(_build_pattern(letter)) for letter in secret[MIN_SECRET:]]
    pieces, start = list[str](), 0
    while found := head.search(text, start):
        pieces += [text[start : found.start()], MASK]
        start = _find_end(text, found.end(), tail)
    return "".join([*pieces, text[start:]])


def _find_end(text: str, at: int, letters: list[re.Pattern[str]]) -> int:
    """Return where ``letters``, as many as stand at ``at``, end."""
    for letter in letters:
        found = letter.match(text, at)
        if found is None:
            break
        at = found.end()
    return at


def _build_pattern(letter: str) -> str:
    encoded = "".join(f"%{byte:02x}" for byte in letter.encode("utf-8", "surrogatepass"))
    return f"(?:{re.escape(letter)}|(?i:{encoded}))"
