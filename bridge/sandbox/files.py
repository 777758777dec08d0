"""The sandbox's static files, found in the wheel or in the source tree."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent
PLACES = (_PACKAGE / "static" / "sandbox", _PACKAGE.parent / "static" / "sandbox")
"""A wheel carries ``static`` as ``bridge/static``; an editable install, next to ``bridge``."""


def read_static(name: str) -> bytes:
    """Return a file's content, read from disk at each call.

    Args:
        name: A file of the sandbox, such as ``"fbevents.js"``; never from outside.

    Raises:
        FileNotFoundError: Neither place has it: the installation is incomplete.
    """
    for place in PLACES:
        if (place / name).is_file():
            return (place / name).read_bytes()
    raise FileNotFoundError(f"the sandbox's {name} is missing: looked in {PLACES[0]}, {PLACES[1]}")
