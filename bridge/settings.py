"""The environment's ``BRIDGE_*`` variables as arguments of ``Bridge`` and ``Shops``.

The one table of options; nothing else here reads the environment.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, get_args

from starlette.datastructures import Secret

from bridge.destinations.base import Destination
from bridge.destinations.http import describe
from bridge.destinations.meta import Meta
from bridge.destinations.segment import Segment
from bridge.errors import ConfigError
from bridge.visitor.consent import Consent

REQUIRED = "required"

Built = TypeVar("Built")
Of = Literal["Bridge", "Shops", "Meta", "Segment", "Consent"]


class Option(NamedTuple):
    """One variable.

    Attributes:
        of, argument: What it is an argument of, and which; ``Shops`` has those of ``Bridge``, too.
        parse: Text to value; raises ``ValueError``.
        default: What applies without it, for people.
        meaning: One sentence for people.
    """

    variable: str
    of: Of
    argument: str
    parse: Callable[[str], Any]
    default: str
    meaning: str


def _parse_list(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _parse_switch(text: str) -> bool:
    switches = {"true": True, "1": True, "false": False, "0": False}
    try:
        return switches[text.lower()]
    except KeyError:
        raise ConfigError(f"expected true or false, got {describe(text)}") from None


def _parse_spool(text: str) -> str | None:
    return None if text.lower() == "off" else text


def _read_file(path: str) -> Callable[[], str]:
    return Path(path).read_text


def _parse_keys(text: str) -> list[Secret]:
    return [Secret(key) for key in _parse_list(text)]


# fmt: off
OPTIONS: tuple[Option, ...] = (
    Option("BRIDGE_PIXEL_ID", "Meta", "pixel_id", str, "none",
        "The pixel or dataset id; with Segment alone, the pixel that pages fire."),
    Option("BRIDGE_ACCESS_TOKEN", "Meta", "access_token", Secret, "none",
        "Conversions API token, from Events Manager; required unless events go to Segment alone."),
    Option("BRIDGE_ACCESS_TOKEN_FILE", "Meta", "access_token", _read_file, "none",
        "A file with that token instead: it is read again before each request."),
    Option("BRIDGE_SEGMENT_WRITE_KEY", "Segment", "write_key", Secret, "none",
        "Write key of a Segment source: events go there too, or only there."),
    Option("BRIDGE_SEGMENT_REGION", "Segment", "region", str, "us",
        "Where the Segment workspace lives: us or eu."),
    Option("BRIDGE_SEGMENT_URL", "Segment", "url", str, "the region's",
        "Base address of Segment's API."),
    Option("BRIDGE_SECRET_KEY", "Bridge", "secret_key", _parse_keys, REQUIRED,
        "Signs session and tokens, 32 bytes or more; several, separated by commas, newest last."),
    Option("BRIDGE_OUTBOX_URL", "Bridge", "outbox", str, "sqlite:///bridge.db",
        "Where events wait until they are delivered."),
    Option("BRIDGE_SPOOL", "Bridge", "spool", _parse_spool, "bridge-spool.db",
        "A file for what PostgreSQL or Redis could not store, until they can; off for none."),
    Option("BRIDGE_CONSENT", "Consent", "default", str, "granted",
        "What applies until the visitor chooses: granted, limited, denied or pending."),
    Option("BRIDGE_CONSENT_COOKIE", "Consent", "cookie", str, "none",
        "Your banner's cookie: OptanonConsent and the like, or one that says granted or denied."),
    Option("BRIDGE_CONSENT_CATEGORY", "Consent", "category", str, "the banner's usual one",
        "What that banner calls advertising: C0004, marketing, a service's name, TCF purposes."),
    Option("BRIDGE_CONSENT_HEADER", "Consent", "header", str, "none",
        "A request header that says the same, set by a proxy in front of the app."),
    Option("BRIDGE_GPC", "Consent", "gpc", str, "limited",
        "What Global Privacy Control turns granted into: limited, denied or ignore."),
    Option("BRIDGE_TRUSTED_PROXIES", "Bridge", "trusted_proxies", str, "none",
        "Addresses or CIDR ranges of proxies whose headers are trusted; unix for a Unix socket."),
    Option("BRIDGE_CLIENT_IP_HEADER", "Bridge", "client_ip_header", str, "X-Forwarded-For",
        "The header with the client's address: X-Forwarded-For, Forwarded, CF-Connecting-IP ..."),
    Option("BRIDGE_COOKIE_DOMAIN", "Bridge", "cookie_domain", str, "the registrable domain",
        "Domain of the cookies."),
    Option("BRIDGE_EXCLUDE_PATHS", "Bridge", "exclude_paths", _parse_list, "none",
        "Paths, with all below them, where no visitor is identified; separated by commas."),
    Option("BRIDGE_PRIVATE_PARAMETERS", "Bridge", "private_parameters", _parse_list,
        "the usual tokens and personal data",
        "Query parameters removed from every URL that is sent; separated by commas."),
    Option("BRIDGE_PHONE_REGION", "Bridge", "phone_region", str, "none",
        "Country of phone numbers without a country code, such as DE; needs pixel-bridge[phone]."),
    Option("BRIDGE_RUN_SENDER", "Bridge", "run_sender", _parse_switch, "true",
        "Whether this process delivers, true or false; false where `pixel-bridge worker` does."),
    Option("BRIDGE_PREFIX", "Bridge", "prefix", str, "/_bridge",
        "Path of the script and its endpoints."),
    Option("BRIDGE_PATH", "Bridge", "path", str, "the whole host",
        "Path of the host, such as /de, below which this site is, a mount included."),
    Option("BRIDGE_BROWSER_HOLD", "Bridge", "browser_hold", float, "10",
        "Seconds a server copy waits, so that its browser copy goes first."),
    Option("BRIDGE_CUSTOM_EVENTS", "Bridge", "custom_events", _parse_list, "none",
        "Names that browsers may report besides Meta's standard events; `*` for any."),
    Option("BRIDGE_ALLOW_PERSONAL", "Bridge", "allow_personal", _parse_list, "none",
        "Properties that look like personal data but are not; separated by commas."),
    Option("BRIDGE_RATE_LIMIT", "Bridge", "rate_limit", float, "300",
        "Events a minute that one session may report from the browser; 0 for no limit."),
    Option("BRIDGE_ALLOWED_ORIGINS", "Bridge", "allowed_origins", _parse_list, "none",
        "Other origins whose pages may use our endpoints (CORS), such as https://www.example.com."),
    Option("BRIDGE_ALLOWED_HOSTS", "Bridge", "allowed_hosts", _parse_list, "any",
        "The hosts of the site; a request for another gets no URL and no cookie domain."),
    Option("BRIDGE_FOLLOW_SEGMENT", "Bridge", "follow_segment", _parse_switch,
        "if events go to Segment",
        "Whether the anonymous id in Segment's cookie is used."),
    Option("BRIDGE_ON_INVALID", "Bridge", "on_invalid", str, "raise",
        "What track() does with an event that Meta would refuse: raise, or log and go on."),
    Option("BRIDGE_DEAD_LETTER_DAYS", "Bridge", "dead_letter_days", float, "30",
        "Days after which a dead letter is deleted."),
    Option("BRIDGE_REMEMBER_DAYS", "Bridge", "remember_days", float, "90",
        "Days for which a delivered event is remembered whose id you gave; others 48 hours."),
    Option("BRIDGE_SHOP_CAPACITY", "Shops", "shop_capacity", int, "200000",
        "With many shops: how many deliveries of one, to one destination, may wait or be dead."),
    Option("BRIDGE_ADVANCED_MATCHING", "Bridge", "advanced_matching", _parse_switch, "false",
        "Whether a page's own advanced matching, hashed by its pixel, goes into server copies."),
    Option("BRIDGE_SESSION_MAX_AGE", "Bridge", "session_max_age", int, "7776000 (90 days)",
        "Seconds that a session lasts without being renewed."),
    Option("BRIDGE_PIXEL_SCRIPT_URL", "Bridge", "pixel_script_url", str, "Meta's address",
        "Where browsers load the pixel's library from."),
    Option("BRIDGE_GRAPH_URL", "Meta", "graph_url", str, "https://graph.facebook.com",
        "Base address of the Graph API."),
    Option("BRIDGE_API_VERSION", "Meta", "api_version", str, "v26.0",
        "Graph version."),
    Option("BRIDGE_TEST_EVENT_CODE", "Meta", "test_event_code", str, "none",
        "Shows events under Events Manager's Test events; they still count."),
    Option("BRIDGE_PARTNER_AGENT", "Meta", "partner_agent", str, "none",
        "Platform id, for platforms that send for others."),
)
# fmt: on


_OF_A_SHOP = "each shop has its own: give it to the Shop that load returns"
_UNFIT: Mapping[Of, str] = {
    "Meta": _OF_A_SHOP,
    "Segment": _OF_A_SHOP,
    "Shops": "a Bridge is one shop: its part of the outbox is not limited",
}


def build_bridge(kind: Callable[..., Built], environ: Mapping[str, str], **arguments: Any) -> Built:
    """Return ``kind``, a ``Bridge``, built from ``environ``; the ``arguments`` override it.

    Raises:
        ConfigError: A variable is missing, mistyped or wrong; the message names it.
    """
    read = _read_variables(environ, unfit=("Shops",))
    consent = _build(Consent, environ, read["Consent"])
    settings = {**read["Bridge"], "consent": consent, **arguments}
    if "destinations" not in arguments:
        try:
            settings["destinations"] = _build_destinations(read["Meta"], read["Segment"])
        except ConfigError as error:
            raise _name_variable(error, environ) from None
    _check_required(settings)
    return _build(kind, environ, settings)


def build_shops(kind: Callable[..., Built], environ: Mapping[str, str], **arguments: Any) -> Built:
    """Return ``kind``, a ``Shops``, built from ``environ``; the ``arguments`` override it.

    Raises:
        ConfigError: A variable is missing, mistyped, wrong or not of all shops; the message names
            it.
    """
    read = _read_variables(environ, unfit=("Meta", "Segment"))
    consent = _build(Consent, environ, read["Consent"])
    settings = {**read["Bridge"], **read["Shops"], "consent": consent, **arguments}
    _check_required(settings)
    return _build(kind, environ, settings)


def _build(
    kind: Callable[..., Built], environ: Mapping[str, str], arguments: Mapping[str, Any]
) -> Built:
    try:
        return kind(**arguments)
    except ConfigError as error:
        raise _name_variable(error, environ) from None


def _name_variable(error: ConfigError, environ: Mapping[str, str]) -> ConfigError:
    """Return ``error`` with the variable that sets the argument which it is about."""
    argument = str(error).partition(" ")[0]
    names = [option.variable for option in OPTIONS if option.argument == argument]
    given = [name for name in names if environ.get(name)]
    return ConfigError(f"{(given or names)[0]}: {error}") if names else error


def _check_names(environ: Mapping[str, str]) -> None:
    """Refuse a mistyped variable: a consent setting that is not read would mean granted."""
    known = [option.variable for option in OPTIONS]
    for name in environ:
        if name.startswith("BRIDGE_") and name not in known:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
            if close:
                raise ConfigError(f"{name} is not an option; did you mean {close[0]}?")


def _read_variables(
    environ: Mapping[str, str], *, unfit: tuple[Of, ...]
) -> dict[Of, dict[str, Any]]:
    """Return the arguments of each kind; those of an ``unfit`` one must not be set.

    Events would go to Meta, and not to the stand-in that ``BRIDGE_GRAPH_URL`` names, if a variable
    of a shop's own were not read.
    """
    _check_names(environ)
    arguments: dict[Of, dict[str, Any]] = {of: {} for of in get_args(Of)}
    for option in OPTIONS:
        text = environ.get(option.variable, "").strip()
        if not text:
            continue
        if option.of in unfit:
            raise ConfigError(f"{option.variable} is set, but {_UNFIT[option.of]}")
        if option.argument in arguments[option.of]:
            raise ConfigError(f"{option.variable}: there is another setting of the same; keep one")
        try:
            arguments[option.of][option.argument] = option.parse(text)
        except ConfigError as error:
            raise ConfigError(f"{option.variable}: {error}") from None
        except ValueError:
            raise ConfigError(
                f"{option.variable}: expected a number, got {describe(text)}"
            ) from None
    return arguments


def _check_required(settings: Mapping[str, Any]) -> None:
    for option in OPTIONS:
        of_app = option.of not in ("Meta", "Segment")
        if of_app and option.default == REQUIRED and option.argument not in settings:
            raise ConfigError(f"{option.variable} is not set: {option.meaning}")


def _build_destinations(meta: dict[str, Any], segment: dict[str, Any]) -> list[Destination]:
    """Return Meta, Segment, or both."""
    if segment and "write_key" not in segment:
        raise ConfigError("BRIDGE_SEGMENT_WRITE_KEY is not set, but its region or URL is")
    if not segment and "pixel_id" not in meta and "access_token" not in meta:
        raise ConfigError(
            "BRIDGE_PIXEL_ID is not set, nor is BRIDGE_SEGMENT_WRITE_KEY: set BRIDGE_PIXEL_ID and"
            " BRIDGE_ACCESS_TOKEN to send events to Meta, or the write key of a Segment source"
        )
    destinations: list[Destination] = []
    if "access_token" in meta or "write_key" not in segment:
        for option in OPTIONS:
            if option.argument in ("pixel_id", "access_token") and option.argument not in meta:
                raise ConfigError(f"{option.variable} is not set: {option.meaning}")
        destinations.append(Meta(**meta))
    if "write_key" in segment:
        # With both, pages fire Meta's pixel already.
        pixel_id = None if destinations else meta.get("pixel_id")
        destinations.append(Segment(**segment, pixel_id=pixel_id))
    return destinations
