"""``pixel-bridge quality``: Meta's figures beside ours, and what to do."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import msgspec
import typer

from bridge.cli.origin import App, ShopName, load_site, would_create
from bridge.cli.process import run
from bridge.cli.screen import say, say_json, say_marked, say_table, write_age
from bridge.destinations import Meta
from bridge.events.event import DAY
from bridge.figures.summary import Summary, summarize
from bridge.figures.words import IDENTIFIERS
from bridge.outbox.base import FIGURE_DAYS, Figure
from bridge.quality.advice import Advice, advise
from bridge.quality.answer import EventQuality
from bridge.quality.comparison import Comparison, Row, compare
from bridge.quality.question import Quality, Unanswered, ask_all
from bridge.quality.thresholds import (
    Thresholds,
    find_crossed,
    find_unjudged,
    is_undecided,
)
from bridge.site import Site

PROBLEM = 1  # exit code when somebody should look
CANNOT_TELL = 2  # exit code when a threshold could not be checked
WEEK = 7  # days; Meta's figures are of seven, too
MAX_ADVICE = 12  # lines on the screen; JSON has all
MAX_NAMES = 20  # event names in one line of text

_LABELS = {"client_ip_address": "ip", "client_user_agent": "agent", "external_id": "ext. id"}
_ALWAYS = ("em", "ph", "external_id", "fbc", "fbp", "client_ip_address", "client_user_agent")


def show_quality(
    app: App = None,
    shop: ShopName = None,
    days: Annotated[
        int,
        typer.Option(
            min=1,
            max=FIGURE_DAYS,
            metavar="DAYS",
            help="Of our own figures; Meta's always cover 7.",
        ),
    ] = WEEK,
    event: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this event; may be repeated.")
    ] = None,
    min_emq: Annotated[
        float | None,
        typer.Option(min=0, max=10, metavar="SCORE", help="Lowest acceptable event match quality."),
    ] = None,
    min_coverage: Annotated[
        float | None,
        typer.Option(min=0, max=100, metavar="PERCENT", help="Lowest acceptable event coverage."),
    ] = None,
    min_dedup: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=100,
            metavar="PERCENT",
            help="Lowest acceptable share of browser events merged.",
        ),
    ] = None,
    max_dead: Annotated[
        float | None,
        typer.Option(
            min=0, max=100, metavar="PERCENT", help="Highest acceptable share of dead letters."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Show how well Meta matches your events, and what to improve.

    Exits with 1 if a threshold is crossed or Meta refuses to answer, and with 2 if one cannot be
    checked because Meta does not answer or there are no figures.
    """
    thresholds = Thresholds(
        min_emq=min_emq, min_coverage=min_coverage, min_dedup=min_dedup, max_dead=max_dead
    )
    bridge = load_site(app, shop)
    only = event or ()
    outbox, is_empty = str(bridge.outbox), would_create(bridge.outbox)
    comparisons = run(_compare(bridge, days, only, has_figures=not is_empty))
    problems = [
        *(problem for each in comparisons for problem in find_crossed(each, thresholds)),
        *(
            f"{each.destination}: Meta refuses to answer"
            for each in comparisons
            if _is_refused(each)
        ),
    ]
    advice = [line for each in comparisons for line in advise(each)]
    unchecked = [
        line for each in comparisons for line in _explain_unchecked(each, thresholds, only)
    ]
    if as_json:
        _say_json(days, outbox, comparisons, advice, problems, unchecked)
    else:
        _say_all(days, outbox, comparisons, advice, problems)
    for line in unchecked:
        say(line, stderr=True)
    if problems:
        raise typer.Exit(PROBLEM)
    if unchecked:
        raise typer.Exit(CANNOT_TELL)


def _explain_unchecked(
    comparison: Comparison, thresholds: Thresholds, only: Sequence[str]
) -> list[str]:
    """Return which thresholds could not be checked, and why."""
    lines = []
    if is_undecided(comparison, thresholds):
        text = "Meta did not answer, so the thresholds could not be checked"
        lines.append(f"{comparison.destination}: {text}")
    unjudged = find_unjudged(comparison, thresholds, only)
    return lines + [f"{each}; {_list_names(comparison)}" for each in unjudged]


def _list_names(comparison: Comparison) -> str:
    if not comparison.names:
        return "there are no figures at all yet"
    more = len(comparison.names) - MAX_NAMES
    names = ", ".join(comparison.names[:MAX_NAMES])
    return f"there are figures for {names}{f' and {more} more' if more > 0 else ''}"


async def _compare(
    bridge: Site, days: int, only: Sequence[str], *, has_figures: bool
) -> list[Comparison]:
    """Return both sides' figures; an outbox that does not exist has none, and is not created."""
    pixels = [each for each in bridge.destinations if isinstance(each, Meta)]
    today = int(time.time() // DAY)
    figures: Sequence[Figure] = ()
    try:
        if has_figures:
            figures = await bridge.outbox.figures(today - days + 1, today)
    finally:
        await bridge.outbox.close()
    answers = await ask_all(pixels)
    summaries = summarize(figures)
    return [
        compare(each.name, summaries, answers.get(each.name), only=only)
        for each in bridge.destinations
    ]


def _is_refused(comparison: Comparison) -> bool:
    return isinstance(comparison.answer, Unanswered) and comparison.answer.is_refusal


def _say_all(
    days: int,
    outbox: str,
    comparisons: list[Comparison],
    advice: list[Advice],
    problems: list[str],
) -> None:
    for comparison in comparisons:
        ours = "today" if days == 1 else f"the last {days} days"
        say(f"{comparison.destination}, {ours}")
        _say_answer(comparison.answer)
        has_metas = isinstance(comparison.answer, Quality) and bool(comparison.answer.events)
        if has_metas and days != WEEK:
            say(f"Our figures are of {ours}, Meta's always of the last {WEEK} days")
        if has_metas and not comparison.has_ours:
            say(f"We have no figures of our own: is this the app's outbox? {outbox}")
        if comparison.rows:
            _say_events(comparison)
            _say_coverage(comparison.rows)
            _say_keys(comparison.rows)
        elif comparison.names:
            say(f"no figures for these events; {_list_names(comparison)}")
        else:
            say(f"no figures: nothing was stored in these days in {outbox}")
        say("")
    if advice:
        say("What to do, most useful first:")
        for number, each in enumerate(advice[:MAX_ADVICE], start=1):
            say(f"{number}. {each}")
        if len(advice) > MAX_ADVICE:
            say(f"   and {len(advice) - MAX_ADVICE} more: --json lists all, --event picks")
    for problem in problems:
        say_marked("!", "bold red", problem)


def _say_answer(answer: Quality | Unanswered | None) -> None:
    match answer:
        case Unanswered():
            say("Meta's figures are missing; see below")
        case Quality(events=()):
            say("Meta has no figures for this pixel yet; they take a few days of events")
        case Quality(is_plain=True):
            say("Meta gives only the plain figures for this pixel, nothing on how copies merge")
        case _:
            pass


def _say_events(comparison: Comparison) -> None:
    """Write what we did with the events, and what Meta says of them."""
    rows = [
        (
            row.event_name,
            *(f"{each:,}" for each in (row.ours.stored, row.ours.delivered, row.ours.dead)),
            _write_delay(row.ours),
            _write_copies(row),
            ", ".join(f"{total:,.2f} {name}" for name, total in row.ours.value.items()) or "-",
        )
        for row in comparison.rows
    ]
    columns = ("event", "stored", "delivered", "dead", "95 % in", "browser copy", "value")
    say_table(columns, rows)
    metas = [row.meta for row in comparison.rows if row.meta is not None]
    if metas:
        say("")
        say("In Meta's words; per cent of the browser's events")
        columns = ("event", "EMQ of 10", "covered", "goal", "merged", "fresh", "more conversions")
        say_table(columns, [_list_words(each) for each in metas])


def _list_words(meta: EventQuality) -> tuple[str, ...]:
    return (
        meta.event_name,
        *map(_write, (meta.score, meta.coverage, meta.goal, meta.merged)),
        meta.freshness.replace("_", " ") or "-",
        _write(meta.more_conversions),
    )


def _say_coverage(rows: Iterable[Row]) -> None:
    """Write how many server copies carry each identifier: ours, and Meta's."""
    listed = list(rows)
    known = [
        each
        for each in IDENTIFIERS
        if each in _ALWAYS or any(_list_coverage(row, each) != (0, 0) for row in listed)
    ]
    say("")
    say("Server copies with each identifier, per cent: ours / Meta's")
    table = [[row.event_name, *(" / ".join(_pair(row, each)) for each in known)] for row in listed]
    say_table(["event", *(_LABELS.get(each, each) for each in known)], table)


def _list_coverage(row: Row, identifier: str) -> tuple[float, float]:
    meta = row.meta.read_coverage(identifier) if row.meta else None
    return row.read_coverage(identifier) or 0, meta or 0


def _pair(row: Row, identifier: str) -> tuple[str, str]:
    meta = row.meta.read_coverage(identifier) if row.meta and identifier != "ipv6" else None
    return _write(row.read_coverage(identifier)), _write(meta)


def _say_keys(rows: Iterable[Row]) -> None:
    """Write by which keys Meta merges the copies."""
    table = [
        [
            row.event_name,
            key.name,
            *map(_write, (key.browser, key.server, key.merged)),
        ]
        for row in rows
        for key in (row.meta.keys if row.meta else ())
    ]
    if table:
        say("")
        say("How Meta merges the copies, per cent")
        columns = ("event", "key", "browser has it", "server has it", "browser events merged")
        say_table(columns, table)


def _write(value: float | None) -> str:
    return "-" if value is None else f"{round(value, 1):g}"


def _write_delay(ours: Summary) -> str:
    late = ours.read_delay(0.95)
    if late is None:
        return "-"
    return "over a day" if late == float("inf") else f"≤ {write_age(late)}"


def _write_copies(row: Row) -> str:
    if not row.copies:
        return "-"
    return ", ".join(f"{number:,} {state}" for state, number in sorted(row.copies.items()))


def _say_json(
    days: int,
    outbox: str,
    comparisons: list[Comparison],
    advice: list[Advice],
    problems: list[str],
    unchecked: list[str],
) -> None:
    say_json(
        {
            "days": days,
            "outbox": outbox,
            "destinations": {each.destination: _describe(each) for each in comparisons},
            "advice": msgspec.to_builtins(advice),
            "problems": problems,
            "unchecked": unchecked,
        }
    )


def _describe(comparison: Comparison) -> dict[str, Any]:
    answer = comparison.answer
    told: dict[str, Any] = {"meta": "not asked"}
    if isinstance(answer, Unanswered):
        told = {"meta": "no answer", "why": msgspec.to_builtins(answer)}
    elif answer is not None:
        told = {"meta": "plain" if answer.is_plain else "answered"}
    events = {}
    for row in comparison.rows:
        ours = row.ours
        events[row.event_name] = {
            "ours": {
                "stored": ours.stored,
                "duplicates": ours.duplicates,
                "delivered": ours.delivered,
                "dead": ours.dead,
                "lost": ours.lost,
                "skipped": row.skipped,
                "expected_copies": ours.expected,
                "copies": row.copies,
                "coverage": {
                    each: round(share, 2)
                    for each in IDENTIFIERS
                    if (share := row.read_coverage(each)) is not None
                },
                "value": {name: str(sum_) for name, sum_ in ours.value.items()},
                "delay_median": _finite(ours.read_delay(0.5)),
                "delay_95": _finite(ours.read_delay(0.95)),
            },
            "meta": msgspec.to_builtins(row.meta) if row.meta else None,
        }
    return {**told, "events": events}


def _finite(seconds: float | None) -> float | None:
    """Return ``seconds``; JSON has no infinity, which stands for more than a day."""
    return 2.0 * DAY if seconds == float("inf") else seconds
