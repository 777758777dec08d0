"""The words that the script and the server share."""

from __future__ import annotations

from typing import Literal

ConsentState = Literal["granted", "limited", "denied", "pending"]
ConsentChoice = Literal["granted", "limited", "denied"]
CopyState = Literal["sent", "blocked", "unknown"]  # what became of a browser copy
