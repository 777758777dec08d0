"""``pixel-bridge explain``: one event as it would go out, and what Segment makes of it."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import msgspec
import typer

from bridge.api import explain
from bridge.cli.origin import App, ShopName, load_site
from bridge.cli.screen import say, say_blocks, say_json, say_marked
from bridge.errors import ConfigError, InvalidEventError
from bridge.events.event import MAX_BYTES
from bridge.explain.explainer import Explanation
from bridge.sandbox.segment_fields import Declined

REFUSED = 1  # exit code
SIDE_BY_SIDE = 132  # columns of a terminal

_MARKS = {"error": ("error:", "bold red"), "warning": ("warning:", "yellow"), "info": ("-", "dim")}

Source = Annotated[
    str | None,
    typer.Argument(metavar="EVENT", help="JSON, a file that contains it, or - for stdin."),
]
Properties = Annotated[
    list[str] | None,
    typer.Option(
        "--property", metavar="KEY=VALUE", help="With --event: JSON or plain text; may be repeated."
    ),
]


def explain_event(
    source: Source = None,
    event: Annotated[
        str | None, typer.Option("--event", metavar="NAME", help="Its name, instead of JSON.")
    ] = None,
    properties: Properties = None,
    only: Annotated[
        Literal["meta"] | None,
        typer.Option(help="Leave Segment out; the default if you have no Segment source."),
    ] = None,
    app: App = None,
    shop: ShopName = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Show one event as Meta and Segment would get it.

    Also shows what Segment sends on to Meta: by the default mapping of its destination "Facebook
    Conversions API (Actions)". Nothing is sent or stored, and no settings are needed. Exits with
    1 if the event would be refused.
    """
    given = _read_event(source, event, properties or [])
    run, has_segment = _find_explain(app, shop)
    try:
        explanation = run(given)
    except InvalidEventError as error:
        if as_json:
            say_json({"error": {"field": error.field, "reason": error.reason}})
        else:
            say(f"refused: {error}", stderr=True)
        raise typer.Exit(REFUSED) from None
    is_brief = only == "meta" or not has_segment
    told = explanation.only_meta() if is_brief else explanation.to_dict()
    if as_json:
        say_json(told)
        return
    if is_brief:
        say(_format(explanation.meta))
    else:
        _say_all(explanation)
    say("")
    for remark in told["warnings"]:
        mark, style = _MARKS[remark["level"]]
        place = f"{remark['path']}: " if remark["path"] else ""
        say_marked(mark, style, f"{place}{remark['words']} [{remark['code']}]")


def _find_explain(app: str | None, shop: str | None) -> tuple[Callable[[Any], Explanation], bool]:
    """Return ``explain`` of the app's bridge, or with the default settings, which have Segment."""
    if app is None and not any(name.startswith("BRIDGE_") for name in os.environ):
        return explain, True
    try:
        bridge = load_site(app, shop)
    except ConfigError as error:
        if app is not None:
            raise
        say(f"shown without your settings: {error}", stderr=True)
        return explain, True
    return bridge.explain, bridge.destinations.segment is not None


def _say_all(explanation: Explanation) -> None:
    actions = explanation.actions
    if isinstance(actions, Declined):
        theirs = f"refused: {actions.path}: {actions.reason}"
    else:
        theirs = _format(actions)
    blocks = [
        ("Meta, from us", _format(explanation.meta)),
        ("Segment", _format(explanation.segment)),
        ("Meta, from Segment by default", theirs),
    ]
    say_blocks(blocks, side_by_side=SIDE_BY_SIDE)


def _format(payload: dict[str, Any]) -> str:
    return json.dumps(payload, indent=2, ensure_ascii=False)


# Reading the event


def _read_event(source: str | None, name: str | None, properties: list[str]) -> Any:
    """Return the event given on the command line.

    Raises:
        ConfigError: There is none, there are two, or it is not JSON.
    """
    if name is not None:
        if source is not None:
            raise ConfigError("give --event or JSON, not both")
        return {"event_name": name, "custom_data": dict(map(_read_property, properties))}
    if properties:
        raise ConfigError("--property needs --event")
    if source is None and sys.stdin.isatty():
        raise ConfigError("give an event: JSON, a file, - for stdin, or --event NAME")
    if source is not None and source.lstrip().startswith(("{", "[")):
        return _decode(source.encode("utf-8", "surrogateescape"))
    if source in (None, "-"):
        return _decode(_read_bounded(sys.stdin.buffer))
    try:
        with Path(source).open("rb") as file:
            return _decode(_read_bounded(file))
    except OSError as error:
        is_name = source.replace(" ", "").isalnum()
        hint = f"; an event's name is given as --event {shlex.quote(source)}" if is_name else ""
        raise ConfigError(f"cannot read {source}: {error.strerror}{hint}") from None


def _read_property(text: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise ConfigError("--property must be like value=59")
    try:
        return key, msgspec.json.decode(value)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return key, value


def _read_bounded(stream: BinaryIO) -> bytes:
    content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ConfigError(f"expected one event of at most {MAX_BYTES:,} bytes")
    return content


def _decode(content: bytes) -> Any:
    try:
        return msgspec.json.decode(content.removeprefix(b"\xef\xbb\xbf"))
    except RecursionError:
        raise ConfigError("expected one event as JSON: nested too deeply") from None
    except (msgspec.MsgspecError, ValueError) as error:
        # The message names a position, never the value there.
        raise ConfigError(f"expected one event as JSON: {error}") from None
