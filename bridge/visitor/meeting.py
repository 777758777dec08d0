"""Who made a request: the stored identity brought up to date, or a new one."""

from __future__ import annotations

from typing import Any

import msgspec

from bridge.events.event import DAY, UserData
from bridge.randomness import draw, format_uuid
from bridge.visitor.capture import Capture
from bridge.visitor.identity import Identity, SessionSigner
from bridge.visitor.ip import prefer_ip
from bridge.visitor.meta_cookies import new_fbp, renew_fbc


def update_identity(
    capture: Capture, stored: Identity | None, signer: SessionSigner, *, now: float
) -> Identity:
    """Return who made this request: ``stored`` brought up to date, or a new identity.

    The anonymous id comes from the session, else from Segment's cookie, else it is derived from a
    valid ``_fbp`` so that parallel first requests agree, else it is random. If Segment's cookie
    appears later, or changes, the session follows it.
    """
    segments_id = capture.ajs_anonymous_id
    if stored is not None and segments_id not in (None, stored.anonymous_id):
        stored = _follow_segment(capture, stored)
    now_ms = int(now * 1000)
    cookies, seen, click_id = capture.cookies, capture.client_ip, capture.click_id
    domain, index = capture.place.cookie_domain
    fbp, fbc = (cookies.fbp, cookies.fbc) if cookies.raw else (None, None)
    if stored is not None:
        fbp, fbc = fbp or stored.fbp, fbc or stored.fbc
    if click_id is not None:
        fbc = renew_fbc(fbc, click_id, index, now_ms)
    random = draw() if stored is None or fbp is None else b""
    if not cookies.uses_browser_ids:
        fbp = fbc = None
    elif fbp is None:
        fbp = new_fbp(index, now_ms, random[16:])
    if stored is None:
        derived = signer.derive_anonymous_id(cookies.fbp) if cookies.fbp else None
        return Identity(
            anonymous_id=segments_id or derived or format_uuid(random[:16]),
            renewed_at=int(now),
            fbp=fbp,
            fbc=fbc,
            client_ip=seen,
            client_ip_time=int(now) if ":" in (seen or "") else 0,
            user_agent=capture.user_agent,
            is_segments=segments_id is not None,
            domain=domain,
        )
    changes: dict[str, Any] = {}
    if stored.domain != domain:
        changes["domain"] = domain
    if fbp != stored.fbp:
        changes["fbp"] = fbp
    if fbc != stored.fbc:
        changes["fbc"] = fbc
    if now - stored.renewed_at >= DAY:
        changes["renewed_at"] = int(now)
    if seen and ":" in seen:
        if seen != stored.client_ip or now - stored.client_ip_time >= DAY // 2:
            changes |= {"client_ip": seen, "client_ip_time": int(now)}
    elif capture.is_navigation and seen != stored.client_ip:
        preferred = prefer_ip(seen, stored.client_ip, stored.client_ip_time, now)
        if preferred != stored.client_ip:
            changes["client_ip"] = preferred
    if capture.is_navigation and capture.user_agent not in (None, stored.user_agent):
        changes["user_agent"] = capture.user_agent
    if stored.is_page_anonymous and capture.is_page_load:
        changes["is_page_anonymous"] = False
    return stored.change(**changes) if changes else stored


def _follow_segment(capture: Capture, stored: Identity) -> Identity:
    """Return ``stored`` with the anonymous id of analytics.js.

    If an id of its own changes, the page called ``reset()``, or ``identify`` with another user.
    After a reset there is no user id either, and the session forgets its user too. An id that is
    new to the session came with analytics.js itself, and is adopted at the next page load: the
    pixel keeps the external id it was given first for the life of a page.

    Source: Segment, "Identity: Analytics.js", Clear traits: reset() makes a new anonymous id and
    removes the user's.
    """
    anonymous_id = capture.ajs_anonymous_id or stored.anonymous_id
    if not stored.is_segments and not capture.is_page_load:
        return stored
    followed = msgspec.structs.replace(stored, anonymous_id=anonymous_id, is_segments=True)
    if not stored.is_segments or capture.cookies.text(b"ajs_user_id"):
        return followed
    return msgspec.structs.replace(
        followed, user_id=None, user_data=UserData(), is_page_anonymous=False
    )
