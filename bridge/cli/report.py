"""What a command found, as lines with marks, or as JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

import msgspec

from bridge.cli.screen import open_console, say, say_json
from bridge.doctor.finding import Finding, Level

_MARKS: dict[Level, str] = {"good": "✓", "note": "-", "warning": "!", "bad": "✗"}
_PLAIN: dict[Level, str] = {**_MARKS, "good": "ok", "bad": "FAILED"}


class Report:
    """Says each finding as it comes.

    Attributes:
        findings: All so far.
    """

    def __init__(self, *, is_silent: bool = False) -> None:
        self.findings: list[Finding] = []
        self._is_silent = is_silent
        unicode = open_console().encoding.lower().startswith("utf")
        self._marks, self._arrow = (_MARKS, "→") if unicode else (_PLAIN, "->")

    @property
    def has_failed(self) -> bool:
        """Whether something does not work."""
        return any(each.level == "bad" for each in self.findings)

    def add(self, findings: Iterable[Finding]) -> None:
        """Say some findings."""
        for each in findings:
            self.findings.append(each)
            if not self._is_silent:
                say(f"{self._marks[each.level]} {each.what}: {each.text}")
                if each.fix:
                    say(f"    {self._arrow} {each.fix}")

    async def follow(self, findings: AsyncIterator[Finding]) -> None:
        """Say findings as they are made."""
        async for each in findings:
            self.add([each])

    def say_json(self, **others: Any) -> None:
        """Write all findings as JSON."""
        say_json({**others, "findings": msgspec.to_builtins(self.findings)})
