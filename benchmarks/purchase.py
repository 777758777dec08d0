"""The purchase that all benchmarks track: a shop's order of three articles by a known buyer."""

from __future__ import annotations

import time
import uuid
from typing import Any

import msgspec
from facebook_business.adobjects.serverside.action_source import ActionSource
from facebook_business.adobjects.serverside.content import Content
from facebook_business.adobjects.serverside.custom_data import CustomData
from facebook_business.adobjects.serverside.event import Event as SDKEvent
from facebook_business.adobjects.serverside.user_data import UserData as SDKUserData

from bridge import Bridge
from bridge.destinations import Meta
from bridge.destinations.group import read_browser
from bridge.events.event import UserData, parse_event
from bridge.events.user_data import read_user_data
from bridge.outbox.base import Delivery, build_subjects
from bridge.visitor.identity import Identity
from bridge.visitor.seal import Sealed
from bridge.visitor.visitor import Visitor

PIXEL_ID = "1234567890123456"
PAGE_URL = "https://shop.example.com/checkout/thanks?step=3"
EVENT_TIME = int(time.time())
EVENT_ID = "6b1f0a52-9a0c-4f6e-8a55-0c1a2b3d4e5f"

BUYER = {
    "email": " Mary.Miller@Example.com ",
    "phone": "+1 (650) 555-0100",
    "first_name": "Mary",
    "last_name": "Miller",
    "city": "Menlo Park",
    "zip": "94025",
    "country": "US",
    "date_of_birth": "19970216",
}
ARTICLES = [("SKU-1001", 1, 19.9), ("SKU-2002", 2, 7.5), ("SKU-3003", 1, 115.0)]
PROPERTIES: dict[str, Any] = {
    "value": 149.9,
    "currency": "EUR",
    "order_id": "A-10001",
    "content_type": "product",
    "contents": [
        {"id": id_, "quantity": quantity, "item_price": price} for id_, quantity, price in ARTICLES
    ],
}
IDENTITY = Identity(
    anonymous_id="0a6f2c1e-5b7d-4a7e-9a51-6f1f1c0b7d11",
    renewed_at=EVENT_TIME,
    user_id="42",
    fbp="fb.1.1795000000000.123456789012345678",
    fbc="fb.1.1795000000000.IwZXh0bgNhZW0BMABhZGlkAasrC1x9QmVuY2htYXJrQ2xpY2tJZF8wMTIzNDU2Nzg5",
    client_ip="93.184.216.34",
    user_agent="Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/142.0.0.0 Safari/537.36",
)


def build_visitor(bridge: Bridge, user_data: UserData | None = None) -> Visitor:
    """Return the buyer as a webhook's sealed token gives it: known, and without a response.

    Args:
        bridge: Whose visitor it is.
        user_data: What the session knows already, hashed.
    """
    identity = msgspec.structs.replace(IDENTITY, user_data=user_data) if user_data else IDENTITY
    return Visitor(bridge._visits, Sealed(identity, page_url=PAGE_URL))


def build_deliveries(count: int) -> list[Delivery]:
    """Return as many purchases under ids of their own, as ``track()`` stores them."""
    now = time.time()
    user_data = UserData(**read_user_data(BUYER)).over(build_identifiers())
    fields = {
        "event_name": "Purchase",
        "event_time": EVENT_TIME,
        "event_id": EVENT_ID,
        "action_source": "website",
        "event_source_url": PAGE_URL,
        "custom_data": PROPERTIES,
    }
    event = parse_event(fields, user_data, now=now)
    meta = Meta(PIXEL_ID, "none")
    head, _, tail = meta.encode(event).partition(EVENT_ID.encode())
    ids = [str(uuid.uuid4()) for _ in range(count)]
    subjects = build_subjects(read_browser(IDENTITY), user_data.external_id + user_data.em)
    return [
        Delivery(
            destination=meta.name,
            event_name=event.event_name,
            event_id=event_id,
            body=head + event_id.encode() + tail,
            due=now,
            expires=event.expires,
            subjects=subjects,
        )
        for event_id in ids
    ]


def build_identifiers() -> UserData:
    """Return what is known of the buyer's browser."""
    return UserData(
        external_id=IDENTITY.external_ids,
        client_ip_address=IDENTITY.client_ip,
        client_user_agent=IDENTITY.user_agent,
        fbc=IDENTITY.fbc,
        fbp=IDENTITY.fbp,
    )


def build_sdk_event(event_id: str = EVENT_ID) -> SDKEvent:
    """Return the purchase as Meta's SDK wants it built; nothing is normalised yet."""
    return SDKEvent(
        event_name="Purchase",
        event_time=EVENT_TIME,
        event_id=event_id,
        event_source_url=PAGE_URL,
        action_source=ActionSource.WEBSITE,
        user_data=SDKUserData(
            email=BUYER["email"],
            phone=BUYER["phone"],
            first_name=BUYER["first_name"],
            last_name=BUYER["last_name"],
            city=BUYER["city"],
            zip_code=BUYER["zip"],
            country_code=BUYER["country"],
            date_of_birth=BUYER["date_of_birth"],
            external_id=IDENTITY.external_id,
            client_ip_address=IDENTITY.client_ip,
            client_user_agent=IDENTITY.user_agent,
            fbc=IDENTITY.fbc,
            fbp=IDENTITY.fbp,
        ),
        custom_data=CustomData(
            value=PROPERTIES["value"],
            currency=PROPERTIES["currency"],
            order_id=PROPERTIES["order_id"],
            content_type=PROPERTIES["content_type"],
            contents=[
                Content(product_id=id_, quantity=quantity, item_price=price)
                for id_, quantity, price in ARTICLES
            ],
        ),
    )
