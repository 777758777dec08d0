"""The rules of events that are not from a website: app, messaging, attribution.

Source: Meta, "App Events", "Conversions API for Business Messaging" and "AppendAttribution event
parameters", read 2026-11-23; subcodes from real answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bridge.sandbox.kinds import (
    ANY,
    FLAG,
    ID,
    LIST,
    NUMBER,
    STRING,
    all_of,
    check_object,
    check_required,
    is_text,
)
from bridge.sandbox.refusal import Refusal, refuse

APP_KINDS = {
    **all_of(FLAG, "advertiser_tracking_enabled", "application_tracking_enabled"),
    **all_of(FLAG, "consider_views", "include_dwell_data", "include_video_data"),
    **all_of(STRING, "install_referrer", "installer_package", "vendor_id"),
    **all_of(STRING, "windows_attribution_id", "receipt_data"),
    **all_of(LIST, "extinfo", "url_schemes"),
    "campaign_ids": ANY,
}
EXTINFO_LENGTH = 16
ATTRIBUTION_REQUIRED = {
    **all_of(ID, "ad_id", "touchpoint_ts"),
    **all_of(NUMBER, "attribution_share", "attribution_value"),
}
ATTRIBUTION_KINDS = {
    **ATTRIBUTION_REQUIRED,
    **all_of(ANY, "scope", "visit_time", "adset_id", "campaign_id", "attribution_model"),
    **all_of(ANY, "attr_window", "attribution_source", "touchpoint_type", "attribution_method"),
    **all_of(ANY, "decline_reason", "auditing_token", "linkage_key", "touchpoint_id"),
    **all_of(ANY, "attribution_setting", "total_credit", "partner_client_id"),
}
MESSAGING_EVENTS = (
    *("Purchase", "LeadSubmitted", "InitiateCheckout", "AddToCart", "ViewContent"),
    *("OrderCreated", "OrderShipped", "OrderDelivered", "OrderCanceled", "OrderReturned"),
    *("CartAbandoned", "QualifiedLead", "RatingProvided", "ReviewProvided"),
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
    yield from check_required(app_data, ("advertiser_tracking_enabled", "extinfo"), at)
    extinfo = app_data["extinfo"]
    if len(extinfo) != EXTINFO_LENGTH or extinfo[0] not in ("a2", "i2"):
        yield refuse(at, "extinfo", "must have 16 places, the first of them a2 or i2")
    if not is_text(extinfo[4]):
        yield refuse(f"{at}[extinfo]", "4", "is a blank OS version", subcode=2804043)


def check_messaging(event: Mapping[str, Any], at: str) -> Iterator[Refusal]:
    """Yield what a business messaging event lacks, channel by channel.

    Source: Meta, "Conversions API for Business Messaging".
    """
    if event.get("action_source") != "business_messaging":
        return
    channel = event.get("messaging_channel")
    if channel is None:
        yield refuse(at, "messaging_channel", "is required for business_messaging")
    if event["event_name"] not in MESSAGING_EVENTS:
        yield refuse(at, "event_name", "is not allowed for business_messaging", subcode=2804066)
    user_data = event["user_data"]
    at = f"{at}[user_data]"
    if channel == "messenger" and "page_id" not in user_data:
        yield refuse(at, "page_id", "is required for messenger", subcode=2804069)
    if channel == "instagram" and "ig_account_id" not in user_data:
        yield refuse(at, "ig_account_id", "is required for instagram", subcode=2804079)
    if channel == "whatsapp":
        if user_data.keys().isdisjoint({"page_id", "whatsapp_business_account_id"}):
            yield Refusal(
                subcode=2804116,
                message="page_id or whatsapp_business_account_id is needed",
                field=at,
            )
        if not is_text(user_data.get("ctwa_clid")):
            yield refuse(at, "ctwa_clid", "must be a non-empty string", subcode=2804087)


def check_attribution(event: Mapping[str, Any], at: str) -> Iterator[Refusal]:
    """Yield what is wrong with ``attribution_data``, which ``AppendAttribution`` must have.

    Source: Meta, "AppendAttribution event parameters" (limited beta).
    """
    attribution = event.get("attribution_data", {})
    at = f"{at}[attribution_data]"
    yield from check_object(attribution, ATTRIBUTION_KINDS, at)
    if event["event_name"] != "AppendAttribution":
        return
    yield from check_required(attribution, ATTRIBUTION_REQUIRED, at)
    if not 0 <= float(attribution["attribution_share"]) <= 1:
        yield refuse(at, "attribution_share", "must be between 0 and 1")
