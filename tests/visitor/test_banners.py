"""Banners' cookies, as they arrive in a header."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest

from bridge import ConfigError, Consent
from bridge.browser.words import ConsentState
from bridge.visitor import consent as consent_module
from bridge.visitor.banners import BANNERS, MAX_VALUE, read_banner
from tests.factories import make_scope

ONETRUST = (
    "isGpcEnabled=0&datestamp=Mon+Nov+30+2026+10%3A00%3A00+GMT%2B0100&version=202405.1.0"
    "&isIABGlobal=false&hosts=&consentId=0a6f2c1e&interactionCount=1&landingPath=NotLandingPage"
    "&groups=C0001%3A1%2CC0002%3A0%2CC0004%3A{}&geolocation=DE%3BBE&AwaitingReconsent=false"
)
COOKIEBOT = (
    "{stamp:%27abcd1234==%27%2Cnecessary:true%2Cpreferences:false%2Cstatistics:true%2Cmarketing:"
    "{}%2Cmethod:%27explicit%27%2Cver:1%2Cutc:1764489600000%2Cregion:%27de%27}"
)
# The example of the IAB's own library: purposes 1, 2 and 3.
TC_STRING = "COvFyGBOvFyGBAbAAAENAPCAAOAAAAAAAAAAAEEUACCKAAA.IFoEUQQgAIQwgIwQABAEAAAAOIAACAIAAAAQAIAgEAACEAAAAAgAQBAAAAAAAGBAAgAAAAAAAFAAECAAAgAAQARAEQAAAAAJAAIAAgAAAYQEAAAQmAgBC3ZAYzUw"  # noqa: E501


def build_categories(*names: str) -> str:
    listed = ",".join(f'"{name}"' for name in names)
    return quote(f'{{"categories":[{listed}],"revision":0,"data":null,"languageCode":"de"}}')


@pytest.mark.parametrize(
    ("cookie", "value", "category", "expected"),
    [
        ("OptanonConsent", ONETRUST.format(1), None, "granted"),
        ("OptanonConsent", ONETRUST.format(0), None, "denied"),
        ("OptanonConsent", ONETRUST.format(1), "C0002", "denied"),
        ("OptanonConsent", ONETRUST.format(1), "C0005", None),
        ("OptanonConsent", "groups=C0004%3A1", None, "granted"),
        ("OptanonConsent", "groups=XC0004%3A1", None, None),
        # An address that somebody else chose says nothing.
        ("OptanonConsent", "landingPath=%3Fa%3D%2CC0004%3A1&" + ONETRUST.format(0), None, "denied"),
        ("OptanonConsent", "hosts=H1%3A0,C0004:1&groups=C0004%3A0", None, "denied"),
        # Written when the page loads, before anybody has chosen.
        ("OptanonConsent", "groups=C0004%3A0&interactionCount=0", None, "pending"),
        ("OptanonConsent", "groups=C0004%3A1&interactionCount=0", None, "granted"),
        ("CookieConsent", COOKIEBOT.replace("{}", "true"), None, "granted"),
        ("CookieConsent", COOKIEBOT.replace("{}", "false"), None, "denied"),
        ("CookieConsent", COOKIEBOT.replace("{}", "false"), "statistics", "granted"),
        ("CookieConsent", "-1", None, "granted"),
        ("CookieConsent", "0", None, None),
        ("cc_cookie", build_categories("necessary", "marketing"), None, "granted"),
        ("cc_cookie", build_categories("necessary", "ads"), None, "denied"),
        ("cc_cookie", build_categories("necessary", "ads"), "ads", "granted"),
        ("cc_cookie", "%7B%22categories%22%3A%7B%7D%7D", None, None),
        ("klaro", quote('{"meta-pixel":true,"matomo":false}'), "meta-pixel", "granted"),
        ("klaro", quote('{"meta-pixel":false}'), "meta-pixel", "denied"),
        ("klaro", quote('{"matomo":true}'), "meta-pixel", None),
        ("klaro", quote('{"meta-pixel":true}'), None, None),
        ("euconsent-v2", TC_STRING, "1,2,3", "granted"),
        ("euconsent-v2", TC_STRING, None, "denied"),
        ("euconsent-v2", TC_STRING, "99", "denied"),
        ("euconsent-v2", TC_STRING, "all", None),
        ("euconsent-v2", TC_STRING[:20], None, None),
        ("euconsent-v2", TC_STRING[:10] + "!!!!" + TC_STRING[10:], "1", None),
        ("cc_cookie", '{"categories":' + "[" * 4000, None, None),
        ("euconsent-v2", "B" + TC_STRING[1:], None, None),
    ],
)
def test_banner_is_read_as_its_maker_writes_it(
    cookie: str, value: str, category: str | None, expected: ConsentState | None
) -> None:
    assert read_banner(BANNERS[cookie], value, category) == expected


@pytest.mark.parametrize("cookie", BANNERS)
@pytest.mark.parametrize(
    "value", ["", "%", "{", "[" * 4000, "\xff" * 100, "D" * MAX_VALUE, "a=" * 9000]
)
def test_nonsense_tells_nothing(cookie: str, value: str) -> None:
    assert read_banner(BANNERS[cookie], value, "1") is None


def test_every_purpose_is_found_at_its_bit() -> None:
    for purpose in range(1, 25):
        bits = 2 << 170 | 1 << (24 - purpose)
        core = base64.urlsafe_b64encode((bits << 40).to_bytes(27)).decode().rstrip("=")
        granted = [
            each
            for each in range(1, 25)
            if read_banner(BANNERS["euconsent-v2"], core, str(each)) == "granted"
        ]
        assert granted == [purpose]


def decide(consent: Consent, cookie: str) -> ConsentState:
    return consent.decide(make_scope(), header=None, cookie=cookie, choice=None, gpc=False)


def test_consent_follows_a_banner(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consent_module, "_SILENT", set())
    consent = Consent(default="pending", cookie="OptanonConsent")
    assert decide(consent, ONETRUST.format(1)) == "granted"
    assert decide(consent, ONETRUST.format(0)) == "denied"
    assert caplog.records == []
    for _ in range(3):
        assert decide(consent, "groups=C0001%3A1") == "pending"
    [line] = [record.message for record in caplog.records]
    assert "OptanonConsent does not say whether C0004 is allowed" in line
    assert decide(consent, "true") == "pending"


def test_category_that_nobody_reads_is_refused() -> None:
    with pytest.raises(ConfigError, match="category is for the cookies OptanonConsent, "):
        Consent(cookie="cmp", category="marketing")
    with pytest.raises(ConfigError, match="category must name the service for Meta"):
        Consent(cookie="klaro")
