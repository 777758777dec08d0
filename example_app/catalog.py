"""What the shop sells."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One thing on the shelf.

    Attributes:
        id: Names it in URLs, and in the ``content_ids`` of Meta's events.
        price: In euros.
        details: Short facts for the product page.
    """

    id: str
    name: str
    kind: str
    price: Decimal
    description: str
    details: tuple[str, ...]


_SHELF = (
    Product(
        id="boston-fern",
        name="Boston Fern",
        kind="Plant",
        price=Decimal("24.00"),
        description=(
            "A fountain of soft, arching fronds that forgives a missed watering and looks at home "
            "in every bathroom with a window."
        ),
        details=("35 cm tall, with its terracotta pot", "Half shade", "Water twice a week"),
    ),
    Product(
        id="monstera",
        name="Monstera Deliciosa",
        kind="Plant",
        price=Decimal("38.00"),
        description=(
            "The one with the holes. Each new leaf unrolls a little larger than the last, so give "
            "it a corner it may keep."
        ),
        details=("60 cm tall, with its stoneware pot", "Bright, no direct sun", "Water weekly"),
    ),
    Product(
        id="snake-plant",
        name="Snake Plant",
        kind="Plant",
        price=Decimal("29.00"),
        description=(
            "Upright, striped and close to indestructible: a good first plant, and a good last one "
            "for those who travel."
        ),
        details=("45 cm tall, with its slate pot", "Sun or shade", "Water every three weeks"),
    ),
    Product(
        id="celadon-planter",
        name="Celadon Planter",
        kind="Pottery",
        price=Decimal("34.50"),
        description=(
            "Fluted by hand and glazed in a green that changes with the light. Comes with a young "
            "aloe, because an empty pot is a sad gift."
        ),
        details=("16 cm wide, 11 cm high", "Stoneware, glazed inside", "Drainage hole and plug"),
    ),
    Product(
        id="terracotta-trio",
        name="Terracotta Trio",
        kind="Pottery",
        price=Decimal("42.00"),
        description=(
            "Three unglazed pots with saucers, thrown from the same clay and fired to three "
            "shades. They breathe, so roots do too."
        ),
        details=("20, 14 and 9 cm high", "Unglazed terracotta", "Frost-proof to -5 °C"),
    ),
    Product(
        id="string-of-pearls",
        name="String of Pearls",
        kind="Plant",
        price=Decimal("27.50"),
        description=(
            "A curtain of small green beads for a high shelf or a sunny window. It drinks little "
            "and grows a hand's breadth a month."
        ),
        details=("Hanging pot, 18 cm wide", "Bright, some sun", "Water every two weeks"),
    ),
    Product(
        id="speckled-vase",
        name="Speckled Vase",
        kind="Pottery",
        price=Decimal("46.00"),
        description=(
            "A generous belly and a narrow neck: three stems of eucalyptus are enough, and they "
            "stay where you put them."
        ),
        details=("24 cm high", "Speckled stoneware", "Watertight, dishwasher-safe"),
    ),
    Product(
        id="watering-can",
        name="Copper Watering Can",
        kind="Tool",
        price=Decimal("59.00"),
        description=(
            "Balanced so that the last drop pours as easily as the first. The copper darkens over "
            "the years; that is part of the plan."
        ),
        details=("1.2 litres", "Solid copper, brass rose", "Made to be repaired"),
    ),
)

CATALOG = {product.id: product for product in _SHELF}
