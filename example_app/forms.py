"""Reading forms: each field as the shop needs it, or a 400 that says what is wrong."""

from __future__ import annotations

import re
from typing import TypeVar

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request

from example_app.cart import MAX_QUANTITY
from example_app.catalog import CATALOG, Product

MAX_LENGTH = 200  # characters of one field

Text = TypeVar("Text", bound=str)

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_COUNTRY = re.compile(r"[A-Z]{2}")


async def read_form(request: Request) -> FormData:
    """Return the form in a request; none of our forms has a file in it."""
    return await request.form(max_files=0)


def read_text(form: FormData, field: str) -> str:
    """Return a field without the spaces around it."""
    value = form.get(field)
    text = value.strip() if isinstance(value, str) else ""
    if not 1 <= len(text) <= MAX_LENGTH:
        raise HTTPException(400, f"Please fill in “{field}”, in at most {MAX_LENGTH} characters.")
    return text


def read_email(form: FormData) -> str:
    """Return the field ``email``; only its form is checked."""
    email = read_text(form, "email")
    if not _EMAIL.fullmatch(email):
        raise HTTPException(400, "That does not look like an e-mail address.")
    return email


def read_country(form: FormData) -> str:
    """Return the field ``country``: ISO 3166-1 alpha-2, upper case."""
    country = read_text(form, "country").upper()
    if not _COUNTRY.fullmatch(country):
        raise HTTPException(400, "Please choose a country.")
    return country


def read_choice(form: FormData, field: str, choices: tuple[Text, ...]) -> Text:
    """Return a field that is one of ``choices``."""
    text = read_text(form, field)
    for choice in choices:
        if choice == text:
            return choice
    raise HTTPException(400, f"Please choose “{field}”: {', '.join(choices)}.")


def read_product(form: FormData) -> Product:
    """Return the product named by the field ``product_id``."""
    product = CATALOG.get(read_text(form, "product_id"))
    if product is None:
        raise HTTPException(404, "We do not sell that, at least not yet.")
    return product


def read_quantity(form: FormData, *, least: int = 1) -> int:
    """Return the field ``quantity``."""
    text = read_text(form, "quantity")
    quantity = int(text) if text.isdecimal() else -1
    if not least <= quantity <= MAX_QUANTITY:
        raise HTTPException(400, f"Quantity is a number from {least} to {MAX_QUANTITY}.")
    return quantity
