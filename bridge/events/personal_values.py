"""Shapes of personal data in a text: what is recognised by its value, whatever its key is called.

A shop's data is full of digits: bar codes, order numbers, dates, time stamps. Removing one of them
costs as much as missing a telephone number, so a shape counts only if it is rarely anything else:
by a checksum, by a sign no product number has (``+``, a bracketed area code), or by its grouping.

- **Cards** have 15, 16 or 19 digits, an issuer's prefix and Luhn's check digit. Without spaces, 13
  and 14 digits are left alone: EAN-13 begins with 4 in Germany like Visa's old numbers, and a shop
  system's 14-digit variant ids with 36, 38 or 39 like Diners'. One in ten passes Luhn.
- **Telephone numbers** need ``+``, brackets, a leading zero with separators, North America's
  grouping, or a word such as "call" before them. Ten bare digits may be anything.
- **National ids** of a shape that product numbers share (Spain's, India's, the Netherlands') are
  left to the names of their keys.

Every repetition is bounded, or possessive and followed by what it does not take: the work grows
with the length of a text and no faster.

Sources: ISO/IEC 7812 and the card schemes' published ranges; ITU-T E.164; NANPA, numbering plan;
SWIFT, IBAN Registry; SSA, "Social Security number randomization"; INSEE, NIR; Agenzia delle
Entrate, codice fiscale; Receita Federal, CPF; RFC 7519; prefixes as GitHub's secret scanning and
Gitleaks list them. False positives others met: zaproxy issues 6639 (decimals) and 8986 (13 digits).
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal
from urllib.parse import unquote

Kind = Literal["email", "phone", "card", "national_id", "jwt", "secret", "key"]

MIN_LENGTH = 6  # characters; nothing shorter is found
MIN_CARD = 10**14  # the smallest number of 15 digits
MAX_CARD = 10**19
MIN_CARD_DIGITS = 15
MIN_SECRET = 16  # characters; among other words, a secret has a digit as well
MAX_ENCODINGS = 5  # times a text may be percent-encoded

_DIGIT = re.compile(r"\d").search
_SIX_DIGITS = re.compile(r"\D{0,3}+".join([r"\d"] * 6)).search
_DATE = re.compile(r"(?:19|20)\d\d-\d\d-\d\d(?:[T ][\d:.]{5,15}(?:Z|[+-]\d\d:?\d\d)?)?").fullmatch
_OTHER_DIGIT = re.compile(r"(?![0-9])\d")
_WIDE_SIGN = re.compile("[\ufe6b\uff20\ufe6a\uff05]").search  # NFKC makes them @ and %
_DASHES = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2212"), "-")
_UNSEEN = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff"))
_LOOKALIKES = {**_DASHES, **_UNSEEN}

# ``logo@2x.png`` is a picture for a dense screen.
EMAIL = re.compile(r"[\w.+'\"!~*$-]@(?!\d(?:\.\d)?x\.)(?:[\w-]{1,63}+\.){1,8}(?:[^\W\d_]{2}|xn--)")
JWT = re.compile(r"(?<![\w-])eyJ[\w-]{5,}+\.[\w-]{4,}+\.[\w-]")
# Every alternative starts with a letter of its own, which the engine looks for first.
_SECRET = re.compile(
    r"A[KS]IA[A-Z0-9]{16}(?![A-Za-z0-9])"  # Amazon
    r"|AIza[\w-]{35}|ya29\.[\w-]{20}"  # Google
    r"|EAA[A-Za-z0-9]{40}"  # Meta
    r"|gh[oprsu]_[A-Za-z0-9]{30}|github_pat_\w{20}|glpat-[\w-]{18}"  # GitHub, GitLab
    r"|rk_(?:live|test)_[A-Za-z0-9]{10}|sk_(?:live|test)_[A-Za-z0-9]{10}"  # Stripe
    r"|whsec_[A-Za-z0-9+/]{20}"  # of Stripe's and others' webhooks
    r"|shp(?:at|ca|pa|ss)_[A-Fa-f0-9]{30}"  # Shopify
    r"|sk-(?:proj-|ant-)?[A-Za-z0-9_]{20}"  # OpenAI
    r"|SG\.[\w-]{16,64}+\.[\w-]{16}"  # SendGrid
    r"|xox[a-z]-[\w-]{10}"  # Slack
    r"|Bearer {1,3}[\w.~+/=-]{16}|bearer {1,3}[\w.~+/=-]{16}"
    r"|-----BEGIN [A-Z ]{0,20}PRIVATE KEY"
)

# ``+48.858370`` is a coordinate.
_INTERNATIONAL = re.compile(
    r"(?<![\w+.])\+(?!\d{1,3}\.\d{1,7}(?![\d .()/-]))[1-9](?:[ .()/-]{0,3}+\d){7,14}(?!\d)"
)
_WHOLE_PHONE = re.compile(r"\+[0-9][0-9 ()./-]{6,24}")
_WHATSAPP = re.compile(r"\bwa\.me/\d{8}")
_NATIONAL_PHONE = re.compile(
    r"(?<![\w.+/-])(?:"
    r"\((?!(?:19|20)\d\d\))0?[1-9]\d{1,4}\)[ -]{0,2}\d(?:[ -]?+\d){5,9}"  # (650) 555-1212
    r"|(?:1[-.])?[2-9][0-8]\d([-.])[2-9]\d\d\1\d{4}"  # 650-555-1212
    r"|0[1-9]\d{0,3}+-\d{6,8}"  # 06-12345678
    r"|0[1-9](?:-\d{4}|\d-\d{3,4}|\d\d-\d{2,3})-\d{4}"  # 03-1234-5678, 090-1234-5678
    r"|0[1-9](?:\.\d\d){4}"  # 01.23.45.67.89
    r"|(?<!\d )00[1-9](?=\d{0,3}[ ()/-])(?:[ ()/-]{0,3}+\d){7,13}"  # 0049 170 1234567
    r")(?!\w|[.-]\d)"
)
_GROUPED_PHONE = re.compile(
    r"(?<![\w.+/-])(?<!\d )(?!\d\d[ /]\d\d[ /](?:19|20)\d\d(?!\d))"
    r"0[1-9]\d{0,4}+(?: ?/ ?| )\d{2,8}+(?:[ -]\d{2,4}+){0,4}+(?!\w|[ .-]\d)"
)
_CALLED_PHONE = re.compile(
    r"\b(?:tel|telefon|telephone|phone|whatsapp|fax|call|sms)\b"
    r"(?:[ .:#]{1,2}+(?:me|us|at|on|number|no|nr)\b){0,3}+[ .:#]{0,3}+"
    r"\d(?:[ ()./-]{0,2}+\d){6,14}(?!\d)",
    re.IGNORECASE,
)

_CARD = re.compile(
    r"(?<![\w.+-])(?:\d{4}([ .-])\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|\d{4}([ -])\d{6}\2\d{4,5}"
    r"|\d{15,16}|\d{19})(?!\w|[.-]\d)"
)
_ISSUER = re.compile(
    r"(?:4\d{15}(?:\d{3})?"  # Visa
    r"|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}"  # Mastercard
    r"|3[47]\d{13}"  # American Express
    r"|3(?:0[0-59]|[689]\d)\d{11}"  # Diners
    r"|(?:6011|64[4-9]\d|65\d\d)\d{12}"  # Discover
    r"|35(?:2[89]|[3-8]\d)\d{12}"  # JCB
    r"|62\d{14}(?:\d{3})?"  # UnionPay
    r"|(?:5018|5020|5038|5893|6304|6759|676[1-3])\d{12}(?:\d{3})?"  # Maestro
    r"|220[0-4]\d{12}|(?:508[5-9]|60[68]\d|8[12]\d\d)\d{12})"  # Mir, RuPay
)

_NATIONAL_ID = re.compile(
    r"(?<![\w.-])(?:"
    r"(?!000|666|9)\d{3}-(?!00)\d\d-(?!0000)\d{4}"  # United States, SSN
    r"|[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z](?: \d\d){3} [A-D]"  # United Kingdom, NINO
    r"|[A-Z]{6}\d\d[A-EHLMPRST](?:[04][1-9]|[1256]\d|[37][01])[A-Z]\d{3}[A-Z]"  # Italy
    r"|756\.\d{4}\.\d{4}\.\d\d"  # Switzerland, AHV
    r"|\d\d\.(?:0\d|1[0-2])\.(?:[0-2]\d|3[01])-\d{3}\.\d\d"  # Belgium
    r")(?![\w-])"
)
_CPF = re.compile(r"(?<![\w.-])\d{3}\.\d{3}\.\d{3}-\d\d(?![\w-])")
_NIR = re.compile(
    r"(?<![\w.-])([12] ?\d\d ?(?:0[1-9]|1[0-2]) ?\d\d ?\d{3} ?\d{3}) ?(\d\d)(?![\w-]| \d)"
)
_IBAN = re.compile(r"(?<![A-Za-z0-9])(?=([A-Z]{2}\d\d(?: ?+[A-Z0-9]){11,30}))")
_LENGTHS_OF_IBAN = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 "
    "EE20 EG29 ES24 FI18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 "
    "IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MR27 MT31 MU30 "
    "NL18 NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 SA24 SC31 SE24 SI19 SK24 SM27 ST25 SV28 TL23 "
    "TN24 TR26 UA29 VA22 VG24 XK20"
)
_IBAN_LENGTHS = {pair[:2]: int(pair[2:]) for pair in _LENGTHS_OF_IBAN.split()}


def find_shape(text: str, sure: bool = False) -> Kind | None:
    """Return what ``text`` is or contains, or ``None``.

    ``"call me at +49 170 1234567"`` is ``"phone"``, ``"4006381333931"`` (a bar code) is nothing.

    Args:
        text: Percent-encoded or not, with digits of any script.
        sure: The text is expected to be a number that is nobody's: an id, a date, a price. Only
            what no such number looks like counts: e-mail addresses, tokens, ``+49…``, IBANs.
    """
    if "@" in text or "%" in text:
        return _examine(text, sure)
    if len(text) >= MIN_SECRET and not _DIGIT(text):
        if " " not in text or (not text.isascii() and _WIDE_SIGN(text)):
            return _examine(text, sure)
        return None
    if _SIX_DIGITS(text):
        is_plain = _DATE(text) or (text.isdecimal() and len(text) < MIN_CARD_DIGITS)
        return None if is_plain else _examine(text, sure)
    if len(text) >= MIN_SECRET and _has_long_word(text):
        return _examine(text, sure)
    return None if text.isascii() or not _WIDE_SIGN(text) else _examine(text, sure)


def holds_email(text: str) -> bool:
    """Return whether ``text`` is or contains an e-mail address, percent-encoded or not.

    ``"auth0|mary@example.com"`` does, ``"@mary"`` and ``"mary@localhost"`` do not.
    """
    if "@" not in text and "%" not in text and text.isascii():
        return False
    for _ in range(MAX_ENCODINGS):
        folded = text if text.isascii() else _fold(text)
        if "@" in folded and EMAIL.search(folded):
            return True
        text = unquote(folded)
        if text == folded:
            return False
    return False


def find_personal_id(text: str) -> str | None:
    """Return what ``text`` is if it must not be sent in the clear as an id, in words.

    A phone number is recognised by its ``+``: most ids consist of digits alone.
    """
    if holds_email(text):
        return "an e-mail address"
    return "a phone number" if text[:1] == "+" and _WHOLE_PHONE.fullmatch(text) else None


def is_card(number: int) -> bool:
    """Return whether ``number`` is one of a payment card."""
    return MIN_CARD <= number < MAX_CARD and _is_card_number(str(number))


def has_digits(text: str, count: int) -> bool:
    """Return whether ``text`` has at least ``count`` digits, of any script."""
    return sum(map(str.isdecimal, text)) >= count


def _has_long_word(text: str) -> bool:
    for word in text.split():  # noqa: SIM110 - a generator costs as much again
        if len(word) >= MIN_SECRET:
            return True
    return False


def _examine(text: str, sure: bool) -> Kind | None:
    for _ in range(MAX_ENCODINGS):
        if not text.isascii():
            text = _fold(text)
        if kind := _match(text, sure):
            return kind
        decoded = unquote(text) if "%" in text else text
        if decoded == text:
            return None
        text = decoded
    return None


def _fold(text: str) -> str:
    """Return ``text`` with the signs of ASCII for their look-alikes: wide ones, digits, dashes."""
    text = unicodedata.normalize("NFKC", text).translate(_LOOKALIKES)
    return _OTHER_DIGIT.sub(lambda match: str(unicodedata.decimal(match[0])), text)


def _match(text: str, sure: bool) -> Kind | None:
    if "@" in text and EMAIL.search(text):
        return "email"
    if "eyJ" in text and JWT.search(text):
        return "jwt"
    starts = [match.start() for match in _SECRET.finditer(text)]
    if any(start == 0 or not text[start - 1].isalnum() for start in starts):
        return "secret"
    if not _SIX_DIGITS(text):
        return None
    if ("+" in text and _INTERNATIONAL.search(text)) or _WHATSAPP.search(text):
        return "phone"
    if any(_is_iban(match[1]) for match in _IBAN.finditer(text)):
        return "national_id"
    # The numbers in an address of the web are those of its pages.
    return None if sure or "://" in text else _match_number(text)


def _match_number(text: str) -> Kind | None:
    if any(_is_card_number(match[0]) for match in _CARD.finditer(text)):
        return "card"
    if (
        _NATIONAL_ID.search(text)
        or any(_is_cpf(match[0]) for match in _CPF.finditer(text))
        or any(_is_nir(match[1], match[2]) for match in _NIR.finditer(text))
    ):
        return "national_id"
    if _NATIONAL_PHONE.search(text) or _CALLED_PHONE.search(text):
        return "phone"
    grouped = (_digits(match[0]) for match in _GROUPED_PHONE.finditer(text))
    return "phone" if any(10 <= len(digits) <= 12 for digits in grouped) else None


def _digits(text: str) -> str:
    return "".join(filter(str.isdecimal, text))


def _is_card_number(text: str) -> bool:
    digits = _digits(text)
    return _ISSUER.fullmatch(digits) is not None and _passes_luhn(digits)


def _passes_luhn(digits: str) -> bool:
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(doubled) + sum(map(int, digits[-1::-2]))) % 10 == 0


def _is_cpf(text: str) -> bool:
    digits = [int(digit) for digit in _digits(text)]
    if len(set(digits)) == 1:
        return False
    for length in (9, 10):
        weighted = sum(digits[i] * (length + 1 - i) for i in range(length))
        if weighted * 10 % 11 % 10 != digits[length]:
            return False
    return True


def _is_nir(body: str, key: str) -> bool:
    return 97 - int(_digits(body)) % 97 == int(key)


def _is_iban(text: str) -> bool:
    iban = text.replace(" ", "")
    length = _IBAN_LENGTHS.get(iban[:2], 0)
    if not length or len(iban) < length:
        return False
    turned = iban[4:length] + iban[:4]
    return int("".join(str(int(sign, 36)) for sign in turned)) % 97 == 1
