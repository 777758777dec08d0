from __future__ import annotations

from typing import Any

import pytest
from starlette.requests import HTTPConnection

from bridge import ConfigError, Consent
from bridge.browser.words import ConsentState
from tests.factories import make_scope

SCOPE = make_scope()


def decide(consent: Consent, **told: Any) -> ConsentState:
    return consent.decide(
        SCOPE, **{"header": None, "cookie": None, "choice": None, "gpc": False, **told}
    )


def test_default_holds_while_nobody_said_anything() -> None:
    assert decide(Consent()) == "granted"
    assert decide(Consent(default="pending")) == "pending"


def test_app_comes_before_header_before_cookie_before_the_visitors_choice() -> None:
    told: dict[str, Any] = {"header": "denied", "cookie": "limited", "choice": "granted"}
    answers: list[ConsentState | None] = ["pending", None]
    asks = Consent(default="denied", resolve=lambda connection: answers.pop(0))
    assert decide(asks, **told) == "pending"
    assert decide(asks, **told) == "denied"
    assert decide(Consent(), **{**told, "header": None}) == "limited"
    assert decide(Consent(default="pending"), choice="granted") == "granted"


@pytest.mark.parametrize(
    ("lowered", "state", "expected"),
    [
        ("limited", "granted", "limited"),
        ("limited", "limited", "limited"),
        ("limited", "denied", "denied"),
        ("limited", "pending", "pending"),
        ("pending", "granted", "pending"),
        ("pending", "limited", "pending"),
        ("pending", "denied", "denied"),
        ("granted", "denied", "denied"),
        ("nonsense", "granted", "granted"),
    ],
)
def test_what_the_page_told_the_pixel_only_lowers(
    lowered: str, state: ConsentState, expected: ConsentState
) -> None:
    assert decide(Consent(), choice=state, lowered=lowered) == expected
    assert decide(Consent(default=state), lowered=lowered) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("granted", "granted"),
        (" GRANT ", "granted"),
        ("true", "granted"),
        ("limited", "limited"),
        ("0", "denied"),
        ("deny", "denied"),
        ("pending", "pending"),
        ("nonsense", "pending"),
        ("", "pending"),
        ("granted" * 100, "pending"),
    ],
)
def test_values_are_understood_or_tell_nothing(value: str, expected: ConsentState) -> None:
    assert decide(Consent(default="pending"), cookie=value) == expected


@pytest.mark.parametrize("choice", ["granted", "limited", "denied"])
def test_visitors_own_choice_counts_whatever_the_banners_words_are(choice: str) -> None:
    meanings: dict[str, ConsentState] = {"c0002": "granted", "granted": "denied"}
    for default in ("granted", "pending"):
        consent = Consent(default=default, cookie="banner", meanings=meanings)
        assert decide(consent, choice=choice) == choice


def test_meanings_are_the_apps_own() -> None:
    consent = Consent(default="pending", meanings={"c0002": "granted"})
    assert decide(consent, cookie="C0002") == "granted"
    assert decide(consent, cookie="granted") == "pending"


@pytest.mark.parametrize(
    ("policy", "state", "expected"),
    [
        ("limited", "granted", "limited"),
        ("denied", "granted", "denied"),
        ("ignore", "granted", "granted"),
        ("limited", "limited", "limited"),
        ("limited", "denied", "denied"),
        ("limited", "pending", "pending"),
    ],
)
def test_global_privacy_control_lowers_and_never_raises(
    policy: Any, state: ConsentState, expected: ConsentState
) -> None:
    assert decide(Consent(default=state, gpc=policy), gpc=True) == expected
    assert decide(Consent(default="pending", gpc=policy), choice=state, gpc=True) == expected


def test_app_that_fails_or_answers_nonsense_counts_as_pending(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(connection: HTTPConnection) -> ConsentState | None:
        raise KeyError("cookie")

    assert decide(Consent(resolve=fail)) == "pending"
    nonsense: Any = lambda connection: True  # noqa: E731
    assert decide(Consent(resolve=nonsense)) == "pending"
    assert len(caplog.records) == 2


@pytest.mark.parametrize("changes", [{"default": "yes"}, {"gpc": "maybe"}])
def test_settings_that_cannot_be_right_are_refused(changes: Any) -> None:
    with pytest.raises(ConfigError):
        Consent(**changes)
