"""URLs of pages: what may leave of them.

A page's address can hold a name, an e-mail address or a token: a form sent by GET, a password
reset, an unsubscribe link, a sign-in. Such parts are taken out here, before the URL is kept
anywhere or sent. The names of parameters are judged by the same table as properties
(``personal_keys``), as those of a page's address. A URL that is too long is shortened, never
refused: the page counts, not how it was reached.

Strategy: a path and a query are each looked at once as a whole; only where something is found,
piece by piece.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import islice
from urllib.parse import unquote

from bridge.events.personal_keys import PAGE, Verdict, judge_key
from bridge.events.personal_values import ALL, MIN_SECRET, decode_text, find_shape

MAX_LENGTH = 2048  # characters of what is returned
MAX_READ = 4096  # bytes of a URL that are looked at; parameters behind them are left out
MAX_NAME = 64  # characters; a parameter's longer name is data itself
MAX_CACHED = 256  # characters of an address that is remembered
MAX_PIECES = 100  # parameters, and parts of a path in which something is found, that may stay
MAX_INNER = 20  # parameters in the value of another one
CACHE_SIZE = 2048
REDACTED = "redacted"

_ANY = Verdict(personal=True)

# Secrets and persons in a page's address, which are ordinary words as the key of a property.
# Compared in lower case, letters and digits only.
PRIVATE_PARAMETERS = frozenset(
    """
    auth code key nonce ph phone reset session sid sig signature state tel ticket user
    """.split()
)

# ``reset_password_token``, ``X-Amz-Signature``, ``user[password]`` and the like.
_PRIVATE_ENDINGS = ("token", "password", "passwd", "signature", "secret", "apikey", "email")

# Meta's click id and the usual campaign parameters are long and random, and no secrets.
_KEPT = frozenset({"fbclid", "gclid", "msclkid", "ttclid"})

# In the value of another parameter, the page to go to next.
_PARAMETER = re.compile(r"[?&#;]([^=?&#;]{1,64}+)=([^&#;]{0,200})")
# Values that are too short for a secret, and cannot be a person's by themselves; and click ids.
_PAIR = (
    r"(?:[A-Za-z_]{1,20}=[A-Za-z0-9_.-]{0,15}+(?![A-Za-z0-9_.-])"
    rf"|(?:{'|'.join(sorted(_KEPT))})=[A-Za-z0-9_.-]{{0,500}}+)"
)
_PLAIN_QUERY = re.compile(rf"{_PAIR}(?:&{_PAIR}){{0,9}}")
_SCHEMES = ("https://", "http://")


def normalize_parameters(names: str | Iterable[str]) -> frozenset[str]:
    """Return ``names`` as they are compared: lower case, without ``-`` and ``_``."""
    return frozenset(map(_name, [names] if isinstance(names, str) else names))


def clean_url(
    raw: bytes, private: frozenset[str] = PRIVATE_PARAMETERS, *, max_address: int = MAX_LENGTH
) -> str | None:
    """Return ``raw`` without its private parts, or ``None`` if it is not an http(s) URL.

    The fragment and a user name or password go; so do query parameters whose name is a person's
    data or ``private``, and those that hold an e-mail address, a telephone number or a token. A
    part of the path that does becomes ``redacted``. Of a URL of more than 2048 characters the last
    parameters are left out; one whose path alone is as long may have ``max_address``, at most 4096.
    """
    if len(raw) > MAX_READ:
        raw = _shorten(raw)
    text = raw.decode("latin-1")
    if "#" in text:
        text = text.partition("#")[0]
    address, _, query = text.partition("?")
    if len(address) > max_address:
        return None
    clean = _clean_address(address) if len(address) <= MAX_CACHED else _read_address(address)
    if clean is None:
        return None
    if len(clean) > max_address:  # a part that is redacted may have been shorter
        clean = clean[: clean.rfind("/", 0, max_address) + 1]
    if not query:
        return clean
    if len(clean) + len(query) < MAX_LENGTH and _is_harmless(query, private):
        return f"{clean}?{query}"
    if " " in query or not (query.isascii() and query.isprintable()):
        return None
    most = MAX_LENGTH if len(clean) < MAX_LENGTH else max_address
    kept = _clean_query(query, private, most - len(clean) - 1)
    return f"{clean}?{kept}" if kept else clean


def _is_harmless(query: str, private: frozenset[str]) -> bool:
    """Return whether ``query`` is one of those, the most, that can leave as they are; cheap."""
    if _PLAIN_QUERY.fullmatch(query) is None or "eyJ" in query:
        return False
    for pair in query.split("&"):
        name = pair.partition("=")[0]
        if name not in _KEPT and _judge_name(name, private) is not None:
            return False
    return True


def _shorten(raw: bytes) -> bytes:
    """Return the first bytes of a long URL; what was cut in two may be half an e-mail address."""
    start, mark, query = raw[: MAX_READ + 1].partition(b"?")
    if not mark or b"#" in start:
        return start
    if b"#" in query:
        return start + mark + query
    return start + mark + query[: max(query.rfind(b"&"), query.rfind(b";"), 0)]


def _read_address(text: str) -> str | None:
    """Return a URL without its query."""
    scheme = next(filter(text.startswith, _SCHEMES), None)
    if scheme is None or " " in text or not (text.isascii() and text.isprintable()):
        return None
    authority, slash, path = text[len(scheme) :].partition("/")
    host = authority.rpartition("@")[2]  # what is before it is a user name or a password
    if not host:
        return None
    if path and find_shape(path, ALL):
        parts = islice(path.split("/"), MAX_PIECES)
        path = "/".join(REDACTED if find_shape(part, ALL) else part for part in parts)
    return f"{scheme}{host}{slash}{path}"


# A site's visitors load the same pages again and again.
_clean_address = lru_cache(maxsize=CACHE_SIZE)(_read_address)


def _clean_query(query: str, private: frozenset[str], length: int) -> str:
    """Return the parameters that may leave, as far as they fit into ``length`` characters."""
    is_suspect = "%" in query.replace("%20", "") or "@" in query or "+" in query or "eyJ" in query
    kept = []
    for pair in islice(query.replace(";", "&").split("&"), MAX_PIECES):
        name, _, value = pair.partition("=")
        if not pair or (name not in _KEPT and _is_private(name, value, private, is_suspect)):
            continue
        length -= len(pair) + 1
        if length < -1:
            break
        kept.append(pair)
    return "&".join(kept)


def _is_private(name: str, value: str, private: frozenset[str], is_suspect: bool) -> bool:
    if len(name) > MAX_NAME:
        verdict = _ANY if find_shape(name, ALL) else None
    else:
        verdict = _judge_name(name, private)
    if verdict is not None and (
        verdict.fits is None or verdict.fits(decode_text(value.replace("+", " ")))
    ):
        return True
    if (is_suspect or len(value) >= MIN_SECRET) and _holds_data(value):
        return True
    if "=" not in value and "%3" not in value:
        return False
    inner = islice(_PARAMETER.findall(decode_text(value)), MAX_INNER)
    return any(_is_private(name, "", private, False) for name, _ in inner)


def _holds_data(text: str) -> bool:
    """Return whether ``text``, a value or several, is a person's whatever its name."""
    if find_shape(text, ALL):
        return True
    return "+" in text and find_shape(text.replace("+", " "), ALL) is not None


@lru_cache(maxsize=CACHE_SIZE)
def _judge_name(name: str, private: frozenset[str]) -> Verdict | None:
    """Return what a parameter's name says, if its value is private."""
    decoded = decode_text(name)
    plain = "".join(filter(str.isalnum, decoded.lower()))
    if plain in private or plain.endswith(_PRIVATE_ENDINGS) or find_shape(name, ALL):
        return _ANY
    verdict = judge_key(decoded, PAGE)
    return verdict if verdict.personal else None


def _name(text: str) -> str:
    return "".join(filter(str.isalnum, unquote(text).lower()))
