"""The rules of one server event: an object of ``data``, from its keys to its clock.

Source: Meta, "Server Event Parameters", "Using the API" and the pages named at each rule, read
2026-11-23.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from bridge.sandbox.custom_data import SEGMENTATION, check_custom_data
from bridge.sandbox.kinds import (
    BOOLEAN,
    INTEGER,
    OBJECT,
    TEXT,
    URL,
    Kind,
    all_of,
    check_object,
    check_required,
    is_integer,
    one_of,
)
from bridge.sandbox.other_sources import check_app, check_attribution, check_messaging
from bridge.sandbox.refusal import Finding, Refusal, refuse
from bridge.sandbox.user_data import check_user_data

DAY = 86_400  # seconds
MAX_AGE = 7 * DAY  # "up to 7 days before you send an event to Meta"
MAX_AGE_PHYSICAL_STORE = 62 * DAY
MAX_AHEAD = 60  # seconds; Meta refuses the future and publishes no tolerance
LDU_STATES = (0, *range(1000, 1014))

ACTION_SOURCE = one_of(
    *("email", "website", "app", "phone_call", "chat", "physical_store", "system_generated"),
    *("business_messaging", "other"),
)
KINDS = {
    **all_of(TEXT, "event_name", "event_id", "referrer_url", "advanced_measurement_table"),
    **all_of(OBJECT, "user_data", "custom_data", "app_data"),
    **all_of(OBJECT, "original_event_data", "attribution_data"),
    "event_time": INTEGER,
    "action_source": ACTION_SOURCE,
    "event_source_url": URL,
    "opt_out": BOOLEAN,
    "data_processing_options": Kind(
        '["LDU"] or []', lambda value: isinstance(value, list) and value in ([], ["LDU"])
    ),
    "data_processing_options_country": one_of(0, 1),
    "data_processing_options_state": one_of(*LDU_STATES),
    "messaging_channel": one_of("whatsapp", "messenger", "instagram"),
    "customer_segmentation": SEGMENTATION,
}
ORIGINAL_EVENT_KINDS = {
    **all_of(TEXT, "event_name", "order_id", "event_id"),
    "event_time": INTEGER,
}
_NAMED_HOST = re.compile(r"https?://([a-z0-9.-]+\.[a-z][a-z0-9-]*)(?=[:/?#]|$)", re.IGNORECASE)
REQUIRED = ("event_name", "event_time", "user_data")


def check_event(event: Any, at: str, now: float) -> Iterator[Finding]:
    """Yield what is wrong with ``event``, refusals and warnings; the first refusal is the answer.

    A caller stops at the first refusal: rules further down rely on the ones above.
    """
    if not isinstance(event, dict):
        yield Refusal(message=f"Param {at} must be an object", field=at)
        return
    yield from check_object(event, KINDS, at)
    yield from _check_required(event, at)
    yield from _check_time(event, at, now)
    yield from _check_website(event, at)
    yield from check_user_data(event["user_data"], f"{at}[user_data]")
    custom_data = event.get("custom_data", {})
    yield from check_custom_data(custom_data, event["event_name"], f"{at}[custom_data]")
    yield from _check_data_processing(event, at)
    original = event.get("original_event_data", {})
    yield from check_object(original, ORIGINAL_EVENT_KINDS, f"{at}[original_event_data]")
    yield from check_app(event, at)
    yield from check_messaging(event, at)
    yield from check_attribution(event, at)
    if "event_id" not in event:
        yield "event_id is missing: without it the browser copy must arrive first to be merged"


def _check_required(event: Mapping[str, Any], at: str) -> Iterator[Refusal]:
    """Source: Meta, "Server Event Parameters"; "Original Event Data Parameters" for AppendValue."""
    late_value = event.get("event_name") == "AppendValue" and "original_event_data" in event
    yield from check_required(event, REQUIRED if late_value else (*REQUIRED, "action_source"), at)


def _check_time(event: Mapping[str, Any], at: str, now: float) -> Iterator[Refusal]:
    """Source: Meta, "Using the API", event time; "Offline Events" for 62 days."""
    event_time = event["event_time"]
    in_store = event.get("action_source") == "physical_store"
    max_age, days = (MAX_AGE_PHYSICAL_STORE, 62) if in_store else (MAX_AGE, 7)
    if event_time < now - max_age:
        what = f"is more than {days} days ago: {event_time}"
        yield refuse(at, "event_time", what, subcode=2804003)
    if event_time > now + MAX_AHEAD:
        hint = ", which looks like milliseconds" if event_time > 100_000_000_000 else ""
        what = f"is in the future{hint}: {event_time}; send Unix seconds"
        yield refuse(at, "event_time", what, subcode=2804004)


def _check_website(event: Mapping[str, Any], at: str) -> Iterator[Finding]:
    """Yield what a website event lacks.

    Source: Meta, "Server Event Parameters", ``action_source``. A missing user agent is documented
    as an error, but was accepted by live v26.0.
    """
    if event.get("action_source") != "website":
        return
    if "event_source_url" not in event:
        yield refuse(at, "event_source_url", "is required when action_source is website")
    if "client_user_agent" not in event["user_data"]:
        yield "client_user_agent is missing: Meta's documents require it for website events"
    if "client_ip_address" not in event["user_data"] and _is_public(event["event_source_url"]):
        yield "client_ip_address is missing: behind a proxy, trusted_proxies must name it"


def _is_public(url: str) -> bool:
    """Return whether ``url`` is on a host of the internet, whose visitors have an address."""
    found = _NAMED_HOST.match(url)
    return found is not None and not found[1].lower().endswith((".localhost", ".local"))


def _check_data_processing(event: Mapping[str, Any], at: str) -> Iterator[Finding]:
    """Yield what is wrong with Limited Data Use.

    Source: Meta, "Data Processing Options for US Users": country with LDU, state with country, and
    the IP address if Meta has to locate the person (0, 0).
    """
    country = event.get("data_processing_options_country")
    state = event.get("data_processing_options_state")
    limited = event.get("data_processing_options") == ["LDU"]
    if limited and country is None:
        yield refuse(at, "data_processing_options_country", "is required with LDU")
    if is_integer(country) and state is None:
        yield refuse(at, "data_processing_options_state", "is required with a country")
    if limited and not state and "client_ip_address" not in event["user_data"]:
        yield "LDU asks Meta to locate the person, but client_ip_address is missing"
    if "data_processing_options" not in event and (country is not None or state is not None):
        yield "country or state of data processing without data_processing_options has no effect"
