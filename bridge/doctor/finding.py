"""A finding: what was looked at, what is so, and the line to change."""

from __future__ import annotations

from typing import Literal

import msgspec

Level = Literal["good", "note", "warning", "bad"]


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one look found.

    Attributes:
        level: ``good``; ``note`` for what could not be looked at; ``warning`` for what may be
            meant so; ``bad`` for what does not work.
        what: What was looked at, in a word.
        text: What is so.
        fix: What to change, if anything.
    """

    level: Level
    what: str
    text: str
    fix: str = ""


def good(what: str, text: str) -> Finding:
    """Return that it is as it should be."""
    return Finding(level="good", what=what, text=text)


def note(what: str, text: str, fix: str = "") -> Finding:
    """Return what could not be looked at, or is only worth knowing."""
    return Finding(level="note", what=what, text=text, fix=fix)


def warning(what: str, text: str, fix: str = "") -> Finding:
    """Return what may be meant so."""
    return Finding(level="warning", what=what, text=text, fix=fix)


def bad(what: str, text: str, fix: str = "") -> Finding:
    """Return what does not work."""
    return Finding(level="bad", what=what, text=text, fix=fix)
