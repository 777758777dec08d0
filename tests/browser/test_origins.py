from __future__ import annotations

import pytest

from bridge import ConfigError
from bridge.browser.origins import parse_origins

WWW = "https://www.example.com"


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (WWW, WWW),
        ("HTTPS://WWW.Example.com", WWW),
        ("https://www.example.com:443", WWW),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://[::1]:80", "http://[::1]"),
        ("https://www.example.com:80", "https://www.example.com:80"),
    ],
)
def test_origins_are_written_as_browsers_send_them(given: str, sent: str) -> None:
    assert parse_origins(given) == parse_origins([given]) == {sent}


@pytest.mark.parametrize(
    "given",
    ["*", "null", "", "www.example.com", "https://www.example.com/", "https://*.example.com",
     "https://a b", "ftp://a.example", "https://user@a.example"],
)  # fmt: skip
def test_malformed_origin_is_refused(given: str) -> None:
    with pytest.raises(ConfigError, match="allowed_origins must be origins such as"):
        parse_origins([given])
