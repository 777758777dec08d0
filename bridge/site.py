"""``Site``: the one path of an event, for one shop.

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
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Literal, TypedDict, Unpack

import msgspec
from starlette.datastructures import Secret
from starlette.requests import HTTPConnection

from bridge.browser.limits import RATE_LIMIT, Limits, Recent
from bridge.browser.origins import parse_origins
from bridge.browser.reports import EventNames
from bridge.browser.script import PIXEL_SCRIPT_URL, Script, ScriptTag
from bridge.browser.script_cookies import Twin
from bridge.browser.words import ConsentChoice, ConsentState
from bridge.dashboard.guard import Allow
from bridge.delivery.erasure import find_people
from bridge.delivery.mistakes import NearMisses, build_placeholder
from bridge.delivery.pipeline import Pipeline
from bridge.destinations.base import EncodingContext
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
from bridge.figures.words import DEAD, EXPECTED
from bridge.outbox.base import Erased, Outbox
from bridge.visitor.bots import is_robot
from bridge.visitor.connection import SiteRules
from bridge.visitor.consent import Consent
from bridge.visitor.cookies import MAX_AGE, parse_host
from bridge.visitor.identity import (
    CACHE_SIZE,
    CACHE_SIZE_OF_SHOP,
    Identity,
    SessionSigner,
)
from bridge.visitor.ip import parse_networks
from bridge.visitor.seal import MAX_AGE as SEAL_MAX_AGE
from bridge.visitor.seal import Sealed, Sealer
from bridge.visitor.signing import TwinQuestions, read_keys
from bridge.visitor.visitor import VISITOR, Visitor, current_visitor
from bridge.visitor.visits import Visits

logger = logging.getLogger("bridge.core")

_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")

# Half of Meta's window, in which two copies with one name and event id are merged.
COPY_SECONDS = 86_400.0
MAX_COPIED = 10_000  # events that are known to have had a browser copy


class SiteOptions(TypedDict, total=False):
    """What may differ from site to site; ``Bridge`` describes each."""

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
    custom_events: str | Iterable[str]
    rate_limit: float
    allowed_origins: str | Iterable[str]
    catalog: Catalog | None
    allow_personal: str | Iterable[str]
    allowed_hosts: str | Iterable[str]
    follow_segment: bool | None
    on_invalid: Literal["raise", "log"]
    advanced_matching: bool
    dashboard: Allow | None
    path: str


class AppOptions(SiteOptions, total=False):
    """What an app has once, be it one shop or many; ``Bridge`` describes each."""

    secret_key: str | Secret | Sequence[str | Secret]
    outbox: str | Outbox
    spool: str | None
    run_sender: bool
    dead_letter_days: float
    remember_days: float


class Site:
    """One shop: its visitors, its pages and its events. ``Bridge`` is one, ``Shops`` has many.

    Args:
        secret_key: As for ``Bridge``.
        destinations: Where server copies go.
        pipeline: Takes them there.
        **options: As for ``Bridge``.

    Attributes:
        destinations: Where server copies go.
        counters: What happened in this process.

    Raises:
        ConfigError: A value is wrong; the message says which and why.
    """

    def __init__(
        self,
        secret_key: str | Secret | Sequence[str | Secret],
        destinations: Destinations,
        pipeline: Pipeline,
        *,
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
        custom_events: str | Iterable[str] = (),
        rate_limit: float = RATE_LIMIT,
        allowed_origins: str | Iterable[str] = (),
        catalog: Catalog | None = None,
        allow_personal: str | Iterable[str] = (),
        allowed_hosts: str | Iterable[str] = (),
        follow_segment: bool | None = None,
        on_invalid: Literal["raise", "log"] = "raise",
        advanced_matching: bool = False,
        dashboard: Allow | None = None,
        path: str = "",
    ) -> None:
        if not prefix.startswith("/") or prefix.endswith("/") or not prefix.isascii():
            raise ConfigError(f"prefix must be a path like /_bridge, got {prefix!r}")
        if path and not _PATH.fullmatch(path):
            raise ConfigError(f"path must be like /de, got {path!r:.80}")
        prefix = path + prefix
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
        self.destinations = destinations
        self.counters = pipeline.counters
        self._pipeline = pipeline
        self._endpoints: Any = None  # made when a request asks for one of them
        self._browser_hold = browser_hold
        event_catalog = catalog or _default_catalog()
        self._near_misses = NearMisses(event_catalog)
        self._pixel_ids = self.destinations.pixel_ids
        # Where the server knows Segment's names, pages do too.
        knows_segment = catalog is not None or self.destinations.segment is not None
        table = event_catalog.to_json() if knows_segment else None
        followed = consent.cookie if isinstance(consent, Consent) else None
        self._script = Script(
            prefix,
            pixel_script_url,
            self._pixel_ids,
            table=table,
            consent_cookie=followed or "",
            cookie_path=path or "/",
        )
        self._event_names = EventNames(custom_events)
        self._origins = parse_origins(allowed_origins)
        self._rate_limit = rate_limit
        self._limits = Limits(rate_limit)
        self._copied = Recent(MAX_COPIED)  # events that had a browser copy
        self._path = path
        self._prefix = prefix
        self._inside = f"{prefix}/"
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
                cookie_path=path or "/",
                shares_domain=bool(destinations.shop),
            ),
            SessionSigner(
                keys,
                max_age=session_max_age,
                cache_size=CACHE_SIZE_OF_SHOP if destinations.shop else CACHE_SIZE,
            ),
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

    @staticmethod
    def of(visitor: Visitor) -> Site:
        """Return the site that ``visitor`` belongs to."""
        owner = visitor.visits.owner
        if not isinstance(owner, Site):
            raise UsageError("this visitor belongs to no bridge")
        return owner

    @property
    def outbox(self) -> Outbox:
        """Where deliveries wait."""
        return self._pipeline.outbox

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
        is_own = visitor is not None and visitor.visits is self._visits
        # A site's path is one of the host: it has the mount in it.
        root_path = visitor.root_path if visitor and is_own and not self._path else ""
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
        visitor = self._check(visitor or current_visitor())
        return self._enricher.complete_any(event, visitor, now=time.time())

    def explain(self, event: Mapping[str, Any], *, visitor: Visitor | None = None) -> Explanation:
        """Return ``event`` as it would go out, as the function ``explain`` does."""
        visitor = visitor or VISITOR.get()
        if visitor is None:
            visitor = Visitor(self._visits, EXAMPLE)
        self._check(visitor)
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
        visitor = self._check(visitor or current_visitor())
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
            context = msgspec.structs.replace(
                context, reaches_meta=destinations.reach_meta, test_event_code=test_event_code
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
        outcome: Outcome | None = None
        now = time.time()
        try:
            try:
                deliveries = destinations.build_deliveries(
                    event, context, due=now + hold, has_given_id=event_id is not None
                )
            except InvalidEventError as error:
                return await self._keep_invalid(name, event_id, error, visitor, destinations)
            outcome = await self._pipeline.intake.put(
                deliveries,
                now,
                connection=connection,
                may_lose=connection is None,
                event=event,
                copied=destinations.pixel_names if twin else (),
            )
        finally:
            if outcome is None:
                visitor.detach_twin(twin)
        if twin is not None and not await self._has_copy(
            event, twin, outcome, destinations.pixel_names, is_given=event_id is not None
        ):
            visitor.detach_twin(twin)
        event.settle(outcome)
        return event

    async def _has_copy(
        self, event: Event, twin: Twin, outcome: Outcome, pixels: Sequence[str], *, is_given: bool
    ) -> bool:
        """Return whether the browser is to fire a copy of an event that was tracked.

        Of a duplicate, too, if none has had one and Meta would merge it at each of the pixels: a
        webhook may have been there before the page that says thanks. Where this process cannot know
        that one had, the script does: it fires the copies of one id once.
        """
        key, now = (event.event_name, event.event_id), time.time()
        if outcome != "duplicate":
            if not twin.question:  # else it may still be rolled back
                self._copied.add(key)
            return True
        if not is_given or key in self._copied:
            return False
        try:
            for each in pixels:
                if not await self.outbox.has(*key, now, destinations=[each], within=COPY_SECONDS):
                    return False
        except OutboxError as error:
            logger.warning("a duplicate gets no browser copy: %s", error)
            return False
        if not self._copied.add(key):
            return False  # another request was faster
        for each in pixels:
            # Nobody expected it when the event was stored.
            self._pipeline.figures.note(each, event.event_name, EXPECTED, now)
        return True

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
        visitor = self._check(visitor or current_visitor())
        loop = self._pipeline.loop
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
        visitor = self._check(visitor or current_visitor())
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
            is_kept = await self._pipeline.mistakes.bury(event, deliveries, now)
            for each in deliveries if is_kept else ():
                self._pipeline.figures.note(each.destination, event.event_name, DEAD, now)
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
        found = find_people(user_id=user_id, external_id=external_id, email=email)
        return await self._pipeline.erase(self.destinations.build_subjects(None, found))

    # For the middleware and the endpoints

    async def _settle(self, visitor: Visitor) -> None:
        """Do what the end of a request asks for, if a visitor denied or was identified in it."""
        if visitor.is_denied:
            await self._withdraw(visitor)
        await self._send_identity(visitor)

    async def _withdraw(self, visitor: Visitor) -> None:
        """Take back what waits for a visitor who denies; again is harmless."""
        for identity in visitor.take_denied():
            people = [read_browser(identity), identity.external_id]
            subjects = self.destinations.build_subjects(None, filter(None, people))
            if not await self._pipeline.withdraw(subjects):
                visitor.keep_denied()

    async def _release(self, event_name: str, event_id: str, subjects: bytes) -> bool:
        """End the hold of an event of one of ``subjects``; return whether it was held."""
        return await self._pipeline.release(event_name, event_id, subjects, self.destinations.names)

    async def _has(self, event_name: str, event_id: str) -> bool:
        """Return whether an event of this site is stored."""
        names = self.destinations.names
        return await self.outbox.has(event_name, event_id, time.time(), destinations=names)

    async def _skips(self, event: Event, visitor: Visitor) -> bool:
        """Return whether ``event`` must not be sent, and count it if so."""
        reason = visitor.skip_reason
        user_agent = visitor.user_agent
        if reason is None and user_agent and await is_robot(user_agent):
            visitor.ignore(reason := "bot")
        if reason is None:
            return False
        self.counters[f"skipped_events.{reason}"] += 1
        self._pipeline.figures.note_skipped(event.event_name, reason, time.time())
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
            await self._pipeline.intake.put(deliveries, now, connection=connection, may_lose=lose)

    def _check(self, visitor: Visitor) -> Visitor:
        """Return ``visitor``; raise ``UsageError`` if another shop knows it, and we may not."""
        if Site.of(visitor).destinations.shop != self.destinations.shop:
            raise UsageError("this visitor belongs to another shop")
        return visitor

    def take_over(self, before: Site) -> None:
        """Go on with what the site that this one replaces knows of its visitors."""
        self._copied = before._copied
        if before._rate_limit == self._rate_limit:
            self._limits = before._limits

    def __repr__(self) -> str:
        return f"{type(self).__name__}(destinations={self.destinations.names})"


def _read_paths(paths: str | Iterable[str]) -> list[str]:
    """Return path prefixes; a single text is one path, not its letters."""
    listed = [paths] if isinstance(paths, str) else list(paths)
    for path in listed:
        if not path.startswith("/"):
            raise ConfigError(f"exclude_paths must be like ['/static'], got {path!r}")
    return listed


@cache
def _default_catalog() -> Catalog:
    """Return the table of all sites that have no rows of their own."""
    return Catalog()


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
