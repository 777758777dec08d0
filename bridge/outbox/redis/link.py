"""The connections to one Redis server or cluster: opened on first use, each call bounded in time.

A connection belongs to an event loop, so each loop opens its own; so does the loop of a forked
process. A connection that was dropped while idle is replaced, and its command is sent once more if
repeating it is harmless. Scripts are run by their hash; a server that was restarted or flushed has
forgotten them and is sent the text.

Source: redis-py 8.1, ``asyncio/connection.py``, ``client.py`` and ``cluster.py``, read 2026-11-24.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from redis import exceptions
from redis.asyncio import ConnectionPool, Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from bridge.errors import OutboxBusyError, OutboxError, OutboxFullError
from bridge.outbox.redis.scripts import MEMORY, Script
from bridge.outbox.redis.url import parse_url

Argument = bytes | str | int  # of a command

REPLICA_TIMEOUT = 1.0  # seconds that a put waits for replicas
EVICTION_PAUSE = 60.0  # seconds until a server that evicts nothing is asked again
TIMEOUT = 5.0  # seconds for one call, including the wait for a free connection and one repeat
SENTINEL_TIMEOUT = 1.0  # seconds for one sentinel's answer; there are others
_CONNECTIONS = 32  # of one event loop
# The settings with which a server is as durable as a commit to a disk.
_DURABLE = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}

_log = logging.getLogger("bridge.outbox")

# How the answer of a server begins that will do better in a moment. A script that runs too long
# makes it BUSY for all others.
_PASSING = {
    "BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "NOREPLICAS", "READONLY", "TRYAGAIN",
}  # fmt: skip

_FAILURES = (exceptions.RedisError, exceptions.RedisClusterException, OSError, TimeoutError)


class UnconfirmedError(OutboxBusyError):
    """What was put is stored, but fewer replicas have it than the URL wants."""


class _Client(NamedTuple):
    """The connections of one event loop, and ``slots``, which gives them out in order.

    redis-py's own blocking pool gives a free connection to whoever asks next, so that those who
    wait may wait for ever. ``sentinel`` has connections of its own, if there is one.
    """

    redis: Redis | RedisCluster
    slots: asyncio.Semaphore
    sentinel: Sentinel | None = None


class RedisLink:
    """Runs scripts and commands on what ``url`` names, as in ``RedisOutbox``.

    Attributes:
        name: The address without password and options, for messages.
        slots: In how many slots the URL wants deliveries to be kept.

    Raises:
        ConfigError: The URL cannot be read, or has an unknown option.
    """

    def __init__(self, url: str) -> None:
        self._address = parse_url(url)
        self.name = self._address.name
        self.slots = self._address.slots
        self._next_look = 0.0  # monotonic seconds: the eviction policy is not asked for before
        self._clients: dict[asyncio.AbstractEventLoop, _Client] = {}
        self._is_checked = False

    async def run(
        self,
        script: Script,
        keys: Sequence[bytes],
        args: Sequence[Argument],
        *,
        repeatable: bool = True,
        is_repeat: bool = False,
        is_put: bool = False,
    ) -> Any:
        """Return the answer of ``script``, whose first argument says whether this is a repeat.

        Args:
            script: What to run.
            keys: Its keys.
            args: Its arguments after the first.
            repeatable: Whether it may be run again when the first answer was lost.
            is_repeat: Whether it was run before, and failed.
            is_put: Whether replicas must have what it stores, if the URL says so.

        Raises:
            OutboxError: No answer within 5 seconds, or the server's error.
            OutboxFullError: The server has no memory or no disk left.
            UnconfirmedError: It is done, but too few replicas have it.
        """
        tail = (len(keys), *keys)
        again = "1" if is_repeat else "0"
        first, second = (("EVALSHA", script, *tail, each, *args) for each in (again, "1"))
        replicas = self._address.replicas if is_put else 0
        answer = await self._call(first, second if repeatable else None, replicas)
        await self._check_durability()
        return answer

    async def execute(self, *command: Argument) -> Any:
        """Return the answer to one command that may be repeated; raises as ``run`` does."""
        return await self._call(command, command)

    async def close(self) -> None:
        """Close the connections of the running event loop; the next call opens them again."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.redis.aclose()
            if client.sentinel is not None:
                await client.sentinel.aclose()

    async def refuse_eviction(self, slots: Iterable[Sequence[bytes]]) -> None:
        """Raise ``OutboxError`` if a server deletes waiting events when its memory is full.

        Args:
            slots: Keys of each; a cluster's nodes that hold them are asked.
        """
        if self._address.allows_eviction or time.monotonic() < self._next_look:
            return
        for keys in slots:
            self._check_policy(await self._read_memory(keys))
        self._next_look = time.monotonic() + EVICTION_PAUSE

    def _check_policy(self, memory: Mapping[str, str]) -> None:
        policy = memory.get("maxmemory_policy", "")
        if policy.startswith("allkeys-") and memory.get("maxmemory") != "0":
            raise OutboxError(
                f"outbox {self.name}: nothing is stored, for the server deletes waiting events when"
                f" its memory is full (maxmemory-policy {policy}); CONFIG SET maxmemory-policy"
                " noeviction, or insist with allow_eviction=true in the URL"
            )

    async def _read_memory(self, keys: Sequence[bytes]) -> dict[str, str]:
        """Return what the server says of its memory; empty where that is forbidden.

        INFO, since managed servers forbid CONFIG.
        """
        try:
            answer = await self.run(MEMORY, keys, [])
        except OutboxError as error:
            if isinstance(error, OutboxBusyError):
                raise
            return {}
        lines = answer.decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    async def _call(
        self, command: Sequence[Any], repeat: Sequence[Any] | None, replicas: int = 0
    ) -> Any:
        task = asyncio.current_task()
        before = task.cancelling() if task else 0
        try:
            async with asyncio.timeout(TIMEOUT), (client := self._open()).slots:
                try:
                    answer = await self._send(client.redis, command, replicas)
                except (exceptions.ConnectionError, exceptions.ReadOnlyError):
                    if repeat is None:
                        raise
                    answer = await self._send(client.redis, repeat, replicas)
        except _FAILURES as error:
            cause = _hide_arguments(error)
            raise self._explain(cause) from cause
        # redis-py sends by asyncio.wait_for, which before Python 3.12 ignores a cancellation if
        # what it waits for ends in the same moment: then whoever cancelled would wait for ever.
        if task and task.cancelling() > before:
            raise asyncio.CancelledError
        return answer

    async def _send(
        self, client: Redis | RedisCluster, command: Sequence[Any], replicas: int
    ) -> Any:
        if command[0] != "EVALSHA":
            return await client.execute_command(*command)
        _, script, *rest = command
        try:
            return await self._evaluate(client, ("EVALSHA", script.sha, *rest), replicas)
        except exceptions.NoScriptError:
            return await self._evaluate(client, ("EVAL", script.text, *rest), replicas)

    async def _evaluate(
        self, client: Redis | RedisCluster, command: Sequence[Any], replicas: int
    ) -> Any:
        """Return the answer to ``command``, once ``replicas`` have what it wrote."""
        if not replicas or isinstance(client, RedisCluster):
            return await client.execute_command(*command)
        # On one connection: WAIT is about what was written on its own.
        async with client.pipeline(transaction=False) as pipeline:
            pipeline.execute_command(*command)
            pipeline.execute_command("WAIT", replicas, int(1000 * REPLICA_TIMEOUT))
            answer, confirmed = await pipeline.execute(raise_on_error=False)
        for each in (answer, confirmed):
            if isinstance(each, Exception):
                raise each
        if confirmed < replicas:
            raise UnconfirmedError(
                f"outbox {self.name}: {confirmed} of {replicas} replicas have the event after"
                f" {REPLICA_TIMEOUT:g} s; see replicas in the URL"
            )
        return answer

    def _open(self) -> _Client:
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            # Only clients of closed loops go. After a fork, the others belong to the parent, and
            # closing them here would make the parent stop watching its own sockets.
            self._clients = {
                own: kept for own, kept in self._clients.items() if not own.is_closed()
            }
            client = self._clients[loop] = self._build_client()
        return client

    def _build_client(self) -> _Client:
        slots = asyncio.Semaphore(_CONNECTIONS)
        options: dict[str, Any] = {
            "driver_info": None,  # otherwise each connection reads redis-py's version from the disk
            "max_connections": _CONNECTIONS,
            "protocol": 2,  # answers of one shape, whatever the server's default
            "retry": Retry(NoBackoff(), 0),  # only this module knows what may be repeated
            "socket_connect_timeout": TIMEOUT,
            "socket_timeout": TIMEOUT,
        }
        if self._address.is_cluster:
            return _Client(RedisCluster.from_url(self._address.url, **options), slots)
        # Drops a connection to a server that was demoted: the next one looks up the name again.
        options["retry_on_error"] = [exceptions.ReadOnlyError]
        pool = ConnectionPool.from_url(self._address.url, **options)
        if not self._address.sentinels:
            return _Client(Redis.from_pool(pool), slots)
        given = {k: v for k, v in pool.connection_kwargs.items() if k not in {"host", "port"}}
        limits = {
            "driver_info": None,
            "socket_connect_timeout": SENTINEL_TIMEOUT,
            "socket_timeout": SENTINEL_TIMEOUT,
            **self._address.sentinel_login,
        }
        sentinel = Sentinel(  # type: ignore[no-untyped-call]
            self._address.sentinels, sentinel_kwargs=limits
        )
        options = {**options, **given}
        return _Client(sentinel.master_for(self._address.master, **options), slots, sentinel)

    async def _check_durability(self) -> None:
        """Log once which settings make the server forget."""
        if self._is_checked:
            return
        self._is_checked = True
        weak = [
            f"{key} is {value}, should be {wanted}"
            for key, value, wanted in await self.find_weak_settings()
        ]
        if weak:
            _log.warning("outbox %s may lose accepted events: %s", self.name, "; ".join(weak))

    async def find_weak_settings(self) -> list[tuple[str, str, str]]:
        """Return key, value and what it should be of each setting that makes the server forget.

        Managed servers may hide them: then only the policy is known, or none.
        """
        try:
            async with asyncio.timeout(TIMEOUT), (client := self._open()).slots:
                try:
                    answer = await client.redis.config_get(*_DURABLE)
                except exceptions.ResponseError:
                    memory = await client.redis.info("memory")
                    answer = {"maxmemory-policy": str(memory.get("maxmemory_policy") or "")}
        except _FAILURES:
            return []
        return [
            (key, value, wanted)
            for key, wanted in _DURABLE.items()
            # volatile-* evicts only keys with a time to live, and ours have none.
            if (value := answer.get(key)) and not value.startswith((wanted, "volatile-"))
        ]

    def _explain(self, error: BaseException) -> OutboxError:
        text = str(error) or type(error).__name__
        if isinstance(error, TimeoutError | exceptions.TimeoutError):
            text = f"no answer within {TIMEOUT:g} s"
        # Redis refuses a command with many arguments, such as a put, before it reads its name, and
        # with another message (tried with Redis 7.0, 2026-11-24).
        if "unauthenticated" in text or (
            isinstance(error, exceptions.AuthenticationError) and "Authentication required" in text
        ):
            text += (
                "; the server wants a password: put it into the URL, as in"
                " redis://:password@host:6379/0"
            )
        if "Error compiling script" in text:
            text += "; Redis 7 or Valkey 7.2 is needed"
        if isinstance(error, exceptions.OutOfMemoryError) or "No space left" in text:
            return OutboxFullError(
                f"outbox {self.name}: {text}; raise maxmemory, or wait for the sender"
            )
        kind = OutboxBusyError if _is_passing(error, text) else OutboxError
        return kind(f"outbox {self.name}: {text}")

    def __repr__(self) -> str:
        return f"RedisLink({self.name!r})"


def _is_passing(error: BaseException, text: str) -> bool:
    """Return whether the server may answer in a moment: it loads, restarts, or fails over."""
    if isinstance(error, TimeoutError | exceptions.TimeoutError):
        return False  # the time is used up
    if isinstance(error, exceptions.AuthenticationError):
        return False
    words = text.partition(" ")[0]
    return isinstance(error, exceptions.ConnectionError | OSError) or words in _PASSING


def _hide_arguments(error: BaseException) -> BaseException:
    """Return ``error`` without quoted arguments: a server without AUTH repeats the password."""
    text, quoted, _ = str(error).partition(", with args beginning with")
    return exceptions.ResponseError(text) if quoted else error
