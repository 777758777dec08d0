"""What reading an event must know of the app. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.events.catalog import Catalog
from bridge.events.tripwire import Tripwire
from bridge.events.urls import PRIVATE_PARAMETERS


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRules:
    """How an app's events are read.

    Attributes:
        catalog: Segment's names and Meta's.
        tripwire: Finds personal data where none belongs.
        phone_region: ISO 3166-1 alpha-2 country of phone numbers without a country code.
        private_parameters: Query parameters that never leave, normalised.
    """

    catalog: Catalog
    tripwire: Tripwire
    phone_region: str | None = None
    private_parameters: frozenset[str] = PRIVATE_PARAMETERS
