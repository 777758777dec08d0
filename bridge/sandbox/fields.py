"""Graph's ``fields``: the parts of an answer that are asked for, as in ``web{event_name}``. Pure.

Source: the examples of Meta's "Dataset Quality API", read 2026-11-29. Meta documents no grammar;
that Graph calls a syntax error 2500 is known from answers that people quote.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from bridge.sandbox.refusal import Refusal

MAX_LENGTH = 4096  # characters
MAX_DEPTH = 8  # levels of braces

Tree = dict[str, Any]
"""Names asked for, each with the tree below it; empty for a name without braces."""

_TOKEN = re.compile(r"\s*([a-z_][a-z0-9_]*|[{},]|.)", re.DOTALL)


class FieldsError(Exception):
    """The text is not of Graph's grammar."""


def parse_fields(text: str) -> Tree | Refusal:
    """Return the fields that ``text`` names, or Graph's refusal of its grammar."""
    if len(text) > MAX_LENGTH:
        return Refusal(message=f"Param fields must be at most {MAX_LENGTH} characters")
    tokens = iter([*_TOKEN.findall(text.strip()), ""])
    try:
        tree, end = _parse_level(tokens, 0)
    except FieldsError as error:
        return Refusal(code=2500, message=f'Syntax error "{error}" in {text[:60]}')
    if end:
        return Refusal(code=2500, message=f'Syntax error "Expected end of string, got {end}"')
    return tree


def _parse_level(tokens: Iterator[str], depth: int) -> tuple[Tree, str]:
    """Return one level's fields, and the token that ends it: ``}`` or nothing."""
    if depth > MAX_DEPTH:
        raise FieldsError(f"Expected at most {MAX_DEPTH} levels")
    tree: Tree = {}
    while True:
        name = next(tokens, "")
        if not name.replace("_", "a").isalnum():
            raise FieldsError("Expected name.")
        tree.setdefault(name, {})
        end = next(tokens, "")
        if end == "{":
            tree[name], end = _parse_level(tokens, depth + 1)
            if end != "}":
                raise FieldsError("Expected } instead of end of string.")
            end = next(tokens, "")
        if end in ("", "}"):
            return tree, end
        if end != ",":
            raise FieldsError(f"Expected end of string instead of {end}.")


def find_unknown(asked: Tree, schema: Mapping[str, Any], without: frozenset[str]) -> str | None:
    """Return a name in ``asked`` that is not in ``schema``, or is one of ``without``."""
    for name, below in asked.items():
        if name not in schema or name in without:
            return name
        unknown = find_unknown(below, schema[name], without)
        if unknown is not None:
            return unknown
    return None


def select(value: Any, asked: Tree, schema: Mapping[str, Any]) -> Any:
    """Return of ``value`` what was asked for; of a name without braces, what is not in ``_more``.

    ``schema`` has for each name the names below it; ``_more`` there lists those that must be named.
    """
    if isinstance(value, list):
        return [select(each, asked, schema) for each in value]
    if not isinstance(value, dict):
        return value
    more = schema.get("_more", ())
    names = asked or [name for name in schema if name not in (*more, "_more")]
    return {
        name: select(value[name], asked.get(name, {}), schema[name])
        for name in names
        if name in value
    }
