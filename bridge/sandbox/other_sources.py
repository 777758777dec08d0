"""The rules of events that are not from a website: app, messaging, attribution.

Source: Meta, "App Events", "Conversions API for Business Messaging" and "AppendAttribution event
parameters", read 2026-11-23; subcodes from real answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bridge.sandbox.kinds import FLAG, ID, LIST, NUMBER, STRING, Kind, check_object, is_text
from bridge.sandbox.refusal import Refusal

_ANY = Kind("any value", lambda value: True)
APP_KINDS = {
    "advertiser_tracking_enabled": FLAG,
    "application_tracking_enabled": FLAG,
    "extinfo": LIST,
    "campaign_ids": _ANY,
    "install_referrer": STRING,
    "installer_package": STRING,
    "url_schemes": LIST,
    "vendor_id": STRING,
    "windows_attribution_id": STRING,
    "consider_views": FLAG,
    "include_dwell_data": FLAG,
    "include_video_data": FLAG,
    "receipt_data": STRING,
}
EXTINFO_LENGTH = 16
ATTRIBUTION_REQUIRED = {
    "ad_id": ID,
    "touchpoint_ts": ID,
    "attribution_share": NUMBER,
    "attribution_value": NUMBER,
}
ATTRIBUTION_KINDS = {
    **ATTRIBUTION_REQUIRED,
    **dict.fromkeys(
        (
            *("scope", "visit_time", "adset_id", "campaign_id", "attribution_model", "attr_window"),
            *("attribution_source", "touchpoint_type", "attribution_method", "decline_reason"),
            *("auditing_token", "linkage_key", "touchpoint_id", "attribution_setting"),
            *("total_credit", "partner_client_id"),
        ),
        _ANY,
    ),
}
MESSAGING_EVENTS = frozenset(
    {
        *("Purchase", "LeadSubmitted", "InitiateCheckout", "AddToCart", "ViewContent"),
        *("OrderCreated", "OrderShipped", "OrderDelivered", "OrderCanceled", "OrderReturned"),
        *("CartAbandoned", "QualifiedLead", "RatingProvided", "ReviewProvided"),
    }
)


def check_app(event: Mapping[str, Any], at: str) -> Iterator[Refusal]:
    """Yield what is wrong with ``app_data``, which an app event must have.

    Source: Meta, "App Events": ``extinfo`` has 16 places, of which 0 and 4 may not be blank.
    """
    app_data = event.get("app_data", {})
    at = f"{at}[app_data]"
    yield from check_object(app_data, APP_KINDS, at)
    if event.get("action_source") != "app":
        return
    for key in ("advertiser_tracking_enabled", "extinfo"):
        if key not in app_data:
            yield Refusal(message=f"Param {at}[{key}] is required", field=f"{at}[{key}]")
    extinfo = app_data["extinfo"]
    if len(extinfo) != EXTINFO_LENGTH or extinfo[0] not in ("a2", "i2"):
        yield Refusal(
            message=f"Param {at}[extinfo] must have 16 places, the first of them a2 or i2",
            field=f"{at}[extinfo]",
        )
    if not is_text(extinfo[4]):
        yield Refusal(
            subcode=2804043,
            message=f"Param {at}[extinfo] has a blank OS version in place 4",
            field=f"{at}[extinfo][4]",
        )


def check_messaging(event: Mapping[str, Any], at: str) -> Iterator[Refusal]:
    """Yield what a business messaging event lacks, channel by channel.

    Source: Meta, "Conversions API for Business Messaging".
    """
    if event.get("action_source") != "business_messaging":
        return
    channel = event.get("messaging_channel")
    if channel is None:
        yield Refusal(
            message=f"Param {at}[messaging_channel] is required for business_messaging",
            field=f"{at}[messaging_channel]",
        )
    if event["event_name"] not in MESSAGING_EVENTS:
        yield Refusal(
            subcode=2804066,
            message=f"Event name {event['event_name']} is not allowed for business_messaging",
            field=f"{at}[event_name]",
        )
    user_data = event["user_data"]
    at = f"{at}[user_data]"
    if channel == "messenger" and "page_id" not in user_data:
        yield Refusal(subcode=2804069, message="page_id is missing", field=f"{at}[page_id]")
    if channel == "instagram" and "ig_account_id" not in user_data:
        yield Refusal(
            subcode=2804079, message="ig_account_id is missing", field=f"{at}[ig_account_id]"
        )
    if channel == "whatsapp":
        if user_data.keys().isdisjoint({"page_id", "whatsapp_business_account_id"}):
            yield Refusal(
                subcode=2804116,
                message="page_id or whatsapp_business_account_id is needed",
                field=at,
            )
        if not is_text(user_data.get("ctwa_clid")):
            yield Refusal(
                subcode=2804087, message="ctwa_clid is not valid", field=f"{at}[ctwa_clid]"
            )


def check_attribution(event: Mapping[str, Any], at: str) -> Iterator[Refusal]:
    """Yield what is wrong with ``attribution_data``, which ``AppendAttribution`` must have.

    Source: Meta, "AppendAttribution event parameters" (limited beta).
    """
    attribution = event.get("attribution_data", {})
    at = f"{at}[attribution_data]"
    yield from check_object(attribution, ATTRIBUTION_KINDS, at)
    if event["event_name"] != "AppendAttribution":
        return
    for key in ATTRIBUTION_REQUIRED:
        if key not in attribution:
            yield Refusal(message=f"Param {at}[{key}] is required", field=f"{at}[{key}]")
    if not 0 <= float(attribution["attribution_share"]) <= 1:
        yield Refusal(
            message=f"Param {at}[attribution_share] must be between 0 and 1",
            field=f"{at}[attribution_share]",
        )
