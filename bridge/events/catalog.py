"""Segment's spec and Meta's standard events: one table, read in both directions. Pure.

An event may be named in either language. What the caller wrote in Segment's is put into Meta's for
the Conversions API and for the pixel (``to_meta``), and what was written in Meta's into Segment's
for its tracking API (``to_spec``). The browser's script reads the same table (``to_json``).

Systems that translate between the two disagree. What is done here, and why:

==================  ===============================================================================
Value of a purchase A number: ``revenue``, else ``value``, else ``total``. ``revenue`` leaves tax
                    and shipping out, and Segment's own destination reads nothing else; so it gets
                    ``revenue`` and ``total`` always.
Value of a product  ``value``, else ``price``: what one costs, as Segment's destinations read it.
Product id          ``product_id``, else ``sku``, else ``id``: Segment's cloud order. Others begin
                    with ``sku``; the catalog of the ads decides, so it can be configured.
num_items           The sum of quantities: Meta's "number of items when checkout was initiated".
                    Segment's classic pixel counts lines; that can be configured.
content_ids         A list of texts, also of one: a bare text is read by some and refused by others.
content_type        The text ``product``; ``product_group`` for a list of which only the category is
                    known. Segment's classic pixel sends a list, its cloud destination nothing.
currency            Upper case, as Segment's destination insists. Never made up: a purchase without
                    one is refused, and a product's price without one is no value.
Event id            ``properties.event_id``; ``messageId`` is another, since Segment drops what
                    repeats one.
==================  ===============================================================================

Source: Segment, "Spec: Ecommerce V2", and the code of its Meta destinations
(segmentio/action-destinations, segmentio/analytics.js-integrations), read 2026-11-25; names and
word orders: segmentio/analytics-events; Meta, "Standard Parameters", read 2026-11-23.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from bridge.errors import ConfigError, InvalidEventError
from bridge.events.catalog_rows import (
    EVENTS,
    LINES,
    NOTHING,
    EventMapping,
    add_names,
    are_texts,
    check_mapping,
    fold,
    list_keys,
)
from bridge.events.event import STANDARD_EVENTS
from bridge.events.standard import ENVELOPE

__all__ = ["EVENTS", "NOTHING", "Catalog", "EventMapping", "Translated"]

CACHE_SIZE = 1024  # names
_LINE_WORDS = {"id": "product_id", "item_price": "price"}


class Translated(NamedTuple):
    """An event in the other language; its properties are a new object."""

    name: str
    properties: dict[str, Any]


class Catalog:
    """The table of one app.

    Args:
        mappings: The app's own rows; one with a name that the table has replaces that row.
        product_id: Properties that may be a product's id, the first that is given wins.
        num_items: ``quantities`` adds them up, ``lines`` counts products.
        forbid_unknown: Refuse events that are neither Meta's, nor Segment's, nor among
            ``mappings``: a mistyped name then shows at the call.

    Raises:
        ConfigError: A value that cannot be right.
    """

    def __init__(
        self,
        mappings: Iterable[EventMapping] = (),
        *,
        product_id: str | Iterable[str] = ("product_id", "sku", "id"),
        num_items: Literal["quantities", "lines"] = "quantities",
        forbid_unknown: bool = False,
    ) -> None:
        own = [check_mapping(mapping) for mapping in mappings]
        keys = [product_id] if isinstance(product_id, str) else product_id
        if not are_texts(keys) or not keys:
            raise ConfigError("product_id must be names of properties, such as product_id and sku")
        self._product_ids = tuple(keys)
        if num_items not in ("quantities", "lines"):
            raise ConfigError(f"num_items must be quantities or lines, got {num_items!r}")
        self._counts_lines = num_items == "lines"
        self._forbids_unknown = forbid_unknown
        replaced = {fold(row.spec) for row in own}
        kept = [row for row in EVENTS if replaced.isdisjoint(list_keys(row))]
        self._rows = [add_names(row) for row in (*kept, *own)]
        self._by_name = {key: row for row in self._rows for key in list_keys(row)}
        self._by_meta = {row.meta: row for row in reversed(self._rows)}
        # Names come from apps, which have few; one that makes them up must not fill the memory.
        self.find = lru_cache(CACHE_SIZE)(self._find)

    def _find(self, name: str) -> EventMapping | None:
        """Return the row of ``name``, if it is one of Segment's or of the app's."""
        return None if name in STANDARD_EVENTS else self._by_name.get(fold(name))

    def check(self, name: str) -> None:
        """Refuse a name that is not in the table, if the app forbids that.

        Raises:
            InvalidEventError: With the closest name that there is.
        """
        if not self._forbids_unknown or name in STANDARD_EVENTS or self.find(name):
            return
        known = sorted({*STANDARD_EVENTS, *(row.spec for row in self._rows)})
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else "add an EventMapping for it"
        raise InvalidEventError("event_name", f"is not in this app's catalog; {hint}")

    # Segment → Meta

    def to_meta(self, name: str, properties: Mapping[str, Any]) -> Translated:
        """Return an event in Meta's words; one without a row stays as it is.

        Raises:
            InvalidEventError: ``products`` is no list of products with ids.
        """
        row = self.find(name)
        if row is None:
            return Translated(name, dict(properties))
        rest = {k: v for k, v in properties.items() if v is not None and k not in ENVELOPE}
        built: dict[str, Any] = {}
        # Meta takes an amount beside its currency only; a price alone is no value.
        usable = [key for key in row.value if key != "price" or rest.get("currency")]
        chosen = next((key for key in usable if key in rest), None)
        if chosen is not None:
            built["value"] = rest[chosen] if chosen == "price" else rest.pop(chosen)
        for ours, theirs in row.rename.items():
            if ours in rest:
                built[theirs] = rest.pop(ours)
        contents = self._take_contents(row, rest)
        if contents is not None:
            built |= _describe(row, contents, built.get("content_category"))
            if row.counts and contents:
                built["num_items"] = self._count(contents)
        if chosen == "price":
            rest.pop("price", None)
        # What the caller gave in Meta's own words comes first, except for the value of an order.
        given_value = {"value": built["value"]} if chosen is not None else {}
        return Translated(row.meta, {**built, **rest, **given_value})

    def _take_contents(
        self, row: EventMapping, rest: dict[str, Any]
    ) -> list[dict[str, Any]] | None:
        """Return Meta's ``contents``, taken out of ``rest``; ``None`` if there are none."""
        if row.lines == "none" or "contents" in rest or "content_ids" in rest:
            return None
        products = rest.pop("products", [] if row.meta == "ViewContent" else None)
        if products is None or (row.lines != "products" and not products):
            is_product = row.lines != "products" and any(map(rest.get, self._product_ids))
            return [self._take_line(rest, None)] if is_product else None
        if not isinstance(products, list):
            words = f"expected a list, got {type(products).__name__}"
            raise InvalidEventError("properties.products", words)
        contents = []
        for i, product in enumerate(products):
            line = self._take_line(dict(product), i) if isinstance(product, Mapping) else {}
            if "id" not in line:
                expected = " or ".join(self._product_ids)
                path = f"properties.products[{i}]"
                raise InvalidEventError(path, f"expected an object with {expected}")
            contents.append(line)
        return contents

    def _take_line(self, product: dict[str, Any], index: int | None) -> dict[str, Any]:
        """Return one line of ``contents``, taken out of an item of ``products`` or an event."""
        line: dict[str, Any] = {}
        for key in self._product_ids:
            if product.get(key) not in (None, ""):
                line["id"] = _read_id(product.pop(key), index, key)
                break
        quantity = product.pop("quantity", None)
        line["quantity"] = 1 if quantity is None else quantity
        for ours, theirs in (("price", "item_price"), ("delivery_category", "delivery_category")):
            if (given := product.pop(ours, None)) is not None:
                line[theirs] = given
        return line

    def _count(self, contents: list[dict[str, Any]]) -> int:
        if self._counts_lines:
            return len(contents)
        quantities = [line["quantity"] for line in contents]
        return sum(quantity if isinstance(quantity, int) else 1 for quantity in quantities)

    # Meta → Segment

    def to_spec(
        self,
        name: str,
        custom_data: Mapping[str, Any],
        *,
        said: str = "",
        properties: Mapping[str, Any] = NOTHING,
    ) -> Translated:
        """Return an event in Segment's words; one without a row keeps its name in Meta's.

        Args:
            name: Meta's name.
            custom_data: As Meta takes it.
            said: The name the caller used, if it was Segment's.
            properties: Those the caller used with it: they are kept, and completed only.
        """
        row = self.find(said) if said else self._by_meta.get(name)
        if row is None:
            return Translated(name, dict(custom_data))
        spelled = self._spell(row, custom_data)
        if not said:
            return spelled
        given = _drop_blank(properties)
        products = _join_lines(properties.get("products"), spelled.properties.get("products"))
        if products:
            given["products"] = products
        return Translated(row.spec, {**spelled.properties, **given})

    def _spell(self, row: EventMapping, custom_data: Mapping[str, Any]) -> Translated:
        rest = dict(custom_data)
        is_group = rest.get("content_type") == "product_group"
        is_view = row.meta == "ViewContent"
        lines = _take_lines(rest, is_view=is_view) if row.lines != "none" else []
        if row.spec == "Product Viewed" and (len(lines) > 1 or is_group):
            row = self._by_name.get(fold("Product List Viewed"), row)
        built: dict[str, Any] = {}
        value = rest.pop("value", None)
        if value is not None:
            built |= dict.fromkeys(_name_value(row), value)
        for ours, theirs in row.rename.items():
            if theirs in rest:
                built[ours] = rest.pop(theirs)
        if lines and row.lines == "self":
            built |= lines[0]
        if "price" in row.value and "price" not in rest and value is not None:
            built.setdefault("price", value)
        if lines and (row.lines != "self" or len(lines) > 1):
            built["products"] = lines
        if "total" in rest:
            built.pop("total", None)
        # What Segment's destinations read must be what Meta gets.
        return Translated(row.spec, {**rest, **built})

    # For the script

    def to_json(self) -> str:
        """Return the table for the browser.

        The shape is ``{"rows": [[names, meta, value, lines, rename, counts], …], "ids": […],
        "lines": 0}``: names are folded, lines are 0 for nowhere, 1 for the event itself and 2 for
        its products.
        """
        rows = [
            (
                [key for key, each in self._by_name.items() if each is row],
                row.meta,
                row.value,
                LINES.index("self" if row.lines == "either" else row.lines),
                dict(row.rename),
                int(row.counts),
            )
            for row in self._rows
        ]
        table = {"rows": rows, "ids": self._product_ids, "lines": int(self._counts_lines)}
        # It becomes part of a script, where no text may look like markup.
        return json.dumps(table, separators=(",", ":")).replace("<", "\\u003c")


def _name_value(row: EventMapping) -> tuple[str, ...]:
    """Return what Segment calls the value of an event."""
    if "total" in row.value:
        return ("revenue", "total")
    return ("value",) if "value" in row.value or not row.value else row.value[:1]


def _read_id(value: object, index: int | None, key: str) -> str:
    """Return a product's id as text, which everyone who reads it takes."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        path = "properties" if index is None else f"properties.products[{index}]"
        raise InvalidEventError(f"{path}.{key}", f"expected text, got {type(value).__name__}")
    return str(value)


def _describe(
    row: EventMapping, contents: list[dict[str, Any]], category: object
) -> dict[str, Any]:
    """Return Meta's words for what an event is about."""
    if contents:
        ids = [line["id"] for line in contents if "id" in line]
        return {"content_type": "product", "content_ids": ids, "contents": contents}
    if row.meta != "ViewContent":
        return {"contents": contents}
    if not isinstance(category, str) or not category:
        return {}
    group = {"id": category, "quantity": 1}
    return {"content_type": "product_group", "content_ids": [category], "contents": [group]}


def _join_lines(given: object, spelled: object) -> list[dict[str, Any]] | None:
    """Return products as they were given, each with its id under the name that everyone reads."""
    if not isinstance(given, list) or not isinstance(spelled, list) or len(given) != len(spelled):
        return None
    if not all(isinstance(each, Mapping) for each in (*given, *spelled)):
        return None
    return [ours | _drop_blank(theirs) for ours, theirs in zip(spelled, given, strict=True)]


def _drop_blank(given: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in given.items() if value not in (None, "")}


def _take_lines(rest: dict[str, Any], *, is_view: bool) -> list[dict[str, Any]]:
    """Return Segment's ``products``, taken out of Meta's words."""
    contents, ids = rest.pop("contents", None) or [], rest.pop("content_ids", None) or []
    lines = [_spell_line(line) for line in contents if isinstance(line, Mapping)]
    known = {line["product_id"] for line in lines}
    lines += [{"product_id": str(given)} for given in ids if str(given) not in known]
    if rest.get("content_type") == "product":
        del rest["content_type"]
    # A list of which only the category was known.
    group = {"product_id": rest.get("content_category"), "quantity": 1}
    is_group = is_view and rest.get("content_type") == "product_group"
    if is_group and [{"quantity": 1, **line} for line in lines] == [group]:
        del rest["content_type"]
        return []
    return lines


def _spell_line(line: Mapping[str, Any]) -> dict[str, Any]:
    spelled = {_LINE_WORDS.get(key, key): given for key, given in line.items()}
    return {**spelled, "product_id": str(line.get("id", ""))}
