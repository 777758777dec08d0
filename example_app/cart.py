"""A cart: what somebody is about to buy, or has bought."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from example_app.catalog import CATALOG, Product

CURRENCY = "EUR"
MAX_QUANTITY = 10  # of one product


@dataclass(frozen=True, slots=True)
class Line:
    """A quantity of one product."""

    product: Product
    quantity: int

    @property
    def total(self) -> Decimal:
        """The line's price, in euros."""
        return self.product.price * self.quantity


@dataclass(frozen=True, slots=True)
class Cart:
    """The lines of a cart or of an order."""

    lines: tuple[Line, ...]

    @classmethod
    def of(cls, quantities: Mapping[str, int]) -> Cart:
        """Return the cart for ``{"boston-fern": 2}``, without products that are no longer sold."""
        return cls(tuple(Line(CATALOG[id_], n) for id_, n in quantities.items() if id_ in CATALOG))

    @property
    def quantities(self) -> dict[str, int]:
        """The quantities by product id, as ``of`` takes them."""
        return {line.product.id: line.quantity for line in self.lines}

    @property
    def count(self) -> int:
        """The number of items in it."""
        return sum(line.quantity for line in self.lines)

    @property
    def total(self) -> Decimal:
        """The price of all lines, in euros."""
        return sum((line.total for line in self.lines), Decimal(0))

    @property
    def properties(self) -> dict[str, Any]:
        """The properties of Meta's events for these lines, in handlers and in pages."""
        return {
            "value": float(self.total),
            "currency": CURRENCY,
            "content_type": "product",
            "content_ids": [line.product.id for line in self.lines],
            "contents": [
                {
                    "id": line.product.id,
                    "quantity": line.quantity,
                    "item_price": float(line.product.price),
                }
                for line in self.lines
            ],
        }
