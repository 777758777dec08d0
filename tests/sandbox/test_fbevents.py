"""The stand-in library in Chromium: each test is a row of what was measured on the real one."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time

import pytest

from bridge.sandbox import DEFAULT_PIXEL_ID as ID
from tests.factories import build_pixel_config
from tests.servers import DEADLINE

from .conftest import OTHER_PIXEL_ID, Stage

INIT = f"fbq('init', '{ID}');"
END = "fbq('trackCustom', 'End');"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def test_hit_carries_the_parameters_of_the_real_one(stage: Stage) -> None:
    await stage.open(INIT + "fbq('track', 'Lead', {a: 1, b: [2], c: null}, {eventID: 'x'});")
    [hit] = await stage.hits("Lead")
    assert hit["id"] == ID
    assert hit["eid"] == "x"
    assert hit["dl"] == stage.page.url
    assert hit["rqm"] == "GET"
    assert (hit["ec"], hit["if"], hit["v"]) == ("0", "false", "2.9.325")
    assert hit["cd[a]"] == "1"
    assert hit["cd[b]"] == "[2]"
    assert "cd[c]" not in hit
    assert {"rl", "ts", "it", "sw", "sh", "r", "o", "fbp"} <= hit.keys()
    assert "fbc" not in hit


async def test_library_announces_itself(stage: Stage) -> None:
    await stage.open(f"fbq('init', '{ID}', {{external_id: 'a'}});" + END)
    await stage.hits("End")
    state = await stage.page.evaluate("fbq.getState()")
    assert state["pixels"][0]["id"] == ID
    assert state["pixels"][0]["userData"] == {"external_id": sha256("a")}
    assert state["pixels"][0]["eventCount"] == 1
    assert await stage.page.evaluate("fbq.version") == "2.9.325"


# Loading and configuration


async def test_nothing_is_sent_without_the_configuration(stage: Stage) -> None:
    await stage.client.post("/api/faults", json={"path": "config", "status": 404})
    await stage.open(INIT + "fbq('track', 'PageView');")
    await stage.page.wait_for_function("fbq.callMethod && fbq.queue.length === 1")
    state = await stage.page.evaluate("fbq.getState()")
    assert state["pixels"][0]["eventCount"] == 0
    await stage.hits()


async def test_missing_configuration_of_one_pixel_locks_all(stage: Stage) -> None:
    await stage.open(INIT + "fbq('track', 'PageView');")
    await stage.hits("PageView")
    await stage.client.post("/api/faults", json={"path": "config", "hang": True})
    await stage.page.evaluate(f"fbq('init', '{OTHER_PIXEL_ID}'); fbq('track', 'Lead')")
    assert await stage.page.evaluate("fbq.queue.length") == 1
    await stage.hits("PageView")


async def test_library_loaded_twice_sends_once(stage: Stage) -> None:
    await stage.open(INIT + "fbq('track', 'Lead');")
    await stage.hits("Lead")
    await stage.page.add_script_tag(url=f"http://pixel.test:{stage.port}/en_US/fbevents.js")
    await stage.page.evaluate(END)
    await stage.hits("Lead", "End")


async def test_bad_pixel_id_is_refused_and_a_number_is_not(stage: Stage) -> None:
    await stage.open(f"fbq('init', 'abc'); fbq('init', {ID});" + END)
    [hit] = await stage.hits("End")
    assert hit["id"] == ID
    assert any("Invalid PixelID" in text for text in stage.console)


async def test_track_before_init_is_dropped(stage: Stage) -> None:
    await stage.open(f"fbq('track', 'Lead'); fbq('trackSingle', '{ID}', 'Lead');" + INIT + END)
    await stage.hits("End")
    assert any("not initialised" in text for text in stage.console)


# PageView


@pytest.mark.parametrize("second", ["track", "trackCustom"])
async def test_only_the_first_page_view_is_sent(stage: Stage, second: str) -> None:
    await stage.open(
        INIT
        + "fbq('track', 'PageView', {}, {eventID: '1'});"
        + f"fbq('{second}', 'PageView', {{}}, {{eventID: '2'}});"
        + END
    )
    hits = await stage.hits("PageView", "End")
    assert hits[0]["eid"] == "1"


async def test_page_view_by_track_single_is_always_sent(stage: Stage) -> None:
    single = f"fbq('trackSingle', '{ID}', 'PageView');"
    await stage.open(INIT + single + "fbq('track', 'PageView');" + single + END)
    hits = await stage.hits("PageView", "PageView", "PageView", "End")
    assert [hit.get("tm") for hit in hits] == ["1", None, "1", None]


async def test_duplicate_page_views_are_sent_when_allowed(stage: Stage) -> None:
    view = "fbq('track', 'PageView');"
    await stage.open("fbq.allowDuplicatePageViews = true;" + INIT + view + view + END)
    await stage.hits("PageView", "PageView", "End")


async def test_page_view_of_a_pixel_initialised_later_is_sent_for_it_alone(stage: Stage) -> None:
    view = "fbq('track', 'PageView');"
    await stage.open(INIT + view + f"fbq('init', '{OTHER_PIXEL_ID}');" + view)
    hits = await stage.hits("PageView", "PageView")
    assert {hit["id"] for hit in hits} == {ID, OTHER_PIXEL_ID}


async def test_navigation_sends_a_page_view_without_event_id(stage: Stage) -> None:
    await stage.open(INIT + "fbq('track', 'PageView', {}, {eventID: '1'});")
    await stage.hits("PageView")
    await stage.page.evaluate("history.pushState({}, '', '/shop/2'); history.replaceState({}, '')")
    await stage.hits("PageView", "PageView")
    await stage.page.evaluate("location.hash = 'three'")
    await stage.hits("PageView", "PageView", "PageView")
    await stage.page.evaluate("fbq('track', 'PageView', {}, {eventID: '2'}); history.go(-2)")
    hits = await stage.hits(*["PageView"] * 4)
    assert [hit.get("eid") for hit in hits] == ["1", None, None, None]
    assert hits[1]["dl"].endswith("/shop/2")


async def test_navigation_before_the_first_hit_sends_nothing(stage: Stage) -> None:
    await stage.open(INIT)
    await stage.page.wait_for_function("fbq.getState && fbq.getState().pixels.length === 1")
    await stage.page.evaluate("history.pushState({}, '', '/shop/2');" + END)
    await stage.hits("End")


@pytest.mark.parametrize(("when", "views"), [("before", 0), ("after", 1)])
async def test_push_state_is_switched_off_only_before_the_first_event(
    stage: Stage, when: str, views: int
) -> None:
    off = "fbq.disablePushState = true;"
    await stage.open((off if when == "before" else "") + INIT + "fbq('trackCustom', 'Start');")
    await stage.hits("Start")
    await stage.page.evaluate(off + "history.pushState({}, '', '/shop/2');" + END)
    await stage.hits("Start", *["PageView"] * views, "End")


# Event ids


@pytest.mark.parametrize(
    ("options", "eid"),
    [
        ("{eventID: 'x'}", "x"),
        ("{event_id: 'x'}", "x"),
        ("{eventId: 'x'}", None),
        ("{eventID: null}", None),
        ("null", None),
        ("{eventID: ''}", ""),
        ("{eventID: 42}", "42"),
        ("{eventID: ['x']}", None),
        ("{eventID: {eventID: 'x'}}", "x"),
        (r"{eventID: ' A ü&=#?%+☃ '}", " A ü&=#?%+☃ "),
    ],
)
async def test_event_id_reaches_the_hit(stage: Stage, options: str, eid: str | None) -> None:
    await stage.open(INIT + f"fbq('track', 'Lead', {{}}, {options});")
    [hit] = await stage.hits("Lead")
    assert hit.get("eid") == eid


async def test_event_id_in_the_third_argument_is_custom_data(stage: Stage) -> None:
    await stage.open(INIT + "fbq('track', 'Lead', {eventID: 'x'});")
    [hit] = await stage.hits("Lead")
    assert hit["cd[eventID]"] == "x"
    assert "eid" not in hit


async def test_one_event_goes_to_each_pixel_with_the_same_id(stage: Stage) -> None:
    second = f"fbq('init', '{OTHER_PIXEL_ID}');"
    await stage.open(INIT + second + "fbq('track', 'Lead', {}, {eventID: 'x'});")
    hits = await stage.hits("Lead", "Lead")
    assert [hit["eid"] for hit in hits] == ["x", "x"]
    assert {hit["id"] for hit in hits} == {ID, OTHER_PIXEL_ID}


async def test_strange_names_and_money_are_warned_about_and_sent(stage: Stage) -> None:
    await stage.open(INIT + "fbq('track', 'purchase'); fbq('track', 'Purchase', {value: 'much'});")
    await stage.hits("purchase", "Purchase")
    assert any("non-standard" in text for text in stage.console)
    assert any("'value'" in text for text in stage.console)
    assert any("'currency'" in text for text in stage.console)


# Advanced matching


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("'User-42'", sha256("user-42")),
        ("' User 42 '", sha256("user42")),
        ("'3F2504E0-4F89-11D3-9A0C-0305E82C3301'", sha256("3f2504e0-4f89-11d3-9a0c-0305e82c3301")),
        ("'3F2504E04F8911D39A0C0305E82C3301'", "3f2504e04f8911d39a0c0305e82c3301"),
        (f"'{sha256('a').upper()}'", sha256("a")),
        (f"' {sha256('a')}'", sha256(sha256("a"))),
        ("12345678901234567890", sha256("12345678901234567000")),
        ("true", "true"),
        ("''", None),
        ("null", None),
        ("'  '", sha256("  ")),
        ("['User-42']", sha256('["User-42"]')),
        ("'İstanbul ẞ ΟΔΟΣ'", sha256("İstanbulẞΟΔΟΣ".lower())),
        (r"'a\x1cb\ufeffc'", sha256("a\x1cbc")),
        ("'" + "long " * 50 + "'", sha256("long" * 50)),
    ],
)
async def test_external_id_is_hashed_as_measured(
    stage: Stage, given: str, sent: str | None
) -> None:
    await stage.open(f"fbq('init', '{ID}', {{external_id: {given}}});" + END)
    [hit] = await stage.hits("End")
    assert hit.get("ud[external_id]") == sent


async def test_sha256_holds_at_each_padding_length(stage: Stage) -> None:
    ids = ["x" * length for length in (55, 56, 57, 63, 65, 119, 120, 200)]
    inits = "".join(
        f"fbq('init', '{number}', {{external_id: '{value}'}});" for number, value in enumerate(ids)
    )
    await stage.open("fbq.disableConfigLoading = true;" + inits + END)
    hits = await stage.hits(*["End"] * len(ids))
    assert {hit["id"]: hit["ud[external_id]"] for hit in hits} == {
        str(number): sha256(value) for number, value in enumerate(ids)
    }


@pytest.mark.parametrize(
    ("external_id", "key"),
    [
        ("12345", "zp"),
        ("1234567", "ph"),
        ("12345-6789", "ph"),
        ("user@example.com", "em"),
        ("male", "ge"),
        ("123456", None),
        ("ABC123", None),
        (sha256("a"), None),
    ],
)
async def test_raw_external_id_leaks_into_the_key_it_looks_like(
    stage: Stage, external_id: str, key: str | None
) -> None:
    await stage.open(f"fbq('init', '{ID}', {{external_id: '{external_id}'}});" + END)
    [hit] = await stage.hits("End")
    keys = {name for name in hit if name.startswith("ud[")}
    assert keys == {"ud[external_id]"} | ({f"ud[{key}]"} if key else set())


@pytest.mark.parametrize(
    ("first", "second", "sent"),
    [
        ("{}", "{external_id: 'b'}", sha256("b")),
        ("{external_id: 'a'}", "{external_id: 'b'}", sha256("a")),
        ("{external_id: undefined}", "{external_id: 'b'}", None),
    ],
)
async def test_first_init_with_user_data_wins(
    stage: Stage, first: str, second: str, sent: str | None
) -> None:
    await stage.open(f"fbq('init', '{ID}', {first}); fbq('init', '{ID}', {second});" + END)
    [hit] = await stage.hits("End")
    assert hit.get("ud[external_id]") == sent
    assert any("Duplicate Pixel ID" in text for text in stage.console) == (first != "{}")


async def test_other_keys_are_normalised_and_hashed(stage: Stage) -> None:
    data = {"em": " A@Example.COM ", "ph": "+1 (650) 555-1212", "ct": "São Paulo", "zp": "94-1"}
    await stage.open(f"fbq('init', '{ID}', {json.dumps(data)});" + END)
    [hit] = await stage.hits("End")
    assert hit["ud[em]"] == sha256("a@example.com")
    assert hit["ud[ph]"] == sha256("16505551212")
    assert hit["ud[ct]"] == sha256("sopaulo")
    assert hit["ud[zp]"] == sha256("94")


# Cookies


@pytest.mark.parametrize(
    ("host", "index", "domain"),
    [
        ("www.shop.example.com", "1", ".example.com"),
        ("shop.example.co.uk", "2", ".example.co.uk"),
        ("localhost", "0", "localhost"),
        ("127.0.0.1", "3", "127.0.0.1"),
    ],
)
async def test_cookie_goes_on_the_shortest_domain(
    stage: Stage, host: str, index: str, domain: str
) -> None:
    await stage.open(INIT + END, host=host, query="&fbclid=NEW")
    [hit] = await stage.hits("End")
    cookies = await stage.cookies()
    assert hit["fbp"].split(".")[:2] == ["fb", index]
    assert hit["fbc"].split(".")[3] == "NEW"
    for name in ("_fbp", "_fbc"):
        cookie = cookies[name]
        assert cookie["value"] == hit[name[1:]]
        assert cookie["domain"] == domain
        assert cookie["sameSite"] == "Lax"
        assert (cookie["httpOnly"], cookie["secure"]) == (False, False)
        assert abs(cookie["expires"] - time.time() - 7_776_000) < 60


SERVER_COOKIE = "; Path=/; Domain=example.com; Max-Age=1000"


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("fb.1.1700000000000.1234567890", True),
        ("fb.1.1700000000000.a1b2-c3", True),
        ("fb.1.1700000000000.12.AQICAQMC", True),
        ("fb.1.1700000000000.12.Bg", True),
        ("fb.1.1700000000000.12.xx", False),
        ("fb.1.1700000000000.12.abc", False),
        ("fb.1.1700000000000.", False),
        ("fb.1.yesterday.12", False),
        ("garbage", False),
    ],
)
async def test_server_cookie_is_adopted_if_it_has_the_form(
    stage: Stage, value: str, kept: bool
) -> None:
    headers = json.dumps([["set-cookie", f"_fbp={value}{SERVER_COOKIE}"]])
    await stage.open(INIT + END, headers=headers)
    [hit] = await stage.hits("End")
    assert (hit["fbp"] == value) == kept
    cookie = (await stage.cookies())["_fbp"]
    assert cookie["value"] == hit["fbp"]
    assert cookie["expires"] - time.time() > 7_000_000


async def test_http_only_cookie_makes_a_second_one_a_level_below(stage: Stage) -> None:
    value = "fb.1.1700000000000.12"
    headers = json.dumps([["set-cookie", f"_fbp={value}{SERVER_COOKIE}; HttpOnly"]])
    await stage.open(INIT + END, headers=headers)
    [hit] = await stage.hits("End")
    assert hit["fbp"].startswith("fb.2.")
    domains = [cookie["domain"] for cookie in await stage.context.cookies()]
    assert sorted(domains) == [".example.com", ".shop.example.com"]


@pytest.mark.parametrize(
    ("query", "cookie", "payload"),
    [
        ("&fbclid=NEW", "", "NEW"),
        ("&fbclid=NEW", "fb.1.1700000000000.OLD.AQICAQMC", "NEW.AQICAQMC"),
        ("", "fb.1.1700000000000.OLD", "OLD"),
        ("&fbclid=OLD", "fb.1.1700000000000.OLD", "OLD"),
        ("&fbclid=ONE&fbclid=TWO", "", "ONE"),
        ("#fbclid=HASH", "", "HASH"),
        ("&fbclid=a.b", "", "a__DOT__b"),
        ("&fbclid=a%20b", "fb.1.1700000000000.OLD", "OLD"),
        ("&fbclid=", "fb.1.1700000000000.OLD", "OLD"),
        ("&FBCLID=NEW", "", None),
        ("&fbclid=" + "x" * 500, "", "x" * 500),
        ("&fbclid=" + "x" * 501, "fb.1.1700000000000.OLD", None),
        ("&fbclid=NEW&brid=BR", "", "NEW_aem_BR"),
    ],
)
async def test_click_id_becomes_fbc(
    stage: Stage, query: str, cookie: str, payload: str | None
) -> None:
    headers = json.dumps([["set-cookie", f"_fbc={cookie}{SERVER_COOKIE}"]] if cookie else [])
    await stage.open(INIT + END, query=query, headers=headers)
    [hit] = await stage.hits("End")
    if payload is None:
        assert "fbc" not in hit
        return
    assert hit["fbc"].split(".", 3)[3] == payload
    kept = bool(cookie) and payload == "OLD"
    assert (hit["fbc"].split(".")[2] == "1700000000000") == kept


async def test_first_party_cookies_can_be_switched_off(stage: Stage) -> None:
    off = f"fbq('set', 'firstPartyCookies', false, '{ID}');"
    await stage.open(off + INIT + END, query="&fbclid=NEW")
    [hit] = await stage.hits("End")
    assert hit.keys().isdisjoint({"fbp", "fbc"})
    assert await stage.context.cookies() == []


# Consent and data processing


async def test_nothing_happens_while_consent_is_revoked(stage: Stage) -> None:
    view = "fbq('track', 'PageView', {}, {eventID: 'x'});"
    await stage.open("fbq('consent', 'revoke');" + INIT + view)
    await stage.page.wait_for_function("typeof fbq.callMethod === 'function'")
    assert await stage.page.evaluate("fbq.queue.length") == 2
    assert await stage.context.cookies() == []
    await stage.page.evaluate("fbq('consent', 'grant')")
    [hit] = await stage.hits("PageView")
    assert hit["eid"] == "x"


async def test_grant_queued_behind_revoke_is_never_reached(stage: Stage) -> None:
    await stage.open("fbq('consent', 'revoke'); fbq('consent', 'grant');" + INIT + END)
    await stage.page.wait_for_function("typeof fbq.callMethod === 'function'")
    assert await stage.page.evaluate("fbq.queue.length") == 3
    assert await stage.page.evaluate("fbq.getState().pixels") == []
    await stage.page.evaluate("fbq('consent', 'grant')")
    await stage.hits("End")


async def test_revoke_later_holds_back_later_calls(stage: Stage) -> None:
    await stage.open(INIT + "fbq('trackCustom', 'Start');")
    await stage.hits("Start")
    await stage.page.evaluate("fbq('consent', 'revoke');" + END)
    assert await stage.page.evaluate("fbq.queue.length") == 1
    await stage.page.evaluate("fbq('consent', 'grant')")
    await stage.hits("Start", "End")


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ("['LDU'], 0, 0", ("LDU", "0", "0")),
        ("['LDU'], 1, 1000", ("LDU", "1", "1000")),
        ("['LDU']", ("LDU", None, None)),
        ("[]", ("", None, None)),
        ("['LDU'], 1, 1001", (None, None, None)),
        ("['LDU'], 1", (None, None, None)),
        ("'LDU'", (None, None, None)),
    ],
)
async def test_data_processing_options_reach_the_hit_if_they_pass(
    stage: Stage, arguments: str, sent: tuple[str | None, ...]
) -> None:
    await stage.open(f"fbq('dataProcessingOptions', {arguments});" + INIT + END)
    [hit] = await stage.hits("End")
    assert (hit.get("dpo"), hit.get("dpoco"), hit.get("dpost")) == sent


# Settings and transport


async def test_agent_must_come_after_init(stage: Stage) -> None:
    agent = f"fbq('set', 'agent', 'bridge', '{ID}');"
    await stage.open(agent + INIT + "fbq('track', 'Lead');" + agent + END)
    hits = await stage.hits("Lead", "End")
    assert [hit.get("a") for hit in hits] == [None, "bridge"]


async def test_track_single_only_pixel_ignores_track(stage: Stage) -> None:
    only = f"fbq('set', 'trackSingleOnly', true, '{ID}');"
    single = f"fbq('trackSingleCustom', '{ID}', 'End');"
    await stage.open(INIT + only + "fbq('track', 'Lead');" + single)
    [hit] = await stage.hits("End")
    assert hit["tm"] == "2"


@pytest.mark.parametrize("longer", [False, True])
async def test_hit_is_posted_by_a_form_from_2048_characters_on(stage: Stage, longer: bool) -> None:
    await stage.open(INIT + "fbq('track', 'Lead');")
    await stage.hits("Lead")
    length = await stage.page.evaluate(
        "performance.getEntriesByType('resource').find((e) => e.name.includes('/tr/')).name.length"
    )
    room = 2047 - length - len("&cd%5Bx%5D=") + int(longer)
    await stage.page.evaluate(f"fbq('track', 'Lead', {{x: 'x'.repeat({room})}})")
    _, hit = await stage.hits("Lead", "Lead")
    assert hit["rqm"] == ("formPOST" if longer else "GET")
    assert len(hit["cd[x]"]) == room


async def test_hit_is_sent_by_beacon_in_other_browsers(stage: Stage) -> None:
    other = "Object.defineProperty(navigator, 'vendor', {get: () => 'Apple Computer, Inc.'});"
    await stage.open(other + INIT + "fbq('track', 'Lead', {x: 'ü'.repeat(2000)});")
    [hit] = await stage.hits("Lead")
    assert hit["rqm"] == "SB"
    assert hit["cd[x]"] == "ü" * 2000


async def test_return_from_the_back_forward_cache_sends_a_page_view(stage: Stage) -> None:
    await stage.open(INIT + "fbq('track', 'PageView', {}, {eventID: '1'});")
    await stage.hits("PageView")
    await stage.page.evaluate(
        "dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))"
    )
    hits = await stage.hits("PageView", "PageView")
    assert "eid" not in hits[1]


async def test_two_tabs_share_cookies(stage: Stage) -> None:
    await stage.open(INIT + END)
    [first] = await stage.hits("End")
    await stage.open(INIT + END)
    hits = await asyncio.wait_for(stage.hits("End", "End"), DEADLINE)
    assert hits[1]["fbp"] == first["fbp"]


# What a page may say in other words


@pytest.mark.parametrize(
    ("call", "name", "tm"),
    [
        ("fbq.push(['track', 'Lead', {a: 1}])", "Lead", None),
        ("fbq(['track', 'Lead', {a: 1}])", "Lead", None),
        ("_fbq.push(['trackCustom', 'Lead', {a: 1}])", "Lead", None),
        ("fbq('reportLead', {a: 1})", "Lead", None),
        ("fbq('reportCustomEvent', {event: 'Quiz', a: 1})", "Quiz", None),
        ("fbq('track', 'CustomEvent', {event: 'Quiz', a: 1})", "Quiz", None),
        ("fbq(['track', 'CustomEvent', {event: 'Quiz', a: 1}])", "CustomEvent", None),
        ("fbq('send', 'Lead', {a: 1}, {eventID: 'ignored'})", "Lead", None),
        (f"fbq('trackSingle', '{ID}', 'Lead', {{a: 1}})", "Lead", "1"),
    ],
)
async def test_other_forms_of_a_call_are_hits(
    stage: Stage, call: str, name: str, tm: str | None
) -> None:
    await stage.open(INIT + call + ";" + END)
    lead, _ = await stage.hits(name, "End")
    assert (lead["cd[a]"], lead.get("tm"), lead.get("eid")) == ("1", tm, None)


async def test_number_names_no_single_pixel(stage: Stage) -> None:
    await stage.open(INIT + f"fbq('trackSingle', {ID}, 'Lead');" + END)
    await stage.hits("End")


@pytest.mark.parametrize(("this", "sent"), [("null", 2), ("fbq", 1)])
async def test_view_called_without_this_counts_as_automatic(
    stage: Stage, this: str, sent: int
) -> None:
    await stage.open(INIT + "fbq('track', 'PageView');")
    await stage.hits("PageView")
    await stage.page.evaluate(f"fbq.callMethod.call({this}, 'track', 'PageView');" + END)
    await stage.hits(*["PageView"] * sent, "End")


@pytest.mark.parametrize("last", ["revoke", "grant"])
async def test_consent_acts_at_once_while_the_configuration_is_awaited(
    stage: Stage, last: str
) -> None:
    await stage.client.post("/api/faults", json={"path": "config", "delay": 1})
    script = """
        addEventListener('load', () => { window.isLoaded = true }, { once: true })
        const timer = setInterval(() => {
            if (!fbq.callMethod) return
            clearInterval(timer)
            window.wasEarly = !window.isLoaded
            fbq('consent', 'revoke'); fbq('consent', 'LAST')
        })
    """
    # Opening waits for the configuration.
    await stage.open(INIT + "fbq('track', 'Lead');" + script.replace("LAST", last))
    assert await stage.page.evaluate("window.wasEarly")
    if last == "revoke":
        await stage.hits()
        await stage.page.evaluate("fbq('consent', 'grant')")
    await stage.hits("Lead")


async def test_function_put_in_the_place_of_fbq_is_called(stage: Stage) -> None:
    await stage.open(
        INIT + "const old = fbq; window.fbq = Object.assign((...a) => old(...a), old);" + END
    )
    await stage.hits("End")
    assert await stage.page.evaluate("[!!fbq.callMethod, !!old.callMethod]") == [True, False]


# What configurations switch on


async def opt_in(stage: Stage, *features: str) -> None:
    fault = {"path": "config", "status": 200, "body": build_pixel_config(*features)}
    await stage.client.post("/api/faults", json=fault)


async def test_gateway_gives_ids_to_events_without_one(stage: Stage) -> None:
    await opt_in(stage, "OpenBridge")
    await stage.open(INIT + "fbq('track', 'Lead'); fbq('track', 'Contact', {}, {eventID: 'x'});")
    lead, contact = await stage.hits("Lead", "Contact")
    assert re.fullmatch("ob3_plugin-set_[0-9a-f]{64}", lead["eid"])
    assert contact["eid"] == "x"


async def test_fields_of_a_form_go_along(stage: Stage) -> None:
    await opt_in(stage, "AutomaticMatching")
    field = "document.body.insertAdjacentHTML('beforeend', '<input type=email>');"
    await stage.open(INIT + "fbq('track', 'Lead');")
    await stage.hits("Lead")
    await stage.page.evaluate(field)
    await stage.page.fill("input", "Ada@Example.com")
    await stage.page.evaluate(END)
    lead, end = await stage.hits("Lead", "End")
    assert (lead.get("udff[em]"), end["udff[em]"]) == (None, sha256("ada@example.com"))


async def test_click_on_a_button_is_an_event_of_the_pixels_own(stage: Stage) -> None:
    await opt_in(stage, "AutomaticSetup")
    await stage.open(INIT + "fbq('track', 'Lead');")
    await stage.hits("Lead")
    await stage.page.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<button>Buy</button>')"
    )
    await stage.page.click("button")
    _, click = await stage.hits("Lead", "SubscribedButtonClick")
    assert (click["es"], click["tm"], click["cd[buttonText]"]) == ("automatic", "3", "Buy")
    assert "eid" not in click


async def test_library_keeps_things_in_the_storage(stage: Stage) -> None:
    await stage.open(INIT + END, query="&fbclid=abc")
    [hit] = await stage.hits("End")
    assert hit["fbcs"] == hit["fbc"]
    assert set(await stage.page.evaluate("Object.keys(localStorage)")) >= {
        "multiFbc",
        "lastExternalReferrer",
        "lastExternalReferrerTime",
    }
