"""``pixel-bridge import``: a file of events, stored and delivered; goes on where it was."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from bridge.cli.origin import App, ShopName, load_site
from bridge.cli.process import INTERRUPTED, on_stop, run
from bridge.cli.screen import log_to, open_console, plain, say
from bridge.errors import BridgeError, ConfigError, OutboxError
from bridge.events.event import ActionSource
from bridge.events.reader import EventReader
from bridge.imports import Importer, ProgressFile, Rejects, Source
from bridge.imports.importer import MAX_WAITING
from bridge.site import Site

SOME_REJECTED = 1  # exit code
CANNOT_RUN = 2  # exit code
GRACE = 5.0  # seconds to finish requests in flight, once interrupted
REFRESH = 0.25  # seconds between looks for the progress bar
SHOWN = 10  # reasons that are listed

FileName = Annotated[str, typer.Argument(metavar="FILE", help="JSON lines or CSV; - for stdin.")]
FileFormat = Annotated[
    Literal["json", "csv"] | None,
    typer.Option("--format", help="Detected from the name or the first line by default."),
]


def import_events(
    file: FileName,
    app: App = None,
    shop: ShopName = None,
    file_format: FileFormat = None,
    action_source: Annotated[
        ActionSource | None, typer.Option(help="For lines that do not say where they happened.")
    ] = None,
    ignore_columns: Annotated[
        bool, typer.Option("--ignore-columns", help="Ignore unknown columns of a CSV file.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check the lines.")] = False,
    no_send: Annotated[
        bool, typer.Option("--no-send", help="Only store; your app or a worker delivers.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Start again from the first line.")
    ] = False,
    rejected: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="Where rejected lines go; by default FILE.rejected.jsonl."
        ),
    ] = None,
) -> None:
    """Import events from a till, a CRM or an app, one event per line.

    After an interruption the same command resumes, and sends no line twice. Exits with 0 if all
    is well, 1 if lines were rejected or died, 2 if it could not run, 130 if interrupted.
    """
    path = None if file == "-" else Path(file)
    with closing(Source(path, format_=file_format, ignore_columns=ignore_columns)) as source:
        configured = _load_site(app, shop, optional=dry_run)
        bridge = None if dry_run else configured
        progress_file, rejects = _place_files(
            path, source, rejected, dry_run=dry_run, restart=restart
        )
        importer = Importer(
            source,
            configured._event_reader if configured else EventReader(),
            bridge.destinations if bridge else None,
            bridge.outbox if bridge else None,
            progress_file=progress_file,
            rejects=rejects,
            action_source=action_source,
            max_waiting=None if no_send else MAX_WAITING,
            figures=bridge._pipeline.figures if bridge else None,
        )
        sends = bridge is not None and not no_send
        work = _Run(importer, source, rejects, bridge, sends, open_console(stderr=True))
        with closing(rejects):
            code = run(work.run())
    if code:
        raise typer.Exit(code)


def _load_site(app: str | None, shop: str | None, *, optional: bool) -> Site | None:
    """Return the bridge; ``None`` if it is ``optional`` and there are no settings."""
    try:
        return load_site(app, shop)
    except ConfigError as error:
        if not optional:
            raise
        say(f"checked without your settings: {error}", stderr=True)
        return None


def _place_files(
    path: Path | None, source: Source, rejected: Path | None, *, dry_run: bool, restart: bool
) -> tuple[ProgressFile, Rejects]:
    """Return where progress and rejected lines are kept: next to the file, by default.

    A dry run keeps nothing, or it would spoil what an interrupted import kept. A stream has no
    progress, since it cannot be read again.
    """
    if dry_run:
        return ProgressFile(None), Rejects(rejected)
    if path is None or source.size is None:
        return ProgressFile(None), Rejects(rejected or Path("stdin.rejected.jsonl"))
    beside = path.with_name(f"{path.name}.rejected.jsonl")
    progress = path.with_name(f"{path.name}.progress.json")
    return ProgressFile(progress, restart=restart), Rejects(rejected or beside)


@dataclass
class _Run:
    """One run of an import, and what it prints; a dry run has no ``bridge``."""

    importer: Importer
    source: Source
    rejects: Rejects
    bridge: Site | None
    sends: bool
    console: Console

    async def run(self) -> int:
        """Import, deliver and report; return the exit code."""
        if self.importer.progress.finished:
            say(f"{self.source.name} was read to its end before; --restart reads it again")
        with on_stop(self.importer.stop), log_to(self.console, logging.WARNING):
            try:
                died = await self._import()
            except (BridgeError, OSError) as error:
                say(f"pixel-bridge: {error}", stderr=True)
                self._say_tally()
                if isinstance(error, OutboxError):
                    say("stopped; run the same command to continue", stderr=True)
                return CANNOT_RUN
        self._say_tally()
        return self._conclude(died)

    async def _import(self) -> int:
        """Store and deliver; return how many their destination refused meanwhile."""
        importer = self.importer
        try:
            dead = await importer.count_dead()
            if self.bridge:
                self.bridge._pipeline.figures.start()
            if self.bridge and self.sends:
                self.bridge._pipeline.sender.start()
            async with _bar(self.console, self.source, importer):
                await importer.run()
                if self.sends:
                    await importer.wait_until_delivered()
            return max(0, await importer.count_dead() - dead) if self.sends else 0
        finally:
            if self.bridge:
                await self.bridge._pipeline.sender.stop(GRACE)
                await self.bridge._pipeline.figures.stop()
                await self.bridge.outbox.close()

    def _say_tally(self) -> None:
        tally, name = self.importer.tally, self.source.name
        stored = "stored" if self.bridge else "fit to be sent"
        lines = "1 line" if tally.lines == 1 else f"{tally.lines:,} lines"
        say(
            f"{name}: {lines}: {tally.stored:,} {stored},"
            f" {tally.repeated:,} known already, {tally.rejected:,} rejected"
        )
        for reason, count in Counter(tally.reasons).most_common(SHOWN):
            say(f"  {count:,} x {reason}")
        if tally.rejected and self.rejects.path is not None:
            say(f"  each with its line: {self.rejects.path}")
        if self.source.has_grown:
            say("  the file has grown since; what is new was not imported")
        if tally.left_out:
            counts = Counter(tally.left_out).most_common(SHOWN)
            fields = ", ".join(f"{key} {count:,} x" for key, count in counts)
            say(f"  left out, since they cannot be right: {fields}")
        for place, count in Counter(tally.removed).most_common(SHOWN):
            say(f"  removed, since it looks personal: {place} {count:,} x")

    def _conclude(self, died: int) -> int:
        if self.importer.is_stopped:
            line = self.importer.progress.line
            advice = f"interrupted after line {line:,}; run the same command to continue"
            if self.source.size is None:
                advice = "interrupted; the same lines again, within 48 hours, send nothing twice"
            say(advice)
            return INTERRUPTED
        if self.sends:
            say("all delivered" if not died else "all settled")
        elif self.bridge:
            say("not sent from here: your app or pixel-bridge worker delivers")
        if died:
            say(f"{died:,} refused by their destination: pixel-bridge dead list")
        return SOME_REJECTED if died or self.importer.tally.rejected else 0


@contextlib.asynccontextmanager
async def _bar(console: Console, source: Source, importer: Importer) -> AsyncIterator[None]:
    """Show the progress, on a terminal."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[counts]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(plain(source.name), total=source.size, counts="")

        async def follow() -> None:
            while True:
                waiting = await importer.count_waiting()
                counts = (
                    f"{importer.tally.lines:,} lines, {importer.tally.rejected:,} rejected,"
                    f" {waiting:,} wait"
                )
                bar.update(task, completed=importer.progress.offset, counts=counts)
                await asyncio.sleep(REFRESH)

        following = asyncio.create_task(follow()) if console.is_terminal else None
        try:
            yield
        finally:
            if following is not None:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
