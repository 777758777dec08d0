"""The ``pixel-bridge`` command.

Each command is one module here; what it does lives in the module it is about.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import Annotated

try:
    import rich  # noqa: F401 - looked for here, once, with typer and uvicorn
    import typer
    import uvicorn  # noqa: F401
except ImportError:
    raise SystemExit(
        "pixel-bridge needs typer and uvicorn: pip install 'pixel-bridge[cli]'"
    ) from None

from bridge import __version__
from bridge.cli.check import run_check
from bridge.cli.dashboard import run_dashboard
from bridge.cli.dead import dead_letters
from bridge.cli.doctor import run_doctor
from bridge.cli.erase import erase_person
from bridge.cli.explain import explain_event
from bridge.cli.importing import import_events
from bridge.cli.process import flush_all, one_loop, open_closed
from bridge.cli.quality import show_quality
from bridge.cli.sandbox import run_sandbox
from bridge.cli.status import show_status
from bridge.cli.worker import run_worker
from bridge.errors import BridgeError

CANNOT_RUN = 2  # exit code, as for a mistyped option

commands = typer.Typer(
    name="pixel-bridge",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its tables give every flag a type
)
commands.command("check")(run_check)
commands.command("doctor")(run_doctor)
commands.command("status")(show_status)
commands.command("quality")(show_quality)
commands.command("dashboard")(run_dashboard)
commands.add_typer(dead_letters, name="dead")
commands.command("erase")(erase_person)
commands.command("worker")(run_worker)
commands.command("import")(import_events)
commands.command("explain")(explain_event)
commands.command("sandbox")(run_sandbox)


def _say_version(wanted: bool) -> None:
    if wanted:
        print(f"pixel-bridge {__version__}")
        raise typer.Exit


@commands.callback()
def describe(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """The bridge between the Meta Pixel and the Conversions API."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in ``argv`` (default: ``sys.argv[1:]``) and return the exit code."""
    open_closed()
    try:
        with one_loop():
            commands(None if argv is None else list(argv))
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except (BridgeError, OSError) as error:
        with contextlib.suppress(OSError):
            print(f"pixel-bridge: {error}", file=sys.stderr)
        return CANNOT_RUN
    finally:
        flush_all()
    return 0
