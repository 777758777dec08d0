from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.doctor.markup import read_markup

PIECES = ["<script", " src=", '"/_bridge/bridge.js"', ">", "</script>", "<![x", "<!", "fbq('init'",
          "<!--", "-->", "<meta http-equiv=", "&#39;", "]]>", "\x00"]  # fmt: skip


@pytest.mark.parametrize(
    ("html", "script"),
    [
        ('<script src="/_bridge/bridge.0123456789abcdef.js" async></script>',
         "/_bridge/bridge.0123456789abcdef.js"),
        ("<SCRIPT SRC=/_bridge/bridge.js></SCRIPT>", "/_bridge/bridge.js"),
        ('<script src="/shop/_bridge/bridge.js?v=1"></script>', "/shop/_bridge/bridge.js?v=1"),
        ('<script src="https://api.shop.example/_bridge/bridge.js"></script>',
         "https://api.shop.example/_bridge/bridge.js"),
        ('<!-- <script src="/_bridge/bridge.js"></script> -->', ""),
        ('<script src="/other/bridge.js"></script>', ""),
        ('<script src="/_bridge/bridge.json"></script>', ""),
        ('<![if x]><script src="/_bridge/bridge.js"></script>', "/_bridge/bridge.js"),
    ],
)  # fmt: skip
def test_tag_is_found(html: str, script: str) -> None:
    assert read_markup(html, "/_bridge").script == script


def test_rest_of_the_page_is_read() -> None:
    found = read_markup(
        "<script>fbq('init', '12'); fbq( 'init' , 34); fbq('init', '12', {})</script>"
        '<script src="/bridge.js"></script>'
        '<script src="/_bridge/bridge.js" integrity="sha384-x" crossorigin></script>',
        "/_bridge",
    )
    assert (found.stray, found.script) == ("/bridge.js", "/_bridge/bridge.js")
    assert (found.integrity, found.has_cors) == ("sha384-x", True)
    assert found.pixel_ids == ("12", "34")


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=5)).map("".join))
def test_any_page_is_read(html: str) -> None:
    read_markup(html, "/_bridge")
