"""Where cookies are cleared: everywhere that a browser may have them."""

from __future__ import annotations

import pytest

from bridge.outbox import SQLiteOutbox
from bridge.visitor.set_cookies import list_places
from tests.factories import NAVIGATION, make_bridge, make_scope, make_visitor


@pytest.mark.parametrize(
    ("host", "domain", "places"),
    [
        ("www.example.com", "example.com", ["example.com", "www.example.com", None]),
        ("example.com", "example.com", ["example.com", None]),
        (
            "a.shop.example.co.uk",
            "shop.example.co.uk",
            ["shop.example.co.uk", "example.co.uk", "a.shop.example.co.uk", None],
        ),
        ("shop.github.io", "shop.github.io", ["shop.github.io", None]),
        ("localhost", None, [None]),
        ("127.0.0.1", None, [None]),
        ("[::1]", None, [None]),
        (None, None, [None]),
    ],
)
def test_places_are_all_parents_up_to_the_registrable_domain(
    host: str | None, domain: str | None, places: list[str | None]
) -> None:
    assert list(list_places(host, domain)) == places


def test_places_of_a_long_name_are_bounded() -> None:
    host = ".".join(["a"] * 100) + ".example.com"
    assert len(list_places(host, "example.com")) <= 8


@pytest.mark.parametrize(
    "cookie_domain", ["example.com", "shop.example.com", "eu.shop.example.com"]
)
async def test_denial_clears_what_another_cookie_domain_left(
    outbox: SQLiteOutbox, cookie_domain: str
) -> None:
    bridge = make_bridge(outbox, cookie_domain=cookie_domain)
    names = ("_bridge", "_bridge_x", "_bridge_p", "_fbp", "_fbc")
    cookies = "; ".join(f"{name}=x" for name in names)
    headers = {**NAVIGATION, "host": "eu.shop.example.com", "cookie": cookies}
    visitor = make_visitor(bridge, make_scope(headers=headers))
    visitor.set_consent("denied")
    lines = [line.decode() for line in visitor.start_response()]
    for name in names:
        cleared = [line for line in lines if line.startswith(f"{name}=;") and "Max-Age=0" in line]
        domains = {line.partition("Domain=.")[2].partition(";")[0] for line in cleared}
        assert domains == {"", "example.com", "shop.example.com", "eu.shop.example.com"}
        assert len(cleared) == 4


async def test_new_choice_replaces_a_denial_of_another_cookie_domain(outbox: SQLiteOutbox) -> None:
    bridge = make_bridge(outbox, cookie_domain="shop.example.com")
    headers = {**NAVIGATION, "host": "shop.example.com", "cookie": "_bridge_c=denied"}
    visitor = make_visitor(bridge, make_scope(headers=headers))
    visitor.set_consent("granted")
    lines = [line.decode() for line in visitor.start_response()]
    chosen = [line for line in lines if line.startswith("_bridge_c=")]
    assert [line.partition(";")[0] for line in chosen] == ["_bridge_c="] * 2 + ["_bridge_c=granted"]
    assert "Domain=.example.com" in chosen[0]
    assert "Domain=.shop.example.com" in chosen[2]
