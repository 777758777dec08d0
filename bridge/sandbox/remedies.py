"""Remedies: for each refusal, what to change in the app, in the words of Bridge's own settings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from bridge.sandbox.refusal import Refusal

MAX_EVENT_BYTES = 32 * 1024  # of a refused event that is kept for the page

_INDEX = re.compile(r"data\[(\d{1,4})\]")
_LAST_KEY = re.compile(r"\[([^\[\]]+)\]$")

BY_CODE = {
    190: "Give the app the token of this sandbox: BRIDGE_ACCESS_TOKEN, or --access-token here.",
    2500: "Use a Graph version that exists: BRIDGE_API_VERSION=v26.0.",
    2635: "Use a newer Graph version: BRIDGE_API_VERSION=v26.0.",
}
BY_SUBCODE = {
    33: "BRIDGE_PIXEL_ID must be a pixel of this sandbox; --pixel-id adds one.",
    2804003: "Send an event within 7 days (62 in a physical store); event_time is Unix seconds.",
    2804004: "event_time must be Unix seconds, not milliseconds; is the machine's clock right?",
    2804009: 'Give a Purchase its value: track("Purchase", {"value": 59.0, "currency": "EUR"}).',
    2804016: "Normalise, then hash with SHA-256. identify(email=…) does both.",
    2804023: 'Name the currency beside the value: {"value": 59.0, "currency": "EUR"}.',
    2804050: (
        "Say who it was: identify(email=…), or in a webhook visitor=bridge.unseal(token), so that"
        " the event carries the visitor's own identifiers."
    ),
}
BY_KEY = {
    "action_source": "Use one of Meta's words; website for what happens in a browser.",
    "event_source_url": "A website event needs its page's URL: track in the visitor's request, or"
    " give event_source_url=.",
    "currency": "Use three letters of ISO 4217, such as EUR.",
    "value": "Give a number, without a currency sign.",
    "client_ip_address": "One address, without port: set trusted_proxies to name the proxy.",
    "event_time": "Whole Unix seconds.",
    "user_data": "Track in a visitor's request, or pass visitor=.",
    "data": "Send 1 to 1000 events a request.",
}
UNEXPECTED = "Meta takes no such key here: move it to custom_data, or leave it out."


def find_remedy(refusal: Refusal) -> str:
    """Return what to change so that the request is accepted; empty if the message says it all."""
    if refusal.code in BY_CODE:
        return BY_CODE[refusal.code]
    if refusal.subcode in BY_SUBCODE:
        return BY_SUBCODE[refusal.subcode]
    if refusal.message.startswith("Unexpected key"):
        return UNEXPECTED
    key = _LAST_KEY.search(refusal.field)
    return BY_KEY.get(key[1] if key else refusal.field, "")


def find_blamed(refusal: Refusal, events: Sequence[Any]) -> Any:
    """Return the event that a request was refused for, ``None`` if that is not told or too large.

    Without a field, but with one event, it is that one.
    """
    index = _INDEX.match(refusal.field)
    number = int(index[1]) if index else 0
    if (index is None and len(events) != 1) or number >= len(events):
        return None
    event = events[number]
    return event if len(msgspec.json.encode(event)) <= MAX_EVENT_BYTES else None
