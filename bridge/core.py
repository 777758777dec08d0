"""``Bridge``: the one path of an event.

1. A request comes: the middleware wraps its scope as a ``Visitor``. Nothing else is read until a
   handler asks for something, or the response must set a cookie.
2. A handler calls ``enrich`` or ``track``: what it gives is laid over what is known of the visitor,
   personal data is hashed, and the event is checked as Meta checks it.
3. ``track`` has each destination encode the event, and stores one ``Delivery`` each.
4. The browser copy is attached to the visitor, and travels with the response.
5. The sender delivers; its verdicts go back to the outbox.

Data flows up in three places only: verdicts (destination → sender → outbox), acknowledgements
(browser → outbox) and cookies (visitor → response headers).
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypedDict, Unpack

from starlette.datastructures import Secret
from starlette.requests import HTTPConnection

from bridge.browser.limits import RATE_LIMIT, Limits
from bridge.browser.origins import parse_origins
from bridge.browser.reports import EventNames
from bridge.browser.script import PIXEL_SCRIPT_URL, Script, ScriptTag
from bridge.browser.words import ConsentChoice, ConsentState
from bridge.dashboard.guard import Allow
from bridge.delivery.erasure import find_subjects
from bridge.delivery.intake import Intake
from bridge.delivery.metrics import Metrics
from bridge.delivery.mistakes import Mistakes, NearMisses, build_placeholder
from bridge.delivery.sender import DEAD_LETTER_DAYS, Sender
from bridge.delivery.spool import SPOOL, Spool
from bridge.destinations.base import Destination, EncodingContext
from bridge.destinations.group import Destinations, read_browser
from bridge.enrichment import Enricher
from bridge.errors import ConfigError, InvalidEventError, OutboxError, UsageError
from bridge.events.catalog import Catalog
from bridge.events.event import (
    ActionSource,
    Event,
    Outcome,
    UserData,
    read_day,
    read_user_id,
)
from bridge.events.normalizers import check_phone_support
from bridge.events.reader import EventReader
from bridge.events.tripwire import Tripwire
from bridge.events.urls import PRIVATE_PARAMETERS, normalize_parameters
from bridge.events.user_data import PersonalData
from bridge.explain.explainer import EXAMPLE, Explainer, Explanation
from bridge.figures.counter import FigureCounter
from bridge.figures.words import DEAD
from bridge.outbox.base import Erased, Outbox, build_subjects
from bridge.outbox.engines import open_outbox
from bridge.outbox.sqlite.outbox import SQLiteOutbox
from bridge.settings import build_from
from bridge.visitor.bots import is_robot
from bridge.visitor.connection import SiteRules
from bridge.visitor.consent import Consent
from bridge.visitor.cookies import MAX_AGE, parse_host
from bridge.visitor.identity import Identity, SessionSigner
from bridge.visitor.ip import parse_networks
from bridge.visitor.seal import MAX_AGE as SEAL_MAX_AGE
from bridge.visitor.seal import Sealed, Sealer
from bridge.visitor.signing import TwinQuestions, read_keys
from bridge.visitor.visitor import VISITOR, Visitor, current_visitor
from bridge.visitor.visits import Visits

logger = logging.getLogger("bridge.core")

DRAIN_DEADLINE = 5.0  # seconds that a shutdown waits for what is due
TELLING = 1.0  # seconds that counting what waits may take at the end


class BridgeOptions(TypedDict, total=False):
    """The arguments of ``Bridge``, as ``Bridge.from_env`` takes them; see there."""

    secret_key: str | Secret | Sequence[str | Secret]
    destinations: Sequence[Destination]
    outbox: str | Outbox
    spool: str | None
    prefix: str
    pixel_script_url: str
    browser_hold: float
    trusted_proxies: str | Sequence[str]
    client_ip_header: str
    cookie_domain: str | None
    session_max_age: int
    private_parameters: str | Iterable[str]
    exclude_paths: str | Iterable[str]
    ignore: Callable[[HTTPConnection], str | None] | None
    consent: ConsentState | Consent
    phone_region: str | None
    run_sender: bool
    custom_events: str | Iterable[str]
    rate_limit: float
    allowed_origins: str | Iterable[str]
    catalog: Catalog | None
    allow_personal: str | Iterable[str]
    allowed_hosts: str | Iterable[str]
    follow_segment: bool | None
    on_invalid: Literal["raise", "log"]
    dead_letter_days: float
    advanced_matching: bool
    dashboard: Allow | None


class Bridge:
    """Everything, built once for an app.

    Args:
        secret_key: Signs the session cookie: at least 32 bytes, or a list of such, newest last.
        destinations: Where server copies go, such as ``[Meta(...)]``.
        outbox: Where they wait: a URL such as ``sqlite:///bridge.db``, or an outbox.
        spool: A file on this machine that takes what an outbox on another one could not store, and
            moves it there later; ``None`` for none. An outbox in a file needs none.
        prefix: The path below which the script and its endpoints are served.
        pixel_script_url: Where browsers load the pixel's library from.
        browser_hold: Seconds that a server copy waits for its browser copy to be fired. Meta merges
            on external id and fbp only if the browser copy comes first.
        trusted_proxies: Addresses or CIDR ranges whose headers are believed.
        client_ip_header: The header with the client's address that they set:
            ``X-Forwarded-For``, ``Forwarded``, or a vendor's such as ``CF-Connecting-IP``.
        cookie_domain: Where our cookies live; the registrable domain by default.
        session_max_age: Seconds after which a session that was not renewed is ignored.
        private_parameters: Query parameters to remove from URLs, in addition to the usual ones for
            tokens and personal data.
        exclude_paths: Paths, with everything below them, whose requests are ignored.
        ignore: Returns why a request is ignored, or ``None``.
        consent: What may be done: one state for everyone, or a ``Consent`` that decides.
        phone_region: The country of phone numbers without a country code, ISO 3166-1 alpha-2;
            needs ``pixel-bridge[phone]``.
        run_sender: Whether this process delivers; ``False`` where ``pixel-bridge worker`` does.
        custom_events: Names that browsers may report besides Meta's standard events; ``*`` for any.
        rate_limit: Events a minute that one session may report from the browser; twice as many at
            once, ten times as many from one address; 0 for no limit.
        allowed_origins: Origins other than our own whose pages may use our endpoints (CORS), such
            as ``https://www.example.com`` where we are on ``api.example.com``.
        catalog: Names and parameters of events, Segment's and Meta's; with an app's own rows.
        allow_personal: Properties that look like personal data but are not; see ``Tripwire``.
        allowed_hosts: The hosts of the site, such as ``shop.example.com``; ``*.example.com`` for
            all below it. With another ``Host`` a request gets no URL and no cookie domain. By
            default any host counts: name them unless a proxy in front checks it.
        follow_segment: Whether the anonymous id in Segment's cookie is used; by default if there is
            a ``Segment`` destination. Turn it on if the app itself sends messages to Segment.
        on_invalid: What ``track`` does with an event that Meta would refuse: ``raise``, or in
            production ``log``: one error line, a counter and a dead letter, and the page goes on.
        dead_letter_days: Days after which the sender deletes a dead letter.
        advanced_matching: Whether server copies of a page's events also carry what the page gave
            its pixel's ``init``, such as ``em``: hashed by the pixel, in the browser.
        dashboard: Says who may see the dashboard below the prefix, ``True`` or ``False`` for a
            request, such as ``lambda connection: connection.user.is_admin``; may be a coroutine
            function. Without it there is none.

    Raises:
        ConfigError: A value is wrong; the message says which and why.
    """

    def __init__(
        self,
        secret_key: str | Secret | Sequence[str | Secret],
        destinations: Sequence[Destination],
        *,
        outbox: str | Outbox = "sqlite:///bridge.db",
        spool: str | None = SPOOL,
        prefix: str = "/_bridge",
        pixel_script_url: str = PIXEL_SCRIPT_URL,
        browser_hold: float = 10.0,
        trusted_proxies: str | Sequence[str] = (),
        client_ip_header: str = "X-Forwarded-For",
        cookie_domain: str | None = None,
        session_max_age: int = MAX_AGE,
        private_parameters: str | Iterable[str] = (),
        exclude_paths: str | Iterable[str] = (),
        ignore: Callable[[HTTPConnection], str | None] | None = None,
        consent: ConsentState | Consent = "granted",
        phone_region: str | None = None,
        run_sender: bool = True,
        custom_events: str | Iterable[str] = (),
        rate_limit: float = RATE_LIMIT,
        allowed_origins: str | Iterable[str] = (),
        catalog: Catalog | None = None,
        allow_personal: str | Iterable[str] = (),
        allowed_hosts: str | Iterable[str] = (),
        follow_segment: bool | None = None,
        on_invalid: Literal["raise", "log"] = "raise",
        dead_letter_days: float = DEAD_LETTER_DAYS,
        advanced_matching: bool = False,
        dashboard: Allow | None = None,
    ) -> None:
        if not prefix.startswith("/") or prefix.endswith("/") or not prefix.isascii():
            raise ConfigError(f"prefix must be a path like /_bridge, got {prefix!r}")
        if not 0 <= browser_hold <= 3600:
            raise ConfigError(f"browser_hold must be 0 to 3600 seconds, got {browser_hold}")
        if not re.fullmatch(r"https?://[A-Za-z0-9._~:/?&=%\[\]-]+", pixel_script_url):
            raise ConfigError(f"pixel_script_url must be a URL, got {pixel_script_url!r}")
        if not isinstance(catalog, Catalog | None):
            raise ConfigError(
                f"catalog must be a Catalog such as Catalog([...]), got {type(catalog).__name__}"
            )
        if not 0 <= rate_limit < float("inf"):
            raise ConfigError(f"rate_limit must be 0 or more events a minute, got {rate_limit}")
        if cookie_domain is not None and not parse_host(cookie_domain.strip(".").encode()):
            raise ConfigError(f"cookie_domain must be like example.com, got {cookie_domain!r}")
        if on_invalid not in ("raise", "log"):
            raise ConfigError(f"on_invalid must be raise or log, got {on_invalid!r:.40}")
        if not (dashboard is None or callable(dashboard)):
            raise ConfigError(
                "dashboard must be a function that says who may see it, got"
                f" {type(dashboard).__name__}"
            )
        self._allow_dashboard = dashboard
        self._on_invalid = on_invalid
        self._takes_matching = advanced_matching
        self.outbox = open_outbox(outbox) if isinstance(outbox, str) else outbox
        self.destinations = Destinations(destinations)
        self.counters: Counter[str] = Counter()
        self._metrics = Metrics(self.destinations.names, self.counters)
        self._figures = FigureCounter(self.outbox, self._metrics.add)
        self._sender = Sender(
            self.outbox,
            self.destinations,
            metrics=self._metrics,
            figures=self._figures,
            dead_letter_days=dead_letter_days,
        )
        self._mistakes = Mistakes(self.outbox)
        is_file = isinstance(self.outbox, SQLiteOutbox)
        self._spool = None if spool is None or is_file else Spool(spool, self.outbox)
        self._intake = Intake(self.outbox, self._metrics, self._figures, self._spool)
        self._run_sender = run_sender
        self._browser_hold = browser_hold
        event_catalog = catalog or Catalog()
        self._near_misses = NearMisses(event_catalog)
        self._pixel_ids = self.destinations.pixel_ids
        # Where the server knows Segment's names, pages do too.
        knows_segment = catalog is not None or self.destinations.segment is not None
        table = event_catalog.to_json() if knows_segment else None
        followed = consent.cookie if isinstance(consent, Consent) else None
        self._script = Script(
            prefix, pixel_script_url, self._pixel_ids, table=table, consent_cookie=followed or ""
        )
        self._event_names = EventNames(custom_events)
        self._origins = parse_origins(allowed_origins)
        self._limits = Limits(rate_limit)
        self._prefix = prefix
        private = PRIVATE_PARAMETERS | normalize_parameters(private_parameters)
        self._event_reader = EventReader(
            event_catalog,
            Tripwire(allow_personal),
            phone_region=check_phone_support(phone_region) if phone_region else None,
            private_parameters=private,
        )
        self._enricher = Enricher(self._event_reader, self.destinations, counters=self.counters)
        self._explainer = Explainer(self._event_reader, self.destinations)
        keys = read_keys(secret_key)
        self._visits = Visits(
            SiteRules(
                trusted_proxies=parse_networks(trusted_proxies),
                client_ip_header=client_ip_header.strip().lower().encode(),
                cookie_domain=cookie_domain.lower().strip(".") if cookie_domain else None,
                private_parameters=private,
                has_segment=(
                    self.destinations.segment is not None
                    if follow_segment is None
                    else follow_segment
                ),
                allowed_hosts=_read_hosts(allowed_hosts),
            ),
            SessionSigner(keys, max_age=session_max_age),
            Sealer(keys),
            TwinQuestions(keys),
            consent if isinstance(consent, Consent) else Consent(default=consent),
            # A health probe is nobody's visit, nor is a look at the dashboard.
            exclude_paths=[
                *_read_paths(exclude_paths),
                *(f"{prefix}/{path}" for path in ("health", "dashboard")),
            ],
            ignore=ignore,
            counters=self.counters,
            owner=self,
        )
        self._loop: asyncio.AbstractEventLoop | None = None

    @staticmethod
    def of(visitor: Visitor) -> Bridge:
        """Return the bridge that ``visitor`` belongs to."""
        owner = visitor.visits.owner
        if not isinstance(owner, Bridge):
            raise UsageError("this visitor belongs to no bridge")
        return owner

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str] | None = None, **options: Unpack[BridgeOptions]
    ) -> Bridge:
        """Return the bridge that the ``BRIDGE_*`` variables describe.

        Args:
            environ: The variables; the process's own environment by default.
            options: Arguments of ``Bridge``; they take precedence over the variables. ``catalog``,
                ``ignore`` and the like can only be given here.

        Raises:
            ConfigError: A variable is missing or wrong; the message names it.
        """
        return build_from(cls, os.environ if environ is None else environ, **options)

    # The app's life

    async def __aenter__(self) -> Bridge:
        """Run the sender, for a script that has no app around it."""
        self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        """Deliver what is due, and close the outbox."""
        await self.stop()

    def start(self) -> None:
        """Start the sender, if it is to run here, on the running event loop; again is harmless."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise UsageError(
                "Bridge runs on asyncio, and this app does not: serve it with uvicorn, granian, or"
                " hypercorn with --worker-class asyncio"
            ) from None
        # A sender on a loop that lives, in another thread, delivers for this one, too.
        if self._loop is None or (self._loop is not loop and not self._loop.is_running()):
            self._loop = loop
            self._metrics.publish()
            self._figures.start()
            if self._spool is not None:
                self._spool.start()
            if self._run_sender:
                self._sender.start()

    async def stop(self, deadline: float = DRAIN_DEADLINE) -> None:
        """Deliver what is due, for at most ``deadline`` seconds, and close the outbox."""
        end = time.monotonic() + deadline
        if self._spool is not None:
            await self._spool.stop(deadline)
        await self._sender.stop(max(0.0, end - time.monotonic()))
        await self._figures.stop()
        if self._loop is not None and self._run_sender:
            await self._tell_what_waits()
        await self.outbox.close()
        self._loop = None

    async def _tell_what_waits(self) -> None:
        """Log how many events are left: where the outbox goes with a container, they are lost."""
        try:
            async with asyncio.timeout(TELLING):
                if not await self.outbox.lead(self.destinations.names):
                    return  # another process delivers it
                counts = await self.outbox.count(time.time())
        except (OutboxError, TimeoutError):
            return
        if waiting := sum(each.waiting for each in counts.values()):
            logger.warning(
                "stopped, and %d deliveries wait in %r for the next process that uses it",
                waiting,
                self.outbox,
            )

    # A page

    def script_tag(
        self,
        *,
        nonce: str | None = None,
        integrity: bool = True,
        origin: str | None = None,
        noscript: bool = False,
    ) -> ScriptTag:
        """Return the tag that loads the script, for templates.

        It holds nothing about the visitor, so a page with it may be cached for everyone. Its URL
        changes with the script, and browsers keep the script for a year.

        Args:
            nonce: The one in the page's Content-Security-Policy.
            integrity: Whether the browser refuses a script with other content. Turn it off for
                pages that a cache keeps longer than you keep a release: they would run no script.
            origin: Where the script is served, if not on the page's own origin, such as
                ``https://api.example.com``.
            noscript: Whether visitors without JavaScript load an image, for which the server sends
                a PageView. It belongs into the page's body.

        Raises:
            ConfigError: ``nonce`` or ``origin`` is malformed.
        """
        visitor = VISITOR.get()
        root_path = visitor.root_path if visitor and visitor.visits is self._visits else ""
        return self._script.build_tag(
            root_path=root_path, nonce=nonce, integrity=integrity, origin=origin, noscript=noscript
        )

    def csp_directives(
        self, *, nonce: str | None = None, strict_dynamic: bool = False, origin: str | None = None
    ) -> dict[str, list[str]]:
        """Return what a page's Content-Security-Policy must allow: directive → sources to add.

        If the policy lacks one of these directives, repeat the sources of its ``default-src``.

        Args:
            nonce: As in ``script_tag``.
            strict_dynamic: Whether the policy trusts what a script with the nonce loads.
            origin: As in ``script_tag``.

        Raises:
            ConfigError: ``nonce`` or ``origin`` is malformed, or ``strict_dynamic`` has no nonce.
        """
        return self._script.build_csp(nonce=nonce, strict_dynamic=strict_dynamic, origin=origin)

    # Beyond the request

    def unseal(self, token: str | None, *, max_age: float = SEAL_MAX_AGE) -> Visitor:
        """Return the visitor in ``token``, for ``enrich`` and ``track`` in a webhook or a job.

        Args:
            token: What ``visitor.seal()`` returned, on any machine with the same secret key.
            max_age: How old it may be, in seconds; 30 days by default.

        Raises:
            InvalidTokenError: It is expired, altered, sealed with other keys, or no token at all.
        """
        sealed = self._visits.sealer.open(token, max_age=max_age, now=time.time())
        return Visitor(self._visits, sealed)

    def person(
        self,
        user_id: str | int | None = None,
        *,
        consent: ConsentChoice = "granted",
        **user_data: Unpack[PersonalData],
    ) -> Visitor:
        """Return a visitor for what no browser does: a renewal, a call, a lead from a CRM.

        ``await bridge.track("Purchase", ..., visitor=person, action_source="system_generated")``.
        For an order of the web shop use ``seal`` and ``unseal``: they keep the browser's ids.

        Args:
            user_id: The site's own id of the user.
            consent: What the person agreed to; ``denied`` skips every event.
            user_data: As for ``identify``; hashed at once.

        Raises:
            InvalidEventError: ``user_id`` is personal data, or a key is unknown.
        """
        nobody = Identity(anonymous_id="", renewed_at=0)
        reason = "consent_denied" if consent == "denied" else ""
        person = Visitor(self._visits, Sealed(nobody, consent, skip_reason=reason))
        self.identify(user_id, visitor=person, **user_data)
        person.take_identified()
        return person

    # An event

    def enrich(self, event: Mapping[str, Any], *, visitor: Visitor | None = None) -> dict[str, Any]:
        """Return ``event`` completed for its API, as the function ``enrich`` does."""
        visitor = visitor or current_visitor()
        return self._enricher.complete_any(event, visitor, now=time.time())

    def explain(self, event: Mapping[str, Any], *, visitor: Visitor | None = None) -> Explanation:
        """Return ``event`` as it would go out, as the function ``explain`` does."""
        visitor = visitor or VISITOR.get()
        if visitor is None:
            visitor = Visitor(self._visits, EXAMPLE)
        return self._explainer.explain(event, visitor, now=time.time())

    async def track(
        self,
        name: str,
        properties: Mapping[str, Any] | None = None,
        *,
        event_id: str | int | None = None,
        event_time: int | datetime | None = None,
        user_data: Mapping[str, Any] | None = None,
        visitor: Visitor | None = None,
        action_source: ActionSource | None = None,
        event_source_url: str | None = None,
        referrer_url: str | None = None,
        to: str | Iterable[str] | None = None,
        test_event_code: str | None = None,
        connection: Any = None,
    ) -> Event:
        """Store an event for every destination, and ask the browser for its copy.

        The same as the function ``track``, which describes the arguments.
        """
        visitor = visitor or current_visitor()
        given = {
            "event_name": name,
            "event_id": event_id,
            "event_time": event_time,
            "custom_data": properties,
            "user_data": user_data,
            "action_source": action_source,
            "event_source_url": event_source_url,
            "referrer_url": referrer_url,
        }
        destinations = self.destinations.pick(to)
        self._near_misses.note(name)
        try:
            event, context = self._enricher.complete(given, visitor, now=time.time())
            context = context._replace(
                reaches_meta=destinations.reach_meta, test_event_code=test_event_code
            )
        except InvalidEventError as error:
            return await self._keep_invalid(name, event_id, error, visitor, destinations)
        if await self._skips(event, visitor):
            return event
        # The caller's transaction may roll back, and may lock what another would write: who the
        # visitor is gets stored at the end of the request, where there is one.
        if connection is None or not visitor.has_request:
            await self._send_identity(visitor, connection=connection)
        # Before the event is stored: the response may start meanwhile, or other twins may fill it.
        twin = None
        # A twin goes to all pixels of the page.
        if self._pixel_ids and destinations.pixel_ids == self._pixel_ids:
            twin = visitor.attach_twin(event, is_certain=connection is None)
        hold = self._browser_hold if twin else 0.0
        outcome: Outcome = "duplicate"
        try:
            now = time.time()
            try:
                deliveries = destinations.build_deliveries(
                    event, context, due=now + hold, has_given_id=event_id is not None
                )
            except InvalidEventError as error:
                return await self._keep_invalid(name, event_id, error, visitor, destinations)
            outcome = await self._intake.put(
                deliveries,
                now,
                connection=connection,
                may_lose=connection is None,
                event=event,
                copied=destinations.pixel_names if twin else (),
            )
        finally:
            if twin is not None and outcome == "duplicate" and twin in visitor.twins:
                visitor.twins.remove(twin)
        event.settle(outcome)
        self._sender.wake()
        return event

    def track_sync(
        self,
        name: str,
        properties: Mapping[str, Any] | None = None,
        *,
        event_id: str | int | None = None,
        event_time: int | datetime | None = None,
        user_data: Mapping[str, Any] | None = None,
        visitor: Visitor | None = None,
        action_source: ActionSource | None = None,
        event_source_url: str | None = None,
        referrer_url: str | None = None,
        to: str | Iterable[str] | None = None,
        test_event_code: str | None = None,
        connection: Any = None,
    ) -> Event:
        """Do the same as ``track``, from a sync handler that runs in a thread."""
        visitor = visitor or current_visitor()
        loop = self._loop
        try:
            running: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if loop is None or running is not None:
            raise UsageError("track_sync() is for handlers in a thread; here, await track(...)")
        tracked = self.track(
            name,
            properties,
            event_id=event_id,
            event_time=event_time,
            user_data=user_data,
            visitor=visitor,
            action_source=action_source,
            event_source_url=event_source_url,
            referrer_url=referrer_url,
            to=to,
            test_event_code=test_event_code,
            connection=connection,
        )
        return asyncio.run_coroutine_threadsafe(tracked, loop).result()

    def identify(
        self,
        user_id: str | int | None = None,
        *,
        visitor: Visitor | None = None,
        **user_data: Unpack[PersonalData],
    ) -> None:
        """Keep who the visitor is, for this request and the session.

        The same as the function ``identify``, which describes the arguments.
        """
        visitor = visitor or current_visitor()
        text = None if user_id is None else read_user_id(user_id)
        known = self._event_reader.read_user_data(user_data, today=read_day(time.time()))
        visitor.identify(text, UserData(**known))

    async def _keep_invalid(
        self,
        name: object,
        event_id: object,
        error: InvalidEventError,
        visitor: Visitor,
        destinations: Destinations,
    ) -> Event:
        """Keep a mistaken event as a dead letter with the reason; nothing of its content.

        Raises:
            InvalidEventError: ``error`` itself, unless it shall only be logged.
        """
        if self._on_invalid == "raise":
            raise error
        now = time.time()
        event = build_placeholder(name, event_id, error, now=now)
        self.counters["invalid_events"] += 1
        if visitor.skip_reason is None:
            context = EncodingContext(self._event_reader.catalog)
            deliveries = destinations.build_deliveries(event, context, due=now)
            is_kept = await self._mistakes.bury(event, deliveries, now)
            for each in deliveries if is_kept else ():
                self._figures.note(each.destination, event.event_name, DEAD, now)
        return event

    async def erase(
        self,
        *,
        user_id: str | int | None = None,
        external_id: str | None = None,
        email: str | None = None,
    ) -> Erased:
        """Delete what waits, is held or is dead for a person, and return how much that was.

        What was delivered is at its destination: erase it there, too. One of the arguments is
        enough; with several, what has any of them is deleted.

        Args:
            user_id: As given to ``identify``.
            external_id: Raw or hashed, such as ``visitor.external_id``: finds what a browser did
                before it was known whose it is.
            email: Finds the events that carry its hash.

        Raises:
            InvalidEventError: None of them is given, or ``email`` is no address.
            OutboxError: The outbox failed; what it deleted before is deleted.
        """
        subjects = find_subjects(user_id=user_id, external_id=external_id, email=email)
        spooled = Erased() if self._spool is None else await self._spool.erase(subjects)
        stored = await self.outbox.erase(subjects)
        return Erased(spooled.waiting + stored.waiting, spooled.dead + stored.dead)

    # For the middleware and the endpoints

    def _delivers(self) -> bool:
        """Whether this process delivers, or need not."""
        return not self._run_sender or self._loop is None or self._sender.is_delivering

    async def _withdraw(self, visitor: Visitor) -> None:
        """Take back what waits for a visitor who denies; again is harmless."""
        for identity in visitor.take_denied():
            people = [read_browser(identity), identity.external_id]
            subjects = build_subjects(None, filter(None, people))
            if self._spool is not None:
                self.counters["withdrawn"] += await self._spool.withdraw(subjects)
            try:
                self.counters["withdrawn"] += await self.outbox.withdraw(subjects)
            except OutboxError as error:
                if self._spool is not None and await self._spool.keep_withdrawal(
                    subjects, time.time()
                ):
                    continue  # it is done once the outbox works
                logger.error("what waits for a visitor who denied cannot be taken back: %s", error)
                visitor.keep_denied()

    async def _release(self, event_name: str, event_id: str, subjects: bytes) -> bool:
        """End the hold of an event of one of ``subjects``; return whether it was held."""
        now, spooled = time.time(), 0
        if self._spool is not None:
            spooled = await self._spool.release(event_name, event_id, subjects, now)
        return await self.outbox.release(event_name, event_id, subjects, now) + spooled > 0

    async def _skips(self, event: Event, visitor: Visitor) -> bool:
        """Return whether ``event`` must not be sent, and count it if so."""
        reason = visitor.skip_reason
        user_agent = visitor.user_agent
        if reason is None and user_agent and await is_robot(user_agent):
            visitor.ignore(reason := "bot")
        if reason is None:
            return False
        self.counters[f"skipped_events.{reason}"] += 1
        self._figures.note_skipped(event.event_name, reason, time.time())
        event.settle("skipped", reason)
        return True

    async def _send_identity(self, visitor: Visitor, *, connection: Any = None) -> None:
        """Tell the destinations that want to know whom ``identify`` named."""
        before = visitor.take_identified()
        if before is None or visitor.skip_reason is not None:
            return
        now = time.time()
        deliveries = self.destinations.build_identity_deliveries(visitor.identity, before, now)
        if deliveries:
            lose = connection is None
            await self._intake.put(deliveries, now, connection=connection, may_lose=lose)
        self._sender.wake()

    def __repr__(self) -> str:
        return f"Bridge(destinations={self.destinations.names})"


def _read_paths(paths: str | Iterable[str]) -> list[str]:
    """Return path prefixes; a single text is one path, not its letters."""
    listed = [paths] if isinstance(paths, str) else list(paths)
    for path in listed:
        if not path.startswith("/"):
            raise ConfigError(f"exclude_paths must be like ['/static'], got {path!r}")
    return listed


def _read_hosts(hosts: str | Iterable[str]) -> tuple[str, ...]:
    """Return hosts, lower-case; ``*.example.com`` becomes ``.example.com``."""
    listed = [hosts] if isinstance(hosts, str) else list(hosts)
    for host in listed:
        if parse_host(host.removeprefix("*.").encode()) != host.removeprefix("*.").lower():
            raise ConfigError(
                "allowed_hosts must be like ['shop.example.com', '*.example.com'],"
                f" got {host!r:.80}"
            )
    return tuple(host.lower().removeprefix("*") for host in listed)
