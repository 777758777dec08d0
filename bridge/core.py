"""``Bridge``: everything, built once for an app that is one shop."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Unpack

from starlette.datastructures import Secret

from bridge.delivery.pipeline import Pipeline, Runs
from bridge.delivery.sender import DEAD_LETTER_DAYS
from bridge.delivery.spool import SPOOL
from bridge.destinations.base import Destination
from bridge.destinations.group import Destinations
from bridge.outbox.base import REMEMBER_DAYS, Outbox
from bridge.settings import build_bridge
from bridge.site import AppOptions, Site, SiteOptions


class BridgeOptions(AppOptions, total=False):
    """The arguments of ``Bridge``, as ``Bridge.from_env`` takes them; see there."""

    destinations: Sequence[Destination]


class Bridge(Site, Runs):
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
        trusted_proxies: Addresses or CIDR ranges whose headers are believed; ``unix`` for whoever
            connects over a Unix socket.
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
        remember_days: Days for which a delivered event is remembered whose id you gave, so that
            tracking it again sends nothing. An id that Bridge made is remembered for 48 hours, or
            for as long if that is less. An outbox that you build yourself takes its own.
        advanced_matching: Whether server copies of a page's events also carry what the page gave
            its pixel's ``init``, such as ``em``: hashed by the pixel, in the browser.
        dashboard: Says who may see the dashboard below the prefix, ``True`` or ``False`` for a
            request, such as ``lambda connection: connection.user.is_admin``; may be a coroutine
            function. Without it there is none.
        path: The path of a host below which this site's pages, cookies and endpoints are, such as
            ``/de``; the whole host by default. As the visitor sees it: in an app that is mounted
            below ``/shops``, ``/shops/de``.

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
        run_sender: bool = True,
        dead_letter_days: float = DEAD_LETTER_DAYS,
        remember_days: float = REMEMBER_DAYS,
        **options: Unpack[SiteOptions],
    ) -> None:
        group = Destinations(destinations)
        pipeline = Pipeline(
            outbox,
            group,
            spool=spool,
            run_sender=run_sender,
            dead_letter_days=dead_letter_days,
            remember_days=remember_days,
        )
        super().__init__(secret_key, group, pipeline, **options)

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
        return build_bridge(cls, os.environ if environ is None else environ, **options)
