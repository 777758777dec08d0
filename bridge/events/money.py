"""Amounts as people and shop systems write them → numbers, and the currencies there are. Pure.

What could mean two amounts is refused: ``1,234`` and ``1.234`` are one thousand to some and one and
a bit to others, and a purchase counted a thousand times too high steers an ad budget.

Source: ISO 4217 (SIX, "List one", read 2026-11-25); Segment's destinations, which strip a leading
``$``: segmentio/analytics.js-integrations, facebook-pixel.
"""

from __future__ import annotations

import re

from bridge.errors import InvalidEventError

MAX_AMOUNT_LENGTH = 40  # characters of an amount as text
MAX_DIGITS = 15  # before the decimals; JSON's readers keep no more of a number

# In use, and of those withdrawn since 2015 the ones that orders may still be in.
CURRENCIES = frozenset(
    """
    AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN
    BWP BYN BZD CAD CDF CHF CLF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR
    FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD
    JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT
    MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG
    QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS
    TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VED VES VND VUV WST XAF XCD XCG XOF XPF
    YER ZAR ZMW ZWG CUC HRK SLL ZWL
    """.split()
)

# Each sign with the currencies that use it.
_SYMBOLS = """
$ ARS AUD BBD BMD BND BRL BSD BZD CAD CLP COP CUC CUP CVE DOP FJD GYD HKD JMD KYD LRD MOP MXN NAD
  NIO NZD SBD SGD SRD TOP TTD TWD USD UYU WST XCD ZWG ZWL;
£ EGP FKP GBP GIP LBP SDG SHP SSP SYP; ¥ CNY JPY; ₩ KPW KRW; C$ CAD NIO;
€ EUR; ₹ INR; ₺ TRY; ₽ RUB; ₫ VND; ₴ UAH; ₪ ILS; ฿ THB; zł PLN;
US$ USD; A$ AUD; AU$ AUD; CA$ CAD; HK$ HKD; MX$ MXN; NT$ TWD; NZ$ NZD; R$ BRL; S$ SGD
"""
SYMBOLS = {sign: frozenset(codes) for sign, *codes in map(str.split, _SYMBOLS.split(";"))}

_PLAIN = re.compile(r"[0-9]+(?:\.[0-9]+)?")
# A separator between groups of three digits, the same throughout, and another before the rest.
_GROUPED = re.compile(
    r"[0-9]{1,3}(?:([,.'\u2019 \u00a0\u202f])[0-9]{3})(?:\1[0-9]{3})*(?:([.,])[0-9]+)?"
)
_DECIMAL_COMMA = re.compile(r"[0-9]+,(?:[0-9]{1,2}|[0-9]{4,})")
_MARK = re.compile(r"([^0-9\s.,'\u2019-]{1,4})\s*(.*)|(.*?)\s*([^0-9\s.,'\u2019-]{1,4})", re.DOTALL)


def read_amount(given: str, path: str, currency: object = None) -> int | float:
    """Return the amount that the text ``given`` is: ``"$1,234.50"`` is ``1234.5``.

    A currency's sign or code may stand at one end, but not that of another one than ``currency``.

    Raises:
        InvalidEventError: It is no amount, is below zero, or could be two.
    """
    text = given.strip()
    if len(text) > MAX_AMOUNT_LENGTH:
        raise InvalidEventError(path, f"expected an amount of at most {MAX_AMOUNT_LENGTH} digits")
    if not text.isascii() or not text[:1].isdigit() or not text[-1:].isdigit():
        text = _drop_mark(text, path, currency)
    if text.startswith(("-", "(", "\u2212")):
        raise InvalidEventError(path, "expected an amount of 0 or more")
    return _parse(text, path)


def check_currency(given: str, path: str) -> str:
    """Return the ISO 4217 code ``given`` in upper case, which all destinations take.

    Raises:
        InvalidEventError: There is no such currency.

    Source: Segment's Facebook Conversions API (Actions) refuses lower case.
    """
    code = given.upper() if given.isascii() else ""
    if code not in CURRENCIES:
        raise InvalidEventError(path, "expected a currency's ISO 4217 code, such as EUR")
    return code


def _drop_mark(text: str, path: str, currency: object) -> str:
    """Return ``text`` without the currency's sign or code at one of its ends."""
    match = _MARK.fullmatch(text)
    if match is None:
        return text
    mark, amount = (match[1], match[2]) if match[1] else (match[4], match[3])
    code = mark.upper()
    meant = {code} if code in CURRENCIES else SYMBOLS.get(mark)
    if not meant:
        raise InvalidEventError(path, "expected a number of 0 or more, with a currency's sign")
    if isinstance(currency, str) and currency.upper() not in meant:
        raise InvalidEventError(path, f"has the sign of another currency than {currency[:3]}")
    return amount.strip()


def _parse(text: str, path: str) -> int | float:
    is_unclear = False
    if _PLAIN.fullmatch(text):
        whole, _, rest = text.partition(".")
        is_unclear = len(rest) == 3 and len(whole) <= 3 and not whole.startswith("0")
    elif match := _GROUPED.fullmatch(text):
        separator, point = match[1], match[2]
        is_alone = point is None and separator in ",." and text.count(separator) == 1
        is_unclear = is_alone or separator == point
        text = text.replace(separator, "").replace(point or ".", ".")
    elif _DECIMAL_COMMA.fullmatch(text):
        text = text.replace(",", ".")
    else:
        raise InvalidEventError(path, "expected a number of 0 or more")
    if is_unclear:
        raise InvalidEventError(path, "could be thousands or decimals; pass a number")
    if len(text.partition(".")[0].lstrip("0")) > MAX_DIGITS:
        raise InvalidEventError(path, f"expected at most {MAX_DIGITS} digits")
    return float(text) if "." in text else int(text)
