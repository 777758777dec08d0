"""The process's memory with very many visitors."""

from __future__ import annotations

import subprocess
import sys

from tests.servers import ROOT


def test_very_many_visitors_with_the_longest_headers_leave_memory_flat() -> None:
    command = [sys.executable, "-m", "tests.visitor.memory", "20000"]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    early, late = map(float, printed.split())  # MB, after 8,000 and after all
    assert late < 250
    assert late - early < 4
