"""What the script reports: what became of hits, and events that must not be lost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.pages.scenes import OURS, Scene
from tests.servers import poll

# Did it go out?


async def track(scene: Scene, options: str = "{eventID: 'seen'}") -> None:
    await scene.ready()
    await scene.run(f"bridge.track('Lead', {{}}, {options})")


async def test_hit_that_was_answered_is_sent(scene: Scene) -> None:
    await scene.show(OURS)
    await track(scene)
    assert await scene.reported("seen") == "sent"


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        ({"path": "fbevents", "drop": True}, "blocked"),
        ({"path": "fbevents", "status": 404}, "blocked"),
        ({"path": "fbevents", "status": 200, "body": ""}, "blocked"),
        ({"path": "fbevents", "status": 200, "body": "window.fbq = function () {}"}, "blocked"),
        ({"path": "config", "drop": True}, "blocked"),
        ({"path": "config", "status": 404}, "blocked"),
        ({"path": "config", "hang": True}, "blocked"),
        ({"path": "config", "status": 200, "body": ""}, "blocked"),
        ({"path": "tr", "drop": True}, "blocked"),
        ({"path": "tr", "status": 200, "body": "no image"}, "sent"),
        ({"path": "tr", "hang": True}, "unknown"),
    ],
    ids=lambda value: value if isinstance(value, str) else json.dumps(value),
)
async def test_state_of_a_hit_is_reported(scene: Scene, fault: dict[str, Any], state: str) -> None:
    await scene.sandbox.fault(**{**fault, "times": None})
    if "hang" in fault or fault.get("body") == "":
        await scene.hurry()  # test_tls.py waits for a hit in full length
    await scene.show(OURS)
    event_id = "-".join(map(str, [*fault, *fault.values()]))
    await track(scene, f"{{eventID: '{event_id}'}}")
    assert await scene.reported(event_id) == state
    assert scene.errors == []


@pytest.mark.parametrize(
    ("policy", "state"),
    [
        ("script-src 'self'", "blocked"),
        ("script-src 'self' SANDBOX/en_US/", "blocked"),
        ("script-src 'self' SANDBOX; img-src 'self'", "blocked"),
        ("script-src 'self' SANDBOX; img-src SANDBOX; connect-src 'self' SANDBOX", "sent"),
    ],
)
async def test_security_policy_that_blocks_is_reported(
    scene: Scene, policy: str, state: str
) -> None:
    headers = {"content-security-policy": policy.replace("SANDBOX", scene.sandbox.url)}
    address = await scene.place(OURS) + f"&headers={json.dumps(headers)}"
    await scene.page.goto(address)
    await scene.ready()
    event_id = await scene.run("bridge.track('Lead')")
    assert await scene.reported(event_id) == state


async def test_policy_that_only_reports_blocks_nothing(scene: Scene) -> None:
    headers = {"content-security-policy-report-only": "script-src 'self'; img-src 'self'"}
    await scene.page.goto(await scene.place(OURS) + f"&headers={json.dumps(headers)}")
    await scene.ready()
    assert await scene.reported(await scene.run("bridge.track('Lead')")) == "sent"


async def test_state_is_reported_from_a_page_that_is_left(scene: Scene) -> None:
    await scene.sandbox.fault("tr", hang=True, times=None)
    await scene.show(OURS)
    await scene.ready()
    event_id = await scene.run("bridge.track('Lead')")
    # Firefox before 133 has no fetch that outlives its page.
    await scene.run("() => { window.fetch = () => new Promise(() => {}) }")
    await scene.page.goto("about:blank")
    assert await scene.reported(event_id) == "unknown"


async def test_state_is_reported_from_a_page_that_is_hidden(scene: Scene) -> None:
    # Without this, the hit would count as unknown after five seconds.
    await scene.page.add_init_script(
        "const wait = setTimeout; window.setTimeout = (f, ms) => wait(f, ms == 5e3 ? 1e8 : ms)"
    )
    await scene.sandbox.fault("tr", hang=True, times=None)
    await scene.show(OURS)
    await scene.ready()
    event_id = await scene.run("bridge.track('Lead')")
    await scene.run("Object.defineProperty(document, 'hidden', {value: true})")
    await scene.run("document.dispatchEvent(new Event('visibilitychange'))")
    assert await scene.reported(event_id) == "unknown"


async def test_blocked_twin_is_acknowledged_and_released(scene: Scene) -> None:
    await scene.sandbox.fault("tr", drop=True, times=None)
    await scene.show(OURS)
    await scene.ready()
    await scene.run("fetch('/order?id=blocked')")
    assert await scene.reported("blocked-0") == "blocked"

    async def released() -> bool:
        return any(a["server"] for a in await scene.sandbox.actions("Purchase"))

    await poll(released, "the server copy")


# Never lost


async def lead_copies(scene: Scene) -> int:
    return sum(len(action["server"]) for action in await scene.sandbox.actions("Lead"))


@pytest.mark.parametrize(
    "fault",
    [{"status_code": 503}, {"status_code": 429, "headers": {"retry-after": "1"}}],
    ids=["503", "429"],
)
async def test_event_waits_for_the_server(scene: Scene, fault: dict[str, Any]) -> None:
    await scene.fail_collect(fault)
    await scene.hurry()
    await scene.show(OURS)
    await track(scene, f"{{eventID: 'wait-{fault['status_code']}'}}")
    await scene.counted(PageView=1, Lead=1)
    await scene.page.wait_for_function("!Object.keys(localStorage).some((k) => k.includes('.q.'))")


async def test_acknowledgement_waits_for_the_server(scene: Scene) -> None:
    await scene.show(OURS)
    await scene.counted(PageView=1)
    await scene.fail_collect({"status_code": 503})
    await scene.run("fetch('/order?id=acknowledged')")

    async def refused() -> bool:
        return any(
            ack["event_id"] == "acknowledged-0" for ack in (await scene.reports())[-1]["acks"]
        )

    await poll(refused, "a refusal")
    await scene.run("dispatchEvent(new Event('online'))")
    assert await scene.reported("acknowledged-0") == "sent"


async def test_events_with_one_id_are_all_sent(scene: Scene) -> None:
    await scene.show(OURS)
    await scene.ready()
    await scene.run(
        "for (const name of ['Lead', 'Contact']) bridge.track(name, {}, {eventID: 'x'})"
    )
    await scene.counted(PageView=1, Lead=1, Contact=1)


async def test_event_that_is_never_taken_holds_up_no_other(scene: Scene) -> None:
    await scene.fail_collect({"status_code": 400})
    start = len(await scene.reports())
    await scene.show(OURS)
    await scene.ready()
    await scene.run("for (const id of ['1', '2', '3']) bridge.track('Lead', {}, {eventID: id})")

    async def reported(count: int) -> list[list[str]]:
        ids = [[e["event_id"] for e in r["events"]] for r in (await scene.reports())[start:]]
        return ids if len(ids) >= count else []

    [first] = await poll(lambda: reported(1))
    await scene.run("dispatchEvent(new Event('online'))")
    await scene.counted(PageView=1, Lead=3)
    for after in (await reported(2))[1:]:
        assert len(after) < 2
    assert first


async def test_wait_that_no_timer_can_hold_is_shortened(scene: Scene) -> None:
    await scene.page.add_init_script(
        "const real = setTimeout; window.delays = [];"
        "window.setTimeout = (work, ms) => { delays.push(ms); return real(work, ms) }"
    )
    await scene.fail_collect({"status_code": 429, "headers": {"retry-after": "9999999999"}})
    await scene.show(OURS)
    await scene.page.wait_for_function("Math.max(...delays) > 1e8")
    assert await scene.run("Math.max(...delays) < 2 ** 31")


async def test_event_of_a_closed_tab_is_sent_by_the_next_page(scene: Scene) -> None:
    await scene.fail_collect(*[{"status_code": 503}] * 3)
    await scene.show(OURS)
    await track(scene, "{eventID: 'closed'}")
    context = scene.page.context
    await scene.hits("PageView", "Lead")
    await scene.page.close()
    await scene.fail_collect()
    scene.page = await context.new_page()
    await scene.show(OURS)
    await scene.counted(PageView=2, Lead=1)


async def test_event_survives_being_offline(scene: Scene) -> None:
    await scene.show(OURS)
    await scene.counted(PageView=1)
    await scene.page.context.set_offline(True)
    await scene.run("bridge.track('Lead')")
    await scene.page.wait_for_function("Object.keys(localStorage).some((k) => k.includes('.q.'))")
    await scene.page.context.set_offline(False)

    async def arrived() -> bool:
        return await lead_copies(scene) == 1

    await poll(arrived, "the server copy")


async def test_queue_is_bounded_and_old_and_damaged_entries_go(scene: Scene) -> None:
    await scene.fail_collect(*[{"status_code": 503}] * 1000)
    await scene.show(OURS)
    await scene.counted(PageView=0)
    old = json.dumps({"event_name": "Lead", "event_id": "old", "at": 1})
    await scene.run(
        f"""() => {{
            localStorage['_bridge.q.old'] = '{old}'
            localStorage['_bridge.q.damaged'] = '{{'
            for (let n = 0; n < 550; n++) bridge.track('Lead')
        }}"""
    )
    await scene.page.reload()
    await scene.ready()
    keys = [key for key in await scene.storage() if key.startswith("_bridge.q.")]
    assert len(keys) == 500
    assert not {"_bridge.q.old", "_bridge.q.damaged"} & set(keys)
    await scene.fail_collect()


async def test_storage_that_refuses_costs_nothing_but_the_next_page(scene: Scene) -> None:
    await scene.page.add_init_script(
        "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no') }})"
    )
    await scene.show(OURS)
    await track(scene, "{eventID: 'private'}")
    await scene.run("fetch('/order?id=private')")
    await scene.counted(PageView=1, Lead=1, Purchase=1)
    assert scene.errors == []
