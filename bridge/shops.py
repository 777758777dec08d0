"""``Shops``: many shops in one app, each with its own pixels, visitors and settings.

A shop is loaded when it is first asked for, kept for a while, and loaded anew in the background, so
that it changes without a restart. All shops share one outbox and one sender. What keeps them apart:

- each signs its sessions and tokens with keys of its own, derived from the app's;
- its name is part of its destinations' names, and so of all keys in the outbox;
- whose an event is, by which it is taken back or erased, is a hash that the name is part of;
- the script that its pages get names its own pixels.
"""

from __future__ import annotations

import asyncio
import hmac
import inspect
import logging
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from contextvars import Context
from typing import Any, Unpack

from starlette.datastructures import Secret
from starlette.requests import HTTPConnection

from bridge.browser.script import ScriptTag
from bridge.delivery.pipeline import DRAIN_DEADLINE, Pipeline, Runs
from bridge.delivery.sender import DEAD_LETTER_DAYS
from bridge.delivery.spool import SPOOL
from bridge.destinations.base import Destination
from bridge.destinations.group import Destinations
from bridge.errors import ConfigError, UsageError
from bridge.outbox.base import CAPACITY, REMEMBER_DAYS, Outbox
from bridge.settings import build_shops
from bridge.site import AppOptions, Site, SiteOptions
from bridge.visitor.capture import Capture
from bridge.visitor.signing import read_keys
from bridge.visitor.visitor import VISITOR

SHOP_CAPACITY = CAPACITY // 10
KEPT = 1000  # shops that stay loaded
REFRESH = 60.0  # seconds after which a shop is loaded anew
LOAD_TIMEOUT = 5.0  # seconds that loading one may take
MAX_LOADING = 1000  # names that wait to be loaded
AT_ONCE = 16  # shops that are loaded at once
MAX_THREADS = 64  # in which ``load`` runs, those that hang among them
LINE_PAUSE = 60.0  # seconds
RETRY = 5.0  # seconds after which a shop that could not be loaded is tried again
NO_SHOP = "no_shop"  # why a request without a shop is ignored

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

logger = logging.getLogger("bridge.shops")


class Shop:
    """What one shop has of its own.

    Args:
        destinations: Where its server copies go.
        **options: Those of ``Bridge`` that differ from the ones that ``Shops`` was given, such as
            ``consent``, ``catalog`` or ``custom_events``. ``path``, such as ``/de``, is needed
            where shops share a host: its pages, cookies and endpoints are below it. In an app that
            is mounted below a path, it begins with that.
    """

    def __init__(self, destinations: Sequence[Destination], **options: Unpack[SiteOptions]) -> None:
        self.destinations = destinations
        self.options = options

    def __repr__(self) -> str:
        return f"Shop({[each.name for each in self.destinations]})"


LoadShop = Callable[[str], "Shop | Awaitable[Shop | None] | None"]
"""Returns the shop of a name, or ``None`` if there is none; may be a coroutine function."""

FindShop = Callable[[HTTPConnection], str | None]
"""Returns the name of the shop that a request is for, or ``None``."""


class ShopsOptions(AppOptions, total=False):
    """The arguments of ``Shops``, as ``Shops.from_env`` takes them; see there."""

    find: FindShop | None
    shop_capacity: int


class _Loaded:
    """A shop as it was loaded last.

    Attributes:
        shop: As ``load`` returned it.
        site: Built from it; the one for requests without a shop if there is none.
        until: When it is loaded anew, monotonic seconds.
        has_failed: Whether that is since it could not be loaded.
    """

    def __init__(
        self, shop: Shop | None, site: Site, until: float, *, has_failed: bool = False
    ) -> None:
        self.shop = shop
        self.site = site
        self.until = until
        self.has_failed = has_failed


class Shops(Runs):
    """Many shops in one app; given to ``BridgeMiddleware`` in place of a ``Bridge``.

    Handlers call ``track``, ``enrich`` and ``identify`` as ever: the request says which shop it is.

    Args:
        secret_key: As for ``Bridge``; each shop's keys are derived from it.
        load: Returns the shop of a name, or ``None``. It is asked at the shop's first request, and
            again a minute after; returning the same ``Shop`` object means that nothing changed.
        find: Returns the name of the shop that a request is for: letters, digits, ``.``, ``_`` and
            ``-``. By default the host as the visitor saw it. A name that a visitor may choose is
            asked of ``load``, so look it up among those you know.
        outbox: As for ``Bridge``.
        spool: As for ``Bridge``.
        run_sender: As for ``Bridge``.
        dead_letter_days: As for ``Bridge``.
        remember_days: As for ``Bridge``.
        shop_capacity: How many deliveries of one shop, to one destination, may wait or be dead:
            beyond that its events are lost, and those of others are not.
        **options: What shops have in common, as for ``Bridge``.

    Raises:
        ConfigError: A value is wrong; the message says which and why.
    """

    def __init__(
        self,
        secret_key: str | Secret | Sequence[str | Secret],
        load: LoadShop,
        *,
        find: FindShop | None = None,
        outbox: str | Outbox = "sqlite:///bridge.db",
        spool: str | None = SPOOL,
        run_sender: bool = True,
        dead_letter_days: float = DEAD_LETTER_DAYS,
        remember_days: float = REMEMBER_DAYS,
        shop_capacity: int = SHOP_CAPACITY,
        **options: Unpack[SiteOptions],
    ) -> None:
        if shop_capacity < 1:
            raise ConfigError(f"shop_capacity must be at least 1, got {shop_capacity}")
        self._keys = read_keys(secret_key)
        self._load = load
        self._find = find
        self._options = options
        self._pipeline = Pipeline(
            outbox,
            find=self._find_destination,
            spool=spool,
            run_sender=run_sender,
            dead_letter_days=dead_letter_days,
            remember_days=remember_days,
            capacity=shop_capacity,
        )
        ignoring: SiteOptions = {**options, "ignore": lambda connection: NO_SHOP}
        self._nowhere = Site(
            self._derive_keys(""), Destinations([], shop=NO_SHOP), self._pipeline, **ignoring
        )
        self._loaded: OrderedDict[str, _Loaded] = OrderedDict()
        self._absent: OrderedDict[str, _Loaded] = OrderedDict()  # names without a shop
        # What the sender alone looked up: of thousands, it must not push out what visitors need.
        self._sent: OrderedDict[str, _Loaded] = OrderedDict()
        self._loading: dict[str, asyncio.Task[_Loaded]] = {}
        self._places = asyncio.Semaphore(AT_ONCE)
        self._in_threads: set[str] = set()  # names whose ``load`` runs in a thread
        self._loop: asyncio.AbstractEventLoop | None = None
        self._next_line = 0.0  # monotonic seconds: no line about too many that load before

    @classmethod
    def from_env(
        cls,
        load: LoadShop,
        environ: Mapping[str, str] | None = None,
        **options: Unpack[ShopsOptions],
    ) -> Shops:
        """Return the shops that ``load`` finds, with what the ``BRIDGE_*`` variables say of all.

        Args:
            load: Returns the shop of a name, with its own destinations, or ``None``.
            environ: The variables; the process's own environment by default.
            options: Arguments of ``Shops``; they take precedence over the variables. ``find``,
                ``catalog``, ``ignore`` and the like can only be given here.

        Raises:
            ConfigError: A variable is missing, wrong, or a shop's own, such as ``BRIDGE_PIXEL_ID``;
                the message names it.
        """
        return build_shops(cls, os.environ if environ is None else environ, load=load, **options)

    async def stop(self, deadline: float = DRAIN_DEADLINE) -> None:
        """Deliver what is due, for at most ``deadline`` seconds, and close the outbox."""
        await super().stop(deadline)
        for task in list(self._loading.values()):
            task.cancel()

    async def get(self, name: str) -> Site:
        """Return a shop for a webhook or a job: its ``track``, ``person``, ``unseal``, ``erase``.

        Raises:
            UsageError: There is no shop of this name, or it cannot be loaded now.
        """
        site = await self._get(name)
        if site is self._nowhere:
            loaded = self._absent.get(name)
            if loaded is None or loaded.has_failed:
                raise UsageError(f"the shop {name!r:.120} cannot be loaded now")
            raise UsageError(f"there is no shop {name!r:.120}")
        return site

    def script_tag(self, **options: Any) -> ScriptTag:
        """Return the tag for the shop of the current request; see ``Bridge.script_tag``.

        Empty where there is no shop.
        """
        site = self._find_current()
        return ScriptTag() if site is self._nowhere else site.script_tag(**options)

    def csp_directives(self, **options: Any) -> dict[str, list[str]]:
        """Return what a page of the current request's shop needs; see ``Bridge``."""
        site = self._find_current()
        return {} if site is self._nowhere else site.csp_directives(**options)

    def _find_current(self) -> Site:
        visitor = VISITOR.get()
        return self._nowhere if visitor is None else Site.of(visitor)

    # For the middleware and the sender

    async def find_site(self, scope: MutableMapping[str, Any]) -> Site:
        """Return the shop that a request is for; one that ignores everybody if there is none."""
        try:
            name = self._name_shop(scope)
        except Exception:
            # The app's own code: its mistake must not fail the page.
            logger.exception("the app's find= failed; the request is not tracked")
            return self._nowhere
        return self._nowhere if name is None else await self._get(name)

    def _name_shop(self, scope: MutableMapping[str, Any]) -> str | None:
        if self._find is not None:
            name = self._find(HTTPConnection(scope))
            return None if name is None else str(name)
        return Capture(scope, self._nowhere._visits.rules).connection.host

    async def _get(self, name: str) -> Site:
        kept = self._loaded if name in self._loaded else self._absent
        loaded = kept.get(name)
        if loaded is None:
            if not _NAME.fullmatch(name):
                return self._nowhere
            if len(self._loading) >= MAX_LOADING and name not in self._loading:
                self._report_crowd()
                return self._nowhere
            # One that is asked for by many at once is loaded once.
            task = self._begin(name, None)
            await asyncio.wait({task})
            return self._nowhere if task.cancelled() else task.result().site
        kept.move_to_end(name)
        if time.monotonic() >= loaded.until:
            self._begin(name, loaded)  # and this request gets what there is
        return loaded.site

    def _report_crowd(self) -> None:
        """Log that requests are not tracked since too many shops load; a line a minute at most."""
        if time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_PAUSE
            logger.error(
                "%d shops wait to be loaded: requests for further ones are not tracked until then",
                len(self._loading),
            )

    def _begin(self, name: str, before: _Loaded | None) -> asyncio.Task[_Loaded]:
        """Begin to load a shop, or find the task that does."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # tasks and semaphores belong to one
            self._loop, self._places = loop, asyncio.Semaphore(AT_ONCE)
            self._loading.clear()
        task = self._loading.get(name)
        if task is None:
            task = asyncio.create_task(self._load_one(name, before), context=Context())
            self._loading[name] = task
            task.add_done_callback(lambda done: self._end(name, done))
        return task

    def _end(self, name: str, task: asyncio.Task[_Loaded]) -> None:
        if self._loading.get(name) is task:
            del self._loading[name]
        if not task.cancelled():
            self._keep(name, task.result())

    def _keep(self, name: str, loaded: _Loaded) -> None:
        # Names that visitors make up must not push out shops.
        kept, other = self._loaded, self._absent
        if loaded.shop is None:
            kept, other = other, kept
        other.pop(name, None)
        kept[name] = loaded
        while len(kept) > KEPT:
            kept.popitem(last=False)

    async def _load_one(self, name: str, before: _Loaded | None) -> _Loaded:
        """Load a shop; what there was before stays if that fails."""
        try:
            shop = await self._ask(name)
            if before is not None and shop is before.shop:
                return _Loaded(shop, before.site, time.monotonic() + REFRESH)
            if shop is None:
                return _Loaded(None, self._nowhere, time.monotonic() + REFRESH)
            site = self._build(name, shop)
            self._pipeline.sender.replace(site.destinations)
        except Exception as error:  # noqa: BLE001 - the app's own code must not fail the page
            words = str(error) or type(error).__name__
            logger.error("shop %s cannot be loaded, trying again in %g s: %s", name, RETRY, words)
            found = (None, self._nowhere) if before is None else (before.shop, before.site)
            return _Loaded(*found, time.monotonic() + RETRY, has_failed=True)
        if before is not None and before.shop is not None:
            site.take_over(before.site)
        return _Loaded(shop, site, time.monotonic() + REFRESH)

    async def _ask(self, name: str) -> Shop | None:
        """Return what the app's ``load`` returns; one that is no coroutine runs in a thread."""
        load: Callable[[str], Any] = self._load
        async with self._places, asyncio.timeout(LOAD_TIMEOUT):
            if inspect.iscoroutinefunction(load):
                shop = await load(name)
            else:
                shop = await self._run_in_thread(load, name)
                shop = await shop if inspect.isawaitable(shop) else shop
        if not isinstance(shop, Shop | None):
            raise ConfigError(f"load must return a Shop or None, got {type(shop).__name__}")
        return shop

    async def _run_in_thread(self, load: Callable[[str], Any], name: str) -> Any:
        """Return what ``load`` returns, run in a thread of its own.

        A thread that hangs cannot be ended. So a name has one at a time, and none keeps the process
        from ending, as those of an executor would.
        """
        if name in self._in_threads or len(self._in_threads) >= MAX_THREADS:
            raise ConfigError("load= has not returned yet since it was last called")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()

        def settle(*found: Any) -> None:
            if not answer.done():
                answer.set_result(found)

        def work() -> None:
            shop, error = None, None
            try:
                shop = load(name)
            except BaseException as caught:  # noqa: BLE001 - raised where it is awaited
                error = caught
            finally:
                self._in_threads.discard(name)
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(settle, shop, error)

        self._in_threads.add(name)
        threading.Thread(target=work, name="bridge-shop", daemon=True).start()
        shop, error = await answer
        if error is not None:
            raise error
        return shop

    def _build(self, name: str, shop: Shop) -> Site:
        if not shop.destinations:
            raise ConfigError("a shop must have destinations; return None where there are none")
        if "dashboard" in shop.options:
            raise ConfigError("dashboard is an option of Shops: it shows what all shops share")
        options: SiteOptions = {**self._options, **shop.options}
        options.pop("dashboard", None)
        destinations = Destinations(shop.destinations, shop=name)
        return Site(self._derive_keys(name), destinations, self._pipeline, **options)

    def _derive_keys(self, name: str) -> list[str]:
        """Return a shop's own keys: what one shop signed, no other believes."""
        return [
            hmac.digest(key.encode(), f"bridge.shop.{name}".encode(), "sha256").hex()
            for key in self._keys
        ]

    async def _find_destination(self, name: str) -> Destination | None:
        """Return the destination that deliveries in the outbox name, for the sender."""
        shop, _, own = name.partition("/")
        if not own or not _NAME.fullmatch(shop):
            return None
        loaded = self._loaded.get(shop) or self._absent.get(shop) or self._sent.get(shop)
        if loaded is None or time.monotonic() >= loaded.until:
            loaded = await self._load_one(shop, loaded)
            if shop in self._loaded or shop in self._absent:
                self._keep(shop, loaded)
            else:
                self._sent[shop] = loaded
                while len(self._sent) > KEPT:
                    self._sent.popitem(last=False)
        return next((each for each in loaded.site.destinations if each.name == name), None)

    def __repr__(self) -> str:
        return f"Shops({len(self._loaded)} loaded)"
