"""The URL of a Redis outbox: what it says of servers, and the part of it that may be shown.

That of a server behind sentinels has the form that other libraries have, too:
``redis+sentinel://[user:password@]host:26379,host2:26379/mymaster[/db]``.

Source: Redis-Sentinel-Url 1.0.1, and Prefect's ``prefect_redis.connection``, which follows docket,
read 2026-11-30. Celery's ``sentinel://a;sentinel://b`` has the master's name elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from redis.asyncio import ConnectionPool

from bridge.errors import ConfigError

CLUSTER_SLOTS = 16  # in which deliveries are kept in a cluster: some for each of its masters
MAX_SLOTS = 1024
_SENTINEL = "redis+sentinel"
_SENTINEL_PORT = 26379
_SCHEMES = ("redis", "rediss", "unix")
_OPTIONS = frozenset(
    {
        "client_name",
        "db",
        "ssl_ca_certs",
        "ssl_cert_reqs",
        "ssl_certfile",
        "ssl_check_hostname",
        "ssl_keyfile",
    }
)


class Address(NamedTuple):
    """What a URL says.

    Attributes:
        name: The address for messages.
        url: For redis-py; of a server behind sentinels, all but its host and port.
        is_cluster: Whether it is a cluster's.
        allows_eviction: Whether the server may delete keys when its memory is full.
        replicas: How many must have what is put.
        slots: In how many slots deliveries are to be kept.
        sentinels: Host and port of each.
        master: What the sentinels call the server.
        sentinel_login: User name and password for the sentinels themselves.
    """

    name: str
    url: str
    is_cluster: bool
    allows_eviction: bool
    replicas: int
    slots: int
    sentinels: Sequence[tuple[str, int]]
    master: str
    sentinel_login: Mapping[str, str]


def parse_url(url: str) -> Address:
    """Return what ``url`` says.

    Raises:
        ConfigError: It cannot be read, or has an unknown option. The message shows no password.
    """
    sentinels: list[tuple[str, int]] = []
    master, shown = "", ""
    try:
        if url.startswith(f"{_SENTINEL}://"):
            url, sentinels, master = _split_sentinels(url)
            hosts = ",".join(f"{host}:{port}" for host, port in sentinels)
            shown = f"{_SENTINEL}://{hosts}/{master}"
        parts = urlsplit(url)
        name = f"{parts.scheme}://{parts.hostname or 'localhost'}:{parts.port or 6379}{parts.path}"
        options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
        is_cluster = _read_switch(options, "cluster")
        allows_eviction = _read_switch(options, "allow_eviction")
        replicas = options.pop("replicas", "0")
        if not (replicas.isdecimal() and len(replicas) < 3):
            raise ConfigError("replicas must be a number below 100")
        slots = options.pop("slots", str(CLUSTER_SLOTS if is_cluster else 1))
        if not (slots.isdecimal() and len(slots) < 5 and 1 <= int(slots) <= MAX_SLOTS):
            raise ConfigError(f"slots must be 1 to {MAX_SLOTS}")
        login = {
            key: options.pop(f"sentinel_{key}")
            for key in ("username", "password")
            if sentinels and f"sentinel_{key}" in options
        }
        _check_url(parts.scheme, parts.path, options)
        given = parts._replace(query=urlencode(options)).geturl()
        pool = ConnectionPool.from_url(given)
        if is_cluster and pool.connection_kwargs.get("db"):
            raise ConfigError("a cluster has database 0 only")
        if is_cluster and sentinels:
            raise ConfigError("sentinels watch one server, not a cluster")
        if is_cluster and int(replicas):
            raise ConfigError("replicas can be waited for on one server only, not in a cluster")
    except ValueError as error:
        # The messages of redis-py and urllib may quote the password.
        reason = str(error) if isinstance(error, ConfigError) else "it cannot be read"
        raise ConfigError(
            f"RedisOutbox url must be like redis://user:password@host:6379/0: {reason}"
            "; percent-encode the special characters of a password"
        ) from None
    if not shown:
        shown = f"unix://{parts.path}" if parts.scheme == "unix" else name
    return Address(
        name=shown,
        url=given,
        is_cluster=is_cluster,
        allows_eviction=allows_eviction,
        replicas=int(replicas),
        slots=int(slots),
        sentinels=sentinels,
        master=master,
        sentinel_login=login,
    )


def _split_sentinels(url: str) -> tuple[str, list[tuple[str, int]], str]:
    """Return a plain URL of the same options, the sentinels, and the master's name.

    By hand: ``urlsplit`` takes one host only.
    """
    rest, mark, query = url.partition("://")[2].partition("?")
    authority, _, path = rest.partition("/")
    user, at, hosts = authority.rpartition("@")
    master, slash, database = path.partition("/")
    if not master:
        raise ConfigError("the master's name is missing, as in redis+sentinel://host/mymaster")
    sentinels = []
    for each in hosts.split(","):
        host, colon, port = each.rpartition(":")
        if not colon or each.endswith("]"):
            host, port = each, str(_SENTINEL_PORT)
        if not (host and port.isdecimal() and 0 < int(port) < 65_536):
            raise ConfigError("the sentinels must be like host:26379,host2:26379")
        sentinels.append((host.strip("[]"), int(port)))
    plain = f"redis://{user}{at}localhost{slash}{database}{mark}{query}"
    return plain, sentinels, unquote(master)


def _read_switch(options: dict[str, str], name: str) -> bool:
    """Take ``name`` out of ``options``."""
    value = options.pop(name, "false")
    if value not in {"true", "false"}:
        raise ConfigError(f"{name} must be true or false")
    return value == "true"


def _check_url(scheme: str, path: str, options: Mapping[str, str]) -> None:
    if scheme not in _SCHEMES:
        raise ConfigError(f"unknown scheme {scheme[:20]!r}")
    unknown = sorted(options.keys() - _OPTIONS)
    if unknown:
        raise ConfigError(f"unknown option {unknown[0][:40]!r}")
    if scheme != "unix" and not (path in {"", "/"} or path[1:].isdecimal()):
        raise ConfigError("the path must be a database number")
    if scheme == "unix" and not path:
        raise ConfigError("the path of the socket is missing")
