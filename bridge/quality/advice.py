"""Advice: what to change, in this project's words, most useful first. Pure.

A rule looks at one event name and says at most one thing, as a fact, a colon and a remedy; events
with the same remedy share a line. Rules stand in the order of their use:
what loses events comes before what merges them, and that before what matches people.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import msgspec

from bridge.figures.words import IDENTIFIERS
from bridge.quality.answer import Diagnostic
from bridge.quality.comparison import Comparison, Row
from bridge.quality.question import Unanswered

FEW = 5  # events of ours below which a share says nothing
MANY = 50  # delivered events of ours below which Meta's shares say nothing of other senders
GOAL = 75.0  # per cent of browser events covered, which Meta calls its goal
NEARLY_ALL = 90.0  # per cent of events that carry a key, if they are made as they should be
KNOWN = 70.0  # per cent of a customer's events whose e-mail address a shop can know
APART = 15.0  # points of coverage between Meta's figure and ours that need another sender
LATE = 3600.0  # seconds; Meta wants events within an hour
SILENT = 30.0  # per cent of browser copies that no script reported

# Events at which the visitor says who it is; a page view has nobody to ask.
OF_CUSTOMERS = frozenset(
    """
    AddPaymentInfo CompleteRegistration Contact Donate InitiateCheckout Lead Purchase Schedule
    StartTrial SubmitApplication Subscribe
    """.split()
)


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to do.

    Attributes:
        destination: Whose figures say so.
        event_names: Of which events, the most frequent first; empty for all.
        text: What is so, and what to change.
    """

    destination: str
    event_names: tuple[str, ...] = ()
    text: str

    def __str__(self) -> str:
        """Return it as a line."""
        about = f"{self.destination} {', '.join(self.event_names)}".strip()
        return f"{about}: {self.text}"


def advise(comparison: Comparison) -> list[Advice]:
    """Return what would make the figures better, most useful first."""
    answer = comparison.answer
    advice = []
    if isinstance(answer, Unanswered):
        text = f"Meta's figures are missing: {answer.reason}; {answer.remedy}"
        advice.append(Advice(destination=comparison.destination, text=text))
    for rule in _RULES:
        remedies: dict[str, dict[str, str]] = {}
        for row in comparison.rows:
            fact, _, remedy = rule(row).partition(": ")
            if fact:
                remedies.setdefault(remedy, {})[row.event_name] = fact
        for remedy, facts in remedies.items():
            text = ": ".join(part for part in (_join(facts), remedy) if part)
            names = tuple(facts)
            advice.append(Advice(destination=comparison.destination, event_names=names, text=text))
    return advice


def _join(facts: Mapping[str, str]) -> str:
    """Return the facts of several events: one if they are the same, else each with its name."""
    if len(set(facts.values())) == 1:
        return next(iter(facts.values()))
    return "; ".join(f"{fact} ({name})" for name, fact in facts.items())


def _advise_of_lost(row: Row) -> str:
    if not row.ours.lost:
        return ""
    lost = "1 event was" if row.ours.lost == 1 else f"{row.ours.lost:,} events were"
    return (
        f"{lost} lost because the outbox was broken or full: see the log of bridge.delivery, and"
        " run pixel-bridge check"
    )


def _advise_of_dead(row: Row) -> str:
    if not row.ours.dead:
        return ""
    dead = row.ours.dead
    became = "1 event became a dead letter" if dead == 1 else f"{dead:,} events became dead letters"
    return f"{became}: pixel-bridge dead list says why"


def _advise_of_address(row: Row) -> str:
    found = _find_diagnostic(row, "mismatch")
    if found is not None:
        return (
            f"the IP differs from the pixel's in {_percent(found.percentage)} of server copies: a"
            " proxy's address is sent instead of the visitor's; set trusted_proxies"
            " (BRIDGE_TRUSTED_PROXIES) to the addresses of your proxies"
        )
    known = _read_ours(row, "client_ip_address")
    if known is None or known >= NEARLY_ALL:
        return ""
    return (
        f"the visitor's address is known for {_percent(known)}: behind a proxy set trusted_proxies"
        " (BRIDGE_TRUSTED_PROXIES); in a webhook or a job track with visitor=bridge.unseal(token);"
        " if only you have visited, nothing is wrong: your own address is this machine's or a"
        " private one, which is never sent; visitors' are"
    )


def _advise_of_merging(row: Row) -> str:
    meta = row.meta
    key = next((key for key in meta.keys if key.name == "event_id"), None) if meta else None
    if key is None or key.merged is None or key.merged >= GOAL:
        return ""
    head = f"deduplication by event_id is {_percent(key.merged)}: "
    if key.browser is not None and key.browser < NEARLY_ALL:
        return head + (
            f"only {_percent(key.browser)} of browser events carry one: load bridge.js ahead of"
            " the page's own pixel, or fire with fbq('track', name, data, {eventID: id})"
        )
    if key.server is not None and key.server < NEARLY_ALL:
        if row.ours.delivered < MANY:
            return ""
        return head + (
            f"only {_percent(key.server)} of server events carry one, and all of ours do: another"
            " integration sends this event too; turn it off"
        )
    if meta is not None and meta.coverage is not None and meta.coverage < GOAL:
        return head + _explain_coverage(row)
    return head + (
        "both sides carry one and they differ: give track() the order's id as event_id, and let"
        " the script fire its browser copy instead of a snippet or a tag manager"
    )


def _advise_of_coverage(row: Row) -> str:
    meta = row.meta
    if meta is None or meta.coverage is None or meta.coverage >= (meta.goal or GOAL):
        return ""
    if any(key.name == "event_id" and key.merged is not None for key in meta.keys):
        return ""  # said with the merging
    goal = _percent(meta.goal or GOAL)
    return f"the server covers {_percent(meta.coverage)} of browser events, goal {goal}: " + (
        _explain_coverage(row)
    )


def _explain_coverage(row: Row) -> str:
    refused = sum(row.skipped.values())
    if refused > row.ours.stored:
        reasons = ", ".join(f"{reason} {number:,}" for reason, number in row.skipped.items())
        return f"we skipped {refused:,} of them ({reasons}); does the pixel fire without consent?"
    return (
        "most browser events have no server copy: put bridge.script_tag() on every page that"
        " fires this event, ahead of its own pixel; a custom event also into custom_events"
    )


def _advise_of_email(row: Row) -> str:
    known = _read_best(row, "em")
    if row.event_name not in OF_CUSTOMERS or known is None or known >= KNOWN:
        return ""
    gain = (
        next((each.gain for each in row.meta.identifiers if each.name == "em"), "")
        if (row.meta)
        else ""
    )
    return (
        f"the e-mail address is known for {_percent(known)}: call identify(email=...) before"
        " track() in the handler that takes it, such as the checkout's or the login's"
        + (f" ({gain.rstrip('.')})" if gain else "")
    )


def _advise_of_external_id(row: Row) -> str:
    known = _read_ours(row, "external_id")
    if known is None or known >= NEARLY_ALL:
        return ""
    return (
        f"external_id is known for {_percent(known)}: track() was called for nobody; pass"
        " visitor=bridge.unseal(token) in a webhook, bridge.person(user_id) where no browser is"
    )


def _advise_of_browser_id(row: Row) -> str:
    known = _read_ours(row, "fbp")
    if known is None or known >= GOAL or (_read_ours(row, "external_id") or 0.0) < NEARLY_ALL:
        return ""
    return (
        f"fbp is known for {_percent(known)}: these events come from no browser; keep"
        " visitor.seal() with the order, and pass visitor=bridge.unseal(token) later"
    )


def _advise_of_silence(row: Row) -> str:
    told, unknown = sum(row.copies.values()), row.copies.get("unknown", 0)
    expected = max(row.ours.expected, told)
    silent = expected - told + unknown
    if expected < FEW or 100 * silent / expected <= SILENT:
        return ""
    return (
        f"nothing was heard of {silent:,} of {expected:,} browser copies: does the page that"
        " follows the event carry bridge.script_tag(), and does its policy allow"
        " bridge.csp_directives()?"
    )


def _advise_of_delay(row: Row) -> str:
    late = row.ours.read_delay(0.95)
    slow = row.meta.freshness if row.meta is not None else ""
    if late is not None and late > LATE:
        return (
            "5 % were accepted more than an hour after the event: does a sender run all the time"
            " (run_sender, pixel-bridge worker)? pixel-bridge status shows what waits"
        )
    if slow in ("", "real_time") or (row.ours.stored >= FEW and late is not None):
        return ""
    return f"Meta calls these {slow}: send them as they happen, with track() in the handler"


def _advise_of_phone(row: Row) -> str:
    known, email = _read_best(row, "ph"), _read_best(row, "em")
    if row.event_name not in OF_CUSTOMERS or known is None or known > 0 or (email or 0) < KNOWN:
        return ""
    return "no phone number is sent: a checkout that asks for one can call identify(phone=...)"


def _advise_of_ipv6(row: Row) -> str:
    found = _find_diagnostic(row, "ipv6")
    if found is None:
        return ""
    return (
        f"{_percent(found.percentage)} of server copies carry IPv4 where IPv6 is possible: give"
        " the site an AAAA record (Bridge then prefers a visitor's IPv6), and turn a CDN's"
        " pseudo IPv4 off"
    )


def _advise_of_others(row: Row) -> str:
    """Say where Meta sees less than we deliver: somebody else sends this event too."""
    if row.meta is None or row.ours.delivered < MANY:
        return ""
    for identifier in IDENTIFIERS:
        ours, metas = _read_delivered(row, identifier), row.meta.read_coverage(identifier)
        if ours is not None and metas is not None and ours - metas > APART and metas > 0:
            return (
                f"we delivered {identifier} with {_percent(ours)} and Meta sees {_percent(metas)}:"
                " another integration (a gateway, a shop's plugin) sends this event too, or the"
                " setting is newer than Meta's days"
            )
    return ""


def _advise_of_rest(row: Row) -> str:
    rest = [
        f"Meta says: {each.name} ({_percent(each.percentage)}); {each.solution}".rstrip("; ")
        for each in (row.meta.diagnostics if row.meta else ())
        if not any(word in each.name.lower() for word in ("mismatch", "ipv6"))
    ]
    return "; ".join(rest[:3])


_RULES: tuple[Callable[[Row], str], ...] = (
    _advise_of_lost,
    _advise_of_dead,
    _advise_of_address,
    _advise_of_merging,
    _advise_of_coverage,
    _advise_of_email,
    _advise_of_external_id,
    _advise_of_browser_id,
    _advise_of_silence,
    _advise_of_delay,
    _advise_of_phone,
    _advise_of_ipv6,
    _advise_of_others,
    _advise_of_rest,
)


def _find_diagnostic(row: Row, word: str) -> Diagnostic | None:
    """Return what Meta found, by a word of its name: Meta gives no code, and words change."""
    found: Iterator[Diagnostic] = (
        each for each in (row.meta.diagnostics if row.meta else ()) if word in each.name.lower()
    )
    return next(found, None)


def _read_ours(row: Row, identifier: str) -> float | None:
    return row.read_coverage(identifier) if row.ours.stored >= FEW else None


def _read_delivered(row: Row, identifier: str) -> float | None:
    """Return the least per cent of our delivered copies that carry ``identifier``.

    It is counted when they are stored: those that were not delivered may all have carried it.
    """
    delivered = min(row.ours.delivered, row.ours.stored)
    if not delivered:
        return None
    undelivered = row.ours.stored - delivered
    return 100 * max(row.ours.coverage.get(identifier, 0) - undelivered, 0) / delivered


def _read_best(row: Row, identifier: str) -> float | None:
    """Return our own figure, which is exact; Meta's if we sent too few."""
    ours = _read_ours(row, identifier)
    if ours is not None or row.meta is None:
        return ours
    return row.meta.read_coverage(identifier)


def _percent(value: float | None) -> str:
    return "some" if value is None else f"{value:.0f} %"
