"""Where events go, by the environment: to Meta, to Segment, to both."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from bridge import Bridge, ConfigError, Shop, Shops
from bridge.core import BridgeOptions
from bridge.destinations import Meta, Segment
from bridge.events.catalog import Catalog, EventMapping
from bridge.outbox import SQLiteOutbox
from bridge.shops import ShopsOptions
from bridge.site import Site, SiteOptions
from tests.factories import NOW, SECRET, make_delivery, make_meta

BASE = {"BRIDGE_SECRET_KEY": SECRET}
META = {"BRIDGE_PIXEL_ID": "123", "BRIDGE_ACCESS_TOKEN": "token"}
SEGMENT = {"BRIDGE_SEGMENT_WRITE_KEY": "write-key-of-the-source"}


def build(*parts: dict[str, str], **more: str) -> Bridge:
    environ: dict[str, str] = dict(BASE)
    for part in (*parts, more):
        environ |= part
    return Bridge.from_env(environ)


def kinds(bridge: Bridge) -> list[Any]:
    return [type(destination) for destination in bridge.destinations]


def test_meta_alone() -> None:
    bridge = build(META)
    assert kinds(bridge) == [Meta]
    assert [each.pixel_id for each in bridge.destinations] == ["123"]


@pytest.mark.parametrize(
    ("more", "pixel_id", "url"),
    [
        ({}, None, "https://api.segment.io/v1/batch"),
        ({"BRIDGE_PIXEL_ID": "123"}, "123", "https://api.segment.io/v1/batch"),
        ({"BRIDGE_SEGMENT_REGION": "eu"}, None, "https://events.eu1.segmentapis.com/v1/batch"),
        ({"BRIDGE_SEGMENT_URL": "http://127.0.0.1:9"}, None, "http://127.0.0.1:9/v1/batch"),
    ],
)
def test_segment_alone(more: dict[str, str], pixel_id: str | None, url: str) -> None:
    bridge = build(SEGMENT, more)
    assert kinds(bridge) == [Segment]
    [segment] = bridge.destinations
    assert segment.pixel_id == pixel_id
    assert segment.build_request([], 0.0).url == url


def test_both() -> None:
    bridge = build(META, SEGMENT)
    assert kinds(bridge) == [Meta, Segment]
    # One pixel, which the pages have from Meta's half.
    assert [each.pixel_id for each in bridge.destinations] == ["123", None]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "BRIDGE_PIXEL_ID is not set, nor is BRIDGE_SEGMENT_WRITE_KEY"),
        ([{"BRIDGE_PIXEL_ID": "123"}], "BRIDGE_ACCESS_TOKEN is not set"),
        ([{"BRIDGE_ACCESS_TOKEN": "token"}], "BRIDGE_PIXEL_ID is not set"),
        ([SEGMENT, {"BRIDGE_ACCESS_TOKEN": "token"}], "BRIDGE_PIXEL_ID is not set"),
        ([META, {"BRIDGE_SEGMENT_REGION": "eu"}], "BRIDGE_SEGMENT_WRITE_KEY is not set"),
        ([{"BRIDGE_SEGMENT_REGION": "eu"}], "BRIDGE_SEGMENT_WRITE_KEY"),
        (
            [SEGMENT, {"BRIDGE_SEGMENT_REGION": "asia"}],
            "BRIDGE_SEGMENT_REGION: region must be us or eu, got 'asia'",
        ),
        (
            [SEGMENT, {"BRIDGE_SEGMENT_URL": "eu"}],
            "BRIDGE_SEGMENT_URL: url must be like https://api.segment.io, got 'eu'",
        ),
        ([{"BRIDGE_SEGMENT_WRITE_KEY": "a b"}], "BRIDGE_SEGMENT_WRITE_KEY: write_key"),
        ([SEGMENT, {"BRIDGE_PIXEL_ID": "abc"}], "BRIDGE_PIXEL_ID: pixel_id must be digits"),
        ([{"BRIDGE_SEGMENT_WRITEKEY": "k"}], "did you mean BRIDGE_SEGMENT_WRITE_KEY"),
    ],
)
def test_environment_that_leads_nowhere_says_what_is_missing(
    parts: list[dict[str, str]], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        build(*parts)


def test_write_key_is_in_no_error_and_no_repr() -> None:
    key = SEGMENT["BRIDGE_SEGMENT_WRITE_KEY"]
    bridge = build(META, SEGMENT)
    assert key not in repr([bridge, *bridge.destinations])
    with pytest.raises(ConfigError) as caught:
        build({"BRIDGE_SEGMENT_WRITE_KEY": f"{key}:"})
    assert key not in str(caught.value)


def test_arguments_say_what_no_variable_can() -> None:
    catalog = Catalog([EventMapping("Membership Bought", "Subscribe")])
    environ = {**BASE, **META, "BRIDGE_BROWSER_HOLD": "3"}
    bridge = Bridge.from_env(environ, catalog=catalog, browser_hold=7)
    assert bridge._event_reader.catalog is catalog
    assert bridge._browser_hold == 7


async def test_memory_of_delivered_events_is_as_long_as_the_environment_says() -> None:
    bridge = build(META, {"BRIDGE_REMEMBER_DAYS": "1", "BRIDGE_OUTBOX_URL": "sqlite:///:memory:"})
    delivery = make_delivery(has_given_id=True)
    await bridge.outbox.put([delivery], NOW)
    await bridge.outbox.ack([delivery], NOW)
    assert await bridge.outbox.put([delivery], NOW + 86_000) == [False]
    assert await bridge.outbox.put([delivery], NOW + 87_000) == [True]
    await bridge.stop()


def test_outbox_of_ones_own_has_its_own_memory() -> None:
    with pytest.raises(ConfigError, match="remember_days is for an outbox by URL"):
        Bridge(SECRET, [make_meta()], outbox=SQLiteOutbox(":memory:"), remember_days=2)


def test_signature_shows_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_ACCESS_TOKEN", "a-token-to-be-hidden")
    assert "a-token-to-be-hidden" not in str(inspect.signature(Bridge.from_env))
    for name, value in {**BASE, **META}.items():
        monkeypatch.setenv(name, value)
    assert kinds(Bridge.from_env()) == [Meta]


@pytest.mark.parametrize(
    ("kind", "options", "without"),
    [
        (Site, SiteOptions, {"secret_key", "destinations", "pipeline"}),
        (Bridge, BridgeOptions, set()),
        (Shops, ShopsOptions, {"load"}),
    ],
)
def test_from_env_takes_every_argument(kind: type, options: Any, without: set[str]) -> None:
    arguments = set(inspect.signature(kind).parameters) - without
    if kind is not Site:
        arguments = arguments - {"options"} | set(SiteOptions.__annotations__)
    assert set(options.__annotations__) == arguments


async def test_shops_have_in_common_what_the_environment_says() -> None:
    environ = {
        **BASE,
        "BRIDGE_OUTBOX_URL": "sqlite:///:memory:",
        "BRIDGE_REMEMBER_DAYS": "1",
        "BRIDGE_RUN_SENDER": "false",
        "BRIDGE_SHOP_CAPACITY": "7",
        "BRIDGE_PREFIX": "/_b",
        "BRIDGE_CONSENT": "pending",
        "BRIDGE_BROWSER_HOLD": "3",
    }
    shops = Shops.from_env(lambda name: Shop([make_meta()], prefix="/_own"), environ)
    site = await shops.get("a")
    assert site.script_tag().startswith('<script src="/_own/')
    assert site._browser_hold == 3
    assert site._visits._consent.default == "pending"
    assert not shops._pipeline.runs_sender
    assert shops._pipeline.shares is not None
    assert shops._pipeline.shares._capacity == 7
    delivery = make_delivery(has_given_id=True)
    await shops._pipeline.outbox.put([delivery], NOW)
    await shops._pipeline.outbox.ack([delivery], NOW)
    assert await shops._pipeline.outbox.put([delivery], NOW + 87_000) == [True]
    await shops.stop()
    given = Shops.from_env(lambda name: Shop([make_meta()]), environ, browser_hold=5)
    assert (await given.get("a"))._browser_hold == 5
    await given.stop()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"BRIDGE_SECRET_KEY": ""}, "BRIDGE_SECRET_KEY is not set"),
        ({"BRIDGE_SECRET_KEY": "short"}, "BRIDGE_SECRET_KEY: secret_key must be"),
        ({"BRIDGE_SHOP_CAPACITY": "many"}, "BRIDGE_SHOP_CAPACITY: expected a number, got 'many'"),
        ({"BRIDGE_SHOPS_CAPACITY": "7"}, "did you mean BRIDGE_SHOP_CAPACITY"),
        ({"BRIDGE_CONSENT": "maybe"}, "BRIDGE_CONSENT: default"),
        ({"BRIDGE_PREFIX": "b"}, "BRIDGE_PREFIX: prefix must be"),
        # Else events would go to Meta, and not to the stand-in.
        ({"BRIDGE_GRAPH_URL": "http://127.0.0.1:9"}, "BRIDGE_GRAPH_URL is set, but each shop has"),
        (SEGMENT, "BRIDGE_SEGMENT_WRITE_KEY is set, but each shop has its own"),
    ],
)
def test_environment_of_shops_that_cannot_be_meant_is_refused(
    changes: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Shops.from_env(lambda name: None, {**BASE, **changes})


def test_capacity_of_a_shop_is_nothing_for_a_bridge() -> None:
    with pytest.raises(ConfigError, match="BRIDGE_SHOP_CAPACITY is set, but a Bridge is one shop"):
        build(META, {"BRIDGE_SHOP_CAPACITY": "7"})


@pytest.mark.parametrize(
    "variable", ["BRIDGE_PIXEL_ID", "BRIDGE_RUN_SENDER", "BRIDGE_RATE_LIMIT", "BRIDGE_API_VERSION"]
)
def test_token_in_the_wrong_variable_is_not_shown(variable: str) -> None:
    token = "EAAG" + "x1" * 60
    environ = {"BRIDGE_PIXEL_ID": "1", "BRIDGE_ACCESS_TOKEN": "t", "BRIDGE_SECRET_KEY": SECRET}
    with pytest.raises(ConfigError, match=variable) as caught:
        Bridge.from_env({**environ, variable: token})
    assert "EAAG" not in str(caught.value)


def test_token_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    settings = {"BRIDGE_PIXEL_ID": "123", "BRIDGE_ACCESS_TOKEN_FILE": str(file)}
    with pytest.raises(ConfigError, match=r"BRIDGE_ACCESS_TOKEN_FILE: access_token cannot be read"):
        build(settings)
    file.write_text("token-of-a-file\n")
    [meta] = build(settings).destinations
    assert b'"access_token":"token-of-a-file"' in meta.build_request([], 0.0).content
    with pytest.raises(ConfigError, match="BRIDGE_ACCESS_TOKEN_FILE: there is another setting"):
        build(settings, META)


def test_arguments_take_the_place_of_required_variables() -> None:
    assert Bridge.from_env({}, secret_key=SECRET, destinations=[make_meta()]).destinations
    Shops.from_env(lambda name: None, {}, secret_key=SECRET)
    with pytest.raises(ConfigError, match="BRIDGE_SECRET_KEY is not set"):
        Bridge.from_env({}, destinations=[make_meta()])
    with pytest.raises(ConfigError, match="BRIDGE_PIXEL_ID is not set"):
        Bridge.from_env({}, secret_key=SECRET)


def test_wrong_share_of_a_shop_names_its_variable() -> None:
    environ = {"BRIDGE_SECRET_KEY": SECRET, "BRIDGE_SHOP_CAPACITY": "0"}
    with pytest.raises(ConfigError, match="BRIDGE_SHOP_CAPACITY: shop_capacity must be at least 1"):
        Shops.from_env(lambda name: None, environ)
