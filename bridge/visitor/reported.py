"""Whose a reported event is: a browser's queue may hold what happened before a login or a logout.

The pixel sent its copy with the ids that the page had at that moment; the server copy carries the
same. What was another person's is that person's still: it gets nothing of who is there now.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from bridge.browser.reports import BrowserEvent
from bridge.events.normalizers import hash_external_id
from bridge.visitor.identity import Identity
from bridge.visitor.seal import Sealed
from bridge.visitor.visitor import Visitor

# What the pixel's advanced matching may hold, by Meta's keys, beside the external id.
MATCHING_KEYS = ("em", "ph", "fn", "ln", "ge", "db", "ct", "st", "zp", "country")

_DIGEST = re.compile(r"[0-9a-f]{64}")


def find_sender(event: BrowserEvent, visitor: Visitor) -> Visitor:
    """Return who caused ``event``: the visitor, as the page knew them, or nobody in particular."""
    identity = visitor.identity
    ours = event.external_id if _is_digest(event.external_id) else None
    if not visitor.has_identity or not (ours or event.no_cookies):
        return visitor
    changes: dict[str, Any] = {"fbp": None, "fbc": None} if event.no_cookies else {}
    if ours is not None and ours != identity.external_ids[0]:
        own = {identity.external_id, hash_external_id(identity.anonymous_id)}
        if ours not in own:
            identity, changes = Identity(anonymous_id="", renewed_at=0), {}
        else:
            changes["is_page_anonymous"] = ours != identity.external_id
    elif not changes:
        return visitor
    capture = visitor.capture
    sender = msgspec.structs.replace(
        identity,
        client_ip=visitor.user_data.client_ip_address,
        user_agent=capture.user_agent,
        **changes,
    )
    return Visitor(visitor.visits, Sealed(sender, visitor.consent, visitor.page_url))


def build_own_data(
    event: BrowserEvent, sender: Visitor, *, takes_matching: bool
) -> dict[str, list[str]]:
    """Return the user data that the event itself brings, hashed as the pixel hashed it.

    The external id of the page's own comes first in the list, since both copies are matched by it.

    Args:
        event: As it was reported.
        sender: As ``find_sender`` returned it.
        takes_matching: Whether the app wants the page's advanced matching.
    """
    given: Mapping[str, Any] = event.user_data
    keys = MATCHING_KEYS if takes_matching else ()
    data = {key: [given[key]] for key in keys if _is_digest(given.get(key))}
    ids = [given.get("external_id"), event.external_id, *sender.identity.external_ids]
    if found := dict.fromkeys(each for each in ids if _is_digest(each)):
        data["external_id"] = list(found)
    return data


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None
