"""Payloads of shops in many languages, ordinary and personal, for measuring the tripwire.

Made from words written by hand, the same ones each time. ``make_ordinary`` yields what shops send:
nothing in it is anybody's. ``make_personal`` yields payloads with one piece of somebody's data, and
that piece.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, NamedTuple
from urllib.parse import quote

PRODUCTS = """
Blue Shirt|Running Shoes for Women 2026|iPhone 15 Pro Max 256GB|Phone 11/12/13/14 Case
Phone Case 12 13 14 15|XOXO Heart Necklace|SK-II Facial Treatment Essence 230ml
LEGO 10307 Eiffel Tower|Box (60) 40 30 20 cm|Call of Duty: Black Ops 7|USB-C Cable 3 m @60W
4K Monitor 3840x2160 @60Hz|Vitamin D3 2000 IE (120)|AA Batteries 24 Pack|Levi's 501 W32 L34
Dr. Martens 1460 Smooth|H&M Basic T-Shirt|Ben & Jerry's Cookie Dough 465 ml|M&M's &#38; Friends
Wall Paint RAL 7016 2.5 l|Screws M8x40 DIN 933 A2 (200)|Drill Bit Set 1-13 mm 25 pcs
Bosch Oil Filter 0 986 452 041|BMW Brake Disc 34 11 6 794 300|Golf 7 Wing Mirror 5G0 857 537
Tyre 205/55 R16 91V|Tyre 225/45 ZR17 94 W XL|Bike Chain 10/11/12
Hundefutter Lachs & Kartoffel 12 kg|Damen Winterjacke Größe 38/40/42/44
Kinderfahrrad 16 Zoll, 4-6 Jahre|Kaffeemaschine 1450 W 1,5 l|Schrank 200 x 120 x 60 cm
Matratze 90x200 H3|Gutschein 50 €|Regal 80 40 200 cm|Bio-Apfelsaft 6 x 1 l
Bettwäsche 135 200 cm 2 tlg|Robe d'été taille 36 38 40 42|Chaussures de sport homme pointure 42
Crème hydratante 50 ml|Lampe LED 12 W 1055 lm 2700 K|Fauteuil 75 80 95 cm
Vin rouge Bordeaux 2019 75 cl|Parfum femme 100 ml|Coque Galaxy S22 S23 S24|Livre de poche 320 pages
Zapatillas de correr talla 40-45|Camiseta de algodón orgánico|Aceite de oliva virgen extra 5 l
Mesa plegable 180 74 cm|Juego de sábanas 150 x 200|Muñeca 30 cm +3 años|Silla de oficina ergonómica
Cafetera de cápsulas 19 bar|Scarpe da ginnastica uomo 41 42 43|Vestito estivo taglia M
Olio extravergine 750 ml|Lampada a sospensione Ø 40 cm|Macchina da caffè 15 bar
Divano 3 posti 220 95 85 cm|Zaino scuola|Sneakers dames maat 36 37 38 39 40|Regenjas heren L
Koffiebonen 1 kg|Boekenkast 180 80 30 cm|Fietshelm 54-58 cm|Buty do biegania rozmiar 42
Kurtka zimowa damska|Kawa ziarnista 1 kg|Szafa 200 x 90 cm|Zestaw klocków 500 el.
Tênis de corrida 38 39 40|Vestido de verão tamanho M|Café torrado 500 g|Sofá 3 lugares 210 cm
ランニングシューズ 24.5cm|Tシャツ 綿100% L|コーヒー豆 200g|ノート A5 80枚 5冊
化粧水 150ml 2本セット|ワンピース 夏 レディース|抹茶 30g|Vinterjacka herr XL|Løpesko dame 38
Kahvipapu 500 g|Кроссовки мужские 42|Nintendo Switch OLED 64 GB|PlayStation 5 Slim 1 TB
AirPods Pro 2|Samsung Galaxy S24 Ultra 512 GB|Sony WH-1000XM5|Canon EOS R6 24-105 f/4
GoPro HERO12 @5.3K|Ray-Ban RB2140 901 50-22|Pampers Size 4 (9-14 kg) 168 pcs|Nails 40 60 80 100 mm
Paint Brush Set 10 20 30 40 50|Ring Size 50 52 54 56 58|Bra 70 75 80 85 B|Jeans 28/29/30/31/32
Calendar 2025/2026/2027|Concert Ticket 24.12.2026 20:00 Row 12 Seat 34|Coins +20000000
Gems 1200 2500 6500 14000|+1000000 Gold|Best of 1990 1995 2000|Radio 98.4 101.2 103.5
Yarn 10 x 50 g 100 200 300|Lens -2.75 8.6 14.2|Filter 52 55 58 62 67 77
Bearer Bond Certificate-Reproduction|Asia Noodle Box|ASIAPACIFICADVENTUREGUIDE
The Complete Sherlock Holmes|Harry Potter 1-7|Ada & Friends Coloring Book|Anna Karenina
Marie Curie Biography|Mrs. Meyer's Clean Day|Johnnie Walker Black Label 0,7 l
"""
SLUGS = """
xoxo-heart-necklace|xoxo-2024-collection-ring|sk-ii_facial_treatment_essence
sk-ii_facial_treatment_essence_230ml|sk-summer_dress_2024_floral_print_blue
running-shoes-for-women-waterproof-2026-edition|blue-shirt-organic-cotton
eyeshadow-palette.nude.v2-limited|eyJewellery-box.wood.dark-oak|gh_garden_hose_25m
SG.summer-garden-set.table-and-chairs|rk_live-bait-box-large|bearer-of-the-ring-extended
EAA-fitness-amino-acids-500g-watermelon-flavour-vegan-new|AKIA-sofa-3-seater|akai-mpc-one-plus
whsec_white_secret_perfume|shpat-la-mer|glpat-chair|pk-ring-18k-gold-0.5ct|token-ring-gold
secret-garden-perfume-50ml|password-notebook-a5|email-marketing-course|phone-11-12-13-14-case
iphone-15-pro-max-256gb-case|sku-0423-123456|tv-55-inch-4k-2026|hunde-kissen-80-60-20-cm
xoxb-ring-silver|xoxp-love-card
"""
PICTURES = """
shoe@1200w.jpg|shirt@2x.png|logo@1.5x.webp|hero@large.avif|banner@mobile.jpeg|img_0423-123456.jpg
photo@800w.min.jpg|860-500-2010.png|sofa@desktop.webp|20261125_101530.jpg|thumb@150x150.gif
main@3x.svg|video@1080p.mp4|style@5.3.1.css
"""
# A digit for each #, a capital letter for each A.
PARTS = """
###-###-####|####-######|###-##-####|##-####-####|0#-####-####|0###-#######|A##-###-####
####.###.###|0 ### ### ###|0### ### ###|## ## # ### ###|AA-####-##|####-####-####|###.###.##
AA######|A#A ### ###|######-###|0##-###-###|##.##.##.##|0#.##.##.##.##|##-##-##-##|###/###/###
0####/######|AAA-###-####|(##) ####|######/##|##########|###########|0#########
"""
SIZES = """
S|M|XL|42|42.5|38/40/42/44|36 38 40 42 44|28/29/30/31/32|W32 L34|40 30 20 cm|(60) 40 30 20 cm
1200 x 800 x 400 mm|0.5 l|90x200|80 120 200|10 20 30 40 50|205/55 R16|11/12/13/14|01 02 03 04 05
6-12 m|EU 42 / US 9 / UK 8|24.5cm|Ø 40|75 B|one size|4XL|100% cotton
"""
CATEGORIES = """
Shoes > Running|Home & Garden|Damen/Jacken|Haustier|Maison et jardin|Hombre > Zapatos
Casa e giardino|Heren > Schoenen|Odzież damska|Casa e jardim|レディース|Phones & Tablets|Toys
Books > Biography|Auto parts|Pet supplies|Name tags|Address labels
"""
SEARCHES = """
women's blue shirt size 42|iphone 15|mary jane shoes|harry potter 1-7|hundefutter 12 kg|robe été 38
zapatos rojos|860-500-2010|0423-123456|105-12-3456|0 986 452 041|34 11 6 794 300|205/55 R16
phone 11 12 13 14|ab & co|gift for mom|st martin ring|@nike|50% off|20%|100%25|wolf of wall street
dr martens 1460|gutschein 50|ノート A5|кроссовки 42|bilet 24.12.2026|H&M|c++|c#|a@b
"""
NOTES = """
Gift wrap please|Leave at the door|Happy birthday!|wants a demo next week|Bitte klingeln
Merci beaucoup|Regalo para mamá|2 @ 3.50 each|20 x 30 cm|Order #1000234567|size 38/40/42
fits 2010-2015|call before delivery|no phone calls|email me the invoice|add 2 of 12345678
follow us @ instagram.com|see shop.example/sale|Row 12 Seat 34|10% off until 24.12.2026
engraving: A + M|from 9:00 to 17:00|Auftrag 2026-1130|Liefern bis 24.12.|antes de las 18:00
prima delle 12|voor 17 uur|przed 18:00|ギフト包装|antes do Natal
"""
STORES = """
Berlin Mitte|Paris Rivoli|Madrid Sol|Milano Duomo|Amsterdam Centrum|Warszawa Centrum|Lisboa Chiado
渋谷店|London Soho|NYC 5th Ave
"""
CITIES = (
    "Berlin Paris Madrid Milano Amsterdam Warszawa Lisboa 東京 London Zürich Wien København".split()
)
STREETS = """
Friedrichstr. 12|Rue de Rivoli 5|Calle Mayor 3|Via Roma 10|Damrak 1|Nowy Świat 20|Rua Augusta 7
5th Avenue 700|渋谷1-2-3
"""
SHOP_PHONES = """
+49 30 901820|030 901820-0|01 42 60 30 30|+34 915 00 00 00|02 7200 4000|020 7946 0958|(212) 555-0147
03-1234-5678|0800 1234567
"""
SHIPPING = """
Express|Standard|DHL Express|DHL Paket|UPS Ground|FedEx Overnight|Free Shipping|Next Day Delivery
Click & Collect|Abholung im Markt|Livraison express|Point Relais|Retrait en magasin|Envío urgente
Recogida en tienda|Spedizione gratuita|Corriere espresso|PostNL Pakket|Ophalen in winkel
Paczkomat InPost|Kurier DPD|Frete Grátis|Retirada na loja|宅急便|店舗受取|Same Day|Economy
"""
CUSTOMERS = """
returning|new|guest|New Customer|Returning Customer|VIP|Gold Member|B2B|Business|existing_customer
Privatkunde|Neukunde|Stammkunde|Nouveau client|Client fidèle|Cliente nuevo|Nuovo cliente
Nieuwe klant|Nowy klient|Novo cliente|新規顧客|会員|C-1001|17|logged_in|First Order|Loyal Customer
High Value|anonymous|Guest Checkout|Google Chrome|Mobile App|Student|Premium Plus
"""
PETS = "Bello Minka Luna Rex Rocky Coco Felix Kira".split()
BREEDS = "Golden Retriever|Maine Coon|Dackel|Bouledogue|Pastor Alemán|Border Collie|柴犬".split("|")
FORMS = """
Newsletter|Demo Request|Newsletter Signup|Contact Form|Kontaktformular|Brochure Download
Webinar 2026|Inscription|Presupuesto|Preventivo|Offerte aanvragen|Formularz|Orçamento|資料請求
Test Drive|Free Trial|Black Friday List
"""
COINS = "BTC ETH USDC SOL DOGE bitcoin ethereum".split()
PROTECTIONS = "IP68 IP67 IP44 IPX7 IP69K IP54".split()
CURRENCIES = "EUR USD GBP PLN JPY BRL CHF SEK".split()


def _lines(text: str) -> list[str]:
    return [item.strip() for line in text.strip().splitlines() for item in line.split("|")]


LISTS = {
    "products": _lines(PRODUCTS),
    "slugs": _lines(SLUGS),
    "pictures": _lines(PICTURES),
    "parts": _lines(PARTS),
    "sizes": _lines(SIZES),
    "categories": _lines(CATEGORIES),
    "searches": _lines(SEARCHES),
    "notes": _lines(NOTES),
    "stores": _lines(STORES),
    "streets": _lines(STREETS),
    "shop_phones": _lines(SHOP_PHONES),
    "shipping": _lines(SHIPPING),
    "customers": _lines(CUSTOMERS),
    "forms": _lines(FORMS),
}


class Words:
    """What payloads are made of, chosen at random but the same each time.

    Args:
        seed: Another one makes other payloads.
    """

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)

    def __getattr__(self, name: str) -> Callable[[], str]:
        return lambda: str(self.random.choice(LISTS[name]))

    def one_of(self, *options: Any) -> Any:
        return self.random.choice(options)

    def number(self, low: int, high: int) -> int:
        return self.random.randint(low, high)

    def digits(self, count: int) -> str:
        return "".join(str(self.random.randint(0, 9)) for _ in range(count))

    def part(self) -> str:
        pattern = self.random.choice(LISTS["parts"])
        signs = {"#": "0123456789", "A": "ABCDEFGHJKLMNPRSTVWXYZ"}
        return "".join(self.random.choice(signs.get(sign, sign)) for sign in pattern)

    def price(self) -> float:
        return round(self.random.uniform(1, 400), 2)


def _gtin(w: Words) -> str:
    makers = "400638 405678 871234 590123 789123 490123 978316".split()
    body = w.random.choice(makers) + w.digits(6)
    total = sum(int(digit) * (3 if i % 2 else 1) for i, digit in enumerate(body))
    return body + str(-total % 10)


def _line(w: Words) -> dict[str, Any]:
    line: dict[str, Any] = {
        "id": w.one_of(w.digits(14), f"sku-{w.digits(4)}", w.part(), w.slugs()),
        "quantity": w.number(1, 4),
        "item_price": w.price(),
    }
    extras: dict[str, Callable[[], Any]] = {
        "title": lambda: w.one_of(w.products(), w.products() + " " + w.part()),
        "name": w.products,
        "brand": lambda: w.one_of("Acme", "SK-II", "H&M", "Dr. Martens", "Levi's", "Marie Claire"),
        "size": w.sizes,
        "gender": lambda: w.one_of("women", "men", "unisex", "Damen", "homme"),
        "mpn": w.part,
        "part": w.part,
        "model": w.part,
        "gtin": lambda: _gtin(w),
        "ean": lambda: int(_gtin(w)),
        "image": lambda: f"https://cdn.shop.example/{w.pictures()}?w=1200&v={w.digits(10)}",
        "picture": w.pictures,
        "url": lambda: f"https://shop.example/p/{w.slugs()}?variant={w.digits(14)}&name=shirt",
        "slug": w.slugs,
        "handle": w.slugs,
        "category": w.categories,
        "dimensions": w.sizes,
        "compatibility": lambda: [w.products(), w.sizes()],
        "description": lambda: f"{w.products()}, {w.sizes()}. Art. {w.part()}",
        "city": lambda: w.random.choice(CITIES),
        "phone": lambda: w.one_of("iPhone 15", "Galaxy S24", "Pixel 9 Pro"),
        "ip": lambda: w.random.choice(PROTECTIONS),
        "address": lambda: w.one_of("label 12 x 30 mm", "plate, brass"),
    }
    for key in w.random.sample(sorted(extras), 4):
        line[key] = extras[key]()
    return line


def _purchase(w: Words) -> dict[str, Any]:
    lines = [_line(w) for _ in range(w.number(1, 3))]
    return {
        "value": w.price(),
        "currency": w.random.choice(CURRENCIES),
        "order_id": w.one_of(
            f"A-{w.digits(6)}", w.digits(16), f"112-{w.digits(7)}-{w.digits(7)}", w.part()
        ),
        "contents": lines,
        "content_ids": [line["id"] for line in lines],
        "content_type": "product",
        "num_items": len(lines),
        "coupon": w.one_of("SUMMER24", "BF-2026-XMAS", "WELCOME10", w.digits(8)),
        "payment_method": w.one_of("credit card", "PayPal", "visa", "Klarna", "SEPA", "Apple Pay"),
        "shipping_method": w.shipping(),
        "shipping": w.one_of(w.shipping(), {"name": w.shipping(), "price": w.price()}, 4.9),
        "customer": w.one_of(
            w.customers(), {"type": w.customers(), "id": w.digits(7), "orders": 3}
        ),
        "customer_type": w.customers(),
        "transaction_id": w.one_of(w.digits(12), w.part()),
        "created_at": w.one_of(1764059618, "2026-11-25T10:15:30.123456+01:00", "25.11.2026 10:15"),
        "note": w.notes(),
    }


def _view(w: Words) -> dict[str, Any]:
    return {
        "content_ids": [w.one_of(_gtin(w), w.part(), w.slugs())],
        "content_name": w.one_of(w.products(), w.slugs(), w.products() + " " + w.part()),
        "content_category": w.categories(),
        "content_type": "product",
        "value": w.price(),
        "currency": w.random.choice(CURRENCIES),
        "image_url": f"https://cdn.shop.example/i/{w.pictures()}",
        "product_url": f"https://shop.example/{w.slugs()}?size=38&gender=women&name=blue",
        "slug": w.slugs(),
        "handle": w.slugs(),
        "thumb": w.pictures(),
        "size": w.sizes(),
        "sizes": [w.sizes(), w.sizes()],
        "tags": [w.categories(), w.sizes(), "new"],
        "variant_title": f"{w.sizes()} / {w.one_of('blue', 'rot', 'noir', 'azul')}",
        "rating": 4.5,
        "reviews": w.number(0, 400),
        "article": w.part(),
        "part_number": w.part(),
        "model": w.part(),
        "title": f"{w.products()} {w.part()}",
        "options": json.dumps({"size": w.sizes(), "name": w.products(), "price": w.price()}),
    }


def _search(w: Words) -> dict[str, Any]:
    return {
        "search_string": w.searches(),
        "query": w.searches(),
        "results": w.number(0, 900),
        "filters": {
            "gender": [w.one_of("women", "men")],
            "size": [w.sizes()],
            "city": w.random.choice(CITIES),
            "price": w.one_of("10-50", "1000000-2000000", "[10000,20000]"),
            "brand": w.one_of("Acme", "Marie Claire"),
        },
        "sort": w.one_of("price", "name", "-created_at"),
        "page": w.number(1, 20),
        "page_url": f"https://shop.example/s?q={quote(w.searches())}&page=2&color=red&gender=men",
        "content_category": w.categories(),
    }


def _store(w: Words) -> dict[str, Any]:
    place = {
        "name": w.stores(),
        "phone": w.shop_phones(),
        "address": w.streets(),
        "zip": w.digits(5),
        "city": w.random.choice(CITIES),
        "opening_hours": w.one_of("0900-1700", "Mo-Fr 09:00-17:00", "9-18"),
        "lat": 52.52,
        "lng": 13.4,
    }
    key = w.one_of(
        "store", "shop", "pickup", "branch", "dealer", "filiale", "tienda", "magasin", "negozio"
    )
    return {
        key: place,
        f"{w.one_of('store', 'dealer', 'hotel')}_phone": w.shop_phones(),
        "store_name": w.stores(),
        "store_city": w.random.choice(CITIES),
        "delivery": {"city": w.random.choice(CITIES), "method": w.shipping(), "slot": "10-12"},
        "delivery_city": w.random.choice(CITIES),
        "distance": f"{w.number(1, 30)} km",
        "hotline": w.shop_phones() if w.number(0, 1) else "0800",
    } | ({} if w.number(0, 3) else {"support_phone": w.shop_phones()})


def _pet(w: Words) -> dict[str, Any]:
    pet = {
        "name": w.random.choice(PETS),
        "gender": w.one_of("male", "female", "weiblich", "macho"),
        "birthday": w.one_of("2020-05-01", "01.05.2020"),
        "breed": w.random.choice(BREEDS),
        "weight": w.number(2, 40),
    }
    return {
        w.one_of("pet", "dog", "cat", "haustier", "hund", "mascota", "perro", "horse"): pet,
        "pet_name": w.random.choice(PETS),
        "pet_gender": "male",
        "dog_birthday": "2020-05-01",
        "products": [_line(w)],
    }


def _lead(w: Words) -> dict[str, Any]:
    return {
        "lead": {"name": w.forms(), "source": "facebook", "id": w.number(10**15, 10**16)},
        "form": {"name": w.forms(), "id": w.part()},
        "form_name": w.forms(),
        "event_name": w.forms(),
        "plan": {"name": "Pro", "price": 29},
        "contact": w.one_of("Live Chat", "Contact Form", "WhatsApp", "by phone", "E-Mail", "phone"),
        "has_email": w.one_of(True, "yes"),
        "opt_in_sms": "yes",
        "email": w.one_of(True, None, ""),
        "preferred_contact": w.one_of("email", "phone", "WhatsApp"),
        "campaign": {"name": w.forms(), "id": w.digits(18)},
        "note": w.notes(),
        "message": w.notes(),
        "client_id": f"{w.digits(10)}.{w.digits(10)}",
        "session": w.one_of("first", "repeat"),
        "user": w.one_of("logged_in", "guest", w.customers()),
        "utm": {"source": "fb", "campaign": "summer_2026_sale", "content": w.slugs()},
    }


def _special(w: Words) -> dict[str, Any]:
    return {
        "token": w.random.choice(COINS),
        "tokens": w.number(1, 500),
        "ip": w.random.choice(PROTECTIONS),
        "wallet": {"name": "Main", "token": w.random.choice(COINS)},
        "departing_departure_date": "2026-12-24",
        "flight_number": w.one_of("LH 1234", "UA98765"),
        "passenger_count": w.number(1, 6),
        "destination_city": w.random.choice(CITIES),
        "hotel_address": w.streets(),
        "hotel": {"name": w.stores(), "phone": w.shop_phones(), "zip": w.digits(5)},
        "vin": f"WVWZZZ1JZXW{w.digits(6)}",
        "vehicle": {"make": "VW", "name": "Golf", "postal_code": w.digits(5), "year": 2024},
        "game": {"coins": "+20000000", "level": 12, "seed": w.digits(18)},
        "tracking_number": w.one_of(f"1Z{w.digits(3)}AA{w.digits(10)}", f"JJD{w.digits(18)}"),
        "isbn": f"978-3-16-{w.digits(6)}-0",
        "device": w.one_of("iPhone14,5", "SM-S921B", "Pixel 9"),
        "version": w.one_of("10.0.19045.5131", "v2026.11.25-rc1"),
        "hash": f"{w.random.getrandbits(256):064x}",
        "uuid": f"{w.random.getrandbits(32):08x}-58cc-4372-a567-{w.random.getrandbits(48):012x}",
        "timestamps": [1764059618000, 1764059618000000],
        "seats": w.one_of("12A 12B 12C", "10 11 12 13", "Row 4 / Seats 21 22 23"),
        "lottery": "05 12 23 34 41 49",
        "geo": w.one_of("52.520008, 13.404954", "+48.858370+002.294481/"),
    }


_KINDS = (_purchase, _purchase, _view, _view, _search, _store, _pet, _lead, _special)


def make_ordinary(count: int, seed: int = 15) -> Iterator[dict[str, Any]]:
    """Yield payloads in which nothing is anybody's."""
    w = Words(seed)
    for i in range(count):
        yield _KINDS[i % len(_KINDS)](w)


class Personal(NamedTuple):
    """A payload with a piece of somebody's data.

    Attributes:
        shape: What it is, in words.
        payload: The payload.
        piece: What must not be left in it as JSON.
    """

    shape: str
    payload: dict[str, Any]
    piece: str


NAMES = """
Ada Lovelace|Marie Curie|Jean-Luc Moreau|María García López|Giulia Rossi|Jürgen Müller
Anna van der Berg|Łukasz Wójcik|João da Silva|Seán O'Brien|Dr. Eva Weiß|Björk Guðmundsdóttir
Zoë Kravitz|Nguyễn Văn An|Анна Каренина|山田 太郎|Mehmet Yılmaz|Sofía Hernández|Pieter de Vries
Katarzyna Nowak|Lovelace, Ada|Tom B. Smith
"""
MAILBOXES = "ada mary.smith j.mueller info2 a_b x kowalska99 jean-luc sales+vip maria".split()
HOSTS = """
example.com mail.example.co.uk gmx.de orange.fr correo.es libero.it kpn.nl wp.pl uol.com.br
docomo.ne.jp
""".split()
PHONES = """
+49 170 1234567|+49 (0)170 1234567|+4917012345678|0170 1234567|0170/1234567|0049 170 1234567
(089) 123 456 78|+33 6 12 34 56 78|06 12 34 56 78|01.23.45.67.89|+34 612 345 678|+39 333 123 4567
06-12345678|+31 6 12345678|+48 600 123 456|(11) 91234-5678|+55 11 91234-5678|090-1234-5678
+81 90 1234 5678|(650) 555-0123|650-555-0123|+1 (650) 555-0123|020 7946 0958|0412 345 678
Tel. 12345678|call me at 600 123 456|tel:+33123456789|%2B49%20170%201234567
https://wa.me/491701234567
"""
CARDS = """
4111111111111111|4111 1111 1111 1111|5555-5555-5555-4444|378282246310005|3782 822463 10005
6011111111111117|3530111333300000
"""
ACCOUNTS = """
DE89 3704 0044 0532 0130 00|GB82WEST12345698765432|FR1420041010050500013M02606
ES9121000418450200051332|IT60X0542811101000000123456|NL91ABNA0417164300
PL61109010140000071219812874|PT50000201231234567890154
"""
IDS = """
111.444.777-35|1 85 05 78 006 084 91|RSSMRA85M01H501Q|756.9217.0769.85|85.07.30-033.28
AB 12 34 56 C|078-05-1120
"""
ADDRESSES = """
Main Street 5|Friedrichstraße 12|12 rue de Rivoli|Calle Mayor 3, 2º|Via Roma 10|Damrak 1
ul. Nowy Świat 20|Rua Augusta 7|渋谷1-2-3
"""
NAME_KEYS = """
customer buyer recipient contact_person contactPerson shipping_name customer_name billing_name
full_name fullName cardholder passenger traveler attendee owner guest contact consignee kunde
empfänger käufer destinataire acheteur cliente destinatario comprador acquirente klant
ontvanger odbiorca kupujący klient customer.name kunde.name cliente.nombre client.nom
cliente.nome klant.naam buyer.name user.name recipient.name billing.name shipping.name
ship_to.name customer.full_name order.customer.name contact.name owner.name
""".split()
PART_KEYS = """
fname lname first_name lastName vorname nachname prénom apellidos cognome achternaam nazwisko
imię customer.first customer.last お名前
""".split()
PHONE_KEYS = """
handy mobile phone telefon tel portable móvil celular cellulare telefoon telefon_kom
customer.phone billing.phone whatsapp 電話番号
""".split()
BIRTH_KEYS = """
bday dob birthday geburtsdatum date_of_birth fecha_nacimiento data_di_nascita geboortedatum
生年月日
""".split()
STREET_KEYS = """
ship_to.line1 ship_to.line_1 address street billing.address1 shipping.street adresse calle
indirizzo customer.address address_line_2 straße bill_to.line2 住所 recipient.line1
""".split()
CITY_KEYS = """
billing.city shipping.city customer.city ship_to.city traveler.city kunde.ort client.ville
""".split()
NOTE_KEYS = """
note message content_name search_string tags comment custom_1 contents.note remark q bemerkung
""".split()


def _encodings(mail: str) -> Iterator[tuple[str, str]]:
    percent = mail
    yield "as it is", mail
    yield "in a sentence", f"please write to {mail}, thanks"
    for times in range(1, 7):
        percent = quote(percent, safe="")
        yield f"percent-encoded {times} times", percent
    yield "entity", mail.replace("@", "&#64;")
    yield "hexadecimal entity", mail.replace("@", "&#x40;")
    yield "named entity", mail.replace("@", "&commat;")
    yield "entity of an entity", mail.replace("@", "&amp;#64;")
    yield "JSON's escape", mail.replace("@", "\\u0040")
    yield "JSON's escape, twice", mail.replace("@", "\\\\u0040")
    yield "spaces", mail.replace("@", " @ ")
    yield "at", mail.replace("@", " (at) ")
    yield "at in brackets", mail.replace("@", "[at]")
    yield "wide sign", mail.replace("@", "\uff20")
    yield "nested JSON", json.dumps({"user": {"login": mail}})
    yield "JSON in JSON", json.dumps({"a": json.dumps({"b": [mail]}).replace("@", "\\u0040")})
    yield "parameter", f"https://shop.example/thanks?e={quote(mail)}"


def _place(path: str, value: Any) -> dict[str, Any]:
    """Return the object with ``value`` at ``path``, among other properties."""
    *outer, last = path.split(".")
    value = {last: [value] if last == "tags" else value}
    for key in reversed(outer):
        value = {key: [{"id": "1", **value}] if key == "contents" else value}
    return {"value": 5, "currency": "EUR", "order_id": "A-1", **value}


def make_personal() -> Iterator[Personal]:
    """Yield payloads, each with one piece of somebody's data."""
    for i, name in enumerate(_lines(NAMES)):
        for key in NAME_KEYS:
            yield Personal(f"full name under {key}", _place(key, name), name)
        for key in PART_KEYS:
            first = name.split()[0]
            yield Personal(f"name under {key}", _place(key, first), first)
        mail = f"{MAILBOXES[i % len(MAILBOXES)]}@{HOSTS[i % len(HOSTS)]}"
        for form, text in _encodings(mail):
            key = NOTE_KEYS[i % len(NOTE_KEYS)]
            yield Personal(f"e-mail address, {form}", _place(key, text), text)
        for key in ("customer", "lead"):
            payload = {key: {"name": name, "email": mail}}
            yield Personal(f"name beside an e-mail address in {key}", payload, name)
        for parameter in ("name", "fname", "customer_name", "kunde", "full_name", "address"):
            url = f"https://shop.example/thanks?step=2&{parameter}={quote(name)}"
            yield Personal(f"URL's parameter {parameter}", _place("page_url", url), quote(name))
        yield Personal(
            "nested JSON", _place("payload", json.dumps({"buyer": {"name": name}})), name
        )
    for phone in _lines(PHONES):
        for key in ("note", "message", "comment", "custom_1", "contents.remark"):
            yield Personal("phone number", _place(key, phone), phone)
        for key in PHONE_KEYS:
            yield Personal(f"phone number under {key}", _place(key, phone), phone)
    for shape, texts in (("card", CARDS), ("account", ACCOUNTS), ("national id", IDS)):
        for text in _lines(texts):
            for key in ("note", "message", "custom_1", "memo"):
                yield Personal(shape, _place(key, text), text)
                yield Personal(shape, _place(key, f"it is {text}, thanks"), text)
    for key in BIRTH_KEYS:
        for day in ("1815-12-10", "10.12.1815", "12/10/1815"):
            yield Personal(f"birth date under {key}", _place(key, day), day)
    for key in STREET_KEYS:
        for address in _lines(ADDRESSES):
            yield Personal(f"address under {key}", _place(key, address), address)
    for key in CITY_KEYS:
        for city in CITIES:
            yield Personal(f"city under {key}", _place(key, city), city)
    for url_key in ("zip=10115", "dob=1815-12-10", "birthday=1815", "bday=1815", "plz=10115"):
        url = f"https://shop.example/thanks?{url_key}"
        yield Personal(f"URL's parameter {url_key}", _place("url", url), url_key)
