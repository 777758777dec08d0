"""Cookies of consent banners, as their makers write them. Pure.

| Cookie | Banner | Its category for advertising, unless the site has another |
|---|---|---|
| ``OptanonConsent`` | OneTrust, CookiePro | ``C0004``, targeting |
| ``CookieConsent`` | Cookiebot | ``marketing`` |
| ``cc_cookie`` | vanilla-cookieconsent (orestbida) | ``marketing`` |
| ``klaro`` | Klaro | none: the name of the site's own service must be given |
| ``euconsent-v2`` | any of the IAB's TCF 2 | purposes ``1,3,4`` |

A visitor without the cookie has not chosen. Usercentrics, but for its TCF string, keeps a choice
in ``localStorage``, which no request carries; docs/consent.md has the page say it.

Source: cookiebot.com/en/developer ("-1": no consent is needed in the visitor's region); OneTrust's
``OptanonConsent`` with ``groups=C0001:1,C0004:0``; orestbida/cookieconsent,
``src/utils/cookies.js``; klaro-org/klaro-js, ``src/consent-manager.js``; IAB Tech Lab, "TCF Consent
String v2", core string; usercentrics.atlassian.net, "Does the Usercentrics CMP manage cookies?";
``@usercentrics/cmp-browser-sdk`` 4.64.0, which has no ``document.cookie``; read 2026-11-30.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

import msgspec

from bridge.browser.words import ConsentState

MAX_VALUE = 8192  # characters of a cookie; a longer one tells nothing

# Takes a cookie's value as the header has it, and the category; None if it does not say.
_Read = Callable[[str, str], ConsentState | None]
_PURPOSES_AT = 152  # bits before the purposes that the visitor consents to
_PURPOSES = 24
_CORE = 213  # bits of a core string without any vendor

_decode_choices = msgspec.json.Decoder(dict[str, Any]).decode


class Banner(NamedTuple):
    """How a banner's cookie is read.

    Attributes:
        category: What it calls advertising.
        read: Returns whether that category is allowed.
    """

    category: str
    read: _Read


def read_banner(banner: Banner, value: str, category: str | None) -> ConsentState | None:
    """Return what the visitor chose; ``None`` for a value that does not say.

    Args:
        banner: Whose cookie it is.
        value: The cookie's value as the header has it.
        category: What the site calls advertising, if not as the banner's maker.
    """
    wanted = category or banner.category
    return banner.read(value, wanted) if wanted and len(value) <= MAX_VALUE else None


def _state(is_allowed: bool | None) -> ConsentState | None:
    return None if is_allowed is None else "granted" if is_allowed else "denied"


def _read_onetrust(value: str, category: str) -> ConsentState | None:
    """Read ``groups``; of a visitor who has not touched the banner, what is off is not denied."""
    # Parted before anything is decoded: other fields hold addresses, which anybody can choose.
    fields = dict(pair.partition("=")[::2] for pair in value.strip('"').split("&"))
    groups = dict(each.partition(":")[::2] for each in unquote(fields.get("groups", "")).split(","))
    answer = groups.get(category)
    if answer == "0" and fields.get("interactionCount") == "0":
        return "pending"
    return _state({"1": True, "0": False}.get(answer or ""))


def _read_cookiebot(value: str, category: str) -> ConsentState | None:
    text = unquote(value).strip('"')
    if text == "-1":
        return "granted"
    found = re.search(rf"[{{,]{re.escape(category)}:(true|false)\b", text)
    return None if found is None else _state(found[1] == "true")


def _read_categories(value: str, category: str) -> ConsentState | None:
    chosen = _read_choices(value).get("categories")
    return _state(category in chosen) if isinstance(chosen, list) else None


def _read_services(value: str, category: str) -> ConsentState | None:
    chosen = _read_choices(value).get(category)
    return _state(chosen) if isinstance(chosen, bool) else None


def _read_choices(value: str) -> dict[str, Any]:
    try:
        return _decode_choices(unquote(value))
    except (msgspec.DecodeError, ValueError, RecursionError):
        return {}


def _read_purposes(value: str, category: str) -> ConsentState | None:
    """Return whether all purposes, such as ``1,3,4``, are consented to."""
    core = unquote(value).partition(".")[0]
    try:
        content = base64.b64decode(core + "=" * (-len(core) % 4), altchars=b"-_", validate=True)
        wanted = {int(each) for each in category.split(",")}
    except (binascii.Error, ValueError):
        return None
    size = 8 * len(content)
    if not content or content[0] >> 2 != 2 or size < _CORE:
        return None
    bits = int.from_bytes(content) >> (size - _PURPOSES_AT - _PURPOSES)
    return _state(all(0 < each <= _PURPOSES and bits >> (_PURPOSES - each) & 1 for each in wanted))


BANNERS: Mapping[str, Banner] = {
    "OptanonConsent": Banner("C0004", _read_onetrust),
    "CookieConsent": Banner("marketing", _read_cookiebot),
    "cc_cookie": Banner("marketing", _read_categories),
    "klaro": Banner("", _read_services),
    "euconsent-v2": Banner("1,3,4", _read_purposes),
}
"""By the name of their cookie."""
