"""Shapes of personal data in a text: what is recognised by its value, whatever its key is called.

A shop's data is full of digits: bar codes, order numbers, dates, time stamps. Removing one of them
costs as much as missing a telephone number, so a shape counts only if it is rarely anything else:
by a checksum, by a sign no product number has (``+``, a bracketed area code), or by its grouping.

- **Cards** have 15, 16 or 19 digits, an issuer's prefix and Luhn's check digit. Without spaces, 13
  and 14 digits are left alone: EAN-13 begins with 4 in Germany like Visa's old numbers, and a shop
  system's 14-digit variant ids with 36, 38 or 39 like Diners'. One in ten passes Luhn.
- **Telephone numbers** need ``+``, brackets, a leading zero with separators, North America's
  grouping, or a word such as "call" before them. Ten bare digits may be anything. Sizes are none:
  ``11/12/13/14``, ``(60) 40 30 20 cm``.
- **National ids** of a shape that product numbers share (Spain's, India's, the Netherlands') are
  left to the names of their keys.
- **E-mail addresses** may be disguised: percent-encoded, as HTML entities, with escapes of JSON,
  with spaces around the ``@``, or with ``(at)``.

Strategy: whatever a text is, the work grows with its length and no faster. Every repetition is
bounded, or possessive and followed by what it does not take. The patterns of numbers see only the
runs of digits and separators in a text, and at most ``MAX_RUNS`` characters of these: who writes
more digits into one text writes a table.

Sources: ISO/IEC 7812 and the card schemes' published ranges; ITU-T E.164; NANPA, numbering plan;
SWIFT, IBAN Registry; SSA, "Social Security number randomization"; INSEE, NIR; Agenzia delle
Entrate, codice fiscale; Receita Federal, CPF; RFC 7519; prefixes as GitHub's secret scanning and
Gitleaks list them. False positives others met: zaproxy issues 6639 (decimals) and 8986 (13 digits).
"""

from __future__ import annotations

import binascii
import re
import unicodedata
from itertools import islice, pairwise
from typing import Literal
from urllib.parse import unquote

Kind = Literal["email", "phone", "card", "national_id", "jwt", "secret", "key"]

# What numbers are expected in a text, so that they are nobody's.
NONE = 0
PARTS = 1  # it names a thing, whose part number may be written like a telephone number
ALL = 2  # it is an id, a date, a price: only what no number looks like counts

MIN_LENGTH = 6  # characters; nothing shorter is found
MIN_CARD = 10**14  # the smallest number of 15 digits
MAX_CARD = 10**19
MIN_CARD_DIGITS = 15
MIN_SECRET = 16  # characters; among other words, a secret has a digit as well
MAX_ROUNDS = 3  # of decoding; each undoes any number of encodings of one kind
MAX_RUNS = 600  # characters of numbers that are looked at in one text
MAX_CHECKED = 50  # candidates whose checksum is computed in one text

_DIGIT = re.compile(r"\d").search
_SIX_DIGITS = re.compile(r"\D{0,3}+".join([r"\d"] * 6)).search
_DATE = re.compile(r"(?:19|20)\d\d-\d\d-\d\d(?:[T ][\d:.]{5,15}(?:Z|[+-]\d\d:?\d\d)?)?").fullmatch
_WIDE_SIGN = re.compile("[\ufe6b\uff20\ufe6a\uff05]").search  # NFKC makes them @ and %
_DASHES = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2212"), "-")
_UNSEEN = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff"))
# The zeros of the scripts whose digits NFKC leaves as they are; nine more digits follow each.
_ZEROS = """
    660 6f0 7c0 966 9e6 a66 ae6 b66 be6 c66 ce6 d66 de6 e50 ed0 f20 1040 1090 17e0 1810 1946 19d0
    1a80 1a90 1b50 1bb0 1c40 1c50 a620 a8d0 a900 a9d0 a9f0 aa50 abf0 104a0 10d30 11066 110f0 11136
    111d0 112f0 11450 114d0 11650 116c0 11730 118e0 11950 11c50 11d50 11da0 11f50 16a60 16ac0 16b50
    1e140 1e2f0 1e4f0 1e950
    """.split()
_DIGITS = {int(zero, 16) + i: str(i) for zero in _ZEROS for i in range(10)}
_LOOKALIKES = {**_DASHES, **_UNSEEN, **_DIGITS}

_ENCODED_PERCENT = re.compile(r"%(?:25){1,64}(?=[0-9A-Fa-f]{2})")
_LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")  # each costs ``unquote`` an exception
_ENTITY = re.compile(
    r"&(?:amp;){0,8}+(?:#0{0,6}(\d{2,3});?|#[xX]0{0,6}([0-9A-Fa-f]{2});?"
    r"|(commat|period|plus|num|nbsp|lowbar|hyphen|dash|Tab|quot);)"
)
_NAMED = {"commat": "@", "period": ".", "plus": "+", "num": "#", "lowbar": "_", "quot": '"'}
_NAMED |= {"hyphen": "-", "dash": "-", "nbsp": " ", "Tab": " "}
_ESCAPE = re.compile(r"(?:(?<!\\)\\++|%)(?:u(?:00|\{)([0-9A-Fa-f]{2})\}?|x([0-9A-Fa-f]{2}))")
_SPELLED_AT = re.compile(r" ?[(\[] ?at[)\]] ?")
_SPELLED_DOT = re.compile(r" ?[(\[] ?dot[)\]] ?")

# ``logo@2x.png`` is a picture for a dense screen.
_MAIL_HOST = re.compile(
    r"@ ?(?!\d(?:\.\d)?x\.)((?:[\w-]{1,63}+\.){1,8})([^\W\d_]{2}\w{0,22}+|xn--)"
)
_MAILBOX = frozenset(".+'\"!~*$-_")  # besides letters and digits, what can stand before the @
_FILES = frozenset(
    """
    avif bmp css csv doc docx gif heic htm html ico jpeg jpg js json mjs mkv mp3 mp4 mpeg php pdf
    png svg tif tiff txt webm webp woff woff2 xls xlsx xml
    """.split()
)
_COMMON_DOMAINS = frozenset("com net org info example".split())
# ``visit us @ shop.example``
_BEFORE_PLACE = frozenset(
    """
    available buy deal deals find follow here it live me more now online only order price sale shop
    store today us visit
    """.split()
)

_JWT = re.compile(r"(?<![\w-])(eyJ[\w-]{5,}+)\.[\w-]{4,}+\.[\w-]")
_URL_SAFE = str.maketrans("-_", "+/")
# Every alternative starts with a letter of its own, which the engine looks for first.
_SECRET = re.compile(
    r"AKIA[A-Z0-9]{16}(?![A-Za-z0-9])|ASIA(?=[A-Z]{0,15}\d)[A-Z0-9]{16}(?![A-Za-z0-9])"  # Amazon
    r"|AIza[\w-]{35}|ya29\.[\w-]{20}"  # Google
    r"|EAA[A-Za-z0-9]{40}"  # Meta
    r"|gh[oprsu]_[A-Za-z0-9]{30}|github_pat_\w{20}|glpat-[\w-]{18}"  # GitHub, GitLab
    r"|rk_(?:live|test)_[A-Za-z0-9]{10}|sk_(?:live|test)_[A-Za-z0-9]{10}"  # Stripe
    r"|whsec_[A-Za-z0-9+/]{20}"  # of Stripe's and others' webhooks
    r"|shp(?:at|ca|pa|ss)_[A-Fa-f0-9]{30}"  # Shopify
    # OpenAI and its like: ``sk-ii_facial_treatment_essence`` is a cream.
    r"|sk-(?:proj|ant|svcacct|or)-(?=[A-Za-z_-]{0,40}\d)[\w-]{20}"
    r"|sk-(?=[A-Za-z]{0,40}\d)[A-Za-z0-9]{20}"
    r"|SG\.[\w-]{22}\.[\w-]{40}"  # SendGrid
    r"|xox[abepr]-\d[\w-]{9}|xox[os]-\d{6,16}-\d"  # Slack; ``xoxo-`` are kisses
    r"|[Bb]earer {1,3}(?=[A-Za-z._~+/=-]{0,64}\d)[\w.~+/=-]{16}"
    r"|-----BEGIN [A-Z ]{0,20}PRIVATE KEY"
)

# A number with its separators, and what of its surroundings the patterns below look at.
_RUN = re.compile(r"[+(]{0,2}\d(?:[ ()./+-]{0,4}+\d){5,}+")
_GROUP = re.compile(r"\d{1,8}+")
# ``40 30 20 cm`` is a size.
_UNIT = re.compile(
    r" ?(?:[x\xd7°€$£%\"″]|(?:[mck]?m|[mk]?g|[mc]?l|oz|lbs?|in|inch|ft|pcs?|stk|st|k?w|v|m?ah"
    r"|[gtm]b|[mgk]?hz|eur|usd|gbp|chf|pln|zł|zl|円|px|dpi|lm|tlg|teilig|pz|pi[eè]ces|piezas|szt)\b)",
    re.IGNORECASE,
)

# ``+48.858370`` is a coordinate, and ``+20000000`` many coins.
_INTERNATIONAL = re.compile(
    r"(?<![\w+.])\+(?!\d{1,3}\.\d{1,7}(?![\d .()/-]))(?!\d{1,3}0{6})[1-9](?:[ .()/-]{0,3}+\d){7,14}"
    r"(?!\d)"
)
_WHATSAPP = re.compile(r"\bwa\.me/\d{8}")
_BRACKETED_PHONE = re.compile(
    r"(?<![\w.+/-])\((?!(?:19|20)\d\d\))(?:"
    r"0[1-9]\d{0,3}\)[ -]{0,2}\d(?:[ /-]?+\d){5,9}"  # (089) 123 456
    r"|[1-9]\d{1,2}\)[ -]{0,2}(?:\d{3,5}[ -]?\d{4}|\d{3}[ -]\d\d[ -]\d\d)"  # (650) 555-1212
    r")(?!\w|[.-]\d)"
)
_EXIT_CODE_PHONE = re.compile(  # 0049 170 1234567
    r"(?<![\w.+/-])(?<!\d )00[1-9](?=\d{0,3}[ ()/-])(?:[ ()/-]{0,3}+\d){7,13}(?!\w|[.-]\d)"
)
_HYPHENATED_PHONE = re.compile(
    r"(?<![\w.+/-])(?:"
    r"(?:1[-.])?[2-9][0-8]\d([-.])[2-9](?!00)\d\d\1\d{4}"  # 650-555-1212
    r"|06-\d{8}"  # 06-12345678
    r"|0[1-9](?:-\d{4}|\d-\d{3,4}|\d\d-\d{2,3})-\d{4}"  # 03-1234-5678, 090-1234-5678
    r"|0[1-9](?:\.\d\d){4}"  # 01.23.45.67.89
    r")(?!\w|[.-]\d)"
)
_GROUPED_PHONE = re.compile(
    r"(?<![\w.+/-])(?<!\d )(?!\d\d[ /]\d\d[ /](?:19|20)\d\d(?!\d))"
    r"0[1-9]\d{0,4}+(?: ?/ ?| )\d{2,8}+(?:[ -]\d{2,4}+){0,4}+(?!\w|[ .-]\d)"
)
_CALLED = re.compile(
    r"\b(?:tel|telefon|telephone|phone|whatsapp|fax|call|sms|mobil|handy|m[oó]vil|cellulare)\b"
    r"(?:[ .:#]{1,2}+(?:me|us|at|on|number|no|nr)\b){0,3}+[ .:#]{0,3}+$",
    re.IGNORECASE,
)
_CALLED_NUMBER = re.compile(r"\(?\d(?:[ ()./-]{0,2}+\d){6,14}(?!\d)")

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

_SSN = re.compile(
    r"(?<![\w.-])(?!000|666|9)\d{3}-(?!00)\d\d-(?!0000)\d{4}(?![\w-])"  # United States
)
_LETTERED_ID = re.compile(
    r"(?<![\w.-])(?:"
    r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z](?: \d\d){3} [A-D]"  # United Kingdom, NINO
    r"|[A-Z]{6}\d\d[A-EHLMPRST](?:[04][1-9]|[1256]\d|[37][01])[A-Z]\d{3}[A-Z]"  # Italy
    r")(?![\w-])"
)
_DOTTED_ID = re.compile(
    r"(?<![\w.-])(?:"
    r"756\.\d{4}\.\d{4}\.\d\d"  # Switzerland, AHV
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

# The numbers that could make an id personal, before anything is computed.
_NUMBER_OF_ID = re.compile(r"^[+(0]|[ %]|\d{4}[ .-]?\d{4,6}[ .-]?\d{4}")
_WORDS: dict[Kind, str] = {
    "email": "an e-mail address",
    "phone": "a phone number",
    "card": "the number of a payment card",
    "national_id": "the number of a person or an account",
    "jwt": "a token",
    "secret": "a token",
    "key": "personal data",
}


def find_shape(text: str, expected: int = NONE) -> Kind | None:
    """Return what ``text`` is or contains, or ``None``.

    ``"call me at +49 170 1234567"`` is ``"phone"``, ``"4006381333931"`` (a bar code) is nothing.

    Args:
        text: Encoded or not, with digits of any script.
        expected: The numbers that are expected in it: ``NONE``, ``PARTS`` or ``ALL``.
    """
    if (
        "@" in text
        or "%" in text
        or "\\" in text
        or (";" in text and "&" in text)
        or "at)" in text
        or "at]" in text
    ):
        return _examine(decode_text(text), expected)
    if len(text) >= MIN_SECRET and not _DIGIT(text):
        if " " not in text or (not text.isascii() and _WIDE_SIGN(text)):
            return _examine(text, expected)
        return None
    if _SIX_DIGITS(text):
        is_plain = _DATE(text) or (text.isdecimal() and len(text) < MIN_CARD_DIGITS)
        return None if is_plain else _examine(text, expected)
    if len(text) >= MIN_SECRET and _has_long_word(text):
        return _examine(text, expected)
    return None if text.isascii() or not _WIDE_SIGN(text) else _examine(text, expected)


def holds_email(text: str) -> bool:
    """Return whether ``text`` is or contains an e-mail address, encoded or not.

    ``"auth0|mary@example.com"`` does, ``"@mary"`` and ``"mary@localhost"`` do not.
    """
    if text.isascii() and "@" not in text and text.isalnum():
        return False
    return _holds_email(decode_text(text))


def find_personal_id(text: str, expected: int = PARTS) -> str | None:
    """Return what ``text`` is if it must not be sent in the clear as an id or a name, in words.

    A phone number is recognised by its ``+`` or its spaces: most ids consist of digits alone, some
    of digits and hyphens, which only a name has not.
    """
    if expected == PARTS and text.isascii() and not _NUMBER_OF_ID.search(text):
        return _WORDS["email"] if holds_email(text) else None
    kind = find_shape(text, expected)
    return None if kind is None else _WORDS[kind]


def describe_kind(kind: Kind) -> str:
    """Return ``kind`` in words, for a message."""
    return _WORDS[kind]


def is_card(number: int) -> bool:
    """Return whether ``number`` is one of a payment card."""
    return MIN_CARD <= number < MAX_CARD and _is_card_number(str(number))


def decode_text(text: str) -> str:
    r"""Return ``text`` with the plain signs that it encodes, however often.

    ``mary%252540example.com``, ``mary&#64;example.com``, ``mary\u0040example.com`` and
    ``mary (at) example.com`` are ``mary@example.com``; digits of other scripts are ASCII's.
    """
    for _ in range(MAX_ROUNDS):
        before = text
        if not text.isascii():
            # Look-alikes become the signs of ASCII: wide ones, digits, dashes.
            text = unicodedata.normalize("NFKC", text).translate(_LOOKALIKES)
        if "%" in text:
            if "%25" in text:
                text = _ENCODED_PERCENT.sub("%", text)
            if text.count("%") > MAX_CHECKED:
                text = _LONE_PERCENT.sub("\0", text)
            text = unquote(text).replace("\0", "%")
        if "\\" in text or "%u" in text:
            text = _ESCAPE.sub(_read_escape, text)
        if "&" in text:
            text = _ENTITY.sub(_read_entity, text)
        if text == before:
            break
    if "at)" in text or "at]" in text:
        text = _SPELLED_DOT.sub(".", _SPELLED_AT.sub("@", text))
    return text


def _read_escape(match: re.Match[str]) -> str:
    return chr(int(match[1] or match[2], 16))


def _read_entity(match: re.Match[str]) -> str:
    decimal, hexadecimal, name = match.groups()
    if name is not None:
        return _NAMED[name]
    return chr(int(hexadecimal, 16) if decimal is None else int(decimal))


def _has_long_word(text: str) -> bool:
    for word in text.split():  # noqa: SIM110 - a generator costs as much again
        if len(word) >= MIN_SECRET:
            return True
    return False


def _examine(text: str, expected: int) -> Kind | None:
    if not text.isascii():
        text = decode_text(text)
    if "@" in text and _holds_email(text):
        return "email"
    if "eyJ" in text and any(
        _is_jose_header(match[1]) for match in islice(_JWT.finditer(text), MAX_CHECKED)
    ):
        return "jwt"
    for match in _SECRET.finditer(text) if len(text) >= MIN_SECRET else ():
        start = match.start()
        if start == 0 or not text[start - 1].isalnum():
            return "secret"
    return _examine_numbers(text, expected) if _SIX_DIGITS(text) else None


def _holds_email(text: str) -> bool:
    for match in _MAIL_HOST.finditer(text):
        start = match.start()
        before = text[start - 1 : start]
        is_parted = before == " "
        if is_parted:
            before = text[max(start - 2, 0) : start - 1]
        if not (before.isalnum() or before in _MAILBOX) or before == "":
            continue
        if match[2].lower() in _FILES and not _is_domain(match[1]):
            continue  # ``shoe@1200w.jpg``
        if is_parted and _BEFORE_PLACE.intersection(
            text[max(start - 12, 0) : start].lower().split()[-1:]
        ):
            continue
        return True
    return False


def _is_domain(labels: str) -> bool:
    """Return whether the host in ``mary@example.com.pdf`` ends before the file's kind."""
    last = labels.split(".")[-2]
    return labels.count(".") > 1 and (
        last in _COMMON_DOMAINS or (len(last) == 2 and last.isalpha())
    )


def _examine_numbers(text: str, expected: int) -> Kind | None:
    if ("+" in text and _INTERNATIONAL.search(text)) or (
        "wa.me/" in text and _WHATSAPP.search(text)
    ):
        return "phone"
    if any(_is_iban(match[1]) for match in islice(_IBAN.finditer(text), MAX_CHECKED)):
        return "national_id"
    # The numbers in an address of the web are those of its pages.
    if expected == ALL or "://" in text:
        return None
    return "national_id" if _LETTERED_ID.search(text) else _judge_runs(text, expected)


def _judge_runs(text: str, expected: int) -> Kind | None:
    """Return what the numbers in ``text`` are; each pattern sees all of them at once."""
    runs: list[str] = []
    left = MAX_RUNS
    for match in _RUN.finditer(text):
        start, end = match.span()
        end = min(end, start + left)
        if not _UNIT.match(text, end) and not _is_list(text[start:end]):
            if _CALLED_NUMBER.match(text, start, end) and _CALLED.search(
                text[max(start - 30, 0) : start]
            ):
                return "phone"
            runs.append(text[max(start - 2, 0) : end + 2])
        left -= end - start
        if left <= 0:
            break
    if not runs:
        return None
    numbers = "\n".join(runs)
    if any(_is_card_number(match[0]) for match in islice(_CARD.finditer(numbers), MAX_CHECKED)):
        return "card"
    if _is_id(numbers, expected):
        return "national_id"
    if expected == NONE:
        is_phone = _holds_phone(numbers)
    else:
        # A part number among other words, but nothing but a telephone number is one.
        is_phone = (
            len(runs) == 1 and len(text) <= len(runs[0]) and _holds_phone(numbers, loose=False)
        )
    return "phone" if is_phone else None


def _is_id(numbers: str, expected: int) -> bool:
    if _DOTTED_ID.search(numbers) or (expected == NONE and _holds_ssn(numbers)):
        return True
    return any(_is_cpf(match[0]) for match in islice(_CPF.finditer(numbers), MAX_CHECKED)) or any(
        _is_nir(match[1], match[2]) for match in islice(_NIR.finditer(numbers), MAX_CHECKED)
    )


def _holds_ssn(numbers: str) -> bool:
    """Return whether there is a social security number; ``105-12-3456`` counts up, as examples."""
    return any(
        "3456" not in match[0] and "4567" not in match[0] for match in _SSN.finditer(numbers)
    )


def _holds_phone(numbers: str, *, loose: bool = True) -> bool:
    if _BRACKETED_PHONE.search(numbers) or _EXIT_CODE_PHONE.search(numbers):
        return True
    if loose and _HYPHENATED_PHONE.search(numbers):
        return True
    grouped = (_digits(match[0]) for match in islice(_GROUPED_PHONE.finditer(numbers), MAX_CHECKED))
    return any(10 <= len(digits) <= 12 for digits in grouped)


def _is_jose_header(text: str) -> bool:
    """Return whether ``text`` begins as an encoded JSON object does: ``eyJewel`` does not."""
    start = text[: min(len(text), 64) // 4 * 4]
    return b'":' in binascii.a2b_base64(start.translate(_URL_SAFE))


def _is_list(run: str) -> bool:
    """Return whether ``run`` is a list of sizes or models: ``11/12/13/14``, ``36 38 40 42``."""
    if run[0] == "+":
        return False
    groups = _GROUP.findall(run)
    if len(groups) < 3 or any(len(group) > 3 for group in groups):
        return False
    numbers = [int(group) for group in groups]
    steps = {later - earlier for earlier, later in pairwise(numbers)}
    if len(steps) == 1 and 0 < abs(min(steps)) <= 10:
        return True
    if len(groups) > 5 and all(len(group) < 3 for group in groups):
        return True
    is_short = all(
        number < 100 and group[0] != "0" for number, group in zip(numbers, groups, strict=True)
    )
    return is_short and (min(steps) > 0 or max(steps) < 0)


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
