"""``pixel-bridge dead``: list, show, retry or drop what was refused for good."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

import typer

from bridge.cli.origin import App, OutboxURL, find_outbox, run_on
from bridge.cli.screen import say, say_json, say_table, write_age, write_events, write_time
from bridge.errors import ConfigError
from bridge.outbox import DeadLetter, Outbox

PAGE = 500  # dead letters read at once
NOTHING_FOUND = 1  # exit code

EventIds = Annotated[list[str] | None, typer.Argument(metavar="EVENT_ID", help="Their event ids.")]
All = Annotated[bool, typer.Option("--all", help="All of them.")]
Destination = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Only those of this destination, such as meta:1234567890."),
]
AsJSON = Annotated[bool, typer.Option("--json", help="Write JSON.")]

dead_letters = typer.Typer(
    no_args_is_help=True, help="List, show, retry or drop what was refused for good."
)

_Pages = AsyncIterator[Sequence[DeadLetter]]


@dead_letters.command("list")
def list_dead(
    app: App = None,
    outbox: OutboxURL = None,
    destination: Destination = None,
    limit: Annotated[
        int, typer.Option(min=1, max=10_000, metavar="NUMBER", help="How many at most.")
    ] = 50,
    as_json: AsJSON = False,
) -> None:
    """List dead letters, newest first."""
    store = find_outbox(app, outbox)
    letters = run_on(store, store.list_dead(destination=destination, limit=limit))
    if as_json:
        say_json([_describe(letter) for letter in letters])
    elif letters:
        now = time.time()
        rows = [
            (
                letter.delivery.event_name,
                letter.delivery.event_id,
                letter.delivery.destination,
                f"{write_age(now - letter.buried_at)} ago",
                letter.reason,
            )
            for letter in letters
        ]
        say_table(("event", "event id", "destination", "buried", "reason"), rows)
    else:
        say("no dead letters")


@dead_letters.command("show")
def show_dead(
    event_id: Annotated[str, typer.Argument(metavar="EVENT_ID", help="Its event id.")],
    app: App = None,
    outbox: OutboxURL = None,
    as_json: AsJSON = False,
) -> None:
    """Show why an event was refused, and what would be sent."""
    store = find_outbox(app, outbox)
    letters = run_on(store, store.find_dead(event_id))
    if not letters:
        say(f"no dead letter has the event id {event_id}", stderr=True)
        raise typer.Exit(NOTHING_FOUND)
    if as_json:
        say_json([_describe(letter) | {"event": _decode(letter)} for letter in letters])
        return
    for letter in letters:
        for key, value in _describe(letter).items():
            say(f"{key:<12} {value}")
        say(json.dumps(_decode(letter), indent=2, ensure_ascii=False))


@dead_letters.command("retry")
def retry_dead(
    event_ids: EventIds = None,
    everything: All = False,
    app: App = None,
    outbox: OutboxURL = None,
    destination: Destination = None,
) -> None:
    """Try dead letters again, once the cause is fixed.

    Your sender delivers them.
    """
    store = find_outbox(app, outbox)
    pages = _choose(store, event_ids, everything, destination)
    count, late = run_on(store, _revive(store, pages))
    say(f"{count:,} due again")
    if late:
        stay = write_events(late, "stays dead", "stay dead")
        say(f"{stay}, too old for the destination; delete with pixel-bridge dead drop")
    if not count:
        raise typer.Exit(NOTHING_FOUND)


@dead_letters.command("drop")
def drop_dead(
    event_ids: EventIds = None,
    everything: All = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    app: App = None,
    outbox: OutboxURL = None,
    destination: Destination = None,
) -> None:
    """Delete dead letters, after asking."""
    store = find_outbox(app, outbox)
    pages = _choose(store, event_ids, everything, destination)
    what = "all dead letters" if everything else f"the dead letters of {len(event_ids or ())} ids"
    what += f" of {destination}" if destination else ""
    if not yes:
        typer.confirm(f"Delete {what} in {store}, for good?", abort=True)
    count = run_on(store, _drop(store, pages))
    say(f"{count:,} deleted")
    if not count:
        raise typer.Exit(NOTHING_FOUND)


def _choose(
    store: Outbox, event_ids: Sequence[str] | None, everything: bool, destination: str | None
) -> _Pages:
    """Return the chosen dead letters, page by page."""
    if bool(event_ids) == everything:
        raise ConfigError("give event ids, or --all")
    if everything:
        return _read_all(store, destination)
    return _read_some(store, event_ids or (), destination)


async def _read_all(store: Outbox, destination: str | None) -> _Pages:
    """Yield those that are dead now, while the caller revives or drops them.

    What is buried meanwhile is left out, or a retry that fails at once would be repeated for ever.
    What the caller leaves dead is skipped for the same reason.
    """
    begun, offset = time.time(), 0
    while page := await store.list_dead(destination=destination, limit=PAGE, offset=offset):
        before = [letter for letter in page if letter.buried_at <= begun]
        if before:
            yield before
        keys = {letter.delivery.key for letter in page}
        left = await store.list_dead(destination=destination, limit=PAGE, offset=offset)
        offset += sum(letter.delivery.key in keys for letter in left)


async def _read_some(store: Outbox, event_ids: Sequence[str], destination: str | None) -> _Pages:
    for event_id in event_ids:
        letters = await store.find_dead(event_id)
        yield [each for each in letters if destination in (None, each.delivery.destination)]


async def _revive(store: Outbox, pages: _Pages) -> tuple[int, int]:
    """Return how many are due again, and how many are too old for that."""
    count = late = 0
    async for letters in pages:
        now = time.time()
        keys = [letter.delivery.key for letter in letters if letter.delivery.expires > now]
        late += len(letters) - len(keys)
        count += await store.revive(keys, now)
    return count, late


async def _drop(store: Outbox, pages: _Pages) -> int:
    """Return how many are deleted."""
    return sum([await store.drop([each.delivery.key for each in page]) async for page in pages])


def _describe(letter: DeadLetter) -> dict[str, Any]:
    delivery = letter.delivery
    return {
        "event_name": delivery.event_name,
        "event_id": delivery.event_id,
        "destination": delivery.destination,
        "from_browser": bool(delivery.from_browser),
        "reason": letter.reason,
        "buried_at": write_time(letter.buried_at),
        "expires_at": write_time(delivery.expires),
        "attempts": delivery.attempts,
    }


def _decode(letter: DeadLetter) -> Any:
    try:
        return json.loads(letter.delivery.body)
    except ValueError:
        return repr(letter.delivery.body)
