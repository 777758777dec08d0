"""Amounts and currencies: converted or refused, never silently wrong."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridge import InvalidEventError
from bridge.events.money import CURRENCIES, MAX_AMOUNT_LENGTH, SYMBOLS, check_currency, read_amount


@pytest.mark.parametrize(
    ("told", "amount"),
    [
        ("0", 0),
        ("5", 5),
        ("1234", 1234),
        ("1234567", 1234567),
        ("007", 7),
        ("5.5", 5.5),
        ("19.99", 19.99),
        ("0.125", 0.125),
        ("1234.567", 1234.567),
        (" 19.99\n", 19.99),
        ("19,99", 19.99),
        ("0,5", 0.5),
        ("1,234.50", 1234.5),
        ("1.234,50", 1234.5),
        ("1,234,567", 1234567),
        ("1.234.567", 1234567),
        ("1,234,567.89", 1234567.89),
        ("1.234.567,89", 1234567.89),
        ("1 234", 1234),
        ("1 234,50", 1234.5),
        ("1\u00a0234,50", 1234.5),
        ("1\u202f234,50", 1234.5),
        ("1'234.50", 1234.5),
        ("1\u2019234.50", 1234.5),
        ("$5", 5),
        ("$ 1,234.50", 1234.5),
        ("5,00 €", 5),
        ("€5.00", 5),
        ("1.234,50\u00a0€", 1234.5),
        ("£19.99", 19.99),
        ("¥500", 500),
        ("₹1,234.50", 1234.5),
        ("₩15,000,000", 15000000),
        ("19,99 zł", 19.99),
        ("EUR 5", 5),
        ("5 EUR", 5),
        ("5eur", 5),
        ("US$5", 5),
        ("R$ 5,50", 5.5),
    ],
)
def test_amount_is_read(told: str, amount: float) -> None:
    read = read_amount(told, "revenue")
    assert read == amount
    assert isinstance(read, int | float)


@pytest.mark.parametrize(
    "told",
    [
        *("", " ", ".", ",", "-", "$", "EUR", "abc", "five", "None", "nan", "inf", "-inf", "1e5"),
        *("0x10", "1_000", "1/2", "½", "²", "٣", "５", "5.", ".5", "5,-", "--5", "+5", "5%"),
        *("-5", "-0.01", "$-5", "-$5", "(5.00)", "\u22125", "5-"),
        *("1,234", "1.234", "999.999", "12,345", "0,125", "$1,234", "1.234 €"),
        *("1.234.5", "1,234,5", "1,234.567.8", "12,34,567", "1.23.456", "1,23.45", "1 23"),
        *("5 5", "5 € €", "$5 USD", "5 dollars", "€ EUR 5", "ABC 5", "XAU 5", "zz$5", "₿5"),
        *("5;5", "5\n5", "5\x005", "5€5", "1,234\u00a0567", "9" * 41, "9" * 16, "9" * 40),
    ],
)
def test_what_is_no_amount_or_could_be_two_is_refused(told: str) -> None:
    with pytest.raises(InvalidEventError, match="revenue"):
        read_amount(told, "revenue")


@pytest.mark.parametrize(
    ("told", "currency", "is_right"),
    [
        ("$5", "USD", True),
        ("$5", "usd", True),
        ("$5", "CAD", True),
        ("$5", "MXN", True),
        ("$5", "EUR", False),
        ("€5", "EUR", True),
        ("€5", "USD", False),
        ("£5", "GBP", True),
        ("£5", "EUR", False),
        ("¥5", "JPY", True),
        ("¥5", "CNY", True),
        ("¥5", "USD", False),
        ("5 EUR", "EUR", True),
        ("5 EUR", "USD", False),
        ("US$5", "USD", True),
        ("US$5", "CAD", False),
        ("C$5", "CAD", True),
        ("C$5", "USD", False),
        ("CA$5", "CAD", True),
        ("A$5", "AUD", True),
        ("A$5", "USD", False),
        ("AU$5", "AUD", True),
        ("NZ$5", "NZD", True),
        ("HK$5", "HKD", True),
        ("S$5", "SGD", True),
        ("R$5", "BRL", True),
        ("R$5", "USD", False),
        ("MX$5", "MXN", True),
        ("NT$5", "TWD", True),
        ("5", "EUR", True),
        ("5", None, True),
        ("$5", 978, True),
    ],
)
def test_sign_must_be_of_the_currency(told: str, currency: object, is_right: bool) -> None:
    if is_right:
        assert read_amount(told, "revenue", currency) == 5
    else:
        with pytest.raises(InvalidEventError, match="another currency"):
            read_amount(told, "revenue", currency)


def test_message_shows_the_field_and_not_what_was_said() -> None:
    with pytest.raises(InvalidEventError) as caught:
        read_amount("john@example.com", "properties.revenue")
    assert "properties.revenue" in str(caught.value)
    assert "john" not in str(caught.value)
    with pytest.raises(InvalidEventError, match=str(MAX_AMOUNT_LENGTH)):
        read_amount("5" * 10_000, "revenue")


def readings(told: str) -> set[float]:
    """What the digits of ``told`` can mean: its last separator stands before decimals or not."""
    marks = [i for i, c in enumerate(told) if c in ".,"]
    whole = "".join(re.findall("[0-9]", told))
    found = {float(whole or "-1")}
    for at in marks[-1:]:
        before, after = (re.sub("[^0-9]", "", part) for part in (told[:at], told[at:]))
        found.add(float(f"{before or 0}.{after or 0}"))
    return found


LOOKS_LIKE_MONEY = st.text("0123456789.,'\u2019 \u00a0-+()$€£EUR", max_size=14)
NUMBER_LIKE = st.from_regex(r"[0-9]{1,4}([.,' ][0-9]{1,4}){0,3}", fullmatch=True)


@settings(deadline=None)
@given(st.text(max_size=50) | LOOKS_LIKE_MONEY | NUMBER_LIKE, st.sampled_from([None, "EUR", "USD"]))
@example("9" * 40, None)
@example("0." + "9" * 30, None)
def test_any_text_is_an_amount_with_its_own_digits_or_is_refused(
    told: str, currency: str | None
) -> None:
    try:
        amount = read_amount(told, "revenue", currency)
    except InvalidEventError:
        return
    assert math.isfinite(amount)
    assert 0 <= amount < 10**15
    assert float(amount) in readings(told)


@settings(deadline=None)
@given(st.integers(1, 999), st.integers(0, 999), st.sampled_from(".,"), st.sampled_from(["", "$"]))
def test_three_digits_behind_one_separator_are_always_refused(
    whole: int, rest: int, separator: str, mark: str
) -> None:
    with pytest.raises(InvalidEventError, match="thousands or decimals"):
        read_amount(f"{mark}{whole}{separator}{rest:03}", "revenue")


@settings(deadline=None)
@given(
    st.integers(0, 10**9),
    st.integers(0, 99),
    st.sampled_from([(",", "."), (".", ","), (" ", ","), ("\u202f", ","), ("'", "."), ("", ".")]),
    st.sampled_from(["", "$", "€", "EUR ", " €", " zł", " PLN", "\u00a0£"]),
)
def test_number_written_without_doubt_reads_back(
    whole: int, cents: int, style: tuple[str, str], mark: str
) -> None:
    thousands, point = style
    text = f"{f'{whole:,}'.replace(',', thousands)}{point}{cents:02}"
    written = f"{text}{mark}" if mark[:1].isspace() else f"{mark}{text}"
    assert read_amount(written, "revenue") == float(f"{whole}.{cents:02}")


@settings(deadline=None)
@given(st.floats(0, 1e14).map(lambda number: round(number, 2)) | st.integers(0, 10**15 - 1))
def test_number_as_python_writes_it_reads_back_or_is_refused(number: float) -> None:
    text = str(number)
    try:
        assert read_amount(text, "revenue") == number
    except InvalidEventError:
        # 1e-05 and the like.
        assert "e" in text


# Currencies


@pytest.mark.parametrize(
    ("told", "code"), [("EUR", "EUR"), ("eur", "EUR"), ("uSd", "USD"), ("jpy", "JPY")]
)
def test_currency_is_put_into_upper_case(told: str, code: str) -> None:
    assert check_currency(told, "currency") == code


@pytest.mark.parametrize(
    "told", ["", "E", "EURO", "US", "XXX", "XYZ", "€", "$", "978", "EU R", "ＥＵＲ", "eur\n", "ıdr"]
)
def test_unknown_currency_is_refused(told: str) -> None:
    with pytest.raises(InvalidEventError, match="ISO 4217"):
        check_currency(told, "currency")


def test_currencies_are_codes_and_signs_are_of_some() -> None:
    # The pixel's own, with those of its larger markets.
    assert {"USD", "EUR", "GBP", "JPY", "CAD", "AUD", "CHF", "CNY", "SEK", "INR"} <= CURRENCIES
    assert all(re.fullmatch("[A-Z]{3}", code) for code in CURRENCIES)
    assert all(codes and codes <= CURRENCIES for codes in SYMBOLS.values())
    # No metals, no test codes: nothing is sold in them.
    assert not CURRENCIES & {"XAU", "XAG", "XTS", "XXX", "XDR"}


@settings(deadline=None)
@given(st.text(max_size=6))
def test_any_text_is_a_currency_or_is_refused(told: str) -> None:
    try:
        code: Any = check_currency(told, "currency")
    except InvalidEventError:
        return
    assert code in CURRENCIES
    assert code.lower() == told.lower()
