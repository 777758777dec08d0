"""What an event must carry for where it happened: its page, its app, its chat, and a person.

``parse_event`` checks what holds for every event. The checks here depend on ``action_source`` and
are for events that no visitor's request completes: those from a shop's till, a CRM, an app.

Source: Meta, "Server Event Parameters", "App Events", "Conversions API for Business Messaging",
"AppendAttribution event parameters", "Data Processing Options for US Users" and, for the person,
"Best Practices - Conversions API", read 2026-11-23.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bridge.errors import InvalidEventError
from bridge.events.event import Event, UserData
from bridge.events.properties import check_kinds
from bridge.events.standard import ATTRIBUTION_REQUIRED, DETAILS, SEGMENT, one_of

EXTINFO_LENGTH = 16
PLATFORMS = ("a2", "i2")  # Android, iOS: the first place of extinfo
CHANNELS = ("whatsapp", "messenger", "instagram")
MESSAGING_EVENTS = frozenset(
    """
    AddToCart CartAbandoned InitiateCheckout LeadSubmitted OrderCanceled OrderCreated OrderDelivered
    OrderReturned OrderShipped Purchase QualifiedLead RatingProvided ReviewProvided ViewContent
    """.split()
)
# An event whose user_data has no key outside one of these is refused: too many people share it.
_TOO_BROAD = (
    frozenset({"ct", "country", "st", "zp", "ge", "client_user_agent"}),
    frozenset({"db", "client_user_agent"}),
    frozenset({"fn", "ge"}),
    frozenset({"ln", "ge"}),
)
_CHANNEL = one_of(*CHANNELS)
_LDU_STATES = frozenset({0, *range(1000, 1014)})
# Of each channel: the ids of which one is needed, group by group.
_CHANNEL_IDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "messenger": (("page_id",),),
    "instagram": (("ig_account_id",),),
    "whatsapp": (("page_id", "whatsapp_business_account_id"), ("ctwa_clid",)),
}


def check_source(event: Event) -> None:
    """Check that ``event`` carries what Meta requires for its ``action_source``, and who did it.

    Raises:
        InvalidEventError: Meta would refuse it, and with it the whole batch; names the field.
    """
    _check_person(event.user_data)
    for name, kinds in DETAILS.items():
        given = getattr(event, name) or {}
        for key in given:
            if key not in kinds:
                raise InvalidEventError(f"{name}.{key}", "Meta has no such key here")
        check_kinds(given, kinds, name)
    for key, kind in (("messaging_channel", _CHANNEL), ("customer_segmentation", SEGMENT)):
        value = getattr(event, key)
        if value is not None and not kind.holds(value):
            raise InvalidEventError(key, f"expected {kind.words}")
    _check_data_processing(event)
    if check := _CHECKS.get(event.action_source):
        check(event)
    if event.event_name == "AppendAttribution":
        _check_attribution(event.attribution_data or {})


def _check_person(user_data: UserData) -> None:
    given = {key for key in user_data.__struct_fields__ if getattr(user_data, key)}
    if not any(given <= broad for broad in _TOO_BROAD):
        return
    found = f"only {', '.join(sorted(given))}" if given else "nothing usable"
    raise InvalidEventError(
        "user_data", f"Meta could match nobody: {found}; add an e-mail address, phone or own id"
    )


def _require(value: Mapping[str, Any], keys: tuple[str, ...], path: str) -> None:
    for key in keys:
        if key not in value:
            raise InvalidEventError(f"{path}.{key}", "required, is missing")


def _check_data_processing(event: Event) -> None:
    """Check Limited Data Use: a country with it, and a state with a country."""
    options, prefix = event.data_processing_options, "data_processing_options"
    country, state = event.data_processing_options_country, event.data_processing_options_state
    if options not in (None, [], ["LDU"]):
        raise InvalidEventError(prefix, 'expected ["LDU"] or []')
    if country not in (None, 0, 1):
        raise InvalidEventError(f"{prefix}_country", "expected 1 (US) or 0 (Meta locates)")
    if state is not None and state not in _LDU_STATES:
        raise InvalidEventError(f"{prefix}_state", "expected 0 or one of 1000 to 1013")
    if options and country is None:
        raise InvalidEventError(f"{prefix}_country", "required with LDU, is missing; 0 locates")
    if country is not None and state is None:
        raise InvalidEventError(f"{prefix}_state", "required with a country, is missing")


def _check_website(event: Event) -> None:
    if event.event_source_url is None:
        raise InvalidEventError("event_source_url", "required for website, is missing")


def _check_app(event: Event) -> None:
    """Check ``app_data``: ``extinfo`` has 16 places; the first and the fifth are required."""
    app_data = event.app_data or {}
    _require(app_data, ("advertiser_tracking_enabled", "extinfo"), "app_data")
    extinfo = app_data["extinfo"]
    if len(extinfo) != EXTINFO_LENGTH or extinfo[0] not in PLATFORMS:
        raise InvalidEventError(
            "app_data.extinfo", f"expected {EXTINFO_LENGTH} places, the first of them a2 or i2"
        )
    if not isinstance(extinfo[4], str) or not extinfo[4].strip():
        raise InvalidEventError("app_data.extinfo[4]", "expected the system's version as text")


def _check_messaging(event: Event) -> None:
    if event.messaging_channel is None:
        raise InvalidEventError("messaging_channel", f"required: one of {', '.join(CHANNELS)}")
    if event.event_name not in MESSAGING_EVENTS:
        raise InvalidEventError(
            "event_name", f"business_messaging takes only {', '.join(sorted(MESSAGING_EVENTS))}"
        )
    for group in _CHANNEL_IDS[event.messaging_channel]:
        if not any(getattr(event.user_data, key) for key in group):
            words = f"required for {', or '.join([event.messaging_channel, *group[1:]])}"
            raise InvalidEventError(f"user_data.{group[0]}", words)


def _check_attribution(attribution: Mapping[str, Any]) -> None:
    _require(attribution, tuple(ATTRIBUTION_REQUIRED), "attribution_data")
    if not 0 <= attribution["attribution_share"] <= 1:
        raise InvalidEventError("attribution_data.attribution_share", "expected 0 to 1")


_CHECKS: dict[str, Callable[[Event], None]] = {
    "website": _check_website,
    "app": _check_app,
    "business_messaging": _check_messaging,
}
