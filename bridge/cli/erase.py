"""``pixel-bridge erase``: delete what the outbox still holds of a person."""

from __future__ import annotations

from typing import Annotated

import typer

from bridge.cli.origin import App, OutboxURL, ShopName, find_outbox, load_runs, run_on
from bridge.cli.screen import say, say_json
from bridge.delivery.erasure import find_people
from bridge.errors import ConfigError
from bridge.outbox.base import build_subjects
from bridge.shops import Shops


def erase_person(
    user_id: Annotated[
        str | None, typer.Option(metavar="ID", help="As the app passes it to identify().")
    ] = None,
    external_id: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Raw or hashed, such as visitor.external_id."),
    ] = None,
    email: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Or its SHA-256, hex.")
    ] = None,
    shop: ShopName = None,
    app: App = None,
    outbox: OutboxURL = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Delete what is stored of a person.

    That is what waits, is held or is dead. What was delivered stays delivered.
    """
    people = find_people(user_id=user_id, external_id=external_id, email=email)
    subjects = build_subjects(None, people, shop=shop or "")
    # Without the shop's name nothing would be found, and the answer would be: nothing is stored.
    if shop is None and app is not None and isinstance(load_runs(app), Shops):
        raise ConfigError("--shop is missing: whose customer is it? See docs/shops.md")
    store = find_outbox(app, outbox)
    erased = run_on(store, store.erase(subjects))
    if as_json:
        say_json(erased._asdict())
    else:
        say(f"{sum(erased):,} erased: {erased.waiting:,} waiting, {erased.dead:,} dead")
