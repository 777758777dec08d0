"""Cookies of consent banners, as their makers write them. Pure.

| Cookie | Banner | Its category for advertising, unless the site has another |
|---|---|---|
| ``OptanonConsent`` | OneTrust, CookiePro | ``C0004``, targeting |
| ``CookieConsent`` | Cookiebot | ``marketing`` |
| ``cc_cookie`` | vanilla-cookieconsent (orestbida) | ``marketing`` |
| ``klaro`` | Klaro | none: the name of the site's own service must be given |
| ``euconsent-v2`` | any of the IAB's TCF 2 | purposes ``1,3,4`` |

A visitor without the cookie has not chosen. Usercentrics, but for its TCF string, keeps a choice
where only the page can read it.

Source: cookiebot.com/en/developer ("-1": no consent is needed in the visitor's region); OneTrust's
``OptanonConsent`` with ``groups=C0001:1,C0004:0``; orestbida/cookieconsent,
``src/utils/cookies.js``; klaro-org/klaro-js, ``src/consent-manager.js``; IAB Tech Lab, "TCF Consent
String v2", core string; read 2026-11-30.
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

_Read = Callable[[str, str], bool | None]  # decoded value and category; None if it does not say
_PURPOSES_AT = 152  # bits before the purposes that the visitor consents to
_PURPOSES = 24

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
    """Return ``granted`` or ``denied``; ``None`` for a value that says neither.

    Args:
        banner: Whose cookie it is.
        value: The cookie's value as the header has it.
        category: What the site calls advertising, if not as the banner's maker.
    """
    if len(value) > MAX_VALUE:
        return None
    wanted = category or banner.category
    answer = banner.read(unquote(value).strip('"'), wanted) if wanted else None
    return None if answer is None else "granted" if answer else "denied"


def _read_onetrust(value: str, category: str) -> bool | None:
    found = re.search(rf"[&,=]{re.escape(category)}:([01])(?=[,&]|$)", value)
    return None if found is None else found[1] == "1"


def _read_cookiebot(value: str, category: str) -> bool | None:
    if value == "-1":
        return True
    found = re.search(rf"[{{,]{re.escape(category)}:(true|false)\b", value)
    return None if found is None else found[1] == "true"


def _read_categories(value: str, category: str) -> bool | None:
    chosen = _read_choices(value).get("categories")
    return category in chosen if isinstance(chosen, list) else None


def _read_services(value: str, category: str) -> bool | None:
    chosen = _read_choices(value).get(category)
    return chosen if isinstance(chosen, bool) else None


def _read_choices(value: str) -> dict[str, Any]:
    try:
        return _decode_choices(value)
    except msgspec.DecodeError:
        return {}


def _read_purposes(value: str, category: str) -> bool | None:
    """Return whether all purposes, such as ``1,3,4``, are consented to."""
    core = value.partition(".")[0]
    try:
        content = base64.urlsafe_b64decode(core + "=" * (-len(core) % 4))
        wanted = {int(each) for each in category.split(",")}
    except (binascii.Error, ValueError):
        return None
    size = 8 * len(content)
    if not content or content[0] >> 2 != 2 or size < _PURPOSES_AT + _PURPOSES:
        return None
    bits = int.from_bytes(content) >> (size - _PURPOSES_AT - _PURPOSES)
    return all(0 < each <= _PURPOSES and bits >> (_PURPOSES - each) & 1 for each in wanted)


BANNERS: Mapping[str, Banner] = {
    "OptanonConsent": Banner("C0004", _read_onetrust),
    "CookieConsent": Banner("marketing", _read_cookiebot),
    "cc_cookie": Banner("marketing", _read_categories),
    "klaro": Banner("", _read_services),
    "euconsent-v2": Banner("1,3,4", _read_purposes),
}
"""By the name of their cookie."""
