from __future__ import annotations

import pytest

from bridge import ConfigError
from bridge.browser.origins import Origins

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
def test_origin_is_compared_as_browsers_send_it(given: str, sent: str) -> None:
    for origins in (Origins(given), Origins([given])):
        assert sent in origins
        assert origins.build_headers(sent)["access-control-allow-origin"] == sent


@pytest.mark.parametrize(
    "given",
    ["*", "null", "", "www.example.com", "https://www.example.com/", "https://*.example.com",
     "https://a b", "ftp://a.example", "https://user@a.example"],
)  # fmt: skip
def test_what_is_no_origin_is_refused(given: str) -> None:
    with pytest.raises(ConfigError, match="allowed_origins must be like"):
        Origins([given])


@pytest.mark.parametrize("other", [None, "", "null", "https://example.com", f"{WWW}.evil.example"])
def test_other_origins_are_told_nothing(other: str | None) -> None:
    origins = Origins([WWW])
    assert other not in origins
    assert origins.build_headers(other) == {"vary": "Origin"}
    assert origins.build_preflight(other, "POST") == {}


def test_without_origins_there_is_no_header_at_all() -> None:
    assert Origins(()).build_headers(WWW) == {}
    assert Origins(()).build_preflight(WWW, "POST") == {}
