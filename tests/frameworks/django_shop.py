"""Django, with views of both kinds."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path

from bridge import BridgeMiddleware
from tests.frameworks import shop

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.frameworks.django_settings")


class SeeOther(HttpResponseRedirect):  # type: ignore[misc] # Django has no types
    status_code = 303


async def landing(request: HttpRequest) -> HttpResponse:
    return HttpResponse(await shop.show_landing())


def cart(request: HttpRequest) -> HttpResponse:
    shop.add_to_cart_sync()
    return HttpResponse()


def login(request: HttpRequest) -> HttpResponse:
    shop.log_in()
    return SeeOther("/")


def orders(request: HttpRequest) -> HttpResponse:
    shop.place_order_sync()
    return SeeOther("/thanks")


def thanks(request: HttpRequest) -> HttpResponse:
    return HttpResponse(shop.build_page("Thanks"))


async def webhook(request: HttpRequest) -> HttpResponse:
    await shop.note_payment()
    return HttpResponse()


urlpatterns = [
    path("", landing),
    path("cart", cart),
    path("login", login),
    path("orders", orders),
    path("thanks", thanks),
    path("webhook", webhook),
]
app = shop.Turns(BridgeMiddleware(get_asgi_application(), bridge=shop.bridge))
