"""Names of people's data: what a key says about its value, whatever the value is.

A key is read as words, so that ``userEmail``, ``user_email`` and ``USER-EMAIL`` are one, and judged
by its last ones: ``billing_phone`` is a telephone number, ``phone_model`` is not. Three groups:

- Always a person's: ``email``, ``first_name``, ``ssn``, ``password``.
- A person's unless a thing has it: ``gender``, ``address``, ``zip``; not in ``product_gender``,
  ``store.address``, ``contents[0].gender``.
- A thing's unless a person has it: ``name``, ``city``, ``postal_code``; but ``customer_name``,
  ``billing.city``, ``traveler.postal_code``.

Segment blocks ``city``, ``country``, ``state`` and ``zip`` wherever they are. Meta lists ``city``,
``country``, ``region`` and ``postal_code`` as standard parameters ("the location from user intent")
and recommends them for cars and travel. So a place is personal only where it is the place of a
person, and a country or state, which thousands of people share, never is.

Sources: Meta, "Standard Parameters" and "Automotive Ads - Events", read 2026-11-25; Meta Business
Tools Terms 1.a (contact information is for matching and hashed) and 1.h (no health, financial or
other sensitive data); Segment, Facebook Pixel destination, default blocked properties.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

MAX_KEY = 100  # characters; a longer one is no name

# What an object is about, as bits: it decides what its keys mean.
NOTHING = 0
PERSON = 1  # customer, user: who has a name and lives somewhere
PLACE = 2  # billing, shipping: where a person lives
THING = 4  # a product, a shop
ABOUT = (NOTHING, PERSON, PLACE, THING)


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """What a key says; ``PLAIN``, ``KEPT`` and ``NUMERIC`` are compared by identity.

    Attributes:
        personal: Whether a text under it is a person's.
        numbers: Whether a number is too. ``tokens: 5`` is a count.
        digits: It counts only with so many digits: ``phone: "iPhone 15"`` is no telephone number.
        only: What the enclosing object must be about for that, as bits; 0 for anything.
        unless: What it must not be about, as bits.
        opens: What an object under it is about, as bits, if the key says so.
    """

    personal: bool = False
    numbers: bool = False
    digits: int = 0
    only: int = 0
    unless: int = 0
    opens: int | None = None


PLAIN = Verdict()
KEPT = Verdict(opens=THING)  # texts and numbers under it are never touched
NUMERIC = Verdict()  # a number that is no person's is expected: an id, a date, a price

_TEXT = Verdict(personal=True)
_ANY = Verdict(personal=True, numbers=True)
_LONG_NUMBER = Verdict(personal=True, numbers=True, digits=6)
_NOT_OF_THING = Verdict(personal=True, numbers=True, unless=THING)
_ZIP = Verdict(personal=True, numbers=True, digits=2, unless=THING)
_OF_PERSON = Verdict(personal=True, only=PERSON)
_OF_PLACE = Verdict(personal=True, numbers=True, only=PERSON | PLACE)
_OPENS = {about: Verdict(opens=about) for about in ABOUT}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_KEPT = _words("""
    contentid contentids currency fbc fbclid fbp itemid itemids itemnumber orderid productid
    productids sku skus variant variantid variantids
    """)

_NUMERIC = _words("""
    amount asin at barcode campaign code count date datetime ean etag expires gclid gtin guid id ids
    isbn mpn no nr num number price qty quantity range ref reference revenue serial size time
    timestamp total ts upc uuid value version vin weight
    """)

_TEXT_NAMES = _words("""
    email emailaddress mailaddress emailaddr courriel correoelectronico epost
    firstname lastname fullname middlename maidenname surname forename givenname familyname
    realname username nameoncard cardholder cardholdername accountholder
    vorname nachname prenom apellido apellidos cognome sobrenome voornaam achternaam
    password passwd pwd passphrase passcode secret clientsecret secretkey privatekey apikey
    accesskey token accesstoken refreshtoken idtoken authtoken bearertoken resettoken
    authorization credentials jwt sessionid securityanswer
    ip ipaddress ipaddr clientip remoteip remoteaddr
    religion ethnicity sexualorientation maritalstatus diagnosis medicalcondition
    """)
_ANY_NAMES = _words("""
    birthday birthdate dateofbirth dob birthyear geburtsdatum geburtstag datenaissance
    ssn socialsecurity socialsecuritynumber nationalid nationalidnumber nationalinsurance
    nationalinsurancenumber nino taxid passport passportnumber passportno identitynumber
    idcardnumber personalid personalnumber personnummer driverlicense driverslicense
    drivinglicence driverlicensenumber driverslicensenumber codicefiscale aadhaar
    aadhaarnumber cpf curp dni nif bsn insee pesel steuerid
    iban bankaccount bankaccountnumber accountnumber creditscore cvv cvc otp
    """)
_LONG_NUMBER_NAMES = _words("""
    phone phonenumber phoneno mobile mobilephone mobilenumber mobileno cellphone cellnumber
    homephone workphone telephone telephonenumber telephoneno tel telefon telefonnummer
    telefono telefone telefoonnummer handynummer fax faxnumber whatsapp whatsappnumber
    msisdn creditcard creditcardnumber debitcard debitcardnumber cardnumber cardno ccnumber
    """)
_NOT_OF_THING_NAMES = _words("""
    address addresses gender sex geschlecht street streetaddress streetname addressline
    strasse hausnummer housenumber adresse anschrift direccion indirizzo endereco
    """)
_ZIP_NAMES = _words("zip zipcode postcode pincode plz postleitzahl codigopostal codepostal")
_PERSON_NAMES = _words("name initials nickname displayname nationality")
_PLACE_NAMES = _words("city town suburb postalcode latitude longitude lat lng lon ct st zp db ge")
_NAMES: dict[str, Verdict] = (
    dict.fromkeys(_TEXT_NAMES, _TEXT)
    | dict.fromkeys(_ANY_NAMES, _ANY)
    | dict.fromkeys(_LONG_NUMBER_NAMES, _LONG_NUMBER)
    | dict.fromkeys(_NOT_OF_THING_NAMES, _NOT_OF_THING)
    | dict.fromkeys(_ZIP_NAMES, _ZIP)
    | dict.fromkeys(_PERSON_NAMES, _OF_PERSON)
    | dict.fromkeys(_PLACE_NAMES, _OF_PLACE)
)

# Names only if they are the whole key: Meta's own of ``user_data``, and what is short.
_WHOLE = {"em": _TEXT, "fn": _TEXT, "ln": _TEXT, "ph": _LONG_NUMBER, "mail": _TEXT}
_WHOLE["userdata"] = _TEXT

_PEOPLE = _words("""
    addressee applicant attendee buyer cardholder client contact customer employee friend guest
    holder lead member owner participant passenger patient payer person profile purchaser recipient
    registrant sender shopper student subscriber traits traveler traveller user visitor
    """)
_PLACES = _words("billing delivery invoice shipping")
_THINGS = _words("""
    airport article attribute brand branch business campaign car cart category collection company
    content dealer dealership destination event facet file filter group hotel item line listing
    location mac membership merchant option order organization origin page pickup plan product
    program property restaurant segment seller shop spec specification store subscription target
    tier url variant vehicle vendor venue wallet warehouse web
    """)
_SUBJECTS = (
    dict.fromkeys(_PEOPLE, PERSON) | dict.fromkeys(_PLACES, PLACE) | dict.fromkeys(_THINGS, THING)
)

# ``has_email``, ``opt_in_sms``, ``num_phones`` are about the data, not the data.
_ASIDES = _words("""
    accept accepts allow allows by can count has is no num number opt optin requires send should
    total use uses valid via verified wants was with without
    """)
_DIGEST_WORDS = _words("encrypted hash hashed md sha")
_DETAIL_WORDS = _words("data detail details info information traits")

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


def split_words(key: str) -> list[str]:
    """Return the words of ``key`` in lower case: ``["user", "email"]`` for ``"userEmail"``.

    Accents are dropped; what is neither letter nor digit parts words.
    """
    if not key.isascii():
        key = key.replace("ß", "ss")
        key = "".join(c for c in unicodedata.normalize("NFKD", key) if not unicodedata.combining(c))
    return [word.lower() for word in _WORD.findall(key)]


def judge_key(key: str, about: int) -> Verdict:
    """Return what ``key`` says about the value under it, in an object about ``about``."""
    verdict = _judge(key, about) if len(key) <= MAX_KEY else PLAIN
    if about & verdict.unless or (verdict.only and not about & verdict.only):
        return PLAIN
    return verdict


def _judge(key: str, about: int) -> Verdict:
    words = split_words(key)
    whole = "".join(words)
    if whole in _KEPT:
        return KEPT
    if whole == "id":
        return KEPT if about & THING else NUMERIC
    if whole in _WHOLE:
        return _WHOLE[whole]
    while words and (words[-1].isdigit() or words[-1] in _DIGEST_WORDS):
        words.pop()
    if not words:
        return PLAIN
    verdict = None if words[0] in _ASIDES else _judge_name(words)
    return verdict or _judge_subject(words)


def _judge_name(words: list[str]) -> Verdict | None:
    """Return the verdict of the longest ending of ``words`` that is a name of personal data."""
    for start in range(len(words)):
        ending = "".join(words[start:])
        verdict = _NAMES.get(ending) or _NAMES.get(ending.removesuffix("s"))
        if verdict is None:
            continue
        about = next(filter(None, map(_about, reversed(words[:start]))), 0)
        if about & verdict.unless:
            return None
        if about & (PERSON | PLACE) and (about & verdict.only or not verdict.only):
            return Verdict(personal=True, numbers=verdict.numbers, digits=verdict.digits)
        return verdict
    return None


def _judge_subject(words: list[str]) -> Verdict:
    if words[-1] in _NUMERIC:
        return NUMERIC
    while len(words) > 1 and words[-1] in _DETAIL_WORDS:
        words = words[:-1]
    about = _about(words[-1])
    return _OPENS[about] if about else PLAIN


def _about(word: str) -> int:
    return _SUBJECTS.get(word) or _SUBJECTS.get(word.removesuffix("s"), 0)
