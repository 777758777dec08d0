"""URLs of pages: what may leave of them.

A page's address can hold an e-mail address or a token: a password reset, an unsubscribe link, a
sign-in. Such parts are taken out here, before the URL is kept anywhere or sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import unquote

from bridge.events.personal_values import EMAIL, JWT

MAX_LENGTH = 2048  # characters
REDACTED = "redacted"

# Query parameters that never leave; compared in lower case, without ``-`` and ``_``.
PRIVATE_PARAMETERS = frozenset(
    """
    accesskey accesstoken apikey auth authorization authtoken clientsecret code email emailaddress
    firstname fn fullname idtoken jwt key lastname ln mail nonce otp passwd password ph phone
    phonenumber pwd refreshtoken reset resettoken secret session sessionid sid sig signature state
    tel ticket token user username
    """.split()
)

# ``reset_password_token``, ``X-Amz-Signature``, ``user[password]`` and the like.
_PRIVATE_ENDINGS = ("token", "password", "passwd", "signature", "secret", "apikey", "email")

# Meta's click id and the usual campaign parameters are long and random, and no secrets.
_KEPT = frozenset({"fbclid", "gclid", "msclkid", "ttclid"})

# What comes before the host's last ``@`` is a user name or a password.
_ADDRESS = re.compile(r"(https?://)(?:[!-.0-~]*@)?([!-.0-?A-~]+)(/?)([!-~]*)")


def _name(text: str) -> str:
    return "".join(c for c in unquote(text).lower() if c.isalnum())


def normalize_parameters(names: str | Iterable[str]) -> frozenset[str]:
    """Return ``names`` as they are compared: lower case, without ``-`` and ``_``."""
    return frozenset(map(_name, [names] if isinstance(names, str) else names))


def _is_private(text: str) -> bool:
    """Return whether ``text`` holds an e-mail address or a JSON Web Token, however encoded."""
    for _ in range(6):
        if ("@" in text and EMAIL.search(text)) or ("ey" in text and JWT.search(text)):
            return True
        if "%" not in text:
            return False
        text = unquote(text)
    return "%" in text


def clean_url(
    raw: bytes, private: frozenset[str] = PRIVATE_PARAMETERS, *, max_length: int = MAX_LENGTH
) -> str | None:
    """Return ``raw`` without its private parts, or ``None`` if it is not an http(s) URL.

    The fragment and a user name or password go; so do query parameters of ``private`` names and
    those that hold an e-mail address or a token. A path segment that does becomes ``redacted``.
    """
    if len(raw) > max_length:
        return None
    address, _, query = raw.partition(b"#")[0].decode("latin-1").partition("?")
    clean = _clean_address(address)
    if clean is None or not query:
        return clean
    if " " in query or not (query.isascii() and query.isprintable()):
        return None
    pairs = query.replace(";", "&").split("&")
    kept = "&".join([pair for pair in pairs if pair and _may_leave(pair, private)])
    return f"{clean}?{kept}" if kept else clean


@lru_cache(maxsize=4096)
def _clean_address(text: str) -> str | None:
    """Return a URL without its query; a site's visitors load the same pages again and again."""
    match = _ADDRESS.fullmatch(text)
    if match is None:
        return None
    scheme, authority, slash, path = match.groups()
    if "@" in path or "%" in path or "ey" in path:
        path = "/".join(REDACTED if _is_private(part) else part for part in path.split("/"))
    return f"{scheme}{authority}{slash}{path}"


def _may_leave(pair: str, private: frozenset[str]) -> bool:
    name, _, value = pair.partition("=")
    if name in _KEPT:
        return True
    return not _is_private_name(name, private) and not _is_private(value)


@lru_cache(maxsize=2048)
def _is_private_name(name: str, private: frozenset[str]) -> bool:
    plain = _name(name)
    return plain in private or plain.endswith(_PRIVATE_ENDINGS) or _is_private(name)
