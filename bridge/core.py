"""``Bridge``: the one path of an event.

1. A request comes: ``visit`` turns its scope into a ``Capture``, its session cookie into an
   ``Identity``, both into a ``Visitor``.
2. A handler calls ``enrich`` or ``track``: the given fields are laid over what is known of the
   visitor, personal data is hashed, and the whole is checked as Meta checks it.
3. ``track`` has each destination encode the event, and stores one ``Delivery`` each.
4. The event's twin is put on the visitor, and rides to the browser on the response.
5. The sender delivers; its verdicts go back to the outbox.

Data flows up in three places only: verdicts (destination → sender → outbox), acknowledgements
(browser → outbox) and cookies (visitor → response headers).
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from starlette.datastructures import Secret
from starlette.requests import HTTPConnection

from bridge.browser.limits import Limits
from bridge.browser.origins import Origins
from bridge.browser.reports import EventNames
from bridge.browser.script import PIXEL_SCRIPT_URL, Script, ScriptTag
from bridge.browser.script_cookies import PageSettings, SettingsWriter, Twin, read_twin
from bridge.browser.words import ConsentState, CopyState
from bridge.delivery.intake import Intake
from bridge.delivery.metrics import Metrics
from bridge.delivery.sender import Sender
from bridge.destinations.base import Destination
from bridge.destinations.meta import Meta
from bridge.destinations.segment import Segment
from bridge.enrichment import Completed, Enricher
from bridge.errors import ConfigError, InvalidEventError
from bridge.event_rules import EventRules
from bridge.events.catalog import Catalog
from bridge.events.event import Event, is_event_id
from bridge.events.normalizers import check_phone_support
from bridge.events.tripwire import Tripwire
from bridge.events.urls import PRIVATE_PARAMETERS, normalize_parameters
from bridge.events.user_data import build_user_data, find_personal_id
from bridge.explain.explainer import EXAMPLE, Explainer, Explanation
from bridge.outbox.base import Outbox
from bridge.outbox.engines import open_outbox
from bridge.settings import build_from
from bridge.visitor.connection import SiteRules
from bridge.visitor.consent import Consent
from bridge.visitor.cookies import MAX_AGE, parse_host
from bridge.visitor.identity import SessionSigner
from bridge.visitor.ip import parse_networks
from bridge.visitor.seal import MAX_AGE as SEAL_MAX_AGE
from bridge.visitor.seal import Sealer
from bridge.visitor.signing import read_keys
from bridge.visitor.visitor import VISITOR, Visitor, current_visitor
from bridge.visitor.visits import Visits

DRAIN_DEADLINE = 5.0  # seconds that a shutdown waits for what is due
RATE_LIMIT = 300  # events a minute of one session


class Bridge:
    """The whole, built once for an app.

    Args:
        secret_key: Signs the session cookie: at least 32 bytes, or a list of such, newest last.
        destinations: Where server copies go.
        outbox: Where they wait until then: a URL such as ``sqlite:///bridge.db``, or an outbox.
        prefix: Path below which the script and its endpoints are served.
        pixel_script_url: Where browsers load the pixel's library from.
        browser_hold: How long a server copy waits for its browser copy to be fired first, in
            seconds. Meta merges on external id and fbp only in that order.
        trusted_proxies: Addresses or CIDR ranges whose headers are believed.
        client_ip_header: The header in which they tell the client's address:
            ``X-Forwarded-For``, ``Forwarded``, or a vendor's such as ``CF-Connecting-IP``.
        cookie_domain: Where our cookies live; the registrable domain by default.
        session_max_age: How long an unrenewed session counts, in seconds.
        private_parameters: Query parameters that never leave with a URL, beside the usual ones for
            tokens and personal data.
        exclude_paths: Paths, with all below them, where no visitor is met.
        ignore: From the connection to why this request is no visitor's, or ``None``.
        consent: What may be done: a state for everyone, or where the decision comes from.
        phone_region: ISO 3166-1 alpha-2 country of phone numbers without a country code; needs
            ``pixel-bridge[phone]``.
        run_sender: Whether this process delivers; ``False`` where ``pixel-bridge worker`` does.
        custom_events: Names that browsers may report beside Meta's standard events; ``*`` for any.
        rate_limit: Events a minute that one session may report from the browser, twice as many at
            once, and ten times as many one address; 0 for no limit.
        allowed_origins: Origins other than our own whose pages may use our endpoints (CORS), such
            as ``https://www.example.com`` where we are on ``api.example.com``.
        catalog: Names and parameters of events, Segment's and Meta's; with an app's own rows.
        allow_personal: Properties that look like personal data and are none; see ``Tripwire``.

    Raises:
        ConfigError: A value that cannot be right; the message says which and why.
    """

    def __init__(
        self,
        secret_key: str | Secret | Sequence[str | Secret],
        destinations: Sequence[Destination],
        *,
        outbox: str | Outbox = "sqlite:///bridge.db",
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
    ) -> None:
        if not prefix.startswith("/") or prefix.endswith("/") or not prefix.isascii():
            raise ConfigError(f"prefix must be a path like /_bridge, got {prefix!r}")
        if not 0 <= browser_hold <= 3600:
            raise ConfigError(f"browser_hold must be 0 to 3600 seconds, got {browser_hold}")
        if not re.fullmatch(r"https?://[A-Za-z0-9._~:/?&=%\[\]-]+", pixel_script_url):
            raise ConfigError(f"pixel_script_url must be a URL, got {pixel_script_url!r}")
        if not isinstance(catalog, Catalog | None):
            raise ConfigError(f"catalog must be like Catalog([…]), got {type(catalog).__name__}")
        if not 0 <= rate_limit < float("inf"):
            raise ConfigError(f"rate_limit must be 0 or more events a minute, got {rate_limit}")
        _check_destinations(destinations)
        if cookie_domain is not None and not parse_host(cookie_domain.strip(".").encode()):
            raise ConfigError(f"cookie_domain must be like example.com, got {cookie_domain!r}")
        self.prefix = prefix
        keys = read_keys(secret_key)
        self.signer = SessionSigner(keys, max_age=session_max_age)
        self.consent = consent if isinstance(consent, Consent) else Consent(default=consent)
        self.outbox = open_outbox(outbox) if isinstance(outbox, str) else outbox
        self.destinations = tuple(destinations)
        self.counters: Counter[str] = Counter()
        self.metrics = Metrics([destination.name for destination in self.destinations])
        self.sender = Sender(self.outbox, self.destinations, metrics=self.metrics)
        self._intake = Intake(self.outbox, self.destinations, self.counters, self.metrics)
        self._run_sender = run_sender
        self._browser_hold = browser_hold
        self.catalog = catalog or Catalog()
        pixel_ids = [each.pixel_id for each in destinations if each.pixel_id is not None]
        self._pixel_ids = tuple(dict.fromkeys(pixel_ids))
        self._settings = SettingsWriter(self._pixel_ids)
        # Pages speak the language that the server does.
        is_spoken = catalog is not None or any(isinstance(each, Segment) for each in destinations)
        table = self.catalog.to_json() if is_spoken else None
        self.script = Script(prefix, pixel_script_url, table=table)
        self.event_names = EventNames(custom_events)
        self.origins = Origins(allowed_origins)
        self.limits = Limits(rate_limit)
        self._sealer = Sealer(keys)
        self._phone_region = check_phone_support(phone_region) if phone_region else None
        private = PRIVATE_PARAMETERS | normalize_parameters(private_parameters)
        rules = EventRules(
            catalog=self.catalog,
            tripwire=Tripwire(allow_personal),
            phone_region=self._phone_region,
            private_parameters=private,
        )
        is_direct = any(isinstance(destination, Meta) for destination in destinations)
        segment = next((each for each in destinations if isinstance(each, Segment)), None)
        self._enricher = Enricher(
            rules, is_direct=is_direct, counters=self.counters, segment=segment
        )
        self._explainer = Explainer(rules, is_direct=is_direct, segment=segment)
        self.visits = Visits(
            SiteRules(
                trusted_proxies=parse_networks(trusted_proxies),
                client_ip_header=client_ip_header.strip().lower().encode(),
                cookie_domain=cookie_domain.lower().strip(".") if cookie_domain else None,
                private_parameters=private,
            ),
            self.signer,
            self.consent,
            # A probe is no visitor.
            exclude_paths=[*_read_paths(exclude_paths), f"{prefix}/health"],
            ignore=ignore,
            counters=self.counters,
        )
        self._loop: asyncio.AbstractEventLoop | None = None

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **arguments: Any) -> Bridge:
        """Return the bridge that the ``BRIDGE_*`` variables describe; README lists them.

        Args:
            environ: The process's own environment by default.
            arguments: Of ``Bridge``, for what no variable can say, such as ``catalog`` and
                ``ignore``; they go before the variables.

        Raises:
            ConfigError: A variable is missing or wrong; the message names it.
        """
        return build_from(cls, os.environ if environ is None else environ, **arguments)

    # The app's life

    async def __aenter__(self) -> Bridge:
        """Run the sender, for a script that has no app around it."""
        self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        """Deliver what is due, and close the outbox."""
        await self.stop()

    @property
    def phone_region(self) -> str | None:
        """Country of phone numbers without a country code, ISO 3166-1 alpha-2."""
        return self._phone_region

    @property
    def is_running(self) -> bool:
        """Whether the sender runs on the current event loop."""
        return self._loop is asyncio.get_running_loop()

    def start(self) -> None:
        """Start the sender, if it is to run here, on the running event loop; again is harmless."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop = loop
            self.metrics.publish()
            if self._run_sender:
                self.sender.start()

    async def stop(self, deadline: float = DRAIN_DEADLINE) -> None:
        """Deliver what is due, for at most ``deadline`` seconds, and close the outbox."""
        await self.sender.stop(deadline)
        await self.outbox.close()
        self._loop = None

    # A request

    def visit(self, scope: MutableMapping[str, Any]) -> Visitor:
        """Return the visitor that makes the request of ``scope``."""
        return self.visits.receive(scope, self)

    def build_page_settings(self, visitor: Visitor) -> PageSettings:
        """Return what the script must know on ``visitor``'s pages."""
        if visitor.is_nobody:
            return PageSettings(consent="pending" if visitor.consent == "pending" else "denied")
        domain = visitor.capture.connection.cookie_domain.domain
        return self._settings.build(visitor.identity.external_id, domain, visitor.consent)

    def encode_page_settings(self, visitor: Visitor) -> bytes:
        """Return what the readable cookie of a known visitor says."""
        domain = visitor.capture.connection.cookie_domain.domain
        return self._settings.encode(visitor.identity.external_id, domain, visitor.consent)

    def script_tag(
        self, *, nonce: str | None = None, integrity: bool = True, origin: str | None = None
    ) -> ScriptTag:
        """Return the tag that loads the script, for Jinja2 and for plain text.

        It holds nothing of the visitor, so a page with it may be shown to many. Its address
        changes with the script and is kept for a year.

        Args:
            nonce: Of the page's Content-Security-Policy.
            integrity: Whether the browser refuses a script of any other content. Leave it out of
                pages that a cache keeps beyond a release: after it they would run none.
            origin: Where we are served, if elsewhere than the page: ``https://api.example.com``.

        Raises:
            ConfigError: ``nonce`` or ``origin`` is none.
        """
        visitor = VISITOR.get()
        root_path = visitor.root_path if visitor and visitor.bridge is self else ""
        return self.script.build_tag(
            root_path=root_path, nonce=nonce, integrity=integrity, origin=origin
        )

    def csp_directives(
        self, *, nonce: str | None = None, strict_dynamic: bool = False, origin: str | None = None
    ) -> dict[str, list[str]]:
        """Return what a page's Content-Security-Policy must allow: directive → sources to add.

        A page without one of these directives falls back to its ``default-src``, whose sources
        then have to be repeated.

        Args:
            nonce: As in ``script_tag``.
            strict_dynamic: Whether the policy trusts what a script with the nonce loads.
            origin: As in ``script_tag``.

        Raises:
            ConfigError: ``nonce`` or ``origin`` is none, or ``strict_dynamic`` has no nonce.
        """
        return self.script.build_csp(nonce=nonce, strict_dynamic=strict_dynamic, origin=origin)

    # Beyond the request

    def seal(self, visitor: Visitor) -> str:
        """Return ``visitor`` as a URL-safe token of at most 500 characters.

        It fits a payment's metadata, and holds hashes only of what ``identify`` was told. Of a
        visitor of whom nothing may be known it holds that alone, and sends nothing later.
        """
        if visitor.is_nobody:
            return self._sealer.seal_nobody(visitor.silence or "", now=time.time())
        # What this request shows, which the session may not hold yet.
        seen = visitor.user_data
        identity = msgspec.structs.replace(
            visitor.identity,
            page_url=visitor.page_url,
            client_ip=seen.client_ip_address,
            user_agent=seen.client_user_agent,
        )
        limited = visitor.consent == "limited"
        return self._sealer.seal(identity, limited=limited, now=time.time())

    def unseal(self, token: str | None, *, max_age: float = SEAL_MAX_AGE) -> Visitor:
        """Return the visitor in ``token``, for ``enrich`` and ``track`` in a webhook or a job.

        Args:
            token: What ``visitor.seal()`` returned, on any machine with the same secret key.
            max_age: How old it may be, in seconds; 30 days by default.

        Raises:
            InvalidTokenError: It is expired, altered, foreign or none; the message says which.
        """
        sealed = self._sealer.open(token, max_age=max_age, now=time.time())
        consent: ConsentState = "limited" if sealed.limited else "granted"
        return Visitor(
            self, None, stored=sealed.identity, consent=consent, ignored=sealed.silence or None
        )

    # An event

    def enrich(self, event: Mapping[str, Any], *, visitor: Visitor | None = None) -> dict[str, Any]:
        """Return ``event`` completed for its API with all that is known of the visitor.

        ``event_name`` makes it a server event of Meta's Conversions API, ``event`` a track message
        of Segment's. What the caller set is never overwritten; no I/O is done.

        Args:
            event: One of the two shapes. Raw values in ``user_data`` are normalised and hashed.
            visitor: Whose event it is; the current request's by default.

        Raises:
            InvalidEventError: Its API would refuse it; the message names the field.
            NoVisitorError: Outside a request, without ``visitor``.
        """
        visitor = visitor or current_visitor()
        return self._enricher.complete_any(event, visitor, now=time.time())

    def explain(self, event: Mapping[str, Any], *, visitor: Visitor | None = None) -> Explanation:
        """Return ``event`` as it would go out: to Meta, to Segment, and from Segment to Meta.

        Both are shown, whichever is configured, with what there is to know. Nothing is stored,
        sent, counted or logged.

        Args:
            event: As for ``enrich``, in either shape: ``event_name`` with ``custom_data``, as
                ``track`` sends it, or ``event`` with ``properties``.
            visitor: Whose event it is; the current request's by default, else an example.

        Raises:
            InvalidEventError: It would be refused; the message names the field.
        """
        visitor = visitor or VISITOR.get()
        if visitor is None:
            visitor = Visitor(self, None, stored=EXAMPLE, consent="granted", ignored=None)
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
        connection: Any = None,
    ) -> Event:
        """Store an event for every destination, and ask the browser for its twin.

        When it returns, the event is on disk; the same name and id again are not sent again. If
        the outbox is broken the loss is logged and counted, and the request goes on. Of a visitor
        who denied consent, or of a robot, nothing is stored; ``visitor.silence`` says why.

        Args:
            name: A standard event's name or a custom one.
            properties: Meta's ``custom_data``: value, currency, contents and the like.
            event_id: An order's own id, where there is one; random by default.
            event_time: When it happened, Unix seconds; now by default.
            user_data: Of whom, if more is known than the visitor's session tells; hashed at once.
            visitor: Whose event it is; the current request's by default.
            connection: The caller's own, to the database that holds the outbox: the event is
                stored in its transaction, so that an order and its Purchase are committed both or
                neither. It is counted as stored before that; its browser copy is fired only once
                the script finds it stored.

        Returns:
            The event as it is sent.

        Raises:
            ConfigError: ``connection`` is given, and the outbox cannot take part in it.
            InvalidEventError: Meta would refuse it; the message names the field.
            NoVisitorError: Outside a request, without ``visitor``.
            OutboxError: It could not be stored in the transaction of ``connection``.
        """
        visitor = visitor or current_visitor()
        given = {
            "event_name": name,
            "event_id": event_id,
            "event_time": event_time,
            "custom_data": properties,
            "user_data": user_data,
        }
        completed = self._complete(given, visitor)
        event = completed.event
        if self._is_skipped(visitor):
            return event
        # A transaction of the caller's may roll back, and may lock what another would write: the
        # session's news waits for the end of the request, where there is one.
        if connection is None or not visitor.has_request:
            await self.introduce(visitor, connection=connection)
        # Before the event is stored: meanwhile the response may leave, or other twins fill it.
        twin = None
        if self._pixel_ids:
            twin = visitor.take_along(event, is_certain=connection is None)
        hold = self._browser_hold if twin else 0.0
        is_new: bool | None = False
        try:
            is_new = await self._store(completed, hold=hold, connection=connection)
        finally:
            if twin is not None and is_new is False and twin in visitor.twins:
                visitor.twins.remove(twin)
        return event

    def track_sync(
        self, name: str, properties: Mapping[str, Any] | None = None, **options: Any
    ) -> Event:
        """Do as ``track`` does, from a sync handler that runs in a thread of its own.

        Raises:
            ConfigError: Called on the event loop's own thread, which would wait for itself.
        """
        visitor = options.pop("visitor", None) or current_visitor()
        loop = self._loop
        try:
            running: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if loop is None or running is not None:
            raise ConfigError("track_sync() is for handlers in a thread; here: await track(…)")
        tracked = self.track(name, properties, visitor=visitor, **options)
        return asyncio.run_coroutine_threadsafe(tracked, loop).result()

    async def collect(
        self, fields: Mapping[str, Any], visitor: Visitor, *, state: CopyState | None = None
    ) -> Event:
        """Store an event whose browser copy the script has fired already.

        Args:
            fields: Keys of a server event, none of them an identifier of the visitor.
            visitor: Whose event it is.
            state: What became of the browser copy; counted once, however often it is reported.

        Raises:
            InvalidEventError: Meta would refuse it.
            OutboxError: It could not be stored; the script keeps it and tries again.
        """
        event, told = self._complete(fields, visitor, is_fired=True)
        if self._is_skipped(visitor):
            return event
        if await self._intake.put(event, told, hold=0.0) and state:
            self.note_browser_copy(state)
        self.sender.wake()
        return event

    async def introduce(self, visitor: Visitor, *, connection: Any = None) -> None:
        """Tell destinations that want it who ``visitor`` was identified as, if that is news."""
        before = visitor.take_introduction()
        if before is None or visitor.silence is not None or visitor.is_nobody:
            return
        await self._intake.introduce(visitor.identity, before, connection=connection)
        self.sender.wake()

    def note_browser_copy(self, state: CopyState) -> None:
        """Count what became of one browser copy."""
        self.counters[f"browser.{state}"] += 1
        self.metrics.browser.note(state)

    async def find_twin(self, event_name: str, event_id: str, visitor: Visitor) -> Twin | None:
        """Return the browser copy of an event of ``visitor``'s that waits; ``None`` for all others.

        Raises:
            OutboxError: The outbox could not be read.
        """
        if visitor.silence is not None or visitor.is_nobody:
            return None
        delivery = await self.outbox.find(event_name, event_id)
        if delivery is None:
            return None
        by_name = {destination.name: destination for destination in self.destinations}
        destination = by_name.get(delivery.destination)
        copy = destination.read_copy(delivery.body, self.catalog) if destination else None
        return read_twin(copy, visitor.identity.external_ids) if copy else None

    async def release(self, event_name: str, event_id: str) -> None:
        """Let a held server copy go: the script has fired its browser copy, or could not."""
        if await self.outbox.release(event_name, event_id, time.time()):
            self.sender.wake()

    def identify(
        self, user_id: str | int | None = None, *, visitor: Visitor | None = None, **user_data: Any
    ) -> None:
        """Keep who the visitor is, for this request and the session; hashed at once.

        Args:
            user_id: The site's own id of the user. An e-mail address or a phone number is refused.
            visitor: Who is identified; the current request's visitor by default.
            user_data: ``email``, ``phone``, ``first_name`` and so on, or Meta's ``em``, ``ph`` …

        Raises:
            InvalidEventError: ``user_id`` is one of those, or a key is unknown.
            NoVisitorError: Outside a request, without ``visitor``.
        """
        visitor = visitor or current_visitor()
        text = None if user_id is None else str(user_id).strip()
        if text is not None and not is_event_id(text):
            raise InvalidEventError("user_id", "expected 1 to 200 characters, none of them control")
        if text is not None and (kind := find_personal_id(text)):
            words = f"is {kind}; pass your own id, and this as email= or phone="
            raise InvalidEventError("user_id", words)
        visitor.know(text, build_user_data(user_data, default_region=self._phone_region))

    def _is_skipped(self, visitor: Visitor) -> bool:
        """Return whether no event of ``visitor`` may be sent, and count it if so."""
        if visitor.silence is None:
            return False
        self.counters[f"skipped_events.{visitor.silence}"] += 1
        return True

    def _complete(
        self, given: Mapping[str, Any], visitor: Visitor, *, is_fired: bool = False
    ) -> Completed:
        return self._enricher.complete(given, visitor, now=time.time(), is_fired=is_fired)

    async def _store(self, completed: Completed, *, hold: float, connection: Any) -> bool | None:
        """Store an event; whether it is new, ``None`` if it is lost.

        Not so in the caller's own transaction: who asked for both or neither is told.
        """
        if connection is None:
            is_new = await self._intake.put_or_lose(*completed, hold=hold)
        else:
            is_new = await self._intake.put(*completed, hold=hold, connection=connection)
        self.sender.wake()
        return is_new

    def __repr__(self) -> str:
        return f"Bridge(destinations={[destination.name for destination in self.destinations]})"


def _check_destinations(destinations: Sequence[Destination]) -> None:
    """Refuse what is no list of destinations, or names one twice."""
    if not isinstance(destinations, list | tuple) or not destinations:
        raise ConfigError("destinations must be a list such as [Meta(…)], with at least one")
    for destination in destinations:
        if not hasattr(destination, "build_request"):
            raise ConfigError(f"destinations: {type(destination).__name__} is none; see Meta")
    names = [destination.name for destination in destinations]
    if len(set(names)) < len(names):
        raise ConfigError(f"destinations must differ, got {', '.join(names)}")


def _read_paths(paths: str | Iterable[str]) -> list[str]:
    """Return path prefixes; a single text is one path, not its letters."""
    listed = [paths] if isinstance(paths, str) else list(paths)
    for path in listed:
        if not path.startswith("/"):
            raise ConfigError(f"exclude_paths must be like ['/static'], got {path!r}")
    return listed
