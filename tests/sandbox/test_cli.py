"""The command, without a process where that is possible, and once with one."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from bridge.cli import main
from tests.servers import DEADLINE

COMMAND = [sys.executable, "-m", "bridge", "sandbox", "--port", "0"]


def test_help_names_the_command_and_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "sandbox" in capsys.readouterr().out
    assert main(["sandbox", "--help"]) == 0
    output = capsys.readouterr().out
    for option in ("--host", "--port", "--pixel-id", "--access-token", "--write-key"):
        assert option in output


def test_wrong_option_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sandbox", "--port", "x"]) == 2
    assert "--port" in capsys.readouterr().err


def test_port_in_use_is_said_plainly(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sandbox", "--port", str(port)]) == 1
    assert f"cannot listen on 127.0.0.1, port {port}" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["typer", "uvicorn"])
def test_missing_extra_is_said_plainly(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; import bridge.__main__"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    message = "pixel-bridge needs typer and uvicorn: pip install 'pixel-bridge[cli]'\n"
    assert (result.stdout, result.stderr) == ("", message)


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    options = ["--pixel-id", "42", "--access-token", "secret", "--write-key", "key-1"]
    with subprocess.Popen(
        [*COMMAND, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_sandbox_runs_and_stops_at_once_with_the_page_open(
    process: subprocess.Popen[str], name: signal.Signals
) -> None:
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(7)]
    url = lines[0].split()[5]
    assert "42" in lines[1]
    assert "secret" in lines[2]
    assert f"{url}/v26.0/42/events" in lines[3]
    assert "key-1" in lines[5]
    assert f"{url}/v1/batch" in lines[6]
    opened = threading.Event()

    def look() -> None:
        with httpx.stream(
            "GET", f"{url}/api/stream", trust_env=False, timeout=DEADLINE
        ) as response:
            for line in response.iter_lines():
                if line.startswith("data"):
                    opened.set()

    page = threading.Thread(target=look, daemon=True)
    page.start()
    assert opened.wait(DEADLINE)
    started = time.monotonic()
    process.send_signal(name)
    output, errors = process.communicate(timeout=DEADLINE)
    assert time.monotonic() - started < DEADLINE / 4  # it does not wait for the page
    assert (process.returncode, output, errors) == (0, "", "")
    page.join(DEADLINE)
