"""The rows of the catalog: one event each, in Segment's words and in Meta's. Pure.

Source: Segment, "Spec: Ecommerce V2", and the code of its Meta destinations
(segmentio/action-destinations, segmentio/analytics.js-integrations), read 2026-11-25; names and
word orders: segmentio/analytics-events.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from bridge.errors import ConfigError
from bridge.events.event import STANDARD_EVENTS, is_event_name

Lines = Literal["none", "self", "products", "either"]

LINES: tuple[Lines, ...] = ("none", "self", "products", "either")
NOTHING: Mapping[str, Any] = {}
_SEPARATORS = dict.fromkeys(map(ord, " _-"))
_STANDARD_LOWER = frozenset(name.lower() for name in STANDARD_EVENTS)


VALUE = ("value", "revenue")
NAMES: Mapping[str, str] = {"name": "content_name", "category": "content_category"}


class EventMapping(NamedTuple):
    """One row: an event in Segment's words and in Meta's.

    Attributes:
        spec: Segment's name. Any case, spaces or underscores, and its last word first all count:
            ``Order Completed``, ``completed_order``.
        meta: Meta's: a standard event or a custom one; by default the same as ``spec``.
        aliases: Other names that mean the same.
        value: Properties that may be the event's value, the first that is given wins.
        lines: Where the products are: in ``products``, in the properties themselves, in ``either``
            of them, or nowhere.
        rename: Segment's properties → Meta's, other than those of ``lines``, in addition to what
            holds for every event: ``name`` is ``content_name``, ``category`` ``content_category``.
        counts: Whether Meta wants ``num_items``.
    """

    spec: str
    meta: str = ""
    aliases: tuple[str, ...] = ()
    value: tuple[str, ...] = VALUE
    lines: Lines = "none"
    rename: Mapping[str, str] = NOTHING
    counts: bool = False


_ORDER = ("revenue", "value", "total")
_PRICE = (*VALUE, "price")

# The names that hold for every event are added where a catalog takes the rows.
EVENTS: tuple[EventMapping, ...] = (
    EventMapping("Products Searched", "Search", (), VALUE, "either", {"query": "search_string"}),
    # Before the list: what Meta calls ViewContent is one product, where nothing says otherwise.
    EventMapping("Product Viewed", "ViewContent", ("Product Details Viewed",), _PRICE, "self"),
    EventMapping(
        "Product List Viewed", "ViewContent", ("Product Category Viewed",), VALUE, "products"
    ),
    EventMapping("Product Added", "AddToCart", (), _PRICE, "self"),
    EventMapping(
        "Product Added to Wishlist",
        "AddToWishlist",
        ("Added Product to Wishlist",),
        _PRICE,
        "self",
    ),
    EventMapping("Checkout Started", "InitiateCheckout", (), _ORDER, "products", counts=True),
    EventMapping("Payment Info Entered", "AddPaymentInfo", (), _ORDER, "products"),
    EventMapping("Order Completed", "Purchase", (), _ORDER, "products", counts=True),
    EventMapping("Signed Up", "CompleteRegistration"),
    EventMapping("Lead Generated", "Lead"),
)


def check_mapping(mapping: object) -> EventMapping:
    """Return a row of the app's own, whole.

    Raises:
        ConfigError: It is not an EventMapping, or one of its names cannot be that of an event.
    """
    if not isinstance(mapping, EventMapping):
        raise ConfigError(f"mappings must be EventMapping objects, got {type(mapping).__name__}")
    row = mapping._replace(meta=mapping.meta or mapping.spec)
    for key, kind in (("aliases", list | tuple), ("value", list | tuple), ("rename", Mapping)):
        if not isinstance(getattr(row, key), kind):
            got = type(getattr(row, key)).__name__
            raise ConfigError(f"mappings: {key} of {row.spec!r} must hold names, got {got}")
    for name in (row.spec, row.meta, *row.aliases):
        if not is_event_name(name):
            raise ConfigError(f"mappings must have names of 1 to 100 characters, got {name!r}")
        if name not in STANDARD_EVENTS and name.lower() in _STANDARD_LOWER and name != row.spec:
            raise ConfigError(f"mappings: Meta's names are case-sensitive, got {name!r}")
    if row.spec in STANDARD_EVENTS:
        raise ConfigError(f"mappings: {row.spec} is Meta's own name, which no row can change")
    if not are_texts(row.value) or not are_texts([*row.rename, *row.rename.values()]):
        raise ConfigError(f"mappings: value and rename of {row.spec!r} must name properties")
    if row.lines not in LINES:
        raise ConfigError(f"mappings: lines must be {', '.join(LINES)}, got {row.lines!r}")
    return row


def add_names(row: EventMapping) -> EventMapping:
    """Return ``row`` with the names that hold for every event, its own first."""
    taken = {*row.rename, *row.rename.values()}
    common = {
        ours: theirs for ours, theirs in NAMES.items() if ours not in taken and theirs not in taken
    }
    return row._replace(rename={**row.rename, **common})


def are_texts(values: object) -> bool:
    """Whether ``values`` is a list of texts, none of them empty."""
    return isinstance(values, list | tuple) and all(isinstance(v, str) and v for v in values)


def fold(name: str) -> str:
    """Return ``name`` as names are compared: in lower case, without what separates words."""
    return name.lower().translate(_SEPARATORS)


def list_keys(row: EventMapping) -> list[str]:
    """Return the folded names of ``row``: as they are, and with the action before the object."""
    keys = []
    for name in (row.spec, *row.aliases):
        words = [fold(word) for word in name.replace("_", " ").split()]
        orders = (words, [*words[-1:], *words[:-1]], [*words[1:], *words[:1]])
        keys += ["".join(order) for order in orders]
    return list(dict.fromkeys(keys))
