"""The rules of ``user_data``: which keys, in which form, and the least that is enough.

Source: Meta, "Customer Information Parameters", read 2026-11-23.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Any

from bridge.sandbox.kinds import ANY, ID, STRING, TEXT, TEXTS, all_of, check_object, digits
from bridge.sandbox.refusal import Finding, Refusal, refuse

SINGLE_HASHED_KEYS = frozenset({"f5first", "f5last", "fi", "dobd", "dobm", "doby"})
HASHED_KEYS = SINGLE_HASHED_KEYS.union(
    ("em", "ph", "fn", "ln", "db", "ge", "ct", "st", "zp", "country")
)
KINDS = {
    **all_of(ANY, *HASHED_KEYS, "lead_id", "ctwa_clid"),  # have rules of their own
    **all_of(TEXT, "client_ip_address", "client_user_agent"),
    **all_of(TEXT, "subscription_id", "anon_id", "madid"),
    **all_of(STRING, "fbc", "fbp"),
    **all_of(ID, "page_id", "page_scoped_user_id", "ig_account_id", "ig_sid"),
    "whatsapp_business_account_id": ID,
    "external_id": TEXTS,
    "fb_login_id": digits(1, 20),
}
LEAD_ID = digits(15, 17)
TOO_BROAD = (
    frozenset({"ct", "country", "st", "zp", "ge", "client_user_agent"}),
    frozenset({"db", "client_user_agent"}),
    frozenset({"fn", "ge"}),
    frozenset({"ln", "ge"}),
)
APPENDIX = r"\.(?:[A-Za-z0-9_-]{8}|A[Qgw]|B[AQg])"
"""The parameter builder's mark, after a dot: 8 characters, or 2 in its legacy form.

Source: Meta, "Parameter Builder Library", read 2026-11-23.
"""
_HASH = re.compile(rf"[0-9a-f]{{64}}(?:{APPENDIX})?")
_BROWSER_ID = re.compile(rf"fb\.[0-9]\.[0-9]{{13}}\.[^.\s]+(?:{APPENDIX})?")
_APPENDIX_AT_END = re.compile(rf"{APPENDIX}$")


def check_user_data(user_data: Mapping[str, Any], at: str) -> Iterator[Finding]:
    """Yield what is wrong with ``user_data``, refusals and warnings."""
    yield from check_object(user_data, KINDS, at)
    for key in sorted(HASHED_KEYS & user_data.keys()):
        if not _is_hashed(key, user_data[key]):
            what = "must be hashed with SHA-256: 64 lower-case hex digits"
            yield refuse(at, key, what, subcode=2804016)
    if "lead_id" in user_data and not LEAD_ID.holds(user_data["lead_id"]):
        yield refuse(at, "lead_id", f"must be {LEAD_ID.name}", subcode=2804036)
    yield from _check_floor(user_data, at)
    yield from _check_ip(user_data, at)
    yield from _check_identifiers(user_data)


def is_hashed(value: str) -> bool:
    """Return whether ``value`` is a SHA-256 digest in lower-case hex, appendix allowed."""
    return bool(_HASH.fullmatch(value))


def is_browser_id(value: str) -> bool:
    """Return whether ``value`` has the form of ``fbp`` and ``fbc``.

    ``"fb.1.1763900000000.1234567890"``: subdomain index, creation time in milliseconds, payload;
    a fifth part may be the parameter builder's appendix.

    Source: Meta, "ClickID and the fbp and fbc Parameters", read 2026-11-23.
    """
    return bool(_BROWSER_ID.fullmatch(value))


def _is_hashed(key: str, value: Any) -> bool:
    single = key in SINGLE_HASHED_KEYS
    values = value if isinstance(value, list) and not single else [value]
    return all(isinstance(item, str) and is_hashed(item) for item in values)


def _check_floor(user_data: Mapping[str, Any], at: str) -> Iterator[Refusal]:
    """Yield a refusal if these keys cannot identify a person.

    Source: Meta, "Best Practices - Conversions API", valid combinations since v13.0.
    """
    given = {key for key, value in user_data.items() if value not in ("", [])}
    if any(given <= broad for broad in TOO_BROAD):
        yield Refusal(
            subcode=2804050,
            message=(
                "This event has no usable customer information, or only a combination that is too "
                f"broad to match with: {', '.join(sorted(given)) or 'nothing'}"
            ),
            field=at,
        )


def _check_ip(user_data: Mapping[str, Any], at: str) -> Iterator[Finding]:
    value = user_data.get("client_ip_address")
    if value is None:
        return
    try:
        ip = ipaddress.ip_address(_APPENDIX_AT_END.sub("", value))
    except ValueError:
        yield refuse(at, "client_ip_address", "must be one IPv4 or IPv6 address, no spaces")
    else:
        if not ip.is_global:
            yield "client_ip_address is not a public address"


def _check_identifiers(user_data: Mapping[str, Any]) -> Iterator[str]:
    for key in ("fbp", "fbc"):
        if key in user_data and not is_browser_id(user_data[key]):
            yield f"{key} is malformed: expected fb.<index>.<milliseconds>.<payload>"
    external_ids = user_data.get("external_id", [])
    values = external_ids if isinstance(external_ids, list) else [external_ids]
    if not all(is_hashed(value) for value in values):
        yield "external_id is not hashed: hashing is recommended, and the pixel hashes its own"
