"""``pixel-bridge status``: what waits, was delivered or failed, for each destination."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Annotated, Any

import msgspec
import typer

from bridge.cli.origin import App, OutboxURL, find_outbox, load_bridge, run_on
from bridge.cli.screen import say, say_json, say_table, write_age, write_events, write_time
from bridge.delivery.orphans import EXPLANATION, PROBE
from bridge.errors import ConfigError
from bridge.outbox import Circuit, Counts, Outbox

MAX_AGE = 3600.0  # seconds; longer than any hold, so no sender runs or Meta cannot be reached
PROBLEM = 1  # exit code when somebody should look


def show_status(
    app: App = None,
    outbox: OutboxURL = None,
    max_age: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="How long an event may wait before it counts as a problem.",
        ),
    ] = MAX_AGE,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Show what waits, was delivered or failed, by destination.

    Exits with 1 if something needs attention: dead letters, a circuit that is not closed, an
    event that has waited too long, or one whose destination is not configured.
    """
    store = find_outbox(app, outbox)
    counts, circuits = run_on(store, _read(store))
    now = time.time()
    names = _find_names(app, outbox, counts)
    problems = _find_problems(counts, circuits, names, max_age, now)
    if as_json:
        _say_json(store, counts, circuits, problems)
    else:
        _say_table(store, counts, circuits, now)
        for problem in problems:
            say(f"! {problem}")
    if problems:
        raise typer.Exit(PROBLEM)


async def _read(store: Outbox) -> tuple[Mapping[str, Counts], Mapping[str, Circuit]]:
    return await store.count(time.time(), with_delivered=True), await store.circuits()


def _find_names(app: str | None, outbox: str | None, seen: Collection[str]) -> Collection[str]:
    """Return the names of the configured destinations.

    If they are not known, return all that were ``seen`` in the outbox: without settings, or with
    ``--outbox``, which need not be the outbox of the settings.
    """
    if app is None and outbox is not None:
        return seen
    try:
        return [PROBE, *(destination.name for destination in load_bridge(app).destinations)]
    except ConfigError:
        return seen


def _find_problems(
    counts: Mapping[str, Counts],
    circuits: Mapping[str, Circuit],
    names: Collection[str],
    max_age: float,
    now: float,
) -> list[str]:
    problems = []
    for name, count in sorted(counts.items()):
        if count.dead:
            dead = write_events(count.dead, "is a dead letter", "are dead letters")
            problems.append(f"{name}: {dead}: pixel-bridge dead list says why")
        if count.waiting and name not in names:
            problems.append(
                f"{name}: {write_events(count.waiting, 'waits', 'wait')}, and {EXPLANATION}: was"
                " it removed or renamed? What waits there becomes dead letters when it is too old"
            )
        elif count.oldest is not None and now - count.oldest > max_age:
            age = write_age(now - count.oldest)
            problems.append(f"{name}: the oldest event has waited for {age}; is a sender running?")
    for name, circuit in sorted(circuits.items()):
        if circuit.state != "closed" and name in names:
            age, again = write_age(now - circuit.since), write_age(circuit.until - now)
            problems.append(
                f"{name}: has refused us for {age}: {circuit.reason}; next attempt in {again}"
            )
    return problems


def _say_table(
    store: Outbox, counts: Mapping[str, Counts], circuits: Mapping[str, Circuit], now: float
) -> None:
    say(str(store))
    names = sorted({*counts, *circuits})
    if not names:
        say("empty: nothing waits, and nothing was delivered in the last 48 hours")
        return
    rows = []
    for name in names:
        count, circuit = counts.get(name, Counts()), circuits.get(name)
        oldest = "-" if count.oldest is None else write_age(now - count.oldest)
        state = circuit.state.replace("_", " ") if circuit else "closed"
        numbers = (count.waiting, count.held, count.delivered, count.dead)
        rows.append((name, *numbers, oldest, state))
    columns = ("destination", "waiting", "held", "delivered 48 h", "dead", "oldest", "circuit")
    say_table(columns, rows)


def _say_json(
    store: Outbox,
    counts: Mapping[str, Counts],
    circuits: Mapping[str, Circuit],
    problems: list[str],
) -> None:
    destinations: dict[str, dict[str, Any]] = {}
    for name in sorted({*counts, *circuits}):
        count = counts.get(name, Counts())
        oldest = None if count.oldest is None else write_time(count.oldest)
        destinations[name] = {**msgspec.to_builtins(count), "oldest": oldest}
        if circuit := circuits.get(name):
            destinations[name]["circuit"] = msgspec.to_builtins(circuit)
    say_json({"outbox": str(store), "destinations": destinations, "problems": problems})
