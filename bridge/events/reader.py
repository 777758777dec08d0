"""The one gate for what comes in: an event's properties, user data and URLs.

``track`` and ``enrich``, the browser's reports, ``explain`` and ``import`` all read with this
class. It copies properties so that JSON carries them, takes personal data out, reads amounts, puts
Segment's words into Meta's, and checks the result as Meta does. How one way in differs from the
others is written in its ``Entrance``. Pure.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from bridge.errors import InvalidEventError
from bridge.events.catalog import Catalog
from bridge.events.event import STANDARD_EVENTS, URL_KEYS
from bridge.events.personal_values import NONE, describe_kind, find_personal_id
from bridge.events.plain_properties import copy_plain_properties
from bridge.events.properties import (
    MAX_DEPTH,
    MAX_KEYS,
    are_right,
    check_properties,
    copy_plain,
    copy_properties,
    read_lists,
    read_numbers,
)
from bridge.events.standard import DETAILS, ENVELOPE
from bridge.events.tripwire import Found, Tripwire
from bridge.events.urls import MAX_READ, PRIVATE_PARAMETERS, clean_url
from bridge.events.user_data import OnDropped, log_dropped, read_user_data

# Besides names and ids, the texts of an event that Meta defines.
_TEXTS = frozenset(
    """
    messaging_channel customer_segmentation advanced_measurement_table data_processing_options
    """.split()
)
_NAMES = {*_TEXTS, "event_name"}
_UNUSUAL = _TEXTS.union(DETAILS, URL_KEYS)  # most events come without
_PLAIN_KEYS = {"auditing_token": "auditing"}  # its name would make it a secret
_log = logging.getLogger("bridge.events")

_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))

OnRemoved = Callable[[object, str, Sequence[Found]], None]
"""Called with an event's name, the place of an object in it, and what was removed from there."""


class Entrance(NamedTuple):
    """How one way in differs from the others.

    Attributes:
        path: Where the properties are, for messages.
        translates: Whether a name and properties in Segment's words become Meta's.
        checks_custom: Whether properties of events that only the app defines are checked too.
        drops: Whether a property that is not right is left out; otherwise the event is refused.
        max_number: A larger number refuses the event, whatever ``drops`` says.
    """

    path: str = "custom_data"
    translates: bool = True
    checks_custom: bool = True
    drops: bool = False
    max_number: int | None = None


SERVER_EVENT = Entrance()
# Events of the app's own end at Segment, unless a mapping there brings them to Meta.
TRACK_MESSAGE = Entrance("properties", checks_custom=False)
# The pixel has it already, under this name and with whatever properties: a server copy without one
# of them is better than none. No page means a number that JavaScript cannot hold.
BROWSER_REPORT = Entrance(translates=False, drops=True, max_number=2**53)


class Reading(msgspec.Struct, frozen=True):
    """An event's properties, as they were read.

    Attributes:
        name: The event's name in Meta's words.
        custom_data: In Meta's words, fit to be sent.
        spec_name: The name as it was given, if it is one of Segment's or of the app's; else ``""``.
        properties: As they were given: without personal data, their numbers read.
    """

    name: Any
    custom_data: dict[str, Any]
    spec_name: str
    properties: dict[str, Any]


class EventReader:
    """Reads events as one app wants them read.

    Args:
        catalog: Segment's names and Meta's.
        tripwire: Finds personal data where it does not belong.
        phone_region: ISO 3166-1 alpha-2 country of phone numbers without a country code.
        private_parameters: Query parameters that never leave with a URL, normalised.
    """

    def __init__(
        self,
        catalog: Catalog | None = None,
        tripwire: Tripwire | None = None,
        *,
        phone_region: str | None = None,
        private_parameters: frozenset[str] = PRIVATE_PARAMETERS,
    ) -> None:
        self.catalog = catalog or Catalog()
        self.phone_region = phone_region
        self._tripwire = tripwire or Tripwire()
        self._private_parameters = private_parameters

    def read_event(
        self,
        given: Mapping[str, Any],
        entrance: Entrance,
        on_removed: OnRemoved,
        *,
        on_dropped: OnDropped = log_dropped,
        today: date | None = None,
    ) -> tuple[dict[str, Any], dict[str, Any], Reading]:
        """Return a server event as far as it was given, safe to keep and to send.

        Args:
            given: Keys of a server event; its name and ``custom_data`` may be in Segment's words.
                ``None`` counts as not given.
            entrance: Where it comes in.
            on_removed: Called if personal data was removed.
            on_dropped: Called if user data was left out.
            today: Later birth dates are left out.

        Returns:
            Its keys in Meta's words, without ``user_data``; its user data, hashed; and how its name
            and properties were read.

        Raises:
            InvalidEventError: Meta would refuse the event; the message names the field.
        """
        fields = {key: value for key, value in given.items() if value is not None}
        raw, user_data = fields.pop("user_data", None), {}
        if raw is not None:
            user_data = read_user_data(
                raw, default_region=self.phone_region, today=today, on_dropped=on_dropped
            )
        if not _UNUSUAL.isdisjoint(fields):
            for key in URL_KEYS:
                if isinstance(fields.get(key), str):
                    # parse_event refuses it by name
                    fields[key] = self.clean_url(fields[key]) or ""
            self.read_details(fields, on_removed)
        reading = self.read(
            fields.get("event_name"), fields.get("custom_data"), entrance, on_removed
        )
        fields["custom_data"] = reading.custom_data
        if reading.spec_name:
            fields["event_name"] = reading.name
        return fields, user_data, reading

    def read(
        self, name: object, given: object, entrance: Entrance, on_removed: OnRemoved
    ) -> Reading:
        """Return an event's properties in both languages, fit to be sent.

        Raises:
            InvalidEventError: Meta would refuse the event; the message names the property.
        """
        path, translates, checks_custom, drops, max_number = entrance
        row = None
        if isinstance(name, str):
            row = self.catalog.find(name)
            if translates and row is None and name not in STANDARD_EVENTS:
                self.catalog.check(name)
        is_purchase = name == "Purchase"
        if row is None:
            copy_own = self._copy_harmless
            if max_number is not None:
                copy_own = partial(copy_own, max_number=max_number)
            copied = copy_plain_properties(given, is_purchase=is_purchase, copy_own=copy_own)
            if copied is not None:
                return Reading(name, copied, "", copied)
        if max_number is not None:
            _check_numbers(given, max_number, path, MAX_DEPTH)
        plain = self.copy(name, given, path, on_removed, drops)
        if row is None and are_right(plain, is_purchase=is_purchase):
            return Reading(name, plain, "", plain)
        if read_lists(plain, path):
            self.clean(name, plain, path, on_removed)
        if drops:
            plain = _keep_right(plain, path, is_purchase=is_purchase)
        else:
            also = () if row is None else row.value
            read_numbers(plain, path, is_spec=row is not None, also=also)
        meta_name, custom_data, spec_name = name, plain, ""
        if row is not None and translates:
            spec_name = str(name)
            meta_name, custom_data = self.catalog.to_meta(spec_name, plain)
        if spec_name or checks_custom or (isinstance(name, str) and name in STANDARD_EVENTS):
            check_properties(custom_data, is_purchase=meta_name == "Purchase")
        if not spec_name:
            custom_data = _leave_envelope(custom_data, path, is_told=not drops)
        return Reading(meta_name, custom_data, spec_name, plain)

    def copy(
        self,
        name: object,
        given: object,
        path: str,
        on_removed: OnRemoved,
        drops: bool = False,
    ) -> dict[str, Any]:
        """Return a plain copy of properties without personal data: the first step of ``read``.

        If it ``drops``, properties that are not plain are left out.
        """
        if given is None:
            return {}
        plain = _copy_what_is_plain(given, path) if drops else copy_properties(given, path)
        self.clean(name, plain, path, on_removed)
        return plain

    def _copy_harmless(
        self, given: dict[str, Any], max_number: int | None = None
    ) -> dict[str, Any] | None:
        """Return a plain copy of properties if there is nothing to say of them."""
        try:
            if max_number is not None:
                _check_numbers(given, max_number, "custom_data", MAX_DEPTH)
            plain = copy_properties(given, "custom_data")
        except InvalidEventError:
            return None
        return None if self._tripwire.clean(plain) else plain

    def read_details(self, fields: dict[str, Any], on_removed: OnRemoved) -> None:
        """Replace the other objects of a server event by plain copies without personal data.

        What Meta defines there stays, unless its value is a person's: a device is no person.

        Raises:
            InvalidEventError: One is no plain object, or what Meta defines holds personal data.
        """
        for path in _TEXTS & fields.keys():
            self._refuse_personal(fields[path], path)
        for path in DETAILS.keys() & fields:
            given = copy_plain(fields[path], path)
            plain = {key: each for key, each in given.items() if each is not None}
            own = {key: plain.pop(key) for key in [*plain] if key not in DETAILS[path]}
            self.clean(fields.get("event_name"), own, path, on_removed)
            for key, value in plain.items():
                self._refuse_personal(value, f"{path}.{key}")
            fields[path] = plain | own

    def _refuse_personal(self, value: object, path: str) -> None:
        key = path.rpartition(".")[2]
        words = None
        if isinstance(value, str) and key in _NAMES:
            words = find_personal_id(value, NONE)
        elif isinstance(value, str) and key == "event_id":
            words = find_personal_id(value)
        elif found := self._tripwire.clean(copy_plain({_PLAIN_KEYS.get(key, key): value}, path)):
            words = describe_kind(found[0].kind)
        if words:
            raise InvalidEventError(path, f"holds {words}, which would be sent in the clear")

    def clean(self, name: object, plain: dict[str, Any], path: str, on_removed: OnRemoved) -> None:
        """Remove personal data from the object ``plain``, a plain copy, in place."""
        if found := self._tripwire.clean(plain):
            on_removed(name, path, found)

    def read_user_data(
        self, raw: object, *, on_dropped: OnDropped = log_dropped, today: date | None = None
    ) -> dict[str, Any]:
        """Return ``raw`` under Meta's keys, hashed: see ``user_data.read_user_data``."""
        return read_user_data(
            raw, default_region=self.phone_region, today=today, on_dropped=on_dropped
        )

    def clean_url(self, url: str) -> str | None:
        """Return a URL without its private parts; ``None`` if it is no http(s) URL."""
        encoded = quote(url.strip(), safe=_PRINTABLE, errors="replace").encode()
        return clean_url(encoded, self._private_parameters, max_address=MAX_READ)


def _leave_envelope(given: dict[str, Any], path: str, *, is_told: bool) -> dict[str, Any]:
    """Return ``custom_data`` without what belongs to the event itself.

    A track message has no other place for it.
    """
    if path == TRACK_MESSAGE.path or ENVELOPE.isdisjoint(given):
        return given
    if is_told:
        found = ", ".join(sorted(ENVELOPE.intersection(given)))
        words = "belong to the event itself and are left out; pass them beside its properties"
        _log.warning("custom_data: %s %s", found, words)
    return {key: value for key, value in given.items() if key not in ENVELOPE}


def _copy_what_is_plain(given: object, path: str) -> dict[str, Any]:
    """Return a plain copy of ``given`` without the properties that cannot be copied."""
    try:
        return copy_properties(given, path)
    except InvalidEventError:
        if not isinstance(given, Mapping) or len(given) > MAX_KEYS:
            raise
    plain: dict[str, Any] = {}
    for key, value in given.items():
        try:
            plain |= copy_properties({key: value}, path)
        except InvalidEventError:
            continue
    return plain


def _keep_right(given: dict[str, Any], path: str, *, is_purchase: bool) -> dict[str, Any]:
    """Return the properties that Meta takes, out of some in Meta's words.

    A value without a currency is left out as well. A purchase is nothing without its value.

    Raises:
        InvalidEventError: What is wrong with a purchase's value.

    Source: Meta answers 2804023 to a ``value`` without ``currency``, and refuses the whole batch.
    """
    kept: dict[str, Any] = {}
    for key, value in given.items():
        beside = {"currency": given.get("currency")} if key == "value" else {}
        one = {**beside, key: value}
        try:
            read_numbers(one, path, is_spec=False)
            check_properties(one, is_purchase=False)
        except InvalidEventError:
            if is_purchase and key == "value":
                raise
            continue
        kept[key] = one[key]
    return kept


def _check_numbers(value: object, most: int, path: str, depth: int) -> None:
    """Refuse numbers that no page means: Meta would add them up."""
    if isinstance(value, int | float) and not -most <= value <= most:
        raise InvalidEventError(path, f"expected a number up to {most:,}")
    if depth == 0:
        return
    if isinstance(value, dict):
        for key, item in value.items():
            _check_numbers(item, most, f"{path}.{key[:40]}", depth - 1)
    elif isinstance(value, list):
        for item in value:
            _check_numbers(item, most, path, depth - 1)
